"""Whole JPEG files around segments without headers, for decoders that know nothing of tilewire."""

from __future__ import annotations

import simplejpeg

from tilewire.protocol.reference_jpeg import HUFFMAN, SCALE_TWO, ZIGZAG, Rgb, quantisation

SAMPLINGS = {0: 0x11, 1: 0x21, 2: 0x22, 3: 0x11}
"""Sampling factors of Y."""


def _marker(number: int, body: bytes) -> bytes:
    return bytes((0xFF, number)) + (len(body) + 2).to_bytes(2, "big") + body


def whole(segment: bytes, quality: int, sampling: int, width: int, height: int) -> bytes:
    """The file whose picture this segment is; `width` and `height` are the rectangle's."""
    scale = 2 if sampling & SCALE_TWO else 1
    chroma = sampling & 0x0F
    components = (1,) if chroma == 3 else (1, 2, 3)
    out = b"\xff\xd8"
    for number in (0, 1):
        table = quantisation(quality, chroma=number == 1)
        out += _marker(0xDB, bytes((number, *(table[place] for place in ZIGZAG))))
    frame = b"\x08" + (-(-height // scale)).to_bytes(2, "big") + (-(-width // scale)).to_bytes(2, "big")
    frame += bytes((len(components),))
    for number in components:
        frame += bytes((number, SAMPLINGS[chroma] if number == 1 else 0x11, number > 1))
    out += _marker(0xC0, frame)
    for head, name in ((0x00, "DC of Y"), (0x10, "AC of Y"), (0x01, "DC of Cb and Cr"), (0x11, "AC of Cb and Cr")):
        out += _marker(0xC4, bytes((head,)) + bytes.fromhex(HUFFMAN[name]))
    scan = bytes((len(components),)) + b"".join(bytes((number, 0x11 * (number > 1))) for number in components)
    return out + _marker(0xDA, scan + b"\x00\x3f\x00") + segment + b"\xff\xd9"


def decoded(segment: bytes, quality: int, sampling: int, width: int, height: int) -> list[Rgb]:
    """What libjpeg-turbo makes of it, with the chroma that SPEC.md asks for. Raises ValueError for what it refuses."""
    file = whole(segment, quality, sampling, width, height)
    picture = simplejpeg.decode_jpeg(file, "RGB", fastdct=False, fastupsample=True, strict=True).tolist()
    scale = 2 if sampling & SCALE_TWO else 1
    return [tuple(picture[y // scale][x // scale]) for y in range(height) for x in range(width)]
