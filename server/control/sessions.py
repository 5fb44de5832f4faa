"""Sessions: Jiomosa's routes, and a picture by another name."""

from __future__ import annotations

import base64
import re
import time
from importlib.metadata import version
from typing import Annotated, Any, Final

import trio
from fastapi import Body
from starlette.requests import Request
from starlette.responses import Response

from tilewire.server.browser import BrowserError, Page
from tilewire.server.config import Config, Size
from tilewire.server.control.errors import ApiError, described
from tilewire.server.control.models import (
    AlternativeAccess,
    Create,
    Created,
    Frame,
    Health,
    Info,
    KeptAlive,
    Load,
    Loaded,
    Message,
    PageInfo,
    SessionConfig,
    SessionInfo,
    SessionLine,
    Sessions,
    WindowSize,
)
from tilewire.server.control.png import png
from tilewire.server.control.routing import EntryHere, ServiceHere, SessionHere, Target, router
from tilewire.server.control.service import Service
from tilewire.server.registry import Entry, Reason, Refused

PAGE_S: Final = 3.0
"""A browser that does not say in time what it shows is listed without."""
NO_CACHE: Final = {
    "Cache-Control": "no-cache, no-store, must-revalidate, max-age=0",
    "Pragma": "no-cache",
    "Expires": "0",
}
PNG_ANSWER: Final[dict[str, Any]] = {
    "content": {"image/png": {"schema": {"type": "string", "contentMediaType": "image/png"}}},
    "description": "the screen, in its own pixels",
}
FASTEST_S: Final = 1 / 60

routes = router("sessions")


@routes.get("/health", responses=described(), openapi_extra={"security": []})
async def health(service: ServiceHere) -> Health:
    """Whether the server runs. Needs no token."""
    return Health(
        selenium="none: Chromium is driven over its DevTools pipe", active_sessions=len(service.registry.all())
    )


@routes.get("/api/info", responses=described())
async def info(request: Request, service: ServiceHere) -> Info:
    """What this server is."""
    socket_url = device_url(service, request, web=True)
    return Info(
        server=f"tilewire {version('tilewire')}",
        description="Real desktop programs, drawn on a server, shown on devices far too small to run them",
        streaming="tilewire over TCP or WebSocket, on the device port",
        endpoints={**ENDPOINTS, "websocket": socket_url},
        alternative_access=_alternative(device_url(service, request)),
        session_config=SessionConfig(timeout=_idle_s(service.config), frame_capture_interval=FASTEST_S),
    )


ENDPOINTS: Final = {
    "health": "/health",
    "info": "/api/info",
    "session_create": "/api/session/create",
    "session_load": "/api/session/<session_id>/load",
    "session_info": "/api/session/<session_id>/info",
    "session_keepalive": "/api/session/<session_id>/keepalive",
    "session_close": "/api/session/<session_id>/close",
    "sessions_list": "/api/sessions",
    "session_frame": "/api/session/<session_id>/frame",
    "session_frame_data": "/api/session/<session_id>/frame/data",
}


def device_url(service: Service, request: Request, *, web: bool = False) -> str:
    """Where devices connect, or `web` browsers; by the name that the caller has for this machine."""
    host, _, port = service.device_address.rpartition(":")
    if host in ("0.0.0.0", "[::]"):
        # As in http://[::1]:8080 and http://[::1].
        host = re.sub(r":\d*$", "", request.headers["host"])
    secure = service.config.settings.tls_cert is not None
    scheme = ("wss" if secure else "ws") if web else ("tls" if secure else "tcp")
    return f"{scheme}://{host}:{port}" + ("/" if web else "")


def _alternative(url: str) -> AlternativeAccess:
    return AlternativeAccess(
        description="A device or the debug viewer, with a key or a ticket; there is no VNC", url=url, password=""
    )


def _idle_s(config: Config) -> int:
    profile = next(iter(config.profiles.values()), None)
    return int(profile.idle_s or 0) if profile is not None else 0


@routes.post("/api/session/create", status_code=201, responses=described(404, 409, 422))
async def create(request: Request, service: ServiceHere, asked: Annotated[Create | None, Body()] = None) -> Created:
    """Make a session. Answers when its program runs."""
    asked = asked or Create()
    size = Size(asked.size.width, asked.size.height) if asked.size is not None else None
    try:
        entry = await service.registry.create(
            session_id=asked.session_id, profile=asked.profile, device=asked.device, url=asked.url, size=size
        )
    except Refused as refusal:
        if refusal.reason is Reason.EXISTS:
            raise ApiError(400, "Session already exists", session_id=asked.session_id) from refusal
        if refusal.reason is Reason.FAILED:
            raise ApiError(422, "Failed to initialize browser session", detail=str(refusal)) from refusal
        raise
    return Created(
        session_id=entry.id,
        created_at=entry.created_s,
        profile=entry.profile.name,
        device=entry.device,
        width=entry.spec.size.width,
        height=entry.spec.size.height,
        websocket_url=device_url(service, request, web=True),
        alternative_access=_alternative(device_url(service, request)),
    )


