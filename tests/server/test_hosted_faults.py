"""Whatever dies, hangs, hides or is missing: a sentence, and nothing left, above all not of another session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from tilewire.protocol import Code
from tilewire.server import program as program_module
from tilewire.server.errors import ServerError
from tilewire.server.hosted import hosted as hosted_module
from tilewire.server.hosted.floor import Floor
from tilewire.server.hosted.hosted import open_hosted
from tilewire.server.hosted.leftovers import segments
from tilewire.server.program import MARK, Traces, start_program
from tilewire.server.x11.process import orphans, reap_orphans, start_child, stat_of

from tests.server.floor_counts import XTERM, Watch
from tests.server.hosting import (
    IDLE,
    ROOT,
    WITHIN_S,
    exists,
    floored,
    is_alive,
    lines_of,
    new_ground,
    profile,
    python,
    running,
    spec,
    until,
    without_descriptors,
)
from tests.server.xclient import painter

CHILDREN = 60
ORPHANS = 200


@pytest.fixture
def ground() -> Iterator[Path]:
    with new_ground() as folder:
        yield folder


@pytest.fixture
async def floor(ground: Path) -> AsyncIterator[Floor]:
    async with floored(ground) as made:
        yield made


@pytest.fixture
async def watch(floor: Floor) -> AsyncIterator[Watch]:
    """Nothing may be left of what it was shown."""
    async with running(spec(profile(), "first"), floor):
        # What a process opens once and keeps.
        pass
    made = Watch(floor)
    before = made.counts()
    yield made
    assert before.left(made.counts()) == []


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


# What dies.


async def test_a_killed_program(floor: Floor, watch: Watch) -> None:
    async with running(spec(profile(*XTERM)), floor) as made:
        watch.show(made.hosted)
        kill(made.hosted.program_pid)
        ending = await made.ending()
        assert (ending.code, ending.text) == (Code.SESSION_ENDED, "xterm was killed by SIGKILL")


async def test_a_killed_x_server(floor: Floor, watch: Watch) -> None:
    async with running(spec(profile(*XTERM, restart="always")), floor) as made:
        watch.show(made.hosted)
        name = made.hosted.display_name
        kill(made.hosted.xvfb_pid)
        ending = await made.ending()
        assert ending.code is Code.SESSION_FAILED
        assert name in ending.text
        assert made.hosted.restarts == 0


async def test_a_killed_window_manager_is_started_again(floor: Floor, watch: Watch) -> None:
    async with running(spec(profile(window_manager=("openbox",))), floor) as made:
        watch.show(made.hosted)
        first = made.hosted.manager_pid
        program = made.hosted.program_pid
        kill(first)
        await until(lambda: made.hosted.manager_pid not in (None, first))
        watch.show(made.hosted)
        assert made.hosted.program_pid == program
        assert not made.is_over


async def test_a_window_manager_that_cannot_live_is_given_up_and_the_session_goes_on(
    floor: Floor, watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hosted_module, "LAST_WORDS_S", 0.01)
    monkeypatch.setattr(hosted_module, "MANAGED_S", 0.05)
    caplog.set_level("INFO", "tilewire.server.hosted")
    what = profile(window_manager=("sh", "-c", "echo I cannot >&2; exit 1"))
    async with running(spec(what), floor) as made:
        watch.show(made.hosted)
        await until(lambda: made.hosted.manager_pid is None and "not started again" in caplog.text)
        assert "session one: sh does not manage windows after 0.05 s" in caplog.messages
        said = "session one: the window manager sh ended with exit code 1; its last words: I cannot"
        assert caplog.messages.count(said) == hosted_module.MANAGER_RESTARTS + 1
        assert not made.is_over


# What does not want to die.

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('deaf', 'w').close(); time.sleep(1000)"
DETACHED = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open('born', 'a') as born:
    for _ in range({count}):
        if os.fork():
            continue
        os.setsid()
        if os.fork():
            os._exit(0)
        born.write(f'{{os.getpid()}}\\n')
        born.flush()
        {then}
        time.sleep(1000)
    time.sleep(1000)
"""
"""Bounded: each child is in a process session of its own, with no parent that knows of it."""
KEPT = "time.sleep(1000)"
SCRUBBED = "os.execve('/bin/sleep', ['sleep', '1000'], {})"
DESCENDS = "[os.fork() or time.sleep(1000) for _ in range(2)]"


