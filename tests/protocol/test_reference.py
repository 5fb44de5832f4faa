"""The oracle: the reference decoder against encoders and models that are written here, as plainly as can be."""

import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import PixelFormat, Point, Rect, RemoteProtocolError
from tilewire.protocol import messages as m
from tilewire.protocol.errors import Code
from tilewire.protocol.reference import RUN_COLOURS, Framebuffer, index_bits, inflate
from tilewire.protocol.vectors_encoded import lsb_first

from tests.protocol.strategies import rects

FORMATS = st.sampled_from(list(PixelFormat))
W, H = 13, 9


def encode_packed(pixel_format: PixelFormat, width: int, pixels: list[int]) -> bytes:
    """A palette with packed indices, bit by bit in text."""
    colours = sorted(set(pixels))
    if len(colours) == 1:
        colours.append((colours[0] + 1) % 256)
    bits = {2: 1, 3: 2, 4: 2}.get(len(colours), 4 if len(colours) <= 16 else 8)
    out = bytes((len(colours) - 1,)) + b"".join(c.to_bytes(pixel_format.packed, "little") for c in colours)
    for start in range(0, len(pixels), width):
        row = "".join(f"{colours.index(pixel):0{bits}b}" for pixel in pixels[start : start + width])
        row += "0" * (-len(row) % 8)
        out += bytes(int(row[at : at + 8], 2) for at in range(0, len(row), 8))
    return out


def encode_runs(pixel_format: PixelFormat, pixels: list[int], longest: int) -> bytes:
    """A palette with runs, none longer than `longest`."""
    colours = sorted(set(pixels))
    if len(colours) == 1:
        colours.append((colours[0] + 1) % 256)
    bits = max(1, (len(colours) - 1).bit_length())
    out = bytearray((0x80 | len(colours) - 1,))
    for value in colours:
        out += value.to_bytes(pixel_format.packed, "little")
    at = 0
    while at < len(pixels):
        run = 1
        while at + run < len(pixels) and pixels[at + run] == pixels[at] and run < longest:
            run += 1
        index, more = colours.index(pixels[at]), run - 1
        full = (1 << 8 - bits) - 1
        out.append(index + (min(more, full) << bits))
        if more >= full:
            more -= full
            while more >= 128:
                out.append(0x80 | more % 128)
                more //= 128
            out.append(more)
        at += run
    return bytes(out)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[PixelFormat, Rect, list[int]]:
    """A format, a rectangle inside W x H, and its pixels in few colours, with runs."""
    pixel_format, rect = draw(FORMATS), draw(rects(W, H))
    top = (1 << 8 * pixel_format.packed) - 1
    colours = draw(st.lists(st.integers(0, top), min_size=1, max_size=40, unique=True))
    pixels: list[int] = []
    while len(pixels) < rect.area:
        pixels += [draw(st.sampled_from(colours))] * draw(st.integers(1, 50))
    return pixel_format, rect, pixels[: rect.area]


def background(pixel_format: PixelFormat) -> Framebuffer:
    """A framebuffer with something in it."""
    screen = Framebuffer(W, H, pixel_format)
    screen.pixels = [number * 7 % 256 for number in range(W * H)]
    return screen


def expect(screen: Framebuffer, before: list[int], rect: Rect, pixels: list[int]) -> None:
    """`pixels` stand in `rect`, and everything else is as before."""
    for y in range(H):
        for x in range(W):
            inside = rect.x <= x < rect.right and rect.y <= y < rect.bottom
            value = pixels[(y - rect.y) * rect.width + x - rect.x] if inside else before[y * W + x]
            assert screen.pixels[y * W + x] == value, (x, y)


@given(pictures(), st.integers(1, 200))
def test_palettes_of_an_encoder_are_decoded(picture: tuple[PixelFormat, Rect, list[int]], longest: int) -> None:
    pixel_format, rect, pixels = picture
    for payload in (
        encode_packed(pixel_format, rect.width, pixels),
        encode_runs(pixel_format, pixels, longest),
        encode_runs(pixel_format, pixels, 1 << 20),
    ):
        screen = background(pixel_format)
        before = list(screen.pixels)
        screen.apply(m.Palette(rect=rect, payload=payload))
        expect(screen, before, rect, pixels)


