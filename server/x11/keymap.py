"""Which key gives which keysym on an X server, as pure data. No I/O."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

SHIFT_MASK, LOCK_MASK, CONTROL_MASK, MOD1_MASK = 1, 2, 4, 8

SHIFT_L, CAPS_LOCK = 0xFFE1, 0xFFE5
ALT_L, SUPER_L, META_L = 0xFFE9, 0xFFEB, 0xFFE7
NUM_LOCK, MODE_SWITCH, ISO_LEVEL3_SHIFT = 0xFF7F, 0xFF7E, 0xFE03
_BACKSPACE, _TAB, _RETURN, _ESCAPE, _DELETE = 0xFF08, 0xFF09, 0xFF0D, 0xFF1B, 0xFFFF
_CONTROLS = {
    "\b": _BACKSPACE,
    "\t": _TAB,
    "\n": _RETURN,
    "\r": _RETURN,
    "\x1b": _ESCAPE,
    "\x7f": _DELETE,
}
# Keysyms from here on are Unicode characters (X Window System Protocol, appendix A).
_UNICODE = 0x01000000

# Where the keysyms of one keyboard group stand in a row of the core mapping, dearest last: plain, Shift, then
# with level 3 (AltGr). As the XKB specification (section 17.1) lays out the core view of group 1 and group 2.
_GROUP_COLUMNS = (
    ((0, False, False), (1, True, False), (4, False, True), (5, True, True)),
    ((2, False, False), (3, True, False), (6, False, True), (7, True, True)),
)
# A server without XKB reaches columns 2 and 3 by Mode_switch.
_MODE_COLUMNS = ((2, False), (3, True))


@dataclass(frozen=True, slots=True)
class Stroke:
    """How to get a keysym: the key, and what must be held. `lock` and `num_lock`: these turn Shift's meaning
    round.
    """

    keycode: int
    shift: bool = False
    level3: bool = False
    mode: bool = False
    lock: bool = False
    num_lock: bool = False


class KeyMap:
    """A server's keys as it reports them: rows of keysyms per keycode, keycodes per modifier."""

    def __init__(self, first_keycode: int, rows: Sequence[Sequence[int]], modifiers: Sequence[Sequence[int]]) -> None:
        self._first = first_keycode
        self._rows = [tuple(row) for row in rows]
        self._modifiers = [frozenset(code for code in codes if code) for codes in modifiers]
        self._columns: dict[tuple[int, int], int] = {}
        for offset, row in enumerate(self._rows):
            for column, keysym in enumerate(row):
                if keysym:
                    # The first key that has it: setdefault keeps the lowest keycode.
                    self._columns.setdefault((column, keysym), first_keycode + offset)
        bound = frozenset[int]().union(*self._modifiers)
        self.spare = tuple(
            first_keycode + offset
            for offset, row in enumerate(self._rows)
            if not any(row) and first_keycode + offset not in bound
        )
        self.shift_key = self._columns.get((0, SHIFT_L))
        lock_key = self._columns.get((0, CAPS_LOCK))
        self.lock_key = lock_key if self._mask_of(lock_key) == LOCK_MASK else None
        level3_key = self._columns.get((0, ISO_LEVEL3_SHIFT))
        mode_key = self._columns.get((0, MODE_SWITCH))
        self.level3_mask = self._mask_of(level3_key)
        self.mode_mask = self._mask_of(mode_key) & ~self.level3_mask
        # A key that sets no modifier is of no use; and on a server with XKB, Mode_switch stands beside level
        # 3 in the same modifier, and does not reach the second group.
        self.level3_key = level3_key if self.level3_mask else None
        self.mode_key = mode_key if self.mode_mask else None
        self.num_lock_mask = self._mask_of(self._columns.get((0, NUM_LOCK)))
        shortcuts = (self._columns.get((0, keysym)) for keysym in (ALT_L, META_L, SUPER_L))
        self.shortcut_mask = CONTROL_MASK | MOD1_MASK
        for key in shortcuts:
            self.shortcut_mask |= self._mask_of(key) & ~(self.level3_mask | self.mode_mask)

    def row(self, keycode: int) -> tuple[int, ...]:
        """The keysyms of a keycode."""
        return self._rows[keycode - self._first]

    def keys_of(self, mask: int) -> frozenset[int]:
        """The keycodes that set any of the modifiers in `mask`."""
        return frozenset[int]().union(*(codes for index, codes in enumerate(self._modifiers) if mask >> index & 1))

    def find(self, keysym: int, group: int = 0) -> Stroke | None:
        """How to get `keysym` while the keyboard is in `group`, or None when no key gives it."""
        if group >= len(_GROUP_COLUMNS):
            # The core protocol cannot see the keysyms of further groups.
            return None
        columns = _GROUP_COLUMNS[group]
        for column, shift, level3 in columns:
            code = self._columns.get((column, keysym))
            if code is None or (shift and self.shift_key is None) or (level3 and self.level3_key is None):
                continue
            plain, shifted = self._pair(code, columns[2 if level3 else 0][0])
            return Stroke(
                code,
                shift=shift,
                level3=level3,
                lock=_is_case_pair(plain, shifted),
                num_lock=_is_keypad_figure(shifted) and plain != shifted,
            )
        if group == 0 and self.mode_key is not None:
            for column, shift in _MODE_COLUMNS:
                code = self._columns.get((column, keysym))
                if code is not None and not (shift and self.shift_key is None):
                    return Stroke(code, shift=shift, mode=True, lock=_is_case_pair(*self._pair(code, 2)))
        return None

    def _pair(self, keycode: int, column: int) -> tuple[int, int]:
        row = self.row(keycode)
        return (row[column], row[column + 1]) if column + 1 < len(row) else (0, 0)

    def _mask_of(self, keycode: int | None) -> int:
        return sum(1 << index for index, codes in enumerate(self._modifiers) if keycode in codes)


