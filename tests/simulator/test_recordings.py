"""Recordings of real sessions, by the server and by a device, and what replaying them shows."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing
from PIL import Image

from tilewire.protocol import PANELS, PixelFormat, Rect, Sender, recorder
from tilewire.protocol import messages as m
from tilewire.protocol.recording import End, Entry, Kind, Picture, Reader, RecordingError, parse_body
from tilewire.server.handshake import Credentials
from tilewire.simulator.client import Client
from tilewire.simulator.device import Setup, open_device
from tilewire.simulator.recording import RecordError, Recording, RecordingFile
from tilewire.simulator.replay import Replay, config_of
from tilewire.simulator.screen import Screen

from tests import vectors as v
from tests.clients.test_vectors import replay as replay_in_c
from tests.relay import relay
from tests.server.xclient import painter
from tests.support import LOOPBACK, put_pixels, screen_picture, served
from tools import demo
from tools import served as tool

KEY = bytes(range(32))
SECRET = "correct horse"
XTERM = ["xterm", "-geometry", "100x30+0+0", "-bg", "white", "-fg", "black"]
WITHIN_S = 60.0
NEXT_PAGE = 0xFF56
EXIT_UNREADABLE, EXIT_CUT, EXIT_DIFFERS = 4, 5, 6


def sim(*arguments: str | Path, limit_kib: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tilewire.simulator.cli", *map(str, arguments)]
    if limit_kib is not None:
        command = ["bash", "-c", f'ulimit -f {limit_kib}; exec "$0" "$@"', *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def report(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    made: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return made


@dataclass(frozen=True, slots=True)
class Recorded:
    """A session of xterm, with a key: what the server recorded, what the device did, and its picture."""

    server: Path
    device: Path
    picture: Path


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("session")
    keys, key = folder / "keys", folder / "key"
    for path, line in ((keys, f"tilewire-sim {KEY.hex()}"), (key, KEY.hex())):
        path.write_text(line + "\n")
        path.chmod(0o600)
    made = Recorded(folder / "server.rec", folder / "device.rec", folder / "picture.png")
    words = ["run", "--listen", "127.0.0.1:0", "--size", "640x420", "--keys", str(keys), "--record", str(made.server)]
    with tool.served([*words, "--", *XTERM], folder / "log") as server:
        typed = ["--settle", "0.3", "--click", "200,200", "--type", f"echo {SECRET}\\n", "--type", "ls /usr/bin\\n"]
        # A blinking caret or the pointer is in no picture: xterm's does not blink, and no cursor is asked for.
        end: list[str | Path] = ["--for", "2", "--png", made.picture, "--record", made.device]
        done = sim("view", server.address, "--auth-key-file", key, *typed, *end)
        assert done.returncode == 0, done.stderr
    assert "Traceback" not in (folder / "log").read_text()
    return made


@pytest.mark.parametrize("chunk", [[], ["--chunk", "1"]], ids=["whole", "bytes"])
@pytest.mark.parametrize("which", ["server", "device"])
def test_a_session_is_replayed_exactly(session: Recorded, which: str, chunk: list[str], tmp_path: Path) -> None:
    path: Path = getattr(session, which)
    png = tmp_path / "replayed.png"
    done = sim("replay", path, "--full-speed", "--json", "--png", png, *chunk)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = report(done)
    assert said["complete"] is True
    assert said["wrong"] == 0
    assert int(str(said["updates"])) >= 3
    # The last picture was compared too.
    found = entries(path)
    pictures = [parse_body(Picture, entry).update for entry in found if entry.kind == Kind.PICTURE]
    assert pictures[-1] == parse_body(End, found[-1]).updates == said["updates"]
    assert said["checked"] == len(pictures)
    with Image.open(png) as mine, Image.open(session.picture) as theirs:
        assert mine.size == theirs.size == (1024, 600)
        # The server's recording has a cursor, and may have gone on for longer.
        if which == "device":
            assert mine.tobytes() == theirs.tobytes()


def test_the_files_are_private_and_hold_no_secret(session: Recorded) -> None:
    for path in (session.server, session.device):
        assert path.stat().st_mode & 0o777 == 0o600
        data = path.read_bytes()
        assert KEY not in data
        assert SECRET.encode() not in data
    file = RecordingFile(session.device)
    assert file.hello.auth_methods == 1
    client_side = b"".join(entry.body for entry in entries(session.device) if entry.kind == Kind.CLIENT)
    types = {piece.type for piece in recorder.Splitter().feed(client_side)}
    assert types <= {None, m.Ack.type, m.Ping.type, m.Pong.type, m.Refresh.type, m.Goodbye.type, m.View.type}
    assert m.Ack.type in types


def entries(path: Path) -> list[Entry]:
    reader = Reader()
    reader.receive_data(path.read_bytes())
    found: list[Entry] = []
    while isinstance(entry := reader.next_entry(), Entry):
        found.append(entry)
    return found


async def test_replaying_keeps_the_times(session: Recorded, autojump_clock: trio.testing.MockClock) -> None:
    replay = Replay(session.device)
    begun_s = trio.current_time()
    await replay.run(0.5)
    assert replay.began_us is not None
    assert trio.current_time() - begun_s == pytest.approx((replay.at_us - replay.began_us) / 1e6 / 0.5)
    assert replay.checked >= 2
    assert replay.wrong == 0


def test_the_plain_stream_is_all_that_another_device_needs(session: Recorded) -> None:
    """What a runner of other devices is given."""
    file = RecordingFile(session.server)
    client = Client(config_of(file.hello))
    last_us = 0
    for time_us, data in file.stream():
        assert time_us >= last_us
        last_us = time_us
        client.feed(data)
        client.output()
        assert client.error is None
    replay = Replay(session.server)
    trio.run(replay.run, None)
    assert client.framebuffer == replay.client.framebuffer
    assert client.shown == replay.client.shown > 0


def test_a_wrong_picture_is_noticed(session: Recorded, tmp_path: Path) -> None:
    """The checksum is compared: another picture, in a file that is sound, is told."""
    writer = Recording(tmp_path / "other.rec")
    for entry in entries(session.device):
        body = entry.body
        if entry.kind == Kind.CLIENT:
            writer.sent(body)
        elif entry.kind == Kind.SERVER:
            writer.received(body)
        elif entry.kind == Kind.CONNECTION:
            writer.connected()
    writer.picture(b"\1\2" * 1024 * 600, PixelFormat.RGB565)
    writer.close()
    done = sim("replay", tmp_path / "other.rec", "--full-speed")
    assert done.returncode == EXIT_DIFFERS
    assert "1 of 1 pictures are not what the recorded device showed" in done.stderr


def test_a_file_cut_anywhere_is_replayed_as_far_as_it_goes(session: Recorded, tmp_path: Path) -> None:
    whole = session.device.read_bytes()
    chance = random.Random(7)
    for cut in sorted(chance.randrange(300, len(whole) - 1) for _ in range(12)):
        path = tmp_path / "cut.rec"
        path.write_bytes(whole[:cut])
        replay = Replay(path)
        trio.run(replay.run, None)
        assert not replay.complete
        assert replay.wrong == 0
    done = sim("replay", path, "--full-speed")
    assert done.returncode == EXIT_CUT
    assert "the recording was cut off; all of it that is whole was played, up to" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_damaged_file_is_played_up_to_the_damage(session: Recorded, tmp_path: Path) -> None:
    whole = bytearray(session.device.read_bytes())
    whole[len(whole) // 2] ^= 0x10
    path = tmp_path / "damaged.rec"
    path.write_bytes(whole)
    done = sim("replay", path, "--full-speed", "--json")
    assert done.returncode == EXIT_UNREADABLE
    assert "the recording is damaged at byte" in done.stderr
    assert "what stands before it was played" in done.stderr
    assert report(done)["complete"] is False
    # The index is sound, and what it leads to behind the damage too.
    with pytest.raises(RecordingError):
        list(RecordingFile(path).play())


@pytest.mark.parametrize(
    ("data", "code", "sentence"),
    [
        (None, 1, "No such file or directory"),
        (b"", EXIT_UNREADABLE, "the file is empty"),
        (b"\x89PNG\r\n\x1a\n" * 40, EXIT_UNREADABLE, "this is no recording of tilewire"),
        (b"\x97TWREC\r\n\x09\x00", EXIT_UNREADABLE, "the recording has format 9, this version reads up to 1"),
        (b"\x97TWREC\r\n\x01\x00", EXIT_UNREADABLE, "the recording ends before a device says HELLO"),
        (b"\x97TWREC\r\n\x01\x00" + bytes(60), EXIT_UNREADABLE, "the recording is damaged at byte 10"),
    ],
)
def test_what_is_no_recording_is_said_in_a_sentence(
    data: bytes | None, code: int, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if data is not None:
        path.write_bytes(data)
    done = sim("replay", path)
    assert done.returncode == code
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["--speed", "0"], ["--chunk", "0"], ["--from", "x"], ["--speed", "2", "--full-speed"]]
)
def test_wrong_arguments_are_named(arguments: list[str]) -> None:
    done = sim("replay", "file", *arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr


def test_a_recording_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "there"
    path.write_text("mine")
    done = sim("view", "127.0.0.1:1", "--record", path)
    assert done.returncode == 1
    assert f"{path} is there already, and a recording does not overwrite" in done.stderr
    assert path.read_text() == "mine"
    with pytest.raises(RecordError, match="cannot be written: No such file or directory"):
        Recording(tmp_path / "none" / "file")
    done = sim("view", "127.0.0.1:1", "--record-input")
    assert (done.returncode, "--record-input goes with --record FILE" in done.stderr) == (1, True)
    # Nothing was recorded: nothing is left.
    done = sim("view", "127.0.0.1:1", "--record", tmp_path / "new")
    assert done.returncode == 1
    assert not (tmp_path / "new").exists()


def test_one_command_makes_a_vector(session: Recorded, tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    done = sim("replay", session.device, "--vector", path, "--to", "1.5")
    assert done.returncode == 0, done.stderr
    (item,) = json.loads(path.read_text())["vectors"]
    assert item["name"] == "recorded"
    vector = v.of_json(item)
    assert any(event["type"] == "CODEC" for step in vector.steps for event in step.events)
    for role in (Sender.CLIENT, Sender.SERVER):
        v.replay(vector, role)
    replay_in_c(vector, small=False)


def test_a_full_disk_ends_the_recording_and_not_the_session(session: Recorded, tmp_path: Path) -> None:
    path, png = tmp_path / "full.rec", tmp_path / "picture.png"
    with tool.served(["run", "--listen", "127.0.0.1:0", "--size", "640x420", "--", *XTERM], tmp_path / "log") as server:
        typed = ["--click", "200,200", "--type", "ls /usr/bin\\n", "--type", "ls /usr/lib\\n"]
        done = sim("view", server.address, *typed, "--for", "1", "--json", "--record", path, limit_kib=2)
    assert done.returncode == 1
    assert f"the recording {path} ends here: File too large" in done.stderr
    assert int(str(report(done)["bytes"])) > 2048
    assert path.stat().st_size <= 2048
    done = sim("replay", path, "--full-speed", "--png", png)
    assert done.returncode in (0, EXIT_CUT), done.stderr
    assert png.exists()


def test_a_server_that_is_killed_leaves_a_file_that_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "killed.rec"
    words = ["run", "--listen", "127.0.0.1:0", "--size", "640x420", "--record", str(path), "--"]
    with tool.served([*words, *XTERM], tmp_path / "log") as server:
        typed = ["--click", "200,200", "--type", "ls /usr/bin\\n"]
        done = sim("view", server.address, *typed, "--for", "1", "--json")
        assert done.returncode == 0, done.stderr
        os.kill(server.pid, signal.SIGKILL)
        # Whatever was whole by then was written by then, but for what the thread had in its hands.
        time.sleep(0.2)
    done = sim("replay", path, "--full-speed", "--json")
    assert done.returncode == EXIT_CUT, done.stderr
    said = report(done)
    assert said["wrong"] == 0
    assert int(str(said["updates"])) >= 2


async def test_keyframes_and_broken_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A device whose line breaks again and again: its recording plays as one, from any keyframe, to its picture."""
    monkeypatch.setattr(recorder, "KEYFRAME_US", 300_000)
    monkeypatch.setattr(recorder, "AGAIN_US", 200_000)
    monkeypatch.setattr("tilewire.simulator.device.TICK_S", 0.1)
    path = tmp_path / "broken.rec"
    panel = PANELS["iot-256"]
    chance = random.Random(3)
    recording = Recording(path, panel_name=panel.name)
    setup = Setup(panel=panel, device_id="d", key=KEY, reconnect=True, recording=recording, hurry=0.001)
    credentials = Credentials({"d": KEY}, open_door=False)
    async with (
        served((panel.width, panel.height), credentials=credentials) as server,
        relay(server.port) as line,
        open_device(f"{LOOPBACK}:{line.port}", setup) as device,
    ):
        await device.whole_picture()
        with painter(server.name) as pen:
            for number in range(24):
                place = Rect(chance.randrange(600), chance.randrange(400), 160, 60)
                pixels = b"".join(bytes((chance.randrange(4) * 80, 99, number, 0)) for _ in range(place.area))
                await trio.to_thread.run_sync(put_pixels, pen, place, pixels)
                if number % 6 == 5:
                    line.cut_after(chance.randrange(1, 4000))
                await trio.sleep(0.1)
            line.cut_after(None)
            expected = await screen_picture(server.name, (panel.width, panel.height), panel.pixel_format)
            assert await device.wait_for(lambda: device.memory() == expected and not device.is_down, WITHIN_S)
            connections = device.connections
    assert connections >= 3
    assert recording.ended is None
    file = RecordingFile(path)
    assert len(file.keyframes) >= 3
    for start_us in [0, *(place.time_us for place in file.keyframes)]:
        replay = Replay(path, start_us=start_us)
        await replay.run(None)
        assert replay.complete
        assert replay.wrong == 0
        assert replay.client.framebuffer == expected
        if start_us > 0:
            assert replay.began_us == start_us
    assert replay.checked >= 1


