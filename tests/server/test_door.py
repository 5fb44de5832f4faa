"""Whoever knocks: bad input gets a clear end and one log line, and no other viewer notices. The numbers are those of
SPEC.md, section 14."""

from __future__ import annotations

import dataclasses
import logging
import random
import re
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio

from tilewire.protocol import AuthMethod, Capability, Code, Connection, Message, PixelFormat, Point, Rect, Sender, auth
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAGIC, MAX_CLIENT_MESSAGE
from tilewire.protocol.wire import PREFIX, encode_varint, frame
from tilewire.server import door, handshake, viewers
from tilewire.server.errors import ServerError
from tilewire.server.handshake import Credentials
from tilewire.server.session import MAX_VIEWERS
from tilewire.server.transport import WebRules

from tests.server.xclient import painter
from tests.support import (
    EVERYTHING,
    LOOPBACK,
    Device,
    Served,
    TcpStream,
    descriptors,
    device,
    everything,
    goodbye_in,
    hello,
    put_pixels,
    quiet,
    served,
    split,
    tasks,
    tcp,
    web,
)

KEY, WRONG_KEY = bytes(range(32)), bytes(32)
SOON_S = 0.2
TEST_ORIGIN, TEST_HOST = "https://viewer.example", "tiles.example"

Attack = Callable[[Served], Awaitable[None]]


pytestmark = pytest.mark.usefixtures("nothing_stays_open")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    rules = WebRules(frozenset([TEST_ORIGIN]), frozenset([TEST_HOST]))
    async with served(credentials=Credentials({"known": KEY}), rules=rules) as running:
        yield running


@pytest.fixture
async def witness(server: Served) -> AsyncIterator[Device]:
    """Another viewer, which must not notice."""
    async with device(server.port, hello(device_id="witness")) as other:
        await server.until_exact(other)
        yield other


def endings(log: pytest.LogCaptureFixture) -> list[str]:
    """What the server wrote, without the lines by which devices were let in."""
    lines = [record.getMessage() for record in log.records if record.name.startswith("tilewire")]
    assert [line for line in lines if not line.isprintable()] == []
    assert [record for record in log.records if record.exc_info] == []
    return [line for line in lines if ": connected, " not in line]


class Calm:
    """What a server has when only the witness is there, and must have again."""

    def __init__(self, server: Served, witness: Device, log: pytest.LogCaptureFixture) -> None:
        self._server, self._witness, self._log = server, witness, log
        self._tasks, self._files = tasks(), len(descriptors())
        self._colour = 0
        log.clear()

    async def again(self, *said: str) -> None:
        """Everything is as before, there was one log line with `said`, and the witness is served."""
        with trio.fail_after(30):
            while tasks() != self._tasks or len(descriptors()) != self._files:
                await quiet(0.001)
        lines = endings(self._log)
        assert len(lines) == 1, lines
        for words in said:
            assert words in lines[0]
        self._colour += 0x123456
        with painter(self._server.name) as client:
            client.fill(Rect(20, 10, 30, 40), self._colour)
            await self._server.until_exact(self._witness)
        self._log.clear()


@pytest.fixture
async def calm(server: Served, witness: Device, log: pytest.LogCaptureFixture) -> Calm:
    await quiet(0.01)
    return Calm(server, witness, log)


def prefixed(body: bytes, low: int = 1, high: int = 1, length: int | None = None) -> bytes:
    return PREFIX.pack(MAGIC, low, high, len(body) if length is None else length) + body


def fields(**changes: bytes | None) -> bytes:
    """A HELLO's field list with other bytes for some fields; None leaves one out."""
    greeting = dataclasses.replace(hello(boot_id=1, capabilities=EVERYTHING | Capability.TOUCH), nonce=bytes(range(16)))
    body = b""
    for spec in m.Hello.layout:
        value = getattr(greeting, spec.name)
        assert spec.tag is not None
        if value is None or (spec.name in changes and changes[spec.name] is None):
            continue
        encoded = changes.get(spec.name) or spec.kind.encode(value)
        body += bytes([spec.tag.number | (128 if spec.tag.critical else 0)]) + encode_varint(len(encoded)) + encoded
    return body


