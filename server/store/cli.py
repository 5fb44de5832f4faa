"""`tilewire device`, `tilewire token` and `tilewire usage`: the state, by hand, also while a server runs.

A new key or token goes to standard output once and nowhere else: no log, no argument, no environment.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.server.errors import ServerError
from tilewire.server.store.export import iso_time, usage_csv, usage_json
from tilewire.server.store.rows import COMMAND_NAME, DeviceRow, Role, Token, UsageRow, printable
from tilewire.server.store.snippets import c_snippet, micropython_snippet
from tilewire.server.store.store import Store, open_store

STORE: Final = "store"
"""In the server's state folder, which programs of other users have to pass through."""
DAY_S: Final = 86400.0
TOKEN_DAYS: Final = 90
"""What a token lives unless said otherwise: long enough for a deployment, short enough to be renewed by somebody who
still knows how."""


@dataclass(frozen=True, slots=True)
class Place:
    """The server's state folder; `secret` as open_store() has it."""

    folder: Path
    secret: Path | None = None


def _nowhere() -> Place:
    raise ServerError("say where the state is: --state FOLDER")


def add_parsers(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], setting: Callable[[], Place] = _nowhere
) -> None:
    """Add the three commands. Each sets `handler`, which takes the parsed arguments and returns the exit code.

    `setting` says where the state is without --state; it may raise ServerError.
    """
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--state", type=Path, metavar="FOLDER", help="where the server keeps its state")
    shared.add_argument(
        "--secret", type=Path, metavar="FILE", help="32 bytes under which devices' keys are encrypted there"
    )
    shared.set_defaults(setting=setting)
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print JSON")
    may_open = argparse.ArgumentParser(add_help=False)
    may_open.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="NAME",
        help="a profile that it may open; none: what the access rules say",
    )
    may_open.add_argument("--default", metavar="NAME", help="the profile that it gets when it asks for none")

    def command(
        group: argparse._SubParsersAction[argparse.ArgumentParser],
        name: str,
        work: Callable[[argparse.Namespace], Awaitable[None]],
        text: str,
        *parents: argparse.ArgumentParser,
    ) -> argparse.ArgumentParser:
        made = group.add_parser(name, parents=[shared, *parents], help=text, description=text)
        made.set_defaults(handler=lambda arguments: _run(work, arguments))
        return made

    device = commands.add_parser("device", help="devices and their keys").add_subparsers(
        dest="device_command", required=True, metavar="COMMAND"
    )
    added = command(
        device, "add", _device_add, "make a key for a new device and print it, this once", may_open, as_json
    )
    added.add_argument("name", type=_new_name, metavar="NAME", help="1 to 64 letters, digits, dots, _ and -")
    command(device, "list", _device_list, "the devices that have a key", as_json)
    for name, work, text, *more in (
        ("rotate", _device_rotate, "another key, printed this once; the one before is void", as_json),
        ("remove", _device_remove, "forget a device and its key; its usage stays"),
        ("disable", _device_disable, "let a device in no more, but keep it and its key"),
        ("enable", _device_enable, "let a device in again"),
        ("allow", _device_allow, "say anew which profiles a device may open", may_open),
    ):
        command(device, name, work, text, *more).add_argument("name", metavar="NAME")

    token = commands.add_parser("token", help="tokens for the control API").add_subparsers(
        dest="token_command", required=True, metavar="COMMAND"
    )
    made = command(token, "add", _token_add, "make a token and print it, this once", as_json)
    made.add_argument("--role", type=Role, choices=list(Role), default=Role.OPERATOR, help="(operator)")
    made.add_argument("--note", default="", metavar="TEXT", help="what it is for")
    made.add_argument(
        "--days", type=_days, default=float(TOKEN_DAYS), metavar="N", help=f"how long it is good ({TOKEN_DAYS})"
    )
    command(token, "list", _token_list, "the tokens that were made", as_json)
    command(token, "revoke", _token_revoke, "make a token void").add_argument(
        "number", type=_number, metavar="NUMBER", help="from the list"
    )

    usage = command(commands, "usage", _usage, "what sessions used: seconds, bytes, devices")
    usage.add_argument("--since", type=_time, metavar="TIME", help="sessions that were closed then or later (UTC)")
    usage.add_argument("--until", type=_time, metavar="TIME", help="and before then")
    form = usage.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV (RFC 4180)")
    form.add_argument("--json", action="store_true", help="print JSON")


