"""The reference decoder: slow, obvious, and the oracle for every other one.

It takes the events of a `Connection` and keeps the framebuffer as a list of pixel values. What it does not decode yet
(the tile codec, DEFLATE, JPEG) it refuses with NOT_OFFERED, as a client must that did not offer them.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_PALETTE, PixelFormat
from tilewire.protocol.errors import Code, RemoteProtocolError
from tilewire.protocol.geometry import Rect
from tilewire.protocol.wire import Message, Varint


def _bad(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.BAD_PAYLOAD, text)


class Framebuffer:
    """A panel's pixels as values, and the cache slots.

    `pixels[y * width + x]` is the value of one pixel in `pixel_format` (XRGB8888: the low 24 bits).
    """

    def __init__(self, width: int, height: int, pixel_format: PixelFormat) -> None:
        self.width, self.height, self.format = width, height, pixel_format
        self.pixels = [0] * (width * height)
        self.slots: dict[int, tuple[int, int, list[int]]] = {}

    def resize(self, width: int, height: int) -> None:
        """The panel has another size; nothing of the old picture is kept."""
        self.width, self.height = width, height
        self.pixels = [0] * (width * height)

    def apply(self, message: Message) -> None:
        """Carry out one drawing operation, RESIZE, or nothing for any other message.

        Raises RemoteProtocolError (BAD_PAYLOAD, NOT_OFFERED); the framebuffer is then as it was.
        """
        if isinstance(message, m.Resize):
            self.resize(message.width, message.height)
        elif isinstance(message, m.Fill):
            self._put(message.rect, self._packed(message.pixel) * message.rect.area)
        elif isinstance(message, m.Raw):
            self._put(message.rect, self._packed(message.payload))
        elif isinstance(message, m.Palette):
            self._put(message.rect, self._palette(message.rect, message.payload))
        elif isinstance(message, m.Copy):
            source = Rect(message.source.x, message.source.y, message.rect.width, message.rect.height)
            self._put(message.rect, self.read(source))
        elif isinstance(message, m.CacheStore):
            self.slots[message.slot] = (message.rect.width, message.rect.height, self.read(message.rect))
        elif isinstance(message, m.CacheDraw):
            width, height, pixels = self.slots[message.slot]
            self._put(Rect(message.position.x, message.position.y, width, height), pixels)
        elif message.drawing:
            raise RemoteProtocolError(Code.NOT_OFFERED, f"{message.name} is not decoded here")

    def read(self, rect: Rect) -> list[int]:
        """The pixels of a rectangle, row by row."""
        out: list[int] = []
        for y in range(rect.y, rect.bottom):
            start = y * self.width + rect.x
            out += self.pixels[start : start + rect.width]
        return out

    def stored(self, *, big_endian: bool = False) -> bytes:
        """The framebuffer as a panel keeps it in memory."""
        order = "big" if big_endian else "little"
        size = self.format.stored
        return b"".join(pixel.to_bytes(size, order) for pixel in self.pixels)  # type: ignore[arg-type]

    def _put(self, rect: Rect, pixels: list[int]) -> None:
        if len(pixels) != rect.area:
            raise _bad(f"{len(pixels)} pixels for {rect}")
        for row in range(rect.height):
            start = (rect.y + row) * self.width + rect.x
            self.pixels[start : start + rect.width] = pixels[row * rect.width : (row + 1) * rect.width]

    def _packed(self, data: bytes) -> list[int]:
        size = self.format.packed
        if len(data) % size:
            raise _bad("the pixels end inside one")
        return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]

    def _palette(self, rect: Rect, payload: bytes) -> list[int]:
        if not payload:
            raise _bad("an empty palette")
        runs, count = payload[0] >> 7, (payload[0] & 0x7F) + 1
        if count == 1:
            raise _bad("a palette of one colour")
        end = 1 + count * self.format.packed
        if len(payload) < end:
            raise _bad("the palette is cut off")
        colours = self._packed(payload[1:end])
        indices = _runs if runs else _indices
        out: list[int] = []
        for index in indices(rect, count, payload[end:]):
            if index >= count:
                raise _bad(f"index {index} in a palette of {count}")
            out.append(colours[index])
        return out


def index_bits(count: int) -> int:
    """Bits of a packed index into `count` colours."""
    return 1 if count <= 2 else 2 if count <= 4 else 4 if count <= 16 else 8


def _indices(rect: Rect, count: int, data: bytes) -> Iterator[int]:
    bits = index_bits(count)
    stride = -(-rect.width * bits // 8)
    if len(data) != stride * rect.height:
        raise _bad(f"{len(data)} bytes of indices for {rect} at {bits} bits")
    for y in range(rect.height):
        row = int.from_bytes(data[y * stride : (y + 1) * stride], "big")
        spare = 8 * stride - rect.width * bits
        if row & ((1 << spare) - 1):
            raise _bad("padding that is not zero")
        for x in range(rect.width):
            yield row >> (8 * stride - (x + 1) * bits) & ((1 << bits) - 1)


RUN_COLOURS = MAX_PALETTE // 2
"""Runs need at least two bits of the token for the length."""


def _runs(rect: Rect, count: int, data: bytes) -> Iterator[int]:
    if count > RUN_COLOURS:
        raise _bad(f"runs with {count} colours")
    bits = (count - 1).bit_length()
    longest = (1 << (8 - bits)) - 1
    view = memoryview(data)
    left, at = rect.area, 0
    while left:
        if at == len(data):
            raise _bad("the runs end before the rectangle does")
        token = data[at]
        at += 1
        index, run = token & ((1 << bits) - 1), token >> bits
        if run == longest:
            try:
                more, at = Varint().decode(view, at)
            except RemoteProtocolError as error:
                raise _bad(f"a run's length {error}") from None
            run += more
        if run + 1 > left:
            raise _bad("a run goes beyond the rectangle")
        left -= run + 1
        for _ in range(run + 1):
            yield index
    if at != len(data):
        raise _bad("bytes after the last run")
