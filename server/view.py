"""What a viewer sees of a session, and where its input lands. Pure; SPEC.md section 6 has the formulas.

The *window* is the part of the session that is shown. Scaled down or not, it is the *picture* in the middle of the
*canvas*, on black; the canvas is turned onto the panel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tilewire.protocol import Point, Rect
from tilewire.protocol.constants import Rotation, ViewMode

ORIGIN = Point(0, 0)

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class View:
    """How a session is shown on a panel.

    `origin` is the left top of the 1:1 window in the session; one from which the window would reach outside is moved
    to the nearest that does not. In FIT it has no meaning, and is kept for a return to 1:1. Raises ValueError for an
    empty session or panel.
    """

    session: Size
    panel: Size
    origin: Point = ORIGIN
    follow: bool = True
    mode: ViewMode = ViewMode.ONE_TO_ONE
    rotation: Rotation = Rotation.R0

    def __post_init__(self) -> None:
        if min(*self.session, *self.panel) < 1:
            raise ValueError(f"a session of {self.session} pixels on a panel of {self.panel}: one is empty")
        if not self._fits:
            width, height = self._shown
            x = min(max(self.origin.x, 0), self.session[0] - width)
            y = min(max(self.origin.y, 0), self.session[1] - height)
            object.__setattr__(self, "origin", Point(x, y))

    @property
    def _fits(self) -> bool:
        return self.mode == ViewMode.FIT

    @property
    def _shown(self) -> Size:
        """Of the picture, before it is turned."""
        if self._fits:
            return fitted(self.session, self.canvas)
        return min(self.session[0], self.canvas[0]), min(self.session[1], self.canvas[1])

    @property
    def canvas(self) -> Size:
        """The panel's size as the picture has it: sides exchanged where it is turned by a quarter."""
        width, height = self.panel
        return (height, width) if self.rotation in (Rotation.R90, Rotation.R270) else (width, height)

    @property
    def window(self) -> Rect:
        """The rectangle of the session that is shown."""
        if self._fits:
            return Rect(0, 0, *self.session)
        return Rect(self.origin.x, self.origin.y, *self._shown)

    @property
    def placed(self) -> Rect:
        """Where the picture lies on the canvas."""
        width, height = self._shown
        canvas = self.canvas
        return Rect((canvas[0] - width) // 2, (canvas[1] - height) // 2, width, height)

    @property
    def picture(self) -> Rect:
        """Where the picture lies on the panel; around it is black."""
        return self._turned(self.placed)

    def _turned(self, rect: Rect) -> Rect:
        """A rectangle of the canvas on the panel."""
        one = turned(Point(rect.x, rect.y), self.panel, self.rotation)
        other = turned(Point(rect.right - 1, rect.bottom - 1), self.panel, self.rotation)
        return Rect(one.x, one.y, 1, 1).union(Rect(other.x, other.y, 1, 1))

    def to_panel(self, rect: Rect) -> Rect | None:
        """The smallest rectangle of the panel that has all that depends on a rectangle of the session, or None.

        A pixel that was averaged depends on every pixel of which it covers a part.
        """
        window, placed = self.window, self.placed
        seen = rect.intersect(window)
        if seen is None:
            return None
        # Pixel u of the picture covers the window from u * ww / fw to (u + 1) * ww / fw.
        left = (seen.x - window.x) * placed.width // window.width
        right = -(-(seen.right - window.x) * placed.width // window.width)
        top = (seen.y - window.y) * placed.height // window.height
        bottom = -(-(seen.bottom - window.y) * placed.height // window.height)
        return self._turned(Rect(left, top, right - left, bottom - top).moved(placed.x, placed.y))

    def input_point(self, point: Point) -> Point:
        """The pixel of the session under a point of the panel; on black, the nearest one.

        A point outside the panel counts as the panel's nearest.
        """
        x, y = min(max(point.x, 0), self.panel[0] - 1), min(max(point.y, 0), self.panel[1] - 1)
        window, placed = self.window, self.placed
        at = turned_back(Point(x, y), self.panel, self.rotation)
        # The middle of the pixel, scaled; where nothing is scaled, the pixel itself.
        x = window.x + (2 * (at.x - placed.x) + 1) * window.width // (2 * placed.width)
        y = window.y + (2 * (at.y - placed.y) + 1) * window.height // (2 * placed.height)
        return Point(min(max(x, window.x), window.right - 1), min(max(y, window.y), window.bottom - 1))

    def panel_point(self, point: Point) -> Point | None:
        """The pixel of the panel in which the middle of a pixel of the session lies; None where it is not shown.

        For every pixel of the picture, `panel_point(input_point(p)) == p`.
        """
        window, placed = self.window, self.placed
        if not window.contains(Rect(point.x, point.y, 1, 1)):
            return None
        u = (2 * (point.x - window.x) + 1) * placed.width // (2 * window.width)
        v = (2 * (point.y - window.y) + 1) * placed.height // (2 * window.height)
        return turned(Point(placed.x + u, placed.y + v), self.panel, self.rotation)

    def panned(self, origin: Point) -> View:
        """With the 1:1 window at `origin`, or as near as the session allows; FIT is as it was."""
        return self if self._fits else replace(self, origin=origin)

    def following(self, pointer: Point) -> View:
        """With the 1:1 window moved as little as keeps `pointer` (in the session) off its border by an eighth."""
        if not self.follow:
            return self
        window = self.window
        return self.panned(
            Point(
                _follow(window.x, window.width, pointer.x),
                _follow(window.y, window.height, pointer.y),
            )
        )

    def shift_from(self, before: View) -> tuple[int, int] | None:
        """How far what `before` showed has moved on the panel: what it had at (x + dx, y + dy) is now at (x, y).

        In pixels of the panel. None where the two differ in more than the window's place: none shows the other moved.
        """
        shape = (self.session, self.panel, self.mode, self.rotation)
        if shape != (before.session, before.panel, before.mode, before.rotation):
            return None
        u, v = self.window.x - before.window.x, self.window.y - before.window.y
        start, end = (turned(Point(*at), self.panel, self.rotation) for at in ((0, 0), (u, v)))
        return end.x - start.x, end.y - start.y


def fitted(size: Size, into: Size) -> Size:
    """`size`, where it is larger than `into` shrunk to fit, with its aspect; at least one pixel. Never enlarged."""
    width, height = size
    if width <= into[0] and height <= into[1]:
        return size
    if width * into[1] >= height * into[0]:
        return into[0], max(1, height * into[0] // width)
    return max(1, width * into[1] // height), into[1]


def turned(point: Point, panel: Size, rotation: Rotation) -> Point:
    """Where a pixel of the canvas is on a panel of this size."""
    match rotation:
        case Rotation.R0:
            return point
        case Rotation.R90:
            return Point(panel[0] - 1 - point.y, point.x)
        case Rotation.R180:
            return Point(panel[0] - 1 - point.x, panel[1] - 1 - point.y)
        case Rotation.R270:
            return Point(point.y, panel[1] - 1 - point.x)


def turned_back(point: Point, panel: Size, rotation: Rotation) -> Point:
    """Where a pixel of a panel of this size is on the canvas."""
    match rotation:
        case Rotation.R0:
            return point
        case Rotation.R90:
            return Point(point.y, panel[0] - 1 - point.x)
        case Rotation.R180:
            return Point(panel[0] - 1 - point.x, panel[1] - 1 - point.y)
        case Rotation.R270:
            return Point(panel[1] - 1 - point.y, point.x)


def _follow(start: int, length: int, pointer: int) -> int:
    margin = length // 8
    return min(max(start, pointer - length + 1 + margin), pointer - margin)
