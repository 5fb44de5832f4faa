"""A picture of an LCD: read from QEMU and from PNG, compared as RGB565, and read as text."""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import trio

from tilewire.protocol import Rect
from tilewire.simulator.picture import save_png
from tilewire.simulator.runner_exits import RunError, RunExit

FIVE: Final = bytes(value & 0xF8 for value in range(256))
SIX: Final = bytes(value & 0xFC for value in range(256))
"""What 565 keeps of a byte: an LCD may show the bits by shifts, or replicated."""
PNG: Final = b"\x89PNG\r\n\x1a\n"
CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By PNG's colour type."""
MOST_PIXELS: Final = 1 << 24
OCR_S: Final = 60.0
LAYOUTS: Final = (6, 11)
"""Tesseract's --psm: one block of text, and text anywhere. Each finds what the other does not."""
TESSERACT: Final = "tesseract"


class PictureError(Exception):
    """It cannot be read, or compared: one plain sentence."""


@dataclass(frozen=True, eq=False)
class Screen:
    """`rgb`: 3 bytes a pixel, rows without gaps."""

    width: int
    height: int
    rgb: bytes

    @cached_property
    def planes(self) -> tuple[bytes, bytes, bytes]:
        """Red, green and blue as far as 565 keeps them."""
        return self.rgb[0::3].translate(FIVE), self.rgb[1::3].translate(SIX), self.rgb[2::3].translate(FIVE)

    def pixel(self, x: int, y: int) -> tuple[int, int, int]:
        """Red, green and blue. Raises PictureError outside."""
        if not (0 <= x < self.width and 0 <= y < self.height):
            raise PictureError(f"{x},{y} lies outside the picture of {self.width}x{self.height}")
        at = 3 * (y * self.width + x)
        return self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]

    def crop(self, rect: Rect) -> Screen:
        """Raises PictureError where it does not lie in the picture."""
        if rect.x + rect.width > self.width or rect.y + rect.height > self.height or not rect.width or not rect.height:
            raise PictureError(
                f"{rect.width}x{rect.height} at {rect.x},{rect.y} does not lie in the picture of "
                f"{self.width}x{self.height}"
            )
        row = 3 * self.width
        starts = (y * row + 3 * rect.x for y in range(rect.y, rect.y + rect.height))
        return Screen(rect.width, rect.height, b"".join(self.rgb[at : at + 3 * rect.width] for at in starts))

    def differing(self, other: Screen) -> int:
        """Pixels that are not the same in RGB565. Raises PictureError for another size."""
        if (self.width, self.height) != (other.width, other.height):
            raise PictureError(f"{self.width}x{self.height} pixels are not {other.width}x{other.height}")
        if self.planes == other.planes:
            return 0
        # Where any channel differs: as numbers of many digits, since a loop over pixels takes a second.
        change = 0
        for one, two in zip(self.planes, other.planes, strict=True):
            change |= int.from_bytes(one, "big") ^ int.from_bytes(two, "big")
        length = len(self.planes[0])
        return length - change.to_bytes(length, "big").count(0)

    def doubled(self) -> Screen:
        """Every pixel as 2 by 2."""
        wide = bytearray(2 * len(self.rgb))
        for channel in range(3):
            wide[channel::6] = wide[channel + 3 :: 6] = self.rgb[channel::3]
        row = 6 * self.width
        rows = (bytes(wide[at : at + row]) * 2 for at in range(0, len(wide), row))
        return Screen(2 * self.width, 2 * self.height, b"".join(rows))

    def ppm(self) -> bytes:
        """As a file."""
        return b"P6\n%d %d\n255\n" % (self.width, self.height) + self.rgb

    def save_png(self, path: Path) -> None:
        """Raises OSError."""
        save_png(path, self.rgb, (self.width, self.height))


def from_ppm(data: bytes) -> Screen:
    """What QEMU writes. Raises PictureError."""
    head = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
    if head is None:
        raise PictureError("QEMU gave no picture")
    width, height = int(head[1]), int(head[2])
    rgb = data[head.end() :]
    if len(rgb) != 3 * width * height:
        raise PictureError(f"QEMU gave {len(rgb)} bytes for a picture of {width}x{height}")
    return Screen(width, height, rgb)


