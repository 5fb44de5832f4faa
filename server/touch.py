"""From fingers on a panel to what a mouse would do: an X server without a touch device has XTEST's pointer alone.

Pure: time is passed in, positions are pixels of the panel. A finger does nothing but show its place until it is
clear what it is for, since a press cannot be taken back:

    no finger ── one down ──► one ── moves ──► drag, the left button held
                              ├── lifts ──► left click
                              ├── stays ──► right click
                              └── another down ──► several ── both move alike ──► pan: the wheel
                                                   ├── apart or together ──► pinch: zoom
                                                   └── all lift soon ──► right (two) or middle (three) click

Whatever came of it, fingers that remain do nothing until all are lifted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from tilewire.protocol import Point
from tilewire.protocol.messages import Finger

DENSITY: Final = 120
"""Dots per inch of a panel that does not say: between a 7 inch panel of 800x480 (133) and a desktop's 96."""
DENSITIES: Final = (60, 640)
"""No panel for fingers is coarser or finer; with what a wrong density says, all would be a drag, or nothing."""
SLOP_MM: Final = 2.0
"""A finger that moves farther means it. Android's 8 dp are 1.3 mm; small resistive panels tremble more."""
LONG_PRESS_S: Final = 0.5
"""Android's long press."""
TAP_S: Final = 0.5
"""From the first finger's touch to the last one's lift, where several tap."""
DOUBLE_TAP_S: Final = 0.3
"""Android's, from lift to touch. What programs take for a double click is slower: 0.4 s in GTK and Qt."""
DOUBLE_TAP_MM: Final = 3.0
"""A finger hits about the same place twice, while programs ask for the same 5 pixels. Toolbar buttons are wider."""
PINCH_MM: Final = 3.0
"""Of each finger, towards the other or away. More than SLOP_MM: where a panel reports the fingers of a pan one after
the other, the first looks like a pinch."""
PINCH_SHARE: Final = 0.7
"""Of the way of the fingers' middle: so much they part or meet in a pinch. Where one finger stays and the other moves
within 45 degrees of the line between them it is cos 45 or more; where both move alike it is 0."""
ZOOM_FACTOR: Final = 1.2
"""Between the fingers' distances of two notches: the steps of browsers' zoom are 1.1 to 1.25."""
MIN_SPREAD_MM: Final = 5.0
"""Fingertips are no nearer, but panels may say so, and zoom goes by ratios."""

LEFT, MIDDLE, RIGHT = 1, 2, 3


@dataclass(frozen=True, slots=True)
class MoveTo:
    """The pointer goes to a pixel of the panel."""

    point: Point


@dataclass(frozen=True, slots=True)
class Press:
    """A button goes down where the pointer is."""

    button: int


@dataclass(frozen=True, slots=True)
class Release:
    """A button that was pressed goes up."""

    button: int


@dataclass(frozen=True, slots=True)
class Scroll:
    """What is under the pointer is to move with the fingers: pixels of the panel, right and down; halves occur."""

    dx: float
    dy: float


@dataclass(frozen=True, slots=True)
class Zoom:
    """What is under the pointer is to grow by so many notches; negative: to shrink."""

    notches: int


Action = MoveTo | Press | Release | Scroll | Zoom


class _Phase(Enum):
    UP = auto()
    ONE = auto()
    DRAG = auto()
    SEVERAL = auto()
    PAN = auto()
    PINCH = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class _Tap:
    """Where the last tap clicked, and until when another belongs to it."""

    place: Point
    until_s: float


