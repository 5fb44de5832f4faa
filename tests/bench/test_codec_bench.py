"""`python -m bench codec`: what it counts is what was encoded."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tilewire.protocol import PixelFormat, Rect
from tilewire.server.codec import Variant
from tilewire.server.pixels import Surface

from bench import codec
from bench.counting import CORE, run
from bench.scenes import parse_scene
from bench.stage import StageError

RECTS = (Rect(0, 0, 40, 24), Rect(3, 5, 20, 11), Rect(0, 0, 40, 24))


def coder(pixel_format: PixelFormat, variant: Variant) -> codec.Coder:
    """One that has encoded three rectangles, of which the first is not counted."""
    made = codec.Coder(variant, pixel_format, 16, 40)
    surface = Surface(40, 24, pixel_format)
    for number, rect in enumerate(RECTS):
        for x in range(rect.x, rect.right, 3):
            surface.fill(Rect(x, rect.y, 1, rect.height), x * 0x0305 + number & 0xFFFF)
        made.encode(surface, rect, counted=number > 0)
    return made


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("codec") / "codec_count"
    includes = [f"-I{CORE / 'include'}", f"-I{CORE / 'src'}"]
    words = ["cc", "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1", *includes]
    source = Path(codec.__file__).with_name("codec_count.c")
    subprocess.run([*words, source, *codec.DECODER, "-o", program], check=True)
    return program


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("pixel_format", codec.FORMATS)
def test_the_harness_decodes_what_was_encoded(
    native: Path, tmp_path: Path, pixel_format: PixelFormat, variant: Variant
) -> None:
    made = coder(pixel_format, variant)
    assert (made.taught, made.rectangles, made.pixels) == (1, 3, RECTS[1].area + RECTS[2].area)
    assert 0 < made.bytes < made.pixels
    counters = codec.Counters(native, native, native, 0, 0)
    file = made.file(tmp_path / "payloads")
    counters.check(made, file)
    made.crc ^= 1
    with pytest.raises(StageError, match="other pixels"):
        counters.check(made, file)


def test_counts_the_same_twice(tmp_path: Path) -> None:
    """Under valgrind and under QEMU: no run differs from the last, and Thumb-2 at -O2 needs fewer than at -Os."""
    for program in ("valgrind", "qemu-system-arm", "arm-none-eabi-gcc"):
        assert shutil.which(program), f"{program} is not installed: make setup"
    counters = codec.Counters.build(tmp_path)
    assert 0 < counters.code_bytes < 16384
    assert 0 < counters.table_bytes < 16384
    made = coder(PixelFormat.RGB565, Variant.LIVE)
    file = made.file(tmp_path / "payloads")
    assert counters.x86(made, file) == counters.x86(made, file) > 1
    fast = counters.thumb(made, file, counters.thumb_o2)
    assert 1 < fast == counters.thumb(made, file, counters.thumb_o2) < counters.thumb(made, file, counters.thumb_os)


def test_a_damaged_payload_is_an_error(native: Path, tmp_path: Path) -> None:
    made = coder(PixelFormat.XRGB8888, Variant.REST)
    file = made.file(tmp_path / "payloads")
    file.write_bytes(file.read_bytes()[:28] + b"\xff" + file.read_bytes()[29:])
    with pytest.raises(StageError, match="payload 0 is corrupt"):
        run([native, file, "3", "sum"], "decoding")


def test_verdicts_name_what_was_missed() -> None:
    row: codec.Row = dict.fromkeys(codec.KEYS)
    row.update(scene="x:still", variant="rest", pixel_format="XRGB8888", bytes=130, webp=100)
    row.update(decode_instructions_per_pixel=150.0, encode_mpixel_per_s=4.0)
    (line,) = codec.verdicts([row])
    name, _, said = line.partition(": ")
    assert name == "x:still XRGB8888 rest"
    assert said == "150.0 of 200 instructions; 4.0 of 5 Mpixel/s (MISSED); 1.300 of WebP, target 1.2 (MISSED)"


@pytest.mark.parametrize("still", [True, False])
def test_a_scene_is_kept_to_be_encoded(tmp_path: Path, still: bool) -> None:
    """A real program: its pictures are there, and the encoder finds work for the codec in the counted ones."""
    scene = parse_scene(
        {
            "size": [160, 96],
            "command": ["xterm", "-geometry", "26x7+0+0", "-e", "sh", "-c", "PS1='$ ' exec sh"],
            "steps": [{"type": "ls /\n", "rate": 20}, {"quiet": 0.3}],
        },
        "small",
        tmp_path,
    )
    recording = codec.record(scene, tmp_path / "work", still=still)
    found = list(codec.replayed(recording, PixelFormat.RGB565, 16))
    assert len(found) == len(recording.frames) >= 1
    if still:
        assert recording.first == len(found)
    else:
        assert 0 < recording.first < len(found)
        assert any(rects for number, _, rects in found if number >= recording.first)
