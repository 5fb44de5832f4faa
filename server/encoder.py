"""What takes one viewer's device from the picture it has to the session's picture now.

The shadow holds what was sent last. An update is whatever takes the shadow to the screen: there is no queue of old
frames, so a slow device skips states and never lags behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tilewire.protocol import Capability, PixelFormat, Point, Reason, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.geometry import bounding, subtract
from tilewire.protocol.wire import Message
from tilewire.server.choose import Choice, Encoding, choose
from tilewire.server.motion import MoveFinder
from tilewire.server.pixels import (
    Screen,
    Shadow,
    Surface,
    changes,
    encode_palette,
    encode_raw,
    measure,
)
from tilewire.server.view import View

TILE: Final = Rect(0, 0, 64, 32)
"""Pieces that large changes are measured in: small enough for palettes of their own, large enough for their headers."""
MOVE_MIN_AREA: Final = 4096
"""Below this, a search for moved pixels costs more than it can save."""
RECT_BYTES: Final = 6
MAX_DAMAGE: Final = 64
"""Rectangles kept until the next update; beyond, they are joined."""


@dataclass(slots=True)
class Update:
    """The operations of one update, in wire order, each with the reason for its encoding."""

    operations: list[Message] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)

    def add(self, operation: Message, reason: Reason) -> None:
        """Append one operation."""
        self.operations.append(operation)
        self.reasons.append(reason)


class Damage:
    """Rectangles of the panel that may differ from what was sent; few, and never lost."""

    def __init__(self) -> None:
        self._rects: list[Rect] = []

    def __bool__(self) -> bool:
        return bool(self._rects)

    def add(self, rect: Rect) -> None:
        """Remember `rect`."""
        if any(known.contains(rect) for known in self._rects):
            return
        self._rects = [known for known in self._rects if not rect.contains(known)]
        self._rects.append(rect)
        if len(self._rects) > MAX_DAMAGE:
            self._join_cheapest()

    def _join_cheapest(self) -> None:
        last = self._rects.pop()
        best = min(range(len(self._rects)), key=lambda i: self._rects[i].union(last).area - self._rects[i].area)
        joined = self._rects.pop(best).union(last)
        self._rects = [known for known in self._rects if not joined.contains(known)]
        self._rects.append(joined)

    def take(self) -> list[Rect]:
        """All of them, without overlaps; none are left."""
        taken: list[Rect] = []
        for rect in self._rects:
            parts = [rect]
            for other in taken:
                parts = [piece for part in parts for piece in subtract(part, other)]
            taken += parts
        self._rects = []
        return taken


class Encoder:
    """The shadow of one device and everything that brings it up to date. Belongs to one worker at a time."""

    def __init__(self, hello: m.Hello, capabilities: int) -> None:
        self._hello = hello
        self._format = PixelFormat(hello.pixel_format)
        self._may_copy = bool(capabilities & Capability.COPY)
        self._moves = MoveFinder()
        self.resize(hello.panel.width, hello.panel.height)

    def resize(self, width: int, height: int) -> None:
        """The device has a framebuffer of this size, and nothing in it is known."""
        self.panel = Rect(0, 0, width, height)
        self.now = Surface(width, height, self._format)
        self.shadow = Shadow(width, height, self._format)

    def forget(self) -> None:
        """Nothing on the device is known any more."""
        self.shadow.set_unknown(self.panel)

    def convert(self, screen: Screen, view: View, damage: Iterable[Rect]) -> None:
        """Bring the damaged parts of the panel's picture up to date with the screen."""
        for rect in damage:
            source = view.to_session(rect)
            if source is None:
                self.now.fill(rect)
                continue
            shown = view.to_panel(source)
            assert shown is not None
            for border in subtract(rect, shown):
                self.now.fill(border)
            self.now.convert(screen, source, Point(shown.x, shown.y))

    def build(self, damage: list[Rect], pan: tuple[int, int] = (0, 0)) -> Update:
        """The operations that take the device to the picture that `convert` left, and the shadow with it.

        `pan`: how far the window has moved over the session since the last build; what stays in sight is copied.
        """
        update = Update()
        if pan != (0, 0) and self._may_copy:
            self._pan(pan, update)
        changed = [rect for area in damage for rect in changes(self.now, self.shadow, area)]
        if self._may_copy and sum(rect.area for rect in changed) >= MOVE_MIN_AREA:
            changed = self._move(changed, update)
        for rect in changed:
            self._send(rect, update)
        return update

    def _pan(self, pan: tuple[int, int], update: Update) -> None:
        kept = self.panel.intersect(self.panel.moved(-pan[0], -pan[1]))
        if kept is not None and self.shadow.count(kept.moved(*pan)).unknown == 0:
            source = Point(kept.x + pan[0], kept.y + pan[1])
            self.shadow.copy(kept, source)
            update.add(m.Copy(rect=kept, source=source), Reason.MOVED)

    def _move(self, changed: list[Rect], update: Update) -> list[Rect]:
        """Copy what moved; returns what is left to send."""
        area = bounding(changed)
        if area is None:
            return changed
        moves = self._moves.find(self.now, self.shadow, area)
        for rect, source in moves:
            update.add(m.Copy(rect=rect, source=source), Reason.MOVED)
        return changes(self.now, self.shadow, area) if moves else changed

    def _send(self, rect: Rect, update: Update) -> None:
        tiles = list(_grid(rect))
        if len(tiles) == 1:
            self._encode(rect, choose(measure(self.now, rect)), update)
            return
        fills = _Fills()
        for tile in tiles:
            stats = measure(self.now, tile)
            if stats.colours == 1:
                fills.add(tile, stats.palette[0])
            else:
                self._encode(tile, choose(stats), update)
        for area, value in fills.all():
            self._fill(area, value, update)

    def _fill(self, rect: Rect, value: int, update: Update) -> None:
        self.shadow.fill(rect, value)
        update.add(m.Fill(rect=rect, pixel=value.to_bytes(self._format.packed, "little")), Reason.ONE_COLOUR)

    def _encode(self, rect: Rect, choice: Choice, update: Update) -> None:
        """Send one rectangle in as many messages as the device's limits ask for."""
        if choice.encoding is Encoding.FILL:
            self._fill(rect, measure(self.now, rect).palette[0], update)
            return
        limit = self._hello.max_rect
        room = self._hello.max_message - RECT_BYTES
        operation: Message | None = None
        if rect.width <= limit.width and rect.area <= limit.area:
            if choice.encoding is Encoding.PALETTE:
                payload = encode_palette(self.now, rect, room)
                if payload is not None:
                    operation = m.Palette(rect=rect, payload=payload)
            elif rect.area * self._format.packed <= room:
                operation = m.Raw(rect=rect, payload=encode_raw(self.now, rect))
        if operation is None:
            for half in _halves(rect):
                self._encode(half, choose(measure(self.now, half)), update)
            return
        self.shadow.commit(self.now, rect)
        update.add(operation, choice.why)


