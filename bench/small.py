"""Small updates: how long from a drawing to the device, how many bytes, and what a still screen costs.

The server is a process of its own (`tilewire attach`) on an Xvfb that this benchmark starts and draws on; the device
is the C client in this process. Latency is counted from the drawing's request to the device's picture, so it holds
the X server, the server, loopback and the client. Bytes are TCP payload.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import trio
from Xlib import display as xdisplay
from Xlib.xobject.drawable import Window

from tilewire.protocol import PANELS
from tilewire.server.xvfb import start_xvfb
from tilewire.simulator.client import Client, ClientConfig
from tilewire.simulator.device import Device, Setup, open_device

from bench.report import OUT, Row, percentile, table, write
from tools.served import served

SIZE = (1024, 600)
PAUSE_S = 0.05
"""Between two drawings: longer than a frame at 30 a second, so that each meets an idle link."""
IDLE_S = 5.0


class Painter:
    """An X client that draws rectangles."""

    def __init__(self, name: str) -> None:
        self._display = xdisplay.Display(name)
        screen = self._display.screen()
        self._window: Window = screen.root.create_window(0, 0, *SIZE, 0, screen.root_depth)
        self._window.map()
        self._gc = self._window.create_gc()
        self.draw(0, 0, *SIZE, 0xFFFFFF)

    def draw(self, x: int, y: int, width: int, height: int, colour: int) -> None:
        """Fill a rectangle; the X server has it when this returns."""
        self._gc.change(foreground=colour)
        self._window.fill_rectangle(self._gc, x, y, width, height)
        self._display.sync()

    def close(self) -> None:
        """Leave the display."""
        self._display.close()


async def updates(device: Device, painter: Painter, size: tuple[int, int], count: int) -> tuple[list[float], list[int]]:
    """Draw `count` times, each on an idle link: milliseconds and bytes of each update."""
    times: list[float] = []
    sizes: list[int] = []
    for number in range(count):
        await trio.sleep(PAUSE_S)
        seen, before = device.presented, device.statistics.bytes
        started = time.perf_counter()
        painter.draw(100, 100, *size, 0x2060A0 if number % 2 else 0xC08020)
        if not await device.wait_for(lambda seen=seen: device.presented > seen, 5.0):  # type: ignore[misc]
            raise RuntimeError("a drawing did not reach the device")
        times.append((time.perf_counter() - started) * 1000)
        sizes.append(device.statistics.bytes - before)
    return times, sizes


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


async def measure(count: int) -> list[Row]:
    """All rows."""
    rows: list[Row] = []
    async with start_xvfb(*SIZE) as xvfb:
        painter = Painter(xvfb.display_name)
        with served(["attach", "--listen", "127.0.0.1:0", xvfb.display_name], OUT / "server.log") as server:
            for panel in ("threadx-512", "thin-1g"):
                async with open_device(server.address, Setup(panel=PANELS[panel])) as device:
                    await device.whole_picture()
                    await updates(device, painter, (16, 16), 10)
                    for what, size in (("16x16 change", (16, 16)), ("caret 2x16", (2, 16))):
                        times, sizes = await updates(device, painter, size, count)
                        rows.append(
                            {
                                "what": what,
                                "panel": panel,
                                "p50_ms": percentile(times, 50),
                                "p95_ms": percentile(times, 95),
                                "bytes_max": max(sizes),
                            }
                        )
                    if panel == "threadx-512":
                        idle = await still(device, server.pid)
        painter.close()
    rows.append({"what": f"still screen, {IDLE_S:g} s: bytes", "panel": "threadx-512", "bytes_max": idle[0]})
    rows.append({"what": "still screen: percent of a core", "panel": "threadx-512", "p50_ms": None, "cpu": idle[1]})
    return rows


async def still(device: Device, pid: int) -> tuple[int, float]:
    """Bytes and percent of a core while nothing changes."""
    await device.settled(0.5, 5.0)
    before, cpu = device.statistics.bytes, cpu_s(pid)
    await trio.sleep(IDLE_S)
    return device.statistics.bytes - before, (cpu_s(pid) - cpu) / IDLE_S * 100


def main(argv: Sequence[str]) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m bench small", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="drawings of each kind (200)")
    arguments = parser.parse_args(argv)
    measured = trio.run(measure, arguments.count)
    keys = ("what", "panel", "p50_ms", "p95_ms", "bytes_max", "cpu")
    rows = [{key: row.get(key) for key in keys} for row in measured]
    print(table(rows))
    size = Client(ClientConfig.for_panel(PANELS["threadx-512"])).memory_size
    print(f"static memory of the C client: {size} bytes besides framebuffer and receive buffer")
    print(f"written: {write('small', rows)}")
    return 0