def keysym_of(character: str) -> int | None:
    """The keysym that types a character; None for one that nobody can type (controls, lone surrogates)."""
    control = _CONTROLS.get(character)
    if control is not None:
        return control
    if unicodedata.category(character) in ("Cc", "Cs"):
        return None
    code = ord(character)
    # Latin-1 keysyms are the characters themselves.
    return code if code < 0x100 else _UNICODE + code


def keysyms_of(text: str) -> list[int]:
    """The keysyms that type a text. A carriage return and line feed together are one Return."""
    found = (keysym_of(character) for character in text.replace("\r\n", "\n"))
    return [keysym for keysym in found if keysym is not None]


def normal(keysym: int) -> int:
    """The one keysym for a character that has two: Latin-1 rather than Unicode."""
    code = keysym - _UNICODE
    return code if 0x20 <= code < 0x7F or 0xA0 <= code < 0x100 else keysym


def is_printable(keysym: int) -> bool:
    """Whether a keysym is a character: below the function keys, or a Unicode one."""
    return 0x20 <= keysym < 0xFE00 or keysym >= _UNICODE


def is_modifier(keysym: int) -> bool:
    """Whether a keysym is that of a key that is held for what others do: Shift to Hyper, AltGr, Mode_switch,
    locks.
    """
    return 0xFFE1 <= keysym <= 0xFFEE or 0xFE01 <= keysym <= 0xFE13 or keysym in (MODE_SWITCH, NUM_LOCK)


def _is_keypad_figure(keysym: int) -> bool:
    # KP_0 to KP_9, KP_Separator, KP_Decimal: what Num Lock makes of the keypad's arrows.
    return 0xFFB0 <= keysym <= 0xFFB9 or keysym in (0xFFAC, 0xFFAE)


def _is_case_pair(plain: int, shifted: int) -> bool:
    lower, upper = _character(plain), _character(shifted)
    return lower is not None and upper is not None and lower != upper and lower.upper() == upper


def _character(keysym: int) -> str | None:
    if 0x20 <= keysym < 0x100:
        return chr(keysym)
    if _UNICODE < keysym <= _UNICODE + 0x10FFFF:
        return chr(keysym - _UNICODE)
    # Latin-2 to Latin-9, Greek, Cyrillic and others have keysyms of their own from the time before Unicode.
    # Upper and lower case differ there by one bit, but which is not said anywhere; Caps Lock is left alone
    # for them.
    return None
