"""`--record`: a viewer of the session without a device, whose wire goes into a file.

It is a viewer like others, in memory: only looking, out of the count, acknowledging at once. The file is written by a
thread of its own. A disk that is slow holds acknowledgements back, so states are skipped and nothing piles up; one that
takes nothing more, or not for half a minute, ends the recording and nothing else.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from tilewire.protocol import AuthMethod, Capability, Code, Connection, CursorMode, Panel, Point, RemoteProtocolError
from tilewire.protocol import messages as m
from tilewire.protocol.constants import NONCE_SIZE, Scale, Subsampling, ViewMode
from tilewire.protocol.recorder import Piece, Recorder, Splitter, decoded
from tilewire.protocol.recording import checksum
from tilewire.protocol.wire import Sender
from tilewire.server.errors import ServerError
from tilewire.server.handshake import Credentials, shake_hands
from tilewire.server.transport import Gone

if TYPE_CHECKING:
    from tilewire.server.session import Session
    from tilewire.server.viewers import Viewer

log = logging.getLogger(__name__)

MODE: Final = 0o600
"""What a screen showed is its owner's business."""
BACKLOG: Final = 4 << 20
"""Bytes that may wait for the disk before acknowledgements wait too."""
MAX_BACKLOG: Final = 64 << 20
"""Pacing stops at a few updates in flight; four of the largest raw repaints do not come to this."""
RESERVE: Final = 80 << 10
"""Of the largest file, for the index."""
CLOSE_S: Final = 3.0
"""How long the last bytes may take."""
LOOK_S: Final = 1.0
"""How often it is looked whether a keyframe is due, and what a device must show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """What is to be recorded, and where."""

    path: Path
    panel: Panel
    max_bytes: int


class _File:
    """A new file, appended to by a thread. `failed` says why it takes no more; it ends at the border of an entry then.

    Raises ServerError where it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.failed: str | None = None
        self.backlog = 0
        self.written = 0
        self._queue: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._told: tuple[trio.lowlevel.TrioToken, trio.Event] | None = None
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        except FileExistsError:
            raise ServerError(f"{path} is there already, and a recording does not overwrite") from None
        except OSError as error:
            raise ServerError(f"{path} cannot be written: {error.strerror}") from error
        # A disk that never answers is not waited for at the end.
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def append(self, data: bytes) -> None:
        """Whole entries, to be written some time."""
        if data and self.failed is None:
            with self._changed:
                self._queue.append(data)
                self.backlog += len(data)
                self._changed.notify()

    async def progress(self) -> None:
        """Return once something was written, or failed."""
        token, event = trio.lowlevel.current_trio_token(), trio.Event()
        with self._changed:
            self._told = token, event
        await event.wait()

    def finish(self, timeout_s: float) -> bool:
        """Write what is left; whether that was done in time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def end(self, data: bytes) -> None:
        """The last entry, after `finish`: all of it or nothing."""
        try:
            if os.write(self._file, data) != len(data):
                os.ftruncate(self._file, self.written)
        except OSError:
            # What is there can be read as it is.
            return

    def close(self) -> None:
        """After `finish`."""
        os.close(self._file)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if not self._queue or self.failed is not None:
                    return
                data = self._queue[0]
            error = self._append(data)
            with self._changed:
                self.failed = error
                self._queue.popleft()
                self.backlog -= len(data)
                told, self._told = self._told, None
            if told is not None:
                try:
                    told[0].run_sync_soon(told[1].set)
                except trio.RunFinishedError:
                    continue

    def _append(self, data: bytes) -> str | None:
        at = 0
        try:
            while at < len(data):
                at += os.write(self._file, data[at:])
        except OSError as error:
            try:
                os.ftruncate(self._file, self.written)
                os.lseek(self._file, self.written, os.SEEK_SET)
            except OSError:
                pass
            return error.strerror or str(error)
        self.written += len(data)
        return None


class _Line:
    """The recorder's end of its connection, as the server sees it: what a transport is, in memory."""

    def __init__(self, recording: Recording) -> None:
        self.peer = "in memory"
        self.clean = True
        self._recording = recording

    async def receive(self) -> bytes:
        return await self._recording.says()

    async def send(self, data: bytes) -> None:
        self._recording.hears(data)
        await trio.lowlevel.checkpoint()

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()


