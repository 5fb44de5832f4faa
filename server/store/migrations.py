"""How the state file came to be what it is: every version of it, one step each.

A step is never changed once a release has had it; a new one goes to the end. Tables are STRICT, so that SQLite refuses
what is of another type. Times are milliseconds since 1970 in UTC, lengths of time microseconds, both whole numbers:
sums stay exact.
"""

from __future__ import annotations

import sqlite3
from typing import Final

APPLICATION_ID: Final = 0x54577374
"""`TWst`, in the file's header where `file` and SQLite find it: another program's database is not touched."""

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    # 1: devices, tokens, usage.
    (
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
        """CREATE TABLE devices (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            key BLOB NOT NULL,
            default_profile TEXT,
            created_ms INTEGER NOT NULL,
            seen_ms INTEGER
        ) STRICT""",
        """CREATE TABLE device_profiles (
            device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
            profile TEXT NOT NULL,
            PRIMARY KEY (device, profile)
        ) STRICT, WITHOUT ROWID""",
        # AUTOINCREMENT: the number of a token that was revoked never names another.
        """CREATE TABLE tokens (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            hash BLOB NOT NULL UNIQUE,
            role TEXT NOT NULL,
            note TEXT NOT NULL,
            created_ms INTEGER NOT NULL,
            expires_ms INTEGER,
            used_ms INTEGER
        ) STRICT""",
        # No reference to devices: what was used is to be paid for after a device was removed, too.
        """CREATE TABLE usage (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            session TEXT NOT NULL,
            profile TEXT NOT NULL,
            device TEXT,
            started_ms INTEGER NOT NULL,
            seen_ms INTEGER NOT NULL,
            ended_ms INTEGER,
            time_us INTEGER NOT NULL DEFAULT 0,
            bytes_down INTEGER NOT NULL DEFAULT 0,
            bytes_up INTEGER NOT NULL DEFAULT 0,
            reason TEXT
        ) STRICT""",
    ),
    # 2: devices can be disabled, time that was looked at is counted, and usage belongs to the period in which it became
    # final: that of a crashed session does so when the server is back, long after its end perhaps.
    (
        "ALTER TABLE devices ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1))",
        "ALTER TABLE usage ADD COLUMN viewer_us INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE usage ADD COLUMN closed_ms INTEGER",
        "UPDATE usage SET closed_ms = ended_ms",
        "CREATE INDEX usage_by_close ON usage (closed_ms)",
    ),
)

LATEST: Final = len(STEPS)


def version_of(connection: sqlite3.Connection) -> int:
    """Steps that this file has had."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Take the file to LATEST, each step in a transaction of its own: one that is cut off has not happened.

    Two processes may come here at once: the second finds nothing left to do.
    """
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = version_of(connection)
            if version < LATEST:
                for statement in STEPS[version]:
                    connection.execute(statement)
                if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
                    raise sqlite3.DatabaseError(f"step {version + 1} leaves rows that refer to nothing")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {version + 1}")
        except BaseException:
            connection.rollback()
            raise
        connection.execute("COMMIT")
        if version >= LATEST:
            return
