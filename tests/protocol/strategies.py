"""Hypothesis strategies, made from the declarations themselves: a new message is tested as soon as it is declared."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tilewire.protocol import Point, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.constants import AuthMethod, Capability
from tilewire.protocol.wire import (
    COORDINATE_LIMIT,
    MESSAGES,
    Bytes,
    FieldSpec,
    Kind,
    Message,
    PointKind,
    Record,
    RecordKind,
    RectKind,
    Repeated,
    Text,
    Unsigned,
    Varint,
)


def numbers(low: int, high: int) -> SearchStrategy[int]:
    """Whole numbers, with both ends and the borders of variable-length numbers more often than by chance."""
    borders = {low, high, *(edge + i for bits in (7, 14, 21, 28) for edge in (1 << bits,) for i in (-1, 0))}
    return st.sampled_from(sorted(value for value in borders if low <= value <= high)) | st.integers(low, high)


points = st.builds(Point, numbers(0, COORDINATE_LIMIT - 1), numbers(0, COORDINATE_LIMIT - 1))


@st.composite
def rects(draw: st.DrawFn, width: int = COORDINATE_LIMIT, height: int = COORDINATE_LIMIT) -> Rect:
    """Rectangles inside `width` x `height`."""
    x, y = draw(numbers(0, width - 1)), draw(numbers(0, height - 1))
    return Rect(x, y, draw(numbers(1, width - x)), draw(numbers(1, height - y)))


def texts(minimum: int, maximum: int | None) -> SearchStrategy[str]:
    """Text whose UTF-8 has so many bytes."""
    longest = 400 if maximum is None else maximum
    ascii_ = st.text(st.characters(codec="ascii"), min_size=minimum, max_size=longest)
    return ascii_ | st.text(st.characters(codec="utf-8"), min_size=minimum, max_size=longest // 4)


def values(kind: Kind) -> SearchStrategy[Any]:
    """What a field of this kind may hold."""
    match kind:
        case Unsigned():
            return numbers(kind.bottom, kind.top)
        case Varint():
            return numbers(kind.minimum, kind.maximum)
        case PointKind():
            return points
        case RectKind():
            return rects()
        case Bytes():
            return st.binary(min_size=kind.low, max_size=400 if kind.high is None else kind.high)
        case Text():
            return texts(kind.minimum, kind.maximum)
        case RecordKind():
            return records(kind.record)
        case Repeated():
            return st.lists(records(kind.record), max_size=min(kind.maximum, 20)).map(tuple)
    raise AssertionError(kind)


def _field(spec: FieldSpec) -> SearchStrategy[Any]:
    found = values(spec.kind)
    optional = spec.tag is not None and not spec.required and not isinstance(spec.kind, Unsigned)
    return st.none() | found if optional else found


def _valid(made: dict[str, Any], cls: type[Record]) -> bool:
    try:
        cls(**made)
    except ValueError:
        return False
    return True


def records(cls: type[Record], **overrides: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Records of this class; `overrides`: strategies for some fields."""
    special = SPECIAL.get(cls)
    if special is not None and not overrides:
        return special
    fields = {spec.name: overrides.get(spec.name, _field(spec)) for spec in cls.layout}
    return st.fixed_dictionaries(fields).filter(lambda made: _valid(made, cls)).map(lambda made: cls(**made))


@st.composite
def cursor_shapes(draw: st.DrawFn, side: int = 64) -> m.CursorShape:
    """Shapes of at most `side` pixels, or parts of them."""
    width = draw(numbers(0, side))
    if width == 0:
        return m.CursorShape(width=0, height=0, hot_x=0, hot_y=0, row=0, pixels=b"")
    height = draw(numbers(1, side))
    row = draw(numbers(0, height - 1))
    rows = draw(numbers(1, height - row))
    pixels = draw(st.binary(min_size=4, max_size=4)) * (width * rows)
    hot_x, hot_y = draw(numbers(0, width - 1)), draw(numbers(0, height - 1))
    return m.CursorShape(width=width, height=height, hot_x=hot_x, hot_y=hot_y, row=row, pixels=pixels)


