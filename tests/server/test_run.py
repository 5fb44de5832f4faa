"""The `tilewire` command: every end is a plain sentence and an exit code, and leaves nothing behind."""

from __future__ import annotations

import functools
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from tilewire.protocol import AuthMethod, Code, NoticeCode, Rect
from tilewire.protocol import messages as m
from tilewire.server import run as running
from tilewire.server.display import open_display
from tilewire.server.handshake import Credentials
from tilewire.server.run import Ending, Options
from tilewire.server.transport import WebRules
from tilewire.server.xvfb import start_xvfb

from tests.server.xclient import painter
from tests.support import LOOPBACK, Device, device, hello

WITHIN_S = 30.0
STALL_S = 0.5
KEY = "0123456789abcdef" * 4
FOR_EVER = ("sleep", "1000")
LOCKS = Path("/tmp/.X11-unix")


def processes(marker: str) -> list[int]:
    """Living processes that were started with this in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def gone(pid: int) -> None:
    """Return once a process has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def is_stale(path: Path) -> bool:
    """Whether a socket has nobody behind it. (Another test's X server may have taken over the number.)"""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except FileNotFoundError:
            return False
    return False


def clear_away(name: str) -> None:
    """What an X server that was killed has left."""
    path = LOCKS / f"X{name[1:]}"
    if is_stale(path):
        path.unlink()


