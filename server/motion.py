"""What moved on the screen, and where it stands in what the device shows."""

from __future__ import annotations

from typing import Final

from tilewire.protocol import Point, Rect
from tilewire.server._native import ffi, lib
from tilewire.server.pixels import Shadow, Surface

MAX_MOVES: Final = 16
MIN_GAIN: Final = 256
"""Pixels that a copy must put right: its twelve bytes are worth about so many pixels of text in the codec."""


class MoveFinder:
    """The search with its working memory. Belongs to one worker at a time."""

    def __init__(self) -> None:
        self._memory = ffi.new("uint64_t[]", lib.TW_NS_MOTION_BYTES // 8)
        self._moves = ffi.new("tw_ns_move[]", MAX_MOVES)

    def find(self, now: Surface, shadow: Shadow, area: Rect) -> list[tuple[Rect, Point]]:
        """Destination and source of copies inside `area` that bring the shadow nearer to `now`.

        They are carried out in the shadow already, and are to be carried out by the device in this order.
        """
        count = lib.tw_ns_find_moves(
            self._memory,
            now.handle,
            shadow.handle,
            (area.x, area.y, area.width, area.height),
            MIN_GAIN,
            self._moves,
            MAX_MOVES,
        )
        return [
            (Rect(move.to.x, move.to.y, move.to.width, move.to.height), Point(move.x, move.y))
            for move in self._moves[0:count]
        ]
