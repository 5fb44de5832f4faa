"""What the tests share: a device in Python (the sans-IO connection and the reference decoder on a socket), a server in
this process on a display of its own, and the picture that a device must show."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import trio
import trio.testing
import trio_websocket
from Xlib import X

from tilewire.protocol import (
    AuthMethod,
    Capability,
    Connection,
    EndOfStream,
    Message,
    Need,
    Panel,
    PixelFormat,
    Point,
    Rect,
    Refusal,
    RemoteProtocolError,
    Resumed,
    Sender,
)
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAGIC, RESUME_S, Rotation, ViewMode
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.wire import PREFIX, Varint
from tilewire.server.display import Display, open_display
from tilewire.server.door import Doorman, keep_door, open_door
from tilewire.server.handshake import Authority, Credentials
from tilewire.server.pixels import Screen, Surface
from tilewire.server.run import only
from tilewire.server.session import Session
from tilewire.server.transport import WebRules
from tilewire.server.view import View
from tilewire.server.xvfb import XvfbServer, start_xvfb

from tests.server.xclient import Painter

WITHIN_S: Final = 30.0
"""Beyond that a test fails instead of hanging."""
LOOPBACK: Final = "127.0.0.1"
ORIGIN: Final = Point(0, 0)
SIZE: Final = (200, 120)
"""Of most screens: the reference decoder is slow."""
EVERYTHING: Final = Capability.COPY | Capability.INPUT_ECHO | Capability.EXPLAIN


def hello(
    *,
    panel: tuple[int, int] = SIZE,
    pixel_format: PixelFormat = PixelFormat.RGB565,
    max_message: int = 65536,
    max_rect: tuple[int, int] | None = None,
    capabilities: int = EVERYTHING,
    device_id: str = "test",
    boot_id: int | None = None,
    auth_methods: int = AuthMethod.NONE,
    **more: Any,
) -> m.Hello:
    """A device's HELLO; `more`: its other fields."""
    widest, largest = max_rect or (max(panel[0], 16), max(panel[0] * panel[1], 256))
    return m.Hello(
        nonce=os.urandom(16),
        device_id=device_id,
        boot_id=secrets.randbits(64) if boot_id is None else boot_id,
        auth_methods=auth_methods,
        panel=m.Size(width=panel[0], height=panel[1]),
        pixel_format=pixel_format,
        max_message=max_message,
        max_rect=m.RectLimit(width=widest, area=largest),
        capabilities=capabilities,
        **more,
    )


def hello_of(panel: Panel, **more: Any) -> m.Hello:
    """What a standard panel says, without what the reference decoder cannot do."""
    return hello(
        panel=(panel.width, panel.height),
        pixel_format=panel.pixel_format,
        max_message=panel.max_message,
        max_rect=(panel.max_rect_width, panel.max_rect_area),
        capabilities=EVERYTHING if panel.readable else EVERYTHING & ~Capability.COPY,
        **more,
    )


class Stream(Protocol):
    """Bytes to and from a server."""

    async def receive(self) -> bytes:
        """Empty at the end."""

    async def send(self, data: bytes) -> None: ...


