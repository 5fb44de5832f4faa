"""The description of the API: whole, exact, and shown by a page that needs nobody else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.server.controlled import XTERM, Controlled, controlled
from tests.server.hosting import new_ground, profile, until
from tests.support import device, hello

EXAMPLES = int(os.environ.get("TILEWIRE_SCHEMA_EXAMPLES", "8"))
"""For each operation; `make schema` takes more."""
SEED = os.environ.get("TILEWIRE_SCHEMA_SEED", "1")
APART = ("--exclude-path", "/api/events", "--exclude-path", "/api/tokens/{number}", "--exclude-path-regex", "close$")
"""A stream has no end, and others end what the test lives on: its token, its session, its viewer."""
CONFIG = '[parameters]\n"path.session_id" = "one"\n"path.number" = 1\n'
ACCEPTS = "positive_data_acceptance"
"""Left out: more is refused than types can say, such as a page for a session that is no browser."""


@pytest.fixture
def ground() -> Iterator[Path]:
    with new_ground() as folder:
        yield folder


async def schemathesis(server: Controlled, folder: Path, *words: str) -> None:
    """Call the server with what its description allows, and what it does not: no error of ours, nothing undescribed."""
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [
        *(sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"),
        *("--config-file", str(config), "run", f"{server.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {server.operator}", "--seed", SEED, "--max-examples", str(EXAMPLES)),
        *(
            "--generation-database",
            "none",
            "--request-timeout",
            "30",
            "--exclude-checks",
            ACCEPTS,
            "--no-color",
            *words,
        ),
    ]
    with trio.fail_after(1200):
        done = await trio.run_process(
            command, cwd=folder, capture_stdout=True, stderr=subprocess.STDOUT, check=False, env=_clean()
        )
    text = done.stdout.decode()
    assert done.returncode == 0, text[-8000:]
    assert re.search(r"Selected: \d+/\d+", text), text[-2000:]


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}


async def test_schemathesis_finds_nothing(ground: Path, tmp_path: Path) -> None:
    terminal = profile(*XTERM, name="xterm")
    async with controlled(ground, terminal, app_options={"wrong_per_minute": 1e6}, max_sessions=4) as server:
        async with server.client() as api:
            assert (await api.post("/api/session/create", json={"session_id": "one"})).status_code == 201
        async with device(server.device_port, hello(session="one")) as looker:
            await until(lambda: looker.updates, "no picture came")
            await schemathesis(server, tmp_path, *APART)


async def test_schemathesis_finds_nothing_in_the_compatibility_mode(ground: Path, tmp_path: Path) -> None:
    async with controlled(ground, profile(*XTERM, name="xterm"), compat=True, max_sessions=4) as server:
        async with server.client(None) as api:
            assert (await api.post("/api/session/create", json={"session_id": "one"})).status_code == 201
        await schemathesis(server, tmp_path, "--exclude-path-regex", "close$", "--phases", "coverage")


async def description(server: Controlled) -> dict[str, Any]:
    async with server.client(None) as nobody:
        found: dict[str, Any] = (await nobody.get("/openapi.json")).json()
        return found


async def test_every_operation_says_what_it_answers(ground: Path) -> None:
    async with controlled(ground) as server:
        found = await description(server)
    assert found["openapi"].startswith("3.1")
    assert found["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in str(found)
    names = []
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            names.append(operation["operationId"])
            assert operation["summary"], where
            assert operation["tags"], where
            assert operation["security"] == ([] if path == "/health" else [{"bearer": []}]), where
            answers = operation["responses"]
            good = [status for status in answers if status.startswith("2")]
            assert len(good) == 1, where
            for status, answer in answers.items():
                assert answer["description"], (where, status)
                assert answer["content"], (where, status)
                if not status.startswith("2"):
                    assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
            assert ("401" in answers) is (path != "/health"), where
            assert ("404" in answers) is ("{" in path or path.endswith("create")), where
            assert not [status for status in answers if status.startswith("5")], where
    assert len(names) == len(set(names))
    # References lead somewhere.
    for name in re.findall(r"#/components/schemas/(\w+)", str(found)):
        assert name in found["components"]["schemas"], name


async def test_the_page_needs_nobody_else(ground: Path) -> None:
    pages = files("tilewire.server.control") / "pages"
    for each in pages.iterdir():
        text = each.read_text()
        assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", text), each.name
        assert not re.search(r"\son\w+=|style=|javascript:|innerHTML|eval\(", text), each.name
    async with controlled(ground) as server, server.client(None) as nobody:
        page = await nobody.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert (await nobody.get(path)).status_code == 200, path


async def test_a_browser_shows_the_page(ground: Path, tmp_path: Path) -> None:
    async with controlled(ground) as server:
        found = await description(server)
        command = [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"),
            *(f"--user-data-dir={tmp_path}/browser", "--virtual-time-budget=10000", "--dump-dom", f"{server.url}/docs"),
        ]
        with trio.fail_after(60):
            done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, env=_clean())
    # Paths may break after their slashes.
    shown, said = done.stdout.decode().replace("<wbr>", ""), done.stderr.decode()
    assert "CONSOLE" not in said, said
    operations = [f"{method.upper()} {path}" for path, methods in found["paths"].items() for method in methods]
    assert shown.count("<details") == len(operations)
    for operation in operations:
        assert f">{operation}</a>" in shown, operation
