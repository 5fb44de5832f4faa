"""`tilewire-sim view` as a user calls it, against a real server with a real xterm."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tilewire.protocol import PANELS

from tests.certificates import Authority, Identity
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
    assert report["dropped"] == {"inputs": 0, "updates": 0}
    # Some inputs are the newest that an update names; two for each of 14 characters and Return, three of the click.
    assert 1 <= report["input_to_update_ms"]["count"] <= 33
    assert 0 < report["input_to_update_ms"]["mean"] < 5000


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


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "stranger")


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Identity:
    return authority.issue("server")


@pytest.fixture(scope="module")
def tls_xterm(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("xterm") / "log"
    listen = ["--listen", "127.0.0.1:0", "--size", "640x420"]
    with served(["run", *listen, *identity.flags, "--", *XTERM], log) as server:
        yield server


def test_the_picture_is_the_same_in_tls(tls_xterm: Served, authority: Authority, tmp_path: Path) -> None:
    pictures = []
    ca = ["--ca", str(authority.certificate)]
    for number, (address, words) in enumerate(
        [
            (tls_xterm.address, []),
            (f"ws://{tls_xterm.address}/", []),
            (f"tls://{tls_xterm.address}", ca),
            (f"wss://{tls_xterm.address}/", ca),
        ]
    ):
        picture = tmp_path / f"{number}.png"
        done = view(address, *words, "--settle", "0.5", "--for", "0.5", "--png", str(picture))
        assert (done.returncode, done.stderr) == (0, "")
        with Image.open(picture) as image:
            pictures.append(image.tobytes())
    assert len(set(pictures)) == 1


def test_typing_in_tls(tls_xterm: Served, authority: Authority) -> None:
    words = ["--ca", str(authority.certificate), "--click", "200,200", "--type", "ls\\n", "--for", "1", "--json"]
    done = view(f"tls://{tls_xterm.address}", *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["updates"] >= 2
    assert report["input_echo_ms"]["p50"] > 0


@pytest.mark.parametrize("scheme", ["tls", "wss"])
def test_a_certificate_may_be_left_unchecked(tls_xterm: Served, scheme: str) -> None:
    done = view(f"{scheme}://{tls_xterm.address}", "--insecure-tls", "--for", "0.1")
    assert done.returncode == 0
    warning = "the server's certificate is not checked (--insecure-tls): anybody could be there"
    assert done.stderr == f"tilewire-sim: {warning}\n"


def test_the_servers_own_certificate_may_be_trusted(tls_xterm: Served, identity: Identity) -> None:
    done = view(f"tls://{tls_xterm.address}", "--ca", str(identity.certificate), "--for", "0.1")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("scheme", ["tls", "wss"])
@pytest.mark.parametrize(
    ("names", "days", "trusted", "sentence"),
    [
        ("DNS:localhost,IP:127.0.0.2", 2, "authority", "certificate is not for 127.0.0.1"),
        ("IP:127.0.0.1", -1, "authority", "certificate is not accepted: certificate has expired"),
        ("IP:127.0.0.1", 2, "stranger", "certificate is not trusted: unable to get local issuer certificate (--ca"),
        ("IP:127.0.0.1", 2, "", "certificate is not trusted: unable to get local issuer certificate (--ca"),
    ],
)
def test_a_certificate_that_does_not_fit(
    scheme: str, names: str, days: int, trusted: str, sentence: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    issuer: Authority = request.getfixturevalue("authority")
    flags = issuer.issue("misfit", names=names, days=days).flags
    ca = ["--ca", str(request.getfixturevalue(trusted).certificate)] if trusted else []
    with served(["run", "--listen", "127.0.0.1:0", *flags, "--", "sleep", "1000"], tmp_path / "log") as server:
        done = view(f"{scheme}://{server.address}/", *ca)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert f"cannot connect to {scheme}://{server.address}/: the server's {sentence}" in done.stderr


def test_a_server_that_asks_for_tls(identity: Identity, tmp_path: Path) -> None:
    arguments = ["run", "--listen", "127.0.0.1:0", *identity.flags, "--tls-only", "--", "sleep", "1000"]
    with served(arguments, tmp_path / "log") as server:
        done = view(server.address)
        assert done.returncode == 3
        assert done.stderr == "tilewire-sim: the server said goodbye: this server asks for TLS\n"
        done = view(f"ws://{server.address}/")
        assert done.returncode == 1
        assert "HTTP 403: this server asks for TLS: connect to https:// or wss://\n" in done.stderr
        assert view(f"tls://{server.address}", "--insecure-tls", "--for", "0.1").returncode == 0
    assert "devices must speak TLS" in (tmp_path / "log").read_text()


def test_a_server_without_tls(xterm: Served) -> None:
    for scheme in ("tls", "wss"):
        done = view(f"{scheme}://{xterm.address}/", "--insecure-tls")
        assert done.returncode == 1
        assert "the TLS handshake failed: sslv3 alert handshake failure" in done.stderr.splitlines()[1]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server does not speak TLS"),
        (b"", "the server closed the connection in the TLS handshake"),
    ],
)
def test_what_speaks_no_tls_at_all(answer: bytes, sentence: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def play() -> None:
            stream, _ = listener.accept()
            with stream:
                stream.recv(65536)
                stream.sendall(answer)

        thread = threading.Thread(target=play)
        thread.start()
        done = view(f"tls://127.0.0.1:{listener.getsockname()[1]}", "--insecure-tls")
        thread.join()
    assert done.returncode == 1
    assert sentence in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tls://127.0.0.1:1"], "cannot connect to tls://127.0.0.1:1"),
        (["wss://127.0.0.1:1/"], "cannot connect to wss://127.0.0.1:1/"),
        (["tls://127.0.0.1:99999"], "not a port"),
        (["tls://"], "names no server"),
        (["wss:///"], "names no server"),
        (["wss://127.0.0.1:x/"], "is no address"),
        (["tls://127.0.0.1:1", "--ca", "/does/not/exist"], "/does/not/exist cannot be read: No such file"),
        (["tls://127.0.0.1:1", "--ca", "/etc/hostname"], "/etc/hostname holds no certificate (PEM)"),
        (["127.0.0.1:1", "--ca", "x"], "--ca and --insecure-tls are for tls:// and wss:// addresses"),
        (["ws://127.0.0.1:1/", "--insecure-tls"], "--ca and --insecure-tls are for tls:// and wss:// addresses"),
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
