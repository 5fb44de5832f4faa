"""The control API: Jiomosa's routes and ours, on a real port, with real sessions behind it."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from PIL import Image

from tilewire.protocol import AuthMethod, Capability, Code
from tilewire.server.control.keysyms import keysym_number
from tilewire.server.control.png import png

from tests.server.controlled import Controlled, controlled
from tests.server.hosting import new_ground, profile, until
from tests.support import LOOPBACK, Device, device, hello

KEEPER = """
import os, sys
while True:
    line = sys.stdin.readline()
    open(os.environ['HOME'] + '/typed', 'a').write(line)
"""
XTERM = ("xterm", "-geometry", "40x12+0+0", "-e", "python3", "-c", KEEPER)
"""A terminal that writes down each line that is typed."""


@pytest.fixture
def ground() -> Iterator[Path]:
    with new_ground() as folder:
        yield folder


@pytest.fixture
async def server(ground: Path) -> AsyncIterator[Controlled]:
    async with controlled(ground, profile(*XTERM, name="xterm", largest="640x400")) as running:
        yield running


@pytest.fixture
async def api(server: Controlled) -> AsyncIterator[httpx.AsyncClient]:
    async with server.client() as client:
        yield client


async def created(api: httpx.AsyncClient, session_id: str = "one", **fields: Any) -> dict[str, Any]:
    answer = await api.post("/api/session/create", json={"session_id": session_id, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def wrong(answer: httpx.Response, status: int, error: str, **more: Any) -> None:
    """The answer is this refusal, in full."""
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert body.pop("request_id") == answer.headers["x-request-id"]
    body.pop("detail", None)
    assert body == {"error": error, **more}


# Jiomosa's.


async def test_a_session_lives_as_jiomosa_has_it(api: httpx.AsyncClient) -> None:
    before = time.time()
    made = await created(api, "pytest_session", unknown="ignored")
    assert made["success"] is True
    assert made["session_id"] == "pytest_session"
    assert before <= made["created_at"] <= time.time()
    assert made["websocket_url"].startswith("ws://127.0.0.1:")
    assert made["alternative_access"].keys() == {"description", "url", "password"}

    health = (await api.get("/health")).json()
    assert health.keys() == {"status", "service", "selenium", "active_sessions", "websocket"}
    assert (health["status"], health["service"], health["websocket"]) == ("healthy", "jiomosa-renderer", "enabled")
    assert health["active_sessions"] == 1

    info = (await api.get("/api/session/pytest_session/info")).json()
    assert info["session_id"] == "pytest_session"
    assert info["created_at"] == made["created_at"]
    assert info["page_info"] is None

    kept = (await api.post("/api/session/pytest_session/keepalive")).json()
    assert kept.keys() == {"success", "session_id", "last_activity", "message"}
    assert kept["last_activity"] > info["last_activity"]
    assert kept["message"] == "Keepalive successful"

    listed = (await api.get("/api/sessions")).json()
    assert listed["active_sessions"] == 1
    assert listed["sessions"][0]["session_id"] == "pytest_session"
    assert listed["sessions"][0]["current_page"] is None
    assert listed["sessions"][0]["last_activity"] == kept["last_activity"]

    closed = await api.post("/api/session/pytest_session/close")
    assert closed.status_code == 200
    assert closed.json() == {"success": True, "message": "Session pytest_session closed"}
    wrong(
        await api.post("/api/session/pytest_session/close"),
        404,
        "Session not found",
        session_id="pytest_session",
    )
    assert (await created(api, "pytest_session"))["created_at"] > made["created_at"]
    assert (await api.delete("/api/session/pytest_session/close")).status_code == 200
    assert (await api.get("/health")).json()["active_sessions"] == 0


async def test_info_has_jiomosas_fields(api: httpx.AsyncClient) -> None:
    info = (await api.get("/api/info")).json()
    assert (info["service"], info["version"]) == ("Jiomosa Renderer", "2.0.0")
    assert info["session_config"].keys() == {"timeout", "frame_capture_interval"}
    assert info["session_config"]["timeout"] == 300
    assert info["endpoints"]["session_load"] == "/api/session/<session_id>/load"
    assert info["endpoints"].keys() >= {"health", "session_frame", "sessions_list", "websocket"}


@pytest.mark.parametrize("body", [b"", b"{}", b"null"])
async def test_create_needs_no_body(api: httpx.AsyncClient, body: bytes) -> None:
    answer = await api.post("/api/session/create", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201
    assert answer.json()["session_id"].startswith("session_")


async def test_create_twice_is_refused(api: httpx.AsyncClient) -> None:
    await created(api)
    wrong(
        await api.post("/api/session/create", json={"session_id": "one"}),
        400,
        "Session already exists",
        session_id="one",
    )


@pytest.mark.parametrize("session_id", ["", "a/b", "../x", "a b", "x" * 65, "ü", "a\n", "\ud800", "a\0", 7, [], {}])
async def test_ids_that_are_none(api: httpx.AsyncClient, session_id: object) -> None:
    body = json.dumps({"session_id": session_id})
    answer = await api.post("/api/session/create", content=body, headers={"Content-Type": "application/json"})
    wrong(answer, 400, "Failed to create session")


async def test_create_says_what_cannot_be(api: httpx.AsyncClient) -> None:
    async def refusal(**fields: Any) -> httpx.Response:
        return await api.post("/api/session/create", json=fields)

    wrong(await refusal(profile="none"), 404, "there is no profile 'none'")
    big = {"width": 641, "height": 400}
    wrong(await refusal(size=big), 400, "641x400 is larger than this profile's 640x400")
    wrong(await refusal(url="https://example.com"), 400, "profile 'xterm' is no browser: it opens no page")
    made = await created(api, size={"width": 640, "height": 400})
    assert (made["width"], made["height"]) == (640, 400)


async def test_a_program_that_cannot_be_started(ground: Path) -> None:
    async with controlled(ground, profile("/nowhere/program", name="broken")) as server, server.client() as api:
        answer = await api.post("/api/session/create")
        wrong(answer, 422, "Failed to initialize browser session")
        assert "/nowhere/program" in answer.json()["detail"]
        assert (await api.get("/health")).json()["active_sessions"] == 0


async def test_limits_of_sessions(ground: Path) -> None:
    async with controlled(ground, max_sessions=2, max_sessions_per_device=1) as server, server.client() as api:
        await created(api, "one", device="lobby")
        wrong(
            await api.post("/api/session/create", json={"device": "lobby"}),
            409,
            "1 sessions of this device run already",
        )
        await created(api, "two")
        wrong(await api.post("/api/session/create"), 409, "2 sessions run already")


async def test_an_unknown_session_comes_before_a_wrong_body(api: httpx.AsyncClient) -> None:
    for path in ("load", "input/click", "input/text", "input", "settings", "ticket"):
        answer = await api.post(f"/api/session/none/{path}", content=b"{", headers={"Content-Type": "application/json"})
        wrong(answer, 404, "Session not found", session_id="none")
    for path in ("info", "frame", "frame/data", "screenshot", "viewers", "settings"):
        wrong(await api.get(f"/api/session/none/{path}"), 404, "Session not found", session_id="none")


NONSENSE = (
    *(b"{", b"[]", b'"x"', b"0", b"true", b"\xff", b"[" * 60_000, b'{"x": ' + b"9" * 5000 + b"}"),
    *(b'{"x": NaN}', b'{"x": 1e999}', b'{"x": "1"}', b'{"x": true}', b'{"x": 1e9}', b'{"x": null}'),
)


@pytest.mark.parametrize("body", NONSENSE)
async def test_bodies_that_make_no_sense(api: httpx.AsyncClient, body: bytes) -> None:
    await created(api)
    answer = await api.post("/api/session/one/input/click", content=body, headers={"Content-Type": "application/json"})
    wrong(answer, 400, "Failed to send click")


async def test_load_needs_a_browser_and_a_url(api: httpx.AsyncClient) -> None:
    await created(api)
    for body in ({}, {"url": ""}, {"url": None}):
        wrong(await api.post("/api/session/one/load", json=body), 400, "URL is required")
    wrong(await api.post("/api/session/one/load", json={"url": 7}), 400, "Failed to load URL")
    wrong(
        await api.post("/api/session/one/load", json={"url": "example.com"}),
        400,
        "session 'one' shows no browser that could load a page",
    )


async def test_what_is_nowhere(api: httpx.AsyncClient) -> None:
    for path in ("/", "/nothing", "/health/", "/api/session/create/", "/docs/../x", "/docs/app.py", "/%2e%2e/etc"):
        answer = await api.get(path)
        assert answer.status_code == 404, (path, answer.text)
        assert answer.json()["error"] == "Not Found"
    answer = await api.put("/api/session/one/close")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, POST")
    assert (await api.delete("/health")).headers["allow"] == "GET, HEAD"


# Input and pictures.


def typed(server: Controlled, session_id: str = "one") -> str:
    entry = server.behind.registry.get(session_id)
    assert entry is not None
    assert entry.hosted is not None
    path = entry.hosted.home / "typed"
    return path.read_text() if path.exists() else ""


async def test_text_and_keys_reach_the_program(server: Controlled, api: httpx.AsyncClient) -> None:
    await created(api)
    entry = server.behind.registry.get("one")
    assert entry is not None
    # The keyboard is where the pointer is; and xterm shows itself before it reads.
    await api.post("/api/session/one/input/click", json={"x": 20, "y": 20})
    for _ in range(300):
        answer = await api.post("/api/session/one/input/text", json={"text": "x\n"})
        assert answer.json() == {"success": True, "message": "Text sent successfully"}
        await trio.sleep(0.1)
        if typed(server):
            break
    before = typed(server)
    answer = await api.post("/api/session/one/input/text", json={"text": "Grüße"})
    assert answer.status_code == 200
    pressed = await api.post("/api/session/one/input/key", json={"key": "Enter"})
    assert pressed.json() == {"success": True, "message": "Key Enter sent successfully"}
    await until(lambda: typed(server).endswith("Grüße\n"), "the text did not arrive")
    assert typed(server).startswith(before)
    inputs = [
        {"type": "key", "keysym": "Shift_L", "pressed": True},
        {"type": "key", "keysym": "a", "pressed": True},
        {"type": "key", "keysym": "0xff0d", "pressed": True},
        {"type": "text", "text": "…\n"},
    ]
    assert (await api.post("/api/session/one/input", json={"inputs": inputs})).json() == {"success": True, "untyped": 0}
    await until(lambda: typed(server).endswith("…\n"), "the second text did not arrive")
    # Nothing stays held: Shift is not down any more.
    await api.post("/api/session/one/input/text", json={"text": "b\n"})
    await until(lambda: typed(server).endswith("\nb\n"), "Shift is still down")


async def test_clicks_move_the_pointer(server: Controlled, api: httpx.AsyncClient) -> None:
    await created(api)
    entry = server.behind.registry.get("one")
    assert entry is not None
    assert entry.hosted is not None
    answer = (await api.post("/api/session/one/input/click", json={"x": 30.7, "y": 40})).json()
    assert answer == {
        "success": True,
        "message": "Click sent at (30.7, 40)",
        "coordinates": {"x": 30.7, "y": 40},
        "inside": True,
    }
    session = entry.hosted.session
    await until(lambda: (session.pointer.x, session.pointer.y) == (30, 40), "the pointer did not move")
    outside = (await api.post("/api/session/one/input/click", json={"x": 320, "y": 0})).json()
    assert (outside["success"], outside["inside"]) == (True, False)
    assert (session.pointer.x, session.pointer.y) == (30, 40)
    scrolled = (await api.post("/api/session/one/input/scroll", json={"deltaY": -50})).json()
    assert scrolled == {"success": True, "message": "Scrolled by (0, -50)", "scroll": {"deltaX": 0, "deltaY": -50}}
    wrong(
        await api.post("/api/session/one/input", json={"inputs": [{"type": "move", "x": 320, "y": 0}]}),
        400,
        "(320, 0) is outside the screen of 320x200",
    )
    wrong(
        await api.post("/api/session/one/input/touch", json={"fingers": [{"id": 0, "x": 1, "y": 1}]}),
        400,
        "only Chromium takes fingers; other programs take the pointer",
        session_id="one",
    )
    wrong(await api.post("/api/session/one/input/key", json={"key": "Power"}), 400, "Failed to send key")


async def test_the_screenshot_is_what_a_device_sees(server: Controlled, api: httpx.AsyncClient) -> None:
    await created(api)
    greeting = hello(panel=(320, 200), device_id="looker", auth_methods=AuthMethod.NONE, session="one")
    async with device(server.device_port, greeting) as looker:
        await until(lambda: looker.updates, "no picture came")
        for path in ("screenshot", "frame"):
            # Its caret blinks, perhaps, between the two.
            for _ in range(100):
                if await _same(api, looker, path):
                    break
                await trio.sleep(0.05)
            else:
                pytest.fail(f"{path} is not what the device shows")
    answer = await api.get("/api/session/one/frame?t=1")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "inline; filename=one_frame.png"
    assert answer.headers["cache-control"] == "no-cache, no-store, must-revalidate, max-age=0"
    assert (answer.headers["pragma"], answer.headers["expires"]) == ("no-cache", "0")
    data = (await api.get("/api/session/one/frame/data")).json()
    assert data.keys() == {"success", "session_id", "timestamp", "frame", "format"}
    assert Image.open(io.BytesIO(base64.b64decode(data["frame"]))).size == (320, 200)


async def _same(api: httpx.AsyncClient, looker: Device, path: str) -> bool:
    picture = Image.open(io.BytesIO((await api.get(f"/api/session/one/{path}")).content))
    assert (picture.size, picture.mode) == ((320, 200), "RGB")
    shown = list(looker.framebuffer.pixels)
    colours = picture.tobytes()
    wanted = [
        (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
        for red, green, blue in zip(colours[::3], colours[1::3], colours[2::3], strict=True)
    ]
    return shown == wanted and len(set(wanted)) > 1


def test_png_is_read_by_others() -> None:
    pixels = bytes((at * 7 + plane * 50) % 256 for at in range(35) for plane in range(4))
    picture = Image.open(io.BytesIO(png(7, 5, pixels)))
    picture.load()
    assert picture.tobytes() == b"".join(bytes((pixels[at + 2], pixels[at + 1], pixels[at])) for at in range(0, 140, 4))
    with pytest.raises(ValueError):
        png(7, 5, pixels[:-1])


@pytest.mark.parametrize(
    ("name", "number"),
    [("Return", 0xFF0D), ("Enter", 0xFF0D), ("a", 0x61), ("ä", 0xE4), ("中", 0x1004E2D), ("0xFF0D", 0xFF0D)],
)
def test_keysyms(name: str, number: int) -> None:
    assert keysym_number(name) == number


@pytest.mark.parametrize("name", ["", "Nothing", "0x0", "0x20000000", "\n", "__doc__", "\x7f"])
def test_names_of_no_key(name: str) -> None:
    with pytest.raises(ValueError):
        keysym_number(name)


# Viewers, settings, tickets.


async def test_viewers_have_figures_roles_and_ends(server: Controlled, api: httpx.AsyncClient) -> None:
    await created(api)

    async def viewers() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = (await api.get("/api/session/one/viewers")).json()["viewers"]
        return listed

    async with device(server.device_port, hello(device_id="first", session="one")) as first:
        await until(lambda: first.updates, "no picture came")
        async with device(server.device_port, hello(device_id="second", session="one")) as second:
            await until(lambda: second.updates, "no picture came")
            one, two = await viewers()
            assert (one["viewer"], one["device"], one["role"]) == (1, "first", "control")
            assert (two["viewer"], two["device"], two["role"]) == (2, "second", "waiting")
            assert one["bytes_down"] > 0
            assert one["updates"] >= 1
            assert (one["width"], one["height"], one["pixel_format"]) == (200, 120, "RGB565")
            assert one["authenticated"] is False

            given = (await api.post("/api/session/one/viewers/2/control")).json()
            assert given["role"] == "control"
            assert [each["role"] for each in await viewers()] == ["waiting", "control"]
            shown = await api.post("/api/session/one/viewers/2/role", json={"role": "view-only"})
            assert shown.json()["role"] == "view-only"
            assert [each["role"] for each in await viewers()] == ["waiting", "view-only"]
            assert (await api.post("/api/session/one/viewers/2/role", json={"role": "waiting"})).status_code == 200

            changed = await api.post("/api/session/one/settings", json={"fps": 7, "adaptive": False})
            assert changed.json() == {"fps": 7, "quality": 75, "adaptive": False}
            assert [(each["fps"], each["adaptive"]) for each in await viewers()] == [(7, False)] * 2
            assert (await api.get("/api/session/one/settings")).json() == changed.json()

            assert (await api.post("/api/session/one/viewers/2/close")).json() == {"success": True}
            goodbye = await second.until_ended()
            assert goodbye is not None
            assert goodbye.code == Code.LIMIT
        await until(lambda: len(server.behind.registry.get("one").hosted.session.viewers) == 1)  # type: ignore[union-attr]
        wrong(
            await api.post("/api/session/one/viewers/2/close"),
            404,
            "session one has no viewer 2",
            session_id="one",
        )
    only = hello(device_id="third", session="one", capabilities=Capability.VIEW_ONLY)
    async with device(server.device_port, only) as third:
        await until(lambda: third.updates, "no picture came")
        number = (await viewers())[0]["viewer"]
        answer = await api.post(f"/api/session/one/viewers/{number}/control")
        wrong(answer, 409, f"viewer {number} may only look: its device, rule or ticket says so")
    for body in ({"fps": 0}, {"fps": 61}, {"quality": 9}, {"quality": 91}, {"adaptive": 1}, {"rate": 3}, {"fps": 1.5}):
        assert (await api.post("/api/session/one/settings", json=body)).status_code == 400, body


async def test_a_ticket_lets_one_viewer_in(server: Controlled, api: httpx.AsyncClient) -> None:
    await created(api)
    answer = await api.post("/api/session/one/ticket", json={})
    assert answer.status_code == 201
    given = answer.json()
    assert (given["role"], given["uses"], given["session_id"]) == ("viewer", 1, "one")
    assert 290 < given["expires_at"] - time.time() <= 300
    greeting = hello(device_id="guest", auth_methods=AuthMethod.TICKET, ticket=given["ticket"].encode())
    async with device(server.device_port, greeting) as guest:
        await until(lambda: guest.updates, "no picture came")
        assert (await api.get("/api/session/one/viewers")).json()["viewers"][0]["role"] == "view-only"
    for body in ({"role": "root"}, {"lifetime_s": 0}, {"lifetime_s": 1e9}, {"uses": 0}, {"life": 3}):
        assert (await api.post("/api/session/one/ticket", json=body)).status_code == 400, body


# Devices, tokens, usage, profiles.


async def test_devices_are_kept_and_their_keys_shown_once(server: Controlled, api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/devices", json={"name": "lobby", "profiles": ["xterm"], "default": "xterm"})
    assert answer.status_code == 201
    made = answer.json()
    assert await server.behind.store.key_of("lobby") == bytes.fromhex(made["key"])
    assert "tilewire_credentials" in made["c"]
    assert "tilewire_credentials" in made["micropython"]
    wrong(await api.post("/api/devices", json={"name": "lobby"}), 409, "there is a device lobby already")
    listed = (await api.get("/api/devices")).json()["devices"]
    assert [each["name"] for each in listed] == ["lobby"]
    assert made["key"] not in json.dumps(listed)
    assert listed[0]["profiles"] == ["xterm"]
    other = (await api.post("/api/devices/lobby/rotate")).json()
    assert other["key"] != made["key"]
    assert (await api.post("/api/devices/lobby", json={"disabled": True})).json()["disabled"] is True
    assert await server.behind.store.key_of("lobby") is None
    changed = await api.post("/api/devices/lobby", json={"disabled": False, "profiles": [], "default": None})
    assert (changed.json()["disabled"], changed.json()["profiles"]) == (False, [])
    wrong(
        await api.post("/api/devices/lobby", json={"default": "xterm"}),
        400,
        "a default profile is set together with the profiles",
    )
    assert (await api.delete("/api/devices/lobby")).json() == {"success": True}
    for method, path in (("DELETE", ""), ("POST", "/rotate"), ("POST", "")):
        answer = await api.request(
            method, f"/api/devices/lobby{path}", json={} if method == "POST" and not path else None
        )
        wrong(answer, 404, "there is no device lobby")
    wrong(await api.post("/api/devices", json={"name": "ü" * 33}), 400, "a device's name has 1 to 64 bytes of UTF-8")


async def test_tokens_are_made_and_revoked(server: Controlled, api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/tokens", json={"name": "dashboard", "role": "viewer", "lifetime_s": 60})
    assert answer.status_code == 201
    given = answer.json()
    assert 50 < given["expires_at"] - time.time() <= 60
    async with server.client(given["token"]) as other:
        assert (await other.get("/api/sessions")).status_code == 200
        wrong(await other.post("/api/session/create"), 403, "a viewer's token reads; an operator's is needed for this")
        listed = (await api.get("/api/tokens")).json()["tokens"]
        number = next(each["id"] for each in listed if each["name"] == "dashboard")
        assert given["token"] not in json.dumps(listed)
        assert (await api.delete(f"/api/tokens/{number}")).json() == {"success": True}
        wrong(await other.get("/api/sessions"), 401, "the token is not good")
        wrong(await api.delete(f"/api/tokens/{number}"), 404, f"there is no token {number}")
    assert (await api.post("/api/tokens", json={"lifetime_s": None})).json()["expires_at"] is None
    assert (await api.post("/api/tokens", json={"role": "root"})).status_code == 400


async def test_usage_is_exported(server: Controlled, api: httpx.AsyncClient) -> None:
    await created(api, device="=lobby")
    rows = (await api.get("/api/usage")).json()
    assert [(row["session"], row["profile"], row["device"], row["ended"]) for row in rows] == [
        ("one", "xterm", "=lobby", None)
    ]
    await api.post("/api/session/one/close")
    answer = await api.get("/api/usage", params={"format": "csv", "since": 0, "until": time.time() + 1})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename=usage.csv"
    head, row = answer.text.splitlines()
    assert head.startswith("id,session,profile,device,started")
    assert "'=lobby" in row
    assert "closed by the operator" in row
    assert (await api.get("/api/usage?until=1")).json() == []
    for query in ("since=x", "since=-1", "until=1e300", "format=xml", "since=nan"):
        assert (await api.get(f"/api/usage?{query}")).status_code == 400, query


async def test_profiles_are_told(api: httpx.AsyncClient) -> None:
    (found,) = (await api.get("/api/profiles")).json()["profiles"]
    assert (found["name"], found["kind"], found["width"], found["largest_width"]) == ("xterm", "command", 320, 640)
    assert "command" not in found
    assert "environment" not in found


# Browsers.

GREEN = b"""<!DOCTYPE html><title>Local</title><body style="background:#00aa00">
<script>addEventListener("touchstart", (event) => { document.title = `${event.touches.length} fingers`; })</script>"""


@asynccontextmanager
async def page() -> AsyncIterator[str]:
    """The URL of a page of ours."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            await stream.send_all(head % len(GREEN) + GREEN)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host=LOOPBACK))
        yield f"http://{LOOPBACK}:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


