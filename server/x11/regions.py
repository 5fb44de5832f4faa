"""From the rectangles that X damage names to the few that are worth grabbing. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from tilewire.protocol.geometry import Rect

Box = tuple[int, int, int, int]

# What one more grab costs, in pixels of a larger one. Measured at 1024x600: a grab of 1x1 takes 22 us, one of
# the whole screen 167 us, so 90,000 pixels by mss alone; what converts and compares them afterwards makes a
# pixel about three times as dear.
GRAB_COST_PIXELS = 32_768
# Above it the search for neighbours would itself cost more than the pixels that it saves.
MAX_PATCHES = 64
_GRID = 8


def clip(boxes: Iterable[Box], width: int, height: int) -> list[Rect]:
    """The parts of (x, y, width, height) boxes that lie on a screen of that size."""
    kept: list[Rect] = []
    for x, y, box_width, box_height in boxes:
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + box_width, width), min(y + box_height, height)
        if right > left and bottom > top:
            kept.append(Rect(left, top, right - left, bottom - top))
    return kept


def coalesce(rects: list[Rect], grab_cost_pixels: int = GRAB_COST_PIXELS) -> list[Rect]:
    """At most 64 rectangles that cover `rects`, joined where one grab is cheaper than two; sorted by row.

    The result may overlap, and may have pixels that no rectangle of `rects` has.
    """
    if len(rects) < 2:
        return list(rects)
    # Left, top, right, bottom: half the arithmetic.
    boxes = [(rect.x, rect.y, rect.right, rect.bottom) for rect in rects]
    if len(boxes) > MAX_PATCHES:
        boxes = _by_cells(boxes)
    groups: list[Box] = []
    for box in boxes:
        _absorb(groups, box, grab_cost_pixels)
    # Groups that grew may have met: put each in again until nothing changes.
    before = 0
    while len(groups) != before:
        before = len(groups)
        for _ in range(before):
            _absorb(groups, groups.pop(0), grab_cost_pixels)
    return sorted(
        (Rect(left, top, right - left, bottom - top) for left, top, right, bottom in groups),
        key=lambda rect: (rect.y, rect.x),
    )


def _absorb(groups: list[Box], box: Box, grab_cost_pixels: int) -> None:
    """Join `box` to the group where that costs least, or let it stand alone where that is cheaper still."""
    left, top, right, bottom = box
    area = (right - left) * (bottom - top)
    best_cost = area + grab_cost_pixels
    best = -1
    for index, (group_left, group_top, group_right, group_bottom) in enumerate(groups):
        cost = (max(group_right, right) - min(group_left, left)) * (max(group_bottom, bottom) - min(group_top, top)) - (
            group_right - group_left
        ) * (group_bottom - group_top)
        if cost < best_cost:
            best_cost, best = cost, index
    if best < 0:
        groups.append(box)
    else:
        groups[best] = _around(groups[best], box)


def _by_cells(boxes: list[Box]) -> list[Box]:
    """Join boxes that begin in the same cell of an 8x8 grid: at most 64 are left."""
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    cell_width = max(box[2] for box in boxes) - left
    cell_height = max(box[3] for box in boxes) - top
    cells: dict[tuple[int, int], Box] = {}
    for box in boxes:
        cell = ((box[0] - left) * _GRID // cell_width, (box[1] - top) * _GRID // cell_height)
        known = cells.get(cell)
        cells[cell] = box if known is None else _around(known, box)
    return list(cells.values())


def _around(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])
