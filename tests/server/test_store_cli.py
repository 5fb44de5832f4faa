"""`tilewire device`, `token` and `usage`: what they print, what they refuse, and that no secret goes anywhere else."""

from __future__ import annotations

import argparse
import base64
import csv
import io
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tilewire.server.errors import ServerError
from tilewire.server.store import Role, c_snippet, micropython_snippet, open_store
from tilewire.server.store.cli import Place, add_parsers

MAIN: Final = """
import argparse, sys
from tilewire.server.store.cli import add_parsers
top = argparse.ArgumentParser(prog="tilewire")
add_parsers(top.add_subparsers(required=True))
arguments = top.parse_args()
sys.exit(arguments.handler(arguments))
"""
KEY_LINE: Final = re.compile(r"^key    ([0-9a-f]{64})$", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


class Refused(Exception):
    """What the command says on standard error."""


class Command:
    """The three commands with a state, in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *words: str, state: bool = True) -> str:
        """What it prints. Raises Refused."""
        top = argparse.ArgumentParser(prog="tilewire")
        add_parsers(top.add_subparsers(required=True))
        more = ["--state", str(self.folder)] if state else []
        try:
            arguments = top.parse_args([*words, *more])
            code = arguments.handler(arguments)
        except SystemExit as end:
            code = end.code
        said = self._capsys.readouterr()
        if code != 0:
            assert said.out == ""
            raise Refused(said.err)
        assert said.err == ""
        return said.out


@pytest.fixture
def tilewire(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(folder, capsys)


async def _key(folder: Path, name: str, secret: Path | None) -> bytes | None:
    async with open_store(folder / "store", secret=secret) as store:
        return await store.key_of(name)


def key_of(folder: Path, name: str, secret: Path | None = None) -> bytes | None:
    return trio.run(_key, folder, name, secret)


def test_a_key_is_printed_once(tilewire: Command, folder: Path) -> None:
    said = tilewire("device", "add", "panel-7", "--profile", "web", "--profile", "term", "--default", "web")
    found = KEY_LINE.search(said)
    assert found
    key = bytes.fromhex(found[1])
    assert key_of(folder, "panel-7") == key
    assert "This key is not shown again." in said
    assert c_snippet("panel-7", key) in said
    assert micropython_snippet("panel-7", key) in said
    listed = tilewire("device", "list") + tilewire("device", "list", "--json")
    assert found[1] not in listed
    [device] = json.loads(tilewire("device", "list", "--json"))
    assert (device["device"], device["profiles"], device["default"]) == ("panel-7", ["term", "web"], "web")
    assert (device["seen"], device["disabled"]) == (None, False)
    assert re.search(r"^panel-7  term,web  web      20\d\d-\S+Z  never$", tilewire("device", "list"), re.MULTILINE)


def test_json_has_the_same(tilewire: Command, folder: Path) -> None:
    said = json.loads(tilewire("device", "add", "panel-7", "--json"))
    key = key_of(folder, "panel-7")
    assert key is not None
    assert said == {
        "device": "panel-7",
        "key": key.hex(),
        "c": c_snippet("panel-7", key),
        "micropython": micropython_snippet("panel-7", key),
    }
    again = json.loads(tilewire("device", "rotate", "panel-7", "--json"))
    assert again["key"] != said["key"]
    assert bytes.fromhex(again["key"]) == key_of(folder, "panel-7")


def test_a_device_comes_and_goes(tilewire: Command, folder: Path) -> None:
    tilewire("device", "add", "panel-7")
    assert tilewire("device", "disable", "panel-7") == ""
    assert key_of(folder, "panel-7") is None
    assert re.search(r"^panel-7  by the rules .* disabled$", tilewire("device", "list"), re.MULTILINE)
    tilewire("device", "enable", "panel-7")
    assert key_of(folder, "panel-7") is not None
    tilewire("device", "allow", "panel-7", "--profile", "term", "--default", "term")
    assert [row["profiles"] for row in json.loads(tilewire("device", "list", "--json"))] == [["term"]]
    tilewire("device", "remove", "panel-7")
    assert json.loads(tilewire("device", "list", "--json")) == []
    for word in ("rotate", "remove", "disable", "enable", "allow"):
        with pytest.raises(Refused, match=r"^tilewire: there is no device panel-7$"):
            tilewire("device", word, "panel-7")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "böard", "a;b", "$(id)", "x" * 65, "a\n", "'", '"'])
def test_names_that_the_command_does_not_take(tilewire: Command, folder: Path, name: str) -> None:
    with pytest.raises(Refused, match="is not 1 to 64 letters, digits, dots, _ and -"):
        tilewire("device", "add", name)
    assert not folder.exists()


def test_what_it_refuses(tilewire: Command, folder: Path) -> None:
    for words in (("device", "list"), ("device", "rotate", "panel"), ("token", "list"), ("token", "revoke", "1")):
        with pytest.raises(Refused, match=rf"^tilewire: there is no state in {folder}/store$"):
            tilewire(*words)
    with pytest.raises(Refused, match=rf"^tilewire: there is no state in {folder}/store$"):
        tilewire("usage")
    assert not folder.exists()
    with pytest.raises(Refused, match=r"^tilewire: say where the state is: --state FOLDER$"):
        tilewire("device", "list", state=False)
    tilewire("device", "add", "panel-7")
    with pytest.raises(Refused, match=r"^tilewire: there is a device panel-7 already$"):
        tilewire("device", "add", "panel-7")
    with pytest.raises(Refused, match=r"^tilewire: a profile is named by"):
        tilewire("device", "add", "other", "--profile", "a b")
    with pytest.raises(Refused, match=r"^tilewire: there is no token 7$"):
        tilewire("token", "revoke", "7")
    for wrong in (("token", "revoke", "-1"), ("token", "revoke", "9" * 30), ("token", "add", "--days", "0")):
        with pytest.raises(Refused, match="is not a"):
            tilewire(*wrong)
    with pytest.raises(Refused, match="invalid"):
        tilewire("token", "add", "--role", "king")
    with pytest.raises(Refused, match="is not a time such as 2026-01-31"):
        tilewire("usage", "--since", "yesterday")
    with pytest.raises(Refused, match="not allowed with"):
        tilewire("usage", "--csv", "--json")


def test_where_the_state_is_may_be_a_setting(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = argparse.ArgumentParser()
    secret = folder.with_name("secret")
    secret.write_bytes(secrets.token_bytes(32))
    secret.chmod(0o600)
    add_parsers(top.add_subparsers(), lambda: Place(folder, secret))
    arguments = top.parse_args(["device", "add", "panel"])
    assert arguments.handler(arguments) == 0
    found = KEY_LINE.search(capsys.readouterr().out)
    assert found
    assert key_of(folder, "panel", secret) == bytes.fromhex(found[1])
    # Said on the command line it counts for more.
    arguments = top.parse_args(["device", "list", "--state", str(folder.with_name("other"))])
    assert arguments.handler(arguments) == 1
    assert "there is no state in" in capsys.readouterr().err

    def broken() -> Place:
        raise ServerError("tilewire.toml, line 3: no")

    top = argparse.ArgumentParser()
    add_parsers(top.add_subparsers(), broken)
    arguments = top.parse_args(["device", "list"])
    assert arguments.handler(arguments) == 1
    assert capsys.readouterr().err == "tilewire: tilewire.toml, line 3: no\n"


def test_tokens(tilewire: Command, folder: Path) -> None:
    text = tilewire("token", "add", "--role", "viewer", "--note", "the kiosk", "--days", "2")
    other = json.loads(tilewire("token", "add", "--json"))
    assert other["role"] == "operator"

    async def check(*texts: str) -> list[Role | None]:
        async with open_store(folder / "store") as store:
            found = [await store.check_token(one) for one in texts]
        return [None if one is None else one.role for one in found]

    assert trio.run(check, text.strip(), other["token"]) == [Role.VIEWER, Role.OPERATOR]
    listed = tilewire("token", "list")
    rows = json.loads(tilewire("token", "list", "--json"))
    assert [(row["number"], row["role"]) for row in rows] == [(1, "viewer"), (2, "operator")]
    assert [row["note"] for row in rows] == ["the kiosk", ""]
    assert re.search(r"^1       viewer    20\d\d-.*Z  20\d\d-\S*Z  20\d\d-\S*Z  the kiosk$", listed, re.MULTILINE)
    for secret in (text.strip(), other["token"]):
        assert secret[3:] not in listed + json.dumps(rows)
    assert tilewire("token", "revoke", "1") == ""
    assert trio.run(check, text.strip(), other["token"]) == [None, Role.OPERATOR]


async def _use(folder: Path) -> None:
    """Three sessions: of January, of February, and one that runs, by a stranger who wants to be a formula."""
    now_s = 1_769_900_000.0  # 2026-01-31T22:53:20Z
    async with open_store(folder / "store", clock=lambda: now_s) as store:
        for session, device in (("january", "panel-7"), ("february", "panel-7"), ("runs", "=1+1\x1b[2J")):
            number = await store.begin_usage(session, "web", device)
            await store.add_usage(number, 60, 1000, 10, 120)
            now_s += 3600
            if session != "runs":
                await store.end_usage(number, "closed")


def test_usage(tilewire: Command, folder: Path) -> None:
    trio.run(_use, folder)
    text = tilewire("usage", "--csv")
    assert text.count("\r\n") == 4
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert [row["session"] for row in rows] == ["january", "february", "runs"]
    assert [row["ended"] for row in rows] == ["2026-01-31T23:53:20Z", "2026-02-01T00:53:20Z", ""]
    assert rows[2]["device"] == "'=1+1\ufffd[2J"
    assert [row["seconds"] for row in json.loads(tilewire("usage", "--json"))] == [60, 60, 60]
    table = tilewire("usage")
    assert "\x1b" not in table
    assert re.search(r"together +180 +360 +3000 +30$", table, re.MULTILINE)
    assert re.search(r"^runs .* running ", table, re.MULTILINE)

    def sessions(*words: str) -> list[str]:
        return [row["session"] for row in json.loads(tilewire("usage", "--json", *words))]

    assert sessions("--since", "2026-01-01", "--until", "2026-02-01") == ["january"]
    assert sessions("--since", "2026-02-01") == ["february", "runs"]
    assert sessions("--since", "2026-02-01", "--until", "2026-03-01") == ["february"]
    assert sessions("--until", "2026-01-31T23:53:20Z") == []
    assert sessions("--until", "2026-01-31T23:53:21") == ["january"]
    assert sessions("--until", "2026-02-01T01:53:21+02:00") == ["january"]


def beside(arguments: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    # Output that is not buffered is not flushed at the end.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= more.pop("env", {})
    return subprocess.Popen([sys.executable, "-c", MAIN, *arguments], stderr=subprocess.PIPE, env=environment, **more)


def test_output_that_goes_nowhere(tilewire: Command, folder: Path) -> None:
    """A key that could not be printed is said to be lost; a reader who has seen enough is no error worth a word."""
    with open("/dev/full", "wb") as full:
        process = beside(["device", "add", "panel-7", "--state", str(folder)], stdout=full)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.decode() == (
        "tilewire: the key of panel-7 could not be printed (No space left on device) and is lost: "
        "tilewire device rotate panel-7 makes another\n"
    )
    assert [row["device"] for row in json.loads(tilewire("device", "list", "--json"))] == ["panel-7"]
    reader, writer = os.pipe()
    os.close(reader)
    process = beside(["device", "list", "--state", str(folder)], stdout=writer)
    os.close(writer)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, b"")


def test_names_beyond_the_terminals_encoding(folder: Path) -> None:
    name = "böard-\U0001f5a5"

    async def make() -> None:
        async with open_store(folder / "store") as store:
            await store.add_device(name)
            await store.begin_usage("s1", "web", name)

    trio.run(make)
    environment = {"PYTHONIOENCODING": "ascii"}
    for words, shown in (
        (["device", "list"], b"\nb\\xf6ard-\\U0001f5a5"),
        (["usage"], b"  b\\xf6ard-\\U0001f5a5  "),
        (["usage", "--csv"], f",{name},".encode()),
    ):
        process = beside([*words, "--state", str(folder)], stdout=subprocess.PIPE, env=environment)
        said, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")
        assert shown in said


WATCHED: Final = """
import argparse, contextlib, io, json, logging, os, re, sys, trio, warnings
from pathlib import Path
from tilewire.server.store import Role, StoreError, open_store
from tilewire.server.store.cli import add_parsers

log, folder, secret = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
logging.basicConfig(level=1, filename=log)
logging.captureWarnings(True)

def command(*words):
    top = argparse.ArgumentParser(prog="tilewire")
    add_parsers(top.add_subparsers(required=True))
    arguments = top.parse_args([*words, "--state", str(folder)])
    with contextlib.redirect_stdout(io.StringIO()) as said:
        arguments.handler(arguments)
    return said.getvalue()

secrets = []
for words in (("add", "panel-7"), ("rotate", "panel-7"), ("add", "other", "--json"), ("add", "panel-7")):
    secrets += re.findall("[0-9a-f]{64}", command("device", *words))
secrets.append(command("token", "add", "--note", "deploy").strip())

async def serve():
    async with open_store(folder / "store", secret=secret, serving=True) as store:
        secrets.append((await store.add_device("served")).hex())
        token = await store.add_token("served", Role.VIEWER, 60)
        secrets.append(token)
        for text in (token, token[:-1], token.swapcase(), secrets[-2]):
            logging.info("%r", await store.check_token(text))
        await store.key_of("served")
        logging.info("%r %r %r", store, await store.devices(), await store.tokens())
        await store.begin_usage("s1", "web", "served")
    for given in (None, folder / "state.db"):
        try:
            async with open_store(folder / "store", secret=given):
                raise AssertionError
        except StoreError as error:
            logging.exception("no")

trio.run(serve)
secrets.append(secret.read_bytes().hex())
own = "/proc/self/"
seen = "".join(Path(own + name).read_bytes().decode("latin-1") for name in ("cmdline", "comm", "environ"))
print(json.dumps({"secrets": secrets, "process": seen}))
"""


def shapes(secret: str) -> list[bytes]:
    """What a secret could look like in a log."""
    if secret.startswith("tw_"):
        return [secret.encode(), secret[3:20].encode(), secret[-20:].encode()]
    raw = bytes.fromhex(secret)
    return [
        raw,
        secret.encode(),
        secret.upper().encode(),
        secret[:16].encode(),
        base64.b64encode(raw)[:20],
        base64.urlsafe_b64encode(raw)[:20],
        repr(raw)[2:20].encode(),
        ", ".join(f"0x{byte:02x}" for byte in raw[:4]).encode(),
        ", ".join(str(byte) for byte in raw[:4]).encode(),
    ]


def test_no_secret_in_logs_nor_in_the_process_list(folder: Path, tmp_path: Path) -> None:
    secret, log = tmp_path / "secret", tmp_path / "log"
    secret.write_bytes(secrets.token_bytes(32))
    secret.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(log), str(folder), str(secret)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert [len(one) for one in told["secrets"]] == [64, 64, 64, 46, 64, 46, 64]
    written = log.read_bytes()
    # It was watched: these are its words.
    for words in (
        *(b"device panel-7 was added", b"device panel-7 has another key", b"are encrypted from now on"),
        *(b"token 2 was added for the role viewer (served)", b"Traceback", b"DeviceRow(name='other'"),
    ):
        assert words in written
    seen = written + done.stderr + told["process"].encode("latin-1")
    assert b"tilewire" in told["process"].encode("latin-1")
    assert [one for one in told["secrets"] for shape in shapes(one) if shape in seen] == []
