"""The ThreadX port on the stand-in for ThreadX and NetX Duo, against a server on a real socket."""

from __future__ import annotations

import queue
import random
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from tilewire.protocol import AuthMethod, Code, EndOfStream, Event, PixelFormat, Point, Rect, Resumed
from tilewire.protocol import messages as m
from tilewire.server.display import open_display
from tilewire.server.pixels import Screen, Surface
from tilewire.server.view import View

from tests.certificates import Authority, openssl
from tests.clients import test_posix
from tests.clients.support import KEY, SERVER_NONCE, reply, welcome
from tests.clients.test_build import INCLUDES, SOURCES, THREADX, WARNINGS, compiler, run
from tests.clients.test_posix import PICTURE, Peer, Proxy, Script, lets_in
from tests.server.xclient import KeyReader, Painter, key_reader, painter
from tests.support import put_pixels
from tools.served import served

PORT = THREADX / "ports/threadx"
HERE = Path(__file__).parent
STANDIN = HERE / "standin"
WITHIN_S = 30.0
SIZE = (320, 240)

# Of ThreadX and NetX Duo.
SUCCESS, PTR_ERROR, SIZE_ERROR, QUEUE_FULL, NO_MEMORY, START_ERROR, NOT_DONE = 0, 3, 5, 11, 16, 16, 32
NOT_CONNECTED, INVALID = 0x38, 0x4D
CALLER_ERROR, NX_CALLER_ERROR = 0x13, 0x11
STOPPED, CONNECTING, OPEN, WAITING, ENDED = range(5)

serve = test_posix.serve
"""The fixture: a server that plays scripts."""


def build(folder: Path, name: str, *flags: str) -> Path:
    """The driven program."""
    made = folder / name
    folders = [f"-I{PORT}", f"-I{STANDIN}"]
    sources = [*SOURCES, *sorted(PORT.glob("*.c")), *sorted(STANDIN.glob("*.c")), HERE / "threadx_device.c"]
    standard = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", *WARNINGS]
    libraries = ["-lssl", "-lcrypto"] if "-DNX_SECURE_ENABLE" in flags else []
    run(compiler("gcc"), *standard, *INCLUDES, *folders, *flags, *sources, "-lpthread", *libraries, "-o", made)
    return made


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-DTX_DISABLE_ERROR_CHECKING",),
        ("-DNX_DISABLE_PACKET_CHAIN",),
        ("-DTW_WITH_STATISTICS=0", "-DTW_WITH_CLIPBOARD=0"),
        ("-DTW_THREADX_WITH_TLS=1", "-DNX_SECURE_ENABLE"),
        ("-DTX_TIMER_TICKS_PER_SECOND=1000U",),
    ],
    ids=" ".join,
)
def test_the_port_compiles_without_a_warning(flags: tuple[str, ...]) -> None:
    """As firmwares may be configured, as C99 and, the header, as C++17."""
    folders = [*INCLUDES, f"-I{PORT}", f"-I{STANDIN}"]
    for cc in ("gcc", "clang"):
        run(compiler(cc), "-std=c99", "-fsyntax-only", *WARNINGS, *flags, *folders, *sorted(PORT.glob("*.c")))
    header = ("-x", "c++", "-std=c++17", PORT / "tw_threadx.h")
    run(compiler("g++"), "-fsyntax-only", *WARNINGS, *flags, *folders, *header)


@pytest.fixture(scope="module")
def plain_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("plain"), "plain", "-Os", "-g")


