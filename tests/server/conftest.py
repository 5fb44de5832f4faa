"""What tests of a whole server begin with; where a file needs another server or client, it has one of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import trio

from tilewire.protocol import Capability, Rect

from tests.server.xclient import Painter, painter
from tests.support import EVERYTHING, Served, descriptors, device, hello, quiet, served, tasks


@pytest.fixture
def nothing_stays_open() -> Iterator[None]:
    """Every file and socket that the test opened is closed at its end."""
    before = descriptors()
    yield
    assert descriptors() - before == set()


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    """On a screen of the usual size."""
    async with served() as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[Painter]:
    """A program on the server's display."""
    with painter(server.name) as made:
        yield made


@pytest.fixture
async def calm(server: Served, client: Painter) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Returns once another viewer is served as before, and nothing else is left of what there was."""
    looker = hello(device_id="witness", capabilities=EVERYTHING | Capability.VIEW_ONLY)
    async with device(server.port, looker) as witness:
        await server.until_exact(witness)
        await quiet(0.01)
        before = tasks(), len(descriptors())

        async def again() -> None:
            with trio.fail_after(30):
                while (tasks(), len(descriptors())) != before:
                    await quiet(0.001)
            client.fill(Rect(20, 10, 30, 40), 0x123456)
            await server.until_exact(witness)

        yield again