@st.composite
def hellos(draw: st.DrawFn) -> m.Hello:
    """Any hello that fits 1 KiB."""
    made: dict[str, Any] = {spec.name: draw(_field(spec)) for spec in m.Hello.layout if spec.name != "panel"}
    width = draw(numbers(1, 4096))
    made["panel"] = m.Size(width=width, height=draw(numbers(1, min(4096, (4 << 20) // width))))
    made["model_kib"] = draw(st.sampled_from((0, 16, 32, 48)))
    made["deflate_bits"] = draw(st.sampled_from((0, *range(8, 16))))
    made["url"] = draw(st.none() | texts(1, 500))
    # One method at least that a server knows, and perhaps one of a later version.
    made["auth_methods"] = draw(numbers(1, 7)) | draw(st.sampled_from((0, 0x80)))
    if made["auth_methods"] & AuthMethod.TICKET:
        made["ticket"] = made["ticket"] or b"t"
    else:
        made["ticket"] = None
    if made["cache"] is not None and made["cache"].slots:
        made["capabilities"] |= Capability.COPY
    return m.Hello(**made)


SPECIAL: dict[type[Record], SearchStrategy[Any]] = {}
SPECIAL[m.Hello] = hellos()
SPECIAL[m.CursorShape] = cursor_shapes()
SPECIAL[m.Reply] = records(m.Reply, method=st.sampled_from((1, 2, 4)))
SPECIAL[m.Jpeg] = records(m.Jpeg, sampling=st.sampled_from((0, 1, 2, 3, 0x10, 0x11, 0x12, 0x13)))
SPECIAL[m.Touch] = records(
    m.Touch,
    fingers=st.lists(records(m.Finger), max_size=10, unique_by=lambda finger: finger.finger).map(tuple),
)


def all_messages() -> SearchStrategy[Message]:
    """Any message."""
    return st.sampled_from(sorted(MESSAGES)).flatmap(lambda type_: records(MESSAGES[type_]))


# Messages about the borders of what `support.generous` allows: half of them break some rule.

_near: dict[str, SearchStrategy[Any]] = {
    "update": st.integers(1, 3),
    "slot": st.integers(0, 4),
    "rect": rects(17, 9) | rects(5, 4),
    "position": st.builds(Point, st.integers(0, 16), st.integers(0, 8)),
    "source": st.builds(Point, st.integers(0, 8), st.integers(0, 4)),
    "total": st.integers(0, 5),
    "offset": st.integers(0, 5),
    "data": st.binary(max_size=4),
    "pixel": st.binary(min_size=2, max_size=2) | st.binary(min_size=1, max_size=3),
    "epoch": st.sampled_from((0x81, 0x82, 0x83, 1, 2, 0, 0x80)),
    "width": st.integers(1, 20),
    "height": st.integers(1, 20),
    "text": texts(1, 8),
}


def _near_field(spec: FieldSpec) -> SearchStrategy[Any]:
    if spec.name == "input":
        return st.integers(1 if getattr(spec.kind, "minimum", 0) else 0, 8)
    return _near.get(spec.name, values(spec.kind))


@st.composite
def _near_raw(draw: st.DrawFn) -> m.Raw:
    rect = draw(_near["rect"])
    return m.Raw(rect=rect, payload=bytes(2 * rect.area + draw(st.sampled_from((0, 0, 0, 1, -1)))))


def near_messages(sender: Sender) -> SearchStrategy[Message]:
    """Messages that a peer in this role may or may not send; BEGIN, END and ACK most often."""
    classes = [cls for cls in MESSAGES.values() if cls.sender.allows(sender)]
    made: dict[type[Message], SearchStrategy[Any]] = {
        cls: records(cls, **{spec.name: _near_field(spec) for spec in cls.layout})
        for cls in classes
        if cls not in (m.Welcome, m.CursorShape, m.Raw, m.Jpeg, m.Touch, m.Goodbye)
    }
    finger = records(m.Finger, finger=st.integers(0, 1), position=_near["position"])
    fingers = st.lists(finger, max_size=2, unique_by=lambda item: item.finger).map(tuple)
    more: dict[type[Message], SearchStrategy[Any]] = {
        m.Welcome: records(m.Welcome),
        m.CursorShape: cursor_shapes(6),
        m.Raw: _near_raw(),
        m.Jpeg: SPECIAL[m.Jpeg],
        m.Touch: records(m.Touch, input=st.integers(1, 8), fingers=fingers),
    }
    made |= {cls: found for cls, found in more.items() if cls.sender.allows(sender)}
    often = [m.Begin, m.End] * 4 if sender is Sender.SERVER else [m.Ack] * 3
    return st.sampled_from([*made, *often]).flatmap(lambda cls: made[cls])
