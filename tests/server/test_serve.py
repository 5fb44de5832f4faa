"""`tilewire serve`, whole: devices find their sessions, tickets let in, everything ends with nothing left."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from tilewire.protocol import PANELS, Capability
from tilewire.server.hosted.record import Record
from tilewire.server.serve import write_token
from tilewire.server.store import Role, open_store
from tilewire.simulator.command import first_of
from tilewire.simulator.device import Device, DeviceError, Setup, open_device
from tilewire.simulator.stream import StreamError

from bench.serve import page_server
from tests.server.hosting import new_ground, without_descriptors
from tools.serving import PROFILES, WITHIN_S, Serving, serving, tilewire

PANEL = PANELS["mcu"]
ACCESS = """
[[access]]
devices = ["lobby-*"]
profiles = ["term"]

[[access]]
devices = ["looker"]
profiles = ["term", "other"]
default = "other"
may_steer = false
"""


def add_device(folder: Path, name: str, *words: str) -> bytes:
    """A new device of the state in `folder`; its key."""
    done = tilewire("device", "add", name, "--state", folder / "state", "--json", *words)
    assert done.returncode == 0, done.stderr
    return bytes.fromhex(json.loads(done.stdout)["key"])


def joined(server: Serving, name: str, key: bytes | None, **more: object) -> AbstractAsyncContextManager[Device]:
    """A device that connects."""
    return open_device(server.devices, Setup(panel=PANEL, device_id=name, key=key, **more))  # type: ignore[arg-type]


async def refused(server: Serving, name: str, key: bytes | None, **more: object) -> str:
    """Why a device is sent away, at once or later."""
    heard = []
    try:
        async with joined(server, name, key, **more) as device:
            await device.whole_picture()
            await device.wait_for(lambda: False, WITHIN_S)
    except* (DeviceError, StreamError) as group:
        heard.append(first_of(group))
    return str(heard[0])


async def until_viewed(server: Serving) -> None:
    """A session is there, and somebody looks."""
    await trio.to_thread.run_sync(server.until, lambda: server.sessions() and server.sessions()[0]["viewers"])


@pytest.fixture
def folder() -> Iterator[Path]:
    with new_ground() as ground:
        yield ground / "server"


async def test_devices_get_their_sessions_and_find_them_again(folder: Path) -> None:
    with serving(folder) as server:
        keys = {name: add_device(folder, name, "--default", "term") for name in ("one", "two")}
        for _ in range(2):
            for name, key in keys.items():
                async with joined(server, name, key) as device:
                    await device.whole_picture()
        assert sorted(each["device"] for each in server.sessions()) == ["one", "two"]
        mine = next(each for each in server.sessions() if each["device"] == "one")
        async with joined(server, "one", keys["one"], profile="other") as device:
            await device.whole_picture()
        assert sorted(each["profile"] for each in server.sessions()) == ["other", "term", "term"]
        # Of other devices' sessions it hears nothing.
        said = await refused(server, "two", keys["two"], session=mine["session_id"])
        assert said.endswith(f"there is no session '{mine['session_id']}'")
        assert "there is no profile 'third'" in await refused(server, "two", keys["two"], profile="third")
        server.call("POST", "/api/session/create", {"session_id": "shared", "profile": "term"})
        async with joined(server, "two", keys["two"], session="shared") as device:
            await device.whole_picture()


async def test_who_may_open_what(folder: Path) -> None:
    with serving(folder, PROFILES + ACCESS) as server:
        keys = {name: add_device(folder, name) for name in ("lobby-1", "looker", "stranger")}
        async with joined(server, "lobby-1", keys["lobby-1"]) as device:
            await device.whole_picture()
        assert "there is no profile 'other'" in await refused(server, "lobby-1", keys["lobby-1"], profile="other")
        async with joined(server, "looker", keys["looker"]) as device:
            await device.whole_picture()
            assert device.role == 0
        assert "this device may open nothing here" in await refused(server, "stranger", keys["stranger"])
        assert {each["profile"] for each in server.sessions()} == {"term", "other"}
        # The store's word on a device goes before the rules.
        assert tilewire("device", "allow", "stranger", "--profile", "term", "--state", server.state).returncode == 0
        async with joined(server, "stranger", keys["stranger"]) as device:
            await device.whole_picture()


async def test_nobody_comes_in_without_a_key_or_with_a_wrong_one(folder: Path) -> None:
    with serving(folder) as server:
        key = add_device(folder, "one", "--default", "term")
        for name, wrong in (("one", bytes(32)), ("nobody", key)):
            assert await refused(server, name, wrong)
        assert await refused(server, "one", None)
        assert await refused(server, "nobody", None)
        assert tilewire("device", "disable", "one", "--state", server.state).returncode == 0
        assert await refused(server, "one", key)
        assert server.sessions() == []
        assert key.hex() not in server.log


@pytest.mark.parametrize("change", ["disable", "remove", "rotate"])
async def test_a_device_leaves_when_its_key_is_taken_back(change: str, folder: Path) -> None:
    with serving(folder) as server:
        key = add_device(folder, "one", "--default", "term")
        async with trio.open_nursery() as nursery:

            async def take_back() -> None:
                await until_viewed(server)
                assert tilewire("device", change, "one", "--state", server.state).returncode == 0

            nursery.start_soon(take_back)
            assert "key is not good any more" in await refused(server, "one", key)


async def test_tickets_of_the_api(folder: Path) -> None:
    with serving(folder) as server:
        for name in ("a", "b"):
            assert server.call("POST", "/api/session/create", {"session_id": name, "profile": "term"}).status == 201
        asked = {"role": "viewer", "lifetime_s": 60, "uses": 1}
        ticket = server.call("POST", "/api/session/a/ticket", asked).body["ticket"]
        async with joined(server, "browser", None, ticket=ticket.encode()) as device:
            await device.whole_picture()
            assert device.role == 0
        assert await refused(server, "browser", None, ticket=ticket.encode())
        other = server.call("POST", "/api/session/a/ticket", asked).body["ticket"]
        assert "the ticket is for another session" in await refused(
            server, "browser", None, ticket=other.encode(), session="b"
        )
        assert ticket not in server.log
        assert other not in server.log


async def test_limits_of_sessions(folder: Path) -> None:
    with serving(folder, PROFILES, "--max-sessions", 2, "--max-sessions-per-device", 1) as server:
        key = add_device(folder, "one", "--default", "term")
        async with joined(server, "one", key) as device:
            await device.whole_picture()
        assert "1 sessions of this device run already" in await refused(server, "one", key, profile="other")
        assert server.call("POST", "/api/session/create", {"profile": "term"}).status == 201
        full = server.call("POST", "/api/session/create", {"profile": "term"})
        assert (full.status, full.body["error"]) == (409, "2 sessions run already")


async def test_a_session_ends_with_its_program_and_with_its_time(folder: Path) -> None:
    config = PROFILES.replace('size = "400x300"', 'size = "400x300"\nidle_s = 0.5', 1)
    config += '\n[profiles.brief]\ncommand = ["xterm"]\nlifetime_s = 1\n'
    with serving(folder, config) as server:
        key = add_device(folder, "one")
        async with trio.open_nursery() as nursery:

            async def type_when_there() -> None:
                await until_viewed(server)
                path = f"/api/session/{server.sessions()[0]['session_id']}/input/text"
                # What is typed before the terminal is there goes nowhere.
                await trio.to_thread.run_sync(
                    server.until, lambda: server.call("POST", path, {"text": "\n"}).status == 404
                )

            nursery.start_soon(type_when_there)
            assert "xterm ended" in await refused(server, "one", key, profile="term")
        server.until(lambda: server.sessions() == [])
        server.call("POST", "/api/session/create", {"profile": "term", "session_id": "quiet"})
        server.call("POST", "/api/session/create", {"profile": "brief", "session_id": "brief"})
        server.until(lambda: server.sessions() == [])
        assert "session quiet is over: nobody looked for 0.5 s" in server.log
        assert "session brief is over: its time of 1 s is over" in server.log


async def test_stopped_it_leaves_nothing_and_devices_hear_of_it(folder: Path) -> None:
    with serving(folder) as server:
        key = add_device(folder, "one", "--default", "term")
        async with trio.open_nursery() as nursery:
            said: list[str] = []

            async def look() -> None:
                said.append(await refused(server, "one", key))

            nursery.start_soon(look)
            await until_viewed(server)
            assert await trio.to_thread.run_sync(server.end) == 0
        assert "stopped by SIGTERM" in said[0]
        assert list((server.state / "sessions").iterdir()) == []
    usage = json.loads(tilewire("usage", "--json", "--state", server.state).stdout)
    assert [(row["device"], row["profile"]) for row in usage] == [("one", "term")]
    assert usage[0]["bytes_down"] > 0
    assert "SIGTERM" in usage[0]["reason"]


FINGERS = b"""<!doctype html><title>none</title><body style="height: 100vh"><script>
addEventListener("touchstart", (event) => { document.title = `${event.touches.length} fingers` });
addEventListener("touchend", (event) => { document.title += `, ${event.touches.length} left` });
</script>"""


async def test_fingers_reach_a_browser_s_page_as_fingers(folder: Path) -> None:
    with page_server(FINGERS) as port:
        config = f'[profiles.web]\nkind = "chromium"\nurl = "http://127.0.0.1:{port}/"\nsize = "800x600"\n'
        with serving(folder, config) as server:
            key = add_device(folder, "one")
            capabilities = Capability.INPUT_ECHO | Capability.TOUCH
            async with joined(server, "one", key, capabilities=capabilities) as device:
                await device.whole_picture()
                session = server.sessions()[0]["session_id"]

                async def until_titled(text: str) -> None:
                    def titled() -> bool:
                        page = server.call("GET", f"/api/session/{session}/info").body["page_info"]
                        return bool(page["title"] == text)

                    await trio.to_thread.run_sync(server.until, titled)

                await until_titled("none")
                device.touch((100, 100), (150, 120))
                await until_titled("2 fingers")
                device.touch()
                await until_titled("2 fingers, 1 left, 0 left")


def test_killed_the_next_finds_a_clean_floor(folder: Path) -> None:
    with serving(folder) as server:
        for _ in range(2):
            assert server.call("POST", "/api/session/create", {"profile": "other"}).status == 201
        records = [Record.load(each) for each in (server.state / "sessions").iterdir()]
        assert [len(record.living()) >= 2 for record in records if record is not None] == [True, True]
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
    with serving(folder) as server:
        assert server.sessions() == []
        assert list((server.state / "sessions").iterdir()) == []
        assert [record.living() for record in records if record is not None] == [[], []]
        assert server.call("POST", "/api/session/create", {"profile": "other"}).status == 201


def test_a_session_s_program_does_not_come_in(folder: Path) -> None:
    """It runs as another user where we are root; then its connections are closed before a byte is read."""
    assert os.geteuid() == 0, "this test needs root, as sessions of other users do"
    config = '[profiles.probe]\ncommand = ["bash", "-c", "%s"]\n'
    # A request that anybody may make.
    request = r"GET /health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n"
    # It may be closed out before it has written.
    probe = f"trap '' PIPE; exec 3<>/dev/tcp/127.0.0.1/PORT; printf '{request}' >&3; "
    with serving(folder) as first:
        port = first.api.rpartition(":")[2]
        found = folder / "found"
        found.touch(mode=0o666)
        found.chmod(0o666)
        script = probe.replace("PORT", port) + f"cat <&3 > {found}; echo over >> {found}; sleep 100"
        assert first.end() == 0
    with serving(folder, config % script, "--control", f"127.0.0.1:{port}") as server:
        assert server.call("GET", "/health").status == 200
        assert server.call("POST", "/api/session/create", {"profile": "probe"}).status == 201
        server.until(lambda: "over" in found.read_text())
        assert found.read_text() == "over\n"
        assert "a session's own program may not connect here" in server.log


def test_a_program_that_closes_at_once_does_not_slip_by(folder: Path) -> None:
    """The kernel does not say whose a closed socket was."""
    config = PROFILES + '[profiles.probe]\ncommand = ["bash", "-c", "%s"]\n'
    request = r"POST /api/session/victim/close HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 0\\r\\n\\r\\n"
    knock = f"exec 3<>/dev/tcp/127.0.0.1/PORT; printf '{request}' >&3; exec 3>&-; "
    with serving(folder, PROFILES, "--compat", "127.0.0.1:0") as first:
        found = re.search(r"without tokens at \S+:(\d+)", first.log)
        assert found is not None
        assert first.end() == 0
    over = folder / "over"
    over.touch()
    over.chmod(0o666)
    knocks = f"for i in {{1..150}}; do {knock.replace('PORT', found[1])} done"
    script = f"trap '' PIPE; {knocks}; echo over > {over}; sleep 100"
    with serving(folder, config % script, "--compat", f"127.0.0.1:{found[1]}") as server:
        assert server.call("POST", "/api/session/create", {"profile": "other", "session_id": "victim"}).status == 201
        assert server.call("POST", "/api/session/create", {"profile": "probe"}).status == 201
        server.until(lambda: "over" in over.read_text())
        # Once a minute is enough of it.
        assert 1 <= server.log.count("a session's own program may not connect here") <= 2
        assert "victim" in {each["session_id"] for each in server.sessions()}


def readable(path: Path) -> None:
    path.chmod(0o640)


def of_another(path: Path) -> None:
    assert os.geteuid() == 0, "this test needs root, to give a file away"
    os.chown(path, 65534, -1)


def link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def named_pipe(path: Path) -> int:
    text = path.read_bytes()
    path.unlink()
    os.mkfifo(path, 0o600)
    # Somebody says through it what the file said; that it stays there takes an open end.
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    os.write(fd, text)
    return fd


def silent_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff" * 1000)


def of_a_viewer(path: Path) -> None:
    done = tilewire("token", "add", "--note", "looker", "--role", "viewer", "--json", "--state", path.parent)
    assert done.returncode == 0, done.stderr
    path.write_text(json.loads(done.stdout)["token"])


@pytest.mark.parametrize(
    "spoil", [readable, of_another, link, named_pipe, silent_pipe, no_text, of_a_viewer, Path.unlink]
)
async def test_a_token_s_file_that_others_may_have_read_or_written_is_made_anew(
    folder: Path, spoil: Callable[[Path], int | None]
) -> None:
    state = folder.parent / "state"
    async with open_store(state) as store:
        path = await write_token(store, state)
        first = path.read_text().strip()
        assert await write_token(store, state) == path
        assert path.read_text().strip() == first
        kept = await store.add_token("another", Role.OPERATOR, None)
        held = spoil(path)
        assert await write_token(store, state) == path
        if held is not None:
            os.close(held)
        found = path.lstat()
        assert stat.S_ISREG(found.st_mode)
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, os.geteuid())
        token = await store.check_token(path.read_text().strip())
        assert token is not None
        assert token.role is Role.OPERATOR
        assert await store.check_token(first) is None
        assert await store.check_token(kept) is not None


def test_without_descriptors_it_goes_on_and_ends_when_it_is_asked_to(folder: Path) -> None:
    with serving(folder) as server:
        for name in ("one", "bystander"):
            assert server.call("POST", "/api/session/create", {"profile": "term", "session_id": name}).status == 201
        record = Record.load(min((server.state / "sessions").iterdir(), key=lambda path: path.stat().st_ctime_ns))
        assert record is not None
        ((program, _),) = record.programs
        with without_descriptors(server.process.pid):
            # What it has started ends too, and falls to the server, which looks for such.
            os.kill(program, signal.SIGKILL)
            server.until(lambda: "was killed by SIGKILL" in server.log)
            assert server.process.poll() is None
        assert "orphans are not let go of" not in server.log
        server.until(lambda: [each["session_id"] for each in server.sessions()] == ["bystander"])
        assert server.call("POST", "/api/session/create", {"profile": "term", "session_id": "one"}).status == 201
        assert server.end() == 0
        assert list((server.state / "sessions").iterdir()) == []


def test_it_takes_as_many_descriptors_as_there_may_be(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        with serving(folder) as server:
            assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_keeps_it_from_starting_is_one_sentence(folder: Path) -> None:
    folder.mkdir()
    (folder / "tilewire.toml").write_text("[profiles.x]\ncommnd = ['xterm']\n")
    done = tilewire("serve", "--config", folder / "tilewire.toml", "--state", folder / "state")
    assert done.returncode == 1
    assert "commnd" in done.stderr
    assert "Traceback" not in done.stderr
    with serving(folder) as server:
        done = tilewire(
            "serve", "--config", folder / "tilewire.toml", "--state", server.state, "--listen", "127.0.0.1:0"
        )
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1


SLOW = """
[profiles.term]
command = ["xterm"]
size = "400x300"
# It never manages windows: the start waits a second for it.
window_manager = ["sleep", "100"]
"""


@pytest.mark.parametrize("change", ["disable", "remove", "rotate"])
async def test_a_key_that_is_taken_back_while_a_session_starts(change: str, folder: Path) -> None:
    with serving(folder, SLOW) as server:
        key = add_device(folder, "one", "--default", "term")
        async with trio.open_nursery() as nursery:

            async def take_back() -> None:
                await trio.to_thread.run_sync(server.until, lambda: any((server.state / "sessions").iterdir()))
                assert tilewire("device", change, "one", "--state", server.state).returncode == 0

            nursery.start_soon(take_back)
            assert "not good any more" in await refused(server, "one", key)


async def test_an_open_door_is_closed_to_a_device_that_was_disabled(folder: Path) -> None:
    with serving(folder, PROFILES + ACCESS.replace("lobby-*", "*"), "--insecure") as server:
        key = add_device(folder, "one", "--default", "term")
        assert tilewire("device", "disable", "one", "--state", server.state).returncode == 0
        for wrong in (None, key):
            assert await refused(server, "one", wrong)
        async with joined(server, "nobody", None) as device:
            await device.whole_picture()
