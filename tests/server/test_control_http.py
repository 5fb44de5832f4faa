"""The control port as a server of HTTP/1.1: slow, greedy and broken peers, TLS, its end."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tilewire.server.control.http import HEAD_BYTES, REQUESTS, Patience, Receive, Scope, Send, serve_app
from tilewire.server.door import Doorman
from tilewire.server.limits import WaitingRoom

from tests.certificates import Authority
from tests.server.controlled import controlled, raw
from tests.server.hosting import IDLE, new_ground, profile
from tests.support import LOOPBACK, descriptors

SOON = Patience(head_s=0.3, idle_s=0.3, body_s=0.3, stalled_s=0.3, grace_s=0.3)
"""Waits that a test can wait for."""
FINISHED = b"HTTP/1.1 200 OK\r\n"


async def body_of(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def say(send: Send, body: bytes, status: int = 200, *, length: bool = True) -> None:
    headers = [(b"content-type", b"text/plain"), *([(b"content-length", b"%d" % len(body))] if length else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Tried:
    """An application that does what its path says, and remembers what befell it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gone = trio.Event()
        self.begun = trio.Event()
        self.cancelled = False
        self.may_end = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls.append(f"{scope['method']} {scope['path']}")
        self.begun.set()
        match scope["path"]:
            case "/echo":
                try:
                    await say(send, await body_of(receive))
                except ConnectionError:
                    await say(send, b"", 408)
            case "/large":
                await say(send, bytes(64 << 20))
            case "/parts":
                await say(send, b"all of it", length=False)
            case "/broken":
                raise RuntimeError("broken")
            case "/half":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"half", "more_body": True})
                raise RuntimeError("broken")
            case "/stream":
                await body_of(receive)
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"begun", "more_body": True})
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.gone.set()
            case "/wait":
                try:
                    await self.may_end.wait()
                except trio.Cancelled:
                    self.cancelled = True
                    raise
                await say(send, b"waited")
            case "/scope":
                kept = {key: scope[key] for key in ("scheme", "query_string", "raw_path", "http_version")}
                await say(send, repr(kept).encode())
            case _:
                await say(send, scope["path"].encode())


