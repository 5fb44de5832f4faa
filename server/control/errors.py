"""How refusals are told: a status below 500, and {"error": ...} with the request's id."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse

from tilewire.server.control.http import REQUEST_ID
from tilewire.server.control.models import Error
from tilewire.server.registry import Reason

STATUS: Final = {
    Reason.INVALID: 400,
    Reason.NOT_FOUND: 404,
    Reason.EXISTS: 400,
    Reason.NOT_ALLOWED: 403,
    Reason.LIMIT: 409,
    Reason.FAILED: 422,
}
"""Of what the registry refuses. FAILED: it was understood and tried."""


class ApiError(Exception):
    """What a caller is told. `more`: further fields of the answer."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.more = more


def error_response(
    state: Mapping[str, Any], status: int, error: str, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """The answer for it. `state` of the request's scope."""
    body = {"error": error, **more, "request_id": state[REQUEST_ID]}
    return JSONResponse(body, status, dict(headers or {}))


def answer_to(request: Request, status: int, error: str, **more: Any) -> JSONResponse:
    """The same, for what is routed already."""
    return error_response(request.scope["state"], status, error, **more)


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: these answers have this form."""
    return {status: {"model": Error, "description": WORDS[status]} for status in sorted({*ALWAYS, *statuses})}


WORDS: Final = {
    400: "what was asked for makes no sense",
    401: "a token is missing, wrong, expired or revoked",
    403: "the token's role, the Host, the Origin, or a rule does not allow it",
    404: "there is none of that name",
    405: HTTPStatus.METHOD_NOT_ALLOWED.phrase,
    408: "the body did not come in time",
    409: "a limit of the server is reached, or it is there already",
    413: "the body is too large",
    415: "the body is not JSON",
    422: "it was tried and did not work",
    429: "too many calls",
}
ALWAYS: Final = (400, 401, 403, 408, 413, 415, 429)
"""By the guard, whatever is asked for."""
