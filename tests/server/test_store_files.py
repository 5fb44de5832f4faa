"""The state's files: for nobody else, and a plain sentence for whatever is wrong with them."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.server.errors import ServerError
from tilewire.server.store import Role, StoreError, open_store

from tests.server.test_store import names
from tests.support import descriptors

DAMAGED: Final = r"^{path} is damaged or is not a database: put back a copy of it, or move it away to begin anew$"
PARTS: Final = ["state.db", "state.db-shm", "state.db-wal"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def fill(folder: Path) -> None:
    """One of everything."""
    async with open_store(folder) as store:
        await store.add_device("panel", ("web",), "web")
        await store.add_token("", Role.OPERATOR, None)
        await store.end_usage(await store.begin_usage("s1", "web", "panel"), "closed")


async def refused(folder: Path, *, create: bool = True) -> str:
    """The sentence."""
    before = descriptors()
    with pytest.raises(StoreError) as caught:
        async with open_store(folder, create=create, serving=create):
            pass
    assert descriptors() == before
    text = str(caught.value)
    assert "\n" not in text
    assert isinstance(caught.value, ServerError)
    return text


def written(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_nobody_else_may_read_it(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with open_store(folder / "deep", serving=True) as store:
            await store.add_device("panel")
            assert names(folder / "deep") == ["serving.lock", *PARTS]
            assert {mode(folder / "deep" / name) for name in names(folder / "deep")} == {0o600}
            assert mode(folder / "deep") == 0o700
    finally:
        os.umask(before)
    # What SQLite laid beside it is in it again.
    assert names(folder / "deep") == ["serving.lock", "state.db"]


@pytest.mark.parametrize("bits", [0o750, 0o705, 0o710, 0o702, 0o777])
async def test_a_folder_that_others_may_enter(folder: Path, bits: int) -> None:
    await fill(folder)
    os.chmod(folder, bits)
    assert await refused(folder) == f"the state folder {folder} may be entered by others: chmod 700 {folder}"
    os.chmod(folder, 0o700)
    await fill_again(folder)


async def fill_again(folder: Path) -> None:
    async with open_store(folder) as store:
        await store.add_device("another")
        assert len(await store.devices()) == 2


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o601])
@pytest.mark.parametrize("name", PARTS)
async def test_a_file_that_others_may_read(folder: Path, tmp_path: Path, name: str, bits: int) -> None:
    async with open_store(folder) as store:
        await store.add_device("panel")
        # As a crash leaves it.
        copy = shutil.copytree(folder, tmp_path / "copy")
    path = Path(copy) / name
    os.chmod(path, bits)
    assert await refused(path.parent) == f"{path} holds keys and may be read by others: chmod 600 {path}"
    os.chmod(path, 0o600)
    await fill_again(path.parent)


async def test_a_folder_of_another_user(tmp_path: Path) -> None:
    """Tried as a user who owns nothing here."""
    text = in_child(
        "import os, sys, trio\n"
        "from pathlib import Path\n"
        "from tilewire.server.store import open_store\n"
        "async def main():\n"
        "    try:\n"
        "        async with open_store(Path('/'), create=False): pass\n"
        "    except Exception as error:\n"
        "        print(error)\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "trio.run(main)\n"
    )
    assert text == "/ belongs to another user\n"


async def test_root_leaves_it_to_the_folders_owner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sudo tilewire device add` in the folder of the user that the server runs as."""
    os.mkdir(folder, 0o700)
    if os.geteuid() == 0:
        os.chown(folder, 4321, 4322)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    owner = os.stat(folder)
    async with open_store(folder, serving=True) as store:
        await store.add_device("panel")
        found = [(folder / name).stat() for name in names(folder)]
    assert len(found) == 4
    assert {(status.st_uid, status.st_gid) for status in found} == {(owner.st_uid, owner.st_gid)}


