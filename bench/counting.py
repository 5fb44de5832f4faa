"""How many instructions C code takes: of x86-64 by callgrind, of Thumb-2 by the clock of a machine that QEMU makes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.stage import StageError

COUNT_S: Final = 240.0
"""How long one count may take."""

ROOT: Final = Path(__file__).resolve().parent.parent
CORE: Final = ROOT / "clients/threadx"
FIRMWARE: Final = ROOT / "simulator/firmware"
PAYLOADS_AT: Final = 0x68000000
"""Where QEMU puts the payloads: the second quarter of its RAM, beyond the firmware."""
RAM_MIB: Final = 512
THUMB: Final = ("arm-none-eabi-gcc", "-std=c99", "-mthumb", "-mfloat-abi=soft")
INCLUDES: Final = (f"-I{CORE / 'include'}", f"-I{CORE / 'src'}")


def run(words: Sequence[str | Path], what: str) -> str:
    """What a command says, on both its outputs. Raises StageError."""
    try:
        done = subprocess.run(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COUNT_S,
            check=False,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise StageError(f"{words[0]} is not installed: make setup") from None
    except subprocess.TimeoutExpired:
        raise StageError(f"{what} took more than {COUNT_S:g} s") from None
    if done.returncode:
        raise StageError(f"{what} failed: {done.stdout.strip()[-400:]}")
    return done.stdout


def build(harness: Path, sources: Sequence[Path], folder: Path) -> tuple[Path, Path, Path]:
    """A program for x86-64 (gcc -O2), and firmware in Thumb-2 at -O2 and -Os. Raises StageError."""
    native = folder / harness.stem
    run(["gcc", "-std=c99", "-O2", *INCLUDES, harness, *sources, "-o", native], "compiling for x86-64")
    firmware = []
    for level in ("-O2", "-Os"):
        firmware.append(folder / f"{harness.stem}{level}.elf")
        words: list[str | Path] = [*THUMB, "-mcpu=cortex-a9", level, "-nostartfiles", "-Wl,-z,noexecstack"]
        words += [f"-DFW_PAYLOADS={PAYLOADS_AT:#x}U", f"-I{FIRMWARE}", *INCLUDES, "-T", FIRMWARE / "firmware.ld"]
        words += [*sorted(FIRMWARE.glob("*.[cS]")), harness, *sources, "-o", firmware[-1]]
        run(words, "compiling for Thumb-2")
    return native, firmware[0], firmware[1]


def sizes(sources: Sequence[Path], folder: Path) -> tuple[int, int]:
    """Bytes of code and of constants on a Cortex-M4, gcc -Os. Raises StageError."""
    code = tables = 0
    for source in sources:
        built = folder / f"{source.stem}.o"
        run([*THUMB, "-mcpu=cortex-m4", "-Os", *INCLUDES, "-c", source, "-o", built], "compiling for Cortex-M4")
        for section, size in re.findall(
            r"^\.(text|rodata)\S*\s+(\d+)", run(["arm-none-eabi-size", "-A", built], "size"), re.MULTILINE
        ):
            if section == "text":
                code += int(size)
            else:
                tables += int(size)
    return code, tables


def instructions(words: Sequence[str | Path]) -> int:
    """Of a whole run of a program on x86-64. Raises StageError."""
    found = re.search(
        r"Collected : (\d+)",
        run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *words], "callgrind"),
    )
    if found is None:
        raise StageError("callgrind names no count")
    return int(found[1])


def thumb_instructions(program: Path, file: Path, first: int, count: int) -> tuple[int, int]:
    """What firmware says of the pieces of a file from `first` to `count`: instructions, and a number of its own.

    Raises StageError.
    """
    words: list[str | Path] = ["qemu-system-arm", "-M", "vexpress-a9", "-m", f"{RAM_MIB}M", "-display", "none"]
    words += ["-audiodev", "none,id=n0", "-serial", "none", "-monitor", "none", "-nic", "none"]
    words += ["-icount", "shift=0,sleep=off", "-kernel", program]
    words += ["-device", f"loader,file={file},addr={PAYLOADS_AT:#x},force-raw=on"]
    words += ["-semihosting-config", f"enable=on,target=native,arg={first},arg={count}"]
    found = re.search(r"^(\d+) (\d+)$", run(words, "QEMU"), re.MULTILINE)
    if found is None:
        raise StageError("QEMU did not finish")
    return int(found[1]), int(found[2])
