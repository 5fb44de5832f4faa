"""JPEG segments made by libjpeg, and how a client is sent them."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence

from PIL import Image

from tilewire.protocol import Code, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.reference_jpeg import HUFFMAN, codes
from tilewire.simulator import client as c

from tests.clients.support import connect

S444, S422, S420, GREY = range(4)


def photograph(width: int, height: int) -> Image.Image:
    """Smooth, with all colours, and not the same in both directions."""
    picture = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            picture.putpixel(
                (x, y),
                (
                    int(127 + 120 * math.sin(x / 9)),
                    int(127 + 120 * math.cos((x + 2 * y) / 13)),
                    int(127 + 120 * math.sin(y / 7 + 1)),
                ),
            )
    return picture


def noise(width: int, height: int) -> Image.Image:
    """Any colours side by side."""
    return Image.frombytes("RGB", (width, height), random.Random(width * 100 + height).randbytes(3 * width * height))


def jpeg_file(picture: Image.Image, quality: int, sampling: int) -> bytes:
    """What Pillow's libjpeg writes: the standard Huffman tables, one scan, no restart markers."""
    out = io.BytesIO()
    if sampling == GREY:
        picture.convert("L").save(out, "JPEG", quality=quality)
    else:
        picture.save(out, "JPEG", quality=quality, subsampling=sampling)
    return out.getvalue()


def segment_of(file: bytes) -> bytes:
    """The entropy-coded segment between SOS and EOI."""
    at = 2
    while file[at : at + 2] != b"\xff\xda":
        at += 2 + int.from_bytes(file[at + 2 : at + 4], "big")
    assert file[-2:] == b"\xff\xd9"
    return file[at + 2 + int.from_bytes(file[at + 2 : at + 4], "big") : -2]


class Writer:
    """Writes a segment block by block, whatever its coefficients are."""

    def __init__(self) -> None:
        self._bits = ""
        self._codes = {name: {value: f"{code:0{n}b}" for (n, code), value in codes(name).items()} for name in HUFFMAN}

    def block(self, difference: int, coefficients: Sequence[tuple[int, int]] = (), *, chroma: bool = False) -> None:
        """DC's difference, then how many zeros before a coefficient and its value; (15, 0) are 16 zeros."""
        of = "Cb and Cr" if chroma else "Y"
        size, bits = _number(difference)
        self._bits += self._codes[f"DC of {of}"][size] + bits
        place = 0
        for zeros, value in coefficients:
            size, bits = _number(value)
            self._bits += self._codes[f"AC of {of}"][zeros << 4 | size] + bits
            place += zeros + 1
        if place < 63:
            self._bits += self._codes[f"AC of {of}"][0]

    def segment(self) -> bytes:
        """All blocks, filled with ones and stuffed."""
        bits = self._bits + "1" * (-len(self._bits) % 8)
        return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")


def _number(value: int) -> tuple[int, str]:
    """How many bits a number of T.81 F.1.2.1 has, and these."""
    size = abs(value).bit_length()
    return size, f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


def message(rect: Rect, quality: int, sampling: int, file: bytes) -> m.Jpeg:
    return m.Jpeg(rect=rect, quality=quality, sampling=sampling, payload=segment_of(file))


def send(client: c.Client, *operations: m.Jpeg) -> Code | None:
    connect(client)
    client.feed(m.Begin(update=1, input=0).encode() + b"".join(x.encode() for x in operations) + m.End().encode())
    while client.pending:
        client.draw_done()
    return client.error
