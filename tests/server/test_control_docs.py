"""docs/api.md is true: its walk is carried out, its tables are compared with the server's own description."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tilewire.server.control.errors import WORDS

from tests.server.controlled import controlled
from tests.server.hosting import new_ground
from tests.support import LOOPBACK

MANUAL: Final = Path(__file__).parents[2] / "docs" / "api.md"
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONFIGURATION: Final = """
[profiles.terminal]
command = ["xterm"]
size = "640x400"

[profiles.web]
kind = "chromium"
url = "about:blank"
"""
CHANGING: Final = re.compile(
    r"[0-9a-f]{16}|\d{4}-\d\d-\d\dT[\d:]+Z|\d+\.\d+|(?<=:)\d{4,5}\b|(?<=^id: )\d+", re.MULTILINE
)
"""In what is no JSON: request ids, times, ports, counts."""
LASTING: Final = frozenset({"success", "status", "service", "error", "message", "role", "state", "format", "kind"})
"""Fields whose words are the same each time."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the walk, and what the manual says that comes of it."""

    line: int
    command: str
    kind: str
    output: str


def walk() -> Iterator[Step]:
    """The blocks in order: each command with the output that follows it, if any."""
    text = MANUAL.read_text()
    blocks = [(text.count("\n", 0, each.start()) + 1, each[1], each[2]) for each in BLOCK.finditer(text)]
    for at, (line, kind, body) in enumerate(blocks):
        if kind == "sh":
            _, following, output = blocks[at + 1] if at + 1 < len(blocks) else (0, "sh", "")
            yield Step(line, body, following if following != "sh" else "", output if following != "sh" else "")


def same_shape(given: Any, wanted: Any, where: str) -> None:
    """The fields and types of `wanted`, the words where they last. Raises AssertionError."""
    if isinstance(wanted, dict):
        assert isinstance(given, dict), f"{where}: {given!r} is no object"
        assert list(given) == list(wanted), f"{where}: {list(given)}"
        for name, value in wanted.items():
            if name in LASTING or isinstance(value, bool | None):
                assert given[name] == value, f"{where}.{name}: {given[name]!r}"
            same_shape(given[name], value, f"{where}.{name}")
    elif isinstance(wanted, list):
        assert isinstance(given, list), f"{where}: {given!r} is no list"
        assert bool(given) == bool(wanted), f"{where}: {given!r}"
        for one, other in zip(given, wanted, strict=False):
            same_shape(one, other, f"{where}[]")
    elif isinstance(wanted, int | float) and not isinstance(wanted, bool):
        assert isinstance(given, int | float), f"{where}: {given!r} is no number"
    else:
        assert type(given) is type(wanted), f"{where}: {given!r}"


def compare(step: Step, output: str) -> None:
    """Raises AssertionError with the line of the manual."""
    where = f"docs/api.md, line {step.line}"
    if step.kind == "json":
        same_shape(json.loads(output), json.loads(step.output), where)
    elif step.kind == "text":
        assert CHANGING.sub("#", output.replace("\r", "").strip()) == CHANGING.sub("#", step.output.strip()), where
    else:
        assert output == "", f"{where}: {output}"


@asynccontextmanager
async def page() -> AsyncIterator[str]:
    """The URL of a page of ours."""
    body = b"<!DOCTYPE html><title>Example Domain</title><p>Example"

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            await stream.send_all(head % len(body) + body)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host=LOOPBACK))
        yield f"http://{LOOPBACK}:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    """`tilewire serve` as a process; the API's URL."""
    file = folder / "tilewire.toml"
    file.write_text(CONFIGURATION)
    ports = ("--listen", f"{LOOPBACK}:0", "--control", f"{LOOPBACK}:0")
    command = [
        str(Path(sys.executable).with_name("tilewire")),
        "serve",
        "--config",
        str(file),
        "--state",
        str(folder / "state"),
        *ports,
    ]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(trio.run_process, command, stderr=subprocess.PIPE, check=False)
        )
        try:
            assert process.stderr is not None
            said = ""
            with trio.fail_after(30):
                while (found := re.search(r"the API answers at (\S+)", said)) is None:
                    part = await process.stderr.receive_some()
                    assert part, said
                    said += part.decode()
            nursery.start_soon(_drain, process.stderr)
            yield f"http://{found[1]}"
        finally:
            process.terminate()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 20):
                await process.wait()
            nursery.cancel_scope.cancel()


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    async for _ in stream:
        pass


async def test_the_walk(tmp_path: Path) -> None:
    steps = list(walk())
    assert len(steps) > 20
    assert steps[0].command.startswith("API=")
    end = "--- end of step ---"
    with new_ground() as folder:
        async with page() as url, serving(folder) as api:
            script = [f"API={api}", f"STATE={folder / 'state'}", f"PAGE={url}", "set -eu"]
            for step in steps[1:]:
                script += [step.command.rstrip("\n"), f"printf '%s' '{end}'"]
            environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
            with trio.fail_after(120):
                done = await trio.run_process(
                    ["bash", "-c", "\n".join(script)],
                    cwd=tmp_path,
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    env=environment,
                )
            outputs = done.stdout.decode().split(end)
            for step, output in zip(steps[1:], outputs, strict=False):
                compare(step, output)
            assert (done.returncode, done.stderr.decode(), len(outputs)) == (0, "", len(steps))
            assert (tmp_path / "screenshot.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ('{"a": 1, "b": 2}', '{"a": 1}'),
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ('{"a": "1"}', '{"a": 1}'),
        ('{"a": []}', '{"a": [1]}'),
        ('{"a": [{"b": 1}]}', '{"a": [{"c": 1}]}'),
        ('{"a": true}', '{"a": false}'),
        ('{"error": "x"}', '{"error": "y"}'),
        ('{"a": null}', '{"a": "x"}'),
    ],
)
def test_the_comparison_can_fail(given: str, wanted: str) -> None:
    with pytest.raises(AssertionError):
        compare(Step(1, "", "json", wanted), given)
    with pytest.raises(AssertionError):
        compare(Step(1, "", "text", wanted), given)


def tables() -> list[list[list[str]]]:
    """The manual's tables, by rows and cells."""
    found: list[list[list[str]]] = [[]]
    for line in MANUAL.read_text().splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return found


async def test_the_tables_have_every_call_and_status() -> None:
    with new_ground() as folder:
        async with controlled(folder) as server, server.client(None) as nobody:
            description = (await nobody.get("/openapi.json")).json()
    calls = next(table for table in tables() if table[0][0] == "call")
    told = {row[0].strip("`"): row[1] for row in calls[2:]}
    wanted = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            role = "viewer" if "a viewer's" in operation["description"] else "operator"
            wanted[f"{method.upper()} {path}"] = role if operation["security"] else "none"
    assert told == wanted
    errors = next(table for table in tables() if table[0][0] == "status")
    assert [int(row[0]) for row in errors[2:]] == sorted({*WORDS, 431})


async def test_the_compatibility_port_has_the_calls_of_jiomosas_table() -> None:
    with new_ground() as folder:
        async with controlled(folder, compat=True) as server, server.client(None) as nobody:
            description = (await nobody.get("/openapi.json")).json()
    given = {path.replace("{session_id}", "{id}") for path in description["paths"]}
    jiomosas = next(table for table in tables() if table[0][0] == "Jiomosa")
    told = set()
    for row in jiomosas[2:]:
        if row[1].startswith("the same"):
            told |= set(re.findall(r"/(?:health|api)[^`]*", row[0]))
    assert told | {"/api/session/{id}/frame/data", "/api/session/{id}/screenshot"} == given