class Place:
    """A server of such an application."""

    def __init__(self, app: Tried) -> None:
        self.app = app
        self.port = 0
        self.over = trio.Event()
        self.scope = trio.CancelScope()

    def stop(self) -> None:
        self.scope.cancel()

    async def ask(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
        return await raw(self.port, "\r\n".join([*lines, "", ""]).encode() + body)


@asynccontextmanager
async def served(app: Tried | None = None, **options: Any) -> AsyncIterator[Place]:
    place = Place(app or Tried())
    async with trio.open_nursery() as nursery:

        async def serve(*, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
            with place.scope:
                await serve_app(place.app, LOOPBACK, 0, **{"patience": SOON, **options}, task_status=task_status)
            place.over.set()

        listeners = await nursery.start(serve)
        place.port = listeners[0].socket.getsockname()[1]
        try:
            yield place
        finally:
            place.stop()


# What it speaks.


async def test_answers() -> None:
    async with served() as place:
        answer = await place.ask("/a%20b%C3%BC?x=%2f")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(FINISHED)
        assert b"server: tilewire" in head
        assert b"date: " in head
        assert body == "/a bü".encode()
        assert (await place.ask("/parts")).endswith(b"9\r\nall of it\r\n0\r\n\r\n")
        scope = (await place.ask("/scope?x=%2f")).decode()
        assert "'scheme': 'http', 'query_string': b'x=%2f', 'raw_path': b'/scope', 'http_version': '1.1'" in scope


async def test_a_connection_serves_many_requests_and_not_for_ever() -> None:
    async with served() as place:
        async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{place.port}", trust_env=False) as client:
            for number in range(5):
                assert (await client.post("/echo", content=b"x" * number * 40_000)).content == b"x" * number * 40_000
        many = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n" * (REQUESTS + 5)
        answer = await raw(place.port, many)
        assert answer.count(FINISHED) == REQUESTS
        assert answer.count(b"connection: close") == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with served() as place:
        one = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\none"
        two = b"GET /two HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await raw(place.port, one + two)
        assert [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [b"one", b"/two"]


async def test_head_has_no_body() -> None:
    async with served() as place:
        for path in ("/parts", "/large"):
            answer = await place.ask(path, method="HEAD")
            assert answer.startswith(FINISHED)
            assert answer.endswith(b"\r\n\r\n")
        assert b"content-length: 67108864" in answer
        # A stream without end ends with its head.
        assert (await place.ask("/stream", method="HEAD")).startswith(FINISHED)


async def test_expect_continue() -> None:
    async with served() as place:
        answer = await place.ask("/echo", "Content-Length: 3", "Expect: 100-continue", method="POST", body=b"abc")
        assert answer.startswith(b"HTTP/1.1 100 ")
        assert answer.endswith(b"\r\n\r\nabc")


BROKEN = {
    "nonsense": b"\x00\x01\x02\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative length": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length in words": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\na",
    "folded": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\x00\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "other coding": b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a proxy's target": b"GET http://evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "the server as target": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path that is no text": b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw bytes in the path": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long head": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * HEAD_BYTES + b"\r\n\r\n",
    "a head without end": b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * HEAD_BYTES,
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_request(name: str) -> None:
    async with served() as place:
        answer = await raw(place.port, BROKEN[name])
        status = int(answer.split(b" ")[1])
        assert 400 <= status < 500
        assert b'{"error": "' in answer
        assert place.app.calls == []
        assert (await place.ask("/after")).startswith(FINISHED)


async def test_nothing_else_is_spoken_than_http_1() -> None:
    async with served() as place:
        upgrade = ("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
        assert (await place.ask("/x", "Upgrade: h2c", *upgrade)).startswith(FINISHED)
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        asked = ("Connection: Upgrade", "Upgrade: websocket", key, "Sec-WebSocket-Version: 13")
        assert (await place.ask("/x", *asked)).startswith(FINISHED)


async def test_a_smuggled_request_is_not_seen() -> None:
    hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    both = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    async with served() as place:
        assert (await raw(place.port, both + hidden)).split(b" ")[1] == b"400"
        ignored = b"GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(hidden)
        await raw(place.port, ignored + hidden)
        broken = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        assert (await raw(place.port, broken + hidden)).split(b" ")[1] == b"408"
        assert not any("hidden" in call for call in place.app.calls)


# Errors of ours.


async def test_an_error_of_the_application_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as place:
        answer = await place.ask("/broken")
        assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert b"RuntimeError" not in answer
        assert b"connection: close" in answer.lower()
        assert (await place.ask("/half")).endswith(b"4\r\nhalf\r\n")
        assert (await place.ask("/after")).startswith(FINISHED)
    assert sum(record.exc_info is not None for record in caplog.records) == 2


# Slow and greedy peers.


@pytest.mark.parametrize(
    "said", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n", b"\x16\x03\x01", b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"]
)
async def test_whoever_says_no_more_is_let_go(said: bytes) -> None:
    async with served() as place:
        await raw(place.port, said)


async def test_a_head_that_drips_is_not_waited_for() -> None:
    async with served() as place, await trio.open_tcp_stream(LOOPBACK, place.port) as stream:
        sent = 0
        with trio.fail_after(20):
            try:
                for byte in b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 10_000:
                    await stream.send_all(bytes((byte,)))
                    sent += 1
                    await trio.sleep(0.02)
            except trio.BrokenResourceError:
                pass
        assert sent < 1000
        assert place.app.calls == []


async def test_a_body_that_drips_is_not_waited_for() -> None:
    async with served() as place:
        answer = await place.ask("/echo", "Content-Length: 10", method="POST", body=b"abc")
        assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_reader_that_reads_nothing_is_let_go() -> None:
    async with served() as place:
        async with await trio.open_tcp_stream(LOOPBACK, place.port) as stream:
            await stream.send_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await place.app.begun.wait()
            assert (await place.ask("/after")).startswith(FINISHED)
            await trio.sleep(0.5)
            size = 0
            with trio.fail_after(30):
                try:
                    while part := await stream.receive_some(1 << 20):
                        size += len(part)
                except trio.BrokenResourceError:
                    pass
            assert size < 64 << 20


async def test_two_hundred_idle_connections_are_in_nobodys_way() -> None:
    patience = Patience()
    doorman = Doorman(WaitingRoom(100))
    before = len(descriptors())
    async with served(patience=patience, doorman=doorman) as place:
        async with AsyncExitStack() as stack:
            for _ in range(200):
                stream = await stack.enter_async_context(await trio.open_tcp_stream(LOOPBACK, place.port))
                await stream.send_all(b"GET / HT")
            await wait_all_tasks_blocked(0.05)
            assert len(doorman.room) <= 100
            assert doorman.room.evicted >= 100
            # Their own ends, and one hundred of ours.
            assert len(descriptors()) - before < 320
            assert (await place.ask("/served")).endswith(b"/served")
            with trio.fail_after(5):
                async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{place.port}", trust_env=False) as client:
                    for _ in range(5):
                        assert (await client.get("/served")).status_code == 200


async def test_who_is_turned_away_learns_nothing() -> None:
    async with served(doorman=Doorman(inmates=lambda stream: True)) as place:
        try:
            assert await raw(place.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        except trio.BrokenResourceError:
            pass
        assert place.app.calls == []


async def test_an_application_hears_when_its_peer_leaves() -> None:
    async with served() as place:
        async with await trio.open_tcp_stream(LOOPBACK, place.port) as stream:
            await stream.send_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            await stream.receive_some()
        with trio.fail_after(10):
            await place.app.gone.wait()


# Its end.


async def test_it_ends_and_lets_requests_end_before() -> None:
    async with served(patience=Patience(grace_s=20)) as place:
        async with await trio.open_tcp_stream(LOOPBACK, place.port) as idle:
            await idle.send_all(b"GET / HT")
            async with await trio.open_tcp_stream(LOOPBACK, place.port) as stream:
                await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
                await place.app.begun.wait()
                place.stop()
                with trio.fail_after(10):
                    # Who has nothing under way leaves at once.
                    assert await idle.receive_some() == b""
                    with pytest.raises(OSError):
                        await trio.open_tcp_stream(LOOPBACK, place.port)
                    place.app.may_end.set()
                    answer = b""
                    while part := await stream.receive_some():
                        answer += part
            assert answer.endswith(b"waited")
            assert b"connection: close" in answer
            with trio.fail_after(10):
                await place.over.wait()


async def test_requests_that_do_not_end_are_cut_off() -> None:
    async with served() as place:
        async with AsyncExitStack() as stack:
            for path in (b"/wait", b"/stream", b"/large"):
                stream = await stack.enter_async_context(await trio.open_tcp_stream(LOOPBACK, place.port))
                await stream.send_all(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            await wait_all_tasks_blocked(0.05)
            place.stop()
            with trio.fail_after(10):
                await place.over.wait()
            assert place.app.cancelled


# TLS.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def test_tls(authority: Authority) -> None:
    identity = authority.issue("control")
    async with served(security=identity.security()) as place:
        secure = f"https://localhost:{place.port}"
        async with httpx.AsyncClient(base_url=secure, verify=authority.trusting(), trust_env=False) as client:
            assert "'scheme': 'https'" in (await client.get("/scope")).text
            assert len((await client.post("/echo", content=b"x" * 300_000)).content) == 300_000
        assert (await place.ask("/clear")).startswith(FINISHED)
    async with served(security=identity.security(required=True)) as place:
        answer = await place.ask("/clear")
        assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert b"connect to https://" in answer
        assert place.app.calls == []


async def test_a_new_certificate_counts_for_new_connections(authority: Authority) -> None:
    one, two = authority.issue("one"), authority.issue("two")
    security = one.security()
    context = security.context
    assert context is not None
    async with served(security=security) as place:

        async def name() -> str:
            stream = await trio.open_ssl_over_tcp_stream("localhost", place.port, ssl_context=authority.trusting())
            async with stream:
                await stream.do_handshake()
                subject = stream.getpeercert()["subject"]
                return str(subject[0][0][1])

        assert await name() == "one"
        context.load_cert_chain(two.certificate, two.key)
        assert await name() == "two"


async def test_tls_where_there_is_none() -> None:
    async with served() as place:
        context = ssl.create_default_context()
        with pytest.raises(trio.BrokenResourceError) as caught:
            async with await trio.open_ssl_over_tcp_stream("localhost", place.port, ssl_context=context) as stream:
                await stream.do_handshake()
        assert "ALERT" in str(caught.value.__cause__).upper()


# Together with the guard.


@pytest.fixture
def ground() -> Iterator[Path]:
    with new_ground() as folder:
        yield folder


async def test_slow_bodies_and_readers_of_the_api(ground: Path) -> None:
    async with controlled(ground, profile(*IDLE, name="idle"), patience=SOON) as server:
        head = f"POST /api/session/create HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.operator}\r\n"
        more = "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        answer = await raw(server.port, (head + more).encode() + b"{")
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"the body did not come whole and in time" in answer
        async with server.client() as client:
            assert (await client.get("/api/sessions")).json()["active_sessions"] == 0
