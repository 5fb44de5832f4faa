"""Devices, tokens and usage, kept in a file that survives the server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import math
import re
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.protocol.constants import KEY_SIZE
from tilewire.server.store.database import Damaged, Database, in_transaction, open_database
from tilewire.server.store.errors import AlreadyThere, NotAllowed, NotThere, StoreError
from tilewire.server.store.reading import DEVICE, LAST_MS, TOKEN, USAGE, devices_of, token_of, usage_of
from tilewire.server.store.rows import (
    MAX_NOTE,
    MAX_REASON,
    DeviceRow,
    Role,
    Token,
    UsageRow,
    check_device,
    check_name,
    check_profiles,
    printable,
)
from tilewire.server.store.seal import SEALED_SIZE, Seal, WrongSeal, read_secret

log = logging.getLogger(__name__)

TOKEN_PREFIX: Final = "tw_"
"""By which people and scanners of leaked secrets know what it is."""
TOKEN_BYTES: Final = 32
NOTED_EVERY_S: Final = 60.0
"""How late `seen_s` and `used_s` may be: a write for each call would cost more than the call."""
PAGE: Final = 1000
"""Rows of usage in memory at a time: some 100 KB."""
FORGET_S: Final = 30 * 86400.0
"""Tokens that expired so long ago are taken out of the list when a server starts."""
LOST: Final = "the server ended without a word"
"""The reason of sessions that a crashed server left open."""

_TOKEN: Final = re.compile(r"tw_[A-Za-z0-9_-]{43}", re.ASCII)
_SEAL: Final = "seal"
_LAST_ID: Final = (1 << 63) - 1
_MOST: Final = 1 << 40
"""Of bytes or seconds in one call: a terabyte. No sum of such calls leaves SQLite's 63 bits while it is counted in."""


@asynccontextmanager
async def open_store(
    folder: Path,
    *,
    secret: Path | None = None,
    clock: Callable[[], float] = time.time,
    serving: bool = False,
    create: bool = True,
) -> AsyncIterator[Store]:
    """The state in `folder`, made and migrated as needed. Raises StoreError.

    `secret`: a file of 32 bytes under which devices' keys are encrypted; what is there in clear is encrypted now, and
    from then on the state does not open without it. `clock`: Unix seconds. `serving`: as the one server of this state;
    sessions that an earlier one left open are closed. Without `create` there has to be a state already.
    """
    seal = None if secret is None else await trio.to_thread.run_sync(read_secret, secret)
    settle = partial(_settle_seal, seal)
    database = await trio.to_thread.run_sync(
        partial(open_database, folder, create=create, serving=serving, settle=settle)
    )
    try:
        store = Store(database, seal, clock)
        if serving:
            await store.tidy()
        yield store
    finally:
        await database.aclose()


