"""Byte streams to a peer: native and WebSocket, in clear and in TLS, told apart by the first byte, behind one face."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final, Protocol
from urllib.parse import urlsplit

import h11
import trio
import trio_websocket

from tilewire.protocol import Code, Connection, RemoteProtocolError, Sender
from tilewire.protocol.constants import MAGIC
from tilewire.server.streams import FAREWELL_S as FAREWELL_S
from tilewire.server.streams import RECEIVE_BYTES, ReplayStream, SocketEnd
from tilewire.server.tls import NOT_CONFIGURED, HandshakeFailed, Security, TlsStream

MAX_HEAD: Final = 16384
"""Bytes of an HTTP request's head."""
WEBSOCKET_VERSION: Final = "13"
TLS_HANDSHAKE: Final = 0x16


class Gone(Exception):
    """The peer's end of the stream is gone: nothing can be read or written any more."""


class NotOurs(Exception):
    """The peer speaks something else, or comes from where it may not; it was told so where it could read it."""


class Transport(Protocol):
    """A byte stream in both directions."""

    peer: str

    @property
    def clean(self) -> bool:
        """Whether everything sent was sent whole: else the peer could not read what follows."""

    async def receive(self) -> bytes:
        """The next bytes, empty at the end of the stream. Raises Gone and RemoteProtocolError."""

    async def send(self, data: bytes) -> None:
        """Write all of it. Raises Gone; cancelled, it leaves a dead stream."""

    async def finish(self) -> None:
        """Close so that what was sent can still be read, in at most FAREWELL_S."""


class NativeTransport:
    """tilewire's own framing."""

    def __init__(self, stream: trio.abc.Stream, peer: str) -> None:
        self._stream = stream
        self.peer = peer
        self.clean = True

    async def receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Gone(f"the connection broke: {error.__cause__ or error}") from error

    async def send(self, data: bytes) -> None:
        self.clean = False
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Gone(f"the connection broke: {error.__cause__ or error}") from error
        self.clean = True

    async def finish(self) -> None:
        with trio.move_on_after(FAREWELL_S):
            await self._stream.aclose()


class WebSocketTransport:
    """Binary messages of a WebSocket, taken as one stream of bytes: their borders mean nothing."""

    def __init__(self, socket: trio_websocket.WebSocketConnection, peer: str) -> None:
        self._socket = socket
        self.peer = peer
        self.clean = True

    async def receive(self) -> bytes:
        while True:
            try:
                message = await self._socket.get_message()
            except trio_websocket.ConnectionClosed:
                return b""
            if isinstance(message, str):
                raise RemoteProtocolError(Code.PROTOCOL, "a WebSocket text message; tilewire uses binary ones")
            if message:
                return bytes(message)

    async def send(self, data: bytes) -> None:
        self.clean = False
        try:
            await self._socket.send_message(data)
        except trio_websocket.ConnectionClosed as error:
            raise Gone("the WebSocket is closed") from error
        self.clean = True

    async def finish(self) -> None:
        with trio.move_on_after(FAREWELL_S):
            await self._socket.aclose(1000)


@dataclass(frozen=True, slots=True)
class WebRules:
    """Which web pages may connect. A peer without Origin is a device, not a page, and welcome."""

    origins: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()

    def refusal(self, host: str | None, origins: list[str]) -> str | None:
        """Why a WebSocket request is refused, or None. `host` and `origins` are its headers' values."""
        if host is None or not self._is_our_host(host):
            return f"the Host {host!r} is not this server's"
        for origin in origins:
            if origin not in self.origins:
                return f"the Origin {origin!r} may not connect"
        return None

    def _is_our_host(self, host: str) -> bool:
        """A rebound DNS name is the attack: addresses cannot be rebound, names must be known."""
        if not set(host).isdisjoint("@/?#\\"):
            return False
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None:
            return False
        if name == "localhost" or name in self.hosts:
            return True
        try:
            ip_address(name)
        except ValueError:
            return name == socket.gethostname().lower()
        return True


def printable(text: str) -> str:
    """Text of a peer for a line of the log: what would end the line or steer a terminal is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def address_of(stream: trio.SocketStream) -> str:
    """The peer's address without its port: whom limits are for. An IPv6 host counts as the network of its 64 bits."""
    try:
        address = stream.socket.getpeername()
    except OSError:
        return ""
    if not isinstance(address, tuple):
        return "local"
    try:
        found = ip_address(address[0].partition("%")[0])
    except ValueError:
        return str(address[0])
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped) if found.ipv4_mapped is not None else str(ip_network((found, 64), strict=False))


def describe(stream: trio.SocketStream) -> str:
    """The peer's address for the log."""
    try:
        address = stream.socket.getpeername()
    except OSError:
        return "a peer that left"
    if isinstance(address, tuple):
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address) or "a local socket"


@asynccontextmanager
async def open_transport(
    stream: trio.SocketStream, rules: WebRules, timeout_s: float, security: Security | None = None
) -> AsyncIterator[Transport]:
    """Read the first byte and make the transport that it asks for. The stream is closed when the block ends.

    Raises NotOurs for a peer that speaks something else or is not through with it in `timeout_s`, Gone for one that
    left.
    """
    peer = describe(stream)
    deadline = trio.current_time() + timeout_s
    tls = security or Security()
    async with stream:
        end = SocketEnd(stream)
        first = await _first_bytes(end, deadline)
        inner: trio.abc.Stream = end
        if first[0] == TLS_HANDSHAKE:
            inner = await _secure(first, end, tls, deadline)
            first = await _first_bytes(inner, deadline)
        elif tls.required:
            await _refuse(end, _clear_refusal(first))
            raise NotOurs("does not speak TLS, which this server asks for")
        if first[0] == TLS_HANDSHAKE:
            await _refuse(inner, b"")
            raise NotOurs("TLS inside TLS")
        if first[:1].isalpha():
            async with _websocket(inner, first, rules, deadline, peer) as transport:
                yield transport
        else:
            yield NativeTransport(ReplayStream(first, inner), peer)


