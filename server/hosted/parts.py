"""What runs on a session's display: its program, and its window manager."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from tilewire.server.errors import ServerError
from tilewire.server.hosted.place import Place
from tilewire.server.program import MARK
from tilewire.server.x11.process import Child, Terms, start_child

LAST_WORDS_BYTES: Final = 4096
LAST_WORDS_S: Final = 0.1
"""How long after its end what it wrote before may take to be read."""
BETWEEN_READS_S: Final = 0.02
"""What writes without end waits for us in its pipe, instead of keeping us busy."""
LAST_LINE: Final = 200
COMMANDS_FD, ANSWERS_FD = 3, 4
"""Of a browser: it reads its orders from one and answers on the other."""
UMASK: Final = 0o077
POOL_PROCESSES: Final = 4096
"""Processes and threads of a user that one session has for itself: a browser with some twenty pages has 500."""
SOFT_FILES: Final = 1024
"""What programs expect: some close all they may have. Those that need more raise it."""


@dataclass(frozen=True, slots=True)
class Pipes:
    """Our ends of a browser's two pipes."""

    send: trio.lowlevel.FdStream
    receive: trio.lowlevel.FdStream


class Part:
    """A running program; made by `start_part`."""

    def __init__(self, name: str, child: Child, output: trio.lowlevel.FdStream, pipes: Pipes | None) -> None:
        self.name = name
        """As the session's traces know it."""
        self.child = child
        self.pipes = pipes
        self._output = output
        self._tail = b""
        self._life = AsyncExitStack()
        self._end_at: float | None = None

    async def listen(self) -> None:
        """Take what it writes, so that it can go on, and keep the last of it; returns when nobody writes any more."""
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            async for data in self._output:
                self._tail = (self._tail + data)[-LAST_WORDS_BYTES:]
                await trio.sleep(BETWEEN_READS_S)

    async def wait(self) -> int:
        """Its exit status, once it has ended and what it wrote was read. For one task; `listen` is part of it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.listen)
            status = await self.child.wait()
            nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS_S
        return status

    @property
    def last_words(self) -> str:
        """The last line that it wrote, for the operator."""
        lines = self._tail.decode(errors="replace").split("\n")
        line = next((line for line in reversed(lines) if line.strip()), "")
        return "".join(each if each.isprintable() else " " for each in line).strip()[:LAST_LINE]

    def keep(self, life: AsyncExitStack) -> None:
        """Take over what ends with it."""
        self._life = life

    def ask_to_end(self, grace_s: float) -> None:
        """SIGTERM; it has so long."""
        if self._end_at is None:
            self._end_at = trio.current_time() + grace_s
            self.child.ask_to_end()

    async def end(self, grace_s: float) -> None:
        """Return when it and its process group have ended: on request, or killed when its time is over."""
        with trio.CancelScope(shield=True):
            self.ask_to_end(grace_s)
            assert self._end_at is not None
            await self.child.end(max(0.0, self._end_at - trio.current_time()), asked=True)
            await self._life.aclose()


def find_program(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raise ServerError where there is no such program for a session."""
    if "/" in command[0] and not Path(command[0]).is_absolute():
        raise ServerError(f"{command[0]!r} is neither a name nor a whole path")
    if shutil.which(command[0], path=environment["PATH"]) is None:
        raise ServerError(f"there is no command {command[0]!r}")


async def start_part(
    name: str, command: Sequence[str], environment: Mapping[str, str], place: Place, *, pipes: bool = False
) -> Part:
    """Start a program with these variables and no others. Raises ServerError.

    `pipes`: it gets two, as a browser's DevTools want them.
    """
    find_program(command, environment)
    ours, theirs = ExitStack(), ExitStack()
    with theirs, ours:

        def pipe(*, to_them: bool) -> tuple[int, int]:
            reader, writer = os.pipe()
            mine, its = (writer, reader) if to_them else (reader, writer)
            ours.callback(os.close, mine)
            theirs.callback(os.close, its)
            return mine, its

        output, written = pipe(to_them=False)
        send, orders = pipe(to_them=True) if pipes else (-1, -1)
        receive, answers = pipe(to_them=False) if pipes else (-1, -1)
        terms = Terms(
            account=place.account,
            no_new_privileges=True,
            fds={COMMANDS_FD: orders, ANSWERS_FD: answers} if pipes else None,
            limits=_limits(alone=place.record.uid is not None),
            umask=UMASK,
        )
        marked = {**environment, MARK: place.traces.part(name)}
        async with AsyncExitStack() as life:
            try:
                child = await life.enter_async_context(
                    start_child(command, env=marked, cwd=place.home, stdout=written, stderr=written, terms=terms)
                )
            except OSError as error:
                raise ServerError(f"{command[0]!r} cannot be started: {error.strerror or error}") from error
            place.note_program(child.pid)
            ours.pop_all()
            streams = [trio.lowlevel.FdStream(fd) for fd in (output, send, receive) if fd >= 0]
            for stream in streams:
                life.push_async_callback(stream.aclose)
            part = Part(name, child, streams[0], Pipes(*streams[1:]) if pipes else None)
            part.keep(life.pop_all())
            return part


def _limits(*, alone: bool) -> list[tuple[int, int, int]]:
    """Resource limits: RLIMIT_ number, soft, hard. `alone`: nothing else runs as its user."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files == resource.RLIM_INFINITY:
        files = SOFT_FILES
    # No core files: they would fill its home, and hold what was on its screen.
    limits = [(resource.RLIMIT_CORE, 0, 0), (resource.RLIMIT_NOFILE, min(SOFT_FILES, files), files)]
    if alone:
        # It is counted for each user in all.
        most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        count = POOL_PROCESSES if most == resource.RLIM_INFINITY else min(POOL_PROCESSES, most)
        limits.append((resource.RLIMIT_NPROC, count, count))
    return limits