class Recording:
    """One file, and the viewer that fills it. Made by `open_recording`."""

    def __init__(self, options: RecordOptions, title: str) -> None:
        self._options = options
        self._file = _File(options.path)
        self._recorder = Recorder()
        generator = f"tilewire {metadata.version('tilewire')}"
        self._recorder.begin(generator, time.time_ns() // 1000, title=title, panel_name=options.panel.name)
        self._started_ns = time.monotonic_ns()
        self._splitter = Splitter()
        self._viewer: Viewer | None = None
        self._say = bytearray()
        self._something = trio.Event()
        self._ended = 0
        """The last whole update; the last that was acknowledged, and that was checked."""
        self._acknowledged = self._checked = 0
        self._reason: str | None = None
        self._over = False

    def _now_us(self) -> int:
        return (time.monotonic_ns() - self._started_ns) // 1000

    async def run(self, session: Session) -> None:
        """Record until the session ends, or the file takes no more. Nothing of it reaches the session."""
        connection = Connection(Sender.SERVER)
        line = _Line(self)
        self._recorder.connected(self._now_us())
        self._utter(_hello(self._options.panel))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_up)
                hello = await shake_hands(connection, line, Credentials())
                await session.record(connection, line, hello, self._joined)
                # Who leaves without a goodbye was let go: for what `_stop` says, or for taking no bytes for too long.
                self._reason = self._reason or "this machine is too slow"
                nursery.cancel_scope.cancel()
        except* RemoteProtocolError as group:
            error = _first(group)
            assert isinstance(error, RemoteProtocolError)
            self._reason = str(error)
            if error.code is Code.TOO_SLOW:
                self._reason = "the disk is too slow"
            if not self._over:
                self.hears(connection.goodbye(error.code, str(error)))
        except* Gone as group:
            self._reason = self._reason or str(_first(group))
        except* Exception:
            log.exception("the recording %s: an error of this server", self._options.path)
        if self._reason is not None and not session.ended:
            log.warning("the recording %s ends, the session goes on: %s", self._options.path, self._reason)
        self._over = True

    def _joined(self, viewer: Viewer) -> None:
        self._viewer = viewer

    # As the device.

    async def says(self) -> bytes:
        """What the recorder says next. Raises Gone once it records no more."""
        while not self._say:
            if self._over:
                raise Gone(self._reason or "the recording is over")
            self._something = trio.Event()
            await self._something.wait()
        said = bytes(self._say)
        self._say.clear()
        return said

    def hears(self, data: bytes) -> None:
        """Bytes of the server. Raises Gone once they are too many."""
        if self._over:
            raise Gone(self._reason or "the recording is over")
        self._recorder.received(data, self._now_us())
        for piece in self._splitter.feed(data):
            self._heed(piece)
        self._write()

    def _heed(self, piece: Piece) -> None:
        if piece.type == m.End.type:
            self._ended += 1
            self._acknowledge()
        elif piece.type == m.Ping.type:
            ping = decoded(piece)
            if isinstance(ping, m.Ping):
                self._utter(m.Pong(stamp=ping.stamp).encode())
        elif piece.type == m.Welcome.type:
            welcome = decoded(piece)
            panel = self._options.panel
            if isinstance(welcome, m.Welcome) and (
                welcome.size.width > panel.width or welcome.size.height > panel.height
            ):
                # Nobody pans a recording: all of the session is in it.
                self._utter(m.View(mode=ViewMode.FIT, rotation=0, follow=0, origin=Point(0, 0)).encode())

    def _acknowledge(self) -> None:
        if self._acknowledged < self._ended and self._file.backlog < BACKLOG:
            self._acknowledged = self._ended
            self._utter(m.Ack(update=self._ended, decode_us=0).encode())

    def _utter(self, data: bytes) -> None:
        self._recorder.sent(data, self._now_us())
        self._say += data
        self._something.set()

    def _check(self) -> None:
        """Keep the checksum of what a device shows by now, where that is known to the pixel."""
        if self._viewer is None or self._checked == self._ended or not self._recorder.between_updates:
            return
        picture = self._viewer.exact_picture()
        if picture is not None:
            self._checked = self._ended
            self._recorder.picture(checksum(picture, self._options.panel.pixel_format), self._now_us())

    # The file.

    def _write(self) -> None:
        self._file.append(self._recorder.take())
        if self._file.failed is not None:
            self._stop(self._file.failed)
        elif self._file.backlog > MAX_BACKLOG:
            self._stop("the disk is too slow")
        elif self._recorder.size > self._options.max_bytes - RESERVE:
            self._stop(f"it has {self._options.max_bytes >> 20} MiB, the most that it may have")

    def _stop(self, reason: str) -> None:
        if not self._over:
            self._reason, self._over = reason, True
            self._something.set()

    async def _keep_up(self) -> None:
        """Acknowledge what the disk has caught up with, ask for keyframes, and check the picture."""
        checked_s = -math.inf
        while not self._over:
            if self._recorder.wants_keyframe(self._now_us()):
                self._utter(m.Refresh().encode())
            with trio.move_on_after(LOOK_S):
                await self._file.progress()
            self._acknowledge()
            if trio.current_time() >= checked_s + LOOK_S:
                checked_s = trio.current_time()
                self._check()
            self._write()

    def close(self) -> None:
        """Write what is left and the index."""
        if not self._recorder.begun:
            self._file.finish(CLOSE_S)
            self._file.close()
            self._options.path.unlink(missing_ok=True)
            return
        self._check()
        self._file.append(self._recorder.take())
        if not self._file.finish(CLOSE_S):
            log.warning("the recording %s is not whole: the disk is too slow", self._options.path)
            return
        failed = self._file.failed
        self._recorder.close(
            self._now_us(), failed or self._reason, cut_at=None if failed is None else self._file.written
        )
        self._file.end(self._recorder.take())
        self._file.close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


