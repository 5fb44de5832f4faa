"""`tilewire-sim view` as a user calls it, against a real server with a real xterm."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tilewire.protocol import PANELS

from tools.served import Served, served

XTERM = ["xterm", "-geometry", "100x30+0+0", "-bg", "white", "-fg", "black"]


def view(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tilewire.simulator.cli", "view", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def xterm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("xterm") / "log"
    with served(["run", "--listen", "127.0.0.1:0", "--size", "640x420", "--", *XTERM], log) as server:
        yield server


@pytest.mark.parametrize("panel", sorted(PANELS))
def test_every_panel_shows_a_session_of_another_size(panel: str, xterm: Served, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    done = view(xterm.address, "--panel", panel, "--settle", "0.5", "--for", "1", "--png", str(picture), "--json")
    assert done.returncode == 0, done.stderr
    size = (PANELS[panel].width, PANELS[panel].height)
    with Image.open(picture) as image:
        assert image.size == size
        # The session lies in the middle of a larger panel, on black; its window is white.
        left, top = max(size[0] - 640, 0) // 2, max(size[1] - 420, 0) // 2
        middle = image.getpixel((left + 300, top + 230))
        assert middle == (255, 255, 255)
        if left:
            assert image.getpixel((left - 1, top + 10)) == (0, 0, 0)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["updates"] >= 1
    assert report["bytes"] >= sum(report["bytes_by_type"].values()) > 0
    assert report["input_to_picture_ms"] is None


def test_typing_shows_and_is_timed(xterm: Served) -> None:
    # The pointer gives the window the keyboard; the probe looks at the text cursor's line.
    done = view(
        xterm.address, "--click", "200,200", "--key", "Return", "--type", "echo tilewire", "--for", "2", "--json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["updates"] >= 2
    assert report["input_echo_ms"]["p50"] > 0


@pytest.mark.parametrize("without", ["codec", "codec,cache,jpeg,copy"])
def test_a_device_may_offer_less(without: str, xterm: Served) -> None:
    done = view(xterm.address, "--without", without, "--click", "200,200", "--type", "ls\\n", "--for", "1", "--json")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])["bytes_by_type"]
    left_out = {"CODEC", "COPY", "CACHE_STORE", "CACHE_DRAW", "JPEG"} if "copy" in without else {"CODEC"}
    assert "END" in seen
    assert not left_out & set(seen)


def test_websocket_address(xterm: Served) -> None:
    done = view(f"ws://{xterm.address}/", "--for", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["updates"] >= 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["127.0.0.1:1"], "cannot connect"),
        (["127.0.0.1:99999"], "not a port"),
        (["ws://127.0.0.1:1/"], "cannot connect"),
        (["127.0.0.1:1", "--click", "2000,1"], "outside the panel"),
        (["127.0.0.1:1", "--auth-key-file", "/does/not/exist"], "cannot be read"),
    ],
)
def test_a_plain_sentence_and_no_traceback(arguments: list[str], sentence: str) -> None:
    done = view(*arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--click", "a,b"],
        ["--key", "NoSuchKey"],
        ["--panel", "none"],
        ["--for", "-1"],
        ["--probe", "1"],
        ["--without", "codec,none"],
    ],
)
def test_wrong_arguments_are_named(arguments: list[str]) -> None:
    done = view("127.0.0.1:1", *arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr


def test_the_end_of_the_session_is_told(tmp_path: Path) -> None:
    with served(["run", "--listen", "127.0.0.1:0", "--", "sleep", "2"], tmp_path / "log") as server:
        done = view(server.address, "--for", "30")
    assert done.returncode == 3
    assert "sleep ended" in done.stderr
