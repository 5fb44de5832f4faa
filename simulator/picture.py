"""A framebuffer's memory as a picture that people can look at."""

from __future__ import annotations

import sys
from array import array
from functools import cache
from pathlib import Path

import mss.tools

from tilewire.protocol import PixelFormat


@cache
def _rgb(pixel_format: PixelFormat) -> list[bytes]:
    """Red, green and blue of every pixel value, the bits replicated so that white is white."""
    if pixel_format is PixelFormat.RGB565:
        five = [value << 3 | value >> 2 for value in range(32)]
        six = [value << 2 | value >> 4 for value in range(64)]
        return [bytes((five[v >> 11], six[v >> 5 & 63], five[v & 31])) for v in range(65536)]
    if pixel_format is PixelFormat.RGB332:
        three = [value << 5 | value << 2 | value >> 1 for value in range(8)]
        two = [value * 0x55 for value in range(4)]
        return [bytes((three[v >> 5], three[v >> 2 & 7], two[v & 3])) for v in range(256)]
    return [bytes((v, v, v)) for v in range(256)]


def to_rgb(memory: bytes, pixel_format: PixelFormat, *, big_endian: bool = False) -> bytes:
    """Three bytes a pixel. `memory`: stored pixels without gaps between the rows."""
    if pixel_format is PixelFormat.XRGB8888:
        out = bytearray(len(memory) // 4 * 3)
        out[0::3], out[1::3], out[2::3] = memory[2::4], memory[1::4], memory[0::4]
        return bytes(out)
    values: array[int] | bytes = memory
    if pixel_format is PixelFormat.RGB565:
        values = array("H", memory)
        if big_endian is (sys.byteorder == "little"):
            values.byteswap()
    table = _rgb(pixel_format)
    return b"".join([table[value] for value in values])


def save_png(path: Path, rgb: bytes, size: tuple[int, int]) -> None:
    """Write a PNG. Raises OSError."""
    data = mss.tools.to_png(rgb, size)
    assert data is not None
    path.write_bytes(data)
