"""Sessions beside each other: what befalls one of them, or the server that keeps them, is told and is no other's."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio

from tilewire.protocol import Code
from tilewire.protocol.messages import Goodbye
from tilewire.server import registry as registry_module
from tilewire.server.config import AccessRule
from tilewire.server.config.models import Profile
from tilewire.server.handshake import BARRED
from tilewire.server.hosted.floor import Floor
from tilewire.server.hosted.hosted import Hosted, Spec, open_hosted
from tilewire.server.registry import Reason, Refused
from tilewire.server.serve import StoreAuthority
from tilewire.server.store import Store, StoreError, open_store
from tilewire.server.store.database import FILE_NAME
from tilewire.server.tickets import Tickets

from tests.server.controlled import XTERM, Controlled, controlled
from tests.server.hosting import SMALL, new_ground, profile, until, without_threads
from tests.support import device, hello

ACCESS = (AccessRule(devices=("*",), profiles=("xterm",)),)


@pytest.fixture
def ground() -> Iterator[Path]:
    with new_ground() as folder:
        yield folder


def served(ground: Path, **options: Any) -> AbstractAsyncContextManager[Controlled]:
    return controlled(ground, profile(*XTERM, name="xterm"), access=ACCESS, **options)


def nothing_is_left(ground: Path) -> bool:
    return list((ground / "floor" / "sessions").iterdir()) == []


# An error of the server's own.


class Faulty:
    """Opens sessions. The one called "faulty" has an error that nobody thought of: before it runs, or on request."""

    def __init__(self, *, at_once: bool) -> None:
        self.break_now = trio.Event()
        if at_once:
            self.break_now.set()

    @asynccontextmanager
    async def open(self, spec: Spec, floor: Floor) -> AsyncIterator[Hosted]:
        async with open_hosted(spec, floor) as hosted, trio.open_nursery() as nursery:
            if spec.id == "faulty":
                if self.break_now.is_set():
                    raise ZeroDivisionError
                nursery.start_soon(self._break)
            yield hosted
            nursery.cancel_scope.cancel()

    async def _break(self) -> None:
        await self.break_now.wait()
        raise ZeroDivisionError


async def test_an_error_of_one_session_is_not_the_others(ground: Path, caplog: pytest.LogCaptureFixture) -> None:
    faulty = Faulty(at_once=False)
    async with served(ground, open_session=faulty.open) as server:
        registry = server.behind.registry
        bystander = await registry.create(session_id="bystander")
        await registry.create(session_id="faulty")
        async with device(server.device_port, hello(session="bystander")) as here:
            async with device(server.device_port, hello(session="faulty", device_id="other")) as there:
                faulty.break_now.set()
                goodbye = await there.until_ended()
                assert goodbye is not None
                assert goodbye.code == Code.SESSION_FAILED
            await until(lambda: registry.all() == [bystander])
            assert "session faulty: an error of this server" in caplog.text
            assert "ZeroDivisionError" in caplog.text
            await here.key(ord("a"))
            assert here.goodbye is None
            # Its name is free again.
            faulty.break_now = trio.Event()
            await registry.create(session_id="faulty")


async def test_an_error_at_a_session_s_start_is_its_callers_and_not_the_others(ground: Path) -> None:
    async with served(ground, open_session=Faulty(at_once=True).open) as server:
        registry = server.behind.registry
        bystander = await registry.create(session_id="bystander")
        with pytest.raises(Refused, match=r"^an error of this server$") as caught:
            await registry.create(session_id="faulty")
        assert caught.value.reason is Reason.FAILED
        async with server.client() as api:
            answer = await api.post("/api/session/create", json={"session_id": "faulty"})
            assert answer.status_code < 500, answer.text
        assert registry.all() == [bystander]


# No threads.


async def test_no_thread_to_be_had_is_told_and_ends_nothing(ground: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(ground) as server:
        registry = server.behind.registry
        bystander = await registry.create(session_id="bystander")
        await registry.create(session_id="one")
        async with without_threads():
            await registry.close("one")
            assert "usage cannot be kept: can't start new thread" in caplog.text
            with pytest.raises(Refused) as caught:
                await registry.create(session_id="two")
            assert caught.value.reason is Reason.FAILED
            async with server.client() as api:
                # Whose token it is cannot be read.
                assert (await api.get("/api/sessions")).status_code >= 500
            async with device(server.device_port, hello(session="bystander"), welcome=False) as there:
                goodbye = await there.until_ended()
                assert goodbye is not None
                assert goodbye.code == Code.INTERNAL
        assert registry.all() == [bystander]
        async with device(server.device_port, hello(session="bystander")):
            pass
        await registry.create(session_id="one")
        for name in ("one", "bystander"):
            await registry.close(name)
        assert nothing_is_left(ground)


# The end of a start.


async def stopped_while_starting(server: Controlled, ground: Path) -> None:
    """Ask the server to stop while it has a session that starts."""
    registry = server.behind.registry
    await until(lambda: not nothing_is_left(ground))
    assert registry.all()[0].hosted is None
    await registry.stop("stopped by SIGTERM")


async def test_stopped_while_a_session_starts(ground: Path) -> None:
    async with served(ground) as server:
        registry = server.behind.registry
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stopped_while_starting, server, ground)
            with pytest.raises(Refused, match=r"^stopped by SIGTERM$") as caught:
                await registry.create(session_id="one")
            assert caught.value.reason is Reason.LIMIT
        assert registry.all() == []
        assert nothing_is_left(ground)


async def test_who_asked_for_a_session_hears_that_the_server_stops(ground: Path) -> None:
    async with served(ground) as server, server.client() as api, trio.open_nursery() as nursery:
        nursery.start_soon(stopped_while_starting, server, ground)
        answer = await api.post("/api/session/create", json={"session_id": "one"})
        assert answer.status_code == 409
        assert "stopped by SIGTERM" in answer.text
        assert nothing_is_left(ground)


# Usage.


async def test_usage_that_is_being_written_when_a_session_ends_is_counted_once(
    ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 0
    add_usage = Store.add_usage

    async def counted(*words: Any, **more: Any) -> None:
        nonlocal writes
        writes += 1
        await add_usage(*words, **more)

    monkeypatch.setattr(Store, "add_usage", counted)
    monkeypatch.setattr(registry_module, "TICK_S", 0.02)
    async with served(ground) as server:
        registry = server.behind.registry
        entry = await registry.create(session_id="one")
        async with device(server.device_port, hello(session="one")):
            pass
        await until(lambda: not entry.meters)
        down = entry.meter.down
        assert down > 0
        with closing(sqlite3.connect(ground / "state" / FILE_NAME, isolation_level=None)) as other:
            # Another process writes: what is used is written down only afterwards.
            other.execute("BEGIN IMMEDIATE")
            assert writes == 0
            monkeypatch.setattr(registry_module, "USAGE_S", 0.0)
            await until(lambda: writes == 1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(registry.close, "one")
                await until(lambda: nothing_is_left(ground))
                other.execute("ROLLBACK")
        (row,) = await server.behind.store.usage()
        assert (row.bytes_down, row.bytes_up) == (down, entry.meter.up)


async def test_usage_is_written_while_a_session_starts(
    ground: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is counted begins when it runs; it never grows backwards."""
    monkeypatch.setattr(registry_module, "TICK_S", 0.01)
    monkeypatch.setattr(registry_module, "USAGE_S", 0.0)
    # A browser takes a second to start, and less to end.
    web = Profile(name="web", kind="chromium", size=SMALL, grace_s=0.0)
    async with controlled(ground, web) as server:
        registry = server.behind.registry
        await registry.create(session_id="one")
        await registry.close("one")
        (row,) = await server.behind.store.usage()
        assert row.seconds >= 0
        assert row.ended_s is not None
        assert "cannot be kept" not in caplog.text
        assert registry.all() == []


