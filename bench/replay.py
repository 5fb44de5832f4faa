"""Recorded frames on an X screen again: the same source frames, to the pixel, for every system.

    python -m bench.replay FRAMES WIDTH HEIGHT RATE

shows the first of the raw XRGB8888 frames in FRAMES, waits for a mouse button, then shows the others, RATE a second.
A frame changes the screen in one step and only where it differs from the one before, as Chromium's do. Lossy systems
are compared on replays, since SSIM wants to know which picture an update was made of.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from Xlib import X

from tilewire.protocol import PixelFormat

from bench import rfb
from bench.frames import Frames, Pixels, changed_box, ssim
from bench.scenes import Scene, Step, Verb
from bench.sessions import FPS, Session
from bench.stage import StageError, XDisplay

ROOT: Final = Path(__file__).resolve().parent.parent
AHEAD: Final = 30
"""How many source frames an update may be later than the one before it."""
SAMPLE: Final = 5
"""Every so many rows are compared when an update is matched with its source frame."""


def scene_of(scene: Scene, frames: Frames) -> Scene:
    """A scene that shows recorded frames."""
    width, height = frames.size
    return Scene(
        name=scene.name,
        about=f"frames of {scene.name}",
        size=frames.size,
        command=(
            *("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "bench.replay"),
            *(str(frames.path), str(width), str(height), str(FPS)),
        ),
        prepare=(),
        before=(Step(verb=Verb.QUIET, seconds=0.7),),
        steps=(
            Step(verb=Verb.CLICK, amount=1, points=((width // 2, height // 2),)),
            Step(verb=Verb.WAIT, seconds=max(0.1, len(frames) / FPS - 0.5)),
        ),
        limit_s=scene.limit_s,
        lossy=True,
        scenes=scene.scenes,
    )


class Player:
    """A window that shows frames."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._display = XDisplay()
        screen = self._display.screen()
        width, height = frames.size
        self._depth = screen.root_depth
        self._window: Any = screen.root.create_window(
            0, 0, width, height, 0, self._depth, event_mask=X.ButtonPressMask | X.ExposureMask
        )
        self._pixmap: Any = screen.root.create_pixmap(width, height, self._depth)
        self._gc: Any = self._window.create_gc(graphics_exposures=False)
        self._rows = (self._display.display.info.max_request_length * 4 - 32) // (width * 4)
        self._shown: Pixels | None = None

    def show(self, number: int) -> None:
        """Show one frame, in one step."""
        width, height = self._frames.size
        stored = np.frombuffer(self._frames.raw(number), np.uint8).reshape(height, width, 4)
        box = (0, 0, width, height) if self._shown is None else changed_box(self._shown, stored)
        self._shown = stored
        if box is None:
            return
        left, top, right, bottom = box
        for y in range(top, bottom, self._rows):
            part = np.ascontiguousarray(stored[y : min(y + self._rows, bottom), left:right])
            rows, columns = part.shape[:2]
            self._pixmap.put_image(self._gc, left, y, columns, rows, X.ZPixmap, self._depth, 0, part.tobytes())
        self._window.copy_area(self._gc, self._pixmap, left, top, right - left, bottom - top, left, top)
        self._display.flush()

    def play(self, rate: float) -> None:
        """Show the first frame, wait for a button, show the others. Then stay."""
        self._window.map()
        while self._display.next_event().type != X.Expose:
            pass
        self.show(0)
        while self._display.next_event().type != X.ButtonPress:
            pass
        started = time.monotonic()
        for number in range(1, len(self._frames)):
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            self.show(number)
        self._display.sync()
        while True:
            self._display.next_event()


def tight_ssim(session: Session, sources: Frames, folder: Path) -> tuple[float, int]:
    """Mean SSIM of what a Tight stream showed of each source frame in the end, and how many it showed.

    An update shows the source frame that it is nearest to. Raises StageError.
    """
    moving = {arrival.end for arrival in session.moving}
    shown_path, matched_path = folder / "tight.raw", folder / "tight-sources.raw"
    at = 0
    states = 0
    with shown_path.open("wb") as shown, matched_path.open("wb") as matched:

        def look(update: rfb.FramebufferUpdate, picture: Pixels) -> None:
            nonlocal at, states
            if update.end not in moving:
                return
            if not matched.tell():
                # The first frame of both files is not compared.
                shown.write(picture.tobytes())
                matched.write(sources.raw(0))
            found = nearest(sources, at, picture)
            if states and found == at:
                # Refined: what it was at last counts.
                shown.seek(-picture.size, 1)
            else:
                matched.write(sources.raw(found))
                states += 1
            shown.write(picture.tobytes())
            at = found

        try:
            for _ in rfb.parse((session.folder / "stream.rfb").read_bytes(), look):
                pass
        except rfb.RfbError as error:
            raise StageError(f"{session.system}: the stream could not be decoded: {error}") from error
    width, height = sources.size
    words = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-i", str(shown_path)]
    value = ssim(Frames(matched_path, sources.size, PixelFormat.XRGB8888), words)
    shown_path.unlink()
    matched_path.unlink()
    return value, states


def nearest(sources: Frames, at: int, picture: Pixels) -> int:
    """The number of the source frame that a picture shows: the nearest from `at` on."""
    sample = picture[::SAMPLE].astype(np.int16)
    best, best_distance = at, -1
    for number in range(at, min(at + AHEAD, len(sources))):
        distance = int(np.abs(sources.rgb(number)[::SAMPLE].astype(np.int16) - sample).sum())
        if best_distance < 0 or distance < best_distance:
            best, best_distance = number, distance
    return best


def main(argv: Sequence[str]) -> int:
    """Entry point."""
    path, width, height, rate = argv
    Player(Frames(Path(path), (int(width), int(height)))).play(float(rate))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