class Command:
    """A running `tilewire`."""

    def __init__(self, process: trio.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.said = b""
        self.killed = False
        """An X server that was killed could not clear away its socket, nor a server its folder."""

    async def until_said(self, pattern: str) -> re.Match[str]:
        """Return once its log has this."""
        assert self.process.stderr is not None
        with trio.fail_after(WITHIN_S):
            while not (found := re.search(pattern, self.said.decode())):
                part = await self.process.stderr.receive_some()
                assert part, f"it ended and said {self.said.decode()!r}"
                self.said += part
        return found

    async def serving(self) -> tuple[str, int]:
        """Its display and port, once it serves."""
        found = await self.until_said(r"on display (:\d+), \d+x\d+; devices connect to 127\.0\.0\.1:(\d+)\n")
        return found[1], int(found[2])

    async def end(self) -> tuple[int, list[str]]:
        """Its exit code and what it said, line by line, once it has ended."""
        assert self.process.stderr is not None
        with trio.fail_after(WITHIN_S):
            while part := await self.process.stderr.receive_some():
                self.said += part
            code = await self.process.wait()
        assert "Traceback" not in self.said.decode()
        return code, self.said.decode().splitlines()


@asynccontextmanager
async def tilewire(*arguments: str | Path, environment: dict[str, str] | None = None) -> AsyncIterator[Command]:
    """Run the command; when the block ends nothing that it started may be left."""
    marker = f"TILEWIRE_TEST={os.urandom(8).hex()}"
    name, _, value = marker.partition("=")
    folder = Path(os.environ["PYTEST_TILEWIRE_TMP"])
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tilewire.server.cli", *map(str, arguments)],
        stderr=-1,
        stdout=2,
        stdin=-3,
        env={**os.environ, "TMPDIR": str(folder), name: value, **(environment or {})},
    )
    command = Command(process, folder)
    try:
        yield command
        with trio.fail_after(WITHIN_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        if process.stderr is not None:
            await process.stderr.aclose()
    # Processes that were killed take a moment until they are gone.
    with trio.fail_after(WITHIN_S):
        for pid in processes(marker):
            await gone(pid)
    for name in re.findall(r"on display :(\d+)", command.said.decode()):
        assert command.killed or not is_stale(LOCKS / f"X{name}")


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No temporary folder of a session stays."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("PYTEST_TILEWIRE_TMP", str(folder))
    yield
    assert list(folder.iterdir()) == []


INSECURE = ("--insecure", "--", "true")
LISTEN = f"--listen={LOOPBACK}:0"
RUN = ("run", LISTEN, "--size", "200x120", "--")


# What cannot be done


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--size", "5000x100"), "5000x100 is out of bounds: 16 to 4096 pixels a side, 4194304 in all"),
        (("--size", "4096x4096"), "4096x4096 is out of bounds: 16 to 4096 pixels a side, 4194304 in all"),
        (("--size", "15x100"), "15x100 is out of bounds: 16 to 4096 pixels a side, 4194304 in all"),
        (("--size", "0x0"), "0x0 is out of bounds: 16 to 4096 pixels a side, 4194304 in all"),
        (("--size", "-5x100"), "'-5x100' is not WIDTHxHEIGHT, such as 1024x600"),
        (("--size", "100"), "'100' is not WIDTHxHEIGHT, such as 1024x600"),
        (("--size", "٣٢x٣٢"), "'٣٢x٣٢' is not WIDTHxHEIGHT, such as 1024x600"),
        (("--fps", "0"), "'0' is not from 1 to 60"),
        (("--fps", "61"), "'61' is not from 1 to 60"),
        (("--listen", "127.0.0.1:70000"), "'70000' is not a port: 0 to 65535"),
        (("--listen", "127.0.0.1:http"), "'http' is not a port: 0 to 65535"),
        (("--listen", "::1"), "'::1' is not HOST:PORT; an IPv6 address stands in brackets, such as [::1]:7800"),
    ],
)
async def test_a_value_that_is_out_of_bounds(arguments: tuple[str, ...], sentence: str) -> None:
    async with tilewire("run", *(f"{arguments[0]}={arguments[1]}",), "--", "true") as command:
        code, lines = await command.end()
    assert code == 2
    assert lines[-1] == f"tilewire run: error: argument {arguments[0]}: {sentence}"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*RUN, "no-such-program", "-x"), r"there is no command 'no-such-program'"),
        ((*RUN, "/"), r"there is no command '/'"),
        ((*RUN, ""), r"there is no command ''"),
        (("run", LISTEN, "--size=99x99", "--max-size=99x98", "--", "true"), r"--max-size is smaller than --size"),
        (("attach", LISTEN, ":98765"), r".*:98765.*"),
        (("attach", LISTEN, "nonsense"), r".*nonsense.*"),
        (("attach", LISTEN, ""), r".+"),
        (("run", "--listen=0.0.0.0:0", "--", "true"), r"0\.0\.0\.0 is not loopback: give --keys FILE, or .*"),
        (("run", "--listen=[::]:0", "--", "true"), r":: is not loopback: give --keys FILE, or --insecure .*"),
        (("run", "--listen=192.0.2.1:0", *INSECURE), r"cannot listen on 192\.0\.2\.1:0: cannot assign .*"),
        (("run", "--listen=no.such.host.invalid:0", *INSECURE), r"cannot listen on no\.such\.host\..*"),
        (("run", "--keys=/no/such/file", "--", "true"), r"the key file /no/such/file cannot be read: No such .*"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_one_plain_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    async with tilewire(*arguments) as command:
        code, lines = await command.end()
    assert code == 1
    assert len(lines) == 1, lines
    assert re.fullmatch(f"tilewire: {sentence}", lines[0])


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        (f"board {KEY}\n", 0o644, "{path} holds keys and may be read by others: chmod 600 {path}"),
        ("board 1234\n", 0o600, "{path}, line 1: the key of board is not 64 hex digits"),
        ("", 0o600, "{path} holds no key"),
    ],
)
async def test_a_key_file_that_is_not_as_it_should_be(tmp_path: Path, text: str, mode: int, sentence: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(mode)
    async with tilewire("run", f"--keys={path}", "--", "true") as command:
        assert await command.end() == (1, [f"tilewire: {sentence.format(path=path)}"])


async def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with tilewire("run", f"--listen={LOOPBACK}:{port}", "--", *FOR_EVER) as command:
            code, lines = await command.end()
    assert (code, lines) == (1, [f"tilewire: cannot listen on {LOOPBACK}:{port}: address already in use"])


async def test_without_xvfb(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "true").symlink_to("/bin/true")
    async with tilewire(*RUN, "true", environment={"PATH": str(programs)}) as command:
        assert await command.end() == (1, ["tilewire: Xvfb is not installed (Debian: apt install xvfb)"])


async def test_a_screen_that_is_too_large_to_attach_to() -> None:
    async with start_xvfb(5000, 64) as xvfb:
        async with tilewire("attach", LISTEN, xvfb.display_name) as command:
            code, lines = await command.end()
        sentence = f"tilewire: the screen of display {xvfb.display_name} is 5000x64; 4096 a side is the most"
        assert (code, lines) == (1, [sentence])


# How it ends


@pytest.mark.parametrize(
    ("script", "code", "sentence"),
    [
        ("exit 0", 0, "sh ended"),
        ("exit 3", 1, "sh ended with exit code 3"),
        ("kill -SEGV $$", 1, "sh was killed by SIGSEGV"),
    ],
)
async def test_it_ends_with_its_program(script: str, code: int, sentence: str) -> None:
    async with tilewire(*RUN, "sh", "-c", script) as command:
        ended, lines = await command.end()
    assert (ended, lines[-1]) == (code, f"tilewire: {sentence}")


async def test_a_viewer_hears_why_it_ends(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with tilewire(*RUN, "sh", "-c", f"read word < {fifo}; exit 4") as command:
        name, port = await command.serving()
        async with device(port) as one, device(port, by_web=True) as two:
            with painter(name) as client:
                client.fill(Rect(0, 0, 200, 120), 0xFF0000)
                for each in (one, two):
                    await each.until(lambda each=each: set(each.framebuffer.pixels) == {0xF800})  # type: ignore[misc]
                fifo.write_text("go\n")
                for each in (one, two):
                    goodbye = await each.until_ended()
                    assert goodbye == m.Goodbye(code=Code.SESSION_ENDED, text="sh ended with exit code 4")
        assert (await command.end())[0] == 1


async def test_a_device_changes_the_screen_within_its_bounds() -> None:
    sizes = ("--size", "200x120", "--max-size", "320x200")
    async with tilewire("run", LISTEN, *sizes, "--", "sleep", "1000") as command:
        _, port = await command.serving()
        async with device(port) as one:

            def screen() -> m.Size:
                found: m.Size = one.last(m.ViewState).session
                return found

            await one.until(lambda: one.updates)
            assert screen() == m.Size(width=200, height=120)
            await one.say(m.ResizeSession(width=320, height=180))
            await one.until(lambda: screen() == m.Size(width=320, height=180))
            await one.say(m.ResizeSession(width=321, height=180))
            await one.until(lambda: one.last(m.Notice))
            assert one.last(m.Notice).code == NoticeCode.UNSUPPORTED
            await one.until(lambda: one.events[-1] == one.last(m.ViewState))
            assert screen() == m.Size(width=320, height=180)
        command.process.terminate()
        assert (await command.end())[0] == 0


DAEMONS = {
    "background": "sleep 1000 & exit 0",
    "session of its own": "setsid sleep 1000 & sleep 0.1; exit 0",
    "twice": "setsid sh -c 'setsid sleep 1000 & setsid sleep 1000 & exit 0' & sleep 0.1; exit 0",
    "deaf": "(trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; while :; do sleep 1000; done') & sleep 0.1; exit 0",
    "stopped": "setsid sh -c 'kill -STOP $$' & sleep 0.1; exit 0",
}


@pytest.mark.parametrize("script", DAEMONS.values(), ids=DAEMONS)
async def test_nothing_of_a_program_is_left(script: str) -> None:
    # `tilewire` looks for them by their environments.
    async with tilewire(*RUN, "sh", "-c", script) as command:
        code, lines = await command.end()
    assert (code, lines[-1]) == (0, "tilewire: sh ended")


def processes_with(argument: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and argument.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(entry.name)
    return found


async def test_nothing_is_left_that_threw_its_environment_away() -> None:
    seconds = str(987_000_000 + secrets.randbelow(1_000_000))
    script = f"env -i setsid sh -c 'setsid sleep {seconds} & sleep {seconds}' & sleep 0.1; exit 0"
    async with tilewire(*RUN, "sh", "-c", script) as command:
        await command.end()
    assert not processes_with(seconds)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 129)], ids=["TERM", "INT", "HUP"]
)
async def test_a_signal_ends_it_and_viewers_are_told(number: signal.Signals, code: int) -> None:
    async with tilewire(*RUN, *FOR_EVER) as command:
        _, port = await command.serving()
        async with device(port) as one:
            await one.until(lambda: one.updates)
            command.process.send_signal(number)
            goodbye = await one.until_ended()
            assert goodbye == m.Goodbye(code=Code.STOPPING, text=f"stopped by {number.name}")
        ended, lines = await command.end()
    assert (ended, lines[-1]) == (code, f"tilewire: stopped by {number.name}")


