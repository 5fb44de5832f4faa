"""Which encoding a rectangle gets, and why."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import PixelFormat, Reason, Rect
from tilewire.server.choose import Choice, Encoding, choose
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
