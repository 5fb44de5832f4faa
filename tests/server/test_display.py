"""A display on a real Xvfb with real clients: what changed is seen, what is done arrives, every end is a sentence."""

from __future__ import annotations

import math
import random
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
from mss.exception import ScreenShotError
from Xlib import X

from tilewire.protocol.geometry import Rect
from tilewire.server.display import (
    Button,
    Display,
    DisplayError,
    DisplayLost,
    Key,
    PointerMove,
    open_display,
)
from tilewire.server.xvfb import XvfbServer, start_xvfb

from tests.server.displays import bare_xvfb, nothing_is_left, settled, would_wait
from tests.server.xclient import Picture, key_reader, painter, picture_of

WIDTH, HEIGHT = 320, 200
SCREEN = Rect(0, 0, WIDTH, HEIGHT)
# Short enough for tests that wait for it, long enough for a busy machine.
STALL_S = 0.5
# A screen that is never shown is a failure, not a test that never ends.
PAINT_LIMIT_S = 60
SHIFT_L, LETTER_A = 0xFFE1, 0x61


_nothing_is_left = pytest.fixture(autouse=True)(nothing_is_left)


@pytest.fixture
async def xvfb() -> AsyncIterator[XvfbServer]:
    async with start_xvfb(WIDTH, HEIGHT) as server:
        yield server


def stop(server: XvfbServer) -> None:
    server.process.signal(signal.SIGSTOP)


def kill(server: XvfbServer) -> None:
    server.process.signal(signal.SIGKILL)


# What changed.


