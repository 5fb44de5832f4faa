"""The POSIX port and its example against a server on a real socket."""

from __future__ import annotations

import io
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tilewire.protocol import AuthMethod, Code, Connection, EndOfStream, Event, Need, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.wire import Message

from tests.clients.support import KEY, SERVER_NONCE, reply, welcome
from tests.clients.test_build import INCLUDES, SOURCES, THREADX, compiler, run


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    port = THREADX / "ports/posix"
    made = tmp_path_factory.mktemp("posix") / "tilewire-view"
    run(compiler("gcc"), "-O1", *INCLUDES, f"-I{port}", *SOURCES, *sorted(port.glob("*.c")), "-o", made)
    return made


class Peer:
    """The server's end of one socket, blocking, in its own thread."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.connection = Connection(role=Sender.SERVER)

    def events(self) -> Iterator[Event]:
        while True:
            event = self.connection.next_event()
            if isinstance(event, Need):
                self.connection.receive_data(self.stream.recv(65536))
            else:
                yield event
                if isinstance(event, EndOfStream):
                    return

    def send(self, *events: Message | m.Reply) -> None:
        for event in events:
            self.stream.sendall(self.connection.send(event))


Script = Callable[[Peer, Iterator[Event]], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Script], int]]:
    """Starts a server that plays a script with one client; returns its port. Its exceptions fail the test."""
    failures: list[BaseException] = []
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)

    def start(script: Script) -> int:
        def play() -> None:
            try:
                stream, _ = listener.accept()
                with stream:
                    stream.settimeout(30)
                    peer = Peer(stream)
                    script(peer, peer.events())
            except BaseException as error:  # noqa: BLE001  # handed to the test below
                failures.append(error)

        threads.append(threading.Thread(target=play))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    listener.close()
    assert failures == []


PICTURE: list[Message] = [
    m.Begin(update=1, input=0),
    m.Fill(rect=Rect(0, 0, 1024, 600), pixel=b"\xff\xff"),
    m.Fill(rect=Rect(100, 50, 10, 10), pixel=b"\x00\xf8"),
    m.Raw(rect=Rect(512, 300, 256, 100), payload=b"\x1f\x00" * 25600),
    m.End(),
]


def view(program: Path, folder: Path, port: int, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "--output", folder / "seen.ppm", *words, "127.0.0.1", str(port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_shows_a_picture_and_says_goodbye(program: Path, tmp_path: Path, serve: Callable[[Script], int]) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY.hex() + "\n")
    seen: list[Event] = []

    def script(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        assert hello.device_id == "posix-1"
        assert hello.auth_methods == AuthMethod.HMAC
        peer.send(m.Reply(version=1, method=AuthMethod.HMAC, nonce=SERVER_NONCE))
        peer.send(peer.connection.make_proof(KEY))
        proof = next(events)
        assert isinstance(proof, m.Proof)
        peer.connection.check_proof(KEY, proof)
        peer.send(welcome(hello.capabilities), m.Notice(code=6, text="later"), *PICTURE)
        seen.extend(events)

    done = view(program, tmp_path, serve(script), "--device-id", "posix-1", "--auth-key-file", str(key_file))
    assert (done.returncode, done.stderr) == (0, "tilewire-view: notice 6: later\n")
    picture = Image.open(io.BytesIO((tmp_path / "seen.ppm").read_bytes()))
    assert picture.size == (1024, 600)
    colours = [picture.getpixel(at) for at in ((0, 0), (1023, 599), (105, 55), (600, 350))]
    assert colours == [(255, 255, 255), (255, 255, 255), (255, 0, 0), (0, 0, 255)]
    ack, goodbye, end = seen
    assert isinstance(ack, m.Ack)
    assert ack.update == 1
    assert goodbye == m.Goodbye(code=Code.NORMAL, text=Code.NORMAL.text)
    assert isinstance(end, EndOfStream)


@pytest.mark.parametrize("size", [1, 1000, 30000])
def test_whatever_the_network_does_with_the_bytes(
    program: Path, tmp_path: Path, serve: Callable[[Script], int], size: int
) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        next(events)
        connection = peer.connection
        few = PICTURE if size > 1 else [*PICTURE[:3], PICTURE[-1]]
        data = connection.send(reply()) + connection.send(welcome(0))
        data += b"".join(connection.send(event) for event in few)
        peer.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), size):
            peer.stream.sendall(data[at : at + size])
        for _ in events:
            pass

    assert view(program, tmp_path, serve(script)).returncode == 0


def test_a_goodbye_is_told(program: Path, tmp_path: Path, serve: Callable[[Script], int]) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        next(events)
        peer.stream.sendall(peer.connection.goodbye(Code.NO_SESSION))

    done = view(program, tmp_path, serve(script))
    assert done.returncode == 1
    assert done.stderr == f"tilewire-view: the server ended the connection: {Code.NO_SESSION.text} (13)\n"
    assert not (tmp_path / "seen.ppm").exists()


def test_what_is_no_tilewire_server_is_told(program: Path, tmp_path: Path, serve: Callable[[Script], int]) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        next(events)
        peer.stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        for event in events:
            assert event in (m.Goodbye(code=22, text=Code.NOT_TILEWIRE.text), EndOfStream())

    done = view(program, tmp_path, serve(script))
    assert done.returncode == 1
    assert Code.NOT_TILEWIRE.text in done.stderr


def test_a_stream_that_ends_early_is_told(program: Path, tmp_path: Path, serve: Callable[[Script], int]) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        next(events)
        peer.send(reply(), welcome(0), *PICTURE[:2])

    done = view(program, tmp_path, serve(script))
    assert done.returncode == 1
    assert Code.TRUNCATED.text in done.stderr


def test_nobody_there(program: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    done = view(program, tmp_path, port)
    assert done.returncode == 1
    assert done.stderr == "tilewire-view: 127.0.0.1: Connection refused\n"


@pytest.mark.parametrize(
    "words", [[], ["--seconds"], ["--seconds", "-1", "x"], ["--what", "1", "x"], ["a", "b", "c"]], ids=str
)
def test_usage(program: Path, words: list[str]) -> None:
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: tilewire-view")


@pytest.mark.parametrize("text", ["", "00" * 31, "zz" * 32, "+1" * 32])
def test_a_bad_key_file(program: Path, tmp_path: Path, text: str) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(text)
    done = subprocess.run([program, "--auth-key-file", key_file, "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "64 hex digits" in done.stderr
