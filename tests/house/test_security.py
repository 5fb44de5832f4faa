"""docs/security.md promises nothing without a test: those that it names are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PROMISE: Final = re.compile(r"^(\d+)\. (.*?)(?=^\d+\. |^\*\*|\Z)", re.MULTILINE | re.DOTALL)
QUOTED: Final = re.compile(r"`([^`]+)`")


def promises() -> dict[int, str]:
    """By number."""
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8").partition("## What is promised")[2]
    return {int(number): body for number, body in PROMISE.findall(text)}


def test_promises_are_numbered_in_a_row() -> None:
    assert list(promises()) == list(range(1, len(promises()) + 1))
    assert len(promises()) > 20


def test_each_promise_names_tests_that_are_there() -> None:
    for number, body in promises().items():
        files = [name for name in QUOTED.findall(body) if name.endswith((".py", ".txt")) or name.startswith("tests/")]
        assert files, f"promise {number} names no test"
        found = ""
        for name in files:
            path = ROOT / name if name.startswith("tests/") else ROOT / "tests/server" / name
            assert path.exists(), f"promise {number}: there is no {name}"
            found += path.read_text(encoding="utf-8") if path.is_file() else ""
        for name in QUOTED.findall(body):
            if name.startswith("test_") and not name.endswith(".py"):
                assert f"def {name}(" in found, f"promise {number}: there is no test {name} in its files"
