"""The examples of display adapters: real sessions, a board with a slow DMA, and models of a panel and of its chip."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from PIL import Image

from tilewire.protocol import PixelFormat, Point, Rect
from tilewire.protocol.constants import Rotation, ViewMode
from tilewire.server.cursor import NO_CURSOR, CursorImage
from tilewire.server.view import View

from tests.clients import test_threadx
from tests.clients.test_build import C99, INCLUDES, SOURCES, THREADX, WARNINGS, compiler, run
from tests.clients.test_threadx import numbers
from tests.server.sights import captured, pointer_of, seen, with_pointer
from tests.server.test_views_picture import CLOCKWISE, arrow, stored
from tests.server.xclient import Painter, painter
from tests.support import put_pixels

EXAMPLES = THREADX / "examples"
POSIX = THREADX / "ports/posix"
HERE = Path(__file__).parent
WITHIN_S = 30.0
UPRIGHT = (240, 320)
"""The glass of the SPI panel."""
FAST, SLOW = (65535, 20_000), (64, 100_000)
"""A DMA: bytes at a tick, nanoseconds between two."""

real = test_threadx.real
"""The fixture: a real server with a screen of 320x240."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Under the sanitizers."""
    made = tmp_path_factory.mktemp("displays") / "device"
    flags = ("-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    folders = [*INCLUDES, f"-I{EXAMPLES}", f"-I{POSIX}", f"-I{HERE / 'displays'}"]
    ports = [POSIX / "tw_posix.c", POSIX / "tw_posix_tls.c"]
    ours = [*EXAMPLES.glob("*.c"), HERE / "displays/board.c", HERE / "displays_device.c"]
    run(compiler("gcc"), *flags, *WARNINGS, *folders, *SOURCES, *ports, *ours, "-lrt", "-o", made)
    return made


class Device(test_threadx.Device):
    """The program, driven line by line."""

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(WITHIN_S) == 0


class Shown:
    """A display with a session, and what it has to show."""

    def __init__(self, device: Device, screen: str, folder: Path, mount: Rotation | None, shape: CursorImage) -> None:
        self.device = device
        self._screen, self._folder, self._mount = screen, folder, mount
        self.shape = shape
        """The pointer that the server draws."""

    def view(self) -> View:
        """As the server told it last."""
        told = next(event for event in reversed(self.device.events) if event.startswith("0 view "))
        mode, rotation, follow, width, height, x, y = map(int, told.split()[2:])
        sideways = self._mount is None or self._mount in (Rotation.R90, Rotation.R270)
        panel = UPRIGHT[::-1] if sideways else UPRIGHT
        return View((width, height), panel, Point(x, y), bool(follow), ViewMode(mode), Rotation(rotation))

    def expected(self, client: Painter) -> bytes:
        """The panel's memory, or what is on the glass."""
        view = self.view()
        picture = seen(trio.run(captured, self._screen), view)
        picture = with_pointer(picture, view, self.shape, pointer_of(client))
        if self._mount in CLOCKWISE:
            picture = picture.transpose(CLOCKWISE[self._mount])
        return stored(picture, PixelFormat.RGB565)

    def until_exact(self, client: Painter) -> None:
        """Nobody draws meanwhile."""
        deadline = time.monotonic() + WITHIN_S
        self.device.until("0 view .*") if not any(e.startswith("0 view ") for e in self.device.events) else None
        while (found := self.device.picture(self._folder)) != (wanted := self.expected(client)):
            if time.monotonic() > deadline:
                size = UPRIGHT if self._mount is not None else UPRIGHT[::-1]
                for name, pixels in (("found", found), ("wanted", wanted)):
                    Image.frombytes("RGB", size, pixels, "raw", "BGR;16").save(self._folder / f"{name}.png")
                raise AssertionError(f"not the picture, see found.png and wanted.png in {self._folder}")
            time.sleep(0.02)


def shown(
    program: Path,
    folder: Path,
    real: tuple[str, int],
    mount: Rotation | None,
    dma: tuple[int, int],
    shape: CursorImage = NO_CURSOR,
) -> Iterator[Shown]:
    """The flush display (no mount) or the SPI panel in a session; it ends well."""
    words = [program, "flush" if mount is None else "spi", real[1], int(mount or 0), 0, *dma]
    start = folder / "start"
    start.write_text(f"#!/bin/sh\nexec {' '.join(map(str, words))}\n")
    start.chmod(0o700)
    device = Device(start)
    try:
        yield Shown(device, real[0], folder, mount, shape)
        device.end()
    finally:
        device.close()


@pytest.fixture
def artist(real: tuple[str, int]) -> Iterator[Painter]:
    """Draws noise and wears a pointer."""
    with painter(real[0]) as client:
        put_pixels(client, Rect(10, 20, 200, 150), random.Random(3).randbytes(4 * 200 * 150))
        client.fill(Rect(220, 100, 80, 100), 0x336699)
        client.wear_colours((POINTER.width, POINTER.height), (POINTER.hot_x, POINTER.hot_y), POINTER.pixels)
        yield client


POINTER = arrow(17, 13, (2, 5))


def change(client: Painter, seed: int) -> None:
    """Large and small areas, noise and flat ones."""
    chance = random.Random(seed)
    client.fill(Rect(chance.randrange(100), chance.randrange(100), 200, 90), chance.getrandbits(24))
    put_pixels(client, Rect(chance.randrange(290), chance.randrange(200), 23, 31), chance.randbytes(4 * 23 * 31))
    client.fill(Rect(chance.randrange(310), chance.randrange(230), 1, 1), chance.getrandbits(24))


@pytest.mark.parametrize("dma", [FAST, SLOW], ids=["fast", "slow"])
def test_a_flush_display_shows_the_screen(
    program: Path, tmp_path: Path, real: tuple[str, int], artist: Painter, dma: tuple[int, int]
) -> None:
    for one in shown(program, tmp_path, real, None, dma):
        one.until_exact(artist)
        for seed in range(4):
            change(artist, seed)
            one.until_exact(artist)
        one.device.good("statistics", 0)
        counted = numbers(one.device.until("0 statistics .*")[0])
        # The whole screen went in parts, none larger than a part.
        assert counted["most_bytes"] == 320 * 240 // 10 * 2
        assert counted["transfers"] >= 10


@pytest.mark.parametrize("mount", [Rotation.R0, Rotation.R90, Rotation.R180, Rotation.R270])
def test_an_spi_panel_shows_the_screen_with_the_pointer(
    program: Path, tmp_path: Path, real: tuple[str, int], artist: Painter, mount: Rotation
) -> None:
    for one in shown(program, tmp_path, real, mount, FAST, POINTER):
        artist.move_pointer(150, 100)
        one.until_exact(artist)
        for seed, (x, y) in enumerate([(160, 104), (3, 2), (319, 239), (40, 230)]):
            change(artist, seed)
            artist.move_pointer(x, y)
            one.until_exact(artist)
        # By the device's own hand, in the panel's coordinates.
        one.device.good("pointer", 0, 50, 60, 0)
        one.until_exact(artist)


@pytest.mark.parametrize("rotation", [Rotation.R90, Rotation.R180, Rotation.R270])
def test_an_spi_panel_that_the_server_turns(
    program: Path, tmp_path: Path, real: tuple[str, int], artist: Painter, rotation: Rotation
) -> None:
    for one in shown(program, tmp_path, real, Rotation.R90, FAST, POINTER):
        one.until_exact(artist)
        one.device.good("view", 0, int(ViewMode.ONE_TO_ONE), int(rotation), 1)
        one.device.until(f"0 view {int(ViewMode.ONE_TO_ONE)} {int(rotation)} .*")
        for seed, (x, y) in enumerate([(160, 104), (3, 2), (315, 239)]):
            change(artist, seed)
            artist.move_pointer(x, y)
            one.until_exact(artist)


def test_a_slow_dma_behind_a_strip(program: Path, tmp_path: Path, real: tuple[str, int], artist: Painter) -> None:
    for one in shown(program, tmp_path, real, Rotation.R90, SLOW, POINTER):
        for seed in range(3):
            change(artist, seed)
            artist.move_pointer(100 + 10 * seed, 90)
            one.until_exact(artist)
        one.device.good("statistics", 0)
        counted = numbers(one.device.until("0 statistics .*")[0])
        assert counted["most_bytes"] <= 320 * 16 * 2
        assert counted["transfers"] == counted["windows"] >= 15


def test_the_examples_compile_without_a_warning(tmp_path: Path) -> None:
    for source in EXAMPLES.glob("*.c"):
        for cc in ("gcc", "clang"):
            run(compiler(cc), "-Os", *C99, *INCLUDES, "-c", source, "-o", tmp_path / "made.o")
            run(compiler(cc), "-x", "c++", "-std=c++17", *WARNINGS, *INCLUDES, "-c", source, "-o", tmp_path / "made.o")
        cortex = ("-mcpu=cortex-m4", "-mthumb", "-Os")
        run(compiler("arm-none-eabi-gcc"), *cortex, *C99, *INCLUDES, "-c", source, "-o", tmp_path / "made.o")
