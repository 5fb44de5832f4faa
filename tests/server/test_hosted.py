"""One hosted session: what its programs are given, who they are, how long it lives, and how it ends."""

from __future__ import annotations

import logging
import os
import pwd
import signal
import stat
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tilewire.protocol import Code
from tilewire.protocol import messages as m
from tilewire.server.browser import Browser
from tilewire.server.browser.helper import PROCESSES
from tilewire.server.config.models import Profile, UrlRules
from tilewire.server.door import keep_door, open_door
from tilewire.server.errors import ServerError
from tilewire.server.handshake import Credentials
from tilewire.server.hosted import hosted as hosted_module
from tilewire.server.hosted.floor import Floor
from tilewire.server.hosted.hosted import RESTARTS_WITHIN_S, may_restart, open_hosted
from tilewire.server.program import MARK, mark_of
from tilewire.server.transport import WebRules
from tilewire.server.values import Size
from tilewire.server.x11.process import proc_file, stat_of

from tests.certificates import Authority
from tests.server.floor_counts import XTERM, first_picture
from tests.server.hosting import (
    IDLE,
    ROOT,
    SMALL,
    floored,
    is_alive,
    lines_of,
    new_ground,
    processes_of,
    profile,
    running,
    spec,
    until,
)
from tests.server.xclient import painter
from tests.support import LOOPBACK, device, hello


@pytest.fixture
def ground() -> Iterator[Path]:
    with new_ground() as folder:
        yield folder


@pytest.fixture
async def floor(ground: Path) -> AsyncIterator[Floor]:
    async with floored(ground) as made:
        yield made


SHELL = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"


def environment_of(pid: int | None) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def say(script: str) -> tuple[str, ...]:
    """A program that says something to the file `said` in its home, and stays."""
    return ("sh", "-c", f"({script}) > $HOME/new; mv $HOME/new $HOME/said; exec sleep 1000")


async def said(home: Path) -> list[str]:
    await until((home / "said").exists, "the program has said nothing")
    return (home / "said").read_text().splitlines()


# What it is.


async def test_a_device_sees_the_program(floor: Floor) -> None:
    async with running(spec(profile(*XTERM)), floor) as made:
        listeners = await open_door(LOOPBACK, 0)
        async with trio.open_nursery() as nursery:
            serve = made.hosted.session.serve
            nursery.start_soon(keep_door, listeners, Credentials({}), WebRules(), serve, nursery)
            port = listeners[0].socket.getsockname()[1]
            async with device(port, hello(panel=(SMALL.width, SMALL.height))) as looker:
                await looker.until(lambda: any(looker.stored()))
                assert made.hosted.state == "running"
            nursery.cancel_scope.cancel()
        for listener in listeners:
            await listener.aclose()