async def test_a_program_that_ignores_sigterm_is_killed_when_its_time_is_over(floor: Floor, watch: Watch) -> None:
    async with running(spec(profile(*python(DEAF), window_manager=("openbox",))), floor) as made:
        watch.show(made.hosted)
        pid = made.hosted.program_pid
        assert pid is not None
        await until((made.hosted.home / "deaf").exists)
        # One that is stopped hears nothing at all.
        os.kill(pid, signal.SIGSTOP)
    assert not exists(pid)


@pytest.mark.parametrize("then", [KEPT, DESCENDS, SCRUBBED], ids=["marked", "descends", "scrubbed"])
async def test_what_detached_itself_ends_and_another_sessions_lives(floor: Floor, watch: Watch, then: str) -> None:
    one = python(DETACHED.format(count=CHILDREN, then=then))
    two = python(DETACHED.format(count=2, then=then))
    async with running(spec(profile(*two), "two"), floor) as other:
        watch.show(other.hosted)
        others = [int(line) for line in await lines_of(other.hosted.home / "born", 2)]
        async with running(spec(profile(*one)), floor) as made:
            watch.show(made.hosted)
            born = [int(line) for line in await lines_of(made.hosted.home / "born", CHILDREN)]
            assert len(set(born)) == CHILDREN
        if ROOT or then != SCRUBBED:
            # What carries neither mark nor a user of its own may be either's, and ends with the last.
            assert [pid for pid in born if exists(pid)] == []
        assert all(is_alive(pid) for pid in others)
        assert other.hosted.program_pid is not None
        assert is_alive(other.hosted.program_pid)
    assert [pid for pid in (*born, *others) if exists(pid)] == []


async def test_those_that_multiply_while_they_are_killed_end(floor: Floor, watch: Watch) -> None:
    # Some 300 generations of forty, each in a process session of its own.
    program = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(40):
    if not os.fork():
        for _ in range(300):
            os.setsid() if os.getpid() != os.getsid(0) else None
            time.sleep(0.01)
            if os.fork():
                os._exit(0)
        os._exit(0)
open('going', 'w').close()
time.sleep(1000)
"""
    async with running(spec(profile(*python(program), grace_s=0.1)), floor) as made:
        watch.show(made.hosted)
        await until((made.hosted.home / "going").exists)


async def test_dead_orphans_do_not_pile_up_while_a_session_lives(floor: Floor, watch: Watch) -> None:
    program = "import os, time\nfor _ in range(50):\n  if not os.fork():\n    if os.fork(): os._exit(0)\n"
    program += "    os.setsid(); os._exit(0)\n  os.wait()\nopen('made', 'w').close(); time.sleep(1000)"
    async with running(spec(profile(*python(program))), floor) as made:
        watch.show(made.hosted)
        await until((made.hosted.home / "made").exists)
        me = os.getpid()
        await until(lambda: not [each for each in children(me) if each[1] == "Z"], "they are not reaped")


async def test_orphans_that_live_cost_nothing(floor: Floor, watch: Watch) -> None:
    program = f"import os, time\nfor _ in range({ORPHANS}):\n  if not os.fork():\n    os.setsid()\n"
    program += (
        "    if os.fork(): os._exit(0)\n    time.sleep(1000)\n  os.wait()\nopen('made', 'w').close(); time.sleep(1000)"
    )
    async with running(spec(profile(*python(program), grace_s=0.1)), floor) as made:
        watch.show(made.hosted)
        await until((made.hosted.home / "made").exists)
        assert len(orphans()) == ORPHANS
        before = reads()
        reap_orphans()
        assert reads() - before < ORPHANS // 4
        # A user that runs nothing is looked for elsewhere, too.
        before = reads()
        async with floor.place(spec(profile(), "two")):
            assert reads() - before < ORPHANS // 4


def reads() -> int:
    """How often this thread has read from a file."""
    return int(Path("/proc/thread-self/io").read_text().split("syscr:")[1].split()[0])


async def test_an_ended_child_of_somebody_hides_no_orphan_and_stays_its(floor: Floor) -> None:
    program = "import os, sys\nif not os.fork():\n  os.setsid()\n  sys.stdin.read()"
    with subprocess.Popen(["true"]) as theirs:  # noqa: ASYNC220 - not one of ours
        async with start_child(["true"]) as ours:
            assert await ours.wait() == 0
            os.waitid(os.P_PID, theirs.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it ends at once
            # It ends when we close our end, and is the last of our children then.
            with subprocess.Popen(python(program), stdin=subprocess.PIPE) as parent:  # noqa: ASYNC220 - likewise
                pass
            assert parent.returncode == 0
            await until(lambda: [each for each in orphans() if each.is_dead] or not orphans())
            reap_orphans()
            assert orphans() == []
            assert ours.status == 0
        assert theirs.wait() == 0


async def test_a_process_without_its_first_thread_is_alive_and_ends_too(floor: Floor, ground: Path) -> None:
    # Its state is a dead one's, and nobody can reap it.
    program = "import ctypes, os, threading, time\nif not os.fork():\n  os.setsid()\n"
    program += "  threading.Thread(target=time.sleep, args=[1000], daemon=True).start()\n"
    program += f"  open('{ground}/born', 'w').write(f'{{os.getpid()}}\\n'); ctypes.CDLL(None).pthread_exit(None)"
    async with start_program(python(program), {}) as child:
        (pid,) = map(int, await lines_of(ground / "born"))
        await child.wait()
        await until(lambda: (found := stat_of(pid)) is None or found.state == "Z")
        with trio.fail_after(10):
            await trio.to_thread.run_sync(reap_orphans, abandon_on_cancel=True)
        assert is_alive(pid)
    await until(lambda: not exists(pid))


def children(parent: int) -> list[tuple[int, str]]:
    found = (stat_of(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [(stat.pid, stat.state) for stat in found if stat is not None and stat.parent == parent]


# What leaves things about.


def system_v(name: str) -> list[str]:
    return Path(f"/proc/sysvipc/{name}").read_text().split()


async def test_shared_memory_that_a_program_leaves_is_removed_and_no_others(floor: Floor, watch: Watch) -> None:
    program = """
