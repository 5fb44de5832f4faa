"""What a panel must show of an X display, by the formulas of SPEC.md 5.2 and 6.1 and nothing of the server's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import mss
from mss.exception import ScreenShotError

from tilewire.simulator.fleet_plan import Look
from tilewire.simulator.screen import FIVE, SIX

Planes = tuple[bytes, bytes, bytes]
"""Red, green and blue, 8 bits each, rows without gaps."""
Size = tuple[int, int]

_RED_332: Final = bytes(value & 0xE0 for value in range(256))
_GREEN_332: Final = bytes(value >> 5 << 2 for value in range(256))
_BLUE_332: Final = bytes(value >> 6 for value in range(256))
_GREY: Final = [[share * value for value in range(256)] for share in (77, 150, 29)]


class VerifyError(Exception):
    """The display cannot be read: one plain sentence."""


class Verifier:
    """Reads a display again and again. Not for use by two threads at once."""

    def __init__(self, display: str) -> None:
        self._display = display
        self._screen = b""
        self._made: dict[Look, bytes | None] = {}

    def expected(self, looks: Sequence[Look]) -> list[bytes | None]:
        """The canonical picture of each look now; None: of a session of another size. Raises VerifyError."""
        try:
            with mss.MSS(display=self._display) as grabber:
                shot = grabber.grab(grabber.monitors[0])
        except (ScreenShotError, OSError, AssertionError) as error:
            first = (str(error).splitlines() or ["no reason given"])[0]
            raise VerifyError(f"display {self._display} cannot be read: {first}") from error
        screen, size = bytes(shot.raw), (shot.width, shot.height)
        if screen != self._screen:
            self._screen, self._made = screen, {}
        planes = screen[2::4], screen[1::4], screen[0::4]
        for look in looks:
            if look not in self._made:
                self._made[look] = picture(planes, size, look) if look.session == size else None
        return [self._made[look] for look in looks]


def picture(planes: Planes, session: Size, look: Look) -> bytes:
    """The canonical form (fleet_plan.canonical) of what a panel shows of a screen."""
    turned = look.rotation % 2 == 1
    canvas = look.panel[::-1] if turned else look.panel
    x, y, width, height = look.window
    shown = [_cropped(plane, session[0], x, y, width, height) for plane in planes]
    if look.fit:
        into = _fitted((width, height), canvas)
        shown = [_scaled(plane, (width, height), into) for plane in shown]
        width, height = into
    red, green, blue = (_turned(_centred(plane, (width, height), canvas), canvas, look.rotation) for plane in shown)
    return _converted((red, green, blue), look.pixel_format)


def _cropped(plane: bytes, stride: int, x: int, y: int, width: int, height: int) -> bytes:
    return b"".join(plane[row * stride + x : row * stride + x + width] for row in range(y, y + height))


def _fitted(size: Size, canvas: Size) -> Size:
    (sw, sh), (cw, ch) = size, canvas
    if sw * ch >= sh * cw:
        return cw, max(1, sh * cw // sw)
    return max(1, sw * ch // sh), ch


def _shares(whole: int, into: int) -> list[list[tuple[int, int]]]:
    """For each pixel of `into`, the pixels of `whole` that it covers, and their weights."""
    return [
        [
            (at, min((u + 1) * whole, (at + 1) * into) - max(u * whole, at * into))
            for at in range(u * whole // into, -(-(u + 1) * whole // into))
        ]
        for u in range(into)
    ]


def _scaled(plane: bytes, size: Size, into: Size) -> bytes:
    (sw, sh), (fw, fh) = size, into
    across, half, area = _shares(sw, fw), sw * sh // 2, sw * sh
    rows = []
    for covered in _shares(sh, fh):
        sums = [0] * sw
        for row, weight in covered:
            sums = [one + weight * value for one, value in zip(sums, plane[row * sw : (row + 1) * sw])]
        rows.append(bytes([(sum([w * sums[at] for at, w in share]) + half) // area for share in across]))
    return b"".join(rows)


def _centred(plane: bytes, size: Size, canvas: Size) -> bytes:
    (width, height), (cw, ch) = size, canvas
    left, top = (cw - width) // 2, (ch - height) // 2
    before, after = bytes(left), bytes(cw - width - left)
    middle = b"".join(before + plane[row * width : (row + 1) * width] + after for row in range(height))
    return bytes(top * cw) + middle + bytes((ch - height - top) * cw)


def _turned(plane: bytes, canvas: Size, rotation: int) -> bytes:
    """From the canvas to the panel, clockwise by quarters."""
    width = canvas[0]
    match rotation:
        case 1:
            return b"".join(plane[column::width][::-1] for column in range(width))
        case 2:
            return plane[::-1]
        case 3:
            return b"".join(plane[column::width] for column in reversed(range(width)))
        case _:
            return plane


def _converted(planes: Planes, pixel_format: str) -> bytes:
    red, green, blue = planes
    match pixel_format:
        case "RGB565":
            return red.translate(FIVE) + green.translate(SIX) + blue.translate(FIVE)
        case "XRGB8888":
            stored = bytearray(4 * len(red))
            stored[0::4], stored[1::4], stored[2::4] = blue, green, red
            return bytes(stored)
        case "RGB332":
            value = 0
            for plane, table in zip(planes, (_RED_332, _GREEN_332, _BLUE_332), strict=True):
                value |= int.from_bytes(plane.translate(table), "big")
            return value.to_bytes(len(red), "big")
        case _:
            r, g, b = _GREY
            return bytes([(r[one] + g[two] + b[three]) >> 8 for one, two, three in zip(red, green, blue)])
