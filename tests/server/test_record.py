"""`--record`: what records a session is a viewer that nobody notices, whatever its disk does."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from tilewire.protocol import DEFAULT_PANEL, PANELS, Code, Connection, Need, Rect, Role, Sender, recorder
from tilewire.protocol import messages as m
from tilewire.protocol.playback import Check, Player
from tilewire.protocol.recording import (
    End,
    EndOfRecording,
    Entry,
    Keyframe,
    Kind,
    Reader,
    checksum,
    parse_body,
    unpack_index,
)
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.wire import Message
from tilewire.server import record, session
from tilewire.server.errors import ServerError
from tilewire.server.record import Recording, RecordOptions, open_recording

from tests.server.xclient import Painter, painter
from tests.support import SIZE, WITHIN_S, Served, device, hello, put_pixels, served
from tools import served as tool

PANEL = replace(PANELS[DEFAULT_PANEL], width=SIZE[0], height=SIZE[1], max_rect_width=SIZE[0], max_rect_area=1 << 16)
TEXT = [bytes((n * 37 % 7 * 40, n * 11 % 3 * 99, n % 5 * 60, 0)) for n in range(64 * 32)]


def options(path: Path, **changes: Any) -> RecordOptions:
    fields: dict[str, Any] = {"path": path, "panel": PANEL, "max_bytes": 64 << 20}
    return RecordOptions(**(fields | changes))


@asynccontextmanager
async def recorded(server: Served, made: RecordOptions) -> AsyncIterator[Recording]:
    """The server's session is recorded, until the block ends."""
    with open_recording(made, "test") as recording:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recording.run, server.session)
            await until(lambda: made.path.stat().st_size > 0)
            yield recording
            nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Return once it holds."""
    with trio.fail_after(WITHIN_S):
        while not condition():  # noqa: ASYNC110  # of a file and a log, which tell nobody
            await trio.sleep(0.01)


def entries(path: Path) -> tuple[list[Entry], EndOfRecording]:
    reader = Reader()
    reader.receive_data(path.read_bytes())
    reader.receive_data(b"")
    found: list[Entry] = []
    while isinstance(entry := reader.next_entry(), Entry):
        found.append(entry)
    assert isinstance(entry, EndOfRecording)
    return found, entry


def played(found: list[Entry], start: Entry | None = None) -> tuple[Framebuffer, int]:
    """What a client shows that checks every message, and how many checksums agreed (all of them)."""
    player = Player()
    items: list[Any] = []
    if start is not None:
        for entry in found[:4]:
            if player.hello is None:
                player.take(entry)
        items.append(player.begin_at(start))
        found = found[found.index(start) + 1 :]
    items += [player.take(entry) for entry in found]
    assert player.hello is not None
    connection, screen = Connection(Sender.CLIENT), Framebuffer.of(player.hello)
    connection.send(player.hello)
    checks = 0
    for item in items:
        if isinstance(item, Check):
            assert checksum(screen.stored(), screen.format) == item.checksum
            checks += 1
        elif item is not None:
            connection.receive_data(item.data)
            while not isinstance(event := connection.next_event(), Need):
                if isinstance(event, Message):
                    screen.apply(event)
    return screen, checks


def draw(pen: Painter, number: int) -> None:
    place = Rect(8 + number * 5 % 100, 4 + number * 7 % 60, 64, 32)
    put_pixels(pen, place, b"".join(TEXT[number:] + TEXT[:number]))


async def test_keyframes_and_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recorder, "KEYFRAME_US", 200_000)
    monkeypatch.setattr(recorder, "AGAIN_US", 100_000)
    monkeypatch.setattr(record, "LOOK_S", 0.02)
    path = tmp_path / "session.rec"
    async with served() as server, recorded(server, options(path)):
        with painter(server.name) as pen:
            for number in range(20):
                await trio.to_thread.run_sync(draw, pen, number)
                await trio.sleep(0.05)
            expected = await server.picture(SIZE, PANEL.pixel_format)
            size = 0
            while size != path.stat().st_size:
                size = path.stat().st_size
                await trio.sleep(0.3)
    assert path.stat().st_mode & 0o777 == 0o600
    found, ending = entries(path)
    assert ending.complete
    screen, checks = played(found)
    assert screen.stored() == expected
    assert checks >= 3
    index = unpack_index(parse_body(End, found[-1]).keyframes)
    starts = [entry for entry in found if entry.kind == Kind.KEYFRAME and entry.offset in {p.offset for p in index}]
    assert len(starts) >= 3
    assert parse_body(Keyframe, starts[0]).update == 0
    for start in (starts[0], starts[1], starts[-1]):
        assert played(found, start)[0].stored() == expected


async def test_nobody_notices_that_it_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "MAX_VIEWERS", 1)
    path = tmp_path / "session.rec"
    async with served() as server, recorded(server, options(path)):
        async with device(server.port, hello(device_id="first")) as one:
            assert (one.welcome.viewer, one.welcome.role) == (1, Role.CONTROL)
            await server.until_exact(one)
        # What looks at a still screen is not asked for pixels.
        captures = server.session.captures
        await trio.sleep(0.3)
        assert server.session.captures == captures
        assert server.session.holder_number == 0
        server.session.end(Code.SESSION_ENDED, "it is over")
        size = path.stat().st_size
        await until(lambda: path.stat().st_size > size)
    found, ending = entries(path)
    assert ending.complete
    goodbye = m.Goodbye(code=Code.SESSION_ENDED, text="it is over").encode()
    assert any(goodbye in entry.body for entry in found if entry.kind == Kind.SERVER)
    assert parse_body(End, found[-1]).reason == "it is over"


async def test_a_session_larger_than_the_panel_is_in_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "session.rec"
    small = replace(PANEL, width=100, height=100, max_rect_width=100)
    async with served() as server, recorded(server, options(path, panel=small)):
        await trio.sleep(0.5)
    found, _ = entries(path)
    states = [
        m.ViewState.decode(piece.body)
        for entry in found
        if entry.kind == Kind.SERVER
        for piece in recorder.Splitter(greeted=entry.body[:1] != b"\x97").feed(entry.body)
        if piece.type == m.ViewState.type
    ]
    assert states[-1].window == Rect(0, 0, *SIZE)
    played(found)


async def test_a_slow_disk_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The disk stands still: the recorder skips states and catches up; a device sees every picture meanwhile."""
    path = tmp_path / "session.rec"
    running = threading.Event()
    running.set()
    write = os.write

    def slow(file: int, data: bytes) -> int:
        if threading.current_thread().name == "recording":
            running.wait(WITHIN_S)
        return write(file, data)

    monkeypatch.setattr(os, "write", slow)
    monkeypatch.setattr(record, "BACKLOG", 1)
    async with served() as server, recorded(server, options(path)):
        async with device(server.port) as one:
            with painter(server.name) as pen:
                await trio.to_thread.run_sync(draw, pen, 0)
                await server.until_exact(one)
                running.clear()
                size = path.stat().st_size
                before = one.updates
                for number in range(1, 12):
                    await trio.to_thread.run_sync(draw, pen, number)
                    await server.until_exact(one)
                assert path.stat().st_size == size
                assert one.updates >= before + 11
                running.set()
                expected = one.stored()
                await trio.sleep(1.0)
    found, ending = entries(path)
    assert ending.complete
    screen, _ = played(found)
    assert screen.stored() == expected
    # States were skipped, not queued.
    updates = parse_body(End, found[-1]).updates
    assert updates is not None
    assert updates < one.updates


