"""What takes one viewer's device from the picture it has to the session's picture now.

The shadow holds what was sent last. An update is whatever takes the shadow to the screen: there is no queue of old
frames, so a slow device skips states and never lags behind them.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tilewire.protocol import Capability, PixelFormat, Point, Reason, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_SIDE
from tilewire.protocol.geometry import bounding, subtract
from tilewire.protocol.wire import Message
from tilewire.server.cache import TileCache, draw, tile_side
from tilewire.server.choose import PHOTO_MIN_PIXELS, Abilities, Choice, Encoding, choose
from tilewire.server.codec import HEADER_BYTES, TileCodec, Variant
from tilewire.server.cursor import Overlay
from tilewire.server.jpeg import JpegEncoder
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
CODEC_RECT_COST: Final = 1500
"""Unchanged pixels of an interface sent rather than one rectangle more: most are flat, a hundredth of a bit each."""
INTERFACE_FLATNESS: Final = 0.7
"""Interfaces have more equal neighbours than this share; around a brush on a photograph each pixel costs bits."""
REST_PIXELS: Final = 16384
"""Up to so many pixels the codec's thorough variant takes less than a millisecond or two, here and there."""
CACHE_MIN_RUNS: Final = 32
"""A tile of fewer runs of one colour costs the codec little more than a slot costs."""
REFINE_AFTER_S: Final = 0.5
LOSSY: Final = (Encoding.JPEG, Encoding.JPEG_HALF)
HOPELESS: Final = 1.2
"""A rectangle that would exceed a message by so much, if it were like its neighbour, is not tried whole."""
MAX_LOSSY: Final = 64
"""Places that rest on their own; beyond, the oldest are joined."""
REFINE_PIXELS: Final = 65536
"""Of one refining update: a change that comes meanwhile does not wait long."""
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


@dataclass(frozen=True, slots=True)
class Touched:
    """What one update wrote: places of the panel, and cache slots."""

    rects: tuple[Rect, ...]
    slots: tuple[int, ...]


class Journal:
    """What updates touched that the device has not acknowledged, in order: should the line break, how many of them
    came through is not known before the device says so. Pacing bounds how many there are."""

    def __init__(self) -> None:
        self.acknowledged = 0
        """The number of the last update that is not here any more."""
        self._touched: deque[Touched] = deque()

    def note(self, touched: Touched) -> None:
        """The next update touches this."""
        self._touched.append(touched)

    def acknowledge(self, update: int) -> None:
        """The device shows everything up to `update`."""
        while self.acknowledged < update and self._touched:
            self._touched.popleft()
            self.acknowledged += 1

    def resized(self) -> None:
        """Nothing that was written before says anything about the panel any more."""
        self._touched = deque(Touched((), touched.slots) for touched in self._touched)

    def after(self, update: int) -> list[Touched]:
        """What the updates after `update` touched."""
        return list(self._touched)[max(update - self.acknowledged, 0) :]