async def test_pixels_are_read_through_shared_memory_whoever_the_program_is(
    floor: Floor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tilewire.server.x11.pixels")
    async with running(spec(profile(*XTERM)), floor) as made:
        await first_picture(made.hosted.display_name)
        assert f"display {made.hosted.display_name}: MIT-SHM is working correctly." in caplog.messages
        if ROOT:
            assert made.hosted.uid not in (None, 0)


async def test_the_screen_begins_with_its_size_and_can_grow(floor: Floor) -> None:
    largest = Size(500, 400)
    what = profile(*IDLE, size=SMALL, largest=largest, density=120)
    async with running(spec(what), floor) as made:
        assert made.hosted.session.size == SMALL
        with painter(made.hosted.display_name) as client:
            screen = client.display.screen()
            assert 119 <= screen.width_in_pixels * 25.4 / screen.width_in_mms <= 121
            resources = client.root.get_full_property(client.display.get_atom("RESOURCE_MANAGER"), 31)
            assert resources is not None
            assert bytes(resources.value) == b"Xft.dpi:\t120\n"
        assert await made.hosted.session.resize((500, 400)) is None
        assert await made.hosted.session.resize((501, 400)) is not None


async def test_a_size_that_the_screen_cannot_have_is_refused(floor: Floor) -> None:
    wanted = spec(profile(), size=Size(321, 200))
    with pytest.raises(ServerError, match=r"^the screen cannot be 321x200: the X server takes \S+ to 320x200$"):
        async with open_hosted(wanted, floor):
            pass


async def test_the_keyboard_is_as_the_profile_says(floor: Floor) -> None:
    async with running(spec(profile(keyboard="de(nodeadkeys)")), floor) as made:
        with painter(made.hosted.display_name) as client:
            # The key right of P: no dead key, and ü.
            assert client.display.keycode_to_keysym(34, 0) == ord("ü")
            assert client.display.keycode_to_keysym(21, 0) == ord("´")
    with pytest.raises(ServerError, match=r"^the keyboard layout nowhere cannot be had: "):
        async with open_hosted(spec(profile(keyboard="nowhere")), floor):
            pass


async def test_the_environment_is_ours_and_the_profiles_and_nothing_of_the_servers(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "HTTP_PROXY",
        "SSH_AUTH_SOCK",
        "API_TOKEN",
        "LD_PRELOAD",
        "PYTHONPATH",
        "LANG",
        "DBUS_SESSION_BUS_ADDRESS",
    ):
        monkeypatch.setenv(name, "secret")
    what = profile(
        *say("tr '\\0' '\\n' < /proc/$$/environ"),
        window_manager=("openbox",),
        locale="de_DE.UTF-8",
        environment={"GREETING": "a = b", "TMPDIR": "/var/tmp", "XDG_RUNTIME_DIR": "/run"},
    )
    async with running(spec(what), floor) as made:
        home = made.hosted.home
        found = dict(line.partition("=")[::2] for line in await said(home))
        folder = home.parent
        mark = found.pop(MARK)
        user = "tilewire" if ROOT else pwd.getpwuid(os.geteuid()).pw_name
        assert found == {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
            "LANG": "de_DE.UTF-8",
            "SHELL": SHELL,
            "USER": user,
            "LOGNAME": user,
            "XDG_SESSION_TYPE": "x11",
            "GREETING": "a = b",
            "HOME": str(home),
            "TMPDIR": str(folder / "tmp"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XAUTHORITY": str(folder / "run" / "Xauthority"),
            "DISPLAY": made.hosted.display_name,
        }
        for pid in (made.hosted.program_pid, made.hosted.manager_pid, made.hosted.xvfb_pid):
            assert b"secret" not in environment_of(pid)
        assert made.hosted.manager_pid is not None
        assert (mark_of(made.hosted.manager_pid) or "").partition(".")[0] == mark.partition(".")[0]


async def test_a_program_has_no_descriptors_of_ours_no_privileges_and_no_core_files(floor: Floor) -> None:
    script = "ls -l /proc/$$/fd; grep -E 'NoNewPrivs|CapEff' /proc/$$/status; ulimit -c; umask; pwd"
    async with running(spec(profile(*say(script))), floor) as made:
        lines = await said(made.hosted.home)
        # 3, 10 and the like are the shell's own, for its redirections.
        links = [line.split(" -> ")[1] for line in lines if " -> " in line]
        assert all(link.startswith(("pipe:", "/dev/null", str(made.hosted.home))) for link in links), links
        assert "NoNewPrivs:\t1" in lines
        assert "CapEff:\t0000000000000000" in lines
        assert lines[-3:] == ["0", "0077", str(made.hosted.home)]


async def test_home_and_folders_are_private_and_gone_at_the_end(floor: Floor) -> None:
    deep = "d=$HOME; for i in 1 2 3; do d=$d/x; mkdir $d; touch $d/f; done; chmod 0 $d; ln -s / $HOME/root; echo done"
    async with running(spec(profile(*say(deep))), floor) as made:
        assert await said(made.hosted.home) == ["done"]
        folder = made.hosted.home.parent
        for name in ("home", "tmp", "run"):
            found = (folder / name).stat()
            assert stat.S_IMODE(found.st_mode) == 0o700
            assert found.st_uid == (made.hosted.uid if ROOT else os.geteuid())
        assert stat.S_IMODE((folder / "run" / "Xauthority").stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "record.json").stat().st_mode) == 0o600
        assert (folder / "record.json").stat().st_uid == os.geteuid()
    assert not folder.exists()


async def test_sessions_do_not_see_each_other(floor: Floor) -> None:
    async with running(spec(profile(*say("echo mine"))), floor) as one:
        await said(one.hosted.home)
        home, display = one.hosted.home, one.hosted.display_name
        spy = f"cat {home}/said; ls {home.parent}; kill {one.hosted.program_pid}; DISPLAY={display} xterm -e true; :"
        async with running(spec(profile(*say(f"exec 2>&1; {spy}")), "two"), floor) as two:
            assert (one.hosted.home, one.hosted.display_name) != (two.hosted.home, two.hosted.display_name)
            text = "\n".join(await said(two.hosted.home))
            if ROOT:
                # One user has one session; the other is a stranger, also to its display.
                assert one.hosted.uid != two.hosted.uid
                assert "mine" not in text
                assert text.count("Permission denied") == 2
                assert "not permitted" in text or "No such process" in text
                assert "Can't open display" in text or "can't open display" in text
                assert one.hosted.program_pid is not None
                assert is_alive(one.hosted.program_pid)
            else:
                # Where the server is not root, all sessions are its own user: docs/security.md says so.
                assert "mine" in text


async def test_a_window_manager_is_there_before_the_program(floor: Floor) -> None:
    what = profile(*say("cut -d' ' -f22 /proc/$$/stat"), window_manager=("openbox",))
    async with open_hosted(spec(what), floor) as hosted:
        with painter(hosted.display_name) as client:
            owner = client.root.get_full_property(client.display.get_atom("_NET_SUPPORTING_WM_CHECK"), 0)
            assert owner is not None
        assert hosted.manager_pid is not None
        manager = stat_of(hosted.manager_pid)
        assert manager is not None
        assert manager.start <= int((await said(hosted.home))[0])


# Who it is.


@pytest.mark.parametrize("name", ["nobody-at-all", "root"])
async def test_users_that_cannot_be_had_are_sentences(floor: Floor, name: str) -> None:
    expected = "there is no user 'nobody-at-all'" if name != "root" else "programs are never started as root"
    if not ROOT and name == "root":
        expected = "a program of the user 'root' can only be started by root"
    with pytest.raises(ServerError) as caught:
        async with open_hosted(spec(profile(user=name)), floor):
            pass
    assert str(caught.value) == expected


async def test_a_named_user_runs_the_program_and_keeps_what_else_is_its(floor: Floor) -> None:
    name = "daemon" if ROOT else pwd.getpwuid(os.geteuid()).pw_name
    uid = pwd.getpwnam(name).pw_uid
    command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *IDLE] if ROOT else list(IDLE)
    process = await trio.lowlevel.open_process(command)
    try:
        async with running(spec(profile(*say("id -u; echo $USER"), user=name)), floor) as made:
            assert await said(made.hosted.home) == [str(uid), name]
            pid = made.hosted.program_pid
            assert pid is not None
        assert not is_alive(pid)
        assert is_alive(process.pid)
    finally:
        process.kill()
        await process.wait()