async def test_a_signal_while_it_starts_leaves_nothing() -> None:
    async with tilewire("run", "-v", LISTEN, "--", *FOR_EVER) as command:
        await command.until_said("Xvfb of display")
        command.process.send_signal(signal.SIGTERM)
        code, lines = await command.end()
    assert (code, lines[-1]) == (0, "tilewire: stopped by SIGTERM")


async def test_killed_it_takes_its_program_and_xvfb_along() -> None:
    async with tilewire(*RUN, *FOR_EVER) as command:
        name, _ = await command.serving()
        command.process.kill()
        command.killed = True
        assert (await command.end())[0] == -signal.SIGKILL
    clear_away(name)
    for path in command.folder.iterdir():
        shutil.rmtree(path)


def child_of(pid: int, name: str) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            if f"({name})" in text and int(text.rpartition(")")[2].split()[1]) == pid:
                return int(entry.name)
    raise AssertionError(f"{name} is not there")


async def test_xvfb_that_is_killed_ends_it_and_no_other() -> None:
    async with tilewire(*RUN, *FOR_EVER) as other:
        other_name, other_port = await other.serving()
        async with device(other_port) as witness:
            await witness.until(lambda: witness.updates)
            async with tilewire(*RUN, *FOR_EVER) as command:
                name, port = await command.serving()
                command.killed = True
                async with device(port) as one:
                    await one.until(lambda: one.updates)
                    os.kill(child_of(command.process.pid, "Xvfb"), signal.SIGKILL)
                    goodbye = await one.until_ended()
                code, lines = await command.end()
            sentences = (
                f"Xvfb of display {name} was killed by SIGKILL",
                f"the X server of display {name} ended the connection",
            )
            assert goodbye is not None
            assert goodbye.code == Code.SESSION_FAILED
            assert goodbye.text in sentences
            assert (code, lines[-1].removeprefix("tilewire: ") in sentences) == (1, True)
            clear_away(name)
            with painter(other_name) as client:
                client.fill(Rect(0, 0, 200, 120), 0x00FF00)
                await witness.until(lambda: set(witness.framebuffer.pixels) == {0x07E0})
        other.process.send_signal(signal.SIGTERM)
        assert (await other.end())[0] == 0


