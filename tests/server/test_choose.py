"""Which encoding a rectangle gets, and why."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import PixelFormat, Reason, Rect
from tilewire.server.choose import Abilities, Choice, Encoding, choose
from tilewire.server.pixels import Surface, encode_palette, encode_raw, measure


def surface_of(width: int, height: int, pixel_format: PixelFormat, colours: int, seed: int = 1) -> Surface:
    """Pixels of so many values, in no order; all of them where there is room."""
    chance = random.Random(seed)
    values = chance.sample(range(256 if pixel_format.stored == 1 else 1 << 15), colours)
    surface = Surface(width, height, pixel_format)
    stored = pixel_format.stored
    for index in range(width * height):
        value = values[index] if index < colours else chance.choice(values)
        surface.pixels[index * stored : (index + 1) * stored] = value.to_bytes(stored, "little")
    return surface


@pytest.mark.parametrize("pixel_format", PixelFormat)
@pytest.mark.parametrize(
    ("size", "colours", "choice"),
    [
        ((1, 1), 1, Choice(Encoding.FILL, Reason.ONE_COLOUR)),
        ((64, 32), 1, Choice(Encoding.FILL, Reason.ONE_COLOUR)),
        ((64, 32), 2, Choice(Encoding.PALETTE, Reason.FEW_COLOURS)),
        ((64, 32), 16, Choice(Encoding.PALETTE, Reason.FEW_COLOURS)),
        ((2, 1), 2, Choice(Encoding.RAW, Reason.MANY_COLOURS)),
        ((64, 32), 129, Choice(Encoding.RAW, Reason.MANY_COLOURS)),
    ],
)
def test_choice(pixel_format: PixelFormat, size: tuple[int, int], colours: int, choice: Choice) -> None:
    surface = surface_of(*size, pixel_format, colours)
    assert choose(measure(surface, surface.rect)) == choice


@given(
    st.integers(1, 70),
    st.integers(1, 40),
    st.sampled_from(PixelFormat),
    st.integers(1, 200),
    st.integers(0, 1 << 16),
)
def test_the_choice_can_be_carried_out_and_is_the_smallest(
    width: int, height: int, pixel_format: PixelFormat, colours: int, seed: int
) -> None:
    surface = surface_of(width, height, pixel_format, min(colours, width * height), seed)
    rect = Rect(0, 0, width, height)
    payload = encode_palette(surface, rect, 1 << 20)
    raw = encode_raw(surface, rect)
    match choose(measure(surface, rect)).encoding:
        case Encoding.FILL:
            assert len({*zip(*[iter(raw)] * pixel_format.packed)}) == 1
        case Encoding.PALETTE:
            assert payload is not None
            assert len(payload) < len(raw)
        case Encoding.RAW:
            assert payload is None or len(payload) >= len(raw)


def photograph() -> Surface:
    """Smooth, with the grain that a camera leaves."""
    chance = random.Random(1)
    surface = Surface(64, 32, PixelFormat.XRGB8888)
    for y in range(32):
        for x in range(64):
            value = 60 + 2 * x + y + chance.randrange(12)
            surface.fill(Rect(x, y, 1, 1), value << 16 | (value - chance.randrange(9)) << 8 | value)
    return surface


@pytest.mark.parametrize(
    ("can", "quality", "encoding"),
    [
        (Abilities(codec=True), 75, Encoding.CODEC),
        (Abilities(codec=True, jpeg=True), 75, Encoding.JPEG),
        (Abilities(jpeg=True), 90, Encoding.JPEG),
        (Abilities(codec=True, jpeg=True, jpeg_half=True), 21, Encoding.JPEG),
        (Abilities(codec=True, jpeg=True, jpeg_half=True), 20, Encoding.JPEG_HALF),
        (Abilities(codec=True, jpeg=True), 10, Encoding.JPEG),
        (Abilities(deflate=True), 75, Encoding.DEFLATE),
    ],
)
def test_a_photograph_goes_as_device_and_quality_ask(can: Abilities, quality: int, encoding: Encoding) -> None:
    surface = photograph()
    choice = choose(measure(surface, surface.rect), can, quality)
    assert choice.encoding is encoding
    assert (choice.why is Reason.PHOTOGRAPH) is (encoding in (Encoding.JPEG, Encoding.JPEG_HALF))


def test_where_lossless_costs_little_it_stays_lossless() -> None:
    surface = photograph()
    stats = dataclasses.replace(measure(surface, surface.rect), gradients=(3000, 900, 0, 0, 0, 0, 0, 0, 0))
    assert stats.entropy < 1.1
    assert choose(stats, Abilities(codec=True, jpeg=True), 90).encoding is Encoding.CODEC
    assert choose(stats, Abilities(codec=True, jpeg=True), 10).encoding is Encoding.JPEG
