"""What the store holds, as it hands it out, and which texts may be names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tilewire.server.store.errors import NotAllowed

MAX_ID_BYTES: Final = 64
"""Of a device's id: HELLO has no room for more (protocol/messages.py)."""
MAX_NOTE: Final = 200
"""Characters of a token's note: a line of a table."""
MAX_REASON: Final = 500
"""Characters of the reason why a session ended: a sentence. What is longer is cut off."""

COMMAND_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""A device that `tilewire device add` names: it goes unquoted into shells, C strings and spreadsheets."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""Sessions and profiles: they stand in URLs."""


class Role(StrEnum):
    """What the holder of a token may do. An operator may all that a viewer may."""

    VIEWER = "viewer"
    OPERATOR = "operator"

    def may(self, needed: Role) -> bool:
        """Whether this role is enough where `needed` is asked for."""
        return self is Role.OPERATOR or self is needed


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """A device that is known; its key is not in here. `profiles` empty: none was said, the access rules decide.

    Times are Unix seconds. `seen_s` is late by a minute at most.
    """

    name: str
    profiles: tuple[str, ...]
    default: str | None
    created_s: float
    seen_s: float | None
    disabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that was given out; the token itself is not in here, and nobody can compute it from what is.

    Times are Unix seconds. `expires_s` None: never. `used_s` is late by a minute at most.
    """

    id: int
    role: Role
    note: str
    created_s: float
    expires_s: float | None
    used_s: float | None

    def valid(self, now_s: float) -> bool:
        """Whether it lets somebody in at this time."""
        return self.expires_s is None or now_s < self.expires_s


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One session: how long it was there, how long it was looked at (two viewers count twice), what went over the wire.

    Times are Unix seconds. `ended_s` and `reason` None: it runs. `seen_s`: when this row was last written.
    """

    id: int
    session: str
    profile: str
    device: str | None
    started_s: float
    seen_s: float
    ended_s: float | None
    seconds: float
    viewer_seconds: float
    bytes_down: int
    bytes_up: int
    reason: str | None


def printable(text: str) -> str:
    """`text` on one line, for logs, tables and sentences: what is not printable becomes U+FFFD.

    A device that has proved nothing calls itself what it likes, also something that moves a terminal's cursor.
    """
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def check_device(name: str) -> str:
    """A device's id as the protocol allows it: 1 to 64 bytes of UTF-8. Raises NotAllowed."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= MAX_ID_BYTES:
        raise NotAllowed(f"a device's name has 1 to {MAX_ID_BYTES} bytes of UTF-8")
    return name


def check_name(name: str, what: str) -> str:
    """The name of a session or a profile. Raises NotAllowed."""
    if not _NAME.fullmatch(name):
        raise NotAllowed(f"{what} is named by 1 to 64 letters, digits, _ and -, not {printable(name)[:80]!r}")
    return name


def check_profiles(profiles: tuple[str, ...], default: str | None) -> tuple[str, ...]:
    """Names in order, each once; the default one is among them where any are said. Raises NotAllowed."""
    for name in (*profiles, *(() if default is None else (default,))):
        check_name(name, "a profile")
    if default is not None and profiles and default not in profiles:
        raise NotAllowed(f"the default profile {default} is not among those that the device may open")
    return tuple(sorted(set(profiles)))
