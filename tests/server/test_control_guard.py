"""Who may call the control API, and what it says to everybody else."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tilewire.server.control.guard import BODY_BYTES, OPEN, WRONG_PER_MINUTE
from tilewire.server.store import Role

from tests.server.controlled import Controlled, controlled, raw
from tests.server.hosting import IDLE, new_ground, profile

PAGE = "https://pages.example"
NOTHING = profile(*IDLE, name="idle")


@pytest.fixture
def ground() -> Iterator[Path]:
    with new_ground() as folder:
        yield folder


@pytest.fixture
async def server(ground: Path) -> AsyncIterator[Controlled]:
    async with controlled(ground, NOTHING, allow_origin=(PAGE,), allow_host=("kiosks.example",)) as running:
        yield running


def operations(server: Controlled, description: dict[str, Any]) -> list[tuple[str, str]]:
    """Every method and path of the description, with something in place of its parameters."""
    found = []
    for path, methods in description["paths"].items():
        for method in methods:
            filled = path.replace("{session_id}", "one").replace("{number}", "1").replace("{name}", "lobby")
            found.append((method.upper(), filled))
    assert len(found) > 30
    return found


async def everything(server: Controlled) -> list[tuple[str, str]]:
    async with server.client(None) as nobody:
        return operations(server, (await nobody.get("/openapi.json")).json())


# Tokens.


async def test_nothing_but_health_and_the_page_is_open(server: Controlled) -> None:
    async with server.client(None) as nobody, server.client("tw_" + "x" * 43) as wrong:
        for method, path in await everything(server):
            answer = await nobody.request(method, path)
            if path == "/health":
                assert answer.status_code == 200
                continue
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == 'Bearer realm="tilewire"'
            assert answer.json()["error"].startswith("a token is needed")
            assert (await wrong.request(method, path)).status_code in (401, 429), (method, path)
        for path in OPEN:
            assert (await nobody.get(path)).status_code == 200, path
            assert (await nobody.post(path)).status_code == 401, path
        for path in ("/nothing", "/", "/api", "/docs/app.py", "/HEALTH", "//health", "/health/", "/docs%2f"):
            assert (await nobody.get(path)).status_code == 401, path


async def test_a_viewer_changes_nothing(server: Controlled) -> None:
    async with server.client(server.viewer) as viewer:
        for method, path in await everything(server):
            if path == "/api/events":
                # It would not end.
                continue
            answer = await viewer.request(method, path)
            if method == "GET":
                assert answer.status_code in (200, 404), (method, path)
            else:
                assert answer.status_code == 403, (method, path)
                assert answer.json()["error"] == "a viewer's token reads; an operator's is needed for this"


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Basic dHc6dHc=", "Bearer tw_x", "tw_" + "x" * 43, "Bearer tw_" + "é" * 43]
)
async def test_what_is_no_token(server: Controlled, value: str) -> None:
    async with server.client(None, headers={"Authorization": value.encode("latin-1")}) as client:
        answer = await client.get("/api/sessions")
    assert (answer.status_code, answer.json()["error"]) == (401, "the token is not good")


async def test_a_token_is_not_taken_from_anywhere_else(server: Controlled) -> None:
    async with server.client(None, cookies={"Authorization": server.operator}) as client:
        answer = await client.get("/api/sessions", params={"token": server.operator, "access_token": server.operator})
    assert answer.status_code == 401


async def test_the_schemes_name_has_no_case(server: Controlled) -> None:
    async with server.client(None, headers={"Authorization": f"bEARER {server.operator}"}) as client:
        assert (await client.get("/api/sessions")).status_code == 200


async def test_two_tokens_are_none(server: Controlled) -> None:
    async with server.client(None) as client:
        headers = [("Authorization", f"Bearer {server.operator}"), ("Authorization", f"Bearer {server.viewer}")]
        answer = await client.get("/api/sessions", headers=headers)
    assert answer.status_code == 400


async def test_a_token_expires(ground: Path) -> None:
    now = 1_000_000.0
    async with controlled(ground, NOTHING, clock=lambda: now) as server:
        text = await server.behind.store.add_token("short", Role.OPERATOR, 60)
        async with server.client(text) as client:
            now += 59
            assert (await client.get("/api/sessions")).status_code == 200
            now += 1
            assert (await client.get("/api/sessions")).status_code == 401


async def test_wrong_tokens_have_to_wait_and_good_ones_do_not(server: Controlled) -> None:
    async with server.client("tw_" + "x" * 43) as wrong, server.client() as good:
        found = [(await wrong.get("/api/sessions")) for _ in range(WRONG_PER_MINUTE + 5)]
        assert [each.status_code for each in found[:WRONG_PER_MINUTE]] == [401] * WRONG_PER_MINUTE
        assert found[-1].status_code == 429
        assert int(found[-1].headers["retry-after"]) >= 1
        assert (await good.get("/api/sessions")).status_code == 200


async def test_calls_are_counted(ground: Path) -> None:
    async with controlled(ground, NOTHING, calls_per_minute=5) as server:
        async with server.client() as good, server.client(None) as nobody, server.client(server.viewer) as other:
            found = [(await nobody.get("/health")).status_code for _ in range(8)]
            assert found[:5] == [200] * 5
            assert found[-1] == 429
            # Whoever has no token cannot use up the calls of those who have one, nor one token another's.
            answers = [await good.get("/api/sessions") for _ in range(8)]
            assert [each.status_code for each in answers][:5] == [200] * 5
            assert answers[-1].status_code == 429
            assert answers[-1].headers["retry-after"] == "1"
            assert answers[-1].json()["error"] == "too many calls from this address"
            assert (await other.get("/api/sessions")).status_code == 200


# Web pages.


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "kiosks.example.evil", "", "a@localhost", "[::1"]
)
async def test_names_that_are_not_ours(server: Controlled, host: str) -> None:
    async with server.client(headers={"Host": host}) as client:
        for path in ("/health", "/docs", "/api/sessions"):
            answer = await client.get(path)
            assert (answer.status_code, "Host" in answer.json()["error"]) == (403, True), path


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "10.1.2.3:7801", "[::1]:7801", "kiosks.example"]
)
async def test_names_that_are_ours(server: Controlled, host: str) -> None:
    async with server.client(headers={"Host": host}) as client:
        assert (await client.get("/api/sessions")).status_code == 200


async def test_requests_without_a_host_or_with_two(server: Controlled) -> None:
    for head in (
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ):
        assert (await raw(server.port, head)).split(b" ")[1] in (b"400", b"403")


async def test_pages_of_other_origins_may_not_call(server: Controlled) -> None:
    own = server.url
    for origin in (
        "https://evil.example",
        "null",
        f"{own}1",
        own.replace("http", "https"),
        "http://localhost",
        PAGE + ":1",
    ):
        async with server.client(headers={"Origin": origin}) as client:
            answer = await client.post("/api/session/create")
            assert (answer.status_code, "Origin" in answer.json()["error"]) == (403, True), origin
            assert not [name for name in answer.headers if name.startswith("access-control-")]
    for site in ("cross-site", "same-site", "nonsense"):
        async with server.client(headers={"Sec-Fetch-Site": site}) as client:
            for path in ("/health", "/docs", "/api/sessions"):
                assert (await client.get(path)).status_code == 403, site
    two = [("Origin", PAGE), ("Origin", "https://evil.example")]
    async with server.client() as client:
        assert (await client.get("/api/sessions", headers=two)).status_code == 403


async def test_the_servers_own_page_may_call(server: Controlled) -> None:
    async with server.client(headers={"Origin": server.url, "Sec-Fetch-Site": "same-origin"}) as client:
        answer = await client.get("/api/sessions")
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
    async with server.client(headers={"Sec-Fetch-Site": "none"}) as client:
        assert (await client.get("/docs")).status_code == 200


async def test_an_allowed_page_may_call_with_a_token(server: Controlled) -> None:
    async with server.client(None, headers={"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}) as page:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        preflight = await page.options("/api/session/create", headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == PAGE
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in preflight.headers
        assert preflight.headers["vary"] == "Origin"
        refused = await page.post("/api/session/create")
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
        answer = await page.get("/api/sessions", headers={"Authorization": f"Bearer {server.operator}"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    async with server.client(headers={"Origin": "https://evil.example"}) as page:
        assert (await page.options("/api/session/create", headers=asked)).status_code == 403


async def test_answers_carry_what_browsers_should_know(server: Controlled) -> None:
    async with server.client() as client:
        for path, status in (("/health", 200), ("/api/sessions", 200), ("/none", 404), ("/docs", 200)):
            answer = await client.get(path)
            assert answer.status_code == status
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["server"] == "tilewire"
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy
            assert not [name for name in answer.headers if name.startswith("access-control-")]


# Bodies.


async def test_bodies_are_json_and_short(server: Controlled) -> None:
    async with server.client() as client:

        async def create(content: bytes, **headers: str) -> httpx.Response:
            return await client.post("/api/session/create", content=content, headers=headers)

        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            assert (await create(b"{}", **{"Content-Type": kind})).status_code == 415, kind
        json_type = {"Content-Type": "application/json"}
        assert (await create(b"{}", **json_type, **{"Content-Encoding": "gzip"})).status_code == 415
        assert (await create(b" " * (BODY_BYTES + 1), **json_type)).status_code == 413
        assert (await create(b" " * BODY_BYTES, **json_type)).status_code == 400
        assert (await create(b"{}" + b" " * (BODY_BYTES - 2), **json_type)).status_code == 201

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(9):
                yield b" " * 8192

        # Without a declared length, too.
        answer = await client.post("/api/session/create", content=parts(), headers=json_type)
        assert (answer.status_code, answer.json()["error"]) == (413, f"a body has up to {BODY_BYTES} bytes")
        assert (await client.get("/health")).status_code == 200


async def test_bodies_are_not_read_for_whom_is_not_let_in(server: Controlled) -> None:
    head = b"POST /api/session/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answer = await raw(server.port, head + b"Content-Length: 9999999999\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")


# The log.


async def test_nothing_secret_is_logged(ground: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with controlled(ground, NOTHING) as server, server.client() as client:
        secrets = [server.operator, server.viewer]
        wrong = "tw_" + "y" * 43
        async with server.client(wrong) as other:
            await other.get("/api/sessions")
        await client.post("/api/session/create", json={"session_id": "one"})
        await client.post("/api/session/one/input/text", json={"text": "correct horse"})
        await client.get(f"/api/sessions?token={wrong}")
        secrets.append((await client.post("/api/session/one/ticket", json={})).json()["ticket"])
        secrets.append((await client.post("/api/devices", json={"name": "lobby"})).json()["key"])
        secrets.append((await client.post("/api/devices/lobby/rotate")).json()["key"])
        secrets.append((await client.post("/api/tokens", json={})).json()["token"])
        await client.post("/api/tokens", json={"name": 7, "token": wrong})
        bad = await client.get("/api/session/none/info")
        # An answer comes before its line of the log. The client of this test logs URLs.
        await wait_all_tasks_blocked()
        text = "\n".join(each.getMessage() for each in caplog.records if each.name.startswith("tilewire"))
        assert bad.json()["request_id"] in text
        assert "POST /api/session/create: 201 for token 1" in text
        for secret in (*secrets, wrong, "correct horse"):
            assert secret[:20] not in text


async def test_a_callers_path_cannot_forge_the_log(server: Controlled, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with server.client() as client:
        await client.get("/x%0a2026-01-01%20forged%1b[2J")
    lines = [record.getMessage() for record in caplog.records if "forged" in record.getMessage()]
    assert lines
    assert all(line.isprintable() for line in lines if "HTTP Request" not in line)


# The compatibility mode.


async def test_the_compatibility_port_has_jiomosas_routes_without_tokens(ground: Path) -> None:
    async with controlled(ground, NOTHING, compat=True) as server, server.client(None) as client:
        made = await client.post("/api/session/create", json={"session_id": "pytest_session"})
        assert made.status_code == 201, made.text
        assert made.json()["success"] is True
        assert (await client.get("/health")).json()["websocket"] == "enabled"
        assert (await client.post("/api/session/pytest_session/close")).json()["success"] is True
        for path in ("/api/tokens", "/api/devices", "/api/usage", "/api/events", "/api/profiles"):
            assert (await client.get(path)).status_code == 404, path
            assert (await client.post(path, json={})).status_code == 404, path
        assert (await client.post("/api/session/pytest_session/ticket", json={})).status_code == 404
        description = (await client.get("/openapi.json")).json()
        assert "securitySchemes" not in description["components"]
        assert all("ticket" not in path and "token" not in path for path in description["paths"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:5000"}, 201),
        ({"Host": "127.0.0.1"}, 201),
        ({"Host": "[::1]:5000"}, 201),
        ({"Host": "10.0.0.1:5000"}, 403),
        ({"Host": "evil.example:5000"}, 403),
        ({"Host": "localhost:5000.evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://localhost:5000"}, 403),
        ({"Origin": PAGE}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
async def test_the_compatibility_port_serves_no_pages(ground: Path, headers: dict[str, str], status: int) -> None:
    async with controlled(ground, NOTHING, compat=True, allow_origin=(PAGE,)) as server:
        async with server.client(None, headers={"Content-Type": "application/json", **headers}) as client:
            answer = await client.post("/api/session/create", content=json.dumps({}))
            assert answer.status_code == status
            assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_many_new_connections_at_once(ground: Path) -> None:
    """As Jiomosa's test does: each call a connection of its own."""
    async with controlled(ground, NOTHING, compat=True, calls_per_minute=600) as server:
        statuses = []

        async def call() -> None:
            async with server.client(None) as client:
                statuses.append((await client.get("/health")).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(call)
        assert statuses == [200] * 20