GOOD = prefixed(fields())


async def answered(server: Served, data: bytes) -> bytes:
    """What the server says to these bytes before it closes."""
    async with tcp(server.port) as stream:
        await stream.send(data)
        return await everything(stream)


# Before the handshake


@pytest.mark.parametrize(
    "data",
    [b"\0", b"\x97XW\n", b"\x97TW\r", b"\xff" * 70000, b"\x95TW\n\1\1\0\0", b" GET / HTTP/1.1\r\n\r\n"],
    ids=["nothing", "half magic", "text mode", "long", "near", "space"],
)
async def test_what_does_not_speak_tilewire_is_closed(server: Served, calm: Calm, data: bytes) -> None:
    assert await answered(server, data) == b""
    await calm.again("does not speak tilewire")


TOO_LARGE = struct.pack("<HH", 4096, 2048)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (prefixed(b"", 2, 9), Code.VERSION),
        (prefixed(b"", 0, 1), Code.PROTOCOL),
        (prefixed(b"", 2, 1), Code.PROTOCOL),
        (prefixed(b"", length=1025), Code.TOO_LONG),
        (prefixed(fields() + bytes([0x80 | 100, 0])), Code.UNSUPPORTED),
        (prefixed(fields() + bytes([2, 0])), Code.PROTOCOL),
        (prefixed(fields() + bytes([100, 50])), Code.PROTOCOL),
        (prefixed(fields(device_id=None)), Code.PROTOCOL),
        (prefixed(fields(device_id=b"\xff\xfe")), Code.BAD_VALUE),
        (prefixed(fields(device_id=b"x" * 65)), Code.BAD_VALUE),
        (prefixed(fields(panel=TOO_LARGE)), Code.BAD_VALUE),
        (prefixed(fields(panel=bytes(4))), Code.BAD_VALUE),
        (prefixed(fields(pixel_format=b"\x09")), Code.BAD_VALUE),
        (prefixed(fields(max_message=struct.pack("<I", 1023))), Code.BAD_VALUE),
        (prefixed(fields(nonce=bytes(15))), Code.PROTOCOL),
        (prefixed(b""), Code.PROTOCOL),
    ],
)
async def test_a_hello_that_is_refused_says_why(server: Served, calm: Calm, data: bytes, code: Code) -> None:
    goodbye = goodbye_in(await answered(server, data))
    assert goodbye is not None
    assert (goodbye.code, bool(goodbye.text)) == (code, True)
    await calm.again(code.name)


async def test_unknown_fields_and_messages_that_are_not_critical_are_skipped(server: Served) -> None:
    async with device(server.port) as one:
        await one.say_raw(bytes([0x70, 3, 1, 2, 3]))
        await one.say(m.Ping(stamp=5))
        await one.until(lambda: one.last(m.Pong))
    async with tcp(server.port) as stream:
        await stream.send(prefixed(fields() + bytes([100, 2, 1, 2])))
        data = b""
        while m.Welcome.type not in [kind for kind, _ in split(data)]:
            data += await stream.receive()


# HTTP


