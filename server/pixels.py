"""Pictures in memory and everything that touches their pixels one by one. Python decides here, C computes.

The *screen* is the session's picture. A *surface* is a picture in a panel's format. A *shadow* is a surface
with what was last sent, and for each pixel how well it is known what the device shows. All calls release the GIL;
a shadow, and whatever is written to, belongs to one thread at a time.

Pixel values are integers as the panel stores them: RGB565 red<<11 | green<<5 | blue, XRGB8888 red<<16 |
green<<8 | blue, RGB332 red<<5 | green<<2 | blue, GREY8 luma.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import log2
from typing import TYPE_CHECKING, Any, Final

from tilewire.protocol import PixelFormat, Point, Rect
from tilewire.protocol.constants import MAX_PALETTE, MAX_PIXELS, MAX_SIDE
from tilewire.server._native import ffi, lib
from tilewire.server.view import View

if TYPE_CHECKING:
    from tilewire.server.cursor import Overlay

MAX_SCREEN_SIDE: Final = 32767
"""X's own limit: its coordinates have 16 bits and a sign."""
MAX_CHANGES: Final[int] = lib.TW_NS_MAX_RECTS
"""Rectangles that one search returns at most."""
RECT_COST: Final = 96
"""What one rectangle more costs, in unchanged pixels sent instead: some 18 bytes of header and start."""
_PALETTE_HEAD: Final = 1 + MAX_PALETTE * 3


class PixelState(IntEnum):
    """What a shadow knows about a pixel of the device. The values are the bytes of `Shadow.states`."""

    UNKNOWN = lib.TW_NS_UNKNOWN
    "Nothing: it must be sent."
    LOSSY = lib.TW_NS_LOSSY
    "It was sent, and the device shows something near it."
    EXACT = lib.TW_NS_EXACT
    "The device shows this value."


@dataclass(frozen=True, slots=True)
class StateCounts:
    """How many pixels are in which state."""

    unknown: int
    lossy: int
    exact: int


class _Picture:
    """Rows of stored pixels without padding."""

    def __init__(self, width: int, height: int, pixel_format: PixelFormat, max_side: int) -> None:
        for name, side in (("width", width), ("height", height)):
            if not 1 <= side <= max_side:
                raise ValueError(f"{name} is {side}: not from 1 to {max_side}")
        self.rect: Final = Rect(0, 0, width, height)
        self.format: Final = pixel_format
        size = width * height * pixel_format.stored
        self._memory = ffi.new("uint8_t[]", size)
        self.pixels: Final = memoryview(ffi.buffer(self._memory, size)).cast("B")
        """All stored pixels, row by row. Writable."""
        handle: Any = ffi.new("tw_ns_surface *")
        handle.pixels = self._memory
        handle.width, handle.height = width, height
        handle.format, handle.stored = pixel_format, pixel_format.stored
        self.handle: Final = handle
        """For calls into C: a `tw_ns_surface *` that lives as long as this object."""

    @property
    def width(self) -> int:
        """In pixels."""
        return self.rect.width

    @property
    def height(self) -> int:
        """In pixels."""
        return self.rect.height

    def blit(self, rect: Rect, pixels: bytes | bytearray | memoryview) -> None:
        """Copy stored pixels, row by row without padding, into `rect`. Raises ValueError."""
        _check_inside(self, rect, "rect")
        expected = rect.area * self.format.stored
        with ffi.from_buffer("uint8_t[]", pixels) as data:
            if len(data) != expected:
                raise ValueError(f"pixels: {len(data)} bytes, but {rect} has {expected}")
            lib.tw_ns_blit(self.handle, _struct(rect), data)


