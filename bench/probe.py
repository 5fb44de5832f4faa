"""`tilewire`, with a witness: what the screen was, in the panel's own format, whenever an update was made of it.

    python -m bench.probe FOLDER PIXELS attach --listen 127.0.0.1:0 :5

The server runs as it is; the witness looks at the picture that each update was encoded from, and writes a line to
FOLDER/sources.txt: its digest, when (monotonic seconds), and the processor time that the witness itself has taken so
far (seconds), which does not count as the server's. PIXELS 1: it also writes the pixels, to FOLDER/sources.raw. One
viewer at a time.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tilewire.server import cli
from tilewire.server.encoder import Encoder, Update

from bench.stage import digest

MAKERS: Final = ("build", "refine")
"""What makes the updates of one device, in the order in which they go out."""


class Witness:
    """Writes down what updates were made of."""

    def __init__(self, folder: Path, pixels: bool) -> None:
        self._pixels = (folder / "sources.raw").open("wb", buffering=0) if pixels else None
        self._lines = (folder / "sources.txt").open("w", buffering=1)
        self._taken_s = 0.0

    def watched(self, make: Callable[..., Update]) -> Callable[..., Update]:
        """A method of Encoder that makes updates, watched."""

        @functools.wraps(make)
        def seen(encoder: Encoder, *arguments: object, **named: object) -> Update:
            update = make(encoder, *arguments, **named)
            if update.operations:
                self._look(encoder.now.pixels)
            return update

        return seen

    def _look(self, picture: memoryview) -> None:
        started = time.thread_time()
        if self._pixels is not None:
            self._pixels.write(picture)
        name = digest(picture)
        self._taken_s += time.thread_time() - started
        self._lines.write(f"{name} {time.monotonic():.6f} {self._taken_s:.6f}\n")


def main() -> int:
    """Entry point."""
    witness = Witness(Path(sys.argv[1]), sys.argv[2] == "1")
    for name in MAKERS:
        setattr(Encoder, name, witness.watched(getattr(Encoder, name)))
    return cli.main(sys.argv[3:])


if __name__ == "__main__":
    sys.exit(main())
