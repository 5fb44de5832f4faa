"""From a viewer's input messages to what the display is told. Pure, but for what the hand holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tilewire.protocol import Point
from tilewire.protocol import messages as m
from tilewire.protocol.constants import WHEEL_NOTCH
from tilewire.protocol.wire import Message
from tilewire.server.view import View
from tilewire.server.x11.inputs import Button, Input, Key, PointerMove, Text

BUTTONS: Final = (1, 2, 3, 8, 9)
"""X buttons of the bits of POINTER.buttons: left, middle, right, back, forward."""
WHEEL_UP, WHEEL_DOWN, WHEEL_LEFT, WHEEL_RIGHT = 4, 5, 6, 7
MAX_NOTCHES: Final = 32
"""Of one WHEEL message: more is no hand."""


class Hand:
    """What one viewer holds: buttons that are down, the wheel between two notches, where its pointer is."""

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self._buttons = 0
        self._wheel = [0, 0]

    def translate(self, batch: Sequence[Message], view: View) -> tuple[list[Input], Point | None]:
        """Inputs for the display, motion that nothing depends on left out; and where the pointer ends, if it moved."""
        inputs: list[Input] = []
        pointer: Point | None = None
        for message in batch:
            match message:
                case m.Pointer():
                    pointer = view.input_point(message.position)
                    self._move(pointer, inputs)
                    self._press(message.buttons, inputs)
                case m.Touch():
                    if message.fingers:
                        pointer = view.input_point(message.fingers[0].position)
                        self._move(pointer, inputs)
                    self._press(1 if message.fingers else 0, inputs)
                case m.Wheel():
                    inputs += self._turn(0, message.dx, WHEEL_LEFT, WHEEL_RIGHT)
                    inputs += self._turn(1, message.dy, WHEEL_UP, WHEEL_DOWN)
                case m.Key():
                    inputs.append(Key(message.keysym, bool(message.pressed)))
                case m.TextInput():
                    inputs.append(Text(message.text))
                case _:
                    raise TypeError(f"{message.name} is no input")
        return inputs, pointer

    def _move(self, to: Point, inputs: list[Input]) -> None:
        if inputs and isinstance(inputs[-1], PointerMove):
            inputs.pop()
        inputs.append(PointerMove(to.x, to.y))

    def _press(self, buttons: int, inputs: list[Input]) -> None:
        for bit, number in enumerate(BUTTONS):
            if (buttons ^ self._buttons) >> bit & 1:
                inputs.append(Button(number, bool(buttons >> bit & 1)))
        self._buttons = buttons

    def _turn(self, axis: int, units: int, back: int, forth: int) -> list[Input]:
        if units * self._wheel[axis] < 0:
            self._wheel[axis] = 0
        self._wheel[axis] += units
        notches = int(self._wheel[axis] / WHEEL_NOTCH)
        self._wheel[axis] -= notches * WHEEL_NOTCH
        number = forth if notches > 0 else back
        count = min(abs(notches), MAX_NOTCHES)
        return [Button(number, pressed) for _ in range(count) for pressed in (True, False)]
