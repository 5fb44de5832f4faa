"""`tilewire-sim run` as a user calls it: real QEMU, real server, real programs; and how it ends, whatever happens."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from tilewire.protocol import PixelFormat
from tilewire.simulator import machine as machine_of
from tilewire.simulator import runner_replay
from tilewire.simulator.cli import main, parser
from tilewire.simulator.command import first_of
from tilewire.simulator.exits import Exit
from tilewire.simulator.machine import FIRMWARE, QCODES, Plan, find_qemu, open_machine
from tilewire.simulator.picture import to_rgb
from tilewire.simulator.runner_exits import MEANINGS, RunError, RunExit
from tilewire.simulator.screen import Screen, read_png

from tests.firmware.machine import HOST
from tests.firmware.terminal import Terminal, terminal, typed_is
from tests.simulator.lines import killed_late, until_line
from tests.support import quiet, screen_picture
from tools import demo, lwip, soak
from tools.served import served

WITHIN_S = 60.0
SIM = [sys.executable, "-m", "tilewire.simulator.cli"]
SIZE = (1024, 600)


def run(*words: str | Path, before: tuple[str, ...] = (), **more: str) -> subprocess.CompletedProcess[str]:
    """`more`: environment variables."""
    command = [*before, *SIM, "run", *map(str, words)]
    environment = os.environ | more
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What it said last."""
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1].removeprefix("tilewire-sim: ")


def script(folder: Path, text: str) -> Path:
    path = folder / "script.toml"
    path.write_text(text, encoding="utf-8")
    return path


async def server_screen(display: str) -> Screen:
    return Screen(*SIZE, to_rgb(await screen_picture(display, SIZE, PixelFormat.RGB565), PixelFormat.RGB565))


@pytest.fixture(scope="module")
def xterm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with terminal(tmp_path_factory.mktemp("xterm")) as one:
        yield one


USER = """
[[step]]
wait = { quiet = 0.2 }
[[step]]
stats = "before"
[[step]]
tap = [500, 300]
[[step]]
type = "Tilewire, ({WORD})! żółw 龍 end"
[[step]]
key = "Control_L+d"
[[step]]
key = "eacute"
[[step]]
wait = { text = "Tilewire", region = [192, 90, 480, 300] }
[[step]]
wait = { quiet = 0.3 }
[[step]]
screenshot = "shot.png"
[[step]]
assert = { image = "shot.png", region = [192, 90, 200, 60] }
[[step]]
assert = { pixel = [0, 0], colour = "#000000" }
[[step]]
stats = "after"
"""


def test_a_session_with_a_script_and_a_report(xterm: Terminal, tmp_path: Path) -> None:
    word = secrets.token_hex(3)
    steps = script(tmp_path, USER.replace("{WORD}", word))
    picture, frames = tmp_path / "picture.png", tmp_path / "with, comma.pcap"
    frames.write_text("older and longer, for anybody to read\n" * 100_000)
    done = run(f"127.0.0.1:{xterm.port}", "--script", steps, "--json", "--png", picture, "--pcap", frames)
    assert done.returncode == 0, done.stderr
    typed_is(xterm, f"Tilewire, ({word})! żółw 龍 end\x04é".encode())
    # What the LCD shows is the server's own picture, to the pixel as far as 565 goes.
    assert read_png(picture).differing(trio.run(server_screen, xterm.display)) == 0
    assert read_png(tmp_path / "shot.png").differing(read_png(picture)) == 0
    # The file's magic number, and more than the handshake; what is typed is in it.
    assert frames.read_bytes()[:4] == bytes.fromhex("d4c3b2a1")
    assert 1000 < frames.stat().st_size < 3_000_000
    assert stat.S_IMODE(frames.stat().st_mode) == 0o600
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["exit"] == {"code": 0, "text": None}
    assert report["clock"]["mode"] == "host"
    assert 0 < report["boot_to_picture_ms"] < report["stats"][0]["ms"]
    assert report["updates"] >= 2
    assert report["bytes"]["received"] > 200
    assert report["instructions_per_pixel"] is None
    assert report["decode_us"]["sum"] >= report["decode_us"]["max"] > 0
    assert report["input_to_picture_ms"]["count"] >= 1
    # What the LAN9118 drops it does not count: tests/firmware/test_ethernet.py looks at the wire.
    assert report["lost"] == {"inputs": 0, "keyboard": 0, "control": 0, "frames": report["frames"]["lost"]}
    assert report["link"] is None
    memory = report["memory"]
    assert memory["buffers"]["framebuffer"] == 1024 * 600 * 2
    assert all(0 <= stack["used"] < stack["size"] for stack in memory["stacks"].values())
    assert 0 < memory["pools"]["TCP_SEG"]["most"] <= memory["pools"]["TCP_SEG"]["size"]
    before, after = report["stats"]
    assert (before["name"], after["name"]) == ("before", "after")
    assert after["interval_updates"] == after["updates"] - before["updates"] >= 1
    assert len(after["interval_input_to_picture_ms"]) >= 1


