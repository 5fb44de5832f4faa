"""The pointer on a real Xvfb: its shape, its place, and what it costs to know them."""

from __future__ import annotations

import random
import signal
import struct
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from Xlib import X

from tilewire.server.display import (
    BellRang,
    ClipboardFailed,
    ClipboardText,
    CursorChanged,
    CursorShape,
    DisplayLost,
    Key,
    PointerMove,
    PointerMoved,
    open_display,
)
from tilewire.server.x11 import cursors
from tilewire.server.x11.cursors import MAX_CURSOR_SIDE
from tilewire.server.x11.news import NewsBox
from tilewire.server.x11.wire import Wire
from tilewire.server.xvfb import XvfbServer, start_xvfb

from tests.server.displays import all_news, nothing_is_left, settled, until, would_wait
from tests.server.xclient import painter

WIDTH, HEIGHT = 320, 200
SHIFT_L = 0xFFE1
RED, WHITE, NOTHING = b"\x00\x00\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"
ARROW = ("#+..", "##+.", "###+")
ARROW_PIXELS = RED + WHITE + NOTHING * 2 + RED * 2 + WHITE + NOTHING + RED * 3 + WHITE

_nothing_is_left = pytest.fixture(autouse=True)(nothing_is_left)


@pytest.fixture
async def xvfb() -> AsyncIterator[XvfbServer]:
    async with start_xvfb(WIDTH, HEIGHT) as server:
        yield server


def _has_shape(news: CursorChanged) -> bool:
    return news.shape is not None


# Its shape.


