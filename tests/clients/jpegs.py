"""JPEG segments made by libjpeg, and how a client is sent them."""

from __future__ import annotations

import io
import math

from PIL import Image

from tilewire.protocol import Code, Rect
from tilewire.protocol import messages as m
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


def message(rect: Rect, quality: int, sampling: int, file: bytes) -> m.Jpeg:
    return m.Jpeg(rect=rect, quality=quality, sampling=sampling, payload=segment_of(file))


def send(client: c.Client, *operations: m.Jpeg) -> Code | None:
    connect(client)
    client.feed(m.Begin(update=1, input=0).encode() + b"".join(x.encode() for x in operations) + m.End().encode())
    while client.pending:
        client.draw_done()
    return client.error