def test_a_slow_processor_on_a_slow_link_comes_back(xterm: Terminal, tmp_path: Path) -> None:
    steps = script(
        tmp_path,
        """
        [[step]]
        cut = true
        [[step]]
        wait = { picture = true }
        [[step]]
        link = { rtt_ms = 10, kbit_s = 0 }
        [[step]]
        tap = [500, 300]
        [[step]]
        type = "back again"
        [[step]]
        wait = { log = "resumed" }
        """,
    )
    words = ["--mips", "125", "--link", "1000", "--rtt", "40", "--net", "virtio", "--cursor", "local", "--json"]
    done = run(f"127.0.0.1:{xterm.port}", "--script", steps, *words)
    assert done.returncode == 0, done.stderr
    typed_is(xterm, b"back again")
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["clock"]["mode"] == "icount shift=3,sleep=on,align=on"
    assert report["clock"]["behind_ms"] is not None
    assert report["instructions_per_pixel"] > 0
    assert (report["connections"], report["reconnects"]) == (2, 1)
    assert report["lost"]["frames"] == 0
    asked, counted = report["link"]["asked"], report["link"]["counted"]
    assert (asked["kbit_s"], asked["rtt_ms"]) == (1000, 40)
    assert (report["link"]["asked_last"]["kbit_s"], report["link"]["asked_last"]["rtt_ms"]) == (None, 10)
    assert "forwarder" in report["link"]["note"]
    assert counted["down"]["delivered"]["bytes"] >= report["bytes"]["received"]


async def type_everything(port: int, text: str) -> None:
    config = {"server": f"{HOST}:{port}", "panel": "iot-256", "reconnect": "no"}
    async with open_machine(Plan(config=config, qemu=find_qemu())) as machine:
        await machine.until("picture", timeout_s=WITHIN_S)
        await machine.tap(400, 240)
        await machine.type(text)
        for name in QCODES:
            # Whether QEMU knows the key by this name: it refuses others.
            await machine.keys([name])
        stats = await machine.stats()
        assert stats["lost"] == {"inputs": 0, "keyboard": 0, "control": 0}
        await machine.stop()


async def test_a_long_text_that_has_no_keys(xterm: Terminal) -> None:
    text = secrets.token_hex(4) + "żółŵ龍" * 2000 + secrets.token_hex(4)
    config = {"server": f"{HOST}:{xterm.port}", "panel": "iot-256", "reconnect": "no"}
    # So slow that what comes waits.
    async with open_machine(Plan(config=config, qemu=find_qemu(), mips=125)) as machine:
        await machine.until("picture", timeout_s=WITHIN_S)
        await machine.tap(400, 240)
        await machine.type(text)
        with trio.fail_after(WITHIN_S):
            while text.encode() not in xterm.typed.read_bytes():
                await quiet(0.05)
        assert (await machine.stats())["lost"] == {"inputs": 0, "keyboard": 0, "control": 0}
        await machine.stop()


