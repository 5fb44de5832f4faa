"""Child processes that cannot outlive us: Xvfb here, and whoever else wants one.

Not `trio.lowlevel.open_process`: that forks in a worker thread, and the kernel's "kill me when my parent is
gone" (PR_SET_PDEATHSIG) means the parent *thread*; trio's worker threads go after ten idle seconds. So the
fork is made in trio's own thread (about 1 ms, once per child) and its end is awaited through a pidfd. The
request itself is made by util-linux's `setpriv`, which is essential on Debian, because Python code between
fork and exec is unsafe in a process with threads. Without `setpriv` the children of a killed server stay.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import trio

_GRACE_S = 2.0


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
    try:
        yield child
    finally:
        await child.end()


def ending(status: int) -> str:
    """How a child ended, for a sentence: "ended with exit code 1", "was killed by SIGKILL"."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
