"""Tilewire in the scene: `tilewire attach` in a process of its own, the C client in a thread of this one.

The server runs under bench.probe, so that for every update the picture it was made of is known, to the pixel. The
device's framebuffer is looked at after every END. Lossless means that the two were equal at every END of the motion;
for RGB565 the source is the picture after its conversion, and the conversion is checked apart, against the screen.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tilewire.protocol import PANELS, Panel, PixelFormat
from tilewire.protocol import messages as m
from tilewire.protocol.wire import PREFIX
from tilewire.simulator.client import Client, ClientConfig, Phase, Presented, status_text

from bench.frames import Frames, to_rgb565
from bench.sessions import FPS, Arrival, Link, Session
from bench.stage import StageError, XServer, cpu_s, digest, process, xvfb

CHUNK: Final = 1 << 18
TICK_S: Final = 0.5
START_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What the server's screen was when an update was made."""

    digest: str
    when_s: float
    witness_cpu_s: float
    """Processor time of the witness so far."""


def panel_of(size: tuple[int, int], pixel_format: PixelFormat) -> Panel:
    """A standard panel of another size."""
    known = PANELS["thin-1g" if pixel_format is PixelFormat.XRGB8888 else "threadx-512"]
    width, height = size
    return replace(
        known,
        name="bench",
        width=width,
        height=height,
        pixel_format=pixel_format,
        max_rect_width=width,
        max_rect_area=width * height,
    )


