"""`tilewire serve`: many sessions, devices that come and go, an API; nothing left behind."""

from __future__ import annotations

import logging
import os
import resource
import signal
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from tilewire.protocol import Code
from tilewire.server.config import Config, Settings
from tilewire.server.control import make_app, serve_app
from tilewire.server.door import Doorman, door_addresses, keep_door, open_door
from tilewire.server.errors import ServerError
from tilewire.server.events import Events
from tilewire.server.handshake import BARRED, Guest
from tilewire.server.hosted.floor import Floor, open_floor
from tilewire.server.keys import read_keys
from tilewire.server.limits import Rate, WaitingRoom
from tilewire.server.memory import keep_few_arenas
from tilewire.server.peers import NOBODY_KNOWS, user_of_peer
from tilewire.server.registry import Registry
from tilewire.server.run import Ending
from tilewire.server.store import Role, Store, StoreError, open_store
from tilewire.server.store.cli import STORE
from tilewire.server.tickets import Tickets
from tilewire.server.tls import Security, renew, server_context
from tilewire.server.transport import WebRules

log = logging.getLogger(__name__)

TOKEN_FILE: Final = "operator-token"
MOST_TOKEN: Final = 256
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DRAIN_S: Final = 10.0
"""How long sessions may take to end when the server is stopped."""


@dataclass(frozen=True, slots=True)
class StoreAuthority:
    """Devices of the store, of a file of keys, and tickets."""

    store: Store
    tickets: Tickets
    keys: Mapping[str, bytes]
    open_door: bool

    async def key_of(self, device_id: str) -> bytes | None:
        """The key, or BARRED. Where the store cannot be read nobody comes in by a key, or for want of one."""
        try:
            return await self.current_key(device_id)
        except StoreError as error:
            log.error("the key of a device cannot be read: %s", error)
            return BARRED

    async def current_key(self, device_id: str) -> bytes | None:
        """The same. Raises StoreError.

        The store's goes first: there a key can be taken back, and a device that it has disabled is let in neither by
        the file nor by an open door.
        """
        key = await self.store.key_of(device_id)
        if key is not None:
            return key
        return BARRED if await self.store.device(device_id) is not None else self.keys.get(device_id)

    def redeem(self, ticket: bytes) -> Guest | None:
        """Whom a ticket lets in."""
        return self.tickets.redeem(ticket)


@dataclass(frozen=True, slots=True)
class Service:
    """What the API works with."""

    config: Config
    store: Store
    registry: Registry
    tickets: Tickets
    events: Events
    device_address: str
    """Where devices connect."""


async def serve(config: Config) -> Ending:
    """Serve until a signal ends it. Raises ServerError."""
    settings = config.settings
    keep_few_arenas()
    _take_descriptors()
    async with AsyncExitStack() as stack:
        # First, so that a signal during the start leaves nothing behind either.
        signals = stack.enter_context(trio.open_signal_receiver(*SIGNALS))
        security = _security(settings)
        keys = read_keys(settings.keys) if settings.keys is not None else {}
        store = await stack.enter_async_context(
            open_store(settings.state / STORE, secret=settings.secret, serving=True)
        )
        users = {profile.user for profile in config.profiles.values() if profile.user is not None}
        floor = await stack.enter_async_context(open_floor(settings.state, user=settings.user, users=users))
        token_file = await write_token(store, settings.state)
        listeners = await open_door(settings.listen.host, settings.listen.port)
        for listener in listeners:
            stack.push_async_callback(listener.aclose)
        tickets, events = Tickets(), Events()
        ports: set[int] = {listener.socket.getsockname()[1] for listener in listeners}
        authority = StoreAuthority(store, tickets, keys, settings.insecure)
        registry = Registry(
            config, store, floor, tickets, events, own_ports=lambda: frozenset(ports), key_of=authority.current_key
        )
        service = Service(config, store, registry, tickets, events, door_addresses(listeners)[0])
        doorman = _doorman(config, floor, Rate(settings.handshakes_per_minute))
        rules = WebRules(frozenset(settings.allow_origin), frozenset(settings.allow_host))
        device_door = Security(security.context, required=settings.requires_tls(settings.listen))
        async with trio.open_nursery() as nursery:
            await nursery.start(registry.run)
            async with trio.open_nursery() as guests:
                keeping = partial(keep_door, listeners, authority, rules, registry.serve, guests)
                nursery.start_soon(partial(keeping, security=device_door, doorman=doorman))
                log.info("devices connect to %s", ", ".join(door_addresses(listeners)))
                door = partial(serve_app, doorman=_doorman(config, floor))
                api = Security(security.context, required=settings.requires_tls(settings.control))
                at = await nursery.start(partial(door, make_app(service), *settings.control, security=api))
                log.info("the API answers at %s", _note(at, ports))
                if settings.compat is not None:
                    at = await nursery.start(partial(door, make_app(service, compat=True), *settings.compat))
                    log.info("Jiomosa's programs are answered without tokens at %s", _note(at, ports))
                log.info("operators use the token in %s", token_file)
                ending = await _until_stopped(signals, security, settings)
                log.info("stopping: %d sessions", len(registry.all()))
                with trio.move_on_after(DRAIN_S):
                    await registry.stop(ending.text)
                guests.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    return ending


