"""The floor under the sessions: one server has it, finds what an earlier one left, and leaves it as clean as before."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pwd
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from tilewire.server.errors import ServerError
from tilewire.server.hosted import accounts
from tilewire.server.hosted import floor as floor_module
from tilewire.server.hosted.accounts import Pool
from tilewire.server.hosted.floor import Floor, open_floor
from tilewire.server.hosted.folders import hand_over, remove_tree
from tilewire.server.hosted.hosted import open_hosted
from tilewire.server.hosted.leftovers import boot_id, segments
from tilewire.server.x11.numbers import SOCKETS
from tilewire.server.x11.process import Account, Terms, start_child, stat_of

from tests.server.floor_counts import SETTLED, XTERM, cycles, socket_of
from tests.server.hosting import (
    IDLE,
    POOL_UIDS,
    ROOT,
    floored,
    is_alive,
    lines_of,
    new_ground,
    other_server,
    own_pool,
    processes_of,
    profile,
    python,
    running,
    spec,
    until,
)

CYCLES = 25
FLAT_KIB = 16 * 1024
"""The allocators of C and Python settle at some 10 MiB more than at first, after 25 sessions as after 500. Objects of
sessions are counted besides."""
LEAVER = """
import ctypes, os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
shm = ctypes.CDLL(None).shmget(0, 4096, 0o1600)
open('shm', 'w').write(f'{shm}\\n')
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    open('born', 'w').write(f'{os.getpid()}\\n')
time.sleep(1000)
"""


@pytest.fixture
def ground() -> Iterator[Path]:
    with new_ground() as folder:
        yield folder


@contextmanager
def server_user(ground: Path, ordinary: bool) -> Iterator[tuple[int | None, int]]:
    """Whose another server is to be (None: ours), and where its pool of users begins, if it has one."""
    pool = own_pool()
    if pool is None:
        yield None, 0
        return
    if not ordinary:
        yield None, pool.spare
        return
    uid = pool.lease()
    try:
        os.chown(ground, uid, uid)
        yield uid, 0
    finally:
        pool.release(uid)


@pytest.mark.parametrize("ordinary", [False, True], ids=["as we are", "as an ordinary user"])
async def test_a_killed_server_is_cleared_away_after(ground: Path, ordinary: bool) -> None:
    leaver = {"command": python(LEAVER), "window_manager": ["openbox"]}
    kept = {"command": ["xterm"], "home": "kept", "name": "kept"}
    with server_user(ground, ordinary) as (uid, first_uid):
        async with other_server(ground, leaver, kept, uid=uid, first_uid=first_uid) as one:
            first, second = one.sessions
            assert one.cleared == []
            home = Path(first["home"])
            (born,) = map(int, await lines_of(home / "born"))
            (shm,) = map(int, await lines_of(home / "shm"))
            sockets = [socket_of(each["display"]) for each in one.sessions]
            await one.kill()
            # The kernel ends our children, and nobody theirs.
            await until(lambda: not any(is_alive(pid) for pid in (first["program"], first["xvfb"], second["program"])))
            assert is_alive(born)
        async with other_server(ground, {"command": list(IDLE)}, uid=uid, first_uid=first_uid) as two:
            told = " / ".join(two.cleared)
            assert len(two.cleared) == 2, told
            assert two.cleared[0].startswith("session 1 of an earlier server: ")
            assert "process" in told
            # Unless another's X server took the number before.
            assert told.count("display :") == 2 or [*map(mtime, sockets)] != [each[2] for each in sockets]
            assert "1 shared memory segment" in told
            assert told.count("its folder") == 2
            assert not is_alive(born)
            assert shm not in {each.id for each in segments()}
            for each in (first, second):
                if each["uid"] is not None and each["uid"] != two.sessions[0]["uid"]:
                    assert processes_of(each["uid"]) == []
            # Its number is one that the new session may have.
            assert sorted(path.name for path in (ground / "floor" / "sessions").iterdir()) == ["1"]
            assert second["home"] == str(ground / "floor" / "homes" / "1" / "home")
            assert (ground / "floor" / "homes" / "1" / "home").exists()
            await two.stop()
        assert list((ground / "floor" / "sessions").iterdir()) == []
        # Its temporary files were to be here.
        assert os.listdir(ground) == ["floor"]
        assert not [each for each in sockets if mtime(each) == each[2]]
        assert not any(is_alive(each[name]) for each in (*one.sessions, *two.sessions) for name in ("program", "xvfb"))


async def test_a_kept_home_of_a_killed_server_is_its_next_sessions_alone(ground: Path) -> None:
    kept: dict[str, Any] = {"command": ["sh", "-c", "echo note >> note; sleep 1000"], "home": "kept", "name": "kept"}
    pool = own_pool()
    async with other_server(ground, kept, first_uid=pool.spare if pool is not None else 0) as one:
        home, uid = Path(one.sessions[0]["home"]), one.sessions[0]["uid"]
        await lines_of(home / "note")
        await one.kill()
    async with floored(ground, pool=pool) as floor:
        assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700
        thief = profile("sh", "-c", f"cat {home}/note > got; echo tried >> got; sleep 1000")
        async with running(spec(thief), floor) as other:
            assert other.hosted.uid == uid
            got = await lines_of(other.hosted.home / "got", 1 if ROOT else 2)
            assert got == (["tried"] if ROOT else ["note", "tried"])
            async with running(spec(profile(**kept)), floor) as made:
                assert made.hosted.home == home
                assert await lines_of(home / "note", 2) == ["note", "note"]


def mtime(one: tuple[Path, int, int]) -> int | None:
    """Of what is at a socket's path now."""
    with suppress(OSError):
        return one[0].stat().st_mtime_ns
    return None


