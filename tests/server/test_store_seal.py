"""Devices' keys at rest: in clear in a file of ours alone, or encrypted with a secret that lies elsewhere."""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tilewire.server.store import StoreError, open_store
from tilewire.server.store.seal import SEALED_SIZE, Seal, WrongSeal

from tests.server.test_store import every_byte, names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def written(path: Path, content: bytes | None = None, mode: int = 0o600) -> Path:
    path.write_bytes(secrets.token_bytes(32) if content is None else content)
    path.chmod(mode)
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return written(tmp_path / "secret")


async def test_a_copied_state_is_worth_nothing_without_the_secret(folder: Path, secret: Path) -> None:
    async with open_store(folder, secret=secret) as store:
        keys = [await store.add_device("panel"), await store.rotate_device("panel"), await store.add_device("other")]
        assert [await store.key_of("panel"), await store.key_of("other")] == keys[1:]
        found = every_byte(folder)
    found += every_byte(folder)
    assert [key for key in (*keys, every_byte(secret)) if key in found] == []
    with pytest.raises(StoreError, match=r"state\.db are encrypted: the secret for them was not given$"):
        async with open_store(folder):
            pass
    with pytest.raises(StoreError, match=r"are encrypted with another secret$"):
        async with open_store(folder, secret=written(secret.with_name("another"))):
            pass
    async with open_store(folder, secret=secret) as store:
        assert await store.key_of("panel") == keys[1]


async def test_keys_in_clear_are_encrypted_once_there_is_a_secret(folder: Path, secret: Path) -> None:
    async with open_store(folder) as store:
        names = [f"panel-{number}" for number in range(50)]
        keys = [await store.add_device(name) for name in names]
        assert all(key in every_byte(folder) for key in keys)
        # Open all the while, as a server's is when somebody gives the secret to the command alone.
        async with open_store(folder, secret=secret) as sealed:
            assert [await sealed.key_of(name) for name in names] == keys
            found = every_byte(folder)
            assert [key for key in keys if key in found] == []
        for call in (store.key_of("panel-1"), store.add_device("late"), store.rotate_device("panel-1")):
            with pytest.raises(StoreError, match="was not given"):
                await call
        # All else needs no key.
        assert len(await store.devices()) == 50
    async with open_store(folder, secret=secret) as sealed:
        assert [await sealed.key_of(name) for name in names] == keys


async def test_a_sealed_key_belongs_to_its_name(folder: Path, secret: Path) -> None:
    """Who may write the file, but does not have the secret, makes no key of his own and gives nobody another's."""
    async with open_store(folder, secret=secret) as store:
        for name in ("rich", "poor", "mine"):
            await store.add_device(name)
    with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as connection:
        connection.execute("UPDATE devices SET key = (SELECT key FROM devices WHERE name = 'poor') WHERE name = 'rich'")
        connection.execute("UPDATE devices SET key = ? WHERE name = 'mine'", (bytes(32),))
    async with open_store(folder, secret=secret) as store:
        for name in ("rich", "mine"):
            with pytest.raises(StoreError, match=rf"^the key of {name} in .* was not put there by this server: rotate"):
                await store.key_of(name)
        assert len(await store.key_of("poor") or b"") == 32
        key = await store.rotate_device("rich")
        assert await store.key_of("rich") == key


def test_what_is_sealed_opens_with_everything_right_alone() -> None:
    seal, key = Seal(bytes(32)), bytes(range(32))
    sealed = seal.close(key, "panel")
    assert len(sealed) == SEALED_SIZE
    assert seal.open(sealed, "panel") == key
    assert seal.close(key, "panel") != sealed
    for bit in range(8 * len(sealed)):
        broken = bytearray(sealed)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WrongSeal):
            seal.open(bytes(broken), "panel")
    for length in range(len(sealed)):
        with pytest.raises(WrongSeal):
            seal.open(sealed[:length], "panel")
    for other, name in ((seal, "Panel"), (seal, ""), (Seal(b"\1" + bytes(31)), "panel")):
        with pytest.raises(WrongSeal):
            other.open(sealed, name)
    seal.check(seal.mark())
    with pytest.raises(WrongSeal):
        seal.check(sealed)
    with pytest.raises(ValueError, match="32 bytes"):
        Seal(bytes(31))


@pytest.mark.parametrize("size", [0, 31, 33, 64, 100_000])
async def test_a_secret_of_another_length(folder: Path, tmp_path: Path, size: int) -> None:
    path = written(tmp_path / "secret", bytes(size))
    with pytest.raises(StoreError, match=r"does not have 32 bytes: head -c 32 /dev/urandom makes one$"):
        async with open_store(folder, secret=path):
            pass
    assert "state" not in names(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
async def test_a_secret_for_others_to_read(folder: Path, tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "secret", mode=mode)
    with pytest.raises(StoreError, match=rf"^{path} holds a secret and may be read by others: chmod 600 {path}$"):
        async with open_store(folder, secret=path):
            pass


async def test_a_secret_that_is_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be read: No such file or directory$"):
        async with open_store(folder, secret=tmp_path / "none"):
            pass
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(StoreError, match=r" is not a file$"):
            async with open_store(folder, secret=path):
                pass