@given(pictures())
def test_raw_and_fill(picture: tuple[PixelFormat, Rect, list[int]]) -> None:
    pixel_format, rect, pixels = picture
    size = pixel_format.packed
    screen = background(pixel_format)
    before = list(screen.pixels)
    screen.apply(m.Raw(rect=rect, payload=b"".join(pixel.to_bytes(size, "little") for pixel in pixels)))
    expect(screen, before, rect, pixels)
    screen.apply(m.Fill(rect=rect, pixel=pixels[0].to_bytes(size, "little")))
    expect(screen, before, rect, [pixels[0]] * rect.area)


@given(FORMATS, rects(W, H), st.binary(max_size=60), st.booleans())
def test_any_payload_is_pixels_or_refused_whole(
    pixel_format: PixelFormat, rect: Rect, payload: bytes, raw: bool
) -> None:
    screen = background(pixel_format)
    before = list(screen.pixels)
    cls: Callable[..., m.Message] = m.Raw if raw else m.Palette
    refusal: Code | None = None
    try:
        screen.apply(cls(rect=rect, payload=payload))
    except RemoteProtocolError as error:
        refusal = error.code
    assert refusal in (None, Code.BAD_PAYLOAD)
    if refusal:
        assert screen.pixels == before
    else:
        top = 1 << 8 * pixel_format.packed
        assert len(screen.pixels) == W * H
        assert all(0 <= pixel < top for pixel in screen.pixels)


@given(rects(W, H), st.data())
def test_copy_is_a_memmove(rect: Rect, data: st.DataObject) -> None:
    source = Point(data.draw(st.integers(0, W - rect.width)), data.draw(st.integers(0, H - rect.height)))
    screen = background(PixelFormat.RGB565)
    before = list(screen.pixels)
    screen.apply(m.Copy(rect=rect, source=source))
    moved = [before[(source.y + y) * W + source.x + x] for y in range(rect.height) for x in range(rect.width)]
    expect(screen, before, rect, moved)


@given(rects(W, H), st.data())
def test_a_slot_keeps_pixels_and_size(rect: Rect, data: st.DataObject) -> None:
    place = Point(data.draw(st.integers(0, W - rect.width)), data.draw(st.integers(0, H - rect.height)))
    screen = background(PixelFormat.GREY8)
    kept = screen.read(rect)
    screen.apply(m.CacheStore(slot=3, rect=rect))
    screen.apply(m.Fill(rect=Rect(0, 0, W, H), pixel=b"\x01"))
    screen.apply(m.CacheDraw(slot=3, position=place))
    expect(screen, [1] * (W * H), Rect(place.x, place.y, rect.width, rect.height), kept)


