"""What devices must show of a real screen, made without the server's own code: Pillow and loops, from a capture."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cache

from PIL import Image, ImageDraw

from tilewire.protocol import Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import CursorMode, Rotation, ViewMode
from tilewire.server.cursor import NO_CURSOR, CursorImage, Overlay
from tilewire.server.display import open_display
from tilewire.server.view import View

from tests.server.test_cursor_image import slowly
from tests.server.test_views_picture import CLOCKWISE, scaled, stored, with_cursor
from tests.server.xclient import Painter
from tests.support import Device, put_pixels

IN_PICTURE_SIDE = 64

Size = tuple[int, int]


async def captured(name: str) -> Image.Image:
    """A display's screen as it is now, read on a connection of its own."""
    async with open_display(name) as display:
        capture = await display.capture_all()
    image = Image.new("RGB", capture.size)
    for patch in capture.patches:
        size = (patch.rect.width, patch.rect.height)
        image.paste(Image.frombytes("RGB", size, bytes(patch.pixels), "raw", "BGRX"), (patch.rect.x, patch.rect.y))
    return image


def draw_scene(client: Painter, size: Size, seed: int = 1) -> None:
    """Text, lines, softness and noise over the whole screen."""
    image = scene(size, seed)
    red, green, blue = image.split()
    put_pixels(client, Rect(0, 0, *size), Image.merge("RGBA", (blue, green, red, blue)).tobytes())


@cache
def scene(size: Size, seed: int) -> Image.Image:
    width, height = size
    chance = random.Random(seed)
    image = Image.merge("RGB", [Image.linear_gradient("L").rotate(turn).resize(size) for turn in (0, 90, 180)])
    pen = ImageDraw.Draw(image)
    pen.rectangle((width // 8, height // 8, width * 2 // 3, height * 3 // 4), fill="#f4f1ea")
    for y in range(height // 8, height * 3 // 4, 14):
        words = "".join(chance.choice("etaoin shrdlu ") for _ in range(90))
        pen.text((width // 8 + 4, y), words, fill=chance.choice(["#111", "#025", "#600"]))
    corner = (width // 5 + 1, height // 5 + 1)
    image.paste(Image.frombytes("RGB", corner, chance.randbytes(3 * corner[0] * corner[1])), (width * 3 // 4, 3))
    return image


def view_of(state: m.ViewState, panel: Size) -> View:
    """The view that VIEW_STATE tells of."""
    window = Point(state.window.x, state.window.y)
    session = (state.session.width, state.session.height)
    view = View(session, panel, window, bool(state.follow), ViewMode(state.mode), Rotation(state.rotation))
    assert view.window == state.window
    return view


def panel_of(one: Device) -> Size:
    return one.framebuffer.width, one.framebuffer.height


def seen(screen: Image.Image, view: View) -> Image.Image:
    """What a panel with this view shows, at eight bits a channel."""
    assert screen.size == view.session
    window, placed = view.window, view.placed
    part = screen.crop((window.x, window.y, window.right, window.bottom))
    if part.size != (placed.width, placed.height):
        part = scaled(part, (placed.width, placed.height))
    made = Image.new("RGB", view.canvas)
    made.paste(part, (placed.x, placed.y))
    return made.transpose(CLOCKWISE[view.rotation]) if view.rotation in CLOCKWISE else made


def place_of(pointer: Point, view: View) -> Point | None:
    """SPEC.md 10.1: on which pixel of the panel the hot spot is."""
    window, placed = view.window, view.placed
    x, y = pointer.x - window.x, pointer.y - window.y
    if not (0 <= x < window.width and 0 <= y < window.height):
        return None
    u = placed.x + (2 * x + 1) * placed.width // (2 * window.width)
    v = placed.y + (2 * y + 1) * placed.height // (2 * window.height)
    width, height = view.panel
    places = [(u, v), (width - 1 - v, u), (width - 1 - u, height - 1 - v), (v, height - 1 - u)]
    return Point(*places[view.rotation])


def turned(shape: CursorImage, view: View, side: int) -> CursorImage:
    """A pointer as a panel shows it."""
    return _turned(shape, view.rotation, side)


_turned = cache(slowly)


def with_pointer(bare: Image.Image, view: View, shape: CursorImage, pointer: Point) -> Image.Image:
    """A panel's picture with the pointer drawn into it by the server."""
    place, image = place_of(pointer, view), turned(shape, view, IN_PICTURE_SIDE)
    return with_cursor(bare, Overlay(image, place) if place is not None and image else None)


def memory_of(one: Device, picture: Image.Image) -> bytes:
    """A device's framebuffer with this picture."""
    return stored(picture, one.framebuffer.format)


class Held:
    """What a device that draws its own pointer knows of it, by what it has heard; own motion is in `events` too."""

    def __init__(self, events: Iterable[object]) -> None:
        self.shape = NO_CURSOR
        self.place: Point | None = None
        coming = b""
        for event in events:
            match event:
                case m.CursorShape():
                    if not event.row:
                        coming = b""
                    coming += event.pixels
                    if len(coming) == 4 * event.width * event.height:
                        self.shape = CursorImage(event.width, event.height, event.hot_x, event.hot_y, coming)
                case m.CursorPosition() | m.Pointer():
                    self.place = event.position
                case _:
                    pass


def pointer_of(client: Painter) -> Point:
    """Where X has the pointer."""
    found = client.root.query_pointer()
    return Point(found.root_x, found.root_y)


async def move(one: Device, x: int, y: int, buttons: int = 0) -> int:
    """A motion of the device's own, which it shows at once; returns its number."""
    one.inputs += 1
    motion = m.Pointer(input=one.inputs, position=Point(x, y), buttons=buttons)
    one.events.append(motion)
    await one.say(motion)
    return one.inputs


async def until_right(name: str, client: Painter, shape: CursorImage, *devices: Device) -> None:
    """Return once all devices show the screen as it is, with the pointer where the server draws it into the picture.

    Nobody draws or moves the pointer meanwhile; the view may still be on its way.
    """
    screen = await captured(name)
    for one in devices:
        offer = one.connection.rules.hello.cursor
        drawn = shape if offer is not None and offer.mode == CursorMode.IN_PICTURE else NO_CURSOR
        right = False
        while not right:
            state = one.last(m.ViewState)
            if (state.session.width, state.session.height) != screen.size:
                await one.until(lambda: one.last(m.ViewState) is not state)  # noqa: B023
                continue
            view = view_of(state, panel_of(one))
            picture = with_pointer(seen(screen, view), view, drawn, pointer_of(client))
            expected = memory_of(one, picture)
            await one.until(lambda: one.stored() == expected or one.last(m.ViewState) is not state)  # noqa: B023
            right = one.stored() == expected


async def until_held(one: Device, client: Painter, shape: CursorImage, side: int = 64) -> None:
    """Return once a device shows this pointer where X has it, or none where that is out of sight."""

    def right() -> bool:
        view, held, pointer = view_of(one.last(m.ViewState), panel_of(one)), Held(one.events), pointer_of(client)
        place = place_of(pointer, view)
        if place is None:
            return held.shape == NO_CURSOR
        # Its own hand may have it on any pixel that stands for the same one of the session.
        at = held.place is not None and (held.place == place or view.input_point(held.place) == pointer)
        return at and held.shape == turned(shape, view, side)

    await one.until(right)


async def answered(one: Device) -> None:
    """All that was said before, but for input, has been dealt with and its answers are here."""
    stamp = len(one.events) + 1
    await one.say(m.Ping(stamp=stamp))
    await one.until(lambda: any(pong.stamp == stamp for pong in one.all(m.Pong)))
