"""`python -m bench jpeg`: what it counts is what was drawn, and what it compares is the same picture."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tilewire.protocol import PixelFormat
from tilewire.server.jpeg import entropy_coded

from bench import jpeg, jpeg_chart
from bench.stage import StageError


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not of the size that is counted."""
    path = tmp_path_factory.mktemp("jpeg") / "photograph.png"
    shades = Image.frombytes("RGB", (40, 30), random.Random(1).randbytes(40 * 30 * 3))
    shades.resize((640, 480), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def counters(tmp_path_factory: pytest.TempPathFactory) -> jpeg.Counters:
    for program in ("valgrind", "qemu-system-arm", "arm-none-eabi-gcc"):
        assert shutil.which(program), f"{program} is not installed: tools/setup.sh test"
    return jpeg.Counters.build(tmp_path_factory.mktemp("counters"))


@pytest.mark.parametrize("sampling", range(4))
@pytest.mark.parametrize("scale", [1, 2])
def test_the_client_shows_the_picture(
    photograph: Path, counters: jpeg.Counters, tmp_path: Path, sampling: int, scale: int
) -> None:
    picture = jpeg.Picture.encode(photograph, 75, sampling, scale)
    most, mean = counters.apart(picture, picture.write(tmp_path / "pieces", PixelFormat.XRGB8888))
    assert 0 < most <= jpeg.TOLERANCE
    assert 0 < mean < 1


def test_another_picture_is_noticed(photograph: Path, counters: jpeg.Counters, tmp_path: Path) -> None:
    picture, other = (jpeg.Picture.encode(photograph, quality, 2) for quality in (75, 40))
    file = picture.write(tmp_path / "pieces", PixelFormat.XRGB8888)
    with pytest.raises(StageError, match="levels apart"):
        counters.apart(replace(picture, file=other.file), file)


def test_counts_the_same_twice(photograph: Path, counters: jpeg.Counters, tmp_path: Path) -> None:
    picture = jpeg.Picture.encode(photograph, 75, 2)
    row = counters.count(picture, PixelFormat.RGB565, tmp_path)
    assert row == counters.count(picture, PixelFormat.RGB565, tmp_path)
    # The client is fed the picture: much more than nothing, and less than any decoder that takes it pixel by pixel.
    assert 10 < float(str(row["instructions_per_pixel"])) < 200
    assert 10 < float(str(row["thumb2_per_pixel"])) < float(str(row["thumb2_os_per_pixel"])) < 300
    assert row["bytes"] == len(entropy_coded(picture.file))
    assert 0 < int(str(row["code_bytes"])) < 8192


def test_a_picture_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no picture")
    with pytest.raises(StageError, match=r"words\.png"):
        jpeg.Picture.encode(tmp_path / "words.png", 75, 2)


def row(**fields: object) -> jpeg.Row:
    plain: jpeg.Row = {"sampling": "4:2:0", "scale": 1, "quality": 75, "pixel_format": "RGB565", "bytes": 10}
    plain |= {"instructions_per_pixel": 40.0, "thumb2_per_pixel": 50.0, "thumb2_os_per_pixel": 60.0}
    return plain | {"most_apart": None, "mean_apart": None} | fields


def test_the_table_and_its_verdicts(tmp_path: Path) -> None:
    rows = [row(), row(instructions_per_pixel=60.0), row(quality=90), row(scale=2)]
    rows += [
        row(sampling="4:4:4", instructions_per_pixel=62.0),
        row(pixel_format="XRGB8888", most_apart=2, mean_apart=0.5),
    ]
    lines = jpeg.summary(rows)
    assert [(line["sampling"], line["scale"], line["quality"]) for line in lines] == [
        ("4:4:4", 1, 75),
        *(("4:2:0", 1, quality) for quality in (75, 90, 75)),
        ("4:2:0", 2, 75),
    ]
    assert (lines[1]["x86-64"], lines[1]["most"]) == (50.0, 60.0)
    assert jpeg.verdicts(lines) == [
        "4:4:4: 62.0 of 63 instructions, at most 62.0",
        "4:2:0: 50.0 of 48 instructions (MISSED), at most 60.0",
    ]
    jpeg_chart.draw(lines, tmp_path / "chart.png", [jpeg.target(line) for line in lines], "sizes")
    with Image.open(tmp_path / "chart.png") as chart:
        assert chart.width == 1680