import ctypes, time
libc = ctypes.CDLL(None)
ids = [libc.shmget(0, 4096, 0o1600) for _ in range(3)]
libc.semget(0, 1, 0o1600); libc.msgget(0, 0o1600)
open('made', 'w').write(' '.join(map(str, ids)) + '\\n')
time.sleep(1000)
"""
    async with running(spec(profile(*python(program)), "two"), floor) as other:
        async with running(spec(profile(*python(program))), floor) as made:
            watch.show(made.hosted)
            ids = {int(word) for word in (await lines_of(made.hosted.home / "made"))[0].split()}
            others = {int(word) for word in (await lines_of(other.hosted.home / "made"))[0].split()}
        left = {each.id for each in segments()}
        assert not ids & left
        assert others <= left
    assert not others & {each.id for each in segments()}
    for name in ("sem", "msg"):
        assert made.hosted.uid is None or str(made.hosted.uid) not in system_v(name)


async def test_files_in_shared_folders_are_removed_where_the_user_is_nobody_elses(floor: Floor, watch: Watch) -> None:
    token = os.urandom(8).hex()
    places = [Path(folder, f"tilewire-{token}") for folder in ("/tmp", "/var/tmp", "/dev/shm")]
    script = (
        "; ".join(f"mkdir {path}; touch {path}/file" for path in places) + "; echo done > $HOME/made; exec sleep 1000"
    )
    async with running(spec(profile("sh", "-c", script)), floor) as made:
        watch.show(made.hosted)
        await lines_of(made.hosted.home / "made")
        assert all(path.exists() for path in places)
    if ROOT:
        assert not any(path.exists() for path in places)
    else:
        # Whose they are cannot be told: the server's user may have made them anywhere.
        for path in places:
            (path / "file").unlink()
            path.rmdir()


async def test_a_program_that_says_too_much_goes_on(floor: Floor, watch: Watch) -> None:
    program = (
        "import sys\nfor _ in range(3000): print('x' * 999)\nsys.stderr.write('the end\\n'); open('said', 'w').close()"
    )
    async with running(spec(profile(*python(program + "; import time; time.sleep(1000)"))), floor) as made:
        watch.show(made.hosted)
        await until((made.hosted.home / "said").exists)


# What does nothing, or is not there.


async def test_a_program_that_never_opens_a_window_is_a_session_like_any(floor: Floor, watch: Watch) -> None:
    async with running(spec(profile(*IDLE)), floor) as made:
        watch.show(made.hosted)
        with painter(made.hosted.display_name) as client:
            shown = [each for each in client.root.query_tree().children if each.get_attributes().map_state]
            # The painter's own.
            assert shown == [client.window]
        await until(lambda: made.hosted.session.captures)
        assert made.hosted.state == "running"
        assert not made.is_over


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"command": ("no-such-program",)}, "there is no command 'no-such-program'"),
        ({"command": ("./program",)}, "'./program' is neither a name nor a whole path"),
        ({"command": ("/etc",)}, "there is no command '/etc'"),
        ({"window_manager": ("no-such-manager",)}, "there is no command 'no-such-manager'"),
    ],
)
async def test_programs_that_are_missing_are_sentences(
    floor: Floor, watch: Watch, fields: dict[str, tuple[str, ...]], said: str
) -> None:
    with pytest.raises(ServerError) as caught:
        async with open_hosted(spec(profile(**{"window_manager": (), **fields})), floor):
            pass
    assert str(caught.value) == said


async def test_a_file_that_cannot_be_run_is_a_sentence(floor: Floor, ground: Path, watch: Watch) -> None:
    script = ground / "script"
    script.write_text("echo run by a shell > /dev/stderr\n")
    script.chmod(0o755)
    with pytest.raises(ServerError) as caught:
        async with open_hosted(spec(profile(str(script))), floor):
            pass
    assert str(caught.value) == f"'{script}' cannot be started: cannot run {script}: Exec format error"


async def test_no_xvfb_is_a_sentence(floor: Floor, watch: Watch, monkeypatch: pytest.MonkeyPatch, ground: Path) -> None:
    monkeypatch.setenv("PATH", str(ground))
    with pytest.raises(ServerError, match=r"^Xvfb is not installed \(Debian: apt install xvfb\)$"):
        async with open_hosted(spec(profile()), floor):
            pass


FULL = """
import sys, trio
from pathlib import Path
from tilewire.server import program as program_module
from tilewire.server.errors import ServerError
from tests.server.hosting import *
async def main():
    async with floored(Path(sys.argv[1])) as floor:
        filler = Path(sys.argv[1], "filler").open("wb", buffering=0)
        while True:
            try:
                if not filler.write(bytes(4096)): break
            except OSError:
                break
        try:
            async with open_hosted(spec(profile()), floor):
                print("it was started")
        except ServerError as error:
            print(error)
        filler.close()
        Path(sys.argv[1], "filler").unlink()
        async with open_hosted(spec(profile()), floor):
            print("there is room again")
        print(sorted(path.name for path in (floor.folder / "sessions").iterdir()))
