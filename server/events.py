"""What happens to sessions, for whoever listens: the API's stream of events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import trio

WAITING: Final = 256
"""Happenings that wait for one listener; one that is slower has lost its stream, and asks again."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened."""

    number: int
    """They count from 1 with each start of the server."""
    time_s: float
    """By the wall's clock."""
    kind: str
    """created, joined, left, loaded, closed."""
    session: str
    data: dict[str, object]


class Events:
    """Tells all listeners; nobody's slowness reaches anybody else."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._number = 0
        self._listeners: set[trio.MemorySendChannel[Happening]] = set()

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def tell(self, kind: str, session: str, **data: object) -> None:
        """Something happened to a session."""
        self._number += 1
        happening = Happening(self._number, self._wall(), kind, session, data)
        for listener in list(self._listeners):
            try:
                listener.send_nowait(happening)
            except trio.WouldBlock:
                self._listeners.discard(listener)
                listener.close()

    @contextmanager
    def subscribe(self) -> Iterator[AsyncIterator[Happening]]:
        """What happens from now on; the iterator ends where the listener was too slow."""
        send, receive = trio.open_memory_channel[Happening](WAITING)
        self._listeners.add(send)
        try:
            yield receive
        finally:
            self._listeners.discard(send)
            send.close()
            receive.close()
