"""Every build of the client shows the same: compilers, languages, machines, optimisations, switches.

Each variant is compiled with warnings as errors and taken through the recorded sessions (sessions/README.md) by
replay.c: whole, byte by byte and in pieces of random sizes, with everything that may lie anywhere at odd addresses. The
picture, the reports, what the client sends and what it counted have to be the same everywhere.
"""

from __future__ import annotations

import os
import subprocess
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tilewire.protocol import messages as m
from tilewire.protocol.wire import MESSAGES, Sender

from tests.clients.recorded import ALL, EVERYTHING, INPUTS, PLAIN, REPLAY, Recorded, names_in, paths, without_reports, without_statistics
from tests.clients.support import KEY, Oracle, Server
from tests.clients.test_build import INCLUDES, SOURCES, WARNINGS, compiler, run

C99 = ("-std=c99", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla", "-Wundef")
C11 = ("-std=c11",)
CXX17 = ("-x", "c++", "-std=c++17")
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
"""UBSan's alignment check is among them."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to build the client, and to run what comes of it."""

    name: str
    cc: str
    flags: tuple[str, ...]
    runner: tuple[str, ...] = ()


ARM = ("qemu-arm-static",)
VARIANTS = (
    Variant("gcc, C99, -O0", "gcc", (*C99, "-O0")),
    Variant("gcc, C99, -O3", "gcc", (*C99, "-O3")),
    Variant("gcc, C11, -Os", "gcc", (*C11, "-Os")),
    Variant("gcc, C++17, -O2", "gcc", (*CXX17, "-O2")),
    Variant("clang, C99, -Os", "clang", (*C99, "-Os")),
    Variant("clang, C11, -O3", "clang", (*C11, "-O3")),
    Variant("clang, C++17, -O0", "clang", (*CXX17, "-O0")),
    Variant("clang, C99, -O1, ASan and UBSan", "clang", (*C99, "-O1", *SANITIZED)),
    Variant("i686, C11, -O3", "i686-linux-gnu-gcc", (*C11, "-O3", "-static")),
    Variant("s390x (big-endian), C99, -O2", "s390x-linux-gnu-gcc", (*C99, "-O2", "-static"), ("qemu-s390x-static",)),
    Variant("Cortex-A9, C99, -Os", "arm-none-eabi-gcc", (*C99, "-Os", "-mcpu=cortex-a9", "-mthumb"), ARM),
)  # fmt: skip


def build(folder: Path, variant: Variant, *more: str, program: Path = REPLAY) -> list[str | Path]:
    """Compile the core and a program on all processors; the words that run it."""
    for needed in (variant.cc, *variant.runner[:1]):
        compiler(needed)
    flags = [*variant.flags, *WARNINGS, *INCLUDES, *more]

    def compile_one(source: Path) -> Path:
        made = folder / f"{source.stem}.o"
        run(variant.cc, *flags, "-c", source, "-o", made)
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, [*SOURCES, program]))
    made = folder / program.stem
    # Newlib's files are the host's, by semihosting.
    system = ["--specs=rdimon.specs"] if "arm-none-eabi" in variant.cc else []
    link = [flag for flag in variant.flags if flag.startswith(("-m", "-f", "-static"))]
    run(variant.cc, *link, *system, *objects, "-o", made)
    return [*variant.runner, made]


def replay(words: Sequence[str | Path], sessions: Iterable[Recorded], ways: int = 8) -> str:
    """What replay.c prints: whole, byte by byte, and `ways` - 2 times in random pieces."""
    return run(*words, ways, *paths(sessions))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_build_shows_the_same(tmp_path: Path, variant: Variant) -> None:
    assert replay(build(tmp_path, variant), ALL) == "".join(session.expected for session in ALL)


# Switches


@dataclass(frozen=True, slots=True)
class Without:
    """What is left out of the client, and in which sessions the rest can still take part."""

    names: tuple[str, ...]
    sessions: tuple[Recorded, ...]


