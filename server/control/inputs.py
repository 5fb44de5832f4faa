"""Input into sessions: Jiomosa's clicks, and ours for any program.

It goes in beside the viewers' own, whoever holds the control: it is the operator's word. Nothing stays held after a
call, so a caller that dies leaves no key down.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Body

from tilewire.server.browser import Spot
from tilewire.server.control.errors import ApiError, described
from tilewire.server.control.keysyms import keysym_number
from tilewire.server.control.models import (
    AnyInput,
    ButtonInput,
    Click,
    Clicked,
    Coordinates,
    Done,
    Injected,
    Inputs,
    KeyInput,
    KeyStroke,
    Message,
    MoveInput,
    Scroll,
    Scrolled,
    ScrolledBy,
    TextInput,
    TouchInput,
    Typing,
    WheelInput,
)
from tilewire.server.control.routing import ServiceHere, SessionHere, Target, router
from tilewire.server.inputs import NOTCH_PX, WHEEL_DOWN, WHEEL_LEFT, WHEEL_RIGHT, WHEEL_UP
from tilewire.server.x11.inputs import Button, Input, Key, PointerMove, Text

OWNER: Final = 0xFFFF_FFFE
"""Whose input it is at the display: no viewer has this number."""
LEFT: Final = 1
MOST_NOTCHES: Final = 256
"""Of one scroll: 30,000 pixels."""

routes = router("input")
own_routes = router("input")


async def _inject(service: ServiceHere, here: Target, inputs: list[Input]) -> int:
    """Carry it out and let go; returns how much of it no key can type. Raises DisplayLost."""
    session = here.hosted.session
    try:
        _, untyped = await session.inject(inputs, owner=OWNER)
    finally:
        await session.release(OWNER)
    service.registry.keep_alive(here.entry.id)
    return untyped


def _clicks(right: int, down: int) -> list[Input]:
    """The wheel's buttons for so many notches."""
    ways = [(WHEEL_RIGHT if right > 0 else WHEEL_LEFT, abs(right)), (WHEEL_DOWN if down > 0 else WHEEL_UP, abs(down))]
    return [Button(way, pressed) for way, notches in ways for _ in range(notches) for pressed in (True, False)]


def _notches(pixels: float) -> int:
    """The nearest number of notches, one at least where it is to move at all."""
    if pixels == 0:
        return 0
    notches = max(1, min(round(abs(pixels) / NOTCH_PX), MOST_NOTCHES))
    return notches if pixels > 0 else -notches


@routes.post("/api/session/{session_id}/input/click", responses=described(404))
async def click(service: ServiceHere, here: SessionHere, asked: Annotated[Click | None, Body()] = None) -> Clicked:
    """Click with the left button, in pixels of the screen."""
    asked = asked or Click()
    x, y = int(asked.x), int(asked.y)
    width, height = here.hosted.session.size
    inside = 0 <= asked.x < width and 0 <= asked.y < height
    if inside:
        await _inject(service, here, [PointerMove(x, y), Button(LEFT, True), Button(LEFT, False)])
    return Clicked(
        message=f"Click sent at ({asked.x:g}, {asked.y:g})",
        coordinates=Coordinates(x=asked.x, y=asked.y),
        inside=inside,
    )


@routes.post("/api/session/{session_id}/input/scroll", responses=described(404))
async def scroll(service: ServiceHere, here: SessionHere, asked: Annotated[Scroll | None, Body()] = None) -> Scrolled:
    """Turn the wheel at the pointer, by the notches that come nearest: 120 pixels each."""
    asked = asked or Scroll()
    clicks = _clicks(_notches(asked.delta_x), _notches(asked.delta_y))
    if clicks:
        await _inject(service, here, clicks)
    return Scrolled(
        message=f"Scrolled by ({asked.delta_x:g}, {asked.delta_y:g})",
        scroll=ScrolledBy(delta_x=asked.delta_x, delta_y=asked.delta_y),
    )


@routes.post("/api/session/{session_id}/input/text", responses=described(404))
async def text(service: ServiceHere, here: SessionHere, asked: Annotated[Typing | None, Body()] = None) -> Message:
    """Type characters, into whatever has the focus."""
    if asked is not None and asked.text:
        await _inject(service, here, [Text(asked.text)])
    return Message(message="Text sent successfully")


@routes.post("/api/session/{session_id}/input/key", responses=described(404))
async def key(service: ServiceHere, here: SessionHere, asked: KeyStroke) -> Message:
    """Press a key, by its name on the web."""
    keysym = keysym_number(asked.key)
    await _inject(service, here, [Key(keysym, True), Key(keysym, False)])
    return Message(message=f"Key {asked.key} sent successfully")


@own_routes.post("/api/session/{session_id}/input", responses=described(404))
async def inject(service: ServiceHere, here: SessionHere, asked: Inputs) -> Injected:
    """Pointer, wheel, keys and text for any program, one after the other in one go."""
    inputs = [each for one in asked.inputs for each in _carried(one, here)]
    return Injected(untyped=await _inject(service, here, inputs))


def _carried(one: AnyInput, here: Target) -> list[Input]:
    """What the display is told. Raises ApiError."""
    match one:
        case MoveInput():
            width, height = here.hosted.session.size
            if one.x >= width or one.y >= height:
                raise ApiError(400, f"({one.x}, {one.y}) is outside the screen of {width}x{height}")
            return [PointerMove(one.x, one.y)]
        case ButtonInput():
            return [Button(one.button, one.pressed)]
        case WheelInput():
            return _clicks(one.right, one.down)
        case KeyInput():
            return [Key(keysym_number(one.keysym), one.pressed)]
        case TextInput():
            return [Text(one.text)]


@own_routes.post("/api/session/{session_id}/input/touch", responses=described(404))
async def touch(service: ServiceHere, here: SessionHere, asked: TouchInput) -> Done:
    """Fingers on a browser's page. Each call says which are down; they stay so until another says otherwise."""
    browser = here.hosted.browser
    if browser is None:
        raise ApiError(400, "only Chromium takes fingers; other programs take the pointer", session_id=here.entry.id)
    await browser.touch({finger.id: Spot(finger.x, finger.y) for finger in asked.fingers})
    service.registry.keep_alive(here.entry.id)
    return Done()
