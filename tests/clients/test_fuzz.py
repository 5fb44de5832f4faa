"""The fuzz target in its short form: seeds are the servers' sides of the golden vectors, damage is repeatable."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tilewire.protocol import Sender

from tests import vectors
from tests.clients.test_build import INCLUDES, SOURCES, compiler, run

SOURCE = Path(__file__).with_name("fuzz_feed.c")
REGRESSIONS = Path(__file__).with_name("regressions")
FLAGS = ["-std=c99", "-g", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
SANITIZERS = "address,undefined"
SET_UPS = (0, 16, 32, 128, 144, 160, 1, 2, 64)
"""Framebuffer, strips, greeted already, pending, together; XRGB8888; RGB332; with a key."""


def build(target: Path, *flags: str) -> Path:
    run(compiler("clang"), *FLAGS, *flags, "-fno-sanitize-recover=all", *INCLUDES, *SOURCES, SOURCE, "-o", target)
    return target


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("seeds")
    made = []
    for number, vector in enumerate(vectors.exchanges()):
        data = b"".join(step.data for step in vector.steps if step.sender is Sender.SERVER)
        if 0 < len(data) <= 3000:
            made.append(folder / f"{number:03}")
            made[-1].write_bytes(bytes((SET_UPS[number % len(SET_UPS)], number % 40)) + data)
    assert len(made) > 100
    return made


@pytest.fixture(scope="module")
def fuzz_feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("fuzz") / "fuzz_feed", f"-fsanitize={SANITIZERS}")


def test_seeds_and_their_damages(fuzz_feed: Path, seeds: list[Path]) -> None:
    run(fuzz_feed, 40, *seeds)


def test_regressions(fuzz_feed: Path) -> None:
    found = sorted(path for path in REGRESSIONS.glob("*") if path.suffix != ".md")
    assert found
    run(fuzz_feed, 0, *found)


def test_one_input_from_stdin(fuzz_feed: Path, seeds: list[Path]) -> None:
    with seeds[0].open("rb") as seed:
        subprocess.run([fuzz_feed], stdin=seed, check=True)


def test_the_libfuzzer_target(tmp_path: Path, seeds: list[Path]) -> None:
    target = build(tmp_path / "fuzz", "-DTW_FUZZER", f"-fsanitize=fuzzer,{SANITIZERS}")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    done = subprocess.run(
        [target, "-runs=5000", "-seed=1", "-max_len=3000", corpus, seeds[0].parent],
        cwd=tmp_path,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
