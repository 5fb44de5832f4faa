"""The device's byte stream to the server, as the address says: native or WebSocket, in clear or in TLS.

HOST:PORT    tls://HOST:PORT    ws://HOST:PORT/    wss://HOST:PORT/
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import trio
import trio_websocket

from tilewire.protocol.constants import PORT

RECEIVE_BYTES: Final = 262144
CONNECT_S: Final = 10.0
CLOSE_S: Final = 1.0
"""How long the last words may take: a server that does not read is not waited for."""
TLS_SCHEMES: Final = ("tls://", "wss://")
URL_PORTS: Final = {"ws": 80, "wss": 443}
REASON_CHARACTERS: Final = 200
"""Of a server's refusal, to show."""
OTHER_NAME: Final = (62, 64)
UNKNOWN_ISSUER: Final = (18, 19, 20, 21)
"""What X509_verify_cert(3) calls HOSTNAME_ and IP_ADDRESS_MISMATCH; self-signed, and no issuer found."""


class StreamError(Exception):
    """The server cannot be reached, or is gone; one plain sentence."""


class ByteStream(Protocol):
    """Bytes both ways."""

    async def receive(self) -> bytes:
        """The next bytes; empty at the end. Raises StreamError."""

    async def send(self, data: bytes) -> None:
        """Write all of it. Raises StreamError."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which servers are believed to be who they say: those that the system trusts, where nothing else is said."""

    ca: Path | None = None
    """A file of certificates (PEM), trusted instead of the system's: authorities, or a server's own."""
    check: bool = True


@dataclass(frozen=True, slots=True)
class _Address:
    text: str
    host: str
    port: int
    tls: bool
    resource: str | None
    """Of a WebSocket's request; None: native."""


class _Bytes:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, ssl.SSLEOFError):
                # Without close_notify: GOODBYE is what tells an end from a cut, in clear and in TLS.
                return b""
            raise StreamError(f"the connection broke: {error.__cause__ or error}") from error

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise StreamError(f"the connection broke: {error.__cause__ or error}") from error


class _WebSocket:
    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection

    async def receive(self) -> bytes:
        try:
            message = await self._connection.get_message()
        except trio_websocket.ConnectionClosed:
            return b""
        if isinstance(message, str):
            raise StreamError("the server sent text where bytes belong")
        return bytes(message)

    async def send(self, data: bytes) -> None:
        try:
            await self._connection.send_message(data)
        except trio_websocket.ConnectionClosed as error:
            raise StreamError("the server closed the WebSocket") from error


