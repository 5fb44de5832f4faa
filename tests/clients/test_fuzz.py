"""The fuzz targets in their short form: seeds are real payloads and the golden vectors, damage is repeatable."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.clients.seeds import codec_inputs, feed_inputs, jpeg_inputs
from tests.clients.test_build import INCLUDES, SOURCES, THREADX, compiler, run

FEED = Path(__file__).with_name("fuzz_feed.c")
CODEC = Path(__file__).with_name("fuzz_codec.c")
JPEG = Path(__file__).with_name("fuzz_jpeg.c")
REGRESSIONS = Path(__file__).with_name("regressions")
FLAGS = ["-std=c99", "-g", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
SANITIZERS = "address,undefined"


def build(source: Path, target: Path, *flags: str) -> Path:
    run(
        compiler("clang"), *FLAGS, *flags, "-fno-sanitize-recover=all", *INCLUDES, f"-I{THREADX / 'src'}", *SOURCES,
        source, "-o", target,
    )  # fmt: skip
    return target


def written(folder: Path, inputs: Iterable[bytes]) -> list[Path]:
    made = []
    for number, data in enumerate(inputs):
        made.append(folder / f"{number:03}")
        made[-1].write_bytes(data)
    return made


@pytest.fixture(scope="module")
def feed_seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = written(tmp_path_factory.mktemp("feed"), feed_inputs())
    assert len(made) > 100
    return made


@pytest.fixture(scope="module")
def codec_seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return written(tmp_path_factory.mktemp("codec"), codec_inputs())


@pytest.fixture(scope="module")
def jpeg_seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return written(tmp_path_factory.mktemp("jpeg"), jpeg_inputs())


@pytest.fixture(scope="module")
def fuzz_feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(FEED, tmp_path_factory.mktemp("fuzz") / "fuzz_feed", f"-fsanitize={SANITIZERS}")


@pytest.fixture(scope="module")
def fuzz_codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(CODEC, tmp_path_factory.mktemp("fuzz") / "fuzz_codec", f"-fsanitize={SANITIZERS}")


@pytest.fixture(scope="module")
def fuzz_jpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(JPEG, tmp_path_factory.mktemp("fuzz") / "fuzz_jpeg", f"-fsanitize={SANITIZERS}")


def test_seeds_and_their_damages(fuzz_feed: Path, feed_seeds: list[Path]) -> None:
    run(fuzz_feed, 40, *feed_seeds)


def test_payloads_and_their_damages(fuzz_codec: Path, codec_seeds: list[Path]) -> None:
    run(fuzz_codec, 40, *codec_seeds)


def test_segments_and_their_damages(fuzz_jpeg: Path, jpeg_seeds: list[Path]) -> None:
    run(fuzz_jpeg, 60, *jpeg_seeds)


def test_words_of_32_bits_draw_the_same(tmp_path: Path, jpeg_seeds: list[Path], fuzz_jpeg: Path) -> None:
    narrow = build(JPEG, tmp_path / "fuzz_jpeg", "-DTW_JPEG_WORD=uint32_t", f"-fsanitize={SANITIZERS}")
    drawn = run(fuzz_jpeg, 4, *jpeg_seeds)
    assert len(drawn.split()) >= len(jpeg_seeds)
    assert run(narrow, 4, *jpeg_seeds) == drawn


def test_regressions(fuzz_feed: Path, fuzz_codec: Path, fuzz_jpeg: Path) -> None:
    """A regression belongs to the target that its name begins with, to fuzz_feed where it names none."""
    found = sorted(path for path in REGRESSIONS.glob("*") if path.suffix != ".md")
    assert found
    others = {"codec": fuzz_codec, "jpeg": fuzz_jpeg}
    for path in found:
        run(others.get(path.name.partition("-")[0], fuzz_feed), 0, path)


def test_one_input_from_stdin(
    fuzz_feed: Path,
    feed_seeds: list[Path],
    fuzz_codec: Path,
    codec_seeds: list[Path],
    fuzz_jpeg: Path,
    jpeg_seeds: list[Path],
) -> None:
    for target, seeds in ((fuzz_feed, feed_seeds), (fuzz_codec, codec_seeds), (fuzz_jpeg, jpeg_seeds)):
        with seeds[0].open("rb") as seed:
            subprocess.run([target], stdin=seed, check=True)


def libfuzzer(source: Path, folder: Path, seeds: list[Path]) -> None:
    target = build(source, folder / "fuzz", "-DTW_FUZZER", f"-fsanitize=fuzzer,{SANITIZERS}")
    corpus = folder / "corpus"
    corpus.mkdir()
    done = subprocess.run(
        [target, "-runs=5000", "-seed=1", "-max_len=3000", corpus, seeds[0].parent],
        cwd=folder,
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_libfuzzer_target_of_the_client(tmp_path: Path, feed_seeds: list[Path]) -> None:
    libfuzzer(FEED, tmp_path, feed_seeds)


def test_the_libfuzzer_target_of_the_codec(tmp_path: Path, codec_seeds: list[Path]) -> None:
    libfuzzer(CODEC, tmp_path, codec_seeds)


def test_the_libfuzzer_target_of_jpeg(tmp_path: Path, jpeg_seeds: list[Path]) -> None:
    libfuzzer(JPEG, tmp_path, jpeg_seeds)