@routes.post("/api/session/{session_id}/load", responses=described(404, 422))
async def load(service: ServiceHere, here: SessionHere, asked: Annotated[Load | None, Body()] = None) -> Loaded:
    """Send the session's browser to a page. Answers when the page has committed."""
    if asked is None or not asked.url:
        raise ApiError(400, "URL is required")
    try:
        page = await service.registry.load(here.entry.id, asked.url)
    except Refused as refusal:
        if refusal.reason is Reason.FAILED:
            raise ApiError(422, str(refusal), success=False) from refusal
        raise
    return Loaded(page_info=page_info(here.entry, page))


@routes.get("/api/session/{session_id}/info", responses=described(404))
async def session_info(here: SessionHere) -> SessionInfo:
    """How a session stands, and which page its browser shows now."""
    entry, hosted = here
    _, _, down, up = entry.used(trio.current_time())
    return SessionInfo(
        session_id=entry.id,
        created_at=entry.created_s,
        last_activity=entry.active_s,
        page_info=await _page(here),
        profile=entry.profile.name,
        device=entry.device,
        state=entry.state,
        width=hosted.session.size[0],
        height=hosted.session.size[1],
        viewers=len(hosted.session.viewers),
        restarts=hosted.restarts,
        bytes_down=down,
        bytes_up=up,
    )


@routes.post("/api/session/{session_id}/keepalive", responses=described(404))
async def keepalive(service: ServiceHere, here: SessionHere) -> KeptAlive:
    """The session's idle time begins anew."""
    entry = service.registry.keep_alive(here.entry.id)
    return KeptAlive(session_id=entry.id, last_activity=entry.active_s)


@routes.post("/api/session/{session_id}/close", responses=described(404))
@routes.delete("/api/session/{session_id}/close", responses=described(404), operation_id="close_by_delete")
async def close(service: ServiceHere, here: EntryHere) -> Message:
    """End a session, a starting one too. Answers when nothing of it is left and its id is free."""
    await service.registry.close(here.id)
    return Message(message=f"Session {here.id} closed")


@routes.get("/api/sessions", responses=described())
async def sessions(service: ServiceHere) -> Sessions:
    """All sessions."""
    entries = service.registry.all()
    pages: dict[str, PageInfo | None] = {}

    async def ask(entry: Entry) -> None:
        if entry.hosted is not None:
            pages[entry.id] = await _page(Target(entry, entry.hosted))

    # All at once: one browser that hangs does not delay the others.
    async with trio.open_nursery() as nursery:
        for entry in entries:
            nursery.start_soon(ask, entry)
    lines = []
    for entry in entries:
        page = pages.get(entry.id)
        lines.append(
            SessionLine(
                session_id=entry.id,
                created_at=entry.created_s,
                last_activity=entry.active_s,
                current_page=page.url if page is not None else None,
                profile=entry.profile.name,
                device=entry.device,
                state=entry.state,
                viewers=len(entry.hosted.session.viewers) if entry.hosted is not None else 0,
            )
        )
    return Sessions(active_sessions=len(lines), sessions=lines)


async def _page(here: Target) -> PageInfo | None:
    """What the browser shows, None where there is none or it does not say."""
    browser = here.hosted.browser
    if browser is None:
        return None
    with trio.move_on_after(PAGE_S):
        try:
            return page_info(here.entry, await browser.page())
        except BrowserError:
            return None
    return None


def page_info(entry: Entry, page: Page) -> PageInfo:
    """As Jiomosa has it."""
    size = WindowSize(width=page.width, height=page.height)
    return PageInfo(title=page.title, url=page.url, session_id=entry.id, window_size=size)


# Pictures.


async def _picture(service: ServiceHere, here: Target) -> bytes:
    (width, height), pixels = await here.hosted.session.picture()
    service.registry.keep_alive(here.entry.id)
    return await trio.to_thread.run_sync(png, width, height, pixels)


@routes.get("/api/session/{session_id}/frame", response_class=Response, responses={**described(404), 200: PNG_ANSWER})
async def frame(service: ServiceHere, here: SessionHere) -> Response:
    """The screen as it is now, as Jiomosa gives it."""
    headers = {**NO_CACHE, "Content-Disposition": f"inline; filename={here.entry.id}_frame.png"}
    return Response(await _picture(service, here), media_type="image/png", headers=headers)


@routes.get(
    "/api/session/{session_id}/screenshot", response_class=Response, responses={**described(404), 200: PNG_ANSWER}
)
async def screenshot(service: ServiceHere, here: SessionHere) -> Response:
    """The screen as it is now."""
    return Response(await _picture(service, here), media_type="image/png")


@routes.get("/api/session/{session_id}/frame/data", responses=described(404))
async def frame_data(service: ServiceHere, here: SessionHere) -> Frame:
    """The screen as it is now, as text."""
    picture = await _picture(service, here)
    return Frame(session_id=here.entry.id, timestamp=time.time(), frame=base64.b64encode(picture).decode())
