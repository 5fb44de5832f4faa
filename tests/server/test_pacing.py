"""When the next update may go out: traces of time, no clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.server.pacing import MAX_BYTES_IN_FLIGHT, MAX_UPDATES_IN_FLIGHT, Pacing


def send(pacing: Pacing, update: int, at_s: float, size: int = 100) -> None:
    pacing.started(at_s)
    pacing.sent(update, size, at_s)


def test_the_first_change_goes_out_at_once() -> None:
    pacing = Pacing(30)
    assert pacing.ready_s() == -math.inf
    assert pacing.oldest_s() == math.inf


def test_what_follows_keeps_the_rate() -> None:
    pacing = Pacing(50)
    send(pacing, 1, 10.0)
    pacing.acknowledged(1, 10.001)
    assert pacing.ready_s() == 10.02
    pacing.fps = 10
    assert pacing.ready_s() == 10.1


def test_so_many_updates_may_be_on_their_way() -> None:
    pacing = Pacing(60)
    for number in range(1, MAX_UPDATES_IN_FLIGHT + 1):
        assert pacing.ready_s() < math.inf
        send(pacing, number, float(number))
    assert pacing.ready_s() == math.inf
    assert pacing.oldest_s() == 1.0
    pacing.acknowledged(1, 10.0)
    assert pacing.ready_s() < math.inf
    assert pacing.oldest_s() == 2.0


def test_so_many_bytes_may_be_on_their_way() -> None:
    pacing = Pacing(60)
    send(pacing, 1, 1.0, MAX_BYTES_IN_FLIGHT - 1)
    assert pacing.ready_s() < math.inf
    send(pacing, 2, 2.0, 1)
    assert pacing.ready_s() == math.inf
    pacing.acknowledged(2, 3.0)
    assert (pacing.in_flight_bytes, pacing.oldest_s()) == (0, math.inf)


def test_an_acknowledgement_stands_for_all_before_it() -> None:
    pacing = Pacing(60)
    send(pacing, 1, 1.0, 10)
    send(pacing, 2, 2.0, 20)
    send(pacing, 3, 2.5, 40)
    pacing.acknowledged(2, 3.0)
    assert (pacing.in_flight_bytes, pacing.oldest_s()) == (40, 2.5)
    pacing.acknowledged(2, 4.0)
    assert (pacing.in_flight_bytes, pacing.oldest_s()) == (40, 2.5)


def test_an_acknowledgement_without_an_update_changes_nothing() -> None:
    pacing = Pacing(60)
    pacing.acknowledged(7, 1.0)
    assert (pacing.round_trip_s, pacing.bytes_per_s, pacing.in_flight_bytes) == (None, None, 0)


def test_it_learns_the_round_trip_and_the_rate() -> None:
    pacing = Pacing(60)
    send(pacing, 1, 1.0, 1000)
    pacing.acknowledged(1, 1.5)
    assert (pacing.round_trip_s, pacing.bytes_per_s) == (0.5, 2000)
    # A clock that did not move is no division by zero.
    send(pacing, 2, 2.0, 1000)
    pacing.acknowledged(2, 2.0)
    assert pacing.bytes_per_s is not None
    assert math.isfinite(pacing.bytes_per_s)


@given(
    st.lists(
        st.tuples(st.sampled_from(["send", "ack", "again"]), st.integers(0, 200_000), st.floats(0, 1)), max_size=60
    )
)
def test_what_is_on_its_way_is_what_was_not_acknowledged(trace: list[tuple[str, int, float]]) -> None:
    pacing = Pacing(30)
    now, sent, acked = 0.0, 0, 0
    flying: dict[int, tuple[int, float]] = {}
    for what, number, pause in trace:
        now += pause
        if what == "send":
            if pacing.ready_s() <= now:
                sent += 1
                send(pacing, sent, now, number)
                flying[sent] = (number, now)
        else:
            acked = max(acked, min(sent, acked + number % 3)) if what == "ack" else acked
            pacing.acknowledged(acked, now)
            flying = {update: flight for update, flight in flying.items() if update > acked}
        assert pacing.in_flight_bytes == sum(size for size, _ in flying.values())
        assert pacing.oldest_s() == min((at for _, at in flying.values()), default=math.inf)
        assert len(flying) <= MAX_UPDATES_IN_FLIGHT
    # Whatever happened, all acknowledged is ready.
    pacing.acknowledged(sent, now)
    assert pacing.ready_s() <= now + 1 / 30


def test_a_short_wait_for_damage_does_not_slow_the_beat() -> None:
    pacing = Pacing(20)
    pacing.started(10.0)
    # Each update begins a little after it might: twenty still fit into a second.
    for beat in range(1, 21):
        due = pacing.ready_s()
        assert due == pytest.approx(10.0 + beat / 20)
        pacing.started(due + 0.01)
    # A longer pause moves it: nothing is caught up.
    pacing.started(12.0)
    assert pacing.ready_s() == pytest.approx(12.05)
