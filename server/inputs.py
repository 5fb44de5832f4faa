"""From a viewer's input messages to what the display is told. Pure, but for what the hand holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from tilewire.protocol import Point
from tilewire.protocol import messages as m
from tilewire.protocol.constants import WHEEL_NOTCH
from tilewire.protocol.wire import Message
from tilewire.server.touch import Action, Gestures, MoveTo, Press, Release, Scroll, Zoom
from tilewire.server.view import View
from tilewire.server.x11.inputs import Button, Input, Key, PointerMove, Text

BUTTONS: Final = (1, 2, 3, 8, 9)
"""X buttons of the bits of POINTER.buttons: left, middle, right, back, forward."""
WHEEL_UP, WHEEL_DOWN, WHEEL_LEFT, WHEEL_RIGHT = 4, 5, 6, 7
MAX_NOTCHES: Final = 32
"""Of one WHEEL or TOUCH message: more is no hand."""
NOTCH_PX: Final = 120
"""Pixels of the session that fingers pan for a notch, so that what is seen stays under them: Chromium 156 on X was
measured to scroll so far for one. Others scroll three to five lines of text, and lag behind the fingers."""
CONTROL: Final = 0xFFE3
"""Control_L, with which the wheel zooms."""


class Hand:
    """What one viewer holds: buttons that are down, the wheel between two notches, where its pointer is.

    A button is down while POINTER or a gesture of fingers holds it: what one of them presses, the other one neither
    presses again nor releases.
    """

    def __init__(self, owner: int, density: int | None = None) -> None:
        """`density` of the panel in dots per inch, as HELLO has it."""
        self.owner = owner
        self._gestures = Gestures(density)
        self._buttons = self._touched = self._down = 0
        """Bits of BUTTONS: held by POINTER, held by fingers, told to the display."""
        self._wheel: list[float] = [0, 0]
        self._scroll = [0.0, 0.0]
        self._control = False
        """Whether the viewer holds the key itself."""
        self._aside: Point | None = None
        """Where fingers put the pointer, while the view does not follow yet."""

    @property
    def deadline_s(self) -> float | None:
        """When `tick` is to be called, or None. After `translate` and `tick` it is not in the past."""
        return self._gestures.deadline_s

    @property
    def settled(self) -> bool:
        """Whether the view may move: not while fingers are down, nor before the second tap of two."""
        return self._gestures.settled

    def translate(self, batch: Sequence[Message], view: View, now_s: float) -> tuple[list[Input], Point | None]:
        """Inputs for the display, motion that nothing depends on left out; and where the view is to follow, if at all.

        What lies under fingers must not move away from them: for fingers, the view follows when they have settled.
        """
        inputs: list[Input] = []
        pointer: Point | None = None
        for message in batch:
            match message:
                case m.Pointer():
                    pointer = view.input_point(message.position)
                    self._aside = None
                    self._move(pointer, inputs)
                    self._buttons = message.buttons
                    self._hold(inputs)
                case m.Touch():
                    self._act(self._gestures.touch(message.fingers, now_s), view, inputs)
                case m.Wheel():
                    inputs += self._turn_wheel(message.dx, message.dy)
                case m.Key():
                    if message.keysym == CONTROL:
                        self._control = bool(message.pressed)
                    inputs.append(Key(message.keysym, bool(message.pressed)))
                case m.TextInput():
                    inputs.append(Text(message.text))
                case _:
                    raise TypeError(f"{message.name} is no input")
        self._act(self._gestures.tick(now_s), view, inputs)
        if self._aside is not None and self._gestures.settled:
            pointer, self._aside = self._aside, None
        return inputs, pointer

    def tick(self, view: View, now_s: float) -> tuple[list[Input], Point | None]:
        """As `translate`, where nothing has come but the deadline. Messages that wait are to be translated first."""
        return self.translate((), view, now_s)

    def release(self) -> list[Input]:
        """Let go of all buttons; fingers that are down do nothing until all are lifted. Keys are the display's."""
        inputs: list[Input] = []
        self._gestures.release()
        self._buttons = self._touched = 0
        self._aside = None
        self._hold(inputs)
        return inputs

    def _act(self, actions: Iterable[Action], view: View, inputs: list[Input]) -> None:
        for action in actions:
            match action:
                case MoveTo(point):
                    # A pan begins with it.
                    self._scroll = [0.0, 0.0]
                    self._aside = view.input_point(point)
                    self._move(self._aside, inputs)
                case Press(button):
                    self._touched |= 1 << BUTTONS.index(button)
                    self._hold(inputs)
                case Release(button):
                    self._touched &= ~(1 << BUTTONS.index(button))
                    self._hold(inputs)
                case Scroll(dx, dy):
                    dx, dy = _in_session(view, dx, dy)
                    inputs += _turn(self._scroll, NOTCH_PX, -dx, -dy)
                case Zoom(notches):
                    clicks = _clicks(-notches, WHEEL_UP, WHEEL_DOWN)
                    inputs += clicks if self._control else [Key(CONTROL, True), *clicks, Key(CONTROL, False)]

    def _turn_wheel(self, right: int, down: int) -> list[Input]:
        for axis, units in enumerate((right, down)):
            if units * self._wheel[axis] < 0:
                self._wheel[axis] = 0
        return _turn(self._wheel, WHEEL_NOTCH, right, down)

    def _move(self, to: Point, inputs: list[Input]) -> None:
        # With a button down it is a stroke, all of which counts.
        if inputs and isinstance(inputs[-1], PointerMove) and not self._down:
            inputs.pop()
        inputs.append(PointerMove(to.x, to.y))

    def _hold(self, inputs: list[Input]) -> None:
        buttons = self._buttons | self._touched
        for bit, number in enumerate(BUTTONS):
            if (buttons ^ self._down) >> bit & 1:
                inputs.append(Button(number, bool(buttons >> bit & 1)))
        self._down = buttons


