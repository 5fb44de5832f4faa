"""Makes protocol/vector_payloads.py: payloads for the golden vectors that only the server's encoders can make.

python -m tools.make_vector_payloads

What it writes is committed, so that the vectors depend on no encoder; run it when the bit stream changes.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import simplejpeg

from tilewire.protocol import PixelFormat, Rect
from tilewire.protocol import vector_payload_types as p
from tilewire.protocol.errors import RemoteProtocolError
from tilewire.protocol.reference_codec import MODEL_KIB, Model, decode
from tilewire.protocol.reference_jpeg import convert
from tilewire.protocol.rules import RESET
from tilewire.server.codec import TileCodec, Variant
from tilewire.server.jpeg import entropy_coded
from tilewire.server.pixels import Surface

OUT = Path(__file__).resolve().parent.parent / "protocol/vector_payloads.py"
ROOM = 1 << 20

Colour = tuple[int, int, int]
LIVE, REST = Variant.LIVE, Variant.REST
WHITE, BLACK, BLUE = (255, 255, 255), (0, 0, 0), (51, 102, 204)


@dataclass(frozen=True, slots=True)
class Picture:
    """8-bit colours, row by row."""

    width: int
    height: int
    colours: list[Colour]

    def pixels(self, pixel_format: PixelFormat) -> list[int]:
        """As values of a panel."""
        return [convert(colour, pixel_format) for colour in self.colours]


def mixed(paper: Colour, ink: Colour, part: int) -> Colour:
    """`part` of 255 ink."""
    red, green, blue = (p + (i - p) * part // 255 for p, i in zip(paper, ink))
    return red, green, blue


def flat(width: int, height: int, colour: Colour) -> Picture:
    """One colour."""
    return Picture(width, height, [colour] * (width * height))


def text(width: int, height: int, seed: int, paper: Colour = WHITE, ink: Colour = BLACK) -> Picture:
    """Blots with soft edges on lines: eight letters, again and again."""
    rng = Random(seed)
    letters = [[[rng.choice((0, 0, 0, 90, 200, 255)) for _ in range(5)] for _ in range(7)] for _ in range(8)]
    colours = [paper] * (width * height)
    for top in range(2, height - 7, 11):
        for left in range(2, width - 5, 6):
            for y, row in enumerate(rng.choice([*letters, [[0] * 5] * 7])):
                for x, part in enumerate(row):
                    colours[(top + y) * width + left + x] = mixed(paper, ink, part)
    return Picture(width, height, colours)


def photograph(width: int, height: int, seed: int) -> Picture:
    """A slope of colours with some noise."""
    rng = Random(seed)
    colours: list[Colour] = []
    for y in range(height):
        for x in range(width):
            base = (60 + 5 * x % 120, 200 - 3 * y % 150, 40 + 2 * (x + y) % 200)
            red, green, blue = (min(255, max(0, level + rng.randrange(-9, 10))) for level in base)
            colours.append((red, green, blue))
    return Picture(width, height, colours)


def noise(width: int, height: int, seed: int, colours: int = 0) -> Picture:
    """No order at all; `colours`: that many different ones."""
    rng = Random(seed)

    def some() -> Colour:
        return rng.randrange(256), rng.randrange(256), rng.randrange(256)

    palette = [some() for _ in range(colours)]
    return Picture(width, height, [rng.choice(palette) if palette else some() for _ in range(width * height)])


def specks(width: int, height: int, seed: int, every: int, paper: Colour = WHITE) -> Picture:
    """One colour with single pixels of others."""
    rng = Random(seed)
    inks = (BLACK, BLUE, (250, 250, 250))
    return Picture(
        width,
        height,
        [rng.choice(inks) if rng.randrange(every) == 0 else paper for _ in range(width * height)],
    )


def tiled(width: int, height: int, seed: int, colours: int) -> Picture:
    """A pattern of 8x8 pixels that comes again with faults: places where guesses are right and places where not."""
    rng = Random(seed)
    pattern = noise(8, 8, seed, colours).colours
    out = [pattern[y % 8 * 8 + x % 8] for y in range(height) for x in range(width)]
    for _ in range(width * height // 20):
        out[rng.randrange(len(out))] = rng.choice(pattern)
    return Picture(width, height, out)


def levels(width: int, height: int, step: int) -> Picture:
    """A smooth slope."""
    return Picture(
        width,
        height,
        [(x * step % 256, x * step % 256, (x + y) * step % 256) for y in range(height) for x in range(width)],
    )


Tile = tuple[Picture, Variant]


def everyday(seed: int) -> list[Tile]:
    """What a screen brings, with every small size."""
    return [
        (text(46, 24, seed), LIVE),
        (flat(1, 1, WHITE), LIVE),
        (text(46, 24, seed + 1), REST),
        (levels(1, 19, 9), REST),
        (text(37, 11, seed), LIVE),
        (Picture(37, 1, text(37, 11, seed).colours[37 * 4 : 37 * 5]), LIVE),
        (flat(64, 32, WHITE), LIVE),
        (specks(64, 16, seed, 60), REST),
        (photograph(20, 14, seed), LIVE),
        (photograph(20, 14, seed + 1), REST),
        (noise(9, 7, seed), LIVE),
        (text(46, 24, seed), LIVE),
    ]


def series() -> Iterator[tuple[str, str, PixelFormat, int, list[Tile]]]:
    """Name, what it is, format, model, tiles; each begins with a reset."""
    for number, pixel_format in enumerate(PixelFormat):
        for kib in MODEL_KIB:
            name = f"{pixel_format.name.lower()}-{kib}"
            yield name, "text, flat, photograph, noise, small sizes", pixel_format, kib, everyday(100 * number + kib)
    for kib in MODEL_KIB:
        tiles = [
            (tiled(40, 24, 1, 3), LIVE),
            (tiled(40, 24, 1, 3), LIVE),
            (tiled(40, 32, 2, 30), REST),
            (tiled(64, 32, 3, 12), LIVE),
            (specks(64, 48, 4, 9), LIVE),
            (noise(40, 30, 5, 900), LIVE),
            (tiled(64, 32, 3, 12), REST),
            (text(64, 35, 6, (0, 43, 54), (147, 161, 161)), LIVE),
            (text(64, 35, 6, (0, 43, 54), (147, 161, 161)), REST),
        ]
        yield f"tables-xrgb8888-{kib}", "more colours and neighbourhoods than fit", PixelFormat.XRGB8888, kib, tiles
        yield f"tables-rgb565-{kib}", "more colours and neighbourhoods than fit", PixelFormat.RGB565, kib, tiles
    ones = [flat(1, 1, BLUE), flat(1, 1, BLUE), flat(1, 1, WHITE)]
    yield "ones", "single pixels", PixelFormat.RGB565, 16, [(one, LIVE) for one in ones]
    wide = [
        (specks(4096, 3, 1, 500), LIVE),
        (specks(4096, 2, 2, 1500), REST),
        (flat(4096, 4, WHITE), LIVE),
        (specks(1, 700, 3, 40), LIVE),
        (specks(2, 300, 4, 40), REST),
        (specks(3, 200, 5, 40), LIVE),
    ]
    yield "longest", "rows of 4,096, and rows of few pixels", PixelFormat.RGB332, 48, wide
    yield "grey-longest", "rows of 4,096, and rows of few pixels", PixelFormat.GREY8, 16, wide


def stored(pixels: list[int], pixel_format: PixelFormat) -> bytes:
    """As a panel keeps them."""
    return b"".join(pixel.to_bytes(pixel_format.stored, "little") for pixel in pixels)


class Encoder:
    """The server's encoder, checked by the reference decoder."""

    def __init__(self, kib: int, pixel_format: PixelFormat) -> None:
        self.format = pixel_format
        self.codec = TileCodec(kib, pixel_format, 4096)
        self.model = Model(kib, pixel_format)

    def encode(self, picture: Picture, variant: Variant) -> bytes:
        """The payload."""
        pixels = picture.pixels(self.format)
        rect = Rect(0, 0, picture.width, picture.height)
        surface = Surface(picture.width, picture.height, self.format)
        surface.blit(rect, stored(pixels, self.format))
        message = self.codec.encode(surface, rect, variant, ROOM)
        assert message is not None
        assert bool(message.epoch & RESET) == (not any(self.model.slots))
        assert decode(self.model, message.payload, picture.width, picture.height) == pixels
        return message.payload


