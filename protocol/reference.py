"""The reference decoder: slow, obvious, and the oracle for every other one.

It takes the events of a `Connection` and keeps the framebuffer as a list of pixel values. That an operation was offered
and fits what was offered has been checked by then (`rules`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from tilewire.protocol import messages as m
from tilewire.protocol import reference_codec, reference_jpeg
from tilewire.protocol.constants import MAX_PALETTE, PixelFormat
from tilewire.protocol.errors import Code, RemoteProtocolError
from tilewire.protocol.geometry import Rect
from tilewire.protocol.rules import RESET
from tilewire.protocol.wire import Message, Varint

MAX_DEFLATE_BITS: Final = 15
"""Of the window that deflate can have."""


def _bad(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.BAD_PAYLOAD, text)


class Framebuffer:
    """A panel's pixels as values, the cache slots, and the codec's model.

    `pixels[y * width + x]` is the value of one pixel in `pixel_format` (XRGB8888: the low 24 bits). `model_kib` and
    `deflate_bits` are what the device offered.
    """

    def __init__(
        self,
        width: int,
        height: int,
        pixel_format: PixelFormat,
        model_kib: int = 0,
        deflate_bits: int = MAX_DEFLATE_BITS,
    ) -> None:
        self.width, self.height, self.format = width, height, pixel_format
        self.model_kib, self.deflate_bits = model_kib, deflate_bits
        self.pixels = [0] * (width * height)
        self.slots: dict[int, tuple[int, int, list[int]]] = {}
        self.model: reference_codec.Model | None = None
        """None before the first reset."""

    @classmethod
    def of(cls, hello: m.Hello) -> Framebuffer:
        """That of the device which says this."""
        panel, pixel_format = hello.panel, PixelFormat(hello.pixel_format)
        return cls(panel.width, panel.height, pixel_format, hello.model_kib, hello.deflate_bits)

    def resize(self, width: int, height: int) -> None:
        """The panel has another size; nothing of the old picture is kept."""
        self.width, self.height = width, height
        self.pixels = [0] * (width * height)

    def apply(self, message: Message) -> None:
        """Carry out one drawing operation, RESIZE, or nothing for any other message.

        Raises RemoteProtocolError (BAD_PAYLOAD, NOT_OFFERED); the pixels are then as they were.
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
        elif isinstance(message, m.Codec):
            self._put(message.rect, self._codec(message))
        elif isinstance(message, m.Deflate):
            self._put(message.rect, self._deflate(message))
        elif isinstance(message, m.Jpeg):
            self._put(message.rect, self._jpeg(message))

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

    def _codec(self, message: m.Codec) -> list[int]:
        if message.epoch & RESET:
            if not self.model_kib:
                raise RemoteProtocolError(Code.NOT_OFFERED, "CODEC: no model memory was offered")
            self.model = reference_codec.Model(self.model_kib, self.format)
        if self.model is None:
            raise RemoteProtocolError(Code.BAD_VALUE, "CODEC before the first reset")
        return reference_codec.decode(self.model, message.payload, message.rect.width, message.rect.height)

    def _deflate(self, message: m.Deflate) -> list[int]:
        if not self.deflate_bits:
            raise RemoteProtocolError(Code.NOT_OFFERED, "DEFLATE was not offered")
        area = message.rect.area
        if message.inner == m.Raw.type:
            return self._packed(inflate(message.payload, self.deflate_bits, area * self.format.packed))
        bound = 1 + MAX_PALETTE * self.format.packed + area
        return self._palette(message.rect, inflate(message.payload, self.deflate_bits, bound))

    def _jpeg(self, message: m.Jpeg) -> list[int]:
        width, height = message.rect.width, message.rect.height
        colours = reference_jpeg.decode(message.payload, message.quality, message.sampling, width, height)
        return [reference_jpeg.convert(colour, self.format) for colour in colours]


def inflate(stream: bytes, window_bits: int, bound: int) -> bytes:
    """A whole raw deflate stream of at most `bound` bytes. Raises RemoteProtocolError (BAD_PAYLOAD)."""
    # One byte in, one byte out: zlib knows no distance beyond its window then, where it would otherwise take one that
    # stays within the bytes of the same call.
    inflater = zlib.decompressobj(-window_bits)
    out = bytearray()
    try:
        for at in range(len(stream)):
            if inflater.eof:
                raise _bad("DEFLATE: bytes after the stream")
            part = inflater.decompress(stream[at : at + 1], 1)
            while part:
                out += part
                if len(out) > bound:
                    raise _bad(f"DEFLATE: more than {bound} bytes")
                part = inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error as error:
        raise _bad(f"DEFLATE: {error}") from None
    if not inflater.eof:
        raise _bad("DEFLATE: no end of the stream")
    return bytes(out)


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
