"""Pictures of a scene one after the other: in files of raw XRGB8888 or RGB565 pixels, since no memory holds them all.

SSIM is that of ffmpeg's filter, over red, green and blue planes (what a panel shows; no system is asked to be good in
a colour space that only it uses), as the mean over the frames.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from tilewire.protocol import PixelFormat

from bench.stage import StageError

FFMPEG: Final = ("ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "info", "-nostats", "-y")
FFMPEG_S: Final = 300.0

Pixels = npt.NDArray[np.uint8]
"""Height x width x 3: red, green, blue."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames in a file, all alike."""

    path: Path
    size: tuple[int, int]
    pixel_format: PixelFormat = PixelFormat.XRGB8888

    @property
    def frame_bytes(self) -> int:
        """Of one frame."""
        return self.size[0] * self.size[1] * self.pixel_format.stored

    def __len__(self) -> int:
        return self.path.stat().st_size // self.frame_bytes

    def raw(self, number: int) -> bytes:
        """The stored pixels of one frame."""
        with self.path.open("rb") as file:
            file.seek(number * self.frame_bytes)
            return file.read(self.frame_bytes)

    def rgb(self, number: int) -> Pixels:
        """One frame as red, green, blue."""
        return to_rgb(self.raw(number), self.size, self.pixel_format)


def to_rgb(pixels: bytes, size: tuple[int, int], pixel_format: PixelFormat) -> Pixels:
    """Stored pixels as red, green, blue; 5 and 6 bits are widened so that white is white."""
    width, height = size
    if pixel_format is PixelFormat.XRGB8888:
        stored = np.frombuffer(pixels, np.uint8).reshape(height, width, 4)
        return np.ascontiguousarray(stored[:, :, 2::-1])
    values = np.frombuffer(pixels, "<u2").reshape(height, width)
    red, green, blue = values >> 11, values >> 5 & 63, values & 31
    planes = red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2
    return np.stack(planes, axis=2).astype(np.uint8)


def to_rgb565(pixels: bytes) -> bytes:
    """XRGB8888 as RGB565 by truncation: the conversion of SPEC.md, written down a second time."""
    stored = np.frombuffer(pixels, np.uint8).reshape(-1, 4).astype(np.uint16)
    values = stored[:, 2] >> 3 << 11 | stored[:, 1] >> 2 << 5 | stored[:, 0] >> 3
    return values.astype("<u2").tobytes()


def ssim(sources: Frames, shown: Sequence[str]) -> float:
    """Mean SSIM over all frames but the first. `shown`: ffmpeg's words for the other input. Raises StageError."""
    width, height = sources.size
    stored = "bgr0" if sources.pixel_format is PixelFormat.XRGB8888 else "rgb565le"
    source = ["-f", "rawvideo", "-pix_fmt", stored, "-video_size", f"{width}x{height}", "-i", str(sources.path)]
    chain = "format=gbrp,settb=1/1000,setpts=N,trim=start_pts=1"
    graph = f"[0:v]{chain}[a];[1:v]{chain}[b];[a][b]ssim"
    said = run_ffmpeg([*FFMPEG, *shown, *source, "-lavfi", graph, "-f", "null", "-"])
    value = parse_ssim(said)
    if value is None:
        raise StageError(f"ffmpeg names no SSIM: {said[-300:]}")
    return value


def select(frames: Frames, numbers: Sequence[int], path: Path) -> Frames:
    """Some frames as a file of their own."""
    with path.open("wb") as out:
        for number in numbers:
            out.write(frames.raw(number))
    return Frames(path, frames.size, frames.pixel_format)


def parse_ssim(text: str) -> float | None:
    """The value over all planes in what ffmpeg says."""
    found = re.search(r"SSIM .*All:([0-9.]+)", text)
    return float(found[1]) if found else None


def run_ffmpeg(words: Sequence[str]) -> str:
    """Run ffmpeg; what it says. Raises StageError."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=FFMPEG_S,
            check=False,
        )
    except FileNotFoundError:
        raise StageError("ffmpeg is not installed: tools/setup.sh bench") from None
    except subprocess.TimeoutExpired:
        raise StageError(f"ffmpeg took more than {FFMPEG_S:g} s") from None
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        raise StageError(f"ffmpeg failed: {said.strip()[-300:]}")
    return said


def changed_box(before: Pixels, after: Pixels) -> tuple[int, int, int, int] | None:
    """The smallest rectangle that holds every change: left, top, right, bottom; None where nothing changed."""
    differs = (before != after).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
