"""Scripted users of a fleet: what each of them does the seed and the device's number decide, and nothing else.

Who holds control does what hands do (move, click, scroll, type); everybody else looks on: pans and zooms, turns the
panel off, goes away and comes back. Each kind of deed comes once in every round, in an order of the user's own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

HANDS: Final = ("move", "click", "scroll", "type", "type", "scroll", "rest")
EYES: Final = ("pan", "fit", "off", "pan", "leave", "rest")
WORDS: Final = ("tile", "shadow", "damage", "panel", "wire", "grüße", "cursor", "stride", "region", "update")
LEAST_PAUSE_S: Final = 0.15
MOST_PAUSE_S: Final = 0.6
"""People type and click a few times a second at most."""
NOTCH: Final = 120


class Deed(Enum):
    """One thing that a user does."""

    MOVE = "move"
    CLICK = "click"
    SCROLL = "scroll"
    TYPE = "type"
    PAN = "pan"
    """The 1:1 window goes elsewhere."""
    FIT = "fit"
    OFF = "off"
    """The panel is off for a while."""
    LEAVE = "leave"
    """The line breaks."""
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A deed, and the pause after it."""

    deed: Deed
    pause_s: float
    path: tuple[tuple[float, float], ...] = ()
    """Of the pointer or a pan, as shares of the panel's or the session's sides: 0 is left or top, below 1. Where
    something is typed, what is there is clicked before."""
    text: str = ""
    notches: int = 0
    """Of the wheel; up is below 0."""


class User:
    """One user. What hands and what eyes do are two sequences, so that neither depends on who had control when."""

    def __init__(self, seed: int, number: int) -> None:
        self._hands = random.Random(f"{seed} {number} hands")
        self._eyes = random.Random(f"{seed} {number} eyes")
        self._hand_deck: list[str] = []
        self._eye_deck: list[str] = []

    def hand(self) -> Step:
        """What the user who holds control does next."""
        return _step(_draw(self._hand_deck, HANDS, self._hands), self._hands)

    def eye(self) -> Step:
        """What the user who looks on does next."""
        return _step(_draw(self._eye_deck, EYES, self._eyes), self._eyes)


def _draw(deck: list[str], whole: Sequence[str], chance: random.Random) -> Deed:
    if not deck:
        deck += whole
        chance.shuffle(deck)
    return Deed(deck.pop())


def _step(deed: Deed, chance: random.Random) -> Step:
    pause_s = round(chance.uniform(LEAST_PAUSE_S, MOST_PAUSE_S), 3)
    points = {Deed.MOVE: 4, Deed.CLICK: 1, Deed.TYPE: 1, Deed.PAN: 1}.get(deed, 0)
    least, most = (0.3, 0.5) if deed is Deed.TYPE else (0.1, 0.9)
    path = tuple((round(chance.uniform(least, most), 3), round(chance.uniform(least, most), 3)) for _ in range(points))
    text = ""
    if deed is Deed.TYPE:
        # A comment, where a shell reads it.
        text = f"# {' '.join(chance.choices(WORDS, k=chance.randint(1, 4)))}\n"
    notches = chance.choice((-3, -2, -1, 1, 2, 3)) if deed is Deed.SCROLL else 0
    return Step(deed=deed, pause_s=pause_s, path=path, text=text, notches=notches)
