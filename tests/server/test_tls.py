"""TLS on the device port: the same pictures, the same ends, and whatever a hostile peer makes of a handshake."""

from __future__ import annotations

import logging
import random
import socket
import ssl
import struct
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio_websocket

from tilewire.protocol import Capability, Code, Connection, Need, PixelFormat, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.server import door, handshake, viewers
from tilewire.server.cli import parser
from tilewire.server.door import keep_door, open_door
from tilewire.server.errors import ServerError
from tilewire.server.handshake import Credentials
from tilewire.server.tls import Security, server_context
from tilewire.server.transport import WebRules

from tests.certificates import RSA, Authority, Identity, openssl
from tests.server.test_door import GOOD, TEST_HOST, TEST_ORIGIN, UPGRADE, Calm, pointer, request
from tests.server.xclient import painter
from tests.support import (
    LOOPBACK,
    WITHIN_S,
    Device,
    Served,
    Stream,
    WebStream,
    descriptors,
    device,
    everything,
    goodbye_in,
    hello,
    put_pixels,
    quiet,
    served,
    tcp,
)

SOON_S = 0.8
Say = Callable[[bytes], Awaitable[None]]
HANDSHAKE, ALERT = 0x16, 0x15
PROTOCOL_VERSION, HANDSHAKE_FAILURE = 70, 40


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Identity:
    return authority.issue("server")


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() - before == set()


@dataclass(frozen=True)
class Doors:
    """One session behind three doors: `in_clear` knows no TLS, `only` nothing else."""

    server: Served
    in_clear: int
    both: int
    only: int


RULES = WebRules(frozenset([TEST_ORIGIN]), frozenset([TEST_HOST]))


async def another_door(server: Served, security: Security) -> int:
    listeners = await open_door(LOOPBACK, 0)
    port = int(listeners[0].socket.getsockname()[1])
    server.nursery.start_soon(
        keep_door, listeners, Credentials(), RULES, server.session.serve, server.nursery, security
    )
    return port


@pytest.fixture
async def doors(identity: Identity) -> AsyncIterator[Doors]:
    async with served(rules=RULES) as server:
        both = await another_door(server, identity.security())
        only = await another_door(server, identity.security(required=True))
        yield Doors(server, server.port, both, only)


@pytest.fixture
async def witness(doors: Doors) -> AsyncIterator[Device]:
    """Another viewer, which must not notice."""
    async with device(doors.in_clear, hello(device_id="witness")) as other:
        await doors.server.until_exact(other)
        yield other


