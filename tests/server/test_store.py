"""Devices, tokens and usage: what is kept, what is refused, and that it is there again after the store was closed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.server.store import AlreadyThere, NotAllowed, NotThere, Role, Store, open_store

DAY_S: Final = 86400.0
ODD_NAMES: Final = ["böard", "a b", "=1+1", "x" * 64, "\n", "\0", "\U0001f5a5"]


class Clock:
    """A wall clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
async def store(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(folder, clock=clock) as opened:
        yield opened


def names(folder: Path) -> list[str]:
    """Of what is in it."""
    return sorted(path.name for path in folder.iterdir())


def every_byte(path: Path) -> bytes:
    """What somebody finds who copies the file or the whole folder."""
    return b"".join(part.read_bytes() for part in (sorted(path.iterdir()) if path.is_dir() else [path]))


@pytest.mark.parametrize("name", ["panel-7", ".", "-x", *ODD_NAMES])
async def test_a_device_and_its_key(store: Store, clock: Clock, name: str) -> None:
    assert await store.device(name) is None
    assert await store.key_of(name) is None
    key = await store.add_device(name, ("web", "term"), "term")
    assert len(key) == 32
    assert await store.key_of(name) == key
    row = await store.device(name)
    assert row is not None
    assert (row.name, row.profiles, row.default) == (name, ("term", "web"), "term")
    assert (row.created_s, row.seen_s, row.disabled) == (clock.now_s, None, False)
    assert await store.devices() == [row]
    with pytest.raises(AlreadyThere, match=r"^there is a device .* already$"):
        await store.add_device(name)
    assert await store.key_of(name) == key
    await store.remove_device(name)
    assert await store.key_of(name) is None
    assert await store.devices() == []


async def test_names_are_exact(store: Store) -> None:
    """No case folding, no normal form, no pattern: another spelling is another device."""
    names = ["panel", "Panel", "panel ", "pan_l", "pan%", "\u00e9", "e\u0301"]
    keys = [await store.add_device(name) for name in names]
    assert len(set(keys)) == len(names)
    assert [await store.key_of(name) for name in names] == keys
    await store.remove_device("pan%")
    assert {row.name for row in await store.devices()} == set(names) - {"pan%"}


@pytest.mark.parametrize("name", ["", "x" * 65, "ö" * 33, "\ud800"])
async def test_names_that_no_device_can_have(store: Store, name: str) -> None:
    with pytest.raises(NotAllowed, match=r"^a device's name has 1 to 64 bytes of UTF-8$"):
        await store.add_device(name)
    assert await store.key_of(name) is None
    assert await store.device(name) is None
    await store.seen_device(name)
    for call in (store.rotate_device, store.remove_device, store.change_device):
        with pytest.raises(NotThere):
            await call(name)


@pytest.mark.parametrize(
    ("profiles", "default"), [(("a b",), None), (("",), None), (("x" * 65,), None), ((), "../x"), (("web",), "term")]
)
async def test_profiles_that_cannot_be(store: Store, profiles: tuple[str, ...], default: str | None) -> None:
    with pytest.raises(NotAllowed):
        await store.add_device("panel", profiles, default)
    assert await store.devices() == []
    await store.add_device("panel", ("one",), "one")
    with pytest.raises(NotAllowed):
        await store.change_device("panel", profiles=profiles, default=default)
    assert [(row.profiles, row.default) for row in await store.devices()] == [(("one",), "one")]


async def test_another_key_voids_the_one_before(store: Store, folder: Path) -> None:
    first = await store.add_device("panel", ("web",), "web")
    other = await store.add_device("other")
    second = await store.rotate_device("panel")
    assert await store.key_of("panel") == second != first
    assert await store.key_of("other") == other
    row = await store.device("panel")
    assert row is not None
    assert (row.profiles, row.default) == (("web",), "web")
    # Neither in the file nor in what SQLite lays beside it.
    found = every_byte(folder)
    assert second in found
    assert first not in found
    await store.remove_device("panel")
    assert second not in every_byte(folder)


async def test_a_disabled_device_has_no_key(store: Store) -> None:
    key = await store.add_device("panel", ("web",))
    assert (await store.change_device("panel", disabled=True)).disabled
    assert await store.key_of("panel") is None
    row = await store.change_device("panel", profiles=("term", "web"), default="term")
    assert (row.disabled, row.profiles, row.default) == (True, ("term", "web"), "term")
    assert not (await store.change_device("panel", disabled=False)).disabled
    assert await store.key_of("panel") == key
    assert await store.change_device("panel", profiles=()) == await store.device("panel")
    row = await store.change_device("panel")
    assert (row.profiles, row.default) == ((), None)
    with pytest.raises(ValueError, match="together"):
        await store.change_device("panel", default="web")


async def test_last_seen_is_late_by_a_minute_at_most(store: Store, clock: Clock) -> None:
    async def seen() -> float | None:
        await store.seen_device("panel")
        row = await store.device("panel")
        assert row is not None
        return row.seen_s

    await store.add_device("panel")
    start = clock.now_s
    assert await seen() == start
    clock.now_s = start + 59.999
    assert await seen() == start
    clock.now_s = start + 60
    assert await seen() == start + 60
    # A clock that was ahead for a year and was put right.
    clock.now_s = start - 365 * DAY_S
    assert await seen() == start - 365 * DAY_S
    await store.seen_device("nobody")
    assert await store.device("nobody") is None


async def test_only_a_hash_of_a_token_is_kept(store: Store, folder: Path) -> None:
    text = await store.add_token("deploy", Role.OPERATOR, DAY_S)
    assert text.startswith("tw_")
    assert len(text) == 46
    raw = base64.urlsafe_b64decode(text[3:] + "=")
    assert len(raw) == 32
    found = every_byte(folder)
    for secret in (text.encode(), text[3:].encode(), raw, raw.hex().encode()):
        assert secret not in found
    assert hashlib.sha256(text.encode()).digest() in found
    assert "deploy" in repr(await store.tokens())


def test_an_operator_may_all_that_a_viewer_may() -> None:
    assert [(role, needed) for role in Role for needed in Role if not role.may(needed)] == [
        (Role.VIEWER, Role.OPERATOR)
    ]


async def test_a_token_is_good_until_it_expires(store: Store, clock: Clock) -> None:
    start = clock.now_s
    text = await store.add_token("kiosk", Role.VIEWER, 100)
    lasting = await store.add_token("", Role.OPERATOR, None)
    token = await store.check_token(text)
    assert token is not None
    assert (token.role, token.note, token.created_s, token.expires_s) == (Role.VIEWER, "kiosk", start, start + 100)
    clock.now_s = start + 99.999
    assert await store.check_token(text) is not None
    assert await store.token(token.id) is not None
    clock.now_s = start + 100
    assert await store.check_token(text) is None
    assert await store.token(token.id) is None
    # It stays in the list, to be seen as expired.
    assert [(row.id, row.valid(clock.now_s)) for row in await store.tokens()] == [(1, False), (2, True)]
    clock.now_s = start + 99 * 365 * DAY_S
    assert await store.check_token(lasting) is not None


async def test_a_revoked_token_lets_nobody_in(store: Store) -> None:
    first = await store.add_token("one", Role.OPERATOR, DAY_S)
    second = await store.add_token("two", Role.OPERATOR, DAY_S)
    token = await store.check_token(first)
    assert token is not None
    await store.revoke_token(token.id)
    assert await store.check_token(first) is None
    assert await store.token(token.id) is None
    assert await store.check_token(second) is not None
    with pytest.raises(NotThere, match=r"^there is no token 1$"):
        await store.revoke_token(token.id)
    # Its number names no other one.
    await store.revoke_token(2)
    third = await store.check_token(await store.add_token("three", Role.VIEWER, DAY_S))
    assert third is not None
    assert third.id == 3


async def test_last_use_is_late_by_a_minute_at_most(store: Store, clock: Clock) -> None:
    text, start = await store.add_token("", Role.OPERATOR, DAY_S), clock.now_s
    uses = []
    for after_s in (0, 59.999, 60):
        clock.now_s = start + after_s
        assert await store.check_token(text)
        uses.append((await store.tokens())[0].used_s)
    assert uses == [start, start, start + 60]


def changed(text: str) -> st.SearchStrategy[str]:
    """Almost that token."""
    places = st.integers(0, len(text) - 1)
    return st.one_of(
        st.builds(lambda at, sign: text[:at] + sign + text[at + 1 :], places, st.characters()),
        st.builds(lambda at: text[:at], places),
        st.builds(lambda sign: text + sign, st.characters()),
        st.builds(lambda sign: sign + text, st.characters()),
        st.just(text.swapcase()),
        st.text(max_size=60),
    )


async def test_what_is_not_a_token_entitles_to_nothing(store: Store) -> None:
    text = await store.add_token("", Role.OPERATOR, DAY_S)
    portal: list[tuple[str, Any]] = []

    @given(changed(text))
    @settings(max_examples=200, deadline=None)
    def ask(guess: str) -> None:
        answer = trio.from_thread.run(store.check_token, guess)
        portal.append((guess, answer))
        assert (answer is not None) == (guess == text)

    await trio.to_thread.run_sync(ask)
    assert len(portal) > 100


async def test_hashes_are_compared_in_constant_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    text, compared, real = await store.add_token("", Role.OPERATOR, DAY_S), [], hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert await store.check_token(text)
    digest = hashlib.sha256(text.encode()).digest()
    assert compared == [(digest, digest)]


@pytest.mark.parametrize("lifetime_s", [0, -1, float("nan"), float("inf"), 1e12])
async def test_lifetimes_that_are_none(store: Store, lifetime_s: float) -> None:
    with pytest.raises(NotAllowed, match="a hundred years"):
        await store.add_token("", Role.OPERATOR, lifetime_s)
    assert await store.tokens() == []


@pytest.mark.parametrize("note", ["x" * 201, "\ud800"])
async def test_notes_that_cannot_be_kept(store: Store, note: str) -> None:
    with pytest.raises(NotAllowed, match="note"):
        await store.add_token(note, Role.OPERATOR, DAY_S)


@pytest.mark.parametrize("number", [0, -1, 7, 1 << 63, 1 << 64])
async def test_numbers_of_nothing(store: Store, number: int) -> None:
    assert await store.token(number) is None
    with pytest.raises(NotThere):
        await store.revoke_token(number)
    assert await store.usage(after=number) == []


async def test_usage_grows_while_the_session_runs(store: Store, clock: Clock) -> None:
    start = clock.now_s
    number = await store.begin_usage("s1", "web", "panel")
    clock.now_s += 60
    await store.add_usage(number, 60, 1000, 10)
    clock.now_s += 30.5
    await store.add_usage(number, 30.5, 500, 5, viewer_seconds=61)
    [row] = await store.usage()
    assert (row.session, row.profile, row.device) == ("s1", "web", "panel")
    assert (row.started_s, row.seen_s, row.ended_s, row.reason) == (start, start + 90.5, None, None)
    assert (row.seconds, row.viewer_seconds, row.bytes_down, row.bytes_up) == (90.5, 61.0, 1500, 15)
    clock.now_s += 1
    await store.end_usage(number, "closed by an operator")
    [row] = await store.usage()
    assert (row.ended_s, row.seen_s, row.reason) == (start + 91.5, start + 91.5, "closed by an operator")
    for call in (store.add_usage(number, 1, 1, 1), store.end_usage(number, "again"), store.add_usage(99, 1, 1, 1)):
        with pytest.raises(NotThere, match=r" runs$"):
            await call
    assert await store.usage() == [row]


async def test_usage_of_a_clock_that_is_set_back(store: Store, clock: Clock) -> None:
    """No session ends before it began."""
    start = clock.now_s
    number = await store.begin_usage("s1", "web")
    clock.now_s -= 3600
    await store.add_usage(number, 60, 0, 0)
    await store.end_usage(number, "x" * 600 + "\ud800")
    [row] = await store.usage(until_s=start + 1)
    assert (row.seen_s, row.ended_s, row.device, row.reason) == (start, start, None, "x" * 500)


@pytest.mark.parametrize("name", ["seconds", "bytes_down", "bytes_up", "viewer_seconds"])
@pytest.mark.parametrize("count", [-1, -0.001, float("nan"), float("inf"), 1 << 41])
async def test_usage_never_shrinks(store: Store, name: str, count: float) -> None:
    number = await store.begin_usage("s1", "web")
    counts: dict[str, Any] = {"seconds": 1, "bytes_down": 1, "bytes_up": 1, name: count}
    with pytest.raises(ValueError, match="does not grow"):
        await store.add_usage(number, **counts)
    assert [(row.seconds, row.bytes_down) for row in await store.usage()] == [(0, 0)]


@pytest.mark.parametrize(
    ("session", "profile", "device"),
    [("", "web", None), ("a/b", "web", None), ("s", "a b", None), ("s", "web", ""), ("s", "web", "x" * 65)],
)
async def test_usage_of_what_cannot_be(store: Store, session: str, profile: str, device: str | None) -> None:
    with pytest.raises(NotAllowed):
        await store.begin_usage(session, profile, device)
    assert await store.usage() == []


async def test_each_session_belongs_to_one_period(store: Store, clock: Clock) -> None:
    """To that in which it was closed; one that runs counts as closed now."""
    start = clock.now_s
    for at, name in enumerate("abc"):
        clock.now_s = start
        number = await store.begin_usage(name, "web")
        clock.now_s = start + 100 * (at + 1)
        await store.end_usage(number, "")
    await store.begin_usage("runs", "web")

    async def closed(since_s: float | None, until_s: float | None) -> str:
        return " ".join(row.session for row in await store.usage(since_s, until_s))

    assert await closed(None, None) == "a b c runs"
    assert await closed(None, start + 100) == ""
    assert await closed(start + 100, start + 200) == "a"
    assert await closed(start + 200, start + 300) == "b"
    assert await closed(start + 300, start + 300.001) == "c runs"
    assert await closed(start + 300.001, start + 400) == ""
    clock.now_s = start + 1000
    assert await closed(start + 300, start + 1000) == "c"
    assert await closed(start + 1000, start + 2000) == "runs"
    assert await closed(start + 1001, start + 2000) == ""


async def test_a_server_closes_what_a_crashed_one_left_open(folder: Path, clock: Clock) -> None:
    async with open_store(folder, clock=clock, serving=True) as store:
        start = clock.now_s
        lost, ended = await store.begin_usage("lost", "web"), await store.begin_usage("ended", "web")
        clock.now_s += 60
        await store.add_usage(lost, 60, 5, 6)
        clock.now_s += 20
        await store.end_usage(ended, "closed")
    clock.now_s += DAY_S
    # The command line closes nothing: a server may be running.
    async with open_store(folder, clock=clock) as store:
        assert [row.ended_s for row in await store.usage()] == [None, start + 80]
        # Two bills: of the time before the server was back, and of the time after.
        bill = clock.now_s - 0.001
        assert [row.session for row in await store.usage(None, bill)] == ["ended"]
    async with open_store(folder, clock=clock, serving=True) as store:
        rows = await store.usage()
        assert [row.session for row in await store.usage(None, bill)] == ["ended"]
        assert [row.session for row in await store.usage(bill, None)] == ["lost"]
    assert [(row.session, row.ended_s, row.seconds, row.reason) for row in rows] == [
        ("lost", start + 60, 60, "the server ended without a word"),
        ("ended", start + 80, 0, "closed"),
    ]


async def test_a_server_forgets_tokens_that_expired_a_month_ago(folder: Path, clock: Clock) -> None:
    async with open_store(folder, clock=clock) as store:
        for days in (1, 2, None):
            await store.add_token(str(days), Role.VIEWER, None if days is None else days * DAY_S)
    clock.now_s += 31.5 * DAY_S
    async with open_store(folder, clock=clock) as store:
        assert len(await store.tokens()) == 3
    async with open_store(folder, clock=clock, serving=True) as store:
        assert [row.note for row in await store.tokens()] == ["2", "None"]


async def test_a_call_that_began_is_finished_although_its_task_is_cancelled(store: Store, folder: Path) -> None:
    other = sqlite3.connect(folder / "state.db", isolation_level=None)
    with closing(other):
        other.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.add_device, "panel")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            # Reading waits for no writer.
            with trio.CancelScope(shield=True):
                assert await store.devices() == []
            other.rollback()
    assert [row.name for row in await store.devices()] == ["panel"]


