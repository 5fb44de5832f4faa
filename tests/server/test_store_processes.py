"""Several processes with one state: the server, the command line beside it, and a server that is killed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from tilewire.server.store import StoreError, database, open_store
from tilewire.server.store.migrations import LATEST

from tests.server.test_store_files import in_child
from tests.server.test_store_migrations import version_of, write

EACH: Final = 25

ADD_DEVICES: Final = """
import sys, trio
from pathlib import Path
from tilewire.server.store import open_store

async def main(folder, name, count):
    for number in range(count):
        # As the command does it: opened anew for each.
        async with open_store(folder) as store:
            await store.add_device(f"{name}-{number}")

trio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
"""

SERVER: Final = """
import sys, trio
from pathlib import Path
from tilewire.server.store import open_store

async def main(folder):
    async with open_store(folder, serving=True) as store:
        number = await store.begin_usage("s1", "web", "panel")
        await store.add_usage(number, 60, 1000, 10)
        print("serves", flush=True)
        await trio.sleep_forever()

trio.run(main, Path(sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@contextmanager
def children(program: str, *arguments: tuple[object, ...]) -> Iterator[list[subprocess.Popen[str]]]:
    """One for each tuple, at the same time; killed at the end."""
    started = [
        subprocess.Popen([sys.executable, "-c", program, *map(str, given)], stdout=subprocess.PIPE, text=True)
        for given in arguments
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


async def test_nothing_is_lost_between_writers(folder: Path) -> None:
    """Processes add devices, and a server counts usage as long as they do."""
    writers, times = 3, 0
    async with open_store(folder, serving=True) as store:
        number = await store.begin_usage("s1", "web")
        with children(ADD_DEVICES, *((folder, f"writer-{writer}", EACH) for writer in range(writers))) as started:
            while None in [process.poll() for process in started]:
                await store.add_usage(number, 1, 2, 3)
                times += 1
        assert [process.returncode for process in started] == [0] * writers
        # What another process did is seen at once.
        found = {row.name for row in await store.devices()}
        assert found == {f"writer-{writer}-{at}" for writer in range(writers) for at in range(EACH)}
        [row] = await store.usage()
        assert (row.seconds, row.bytes_down, row.bytes_up) == (times, 2 * times, 3 * times)


@pytest.mark.parametrize("version", [None, *range(1, LATEST)])
async def test_the_first_ones_come_at_once(folder: Path, version: int | None) -> None:
    """Each finds no file, or one to migrate: it is made or migrated once."""
    if version is not None:
        write(folder, version)
    with children(ADD_DEVICES, *((folder, f"first-{number}", 1) for number in range(4))) as started:
        codes = [await trio.to_thread.run_sync(process.wait, 60) for process in started]
    assert codes == [0] * 4
    async with open_store(folder) as store:
        assert {f"first-{number}-0" for number in range(4)} <= {row.name for row in await store.devices()}
    assert version_of(folder / "state.db") == LATEST


async def test_a_killed_server_loses_nothing_that_was_written(folder: Path) -> None:
    with children(SERVER, (folder,)) as (process,):
        assert process.stdout is not None
        assert await trio.to_thread.run_sync(process.stdout.readline) == "serves\n"
        # There is one server of a state, and any number of commands.
        with pytest.raises(StoreError, match=rf"^another server runs with the state folder {folder}$"):
            async with open_store(folder, serving=True):
                pass
        async with open_store(folder) as store:
            [row] = await store.usage()
            assert (row.seconds, row.ended_s) == (60, None)
        process.kill()
        await trio.to_thread.run_sync(process.wait)
    async with open_store(folder, serving=True) as store:
        [row] = await store.usage()
        assert (row.seconds, row.bytes_down, row.device) == (60, 1000, "panel")
        assert row.ended_s == row.seen_s
        assert row.reason == "the server ended without a word"


async def test_a_writer_that_does_not_let_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    async with open_store(folder) as store:
        await store.add_device("panel")
        with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match=r"^another process has held .*state\.db for more than 0\.05 s$"):
                await store.add_device("late")
            assert await store.key_of("panel") is not None
        await store.add_device("late")


def test_the_lock_does_not_outlive_its_process(folder: Path) -> None:
    """Nor do programs that a server starts inherit it, or the database."""
    program = (
        "import subprocess, sys, trio\n"
        "from pathlib import Path\n"
        "from tilewire.server.store import open_store\n"
        "async def main(folder):\n"
        "    async with open_store(folder, serving=True) as store:\n"
        "        await store.add_token('', 'viewer', 60)\n"
        "        subprocess.run(['ls', '-l', '/proc/self/fd'], close_fds=False)\n"
        "trio.run(main, Path(sys.argv[1]))\n"
    )
    for _ in range(2):
        listed = in_child(program, folder)
        assert "/proc/" in listed
        assert str(folder) not in listed
