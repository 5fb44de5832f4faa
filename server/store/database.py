"""The state's file: whose it is, how it is opened, and what SQLite's errors mean.

One connection reads, another writes; each works in a worker thread, on one call at a time. WAL, so that readers and the
writer do not wait for each other, within this process and beside the `tilewire device` command of another.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import trio

from tilewire.server.store.errors import StoreError
from tilewire.server.store.migrations import APPLICATION_ID, LATEST, migrate, version_of

FILE_NAME: Final = "state.db"
LOCK_NAME: Final = "serving.lock"
SIDE_FILES: Final = ("-wal", "-shm")
"""What SQLite lays beside the file while it is open; after a crash they hold what was promised."""
SHARED_BYTES: Final = 32768
"""The least size of -shm."""
BUSY_S: Final = 5.0
"""How long another process may hold the write lock before a call fails. Its own calls take milliseconds."""
_LOOK_S: Final = 0.02

T = TypeVar("T")


class Damaged(Exception):
    """A value that nothing here has written."""


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """What SQLite said, as one sentence for the operator."""
    extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    code = extended & 0xFF
    text = str(error)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_room(path.parent)):
        return StoreError(f"the disk is full: nothing was written to {path}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"another process has held {path} for more than {BUSY_S:g} s")
    if extended == sqlite3.SQLITE_READONLY_DBMOVED:
        return StoreError(f"{path} was moved or deleted while it was in use")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreError(f"{path} cannot be written: the file, its folder or the file system is read-only")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or text.startswith("Could not decode"):
        return damaged(path)
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreError(f"{path} or the files beside it cannot be opened")
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(f"{path} cannot be read or written: the disk reports an error ({text})")
    return StoreError(f"{path} cannot be used: {text}")


def _no_room(folder: Path) -> bool:
    """Whether the file that readers and writers share has no room on the disk: SQLite calls that an I/O error."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < SHARED_BYTES


def damaged(path: Path) -> StoreError:
    """For a file whose contents cannot be trusted."""
    return StoreError(f"{path} is damaged or is not a database: put back a copy of it, or move it away to begin anew")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors within the block become StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except (Damaged, UnicodeDecodeError) as error:
        # sqlite3 quotes a damaged table's text in its message and stumbles over that.
        raise damaged(path) from error


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError for a file that a newer tilewire has migrated, also while this one had it open."""
    version = version_of(connection)
    if version > LATEST:
        raise StoreError(
            f"{path} was written by a newer tilewire (state version {version}, this one knows {LATEST}): "
            "use that one, or a copy from before"
        )


class Database:
    """The open file. Made by open_database()."""

    def __init__(self, path: Path, reader: sqlite3.Connection, writer: sqlite3.Connection, lock: int | None) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer
        self._lock = lock
        self._reading = trio.CapacityLimiter(1)
        self._writing = trio.CapacityLimiter(1)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` finds, all of it at one point in time. Raises StoreError.

        Once begun, a call is not cancelled: it lasts as long as SQLite, at most some seconds.
        """
        return await trio.to_thread.run_sync(self._read, work, limiter=self._reading)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, once all that it wrote is on the disk; if it raises, nothing was. Raises StoreError."""
        return await trio.to_thread.run_sync(self._write, work, limiter=self._writing)

    async def scrub(self) -> None:
        """Bring what was overwritten out of the file beside the database, too, unless another process reads there."""
        await trio.to_thread.run_sync(self._scrub, limiter=self._writing)

    async def aclose(self) -> None:
        """After all calls have returned."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._close)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with explained(self.path):
            self._reader.execute("BEGIN")
            try:
                check_version(self._reader, self.path)
                return work(self._reader)
            finally:
                self._reader.rollback()

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with explained(self.path):
            return in_transaction(self._writer, self.path, work)

    def _scrub(self) -> None:
        with explained(self.path):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _close(self) -> None:
        # The writer last: the last one to close folds the WAL into the file and takes the files beside it away.
        self._reader.close()
        self._writer.close()
        if self._lock is not None:
            os.close(self._lock)


