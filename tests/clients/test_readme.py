"""clients/threadx/README.md is true: its programs compile and the first one runs, its figures and bytes are right."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tilewire.protocol import Code, Rect

from tests.clients import readme
from tests.clients.test_build import INCLUDES, ROOT, SOURCES, THREADX, WARNINGS, compiler, run
from tests.clients.test_threadx import HERE, PORT, STANDIN, WITHIN_S, Device, artist, expected
from tests.server.xclient import Painter
from tools.served import served

TEXT = readme.README.read_text(encoding="utf-8")
PROGRAMS = readme.programs(TEXT)
SIZE = (480, 272)
HEADERS = sorted(
    [*(THREADX / "include/tilewire").glob("tilewire.h"), *THREADX.glob("ports/*/*.h"), *THREADX.glob("examples/*.h")]
)

__all__ = ["artist"]  # the fixture


@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_compiles_without_a_warning(tmp_path: Path, name: str, cc: str) -> None:
    source = tmp_path / name
    source.write_text(PROGRAMS[name])
    run(
        compiler(cc), "-std=gnu99", "-O1", "-c", *WARNINGS, *INCLUDES, f"-I{PORT}", f"-I{STANDIN}", source,
        "-o", tmp_path / "made.o",
    )  # fmt: skip


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first program on the stand-in, under the sanitizers, whose stack is another than a device's."""
    folder = tmp_path_factory.mktemp("board")
    source, made = folder / "panel.c", folder / "panel"
    text = PROGRAMS["panel.c"]
    assert "#define STACK_SIZE 4096\n" in text
    source.write_text(text.replace("#define STACK_SIZE 4096\n", f"#define STACK_SIZE {1 << 20}\n"))
    flags = ("-std=gnu11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-g", "-fsanitize=address,undefined")
    sources = [*SOURCES, *sorted(PORT.glob("*.c")), *sorted(STANDIN.glob("*.c")), HERE / "readme_board.c", source]
    run(compiler("gcc"), *flags, *INCLUDES, f"-I{PORT}", f"-I{STANDIN}", *sources, "-lpthread", "-o", made)
    return made


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A server with a screen as large as the panel: the display's name and the port."""
    log = tmp_path_factory.mktemp("real") / "log"
    arguments = ["run", "--listen", "127.0.0.1:0", "--size", f"{SIZE[0]}x{SIZE[1]}", "--", "sleep", "1000"]
    with served(arguments, log) as server:
        found = re.search(r"on display (:\d+),", log.read_text())
        assert found
        yield found[1], int(server.address.rpartition(":")[2])


def test_the_first_program_shows_a_picture(board: Path, tmp_path: Path, real: tuple[str, int], artist: Painter) -> None:
    name, port = real
    device = Device(board)
    try:
        assert device("start", port) == 0
        device.until("0 open")
        for colour in (0xCC3311, 0x44AA22):
            artist.fill(Rect(300, 100, 150, 150), colour)
            deadline = time.monotonic() + WITHIN_S
            while shown(device, tmp_path) != expected(name, SIZE):
                assert time.monotonic() < deadline, device.events[-5:]
                time.sleep(0.02)
        for line in ("touch 200 100", "lift"):
            assert device(*line.split()) == 0
        deadline = time.monotonic() + WITHIN_S
        while (found := artist.root.query_pointer(), found.root_x, found.root_y)[1:] != (200, 100):
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        assert device("up") == 0
    finally:
        device.close()


def shown(device: Device, folder: Path) -> bytes:
    assert device("dump", folder / "shown") == 0
    return (folder / "shown").read_bytes()


def test_the_figures_are_right() -> None:
    assert len(readme.expressions(TEXT)) > 20
    assert readme.with_figures(TEXT) == TEXT, "python -m tests.clients.readme writes them"


def test_the_boards_have_what_their_memory_takes() -> None:
    """512 KB of SRAM, 128 KB of it, 512 MB."""
    sums = [int(found[1].replace(",", "")) for line in TEXT.splitlines() if (found := readme.TOGETHER.match(line))]
    assert [a < b for a, b in zip(sums, (512 << 20, 16 << 20, 512 * 1000, 128 * 1000), strict=True)] == [True] * 4


