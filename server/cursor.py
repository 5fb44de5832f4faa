"""Pictures of the pointer: made fit for a panel, and laid over what it shows. Pure; C touches the pixels.

Pixels are blue, green, red, alpha, a byte each, row by row. Colours are premultiplied: none exceeds its alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tilewire.protocol import Point, Rect
from tilewire.protocol.constants import Rotation
from tilewire.server._native import ffi, lib
from tilewire.server.view import fitted, turned

MAX_IMAGE_SIDE: Final = 32767
"""X's own limit, as of a screen."""


@dataclass(frozen=True, slots=True)
class CursorImage:
    """A pointer's picture with its hot spot, in pixels; 0x0 is no pointer. Raises ValueError."""

    width: int
    height: int
    hot_x: int
    hot_y: int
    pixels: bytes

    def __post_init__(self) -> None:
        if not 0 <= min(self.width, self.height) <= max(self.width, self.height) <= MAX_IMAGE_SIDE:
            raise ValueError(f"a cursor of {self.width}x{self.height} pixels")
        if len(self.pixels) != 4 * self.width * self.height:
            raise ValueError(f"{len(self.pixels)} bytes are no {self.width}x{self.height} pixels")
        if bool(self.width) != bool(self.height):
            raise ValueError(f"a cursor of {self.width}x{self.height} pixels: one side is 0 and the other is not")
        hot_x, hot_y = (self.hot_x, self.hot_y)
        if not (0 <= hot_x < max(self.width, 1) and 0 <= hot_y < max(self.height, 1)):
            raise ValueError(f"hot spot {hot_x}, {hot_y} is not inside {self.width}x{self.height} pixels")

    def __bool__(self) -> bool:
        return bool(self.width)


NO_CURSOR: Final = CursorImage(0, 0, 0, 0, b"")


@dataclass(frozen=True, slots=True)
class Overlay:
    """A pointer on a panel; `position` is its hot spot's."""

    image: CursorImage
    position: Point

    @property
    def place(self) -> Rect | None:
        """What the image covers, also beyond the panel's edges; None where there is no pointer."""
        image = self.image
        if not image:
            return None
        return Rect(self.position.x - image.hot_x, self.position.y - image.hot_y, image.width, image.height)

    def rect(self, panel: Rect) -> Rect | None:
        """The part of a panel that the image covers, or None."""
        return self.place.intersect(panel) if self.place is not None else None


def prepared(image: CursorImage, rotation: Rotation, max_side: int) -> CursorImage:
    """The image as a panel shows it: turned like the picture; where larger than `max_side`, shrunk by area average.

    Borders in which nothing can be seen are cut off, not beyond the hot spot, and colours brighter than their alpha are
    darkened to it: programs may give X any bytes. The hot spot stays where it points. `max_side` 0: no pointer fits.
    Not scaled with a view that fits: a pointer a few pixels wide would be hard to find.
    """
    if not image or max_side < 1:
        return NO_CURSOR
    pixels = ffi.new("uint8_t[]", image.pixels)
    seen: Any = ffi.new("tw_ns_rect *")
    lib.tw_ns_cursor_clamp(pixels, image.width, image.height, seen)
    if not seen.width:
        return NO_CURSOR
    part = Rect(seen.x, seen.y, seen.width, seen.height).union(Rect(image.hot_x, image.hot_y, 1, 1))
    width, height = fitted((part.width, part.height), (max_side, max_side))
    hot = Point(
        (2 * (image.hot_x - part.x) + 1) * width // (2 * part.width),
        (2 * (image.hot_y - part.y) + 1) * height // (2 * part.height),
    )
    panel = (height, width) if rotation in (Rotation.R90, Rotation.R270) else (width, height)
    hot = turned(hot, panel, rotation)
    made = ffi.new("uint8_t[]", 4 * width * height)
    area = (part.x, part.y, part.width, part.height)
    lib.tw_ns_cursor_shrink(pixels, image.width, image.height, area, rotation, made, width, height)
    return CursorImage(*panel, hot.x, hot.y, bytes(ffi.buffer(made)))
