"""A relay between devices and a server: it counts bytes and flights, delays both directions, cuts and holds the line.

A *flight* is what one end sends without waiting for the other. Round trips are counted, not timed: each end's depth is
the number of flights that came before what it knows; what it sends carries one more, and whoever receives that is at
least so deep. The depth of the device when it has a picture, halved, is the number of round trips that the picture
took. Both directions are late by the same large delay, so that an end has always said all that it can say by itself
before anything new reaches it: chunks that happen to cross do not count as questions and answers, however busy the
machine is. The connection of TCP, one round trip more for everybody, is not in it.
"""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from tilewire.simulator.stream import parse_server

CHUNK: Final = 1 << 18


@dataclass(slots=True)
class Line:
    """One connection through the relay."""

    down: int = 0
    """Bytes from the server to the device so far, as they came from the server; `up`: the other way."""
    up: int = 0
    stream: bytearray = field(default_factory=bytearray)
    """All of `down`."""
    depth: dict[str, int] = field(default_factory=lambda: {"device": 0, "server": 0})
    """Flights that came before what each end knows."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def round_trips(self) -> float:
        """What the device knows now took so many. WebSocket's upgrade is one of them."""
        return self.depth["device"] / 2


class Relay:
    """Made by `open_relay`."""

    def __init__(self, address: str, listener: trio.SocketListener, delay_s: float) -> None:
        self._server = parse_server(address)
        self._listener = listener
        self._delay_s = delay_s
        self._open = trio.Event()
        self._open.set()
        self.lines: list[Line] = []

    @property
    def port(self) -> int:
        """Where devices connect, on loopback."""
        return int(self._listener.socket.getsockname()[1])

    @property
    def line(self) -> Line:
        """The newest connection."""
        return self.lines[-1]

    def cut(self, *, hold: bool = False) -> None:
        """End the connections without a word; `hold`: whoever comes back waits for `release`."""
        if hold:
            self._open = trio.Event()
        for line in self.lines:
            line.scope.cancel()

    def release(self) -> None:
        """Let through who waits."""
        self._open.set()

    async def run(self) -> None:
        """Carry connections, one after the other."""
        while True:
            device = await self._listener.accept()
            await self._open.wait()
            line = Line()
            async with device, await trio.open_tcp_stream(*self._server) as server:
                for end in (device, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.lines.append(line)
                with line.scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._carry, line, ("device", device), ("server", server))
                        nursery.start_soon(self._carry, line, ("server", server), ("device", device))

    async def _carry(
        self, line: Line, source: tuple[str, trio.SocketStream], target: tuple[str, trio.SocketStream]
    ) -> None:
        late, due = trio.open_memory_channel[tuple[float, int, bytes]](math.inf)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver, line, due, *target)
            while True:
                try:
                    data = bytes(await source[1].receive_some(CHUNK))
                except trio.BrokenResourceError:
                    data = b""
                if source[0] == "server":
                    line.down += len(data)
                    line.stream += data
                else:
                    line.up += len(data)
                late.send_nowait((trio.current_time() + self._delay_s, line.depth[source[0]] + 1, data))
                if not data:
                    return

    @staticmethod
    async def _deliver(
        line: Line, due: trio.MemoryReceiveChannel[tuple[float, int, bytes]], name: str, target: trio.SocketStream
    ) -> None:
        async for due_s, depth, data in due:
            await trio.sleep_until(due_s)
            if not data:
                # One end has closed: all is over.
                line.scope.cancel()
                return
            line.depth[name] = max(line.depth[name], depth)
            try:
                await target.send_all(data)
            except trio.BrokenResourceError:
                line.scope.cancel()
                return


@asynccontextmanager
async def open_relay(address: str, delay_s: float = 0.0) -> AsyncIterator[Relay]:
    """A relay to the server at HOST:PORT on a free port of loopback, late by `delay_s` in each direction."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        relay = Relay(address, listener, delay_s)
        nursery.start_soon(relay.run)
        yield relay
        nursery.cancel_scope.cancel()
