"""What a session used goes back to the machine when it ends."""

from __future__ import annotations

import ctypes
from typing import Final

M_ARENA_MAX: Final = -8
"""mallopt(3)."""
ARENAS: Final = 2
"""glibc's default is eight for each processor, and each keeps what its threads have freed."""


def keep_few_arenas() -> None:
    """For a server that is to be as small after a thousand sessions as after ten. Where libc is not glibc: nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Return freed memory to the system; takes some milliseconds, so it belongs into a thread."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
