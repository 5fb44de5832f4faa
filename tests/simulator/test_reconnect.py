"""The C client on lines that break, against a real server on a busy screen: it comes back and is exact in the end."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from tilewire.protocol import PANELS, Capability, Code, Panel, Point, Rect, Resumed
from tilewire.protocol import messages as m
from tilewire.protocol.constants import CursorMode
from tilewire.server.handshake import Credentials
from tilewire.simulator.device import Device, Setup, open_device

from tests.relay import Relay, relay
from tests.server.xclient import Painter, painter
from tests.support import LOOPBACK, descriptors, put_pixels, quiet, screen_picture, served
from tools import demo
from tools import served as tool

PAGE_BYTES: Final = 40_000
SHARE: Final = 0.02
"""What coming back to a picture that has not changed may cost of the whole."""
CUTS: Final = 15
HURRY: Final = 0.001
WITHIN_S: Final = 60.0
FRAME_S: Final = 1 / 60
KEY: Final = bytes(range(32))
ARROW: Final = ["#" * (20 - row // 2) + "+" * 4 for row in range(24)]


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() - before == set()


def marks(chance: random.Random, rect: Rect) -> bytes:
    """Text's likes: dark marks with soft edges on white."""
    inks = [bytes([grey] * 3 + [0]) for grey in (0, 36, 73, 109, 146, 182, 219)]
    white = bytes([255, 255, 255, 0])
    line = [chance.random() < 0.5 for _ in range(rect.width)]
    return b"".join(
        chance.choice(inks) if y % 14 < 11 and line[x] and (x + y) % 5 else white
        for y in range(rect.height)
        for x in range(rect.width)
    )


def expected_of(panel: Panel, picture: bytes) -> bytes:
    if not panel.big_endian:
        return picture
    swapped = bytearray(picture)
    swapped[0::2], swapped[1::2] = picture[1::2], picture[0::2]
    return bytes(swapped)


async def until_exact(device: Device, name: str) -> None:
    """Return once the device shows the display as it is now."""
    panel = device.panel
    while True:
        state = device.view
        picture = await screen_picture(name, (panel.width, panel.height), panel.pixel_format, state=state)
        expected = expected_of(panel, picture)
        same = await device.wait_for(
            lambda: device.memory() == expected or device.view is not state,  # noqa: B023
            WITHIN_S,
        )
        assert same, f"the picture is another: {device.resumed}"
        if device.memory() == expected:
            return