def read_png(path: Path) -> Screen:
    """8 bits a channel, not interlaced; what is transparent is taken as it is. Raises PictureError."""
    try:
        return _parse_png(path.read_bytes())
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror}") from error
    except (PictureError, struct.error, zlib.error, IndexError) as error:
        raise PictureError(f"{path} is no PNG that can be compared: {error}") from error


def _parse_png(data: bytes) -> Screen:
    if not data.startswith(PNG):
        raise PictureError("it does not begin as one")
    at, kind, header, palette, packed = len(PNG), b"", b"", b"", b""
    while kind != b"IEND":
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        at += 12 + size
        if at > len(data):
            raise PictureError("it is cut off")
        if kind == b"IHDR":
            header = body
        elif kind == b"PLTE":
            palette = body
        elif kind == b"IDAT":
            packed += body
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if depth != 8 or interlaced or colour not in CHANNELS:
        raise PictureError("only 8 bits a channel without interlacing are read")
    if not 0 < width * height <= MOST_PIXELS:
        raise PictureError(f"it has {width}x{height} pixels")
    channels = CHANNELS[colour]
    row = width * channels
    raw = zlib.decompressobj().decompress(packed, (row + 1) * height)
    if len(raw) != (row + 1) * height:
        raise PictureError("it is cut off")
    return Screen(width, height, _to_rgb(_unfiltered(raw, row, channels), colour, palette))


def _unfiltered(raw: bytes, row: int, step: int) -> bytes:
    """RFC 2083, section 6."""
    out = bytearray()
    above = bytearray(row)
    for at in range(0, len(raw), row + 1):
        kind, line = raw[at], bytearray(raw[at + 1 : at + 1 + row])
        if kind == 2:
            line = bytearray((one + two) & 255 for one, two in zip(line, above, strict=True))
        elif kind:
            for i in range(row):
                left, upper = (line[i - step], above[i - step]) if i >= step else (0, 0)
                line[i] = (line[i] + _predicted(kind, left, above[i], upper)) & 255
        out += line
        above = line
    return bytes(out)


def _predicted(kind: int, left: int, above: int, upper_left: int) -> int:
    if kind == 1:
        return left
    if kind == 3:
        return (left + above) // 2
    if kind != 4:
        raise PictureError(f"it has a filter {kind}")
    guess = left + above - upper_left
    distances = (abs(guess - left), abs(guess - above), abs(guess - upper_left))
    return (left, above, upper_left)[distances.index(min(distances))]


def _to_rgb(pixels: bytes, colour: int, palette: bytes) -> bytes:
    channels = CHANNELS[colour]
    if colour == 2:
        return pixels
    if colour == 3:
        return b"".join(palette[3 * value : 3 * value + 3] for value in pixels)
    out = bytearray(len(pixels) // channels * 3)
    for channel in range(3):
        out[channel::3] = pixels[channel if colour == 6 else 0 :: channels]
    return bytes(out)


def find_tesseract() -> str:
    """Raises RunError."""
    path = shutil.which(TESSERACT)
    if path is None:
        raise RunError(
            "a step reads text, and tesseract is not installed (Debian: tesseract-ocr and tesseract-ocr-eng)",
            RunExit.NO_OCR,
        )
    return path


def words(text: str) -> str:
    """Without line breaks and double spaces, which depend on how letters are set."""
    return " ".join(text.split())


async def read_text(screen: Screen, program: str, layout: int = LAYOUTS[0]) -> str:
    """What tesseract reads there at twice the size. Raises RunError."""
    with trio.move_on_after(OCR_S):
        # One thread: several wait for each other on a busy machine.
        done = await trio.run_process(
            ["env", "OMP_THREAD_LIMIT=1", program, "stdin", "stdout", "-l", "eng", "--psm", str(layout)],
            stdin=screen.doubled().ppm(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        if done.returncode:
            why = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise RunError(f"tesseract cannot read the screen: {why[0]}", RunExit.NO_OCR)
        return words(done.stdout.decode("utf-8", "replace"))
    raise RunError(f"tesseract did not read the screen in {OCR_S:g} s", RunExit.NO_OCR)
