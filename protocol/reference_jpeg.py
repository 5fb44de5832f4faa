"""A baseline JPEG decoder as plainly as it can be said, for segments without their headers. SPEC.md 8.9.

It computes the exact result that the tolerance is measured from: the inverse DCT and the colours in real numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, floor, pi, sqrt
from typing import Final

from tilewire.protocol.constants import PixelFormat
from tilewire.protocol.errors import Code, RemoteProtocolError

SCALE_TWO: Final = 0x10
"""Bit of `sampling`: each pixel of the picture covers two by two of the rectangle."""

LUMA_QUANTISATION: Final = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_QUANTISATION: Final = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 32),
)
ZIGZAG: Final = (
    *(0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5),
    *(12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28),
    *(35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51),
    *(58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63),
)
"""Where in the table (row by row) each coefficient of the segment belongs."""

HUFFMAN: Final = {
    "DC of Y": """
        00 01 05 01 01 01 01 01 01 00 00 00 00 00 00 00
        00 01 02 03 04 05 06 07 08 09 0A 0B""",
    "DC of Cb and Cr": """
        00 03 01 01 01 01 01 01 01 01 01 00 00 00 00 00
        00 01 02 03 04 05 06 07 08 09 0A 0B""",
    "AC of Y": """
        00 02 01 03 03 02 04 03 05 05 04 04 00 00 01 7D
        01 02 03 00 04 11 05 12 21 31 41 06 13 51 61 07 22 71 14 32 81 91 A1 08 23 42 B1 C1 15 52 D1 F0
        24 33 62 72 82 09 0A 16 17 18 19 1A 25 26 27 28 29 2A 34 35 36 37 38 39 3A 43 44 45 46 47 48 49
        4A 53 54 55 56 57 58 59 5A 63 64 65 66 67 68 69 6A 73 74 75 76 77 78 79 7A 83 84 85 86 87 88 89
        8A 92 93 94 95 96 97 98 99 9A A2 A3 A4 A5 A6 A7 A8 A9 AA B2 B3 B4 B5 B6 B7 B8 B9 BA C2 C3 C4 C5
        C6 C7 C8 C9 CA D2 D3 D4 D5 D6 D7 D8 D9 DA E1 E2 E3 E4 E5 E6 E7 E8 E9 EA F1 F2 F3 F4 F5 F6 F7 F8
        F9 FA""",
    "AC of Cb and Cr": """
        00 02 01 02 04 04 03 04 07 05 04 04 00 01 02 77
        00 01 02 03 11 04 05 21 31 06 12 41 51 07 61 71 13 22 32 81 08 14 42 91 A1 B1 C1 09 23 33 52 F0
        15 62 72 D1 0A 16 24 34 E1 25 F1 17 18 19 1A 26 27 28 29 2A 35 36 37 38 39 3A 43 44 45 46 47 48
        49 4A 53 54 55 56 57 58 59 5A 63 64 65 66 67 68 69 6A 73 74 75 76 77 78 79 7A 82 83 84 85 86 87
        88 89 8A 92 93 94 95 96 97 98 99 9A A2 A3 A4 A5 A6 A7 A8 A9 AA B2 B3 B4 B5 B6 B7 B8 B9 BA C2 C3
        C4 C5 C6 C7 C8 C9 CA D2 D3 D4 D5 D6 D7 D8 D9 DA E2 E3 E4 E5 E6 E7 E8 E9 EA F2 F3 F4 F5 F6 F7 F8
        F9 FA""",
}
"""T.81 Annex K.3: how many codes have 1, 2, ... 16 bits, then their values."""

_CORE: Final = tuple(
    tuple((sqrt(0.5) if u == 0 else 1.0) * cos((2 * x + 1) * u * pi / 16) / 2 for u in range(8)) for x in range(8)
)
"""The inverse DCT of eight coefficients: what coefficient u gives to sample x."""

Rgb = tuple[int, int, int]


def _bad(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.BAD_PAYLOAD, f"JPEG: {text}")


def quantisation(quality: int, *, chroma: bool) -> list[int]:
    """The table of a quality from 1 to 100, row by row."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = CHROMA_QUANTISATION if chroma else LUMA_QUANTISATION
    return [min(255, max(1, (entry * scale + 50) // 100)) for entry in base]


def codes(name: str) -> dict[tuple[int, int], int]:
    """(length, code) to value of one Huffman table."""
    listed = bytes.fromhex(HUFFMAN[name])
    counts, values = listed[:16], listed[16:]
    table: dict[tuple[int, int], int] = {}
    code, at = 0, 0
    for length, count in enumerate(counts, 1):
        for value in values[at : at + count]:
            table[length, code] = value
            code += 1
        at += count
        code <<= 1
    return table


class _Bits:
    """The segment's bits, most significant first, without the stuffing."""

    def __init__(self, segment: bytes) -> None:
        self.data = bytearray()
        at = 0
        while at < len(segment):
            self.data.append(segment[at])
            if segment[at] == 0xFF:
                at += 1
                if segment[at : at + 1] != b"\0":
                    raise _bad("a marker")
            at += 1
        self.at = 0

    def bit(self) -> int:
        if self.at == 8 * len(self.data):
            raise _bad("the segment ends before the last MCU")
        byte = self.data[self.at >> 3]
        bit = byte >> 7 - (self.at & 7) & 1
        self.at += 1
        return bit

    def number(self, size: int) -> int:
        """A number of T.81 F.2.2.1: `size` bits, those of a negative one less by 1 and without their sign."""
        value = 0
        for _ in range(size):
            value = 2 * value + self.bit()
        return value if size == 0 or value >> size - 1 else value - (1 << size) + 1

    def symbol(self, table: dict[tuple[int, int], int]) -> int:
        code = 0
        for length in range(1, 17):
            code = 2 * code + self.bit()
            if (length, code) in table:
                return table[length, code]
        raise _bad("a code that the tables do not have")

    def end(self) -> None:
        if len(self.data) != self.at + 7 >> 3:
            raise _bad("bytes after the last MCU")


@dataclass
class _Component:
    """One plane: `across` x `down` blocks of each MCU, its tables, its samples by row."""

    across: int
    down: int
    quantisation: list[int]
    dc: dict[tuple[int, int], int]
    ac: dict[tuple[int, int], int]
    rows: list[list[int]] = field(default_factory=list)
    last_dc: int = 0


def _block(bits: _Bits, component: _Component) -> list[int]:
    """The dequantised coefficients of one block, row by row."""
    out = [0] * 64
    component.last_dc += bits.number(bits.symbol(component.dc))
    out[0] = component.last_dc * component.quantisation[0]
    at = 1
    while at < 64:
        symbol = bits.symbol(component.ac)
        zeros, size = symbol >> 4, symbol & 15
        if size == 0 and zeros < 15:
            break
        at += zeros
        if at > 63:
            raise _bad("a run beyond coefficient 63")
        place = ZIGZAG[at]
        out[place] = bits.number(size) * component.quantisation[place]
        at += 1
    return out


def _samples(coefficients: list[int]) -> list[list[int]]:
    """The inverse DCT: eight rows of eight samples, rounded, from 0 to 255."""
    if not any(coefficients[1:]):
        columns = [[coefficients[0] / 8] * 8] * 8
        return [[_level(value + 128) for value in row] for row in columns]
    half = [[sum(core[v] * coefficients[8 * v + u] for v in range(8)) for u in range(8)] for core in _CORE]
    return [[_level(sum(core[u] * row[u] for u in range(8)) + 128) for core in _CORE] for row in half]


def _level(value: float) -> int:
    return max(0, min(255, floor(value + 0.5)))


def _components(quality: int, chroma: int) -> list[_Component]:
    luma = quantisation(quality, chroma=False), codes("DC of Y"), codes("AC of Y")
    if chroma == 3:
        return [_Component(1, 1, *luma)]
    other = quantisation(quality, chroma=True), codes("DC of Cb and Cr"), codes("AC of Cb and Cr")
    across, down = ((1, 1), (2, 1), (2, 2))[chroma]
    return [_Component(across, down, *luma), _Component(1, 1, *other), _Component(1, 1, *other)]


def _colour(y: int, cb: int, cr: int) -> Rgb:
    cb, cr = cb - 128, cr - 128
    return _level(y + 1.402 * cr), _level(y - 0.344136 * cb - 0.714136 * cr), _level(y + 1.772 * cb)


def decode(segment: bytes, quality: int, sampling: int, width: int, height: int) -> list[Rgb]:
    """The 8-bit red, green and blue of a rectangle, row by row. Raises RemoteProtocolError (BAD_PAYLOAD)."""
    scale = 2 if sampling & SCALE_TWO else 1
    across, down = -(-width // scale), -(-height // scale)
    components = _components(quality, sampling & 0x0F)
    bits = _Bits(segment)
    mcu_width, mcu_height = 8 * components[0].across, 8 * components[0].down
    for _ in range(-(-down // mcu_height)):
        for component in components:
            component.rows += [[] for _ in range(8 * component.down)]
        for _ in range(-(-across // mcu_width)):
            for component in components:
                _mcu(bits, component)
    bits.end()
    return [_pixel(components, x // scale, y // scale) for y in range(height) for x in range(width)]


def _mcu(bits: _Bits, component: _Component) -> None:
    """The blocks of one component in one MCU are put to the right of its lowest rows."""
    for block_row in range(component.down):
        first = len(component.rows) - 8 * (component.down - block_row)
        for _ in range(component.across):
            for row, samples in zip(component.rows[first : first + 8], _samples(_block(bits, component))):
                row += samples


def _pixel(components: list[_Component], x: int, y: int) -> Rgb:
    """A chroma sample stands for all pixels that it covers."""
    luma = components[0]
    level = luma.rows[y][x]
    if len(components) == 1:
        return level, level, level
    cb, cr = (plane.rows[y // luma.down][x // luma.across] for plane in components[1:])
    return _colour(level, cb, cr)


def convert(colour: Rgb, pixel_format: PixelFormat) -> int:
    """A pixel of the panel (SPEC.md 5.2): by truncation."""
    red, green, blue = colour
    match pixel_format:
        case PixelFormat.RGB565:
            return red >> 3 << 11 | green >> 2 << 5 | blue >> 3
        case PixelFormat.XRGB8888:
            return red << 16 | green << 8 | blue
        case PixelFormat.RGB332:
            return red >> 5 << 5 | green >> 5 << 2 | blue >> 6
        case PixelFormat.GREY8:
            return 77 * red + 150 * green + 29 * blue >> 8
