"""Tickets: short-lived words that let a viewer into one session, given by the control API, shown in HELLO."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from tilewire.protocol import AuthMethod
from tilewire.server.handshake import Guest

TICKET_BYTES: Final = 24
LONGEST_S: Final = 24 * 3600.0
MOST_TICKETS: Final = 4096
"""Beyond, the ones that end first go: they are given by operators, and one that is lost is asked for again."""


class TicketRefused(Exception):
    """No such ticket can be given. One plain sentence."""


@dataclass(slots=True)
class _Ticket:
    session: str
    may_steer: bool
    ends_s: float
    uses: int


class Tickets:
    """Those that are good now, by their hashes: nobody who reads our memory's dump gets in by them, and looking one
    up takes the same time whatever it is."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._tickets: dict[bytes, _Ticket] = {}

    def issue(self, session: str, *, may_steer: bool, lifetime_s: float, uses: int = 1) -> str:
        """A new one, of printable ASCII, good for so many handshakes within `lifetime_s`; then its viewers leave too.

        Raises TicketRefused.
        """
        if not 0 < lifetime_s <= LONGEST_S:
            raise TicketRefused(f"a ticket lives for up to {LONGEST_S:g} s, not {lifetime_s:g}")
        if uses < 1:
            raise TicketRefused("a ticket is good for at least one handshake")
        self._tidy()
        if len(self._tickets) >= MOST_TICKETS:
            del self._tickets[min(self._tickets, key=lambda key: self._tickets[key].ends_s)]
        text = secrets.token_urlsafe(TICKET_BYTES)
        self._tickets[_digest(text.encode())] = _Ticket(session, may_steer, self._clock() + lifetime_s, uses)
        return text

    def redeem(self, ticket: bytes) -> Guest | None:
        """Whom it lets in; None: it is none, used up or too old."""
        self._tidy()
        digest = _digest(ticket)
        found = self._tickets.get(digest)
        if found is None:
            return None
        found.uses -= 1
        if found.uses == 0:
            del self._tickets[digest]
        return Guest(AuthMethod.TICKET, session=found.session, may_steer=found.may_steer, until_s=found.ends_s)

    def revoke(self, session: str) -> None:
        """Those of a session are good no more."""
        self._tickets = {key: ticket for key, ticket in self._tickets.items() if ticket.session != session}

    def _tidy(self) -> None:
        now = self._clock()
        self._tickets = {key: ticket for key, ticket in self._tickets.items() if ticket.ends_s > now}


def _digest(ticket: bytes) -> bytes:
    return hashlib.sha256(ticket).digest()
