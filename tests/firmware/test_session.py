"""The QEMU device against the real server: a terminal, pixel for pixel, and the user's hands."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tilewire.protocol import PixelFormat
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_TEXT
from tilewire.simulator.exits import Exit
from tilewire.simulator.machine import Plan, find_qemu, open_machine

from tests.firmware.machine import FIRMWARE, HOST, WITHIN_S, Machine, machine
from tests.firmware.terminal import Terminal, config, is_exact, terminal, typed_is
from tests.support import screen_picture
from tests.support import served as in_process
from tools.served import served


@pytest.fixture(scope="module")
def xterm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with terminal(tmp_path_factory.mktemp("xterm")) as one:
        yield one


@pytest.mark.parametrize(
    ("net", "pixel_format"), [("lan9118", "rgb565"), ("virtio", "rgb565"), ("lan9118", "xrgb8888")]
)
def test_the_picture_is_exact_and_follows_what_is_typed(
    net: str, pixel_format: str, xterm: Terminal, tmp_path: Path
) -> None:
    with machine(tmp_path, config(xterm, net=net, format=pixel_format), net=net) as device:
        device.until("picture")
        is_exact(device, xterm)
        # The pointer gives the window the keyboard.
        device.tell("pointer 100 100 0")
        mark = secrets.token_hex(4)
        device.tell(f"text {mark} żółw 龍")
        typed_is(xterm, f"{mark} żółw 龍".encode())
        is_exact(device, xterm)
        # A terminal that takes longer than 50 ms shows what no update names any more: then once more.
        until = time.monotonic() + WITHIN_S
        while not (stats := device.stats())["input_to_picture_us"]["count"]:
            assert time.monotonic() < until, stats
            device.tell("text .")
            time.sleep(0.1)
        assert stats["updates"] >= 2
        assert stats["input_to_picture_us"]["last"] in stats["input_to_picture_us"]["values"]
        assert {pool["name"] for pool in stats["pools"] if pool["err"]} == set()
        device.tell("stop")
        assert device.wait() == Exit.STOPPED


def test_the_keyboard(xterm: Terminal, tmp_path: Path) -> None:
    with machine(tmp_path, config(xterm)) as device:
        device.until("picture")
        device.tell("pointer 100 100 0")
        for codes, bytes_of_it in (
            (("a",), b"a"),
            (("shift", "b"), b"B"),
            (("shift_r", "1"), b"!"),
            (("caps_lock",), b""),
            (("c",), b"C"),
            (("caps_lock",), b""),
            (("ctrl", "d"), b"\x04"),
            (("alt", "e"), "å".encode()),  # xterm's eightBitInput: e with the eighth bit
            (("up",), b"\x1b[A"),
            (("left",), b"\x1b[D"),
            (("home",), b"\x1b[H"),
            (("delete",), b"\x1b[3~"),
            (("f1",), b"\x1bOP"),
            (("f12",), b"\x1b[24~"),
            (("ret",), b"\r"),
            (("kp_7",), b"7"),
            (("spc",), b" "),
            (("less",), b"<"),
        ):
            before = xterm.typed.read_bytes()
            device.press(*codes)
            typed_is(xterm, before + bytes_of_it)
        device.tell("key 0x20ac down")  # EuroSign
        device.tell("key 0x20ac up")
        typed_is(xterm, "€".encode())
        assert device.stats()["lost"] == {"inputs": 0, "keyboard": 0, "control": 0}


def test_a_long_text_waits_for_room(xterm: Terminal, tmp_path: Path) -> None:
    with machine(tmp_path, config(xterm)) as device:
        device.until("picture")
        device.tell("pointer 100 100 0")
        lines = [f"{number:03d} " + "tilewire " * 20 for number in range(20)]
        for line in lines:
            device.tell(f"text {line}")
        typed_is(xterm, "".join(lines).encode())


@pytest.mark.parametrize("cursor", ["none", "local"])
def test_touch_and_mouse(cursor: str, tmp_path: Path) -> None:
    # The terminal reports where it is clicked: column and row, 6x13 pixels each behind a border of 1 or 2.
    with (
        terminal(tmp_path / "server", before=r"printf '\033[?1000h';") as server,
        machine(tmp_path / "device", config(server, cursor=cursor)) as device,
    ):
        device.until("picture")
        panel = device.until("panel")
        view = device.until("view")
        left, top = ((panel[side] - view[f"session_{side}"]) // 2 for side in ("width", "height"))
        device.move(left + 2 + 6 * 30 + 3, top + 2 + 13 * 12 + 6)
        device.button(down=True)
        device.button(down=False)
        typed_is(server, b"\x1b[M " + bytes((32 + 31, 32 + 13)) + b"\x1b[M#" + bytes((32 + 31, 32 + 13)))
        if cursor == "none":
            x, y = left + 2 + 6 * 10 + 3, top + 2 + 13 * 5 + 6
            device.tell(f"touch 3 {x} {y} down")
            device.tell(f"touch 3 {x} {y} up")
        else:
            device.tell(f"pointer {left + 2 + 6 * 10 + 3} {top + 2 + 13 * 5 + 6} 1")
            device.tell(f"pointer {left + 2 + 6 * 10 + 3} {top + 2 + 13 * 5 + 6} 0")
        typed_is(server, b"\x1b[M#" + bytes((32 + 11, 32 + 6)))
        if cursor != "none":
            # All at once: motion gives way to newer motion, but where the press began is told.
            start, end = (f"{left + 2 + 6 * column + 3} {top + 2 + 13 * 8 + 6}" for column in (5, 20))
            device.tell(f"pointer {start} 0\npointer {start} 1\npointer {end} 1\npointer {end} 0")
            typed_is(server, b"\x1b[M " + bytes((32 + 6, 32 + 9)) + b"\x1b[M#" + bytes((32 + 21, 32 + 9)))


def without_cursor(device: Machine) -> tuple[bytes, int]:
    """The panel's RGB565 picture with the pixels under the local cursor in their place, and rows that differed."""
    since = len(device.events)
    device.tell("under")
    under = device.until("under", since=since)
    stride = device.until("panel")["stride"]
    picture = bytearray(device.framebuffer())
    pixels = bytes.fromhex(under["pixels"])
    row = under["width"] * 2
    assert len(pixels) == row * under["height"]
    differed = 0
    for y in range(under["height"]):
        at = (under["y"] + y) * stride + under["x"] * 2
        differed += picture[at : at + row] != pixels[y * row : (y + 1) * row]
        picture[at : at + row] = pixels[y * row : (y + 1) * row]
    return bytes(picture), differed


