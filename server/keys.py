"""The file of device keys: a device id and 64 hex digits a line."""

from __future__ import annotations

import stat
from pathlib import Path

from tilewire.protocol.constants import KEY_SIZE
from tilewire.server.errors import ServerError


def read_keys(path: Path) -> dict[str, bytes]:
    """Device ids and their keys. Empty lines and lines that begin with # are comments.

    Raises ServerError, naming the line, for a file that others may read or that is not as it should be.
    """
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ServerError(f"{path} holds keys and may be read by others: chmod 600 {path}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ServerError(f"the key file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ServerError(f"the key file {path} is not UTF-8 text") from error
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2:
            raise ServerError(f"{path}, line {number}: a device id and {2 * KEY_SIZE} hex digits belong here")
        device, digits = words
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            key = b""
        if len(key) != KEY_SIZE:
            raise ServerError(f"{path}, line {number}: the key of {device} is not {2 * KEY_SIZE} hex digits")
        if not 1 <= len(device.encode()) <= 64:
            raise ServerError(f"{path}, line {number}: a device id has 1 to 64 bytes")
        if device in keys:
            raise ServerError(f"{path}, line {number}: {device} has a key already")
        keys[device] = key
    if not keys:
        raise ServerError(f"{path} holds no key")
    return keys