async def test_one_server_has_the_floor(ground: Path) -> None:
    pool = own_pool()
    async with other_server(ground, first_uid=pool.spare if pool is not None else 0) as other:
        expected = rf"^another server uses the folder {ground}/floor$"
        with pytest.raises(ServerError, match=expected):
            await Floor.sweep(ground / "floor", pool=own_pool())
        with pytest.raises(ServerError, match=expected):
            async with floored(ground):
                pass
        await other.stop()
    async with floored(ground) as floor:
        assert floor.cleared == []
        with pytest.raises(ServerError, match=r"^another server uses"):
            async with floored(ground):
                pass


def leave_record(ground: Path, **fields: Any) -> Path:
    """The folder of a session of an earlier server, which is killed by now."""
    folder = ground / "floor" / "sessions" / "7"
    (folder / "home" / "x").mkdir(parents=True)
    data: dict[str, Any] = {
        "mark": "0" * 32,
        "uid": None,
        "boot": boot_id(),
        "begun_s": 0.0,
        "xvfb": None,
        "display": None,
        "programs": [],
    }
    (folder / "record.json").write_text(json.dumps({**data, **fields}))
    return folder


async def test_a_process_that_has_got_the_number_of_one_of_ours_lives(ground: Path) -> None:
    async with start_child(IDLE) as child:
        found = stat_of(child.pid)
        assert found is not None
        later = [child.pid, found.start - 1]
        leave_record(ground, programs=[later], xvfb=later)
        told = await Floor.sweep(ground / "floor", pool=own_pool())
        assert told == ["session 7 of an earlier server: its folder"]
        # As of another start of the machine, when all numbers were others'.
        leave_record(ground, programs=[[child.pid, found.start]], boot="another")
        assert await Floor.sweep(ground / "floor", pool=own_pool()) == told
        assert child.status is None
        leave_record(ground, programs=[[child.pid, found.start]])
        assert await Floor.sweep(ground / "floor", pool=own_pool()) == [
            "session 7 of an earlier server: 1 process, its folder"
        ]
        assert await child.wait() == -signal.SIGKILL
    assert await Floor.sweep(ground / "floor", pool=own_pool()) == []


async def test_a_display_that_is_anothers_by_now_is_left_alone(ground: Path) -> None:
    async with floored(ground / "its", pool=own_pool()) as floor, running(spec(profile()), floor) as made:
        leave_record(ground, display=made.hosted.display_name)
        told = await Floor.sweep(ground / "floor", pool=Pool(10, 10) if ROOT else None)
        assert told == ["session 7 of an earlier server: its folder"]
        assert (SOCKETS / f"X{made.hosted.display_name[1:]}").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mark": 1}', '{"mark": "x", "xvfb": 5, "programs": {}}'])
async def test_a_record_that_was_cut_off_is_no_obstacle(ground: Path, text: str) -> None:
    folder = leave_record(ground)
    (folder / "record.json").write_text(text)
    unfinished = ground / "floor" / "homes" / "3"
    (unfinished / "home").mkdir(parents=True)
    async with floored(ground) as floor:
        assert floor.cleared == [
            "session 7 of an earlier server: its folder",
            "home 3, which was not finished: its folder",
        ]
    assert not folder.exists()
    assert not unfinished.exists()


async def test_a_user_that_another_server_has_by_now_is_left_alone(ground: Path) -> None:
    pool, theirs = own_pool(), own_pool()
    if pool is None or theirs is None:
        # Who is not root has no users to give, and sweeps by mark alone.
        leave_record(ground, uid=os.geteuid())
        assert await Floor.sweep(ground / "floor") == ["session 7 of an earlier server: its folder"]
        return
    uid = theirs.lease()
    async with start_child(IDLE, terms=Terms(account=Account(uid, uid))) as child:
        leave_record(ground, uid=uid)
        await Floor.sweep(ground / "floor", pool=pool)
        assert child.status is None
        theirs.release(uid)
        # It is nobody's now, so what runs as it is what the dead server left.
        leave_record(ground, uid=uid)
        told = await Floor.sweep(ground / "floor", pool=pool)
        assert told == ["session 7 of an earlier server: 1 process, its folder"]
        assert await child.wait() == -signal.SIGKILL


