"""A command run on a display, and nothing left of it when the block ends, not even what left its process group."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

import trio

from tilewire.server.errors import ServerError
from tilewire.server.x11.process import Child, Stat, launcher, orphans, proc_file, reap_orphans, start_child, stat_of

log = logging.getLogger(__name__)

T = TypeVar("T")

MARK: Final = "TILEWIRE_PROGRAM"
"""In the environment of everything a program starts: what left its process group is found by it."""
SWEEP_S: Final = 0.02
GIVE_UP_S: Final = 10.0
"""A process that no signal has ended by then waits in the kernel, or is not ours to signal."""
CALM_LOOKS: Final = 3
"""In a row that find nothing: what has a child and ends at once is in none of the places where one look was."""
STROKES: Final = 50
KILLER_S: Final = 5.0
"""The launcher's kill of a whole user takes a millisecond."""


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` returns, from a worker thread; where none can be had, from here: a session is ended anyway."""
    begun = False

    def begin() -> T:
        nonlocal begun
        begun = True
        return work()

    try:
        return await trio.to_thread.run_sync(begin)
    except RuntimeError:
        if begun:
            raise
    return work()


def find_command(command: Sequence[str]) -> None:
    """Raise ServerError where there is no such program."""
    if shutil.which(command[0]) is None:
        raise ServerError(f"there is no command {command[0]!r}")


@asynccontextmanager
async def start_program(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Child]:
    """Run `command` with these variables beside our own. Raises ServerError where it cannot be started."""
    traces = Traces()
    try:
        async with start_child(command, env={**os.environ, **environment, MARK: traces.mark}) as child:
            yield child
    except OSError as error:
        raise ServerError(f"{command[0]!r} cannot be started: {error.strerror or error}") from error
    finally:
        await traces.end()


class Traces:
    """How to tell what one program or session has started from everything else.

    It carries our mark in its environment; or it is of a user of its own; or such a process started it. What erased its
    environment and detached itself fell to us, if we adopt orphans: it belongs to one of the programs that were open
    when it started, and ends with the last of these. Nothing of another's is ever ended.
    """

    _open: Final[set[Traces]] = set()

    def __init__(self, mark: str | None = None, uid: int | None = None, spare_uid: int | None = None) -> None:
        """`uid`: of a user that nothing else runs as. `spare_uid`: of another that nothing at all runs as."""
        self.mark = mark if mark is not None else uuid.uuid4().hex
        self.uid = uid
        self._spare_uid = spare_uid
        self.ended: set[tuple[int, int]] = set()
        """Who was killed: process id and start."""
        self.seen: set[tuple[int, int]] = set()
        """Who was there when somebody looked, likewise."""
        self.since = _ticks_now()
        self._open.add(self)

    def part(self, name: str) -> str:
        """The mark for one part of it, which is found with the whole too."""
        return f"{self.mark}.{name}"

    def living(self) -> list[Stat]:
        """What there is of it, except for dead processes that wait to be reaped."""
        me = os.getpid()
        table = {stat.pid: stat for stat in _processes() if stat.pid != me and not stat.is_dead}
        marks = {pid: mark_of(pid) for pid in table}
        found = {pid for pid in table if (mark := marks[pid]) is not None and _is_part(mark, self.mark)}
        found |= {pid for pid in table if self.uid is not None and self.uid in uids_of(pid)}
        unmarked = [stat for stat in orphans() if stat.pid in table and marks[stat.pid] is None]
        found |= {stat.pid for stat in unmarked if [one for one in tuple(self._open) if one.may_own(stat)] == [self]}
        _with_descendants(found, table)
        return [table[pid] for pid in found]

    def look(self) -> None:
        """Remember what there is of it now. Blocks for some milliseconds."""
        self.seen |= {(stat.pid, stat.start) for stat in self.living()}

    def may_own(self, orphan: Stat) -> bool:
        """Whether a process without a mark may have been started by this."""
        return orphan.start >= self.since and (self.uid is None or self.uid in uids_of(orphan.pid))

    async def end(self) -> None:
        """Kill all of it, until there is none."""
        with trio.CancelScope(shield=True):
            deadline = trio.current_time() + GIVE_UP_S
            calm = 0
            while True:
                try:
                    found = await in_thread(self._kill)
                except OSError as error:
                    # Without a descriptor left nobody can be looked for: perhaps there is one again in a moment.
                    if trio.current_time() > deadline:
                        log.warning("what the program has started cannot be looked for: %s", error)
                        break
                    calm = 0
                    await trio.sleep(SWEEP_S)
                    continue
                self.ended |= found
                reap_orphans()
                calm = 0 if found else calm + 1
                if calm == (1 if self._at_once else CALM_LOOKS):
                    break
                if trio.current_time() > deadline:
                    log.warning("these processes cannot be ended: %s", ", ".join(str(pid) for pid, _ in found))
                    break
                # Nobody tells when a process that is not our child has ended.
                await trio.sleep(SWEEP_S if found else 0)
        self._open.discard(self)

    @property
    def _at_once(self) -> bool:
        """Whether all of it can be killed in one stroke, so that what multiplies does not slip through a look."""
        return self.uid is not None and self._spare_uid is not None and launcher() is not None

    async def end_part(self, name: str) -> None:
        """Kill what one part of it has started, and carries its mark."""
        mark = self.part(name)

        def strike() -> bool:
            return bool(kill([stat for stat in _processes() if not stat.is_dead and mark_of(stat.pid) == mark]))

        with trio.CancelScope(shield=True), trio.move_on_after(GIVE_UP_S):
            while await in_thread(strike):
                reap_orphans()
                await trio.sleep(SWEEP_S)

    def _kill(self) -> set[tuple[int, int]]:
        if self._at_once:
            assert self.uid is not None
            assert self._spare_uid is not None
            kill_user(self.uid, self._spare_uid)
            return kill(self.living())
        found: set[tuple[int, int]] = set()
        # Those that fell to us are few to look through: the faster, the less they change meanwhile.
        for _ in range(STROKES):
            struck = kill([each for each in orphans() if not each.is_dead and self._is_marked(each.pid)])
            found |= struck
            if not struck:
                break
        return found | kill(self.living())

    def _is_marked(self, pid: int) -> bool:
        mark = mark_of(pid)
        return mark is not None and _is_part(mark, self.mark)


def kill(processes: Collection[Stat]) -> set[tuple[int, int]]:
    """SIGKILL to these, and to none that has got a number of theirs since. Returns whom: number and start."""
    for stat in processes:
        with suppress(OSError):
            pidfd = os.pidfd_open(stat.pid)
            try:
                now = stat_of(stat.pid)
                if now is not None and now.start == stat.start:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)
    return {(stat.pid, stat.start) for stat in processes}


def kill_user(uid: int, spare_uid: int) -> None:
    """Kill all processes of a user at once, which one after the other cannot be done to those that multiply."""
    launch = launcher()
    if launch is not None:
        command = [str(launch), "--kill", str(uid), "--as", str(spare_uid)]
        # Where it fails, what is left is killed one by one.
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=KILLER_S, check=False)


def mark_of(pid: int) -> str | None:
    """The mark in a process's environment. A dead one has none, and another user's shows none to us."""
    environment = proc_file(pid, "environ")
    wanted = f"{MARK}=".encode()
    if environment is None or wanted not in environment:
        return None
    found = (entry for entry in environment.split(b"\0") if entry.startswith(wanted))
    return next((entry[len(wanted) :].decode(errors="replace") for entry in found), None)


def uids_of(pid: int) -> set[int]:
    """Real, effective, saved and file system user of a process."""
    for line in (proc_file(pid, "status") or b"").split(b"\n"):
        if line.startswith(b"Uid:"):
            return {int(word) for word in line.split()[1:]}
    return set()


def all_uids() -> set[int]:
    """Users that something runs as."""
    return {uid for stat in _processes() if not stat.is_dead for uid in uids_of(stat.pid)}


def _is_part(mark: str, whole: str) -> bool:
    return mark == whole or mark.startswith(f"{whole}.")


def _processes() -> list[Stat]:
    found = (stat_of(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [stat for stat in found if stat is not None]


def _with_descendants(found: set[int], table: Mapping[int, Stat]) -> None:
    """Add to `found` whom they have started, and whom those."""
    children: dict[int, list[int]] = {}
    for stat in table.values():
        children.setdefault(stat.parent, []).append(stat.pid)
    fresh = list(found)
    while fresh:
        for child in children.get(fresh.pop(), ()):
            if child not in found:
                found.add(child)
                fresh.append(child)


def _ticks_now() -> int:
    """Now, as /proc/PID/stat counts: the start of a process that begins now is not smaller."""
    with open("/proc/uptime") as uptime:
        return int(float(uptime.read().split()[0]) * os.sysconf("SC_CLK_TCK"))
