"""Child processes that cannot outlive us: Xvfb, the programs of sessions, and whoever else wants one.

Not `trio.lowlevel.open_process`: that forks in a worker thread, and the kernel's "kill me when my parent is
gone" (PR_SET_PDEATHSIG) means the parent *thread*; trio's worker threads go after ten idle seconds. So the
fork is made in trio's own thread (about 1 ms, once per child) and its end is awaited through a pidfd. What is
between fork and exec is a program of ours, server/native/launch.c, because Python code there is unsafe in a process
with threads. Where it was not built, util-linux's `setpriv` makes the request, and nothing else can be asked for;
without either the children of a killed server stay.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Final

import trio

GRACE_S: Final = 2.0
"""Between SIGTERM and SIGKILL."""
LOOK_S: Final = 0.02
"""Between two looks for whether a child has ended, where no descriptor is left to be told by."""
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_SENTENCE_BYTES: Final = 4096
_PROC_BYTES: Final = 65536

_ours: set[int] = set()
"""Children that `start_child` knows; where we adopt orphans, others that lead sessions of their own are orphans."""
_adopting = False
_starting = threading.Lock()
"""Held while a child is there that is not among `_ours` yet: other threads look for orphans too."""


@cache
def launcher() -> Path | None:
    """The program that children are started by; None where it was not built, which needs Linux."""
    path = Path(str(resources.files("tilewire.server") / "launch"))
    return path if path.exists() else None


# Orphans.


def adopt_orphans(adopt: bool = True) -> bool:
    """What our children leave behind becomes our child, however it detached itself (PR_SET_CHILD_SUBREAPER).

    For a process whose children are started by `start_child`, or stay in its own process session (as those of
    `subprocess` do): all others count as orphans. Returns whether it was so before.
    """
    global _adopting
    before, _adopting = _adopting, adopt
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)
    return before


@dataclass(frozen=True, slots=True)
class Stat:
    """What the kernel says of a process in /proc/PID/stat."""

    pid: int
    state: str
    parent: int
    session: int
    """The process session's leader."""
    start: int
    """Clock ticks since the machine's start: with the number it is one process and no later one."""
    threads: int

    @property
    def is_dead(self) -> bool:
        """It has ended, and its parent has not heard of it yet. The state is the first thread's: others may go on."""
        return self.state in "ZX" and self.threads <= 1


def stat_of(pid: int) -> Stat | None:
    """None where there is no such process."""
    data = proc_file(pid, "stat")
    if not data:
        return None
    # The name stands in parentheses and may contain any.
    words = data[data.rindex(b")") + 2 :].split()
    return Stat(pid, words[0].decode(), int(words[1]), int(words[3]), int(words[19]), int(words[17]))


def proc_file(pid: int, name: str) -> bytes | None:
    """What is in /proc/PID/NAME; None where there is no such process, or it is not for us.

    By bare system calls: there are hundreds to read.
    """
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = b""
        while part := os.read(fd, _PROC_BYTES):
            data += part
    except OSError:
        return None
    finally:
        os.close(fd)
    return data


def orphans() -> list[Stat]:
    """Children that are none of ours: they fell to us. Dead ones that nobody has reaped are among them."""
    if not _adopting:
        return []
    session = os.getsid(0)
    with _starting:
        strangers = [pid for pid in _children() if pid not in _ours]
    found = map(stat_of, strangers)
    return [stat for stat in found if stat is not None and stat.session != session and stat.parent == os.getpid()]


def reap_orphans() -> None:
    """Let go of those that have ended.

    By asking the kernel which have: a session's program can leave thousands that live, so nothing is read of these.
    """
    if not _adopting:
        return
    with suppress(ChildProcessError):
        while (pid := _ended(os.P_ALL, 0)) is not None:
            if not _reap(pid):
                # A child that is not ours to reap hides the others behind it, until somebody has heard of its end.
                break
        else:
            return
    for pid in _children():
        with suppress(ChildProcessError):
            if _ended(os.P_PID, pid) is not None:
                _reap(pid)


