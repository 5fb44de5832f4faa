"""Xvfb is started, let in, and ended whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from Xlib import X

from tilewire.server.display import DisplayError
from tilewire.server.x11 import numbers
from tilewire.server.xvfb import XvfbServer, start_xvfb

from tests.server.xclient import painter


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def stopped(server: XvfbServer) -> None:
    server.process.signal(signal.SIGSTOP)


def killed(server: XvfbServer) -> None:
    server.process.signal(signal.SIGKILL)


def left_alone(_server: XvfbServer) -> None:
    pass


@pytest.mark.parametrize("fate", [left_alone, stopped, killed])
async def test_nothing_is_left_of_it(fate: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert callable(fate)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with start_xvfb(320, 200) as server:
        assert server.xauthority.is_relative_to(tmp_path)
        assert is_alive(server.process.pid)
        fate(server)
    assert not is_alive(server.process.pid)
    assert os.listdir(tmp_path) == []


async def test_the_screen_is_as_asked_for() -> None:
    async with start_xvfb(321, 201) as server:
        with painter(server.display_name) as client:
            screen = client.display.screen()
            assert (screen.width_in_pixels, screen.height_in_pixels, screen.root_depth) == (321, 201, 24)
            # Devices send their own repeats.
            assert client.display.get_keyboard_control().global_auto_repeat == X.AutoRepeatModeOff


async def test_this_user_and_the_cookie_are_let_in_and_nobody_else() -> None:
    async with start_xvfb(320, 200) as server:
        with painter(server.display_name) as client:
            answer = client.display.list_hosts()
        assert answer.mode == X.EnableAccess
        assert [(host.family, bytes(host.name)) for host in answer.hosts] == [
            (X.FamilyServerInterpreted, b"localuser\0#%d" % os.geteuid())
        ]
        assert os.stat(server.xauthority.parent).st_mode & 0o077 == 0


async def test_the_cookie_file_is_one_that_programs_read() -> None:
    async with start_xvfb(320, 200) as server:
        with painter(server.display_name) as client:
            client.let_nobody_in()
        # Both readers of such files: python-xlib's own and libXau (by XCB, which mss uses).
        program = (
            "import sys, mss, Xlib.display as x;x.Display(sys.argv[1]).close(); mss.MSS(display=sys.argv[1]).close()"
        )
        command = [sys.executable, "-W", "ignore", "-c", program, server.display_name]
        await trio.run_process(command, env={**os.environ, "XAUTHORITY": str(server.xauthority)})


async def test_its_death_is_a_sentence() -> None:
    async with start_xvfb(320, 200) as server:
        killed(server)
        assert await server.wait_died() == f"Xvfb of display {server.display_name} was killed by SIGKILL"
        # Whoever asks later hears the same.
        assert await server.wait_died() == f"Xvfb of display {server.display_name} was killed by SIGKILL"


async def test_no_xvfb_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DisplayError, match=r"^Xvfb is not installed \(Debian: apt install xvfb\)$"):
        async with start_xvfb(320, 200):
            pass


@pytest.mark.parametrize(("width", "height"), [(0, 0), (70_000, 70_000)])
async def test_an_xvfb_that_does_not_start_is_a_sentence(width: int, height: int) -> None:
    # (0 by 0 makes Xvfb itself crash, and say so.)
    with pytest.raises(DisplayError, match=r"^Xvfb did not start: it .*: \S"):
        async with start_xvfb(width, height):
            pass


TAKING = """#!{python}
import os, socket, sys
# Somebody is faster, the first {times} times.
with open({folder!r} + "/starts", "a+") as starts:
    starts.write(sys.argv[1] + "\\n")
    starts.seek(0)
    count = len(starts.readlines())
taken = socket.socket(socket.AF_UNIX)
if count <= {times}:
    taken.bind("\\0/tmp/.X11-unix/X" + sys.argv[1][1:])
    os.set_inheritable(taken.fileno(), True)
os.execv({xvfb!r}, sys.argv)
"""


@pytest.mark.parametrize(("times", "starts"), [(3, 4), (1000, 10)])
async def test_a_number_that_is_taken_in_the_last_moment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, times: int, starts: int
) -> None:
    xvfb = shutil.which("Xvfb")
    assert xvfb is not None
    script = tmp_path / "Xvfb"
    script.write_text(TAKING.format(python=sys.executable, folder=str(tmp_path), times=times, xvfb=xvfb))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if times < starts:
        async with start_xvfb(320, 200) as server:
            with painter(server.display_name):
                pass
    else:
        with pytest.raises(DisplayError, match="Cannot establish any listening sockets"):
            async with start_xvfb(320, 200):
                pass
    found = (tmp_path / "starts").read_text().split()
    assert len(found) == len(set(found)) == starts


async def test_a_long_look_for_a_number_stops_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    others = threading.Event()
    is_taken = numbers.is_taken

    def waiting(number: int) -> bool:
        # As when a user of the machine has made thousands of files.
        assert others.wait(10)
        return is_taken(number)

    monkeypatch.setattr(numbers, "is_taken", waiting)
    async with trio.open_nursery() as nursery:

        async def start() -> None:
            async with start_xvfb(320, 200):
                pass

        nursery.start_soon(start)
        await wait_all_tasks_blocked()
        others.set()


async def test_a_start_that_is_cancelled_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with trio.move_on_after(0):
        async with start_xvfb(320, 200):
            pass
    assert os.listdir(tmp_path) == []


async def test_it_dies_with_a_server_that_is_killed(tmp_path: Path) -> None:
    program = """
import trio
from tilewire.server.xvfb import start_xvfb
async def main():
    async with start_xvfb(320, 200) as server:
        print(server.process.pid, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""
    async with trio.open_nursery() as nursery:
        # A killed server cannot remove its temporary folder.
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        command = [sys.executable, "-c", program]
        run = partial(trio.run_process, command, env=environment, stdout=subprocess.PIPE, check=False)
        process = await nursery.start(run)
        pidfd = os.pidfd_open(int(await process.stdout.receive_some()))
        try:
            process.kill()
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
