"""Hypothesis strategies: what a server may say, and a little of what it may not."""

from __future__ import annotations

from hypothesis import strategies as st

from tilewire.protocol import PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.wire import Message

from tests.clients.support import pack, palette

WIDTH, HEIGHT = 40, 24


@st.composite
def rects(draw: st.DrawFn, width: int = WIDTH, height: int = HEIGHT) -> Rect:
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Rect(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))


def pixels(pixel_format: PixelFormat) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << 8 * pixel_format.packed) - 1)


@st.composite
def fills(draw: st.DrawFn, pixel_format: PixelFormat) -> Message:
    return m.Fill(rect=draw(rects()), pixel=pack(draw(pixels(pixel_format)), pixel_format))


@st.composite
def raws(draw: st.DrawFn, pixel_format: PixelFormat) -> Message:
    rect = draw(rects())
    size = rect.area * pixel_format.packed
    seed = draw(st.binary(min_size=1, max_size=16))
    return m.Raw(rect=rect, payload=(seed * (size // len(seed) + 1))[:size])


@st.composite
def palettes(draw: st.DrawFn, pixel_format: PixelFormat) -> Message:
    rect = draw(rects())
    runs = draw(st.booleans())
    count = draw(st.integers(2, 64 if runs else 128))
    colours = draw(st.lists(pixels(pixel_format), min_size=count, max_size=count))
    runs_of = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(1, 300)), min_size=1, max_size=20))
    indices = [index for index, length in runs_of for _ in range(length)]
    indices = (indices * (rect.area // len(indices) + 1))[: rect.area]
    return m.Palette(rect=rect, payload=palette(rect, colours, indices, pixel_format, runs=runs))


@st.composite
def copies(draw: st.DrawFn) -> Message:
    rect = draw(rects())
    x, y = draw(st.integers(0, WIDTH - rect.width)), draw(st.integers(0, HEIGHT - rect.height))
    return m.Copy(rect=rect, source=Point(x, y))


def drawings(pixel_format: PixelFormat, *, copy: bool = True) -> st.SearchStrategy[Message]:
    kinds = [fills(pixel_format), raws(pixel_format), palettes(pixel_format)]
    return st.one_of(*kinds, copies()) if copy else st.one_of(*kinds)


@st.composite
def cached(draw: st.DrawFn, pixel_format: PixelFormat, slots: int, slot_bytes: int) -> list[Message]:
    """Operations among which what was stored comes back, always where it fits."""
    sizes: dict[int, Rect] = {}
    out: list[Message] = []
    for _ in range(draw(st.integers(0, 12))):
        slot = draw(st.integers(0, slots - 1))
        if draw(st.booleans()):
            rect = draw(rects().filter(lambda rect: rect.area * pixel_format.stored <= slot_bytes))
            sizes[slot] = rect
            out.append(m.CacheStore(slot=slot, rect=rect))
        elif slot in sizes:
            x = draw(st.integers(0, WIDTH - sizes[slot].width))
            y = draw(st.integers(0, HEIGHT - sizes[slot].height))
            out.append(m.CacheDraw(slot=slot, position=Point(x, y)))
        else:
            out.append(draw(drawings(pixel_format)))
    return out


@st.composite
def updates(draw: st.DrawFn, pixel_format: PixelFormat, *, copy: bool = True) -> list[Message]:
    """The operations of some updates, framed by BEGIN and END."""
    out: list[Message] = []
    for update in range(1, draw(st.integers(1, 3)) + 1):
        out.append(m.Begin(update=update, input=0))
        out += draw(st.lists(drawings(pixel_format, copy=copy), max_size=4))
        out.append(m.End())
    return out


@st.composite
def cursor_parts(draw: st.DrawFn) -> Message:
    """A part of a shape that may or may not be due; few sizes, so that parts follow each other now and then."""
    width, height = draw(st.sampled_from([(2, 3), (2, 3), (5, 1), (12, 12), (13, 2)]))
    row = draw(st.integers(0, height - 1))
    rows = draw(st.integers(1, height - row))
    return m.CursorShape(
        width=width,
        height=height,
        hot_x=draw(st.integers(0, width - 1)),
        hot_y=height - 1,
        row=row,
        pixels=(bytes(range(200)) * 4)[: 4 * width * rows],
    )


texts = st.text(st.characters(codec="utf-8"), max_size=40)
u32 = st.integers(0, 2**32 - 1)
sizes = st.builds(m.Size, width=st.integers(1, 4096), height=st.integers(1, 4096))

talk: st.SearchStrategy[Message] = st.one_of(
    st.builds(m.Ping, stamp=st.integers(0, 2**64 - 1)),
    st.builds(m.Pong, stamp=st.integers(0, 2**64 - 1)),
    st.builds(m.Notice, code=st.integers(0, 0xFFFF), text=texts),
    st.builds(m.Setting, fps=st.integers(1, 60), quality=st.integers(10, 90), adaptive=st.integers(0, 1)),
    st.builds(
        m.ViewState,
        mode=st.integers(0, 1),
        rotation=st.integers(0, 3),
        follow=st.integers(0, 1),
        session=sizes,
        window=rects(1024, 600),
    ),
    st.builds(m.ControlState, role=st.integers(0, 2), holder=u32),
    st.builds(m.Bell),
    st.builds(lambda text: m.Clipboard(total=len(text), offset=0, data=text), st.binary(max_size=40)),
)
"""What may come between updates as well as inside them, with all capabilities in force."""

oddities: st.SearchStrategy[Message] = st.one_of(
    talk,
    st.builds(m.Begin, update=st.integers(1, 5), input=st.integers(0, 2)),
    st.builds(m.End),
    st.builds(m.Goodbye, code=st.integers(0, 0xFFFF), text=texts),
    st.builds(m.Proof, mac=st.just(bytes(32))),
    st.builds(m.InputEcho, input=st.integers(1, 3)),
    st.builds(m.Resize, width=st.integers(1, 80), height=st.integers(1, 60)),
    st.builds(
        m.Explanation,
        update=st.integers(1, 3),
        encode_us=u32,
        in_flight=u32,
        bytes_per_s=u32,
        round_trip_us=u32,
        operations=st.lists(
            st.builds(m.Explained, reason=st.integers(0, 255), quality=st.integers(0, 255)), max_size=3
        ).map(tuple),
    ),
    st.builds(m.Clipboard, total=st.integers(0, 6), offset=st.integers(0, 4), data=st.binary(max_size=4)),
    st.builds(m.CursorPosition, position=st.builds(Point, st.integers(0, 50), st.integers(0, 30))),
    cursor_parts(),
    st.builds(m.CacheStore, slot=st.integers(0, 4) | st.integers(0, 8191), rect=rects()),
    st.builds(m.CacheDraw, slot=st.integers(0, 4) | st.integers(0, 8191), position=st.just(Point(0, 0))),
    st.builds(m.CacheDraw, slot=st.integers(0, 1), position=st.builds(Point, st.integers(0, 50), st.integers(0, 30))),
    st.builds(m.Codec, rect=rects(), epoch=st.integers(0, 255), payload=st.binary(max_size=4)),
    st.builds(
        m.Codec,
        rect=rects(),
        epoch=st.sampled_from([0x81, 0x82, 1, 2]),
        payload=st.binary(max_size=60).map(lambda data: bytes((len(data) & 1,)) + data),
    ),
    st.builds(m.Deflate, rect=rects(), inner=st.sampled_from([0x48, 0x49]), payload=st.binary(max_size=4)),
    st.builds(m.Jpeg, rect=rects(), quality=st.integers(1, 100), sampling=st.integers(0, 3), payload=st.just(b"")),
    st.builds(m.Fill, rect=rects(60, 40), pixel=st.binary(min_size=1, max_size=3)),
    st.builds(m.Raw, rect=rects(60, 40), payload=st.binary(max_size=64)),
    st.builds(m.Palette, rect=rects(60, 40), payload=st.binary(max_size=64)),
    st.builds(m.Copy, rect=rects(60, 40), source=st.builds(Point, st.integers(0, 50), st.integers(0, 50))),
)
"""What may be right or wrong, by where it comes."""

splits = st.lists(st.integers(1, 200), max_size=60)