def _turn(rest: list[float], a_notch: int, right: float, down: float) -> list[Input]:
    """The clicks of a wheel that turns so far; what is left of a notch stays in `rest`."""
    inputs: list[Input] = []
    for axis, (way, back, forth) in enumerate(((right, WHEEL_LEFT, WHEEL_RIGHT), (down, WHEEL_UP, WHEEL_DOWN))):
        rest[axis] += way
        notches = int(rest[axis] / a_notch)
        rest[axis] -= notches * a_notch
        inputs += _clicks(notches, back, forth)
    return inputs


def _clicks(notches: int, back: int, forth: int) -> list[Input]:
    number = forth if notches > 0 else back
    return [Button(number, pressed) for _ in range(min(abs(notches), MAX_NOTCHES)) for pressed in (True, False)]


def _in_session(view: View, dx: float, dy: float) -> tuple[float, float]:
    """A way on the panel as one in the session, turned and scaled as `view` maps the panel's corners."""
    width, height = view.panel[0] - 1, view.panel[1] - 1
    corner = view.input_point(Point(0, 0))
    right, down = view.input_point(Point(width, 0)), view.input_point(Point(0, height))
    ux, uy = right.x - corner.x, right.y - corner.y
    vx, vy = down.x - corner.x, down.y - corner.y
    # On black borders corners lie nearer to each other in the session than on the panel; but the picture is never
    # enlarged, and where it is scaled down it fills the panel in one direction.
    scale = max(1.0, math.hypot(ux, uy) / max(width, 1), math.hypot(vx, vy) / max(height, 1))
    if not (ux or uy):
        # Not mirrored: down is a quarter turn from right.
        ux, uy = (vy, -vx) if vx or vy else (1, 0)
    scale /= math.hypot(ux, uy)
    return scale * (ux * dx - uy * dy), scale * (uy * dx + ux * dy)
