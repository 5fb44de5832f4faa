"""The fuzz targets in their short form: seeds are real payloads and the golden vectors, damage is repeatable."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tilewire.protocol import PixelFormat, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.server.codec import TileCodec, Variant

from tests import vectors
from tests.clients.cursors import arrow, at
from tests.clients.jpegs import jpeg_file, message, noise, photograph, segment_of
from tests.clients.pictures import KINDS, picture, surface
from tests.clients.test_build import INCLUDES, SOURCES, THREADX, compiler, run

FEED = Path(__file__).with_name("fuzz_feed.c")
CODEC = Path(__file__).with_name("fuzz_codec.c")
JPEG = Path(__file__).with_name("fuzz_jpeg.c")
REGRESSIONS = Path(__file__).with_name("regressions")
FLAGS = ["-std=c99", "-g", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
SANITIZERS = "address,undefined"
SET_UPS = (0, 16, 32, 128, 144, 160, 1, 2, 64)
"""Framebuffer, strips, greeted already, pending, together; XRGB8888; RGB332; with a key."""
GREETED = 32
FORMATS = list(PixelFormat)


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


def payloads(pixel_format: PixelFormat, kib: int, rect: Rect, number: int) -> list[m.Codec]:
    """Four pictures through one model."""
    codec = TileCodec(kib, pixel_format, rect.width)
    made = []
    for update in range(4):
        values = picture(KINDS[(number + update) % len(KINDS)], rect.width, rect.height, pixel_format, number)
        source = surface(values, rect.width, rect.height, pixel_format)
        coded = codec.encode(source, rect, Variant(update // 2), 1 << 20)
        assert coded is not None
        made.append(coded)
    return made


def updates() -> Iterable[bytes]:
    """What fuzz_feed.c is to find in an open session: the codec, the cache, JPEG, and a cursor over it all."""
    for number, pixel_format in enumerate(FORMATS):
        rect = Rect(0, 0, 20 + number, 12)
        for set_up in (GREETED, GREETED | 8, GREETED | 16, GREETED | 16 | 128):
            coded = payloads(pixel_format, 48 if set_up & 8 else 16, rect, number)
            operations: list[m.Message] = [m.Begin(update=1, input=0), *coded]
            if not set_up & 16:
                operations += [
                    m.CacheStore(slot=4, rect=Rect(1, 2, 9, 8)),
                    m.CacheDraw(slot=4, position=m.Point(28, 13)),
                    m.CacheStore(slot=0, rect=Rect(0, 0, 1, 1)),
                ]
            for sampling in (number, number | 16):
                file = jpeg_file(photograph(*((11, 6) if sampling & 16 else (21, 12))), 50, number)
                operations.append(message(Rect(2, 3, 21, 12), 50, sampling, file))
            shapes = [*arrow().parts([3]), at(28, 13), m.Bell()], [m.Bell(), *arrow(12, 12).parts([5])]
            moved = [*shapes[0], *operations, *shapes[1], m.End(), at(0, 0), *arrow(12, 1, 11, 0).parts(), m.Bell()]
            for messages in ([*operations, m.End()], moved):
                yield bytes((set_up | number, 7)) + b"".join(x.encode() for x in messages)


def greeted(vector: vectors.Vector, number: int) -> bytes:
    data = b"".join(step.data for step in vector.steps if step.sender is Sender.SERVER)
    return bytes((SET_UPS[number % len(SET_UPS)], number % 40)) + data


@pytest.fixture(scope="module")
def feed_seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    inputs = [greeted(vector, number) for number, vector in enumerate(vectors.exchanges())]
    made = written(tmp_path_factory.mktemp("feed"), [*(data for data in inputs if 2 < len(data) <= 3002), *updates()])
    assert len(made) > 100
    return made


@pytest.fixture(scope="module")
def codec_seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    inputs = []
    for set_up in range(12):
        pixel_format, kib = FORMATS[set_up // 3], 16 * (1 + set_up % 3)
        for number in range(len(KINDS)):
            rect = Rect(0, 0, 5 + 7 * number, 14 - 2 * number)
            data = bytes((set_up, rect.width - 1, rect.height - 1))
            for coded in payloads(pixel_format, kib, rect, number):
                data += len(coded.payload).to_bytes(2, "little") + coded.payload
            inputs.append(data)
    return written(tmp_path_factory.mktemp("codec"), inputs)


@pytest.fixture(scope="module")
def jpeg_seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every format, sampling and scale, in framebuffers and strips of all sizes."""
    inputs = []
    for number in range(64):
        sampling, doubled, strip = number % 4, number >> 2 & 1, number % 8
        width, height = 1 + number * 7 % 67, 1 + number * 11 % 67
        picture = (photograph if number % 3 else noise)((width + doubled) >> doubled, (height + doubled) >> doubled)
        head = bytes((number >> 2, sampling | doubled << 4 | strip << 5, width - 1, height - 1, 5 * (number % 20)))
        inputs.append(head + segment_of(jpeg_file(picture, 5 * (number % 20) + 1, sampling)))
    return written(tmp_path_factory.mktemp("jpeg"), inputs)


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
