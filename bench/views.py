"""Pictures as panels show them: how fast the screen is scaled, turned and converted.

    python -m bench views [--repeats N]

One thread; `Surface.render` of the whole panel, the best of several repeats by the wall clock. The panel has the size
of the picture, so that no black is counted: 1:1 and rotations by pixels of the panel, scaled pictures by pixels of the
session that they are the mean of. Noise: nothing here depends on what the pixels are.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from typing import Final

from tilewire.protocol import PixelFormat, Rect
from tilewire.protocol.constants import Rotation, ViewMode
from tilewire.server.pixels import Screen, Surface
from tilewire.server.view import View, fitted

from bench.report import Row, table, write

CASES: Final = (
    # session, panel before it is turned
    ((1024, 600), (1024, 600)),
    ((1366, 768), (1366, 768)),
    ((1024, 600), (320, 240)),
    ((1024, 600), (800, 480)),
    ((1366, 768), (1024, 600)),
    ((1280, 720), (1024, 600)),
    ((1920, 1080), (1366, 768)),
    ((1024, 600), (512, 300)),
)


def speed(screen: Screen, panel: tuple[int, int], rotation: Rotation, pixel_format: PixelFormat, repeats: int) -> float:
    """Mpixel/s."""
    session = screen.width, screen.height
    canvas = fitted(session, panel)
    turned = canvas if rotation in (Rotation.R0, Rotation.R180) else (canvas[1], canvas[0])
    mode = ViewMode.ONE_TO_ONE if canvas == session else ViewMode.FIT
    view = View(session, turned, mode=mode, rotation=rotation)
    surface = Surface(*turned, pixel_format)
    rect = Rect(0, 0, *turned)
    best_ns = 0
    for _ in range(repeats):
        started = time.perf_counter_ns()
        surface.render(screen, view, rect)
        took_ns = time.perf_counter_ns() - started
        best_ns = min(best_ns or took_ns, took_ns)
    return session[0] * session[1] * 1000 / best_ns


def measure(repeats: int) -> list[Row]:
    """All rows."""
    rows: list[Row] = []
    chance = random.Random(1)
    for session, panel in CASES:
        screen = Screen(*session)
        screen.blit(screen.rect, chance.randbytes(4 * screen.rect.area))
        canvas = fitted(session, panel)
        for rotation in Rotation:
            row: dict[str, object] = {
                "view": "1:1" if canvas == session else "fit",
                "session": f"{session[0]}x{session[1]}",
                "picture": f"{canvas[0]}x{canvas[1]}",
                "rotation": rotation.name,
            }
            for pixel_format in PixelFormat:
                row[pixel_format.name] = speed(screen, panel, rotation, pixel_format, repeats)
            rows.append(row)
    return rows


def main(argv: Sequence[str]) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m bench views", description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="of which the best counts (20)")
    arguments = parser.parse_args(argv)
    if arguments.repeats < 1:
        parser.error("--repeats: at least 1")
    rows = measure(arguments.repeats)
    print(table(rows))
    print("Mpixel/s of one core")
    print(f"written: {write('views', rows)}")
    return 0
