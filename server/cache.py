"""What a device's cache slots hold, and what is worth putting there. The device only obeys.

Pixels are kept in tiles of a fixed grid: a tile that changes for the most part after it has stood still is stored
before it is painted over (a menu opens over it), and a tile whose new pixels stand in a slot is drawn from there
(the menu closes, a window comes back). Slots are filled from exact pixels only.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

from tilewire.protocol import PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.server.pixels import Shadow, Surface, encode_raw

MAX_TILE: Final = 64
MIN_TILE: Final = 16
STILL_S: Final = 0.5
"""How long a tile must have stood before it is worth a slot."""
_DIGEST_BYTES: Final = 16


def tile_side(offer: m.CacheOffer | None, pixel_format: PixelFormat) -> int:
    """The side of the largest square tile that fits a slot; 0 where the cache is of no use."""
    if offer is None or not offer.slots:
        return 0
    side = MAX_TILE
    while side >= MIN_TILE and side * side * pixel_format.stored > offer.slot_bytes:
        side //= 2
    return side if side >= MIN_TILE else 0


class TileCache:
    """The server's memory of one device's slots, by content."""

    def __init__(self, slots: int, side: int) -> None:
        self.side = side
        self._slots = slots
        self._by_content: OrderedDict[bytes, int] = OrderedDict()
        """Slot by digest of the pixels, least recently used first."""
        self._content: dict[int, bytes] = {}
        """The other way round."""
        self._free = list(range(slots))
        """A heap: the lowest first, so that a device that clears slots lazily touches little memory."""
        self._touched: dict[tuple[int, int], float] = {}
        """When a tile of the grid last changed, in seconds."""

    def forget(self) -> None:
        """Nothing that the device keeps is known any more."""
        self._by_content.clear()
        self._content.clear()
        self._free = list(range(self._slots))

    def drop(self, slot: int) -> None:
        """What the device keeps in one slot is not known any more."""
        digest = self._content.pop(slot, None)
        if digest is not None:
            del self._by_content[digest]
            heappush(self._free, slot)

    def tiles(self, area: Rect, panel: Rect) -> Iterator[Rect]:
        """Whole tiles of the grid that `area` touches."""
        side = self.side
        for y in range(area.y // side * side, area.bottom, side):
            for x in range(area.x // side * side, area.right, side):
                tile = Rect(x, y, side, side)
                if panel.contains(tile):
                    yield tile

    def find(self, now: Surface, tile: Rect) -> int | None:
        """The slot that holds the pixels which `tile` shows now, or None."""
        if not self._by_content:
            return None
        digest = _digest(now, tile)
        slot = self._by_content.get(digest)
        if slot is not None:
            self._by_content.move_to_end(digest)
        return slot

    def still(self, tile: Rect, now_s: float) -> bool:
        """Whether the tile had stood for a while; from now on it has changed."""
        key = (tile.x, tile.y)
        since = self._touched.get(key, 0.0)
        self._touched[key] = now_s
        return now_s - since >= STILL_S

    def store(self, shadow: Shadow, tile: Rect, keep: int | None = None) -> m.CacheStore | None:
        """The operation that puts what the device shows in `tile` into a slot.

        None where a slot has it already, and where the only slot to be had is `keep`.
        """
        digest = _digest(shadow, tile)
        if digest in self._by_content:
            self._by_content.move_to_end(digest)
            return None
        if self._free:
            slot = heappop(self._free)
        elif next(iter(self._by_content.values())) == keep:
            return None
        else:
            _, slot = self._by_content.popitem(last=False)
        self._by_content[digest] = slot
        self._content[slot] = digest
        return m.CacheStore(slot=slot, rect=tile)


def _digest(surface: Surface, tile: Rect) -> bytes:
    return hashlib.blake2b(encode_raw(surface, tile), digest_size=_DIGEST_BYTES).digest()


def draw(slot: int, tile: Rect) -> m.CacheDraw:
    """The operation that paints a slot over `tile`."""
    return m.CacheDraw(slot=slot, position=Point(tile.x, tile.y))
