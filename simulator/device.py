"""A device in this process: the C client on a byte stream, with hands and a watch.

async with open_device("127.0.0.1:7800", setup) as device:
    await device.whole_picture()
    await device.click(10, 20)
    device.save_png(Path("device.png"))
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.protocol import DEFAULT_PANEL, PANELS, Capability, Code, Panel, Point, Rect, Resumed
from tilewire.protocol import messages as m
from tilewire.protocol.constants import ControlAction, CursorMode, Role
from tilewire.simulator.client import (
    Backoff,
    Client,
    ClientConfig,
    ClientError,
    Event,
    Phase,
    Presented,
    Retry,
    Statistics,
    should_reconnect,
    status_text,
)
from tilewire.simulator.picture import save_png, to_rgb
from tilewire.simulator.recording import Recording
from tilewire.simulator.stream import ByteStream, StreamError, Trust, connect

TICK_S: Final = 1.0
CLOSE_S: Final = 1.0
STOOD_S: Final = 5.0
"""A connection that lasted so long was a good one: the next wait is short."""
CHUNK_BYTES: Final = 1024
"""Of clipboard text; the C client queues no more than 1.4 KiB at once."""
PARTS: Final = ("codec", "cache", "jpeg", "copy")
"""What a device may offer or leave out."""
LEFT: Final = 1
SHIFT: Final = 0xFFE1


class DeviceError(Exception):
    """The device's session is over against its will; one plain sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a device is."""

    panel: Panel = PANELS[DEFAULT_PANEL]
    device_id: str = "tilewire-sim"
    key: bytes | None = None
    ticket: bytes | None = None
    """Of the server's API; the device need not have a key then."""
    profile: str | None = None
    session: str | None = None
    url: str | None = None
    """What it asks the server for."""
    capabilities: Capability = Capability.INPUT_ECHO
    without: frozenset[str] = frozenset()
    """What the device does not offer although its panel could: some of PARTS."""
    cursor: CursorMode = CursorMode.NONE
    """LOCAL where the panel's framebuffer can be read; else IN_PICTURE takes its place."""
    view: m.View | None = None
    """Asked for at first, and until `Device.look` asks for another."""
    reconnect: bool = False
    """Come back when the line breaks, with what the framebuffer still shows."""
    recording: Recording | None = None
    """Where the wire is kept; closed with the device."""
    hurry: float = 1.0
    """The share of the wait before the next connection that is waited, for tests."""


@dataclass(slots=True)
class Watch:
    """Times from an input to what it caused, in milliseconds."""

    echo_ms: list[float] = field(default_factory=list)
    picture_ms: list[float] = field(default_factory=list)
    missed: int = 0
    """Inputs after which the probed pixel did not change in time."""


