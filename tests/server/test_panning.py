"""A small panel that is moved over a large page: what it has already is moved, and only what is new is sent."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from PIL import Image, ImageDraw

from tilewire.protocol import Message, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import CursorMode, Rotation
from tilewire.server.view import View

from tests.server.sights import captured, memory_of, panel_of, seen, view_of
from tests.server.xclient import painter
from tests.support import Device, device, hello, put_pixels, served

SESSION, PANEL = (1024, 600), (320, 240)


pytestmark = pytest.mark.usefixtures("nothing_stays_open")


def page() -> bytes:
    """Text in columns with headings, as a browser has it."""
    chance = random.Random(9)
    image = Image.new("RGB", SESSION, "#fdfdfb")
    pen = ImageDraw.Draw(image)
    for column in range(0, SESSION[0], 256):
        pen.rectangle((column + 6, 6, column + 240, 24), fill="#246")
        for y in range(10, SESSION[1], 13):
            words = "".join(chance.choice("etaoin shrdlu cmfwyp ") for _ in range(36))
            pen.text((column + 10, y), words, fill="#fff" if y < 20 else chance.choice(["#111", "#111", "#00c"]))
    red, green, blue = image.split()
    return Image.merge("RGBA", (blue, green, red, blue)).tobytes()


def updates(one: Device, since: int) -> Iterator[tuple[m.ViewState, list[Message]]]:
    """What each update that began after so many events drew, with the view that was told before it."""
    state: m.ViewState | None = None
    drawn: list[Message] = []
    for index, event in enumerate(one.events):
        match event:
            case m.ViewState():
                state = event
            case m.Begin():
                drawn = []
            case m.End() if index >= since:
                assert state is not None
                yield state, drawn
            case Message() if event.drawing:
                drawn.append(event)
            case _:
                pass


def kept(before: View, after: View) -> Rect | None:
    """The part of the panel that shows what the panel showed elsewhere before."""
    whole = Rect(0, 0, *PANEL)
    shift = after.shift_from(before)
    assert shift is not None
    # What it had at (x + dx, y + dy) is now at (x, y).
    return whole.intersect(whole.moved(-shift[0], -shift[1]))


@pytest.mark.parametrize("rotation", Rotation)
async def test_a_hundred_pans_send_edges_alone(rotation: Rotation) -> None:
    chance = random.Random(rotation)
    pans = 100 if rotation is Rotation.R0 else 25
    async with served(SESSION) as server:
        with painter(server.name) as client:
            put_pixels(client, Rect(0, 0, *SESSION), page())
            screen = await captured(server.name)
            offer = m.CursorOffer(mode=CursorMode.LOCAL, max_side=32)
            async with device(server.port, hello(panel=PANEL, pixel_format=PixelFormat.RGB565, cursor=offer)) as one:
                at, told = Point(300, 200), 1

                async def pan(to: Point) -> View:
                    await one.say(m.View(mode=0, rotation=rotation, follow=0, origin=to))
                    nonlocal told
                    told += 1
                    await one.until(lambda: len(one.all(m.ViewState)) == told)
                    view = view_of(one.last(m.ViewState), PANEL)
                    await one.until_shown(memory_of(one, seen(screen, view)))
                    return view

                before = await pan(at)
                since, sent, edges = len(one.events), 0, 0
                for _ in range(pans):
                    step = chance.choice([(0, 7), (11, 0), (-9, 5), (0, -40), (chance.randint(-90, 90),) * 2])
                    at = Point(at.x + step[0], at.y + step[1])
                    at = Point(min(max(at.x, 0), 680), min(max(at.y, 0), 280))
                    await pan(at)
                copies = 0
                for state, drawn in updates(one, since):
                    after = view_of(state, panel_of(one))
                    same = kept(before, after)
                    assert same is not None
                    before = after
                    if not drawn:
                        continue
                    assert isinstance(drawn[0], m.Copy)
                    assert drawn[0].rect == same
                    copies += 1
                    for operation in drawn[1:]:
                        rect: Rect = operation.rect  # type: ignore[attr-defined]
                        # Also what is copied within the edges is of the edges.
                        assert rect.intersect(same) is None, f"{operation.name} {rect} of what was kept, {same}"
                        sent += rect.area
                    edges += PANEL[0] * PANEL[1] - same.area
                print(f"{copies} pans: {sent} pixels sent of {edges} in the edges")
                assert copies >= pans // 2
                assert sent <= edges
