"""What fingers mean: tables of (time, fingers) and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import Point
from tilewire.protocol.messages import Finger
from tilewire.server.touch import (
    DENSITY,
    DOUBLE_TAP_MM,
    DOUBLE_TAP_S,
    LEFT,
    LONG_PRESS_S,
    MIDDLE,
    MIN_SPREAD_MM,
    PINCH_MM,
    RIGHT,
    SLOP_MM,
    TAP_S,
    ZOOM_FACTOR,
    Action,
    Gestures,
    MoveTo,
    Press,
    Release,
    Scroll,
    Zoom,
)

# Ten pixels a millimetre.
PANEL = 254
SLOP = int(SLOP_MM * 10)
NEAR = int(DOUBLE_TAP_MM * 10)
PINCHED = int(PINCH_MM * 10)

Fingers = Mapping[int, tuple[int, int]]
Table = Sequence[tuple[float, Fingers | None, list[Action]]]
"""(time, the fingers or None where only time has passed, what comes of it)"""


def fingers(places: Fingers) -> list[Finger]:
    return [Finger(finger=number, position=Point(*place)) for number, place in places.items()]


def at(x: int, y: int) -> MoveTo:
    return MoveTo(Point(x, y))


def click(button: int) -> list[Action]:
    return [Press(button), Release(button)]


A, B, C = (100, 100), (300, 100), (200, 400)
DOWN: tuple[float, Fingers, list[Action]] = (0.0, {1: A}, [at(*A)])
BOTH: tuple[float, Fingers, list[Action]] = (0.1, {1: A, 2: B}, [at(200, 100)])
THREE: tuple[float, Fingers, list[Action]] = (0.2, {1: A, 2: B, 3: C}, [at(200, 200)])
DRAG: tuple[float, Fingers, list[Action]] = (0.2, {1: (150, 100)}, [at(*A), Press(LEFT), at(150, 100)])
PAN: tuple[float, Fingers, list[Action]] = (0.2, {1: (100, 130), 2: (300, 130)}, [at(200, 100), Scroll(0, 30)])
TAP: tuple[float, Fingers, list[Action]] = (0.1, {}, [at(*A), *click(LEFT)])

GESTURES: dict[str, Table] = {
    "a click": [DOWN, TAP],
    "a click by a finger that trembles": [
        DOWN,
        (0.1, {1: (100 + SLOP, 100)}, []),
        (0.2, {1: (100, 100 - SLOP)}, []),
        (0.3, {}, [at(*A), *click(LEFT)]),
    ],
    "a double click": [
        DOWN,
        TAP,
        (0.2, {1: (100 + NEAR, 100)}, [at(*A)]),
        (0.3, {}, [at(*A), *click(LEFT)]),
    ],
    "a triple click": [
        DOWN,
        TAP,
        (0.2, {1: (100 + NEAR, 100)}, [at(*A)]),
        (0.3, {}, [at(*A), *click(LEFT)]),
        (0.4, {1: (100, 100 - NEAR)}, [at(*A)]),
        (0.5, {}, [at(*A), *click(LEFT)]),
    ],
    "two clicks, one too far": [
        DOWN,
        TAP,
        (0.2, {1: (101 + NEAR, 100)}, [at(101 + NEAR, 100)]),
        (0.3, {}, [at(101 + NEAR, 100), *click(LEFT)]),
    ],
    "two clicks, one too late": [
        DOWN,
        TAP,
        (0.1 + DOUBLE_TAP_S, {1: (103, 100)}, [at(103, 100)]),
        (0.5, {}, [at(103, 100), *click(LEFT)]),
    ],
    "a drag after a click begins where the finger is": [
        DOWN,
        TAP,
        (0.2, {1: (110, 100)}, [at(*A)]),
        (0.3, {1: (150, 100)}, [at(110, 100), Press(LEFT), at(150, 100)]),
        (0.4, {}, [Release(LEFT)]),
    ],
    "after a drag no click is drawn to another": [
        DOWN,
        DRAG,
        (0.3, {}, [Release(LEFT)]),
        (0.4, {1: (101, 101)}, [at(101, 101)]),
    ],
    "a drag": [
        DOWN,
        (0.1, {1: (100 + SLOP, 100)}, []),
        (0.2, {1: (101 + SLOP, 100)}, [at(*A), Press(LEFT), at(101 + SLOP, 100)]),
        (0.3, {1: (150, 120)}, [at(150, 120)]),
        (9.0, {1: (150, 120)}, []),
        (9.1, {1: A}, [at(*A)]),
        (9.2, {}, [Release(LEFT)]),
        (9.3, {}, []),
    ],
    "a drag, and more fingers": [
        DOWN,
        DRAG,
        (0.3, {2: B, 1: (160, 100)}, [at(160, 100)]),
        (0.4, {3: C, 1: (160, 100), 2: A}, []),
        (0.5, {2: B, 1: (170, 100)}, [at(170, 100)]),
        (0.6, {2: B}, [Release(LEFT)]),
        (0.7, {2: C}, []),
        (0.8, {2: C, 1: A}, []),
        (0.9, {}, []),
        (1.0, {1: A}, [at(*A)]),
    ],
    "a long press": [
        DOWN,
        (0.2, {1: (100 + SLOP, 100)}, []),
        (LONG_PRESS_S - 0.01, None, []),
        (LONG_PRESS_S, None, [at(*A), *click(RIGHT)]),
        (0.6, {1: (200, 200)}, []),
        (9.0, None, []),
        (9.1, {}, []),
    ],
    "a long press, told by messages alone": [
        DOWN,
        (LONG_PRESS_S, {1: A}, [at(*A), *click(RIGHT)]),
        (0.6, {}, []),
    ],
    "a lift that waited": [DOWN, (3.0, {}, [at(*A), *click(LEFT)])],
    "a motion that waited": [DOWN, (3.0, {1: B}, [at(*A), Press(LEFT), at(*B)])],
    "another finger after a long press": [
        DOWN,
        (0.5, None, [at(*A), *click(RIGHT)]),
        (0.6, {1: A, 2: B}, []),
        (0.7, {1: (100, 400), 2: (300, 400)}, []),
        (0.8, {2: (300, 400)}, []),
        (0.9, {}, []),
    ],
    "a finger lifted and another put down, unseen: two clicks": [
        DOWN,
        (0.1, {2: B}, [at(*A), *click(LEFT), at(*B)]),
        (0.2, {}, [at(*B), *click(LEFT)]),
    ],
    "a finger lifted and another put down, unseen: the drag ends": [
        DOWN,
        DRAG,
        (0.3, {7: B}, [Release(LEFT), at(*B)]),
        (0.4, {7: (300, 150)}, [at(*B), Press(LEFT), at(300, 150)]),
        (0.5, {}, [Release(LEFT)]),
    ],
    "time stands still": [
        DOWN,
        (0.0, {}, [at(*A), *click(LEFT)]),
        (0.0, {1: A}, [at(*A)]),
        (0.0, {1: A, 2: B}, [at(200, 100)]),
        (0.0, {}, [at(200, 100), *click(RIGHT)]),
    ],
    "time goes back": [(5.0, {1: A}, [at(*A)]), (4.0, {1: A}, []), (3.0, {}, [at(*A), *click(LEFT)])],
    "two fingers tap": [DOWN, BOTH, (0.1 + TAP_S - 0.1, {}, [at(200, 100), *click(RIGHT)])],
    "two fingers tap, come and gone one by one": [
        DOWN,
        BOTH,
        (0.2, {2: (300, 100 + SLOP)}, []),
        (0.3, {}, [at(200, 100), *click(RIGHT)]),
        (0.4, {1: (201, 100)}, [at(201, 100)]),
    ],
    "two fingers tap too slowly": [DOWN, BOTH, (TAP_S + 0.1, {}, [])],
    "two fingers rest": [DOWN, BOTH, (9.0, None, []), (10.0, {1: A}, []), (11.0, {1: C}, []), (12.0, {}, [])],
    "three fingers tap": [(0.0, {1: A, 2: B, 3: C}, [at(200, 200)]), (0.3, {}, [at(200, 200), *click(MIDDLE)])],
    "three fingers tap, come and gone one by one": [
        DOWN,
        BOTH,
        THREE,
        (0.3, {1: A, 3: C}, []),
        (0.4, {1: A}, []),
        (0.45, {}, [at(200, 200), *click(MIDDLE)]),
    ],
    "three fingers move": [
        DOWN,
        BOTH,
        THREE,
        (0.3, {1: (100, 150), 2: (300, 150), 3: (200, 450)}, []),
        (0.4, {1: (100, 350), 2: (300, 350)}, []),
        (0.45, {}, []),
    ],
    "four fingers, even ten": [
        (0.0, {number: (number * 40, 100) for number in range(4)}, [at(60, 100)]),
        (0.1, {number: (number * 40, 100) for number in range(10)}, []),
        (0.2, {number: (number * 40, 300) for number in range(10)}, []),
        (0.3, {9: A}, []),
        (0.4, {}, []),
    ],
    "fingers drum": [DOWN, BOTH, (0.2, {2: B}, []), (0.3, {2: B, 1: A}, []), (0.4, {}, [])],
    "one of two fingers is another": [DOWN, BOTH, (0.2, {2: B, 3: A}, []), (0.3, {}, [])],
    "one of two fingers moves after the other was lifted": [
        DOWN,
        BOTH,
        (0.2, {1: A}, []),
        (0.3, {1: C}, []),
        (0.4, {}, []),
    ],
    "one finger moves as another comes down": [
        DOWN,
        (0.1, {1: (100, 150), 2: (300, 150)}, [at(200, 150)]),
        (0.2, {1: (100, 100), 2: (300, 100)}, [at(200, 150), Scroll(0, -50)]),
    ],
    "a pan": [
        DOWN,
        BOTH,
        (0.2, {1: (100, 100 - SLOP), 2: (300, 100 - SLOP)}, []),
        (0.3, {1: (100, 99 - SLOP), 2: (300, 99 - SLOP)}, [at(200, 100), Scroll(0, -1 - SLOP)]),
        (0.4, {2: (300, 60), 1: (101, 60)}, [Scroll(0.5, 60 - (99 - SLOP))]),
        (0.5, {2: (300, 60), 1: (101, 60)}, []),
        (9.0, {1: (101, 80), 2: (320, 80)}, [Scroll(10, 20)]),
        (9.1, {}, []),
    ],
    "a pan whose fingers part later is a pan": [DOWN, BOTH, PAN, (0.3, {1: (0, 130), 2: (400, 130)}, [])],
    "a pan whose fingers are reported one after the other": [
        (0.0, {1: (100, 100), 2: (100, 300)}, [at(100, 200)]),
        (0.1, {1: (100, 150), 2: (100, 300)}, []),
        (0.2, {1: (100, 150), 2: (100, 350)}, [at(100, 200), Scroll(0, 50)]),
    ],
    "a pan that one finger does alone": [
        DOWN,
        BOTH,
        (0.2, {1: A, 2: (300, 160)}, [at(200, 100), Scroll(0, 30)]),
        (0.3, {1: A, 2: (300, 180)}, [Scroll(0, 10)]),
    ],
    "a pan that loses a finger": [
        DOWN,
        BOTH,
        PAN,
        (0.3, {1: (100, 200)}, []),
        (0.4, {1: (300, 200)}, []),
        (9.0, {1: (300, 200), 2: B}, []),
        (9.1, {2: B}, []),
        (9.2, {}, []),
        (9.3, {2: B}, [at(*B)]),
    ],
    "a pan that gets a finger": [
        DOWN,
        BOTH,
        PAN,
        (0.3, {3: C, 1: (100, 140), 2: (300, 140)}, [Scroll(0, 10)]),
        (0.4, {3: A, 1: (100, 140), 2: (300, 140)}, []),
        (0.5, {1: (100, 150), 2: (300, 150)}, [Scroll(0, 10)]),
        (0.6, {}, []),
    ],
    "a pan whose fingers are both others": [
        DOWN,
        BOTH,
        PAN,
        (0.3, {3: A, 4: B}, [at(200, 100)]),
        (0.4, {}, [at(200, 100), *click(RIGHT)]),
    ],
    "a pinch opens": [
        (0.0, {1: (200, 200), 2: (300, 200)}, [at(250, 200)]),
        (0.1, {1: (200 - PINCHED, 200), 2: (300 + PINCHED, 200)}, []),
        (0.2, {1: (160, 200), 2: (340, 200)}, [at(250, 200), Zoom(3)]),
        (0.3, {1: (160, 200), 2: (340, 200)}, []),
        (0.4, {1: (150, 200), 2: (360, 200)}, [Zoom(1)]),
        (0.5, {1: (155, 200), 2: (355, 200)}, []),
        (0.6, {1: (199, 200), 2: (301, 200)}, [Zoom(-3)]),
        (0.7, {}, []),
    ],
    "a pinch closes, aslant, a finger at rest": [
        (0.0, {1: (100, 100), 2: (500, 400)}, [at(300, 250)]),
        (0.1, {1: (100, 100), 2: (300, 250)}, [at(300, 250), Zoom(-3)]),
        (0.2, {1: (100, 100)}, []),
        (0.3, {1: (500, 500)}, []),
        (0.4, {}, []),
    ],
    "a pinch whose fingers then move alike is a pinch": [
        (0.0, {1: (200, 200), 2: (300, 200)}, [at(250, 200)]),
        (0.1, {1: (160, 200), 2: (340, 200)}, [at(250, 200), Zoom(3)]),
        (0.2, {1: (160, 600), 2: (340, 600)}, []),
    ],
    "a pinch to one point": [
        (0.0, {1: (200, 200), 2: (300, 200)}, [at(250, 200)]),
        (0.1, {1: (250, 200), 2: (250, 200)}, [at(250, 200), Zoom(-3)]),
        (0.2, {1: (200, 200), 2: (300, 200)}, [Zoom(3)]),
    ],
    "fingers turn about each other": [
        (0.0, {1: (200, 200), 2: (300, 200)}, [at(250, 200)]),
        (0.1, {1: (250, 150), 2: (250, 250)}, []),
        (0.2, {1: (300, 200), 2: (200, 200)}, []),
        (0.3, {}, []),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GESTURES)
def test_gesture(name: str) -> None:
    gestures = Gestures(PANEL)
    for now_s, places, expected in GESTURES[name]:
        came = gestures.tick(now_s) if places is None else gestures.touch(fingers(places), now_s)
        assert (now_s, came) == (now_s, expected)
        assert gestures.deadline_s is None or gestures.deadline_s > now_s


def test_when_time_matters() -> None:
    gestures = Gestures(PANEL)
    assert (gestures.deadline_s, gestures.settled) == (None, True)
    gestures.touch(fingers({1: A}), 7.0)
    assert (gestures.deadline_s, gestures.settled) == (7.0 + LONG_PRESS_S, False)
    gestures.touch([], 7.1)
    assert (gestures.deadline_s, gestures.settled) == (7.1 + DOUBLE_TAP_S, False)
    assert gestures.tick(7.1 + DOUBLE_TAP_S) == []
    assert (gestures.deadline_s, gestures.settled) == (None, True)
    gestures.touch(fingers({1: A}), 8.0)
    gestures.touch(fingers({1: B}), 8.1)
    assert (gestures.deadline_s, gestures.settled) == (None, False)
    gestures.touch([], 8.2)
    assert (gestures.deadline_s, gestures.settled) == (None, True)


@pytest.mark.parametrize(
    ("density", "px_per_mm"),
    [(None, DENSITY / 25.4), (254, 10), (1, 60 / 25.4), (65535, 640 / 25.4)],
)
def test_the_slop_is_a_distance_on_the_panel(density: int | None, px_per_mm: float) -> None:
    slop = int(SLOP_MM * px_per_mm)
    gestures = Gestures(density)
    gestures.touch(fingers({1: A}), 0)
    assert gestures.touch(fingers({1: (100 + slop, 100)}), 0) == []
    assert gestures.touch(fingers({1: (101 + slop, 100)}), 0) != []


@pytest.mark.parametrize(
    ("table", "expected"),
    [([], []), ([DOWN], []), ([DOWN, DRAG], [Release(LEFT)]), ([DOWN, BOTH], []), ([DOWN, BOTH, PAN], [])],
)
def test_letting_go(table: Table, expected: list[Action]) -> None:
    gestures = Gestures(PANEL)
    for now_s, places, _ in table:
        gestures.touch(fingers(places or {}), now_s)
    assert gestures.release() == expected
    assert gestures.release() == []
    assert gestures.deadline_s is None
    if table:
        assert gestures.touch(fingers({1: C}), 0.3) == []
        assert gestures.tick(9.0) == []
        assert gestures.touch([], 9.1) == []
    assert gestures.touch(fingers({1: C}), 9.2) == [at(*C)]


PLACE = st.tuples(st.integers(0, 400), st.integers(0, 400)) | st.tuples(st.integers(0, 4095), st.integers(0, 4095))
WAY = st.integers(-60, 60)
PASSED_S = st.sampled_from([0.0, 0.01, 0.1, 0.3, LONG_PRESS_S, 1.0, -0.1]) | st.floats(-0.1, 1.0)
CHANGES = st.one_of(
    st.none(),
    # All move alike.
    st.tuples(WAY, WAY),
    # Some come or move; no place: some go. Few ids, so that they are met again.
    st.dictionaries(st.integers(0, 2), PLACE, min_size=1, max_size=3),
    st.dictionaries(st.integers(0, 2), st.none() | PLACE, min_size=1, max_size=3),
    st.dictionaries(st.integers(0, 255), st.none() | PLACE, max_size=10),
)
Step = tuple[float, Fingers | None]


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Fingers that come, move and go; in between nothing but time."""
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 5))):
        down = dict(draw(st.dictionaries(st.integers(0, 2), PLACE, min_size=1, max_size=3)))
        steps.append((draw(PASSED_S), down))
        for passed_s, changes in draw(st.lists(st.tuples(PASSED_S, CHANGES), min_size=1, max_size=8)):
            if isinstance(changes, tuple):
                dx, dy = changes
                down = {finger: (abs(x + dx) % 4096, abs(y + dy) % 4096) for finger, (x, y) in down.items()}
            elif changes is not None:
                after = {**down, **changes}
                down = dict([(finger, place) for finger, place in after.items() if place is not None][-10:])
            steps.append((passed_s, None if changes is None else down))
        if draw(st.booleans()):
            steps.append((draw(PASSED_S), {}))
    return steps