trio.run(main)
"""


async def test_a_full_disk_is_a_sentence_and_leaves_nothing(ground: Path) -> None:
    # A file system of its own, in namespaces of its own; who is not root may mount it in there.
    user = [] if ROOT else ["--map-current-user", "--keep-caps"]
    mount = 'mount -t tmpfs -o size=256k,nr_inodes=200,mode=711 none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", *user, "--mount", "sh", "-c", mount, "sh", str(ground), sys.executable, FULL]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = await trio.run_process(command, capture_stdout=True, env=environment)
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("a session cannot be started: ") or "cannot be made" in lines[0], lines
    assert "No space left on device" in lines[0]
    assert lines[1:] == ["there is room again", "[]"]


async def test_a_folder_that_cannot_be_written_is_a_sentence(ground: Path) -> None:
    blocked = ground / "file"
    blocked.touch()
    with pytest.raises(ServerError, match=rf"^the folder {blocked}/floor cannot be used: Not a directory$"):
        async with floored(blocked):
            pass
    async with floored(ground) as floor:
        (floor.folder / "sessions").rmdir()
        (floor.folder / "sessions").touch()
        expected = rf"^a session's folder cannot be made in {floor.folder}: Not a directory$"
        with pytest.raises(ServerError, match=expected):
            async with open_hosted(spec(profile()), floor):
                pass
        (floor.folder / "sessions").unlink()
        (floor.folder / "sessions").mkdir()


# What there is no more of.

STRAY = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if not os.fork():
    os.setsid()
open('born', 'a').write(f'{os.getpid()}\\n')
time.sleep(1000)
"""


