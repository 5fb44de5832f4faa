"""`make demo`: Chromium on a server, the QEMU device against it, a tap that follows a link, and the device's LCD.

`--keep` copies the picture to docs/device.png too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from tilewire.protocol import DEFAULT_PANEL, PANELS
from tilewire.simulator.command import first_of
from tilewire.simulator.machine import Machine, Plan, find_firmware, find_qemu, open_machine
from tilewire.simulator.runner import HOST
from tilewire.simulator.runner_exits import RunError
from tilewire.simulator.screen import Screen

from tools.served import ServedError, served

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("/usr/share/doc/python3-doc/html/index.html")
PANEL: Final = PANELS[DEFAULT_PANEL]
PICTURE_S = 30.0
CONTENT_COLOURS = 50
"""An empty window has a handful of colours; letters with smooth edges have hundreds."""
QUIET_S = 0.5
LOOK_S = 0.05
CHANGED_SHARE = 0.05
LINK_LEFT = 300
"""The page's own links stand right of its side bar."""


class DemoError(Exception):
    """A plain sentence."""


def say(text: str) -> None:
    """One line of progress."""
    print(f"demo: {text}", flush=True)


def chromium(page: str, profile: str, size: tuple[int, int] = (PANEL.width, PANEL.height)) -> list[str]:
    """The command that shows a page full screen. As root Chromium has no sandbox of its own."""
    width, height = size
    return [
        "chromium",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
        "--kiosk",
        # Without a window manager the last column and row stay black.
        f"--window-size={width + 1},{height + 1}",
        "--window-position=0,0",
        page,
    ]


def colours(screen: Screen) -> int:
    """Different colours in it."""
    red, green, blue = screen.planes
    return len(set(zip(red, green, blue, strict=True)))


async def screen_when(machine: Machine, test: Callable[[Screen], bool], problem: str) -> Screen:
    """The first screen that passes. Raises DemoError."""
    with trio.move_on_after(PICTURE_S):
        while True:
            screen = await machine.screen()
            if test(screen):
                return screen
            await trio.sleep(LOOK_S)
    raise DemoError(problem)


async def settled(machine: Machine) -> Screen:
    """The screen, once nothing has changed for QUIET_S."""
    last, since_s = await machine.screen(), time.monotonic()
    until_s = since_s + PICTURE_S
    while time.monotonic() < min(since_s + QUIET_S, until_s):
        await trio.sleep(LOOK_S)
        now = await machine.screen()
        if now.rgb != last.rgb:
            last, since_s = now, time.monotonic()
    return last


async def show(port: int, picture: Path) -> str:
    """Boot the device; what happened, in a sentence. Raises DemoError and RunError, also in groups."""
    config = {"server": f"{HOST}:{port}", "panel": PANEL.name, "device_id": "demo", "reconnect": "no"}
    async with open_machine(Plan(config=config, firmware=find_firmware(), qemu=find_qemu())) as machine:
        whole = await machine.until("picture", timeout_s=PICTURE_S)
        say(f"the device has booted, its first whole picture stood after {whole['ms']} ms")
        await screen_when(machine, lambda screen: colours(screen) >= CONTENT_COLOURS, "the device saw no page")
        before = await settled(machine)
        before.save_png(picture)
        x, y = find_link(before)
        say(f"the page is on its LCD; a finger taps the link at {x},{y}")
        started_s = time.monotonic()
        await machine.tap(x, y)
        await screen_when(
            machine,
            lambda screen: screen.differing(before) > CHANGED_SHARE * PANEL.width * PANEL.height,
            f"the tap at {x},{y} changed nothing; the picture is {picture.relative_to(ROOT)}",
        )
        followed_ms = (time.monotonic() - started_s) * 1000
        (await settled(machine)).save_png(picture)
        stats = await machine.stats()
        await machine.stop()
        return (
            f"Chromium drew {PAGE.name}, the device tapped a link and saw the next page after {followed_ms:.0f} ms; "
            f"{stats['updates']} updates, {stats['bytes']['received'] / 1024:.0f} KiB, decoded in "
            f"{stats['decode_us']['sum'] / 1000:.0f} ms; its LCD is {picture.relative_to(ROOT)}"
        )


def find_link(screen: Screen) -> tuple[int, int]:
    """A point on the first letters in blue, which are a link. Raises DemoError."""
    red, _, blue = screen.planes
    for at, (reddish, bluish) in enumerate(zip(red, blue, strict=True)):
        if at % screen.width >= LINK_LEFT and bluish >= 0x90 and reddish <= 0x20:
            return at % screen.width, at // screen.width + 4
    raise DemoError("the page shows no link")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="make it docs/device.png")
    arguments = parser.parse_args(argv)
    folder = ROOT / "demo"
    folder.mkdir(exist_ok=True)
    if not PAGE.exists():
        say(f"{PAGE} is missing: make setup installs it")
        return 1
    picture = folder / "device.png"
    picture.unlink(missing_ok=True)
    failure: BaseException | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="tilewire-demo-", ignore_cleanup_errors=True) as profile:
            say("starting Chromium on a screen of its own")
            words = ["run", "--listen", "127.0.0.1:0", "--size", f"{PANEL.width}x{PANEL.height}", "--"]
            with served([*words, *chromium(PAGE.as_uri(), profile)], folder / "server.log") as server:
                say(f"a QEMU device of {PANEL.width}x{PANEL.height} and 512 MB connects to {server.address}")
                say(trio.run(show, int(server.address.rpartition(":")[2]), picture))
        if arguments.keep:
            shutil.copyfile(picture, ROOT / "docs/device.png")
    except* (DemoError, RunError, ServedError) as group:
        failure = first_of(group)
    if failure is not None:
        say(str(failure))
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(main())