async def test_an_attached_display_that_ends(tmp_path: Path) -> None:
    async with start_xvfb(200, 120) as xvfb:
        async with tilewire("attach", LISTEN, xvfb.display_name) as command:
            _, port = await command.serving()
            async with device(port) as one:
                await one.until(lambda: one.updates)
                xvfb.process.signal(signal.SIGTERM)
                goodbye = await one.until_ended()
                assert goodbye is not None
                assert goodbye.code == Code.SESSION_FAILED
            code, lines = await command.end()
        text = f"tilewire: the X server of display {xvfb.display_name} ended the connection"
        assert (code, lines[-1]) == (1, text)


async def test_an_attached_display_stays_when_it_stops() -> None:
    async with start_xvfb(200, 120) as xvfb:
        async with tilewire("attach", LISTEN, xvfb.display_name) as command:
            _, port = await command.serving()
            async with device(port) as one:
                await one.key(0x61)
                await one.until(lambda: one.echoed)
                command.process.send_signal(signal.SIGTERM)
                await one.until_ended()
        with painter(xvfb.display_name) as client:
            # Nothing is held.
            assert client.window.query_pointer().mask == 0
            assert not any(client.display.query_keymap())


async def test_keys_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"board {KEY}\n")
    path.chmod(0o600)
    async with tilewire("run", f"--keys={path}", LISTEN, "--size=200x120", "--", *FOR_EVER) as command:
        _, port = await command.serving()
        key = bytes.fromhex(KEY)
        async with device(port, hello(device_id="board", auth_methods=AuthMethod.HMAC), key=key) as one:
            await one.until(lambda: one.updates)
        async with device(port, hello(device_id="stranger"), welcome=False) as other:
            goodbye = await other.until_ended()
            assert goodbye is not None
            assert goodbye.code == Code.AUTH_REQUIRED
        command.process.send_signal(signal.SIGTERM)
        await command.end()