def in_transaction(connection: sqlite3.Connection, path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """What `work` returns, committed, or nothing has happened."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        check_version(connection, path)
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
    return result


def open_database(
    folder: Path,
    *,
    create: bool,
    serving: bool,
    settle: Callable[[sqlite3.Connection, Path], None],
) -> Database:
    """Open the state in `folder`, migrated, checked and ours alone. Blocks; raises StoreError.

    `create`: make it where there is none. `serving`: as the one server of this state. `settle` is handed the writer
    before anybody else has it.
    """
    path = folder / FILE_NAME
    lock: int | None = None
    opened: list[sqlite3.Connection] = []
    try:
        with explained(path):
            owner = _prepare_folder(folder, create)
            _prepare_file(path, owner, create)
            writer = _connect(path, opened)
            _identify(writer, path)
            check_version(writer, path)
            if serving:
                lock = _lock(folder, owner)
            _use_wal(writer, path)
            if [row[0] for row in writer.execute("PRAGMA quick_check(1)")] != ["ok"]:
                raise Damaged
            migrate(writer)
            writer.execute("PRAGMA foreign_keys = ON")
            # An answer means that it is on the disk, also after a power cut: a key is shown once.
            writer.execute("PRAGMA synchronous = FULL")
            # What is deleted, such as a device's key, is overwritten.
            writer.execute("PRAGMA secure_delete = ON")
            settle(writer, path)
            reader = _connect(path, opened)
            reader.execute("PRAGMA query_only = ON")
    except BaseException:
        for connection in opened:
            connection.close()
        if lock is not None:
            os.close(lock)
        raise
    return Database(path, reader, writer, lock)


def _connect(path: Path, opened: list[sqlite3.Connection]) -> sqlite3.Connection:
    # One thread at a time has it, not always the same. Nothing begins a transaction but us.
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    opened.append(connection)
    # A damaged or foreign file runs nothing of its own, and is looked at more closely.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _identify(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError for what is not ours, before anything is written to it."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application == APPLICATION_ID:
        return
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if application or version_of(connection) or not empty:
        raise StoreError(f"{path} is another program's database")


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    """The mode stays in the file. Another process that sets it at this moment makes SQLite refuse without waiting."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        else:
            if mode != "wal":
                raise StoreError(f"{path} cannot be used: its file system does not take SQLite's WAL mode ({mode})")
            return
        time.sleep(_LOOK_S)


def _prepare_folder(folder: Path, create: bool) -> os.stat_result:
    """Its status, once it is there and nobody else may look into it."""
    try:
        if create:
            folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        status = folder.stat()
    except FileExistsError:
        raise StoreError(f"the state folder {folder} is not a folder") from None
    except FileNotFoundError:
        raise StoreError(f"there is no state in {folder}") from None
    except OSError as error:
        raise StoreError(f"the state folder {folder} cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise StoreError(f"the state folder {folder} is not a folder")
    _check_owner(status, folder)
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StoreError(f"the state folder {folder} may be entered by others: chmod 700 {folder}")
    # Says no on a read-only file system, too, also to root.
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StoreError(f"the state folder {folder} cannot be written: it or its file system is read-only")
    return status


def _prepare_file(path: Path, owner: os.stat_result, create: bool) -> None:
    # An existing file is not opened here: closing any descriptor of it would drop SQLite's locks in this process.
    if create:
        try:
            os.close(_create(path, owner))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreError(f"{path} cannot be made: {error.strerror}") from error
    for suffix in ("", *SIDE_FILES):
        part = path.with_name(path.name + suffix)
        try:
            status = part.lstat()
        except FileNotFoundError:
            if suffix:
                continue
            raise StoreError(f"there is no state in {path.parent}") from None
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{part} is not a file")
        _check_owner(status, part)
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise StoreError(f"{part} holds keys and may be read by others: chmod 600 {part}")


def _check_owner(status: os.stat_result, path: Path) -> None:
    """Root may use what is another's; who else owns it could put something else in its place."""
    if os.geteuid() not in (0, status.st_uid):
        raise StoreError(f"{path} belongs to another user")


def _create(path: Path, owner: os.stat_result) -> int:
    """A descriptor of a new file for its owner alone: SQLite gives the files beside it the same mode and owner."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.geteuid() != owner.st_uid:
            # `sudo tilewire device add` in the folder of the user that the server runs as.
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(folder: Path, owner: os.stat_result) -> int:
    """Held as long as this process lives, however it ends."""
    path = folder / LOCK_NAME
    try:
        try:
            descriptor = _create(path, owner)
        except FileExistsError:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(f"another server runs with the state folder {folder}") from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
