"""A device that comes back at any moment: the session and its viewers with a display and lines that are fakes."""

from __future__ import annotations

import gc
import math
import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest
import trio
import trio.testing

from tilewire.protocol import Code, Connection, Message, PixelFormat, Rect, RemoteProtocolError, Resumed, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.constants import PING_INTERVAL_S, RESUME_S
from tilewire.protocol.reference import Framebuffer
from tilewire.server import session as sessions
from tilewire.server import viewers
from tilewire.server.cursor import Overlay
from tilewire.server.display import Capture, Patch
from tilewire.server.encoder import Encoder
from tilewire.server.kept import Kept
from tilewire.server.pixels import Screen
from tilewire.server.session import Session
from tilewire.server.transport import FAREWELL_S, Gone
from tilewire.server.view import View
from tilewire.server.viewers import STALLED_S

from tests.server.test_viewer_time import FakeDisplay, FakeLink
from tests.support import hello

WIDTH, HEIGHT = 96, 64
WITHIN_S: Final = 30.0
FAST: Final = 1e9
SLOW: Final = 1e5
"""Bytes in a second."""


class Canvas(FakeDisplay):
    """A screen that is painted on here and there."""

    size = (WIDTH, HEIGHT)

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(1)
        self._pixels = bytearray(4 * WIDTH * HEIGHT)
        self._damage = [Rect(0, 0, WIDTH, HEIGHT)]
        self.paint()

    def paint(self) -> None:
        chance = self.chance
        x, y = chance.randrange(WIDTH), chance.randrange(HEIGHT)
        rect = Rect(x, y, chance.randint(1, WIDTH - x), chance.randint(1, HEIGHT - y))
        colour = chance.randbytes(3) + b"\0"
        for row in range(rect.y, rect.bottom):
            noise = chance.random() < 0.2
            at, length = 4 * (row * WIDTH + rect.x), rect.width
            new = b"".join(chance.randbytes(3) + b"\0" for _ in range(length)) if noise else colour * length
            self._pixels[at : at + 4 * length] = new
        self._damage.append(rect)
        super().paint()

    async def capture(self) -> Capture:
        await trio.lowlevel.checkpoint()
        self.is_dirty = False
        rects, self._damage = tuple(self._damage), []
        return Capture(self.size, rects, tuple(Patch(rect, self._cut(rect)) for rect in rects), self._serial)

    def _cut(self, rect: Rect) -> bytearray:
        rows = range(rect.y, rect.bottom)
        return bytearray().join(
            self._pixels[4 * (row * WIDTH + rect.x) : 4 * (row * WIDTH + rect.right)] for row in rows
        )

    def values(self) -> list[int]:
        """What a device shows of it."""
        return [int.from_bytes(self._pixels[at : at + 3], "little") for at in range(0, len(self._pixels), 4)]


class Line(FakeLink):
    """A device's connection, with the framebuffer that all of the device's connections draw on."""

    def __init__(self, framebuffer: Framebuffer, bytes_per_s: float = FAST, **how: bool) -> None:
        super().__init__(bytes_per_s, **how)
        self.framebuffer = framebuffer
        self.left = False
        """Whether the device has gone on to another connection."""
        self.cut_after: int | None = None
        """Bytes of the server."""
        self._is_cut = False
        self._drawn = 0

    def cut(self) -> None:
        """Nothing comes through any more."""
        self.left = self._is_cut = True
        self._to_server.close()

    def say(self, message: Message | m.Hello) -> None:
        if not self.left:
            super().say(message)

    async def receive(self) -> bytes:
        try:
            return await super().receive()
        except trio.EndOfChannel:
            return b""

    async def send(self, data: bytes) -> None:
        if self._is_cut:
            self.clean = False
            await trio.sleep(len(data) / self.bytes_per_s)
            raise Gone("cut")
        if self.cut_after is not None:
            whole, data = len(data), data[: self.cut_after]
            self.cut_after -= len(data)
            if len(data) < whole:
                if data:
                    await self._carry(data)
                self.cut()
                raise Gone("cut")
        await self._carry(data)

    def is_in_an_update(self) -> bool:
        """Whether bytes are on their way, or an update has begun and has not ended."""
        return not self.clean or self.client.rules.begun > self.client.rules.ended

    async def _carry(self, data: bytes) -> None:
        await super().send(data)
        if self.left:
            return
        for _, message in self.heard[self._drawn :]:
            self.framebuffer.apply(message)
        self._drawn = len(self.heard)

    def last(self, kind: type[Any]) -> Any:
        return next((message for _, message in reversed(self.heard) if isinstance(message, kind)), None)

    def offer(self) -> m.ResumeOffer:
        """What WELCOME said of a later connection."""
        found: m.ResumeOffer = self.last(m.Welcome).resume
        return found

    def resumed(self) -> int | None:
        """What WELCOME said of the earlier connection; None before it has come."""
        welcome = self.last(m.Welcome)
        return None if welcome is None else welcome.resumed