class Encoder:
    """The shadow of one device and everything that brings it up to date. Belongs to one worker at a time."""

    def __init__(self, hello: m.Hello, capabilities: int) -> None:
        self._hello = hello
        self._format = PixelFormat(hello.pixel_format)
        self._may_copy = bool(capabilities & Capability.COPY)
        self._moves = MoveFinder()
        self._jpeg = JpegEncoder.for_offer(hello.jpeg)
        self._codec: TileCodec | None = None
        if hello.model_kib:
            width = min(hello.max_rect.width, MAX_SIDE)
            self._codec = TileCodec(hello.model_kib, self._format, width)
        side = tile_side(hello.cache, self._format) if self._may_copy else 0
        self._cache: TileCache | None = None
        if side and hello.cache is not None:
            self._cache = TileCache(hello.cache.slots, side)
        self.quality = 75
        self.journal = Journal()
        self.resize(hello.panel.width, hello.panel.height)

    def resize(self, width: int, height: int) -> None:
        """The device has a framebuffer of this size, and nothing in it is known."""
        self.panel = Rect(0, 0, width, height)
        self.now = Surface(width, height, self._format)
        self.shadow = Shadow(width, height, self._format)
        self._true = self.now
        if self._jpeg is not None and self._format is not PixelFormat.XRGB8888:
            # JPEG is made from all the bits that the screen has.
            self._true = Surface(width, height, PixelFormat.XRGB8888)
        self._lossy: deque[tuple[float, Rect]] = deque()
        self.journal.resized()

    @property
    def memory_bytes(self) -> int:
        """What the pictures take: most of all that is kept for a viewer."""
        pixels = self.panel.area
        return pixels * (2 * self._format.stored + 1) + (0 if self._true is self.now else 4 * pixels)

    def adopt(self, earlier: Encoder, update: int) -> None:
        """Go on from what a device shows that lost its line to `earlier` after update `update`, SPEC.md section 4.

        Panel and pixel format are the same. What was touched later counts as unknown. `earlier` is used up.
        """
        # Whoever had `earlier` may still ask it when it wants to refine, and that tidies up its list.
        self.shadow, self._lossy = earlier.shadow, deque(earlier._lossy)
        if self._cache is not None and earlier._cache is not None and self._hello.cache == earlier._hello.cache:
            self._cache = earlier._cache
        for touched in earlier.journal.after(update):
            for rect in touched.rects:
                self.shadow.set_unknown(rect)
            if self._cache is not None:
                for slot in touched.slots:
                    self._cache.drop(slot)

    def forget(self) -> None:
        """Nothing on the device is known any more: not its pixels, not its slots, not its model."""
        self.shadow.set_unknown(self.panel)
        if self._codec is not None:
            self._codec.reset()
        if self._cache is not None:
            self._cache.forget()

    def convert(self, screen: Screen, view: View, damage: Iterable[Rect], cursor: Overlay | None = None) -> None:
        """Bring the damaged parts of the panel's picture up to date with the screen, `cursor` over it."""
        covered = cursor.rect(self.panel) if cursor is not None else None
        for rect in damage:
            self._true.render(screen, view, rect)
            part = covered.intersect(rect) if covered is not None else None
            if cursor is not None and part is not None:
                self._true.blend(screen, view, cursor, part)
            if self.now is not self._true:
                # The same as rendering it once more, and cheaper where the picture is scaled.
                self.now.convert(self._true, rect, Point(rect.x, rect.y))

    # An update.

    def build(self, damage: list[Rect], pan: tuple[int, int] = (0, 0), now_s: float = 0.0) -> Update:
        """The operations that take the device to the picture that `convert` left, and the shadow with it.

        `pan`: how far the window has moved over the session since the last build; what stays in sight is copied.
        `now_s`: of any steady clock, to tell how long pixels have stood.
        """
        update = Update()
        if self._codec is not None:
            self._codec.keep()
        if pan != (0, 0) and self._may_copy:
            self._pan(pan, now_s, update)
        changed = [rect for area in damage for rect in self._changes(area)]
        if self._may_copy and sum(rect.area for rect in changed) >= MOVE_MIN_AREA:
            changed = self._move(changed, now_s, update)
        if self._cache is not None:
            changed = self._recall(self._cache, changed, now_s, update)
        for rect in changed:
            self._send(rect, now_s, update)
        self._note(update)
        return update

    def _note(self, update: Update) -> None:
        """Only after the last operation: an update that is dropped after this was never seen, and is in the journal."""
        if not update.operations:
            return
        rects: list[Rect] = []
        slots: list[int] = []
        for operation in update.operations:
            match operation:
                case m.CacheStore():
                    slots.append(operation.slot)
                case m.CacheDraw(position=at):
                    assert self._cache is not None
                    rects.append(Rect(at.x, at.y, self._cache.side, self._cache.side))
                case _:
                    rects.append(operation.rect)  # type: ignore[attr-defined]
        self.journal.note(Touched(tuple(rects), tuple(slots)))

    def _changes(self, area: Rect) -> list[Rect]:
        tight = changes(self.now, self.shadow, area)
        around = bounding(tight)
        if self._codec is None or around is None or len(tight) == 1:
            return tight
        if measure(self.now, around).flatness < INTERFACE_FLATNESS:
            return tight
        return changes(self.now, self.shadow, area, cost=CODEC_RECT_COST)

    def _pan(self, pan: tuple[int, int], now_s: float, update: Update) -> None:
        kept = self.panel.intersect(self.panel.moved(-pan[0], -pan[1]))
        if kept is not None and self.shadow.count(kept.moved(*pan)).unknown == 0:
            source = Point(kept.x + pan[0], kept.y + pan[1])
            self.shadow.copy(kept, source)
            self._copied(kept, source, now_s, update)

    def _move(self, changed: list[Rect], now_s: float, update: Update) -> list[Rect]:
        """Copy what moved; returns what is left to send."""
        area = bounding(changed)
        if area is None:
            return changed
        moves = self._moves.find(self.now, self.shadow, area)
        for rect, source in moves:
            self._copied(rect, source, now_s, update)
        return self._changes(area) if moves else changed

    def _copied(self, rect: Rect, source: Point, now_s: float, update: Update) -> None:
        update.add(m.Copy(rect=rect, source=source), Reason.MOVED)
        # Lossy pixels may be an earlier connection's, whose device took JPEG.
        if (self._jpeg is not None or self._lossy) and self.shadow.count(rect).lossy:
            self._note_lossy(rect, now_s)

    def _recall(self, cache: TileCache, changed: list[Rect], now_s: float, update: Update) -> list[Rect]:
        """Draw what slots hold and store what is about to go; returns what is left to send."""
        left: list[Rect] = []
        drawn = False
        for rect in changed:
            if rect.width < cache.side // 2 or rect.height < cache.side // 2:
                left.append(rect)
                continue
            for tile in cache.tiles(rect, self.panel):
                inside = tile.intersect(rect)
                if inside is None or 2 * inside.area < tile.area:
                    continue
                slot = cache.find(self.now, tile)
                if slot is not None:
                    if cache.still(tile, now_s):
                        self._store(cache, tile, update, keep=slot)
                    self.shadow.commit(self.now, tile)
                    update.add(draw(slot, tile), Reason.SEEN_BEFORE)
                    drawn = True
                elif cache.still(tile, now_s):
                    self._store(cache, tile, update)
            left.append(rect)
        if not drawn:
            return left
        return [part for rect in left for part in self._changes(rect)]

    def _store(self, cache: TileCache, tile: Rect, update: Update, *, keep: int | None = None) -> None:
        """Store what the device shows in `tile`; not in the slot `keep`, which is about to be drawn."""
        if self.shadow.count(tile).exact != tile.area or measure(self.shadow, tile).runs < CACHE_MIN_RUNS:
            return
        operation = cache.store(self.shadow, tile, keep)
        if operation is not None:
            update.add(operation, Reason.STORED)

    # New pixels.

    def _abilities(self, *, lossy: bool = True) -> Abilities:
        return Abilities(
            codec=self._codec is not None,
            deflate=bool(self._hello.deflate_bits),
            jpeg=lossy and self._jpeg is not None,
            jpeg_half=lossy and self._jpeg is not None and self._jpeg.halves,
        )

    def _choose(self, rect: Rect, *, lossy: bool) -> Choice:
        return choose(measure(self.now, rect), self._abilities(lossy=lossy), self.quality)

    def _send(self, rect: Rect, now_s: float, update: Update, *, lossy: bool = True) -> None:
        """Send a changed rectangle, whatever its size."""
        can = self._abilities(lossy=lossy)
        photos, fills, rest = Tiles(), Tiles(), Tiles()
        if not can.codec or (can.jpeg and rect.area >= PHOTO_MIN_PIXELS):
            for tile in grid(rect, TILE):
                stats = measure(self.now, tile)
                choice = choose(stats, can, self.quality)
                if choice.encoding in LOSSY:
                    photos.add(tile, LOSSY.index(choice.encoding))
                elif can.codec:
                    # Flat parts cost the codec next to nothing, a rectangle more would.
                    rest.add(tile, 0)
                elif choice.encoding is Encoding.FILL:
                    fills.add(tile, stats.palette[0])
                else:
                    self._encode(tile, choice, now_s, update)
        if can.codec and not photos:
            self._encode(rect, self._choose(rect, lossy=False), now_s, update)
            return
        for area, which in photos.joined():
            self._encode(area, Choice(LOSSY[which], Reason.PHOTOGRAPH), now_s, update)
        for area, value in fills.joined():
            self._fill(area, value, update)
        for area, _ in rest.joined():
            self._encode(area, self._choose(area, lossy=False), now_s, update)

    def _fill(self, rect: Rect, value: int, update: Update) -> None:
        self.shadow.fill(rect, value)
        update.add(m.Fill(rect=rect, pixel=value.to_bytes(self._format.packed, "little")), Reason.ONE_COLOUR)

    def _encode(self, rect: Rect, choice: Choice, now_s: float, update: Update, density: float = 0.0) -> float:
        """Send one rectangle in as many messages as the device's limits ask for.

        `density`: payload bytes of a pixel in another part of the same rectangle, 0: nothing is known. A part that
        would be too long by that is split at once: a try costs as much as a success. Returns that of the last part.
        """
        if choice.encoding is Encoding.FILL:
            self._fill(rect, measure(self.now, rect).palette[0], update)
            return density
        limit = self._hello.max_rect
        operation: Message | None = None
        hopeless = density * rect.area > HOPELESS * self._hello.max_message
        if rect.width <= limit.width and rect.area <= limit.area and not hopeless:
            operation = self._operation(rect, choice)
        if operation is None:
            step = 1
            if choice.encoding in LOSSY and self._jpeg is not None:
                step = self._jpeg.mcu_rows
                if rect.height <= step and rect.width <= step:
                    step, choice = 1, self._choose(rect, lossy=False)
            for half in halves(rect, step, limit.width):
                density = self._encode(half, choice, now_s, update, density)
            return density
        exact = choice.encoding not in LOSSY
        if not exact:
            self._note_lossy(rect, now_s)
        self.shadow.commit(self.now, rect, exact=exact)
        update.add(operation, choice.why)
        return len(operation.payload) / rect.area if isinstance(operation, m.Codec | m.Raw) else 0.0

    def _operation(self, rect: Rect, choice: Choice) -> Message | None:
        """One operation for the whole rectangle; None where its body would be too long."""
        limit = self._hello.max_message
        room = limit - RECT_BYTES
        match choice.encoding:
            case Encoding.CODEC:
                assert self._codec is not None
                # What is no shorter than RAW goes as RAW, which is read faster.
                shorter = HEADER_BYTES + rect.area * self._format.packed - 1
                coded = self._codec.encode(self.now, rect, self._variant(rect), min(limit, shorter))
                if coded is not None:
                    return coded
            case Encoding.JPEG | Encoding.JPEG_HALF:
                assert self._jpeg is not None
                half = choice.encoding is Encoding.JPEG_HALF
                return self._jpeg.encode(self._true, rect, self.quality, limit, half=half)
            case Encoding.DEFLATE:
                return self._deflate(rect, room - 1)
            case Encoding.PALETTE:
                payload = encode_palette(self.now, rect, room)
                if payload is not None:
                    return m.Palette(rect=rect, payload=payload)
        if rect.area * self._format.packed > room:
            return None
        return m.Raw(rect=rect, payload=encode_raw(self.now, rect))

    def _variant(self, rect: Rect) -> Variant:
        """More work per pixel where few are sent or nothing is known yet."""
        return Variant.REST if rect.area <= REST_PIXELS or self.shadow.count(rect).unknown else Variant.LIVE

    def _deflate(self, rect: Rect, room: int) -> Message | None:
        """PALETTE or RAW in a deflate stream, or bare where that is shorter."""
        bare: m.Palette | m.Raw
        palette = encode_palette(self.now, rect, rect.area * self._format.packed)
        if palette is not None:
            bare = m.Palette(rect=rect, payload=palette)
        else:
            bare = m.Raw(rect=rect, payload=encode_raw(self.now, rect))
        squeezer = zlib.compressobj(zlib.Z_BEST_COMPRESSION, zlib.DEFLATED, -max(self._hello.deflate_bits, 9))
        deflated = squeezer.compress(bare.payload) + squeezer.flush()
        if len(deflated) + 1 < len(bare.payload):
            return m.Deflate(rect=rect, inner=bare.type, payload=deflated) if len(deflated) <= room else None
        return bare if len(bare.payload) <= room else None

    # Refinement.

    def _note_lossy(self, rect: Rect, now_s: float) -> None:
        """Lossy pixels were sent or moved here; they rest from now on."""
        self._lossy = deque(entry for entry in self._lossy if not rect.contains(entry[1]))
        self._lossy.append((now_s, rect))
        if len(self._lossy) > MAX_LOSSY:
            _, oldest = self._lossy.popleft()
            since_s, next_oldest = self._lossy.popleft()
            self._lossy.appendleft((since_s, oldest.union(next_oldest)))

    def refinable_s(self) -> float:
        """When lossy pixels have rested for long enough to be made exact; infinite where there are none."""
        while self._lossy:
            sent_s, rect = self._lossy[0]
            if self.shadow.count(rect).lossy:
                return sent_s + REFINE_AFTER_S
            self._lossy.popleft()
        return math.inf

    def refine(self, now_s: float) -> Update:
        """Operations that make some of the lossy pixels exact, oldest first."""
        update = Update()
        if self._codec is not None:
            self._codec.keep()
        budget = REFINE_PIXELS
        while self._lossy and budget > 0:
            sent_s, rect = self._lossy[0]
            if sent_s + REFINE_AFTER_S > now_s:
                break
            self._lossy.popleft()
            # Newer lossy pixels in the same place have an entry of their own, and their own rest.
            fresh = [other for since, other in self._lossy if since + REFINE_AFTER_S > now_s]
            parts = [rect]
            for other in fresh:
                parts = [piece for part in parts for piece in subtract(part, other)]
            waiting: list[Rect] = []
            for part in parts:
                for lossy in self.shadow.lossy(part):
                    now, later = within(lossy, budget)
                    if now is not None:
                        budget -= now.area
                        self._refine(now, now_s, update)
                    if later is not None:
                        waiting.append(later)
            left = bounding(waiting)
            if left is not None:
                self._lossy.appendleft((sent_s, left))
        self._note(update)
        return update

    def _refine(self, rect: Rect, now_s: float, update: Update) -> None:
        before = len(update.reasons)
        self._send(rect, now_s, update, lossy=False)
        update.reasons[before:] = [Reason.REFINED] * (len(update.reasons) - before)