def test_the_cursor_lies_over_the_picture(xterm: Terminal, tmp_path: Path) -> None:
    with machine(tmp_path, config(xterm, cursor="local")) as device:
        device.until("picture")
        panel = device.until("panel")
        size = (panel["width"], panel["height"])
        device.move(400, 300)
        until = time.monotonic() + WITHIN_S
        # Shape and pictures are still on their way.
        while True:
            seen, differed = without_cursor(device)
            if differed and seen == trio.run(screen_picture, xterm.display, size, PixelFormat.RGB565):
                break
            assert time.monotonic() < until, f"{differed} rows of a cursor, {seen.count(0)} zeros"
            time.sleep(0.05)


def test_a_panel_that_cannot_be_read(xterm: Terminal, tmp_path: Path) -> None:
    # Smaller than the session: the window follows the pointer. The client stores the high byte first, and what goes to
    # the panel's own memory is turned: it is the same picture only where both are.
    with machine(tmp_path, config(xterm, panel="mcu")) as device:
        device.until("picture")
        is_exact(device, xterm)
        device.tell("text abc")
        typed_is(xterm, b"abc")
        is_exact(device, xterm)
        assert device.stats()["memory"]["strip"] == 320 * 16 * 2


@pytest.mark.parametrize(("rotate", "fit"), [(90, "no"), (0, "yes"), (270, "yes")])
def test_a_view_that_is_turned_or_fits(rotate: int, fit: str, xterm: Terminal, tmp_path: Path) -> None:
    with machine(tmp_path, config(xterm, panel="iot-256", rotate=rotate, fit=fit)) as device:
        device.until("view", lambda event: (event["rotation"], event["mode"] == "fit") == (rotate, fit == "yes"))
        is_exact(device, xterm)


def test_a_dropped_line_is_resumed(xterm: Terminal, tmp_path: Path) -> None:
    with machine(tmp_path, config(xterm)) as device:
        device.until("picture")
        device.tell("pointer 100 100 0")
        device.tell("text before")
        typed_is(xterm, b"before")
        is_exact(device, xterm)
        since = len(device.events)
        device.tell("drop")
        assert device.until("lost", since=since)["code"] == 0x100
        device.until("retry", since=since)
        assert device.until("welcome", since=since)["resumed"]
        device.tell("pointer 101 100 0")
        device.tell("text after")
        typed_is(xterm, b"after")
        is_exact(device, xterm)
        stats = device.stats()
        assert (stats["connections"], stats["reconnects"]) == (2, 1)
        # Not the whole picture again.
        assert stats["pixels"] < 2 * 1024 * 600


def test_a_server_that_was_restarted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with machine(tmp_path / "device", config(port)) as device:
        # Nobody is there yet: the device keeps trying.
        device.until("retry")
        with terminal(tmp_path / "first", port=port) as server:
            device.until("picture")
            is_exact(device, server)
        since = len(device.events)
        device.until("lost", since=since)
        with terminal(tmp_path / "second", port=port) as server:
            assert not device.until("welcome", since=since)["resumed"]
            device.until("picture", since=since)
            device.tell("pointer 100 100 0")
            device.tell("text again")
            typed_is(server, b"again")
            is_exact(device, server)


