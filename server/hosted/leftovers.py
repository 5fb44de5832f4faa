"""What processes leave in places that all share: System V objects, and files outside their folders."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tilewire.server.hosted.folders import remove_tree
from tilewire.server.x11.process import stat_of

SYSTEM_V: Final = Path("/proc/sysvipc")
SHARED_FOLDERS: Final = tuple(
    map(Path, ("/tmp", "/tmp/.X11-unix", "/tmp/.ICE-unix", "/var/tmp", "/dev/shm", "/dev/mqueue"))
)
"""Where everybody may create files."""
_IPC_RMID: Final = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A System V shared memory segment."""

    id: int
    creator: int
    """Process id."""
    attached: int
    """How many processes have it."""
    uids: frozenset[int]
    """Owner and creator."""
    changed_s: int
    """Seconds since 1970."""


def segments() -> list[Segment]:
    """Those of this machine, or of this container."""
    found = []
    for row in _rows("shm"):
        uids = frozenset((int(row["uid"]), int(row["cuid"])))
        found.append(Segment(int(row["shmid"]), int(row["cpid"]), int(row["nattch"]), uids, int(row["ctime"])))
    return found


def remove_segments(pids: Collection[int], since_s: float) -> int:
    """Remove those that these processes, dead by now, have made since then and nobody has any more; returns how many.

    For programs that share a user with others.
    """
    count = 0
    for segment in segments():
        if segment.creator in pids and not segment.attached and segment.changed_s >= int(since_s):
            count += _remove("shmctl", segment.id)
    return count


def remove_of_user(uid: int) -> list[str]:
    """Remove all that a user of nobody else's has left, which runs nothing any more. Returns sentences. Blocks."""
    sentences = []
    for name, key, call, title in (
        ("shm", "shmid", "shmctl", "shared memory segment"),
        ("sem", "semid", "semctl", "semaphore set"),
        ("msg", "msqid", "msgctl", "message queue"),
    ):
        ids = [int(row[key]) for row in _rows(name) if uid in (int(row["uid"]), int(row["cuid"]))]
        if count := sum(_remove(call, number) for number in ids):
            sentences.append(f"{count} {title}{'s' * (count != 1)}")
    files = 0
    for folder in SHARED_FOLDERS:
        with suppress(OSError):
            for path in folder.iterdir():
                with suppress(OSError):
                    if path.lstat().st_uid == uid:
                        remove_tree(path)
                        files += 1
    if files:
        sentences.append(f"{files} file{'s' * (files != 1)} in shared folders")
    return sentences


def _rows(name: str) -> list[dict[str, str]]:
    try:
        head, *lines = (SYSTEM_V / name).read_text().splitlines()
    except OSError:
        # A kernel without them.
        return []
    return [dict(zip(head.split(), line.split())) for line in lines]


def _remove(call: str, number: int) -> bool:
    libc = ctypes.CDLL(None)
    function: Callable[..., int] = getattr(libc, call)
    if call == "semctl":
        return function(number, 0, _IPC_RMID) == 0
    return function(number, _IPC_RMID, None) == 0


def boot_id() -> str:
    """Of this start of the machine: process ids of another mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number, and not only what its parent has yet to hear of."""
    stat = stat_of(pid)
    return stat is not None and not stat.is_dead