async def test_the_users_of_the_pool_are_one_sessions_each(ground: Path) -> None:
    if not ROOT:
        async with floored(ground) as floor, running(spec(profile()), floor) as made:
            assert made.hosted.uid is None
        return
    locks = ground / "locks"
    first = 700_000 + os.getpid() % 10_000 * POOL_UIDS
    one, two = Pool(first, 4, locks), Pool(first, 4, locks)
    assert [one.lease(), two.lease(), one.lease(first + 1)] == [first + 1, first + 2, first + 3]
    with pytest.raises(ServerError, match=rf"^none of the users {first + 1} to {first + 3} is free$"):
        two.lease()
    one.release(first + 1)
    async with start_child(IDLE, terms=Terms(account=Account(first + 1, first + 1))):
        with pytest.raises(ServerError, match=r"^none of the users"):
            # Somebody runs something as it.
            two.lease(first + 1)
    assert two.lease(first + 1) == first + 1
    assert not one.hold(first)
    assert not one.hold(0)
    for pool, uid in ((two, first + 1), (two, first + 2), (one, first + 3)):
        pool.release(uid)
    assert list(locks.iterdir()) == []


def test_a_user_that_a_killed_server_had_is_given_last(ground: Path) -> None:
    locks = ground / "locks"
    first = 700_000 + os.getpid() % 10_000 * POOL_UIDS
    locks.mkdir()
    # As a server that was killed leaves it: the file is there, and nobody holds it.
    (locks / str(first + 1)).touch()
    pool = Pool(first, 4, locks)
    assert [pool.lease(first + 1), pool.lease(), pool.lease()] == [first + 2, first + 3, first + 1]
    for uid in range(first + 1, first + 4):
        pool.release(uid)
    # Given back in order, it is as any.
    assert pool.lease() == first + 1
    pool.release(first + 1)


IN_CONTAINER = """
import os, sys, trio
from pathlib import Path
from tilewire.server.errors import ServerError
from tilewire.server.hosted.accounts import default_pool
from tests.server.hosting import *
async def main():
    print(os.geteuid(), default_pool())
    async with open_floor(Path(sys.argv[1]) / "floor") as floor:
        try:
            async with open_hosted(spec(profile()), floor):
                print("it was started, as", os.geteuid())
        except ServerError as error:
            print(error)
trio.run(main)
"""


async def test_root_of_a_container_without_users_starts_nothing_as_root(ground: Path) -> None:
    # One user is there, and is called root.
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", IN_CONTAINER, str(ground)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = await trio.run_process(command, capture_stdout=True, env=environment)
    assert done.stdout.decode().splitlines() == [
        "0 None",
        "there is no user for the program: this container has too few, so one must be named",
    ]


@pytest.mark.parametrize(
    ("rows", "first"),
    [("0 0 4294967295", 600_000), ("0 100000 65536", 60_706), ("0 1000 1\n1 100000 65536", 60_706), ("0 1000 1", None)],
)
def test_the_pool_is_of_users_that_there_are(
    ground: Path, monkeypatch: pytest.MonkeyPatch, rows: str, first: int | None
) -> None:
    mapped = ground / "uid_map"
    mapped.write_text(rows + "\n")
    monkeypatch.setattr(accounts, "UID_MAP", mapped)
    pool = accounts.default_pool()
    assert (pool.spare if pool is not None else None) == (first if ROOT else None)


async def test_a_floor_that_programs_cannot_reach_is_a_sentence(ground: Path) -> None:
    inner = ground / "closed" / "deep"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    if not ROOT:
        async with floored(inner):
            return
    with pytest.raises(ServerError) as caught:
        async with floored(inner):
            pass
    assert str(caught.value) == f"programs of other users cannot reach {inner}/floor: chmod o+x {inner.parent}"


async def test_orphans_are_ours_only_while_there_is_a_floor(ground: Path) -> None:
    def adopts() -> bool:
        answer = ctypes.c_int()
        ctypes.CDLL(None).prctl(37, ctypes.byref(answer), 0, 0, 0)
        return bool(answer.value)

    before = adopts()
    async with open_floor(ground / "floor", pool=own_pool()):
        assert adopts()
    assert adopts() == before