async def test_without_descriptors_a_program_is_killed_and_what_it_left_is_found_afterwards(
    ground: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    traces = Traces()
    marked = {**os.environ, MARK: traces.mark}
    async with start_child(python(STRAY), env=marked, cwd=ground) as child:
        born = set(map(int, await lines_of(ground / "born", 2)))
        (stray,) = born - {child.pid}
        monkeypatch.setattr(program_module, "GIVE_UP_S", 0.05)
        with without_descriptors():
            await child.end(0)
            await traces.end()
        assert child.status == -signal.SIGKILL
        assert is_alive(stray)
        assert "what the program has started cannot be looked for: [Errno 24] Too many open files" in caplog.text
        monkeypatch.undo()
        await traces.end()
        assert not is_alive(stray)


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "cannot be started"])
async def test_where_the_killer_of_a_user_fails_its_programs_are_killed_one_by_one(
    floor: Floor, watch: Watch, ground: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    assert ROOT, "this test needs root, as sessions of other users do"
    killer = ground / "killer"
    killer.write_text("#!/bin/sh\necho >> $0.log\nexec sleep 1000\n")
    killer.chmod(0o755 if hangs else 0o644)
    async with running(spec(profile(*python(STRAY))), floor) as made:
        watch.show(made.hosted)
        born = [int(line) for line in await lines_of(made.hosted.home / "born", 2)]
        monkeypatch.setattr(program_module, "launcher", lambda: killer)
        # 50 times what its first line takes.
        monkeypatch.setattr(program_module, "KILLER_S", 0.2)
    assert killer.with_suffix(".log").exists() == hangs
    assert not any(map(is_alive, born))


# A browser that dies early.


async def test_a_chromium_that_dies_while_it_loads_its_first_page(floor: Floor, watch: Watch) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        # Nobody answers: it waits for the page for as long as it lives.
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
        async with running(spec(profile(kind="chromium", command=(), url=url)), floor) as made:
            watch.show(made.hosted)
            with trio.fail_after(WITHIN_S):
                await made.hosted.wait_browser()
                asked = await listener.accept()
            async with asked:
                kill(made.hosted.program_pid)
                ending = await made.ending()
    assert (ending.code, ending.text) == (Code.SESSION_ENDED, "chromium was killed by SIGKILL")


HANGS_UP = """#!/usr/bin/python3
import json, os, time
said = b""
while True:
    *calls, said = (said + os.read(3, 65536)).split(b"\\0")
    for call in map(json.loads, calls):
        if call["method"] == "Page.navigate":
            os.closerange(3, 5)
            time.sleep(1000)
        os.write(4, json.dumps({"id": call["id"], "result": {"sessionId": "S"}}).encode() + b"\\0")
        if call["method"] == "Target.setDiscoverTargets":
            page = {"targetInfo": {"targetId": "T", "type": "page", "url": "about:blank"}}
            os.write(4, json.dumps({"method": "Target.targetCreated", "params": page}).encode() + b"\\0")
"""
"""Like a browser, until it is to load a page."""


async def test_a_browser_that_hangs_up_while_it_loads_its_first_page(
    floor: Floor, watch: Watch, ground: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tilewire.server.hosted")
    program = ground / "chromium"
    program.write_text(HANGS_UP)
    program.chmod(0o755)
    path = f"{ground}:{os.environ['PATH']}"
    browser = profile(kind="chromium", command=(), url="http://127.0.0.1/", environment={"PATH": path})
    async with running(spec(browser), floor) as made:
        watch.show(made.hosted)
        ending = await made.ending()
    assert (ending.code, ending.text) == (Code.SESSION_ENDED, "chromium was killed by SIGKILL")
    assert "session one: the browser has ended" in caplog.text


# An X server that answers nobody.


async def test_a_stopped_x_server_does_not_hold_up_the_end(floor: Floor, watch: Watch) -> None:
    async with running(spec(profile(*python(DEAF))), floor) as made:
        watch.show(made.hosted)
        await until((made.hosted.home / "deaf").exists)
        os.kill(made.hosted.xvfb_pid, signal.SIGSTOP)
        pid = made.hosted.program_pid
    assert pid is not None
    assert not exists(pid)
    assert not exists(made.hosted.xvfb_pid)
