"""Who may call the API, judged before anything of the call is parsed. Pure ASGI, around the application.

In this order: the Host has to be ours and the Origin allowed (else a web page could call through its visitor's
browser), the address must not have called too often, the token has to be good and its role enough, the body has to be
JSON, short and soon. docs/security.md counts what holds because of it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import trio

from tilewire.server.control.errors import error_response
from tilewire.server.control.http import ADDRESS, PEER, REQUEST_ID, App, Message, Receive, Scope, Send
from tilewire.server.limits import Rate
from tilewire.server.store import Role, Store, StoreError, Token
from tilewire.server.transport import WebRules, printable

log = logging.getLogger(__name__)

BODY_BYTES: Final = 64 << 10
"""Of a request: the longest that makes sense is a list of inputs with texts."""
WRONG_PER_MINUTE: Final = 20
"""Wrong tokens of one address, before it is told to wait. 256 random bits are not guessed at any rate: this is for the
log, and for who has a script with an old token."""
TOKEN: Final = "tilewire.token"
"""In a scope's state: the token that let the call in."""
OPEN: Final = frozenset({"/health", "/openapi.json", "/docs", "/docs/docs.css", "/docs/docs.js", "/docs/docs.svg"})
"""Paths that anybody may read: they show nothing of what runs here but the number of sessions."""
READING: Final = frozenset({"GET", "HEAD"})
COMPAT_HOST: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
CHALLENGE: Final = 'Bearer realm="tilewire"'
JSON: Final = "application/json"
PREFLIGHT_S: Final = 600

SECURITY_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer that does not say something else."""


class Denied(Exception):
    """The call is answered with this and goes no further."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


