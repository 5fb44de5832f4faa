"""TigerVNC in the scene: its own server (Xvnc), its own viewer on a second screen, a counting proxy between them.

The viewer is told its encoding (no guessing by bandwidth) and otherwise left as it comes; so is the server, but for
the frame rate, which is ours. Cursor shapes are taken out of its bytes: our device asks for none. That the viewer
shows what the server drew is seen on the second screen, not believed.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bench import rfb
from bench.frames import Pixels
from bench.proxy import CountingProxy, counting_proxy
from bench.scenes import Point
from bench.sessions import FPS, Arrival, Link, Session
from bench.stage import X_OPTIONS, Eyes, StageError, XServer, cpu_s, process, window_at, x_server, xvfb

MARGIN: Final = 64
"""The second screen is larger, or the viewer takes its window for a wish to fill the screen."""
CONNECT_S: Final = 10.0
REFINED: Final = 5.0
"""Levels. An update that changes the pixels which it changes by less than this, on average, only refines them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TigerVnc:
    """TigerVNC with one encoding."""

    name: str
    options: tuple[str, ...]
    """Of the viewer."""
    exact: bool = True

    @contextmanager
    def stage(self, size: tuple[int, int], folder: Path) -> Iterator[XServer]:
        """Xvnc."""
        width, height = size
        command = [
            *("Xvnc", "-geometry", f"{width}x{height}", "-depth", "24", *X_OPTIONS),
            # Or it draws the pointer, which no viewer has moved, into the picture.
            "-nocursor",
            *("-rfbport", "-1", "-rfbunixpath", str(folder / "rfb"), "-SecurityTypes", "None"),
            *("-FrameRate", str(FPS)),
        ]
        with x_server(command, folder / "xvnc.log") as server:
            yield server

    @contextmanager
    def connect(self, server: XServer, size: tuple[int, int], folder: Path) -> Iterator[Link]:
        """The proxy, and the viewer on a screen of its own."""
        width, height = size
        with (
            counting_proxy(folder / "rfb") as proxy,
            xvfb((width + MARGIN, height + MARGIN), folder / "viewer-xvfb.log") as screen,
        ):
            command = [
                *("xtigervncviewer", "-SecurityTypes=None", "-AutoSelect=0", *self.options),
                *("-ViewOnly=1", "-RemoteResize=0", "-Shared=1", "-ReconnectOnError=0", "-AlertOnFatalError=0"),
                # A hint about the menu key would lie over the picture.
                *("-MenuKey=", "-geometry", "+0+0", f"127.0.0.1::{proxy.port}"),
            ]
            environment = {"DISPLAY": screen.name, "HOME": str(folder)}
            with process(command, folder / "viewer.log", environment=environment, folder=folder) as viewer:
                eyes = Eyes(screen.name, size, _window(screen.name, size, folder))
                try:
                    yield _Link(self, proxy, viewer, eyes, server, folder)
                finally:
                    eyes.close()


def _window(name: str, size: tuple[int, int], folder: Path) -> Point:
    deadline = time.monotonic() + CONNECT_S
    while time.monotonic() < deadline:
        at = window_at(name, size)
        if at is not None:
            return at
        time.sleep(0.05)
    said = (folder / "viewer.log").read_text(errors="replace")[-300:]
    raise StageError(f"the viewer showed no window within {CONNECT_S:g} s; it said: {said}")


class _Link:
    def __init__(
        self,
        system: TigerVnc,
        proxy: CountingProxy,
        viewer: subprocess.Popen[bytes],
        eyes: Eyes,
        server: XServer,
        folder: Path,
    ) -> None:
        self._system = system
        self._proxy = proxy
        self._viewer = viewer
        self._eyes = eyes
        self._server = server
        self._folder = folder

    def up(self) -> int:
        return self._proxy.up

    def check(self) -> None:
        if self._proxy.ended is not None or self._viewer.poll() is not None:
            said = (self._folder / "viewer.log").read_text(errors="replace")[-300:]
            raise StageError(f"{self._system.name}: {self._proxy.ended or 'the viewer ended'}; it said: {said}")

    def shows(self, source: bytes) -> bool:
        return self._eyes.picture() == source

    def server_cpu_s(self) -> float:
        return cpu_s(self._server.pid)

    def client_cpu_s(self) -> float:
        return cpu_s(self._viewer.pid)

    def finish(self, session: Session) -> None:
        stream = self._proxy.stream()
        (self._folder / "stream.rfb").write_bytes(stream)
        news = _News()
        arrivals: list[Arrival] = []
        cursors = 0
        try:
            for update in rfb.parse(stream, None if self._system.exact else news.look):
                cursors += update.cursor_bytes
                arrivals.append(
                    Arrival(
                        self._proxy.arrived_s(update.end),
                        update.end - cursors,
                        drawing=update.pixels > 0,
                        news=self._system.exact or news.last,
                        lossy=update.lossy,
                        end=update.end,
                    )
                )
        except rfb.RfbError as error:
            raise StageError(f"{self._system.name}: the stream could not be read: {error}") from error
        session.arrivals = arrivals


class _News:
    """Tells updates that show something new from those that refine what was lossy, by how much they change."""

    def __init__(self) -> None:
        self.last = True
        self._before: Pixels | None = None

    def look(self, _update: rfb.FramebufferUpdate, picture: Pixels) -> None:
        """Compare a picture with the one before."""
        if self._before is not None:
            now = picture[::2, ::2]
            differences = (np.maximum(now, self._before) - np.minimum(now, self._before)).max(axis=2)
            changed = differences[differences > 0]
            self.last = bool(changed.size and changed.mean() > REFINED)
        self._before = picture[::2, ::2].copy()


def updates_logged(folder: Path, patience_s: float = 1.0) -> int | None:
    """How many updates Xvnc says it has sent, once its viewer has left: a check of our own count."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = re.findall(r"Framebuffer updates: (\d+)", (folder / "xvnc.log").read_text(errors="replace"))
        if found:
            return int(found[-1])
        time.sleep(0.05)
    return None
