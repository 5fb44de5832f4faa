"""What operators keep: devices and their keys, tokens, usage; and the profiles that there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query
from starlette.responses import Response

from tilewire.server.config import Profile
from tilewire.server.control.errors import ApiError, described
from tilewire.server.control.models import (
    DeviceAsked,
    DeviceInfo,
    DeviceKey,
    Devices,
    DeviceState,
    Done,
    ProfileInfo,
    Profiles,
    TokenAsked,
    TokenGiven,
    TokenInfo,
    Tokens,
    UsageLine,
)
from tilewire.server.control.routing import ServiceHere, router
from tilewire.server.store import DeviceRow, Token, c_snippet, micropython_snippet, usage_csv, usage_json

LONGEST: Final = 4e9
"""Unix seconds: the year 2096."""

routes = router("operators")

DeviceHere = Annotated[str, Path(min_length=1, max_length=64, description="the device's name")]
TokenHere = Annotated[int, Path(ge=1, le=2**63 - 1, description="the token's number, as the list has it")]
Time = Annotated[float | None, Query(ge=0, le=LONGEST, description="Unix seconds")]


@routes.get("/api/profiles", responses=described())
async def profiles(service: ServiceHere) -> Profiles:
    """What sessions can be made of."""
    return Profiles(profiles=[_profile_info(each) for each in service.config.profiles.values()])


def _profile_info(profile: Profile) -> ProfileInfo:
    return ProfileInfo(
        name=profile.name,
        kind=profile.kind,
        url=profile.url,
        width=profile.size.width,
        height=profile.size.height,
        largest_width=profile.largest_size.width,
        largest_height=profile.largest_size.height,
        fps=profile.fps,
        quality=profile.quality,
        adaptive=profile.adaptive,
        idle_s=profile.idle_s,
        lifetime_s=profile.lifetime_s,
        restart=profile.restart,
    )


# Devices.


@routes.get("/api/devices", responses=described())
async def devices(service: ServiceHere) -> Devices:
    """Devices that have a key here."""
    return Devices(devices=[_device_info(row) for row in await service.store.devices()])


def _device_info(row: DeviceRow) -> DeviceInfo:
    return DeviceInfo(
        name=row.name,
        profiles=list(row.profiles),
        default=row.default,
        disabled=row.disabled,
        created_at=row.created_s,
        seen_at=row.seen_s,
    )


@routes.post("/api/devices", status_code=201, responses=described(409))
async def add_device(service: ServiceHere, asked: DeviceAsked) -> DeviceKey:
    """Make a key for a new device. It is shown this once."""
    key = await service.store.add_device(asked.name, tuple(asked.profiles), asked.default)
    return _device_key(asked.name, key)


@routes.post("/api/devices/{name}/rotate", responses=described(404))
async def rotate_device(service: ServiceHere, name: DeviceHere) -> DeviceKey:
    """Make another key for a device; the one before is good no more. It is shown this once."""
    return _device_key(name, await service.store.rotate_device(name))


def _device_key(name: str, key: bytes) -> DeviceKey:
    return DeviceKey(name=name, key=key.hex(), c=c_snippet(name, key), micropython=micropython_snippet(name, key))


@routes.post("/api/devices/{name}", responses=described(404))
async def change_device(service: ServiceHere, name: DeviceHere, asked: DeviceState) -> DeviceInfo:
    """Keep a device out, let it in again, or say what it may open."""
    profiles = None if asked.profiles is None else tuple(asked.profiles)
    if profiles is None and asked.default is not None:
        raise ApiError(400, "a default profile is set together with the profiles")
    row = await service.store.change_device(name, profiles=profiles, default=asked.default, disabled=asked.disabled)
    return _device_info(row)


@routes.delete("/api/devices/{name}", responses=described(404))
async def remove_device(service: ServiceHere, name: DeviceHere) -> Done:
    """Forget a device and its key."""
    await service.store.remove_device(name)
    return Done()


# Tokens.


@routes.get("/api/tokens", responses=described())
async def tokens(service: ServiceHere) -> Tokens:
    """Tokens that were given out."""
    return Tokens(tokens=[_token_info(token) for token in await service.store.tokens()])


def _token_info(token: Token) -> TokenInfo:
    return TokenInfo(
        id=token.id,
        name=token.note,
        role=token.role,
        created_at=token.created_s,
        expires_at=token.expires_s,
        used_at=token.used_s,
    )


@routes.post("/api/tokens", status_code=201, responses=described())
async def add_token(service: ServiceHere, asked: TokenAsked) -> TokenGiven:
    """Make a token. It is shown this once."""
    text = await service.store.add_token(asked.name, asked.role, asked.lifetime_s)
    made = await service.store.check_token(text)
    return TokenGiven(token=text, role=asked.role, expires_at=made.expires_s if made is not None else None)


@routes.delete("/api/tokens/{number}", responses=described(404))
async def revoke_token(service: ServiceHere, number: TokenHere) -> Done:
    """From now on this token lets nobody in."""
    await service.store.revoke_token(number)
    return Done()


# Usage.

_USAGE: Final[dict[str, Any]] = {
    "description": "sessions in the order in which they began",
    "content": {
        "application/json": {
            "schema": {"type": "array", "items": {"$ref": "#/components/schemas/UsageLine"}, "title": "Usage"}
        },
        "text/csv": {"schema": {"type": "string"}},
    },
}


@routes.get("/api/usage", response_class=Response, responses={**described(), 200: _USAGE})
async def usage(
    service: ServiceHere, since: Time = None, until: Time = None, format: Literal["json", "csv"] = "json"
) -> Response:
    """Sessions that ended in a time, those that run counted as ending now; for billing, as JSON or CSV."""
    pages = service.store.usage_pages(since, until)
    if format == "csv":
        text = await _whole(usage_csv(pages))
        headers = {"Content-Disposition": "attachment; filename=usage.csv"}
        return Response(text, media_type="text/csv", headers=headers)
    return Response(await _whole(usage_json(pages)), media_type="application/json")


async def _whole(parts: AsyncIterator[str]) -> str:
    """In memory: a year of a fleet is some megabytes, and an error in the middle can still be told."""
    return "".join([part async for part in parts])


SCHEMAS: Final = (UsageLine,)
"""That are in no signature."""