@dataclass(slots=True)
class Guard:
    """Around an application. `compat`: without tokens, for programs of this machine that are no browsers."""

    app: App
    store: Store
    rules: WebRules
    calls: Rate
    wrong: Rate
    compat: bool = False
    clock: Callable[[], float] = time.monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        state = scope["state"]
        headers = Fields(scope["headers"])
        origin = ""
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._dressed(message["headers"], state[REQUEST_ID], origin)
            await send(message)

        try:
            origin = self._check_web(scope, headers)
            if origin and scope["method"] == "OPTIONS" and headers.one("access-control-request-method") is not None:
                await _preflight(answer)
                return
            token = await self._check_token(scope, headers)
            state[TOKEN] = token
            body = await self._body(headers, receive)
            # The answer to HEAD is GET's; the server sends its head.
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            await self.app({**scope, "method": method}, _replayed(body, receive), answer)
        except Denied as denied:
            response = error_response(state, denied.status, str(denied), denied.headers)
            await response(scope, receive, answer)
        finally:
            self._note(scope, state, status)

    def _note(self, scope: Scope, state: dict[str, object], status: int) -> None:
        """One line of the log. No header, no query and no body is in it: they may hold secrets."""
        token = state.get(TOKEN)
        who = f"token {token.id}" if isinstance(token, Token) else "nobody"
        level = logging.DEBUG if scope["method"] in READING and status < 400 else logging.INFO
        line = f"{scope['method']} {scope['path'][:200]}"
        log.log(level, "%s: %s: %d for %s, request %s", state[PEER], printable(line), status, who, state[REQUEST_ID])

    # Web pages.

    def _check_web(self, scope: Scope, headers: Fields) -> str:
        """The origin of a web page that may call, empty where it is none. Raises Denied."""
        host = headers.one("host")
        if self.compat:
            if host is None or not COMPAT_HOST.fullmatch(host):
                raise Denied(403, "this port serves programs that call it localhost or by a loopback address")
            if headers.all("origin") or headers.one("sec-fetch-site") is not None:
                raise Denied(403, "this port serves no web pages")
            return ""
        refusal = self.rules.refusal(host, [])
        if refusal is not None or host is None:
            raise Denied(403, refusal or "the Host is missing")
        origins = headers.all("origin")
        own = f"{scope['scheme']}://{host.lower()}"
        for origin in origins:
            if origin != own and (refusal := self.rules.refusal(host, [origin])) is not None:
                raise Denied(403, refusal)
        foreign = [origin for origin in origins if origin != own]
        if not foreign and headers.one("sec-fetch-site") not in (None, "same-origin", "none"):
            # A picture or a form of another page: such calls need not say whose they are.
            raise Denied(403, "a web page of another origin may not call this")
        return foreign[0] if foreign else ""

    def _dressed(
        self, headers: Iterable[tuple[bytes, bytes]], request_id: str, origin: str
    ) -> list[tuple[bytes, bytes]]:
        dressed = list(headers)
        names = {name.lower() for name, _ in dressed}
        extra = {**SECURITY_HEADERS, "X-Request-Id": request_id}
        if origin:
            extra |= {"Access-Control-Allow-Origin": origin, "Cross-Origin-Resource-Policy": "cross-origin"}
            extra |= {"Access-Control-Expose-Headers": "X-Request-Id, Retry-After"}
        if self.rules.origins and not self.compat:
            extra["Vary"] = "Origin"
        for name, value in extra.items():
            key = name.lower().encode()
            if key not in names:
                dressed.append((key, value.encode("latin-1")))
        return dressed

    # Tokens.

    async def _check_token(self, scope: Scope, headers: Fields) -> Token | None:
        """Whose call it is. Raises Denied."""
        address = scope["state"][ADDRESS]
        if self.compat:
            self._count(address)
            return None
        if scope["path"] in OPEN and scope["method"] in READING:
            self._count(address)
            return None
        text = _bearer(headers)
        token = None
        if text is not None:
            try:
                token = await self.store.check_token(text)
            except StoreError as error:
                # Nobody is let in who cannot be checked.
                log.error("tokens cannot be checked: %s", error)
        if token is None:
            # Of a bucket of their own: who has no token cannot use up the calls of who has one.
            self._count(address)
            if text is not None and not self.wrong.take(address, self.clock()):
                raise Denied(429, "too many wrong tokens from this address", {"Retry-After": "60"})
            text = "a token is needed: Authorization: Bearer ..." if text is None else "the token is not good"
            raise Denied(401, text, {"WWW-Authenticate": CHALLENGE})
        self._count(f"{address} {token.id}")
        scope["state"][TOKEN] = token
        if scope["method"] not in READING and token.role is not Role.OPERATOR:
            raise Denied(403, f"a {token.role.value}'s token reads; an operator's is needed for this")
        return token

    def _count(self, key: str) -> None:
        if not self.calls.take(key, self.clock()):
            raise Denied(429, "too many calls from this address", {"Retry-After": "1"})

    # Bodies.

    async def _body(self, headers: Fields, receive: Receive) -> bytes:
        """All of it. Raises Denied."""
        declared = headers.one("content-length")
        if declared is not None and int(declared) > BODY_BYTES:
            raise Denied(413, f"a body has up to {BODY_BYTES} bytes")
        if declared in (None, "0") and headers.one("transfer-encoding") is None:
            return b""
        if headers.one("content-encoding") not in (None, "identity"):
            raise Denied(415, "a body is not encoded")
        kind = (headers.one("content-type") or "").partition(";")[0].strip().lower()
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Denied(408, "the body did not come whole and in time")
            body += message.get("body", b"")
            if len(body) > BODY_BYTES:
                raise Denied(413, f"a body has up to {BODY_BYTES} bytes")
            if not message.get("more_body", False):
                break
        if body and kind != JSON:
            raise Denied(415, f"the body's type has to be {JSON}")
        return bytes(body)


class Fields:
    """A request's header fields."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in headers:
            self._fields.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def all(self, name: str) -> list[str]:
        """Its values, in order."""
        return self._fields.get(name, [])

    def one(self, name: str) -> str | None:
        """Its only value, None where it is missing. Raises Denied where there are several: who knows which counts?"""
        values = self.all(name)
        if len(values) > 1:
            raise Denied(400, f"the header {name} stands there more than once")
        return values[0] if values else None


def _bearer(headers: Fields) -> str | None:
    """The token of a call, None where it has none. What is no token at all is a wrong one."""
    value = headers.one("authorization")
    if value is None:
        return None
    scheme, _, text = value.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, then what the server has to say."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if not given:
            given = True
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


async def _preflight(send: Send) -> None:
    """A browser asks whether a page of an allowed origin may call with a token."""
    headers = {
        "Access-Control-Allow-Methods": "GET, POST, DELETE",
        "Access-Control-Allow-Headers": "Authorization, Content-Type",
        "Access-Control-Max-Age": str(PREFLIGHT_S),
    }
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 204, "headers": fields})
    await send({"type": "http.response.body", "body": b""})