def _note(listeners: list[trio.SocketListener], ports: set[int]) -> str:
    """Where a door of the API is, in words; its ports are ours."""
    ports.update(listener.socket.getsockname()[1] for listener in listeners)
    return ", ".join(door_addresses(listeners))


def _doorman(config: Config, floor: Floor, handshakes: Rate | None = None) -> Doorman:
    settings = config.settings
    # Sessions and those who are in need descriptors too.
    most = min(settings.max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
    room = WaitingRoom(most, settings.max_connections_per_address)
    return Doorman(room, handshakes, _inmates(floor))


def _take_descriptors() -> None:
    """As many as there may be: each connection takes one, each session some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _security(settings: Settings) -> Security:
    if settings.tls_cert is None or settings.tls_key is None:
        return Security()
    return Security(server_context(settings.tls_cert, settings.tls_key), required=settings.tls_only)


def _inmates(floor: Floor) -> Callable[[trio.SocketStream], bool]:
    """Tells the programs of sessions by the user that they run as; where that is our own, nobody can tell."""

    def is_one(stream: trio.SocketStream) -> bool:
        user = user_of_peer(stream)
        return user is not None and (user == NOBODY_KNOWS or floor.is_inmate(user))

    return is_one


async def write_token(store: Store, folder: Path) -> Path:
    """The file with an operator's token, for this user alone to read. Raises ServerError.

    One that is good stays; otherwise all tokens that were made for it are revoked.
    """
    path = folder / TOKEN_FILE
    text = await trio.to_thread.run_sync(_read_token, path)
    token = await store.check_token(text) if text else None
    if token is not None and token.role is Role.OPERATOR:
        return path
    # Whoever may have read an earlier one is not let in by it.
    for earlier in await store.tokens():
        if earlier.note == TOKEN_FILE:
            await store.revoke_token(earlier.id)
    text = await store.add_token(TOKEN_FILE, Role.OPERATOR, None)
    new = path.with_suffix(".new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
        new.replace(path)
    except OSError as error:
        raise ServerError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _read_token(path: Path) -> str:
    """What the file holds; nothing where others could have read or written it."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            found = os.fstat(file.fileno())
            private = not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and found.st_uid == os.geteuid()
            if stat.S_ISREG(found.st_mode) and private:
                return file.read(MOST_TOKEN).strip()
    except (OSError, UnicodeDecodeError):
        pass
    return ""


async def _until_stopped(signals: AsyncIterator[int], security: Security, settings: Settings) -> Ending:
    async for number in signals:
        if number == signal.SIGHUP:
            _renew(security.context, settings)
            continue
        text = f"stopped by {signal.Signals(number).name}"
        return Ending(Code.STOPPING, text, 0 if number == signal.SIGTERM else 128 + number)
    raise AssertionError("signals do not end")


def _renew(context: ssl.SSLContext | None, settings: Settings) -> None:
    """SIGHUP: certificates may be new."""
    if context is None or settings.tls_cert is None or settings.tls_key is None:
        log.info("SIGHUP: there is no certificate to be read again")
        return
    try:
        renew(context, settings.tls_cert, settings.tls_key)
    except ServerError as error:
        log.error("SIGHUP: the certificate stays as it was: %s", error)
    else:
        log.info("SIGHUP: the certificate was read again")