# How it ends.


@pytest.mark.parametrize(
    ("script", "text", "exit_code"),
    [
        ("exit 0", "sh ended", 0),
        ("exit 3", "sh ended with exit code 3", 1),
        ("kill -9 $$", "sh was killed by SIGKILL", 1),
    ],
)
async def test_it_ends_with_its_program(floor: Floor, script: str, text: str, exit_code: int) -> None:
    async with running(spec(profile("sh", "-c", script)), floor) as made:
        ending = await made.ending()
        assert (ending.code, ending.text, ending.exit_code) == (Code.SESSION_ENDED, text, exit_code)
        assert made.hosted.state == "ended"
        assert made.hosted.session.ended


COUNTING = "echo $$ >> $HOME/starts; setsid sleep 1000 & {}"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts without the pauses for people."""
    monkeypatch.setattr(hosted_module, "RESTART_PAUSE_S", 0.0)
    monkeypatch.setattr(hosted_module, "LAST_WORDS_S", 0.02)


@pytest.mark.usefixtures("hasty")
async def test_a_crash_is_followed_by_a_restart_as_often_as_the_profile_says(floor: Floor) -> None:
    what = profile("sh", "-c", COUNTING.format("kill -9 $$"), restart="crash", restarts=3)
    async with running(spec(what), floor) as made:
        ending = await made.ending()
        assert ending.code is Code.SESSION_FAILED
        assert ending.text == "sh was killed by SIGKILL, 4 times within 60 s"
        assert made.hosted.restarts == 3
        assert len(await lines_of(made.hosted.home / "starts", 4)) == 4


@pytest.mark.usefixtures("hasty")
async def test_a_restarted_program_meets_nothing_of_its_predecessor_and_the_same_home(floor: Floor) -> None:
    what = profile("sh", "-c", COUNTING.format("wait"), restart="crash", window_manager=("openbox",))
    async with running(spec(what), floor) as made:
        first = made.hosted.program_pid
        manager = made.hosted.manager_pid
        assert first is not None
        assert manager is not None
        await lines_of(made.hosted.home / "starts")
        mark = mark_of(first)

        def strays() -> list[int]:
            return [int(name) for name in os.listdir("/proc") if name.isdigit() and mark_of(int(name)) == mark]

        await until(lambda: len(strays()) == 2)
        os.kill(first, signal.SIGKILL)
        starts = await lines_of(made.hosted.home / "starts", 2)
        await until(lambda: made.hosted.state == "running")
        assert starts == [str(first), str(made.hosted.program_pid)]
        assert strays() == []
        assert made.hosted.manager_pid == manager
        assert is_alive(manager)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("policy", "starts"), [("crash", 1), ("always", 3)])
async def test_a_program_that_ends_in_order_is_started_again_only_by_the_policy_always(
    floor: Floor, policy: str, starts: int
) -> None:
    script = "echo $$ >> $HOME/starts"
    async with running(spec(profile("sh", "-c", script, restart=policy, restarts=2)), floor) as made:
        await made.ending()
        assert len(await lines_of(made.hosted.home / "starts", starts)) == starts


async def test_restarts_long_ago_do_not_count(autojump_clock: trio.testing.MockClock) -> None:
    ends: deque[float] = deque()
    for _ in range(100):
        assert may_restart(ends, 1)
        await trio.sleep(RESTARTS_WITHIN_S + 1)
    assert may_restart(ends, 1)
    assert not may_restart(ends, 1)


async def test_what_a_body_raises_comes_out_as_it_is(floor: Floor) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_hosted(spec(profile()), floor):
            raise ZeroDivisionError
    with trio.move_on_after(0.2) as scope:
        async with open_hosted(spec(profile()), floor) as hosted:
            await hosted.run()
    assert scope.cancelled_caught
    assert list((floor.folder / "sessions").iterdir()) == []


async def test_a_program_is_asked_before_it_is_killed(floor: Floor) -> None:
    what = profile(
        "sh",
        "-c",
        "trap 'echo asked > $HOME/said; exit' TERM; echo > $HOME/ready; while :; do sleep 0.01; done",
        home="kept",
        grace_s=20,
    )
    async with running(spec(what), floor) as made:
        home = made.hosted.home
        await lines_of(home / "ready")
    assert (home / "said").read_text() == "asked\n"


# Kept homes.


async def test_a_kept_home_is_the_devices_with_that_profile(floor: Floor) -> None:
    what = profile(*say("cat $HOME/note; echo $0 > $HOME/note"), home="kept")
    homes = {}
    for device_id in ("a", "b", None):
        async with running(spec(what, device=device_id), floor) as made:
            await said(made.hosted.home)
            homes[device_id] = made.hosted.home
            (made.hosted.home / "said").unlink()
    assert len(set(homes.values())) == 3
    async with running(spec(what, device="a"), floor) as made:
        assert made.hosted.home == homes["a"]
        assert await said(made.hosted.home) == ["sh"]
        with pytest.raises(
            ServerError, match=r"^the kept home of the device a with the profile tried is in use by another session$"
        ):
            async with open_hosted(spec(what, "two", device="a"), floor):
                pass
    async with running(spec(profile(*IDLE, home="kept", name="other"), device="a"), floor) as made:
        assert made.hosted.home not in homes.values()
    assert list((floor.folder / "sessions").iterdir()) == []


async def test_a_kept_home_follows_to_another_user(floor: Floor) -> None:
    what = profile(
        *say("mkdir -p $HOME/a/b && echo x > $HOME/a/b/c; ls -ln $HOME/a/b; echo x >> $HOME/a/b/c"), home="kept"
    )
    async with running(spec(what, device="a"), floor) as made:
        await said(made.hosted.home)
        home, first = made.hosted.home, made.hosted.uid
        (home / "said").unlink()
    if first is None:
        assert (home / "a/b/c").stat().st_uid == os.geteuid()
        return
    # A link to what is root's stays root's.
    secret = floor.folder / "secret"
    secret.write_text("root's")
    os.link(secret, home / "a" / "link")
    async with running(spec(profile(), "in the way", device="b"), floor) as other:
        assert other.hosted.uid == first
        async with running(spec(what, device="a"), floor) as made:
            await said(made.hosted.home)
            assert made.hosted.uid not in (None, first)
            assert (home / "a/b/c").stat().st_uid == made.hosted.uid
            assert secret.stat().st_uid == 0
            assert processes_of(made.hosted.uid or 0) != []
    assert stat_of(os.getpid()) is not None


async def test_a_kept_home_is_out_of_reach_while_no_session_has_it(floor: Floor) -> None:
    what = profile(*say("cat $HOME/note; echo note >> $HOME/note"), home="kept")
    async with running(spec(what, device="a"), floor) as made:
        await said(made.hosted.home)
        home, first = made.hosted.home, made.hosted.uid
        (home / "said").unlink()
    assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700
    thief = profile(*say(f"cat {home}/note 2>/dev/null; echo changed 2>/dev/null >> {home}/note; echo tried"))
    async with running(spec(thief, device="b"), floor) as other:
        # Else there is nothing to see.
        assert other.hosted.uid == first
        assert await said(other.hosted.home) == (["tried"] if ROOT else ["note", "tried"])
        async with running(spec(what, device="a"), floor) as made:
            assert await said(made.hosted.home) == (["note"] if ROOT else ["note", "changed"])
            assert (made.hosted.uid != first) == ROOT
            (home / "said").unlink()
    async with running(spec(what, device="a"), floor) as made:
        assert len(await said(made.hosted.home)) >= 2


# A browser.


@pytest.fixture
def page(ground: Path) -> str:
    path = ground / "page.html"
    path.write_text("<title>A page</title><body style='background: #0a0'><h1>Hello</h1>")
    path.chmod(0o644)
    return path.as_uri()


async def test_a_profile_s_rate_and_quality_are_what_viewers_begin_with(floor: Floor) -> None:
    async with running(spec(profile(fps=12, quality=40, adaptive=False)), floor) as made:
        listeners = await open_door(LOOPBACK, 0)
        async with trio.open_nursery() as nursery:
            serve = made.hosted.session.serve
            nursery.start_soon(keep_door, listeners, Credentials({}, open_door=True), WebRules(), serve, nursery)
            async with device(listeners[0].socket.getsockname()[1], hello()) as viewer:
                assert viewer.welcome.settings == m.Settings(fps=12, quality=40, adaptive=0)
            nursery.cancel_scope.cancel()


def browsing(url: str, **fields: Any) -> Profile:
    rules = UrlRules(allow_file=True)
    return Profile(name="web", kind="chromium", url=url, url_rules=rules, size=Size(640, 400), **fields)


async def test_chromium_shows_its_page_and_is_driven_on_its_pipe(floor: Floor, page: str) -> None:
    async with running(spec(browsing(page)), floor) as made:
        with trio.fail_after(30):
            browser = await made.hosted.wait_browser()
            await until_titled(browser, "A page")
        pid = made.hosted.program_pid
        assert pid is not None
        words = (proc_file(pid, "cmdline") or b"").split(b"\0")
        assert b"--remote-debugging-pipe" in words
        # Its sandbox, whoever it is.
        assert b"--no-sandbox" not in words
        assert not any(word.startswith(b"--remote-debugging-port") for word in words)
    assert made.hosted.browser is None
    with pytest.raises(ServerError, match=r"^the session has ended$"):
        await made.hosted.wait_browser()


# A constructor of a library that a database of certificates names: who loads it, and under which terms.
PLANTED = """
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
    struct rlimit core, processes;
    const char *mark = getenv("TILEWIRE_PROGRAM");
    FILE *file = fopen("got", "a");
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_NPROC, &processes);
    fprintf(file, "%s %d ", program_invocation_short_name, (int)getuid());
    fprintf(file, "%d ", prctl(PR_GET_NO_NEW_PRIVS, 0L, 0L, 0L, 0L));
    fprintf(file, "%ld %ld %s\\n", (long)core.rlim_max, (long)processes.rlim_max, mark ? mark : "none");
    fclose(file);
}
"""


async def test_a_library_that_a_kept_home_names_gets_a_programs_terms(floor: Floor, ground: Path, page: str) -> None:
    (ground / "planted.c").write_text(PLANTED)
    library = ground / "planted.so"
    await trio.run_process(["gcc", "-shared", "-fPIC", "-o", str(library), str(ground / "planted.c")])
    plant = "mkdir -p .pki/nssdb; certutil -N --empty-password -d sql:.pki/nssdb; "
    plant += f"printf '\\nlibrary={library}\\nname=planted\\n' >> .pki/nssdb/pkcs11.txt"
    planter = profile(*say(plant), home="kept", name="web")
    async with running(spec(planter, device="a"), floor) as made:
        await said(made.hosted.home)
    authority = Authority(ground)
    what = browsing(page, home="kept", certificates=(authority.certificate,))
    async with running(spec(what, device="a"), floor) as made:
        told = [line.split() for line in (made.hosted.home / "got").read_text().splitlines()]
        uid = made.hosted.uid
        assert MARK == "TILEWIRE_PROGRAM"
        loads = [words for words in told if words[0] == "certutil"]
        assert loads
        for _, user, no_new_privileges, core, processes, mark in loads:
            assert (int(user), no_new_privileges, core) == (uid if uid is not None else os.geteuid(), "1", "0")
            assert uid is None or int(processes) == PROCESSES
            assert mark.endswith(".certificates")


async def until_titled(browser: Browser, title: str) -> None:
    with trio.fail_after(30):
        while (await browser.page()).title != title:  # noqa: ASYNC110
            await trio.sleep(0.05)


@pytest.mark.usefixtures("hasty")
async def test_a_crashed_chromium_is_started_again_and_driven_again(floor: Floor, page: str) -> None:
    async with running(spec(browsing(page, restart="crash")), floor) as made:
        with trio.fail_after(30):
            first = await made.hosted.wait_browser()
            await until_titled(first, "A page")
            assert made.hosted.program_pid is not None
            os.kill(made.hosted.program_pid, signal.SIGKILL)
            while (again := await made.hosted.wait_browser()) is first:  # noqa: ASYNC110
                await trio.sleep(0.01)
            await until_titled(again, "A page")
        assert made.hosted.restarts == 1


async def test_pages_that_a_profile_does_not_show_start_nothing(floor: Floor, page: str) -> None:
    for what, url, expected in (
        (profile(), page, "the profile tried is no browser: it shows no page that is asked for"),
        (Profile(name="web", kind="chromium"), page, "file:"),
        (browsing(page), "javascript:alert(1)", "javascript:"),
    ):
        with pytest.raises(ServerError) as caught:
            async with open_hosted(spec(what, url=url), floor):
                pass
        assert expected in str(caught.value)
        assert list((floor.folder / "sessions").iterdir()) == []
    async with running(spec(profile()), floor) as made:
        with pytest.raises(ServerError, match=r"^the profile tried has no browser that can be told$"):
            await made.hosted.wait_browser()
