"""The device port: who knocks, and what becomes of the connection."""

from __future__ import annotations

import errno
import logging
import math
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import trio

from tilewire.protocol import Code, Connection, RemoteProtocolError, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.constants import HELLO_TIMEOUT_S
from tilewire.server.errors import ServerError
from tilewire.server.handshake import Authority, Guest, shake_hands
from tilewire.server.limits import Rate, Waiting, WaitingRoom
from tilewire.server.tls import Security
from tilewire.server.transport import (
    FAREWELL_S,
    Gone,
    NotOurs,
    Transport,
    WebRules,
    address_of,
    describe,
    open_transport,
    printable,
)

log = logging.getLogger(__name__)

Serve = Callable[[Connection, Transport, m.Hello, Guest], Awaitable[None]]

SEND_BUFFER: Final = 128 << 10
"""Of the kernel, for one connection: what lies there is old by the time it is read."""


QUIET_S: Final = 60.0
"""From one line about sessions' programs that knock to the next."""
LOOPBACK: Final = "127.0.0.1"
OTHER_NAME: Final = {LOOPBACK: "::1", "0.0.0.0": "::1", "::1": LOOPBACK, "::": LOOPBACK}
"""What "localhost" may mean beside the address of a listener."""
ABSENT: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""Of a machine without this family of addresses: there nobody else can have it either."""
PORTS_TRIED: Final = 10


async def open_door(host: str, port: int) -> list[trio.SocketListener]:
    """Listen; on loopback with both families, or whoever took the other would be given what is meant for us.

    (A program of a session could, and where "localhost" is the other one, a caller would give it a token.) With port 0
    both have the same. Raises ServerError with a plain sentence.
    """
    host = LOOPBACK if host == "localhost" else host
    problem = ServerError(f"cannot listen on {_named(host, port)}")
    for _ in range(1 if port else PORTS_TRIED):
        try:
            listeners = await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            raise ServerError(f"{problem}: {_reason(error)}") from error
        with ExitStack() as unless_whole:
            for listener in listeners:
                unless_whole.callback(listener.socket.close)
            try:
                others = await _open_other(host, listeners[0].socket.getsockname()[1])
            except ServerError as error:
                problem = error
            else:
                unless_whole.pop_all()
                return listeners + others
    raise problem


async def _open_other(host: str, port: int) -> list[trio.SocketListener]:
    """Where "localhost" leads as well; nothing where this machine has no such address. Raises ServerError."""
    other = OTHER_NAME.get(host)
    if other is None:
        return []
    try:
        return await trio.open_tcp_listeners(port, host=other)
    except OSError as error:
        if error.errno in ABSENT:
            return []
        sentence = f"cannot listen on {_named(other, port)}, which localhost may mean too: {_reason(error)}"
        raise ServerError(sentence) from error


def _reason(error: OSError) -> str:
    why = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return (why.strerror or str(why)).lower()


def door_addresses(listeners: list[trio.SocketListener]) -> list[str]:
    """Where the listeners really listen, without those that are there for localhost's other meaning."""
    names = [listener.socket.getsockname()[:2] for listener in listeners]
    besides = {(OTHER_NAME.get(host), port) for host, port in names[:1]}
    return [_named(host, port) for host, port in names if (host, port) not in besides]


def _named(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Doorman:
    """Looks at who knocks before a byte is read."""

    def __init__(
        self,
        room: WaitingRoom | None = None,
        handshakes: Rate | None = None,
        inmates: Callable[[trio.SocketStream], bool] | None = None,
    ) -> None:
        """`handshakes` of one address. `inmates` tells programs of sessions, which may not come in."""
        self.room = room if room is not None else WaitingRoom()
        self._handshakes = handshakes or Rate(None)
        self._inmates = inmates
        self._quiet_until = -math.inf
        self._unsaid = 0

    def turns_away(self, stream: trio.SocketStream) -> bool:
        """Whether a peer is not worth an answer: its own session's screen would be in its screen.

        The log has a line of it, one a minute: programs knock thousands of times a second if they like.
        """
        if self._inmates is None or not self._inmates(stream):
            return False
        if trio.current_time() < self._quiet_until:
            self._unsaid += 1
            return True
        more = f"; nor could {self._unsaid} others since the last such line" if self._unsaid else ""
        log.info("%s: a session's own program may not connect here%s", describe(stream), more)
        self._quiet_until, self._unsaid = trio.current_time() + QUIET_S, 0
        return True

    def may_shake_hands(self, address: str) -> bool:
        """Whether an address has not had its share of handshakes."""
        return self._handshakes.take(address, trio.current_time())


@dataclass(frozen=True, slots=True)
class Door:
    """What a connection meets."""

    authority: Authority
    rules: WebRules
    serve: Serve
    security: Security
    doorman: Doorman


async def keep_door(
    listeners: list[trio.SocketListener],
    authority: Authority,
    rules: WebRules,
    serve: Serve,
    guests: trio.Nursery,
    security: Security | None = None,
    doorman: Doorman | None = None,
) -> None:
    """Accept until cancelled; connections live in `guests`. trio retries where descriptors or memory run out."""
    door = Door(authority, rules, serve, security or Security(), doorman or Doorman())

    async def answer(stream: trio.SocketStream) -> None:
        await _answer(stream, door)

    await trio.serve_listeners(answer, listeners, handler_nursery=guests)


async def _answer(stream: trio.SocketStream, door: Door) -> None:
    """One connection from its first byte to its last. Nothing of it reaches the other connections."""
    deadline = trio.current_time() + HELLO_TIMEOUT_S
    if door.doorman.turns_away(stream):
        await trio.aclose_forcefully(stream)
        return
    peer, address = describe(stream), address_of(stream)
    with door.doorman.room.enter(address) as waiting:
        try:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            async with open_transport(stream, door.rules, HELLO_TIMEOUT_S, door.security) as transport:
                await _converse(transport, door, waiting, deadline)
        except* (NotOurs, Gone) as group:
            log.info("%s: %s", peer, _sentence(group))
        except* OSError as group:
            log.warning("%s: %s", peer, _sentence(group))
        except* Exception:
            # Of a library that the peer found a hole in: it is not to take the other connections along.
            log.exception("%s: an error of this server", peer)
    if waiting.evicted:
        log.debug("%s: made room in the handshake for newer ones", peer)


def _sentence(group: BaseExceptionGroup[BaseException]) -> str:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)


async def _greet(
    connection: Connection, transport: Transport, door: Door, address: str, deadline: float
) -> tuple[m.Hello, Guest]:
    # What TLS and the WebSocket took is not given again.
    with trio.move_on_at(deadline):
        if not door.doorman.may_shake_hands(address):
            raise RemoteProtocolError(Code.LIMIT, "too many handshakes from this address: try again in a minute")
        return await shake_hands(connection, transport, door.authority)
    raise RemoteProtocolError(Code.TIMEOUT, "silent in the handshake")


async def _converse(transport: Transport, door: Door, waiting: Waiting, deadline: float) -> None:
    connection = Connection(Sender.SERVER)
    code, text = Code.NORMAL, ""
    try:
        hello, guest = await _greet(connection, transport, door, waiting.address, deadline)
        door.doorman.room.through(waiting)
        await door.serve(connection, transport, hello, guest)
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