class TcpStream:
    """tilewire's own framing."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(65536))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)


class WebStream:
    """Binary WebSocket messages; `piece` bytes in each at most."""

    def __init__(self, socket: trio_websocket.WebSocketConnection, piece: int = 65536) -> None:
        self.socket = socket
        self._piece = piece

    async def receive(self) -> bytes:
        try:
            message = await self.socket.get_message()
            assert isinstance(message, bytes)
            return message
        except trio_websocket.ConnectionClosed:
            return b""

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), self._piece):
            await self.socket.send_message(data[at : at + self._piece])


class Device:
    """A device: every message is checked by the protocol's own rules and drawn by the reference decoder."""

    def __init__(
        self,
        stream: Stream,
        greeting: m.Hello,
        *,
        key: bytes | None = None,
        acks: bool = True,
        earlier: Device | None = None,
    ) -> None:
        """`earlier`: whose framebuffer and slots the device still has; `comes_back` makes such a HELLO."""
        self.stream = stream
        self.connection = Connection(Sender.CLIENT)
        self.framebuffer = Framebuffer.of(greeting)
        self._earlier = earlier
        if earlier is not None:
            self.framebuffer = earlier.framebuffer
            self.framebuffer.model = None
            self.framebuffer.model_kib, self.framebuffer.deflate_bits = greeting.model_kib, greeting.deflate_bits
        self.acks = acks
        self.events: list[object] = []
        self.updates = 0
        """The newest that ended."""
        self.acked = 0
        self.received = 0
        """Bytes."""
        self.inputs = 0
        self.echoed = 0
        """The newest input that the server has named."""
        self.ended = False
        """Nothing comes any more."""
        self.error: RemoteProtocolError | None = None
        self.begun_at = 0
        """Bytes received when the last update began, and how many it had from BEGIN to END."""
        self.update_bytes = 0
        self.answers = True
        """Pings."""
        self.may_be_cut = not acks
        """Whether the connection may end anywhere: what was whole was taken."""
        self._more = True
        """Whether the stream has not ended."""
        self._moved_on = False
        """Whether its picture belongs to a later connection."""
        self._hello = greeting
        self._key = key
        self._news = trio.Event()
        self._may_read = trio.Event()
        self._may_read.set()
        self._writing = trio.Lock()

    # What it says.

    async def say(self, message: Message | m.Hello) -> None:
        """Send one message."""
        async with self._writing:
            await self.stream.send(self.connection.send(message))

    async def say_raw(self, data: bytes) -> None:
        """Send bytes that nobody checked."""
        async with self._writing:
            await self.stream.send(data)

    def _number(self) -> int:
        self.inputs += 1
        return self.inputs

    async def point(self, x: int, y: int, buttons: int = 0) -> int:
        """Move the pointer; returns the input's number."""
        number = self._number()
        await self.say(m.Pointer(input=number, position=Point(x, y), buttons=buttons))
        return number

    async def key(self, keysym: int, *, pressed: bool = True) -> int:
        """A key down or up."""
        number = self._number()
        await self.say(m.Key(input=number, keysym=keysym, pressed=int(pressed)))
        return number

    async def text(self, text: str) -> int:
        """Type."""
        number = self._number()
        await self.say(m.TextInput(input=number, text=text))
        return number

    async def acknowledge(self) -> None:
        """Everything that ended is out."""
        if self.acked < self.updates:
            self.acked = self.updates
            await self.say(m.Ack(update=self.acked, decode_us=1))

    def comes_back(self, **changes: Any) -> m.Hello:
        """What this device says on its next connection: that it still has its picture, which this one leaves alone."""
        self._moved_on = True
        offer = self.welcome.resume
        assert offer is not None
        fields: dict[str, Any] = {
            "nonce": os.urandom(16),
            "panel": m.Size(width=self.framebuffer.width, height=self.framebuffer.height),
            "resume": m.ResumeRequest(token=offer.token, update=self.updates),
        }
        return replace(self._hello, **(fields | changes))

    # What it hears.

    def hold(self) -> None:
        """Read no more for now."""
        self._may_read = trio.Event()

    def read_on(self) -> None:
        """Read again."""
        self._may_read.set()

    def all(self, kind: type[Any]) -> list[Any]:
        """All messages of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def last(self, kind: type[Any]) -> Any:
        """The newest message of a kind, or None."""
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    @property
    def goodbye(self) -> m.Goodbye | None:
        """What the server left with."""
        found: m.Goodbye | None = self.last(m.Goodbye)
        return found

    @property
    def welcome(self) -> m.Welcome:
        """What the handshake ended with."""
        assert self.connection.welcome is not None
        return self.connection.welcome

    def stored(self) -> bytes:
        """The framebuffer's memory."""
        return self.framebuffer.stored()

    async def until(self, condition: Callable[[], object], within_s: float = WITHIN_S) -> None:
        """Return once it holds; looked at whenever something came."""
        with trio.move_on_after(within_s):
            while not condition():
                assert not self.ended, f"the connection ended: {self.goodbye or self.error or 'without a word'}"
                await self._news.wait()
            return
        raise AssertionError(f"this did not come in {within_s:g} s; updates: {self.updates}, {self.events[-3:]}")

    async def until_shown(self, expected: bytes) -> None:
        """Return once the framebuffer's memory is as expected."""
        size = self.framebuffer.format.stored
        pixels = [int.from_bytes(expected[at : at + size], "little") for at in range(0, len(expected), size)]
        await self.until(lambda: self.framebuffer.pixels == pixels)

    async def until_ended(self, within_s: float = WITHIN_S) -> m.Goodbye | None:
        """Return once nothing comes any more."""
        with trio.move_on_after(within_s):
            while not self.ended:
                await self._news.wait()
            return self.goodbye
        raise AssertionError(f"the connection is still open after {within_s:g} s")

    async def greet(self) -> None:
        """Send HELLO."""
        await self.say(self._hello)
        if self._earlier is not None:
            self.connection.rules.adopt(self._earlier.connection.rules)

    async def live(self) -> None:
        """Read until the end."""
        try:
            while not self.ended:
                await self._may_read.wait()
                data = await self.stream.receive()
                self.received += len(data)
                self._more = bool(data)
                self.connection.receive_data(data)
                await self._take_events()
                self._tell()
        except RemoteProtocolError as error:
            self.error = error
            raise
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio_websocket.ConnectionClosed):
            pass
        finally:
            self.ended = True
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def _take_events(self) -> None:
        while True:
            try:
                event = self.connection.next_event()
            except RemoteProtocolError:
                if self.connection.closed or (self.may_be_cut and not self._more):
                    self.ended = True
                    return
                raise
            if isinstance(event, Need):
                return
            self.events.append(event)
            if isinstance(event, EndOfStream):
                self.ended = True
                return
            await self._heed(event)

    async def _heed(self, event: object) -> None:
        if self._moved_on:
            return
        match event:
            case m.Proof():
                assert self._key is not None
                self.connection.check_proof(self._key, event)
                await self.say(self.connection.make_proof(self._key))
            case m.Welcome() if event.resumed != Resumed.RESUMED:
                self.framebuffer.slots.clear()
            case m.Begin():
                self.echoed = event.input
                self.update_bytes = len(event.encode())
            case m.End():
                self.update_bytes += len(event.encode())
                self.updates = self.connection.rules.ended
                if self.acks:
                    await self.acknowledge()
            case m.InputEcho():
                self.echoed = event.input
            case m.Ping() if self.answers:
                await self.say(m.Pong(stamp=event.stamp))
            case Message():
                if event.drawing:
                    self.update_bytes += len(event.encode())
                self.framebuffer.apply(event)
            case Refusal():
                pass


