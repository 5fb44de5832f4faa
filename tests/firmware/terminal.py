"""A terminal on a real server, and what a QEMU device must show of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from tilewire.protocol import PixelFormat, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import Rotation, ViewMode
from tilewire.simulator.machine import Event

from tests.firmware.machine import HOST, WITHIN_S, Machine
from tests.support import ORIGIN, screen_picture
from tools.served import served

XTERM = ("xterm", "-geometry", "80x24+0+0", "-bg", "white", "-fg", "black", "-u8")
FORMATS = {"rgb565": PixelFormat.RGB565, "xrgb8888": PixelFormat.XRGB8888}


@dataclass(frozen=True, slots=True)
class Terminal:
    """A served xterm: what is typed into it is in `typed`."""

    port: int
    display: str
    typed: Path
    pid: int
    """Of the server."""


@contextmanager
def terminal(folder: Path, *words: str, port: int = 0, before: str = "") -> Iterator[Terminal]:
    """`before`: what the terminal's shell does first."""
    folder.mkdir(exist_ok=True)
    typed = folder / "typed"
    typed.write_bytes(b"")
    # What comes is shown as well, so that a picture follows. The terminal's answer to the first question is typed, too:
    # then it has read all that is before.
    script = f"stty raw -echo; {before} printf 'ready\\033[5n'; tee {typed}"
    command = ["run", "--listen", f"127.0.0.1:{port}", "--size", "640x420", *words, "--"]
    log = folder / "log"
    with served([*command, "env", "LC_ALL=C.UTF-8", *XTERM, "-e", "sh", "-c", script], log) as server:
        found = re.search(r"on display (:\d+),", log.read_text())
        assert found is not None
        one = Terminal(int(server.address.rpartition(":")[2]), found[1], typed, server.pid)
        typed_is(one, b"\033[0n")
        yield one


def config(server: Terminal | int, **more: object) -> dict[str, object]:
    port = server.port if isinstance(server, Terminal) else server
    return {"server": f"{HOST}:{port}"} | more


def typed_is(server: Terminal, ends: bytes) -> None:
    """Return once what was typed last is this."""
    until = time.monotonic() + WITHIN_S
    while not server.typed.read_bytes().endswith(ends):
        assert time.monotonic() < until, server.typed.read_bytes()[-40:]
        time.sleep(0.02)


async def expected_of(events: list[Event], server: Terminal) -> bytes:
    """The server's screen as the panel must store it, by what the device told of its panel and its view."""
    panel = next(event for event in events if event["event"] == "panel")
    view = next(event for event in reversed(events) if event["event"] == "view")
    state = m.ViewState(
        mode=ViewMode.FIT if view["mode"] == "fit" else ViewMode.ONE_TO_ONE,
        rotation=Rotation(view["rotation"] // 90),
        follow=1,
        session=m.Size(width=view["session_width"], height=view["session_height"]),
        window=Rect(x=view["x"], y=view["y"], width=view["width"], height=view["height"]),
    )
    size = (panel["width"], panel["height"])
    return await screen_picture(server.display, size, FORMATS[panel["format"]], ORIGIN, state)


def is_exact(device: Machine, server: Terminal) -> None:
    """Return once the panel shows the server's screen, pixel for pixel."""
    until = time.monotonic() + WITHIN_S
    while True:
        expected = trio.run(expected_of, device.events, server)
        if device.framebuffer() == expected:
            return
        assert time.monotonic() < until, f"the panel is not the screen; {device.folder}"
        time.sleep(0.05)
