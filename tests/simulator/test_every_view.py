"""Every standard panel, turned and fitted, with every pointer: the C client on a real server of a real screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
import trio
from PIL import Image

from tilewire.protocol import PANELS, Panel, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import CursorMode, Rotation, ViewMode
from tilewire.server.cursor import Overlay
from tilewire.server.view import View
from tilewire.simulator.device import Device, Setup, open_device
from tilewire.simulator.picture import to_rgb

from tests.clients.cursors import blended
from tests.server.sights import captured, draw_scene, place_of, pointer_of, seen, turned, view_of, with_pointer
from tests.server.test_views_picture import arrow, stored
from tests.server.xclient import painter
from tests.support import LOOPBACK, descriptors, served

SIZE = (1000, 640)
"""Wider or higher than some panels, narrower or lower than others, both for one."""
SHAPE = arrow(40, 36, (9, 30))
POINTER = Point(350, 300)
"""In sight of all."""
WITHIN_S = 60.0
VIEWS = [
    m.View(mode=mode, rotation=rotation, follow=0, origin=Point(197, 231))
    for mode, rotation in product(ViewMode, Rotation)
]


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() - before == set()


def devices() -> list[Setup]:
    made: list[Setup] = []
    for panel, cursor in product(PANELS.values(), CursorMode):
        if panel.cursor_side or cursor is CursorMode.NONE:
            first = VIEWS[len(made) % len(VIEWS)]
            made.append(Setup(panel=panel, cursor=cursor, device_id=f"{panel.name}-{cursor.name}", view=first))
    return made


def memory(panel: Panel, picture: Image.Image) -> bytes:
    """As the panel stores it."""
    made = stored(picture, panel.pixel_format)
    if not panel.big_endian:
        return made
    assert panel.pixel_format is PixelFormat.RGB565
    swapped = bytearray(made)
    swapped[::2], swapped[1::2] = made[1::2], made[::2]
    return bytes(swapped)


def with_own_pointer(panel: Panel, made: bytes, overlay: Overlay) -> bytes:
    """A panel's memory with the pointer that the device draws over it."""
    place, size, image = overlay.place, panel.pixel_format.stored, overlay.image
    assert place is not None
    assert not panel.big_endian
    drawn = bytearray(made)
    for y, x in product(range(place.height), range(place.width)):
        if Rect(0, 0, panel.width, panel.height).contains(Rect(place.x + x, place.y + y, 1, 1)):
            at = size * ((place.y + y) * panel.width + place.x + x)
            value = int.from_bytes(drawn[at : at + size], "little")
            pixel = image.pixels[4 * (y * image.width + x) :][:4]
            drawn[at : at + size] = blended(value, pixel, panel.pixel_format).to_bytes(size, "little")
    return bytes(drawn)


class Right:
    """What devices have to show of a screen."""

    def __init__(self, screen: Image.Image, pointer: Point) -> None:
        self._screen, self._pointer = screen, pointer
        self._bare: dict[View, Image.Image] = {}

    def of(self, setup: Setup, state: m.ViewState) -> tuple[bytes, bytes]:
        """The framebuffer, and the panel's colours with the pointer that the device draws."""
        panel = setup.panel
        view = view_of(state, (panel.width, panel.height))
        if view not in self._bare:
            self._bare[view] = seen(self._screen, view)
        picture = self._bare[view]
        if setup.cursor is CursorMode.IN_PICTURE:
            picture = with_pointer(picture, view, SHAPE, self._pointer)
        made = shown = memory(panel, picture)
        place = place_of(self._pointer, view)
        if setup.cursor is CursorMode.LOCAL:
            assert place is not None
            shown = with_own_pointer(panel, made, Overlay(turned(SHAPE, view, panel.cursor_side), place))
        return made, to_rgb(shown, panel.pixel_format, big_endian=panel.big_endian)


async def go_through(address: str, setup: Setup, right: Right) -> None:
    """Look at the session in all views, beginning with that of the set-up."""
    name = setup.device_id
    async with open_device(address, setup) as one:
        for wanted in [setup.view, *(view for view in VIEWS if view != setup.view)]:
            assert wanted is not None
            if wanted is not setup.view:
                one.look(wanted)
            chosen = (wanted.mode, wanted.rotation)
            assert await one.wait_for(lambda: in_force(one) == chosen, WITHIN_S), f"{name}: {chosen}"  # noqa: B023
            assert one.view is not None
            picture, shown = right.of(setup, one.view)
            assert await one.wait_for(lambda: one.memory() == picture, WITHIN_S), f"{name}: {chosen}"  # noqa: B023
            assert await one.wait_for(lambda: one.rgb() == shown, WITHIN_S), f"{name}: {chosen}, its pointer"  # noqa: B023


def in_force(one: Device) -> tuple[int, int] | None:
    return (one.view.mode, one.view.rotation) if one.view is not None else None


async def test_every_panel_in_every_view_with_every_pointer() -> None:
    async with served(SIZE) as server:
        with painter(server.name) as client:
            draw_scene(client, SIZE)
            client.wear_colours((SHAPE.width, SHAPE.height), (SHAPE.hot_x, SHAPE.hot_y), SHAPE.pixels)
            client.move_pointer(POINTER.x, POINTER.y)
            assert pointer_of(client) == POINTER
            right = Right(await captured(server.name), POINTER)
            async with trio.open_nursery() as nursery:
                for setup in devices():
                    nursery.start_soon(go_through, f"{LOOPBACK}:{server.port}", setup, right)


async def test_a_view_of_the_setup_is_asked_for_at_once() -> None:
    setup = replace(devices()[0], view=VIEWS[6])
    async with served(SIZE) as server, open_device(f"{LOOPBACK}:{server.port}", setup) as one:
        assert await one.wait_for(lambda: in_force(one) == (VIEWS[6].mode, VIEWS[6].rotation), WITHIN_S)