# Displays that do not answer: in this process, with less patience


@asynccontextmanager
async def impatient(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[tuple[str, int, Callable[[], Ending | None]]]:
    """`tilewire run` with a short stall limit: display, port, and how it ended."""
    monkeypatch.setattr(running, "open_display", functools.partial(open_display, stall_limit_s=STALL_S))
    caplog.set_level(logging.INFO)
    serving = trio.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "devices connect to" in record.getMessage():
                serving.set()

    ear = Ear()
    options = Options(host=LOOPBACK, port=0, fps=30, credentials=Credentials(), rules=WebRules())
    endings: list[Ending] = []

    async def go() -> None:
        endings.append(await running.run(command, (200, 120), (200, 120), options))

    async with trio.open_nursery() as nursery:
        running.log.addHandler(ear)
        nursery.start_soon(go)
        try:
            with trio.fail_after(WITHIN_S):
                await serving.wait()
        finally:
            running.log.removeHandler(ear)
        pattern = re.compile(r"on display (:\d+), .*:(\d+)$")
        found = next(filter(None, map(pattern.search, caplog.messages)))
        yield found[1], int(found[2]), lambda: endings[0] if endings else None


async def stalled(one: Device, name: str) -> None:
    """The device's input has no answer; in the end it hears so."""
    await one.key(0x61)
    goodbye = await one.until_ended()
    text = f"the X server of display {name} did not answer for {STALL_S:g} s"
    assert goodbye == m.Goodbye(code=Code.SESSION_FAILED, text=text)


async def test_an_xvfb_that_is_stopped_ends_its_session_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with impatient(FOR_EVER, monkeypatch, caplog) as (name, port, ending):
        async with device(port) as one:
            await one.until(lambda: one.updates)
            owner = child_of(os.getpid(), "Xvfb")
            os.kill(owner, signal.SIGSTOP)
            await stalled(one, name)
    ended = ending()
    assert ended is not None
    assert (ended.code, ended.exit_code) == (Code.SESSION_FAILED, 1)
    await gone(owner)


GRABBER = """
import sys, time
from Xlib import display
connection = display.Display()
connection.grab_server()
connection.sync()
open(sys.argv[1], "w").write("grabbed")
time.sleep(1000)
"""


async def test_a_program_that_grabs_the_server_stalls_its_session_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    grabbed, may = tmp_path / "grabbed", tmp_path / "may"
    for path in (may, grabbed):
        os.mkfifo(path)
    script = f"read word < {may}; exec {sys.executable} -c '{GRABBER}' {grabbed}"
    async with (
        tilewire(*RUN, *FOR_EVER) as other,
        impatient(("sh", "-c", script), monkeypatch, caplog) as (name, port, ending),
    ):
        other_name, other_port = await other.serving()
        async with device(port) as one, device(other_port) as witness:
            for each in (one, witness):
                await each.until(lambda each=each: each.updates)  # type: ignore[misc]
            may.write_text("go\n")
            assert await trio.to_thread.run_sync(grabbed.read_text, abandon_on_cancel=True) == "grabbed"
            await stalled(one, name)
            with painter(other_name) as client:
                client.fill(Rect(0, 0, 200, 120), 0x0000FF)
                await witness.until(lambda: set(witness.framebuffer.pixels) == {0x001F})
        other.process.send_signal(signal.SIGTERM)
        await other.end()
    ended = ending()
    assert ended is not None
    assert (ended.code, ended.exit_code) == (Code.SESSION_FAILED, 1)
