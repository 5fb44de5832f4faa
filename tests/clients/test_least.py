"""The least client that tw_config.h can make, on a real socket: small is not all that it has to be."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from PIL import Image

from tilewire.protocol import Capability, EndOfStream, Event, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.wire import Message

from tests.clients.support import palette, reply, welcome
from tests.clients.test_build import C99, INCLUDES, SOURCES, THREADX, compiler, run
from tests.clients.test_posix import Peer
from tests.server.xclient import painter
from tests.support import put_pixels
from tools.served import served
from tools.sizes import LEAST

WIDTH, HEIGHT = 200, 120
BYTES = 2 * WIDTH * HEIGHT
WITHIN_S = 60
"""Long: a limit for what never comes, not a measure."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Under the sanitizers."""
    port = THREADX / "ports/posix"
    made = tmp_path_factory.mktemp("least") / "least"
    flags = [*C99, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    switches = [f"-DTW_WITH_{name}=0" for name in LEAST]
    sources = [*SOURCES, port / "tw_posix.c", port / "tw_posix_tls.c", Path(__file__).with_name("least_device.c")]
    run(compiler("gcc"), *flags, *switches, *INCLUDES, f"-I{port}", *sources, "-o", made)
    return made


class Least:
    """A running one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._in: IO[bytes] = process.stdin
        self._out: IO[bytes] = process.stdout

    def say(self, line: str) -> None:
        self._in.write(line.encode() + b"\n")
        self._in.flush()

    def picture(self) -> bytes:
        self.say("s")
        data = self._out.read(BYTES)
        assert len(data) == BYTES, self.process.wait(WITHIN_S)
        return data

    def until(self, picture: bytes) -> None:
        """Return once the framebuffer is this, RGB565 and little-endian."""
        deadline = time.monotonic() + WITHIN_S
        while (seen := self.picture()) != picture:
            assert time.monotonic() < deadline, f"{sum(a != b for a, b in zip(seen, picture))} bytes differ"

    def quit(self) -> None:
        self.say("q")
        assert self.process.wait(WITHIN_S) == 0


@contextmanager
def running(program: Path, port: int) -> Iterator[Least]:
    words = [str(program), "127.0.0.1", str(port)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=-1) as process:
        try:
            yield Least(process)
        finally:
            process.kill()


def in_565(picture: Image.Image) -> bytes:
    """By truncation, as the wire has it."""
    values = ((r >> 3) << 11 | (g >> 2) << 5 | b >> 3 for r, g, b in zip(*[iter(picture.tobytes())] * 3))
    return b"".join(value.to_bytes(2, "little") for value in values)


def page(shift: int) -> Image.Image:
    """Lines of something like text on flat ground, a shaded corner, and all of it moved up."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), (240, 240, 248))
    for y in range(HEIGHT):
        line, row = divmod(y + shift, 12)
        for x in range(WIDTH):
            if row < 8 and (line * 7919 + x // 2 * 31 + row // 2 * 17) % 5 == 0:
                picture.putpixel((x, y), (20, 20, 30 + line % 3 * 60))
            elif x >= 160 and y >= 90:
                picture.putpixel((x, y), (x, y * 2, (x * y) % 256))
    return picture


def test_a_real_session(program: Path, tmp_path: Path) -> None:
    arguments = ["run", "--listen", "127.0.0.1:0", "--size", f"{WIDTH}x{HEIGHT}", "--", "sleep", "1000"]
    with served(arguments, tmp_path / "log") as server:
        found = re.search(r"on display (:\d+),", (tmp_path / "log").read_text())
        assert found
        with painter(found[1]) as client, running(program, int(server.address.rpartition(":")[2])) as device:

            def show(picture: Image.Image) -> None:
                red, green, blue = picture.split()
                put_pixels(client, Rect(0, 0, WIDTH, HEIGHT), Image.merge("RGBX", (blue, green, red, red)).tobytes())
                device.until(in_565(picture))

            def pointer_at(x: int, y: int) -> None:
                deadline = time.monotonic() + WITHIN_S
                while True:
                    seen = client.root.query_pointer()
                    if (seen.root_x, seen.root_y) == (x, y):
                        return
                    assert time.monotonic() < deadline, seen

            for shift in (0, 3, 9, 4):
                show(page(shift))
            device.say("p 37 21 0")
            pointer_at(37, 21)
            device.say("t 150 99")
            pointer_at(150, 99)
            device.say("l")
            show(page(30))
            device.quit()


FORMAT = PixelFormat.RGB565
AREA = Rect(10, 10, 40, 30)
INDICES = [(x // 3 + y) % 4 for y in range(30) for x in range(40)]
MESSAGES: list[Message] = [
    m.Notice(code=6, text="later"),
    m.Setting(fps=30, quality=75, adaptive=1),
    m.ControlState(role=2, holder=1),
    m.Begin(update=1, input=0),
    m.Fill(rect=Rect(0, 0, WIDTH, HEIGHT), pixel=b"\x34\x12"),
    m.Palette(rect=AREA, payload=palette(AREA, [1, 2, 3, 0xFFFF], INDICES, FORMAT, runs=False)),
    m.Palette(rect=Rect(60, 10, 40, 30), payload=palette(AREA, [5, 6, 7, 0xF800], sorted(INDICES), FORMAT, runs=True)),
    m.Raw(rect=Rect(120, 10, 4, 2), payload=bytes(range(16))),
    m.Copy(rect=Rect(13, 15, 100, 30), source=Point(10, 10)),
    m.Copy(rect=Rect(14, 50, 90, 40), source=Point(11, 50)),
    m.Copy(rect=Rect(11, 15, 90, 30), source=Point(14, 15)),
    m.End(),
    m.Ping(stamp=0x1122334455667788),
]


def play(stream: socket.socket, messages: list[Message]) -> tuple[m.Hello, Iterator[Event]]:
    peer = Peer(stream)
    events = peer.events()
    hello = next(events)
    assert isinstance(hello, m.Hello)
    peer.send(reply(), welcome(hello.capabilities), *messages)
    return hello, events


def test_all_that_it_offers(program: Path) -> None:
    """Each operation, as the reference decoder draws it; what it does not know is passed over; pings are answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener, running(program, listener.getsockname()[1]) as device:
        listener.settimeout(WITHIN_S)
        stream, _ = listener.accept()
        with stream:
            stream.settimeout(WITHIN_S)
            hello, events = play(stream, MESSAGES)
            assert hello.capabilities == Capability.COPY | Capability.TOUCH
            assert (hello.model_kib, hello.cache, hello.jpeg, hello.cursor, hello.resume) == (0, None, None, None, None)
            ack, pong = next(events), next(events)
            assert isinstance(ack, m.Ack)
            assert (ack.update, pong) == (1, m.Pong(stamp=0x1122334455667788))
            expected = Framebuffer.of(hello)
            for message in MESSAGES:
                if message.drawing:
                    expected.apply(message)
            device.until(b"".join(value.to_bytes(2, "little") for value in expected.pixels))
            device.say("p 1 2 1")
            assert next(events) == m.Pointer(input=1, position=Point(1, 2), buttons=1)
            device.say("t 199 119")
            assert next(events) == m.Touch(input=2, fingers=(m.Finger(finger=7, position=Point(199, 119)),))
            device.quit()
            assert isinstance(next(events), m.Goodbye)
            assert next(events) == EndOfStream()


@pytest.mark.parametrize(
    "message",
    [
        m.Codec(rect=AREA, epoch=0x81, payload=b"\x00\x01\x02\x03\x04"),
        m.Jpeg(rect=AREA, quality=75, sampling=0, payload=b"\x00"),
        m.Deflate(rect=AREA, inner=72, payload=b"\x00"),
        m.CacheStore(slot=0, rect=AREA),
        m.CacheDraw(slot=0, position=Point(0, 0)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_it_does_not_offer_ends_the_connection(program: Path, message: Message) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, running(program, listener.getsockname()[1]) as device:
        listener.settimeout(WITHIN_S)
        stream, _ = listener.accept()
        with stream:
            stream.settimeout(WITHIN_S)
            _, events = play(stream, [m.Begin(update=1, input=0)])
            stream.sendall(message.encode())  # the connection would refuse to
            goodbye = next(events)
            assert isinstance(goodbye, m.Goodbye)
            assert goodbye.code == 8
            assert device.process.wait(WITHIN_S) == 5
