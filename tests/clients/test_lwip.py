"""The lwIP port on lwIP itself, against servers on real sockets: real TCP on a line that delays, loses and breaks."""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import IntEnum
from pathlib import Path

import pytest
import trio

from tilewire.protocol import AuthMethod, Code, EndOfStream, Event, Point, Rect, Resumed
from tilewire.protocol import messages as m

from tests.clients import test_posix, test_threadx
from tests.clients.support import KEY, SERVER_NONCE, reply, welcome
from tests.clients.test_build import C99, INCLUDES, SOURCES, THREADX, WARNINGS, compiler, run
from tests.clients.test_posix import PICTURE, Peer, Proxy, lets_in
from tests.clients.test_threadx import all_of, expected, finger, lets_in_with_a_picture, listens, until_heard
from tests.server.xclient import Painter, key_reader
from tools import lwip
from tools.served import served

PORT = THREADX / "ports/lwip"
PORT_SOURCES = sorted(PORT.glob("*.c"))
HERE = Path(__file__).parent
WITHIN_S = 30.0
CONNECT_MS, FAREWELL_MS = 10_000, 1_000
OK = 0
NO_ROUTE, RESET = 4, 14
"""Of lwIP, without their signs."""
STOPPED, CONNECTING, OPEN, WAITING, ENDED = range(5)


class Status(IntEnum):
    """Of what a client or a session is asked for, beside the wire's codes."""

    BAD_STATE = Code.BAD_STATE
    CLOSED = 256
    ARGUMENT = 257
    MEMORY = 258
    FULL = 259


serve, real, artist = test_posix.serve, test_threadx.real, test_threadx.artist
"""Fixtures: a server that plays scripts, a real one, and who draws on its screen."""


@pytest.fixture(scope="session")
def lwip_source() -> Path:
    """lwIP's src folder."""
    assert (lwip.LWIP / "version.txt").exists(), "lwIP's source is missing: `python -m tools.lwip` fetches it"
    return lwip.LWIP / "src"


def build(folder: Path, name: str, source: Path, *flags: str) -> Path:
    """The driven program: lwIP as it comes, what is ours with all warnings."""
    made = folder / name
    stack = [*sorted((source / "core").glob("*.c")), *sorted((source / "core/ipv4").glob("*.c"))]
    folders = [f"-I{PORT}", f"-I{HERE / 'lwip'}", "-isystem", f"{source / 'include'}"]
    ours = [*SOURCES, *PORT_SOURCES, HERE / "lwip/line.c", HERE / "lwip_device.c"]
    parts = {"stack": ("-w", *stack), "ours": ("-std=c11", *WARNINGS, *INCLUDES, *ours)}
    objects = [folder / f"{part}.o" for part in parts]
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(
                lambda words, made: run(compiler("gcc"), *flags, *folders, *words, "-r", "-nostdlib", "-o", made),
                parts.values(),
                objects,
            )
        )
    run(compiler("gcc"), *flags, *objects, "-lrt", "-o", made)
    return made


@pytest.fixture(scope="module")
def pools_program(tmp_path_factory: pytest.TempPathFactory, lwip_source: Path) -> Path:
    """With lwIP's own heap and pools, which can run out."""
    return build(tmp_path_factory.mktemp("pools"), "pools", lwip_source, "-Os", "-g")


