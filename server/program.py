"""A command run on a display, and nothing left of it when the block ends, not even what left its process group."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from tilewire.server.errors import ServerError
from tilewire.server.x11.process import Child, end_orphans, start_child

MARK: Final = "TILEWIRE_PROGRAM"
"""In the environment of everything a program starts: what left its process group is found by it."""
SWEEP_S: Final = 0.02


def find_command(command: Sequence[str]) -> None:
    """Raise ServerError where there is no such program."""
    if shutil.which(command[0]) is None:
        raise ServerError(f"there is no command {command[0]!r}")


@asynccontextmanager
async def start_program(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Child]:
    """Run `command` with these variables beside our own. Raises ServerError where it cannot be started."""
    mark = uuid.uuid4().hex
    try:
        async with start_child(command, env={**os.environ, **environment, MARK: mark}) as child:
            yield child
    except OSError as error:
        raise ServerError(f"{command[0]!r} cannot be started: {error.strerror or error}") from error
    finally:
        with trio.CancelScope(shield=True):
            # Nobody tells when a process that is not our child has ended.
            while _end_marked(mark) or end_orphans():  # noqa: ASYNC110
                await trio.sleep(SWEEP_S)


def _end_marked(mark: str) -> bool:
    """Kill what carries the mark. Returns whether there was any."""
    strays = _marked(mark)
    for pid in strays:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return bool(strays)


def _marked(mark: str) -> list[int]:
    """Living processes with `mark` in their environment; a zombie has none and is not found."""
    wanted = f"{MARK}={mark}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0"):
            found.append(int(entry.name))
    return found
