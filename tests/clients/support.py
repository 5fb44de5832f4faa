"""A server for one C client: the sans-IO connection of the other role, and small encoders of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tilewire.protocol import (
    AuthMethod,
    Capability,
    Code,
    Connection,
    EndOfStream,
    Event,
    Need,
    PixelFormat,
    Point,
    Rect,
    RemoteProtocolError,
    Sender,
)
from tilewire.protocol import messages as m
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.wire import MESSAGES, Message, Varint, encode_varint
from tilewire.simulator import client as c

KEY = bytes(range(32))
NONCE = bytes(range(100, 116))
SERVER_NONCE = bytes(range(200, 216))
ALL = (
    Capability.EXPLAIN
    | Capability.CLIPBOARD
    | Capability.BELL
    | Capability.INPUT_ECHO
    | Capability.RESIZE
    | Capability.TOUCH
)


def config(**fields: object) -> c.ClientConfig:
    """A small device whose every byte is known."""
    known: dict[str, object] = {"width": 40, "height": 24, "nonce": NONCE, "max_message": 4096}
    return c.ClientConfig(**(known | fields))  # type: ignore[arg-type]


def reply(method: AuthMethod = AuthMethod.NONE) -> m.Reply:
    return m.Reply(version=1, method=method, nonce=SERVER_NONCE)


def welcome(capabilities: int) -> m.Welcome:
    return m.Welcome(
        session="s1",
        size=m.Size(width=1024, height=600),
        role=2,
        viewer=1,
        settings=m.Settings(fps=30, quality=75, adaptive=1),
        capabilities=capabilities,
    )


class Server:
    """The server's end. What it sends is returned as bytes, for the test to feed in its own way."""

    def __init__(self) -> None:
        self.connection = Connection(role=Sender.SERVER)
        self.received: list[Event] = []

    def receive(self, data: bytes) -> list[Event]:
        """Parse what the client sent; a protocol error of the client fails the test."""
        if data:
            self.connection.receive_data(data)
        fresh: list[Event] = []
        while not isinstance(event := self.connection.next_event(), Need | EndOfStream):
            fresh.append(event)
        self.received += fresh
        return fresh

    def send(self, *events: Message | m.Reply) -> bytes:
        return b"".join(self.connection.send(event) for event in events)

    def accept(self, client: c.Client, capabilities: int | None = None) -> bytes:
        """The bytes of a handshake without proof, with all (or these) capabilities in force."""
        self.receive(client.output())
        hello = self.connection.hello
        assert hello is not None
        return self.send(reply(), welcome(hello.capabilities if capabilities is None else capabilities))


def connect(client: c.Client, capabilities: int | None = None) -> Server:
    """Bring a client without key to the open state."""
    server = Server()
    client.feed(server.accept(client, capabilities))
    assert client.phase is c.Phase.OPEN
    return server


class Oracle:
    """The Python connection in the client's role, with the reference decoder: what the C client has to agree with."""

    def __init__(self, hello: m.Hello, *, overlay: bool = False) -> None:
        self.connection = Connection(role=Sender.CLIENT)
        self.overlay = overlay
        """The device tells of its cursor instead of drawing it."""
        self._rows = b""
        self._place: Point | None = None
        self.connection.send(hello)
        self.framebuffer = Framebuffer.of(hello)
        self.events: list[c.Event] = []
        self.code: Code | None = None
        self.truncated = False
        self._begun = m.Begin(update=1, input=0)
        self._shown = False

    def feed(self, data: bytes) -> None:
        if data:
            self.connection.receive_data(data)
        try:
            while self.code is None and not isinstance(event := self.connection.next_event(), Need | EndOfStream):
                self._take(event)
        except RemoteProtocolError as error:
            self.code = error.code
            self.leave()

    def end(self) -> None:
        """The stream ends; an error now says that it did inside something."""
        if self.code is None:
            self.connection.receive_data(b"")
            try:
                assert isinstance(self.connection.next_event(), EndOfStream)
            except RemoteProtocolError:
                self.truncated = True
            self.leave()

    def leave(self) -> None:
        """The connection is over: so is the cursor."""
        if self._shown:
            self.events.append(NO_CURSOR)
            self._shown = False

    def _take(self, event: Event) -> None:
        if isinstance(event, m.Begin):
            self._begun = event
        elif isinstance(event, m.End):
            self.events.append(c.Presented(self._begun.update, self._begun.input))
        elif isinstance(event, m.CursorShape | m.CursorPosition):
            self._take_cursor(event)
        elif isinstance(event, Message) and event.drawing:
            self.framebuffer.apply(event)
        elif isinstance(event, Message) and not isinstance(event, m.Ping | m.Proof):
            if isinstance(event, m.Goodbye):
                self.leave()
            self.framebuffer.apply(event)
            self.events.append(event)

    def _take_cursor(self, event: m.CursorShape | m.CursorPosition) -> None:
        """A shape is reported whole, a place where it is another one."""
        if not self.overlay:
            return
        if isinstance(event, m.CursorShape):
            self._rows = (self._rows if event.row else b"") + event.pixels
            if len(self._rows) == 4 * event.width * event.height:
                self.events.append(replace(event, row=0, pixels=self._rows))
                self._shown = event.width != 0
        elif event.position != self._place:
            self._place = event.position
            self.events.append(event)


NO_CURSOR = m.CursorShape(width=0, height=0, hot_x=0, hot_y=0, row=0, pixels=b"")


def pack(value: int, pixel_format: PixelFormat) -> bytes:
    return value.to_bytes(pixel_format.packed, "little")


def palette(
    rect: Rect, colours: Sequence[int], indices: Sequence[int], pixel_format: PixelFormat, *, runs: bool
) -> bytes:
    """A PALETTE payload, written from the specification's words and not from any decoder."""
    count = len(colours)
    out = bytearray([(128 if runs else 0) | count - 1])
    for colour in colours:
        out += pack(colour, pixel_format)
    return bytes(out + (_runs(indices, count) if runs else _packed(rect, indices, count)))


def _packed(rect: Rect, indices: Sequence[int], count: int) -> bytes:
    bits = 1 if count == 2 else 2 if count <= 4 else 4 if count <= 16 else 8
    out = bytearray()
    for y in range(rect.height):
        row = "".join(f"{i:0{bits}b}" for i in indices[y * rect.width : (y + 1) * rect.width])
        row += "0" * (-len(row) % 8)
        out += bytes(int(row[i : i + 8], 2) for i in range(0, len(row), 8))
    return bytes(out)


def _runs(indices: Sequence[int], count: int) -> bytes:
    bits = next(b for b in range(1, 7) if 2**b >= count)
    longest = 2 ** (8 - bits) - 1
    out = bytearray()
    at = 0
    while at < len(indices):
        end = at
        while end < len(indices) and indices[end] == indices[at]:
            end += 1
        length = end - at - 1
        out.append(indices[at] | min(length, longest) << bits)
        if length >= longest:
            out += encode_varint(length - longest)
        at = end
    return bytes(out)


def messages_in(data: bytes) -> list[Message]:
    """What a client sent after its HELLO, whatever the state."""
    view, at, out = memoryview(data), 0, []
    while at < len(data):
        length, start = Varint().decode(view, at + 1)
        out.append(MESSAGES[data[at]].decode(view[start : start + length]))
        at = start + length
    return out


def pieces(data: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    """`data` cut into pieces of these sizes, the rest in one."""
    at = 0
    for size in sizes:
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size
    if at < len(data):
        yield data[at:]
