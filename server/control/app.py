"""The control API as one application: routes, their description, the page that shows it, and the guard around it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tilewire.server.browser import BrowserError
from tilewire.server.control import happenings, inputs, operators, sessions, viewers
from tilewire.server.control.errors import STATUS, ApiError, answer_to
from tilewire.server.control.guard import WRONG_PER_MINUTE, Guard
from tilewire.server.control.http import REQUEST_ID, Receive, Scope, Send
from tilewire.server.control.service import Service
from tilewire.server.display import DisplayLost
from tilewire.server.limits import Rate
from tilewire.server.registry import Refused
from tilewire.server.store import AlreadyThere, NotAllowed, NotThere, StoreError
from tilewire.server.tickets import TicketRefused
from tilewire.server.transport import WebRules

log = logging.getLogger(__name__)

PAGES: Final = files("tilewire.server.control") / "pages"
PAGE_TYPES: Final = {
    "docs.html": "text/html",
    "docs.css": "text/css",
    "docs.js": "text/javascript",
    "docs.svg": "image/svg+xml",
}
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of the page: its own files and calls of this API, and nothing that stands in a text."""
ALL_ROUTES: Final = (
    sessions.routes,
    inputs.routes,
    inputs.own_routes,
    viewers.routes,
    operators.routes,
    happenings.routes,
)
COMPAT_ROUTES: Final = (sessions.routes, inputs.routes)
"""Without tokens: what Jiomosa has, and nothing that gives out keys, tickets or tokens."""
BEARER: Final = "bearer"
READERS: Final = "needs a viewer's or an operator's token"
OPERATORS: Final = "needs an operator's token"


class Control(FastAPI):
    """The application. Its guard stands before everything else that it does."""

    def __init__(self, service: Service, *, compat: bool, heartbeat_s: float, wrong_per_minute: float) -> None:
        super().__init__(
            title="tilewire",
            version=version("tilewire"),
            description=INTRODUCTION,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            separate_input_output_schemas=False,
        )
        self.compat = compat
        self.known: list[Route | APIRoute] = []
        """All routes, one by one."""
        self.state.service = service
        self.state.streams = happenings.Streams()
        self.state.heartbeat_s = heartbeat_s
        settings = service.config.settings
        self._guard = Guard(
            super().__call__,
            service.store,
            WebRules(frozenset(settings.allow_origin), frozenset(settings.allow_host)),
            Rate(settings.calls_per_minute),
            Rate(wrong_per_minute),
            compat=compat,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        await self._guard(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _described(self)
        return self.openapi_schema


def make_app(
    service: Service,
    *,
    compat: bool = False,
    heartbeat_s: float = happenings.HEARTBEAT_S,
    wrong_per_minute: float = WRONG_PER_MINUTE,
) -> Control:
    """The API of this server. `compat`: Jiomosa's routes alone, without tokens, for loopback."""
    app = Control(service, compat=compat, heartbeat_s=heartbeat_s, wrong_per_minute=wrong_per_minute)
    routes: Sequence[APIRouter] = COMPAT_ROUTES if compat else ALL_ROUTES
    for each in routes:
        app.include_router(each)
        app.known += [route for route in each.routes if isinstance(route, APIRoute)]
    app.add_route("/openapi.json", _openapi, ["GET"], include_in_schema=False)
    for name in PAGE_TYPES:
        path = "/docs" if name == "docs.html" else f"/docs/{name}"
        app.add_route(path, _page, ["GET"], name=name, include_in_schema=False)
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.known += [route for route in app.routes if isinstance(route, Route)]
    return app


async def _openapi(request: Request) -> Response:
    return JSONResponse(request.app.openapi())


async def _page(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    name = name if name in PAGE_TYPES else "docs.html"
    content = PAGES.joinpath(name).read_bytes()
    return Response(content, media_type=PAGE_TYPES[name], headers={"Content-Security-Policy": PAGE_POLICY})


# What goes wrong.


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answer_to(request, error.status, error.error, **error.more)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return answer_to(request, STATUS[error.reason], str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = answer_to(request, error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        # Starlette's has the first route's alone.
        response.headers["Allow"] = ", ".join(_methods(request))
    return response


def _methods(request: Request) -> list[str]:
    """All that the request's path takes."""
    found: set[str] = set()
    for route in request.app.known:
        if route.path_regex.match(request.scope["path"]):
            found |= route.methods or set()
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


async def _store_error(request: Request, error: Exception) -> Response:
    status = next((status for kind, status in STORE_STATUS.items() if isinstance(error, kind)), 422)
    if status == 422:
        log.error("request %s: %s", request.scope["state"][REQUEST_ID], error)
    return answer_to(request, status, str(error))


async def _bad_request(request: Request, error: Exception) -> Response:
    return answer_to(request, 400, str(error))


async def _our_fault(request: Request, error: Exception) -> Response:
    # The server's loop writes down what it was.
    return answer_to(request, 500, "an error of this server; its log says more")


async def _over(request: Request, error: Exception) -> Response:
    # Its display or its browser is gone, and it is about to be.
    log.info("request %s: %s", request.scope["state"][REQUEST_ID], error)
    return answer_to(request, 404, "Session not found", detail=str(error))


STORE_STATUS: Final = {NotThere: 404, AlreadyThere: 409, NotAllowed: 400}
HANDLERS: Final = {
    ApiError: _api_error,
    Refused: _refused,
    HTTPException: _http_error,
    StoreError: _store_error,
    TicketRefused: _bad_request,
    DisplayLost: _over,
    BrowserError: _over,
    Exception: _our_fault,
}


# The description.

INTRODUCTION: Final = """\
Sessions of a tilewire server, and who may see them.

Methods, paths, fields, status codes and defaults are those of Jiomosa's REST API wherever it has the same; \
docs/api.md compares the two. Every call needs `Authorization: Bearer TOKEN`, on loopback too: a viewer's token reads, \
an operator's does everything. Bodies are JSON of up to 64 KiB. Errors are `{"error": ..., "request_id": ...}`."""


def _described(app: Control) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, summary="Control API"
    )
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in () if app.compat else operators.SCHEMAS:
        schemas[model.__name__] = model.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    if not app.compat:
        scheme = {"type": "http", "scheme": "bearer", "description": "A token of this server, tw_..."}
        components["securitySchemes"] = {BEARER: scheme}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            _finish(app, path, method, operation)
    return schema


def _finish(app: Control, path: str, method: str, operation: dict[str, Any]) -> None:
    """Exactly what this route does, and not what FastAPI's would."""
    responses = operation["responses"]
    # The first sentence of what there is to say.
    operation["summary"] = operation["description"].partition("\n")[0].partition(". ")[0].rstrip(".")
    for response in responses.values():
        if response["description"] == "Successful Response":
            response["description"] = "done"
    if app.compat or path == "/health":
        operation.pop("security", None)
        responses.pop("401", None)
        operation["security"] = []
    else:
        operation["security"] = [{BEARER: []}]
        note = READERS if method == "get" else OPERATORS
        operation["description"] += f"\n\nIt {note}."
    if "HTTPValidationError" in str(responses.get("422")):
        # FastAPI's own words for what is a 400 here.
        del responses["422"]
    for response in responses.values():
        response.setdefault("headers", {})["X-Request-Id"] = {
            "description": "under which the server's log has it",
            "schema": {"type": "string"},
        }
    if "429" in responses:
        responses["429"]["headers"]["Retry-After"] = {"description": "seconds", "schema": {"type": "integer"}}
    if "401" in responses:
        responses["401"]["headers"]["WWW-Authenticate"] = {"schema": {"type": "string"}}
