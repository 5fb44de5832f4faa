"""A recorder in the viewer's place: the frames of the real program that frame-based systems are given.

It looks at the screen whenever it has changed, at most 30 times a second on a steady beat, and keeps every picture
that differs from the last: what a system sees that is never late. No system's own speed decides what the others get.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.frames import Frames
from bench.sessions import FPS, Arrival, Link, Session
from bench.stage import StageError, Watch, XServer, comparable, digest, xvfb

POLL_S: Final = 0.002


class Recorder:
    """The system that only looks on."""

    name: Final = "recorder"
    exact: Final = True

    @contextmanager
    def stage(self, size: tuple[int, int], folder: Path) -> Iterator[XServer]:
        """An Xvfb."""
        with xvfb(size, folder / "xvfb.log") as server:
            yield server

    @contextmanager
    def connect(self, server: XServer, size: tuple[int, int], folder: Path) -> Iterator[Link]:
        """Begin to record."""
        looking = _Looking(server, size, folder)
        try:
            yield looking
        finally:
            looking.close()


class _Looking:
    def __init__(self, server: XServer, size: tuple[int, int], folder: Path) -> None:
        self._eyes = Watch(server.name, size)
        self._out = (folder / "frames.raw").open("wb", buffering=0)
        self._arrivals: list[Arrival] = []
        self._last = ""
        self._error: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        seen, due_s = -1, time.monotonic()
        try:
            while not self._stop.is_set():
                now = time.monotonic()
                if seen == self._eyes.changes or now < due_s:
                    time.sleep(POLL_S)
                    continue
                due_s = max(due_s + 1 / FPS, now - 1 / FPS)
                seen = self._eyes.changes
                self._take(self._eyes.picture())
        except OSError as error:
            self._error = str(error)

    def _take(self, picture: bytes) -> None:
        name = digest(picture)
        if name != self._last:
            self._last = name
            self._out.write(picture)
            self._arrivals.append(Arrival(time.monotonic(), self._out.tell(), picture=name))

    def up(self) -> int:
        return 0

    def check(self) -> None:
        if self._error is not None:
            raise StageError(f"the recorder failed: {self._error}")

    def shows(self, source: bytes) -> bool:
        return digest(comparable(source)) == self._last

    def server_cpu_s(self) -> float:
        return 0.0

    def client_cpu_s(self) -> float:
        return 0.0

    def finish(self, session: Session) -> None:
        session.arrivals = self._arrivals[:]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(2.0)
        self._eyes.close()
        self._out.close()


def recorded(session: Session, size: tuple[int, int]) -> tuple[Frames, list[int]]:
    """All frames, and the numbers of that before the motion and those of the motion. Raises StageError."""
    moving = [i for i, a in enumerate(session.arrivals) if session.begun_s < a.when_s <= session.cut_s]
    if not moving or moving[0] == 0:
        raise StageError("the motion changed nothing")
    return Frames(session.folder / "frames.raw", size), [moving[0] - 1, *moving]
