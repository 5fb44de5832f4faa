"""Tickets: whom they let in, how often, how long."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import AuthMethod, Code, Role
from tilewire.protocol import messages as m
from tilewire.server.handshake import Guest
from tilewire.server.tickets import LONGEST_S, MOST_TICKETS, TicketRefused, Tickets

from tests.support import device, hello, served


class Clock:
    """Set by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_ticket_is_good_once_and_for_its_session() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    text = tickets.issue("kiosk", may_steer=False, lifetime_s=60)
    assert text.isascii()
    assert len(text) <= 64
    assert tickets.redeem(text.encode()) == Guest(AuthMethod.TICKET, "kiosk", may_steer=False, until_s=160.0)
    assert tickets.redeem(text.encode()) is None
    assert tickets.redeem(b"") is None


def test_a_ticket_ends_with_its_time_and_its_session() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    one, two = (tickets.issue(name, may_steer=True, lifetime_s=60, uses=3) for name in ("a", "b"))
    assert tickets.redeem(one.encode()) is not None
    tickets.revoke("a")
    assert tickets.redeem(one.encode()) is None
    assert tickets.redeem(two.encode()) is not None
    clock.now_s += 60
    assert tickets.redeem(two.encode()) is None


def test_there_are_so_many_tickets_and_no_more() -> None:
    tickets = Tickets(Clock())
    first = tickets.issue("a", may_steer=True, lifetime_s=1)
    others = [tickets.issue("a", may_steer=True, lifetime_s=60) for _ in range(MOST_TICKETS)]
    assert tickets.redeem(first.encode()) is None
    assert tickets.redeem(others[-1].encode()) is not None


@pytest.mark.parametrize("lifetime_s", [0, -1, LONGEST_S + 1, math.inf, math.nan])
def test_lifetimes_that_are_none(lifetime_s: float) -> None:
    with pytest.raises(TicketRefused):
        Tickets(Clock()).issue("a", may_steer=True, lifetime_s=lifetime_s)
    with pytest.raises(TicketRefused):
        Tickets(Clock()).issue("a", may_steer=True, lifetime_s=1, uses=0)


@given(st.binary(max_size=64))
def test_no_bytes_are_a_ticket_by_chance(data: bytes) -> None:
    tickets = Tickets(Clock())
    text = tickets.issue("a", may_steer=True, lifetime_s=1)
    assert data == text.encode() or tickets.redeem(data) is None


class OnlyTickets:
    """Nobody comes in without one."""

    open_door = False

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets

    async def key_of(self, device_id: str) -> bytes | None:
        """Nobody has a key."""

    def redeem(self, ticket: bytes) -> Guest | None:
        """Whom it lets in."""
        return self._tickets.redeem(ticket)


def with_ticket(text: str) -> m.Hello:
    return hello(auth_methods=AuthMethod.TICKET, ticket=text.encode())


async def test_a_ticket_opens_and_says_who_may_steer() -> None:
    tickets = Tickets()
    async with served(credentials=OnlyTickets(tickets)) as server:
        for may_steer in (False, True):
            text = tickets.issue("main", may_steer=may_steer, lifetime_s=60)
            async with device(server.port, with_ticket(text)) as one:
                assert one.connection.welcome is not None
                assert one.connection.welcome.role == (Role.CONTROL if may_steer else Role.VIEW_ONLY)
        async with device(server.port, with_ticket(text), welcome=False) as again:
            await again.until(lambda: again.last(m.Goodbye))
            assert again.last(m.Goodbye).code == Code.AUTH_FAILED


async def test_a_viewer_leaves_when_its_ticket_ends() -> None:
    tickets = Tickets()
    async with served(credentials=OnlyTickets(tickets)) as server:
        text = tickets.issue("main", may_steer=True, lifetime_s=0.5)
        async with device(server.port, with_ticket(text)) as one:
            await one.until(lambda: one.last(m.Goodbye))
            assert (one.last(m.Goodbye).code, one.last(m.Goodbye).text) == (Code.AUTH_FAILED, "the ticket has expired")
