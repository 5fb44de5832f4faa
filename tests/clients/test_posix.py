"""The POSIX port and its example against a server on a real socket."""

from __future__ import annotations

import array
import fcntl
import io
import random
import re
import select
import socket
import ssl
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from PIL import Image, ImageChops

from tilewire.protocol import AuthMethod, Code, Connection, EndOfStream, Event, Need, Rect, Resumed, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.wire import Message

from tests.certificates import Authority, Identity
from tests.clients.support import KEY, SERVER_NONCE, reply, welcome
from tests.clients.test_build import C99, INCLUDES, SOURCES, THREADX, compiler, run
from tests.server.xclient import Painter, painter
from tests.support import put_pixels
from tools.served import served

HANDSHAKE_MS = 2000


def build(folder: Path, *flags: str) -> Path:
    """The example, with the warnings of the house as errors."""
    port = THREADX / "ports/posix"
    made = folder / "tilewire-view"
    sources = [*SOURCES, *sorted(port.glob("*.c"))]
    run(compiler("gcc"), "-O1", "-g", *C99, *INCLUDES, f"-I{port}", *sources, *flags, "-o", made)
    return made


@pytest.fixture(scope="module")
def plain_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def tls_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Under the sanitizers, which also find what is not freed."""
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    tls = ("-DTW_POSIX_WITH_TLS=1", f"-DTW_POSIX_HANDSHAKE_MS={HANDSHAKE_MS}", "-lssl", "-lcrypto")
    return build(tmp_path_factory.mktemp("tls"), *sanitizers, *tls)


@pytest.fixture(params=["plain", "tls"])
def program(request: pytest.FixtureRequest) -> Path:
    """Built without TLS and with it: in clear both do the same."""
    made: Path = request.getfixturevalue(f"{request.param}_program")
    return made


class Peer:
    """The server's end of one socket, blocking, in its own thread."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
def serve() -> Iterator[Callable[..., int]]:
    """Starts a server that plays a script with one client after the other; returns its port. Its exceptions fail the
    test."""
    failures: list[BaseException] = []
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)

    def start(*scripts: Script) -> int:
        def play() -> None:
            try:
                for script in scripts:
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


