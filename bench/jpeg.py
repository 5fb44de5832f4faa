"""The JPEG decoder by itself: instructions per pixel and accuracy, on photographs.

    python -m bench jpeg [--quick] [--picture FILE]... [--write FOLDER]

Each picture is scaled and cropped to 1024x600 (half of that each way where a pixel of it is to be four of the
panel's) and encoded by libjpeg-turbo; the segment goes in one message through the whole C client into a framebuffer.
What the client does with that message is counted, per pixel of the panel.

Rows (bench/out/jpeg.json): `scale` 1 or 2. `bytes` of the segment. `instructions_per_pixel`: x86-64, gcc -O2, counted
by callgrind. `thumb2_per_pixel` and `thumb2_os_per_pixel`: Cortex-A9 in Thumb-2, gcc -O2 and -Os, counted by the clock
of QEMU's vexpress-a9, where an instruction takes 1 ns. `most_apart` and `mean_apart`: levels of 255 between the picture
and libjpeg-turbo's (accurate integer transform, chroma not interpolated), XRGB8888 only. `code_bytes` and `table_bytes`
are the decoder's on a Cortex-M4, gcc -Os; `memory_bytes` what it takes of RAM.

The table (jpeg.md, jpeg.png) has the means over all pictures, of `instructions_per_pixel` and `most_apart` also the
largest. The pictures are those of Debian's gnome-backgrounds that are photographs or look like them. --write keeps the
JPEG files, NAME-SAMPLING-QUALITY.jpg, for other decoders to be counted on.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from tilewire.protocol import AuthMethod, Connection, PixelFormat, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.server.jpeg import entropy_coded
from tilewire.simulator._client import lib
from tilewire.simulator.client import Client, ClientConfig, Jpeg

from bench import jpeg_chart
from bench.counting import CORE, build, instructions, run, sizes, thumb_instructions
from bench.report import OUT, table, write
from bench.stage import StageError

FOLDER: Final = Path("/usr/share/backgrounds/gnome")
PICTURES: Final = tuple(FOLDER / name for name in ("wood-l.webp", "grid-d.webp", "licorice-l.webp"))
SIZE: Final = (1024, 600)
AREA: Final = SIZE[0] * SIZE[1]
QUALITIES: Final = (40, 75, 90)
DOUBLED_QUALITY: Final = 75
SAMPLINGS: Final = ("4:4:4", "4:2:2", "4:2:0", "grey")
FORMATS: Final = (PixelFormat.RGB565, PixelFormat.XRGB8888)
TOLERANCE: Final = 4
"""Levels, as SPEC.md allows them."""

CLIENT: Final = tuple(sorted((CORE / "src").glob("*.c")))
DECODER: Final = tuple(CORE / "src" / f"tw_jpeg{part}.c" for part in ("", "_draw", "_tables"))

TARGETS: Final = {"4:2:0": 48.0, "4:4:4": 63.0}
"""Instructions per pixel, x86-64, RGB565, quality 75: what was aimed at, JPEGDEC's on some photograph of this size.
docs/benchmarks.md has JPEGDEC's on the pictures that are counted here."""

Row = dict[str, object]


def say(text: str) -> None:
    """One line of progress."""
    print(f"jpeg: {text}", flush=True)


