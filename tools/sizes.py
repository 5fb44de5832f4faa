"""How large the C client is on microcontrollers: `make sizes`.

Prints tables, writes build/sizes.json and the table of switches in clients/threadx/README.md.

For each processor and configuration an image is linked from the client and a firmware that calls it (tools/footprint),
with nothing of a C library but memcpy, memset and memcmp of its own, and without what nobody calls. Code, constants and
data are the client's part of it; bss is the block of TW_CLIENT_SIZE() and JPEG's memory, which a firmware gives in
static arrays. Stack is the deepest path through the call graph (tools/stack.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from tools import stack

ROOT: Final = Path(__file__).resolve().parent.parent
CLIENT: Final = ROOT / "clients/threadx"
FIRMWARE: Final = ROOT / "tools/footprint"
OUTPUT: Final = ROOT / "build/sizes.json"
README: Final = CLIENT / "README.md"
PREFIX: Final = "arm-none-eabi-"
CPUS: Final = ("cortex-m4", "cortex-m7", "cortex-a7", "cortex-a9")
FLAGS: Final = (
    "-std=c99", "-Os", "-mthumb", "-ffreestanding", "-ffunction-sections", "-fdata-sections", "-fcallgraph-info=su",
)  # fmt: skip
MARKS: Final = ("<!-- sizes: begin, written by `make sizes` -->", "<!-- sizes: end -->")

LIBRARY: Final = frozenset({"memcpy", "memset", "memcmp"})
"""All that the client may have of a C library; tools/footprint has its own, which are not counted."""
_NAMES: Final = str.maketrans(dict.fromkeys(" ,:;/", "-"))


def switches() -> tuple[str, ...]:
    """The switches of tw_config.h without TW_WITH_, in its order."""
    text = (CLIENT / "include/tilewire/tw_config.h").read_text(encoding="utf-8")
    return tuple(re.findall(r"^#ifndef TW_WITH_(\w+)", text, re.MULTILINE))


LEAST: Final = tuple(name for name in switches() if name not in ("RGB565", "COPY"))
"""What a client with solid, copy, palette and raw alone leaves out."""


@dataclass(frozen=True, slots=True)
class Config:
    """One way to compile the client, and the memory that goes with it."""

    name: str
    model_kib: int = 0
    columns: int = 0
    """Of the widest rectangle; only counts where there is a model."""
    without: tuple[str, ...] = ()
    """Switches of tw_config.h that are 0."""
    least: bool = False
    """The firmware calls no more than it must."""

    @property
    def defines(self) -> tuple[str, ...]:
        """Flags for the compiler."""
        return tuple(f"-DTW_WITH_{name}=0" for name in self.without)


ALL: Final = Config("all decoders, 48 KiB model, 1024 columns", 48, 1024)
CONFIGS: Final = (
    ALL,
    Config("all decoders, 16 KiB model, 480 columns", 16, 480),
    Config("no codec, no JPEG", without=("CODEC", "JPEG", "JPEG_HOOK")),
    Config("least: solid, copy, palette, raw; RGB565", without=LEAST, least=True),
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
    stack: int


@dataclass(frozen=True, slots=True)
class Image:
    """What was linked, and what there is to know about it."""

    size: Size
    path: Path
    objects: tuple[Path, ...]
    """Of the client."""
    needs: tuple[str, ...]
    """What the objects have from elsewhere: some of `LIBRARY`, not counted, and functions of libgcc's, counted."""
    deepest: stack.Depth
    apart: dict[str, int]
    """Arrays of the firmware that are not counted, in bytes."""


class SizesError(Exception):
    """A plain sentence."""


