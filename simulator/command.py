"""What the commands of `tilewire-sim` share."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import Any, Final

from tilewire.protocol.constants import CursorMode

CURSORS: Final = {"none": CursorMode.NONE, "picture": CursorMode.IN_PICTURE, "local": CursorMode.LOCAL}
"""The values of --cursor; the firmware's configuration has the same names."""
CONNECT_S: Final = 30.0
"""How long the first whole picture of a QEMU device may take where --connect-within says nothing."""


def say(text: str) -> None:
    """One sentence on stderr."""
    print(f"tilewire-sim: {text}", file=sys.stderr, flush=True)


def first_of(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first exception that is none of a group's own."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """Median and 95 %, to three digits; None of no value."""
    if not values:
        return None
    if len(values) == 1:
        return {"p50": round(values[0], 3), "p95": round(values[0], 3)}
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return {"p50": round(cuts[9], 3), "p95": round(cuts[18], 3)}


def nearest_rank(values: Sequence[float], share: float) -> float:
    """Of at least one value, the one below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
