"""The codec's encoder against the reference decoder: what goes in comes out, and both models stay alike."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.protocol import PixelFormat, Rect, RemoteProtocolError
from tilewire.protocol import messages as m
from tilewire.protocol.errors import Code
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.reference_codec import MODEL_KIB
from tilewire.protocol.rules import EPOCHS, RESET
from tilewire.server.codec import HEADER_BYTES, TileCodec, Variant
from tilewire.server.pixels import Surface

W, H = 96, 64
ROOM = 1 << 20
EXAMPLES = settings(deadline=None, max_examples=150)
FORMATS = st.sampled_from(list(PixelFormat))
MODELS = st.sampled_from(MODEL_KIB)
VARIANTS = st.sampled_from(list(Variant))


def colours(kind: int, area: int, width: int, chance: random.Random) -> list[int]:
    """24 bits of each pixel: text, few colours, slopes, noise, one colour, a pattern."""
    if kind == 0:
        ink = chance.choice((0, 0x404040, 0x3366CC))
        return [0xFFFFFF if chance.random() < 0.8 else chance.choice((ink, 0x999999)) for _ in range(area)]
    if kind == 1:
        few = [chance.getrandbits(24) for _ in range(chance.choice((2, 3, 40, 1000)))]
        return [chance.choice(few) for _ in range(area)]
    if kind == 2:
        return [(at % width * 0x030201 + at // width * 0x010203 + chance.randrange(3)) & 0xFFFFFF for at in range(area)]
    if kind == 3:
        return [chance.getrandbits(24) for _ in range(area)]
    if kind == 4:
        return [chance.getrandbits(24)] * area
    pattern = [chance.getrandbits(24) for _ in range(8)]
    return [pattern[(at % width ^ at // width) % 8] for at in range(area)]


Tile = tuple[Rect, list[int], Variant]


@st.composite
def tiles(draw: st.DrawFn) -> Tile:
    """A rectangle of the panel, its pixels at 24 bits, and how it is encoded."""
    width = draw(st.sampled_from((1, 2, 3, 7, 16, 33, W)))
    height = draw(st.sampled_from((1, 2, 5, 12, H if width < 8 else 20)))
    rect = Rect(draw(st.integers(0, W - width)), draw(st.integers(0, H - height)), width, height)
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    return rect, colours(draw(st.integers(0, 5)), rect.area, width, chance), draw(VARIANTS)


class Bench:
    """The encoder, the picture that it reads, and a device."""

    def __init__(self, kib: int, pixel_format: PixelFormat) -> None:
        self.codec = TileCodec(kib, pixel_format, W)
        self.surface = Surface(W, H, pixel_format)
        self.device = Framebuffer(W, H, pixel_format, kib)
        self.mask = (1 << 8 * pixel_format.packed) - 1

    def paint(self, rect: Rect, pixels: list[int]) -> list[int]:
        """Put pixels into the picture; returns their values."""
        size = self.surface.format.stored
        values = [pixel & self.mask for pixel in pixels]
        self.surface.blit(rect, b"".join(value.to_bytes(size, "little") for value in values))
        return values

    def encode(self, tile: Tile, room: int = ROOM) -> m.Codec | None:
        """One operation, or None where it does not fit."""
        rect, pixels, variant = tile
        self.paint(rect, pixels)
        return self.codec.encode(self.surface, rect, variant, room)

    def sent(self, tile: Tile) -> m.Codec:
        """Encode, draw on the device, compare."""
        message = self.encode(tile)
        assert message is not None
        assert message.payload[0] == tile[2]
        self.show(message, tile)
        return message

    def show(self, message: m.Codec, tile: Tile) -> None:
        """The device draws a message that stands for this tile."""
        self.device.apply(message)
        assert self.device.read(tile[0]) == [pixel & self.mask for pixel in tile[1]]


@EXAMPLES
@given(MODELS, FORMATS, st.lists(tiles(), min_size=1, max_size=5))
def test_encode_then_decode_is_identity(kib: int, pixel_format: PixelFormat, made: list[Tile]) -> None:
    bench = Bench(kib, pixel_format)
    for number, tile in enumerate(made):
        assert bench.sent(tile).epoch == (1 if number else RESET | 1)


@EXAMPLES
@given(MODELS, FORMATS, st.lists(tiles(), min_size=2, max_size=4), st.data())
def test_without_room_nothing_changes(
    kib: int, pixel_format: PixelFormat, made: list[Tile], data: st.DataObject
) -> None:
    """One byte too few is None; with exactly the room it is the same bytes as ever."""
    bench, other = Bench(kib, pixel_format), Bench(kib, pixel_format)
    for tile in made:
        expected = other.sent(tile)
        size = HEADER_BYTES + len(expected.payload)
        short = data.draw(st.integers(HEADER_BYTES, size - 1))
        assert bench.encode(tile, short) is None
        assert bench.encode(tile, size - 1) is None
        assert bench.encode(tile, size) == expected


@EXAMPLES
@given(MODELS, FORMATS, st.lists(tiles(), min_size=1, max_size=3), st.lists(tiles(), min_size=1, max_size=3))
def test_roll_back_undoes_all_since_keep(
    kib: int, pixel_format: PixelFormat, sent: list[Tile], lost: list[Tile]
) -> None:
    bench = Bench(kib, pixel_format)
    # The very first update may be lost as well, with its reset.
    for tile in sent:
        bench.codec.keep()
        first = [bench.encode(one) for one in lost]
        bench.codec.roll_back()
        assert [bench.encode(one) for one in lost] == first
        bench.codec.roll_back()
        bench.sent(tile)


@EXAMPLES
@given(MODELS, FORMATS, tiles(), tiles())
def test_a_reset_forgets_everything(kib: int, pixel_format: PixelFormat, one: Tile, other: Tile) -> None:
    bench = Bench(kib, pixel_format)
    first = bench.sent(one)
    bench.sent(other)
    bench.codec.reset()
    again = bench.sent(one)
    assert again.payload == first.payload
    assert again.epoch == RESET | 2


def test_epochs_wrap() -> None:
    bench = Bench(16, PixelFormat.RGB565)
    tile = Rect(0, 0, 2, 1), [0xFFFF, 0], Variant.LIVE
    for number in range(1, 2 * EPOCHS + 2):
        assert bench.sent(tile).epoch == RESET | number % EPOCHS
        assert bench.sent(tile).epoch == number % EPOCHS
        bench.codec.reset()
        # Twice is once: nothing was sent between.
        bench.codec.reset()


@EXAMPLES
@given(FORMATS, st.lists(tiles(), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_damaged_payloads(pixel_format: PixelFormat, made: list[Tile], chance: random.Random) -> None:
    """Cut, grown or changed: BAD_PAYLOAD with the framebuffer as it was, or pixels inside the rectangle."""
    bench = Bench(16, pixel_format)
    messages = [bench.encode(tile) for tile in made]
    for kind in range(3):
        device = Framebuffer(W, H, pixel_format, 16)
        for message in messages:
            assert message is not None
            before = list(device.pixels)
            payload = message.payload
            if kind == 0:
                payload = payload[: chance.randrange(len(payload))]
            elif kind == 1:
                payload += bytes(chance.randrange(1, 5))
            else:
                payload = payload[:1] + bytes(b ^ (chance.random() < 0.1) * chance.randrange(256) for b in payload[1:])
            bad = m.Codec(rect=message.rect, epoch=message.epoch, payload=payload)
            refusal: Code | None = None
            try:
                device.apply(bad)
            except RemoteProtocolError as error:
                refusal = error.code
            assert refusal in (None, Code.BAD_PAYLOAD)
            if refusal:
                assert device.pixels == before
                break
            assert kind != 1, "bytes beyond the end were taken"
            assert all(0 <= pixel <= bench.mask for pixel in device.pixels)
            outside = [at for at in range(W * H) if not message.rect.contains(Rect(at % W, at // W, 1, 1))]
            assert all(device.pixels[at] == before[at] for at in outside)


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_longest_rows(pixel_format: PixelFormat, variant: Variant) -> None:
    width = 4096
    codec = TileCodec(48, pixel_format, width)
    surface = Surface(width, 2, pixel_format)
    device = Framebuffer(width, 2, pixel_format, 48)
    chance = random.Random(7)
    values = [255 if chance.random() < 0.995 else chance.randrange(255) for _ in range(2 * width)]
    surface.blit(surface.rect, b"".join(value.to_bytes(pixel_format.stored, "little") for value in values))
    message = codec.encode(surface, surface.rect, variant, ROOM)
    assert message is not None
    device.apply(message)
    assert device.pixels == values


def test_a_model_that_lives_on_pays() -> None:
    """The same specks again take fewer bytes: their surroundings are known."""
    bench = Bench(48, PixelFormat.RGB565)
    tile = Rect(0, 0, W, 20), colours(0, W * 20, W, random.Random(3)), Variant.LIVE
    first = len(bench.sent(tile).payload)
    for _ in range(3):
        again = len(bench.sent(tile).payload)
    assert again < 0.75 * first
