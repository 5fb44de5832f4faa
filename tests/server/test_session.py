"""Several viewers of one real display: all become exact, none waits for another, and each does what its role allows."""

from __future__ import annotations

import random
from functools import partial

import pytest
import trio

from tilewire.protocol import (
    PANELS,
    Capability,
    Code,
    Message,
    NoticeCode,
    PixelFormat,
    Point,
    Reason,
    Rect,
    Resumed,
    Role,
)
from tilewire.protocol import messages as m
from tilewire.protocol.constants import ControlAction
from tilewire.server import steering

from tests.server.xclient import Painter, key_reader, painter
from tests.support import EVERYTHING, Device, Served, device, hello, hello_of, put_pixels, quiet, served

WIDTH, HEIGHT = 200, 120
LETTER_A = 0x61


pytestmark = pytest.mark.usefixtures("nothing_stays_open")


def draw_anything(client: Painter, chance: random.Random, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    width, height = size
    x, y = chance.randrange(width), chance.randrange(height)
    rect = Rect(x, y, chance.randint(1, width - x), chance.randint(1, height - y))
    match chance.randrange(4):
        case 0:
            small = Rect(x, y, min(rect.width, 40), min(rect.height, 30))
            put_pixels(client, small, chance.randbytes(4 * small.area))
        case 1:
            colours = [chance.randbytes(4) for _ in range(9)]
            put_pixels(client, rect, b"".join(chance.choice(colours) for _ in range(rect.area)))
        case 2:
            # As a program scrolls.
            pen = client.window.create_gc()
            client.window.copy_area(pen.id, client.window.id, x, y, rect.width, rect.height, x, max(0, y - 11))
            pen.free()
            client.display.sync()
        case _:
            client.fill(rect, chance.randrange(1 << 24))


# All become exact


@pytest.mark.parametrize("seed", range(4))
async def test_viewers_of_all_kinds_become_exact(server: Served, client: Painter, seed: int) -> None:
    chance = random.Random(seed)
    formats = list(PixelFormat)
    async with (
        device(server.port, hello(pixel_format=formats[0], panel=(97, 61))) as one,
        device(server.port, hello(pixel_format=formats[1], panel=(230, 40), max_message=1024), by_web=True) as two,
        device(server.port, hello(pixel_format=formats[2], max_rect=(16, 256), capabilities=0)) as three,
        device(server.port, hello(pixel_format=formats[3], panel=(300, 200), max_message=1025), by_web=True) as four,
    ):
        for _ in range(8):
            for _ in range(chance.randint(1, 5)):
                draw_anything(client, chance)
            await server.until_exact(one, two, three, four)
        assert three.all(m.Copy) == []


async def test_every_panel_shows_a_session_of_another_size() -> None:
    chance = random.Random(5)
    async with served((640, 400)) as server:
        with painter(server.name) as client:
            async with trio.open_nursery() as nursery:

                async def connect(name: str, *, task_status: trio.TaskStatus[Device]) -> None:
                    async with device(server.port, hello_of(PANELS[name], device_id=name)) as one:
                        task_status.started(one)
                        await trio.sleep_forever()

                panels = [await nursery.start(connect, name) for name in PANELS]
                for _ in range(3):
                    for _ in range(4):
                        draw_anything(client, chance, (640, 400))
                    await server.until_exact(*panels)
                nursery.cancel_scope.cancel()


async def test_a_web_viewer_is_told_what_a_native_one_is(server: Served, client: Painter) -> None:
    async with device(server.port, acks=False) as native, device(server.port, acks=False, by_web=True) as web:
        for one in (native, web):
            await one.until(lambda one=one: one.updates == 1)  # type: ignore[misc]
        client.fill(Rect(5, 6, 70, 80), 0x123456)
        await server.until_exact(native, web)

        def drawn(one: Device) -> list[Message]:
            return [event for event in one.events if isinstance(event, Message) and event.drawing]

        assert drawn(native) == drawn(web)
        assert native.stored() == web.stored()


async def test_a_client_that_splits_its_bytes_anyhow(server: Served, client: Painter) -> None:
    async with device(server.port, by_web=True) as web, device(server.port) as native:
        for one in (web, native):
            await one.until(lambda one=one: one.updates)  # type: ignore[misc]
            # What it says by itself would land between the bytes of a message.
            one.acks = one.answers = False
            for byte in m.Ping(stamp=77).encode() + m.Refresh().encode() + m.Ping(stamp=78).encode():
                await one.say_raw(bytes([byte]))
            one.acks = one.answers = True
            await one.acknowledge()
            await one.until(lambda one=one: [pong.stamp for pong in one.all(m.Pong)] == [77, 78])  # type: ignore[misc]
        client.fill(Rect(1, 1, 5, 5), 0x111111)
        await server.until_exact(web, native)


# None waits for another


async def test_a_slow_viewer_skips_states_and_ends_exact_while_a_fast_one_sees_all(
    server: Served, client: Painter
) -> None:
    async with device(server.port, hello(device_id="slow")) as slow, device(server.port) as fast:
        await server.until_exact(slow, fast)
        slow.hold()
        states = 40
        for number in range(1, states + 1):
            client.fill(Rect(number, 3, 60, 70), 0x010305 * number)
            await server.until_exact(fast)
        # One read may have been under way.
        assert fast.updates >= states
        slow.read_on()
        await server.until_exact(slow)
        assert slow.updates < fast.updates / 2


async def test_without_acknowledgements_little_is_on_its_way(server: Served, client: Painter) -> None:
    async with device(server.port, acks=False) as silent, device(server.port) as fast:
        for number in range(30):
            client.fill(Rect(number, 3, 60, 70), 0x010305 * number)
            await server.until_exact(fast)
        assert silent.updates <= 3
        silent.acks = True
        await silent.acknowledge()
        await server.until_exact(silent)


async def test_an_idle_screen_costs_no_grab_and_no_byte(server: Served, client: Painter) -> None:
    async with device(server.port) as one, device(server.port, by_web=True) as two:
        client.fill(Rect(1, 1, 5, 5), 0x222222)
        await server.until_exact(one, two)
        await quiet(0.1)

        def spent() -> tuple[int, ...]:
            return server.session.captures, server.display.wakeups, one.received, two.received

        before = spent()
        # Nobody runs for so long: neither a clock nor the display wakes anybody up.
        await quiet(0.5)
        assert spent() == before
        client.fill(Rect(1, 1, 5, 5), 0x333333)
        await server.until_exact(one, two)
        assert spent() > before


async def test_a_screen_that_nobody_sees_is_not_grabbed(server: Served, client: Painter) -> None:
    async with device(server.port) as one:
        await one.until(lambda: one.updates)
        await one.say(m.Pause(paused=1))
        await one.say(m.Ping(stamp=1))
        await one.until(lambda: one.last(m.Pong))
        client.fill(Rect(1, 1, 50, 50), 1)
        await quiet(0.1)
        before = server.session.captures
        for number in range(20):
            client.fill(Rect(number, 1, 50, 50), number)
        await quiet(0.1)
        assert server.session.captures == before


# Who steers


def roles(one: Device) -> tuple[int, int]:
    state = one.last(m.ControlState)
    return (state.role, state.holder) if state else (one.welcome.role, 0)


async def test_control_is_asked_for_passed_released_and_inherited(server: Served) -> None:
    async with device(server.port) as first:
        assert first.welcome.role == Role.CONTROL
        async with (
            device(server.port) as second,
            device(server.port, hello(capabilities=EVERYTHING | Capability.VIEW_ONLY)) as looker,
        ):
            assert second.welcome.role == Role.WAITING
            assert looker.welcome.role == Role.VIEW_ONLY
            one, two, three = (each.welcome.viewer for each in (first, second, looker))
            # Held: asking changes nothing.
            await second.say(m.Control(action=ControlAction.ASK))
            await second.until(lambda: roles(second) == (Role.WAITING, one))
            # Only who may can be passed to; a number that is not there changes nothing.
            for nobody in (three, 999):
                await first.say(m.Control(action=ControlAction.PASS, viewer=nobody))
            await first.until(lambda: len(first.all(m.ControlState)) >= 2)
            assert roles(first) == (Role.CONTROL, one)
            await second.say(m.Control(action=ControlAction.PASS, viewer=two))
            await first.say(m.Control(action=ControlAction.PASS, viewer=two))
            await first.until(lambda: roles(first) == (Role.WAITING, two))
            await second.until(lambda: roles(second) == (Role.CONTROL, two))
            await looker.until(lambda: roles(looker) == (Role.VIEW_ONLY, two))
            await looker.say(m.Control(action=ControlAction.ASK))
            await looker.until(lambda: looker.last(m.Notice))
            await second.say(m.Control(action=ControlAction.RELEASE))
            await first.until(lambda: roles(first) == (Role.WAITING, 0))
            await second.until(lambda: roles(second) == (Role.WAITING, 0))
            await second.say(m.Control(action=ControlAction.ASK))
            await first.until(lambda: roles(first) == (Role.WAITING, two))
        # The holder left.
        await first.until(lambda: roles(first) == (Role.CONTROL, one))


async def test_whoever_looks_on_learns_who_takes_a_control_that_nobody_held(server: Served) -> None:
    async with device(server.port, hello(capabilities=Capability.VIEW_ONLY)) as looker, device(server.port) as one:
        await looker.until(lambda: roles(looker) == (Role.VIEW_ONLY, one.welcome.viewer))


async def test_input_without_control_is_dropped_and_told(server: Served) -> None:
    with key_reader(server.name) as reader:
        async with (
            device(server.port) as holder,
            device(server.port) as waiting,
            device(server.port, hello(capabilities=Capability.VIEW_ONLY)) as looker,
        ):
            for one in (waiting, looker):
                await one.key(LETTER_A)
                await one.point(50, 50, 1)
                await one.until(lambda one=one: one.last(m.Notice))  # type: ignore[misc]
                assert one.last(m.Notice).code == NoticeCode.VIEW_ONLY
            await holder.text("b")
            assert await reader.text(1) == "b"
            assert reader.state() == 0


async def test_what_a_viewer_holds_is_released_when_it_leaves(server: Served) -> None:
    with key_reader(server.name) as reader:
        key = reader.keycode(LETTER_A)
        async with device(server.port) as one:
            await one.key(LETTER_A)
            await one.point(30, 40, 1)
            assert await reader.changes(2) == [("down", key), ("down", 1)]
        assert set(await reader.changes(2)) == {("up", key), ("up", 1)}
        assert reader.state() == 0


async def test_what_a_viewer_holds_is_released_when_it_loses_control(server: Served) -> None:
    with key_reader(server.name) as reader:
        key = reader.keycode(LETTER_A)
        async with device(server.port) as one, device(server.port) as two:
            await one.key(LETTER_A)
            await one.point(30, 40, 1)
            assert await reader.changes(2) == [("down", key), ("down", 1)]
            await one.say(m.Control(action=ControlAction.PASS, viewer=two.welcome.viewer))
            assert set(await reader.changes(2)) == {("up", key), ("up", 1)}
            # The next holder begins with empty hands, and so does this one when it is its turn again.
            await two.until(lambda: roles(two)[0] == Role.CONTROL)
            await two.point(30, 40, 1)
            assert await reader.changes(1) == [("down", 1)]
            await two.say(m.Control(action=ControlAction.PASS, viewer=one.welcome.viewer))
            assert await reader.changes(1) == [("up", 1)]
            await one.until(lambda: roles(one)[0] == Role.CONTROL)
            await one.point(30, 40, 1)
            assert await reader.changes(1) == [("down", 1)]


async def test_input_reaches_the_program(server: Served) -> None:
    with key_reader(server.name) as reader:
        async with device(server.port) as one:
            await one.say(m.Wheel(input=one.inputs + 1, dx=0, dy=240))
            one.inputs += 1
            assert await reader.changes(4) == [("down", 5), ("up", 5)] * 2
            await one.point(20, 30, 1)
            await one.point(20, 30, 0)
            assert await reader.changes(2) == [("down", 1), ("up", 1)]
            where = reader.root.query_pointer()
            assert (where.root_x, where.root_y) == (20, 30)
            text = "Grüße €, 你好"
            await one.text(text)
            assert await reader.text(len(text)) == text


# Echoes, pings, settings


async def test_an_input_that_changes_nothing_is_echoed_alone(server: Served) -> None:
    async with device(server.port) as one:
        await one.until(lambda: one.updates)
        number = await one.point(9, 9)
        await one.until(lambda: one.last(m.InputEcho))
        assert one.last(m.InputEcho).input == number


async def test_inputs_that_never_rest_are_echoed_too(server: Served) -> None:
    async with device(server.port) as one, trio.open_nursery() as nursery:
        await one.until(lambda: one.updates)

        async def wave() -> None:
            while True:
                await one.point(one.inputs % 100, 50)
                # As fast as the server takes them: it answers after each.
                await one.say(m.Ping(stamp=one.inputs))
                await one.until(lambda: one.last(m.Pong).stamp == one.inputs if one.last(m.Pong) else False)

        nursery.start_soon(wave)
        await one.until(lambda: len(one.all(m.InputEcho)) >= 3)
        nursery.cancel_scope.cancel()
        echoes = [echo.input for echo in one.all(m.InputEcho)]
        assert echoes == sorted(set(echoes))


async def test_an_input_is_named_by_the_update_that_shows_what_it_did(server: Served) -> None:
    with key_reader(server.name) as reader, painter(server.name) as client:
        async with device(server.port) as one:
            await server.until_exact(one)
            number = await one.key(LETTER_A)
            await reader.changes(1)
            client.fill(Rect(0, 0, 30, 30), 0xFF0000)
            await server.until_exact(one)
            assert one.echoed == number
            assert one.last(m.Begin).input == number or one.last(m.InputEcho).input == number


async def test_no_echo_for_who_did_not_ask(server: Served, client: Painter) -> None:
    async with device(server.port, hello(capabilities=0)) as one:
        for _ in range(3 * steering.MAX_INPUTS):
            await one.point(9, 9)
        client.fill(Rect(0, 0, 30, 30), 0xFF0000)
        await server.until_exact(one)
        await one.until(lambda: one.last(m.Begin).input > 0)
        assert one.all(m.InputEcho) == []
        assert one.all(m.Explanation) == []


async def test_settings_are_answered_with_those_in_force() -> None:
    async with served(fps=20) as server, device(server.port) as one:
        assert one.welcome.settings == m.Settings(fps=20, quality=75, adaptive=1)
        await one.say(m.Setting(fps=60, quality=40, adaptive=0))
        await one.until(lambda: one.last(m.Setting) == m.Setting(fps=20, quality=40, adaptive=0))
        await one.say(m.Setting(fps=5, quality=90, adaptive=1))
        await one.until(lambda: one.last(m.Setting) == m.Setting(fps=5, quality=90, adaptive=1))


async def test_every_operation_is_explained(server: Served, client: Painter) -> None:
    async with device(server.port) as one:
        chance = random.Random(3)
        for _ in range(10):
            draw_anything(client, chance)
            await server.until_exact(one)
        await one.until(lambda: len(one.all(m.Explanation)) == one.updates)
        operations = 0
        for event in one.events:
            if isinstance(event, m.Begin):
                operations = 0
            elif isinstance(event, m.Explanation):
                assert len(event.operations) == operations
                assert all(Reason(each.reason) is not Reason.NONE for each in event.operations)
            elif isinstance(event, Message) and event.drawing:
                operations += 1


# The picture as the device wants it


async def test_pause_and_resume(server: Served, client: Painter) -> None:
    async with device(server.port) as one, device(server.port) as other:
        await server.until_exact(one, other)
        await one.say(m.Pause(paused=1))
        await one.say(m.Ping(stamp=1))
        await one.until(lambda: one.last(m.Pong))
        updates = one.updates
        for number in range(10):
            client.fill(Rect(number, 1, 50, 50), 0x445566 + number)
            await server.until_exact(other)
        assert one.updates == updates
        await one.say(m.Pause(paused=0))
        await server.until_exact(one)


async def test_refresh_repaints_all(server: Served, client: Painter) -> None:
    async with device(server.port) as one:
        for number in range(5):
            draw_anything(client, random.Random(number))
            await server.until_exact(one)
            one.framebuffer.pixels = [0x5A5A] * (WIDTH * HEIGHT)
            await one.say(m.Refresh())
            await server.until_exact(one)


async def test_a_window_that_is_panned_and_follows_the_pointer(server: Served, client: Painter) -> None:
    chance = random.Random(11)
    for _ in range(6):
        draw_anything(client, chance)
    async with device(server.port, hello(panel=(80, 50))) as one, device(server.port, hello(panel=(80, 50))) as other:
        await server.until_exact(one, other)

        def window() -> Rect:
            found: Rect = one.last(m.ViewState).window
            return found

        await one.say(m.View(mode=0, rotation=0, follow=0, origin=Point(60, 30)))
        await one.until(lambda: window() == Rect(60, 30, 80, 50))
        await server.until_exact(one, other)
        copies = len(one.all(m.Copy))
        assert copies
        await one.say(m.View(mode=0, rotation=0, follow=1, origin=Point(4000, 4000)))
        await one.until(lambda: window() == Rect(120, 70, 80, 50))
        await server.until_exact(one, other)
        # The pointer at its left border takes it along.
        await one.point(0, 0)
        await one.until(lambda: window() == Rect(110, 64, 80, 50))
        while before := window().x:
            await one.point(0, 25)
            draw_anything(client, chance)
            await one.until(lambda before=before: window().x < before)  # type: ignore[misc]
        await server.until_exact(one, other)
        # Who only looks on follows too.
        assert other.last(m.ViewState).window.x < 80
        for mode, rotation in ((1, 0), (1, 1), (0, 3), (1, 2)):
            await one.say(m.View(mode=mode, rotation=rotation, follow=0, origin=Point(9, 9)))
            await one.until(lambda: state(one) == (mode, rotation, 0))  # noqa: B023
            await server.until_exact(one, other)
        assert not one.all(m.Notice)


async def test_a_panel_that_changes_its_size(server: Served, client: Painter) -> None:
    chance = random.Random(12)
    async with device(server.port, hello(capabilities=EVERYTHING | Capability.RESIZE)) as one:
        for size in ((50, 40), (300, 20), (1, 1), (210, 150)):
            draw_anything(client, chance)
            # As fast as a window is dragged: the last one counts.
            for more in range(20):
                await one.say(m.Resize(width=size[0] + more, height=size[1] + more))
                draw_anything(client, chance)
            await one.say(m.Resize(width=size[0], height=size[1]))
            await one.point(4095, 4095)
            await one.until(lambda size=size: (one.framebuffer.width, one.framebuffer.height) == size)  # type: ignore[misc]
            await server.until_exact(one)


def state(one: Device) -> tuple[int, int, int]:
    found = one.last(m.ViewState)
    return found.mode, found.rotation, found.follow


def shows(one: Device, size: m.Size) -> bool:
    return one.last(m.ViewState).session == size  # type: ignore[no-any-return]


async def test_a_screen_that_changes_its_size(server: Served, client: Painter) -> None:
    chance = random.Random(13)
    async with (
        device(server.port, hello(panel=(97, 61))) as small,
        device(server.port, hello(pixel_format=PixelFormat.XRGB8888)) as same,
        device(server.port, hello(panel=(220, 140)), by_web=True) as large,
    ):
        for size in ((160, 100), (64, 48), (199, 119)):
            for _ in range(3):
                draw_anything(client, chance)
            client.shrink_screen(*size)
            for one in (small, same, large):
                await one.until(partial(shows, one, m.Size(width=size[0], height=size[1])))
            for _ in range(3):
                draw_anything(client, chance)
            await server.until_exact(small, same, large)


async def test_a_resume_that_nobody_remembers(server: Served) -> None:
    resume = m.ResumeRequest(token=bytes(16), update=7)
    async with device(server.port, hello(resume=resume)) as one:
        assert one.welcome.resumed == Resumed.UNKNOWN_TOKEN
        await server.until_exact(one)


# Its end


async def test_the_end_of_a_session_is_told_to_all(server: Served, client: Painter) -> None:
    async with device(server.port) as one, device(server.port, by_web=True) as two, device(server.port) as held:
        await server.until_exact(one, two, held)
        held.hold()
        client.fill(Rect(0, 0, 100, 100), 0xABCDEF)
        server.session.end(Code.SESSION_ENDED, "gimp ended")
        for viewer in (one, two):
            assert await viewer.until_ended() == m.Goodbye(code=Code.SESSION_ENDED, text="gimp ended")
        async with device(server.port, welcome=False) as late:
            assert await late.until_ended() == m.Goodbye(code=Code.SESSION_ENDED, text="gimp ended")
        held.read_on()
        assert await held.until_ended() == m.Goodbye(code=Code.SESSION_ENDED, text="gimp ended")