async def test_a_disk_that_never_answers_ends_the_recording(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "session.rec"
    stuck = threading.Event()
    write = os.write

    def stand_still(file: int, data: bytes) -> int:
        if threading.current_thread().name == "recording" and path.stat().st_size > 100:
            stuck.wait(WITHIN_S)
        return write(file, data)

    monkeypatch.setattr(os, "write", stand_still)
    monkeypatch.setattr(record, "BACKLOG", 1)
    monkeypatch.setattr(record, "CLOSE_S", 0.1)
    monkeypatch.setattr("tilewire.server.viewers.STALLED_S", 1.0)
    async with served() as server, recorded(server, options(path)):
        async with device(server.port) as one:
            with painter(server.name) as pen:
                for number in range(8):
                    await trio.to_thread.run_sync(draw, pen, number)
                    await server.until_exact(one)
                await until(lambda: "the session goes on" in caplog.text)
                await trio.to_thread.run_sync(draw, pen, 9)
                await server.until_exact(one)
    stuck.set()
    # On a busy machine a second may pass without a turn for the recorder: that is too slow as well.
    assert re.search(r"the session goes on: (the disk|this machine) is too slow", caplog.text)


async def test_the_largest_size_is_kept(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "session.rec"
    async with served() as server, recorded(server, options(path, max_bytes=record.RESERVE + 4096)):
        async with device(server.port) as one:
            with painter(server.name) as pen:
                for number in range(6):
                    noise = os.urandom(4 * 64 * 32)
                    await trio.to_thread.run_sync(put_pixels, pen, Rect(number, 9, 64, 32), noise)
                    await server.until_exact(one)
    assert "the most that it may have" in caplog.text
    found, ending = entries(path)
    assert ending.complete
    assert path.stat().st_size < record.RESERVE + 4096
    played(found)


def test_what_cannot_be_begun_is_said(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    for path, sentence in (
        (there, "is there already, and a recording does not overwrite"),
        (tmp_path / "none" / "file", "cannot be written: No such file or directory"),
    ):
        with pytest.raises(ServerError, match=sentence), open_recording(options(path), "test"):
            pass
    assert there.read_text() == "mine"
    with open_recording(options(tmp_path / "new"), "test"):
        pass
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--record", "/etc/hostname"], 1, "/etc/hostname is there already"),
        (["--record-panel", "mcu"], 1, "--record-panel and --record-max go with --record FILE"),
        (["--record-max", "0"], 2, "'0' is not a number of MiB from 1 on"),
        (["--record-panel", "none"], 2, "invalid choice: 'none'"),
    ],
)
def test_the_command_says_what_is_wrong(words: list[str], code: int, sentence: str) -> None:
    command = [sys.executable, "-m", "tilewire.server.cli", "run", "--listen", "127.0.0.1:0", *words, "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_full_disk_harms_no_session(tmp_path: Path) -> None:
    """Files of at most 24 KiB, which Xvfb needs for its keymap: the recording ends, xterm is served on."""
    path, log = tmp_path / "full.rec", tmp_path / "log"
    with tool.served(
        ["run", "--listen", "127.0.0.1:0", "--size", "320x240", "--record", str(path), "--", "xterm", "-fn", "5x7"],
        log,
        file_kib=24,
    ) as server:
        port = int(server.address.rpartition(":")[2])
        async with device(port, hello(panel=(320, 240))) as one:
            await one.until(lambda: one.updates > 0)
            for _ in range(40):
                await one.text("head -c 1500 /dev/urandom | base64\n")
                seen = one.updates
                await one.until(lambda seen=seen: one.updates > seen)  # type: ignore[misc]
                if "the session goes on" in log.read_text():
                    break
            assert re.search(r"the recording \S+ ends, the session goes on: File too large", log.read_text())
            seen = one.updates
            await one.text("echo still here\n")
            await one.until(lambda: one.updates > seen)
    assert path.stat().st_size <= 24 << 10
    found, _ = entries(path)
    played(found)
