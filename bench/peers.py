"""What others send for the same frames: video codecs, whole JPEGs, JPEG tiles; and PNG and WebP for stills.

Each gets the picture that stood before the motion and then the source frames of our own session, one for each update
that it made, and is charged for the latter only. Nothing is charged for frames in which nothing changed, although
some of these systems would send them.

x264-crf23     ffmpeg, veryfast, zerolatency, yuv420p; the bytes of its access units.
jpeg75-base64  every frame whole as a JPEG of quality 75 in base64, in a Socket.IO event with the fields that Jiomosa's
               renderer sends, as a WebSocket message; at the size of the screen.
mjpeg          every frame from ffmpeg's mjpeg encoder at -q:v 5 and 4:4:4, in base64 in a JSON object in a WebSocket
               message, as Woperator's code has it.
jpeg-tiles     changed tiles of 32 pixels, joined to rectangles, as JPEGs of quality 85 and 4:2:0 behind binary headers;
               where more than half of the screen changed, the whole of it in four parts: RemoteWebView's defaults.
"""

from __future__ import annotations

import base64
import io
import json
import re
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.frames import FFMPEG, FFMPEG_S, Frames, Pixels, run_ffmpeg, ssim
from bench.sessions import FPS
from bench.stage import StageError

JPEG_QUALITY: Final = 75
TILE: Final = 32
TILE_QUALITY: Final = 85
TILE_WHOLE_SHARE: Final = 0.5
TILE_WHOLE_PARTS: Final = 2
"""Rows and columns of the parts of a whole frame: four."""
TILE_HEADER, TILE_RECT_HEADER = 14, 12
WEBP_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """What a frame-based system sent."""

    system: str
    still_bytes: int
    bytes: int
    updates: int
    ssim: float
    lossless: bool
    cpu_s: float


def websocket(payload: int) -> int:
    """Bytes of a WebSocket message from a server."""
    return payload + (2 if payload < 126 else 4 if payload < 65536 else 10)


def encode_all(frames: Frames, folder: Path, say: Callable[[str], None]) -> list[Encoded]:
    """All video-like systems on the same frames; the first is the picture before the motion. Raises StageError."""
    results = []
    for encode in (x264, jpeg_base64, mjpeg, jpeg_tiles):
        started = time.monotonic()
        results.append(encode(frames, folder))
        last = results[-1]
        say(f"{last.system}: {last.bytes:,} bytes, SSIM {last.ssim:.4f} ({time.monotonic() - started:.1f} s)")
    return results


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _ffmpeg_encode(frames: Frames, words: Sequence[str], out: Path) -> tuple[list[int], float]:
    """The sizes of the encoded frames, and the processor time."""
    width, height = frames.size
    source = ["-f", "rawvideo", "-pix_fmt", "bgr0", "-video_size", f"{width}x{height}", "-framerate", str(FPS)]
    before_s = _children_s()
    run_ffmpeg([*FFMPEG, *source, "-i", str(frames.path), *words, str(out)])
    return packet_sizes(out), _children_s() - before_s


def packet_sizes(path: Path) -> list[int]:
    """Bytes of each frame in a file of raw H.264 or JPEGs. Raises StageError."""
    words = ["ffprobe", "-v", "error", "-show_entries", "packet=size", "-of", "csv=p=0", str(path)]
    said = subprocess.run(words, capture_output=True, text=True, timeout=FFMPEG_S, check=False)
    sizes = [int(size) for size in re.findall(r"^(\d+)", said.stdout, re.MULTILINE)]
    if said.returncode or not sizes:
        raise StageError(f"ffprobe failed: {said.stderr.strip()[-200:]}")
    return sizes


def x264(frames: Frames, folder: Path) -> Encoded:
    """Lossy video, as streaming services set it up for low delay."""
    out = folder / "x264.h264"
    words = ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-crf", "23", "-pix_fmt", "yuv420p"]
    sizes, cpu_s = _ffmpeg_encode(frames, [*words, "-f", "h264"], out)
    return _encoded("x264-crf23", sizes, frames, ["-f", "h264", "-i", str(out)], cpu_s)


