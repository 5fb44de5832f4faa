"""Whose display number it is."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tilewire.server.display import DisplayError
from tilewire.server.x11 import numbers
from tilewire.server.x11.numbers import is_taken, reserved_number
from tilewire.server.xvfb import start_xvfb


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Numbers of our own: no X server of this machine has any of them."""
    sockets, folder = tmp_path / "sockets", tmp_path / "locks"
    sockets.mkdir()
    folder.mkdir()
    monkeypatch.setattr(numbers, "SOCKETS", sockets)
    monkeypatch.setattr(numbers, "_LOCKS", folder)
    return folder


def test_each_has_its_own_and_gives_it_back(locks: Path) -> None:
    with reserved_number() as one, reserved_number() as two:
        assert one < two
        assert (locks / f".X{one}-lock").read_text() == f"{os.getpid():10}\n"
        assert sorted(os.listdir(locks)) == sorted([f".X{one}-lock", f".X{two}-lock"])
    assert os.listdir(locks) == []


def test_a_lock_holds_as_long_as_its_maker_lives(locks: Path) -> None:
    with reserved_number() as lowest:
        pass
    lock = locks / f".X{lowest}-lock"
    program = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        lock.write_text(f"{program.pid:10}\n")
        with reserved_number() as other:
            assert other > lowest
    finally:
        program.communicate()
    with reserved_number() as again:
        assert again == lowest
    assert not lock.exists()


@pytest.mark.parametrize("text", ["", "X", "1" * 40, "0", "-1"])
def test_a_lock_that_says_nothing_is_left_alone(locks: Path, text: str) -> None:
    with reserved_number() as lowest:
        pass
    lock = locks / f".X{lowest}-lock"
    lock.write_text(text)
    with reserved_number() as other:
        assert other > lowest
    assert lock.read_text() == text


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_what_is_no_file_is_left_alone(locks: Path, tmp_path: Path, kind: str) -> None:
    with reserved_number() as lowest:
        pass
    lock = locks / f".X{lowest}-lock"
    dead = tmp_path / "dead"
    dead.write_text(f"{2**22 + 1:10}\n")
    if kind == "fifo":
        os.mkfifo(lock)
    elif kind == "link":
        lock.symlink_to(dead)
    else:
        lock.mkdir()
    with reserved_number() as other:
        assert other > lowest
    assert lock.lstat()


def test_a_process_of_another_user_has_not_made_it(locks: Path) -> None:
    with reserved_number() as lowest:
        pass
    lock = locks / f".X{lowest}-lock"
    lock.write_text(f"{os.getpid():10}\n")
    os.chown(lock, 600_001, 600_001)
    with reserved_number() as again:
        assert again == lowest


def test_no_lock_can_be_made(locks: Path) -> None:
    locks.rmdir()
    with pytest.raises(DisplayError, match=r"^no display number can be reserved: .*No such file"):
        reserved_number().__enter__()


def test_a_socket_of_another_network_namespace_is_left_alone(locks: Path) -> None:
    """Only its file is seen: the abstract name beside it belongs to a network namespace."""
    with reserved_number() as lowest:
        assert not is_taken(lowest)
    path = numbers.socket_path(f":{lowest}")
    with ExitStack() as stack:
        other, *waiting = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4))
        other.bind(str(path))
        other.listen(0)
        # Connections that nobody accepts fill its queue: it is there all the same.
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(str(path))
        assert is_taken(lowest)
        with reserved_number() as number:
            assert number > lowest
    # What a killed X server left is in nobody's way.
    assert path.exists()
    with reserved_number() as number:
        assert number == lowest


def test_an_abstract_socket_without_a_file_is_seen(locks: Path) -> None:
    with reserved_number() as lowest:
        pass
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0{numbers.socket_path(f':{lowest}')}")
        other.listen(1)
        with reserved_number() as number:
            assert number > lowest


@pytest.mark.parametrize("kind", ["folder", "file", "link", "abstract"])
def test_a_place_that_is_taken_without_an_x_server(locks: Path, kind: str) -> None:
    """Anybody may take one, and Xvfb cannot have it then."""
    with reserved_number() as lowest:
        pass
    path = numbers.socket_path(f":{lowest}")
    with socket.socket(socket.AF_UNIX) as other:
        if kind == "abstract":
            # It does not listen.
            other.bind(f"\0{path}")
        elif kind == "folder":
            path.mkdir()
        elif kind == "file":
            path.touch()
        else:
            path.symlink_to("nowhere")
        with reserved_number() as number:
            assert number > lowest
        assert os.listdir(locks) == []


def test_a_long_row_of_locks_is_jumped_over(locks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = 5000
    for number in range(row):
        (locks / f".X{number}-lock").touch()
    looked: list[int] = []

    def seen(number: int) -> bool:
        looked.append(number)
        return is_taken(number)

    monkeypatch.setattr(numbers, "is_taken", seen)
    with reserved_number() as number:
        assert number >= row
    # One of twelve is taken: a hundred in turn, and that many more would be one in 10 ** 100.
    assert len(looked) < 200


async def test_xvfb_runs_under_a_lock() -> None:
    async with start_xvfb(320, 200) as xvfb:
        number = int(xvfb.display_name[1:])
        with Path(f"/tmp/.X{number}-lock").open() as lock:  # noqa: ASYNC230 - eleven bytes
            assert lock.read() == f"{os.getpid():10}\n"
            assert stat.S_IMODE(os.fstat(lock.fileno()).st_mode) == 0o444
        assert is_taken(number)
