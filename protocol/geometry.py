"""Rectangles in pixels: what every part of tilewire means by a place on a screen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Rect:
    """A rectangle of whole pixels: left, top, width and height. Never empty."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a rectangle of {self.width}x{self.height} pixels is empty")

    @property
    def right(self) -> int:
        """The first column beyond the rectangle."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The first row beyond the rectangle."""
        return self.y + self.height

    @property
    def area(self) -> int:
        """Pixels inside."""
        return self.width * self.height

    def contains(self, other: Rect) -> bool:
        """Whether every pixel of `other` is inside."""
        return self.x <= other.x and self.y <= other.y and other.right <= self.right and other.bottom <= self.bottom

    def intersect(self, other: Rect) -> Rect | None:
        """The pixels that both have, or None."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        if right <= x or bottom <= y:
            return None
        return Rect(x, y, right - x, bottom - y)

    def union(self, other: Rect) -> Rect:
        """The smallest rectangle that has both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Rect(x, y, max(self.right, other.right) - x, max(self.bottom, other.bottom) - y)

    def moved(self, dx: int, dy: int) -> Rect:
        """The same rectangle, `dx` to the right and `dy` down."""
        return Rect(self.x + dx, self.y + dy, self.width, self.height)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}+{self.x}+{self.y}"


def subtract(rect: Rect, hole: Rect) -> list[Rect]:
    """Cut `hole` out of `rect`: at most four rectangles, top to bottom, that do not overlap."""
    inner = rect.intersect(hole)
    if inner is None:
        return [rect]
    parts: list[Rect] = []
    if inner.y > rect.y:
        parts.append(Rect(rect.x, rect.y, rect.width, inner.y - rect.y))
    if inner.x > rect.x:
        parts.append(Rect(rect.x, inner.y, inner.x - rect.x, inner.height))
    if inner.right < rect.right:
        parts.append(Rect(inner.right, inner.y, rect.right - inner.right, inner.height))
    if inner.bottom < rect.bottom:
        parts.append(Rect(rect.x, inner.bottom, rect.width, rect.bottom - inner.bottom))
    return parts


def bounding(rects: Iterable[Rect]) -> Rect | None:
    """The smallest rectangle that has all of them, or None where there are none."""
    result: Rect | None = None
    for rect in rects:
        result = rect if result is None else result.union(rect)
    return result