class Gestures:
    """The fingers of one panel.

    Of all buttons only the left one is ever held between two calls. What fingers did comes before what is due: where
    the server was late, a lift that waited meanwhile makes a tap, not a long press.
    """

    def __init__(self, density: int | None) -> None:
        """`density` in dots per inch, None where the device does not say."""
        low, high = DENSITIES
        self._px_per_mm = min(max(density or DENSITY, low), high) / 25.4
        self._phase = _Phase.UP
        self._fingers: dict[int, Point] = {}
        self._start: dict[int, Point] = {}
        """Where the gesture's fingers were when the last of them came."""
        self._place = Point(0, 0)
        """Of the click, if it is one."""
        self._began_s = 0.0
        self._moved = False
        self._zoomed = 0
        self._tap: _Tap | None = None

    @property
    def deadline_s(self) -> float | None:
        """When `tick` is to be called, or None. After `touch` and `tick` it is not in the past."""
        if self._phase is _Phase.ONE:
            return self._began_s + LONG_PRESS_S
        return self._tap.until_s if self._tap is not None else None

    @property
    def settled(self) -> bool:
        """Whether no finger is down, and none is expected back for a double tap."""
        return self._phase is _Phase.UP and self._tap is None

    def touch(self, fingers: Iterable[Finger], now_s: float) -> list[Action]:
        """These fingers are on the panel now."""
        actions: list[Action] = []
        before, now = self._fingers, {finger.finger: finger.position for finger in fingers}
        self._fingers = now
        if self._phase is not _Phase.UP and before.keys().isdisjoint(now):
            # A finger that came down meanwhile begins anew.
            actions += self._lift(now_s)
        match self._phase:
            case _Phase.UP if now:
                actions += self._begin(now_s)
            case _Phase.ONE:
                actions += self._one()
            case _Phase.DRAG:
                actions += self._drag(before)
            case _Phase.SEVERAL:
                actions += self._several(before)
            case _Phase.PAN | _Phase.PINCH if not self._start.keys() <= now.keys():
                self._phase = _Phase.OVER
            case _Phase.PAN:
                actions += self._pan([before[finger] for finger in self._start])
            case _Phase.PINCH:
                actions += self._pinch()
            case _:
                pass
        return actions + self.tick(now_s)

    def tick(self, now_s: float) -> list[Action]:
        """Time has passed."""
        due = self.deadline_s
        if due is None or now_s < due:
            return []
        if self._phase is _Phase.ONE:
            self._phase = _Phase.OVER
            # Released at once: GTK takes a menu down again when the button that opened it goes up after 0.5 s.
            return self._click(next(iter(self._start.values())), RIGHT)
        self._tap = None
        return []

    def release(self) -> list[Action]:
        """Let go of what is held; fingers that are down do nothing until all are lifted."""
        held = self._phase is _Phase.DRAG
        self._phase = _Phase.OVER if self._fingers else _Phase.UP
        self._tap = None
        return [Release(LEFT)] if held else []

    # What fingers do.

    def _begin(self, now_s: float) -> list[Action]:
        tap, self._tap = self._tap, None
        self._start = dict(self._fingers)
        self._began_s = now_s
        self._moved = False
        self._phase = _Phase.ONE
        if len(self._start) > 1:
            return self._gather()
        (self._place,) = self._start.values()
        if tap is not None and now_s < tap.until_s and _distance(tap.place, self._place) <= self._px(DOUBLE_TAP_MM):
            self._place = tap.place
        return [MoveTo(self._place)]

    def _lift(self, now_s: float) -> list[Action]:
        """All that were down are up."""
        phase, self._phase = self._phase, _Phase.UP
        if phase is _Phase.DRAG:
            return [Release(LEFT)]
        if phase is _Phase.ONE:
            self._tap = _Tap(self._place, now_s + DOUBLE_TAP_S)
            return self._click(self._place, LEFT)
        if phase is _Phase.SEVERAL and not self._moved and now_s - self._began_s <= TAP_S:
            return self._click(_middle(self._start.values()), RIGHT if len(self._start) == 2 else MIDDLE)
        return []

    def _one(self) -> list[Action]:
        if len(self._fingers) > 1:
            return self._gather()
        if not self._strayed():
            return []
        self._phase = _Phase.DRAG
        (start,), (now,) = self._start.values(), self._fingers.values()
        return [MoveTo(start), Press(LEFT), MoveTo(now)]

    def _drag(self, before: dict[int, Point]) -> list[Action]:
        (finger,) = self._start
        if finger not in self._fingers:
            self._phase = _Phase.OVER
            return [Release(LEFT)]
        now = self._fingers[finger]
        return [MoveTo(now)] if now != before[finger] else []

    def _gather(self) -> list[Action]:
        """There are more fingers than before: the pointer goes between them."""
        self._start = dict(self._fingers)
        self._phase = _Phase.SEVERAL if len(self._start) <= 3 else _Phase.OVER
        return [MoveTo(_middle(self._start.values()))]

    def _several(self, before: dict[int, Point]) -> list[Action]:
        if not self._fingers.keys() <= before.keys():
            if self._start.keys() <= before.keys() & self._fingers.keys():
                return self._gather()
            # One came after another had been lifted: they drum on the panel.
            self._phase = _Phase.OVER
            return []
        lifting = len(self._fingers) < len(self._start)
        self._moved = self._moved or self._strayed()
        if self._moved and (lifting or len(self._start) > 2):
            self._phase = _Phase.OVER
        elif self._moved:
            return self._decide()
        return []

    def _decide(self) -> list[Action]:
        """Whether two fingers pan or pinch. They may do neither, as yet or at all: turn about each other, say."""
        start, now = list(self._start.values()), [self._fingers[finger] for finger in self._start]
        way = math.hypot(*_way(start, now))
        parted = abs(_distance(*now) - _distance(*start)) / 2
        if parted < PINCH_SHARE * way:
            if way <= self._px(SLOP_MM):
                return []
            self._phase = _Phase.PAN
            return [MoveTo(_middle(start)), *self._pan(start)]
        if parted <= self._px(PINCH_MM):
            return []
        self._phase = _Phase.PINCH
        self._zoomed = 0
        return [MoveTo(_middle(start)), *self._pinch()]

    def _pan(self, before: Sequence[Point]) -> list[Action]:
        dx, dy = _way(before, [self._fingers[finger] for finger in self._start])
        return [Scroll(dx, dy)] if dx or dy else []

    def _pinch(self) -> list[Action]:
        ratio = self._spread([self._fingers[finger] for finger in self._start]) / self._spread(self._start.values())
        # Towards zero: it takes a whole notch to turn back.
        notches = int(math.log(ratio, ZOOM_FACTOR) - self._zoomed)
        self._zoomed += notches
        return [Zoom(notches)] if notches else []

    # What they are measured with.

    def _px(self, mm: float) -> float:
        return mm * self._px_per_mm

    def _strayed(self) -> bool:
        slop = self._px(SLOP_MM)
        return any(_distance(self._start[finger], now) > slop for finger, now in self._fingers.items())

    def _spread(self, two: Iterable[Point]) -> float:
        return max(_distance(*two), self._px(MIN_SPREAD_MM))

    @staticmethod
    def _click(place: Point, button: int) -> list[Action]:
        # The pointer was there already, unless something else has moved it.
        return [MoveTo(place), Press(button), Release(button)]


def _distance(a: Point, b: Point) -> float:
    return math.hypot(a.x - b.x, a.y - b.y)


def _middle(points: Iterable[Point]) -> Point:
    places = list(points)
    return Point(sum(place.x for place in places) // len(places), sum(place.y for place in places) // len(places))


def _way(before: Sequence[Point], now: Sequence[Point]) -> tuple[float, float]:
    """Of the middle of two fingers."""
    return (
        sum(b.x - a.x for a, b in zip(before, now)) / len(now),
        sum(b.y - a.y for a, b in zip(before, now)) / len(now),
    )
