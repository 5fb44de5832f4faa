"""Fingers on a panel as DevTools touch events. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

MAX_FINGERS: Final = 16
"""As many as blink tracks at once (WebTouchEvent::kTouchesLengthCap)."""


class Spot(NamedTuple):
    """A place on the screen, in its pixels."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class TouchEvent:
    """One call of Input.dispatchTouchEvent; `points` are CSS pixels by finger."""

    type: str
    points: tuple[tuple[int, Spot], ...] = ()

    def params(self) -> dict[str, Any]:
        """Of the call."""
        return {"type": self.type, "touchPoints": [{"id": id_, "x": at.x, "y": at.y} for id_, at in self.points]}


class Fingers:
    """What the browser believes is down, and the event that makes it believe something else.

    The protocol's events carry all fingers that are down: those that came or went are found by comparison, but it
    takes a start only where none was down, and an end only where none is left.
    """

    def __init__(self) -> None:
        self.down: frozenset[int] = frozenset()

    def step(self, wanted: Mapping[int, Spot], css_per_px: float) -> TouchEvent | None:
        """The event after which `wanted` fingers are down; None where nothing changes.

        `css_per_px`: the page's CSS pixels (at the viewport's present scale) in one of the screen.
        """
        ids = sorted(wanted)[:MAX_FINGERS]
        before, self.down = self.down, frozenset(ids)
        if not ids:
            return TouchEvent("touchEnd") if before else None
        points = tuple((id_, Spot(wanted[id_].x * css_per_px, wanted[id_].y * css_per_px)) for id_ in ids)
        return TouchEvent("touchMove" if before else "touchStart", points)

    def cancel(self) -> TouchEvent | None:
        """The event that takes all fingers away without a click; None where none is down."""
        before, self.down = self.down, frozenset()
        return TouchEvent("touchCancel") if before else None