class Device:
    """One connected device; made by `open_device`."""

    def __init__(self, client: Client, setup: Setup, address: str, trust: Trust | None) -> None:
        self._client = client
        self._setup = setup
        self._address, self._trust = address, trust
        self.panel = setup.panel
        self.watch = Watch()
        self.presented = 0
        self.connections = 0
        """Those that got as far as WELCOME."""
        self.resumed: list[Resumed] = []
        """What each WELCOME said of the connection before."""
        self.received = 0
        """Bytes, of all connections."""
        self.view: m.ViewState | None = None
        """In force."""
        self.welcome: m.Welcome | None = None
        """Of the newest connection."""
        self.control_state: m.ControlState | None = None
        """What that connection has said about it since."""
        self.clipboard: bytes | None = None
        """The session's, once it was sent whole."""
        self.ended: str | None = None
        """Why the session is over, once it is for good."""
        self.goodbye: int | None = None
        """The code of the server's goodbye."""
        self.refused: StreamError | None = None
        """Why there never was a connection."""
        self._recording = setup.recording
        self._wanted = setup.view
        self._asked = False
        """Whether a connection has been asked for it: those that go on from that one know it."""
        self._paused = False
        self._lost: str | None = None
        """Why this connection is over."""
        self._earlier: list[Statistics] = []
        self._backoff = Backoff()
        self._arriving = bytearray()
        self._changed = trio.Event()
        self._unsent = trio.Event()
        self._room = trio.Event()
        self._finished = trio.Event()
        self._sent_at: dict[int, float] = {}
        self.on_event: Callable[[Event], None] | None = None

    @property
    def statistics(self) -> Statistics:
        """Counters of the C client, of all connections."""
        return sum(self._earlier, start=self._client.statistics)

    @property
    def is_down(self) -> bool:
        """Whether there is no connection on which anything could be said."""
        return self._lost is not None or self._client.phase is not Phase.OPEN

    @property
    def lost(self) -> str | None:
        """Why there is no connection now; None: there is one, or it is being made."""
        return self._lost

    # The stream.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, and carry bytes until it is over for good; why is in `ended`, or in `refused`."""
        reached = False
        try:
            while True:
                try:
                    async with connect(self._address, self._trust) as stream:
                        if not reached:
                            reached = True
                            task_status.started()
                        await self._carry(stream)
                except StreamError as error:
                    self._end(str(error))
                    if not reached:
                        self.refused = error
                        self.ended = self._lost
                        task_status.started()
                if self.ended is None and not self._comes_back():
                    self.ended = self._lost
                if self.ended is not None:
                    return
                await trio.sleep(self._backoff.next(secrets.randbits(32)) / 1000 * self._setup.hurry)
                self._earlier.append(self._client.statistics)
                self._client = self._client.successor()
                self._sent_at.clear()
                self._lost = self.goodbye = None
        finally:
            self._finished.set()
            self._wake()

    def _comes_back(self) -> bool:
        """Whether to connect again."""
        again = should_reconnect(self._client.reason) is Retry.LATER
        return self._setup.reconnect and self.connections > 0 and again

    async def _carry(self, stream: ByteStream) -> None:
        since = trio.current_time()
        if self._recording is not None:
            self._recording.connected()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive, stream)
            nursery.start_soon(self._tick)
            await self._send(stream)
            nursery.cancel_scope.cancel()
        if trio.current_time() > since + STOOD_S:
            self._backoff.reset()

    async def _receive(self, stream: ByteStream) -> None:
        while self._lost is None:
            try:
                data = await stream.receive()
            except StreamError as error:
                self._end(str(error))
                break
            self.received += len(data)
            if self._recording is not None:
                self._recording.received(data)
            if data:
                self._client.feed(data)
            else:
                self._client.end()
            self._check_recording()
            self._hear()
            if not data:
                self._end("the server closed the connection")

    async def _send(self, stream: ByteStream) -> None:
        """The only task that writes; last words are written before it ends."""
        while True:
            self._unsent = trio.Event()
            over = self._lost is not None
            data = self._client.output()
            if data:
                if self._recording is not None:
                    self._recording.sent(data)
                try:
                    await stream.send(data)
                    self._room.set()
                    self._room = trio.Event()
                except StreamError as error:
                    self._end(str(error))
                    return
            elif over:
                return
            else:
                await self._unsent.wait()

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK_S)
            self._client.tick(int(time.monotonic() * 1000))
            self._check_recording()
            self._hear()

    def _check_recording(self, *, last: bool = False) -> None:
        """Keep the framebuffer's checksum after a keyframe and at the end, so that a replay can be compared."""
        recording = self._recording
        if recording is None or self._client.error is not None:
            return
        if recording.wants_picture or (last and recording.may_check):
            recording.picture(self.memory(), self.panel.pixel_format, big_endian=self.panel.big_endian)
        if not last and not self.is_down and recording.ask_refresh():
            try:
                self._client.refresh()
            except ClientError:
                # So much waits to be sent; it is asked for again.
                return
            self._unsent.set()

    def _hear(self) -> None:
        now = time.monotonic()
        events = self._client.events[:]
        self._client.events.clear()
        for event in events:
            match event:
                case Presented():
                    self.presented += 1
                    self._echoed(event.input, now)
                case m.InputEcho():
                    self._echoed(event.input, now)
                case m.Welcome():
                    self._welcomed(event)
                case m.ViewState():
                    self.view = event
                case m.ControlState():
                    self.control_state = event
                case m.Clipboard():
                    self._take_clipboard(event)
                case m.Goodbye():
                    self.goodbye = event.code
                    self._end(f"the server said goodbye: {event.text or event.code}")
                case _:
                    pass
            if self.on_event is not None:
                self.on_event(event)
        if self._client.error is not None:
            self._end(f"the connection failed: {status_text(self._client.error)}")
        elif self._client.phase is Phase.CLOSED:
            self._end("the connection is closed")
        self._unsent.set()
        self._wake()

    def _welcomed(self, welcome: m.Welcome) -> None:
        self.connections += 1
        self.welcome, self.control_state = welcome, None
        self.resumed.append(Resumed(welcome.resumed))
        if self._wanted is not None and not (self._asked and welcome.resumed == Resumed.RESUMED):
            self.look(self._wanted)
        if self._paused:
            self.pause(True)

    def _take_clipboard(self, chunk: m.Clipboard) -> None:
        if chunk.offset == 0:
            self._arriving.clear()
        self._arriving += chunk.data
        if len(self._arriving) == chunk.total:
            self.clipboard = bytes(self._arriving)

    def _echoed(self, number: int, now: float) -> None:
        for known in [known for known in self._sent_at if known <= number]:
            self.watch.echo_ms.append((now - self._sent_at.pop(known)) * 1000)

    def _end(self, text: str) -> None:
        if self._lost is None:
            self._lost = text
        self._room.set()
        if not self._setup.reconnect and self.ended is None:
            self.ended = text
        self._unsent.set()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # Waiting.

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `condition` holds; it is looked at after each change. Raises DeviceError when all is over."""
        with trio.move_on_after(timeout_s):
            while not condition():
                if self.ended is not None:
                    raise DeviceError(self.ended)
                await self._changed.wait()
            return True
        return False

    async def whole_picture(self, timeout_s: float = 30.0) -> None:
        """Wait for the first update, which is always whole. Raises DeviceError."""
        if not await self.wait_for(lambda: self.presented > 0, timeout_s):
            raise DeviceError(f"no picture within {timeout_s:g} s")

    async def settled(self, quiet_s: float, timeout_s: float) -> bool:
        """Wait until the picture has not changed for `quiet_s`."""
        with trio.move_on_after(timeout_s):
            seen = -1
            while seen != self.presented:
                seen = self.presented
                await self.wait_for(lambda seen=seen: self.presented != seen, quiet_s)  # type: ignore[misc]
            return True
        return False

    # The hands.

    def _did(self, act: Callable[..., int], *words: Any) -> None:
        """Input. While the line is down it is dropped: whoever gives it does not see what it would do."""
        if not self.is_down:
            self._sent_at[act(*words)] = time.monotonic()
            self._unsent.set()

    def pointer(self, x: int, y: int, buttons: int = 0) -> None:
        """Put the pointer there, with these buttons down."""
        self._did(self._client.pointer, x, y, buttons)

    def click(self, x: int, y: int) -> None:
        """Move there, press and release the left button."""
        self.pointer(x, y)
        self.pointer(x, y, LEFT)
        self.pointer(x, y)

    def wheel(self, dx: int, dy: int) -> None:
        """Turn the wheel; 120 is a notch."""
        self._did(self._client.wheel, dx, dy)

    def key(self, keysyms: Sequence[int]) -> None:
        """Press keys one after the other, release them in reverse."""
        for keysym in keysyms:
            self._did(self._client.key, keysym, True)
        for keysym in reversed(keysyms):
            self._did(self._client.key, keysym, False)

    def touch(self, *fingers: tuple[int, int]) -> None:
        """These fingers are on the panel now, by number."""
        placed = [m.Finger(finger=number, position=Point(*place)) for number, place in enumerate(fingers)]
        self._did(self._client.touch, placed)

    def look(self, view: m.View) -> None:
        """Ask for a view; while the line is down, for when it is back."""
        self._wanted = view
        self._asked = not self.is_down
        if self._asked:
            self._client.view(view.mode, view.rotation, bool(view.follow), view.origin.x, view.origin.y)
            self._unsent.set()

    def pause(self, paused: bool) -> None:
        """The panel is off, or on again: of this connection and of those that follow."""
        self._paused = paused
        if not self.is_down:
            self._client.pause(paused)
            self._unsent.set()

    def control(self, action: ControlAction, viewer: int = 0) -> None:
        """Ask for control, release it, pass it on to another viewer. Dropped while the line is down."""
        if not self.is_down:
            self._client.control(action, viewer)
            self._unsent.set()

    def refresh(self) -> None:
        """Ask for a whole repaint. Dropped while the line is down."""
        if not self.is_down:
            self._client.refresh()
            self._unsent.set()

    def cut(self) -> None:
        """Break the line without a goodbye; a device that reconnects comes back."""
        if not self.is_down:
            self._client.end()
            self._end("the line was cut")

    @property
    def role(self) -> Role:
        """On this connection, or on the one before."""
        said = self.control_state or self.welcome
        return Role(said.role) if said is not None else Role.VIEW_ONLY

    async def paste(self, text: str) -> None:
        """Put a text into the session's clipboard. Raises DeviceError."""
        data = text.encode()
        at = 0
        client = self._client
        while at < max(len(data), 1):
            if self._lost is not None or client is not self._client:
                raise DeviceError(self._lost or "the connection broke")
            room = self._room
            try:
                self._client.clipboard(len(data), at, data[at : at + CHUNK_BYTES])
                at += CHUNK_BYTES
            except ClientError as error:
                if error.code is not Code.FULL:
                    raise DeviceError(str(error)) from error
                await room.wait()
            self._unsent.set()

    def type(self, text: str) -> None:
        """Type text."""
        self._did(self._client.text, text)

    async def probe(self, x: int, y: int, act: Callable[[], None], timeout_s: float = 2.0) -> None:
        """Time how long after `act` the pixel at (x, y) changes."""
        before = self._pixel(x, y)
        started = time.monotonic()
        act()
        if await self.wait_for(lambda: self._pixel(x, y) != before, timeout_s):
            self.watch.picture_ms.append((time.monotonic() - started) * 1000)
        else:
            self.watch.missed += 1

    # The picture.

    def _pixel(self, x: int, y: int) -> bytes:
        """One stored pixel, of what is under the cursor where one is drawn."""
        stored = self.panel.pixel_format.stored
        cursor = self._client.cursor
        if cursor is not None and cursor.contains(Rect(x, y, 1, 1)):
            at = (y * self._client.width + x) * stored
            return self._client.framebuffer[at : at + stored]
        at = y * self._client.stride + x * stored
        return bytes(self._client.picture[at : at + stored])

    @property
    def cursor(self) -> Rect | None:
        """Where a local cursor is drawn now; None: nowhere."""
        return self._client.cursor

    def memory(self) -> bytes:
        """The framebuffer as the panel stores it, without a cursor."""
        return self._client.framebuffer

    def rgb(self) -> bytes:
        """The picture with its cursor, three bytes a pixel."""
        return to_rgb(self._client.screen, self.panel.pixel_format, big_endian=self.panel.big_endian)

    def save_png(self, path: Path) -> None:
        """Write the picture. Raises OSError."""
        save_png(path, self.rgb(), (self.panel.width, self.panel.height))

    async def close(self) -> None:
        """Say goodbye, and wait a moment for it to be written."""
        self._check_recording(last=True)
        if self.ended is None:
            self._client.close()
            self.ended = "closed by this device"
            self._end(self.ended)
        with trio.move_on_after(CLOSE_S):
            await self._finished.wait()


@asynccontextmanager
async def open_device(address: str, setup: Setup, tls: Trust | None = None) -> AsyncIterator[Device]:
    """Connect a device and keep it running inside the block. Raises StreamError, and ClientError where the C client
    refuses its configuration.
    """
    device = None
    try:
        config = ClientConfig.for_panel(
            setup.panel,
            device_id=setup.device_id,
            boot_id=secrets.randbits(64),
            nonce=secrets.token_bytes(16),
            key=setup.key,
            ticket=setup.ticket,
            profile=setup.profile,
            session=setup.session,
            url=setup.url,
            capabilities=setup.capabilities,
            cursor=setup.cursor,
            **dict.fromkeys(setup.without, False),
        )
        device = Device(Client(config), setup, address, tls)
        async with trio.open_nursery() as nursery:
            await nursery.start(device.run)
            if device.refused is None:
                try:
                    yield device
                finally:
                    with trio.CancelScope(shield=True):
                        await device.close()
                    nursery.cancel_scope.cancel()
    finally:
        if setup.recording is not None:
            setup.recording.close(device.ended if device is not None else None)
    if device.refused is not None:
        raise device.refused
