"""The lwIP port on lwIP itself, against servers on real sockets: real TCP on a line that delays, loses and breaks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tilewire.protocol import Rect

from tests.clients import test_posix, test_threadx
from tests.clients.test_build import INCLUDES, SOURCES, THREADX, WARNINGS, compiler, run
from tests.clients.test_threadx import expected, numbers
from tests.server.xclient import Painter
from tools import lwip

PORT = THREADX / "ports/lwip"
PORT_SOURCES = sorted(PORT.glob("*.c"))
HERE = Path(__file__).parent
WITHIN_S = 30.0
CONNECT_MS, FAREWELL_MS = 10_000, 1_000
OK = 0
STOPPED, CONNECTING, OPEN, WAITING, ENDED = range(5)

serve, real, artist = test_posix.serve, test_threadx.real, test_threadx.artist
"""Fixtures: a server that plays scripts, a real one, and who draws on its screen."""


@pytest.fixture(scope="session")
def lwip_source() -> Path:
    """lwIP's src folder."""
    assert (lwip.LWIP / "version.txt").exists(), "lwIP's source is missing: `python -m tools.lwip` fetches it"
    return lwip.LWIP / "src"


def build(folder: Path, name: str, source: Path, *flags: str) -> Path:
    """The driven program: lwIP as it comes, what is ours with all warnings."""
    made = folder / name
    stack = [*sorted((source / "core").glob("*.c")), *sorted((source / "core/ipv4").glob("*.c"))]
    folders = [f"-I{PORT}", f"-I{HERE / 'lwip'}", "-isystem", f"{source / 'include'}"]
    ours = [*SOURCES, *PORT_SOURCES, HERE / "lwip/line.c", HERE / "lwip_device.c"]
    archive = folder / f"{name}.o"
    run(compiler("gcc"), "-w", *flags, *folders, "-r", "-nostdlib", *stack, "-o", archive)
    run(compiler("gcc"), "-std=c11", *WARNINGS, *flags, *INCLUDES, *folders, *ours, archive, "-lrt", "-o", made)
    return made


@pytest.fixture(scope="module")
def pools_program(tmp_path_factory: pytest.TempPathFactory, lwip_source: Path) -> Path:
    """With lwIP's own heap and pools, which can run out."""
    return build(tmp_path_factory.mktemp("pools"), "pools", lwip_source, "-Os", "-g")


@pytest.fixture(scope="module")
def memory_program(tmp_path_factory: pytest.TempPathFactory, lwip_source: Path) -> Path:
    """With sanitizers, lwIP included."""
    flags = ("-O1", "-g", "-DTEST_SANITIZED", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return build(tmp_path_factory.mktemp("memory"), "memory", lwip_source, *flags)


class Device(test_threadx.Device):
    """The program, driven line by line."""

    def resources(self) -> dict[str, int]:
        """What of lwIP's memory is in use."""
        self.good("resources", 0)
        return numbers(self.until("0 resources .*")[0])

    def until_rest(self, session: int = 0) -> None:
        """It has stopped, or ended."""
        deadline = time.monotonic() + WITHIN_S
        while self("resting", session) != 0:
            assert time.monotonic() < deadline, self.events[-10:]
            time.sleep(0.002)

    def until_free(self) -> None:
        """Nothing of lwIP's memory is in use."""
        deadline = time.monotonic() + WITHIN_S
        while any((found := self.resources()).values()):
            assert time.monotonic() < deadline, found
            self.good("skip", 0, 300)  # what rests in TIME-WAIT
            time.sleep(0.01)

    def until_counted(self, name: str, least: int) -> None:
        deadline = time.monotonic() + WITHIN_S
        while self.statistics()[name] < least:
            assert time.monotonic() < deadline, self.statistics()
            time.sleep(0.002)

    def end(self) -> None:
        """It has given everything back, and the sanitizers have nothing to say."""
        self.good("line", 0, 0, 0)
        self.good("stall", 0, 0)
        for session in (0, 1):
            self.good("stop", session)
            self.until_rest(session)
        self.until_free()
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(WITHIN_S) == 0


def driven(program: Path) -> Iterator[Device]:
    made = Device(program)
    try:
        yield made
        made.end()
    finally:
        made.close()


@pytest.fixture
def device(memory_program: Path, serve: object) -> Iterator[Device]:  # ends before the scripts do
    """Under the sanitizers."""
    yield from driven(memory_program)


@pytest.fixture(params=["pools", "memory"])
def any_device(request: pytest.FixtureRequest, serve: object) -> Iterator[Device]:
    """With lwIP's own memory, and under the sanitizers."""
    program: Path = request.getfixturevalue(f"{request.param}_program")
    yield from driven(program)


# Against the real server


@pytest.mark.parametrize("hold", [0, 2])
def test_the_picture_is_exact(
    any_device: Device, tmp_path: Path, real: tuple[str, int], artist: Painter, hold: int
) -> None:
    device, (name, port) = any_device, real
    device.good("create", 0, port, f"hold={hold}")
    device.good("start", 0)
    device.until_shown(tmp_path, expected(name))
    for colour in (0xFF0000, 0x00FF00, 0x1234AB):
        artist.fill(Rect(colour % 50, 30, 200, 60), colour)
        device.until_shown(tmp_path, expected(name))
