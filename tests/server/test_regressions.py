"""Histories and pictures that once went wrong. One test each, named by what must hold."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from tilewire.protocol import Capability, PixelFormat, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.rules import Rules
from tilewire.server.codec import TileCodec, Variant
from tilewire.server.encoder import REFINE_PIXELS, Encoder, Update, within
from tilewire.server.motion import MoveFinder
from tilewire.server.pixels import PixelState, Screen, Shadow, Surface
from tilewire.server.view import View
from tilewire.server.viewers import is_brief

from tests.support import hello

SIZE = (64, 32)


class Device:
    """An encoder, and the reference decoder behind it."""

    def __init__(self, size: tuple[int, int], **offer: object) -> None:
        greeting = hello(panel=size, capabilities=Capability.COPY, model_kib=16, **offer)  # type: ignore[arg-type]
        self.size = size
        self.encoder = Encoder(greeting, Capability.COPY)
        self.framebuffer, self.rules = Framebuffer.of(greeting), Rules(greeting)
        self.rules.capabilities = Capability.COPY
        self.screen, self.view = Screen(*size), View(size, size)
        self.now_s = 10.0

    def show(self, picture: Image.Image, *, decode: bool = True) -> Update:
        red, green, blue = picture.split()
        self.screen.blit(Rect(0, 0, *self.size), Image.merge("RGBA", (blue, green, red, red)).tobytes())
        self.encoder.convert(self.screen, self.view, [self.encoder.panel])
        self.now_s += 1.0
        update = self.encoder.build([self.encoder.panel], (0, 0), self.now_s)
        if decode:
            for operation in update.operations:
                self.rules.check(operation, from_client=False)
                self.framebuffer.apply(operation)
            assert self.framebuffer.stored() == bytes(self.encoder.shadow.pixels)
        return update


def noise(seed: int, size: tuple[int, int]) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(size[0] * size[1] * 3))


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_slot_that_is_about_to_be_drawn_is_not_given_away(slots: int) -> None:
    """What the tile showed was stored in the only slot, between finding the new pixels there and drawing them."""
    device = Device(SIZE, cache=m.CacheOffer(slots=slots, slot_bytes=2048))
    first, second = noise(1, SIZE), noise(1, SIZE)
    second.paste(noise(2, (32, 32)), (32, 0))
    used = set()
    for picture in (first, second) * 3:
        used |= {operation.name for operation in device.show(picture).operations}
    assert {"CACHE_STORE", "CACHE_DRAW"} <= used


def test_one_refinement_keeps_to_its_pixels() -> None:
    """A photograph went as one JPEG and came back whole: nothing else could be sent for seconds."""
    size = (512, 512)
    device = Device(size, jpeg=m.JpegOffer(subsamplings=7, scales=1), max_rect=(512, 512 * 512), max_message=1 << 20)
    smooth = noise(3, (16, 16)).resize(size, Image.Resampling.BICUBIC)
    shown = device.show(Image.blend(smooth, noise(4, size), 0.08), decode=False)
    assert max(operation.rect.area for operation in shown.operations if isinstance(operation, m.Jpeg)) > REFINE_PIXELS
    updates, encoder = 0, device.encoder
    while (due := encoder.refinable_s()) < float("inf"):
        update = encoder.refine(due)
        areas = [operation.rect.area for operation in update.operations if isinstance(operation, m.Codec | m.Raw)]
        assert len(areas) == len(update.operations)
        assert 0 < sum(areas) <= REFINE_PIXELS + size[0]
        updates += 1
    assert updates >= size[0] * size[1] // (REFINE_PIXELS + size[0])
    assert encoder.shadow.count(encoder.panel).exact == size[0] * size[1]


@pytest.mark.parametrize(
    ("pixels", "upper", "lower"),
    [(0, None, 4), (-3, None, 4), (1, 1, 3), (19, 1, 3), (20, 2, 2), (39, 3, 1), (40, 4, None), (1000, 4, None)],
)
def test_within(pixels: int, upper: int | None, lower: int | None) -> None:
    now, later = within(Rect(5, 6, 10, 4), pixels)
    assert (now and now.height, later and later.height) == (upper, lower)
    assert (now or later) is not None
    parts = [part for part in (now, later) if part is not None]
    assert parts[0].y == 6
    assert parts[-1].bottom == 10


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_what_the_codec_makes_longer_goes_raw(pixel_format: PixelFormat) -> None:
    """SPEC.md 9.1."""
    device = Device(SIZE, pixel_format=pixel_format)
    for seed in range(3):
        update = device.show(noise(seed, SIZE))
        for operation in update.operations:
            if isinstance(operation, m.Codec):
                assert len(operation.payload) < operation.rect.area * pixel_format.packed
    text = Image.new("RGB", SIZE, "white")
    text.paste("black", (3, 3, 5, 20))
    assert "CODEC" in {operation.name for operation in device.show(text).operations}


def test_the_search_for_moves_is_bounded() -> None:
    """Every third column of blocks broken in every other row: runs of all heights, and rows without end to follow."""
    width, height = 256, 4096
    old = random.Random(5).randbytes(width * height)
    new = bytearray(old[5 * width :] + old[: 5 * width])
    for y in range(1, height, 2):
        for x in range(8, width, 24):
            new[y * width + x : y * width + x + 8] = bytes(8)
    shadow, now = Shadow(width, height, PixelFormat.GREY8), Surface(width, height, PixelFormat.GREY8)
    shadow.pixels[:] = old
    shadow.states[:] = bytes([PixelState.EXACT]) * (width * height)
    now.pixels[:] = bytes(new)
    expected = bytearray(old)
    for rect, source in MoveFinder().find(now, shadow, now.rect):
        rows = [bytes(expected[(source.y + row) * width + source.x :][: rect.width]) for row in range(rect.height)]
        for row, pixels in enumerate(rows):
            at = (rect.y + row) * width + rect.x
            expected[at : at + rect.width] = pixels
            assert pixels == now.pixels[at : at + rect.width]
    assert bytes(shadow.pixels) == bytes(expected)
    assert bytes(expected) != old


def test_changes_far_apart_are_no_brief_work() -> None:
    """Two small changes in opposite corners: the search for moves between them took long, and everybody waited."""
    apart = [Rect(0, 0, 60, 60), Rect(1200, 660, 60, 80)]
    assert not is_brief(apart, (0, 0))
    assert is_brief(apart[:1], (0, 0))
    assert is_brief([Rect(0, 0, 2, 16), Rect(1200, 680, 8, 16)], (0, 0))
    assert not is_brief([Rect(0, 0, 400, 300)], (0, 0))
    assert not is_brief(apart[:1], (3, 0))
    assert is_brief([], (0, 0))


def test_a_rectangle_that_must_be_split_is_not_tried_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise in messages of 1 KiB: whole, in halves, in quarters and so on was each tried, twice the work in all."""
    tries = 0
    encode = TileCodec.encode

    def counted(self: TileCodec, surface: Surface, rect: Rect, variant: Variant, room: int) -> m.Codec | None:
        nonlocal tries
        tries += 1
        return encode(self, surface, rect, variant, room)

    monkeypatch.setattr(TileCodec, "encode", counted)
    device = Device((256, 128), max_message=1024, pixel_format=PixelFormat.XRGB8888)
    sent = len(device.show(noise(6, (256, 128))).operations)
    assert sent >= 64
    assert tries < sent + 12