@pytest.fixture(scope="module")
def memory_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With TLS; the other programs are without."""
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    tls = ("-DTW_THREADX_WITH_TLS=1", "-DNX_SECURE_ENABLE")
    return build(tmp_path_factory.mktemp("memory"), "memory", *flags, *tls)


@pytest.fixture(scope="module")
def thread_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("thread"), "thread", "-O1", "-g", "-fsanitize=thread")


class Device:
    """The program, driven line by line."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, errors="surrogateescape"
        )
        self._results: queue.Queue[int] = queue.Queue()
        self._news = threading.Condition()
        self.events: list[str] = []
        """What the callbacks said."""
        self._seen = 0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("= "):
                self._results.put(int(line[2:]))
                continue
            with self._news:
                self.events.append(line.rstrip("\n"))
                self._news.notify_all()

    def __call__(self, name: str, *words: object) -> int:
        """A command, of session 0 unless the first word after it is another's; its status."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join([name, *map(str, words)]) + "\n")
        self._process.stdin.flush()
        return self._results.get(timeout=WITHIN_S)

    def good(self, name: str, *words: object) -> None:
        """A command that succeeds."""
        assert self(name, *words) == SUCCESS, (name, words, self.events[-5:])

    def until(self, pattern: str, within_s: float = WITHIN_S) -> re.Match[str]:
        """The next event that matches, after the last one that was waited for."""
        deadline = time.monotonic() + within_s
        with self._news:
            while True:
                while self._seen < len(self.events):
                    self._seen += 1
                    if found := re.fullmatch(pattern, self.events[self._seen - 1]):
                        return found
                left = deadline - time.monotonic()
                assert left > 0, f"no {pattern} in {self.events[-10:]}"
                self._news.wait(left)

    def statistics(self, session: int = 0) -> dict[str, int]:
        self.good("statistics", session)
        return numbers(self.until(rf"{session} statistics .*")[0])

    def resources(self) -> dict[str, int]:
        self.good("resources", 0)
        return numbers(self.until("0 resources .*")[0])

    def picture(self, folder: Path, session: int = 0) -> bytes:
        self.good("dump", session, folder / "shown")
        return (folder / "shown").read_bytes()

    def until_shown(self, folder: Path, expected: bytes | Callable[[], bytes], session: int = 0) -> None:
        deadline = time.monotonic() + WITHIN_S
        while self.picture(folder, session) != (expected if isinstance(expected, bytes) else expected()):
            assert time.monotonic() < deadline, f"not the picture; {self.statistics(session)}, {self.events[-5:]}"
            time.sleep(0.02)

    def end(self) -> None:
        """It has given everything back, and the sanitizers have nothing to say."""
        for session in (0, 1):
            assert self("delete", session, 500) in (SUCCESS, PTR_ERROR)
        assert self.resources() == {"packets": 0, "bytes": 0, "allocated": 0, "sockets": 0}
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(WITHIN_S) == 0

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


def numbers(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", text)}


def driven(program: Path) -> Iterator[Device]:
    made = Device(program)
    try:
        yield made
        made.end()
    finally:
        made.close()


@pytest.fixture
def device(memory_program: Path, serve: object) -> Iterator[Device]:  # ends before the scripts do
    """Under the sanitizers of memory."""
    yield from driven(memory_program)


@pytest.fixture(params=["memory", "thread"])
def sane_device(request: pytest.FixtureRequest, serve: object) -> Iterator[Device]:
    """Under either set of sanitizers."""
    program: Path = request.getfixturevalue(f"{request.param}_program")
    yield from driven(program)


# Against a script


def listens(heard: list[Event], *messages: m.Message) -> Script:
    """Lets the device in, sends this, and collects what it says."""

    def script(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        heard.append(hello)
        peer.send(reply(), welcome(hello.capabilities), *messages)
        heard.extend(events)

    return script


def lets_in_with_a_picture(heard: list[Event]) -> Script:
    """WELCOME and a whole update in one piece; collects what the device says."""

    def script(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        picture = (m.Begin(update=1, input=0), m.Fill(rect=Rect(0, 0, *SIZE), pixel=b"\x39\x33"), m.End())
        said = (reply(), welcome(hello.capabilities), *picture)
        peer.stream.sendall(b"".join(peer.connection.send(event) for event in said))
        heard.extend(events)

    return script


def until_heard(heard: list[Event], kind: type[m.Message]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not all_of(heard, kind):
        assert time.monotonic() < deadline, heard[-3:]
        time.sleep(0.001)


def finger(number: int, x: int, y: int) -> m.Finger:
    return m.Finger(finger=number, position=Point(x, y))


Kind = TypeVar("Kind")


def all_of(heard: Sequence[Event], kind: type[Kind]) -> list[Kind]:
    return [event for event in heard if isinstance(event, kind)]


def test_shows_a_picture_and_says_goodbye(sane_device: Device, tmp_path: Path, serve: Callable[..., int]) -> None:
    heard: list[Event] = []

    def script(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        assert hello.device_id == "threadx-0"
        assert hello.auth_methods == AuthMethod.HMAC
        peer.send(m.Reply(version=1, method=AuthMethod.HMAC, nonce=SERVER_NONCE))
        peer.send(peer.connection.make_proof(KEY))
        proof = next(events)
        assert isinstance(proof, m.Proof)
        peer.connection.check_proof(KEY, proof)
        peer.send(welcome(hello.capabilities), *PICTURE)
        heard.extend(events)

    device = sane_device
    device.good("create", 0, serve(script), "width=1024", "height=600", f"key={KEY.hex()}")
    assert device.statistics()["state"] == STOPPED
    device.good("start", 0)
    device.until(f"0 state {OPEN} 0 0")
    rows = [b"\xff\xff" * 1024] * 600
    for y in range(50, 60):
        rows[y] = rows[y][:200] + b"\x00\xf8" * 10 + rows[y][220:]
    for y in range(300, 400):
        rows[y] = rows[y][:1024] + b"\x1f\x00" * 256 + rows[y][1536:]
    device.until_shown(tmp_path, b"".join(rows))
    device.good("stop", 0, 500)
    device.until(f"0 state {STOPPED} 0 0")
    assert isinstance(heard[0], m.Ack)
    assert heard[-2:] == [m.Goodbye(code=Code.NORMAL, text=Code.NORMAL.text), EndOfStream()]
    seen = device.statistics()
    assert (seen["state"], seen["attempts"], seen["connections"], seen["updates"]) == (STOPPED, 1, 1, 1)
    assert seen["bytes_received"] == seen["client_bytes"] > 50_000
    assert seen["packets_received"] > 50_000 / 1536
    assert device.resources()["packets"] == 0


@pytest.mark.parametrize("size", [1, 1000, 30000])
def test_whatever_the_network_does_with_the_bytes(
    device: Device, tmp_path: Path, serve: Callable[..., int], size: int
) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        data = peer.connection.send(reply()) + peer.connection.send(welcome(0))
        few = PICTURE if size > 1 else [*PICTURE[:3], PICTURE[-1]]
        data += b"".join(peer.connection.send(event) for event in few)
        for at in range(0, len(data), size):
            peer.stream.sendall(data[at : at + size])
        for _ in events:
            pass

    device.good("pool", 0, serve(script), "width=1024", "height=600", "window=2000")
    device.good("start", 0)
    device.until(f"0 state {OPEN} .*")
    while device.statistics()["updates"] == 0:
        time.sleep(0.01)
    picture = device.picture(tmp_path)
    assert picture[2 * (55 * 1024 + 105) :][:2] == b"\x00\xf8"


def test_everything_that_can_be_said(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []
    device.good("create", 0, serve(listens(heard)))
    device.good("start", 0)
    device.until(f"0 state {OPEN} 0 0")
    for line in (
        "key 0 0xff0d 1",
        "!key 0 0xff0d 0",
        "pointer 0 5 6 1",
        "!pointer 0 5 6 0",
        "wheel 0 -120 240",
        "!touch 0 3:10:20 4:30:40",
        "!touch 0",
        "setting 0 30 60 1",
        "view 0 1 2 0 7 8",
        "control 0 2 77",
        "resize 0 300 200",
        "resize_session 0 640 480",
        "!refresh 0",
        "copy 0 abc 2",
        "text 0 h\u00e9llo",
        "close 0 17",
    ):
        device.good(*line.split())
        time.sleep(0.01)  # one message each
    device.until("0 copied 0 1")
    device.until(f"0 state {WAITING} 17 .*")
    assert heard[1:] == [
        m.Key(input=1, keysym=0xFF0D, pressed=1),
        m.Key(input=2, keysym=0xFF0D, pressed=0),
        m.Pointer(input=3, position=Point(5, 6), buttons=1),
        m.Pointer(input=4, position=Point(5, 6), buttons=0),
        m.Wheel(input=5, dx=-120, dy=240),
        m.Touch(input=6, fingers=(finger(3, 10, 20), finger(4, 30, 40))),
        m.Touch(input=7, fingers=()),
        m.Setting(fps=30, quality=60, adaptive=1),
        m.View(mode=1, rotation=2, follow=0, origin=Point(7, 8)),
        m.Control(action=2, viewer=77),
        m.Resize(width=300, height=200),
        m.ResizeSession(width=640, height=480),
        m.Refresh(),
        m.Clipboard(total=6, offset=0, data=b"abcabc"),
        m.TextInput(input=8, text="h\u00e9llo"),
        m.Goodbye(code=Code.STOPPING, text=Code.STOPPING.text),
        EndOfStream(),
    ]
    assert device("key", 0, 0xFF0D, 1) == NOT_CONNECTED
    assert device("touch", 0) == NOT_CONNECTED


def test_input_is_taken_by_the_first_picture(sane_device: Device, serve: Callable[..., int]) -> None:
    """Whom it wakes finds the session open, also where the picture came in one packet with WELCOME."""
    heard: list[Event] = []
    device = sane_device
    device.good("create", 0, serve(lets_in_with_a_picture(heard)), "eager=1")
    device.good("start", 0)
    device.until(f"0 state {OPEN} 0 0")
    device.until(f"0 eager {SUCCESS}")
    until_heard(heard, m.Key)


def test_an_input_is_timed_to_its_picture(device: Device, serve: Callable[..., int]) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        peer.send(reply(), welcome(hello.capabilities))
        assert isinstance(next(events), m.Key)
        time.sleep(0.05)
        peer.send(m.Begin(update=1, input=1), m.End(), m.Begin(update=2, input=1), m.End(), m.Begin(update=3, input=1))
        for _ in events:
            pass

    opened(device, serve(script))
    device.good("key", 0, 0xFF0D, 1)
    while device.statistics()["updates"] < 2:
        time.sleep(0.01)
    device.good("stop", 0, 500)
    device.until(f"0 state {STOPPED} 0 0")
    seen = device.statistics()
    # It slept that long by another clock.
    assert seen["input_to_picture_us"] == seen["input_to_picture_sum_us"] > 45_000
    assert (seen["inputs_shown"], seen["updates_dropped"]) == (1, 1)


def opened(device: Device, *words: object) -> None:
    """A session that the server has let in."""
    device.good("create", 0, *words)
    device.good("start", 0)
    device.until(f"0 state {OPEN} 0 0")


def fill_up(device: Device) -> int:
    """Keys until neither the window, the client's buffer nor the queue takes another; how many were taken."""
    device.good("window", 0, 0)
    count = 0
    full = 0
    while full < 3:
        status = device("key", 0, 0x61, count % 2)
        assert status in (SUCCESS, QUEUE_FULL)
        if status == SUCCESS:
            count += 1
            full = 0
        else:
            full += 1
            time.sleep(0.02)  # the thread may take one more into its hand
    return count