async def test_a_browser_is_driven(ground: Path) -> None:
    web = profile(name="web", kind="chromium", command=(), url="about:blank", size="640x400")
    async with controlled(ground, web) as server, server.client() as api, page() as url:
        await created(api, "web")
        loaded = (await api.post("/api/session/web/load", json={"url": url})).json()
        # Its title comes after the commit, perhaps.
        assert loaded["page_info"].pop("title") in ("Local", "", url.removeprefix("http://").rstrip("/"))
        shown = {"url": url, "session_id": "web"}
        size = loaded["page_info"].pop("window_size")
        # Without a window manager Chromium is asked for a pixel more.
        assert (640, 400) <= (size["width"], size["height"]) <= (641, 401)
        assert loaded == {"success": True, "message": "Page loaded successfully", "page_info": shown}
        assert (await api.get("/api/sessions")).json()["sessions"][0]["current_page"] == url

        places = ("file:///etc/passwd", "chrome://version", "http://169.254.169.254/", f"{url}\n", "--flag", "x" * 4096)
        for refused in places:
            answer = await api.post("/api/session/web/load", json={"url": refused})
            assert answer.status_code == 400, (refused, answer.text)
        answer = await api.post("/api/session/web/load", json={"url": url.replace("http", "https")})
        assert (answer.status_code, answer.json()["success"]) == (422, False)
        await api.post("/api/session/web/load", json={"url": url})

        fingers = [{"id": 0, "x": 100, "y": 100}, {"id": 7, "x": 200, "y": 200}]
        assert (await api.post("/api/session/web/input/touch", json={"fingers": fingers})).json() == {"success": True}

        async def title() -> str:
            return str((await api.get("/api/session/web/info")).json()["page_info"]["title"])

        for _ in range(100):
            if await title() == "2 fingers":
                break
            await trio.sleep(0.05)
        assert await title() == "2 fingers"
        assert (await api.post("/api/session/web/input/touch", json={"fingers": []})).json() == {"success": True}
        picture = Image.open(io.BytesIO((await api.get("/api/session/web/screenshot")).content))
        assert picture.getpixel((300, 200)) == (0, 0xAA, 0)
        assert (await api.post("/api/session/web/close")).status_code == 200
