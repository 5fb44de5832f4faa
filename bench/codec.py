"""The lossless tile codec by itself: bytes, speed of the encoder, instructions of the decoder.

    python -m bench codec [--quick] [--scene NAME|FILE]... [--model KIB]

A scene is carried out once, with tilewire, and the pictures that its updates were made of are kept. An encoder without
cache and JPEG goes through them again and says which rectangles the codec is to send; these are encoded in both
variants, live and rest, each with a model of its own that lives through the whole scene. The motion's rectangles are
counted; those of the first picture and of what came between it and the motion only teach the model. First pictures
are scenes of their own, NAME:still: the whole picture as one rectangle, with a new model.

Rows (bench/out/codec.json): `bytes` of payloads; `pixels` inside the rectangles: what was copied or filled is not
among them, and since the rectangles fit the change, few of them are flat, as most of a still's are.
`encode_mpixel_per_s` is by the wall clock in the C call only, the best of 3 for each rectangle.
`decode_instructions_per_pixel`: x86-64, gcc -O2, counted by callgrind. `decode_thumb2_per_pixel` and
`decode_thumb2_os_per_pixel`: Cortex-A9 in Thumb-2, gcc -O2 and -Os, counted by the clock of QEMU's vexpress-a9, where
an instruction takes 1 ns. Both decoders give the rows; what a device does with them is not counted. `png`, `webp` and
`qoi` are the bytes of the same still in these formats (PNG by Pillow, WebP by cwebp -lossless -z 9, QOI by ffmpeg),
for XRGB8888 only. `model_bytes`, `code_bytes` and `table_bytes` are what the decoder takes on a Cortex-M4, gcc -Os.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from tilewire.protocol import Capability, Connection, PixelFormat, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.server._native import ffi, lib
from tilewire.server.codec import Variant
from tilewire.server.encoder import Encoder
from tilewire.server.pixels import Screen, Surface
from tilewire.server.view import View
from tilewire.simulator.client import Client, ClientConfig

from bench import codec_chart, peers
from bench.counting import CORE, build, instructions, run, sizes, thumb_instructions
from bench.frames import FFMPEG, Frames, run_ffmpeg
from bench.ours import Tilewire, motion, panel_of
from bench.report import OUT, table, write
from bench.scenes import FOLDER, Scene, SceneError, Step, Verb, read_scene
from bench.sessions import play
from bench.stage import StageError, prepare

SCENES: Final = ("docs-scroll", "terminal", "menus", "window-drag")
STILLS: Final = ("photos-scroll", "gimp-stroke")
"""Scenes of which only the first picture is looked at."""
QUICK_SCENES: Final = ("docs-scroll", "terminal")
FORMATS: Final = (PixelFormat.XRGB8888, PixelFormat.RGB565)
REPEATS: Final = 3
DECODER: Final = (CORE / "src/tw_codec.c", CORE / "src/tw_codec_start.c")
TARGETS: Final = {
    # at most so many instructions per pixel, at least so many Mpixel/s
    "live": (60.0, 60.0),
    "rest": (200.0, 5.0),
}
STILL_TARGET: Final = 1.2

Row = dict[str, object]
KEYS: Final = (
    *("scene", "variant", "pixel_format", "model_kib", "rectangles", "pixels", "bytes", "encode_mpixel_per_s"),
    *("decode_instructions_per_pixel", "decode_thumb2_per_pixel", "decode_thumb2_os_per_pixel"),
    *("png", "webp", "qoi", "model_bytes", "code_bytes", "table_bytes"),
)


def say(text: str) -> None:
    """One line of progress."""
    print(f"codec: {text}", flush=True)


# Scenes.


@dataclass(frozen=True, slots=True)
class Recording:
    """The pictures of a scene's updates; the motion's are those from `first` on."""

    scene: Scene
    frames: Frames
    first: int


def record(scene: Scene, folder: Path, *, still: bool) -> Recording:
    """Carry out a scene; twice if it fails. Raises StageError."""
    if still:
        scene = replace(scene, steps=(Step(verb=Verb.WAIT, seconds=0.1),))
    files = folder / "files"
    files.mkdir(parents=True)
    prepare(scene, files)
    system = Tilewire(name="tilewire", pixel_format=PixelFormat.XRGB8888, keep=True)
    for attempt in (1, 2):
        place = folder / str(attempt)
        shutil.copytree(files, place)
        try:
            session = play(scene, system, place)
            frames = Frames(place / "sources.raw", scene.size)
            moved = None if still else motion(session, scene.size, system.pixel_format)
        except StageError as error:
            if attempt == 2:
                raise
            say(f"{scene.name}: {error}; again")
            shutil.rmtree(place, ignore_errors=True)
            continue
        return Recording(scene, frames, moved.numbers[0] if moved is not None else len(frames))
    raise AssertionError


def replayed(
    recording: Recording, pixel_format: PixelFormat, model_kib: int
) -> Iterator[tuple[int, Surface, list[Rect]]]:
    """For each picture its number, the surface that holds it, and the rectangles that the codec is to send."""
    size = recording.scene.size
    panel = replace(panel_of(size, pixel_format), model_kib=model_kib)
    device = Client(ClientConfig.for_panel(panel, cache=False, jpeg=False))
    connection = Connection(Sender.SERVER)
    connection.receive_data(device.output())
    hello = connection.next_event()
    assert isinstance(hello, m.Hello)
    encoder = Encoder(hello, hello.capabilities & Capability.COPY)
    screen, view = Screen(*size), View(size, size)
    for number in range(len(recording.frames)):
        screen.blit(screen.rect, recording.frames.raw(number))
        encoder.convert(screen, view, [encoder.panel])
        update = encoder.build([encoder.panel])
        yield number, encoder.now, [made.rect for made in update.operations if isinstance(made, m.Codec)]


# Encoding.


@dataclass(slots=True)
class Coder:
    """A model that encodes what it is given, and the file for the decoders that is made of it."""

    variant: Variant
    pixel_format: PixelFormat
    model_kib: int
    max_width: int
    taught: int = 0
    """The first rectangles, which are not counted."""
    rectangles: int = 0
    """All of them."""
    pixels: int = 0
    bytes: int = 0
    encode_ns: int = 0
    """These three without the first ones."""
    crc: int = 0
    """CRC-32 of all pixel values, 32 bits each, little-endian."""
    _made: bytearray = field(default_factory=bytearray)
    _codec: Any = None

    def __post_init__(self) -> None:
        self._codec = ffi.gc(
            lib.tw_ns_codec_new(self.model_kib, self.pixel_format, self.max_width), lib.tw_ns_codec_free
        )

    def encode(self, surface: Surface, rect: Rect, *, counted: bool) -> None:
        """One rectangle more."""
        capacity = rect.area * 5 + 64
        payload = ffi.new("uint8_t[]", capacity)
        shape = (rect.x, rect.y, rect.width, rect.height)
        best_ns = size = 0
        lib.tw_ns_codec_keep(self._codec)
        for _ in range(REPEATS):
            lib.tw_ns_codec_roll_back(self._codec)
            started = time.perf_counter_ns()
            size = lib.tw_ns_codec_encode(self._codec, surface.handle, shape, self.variant, payload, capacity)
            took_ns = time.perf_counter_ns() - started
            best_ns = min(best_ns or took_ns, took_ns)
        if not size:
            raise StageError(f"{rect} was not encoded within {capacity} bytes")
        head = (rect.width, rect.height, int(self.rectangles == 0), size)
        self._made += _words(*head) + ffi.buffer(payload, size)[:]
        stored = np.frombuffer(surface.pixels, "<u2" if self.pixel_format is PixelFormat.RGB565 else "<u4")
        values = stored.reshape(surface.height, surface.width)[rect.y : rect.bottom, rect.x : rect.right]
        self.crc = zlib.crc32(values.astype("<u4").tobytes(), self.crc)
        self.rectangles += 1
        if not counted:
            self.taught += 1
            return
        self.pixels += rect.area
        self.bytes += size
        self.encode_ns += best_ns

    def file(self, path: Path) -> Path:
        """The payloads as bench/codec_count.c reads them."""
        # tw_codec_format counts the formats from 0, the wire from 1.
        path.write_bytes(_words(self.model_kib, self.pixel_format - 1, self.rectangles) + self._made)
        return path


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


# Counting.


@dataclass(frozen=True, slots=True)
class Counters:
    """The decoder, built for those who count."""

    native: Path
    thumb_o2: Path
    thumb_os: Path
    code_bytes: int
    table_bytes: int

    @classmethod
    def build(cls, folder: Path) -> Counters:
        """Compile everything. Raises StageError."""
        programs = build(Path(__file__).with_name("codec_count.c"), DECODER, folder)
        return cls(*programs, *sizes(DECODER, folder))

    def check(self, coder: Coder, file: Path) -> None:
        """Does the decoder give back what was encoded? Raises StageError."""
        said = run([self.native, file, str(coder.rectangles), "sum"], "decoding").split()
        if said[1] != f"{coder.crc:08x}":
            raise StageError(f"{file.name}: the decoder gives other pixels than those that were encoded")

    def x86(self, coder: Coder, file: Path) -> float:
        """Instructions per pixel on x86-64. Raises StageError."""
        taught, all_of_them = (instructions([self.native, file, str(n)]) for n in (coder.taught, coder.rectangles))
        return (all_of_them - taught) / coder.pixels

    def thumb(self, coder: Coder, file: Path, program: Path) -> float:
        """Instructions per pixel in Thumb-2. Raises StageError."""
        spent, pixels = thumb_instructions(program, file, coder.taught, coder.rectangles)
        if pixels != coder.pixels:
            raise StageError("QEMU did not decode what it was given")
        return spent / coder.pixels


# Rows.


def rows_of(name: str, coders: Sequence[Coder], counters: Counters, folder: Path) -> list[Row]:
    """Count what some coders have made. Raises StageError."""
    rows = []
    for coder in coders:
        started = time.monotonic()
        file = coder.file(folder / "payloads")
        counters.check(coder, file)
        row: Row = dict.fromkeys(KEYS)
        row.update(
            scene=name,
            variant=coder.variant.name.lower(),
            pixel_format=coder.pixel_format.name,
            model_kib=coder.model_kib,
            rectangles=coder.rectangles - coder.taught,
            pixels=coder.pixels,
            bytes=coder.bytes,
            encode_mpixel_per_s=coder.pixels / coder.encode_ns * 1e3,
            decode_instructions_per_pixel=counters.x86(coder, file),
            decode_thumb2_per_pixel=counters.thumb(coder, file, counters.thumb_o2),
            decode_thumb2_os_per_pixel=counters.thumb(coder, file, counters.thumb_os),
            model_bytes=coder.model_kib * 1024,
            code_bytes=counters.code_bytes,
            table_bytes=counters.table_bytes,
        )
        rows.append(row)
        say(
            f"{name}: {row['pixel_format']} {row['variant']}: {coder.bytes:,} bytes, {coder.pixels / 1e6:.2f} Mpixel, "
            f"encoded at {row['encode_mpixel_per_s']:.1f} Mpixel/s, decoded in "
            f"{row['decode_instructions_per_pixel']:.1f} instructions per pixel (Thumb-2: "
            f"{row['decode_thumb2_per_pixel']:.1f}; -Os: {row['decode_thumb2_os_per_pixel']:.1f}) "
            f"({time.monotonic() - started:.1f} s)"
        )
    return rows


def take_motion(recording: Recording, model_kib: int, counters: Counters, folder: Path) -> list[Row]:
    """The rows of a scene's motion. Raises StageError."""
    rows = []
    for pixel_format in FORMATS:
        coders = [Coder(variant, pixel_format, model_kib, recording.scene.size[0]) for variant in Variant]
        for number, surface, rects in replayed(recording, pixel_format, model_kib):
            for rect in rects:
                for coder in coders:
                    coder.encode(surface, rect, counted=number >= recording.first)
        if not coders[0].pixels:
            raise StageError(f"{recording.scene.name}: the motion has nothing for the codec")
        rows += rows_of(recording.scene.name, coders, counters, folder)
    return rows