class Scene:
    """A program that never rests: text that scrolls, a rectangle that moves."""

    def __init__(self, client: Painter, size: tuple[int, int], chance: random.Random) -> None:
        self._client, self._size, self._chance = client, size, chance
        self._lines = [marks(chance, Rect(0, 0, size[0] // 2, 14)) for _ in range(8)]
        self._at = 0
        self.frames = 0

    def step(self) -> None:
        """One frame."""
        client, (width, height) = self._client, self._size
        half = width // 2
        pen = client.window.create_gc()
        client.window.copy_area(pen.id, client.window.id, 0, 14, half, height - 14, 0, 0)
        pen.free()
        put_pixels(client, Rect(0, height - 14, half, 14), self._chance.choice(self._lines))
        client.fill(Rect(half + self._at, self._at // 2, 60, 40), 0xF0F0F0, wait=False)
        self._at = (self._at + 7) % (half - 60)
        client.fill(Rect(half + self._at, self._at // 2, 60, 40), self._chance.randrange(1 << 24))
        if self.frames % 10 == 0:
            client.move_pointer(self._chance.randrange(width), self._chance.randrange(height))
        self.frames += 1

    async def play(self) -> None:
        """At the pace of a screen, until cancelled."""
        while True:
            self.step()
            await trio.sleep(FRAME_S)


@asynccontextmanager
async def playing(scene: Scene) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.play)
        yield
        nursery.cancel_scope.cancel()


def budgets(chance: random.Random, count: int, by_web: bool) -> list[int]:
    """Bytes of the server on each connection. The first sees a whole picture, a few do not get as far as WELCOME."""
    # Of the WebSocket's own handshake: one that breaks there is given up after ten seconds.
    head = 160 if by_web else 0
    spread = (1, 5), (2, 5), (3, 5), (2, 4)
    most = [200 + int(10 ** chance.uniform(*spread[number % 4])) for number in range(count - 1)]
    most[4::5] = [int(10 ** chance.uniform(0, 2.3)) for _ in most[4::5]]
    return [400_000, *(head + budget for budget in most)]


def address(line: Relay, by_web: bool) -> str:
    return f"ws://{LOOPBACK}:{line.port}/" if by_web else f"{LOOPBACK}:{line.port}"


@pytest.mark.parametrize("by_web", [False, True], ids=["native", "web"])
@pytest.mark.parametrize("cursor", [CursorMode.NONE, CursorMode.LOCAL], ids=lambda mode: mode.name)
async def test_coming_back_to_the_same_picture_costs_next_to_nothing(cursor: CursorMode, by_web: bool) -> None:
    panel = PANELS["threadx-512"]
    size = panel.width, panel.height
    async with served(size, credentials=Credentials({"known": KEY})) as server, relay(server.port) as line:
        with painter(server.name) as client:
            client.wear(ARROW)
            client.move_pointer(400, 300)
            put_pixels(client, Rect(0, 0, *size), marks(random.Random(1), Rect(0, 0, *size)))
            setup = Setup(
                panel=panel,
                device_id="known",
                key=KEY,
                cursor=cursor,
                reconnect=True,
                hurry=HURRY,
                capabilities=Capability(0),
            )
            async with open_device(address(line, by_web), setup) as device:
                await until_exact(device, server.name)
                await quiet(0.1)
                whole, screen = line.passed, device.rgb()
                line.cut()
                presented = device.presented
                assert await device.wait_for(lambda: device.connections == 2 and device.presented > presented, WITHIN_S)
                await quiet(0.1)
                print(f"resume {cursor.name} {by_web=}: {line.passed} / {whole} bytes")
                assert device.resumed == [Resumed.NOT_ASKED, Resumed.RESUMED]
                assert whole > PAGE_BYTES
                assert line.passed <= SHARE * whole
                # With its cursor.
                assert device.rgb() == screen
                await until_exact(device, server.name)


@pytest.mark.parametrize(
    ("name", "cursor", "by_web", "seed"),
    [
        ("threadx-512", CursorMode.LOCAL, False, 1),
        ("threadx-512", CursorMode.NONE, True, 2),
        ("iot-256", CursorMode.LOCAL, True, 3),
        ("thin-1g", CursorMode.NONE, False, 4),
        ("mcu", CursorMode.NONE, False, 5),
    ],
)
async def test_a_line_that_breaks_again_and_again(name: str, cursor: CursorMode, by_web: bool, seed: int) -> None:
    panel = PANELS[name]
    chance = random.Random(seed)
    size = min(panel.width, 800), min(panel.height, 480)
    async with served(size) as server, relay(server.port) as line:
        with painter(server.name) as client:
            client.wear(ARROW)
            client.fill(Rect(0, 0, *size), 0xF0F0F0)
            scene = Scene(client, size, chance)
            view = m.View(mode=0, rotation=0, follow=1, origin=Point(3, 5))
            setup = Setup(panel=panel, cursor=cursor, reconnect=True, hurry=HURRY, view=view)
            line.budgets.extend(budgets(chance, CUTS, by_web))
            async with open_device(address(line, by_web), setup) as device:
                async with playing(scene):
                    while line.cuts < CUTS:
                        cuts = line.cuts
                        line.reset = chance.random() < 0.5
                        assert await device.wait_for(lambda: line.cuts > cuts, WITHIN_S)  # noqa: B023
                    # The last one is not cut any more.
                    connections = device.connections
                    assert await device.wait_for(lambda: device.connections > connections, WITHIN_S)
                await until_exact(device, server.name)
                resumed = device.resumed[1:]
                print(f"{name}: {len(resumed)} of {line.cuts} came to WELCOME: {resumed}")
                assert set(resumed) <= {Resumed.RESUMED, Resumed.UNKNOWN_TOKEN}
                # A token is lost with a WELCOME that does not arrive.
                assert resumed.count(Resumed.RESUMED) > len(resumed) * 2 // 3
                assert device.ended is None


async def test_chromium_scrolls_on_a_line_that_breaks(tmp_path: Path) -> None:
    chance = random.Random(6)
    page = "file:///usr/share/doc/python3-doc/html/library/stdtypes.html"
    words = ["run", "--listen", f"{LOOPBACK}:0", "--size", "1024x600", "--"]
    with tool.served([*words, *demo.chromium(page, str(tmp_path / "profile"))], tmp_path / "log") as server:
        found = re.search(r"on display (:\d+),", (tmp_path / "log").read_text())
        assert found is not None
        async with relay(int(server.address.rpartition(":")[2])) as line:
            setup = Setup(cursor=CursorMode.LOCAL, reconnect=True, hurry=HURRY)
            async with open_device(address(line, by_web=False), setup) as device:
                assert await device.wait_for(
                    lambda: len(set(memoryview(device.memory()).cast("H"))) >= demo.CONTENT_COLOURS, WITHIN_S
                )
                device.pointer(500, 300)
                line.budgets.extend(budgets(chance, CUTS, by_web=False)[1:])
                line.cut()
                while line.budgets:
                    seen = device.presented, line.cuts, device.connections
                    device.wheel(0, chance.choice([-240, 240]))
                    await device.wait_for(
                        lambda: seen != (device.presented, line.cuts, device.connections),  # noqa: B023
                        0.2,
                    )
                line.cut_after(None)
                await device.settled(demo.QUIET_S, WITHIN_S)
                await until_exact(device, found[1])
                assert device.resumed.count(Resumed.RESUMED) > len(device.resumed) // 2


# What ends it for good


async def test_a_server_that_has_ended_the_session_is_not_asked_again() -> None:
    panel = PANELS["mcu"]
    async with served((320, 240)) as server, relay(server.port) as line:
        async with open_device(address(line, by_web=False), Setup(panel=panel, reconnect=True, hurry=HURRY)) as device:
            await device.whole_picture()
            server.session.end(Code.SESSION_ENDED, "gimp ended")
            with trio.fail_after(WITHIN_S):
                while device.ended is None:
                    await quiet(0.01)
            assert device.ended == "the server said goodbye: gimp ended"
        assert line.connections == 1


@pytest.mark.parametrize("reset", [False, True])
async def test_hands_on_a_device_whose_line_is_down(reset: bool) -> None:
    """Input is dropped; a view is asked for, and a panel that is off is said to be, when the line is back."""
    panel = PANELS["mcu"]
    view = m.View(mode=1, rotation=1, follow=0, origin=Point(0, 0))
    async with served((400, 300)) as server, relay(server.port) as line:
        with painter(server.name) as client:
            async with open_device(address(line, by_web=False), Setup(panel=panel, reconnect=True, hurry=0.02)) as one:
                await until_exact(one, server.name)
                line.reset = reset
                line.cut()
                assert await one.wait_for(lambda: one.is_down, WITHIN_S)
                one.click(3, 4)
                one.key([0x61])
                one.touch((1, 1))
                one.wheel(0, 120)
                one.type("text")
                one.look(view)
                one.pause(True)
                assert await one.wait_for(lambda: one.connections == 2, WITHIN_S)
                assert await one.wait_for(lambda: one.view is not None and one.view.rotation == 1, WITHIN_S)
                await quiet(0.1)
                presented = one.presented
                client.fill(Rect(0, 0, 100, 100), 0x00FF00)
                await quiet(0.1)
                assert one.presented == presented
                one.pause(False)
                await until_exact(one, server.name)
