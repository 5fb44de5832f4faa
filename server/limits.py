"""How much one address or one device may ask for: rates, and connections that have not shaken hands yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

MOST_KEYS: Final = 4096
"""Addresses that a rate remembers: an attacker may have more, and the memory is ours."""
MOST_WAITING: Final = 256
"""Connections in the handshake. Each takes a descriptor and some 100 KiB; a good handshake takes milliseconds."""


class Bucket:
    """So many units a second, and a burst; the clock is the caller's."""

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._at_s = burst, now_s

    def _fill(self, now_s: float) -> None:
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s

    def take(self, now_s: float, units: float = 1) -> bool:
        """Whether so much may be had now; if so it is taken."""
        self._fill(now_s)
        if self._left < units:
            return False
        self._left -= units
        return True

    def owe(self, now_s: float, units: float) -> float:
        """Take it in any case; returns for how many seconds to do nothing then."""
        self._fill(now_s)
        self._left -= units
        return max(-self._left / self._per_s, 0.0)

    def is_full(self, now_s: float) -> bool:
        """Whether it is as good as new."""
        self._fill(now_s)
        return self._left >= self._burst


class Rate:
    """A bucket for each key, an address for example."""

    def __init__(self, per_minute: float | None, burst: float | None = None) -> None:
        """None: without limit. `burst`: what a minute gives, where nothing is said."""
        self._per_s = per_minute / 60 if per_minute is not None else None
        self._burst = burst if burst is not None else per_minute or 0.0
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, key: str, now_s: float) -> bool:
        """Whether `key` may once more."""
        if self._per_s is None:
            return True
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            bucket = Bucket(self._per_s, self._burst, now_s)
            if len(self._buckets) >= MOST_KEYS:
                self._forget(now_s)
        self._buckets[key] = bucket
        return bucket.take(now_s)

    def _forget(self, now_s: float) -> None:
        """Whoever has asked for nothing lately; else who asked longest ago."""
        for key in [key for key, bucket in self._buckets.items() if bucket.is_full(now_s)][: MOST_KEYS // 4]:
            del self._buckets[key]
        if len(self._buckets) >= MOST_KEYS:
            self._buckets.popitem(last=False)


@dataclass(eq=False, slots=True)
class Waiting:
    """A connection that has not shaken hands."""

    address: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    evicted: bool = False


class WaitingRoom:
    """Who is in the handshake. Where there is no room, the newcomer is let in, and an older one must go: the oldest of
    its own address where that has its share, else of the address that has most.

    A flood of connections that say nothing so takes the place of its own, and a device that speaks at once gets in,
    from the flood's own address too.
    """

    def __init__(self, most: int = MOST_WAITING, most_of_one: int | None = None) -> None:
        """`most_of_one`: of one address."""
        self._most = most
        self._most_of_one = most_of_one or most
        self._waiting: dict[str, dict[Waiting, None]] = {}
        """By address, in the order in which they came."""
        self._count = 0
        self.evicted = 0

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def enter(self, address: str) -> Iterator[Waiting]:
        """The block is the connection's whole life; `through` says that it has shaken hands. It ends when evicted."""
        one = Waiting(address)
        same = self._waiting.setdefault(address, {})
        same[one] = None
        self._count += 1
        if len(same) > self._most_of_one:
            self._evict(same)
        elif self._count > self._most:
            self._evict(max(self._waiting.values(), key=len))
        try:
            with one.scope:
                yield one
        finally:
            self.through(one)

    def through(self, one: Waiting) -> None:
        """It has shaken hands, or left."""
        same = self._waiting.get(one.address, {})
        if one in same:
            del same[one]
            self._count -= 1
            if not same:
                del self._waiting[one.address]

    def _evict(self, same: dict[Waiting, None]) -> None:
        victim = next(iter(same))
        victim.evicted = True
        victim.scope.cancel()
        self.through(victim)
        self.evicted += 1


class Allowance:
    """So many bytes a second each way, for one connection or several together."""

    def __init__(self, bytes_per_s: float, now_s: float) -> None:
        self.down, self.up = (Bucket(bytes_per_s, max(bytes_per_s, 1.0), now_s) for _ in range(2))


class Meter:
    """Bytes of one connection both ways, and how long it has to wait where there is a limit."""

    def __init__(self, allowance: Allowance | None) -> None:
        self.down = self.up = 0
        self._allowance = allowance

    def sent(self, size: int, now_s: float) -> float:
        """So many went to the device; returns for how many seconds nothing more may go."""
        self.down += size
        return self._allowance.down.owe(now_s, size) if self._allowance is not None else 0.0

    def received(self, size: int, now_s: float) -> float:
        """So many came; returns for how many seconds nothing more is read."""
        self.up += size
        return self._allowance.up.owe(now_s, size) if self._allowance is not None else 0.0