async def test_a_folder_that_is_none(folder: Path) -> None:
    written(folder, b"")
    assert await refused(folder) == f"the state folder {folder} is not a folder"
    assert await refused(folder, create=False) == f"the state folder {folder} is not a folder"
    assert "Not a directory" in await refused(folder / "below")


async def test_nothing_is_made_where_nothing_may_be(folder: Path) -> None:
    assert await refused(folder, create=False) == f"there is no state in {folder}"
    assert names(folder.parent) == []
    os.mkdir(folder, 0o700)
    assert await refused(folder, create=False) == f"there is no state in {folder}"
    assert names(folder) == []


@pytest.mark.parametrize("name", PARTS)
async def test_a_link_in_place_of_a_file(folder: Path, tmp_path: Path, name: str) -> None:
    """Who could make it would have us write where it leads."""
    await fill(tmp_path / "other")
    os.mkdir(folder, 0o700)
    if name != "state.db":
        shutil.copy(tmp_path / "other/state.db", folder / "state.db")
        os.chmod(folder / "state.db", 0o600)
    before = (tmp_path / "other/state.db").read_bytes()
    (folder / name).symlink_to(tmp_path / "other/state.db")
    assert await refused(folder) == f"{folder / name} is not a file"
    assert (tmp_path / "other/state.db").read_bytes() == before


async def test_an_empty_file_is_an_empty_state(folder: Path) -> None:
    """What a crash may leave of a new one."""
    os.mkdir(folder, 0o700)
    written(folder / "state.db", b"")
    await fill(folder)


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE notes (text)", "PRAGMA user_version = 1", "PRAGMA application_id = 252006673"]
)
async def test_another_programs_database(folder: Path, statement: str) -> None:
    os.mkdir(folder, 0o700)
    path = folder / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
    os.chmod(path, 0o600)
    before = path.read_bytes()
    assert await refused(folder) == f"{path} is another program's database"
    assert path.read_bytes() == before
    assert names(folder) == ["state.db"]


@pytest.mark.parametrize(
    "content", [b"not a database at all\n" * 300, b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 5000]
)
async def test_something_else_altogether(folder: Path, content: bytes) -> None:
    os.mkdir(folder, 0o700)
    path = folder / "state.db"
    written(path, content)
    assert re.match(DAMAGED.format(path=path), await refused(folder))
    assert path.read_bytes() == content


async def test_a_value_that_nothing_here_wrote(folder: Path) -> None:
    """Whole as a file, and yet no state."""
    for table, change in {
        "tokens": "role = 'king'",
        "devices": "key = x'00'",
        "usage": "bytes_down = -1",
        "usage ": "ended_ms = 1 << 62",
        "devices ": "name = CAST(x'ff' AS TEXT)",
    }.items():
        shutil.rmtree(folder, ignore_errors=True)
        await fill(folder)
        with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as connection:
            connection.execute(f"UPDATE {table} SET {change}")
        with pytest.raises(StoreError, match=DAMAGED.format(path=folder / "state.db")):
            await use(folder)


