"""A viewer's patience, on a clock that jumps: a display and a device that are fakes, and a link of any speed."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing

from tilewire.protocol import (
    Capability,
    Code,
    Connection,
    Message,
    Need,
    PixelFormat,
    Point,
    Rect,
    RemoteProtocolError,
    Sender,
)
from tilewire.protocol import messages as m
from tilewire.protocol.constants import INPUT_ECHO_MS, PING_INTERVAL_S
from tilewire.server.display import BellRang, Capture, Input, News, Patch
from tilewire.server.session import Session
from tilewire.server.transport import Gone
from tilewire.server.viewers import STALLED_S

from tests.support import EVERYTHING, hello

WIDTH, HEIGHT = 64, 48


class FakeDisplay:
    """A screen of one colour at a time."""

    name = ":fake"
    size = (WIDTH, HEIGHT)
    pointer = (0, 0)
    pointer_serial = 0
    cursor = None

    def __init__(self) -> None:
        self.is_dirty = False
        self.injected: list[Input] = []
        self._serial: int | None = None
        self._colour = 0
        self._change = trio.Event()

    def paint(self) -> None:
        self._colour += 1
        self.is_dirty = True
        self._change.set()
        self._change = trio.Event()

    async def wait_damage(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.is_dirty:
            await self._change.wait()

    async def capture_all(self) -> Capture:
        return await self.capture()

    async def capture(self) -> Capture:
        await trio.lowlevel.checkpoint()
        self.is_dirty = False
        rect = Rect(0, 0, WIDTH, HEIGHT)
        pixels = bytearray((self._colour * 7919 + index // 4 * 31) & 0xFF for index in range(4 * rect.area))
        return Capture(self.size, (rect,), (Patch(rect, pixels),), self._serial)

    async def inject(self, inputs: Sequence[Input], *, owner: int, serial: int) -> int:
        await trio.lowlevel.checkpoint()
        self.injected += inputs
        self._serial = serial

        self.pointer_serial = serial
        return 0

    async def release_all(self, owner: int) -> None:
        await trio.lowlevel.checkpoint()

    def want_clipboard(self, wanted: bool) -> None:
        pass

    async def news(self) -> AsyncIterator[News]:
        while True:
            await trio.Event().wait()
            yield BellRang()


class FakeLink:
    """A device behind a link of `bytes_per_s`; nothing is buffered on the way."""

    peer = "nowhere"

    def __init__(self, bytes_per_s: float, *, acks: bool = True, pongs: bool = True) -> None:
        self.clean = True
        self.heard: list[tuple[float, Message]] = []
        self.client = Connection(Sender.CLIENT)
        self.bytes_per_s = bytes_per_s
        self._acks, self._pongs = acks, pongs
        self._to_server, self._from_client = trio.open_memory_channel[bytes](math.inf)

    def say(self, message: Message | m.Hello) -> None:
        self._to_server.send_nowait(self.client.send(message))

    def say_raw(self, message: Message) -> None:
        """Whatever our own rules say."""
        self._to_server.send_nowait(message.encode())

    @property
    def unread(self) -> int:
        """Messages of the device that the server has not taken yet."""
        return self._from_client.statistics().current_buffer_used

    def times(self, kind: type[Any]) -> list[float]:
        return [at for at, message in self.heard if isinstance(message, kind)]

    async def receive(self) -> bytes:
        return await self._from_client.receive()

    async def send(self, data: bytes) -> None:
        self.clean = False
        await trio.sleep(len(data) / self.bytes_per_s)
        self.clean = True
        self.client.receive_data(data)
        while not isinstance(event := self.client.next_event(), Need):
            if isinstance(event, Message):
                self.heard.append((trio.current_time(), event))
            if isinstance(event, m.End) and self._acks:
                self.say(m.Ack(update=self.client.rules.ended, decode_us=0))
            if isinstance(event, m.Ping) and self._pongs:
                self.say(m.Pong(stamp=event.stamp))

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()


class Life:
    """One viewer's, from WELCOME on."""

    def __init__(self, display: FakeDisplay, link: FakeLink) -> None:
        self.display, self.link = display, link
        self.began = trio.current_time()
        self.end: tuple[float, Code | None] | None = None

    async def live(self, session: Session, server: Connection, greeting: m.Hello) -> None:
        code = None
        try:
            await session.serve(server, self.link, greeting)
        except RemoteProtocolError as error:
            code = error.code
        except Gone:
            pass
        self.end = trio.current_time() - self.began, code


@asynccontextmanager
async def life(link: FakeLink, fps: int = 30, **more: Any) -> AsyncIterator[Life]:
    display = FakeDisplay()
    session = Session("main", display, fps)  # type: ignore[arg-type]
    greeting = hello(panel=(WIDTH, HEIGHT), pixel_format=PixelFormat.XRGB8888, **more)
    server = Connection(Sender.SERVER)
    server.receive_data(link.client.send(greeting))
    assert server.next_event() == greeting
    link.client.receive_data(server.send(m.Reply(version=1, method=1, nonce=bytes(16))))
    assert isinstance(link.client.next_event(), m.Reply)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.watch)
        lived = Life(display, link)
        nursery.start_soon(lived.live, session, server, greeting)
        yield lived
        nursery.cancel_scope.cancel()


