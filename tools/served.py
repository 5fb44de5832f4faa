"""A tilewire server as a process of its own, for the demo and the benchmarks."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

START_S: Final = 30.0
LOOK_S: Final = 0.02
STOP_S: Final = 20.0
"""Its own bounds add up to less."""


class ServedError(Exception):
    """The server did not start, with the end of its log; or it did not stop."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where it listens, and its process id."""

    address: str
    pid: int


@contextmanager
def served(
    arguments: Sequence[str], log_path: Path, *, prefix: Sequence[str] = (), file_kib: int | None = None
) -> Iterator[Served]:
    """Run `tilewire` with these arguments inside the block, its output in `log_path`. Raises ServedError.

    `prefix`: goes before the command, `Place.prefix` of a shaped link for one. `file_kib`: as large as its files can
    become, for tests.
    """
    command = [*prefix, sys.executable, "-m", "tilewire.server.cli", *arguments]
    if file_kib is not None:
        command = ["bash", "-c", f'ulimit -f {file_kib}; exec "$0" "$@"', *command]
    with log_path.open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + START_S
            while (found := re.search(r"devices connect to (\S+)\n", log_path.read_text())) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ServedError(f"the server did not start; {log_path} ends: {log_path.read_text()[-600:]}")
                time.sleep(LOOK_S)
            yield Served(found[1], process.pid)
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired as late:
                process.kill()
                raise ServedError(f"the server did not stop in {STOP_S:g} s and was killed; see {log_path}") from late
