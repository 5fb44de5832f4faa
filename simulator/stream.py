"""The device's byte stream to the server: native TCP, or WebSocket where the address is a ws:// URL."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio
import trio_websocket

from tilewire.protocol.constants import PORT

RECEIVE_BYTES: Final = 262144
CONNECT_S: Final = 10.0


class StreamError(Exception):
    """The server cannot be reached, or is gone; one plain sentence."""


class ByteStream(Protocol):
    """Bytes both ways."""

    async def receive(self) -> bytes:
        """The next bytes; empty at the end. Raises StreamError."""

    async def send(self, data: bytes) -> None:
        """Write all of it. Raises StreamError."""


class _Tcp:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except trio.BrokenResourceError as error:
            raise StreamError(f"the connection broke: {error.__cause__ or error}") from error

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise StreamError(f"the connection broke: {error.__cause__ or error}") from error


class _WebSocket:
    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection

    async def receive(self) -> bytes:
        try:
            message = await self._connection.get_message()
        except trio_websocket.ConnectionClosed:
            return b""
        if isinstance(message, str):
            raise StreamError("the server sent text where bytes belong")
        return bytes(message)

    async def send(self, data: bytes) -> None:
        try:
            await self._connection.send_message(data)
        except trio_websocket.ConnectionClosed as error:
            raise StreamError("the server closed the WebSocket") from error


def parse_server(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT or [IPv6]:PORT. Raises ValueError."""
    host, separator, port = text.rpartition(":")
    if not separator or (":" in host and not host.startswith("[")):
        host, port = text, str(PORT)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{port!r} is not a port")
    host = host.strip("[]")
    if not host:
        raise ValueError(f"{text!r} names no server")
    return host, int(port)


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[ByteStream]:
    """Connect to HOST:PORT or ws://HOST:PORT/. Raises StreamError with a plain sentence."""
    if address.startswith("ws://"):
        try:
            async with trio_websocket.open_websocket_url(address, connect_timeout=CONNECT_S) as connection:
                yield _WebSocket(connection)
        except (trio_websocket.HandshakeError, OSError, ValueError) as error:
            raise StreamError(f"cannot connect to {address}: {str(error) or type(error).__name__}") from error
        return
    try:
        host, port = parse_server(address)
    except ValueError as error:
        raise StreamError(f"{address!r} is not HOST:PORT: {error}") from error
    try:
        with trio.fail_after(CONNECT_S):
            stream = await trio.open_tcp_stream(host, port)
    except (OSError, trio.TooSlowError) as error:
        why = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise StreamError(f"cannot connect to {address}: {getattr(why, 'strerror', None) or why}") from error
    async with stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield _Tcp(stream)