async def _first_bytes(stream: trio.abc.Stream, deadline: float) -> bytes:
    """What comes first, at least one byte. Raises Gone and NotOurs."""
    with trio.move_on_at(deadline):
        try:
            first = bytes(await stream.receive_some(RECEIVE_BYTES))
        except trio.BrokenResourceError as error:
            raise Gone(f"the connection broke: {error.__cause__ or error}") from error
        if not first:
            raise Gone("left without a word")
        return first
    raise NotOurs("silent in the handshake")


async def _refuse(stream: trio.abc.Stream, words: bytes) -> None:
    """Last words to a peer that is not let in, in twice FAREWELL_S at most."""
    with trio.move_on_after(FAREWELL_S):
        try:
            await stream.send_all(words)
        except trio.BrokenResourceError:
            return
    with trio.move_on_after(FAREWELL_S):
        await stream.aclose()


async def _secure(first: bytes, end: SocketEnd, tls: Security, deadline: float) -> TlsStream:
    """TLS on a socket that has begun with it. Raises Gone and NotOurs."""
    if tls.context is None:
        await _refuse(end, NOT_CONFIGURED)
        raise NotOurs("TLS was asked for and is not configured")
    stream = TlsStream(first, end, tls.context)
    with trio.move_on_at(deadline):
        try:
            await stream.handshake()
        except HandshakeFailed as error:
            await _refuse(end, error.alert)
            raise NotOurs(str(error)) from error
        return stream
    raise NotOurs("silent in the TLS handshake")


def _clear_refusal(first: bytes) -> bytes:
    """What a peer is told that speaks in clear where it may not, in its own language."""
    if first[:1].isalpha():
        return _http_refusal(403, "this server asks for TLS: connect to https:// or wss://")
    if first[:1] == MAGIC[:1]:
        return Connection(Sender.SERVER).goodbye(Code.UNSUPPORTED, "this server asks for TLS")
    return b""


async def _read_head(stream: trio.abc.Stream, first: bytes) -> tuple[bytes, h11.Request | None]:
    """The bytes of an HTTP request's head and the request; None where it is not one. Raises Gone."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    data, part = b"", first
    while True:
        data += part
        try:
            parser.receive_data(part)
            event = parser.next_event()
        except h11.RemoteProtocolError:
            return data, None
        if isinstance(event, h11.Request):
            return data, event
        if event is not h11.NEED_DATA or not part:
            return data, None
        try:
            part = bytes(await stream.receive_some(RECEIVE_BYTES))
        except trio.BrokenResourceError as error:
            raise Gone("the connection broke") from error


def _http_refusal(status: int, text: str) -> bytes:
    body = text.encode() + b"\n"
    phrase = {400: "Bad Request", 403: "Forbidden", 426: "Upgrade Required"}[status]
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    if status == 426:
        head += f"Sec-WebSocket-Version: {WEBSOCKET_VERSION}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def _web_refusal(request: h11.Request | None, rules: WebRules) -> tuple[int, str] | None:
    """Why a request does not become a WebSocket, with the HTTP status; None: it may."""
    if request is None:
        return 400, "this is not an HTTP request"
    headers: dict[bytes, list[str]] = {}
    for name, value in request.headers:
        headers.setdefault(bytes(name), []).append(bytes(value).decode("latin-1"))

    def has(name: bytes, token: str) -> bool:
        return token in [part.strip().lower() for value in headers.get(name, []) for part in value.split(",")]

    # The library would send an error to such a request and then wait for a better one.
    asks = has(b"upgrade", "websocket") and has(b"connection", "upgrade") and b"sec-websocket-key" in headers
    if request.method != b"GET" or request.http_version != b"1.1" or not asks:
        return 400, "HTTP that does not ask for a WebSocket"
    if headers.get(b"sec-websocket-version") != [WEBSOCKET_VERSION]:
        return 426, f"a WebSocket of another version than {WEBSOCKET_VERSION}"
    hosts = headers.get(b"host", [])
    refusal = rules.refusal(hosts[0] if len(hosts) == 1 else None, headers.get(b"origin", []))
    return None if refusal is None else (403, refusal)


@asynccontextmanager
async def _websocket(
    stream: trio.abc.Stream, first: bytes, rules: WebRules, deadline: float, peer: str
) -> AsyncIterator[WebSocketTransport]:
    refusal: tuple[int, str] | None = (400, "silent in the handshake")
    head = first
    with trio.move_on_at(deadline):
        head, request = await _read_head(stream, first)
        refusal = _web_refusal(request, rules)
    if refusal is not None:
        await _refuse(stream, _http_refusal(*refusal))
        raise NotOurs(refusal[1])
    replay = ReplayStream(head, stream)
    async with trio.open_nursery() as nursery:
        websocket: trio_websocket.WebSocketConnection | None = None
        with trio.move_on_at(deadline):
            try:
                upgrade = await trio_websocket.wrap_server_stream(
                    nursery, replay, message_queue_size=1, max_message_size=RECEIVE_BYTES
                )
                websocket = await upgrade.accept()
            except (trio_websocket.HandshakeError, trio_websocket.ConnectionClosed, trio.BrokenResourceError):
                pass
        if websocket is None:
            nursery.cancel_scope.cancel()
            raise NotOurs("HTTP that did not become a WebSocket")
        try:
            yield WebSocketTransport(websocket, peer)
        finally:
            nursery.cancel_scope.cancel()
