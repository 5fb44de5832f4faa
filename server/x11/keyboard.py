"""Typing on an X server: held keys of several owners, modifiers on demand, characters that the keymap lacks.

Everything that may have to wait is a generator that yields seconds to wait before going on, so that whoever
drives it can serve others meanwhile. Zero means: others may go first.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from tilewire.server.x11.keymap import (
    LOCK_MASK,
    SHIFT_MASK,
    KeyMap,
    Stroke,
    is_modifier,
    is_printable,
    keysyms_of,
    normal,
)

logger = logging.getLogger(__name__)

Waits = Generator[float, None, None]

# Programs look up a key after they were told of it: each rereads the keymap in its own time, before which a press
# would be lost on it. 0.1 s was found to do for Chromium and xterm.
SETTLE_S = 0.1
# Strokes of a long text between two looks at what else there is to do: about 2 ms.
_STROKES_AT_ONCE = 64
_GROUP_SHIFT, _GROUP_BITS = 13, 3


class Wiring(Protocol):
    """What a keyboard needs of an X connection; `Wire` has it."""

    def feed(self, number: int, pressed: bool, *, button: bool = False) -> None: ...
    def sync(self) -> None: ...
    def modifier_state(self) -> int: ...
    def keyboard_mapping(self) -> tuple[int, list[Sequence[int]]]: ...
    def modifier_mapping(self) -> list[Sequence[int]]: ...
    def change_keyboard_mapping(self, first: int, keysyms: Sequence[Sequence[int]]) -> None: ...


class Keyboard:
    """The keys of one X server."""

    def __init__(self, wire: Wiring, now: Callable[[], float], settle_s: float = SETTLE_S) -> None:
        self._wire = wire
        self._now = now
        self._settle_s = settle_s
        self._down: dict[int, set[int]] = {}
        self._held: dict[int, dict[int, int]] = {}
        # Characters on borrowed keycodes, least recently used first.
        self._borrowed: OrderedDict[int, int] = OrderedDict()
        self._last_use: dict[int, float] = {}
        self._map: KeyMap | None = None
        self._spare: frozenset[int] = frozenset()
        self._complained = False
        self.untyped = 0
        """Keys and characters so far that there was no key for."""

    # The server's map.

    def mapping_changed(self, first: int, count: int) -> None:
        """The server reports other keysyms for `count` keycodes from `first` on (0: other modifiers)."""
        # Our own loans come back as reports too.
        if not count or not self._spare.issuperset(range(first, first + count)):
            self._map = None

    def _keymap(self) -> KeyMap:
        if self._map is None:
            first, rows = self._wire.keyboard_mapping()
            # Loans survive where the keycode still shows what we put there. They are no part of the map: they
            # change without its being read again.
            self._borrowed = OrderedDict(
                (keysym, code) for keysym, code in self._borrowed.items() if set(rows[code - first]) <= {keysym, 0}
            )
            for code in self._borrowed.values():
                rows[code - first] = ()
            self._map = KeyMap(first, rows, self._wire.modifier_mapping())
            self._spare = frozenset(self._map.spare)
        return self._map

    # Keys.

    def press(self, owner: int, keysym: int) -> Waits:
        """A key goes down, with the modifiers that it needs and nobody holds; once more is a repeat."""
        keysym = normal(keysym)
        held = self._held.setdefault(owner, {})
        if keysym in held:
            if not is_modifier(keysym):
                self._repeat(held[keysym])
            return
        keymap = self._keymap()
        if is_modifier(keysym):
            stroke = keymap.find(keysym)
            if stroke is not None:
                held[keysym] = stroke.keycode
                self._hold(owner, stroke.keycode, repeat=False)
            return
        state = self._wire.modifier_state()
        stroke = self._stroke(keymap, keysym, state)
        if stroke is None:
            yield from self._borrow([keysym])
            keymap = self._keymap()
            state = self._wire.modifier_state()
            stroke = self._stroke(keymap, keysym, state)
            if stroke is None:
                self.untyped += 1
                return
        # Under Control, Alt and Super a key is a shortcut, and what is held is meant.
        shortcut = bool(state & keymap.shortcut_mask)
        lift = is_printable(keysym) and not shortcut
        with self._modifiers(keymap, state, lift=lift, press=not (shortcut and stroke.lock)) as apply:
            apply(stroke)
            held[keysym] = stroke.keycode
            self._hold(owner, stroke.keycode)

    def release(self, owner: int, keysym: int) -> None:
        """A key goes up. One that this owner does not hold is ignored."""
        held = self._held.get(owner, {})
        keysym = normal(keysym)
        if keysym not in held:
            # Shift may have gone up before the letter: "A" pressed, "a" released. It is the same key.
            row = next((row for row in self._rows_with(keysym) if not held.keys().isdisjoint(row)), None)
            if row is None:
                return
            keysym = next(other for other in row if other in held)
        self._let_go(owner, held.pop(keysym))

    def release_all(self, owner: int) -> None:
        """Everything that this owner holds goes up, the latest first."""
        for code in reversed(self._held.pop(owner, {}).values()):
            self._let_go(owner, code)

    def owners(self) -> list[int]:
        """Who holds keys."""
        return [owner for owner, held in self._held.items() if held]

    def _rows_with(self, keysym: int) -> Iterator[tuple[int, ...]]:
        keymap = self._keymap()
        return (row for row in map(keymap.row, self._down) if keysym in row)

    def _hold(self, owner: int, code: int, *, repeat: bool = True) -> None:
        holders = self._down.setdefault(code, set())
        if not holders:
            self._wire.feed(code, True)
        elif repeat:
            self._repeat(code)
        holders.add(owner)
        self._last_use[code] = self._now()

    def _repeat(self, code: int) -> None:
        # A server without autorepeat drops the press of a key that is down; its own repeats are such pairs
        # too.
        self._wire.feed(code, False)
        self._wire.feed(code, True)
        self._last_use[code] = self._now()

    def _let_go(self, owner: int, code: int) -> None:
        holders = self._down.get(code, set())
        holders.discard(owner)
        if not holders and self._down.pop(code, None) is not None:
            self._wire.feed(code, False)

    # Text.

    def type_text(self, text: str) -> Waits:
        """Type characters, each exactly as it stands, whatever is held or locked."""
        keysyms = keysyms_of(text)
        start = 0
        while start < len(keysyms):
            end = yield from self._prepare(keysyms, start)
            for first in range(start, end, _STROKES_AT_ONCE):
                if first:
                    yield 0.0
                self._type_some(keysyms[first : min(first + _STROKES_AT_ONCE, end)])
            start = end

    def _type_some(self, keysyms: Sequence[int]) -> None:
        keymap = self._keymap()
        state = self._wire.modifier_state()
        unlocked = state & ~LOCK_MASK if keymap.lock_key is not None else state
        with self._unlocked(keymap, state), self._modifiers(keymap, unlocked, lift=True, press=True) as apply:
            for keysym in keysyms:
                stroke = self._stroke(keymap, keysym, state)
                if stroke is None:
                    self.untyped += 1
                    continue
                apply(stroke)
                held = stroke.keycode in self._down
                if held:
                    self._wire.feed(stroke.keycode, False)
                self._wire.feed(stroke.keycode, True)
                if not held:
                    self._wire.feed(stroke.keycode, False)
                self._last_use[stroke.keycode] = self._now()

    def _prepare(self, keysyms: Sequence[int], start: int) -> Generator[float, None, int]:
        """See that keysyms from `start` on have keys; returns how far they have."""
        keymap = self._keymap()
        group = _group(self._wire.modifier_state())
        free = len(self._loanable())
        wanted: dict[int, None] = {}
        end = start
        while end < len(keysyms):
            keysym = keysyms[end]
            if keysym not in wanted and keymap.find(keysym, group) is None:
                if wanted and len(wanted) >= free:
                    break
                wanted[keysym] = None
            end += 1
        yield from self._borrow(list(wanted))
        return end

    # Borrowed keycodes.

    def _loanable(self) -> frozenset[int]:
        return self._spare.difference(self._down)

    def _borrow(self, keysyms: Sequence[int]) -> Waits:
        """Put keysyms on spare keycodes, all in one change and one wait. Those for which none is left get
        none.
        """
        for keysym in keysyms:
            if keysym in self._borrowed:
                self._borrowed.move_to_end(keysym)
        missing = [keysym for keysym in keysyms if keysym not in self._borrowed]
        if not missing:
            return
        loanable = self._loanable()
        unused = sorted(loanable.difference(self._borrowed.values()))
        reusable = [
            (keysym, code) for keysym, code in self._borrowed.items() if code in loanable and keysym not in keysyms
        ]
        changed: dict[int, int] = {}
        for keysym in missing:
            if unused:
                code = unused.pop(0)
            elif reusable:
                former, code = reusable.pop(0)
                del self._borrowed[former]
            else:
                if not self._complained:
                    self._complained = True
                    logger.warning("the keyboard has no key left for keysym %#x; it is not typed", keysym)
                break
            changed[code] = keysym
        # A program may still be about to look up what it was sent by these keys.
        quiet_since = max((self._last_use.get(code, 0.0) for code in changed), default=0.0)
        wait = quiet_since + self._settle_s - self._now()
        if wait > 0:
            yield wait
        columns = self._columns()
        for first, run in _runs(changed):
            # The same in every column: Shift, AltGr and the keyboard's group make no difference.
            self._wire.change_keyboard_mapping(first, [[keysym] * columns for keysym in run])
        for code, keysym in changed.items():
            self._borrowed[keysym] = code
        self._wire.sync()
        yield self._settle_s

    def give_back(self) -> None:
        """Leave the borrowed keycodes as they were: without keysyms."""
        columns = self._columns()
        for first, run in _runs({code: keysym for keysym, code in self._borrowed.items()}):
            self._wire.change_keyboard_mapping(first, [[0] * columns for _ in run])
        self._borrowed.clear()

    def _columns(self) -> int:
        # Four: both groups of the core protocol, both levels. More would be XKB levels that need AltGr types.
        return 4

    # Modifiers.

    @contextmanager
    def _unlocked(self, keymap: KeyMap, state: int) -> Iterator[None]:
        """Caps Lock off meanwhile: programs capitalize by it what no key of the map gives in two cases."""
        key = keymap.lock_key if state & LOCK_MASK else None
        if key is not None:
            self._wire.feed(key, True)
            self._wire.feed(key, False)
        try:
            yield
        finally:
            if key is not None:
                self._wire.feed(key, True)
                self._wire.feed(key, False)

    def _stroke(self, keymap: KeyMap, keysym: int, state: int) -> Stroke | None:
        found = keymap.find(keysym, _group(state))
        if found is None and keysym in self._borrowed:
            return Stroke(self._borrowed[keysym])
        return found

    @contextmanager
    def _modifiers(self, keymap: KeyMap, state: int, *, lift: bool, press: bool) -> Iterator[Callable[[Stroke], None]]:
        """Give what makes the modifiers right for a stroke; at the end they are again as they were held."""
        masks = (SHIFT_MASK, keymap.level3_mask, keymap.mode_mask)
        keys = (keymap.shift_key, keymap.level3_key, keymap.mode_key)
        held = [bool(state & mask) for mask in masks]
        now = held.copy()
        lifted: list[list[int]] = [[], [], []]
        borrowed = frozenset(self._borrowed.values())

        def put(index: int, wanted: bool) -> None:
            if now[index] == wanted:
                return
            if held[index]:
                if not wanted:
                    lifted[index] = [code for code in keymap.keys_of(masks[index]) if code in self._down]
                for code in lifted[index]:
                    self._wire.feed(code, wanted)
            else:
                key = keys[index]
                if key is not None:
                    self._wire.feed(key, wanted)
            now[index] = wanted

        def apply(stroke: Stroke) -> None:
            shift = stroke.shift
            if stroke.lock and state & LOCK_MASK:
                shift = not shift
            if stroke.num_lock and state & keymap.num_lock_mask:
                shift = not shift
            if stroke.keycode in borrowed:
                return
            for index, wanted in enumerate((shift, stroke.level3, stroke.mode)):
                if (wanted and press) or (not wanted and (lift or not held[index])):
                    put(index, wanted)

        try:
            yield apply
        finally:
            for index, before in enumerate(held):
                put(index, before)


def _group(state: int) -> int:
    return state >> _GROUP_SHIFT & _GROUP_BITS


def _runs(changed: dict[int, int]) -> Iterator[tuple[int, list[int]]]:
    """Neighbouring keycodes together: (first keycode, keysyms)."""
    first, run = 0, list[int]()
    for code in sorted(changed):
        if run and code == first + len(run):
            run.append(changed[code])
            continue
        if run:
            yield first, run
        first, run = code, [changed[code]]
    if run:
        yield first, run
