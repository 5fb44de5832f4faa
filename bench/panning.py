"""A small panel that is moved over a large session: what each step costs.

The device asks for a place of its window 60 times a second, to and fro between the session's edges. Everything is read
off the stream that the server sent: the window of an update is that of the last VIEW_STATE before its BEGIN, its bytes
are all that came after the last update's END. What a step uncovers are strips at the panel's edges; all else stays in
sight and can be copied.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import trio

from tilewire.protocol import Panel, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import Rotation, ViewMode
from tilewire.protocol.wire import MESSAGES, Message
from tilewire.simulator.client import Event, Presented
from tilewire.simulator.device import Device, Setup, open_device

from bench.ours import Splitter
from bench.relay import open_relay
from bench.report import Row, percentile
from bench.stage import StageError, cpu_s
from tools.served import Served

RATE: Final = 60
"""Steps a second."""
PANEL: Final = Panel(
    name="small",
    width=320,
    height=240,
    pixel_format=PixelFormat.RGB565,
    max_message=8192,
    max_rect_width=320,
    max_rect_area=320 * 240,
    model_kib=16,
    cache_slots=0,
    cache_slot_bytes=0,
    cursor_side=0,
    density=167,
    about="320x240 with a framebuffer that can be read",
)
WAYS: Final = (
    # what, pixels to the right and down for each step
    *(("horizontal", (step, 0)) for step in (1, 4, 16)),
    *(("vertical", (0, step)) for step in (1, 4, 16)),
    *(("diagonal", (step, step)) for step in (1, 4, 16)),
)
QUICK_WAYS: Final = (("horizontal", (4, 0)), ("vertical", (0, 4)), ("diagonal", (4, 4)))
SETTLE_S: Final = 0.5
LIMIT_S: Final = 10.0


@dataclass(slots=True)
class Step:
    """One update of a panel that moves."""

    shift: tuple[int, int]
    """How far the window went."""
    bytes: int = 0
    copied: int = 0
    """Pixels that COPY wrote; `drawn`: that all else did."""
    drawn: int = 0
    edge: int = 0
    """Pixels that came into sight."""
    edge_bytes: int = 0
    """Of the messages that drew nothing else."""
    inner: int = 0
    """Operations besides COPY that drew something else."""

    @property
    def lean(self) -> bool:
        """Only COPY and edge strips."""
        return self.copied > 0 and self.inner == 0


def steps(stream: bytes, panel: Panel) -> Iterator[Step]:
    """The updates of a native stream. The pictures are 1:1, not turned, as large as the panel, which has no cache."""
    whole = Rect(0, 0, panel.width, panel.height)
    window = whole
    before: Rect | None = None
    kept: Rect | None = None
    step: Step | None = None
    size = 0
    # The first is the server's hello.
    for data in islice(Splitter().feed(stream), 1, None):
        size += len(data)
        match _decoded(data):
            case m.ViewState() as state:
                window = state.window
            case m.Begin():
                dx, dy = (window.x - before.x, window.y - before.y) if before is not None else (0, 0)
                kept = whole.intersect(whole.moved(-dx, -dy)) if before is not None else None
                step = Step((dx, dy), edge=whole.area - (kept.area if kept is not None else 0))
                before = window
            case m.End() if step is not None:
                step.bytes = size
                yield step
                size = 0
            case m.Copy() as copy if step is not None:
                step.copied += copy.rect.area
            case Message(drawing=True) as operation if step is not None:
                rect: Rect = operation.rect  # type: ignore[attr-defined]
                step.drawn += rect.area
                if kept is not None and kept.intersect(rect) is not None:
                    step.inner += 1
                else:
                    step.edge_bytes += len(data)


def _decoded(data: bytes) -> Message | None:
    """A whole message; None where its type is not known."""
    body = 2
    while data[body - 1] > 127:
        body += 1
    kind = MESSAGES.get(data[0])
    return kind.decode(memoryview(data)[body:]) if kind is not None else None


def to_and_fro(steps: int, step: int, room: int) -> Iterator[int]:
    """Places from 0 to `room`, `step` apart, turning round where it ends."""
    at, way = 0, step
    for _ in range(steps):
        if not 0 <= at + way <= room:
            way = -way
        at = min(max(at + way, 0), room)
        yield at


async def pan(device: Device, size: tuple[int, int], way: tuple[int, int], count: int) -> list[float]:
    """Ask for `count` places, RATE a second; milliseconds from asking to the END that shows the place."""
    xs = to_and_fro(count, way[0], size[0] - PANEL.width)
    ys = to_and_fro(count, way[1], size[1] - PANEL.height)
    asked_s: dict[tuple[int, int], float] = {}
    took_ms: list[float] = []

    def look(event: Event) -> None:
        if isinstance(event, Presented) and device.view is not None:
            asked = asked_s.pop((device.view.window.x, device.view.window.y), None)
            if asked is not None:
                took_ms.append((time.perf_counter() - asked) * 1000)

    device.on_event = look
    started = trio.current_time()
    for number, (x, y) in enumerate(zip(xs, ys), 1):
        asked_s[x, y] = time.perf_counter()
        device.look(view(x, y))
        await trio.sleep_until(started + number / RATE)
    return took_ms


def view(x: int, y: int) -> m.View:
    return m.View(mode=ViewMode.ONE_TO_ONE, rotation=Rotation.R0, follow=0, origin=Point(x, y))


def crop(picture: bytes, width: int, window: Rect, stored: int) -> bytes:
    """A part of a picture that is so wide, in pixels of `stored` bytes."""
    rows = range(window.y, window.bottom)
    return b"".join(picture[(y * width + window.x) * stored : (y * width + window.right) * stored] for y in rows)


async def measure(
    program: str, server: Served, picture: bytes, size: tuple[int, int], seconds: float, *, quick: bool
) -> list[Row]:
    """A row for each way. `picture`: what the session of this size shows, in RGB565. Raises StageError."""
    rows: list[Row] = []
    for what, way in QUICK_WAYS if quick else WAYS:
        async with open_relay(server.address) as relay:
            setup = Setup(panel=PANEL, view=view(0, 0), device_id="small")
            async with open_device(f"127.0.0.1:{relay.port}", setup) as device:
                await device.whole_picture()
                await device.settled(SETTLE_S, LIMIT_S)
                start, shown, decode_us = len(relay.line.stream), device.presented, device.statistics.decode_us
                busy_s, begun_s = cpu_s(server.pid), trio.current_time()
                took_ms = await pan(device, size, way, round(seconds * RATE))
                took_s = trio.current_time() - begun_s
                updates = device.presented - shown
                busy_s = cpu_s(server.pid) - busy_s
                await device.settled(SETTLE_S, LIMIT_S)
                if device.view is None or device.memory() != crop(picture, size[0], device.view.window, 2):
                    raise StageError(f"{program}: after panning {what} the panel does not show its window")
                seen = list(steps(bytes(relay.line.stream), PANEL))
                # Those before the motion are the first picture and what brought its view.
                before = len(list(steps(bytes(relay.line.stream[:start]), PANEL)))
                decode_us = device.statistics.decode_us - decode_us
        seen = seen[before:]
        if not seen or not took_ms:
            raise StageError(f"{program}: panning {what} moved nothing")
        rows.append(
            {
                "program": program,
                "pan": what,
                "step": max(way),
                "updates_per_s": updates / took_s,
                "picture_ms_p50": percentile(took_ms, 50),
                "picture_ms_p95": percentile(took_ms, 95),
                **summary(seen),
                "decode_us": decode_us / len(seen),
                "server_cpu_ms": busy_s * 1000 / max(updates, 1),
            }
        )
    return rows


def summary(seen: Sequence[Step]) -> Row:
    """What the updates were, in the mean."""
    copied, drawn = sum(step.copied for step in seen), sum(step.drawn for step in seen)
    edge, edge_bytes = sum(step.edge for step in seen), sum(step.edge_bytes for step in seen)
    return {
        "bytes_each": sum(step.bytes for step in seen) / len(seen),
        "by_copy_%": 100 * copied / max(copied + drawn, 1),
        "lean_%": 100 * sum(step.lean for step in seen) / len(seen),
        "edge_bits": 8 * edge_bytes / max(edge, 1),
    }