def within(rect: Rect, pixels: int) -> tuple[Rect | None, Rect | None]:
    """The upper rows of `rect` that have at most `pixels` pixels, at least one row, and those below; None: none."""
    if pixels <= 0:
        return None, rect
    rows = max(pixels // rect.width, 1)
    if rows >= rect.height:
        return rect, None
    upper = Rect(rect.x, rect.y, rect.width, rows)
    return upper, Rect(rect.x, rect.y + rows, rect.width, rect.height - rows)


def grid(rect: Rect, tile: Rect) -> Iterator[Rect]:
    """`rect` in tiles, row by row; whole where it is not much larger than one."""
    if rect.width <= 2 * tile.width and rect.height <= 2 * tile.height:
        yield rect
        return
    for y in range(rect.y, rect.bottom, tile.height):
        for x in range(rect.x, rect.right, tile.width):
            yield Rect(x, y, min(tile.width, rect.right - x), min(tile.height, rect.bottom - y))


class Tiles:
    """Tiles with a value each; alike ones are joined to the right and then downwards where they fit."""

    def __init__(self) -> None:
        self._tiles: list[tuple[Rect, int]] = []

    def __bool__(self) -> bool:
        return bool(self._tiles)

    def add(self, tile: Rect, value: int) -> None:
        """Tiles come row by row, from left to right."""
        if self._tiles:
            last, known = self._tiles[-1]
            if known == value and last.right == tile.x and (last.y, last.height) == (tile.y, tile.height):
                self._tiles[-1] = (last.union(tile), value)
                return
        self._tiles.append((tile, value))

    def joined(self) -> list[tuple[Rect, int]]:
        """All of them."""
        made: dict[tuple[int, int, int, int], Rect] = {}
        for rect, value in self._tiles:
            above = made.pop((rect.x, rect.width, rect.y, value), None)
            grown = rect if above is None else above.union(rect)
            made[grown.x, grown.width, grown.bottom, value] = grown
        return [(rect, key[3]) for key, rect in made.items()]


def halves(rect: Rect, step: int, widest: int) -> tuple[Rect, Rect]:
    """Two parts: upper and lower, at a multiple of `step` rows; left and right where it is too wide or too low."""
    if rect.height > step and rect.width <= widest:
        top = -(-(rect.height + 1) // 2 // step) * step
        top = min(top, (rect.height - 1) // step * step)
        return Rect(rect.x, rect.y, rect.width, top), Rect(rect.x, rect.y + top, rect.width, rect.height - top)
    left = min(-(-((rect.width + 1) // 2) // step) * step, rect.width - 1)
    return Rect(rect.x, rect.y, left, rect.height), Rect(rect.x + left, rect.y, rect.width - left, rect.height)
