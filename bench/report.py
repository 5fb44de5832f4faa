"""Tables for terminals and files for machines."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

OUT: Final = Path(__file__).resolve().parent / "out"

Row = Mapping[str, object]


def percentile(values: Sequence[float], percent: int) -> float:
    """By linear interpolation; one value is every percentile."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table(rows: Sequence[Row]) -> str:
    """Rows with the same keys as a Markdown table, numbers to the right."""
    keys = list(rows[0])
    texts = [[_text(row[key]) for key in keys] for row in rows]
    widths = [max(len(key), *(len(line[i]) for line in texts)) for i, key in enumerate(keys)]
    right = [all(isinstance(row[key], int | float | None) for row in rows) for key in keys]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right)) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right)) + "|"
    return "\n".join([line(keys), rule, *(line(cells) for cells in texts)])


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def marked(text: str, good: bool) -> str:
    """Green or red on a terminal, unless NO_COLOR is set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{'32' if good else '31'}m{text}\x1b[0m"


def write(name: str, rows: Sequence[Row]) -> Path:
    """bench/out/NAME.json: a list of rows."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(json.dumps(list(rows), indent=1) + "\n")
    return path
