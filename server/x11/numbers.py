"""Numbers of displays: taken as X servers take them, by a lock file, and never one that somebody answers on.

`Xvfb -displayfd` looks for a number by itself, but makes no lock and knows of a number's other user by the abstract
socket alone. Where /tmp is shared and the network namespace is not (containers, our own links), it would remove the
socket of a running display and put its own there.
"""

from __future__ import annotations

import os
import random
import re
import socket
import stat
import tempfile
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tilewire.server.x11.errors import DisplayError

SOCKETS: Final = Path("/tmp/.X11-unix")
"""Where X servers have theirs."""

_LOCKS: Final = Path("/tmp")
_LOCK_BYTES: Final = 11
# As many as -displayfd looks at.
_NUMBERS: Final = 65536 - 6000
_LOW: Final = 100
_CLAIMS: Final = 10
_CLAIM_PAUSE_S: Final = 0.02


@contextmanager
def reserved_number(but: Container[int] = ()) -> Iterator[int]:
    """The lowest display number that nobody uses, ours inside the block; where the first hundred are taken, any.

    `but`: none of these. Blocks for as long as a user of this machine likes who makes many files. Raises DisplayError.
    """
    for number in _order():
        if number in but or is_taken(number):
            continue
        lock = _LOCKS / f".X{number}-lock"
        try:
            if not _lock(lock):
                continue
        except OSError as problem:
            raise DisplayError(f"no display number can be reserved: {problem}") from None
        try:
            # Somebody may have come and made a lock, a socket, and removed the lock since we looked.
            if not is_taken(number) and _is_free(number):
                yield number
                return
        finally:
            lock.unlink(missing_ok=True)
    raise DisplayError(f"each of the {_NUMBERS} display numbers is in use")


def _order() -> Iterator[int]:
    """All numbers. Who takes thousands in a row is not in the way for longer than who takes some here and there."""
    yield from range(_LOW)
    others = list(range(_LOW, _NUMBERS))
    random.shuffle(others)
    yield from others


def socket_path(name: str) -> Path:
    """Where the X server of a display (":5") listens, and by the same name in the abstract namespace."""
    return SOCKETS / f"X{name[1:]}"


def is_taken(number: int) -> bool:
    """Whether an X server answers for it, or something that is no socket has its place."""
    path = socket_path(f":{number}")
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return True
    except OSError:
        # Where there is no folder, or none for us, the abstract name is left.
        pass
    return any(map(_is_answered, (str(path), f"\0{path}")))


def _is_free(number: int) -> bool:
    """Whether nobody has the abstract name, be it without listening. Only under its lock: meanwhile we have it."""
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f"\0{socket_path(f':{number}')}")
        except OSError:
            return False
    return True


def clear_display(name: str) -> bool:
    """Remove the socket and the lock of a display whose X server and whose starter were killed.

    Returns whether there was a socket. Where another X server has the number by now it is left alone. May block for
    0.2 s.
    """
    lock = _LOCKS / f".X{name[1:]}-lock"
    if _is_stale(lock):
        lock.unlink(missing_ok=True)
    path = socket_path(name)
    for _ in range(_CLAIMS):
        if not path.exists() or _is_answered(str(path)):
            break
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                # X servers bind this one too. While we have it, none begins to use the number.
                claim.bind(f"\0{path}")
                path.unlink()
            except OSError:
                # One that looks for a number tries this too, and leaves it when it may not remove the other's socket.
                time.sleep(_CLAIM_PAUSE_S)
            else:
                return True
    return False


def _is_answered(address: str) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        # One with a full queue is there all the same.
        probe.setblocking(False)
        try:
            probe.connect(address)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def _lock(lock: Path) -> bool:
    """Make a display's lock, whole from the start; instead of one whose maker is gone. Returns whether it is ours.

    Raises OSError.
    """
    with tempfile.NamedTemporaryFile("w", prefix=".tX", dir=lock.parent) as made:
        made.write(f"{os.getpid():10}\n")
        made.flush()
        os.fchmod(made.fileno(), 0o444)
        for _ in range(2):
            try:
                os.link(made.name, lock)
            except FileExistsError:
                if not _is_stale(lock):
                    return False
                try:
                    lock.unlink(missing_ok=True)
                except PermissionError:
                    # Another user's, in a folder with the sticky bit.
                    return False
            else:
                return True
    return False


def _is_stale(lock: Path) -> bool:
    """Whether its maker is gone: there is no such process, or it has become somebody else's."""
    try:
        # Anybody can put anything there, a FIFO or a link too.
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        text = os.read(descriptor, _LOCK_BYTES + 1) if stat.S_ISREG(found.st_mode) else b""
    finally:
        os.close(descriptor)
    if not re.fullmatch(rb" {0,9}[1-9][0-9]{0,9}\n", text):
        return False
    try:
        return os.stat(f"/proc/{int(text)}").st_uid != found.st_uid
    except FileNotFoundError:
        return True