def request(*headers: str, line: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1")


UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("Host: 127.0.0.1"), 400),
        (request("Host: 127.0.0.1", line="POST / HTTP/1.1"), 400),
        (request("Host: 127.0.0.1", *UPGRADE, line="POST / HTTP/1.1"), 400),
        (request("Host: 127.0.0.1", *UPGRADE[:3]), 400),
        (request("Host: 127.0.0.1", *UPGRADE[1:]), 400),
        (request("Host: 127.0.0.1", *UPGRADE[:2], UPGRADE[3]), 426),
        (request("Host: 127.0.0.1", *UPGRADE[:2], "Sec-WebSocket-Version: 8", UPGRADE[3]), 426),
        (request(*UPGRADE, line="GET / HTTP/1.0"), 400),
        (request(*UPGRADE), 400),
        (request("Host: 127.0.0.1", "Host: 127.0.0.1", *UPGRADE), 400),
        (request("Host: 127.0.0.1", "X: " + "x" * 100_000), 400),
        (b"hello, are you there?\r\n\r\n", 400),
        (request("Host: 127.0.0.1", *UPGRADE, line="GET /\xff HTTP/1.1"), 400),
        (request("Host: \xff", *UPGRADE), 403),
        (request("Host: " + "a" * 70 + ".b", *UPGRADE), 403),
        (request("Host: xn--\x7f", *UPGRADE), 403),
        (request("Host: [::1", *UPGRADE), 403),
        (request("Host: attacker.example", *UPGRADE), 403),
        (request("Host: 127.0.0.1.attacker.example:7800", *UPGRADE), 403),
        (request("Host: attacker@127.0.0.1", *UPGRADE), 403),
        (request("Host:", *UPGRADE), 403),
        (request("Host: 127.0.0.1", "Origin: https://attacker.example", *UPGRADE), 403),
        (request("Host: 127.0.0.1", "Origin: null", *UPGRADE), 403),
        (request("Host: 127.0.0.1", "Origin:", *UPGRADE), 403),
        (request("Host: 127.0.0.1", f"Origin: {TEST_ORIGIN}.attacker.example", *UPGRADE), 403),
        (request("Host: 127.0.0.1", f"Origin: {TEST_ORIGIN}", "Origin: https://attacker.example", *UPGRADE), 403),
    ],
)
async def test_http_that_may_not_be_a_websocket_gets_an_error(
    server: Served, calm: Calm, data: bytes, status: int
) -> None:
    answer = await answered(server, data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    await calm.again()


@pytest.mark.parametrize("origin", [None, TEST_ORIGIN])
@pytest.mark.parametrize("host", [None, "localhost:7800", "[::1]:7800", TEST_HOST])
async def test_a_websocket_of_ours_is_welcome(server: Served, origin: str | None, host: str | None) -> None:
    async with web(server.port, origin=origin, host=host) as stream:
        client = Connection(Sender.CLIENT)
        await stream.send(client.send(hello()))
        client.receive_data(await stream.receive())
        assert isinstance(client.next_event(), m.Reply)


async def test_a_websocket_text_message_ends_the_connection(server: Served, calm: Calm) -> None:
    async with web(server.port) as stream:
        await stream.socket.send_message("hello")
        assert goodbye_in(await everything(stream)) is not None
        assert stream.socket.closed is not None
        assert stream.socket.closed.code == 1000
    await calm.again("text message")


async def test_a_websocket_text_message_ends_a_viewer_too(server: Served, calm: Calm) -> None:
    async with web(server.port) as stream:
        one = Device(stream, hello())
        async with trio.open_nursery() as nursery:
            await one.greet()
            nursery.start_soon(one.live)
            await one.until(lambda: one.updates)
            await stream.socket.send_message("hello")
            goodbye = await one.until_ended()
            assert goodbye is not None
            assert goodbye.code == Code.PROTOCOL
    await calm.again("text message")


@pytest.mark.parametrize(
    "data",
    [
        # A binary message without a mask, one of 1 MiB, reserved bits, half a frame; as RFC 6455 has them.
        b"\x82\x01a",
        b"\x82\xff" + struct.pack(">Q", 1 << 20) + bytes(4) + bytes(200_000),
        b"\xf2\x81" + bytes(5),
        b"\x81\x82" + bytes(4) + b"\xff\xff",
        b"\x88\x80" + bytes(4),
        b"\x8b\x80",
    ],
)
async def test_broken_websocket_frames(server: Served, calm: Calm, data: bytes) -> None:
    async with tcp(server.port) as stream:
        await stream.send(request("Host: 127.0.0.1", *UPGRADE))
        assert (await stream.receive()).startswith(b"HTTP/1.1 101 ")
        # Refused before all of it is read, it is reset.
        with suppress(trio.BrokenResourceError):
            await stream.send(data)
            await stream.stream.send_eof()
        await everything(stream)
    await calm.again()


async def test_tls_gets_an_alert(server: Served, calm: Calm) -> None:
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(await answered(server, outgoing.read()))
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        client.do_handshake()
    await calm.again("TLS")


# Who is there


async def auth_ends(server: Served, greeting: m.Hello, answer: Callable[[Connection, m.Proof], Message]) -> bytes:
    """Shake hands up to the server's proof, answer it, and return what comes then."""
    async with tcp(server.port) as stream:
        client = Connection(Sender.CLIENT)
        await stream.send(client.send(greeting))
        while True:
            event = client.next_event()
            if isinstance(event, m.Proof):
                break
            if not isinstance(event, m.Reply):
                client.receive_data(await stream.receive())
        await stream.send(answer(client, event).encode())
        return await everything(stream)


def known(device_id: str = "known", methods: int = AuthMethod.HMAC) -> m.Hello:
    return hello(device_id=device_id, auth_methods=methods)


def wrongly(client: Connection, _proof: m.Proof) -> Message:
    return client.make_proof(WRONG_KEY)


def mirrored(_client: Connection, proof: m.Proof) -> Message:
    return proof


def unlabelled(client: Connection, _proof: m.Proof) -> Message:
    # As if it were the server.
    return dataclasses.replace(client.make_proof(KEY), mac=auth.proof(KEY, Sender.SERVER, bytes(32)))


def not_due(_client: Connection, _proof: m.Proof) -> Message:
    return m.Key(input=1, keysym=97, pressed=1)


@pytest.mark.parametrize("name", ["known", "unknown"])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (wrongly, Code.AUTH_FAILED),
        (mirrored, Code.AUTH_FAILED),
        (unlabelled, Code.AUTH_FAILED),
        (not_due, Code.BAD_STATE),
    ],
)
async def test_without_the_key_nobody_comes_in(
    server: Served, calm: Calm, name: str, answer: Callable[[Connection, m.Proof], Message], code: Code
) -> None:
    goodbye = goodbye_in(await auth_ends(server, known(name), answer))
    assert goodbye is not None
    assert goodbye.code == code
    await calm.again(code.name)


