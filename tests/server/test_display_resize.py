"""A screen that changes its size, on a real Xvfb with real windows."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
import trio
from Xlib.ext import randr

from tilewire.protocol.geometry import Rect
from tilewire.server.display import Display, DisplayRefused, PointerMove, PointerMoved
from tilewire.server.x11.process import start_child
from tilewire.server.xvfb import XvfbServer, start_xvfb

from tests.server.displays import all_news, bare_xvfb, nothing_is_left, settled, until, would_wait
from tests.server.xclient import Painter, painter, picture_of

WIDTH, HEIGHT = 320, 200

_nothing_is_left = pytest.fixture(autouse=True)(nothing_is_left)


@pytest.fixture
async def xvfb() -> AsyncIterator[XvfbServer]:
    async with start_xvfb(WIDTH, HEIGHT) as server:
        yield server


async def shows(display: Display, colour: int) -> None:
    """The whole screen is of one colour, and a capture is as large as it says."""
    assert display.is_dirty
    capture = await display.capture()
    whole = Rect(0, 0, *display.size)
    assert (capture.size, capture.damage) == (display.size, (whole,))
    assert picture_of(capture).colours(whole) == {colour}


def modes(client: Painter) -> list[tuple[int, int]]:
    """Those that the server knows."""
    return [(mode.width, mode.height) for mode in randr.get_screen_resources(client.root).modes]


async def test_the_screen_becomes_as_large_as_asked_for(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            assert display.max_size == (WIDTH, HEIGHT)
            client.fill(Rect(0, 0, WIDTH, HEIGHT), 0x123456)
            await display.capture()
            for size in ((200, 100), (16, 16), (WIDTH, 16), (17, 199), (1, 1), (33, 7), (WIDTH, HEIGHT)):
                await display.resize(*size)
                assert display.size == size
                # What a window had outside the screen is gone from it.
                client.fill(Rect(0, 0, WIDTH, HEIGHT), 0x123456)
                await shows(display, 0x123456)
                monitor = randr.get_monitors(client.root).monitors[0]
                assert (monitor.width_in_pixels, monitor.height_in_pixels) == size
                # The pointer stays inside.
                await display.inject([PointerMove(WIDTH, HEIGHT)], owner=1, serial=1)
                assert display.pointer == (size[0] - 1, size[1] - 1)


async def test_a_pointer_that_nobody_moved_stays_in_the_middle(xvfb: XvfbServer) -> None:
    """Without a window manager keys go to the window below it."""
    async with settled(xvfb.display_name) as display:
        await display.capture()
        assert display.pointer == (WIDTH // 2, HEIGHT // 2)
        for size in ((100, 60), (WIDTH, HEIGHT)):
            await display.resize(*size)
            await display.capture()
            assert display.pointer == (size[0] // 2, size[1] // 2)
        await display.inject([PointerMove(90, 50)], owner=1, serial=1)
        await display.resize(100, 60)
        await display.capture()
        assert display.pointer == (90, 50)


async def test_a_program_is_told(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display:
        await display.resize(160, 120)
        # It prints the size in letters that do not change with the screen: as many pixels an inch as before.
        command = ["xterm", "-display", xvfb.display_name, "-fullscreen", "-bg", "#204060", "-bc", "-e", "sleep", "60"]
        async with start_child(command):
            await _until_colour(display, Rect(100, 100, 40, 10), 0x204060)
            await display.resize(WIDTH, HEIGHT)
            assert (await display.capture()).size == (WIDTH, HEIGHT)
            await display.resize(64, 48)
            capture = await display.capture()
            assert picture_of(capture).colours(Rect(40, 30, 20, 15)) == {0x204060}


async def _until_colour(display: Display, rect: Rect, colour: int) -> None:
    with trio.fail_after(20):
        while picture_of(await display.capture_all()).colours(rect) != {colour}:
            await display.wait_damage()


async def test_the_size_that_it_has_already_changes_nothing(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display:
        await display.resize(WIDTH, HEIGHT)
        assert await would_wait(display.wait_damage)


async def test_a_size_that_cannot_be_is_a_sentence(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display:
        for size in ((WIDTH + 1, HEIGHT), (0, 0), (70_000, 5), (5, -5)):
            problem = rf"^the screen cannot be {size[0]}x{size[1]}: the X server takes 1x1 to {WIDTH}x{HEIGHT}$"
            with pytest.raises(DisplayRefused, match=problem):
                await display.resize(*size)
        assert display.size == (WIDTH, HEIGHT)
        # It is as good as before.
        await display.resize(100, 50)
        assert (await display.capture()).size == (100, 50)


async def test_without_randr_the_screen_stays_as_it_is() -> None:
    async with bare_xvfb("-screen", "0", "320x200x24", "-extension", "RANDR") as name, settled(name) as display:
        assert display.max_size == (320, 200)
        with pytest.raises(DisplayRefused, match=r"^the X server has no RandR: its screen stays as large as it is$"):
            await display.resize(100, 50)
        assert (await display.capture_all()).size == (320, 200)


async def test_thousands_of_sizes_leave_one_mode(xvfb: XvfbServer) -> None:
    chance = random.Random(5)
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            at_first = modes(client)
            assert at_first == [(WIDTH, HEIGHT)]
            for _ in range(1000):
                size = (chance.randint(16, WIDTH), chance.randint(16, HEIGHT))
                await display.resize(*size)
                assert display.size == size
            assert modes(client) == [*at_first, size]
            await display.resize(WIDTH, HEIGHT)
            assert modes(client) == at_first


async def test_a_mode_that_exists_is_used_and_stays(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        client.shrink_screen(200, 100)
        async with settled(xvfb.display_name) as display:
            await display.resize(150, 90)
            await display.resize(200, 100)
            assert (await display.capture()).size == (200, 100)
            await display.resize(WIDTH, HEIGHT)
            assert sorted(modes(client)) == [(200, 100), (WIDTH, HEIGHT)]


async def test_a_screen_that_shrinks_moves_the_pointer(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display:
        await display.inject([PointerMove(300, 180)], owner=1, serial=1)
        await all_news(display)
        await display.resize(100, 50)
        assert await until(display.news(), PointerMoved) == PointerMoved(99, 49, 1)