class Visit:
    """One connection of a device."""

    def __init__(self, greeting: m.Hello, line: Line) -> None:
        self.greeting, self.line = greeting, line
        self.end: Code | None = None
        """What it was told at the end."""
        self.ended_s = math.inf

    def comes_back(self) -> m.Hello:
        """From now on the device looks at its next connection alone."""
        self.line.left = True
        request = m.ResumeRequest(token=self.line.offer().token, update=self.line.client.rules.ended)
        return replace(self.greeting, nonce=os.urandom(16), resume=request)


class World:
    """A session, and whoever comes."""

    def __init__(self, nursery: trio.Nursery, resume_s: float) -> None:
        self.display = Canvas()
        self.session = Session("main", self.display, 60, resume_s=resume_s)  # type: ignore[arg-type]
        self._nursery = nursery

    def arrive(self, greeting: m.Hello, line: Line, earlier: Visit | None = None) -> Visit:
        """A device has shaken hands."""
        server = Connection(Sender.SERVER)
        server.receive_data(line.client.send(greeting))
        assert server.next_event() == greeting
        if earlier is not None:
            line.framebuffer.model = None
            line.client.rules.adopt(earlier.line.client.rules)
        line.client.receive_data(server.send(m.Reply(version=1, method=1, nonce=bytes(16))))
        assert isinstance(line.client.next_event(), m.Reply)
        visit = Visit(greeting, line)
        self._nursery.start_soon(self._live, visit, server)
        return visit

    async def _live(self, visit: Visit, server: Connection) -> None:
        try:
            await self.session.serve(server, visit.line, visit.greeting)
        except RemoteProtocolError as error:
            visit.end = error.code
        except Gone:
            pass
        visit.ended_s = trio.current_time()

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(WITHIN_S):
            while not condition():  # noqa: ASYNC110
                await trio.sleep(0.001)

    async def until_exact(self, visit: Visit) -> None:
        """The device shows the screen."""
        await self.until(lambda: visit.line.framebuffer.pixels == self.display.values())


@asynccontextmanager
async def world(resume_s: float = RESUME_S) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        made = World(nursery, resume_s)
        nursery.start_soon(made.session.watch)
        yield made
        nursery.cancel_scope.cancel()


def greet(**more: Any) -> m.Hello:
    known: dict[str, Any] = {"panel": (WIDTH, HEIGHT), "pixel_format": PixelFormat.XRGB8888}
    return hello(**(known | more))


# At any moment


