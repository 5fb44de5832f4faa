"""What all routes share: the service behind them, the session that is meant, and how wrong bodies are told."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, NamedTuple, cast

from fastapi import APIRouter, Depends, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tilewire.server.control.errors import ApiError
from tilewire.server.control.models import NAME
from tilewire.server.control.service import Service
from tilewire.server.hosted.hosted import Hosted
from tilewire.server.registry import Entry

MAX_DETAIL: Final = 500
"""Characters of what is wrong with a body."""

FAILURES: Final = {
    "create": "Failed to create session",
    "load": "Failed to load URL",
    "click": "Failed to send click",
    "scroll": "Failed to send scroll",
    "text": "Failed to send text",
    "key": "Failed to send key",
}
"""Jiomosa's words for bodies that it does not understand, by operation."""
OTHER_FAILURE: Final = "what was asked for makes no sense"


class Target(NamedTuple):
    """The session of a path."""

    entry: Entry
    hosted: Hosted


class Route(APIRoute):
    """A session that is not there comes before a body that is wrong, as Jiomosa has it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                _expect_entry(request)
                raise ApiError(400, FAILURES.get(self.name, OTHER_FAILURE), detail=_words(error)) from error
            except HTTPException as error:
                if error.status_code != 400:
                    raise
                _expect_entry(request)
                raise ApiError(400, FAILURES.get(self.name, OTHER_FAILURE), detail=str(error.detail)) from error

        return handle


def router(tag: str) -> APIRouter:
    """Routes of one chapter of the description."""
    return APIRouter(route_class=Route, tags=[tag])


def service_of(request: Request) -> Service:
    """The server behind the application."""
    return cast(Service, request.app.state.service)


def _not_found(session_id: str) -> ApiError:
    return ApiError(404, "Session not found", session_id=session_id[:MAX_DETAIL])


def _expect_entry(request: Request) -> None:
    """Raises ApiError where a path names a session that is not there."""
    session_id = request.path_params.get("session_id")
    if session_id is not None and service_of(request).registry.find(session_id) is None:
        raise _not_found(session_id)


SessionId = Annotated[str, Path(pattern=NAME, description="the session's id")]


def _entry(request: Request, session_id: SessionId) -> Entry:
    entry = service_of(request).registry.find(session_id)
    if entry is None:
        raise _not_found(session_id)
    return entry


def _target(request: Request, session_id: SessionId) -> Target:
    entry = service_of(request).registry.get(session_id)
    if entry is None or entry.hosted is None:
        raise _not_found(session_id)
    return Target(entry, entry.hosted)


ServiceHere = Annotated[Service, Depends(service_of)]
EntryHere = Annotated[Entry, Depends(_entry)]
"""The session of a path, a starting or ending one too."""
SessionHere = Annotated[Target, Depends(_target)]
"""One that runs."""


def _words(error: RequestValidationError) -> str:
    """What is wrong, and where."""
    found: list[str] = []
    for each in cast(list[dict[str, Any]], error.errors()):
        place = ".".join(str(part) for part in each["loc"] if part != "body")
        reason = each.get("ctx", {}).get("error") if each["type"] == "json_invalid" else None
        found.append(": ".join(part for part in (place, str(reason or each["msg"])) if part))
    # Half of a surrogate pair can stand in JSON, and in no answer.
    return "; ".join(found).encode(errors="replace").decode()[:MAX_DETAIL]
