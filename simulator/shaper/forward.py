"""What stands at the far end for a server that is not there: each connection is carried on to it from our own network.

To the server it must look as if its own socket were at the far end, so as little as possible lies here: the kernel
takes from us only what it is about to send, and from the server only what we are about to take.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol

import trio

from tilewire.simulator.shaper.link import MTU, Link

CHUNK_MS: Final = 5
"""Carried at once: what the link takes in that time, within the two bounds."""
LEAST_CHUNK: Final = 1448
"""A segment."""
MOST_CHUNK: Final = 1 << 16
SEGMENT: Final = MTU - 40
BACKLOG: Final = 16
CONNECT_S: Final = 10.0
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: the peer hears of the end at once, and that it was none of its own making."""
LOWEST_FREE_PORT: Final = 1024


class _FarEnd(Protocol):
    @property
    def address(self) -> str: ...

    async def tcp_socket(self) -> socket.socket: ...


def _chunk_bytes(link: Link) -> int:
    if link.kbit_s is None:
        return MOST_CHUNK
    return min(max(round(link.kbit_s * CHUNK_MS / 8), LEAST_CHUNK), MOST_CHUNK)


def _why(error: OSError | trio.TooSlowError) -> str:
    if isinstance(error, socket.gaierror) or not isinstance(error, OSError):
        return getattr(error, "strerror", None) or "no answer"
    # trio puts the address into the text.
    return os.strerror(error.errno or 0)


class Forwarder:
    """Made by `open_shaped`."""

    def __init__(self, port: int, server: tuple[str, int], chunk: int) -> None:
        self.port = port
        """The server's own where it can be had."""
        self.connections = 0
        self.down_bytes = 0
        """From the server; `up_bytes`: to it."""
        self.up_bytes = 0
        self.refusal: str | None = None
        """Why the newest connection was not carried on, in words; None: it was."""
        self._server = server
        self._chunk = chunk

    @classmethod
    async def run(
        cls,
        far: _FarEnd,
        server: tuple[str, int],
        link: Link,
        task_status: trio.TaskStatus[Forwarder] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until cancelled."""
        listener = trio.socket.from_stdlib_socket(await far.tcp_socket())
        with listener:
            await listener.bind((far.address, server[1] if server[1] >= LOWEST_FREE_PORT else 0))
            listener.listen(BACKLOG)
            forwarder = cls(int(listener.getsockname()[1]), server, _chunk_bytes(link))
            task_status.started(forwarder)
            await trio.serve_listeners(forwarder.carry, [trio.SocketListener(listener)])

    async def carry(self, near: trio.SocketStream) -> None:
        """One connection, until both sides have ended or either has broken."""
        self.connections += 1
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 2 * self._chunk)
        self.refusal = None
        try:
            with trio.fail_after(CONNECT_S):
                server = await self._connect()
        except (OSError, trio.TooSlowError) as error:
            self.refusal = _why(error)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            await trio.aclose_forcefully(near)
            return
        async with near, server, trio.open_nursery() as nursery:

            def down(count: int) -> None:
                self.down_bytes += count

            def up(count: int) -> None:
                self.up_bytes += count

            nursery.start_soon(self._pass, server, near, down, nursery.cancel_scope)
            nursery.start_soon(self._pass, near, server, up, nursery.cancel_scope)

    async def _pass(
        self,
        source: trio.SocketStream,
        target: trio.SocketStream,
        count: Callable[[int], None],
        line: trio.CancelScope,
    ) -> None:
        try:
            while True:
                # What cannot go on yet is left to the source's kernel, and so to the source.
                await trio.lowlevel.wait_writable(target.socket)
                data = await source.receive_some(self._chunk)
                if not data:
                    await target.send_eof()
                    return
                await target.send_all(data)
                count(len(data))
        except trio.BrokenResourceError:
            for end in (source, target):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            line.cancel()

    async def _connect(self) -> trio.SocketStream:
        """Raises OSError."""
        host, port = self._server
        failure: OSError | None = None
        for family, kind, number, _, address in await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            server = trio.socket.socket(family, kind, number)
            try:
                # Before it connects, so that the first window is small already. Loopback's segments of 64 KiB would
                # not fit into it.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * self._chunk)
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
                await server.connect(address)
            except OSError as error:
                server.close()
                failure = error
            except BaseException:
                server.close()
                raise
            else:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return trio.SocketStream(server)
        raise failure or OSError(0, "no address")