class Splitter:
    """Whole messages out of a server's bytes, so that each END can be looked at."""

    def __init__(self) -> None:
        self._rest = b""
        self._greeted = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now."""
        self._rest += data
        at = 0
        while (end := self._end(at)) is not None:
            yield self._rest[at:end]
            at = end
        self._rest = self._rest[at:]

    def _end(self, at: int) -> int | None:
        if not self._greeted:
            if len(self._rest) < PREFIX.size:
                return None
            end = PREFIX.size + PREFIX.unpack_from(self._rest)[3]
            self._greeted = end <= len(self._rest)
            return end if self._greeted else None
        length, shift = 0, 0
        for place in range(at + 1, min(at + 6, len(self._rest))):
            length |= (self._rest[place] & 127) << shift
            shift += 7
            if self._rest[place] < 128:
                end = place + 1 + length
                return end if end <= len(self._rest) else None
        return None


class DeviceThread:
    """A device: connects, decodes, acknowledges, and remembers what it showed at every END."""

    def __init__(self, address: str, config: ClientConfig, setting: m.Setting | None, keep: Path | None) -> None:
        self._client = Client(config)
        self._setting = setting
        self._kept = keep.open("wb", buffering=0) if keep is not None else None
        self._address = address
        self.arrivals: list[Arrival] = []
        self.up = 0
        self.cpu_s = 0.0
        """Receiving, decoding, sending; the looking on is not in it."""
        self.ended: str | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    def framebuffer(self) -> bytes:
        """What it shows, between two messages."""
        with self._lock:
            return self._client.framebuffer

    @property
    def decode_s(self) -> float:
        """Time in the decoder."""
        return self._client.statistics.decode_us / 1e6

    def _run(self) -> None:
        host, _, port = self._address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), START_S) as stream:
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream.settimeout(TICK_S)
                self._serve(stream)
        except OSError as error:
            self.ended = self.ended or f"the connection broke: {error}"
        finally:
            if self._kept is not None:
                self._kept.close()

    def _serve(self, stream: socket.socket) -> None:
        splitter = Splitter()
        self._send(stream)
        while self.ended is None:
            started = time.thread_time()
            try:
                data = stream.recv(CHUNK)
            except TimeoutError:
                self._client.tick(int(time.monotonic() * 1000))
                self._send(stream)
                if self._stop.is_set():
                    self._client.close()
                    self._send(stream)
                    return
                continue
            when_s = time.monotonic()
            if not data:
                self.ended = "the server closed the connection"
                return
            self.cpu_s += time.thread_time() - started
            for message in splitter.feed(data):
                self._take(message, when_s, stream)

    def _take(self, message: bytes, when_s: float, stream: socket.socket) -> None:
        started = time.thread_time()
        with self._lock:
            self._client.feed(message)
        events = self._client.events[:]
        self._client.events.clear()
        if any(isinstance(event, m.Welcome) for event in events) and self._setting is not None:
            wanted = self._setting
            self._client.set(wanted.fps, wanted.quality, bool(wanted.adaptive))
        self._send(stream)
        self.cpu_s += time.thread_time() - started
        if any(isinstance(event, Presented) for event in events):
            picture = self._client.framebuffer
            if self._kept is not None:
                self._kept.write(picture)
            self.arrivals.append(Arrival(when_s, self._client.statistics.bytes, picture=digest(picture)))
        elif self.arrivals:
            # An echo or a ping after an update: its bytes count, as an arrival without pixels.
            last = self.arrivals[-1]
            self.arrivals.append(Arrival(when_s, self._client.statistics.bytes, drawing=False, picture=last.picture))
            if not last.drawing:
                del self.arrivals[-2]
        for event in events:
            if isinstance(event, m.Goodbye):
                self.ended = f"the server said goodbye: {event.text or event.code}"
        if self._client.error is not None:
            self.ended = f"the device failed: {status_text(self._client.error)}"
        elif self._client.phase is Phase.CLOSED:
            self.ended = self.ended or "the connection is closed"

    def _send(self, stream: socket.socket) -> None:
        data = self._client.output()
        if data:
            stream.sendall(data)
            self.up += len(data)

    def close(self) -> None:
        """Leave."""
        self._stop.set()
        self._thread.join(TICK_S * 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tilewire:
    """Our system, for a panel of one format."""

    name: str
    pixel_format: PixelFormat
    jpeg: bool = False
    """The device offers JPEG."""
    quality: int | None = None
    """The Setting message's, with adaptation off; None: the server's."""
    keep: bool = False
    """Keep what the updates were made of and what the device showed at every END, for SSIM."""
    exact: bool = True

    @contextmanager
    def stage(self, size: tuple[int, int], folder: Path) -> Iterator[XServer]:
        """An Xvfb."""
        with xvfb(size, folder / "xvfb.log") as server:
            yield server

    @contextmanager
    def connect(self, server: XServer, size: tuple[int, int], folder: Path) -> Iterator[Link]:
        """The server, and the device."""
        log = folder / "server.log"
        words = [
            sys.executable,
            "-m",
            "bench.probe",
            str(folder),
            str(int(self.keep)),
            "attach",
            "--listen",
            "127.0.0.1:0",
        ]
        with ExitStack() as stack:
            command = [*words, "--fps", str(FPS), server.name]
            root = Path(__file__).resolve().parent.parent
            running = stack.enter_context(process(command, log, folder=root))
            address = _address(running, log)
            setting = None if self.quality is None else m.Setting(fps=FPS, quality=self.quality, adaptive=0)
            keep = folder / "shown.raw" if self.keep else None
            device = DeviceThread(address, self._config(size), setting, keep)
            stack.callback(device.close)
            yield _Link(self, device, running, server, folder)

    def _config(self, size: tuple[int, int]) -> ClientConfig:
        return ClientConfig.for_panel(
            panel_of(size, self.pixel_format),
            jpeg=self.jpeg,
            device_id=self.name,
            boot_id=secrets.randbits(64),
            nonce=secrets.token_bytes(16),
        )


def _address(running: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        _, found, rest = text.partition("devices connect to ")
        if found and "\n" in rest:
            return rest.split()[0].rstrip(",")
        if running.poll() is not None:
            break
        time.sleep(0.02)
    raise StageError(f"the server did not start; {log} ends: {log.read_text(errors='replace')[-600:]}")


class _Link:
    def __init__(
        self, system: Tilewire, device: DeviceThread, server: subprocess.Popen[bytes], screen: XServer, folder: Path
    ) -> None:
        self._system = system
        self._device = device
        self._server = server
        self._screen = screen
        self._folder = folder

    def up(self) -> int:
        return self._device.up

    def check(self) -> None:
        if self._device.ended is not None:
            raise StageError(f"{self._system.name}: {self._device.ended}")

    def shows(self, source: bytes) -> bool:
        if self._system.pixel_format is PixelFormat.RGB565:
            source = to_rgb565(source)
        return self._device.framebuffer() == source

    def server_cpu_s(self) -> float:
        witnesses = read_witnesses(self._folder)
        witness_s = witnesses[-1].witness_cpu_s if witnesses else 0.0
        return cpu_s(self._server.pid) + cpu_s(self._screen.pid) - witness_s

    def client_cpu_s(self) -> float:
        return self._device.cpu_s

    def finish(self, session: Session) -> None:
        session.arrivals = _with_news(self._device.arrivals, read_witnesses(self._folder))
        # Known to the pixel at every END: no need to trust the moment at which the screens were compared.
        drawn = [arrival for arrival in session.arrivals if arrival.drawing]
        if session.exact_s is not None and drawn:
            exact = drawn[-1]
            for arrival in reversed(drawn):
                if arrival.picture != drawn[-1].picture:
                    break
                exact = arrival
            session.exact_s = max(exact.when_s, session.begun_s)


def _with_news(arrivals: Sequence[Arrival], witnesses: Sequence[Witness]) -> list[Arrival]:
    """An update that was made of the same picture as the one before it only refines."""
    out: list[Arrival] = []
    sources = iter(witnesses)
    before = ""
    for arrival in arrivals:
        source = next(sources, None) if arrival.drawing else None
        if source is not None:
            arrival = replace(arrival, news=source.digest != before)
            before = source.digest
        out.append(arrival)
    return out


def read_witnesses(folder: Path) -> list[Witness]:
    """What the probe wrote, an entry for each update that it saw made."""
    path = folder / "sources.txt"
    if not path.exists():
        return []
    lines = [line.split() for line in path.read_text().splitlines()]
    return [
        Witness(digest=words[0], when_s=float(words[1]), witness_cpu_s=float(words[2]))
        for words in lines
        if len(words) == 3
    ]


@dataclass(frozen=True, slots=True)
class Motion:
    """The updates of a motion, each with the number of its source frame."""

    lossless: bool
    sources: Frames
    numbers: tuple[int, ...]
    """Of the frames of `sources` that the motion's updates were made of."""
    before: int
    """The frame that the device showed when the motion began."""
    news: tuple[int, ...]
    """The last update of each state of the screen: where nothing is sent twice, all."""


def motion(session: Session, size: tuple[int, int], pixel_format: PixelFormat) -> Motion:
    """Match a session's updates with the pictures that they were made of. Raises StageError."""
    witnesses = read_witnesses(session.folder)
    drawn = [arrival for arrival in session.arrivals if arrival.drawing]
    if len(witnesses) < len(drawn):
        raise StageError(f"{session.system}: {len(drawn)} updates, but only {len(witnesses)} were seen being made")
    moving = [i for i, arrival in enumerate(drawn) if session.begun_s < arrival.when_s <= session.cut_s]
    if not moving:
        raise StageError(f"{session.system}: the motion took no update")
    lossless = all(drawn[i].picture == witnesses[i].digest for i in moving)
    news = [i for i in moving if i == moving[-1] or drawn[i + 1].news]
    sources = Frames(session.folder / "sources.raw", size, pixel_format)
    return Motion(lossless, sources, tuple(moving), max(moving[0] - 1, 0), tuple(news))