def _hello(panel: Panel) -> bytes:
    """The HELLO of a device that has this panel and only looks."""
    capabilities = Capability.VIEW_ONLY | Capability.EXPLAIN | Capability.BELL
    if panel.readable:
        capabilities |= Capability.COPY
    cursor = CursorMode.NONE
    if panel.cursor_side:
        cursor = CursorMode.LOCAL if panel.readable else CursorMode.IN_PICTURE
    cached = panel.readable and panel.cache_slots > 0
    return Connection(Sender.CLIENT).send(
        m.Hello(
            nonce=secrets.token_bytes(NONCE_SIZE),
            device_id="recording",
            boot_id=secrets.randbits(64),
            auth_methods=AuthMethod.NONE,
            panel=m.Size(width=panel.width, height=panel.height),
            density=panel.density,
            pixel_format=panel.pixel_format,
            max_message=panel.max_message,
            max_rect=m.RectLimit(width=panel.max_rect_width, area=panel.max_rect_area),
            model_kib=panel.model_kib,
            cache=m.CacheOffer(slots=panel.cache_slots, slot_bytes=panel.cache_slot_bytes) if cached else None,
            jpeg=m.JpegOffer(subsamplings=sum(Subsampling), scales=sum(Scale)),
            cursor=m.CursorOffer(mode=cursor, max_side=panel.cursor_side if cursor == CursorMode.LOCAL else 0),
            capabilities=capabilities,
        )
    )


@contextmanager
def open_recording(options: RecordOptions, title: str) -> Iterator[Recording]:
    """A file to record into, closed with its index when the block ends. Raises ServerError."""
    recording = Recording(options, title)
    try:
        yield recording
    finally:
        recording.close()