def codec() -> list[p.Series]:
    """The series of tiles, encoded."""
    made = []
    for name, about, pixel_format, kib, tiles in series():
        encoder = Encoder(kib, pixel_format)
        listed = tuple(
            p.Tile(
                picture.width,
                picture.height,
                hashlib.sha256(stored(picture.pixels(pixel_format), pixel_format)).hexdigest(),
                encoder.encode(picture, variant).hex(),
            )
            for picture, variant in tiles
        )
        made.append(p.Series(name, about, pixel_format.name, kib, listed))
    return made


def corrupt() -> str:
    """A payload for 40x8 pixels of RGB565 with a break beyond its stretch, by search."""
    for seed in range(100_000):
        payload = b"\0" + Random(seed).randbytes(30)
        try:
            decode(Model(16, PixelFormat.RGB565), payload, 40, 8)
        except RemoteProtocolError as error:
            if "a break" in str(error):
                return payload.hex()
    raise AssertionError("no such payload found")


def jpeg() -> list[p.Segment]:
    """Segments of every sampling and scale."""
    names = ("444", "422", "420", "grey")
    listed: list[tuple[str, Picture, int, int]] = []
    for sampling, name in enumerate(names):
        listed += [
            (f"photograph-{name}", photograph(35, 21, sampling), 75, sampling),
            (f"text-{name}", text(30, 13, sampling, WHITE, (200, 0, 0)), 90, sampling),
            (f"half-{name}", photograph(17, 9, sampling), 85, sampling | 0x10),
            (f"one-pixel-{name}", flat(1, 1, (200, 100, 50)), 60, sampling),
        ]
    for quality in (1, 10, 49, 50, 100):
        listed.append((f"noise-q{quality}", noise(16, 16, quality), quality, 0))
    listed += [
        ("edges-420", noise(24, 24, 9, 3), 95, 2),
        ("edges-422", noise(24, 8, 9, 3), 95, 1),
        ("flat-420", flat(40, 24, (200, 100, 50)), 75, 2),
    ]
    made = []
    for name, picture, quality, sampling in listed:
        scale = 2 if sampling & 0x10 else 1
        sides = picture.width, picture.height
        rgb = bytes(level for colour in picture.colours for level in colour)
        if sampling & 0x0F == 3:
            grey = bytes(convert(colour, PixelFormat.GREY8) for colour in picture.colours)
            view = memoryview(grey).cast("B", (picture.height, picture.width, 1))
            whole = simplejpeg.encode_jpeg(view, quality, "GRAY", "Gray")
        else:
            view = memoryview(rgb).cast("B", (picture.height, picture.width, 3))
            whole = simplejpeg.encode_jpeg(view, quality, "RGB", names[sampling & 0x0F])
        # Of a rectangle with an odd side the last half pixel is cut off.
        width, height = (scale * side - (scale - 1) for side in sides)
        made.append(p.Segment(name, width, height, quality, sampling, entropy_coded(whole).hex()))
    return made


