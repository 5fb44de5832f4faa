"""The file of device keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilewire.server.errors import ServerError
from tilewire.server.keys import read_keys

KEY = "00112233445566778899aabbccddeeff" * 2
DIGITS = "64 hex digits"


def written(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_ids_keys_comments_and_empty_lines(tmp_path: Path) -> None:
    path = written(tmp_path, f"# the lab\n\nboard-1 {KEY}\r\n  böard\t{KEY.upper()}  \n   # more\n")
    assert read_keys(path) == {"board-1": bytes.fromhex(KEY), "böard": bytes.fromhex(KEY)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "{path} holds no key"),
        ("# nothing\n\n", "{path} holds no key"),
        ("board\n", f"{{path}}, line 1: a device id and {DIGITS} belong here"),
        (f"my board {KEY}\n", f"{{path}}, line 1: a device id and {DIGITS} belong here"),
        (f"ok {KEY}\nboard {KEY[:-1]}\n", f"{{path}}, line 2: the key of board is not {DIGITS}"),
        (f"board {KEY}00\n", f"{{path}}, line 1: the key of board is not {DIGITS}"),
        (f"board {KEY[:-1]}g\n", f"{{path}}, line 1: the key of board is not {DIGITS}"),
        (f"{'x' * 65} {KEY}\n", "{path}, line 1: a device id has 1 to 64 bytes"),
        (f"{'ö' * 33} {KEY}\n", "{path}, line 1: a device id has 1 to 64 bytes"),
        (f"board {KEY}\nboard {KEY}\n", "{path}, line 2: board has a key already"),
        (b"board \xff\n", "the key file {path} is not UTF-8 text"),
    ],
)
def test_a_file_that_is_not_as_it_should_be(tmp_path: Path, text: str | bytes, problem: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ServerError) as caught:
        read_keys(path)
    assert str(caught.value) == problem.format(path=path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_for_others_to_read(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, f"board {KEY}\n", mode)
    with pytest.raises(ServerError, match="may be read by others: chmod 600"):
        read_keys(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"^the key file .* cannot be read: No such file or directory$"):
        read_keys(tmp_path / "none")


def test_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    with pytest.raises(ServerError, match=r"^the key file .* cannot be read: Is a directory$"):
        read_keys(folder)
