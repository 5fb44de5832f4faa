"""Usage for billing: CSV (RFC 4180) and JSON, both with the same columns, in an order that stays."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from tilewire.server.store.rows import UsageRow, printable

COLUMNS: Final = (
    "id",
    "session",
    "profile",
    "device",
    "started",
    "ended",
    "seconds",
    "viewer_seconds",
    "bytes_down",
    "bytes_up",
    "reason",
)
"""New ones go to the end; none is renamed or taken away."""

_FORMULA: Final = re.compile(r"((?:^|[,;|])[\s\"']*)([=+\-@＝＋－＠])")
"""A sign with which spreadsheets begin a formula, at the start of a cell or of what some take for the next one."""


def iso_time(time_s: float) -> str:
    """Unix seconds as UTC, to the second: 2026-01-31T23:59:59Z."""
    return datetime.fromtimestamp(int(time_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def usage_record(row: UsageRow) -> dict[str, Any]:
    """One row as JSON has it, by COLUMNS. Null: no device, or still running."""
    values = (
        row.id,
        row.session,
        row.profile,
        row.device,
        iso_time(row.started_s),
        None if row.ended_s is None else iso_time(row.ended_s),
        round(row.seconds, 3),
        round(row.viewer_seconds, 3),
        row.bytes_down,
        row.bytes_up,
        row.reason,
    )
    return dict(zip(COLUMNS, values, strict=True))


def cell(text: str) -> str:
    """`text` on one line, and never a formula: a spreadsheet shows what has an apostrophe before it as it is.

    Who has proved nothing may call a device `=HYPERLINK(...)` on a server that lets strangers in.
    """
    return _FORMULA.sub(r"\1'\2", printable(text))


async def usage_csv(pages: AsyncIterable[Sequence[UsageRow]]) -> AsyncIterator[str]:
    """Text of Store.usage_pages(), lines that end with CR LF: the columns' names, then a session each. Empty: null.

    Texts are as cell() has them.
    """
    yield ",".join(COLUMNS) + "\r\n"
    async for page in pages:
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows(
            [cell(value) if isinstance(value, str) else value for value in usage_record(row).values()] for row in page
        )
        yield text.getvalue()


async def usage_json(pages: AsyncIterable[Sequence[UsageRow]]) -> AsyncIterator[str]:
    """Text of Store.usage_pages(): an array with one object per line, in ASCII. Texts are exactly as they were."""
    before = "[\n"
    async for page in pages:
        lines = ",\n".join(json.dumps(usage_record(row)) for row in page)
        if lines:
            yield before + lines
            before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"
