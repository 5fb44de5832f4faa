"""What the tests of the control API share: a server of its own with real sessions, behind a real port."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import trio

from tilewire.server.config import AccessRule, Config, Settings
from tilewire.server.config.models import Profile
from tilewire.server.control import Patience, make_app, serve_app
from tilewire.server.door import Doorman, door_addresses, keep_door, open_door
from tilewire.server.events import Events
from tilewire.server.handshake import Guest
from tilewire.server.hosted.hosted import open_hosted
from tilewire.server.registry import OpenHosted, Registry
from tilewire.server.store import Role, Store, open_store
from tilewire.server.tickets import Tickets
from tilewire.server.tls import Security
from tilewire.server.transport import WebRules

from tests.server.hosting import SMALL, floored, profile
from tests.support import LOOPBACK

XTERM: Final = ("xterm", "-geometry", "40x12+0+0", "-e", "sh", "-c", "while read -r line; do :; done")
"""A terminal that takes what is typed, and does nothing with it."""
WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Behind:
    """The server behind the API."""

    config: Config
    store: Store
    registry: Registry
    tickets: Tickets
    events: Events
    device_address: str


@dataclass(frozen=True, slots=True)
class Anybody:
    """Who comes without a key is let in, and who has a ticket."""

    tickets: Tickets
    open_door: bool = True

    async def key_of(self, device_id: str) -> bytes | None:
        return None

    def redeem(self, ticket: bytes) -> Guest | None:
        return self.tickets.redeem(ticket)


@dataclass(frozen=True, slots=True)
class Controlled:
    """A server, and where it is."""

    behind: Behind
    port: int
    device_port: int
    operator: str
    viewer: str

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def client(self, token: str | None = "", **options: Any) -> httpx.AsyncClient:
        """With the operator's token, or another, or none."""
        text = self.operator if token == "" else token
        headers = {"Authorization": f"Bearer {text}"} if text is not None else {}
        headers |= options.pop("headers", {})
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=WITHIN_S, trust_env=False, **options)


def config(folder: Path, *profiles: Profile, access: tuple[AccessRule, ...] = (), **settings: Any) -> Config:
    """Of these profiles; by default one terminal."""
    found = profiles or (profile(*XTERM, name="xterm"),)
    return Config(
        settings=Settings(**{"state": folder, "calls_per_minute": 100_000, "insecure": True, **settings}),
        profiles={each.name: each for each in found},
        access=access,
    )


async def raw(port: int, data: bytes) -> bytes:
    """All that the server says to these bytes, until it closes."""
    with trio.fail_after(WITHIN_S):
        async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
            await stream.send_all(data)
            answer = b""
            while part := await stream.receive_some(65536):
                answer += part
            return answer


@asynccontextmanager
async def controlled(
    folder: Path,
    *profiles: Profile,
    compat: bool = False,
    clock: Callable[[], float] = time.time,
    security: Security | None = None,
    patience: Patience | None = None,
    doorman: Doorman | None = None,
    app_options: dict[str, Any] | None = None,
    open_session: OpenHosted = open_hosted,
    **settings: Any,
) -> AsyncIterator[Controlled]:
    """A whole server: store, sessions, the device port and the control port, all of it real."""
    wanted = config(folder, *profiles, **settings)
    async with open_store(folder / "state", serving=True, clock=clock) as store, floored(folder) as floor:
        tickets, events = Tickets(), Events()
        registry = Registry(wanted, store, floor, tickets, events, open_session=open_session)
        operator = await store.add_token("test", Role.OPERATOR, None)
        viewer = await store.add_token("test", Role.VIEWER, None)
        listeners = await open_door(LOOPBACK, 0)
        behind = Behind(wanted, store, registry, tickets, events, door_addresses(listeners)[0])
        async with trio.open_nursery() as nursery:
            await nursery.start(registry.run)
            authority = Anybody(tickets)
            nursery.start_soon(keep_door, listeners, authority, WebRules(), registry.serve, nursery)
            app = make_app(behind, compat=compat, **(app_options or {}))
            doors = await nursery.start(
                lambda task_status: serve_app(
                    app, LOOPBACK, 0, security=security, patience=patience, doorman=doorman, task_status=task_status
                )
            )
            ports = [each[0].socket.getsockname()[1] for each in (doors, listeners)]
            try:
                yield Controlled(behind, ports[0], ports[1], operator, viewer)
            finally:
                with trio.CancelScope(shield=True):
                    with contextlib.suppress(trio.TooSlowError), trio.fail_after(WITHIN_S):
                        await registry.stop("the test is over")
                nursery.cancel_scope.cancel()


__all__ = ["SMALL", "XTERM", "Behind", "Controlled", "config", "controlled"]