async def test_the_shape_is_what_a_program_made_it(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with open_display(xvfb.display_name) as display:
            feed = display.news()
            client.wear(ARROW, (1, 2))
            told = await until(feed, CursorChanged, lambda news: news.shape is not None and news.shape.width == 4)
            shape = told.shape
            assert shape is not None
            assert (shape.width, shape.height, shape.hot_x, shape.hot_y) == (4, 3, 1, 2)
            assert shape.pixels == ARROW_PIXELS
            assert display.cursor is shape


async def test_a_display_knows_the_shape_and_the_place_when_it_is_opened(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        client.wear(ARROW)
        client.warp_pointer(17, 23)
        async with open_display(xvfb.display_name) as display:
            assert display.cursor is not None
            assert display.cursor.pixels == ARROW_PIXELS
            assert (display.pointer, display.pointer_serial) == ((17, 23), 0)
            assert await all_news(display) == [CursorChanged(display.cursor), PointerMoved(17, 23, 0)]


async def test_each_shape_is_told_once(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            await all_news(display)
            feed = display.news()
            serials = set()
            for width in range(1, 6):
                client.wear(("#" * width,))
                shape = (await until(feed, CursorChanged, _has_shape)).shape
                assert shape is not None
                assert shape.width == width
                serials.add(shape.serial)
            assert len(serials) == 5
            # Nothing but the place changes.
            for x in range(20):
                await display.inject([PointerMove(x, 5)], owner=1, serial=x + 1)
            assert await all_news(display) == [PointerMoved(19, 5, 20)]


@pytest.mark.parametrize("side", [MAX_CURSOR_SIDE, MAX_CURSOR_SIDE + 1, 3000])
async def test_an_absurdly_large_shape_is_none(xvfb: XvfbServer, side: int) -> None:
    # Of 3000 a side the reply is longer than what is kept of any.
    assert 3000 * 3000 * 4 > Wire.MAX_REPLY_BYTES > MAX_CURSOR_SIDE * MAX_CURSOR_SIDE * 4
    with painter(xvfb.display_name) as client:
        client.wear(ARROW)
        async with settled(xvfb.display_name) as display:
            assert display.cursor is not None
            await all_news(display)
            feed = display.news()
            client.wear_square(side)
            shape = (await until(feed, CursorChanged)).shape
            assert (shape is None) == (side > MAX_CURSOR_SIDE)
            assert shape is None or shape.pixels == RED * side * side
            # The connection is where it should be.
            await display.inject([PointerMove(5, 6)], owner=1, serial=1)
            assert display.pointer == (5, 6)
            client.wear(ARROW)
            shape = (await until(feed, CursorChanged)).shape
            assert shape is not None
            assert shape.pixels == ARROW_PIXELS


async def test_a_shape_that_is_too_large_is_not_kept_while_it_comes(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            await all_news(display)
            tracemalloc.start()
            try:
                client.wear_square(3000)
                assert (await until(display.news(), CursorChanged)).shape is None
                assert tracemalloc.get_traced_memory()[1] < 2 * Wire.MAX_REPLY_BYTES
            finally:
                tracemalloc.stop()


# Its place.


async def test_the_place_is_known_when_input_is_confirmed(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display:
        for serial in range(1, 20):
            await display.inject([PointerMove(serial * 9, serial * 7)], owner=1, serial=serial)
            assert (display.pointer, display.pointer_serial) == ((serial * 9, serial * 7), serial)
        # What does not move the pointer counts as well, and is no news.
        await all_news(display)
        await display.inject([Key(SHIFT_L, True)], owner=1, serial=20)
        assert (display.pointer, display.pointer_serial) == ((19 * 9, 19 * 7), 20)
        assert await all_news(display) == []


async def test_a_pointer_that_is_not_where_it_was_sent_is_news(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display:
        await display.inject([PointerMove(WIDTH - 1, HEIGHT - 1)], owner=1, serial=1)
        await all_news(display)
        await display.inject([PointerMove(WIDTH + 90, HEIGHT + 90)], owner=1, serial=2)
        assert await all_news(display) == [PointerMoved(WIDTH - 1, HEIGHT - 1, 2)]
        await display.inject([PointerMove(WIDTH - 1, HEIGHT - 1)], owner=1, serial=3)
        assert await all_news(display) == []


async def test_a_mouse_is_noticed_while_nobody_asks(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            await display.inject([PointerMove(3, 4)], owner=1, serial=7)
            feed = display.news()
            client.move_pointer(50, 60)
            assert await until(feed, PointerMoved, lambda news: news.x == 50) == PointerMoved(50, 60, 7)
            client.grab_pointer()
            client.move_pointer(51, 61)
            assert await until(feed, PointerMoved) == PointerMoved(51, 61, 7)


async def test_a_program_that_moves_the_pointer_is_noticed_with_the_next_capture(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            client.warp_pointer(77, 88)
            await display.capture()
            assert display.pointer == (77, 88)
            client.warp_pointer(78, 89)
            await display.inject([Key(SHIFT_L, True)], owner=1, serial=1)
            assert (display.pointer, display.pointer_serial) == ((78, 89), 1)


# What it costs.


async def test_our_own_motion_wakes_nobody_again(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        client.wear(ARROW)
        async with settled(xvfb.display_name) as display:
            await display.inject([PointerMove(1, 1)], owner=1, serial=1)
            before = display.wakeups
            for serial in range(2, 102):
                await display.inject([PointerMove(serial, serial)], owner=1, serial=serial)
            client.display.sync()
            assert await would_wait(display.wait_damage)
            assert display.wakeups - before == 100


async def test_our_own_motion_costs_one_question_a_batch(xvfb: XvfbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counted(cursors.Question):
        def __init__(self, wire: Wire) -> None:
            super().__init__(wire)
            asked.append(self.asked_at)

    with painter(xvfb.display_name):
        async with settled(xvfb.display_name) as display:
            monkeypatch.setattr(cursors, "Question", Counted)
            for serial in range(1, 51):
                await display.inject([PointerMove(serial, n) for n in range(10)], owner=1, serial=serial)
            assert len(asked) == 50
            await display.capture()
            assert len(asked) == 51


# News.


def test_news_that_nobody_reads_are_few_and_new() -> None:
    box = NewsBox()
    for number in range(1000):
        box.put(CursorChanged(CursorShape(1, 1, 0, 0, RED, number)))
        box.put(PointerMoved(number, 0, 0))
        box.put(BellRang())
        box.put(ClipboardText(str(number)))
        box.put(ClipboardFailed(str(number)))
    kept = []
    while (news := box.take()) is not None:
        kept.append(news)
    assert kept == [
        CursorChanged(CursorShape(1, 1, 0, 0, RED, 999)),
        PointerMoved(999, 0, 0),
        BellRang(),
        ClipboardFailed("999"),
    ]


async def test_news_end_with_the_display(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display:
        await all_news(display)
        xvfb.process.signal(signal.SIGKILL)
        with pytest.raises(DisplayLost, match=r"ended the connection$"):
            await until(display.news(), PointerMoved)


async def test_forged_events_are_nothing_to_us(xvfb: XvfbServer) -> None:
    chance = random.Random(3)
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            before = (display.size, display.pointer, display.cursor)
            for number in range(2, 128):
                for subtype in range(4):
                    client.forge(number, bytes([subtype]) + chance.randbytes(30), client.root, X.StructureNotifyMask)
            # As if the screen had another size.
            size = struct.pack("=xHIIIhhHH8x", 0, client.root.id, client.root.id, 0, 0, 0, 50, 50)
            client.forge(X.ConfigureNotify, size, client.root, X.StructureNotifyMask)
            client.display.sync()
            await display.capture_all()
            assert (display.size, display.pointer, display.cursor) == before
            client.move_pointer(9, 9)
            await until(display.news(), PointerMoved, lambda news: news.x == 9)
