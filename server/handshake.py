"""The server's side of the handshake: who is there, may they come in, and to what."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

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


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys by device id. `open_door`: a device without a key may come in unproved."""

    keys: Mapping[str, bytes] = field(default_factory=dict)
    open_door: bool = True


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


def _method(hello: m.Hello, credentials: Credentials) -> AuthMethod:
    known = hello.device_id in credentials.keys
    others = hello.auth_methods & AuthMethod.NONE and credentials.open_door
    if hello.auth_methods & AuthMethod.HMAC and (known or not others):
        return AuthMethod.HMAC
    if others and not known:
        return AuthMethod.NONE
    raise RemoteProtocolError(Code.AUTH_REQUIRED, "this server asks for the device's key (HMAC)")


async def shake_hands(connection: Connection, transport: Transport, credentials: Credentials) -> m.Hello:
    """Everything before WELCOME. Raises RemoteProtocolError for a peer that may not come in, Gone for one that left."""
    with trio.move_on_after(HELLO_TIMEOUT_S):
        hello = await _expect(connection, transport, m.Hello)
        method = _method(hello, credentials)
        reply = m.Reply(version=VERSION, method=method, nonce=secrets.token_bytes(NONCE_SIZE))
        answer = connection.send(reply)
        if method is not AuthMethod.HMAC:
            await transport.send(answer)
            return hello
        key = credentials.keys.get(hello.device_id, _DECOY)
        await transport.send(answer + connection.send(connection.make_proof(key)))
        proof = await _expect(connection, transport, m.Proof)
        connection.check_proof(key, proof)
        return hello
    raise RemoteProtocolError(Code.TIMEOUT, "silent in the handshake")