def deflated(data: bytes, bits: int, strategy: int = zlib.Z_DEFAULT_STRATEGY, level: int = 9) -> str:
    """One raw stream."""
    coder = zlib.compressobj(level, zlib.DEFLATED, -bits, 9, strategy)
    return (coder.compress(data) + coder.flush()).hex()


def deflate() -> dict[str, str]:
    """Streams of what stands in vectors_encoded.py: they are named there, and compared after inflating."""
    picture = text(40, 24, 7)
    raw = b"".join(pixel.to_bytes(2, "little") for pixel in picture.pixels(PixelFormat.RGB565))
    flat_and_far = raw[:80] + bytes(800) + raw[:80]
    return {
        "raw-dynamic": deflated(raw, 15),
        "raw-fixed": deflated(raw, 15, zlib.Z_FIXED),
        "raw-stored": deflated(raw, 15, level=0),
        "raw-window-512": deflated(raw, 9),
        "raw-far": deflated(flat_and_far, 15),
        "raw-far-window-512": deflated(flat_and_far, 9),
        "bomb": deflated(bytes(1 << 19), 15),
        "palette-packed": deflated(bytes((1, 255, 255, 0, 0)) + bytes((0xAA, 0xAA, 0x55, 0x55)) * 24, 15),
        "palette-runs": deflated(bytes((0x81, 255, 255, 0, 0)) + bytes((0xFE, 0xC0, 0x05, 1)), 15),
    }


HEAD = '''"""Payloads that only encoders can make, for vectors_encoded.py. Written by tools/make_vector_payloads.py."""

from typing import Final

from tilewire.protocol.vector_payload_types import Segment, Series, Tile

'''
COLUMNS = 112


def literal(payload: str, indent: str) -> str:
    """Hex text over several lines."""
    if len(payload) <= 80:
        return f'"{payload}"'
    rows = [payload[at : at + COLUMNS - 16] for at in range(0, len(payload), COLUMNS - 16)]
    return '"""\n' + "".join(f"{indent}{row}\n" for row in rows) + indent + '"""'


def source() -> str:
    """The module."""
    out = [HEAD, "CODEC: Final = (\n"]
    for one in codec():
        out.append(f'    Series(\n        "{one.name}",\n        "{one.about}",\n')
        out.append(f'        "{one.format}",\n        {one.model_kib},\n        (\n')
        for tile in one.tiles:
            out.append(f"            Tile(\n                {tile.width},\n                {tile.height},\n")
            out.append(f'                "{tile.sha256}",\n')
            out.append(f"                {literal(tile.payload, ' ' * 16)},\n            ),\n")
        out.append("        ),\n    ),\n")
    out.append(f')\n\nCODEC_CORRUPT: Final = "{corrupt()}"\n"""40x8 pixels of RGB565 in 16 KiB."""\n\n')
    out.append("DEFLATE: Final = {\n")
    out += [f'    "{name}": {literal(stream, " " * 8)},\n' for name, stream in deflate().items()]
    out.append("}\n\nJPEG: Final = (\n")
    for segment in jpeg():
        numbers = f"{segment.width}, {segment.height}, {segment.quality}, {segment.sampling:#04x}"
        out.append(f'    Segment("{segment.name}", {numbers}, {literal(segment.payload, " " * 8)}),\n')
    return "".join(out) + ")\n"


def main() -> None:
    OUT.write_text(source())
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", OUT], check=True)
    print(f"written: {OUT.name}, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