# Who is let in.


async def test_seats_are_taken_before_anything_is_waited_for(ground: Path) -> None:
    async with served(ground, max_viewers=2) as server, trio.open_nursery() as nursery:
        registry = server.behind.registry
        ended: list[Goodbye] = []

        async def come(number: int) -> None:
            async with device(server.device_port, hello(device_id=f"device-{number}"), welcome=False) as one:
                goodbye = await one.until_ended()
                assert goodbye is not None
                ended.append(goodbye)

        for number in range(6):
            nursery.start_soon(come, number)
        await until(lambda: len(ended) == 4)
        assert {(goodbye.code, goodbye.text) for goodbye in ended} == {(Code.LIMIT, "2 viewers look already")}
        await until(lambda: len(registry.all()) == 2)
        nursery.cancel_scope.cancel()


async def test_who_comes_back_while_its_session_ends_gets_the_next(ground: Path) -> None:
    stubborn = profile("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", name="xterm", grace_s=0.5, home="kept")
    async with controlled(ground, stubborn, access=ACCESS) as server:
        registry = server.behind.registry
        async with device(server.device_port, hello(device_id="one")), trio.open_nursery() as nursery:
            (first,) = registry.all()
            nursery.start_soon(registry.close, first.id)
            await until(lambda: first.closing is not None)
            async with device(server.device_port, hello(device_id="one")):
                (second,) = registry.all()
                assert second is not first


async def test_a_store_that_cannot_be_read_lets_nobody_in_and_throws_nobody_out(
    ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(ground / "state") as store:
        await store.add_device("listed")
        await store.add_device("disabled")
        await store.change_device("disabled", disabled=True)
        authority = StoreAuthority(store, Tickets(), {"disabled": bytes(32), "of a file": bytes(32)}, open_door=True)
        assert await authority.key_of("listed")
        assert await authority.key_of("disabled") == BARRED
        assert await authority.key_of("of a file") == bytes(32)
        assert await authority.key_of("nobody") is None

        async def broken(*_: object) -> None:
            raise StoreError("no such table")

        monkeypatch.setattr(Store, "key_of", broken)
        assert await authority.key_of("nobody") == BARRED
        # Whoever is in is asked about by this one: an error is no answer.
        with pytest.raises(StoreError):
            await authority.current_key("listed")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0"),
        *("localhost", "a.localhost", "localhost.localdomain", "ip6-localhost"),
    ],
)
def test_no_browser_is_sent_to_the_server_itself(host: str) -> None:
    assert registry_module.is_ours(f"http://{host}:7801/", frozenset({7801}))
    assert not registry_module.is_ours(f"http://{host}:7802/", frozenset({7801}))
    assert not registry_module.is_ours("http://192.0.2.1:7801/", frozenset({7801}))
