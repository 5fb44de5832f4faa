"""HTTP/1.1 for an ASGI application, on trio streams: h11 speaks it, this bounds how long and how much it may speak.

Every wait for a peer has an end: for a head, for a body, for bytes that it does not take. Connections without a request
under way make room for others when there are too many. Nothing but HTTP/1.1 is spoken.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import h11
import trio

from tilewire.server.door import Doorman, open_door
from tilewire.server.limits import WaitingRoom
from tilewire.server.streams import FAREWELL_S, RECEIVE_BYTES, ReplayStream, SocketEnd
from tilewire.server.tls import NOT_CONFIGURED, HandshakeFailed, Security, TlsStream
from tilewire.server.transport import TLS_HANDSHAKE, address_of, describe, printable

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEAD_BYTES: Final = 16384
"""Of a request's line and fields together: as on the device port."""
PEER: Final = "tilewire.peer"
"""In a scope's state: the peer for the log."""
ADDRESS: Final = "tilewire.address"
"""In a scope's state: the peer's address, for limits."""
REQUEST_ID: Final = "tilewire.request_id"
"""In a scope's state, in the log and in errors: which request it was."""
REQUESTS: Final = 1000
"""On one connection: then it is another's turn."""
SLICE_BYTES: Final = 65536
"""Written at once: each slice that a peer takes is a sign of life, however thin its link."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a peer is waited for, in seconds."""

    head_s: float = 10.0
    """From the connection's begin to the end of the first head, TLS included."""
    idle_s: float = 30.0
    """From one answer to the end of the next head."""
    body_s: float = 15.0
    """For the whole body, from the first time it is asked for."""
    stalled_s: float = 15.0
    """For bytes that the peer does not take."""
    grace_s: float = 1.0
    """For requests that are under way when the server ends."""


class Disconnected(OSError):
    """The peer is gone, or as good as gone. An OSError: ASGI asks for one."""


class _Refused(Exception):
    """No request could be read; the peer is told why, where it can be told anything."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def serve_app(
    app: App,
    host: str,
    port: int,
    *,
    security: Security | None = None,
    doorman: Doorman | None = None,
    patience: Patience | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until cancelled; then requests under way have `grace_s` to end. Raises ServerError.

    `doorman` knows who is turned away before a byte is read, and how many may wait in the door. `security.context` is
    asked for anew with each connection. Started with its listeners.
    """
    listeners = await open_door(host, port)
    server = _Server(app, security or Security(), doorman or Doorman(), patience or Patience())
    async with trio.open_nursery() as nursery:
        guests = await nursery.start(server.keep_guests)
        task_status.started(listeners)
        try:
            await trio.serve_listeners(server.answer, listeners, handler_nursery=guests)
        finally:
            server.stop()