def take_still(recording: Recording, model_kib: int, counters: Counters, folder: Path) -> list[Row]:
    """The rows of a scene's first picture. Raises StageError."""
    name = f"{recording.scene.name}:still"
    rows = []
    for pixel_format in FORMATS:
        coders = [Coder(variant, pixel_format, model_kib, recording.scene.size[0]) for variant in Variant]
        _, surface, _ = next(replayed(recording, pixel_format, model_kib))
        for coder in coders:
            coder.encode(surface, surface.rect, counted=True)
        rows += rows_of(name, coders, counters, folder)
    pixels = recording.frames.rgb(0)
    others = {
        "png": len(peers.png(pixels)),
        "webp": len(peers.webp_lossless(pixels, folder)),
        "qoi": len(qoi(recording.frames, folder)),
    }
    say(f"{name}: " + ", ".join(f"{key} {size:,} bytes" for key, size in others.items()))
    for row in rows:
        if row["pixel_format"] == PixelFormat.XRGB8888.name:
            row.update(others)
    return rows


def qoi(frames: Frames, folder: Path) -> bytes:
    """The first frame in the Quite OK Image format. Raises StageError."""
    width, height = frames.size
    out = folder / "still.qoi"
    source = ["-f", "rawvideo", "-pix_fmt", "bgr0", "-video_size", f"{width}x{height}", "-i", str(frames.path)]
    run_ffmpeg([*FFMPEG, *source, "-frames:v", "1", "-pix_fmt", "rgb24", "-c:v", "qoi", "-f", "image2", str(out)])
    return out.read_bytes()


