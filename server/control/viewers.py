"""Who looks at a session: figures, settings, roles, and tickets for who is to come."""

from __future__ import annotations

import time
from typing import Annotated, Final

from fastapi import Path
from starlette.requests import Request

from tilewire.protocol import Code
from tilewire.protocol import Role as Part
from tilewire.protocol import messages as m
from tilewire.server.control.errors import ApiError, described
from tilewire.server.control.models import (
    Done,
    NewRole,
    NewSettings,
    RoleName,
    Settings,
    TicketAsked,
    TicketGiven,
    ViewerInfo,
    Viewers,
)
from tilewire.server.control.routing import ServiceHere, SessionHere, Target, router
from tilewire.server.control.sessions import device_url
from tilewire.server.session import Session
from tilewire.server.viewers import Status, Viewer

PARTS: Final[dict[Part, RoleName]] = {
    Part.VIEW_ONLY: "view-only",
    Part.WAITING: "waiting",
    Part.CONTROL: "control",
}

routes = router("viewers")

Number = Annotated[int, Path(ge=1, le=0xFFFF_FFFF, description="the viewer's number in its session")]


@routes.get("/api/session/{session_id}/settings", responses=described(404))
async def settings(here: SessionHere) -> Settings:
    """What viewers of this session begin with."""
    return _settings(here.hosted.session)


@routes.post("/api/session/{session_id}/settings", responses=described(404))
async def change_settings(service: ServiceHere, here: SessionHere, asked: NewSettings) -> Settings:
    """Change it, for all viewers that are there and all that come. What is not said stays."""
    session = here.hosted.session
    now = session.setting
    session.configure(
        m.Setting(
            fps=now.fps if asked.fps is None else asked.fps,
            quality=now.quality if asked.quality is None else asked.quality,
            adaptive=now.adaptive if asked.adaptive is None else int(asked.adaptive),
        )
    )
    service.events.tell("settings", here.entry.id, **_settings(session).model_dump())
    return _settings(session)


def _settings(session: Session) -> Settings:
    setting = session.setting
    return Settings(fps=setting.fps, quality=setting.quality, adaptive=bool(setting.adaptive))


@routes.get("/api/session/{session_id}/viewers", responses=described(404))
async def viewers(here: SessionHere) -> Viewers:
    """Who looks, and how their links do."""
    found = [_viewer_info(viewer.status()) for viewer in here.hosted.session.viewers]
    return Viewers(session_id=here.entry.id, viewers=found)


def _viewer_info(status: Status) -> ViewerInfo:
    return ViewerInfo(
        viewer=status.number,
        device=status.device,
        address=status.peer,
        authenticated=status.proven,
        connected_s=status.since_s,
        role=PARTS[status.role],
        width=status.panel[0],
        height=status.panel[1],
        pixel_format=status.pixel_format,
        fps=status.fps,
        quality=status.quality,
        adaptive=status.adaptive,
        paused=status.paused,
        updates=status.updates,
        bytes_down=status.bytes_down,
        bytes_up=status.bytes_up,
        in_flight_bytes=status.in_flight_bytes,
        round_trip_ms=status.round_trip_s * 1000 if status.round_trip_s is not None else None,
        bytes_per_s=status.bytes_per_s,
    )


def _viewer(here: Target, number: int) -> Viewer:
    for viewer in here.hosted.session.viewers:
        if viewer.number == number and not viewer.leaves:
            return viewer
    raise ApiError(404, f"session {here.entry.id} has no viewer {number}", session_id=here.entry.id)


@routes.post("/api/session/{session_id}/viewers/{number}/control", responses=described(404, 409))
async def give_control(service: ServiceHere, here: SessionHere, number: Number) -> ViewerInfo:
    """Let this viewer steer, whoever did until now."""
    return _give(service, here, _viewer(here, number), "control")


@routes.post("/api/session/{session_id}/viewers/{number}/role", responses=described(404, 409))
async def give_role(service: ServiceHere, here: SessionHere, number: Number, asked: NewRole) -> ViewerInfo:
    """What this viewer may do, for as long as its connection lasts."""
    return _give(service, here, _viewer(here, number), asked.role)


def _give(service: ServiceHere, here: Target, viewer: Viewer, role: RoleName) -> ViewerInfo:
    session = here.hosted.session
    if not viewer.allow_steering(role != "view-only"):
        raise ApiError(409, f"viewer {viewer.number} may only look: its device, rule or ticket says so")
    if role == "control":
        session.hand_control(viewer)
    elif role == "waiting":
        session.release_control(viewer)
    service.events.tell("role", here.entry.id, viewer=viewer.number, role=role)
    return _viewer_info(viewer.status())


@routes.post("/api/session/{session_id}/viewers/{number}/close", responses=described(404))
async def close_viewer(here: SessionHere, number: Number) -> Done:
    """End this viewer's connection. Its device may come back, with a key or a ticket that is still good."""
    _viewer(here, number).leave(Code.LIMIT, "the operator ended this connection")
    return Done()


@routes.post("/api/session/{session_id}/ticket", status_code=201, responses=described(404))
async def give_ticket(request: Request, service: ServiceHere, here: SessionHere, asked: TicketAsked) -> TicketGiven:
    """A ticket for a viewer of this session, shown this once."""
    may_steer = asked.role == "operator"
    ticket = service.tickets.issue(here.entry.id, may_steer=may_steer, lifetime_s=asked.lifetime_s, uses=asked.uses)
    return TicketGiven(
        session_id=here.entry.id,
        ticket=ticket,
        role=asked.role,
        expires_at=time.time() + asked.lifetime_s,
        uses=asked.uses,
        device_url=device_url(service, request),
        websocket_url=device_url(service, request, web=True),
    )