def test_a_server_that_is_killed_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What it leaves in its temporary folder is not ours to keep.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    busy = "while :; do date +%N; sleep 0.01; done &"
    with terminal(tmp_path / "first", before=busy) as server:
        with machine(tmp_path / "device", config(server)) as device:
            device.until("picture")
            before = device.stats()
            while device.stats()["updates"] < before["updates"] + 5:
                time.sleep(0.02)
            since = len(device.events)
            os.kill(server.pid, signal.SIGKILL)
            # No word of it reaches the device but the end of the connection; then nobody listens.
            device.until("lost", since=since)
            device.until("retry", since=since)
            device.until("lost", since=len(device.events))
            assert not [event for event in device.events if event["event"] == "goodbye"]
            pixels = device.stats()["pixels"]
            with terminal(tmp_path / "second", port=server.port) as another:
                welcome = device.until("welcome", since=since)
                assert not welcome["resumed"]
                assert not device.until("picture", since=since)["resumed"]
                is_exact(device, another)
                assert device.stats()["pixels"] - pixels >= 1024 * 600
                device.tell("pointer 100 100 0")
                device.tell("text again")
                typed_is(another, b"again")
                is_exact(device, another)
                assert device.stats()["connections"] == 2


def test_the_end_of_the_session_ends_the_device(tmp_path: Path) -> None:
    words = ["run", "--listen", "127.0.0.1:0", "--", "xterm", "-e", "read line"]
    with served(words, tmp_path / "log") as server:
        with machine(tmp_path / "device", config(int(server.address.rpartition(":")[2]))) as device:
            device.until("picture")
            device.tell("pointer 100 100 0")
            device.tell("key 0xff0d down")
            device.tell("key 0xff0d up")
            assert device.wait() == Exit.ENDED
            assert device.until("goodbye")["code"] == m.Code.SESSION_ENDED


@pytest.mark.parametrize("character", ["\x01", "\\", "龍"])
async def test_the_longest_goodbye_is_told_whole(character: str) -> None:
    text = character * (MAX_TEXT // len(character.encode()))
    async with in_process((320, 240)) as server:
        settings = {"server": f"{HOST}:{server.port}", "panel": "mcu"}
        async with open_machine(Plan(config=settings, firmware=FIRMWARE, qemu=find_qemu())) as device:
            await device.until("picture", timeout_s=WITHIN_S)
            server.session.end(m.Code.SESSION_ENDED, text)
            assert (await device.until("goodbye", timeout_s=WITHIN_S))["text"] == text
            with trio.fail_after(WITHIN_S):
                await device.exited()
            assert device.exit_status == Exit.ENDED
            # Nothing on UART1 was no JSON, and nothing of it reached whoever reads the log on a terminal.
            assert device.said == []
            assert all(line.isprintable() for line in device.log)


# Keys.


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Terminal, str]]:
    """A server that knows the device `panel-7` by a key."""
    folder = tmp_path_factory.mktemp("guarded")
    key = secrets.token_hex(32)
    keys = folder / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"panel-7 {key}\n")
    with terminal(folder, "--keys", str(keys)) as server:
        yield server, key


def test_the_right_key(guarded: tuple[Terminal, str], tmp_path: Path) -> None:
    server, key = guarded
    with machine(tmp_path, config(server, device_id="panel-7", key=key)) as device:
        device.until("picture")
        is_exact(device, server)
        assert key[:8] not in device.log + str(device.lines)


@pytest.mark.parametrize("wrong", ["key", "name", "none"])
def test_a_wrong_key(wrong: str, guarded: tuple[Terminal, str], tmp_path: Path) -> None:
    server, key = guarded
    more = {
        "key": {"device_id": "panel-7", "key": secrets.token_hex(32)},
        "name": {"device_id": "panel-8", "key": key},
        "none": {"device_id": "panel-7"},
    }[wrong]
    with machine(tmp_path, config(server, **more)) as device:
        assert device.wait() == Exit.REFUSED
        assert not [event for event in device.events if event["event"] == "welcome"]
        assert device.until("lost")["code"] in (m.Code.AUTH_FAILED, m.Code.AUTH_REQUIRED)


def test_a_server_that_proves_nothing(xterm: Terminal, tmp_path: Path) -> None:
    # It would let everybody in; but the device has a key, and shows nothing of whoever does not know it.
    with machine(tmp_path, config(xterm, key=secrets.token_hex(32))) as device:
        assert device.wait() == Exit.REFUSED
        assert not [event for event in device.events if event["event"] in ("welcome", "picture")]


# Servers that are none.


@pytest.mark.parametrize(
    ("answer", "status"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", Exit.GARBAGE), (b"", Exit.LOST), (os.urandom(4096), Exit.GARBAGE)],
)
def test_what_is_no_server(answer: bytes, status: Exit, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def play() -> None:
            stream, _ = listener.accept()
            with stream:
                stream.recv(65536)
                stream.sendall(answer)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        with machine(tmp_path, config(listener.getsockname()[1], reconnect="no")) as device:
            assert device.wait() == status
            assert device.log.splitlines()[-1].startswith("device: the connection is over: ")
        thread.join(WITHIN_S)


def test_nobody_is_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with machine(tmp_path, config(port, reconnect="no")) as device:
        assert device.wait() == Exit.LOST