def _grid(rect: Rect) -> Iterator[Rect]:
    """`rect` in tiles, row by row; where one more column or row of pixels is not worth a tile, whole."""
    if rect.width <= 2 * TILE.width and rect.height <= 2 * TILE.height:
        yield rect
        return
    for y in range(rect.y, rect.bottom, TILE.height):
        for x in range(rect.x, rect.right, TILE.width):
            yield Rect(x, y, min(TILE.width, rect.right - x), min(TILE.height, rect.bottom - y))


class _Fills:
    """Tiles of one colour, joined to the right and then downwards where they fit."""

    def __init__(self) -> None:
        self._fills: list[tuple[Rect, int]] = []

    def add(self, tile: Rect, value: int) -> None:
        """Tiles come row by row, from left to right."""
        if self._fills:
            last, colour = self._fills[-1]
            if colour == value and last.right == tile.x and (last.y, last.height) == (tile.y, tile.height):
                self._fills[-1] = (last.union(tile), value)
                return
        self._fills.append((tile, value))

    def all(self) -> list[tuple[Rect, int]]:
        """What is to be filled."""
        joined: dict[tuple[int, int, int, int], Rect] = {}
        for rect, value in self._fills:
            above = joined.pop((rect.x, rect.width, rect.y, value), None)
            grown = rect if above is None else above.union(rect)
            joined[grown.x, grown.width, grown.bottom, value] = grown
        return [(rect, key[3]) for key, rect in joined.items()]


def _halves(rect: Rect) -> tuple[Rect, Rect]:
    if rect.height > 1:
        top = (rect.height + 1) // 2
        return Rect(rect.x, rect.y, rect.width, top), Rect(rect.x, rect.y + top, rect.width, rect.height - top)
    left = (rect.width + 1) // 2
    return Rect(rect.x, rect.y, left, 1), Rect(rect.x + left, rect.y, rect.width - left, 1)