async def use(folder: Path) -> None:
    async with open_store(folder, serving=True) as store:
        for row in await store.devices():
            await store.key_of(row.name)
            await store.seen_device(row.name)
        for token in await store.tokens():
            await store.token(token.id)
        async for _ in store.usage_pages():
            pass
        await store.usage(0, 1e12)
        await store.add_device("new", ("web",))
        await store.remove_device("new")
        await store.check_token(await store.add_token("new", Role.VIEWER, 60))
        await store.end_usage(await store.begin_usage("new", "web"), "closed")


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state as a crash leaves it: half of it in the file, half in what lies beside it."""
    folder = tmp_path_factory.mktemp("crashed") / "state"

    async def make() -> None:
        await fill(folder)
        async with open_store(folder) as store:
            for number in range(30):
                await store.add_device(f"late-{number}", ("web", "term"))
            shutil.copytree(folder, folder.with_name("copy"))

    trio.run(make)
    return folder.with_name("copy")


async def test_what_a_crash_leaves_is_whole(crashed: Path, tmp_path: Path) -> None:
    shutil.copytree(crashed, tmp_path / "state")
    async with open_store(tmp_path / "state") as store:
        assert len(await store.devices()) == 31
    # For the test below: that much is in there to be damaged.
    assert (crashed / "state.db-wal").stat().st_size > 100_000
    assert (crashed / "state.db").stat().st_size > 20_000


async def test_a_copy_made_meanwhile_is_put_back(folder: Path, tmp_path: Path) -> None:
    """As docs/serve-store.md says it is done."""
    async with open_store(folder, serving=True) as store:
        key = await store.add_device("panel", ("web",))
        with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as connection:
            connection.execute("VACUUM INTO ?", (str(tmp_path / "copy"),))
        await store.remove_device("panel")
    written(folder / "state.db", (tmp_path / "copy").read_bytes())
    async with open_store(folder, serving=True) as store:
        assert await store.key_of("panel") == key


@given(
    name=st.sampled_from(PARTS),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=40)), max_size=6),
    length=st.none() | st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_any_damage_is_a_sentence_or_none(
    crashed: Path, name: str, damage: list[tuple[float, bytes]], length: float | None
) -> None:
    """Whatever bytes are wrong: all goes well, or StoreError says what does not."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(crashed, Path(parent) / "state"))
        path = folder / name
        content = bytearray(path.read_bytes())
        for place, change in damage:
            at = int(place * len(content))
            content[at : at + len(change)] = change
        path.write_bytes(content if length is None else content[: int(length * len(content))])
        before = descriptors()
        with suppress(StoreError):
            trio.run(use, folder)
        assert descriptors() == before


def in_child(program: str, *arguments: object) -> str:
    """What a Python program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


SMALL_DISK: Final = """
import subprocess, sys, trio
from pathlib import Path
from tilewire.server.store import Role, StoreError, open_store

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", disk], check=True)
now = [1e9]

async def fails(call):
    try:
        await call
    except StoreError as error:
        return str(error)
    raise AssertionError("no error")

def fill_disk():
    try:
        with open(disk / "filler", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError as error:
        assert error.errno == 28, error

async def opens():
    async with open_store(disk / "state"):
        pass

async def main():
    async with open_store(disk / "state", clock=lambda: now[0]) as store:
        key = await store.add_device("panel")
        token = await store.add_token("", Role.OPERATOR, None)
        number = await store.begin_usage("s1", "web")
        fill_disk()
        said, added = "", 0
        while not said:
            try:
                await store.add_usage(number, 1, 100, 10)
                added += 1
            except StoreError as error:
                said = str(error)
        print(said)
        print(await fails(store.add_device("late", ("web",) )))
        # What is read is read, and nobody is locked out.
        assert await store.key_of("panel") == key
        now[0] += 1000
        assert (await store.check_token(token)).used_s is None
        [row] = await store.usage()
        assert (row.seconds, row.bytes_down, row.ended_s) == (added, 100 * added, None), row
        assert [row.name for row in await store.devices()] == ["panel"]
        (disk / "filler").unlink()
        await store.add_usage(number, 1, 0, 0)
        await store.end_usage(number, "closed")
        await store.add_device("late")
        [row] = await store.usage()
        assert row.seconds == added + 1
    fill_disk()
    print(await fails(opens()))
    (disk / "filler").unlink()
    await opens()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    print(await fails(opens()))

trio.run(main)
"""


def test_a_full_disk_and_a_read_only_one(tmp_path: Path) -> None:
    """A real one, of a megabyte, which only this process sees."""
    assert shutil.which("unshare"), "unshare is missing: it belongs to Debian's util-linux"
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", sys.executable, "-c", SMALL_DISK, str(disk)],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    full = f"the disk is full: nothing was written to {disk}/state/state.db"
    folder = f"the state folder {disk}/state cannot be written: it or its file system is read-only"
    assert done.stdout.splitlines() == [full, full, full, folder]
