"""Every version of the state file that there ever was becomes today's, with all that was in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tilewire.server.store import DeviceRow, Role, StoreError, UsageRow, open_store
from tilewire.server.store.migrations import APPLICATION_ID, LATEST, STEPS

KEY = bytes(range(32))
TOKEN = "tw_" + "A" * 43
"""Of an operator; its hash is in every version."""
WRITTEN = {
    1: """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE devices (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key BLOB NOT NULL, default_profile TEXT,
    created_ms INTEGER NOT NULL, seen_ms INTEGER
) STRICT;
CREATE TABLE device_profiles (
    device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE, profile TEXT NOT NULL,
    PRIMARY KEY (device, profile)
) STRICT, WITHOUT ROWID;
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, role TEXT NOT NULL, note TEXT NOT NULL,
    created_ms INTEGER NOT NULL, expires_ms INTEGER, used_ms INTEGER
) STRICT;
CREATE TABLE usage (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL, profile TEXT NOT NULL, device TEXT,
    started_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL, ended_ms INTEGER, time_us INTEGER NOT NULL DEFAULT 0,
    bytes_down INTEGER NOT NULL DEFAULT 0, bytes_up INTEGER NOT NULL DEFAULT 0, reason TEXT
) STRICT;
INSERT INTO devices VALUES
    (4, 'panel-7', x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 'web', 1000, 2500),
    (9, 'böard', x'ff02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fff', NULL, 1000, NULL);
INSERT INTO device_profiles VALUES (4, 'web'), (4, 'term');
INSERT INTO tokens VALUES
    (3, x'edf45bd1bbc6b5f0da6a6b6bd8ba1f0ad1b4aa6d2ae2a3a4bbf1f6e7a4e8d2c1', 'viewer', 'old', 1000, 2000, NULL),
    (5, x'301d6c52c658edc6b4279b86c4bbf6f6fd2bd89242bc5314bf0115a861ce8b55', 'operator', 'deploy', 1000, NULL, 1500);
INSERT INTO usage VALUES
    (1, 's1', 'web', 'panel-7', 1000, 61000, 62000, 61500000, 123456, 789, 'closed'),
    (2, 's2', 'web', NULL, 5000, 65000, NULL, 60000000, 9007199254740993, 1, NULL);
PRAGMA application_id = 1415017332;
PRAGMA user_version = 1;
""",
}
"""By version: what that tilewire wrote. These texts are kept as they are for good."""


def write(folder: Path, version: int) -> Path:
    """A state of that version in `folder`."""
    folder.mkdir(mode=0o700)
    path = folder / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(WRITTEN[version])
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
    path.chmod(0o600)
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def shape(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Each table's columns, keys and indices."""
    pragmas = ("table_xinfo", "foreign_key_list", "index_list")
    with closing(sqlite3.connect(path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            f"{table} {pragma}": connection.execute(f"PRAGMA {pragma}({table})").fetchall()
            for table in sorted(tables)
            for pragma in pragmas
        }


def test_every_earlier_version_is_here() -> None:
    assert LATEST >= 2
    assert sorted(WRITTEN) == list(range(1, LATEST))
    assert APPLICATION_ID.to_bytes(4, "big") == b"TWst"


@pytest.mark.parametrize("version", WRITTEN)
async def test_nothing_is_lost(tmp_path: Path, version: int) -> None:
    path = write(tmp_path / "state", version)
    async with open_store(path.parent, clock=lambda: 100.0) as store:
        assert await store.devices() == [
            DeviceRow(name="böard", profiles=(), default=None, created_s=1, seen_s=None, disabled=False),
            DeviceRow(name="panel-7", profiles=("term", "web"), default="web", created_s=1, seen_s=2.5, disabled=False),
        ]
        assert await store.key_of("panel-7") == KEY
        assert [(row.id, row.role, row.note, row.expires_s, row.used_s) for row in await store.tokens()] == [
            (3, Role.VIEWER, "old", 2.0, None),
            (5, Role.OPERATOR, "deploy", None, 1.5),
        ]
        token = await store.check_token(TOKEN)
        assert token is not None
        assert token.id == 5
        first, second = await store.usage()
        assert await store.usage(until_s=62.001) == [first]
        assert first == UsageRow(
            id=1, session="s1", profile="web", device="panel-7", started_s=1, seen_s=61, ended_s=62, seconds=61.5,
            viewer_seconds=0, bytes_down=123456, bytes_up=789, reason="closed",
        )  # fmt: skip
        assert (second.ended_s, second.device, second.bytes_down) == (None, None, 9007199254740993)
        # And it goes on: what is new can be used, numbers are not given twice.
        assert (await store.change_device("böard", disabled=True)).disabled
        await store.add_usage(2, 1, 1, 1, viewer_seconds=2)
        assert await store.begin_usage("s3", "web") == 3
        await store.add_token("", Role.VIEWER, 9)
        assert [row.id for row in await store.tokens()] == [3, 5, 6]
        await store.remove_device("panel-7")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM device_profiles").fetchone() == (0,)
    assert version_of(path) == LATEST


@pytest.mark.parametrize("version", WRITTEN)
async def test_a_migrated_file_is_like_a_new_one(tmp_path: Path, version: int) -> None:
    old = write(tmp_path / "old", version)
    for folder in (old.parent, tmp_path / "new"):
        async with open_store(folder):
            pass
    assert shape(old) == shape(tmp_path / "new/state.db")


async def test_a_step_that_fails_has_not_happened(tmp_path: Path) -> None:
    path = write(tmp_path / "state", 1)
    with closing(sqlite3.connect(path)) as connection:
        # In the way of what the second step does last.
        connection.execute("CREATE INDEX usage_by_close ON usage (session)")
    before = shape(path)
    with pytest.raises(StoreError, match=r"state\.db cannot be used: index usage_by_close already exists$"):
        async with open_store(path.parent):
            pass
    assert version_of(path) == 1
    assert shape(path) == before
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX usage_by_close")
    async with open_store(path.parent) as store:
        assert await store.key_of("panel-7") == KEY


NEWER = (
    rf"state\.db was written by a newer tilewire \(state version {LATEST + 1}, this one knows {LATEST}\): use that one"
)


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with open_store(folder) as store:
        await store.add_device("panel")
    path = folder / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {LATEST + 1}")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=NEWER):
        async with open_store(folder):
            pass
    assert path.read_bytes() == before


async def test_a_newer_one_that_migrates_meanwhile_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with open_store(folder) as store:
        await store.add_device("panel")
        with closing(sqlite3.connect(folder / "state.db")) as connection:
            connection.execute(f"PRAGMA user_version = {LATEST + 1}")
        for call in (store.key_of("panel"), store.add_device("other"), store.tokens()):
            with pytest.raises(StoreError, match=NEWER):
                await call


def test_steps_keep_their_own_transactions() -> None:
    """None of them ends the transaction that it runs in."""
    words = {statement.split()[0].upper() for step in STEPS for statement in step}
    assert words & {"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "VACUUM"} == set()