async def test_who_takes_bytes_is_not_let_go_however_thin_the_link(autojump_clock: trio.testing.MockClock) -> None:
    # One slice in just under the limit, the whole update in several times that.
    link = FakeLink(bytes_per_s=1.5 * 16384 / STALLED_S / 2)
    async with life(link, max_message=1 << 20) as viewer:
        await trio.sleep(1)
        viewer.display.paint()
        await trio.sleep(20 * STALLED_S)
        assert viewer.end is None
        assert len(link.times(m.End)) >= 2


@pytest.mark.parametrize("bytes_per_s", [1e-9, 16384 / STALLED_S / 1e6])
async def test_who_takes_none_is_let_go(autojump_clock: trio.testing.MockClock, bytes_per_s: float) -> None:
    async with life(FakeLink(bytes_per_s)) as viewer:
        await trio.sleep(STALLED_S * 1.1)
        assert viewer.end is not None
        assert viewer.end[0] == pytest.approx(STALLED_S, abs=1)


@pytest.mark.parametrize("message", [m.Ping(stamp=1), m.Setting(fps=30, quality=50, adaptive=0)])
async def test_who_asks_without_reading_the_answers_has_to_wait(
    autojump_clock: trio.testing.MockClock, message: Message
) -> None:
    link = FakeLink(bytes_per_s=1e6)
    async with life(link) as viewer:
        await trio.sleep(1)
        link.bytes_per_s = 10
        for _ in range(5000):
            link.say(message)
        await trio.sleep(STALLED_S / 2)
        # What was asked meanwhile would fill the memory.
        assert link.unread > 4500
        assert viewer.end is None


async def test_who_acknowledges_nothing_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    async with life(FakeLink(1e6, acks=False)) as viewer:
        await trio.sleep(STALLED_S * 2)
        assert viewer.end is not None
        assert viewer.end[1] == Code.TOO_SLOW
        assert viewer.end[0] == pytest.approx(STALLED_S, abs=1)


async def test_the_silent_are_pinged_three_times_and_let_go(autojump_clock: trio.testing.MockClock) -> None:
    link = FakeLink(1e6, pongs=False)
    async with life(link) as viewer:
        await trio.sleep(10 * PING_INTERVAL_S)
        assert viewer.end is not None
        assert viewer.end[1] == Code.TIMEOUT
        assert viewer.end[0] == pytest.approx(4 * PING_INTERVAL_S, abs=1)
        pings = [at - viewer.began for at in link.times(m.Ping)]
        assert pings == pytest.approx([PING_INTERVAL_S * number for number in (1, 2, 3)], abs=1)


async def test_those_who_answer_stay_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    link = FakeLink(1e6)
    async with life(link) as viewer:
        await trio.sleep(1000 * PING_INTERVAL_S)
        assert viewer.end is None
        assert len(link.times(m.Ping)) == pytest.approx(1000, abs=2)


async def test_an_echo_comes_alone_after_its_time_even_if_inputs_never_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    link = FakeLink(1e6)
    async with life(link):
        await trio.sleep(1)
        sent = []
        for number in range(1, 200):
            link.say(m.Pointer(input=number, position=Point(number % WIDTH, 1), buttons=0))
            sent.append(trio.current_time())
            await trio.sleep(0.01)
        await trio.sleep(1)
        echoes = [(at, message.input) for at, message in link.heard if isinstance(message, m.InputEcho)]
        assert echoes[-1][1] == 199
        assert [number for _, number in echoes] == sorted({number for _, number in echoes})
        for at, number in echoes:
            assert at - sent[number - 1] == pytest.approx(INPUT_ECHO_MS / 1000, abs=0.02)


async def test_the_first_change_goes_out_at_once_and_the_rest_at_the_rate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    link = FakeLink(1e9)
    async with life(link, fps=10) as viewer:
        await trio.sleep(5)
        before = len(link.times(m.Begin))
        start = trio.current_time()
        for _ in range(200):
            viewer.display.paint()
            await trio.sleep(0.005)
        begins = [at - start for at in link.times(m.Begin)[before:]]
        assert begins[0] == pytest.approx(0, abs=1e-3)
        assert len(begins) == pytest.approx(10, abs=1)
        assert all(later - sooner >= 0.1 - 1e-6 for sooner, later in pairwise(begins))


async def test_a_window_that_is_dragged_gets_few_framebuffers(autojump_clock: trio.testing.MockClock) -> None:
    link = FakeLink(1e9)
    async with life(link, capabilities=EVERYTHING | Capability.RESIZE):
        await trio.sleep(1)
        for number in range(100):
            link.say(m.Resize(width=30 + number, height=20))
            await trio.sleep(0.01)
        await trio.sleep(1)
        sizes = [message for _, message in link.heard if isinstance(message, m.Resize)]
        assert sizes[-1] == m.Resize(width=129, height=20)
        assert len(sizes) <= 12