def _run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SizesError(f"{words[0]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def compiler() -> str:
    """Which one, with its version. Raises SizesError where there is none."""
    if shutil.which(f"{PREFIX}gcc") is None:
        raise SizesError(f"{PREFIX}gcc is missing: apt-get install gcc-arm-none-eabi")
    return f"{PREFIX}gcc {_run(f'{PREFIX}gcc', '-dumpfullversion').strip()}"


@dataclass(slots=True)
class Builder:
    """Compiles into one folder. A file that reads the same after the preprocessor is compiled once."""

    folder: Path
    flags: tuple[str, ...] = ()
    """Further ones, for every file."""
    _asked: dict[tuple[object, ...], Path] = field(default_factory=dict)
    _made: dict[str, Path] = field(default_factory=dict)

    def _compile(self, source: Path, cpu: str, defines: tuple[str, ...]) -> Path:
        asked = (source, cpu, defines)
        if asked not in self._asked:
            flags = (f"{PREFIX}gcc", *FLAGS, *self.flags, f"-mcpu={cpu}")
            words = (*flags, *defines, f"-I{CLIENT / 'include'}")
            read = (str(source), *flags, _run(*words, "-E", "-P", source))
            key = hashlib.sha256("\0".join(read).encode()).hexdigest()
            if key not in self._made:
                made = self.folder / source.parent.name / f"{source.stem}-{key[:16]}.o"
                made.parent.mkdir(exist_ok=True)
                _run(*words, "-c", source, "-o", made)
                self._made[key] = made
            self._asked[asked] = self._made[key]
        return self._asked[asked]

    def _compile_all(self, folder: Path, cpu: str, defines: tuple[str, ...]) -> tuple[Path, ...]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return tuple(pool.map(lambda source: self._compile(source, cpu, defines), sorted(folder.glob("*.c"))))

    def objects(self, config: Config, cpu: str) -> tuple[Path, ...]:
        """The client's object files, each with its `.ci` file beside it. Raises SizesError."""
        return self._compile_all(CLIENT / "src", cpu, config.defines)

    def image(self, config: Config, cpu: str) -> Image:
        """Link one. Raises SizesError, also where something is missing that a C library would have, and StackError."""
        objects = self.objects(config, cpu)
        memory = (f"-DMODEL_KIB={config.model_kib}", f"-DCOLUMNS={config.columns}", *("-DLEAST",) * config.least)
        firmware = self._compile_all(FIRMWARE, cpu, (*config.defines, *memory))
        path = self.folder / f"{config.name.translate(_NAMES)}-{cpu}.elf"
        _run(
            f"{PREFIX}gcc", f"-mcpu={cpu}", "-mthumb", *self.flags, "-nostdlib", "-Wl,--gc-sections",
            f"-Wl,-T,{FIRMWARE / 'firmware.ld'}", *objects, *firmware, "-lgcc", "-o", path,
        )  # fmt: skip
        sections = {
            words[0]: int(words[1])
            for line in _run(f"{PREFIX}size", "-A", path).splitlines()
            if len(words := line.split()) == 3 and words[0].startswith("client_")
        }
        if "client_code" not in sections:
            raise SizesError(f"{FIRMWARE.relative_to(ROOT)}/firmware.ld does not find the client's code")
        symbols = [line.split()[-2:] for line in _run(f"{PREFIX}nm", *objects).splitlines() if line[-1:] != ":"]
        made = {words[1] for words in symbols if words and words[0] != "U"}
        linked = {line.split()[-1] for line in _run(f"{PREFIX}nm", path).splitlines()}
        needs = ({words[1] for words in symbols if words and words[0] == "U"} - made) & linked
        graph = stack.read(one.with_suffix(".ci") for one in objects)
        graph.check_pointers(stack.taken_functions(_run(f"{PREFIX}objdump", "-r", *objects), graph.names()))
        depth = stack.worst(graph)
        code, rodata, data, bss = (sections.get(f"client_{kind}", 0) for kind in ("code", "rodata", "data", "bss"))
        size = Size(cpu, config.name, code, rodata, data, bss, depth.size)
        return Image(size, path, objects, tuple(sorted(needs)), depth, _apart(path))


def _apart(image: Path) -> dict[str, int]:
    """The firmware's arrays that are not counted."""
    names = ("framebuffer", "receive", "cursor_memory", "cache", "jpeg_stream")
    symbols = (line.split() for line in _run(f"{PREFIX}nm", "-S", "-t", "d", image).splitlines())
    return {words[3]: int(words[1]) for words in symbols if len(words) == 4 and words[3] in names}


@dataclass(frozen=True, slots=True)
class Saving:
    """What goes with one switch. Bytes; RAM is the client's block and JPEG's memory."""

    switch: str
    code: int
    rodata: int
    ram: int


def without(switch: str) -> Config:
    """Everything but this. A model goes with the codec."""
    return replace(
        ALL, name=f"without {switch}", model_kib=0 if switch == "CODEC" else ALL.model_kib, without=(switch,)
    )


def savings(builder: Builder, full: Size) -> list[Saving]:
    """What each switch saves where all others are on; `full`: with all of them. Raises SizesError."""
    found = []
    for switch in switches():
        less = builder.image(without(switch), full.cpu).size
        found.append(Saving(switch, full.code - less.code, full.rodata - less.rodata, full.bss - less.bss))
    return found


def table(images: list[Image], found: list[Saving]) -> str:
    """The README's part: what was measured, with which compiler."""
    lines = [
        f"Bytes with {compiler()}, `-Os -mthumb`, linked with `--gc-sections`; code holds what the client takes of",
        "libgcc (a division, on the Cortex-A9), RAM is `TW_CLIENT_SIZE()` and JPEG's memory, and the stack has",
        "callbacks in it that call the client again.",
        "",
        "| processor | configuration | code | constants | RAM | stack |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for image in images:
        size = image.size
        figures = (size.code, size.rodata, size.bss + size.data, size.stack)
        lines.append(f"| {size.cpu} | {size.config} | " + " | ".join(f"{figure:,}" for figure in figures) + " |")
    lines += ["", f"What each switch saves on a {CPUS[0]} where all others are on:", ""]
    lines += ["| switch | code | constants | RAM |", "|---|--:|--:|--:|"]
    lines += [f"| `TW_WITH_{one.switch}` | {one.code:,} | {one.rodata:,} | {one.ram:,} |" for one in found]
    return "\n".join(lines)


def parts(text: str) -> tuple[str, str, str]:
    """The README: up to the first mark, what stands between the marks, and the rest. Raises SizesError."""
    begin, end = (text.find(mark) for mark in MARKS)
    if begin < 0 or end < begin:
        raise SizesError(f"{README.relative_to(ROOT)} has no {MARKS[0]} ... {MARKS[1]}")
    begin += len(MARKS[0])
    return text[:begin], text[begin:end].strip("\n"), text[end:]


def _print_images(images: list[Image]) -> None:
    print(f"{compiler()}, -Os")
    print(f"{'':<10}{'':<44}{'code':>8}{'rodata':>8}{'data':>8}{'bss':>8}{'stack':>8}")
    for image in images:
        size = image.size
        print(
            f"{size.cpu:<10} {size.config:<43}{size.code:>8}{size.rodata:>8}{size.data:>8}{size.bss:>8}{size.stack:>8}"
        )
    for cpu in CPUS:
        helpers = {name for image in images if image.size.cpu == cpu for name in image.needs} - LIBRARY
        print(f"{cpu}: of libgcc in it: {', '.join(sorted(helpers)) or 'nothing'}")
    print("deepest:", " > ".join(max(images, key=lambda image: image.size.stack).deepest.path))
    print("counted apart:", ", ".join(f"{name} {size}" for name, size in images[0].apart.items()))


def main() -> int:
    """Entry point; returns the exit code."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            builder = Builder(Path(folder))
            images = [builder.image(config, cpu) for config in CONFIGS for cpu in CPUS]
            _print_images(images)
            made = table(images, savings(builder, images[0].size))
        before, _, after = parts(README.read_text(encoding="utf-8"))
        README.write_text(f"{before}\n\n{made}\n\n{after}", encoding="utf-8")
    except (SizesError, stack.StackError) as error:
        print(f"sizes: {error}", file=sys.stderr)
        return 1
    print()
    print(made)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps([asdict(image.size) for image in images], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
