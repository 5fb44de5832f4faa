"""The server's side of the handshake: who is there, may they come in, and to what."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import trio

from tilewire.protocol import (
    AuthMethod,
    Code,
    Connection,
    EndOfStream,
    Event,
    Need,
    RemoteProtocolError,
)
from tilewire.protocol import messages as m
from tilewire.protocol.constants import HELLO_TIMEOUT_S, KEY_SIZE, NONCE_SIZE, VERSION
from tilewire.server.transport import Gone, Transport

E = TypeVar("E")

_DECOY: Final = secrets.token_bytes(KEY_SIZE)
"""Proves for devices that we do not know: whether a name is known shows to nobody without the key."""


BARRED: Final = b""
"""Instead of the key of a device that is known and may not come in, with a key or without."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Who has come in, and what for."""

    method: AuthMethod
    session: str | None = None
    """The only one it may see; None: what its device may."""
    may_steer: bool = True
    until_s: float = math.inf
    """By trio's clock: then it leaves."""
    key: bytes | None = field(default=None, repr=False)
    """Which it has proved to hold."""


class Authority(Protocol):
    """Who may come in."""

    @property
    def open_door(self) -> bool:
        """Whether a device without a key may come in unproved."""

    async def key_of(self, device_id: str) -> bytes | None:
        """The key of a device that may come in with it; BARRED; None: nothing is known of such a device."""

    def redeem(self, ticket: bytes) -> Guest | None:
        """Whom a ticket lets in; it is used up with that."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys by device id, and no tickets."""

    keys: Mapping[str, bytes] = field(default_factory=dict)
    open_door: bool = True

    async def key_of(self, device_id: str) -> bytes | None:
        return self.keys.get(device_id)

    def redeem(self, ticket: bytes) -> Guest | None:
        return None


async def read_event(connection: Connection, transport: Transport) -> Event:
    """The next event of the peer. Raises RemoteProtocolError and Gone."""
    while True:
        event = connection.next_event()
        if not isinstance(event, Need):
            return event
        connection.receive_data(await transport.receive())


async def _expect(connection: Connection, transport: Transport, kind: type[E]) -> E:
    event = await read_event(connection, transport)
    if isinstance(event, EndOfStream | m.Goodbye):
        raise Gone("left during the handshake")
    if not isinstance(event, kind):
        raise RemoteProtocolError(Code.BAD_STATE, f"{type(event).__name__} in the handshake")
    return event


def _method(hello: m.Hello, guest: Guest | None, *, known: bool, open_door: bool) -> AuthMethod:
    """A good ticket goes first: whether a device has a key then shows to nobody who holds none."""
    offered = hello.auth_methods
    if guest is not None:
        return guest.method
    others = offered & AuthMethod.NONE and open_door
    if offered & AuthMethod.HMAC and (known or not others):
        return AuthMethod.HMAC
    if others and not known:
        return AuthMethod.NONE
    if offered & AuthMethod.TICKET:
        raise RemoteProtocolError(Code.AUTH_FAILED, "the ticket is not good, or not any more")
    raise RemoteProtocolError(Code.AUTH_REQUIRED, "this server asks for the device's key (HMAC)")


async def shake_hands(connection: Connection, transport: Transport, authority: Authority) -> tuple[m.Hello, Guest]:
    """Everything before WELCOME. Raises RemoteProtocolError for a peer that may not come in, Gone for one that left."""
    with trio.move_on_after(HELLO_TIMEOUT_S):
        hello = await _expect(connection, transport, m.Hello)
        key = await authority.key_of(hello.device_id)
        guest = authority.redeem(hello.ticket) if hello.ticket is not None else None
        method = _method(hello, guest, known=key is not None, open_door=authority.open_door)
        guest = guest or Guest(method, key=key if method is AuthMethod.HMAC else None)
        reply = m.Reply(version=VERSION, method=method, nonce=secrets.token_bytes(NONCE_SIZE))
        answer = connection.send(reply)
        if method is not AuthMethod.HMAC:
            await transport.send(answer)
            return hello, guest
        proving = key or _DECOY
        await transport.send(answer + connection.send(connection.make_proof(proving)))
        proof = await _expect(connection, transport, m.Proof)
        connection.check_proof(proving, proof)
        return hello, guest
    raise RemoteProtocolError(Code.TIMEOUT, "silent in the handshake")