@pytest.mark.parametrize("threads", [False, True], ids=["inline", "threads"])
@pytest.mark.parametrize("way", ["cut", "cut inside", "taken over"])
async def test_a_device_that_comes_back_at_any_step_of_its_viewer(
    way: str, threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the old viewer is about: waiting, converting, encoding, writing."""
    if threads:
        monkeypatch.setattr(sessions, "INLINE_PIXELS", 0)
        monkeypatch.setattr(viewers, "INLINE_PIXELS", 0)
        monkeypatch.setattr(viewers, "MOVE_MIN_AREA", 0)
    chance = random.Random(2)
    greeting = greet(model_kib=16, cache=m.CacheOffer(slots=8, slot_bytes=1024))
    framebuffer = Framebuffer.of(greeting)
    async with world() as here:
        visit = here.arrive(greeting, Line(framebuffer))
        await here.until_exact(visit)
        torn = 0
        for step in range(150):
            line = visit.line
            line.bytes_per_s = chance.choice([FAST, 1e6, SLOW])
            for _ in range(chance.randint(1, 3)):
                here.display.paint()
            if way == "cut inside":
                line.cut_after = chance.randrange(900)
                with trio.fail_after(WITHIN_S):
                    while not line.left:
                        here.display.paint()
                        await trio.sleep(0.001)
            elif step % 5 == 0:
                line.bytes_per_s = SLOW
                with trio.fail_after(WITHIN_S):
                    while not line.is_in_an_update():
                        here.display.paint()
                        await trio.sleep(0.001)
            else:
                for _ in range(step % 50):
                    await trio.lowlevel.checkpoint()
            torn += line.is_in_an_update()
            again = visit.comes_back()
            if way == "cut":
                line.cut()
            visit = here.arrive(again, Line(framebuffer), earlier=visit)
            await here.until(lambda: visit.line.resumed() is not None)  # noqa: B023
            assert visit.line.resumed() == Resumed.RESUMED, step
            if step % 3:
                await here.until_exact(visit)
        await here.until_exact(visit)
        # Not all of them were at rest, however fast the machine is.
        assert torn >= 30


class Gate:
    """Stops an encoder's thread where it converts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sessions, "INLINE_PIXELS", 0)
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Event()
        convert = Encoder.convert

        def slowly(
            encoder: Encoder, screen: Screen, view: View, damage: list[Rect], cursor: Overlay | None = None
        ) -> None:
            if not self.open.is_set():
                self.waiting.set()
                assert self.open.wait(30)
            convert(encoder, screen, view, damage, cursor)

        monkeypatch.setattr(Encoder, "convert", slowly)


async def test_two_with_the_same_token_while_the_old_viewer_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    greeting = greet()
    framebuffer = Framebuffer.of(greeting)
    async with world() as here:
        visit = here.arrive(greeting, Line(framebuffer))
        await here.until_exact(visit)
        gate.open.clear()
        here.display.paint()
        await here.until(gate.waiting.is_set)
        again = visit.comes_back()
        first = here.arrive(again, Line(framebuffer), earlier=visit)
        await trio.testing.wait_all_tasks_blocked()
        second = here.arrive(replace(again, nonce=os.urandom(16)), Line(Framebuffer.of(greeting)))
        await trio.testing.wait_all_tasks_blocked()
        # Both wait for the encoder, and nothing has been used up twice.
        assert first.line.resumed() is None
        assert second.line.resumed() is None
        gate.open.set()
        await here.until(lambda: second.line.resumed() is not None)
        await here.until(lambda: first.end == Code.REPLACED)
        assert visit.end == Code.REPLACED
        assert first.line.resumed() in (None, Resumed.RESUMED)
        assert second.line.resumed() == Resumed.UNKNOWN_TOKEN
        await here.until_exact(second)
        here.display.paint()
        await here.until_exact(second)


async def test_what_was_built_and_not_sent_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old viewer is stopped between the encoder and the line."""
    gate = Gate(monkeypatch)
    greeting = greet()
    framebuffer = Framebuffer.of(greeting)
    async with world() as here:
        visit = here.arrive(greeting, Line(framebuffer))
        await here.until_exact(visit)
        for _ in range(5):
            gate.open.clear()
            gate.waiting.clear()
            here.display.paint()
            await here.until(gate.waiting.is_set)
            visit, old = here.arrive(visit.comes_back(), Line(framebuffer), earlier=visit), visit
            await trio.testing.wait_all_tasks_blocked()
            gate.open.set()
            await here.until_exact(visit)
            await here.until(lambda: old.end == Code.REPLACED)  # noqa: B023
            assert visit.line.resumed() == Resumed.RESUMED


# In no time at all


@pytest.fixture
def patient_clock(autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """A clock that jumps, but not while an encoder's thread is at work."""
    autojump_clock.autojump_threshold = 0.05
    return autojump_clock


async def test_a_device_is_served_at_once_while_its_old_line_is_stuck(patient_clock: trio.testing.MockClock) -> None:
    greeting = greet()
    framebuffer = Framebuffer.of(greeting)
    async with world() as here:
        visit = here.arrive(greeting, Line(framebuffer))
        await here.until_exact(visit)
        visit.line.bytes_per_s = 1e-6
        here.display.paint()
        await trio.sleep(1)
        assert not visit.line.clean
        here.display.paint()
        began = trio.current_time()
        again = here.arrive(visit.comes_back(), Line(framebuffer), earlier=visit)
        await here.until_exact(again)
        assert trio.current_time() - began == pytest.approx(0, abs=0.1)
        assert visit.ended_s == math.inf
        await trio.sleep(2 * FAREWELL_S)
        assert visit.end == Code.REPLACED
        assert visit.ended_s - began == pytest.approx(FAREWELL_S, abs=0.1)


async def test_the_old_viewer_leaves_the_encoder_alone(patient_clock: trio.testing.MockClock) -> None:
    """It was writing something else, is through with that, and would send an update next."""
    greeting = greet()
    framebuffer = Framebuffer.of(greeting)
    async with world() as here:
        visit = here.arrive(greeting, Line(framebuffer))
        await here.until_exact(visit)
        await trio.sleep(1)
        # A PONG takes a quarter of what there is for a goodbye, and who has control now as long again.
        visit.line.bytes_per_s = 4 * len(m.Pong(stamp=1).encode()) / FAREWELL_S
        visit.line.say(m.Ping(stamp=1))
        await trio.sleep(FAREWELL_S / 10)
        assert not visit.line.clean
        again = here.arrive(visit.comes_back(), Line(framebuffer), earlier=visit)
        await here.until(lambda: again.line.last(m.End))
        again.line.say(m.Pause(paused=1))
        await trio.sleep(FAREWELL_S / 10)
        here.display.paint()
        await trio.sleep(2 * FAREWELL_S)
        assert visit.end == Code.REPLACED
        again.line.say(m.Pause(paused=0))
        await here.until_exact(again)


@pytest.mark.parametrize("resume_s", [5.0, RESUME_S])
async def test_a_token_is_good_for_as_long_as_was_said(patient_clock: trio.testing.MockClock, resume_s: float) -> None:
    greeting = greet()
    framebuffer = Framebuffer.of(greeting)
    async with world(resume_s) as here:
        visit = here.arrive(greeting, Line(framebuffer))
        await here.until_exact(visit)
        for away_s, verdict in (
            (0.0, Resumed.RESUMED),
            (resume_s - 0.01, Resumed.RESUMED),
            (resume_s + 0.01, Resumed.UNKNOWN_TOKEN),
        ):
            again = visit.comes_back()
            visit.line.cut()
            await here.until(lambda: visit.ended_s < math.inf)  # noqa: B023
            await trio.sleep_until(visit.ended_s + away_s)
            visit = here.arrive(again, Line(framebuffer), earlier=visit)
            await here.until(lambda: visit.line.resumed() is not None)  # noqa: B023
            assert visit.line.resumed() == verdict
            assert visit.line.offer().lifetime_s == resume_s
            await here.until_exact(visit)


async def test_what_nobody_comes_back_to_is_let_go_in_time(patient_clock: trio.testing.MockClock) -> None:
    def how_many() -> int:
        gc.collect()
        return sum(isinstance(thing, Kept) for thing in gc.get_objects())

    before = how_many()
    async with world() as here:
        for number in range(3):
            greeting = greet(device_id=f"d{number}")
            visit = here.arrive(greeting, Line(Framebuffer.of(greeting)))
            await here.until_exact(visit)
            visit.line.cut()
            await trio.sleep(10)
            assert how_many() == before + number + 1
        # The first left 30 s ago.
        for left in (3, 2, 1):
            await trio.sleep(RESUME_S - 31 if left == 3 else 10)
            assert how_many() == before + left
        await trio.sleep(12)
        assert how_many() == before


@pytest.mark.parametrize(("how", "code"), [({"pongs": False}, Code.TIMEOUT), ({"acks": False}, Code.TOO_SLOW)])
async def test_a_device_that_was_given_up_comes_back(
    patient_clock: trio.testing.MockClock, how: dict[str, bool], code: Code
) -> None:
    greeting = greet()
    framebuffer = Framebuffer.of(greeting)
    async with world() as here:
        visit = here.arrive(greeting, Line(framebuffer, **how))
        await here.until_exact(visit)
        await trio.sleep(max(5 * PING_INTERVAL_S, STALLED_S + 1))
        assert visit.end == code
        here.display.paint()
        again = here.arrive(visit.comes_back(), Line(framebuffer), earlier=visit)
        await here.until_exact(again)
        assert again.line.resumed() == Resumed.RESUMED


async def test_nobody_goes_on_from_a_viewer_that_is_being_thrown_out(patient_clock: trio.testing.MockClock) -> None:
    """Its goodbye waits for an update that a slow line takes."""
    greeting = greet()
    framebuffer = Framebuffer.of(greeting)
    async with world() as here:
        visit = here.arrive(greeting, Line(framebuffer))
        await here.until_exact(visit)
        visit.line.bytes_per_s = 1e-6
        here.display.paint()
        await trio.sleep(0.5)
        visit.line.say_raw(m.Ack(update=visit.line.client.rules.ended + 9, decode_us=0))
        await trio.sleep(FAREWELL_S / 2)
        assert visit.ended_s == math.inf
        again = here.arrive(visit.comes_back(), Line(Framebuffer.of(greeting)))
        await here.until(lambda: again.line.resumed() is not None)
        assert again.line.resumed() == Resumed.UNKNOWN_TOKEN
        await here.until_exact(again)
        await trio.sleep(FAREWELL_S)
        assert visit.end == Code.BAD_ACK
