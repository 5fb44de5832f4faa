"""What a viewer sees of a session, and where its input lands. Pure.

A panel smaller than the session shows a window of it, pixel for pixel, that follows the pointer; a larger one
shows the session in its middle, on black.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tilewire.protocol import Point, Rect

ORIGIN = Point(0, 0)


@dataclass(frozen=True, slots=True)
class View:
    """The 1:1 view. `origin` is the window's left top in the session; sizes are (width, height) in pixels."""

    session: tuple[int, int]
    panel: tuple[int, int]
    origin: Point = ORIGIN
    follow: bool = True

    @property
    def window(self) -> Rect:
        """The rectangle of the session that is shown."""
        return Rect(
            self.origin.x,
            self.origin.y,
            min(self.session[0], self.panel[0]),
            min(self.session[1], self.panel[1]),
        )

    @property
    def offset(self) -> Point:
        """Where the window's left top lies on the panel."""
        window = self.window
        return Point((self.panel[0] - window.width) // 2, (self.panel[1] - window.height) // 2)

    def to_panel(self, rect: Rect) -> Rect | None:
        """Where a rectangle of the session shows on the panel, or None."""
        visible = rect.intersect(self.window)
        if visible is None:
            return None
        offset = self.offset
        return visible.moved(offset.x - self.origin.x, offset.y - self.origin.y)

    def to_session(self, rect: Rect) -> Rect | None:
        """Which pixels of the session a rectangle of the panel shows, or None where it is all black."""
        offset = self.offset
        moved = rect.moved(self.origin.x - offset.x, self.origin.y - offset.y)
        return moved.intersect(self.window)

    def input_point(self, point: Point) -> Point:
        """The pixel of the session under a point of the panel; on black, the nearest one."""
        window, offset = self.window, self.offset
        x = point.x - offset.x + window.x
        y = point.y - offset.y + window.y
        return Point(min(max(x, window.x), window.right - 1), min(max(y, window.y), window.bottom - 1))

    def panned(self, origin: Point) -> View:
        """With the window at `origin`, or as near as the session allows."""
        window = self.window
        x = min(max(origin.x, 0), self.session[0] - window.width)
        y = min(max(origin.y, 0), self.session[1] - window.height)
        return replace(self, origin=Point(x, y))

    def following(self, pointer: Point) -> View:
        """With the window moved as little as keeps `pointer` (in the session) off its border by an eighth."""
        if not self.follow:
            return self
        window = self.window
        return self.panned(
            Point(
                _follow(window.x, window.width, pointer.x),
                _follow(window.y, window.height, pointer.y),
            )
        )


def _follow(start: int, length: int, pointer: int) -> int:
    margin = length // 8
    return min(max(start, pointer - length + 1 + margin), pointer - margin)
