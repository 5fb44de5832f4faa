"""From a viewer's messages to what the display is told."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import Message, Point
from tilewire.protocol import messages as m
from tilewire.server.inputs import CONTROL, MAX_NOTCHES, NOTCH_PX, Hand
from tilewire.server.touch import DOUBLE_TAP_S, LONG_PRESS_S
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


def key(keysym: int, pressed: bool) -> m.Key:
    return m.Key(input=1, keysym=keysym, pressed=int(pressed))


def translated(*batch: Message, view: View = VIEW) -> list[Input]:
    return Hand(1).translate(batch, view, 0.0)[0]


def zoomed(number: int, notches: int) -> list[Input]:
    return [Key(CONTROL, True), *click(number) * notches, Key(CONTROL, False)]


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
        ([touch((5, 5))], [PointerMove(105, 55)]),
        ([touch((5, 5)), touch()], [PointerMove(105, 55), *click(1)]),
        ([touch((5, 5)), touch((50, 5)), touch()], [
            PointerMove(105, 55), Button(1, True), PointerMove(150, 55), Button(1, False)
        ]),
        ([touch((5, 5), (50, 50)), touch()], [PointerMove(127, 77), *click(3)]),
        ([touch((5, 5), (50, 50), (50, 80)), touch()], [PointerMove(135, 95), *click(2)]),
        ([touch((5, 129), (50, 129)), touch((5, 129 - NOTCH_PX), (50, 129 - NOTCH_PX))], [
            PointerMove(127, 179), *click(5)
        ]),
        ([touch((5, 9), (50, 9)), touch((6 + NOTCH_PX, 9 + NOTCH_PX), (51 + NOTCH_PX, 9 + NOTCH_PX))], [
            PointerMove(127, 59), *click(6), *click(4)
        ]),
        ([touch((100, 99), (200, 99)), touch((50, 99), (250, 99))], [PointerMove(250, 149), *zoomed(4, 3)]),
        ([touch((50, 99), (250, 99)), touch((100, 99), (200, 99))], [PointerMove(250, 149), *zoomed(5, 3)]),
        ([wheel(0, 120)], click(5)),
        ([wheel(0, -240)], click(4) * 2),
        ([wheel(-120, 120)], click(6) + click(5)),
        ([wheel(119, 0)], []),
        ([], []),
    ],
)  # fmt: skip
def test_translation(batch: list[Message], expected: list[Input]) -> None:
    assert translated(*batch) == expected


def test_motion_that_nothing_depends_on_is_left_out_and_strokes_are_whole() -> None:
    batch = [pointer(x, 0) for x in range(50)] + [pointer(60, 0, 1)] + [pointer(x, 0, 1) for x in range(70, 73)]
    stroke = [PointerMove(x, 50) for x in (170, 171, 172)]
    assert translated(*batch) == [PointerMove(160, 50), Button(1, True), *stroke]
    assert translated(*batch, pointer(1, 0), pointer(2, 0)) == [
        PointerMove(160, 50), Button(1, True), *stroke, PointerMove(101, 50), Button(1, False), PointerMove(102, 50)
    ]  # fmt: skip
    fingers = [touch((60, 0)), *(touch((x, 0)) for x in range(70, 73))]
    assert translated(*fingers) == [PointerMove(160, 50), Button(1, True), *stroke]


def test_where_the_view_is_to_follow() -> None:
    hand = Hand(1)
    assert hand.translate([pointer(1, 1), pointer(9, 9)], VIEW, 0.0)[1] == Point(109, 59)
    assert hand.translate([wheel(0, 120)], VIEW, 0.0)[1] is None
    assert hand.translate([touch()], VIEW, 0.0)[1] is None


def test_the_view_follows_fingers_when_they_have_settled() -> None:
    hand = Hand(1)
    assert hand.translate([touch((3, 3)), touch((90, 3))], VIEW, 0.0)[1] is None
    assert hand.translate([touch()], VIEW, 0.1) == ([Button(1, False)], Point(190, 53))
    # A second tap may follow on a first one.
    assert hand.translate([touch((3, 3)), touch()], VIEW, 1.0)[1] is None
    assert hand.deadline_s == 1.0 + DOUBLE_TAP_S
    assert hand.tick(VIEW, 1.2) == ([], None)
    assert hand.translate([touch((4, 4)), touch()], VIEW, 1.2)[1] is None
    assert hand.tick(VIEW, 1.2 + DOUBLE_TAP_S) == ([], Point(103, 53))
    assert hand.tick(VIEW, 9.0) == ([], None)
    # The mouse is followed at once, and what fingers did before it is of no interest any more.
    assert hand.translate([touch((3, 3)), touch(), pointer(5, 5)], VIEW, 10.0)[1] == Point(105, 55)
    assert hand.tick(VIEW, 11.0) == ([], None)


def test_a_long_press_is_due() -> None:
    hand = Hand(1)
    deadlines_s = [hand.deadline_s]
    hand.translate([touch((5, 5))], VIEW, 1.0)
    deadlines_s.append(hand.deadline_s)
    assert hand.tick(VIEW, 1.0 + LONG_PRESS_S) == ([PointerMove(105, 55), *click(3)], None)
    assert [*deadlines_s, hand.deadline_s] == [None, 1.0 + LONG_PRESS_S, None]
    assert hand.translate([touch()], VIEW, 2.0) == ([], Point(105, 55))


def test_the_density_of_the_panel_counts() -> None:
    batch = [touch((5, 5)), touch((12, 5))]
    assert Button(1, True) in Hand(1, 72).translate(batch, VIEW, 0.0)[0]
    assert Button(1, True) not in Hand(1, 300).translate(batch, VIEW, 0.0)[0]


def test_what_mouse_and_fingers_both_hold_goes_down_and_up_once() -> None:
    hand = Hand(1)

    def buttons(*batch: Message) -> list[Input]:
        return [item for item in hand.translate(batch, VIEW, 0.0)[0] if isinstance(item, Button)]

    assert buttons(touch((5, 5)), touch((50, 5))) == [Button(1, True)]
    assert buttons(pointer(5, 5, 0b101)) == [Button(3, True)]
    assert buttons(touch()) == []
    assert buttons(touch((5, 5)), touch()) == []
    assert buttons(pointer(5, 5)) == [Button(1, False), Button(3, False)]
    assert buttons(pointer(5, 5, 1), touch((5, 5)), touch((50, 5)), pointer(5, 5)) == [Button(1, True)]
    assert hand.release() == [Button(1, False)]
    assert hand.release() == []
    assert buttons(touch((90, 5)), touch()) == []
    assert buttons(touch((5, 5)), touch()) == click(1)


def test_who_holds_the_control_key_keeps_it_in_a_pinch() -> None:
    hand = Hand(1)
    pinch = [touch((100, 99), (200, 99)), touch((50, 99), (250, 99)), touch()]
    assert hand.translate([key(CONTROL, True), *pinch], VIEW, 0.0)[0] == [
        Key(CONTROL, True), PointerMove(250, 149), *click(4) * 3
    ]  # fmt: skip
    inputs, _ = hand.translate([key(CONTROL, False), *pinch], VIEW, 9.0)
    assert inputs == [Key(CONTROL, False), PointerMove(250, 149), *zoomed(4, 3)]


def test_a_pan_remembers_parts_of_a_notch_until_it_ends() -> None:
    hand = Hand(1)

    def pan(y: int) -> list[Input]:
        inputs, _ = hand.translate([touch((5, y), (50, y))], VIEW, 0.0)
        return [item for item in inputs if isinstance(item, Button)]

    for _ in range(2):
        assert pan(400) == []
        assert pan(400 - NOTCH_PX + 1) == []
        assert pan(400 - NOTCH_PX) == click(5)
        assert pan(400 - 2 * NOTCH_PX + 1) == []
        assert pan(401 - NOTCH_PX) == []
        assert pan(400) == click(4)
        hand.translate([touch()], VIEW, 0.0)


@given(st.lists(st.integers(0, 1500), max_size=20))
def test_a_pan_is_never_a_notch_away_from_the_fingers(ways: list[int]) -> None:
    hand = Hand(1)
    turned = 0
    for way in (0, *ways):
        inputs, _ = hand.translate([touch((5, way), (50, way))], VIEW, 0.0)
        turned += inputs.count(Button(4, True)) - inputs.count(Button(5, True))
        assert abs(turned * NOTCH_PX - way) < NOTCH_PX


@dataclass(frozen=True, slots=True)
class Mapped(View):
    """A view that is turned clockwise by quarters and shows `scale` pixels of the session in each of the panel."""

    quarters: int = 0
    scale: float = 1.0

    def input_point(self, point: Point) -> Point:
        width, height = self.panel
        x, y = [
            (point.x, point.y),
            (point.y, width - 1 - point.x),
            (width - 1 - point.x, height - 1 - point.y),
            (height - 1 - point.y, point.x),
        ][self.quarters]
        x, y = int(self.scale * x) - self.origin.x, int(self.scale * y) - self.origin.y
        return Point(min(max(x, 0), self.session[0] - 1), min(max(y, 0), self.session[1] - 1))


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View((1024, 600), (320, 240)), click(5)),
        (View((1024, 9), (320, 240)), click(5)),
        (View((9, 600), (320, 240)), click(5)),
        (View((9, 9), (320, 240)), click(5)),
        (View((1, 9), (320, 240)), click(5)),
        (View((9, 1), (320, 240)), click(5)),
        (View((1, 1), (320, 240)), click(5)),
        # Fingers that go up the panel go to the left in what is turned by 90 degrees, down by 180.
        (Mapped((1024, 600), (320, 240), quarters=1), click(7)),
        (Mapped((1024, 600), (320, 240), quarters=2), click(4)),
        (Mapped((1024, 600), (320, 240), quarters=3), click(6)),
        (Mapped((9, 1), (320, 240), quarters=1), click(7)),
        (Mapped((1, 9), (320, 240), quarters=1), click(7)),
        # Scaled down, between black borders: above and below, left and right.
        (Mapped((960, 300), (320, 240), Point(0, 210), scale=3), click(5) * 3),
        (Mapped((400, 720), (320, 240), Point(280, 0), scale=3), click(5) * 3),
        (Mapped((720, 500), (320, 240), Point(0, 230), scale=3, quarters=1), click(7) * 3),
    ],
)
def test_what_is_seen_stays_under_the_fingers(view: View, expected: list[Input]) -> None:
    # Half a pixel more than a notch: corners are whole pixels of the session.
    inputs = translated(touch((5, 199), (50, 199)), touch((5, 198 - NOTCH_PX), (50, 198 - NOTCH_PX)), view=view)
    assert [item for item in inputs if isinstance(item, Button)] == expected


def test_a_point_on_the_black_border_or_off_the_panel_is_the_nearest_pixel() -> None:
    view = View((100, 100), (300, 200))
    assert translated(pointer(0, 0), view=view) == [PointerMove(0, 0)]
    assert translated(pointer(299, 199), view=view) == [PointerMove(99, 99)]
    assert translated(pointer(4095, 4095), view=view) == [PointerMove(99, 99)]


def test_the_wheel_remembers_parts_of_a_notch_until_it_turns_back() -> None:
    hand = Hand(1)
    assert hand.translate([wheel(0, 70)], VIEW, 0.0)[0] == []
    assert hand.translate([wheel(0, 70)], VIEW, 0.0)[0] == click(5)
    assert hand.translate([wheel(0, -100)], VIEW, 0.0)[0] == []
    assert hand.translate([wheel(0, -20)], VIEW, 0.0)[0] == click(4)


def test_no_hand_turns_a_wheel_so_far() -> None:
    assert len(translated(wheel(32767, -32768))) == 2 * 2 * MAX_NOTCHES
    pan = translated(touch((0, 0), (0, 9)), touch((4000, 4000), (4000, 4009)))
    assert len(pan) == 1 + 2 * 2 * MAX_NOTCHES
    pinch, _ = Hand(1, density=1).translate([touch((0, 0), (0, 9)), touch((0, 0), (4000, 4000))], VIEW, 0.0)
    assert len(pinch) == 1 + 2 + 2 * MAX_NOTCHES


def test_an_update_is_no_input() -> None:
    with pytest.raises(TypeError):
        translated(m.Refresh())


POINTS = st.builds(Point, st.integers(0, 4095), st.integers(0, 4095))
UNITS = st.integers(-32768, 32767)
MESSAGES = st.one_of(
    st.builds(m.Pointer, input=st.just(1), position=POINTS, buttons=st.integers(0, 255)),
    st.builds(m.Wheel, input=st.just(1), dx=UNITS, dy=UNITS),
    st.builds(m.Key, input=st.just(1), keysym=st.integers(1, 0x1FFFFFFF), pressed=st.integers(0, 1)),
    st.builds(lambda points: touch(*((point.x, point.y) for point in points)), st.lists(POINTS, max_size=3)),
    st.just(touch((10, 10), (90, 10))),
    st.just(touch((10, 70), (90, 70))),
    st.just(touch((10, 70), (250, 70))),
)
TIMED = st.lists(st.tuples(st.floats(0, 0.7), st.lists(MESSAGES, max_size=5)), max_size=12)


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
        parts += hand.translate(messages[at : at + size], VIEW, 0.0)[0]
    assert [item for item in parts if not isinstance(item, PointerMove)] == [
        item for item in whole if not isinstance(item, PointerMove)
    ]
    assert last_move(parts) == last_move(whole)


@given(TIMED)
def test_whatever_comes_all_is_let_go_in_the_end(history: list[tuple[float, list[Message]]]) -> None:
    hand = Hand(1)
    down: set[int] = set()
    now_s = 0.0
    keys = False

    def check(inputs: list[Input]) -> None:
        control = False
        for item in inputs:
            if isinstance(item, Button):
                assert (item.number in down) != item.pressed
                down.symmetric_difference_update({item.number})
            elif isinstance(item, Key) and not keys:
                assert item.keysym == CONTROL
                assert control != item.pressed
                control = item.pressed
        # Neither the wheel nor the key that zooms is left pressed.
        assert down.isdisjoint(WHEEL)
        assert not control

    for passed_s, batch in history:
        now_s += passed_s
        keys = any(isinstance(message, m.Key) for message in batch)
        check(hand.translate(batch, VIEW, now_s)[0])
        assert hand.deadline_s is None or hand.deadline_s > now_s
    keys = False
    check(hand.release())
    assert not down
