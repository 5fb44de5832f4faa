"""The local cursor as SPEC.md 10.1 has it, in slow and obvious Python, and a device that is held against it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tilewire.protocol import CursorMode, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.wire import Message
from tilewire.server.codec import TileCodec, Variant
from tilewire.simulator import client as c

from tests.clients.pictures import pack_stored, picture, surface, value_of
from tests.clients.support import ALL, Server, config

SIDE = 12
SLOTS, SLOT_BYTES = 3, 3840
MODEL_KIB = 16
LARGEST = 64
"""Columns and rows of the largest panel that a RESIZE makes; an operation may cover it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """`pixels`: width * height of blue, green, red, alpha."""

    width: int
    height: int
    hot_x: int
    hot_y: int
    pixels: bytes

    def rows(self, row: int, count: int) -> m.CursorShape:
        """One part."""
        at = 4 * self.width * row
        return m.CursorShape(
            width=self.width,
            height=self.height,
            hot_x=self.hot_x,
            hot_y=self.hot_y,
            row=row,
            pixels=self.pixels[at : at + 4 * self.width * count],
        )

    def parts(self, counts: Iterable[int] = ()) -> list[m.CursorShape]:
        """The messages that carry it, with this many rows each; the last has what is left."""
        out, row = [], 0
        for count in counts:
            if row + count >= self.height:
                break
            out.append(self.rows(row, count))
            row += count
        return [*out, self.rows(row, self.height - row)]


NO_SHAPE = Shape(0, 0, 0, 0, b"")


def expand(value: int, pixel_format: PixelFormat) -> tuple[int, int, int]:
    """Red, green and blue of a pixel's value at eight bits (SPEC.md 5.2, informative)."""
    match pixel_format:
        case PixelFormat.RGB565:
            red, green, blue = value >> 11, value >> 5 & 63, value & 31
            return red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2
        case PixelFormat.XRGB8888:
            return value >> 16, value >> 8 & 255, value & 255
        case PixelFormat.RGB332:
            red, green, blue = value >> 5, value >> 2 & 7, value & 3
            return red << 5 | red << 2 | red >> 1, green << 5 | green << 2 | green >> 1, blue * 85
        case _:
            return value, value, value


