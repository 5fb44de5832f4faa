"""In which order a viewer is told things on a thin link: virtual time, and no byte is buffered on the way."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import trio
import trio.testing

from tilewire.protocol import Capability, Connection, PixelFormat, Point, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_CLIPBOARD
from tilewire.protocol.reference import Framebuffer
from tilewire.server.display import Capture, ClipboardText, News
from tilewire.server.pixels import Screen, Surface
from tilewire.server.session import Session

from tests.server.sights import view_of
from tests.server.test_viewer_time import HEIGHT, WIDTH, FakeDisplay, FakeLink
from tests.support import EVERYTHING, hello

PANEL = (40, 30)


class TellingDisplay(FakeDisplay):
    """One whose clipboard tells something."""

    def __init__(self) -> None:
        super().__init__()
        self.tell, self._told = trio.open_memory_channel[News](10)
        self.screen = Screen(WIDTH, HEIGHT)

    async def capture(self) -> Capture:
        taken = await super().capture()
        for patch in taken.patches:
            self.screen.blit(patch.rect, patch.pixels)
        return taken

    async def news(self) -> AsyncIterator[News]:
        async for news in self._told:
            yield news


class SeeingLink(FakeLink):
    """A device that looks at its picture after each update."""

    def __init__(self, bytes_per_s: float, greeting: m.Hello, display: TellingDisplay) -> None:
        super().__init__(bytes_per_s)
        self._framebuffer = Framebuffer.of(greeting)
        self._display = display
        self._seen = 0
        self.wrong: list[m.ViewState] = []
        """Views that were in force when an update showed something else."""

    async def send(self, data: bytes) -> None:
        await super().send(data)
        announced: m.ViewState | None = None
        for index, (_, message) in enumerate(self.heard):
            if isinstance(message, m.ViewState):
                announced = message
            if index < self._seen:
                continue
            self._framebuffer.apply(message)
            if isinstance(message, m.End):
                assert announced is not None
                surface = Surface(*PANEL, PixelFormat.XRGB8888)
                surface.render(self._display.screen, view_of(announced, PANEL), surface.rect)
                if self._framebuffer.stored() != bytes(surface.pixels):
                    self.wrong.append(announced)
        self._seen = len(self.heard)


@asynccontextmanager
async def life(bytes_per_s: float) -> AsyncIterator[tuple[TellingDisplay, SeeingLink]]:
    capabilities = EVERYTHING | Capability.CLIPBOARD
    greeting = hello(panel=PANEL, pixel_format=PixelFormat.XRGB8888, capabilities=capabilities, max_message=8192)
    display = TellingDisplay()
    link = SeeingLink(bytes_per_s, greeting, display)
    session = Session("main", display, 60)  # type: ignore[arg-type]
    server = Connection(Sender.SERVER)
    server.receive_data(link.client.send(greeting))
    server.next_event()
    link.client.receive_data(server.send(m.Reply(version=1, method=1, nonce=bytes(16))))
    link.client.next_event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.watch)
        nursery.start_soon(session.serve, server, link, greeting)
        await trio.sleep(1)
        yield display, link
        nursery.cancel_scope.cancel()


async def test_pixels_wait_for_a_chunk_and_not_for_a_text(autojump_clock: trio.testing.MockClock) -> None:
    async with life(20_000) as (display, link):
        display.tell.send_nowait(ClipboardText("x" * MAX_CLIPBOARD))
        for _ in range(10):
            await trio.sleep(1)
            display.paint()
        await trio.sleep(30)
        kinds = [type(message) for _, message in link.heard]
        first = kinds.index(m.Clipboard)
        last = len(kinds) - 1 - kinds[::-1].index(m.Clipboard)
        ends = [index for index in range(first, last) if kinds[index] is m.End]
        assert len(ends) >= 10
        # A paint each second is five chunks' time: none of the updates waited for more than its share.
        assert all(kinds[one:other].count(m.Clipboard) <= 8 for one, other in pairwise(ends))
        assert kinds.count(m.Clipboard) == MAX_CLIPBOARD // 4096
        assert link.wrong == []


async def test_an_update_shows_the_view_that_was_told_last(autojump_clock: trio.testing.MockClock) -> None:
    """Also where the view changes while a clipboard, a shape or an update is on its way."""
    chance = random.Random(3)
    async with life(30_000) as (display, link):
        for number in range(400):
            if number % 50 == 0:
                display.tell.send_nowait(ClipboardText("y" * 100_000))
            mode, rotation = chance.randrange(4) // 3, chance.choice([0, 0, 0, 1, 2, 3])
            link.say(
                m.View(mode=mode, rotation=rotation, follow=0, origin=Point(chance.randrange(24), chance.randrange(18)))
            )
            await trio.sleep(chance.random() / 4)
        await trio.sleep(30)
        # How many depends on the machine: this time goes on while a thread works.
        assert len(link.times(m.End)) >= 5
        assert link.wrong == []