def _ended(which: int, number: int) -> int | None:
    """A child that has ended, all its threads too; it stays. Raises ChildProcessError where there is no child."""
    found = os.waitid(which, number, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found.si_pid if found is not None else None


def _reap(pid: int) -> bool:
    """Let go of a child that has ended. Returns whether it was an orphan; all others are left to who started them."""
    with _starting:
        # Another thread may have been faster.
        with suppress(ProcessLookupError, ChildProcessError):
            if pid in _ours or os.getsid(pid) == os.getsid(0):
                return False
            os.waitpid(pid, os.WNOHANG)
        return True


def _children() -> list[int]:
    """Our children, dead ones that nobody has reaped among them, whichever thread started them."""
    found: list[int] = []
    # Without a descriptor left there is no list: none of them is touched then.
    with suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


# Children.


@dataclass(frozen=True, slots=True)
class Account:
    """Whose a process is."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    """Supplementary ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a child is to run. Other terms than the default need the launcher."""

    account: Account | None = None
    """None: ours. Any other needs root."""
    no_new_privileges: bool = False
    fds: Mapping[int, int] | None = None
    """The child's descriptors (3 to 255), and which of ours they are; it has no others but stdin, stdout and stderr."""
    limits: Sequence[tuple[int, int, int]] = ()
    """RLIMIT_ number, soft, hard."""
    umask: int | None = None

    def words(self) -> list[str]:
        """For the launcher."""
        words = []
        if self.account is not None:
            words += ["--user", str(self.account.uid), "--group", str(self.account.gid)]
            if self.account.groups:
                words += ["--groups", ",".join(map(str, self.account.groups))]
        if self.no_new_privileges:
            words.append("--no-new-privileges")
        for theirs, ours in (self.fds or {}).items():
            words += ["--fd", f"{ours}:{theirs}"]
        for limit in self.limits:
            words += ["--limit", ":".join(map(str, limit))]
        if self.umask is not None:
            words += ["--umask", f"{self.umask:o}"]
        return words


AS_WE_ARE: Final = Terms()


class Child:
    """A running child, leader of a session and process group of its own; made by `start_child`.

    It is reaped only when its block ends: until then its number, which is its group's too, is nobody else's.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._ended = False

    @property
    def pid(self) -> int:
        """Process id, and id of its process group."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status where it has ended, as `wait` returns it."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    async def wait(self) -> int:
        """Return its exit status once it has ended: negative for a signal, as `subprocess` has it."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            while (status := self.status) is None:  # noqa: ASYNC110 - without a descriptor nobody tells
                await trio.sleep(LOOK_S)
            return status
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        status = self.status
        assert status is not None
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole process group."""
        os.killpg(self.pid, number)

    def ask_to_end(self) -> None:
        """SIGTERM to its whole process group; a stopped process acts on it only when it continues."""
        # (What runs a set-user-id program is not ours to signal.)
        for number in (signal.SIGTERM, signal.SIGCONT):
            with suppress(ProcessLookupError, PermissionError):
                self.signal(number)

    async def end(self, grace_s: float = GRACE_S, *, asked: bool = False) -> None:
        """Ask it to end, unless it was `asked` already, and after `grace_s` kill its process group, also those that
        outlived their leader. Its number stays its own. Ending it twice is ending it once.
        """
        if self._ended:
            return
        with trio.CancelScope(shield=True):
            if not asked:
                self.ask_to_end()
            with trio.move_on_after(grace_s):
                await self.wait()
            self.signal(signal.SIGKILL)
            await self.wait()
        self._ended = True

    async def forget(self, grace_s: float = GRACE_S) -> None:
        """End it and let go of its number: for `start_child`; a child is of no use afterwards."""
        await self.end(grace_s)
        self._process.poll()
        _ours.discard(self.pid)


@asynccontextmanager
async def start_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
    terms: Terms = AS_WE_ARE,
    grace_s: float = GRACE_S,
) -> AsyncIterator[Child]:
    """Run a command inside the block; whatever way the block ends, its process group has ended by then.

    SIGTERM, after `grace_s` SIGKILL. stdin is empty. Raises OSError when the command cannot be started.
    """
    # Found here, by its own PATH: the launcher searches for nothing.
    file = shutil.which(command[0], path=env.get("PATH", os.defpath) if env is not None else None)
    if file is None:
        raise FileNotFoundError(f"{command[0]}: no such command")
    file = str(Path.cwd() / file)
    with ExitStack() as parents_copies:
        started: int | None = None
        given = list(pass_fds)
        if (launch := launcher()) is not None:
            started, report = os.pipe()
            reports = trio.lowlevel.FdStream(started)
            parents_copies.callback(os.close, report)
            given += [report, *(terms.fds or {}).values()]
            prefix = [str(launch), "--parent", str(os.getpid()), "--report", str(report), "--file", file]
            for fd in pass_fds:
                prefix += ["--fd", f"{fd}:{fd}"]
            if cwd is not None:
                prefix += ["--directory", str(cwd)]
            prefix += [*terms.words(), "--"]
        elif terms != AS_WE_ARE:
            raise FileNotFoundError("the launcher was not built: it needs Linux; make setup builds it")
        else:
            setpriv = shutil.which("setpriv")
            prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv is not None else []
        try:
            with _starting:
                process = subprocess.Popen(  # noqa: ASYNC220 - see above
                    [*prefix, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    env=env,
                    cwd=None if launch is not None else cwd,
                    pass_fds=given,
                    start_new_session=True,
                )
                _ours.add(process.pid)
        except OSError:
            if started is not None:
                await reports.aclose()
            raise
    child = Child(process)
    try:
        if started is not None:
            async with reports:
                await _hear(reports, child)
        yield child
    finally:
        await child.forget(grace_s)


async def _hear(reports: trio.abc.ReceiveStream, child: Child) -> None:
    """Return when the launcher has become the program. Raises OSError with what it said otherwise."""
    sentence = b""
    async for part in reports:
        sentence += part
        if len(sentence) > _SENTENCE_BYTES:
            break
    if sentence:
        raise OSError(sentence.decode(errors="replace").strip())


def ending(status: int) -> str:
    """How a child ended, for a sentence: "ended with exit code 1", "was killed by SIGKILL"."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
