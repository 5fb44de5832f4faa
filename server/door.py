"""The device port: who knocks, and what becomes of the connection."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final

import trio

from tilewire.protocol import Code, Connection, RemoteProtocolError, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.constants import HELLO_TIMEOUT_S
from tilewire.server.errors import ServerError
from tilewire.server.handshake import Credentials, shake_hands
from tilewire.server.tls import Security
from tilewire.server.transport import (
    FAREWELL_S,
    Gone,
    NotOurs,
    Transport,
    WebRules,
    describe,
    open_transport,
    printable,
)

log = logging.getLogger(__name__)

Serve = Callable[[Connection, Transport, m.Hello], Awaitable[None]]

SEND_BUFFER: Final = 128 << 10
"""Of the kernel, for one connection: what lies there is old by the time it is read."""


def parse_address(text: str, default_port: int) -> tuple[str, int]:
    """HOST:PORT, HOST or [IPv6]:PORT. Raises ValueError."""
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not HOST:PORT")
        port_text = rest[1:]
    elif text.count(":") == 1:
        host, port_text = text.split(":")
    elif ":" in text:
        raise ValueError(f"{text!r} is not HOST:PORT; an IPv6 address stands in brackets")
    if port_text and not (port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535):
        raise ValueError(f"{port_text!r} is not a port")
    return host or "127.0.0.1", int(port_text) if port_text else default_port


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect there."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


async def open_door(host: str, port: int) -> list[trio.SocketListener]:
    """Listen. Raises ServerError with a plain sentence."""
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        why = error.__cause__ if isinstance(error.__cause__, OSError) else error
        reason = why.strerror or str(why)
        raise ServerError(f"cannot listen on {host}:{port}: {reason.lower()}") from error
    return listeners


def door_addresses(listeners: list[trio.SocketListener]) -> list[str]:
    """Where the listeners really listen."""
    addresses = []
    for listener in listeners:
        host, port = listener.socket.getsockname()[:2]
        addresses.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return addresses


async def keep_door(
    listeners: list[trio.SocketListener],
    credentials: Credentials,
    rules: WebRules,
    serve: Serve,
    guests: trio.Nursery,
    security: Security | None = None,
) -> None:
    """Accept until cancelled; connections live in `guests`. trio retries where descriptors or memory run out."""

    async def answer(stream: trio.SocketStream) -> None:
        await _answer(stream, credentials, rules, serve, security)

    await trio.serve_listeners(answer, listeners, handler_nursery=guests)


async def _answer(
    stream: trio.SocketStream, credentials: Credentials, rules: WebRules, serve: Serve, security: Security | None
) -> None:
    """One connection from its first byte to its last. Nothing of it reaches the other connections."""
    peer = describe(stream)
    deadline = trio.current_time() + HELLO_TIMEOUT_S
    try:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        async with open_transport(stream, rules, HELLO_TIMEOUT_S, security) as transport:
            await _converse(transport, credentials, serve, deadline)
    except* (NotOurs, Gone) as group:
        log.info("%s: %s", peer, _sentence(group))
    except* OSError as group:
        log.warning("%s: %s", peer, _sentence(group))
    except* Exception:
        # Of a library that the peer found a hole in: it is not to take the other connections along.
        log.exception("%s: an error of this server", peer)


def _sentence(group: BaseExceptionGroup[BaseException]) -> str:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)


async def _greet(connection: Connection, transport: Transport, credentials: Credentials, deadline: float) -> m.Hello:
    # What TLS and the WebSocket took is not given again.
    with trio.move_on_at(deadline):
        return await shake_hands(connection, transport, credentials)
    raise RemoteProtocolError(Code.TIMEOUT, "silent in the handshake")


async def _converse(transport: Transport, credentials: Credentials, serve: Serve, deadline: float) -> None:
    connection = Connection(Sender.SERVER)
    code, text = Code.NORMAL, ""
    try:
        hello = await _greet(connection, transport, credentials, deadline)
        await serve(connection, transport, hello)
        return
    except RemoteProtocolError as error:
        code, text = error.code, str(error)
    except (Gone, NotOurs):
        raise
    except Exception:
        log.exception("%s: an error of this server", transport.peer)
        code, text = Code.INTERNAL, Code.INTERNAL.text
    log.info("%s: closed: %s: %s", transport.peer, code.name, printable(text))
    if code is not Code.NOT_TILEWIRE and transport.clean:
        with trio.move_on_after(FAREWELL_S):
            try:
                await transport.send(connection.goodbye(code, text))
            except Gone:
                return
    await transport.finish()