@pytest.mark.parametrize(
    ("methods", "code"), [(AuthMethod.NONE, Code.AUTH_REQUIRED), (AuthMethod.TICKET, Code.AUTH_FAILED)]
)
async def test_a_device_that_has_a_key_must_prove_it(server: Served, calm: Calm, methods: int, code: Code) -> None:
    ticket = b"x" if methods & AuthMethod.TICKET else None
    greeting = hello(device_id="known", auth_methods=methods, ticket=ticket)
    goodbye = goodbye_in(await answered(server, Connection(Sender.CLIENT).send(greeting)))
    assert goodbye is not None
    assert goodbye.code == code
    await calm.again(code.name)


async def test_the_key_opens(server: Served) -> None:
    async with device(server.port, known(methods=AuthMethod.HMAC | AuthMethod.NONE), key=KEY) as one:
        await server.until_exact(one)


async def test_a_replayed_handshake_is_refused(server: Served, calm: Calm) -> None:
    sent: list[bytes] = []

    class Recorder(TcpStream):
        async def send(self, data: bytes) -> None:
            sent.append(data)
            await super().send(data)

    async with tcp(server.port) as stream:
        one = Device(Recorder(stream.stream), known(), key=KEY)
        async with trio.open_nursery() as nursery:
            await one.greet()
            nursery.start_soon(one.live)
            await one.until(lambda: one.connection.welcome)
            nursery.cancel_scope.cancel()
    await calm.again()
    goodbye = goodbye_in(await answered(server, b"".join(sent[:2])))
    assert goodbye is not None
    assert goodbye.code == Code.AUTH_FAILED
    await calm.again("AUTH_FAILED")


@pytest.mark.parametrize("methods", [AuthMethod.HMAC, AuthMethod.HMAC | AuthMethod.NONE])
async def test_a_closed_door_does_not_tell_which_names_it_knows(methods: int) -> None:
    async with served(credentials=Credentials({"known": KEY}, open_door=False)) as server:
        kinds = []
        for name in ("known", "unknown"):
            answer = await auth_ends(server, known(name, methods), wrongly)
            kinds.append((len(answer), goodbye_in(answer)))
        assert kinds[0] == kinds[1]
        goodbye = goodbye_in(await answered(server, GOOD))
        assert goodbye is not None
        assert goodbye.code == Code.AUTH_REQUIRED


