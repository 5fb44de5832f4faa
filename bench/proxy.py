"""A TCP proxy that counts: everything from the server is kept with the time of its arrival."""

from __future__ import annotations

import bisect
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CHUNK: Final = 1 << 18
CONNECT_S: Final = 10.0
WAKE_S: Final = 0.2


class CountingProxy:
    """One connection from a viewer to a server's Unix socket or TCP port."""

    def __init__(self, listener: socket.socket, server: Path | tuple[str, int]) -> None:
        self._listener = listener
        self._server = server
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._down = bytearray()
        self._ends: list[int] = []
        self._times: list[float] = []
        self._up = 0
        self.ended: str | None = None
        """Why the connection is over, once it is."""
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where the viewer connects to, on loopback."""
        return int(self._listener.getsockname()[1])

    @property
    def down(self) -> int:
        """Bytes from the server so far."""
        return len(self._down)

    @property
    def up(self) -> int:
        """Bytes to the server so far."""
        return self._up

    def stream(self) -> bytes:
        """All bytes from the server."""
        with self._lock:
            return bytes(self._down)

    def arrived_s(self, offset: int) -> float:
        """When the byte before `offset` came."""
        return self._times[bisect.bisect_left(self._ends, offset)]

    def _run(self) -> None:
        self._listener.settimeout(WAKE_S)
        viewer: socket.socket | None = None
        while viewer is None and not self._stop.is_set():
            try:
                viewer, _ = self._listener.accept()
            except TimeoutError:
                continue
        if viewer is None:
            return
        try:
            with viewer, self._connect() as server:
                viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._carry(viewer, server)
        except OSError as error:
            self.ended = str(error)

    def _connect(self) -> socket.socket:
        if isinstance(self._server, Path):
            server = socket.socket(socket.AF_UNIX)
            server.settimeout(CONNECT_S)
            server.connect(str(self._server))
        else:
            server = socket.create_connection(self._server, CONNECT_S)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server

    def _carry(self, viewer: socket.socket, server: socket.socket) -> None:
        for end in (viewer, server):
            end.settimeout(CONNECT_S)
        while not self._stop.is_set():
            ready, _, _ = select.select([viewer, server], [], [], WAKE_S)
            for end in ready:
                data = end.recv(CHUNK)
                if not data:
                    self.ended = f"the {'viewer' if end is viewer else 'server'} closed the connection"
                    return
                if end is viewer:
                    self._up += len(data)
                    server.sendall(data)
                else:
                    with self._lock:
                        self._down += data
                        self._ends.append(len(self._down))
                        self._times.append(time.monotonic())
                    viewer.sendall(data)

    def close(self) -> None:
        """Cut the connection."""
        self._stop.set()
        self._thread.join(CONNECT_S)
        self._listener.close()


@contextmanager
def counting_proxy(server: Path | tuple[str, int]) -> Iterator[CountingProxy]:
    """A proxy on a free port of loopback, for one connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = CountingProxy(listener, server)
    try:
        yield proxy
    finally:
        proxy.close()
