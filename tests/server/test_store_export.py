"""Usage for billing: CSV that every reader takes, JSON that loses nothing, no formula in either."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tilewire.server.store import UsageRow, open_store, usage_csv, usage_json
from tilewire.server.store.export import COLUMNS, cell
from tilewire.server.store.store import PAGE

Form = Callable[[AsyncIterator[Sequence[UsageRow]]], AsyncIterator[str]]

ROW: Final = UsageRow(
    id=7,
    session="s1",
    profile="web",
    device="panel-7",
    started_s=1_790_000_000.9,
    seen_s=1_790_000_090,
    ended_s=1_790_000_090.25,
    seconds=89.3504,
    viewer_seconds=120,
    bytes_down=123456,
    bytes_up=789,
    reason="closed by an operator",
)
RUNNING: Final = replace(ROW, id=8, device=None, ended_s=None, seconds=0.1, reason=None)


def exported(
    form: Callable[[AsyncIterator[Sequence[UsageRow]]], AsyncIterator[str]], *pages: Sequence[UsageRow]
) -> str:
    """What it writes for these pages."""

    async def each() -> AsyncIterator[Sequence[UsageRow]]:
        for page in pages:
            yield page

    async def write() -> str:
        return "".join([text async for text in form(each())])

    return trio.run(write)


HEAD: Final = "id,session,profile,device,started,ended,seconds,viewer_seconds,bytes_down,bytes_up,reason\r\n"


def test_the_columns_as_they_stay() -> None:
    assert exported(usage_csv, [ROW], [RUNNING]) == (
        HEAD
        + "7,s1,web,panel-7,2026-09-21T14:13:20Z,2026-09-21T14:14:50Z,89.35,120,123456,789,closed by an operator\r\n"
        "8,s1,web,,2026-09-21T14:13:20Z,,0.1,120,123456,789,\r\n"
    )
    assert json.loads(exported(usage_json, [ROW], [RUNNING])) == [
        {
            "id": 7,
            "session": "s1",
            "profile": "web",
            "device": "panel-7",
            "started": "2026-09-21T14:13:20Z",
            "ended": "2026-09-21T14:14:50Z",
            "seconds": 89.35,
            "viewer_seconds": 120,
            "bytes_down": 123456,
            "bytes_up": 789,
            "reason": "closed by an operator",
        },
        {
            "id": 8,
            "session": "s1",
            "profile": "web",
            "device": None,
            "started": "2026-09-21T14:13:20Z",
            "ended": None,
            "seconds": 0.1,
            "viewer_seconds": 120,
            "bytes_down": 123456,
            "bytes_up": 789,
            "reason": None,
        },
    ]


def test_nothing_used() -> None:
    assert exported(usage_csv) == HEAD
    assert json.loads(exported(usage_json)) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-x", "'-x"),
        ("@sum", "'@sum"),
        (" =1", " '=1"),
        ("＝1", "'＝1"),
        ("a;=1", "a;'=1"),
        ('a,"=1', "a,\"'=1"),
        ("a|-1", "a|'-1"),
        ("\t=1", "\ufffd=1"),
        ("a=1", "a=1"),
        ("panel-7", "panel-7"),
        ("two\r\nlines\0", "two\ufffd\ufffdlines\ufffd"),
    ],
)
def test_no_cell_is_a_formula(text: str, shown: str) -> None:
    assert cell(text) == shown


def signs() -> st.SearchStrategy[str]:
    """Mostly what means something to a reader of CSV, a spreadsheet or a terminal."""
    return st.text(st.sampled_from("=+-@＝'\",;|\r\n\t \0\x1bäx\U0001f5a5") | st.characters(codec="utf-8"), max_size=12)


@given(st.lists(st.tuples(signs(), signs()), max_size=4))
@example([('"', ",\r\n=")])
@settings(deadline=None)
def test_any_text_leaves_every_row_and_column_in_its_place(texts: list[tuple[str, str]]) -> None:
    rows = [replace(ROW, id=at, device=device, reason=reason) for at, (device, reason) in enumerate(texts)]
    text = exported(usage_csv, rows)
    # RFC 4180 as Python's strict reader has it, and one line for each session for whoever splits lines.
    found = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert found[0] == list(COLUMNS)
    assert [len(line) for line in found] == [len(COLUMNS)] * (1 + len(rows))
    assert len(text.split("\r\n")) == len(rows) + 2
    assert [(line[3], line[10]) for line in found[1:]] == [(cell(device), cell(reason)) for device, reason in texts]
    for device, reason in texts:
        for shown in (cell(device), cell(reason)):
            assert shown.isprintable()
            starts = re.finditer(r"(?:^|[,;|])[\s\"']*(?=[=+\-@＝＋－＠])", shown)
            assert [start[0][-1:] for start in starts if start[0][-1:] != "'"] == []
    # JSON has them as they were, in ASCII.
    back = json.loads(exported(usage_json, rows))
    assert [(one["device"], one["reason"]) for one in back] == texts
    assert exported(usage_json, rows).isascii()


async def test_many_sessions_come_in_pages_each_once(tmp_path: Path) -> None:
    """Also one that ends while they are read."""
    count = 2 * PAGE + 3
    folder = tmp_path / "state"
    async with open_store(folder, clock=lambda: 1e9) as store:
        with closing(sqlite3.connect(folder / "state.db")) as connection, connection:
            connection.executemany(
                "INSERT INTO usage (session, profile, started_ms, seen_ms) VALUES ('s', 'web', ?, ?)",
                [(10**12, 10**12)] * count,
            )
        pages: list[list[int]] = []
        async for page in store.usage_pages():
            if not pages:
                for number in (1, count):
                    await store.end_usage(number, "closed")
            pages.append([row.id for row in page])
        assert [len(page) for page in pages] == [PAGE, PAGE, 3]
        assert [number for page in pages for number in page] == list(range(1, count + 1))
        assert [row.id for row in await store.usage(after=5, limit=2)] == [6, 7]
