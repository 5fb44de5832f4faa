"""What a link is asked to be."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

MTU: Final = 1500
"""Of both ends; a frame has 14 bytes more."""
LOWEST_KBIT_S: Final = 8
HIGHEST_KBIT_S: Final = 1_000_000
"""Without a bound, the relay has been seen to carry 1.4 to 1.7 Gbit/s on two busy cores."""
LONGEST_RTT_MS: Final = 10_000
SMALLEST_QUEUE_KIB: Final = 2
"""A frame of 1514 bytes fits."""
LARGEST_QUEUE_KIB: Final = 32_768
"""Half of what a lane holds at most."""
SEEDS: Final = 1 << 63
LOSS_ALL: Final = 1 << 32

SETTING: Final = struct.Struct("=QqQQ")
"""`struct lane_setting`."""


class ShaperError(Exception):
    """There is no link, or no longer; or it cannot be as asked. One plain sentence."""


def _within(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ShaperError(f"{name} is {value:g}, it must be from {low:g} to {high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Both directions are alike and independent of each other. Raises ShaperError for what no link can be."""

    kbit_s: float | None = None
    """1000 bits a second of Ethernet frames (TCP fills 95.6% of them with its payload); None: no bound."""
    rtt_ms: float = 0.0
    """Half of it in each direction, besides the time to transmit and to wait."""
    loss_percent: float = 0.0
    """Of the frames of each direction, each by a chance of its own, after it took its time on the link."""
    queue_kib: float = 32.0
    """Of 1024 bytes of frames that wait for the transmitter, in each direction; what finds no room is dropped."""
    seed: int = 0
    """The same frames are lost again: the nth of a direction."""

    def __post_init__(self) -> None:
        if self.kbit_s is not None:
            _within("the rate in kbit/s", self.kbit_s, LOWEST_KBIT_S, HIGHEST_KBIT_S)
        _within("the round-trip time in ms", self.rtt_ms, 0, LONGEST_RTT_MS)
        _within("the loss in percent", self.loss_percent, 0, 100)
        _within("the queue in KiB", self.queue_kib, SMALLEST_QUEUE_KIB, LARGEST_QUEUE_KIB)
        if not 0 <= self.seed < SEEDS:
            raise ShaperError(f"the seed is {self.seed}, it must be from 0 to {SEEDS - 1}")

    def setting(self) -> bytes:
        """As the relay reads it."""
        return SETTING.pack(
            0 if self.kbit_s is None else round(self.kbit_s * 1000),
            round(self.rtt_ms * 1e6 / 2),
            round(self.loss_percent / 100 * LOSS_ALL),
            round(self.queue_kib * 1024),
        )

    def __str__(self) -> str:
        rate = "no bound" if self.kbit_s is None else f"{self.kbit_s:g} kbit/s"
        return f"{rate}, {self.rtt_ms:g} ms, {self.loss_percent:g}% loss, queue {self.queue_kib:g} KiB"
