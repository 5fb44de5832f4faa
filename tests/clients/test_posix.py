"""The POSIX port and its example against a server on a real socket."""

from __future__ import annotations

import array
import fcntl
import io
import re
import socket
import ssl
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from PIL import Image

from tilewire.protocol import AuthMethod, Code, Connection, EndOfStream, Event, Need, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.wire import Message

from tests.certificates import Authority, Identity
from tests.clients.support import KEY, SERVER_NONCE, reply, welcome
from tests.clients.test_build import C99, INCLUDES, SOURCES, THREADX, compiler, run
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
    "words",
    [
        [],
        ["--seconds"],
        ["--seconds", "-1", "x"],
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
    serve: Callable[[Script], int],
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
    tls_program: Path, tmp_path: Path, serve: Callable[[Script], int], identity: Identity, size: int
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
    tls_program: Path, tmp_path: Path, serve: Callable[[Script], int], identity: Identity
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
    serve: Callable[[Script], int],
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
    tls_program: Path, tmp_path: Path, serve: Callable[[Script], int], authority: Authority
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
    tls_program: Path, tmp_path: Path, serve: Callable[[Script], int], answer: bytes | None, sentence: str
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
    tls_program: Path, tmp_path: Path, serve: Callable[[Script], int], identity: Identity, how: str
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
    tls_program: Path, tmp_path: Path, serve: Callable[[Script], int], text: str | None
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
        pictures = []
        for words in (["--seconds", "2"], ["--ca", str(identity.certificate)]):
            done = view(tls_program, tmp_path, port, *words)
            assert (done.returncode, done.stderr) == (0, "")
            pictures.append((tmp_path / "seen.ppm").read_bytes())
    assert pictures[0] == pictures[1]
    # Something is written there.
    assert len(set(pictures[0])) > 2
