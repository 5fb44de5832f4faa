"""Records the material: real programs on an X server of their own, moved as the benchmark's scenes are."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import tomllib
from pathlib import Path
from typing import Final

from bench.scenes import Scene, parse_scene
from bench.stage import Eyes, actors, home, prepare, process, program_words, xvfb
from tools.train.trace import SIZE

MATERIAL: Final = Path(__file__).resolve().parent / "material.toml"
FRAMES_PER_S: Final = 30


def material() -> list[Scene]:
    """All of it. Raises SceneError."""
    tables = tomllib.loads(MATERIAL.read_text(encoding="utf-8"))["scene"]
    still = [{"wait": 0.1}]
    return [parse_scene({"size": list(SIZE), "steps": still} | table, "", MATERIAL.parent) for table in tables]


def record(scene: Scene, out: Path) -> int:
    """Carry out a scene; every picture that differs from the one before goes to `out`. Raises StageError."""
    folder = Path(tempfile.mkdtemp(prefix=f"tilewire-{scene.name}-"))
    try:
        prepare(scene, folder)
        log = folder / "log"
        with (
            xvfb(scene.size, log) as server,
            process(
                program_words(scene, folder),
                log,
                environment=home(folder) | {"DISPLAY": server.name},
                folder=folder,
            ),
            actors(server, scene.size) as (hands, eyes),
        ):
            limit = time.monotonic() + scene.limit_s
            for step in scene.before:
                hands.do(step, eyes, limit)
            done = threading.Event()
            camera = threading.Thread(target=_film, args=(server.name, scene, out, done))
            camera.start()
            try:
                for step in scene.steps:
                    hands.do(step, eyes, limit)
            finally:
                done.set()
                camera.join()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return out.stat().st_size // (4 * SIZE[0] * SIZE[1])


def _film(display: str, scene: Scene, out: Path, done: threading.Event) -> None:
    eyes = Eyes(display, scene.size)
    last = b""
    try:
        with out.open("wb") as file:
            while not done.is_set() or not last:
                picture = eyes.picture()
                if picture != last:
                    file.write(picture)
                    last = picture
                done.wait(1 / FRAMES_PER_S)
    finally:
        eyes.close()