def test_motion_never_wants_for_room(sane_device: Device, serve: Callable[..., int]) -> None:
    """The link is stuck: what moves is joined, and a lift arrives though the queue is full."""
    device, heard = sane_device, list[Event]()
    opened(device, serve(listens(heard)))
    keys = fill_up(device)
    device.good("!touch", 0, "7:1:1")
    for at in range(2, 40):
        device.good("!touch", 0, f"7:{at}:{at}")
    device.good("touch", 0, "7:39:39", "9:100:100")
    device.good("!touch", 0, "9:101:100")
    device.good("!touch", 0)
    for at in range(30):
        device.good("wheel", 0, 0, 120)
        device.good("wheel", 0, -1, 0)
        assert device("!key", 0, 0x61, 1) == QUEUE_FULL, at
    assert device("key", 0, 0x61, 1, 5) == QUEUE_FULL
    device.good("window", 0, -1)
    device.good("close", 0, 0, 500)
    device.until(f"0 state {ENDED} 0 0")
    assert len(all_of(heard, m.Key)) == keys
    touches = [event.fingers for event in all_of(heard, m.Touch)]
    # Where the press began is told, however late.
    assert touches == [
        (finger(7, 1, 1),),
        (finger(7, 39, 39),),
        (finger(7, 39, 39), finger(9, 100, 100)),
        (finger(9, 101, 100),),
        (),
    ]
    assert [(event.dx, event.dy) for event in all_of(heard, m.Wheel)] == [(-30, 3600)]
    numbers_seen = [event.input for event in heard if isinstance(event, m.Key | m.Touch | m.Wheel)]
    assert numbers_seen == list(range(1, keys + 7))
    seen = device.statistics()
    assert seen["joined"] == 37 + 59
    assert (seen["lost"], seen["inputs"]) == (0, keys + 7)
    assert seen["refused"] >= 31 + 3
    assert seen["window_waits"] > 0


