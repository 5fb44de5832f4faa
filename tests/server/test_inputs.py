"""From a viewer's messages to what the display is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import Message, Point
from tilewire.protocol import messages as m
from tilewire.server.inputs import MAX_NOTCHES, Hand
from tilewire.server.view import View
from tilewire.server.x11.inputs import Button, Input, Key, PointerMove, Text

VIEW = View((1024, 600), (320, 240), Point(100, 50))
WHEEL = range(4, 8)
HERE = PointerMove(100, 50)


def pointer(x: int, y: int, buttons: int = 0) -> m.Pointer:
    return m.Pointer(input=1, position=Point(x, y), buttons=buttons)


def wheel(dx: int, dy: int) -> m.Wheel:
    return m.Wheel(input=1, dx=dx, dy=dy)


def touch(*places: tuple[int, int]) -> m.Touch:
    fingers = tuple(m.Finger(finger=number, position=Point(*place)) for number, place in enumerate(places))
    return m.Touch(input=1, fingers=fingers)


def click(number: int) -> list[Input]:
    return [Button(number, True), Button(number, False)]


def translated(*batch: Message, view: View = VIEW) -> list[Input]:
    return Hand(1).translate(batch, view)[0]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ([pointer(10, 20)], [PointerMove(110, 70)]),
        ([pointer(10, 20, 1)], [PointerMove(110, 70), Button(1, True)]),
        ([pointer(0, 0, 2), pointer(0, 0)], [HERE, Button(2, True), HERE, Button(2, False)]),
        ([pointer(0, 0, 0b11100)], [PointerMove(100, 50), Button(3, True), Button(8, True), Button(9, True)]),
        ([pointer(0, 0, 0b11100000)], [PointerMove(100, 50)]),
        ([m.Key(input=1, keysym=0x61, pressed=1)], [Key(0x61, True)]),
        ([m.TextInput(input=1, text="né\n")], [Text("né\n")]),
        ([touch((5, 5))], [PointerMove(105, 55), Button(1, True)]),
        ([touch((5, 5), (50, 50)), touch()], [PointerMove(105, 55), Button(1, True), Button(1, False)]),
        ([wheel(0, 120)], click(5)),
        ([wheel(0, -240)], click(4) * 2),
        ([wheel(-120, 120)], click(6) + click(5)),
        ([wheel(119, 0)], []),
        ([], []),
    ],
)  # fmt: skip
def test_translation(batch: list[Message], expected: list[Input]) -> None:
    assert translated(*batch) == expected


def test_motion_that_nothing_depends_on_is_left_out() -> None:
    batch = [pointer(x, 0) for x in range(50)] + [pointer(60, 0, 1)] + [pointer(x, 0, 1) for x in range(70, 90)]
    assert translated(*batch) == [PointerMove(160, 50), Button(1, True), PointerMove(189, 50)]


def test_where_the_pointer_ends() -> None:
    hand = Hand(1)
    assert hand.translate([pointer(1, 1), pointer(9, 9)], VIEW)[1] == Point(109, 59)
    assert hand.translate([wheel(0, 120)], VIEW)[1] is None
    assert hand.translate([touch()], VIEW)[1] is None


def test_a_point_on_the_black_border_or_off_the_panel_is_the_nearest_pixel() -> None:
    view = View((100, 100), (300, 200))
    assert translated(pointer(0, 0), view=view) == [PointerMove(0, 0)]
    assert translated(pointer(299, 199), view=view) == [PointerMove(99, 99)]
    assert translated(pointer(4095, 4095), view=view) == [PointerMove(99, 99)]


def test_the_wheel_remembers_parts_of_a_notch_until_it_turns_back() -> None:
    hand = Hand(1)
    assert hand.translate([wheel(0, 70)], VIEW)[0] == []
    assert hand.translate([wheel(0, 70)], VIEW)[0] == click(5)
    assert hand.translate([wheel(0, -100)], VIEW)[0] == []
    assert hand.translate([wheel(0, -20)], VIEW)[0] == click(4)


def test_no_hand_turns_a_wheel_so_far() -> None:
    assert len(translated(wheel(32767, -32768))) == 2 * 2 * MAX_NOTCHES


def test_an_update_is_no_input() -> None:
    with pytest.raises(TypeError):
        translated(m.Refresh())


POINTS = st.builds(Point, st.integers(0, 4095), st.integers(0, 4095))
UNITS = st.integers(-32768, 32767)
MESSAGES = st.one_of(
    st.builds(m.Pointer, input=st.just(1), position=POINTS, buttons=st.integers(0, 255)),
    st.builds(m.Wheel, input=st.just(1), dx=UNITS, dy=UNITS),
    st.builds(m.Key, input=st.just(1), keysym=st.integers(1, 0x1FFFFFFF), pressed=st.integers(0, 1)),
    st.builds(touch, POINTS.map(lambda point: (point.x, point.y))),
    st.builds(touch),
)


@given(st.lists(MESSAGES, max_size=30), st.integers(1, 5))
def test_however_it_is_split_the_same_buttons_go_down_and_the_pointer_ends_at_the_same_place(
    messages: list[Message], size: int
) -> None:
    def last_move(inputs: list[Input]) -> Input | None:
        return next((item for item in reversed(inputs) if isinstance(item, PointerMove)), None)

    whole = translated(*messages)
    hand = Hand(1)
    parts: list[Input] = []
    for at in range(0, len(messages), size):
        parts += hand.translate(messages[at : at + size], VIEW)[0]
    assert [item for item in parts if not isinstance(item, PointerMove)] == [
        item for item in whole if not isinstance(item, PointerMove)
    ]
    assert last_move(parts) == last_move(whole)


@given(st.lists(MESSAGES, max_size=30))
def test_a_button_goes_down_and_up_in_turn(messages: list[Message]) -> None:
    down: set[int] = set()
    for item in translated(*messages):
        if isinstance(item, Button):
            assert (item.number in down) != item.pressed
            down ^= {item.number}
    # The wheel is never left pressed.
    assert down.isdisjoint(WHEEL)