def view(program: Path, folder: Path, port: int, *words: str, reconnects: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "--output", folder / "seen.ppm", "--reconnects", str(reconnects), *words, "127.0.0.1", str(port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_shows_a_picture_and_says_goodbye(program: Path, tmp_path: Path, serve: Callable[..., int]) -> None:
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
    program: Path, tmp_path: Path, serve: Callable[..., int], size: int
) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        next(events)
        connection = peer.connection
        few = PICTURE if size > 1 else [*PICTURE[:3], PICTURE[-1]]
        data = connection.send(reply()) + connection.send(welcome(0))
        data += b"".join(connection.send(event) for event in few)
        for at in range(0, len(data), size):
            peer.stream.sendall(data[at : at + size])
        for _ in events:
            pass

    assert view(program, tmp_path, serve(script)).returncode == 0


def test_a_goodbye_is_told(program: Path, tmp_path: Path, serve: Callable[..., int]) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        next(events)
        peer.stream.sendall(peer.connection.goodbye(Code.NO_SESSION))

    done = view(program, tmp_path, serve(script))
    assert done.returncode == 1
    assert done.stderr == f"tilewire-view: the server ended the connection: {Code.NO_SESSION.text} (13)\n"
    assert not (tmp_path / "seen.ppm").exists()


def test_what_is_no_tilewire_server_is_told(program: Path, tmp_path: Path, serve: Callable[..., int]) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        next(events)
        peer.stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        for event in events:
            assert event in (m.Goodbye(code=22, text=Code.NOT_TILEWIRE.text), EndOfStream())

    done = view(program, tmp_path, serve(script))
    assert done.returncode == 1
    assert Code.NOT_TILEWIRE.text in done.stderr


def test_a_stream_that_ends_early_is_told(program: Path, tmp_path: Path, serve: Callable[..., int]) -> None:
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
    "words",
    [
        [],
        ["--seconds"],
        ["--seconds", "-1", "x"],
        ["--reconnects", "x", "x"],
        ["--what", "1", "x"],
        ["a", "b", "c"],
        ["--tls"],
        ["--ca", "file"],
        ["--ca", "file", "--insecure-tls", "x"],
    ],
    ids=str,
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


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Identity:
    return authority.issue("server")


def shake(peer: Peer, identity: Identity, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLSocket:
    """The server's side of TLS; an end without close_notify raises."""
    context = identity.security().context
    assert context is not None
    context.maximum_version = version
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    secured = context.wrap_socket(peer.stream, server_side=True, suppress_ragged_eofs=False)
    peer.stream = secured
    return secured


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_the_picture_in_tls(
    tls_program: Path,
    tmp_path: Path,
    serve: Callable[..., int],
    authority: Authority,
    identity: Identity,
    size: int,
    version: ssl.TLSVersion,
) -> None:
    seen: list[Event] = []
    picture = PICTURE if size > 1 else [*PICTURE[:3], PICTURE[-1]]

    def script(peer: Peer, events: Iterator[Event]) -> None:
        with shake(peer, identity, version) as secured:
            next(events)
            connection = peer.connection
            data = connection.send(reply()) + connection.send(welcome(0))
            data += b"".join(connection.send(event) for event in picture)
            for at in range(0, len(data), size):
                # Each in a record of its own.
                secured.sendall(data[at : at + size])
            # The end comes with close_notify, or this would raise.
            seen.extend(events)

    done = view(tls_program, tmp_path, serve(script), "--ca", str(authority.certificate))
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(tmp_path / "seen.ppm") as image:
        assert image.getpixel((105, 55)) == (255, 0, 0)
        assert image.getpixel((600, 350)) == ((0, 0, 255) if size > 1 else (255, 255, 255))
    ack, goodbye, end = seen
    assert isinstance(ack, m.Ack)
    assert goodbye == m.Goodbye(code=Code.NORMAL, text=Code.NORMAL.text)
    assert isinstance(end, EndOfStream)


@pytest.mark.parametrize("size", [1, 700])
def test_whatever_the_network_does_with_the_records(
    tls_program: Path, tmp_path: Path, serve: Callable[..., int], identity: Identity, size: int
) -> None:
    def script(peer: Peer, _events: Iterator[Event]) -> None:
        context = identity.security().context
        assert context is not None
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)

        def send() -> None:
            data = outgoing.read()
            for at in range(0, len(data), size):
                peer.stream.sendall(data[at : at + size])

        def patiently(act: Callable[[], bytes | None]) -> bytes | None:
            while True:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    send()
                    incoming.write(peer.stream.recv(65536))

        def hear() -> Event:
            while isinstance(event := peer.connection.next_event(), Need):
                data = patiently(lambda: tls.read(65536))
                assert data is not None
                peer.connection.receive_data(data)
            return event

        patiently(tls.do_handshake)
        assert isinstance(hear(), m.Hello)
        tls.write(peer.connection.send(reply()))
        for message in (welcome(0), *PICTURE):
            tls.write(peer.connection.send(message))
        send()
        assert isinstance(hear(), m.Ack)
        assert isinstance(hear(), m.Goodbye)

    assert view(tls_program, tmp_path, serve(script), "--ca", str(identity.certificate)).returncode == 0


def until_taken(pipe: IO[bytes]) -> None:
    """Return once the other end has read everything, so that what follows is not read with it."""
    waiting = array.array("i", [1])
    deadline = time.monotonic() + 30
    while waiting[0]:
        fcntl.ioctl(pipe, termios.FIONREAD, waiting)
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_keys_may_be_updated(tls_program: Path, tmp_path: Path, identity: Identity) -> None:
    """The openssl command is the server, because Python's module cannot: K asks the client to update too."""
    files = ["-cert", str(identity.certificate), "-key", str(identity.key)]
    with subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1_3", *files],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        heard = b""

        def until(pattern: bytes) -> bytes:
            nonlocal heard
            assert server.stdout is not None
            while not (found := re.search(pattern, heard, re.DOTALL)):
                part = server.stdout.read(65536)
                assert part, heard
                heard += part
            heard = heard[found.end() :]
            return found[found.lastindex or 0]

        try:
            port = until(rb"ACCEPT 127\.0\.0\.1:(\d+)\n").decode()
            words = ["--ca", str(identity.certificate), "--seconds", "1", "--output", str(tmp_path / "seen.ppm")]
            with subprocess.Popen([tls_program, *words, "127.0.0.1", port]) as client:
                connection = Connection(role=Sender.SERVER)
                head = until(rb"(\x97TW\n\x01\x01..)")
                length = int.from_bytes(head[6:8], "little")
                connection.receive_data(head + until(rb"(.{%d})" % length))
                assert isinstance(connection.next_event(), m.Hello)
                server.stdin.write(connection.send(reply()) + connection.send(welcome(0)))
                for update, command in enumerate((b"K\n", b"k\n", b"K\n"), 1):
                    place = Rect(update, 0, 1, 1)
                    picture: list[Message] = [
                        m.Begin(update=update, input=0),
                        m.Fill(rect=place, pixel=b"\x00\xf8"),
                        m.End(),
                    ]
                    server.stdin.write(b"".join(connection.send(message) for message in picture))
                    until(rb"\x20.%c" % update)
                    server.stdin.write(command)
                    until_taken(server.stdin)
                until(rb"(\x01.)")
                assert client.wait(30) == 0
        finally:
            server.kill()
    with Image.open(tmp_path / "seen.ppm") as image:
        assert [image.getpixel((x, 0)) for x in (1, 2, 3)] == [(255, 0, 0)] * 3


def test_a_certificate_may_be_left_unchecked(
    tls_program: Path, tmp_path: Path, serve: Callable[..., int], identity: Identity
) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        with shake(peer, identity):
            next(events)
            peer.send(reply(), welcome(0), *PICTURE)
            for _ in events:
                pass

    done = view(tls_program, tmp_path, serve(script), "--insecure-tls")
    assert done.returncode == 0
    warning = "its certificate is not checked (--insecure-tls): anybody could be there"
    assert done.stderr == f"tilewire-view: 127.0.0.1: {warning}\n"


@pytest.mark.parametrize(
    ("names", "days", "trusted", "sentence"),
    [
        ("DNS:localhost,IP:127.0.0.2", 2, True, "IP address mismatch"),
        ("DNS:127.0.0.1", 2, True, "IP address mismatch"),
        ("IP:127.0.0.1", -1, True, "certificate has expired"),
        ("IP:127.0.0.1", 2, False, "unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_does_not_fit(
    tls_program: Path,
    tmp_path: Path,
    serve: Callable[..., int],
    authority: Authority,
    names: str,
    days: int,
    trusted: bool,
    sentence: str,
) -> None:
    misfit = authority.issue("misfit", names=names, days=days)

    def script(peer: Peer, _events: Iterator[Event]) -> None:
        with pytest.raises(ssl.SSLError):
            with shake(peer, misfit) as secured:
                secured.recv(1)

    done = view(tls_program, tmp_path, serve(script), *(["--ca", str(authority.certificate)] if trusted else ["--tls"]))
    said = f"tilewire-view: 127.0.0.1: the server's certificate is not accepted: {sentence}\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_the_name_is_checked_where_it_is_a_name(
    tls_program: Path, tmp_path: Path, serve: Callable[..., int], authority: Authority
) -> None:
    misfit = authority.issue("misfit", names="DNS:remotehost")

    def script(peer: Peer, _events: Iterator[Event]) -> None:
        with pytest.raises(ssl.SSLError):
            with shake(peer, misfit) as secured:
                secured.recv(1)

    words = ["--ca", str(authority.certificate), "--output", str(tmp_path / "seen.ppm")]
    done = subprocess.run(
        [tls_program, *words, "localhost", str(serve(script))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "certificate is not accepted: hostname mismatch" in done.stderr


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the TLS handshake failed: wrong version number"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "the TLS handshake failed: sslv3 alert handshake failure"),
        (b"", "the server closed the connection in the TLS handshake"),
        (None, "no answer in the TLS handshake"),
    ],
)
def test_what_is_no_tls_server_is_told(
    tls_program: Path, tmp_path: Path, serve: Callable[..., int], answer: bytes | None, sentence: str
) -> None:
    def script(peer: Peer, _events: Iterator[Event]) -> None:
        peer.stream.recv(65536)
        if answer is None:
            # Until the client gives up.
            with suppress(ConnectionError):
                while peer.stream.recv(65536):
                    pass
        else:
            peer.stream.sendall(answer)

    done = view(tls_program, tmp_path, serve(script), "--tls")
    assert (done.returncode, done.stderr) == (1, f"tilewire-view: 127.0.0.1: {sentence}\n")


@pytest.mark.parametrize("how", ["close_notify", "cut", "damaged"])
def test_a_stream_in_tls_that_ends_early_is_told(
    tls_program: Path, tmp_path: Path, serve: Callable[..., int], identity: Identity, how: str
) -> None:
    def script(peer: Peer, events: Iterator[Event]) -> None:
        with shake(peer, identity) as secured:
            next(events)
            peer.send(reply(), welcome(0), *PICTURE[:2])
            if how == "close_notify":
                with suppress(ssl.SSLError, ConnectionError):
                    secured.unwrap()
            elif how == "damaged":
                with socket.socket(fileno=secured.detach()) as below:
                    below.settimeout(30)
                    below.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
                    with suppress(ConnectionError):
                        while below.recv(65536):
                            pass

    done = view(tls_program, tmp_path, serve(script), "--ca", str(identity.certificate))
    assert done.returncode == 1
    assert ("Protocol error" if how == "damaged" else Code.TRUNCATED.text) in done.stderr


@pytest.mark.parametrize("text", [None, "", "no certificate\n"])
def test_a_file_to_trust_that_cannot_be_used(
    tls_program: Path, tmp_path: Path, serve: Callable[..., int], text: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)

    def script(peer: Peer, _events: Iterator[Event]) -> None:
        assert peer.stream.recv(65536) == b""

    done = view(tls_program, tmp_path, serve(script), "--ca", str(path))
    assert done.returncode == 1
    assert done.stderr.startswith("tilewire-view: 127.0.0.1: no certificates (PEM) can be read in the file to trust")


@pytest.mark.parametrize("words", [["--tls"], ["--ca", "file"], ["--insecure-tls"]])
def test_a_build_without_tls_says_so(plain_program: Path, words: list[str]) -> None:
    done = subprocess.run([plain_program, *words, "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "this build has no TLS" in done.stderr


def test_a_real_server_shows_the_same_in_tls(tls_program: Path, tmp_path: Path, identity: Identity) -> None:
    xterm = ["xterm", "-geometry", "120x35+0+0", "-bg", "white", "-fg", "black", "-e", "seq 30; sleep 1000"]
    arguments = ["run", "--listen", "127.0.0.1:0", "--size", "1024x600", *identity.flags, "--", *xterm]
    with served(arguments, tmp_path / "log") as server:
        port = int(server.address.rpartition(":")[2])

        def picture(*words: str) -> bytes:
            done = view(tls_program, tmp_path, port, *words)
            assert (done.returncode, done.stderr) == (0, "")
            return (tmp_path / "seen.ppm").read_bytes()

        # Until xterm has drawn all its lines: twice the same, and something is written there.
        before, now = b"", picture()
        while before != now or bytes(3) not in now:
            before, now = now, picture("--seconds", "1")
        assert picture("--ca", str(identity.certificate)) == now


# Statistics

TIMED = re.compile(
    r"updates=(?P<updates>\d+) bytes=(?P<bytes>\d+) jpegs=(?P<jpegs>\d+) jpeg_bytes=(?P<jpeg_bytes>\d+) "
    r"decode_us=\d+ inputs_refused=0 updates_dropped=(?P<dropped>\d) inputs_shown=(?P<shown>\d+)"
    r"(?: input_to_picture_us=(?P<last>\d+) mean_us=(?P<mean>\d+))?"
)


def timed(line: str) -> dict[str, int]:
    found = TIMED.fullmatch(line)
    assert found is not None, line
    return {name: int(value or 0) for name, value in found.groupdict().items()}


def test_statistics_of_each_connection(program: Path, tmp_path: Path, serve: Callable[..., int]) -> None:
    def greet(peer: Peer, events: Iterator[Event]) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        peer.send(reply(), welcome(hello.capabilities), *PICTURE)

    def breaks_in_an_update(peer: Peer, events: Iterator[Event]) -> None:
        greet(peer, events)
        assert isinstance(next(events), m.Ack)
        text = next(events)
        assert text == m.TextInput(input=1, text="ä b")
        peer.send(m.Begin(update=2, input=1), m.End(), m.Begin(update=3, input=1))
        peer.stream.shutdown(socket.SHUT_WR)
        for _ in events:
            pass

    def stays(peer: Peer, events: Iterator[Event]) -> None:
        greet(peer, events)
        assert not [event for event in events if isinstance(event, m.TextInput)]

    port = serve(breaks_in_an_update, stays)
    done = view(program, tmp_path, port, "--statistics", "--text", "ä b", "--seconds", "3", reconnects=1)
    assert done.returncode == 0, done.stderr
    first, second = map(timed, done.stdout.splitlines())
    assert (first["updates"], first["dropped"], first["shown"]) == (2, 1, 1)
    assert first["last"] == first["mean"] > 0
    assert (second["updates"], second["dropped"], second["shown"], second["last"]) == (1, 0, 0, 0)
    assert min(first["bytes"], second["bytes"]) > 50_000


def test_text_typed_into_a_real_session_is_timed(plain_program: Path, tmp_path: Path) -> None:
    xterm = ["xterm", "-geometry", "120x35+0+0", "-e", "cat"]
    with served(["run", "--listen", "127.0.0.1:0", "--size", "1024x600", "--", *xterm], tmp_path / "log") as server:
        port = int(server.address.rpartition(":")[2])
        # Until xterm is there to show it.
        for _ in range(20):
            done = view(plain_program, tmp_path, port, "--statistics", "--text", "abc", "--seconds", "1")
            assert (done.returncode, done.stderr) == (0, "")
            seen = timed(done.stdout.strip())
            if seen["shown"]:
                break
    assert seen["shown"] == 1
    assert 0 < seen["last"] < 20_000_000


# Photographs


def photo(width: int, height: int) -> Image.Image:
    """Large and small shades, and a little noise, as cameras have it."""
    coarse = Image.frombytes("RGB", (24, 14), random.Random(1).randbytes(24 * 14 * 3))
    fine = Image.frombytes("RGB", (width // 4, height // 4), random.Random(2).randbytes(width // 4 * (height // 4) * 3))
    one, other = (part.resize((width, height), Image.Resampling.BICUBIC) for part in (coarse, fine))
    return Image.blend(one, other, 0.1)


def far(folder: Path, right: Image.Image) -> tuple[float, int]:
    """Levels between the picture that was seen and the right one in 16 bits: mean, most."""
    with Image.open(folder / "seen.ppm") as seen:
        levels = ImageChops.difference(seen.convert("RGB"), right).tobytes()
    return sum(levels) / len(levels), max(levels)


def in_565(picture: Image.Image) -> Image.Image:
    """By truncation, and repeated into 8 bits as the example does it."""
    five = [value >> 3 << 3 | value >> 5 for value in range(256)]
    six = [value >> 2 << 2 | value >> 6 for value in range(256)]
    return picture.point([*five, *six, *five])


def test_photographs_are_decoded_here_and_end_exact(plain_program: Path, tmp_path: Path) -> None:
    picture = photo(1024, 600)
    right = in_565(picture)
    arguments = ["run", "--listen", "127.0.0.1:0", "--size", "1024x600", "--", "sleep", "1000"]
    with served(arguments, tmp_path / "log") as server:
        port = int(server.address.rpartition(":")[2])
        found = re.search(r"on display (:\d+),", (tmp_path / "log").read_text())
        assert found
        with painter(found[1]) as client:
            red, green, blue = picture.split()
            put_pixels(client, Rect(0, 0, 1024, 600), Image.merge("RGBX", (blue, green, red, red)).tobytes())
            done = view(plain_program, tmp_path, port, "--statistics")
            assert (done.returncode, done.stderr) == (0, "")
            first = timed(done.stdout.strip())
            mean, most = far(tmp_path, right)
            # The first update is lossy, and shows the photograph nevertheless.
            assert first["jpegs"] > 0
            assert first["jpeg_bytes"] > first["bytes"] / 2
            assert 0 < mean < 8
            assert most < 100
            for seconds in (2, 5, 10, 20):
                done = view(plain_program, tmp_path, port, "--statistics", "--seconds", str(seconds))
                assert (done.returncode, done.stderr) == (0, "")
                if far(tmp_path, right)[1] == 0:
                    break
            seen = timed(done.stdout.strip())
    assert far(tmp_path, right) == (0, 0)
    assert seen["jpegs"] > 0
    assert seen["updates"] > first["updates"]


# The line breaks


AGAIN = re.compile(r"tilewire-view: connecting again in (\d+) ms\n")
TOKENS = [bytes((number,) * 16) for number in (1, 2, 3)]


def pixels(folder: Path, *places: tuple[int, int]) -> list[object]:
    with Image.open(folder / "seen.ppm") as image:
        return [image.getpixel(place) for place in places]


@pytest.mark.parametrize("news", [False, True])
@pytest.mark.parametrize("end", ["whole", "in an update", "reset"])
def test_it_resumes(tls_program: Path, tmp_path: Path, serve: Callable[..., int], end: str, news: bool) -> None:
    hellos: list[m.Hello] = []

    def greet(peer: Peer, events: Iterator[Event], token: bytes, resumed: Resumed) -> None:
        hello = next(events)
        assert isinstance(hello, m.Hello)
        hellos.append(hello)
        peer.send(reply())
        offer = m.ResumeOffer(token=token, lifetime_s=60)
        peer.send(replace(welcome(hello.capabilities), resume=offer, resumed=resumed))

    def first(peer: Peer, events: Iterator[Event]) -> None:
        greet(peer, events, TOKENS[0], Resumed.NOT_ASKED)
        peer.send(*PICTURE)
        assert isinstance(next(events), m.Ack)
        if end == "in an update":
            peer.send(m.Begin(update=2, input=0), m.Fill(rect=Rect(0, 0, 9, 9), pixel=b"\x1f\0"))
        elif end == "reset":
            peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def second(peer: Peer, events: Iterator[Event]) -> None:
        greet(peer, events, TOKENS[1], Resumed.RESUMED)
        if news or end == "in an update":
            peer.send(m.Begin(update=1, input=0), m.Fill(rect=Rect(0, 0, 9, 9), pixel=b"\xe0\x07"), m.End())
        heard = list(events)
        assert heard[-2:] == [m.Goodbye(code=Code.NORMAL, text=Code.NORMAL.text), EndOfStream()]

    done = view(tls_program, tmp_path, serve(first, second), "--seconds", "1", reconnects=1)
    assert done.returncode == 0, done.stderr
    assert len(AGAIN.findall(done.stderr)) == 1
    assert hellos[0].resume is None
    assert hellos[1].resume == m.ResumeRequest(token=TOKENS[0], update=1)
    assert hellos[0].boot_id == hellos[1].boot_id
    assert hellos[0].nonce != hellos[1].nonce
    corner = (0, 255, 0) if news or end == "in an update" else (255, 255, 255)
    assert pixels(tmp_path, (0, 0), (1023, 599), (105, 55), (600, 350)) == [
        corner,
        (255, 255, 255),
        (255, 0, 0),
        (0, 0, 255),
    ]


def lets_in(*messages: Message) -> Script:
    """Lets the client in, sends this, and closes."""

    def script(peer: Peer, events: Iterator[Event]) -> None:
        next(events)
        peer.send(reply(), welcome(0), *messages)

    return script


def closes(peer: Peer, events: Iterator[Event]) -> None:
    next(events)


def stays(peer: Peer, events: Iterator[Event]) -> None:
    lets_in(*PICTURE)(peer, events)
    assert list(events)[-1] == EndOfStream()


def test_it_tries_again_and_again(tls_program: Path, tmp_path: Path, serve: Callable[..., int]) -> None:
    done = view(tls_program, tmp_path, serve(lets_in(), closes, stays), reconnects=2)
    assert done.returncode == 0, done.stderr
    waits = [int(wait) for wait in AGAIN.findall(done.stderr)]
    assert 500 <= waits[0] <= 1000 <= waits[1] <= 2000
    assert pixels(tmp_path, (105, 55)) == [(255, 0, 0)]


def test_it_gives_up(tls_program: Path, tmp_path: Path, serve: Callable[..., int]) -> None:
    done = view(tls_program, tmp_path, serve(lets_in(), closes), reconnects=1)
    assert done.returncode == 1
    assert len(AGAIN.findall(done.stderr)) == 1
    assert done.stderr.endswith("tilewire-view: 127.0.0.1: the server closed the connection\n")
    assert not (tmp_path / "seen.ppm").exists()


@pytest.mark.parametrize("code", [Code.NORMAL, Code.SESSION_ENDED, Code.REPLACED, Code.AUTH_FAILED, Code.VERSION])
def test_after_some_goodbyes_it_does_not_come_back(
    tls_program: Path, tmp_path: Path, serve: Callable[..., int], code: Code
) -> None:
    done = view(tls_program, tmp_path, serve(lets_in(m.Goodbye(code=code, text=code.text))), reconnects=5)
    assert (done.returncode, AGAIN.findall(done.stderr)) == (1, [])
    assert code.text in done.stderr


@pytest.mark.parametrize("code", [Code.STOPPING, Code.TOO_SLOW, Code.INTERNAL])
def test_after_others_it_does(tls_program: Path, tmp_path: Path, serve: Callable[..., int], code: Code) -> None:
    farewell = lets_in(*PICTURE, m.Goodbye(code=code, text=code.text))
    done = view(tls_program, tmp_path, serve(farewell, stays), "--seconds", "1", reconnects=1)
    assert (done.returncode, len(AGAIN.findall(done.stderr))) == (0, 1)
    assert code.text in done.stderr


class Proxy:
    """A line to a server that can be cut: connection k after `budgets[k]` bytes of the server, the rest never."""

    def __init__(self, port: int, budgets: Sequence[int]) -> None:
        self.budgets = list(budgets)
        self.cuts = 0
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.on_cut: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would not wake accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with near, socket.create_connection(self._server) as far:
                if not self._carry(near, far, self.budgets.pop(0) if self.budgets else None):
                    continue
            self.cuts += 1
            self.on_cut()

    def _carry(self, near: socket.socket, far: socket.socket, budget: int | None) -> bool:
        """Whether it was cut. It ends when either end is closed."""
        while True:
            ready, _, _ = select.select([near, far], [], [], 30)
            assert ready, "nothing comes any more"
            for source, target in ((near, far), (far, near)):
                if source not in ready:
                    continue
                try:
                    data = source.recv(16384)
                    if source is far and budget is not None:
                        data, budget = data[:budget], budget - len(data)
                    target.sendall(data)
                except ConnectionError:
                    return False
                if budget is not None and budget <= 0:
                    return True
                if not data:
                    return False


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory, identity: Identity) -> Iterator[tuple[Painter, int]]:
    """A real server with a picture of some hundred thousand bytes: who draws it, and the port."""
    log = tmp_path_factory.mktemp("noisy") / "log"
    arguments = ["run", "--listen", "127.0.0.1:0", "--size", "1024x600", *identity.flags, "--", "sleep", "1000"]
    with served(arguments, log) as server:
        found = re.search(r"on display (:\d+),", log.read_text())
        assert found
        with painter(found[1]) as client:
            put_pixels(client, Rect(100, 50, 300, 300), random.Random(3).randbytes(4 * 300 * 300))
            client.fill(Rect(500, 100, 200, 300), 0x336699)
            yield client, int(server.address.rpartition(":")[2])


# The picture takes some 180,000 bytes. With TLS the handshake takes the first 1,500.
@pytest.mark.parametrize("budgets", [[40_000], [2_500, 60_000, 30_000], [900_000]], ids=str)
@pytest.mark.parametrize("secure", [False, True])
def test_a_line_that_is_cut_shows_the_right_picture_in_the_end(
    tls_program: Path, tmp_path: Path, noisy: tuple[Painter, int], identity: Identity, secure: bool, budgets: list[int]
) -> None:
    _, port = noisy
    assert view(tls_program, tmp_path, port, "--seconds", "1").returncode == 0
    expected = (tmp_path / "seen.ppm").read_bytes()
    (tmp_path / "seen.ppm").unlink()
    words = ["--ca", str(identity.certificate)] if secure else []
    with Proxy(port, budgets) as proxy:
        done = view(tls_program, tmp_path, proxy.port, *words, reconnects=5)
    assert done.returncode == 0, done.stderr
    # Where the server resumes, less comes later and the last cut may not be reached.
    assert proxy.cuts == len(AGAIN.findall(done.stderr))
    assert (proxy.cuts > 0) == (budgets[0] < 180_000)
    assert (tmp_path / "seen.ppm").read_bytes() == expected


def test_what_changed_while_the_line_was_down_is_shown(
    tls_program: Path, tmp_path: Path, noisy: tuple[Painter, int]
) -> None:
    client, port = noisy

    def change() -> None:
        client.fill(Rect(600, 150, 200, 300), 0xFFCC00)
        client.fill(Rect(150, 100, 50, 60), 0x00FF00)

    with Proxy(port, [40_000]) as proxy:
        proxy.on_cut = change
        done = view(tls_program, tmp_path, proxy.port, "--seconds", "1", reconnects=5)
    assert (done.returncode, proxy.cuts) == (0, 1), done.stderr
    seen = (tmp_path / "seen.ppm").read_bytes()
    assert pixels(tmp_path, (700, 400), (170, 120), (510, 110)) == [(255, 207, 0), (0, 255, 0), (49, 101, 156)]
    assert view(tls_program, tmp_path, port).returncode == 0
    assert seen == (tmp_path / "seen.ppm").read_bytes()