def test_changes_give_way_to_newer_ones(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []
    opened(device, serve(listens(heard)))
    fill_up(device)
    for at in range(20):
        device.good("!touch", 0, f"1:{at}:0")
        device.good("!pointer", 0, at, 5, at % 2)
        device.good("!touch", 0)
        device.good("!wheel", 0, 0, 1)
    device.good("!pointer", 0, 100, 100, 0)
    device.good("window", 0, -1)
    device.good("close", 0, 0, 500)
    device.until(f"0 state {ENDED} 0 0")
    assert device.statistics()["lost"] > 60
    assert all_of(heard, m.Touch)[-1].fingers == ()
    assert all_of(heard, m.Pointer)[-1] == m.Pointer(
        input=all_of(heard, m.Pointer)[-1].input, position=Point(100, 100), buttons=0
    )
    assert sum(event.dy for event in all_of(heard, m.Wheel)) == 20


def test_motion_and_messages_keep_their_order(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []
    opened(device, serve(listens(heard)))
    device.good("window", 0, 0)
    # What the client itself keeps, so that the rest waits here.
    count = 0
    while device.statistics()["inputs"] + 5 > count:
        device.good("key", 0, 0x62, 0)
        count += 1
        time.sleep(0.001)
    for at in range(3):
        device.good("pointer", 0, at, at, 1)
        device.good("key", 0, 0x63 + at, 1)
        device.good("touch", 0, f"1:{at}:{at}")
    device.good("window", 0, 7)
    device.good("window", 0, 1)
    device.good("window", 0, -1)
    device.good("close", 0, 0, 500)
    device.until(f"0 state {ENDED} 0 0")
    last = [type(event) for event in heard if isinstance(event, m.Key | m.Pointer | m.Touch)][-9:]
    assert last == [m.Pointer, m.Key, m.Touch] * 3
    assert [event.keysym for event in all_of(heard, m.Key)][-3:] == [0x63, 0x64, 0x65]


def test_text_waits_for_room(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []
    opened(device, serve(listens(heard)), "queue=4")
    fill_up(device)
    text = "\u00e4b\u20acd\U0001f600" * 30
    assert device("text", 0, text) == QUEUE_FULL
    device.until("0 taken 0")
    device.good("window", 0, -1)
    device.good("text", 0, text, 500)
    device.until(f"0 taken {len(text.encode())}")
    assert device("text", 0, "\udc80" * 30) == INVALID
    device.good("close", 0, 0, 500)
    device.until(f"0 state {ENDED} 0 0")
    assert "".join(event.text for event in all_of(heard, m.TextInput)) == text


def test_a_long_clipboard_goes_before_later_keys(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []
    opened(device, serve(listens(heard)))
    device.good("copy", 0, "0123456789abcdef", 16384)
    device.good("key", 0, 0x76, 1)
    device.until("0 copied 0 1")
    device.good("copy", 0, "x", 0)
    device.until("0 copied 0 1")
    device.good("close", 0, 0, 500)
    device.until(f"0 state {ENDED} 0 0")
    chunks = all_of(heard, m.Clipboard)
    assert b"".join(chunk.data for chunk in chunks) == b"0123456789abcdef" * 16384
    assert isinstance(heard[heard.index(chunks[-2]) + 1], m.Key)
    assert (chunks[-1].total, chunks[-1].data) == (0, b"")


def test_a_clipboard_that_is_not_sent_is_given_back(device: Device, serve: Callable[..., int]) -> None:
    opened(device, serve(listens([])))
    device.good("window", 0, 0)
    device.good("copy", 0, "0123456789abcdef", 16384)
    device.good("stop", 0, 500)
    device.until(f"0 copied {NOT_CONNECTED} 1")


def test_a_pause_lasts(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []

    def first(peer: Peer, events: Iterator[Event]) -> None:
        lets_in()(peer, events)
        heard.append(next(events))

    device.good("create", 0, serve(first, listens(heard)))
    device.good("pause", 0, 1)
    device.good("start", 0)
    device.until(f"0 state {WAITING} .*")
    device.until(f"0 state {OPEN} .*")
    while len(heard) < 3:
        time.sleep(0.001)
    device.good("pause", 0, 0)
    device.good("close", 0, 0)
    device.until(f"0 state {ENDED} 0 0")
    assert all_of(heard, m.Pause) == [m.Pause(paused=1), m.Pause(paused=1), m.Pause(paused=0)]


# Ends


def test_stopping_and_starting(sane_device: Device, serve: Callable[..., int]) -> None:
    device, heard = sane_device, list[Event]()
    script = listens(heard, *PICTURE[:3], PICTURE[-1])
    device.good("create", 0, serve(script, script, script), "width=1024", "height=600")
    for _ in range(3):
        device.good("start", 0)
        assert device("start", 0) == START_ERROR
        device.until(f"0 state {OPEN} .*")
        assert device("stop", 0, 0) in (SUCCESS, NOT_DONE)
        device.good("stop", 0, 500)
        device.good("stop", 0, 0)
        device.until(f"0 state {STOPPED} 0 0")
        assert device.resources()["packets"] == 0
    hellos = all_of(heard, m.Hello)
    assert len({hello.nonce for hello in hellos}) == 3
    assert len({hello.boot_id for hello in hellos}) == 1
    # What is on the framebuffer may have changed meanwhile.
    assert [hello.resume for hello in hellos] == [None] * 3


def test_stopping_before_the_thread_has_seen_the_start(sane_device: Device) -> None:
    sane_device.good("create", 0, 1)
    sane_device.good("flick", 0, 200)
    sane_device.good("start", 0)
    sane_device.good("delete", 0, 500)


def test_stop_while_connecting(device: Device) -> None:
    """Nobody answers: the queue of those who wait to be accepted is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        others = [socket.socket() for _ in range(3)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        device.good("create", 0, full.getsockname()[1])
        device.good("start", 0)
        device.until(f"0 state {CONNECTING} 0 0")
        assert device("stop", 0, 0) in (SUCCESS, NOT_DONE)
        device.good("stop", 0, 50)
        device.until(f"0 state {STOPPED} 256 0")
        for other in others:
            other.close()


def test_stop_in_the_handshake(device: Device, serve: Callable[..., int]) -> None:
    def script(_peer: Peer, events: Iterator[Event]) -> None:
        assert isinstance(next(events), m.Hello)
        assert next(events) == m.Goodbye(code=Code.NORMAL, text=Code.NORMAL.text)

    device.good("create", 0, serve(script))
    device.good("start", 0)
    device.until(f"0 state {CONNECTING} 0 0")
    while device.statistics()["bytes_sent"] == 0:
        pass
    device.good("stop", 0, 500)


def test_nobody_there(device: Device) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    device.good("create", 0, port)
    device.good("start", 0)
    waits = [int(device.until(rf"0 state {WAITING} 256 (\d+)")[1]) for _ in range(2)]
    assert 500 <= waits[0] <= 1000 <= waits[1] <= 2000
    device.good("stop", 0, 50)
    device.until(f"0 state {STOPPED} 256 0")
    assert device.statistics()["status"] == NOT_CONNECTED


def test_stop_while_something_is_drawn(sane_device: Device, tmp_path: Path, serve: Callable[..., int]) -> None:
    device, picture = sane_device, [*PICTURE[:3], PICTURE[-1]]
    words = ("width=1024", "height=600")
    device.good("create", 0, serve(listens([], *picture), listens([], *picture)), *words, "hold=1")
    device.good("start", 0)
    device.until("0 pending")
    assert device("stop", 0, 1) == NOT_DONE
    device.good("stop", 0, 1000)
    # The DMA is still at it: what is started now waits for it.
    device.good("hold", 0, 2)
    device.good("start", 0)
    time.sleep(0.2)
    assert device.statistics()["attempts"] == 1
    device.good("!drawn", 0)
    device.until(f"0 state {OPEN} 0 0")
    while device.statistics()["updates"] == 0:
        pass
    assert device.statistics()["draw_waits"] > 0
    assert device.picture(tmp_path)[:2] == b"\xff\xff"


def test_delete_at_any_time(device: Device, real: tuple[str, int]) -> None:
    device.good("pool", 0, real[1])
    assert device.resources()["allocated"] == 6
    device.good("delete", 0, 500)
    device.good("pool", 0, real[1])
    device.good("start", 0)
    assert device("delete", 0, 0) == NOT_DONE
    device.good("delete", 0, 500)
    assert device("start", 0) == PTR_ERROR
    assert device.resources() == {"packets": 0, "bytes": 0, "allocated": 0, "sockets": 0}
    device.good("pool", 0, real[1])
    device.good("start", 0)
    device.until(f"0 state {OPEN} .*")
    device.good("delete", 0, 500)


@pytest.mark.parametrize("code", [Code.NORMAL, Code.SESSION_ENDED, Code.REPLACED, Code.AUTH_FAILED, Code.VERSION])
def test_after_some_goodbyes_it_rests(device: Device, serve: Callable[..., int], code: Code) -> None:
    script = lets_in(m.Goodbye(code=code, text=code.text))
    device.good("create", 0, serve(script, script))
    for _ in range(2):
        device.good("start", 0)
        device.until(f"0 goodbye {int(code)} {code.text}")
        device.until(f"0 state {ENDED} {int(code)} 0")
        device.good("stop", 0, 50)


@pytest.mark.parametrize("resumed", [Resumed.RESUMED, Resumed.UNKNOWN_TOKEN])
@pytest.mark.parametrize("pending", [0, 2])
def test_it_resumes(sane_device: Device, serve: Callable[..., int], pending: int, resumed: Resumed) -> None:
    device, hellos = sane_device, list[m.Hello]()
    offer = m.ResumeOffer(token=bytes(range(16)), lifetime_s=60)

    def first(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        hellos.append(hello)
        peer.send(reply(), replace(welcome(hello.capabilities), resume=offer), *PICTURE)
        assert isinstance(next(events), m.Ack)
        peer.send(m.Begin(update=2, input=0), m.Fill(rect=Rect(0, 0, 9, 9), pixel=b"\x1f\0"))

    def second(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        hellos.append(hello)
        peer.send(reply(), replace(welcome(hello.capabilities), resume=offer, resumed=resumed))
        for _ in events:
            pass

    device.good("create", 0, serve(first, second), "width=1024", "height=600", f"hold={pending}")
    device.good("start", 0)
    device.until("0 welcome 0 .*")
    device.until(f"0 state {WAITING} {int(Code.TRUNCATED)} .*")
    device.until(f"0 welcome {int(resumed)} .*")
    assert hellos[0].resume is None
    assert hellos[1].resume == m.ResumeRequest(token=offer.token, update=1)
    assert hellos[0].boot_id == hellos[1].boot_id
    assert hellos[0].nonce != hellos[1].nonce


# Shortages


def test_an_empty_packet_pool_is_waited_for(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []
    device.good("create", 0, serve(listens(heard)))
    device.good("refuse", 0, -1)
    device.good("start", 0)
    while device.statistics()["shortages"] < 3:
        time.sleep(0.01)
    device.good("refuse", 0, 0)
    device.until(f"0 state {OPEN} .*")
    device.good("refuse", 0, 5)
    device.good("key", 0, 0x61, 1)
    device.good("refuse", 0, 2)
    device.good("close", 0, 0)
    device.until(f"0 state {ENDED} 0 0")
    assert all_of(heard, m.Key) == [m.Key(input=1, keysym=0x61, pressed=1)]
    assert device.statistics()["shortages"] > 3


def test_without_randomness_it_waits(device: Device, serve: Callable[..., int]) -> None:
    port = serve(listens([]))
    device.good("norandom", 0, 1)
    assert device("create", 0, port) == NOT_DONE
    device.good("norandom", 0, 0)
    device.good("create", 0, port)
    device.good("norandom", 0, 1)
    device.good("start", 0)
    device.until(f"0 state {WAITING} {int(Code.INTERNAL)} .*")
    device.good("norandom", 0, 0)
    device.until(f"0 state {OPEN} .*")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["memory=100"], SIZE_ERROR),
        (["queue=3"], SIZE_ERROR),
        (["width=0"], INVALID),
        (["window=70000"], 0x0A),
        (["max_message=5"], SIZE_ERROR),
    ],
    ids=str,
)
def test_what_cannot_be(device: Device, words: list[str], status: int) -> None:
    assert device("create", 0, 1, *words) == status
    assert device("start", 0) == PTR_ERROR
    device.good("create", 0, 1)
    assert device("create", 0, 1) == PTR_ERROR


@pytest.mark.parametrize("motions", [3, 4])
def test_too_few_motions_do_not_compile(tmp_path: Path, motions: int) -> None:
    """With 3, one of each kind could wait, none of which may give way."""
    flags = ["-std=c99", f"-DTW_THREADX_MOTIONS={motions}", *INCLUDES, f"-I{PORT}", f"-I{STANDIN}"]
    words = [compiler("gcc"), *flags, "-c", str(PORT / "tw_threadx_input.c"), "-o", str(tmp_path / "made.o")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == ("at least 4" in done.stderr) == (motions < 4), done.stderr


def test_a_byte_pool_that_is_too_small(device: Device) -> None:
    assert device("pool", 0, 1, "max_message=9999999") == SIZE_ERROR  # more than all of it
    device.good("pool", 0, 1, "max_message=1000000")
    assert device("pool", 1, 1, "max_message=1000000") == NO_MEMORY
    device.good("delete", 0, 500)
    assert device.resources()["allocated"] == 0


def test_arguments(device: Device, serve: Callable[..., int]) -> None:
    opened(device, serve(listens([])))
    for line in (
        "touch 0 1:4096:1",
        "touch 0 256:1:1",
        "touch 0 " + "1:1:1 " * 11,
        "pointer 0 4096 0 0",
        "pointer 0 0 0 256",
        "wheel 0 32768 0",
        "pause 0 2",
        "control 0 0x1000000",
        "view 0 256 0 0 0 0",
    ):
        assert device(*line.split()) == INVALID, line
    assert device("stop", 0, 0) in (SUCCESS, NOT_DONE)


@pytest.mark.parametrize("word", ["v6=1", "resolve=1"])
def test_addresses(device: Device, word: str) -> None:
    family = socket.AF_INET6 if word == "v6=1" else socket.AF_INET
    with socket.create_server(("", 0), family=family) as listener:
        device.good("create", 0, listener.getsockname()[1], word)
        device.good("start", 0)
        listener.accept()[0].close()
        if word == "resolve=1":
            device.until("0 resolve 1000")


# The network comes and goes


def test_without_an_address_it_waits(device: Device, serve: Callable[..., int]) -> None:
    """DHCP is late; its callback does not wait for the end of the wait."""
    device.good("create", 0, serve(listens([])))
    device.good("link", 0, 2)
    device.good("start", 0)
    waits = [int(device.until(rf"0 state {WAITING} {int(Code.CLOSED)} (\d+)")[1]) for _ in range(3)]
    assert waits[2] >= 2000
    assert device.statistics()["status"] != SUCCESS
    device.good("link", 0, 1)
    device.good("!retry", 0)
    device.until(f"0 state {OPEN} .*", within_s=waits[2] / 2000)


def test_a_cable_that_is_pulled_out(device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter) -> None:
    """What the device is not told it finds out: by its clock, which a test may set."""
    name, port = real
    opened(device, port)
    device.until_shown(tmp_path, expected(name))
    device.good("link", 0, 0)
    artist.fill(Rect(0, 0, 300, 200), 0x224466)
    for at in range(10):
        device.good("pointer", 0, at, at, 0)
    jump_until(device, rf"0 state {WAITING} {int(Code.TIMEOUT)} \d+")
    # The server is not there either: connections are given up one after the other.
    device.good("retry", 0)
    device.until(f"0 state {CONNECTING} {int(Code.TIMEOUT)} 0")
    jump_until(device, rf"0 state {WAITING} {int(Code.CLOSED)} \d+")
    device.good("link", 0, 1)
    device.good("retry", 0)
    device.until(f"0 welcome {int(Resumed.RESUMED)} 320x240")
    device.until_shown(tmp_path, expected(name))


def jump_until(device: Device, pattern: str) -> None:
    """Its clock leaps 10 s at a time."""
    clock = 1_000_000
    while not any(re.fullmatch(pattern, event) for event in device.events[-3:]):
        clock += 1000
        device.good("clock", 0, clock)
        device.good("pause", 0, 0)  # wakes it
        time.sleep(0.05)
    device.until(pattern)


@pytest.mark.parametrize("before", [200, 100, 1])
def test_the_clock_wraps(device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter, before: int) -> None:
    """tx_time_get() counts in 32 bits: 497 days of 100 ticks a second."""
    name, port = real
    device.good("clock", 0, 2**32 - before)
    opened(device, port)
    for at in range(3):
        artist.fill(Rect(100 * at, 0, 50, 200), 0x551133 * (at + 1))
        device.until_shown(tmp_path, expected(name))
        time.sleep(before / 200)
    seen = device.statistics()
    assert (seen["attempts"], seen["connections"], seen["state"]) == (1, 1, OPEN)


def test_from_where_it_may_be_made_and_deleted(device: Device, serve: Callable[..., int]) -> None:
    """An interrupt may neither create nor wait nor delete, and what it tries changes nothing."""
    assert device("!create", 0, 1) in (CALLER_ERROR, NX_CALLER_ERROR)
    assert device("!pool", 0, 1) == CALLER_ERROR
    assert device.resources() == {"packets": 0, "bytes": 0, "allocated": 0, "sockets": 0}
    opened(device, serve(listens([]), listens([])))
    assert device("!stop", 0, 10) == CALLER_ERROR
    device.good("stop", 0, 500)
    device.good("!stop", 0, 0)
    assert device("!delete", 0, 0) == CALLER_ERROR
    assert device.resources()["sockets"] == 1
    device.good("start", 0)
    device.until(f"0 state {OPEN} .*")
    device.good("delete", 0, 500)
    assert device("!delete", 0, 0) == PTR_ERROR


def test_a_callback_may_not_wait_for_itself(device: Device, serve: Callable[..., int]) -> None:
    device.good("create", 0, serve(listens([])))
    device.good("nosy", 0, 1)
    device.good("start", 0)
    device.until(f"0 inside {CALLER_ERROR} {CALLER_ERROR} {NOT_DONE}")
    device.until(f"0 state {STOPPED} 0 0")


# Against the real server


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A server with a screen of its own: the display's name and the port."""
    log = tmp_path_factory.mktemp("real") / "log"
    arguments = ["run", "--listen", "127.0.0.1:0", "--size", "320x240", "--", "sleep", "1000"]
    with served(arguments, log) as server:
        found = re.search(r"on display (:\d+),", log.read_text())
        assert found
        yield found[1], int(server.address.rpartition(":")[2])


@pytest.fixture
def artist(real: tuple[str, int]) -> Iterator[Painter]:
    """Draws noise, and can draw more."""
    with painter(real[0]) as client:
        put_pixels(client, Rect(10, 20, 200, 150), random.Random(3).randbytes(4 * 200 * 150))
        client.fill(Rect(220, 100, 80, 100), 0x336699)
        yield client


def expected(display_name: str, size: tuple[int, int] = SIZE) -> bytes:
    """What an RGB565 panel of the screen's size must show."""

    async def look() -> bytes:
        async with open_display(display_name) as display:
            capture = await display.capture_all()
        screen = Screen(*capture.size)
        for patch in capture.patches:
            screen.blit(patch.rect, patch.pixels)
        surface = Surface(*size, PixelFormat.RGB565)
        surface.render(screen, View(capture.size, size, Point(0, 0)), surface.rect)
        return bytes(surface.pixels)

    return trio.run(look)


@pytest.mark.parametrize("memory", ["create", "pool"])
@pytest.mark.parametrize("hold", [0, 2])
def test_the_picture_is_exact(
    sane_device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter, memory: str, hold: int
) -> None:
    device, (name, port) = sane_device, real
    device.good(memory, 0, port, f"hold={hold}")
    device.good("start", 0)
    device.until_shown(tmp_path, expected(name))
    for colour in (0xFF0000, 0x00FF00, 0x1234AB):
        artist.fill(Rect(colour % 50, 30, 200, 60), colour)
        device.until_shown(tmp_path, expected(name))
    assert (device.statistics()["draw_waits"] > 0) == (hold != 0)


def test_two_sessions_in_one_program(
    sane_device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter
) -> None:
    device, (name, port) = sane_device, real
    device.good("create", 0, port)
    device.good("pool", 1, port, "hold=2")
    device.good("start", 0)
    device.good("start", 1)
    for colour in (0xFF00FF, 0x00FFFF):
        artist.fill(Rect(50, 50, 100, 100), colour)
        device.until_shown(tmp_path, expected(name), 0)
        device.until_shown(tmp_path, expected(name), 1)
    device.good("delete", 0, 500)
    artist.fill(Rect(60, 60, 100, 100), 0xABCDEF)
    device.until_shown(tmp_path, expected(name), 1)


def test_input_arrives_and_is_echoed(device: Device, real: tuple[str, int], artist: Painter) -> None:
    def pointer() -> tuple[int, int, int]:
        found = artist.root.query_pointer()
        return found.root_x, found.root_y, found.mask >> 8 & 7

    def until(position: tuple[int, int, int]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while pointer() != position:
            assert time.monotonic() < deadline, pointer()
            time.sleep(0.005)

    opened(device, real[1])
    device.good("pointer", 0, 100, 60, 0)
    until((100, 60, 0))
    device.until("0 input 1")
    device.good("!pointer", 0, 110, 61, 1)
    until((110, 61, 1))
    device.good("!pointer", 0, 110, 61, 0)
    until((110, 61, 0))
    device.until("0 input 3")


async def typed(reader: KeyReader, device: Device, text: str) -> str:
    device.good("text", 0, text, 100)
    return await reader.text(len(text))


def test_text_and_touch_reach_a_program(device: Device, real: tuple[str, int]) -> None:
    opened(device, real[1])
    with key_reader(real[0]) as reader:
        text = "Gr\u00fc\u00dfe,\u20ac"
        assert trio.run(typed, reader, device, text) == text

        async def tap() -> None:
            device.good("!touch", 0, "5:160:120")
            device.good("!touch", 0)
            while await reader.changes(1) != [("down", 1)]:
                pass  # keys that go up
            assert await reader.changes(1) == [("up", 1)]

        trio.run(tap)


@pytest.mark.parametrize("hold", [0, 2])
@pytest.mark.parametrize("budgets", [[20_000], [2_500, 40_000, 5_000]], ids=str)
def test_a_line_that_is_cut(
    sane_device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter, budgets: list[int], hold: int
) -> None:
    device, (name, port) = sane_device, real
    with Proxy(port, budgets) as proxy:
        proxy.on_cut = lambda: artist.fill(Rect(240, 10, 50, 50), random.Random(proxy.cuts).getrandbits(24))
        device.good("create", 0, proxy.port, f"hold={hold}")
        device.good("start", 0)
        device.until("0 welcome 0 320x240")
        device.until(f"0 state {WAITING} .*")
        device.until(f"0 welcome {int(Resumed.RESUMED)} 320x240")
        device.until_shown(tmp_path, lambda: expected(name))  # it changes with every cut
        seen = device.statistics()
        assert seen["attempts"] == seen["connections"] == proxy.cuts + 1 > 1
        device.good("delete", 0, 500)


def test_a_wrong_key(device: Device, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"threadx-0 {KEY.hex()}\n")
    arguments = ["run", "--listen", "127.0.0.1:0", "--keys", str(keys), "--size", "320x240", "--", "sleep", "1000"]
    with served(arguments, tmp_path / "log") as server:
        port = int(server.address.rpartition(":")[2])
        device.good("create", 0, port, f"key={'00' * 32}")
        device.good("create", 1, port)
        device.good("start", 0)
        device.until(f"0 state {ENDED} {int(Code.AUTH_FAILED)} 0")
        device.good("start", 1)
        device.until(f"1 state {ENDED} {int(Code.AUTH_REQUIRED)} 0")
        device.good("delete", 0, 500)
        device.good("create", 0, port, f"key={KEY.hex()}")
        device.good("start", 0)
        device.until(f"0 state {OPEN} 0 0")
    # The server is gone.
    device.until(f"0 state {WAITING} {int(Code.STOPPING)} .*")


def test_many_inputs_at_once(thread_program: Path, real: tuple[str, int], artist: Painter) -> None:
    """From a thread and from interrupts, while the screen changes."""
    for device in driven(thread_program):
        opened(device, real[1], "hold=2")
        for at in range(150):
            artist.fill(Rect(at, at, 40, 40), at * 0x010305)
            device.good("!touch", 0, f"1:{at}:{at}", f"2:{at + 1}:9")
            device.good("!pointer", 0, at, at, 0)
            assert device("key", 0, 0xFFE1, at % 2, 100) == SUCCESS
            device.good("!touch", 0)
        seen = device.statistics()
        assert seen["inputs"] + seen["joined"] + seen["lost"] > 300
        assert seen["refused"] == 0


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def der(authority: Authority) -> Path:
    """The authority's certificate as devices have it."""
    made = authority.certificate.with_suffix(".der")
    openssl("x509", "-in", authority.certificate, "-outform", "DER", "-out", made)
    return made


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """As `real`, but it speaks nothing but TLS, and wants a key."""
    folder = tmp_path_factory.mktemp("secure")
    keys = folder / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"threadx-0 {KEY.hex()}\n")
    flags = ["--keys", str(keys), *authority.issue("secure").flags, "--tls-only", "--size", "320x240"]
    with served(["run", "--listen", "127.0.0.1:0", *flags, "--", "sleep", "1000"], folder / "log") as server:
        found = re.search(r"on display (:\d+),", (folder / "log").read_text())
        assert found
        yield found[1], int(server.address.rpartition(":")[2])


@pytest.mark.parametrize("hold", [0, 2])
def test_the_picture_in_tls(
    device: Device, tmp_path: Path, authority: Authority, secure: tuple[str, int], hold: int
) -> None:
    name, port = secure
    with painter(name) as artist:
        put_pixels(artist, Rect(10, 20, 200, 150), random.Random(4).randbytes(4 * 200 * 150))
        device.good("create", 0, port, f"key={KEY.hex()}", f"tls={der(authority)}", f"hold={hold}")
        device.good("start", 0)
        for colour in (0xFF0000, 0x1234AB):
            artist.fill(Rect(30, 30, 200, 60), colour)
            device.until_shown(tmp_path, expected(name))
        with key_reader(name) as reader:
            assert trio.run(typed, reader, device, "Gr\u00fc\u00dfe") == "Gr\u00fc\u00dfe"
    device.good("stop", 0, 500)
    device.until(f"0 state {STOPPED} 0 0")
    assert device.resources()["packets"] == 0


def test_a_line_in_tls_that_is_cut(
    device: Device, tmp_path: Path, authority: Authority, secure: tuple[str, int]
) -> None:
    name, port = secure
    with painter(name) as artist, Proxy(port, [1_000, 20_000]) as proxy:  # in the handshake, and in a picture
        put_pixels(artist, Rect(10, 20, 200, 150), random.Random(5).randbytes(4 * 200 * 150))
        device.good("create", 0, proxy.port, f"key={KEY.hex()}", f"tls={der(authority)}")
        device.good("start", 0)
        device.until(f"0 welcome {int(Resumed.RESUMED)} 320x240")
        device.until_shown(tmp_path, lambda: expected(name))
        assert device.statistics()["attempts"] == 3
        device.good("delete", 0, 500)


def test_a_server_that_nobody_vouches_for(device: Device, tmp_path: Path, secure: tuple[str, int]) -> None:
    other = Authority(tmp_path, "other")
    device.good("create", 0, secure[1], f"key={KEY.hex()}", f"tls={der(other)}")
    device.good("start", 0)
    device.until(f"0 state {WAITING} {int(Code.CLOSED)} .*")
    seen = device.statistics()
    assert seen["connections"] == 0
    assert seen["status"] not in (SUCCESS, NOT_CONNECTED)


def test_a_server_without_tls(device: Device, authority: Authority, real: tuple[str, int]) -> None:
    device.good("create", 0, real[1], f"tls={der(authority)}")
    device.good("start", 0)
    device.until(f"0 state {WAITING} {int(Code.CLOSED)} .*")
    assert device.statistics()["connections"] == 0


def test_stop_in_the_handshake_of_tls(device: Device, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        device.good("create", 0, silent.getsockname()[1], f"tls={der(authority)}")
        device.good("start", 0)
        peer, _ = silent.accept()
        with peer:
            assert peer.recv(1) == b"\x16"
            assert device("stop", 0, 0) in (SUCCESS, NOT_DONE)
            while peer.recv(4096):
                pass
        device.good("stop", 0, 500)
    assert device.resources()["packets"] == 0