LEFT_OUT = (
    Without(("RGB565",), (PLAIN,)),
    Without(("XRGB8888",), (EVERYTHING,)),
    Without(("8BIT",), ALL),
    Without(("COPY",), (PLAIN,)),
    Without(("HMAC",), (EVERYTHING,)),
    Without(("CLIPBOARD",), (PLAIN,)),
    Without(("TEXTS",), ALL),
    Without(("STATISTICS",), ALL),
    Without(("CODEC",), (PLAIN,)),
    Without(("CACHE",), (PLAIN,)),
    Without(("JPEG",), (PLAIN,)),
    Without(("JPEG_HOOK",), ALL),
    Without(("CURSOR",), (PLAIN,)),
    Without(("EVENTS",), (PLAIN,)),
    Without(("RESIZE",), (PLAIN,)),
    Without(("RESUME",), (PLAIN,)),
    Without(("STRIPS",), (EVERYTHING,)),
    Without(("XRGB8888", "8BIT", "HMAC", "TEXTS", "STATISTICS", "JPEG_HOOK"), (EVERYTHING,)),
    Without(
        ("RGB565", "8BIT", "COPY", "CLIPBOARD", "TEXTS", "STATISTICS", "CODEC", "CACHE", "JPEG", "JPEG_HOOK", "CURSOR"),
        (PLAIN,),
    ),
)
SWITCHED = Variant("gcc, C99, -Os", "gcc", (*C99, "-Os"))


def test_every_switch_is_left_out_once() -> None:
    config = (SOURCES[0].parents[1] / "include/tilewire/tw_config.h").read_text(encoding="utf-8")
    switches = {line.split()[1] for line in config.splitlines() if line.startswith("#ifndef TW_WITH_")}
    assert switches == {f"TW_WITH_{name}" for left_out in LEFT_OUT for name in left_out.names}


@pytest.mark.parametrize("left_out", LEFT_OUT, ids=lambda left_out: "-".join(left_out.names))
def test_every_switch_can_be_off(tmp_path: Path, left_out: Without) -> None:
    off = [f"-DTW_WITH_{name}=0" for name in left_out.names]
    words = build(tmp_path, SWITCHED, *off)
    expected = "".join(session.expected for session in left_out.sessions)
    seen = replay(words, left_out.sessions)
    if "STATISTICS" in left_out.names:
        expected = without_statistics(expected)
    if {"EVENTS", "RESUME"} & {*left_out.names}:
        expected, seen = without_reports(expected), without_reports(seen)
    assert seen == expected
    for session in {*ALL} - {*left_out.sessions}:
        done = subprocess.run([*words, "1", session.path], capture_output=True, text=True, check=False)
        assert done.returncode != 0, f"{session.name} needs nothing of {left_out.names}: let it take part"


# Memory that nobody set


@pytest.mark.parametrize("session", ALL, ids=lambda session: session.name)
def test_memcheck_finds_nothing(tmp_path: Path, session: Recorded) -> None:
    """The caller's memory is as malloc() left it: what is read of it has to be written first."""
    words = build(tmp_path, Variant("", "gcc", (*C99, "-O1", "-g")))
    memcheck = [compiler("valgrind"), "--quiet", "--error-exitcode=9", "--leak-check=full", "--track-origins=no"]
    assert replay([*memcheck, *words], [session], 3) == session.expected


# The recordings themselves


def test_the_sessions_hold_everything() -> None:
    found = set().union(*(names_in(session.expected) for session in ALL))
    from_server = {cls.name for cls in MESSAGES.values() if cls.sender is not Sender.CLIENT}
    # The C client never offers DEFLATE, so no server sends it.
    assert from_server - found == {"DEFLATE"}
    assert sum(path.stat().st_size for path in paths(ALL)) < 300_000


def test_the_long_session_is_long() -> None:
    assert sum(map(len, EVERYTHING.streams)) > 100_000
    assert len(EVERYTHING.streams) == 2
    formats = {session.fields["pixel_format"] for session in ALL}
    assert len(formats) == len(ALL)


class Device(Oracle):
    """The reference decoder, as a device that may have a key."""

    def _take(self, event: object) -> None:
        if isinstance(event, m.Proof):
            self.connection.check_proof(KEY, event)
            self.connection.send(self.connection.make_proof(KEY))
        super()._take(event)  # type: ignore[arg-type]


@pytest.mark.parametrize("session", ALL, ids=lambda session: session.name)
def test_the_reference_decoder_sees_the_same(session: Recorded) -> None:
    """The pictures at the marks are those of a decoder that shares no line with the client."""
    device: Device | None = None
    marks = number = 0
    for record in session.records:
        if record.kind == "h":
            server = Server()
            server.receive(record.data)
            assert server.connection.hello is not None
            fresh = Device(server.connection.hello)
            if device is not None:
                fresh.framebuffer = device.framebuffer
                fresh.framebuffer.model = None
            device, number = fresh, 0
        elif device is not None and record.kind == "b":
            device.feed(record.data)
            assert device.code is None
        elif device is not None and record.kind in INPUTS:
            number += 1
            device.connection.send(m.TextInput(input=number, text="x"))
        elif device is not None and record.kind == "m":
            marks += 1
            assert zlib.crc32(device.framebuffer.stored()) == int.from_bytes(record.data[:4], "little"), record.data[8:]
    assert marks >= 5