def _new_name(text: str) -> str:
    if not COMMAND_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 64 letters, digits, dots, _ and -")
    return text


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is not a token's number")
    return int(text)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= 36500:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days up to 36500")
    return days


def _time(text: str) -> float:
    """Unix seconds of 2026-01-31, 2026-01-31T12:00 or the like; UTC unless it says otherwise."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _forget_output() -> None:
    """What Python still holds of it must not raise again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


def _run(work: Callable[[argparse.Namespace], Awaitable[None]], arguments: argparse.Namespace) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A device's name may have signs that the terminal's encoding does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        trio.run(work, arguments)
        sys.stdout.flush()
    except ServerError as error:
        if isinstance(error.__cause__, OSError):
            _forget_output()
        return _fail(str(error))
    except BrokenPipeError:
        # Whoever read has seen enough.
        _forget_output()
        return 1
    except OSError as error:
        _forget_output()
        return _fail(f"nothing can be printed: {error.strerror}")
    except KeyboardInterrupt:
        return 130
    return 0


def _fail(text: str) -> int:
    print(f"tilewire: {text}", file=sys.stderr)
    return 1


@asynccontextmanager
async def _opened(arguments: argparse.Namespace, *, create: bool = False) -> AsyncIterator[Store]:
    place: Place = Place(arguments.state, arguments.secret) if arguments.state else arguments.setting()
    async with open_store(place.folder / STORE, secret=arguments.secret or place.secret, create=create) as store:
        yield store


def _print_key(name: str, key: bytes, arguments: argparse.Namespace) -> None:
    parts = {"device": name, "key": key.hex(), "c": c_snippet(name, key), "micropython": micropython_snippet(name, key)}
    try:
        if arguments.json:
            print(json.dumps(parts))
        else:
            print(f"device {printable(name)}\nkey    {parts['key']}\n\nThis key is not shown again.\n")
            print(f"For C (clients/threadx):\n\n{parts['c']}\nFor MicroPython:\n\n{parts['micropython']}", end="")
        sys.stdout.flush()
    except OSError as error:
        raise ServerError(
            f"the key of {printable(name)} could not be printed ({error.strerror}) and is lost: "
            f"tilewire device rotate {printable(name)} makes another"
        ) from error


async def _device_add(arguments: argparse.Namespace) -> None:
    async with _opened(arguments, create=True) as store:
        key = await store.add_device(arguments.name, tuple(arguments.profile), arguments.default)
    _print_key(arguments.name, key, arguments)


async def _device_rotate(arguments: argparse.Namespace) -> None:
    async with _opened(arguments) as store:
        key = await store.rotate_device(arguments.name)
    _print_key(arguments.name, key, arguments)


async def _device_remove(arguments: argparse.Namespace) -> None:
    async with _opened(arguments) as store:
        await store.remove_device(arguments.name)


async def _device_disable(arguments: argparse.Namespace) -> None:
    async with _opened(arguments) as store:
        await store.change_device(arguments.name, disabled=True)


async def _device_enable(arguments: argparse.Namespace) -> None:
    async with _opened(arguments) as store:
        await store.change_device(arguments.name, disabled=False)


async def _device_allow(arguments: argparse.Namespace) -> None:
    async with _opened(arguments) as store:
        await store.change_device(arguments.name, profiles=tuple(arguments.profile), default=arguments.default)


async def _device_list(arguments: argparse.Namespace) -> None:
    async with _opened(arguments) as store:
        rows = await store.devices()
    if arguments.json:
        print(json.dumps([_device_record(row) for row in rows], indent=1))
        return
    _print_table(
        ("DEVICE", "PROFILES", "DEFAULT", "CREATED", "LAST SEEN", ""),
        [
            (
                row.name,
                ",".join(row.profiles) or "by the rules",
                row.default or "-",
                iso_time(row.created_s),
                _seen(row.seen_s),
                "disabled" if row.disabled else "",
            )
            for row in rows
        ],
    )


