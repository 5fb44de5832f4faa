"""The pointer on devices, end to end: real programs dress and move it, three kinds of devices show it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import product
from typing import Any

import pytest
import trio
from PIL import Image
from Xlib import X
from Xlib.xobject.drawable import Window

from tilewire.protocol import Capability, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import ControlAction, CursorMode, Rotation, ViewMode
from tilewire.server.cursor import NO_CURSOR, CursorImage
from tilewire.server.pointing import SHAPE_INTERVAL_S
from tilewire.server.view import View

from tests.server.sights import (
    Held,
    answered,
    captured,
    draw_scene,
    memory_of,
    move,
    panel_of,
    place_of,
    pointer_of,
    seen,
    until_held,
    view_of,
    with_pointer,
)
from tests.server.test_views_picture import arrow
from tests.server.xclient import Painter, painter
from tests.support import EVERYTHING, ORIGIN, Device, Served, device, hello, quiet

WIDTH, HEIGHT = 200, 120
SMALL = arrow(9, 13, (2, 5))
LARGE = arrow(64, 64, (40, 7))
OTHER = arrow(17, 6, (16, 0))
VIEWS = list(product(ViewMode, Rotation))


pytestmark = pytest.mark.usefixtures("nothing_stays_open")


@pytest.fixture
def client(server: Served) -> Iterator[Painter]:
    with painter(server.name) as made:
        draw_scene(made, (WIDTH, HEIGHT))
        yield made


def wear(client: Painter, shape: CursorImage, window: Window | None = None) -> None:
    client.wear_colours((shape.width, shape.height), (shape.hot_x, shape.hot_y), shape.pixels, window)


def pane(client: Painter, rect: Rect, shape: CursorImage) -> Window:
    """A window with a pointer of its own."""
    made = client.window.create_window(rect.x, rect.y, rect.width, rect.height, 0, X.CopyFromParent)
    wear(client, shape, made)
    made.map()
    client.display.sync()
    return made


def local(side: int = 64) -> m.CursorOffer:
    return m.CursorOffer(mode=CursorMode.LOCAL, max_side=side)


IN_PICTURE = m.CursorOffer(mode=CursorMode.IN_PICTURE, max_side=0)


async def look(one: Device, mode: int, rotation: int, origin: Point = ORIGIN, *, follow: bool = False) -> None:
    asked = len(one.all(m.ViewState))
    await one.say(m.View(mode=mode, rotation=rotation, follow=int(follow), origin=origin))
    await one.until(lambda: len(one.all(m.ViewState)) > asked)


# LOCAL: the shape


async def test_a_large_shape_comes_in_parts_and_is_what_the_program_made(server: Served, client: Painter) -> None:
    wear(client, LARGE)
    async with device(server.port, hello(max_message=1024, cursor=local())) as one:
        await until_held(one, client, LARGE)
        assert Held(one.events).shape == LARGE
        # Three rows of 256 bytes a message.
        parts = one.all(m.CursorShape)[-22:]
        assert [part.row for part in parts] == list(range(0, 64, 3))
        assert all(len(part.encode()) <= 1024 + 4 for part in parts)


@pytest.mark.parametrize("side", [64, 24, 1])
async def test_a_shape_is_turned_with_the_view_and_never_larger_than_offered(
    server: Served, client: Painter, side: int
) -> None:
    async with device(server.port, hello(panel=(97, 61), max_message=1024, cursor=local(side))) as one:
        for shape in (LARGE, SMALL, OTHER):
            wear(client, shape)
            for mode, rotation in VIEWS:
                await look(one, mode, rotation, Point(60, 30))
                await until_held(one, client, shape, side)
        shapes = one.all(m.CursorShape)
        assert max(max(shape.width, shape.height) for shape in shapes) == side
        assert one.last(m.Notice) is None


async def test_a_shape_of_two_colours_is_what_the_program_made(server: Served, client: Painter) -> None:
    red, white, nothing = b"\0\0\xff\xff", b"\xff" * 4, bytes(4)
    client.wear(["#+.", ".##"], (1, 1))
    async with device(server.port, hello(cursor=local())) as one:
        await until_held(one, client, CursorImage(3, 2, 1, 1, red + white + nothing * 2 + red * 2))


async def test_each_window_has_its_own_shape(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    pane(client, Rect(100, 0, 50, HEIGHT), OTHER)
    async with device(server.port, hello(cursor=local())) as one, device(server.port, hello(cursor=local())) as other:
        for x, shape in ((20, SMALL), (120, OTHER), (160, SMALL), (101, OTHER), (99, SMALL)):
            await move(one, x, 40)
            for each in (one, other):
                await until_held(each, client, shape)
        # A program's warp into a window is seen by the shape that it has there.
        client.warp_pointer(110, 70)
        for each in (one, other):
            await until_held(each, client, OTHER)


async def test_a_pointer_out_of_sight_is_hidden_and_comes_back(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    async with device(server.port) as hand, device(server.port, hello(panel=(80, 50), cursor=local())) as one:
        await look(one, ViewMode.ONE_TO_ONE, Rotation.R90, Point(60, 30))
        for x, y in ((70, 40), (59, 40), (60, 79), (150, 100), (109, 109), (110, 109), (109, 30), (20, 20), (60, 30)):
            await hand.point(x, y)
            await hand.until(lambda: hand.echoed == hand.inputs)
            await until_held(one, client, SMALL)
        hidden = [shape for shape in one.all(m.CursorShape) if not shape.width]
        assert all((shape.height, shape.hot_x, shape.hot_y, shape.pixels) == (0, 0, 0, b"") for shape in hidden)
        assert len(hidden) >= 4
        # The view that moves hides it as well.
        await look(one, ViewMode.ONE_TO_ONE, Rotation.R0, Point(120, 70))
        await until_held(one, client, SMALL)
        assert Held(one.events).shape == NO_CURSOR
        await look(one, ViewMode.FIT, Rotation.R0)
        await until_held(one, client, SMALL)
        assert Held(one.events).shape == SMALL


async def test_nothing_that_can_be_seen_is_no_cursor(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    async with device(server.port, hello(cursor=local())) as one:
        await until_held(one, client, SMALL)
        wear(client, CursorImage(8, 8, 3, 3, bytes(256)))
        await until_held(one, client, NO_CURSOR)
        client.wear_square(600)
        wear(client, OTHER)
        await until_held(one, client, OTHER)


async def test_a_pointer_that_is_a_film_does_not_flood(server: Served, client: Painter) -> None:
    films = [arrow(width, 21) for width in range(10, 50)]
    async with device(server.port, hello(cursor=local(), max_message=1024)) as one:
        await answered(one)
        since = trio.current_time()
        before = len(one.all(m.CursorShape))
        for number in range(500):
            wear(client, films[number % len(films)])
            if number % 10 == 0:
                await trio.lowlevel.checkpoint()
        wear(client, LARGE)
        await until_held(one, client, LARGE)
        began = [shape for shape in one.all(m.CursorShape)[before:] if shape.row == 0]
        # As many as there is time for: it says nothing about how long that was.
        assert len(began) <= 2 + (trio.current_time() - since) / SHAPE_INTERVAL_S
        assert one.updates <= 2


# LOCAL: the place


async def test_own_motion_costs_no_pixels_and_no_position(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    async with device(server.port, hello(panel=(97, 61), cursor=local())) as one:
        for mode, rotation in VIEWS:
            await look(one, mode, rotation, Point(60, 30))
            await server.until_exact(one)
            await move(one, 5, 5)
            await until_held(one, client, SMALL)
            await one.until(lambda: one.echoed == one.inputs)
            await quiet(0.05)
            count, received = len(one.events), one.received
            chance = random.Random(mode * 4 + rotation)
            for _ in range(200):
                # Also on what is black.
                await move(one, chance.randrange(97), chance.randrange(61))
            await one.until(lambda: one.echoed == one.inputs)
            await answered(one)
            told = [event for event in one.events[count:] if not isinstance(event, m.Pointer)]
            assert all(isinstance(event, m.InputEcho | m.Pong) for event in told)
            assert one.received - received < 8 * len(told)
            await until_held(one, client, SMALL)


async def test_a_device_that_hears_late_is_not_put_back(server: Served, client: Painter) -> None:
    """Whatever comes while its own motion is under way speaks of the end of that motion, or of nothing."""
    wear(client, SMALL)
    async with (
        device(server.port, hello(cursor=local())) as one,
        device(server.port, hello(cursor=local())) as looker,
    ):
        await move(one, 1, 1)
        await until_held(one, client, SMALL)
        for number in range(600):
            await move(one, 20 + number % 150, number % HEIGHT)
            if number % 20 == 0:
                # Pixels, shapes and places are looked at meanwhile.
                client.fill(Rect(number % 50, 3, 9, 9), number)
        await one.until(lambda: one.echoed == one.inputs)
        await server.until_exact(one, looker)
        for each in (one, looker):
            await until_held(each, client, SMALL)
        assert len(one.all(m.CursorPosition)) <= 1
        assert looker.last(m.CursorPosition).position == Point(20 + 599 % 150, 599 % HEIGHT)


@pytest.mark.parametrize(("mode", "rotation"), VIEWS)
async def test_motion_by_others_is_told_once_each(
    server: Served, client: Painter, mode: ViewMode, rotation: Rotation
) -> None:
    """Also where many pixels of the session are one of the panel."""
    wear(client, SMALL)
    async with device(server.port) as hand, device(server.port, hello(panel=(97, 61), cursor=local())) as one:
        await look(one, mode, rotation, Point(60, 30))
        steps = 60
        view = view_of(one.last(m.ViewState), panel_of(one))
        for number in range(steps):
            at = Point(60 + number % 37, 30 + number % 50)
            await hand.point(at.x, at.y)
            await one.until(lambda at=at: Held(one.events).place == place_of(at, view))  # type: ignore[misc]
        await hand.until(lambda: hand.echoed == hand.inputs)
        await until_held(one, client, SMALL)
        assert len(one.all(m.CursorPosition)) <= steps + 1
        # What is known is not said again.
        count = len(one.events)
        await answered(one)
        assert all(isinstance(event, m.Pong) for event in one.events[count:])


async def test_what_a_program_does_to_the_pointer_is_told(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    async with device(server.port, hello(cursor=local())) as one:
        await move(one, 50, 50)
        await until_held(one, client, SMALL)
        # A mouse of its own.
        client.move_pointer(77, 20)
        await until_held(one, client, SMALL)
        assert one.last(m.CursorPosition).position == Point(77, 20)
        # A warp is reported by nobody; it is seen with what is drawn next.
        client.warp_pointer(120, 90)
        client.fill(Rect(0, 0, 3, 3), 0x123456)
        await until_held(one, client, SMALL)
        assert one.last(m.CursorPosition).position == Point(120, 90)
        # And so is one by a program that answers to each motion.
        await move(one, 60, 61)
        await one.until(lambda: one.echoed == one.inputs)
        client.warp_pointer(61, 61)
        client.fill(Rect(0, 0, 3, 3), 0x654321)
        await until_held(one, client, SMALL)


async def test_a_pointer_that_is_confined_is_put_where_it_is(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    inside = pane(client, Rect(50, 30, 40, 30), OTHER)
    async with device(server.port, hello(cursor=local())) as one:
        await move(one, 60, 40)
        await until_held(one, client, OTHER)
        granted = inside.grab_pointer(True, 0, X.GrabModeAsync, X.GrabModeAsync, inside.id, 0, X.CurrentTime)
        assert granted == X.GrabSuccess
        client.display.sync()
        for at, stays in (((10, 10), (50, 30)), ((190, 45), (89, 45)), ((190, 46), (89, 46)), ((60, 50), (60, 50))):
            await move(one, *at)
            await one.until(lambda: one.echoed == one.inputs)
            await until_held(one, client, OTHER)
            assert Held(one.events).place == Point(*stays)
        # Against the edge again and again: it is told each time, since the device has shown it elsewhere.
        for _ in range(3):
            before = len(one.all(m.CursorPosition))
            await move(one, 199, 30)
            await one.until(lambda before=before: len(one.all(m.CursorPosition)) > before)  # type: ignore[misc]
            assert one.last(m.CursorPosition).position == Point(89, 30)


async def test_a_view_that_moves_under_a_still_pointer_tells_its_place(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    async with device(server.port, hello(panel=(97, 61), cursor=local())) as one:
        await look(one, ViewMode.ONE_TO_ONE, Rotation.R0, Point(50, 25))
        await move(one, 40, 30)
        await until_held(one, client, SMALL)
        for x, y in ((60, 30), (61, 30), (45, 10), (90, 55)):
            before = len(one.all(m.CursorPosition))
            await look(one, ViewMode.ONE_TO_ONE, Rotation.R0, Point(x, y))
            await until_held(one, client, SMALL)
            assert len(one.all(m.CursorPosition)) == before + 1
            assert one.last(m.CursorPosition).position == Point(90 - x, 55 - y)
        for mode, rotation in VIEWS * 2:
            await look(one, mode, rotation, Point(60, 30))
            await until_held(one, client, SMALL)
        # The window that follows the pointer moves under it.
        await look(one, ViewMode.ONE_TO_ONE, Rotation.R0, Point(60, 30), follow=True)
        for x, y in ((0, 0), (96, 60), (96, 60), (0, 60), (50, 0)):
            await move(one, x, y)
            await one.until(lambda: one.echoed == one.inputs)
            await until_held(one, client, SMALL)


async def test_places_that_cross_a_motion_on_the_line(server: Served, client: Painter) -> None:
    """A device that was told a place after it had moved on shows the wrong one, until it is told again."""
    wear(client, SMALL)
    async with (
        device(server.port, hello(cursor=local())) as one,
        device(server.port, hello(cursor=local())) as witness,
    ):
        for number in range(20):
            await move(one, 20 + number, 30)
            await one.until(lambda: one.echoed == one.inputs)
            one.hold()
            # The read that was under way.
            await answered(one)
            client.move_pointer(100, 50 + number)
            await until_held(witness, client, SMALL)
            await answered(witness)
            await move(one, 20 + number, 31)
            await witness.until(lambda: witness.last(m.CursorPosition).position.y == 31)
            one.read_on()
            await answered(one)
            assert Point(100, 50 + number) in [told.position for told in one.all(m.CursorPosition)]
            await until_held(one, client, SMALL)
            await one.until(lambda: one.echoed == one.inputs)
            assert pointer_of(client) == Point(20 + number, 31)


async def test_who_only_looks_sees_the_holders_motion(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    looks = hello(capabilities=EVERYTHING | Capability.VIEW_ONLY, cursor=local(), panel=(61, 97))
    async with device(server.port, hello(cursor=local())) as one, device(server.port, looks) as looker:
        await look(looker, ViewMode.FIT, Rotation.R270)
        for number in range(50):
            await move(one, 3 * number, 2 * number)
            await one.until(lambda: one.echoed == one.inputs)
            for each in (one, looker):
                await until_held(each, client, SMALL)
        # What it does itself counts for nothing, so its own pointer is put back.
        await move(looker, 30, 30)
        await looker.until(lambda: looker.last(m.Notice))
        await until_held(looker, client, SMALL)
        assert pointer_of(client) == Point(147, 98)


async def test_who_loses_control_is_put_back(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    async with device(server.port, hello(cursor=local())) as one, device(server.port, hello(cursor=local())) as two:
        for holder, other in ((one, two), (two, one)):
            await move(holder, 30, 40)
            await holder.until(lambda holder=holder: holder.echoed == holder.inputs)  # type: ignore[misc]
            await holder.say(m.Control(action=ControlAction.PASS, viewer=other.welcome.viewer))
            for number in range(20):
                await move(holder, 100 + number, 60)
            await answered(holder)
            await move(other, 77, 88)
            await other.until(lambda other=other: other.echoed == other.inputs)  # type: ignore[misc]
            for each in (one, two):
                await until_held(each, client, SMALL)
            assert pointer_of(client) == Point(77, 88)


async def test_a_paused_device_hears_of_the_pointer(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    async with device(server.port) as hand, device(server.port, hello(cursor=local())) as one:
        await until_held(one, client, SMALL)
        await one.say(m.Pause(paused=1))
        await answered(one)
        updates = one.updates
        wear(client, OTHER)
        await hand.point(31, 41)
        await hand.until(lambda: hand.echoed == hand.inputs)
        await until_held(one, client, OTHER)
        assert one.last(m.CursorPosition).position == Point(31, 41)
        assert one.updates == updates


# IN_PICTURE, and NONE


class Exact:
    """What devices with the pointer in their picture must show of a screen that does not change."""

    def __init__(self, server: Served, client: Painter) -> None:
        self._server, self._client = server, client

    async def begin(self) -> None:
        self._screen = await captured(self._server.name)
        self._bare: dict[View, Image.Image] = {}

    async def until(self, shape: CursorImage, *devices: Device) -> None:
        for one in devices:
            view = view_of(one.last(m.ViewState), panel_of(one))
            if view not in self._bare:
                self._bare[view] = seen(self._screen, view)
            picture = with_pointer(self._bare[view], view, shape, pointer_of(self._client))
            await one.until_shown(memory_of(one, picture))


@pytest.mark.parametrize(("mode", "rotation"), VIEWS)
async def test_a_pointer_in_the_picture_leaves_no_trail(
    server: Served, client: Painter, mode: ViewMode, rotation: Rotation
) -> None:
    wear(client, SMALL)
    pane(client, Rect(110, 40, 60, 50), OTHER)
    exact = Exact(server, client)
    await exact.begin()
    async with AsyncExitStack() as stack:
        hand = await stack.enter_async_context(device(server.port))
        devices = [
            await stack.enter_async_context(
                device(server.port, hello(panel=(97, 61), pixel_format=each, cursor=IN_PICTURE, model_kib=16))
            )
            for each in PixelFormat
        ]
        for one in devices:
            await look(one, mode, rotation, Point(60, 30))
        path = [(62, 31), (64, 32), (64, 33), (100, 60), (110, 60), (115, 61), (156, 90), (157, 90), (2, 2), (60, 30)]
        for x, y in path:
            await hand.point(x, y)
            await hand.until(lambda: hand.echoed == hand.inputs)
            inside = 110 <= x < 170 and 40 <= y < 90
            await exact.until(OTHER if inside else SMALL, *devices)
        wear(client, LARGE)
        await exact.until(LARGE, *devices)
        # Nothing to be seen: nothing is left.
        wear(client, CursorImage(1, 1, 0, 0, bytes(4)))
        await exact.until(NO_CURSOR, *devices)
        assert all(one.all(m.CursorShape) == one.all(m.CursorPosition) == [] for one in devices)


async def test_a_pointer_over_a_picture_that_changes(server: Served, client: Painter) -> None:
    chance = random.Random(5)
    wear(client, SMALL)
    exact = Exact(server, client)
    offers: dict[str, Any] = {"panel": (97, 61), "cursor": IN_PICTURE}
    async with (
        device(server.port, hello(**offers, model_kib=16, cache=m.CacheOffer(slots=16, slot_bytes=2048))) as one,
        device(server.port, hello(**offers, pixel_format=PixelFormat.XRGB8888, max_message=1024)) as two,
        device(server.port, hello(**offers, capabilities=0)) as three,
    ):
        devices = (one, two, three)
        await look(one, ViewMode.ONE_TO_ONE, Rotation.R0, Point(60, 30), follow=True)
        for number in range(24):
            for _ in range(chance.randint(1, 6)):
                match chance.randrange(4):
                    case 0:
                        x, y = chance.randrange(WIDTH - 30), chance.randrange(HEIGHT - 30)
                        client.fill(Rect(x, y, 30, 20), chance.randrange(1 << 24))
                    case 1:
                        wear(client, chance.choice([SMALL, OTHER, LARGE]))
                    case 2:
                        view = m.View(
                            mode=number % 2, rotation=number % 4, follow=0, origin=Point(chance.randrange(99), 9)
                        )
                        await chance.choice(devices).say(view)
                    case _:
                        for _ in range(chance.randint(1, 30)):
                            await one.point(chance.randrange(97), chance.randrange(61))
            shape = chance.choice([SMALL, OTHER, LARGE])
            wear(client, shape)
            await one.until(lambda: one.echoed == one.inputs)
            for each in devices:
                await answered(each)
            await exact.begin()
            await exact.until(shape, *devices)


async def test_motion_in_the_picture_costs_little(server: Served, client: Painter) -> None:
    wear(client, arrow(24, 24))
    exact = Exact(server, client)
    await exact.begin()
    async with device(server.port, hello(cursor=IN_PICTURE, model_kib=16)) as one:
        await exact.until(arrow(24, 24), one)
        sizes = []
        for number in range(30):
            await one.point(40 + 3 * number, 40 + number)
            await one.until(lambda: one.echoed == one.inputs)
            await exact.until(arrow(24, 24), one)
            sizes.append(one.update_bytes)
        print(f"bytes of an update for a motion: {sorted(sizes)[len(sizes) // 2]} in the middle, {max(sizes)} at most")
        # Noise of every alpha on text and noise: two squares of 24 pixels, or one that has both.
        assert max(sizes) < 2048
        drawn = [event.rect for event in one.events if isinstance(event, m.Codec | m.Raw | m.Palette)]
        assert all(rect.area <= 2 * 27 * 27 for rect in drawn[-20:])


async def test_without_a_pointer_nothing_is_said_and_nothing_drawn(server: Served, client: Painter) -> None:
    wear(client, SMALL)
    offers = [None, m.CursorOffer(mode=CursorMode.NONE, max_side=0), local(0)]
    async with AsyncExitStack() as stack:
        hand = await stack.enter_async_context(device(server.port))
        devices = [await stack.enter_async_context(device(server.port, hello(cursor=offer))) for offer in offers]
        await server.until_exact(*devices)
        counts = [len(one.events) for one in devices]
        for number in range(40):
            await hand.point(3 * number, 50)
            wear(client, [SMALL, OTHER][number % 2])
        await hand.until(lambda: hand.echoed == hand.inputs)
        for one, count in zip(devices, counts):
            await answered(one)
            assert [type(event) for event in one.events[count:]] == [m.Pong]
        await server.until_exact(*devices)


async def test_the_same_pointer_for_each_kind_of_device(server: Served, client: Painter) -> None:
    """What a device draws itself is what the server draws for another one."""
    wear(client, SMALL)
    exact = Exact(server, client)
    await exact.begin()
    async with (
        device(server.port, hello(cursor=local(), pixel_format=PixelFormat.XRGB8888)) as one,
        device(server.port, hello(cursor=IN_PICTURE, pixel_format=PixelFormat.XRGB8888)) as two,
        device(server.port, hello(pixel_format=PixelFormat.XRGB8888)) as three,
    ):
        for x, y in ((5, 5), (199, 119), (0, 119), (100, 60), (0, 0)):
            await move(one, x, y)
            await one.until(lambda: one.echoed == one.inputs)
            await until_held(one, client, SMALL)
            await exact.until(SMALL, two)
            await exact.until(NO_CURSOR, one, three)