class Screen(_Picture):
    """A session's picture: blue, green, red and an unused byte per pixel. Black at first."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width, height, PixelFormat.XRGB8888, MAX_SCREEN_SIDE)


class Surface(_Picture):
    """A picture in a panel's pixel format. All zero at first."""

    def __init__(self, width: int, height: int, pixel_format: PixelFormat) -> None:
        super().__init__(width, height, pixel_format, MAX_SIDE)
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width}x{height} is more than {MAX_PIXELS} pixels")

    def convert(self, picture: Screen | Surface, source: Rect, at: Point) -> None:
        """Take over `source` of a screen, or of an XRGB8888 surface, with its left top at `at`. Raises ValueError."""
        if picture.format is not PixelFormat.XRGB8888:
            raise ValueError(f"{picture.format.name} pixels are not converted")
        _check_inside(picture, source, "source")
        _check_inside(self, Rect(at.x, at.y, source.width, source.height), "destination")
        lib.tw_ns_convert(picture.handle, _struct(source), self.handle, at.x, at.y)

    def render(self, screen: Screen, view: View, rect: Rect) -> None:
        """Make `rect` what a panel with this view shows of the screen. Raises ValueError.

        Scaled, turned, converted, black around the picture. A rectangle is the same as that part of the whole.
        """
        _check_inside(self, rect, "rect")
        _check_view(self, screen, view)
        lib.tw_ns_render(screen.handle, _view_struct(view), self.handle, _struct(rect))

    def blend(self, screen: Screen, view: View, overlay: Overlay, clip: Rect) -> None:
        """Render the part of `clip` that the cursor covers, with the cursor over it. Raises ValueError.

        The colours are mixed at 8 bits and converted then.
        """
        _check_inside(self, clip, "clip")
        _check_view(self, screen, view)
        place = overlay.place
        if place is None or place.intersect(clip) is None:
            return
        with ffi.from_buffer("uint8_t[]", overlay.image.pixels) as image:
            lib.tw_ns_blend(screen.handle, _view_struct(view), self.handle, _struct(clip), image, _struct(place))

    def fill(self, rect: Rect, value: int = 0) -> None:
        """Give every pixel of `rect` this value. In a shadow they are exact then. Raises ValueError."""
        _check_inside(self, rect, "rect")
        if not 0 <= value < 1 << 8 * self.format.packed:
            raise ValueError(f"value {value:#x} is no {self.format.name} pixel")
        lib.tw_ns_fill(self.handle, _struct(rect), value)


class Shadow(Surface):
    """What was last sent to a device, and how well each pixel is known. All unknown at first."""

    def __init__(self, width: int, height: int, pixel_format: PixelFormat) -> None:
        super().__init__(width, height, pixel_format)
        self._states = ffi.new("uint8_t[]", width * height)
        self.states: Final = memoryview(ffi.buffer(self._states, width * height)).cast("B")
        """A PixelState for each pixel, row by row. Writable."""
        self.handle.states = self._states
        context = lib.tw_ns_context_new(width, height)
        if context == ffi.NULL:
            raise MemoryError(f"no memory to search {width}x{height} pixels")
        self._context: Any = ffi.gc(context, lib.tw_ns_context_free)
        self._found = ffi.new("tw_ns_rect[]", MAX_CHANGES)

    def commit(self, now: Surface, rect: Rect, *, exact: bool = True) -> None:
        """`rect` of `now` was sent. Raises ValueError."""
        _check_alike(self, now)
        _check_inside(self, rect, "rect")
        state = PixelState.EXACT if exact else PixelState.LOSSY
        lib.tw_ns_commit(self.handle, now.handle, _struct(rect), state)

    def copy(self, rect: Rect, source: Point) -> None:
        """The device copies pixels into `rect`, from a rectangle at `source` that may overlap it.

        Raises ValueError.
        """
        _check_inside(self, rect, "rect")
        _check_inside(self, Rect(source.x, source.y, rect.width, rect.height), "source")
        lib.tw_ns_copy(self.handle, _struct(rect), source.x, source.y)

    def set_unknown(self, rect: Rect) -> None:
        """What the device shows in `rect` is not known any more. Raises ValueError."""
        _check_inside(self, rect, "rect")
        lib.tw_ns_set_state(self.handle, _struct(rect), PixelState.UNKNOWN)

    def count(self, rect: Rect) -> StateCounts:
        """The pixels of `rect` by state. Raises ValueError."""
        _check_inside(self, rect, "rect")
        counts: Any = ffi.new("int32_t[3]")
        lib.tw_ns_count(self.handle, _struct(rect), counts)
        return StateCounts(*ffi.unpack(counts, 3))

    def differences(
        self,
        now: Surface,
        rect: Rect,
        *,
        cost: int = RECT_COST,
        limit: int = MAX_CHANGES,
    ) -> list[Rect]:
        """What `changes` returns."""
        _check_alike(self, now)
        return self._search(lib.TW_NS_FIND_CHANGED, now, rect, cost, limit)

    def lossy(self, rect: Rect, *, cost: int = RECT_COST, limit: int = MAX_CHANGES) -> list[Rect]:
        """Rectangles that hold every pixel of `rect` that was sent lossy: `changes` has the rest."""
        return self._search(lib.TW_NS_FIND_LOSSY, self, rect, cost, limit)

    def _search(self, find: int, now: Surface, rect: Rect, cost: int, limit: int) -> list[Rect]:
        _check_inside(self, rect, "rect")
        if not 0 <= cost <= MAX_PIXELS:
            raise ValueError(f"cost is {cost}: not from 0 to {MAX_PIXELS}")
        if not 1 <= limit <= MAX_CHANGES:
            raise ValueError(f"limit is {limit}: not from 1 to {MAX_CHANGES}")
        area, found = _struct(rect), self._found
        count = lib.tw_ns_changes(self._context, now.handle, self.handle, area, find, cost, found, limit)
        if count < 0:
            raise AssertionError("the search was refused after its arguments were checked")
        return [Rect(r.x, r.y, r.width, r.height) for r in found[0:count]]