def take_scene(scene: Scene, model_kib: int, counters: Counters, folder: Path, *, still: bool) -> list[Row]:
    """All rows of a scene. Raises StageError."""
    started = time.monotonic()
    recording = record(scene, folder, still=still)
    say(f"{scene.name}: {len(recording.frames)} pictures ({time.monotonic() - started:.1f} s)")
    rows = [] if still else take_motion(recording, model_kib, counters, folder)
    return rows + take_still(recording, model_kib, counters, folder)


def target(row: Row) -> tuple[float, float] | None:
    """Most instructions and least Mpixel/s; None for photographs: the targets speak of interfaces."""
    photograph = str(row["scene"]).partition(":")[0] in STILLS
    return None if photograph else TARGETS[str(row["variant"])]


def verdicts(rows: Sequence[Row]) -> list[str]:
    """How the rows stand to the targets, a line each."""
    lines = []
    for row in rows:
        name = f"{row['scene']} {row['pixel_format']} {row['variant']}"
        targets = target(row)
        if targets is None:
            continue
        most, least = targets
        instructions = float(str(row["decode_instructions_per_pixel"]))
        speed = float(str(row["encode_mpixel_per_s"]))
        parts = [
            f"{instructions:.1f} of {most:g} instructions" + ("" if instructions <= most else " (MISSED)"),
            f"{speed:.1f} of {least:g} Mpixel/s" + ("" if speed >= least else " (MISSED)"),
        ]
        if row["webp"] is not None and row["variant"] == "rest":
            ratio = int(str(row["bytes"])) / int(str(row["webp"]))
            parts.append(
                f"{ratio:.3f} of WebP, target {STILL_TARGET:g}" + ("" if ratio <= STILL_TARGET else " (MISSED)")
            )
        lines.append(f"{name}: {'; '.join(parts)}")
    return lines