def mjpeg(frames: Frames, folder: Path) -> Encoded:
    """Every frame a JPEG by ffmpeg."""
    out = folder / "frames.mjpeg"
    words = ["-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj444p", "-f", "mjpeg"]
    sizes, cpu_s = _ffmpeg_encode(frames, words, out)
    overhead = len(json.dumps({"type": "video", "data": ""}))
    sizes = [websocket(overhead + (size + 2) // 3 * 4) for size in sizes]
    return _encoded("mjpeg", sizes, frames, ["-f", "mjpeg", "-i", str(out)], cpu_s)


def _encoded(system: str, sizes: Sequence[int], frames: Frames, shown: Sequence[str], cpu_s: float) -> Encoded:
    if len(sizes) != len(frames):
        raise StageError(f"{system}: {len(frames)} frames went in, {len(sizes)} came out")
    value = ssim(frames, shown)
    return Encoded(
        system=system,
        still_bytes=sizes[0],
        bytes=sum(sizes[1:]),
        updates=len(sizes) - 1,
        ssim=value,
        lossless=False,
        cpu_s=cpu_s,
    )


def jpeg(pixels: Pixels, quality: int) -> bytes:
    """A JPEG with 4:2:0."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return out.getvalue()


def pixels_of(data: bytes) -> Pixels:
    """What a picture file shows."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def jpeg_base64(frames: Frames, folder: Path) -> Encoded:
    """Every frame whole, as text."""
    sizes = []
    cpu_s = 0.0
    shown = folder / "jpeg75.raw"
    with shown.open("wb") as out:
        for number in range(len(frames)):
            pixels = frames.rgb(number)
            started = time.process_time()
            data = jpeg(pixels, JPEG_QUALITY)
            text = base64.b64encode(data).decode()
            event = [
                "frame",
                {
                    "session_id": "00000000-0000-0000-0000-000000000000",
                    "image": f"data:image/jpeg;base64,{text}",
                    "timestamp": 1700000000.123456,
                    "stats": {
                        "size": len(text),
                        "quality": JPEG_QUALITY,
                        "fps": FPS,
                        "bandwidthMbps": 12.34,
                        "adaptive": True,
                    },
                },
            ]
            sizes.append(websocket(len("42" + json.dumps(event, separators=(",", ":")))))
            cpu_s += time.process_time() - started
            out.write(pixels_of(data).tobytes())
    return _encoded("jpeg75-base64", sizes, frames, _raw(shown, frames), cpu_s)


def _raw(path: Path, frames: Frames) -> list[str]:
    width, height = frames.size
    return ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-i", str(path)]


def jpeg_tiles(frames: Frames, folder: Path) -> Encoded:
    """Rectangles of changed tiles."""
    sizes = []
    cpu_s = 0.0
    path = folder / "tiles.raw"
    before: Pixels | None = None
    with path.open("wb") as out:
        shown: Pixels = np.zeros((frames.size[1], frames.size[0], 3), np.uint8)
        for number in range(len(frames)):
            pixels = frames.rgb(number)
            started = time.process_time()
            size = TILE_HEADER
            for x, y, width, height in changed_tiles(before, pixels):
                data = jpeg(pixels[y : y + height, x : x + width], TILE_QUALITY)
                size += TILE_RECT_HEADER + len(data)
                shown[y : y + height, x : x + width] = pixels_of(data)
            cpu_s += time.process_time() - started
            sizes.append(websocket(size))
            out.write(shown.tobytes())
            before = pixels
    return _encoded("jpeg-tiles", sizes, frames, _raw(path, frames), cpu_s)


Box = tuple[int, int, int, int]
"""x, y, width, height."""


def changed_tiles(before: Pixels | None, after: Pixels) -> list[Box]:
    """Rectangles of changed tiles: grown to the right, then downwards; the whole in parts where most of it changed."""
    height, width = after.shape[:2]
    parts = _parts(width, height)
    if before is None:
        return parts
    changed = tile_changes(before, after)
    if changed.mean() > TILE_WHOLE_SHARE:
        return parts
    widest, highest = parts[0][2] // TILE, parts[0][3] // TILE
    boxes = []
    left = changed.copy()
    for row, column in zip(*np.nonzero(changed)):
        if not left[row, column]:
            continue
        columns = 1
        while columns < widest and column + columns < left.shape[1] and left[row, column + columns]:
            columns += 1
        rows = 1
        while rows < highest and row + rows < left.shape[0] and left[row + rows, column : column + columns].all():
            rows += 1
        left[row : row + rows, column : column + columns] = False
        x, y = int(column) * TILE, int(row) * TILE
        boxes.append((x, y, min(columns * TILE, width - x), min(rows * TILE, height - y)))
    return boxes


def tile_changes(before: Pixels, after: Pixels) -> npt.NDArray[np.bool_]:
    """Which tiles have changed: rows x columns."""
    differs = (before != after).any(axis=2)
    height, width = differs.shape
    padded = np.zeros((-(-height // TILE) * TILE, -(-width // TILE) * TILE), np.bool_)
    padded[:height, :width] = differs
    rows, columns = padded.shape[0] // TILE, padded.shape[1] // TILE
    tiles: npt.NDArray[np.bool_] = np.any(padded.reshape(rows, TILE, columns, TILE), axis=(1, 3))
    return tiles


def _parts(width: int, height: int) -> list[Box]:
    ys = [height * i // TILE_WHOLE_PARTS for i in range(TILE_WHOLE_PARTS + 1)]
    xs = [width * i // TILE_WHOLE_PARTS for i in range(TILE_WHOLE_PARTS + 1)]
    return [(x, y, xs[i + 1] - x, ys[j + 1] - y) for j, y in enumerate(ys[:-1]) for i, x in enumerate(xs[:-1])]


# Stills.


def png(pixels: Pixels) -> bytes:
    """At best effort."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True, compress_level=9)
    return out.getvalue()


def webp_lossless(pixels: Pixels, folder: Path) -> bytes:
    """At best effort: cwebp -lossless -z 9. Raises StageError."""
    source, out = folder / "still.ppm", folder / "still.webp"
    Image.fromarray(pixels).save(source)
    words = ["cwebp", "-quiet", "-lossless", "-z", "9", "-mt", str(source), "-o", str(out)]
    try:
        done = subprocess.run(words, capture_output=True, timeout=WEBP_S, check=False)
    except FileNotFoundError:
        raise StageError("cwebp is not installed: tools/setup.sh bench") from None
    except subprocess.TimeoutExpired:
        raise StageError(f"cwebp took more than {WEBP_S:g} s") from None
    if done.returncode:
        raise StageError(f"cwebp failed: {done.stderr.decode(errors='replace')[-200:]}")
    return out.read_bytes()