@asynccontextmanager
async def tcp(port: int) -> AsyncIterator[TcpStream]:
    """A plain connection."""
    async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
        assert isinstance(stream, trio.SocketStream)
        yield TcpStream(stream)


@asynccontextmanager
async def web(port: int, *, origin: str | None = None, host: str | None = None) -> AsyncIterator[WebStream]:
    """A WebSocket, as a page of `origin` would open it. Raises trio_websocket.ConnectionRejected."""
    headers = [] if origin is None else [(b"Origin", origin.encode())]
    async with await trio.open_tcp_stream(LOOPBACK, port) as stream, trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(
            nursery, stream, host or f"{LOOPBACK}:{port}", "/", extra_headers=headers
        )
        try:
            yield WebStream(socket)
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def device(
    port: int,
    greeting: m.Hello | None = None,
    *,
    key: bytes | None = None,
    acks: bool = True,
    by_web: bool = False,
    welcome: bool = True,
    earlier: Device | None = None,
    may_be_cut: bool = False,
) -> AsyncIterator[Device]:
    """A device that has connected and lives until the block ends; with `welcome` it has been let in.

    `earlier`: the same device on a connection that has ended; it asks to go on from there.
    """
    async with web(port) if by_web else tcp(port) as stream, trio.open_nursery() as nursery:
        greeting = greeting or (earlier.comes_back() if earlier is not None else hello())
        made = Device(stream, greeting, key=key, acks=acks, earlier=earlier)
        made.may_be_cut |= may_be_cut
        await made.greet()
        nursery.start_soon(made.live)
        if welcome:
            await made.until(lambda: made.connection.welcome is not None)
        try:
            yield made
        finally:
            nursery.cancel_scope.cancel()


async def screen_picture(
    name: str,
    panel: tuple[int, int],
    pixel_format: PixelFormat,
    origin: Point = ORIGIN,
    state: m.ViewState | None = None,
) -> bytes:
    """What a panel must show of a display as it is now, read on a connection of its own. `state`: its view."""
    async with open_display(name) as display:
        capture = await display.capture_all()
    screen = Screen(*capture.size)
    for patch in capture.patches:
        screen.blit(patch.rect, patch.pixels)
    view = View(capture.size, panel, origin)
    if state is not None:
        at = Point(state.window.x, state.window.y)
        view = View(capture.size, panel, at, True, ViewMode(state.mode), Rotation(state.rotation))
    surface = Surface(*panel, pixel_format)
    surface.render(screen, view, surface.rect)
    return bytes(surface.pixels)


