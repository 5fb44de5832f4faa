"""What a link has carried and dropped so far."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

LANE: Final = struct.Struct("=20Q")
"""`struct lane_counters`: eight tallies, four numbers."""


@dataclass(frozen=True, slots=True)
class Tally:
    """So many frames, with so many bytes in all."""

    frames: int
    bytes: int

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.frames + other.frames, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneCounters:
    """One direction. `offered` is the sum of the seven tallies below it, at every moment. ARP is not counted."""

    offered: Tally
    """Came from the sending end."""
    delivered: Tally
    queue_full: Tally
    """Dropped: they found no room in the queue."""
    lost: Tally
    """Dropped by chance."""
    refused: Tally
    """Arrived, and the receiving end did not take them."""
    overrun: Tally
    """Dropped: the relay holds no more than 64 MiB. A link that is this large is not an honest one."""
    queued: Tally
    """Now."""
    air: Tally
    """Now: being transmitted, or on the way."""
    queue_high_bytes: int
    """The most that waited at once."""
    late_frames: int
    """How many the relay itself handed over more than 1 ms after their time."""
    late_mean_us: float
    late_most_us: float

    @classmethod
    def unpack(cls, data: bytes) -> LaneCounters:
        """From the relay's own."""
        numbers = LANE.unpack(data)
        tallies = [Tally(*numbers[i : i + 2]) for i in range(0, 16, 2)]
        high, late, total_ns, most_ns = numbers[16:]
        arrived = tallies[1].frames + tallies[4].frames
        return cls(
            offered=tallies[0],
            delivered=tallies[1],
            queue_full=tallies[2],
            lost=tallies[3],
            refused=tallies[4],
            overrun=tallies[5],
            queued=tallies[6],
            air=tallies[7],
            queue_high_bytes=high,
            late_frames=late,
            late_mean_us=total_ns / arrived / 1000 if arrived else 0.0,
            late_most_us=most_ns / 1000,
        )


@dataclass(frozen=True, slots=True)
class Counters:
    """Both directions at one moment."""

    up: LaneCounters
    """From the near end, where the device is, to the far one."""
    down: LaneCounters

    @classmethod
    def unpack(cls, data: bytes) -> Counters:
        """From the relay's own."""
        return cls(LaneCounters.unpack(data[: LANE.size]), LaneCounters.unpack(data[LANE.size :]))