def _device_record(row: DeviceRow) -> dict[str, Any]:
    return {
        "device": row.name,
        "profiles": list(row.profiles),
        "default": row.default,
        "created": iso_time(row.created_s),
        "seen": _iso_or_none(row.seen_s),
        "disabled": row.disabled,
    }


async def _token_add(arguments: argparse.Namespace) -> None:
    async with _opened(arguments, create=True) as store:
        text = await store.add_token(arguments.note, arguments.role, arguments.days * DAY_S)
    try:
        print(json.dumps({"token": text, "role": arguments.role}) if arguments.json else text)
        sys.stdout.flush()
    except OSError as error:
        raise ServerError(f"the token could not be printed ({error.strerror}) and is lost: revoke it") from error


async def _token_list(arguments: argparse.Namespace) -> None:
    async with _opened(arguments) as store:
        rows = await store.tokens()
    if arguments.json:
        print(json.dumps([_token_record(row) for row in rows], indent=1))
        return
    now_s = datetime.now(UTC).timestamp()
    _print_table(
        ("NUMBER", "ROLE", "CREATED", "EXPIRES", "LAST USED", "NOTE"),
        [
            (
                str(row.id),
                row.role.value,
                iso_time(row.created_s),
                ("never" if row.expires_s is None else iso_time(row.expires_s))
                + ("" if row.valid(now_s) else " (expired)"),
                _seen(row.used_s),
                row.note,
            )
            for row in rows
        ],
    )


def _token_record(row: Token) -> dict[str, Any]:
    return {
        "number": row.id,
        "role": row.role.value,
        "note": row.note,
        "created": iso_time(row.created_s),
        "expires": _iso_or_none(row.expires_s),
        "used": _iso_or_none(row.used_s),
    }


async def _token_revoke(arguments: argparse.Namespace) -> None:
    async with _opened(arguments) as store:
        await store.revoke_token(arguments.number)


async def _usage(arguments: argparse.Namespace) -> None:
    async with _opened(arguments) as store:
        pages = store.usage_pages(arguments.since, arguments.until)
        if not (arguments.csv or arguments.json):
            _print_usage([row async for page in pages for row in page])
            return
        if arguments.csv and isinstance(sys.stdout, io.TextIOWrapper):
            # Whoever is billed reads it elsewhere. Line ends are CR LF, and a text stream changes none on Linux.
            sys.stdout.reconfigure(encoding="utf-8")
        async for text in (usage_csv if arguments.csv else usage_json)(pages):
            sys.stdout.write(text)


def _print_usage(rows: Sequence[UsageRow]) -> None:
    total = ("", "", "", "", "together", *_amounts(rows), "")
    _print_table(
        ("SESSION", "PROFILE", "DEVICE", "STARTED", "ENDED", "SECONDS", "VIEWERS' S", "DOWN", "UP", "REASON"),
        [
            (
                row.session,
                row.profile,
                row.device or "-",
                iso_time(row.started_s),
                "running" if row.ended_s is None else iso_time(row.ended_s),
                *_amounts([row]),
                row.reason or "",
            )
            for row in rows
        ]
        + [total],
    )


def _amounts(rows: Sequence[UsageRow]) -> tuple[str, ...]:
    """Their sums."""
    return (
        f"{sum(row.seconds for row in rows):.0f}",
        f"{sum(row.viewer_seconds for row in rows):.0f}",
        str(sum(row.bytes_down for row in rows)),
        str(sum(row.bytes_up for row in rows)),
    )


def _seen(time_s: float | None) -> str:
    return "never" if time_s is None else iso_time(time_s)


def _iso_or_none(time_s: float | None) -> str | None:
    return None if time_s is None else iso_time(time_s)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell. Nothing in them moves the terminal's cursor."""
    cells = [head, *([printable(text) for text in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
