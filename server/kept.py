"""What is kept of viewers whose connection ended, for the case that they come back. SPEC.md, section 4."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from tilewire.protocol import Resumed
from tilewire.protocol import messages as m
from tilewire.protocol.constants import RESUME_S
from tilewire.protocol.rules import Rules
from tilewire.server.encoder import Encoder
from tilewire.server.pointing import Pointing
from tilewire.server.view import View

MAX_KEPT: Final = 64
"""Viewers of one session: as many as may look at once."""
MAX_KEPT_BYTES: Final = 256 << 20
"""Of their pictures: some 40 of a 1024x600 panel, or 5 of the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A viewer without a connection: what its device shows, and how it looked at the session."""

    hello: m.Hello
    proven: bool
    """Whether the device had shown its key: a stranger's place is given up first."""
    encoder: Encoder
    """Its journal says what was sent after the last acknowledgement."""
    sent: int
    """The last update that went out, perhaps not whole."""
    rules: Rules
    """Of the connection that ended."""
    view: View
    settings: m.Setting
    pointing: Pointing

    def verdict(self, hello: m.Hello) -> Resumed:
        """Whether the device that says `hello` goes on from here: RESUMED or CHANGED."""
        assert hello.resume is not None
        panel = m.Size(width=self.encoder.panel.width, height=self.encoder.panel.height)
        same = (
            hello.boot_id == self.hello.boot_id
            and hello.panel == panel
            and hello.pixel_format == self.hello.pixel_format
            and self.encoder.journal.acknowledged <= hello.resume.update <= self.sent
        )
        return Resumed.RESUMED if same else Resumed.CHANGED


class Shelf:
    """Kept viewers by token: for a while, and no more than memory allows; the oldest go first.

    Times are seconds of any steady clock.
    """

    def __init__(self, lifetime_s: float = RESUME_S) -> None:
        self.lifetime_s = lifetime_s
        self._kept: OrderedDict[bytes, tuple[float, Kept]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, token: bytes, kept: Kept, now_s: float) -> None:
        """Keep a viewer for whoever comes with this token."""
        self._kept[token] = (now_s + self.lifetime_s, kept)
        self._bytes += kept.encoder.memory_bytes
        while len(self._kept) > MAX_KEPT or self._bytes > MAX_KEPT_BYTES:
            strangers = (token for token, (_, each) in self._kept.items() if not each.proven)
            self._drop(next(strangers, next(iter(self._kept))))

    def take(self, token: bytes, device_id: str, now_s: float) -> Kept | None:
        """The viewer of this token, once; None where it is not there, too old, or another device's, which keeps it."""
        self.expire(now_s)
        _, kept = self._kept.get(token, (0.0, None))
        if kept is None or kept.hello.device_id != device_id:
            return None
        self._drop(token)
        return kept

    def expire(self, now_s: float) -> float:
        """Let go of those whose time is over; returns when the next one's is, infinite where there is none."""
        while self._kept:
            token, (end_s, _) = next(iter(self._kept.items()))
            if end_s > now_s:
                return end_s
            self._drop(token)
        return float("inf")

    def clear(self) -> None:
        """Let go of all."""
        self._kept.clear()
        self._bytes = 0

    def _drop(self, token: bytes) -> None:
        _, kept = self._kept.pop(token)
        self._bytes -= kept.encoder.memory_bytes
