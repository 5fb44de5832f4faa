"""Waiting for what a process says, and not for ever."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WITHIN_S = 60.0


@contextmanager
def killed_late(process: subprocess.Popen[Any]) -> Iterator[None]:
    """A process that is killed where the block takes longer: what reads its lines comes to their end."""
    timer = threading.Timer(WITHIN_S, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def until_line(process: subprocess.Popen[str], ending: str) -> None:
    """Return once it has said a line on stderr that ends so."""
    assert process.stderr is not None
    said = []
    with killed_late(process):
        for line in process.stderr:
            if line.endswith(ending):
                return
            said.append(line)
    raise AssertionError(f"it ended before it said {ending!r}, or was killed after {WITHIN_S:g} s: {said[-6:]}")