def parse_server(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT or [IPv6]:PORT. Raises ValueError."""
    host, separator, port = text.rpartition(":")
    if not separator or (":" in host and not host.startswith("[")):
        host, port = text, str(PORT)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{port!r} is not a port")
    host = host.strip("[]")
    if not host:
        raise ValueError(f"{text!r} names no server")
    return host, int(port)


def _parse(text: str) -> _Address:
    """Raises StreamError."""
    try:
        if text.startswith(("ws://", "wss://")):
            url = urlsplit(text)
            if not url.hostname:
                raise ValueError("it names no server")
            resource = (url.path or "/") + (f"?{url.query}" if url.query else "")
            tls = url.scheme == "wss"
            return _Address(text, url.hostname, url.port or URL_PORTS[url.scheme], tls, resource)
        tls = text.startswith("tls://")
        host, port = parse_server(text.removeprefix("tls://").removesuffix("/") if tls else text)
        return _Address(text, host, port, tls, None)
    except ValueError as error:
        raise StreamError(f"{text!r} is no address: {error}") from error


def client_context(trust: Trust) -> ssl.SSLContext:
    """TLS 1.2 or later. Raises StreamError, naming the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not trust.check:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if trust.ca is None:
        context.load_default_certs()
        return context
    # So that a server's own certificate may be named, whoever issued it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(trust.ca)
    except ssl.SSLError as error:
        raise StreamError(f"{trust.ca} holds no certificate (PEM)") from error
    except OSError as error:
        raise StreamError(f"{trust.ca} cannot be read: {error.strerror}") from error
    return context


def _why(error: BaseException, host: str) -> str:
    """Why no TLS came about, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in OTHER_NAME:
            return f"the server's certificate is not for {host}"
        if error.verify_code in UNKNOWN_ISSUER:
            return f"the server's certificate is not trusted: {error.verify_message} (--ca names one to trust)"
        return f"the server's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the server closed the connection in the TLS handshake"
    if isinstance(error, ssl.SSLError) and error.reason:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            return "the server does not speak TLS"
        return f"the TLS handshake failed: {error.reason.replace('_', ' ').lower()}"
    return f"the TLS handshake failed: {getattr(error, 'strerror', None) or error}"


@asynccontextmanager
async def _dial(address: _Address, trust: Trust) -> AsyncIterator[trio.abc.Stream]:
    """Bytes to the server, in TLS where the address says so. Raises StreamError."""
    context = client_context(trust) if address.tls else None
    try:
        with trio.fail_after(CONNECT_S):
            tcp = await trio.open_tcp_stream(address.host, address.port)
    except (OSError, trio.TooSlowError) as error:
        # Of several addresses, the first.
        cause = error.__cause__.exceptions[0] if isinstance(error.__cause__, ExceptionGroup) else error.__cause__
        why = cause if isinstance(cause, OSError) else error
        number = why.errno if isinstance(why, OSError) else None
        if isinstance(why, trio.TooSlowError):
            text = "no answer"
        elif number is not None and number > 0:
            text = os.strerror(number)  # trio's own text names the address again
        else:
            text = getattr(why, "strerror", None) or str(why)
        raise StreamError(f"cannot connect to {address.text}: {text}") from error
    async with tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is None:
            yield tcp
            return
        secure = trio.SSLStream(tcp, context, server_hostname=address.host)
        try:
            with trio.fail_after(CONNECT_S):
                await secure.do_handshake()
        except trio.BrokenResourceError as error:
            why_not = _why(error.__cause__ or error, address.host)
            raise StreamError(f"cannot connect to {address.text}: {why_not}") from error
        except trio.TooSlowError as error:
            raise StreamError(f"cannot connect to {address.text}: no answer in the TLS handshake") from error
        try:
            yield secure
        finally:
            with trio.move_on_after(CLOSE_S):
                await secure.aclose()


def _refusal(error: BaseException) -> str:
    """Why there is no WebSocket, in words."""
    if isinstance(error, trio_websocket.ConnectionRejected):
        body = (error.body or b"").decode("utf-8", "replace").strip()[:REASON_CHARACTERS]
        said = "".join(c if c.isprintable() else " " for c in body)
        return f"the server answered HTTP {error.status_code}" + (f": {said}" if said else "")
    if isinstance(error, trio.TooSlowError):
        return "no answer"
    return str(error) or "the server does not speak WebSocket"


@asynccontextmanager
async def _web(stream: trio.abc.Stream, address: _Address) -> AsyncIterator[_WebSocket]:
    default = URL_PORTS["wss" if address.tls else "ws"]
    name = f"[{address.host}]" if ":" in address.host else address.host
    standing = False
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(CONNECT_S):
                connection = await trio_websocket.wrap_client_stream(
                    nursery,
                    stream,  # type: ignore[arg-type]  # any stream of trio's, its documentation says
                    name if address.port == default else f"{name}:{address.port}",
                    address.resource or "/",
                )
            standing = True
            try:
                yield _WebSocket(connection)
            finally:
                with trio.move_on_after(CLOSE_S):
                    await connection.aclose()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if standing or not isinstance(first, trio_websocket.HandshakeError | trio.TooSlowError):
            raise
        raise StreamError(f"cannot connect to {address.text}: {_refusal(first)}") from first


@asynccontextmanager
async def connect(address: str, tls: Trust | None = None) -> AsyncIterator[ByteStream]:
    """Connect to HOST:PORT, tls://HOST:PORT, ws://HOST:PORT/ or wss://HOST:PORT/. `tls`: whom to trust there.

    Raises StreamError with a plain sentence.
    """
    parsed = _parse(address)
    async with _dial(parsed, tls or Trust()) as stream:
        if parsed.resource is None:
            yield _Bytes(stream)
        else:
            async with _web(stream, parsed) as web:
                yield web