def changes(
    now: Surface,
    shadow: Shadow,
    rect: Rect,
    *,
    cost: int = RECT_COST,
    limit: int = MAX_CHANGES,
) -> list[Rect]:
    """Rectangles that hold every pixel of `rect` that differs from the shadow or is unknown there.

    None when all are equal. They do not overlap, and none can be smaller. One more is worth it where it leaves out
    more than `cost` pixels: no two, whose common rectangle touches no third, would be cheaper as one. Ordered by
    rows. Where `limit` is short, those that save most are kept apart. Raises ValueError.
    """
    return shadow.differences(now, rect, cost=cost, limit=limit)


@dataclass(frozen=True, slots=True)
class TileStats:
    """What the choice of an encoding is made from. `measure` fills it in."""

    width: int
    height: int
    format: PixelFormat
    colours: int
    """Different values, 1 to 128; 129 means more."""
    palette: tuple[int, ...]
    """The values in order of first appearance; empty where there are more than 128."""
    runs: int
    """Runs of equal pixels in raster order, over row ends."""
    equal_left: int
    """Pixels that equal the one to the left inside the rectangle."""
    equal_up: int
    """Pixels that equal the one above inside the rectangle."""
    gradients: tuple[int, ...]
    """Pairs of neighbours, across and down, by luma difference: 0, 1, 2-3, 4-7, and so on to 128-255."""
    packed_bytes: int | None
    """Bytes of a palette payload with packed indices; None with one colour or more than 128."""
    run_bytes: int | None
    """Bytes of a palette payload with runs; None with one colour or more than 64."""

    @property
    def pixels(self) -> int:
        """In all."""
        return self.width * self.height

    @property
    def pairs(self) -> int:
        """Pairs of neighbours, across and down."""
        return 2 * self.pixels - self.width - self.height

    @property
    def raw_bytes(self) -> int:
        """What `encode_raw` returns, in bytes."""
        return self.pixels * self.format.packed

    @property
    def palette_bytes(self) -> int | None:
        """What `encode_palette` returns, in bytes; None with one colour or more than 128."""
        if self.packed_bytes is None or self.run_bytes is None:
            return self.packed_bytes
        return min(self.packed_bytes, self.run_bytes)

    @property
    def flatness(self) -> float:
        """Share of pairs of neighbours that are equal: 1 for one colour, near 0 for a photograph."""
        return (self.equal_left + self.equal_up) / self.pairs if self.pairs else 1.0

    @property
    def smoothness(self) -> float:
        """Share of small steps (luma 1 to 15) among all steps: high in photographs, low in text.

        Says nothing in RGB332, whose smallest step is larger.
        """
        steps = sum(self.gradients[1:])
        return sum(self.gradients[1:5]) / steps if steps else 0.0

    @property
    def entropy(self) -> float:
        """Bits that one luma difference takes: its class, and its place and sign within. 0 to some 9."""
        bits = 0.0
        for step, count in enumerate(self.gradients):
            if count:
                bits += count * (step - log2(count / self.pairs))
        return bits / self.pairs if self.pairs else 0.0


