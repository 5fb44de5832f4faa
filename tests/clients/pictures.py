"""Pictures to code: flat, written, drawn, shaded, noisy, and what happens to lie between."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from tilewire.protocol import PixelFormat, Rect
from tilewire.server.pixels import Surface

KINDS = ("flat", "text", "boxes", "shade", "noise", "mixed")


def value_of(red: int, green: int, blue: int, pixel_format: PixelFormat) -> int:
    """SPEC.md 5.2."""
    match pixel_format:
        case PixelFormat.RGB565:
            return (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
        case PixelFormat.XRGB8888:
            return red << 16 | green << 8 | blue
        case PixelFormat.RGB332:
            return (red >> 5) << 5 | (green >> 5) << 2 | blue >> 6
        case _:
            return (77 * red + 150 * green + 29 * blue) >> 8


def picture(kind: str, width: int, height: int, pixel_format: PixelFormat, seed: int) -> list[int]:
    """Values of a picture of this kind, row by row; the same for the same seed."""
    chance = random.Random(seed)
    top = (1 << 8 * pixel_format.packed) - 1
    colours = [chance.randint(0, top) for _ in range(chance.randint(2, 9))]
    out = [colours[0]] * (width * height)
    if kind in ("text", "mixed"):
        glyphs = [[chance.randrange(4) for _ in range(35)] for _ in range(6)]
        for at in range(width // 6 * (height // 8)):
            left, upper = at % (width // 6) * 6, at // (width // 6) * 8
            glyph = glyphs[chance.randrange(6)]
            for i, ink in enumerate(glyph):
                if ink > 1:
                    out[(upper + i // 5) * width + left + i % 5] = colours[ink % len(colours)]
    if kind in ("boxes", "mixed"):
        for _ in range(4):
            x, y = chance.randrange(width), chance.randrange(height)
            colour = chance.choice(colours)
            for row in range(y, min(height, y + chance.randint(1, 9))):
                for column in range(x, min(width, x + 11)):
                    out[row * width + column] = colour
    if kind == "shade":
        red, green, blue = (chance.uniform(0, 4) for _ in range(3))
        out = [
            value_of(
                int(x * red + y) & 255,
                int(x * green + 2 * y) & 255,
                int(x * blue + chance.random() * 3) & 255,
                pixel_format,
            )
            for y in range(height)
            for x in range(width)
        ]
    if kind in ("noise", "mixed"):
        first = 0 if kind == "noise" else len(out) * 3 // 4
        for at in range(first, len(out)):
            out[at] = chance.randint(0, top)
    return out


def pack_stored(values: list[int], pixel_format: PixelFormat, *, big_endian: bool = False) -> bytes:
    """Stored pixels."""
    order = "big" if big_endian else "little"
    return b"".join(value.to_bytes(pixel_format.stored, order) for value in values)  # type: ignore[arg-type]


def surface(values: list[int], width: int, height: int, pixel_format: PixelFormat) -> Surface:
    """The server's picture with these pixels."""
    made = Surface(width, height, pixel_format)
    made.blit(Rect(0, 0, width, height), pack_stored(values, pixel_format))
    return made


kinds = st.sampled_from(KINDS)
seeds = st.integers(0, 2**32 - 1)