class _Server:
    """What all connections share."""

    def __init__(self, app: App, security: Security, doorman: Doorman, patience: Patience) -> None:
        self.app = app
        self.security = security
        self.doorman = doorman
        self.patience = patience
        self.stopping = trio.Event()
        self._life = trio.CancelScope(shield=True)
        self._idle: set[trio.CancelScope] = set()
        """Of connections that have nothing under way."""

    @property
    def room(self) -> WaitingRoom:
        """Connections without a request under way: they take nobody's place but one another's."""
        return self.doorman.room

    async def keep_guests(self, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Connections outlive the cancellation of all else, by the grace that they have."""
        with self._life:
            async with trio.open_nursery() as guests:
                task_status.started(guests)
                await self.stopping.wait()

    @contextmanager
    def idle(self, patience_s: float) -> Iterator[None]:
        """The block waits for a request, and ends when that takes too long or the server is ending."""
        scope = trio.CancelScope(deadline=trio.current_time() + patience_s)
        if self.stopping.is_set():
            scope.cancel()
        self._idle.add(scope)
        try:
            with scope:
                yield
        finally:
            self._idle.discard(scope)

    def stop(self) -> None:
        """Let what is under way end."""
        self.stopping.set()
        for scope in self._idle:
            scope.cancel()
        self._life.deadline = trio.current_time() + self.patience.grace_s

    async def answer(self, socket: trio.SocketStream) -> None:
        """One connection from its first byte to its last. Nothing of it reaches the other connections."""
        if self.doorman.turns_away(socket):
            await trio.aclose_forcefully(socket)
            return
        peer = describe(socket)
        connection = _Connection(self, socket, peer, address_of(socket))
        try:
            await connection.run()
        except* (Disconnected, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as group:
            log.debug("%s: %s", peer, group.exceptions[0])
        except* Exception:
            # Of a library that the peer found a hole in: it is not to take the other connections along.
            log.exception("%s: an error of this server", peer)


class _Connection:
    """One peer."""

    def __init__(self, server: _Server, socket: trio.SocketStream, peer: str, address: str) -> None:
        self.server = server
        self.peer = peer
        self.address = address
        self._end = SocketEnd(socket)
        self._stream: trio.abc.Stream = self._end
        self._tls = False
        self._host = socket.socket.getsockname()[:2]
        self.parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def run(self) -> None:
        """Serve its requests, one after the other."""
        try:
            patience = self.server.patience
            request = await self._wait_for(self._first_request, patience.head_s)
            for count in range(REQUESTS):
                if request is None:
                    return
                last = count + 1 == REQUESTS
                if not await _Exchange(self, request, last=last).run():
                    break
                request = await self._wait_for(self._next_request, patience.idle_s)
            await self._finish()
        except _Refused as refusal:
            await self._say_why(refusal)
            await self._finish()
        finally:
            await trio.aclose_forcefully(self._end)

    async def _finish(self) -> None:
        """Close so that the last answer can still be read, unless others need the place."""
        with self.server.room.enter(self.address), trio.move_on_after(FAREWELL_S):
            await self._stream.aclose()

    async def _wait_for(
        self, request: Callable[[], Awaitable[h11.Request | None]], patience_s: float
    ) -> h11.Request | None:
        """None: the peer left, said nothing for too long, or had to make room; it is not worth another word."""
        found: h11.Request | None = None
        with self.server.room.enter(self.address), self.server.idle(patience_s):
            found = await request()
        return found

    async def _first_request(self) -> h11.Request | None:
        first = bytes(await self._end.receive_some(RECEIVE_BYTES))
        if not first:
            return None
        security = self.server.security
        if first[0] == TLS_HANDSHAKE:
            if security.context is None:
                await self._end.send_all(NOT_CONFIGURED)
                return None
            stream = TlsStream(first, self._end, security.context)
            try:
                await stream.handshake()
            except HandshakeFailed as error:
                log.info("%s: %s", self.peer, error)
                await self._end.send_all(error.alert)
                return None
            self._stream, self._tls = stream, True
        else:
            self._stream = ReplayStream(first, self._end)
            if security.required:
                await self._next_request()
                raise _Refused(403, "this server asks for TLS: connect to https://")
        return await self._next_request()

    async def _next_request(self) -> h11.Request | None:
        while True:
            try:
                event = self.parser.next_event()
            except h11.RemoteProtocolError as error:
                hint = error.error_status_hint
                raise _Refused(hint if hint < 500 else 400, "this is not an HTTP request that is taken here") from error
            if isinstance(event, h11.Request):
                _check_head(event)
                return event
            if event is not h11.NEED_DATA:
                return None
            self.parser.receive_data(await self.receive())

    async def receive(self) -> bytes:
        """What comes next, empty at the end. Raises Disconnected."""
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Disconnected("the connection broke") from error

    async def send(self, event: h11.Event) -> None:
        """Raises Disconnected."""
        data = self.parser.send(event) or b""
        for start in range(0, len(data), SLICE_BYTES):
            with trio.move_on_after(self.server.patience.stalled_s) as scope:
                try:
                    await self._stream.send_all(data[start : start + SLICE_BYTES])
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    raise Disconnected("the connection broke") from error
            if scope.cancelled_caught:
                raise Disconnected("took no bytes for too long")

    async def _say_why(self, refusal: _Refused) -> None:
        log.info("%s: %s", self.peer, refusal)
        if self.parser.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = json.dumps({"error": str(refusal)}).encode()
        headers = [
            *_standard_headers(),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await self.send(_head(refusal.status, headers))
        await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    def scope(self, request: h11.Request) -> Scope:
        """As ASGI has it. Raises _Refused for a path that is no text."""
        target, _, query = request.target.partition(b"?")
        if not target.startswith(b"/"):
            # For proxies (GET http://...), for whole servers (OPTIONS *): neither is here.
            raise _Refused(400, "the request's target is not a path")
        try:
            path = unquote_to_bytes(target).decode()
        except UnicodeDecodeError as error:
            raise _Refused(400, "the request's path is not UTF-8") from error
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode("ascii"),
            "scheme": "https" if self._tls else "http",
            "path": path,
            "raw_path": target,
            "query_string": query,
            "root_path": "",
            "headers": [(bytes(name), bytes(value)) for name, value in request.headers],
            "client": None,
            "server": self._host,
            "state": {PEER: self.peer, ADDRESS: self.address, REQUEST_ID: secrets.token_hex(8)},
        }


@dataclass(eq=False, slots=True)
class _Exchange:
    """One request and its answer."""

    connection: _Connection
    request: h11.Request
    last: bool
    _body_until_s: float | None = None
    _whole: bool = False
    """Whether the request's body has been read to its end."""
    _started: Message | None = None
    """The head of the answer, not sent yet."""
    _answered: bool = False
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def run(self) -> bool:
        """Have it answered; returns whether another request may follow. Raises Disconnected and _Refused."""
        connection = self.connection
        parser = connection.parser
        scope = connection.scope(self.request)
        try:
            with self._scope:
                await connection.server.app(scope, self._receive, self._send)
        except Disconnected:
            raise
        except Exception:
            log.exception(
                "%s: request %s, %s %s: an error of this server",
                connection.peer,
                scope["state"][REQUEST_ID],
                printable(scope["method"]),
                printable(scope["path"]),
            )
            if parser.our_state is h11.SEND_RESPONSE:
                raise _Refused(500, "an error of this server; it is in its log") from None
        if parser.our_state is not h11.DONE or connection.server.stopping.is_set():
            return False
        if not self._read_out():
            return False
        parser.start_next_cycle()
        return True

    def _read_out(self) -> bool:
        """Whether the request is whole; of a body that nobody wants, what is here already is passed over."""
        parser = self.connection.parser
        try:
            while parser.their_state is h11.SEND_BODY:
                if parser.next_event() is h11.NEED_DATA:
                    return False
        except h11.RemoteProtocolError:
            return False
        self._whole = parser.their_state is h11.DONE
        return self._whole

    async def _receive(self) -> Message:
        connection, parser = self.connection, self.connection.parser
        if self._whole:
            # Whatever else it may send has to wait for the answer, and in the kernel.
            if not parser.trailing_data[0] and await connection.receive() == b"":
                return {"type": "http.disconnect"}
            await trio.sleep_forever()
        now = trio.current_time()
        if self._body_until_s is None:
            self._body_until_s = now + connection.server.patience.body_s
        if parser.they_are_waiting_for_100_continue:
            await connection.send(h11.InformationalResponse(status_code=100, headers=[]))
        with trio.CancelScope(deadline=self._body_until_s):
            while True:
                try:
                    event = parser.next_event()
                except h11.RemoteProtocolError:
                    return {"type": "http.disconnect"}
                if isinstance(event, h11.Data):
                    return {"type": "http.request", "body": bytes(event.data), "more_body": True}
                if isinstance(event, h11.EndOfMessage):
                    self._whole = True
                    return {"type": "http.request", "body": b"", "more_body": False}
                if event is not h11.NEED_DATA:
                    return {"type": "http.disconnect"}
                parser.receive_data(await connection.receive())
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = message
            return
        if message["type"] != "http.response.body":
            raise ValueError(f"{message['type']} is not sent here")
        if self._answered:
            raise ValueError("the answer has been sent whole")
        connection = self.connection
        if self._started is not None:
            started, self._started = self._started, None
            await connection.send(_head(started["status"], self._headers(started)))
        if self.request.method == b"HEAD":
            # The head is all there is, however much the body would have been.
            self._answered = True
            await connection.send(h11.EndOfMessage())
            self._scope.cancel()
            return
        if message.get("body"):
            await connection.send(h11.Data(data=message["body"]))
        if not message.get("more_body", False):
            self._answered = True
            await connection.send(h11.EndOfMessage())

    def _headers(self, started: Message) -> list[tuple[bytes, bytes]]:
        headers = [*_standard_headers(), *((bytes(name), bytes(value)) for name, value in started.get("headers", ()))]
        # Who answers now wants no more of the body.
        if self.last or self.connection.server.stopping.is_set() or not self._read_out():
            headers.append((b"connection", b"close"))
        return headers


def _check_head(request: h11.Request) -> None:
    """Raises _Refused for what h11 lets through."""
    # It bounds heads that are not whole yet.
    size = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
    if size > HEAD_BYTES:
        raise _Refused(431, f"a request's head has up to {HEAD_BYTES} bytes")
    names = {bytes(name) for name, _ in request.headers}
    if names >= {b"content-length", b"transfer-encoding"}:
        # Two lengths: a proxy before us may have believed the other one (RFC 9112, 6.3).
        raise _Refused(400, "the body has two lengths")


def _head(status: int, headers: list[tuple[bytes, bytes]]) -> h11.Response:
    return h11.Response(status_code=status, reason=HTTPStatus(status).phrase.encode(), headers=headers)


def _standard_headers() -> Iterable[tuple[bytes, bytes]]:
    return (b"date", formatdate(usegmt=True).encode()), (b"server", b"tilewire")
