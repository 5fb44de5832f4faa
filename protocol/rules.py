"""What messages may say, given all that was agreed and sent before: bounds, offers, sequences.

One object per connection sees every message of both directions in order, at both ends: the sender's refuses to send
what the receiver's would refuse to take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tilewire.protocol import messages as m
from tilewire.protocol.constants import Capability, CursorMode, PixelFormat, Resumed
from tilewire.protocol.errors import Code, RemoteProtocolError
from tilewire.protocol.geometry import Rect
from tilewire.protocol.wire import Message

EPOCHS: Final = 128
RESET: Final = 0x80


def _refuse(code: Code, text: str) -> RemoteProtocolError:
    return RemoteProtocolError(code, text)


class Rules:
    """The memory that the rules need: numbers last used, slots filled, chunks under way."""

    def __init__(self, hello: m.Hello) -> None:
        self.hello = hello
        self.panel = hello.panel
        self.format: PixelFormat = PixelFormat(hello.pixel_format)
        self.capabilities = 0
        self.begun = 0
        self.ended = 0
        self.acked = 0
        self.input = 0
        self.epoch: int | None = None
        self.resets = 0
        self.slots: dict[int, tuple[int, int]] = {}
        self._earlier: Rules | None = None
        self._clipboard: dict[str, tuple[int, int]] = {}
        self._cursor: tuple[int, int, int] | None = None
        self._checks: dict[type[Message], Callable[[Any], None]] = {
            m.Welcome: self._welcome,
            m.Begin: self._begin,
            m.End: self._end,
            m.Fill: self._fill,
            m.Copy: self._copy,
            m.CacheStore: self._cache_store,
            m.CacheDraw: self._cache_draw,
            m.Raw: self._raw,
            m.Palette: self._pixels,
            m.Codec: self._codec,
            m.Deflate: self._deflate,
            m.Jpeg: self._jpeg,
            m.CursorShape: self._cursor_shape,
            m.CursorPosition: self._cursor_position,
            m.Explanation: self._explanation,
            m.InputEcho: self._input_echo,
            m.Bell: self._bell,
            m.Ack: self._ack,
            m.Pointer: self._pointer,
            m.Touch: self._touch,
            m.Wheel: self._numbered,
            m.Key: self._numbered,
            m.TextInput: self._numbered,
        }

    def check(self, message: Message, *, from_client: bool) -> None:
        """Refuse `message` (RemoteProtocolError) or take note of it."""
        if isinstance(message, m.Clipboard):
            self._clipboard_chunk(message, "client" if from_client else "server")
        elif isinstance(message, m.Resize):
            self._resize(message, from_client=from_client)
        else:
            check = self._checks.get(type(message))
            if check is not None:
                check(message)

    # The handshake.

    def adopt(self, earlier: Rules) -> None:
        """Should WELCOME say RESUMED: what the rules of the connection that is resumed have of the cache."""
        self._earlier = earlier

    def _welcome(self, message: m.Welcome) -> None:
        extra = message.capabilities & ~self.hello.capabilities
        if extra:
            raise _refuse(Code.BAD_VALUE, f"WELCOME puts capabilities {extra:#x} in force that were not offered")
        if message.resumed != Resumed.NOT_ASKED and self.hello.resume is None:
            raise _refuse(Code.BAD_VALUE, "WELCOME answers a resume that was not asked for")
        self.capabilities = message.capabilities
        earlier, self._earlier = self._earlier, None
        if message.resumed == Resumed.RESUMED and earlier is not None and earlier.hello.cache == self.hello.cache:
            self.slots = dict(earlier.slots)

    def _has(self, capability: Capability, what: str) -> None:
        if not self.capabilities & capability:
            raise _refuse(Code.NOT_OFFERED, f"{what} without the capability {capability.name}")

    # Updates.

    def _begin(self, message: m.Begin) -> None:
        if message.update != self.begun + 1:
            raise _refuse(Code.BAD_VALUE, f"BEGIN of update {message.update} after {self.begun}")
        if message.input > self.input:
            raise _refuse(Code.BAD_VALUE, f"BEGIN echoes input {message.input}; the newest is {self.input}")
        self.begun = message.update

    def _end(self, message: m.End) -> None:
        self.ended = self.begun

    def _inside(self, rect: Rect, what: str) -> None:
        if rect.right > self.panel.width or rect.bottom > self.panel.height:
            raise _refuse(Code.BAD_VALUE, f"{what}: {rect} lies outside the panel of {self.panel}")

    def _pixels(self, message: Any) -> None:
        rect: Rect = message.rect
        what = type(message).__name__.upper()
        self._inside(rect, what)
        limit = self.hello.max_rect
        if rect.width > limit.width or rect.area > limit.area:
            raise _refuse(
                Code.NOT_OFFERED,
                f"{what}: {rect} is larger than {limit.width} columns or {limit.area} pixels",
            )

    def _fill(self, message: m.Fill) -> None:
        self._inside(message.rect, "FILL")
        if len(message.pixel) != self.format.packed:
            raise _refuse(
                Code.BAD_PAYLOAD,
                f"FILL: {len(message.pixel)} bytes for a pixel of {self.format.name}",
            )

    def _raw(self, message: m.Raw) -> None:
        self._pixels(message)
        if len(message.payload) != message.rect.area * self.format.packed:
            raise _refuse(Code.BAD_PAYLOAD, f"RAW: {len(message.payload)} bytes for {message.rect}")

    def _copy(self, message: m.Copy) -> None:
        self._has(Capability.COPY, "COPY")
        self._inside(message.rect, "COPY")
        source = Rect(message.source.x, message.source.y, message.rect.width, message.rect.height)
        self._inside(source, "COPY from")

    def _cache_store(self, message: m.CacheStore) -> None:
        offer = self._cache(message.slot, "CACHE_STORE")
        self._inside(message.rect, "CACHE_STORE")
        if message.rect.area * self.format.stored > offer.slot_bytes:
            raise _refuse(Code.NOT_OFFERED, f"CACHE_STORE: {message.rect} exceeds {offer.slot_bytes} bytes")
        self.slots[message.slot] = (message.rect.width, message.rect.height)

    def _cache_draw(self, message: m.CacheDraw) -> None:
        self._cache(message.slot, "CACHE_DRAW")
        size = self.slots.get(message.slot)
        if size is None:
            raise _refuse(Code.BAD_VALUE, f"CACHE_DRAW: slot {message.slot} was never filled")
        self._inside(Rect(message.position.x, message.position.y, *size), "CACHE_DRAW")

    def _cache(self, slot: int, what: str) -> m.CacheOffer:
        offer = self.hello.cache
        if offer is None or slot >= offer.slots:
            raise _refuse(Code.NOT_OFFERED, f"{what}: slot {slot} was not offered")
        self._has(Capability.COPY, what)
        return offer

    def _codec(self, message: m.Codec) -> None:
        if not self.hello.model_kib:
            raise _refuse(Code.NOT_OFFERED, "CODEC: no model memory was offered")
        self._pixels(message)
        number = message.epoch & ~RESET
        resets = self.resets + (1 if message.epoch & RESET else 0)
        epoch = resets % EPOCHS if resets else None
        if number != epoch:
            raise _refuse(Code.BAD_VALUE, f"CODEC: epoch {number} where {epoch} is in force")
        self.resets, self.epoch = resets, epoch

    def _deflate(self, message: m.Deflate) -> None:
        if not self.hello.deflate_bits:
            raise _refuse(Code.NOT_OFFERED, "DEFLATE was not offered")
        self._pixels(message)

    def _jpeg(self, message: m.Jpeg) -> None:
        offer = self.hello.jpeg
        if (
            offer is None
            or not offer.subsamplings >> (message.sampling & 15) & 1
            or not offer.scales >> (message.sampling >> 4) & 1
        ):
            raise _refuse(Code.NOT_OFFERED, f"JPEG: sampling {message.sampling:#04x} was not offered")
        self._pixels(message)

    def _resize(self, message: m.Resize, *, from_client: bool) -> None:
        self._has(Capability.RESIZE, "RESIZE")
        if not from_client:
            self.panel = m.Size(width=message.width, height=message.height)

    # What goes with a session.

    def _cursor_shape(self, message: m.CursorShape) -> None:
        offer = self.hello.cursor
        if offer is None or offer.mode != CursorMode.LOCAL:
            raise _refuse(Code.NOT_OFFERED, "CURSOR_SHAPE: no local cursor was offered")
        if max(message.width, message.height) > offer.max_side:
            raise _refuse(
                Code.NOT_OFFERED,
                f"CURSOR_SHAPE: {message.width}x{message.height} exceeds {offer.max_side}",
            )
        if message.row:
            if self._cursor != (message.width, message.height, message.row):
                raise _refuse(Code.BAD_STATE, f"CURSOR_SHAPE: row {message.row} does not follow the last part")
        if message.width:
            row = message.row + len(message.pixels) // (4 * message.width)
            self._cursor = (message.width, message.height, row) if row < message.height else None
        else:
            self._cursor = None

    def _cursor_position(self, message: m.CursorPosition) -> None:
        if self.hello.cursor is None or self.hello.cursor.mode != CursorMode.LOCAL:
            raise _refuse(Code.NOT_OFFERED, "CURSOR_POSITION: no local cursor was offered")
        self._inside(Rect(message.position.x, message.position.y, 1, 1), "CURSOR_POSITION")

    def _explanation(self, message: m.Explanation) -> None:
        self._has(Capability.EXPLAIN, "EXPLANATION")
        if message.update != self.ended:
            raise _refuse(Code.BAD_VALUE, f"EXPLANATION of update {message.update} after {self.ended}")

    def _input_echo(self, message: m.InputEcho) -> None:
        self._has(Capability.INPUT_ECHO, "INPUT_ECHO")
        if message.input > self.input:
            raise _refuse(Code.BAD_VALUE, f"INPUT_ECHO of {message.input}; the newest is {self.input}")

    def _bell(self, message: m.Bell) -> None:
        self._has(Capability.BELL, "BELL")

    def _clipboard_chunk(self, message: m.Clipboard, sender: str) -> None:
        self._has(Capability.CLIPBOARD, "CLIPBOARD")
        total, offset = self._clipboard.get(sender, (0, 0))
        if message.offset and (message.offset, message.total) != (offset, total):
            raise _refuse(Code.BAD_STATE, f"CLIPBOARD: chunk at {message.offset} does not follow the last")
        end = message.offset + len(message.data)
        if end > message.total or (message.total and not message.data):
            raise _refuse(Code.BAD_VALUE, f"CLIPBOARD: chunk to {end} of {message.total} bytes")
        if end == message.total:
            self._clipboard.pop(sender, None)
        else:
            self._clipboard[sender] = (message.total, end)

    # From the client.

    def _ack(self, message: m.Ack) -> None:
        if message.update > self.ended:
            raise _refuse(Code.BAD_ACK, f"ACK of update {message.update}; the last that ended is {self.ended}")
        if message.update < self.acked:
            raise _refuse(Code.BAD_ACK, f"ACK of update {message.update} after {self.acked}")
        self.acked = message.update

    def _numbered(self, message: Any) -> None:
        if message.input <= self.input:
            raise _refuse(Code.BAD_VALUE, f"input {message.input} after {self.input}; the numbers must grow")
        self.input = message.input

    def _pointer(self, message: m.Pointer) -> None:
        self._touched(message.position, "POINTER")
        self._numbered(message)

    def _touch(self, message: m.Touch) -> None:
        self._has(Capability.TOUCH, "TOUCH")
        for finger in message.fingers:
            self._touched(finger.position, "TOUCH")
        self._numbered(message)

    def _touched(self, point: m.Point, what: str) -> None:
        if RESIZABLE & self.capabilities:
            # The client may not have seen our RESIZE yet: such points are clamped by whoever uses them.
            return
        self._inside(Rect(point.x, point.y, 1, 1), what)


RESIZABLE: Final = int(Capability.RESIZE)