class Store:
    """What outlives the server. Made by open_store().

    Every call runs in a worker thread and is a transaction: when it returns, what it did is on the disk; when it
    raises, nothing has happened. A call that began is not interrupted by cancellation; one that has to be made although
    its task is cancelled needs a shield. All raise StoreError where the file fails them.
    """

    def __init__(self, database: Database, seal: Seal | None, clock: Callable[[], float]) -> None:
        self._database = database
        self._seal = seal
        self._clock = clock

    # Devices

    async def add_device(self, name: str, profiles: tuple[str, ...] = (), default: str | None = None) -> bytes:
        """A new device's key, 32 random bytes. Raises NotAllowed and AlreadyThere."""
        check_device(name)
        profiles = check_profiles(profiles, default)
        key = secrets.token_bytes(KEY_SIZE)

        def add(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM devices WHERE name = ?", (name,)).fetchone():
                raise AlreadyThere(f"there is a device {printable(name)} already")
            row = connection.execute(
                "INSERT INTO devices (name, key, default_profile, created_ms) VALUES (?, ?, ?, ?)",
                (name, self._kept(connection, key, name), default, self._now_ms()),
            )
            _set_profiles(connection, row.lastrowid, profiles)

        await self._database.write(add)
        log.info("device %s was added", printable(name))
        return key

    async def rotate_device(self, name: str) -> bytes:
        """Another key; the one before lets nobody in any more. Raises NotThere."""
        _check_lookup(name)
        key = secrets.token_bytes(KEY_SIZE)

        def rotate(connection: sqlite3.Connection) -> None:
            kept = self._kept(connection, key, name)
            done = connection.execute("UPDATE devices SET key = ? WHERE name = ?", (kept, name))
            _expect_device(done, name)

        await self._database.write(rotate)
        log.info("device %s has another key", printable(name))
        await self._scrub()
        return key

    async def change_device(
        self,
        name: str,
        *,
        profiles: tuple[str, ...] | None = None,
        default: str | None = None,
        disabled: bool | None = None,
    ) -> DeviceRow:
        """The device as it is now. `profiles`, together with `default`, and `disabled` stay as they are where None.

        Raises NotThere and NotAllowed.
        """
        if profiles is None and default is not None:
            raise ValueError("a default profile is set together with the profiles")
        _check_lookup(name)
        if profiles is not None:
            profiles = check_profiles(profiles, default)

        def change(connection: sqlite3.Connection) -> DeviceRow:
            found = connection.execute(f"{DEVICE} WHERE name = ?", (name,)).fetchone()
            if found is None:
                raise _no_device(name)
            if profiles is not None:
                connection.execute("DELETE FROM device_profiles WHERE device = ?", (found[0],))
                _set_profiles(connection, found[0], profiles)
                connection.execute("UPDATE devices SET default_profile = ? WHERE id = ?", (default, found[0]))
            if disabled is not None:
                connection.execute("UPDATE devices SET disabled = ? WHERE id = ?", (int(disabled), found[0]))
            return devices_of(connection, "WHERE id = ?", found[0])[0]

        row = await self._database.write(change)
        if disabled is not None:
            log.info("device %s is %s", printable(name), "disabled" if disabled else "enabled")
        return row

    async def remove_device(self, name: str) -> None:
        """Forget it and its key; its usage stays. Raises NotThere."""
        _check_lookup(name)

        def remove(connection: sqlite3.Connection) -> None:
            _expect_device(connection.execute("DELETE FROM devices WHERE name = ?", (name,)), name)

        await self._database.write(remove)
        log.info("device %s was removed", printable(name))
        await self._scrub()

    async def devices(self) -> list[DeviceRow]:
        """All, by name."""
        return await self._database.read(partial(devices_of, where="ORDER BY name"))

    async def device(self, name: str) -> DeviceRow | None:
        """None: not known."""
        if not _is_text(name):
            return None
        found = await self._database.read(lambda connection: devices_of(connection, "WHERE name = ?", name))
        return found[0] if found else None

    async def key_of(self, name: str) -> bytes | None:
        """Its 32 bytes. None: not known, or disabled, and not let in either way."""

        def find(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT key, disabled FROM devices WHERE name = ?", (name,)).fetchone()
            return None if row is None or row[1] else self._opened(row[0], name)

        return await self._database.read(find) if _is_text(name) else None

    async def seen_device(self, name: str) -> None:
        """It proved itself now. A device that is not known is nobody's loss."""
        row = await self.device(name)
        if row is not None and self._worth_noting(row.seen_s):
            statement = "UPDATE devices SET seen_ms = ? WHERE name = ?"
            await self._database.write(lambda connection: connection.execute(statement, (self._now_ms(), name)))

    # Tokens

    async def add_token(self, name: str, role: Role, lifetime_s: float | None) -> str:
        """A new token for `role`, 256 random bits as text; `name` says what it is for. Raises NotAllowed.

        `lifetime_s` None: until it is revoked. Only a hash is kept. One round of SHA-256 is enough for it: slow hashes
        protect what people choose and others guess, and nobody guesses 256 random bits.
        """
        if len(name) > MAX_NOTE or not _is_text(name):
            raise NotAllowed(f"a token's note has at most {MAX_NOTE} characters")
        if lifetime_s is not None and not 0 < lifetime_s <= 100 * 365.25 * 86400:
            raise NotAllowed("a token lives for more than no time and at most a hundred years")
        text = TOKEN_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(TOKEN_BYTES)).rstrip(b"=").decode()
        now_s = self._clock()
        expires_ms = None if lifetime_s is None else _ms(now_s + lifetime_s)

        def add(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "INSERT INTO tokens (hash, role, note, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?)",
                (_hash(text), Role(role).value, name, _ms(now_s), expires_ms),
            )
            return int(row.lastrowid or 0)

        number = await self._database.write(add)
        log.info("token %d was added for the role %s (%s)", number, role, printable(name))
        return text

    async def tokens(self) -> list[Token]:
        """All, also expired ones, in the order in which they were made."""
        return await self._database.read(
            lambda connection: [token_of(r) for r in connection.execute(f"{TOKEN} ORDER BY id")]
        )

    async def token(self, number: int) -> Token | None:
        """Whether a token that was checked before still lets somebody in. None: revoked or expired."""
        if not 0 < number <= _LAST_ID:
            return None
        found = await self._database.read(
            lambda connection: [token_of(row) for row in connection.execute(f"{TOKEN} WHERE id = ?", (number,))]
        )
        return found[0] if found and found[0].valid(self._clock()) else None

    async def revoke_token(self, number: int) -> None:
        """From now on it lets nobody in. Raises NotThere."""

        def revoke(connection: sqlite3.Connection) -> None:
            known = 0 < number <= _LAST_ID
            if not known or connection.execute("DELETE FROM tokens WHERE id = ?", (number,)).rowcount == 0:
                raise NotThere(f"there is no token {number}")

        await self._database.write(revoke)
        log.info("token %d was revoked", number)

    async def check_token(self, text: str) -> Token | None:
        """What `text` entitles to now. None: nothing; whether it never was a token, expired or was revoked is not told.

        It is looked up by its hash: the time that takes says something about the hash, which nobody can steer, and
        nothing about the token. The hash that is found is compared in constant time all the same.
        """
        if not _TOKEN.fullmatch(text):
            return None
        digest = _hash(text)

        def find(connection: sqlite3.Connection) -> Token | None:
            row = connection.execute(f"{TOKEN} WHERE hash = ?", (digest,)).fetchone()
            return token_of(row) if row is not None and hmac.compare_digest(row[6], digest) else None

        token = await self._database.read(find)
        if token is None or not token.valid(self._clock()):
            return None
        if self._worth_noting(token.used_s):
            number, statement = token.id, "UPDATE tokens SET used_ms = ? WHERE id = ?"
            try:
                await self._database.write(lambda connection: connection.execute(statement, (self._now_ms(), number)))
            except StoreError as error:
                # A full disk must not lock out who comes to make room on it.
                log.warning("the last use of token %d could not be noted: %s", number, error)
        return token

    # Usage

    async def begin_usage(self, session: str, profile: str, device: str | None = None) -> int:
        """The number under which this session's usage is counted. Raises NotAllowed."""
        check_name(session, "a session")
        check_name(profile, "a profile")
        if device is not None:
            check_device(device)

        def begin(connection: sqlite3.Connection) -> int:
            now = self._now_ms()
            row = connection.execute(
                "INSERT INTO usage (session, profile, device, started_ms, seen_ms) VALUES (?, ?, ?, ?, ?)",
                (session, profile, device, now, now),
            )
            return int(row.lastrowid or 0)

        return await self._database.write(begin)

    async def add_usage(
        self, number: int, seconds: float, bytes_down: int, bytes_up: int, viewer_seconds: float = 0.0
    ) -> None:
        """Add what was used since the last call: called once a minute, it loses no more than that in a crash.

        Raises NotThere for a session that has ended; ValueError for a count below zero or beyond all reason.
        """
        counts = (seconds, bytes_down, bytes_up, viewer_seconds)
        if not all(math.isfinite(count) and 0 <= count <= _MOST for count in counts):
            raise ValueError(f"usage does not grow by {counts}")

        def add(connection: sqlite3.Connection) -> None:
            done = connection.execute(
                "UPDATE usage SET time_us = time_us + ?, viewer_us = viewer_us + ?, bytes_down = bytes_down + ?, "
                "bytes_up = bytes_up + ?, seen_ms = max(seen_ms, ?) WHERE id = ? AND ended_ms IS NULL",
                (_us(seconds), _us(viewer_seconds), bytes_down, bytes_up, self._now_ms(), number),
            )
            _expect_running(done, number)

        await self._database.write(add)

    async def end_usage(self, number: int, reason: str) -> None:
        """The session is over. Raises NotThere for one that has ended already."""
        words = reason.encode(errors="replace").decode()[:MAX_REASON]

        def end(connection: sqlite3.Connection) -> None:
            # A wall clock that was set back does not let a session end before it began.
            done = connection.execute(
                "UPDATE usage SET seen_ms = max(seen_ms, ?1), ended_ms = max(seen_ms, ?1), "
                "closed_ms = max(seen_ms, ?1), reason = ?2 WHERE id = ?3 AND ended_ms IS NULL",
                (self._now_ms(), words, number),
            )
            _expect_running(done, number)

        await self._database.write(end)

    async def usage(
        self,
        since_s: float | None = None,
        until_s: float | None = None,
        *,
        after: int = 0,
        limit: int | None = None,
    ) -> list[UsageRow]:
        """Sessions that were closed from `since_s` on and before `until_s`, in the order in which they began.

        A session is closed when it ends, or, where the server crashed, when the next one starts; one that still runs
        counts as closed now. So each belongs to one period, with its final figures, and a period that is past never
        changes. `after`, `limit`: at most so many whose number is greater, for reading in pages.
        """
        now_ms = self._now_ms()
        since = -1 if since_s is None else _ms(since_s)
        until = now_ms + 1 if until_s is None else _ms(until_s)
        closed = "closed_ms >= ?1" + ("" if until_s is None else " AND closed_ms < ?2")
        runs = " OR closed_ms IS NULL" if since <= now_ms < until else ""
        statement = f"{USAGE} WHERE ({closed}{runs}) AND id > ?3 ORDER BY id LIMIT ?4"
        values = (since, until, min(max(after, 0), _LAST_ID), -1 if limit is None else min(limit, _LAST_ID))
        return await self._database.read(
            lambda connection: [usage_of(row) for row in connection.execute(statement, values)]
        )

    async def usage_pages(
        self, since_s: float | None = None, until_s: float | None = None
    ) -> AsyncIterator[list[UsageRow]]:
        """The same, PAGE rows at a time: a year of a fleet need not fit into memory. No session comes twice."""
        after = 0
        while page := await self.usage(since_s, until_s, after=after, limit=PAGE):
            yield page
            after = page[-1].id

    async def tidy(self) -> None:
        """What a server does when it starts: close the sessions of one that crashed, drop tokens of long ago."""

        def close(connection: sqlite3.Connection) -> int:
            connection.execute("DELETE FROM tokens WHERE expires_ms < ?", (self._now_ms() - _ms(FORGET_S),))
            return connection.execute(
                "UPDATE usage SET ended_ms = seen_ms, closed_ms = max(seen_ms, ?), reason = ? WHERE ended_ms IS NULL",
                (self._now_ms(), LOST),
            ).rowcount

        closed = await self._database.write(close)
        if closed:
            log.warning("%d sessions were left open by a server that crashed; they ended when last seen", closed)

    def _now_ms(self) -> int:
        return _ms(self._clock())

    def _worth_noting(self, last_s: float | None) -> bool:
        # A clock that was set back must not silence this for as long as it was wrong.
        return last_s is None or abs(self._clock() - last_s) >= NOTED_EVERY_S

    def _kept(self, connection: sqlite3.Connection, key: bytes, name: str) -> bytes:
        """`key` as it goes into the file; within the transaction that writes it."""
        if self._seal is None:
            if _mark(connection) is not None:
                raise _needs_secret(self._database.path)
            return key
        return self._seal.close(key, name)

    def _opened(self, kept: Any, name: str) -> bytes:
        if not isinstance(kept, bytes):
            raise Damaged
        if self._seal is None:
            if len(kept) == SEALED_SIZE:
                raise _needs_secret(self._database.path)
            key = kept
        else:
            try:
                key = self._seal.open(kept, name)
            except WrongSeal:
                raise StoreError(
                    f"the key of {printable(name)} in {self._database.path} was not put there by this server: rotate it"
                ) from None
        if len(key) != KEY_SIZE:
            raise Damaged
        return key

    async def _scrub(self) -> None:
        try:
            await self._database.scrub()
        except StoreError as error:
            log.warning("what was overwritten may stay in %s-wal for now: %s", self._database.path, error)


def _settle_seal(seal: Seal | None, connection: sqlite3.Connection, path: Path) -> None:
    """Compare the state with the secret; where there is one for the first time, encrypt what lies in clear."""

    def settle(connection: sqlite3.Connection) -> bool:
        mark = _mark(connection)
        if mark is not None:
            if seal is None:
                raise _needs_secret(path)
            try:
                seal.check(mark)
            except WrongSeal:
                raise StoreError(f"the devices' keys in {path} are encrypted with another secret") from None
            return False
        if seal is None:
            return False
        for number, name, key in connection.execute("SELECT id, name, key FROM devices").fetchall():
            if not isinstance(key, bytes) or len(key) != KEY_SIZE:
                raise Damaged
            connection.execute("UPDATE devices SET key = ? WHERE id = ?", (seal.close(key, name), number))
        connection.execute("INSERT INTO facts (name, value) VALUES (?, ?)", (_SEAL, seal.mark()))
        return True

    if in_transaction(connection, path, settle):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        log.info("the devices' keys in %s are encrypted from now on", path)


def _needs_secret(path: Path) -> StoreError:
    return StoreError(f"the devices' keys in {path} are encrypted: the secret for them was not given")


def _mark(connection: sqlite3.Connection) -> bytes | None:
    row = connection.execute("SELECT value FROM facts WHERE name = ?", (_SEAL,)).fetchone()
    if row is not None and not isinstance(row[0], bytes):
        raise Damaged
    return None if row is None else row[0]


def _set_profiles(connection: sqlite3.Connection, device: int | None, profiles: tuple[str, ...]) -> None:
    rows = [(device, profile) for profile in profiles]
    connection.executemany("INSERT INTO device_profiles (device, profile) VALUES (?, ?)", rows)


def _ms(seconds: float) -> int:
    """Milliseconds since 1970, within what a calendar can show."""
    return min(max(int(seconds * 1000), 0), LAST_MS)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _is_text(name: str) -> bool:
    """Whether it can be written as UTF-8: what came from JSON may hold half a surrogate pair; sqlite3 raises then."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_device(name: str) -> NotThere:
    return NotThere(f"there is no device {printable(name)}")


def _check_lookup(name: str) -> None:
    if not _is_text(name):
        raise _no_device(name)


def _expect_device(done: sqlite3.Cursor, name: str) -> None:
    if done.rowcount == 0:
        raise _no_device(name)


def _expect_running(done: sqlite3.Cursor, number: int) -> None:
    if done.rowcount == 0:
        raise NotThere(f"no session with the usage number {number} runs")