@pytest.fixture(scope="module")
def memory_program(tmp_path_factory: pytest.TempPathFactory, lwip_source: Path) -> Path:
    """With sanitizers, lwIP included."""
    flags = ("-O1", "-g", "-DTEST_SANITIZED", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return build(tmp_path_factory.mktemp("memory"), "memory", lwip_source, *flags)


class Device(test_threadx.Device):
    """The program, driven line by line."""

    def until_rest(self, session: int = 0) -> None:
        """It has stopped, or ended."""
        deadline = time.monotonic() + WITHIN_S
        while self("resting", session) != 0:
            assert time.monotonic() < deadline, self.events[-10:]
            time.sleep(0.002)

    def until_free(self) -> None:
        """Nothing of lwIP's memory is in use."""
        deadline = time.monotonic() + WITHIN_S
        while any((found := self.resources()).values()):
            assert time.monotonic() < deadline, found
            self.good("skip", 0, 300)  # what rests in TIME-WAIT
            time.sleep(0.01)

    def until_counted(self, name: str, least: int) -> None:
        deadline = time.monotonic() + WITHIN_S
        while self.statistics()[name] < least:
            assert time.monotonic() < deadline, self.statistics()
            time.sleep(0.002)

    def end(self) -> None:
        """It has given everything back, and the sanitizers have nothing to say."""
        self.good("line", 0, 0, 0)
        self.good("stall", 0, 0)
        for session in (0, 1):
            self.good("stop", session)
            self.until_rest(session)
        self.until_free()
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(WITHIN_S) == 0


def driven(program: Path) -> Iterator[Device]:
    made = Device(program)
    try:
        yield made
        made.end()
    finally:
        made.close()


@pytest.fixture
def device(memory_program: Path, serve: object) -> Iterator[Device]:  # ends before the scripts do
    """Under the sanitizers."""
    yield from driven(memory_program)


@pytest.fixture(params=["pools", "memory"])
def any_device(request: pytest.FixtureRequest, serve: object) -> Iterator[Device]:
    """With lwIP's own memory, and under the sanitizers."""
    program: Path = request.getfixturevalue(f"{request.param}_program")
    yield from driven(program)


# Against the real server


@pytest.mark.parametrize("hold", [0, 2])
def test_the_picture_is_exact(
    any_device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter, hold: int
) -> None:
    device, (name, port) = any_device, real
    device.good("create", 0, port, f"hold={hold}")
    device.good("start", 0)
    device.until_shown(tmp_path, expected(name))
    for colour in (0xFF0000, 0x00FF00, 0x1234AB):
        artist.fill(Rect(colour % 50, 30, 200, 60), colour)
        device.until_shown(tmp_path, expected(name))


def test_five_sessions_one_after_another(
    any_device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter
) -> None:
    device, (name, port) = any_device, real
    for turn in range(5):
        device.good("create", 0, port, f"hold={turn % 2 * 2}")
        device.good("start", 0)
        assert device("start", 0) == Status.BAD_STATE
        artist.fill(Rect(30 * turn, 30, 100, 60), 0x112233 * turn)
        device.until_shown(tmp_path, expected(name))
        device.good("stop", 0)
        device.until(f"0 state {STOPPED} {int(Code.NORMAL)} 0")
        device.until_free()
        seen = device.statistics()
        assert (seen["state"], seen["attempts"], seen["connections"]) == (STOPPED, 1, 1)
        assert seen["bytes_received"] == seen["client_bytes"] > 10_000


def test_two_sessions_in_one_program(device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter) -> None:
    name, port = real
    device.good("create", 0, port)
    device.good("create", 1, port, "hold=2")
    device.good("start", 0)
    device.good("start", 1)
    for colour in (0xFF00FF, 0x00FFFF):
        artist.fill(Rect(50, 50, 100, 100), colour)
        for session in (0, 1):
            device.until_shown(tmp_path, expected(name), session)
    device.good("stop", 0)
    device.until_rest(0)
    artist.fill(Rect(60, 60, 100, 100), 0xABCDEF)
    device.until_shown(tmp_path, expected(name), 1)


@pytest.mark.parametrize(("delay_ms", "loss"), [(0, 60), (20, 0), (5, 30)])
def test_a_line_that_delays_and_loses(
    any_device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter, delay_ms: int, loss: int
) -> None:
    """Of a thousand packets so many never arrive; lwIP sends them again, and its clock is set forward for that."""
    device, (name, port) = any_device, real
    device.good("create", 0, port)
    device.good("line", 0, delay_ms, loss)
    device.good("start", 0)
    for colour in (0xFF0000, 0x00FF00):
        artist.fill(Rect(20, 30, 200, 60), colour)
        deadline = time.monotonic() + WITHIN_S
        wanted = expected(name)
        while device.picture(tmp_path) != wanted:
            assert time.monotonic() < deadline, device.statistics()
            device.good("skip", 0, 50 if loss else 0)
            time.sleep(0.01)
    assert device.statistics()["connections"] == 1


def test_a_slow_display_throttles_the_window(
    any_device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter
) -> None:
    """What is not drawn is not taken: the window closes, and nothing of the server's is lost."""
    device, (name, port) = any_device, real
    device.good("create", 0, port, "hold=1", "max_message=2048")
    device.good("start", 0)
    device.until("0 pending")
    deadline = time.monotonic() + WITHIN_S
    while (seen := device.statistics())["window"] >= 1460:
        assert time.monotonic() < deadline, str(seen)
        time.sleep(0.005)
    taken = seen["client_bytes"]
    assert seen["draw_waits"] == 1
    time.sleep(0.05)
    assert device.statistics()["client_bytes"] == taken
    # A window's worth of packets is held, and no more.
    assert device.resources()["pbufs"] <= 16
    device.good("hold", 0, 2)
    device.good("drawn", 0)
    device.until_shown(tmp_path, expected(name))
    assert device.statistics()["client_bytes"] > taken


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
    device.good("pointer", 0, 110, 61, 1)
    until((110, 61, 1))
    device.good("pointer", 0, 110, 61, 0)
    until((110, 61, 0))
    device.until("0 input 3")


def test_text_and_touch_reach_a_program(device: Device, real: tuple[str, int]) -> None:
    opened(device, real[1])
    with key_reader(real[0]) as reader:
        text = "Gr\u00fc\u00dfe,\u20ac"

        async def typed() -> str:
            device.good("text", 0, text)
            return await reader.text(len(text))

        async def tap(name: str) -> None:
            device.good(name, 0, "5:160:120")
            device.good(name, 0)
            while await reader.changes(1) != [("down", 1)]:
                pass  # keys that go up
            assert await reader.changes(1) == [("up", 1)]

        assert trio.run(typed) == text
        trio.run(tap, "touch")
        trio.run(tap, "!touch")


@pytest.mark.parametrize("hold", [0, 2])
@pytest.mark.parametrize("budgets", [[20_000], [2_500, 40_000, 5_000]], ids=str)
def test_a_line_that_is_cut(
    device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter, budgets: list[int], hold: int
) -> None:
    name, port = real
    with Proxy(port, budgets) as proxy:
        proxy.on_cut = lambda: artist.fill(Rect(240, 10, 50, 50), random.Random(proxy.cuts).getrandbits(24))
        device.good("create", 0, proxy.port, f"hold={hold}")
        device.good("start", 0)
        device.until("0 welcome 0 320x240")
        for _ in budgets:
            device.until(f"0 state {WAITING} .*")
            device.good("skip", 0, 4000)
            device.until(f"0 welcome {int(Resumed.RESUMED)} 320x240")
        device.until_shown(tmp_path, lambda: expected(name))
        seen = device.statistics()
        assert seen["attempts"] == seen["connections"] == proxy.cuts + 1 == len(budgets) + 1
        device.good("stop", 0)
        device.until_rest()


def test_a_reset_is_survived(device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter) -> None:
    """The line's other end answers with RST, before and after the device was let in."""
    name, port = real
    opened(device, port)
    device.until_shown(tmp_path, expected(name))
    device.good("cut", 0)
    device.until(f"0 state {WAITING} {int(Status.CLOSED)} .*")
    assert device.statistics()["error"] == RESET
    device.good("stall", 0, 1)
    device.good("skip", 0, 1000)
    device.until_counted("attempts", 2)
    device.good("cut", 0)
    device.good("stall", 0, 0)
    device.until(f"0 state {WAITING} {int(Status.CLOSED)} .*")
    device.good("skip", 0, 2000)
    device.until(f"0 welcome {int(Resumed.RESUMED)} 320x240")
    artist.fill(Rect(0, 0, 30, 30), 0x887766)
    device.until_shown(tmp_path, expected(name))


def test_a_line_that_goes_dark_comes_back(
    device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter
) -> None:
    """No packet passes: the silence is noticed, and connecting takes until there is light."""
    name, port = real
    opened(device, port)
    device.until_shown(tmp_path, expected(name))
    device.good("line", 0, 0, 1000)
    ended = re.compile(rf"0 state {WAITING} {int(Code.TIMEOUT)} .*")
    for _ in range(100):
        device.good("skip", 0, 1000)
        time.sleep(0.01)
        if any(ended.fullmatch(event) for event in device.events):
            break
    device.until(ended.pattern)
    device.good("skip", 0, 1000)
    device.until_counted("attempts", 2)
    device.good("skip", 0, CONNECT_MS)
    device.until(f"0 state {WAITING} {int(Status.CLOSED)} .*")
    device.good("line", 0, 0, 0)
    device.good("skip", 0, 2000)
    device.until(f"0 state {OPEN} 0 0")
    artist.fill(Rect(0, 0, 30, 30), 0x112233)
    device.until_shown(tmp_path, expected(name))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.touch(mode=0o600)
    file.write_text(f"lwip-0 {KEY.hex()}\n")
    return file


def keyed(keys: Path, port: int = 0) -> list[str]:
    """A server that asks for proof."""
    address = f"127.0.0.1:{port}"
    return ["run", "--listen", address, "--keys", str(keys), "--size", "320x240", "--", "sleep", "1000"]


def test_a_wrong_key_stops_it(device: Device, tmp_path: Path, keys: Path) -> None:
    with served(keyed(keys), tmp_path / "log") as server:
        port = int(server.address.rpartition(":")[2])
        device.good("create", 0, port, f"key={'00' * 32}")
        device.good("start", 0)
        device.until(f"0 state {ENDED} {int(Code.AUTH_FAILED)} 0")
        device.good("create", 1, port)
        device.good("start", 1)
        device.until(f"1 state {ENDED} {int(Code.AUTH_REQUIRED)} 0")
        device.until_free()


def test_a_server_that_goes_and_comes_back(device: Device, tmp_path: Path, keys: Path) -> None:
    """A session of another server is a new one, with the same keys; nobody touches the device."""
    with served(keyed(keys), tmp_path / "log") as server:
        port = int(server.address.rpartition(":")[2])
        device.good("create", 0, port, f"key={KEY.hex()}", "hold=2")
        device.good("start", 0)
        device.until(f"0 state {OPEN} 0 0")
    device.until(f"0 state {WAITING} {int(Code.STOPPING)} .*")
    device.good("skip", 0, 1000)
    device.until(f"0 state {WAITING} {int(Status.CLOSED)} .*")  # nobody there
    with served(keyed(keys, port), tmp_path / "log") as server:
        device.good("skip", 0, 2000)
        device.until(f"0 state {OPEN} 0 0")
        found = re.search(r"on display (:\d+),", (tmp_path / "log").read_text())
        assert found
        device.until_shown(tmp_path, expected(found[1]))
        device.good("stop", 0)
        device.until_rest()


# Against a script


def opened(device: Device, *words: object) -> None:
    """A session that the server has let in."""
    device.good("create", 0, *words)
    device.good("start", 0)
    device.until(f"0 state {OPEN} 0 0")


def test_input_is_taken_as_soon_as_the_server_lets_in(device: Device, serve: Callable[..., int]) -> None:
    """WELCOME is decoded within lwIP's input; the main loop may look at its keys before it comes to tw_lwip_poll()."""
    heard: list[Event] = []
    device.good("create", 0, serve(listens(heard)), "eager=1")
    device.good("start", 0)
    device.until(f"0 eager {OK}")
    until_heard(heard, m.Key)


def test_input_is_taken_by_the_first_picture(device: Device, serve: Callable[..., int]) -> None:
    """Its callbacks find the session open, also where it came in one segment with WELCOME."""
    heard: list[Event] = []
    device.good("create", 0, serve(lets_in_with_a_picture(heard)), "eager=3")
    device.good("start", 0)
    device.until(f"0 state {OPEN} 0 0")
    device.until(f"0 eager {OK}")
    until_heard(heard, m.Key)


def until_ended(heard: list[Event]) -> None:
    """A script has heard all."""
    deadline = time.monotonic() + WITHIN_S
    while not heard or heard[-1] != EndOfStream():
        assert time.monotonic() < deadline, heard[-3:]
        time.sleep(0.001)


def closed(device: Device, heard: list[Event] | None = None) -> None:
    """By the device's own hand, after the inputs before it; all of them were heard."""
    device.good("close", 0, int(Code.NORMAL))
    device.until(f"0 state {ENDED} 0 0")
    if heard is not None:
        until_ended(heard)


def test_proof_is_asked_for_and_given(device: Device, tmp_path: Path, serve: Callable[..., int]) -> None:
    heard: list[Event] = []

    def script(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        assert hello.device_id == "lwip-0"
        assert hello.auth_methods == AuthMethod.HMAC
        peer.send(m.Reply(version=1, method=AuthMethod.HMAC, nonce=SERVER_NONCE))
        peer.send(peer.connection.make_proof(KEY))
        proof = next(events)
        assert isinstance(proof, m.Proof)
        peer.connection.check_proof(KEY, proof)
        peer.send(welcome(hello.capabilities), *PICTURE)
        heard.extend(events)

    opened(device, serve(script), "width=1024", "height=600", f"key={KEY.hex()}")
    device.until_counted("updates", 1)
    assert device.picture(tmp_path)[2 * (55 * 1024 + 105) :][:2] == b"\x00\xf8"
    device.good("stop", 0)
    device.until(f"0 state {STOPPED} 0 0")
    until_ended(heard)
    assert isinstance(heard[0], m.Ack)
    assert heard[-2:] == [m.Goodbye(code=Code.NORMAL, text=Code.NORMAL.text), EndOfStream()]


def test_a_server_without_proof_is_not_believed(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []

    def script(peer: Peer, events: Iterator[Event]) -> None:
        next(events)
        peer.send(m.Reply(version=1, method=AuthMethod.HMAC, nonce=SERVER_NONCE))
        peer.stream.sendall(bytes([m.Proof.type, 32]) + bytes(32))
        heard.extend(events)

    device.good("create", 0, serve(script), f"key={KEY.hex()}")
    device.good("start", 0)
    device.until(f"0 state {ENDED} {int(Code.AUTH_FAILED)} 0")
    until_ended(heard)
    assert heard == [m.Goodbye(code=Code.AUTH_FAILED, text=Code.AUTH_FAILED.text), EndOfStream()]


def test_everything_that_can_be_said(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []
    opened(device, serve(listens(heard)))
    for line in (
        "key 0 0xff0d 1",
        "pointer 0 5 6 1",
        "wheel 0 -120 240",
        "touch 0 3:10:20 4:30:40",
        "!touch 0",
        "resize 0 300 200",
        "copy 0 abc 2",
        "pause 0 1",
        "text 0 h\u00e9llo",
    ):
        device.good(*line.split())
    device.until("0 copied 0 1")
    device.until("0 taken 6")
    closed(device, heard)
    assert heard[1:] == [
        m.Key(input=1, keysym=0xFF0D, pressed=1),
        m.Pointer(input=2, position=Point(5, 6), buttons=1),
        m.Wheel(input=3, dx=-120, dy=240),
        m.Touch(input=4, fingers=(finger(3, 10, 20), finger(4, 30, 40))),
        m.Touch(input=5, fingers=()),
        m.Resize(width=300, height=200),
        m.Clipboard(total=6, offset=0, data=b"abcabc"),
        m.Pause(paused=1),
        m.TextInput(input=6, text="h\u00e9llo"),
        m.Goodbye(code=Code.NORMAL, text=Code.NORMAL.text),
        EndOfStream(),
    ]
    assert device("key", 0, 0xFF0D, 1) == Status.BAD_STATE
    assert device("!touch", 0) == 1
    assert device.statistics()["inputs"] == 6


def test_long_texts(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []
    opened(device, serve(listens(heard)))
    # Nothing gets through for now, so that the text is not sent before the key comes.
    device.good("stall", 0, 1)
    device.good("copy", 0, "0123456789abcdef", 16384)
    assert device("key", 0, 0x76, 1) == Status.FULL
    device.good("stall", 0, 0)
    device.until("0 copied 0 1")
    text = "\u00e4b\u20acd\U0001f600" * 70
    left = text.encode()
    while left:
        assert device("text", 0, left.decode()) in (OK, Status.FULL)
        left = left[int(device.until(r"0 taken (\d+)")[1]) :]
    assert device("text", 0, "\udc80" * 1100) in (Status.ARGUMENT, Status.FULL)
    closed(device, heard)
    chunks = all_of(heard, m.Clipboard)
    assert b"".join(chunk.data for chunk in chunks) == b"0123456789abcdef" * 16384
    assert "".join(event.text for event in all_of(heard, m.TextInput)) == text


def fill_up(device: Device) -> int:
    """Keys until neither lwIP nor the client takes another; how many were taken."""
    device.good("stall", 0, 1)
    count = 0
    while True:
        status = device("key", 0, 0x61, count % 2)
        assert status in (OK, Status.FULL)
        if status == Status.FULL:
            time.sleep(0.05)
            if device("key", 0, 0x61, count % 2) == Status.FULL:
                return count
        count += 1


def test_a_server_that_does_not_read(any_device: Device, serve: Callable[..., int]) -> None:
    """Motion out of an interrupt gives way to newer motion; where too much waits, every finger is lifted."""
    device, heard = any_device, list[Event]()
    opened(device, serve(listens(heard)))
    keys = fill_up(device)
    assert device.statistics()["window_waits"] > 0
    for at in range(40):
        device.good("!touch", 0, f"7:{at}:{at}")
        time.sleep(0.006)  # the main loop has looked: motion makes room
    device.good("!touch", 0)
    for at in range(20):
        assert device("touch", 0, "1:1:1") == Status.FULL
        device("!touch", 0, f"{at}:5:5")
        time.sleep(0.006)
    assert device("!touch", 0, "99:5:5") == 1
    device.good("stall", 0, 0)
    deadline = time.monotonic() + WITHIN_S
    while device("!touch", 0, "100:5:5") != 0:
        assert time.monotonic() < deadline
    while device("touch", 0) != OK:
        assert time.monotonic() < deadline
    closed(device, heard)
    assert len(all_of(heard, m.Key)) == keys
    touches = [event.fingers for event in all_of(heard, m.Touch)]
    # Where the press began is told, however late.
    assert touches[:3] == [(finger(7, 0, 0),), (finger(7, 39, 39),), ()]
    ids = [fingers[0].finger if fingers else None for fingers in touches[3:]]
    taken = len(ids) - 3
    assert ids == [*range(taken), None, 100, None]
    seen = device.statistics()
    assert seen["joined"] == 38
    assert seen["lost"] >= 20 - taken + 1
    inputs = [event.input for event in heard if isinstance(event, m.Key | m.Touch)]
    assert inputs == list(range(1, len(inputs) + 1))


def test_last_words_that_nobody_reads_are_waited_for_in_peace(device: Device, serve: Callable[..., int]) -> None:
    opened(device, serve(listens([])))
    fill_up(device)
    device.good("stop", 0)
    device.good("skip", 0, FAREWELL_MS // 2)
    before = device("hurries", 0)
    time.sleep(0.2)
    assert device("hurries", 0) - before < 3
    device.good("skip", 0, FAREWELL_MS)
    device.until_rest()
    device.good("stall", 0, 0)


def test_a_storm_of_interrupts(any_device: Device, serve: Callable[..., int]) -> None:
    """Signals at any instant: each touch arrives whole and in its order."""
    device, heard = any_device, list[Event]()
    opened(device, serve(listens(heard)))
    device.good("storm", 0, 2000, 100_000)
    deadline = time.monotonic() + WITHIN_S
    # One that finds no room is shown again by the next signal.
    while len(at := places(heard)) + device.statistics()["joined"] < 1999 or all_of(heard, m.Touch)[-1].fingers:
        assert time.monotonic() < deadline, len(at)
        time.sleep(0.01)
    closed(device, heard)
    assert all(place.y == 4095 - place.x for place in at)
    assert [place.x for place in at] == sorted({place.x for place in at})
    assert len(at) + device.statistics()["joined"] == 1999


def test_a_storm_between_any_two_instructions(tmp_path: Path, lwip_source: Path) -> None:
    """A lift that the ring had no room for arrives nevertheless, and after all that came before it."""
    folders = [f"-I{PORT}", f"-I{HERE / 'lwip'}", "-isystem", f"{lwip_source / 'include'}"]
    program, ours = tmp_path / "interrupts", [HERE / "lwip_interrupts.c", PORT / "tw_lwip_input.c", *SOURCES]
    flags = ("-std=c11", *WARNINGS, "-O2", "-g", "-mno-red-zone")
    run(compiler("gcc"), *flags, *INCLUDES, *folders, *ours, "-o", program)
    run(program)


def places(heard: list[Event]) -> list[Point]:
    """Of the first finger, where there was one."""
    return [event.fingers[0].position for event in all_of(heard, m.Touch) if event.fingers]


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

    opened(device, serve(script), "width=1024", "height=600", f"hold={2 * (size == 1000)}")
    device.until_counted("updates", 1)
    assert device.picture(tmp_path)[2 * (55 * 1024 + 105) :][:2] == b"\x00\xf8"


@pytest.mark.parametrize("hold", [0, 2])
def test_a_liar_ends_the_connection_alone(
    any_device: Device, tmp_path: Path, serve: Callable[..., int], hold: int
) -> None:
    """Bad bytes, in the handshake and in a session, with much behind them that nobody wants: it is tried again."""
    device = any_device

    def stays(peer: Peer) -> None:
        """Never closes, and sends on."""
        with suppress(OSError):
            while peer.stream.recv(65536):
                peer.stream.sendall(bytes(5000))

    def no_server(peer: Peer, events: Iterator[Event]) -> None:
        next(events)
        peer.stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(30_000))
        stays(peer)

    def bad_bytes(peer: Peer, events: Iterator[Event]) -> None:
        lets_in(*PICTURE)(peer, events)
        with suppress(OSError):
            peer.stream.sendall(random.Random(5).randbytes(50_000))
            stays(peer)

    def good(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        peer.send(reply(), welcome(hello.capabilities), *PICTURE)
        for _ in events:
            pass

    device.good("create", 0, serve(no_server, bad_bytes, good), "width=1024", "height=600", f"hold={hold}")
    device.good("start", 0)
    device.until(f"0 state {WAITING} {int(Code.NOT_TILEWIRE)} .*")
    device.good("skip", 0, 1000)
    found = device.until(rf"0 state {WAITING} (\d+) .*")
    assert int(found[1]) not in (Code.NORMAL, Status.CLOSED)
    device.good("skip", 0, 2000)
    device.until(f"0 state {OPEN} 0 0")
    device.until_counted("updates", 1)
    device.until_shown(tmp_path, lambda: device.picture(tmp_path))
    device.good("stop", 0)
    device.until_rest()
    device.until_free()


# Ends


def test_stop_while_connecting(device: Device) -> None:
    device.good("create", 0, 7800)
    device.good("line", 0, 0, 1000)
    device.good("start", 0)
    device.until(f"0 state {CONNECTING} 0 0")
    device.good("stop", 0)
    device.until(f"0 state {STOPPED} {int(Status.CLOSED)} 0")


def test_nobody_there(device: Device) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    device.good("create", 0, port)
    device.good("start", 0)
    for least in (500, 1000, 2000):
        wait = int(device.until(f"0 state {WAITING} {int(Status.CLOSED)} (\\d+)")[1])
        assert least <= wait <= 2 * least
        device.good("skip", 0, wait)
    assert device.statistics()["error"] == RESET
    device.good("stop", 0)
    device.until_rest()


def test_a_cable_that_is_out(device: Device, serve: Callable[..., int]) -> None:
    """There is no route: lwIP says so at once, and it is tried again."""
    device.good("create", 0, serve(listens([])))
    device.good("plug", 0, 0)
    device.good("start", 0)
    device.until(f"0 state {WAITING} {int(Status.CLOSED)} .*")
    assert device.statistics()["error"] == NO_ROUTE
    device.good("plug", 0, 1)
    device.good("skip", 0, 1000)
    device.until(f"0 state {OPEN} 0 0")
    closed(device)


def test_stop_while_something_is_drawn(device: Device, tmp_path: Path, serve: Callable[..., int]) -> None:
    picture = [*PICTURE[:3], PICTURE[-1]]
    scripts = listens([], *picture), listens([], *picture)
    device.good("create", 0, serve(*scripts), "width=1024", "height=600", "hold=1")
    device.good("start", 0)
    device.until("0 pending")
    device.good("stop", 0)
    assert device("resting", 0) == 1
    deadline = time.monotonic() + WITHIN_S
    while device("resting", 0) != 0:
        assert time.monotonic() < deadline
        device.good("skip", 0, FAREWELL_MS // 2)
        time.sleep(0.01)
    # The DMA is still at it: what is started now waits for it.
    device.good("hold", 0, 2)
    device.good("start", 0)
    time.sleep(0.05)
    assert device.statistics()["attempts"] == 1
    device.good("drawn", 0)
    device.until(f"0 state {OPEN} 0 0")
    device.until_counted("updates", 1)
    assert device.picture(tmp_path)[:2] == b"\xff\xff"


@pytest.mark.parametrize("code", [Code.NORMAL, Code.SESSION_ENDED, Code.REPLACED, Code.AUTH_FAILED, Code.VERSION])
def test_after_some_goodbyes_it_rests(device: Device, serve: Callable[..., int], code: Code) -> None:
    script = lets_in(m.Goodbye(code=code, text=code.text))
    device.good("create", 0, serve(script, script))
    for _ in range(2):
        device.good("start", 0)
        device.until(f"0 goodbye {int(code)} {code.text}")
        device.until(f"0 state {ENDED} {int(code)} 0")


def test_a_server_that_says_nothing(device: Device) -> None:
    """The handshake has its time, and the connection is dropped after another."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        device.good("create", 0, mute.getsockname()[1])
        device.good("start", 0)
        device.until_counted("bytes_sent", 50)
        ended = re.compile(rf"0 state {WAITING} {int(Code.TIMEOUT)} .*")
        for _ in range(30):
            device.good("skip", 0, 1000)
            time.sleep(0.01)
            if any(ended.fullmatch(event) for event in device.events):
                break
        device.until(ended.pattern)
        device.good("stop", 0)
        device.until_rest()


def test_a_pause_lasts(device: Device, serve: Callable[..., int]) -> None:
    heard: list[Event] = []

    def first(peer: Peer, events: Iterator[Event]) -> None:
        lets_in()(peer, events)
        heard.append(next(events))

    device.good("create", 0, serve(first, listens(heard)))
    device.good("pause", 0, 1)
    device.good("start", 0)
    device.until(f"0 state {WAITING} .*")
    device.good("skip", 0, 1000)
    device.until(f"0 state {OPEN} .*")
    device.good("pause", 0, 0)
    closed(device, heard)
    assert all_of(heard, m.Pause) == [m.Pause(paused=1), m.Pause(paused=1), m.Pause(paused=0)]


# Names


@pytest.mark.parametrize("host", ["server.test", "10.0.0.1"])
def test_a_name_is_looked_up(device: Device, serve: Callable[..., int], host: str) -> None:
    opened(device, serve(listens([])), f"host={host}")
    closed(device)


def test_a_name_that_nobody_knows(device: Device) -> None:
    device.good("create", 0, 7800, "host=other.test")
    device.good("start", 0)
    for _ in range(2):
        wait = device.until(f"0 state {WAITING} {int(Status.CLOSED)} (\\d+)")[1]
        device.good("skip", 0, int(wait))
    device.good("stop", 0)


def test_a_stop_waits_for_an_answer_about_a_name(device: Device) -> None:
    """DNS would call back into a session that is not there any more."""
    device.good("create", 0, 7800, "host=mute.test")
    device.good("start", 0)
    device.until(f"0 state {CONNECTING} 0 0")
    device.good("stop", 0)
    assert device("resting", 0) == 1
    assert device("create", 0, 7800) == Status.BAD_STATE
    deadline = time.monotonic() + WITHIN_S
    while device("resting", 0) != 0:
        assert time.monotonic() < deadline
        device.good("skip", 0, 1000)
        time.sleep(0.01)


# Shortages


def test_without_randomness_it_waits(device: Device, serve: Callable[..., int]) -> None:
    port = serve(listens([]))
    device.good("norandom", 0, 1)
    assert device("create", 0, port) == Code.INTERNAL
    device.good("norandom", 0, 0)
    device.good("create", 0, port)
    device.good("norandom", 0, 1)
    device.good("start", 0)
    device.until(f"0 state {WAITING} {int(Code.INTERNAL)} .*")
    device.good("norandom", 0, 0)
    device.good("skip", 0, 1000)
    device.until(f"0 state {OPEN} .*")
    closed(device)


def test_without_memory_it_waits(pools_program: Path, serve: Callable[..., int]) -> None:
    """Nothing left of lwIP's heap: no connection, and then none of what is to be said, until there is."""
    for device in driven(pools_program):
        heard: list[Event] = []
        device.good("create", 0, serve(listens(heard)))
        device.good("hoard", 0, 1)
        device.good("start", 0)
        device.until_counted("shortages", 1)
        device.good("hoard", 0, 0)
        while device.statistics()["state"] != OPEN:
            device.good("skip", 0, 500)
            time.sleep(0.01)
        before = device.statistics()["shortages"]
        device.good("hoard", 0, 1)
        device.good("key", 0, 0x61, 1)
        device.until_counted("shortages", before + 1)
        device.good("hoard", 0, 0)
        deadline = time.monotonic() + WITHIN_S
        while not all_of(heard, m.Key):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        closed(device)


@pytest.mark.parametrize(
    ("words", "status"),
    [(["memory=100"], "MEMORY"), (["width=0"], "ARGUMENT"), (["max_message=5"], "MEMORY")],
    ids=str,
)
def test_what_cannot_be(device: Device, words: list[str], status: str) -> None:
    assert device("create", 0, 1, *words) == Status[status]
    device.good("create", 0, 1)


# As a firmware tree meets it


def test_compiles_without_a_warning(tmp_path: Path, lwip_source: Path) -> None:
    folders = [f"-I{PORT}", f"-I{HERE / 'lwip'}", "-isystem", f"{lwip_source / 'include'}"]
    for source in PORT_SOURCES:
        for cc in ("gcc", "clang"):
            run(compiler(cc), "-O2", *C99, *INCLUDES, *folders, "-c", source, "-o", tmp_path / "made.o")
            standard = ("-x", "c++", "-std=c++17")
            run(compiler(cc), *standard, *WARNINGS, *INCLUDES, *folders, "-c", source, "-o", tmp_path / "made.o")
        cortex = ("-mcpu=cortex-m4", "-mthumb", "-Os")
        for switches in ((), ("-DTW_WITH_CLIPBOARD=0", "-DTW_WITH_STATISTICS=0"), ("-DLWIP_DNS=0",)):
            made = tmp_path / f"{source.stem}.o"
            run(compiler("arm-none-eabi-gcc"), *cortex, *C99, *switches, *INCLUDES, *folders, "-c", source, "-o", made)


def test_compiles_against_debians_headers(tmp_path: Path) -> None:
    """Those of lwIP with an operating system underneath, and IPv6."""
    headers = Path("/usr/include/lwip")
    assert (headers / "lwip/tcp.h").exists(), "liblwip-dev is missing: make setup installs it"
    # lwIP makes an ssize_t of its own where the C library has not said that it has one.
    posix = ("-D_POSIX_C_SOURCE=200809L", "-isystem", f"{headers}")
    for source in PORT_SOURCES:
        for cc in ("gcc", "clang"):
            run(compiler(cc), "-O2", *C99, *INCLUDES, f"-I{PORT}", *posix, "-c", source, "-o", tmp_path / "made.o")


def test_needs_nothing_but_lwip(tmp_path: Path, lwip_source: Path) -> None:
    """No heap, no C library but for the three memory functions."""
    folders = [f"-I{PORT}", f"-I{HERE / 'lwip'}", "-isystem", f"{lwip_source / 'include'}"]
    objects = []
    for source in PORT_SOURCES:
        objects.append(tmp_path / f"{source.stem}.o")
        flags = ("-mcpu=cortex-m4", "-mthumb", "-Os", "-std=c99")
        run(compiler("arm-none-eabi-gcc"), *flags, *INCLUDES, *folders, "-c", source, "-o", objects[-1])
    table = [line.split()[-2:] for line in run("arm-none-eabi-nm", *objects).splitlines() if len(line.split()) > 1]
    needed = {name for kind, name in table if kind == "U"} - {name for kind, name in table if kind in "TDBR"}
    allowed = re.compile(r"tw_\w+|tcp_\w+|pbuf_\w+|dns_gethostbyname|ip4?addr_aton|mem(cpy|set|move|cmp)")
    assert {name for name in needed if not allowed.fullmatch(name)} == set()
    assert {name for kind, name in table if kind in "bBdDcC"} == set()
    sizes = [int(line.split()[0]) for line in run("arm-none-eabi-size", *objects).splitlines()[1:]]
    assert sum(sizes) <= 4096