def test_every_key(xterm: Terminal) -> None:
    text = "".join(map(chr, range(32, 127))) + secrets.token_hex(4)
    trio.run(type_everything, xterm.port, text)
    until = time.monotonic() + WITHIN_S
    while text.encode() not in xterm.typed.read_bytes():
        assert time.monotonic() < until, xterm.typed.read_bytes()[-300:]
        time.sleep(0.02)


def test_an_address_that_only_this_process_reaches(tmp_path: Path) -> None:
    # The device has no IPv6: what it says goes through the runner.
    words = ["run", "--listen", "[::1]:0", "--size", "320x240", "--", "xterm", "-bg", "white"]
    with served(words, tmp_path / "log") as server:
        done = run(server.address, "--json", "--panel", "mcu")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout.splitlines()[-1])
        assert report["updates"] >= 1
        assert report["link"]["note"].startswith("the wire passes through this process")


@pytest.mark.parametrize("listens", ["[::1]", "127.0.0.1"])
def test_localhost_is_either_loopback(listens: str, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")
    other = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    before = (*other, f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh")
    words = ["run", "--listen", f"{listens}:0", "--size", "320x240", "--", "xterm", "-bg", "white"]
    with served(words, tmp_path / "log") as server:
        port = server.address.rpartition(":")[2]
        done = run(f"localhost:{port}", "--json", "--panel", "mcu", before=before)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["updates"] >= 1


# Chromium.

FIRST = """<!DOCTYPE html><html><body style="margin:0;background:#ffffff;font:20px serif">
<a href="second.html" style="display:block;position:absolute;left:100px;top:80px;width:300px;height:90px;
background:#0000ff;color:#ffffff">follow me</a></body></html>"""
SECOND = """<!DOCTYPE html><html><body style="margin:0;background:#ff0000;font:24px serif">
<div style="height:500px;background:#00ff00">The second page</div>""" + "".join(
    f'<p style="margin:20px">Line {number} of a page that is longer than the screen</p>' for number in range(100)
)
BROWSE = """
[[step]]
wait = { pixel = [250, 150], colour = "#0000ff" }
[[step]]
wait = { quiet = 1.0 }
[[step]]
tap = [250, 150]
[[step]]
wait = { pixel = [500, 300], colour = "#00ff00" }
[[step]]
wait = { text = "second page", region = [0, 0, 400, 60] }
[[step]]
wait = { quiet = 1.0 }
[[step]]
screenshot = "top.png"
[[step]]
swipe = { from = [500, 550], to = [500, 60], ms = 400, fingers = 2 }
[[step]]
wait = { pixel = [900, 250], colour = "#ff0000" }
[[step]]
wait = { quiet = 1.0 }
"""


def test_a_tap_follows_a_link_and_a_swipe_scrolls(tmp_path: Path) -> None:
    (tmp_path / "first.html").write_text(FIRST)
    (tmp_path / "second.html").write_text(SECOND)
    log, picture = tmp_path / "log", tmp_path / "picture.png"
    command = demo.chromium((tmp_path / "first.html").as_uri(), str(tmp_path / "profile"))
    with served(["run", "--listen", "127.0.0.1:0", "--size", "1024x600", "--", *command], log) as server:
        done = run(server.address, "--script", script(tmp_path, BROWSE), "--png", picture)
        assert done.returncode == 0, done.stderr
        display = log.read_text().partition("on display ")[2].partition(",")[0]
        assert read_png(picture).differing(trio.run(server_screen, display)) == 0
    assert read_png(picture).differing(read_png(tmp_path / "top.png")) > 1000


# Recordings.


def test_what_was_recorded_is_played_in_the_device(xterm: Terminal, tmp_path: Path) -> None:
    recording, picture = tmp_path / "session.rec", tmp_path / "picture.png"
    steps = script(tmp_path, '[[step]]\ntap = [500, 300]\n[[step]]\ntype = "kept"\n[[step]]\nwait = { quiet = 0.3 }\n')
    done = run(f"127.0.0.1:{xterm.port}", "--script", steps, "--record", recording, "--png", picture)
    assert done.returncode == 0, done.stderr
    reports = []
    for number in range(2):
        shown = tmp_path / f"{number}.png"
        words = ["replay", str(recording), "--qemu", "--mips", "125", "--json", "--png", str(shown)]
        played = subprocess.run([*SIM, *words], capture_output=True, text=True, timeout=120, check=False)
        assert played.returncode == 0, played.stderr
        assert read_png(shown).differing(read_png(picture)) == 0
        reports.append(json.loads(played.stdout))
    assert reports[0] == reports[1] | {"instructions": reports[0]["instructions"], "decode_us": reports[0]["decode_us"]}
    # The clock's grain is 10 ns, a little more than an instruction here, at both ends of each update.
    assert abs(reports[0]["instructions"] - reports[1]["instructions"]) <= 4 * reports[0]["updates"]
    assert reports[0]["updates"] >= 2
    assert reports[0]["instructions_per_pixel"] > 0
    assert reports[0]["clock"]["mode"] == "icount shift=3,sleep=off"


def test_what_is_wrong_with_a_recording_is_said_of_the_device_too(xterm: Terminal, tmp_path: Path) -> None:
    recording = tmp_path / "session.rec"
    done = run(f"127.0.0.1:{xterm.port}", "--for", "0.5", "--record", recording)
    assert done.returncode == 0, done.stderr
    whole = recording.read_bytes()
    # What the C client shows is not what it is told to compare with.
    arguments = parser().parse_args(["replay", str(recording), "--qemu"])
    assert trio.run(runner_replay.run, arguments, 1) == 6
    recording.write_bytes(whole[:-20])
    words = [*SIM, "replay", str(recording), "--qemu", "--json"]
    played = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert played.returncode == 5
    assert "the recording was cut off; all of it that is whole was played" in played.stderr
    assert json.loads(played.stdout)["updates"] >= 1
    recording.write_bytes(whole[:200] + bytes(200) + whole[400:])
    played = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (played.returncode, played.stdout) == (4, "")


def test_a_server_s_recording_is_played_in_the_device(tmp_path: Path) -> None:
    # Its device offers what the firmware does not.
    recording, shown = tmp_path / "server.rec", tmp_path / "shown.png"
    with terminal(tmp_path / "server", "--record", str(recording)) as server:
        done = run(f"127.0.0.1:{server.port}", "--json")
        assert done.returncode == 0, done.stderr
    words = [str(recording), "--qemu", "--json", "--png", str(shown)]
    played = subprocess.run([*SIM, "replay", *words], capture_output=True, text=True, timeout=120, check=False)
    assert played.returncode == 0, played.stderr
    assert json.loads(played.stdout)["updates"] >= 1
    # White, as far as 565 goes.
    assert read_png(shown).pixel(300, 200) == (255, 255, 255)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--qemu", "--speed", "2"], 2, "--vector, --chunk and --speed do not go with --qemu: it counts instructions"),
        (["--mips", "125"], 2, "--mips and --firmware go with --qemu"),
        (["--qemu"], 4, "none.rec: "),
    ],
)
def test_what_cannot_be_played(words: list[str], status: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "none.rec").write_bytes(b"HTTP/1.1 200 OK\r\n\r\n")
    command = [*SIM, "replay", "none.rec", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == status
    assert sentence(done).startswith(said)


# How it ends.


def test_every_exit_status_is_in_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs/device.md").read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {code} | {meaning} |" in page
    assert {status.value for status in RunExit} <= MEANINGS.keys()
    assert len({status.value for status in (*RunExit, *Exit)}) == len(RunExit) + len(Exit) - 1  # both have 0
    done = run("--help")
    assert "exit status:" in done.stdout
    assert str(MEANINGS[RunExit.NO_LINK]) in done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def test_nobody_is_there() -> None:
    address = f"127.0.0.1:{free_port()}"
    done = run(address)
    assert done.returncode == Exit.LOST
    assert sentence(done).startswith(f"no connection to {address}: ")


def test_a_server_that_goes(tmp_path: Path) -> None:
    with terminal(tmp_path / "server") as server, running(tmp_path, server.port) as (process, _):
        kill_listener(server.port)
        assert process.stderr is not None
        with killed_late(process):
            said = process.stderr.read().splitlines()
        assert process.wait(WITHIN_S) in (Exit.LOST, Exit.ENDED)
        assert f"127.0.0.1:{server.port}" in said[-1]


def kill_listener(port: int) -> None:
    """Ask the server to end, by the process that listens there."""
    wanted = f":{port:04X}"
    inode = next(
        fields[9]
        for fields in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[1].endswith(wanted) and fields[3] == "0A"
    )
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
        except OSError:
            continue
        if f"socket:[{inode}]" in links:
            os.kill(int(process.name), signal.SIGKILL)


@pytest.mark.parametrize("wrong", ["key", "none"])
def test_a_wrong_key(wrong: str, tmp_path: Path) -> None:
    keys, key = tmp_path / "keys", tmp_path / "key"
    for path, line in ((keys, f"panel-7 {secrets.token_hex(32)}"), (key, secrets.token_hex(32))):
        path.touch(mode=0o600)
        path.write_text(line + "\n")
    with terminal(tmp_path / "server", "--keys", str(keys)) as server:
        words = ["--auth-key-file", str(key)] if wrong == "key" else []
        done = run(f"127.0.0.1:{server.port}", "--device-id", "panel-7", *words)
        assert done.returncode == RunExit.WRONG_KEY
        has = "this device's key" if wrong == "key" else "a device without a key"
        assert sentence(done).startswith(f"127.0.0.1:{server.port} does not take {has}: ")


def test_the_right_key_is_in_no_argument(tmp_path: Path) -> None:
    secret = secrets.token_hex(32)
    keys, key = tmp_path / "keys", tmp_path / "key"
    for path, line in ((keys, f"panel-7 {secret}"), (key, secret)):
        path.touch(mode=0o600)
        path.write_text(line + "\n")
    with terminal(tmp_path / "server", "--keys", str(keys)) as server:
        words = ["--auth-key-file", key, "--device-id", "panel-7"]
        with running(tmp_path, server.port, *map(str, words)) as (process, qemu):
            command = Path(f"/proc/{qemu}/cmdline").read_bytes() + Path(f"/proc/{qemu}/environ").read_bytes()
            assert secret.encode() not in command
            process.send_signal(signal.SIGINT)
            process.wait(WITHIN_S)


@pytest.mark.parametrize("panel", ["thin-1g", "legacy-2g"])
def test_a_wrong_panel(panel: str) -> None:
    done = run("127.0.0.1:1", "--panel", panel)
    assert done.returncode == Exit.BAD_PANEL
    assert sentence(done).endswith("cannot be shown: this LCD controller shows at most 1024x1024 pixels")


def test_garbage() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def play() -> None:
            stream, _ = listener.accept()
            with stream:
                stream.recv(65536)
                stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        done = run(address)
        thread.join(WITHIN_S)
    assert done.returncode == Exit.GARBAGE
    assert sentence(done).startswith(f"what {address} sent is not tilewire: ")


def test_a_link_that_loses_everything(xterm: Terminal) -> None:
    done = run(f"127.0.0.1:{xterm.port}", "--loss", "100", "--connect-within", "2")
    assert done.returncode == RunExit.NO_CONNECTION
    assert sentence(done).startswith(f"no picture from 127.0.0.1:{xterm.port} within 2 s over a link of ")


def test_where_no_link_can_be_shaped(xterm: Terminal) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    before = ("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh")
    done = run(f"127.0.0.1:{xterm.port}", "--rtt", "10", before=before)
    assert done.returncode == RunExit.NO_LINK
    assert sentence(done) == "network namespaces cannot be made: No space left on device"


def test_qemu_missing_or_too_old(tmp_path: Path) -> None:
    done = run("127.0.0.1:1", PATH=str(tmp_path))
    assert (done.returncode, sentence(done)[:35]) == (RunExit.NO_QEMU, "qemu-system-arm is not installed: m")
    old = tmp_path / "qemu-system-arm"
    old.write_text("#!/bin/sh\necho QEMU emulator version 7.1.0\n")
    old.chmod(0o755)
    done = run("127.0.0.1:1", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert done.returncode == RunExit.OLD_QEMU
    assert sentence(done) == f"{old} is version 7.1, and 7.2 or newer is needed"
    old.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo QEMU emulator version 7.2.0 && exit\necho no such machine; exit 1\n"
    )
    done = run("127.0.0.1:1", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert done.returncode == RunExit.QEMU
    assert sentence(done) == "QEMU has ended by itself (exit status 1): no such machine"


def test_no_setpriv(tmp_path: Path) -> None:
    (tmp_path / "qemu-system-arm").symlink_to(find_qemu())
    done = run("127.0.0.1:1", PATH=str(tmp_path))
    assert done.returncode == RunExit.QEMU
    assert sentence(done) == "setpriv is not installed: it starts QEMU (Debian: util-linux)"


def test_frames_that_cannot_be_kept(tmp_path: Path) -> None:
    done = run("127.0.0.1:1", "--pcap", tmp_path)
    assert done.returncode == RunExit.FAILED
    assert sentence(done) == f"{tmp_path} cannot be written: Is a directory"


def test_no_firmware(tmp_path: Path) -> None:
    missing = tmp_path / "device.elf"
    done = run("127.0.0.1:1", "--firmware", missing)
    assert done.returncode == RunExit.NO_FIRMWARE
    assert sentence(done) == f"the firmware {missing} is missing: make firmware builds it"


def test_no_lwip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "build/firmware/device.elf"
    monkeypatch.setattr(machine_of, "FIRMWARE", missing)
    monkeypatch.delenv("TILEWIRE_FIRMWARE", raising=False)
    assert main(["run", "127.0.0.1:1"]) == RunExit.NO_FIRMWARE
    why = "lwIP's source, which it is built of, is not there either: make setup fetches and builds both"
    assert capsys.readouterr().err == f"tilewire-sim: the firmware {missing} is missing, and {why}\n"


def test_lwip_that_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lwip, "LWIP", tmp_path / "lwip")
    tarball = tmp_path / "lwip_2.1.3+dfsg1.orig.tar.xz"
    monkeypatch.setenv("LWIP_TARBALL", str(tarball))
    assert lwip.main() == 1
    assert capsys.readouterr().err == f"lwIP: [Errno 2] No such file or directory: '{tarball}'\n"
    tarball.write_bytes(b"another")
    assert lwip.main() == 1
    assert re.fullmatch(
        rf"lwIP: {re.escape(tarball.name)} is none of lwIP .* in Debian: SHA-256 [0-9a-f]{{64}}\n",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "lwip/version.txt").exists()


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [("crash null", Exit.TRAP, "data abort at "), ("freeze", Exit.STUCK, "the main loop has stood still for ")],
)
async def test_a_firmware_that_fails(command: str, status: Exit, words: str) -> None:
    config = {"server": f"{HOST}:1", "panel": "mcu", "watchdog": 1}
    with pytest.RaisesGroup(RunError, flatten_subgroups=True) as caught:
        async with open_machine(Plan(config=config, qemu=find_qemu())) as machine:
            await machine.until("address", timeout_s=WITHIN_S)
            await machine.tell(command)
            await machine.wait_for(lambda: False, WITHIN_S)
    error = first_of(caught.value)
    assert isinstance(error, RunError)
    assert error.code == status
    assert str(error).startswith(words)


