"""What one server process has for its sessions: folders and users; and what an earlier one left when it was killed."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import stat
import threading
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from tilewire.server.errors import ServerError
from tilewire.server.hosted.accounts import Pool, default_pool, named_account
from tilewire.server.hosted.folders import remove_tree
from tilewire.server.hosted.leftovers import boot_id, is_alive, remove_of_user, remove_segments
from tilewire.server.hosted.place import PASSABLE, PRIVATE, KeptHome, Place, load_kept, make_private
from tilewire.server.hosted.record import RECORD, Record
from tilewire.server.program import Traces, in_thread, kill
from tilewire.server.x11.numbers import clear_display
from tilewire.server.x11.process import Account, adopt_orphans, launcher, reap_orphans

if TYPE_CHECKING:
    from tilewire.server.hosted.hosted import Spec

log = logging.getLogger(__name__)

SESSIONS: Final = "sessions"
HOMES: Final = "homes"
LOCK: Final = "lock"
REAP_PAUSE_S: Final = 0.1
"""Between two looks for orphans that have ended, of which a program may make thousands."""
REAP_SHARE: Final = 20
"""The pause is at least so many times as long as the look was."""
REAP_PAUSE_MOST_S: Final = 1.0
KILL_PAUSE_S: Final = 0.02
KILL_LIMIT_S: Final = 5.0


class Floor:
    """Made by `open_floor`. One server process has one, and nobody else has its folder."""

    def __init__(self, folder: Path, user: str | None, pool: Pool | None) -> None:
        self.folder = folder
        self._user = user
        self._pool = pool
        self._named: set[int] = set()
        """Users other than ours that programs run as by name, or ran under an earlier server."""
        self._homes_in_use: set[Path] = set()
        self.cleared: list[str] = []
        """Sentences about what an earlier server had left."""

    def expect(self, users: Collection[str]) -> None:
        """Say which users programs will run as, before one does: one of an earlier server may be there already."""
        for user in users:
            # One that cannot be had is said when a session is to have it.
            with suppress(ServerError):
                if (account := named_account(user)) is not None:
                    self._named.add(account.uid)

    def is_inmate(self, uid: int) -> bool:
        """Whether a user is one of sessions' programs, and of nothing else."""
        return uid in self._named or (self._pool is not None and uid in self._pool)

    @classmethod
    async def sweep(cls, folder: Path, *, pool: Pool | None = None) -> list[str]:
        """Clear away what a server that was killed has left. Returns sentences, none where it left nothing.

        Raises ServerError where a server uses the folder.
        """
        with _locked(folder):
            return await cls(folder, None, pool or default_pool()).clear()

    @asynccontextmanager
    async def place(self, spec: Spec) -> AsyncIterator[Place]:
        """Folders and a user for one session, for as long as the block lasts; nothing of it is left then.

        Raises ServerError.
        """
        async with AsyncExitStack() as stack:
            kept = self._find_home(spec, stack) if spec.profile.home == "kept" else None
            account, leased = await self._account(spec, kept, stack)
            if kept is not None:
                # Before its user is released, who may be another session's from then on.
                stack.callback(_shut, kept)
            try:
                folder = self._new_folder(self.folder / SESSIONS)
            except OSError as error:
                raise ServerError(f"a session's folder cannot be made in {self.folder}: {error.strerror}") from None
            traces = Traces(uid=leased, spare_uid=self._pool.spare if self._pool is not None else None)
            record = Record(traces.mark, leased)
            place = Place(folder, kept.home if kept is not None else folder / "home", account, traces, record)
            stack.push_async_callback(self._clear, place)
            try:
                record.save(folder)
                for own in (place.temporary, place.runtime):
                    make_private(own, account)
                if kept is None:
                    make_private(place.home, account)
                else:
                    await trio.to_thread.run_sync(kept.give, account)
            except (OSError, RecursionError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise ServerError(f"the session's folders in {self.folder} cannot be made: {reason}") from None
            yield place

    async def _account(
        self, spec: Spec, kept: KeptHome | None, stack: AsyncExitStack
    ) -> tuple[Account | None, int | None]:
        """Whose the programs are; and the user of the pool that they have for themselves."""
        user = spec.profile.user or self._user
        if user is not None:
            account = named_account(user)
            if account is not None:
                self._named.add(account.uid)
            return account, None
        if self._pool is None and os.geteuid() == 0:
            raise ServerError("there is no user for the program: this container has too few, so one must be named")
        if self._pool is None:
            return None, None
        if launcher() is None:
            raise ServerError("programs cannot be started as another user: the launcher was not built")
        # It looks at every process of the machine.
        uid = await trio.to_thread.run_sync(self._pool.lease, kept.uid if kept is not None else None)
        stack.callback(self._pool.release, uid)
        return Account(uid, uid), uid

    def _find_home(self, spec: Spec, stack: AsyncExitStack) -> KeptHome:
        """The home folder of this profile and device: the one that is there, or a new one. One session has it."""
        homes = self.folder / HOMES
        owner = (spec.profile.name, spec.device)
        found = None
        for folder in sorted(homes.iterdir()):
            kept = load_kept(folder)
            if kept is not None and (kept.profile, kept.device) == owner:
                found = kept
        if found is not None and found.folder in self._homes_in_use:
            whom = f"of the device {spec.device}" if spec.device is not None else "of no device"
            raise ServerError(f"the kept home {whom} with the profile {spec.profile.name} is in use by another session")
        if found is None:
            try:
                found = KeptHome(self._new_folder(homes, PRIVATE), *owner, uid=None)
                found.home.mkdir(mode=PRIVATE)
                # What has no owner's name was not finished.
                found.save(None)
            except OSError as error:
                raise ServerError(f"a home folder cannot be made in {homes}: {error.strerror}") from None
        self._homes_in_use.add(found.folder)
        stack.callback(self._homes_in_use.discard, found.folder)
        return found

    def _new_folder(self, where: Path, mode: int = PASSABLE) -> Path:
        """A folder with a number for its name. Raises OSError."""
        number = 1
        while True:
            folder = where / str(number)
            try:
                folder.mkdir(mode=PRIVATE)
            except FileExistsError:
                number += 1
                continue
            folder.chmod(mode)
            return folder

    async def _clear(self, place: Place) -> None:
        with trio.CancelScope(shield=True):
            await place.traces.end()
            pids = {pid for pid, _ in place.traces.ended | place.traces.seen | set(place.record.programs)}
            leased = place.record.uid
            begun_s = place.record.begun_s

            def tidy() -> None:
                if leased is not None:
                    remove_of_user(leased)
                else:
                    remove_segments({pid for pid in pids if not is_alive(pid)}, begun_s)
                _remove_session(place.folder)

            try:
                await in_thread(tidy)
            except OSError as error:
                # Its record stays, so the next server tries again.
                log.warning("the session's folder %s is not removed: %s", place.folder, error)
            # What it left is dead and may have become ours: it goes now, whenever the next look would be.
            with suppress(OSError):
                await in_thread(reap_orphans)

    async def clear(self) -> list[str]:
        """For `open_floor`: clear away what an earlier server has left. Returns sentences. Raises ServerError."""
        try:
            for folder in (self.folder / HOMES).iterdir():
                # Those whose session the server did not see end.
                folder.chmod(PRIVATE)
        except OSError as error:
            raise ServerError(f"the kept homes in {self.folder / HOMES} cannot be shut: {error.strerror}") from None
        sessions = self.folder / SESSIONS
        folders = sorted(sessions.iterdir(), key=lambda path: (len(path.name), path.name))
        sentences = [await self._sweep_session(folder) for folder in folders]
        for folder in (self.folder / HOMES).iterdir():
            if load_kept(folder) is None:
                await trio.to_thread.run_sync(remove_tree, folder)
                sentences.append(f"home {folder.name}, which was not finished: its folder")
        return sentences

    async def _sweep_session(self, folder: Path) -> str:
        record = await trio.to_thread.run_sync(Record.load, folder)
        done: list[str] = []
        uid = record.uid if record is not None else _owner(folder / "home")
        self._expect_owner(folder)
        with ExitStack() as stack:
            if uid is not None and self._pool is not None and self._pool.hold(uid):
                stack.callback(self._pool.release, uid)
            else:
                # Some server's session has it now.
                uid = None
            same_boot = record is None or record.boot == boot_id()
            traces = Traces(
                record.mark if record is not None else None,
                uid if same_boot else None,
                self._pool.spare if self._pool is not None else None,
            )
            pids: set[int] = set()
            if record is not None:
                pids = {pid for pid, _ in record.programs}
                deadline = time.monotonic() + KILL_LIMIT_S
                while (living := record.living()) and time.monotonic() < deadline:
                    traces.ended |= kill(living)
                    await trio.sleep(KILL_PAUSE_S)
            await trio.to_thread.run_sync(traces.look)
            await traces.end()
            if ended := traces.ended | traces.seen:
                done.append(_counted(len(ended), "process", "processes"))
            pids |= {pid for pid, _ in ended}
            try:
                await trio.to_thread.run_sync(self._sweep_files, folder, record, uid, pids, done)
            except OSError as error:
                done.append(f"not its folder: {error}")
                log.warning("the folder %s of an earlier session is not removed: %s", folder, error)
        return f"session {folder.name} of an earlier server: {', '.join(done)}"

    def _expect_owner(self, folder: Path) -> None:
        """What erased its mark outlives a killed server: its user is one of sessions', whatever is configured."""
        owner = _owner(folder / "tmp")
        if owner is not None and owner not in (0, os.geteuid()):
            self._named.add(owner)

    def _sweep_files(
        self, folder: Path, record: Record | None, uid: int | None, pids: set[int], done: list[str]
    ) -> None:
        if record is not None and record.display is not None and clear_display(record.display):
            done.append(f"display {record.display}")
        if uid is not None:
            done += remove_of_user(uid)
        elif record is not None and record.boot == boot_id():
            gone = {pid for pid in pids if not is_alive(pid)}
            if count := remove_segments(gone, record.begun_s):
                done.append(_counted(count, "shared memory segment", "shared memory segments"))
        _remove_session(folder)
        done.append("its folder")


@asynccontextmanager
async def open_floor(
    folder: Path, *, user: str | None = None, users: Collection[str] = (), pool: Pool | None = None
) -> AsyncIterator[Floor]:
    """Have `folder` for this server's sessions inside the block, cleared of what an earlier server left.

    `user`: whose programs are where a profile names none, for root; None: each session's of a user of its own from
    `pool`. Others need to pass through the folders above it then. `users`: those that profiles name. Raises
    ServerError, also where another server has it.
    """
    pool = pool or default_pool()
    with _locked(folder):
        if pool is not None or (user is not None and named_account(user) is not None):
            _check_passable(folder)
        floor = Floor(folder, user, pool)
        floor.expect([*users, *([user] if user is not None else [])])
        floor.cleared = await floor.clear()
        for sentence in floor.cleared:
            log.warning("cleared away: %s", sentence)
        before = adopt_orphans()
        reaping, reaped, listening = trio.CancelScope(), trio.Event(), trio.Event()

        async def reap() -> None:
            try:
                with reaping:
                    await _keep_reaping(listening)
            except OSError as error:
                # No descriptors are left, perhaps: orphans are let go of when their session ends.
                log.error("orphans are not let go of any more: %s", error)
            finally:
                listening.set()
                reaped.set()

        # No nursery: what the block raises is to come out as it is.
        trio.lowlevel.spawn_system_task(reap)
        try:
            # Of what ends before that nobody would hear.
            await listening.wait()
            yield floor
        finally:
            reaping.cancel()
            with trio.CancelScope(shield=True):
                await reaped.wait()
            reap_orphans()
            adopt_orphans(before)


async def _keep_reaping(listening: trio.Event) -> None:
    """Let go of orphans that have ended, until it is cancelled. `listening`: set when no end is missed any more."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGCHLD) != signal.SIG_DFL:
        log.debug("orphans are only let go of when their session ends: somebody else hears of ended children")
        return
    with trio.open_signal_receiver(signal.SIGCHLD) as signals:
        # Nothing that C code waits for is interrupted.
        signal.siginterrupt(signal.SIGCHLD, False)
        listening.set()
        async for _ in signals:
            began_s = trio.current_time()
            await in_thread(reap_orphans)
            pause_s = max(REAP_PAUSE_S, REAP_SHARE * (trio.current_time() - began_s))
            # A look takes long where the machine is busy with other things, too.
            await trio.sleep(min(pause_s, REAP_PAUSE_MOST_S))


class _locked:  # noqa: N801 - reads as a function
    """Hold the folder, made where it is missing, against other servers. Raises ServerError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1

    def __enter__(self) -> None:
        try:
            self._folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            for inner in (self._folder / SESSIONS, self._folder / HOMES):
                inner.mkdir(mode=PRIVATE, exist_ok=True)
            for each in (self._folder, self._folder / SESSIONS, self._folder / HOMES):
                if each.stat().st_uid != os.geteuid():
                    raise ServerError(f"the folder {each} belongs to somebody else")
                each.chmod(PASSABLE)
            mode = stat.S_IRUSR | stat.S_IWUSR
            self._fd = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise ServerError(f"another server uses the folder {self._folder}") from None
        except OSError as error:
            raise ServerError(f"the folder {self._folder} cannot be used: {error.strerror}") from None

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _check_passable(folder: Path) -> None:
    """Raise ServerError where another user's program could not reach its home."""
    for parent in folder.resolve().parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise ServerError(f"programs of other users cannot reach {folder}: chmod o+x {parent}")


def _owner(folder: Path) -> int | None:
    """Whose a session's own folder is: its programs' user, also where its record is lost."""
    with suppress(OSError):
        return folder.lstat().st_uid
    return None


def _shut(kept: KeptHome) -> None:
    try:
        kept.shut()
    except OSError as error:
        log.error("the kept home %s stays open to its last user, who may be another session's: %s", kept.folder, error)


def _remove_session(folder: Path) -> None:
    """Its record last: what is interrupted is found again."""
    for path in folder.iterdir():
        if path.name != RECORD:
            remove_tree(path)
    remove_tree(folder)


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
