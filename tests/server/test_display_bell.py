"""The bell on a real Xvfb: who rings it, and how often that is told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tilewire.server.display import BellRang, Key
from tilewire.server.x11.process import start_child
from tilewire.server.xvfb import XvfbServer, start_xvfb

from tests.server.displays import all_news, nothing_is_left, settled, until, would_wait
from tests.server.xclient import key_reader, painter

LETTER_A = 0x61

_nothing_is_left = pytest.fixture(autouse=True)(nothing_is_left)


@pytest.fixture
async def xvfb() -> AsyncIterator[XvfbServer]:
    async with start_xvfb(320, 200) as server:
        yield server


async def test_a_bell_is_heard_and_heard_again(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            await all_news(display)
            feed = display.news()
            assert await would_wait(feed.__anext__)
            for _ in range(3):
                client.ring()
                assert await until(feed, BellRang) == BellRang()


async def test_a_thousand_bells_are_a_few(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            await all_news(display)
            for _ in range(1000):
                client.display.bell()
            client.ring()
            assert await all_news(display) == [BellRang()]


async def test_a_terminal_rings(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display:
        command = ["xterm", "-display", xvfb.display_name, "-e", "sh", "-c", "printf '\\a'; exec sleep 60"]
        async with start_child(command):
            await until(display.news(), BellRang)


async def test_who_hears_the_bell_still_hears_of_the_keymap(xvfb: XvfbServer) -> None:
    with key_reader(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            for serial, (keycode, keysym) in enumerate([(200, 0xE000), (201, 0xE001), (200, 0xE002)], 1):
                await display.inject([Key(LETTER_A, True), Key(LETTER_A, False)], owner=1, serial=serial)
                client.map_key(keycode, 0x01000000 + keysym)
                await display.inject([Key(0x01000000 + keysym, True)], owner=1, serial=serial)
                await display.release_all(1)
                assert (await client.changes(4))[2] == ("down", keycode)
