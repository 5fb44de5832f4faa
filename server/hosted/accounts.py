"""Whose the programs are: where the server is root, another user's, by default one of a pool for each session alone."""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from tilewire.server.errors import ServerError
from tilewire.server.program import all_uids
from tilewire.server.x11.process import Account

FIRST_UID: Final = 600_000
"""Above what adduser gives (59,999), systemd's dynamic users (65,519), and the subordinate users of some five people;
whatever of it is taken on a machine is left out."""
POOL_UIDS: Final = 1000
CONTAINER_UIDS: Final = range(60_706, 61_184)
"""Where a container has only the first 65,536: between what adduser and systemd give."""
UID_MAP: Final = Path("/proc/self/uid_map")
LOCKS: Final = Path("/run/tilewire-users")
"""Who has which: one for the machine, whatever servers there are. Root's alone."""
SUBORDINATE: Final = Path("/etc/subuid")


class Pool:
    """Numbers of users, given to one session at a time, by any server of this machine. For root."""

    def __init__(self, first: int = FIRST_UID, count: int = POOL_UIDS, locks: Path = LOCKS) -> None:
        self.spare = first
        """Nothing ever runs as this one."""
        self._uids = range(first + 1, first + count)
        self._locks = locks
        self._held: dict[int, int] = {}

    def __contains__(self, uid: int) -> bool:
        return uid in self._uids

    def lease(self, wanted: int | None = None) -> int:
        """A user that nothing runs as; `wanted` if that is free. Raises ServerError where there is none. Blocks.

        One that was not given back comes last: its server was killed, and its folders lie open to it until they are
        cleared away.
        """
        busy = all_uids()
        foreign = _foreign_uids(self._uids)
        noted = set(os.listdir(self._locks)) if self._locks.exists() else set()
        order = sorted(self._uids, key=lambda uid: (str(uid) in noted, uid != wanted))
        for uid in order:
            if uid not in busy and uid not in foreign and self.hold(uid):
                return uid
        raise ServerError(f"none of the users {self._uids[0]} to {self._uids[-1]} is free")

    def hold(self, uid: int) -> bool:
        """Take this one for us, whatever runs as it. Returns False where a server has it, or it is not the pool's."""
        if uid not in self or uid in self._held:
            return False
        self._locks.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        path = self._locks / str(uid)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, stat.S_IRUSR | stat.S_IWUSR)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            with suppress(FileNotFoundError):
                if os.stat(path).st_ino == os.fstat(fd).st_ino:
                    self._held[uid] = fd
                    return True
            # Who had it has removed it in the meantime.
            os.close(fd)

    def release(self, uid: int) -> None:
        """Give it back; nothing runs as it any more."""
        fd = self._held.pop(uid)
        (self._locks / str(uid)).unlink()
        os.close(fd)


def default_pool() -> Pool | None:
    """Where we are root, the users of this machine, or of this container; None where there are none to be had."""
    if os.geteuid() != 0:
        return None
    rows = [tuple(map(int, line.split())) for line in UID_MAP.read_text().splitlines()]
    for uids in (range(FIRST_UID, FIRST_UID + POOL_UIDS), CONTAINER_UIDS):
        if any(first <= uids.start and uids.stop <= first + count for first, _, count in rows):
            return Pool(uids.start, len(uids))
    return None


def _foreign_uids(wanted: range) -> set[int]:
    """Those of `wanted` that this machine gives to somebody: by a name, or for somebody's containers."""
    found = {entry.pw_uid for entry in pwd.getpwall()}
    with suppress(OSError):
        for line in SUBORDINATE.read_text().splitlines():
            with suppress(ValueError):
                first, count = map(int, line.split(":")[1:3])
                found |= set(wanted) & set(range(max(first, wanted.start), min(first + count, wanted.stop)))
    return found


def named_account(name: str) -> Account | None:
    """The account of a user of this machine; None where it is our own. Raises ServerError where it cannot be had."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ServerError(f"there is no user {name!r}") from None
    if entry.pw_uid == os.geteuid() != 0:
        return None
    if os.geteuid() != 0:
        raise ServerError(f"a program of the user {name!r} can only be started by root")
    if entry.pw_uid == 0:
        raise ServerError("programs are never started as root")
    groups = tuple(group for group in os.getgrouplist(name, entry.pw_gid) if group != 0)
    return Account(entry.pw_uid, entry.pw_gid, groups)


def account_name(account: Account | None) -> str:
    """What a program is told that its user is called."""
    try:
        return pwd.getpwuid(account.uid if account is not None else os.geteuid()).pw_name
    except KeyError:
        return "tilewire"
