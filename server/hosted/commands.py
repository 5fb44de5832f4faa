"""What is run for a profile."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Final

import trio

from tilewire.server.browser import check_url, chromium_command, firefox_command, has_sandbox
from tilewire.server.errors import ServerError
from tilewire.server.hosted.place import Place
from tilewire.server.hosted.variables import PATH

if TYPE_CHECKING:
    from tilewire.server.hosted.hosted import Spec

BLANK: Final = "about:blank"
LAYOUT: Final = re.compile(r"(?P<layout>[a-z0-9_-]+)(?:\((?P<variant>[A-Za-z0-9_-]+)\))?")
XVFB_LAYOUT: Final = "us"
"""What it starts with."""


async def command_of(spec: Spec, place: Place) -> list[str]:
    """The program and its arguments. Raises ServerError."""
    profile = spec.profile
    url = first_page(spec)
    match profile.kind:
        case "command":
            return list(profile.command)
        case "firefox":
            return firefox_command(profile, url=url or BLANK, home=place.home, size=spec.size)
        case "chromium":
            uid, gid = place.ids
            sandboxed = await has_sandbox(uid, gid)
            return chromium_command(profile, home=place.home, size=spec.size, as_root=uid == 0, sandboxed=sandboxed)


def first_page(spec: Spec) -> str | None:
    """The page that a browser begins with, in its canonical form; None: none. Raises ServerError."""
    profile = spec.profile
    if profile.kind == "command":
        if spec.url is not None:
            raise ServerError(f"the profile {profile.name} is no browser: it shows no page that is asked for")
        return None
    url = spec.url if spec.url is not None else profile.url
    return check_url(url, profile.url_rules) if url is not None else None


async def set_keyboard(display: str, layout: str) -> None:
    """Give a display a keyboard layout: "de" or "de(nodeadkeys)". Raises ServerError."""
    if layout == XVFB_LAYOUT:
        return
    found = LAYOUT.fullmatch(layout)
    if found is None:
        raise ServerError(f"{layout!r} is not a keyboard layout, such as de or de(nodeadkeys)")
    if shutil.which("setxkbmap", path=PATH) is None:
        raise ServerError("setxkbmap is not installed (Debian: apt install x11-xkb-utils)")
    command = ["setxkbmap", "-display", display, "-layout", found["layout"], "-variant", found["variant"] or ""]
    environment = {"PATH": PATH}
    done = await trio.run_process(command, env=environment, capture_stdout=True, capture_stderr=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ServerError(f"the keyboard layout {layout} cannot be had: {said[-1] if said else 'setxkbmap failed'}")
