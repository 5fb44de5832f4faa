"""Keys by their names in X."""

from __future__ import annotations

import re
from typing import Final

from Xlib import XK

from tilewire.server.x11.inputs import MAX_KEYSYM

_NUMBER: Final = re.compile(r"0x[0-9a-fA-F]{1,8}", re.ASCII)
_UNICODE: Final = 0x0100_0000
"""Keysyms of characters that have none of their own begin here."""

BROWSER_KEYS: Final = {
    "Enter": "Return",
    "Backspace": "BackSpace",
    "ArrowUp": "Up",
    "ArrowDown": "Down",
    "ArrowLeft": "Left",
    "ArrowRight": "Right",
    "PageUp": "Page_Up",
    "PageDown": "Page_Down",
    "Space": "space",
}
"""Where the web's name is not X's."""


def keysym_number(name: str) -> int:
    """The keysym of a name in X, of one character, or of a number such as 0xff0d. Raises ValueError."""
    if _NUMBER.fullmatch(name):
        number = int(name, 16)
    elif len(name) == 1 and name.isprintable():
        code = ord(name)
        # Latin-1 is its own keysym (X Window System Protocol, appendix A).
        number = code if code < 0x100 else _UNICODE + code
    else:
        number = XK.string_to_keysym(BROWSER_KEYS.get(name, name))
    if not 0 < number <= MAX_KEYSYM:
        raise ValueError(f"{name!r} is the name of no key")
    return number


def keysym_of(name: str) -> str:
    """`name`, if it is a key's. Raises ValueError."""
    keysym_number(name)
    return name
