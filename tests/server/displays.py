"""What the tests of displays share: one without damage, its news, and a look at what is left behind."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio
from trio.testing import wait_all_tasks_blocked

from tilewire.server.display import Display, News, NewsFeed, open_display
from tilewire.server.x11.numbers import reserved_number
from tilewire.server.x11.process import start_child

NEWS_LIMIT_S = 20
"""Beyond that a test fails instead of hanging."""

Kind = TypeVar("Kind", bound=News)


def nothing_is_left() -> Iterator[None]:
    """For a fixture: no test leaves a display's thread or a file descriptor."""
    before = _descriptors()
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("display")] == []
    assert _descriptors() - before == set()


def _descriptors() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:
            # The listing's own.
            continue
    return found


@asynccontextmanager
async def bare_xvfb(*options: str) -> AsyncIterator[str]:
    """An Xvfb that `start_xvfb` would not start."""
    reader, writer = os.pipe()
    async with trio.lowlevel.FdStream(reader) as numbers:
        with ExitStack() as parents_copy, reserved_number() as number:
            command = ["Xvfb", f":{number}", "-displayfd", str(writer), "-noreset", "-nolisten", "tcp", *options]
            parents_copy.callback(os.close, writer)
            async with start_child(command, stderr=subprocess.DEVNULL, pass_fds=[writer]):
                parents_copy.close()
                yield f":{int(await numbers.receive_some())}"


@asynccontextmanager
async def settled(name: str, stall_limit_s: float = 10.0) -> AsyncIterator[Display]:
    """A display that has no damage."""
    async with open_display(name, stall_limit_s=stall_limit_s) as display:
        await display.capture_all()
        yield display


async def would_wait(wait: Callable[[], Awaitable[object]]) -> bool:
    """Whether something does not return while nothing else happens."""
    returned = False

    async def try_it() -> None:
        nonlocal returned
        await wait()
        returned = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(try_it)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return not returned


async def until(feed: NewsFeed, kind: type[Kind], wanted: Callable[[Kind], object] = bool) -> Kind:
    """The next piece of news of a kind that is as wanted; others are passed over."""
    seen: list[News] = []
    with trio.move_on_after(NEWS_LIMIT_S):
        async for news in feed:
            if isinstance(news, kind) and wanted(news):
                return news
            seen.append(news)
    raise AssertionError(f"no such {kind.__name__} in {NEWS_LIMIT_S} s, but {seen[-3:]}")


async def all_news(display: Display) -> list[News]:
    """What has not been read yet, what the X server reports until it has been asked something included."""
    await display.capture()
    feed, found = display.news(), list[News]()

    async def read() -> None:
        async for news in feed:
            found.append(news)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return found