def measure(surface: Surface, rect: Rect) -> TileStats:
    """The statistics of a rectangle. Raises ValueError."""
    _check_inside(surface, rect, "rect")
    stats: Any = ffi.new("tw_ns_stats *")
    lib.tw_ns_measure(surface.handle, _struct(rect), stats)
    colours = stats.colours
    return TileStats(
        width=rect.width,
        height=rect.height,
        format=surface.format,
        colours=colours,
        palette=tuple(stats.palette[0:colours]) if colours <= MAX_PALETTE else (),
        runs=stats.runs,
        equal_left=stats.equal_left,
        equal_up=stats.equal_up,
        gradients=tuple(stats.gradients),
        packed_bytes=stats.packed_bytes or None,
        run_bytes=stats.run_bytes or None,
    )


def encode_palette(surface: Surface, rect: Rect, limit: int) -> bytes | None:
    """The payload of PALETTE, packed or in runs, whichever is shorter. Raises ValueError.

    None where it would be longer than `limit` bytes, and where the rectangle has one colour or more than 128.
    """
    _check_inside(surface, rect, "rect")
    # The longest: a whole palette, and no index longer than a byte.
    capacity = min(max(limit, 0), _PALETTE_HEAD + rect.area)
    payload = ffi.new("uint8_t[]", capacity)
    size = lib.tw_ns_encode_palette(surface.handle, _struct(rect), payload, capacity)
    return bytes(ffi.buffer(payload, size)) if size else None


def encode_raw(surface: Surface, rect: Rect) -> bytes:
    """The payload of RAW: packed pixels, row by row. Raises ValueError."""
    _check_inside(surface, rect, "rect")
    capacity = rect.area * surface.format.packed
    payload = ffi.new("uint8_t[]", capacity)
    size = lib.tw_ns_encode_raw(surface.handle, _struct(rect), payload, capacity)
    return bytes(ffi.buffer(payload, size))


def halve(surface: Surface, rect: Rect) -> bytes:
    """A rectangle of an XRGB8888 surface at half its size, rounded up: blue, green, red of each. Raises ValueError."""
    _check_inside(surface, rect, "rect")
    if surface.format is not PixelFormat.XRGB8888:
        raise ValueError(f"{surface.format.name} pixels are not halved")
    capacity = (rect.width + 1) // 2 * ((rect.height + 1) // 2) * 3
    pixels = ffi.new("uint8_t[]", capacity)
    lib.tw_ns_halve(surface.handle, _struct(rect), pixels, capacity)
    return bytes(ffi.buffer(pixels, capacity))


def _struct(rect: Rect) -> tuple[int, int, int, int]:
    """What cffi makes a `tw_ns_rect` of."""
    return rect.x, rect.y, rect.width, rect.height


def _view_struct(view: View) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int], int]:
    """What cffi makes a `tw_ns_view` of."""
    return _struct(view.window), _struct(view.placed), view.rotation


def _check_view(surface: Surface, screen: Screen, view: View) -> None:
    for what, picture, size in (("session", screen, view.session), ("panel", surface, view.panel)):
        if (picture.width, picture.height) != size:
            raise ValueError(f"a view of a {what} of {size} pixels does not go with {_kind(picture)}")


def _check_inside(picture: _Picture, rect: Rect, what: str) -> None:
    if not picture.rect.contains(rect):
        raise ValueError(f"{what} {rect} is not inside {picture.width}x{picture.height} pixels")


def _check_alike(shadow: Shadow, now: Surface) -> None:
    if (shadow.rect, shadow.format) != (now.rect, now.format):
        raise ValueError(f"a shadow of {_kind(shadow)} does not go with a surface of {_kind(now)}")


def _kind(picture: _Picture) -> str:
    return f"{picture.width}x{picture.height} {picture.format.name} pixels"
