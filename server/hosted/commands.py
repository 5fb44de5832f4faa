"""What is run for a profile."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from tilewire.server.errors import ServerError
from tilewire.server.hosted.variables import PATH

if TYPE_CHECKING:
    from tilewire.server.hosted.hosted import Spec

FIREFOX: Final = ("firefox", "firefox-esr")
LAYOUT: Final = re.compile(r"(?P<layout>[a-z0-9_-]+)(?:\((?P<variant>[A-Za-z0-9_-]+)\))?")
XVFB_LAYOUT: Final = "us"
"""What it starts with."""


def command_of(spec: Spec, home: Path) -> list[str]:
    """The program and its arguments. Raises ServerError."""
    profile = spec.profile
    match profile.kind:
        case "command":
            if spec.url is not None:
                raise ServerError(f"the profile {profile.name} is no browser: it shows no page that is asked for")
            return list(profile.command)
        case "firefox":
            program = next((name for name in FIREFOX if shutil.which(name, path=PATH) is not None), FIREFOX[0])
            url = spec.url or profile.url or "about:blank"
            size = ("--width", str(spec.size.width), "--height", str(spec.size.height))
            folder = ("--no-remote", "--profile", str(home / ".tilewire-firefox"))
            return [program, *folder, "--kiosk", *size, *profile.command, url]
        case "chromium":
            raise ServerError("Chromium is not served yet")


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
