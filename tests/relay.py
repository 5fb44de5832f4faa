"""A line to a server that a test can cut, between any two bytes."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

LOOPBACK: Final = "127.0.0.1"
RECEIVE_BYTES: Final = 65536
ABORT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: what was not sent yet is thrown away, and the peer is reset."""


class Relay:
    """Passes on what two ends say. As many connections at once as come."""

    def __init__(self, server_port: int, listener: trio.SocketListener) -> None:
        self._server_port = server_port
        self._listener = listener
        self.port: int = listener.socket.getsockname()[1]
        self.passed = 0
        """Bytes of the server on the newest connection."""
        self.connections = 0
        self.reset = False
        """Whether a cut line tells its ends so with a reset; else both streams just end."""
        self.cuts = 0
        self.budgets: deque[int] = deque()
        """Of the next connections: bytes of the server after which each is cut."""
        self._budget: int | None = None
        self._lines: set[trio.CancelScope] = set()

    def cut(self) -> None:
        """Cut all lines now."""
        for line in self._lines:
            line.cancel()

    def cut_after(self, count: int | None) -> None:
        """Cut once when the server has said `count` bytes more, at least 1; None: never."""
        self._budget = count

    async def run(self) -> None:
        """Until cancelled."""
        await trio.serve_listeners(self._carry, [self._listener])

    async def _carry(self, device: trio.SocketStream) -> None:
        self.passed = 0
        self.connections += 1
        if self.budgets:
            self._budget = self.budgets.popleft()
        async with device, await trio.open_tcp_stream(LOOPBACK, self._server_port) as server:
            for stream in (device, server):
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with trio.open_nursery() as nursery:
                line = nursery.cancel_scope
                self._lines.add(line)
                nursery.start_soon(self._pass_on, device, server, line)
                # Where one end is gone, so is the line.
                with suppress(trio.BrokenResourceError):
                    await self._pass_back(server, device)
                line.cancel()
            self._lines.discard(line)
            if self.reset:
                for stream in (device, server):
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)

    async def _pass_on(self, device: trio.SocketStream, server: trio.SocketStream, line: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError):
            while data := await device.receive_some(RECEIVE_BYTES):
                await server.send_all(data)
            # As a device that has said goodbye does: the server's last words are still carried.
            await server.send_eof()
            return
        line.cancel()

    async def _pass_back(self, server: trio.SocketStream, device: trio.SocketStream) -> None:
        while data := await server.receive_some(RECEIVE_BYTES):
            if self._budget is not None:
                data = data[: self._budget]
                self._budget -= len(data)
            self.passed += len(data)
            await device.send_all(data)
            if self._budget == 0:
                self._budget = None
                self.cuts += 1
                return


@asynccontextmanager
async def relay(server_port: int) -> AsyncIterator[Relay]:
    """A line to a server, at work."""
    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    made = Relay(server_port, listeners[0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        yield made
        nursery.cancel_scope.cancel()