def test_what_needs_an_offer_is_refused_without() -> None:
    screen = Framebuffer(W, H, PixelFormat.RGB565, deflate_bits=0)
    rect = Rect(0, 0, 1, 1)
    for message in (
        m.Codec(rect=rect, epoch=0x81, payload=b""),
        m.Deflate(rect=rect, inner=0x48, payload=b""),
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            screen.apply(message)
        assert caught.value.code is Code.NOT_OFFERED
    screen.apply(m.Ping(stamp=1))
    assert not any(screen.pixels)


def test_no_model_before_the_first_reset() -> None:
    screen = Framebuffer(W, H, PixelFormat.RGB565, model_kib=16)
    with pytest.raises(RemoteProtocolError) as caught:
        screen.apply(m.Codec(rect=Rect(0, 0, 1, 1), epoch=0, payload=b"\0"))
    assert caught.value.code is Code.BAD_VALUE


@given(
    st.sampled_from(list(PixelFormat)), st.binary(max_size=300), st.integers(8, 15), st.integers(0, 9), st.booleans()
)
def test_inflating(pixel_format: PixelFormat, data: bytes, bits: int, level: int, palette: bool) -> None:
    """Any stream of zlib's own for a window that is large enough; with less room or a byte more it is refused."""
    coder = zlib.compressobj(level, zlib.DEFLATED, -max(9, bits))
    stream = coder.compress(data) + coder.flush()
    window = max(9, bits)
    assert inflate(stream, window, len(data)) == data
    wrongs = [(stream + b"\0", len(data)), (stream[:-1], len(data)), *([(stream, len(data) - 1)] if data else [])]
    for wrong, bound in wrongs:
        with pytest.raises(RemoteProtocolError) as caught:
            inflate(wrong, window, bound)
        assert caught.value.code is Code.BAD_PAYLOAD
    screen = Framebuffer(W, H, pixel_format)
    cls, inner = (m.Palette, 0x49) if palette else (m.Raw, 0x48)
    rect = Rect(1, 1, 5, 3)
    outcomes: list[list[int] | Code] = []
    for message in (cls(rect=rect, payload=data), m.Deflate(rect=rect, inner=inner, payload=stream)):
        try:
            screen.apply(message)
            outcomes.append(screen.read(rect))
        except RemoteProtocolError as error:
            outcomes.append(error.code)
    assert outcomes[0] == outcomes[1]
    assert isinstance(outcomes[0], list) or outcomes[0] is Code.BAD_PAYLOAD


@pytest.mark.parametrize("bits", range(8, 16))
def test_no_distance_beyond_the_window(bits: int) -> None:
    """A match of 3 at the largest distance is taken, one further refused: by hand, since zlib's encoder stays below."""

    def stream(distance: int) -> bytes:
        code = next(code for code in reversed(range(30)) if _distance_base(code) <= distance)
        extra = max(0, code // 2 - 1)
        literals = f"{0x30:08b}" * distance
        bits = f"{distance - _distance_base(code):0{extra}b}"[::-1] if extra else ""
        return lsb_first("110" + literals + "0000001" + f"{code:05b}" + bits + "0000000")

    largest = 1 << bits
    assert len(inflate(stream(largest), bits, largest + 3)) == largest + 3
    if bits < 15:
        with pytest.raises(RemoteProtocolError) as caught:
            inflate(stream(largest + 1), bits, largest + 4)
        assert caught.value.code is Code.BAD_PAYLOAD


def _distance_base(code: int) -> int:
    """RFC 1951, 3.2.5."""
    return code + 1 if code < 4 else 1 + (2 + code % 2 << code // 2 - 1)


@pytest.mark.parametrize(
    ("pixel_format", "packed", "little", "big"),
    [
        (PixelFormat.RGB565, "3412", "3412", "1234"),
        (PixelFormat.XRGB8888, "332211", "33221100", "00112233"),
        (PixelFormat.RGB332, "e0", "e0", "e0"),
        (PixelFormat.GREY8, "7f", "7f", "7f"),
    ],
)
def test_stored_pixels(pixel_format: PixelFormat, packed: str, little: str, big: str) -> None:
    screen = Framebuffer(2, 1, pixel_format)
    screen.apply(m.Fill(rect=Rect(0, 0, 2, 1), pixel=bytes.fromhex(packed)))
    assert screen.stored().hex() == little * 2
    assert screen.stored(big_endian=True).hex() == big * 2
    assert len(screen.stored()) == 2 * pixel_format.stored


def test_resize_forgets_the_picture() -> None:
    screen = background(PixelFormat.RGB565)
    screen.apply(m.Resize(width=3, height=2))
    assert (screen.width, screen.height, screen.pixels) == (3, 2, [0] * 6)


def test_bits_of_an_index() -> None:
    assert [index_bits(count) for count in (2, 3, 4, 5, 16, 17, 128)] == [1, 2, 2, 4, 4, 8, 8]
    assert RUN_COLOURS == 64