@pytest.mark.parametrize("how", ["user", "users"])
async def test_users_of_the_configuration_are_sessions_before_there_is_one(ground: Path, how: str) -> None:
    name = "daemon" if ROOT else pwd.getpwuid(os.geteuid()).pw_name
    uid = pwd.getpwnam(name).pw_uid
    async with floored(ground) as floor:
        assert not floor.is_inmate(uid)
    async with floored(ground, **({"user": name} if how == "user" else {"users": [name, "nobody-at-all"]})) as floor:
        # Where it is the server's own, nobody can tell.
        assert floor.is_inmate(uid) == ROOT
        assert not floor.is_inmate(os.geteuid())


async def test_the_user_of_a_killed_servers_session_is_remembered_as_one(ground: Path) -> None:
    name = "daemon" if ROOT else pwd.getpwuid(os.geteuid()).pw_name
    kept = {"command": list(IDLE), "user": name, "home": "kept"}
    pool = own_pool()
    async with other_server(ground, kept, first_uid=pool.spare if pool is not None else 0) as one:
        await one.kill()
    async with floored(ground, pool=pool) as floor:
        assert floor.is_inmate(pwd.getpwnam(name).pw_uid) == ROOT
        assert not floor.is_inmate(os.geteuid())
    async with floored(ground, pool=pool) as floor:
        assert not floor.is_inmate(pwd.getpwnam(name).pw_uid)


# Folders.


async def test_a_floor_ends_where_orphans_cannot_be_looked_for(
    ground: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with floored(ground):
        with monkeypatch.context() as patched:
            # Descriptors that there are none of do not get so far.
            patched.setattr(floor_module, "reap_orphans", fail)
            async with start_child(["true"]) as child:
                await child.wait()
            await until(lambda: "orphans are not let go of any more: [Errno 24]" in caplog.text)


def deep_folder(where: Path, depth: int) -> None:
    """Deeper than a path can say."""
    fd = os.open(where, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("folder", dir_fd=fd)
        inner = os.open("folder", os.O_RDONLY, dir_fd=fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        os.close(fd)
        fd = inner
    os.close(fd)


def test_whatever_a_program_put_there_is_removed(ground: Path) -> None:
    spared = ground / "spared"
    spared.mkdir()
    (spared / "file").touch()
    home = ground / "home"
    home.mkdir()
    deep_folder(home, 1200)
    (home / "link").symlink_to(spared)
    (home / "folder" / "up").symlink_to("..")
    os.mkfifo(home / "fifo")
    for name in ("0.removed", "1.removed"):
        (home / name).mkdir()
        (home / name / "inner").mkdir()
    shut = home / "shut"
    (shut / "inner").mkdir(parents=True)
    (shut / "inner" / "file").touch()
    (shut / "inner").chmod(0)
    shut.chmod(0)
    home.chmod(stat.S_IRUSR)
    remove_tree(home)
    assert sorted(path.name for path in ground.iterdir()) == ["spared"]
    assert (spared / "file").exists()
    remove_tree(spared / "file")
    (ground / "link").symlink_to(spared)
    remove_tree(ground / "link")
    assert sorted(path.name for path in ground.iterdir()) == ["spared"]


def test_what_is_handed_over_is_what_was_its(ground: Path) -> None:
    home = ground / "home"
    (home / "a").mkdir(parents=True)
    (home / "a" / "file").touch()
    (home / "link").symlink_to("/etc/passwd")
    if not ROOT:
        with pytest.raises(PermissionError):
            hand_over(home, (), os.geteuid() + 1, os.getegid())
        return
    first, second, third = 700_001, 700_002, 700_003
    for path in (home, home / "a", home / "a" / "file", home / "link"):
        os.chown(path, first, first, follow_symlinks=False)
    (home / "roots").touch()
    hand_over(home, (first,), second, second)
    # Interrupted: the rest is still the first one's.
    os.chown(home / "a" / "file", first, first)
    hand_over(home, (first,), third, third)
    owners = {path.name: path.lstat().st_uid for path in (home, *home.rglob("*"))}
    assert owners == {"home": third, "a": third, "file": third, "link": third, "roots": 0}
    assert Path("/etc/passwd").stat().st_uid == 0


# All of it, often.


async def test_many_sessions_leave_nothing(ground: Path) -> None:
    async with floored(ground) as floor:
        report = await cycles(floor, CYCLES, profile(*XTERM))
    assert report.left == []
    assert report.rss_kib[-1] - report.rss_kib[SETTLED] < FLAT_KIB, report.rss_kib
    assert sorted(path.name for path in (ground / "floor").iterdir()) == ["homes", "lock", "sessions"]


async def test_sessions_that_begin_and_end_together_leave_nothing(ground: Path) -> None:
    async with floored(ground) as floor:

        async def one(number: int) -> None:
            for again in range(2):
                async with open_hosted(spec(profile(*python(LEAVER), grace_s=0.2), f"{number}-{again}"), floor) as made:
                    await lines_of(made.home / "born")

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(one, number)
        assert list((floor.folder / "sessions").iterdir()) == []
        assert not [path for path in segments() if path.creator == os.getpid()]
