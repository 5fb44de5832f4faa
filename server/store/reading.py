"""Rows of the state's file as what the store hands out. A value that nothing here has written raises Damaged."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from tilewire.server.store.database import Damaged
from tilewire.server.store.rows import DeviceRow, Role, Token, UsageRow

LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, where calendars end."""

DEVICE: Final = "SELECT id, name, default_profile, created_ms, seen_ms, disabled FROM devices"
TOKEN: Final = "SELECT id, role, note, created_ms, expires_ms, used_ms, hash FROM tokens"
USAGE: Final = (
    "SELECT id, session, profile, device, started_ms, seen_ms, ended_ms, time_us, viewer_us, bytes_down, bytes_up, "
    "reason FROM usage"
)


def devices_of(connection: sqlite3.Connection, where: str, *values: Any) -> list[DeviceRow]:
    found = []
    for number, name, default, created_ms, seen_ms, disabled in connection.execute(f"{DEVICE} {where}", values):
        profiles = connection.execute(
            "SELECT profile FROM device_profiles WHERE device = ? ORDER BY profile", (number,)
        ).fetchall()
        found.append(
            DeviceRow(
                name=_text(name),
                profiles=tuple(_text(profile) for (profile,) in profiles),
                default=None if default is None else _text(default),
                created_s=_time(created_ms),
                seen_s=_time_or_none(seen_ms),
                disabled=bool(disabled),
            )
        )
    return found


def token_of(row: tuple[Any, ...]) -> Token:
    number, role, note, created_ms, expires_ms, used_ms, _ = row
    try:
        known = Role(role)
    except ValueError:
        raise Damaged from None
    return Token(
        id=_number(number),
        role=known,
        note=_text(note),
        created_s=_time(created_ms),
        expires_s=_time_or_none(expires_ms),
        used_s=_time_or_none(used_ms),
    )


def usage_of(row: tuple[Any, ...]) -> UsageRow:
    number, session, profile, device, started, seen, ended, time_us, viewer_us, down, up, reason = row
    return UsageRow(
        id=_number(number),
        session=_text(session),
        profile=_text(profile),
        device=None if device is None else _text(device),
        started_s=_time(started),
        seen_s=_time(seen),
        ended_s=_time_or_none(ended),
        seconds=_number(time_us) / 1e6,
        viewer_seconds=_number(viewer_us) / 1e6,
        bytes_down=_number(down),
        bytes_up=_number(up),
        reason=None if reason is None else _text(reason),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Damaged
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise Damaged
    return value


def _time(value: Any) -> float:
    if _number(value) > LAST_MS:
        raise Damaged
    return float(value) / 1000


def _time_or_none(value: Any) -> float | None:
    return None if value is None else _time(value)