async def test_damage_is_exact_and_pixels_are_what_was_drawn(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            assert (display.name, display.size) == (xvfb.display_name, (WIDTH, HEIGHT))
            assert await would_wait(display.wait_damage)
            client.fill(Rect(37, 21, 16, 16), 0x123456)
            await display.wait_damage()
            capture = await display.capture()
            assert capture.damage == (Rect(37, 21, 16, 16),)
            assert [patch.rect for patch in capture.patches] == [Rect(37, 21, 16, 16)]
            assert bytes(capture.patches[0].pixels[:3]) == bytes((0x56, 0x34, 0x12))
            whole = picture_of(await display.capture_all())
            assert whole.colours(Rect(37, 21, 16, 16)) == {0x123456}
            assert whole.colours(Rect(0, 0, WIDTH, 21)) == {0}


async def test_a_capture_takes_all_damage_and_no_more(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            corners = (Rect(0, 0, 1, 1), Rect(WIDTH - 1, HEIGHT - 1, 1, 1), Rect(100, 50, 3, 2))
            for colour, rect in enumerate(corners, 1):
                client.fill(rect, colour)
            await display.wait_damage()
            capture = await display.capture()
            assert set(capture.damage) == set(corners)
            assert await would_wait(display.wait_damage)
            nothing = await display.capture()
            assert (nothing.damage, nothing.patches) == ((), ())


async def test_the_first_capture_is_due_at_once(xvfb: XvfbServer) -> None:
    async with open_display(xvfb.display_name) as display:
        await display.wait_damage()
        capture = await display.capture()
        assert capture.damage == (SCREEN,)


async def test_captures_put_together_are_the_screen_while_somebody_paints(xvfb: XvfbServer) -> None:
    chance = random.Random(7)
    corner = Rect(0, 0, 1, 1)

    def paint() -> None:
        with painter(xvfb.display_name) as client:
            for _ in range(2000):
                x, y = chance.randrange(WIDTH), chance.randrange(HEIGHT)
                rect = Rect(x, y, chance.randint(1, WIDTH - x), chance.randint(1, HEIGHT - y))
                client.fill(rect, chance.randrange(1 << 24), wait=False)
            client.fill(corner, 0xFACADE)
            # Its window goes with it.
            assert shown.wait(PAINT_LIMIT_S)

    shown = threading.Event()
    async with open_display(xvfb.display_name) as display, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, paint)
        picture = Picture(display.size)
        try:
            # One report lost, and there is never another: the server makes one when the screen turns dirty.
            with trio.fail_after(PAINT_LIMIT_S):
                while picture.colours(corner) != {0xFACADE} or not await would_wait(display.wait_damage):
                    await display.wait_damage()
                    picture.put(await display.capture())
            assert picture == picture_of(await display.capture_all())
        finally:
            shown.set()


async def test_an_idle_screen_wakes_nobody(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            await display.inject([PointerMove(5, 5)], owner=1, serial=1)
            before = display.wakeups
            for _ in range(1000):
                client.display.sync()
                await trio.lowlevel.checkpoint()
            assert await would_wait(display.wait_damage)
            assert display.wakeups == before


async def test_the_pointer_is_no_damage(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name):
        async with settled(xvfb.display_name) as display:
            for serial in range(20):
                await display.inject([PointerMove(serial * 9, serial * 7)], owner=1, serial=serial)
            assert (await display.capture()).damage == ()


async def test_cancelled_captures_lose_nothing(xvfb: XvfbServer) -> None:
    chance = random.Random(11)
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            picture = picture_of(await display.capture_all())
            for number in range(60):
                rect = Rect(chance.randrange(WIDTH - 40), chance.randrange(HEIGHT - 40), 40, 40)
                client.fill(rect, number * 0x030507)
                await display.wait_damage()
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_cancel_after, scope, chance.randrange(6))
                        picture.put(await display.capture())
                        nursery.cancel_scope.cancel()
                if scope.cancelled_caught:
                    await display.wait_damage()
                    picture.put(await display.capture())
                assert picture.colours(rect) == {number * 0x030507}
            assert picture == picture_of(await display.capture_all())


async def _cancel_after(scope: trio.CancelScope, checkpoints: int) -> None:
    for _ in range(checkpoints):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_new_size_is_followed(xvfb: XvfbServer) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            client.shrink_screen(200, 100)
            await display.wait_damage()
            capture = await display.capture()
            assert (display.size, capture.size) == ((200, 100), (200, 100))
            assert capture.damage == (Rect(0, 0, 200, 100),)


# What is done.


async def test_a_capture_names_the_newest_confirmed_input(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display:
        assert (await display.capture()).newest_input is None
        await display.inject([PointerMove(3, 4)], owner=1, serial=41)
        assert (await display.capture()).newest_input == 41
        await display.inject([PointerMove(3, 5)], owner=2, serial=42)
        await display.release_all(1)
        assert (await display.capture_all()).newest_input == 42


async def test_buttons_and_the_wheel_arrive_where_the_pointer_is(xvfb: XvfbServer) -> None:
    with key_reader(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            wheel = [Button(5, True), Button(5, True), Button(5, False)]
            click = [Button(1, True), Button(1, False)]
            await display.inject([PointerMove(17, 23), *click, *wheel], owner=1, serial=1)
            assert await client.changes(6) == [("down", 1), ("up", 1), *[("down", 5), ("up", 5)] * 2]
            where = client.root.query_pointer()
            assert (where.root_x, where.root_y) == (17, 23)


async def test_what_a_viewer_holds_goes_with_it_and_what_another_holds_stays(xvfb: XvfbServer) -> None:
    with key_reader(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            await display.inject([Key(SHIFT_L, True), Button(1, True), Button(3, True)], owner=1, serial=1)
            await display.inject([Button(1, True)], owner=2, serial=2)
            assert client.state() == X.ShiftMask | X.Button1Mask | X.Button3Mask
            await display.release_all(1)
            assert client.state() == X.Button1Mask
            await display.inject([Key(LETTER_A, True)], owner=2, serial=3)
        assert client.state() == 0
        letter = client.keycode(LETTER_A)
        assert (await client.changes(8))[-3:] == [("down", letter), ("up", 1), ("up", letter)]


async def test_input_goes_on_though_the_call_is_cancelled(xvfb: XvfbServer) -> None:
    with key_reader(xvfb.display_name) as client:
        async with settled(xvfb.display_name) as display:
            with trio.CancelScope() as scope:
                scope.cancel()
                await display.inject([Button(1, True), Button(1, False)], owner=1, serial=1)
            assert scope.cancelled_caught
            assert await client.changes(2) == [("down", 1), ("up", 1)]


INVALID: list[Callable[[], object]] = [
    lambda: Button(0, True),
    lambda: Button(11, True),
    lambda: Key(0, True),
    lambda: Key(0x20000000, True),
    lambda: PointerMove(1 << 15, 0),
]


@pytest.mark.parametrize("make", INVALID)
def test_inputs_cannot_be_built_invalid(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()


# How it ends.


async def test_two_displays_do_not_know_of_each_other(xvfb: XvfbServer) -> None:
    async with start_xvfb(WIDTH, HEIGHT) as other:
        with painter(xvfb.display_name) as one, painter(other.display_name) as two:
            async with settled(xvfb.display_name) as first, settled(other.display_name) as second:
                one.fill(Rect(1, 2, 3, 4), 0xFF0000)
                assert (await first.capture()).damage == (Rect(1, 2, 3, 4),)
                assert await would_wait(second.wait_damage)
                kill(xvfb)
                with pytest.raises(DisplayLost):
                    await first.capture()
                two.fill(Rect(5, 6, 7, 8), 0x00FF00)
                await second.wait_damage()
                assert (await second.capture()).damage == (Rect(5, 6, 7, 8),)


async def test_a_grabbed_server_stalls_its_own_display_alone(xvfb: XvfbServer) -> None:
    async with start_xvfb(WIDTH, HEIGHT) as other:
        with painter(xvfb.display_name) as one, painter(other.display_name) as two:
            async with settled(xvfb.display_name) as first, settled(other.display_name) as second:
                one.fill(Rect(1, 2, 3, 4), 0xFF0000)
                one.grab_server()
                async with trio.open_nursery() as nursery:
                    late: list[tuple[Rect, ...]] = []

                    async def capture() -> None:
                        late.append((await first.capture()).damage)

                    nursery.start_soon(capture)
                    for number in range(20):
                        two.fill(Rect(number, 0, 5, 5), number + 1)
                        await second.wait_damage()
                        assert (await second.capture()).damage == (Rect(number, 0, 5, 5),)
                    assert late == []
                    one.ungrab_server()
                assert late == [(Rect(1, 2, 3, 4),)]


ACTS: list[Callable[[Display], Awaitable[object]]] = [
    lambda display: display.capture(),
    lambda display: display.release_all(1),
    lambda display: display.resize(100, 50),
    lambda display: display.set_clipboard("text", owner=7),
]


@pytest.mark.parametrize("act", ACTS)
async def test_a_server_that_stays_grabbed_is_lost(
    xvfb: XvfbServer, act: Callable[[Display], Awaitable[object]]
) -> None:
    with painter(xvfb.display_name) as client:
        async with settled(xvfb.display_name, STALL_S) as display:
            client.grab_server()
            with pytest.raises(
                DisplayLost, match=rf"^the X server of display {display.name} did not answer for 0\.5 s$"
            ):
                await act(display)
            # From then on all say so, at once.
            with pytest.raises(DisplayLost, match="did not answer"):
                await display.wait_damage()
            with pytest.raises(DisplayLost, match="did not answer"):
                await display.inject([PointerMove(1, 1)], owner=1, serial=2)


async def test_a_stopped_server_is_lost_when_it_is_asked_something(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name, STALL_S) as display:
        stop(xvfb)
        assert await would_wait(display.wait_damage)
        with pytest.raises(DisplayLost, match=r"did not answer for 0\.5 s$"):
            await display.capture_all()


async def test_a_stopped_server_cannot_be_opened(xvfb: XvfbServer) -> None:
    stop(xvfb)
    with pytest.raises(DisplayLost, match=r"did not answer for 0\.5 s$"):
        await _open_and_close(xvfb.display_name)


async def test_leaving_a_stopped_server_needs_no_answer(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name, math.inf) as display:
        await display.inject([Key(SHIFT_L, True)], owner=1, serial=1)
        stop(xvfb)


async def test_a_killed_server_is_lost_while_nobody_asks(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display:
        kill(xvfb)
        with pytest.raises(DisplayLost, match=rf"^the X server of display {display.name} ended the connection$"):
            await display.wait_damage()


@pytest.mark.parametrize("captures", range(8))
async def test_a_server_killed_in_the_midst_of_captures_is_lost(xvfb: XvfbServer, captures: int) -> None:
    async with open_display(xvfb.display_name) as display, trio.open_nursery() as nursery:

        async def kill_soon() -> None:
            for _ in range(captures * 3 + 1):
                await trio.lowlevel.checkpoint()
            kill(xvfb)

        nursery.start_soon(kill_soon)
        with pytest.raises(DisplayLost, match=r"ended the connection$"):
            await _capture_for_ever(display)


async def _capture_for_ever(display: Display) -> None:
    while True:
        await display.capture_all()


async def test_a_missing_display_is_a_sentence() -> None:
    with pytest.raises(DisplayError, match=r"^cannot open display :4095: no X server answers there$"):
        await _open_and_close(":4095")


async def test_a_name_that_is_none_is_a_sentence() -> None:
    with pytest.raises(DisplayError, match=r"^'screen' is not the name of an X display; one looks like :5$"):
        await _open_and_close("screen")


async def test_a_refusal_is_a_sentence(xvfb: XvfbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with painter(xvfb.display_name) as client:
        client.let_nobody_in()
    monkeypatch.setenv("XAUTHORITY", str(tmp_path / "none"))
    with pytest.raises(DisplayError, match=rf"^cannot open display {xvfb.display_name}: authorization required"):
        await _open_and_close(xvfb.display_name)


async def test_a_screen_that_cannot_be_read_is_a_sentence() -> None:
    async with bare_xvfb("-screen", "0", "320x200x16") as name:
        problem = f"^cannot show display {name}: its screen has 16 bits a pixel; 24 or 32 are needed$"
        with pytest.raises(DisplayError, match=problem):
            await _open_and_close(name)


async def test_without_mss_pixels_come_all_the_same(
    xvfb: XvfbServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # As on a TigerVNC server, or where libraries are missing.
    def unable(**_options: object) -> None:
        raise ScreenShotError("drawable's visual not found in screen's supported visuals")

    with painter(xvfb.display_name) as client:
        for x in range(WIDTH):
            client.fill(Rect(x, 0, 1, HEIGHT), x * 0x030507, wait=False)
        client.fill(Rect(7, 8, 9, 10), 0xABCDEF)
        async with settled(xvfb.display_name) as display:
            expected = picture_of(await display.capture_all())
        monkeypatch.setattr("mss.MSS", unable)
        # Several questions a picture.
        monkeypatch.setattr("tilewire.server.x11.pixels._BAND_BYTES", 10_000)
        async with settled(xvfb.display_name) as display:
            assert picture_of(await display.capture_all()) == expected
            client.fill(Rect(70, 80, 9, 10), 0x123456)
            await display.wait_damage()
            capture = await display.capture()
            assert capture.damage == (Rect(70, 80, 9, 10),)
            assert bytes(capture.patches[0].pixels) == b"\x56\x34\x12\x00" * 90
            for size in ((100, 50), (WIDTH, HEIGHT)):
                await display.resize(*size)
                assert (await display.capture()).damage == (Rect(0, 0, *size),)
            kill(xvfb)
            with pytest.raises(DisplayLost, match=r"ended the connection$"):
                await display.capture_all()
    reason = "drawable's visual not found in screen's supported visuals; its pixels are read without shared memory"
    assert caplog.messages == [f"mss cannot attach to display {xvfb.display_name}: {reason}"]


async def test_without_shared_memory_pixels_come_all_the_same() -> None:
    async with bare_xvfb("-screen", "0", "320x200x24", "-extension", "MIT-SHM") as name:
        with painter(name) as client:
            async with settled(name) as display:
                client.fill(Rect(7, 8, 9, 10), 0xABCDEF)
                await display.wait_damage()
                assert picture_of(await display.capture_all()).colours(Rect(7, 8, 9, 10)) == {0xABCDEF}


async def test_an_extension_that_is_missing_is_a_sentence() -> None:
    async with bare_xvfb("-screen", "0", "320x200x24", "-extension", "DAMAGE") as name:
        with pytest.raises(DisplayError, match=r"lacks the DAMAGE extension$"):
            await _open_and_close(name)


async def test_the_error_of_the_block_is_not_changed(xvfb: XvfbServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_display(xvfb.display_name):
            raise ZeroDivisionError


async def _open_and_close(name: str) -> None:
    async with open_display(name, stall_limit_s=STALL_S):
        pass