@pytest.fixture
async def calm(doors: Doors, witness: Device, caplog: pytest.LogCaptureFixture) -> Calm:
    caplog.set_level(logging.INFO)
    await quiet(0.01)
    return Calm(doors.server, witness, caplog)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is short."""
    for module in (door, handshake):
        monkeypatch.setattr(module, "HELLO_TIMEOUT_S", SOON_S)


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """A client that tells an end with close_notify from one without."""
    context = authority.trusting()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


class Secure(trio.abc.Stream):
    """tilewire's own framing in TLS."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.stream = stream
        self.notified: bool | None = None
        """Whether the end came with close_notify, once it came."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            data = bytes(await self.stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.notified = False
            return b""
        if not data:
            self.notified = True
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def receive(self) -> bytes:
        return await self.receive_some(65536)

    async def send(self, data: bytes) -> None:
        await self.send_all(data)

    async def until_notified(self) -> None:
        """Return once the end has come, if it came with close_notify. Somebody else reads."""
        with trio.fail_after(WITHIN_S):
            while self.notified is None:
                await quiet(0.001)
        assert self.notified


@asynccontextmanager
async def secure(port: int, context: ssl.SSLContext) -> AsyncIterator[Secure]:
    """A TLS connection after its handshake."""
    async with await trio.open_tcp_stream(LOOPBACK, port) as inner:
        stream = trio.SSLStream(inner, context, server_hostname=LOOPBACK)
        await stream.do_handshake()
        yield Secure(stream)


@asynccontextmanager
async def secure_web(
    port: int, context: ssl.SSLContext, *, origin: str | None = None, host: str | None = None
) -> AsyncIterator[tuple[WebStream, Secure]]:
    """A WebSocket in TLS. Raises trio_websocket.ConnectionRejected."""
    headers = [] if origin is None else [(b"Origin", origin.encode())]
    async with secure(port, context) as below, trio.open_nursery() as nursery:
        web = await trio_websocket.wrap_client_stream(
            nursery,
            below,  # type: ignore[arg-type]  # any stream of trio's, its documentation says
            host or f"{LOOPBACK}:{port}",
            "/",
            extra_headers=headers,
        )
        try:
            yield WebStream(web), below
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def living(stream: Stream, greeting: m.Hello | None = None, *, acks: bool = True) -> AsyncIterator[Device]:
    """A device on a stream, let in."""
    async with trio.open_nursery() as nursery:
        one = Device(stream, greeting or hello(), acks=acks)
        await one.greet()
        nursery.start_soon(one.live)
        await one.until(lambda: one.connection.welcome is not None)
        yield one
        nursery.cancel_scope.cancel()


class Hands:
    """A TLS client whose every byte goes through the test's hands."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=LOOPBACK)

    def shake(self) -> bytes:
        """What the client has to say next in the handshake."""
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def write(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    async def finish(self, stream: Stream) -> bytes:
        """Shake hands up to the client's last bytes, which are returned and not sent."""
        await stream.send(self.shake())
        while True:
            self.incoming.write(await stream.receive())
            data = self.shake()
            if self.tls.version() is not None:
                return data
            await stream.send(data)


# The same as without


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_picture_is_the_same(
    doors: Doors, witness: Device, authority: Authority, trusting: ssl.SSLContext, kind: str, version: ssl.TLSVersion
) -> None:
    trusting.minimum_version = trusting.maximum_version = version
    port = doors.both
    if kind == "rsa":
        port = await another_door(doors.server, authority.issue("rsa", kind=RSA).security())
    async with secure(port, trusting) as native, secure_web(port, trusting) as (web, _):
        assert native.stream.selected_alpn_protocol() is None
        assert native.stream.compression() is None
        async with living(native) as one, living(web) as two:
            noise = random.Random(5)
            with painter(doors.server.name) as client:
                for _ in range(5):
                    put_pixels(client, Rect(0, 0, 200, 120), noise.randbytes(4 * 200 * 120))
                    client.fill(Rect(noise.randrange(150), 3, 40, 70), noise.randrange(1 << 24))
                    await doors.server.until_exact(one, two, witness)
            assert one.stored() == two.stored() == witness.stored()


async def test_a_door_that_asks_for_tls_lets_in_who_speaks_it(doors: Doors, trusting: ssl.SSLContext) -> None:
    async with secure(doors.only, trusting) as native, secure_web(doors.only, trusting) as (web, _):
        async with living(native) as one, living(web) as two:
            await doors.server.until_exact(one, two)


async def test_a_door_with_certificates_still_speaks_in_clear(doors: Doors) -> None:
    async with device(doors.both) as one, device(doors.both, by_web=True) as two:
        await doors.server.until_exact(one, two)


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
async def test_nothing_is_lost_between_the_layers(doors: Doors, trusting: ssl.SSLContext, size: int) -> None:
    """The end of the handshake and the first messages in one piece, and every byte alone."""
    hands = Hands(trusting)
    async with tcp(doors.both) as stream:
        first = hands.shake()
        for at in range(0, len(first), size):
            await stream.send(first[at : at + size])
        data = b""
        while hands.tls.version() is None:
            hands.incoming.write(await stream.receive())
            data += hands.shake()
        talk = Connection(Sender.CLIENT)
        data += hands.write(talk.send(hello()))
        for at in range(0, len(data), size):
            await stream.send(data[at : at + size])
        while not isinstance(event := talk.next_event(), m.Welcome):
            if isinstance(event, Need):
                hands.incoming.write(await stream.receive())
                with suppress(ssl.SSLWantReadError):
                    talk.receive_data(hands.tls.read(65536))


async def test_keys_may_be_updated(doors: Doors, identity: Identity) -> None:
    """By the openssl command: Python's own module cannot. K: both directions."""
    async with openssl_client(doors.both, identity, "-tls1_3") as (send, said):
        await send(b"K\n")
        await said(b"KEYUPDATE")
        await send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await said(b"HTTP/1.1 400 ")


async def test_nothing_is_renegotiated(doors: Doors, identity: Identity, calm: Calm) -> None:
    async with openssl_client(doors.both, identity, "-tls1_2") as (send, said):
        await send(b"R\n")
        await said(b"no renegotiation")
    await calm.again()


@asynccontextmanager
async def openssl_client(port: int, identity: Identity, *words: str) -> AsyncIterator[tuple[Say, Say]]:
    process = await trio.lowlevel.open_process(
        ["openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-CAfile", str(identity.certificate), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    heard = b""

    async def said(words: bytes) -> None:
        nonlocal heard
        with trio.fail_after(WITHIN_S):
            while words not in heard:
                assert process.stdout is not None
                part = await process.stdout.receive_some()
                assert part, heard
                heard += part

    try:
        # What is typed before the handshake is over would be taken for data.
        await said(b"Verify return code")
        yield process.stdin.send_all, said
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await process.stdin.aclose()
        await process.stdout.aclose()


# How it ends


@pytest.mark.parametrize("by_web", [False, True])
async def test_the_goodbye_arrives_and_then_close_notify(
    doors: Doors, calm: Calm, trusting: ssl.SSLContext, by_web: bool
) -> None:
    async with secure_web(doors.both, trusting) if by_web else paired(doors.both, trusting) as (stream, below):
        async with living(stream, hello(capabilities=Capability.COPY)) as one:
            await one.say_raw(pointer(1, 200, 0))
            goodbye = await one.until_ended()
            assert goodbye is not None
            assert goodbye.code == Code.BAD_VALUE
        if by_web:
            assert isinstance(stream, WebStream)
            assert stream.socket.closed is not None
            assert stream.socket.closed.code == 1000
        else:
            assert await everything(below) == b""
        await below.until_notified()
    await calm.again("BAD_VALUE")


@asynccontextmanager
async def paired(port: int, context: ssl.SSLContext) -> AsyncIterator[tuple[Stream, Secure]]:
    async with secure(port, context) as stream:
        yield stream, stream


async def test_what_was_not_read_does_not_overtake_the_goodbye(
    doors: Doors, calm: Calm, trusting: ssl.SSLContext
) -> None:
    """Neither in TCP, where unread bytes make a reset, nor in TLS, where they forbid a close_notify."""
    async with secure(doors.both, trusting) as stream:
        async with living(stream, hello(capabilities=Capability.COPY)) as one:
            await one.until(lambda: one.updates)
            await one.say_raw(pointer(1, 200, 0) + bytes(120_000))
            goodbye = await one.until_ended()
        assert goodbye is not None
        assert goodbye.code == Code.BAD_VALUE
        assert await everything(stream) == b""
        assert stream.notified
    await calm.again("BAD_VALUE")


async def test_the_end_of_the_session_is_told(doors: Doors, trusting: ssl.SSLContext) -> None:
    async with secure(doors.both, trusting) as stream, living(stream) as one:
        doors.server.session.end(Code.STOPPING, "enough")
        goodbye = await one.until_ended()
        assert goodbye == m.Goodbye(code=Code.STOPPING, text="enough")
        assert stream.notified


@pytest.mark.parametrize("how", ["close_notify", "end", "reset"])
async def test_a_peer_that_leaves(doors: Doors, calm: Calm, trusting: ssl.SSLContext, how: str) -> None:
    async with secure(doors.both, trusting) as stream:
        async with living(stream) as one:
            await one.until(lambda: one.updates)
        if how == "close_notify":
            await stream.stream.aclose()
        elif how == "reset":
            inner = stream.stream.transport_stream
            inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await calm.again()


async def test_a_peer_that_never_reads(
    doors: Doors, witness: Device, calm: Calm, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secure(doors.both, trusting) as stream:
        stream.stream.transport_stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greeting = hello(panel=(1280, 720), pixel_format=PixelFormat.XRGB8888, max_message=1 << 20)
        await stream.send(Connection(Sender.CLIENT).send(greeting))
        with painter(doors.server.name) as client:
            noise = random.Random(1)
            for _ in range(5):
                put_pixels(client, Rect(0, 0, 200, 120), noise.randbytes(4 * 200 * 120))
                await doors.server.until_exact(witness)
            monkeypatch.setattr(viewers, "STALLED_S", SOON_S)
            client.fill(Rect(0, 0, 5, 5), 0x777777)
            await doors.server.until_exact(witness)
    await calm.again()


async def test_a_record_that_was_tampered_with(doors: Doors, calm: Calm, trusting: ssl.SSLContext) -> None:
    hands = Hands(trusting)
    async with tcp(doors.both) as stream:
        await stream.send(await hands.finish(stream))
        record = bytearray(hands.write(Connection(Sender.CLIENT).send(hello())))
        record[-1] ^= 1
        await stream.send(bytes(record))
        await everything(stream)
    await calm.again("decryption failed")


# Who does not get that far


def client_hello(context: ssl.SSLContext) -> bytes:
    return Hands(context).shake()


def record(data: bytes, kind: int = HANDSHAKE) -> bytes:
    """TLS records of at most 16 KiB."""
    parts = [data[at : at + 16384] for at in range(0, len(data), 16384)]
    return b"".join(bytes([kind, 3, 1]) + struct.pack(">H", len(part)) + part for part in parts)


async def answered(port: int, data: bytes, *, half_close: bool = False) -> bytes:
    async with tcp(port) as stream:
        # What is refused before all of it was read may be reset.
        with suppress(trio.BrokenResourceError):
            await stream.send(data)
            if half_close:
                await stream.stream.send_eof()
        return await everything(stream)


BROKEN = {
    "noise": bytes([HANDSHAKE]) + bytes(range(256)) * 4,
    "another version": bytes([HANDSHAKE, 9, 9, 0, 4]) + bytes(4),
    "an empty record": bytes([HANDSHAKE, 3, 1, 0, 0]) * 40,
    "a record too long": bytes([HANDSHAKE, 3, 1, 0xFF, 0xFF]) + bytes(70_000),
    "an enormous hello": record(bytes([1, 0xFF, 0xFF, 0xFF, 3, 3]) + bytes(300_000)),
    "not a hello": record(bytes([2, 0, 0, 4, 3, 3, 0, 0])),
    "a hello of nothing": record(bytes([1, 0, 0, 0])),
    "an alert inside": record(bytes([1, 0, 1])) + record(bytes([2, 80]), ALERT),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_what_is_not_tls_after_all(doors: Doors, calm: Calm, data: bytes) -> None:
    answer = await answered(doors.both, data)
    assert answer == b"" or answer[0] == ALERT
    await calm.again("TLS handshake")


async def test_old_versions_get_an_alert(doors: Doors, calm: Calm, trusting: ssl.SSLContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        trusting.minimum_version = ssl.TLSVersion.TLSv1
        trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    answer = await answered(doors.both, client_hello(trusting))
    assert (answer[0], answer[-1]) == (ALERT, PROTOCOL_VERSION)
    await calm.again("unsupported protocol")


@pytest.mark.parametrize("ciphers", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"])
async def test_weak_ciphers_get_an_alert(doors: Doors, calm: Calm, trusting: ssl.SSLContext, ciphers: str) -> None:
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    trusting.set_ciphers(ciphers)
    answer = await answered(doors.both, client_hello(trusting))
    assert (answer[0], answer[-1]) == (ALERT, HANDSHAKE_FAILURE)
    await calm.again("no shared cipher")


async def test_a_client_that_does_not_trust_us(doors: Doors, calm: Calm) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(trio.BrokenResourceError) as caught:
        async with secure(doors.both, context):
            pass
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    await calm.again()


@pytest.mark.parametrize("cut", [1, 2, 5, 6, 50, -1])
async def test_a_hello_that_is_cut_off(doors: Doors, calm: Calm, trusting: ssl.SSLContext, cut: int) -> None:
    assert await answered(doors.both, client_hello(trusting)[:cut], half_close=True) == b""
    await calm.again("left in the TLS handshake")


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_handshake_that_is_left_in_the_middle(
    doors: Doors, calm: Calm, trusting: ssl.SSLContext, how: str
) -> None:
    async with tcp(doors.both) as stream:
        await stream.send(client_hello(trusting))
        assert await stream.receive()
        if how == "reset":
            stream.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await calm.again("left in the TLS handshake")


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("cut", [1, 5, 60, None])
async def test_silence_in_the_tls_handshake(
    doors: Doors, calm: Calm, trusting: ssl.SSLContext, cut: int | None
) -> None:
    answer = await answered(doors.both, client_hello(trusting)[:cut])
    assert (answer != b"") == (cut is None)
    await calm.again("silent in the TLS handshake")


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("data", [b"", GOOD[:-1], b"G", request("Host: 127.0.0.1")[:-2]])
async def test_silence_after_the_tls_handshake(doors: Doors, calm: Calm, trusting: ssl.SSLContext, data: bytes) -> None:
    async with secure(doors.both, trusting) as stream:
        if data:
            await stream.send(data)
        answer = await everything(stream)
    if data == GOOD[:-1]:
        goodbye = goodbye_in(answer)
        assert goodbye is not None
        assert goodbye.code == Code.TIMEOUT
    await calm.again("silent in the handshake")


@pytest.mark.usefixtures("hurry")
async def test_a_handshake_that_drips_has_no_more_time_than_another(
    doors: Doors, calm: Calm, trusting: ssl.SSLContext
) -> None:
    data = client_hello(trusting)[:-1] + bytes(100_000)
    async with tcp(doors.both) as stream, trio.open_nursery() as nursery:

        async def drip() -> None:
            for byte in data:
                try:
                    await stream.send(bytes([byte]))
                except trio.BrokenResourceError:
                    return
                await trio.sleep(0.02)

        nursery.start_soon(drip)
        await everything(stream)
        nursery.cancel_scope.cancel()
    await calm.again("silent in the TLS handshake")


async def test_tls_inside_tls_is_closed(doors: Doors, calm: Calm, trusting: ssl.SSLContext) -> None:
    async with secure(doors.both, trusting) as stream:
        await stream.send(client_hello(trusting))
        assert await everything(stream) == b""
        assert stream.notified
    await calm.again("TLS inside TLS")


@pytest.mark.parametrize("data", [b"\0", b"\x97XW\n", b"\xff" * 70000], ids=["nothing", "half magic", "long"])
async def test_what_does_not_speak_tilewire_inside_tls(
    doors: Doors, calm: Calm, trusting: ssl.SSLContext, data: bytes
) -> None:
    async with secure(doors.both, trusting) as stream:
        await stream.send(data)
        assert await everything(stream) == b""
        assert stream.notified
    await calm.again("does not speak tilewire")


@pytest.mark.parametrize("seed", range(30))
async def test_anything_at_all_ends_with_one_line(
    doors: Doors, calm: Calm, trusting: ssl.SSLContext, seed: int
) -> None:
    chance = random.Random(seed)
    hands = Hands(trusting)
    first = bytearray(hands.shake())
    async with tcp(doors.both) as stream:
        if seed % 2:
            # The handshake stands; what follows is mutated.
            await stream.send(bytes(first))
            while hands.tls.version() is None:
                hands.incoming.write(await stream.receive())
                last = hands.shake()
            await stream.send(last)
            first = bytearray(hands.write(GOOD))
        for _ in range(chance.randint(1, 5)):
            first[chance.randrange(1, len(first))] = chance.randrange(256)
        await stream.send(bytes(first) + chance.randbytes(chance.randrange(300)))
        with suppress(trio.BrokenResourceError):
            await stream.stream.send_eof()
        await everything(stream)
    await calm.again()


# A door that asks for TLS


async def test_a_device_in_clear_is_told_that_tls_is_asked_for(doors: Doors, calm: Calm) -> None:
    goodbye = goodbye_in(await answered(doors.only, GOOD))
    assert goodbye == m.Goodbye(code=Code.UNSUPPORTED, text="this server asks for TLS")
    await calm.again("does not speak TLS")


@pytest.mark.parametrize("headers", [("Host: 127.0.0.1",), ("Host: 127.0.0.1", *UPGRADE)])
async def test_http_in_clear_is_told_that_tls_is_asked_for(doors: Doors, calm: Calm, headers: tuple[str, ...]) -> None:
    answer = await answered(doors.only, request(*headers))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"asks for TLS" in answer
    await calm.again("does not speak TLS")


async def test_noise_in_clear_is_told_nothing(doors: Doors, calm: Calm) -> None:
    assert await answered(doors.only, bytes(10)) == b""
    await calm.again("does not speak TLS")


# Web pages


@pytest.mark.parametrize("origin", [None, TEST_ORIGIN])
@pytest.mark.parametrize("host", [None, "localhost:7800", TEST_HOST])
async def test_a_page_that_may_connect(
    doors: Doors, trusting: ssl.SSLContext, origin: str | None, host: str | None
) -> None:
    async with secure_web(doors.both, trusting, origin=origin, host=host) as (stream, _), living(stream) as one:
        await doors.server.until_exact(one)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        # Another scheme is another origin, and a page from this very host and port is one too: we serve none.
        (TEST_ORIGIN.replace("https", "http"), None),
        ("https://127.0.0.1", None),
        (f"https://{TEST_HOST}", TEST_HOST),
        (TEST_ORIGIN + ":444", None),
        (None, "attacker.example"),
    ],
)
async def test_a_page_that_may_not_connect(
    doors: Doors, calm: Calm, trusting: ssl.SSLContext, origin: str | None, host: str | None
) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with secure_web(doors.both, trusting, origin=origin, host=host):
            pass
    rejected = caught.value.exceptions[0]
    assert isinstance(rejected, trio_websocket.ConnectionRejected)
    assert rejected.status_code == 403
    await calm.again()


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://Viewer.Example/", "https://viewer.example"),
        ("https://viewer.example:443", "https://viewer.example"),
        ("http://viewer.example:443", "http://viewer.example:443"),
        ("http://[::1]:80", "http://[::1]"),
        ("null", "null"),
        ("moz-extension://0B", "moz-extension://0B"),
    ],
)
def test_an_origin_is_taken_as_browsers_write_it(given: str, origin: str) -> None:
    assert parser().parse_args(["attach", ":0", "--allow-origin", given]).allow_origin == [origin]


@pytest.mark.parametrize("given", ["https://", "https://a/b", "https://a@b", "https://a:b", "http://a?b", "http://["])
def test_what_is_no_origin(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["attach", ":0", "--allow-origin", given])
    assert "is not an origin" in capsys.readouterr().err


# Certificates that cannot be used

WITHOUT = "tilewire needs it without a passphrase"


@pytest.fixture(scope="module")
def shelf(authority: Authority, identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of all kinds."""
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "good.pem").write_bytes(identity.certificate.read_bytes())
    (folder / "good.key").write_bytes(identity.key.read_bytes())
    (folder / "other.key").write_bytes(authority.issue("other").key.read_bytes())
    (folder / "rsa.key").write_bytes(authority.issue("of-rsa", kind=RSA).key.read_bytes())
    (folder / "short.key").write_bytes(identity.key.read_bytes()[:100])
    (folder / "text").write_text("hello\n")
    (folder / "damaged.pem").write_text("-----BEGIN CERTIFICATE-----\nqqqq\n-----END CERTIFICATE-----\n")
    (folder / "both.pem").write_bytes(identity.certificate.read_bytes() + identity.key.read_bytes())
    weak = authority.issue("weak", kind=("rsa:1024",))
    (folder / "weak.pem").write_bytes(weak.certificate.read_bytes())
    (folder / "weak.key").write_bytes(weak.key.read_bytes())
    openssl("pkcs8", "-topk8", "-in", identity.key, "-out", folder / "locked.key", "-passout", "pass:x")
    openssl("ec", "-in", identity.key, "-aes128", "-out", folder / "old.key", "-passout", "pass:x")
    openssl("x509", "-in", identity.certificate, "-outform", "der", "-out", folder / "good.der")
    for path in folder.iterdir():
        path.chmod(0o640)
    (folder / "open.key").write_bytes(identity.key.read_bytes())
    (folder / "open.key").chmod(0o644)
    (folder / "folder").mkdir()
    return folder


@pytest.mark.parametrize("names", [("good.pem", "good.key"), ("both.pem", "both.pem")])
def test_certificates_that_can_be_used(shelf: Path, names: tuple[str, str]) -> None:
    context = server_context(shelf / names[0], shelf / names[1])
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert all(cipher["aead"] for cipher in context.get_ciphers())


@pytest.mark.parametrize(
    ("certificate", "key", "sentence"),
    [
        ("none.pem", "good.key", "the certificate {}/none.pem cannot be read: No such file or directory"),
        ("good.pem", "none.key", "the private key {}/none.key cannot be read: No such file or directory"),
        ("folder", "good.key", "the certificate {}/folder is not a file"),
        ("text", "good.key", "the certificate {}/text is not PEM: it has no BEGIN line"),
        ("good.der", "good.key", "the certificate {}/good.der is not PEM: it has no BEGIN line"),
        ("good.pem", "text", "the private key {}/text is not PEM: it has no BEGIN line"),
        ("damaged.pem", "good.key", "the certificate {}/damaged.pem cannot be used: nothing in it can be read as PEM"),
        ("good.key", "good.key", "the certificate {}/good.key cannot be used: no certificate or crl found"),
        ("good.pem", "good.pem", "the private key {}/good.pem cannot be used: nothing in it can be read as PEM"),
        ("good.pem", "short.key", "the private key {}/short.key cannot be used: nothing in it can be read as PEM"),
        ("good.pem", "other.key", "the private key {}/other.key does not belong to the certificate {}/good.pem"),
        ("good.pem", "rsa.key", "the private key {}/rsa.key does not belong to the certificate {}/good.pem"),
        ("weak.pem", "weak.key", "the certificate {}/weak.pem is too weak: ee key too small"),
        (
            "good.pem",
            "locked.key",
            "the private key {}/locked.key is encrypted; " + WITHOUT,
        ),
        (
            "good.pem",
            "old.key",
            "the private key {}/old.key is encrypted; tilewire needs it without a passphrase",
        ),
        ("good.pem", "open.key", "{}/open.key holds a private key and may be read by all: chmod o= {}/open.key"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(shelf: Path, certificate: str, key: str, sentence: str) -> None:
    with pytest.raises(ServerError) as caught:
        server_context(shelf / certificate, shelf / key)
    assert str(caught.value) == sentence.replace("{}", str(shelf))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--tls-cert={}/good.pem",), "--tls-cert and --tls-key belong together: one of them is missing"),
        (("--tls-key={}/good.key",), "--tls-cert and --tls-key belong together: one of them is missing"),
        (("--tls-only",), "--tls-only needs --tls-cert and --tls-key"),
        (
            ("--tls-cert={}/good.pem", "--tls-key={}/locked.key"),
            "the private key {}/locked.key is encrypted; " + WITHOUT,
        ),
    ],
)
def test_the_command_says_it_in_one_line(shelf: Path, words: tuple[str, ...], sentence: str) -> None:
    given = [word.replace("{}", str(shelf)) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "tilewire.server.cli", "run", *given, "--", "true"],
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    assert (done.returncode, done.stderr) == (1, f"tilewire: {sentence.replace('{}', str(shelf))}\n")
