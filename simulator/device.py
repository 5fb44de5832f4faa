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
from typing import Final

import trio

from tilewire.protocol import DEFAULT_PANEL, PANELS, Capability, Panel
from tilewire.protocol import messages as m
from tilewire.simulator.client import Client, ClientConfig, Event, Phase, Presented, Statistics, status_text
from tilewire.simulator.picture import save_png, to_rgb
from tilewire.simulator.stream import ByteStream, StreamError, Trust, connect

TICK_S: Final = 1.0
CLOSE_S: Final = 1.0
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
    capabilities: Capability = Capability.INPUT_ECHO
    without: frozenset[str] = frozenset()
    """What the device does not offer although its panel could: some of PARTS."""


@dataclass(slots=True)
class Watch:
    """Times from an input to what it caused, in milliseconds."""

    echo_ms: list[float] = field(default_factory=list)
    picture_ms: list[float] = field(default_factory=list)
    missed: int = 0
    """Inputs after which the probed pixel did not change in time."""


class Device:
    """One connected device; made by `open_device`."""

    def __init__(self, client: Client, stream: ByteStream, panel: Panel) -> None:
        self._client = client
        self._stream = stream
        self.panel = panel
        self.watch = Watch()
        self.presented = 0
        self.ended: str | None = None
        """Why the session is over, once it is."""
        self.goodbye: int | None = None
        """The code of the server's goodbye."""
        self._changed = trio.Event()
        self._unsent = trio.Event()
        self._finished = trio.Event()
        self._sent_at: dict[int, float] = {}
        self.on_event: Callable[[Event], None] | None = None

    @property
    def statistics(self) -> Statistics:
        """Counters of the C client."""
        return self._client.statistics

    # The stream.

    async def run(self) -> None:
        """Carry bytes until one side ends. What ended it is in `ended`."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive)
                nursery.start_soon(self._tick)
                await self._send()
                nursery.cancel_scope.cancel()
        finally:
            self._finished.set()
            self._wake()

    async def _receive(self) -> None:
        while self.ended is None:
            try:
                data = await self._stream.receive()
            except StreamError as error:
                self._end(str(error))
                break
            if data:
                self._client.feed(data)
            else:
                self._client.end()
            self._hear()
            if not data:
                self._end("the server closed the connection")

    async def _send(self) -> None:
        """The only task that writes; last words are written before it ends."""
        while True:
            self._unsent = trio.Event()
            over = self.ended is not None
            data = self._client.output()
            if data:
                try:
                    await self._stream.send(data)
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
            self._hear()

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

    def _echoed(self, number: int, now: float) -> None:
        for known in [known for known in self._sent_at if known <= number]:
            self.watch.echo_ms.append((now - self._sent_at.pop(known)) * 1000)

    def _end(self, text: str) -> None:
        if self.ended is None:
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

    def _did(self, number: int) -> None:
        self._sent_at[number] = time.monotonic()
        self._unsent.set()

    def pointer(self, x: int, y: int, buttons: int = 0) -> None:
        """Put the pointer there, with these buttons down."""
        self._did(self._client.pointer(x, y, buttons))

    def click(self, x: int, y: int) -> None:
        """Move there, press and release the left button."""
        self.pointer(x, y)
        self.pointer(x, y, LEFT)
        self.pointer(x, y)

    def wheel(self, dx: int, dy: int) -> None:
        """Turn the wheel; 120 is a notch."""
        self._did(self._client.wheel(dx, dy))

    def key(self, keysyms: Sequence[int]) -> None:
        """Press keys one after the other, release them in reverse."""
        for keysym in keysyms:
            self._did(self._client.key(keysym, True))
        for keysym in reversed(keysyms):
            self._did(self._client.key(keysym, False))

    def type(self, text: str) -> None:
        """Type text."""
        self._did(self._client.text(text))

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
        """One stored pixel."""
        stored = self.panel.pixel_format.stored
        at = y * self._client.stride + x * stored
        return bytes(self._client.picture[at : at + stored])

    def memory(self) -> bytes:
        """The framebuffer as the panel stores it."""
        return self._client.framebuffer

    def rgb(self) -> bytes:
        """The picture, three bytes a pixel."""
        return to_rgb(self.memory(), self.panel.pixel_format, big_endian=self.panel.big_endian)

    def save_png(self, path: Path) -> None:
        """Write the picture. Raises OSError."""
        save_png(path, self.rgb(), (self.panel.width, self.panel.height))

    async def close(self) -> None:
        """Say goodbye, and wait a moment for it to be written."""
        if self.ended is None:
            self._client.close()
            self._end("closed by this device")
        with trio.move_on_after(CLOSE_S):
            await self._finished.wait()


@asynccontextmanager
async def open_device(address: str, setup: Setup, tls: Trust | None = None) -> AsyncIterator[Device]:
    """Connect a device and keep it running inside the block. Raises StreamError."""
    client = Client(
        ClientConfig.for_panel(
            setup.panel,
            device_id=setup.device_id,
            boot_id=secrets.randbits(64),
            nonce=secrets.token_bytes(16),
            key=setup.key,
            capabilities=setup.capabilities,
            **dict.fromkeys(setup.without, False),
        )
    )
    async with connect(address, tls) as stream:
        device = Device(client, stream, setup.panel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(device.run)
            try:
                yield device
            finally:
                with trio.CancelScope(shield=True):
                    await device.close()
                nursery.cancel_scope.cancel()