def test_the_session_is_what_the_client_says() -> None:
    parts = readme.parse(readme.session(TEXT)[1])
    picture, said = readme.picture_of(parts)
    assert said == [part for part in parts if part.sender == "C"]
    row = 320 * 2
    assert picture[:2] == picture[-2:] == b"\xff\xff"
    for y in (20, 31, 36, 47):
        assert picture[y * row :][:row] == b"\xff\xff" * 10 + b"\x39\x33" * 100 + b"\xff\xff" * 210
    assert parts == readme.play()


def test_the_session_is_written_by_the_tool() -> None:
    assert readme.session(TEXT)[1] == readme.block(readme.play()), "python -m tests.clients.readme writes it"


def test_every_code_has_its_line() -> None:
    table = TEXT[TEXT.index("## Troubleshooting") :]
    named = {name for row in re.findall(r"^\| ([A-Z_, ]+) \|", table, re.MULTILINE) for name in row.split(", ")}
    assert {code.name for code in Code} <= named
    header = (PORT / "tw_threadx.h").read_text()
    for status in re.findall(r"\b((?:TX|NX)_[A-Z_]+(?:ERROR|MEMORY|PARAMETERS|DONE|FULL|CONNECTED|ENABLED))\b", header):
        assert status in {"TX_DISABLE_ERROR_CHECKING", "TX_PRIORITY_ERROR"} or status in table, status


def test_links_lead_somewhere() -> None:
    titles = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    anchors |= set(re.findall(r'<a id="([^"]+)">', TEXT))
    for target in re.findall(r"\]\(#([^)]+)\)", TEXT):
        assert target in anchors, target
    for target in re.findall(r"\]\(([^#)]+)\)", TEXT):
        assert (THREADX / target).exists(), target
    assert (ROOT / "protocol/SPEC.md").exists()


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
def test_every_public_function_says_what_it_does(header: Path) -> None:
    """A comment stands directly above a function or above the functions that it belongs to."""
    if header.name.endswith("_internal.h"):
        return
    bare = []
    for paragraph in re.split(r"\n\s*\n", header.read_text()):
        functions = re.finditer(r"^[\w][^;{}#/]*\b(tw_\w+)\([^;{}]*\);", paragraph, re.MULTILINE)
        bare += [found[1] for found in functions if "/*" not in paragraph[: found.start()]]
    assert bare == []


PARENT = """\
cmake_minimum_required(VERSION 3.16)
project(firmware LANGUAGES C)
find_package(Threads REQUIRED)
add_library(kernel STATIC {standin}/tx_standin.c)
target_include_directories(kernel PUBLIC {standin})
target_link_libraries(kernel PUBLIC Threads::Threads)
add_library(network STATIC {standin}/nx_standin.c {standin}/host_standin.c)
target_link_libraries(network PUBLIC kernel)
if(WITH_KERNEL)
  add_library(azrtos::threadx ALIAS kernel)
  add_library(azrtos::netxduo ALIAS network)
endif()
add_subdirectory(third_party/tilewire)
add_executable(firmware panel.c {board})
target_link_libraries(firmware PRIVATE tilewire::threadx)
"""


def test_a_firmwares_build_takes_the_folder_in(tmp_path: Path) -> None:
    """A copy of it, where the build knows azrtos::threadx and azrtos::netxduo, and where it does not."""
    shutil.copytree(THREADX, tmp_path / "third_party/tilewire")
    (tmp_path / "panel.c").write_text(PROGRAMS["panel.c"])
    (tmp_path / "CMakeLists.txt").write_text(PARENT.format(standin=STANDIN, board=HERE / "readme_board.c"))
    compiler("cmake")
    compiler("ninja")
    made = tmp_path / "build"
    run("cmake", "-S", tmp_path, "-B", made, "-G", "Ninja", "-DWITH_KERNEL=1", "-DCMAKE_C_FLAGS=-Werror")
    run("cmake", "--build", made, "--target", "firmware")
    assert (made / "firmware").exists()
    done = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "without", "-G", "Ninja"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "tilewire::threadx" in done.stderr
