"""`make demo`: Chromium on a server, a device against it, a click that follows a link, and the device's picture."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import trio

from tilewire.simulator.device import Device, DeviceError, Setup, open_device
from tilewire.simulator.stream import StreamError

from tools.served import ServedError, served

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("/usr/share/doc/python3-doc/html/index.html")
SIZE = (1024, 600)
PICTURE_S = 30.0
CONTENT_COLOURS = 50
"""An empty window has a handful of colours; letters with smooth edges have hundreds."""
QUIET_S = 1.0
LINK_LEFT = 300
"""The page's own links stand right of its side bar."""


class DemoError(Exception):
    """A plain sentence."""


def say(text: str) -> None:
    """One line of progress."""
    print(f"demo: {text}", flush=True)


def chromium(page: str, profile: str) -> list[str]:
    """The command that shows a page full screen. As root Chromium has no sandbox of its own."""
    width, height = SIZE
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


def colours(device: Device) -> int:
    """Different colours in the device's picture."""
    return len(set(memoryview(device.memory()).cast("H")))


async def show(address: str, picture: Path) -> str:
    """Be the device; what happened, in a sentence. Raises DemoError."""
    async with open_device(address, Setup()) as device:
        await device.whole_picture()
        if not await device.wait_for(lambda: colours(device) >= CONTENT_COLOURS, PICTURE_S):
            raise DemoError("the device saw no page")
        await device.settled(QUIET_S, PICTURE_S)
        device.save_png(picture)
        before = device.memory()
        x, y = find_link(device)
        say(f"the page is on the device; it clicks the link at {x},{y}")
        started = time.monotonic()
        device.click(x, y)
        if not await device.wait_for(lambda: changed(before, device.memory()) > 0.05, PICTURE_S):
            raise DemoError(f"the click at {x},{y} changed nothing; the picture is {picture.relative_to(ROOT)}")
        followed_ms = (time.monotonic() - started) * 1000
        await device.settled(QUIET_S, PICTURE_S)
        device.save_png(picture)
        counters = device.statistics
        return (
            f"Chromium drew {PAGE.name}, the device clicked a link and saw the next page begin after "
            f"{followed_ms:.0f} ms; {counters.updates} updates, {counters.bytes / 1024:.0f} KiB, "
            f"decoded in {counters.decode_us / 1000:.0f} ms; its picture is {picture.relative_to(ROOT)}"
        )


def find_link(device: Device) -> tuple[int, int]:
    """A point on the first letters in blue, which are a link. Raises DemoError."""
    width = device.panel.width
    for at, value in enumerate(memoryview(device.memory()).cast("H")):
        red, blue = value >> 11, value & 31
        if at % width >= LINK_LEFT and blue >= 18 and red <= 4:
            return at % width, at // width + 4
    raise DemoError("the page shows no link")


def changed(before: bytes, after: bytes) -> float:
    """Share of pixels of 16 bits that differ."""
    one, other = memoryview(before).cast("H"), memoryview(after).cast("H")
    return sum(a != b for a, b in zip(one, other, strict=True)) / len(one)


def main() -> int:
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
            words = ["run", "--listen", "127.0.0.1:0", "--size", f"{SIZE[0]}x{SIZE[1]}", "--"]
            with served([*words, *chromium(PAGE.as_uri(), profile)], folder / "server.log") as server:
                say(f"a device connects to {server.address}")
                say(trio.run(show, server.address, picture))
    except* (DemoError, DeviceError, ServedError, StreamError) as group:
        failure = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if failure is not None:
        say(str(failure))
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(main())
