"""The core as a firmware tree meets it: its headers, what it needs from outside, what it takes of memory.

That it builds without a warning, with every switch on or off, is test_variants.py's business.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THREADX = ROOT / "clients/threadx"
SOURCES = sorted((THREADX / "src").glob("*.c"))
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
C99 = ["-std=c99", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla", "-Wundef", *WARNINGS]
INCLUDES = [f"-I{THREADX / 'include'}"]
FREESTANDING = {"memcpy", "memset", "memcmp"}


def run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, words[:6]))} …\n{done.stderr[-4000:]}"
    return done.stdout


def compiler(name: str) -> str:
    assert shutil.which(name), f"{name} is missing: make setup installs it"
    return name


def run_sanitized(folder: Path, program: str, *switches: str) -> None:
    """Build a C program with the core under ASan and UBSan, and run it: it returns 0."""
    source, made = folder / "program.c", folder / "program"
    source.write_text(program)
    flags = ("-std=c99", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    run(compiler("clang"), *flags, *switches, *INCLUDES, source, *SOURCES, "-o", made)
    run(made)


def compile_all(folder: Path, cc: str, *flags: str) -> list[Path]:
    """An object of every source of the core."""
    objects = []
    for source in SOURCES:
        made = folder / f"{source.stem}.o"
        run(compiler(cc), *flags, *INCLUDES, "-c", source, "-o", made)
        objects.append(made)
    return objects


def test_the_port_and_its_example_compile_without_a_warning(tmp_path: Path) -> None:
    port = THREADX / "ports/posix"
    for cc in ("gcc", "clang"):
        run(
            compiler(cc), "-O1", *C99, *INCLUDES, f"-I{port}", *SOURCES, *sorted(port.glob("*.c")),
            "-o", tmp_path / "tilewire-view",
        )  # fmt: skip


@pytest.mark.parametrize(
    "flags",
    [
        ["-DTW_WITH_RGB565=0", "-DTW_WITH_XRGB8888=0", "-DTW_WITH_8BIT=0"],
        ["-DTW_WITH_COPY=2"],
        ["-DTW_WITH_JPEG=2"],
        ["-DTW_WITH_CODEC=2"],
        ["-DTW_WITH_COPY=0", "-DTW_WITH_CACHE=1"],
        ["-DTW_SEND_SIZE=1151"],
        ["-DTW_SEND_SIZE=32769"],
    ],
    ids=str,
)
def test_illegal_values_are_named(flags: list[str]) -> None:
    header = THREADX / "include/tilewire/tilewire.h"
    done = subprocess.run(
        [compiler("gcc"), "-fsyntax-only", *flags, str(header)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "#error" in done.stderr
    assert "tw_config.h:" in done.stderr


def test_each_header_stands_alone(tmp_path: Path) -> None:
    for header in sorted((THREADX / "include/tilewire").glob("*.h")):
        for ending in ("c", "cpp"):
            user = tmp_path / f"user.{ending}"
            user.write_text(f'#include "tilewire/{header.name}"\nint main(void) {{ return 0; }}\n')
            run(compiler("gcc"), "-fsyntax-only", *WARNINGS, *INCLUDES, user)


def symbols(objects: list[Path]) -> list[tuple[str, str]]:
    """(type, name) of every symbol, as nm gives them."""
    return [
        (words[-2], words[-1])
        for line in run("nm", *objects).splitlines()
        if len(words := line.split()) >= 2 and not line.endswith(":")
    ]


def test_needs_nothing_but_copying_bytes(tmp_path: Path) -> None:
    found = symbols(compile_all(tmp_path, "gcc", "-Os", "-std=c99", "-ffreestanding", "-fno-pic"))
    needed = {name for kind, name in found if kind in "Uuw"}
    made = {name for kind, name in found if kind not in "Uuw"}
    assert needed - made - FREESTANDING - {"_GLOBAL_OFFSET_TABLE_"} == set()
    assert {name for kind, name in found if kind.isupper() and kind != "U" and not name.startswith("tw_")} == set()
    # Two clients in one program: no memory of the core's own.
    assert {name for kind, name in found if kind in "bBdDcC"} == set()


def test_has_no_floating_point(tmp_path: Path) -> None:
    # The compiler refuses any float where it may use general registers only.
    compile_all(tmp_path, "gcc", "-O2", "-std=c99", "-mgeneral-regs-only")


def test_the_stack_stays_small(tmp_path: Path) -> None:
    compile_all(tmp_path, "gcc", "-Os", "-std=c99", "-fstack-usage", "-fno-inline")
    frames: dict[str, int] = {}
    for usage in tmp_path.glob("*.su"):
        for line in usage.read_text().splitlines():
            place, size, kind = line.split("\t")
            assert kind in ("static", "dynamic,bounded"), f"{place}: {kind}"
            frames[place.rsplit(":", 1)[1]] = int(size)
    # Deepest: feed, step, take_body, take_message, take_proof, hmac, start_keyed, add, compress.
    assert sum(sorted(frames.values(), reverse=True)[:8]) <= 2048


def test_memory_of_a_client(tmp_path: Path) -> None:
    source = tmp_path / "size.c"
    source.write_text(
        '#include "tilewire/tilewire.h"\n'
        "static unsigned char plain[TW_CLIENT_SIZE(0, 1024)], largest[TW_CLIENT_SIZE(48, 1024)];\n"
        "typedef char small[sizeof plain <= 8192 ? 1 : -1];\n"
        "typedef char holds_the_budget[sizeof largest <= 65536 ? 1 : -1];\n"
        "static int differs(unsigned kib, unsigned panel, unsigned rect, size_t size) {\n"
        "    tw_client_config config = {0};\n"
        "    config.model_kib = kib, config.width = panel, config.max_rect_width = rect;\n"
        "    return tw_client_size(&config) != size;\n"
        "}\n"
        "int main(void) {\n"
        "    return sizeof plain != tw_client_size(0) || differs(0, 9, 0, sizeof plain)\n"
        "           || differs(48, 1024, 0, sizeof largest) || differs(48, 4096, 1024, sizeof largest)\n"
        "           || differs(16, 1, 0, TW_CLIENT_SIZE(16, 1)) || differs(32, 99, 16, TW_CLIENT_SIZE(32, 16));\n"
        "}\n"
    )
    flags = ["-std=c99", "-Wno-unused-local-typedefs", *INCLUDES]
    run(compiler("gcc"), *flags, source, *SOURCES, "-o", tmp_path / "size")
    run(tmp_path / "size")


def test_const_tables_of_jpeg_are_small(tmp_path: Path) -> None:
    for switches, most in (((), 5000), (("-DTW_WITH_JPEG=0",), 700)):
        compile_all(tmp_path, "gcc", "-Os", "-std=c99", *switches)
        sections = run("size", "-A", *tmp_path.glob("tw_jpeg*.o"))
        assert sum(int(size) for size in re.findall(r"^\.rodata\S*\s+(\d+)", sections, re.MULTILINE)) <= most


def test_no_extension_and_no_recursion() -> None:
    for source in [*SOURCES, *sorted((THREADX / "src").glob("*.h"))]:
        text = re.sub(r"/\*.*?\*/", "", source.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"__\w+|\basm\b|\b(float|double|malloc|alloca)\b", text.replace("__cplusplus", "")), source