class Served:
    """A server in this process."""

    def __init__(self, xvfb: XvfbServer, display: Display, session: Session, port: int, nursery: trio.Nursery) -> None:
        self.xvfb = xvfb
        self.display = display
        self.session = session
        self.port = port
        self.nursery = nursery

    @property
    def name(self) -> str:
        """Of the display."""
        return self.xvfb.display_name

    async def picture(
        self,
        panel: tuple[int, int],
        pixel_format: PixelFormat,
        origin: Point = ORIGIN,
        state: m.ViewState | None = None,
    ) -> bytes:
        """What a panel must show of the screen as it is now, read on a connection of its own."""
        return await screen_picture(self.name, panel, pixel_format, origin, state)

    async def until_exact(self, *devices: Device) -> None:
        """Return once all devices show the screen as it is now."""
        for one in devices:
            framebuffer = one.framebuffer
            exact = False
            while not exact:
                state = one.last(m.ViewState)
                size = framebuffer.width, framebuffer.height
                expected = await self.picture(size, framebuffer.format, state=state)
                # Which view it was may have been on its way.
                await one.until(lambda: one.stored() == expected or one.last(m.ViewState) is not state)  # noqa: B023
                exact = one.stored() == expected


@asynccontextmanager
async def served(
    size: tuple[int, int] = SIZE,
    *,
    fps: int = 60,
    credentials: Authority | None = None,
    rules: WebRules | None = None,
    resume_s: float = RESUME_S,
    doorman: Doorman | None = None,
) -> AsyncIterator[Served]:
    """A server on an Xvfb of its own."""
    async with start_xvfb(*size) as xvfb, open_display(xvfb.display_name) as display:
        session = Session("main", display, fps, resume_s=resume_s)
        listeners = await open_door(LOOPBACK, 0)
        port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.watch)
            authority, rules = credentials or Credentials(), rules or WebRules()
            nursery.start_soon(keep_door, listeners, authority, rules, only(session), nursery, None, doorman)
            yield Served(xvfb, display, session, port, nursery)
            nursery.cancel_scope.cancel()


async def quiet(for_s: float) -> None:
    """Return once nobody has run for so long; fails where somebody never rests."""
    with trio.fail_after(WITHIN_S):
        await trio.testing.wait_all_tasks_blocked(for_s)


def tasks() -> int:
    """How many tasks trio runs."""

    def count(task: trio.lowlevel.Task) -> int:
        return 1 + sum(count(child) for nursery in task.child_nurseries for child in nursery.child_tasks)

    root = trio.lowlevel.current_root_task()
    assert root is not None
    return count(root)


def descriptors() -> set[str]:
    """This process's open files."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:
            # The listing's own.
            continue
    return found


def put_pixels(painter: Painter, rect: Rect, pixels: bytes) -> None:
    """Draw blue, green, red, unused; returns when the X server has done it."""
    pen = painter.window.create_gc()
    rows = max(1, 60_000 // (4 * rect.width))
    for y in range(0, rect.height, rows):
        height = min(rows, rect.height - y)
        part = pixels[4 * rect.width * y : 4 * rect.width * (y + height)]
        painter.window.put_image(pen.id, rect.x, rect.y + y, rect.width, height, X.ZPixmap, 24, 0, part)
    pen.free()
    painter.display.sync()


async def heard(one: Device) -> None:
    """Return once the server has read all that was said, and its answer is here."""
    stamp = len(one.events) + 1
    await one.say(m.Ping(stamp=stamp))
    await one.until(lambda: any(pong.stamp == stamp for pong in one.all(m.Pong)))


async def everything(stream: Stream) -> bytes:
    """All bytes until the server closes."""
    data = b""
    with trio.fail_after(WITHIN_S):
        while part := await stream.receive():
            data += part
    return data


def split(data: bytes) -> list[tuple[int, bytes]]:
    """A server's bytes as messages (type, body), without the prefix and field list before them."""
    messages: list[tuple[int, bytes]] = []
    if data.startswith(MAGIC):
        data = data[PREFIX.size + PREFIX.unpack_from(data)[3] :]
    while data:
        length, at = Varint().decode(memoryview(data), 1)
        messages.append((data[0], data[at : at + length]))
        data = data[at + length :]
    return messages


def goodbye_in(data: bytes) -> m.Goodbye | None:
    """The goodbye that ends a server's bytes."""
    found = [m.Goodbye.decode(memoryview(body)) for kind, body in split(data) if kind == m.Goodbye.type]
    return found[-1] if found else None
