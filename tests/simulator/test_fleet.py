"""`tilewire-sim fleet` as a user calls it, against a real server with a real xterm, and what it is made of."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import trio
from PIL import Image

from tilewire.protocol import PANELS, PixelFormat, Point, Rect
from tilewire.protocol.constants import CursorMode, Rotation, ViewMode
from tilewire.server.pixels import Screen, Surface
from tilewire.server.view import View
from tilewire.simulator import fleet as fleet_of
from tilewire.simulator import machine as machine_of
from tilewire.simulator.cli import main
from tilewire.simulator.fleet import Fleet, FleetPlan
from tilewire.simulator.fleet_cli import guarded
from tilewire.simulator.fleet_plan import MOST_DEVICES, MOST_QEMU, QEMU_MODELS, canonical, look_of, specs
from tilewire.simulator.fleet_users import EYES, HANDS, User
from tilewire.simulator.fleet_verify import picture
from tilewire.simulator.machine import find_firmware, find_qemu
from tilewire.simulator.runner import RunPlan

from tests.certificates import Authority
from tests.simulator.lines import until_line
from tests.support import quiet
from tools.served import Served, served

SIZE = (900, 560)
XTERM = "exec xterm -geometry 100x30+0+0 -bg white -fg black"
COMMAND = [sys.executable, "-m", "tilewire.simulator.cli", "fleet"]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go that nobody cleans up after: a server that was killed leaves some."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def xterm(tmp_path: Path, temporary: Path) -> Iterator[tuple[Served, str, dict[str, str]]]:
    """A server, its display, and the environment with which that can be read."""
    assert temporary.is_dir()
    where = tmp_path / "display"
    program = ["sh", "-c", f'echo "$DISPLAY $XAUTHORITY" > {where}; {XTERM}']
    size = f"{SIZE[0]}x{SIZE[1]}"
    with served(["run", "--listen", "127.0.0.1:0", "--size", size, "--", *program], tmp_path / "log") as server:
        deadline = time.monotonic() + 30
        while not (where.exists() and where.read_text().endswith("\n")):
            assert time.monotonic() < deadline, "xterm did not start"
            time.sleep(0.02)
        display, authority = where.read_text().split()
        yield server, display, os.environ | {"XAUTHORITY": authority}


def fleet(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, env=environment
    )


def descendants(pid: int) -> dict[int, str]:
    """All that a process has started, by their command lines."""
    found: dict[int, str] = {}
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    left = [pid]
    while left:
        for child in parents.get(left.pop(), []):
            left.append(child)
            try:
                found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


@contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A fleet whose devices are all connected; gone when the block ends."""
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            until_line(process, "using\n")
            yield process
        finally:
            process.kill()


# What it does.