def over(colour: int, background: int, alpha: int) -> int:
    """One channel."""
    return min(255, colour + (background * (255 - alpha) + 127) // 255)


def blended(value: int, pixel: Sequence[int], pixel_format: PixelFormat) -> int:
    """A pixel of the shape over one of the picture."""
    blue, green, red, alpha = pixel
    below = expand(value, pixel_format)
    red, green, blue = (over(colour, background, alpha) for colour, background in zip((red, green, blue), below))
    return value_of(red, green, blue, pixel_format)


class Rig:
    """A device with a local cursor, its server, the reference decoder, and what the cursor has to look like."""

    def __init__(self, **fields: Any) -> None:
        known: dict[str, Any] = {"capabilities": ALL, "report_draws": True, "model_kib": MODEL_KIB}
        known |= {"cache_slots": SLOTS, "cache_slot_bytes": SLOT_BYTES, "cursor_side": SIDE}
        known |= {"max_rect_width": LARGEST, "max_rect_area": LARGEST**2, "max_message": 5 * LARGEST**2}
        self.client = c.Client(config(**(known | {"cursor": CursorMode.LOCAL} | fields)))
        self.server = Server()
        self.client.feed(self.server.accept(self.client))
        assert self.server.connection.hello is not None
        self.pure = Framebuffer.of(self.server.connection.hello)
        self.codec = TileCodec(MODEL_KIB, self.pure.format, LARGEST)
        self.big_endian = self.client.config.big_endian
        self.shape, self.place = NO_SHAPE, (-1, -1)
        self.rect: Rect | None = None
        """Where the cursor is drawn."""
        self.updates, self.inside = 0, False
        self.panel = bytearray(self.client.screen)
        """A panel that shows what it is handed, when it is handed."""
        self.client.events.clear()

    # What happens.

    def send(self, *messages: Message, moves: Sequence[tuple[int, int]] = ()) -> None:
        """The server says this; while it is out, the pointer moves there. All is compared when nothing is pending."""
        for message in messages:
            self.client.feed(self.server.send(message))
            self.note(message)
            self.settle(moves)

    def note(self, message: Message) -> None:
        """What the message does by the specification."""
        if isinstance(message, m.Begin):
            self.updates, self.inside = message.update, True
        elif isinstance(message, m.End):
            self.inside = False
            self._draw()
        elif isinstance(message, m.CursorPosition):
            self._move(message.position.x, message.position.y)
        elif isinstance(message, m.CursorShape):
            self._shape(message)
        elif isinstance(message, m.Resize):
            self.rect = None
            self.panel = bytearray(message.width * message.height * self.pure.format.stored)
            self.pure.apply(message)
        elif message.drawing:
            if self.rect is not None and any(touches(self.rect, rect) for rect in self._touched(message)):
                self.rect = None
            self.pure.apply(message)

    def pointer(self, x: int, y: int) -> None:
        """The device's own motion."""
        self.client.pointer(x, y)
        self.client.output()
        self._move(x, y)

    def settle(self, moves: Sequence[tuple[int, int]] = ()) -> None:
        """Let everything out, with motion while it is on its way, and compare."""
        self.flush()
        left = list(moves)
        while self.client.pending:
            if left:
                before = self.client.screen
                self.pointer(*left.pop(0))
                assert self.client.screen == before
            self.client.draw_done()
            self.flush()
        self.compare()

    def flush(self) -> None:
        """What was handed out is taken over by the panel."""
        width, stored, screen = self.client.width, self.pure.format.stored, self.client.screen
        for event in self.client.events:
            if isinstance(event, c.Drawn) and len(self.panel) == len(screen):
                for y in range(event.rect.y, event.rect.bottom):
                    at, end = ((y * width + x) * stored for x in (event.rect.x, event.rect.right))
                    self.panel[at:end] = screen[at:end]
        self.client.events.clear()

    def compare(self) -> None:
        """The framebuffer is that of the reference decoder; the screen has the cursor over it."""
        client = self.client
        assert client.error is None
        assert client.framebuffer == self.stored()
        assert client.cursor == self.rect
        assert client.screen == self.expected()
        if not self.inside:
            assert self.panel == client.screen

    # What it has to look like.

    def stored(self) -> bytes:
        return self.pure.stored(big_endian=self.big_endian)

    def expected(self) -> bytes:
        if self.rect is None:
            return self.stored()
        values, shape, width = list(self.pure.pixels), self.shape, self.pure.width
        left, top = self._corner()
        for y in range(self.rect.y, self.rect.bottom):
            for x in range(self.rect.x, self.rect.right):
                at = 4 * ((y - top) * shape.width + x - left)
                values[y * width + x] = blended(values[y * width + x], shape.pixels[at : at + 4], self.pure.format)
        return pack_stored(values, self.pure.format, big_endian=self.big_endian)

    def _corner(self) -> tuple[int, int]:
        """Left top of the shape; a RESIZE may have left the hot spot outside."""
        x, y = min(self.place[0], self.pure.width - 1), min(self.place[1], self.pure.height - 1)
        return x - self.shape.hot_x, y - self.shape.hot_y

    def _draw(self) -> None:
        shape = self.shape
        if not shape.width or self.place[0] < 0:
            self.rect = None
            return
        left, top = self._corner()
        x, y = max(0, left), max(0, top)
        right, bottom = min(self.pure.width, left + shape.width), min(self.pure.height, top + shape.height)
        self.rect = Rect(x, y, right - x, bottom - y)

    def _move(self, x: int, y: int) -> None:
        place = (min(x, self.pure.width - 1), min(y, self.pure.height - 1))
        if place != self.place:
            self.place = place
            self._draw()

    def _shape(self, message: m.CursorShape) -> None:
        if not message.row:
            self._coming = b""
        self._coming += message.pixels
        if len(self._coming) == 4 * message.width * message.height:
            self.shape = Shape(message.width, message.height, message.hot_x, message.hot_y, self._coming)
            self._draw()

    def _touched(self, message: Any) -> list[Rect]:
        if isinstance(message, m.CacheDraw):
            width, height, _ = self.pure.slots[message.slot]
            return [Rect(message.position.x, message.position.y, width, height)]
        rects = [message.rect]
        if isinstance(message, m.Copy):
            rects.append(Rect(message.source.x, message.source.y, message.rect.width, message.rect.height))
        return rects

    # What the server can say.

    def begin(self) -> m.Begin:
        return m.Begin(update=self.updates + 1, input=0)

    def coded(self, rect: Rect, kind: str, seed: int) -> m.Codec:
        values = picture(kind, self.pure.width, self.pure.height, self.pure.format, seed)
        source = surface(values, self.pure.width, self.pure.height, self.pure.format)
        coded = self.codec.encode(source, rect, Variant(seed & 1), 5 * LARGEST**2)
        assert coded is not None
        return coded


def touches(one: Rect, other: Rect) -> bool:
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


def arrow(width: int = 5, height: int = 7, hot_x: int = 1, hot_y: int = 2, alpha: int | None = None) -> Shape:
    """A shape with every kind of pixel, or of one alpha."""
    pixels = bytearray()
    for at in range(width * height):
        share = (at * 37) % 256 if alpha is None else alpha
        pixels += bytes(share * tone // 255 for tone in (at * 11 % 256, at * 5 % 256, 255 - at * 3 % 256)) + bytes(
            (share,)
        )
    return Shape(width, height, hot_x, hot_y, bytes(pixels))


def at(x: int, y: int) -> m.CursorPosition:
    return m.CursorPosition(position=Point(x, y))
