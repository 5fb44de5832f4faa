"""Trains the start state of the tile codec.

python -m tools.train record FOLDER [NAME ...]    record the material (all, or some of it) into FOLDER
python -m tools.train fit FOLDER                  write protocol/codec_start.py from what is in FOLDER

Recording needs the programs that material.toml names (most of them beyond what `make setup` installs), fitting needs
minutes on many cores. Afterwards run tools/generate.py, build, and run tools.make_vector_payloads and tools/generate.py
once more: all payloads are others then.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

from tilewire.protocol.reference_codec import CONTEXTS

from tools.train.fit import Run, fitted, module
from tools.train.trace import PASSES, traced

OUT = Path(__file__).resolve().parents[2] / "protocol/codec_start.py"


def record_all(folder: Path, names: list[str]) -> None:
    """Into FOLDER/NAME.raw."""
    # What it imports needs the benchmark's packages.
    from tools.train.record import material, record

    folder.mkdir(parents=True, exist_ok=True)
    for scene in material():
        if not names or scene.name in names:
            print(f"{scene.name}: {record(scene, folder / f'{scene.name}.raw')} pictures", flush=True)


def fit(folder: Path) -> None:
    """From all recordings in FOLDER."""
    recordings = sorted(folder.glob("*.raw"))
    if not recordings:
        sys.exit(f"no recordings in {folder}")
    jobs = list(product(recordings, PASSES))
    decisions: defaultdict[int, list[Run]] = defaultdict(list)
    with ProcessPoolExecutor() as pool:
        started = [pool.submit(traced, recording, *how) for recording, how in jobs]
        for (recording, (pixel_format, variant)), future in zip(jobs, started):
            for context, run in future.result().items():
                decisions[context].append(run)
            print(f"{recording.stem} {pixel_format.name} {variant.name}", flush=True)
    OUT.write_text(module(fitted(CONTEXTS, decisions)))
    print(f"written: {OUT.name}; {len(decisions)} of {CONTEXTS} contexts were met")


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m tools.train", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="record the material")
    recording.add_argument("folder", type=Path)
    recording.add_argument("names", nargs="*")
    fitting = commands.add_parser("fit", help="write protocol/codec_start.py")
    fitting.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "record":
        record_all(arguments.folder, arguments.names)
    else:
        fit(arguments.folder)


if __name__ == "__main__":
    main()
