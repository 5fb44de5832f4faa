"""The pointer as one viewer's device shows it: what it has to be told of its shape and place. Pure; SPEC.md 10.1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from tilewire.protocol import Point
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_CURSOR_SIDE, CursorMode, Rotation
from tilewire.server.cursor import NO_CURSOR, CursorImage, Overlay, prepared
from tilewire.server.view import View

SHAPE_HEAD_BYTES: Final = 5
SHAPE_INTERVAL_S: Final = 0.05
"""A pointer that is a film would take the link from the picture."""
PLACE_INTERVAL_S: Final = 1 / 60
"""What another hand moves is seen no more often than this."""
_dressed = lru_cache(maxsize=16)(prepared)
"""One preparation for all viewers alike."""


class Pointing:
    """What one device knows of the pointer."""

    def __init__(self, offer: m.CursorOffer | None, max_message: int) -> None:
        self.mode = CursorMode.NONE if offer is None else CursorMode(offer.mode)
        self._max_side = MAX_CURSOR_SIDE
        if offer is not None and self.mode is CursorMode.LOCAL:
            self._max_side = offer.max_side
            if not offer.max_side:
                # A cursor without a pixel is none.
                self.mode = CursorMode.NONE
        self._room = max_message - SHAPE_HEAD_BYTES
        self._place: Point | None = None
        """Where the device shows it; None: nowhere, or it is not known where."""
        self._told: Point | None = None
        """The place that was sent last, until the device is known to have it."""
        self._stamp = 0
        """Of the ping that asks for that."""
        self._shown: CursorImage | None = NO_CURSOR
        """What the device shows; None: that is not known."""
        self._shape_after = 0
        """The update that had ended when a shape was sent last."""
        self._shape_s = self._place_s = -math.inf
        self._looked_at: tuple[CursorImage, Rotation] | None = None
        """What was looked at when a shape was last sent, or found to be the same."""
        self.due_s = math.inf
        """When what came too early after the last is to be sent."""

    def adopt(self, earlier: Pointing, update: int) -> None:
        """Go on from what a device shows that lost its line to `earlier` after `update`."""
        self._shown = earlier._shown if earlier._shape_after < update else None
        if earlier.mode is not self.mode or earlier._max_side != self._max_side:
            self._shown = None

    def moved(self, to: Point) -> None:
        """The device has moved it there by itself, on the panel."""
        self._place = to

    def answered(self, stamp: int) -> bool:
        """The device has what was sent before a ping. Whether that was the ping after a place.

        It moved before it got that place, if it moved at all: so there it shows the pointer now.
        """
        if stamp != self._stamp or self._told is None:
            return False
        self._place, self._told = self._told, None
        return True

    def overlay(self, view: View, pointer: Point, shape: CursorImage) -> Overlay | None:
        """What the server draws into the picture."""
        place = view.panel_point(pointer) if self.mode is CursorMode.IN_PICTURE else None
        if place is None:
            return None
        image = _dressed(shape, view.rotation, self._max_side)
        return Overlay(image, place) if image else None

    def news(
        self,
        view: View,
        pointer: Point,
        shape: CursorImage,
        update: int,
        now_s: float,
        *,
        settled: bool,
        steers: bool,
    ) -> Iterator[m.CursorShape | m.CursorPosition | m.Ping]:
        """What a device with a cursor of its own is to be told.

        `update`: the last one that has ended. `settled`: the display has confirmed all motions of the device's own,
        so `pointer` counts. `steers`: its motions count. Then one that crosses a place on the line leaves the device
        with that place, and the pointer elsewhere; a ping tells which of its motions those are.
        """
        if self.mode is not CursorMode.LOCAL:
            return
        place = view.panel_point(pointer)
        self.due_s = math.inf
        yield from self._shape(shape if place is not None else NO_CURSOR, view.rotation, update, now_s)
        if place is None or not settled:
            return
        # Its own hand may have it on another pixel of those that stand for the same one of the session.
        if self._place is None or (self._place != place and view.input_point(self._place) != pointer):
            if now_s < self._place_s + PLACE_INTERVAL_S:
                self.due_s = min(self.due_s, self._place_s + PLACE_INTERVAL_S)
                return
            self._place, self._place_s = place, now_s
            self._told = place if steers else None
            yield m.CursorPosition(position=place)
            if steers:
                self._stamp = max(int(now_s * 1e6), self._stamp + 1)
                yield m.Ping(stamp=self._stamp)

    def _shape(self, shape: CursorImage, rotation: Rotation, update: int, now_s: float) -> Iterator[m.CursorShape]:
        last = self._looked_at
        if last is not None and last[0] is shape and last[1] == rotation:
            return
        if now_s < self._shape_s + SHAPE_INTERVAL_S:
            self.due_s = self._shape_s + SHAPE_INTERVAL_S
            return
        self._looked_at = shape, rotation
        image = _dressed(shape, rotation, self._max_side)
        if image != self._shown:
            self._shown, self._shape_after, self._shape_s = image, update, now_s
            yield from parts(image, self._room)


def parts(image: CursorImage, room: int) -> Iterator[m.CursorShape]:
    """A shape in messages with at most `room` bytes of pixels, whole rows each."""
    stride = 4 * image.width
    rows = max(room // stride, 1) if stride else 1
    for row in range(0, max(image.height, 1), rows):
        yield m.CursorShape(
            width=image.width,
            height=image.height,
            hot_x=image.hot_x,
            hot_y=image.hot_y,
            row=row,
            pixels=image.pixels[row * stride : (row + rows) * stride],
        )
