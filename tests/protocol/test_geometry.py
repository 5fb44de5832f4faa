"""Rectangles, pixel by pixel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import Rect
from tilewire.protocol.geometry import bounding, subtract

from tests.protocol.strategies import rects

small = rects(9, 9)


def pixels(rect: Rect | None) -> set[tuple[int, int]]:
    """All of a rectangle."""
    if rect is None:
        return set()
    return {(x, y) for x in range(rect.x, rect.right) for y in range(rect.y, rect.bottom)}


@given(small, small)
def test_sets_of_pixels(one: Rect, other: Rect) -> None:
    assert pixels(one.intersect(other)) == pixels(one) & pixels(other)
    assert one.contains(other) == (pixels(other) <= pixels(one))
    assert pixels(one.union(other)) >= pixels(one) | pixels(other)
    assert one.union(other) == bounding([one, other]) == bounding([other, one])
    assert one.area == len(pixels(one))


def test_subtract_leaves_disjoint_parts() -> None:
    """All pairs of rectangles in 4 x 4: every way that two can lie to each other."""
    spans = [(start, end - start) for start in range(4) for end in range(start + 1, 5)]
    every = [Rect(x, y, width, height) for x, width in spans for y, height in spans]
    for rect in every:
        for hole in every:
            parts = subtract(rect, hole)
            left = pixels(rect) - pixels(hole)
            assert len(parts) <= 4
            assert sum(part.area for part in parts) == len(left)
            assert {pixel for part in parts for pixel in pixels(part)} == left


@given(small, st.integers(-5, 5), st.integers(-5, 5))
def test_moved_there_and_back(rect: Rect, dx: int, dy: int) -> None:
    assert rect.moved(dx, dy).moved(-dx, -dy) == rect
    assert pixels(rect.moved(dx, dy)) == {(x + dx, y + dy) for x, y in pixels(rect)}


def test_no_rectangle_is_empty() -> None:
    for width, height in ((0, 1), (1, 0), (-1, 5)):
        with pytest.raises(ValueError, match="empty"):
            Rect(0, 0, width, height)
    assert bounding([]) is None
    assert str(Rect(1, 2, 3, 4)) == "3x4+1+2"