@pytest.mark.parametrize("wanted", [{"session": "other"}, {"profile": "gimp"}, {"url": "http://localhost/"}])
async def test_a_session_that_is_not_there(server: Served, calm: Calm, wanted: dict[str, Any]) -> None:
    async with device(server.port, hello(**wanted), welcome=False) as one:
        goodbye = await one.until_ended()
    assert goodbye is not None
    assert goodbye.code == Code.NO_SESSION
    await calm.again("NO_SESSION")


async def test_one_viewer_too_many(server: Served, witness: Device, calm: Calm) -> None:
    async with trio.open_nursery() as nursery:

        async def stay(number: int, *, task_status: trio.TaskStatus[Device]) -> None:
            async with device(server.port, hello(panel=(16, 16), device_id=f"n{number}")) as one:
                task_status.started(one)
                await trio.sleep_forever()

        crowd = [await nursery.start(stay, number) for number in range(MAX_VIEWERS - 1)]
        async with device(server.port, welcome=False) as late:
            goodbye = await late.until_ended()
        assert goodbye is not None
        assert goodbye.code == Code.LIMIT
        with painter(server.name) as client:
            client.fill(Rect(3, 4, 50, 50), 0xABCDEF)
            await server.until_exact(witness, *crowd)
        nursery.cancel_scope.cancel()


# In the session


def touch(*places: tuple[int, int]) -> bytes:
    fingers = tuple(m.Finger(finger=number, position=Point(*place)) for number, place in enumerate(places))
    return m.Touch(input=1, fingers=fingers).encode()


def pointer(number: int, x: int, y: int) -> bytes:
    return m.Pointer(input=number, position=Point(x, y), buttons=0).encode()


def head(kind: int, length: int) -> bytes:
    return bytes([kind]) + encode_varint(length)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (head(m.TextInput.type, MAX_CLIENT_MESSAGE + 1), Code.TOO_LONG),
        (bytes([m.TextInput.type, 0x80, 0x80, 0x80]), Code.TOO_LONG),
        (bytes([m.Refresh.type, 0x80, 0x00]), Code.PROTOCOL),
        (m.Begin(update=1, input=0).encode(), Code.BAD_STATE),
        (head(m.Fill.type, 9), Code.BAD_STATE),
        (head(0x50, 4000), Code.PROTOCOL),
        (pointer(1, 200, 0), Code.BAD_VALUE),
        (pointer(1, 0, 120), Code.BAD_VALUE),
        (pointer(1, 4095, 4095), Code.BAD_VALUE),
        (touch((5, 5), (5, 120)), Code.BAD_VALUE),
        (frame(m.Touch.type, b"\1" + bytes([1, 0, 0, 0, 1, 0, 0, 0])), Code.BAD_VALUE),
        (pointer(2, 1, 1) + pointer(2, 1, 1), Code.BAD_VALUE),
        (pointer(2, 1, 1) + pointer(1, 1, 1), Code.BAD_VALUE),
        (m.Ack(update=1000, decode_us=0).encode(), Code.BAD_ACK),
        (m.Ack(update=2, decode_us=0).encode(), Code.BAD_ACK),
        (frame(m.Ack.type, b"\0\0"), Code.BAD_VALUE),
        (frame(m.Ack.type, b"\1"), Code.PROTOCOL),
        (frame(m.Ack.type, b"\x81\x00\0"), Code.PROTOCOL),
        (frame(m.Key.type, b"\1" + bytes(5)), Code.BAD_VALUE),
        (frame(m.TextInput.type, b"\1\xff"), Code.BAD_VALUE),
        (frame(m.TextInput.type, b"\1"), Code.BAD_VALUE),
        (frame(m.Setting.type, b"\0\x20\1"), Code.BAD_VALUE),
        (frame(m.Pause.type, b"\2"), Code.BAD_VALUE),
        (frame(m.View.type, b"\0\0\0"), Code.PROTOCOL),
        (m.Resize(width=10, height=10).encode(), Code.NOT_OFFERED),
        (m.Clipboard(total=1, offset=0, data=b"x").encode(), Code.NOT_OFFERED),
        (m.Proof(mac=bytes(32)).encode(), Code.BAD_STATE),
        (bytes(2), Code.PROTOCOL),
    ],
)
async def test_a_message_that_is_refused_says_why(server: Served, calm: Calm, data: bytes, code: Code) -> None:
    async with device(server.port, hello(capabilities=Capability.COPY | Capability.TOUCH)) as one:
        await one.until(lambda: one.updates == 1)
        if code is Code.PROTOCOL and data == bytes(2):
            # Type 0 is unknown and skipped; half a message and then the end is for the log.
            assert isinstance(one.stream, TcpStream)
            await one.say_raw(bytes([m.Ack.type, 5]))
            await one.stream.stream.send_eof()
        else:
            await one.say_raw(data)
        goodbye = await one.until_ended()
    assert goodbye is not None
    assert (goodbye.code, bool(goodbye.text)) == (code, True)
    await calm.again(code.name)


