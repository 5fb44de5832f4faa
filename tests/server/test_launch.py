"""The launcher: what a program is given and what not, in the order in which it holds; each failure has a status."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from tilewire.server.x11.process import Account, Terms, launcher, start_child

from tests.server.hosting import IDLE, exists, is_alive, new_ground, own_pool, until

BAD_USAGE, NO_DESCRIPTORS, NO_LIMIT, NO_USER, NO_DIRECTORY, NO_PARENT = 2, 102, 103, 104, 105, 107
NO_EXECUTION, NO_COMMAND = 126, 127
TRUE = "/bin/true"
LONG_AGO = 1 << 22
"""As a process id, one more than there can be."""


def launch() -> str:
    found = launcher()
    assert found is not None, "the launcher was not built: it needs Linux; make setup builds it"
    return str(found)


def launched(*words: str, fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run([launch(), *words], capture_output=True, text=True, pass_fds=fds, check=False, timeout=30)


def shell(script: str, *words: str, fds: tuple[int, ...] = ()) -> list[str]:
    """What a script says that runs with these options."""
    done = launched(*words, "--", "/bin/sh", "-c", script, fds=fds)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], BAD_USAGE, "usage: launch [OPTION]... -- COMMAND [ARGUMENT]..."),
        (["--bogus", "--", TRUE], BAD_USAGE, "unrecognized option"),
        (["--user", "0", "--", TRUE], BAD_USAGE, "launch: not a number that it takes: 0"),
        (["--user", "4294967295", "--", TRUE], BAD_USAGE, "launch: not a number that it takes: 4294967295"),
        (["--user", "1x", "--", TRUE], BAD_USAGE, "launch: not a number that it takes: 1x"),
        (["--groups", "5,", "--groups", "5,0", "--", TRUE], BAD_USAGE, "launch: not a number that it takes: 0"),
        (["--fd", "1:2", "--", TRUE], BAD_USAGE, "launch: not a number that it takes: 2"),
        (["--fd", "1:256", "--", TRUE], BAD_USAGE, "launch: not a number that it takes: 256"),
        (["--limit", "4:2:1", "--", TRUE], BAD_USAGE, "launch: not a number that it takes: 1"),
        (["--limit", "99:0:0", "--", TRUE], BAD_USAGE, "launch: not a number that it takes: 99:0:0"),
        (["--limit", "4:0:0"] * 17 + ["--", TRUE], BAD_USAGE, "launch: too many of --limit"),
        (["--umask", "8", "--", TRUE], BAD_USAGE, "launch: not a number that it takes: 8"),
        (["--kill", "5"], BAD_USAGE, "launch: --kill needs --as with another user"),
        (["--kill", "5", "--as", "5"], BAD_USAGE, "launch: --kill needs --as with another user"),
        (["--fd", "200:3", "--", TRUE], NO_DESCRIPTORS, "cannot pass on a descriptor: Bad file descriptor"),
        (["--user", "5", "--", TRUE], NO_USER, "cannot become its user"),
        (["--directory", "/nowhere", "--", TRUE], NO_DIRECTORY, "cannot enter /nowhere: No such file or directory"),
        (["--parent", str(LONG_AGO), "--", TRUE], NO_PARENT, "the server has ended"),
        (["--", "/etc"], NO_EXECUTION, "cannot run /etc: Permission denied"),
        (["--", "/bin/nothing-there"], NO_COMMAND, "cannot run /bin/nothing-there: No such file or directory"),
        # Nothing is searched for.
        (["--", "true"], NO_COMMAND, "cannot run true: No such file or directory"),
    ],
)
def test_each_failure_has_its_status_and_sentence(words: list[str], status: int, said: str) -> None:
    done = launched(*words)
    assert said in done.stderr
    assert done.returncode == status
    assert done.stdout == ""


def test_no_shell_runs_what_the_kernel_cannot() -> None:
    with new_ground() as folder:
        script = folder / "script"
        script.write_text("echo run by a shell\n")
        script.chmod(0o755)
        done = launched("--", str(script))
        assert done.returncode == NO_EXECUTION
        assert done.stdout == ""
        assert done.stderr == f"cannot run {script}: Exec format error\n"


CROSSED = """
import os, sys
one, other = map(int, sys.argv[1:3])
for number, source in ((90, one), (91, other), (3, 90), (4, 91), (5, 90), (6, 91)):
    os.dup2(source, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


def test_the_program_leads_a_session_and_has_no_descriptors_but_those_it_is_given(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.write_text(path.name)
    kept = [os.open(path, os.O_RDONLY) for path in (one, other)]
    try:
        # Each is the other's target, and a third has its own number.
        words = [launch(), "--fd", "3:4", "--fd", "4:3", "--fd", "5:5", "--", "/bin/ls", "-l", "/proc/self/fd"]
        command = [sys.executable, "-c", CROSSED, *map(str, kept), *words]
        said = subprocess.run(command, capture_output=True, text=True, pass_fds=kept, check=True, timeout=30).stdout
        links = dict(line.split()[-3::2] for line in said.splitlines() if "->" in line)
        assert (links["3"], links["4"], links["5"]) == (str(other), str(one), str(one))
        # 6 is what `ls` reads the list from.
        assert set(links) <= {"0", "1", "2", "3", "4", "5", "6"}
        assert links.get("6", "/proc").startswith("/proc")
    finally:
        for fd in kept:
            os.close(fd)
    # The shell is its own leader, in both respects.
    assert shell("cut -d' ' -f1,5,6 /proc/$$/stat | tr ' ' '\\n' | sort -u | wc -l") == ["1"]


def test_limits_mask_and_folder(tmp_path: Path) -> None:
    limits = ("--limit", f"{resource.RLIMIT_CORE}:0:0", "--limit", f"{resource.RLIMIT_NOFILE}:70:80")
    script = "ulimit -c; ulimit -Sn; ulimit -Hn; umask; pwd; grep NoNewPrivs /proc/self/status"
    said = shell(script, *limits, "--umask", "027", "--directory", str(tmp_path), "--no-new-privileges")
    assert said == ["0", "70", "80", "0027", str(tmp_path), "NoNewPrivs:\t1"]


def test_a_limit_that_cannot_be_is_a_sentence() -> None:
    command = [sys.executable, "-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])", launch()]
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    done = subprocess.run(
        [*command, "--limit", f"{resource.RLIMIT_NOFILE}:{most + 1}:{most + 1}", "--", TRUE],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (NO_LIMIT, "cannot set a limit: Operation not permitted\n")


def test_another_user_has_nothing_of_ours_left() -> None:
    pool = own_pool()
    if pool is None:
        # The other half of the rule: nobody but root becomes somebody else.
        done = launched("--user", "12345", "--group", "12345", "--", TRUE)
        assert (done.returncode, done.stderr) == (NO_USER, "cannot become its group: Operation not permitted\n")
        return
    uid = pool.lease()
    try:
        script = "grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapInh|CapAmb)' /proc/self/status | tr -s '\\t ' ' '"
        said = shell(script, "--user", str(uid), "--group", str(uid + 1), "--groups", "5,7")
        ids = " ".join([str(uid)] * 4)
        assert said[0] == f"Uid: {ids}"
        assert said[1] == f"Gid: {ids.replace(str(uid), str(uid + 1))}"
        assert said[2].strip() == "Groups: 5 7"
        assert [line.split() for line in said[3:]] == [
            [f"{name}:", "0" * 16] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")
        ]
        said = shell("grep ^Groups /proc/self/status", "--user", str(uid), "--group", str(uid))
        assert said[0].split() == ["Groups:"]
    finally:
        pool.release(uid)


PARENT = """
import os, subprocess, sys
process = subprocess.Popen([*sys.argv[1:-1], "--parent", str(os.getpid()), "--", "/bin/sleep", "1000"],
                           start_new_session=True)
print(process.pid, flush=True)
if sys.argv[-1] == "waits":
    process.wait()
"""


async def test_it_dies_with_its_parent_also_as_another_user() -> None:
    # A change of user takes the request back: the order matters.
    pool = own_pool()
    uid = pool.lease() if pool is not None else None
    options = ["--user", str(uid), "--group", str(uid)] if uid is not None else []
    try:
        async with trio.open_nursery() as nursery:
            command = [sys.executable, "-c", PARENT, launch(), *options, "waits"]
            run = partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
            parent = await nursery.start(run)
            pid = int(await parent.stdout.receive_some())
            await until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/bin/sleep"))
            assert is_alive(pid)
            parent.kill()
            await until(lambda: not is_alive(pid))
    finally:
        if pool is not None and uid is not None:
            pool.release(uid)


async def test_a_parent_that_is_gone_already_starts_nothing() -> None:
    # It ends at once, and the launcher has not come so far: it must not run on, nor be somebody else's.
    for _ in range(20):
        done = await trio.run_process(
            [sys.executable, "-c", PARENT, launch(), "ends"], capture_stdout=True, capture_stderr=True
        )
        pid = int(done.stdout)
        await until(partial(lambda one: not is_alive(one), pid))


async def test_a_user_is_killed_at_once_and_nobody_else() -> None:
    pool = own_pool()
    if pool is None:
        done = launched("--kill", "12345", "--as", "12346")
        assert done.returncode == 108
        assert done.stderr == "cannot become the user that is to be killed: Operation not permitted\n"
        return
    uid, other = pool.lease(), pool.lease()
    try:
        async with (
            start_child(IDLE, terms=Terms(account=Account(uid, uid))) as one,
            start_child(IDLE, terms=Terms(account=Account(uid, other))) as two,
            start_child(IDLE, terms=Terms(account=Account(other, uid))) as spared,
            start_child(IDLE) as ours,
        ):
            done = launched("--kill", str(uid), "--as", str(pool.spare))
            assert (done.returncode, done.stderr) == (0, "")
            assert [await one.wait(), await two.wait()] == [-signal.SIGKILL] * 2
            assert spared.status is None
            assert ours.status is None
            # Where there is nobody, nothing fails.
            assert launched("--kill", str(uid), "--as", str(pool.spare)).returncode == 0
    finally:
        pool.release(uid)
        pool.release(other)


async def test_a_child_that_cannot_be_started_is_an_error_with_its_sentence_and_leaves_nothing() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError, match=r"^nothing-there: no such command$"):
        async with start_child(["nothing-there"]):
            pass
    with pytest.raises(OSError, match=r"^cannot enter /nowhere: No such file or directory$"):
        async with start_child(IDLE, cwd=Path("/nowhere")):
            pass
    with pytest.raises(OSError, match=r"^launch: too many of --limit$"):
        async with start_child(IDLE, terms=Terms(limits=[(resource.RLIMIT_CORE, 0, 0)] * 17)):
            pass
    assert set(os.listdir("/proc/self/fd")) == before


async def test_a_child_has_what_it_was_promised() -> None:
    reader, writer = os.pipe()
    try:
        terms = Terms(fds={3: writer}, umask=0o077, no_new_privileges=True)
        script = "umask >&3; tr '\\0' ' ' < /proc/$$/environ >&3; echo >&3; echo $0 >&3"
        async with start_child(["sh", "-c", script], env={"PATH": "/bin"}, terms=terms) as child:
            assert await child.wait() == 0
            pid = child.pid
        assert os.read(reader, 100) == b"0077\nPATH=/bin \nsh\n"
        assert not exists(pid)
    finally:
        os.close(reader)
        os.close(writer)