NAMES: Final = st.sampled_from(["a", "b", *ODD_NAMES])
PROFILES: Final = st.lists(st.sampled_from(["web", "term", "x"]), max_size=3).map(tuple)
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("add"), NAMES, PROFILES),
        st.tuples(st.just("rotate"), NAMES),
        st.tuples(st.just("remove"), NAMES),
        st.tuples(st.just("disable"), NAMES, st.booleans()),
        st.tuples(st.just("allow"), NAMES, PROFILES),
        st.tuples(st.just("close")),
    ),
    max_size=12,
)


@given(STEPS)
@settings(max_examples=25, deadline=None)
def test_any_history_of_devices(steps: list[tuple[Any, ...]]) -> None:
    """The store is a dictionary that survives."""
    with tempfile.TemporaryDirectory() as name:
        trio.run(_history, Path(name) / "state", steps)


async def _history(folder: Path, steps: list[tuple[Any, ...]]) -> None:
    model: dict[str, tuple[bytes, tuple[str, ...], bool]] = {}
    openings: list[list[tuple[Any, ...]]] = [[]]
    for step in steps:
        if step[0] == "close":
            openings.append([])
        else:
            openings[-1].append(step)
    for opening in openings:
        async with open_store(folder) as store:
            for step in opening:
                await _step(store, model, step)
            assert {row.name: (row.profiles, row.disabled) for row in await store.devices()} == {
                name: (profiles, disabled) for name, (_, profiles, disabled) in model.items()
            }
            for name, (key, _, disabled) in model.items():
                assert await store.key_of(name) == (None if disabled else key)


async def _step(store: Store, model: dict[str, tuple[bytes, tuple[str, ...], bool]], step: tuple[Any, ...]) -> None:
    what, name, *more = step
    if what == "add":
        if name in model:
            with pytest.raises(AlreadyThere):
                await store.add_device(name, more[0])
        else:
            model[name] = (await store.add_device(name, more[0]), tuple(sorted(set(more[0]))), False)
        return
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "rotate": lambda: store.rotate_device(name),
        "remove": lambda: store.remove_device(name),
        "disable": lambda: store.change_device(name, disabled=more[0]),
        "allow": lambda: store.change_device(name, profiles=more[0]),
    }
    if name not in model:
        with pytest.raises(NotThere):
            await calls[what]()
        return
    answer = await calls[what]()
    key, profiles, disabled = model[name]
    if what == "rotate":
        model[name] = answer, profiles, disabled
    elif what == "remove":
        del model[name]
    elif what == "disable":
        model[name] = key, profiles, more[0]
    else:
        model[name] = key, tuple(sorted(set(more[0]))), disabled
