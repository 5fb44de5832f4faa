"""Which rectangles are worth a grab of their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol.geometry import Rect
from tilewire.server.x11.regions import GRAB_COST_PIXELS, MAX_PATCHES, clip, coalesce

boxes = st.tuples(st.integers(-50, 4100), st.integers(-50, 4100), st.integers(1, 2000), st.integers(1, 2000))


@given(st.lists(boxes, max_size=40), st.integers(1, 4096), st.integers(1, 4096))
def test_clipping_keeps_what_is_on_the_screen(found: list[tuple[int, int, int, int]], width: int, height: int) -> None:
    screen = Rect(0, 0, width, height)
    assert clip(found, width, height) == [part for box in found if (part := Rect(*box).intersect(screen)) is not None]


@given(st.lists(boxes.map(lambda box: Rect(*box)), max_size=200), st.integers(0, 200_000))
def test_every_rectangle_is_covered_by_few(rects: list[Rect], cost: int) -> None:
    joined = coalesce(rects, cost)
    assert len(joined) <= min(MAX_PATCHES, len(rects))
    assert all(any(one.contains(rect) for one in joined) for rect in rects)
    if rects:
        left, top = min(rect.x for rect in rects), min(rect.y for rect in rects)
        right, bottom = max(rect.right for rect in rects), max(rect.bottom for rect in rects)
        around = Rect(left, top, right - left, bottom - top)
        assert all(around.contains(one) for one in joined)


def test_neighbours_are_joined_and_strangers_are_not() -> None:
    near = [Rect(0, 0, 16, 16), Rect(20, 0, 16, 16), Rect(0, 40, 8, 8)]
    far = Rect(3000, 2000, 16, 16)
    assert coalesce([*near, far]) == [Rect(0, 0, 36, 48), far]


def test_joining_pays_up_to_the_cost_of_a_grab() -> None:
    side = 16
    gap = GRAB_COST_PIXELS // side
    one, other = Rect(0, 0, side, side), Rect(side + gap - 1, 0, side, side)
    assert coalesce([one, other]) == [one.union(other)]
    assert coalesce([one, other.moved(1, 0)]) == [one, other.moved(1, 0)]