def test_six_devices_are_exact_in_the_end(xterm: tuple[Served, str, dict[str, str]], tmp_path: Path) -> None:
    server, display, environment = xterm
    chart = tmp_path / "fleet.png"
    words = ["--qemu", "1", "--for", "8", "--verify", display, "--chart", str(chart), "--json"]
    done = fleet("6", server.address, *words, environment=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    report = json.loads(lines[-1])
    assert report["exit"] == {"code": 0, "text": None}
    devices = report["devices"]
    assert [one["kind"] for one in devices] == ["QEMU"] + ["C client"] * 5
    # All show what the display shows, QEMU's LCD too; a wrong one would have failed.
    assert {one["picture"] for one in devices} == {"exact"}
    assert all(one["updates"] >= 2 and one["bytes"] > 100 and one["steps"] >= 3 for one in devices)
    # Control went round, and users left and were taken back with what they had.
    whole = report["totals"]
    assert sum(one["turns"] > 0 for one in devices) >= 2
    assert whole["input_to_picture_ms"]["count"] >= 2
    assert 1 <= whole["resumed"] <= whole["reconnects"]
    assert whole["updates"] == sum(one["updates"] for one in devices)
    # The table, plain in a pipe: a line for each device, and the totals.
    assert "\x1b" not in done.stdout + done.stderr
    assert [line.split()[0] for line in lines[:-1] if line[0] != "-"] == ["device", "1", "2", "3", "4", "5", "6", "all"]
    with Image.open(chart) as image:
        assert image.width == 1820
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
        assert {(0x0B, 0x6E, 0x4F), (0x5B, 0x8D, 0xB8)} <= colours


def test_a_wrong_picture_is_found(xterm: tuple[Served, str, dict[str, str]], tmp_path: Path) -> None:
    # The pictures are compared with those of another session.
    server, _, _ = xterm
    where = tmp_path / "other"
    other = ["sh", "-c", f'echo "$DISPLAY $XAUTHORITY" > {where}; exec xterm -geometry 80x20+60+60']
    arguments = ["run", "--listen", "127.0.0.1:0", "--size", f"{SIZE[0]}x{SIZE[1]}", "--", *other]
    with served(arguments, tmp_path / "other.log"):
        deadline = time.monotonic() + 30
        while not (where.exists() and where.read_text().endswith("\n")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        display, authority = where.read_text().split()
        words = ["--qemu", "0", "--for", "0.5", "--settle", "6", "--verify", display, "--json"]
        done = fleet("2", server.address, *words, environment=os.environ | {"XAUTHORITY": authority})
    assert done.returncode == 4, done.stderr
    for number in (1, 2):
        assert f"device {number} (C client): its picture is not that of display {display}\n" in done.stderr
    assert {one["picture"] for one in json.loads(done.stdout.splitlines()[-1])["devices"]} == {"wrong"}


def test_ctrl_c_prints_the_table_and_leaves_nothing(
    xterm: tuple[Served, str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _, _ = xterm
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own))
    with start("4", server.address, "--qemu", "1", "--for", "600") as process:
        children = descendants(process.pid)
        assert sum("qemu-system-arm" in line for line in children.values()) == 1, children
        assert any("fleet_worker" in line for line in children.values()), children
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert [line.split()[0] for line in out.splitlines() if line[0] != "-"] == ["device", "1", "2", "3", "4", "all"]
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not list(own.iterdir())


async def test_a_second_ctrl_c_waits_for_nobody(
    xterm: tuple[Served, str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _, _ = xterm
    # Nobody answers, and the first ctrl-C would wait ten minutes.
    monkeypatch.setattr(fleet_of, "CLOSE_S", 600.0)
    monkeypatch.setattr(machine_of, "ANSWER_S", 600.0)
    devices = specs(3, 1)
    host, _, port = server.address.rpartition(":")
    machine = RunPlan(
        address=server.address,
        server=(host, int(port)),
        firmware=find_firmware(),
        qemu=find_qemu(),
        panel=devices[0].panel.name,
        reconnect=True,
    )
    one = Fleet(FleetPlan(address=server.address, specs=devices, seconds=600, machine=machine))
    ended: list[tuple[str | None, int | None]] = []

    async def run() -> None:
        ended.append(await guarded(one))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            while one.phase != "using":
                await quiet(0.02)
            children = [
                pid
                for pid, line in descendants(os.getpid()).items()
                if "qemu-system-arm" in line or "fleet_worker" in line
            ]
            assert len(children) >= 2
            for pid in children:
                os.kill(pid, signal.SIGSTOP)
            signal.raise_signal(signal.SIGINT)
            while one.phase != "stopping":
                await quiet(0.02)
            signal.raise_signal(signal.SIGINT)
    assert ended == [(None, signal.SIGINT)]
    assert not set(children) & set(descendants(os.getpid()))


def test_killed_it_leaves_nothing_either(xterm: tuple[Served, str, dict[str, str]]) -> None:
    server, _, _ = xterm
    with start("3", server.address, "--qemu", "1", "--for", "600") as process:
        children = descendants(process.pid)
        assert len(children) >= 2
        process.kill()
        process.wait(30)
        deadline = time.monotonic() + 30
        while alive := [pid for pid in children if Path(f"/proc/{pid}").exists()]:
            assert time.monotonic() < deadline, {pid: children[pid] for pid in alive}
            time.sleep(0.05)


def test_the_server_is_gone(xterm: tuple[Served, str, dict[str, str]]) -> None:
    server, _, _ = xterm
    with start("3", server.address, "--qemu", "1", "--for", "600", "--json") as process:
        os.kill(server.pid, signal.SIGKILL)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert f"tilewire-sim: the server at {server.address} is gone: " in errors
    report = json.loads(out.splitlines()[-1])
    assert report["totals"]["failed"] == 3
    # A sentence for each.
    assert len(re.findall(r"^tilewire-sim: device [123] \((QEMU|C client)\): ", errors, re.MULTILINE)) == 3


def test_a_display_that_is_not_there() -> None:
    done = fleet("2", "127.0.0.1:1", "--qemu", "0", "--verify", ":987")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tilewire-sim: display :987 cannot be read: ")
    assert len(done.stderr.splitlines()) == 1


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = fleet("2", address, "--qemu", "0")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"tilewire-sim: cannot connect to {address}: Connection refused\n" in done.stderr


def test_keys_and_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    identity = authority.issue("server")
    keys, key, other = tmp_path / "keys", tmp_path / "key", tmp_path / "other"
    keys.write_text("".join(f"fleet-0{number} {'5a' * 32}\n" for number in (1, 2)))
    key.write_text("5a" * 32)
    other.write_text("a5" * 32)
    for path in (keys, key, other):
        path.chmod(0o600)
    listen = ["--listen", "127.0.0.1:0", "--size", "640x420", "--keys", str(keys), *identity.flags]
    # The terminal has come by then: its window would make another picture in the middle of the comparison.
    short = ["--for", "3"]
    with served(["run", *listen, "--", "sh", "-c", XTERM], tmp_path / "log") as server:
        done = fleet("2", server.address, "--qemu", "1", "--auth-key-file", str(key), *short)
        assert done.returncode == 0, done.stderr
        ca = ["--ca", str(authority.certificate)]
        done = fleet("2", f"wss://{server.address}/", "--auth-key-file", str(key), *ca, *short)
        assert done.returncode == 0, done.stderr
        done = fleet("2", server.address, "--qemu", "0", "--auth-key-file", str(other), *short)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.endswith("tilewire-sim: the connection failed: the device or its key was not accepted\n")


def test_a_screen_that_does_not_rest(tmp_path: Path) -> None:
    busy = ["xterm", "-e", "sh", "-c", "while :; do date +%N; sleep 0.03; done"]
    with served(["run", "--listen", "127.0.0.1:0", "--size", "640x420", "--", *busy], tmp_path / "log") as server:
        done = fleet("2", server.address, "--qemu", "0", "--for", "0.5", "--settle", "2")
    assert done.returncode == 5, done.stderr
    sentence = "tilewire-sim: the pictures were not compared: the screen did not rest within 2 s\n"
    assert done.stderr.endswith(sentence)
    assert "not compared" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["65", "127.0.0.1:1"], f"65 devices are too many: {MOST_DEVICES} at most"),
        (["0", "127.0.0.1:1"], f"'0' is not a number from 1 to {MOST_DEVICES}"),
        (["6", "127.0.0.1:1", "--qemu", "5"], f"5 QEMU devices are too many: {MOST_QEMU} at most"),
        (["6", "127.0.0.1:1", "--for", "3601"], "--for 3601 is not more than 0 and at most 3600 s"),
        (["6", "wss://127.0.0.1:1/", "--qemu", "1"], "the QEMU device speaks plain TCP, HOST:PORT"),
        (["6", "127.0.0.1:1", "--chart", "fleet.svg"], "'fleet.svg' does not end in .png"),
        (["6", "nowhere:port"], "'nowhere:port' is no address: 'port' is not a port"),
    ],
)
def test_what_cannot_be_is_said_at_once(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(["fleet", *words])
    except SystemExit as wrong:
        code = wrong.code
    assert code == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]


# What it is made of.


def test_users_do_what_the_seed_says() -> None:
    one, same, other = User(7, 3), User(7, 3), User(7, 4)
    looks = [one.eye() for _ in range(40)]
    # What hands do meanwhile changes nothing for the eyes.
    assert [(same.hand(), same.eye())[1] for _ in range(40)] == looks
    assert [other.eye() for _ in range(40)] != looks
    again = User(7, 5)
    hands, eyes = len(HANDS), len(EYES)
    assert Counter(again.hand().deed.value for _ in range(hands)) == Counter(HANDS)
    assert Counter(again.eye().deed.value for _ in range(eyes)) == Counter(EYES)


def test_who_is_in_a_fleet() -> None:
    for count, qemu in product((1, 2, 3, 6, 17, MOST_DEVICES), range(MOST_QEMU + 1)):
        made = specs(count, qemu)
        assert [spec.number for spec in made] == list(range(1, count + 1))
        assert [spec.qemu for spec in made] == [True] * min(qemu, count) + [False] * max(count - qemu, 0)
        assert all(spec.model < QEMU_MODELS and not spec.second for spec in made if spec.qemu)
    # Everybody in a whole fleet has somebody to be compared with, and all formats and rotations are there.
    made = specs(18, 2)
    pairs = Counter((spec.shows, spec.cursor is CursorMode.IN_PICTURE) for spec in made)
    assert min(pairs.values()) >= 2
    assert {spec.panel.pixel_format for spec in made} == set(PixelFormat)
    assert {spec.home.rotation for spec in made} == set(Rotation)
    assert {spec.cursor for spec in made} == set(CursorMode)
    assert {spec.panel.name for spec in made} == set(PANELS)


@pytest.mark.parametrize("session", [(157, 101), (90, 120), (61, 40)])
@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_what_a_panel_must_show(pixel_format: PixelFormat, session: tuple[int, int]) -> None:
    # Two who have nothing in common but the specification: the server, and what checks the fleet.
    chance = random.Random(5)
    stored = bytes(chance.randrange(256) for _ in range(4 * session[0] * session[1]))
    screen = Screen(*session)
    screen.blit(Rect(0, 0, *session), stored)
    panel = replace(PANELS["threadx-512"], width=64, height=80, pixel_format=pixel_format)
    size = (panel.width, panel.height)
    for mode, rotation in product(ViewMode, Rotation):
        view = View(session, size, Point(13, 9), False, mode, rotation)
        surface = Surface(*size, pixel_format)
        surface.render(screen, view, surface.rect)
        planes = stored[2::4], stored[1::4], stored[0::4]
        look = look_of(panel, session, view.window, mode, rotation)
        assert picture(planes, session, look) == canonical(bytes(surface.pixels), panel)


def test_a_big_endian_panel_is_compared_as_any_other() -> None:
    panel = PANELS["mcu"]
    little = replace(panel, big_endian=False)
    values = random.Random(3).choices(range(65536), k=200)
    big = b"".join(value.to_bytes(2, "big") for value in values)
    assert canonical(big, panel) == canonical(b"".join(value.to_bytes(2, "little") for value in values), little)
    red = bytes(value >> 11 << 3 for value in values)
    green = bytes((value >> 5 & 63) << 2 for value in values)
    assert canonical(big, panel) == red + green + bytes((value & 31) << 3 for value in values)