def test_no_window(xterm: Terminal) -> None:
    done = run(f"127.0.0.1:{xterm.port}", "--window", DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == RunExit.NO_DISPLAY
    assert sentence(done) == "there is no display for a window: DISPLAY and WAYLAND_DISPLAY are not set"


WINDOWS = """#!/bin/sh
case $1 in
--version) echo QEMU emulator version 7.2.0 ;;
-display) printf '%s\n' 'Available display backend types:' none {displays} ;;
*) echo "$*" | grep -o -e '-display [a-z]*'; exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("displays", "status", "words"),
    [
        ("", RunExit.NO_DISPLAY, "{qemu} has no window of its own (Debian: qemu-system-gui)"),
        ("gtk sdl", RunExit.QEMU, "QEMU has ended by itself (exit status 1): -display gtk"),
        ("sdl", RunExit.QEMU, "QEMU has ended by itself (exit status 1): -display sdl"),
    ],
)
def test_which_window(displays: str, status: RunExit, words: str, tmp_path: Path) -> None:
    # What QEMU has of windows is another package, and a desktop's.
    qemu = tmp_path / "qemu-system-arm"
    qemu.write_text(WINDOWS.format(displays=displays))
    qemu.chmod(0o755)
    done = run("127.0.0.1:1", "--window", PATH=f"{tmp_path}:/usr/bin:/bin", DISPLAY=":987")
    assert done.returncode == status
    assert sentence(done) == words.format(qemu=qemu)


@pytest.mark.parametrize(("size", "mib"), [("256M", 256), ("1G", 1024)])
def test_the_board_s_memory(size: str, mib: int, xterm: Terminal, tmp_path: Path) -> None:
    with running(tmp_path, xterm.port, "--memory", size, "--json") as (process, qemu):
        command = Path(f"/proc/{qemu}/cmdline").read_bytes().split(b"\0")
        assert command[command.index(b"-m") + 1] == b"%dM" % mib
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == RunExit.INTERRUPTED
        assert process.stdout is not None
        report = json.loads(process.stdout.read().splitlines()[-1])
    # It shows a picture with no less and no more.
    assert (report["memory_mib"], report["updates"] >= 1) == (mib, True)


@pytest.mark.parametrize("size", ["255M", "1025M", "2G", "512", "M", "half", "-512M"])
def test_memory_that_the_board_cannot_have(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as wrong:
        main(["run", "127.0.0.1:1", f"--memory={size}"])
    assert wrong.value.code == 2
    said = f"argument --memory: {size!r} is not a size from 256M to 1024M: the board holds no more"
    assert said in capsys.readouterr().err


ASSERTIONS = [
    ('assert = { pixel = [0, 0], colour = "#ffffff" }', RunExit.ASSERTION, "the pixel at 0,0 is #000000, not #ffffff"),
    ('assert = { image = "blue.png", region = [0, 0, 8, 8] }', RunExit.ASSERTION, "64 of 64 pixels are not those of "),
    (
        'assert = { text = "Zanzibar", region = [192, 90, 200, 40] }',
        RunExit.ASSERTION,
        "'Zanzibar' is not to be read; ",
    ),
    ('wait = { log = "never" }\nwithin = 0.2', RunExit.WAITED, "no line of the log holds 'never' in 0.2 s"),
    ("tap = [1024, 0]", RunExit.BAD_SCRIPT, "1024,0 lies outside the panel of 1024x600"),
]


@pytest.mark.parametrize(("step", "status", "words"), ASSERTIONS)
def test_a_step_that_fails(step: str, status: RunExit, words: str, xterm: Terminal, tmp_path: Path) -> None:
    Screen(8, 8, bytes((0, 0, 255)) * 64).save_png(tmp_path / "blue.png")
    done = run(f"127.0.0.1:{xterm.port}", "--json", "--script", script(tmp_path, f"[[step]]\n{step}\n"))
    assert done.returncode == status
    kind = step.split()[0]
    assert sentence(done).startswith(f"step 1 ({kind}): {words}")
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["exit"] == {"code": status, "text": sentence(done)}
    assert report["updates"] >= 1
    if "blue" in step:
        seen = read_png(tmp_path / "blue.seen.png")
        assert (seen.width, seen.height, seen.pixel(0, 0)) == (8, 8, (0, 0, 0))


def test_no_tesseract(xterm: Terminal, tmp_path: Path) -> None:
    for name in ("qemu-system-arm", "setpriv"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    steps = script(tmp_path, '[[step]]\nassert = { text = "x" }\n')
    done = run(f"127.0.0.1:{xterm.port}", "--script", steps, PATH=str(tmp_path))
    assert done.returncode == RunExit.NO_OCR
    assert sentence(done).startswith("a step reads text, and tesseract is not installed")


# What is left behind.


def processes_of(firmware: Path) -> list[int]:
    """Of whoever has this path among its arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(firmware).encode() in words and words[0].endswith(b"qemu-system-arm"):
            found.append(int(process.name))
    return found


@contextmanager
def running(folder: Path, port: int, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A device that shows a picture, with a firmware of its own name, and QEMU's process id."""
    firmware = folder / "firmware.elf"
    shutil.copyfile(FIRMWARE, firmware)
    temporary = folder / "tmp"
    temporary.mkdir()
    command = [*SIM, "run", f"127.0.0.1:{port}", "--firmware", str(firmware), *words]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            until_line(process, "showing\n")
            (qemu,) = processes_of(firmware)
            yield process, qemu
        finally:
            process.kill()
    until = time.monotonic() + WITHIN_S
    while processes_of(firmware):
        assert time.monotonic() < until, "QEMU is still there"
        time.sleep(0.02)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, RunExit.INTERRUPTED),
        (signal.SIGTERM, RunExit.TERMINATED),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_nothing_is_left_behind(number: signal.Signals, status: int, xterm: Terminal, tmp_path: Path) -> None:
    with running(tmp_path, xterm.port, "--json") as (process, _):
        process.send_signal(number)
        assert process.wait(WITHIN_S) == status
        assert process.stdout is not None
        said = process.stdout.read()
        if number != signal.SIGKILL:
            # What there is to report is reported.
            assert json.loads(said.splitlines()[-1])["updates"] >= 1


def test_a_second_ctrl_c_waits_for_no_answer(xterm: Terminal, tmp_path: Path) -> None:
    with running(tmp_path, xterm.port) as (process, qemu):
        os.kill(qemu, signal.SIGSTOP)
        until = time.monotonic() + WITHIN_S
        while Path(f"/proc/{qemu}").exists():
            assert time.monotonic() < until, "it goes on"
            # More than twice, too: two at once may be heard as one.
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert process.wait(WITHIN_S) == RunExit.INTERRUPTED
        assert process.stderr is not None
        # Neither what the first one waits for, the device's statistics, nor what the others would do to its end.
        said = process.stderr.read()
        assert "did not tell" not in said
        assert "Traceback" not in said


def test_a_qemu_that_is_killed(xterm: Terminal, tmp_path: Path) -> None:
    with running(tmp_path, xterm.port) as (process, qemu):
        os.kill(qemu, signal.SIGKILL)
        assert process.wait(WITHIN_S) == RunExit.QEMU
        assert process.stderr is not None
        assert process.stderr.read().splitlines()[-1] == "tilewire-sim: QEMU has ended by itself (killed by SIGKILL)"


def on_a_terminal(port: int, columns: int, **more: str) -> str:
    """What it writes there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    command = [*SIM, "run", f"127.0.0.1:{port}", "--for", "4"]
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")} | more
    with subprocess.Popen(command, stdin=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        with killed_late(process), suppress(OSError):  # the other end is closed
            while True:
                said += os.read(ours, 65536)
    os.close(ours)
    assert process.returncode == 0
    return said.decode()


def test_a_status_line(xterm: Terminal) -> None:
    said = on_a_terminal(xterm.port, 100, TERM="xterm")
    assert "\r\x1b[32mshowing\x1b[0m  device " in said
    assert re.search(r"  \d+ updates  \d+\.\d updates/s  \d+\.\d KiB  decode \d+\.\d ms\x1b\[K", said)
    said = on_a_terminal(xterm.port, 40, TERM="xterm", NO_COLOR="1")
    assert "\x1b[3" not in said
    lines = said.replace("\x1b[K", "").replace("\n", "").split("\r")
    assert max(map(len, lines)) == 39
    assert any(line.startswith("showing  device ") for line in lines)


# For long.


def test_nothing_is_used_up(tmp_path: Path) -> None:
    assert trio.run(soak.soak, tmp_path, 300, 10) >= 300
