"""What others do: nothing starves a viewer of pictures, and every picture is announced."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import groupby

import pytest
import trio

from tilewire.protocol import Capability, CursorMode, NoticeCode, PixelFormat, Point, Rect, Resumed
from tilewire.protocol import messages as m
from tilewire.protocol.constants import ControlAction
from tilewire.server import transport
from tilewire.server.encoder import Encoder
from tilewire.server.pixels import Screen
from tilewire.server.view import View

from tests.server.xclient import painter
from tests.support import EVERYTHING, Device, device, hello, served

SLOW_S = 0.005
LOCAL = m.CursorOffer(mode=CursorMode.LOCAL, max_side=32)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write takes a while, as on a full link."""
    send = transport.NativeTransport.send

    @functools.wraps(send)
    async def slowly(self: transport.NativeTransport, data: bytes) -> None:
        await trio.sleep(SLOW_S)
        await send(self, data)

    monkeypatch.setattr(transport.NativeTransport, "send", slowly)


@asynccontextmanager
async def busy(one: Device, what: str) -> AsyncIterator[None]:
    """A device that never rests inside the block."""

    async def move() -> None:
        number = 0
        while True:
            number += 1
            await one.point(number % 200, number // 7 % 120)
            await trio.sleep(0.001)

    async def toggle() -> None:
        while True:
            await one.say(m.Control(action=ControlAction.RELEASE))
            await one.say(m.Control(action=ControlAction.ASK))
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move if what == "moves" else toggle)
        yield
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("what", ["moves", "toggles"])
async def test_pictures_go_on_whatever_others_do(what: str) -> None:
    async with served() as server, device(server.port) as one, device(server.port, hello(cursor=LOCAL)) as other:
        with painter(server.name) as client:
            await other.until(lambda: other.updates)
            async with busy(one, what):
                for colour in range(1, 31):
                    seen = other.updates
                    client.fill(Rect(0, 0, 50, 50), colour * 0x030507)
                    await other.until(lambda seen=seen: other.updates > seen)  # type: ignore[misc]
        await server.until_exact(one, other)


@pytest.mark.usefixtures("slow")
async def test_every_view_is_announced_before_its_picture() -> None:
    """While a clipboard is under way, which is written between updates too."""
    greeting = hello(panel=(64, 48), capabilities=EVERYTHING | Capability.CLIPBOARD)
    async with served() as server, device(server.port, greeting) as one:
        other_greeting = hello(capabilities=EVERYTHING | Capability.CLIPBOARD)
        async with device(server.port, other_greeting) as other:
            with painter(server.name) as client:
                for x in range(0, 200, 8):
                    client.fill(Rect(x, 0, 8, 120), 0x010203 * x)
                await one.until(lambda: one.updates)
                text = b"x" * 4000
                for x in range(40):
                    await one.say(m.Clipboard(total=len(text), offset=0, data=text))
                    await other.say(m.View(mode=0, rotation=x % 4, follow=0, origin=Point(x, x)))
                    await one.say(m.View(mode=x % 2, rotation=x % 4, follow=0, origin=Point(x, x)))
                    await one.until(lambda x=x: one.last(m.ViewState).rotation == x % 4)  # type: ignore[misc]
                    # The first update after it shows just that: the reference is drawn from the announcement.
                    await server.until_exact(one)


async def test_a_screen_that_was_made_another_size_is_announced_as_such() -> None:
    async with served() as server, device(server.port) as one:
        await one.until(lambda: one.updates)
        await one.say(m.Pause(paused=1))
        sizes = [(200, 120), (150, 100), (151, 99), (200, 120)]
        for width, height in sizes[1:]:
            await one.say(m.ResizeSession(width=width, height=height))
            size = m.Size(width=width, height=height)
            await one.until(lambda size=size: one.last(m.ViewState).session == size)  # type: ignore[misc]
        told = [(state.session.width, state.session.height) for state in one.all(m.ViewState)]
        assert [size for size, _ in groupby(told)] == sizes
        assert not one.all(m.Notice)


async def test_who_waits_for_control_sets_no_clipboard() -> None:
    greeting = hello(capabilities=EVERYTHING | Capability.CLIPBOARD)
    async with served() as server, device(server.port) as one, device(server.port, greeting) as other:
        await one.until(lambda: one.updates)
        await other.say(m.Clipboard(total=2, offset=0, data=b"no"))
        await other.until(lambda: other.last(m.Notice))
        assert other.last(m.Notice).code == NoticeCode.CLIPBOARD


async def test_a_device_that_said_goodbye_gave_up_its_token() -> None:
    async with served() as server:
        async with device(server.port) as one:
            await one.until(lambda: one.updates)
            await one.say(m.Goodbye(code=0))
            await one.until_ended()
        async with device(server.port, earlier=one) as again:
            assert again.welcome.resumed == Resumed.UNKNOWN_TOKEN


def test_lossy_pixels_of_an_earlier_connection_are_made_exact_wherever_they_move() -> None:
    size = (128, 128)
    screen = Screen(256, 128)
    photo = bytes(b for y in range(128) for x in range(256) for b in (x * 7 & 255, x + y & 255, y * 5 & 255, 0))
    screen.blit(Rect(0, 0, 256, 128), photo)
    offer = hello(panel=size, pixel_format=PixelFormat.XRGB8888, jpeg=m.JpegOffer(subsamplings=15, scales=3))
    earlier = Encoder(offer, Capability.COPY)
    view = View((256, 128), size)
    earlier.convert(screen, view, [earlier.panel])
    earlier.build([earlier.panel], now_s=1.0)
    assert earlier.shadow.count(earlier.panel).lossy
    encoder = Encoder(hello(panel=size, pixel_format=PixelFormat.XRGB8888), Capability.COPY)
    encoder.adopt(earlier, 1)
    moved = view.panned(Point(60, 0))
    encoder.convert(screen, moved, [encoder.panel])
    encoder.build([encoder.panel], moved.shift_from(view) or (0, 0), 2.0)
    for second in range(3, 20):
        encoder.refine(float(second))
    assert encoder.shadow.count(encoder.panel).exact == encoder.panel.area
