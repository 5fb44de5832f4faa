"""When the next update may go out. Pure: time is passed in, in seconds of any steady clock.

The first change on an idle link goes out at once; only what follows is paced, by the rate asked for and by what is on
its way and not acknowledged.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

MAX_UPDATES_IN_FLIGHT: Final = 3
"""One on the wire, one being decoded, one acknowledged on its way back."""
MAX_BYTES_IN_FLIGHT: Final = 256 << 10
"""A whole repaint may exceed it; nothing follows until it is through."""


@dataclass(frozen=True, slots=True)
class _Flight:
    update: int
    size: int
    sent_s: float


class Pacing:
    """The pace of one viewer."""

    def __init__(self, fps: int) -> None:
        self.fps = fps
        self.in_flight_bytes = 0
        self.round_trip_s: float | None = None
        self.bytes_per_s: float | None = None
        self._flights: deque[_Flight] = deque()
        self._last_start_s = -math.inf

    def ready_s(self) -> float:
        """The earliest time at which an update may begin; infinite until an acknowledgement comes."""
        if len(self._flights) >= MAX_UPDATES_IN_FLIGHT or self.in_flight_bytes >= MAX_BYTES_IN_FLIGHT:
            return math.inf
        return self._last_start_s + 1 / self.fps

    def oldest_s(self) -> float:
        """When the oldest update that is not acknowledged was sent; infinite where there is none."""
        return self._flights[0].sent_s if self._flights else math.inf

    def started(self, now_s: float) -> None:
        """An update was begun. A wait of less than a frame does not move the beat: the rate is kept on average."""
        beat = self._last_start_s + 1 / self.fps
        self._last_start_s = beat if now_s < beat + 1 / self.fps else now_s

    def sent(self, update: int, size: int, now_s: float) -> None:
        """It was handed to the transport whole, `size` bytes."""
        self._flights.append(_Flight(update, size, now_s))
        self.in_flight_bytes += size

    def acknowledged(self, update: int, now_s: float) -> None:
        """The device shows everything up to `update`."""
        freed = 0
        newest: _Flight | None = None
        while self._flights and self._flights[0].update <= update:
            newest = self._flights.popleft()
            freed += newest.size
        if newest is None:
            return
        self.in_flight_bytes -= freed
        taken_s = max(now_s - newest.sent_s, 1e-6)
        self.round_trip_s = taken_s if self.round_trip_s is None else min(self.round_trip_s, taken_s)
        self.bytes_per_s = freed / taken_s
