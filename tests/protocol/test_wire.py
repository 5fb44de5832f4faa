"""The kinds of fields: bytes worked out by hand, and the bounds from both sides."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import Point, Rect, RemoteProtocolError
from tilewire.protocol import messages as m
from tilewire.protocol.errors import Code
from tilewire.protocol.vectors import hello, tagged, welcome
from tilewire.protocol.wire import (
    FLAG,
    I16,
    MESSAGES,
    POINT,
    RECT,
    U8,
    U16,
    U32,
    U64,
    V32,
    Bytes,
    FieldList,
    Kind,
    Record,
    RecordKind,
    Repeated,
    Text,
    Unsigned,
    Varint,
    encode_varint,
)

from tests.protocol.strategies import rects, values

HAND: list[tuple[Kind, Any, str]] = [
    (U8, 0, "00"),
    (U8, 255, "ff"),
    (U16, 0x1234, "3412"),
    (U32, 0x12345678, "78563412"),
    (U64, 0x0102030405060708, "0807060504030201"),
    (I16, -1, "ffff"),
    (I16, -32768, "0080"),
    (I16, 32767, "ff7f"),
    (FLAG, 1, "01"),
    (V32, 0, "00"),
    (V32, 127, "7f"),
    (V32, 128, "8001"),
    (V32, 300, "ac02"),
    (V32, 16383, "ff7f"),
    (V32, 16384, "808001"),
    (V32, 2097151, "ffff7f"),
    (V32, 2097152, "80808001"),
    (V32, 268435455, "ffffff7f"),
    (V32, 268435456, "8080808001"),
    (V32, 0xFFFF_FFFF, "ffffffff0f"),
    # x = 0xABC, y = 0x123: y * 4096 + x = 0x123ABC.
    (POINT, Point(0xABC, 0x123), "bc3a12"),
    (POINT, Point(4095, 4095), "ffffff"),
    (RECT, Rect(0, 0, 1, 1), "000000000000"),
    (RECT, Rect(0, 0, 4096, 4096), "000000ffffff"),
    (RECT, Rect(4095, 4095, 1, 1), "ffffff000000"),
    # width - 1 = 0x010, height - 1 = 0x200, packed as a point is.
    (RECT, Rect(0xABC, 0x123, 0x11, 0x201), "bc3a12100020"),
    (Bytes(3), b"abc", "616263"),
    (Bytes(), b"", ""),
    (Text(), "ä€😀", "c3a4e282acf09f9880"),
    (RecordKind(m.Size), m.Size(width=1024, height=600), "00045802"),
    (Repeated(m.Explained, 2), (m.Explained(reason=1, quality=2), m.Explained(reason=3, quality=4)), "01020304"),
]


@pytest.mark.parametrize(("kind", "value", "text"), HAND)
def test_bytes_worked_out_by_hand(kind: Kind, value: Any, text: str) -> None:
    data = bytes.fromhex(text)
    kind.check(value)
    assert kind.encode(value) == data
    # At an odd offset, as they come.
    assert kind.decode(memoryview(b"\xaa" + data), 1) == (value, 1 + len(data))
    assert kind.low <= len(data)
    assert kind.high is None or len(data) <= kind.high


@pytest.mark.parametrize(("kind", "value", "text"), [case for case in HAND if case[2]])
def test_cut_values_are_malformed(kind: Kind, value: Any, text: str) -> None:
    data = bytes.fromhex(text)
    for size in range(len(data)):
        if kind.label in ("rest", "utf8", "Explained[]") and not size % (2 if kind.label[0] == "E" else 1):
            # What takes all that is left can be shorter, but for half a character.
            with contextlib.suppress(RemoteProtocolError):
                assert kind.decode(memoryview(data[:size]), 0) != (value, size)
            continue
        with pytest.raises(RemoteProtocolError) as caught:
            kind.decode(memoryview(data[:size]), 0)
        assert caught.value.code in (Code.PROTOCOL, Code.BAD_VALUE)


BOUNDS: list[tuple[Kind, list[Any]]] = [
    (U8, [-1, 256, True, 1.0, None, "1"]),
    (U16, [-1, 65536]),
    (U64, [-1, 1 << 64]),
    (I16, [-32769, 32768]),
    (FLAG, [-1, 2, True]),
    (Unsigned(1, 1, 60), [0, 61]),
    (V32, [-1, 1 << 32, True, 1.5]),
    (Varint(1, 9), [0, 10]),
    (POINT, [Point(-1, 0), Point(0, 4096), (1, 2), None]),
    (RECT, [Rect(-1, 0, 1, 1), Rect(0, 4095, 1, 2), Rect(4095, 0, 2, 1), Rect(0, 0, 4097, 1), (0, 0, 1, 1)]),
    (Bytes(3), [b"ab", b"abcd", "abc", None]),
    (Bytes(minimum=1, maximum=2), [b"", b"abc"]),
    (Text(1, 4), ["", "abcde", "€€", "\ud800", b"a", None]),
    (RecordKind(m.Size), [None, (1, 2), m.Finger(finger=0, position=Point(0, 0))]),
    (Repeated(m.Explained, 1), [None, [], (m.Explained(reason=0, quality=0),) * 2, (1,)]),
]


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, wrong in BOUNDS for value in wrong])
def test_what_may_not_be_written_is_refused(kind: Kind, value: Any) -> None:
    with pytest.raises(ValueError):
        kind.check(value)


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        (FLAG, "02", Code.BAD_VALUE),
        (Unsigned(1, 1, 60), "00", Code.BAD_VALUE),
        (Unsigned(1, 1, 60), "3d", Code.BAD_VALUE),
        (Varint(1, 9), "00", Code.BAD_VALUE),
        (Varint(1, 9), "0a", Code.BAD_VALUE),
        (V32, "8000", Code.PROTOCOL),
        (V32, "ff8000", Code.PROTOCOL),
        (V32, "8080808000", Code.PROTOCOL),
        (V32, "ffffffff10", Code.BAD_VALUE),
        (V32, "ffffffff7f", Code.BAD_VALUE),
        (V32, "808080808001", Code.PROTOCOL),
        (RECT, "ff0f00010000", Code.BAD_VALUE),
        (RECT, "00f0ff001000", Code.BAD_VALUE),
        (Bytes(minimum=1, maximum=2), "", Code.PROTOCOL),
        (Bytes(minimum=1, maximum=2), "010203", Code.BAD_VALUE),
        (Text(1, 2), "", Code.BAD_VALUE),
        (Text(1, 2), "616161", Code.BAD_VALUE),
        (Text(), "ff", Code.BAD_VALUE),
        (Text(), "c080", Code.BAD_VALUE),
        (Text(), "eda080", Code.BAD_VALUE),
        (Text(), "f4908080", Code.BAD_VALUE),
        (Repeated(m.Explained, 1), "01020304", Code.BAD_VALUE),
        (Repeated(m.Explained, 1), "01", Code.PROTOCOL),
    ],
)
def test_what_may_not_be_read_is_refused(kind: Kind, text: str, code: Code) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        kind.decode(memoryview(bytes.fromhex(text)), 0)
    assert caught.value.code is code


def kinds() -> dict[str, Kind]:
    """Every kind that is declared anywhere, by where."""
    found: dict[str, Kind] = {}
    waiting: list[type[Record]] = [*MESSAGES.values(), m.Hello, m.Reply]
    while waiting:
        cls = waiting.pop()
        for spec in cls.layout:
            found[f"{cls.__name__}.{spec.name}"] = spec.kind
            nested = getattr(spec.kind, "record", None)
            if nested is not None:
                waiting.append(nested)
    return found


@pytest.mark.parametrize("where", sorted(kinds()))
@given(data=st.data())
def test_every_declared_kind_reads_what_it_wrote(where: str, data: st.DataObject) -> None:
    kind = kinds()[where]
    value = data.draw(values(kind))
    kind.check(value)
    encoded = kind.encode(value)
    assert len(encoded) >= kind.low
    assert kind.high is None or len(encoded) <= kind.high
    assert kind.decode(memoryview(encoded), 0) == (value, len(encoded))


@given(st.integers(0, (1 << 40) - 1))
def test_varints_are_as_short_as_can_be(value: int) -> None:
    data = encode_varint(value)
    assert len(data) == max(1, -(-value.bit_length() // 7))
    assert all(byte >= 0x80 for byte in data[:-1])
    assert data[-1] < 0x80
    assert sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data)) == value


@given(st.binary(max_size=7))
def test_a_varint_has_one_form_only(data: bytes) -> None:
    try:
        value, end = V32.decode(memoryview(data), 0)
    except RemoteProtocolError:
        return
    assert encode_varint(value) == data[:end]


@given(rects())
def test_rectangles_take_six_bytes(rect: Rect) -> None:
    assert len(RECT.encode(rect)) == 6


def test_tags_ascend_and_fit_seven_bits() -> None:
    for cls in (m.Hello, m.Reply, m.Welcome):
        numbers = [spec.tag.number for spec in cls.layout if spec.tag]
        assert len(numbers) == len(cls.layout)
        assert numbers == sorted(set(numbers))
        assert max(numbers) < 0x80
        assert issubclass(cls, FieldList)


def test_what_takes_the_rest_comes_last() -> None:
    for cls in MESSAGES.values():
        if not issubclass(cls, FieldList):
            for spec in cls.layout[:-1]:
                assert isinstance(spec.kind, Varint) or spec.kind.low == spec.kind.high, f"{cls}.{spec.name}"


def test_drawing_types_are_those_that_may_not_be_skipped() -> None:
    for type_, cls in MESSAGES.items():
        assert cls.drawing == (type_ in m.DRAWING_TYPES)
        assert 0 <= type_ <= 0xFF
    assert not set(m.RESERVED) & (set(MESSAGES) | set(m.DRAWING_TYPES))


def test_records_cannot_be_built_invalid_or_changed() -> None:
    with pytest.raises(ValueError, match=r"Setting\.fps"):
        m.Setting(fps=0, quality=50, adaptive=0)
    setting = m.Setting(fps=1, quality=50, adaptive=0)
    with pytest.raises(AttributeError):
        setting.fps = 2  # type: ignore[misc]  # that is the test
    with pytest.raises(TypeError):
        m.Setting(1, 50, 0)  # type: ignore[call-arg]  # that is the test
    assert not hasattr(setting, "__dict__")


@pytest.mark.parametrize("cls", [m.Hello, m.Welcome], ids=lambda cls: cls.__name__)
def test_unknown_fields_are_skipped_anywhere_unless_critical(cls: type[FieldList]) -> None:
    record: FieldList = hello() if cls is m.Hello else welcome(hello())
    known = {spec.tag.number for spec in cls.layout if spec.tag}
    for number in sorted(set(range(0x80)) - known):
        parts = []
        for spec in cls.layout:
            assert spec.tag is not None
            if getattr(record, spec.name) is not None:
                data = spec.kind.encode(getattr(record, spec.name))
                parts.append((spec.tag.number, tagged(spec.tag.number, data, critical=spec.tag.critical)))
        body = b"".join(part for _, part in sorted([*parts, (number, tagged(number, b"later"))]))
        assert cls.decode_body(memoryview(body))[0] == record
        body = b"".join(part for _, part in sorted([*parts, (number, tagged(number, b"", critical=True))]))
        with pytest.raises(RemoteProtocolError) as caught:
            cls.decode_body(memoryview(body))
        assert caught.value.code is Code.UNSUPPORTED