@pytest.mark.parametrize("panel", ["mcu", "legacy-2g"])
async def test_a_panel_of_another_kind(panel: str, tmp_path: Path) -> None:
    """Big-endian and unreadable; 32 bits a pixel: the checksum is of the same pixels."""
    path = tmp_path / "panel.rec"
    async with served((320, 240)) as server:
        setup = Setup(panel=PANELS[panel], recording=Recording(path, panel_name=panel))
        async with open_device(f"{LOOPBACK}:{server.port}", setup) as device:
            await device.whole_picture()
            before = device.presented
            with painter(server.name) as pen:
                put_pixels(pen, Rect(10, 20, 64, 32), bytes(range(256)) * 32)
                assert await device.wait_for(lambda: device.presented > before, WITHIN_S)
    replay = Replay(path)
    await replay.run(None)
    assert (replay.complete, replay.wrong) == (True, 0)
    assert replay.checked >= 1
    assert replay.file.meta.panel_name == panel


def test_a_runner_asks_for_keyframes_in_the_line(session: Recorded, tmp_path: Path) -> None:
    """`inject`: between two messages of the device, and only where one is due."""
    recording = Recording(tmp_path / "line.rec")
    recording.connected()
    assert recording.inject() == b""
    client_side = [entry.body for entry in entries(session.device) if entry.kind == Kind.CLIENT]
    server_side = [entry.body for entry in entries(session.device) if entry.kind == Kind.SERVER]
    recording.sent(client_side[0])
    handshake, *_ = [body for body in server_side if b"\x97TW" in body[:3]]
    recording.received(handshake)
    if m.Welcome.type not in [piece.type for piece in recorder.Splitter().feed(handshake)]:
        recording.received(server_side[1])
    # An update that is not whole: from nowhere could a player begin.
    recording.received(m.Begin(update=1, input=0).encode())
    assert recording.inject() == b""
    recording.received(m.End().encode())
    time.sleep(recorder.AGAIN_US / 1e6)
    ack = m.Ack(update=1, decode_us=5).encode()
    recording.sent(ack[:-1])
    assert recording.inject() == b""
    recording.sent(ack[-1:])
    assert recording.inject() == m.Refresh().encode()
    assert recording.inject() == b""
    recording.close()
    assert m.Refresh().encode() in (tmp_path / "line.rec").read_bytes()


async def test_chromium(tmp_path: Path) -> None:
    """A real page, recorded by the server and by a device at once."""
    page = f"file://{demo.PAGE}"
    both = [tmp_path / "server.rec", tmp_path / "device.rec"]
    words = ["run", "--listen", "127.0.0.1:0", "--size", "1024x600", "--record", str(both[0]), "--"]
    with tool.served([*words, *demo.chromium(page, str(tmp_path / "profile"))], tmp_path / "log") as server:
        async with open_device(server.address, Setup(recording=Recording(both[1]))) as device:
            assert await device.wait_for(
                lambda: demo.colours(Screen(1024, 600, device.rgb())) >= demo.CONTENT_COLOURS, WITHIN_S
            )
            assert await device.settled(1.0, WITHIN_S)
            for _ in range(2):
                seen = device.presented
                device.key([NEXT_PAGE])
                assert await device.wait_for(lambda seen=seen: device.presented > seen, WITHIN_S)  # type: ignore[misc]
                assert await device.settled(1.5, WITHIN_S)
            picture = device.memory()
    for path in both:
        replay = Replay(path)
        await replay.run(None)
        assert (replay.complete, replay.wrong) == (True, 0)
        assert replay.checked >= 1
        assert replay.client.framebuffer == picture