async def test_an_acknowledgement_of_one_before_the_last(server: Served, calm: Calm) -> None:
    with painter(server.name) as client:
        async with device(server.port) as one:
            await server.until_exact(one)
            client.fill(Rect(0, 0, 9, 9), 0x99AA00)
            await one.until(lambda: one.acked >= 2)
            await one.say_raw(m.Ack(update=1, decode_us=0).encode())
            goodbye = await one.until_ended()
    assert goodbye is not None
    assert goodbye.code == Code.BAD_ACK
    await calm.again("BAD_ACK")


async def test_a_proper_goodbye(server: Served, calm: Calm) -> None:
    async with device(server.port) as one:
        await one.say(m.Goodbye(code=Code.NORMAL, text="off\n\x1b[31mto bed"))
        await one.until_ended()
    await calm.again("said goodbye", "off")


async def test_names_do_not_write_log_lines_of_their_own(server: Served, calm: Calm) -> None:
    async with device(server.port, hello(device_id="evil\nviewer 9: \x1b[2J\u2028all is well")) as one:
        await one.until(lambda: one.updates)
    await calm.again()
    async with device(server.port, hello(session="a\nb"), welcome=False) as one:
        await one.until_ended()
    await calm.again("NO_SESSION")


# Silence


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is short."""
    for module in (door, handshake):
        monkeypatch.setattr(module, "HELLO_TIMEOUT_S", SOON_S)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("data", [b"", b"\x97", GOOD[:8], GOOD[:-1], b"G", request("Host: 127.0.0.1")[:-2]])
async def test_silence_in_the_handshake(server: Served, calm: Calm, data: bytes) -> None:
    answer = await answered(server, data)
    if data.startswith(MAGIC):
        goodbye = goodbye_in(answer)
        assert goodbye is not None
        assert goodbye.code == Code.TIMEOUT
    await calm.again("silent in the handshake")


@pytest.mark.usefixtures("hurry")
async def test_silence_instead_of_a_proof(server: Served, calm: Calm) -> None:
    goodbye = goodbye_in(await answered(server, Connection(Sender.CLIENT).send(known())))
    assert goodbye is not None
    assert goodbye.code == Code.TIMEOUT
    await calm.again("silent in the handshake")


@pytest.mark.usefixtures("hurry")
async def test_a_websocket_that_says_nothing(server: Served, calm: Calm) -> None:
    async with web(server.port) as stream:
        goodbye = goodbye_in(await everything(stream))
    assert goodbye is not None
    assert goodbye.code == Code.TIMEOUT
    await calm.again("silent in the handshake")


@pytest.mark.parametrize("data", [b"", pointer(1, 0, 0)[:-1]])
async def test_silence_in_the_session(server: Served, calm: Calm, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(viewers, "PING_INTERVAL_S", SOON_S / 2)
    # Without acknowledgements, which would be the rest of the message.
    async with device(server.port, acks=False) as one:
        one.answers = False
        await one.say_raw(data)
        goodbye = await one.until_ended()
        assert goodbye is not None
        assert goodbye.code == Code.TIMEOUT
        assert len(one.all(m.Ping)) == 3
    await calm.again("TIMEOUT")


async def test_a_device_that_answers_pings_stays(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "PING_INTERVAL_S", SOON_S / 10)
    async with device(server.port) as one:
        await one.until(lambda: len(one.all(m.Ping)) >= 10)


async def test_a_device_that_acknowledges_nothing(server: Served, calm: Calm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "STALLED_S", SOON_S)
    async with device(server.port, acks=False) as one:
        goodbye = await one.until_ended()
    assert goodbye is not None
    assert goodbye.code == Code.TOO_SLOW
    await calm.again("TOO_SLOW")


# Those who do not keep up


async def test_a_peer_that_resets(server: Served, calm: Calm) -> None:
    async with tcp(server.port) as stream:
        one = Device(stream, hello())
        async with trio.open_nursery() as nursery:
            await one.greet()
            nursery.start_soon(one.live)
            await one.until(lambda: one.updates)
            nursery.cancel_scope.cancel()
        # A close with a linger time of zero is a reset.
        stream.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await calm.again()


@pytest.mark.parametrize("cut", range(0, len(GOOD), 7))
async def test_a_handshake_that_is_cut_off(server: Served, calm: Calm, cut: int) -> None:
    async with tcp(server.port) as stream:
        await stream.send(GOOD[:cut])
        await stream.stream.send_eof()
        await everything(stream)
    await calm.again()


async def test_a_peer_that_never_reads(
    server: Served, witness: Device, calm: Calm, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await trio.open_tcp_stream(LOOPBACK, server.port) as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        panel = (1280, 720)
        greeting = hello(panel=panel, pixel_format=PixelFormat.XRGB8888, max_message=1 << 20)
        await stream.send_all(Connection(Sender.CLIENT).send(greeting))
        with painter(server.name) as client:
            noise = random.Random(1)
            for _ in range(5):
                put_pixels(client, Rect(0, 0, 200, 120), noise.randbytes(4 * 200 * 120))
                await server.until_exact(witness)
            monkeypatch.setattr(viewers, "STALLED_S", SOON_S)
            client.fill(Rect(0, 0, 5, 5), 0x777777)
            await server.until_exact(witness)
    await calm.again()


async def test_a_flood_of_inputs(server: Served, witness: Device, calm: Calm) -> None:
    async with device(server.port, hello(capabilities=Capability.COPY)) as one:
        # So that they are injected.
        await witness.say(m.Control(action=2, viewer=one.welcome.viewer))
        await one.until(lambda: one.last(m.ControlState))
        one.connection.rules.input = 20_000
        flood = b"".join(pointer(number, number % 200, number % 120) for number in range(1, 20_000))
        await one.say_raw(flood)
        with painter(server.name) as client:
            client.fill(Rect(0, 0, 50, 50), 0x556677)
            await server.until_exact(witness, one)
        await one.say(m.Ping(stamp=1))
        await one.until(lambda: one.last(m.Pong))
    await calm.again()


@pytest.mark.parametrize("message", [m.Refresh(), m.Resize(width=2000, height=2000), m.Pause(paused=0)])
async def test_a_flood_of_what_is_dear_does_not_hold_up_others(
    server: Served, witness: Device, calm: Calm, message: Message
) -> None:
    panel = (2048, 2048)
    async with device(server.port, hello(panel=panel, capabilities=Capability.RESIZE, max_message=1 << 20)) as one:
        await one.until(lambda: one.updates)
        await one.say_raw(message.encode() * 5000)
        with painter(server.name) as client:
            client.fill(Rect(0, 0, 50, 50), 0x554433)
            await server.until_exact(witness)
        await one.say(m.Ping(stamp=7))
        await one.until(lambda: one.last(m.Pong))
    await calm.again()


# Anything at all


def mutated(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed))
        match chance.randrange(4):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                del changed[at : at + chance.randint(1, 9)]
            case _:
                changed[at:at] = chance.randbytes(chance.randint(1, 9))
        if not changed:
            break
    return bytes(changed)


TALK = GOOD + b"".join(
    message.encode()
    for message in (
        m.Pointer(input=1, position=Point(5, 5), buttons=1),
        m.Wheel(input=2, dx=-500, dy=70),
        m.Key(input=3, keysym=0x61, pressed=1),
        m.TextInput(input=4, text="été"),
        m.Touch(input=5, fingers=(m.Finger(finger=0, position=Point(1, 1)),)),
        m.Ping(stamp=1),
        m.View(mode=1, rotation=2, follow=1, origin=Point(9, 9)),
        m.Setting(fps=60, quality=90, adaptive=0),
        m.Control(action=2, viewer=1),
        m.Refresh(),
        m.Pause(paused=1),
        m.Resize(width=30, height=20),
        m.Goodbye(code=0),
    )
)


@pytest.mark.parametrize("seed", range(60))
async def test_anything_at_all_ends_with_one_line(server: Served, calm: Calm, seed: int) -> None:
    chance = random.Random(seed)
    data = mutated(chance, TALK)
    if seed % 3 == 0:
        data = request("Host: 127.0.0.1", *UPGRADE) + b"\x82\xfe" + struct.pack(">H", len(data)) + bytes(4) + data
        data = mutated(chance, data)
    async with tcp(server.port) as stream:
        await stream.send(data)
        try:
            await stream.stream.send_eof()
        except trio.BrokenResourceError:
            pass
        await everything(stream)
    await calm.again()


# Where it is


def bound(listeners: list[trio.SocketListener]) -> list[tuple[str, int]]:
    found = [listener.socket.getsockname()[:2] for listener in listeners]
    for listener in listeners:
        listener.socket.close()
    return found


@pytest.mark.parametrize(
    ("host", "hosts"),
    [
        ("localhost", ["127.0.0.1", "::1"]),
        ("127.0.0.1", ["127.0.0.1", "::1"]),
        ("::1", ["::1", "127.0.0.1"]),
        ("0.0.0.0", ["0.0.0.0", "::1"]),
        ("::", ["::", "127.0.0.1"]),
        ("127.0.0.2", ["127.0.0.2"]),
    ],
)
async def test_nobody_else_can_have_what_localhost_may_mean(host: str, hosts: list[str]) -> None:
    listeners = await door.open_door(host, 0)
    named = door.door_addresses(listeners)
    found = bound(listeners)
    port = found[0][1]
    assert found == [(each, port) for each in hosts]
    assert named == [f"[{hosts[0]}]:{port}" if ":" in hosts[0] else f"{hosts[0]}:{port}"]


@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("localhost", "::1"), ("::1", "127.0.0.1")])
async def test_an_address_that_somebody_took_is_a_sentence(host: str, other: str) -> None:
    family = socket.AF_INET6 if ":" in other else socket.AF_INET
    with socket.create_server((other, 0), family=family) as taken:
        port = taken.getsockname()[1]
        where = f"[{other}]:{port}" if ":" in other else f"{other}:{port}"
        sentence = f"cannot listen on {where}, which localhost may mean too: address already in use"
        with pytest.raises(ServerError, match=f"^{re.escape(sentence)}$"):
            await door.open_door(host, port)


async def test_a_machine_without_ipv6_has_one_address() -> None:
    program = """
import sys, trio
from tilewire.server.door import door_addresses, open_door
async def main():
    listeners = await open_door(sys.argv[1], 0)
    print(len(listeners), door_addresses(listeners)[0].rpartition(":")[0])
trio.run(main)
"""
    # A network of its own, where loopback has the one address that it gets from being up.
    network = 'ip link set lo up && ip -6 address flush dev lo && exec "$@"'
    before = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c", network, "sh")
    for host in ("127.0.0.1", "localhost"):
        done = await trio.run_process([*before, sys.executable, "-c", program, host], capture_stdout=True)
        assert done.stdout == b"1 127.0.0.1\n"
