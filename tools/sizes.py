"""How large the C client is on a microcontroller: `make sizes`. Prints a table, writes build/sizes.json.

Compiled with -Os for a Cortex-M4. Code and constants are sums over the object files, before a linker leaves out what
nobody calls; bss is the memory that a firmware gives in static arrays, besides framebuffer, receive buffer and cache.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CLIENT: Final = ROOT / "clients/threadx"
OUTPUT: Final = ROOT / "build/sizes.json"
CPU: Final = "cortex-m4"
PREFIX: Final = "arm-none-eabi-"
FLAGS: Final = ("-std=c99", "-Os", f"-mcpu={CPU}", "-mthumb", "-ffreestanding", "-ffunction-sections")
LEAST: Final = (
    "XRGB8888",
    "8BIT",
    "COPY",
    "HMAC",
    "CLIPBOARD",
    "TEXTS",
    "STATISTICS",
    "CODEC",
    "JPEG",
    "JPEG_HOOK",
    "CURSOR",
)


@dataclass(frozen=True, slots=True)
class Config:
    """One way to compile the client: which sources, which switches, which memory beside it."""

    name: str
    sources: str = "*.c"
    without: tuple[str, ...] = ()
    """Switches of tw_config.h that are 0."""
    memory: str = ""
    """C expression: bytes of the static array that goes with it."""


CONFIGS: Final = (
    Config(
        "codec alone, 48 KiB model, 1024 columns",
        "tw_codec*.c",
        memory="48 * 1024 + TW_CODEC_ROWS_SIZE(1024) + sizeof(tw_codec)",
    ),
    Config("all, 48 KiB model, 1024 columns", memory="TW_CLIENT_SIZE(48, 1024)"),
    Config("all, 16 KiB model, 480 columns", memory="TW_CLIENT_SIZE(16, 480)"),
    Config("least: RGB565, nothing else", without=LEAST, memory="TW_CLIENT_SIZE(0, 0)"),
)


@dataclass(frozen=True, slots=True)
class Size:
    """One row of the table and of the file. Bytes."""

    cpu: str
    config: str
    code: int
    rodata: int
    data: int
    bss: int


class SizesError(Exception):
    """A plain sentence."""


def _run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SizesError(f"{words[0]} failed: {done.stderr.strip()[-400:]}")
    return done.stdout


def _sections(objects: Sequence[Path]) -> dict[str, int]:
    """Bytes of code, rodata, data and bss in these object files."""
    sums = dict.fromkeys(("code", "rodata", "data", "bss"), 0)
    for line in _run(f"{PREFIX}size", "-A", *objects).splitlines():
        words = line.split()
        if len(words) == 3 and words[0].startswith("."):
            kind = words[0].split(".")[1]
            kind = "code" if kind == "text" else kind
            if kind in sums:
                sums[kind] += int(words[1])
    return sums


def _compile(config: Config, folder: Path) -> list[Path]:
    flags = [*FLAGS, *(f"-DTW_WITH_{name}=0" for name in config.without)]
    includes = [f"-I{CLIENT / 'include'}", f"-I{CLIENT / 'src'}"]
    memory = folder / "memory.c"
    memory.write_text(
        f'#include "tilewire/tilewire.h"\n#include "tw_codec.h"\nunsigned char memory[{config.memory}];\n'
    )
    objects = []
    for source in [*sorted((CLIENT / "src").glob(config.sources)), memory]:
        objects.append(folder / f"{source.stem}.o")
        _run(f"{PREFIX}gcc", *flags, *includes, "-c", source, "-o", objects[-1])
    return objects


def measure(config: Config) -> tuple[Size, dict[str, dict[str, int]]]:
    """The sizes of one configuration, and those of its files. Raises SizesError."""
    with tempfile.TemporaryDirectory() as folder:
        objects = _compile(config, Path(folder))
        files = {made.stem: _sections([made]) for made in objects if made.stem != "memory"}
        return Size(CPU, config.name, **_sections(objects)), files


def main() -> int:
    """Entry point; returns the exit code."""
    if shutil.which(f"{PREFIX}gcc") is None:
        print(f"sizes: {PREFIX}gcc is missing: apt-get install gcc-arm-none-eabi", file=sys.stderr)
        return 1
    try:
        measured = [measure(config) for config in CONFIGS]
    except SizesError as error:
        print(f"sizes: {error}", file=sys.stderr)
        return 1
    head = f"{CPU}, -Os"
    print(f"{head:<44}{'code':>8}{'rodata':>8}{'data':>8}{'bss':>8}")
    for size, _ in measured:
        print(f"{size.config:<44}{size.code:>8}{size.rodata:>8}{size.data:>8}{size.bss:>8}")
    print("\nall, by file")
    for name, sums in measured[1][1].items():
        print(f"  {name:<42}{sums['code']:>8}{sums['rodata']:>8}{sums['data']:>8}{sums['bss']:>8}")
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps([asdict(size) for size, _ in measured], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
