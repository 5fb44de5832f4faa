"""Child processes that cannot outlive us: Xvfb here, and whoever else wants one.

Not `trio.lowlevel.open_process`: that forks in a worker thread, and the kernel's "kill me when my parent is
gone" (PR_SET_PDEATHSIG) means the parent *thread*; trio's worker threads go after ten idle seconds. So the
fork is made in trio's own thread (about 1 ms, once per child) and its end is awaited through a pidfd. The
request itself is made by util-linux's `setpriv`, which is essential on Debian, because Python code between
fork and exec is unsafe in a process with threads. Without `setpriv` the children of a killed server stay.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

import trio

_GRACE_S = 2.0
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

_ours: set[int] = set()
"""Children that `start_child` knows; where we adopt orphans, any other child is one."""
_adopting = False


def adopt_orphans() -> None:
    """What our children leave behind becomes our child, however it detached itself (PR_SET_CHILD_SUBREAPER).

    For a process that starts children by `start_child` alone: `end_orphans` ends all others.
    """
    global _adopting  # noqa: PLW0603 - it is the process that adopts
    _adopting = True
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans() -> bool:
    """Kill and reap what fell to us. Returns whether there was any; call again until there is none."""
    found = False
    if not _adopting:
        return found
    for pid in _children():
        if pid in _ours:
            continue
        found = True
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return found


def _children() -> list[int]:
    """Our children, dead ones that nobody has reaped among them, whichever thread started them."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


class Child:
    """A running child, leader of a session and process group of its own; made by `start_child`.

    It is reaped only when its block ends: until then its number, which is its group's too, is nobody else's.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Process id, and id of its process group."""
        return self._process.pid

    async def wait(self) -> int:
        """Return its exit status once it has ended: negative for a signal, as `subprocess` has it."""
        pidfd = os.pidfd_open(self.pid)
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it has ended
        assert ended is not None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole process group."""
        os.killpg(self.pid, number)

    async def end(self) -> None:
        """End its process group and reap it: for `start_child`; a child is of no use afterwards."""
        with trio.CancelScope(shield=True):
            self.signal(signal.SIGTERM)
            # A stopped process acts on SIGTERM only when it continues.
            self.signal(signal.SIGCONT)
            with trio.move_on_after(_GRACE_S):
                await self.wait()
            # Also for those of the group that outlived their leader.
            self.signal(signal.SIGKILL)
            await self.wait()
        # Reaps it: it has ended.
        self._process.poll()


@asynccontextmanager
async def start_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> AsyncIterator[Child]:
    """Run a command inside the block; whatever way the block ends, its process group has ended by then.

    SIGTERM, after two seconds SIGKILL. stdin is empty. Raises OSError when the command cannot be started.
    """
    # With setpriv in front a missing command would only be a message of setpriv.
    if shutil.which(command[0], path=env.get("PATH") if env is not None else None) is None:
        raise FileNotFoundError(f"{command[0]}: no such command")
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv is not None else []
    process = subprocess.Popen(  # noqa: ASYNC220 - see above
        [*prefix, *command],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=env,
        cwd=cwd,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    child = Child(process)
    _ours.add(process.pid)
    try:
        yield child
    finally:
        await child.end()
        _ours.discard(process.pid)


def ending(status: int) -> str:
    """How a child ended, for a sentence: "ended with exit code 1", "was killed by SIGKILL"."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
