"""The pointer over a window that does not answer: what the motions of a cursor cost that the device draws itself, and
of one that the server draws into the picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import trio

from tilewire.protocol import PANELS
from tilewire.protocol.constants import CursorMode
from tilewire.protocol.wire import MESSAGES
from tilewire.simulator.client import Statistics
from tilewire.simulator.device import Device, Setup, open_device

from bench.report import Row, percentile
from bench.stage import StageError

RATE: Final = 60
"""Motions a second."""
SETTLE_S: Final = 0.5
LIMIT_S: Final = 10.0
STRIP: Final = (960, 1000, 60, 540)
"""Left, right, top and bottom of where the pointer goes: of the page at its right edge, where there is no link."""
PROBED: Final = 12
"""One of so many more is timed, each on an idle link."""
PAUSE_S: Final = 0.05
DRAWING: Final = frozenset(kind.name for kind in MESSAGES.values() if kind.drawing)


def zigzag(count: int) -> Iterator[tuple[int, int]]:
    """Places in STRIP, each another than the last."""
    left, right, top, bottom = STRIP
    for number in range(count):
        across = number * 7 % (2 * (right - left))
        yield left + min(across, 2 * (right - left) - across), top + number * 3 % (bottom - top)


def bytes_of(statistics: Statistics, names: frozenset[str]) -> int:
    """Of the messages of these names."""
    return sum(size for name, size in statistics.bytes_by_type.items() if name in names)


async def measure(program: str, address: str, count: int) -> list[Row]:
    """A row for each mode. Raises StageError."""
    rows: list[Row] = []
    for mode in (CursorMode.LOCAL, CursorMode.IN_PICTURE):
        setup = Setup(panel=PANELS["threadx-512"], cursor=mode, device_id="pointer")
        async with open_device(address, setup) as device:
            await device.whole_picture()
            device.pointer(STRIP[0], STRIP[2])
            await device.settled(SETTLE_S, LIMIT_S)
            before = device.statistics
            device.watch.echo_ms.clear()
            started = trio.current_time()
            for number, place in enumerate(zigzag(count), 1):
                device.pointer(*place)
                await trio.sleep_until(started + number / RATE)
            await device.settled(SETTLE_S, LIMIT_S)
            after = device.statistics
            echo_ms = device.watch.echo_ms[:]
            drawn = _local if mode is CursorMode.LOCAL else _in_picture
            drawn_ms = [await drawn(device, place) for place in zigzag(max(count // PROBED, 2))]
        if not echo_ms:
            raise StageError(f"{program}: no motion was echoed")
        rows.append(
            {
                "program": program,
                "cursor": mode.name,
                "motions": count,
                "updates": after.updates - before.updates,
                "pixel_bytes": bytes_of(after, DRAWING) - bytes_of(before, DRAWING),
                "bytes": after.bytes - before.bytes,
                "bytes_per_motion": (after.bytes - before.bytes) / count,
                "drawn_ms_p50": percentile(drawn_ms, 50),
                "drawn_ms_p95": percentile(drawn_ms, 95),
                "echo_ms_p50": percentile(echo_ms, 50),
            }
        )
    return rows


async def _local(device: Device, place: tuple[int, int]) -> float:
    """Milliseconds until a local cursor is drawn at another place: the call does it. Raises StageError."""
    was = device.cursor
    started = time.perf_counter()
    device.pointer(*place)
    took_ms = (time.perf_counter() - started) * 1000
    if device.cursor == was:
        raise StageError("a local cursor was not drawn by the call that moved it")
    await trio.sleep(PAUSE_S)
    return took_ms


async def _in_picture(device: Device, place: tuple[int, int]) -> float:
    """Milliseconds until an update has come, where nothing else is under way. Raises StageError."""
    seen = device.presented
    started = time.perf_counter()
    device.pointer(*place)
    if not await device.wait_for(lambda: device.presented > seen, LIMIT_S):
        raise StageError("a motion was not drawn into the picture")
    took_ms = (time.perf_counter() - started) * 1000
    await trio.sleep(PAUSE_S)
    return took_ms
