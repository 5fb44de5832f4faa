"""The DevTools pipe: messages however cut, calls and their ends, nothing left behind. And fingers, which are pure."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tilewire.server.browser import BrowserGone, Spot
from tilewire.server.browser.errors import CallRefused
from tilewire.server.browser.pipe import MAX_MESSAGE, MAX_PENDING, DevTools, Event, Splitter, open_devtools
from tilewire.server.browser.touch import MAX_FINGERS, Fingers, TouchEvent

from tests.support import quiet, tasks


@given(st.lists(st.binary(max_size=9).map(lambda part: part.replace(b"\0", b"."))), st.lists(st.integers(1, 5)))
def test_any_split_gives_the_same_messages(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(message + b"\0" for message in messages)
    splitter, heard = Splitter(8), list[bytes]()
    for cut in cuts:
        heard += splitter.feed(stream[:cut])
        stream = stream[cut:]
    heard += splitter.feed(stream)
    assert heard == [message for message in messages if len(message) <= 8]
    assert splitter.dropped == len([message for message in messages if len(message) > 8])


def test_the_limit_of_a_message() -> None:
    splitter = Splitter(100)
    for size in (99, 100, 101, 99):
        assert splitter.feed(b"x" * size) == []
        assert splitter.feed(b"\0") == ([b"x" * size] if size <= 100 else [])
    assert splitter.dropped == 1
    assert MAX_MESSAGE >= 2 * 2**20, "a URL of 2 MiB is one that Chromium takes"


class Peer:
    """The browser's end of the pipe, in bytes."""

    def __init__(self, reading: int, writing: int) -> None:
        self.calls = trio.lowlevel.FdStream(reading)
        self.says = trio.lowlevel.FdStream(writing)
        self._text = b""

    async def call(self) -> dict[str, Any]:
        """The next call."""
        while b"\0" not in self._text:
            self._text += await self.calls.receive_some(65536)
        message, _, self._text = self._text.partition(b"\0")
        call: dict[str, Any] = json.loads(message)
        return call

    async def say(self, **message: Any) -> None:
        """An answer or an event."""
        await self.says.send_all(json.dumps(message).encode() + b"\0")

    async def leave(self) -> None:
        """End."""
        await self.calls.aclose()
        await self.says.aclose()


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[DevTools, Peer, list[Event]]]:
    """A client and its peer on two real pipes; at the end no task and no descriptor is left."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    before, heard = tasks(), list[Event]()
    peer = Peer(theirs_in, theirs_out)
    sending, receiving = trio.lowlevel.FdStream(ours_out), trio.lowlevel.FdStream(ours_in)
    async with open_devtools(sending, receiving, heard.append) as devtools:
        yield devtools, peer, heard
    await peer.leave()
    assert tasks() == before


async def test_calls_answers_and_events(nothing_stays_open: None) -> None:
    async with talking() as (devtools, peer, heard), trio.open_nursery() as nursery:
        results: dict[str, object] = {}

        async def ask(name: str, session: str | None) -> None:
            try:
                results[name] = await devtools.call(name, {"a": 1}, session=session)
            except CallRefused as problem:
                results[name] = str(problem)

        nursery.start_soon(ask, "First.one", None)
        first = await peer.call()
        nursery.start_soon(ask, "Second.one", "S")
        second = await peer.call()
        assert first == {"id": 1, "method": "First.one", "params": {"a": 1}}
        assert second == {"id": 2, "method": "Second.one", "params": {"a": 1}, "sessionId": "S"}
        await peer.say(method="Page.x", params={"y": 1}, sessionId="S")
        await peer.say(id=77, result={})
        for nonsense in (b"{]\0", b"3\0", b"\0", b'{"id": true}\0', b"[" * 100_000 + b"\0", b'{"method": "x"}\0'):
            await peer.says.send_all(nonsense)
        await peer.say(id=2, error={"code": -1, "message": "no such page"})
        await peer.say(id=1, result={"b": 2})
        await quiet(0.01)
        assert results == {"First.one": {"b": 2}, "Second.one": "Second.one: no such page"}
        assert heard == [Event("Page.x", {"y": 1}, "S")]


async def test_a_cancelled_call_leaves_the_pipe_whole(nothing_stays_open: None) -> None:
    async with talking() as (devtools, peer, _), trio.open_nursery() as nursery:
        # The peer reads nothing: the pipe and the queue fill, callers are cancelled in every state.
        with trio.move_on_after(0.2) as patience:
            async with trio.open_nursery() as many:
                for _ in range(MAX_PENDING + 20):
                    many.start_soon(devtools.call, "x", {"text": "y" * 20_000})
        assert patience.cancelled_caught
        nursery.start_soon(devtools.call, "last")
        while (call := await peer.call())["method"] != "last":
            assert call["params"]["text"] == "y" * 20_000
            await peer.say(id=call["id"], result={})
        await peer.say(id=call["id"], result={})


async def test_the_browsers_end_is_noticed(nothing_stays_open: None) -> None:
    async with talking() as (devtools, peer, _), trio.open_nursery() as nursery:
        seen: list[str] = []

        async def ask() -> None:
            with pytest.raises(BrowserGone) as problem:
                await devtools.call("x", {"text": "y" * 20_000})
            seen.append(str(problem.value))

        for _ in range(MAX_PENDING + 20):
            nursery.start_soon(ask)
        await quiet(0.01)
        await peer.leave()
        why = await devtools.wait_gone()
        await quiet(0.01)
        assert seen == [why] * (MAX_PENDING + 20)
        with pytest.raises(BrowserGone, match=why):
            await devtools.call("y")


async def test_the_blocks_end_is_the_calls_end(nothing_stays_open: None) -> None:
    async with trio.open_nursery() as nursery:
        async with talking() as (devtools, _, _):

            async def ask() -> None:
                with pytest.raises(BrowserGone, match="closed"):
                    await devtools.call("x")

            nursery.start_soon(ask)
            await quiet(0.01)


def test_fingers_one_after_the_other() -> None:
    fingers, at = Fingers(), Spot(100, 50)
    assert fingers.step({}, 1) is None
    assert fingers.cancel() is None
    assert fingers.step({7: at}, 0.5) == TouchEvent("touchStart", ((7, Spot(50, 25)),))
    assert fingers.step({7: at, 3: at}, 1) == TouchEvent("touchMove", ((3, at), (7, at)))
    assert fingers.step({3: at}, 1) == TouchEvent("touchMove", ((3, at),))
    assert fingers.step({}, 1) == TouchEvent("touchEnd")
    assert fingers.step({1: at}, 1) == TouchEvent("touchStart", ((1, at),))
    assert fingers.cancel() == TouchEvent("touchCancel")
    assert fingers.step({}, 1) is None


@given(st.lists(st.none() | st.dictionaries(st.integers(0, 40), st.just(Spot(1, 2)), max_size=20)))
def test_any_fingers_make_a_legal_sequence(states: list[dict[int, Spot] | None]) -> None:
    fingers, down = Fingers(), set[int]()
    for state in states:
        event = fingers.cancel() if state is None else fingers.step(state, 1)
        wanted = set(sorted(state or {})[:MAX_FINGERS])
        if event is None:
            assert not down
            assert not wanted
            continue
        points = {number for number, _ in event.points}
        assert points == wanted
        assert bool(points) == (event.type in ("touchStart", "touchMove"))
        assert bool(down) == (event.type != "touchStart")
        assert event.type != "touchCancel" or state is None
        down = points
