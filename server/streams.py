"""The layers of bytes between a peer's socket and a transport."""

from __future__ import annotations

from typing import Final

import trio

RECEIVE_BYTES: Final = 65536
FAREWELL_S: Final = 1.0
"""How long a closing connection may take to read our last words."""


class Deaf(Exception):
    """Nothing more is read from this stream."""


class SocketEnd(trio.abc.Stream):
    """A peer's socket, closed so that what was sent can still be read; a cancelled close is at once."""

    def __init__(self, socket: trio.SocketStream) -> None:
        self._socket = socket
        self._deaf = False
        self._closing = trio.Lock()

    def deafen(self) -> None:
        """Let receive_some raise Deaf from now on: layers above then see only what they hold already."""
        self._deaf = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._deaf:
            await trio.lowlevel.checkpoint()
            raise Deaf
        return bytes(await self._socket.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._socket.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._socket.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        # A WebSocket's reader and whoever ends the connection may both close it: the second waits for the first.
        async with self._closing:
            try:
                # A socket closed with unread bytes is reset, and the reset would overtake our last words.
                with trio.move_on_after(FAREWELL_S):
                    await self._socket.send_eof()
                    while await self._socket.receive_some(RECEIVE_BYTES):
                        pass
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                pass
            finally:
                await trio.aclose_forcefully(self._socket)


class ReplayStream(trio.abc.Stream):
    """A stream whose first bytes were read already."""

    def __init__(self, first: bytes, inner: trio.abc.Stream) -> None:
        self._first = first
        self._inner = inner

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._first:
            await trio.lowlevel.checkpoint()
            size = len(self._first) if max_bytes is None else max_bytes
            first, self._first = self._first[:size], self._first[size:]
            return first
        return bytes(await self._inner.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()