def finish(rows: Sequence[Row]) -> None:
    """Write everything that is known so far."""
    write("codec", rows)
    shown = [{key: row[key] for key in KEYS[:-3]} for row in rows]
    first = rows[0]
    sizes = (
        f"Model {first['model_bytes']} bytes; on a Cortex-M4, gcc -Os: code {first['code_bytes']} bytes, "
        f"tables {first['table_bytes']} bytes."
    )
    (OUT / "codec.md").write_text(f"# The tile codec by itself\n\n{sizes}\n\n{table(shown)}\n")
    codec_chart.draw(rows, OUT / "codec.png", [target(row) for row in rows], sizes)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench codec", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{' and '.join(QUICK_SCENES)} only")
    parser.add_argument("--scene", action="append", metavar="NAME|FILE", help="this scene; may be repeated")
    parser.add_argument("--model", type=int, choices=(16, 32, 48), default=48, help="KiB of the model (48)")
    return parser.parse_args(argv)


def _stop(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str]) -> int:
    """Entry point."""
    arguments = _arguments(argv)
    names = arguments.scene or (QUICK_SCENES if arguments.quick else (*SCENES, *STILLS))
    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    rows: list[Row] = []
    failed = 0
    OUT.mkdir(exist_ok=True)
    try:
        scenes = [read_scene(Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml") for name in names]
        with tempfile.TemporaryDirectory(prefix="tilewire-codec-", ignore_cleanup_errors=True) as folder:
            counters = Counters.build(Path(folder))
            for scene in scenes:
                say(f"{scene.name}: {scene.about}")
                place = Path(folder) / scene.name
                try:
                    rows += take_scene(scene, arguments.model, counters, place, still=scene.name in STILLS)
                except StageError as error:
                    say(f"{scene.name} failed: {error}")
                    failed += 1
                shutil.rmtree(place, ignore_errors=True)
                if rows:
                    finish(rows)
    except (SceneError, StageError) as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("stopped")
        return 130
    if rows:
        print(f"\n{table([{key: row[key] for key in KEYS[:-3]} for row in rows])}\n")
        print("\n".join(verdicts(rows)))
        say(f"{OUT / 'codec.json'}, codec.md and codec.png beside it; {time.monotonic() - started:.0f} s in all")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
