"""What a viewer can do to a display: values that cannot be built invalid."""

from __future__ import annotations

from dataclasses import dataclass

# The most buttons that the XTEST pointer of an X.Org server has; 4 to 7 are the wheel.
MAX_BUTTON = 10
# The core protocol leaves the top three bits of a keysym zero (X Window System Protocol, section 3).
MAX_KEYSYM = 0x1FFFFFFF


@dataclass(frozen=True, slots=True)
class PointerMove:
    """The pointer goes to a pixel of the screen; the X server keeps it inside."""

    x: int
    y: int

    def __post_init__(self) -> None:
        if not (-32768 <= self.x <= 32767 and -32768 <= self.y <= 32767):
            raise ValueError(f"({self.x}, {self.y}) is no place on an X screen")


@dataclass(frozen=True, slots=True)
class Button:
    """A pointer button goes down or up. 1 left, 2 middle, 3 right; 4 to 7 are wheel up, down, left, right."""

    number: int
    pressed: bool

    def __post_init__(self) -> None:
        if not 1 <= self.number <= MAX_BUTTON:
            raise ValueError(f"{self.number} is no pointer button")


@dataclass(frozen=True, slots=True)
class Key:
    """A key goes down or up, named by its X keysym; a press of a key that is down is a repeat."""

    keysym: int
    pressed: bool

    def __post_init__(self) -> None:
        if not 1 <= self.keysym <= MAX_KEYSYM:
            raise ValueError(f"{self.keysym:#x} is no keysym")


@dataclass(frozen=True, slots=True)
class Text:
    """Characters to type, whatever keys the keyboard has; line ends, tabs and backspaces are keys."""

    text: str


Input = PointerMove | Button | Key | Text
