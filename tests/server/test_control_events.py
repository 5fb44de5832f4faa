"""The stream of events: what it tells, whom it drops, and when it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import pytest
import trio

from tilewire.server.control.happenings import MAX_STREAMS, event_text
from tilewire.server.events import WAITING, Happening
from tilewire.server.store import Role

from tests.server.controlled import Controlled, controlled
from tests.server.hosting import IDLE, new_ground, profile
from tests.support import LOOPBACK, device, hello

NOTHING = profile(*IDLE, name="idle")


@pytest.fixture
def ground() -> Iterator[Path]:
    with new_ground() as folder:
        yield folder


@pytest.fixture
async def server(ground: Path) -> AsyncIterator[Controlled]:
    async with controlled(ground, NOTHING, app_options={"heartbeat_s": 0.1}) as running:
        yield running


class Stream:
    """A listener, of h11's own: generators of httpx that are left before their end stay open in trio."""

    def __init__(self, connection: trio.SocketStream) -> None:
        self.connection = connection
        self.headers: dict[str, str] = {}
        self.size = 0
        self._parser = h11.Connection(h11.CLIENT)
        self._text = ""

    async def ask(self, path: str, token: str) -> int:
        """The status of the answer."""
        headers = [("Host", "localhost"), ("Authorization", f"Bearer {token}")]
        await self.connection.send_all(
            self._parser.send(h11.Request(method="GET", target=path, headers=headers)) or b""
        )
        await self.connection.send_all(self._parser.send(h11.EndOfMessage()) or b"")
        answer = await self._event()
        assert isinstance(answer, h11.Response)
        self.headers = {name.decode(): value.decode() for name, value in answer.headers}
        return answer.status_code

    async def _event(self) -> object:
        with trio.fail_after(20):
            while (event := self._parser.next_event()) is h11.NEED_DATA:
                self._parser.receive_data(await self.connection.receive_some(1 << 20))
        return event

    async def line(self) -> str | None:
        """The next line, None at the end."""
        while "\n" not in self._text:
            event = await self._event()
            if not isinstance(event, h11.Data):
                return None
            self.size += len(event.data)
            self._text += bytes(event.data).decode()
        line, _, self._text = self._text.partition("\n")
        return line

    async def next(self) -> tuple[str, dict[str, Any]] | None:
        """The next event and its data; None at the end."""
        fields: dict[str, str] = {}
        while (line := await self.line()) is not None:
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                assert int(fields["id"]) > 0
                return fields["event"], json.loads(fields["data"])
        return None


@asynccontextmanager
async def listening(server: Controlled, path: str = "/api/events", token: str = "") -> AsyncIterator[Stream]:
    async with await trio.open_tcp_stream(LOOPBACK, server.port) as connection:
        stream = Stream(connection)
        assert await stream.ask(path, token or server.operator) == 200
        yield stream


async def test_what_happens_is_told_in_order(server: Controlled) -> None:
    async with listening(server, token=server.viewer) as stream, server.client() as api:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store"
        await api.post("/api/session/create", json={"session_id": "one"})
        kind, data = await stream.next() or ("", {})
        assert (kind, data["session_id"], data["profile"], data["device"]) == ("created", "one", "idle", None)
        assert data["timestamp"] > 0
        async with device(server.device_port, hello(device_id="lobby", session="one")):
            assert (await stream.next() or ("", {}))[0] == "joined"
            await api.post("/api/session/one/settings", json={"fps": 9})
            kind, data = await stream.next() or ("", {})
            assert (kind, data["fps"], data["quality"]) == ("settings", 9, 75)
            await api.post("/api/session/one/viewers/1/role", json={"role": "view-only"})
            kind, data = await stream.next() or ("", {})
            assert (kind, data["viewer"], data["role"]) == ("role", 1, "view-only")
        kind, data = await stream.next() or ("", {})
        assert (kind, data["device"]) == ("left", "lobby")
        await api.post("/api/session/one/close")
        kind, data = await stream.next() or ("", {})
        assert (kind, data["reason"]) == ("closed", "closed by the operator")


async def test_one_sessions_events_alone(server: Controlled) -> None:
    async with listening(server, "/api/events?session=two") as stream:
        server.behind.events.tell("created", "one")
        server.behind.events.tell("created", "two")
        assert (await stream.next() or ("", {}))[1]["session_id"] == "two"
    async with server.client() as api:
        assert (await api.get("/api/events?session=a/b")).status_code == 400


async def test_nothing_is_told_as_well(server: Controlled) -> None:
    async with listening(server) as stream:
        lines = [await stream.line() for _ in range(8)]
    assert lines[0] == "retry: 2000"
    assert lines.count(": nothing happened") == 3


async def test_it_ends_with_its_token(ground: Path) -> None:
    now = 1_000_000.0
    async with controlled(ground, NOTHING, clock=lambda: now, app_options={"heartbeat_s": 0.1}) as server:
        expiring = await server.behind.store.add_token("short", Role.VIEWER, 60)
        revoked = await server.behind.store.add_token("revoked", Role.VIEWER, None)
        async with listening(server, token=expiring) as one, listening(server, token=revoked) as two:
            server.behind.events.tell("created", "before")
            assert await one.next() is not None
            assert await two.next() is not None
            now += 60
            numbers = [each.id for each in await server.behind.store.tokens() if each.note == "revoked"]
            await server.behind.store.revoke_token(numbers[0])
            server.behind.events.tell("created", "secret")
            assert await one.next() is None
            assert await two.next() is None


async def test_a_slow_listener_is_dropped_and_others_hear_all(server: Controlled) -> None:
    async with listening(server) as quick:
        async with listening(server) as slow:
            count = 0
            long = "x" * 100_000
            # What it does not read lies in the kernel at first, then in its queue.
            with trio.fail_after(60):
                while count < 40 * WAITING and server.behind.events.listeners == 2:
                    server.behind.events.tell("created", "one", number=count, long=long)
                    assert (await quick.next() or ("", {}))[1]["number"] == count
                    count += 1
            assert server.behind.events.listeners == 1
            while await slow.line() is not None:
                pass
            assert slow.size < count * len(long)


async def test_a_listener_that_leaves_is_forgotten(server: Controlled) -> None:
    async with listening(server):
        assert server.behind.events.listeners == 1
    for _ in range(200):
        if not server.behind.events.listeners:
            return
        await trio.sleep(0.05)
    pytest.fail("it is still listening")


async def test_there_are_not_too_many_listeners(ground: Path) -> None:
    async with controlled(ground, NOTHING) as server, AsyncExitStack() as stack:
        for _ in range(MAX_STREAMS):
            await stack.enter_async_context(listening(server))
        async with server.client() as api:
            answer = await api.get("/api/events")
            assert (answer.status_code, answer.json()["error"]) == (409, f"{MAX_STREAMS} listen already")


def test_nothing_in_an_event_ends_it() -> None:
    text = event_text(Happening(7, 1.5, "joined", "one", {"device": "a\n\nevent: forged\r\u2028"}))
    head, data, *rest = text.split("\n")[1:]
    assert (head, rest) == ("event: joined", ["", ""])
    assert json.loads(data.removeprefix("data: "))["device"] == "a\n\nevent: forged\r\u2028"