# Messages.


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, encoded."""

    name: str
    quality: int
    sampling: int
    scale: int
    file: bytes

    @classmethod
    def encode(cls, path: Path, quality: int, sampling: int, scale: int = 1) -> Picture:
        """Raises StageError."""
        try:
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise StageError(f"{path}: {error}") from None
        width, height = (side // scale for side in SIZE)
        zoom = max(width / picture.width, height / picture.height)
        larger = picture.resize((round(picture.width * zoom), round(picture.height * zoom)), Image.Resampling.LANCZOS)
        left, top = (larger.width - width) // 2, (larger.height - height) // 2
        cut = larger.crop((left, top, left + width, top + height))
        out = io.BytesIO()
        if SAMPLINGS[sampling] == "grey":
            cut.convert("L").save(out, "JPEG", quality=quality)
        else:
            cut.save(out, "JPEG", quality=quality, subsampling=sampling)
        return cls(path.stem, quality, sampling, scale, out.getvalue())

    def pieces(self) -> tuple[bytes, bytes]:
        """What comes before the picture, and the picture."""
        device = Client(ClientConfig(width=SIZE[0], height=SIZE[1], max_message=1 << 20, jpeg=Jpeg.CORE))
        server = Connection(Sender.SERVER)
        server.receive_data(device.output())
        server.next_event()
        reply = m.Reply(version=1, method=AuthMethod.NONE, nonce=bytes(16))
        welcome = m.Welcome(
            session="count",
            size=m.Size(width=SIZE[0], height=SIZE[1]),
            role=2,
            viewer=1,
            settings=m.Settings(fps=30, quality=75, adaptive=1),
            capabilities=0,
        )
        before = b"".join(server.send(event) for event in (reply, welcome, m.Begin(update=1, input=0)))
        kind = self.sampling | (16 if self.scale == 2 else 0)
        payload = entropy_coded(self.file)
        tile = m.Jpeg(rect=Rect(0, 0, *SIZE), quality=self.quality, sampling=kind, payload=payload)
        return before, tile.encode()

    def write(self, path: Path, pixel_format: PixelFormat) -> Path:
        """The file that bench/jpeg_count.c reads."""
        pieces = self.pieces()
        words = [*SIZE, int(pixel_format), len(pieces)]
        head = b"".join(word.to_bytes(4, "little") for word in words)
        path.write_bytes(head + b"".join(len(piece).to_bytes(4, "little") + piece for piece in pieces))
        return path

    def expected(self) -> Any:
        """What libjpeg-turbo makes of it: rows of red, green and blue, as large as the panel."""
        rgb = simplejpeg.decode_jpeg(self.file, "RGB", fastdct=False, fastupsample=True)
        return rgb.repeat(self.scale, 0).repeat(self.scale, 1).astype(int)


def pictures(path: Path, sampling: int, qualities: Sequence[int]) -> Iterator[Picture]:
    """All that is made of one. Raises StageError."""
    for quality in qualities:
        yield Picture.encode(path, quality, sampling)
    yield Picture.encode(path, DOUBLED_QUALITY, sampling, 2)


# Counting.


@dataclass(frozen=True, slots=True)
class Counters:
    """The client, built for those who count."""

    native: Path
    thumb_o2: Path
    thumb_os: Path
    code_bytes: int
    table_bytes: int

    @classmethod
    def build(cls, folder: Path) -> Counters:
        """Compile everything. Raises StageError."""
        programs = build(Path(__file__).with_name("jpeg_count.c"), CLIENT, folder)
        return cls(*programs, *sizes(DECODER, folder))

    def apart(self, picture: Picture, file: Path) -> tuple[int, float]:
        """Levels between what the client shows on XRGB8888 and what libjpeg-turbo does: most, and on average.

        Raises StageError, also where they are too many.
        """
        shown = file.with_suffix(".raw")
        run([self.native, file, "2", shown], "decoding")
        seen = np.frombuffer(shown.read_bytes(), np.uint8).reshape(SIZE[1], SIZE[0], 4)[:, :, 2::-1]
        levels = np.abs(seen - picture.expected())
        if levels.max() > TOLERANCE:
            raise StageError(f"{picture.name}: {levels.max()} levels apart from libjpeg-turbo")
        return int(levels.max()), float(levels.mean())

    def count(self, picture: Picture, pixel_format: PixelFormat, folder: Path) -> Row:
        """One row. Raises StageError."""
        file = picture.write(folder / "pieces", pixel_format)
        before, whole = (instructions([self.native, file, str(count)]) for count in (1, 2))
        thumb = [thumb_instructions(program, file, 1, 2)[0] / AREA for program in (self.thumb_o2, self.thumb_os)]
        apart = self.apart(picture, file) if pixel_format is PixelFormat.XRGB8888 else (None, None)
        return {
            "picture": picture.name,
            "sampling": SAMPLINGS[picture.sampling],
            "scale": picture.scale,
            "quality": picture.quality,
            "pixel_format": pixel_format.name,
            "bytes": len(entropy_coded(picture.file)),
            "instructions_per_pixel": (whole - before) / AREA,
            "thumb2_per_pixel": thumb[0],
            "thumb2_os_per_pixel": thumb[1],
            "most_apart": apart[0],
            "mean_apart": apart[1],
            "code_bytes": self.code_bytes,
            "table_bytes": self.table_bytes,
            "memory_bytes": int(lib.tilewire_jpeg_memory_size()),
        }


# The table.


def _numbers(rows: Sequence[Row], key: str) -> list[float]:
    return [float(str(row[key])) for row in rows if row[key] is not None]


def _mean(rows: Sequence[Row], key: str) -> float | None:
    values = _numbers(rows, key)
    return sum(values) / len(values) if values else None


def summary(rows: Sequence[Row]) -> list[Row]:
    """A row for all pictures of one kind, by sampling, scale, quality, pixel format."""
    kinds: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row["sampling"], row["scale"], row["quality"], row["pixel_format"]), []).append(row)
    lines = []
    for (sampling, scale, quality, pixel_format), group in sorted(
        kinds.items(), key=lambda kind: (kind[0][1], SAMPLINGS.index(str(kind[0][0])))
    ):
        lines.append(
            {
                "sampling": sampling,
                "scale": scale,
                "quality": quality,
                "pixel_format": pixel_format,
                "bytes": round(_mean(group, "bytes") or 0),
                "x86-64": _mean(group, "instructions_per_pixel"),
                "most": max(_numbers(group, "instructions_per_pixel")),
                "Thumb-2": _mean(group, "thumb2_per_pixel"),
                "Thumb-2 -Os": _mean(group, "thumb2_os_per_pixel"),
                "most apart": int(max(_numbers(group, "most_apart"))) if _numbers(group, "most_apart") else None,
                "mean apart": _mean(group, "mean_apart"),
            }
        )
    return lines


def target(row: Row) -> float | None:
    """Most instructions per pixel, where something was aimed at."""
    aimed = row["pixel_format"] == PixelFormat.RGB565.name and (row["quality"], row["scale"]) == (75, 1)
    return TARGETS.get(str(row["sampling"])) if aimed else None


def verdicts(lines: Sequence[Row]) -> list[str]:
    """How the table stands to the targets, a line for each."""
    said = []
    for line in lines:
        most = target(line)
        if most is not None:
            mean, worst = float(str(line["x86-64"])), float(str(line["most"]))
            missed = "" if mean <= most else " (MISSED)"
            said.append(f"{line['sampling']}: {mean:.1f} of {most:g} instructions{missed}, at most {worst:.1f}")
    return said


def finish(rows: Sequence[Row]) -> list[Row]:
    """Write everything that is known so far; returns the table."""
    write("jpeg", rows)
    first = rows[0]
    sums = (
        f"On a Cortex-M4, gcc -Os: code {first['code_bytes']} bytes, tables {first['table_bytes']} bytes; "
        f"memory {first['memory_bytes']} bytes."
    )
    lines = summary(rows)
    (OUT / "jpeg.md").write_text(f"# The JPEG decoder by itself\n\n{sums}\n\n{table(lines)}\n")
    jpeg_chart.draw(lines, OUT / "jpeg.png", [target(line) for line in lines], sums)
    return lines


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench jpeg", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="quality 75 and RGB565 only")
    parser.add_argument("--picture", action="append", type=Path, metavar="FILE", help="this one; may be repeated")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="keep the JPEG files there")
    return parser.parse_args(argv)


def _stop(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str]) -> int:
    """Entry point."""
    arguments = _arguments(argv)
    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    rows: list[Row] = []
    lines: list[Row] = []
    qualities = (75,) if arguments.quick else QUALITIES
    formats = FORMATS[:1] if arguments.quick else FORMATS
    if arguments.write:
        arguments.write.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="tilewire-jpeg-") as folder:
            counters = Counters.build(Path(folder))
            for path in arguments.picture or PICTURES:
                for sampling, name in enumerate(SAMPLINGS):
                    for picture in pictures(path, sampling, qualities):
                        if arguments.write and picture.scale == 1:
                            kept = f"{path.stem}-{name.replace(':', '')}-{picture.quality}.jpg"
                            (arguments.write / kept).write_bytes(picture.file)
                        rows += [counters.count(picture, pixel_format, Path(folder)) for pixel_format in formats]
                    say(f"{path.stem} {name} ({time.monotonic() - started:.1f} s)")
                lines = finish(rows)
    except StageError as error:
        print(f"jpeg: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("stopped")
        return 130
    print(f"\n{table(lines)}\n")
    print("\n".join(verdicts(lines)))
    say(f"{OUT / 'jpeg.json'}, jpeg.md and jpeg.png beside it; {time.monotonic() - started:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
