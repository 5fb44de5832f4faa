"""What goes with a session, end to end: bells, settings, pauses, sizes, fingers, and devices that overdo it."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from itertools import product

import pytest
import trio

from tilewire.protocol import Capability, Code, NoticeCode, PixelFormat, Point, Rect, Role
from tilewire.protocol import messages as m
from tilewire.protocol.constants import ControlAction, CursorMode, Rotation, ViewMode
from tilewire.server import inputs
from tilewire.server.viewers import BELL_INTERVAL_S

from tests.server.sights import answered, draw_scene, move, until_held, until_right
from tests.server.test_session import draw_anything
from tests.server.test_views_picture import arrow
from tests.server.xclient import KeyReader, Painter, key_reader, painter
from tests.support import EVERYTHING, Device, Served, device, hello, quiet, served

WIDTH, HEIGHT = 200, 120
SHAPE = arrow(9, 13, (2, 5))
LETTER_A, CONTROL_L = 0x61, 0xFFE3
IN_PICTURE = m.CursorOffer(mode=CursorMode.IN_PICTURE, max_side=0)
LOCAL = m.CursorOffer(mode=CursorMode.LOCAL, max_side=64)
TOUCH = EVERYTHING | Capability.TOUCH
DENSITY = 127
"""Five pixels a millimetre."""


pytestmark = pytest.mark.usefixtures("nothing_stays_open")


@pytest.fixture
def client(server: Served) -> Iterator[Painter]:
    with painter(server.name) as made:
        draw_scene(made, (WIDTH, HEIGHT))
        made.wear_colours((SHAPE.width, SHAPE.height), (SHAPE.hot_x, SHAPE.hot_y), SHAPE.pixels)
        yield made


@pytest.fixture
def reader(server: Served) -> Iterator[KeyReader]:
    with key_reader(server.name) as made:
        yield made


def view(mode: int, rotation: int, x: int = 0, y: int = 0, *, follow: int = 0) -> m.View:
    return m.View(mode=mode, rotation=rotation, follow=follow, origin=Point(x, y))


async def look(one: Device, wanted: m.View) -> None:
    asked = len(one.all(m.ViewState))
    await one.say(wanted)
    await one.until(lambda: len(one.all(m.ViewState)) > asked)


def session_of(one: Device) -> tuple[int, int]:
    size = one.last(m.ViewState).session
    return size.width, size.height


async def until_size(size: tuple[int, int], *devices: Device) -> None:
    for one in devices:
        await one.until(lambda one=one: session_of(one) == size)  # type: ignore[misc]


# The bell


async def test_a_bell_rings_where_it_is_in_force(server: Served, client: Painter) -> None:
    rings = EVERYTHING | Capability.BELL
    async with (
        device(server.port, hello(capabilities=rings)) as one,
        device(server.port, hello(capabilities=rings | Capability.VIEW_ONLY)) as looker,
        device(server.port) as deaf,
    ):
        await looker.say(m.Pause(paused=1))
        client.ring()
        for each in (one, looker):
            await each.until(lambda each=each: each.all(m.Bell))  # type: ignore[misc]
        since = trio.current_time()
        for _ in range(500):
            client.ring()
            await trio.lowlevel.checkpoint()
        await answered(one)
        await quiet(0.05)
        # As many as there is time for: it says nothing about how long that was.
        assert len(one.all(m.Bell)) <= 3 + (trio.current_time() - since) / BELL_INTERVAL_S
        assert deaf.all(m.Bell) == []


# Settings


async def test_each_setting_is_answered_with_what_is_in_force() -> None:
    chance = random.Random(1)
    async with served(fps=25) as server, device(server.port) as one:
        wanted = [
            m.Setting(fps=chance.randint(1, 60), quality=chance.randint(10, 90), adaptive=chance.randrange(2))
            for _ in range(200)
        ]
        for each in wanted:
            await one.say(each)
        await one.until(lambda: len(one.all(m.Setting)) == len(wanted))
        right = [m.Setting(fps=min(each.fps, 25), quality=each.quality, adaptive=each.adaptive) for each in wanted]
        assert one.all(m.Setting) == right


@pytest.mark.parametrize(("fps", "quality"), [(0, 50), (61, 50), (30, 9), (30, 91)])
async def test_a_setting_beyond_its_range_ends_the_connection(server: Served, fps: int, quality: int) -> None:
    async with device(server.port) as one:
        await one.until(lambda: one.updates)
        good = bytearray(m.Setting(fps=30, quality=50, adaptive=1).encode())
        assert good[-3:] == bytes([30, 50, 1])
        good[-3:] = bytes([fps, quality, 1])
        await one.say_raw(bytes(good))
        goodbye = await one.until_ended()
        assert goodbye is not None
        assert goodbye.code == Code.BAD_VALUE


# Pause


async def test_a_paused_device_gets_no_update_and_all_else(server: Served, client: Painter) -> None:
    chance = random.Random(2)
    async with device(server.port) as other, device(server.port, hello(cursor=LOCAL)) as one:
        await until_right(server.name, client, SHAPE, one, other)
        for _ in range(4):
            await one.say(m.Pause(paused=1))
            await answered(one)
            begun = len(one.all(m.Begin))
            for number in range(20):
                draw_anything(client, chance)
                await other.point(chance.randrange(WIDTH), chance.randrange(HEIGHT))
                await one.say(view(number % 2, number % 4, 10, 10))
                await one.say(m.Refresh())
                await server.until_exact(other)
            await answered(one)
            await other.until(lambda: other.echoed == other.inputs)
            await until_held(one, client, SHAPE)
            assert len(one.all(m.Begin)) == begun
            assert one.last(m.ViewState).rotation == 3
            await one.say(m.Pause(paused=0))
            await until_right(server.name, client, SHAPE, one, other)
            # The states in between were skipped.
            assert len(one.all(m.Begin)) - begun < 10


async def test_pausing_again_and_again(server: Served, client: Painter) -> None:
    async with device(server.port) as one:
        for number in range(300):
            await one.say(m.Pause(paused=number % 2))
            if number % 10 == 0:
                client.fill(Rect(number % 90, 3, 40, 50), 0x010203 * number)
        await one.say(m.Pause(paused=0))
        await until_right(server.name, client, SHAPE, one)


# The session's size


async def test_the_holder_gives_the_screen_another_size(server: Served, client: Painter) -> None:
    chance = random.Random(3)
    async with (
        device(server.port, hello(panel=(97, 61), cursor=LOCAL)) as one,
        device(server.port, hello(panel=(97, 61), pixel_format=PixelFormat.GREY8, cursor=IN_PICTURE)) as fits,
        device(server.port, hello(panel=(64, 99), cursor=IN_PICTURE, model_kib=16), by_web=True) as turned,
        device(server.port, hello(panel=(220, 140), pixel_format=PixelFormat.XRGB8888, cursor=IN_PICTURE)) as large,
    ):
        everybody = (one, fits, turned, large)
        await look(fits, view(ViewMode.FIT, Rotation.R0))
        await look(turned, view(ViewMode.ONE_TO_ONE, Rotation.R90, 120, 70))
        await look(large, view(ViewMode.FIT, Rotation.R270))
        await one.point(96, 60)
        await one.until(lambda: one.echoed == one.inputs)
        for size in ((160, 100), (64, 48), (199, 119), (33, 120), (200, 120), (8, 8), (200, 120)):
            for _ in range(3):
                draw_anything(client, chance)
            told = [len(each.all(m.ViewState)) for each in everybody]
            await one.say(m.ResizeSession(width=size[0], height=size[1]))
            await until_size(size, *everybody)
            for each, count in zip(everybody, told):
                # The first that is told of it is true.
                assert each.all(m.ViewState)[count].session == m.Size(width=size[0], height=size[1])
            for _ in range(3):
                draw_anything(client, chance)
            client.display.sync()
            await until_right(server.name, client, SHAPE, *everybody)
            await until_held(one, client, SHAPE)
        assert one.all(m.Notice) == []


async def test_the_size_that_it_has_is_answered_too(server: Served) -> None:
    async with device(server.port) as one:
        for count in range(1, 4):
            await one.say(m.ResizeSession(width=WIDTH, height=HEIGHT))
            await one.until(lambda count=count: len(one.all(m.ViewState)) == 1 + count)  # type: ignore[misc]
            assert session_of(one) == (WIDTH, HEIGHT)
        assert one.all(m.Notice) == []


@pytest.mark.parametrize("size", [(WIDTH + 1, HEIGHT), (1, HEIGHT + 1), (4096, 1024), (1, 4096)])
async def test_a_size_that_cannot_be_is_answered_with_the_one_that_is(server: Served, size: tuple[int, int]) -> None:
    async with device(server.port) as one:
        await one.say(m.ResizeSession(width=size[0], height=size[1]))
        await one.until(lambda: len(one.all(m.ViewState)) == 2)
        assert session_of(one) == (WIDTH, HEIGHT)
        assert [notice.code for notice in one.all(m.Notice)] == [NoticeCode.UNSUPPORTED]
        assert str(WIDTH) in one.last(m.Notice).text
        await one.say(m.ResizeSession(width=100, height=90))
        await until_size((100, 90), one)


async def test_more_pixels_than_any_session_has_end_the_connection(server: Served) -> None:
    async with device(server.port) as one:
        most = m.ResizeSession(width=2048, height=2048).encode()
        assert most[2:] == bytes([0, 8, 0, 8])
        await one.say_raw(most[:2] + bytes([0, 8, 1, 8]))
        goodbye = await one.until_ended()
        assert goodbye is not None
        assert goodbye.code == Code.BAD_VALUE


async def test_only_the_holder_may_ask_for_a_size(server: Served) -> None:
    async with (
        device(server.port) as holder,
        device(server.port) as one,
        device(server.port, hello(capabilities=EVERYTHING | Capability.VIEW_ONLY)) as looker,
    ):
        for each in (one, looker):
            await each.say(m.ResizeSession(width=100, height=90))
            await each.until(lambda each=each: len(each.all(m.ViewState)) == 2)  # type: ignore[misc]
            assert session_of(each) == (WIDTH, HEIGHT)
            assert [notice.code for notice in each.all(m.Notice)] == [NoticeCode.VIEW_ONLY]
        assert session_of(holder) == (WIDTH, HEIGHT)
        await holder.say(m.Control(action=ControlAction.PASS, viewer=one.welcome.viewer))
        await one.until(lambda: one.last(m.ControlState))
        await one.say(m.ResizeSession(width=100, height=90))
        await until_size((100, 90), holder, one, looker)


async def test_a_thousand_sizes_end_at_the_last(server: Served, client: Painter) -> None:
    chance = random.Random(4)
    async with (
        device(server.port, hello(cursor=IN_PICTURE)) as one,
        device(server.port, hello(panel=(97, 61))) as other,
    ):
        await look(other, view(ViewMode.FIT, Rotation.R180))
        for number in range(1000):
            # Now and then one that cannot be.
            size = (chance.randint(8, WIDTH + 2), chance.randint(8, HEIGHT))
            await one.say(m.ResizeSession(width=size[0], height=size[1]))
            if number % 97 == 0:
                draw_anything(client, chance)
        await one.say(m.ResizeSession(width=123, height=77))
        await until_size((123, 77), one, other)
        number = await one.point(5, 5)
        await one.until(lambda: one.echoed == number)
        await until_right(server.name, client, SHAPE, one, other)
        assert session_of(one) == session_of(other) == (123, 77)
        screen = client.root.get_geometry()
        assert (screen.width, screen.height) == (123, 77)


async def test_a_size_is_answered_also_where_nobody_looks(server: Served, client: Painter) -> None:
    async with device(server.port) as one, device(server.port) as other:
        for each in (one, other):
            await each.say(m.Pause(paused=1))
            await answered(each)
        begun = len(one.all(m.Begin))
        await one.say(m.ResizeSession(width=90, height=80))
        await until_size((90, 80), one, other)
        assert len(one.all(m.Begin)) == begun
        for each in (one, other):
            await each.say(m.Pause(paused=0))
        await until_right(server.name, client, SHAPE, one, other)


# Fingers


async def fingers(one: Device, *places: tuple[int, int]) -> int:
    one.inputs += 1
    placed = tuple(m.Finger(finger=number, position=Point(*place)) for number, place in enumerate(places))
    await one.say(m.Touch(input=one.inputs, fingers=placed))
    return one.inputs


def touching(**more: object) -> m.Hello:
    return hello(capabilities=TOUCH, density=DENSITY, **more)  # type: ignore[arg-type]


def clicks(button: int, count: int = 1) -> list[tuple[str, int]]:
    return [("down", button), ("up", button)] * count


def place(reader: KeyReader) -> tuple[int, int]:
    found = reader.root.query_pointer()
    return found.root_x, found.root_y


async def test_taps(server: Served, reader: KeyReader) -> None:
    async with device(server.port, touching()) as one:
        await fingers(one, (30, 40))
        await fingers(one, (35, 41))
        await fingers(one)
        assert await reader.changes(2) == clicks(1)
        assert place(reader) == (30, 40)
        # Twice at nearly the same place are two clicks at the same.
        await fingers(one, (100, 60))
        await fingers(one)
        await fingers(one, (110, 63))
        await fingers(one)
        assert await reader.changes(4) == clicks(1, 2)
        assert place(reader) in ((100, 60), (110, 63))
        await fingers(one, (40, 40), (90, 70))
        await fingers(one)
        assert await reader.changes(2) == clicks(3)
        assert place(reader) == (65, 55)
        await fingers(one, (40, 40), (90, 70), (50, 90))
        await fingers(one)
        assert await reader.changes(2) == clicks(2)
        assert reader.state() == 0


async def test_a_drag_and_a_long_press(server: Served, reader: KeyReader) -> None:
    async with device(server.port, touching()) as one:
        await fingers(one, (30, 40))
        await fingers(one, (50, 45))
        assert await reader.changes(1) == [("down", 1)]
        number = await fingers(one, (90, 77))
        await one.until(lambda: one.echoed >= number)
        assert place(reader) == (90, 77)
        await fingers(one)
        assert await reader.changes(1) == [("up", 1)]
        await fingers(one, (120, 30))
        assert await reader.changes(2) == clicks(3)
        assert place(reader) == (120, 30)
        await fingers(one, (150, 30))
        await fingers(one)
        number = await one.key(LETTER_A)
        assert await reader.changes(1) == [("down", reader.keycode(LETTER_A))]


@pytest.mark.parametrize("rotation", Rotation)
async def test_two_fingers_turn_the_wheel_and_zoom(
    server: Served, reader: KeyReader, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A notch that fits the panel, however it is turned.
    monkeypatch.setattr(inputs, "NOTCH_PX", 53)
    control = reader.keycode(CONTROL_L)
    async with device(server.port, touching()) as one:
        await look(one, view(ViewMode.ONE_TO_ONE, rotation))
        # Along the canvas, whichever way the panel is turned: up, by 53 pixels of the session for a notch.
        step = {Rotation.R0: (0, -1), Rotation.R90: (1, 0), Rotation.R180: (0, 1), Rotation.R270: (-1, 0)}[rotation]
        for at in range(0, 56, 11):
            x, y = 100 + step[0] * (at - 25), 60 + step[1] * (at - 25)
            await fingers(one, (x, y), (x + 15, y + 15))
        await fingers(one)
        assert await reader.changes(2) == clicks(5)
        await fingers(one, (90, 60), (110, 60))
        await fingers(one, (40, 60), (160, 60))
        # 120 pixels against the least spread of 25: 8.6 notches of 1.2.
        assert await reader.changes(18) == [("down", control), *clicks(4, 8), ("up", control)]
        await fingers(one, (90, 60), (110, 60))
        assert await reader.changes(18) == [("down", control), *clicks(5, 8), ("up", control)]
        await fingers(one)
        assert reader.state() == 0


async def test_fingers_touch_what_is_seen(server: Served, reader: KeyReader) -> None:
    async with device(server.port, touching(panel=(60, 100))) as one:
        for mode, rotation in product(ViewMode, Rotation):
            await look(one, view(mode, rotation, 70, 20))
            shown = one.last(m.ViewState).window
            await fingers(one, (30, 50))
            await fingers(one)
            assert await reader.changes(2) == clicks(1)
            x, y = place(reader)
            # The middle of the panel is the middle of the window.
            assert abs(x - (shown.x + shown.width // 2)) <= 2
            assert abs(y - (shown.y + shown.height // 2)) <= 2
            # Another gesture, not the second half of a double tap.
            await fingers(one, (5, 5), (50, 95), (30, 3), (9, 30))
            await fingers(one)


@pytest.mark.parametrize("gesture", ["drag", "pinch", "pan", "press"])
async def test_fingers_that_are_never_lifted_hold_nothing_when_the_line_is_cut(
    server: Served, reader: KeyReader, gesture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "NOTCH_PX", 53)
    async with device(server.port, touching()) as one:
        match gesture:
            case "drag":
                await fingers(one, (30, 40))
                await fingers(one, (90, 40))
                assert await reader.changes(1) == [("down", 1)]
            case "pinch":
                await fingers(one, (90, 60), (110, 60))
                await fingers(one, (40, 60), (160, 60))
                await reader.changes(18)
            case "pan":
                await fingers(one, (90, 110), (110, 110))
                await fingers(one, (90, 40), (110, 40))
                assert await reader.changes(2) == clicks(5)
            case _:
                await one.until(lambda: one.updates)
                number = await fingers(one, (90, 60))
                await one.until(lambda: one.echoed >= number)
    if gesture == "drag":
        assert await reader.changes(1) == [("up", 1)]
    async with device(server.port, touching()) as two:
        # That the first has left is noticed a little later than it leaves.
        await two.until(lambda: Role.CONTROL in (two.welcome.role, *(state.role for state in two.all(m.ControlState))))
        # What was begun by the one that left is nobody's.
        await two.key(LETTER_A)
        assert await reader.changes(1) == [("down", reader.keycode(LETTER_A))]
        assert reader.state() == 0
    assert await reader.changes(1) == [("up", reader.keycode(LETTER_A))]


async def test_what_is_held_is_let_go_with_control(server: Served, reader: KeyReader) -> None:
    key = reader.keycode(LETTER_A)
    async with device(server.port, touching()) as one, device(server.port, touching()) as two:
        await fingers(one, (30, 40))
        await fingers(one, (90, 40))
        await one.key(LETTER_A)
        assert await reader.changes(2) == [("down", 1), ("down", key)]
        await one.say(m.Control(action=ControlAction.PASS, viewer=two.welcome.viewer))
        assert set(await reader.changes(2)) == {("up", 1), ("up", key)}
        # Its fingers go on for nothing.
        for x in range(30, 90, 10):
            await fingers(one, (x, 50))
        await one.until(lambda: one.last(m.Notice))
        await fingers(two, (100, 100))
        await fingers(two)
        assert await reader.changes(2) == clicks(1)
        assert place(reader) == (100, 100)
        assert reader.state() == 0
        assert one.last(m.Notice).code == NoticeCode.VIEW_ONLY


async def test_releasing_control_lets_go(server: Served, reader: KeyReader) -> None:
    key = reader.keycode(LETTER_A)
    async with device(server.port) as one:
        for _ in range(5):
            await one.key(LETTER_A)
            await one.point(50, 50, 0b11111)
            assert await reader.changes(6) == [("down", key), *(("down", button) for button in (1, 2, 3, 8, 9))]
            await one.say(m.Control(action=ControlAction.RELEASE))
            gone = await reader.changes(6)
            assert set(gone) == {("up", key), *(("up", button) for button in (1, 2, 3, 8, 9))}
            await one.say(m.Control(action=ControlAction.ASK))


# Too much


def flood_of_views(chance: random.Random, count: int, *, flips: bool) -> bytes:
    found = bytearray()
    for _ in range(count):
        mode, rotation = (chance.randrange(2), chance.randrange(4)) if flips else (0, 0)
        found += view(mode, rotation, chance.randrange(300), chance.randrange(200)).encode()
    return bytes(found)


@pytest.mark.parametrize("flips", [False, True])
async def test_ten_thousand_views(server: Served, client: Painter, *, flips: bool) -> None:
    chance = random.Random(6)
    data = flood_of_views(chance, 10_000, flips=flips)
    async with (
        device(server.port, hello(panel=(97, 61), cursor=IN_PICTURE)) as one,
        device(server.port, hello(panel=(80, 50), cursor=LOCAL)) as deaf,
        device(server.port) as witness,
    ):
        await until_right(server.name, client, SHAPE, one, deaf, witness)
        # One of them does not even read the answers.
        deaf.hold()
        tracemalloc.start()
        try:
            await deaf.say_raw(data)
            await quiet(0.1)
            taken, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.say_raw, data)
            for number in range(5):
                client.fill(Rect(number, 3, 60, 70), 0x010305 * number)
                await server.until_exact(witness)
        await answered(one)
        print(
            f"{most >> 10} KiB at most for ten thousand views, answers to who reads them: {len(one.all(m.ViewState))}"
        )
        # What is allocated counts, not what the lines hold; a few pictures and the data of the flood itself.
        assert taken < 8 << 20
        deaf.read_on()
        for each in (one, deaf):
            await each.say(view(0, 1, 33, 22))
            await answered(each)
            assert each.last(m.ViewState).window == Rect(33, 22, each.framebuffer.height, each.framebuffer.width)
        await until_right(server.name, client, SHAPE, one, deaf, witness)


async def test_ten_thousand_motions(server: Served, client: Painter) -> None:
    async with (
        device(server.port, hello(panel=(97, 61), cursor=IN_PICTURE)) as one,
        device(server.port, hello(cursor=LOCAL)) as witness,
    ):
        await look(one, view(0, 0, 40, 30, follow=1))
        chance = random.Random(8)
        data = bytearray()
        for number in range(1, 10_001):
            at = Point(chance.randrange(97), chance.randrange(61))
            data += m.Pointer(input=number, position=at, buttons=chance.randrange(2)).encode()
        one.inputs = 10_001
        one.connection.rules.input = 10_001
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.say_raw, bytes(data))
            for number in range(5):
                client.fill(Rect(number, 3, 60, 70), 0x010305 * number)
                await witness.until(lambda: witness.updates)
        await one.say_raw(m.Pointer(input=10_001, position=Point(50, 30), buttons=0).encode())
        await one.until(lambda: one.echoed == 10_001)
        await until_right(server.name, client, SHAPE, one, witness)
        await until_held(witness, client, SHAPE)
        assert client.root.query_pointer().mask == 0


# Anything at all


@pytest.mark.parametrize("seed", range(4))
async def test_any_history_ends_exact(server: Served, client: Painter, seed: int) -> None:
    chance = random.Random(seed)
    resizes = EVERYTHING | Capability.RESIZE
    cache = m.CacheOffer(slots=32, slot_bytes=2048)
    async with (
        device(
            server.port, hello(panel=(97, 61), capabilities=resizes, cursor=LOCAL, model_kib=16, cache=cache)
        ) as one,
        device(
            server.port, hello(panel=(61, 97), pixel_format=PixelFormat.GREY8, cursor=IN_PICTURE), by_web=True
        ) as two,
        device(
            server.port,
            hello(
                panel=(230, 50),
                pixel_format=PixelFormat.RGB332,
                max_message=1024,
                max_rect=(64, 1024),
                capabilities=resizes | Capability.VIEW_ONLY,
                cursor=IN_PICTURE,
            ),
        ) as three,
    ):
        everybody = (one, two, three)
        for _ in range(12):
            for _ in range(chance.randint(1, 12)):
                each = chance.choice(everybody)
                match chance.randrange(9):
                    case 0 | 1:
                        wanted = (
                            chance.randrange(2),
                            chance.randrange(4),
                            chance.randrange(210),
                            chance.randrange(130),
                        )
                        await each.say(view(*wanted, follow=chance.randrange(2)))
                    case 2 if each is not two:
                        await each.say(m.Resize(width=chance.randint(1, 120), height=chance.randint(1, 120)))
                    case 3:
                        size = chance.choice([(WIDTH, HEIGHT), (chance.randint(8, WIDTH), chance.randint(8, HEIGHT))])
                        await one.say(m.ResizeSession(width=size[0], height=size[1]))
                    case 4:
                        at = Point(chance.randrange(97), chance.randrange(61))
                        await move(one, at.x, at.y)
                    case 5:
                        await each.say(m.Pause(paused=chance.randrange(2)))
                    case 6:
                        await each.say(m.Refresh())
                    case _:
                        draw_anything(client, chance)
            for each in everybody:
                await each.say(m.Pause(paused=0))
            number = await move(one, 0, 0)
            await one.until(lambda number=number: one.echoed == number)  # type: ignore[misc]
            for each in everybody:
                await answered(each)
            await quiet(0.15)
            await until_right(server.name, client, SHAPE, *everybody)
            await until_held(one, client, SHAPE)
