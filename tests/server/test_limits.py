"""Rates, the room of those who have not shaken hands, and what a device's bytes cost it."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, ExitStack

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tilewire.protocol import Code, Connection, Sender
from tilewire.server.door import Doorman
from tilewire.server.limits import MOST_KEYS, Allowance, Bucket, Meter, Rate, WaitingRoom
from tilewire.server.metered import Metered

from tests.support import device, goodbye_in, hello, served, tcp


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 3)), max_size=60), st.integers(1, 20), st.integers(3, 10))
def test_a_bucket_never_gives_more_than_its_rate_and_its_burst(
    asked: list[tuple[float, int]], per_s: int, burst: int
) -> None:
    bucket, now, given_out = Bucket(per_s, burst, 0.0), 0.0, 0
    for pause, units in asked:
        now += pause
        given_out += units * bucket.take(now, units)
        assert given_out <= burst + per_s * now + 1e-6


def test_who_owes_waits_until_it_is_paid() -> None:
    bucket = Bucket(100, 50, 0.0)
    assert bucket.owe(0.0, 50) == 0
    assert bucket.owe(0.0, 25) == 0.25
    assert bucket.owe(0.25, 0) == 0


def test_addresses_have_rates_of_their_own() -> None:
    rate = Rate(2)
    assert [rate.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert rate.take("b", 0.0)
    assert [rate.take("a", 30.0), rate.take("a", 30.0)] == [True, False]
    assert all(Rate(None).take("a", 0.0) for _ in range(1000))


def test_a_rate_remembers_so_many_addresses_and_no_more() -> None:
    rate = Rate(1)
    for number in range(MOST_KEYS + 100):
        assert rate.take(str(number), 0.0)
    # Those that came last are remembered, the first one is not.
    assert not rate.take(str(MOST_KEYS + 99), 0.0)
    assert rate.take("0", 0.0)
    # Whoever has been quiet for a minute makes room for others.
    assert rate.take("new", 61.0)
    assert not rate.take("new", 61.0)


async def test_newcomers_get_in_and_the_flood_makes_room() -> None:
    room = WaitingRoom(4, 3)
    with ExitStack() as stack:
        flood = [stack.enter_context(room.enter("flood")) for _ in range(4)]
        assert [one.evicted for one in flood] == [True, False, False, False]
        other = stack.enter_context(room.enter("other"))
        newest = stack.enter_context(room.enter("third"))
        # The room was full: the address with most in it made room.
        assert [one.evicted for one in flood] == [True, True, False, False]
        assert not other.evicted
        assert not newest.evicted
        assert (len(room), room.evicted) == (4, 2)
        room.through(other)
        assert len(room) == 3
    assert len(room) == 0


async def test_a_meter_counts_and_holds_back(autojump_clock: MockClock) -> None:
    meter = Meter(Allowance(1000, 0.0))
    assert meter.sent(1000, 0.0) == 0
    assert meter.sent(500, 0.0) == 0.5
    assert meter.received(1000, 0.0) == 0
    assert (meter.down, meter.up) == (1500, 1000)
    free = Meter(None)
    assert free.sent(1 << 40, 0.0) == 0


class Slate:
    """A transport that takes and gives at once."""

    peer = "a test"
    clean = True

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return bytes(500)

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_device_beyond_its_share_has_a_slow_link(autojump_clock: MockClock) -> None:
    """A second's worth goes at once, the rest at the rate; both ways each have their own."""
    meter = Meter(Allowance(1000, trio.current_time()))
    line, began_s = Metered(Slate(), meter), trio.current_time()
    for _ in range(4):
        await line.send(bytes(1000))
    assert trio.current_time() - began_s == pytest.approx(2)
    began_s = trio.current_time()
    for _ in range(4):
        assert len(await line.receive()) == 500
    assert trio.current_time() - began_s == pytest.approx(0.5)
    assert (meter.down, meter.up) == (4000, 2000)


async def test_a_device_has_one_share_however_often_it_connects(autojump_clock: MockClock) -> None:
    allowance = Allowance(1000, trio.current_time())
    lines = [Metered(Slate(), Meter(allowance)) for _ in range(4)]
    began_s = trio.current_time()

    async def send(line: Metered) -> None:
        for _ in range(4):
            await line.send(bytes(1000))

    async with trio.open_nursery() as nursery:
        for line in lines:
            nursery.start_soon(send, line)
    # 16,000 bytes, the first thousand and what is on its way last at once.
    assert trio.current_time() - began_s >= 16 - 1 - 4
    assert [line.meter.down for line in lines] == [4000] * 4


async def test_a_thousand_silent_connections_do_not_keep_a_device_out() -> None:
    doorman = Doorman(WaitingRoom(64, 32))
    async with served(doorman=doorman) as server, AsyncExitStack() as stack:
        for number in range(1000):
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", server.port))
            if number % 100 == 0:
                async with device(server.port):
                    pass
        assert len(doorman.room) <= 32
        assert doorman.room.evicted >= 900


async def answer(port: int) -> bytes:
    """What a device's HELLO is answered with, to the end or to the first message."""
    async with tcp(port) as stream:
        await stream.send(Connection(Sender.CLIENT).send(hello()))
        heard = await stream.receive()
        while goodbye_in(heard) is None and (more := await stream.receive()):
            heard += more
        return heard


async def test_too_many_handshakes_are_told_so() -> None:
    async with served(doorman=Doorman(handshakes=Rate(2))) as server:
        for _ in range(2):
            async with device(server.port):
                pass
        goodbye = goodbye_in(await answer(server.port))
        assert goodbye is not None
        assert (goodbye.code, goodbye.text) == (
            Code.LIMIT,
            "too many handshakes from this address: try again in a minute",
        )


async def test_who_lives_in_a_session_is_not_answered() -> None:
    async with served(doorman=Doorman(inmates=lambda _: True)) as server:
        async with tcp(server.port) as stream:
            await stream.send(Connection(Sender.CLIENT).send(hello()))
            assert await stream.receive() == b""


async def test_who_knocks_without_end_is_one_line_a_minute(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    doorman = Doorman(inmates=lambda _: True)
    one, other = (trio.SocketStream(end) for end in trio.socket.socketpair())
    said = []
    async with one, other:
        for pause_s, knocks in ((0, 1000), (59, 500), (2, 1000), (61, 1)):
            mock_clock.jump(pause_s)
            assert all(doorman.turns_away(one) for _ in range(knocks))
            said.append([record.getMessage().partition("may not connect here")[2] for record in caplog.records])
            caplog.clear()
    assert said == [
        [""],
        [],
        ["; nor could 1499 others since the last such line"],
        ["; nor could 999 others since the last such line"],
    ]