def played(gestures: Gestures, steps: Sequence[Step]) -> list[list[Action]]:
    now_s = 0.0
    came = []
    for passed_s, places in steps:
        now_s += passed_s
        came.append(gestures.tick(now_s) if places is None else gestures.touch(fingers(places), now_s))
        assert gestures.deadline_s is None or gestures.deadline_s > now_s
    return came


@given(histories(), st.none() | st.integers(1, 65535))
def test_whatever_fingers_do_nothing_stays_held(steps: list[Step], density: int | None) -> None:
    gestures = Gestures(density)
    held: set[int] = set()
    for actions in [*played(gestures, steps), gestures.release()]:
        for action in actions:
            match action:
                case Press(button):
                    assert not held
                    held.add(button)
                case Release(button):
                    held.remove(button)
                case Scroll() | Zoom():
                    assert not held
                case _:
                    pass
        assert held <= {LEFT}
    assert not held


@given(histories())
def test_what_scrolls_is_the_way_of_the_fingers(steps: list[Step]) -> None:
    actions = [action for came in played(Gestures(PANEL), steps) for action in came]
    way = math.hypot(
        sum(abs(action.dx) for action in actions if isinstance(action, Scroll)),
        sum(abs(action.dy) for action in actions if isinstance(action, Scroll)),
    )
    moved = 0.0
    before: Fingers = {}
    for _, places in steps:
        if places is not None:
            ways = [math.dist(before[finger], places[finger]) for finger in before.keys() & places.keys()]
            moved += sum(ways)
            before = places
    assert way <= moved
    zoomed = sum(action.notches for action in actions if isinstance(action, Zoom))
    pinches = sum(isinstance(action, Zoom) for action in actions)
    assert abs(zoomed) <= pinches * math.log(4096 * math.sqrt(2) / (MIN_SPREAD_MM * 10), ZOOM_FACTOR)


@given(histories(), st.integers(0, 39))
def test_the_same_fingers_again_change_nothing(steps: list[Step], where: int) -> None:
    again = [*steps]
    last = next((places for _, places in reversed(steps[:where]) if places is not None), {})
    again.insert(where, (0.0, {finger: last[finger] for finger in reversed([*last])}))
    expected = [action for came in played(Gestures(PANEL), steps) for action in came]
    assert [action for came in played(Gestures(PANEL), again) for action in came] == expected
