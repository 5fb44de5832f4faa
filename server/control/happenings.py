"""What happens to sessions, as a stream of server-sent events (the WHATWG's HTML standard, section 9.2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Final

import trio
from fastapi import Query, Request
from starlette.responses import Response

from tilewire.server.control.errors import ApiError, described
from tilewire.server.control.guard import TOKEN
from tilewire.server.control.http import Disconnected, Receive, Scope, Send
from tilewire.server.control.models import NAME
from tilewire.server.control.routing import ServiceHere, router
from tilewire.server.control.service import Service
from tilewire.server.events import Happening
from tilewire.server.store import StoreError, Token

HEARTBEAT_S: Final = 15.0
"""Proxies drop what is silent for a minute; and so long a revoked token may still listen where nothing happens."""
MAX_STREAMS: Final = 64
"""At once: each holds a connection."""
RETRY_MS: Final = 2000

routes = router("events")


@routes.get(
    "/api/events",
    response_class=Response,
    responses={
        **described(409),
        200: {
            "description": "a stream that does not end by itself; the name of an event is its kind, its data is JSON",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def events(
    request: Request,
    service: ServiceHere,
    session: Annotated[str | None, Query(pattern=NAME, description="of this session alone")] = None,
) -> Response:
    """What happens from now on: created, joined, left, loaded, settings, role, closed.

    What happened while nobody listened is not told again: ask for the sessions after connecting. A listener that is
    slower than the sessions is dropped.
    """
    counter = request.app.state.streams
    if counter.open >= MAX_STREAMS:
        raise ApiError(409, f"{MAX_STREAMS} listen already")
    return EventStream(service, request.scope["state"].get(TOKEN), session, counter, request.app.state.heartbeat_s)


class Streams:
    """How many are open."""

    def __init__(self) -> None:
        self.open = 0


class EventStream(Response):
    """An answer without end. It ends with its listener's connection or token, or when the listener is too slow."""

    def __init__(
        self, service: Service, token: Token | None, session: str | None, streams: Streams, heartbeat_s: float
    ) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self._service = service
        self._token = token
        self._session = session
        self._streams = streams
        self._heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        self._streams.open += 1
        try:
            with trio.CancelScope() as life:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_gone, receive, life.cancel)
                    await self._tell(send)
                    life.cancel()
        except* Disconnected:
            # As good as an end.
            pass
        finally:
            self._streams.open -= 1

    async def _tell(self, send: Send) -> None:
        async def say(text: str) -> None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        with self._service.events.subscribe() as happenings:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await say(f"retry: {RETRY_MS}\n\n")
            # What is of other sessions is not told, and is no sign of life to this listener.
            quiet_until = trio.current_time() + self._heartbeat_s
            while await self._may_listen():
                text = ": nothing happened\n\n"
                with trio.move_on_at(quiet_until):
                    happening = await anext(happenings, None)
                    if happening is None:
                        # It was too slow.
                        break
                    if self._session not in (None, happening.session):
                        continue
                    text = event_text(happening)
                if await self._may_listen():
                    await say(text)
                    quiet_until = trio.current_time() + self._heartbeat_s
        await send({"type": "http.response.body", "body": b""})

    async def _may_listen(self) -> bool:
        """Whether the token that let the listener in is still good."""
        if self._token is None:
            return True
        try:
            return await self._service.store.token(self._token.id) is not None
        except StoreError:
            return False


async def _until_gone(receive: Receive, then: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    then()


def event_text(happening: Happening) -> str:
    """One event. JSON has no line ends of its own."""
    data: dict[str, Any] = {"session_id": happening.session, "timestamp": happening.time_s, **happening.data}
    return f"id: {happening.number}\nevent: {happening.kind}\ndata: {json.dumps(data, default=str)}\n\n"
