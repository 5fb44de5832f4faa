"""What the tests of hosted sessions share: a floor of their own, profiles, programs, and looks at what is there."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final

import trio
import trio.testing

from tilewire.server.config.models import Profile
from tilewire.server.hosted.accounts import Pool
from tilewire.server.hosted.floor import Floor, open_floor
from tilewire.server.hosted.hosted import Hosted, Spec, open_hosted
from tilewire.server.program import uids_of
from tilewire.server.run import Ending
from tilewire.server.values import Size
from tilewire.server.x11.process import launcher, stat_of

WITHIN_S: Final = 30.0
ROOT: Final = os.geteuid() == 0
IDLE: Final = ("sleep", "1000")
SMALL: Final = Size(320, 200)
POOL_UIDS: Final = 50


def own_pool() -> Pool | None:
    """Users that no other test process takes, where we are root."""
    return Pool(700_000 + os.getpid() % 10_000 * POOL_UIDS, POOL_UIDS) if ROOT else None


@contextmanager
def new_ground() -> Iterator[Path]:
    """A folder that other users can pass through, as pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="tilewire-ground-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def profile(*command: str, **fields: Any) -> Profile:
    """A profile of this command; `fields`: its others."""
    return Profile(**{"name": "tried", "command": command or IDLE, "size": SMALL, "grace_s": 1.0, **fields})


def python(program: str) -> tuple[str, ...]:
    """A command that runs this, by the system's Python: ours may be where other users cannot reach it."""
    return ("python3", "-c", program)


def spec(what: Profile, name: str = "one", **fields: Any) -> Spec:
    """A session of this profile, as large as it says."""
    return Spec(**{"id": name, "profile": what, "size": what.size, **fields})


class Running:
    """A session whose `run` goes on."""

    def __init__(self, hosted: Hosted) -> None:
        self.hosted = hosted
        self._ending: Ending | None = None
        self._over = trio.Event()

    async def run(self) -> None:
        self._ending = await self.hosted.run()
        self._over.set()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    async def ending(self) -> Ending:
        """How it ended, once it has."""
        with trio.fail_after(WITHIN_S):
            await self._over.wait()
        assert self._ending is not None
        return self._ending


@asynccontextmanager
async def running(wanted: Spec, floor: Floor) -> AsyncIterator[Running]:
    """A session that is supervised while the block lasts."""
    async with open_hosted(wanted, floor) as hosted:
        async with trio.open_nursery() as nursery:
            made = Running(hosted)
            nursery.start_soon(made.run)
            try:
                yield made
            finally:
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def floored(folder: Path, **options: Any) -> AsyncIterator[Floor]:
    """A floor there."""
    async with open_floor(folder / "floor", **{"pool": own_pool(), **options}) as floor:
        yield floor


POLLED: Final = 8
"""Most descriptors that a thread waits for by poll(2), which takes no more than there may be files."""


@contextmanager
def without_descriptors(pid: int = 0) -> Iterator[None]:
    """A process (0: we) opens no file and no socket inside the block; those that it has stay."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(name) for name in os.listdir(f"/proc/{pid or 'self'}/fd")}
    # The first ones stay for as long as the process. With less poll(2) would be an error of what goes on.
    most = next(number for number in range(POLLED + 1) if number not in taken or number == POLLED)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


BEYOND_ALL: Final = 1 << 47
"""Bytes of a thread's stack: more than a process's addresses."""


@asynccontextmanager
async def without_threads() -> AsyncIterator[None]:
    """No thread can be had inside the block, as where a user has as many as the system allows."""
    release = threading.Event()
    any_number = trio.CapacityLimiter(1000)
    async with trio.open_nursery() as nursery:
        full = trio.Event()

        async def occupy() -> None:
            try:
                await trio.to_thread.run_sync(release.wait, limiter=any_number)
            except RuntimeError:
                full.set()

        before = threading.stack_size(BEYOND_ALL)
        try:
            # Those that trio keeps are taken one by one; then there are none.
            while not full.is_set():
                nursery.start_soon(occupy)
                await trio.testing.wait_all_tasks_blocked()
            yield
        finally:
            threading.stack_size(before)
            release.set()


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Return once this is so: for what happens in other processes, which tell nobody."""
    with trio.move_on_after(WITHIN_S) as patience:
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert not patience.cancelled_caught, what or "it did not come to be"


async def lines_of(path: Path, count: int = 1) -> list[str]:
    """The lines that a program has written to a file, once there are so many."""

    def lines() -> list[str]:
        return path.read_text().splitlines() if path.exists() and path.read_text().endswith("\n") else []

    await until(lambda: len(lines()) >= count, f"there are no {count} lines in {path.name}")
    return lines()


def is_alive(pid: int) -> bool:
    """Whether a process runs: a dead one that nobody has reaped does not."""
    stat = stat_of(pid)
    return stat is not None and not stat.is_dead


def exists(pid: int) -> bool:
    """Whether there is anything of that number, dead or alive."""
    return stat_of(pid) is not None


def processes_of(uid: int) -> list[int]:
    """All that run as a user."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if is_alive(pid) and uid in uids_of(pid)]


class OtherServer:
    """A server process with sessions (hosted_server.py), which can be killed."""

    def __init__(self, process: trio.Process, told: dict[str, Any]) -> None:
        self.process = process
        self.told = told

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """Of each: pids of program, window manager and Xvfb, display, folder, uid."""
        return list(self.told["sessions"])

    @property
    def cleared(self) -> list[str]:
        """What it found and cleared away."""
        return list(self.told["cleared"])

    async def kill(self) -> None:
        """As the kernel does it when memory is short."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> None:
        """As an operator does it."""
        self.process.send_signal(signal.SIGTERM)
        with trio.fail_after(WITHIN_S):
            assert await self.process.wait() == 0


@asynccontextmanager
async def other_server(
    folder: Path, *profiles: dict[str, Any], uid: int | None = None, first_uid: int = 0
) -> AsyncIterator[OtherServer]:
    """A server with a session of each of these profiles. `uid`: it runs as this user, for which we need to be root."""
    order = json.dumps({"folder": str(folder / "floor"), "profiles": profiles, "first_uid": first_uid})
    command = [sys.executable, "-m", "tests.server.hosted_server", order]
    if uid is not None:
        launch = launcher()
        assert launch is not None
        command = [str(launch), "--user", str(uid), "--group", str(uid), "--", *command]
    # Such as tempfile's.
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), "SECRET": "of the server"}
    process = await trio.lowlevel.open_process(command, stdout=PIPE, env=environment, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    try:
        said = b""
        with trio.fail_after(WITHIN_S):
            while not said.endswith(b"\n"):
                part = await process.stdout.receive_some()
                assert part, "the server ended; its log is above"
                said += part
        yield OtherServer(process, json.loads(said))
    finally:
        with trio.CancelScope(shield=True):
            await process.stdout.aclose()
            if process.returncode is None:
                process.kill()
            await process.wait()
