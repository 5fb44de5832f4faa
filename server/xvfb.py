"""Xvfb, the X server without a screen: started, let in, and ended whatever happens."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import trio

from tilewire.server.x11.errors import DisplayError
from tilewire.server.x11.numbers import reserved_number, socket_path
from tilewire.server.x11.process import Child, ending, start_child

# Seen: 35 ms.
_START_LIMIT_S = 10.0
_TAIL_LINES = 3

_COOKIE_NAME = b"MIT-MAGIC-COOKIE-1"
_COOKIE_BYTES = 16
# Xauth.h: one family for Unix sockets by host name, one that fits every address.
_FAMILY_LOCAL, _FAMILY_WILD = 256, 65535


@dataclass(frozen=True, slots=True)
class XvfbServer:
    """A running Xvfb. `xauthority` is for programs of other users; this user's are let in without it."""

    display_name: str
    xauthority: Path
    process: Child

    async def wait_died(self) -> str:
        """Return, once it has ended by itself, the sentence for it."""
        return f"Xvfb of display {self.display_name} {ending(await self.process.wait())}"


@asynccontextmanager
async def start_xvfb(width: int, height: int, *, log: logging.Logger | None = None) -> AsyncIterator[XvfbServer]:
    """Run an Xvfb with one 24-bit screen inside the block; RandR can make it smaller, and so large again.

    No TCP, no autorepeat (devices send their own), no reset when the last client leaves; access for this
    user, and for whoever has the cookie. Raises DisplayError when it is missing or does not start.
    """
    log = log or logging.getLogger(__name__)
    if shutil.which("Xvfb") is None:
        raise DisplayError("Xvfb is not installed (Debian: apt install xvfb)")
    with tempfile.TemporaryDirectory(prefix="tilewire-xvfb-") as folder:
        xauthority, messages = Path(folder, "Xauthority"), Path(folder, "stderr")
        cookie = secrets.token_bytes(_COOKIE_BYTES)
        _write_authority(xauthority, cookie)
        number_end, xvfb_end = os.pipe()
        async with trio.lowlevel.FdStream(number_end) as numbers:
            with ExitStack() as parents_copies, reserved_number() as number:
                parents_copies.callback(os.close, xvfb_end)
                stderr = parents_copies.enter_context(_created(messages))
                # -r: no autorepeat.
                command = [
                    *("Xvfb", f":{number}", "-displayfd", str(xvfb_end), "-screen", "0", f"{width}x{height}x24"),
                    *("-noreset", "-nolisten", "tcp", "-r", "-auth", str(xauthority)),
                ]
                async with start_child(command, stderr=stderr, pass_fds=(xvfb_end,)) as process:
                    parents_copies.close()
                    try:
                        with trio.fail_after(_START_LIMIT_S):
                            name = await _display_name(numbers, process, messages)
                            await _let_this_user_in(name, cookie)
                    except trio.TooSlowError:
                        raise DisplayError(f"Xvfb did not start within {_START_LIMIT_S:g} s") from None
                    log.debug("Xvfb of display %s: %dx%d, process %d", name, width, height, process.pid)
                    yield XvfbServer(name, xauthority, process)


async def _display_name(numbers: trio.abc.ReceiveStream, process: Child, messages: Path) -> str:
    """Read the number that Xvfb writes once it accepts connections."""
    text = b""
    async for part in numbers:
        text += part
        if text.endswith(b"\n"):
            return f":{int(text)}"
    status = await process.wait()
    tail = _tail(messages)
    raise DisplayError(f"Xvfb did not start: it {ending(status)}" + (f": {tail}" if tail else ""))


# Files of a few hundred bytes in a temporary folder: not worth a worker thread each.


def _write_authority(path: Path, cookie: bytes) -> None:
    """Write an Xauthority file in which every display of this host has this cookie (Xauth.h; big-endian)."""
    # The folder is this user's alone (mkdtemp: mode 0700).
    path.write_bytes(
        b"".join(
            struct.pack(">H", family) + b"".join(map(_counted, (address, b"", _COOKIE_NAME, cookie)))
            # libXau takes the first; python-xlib knows no wild entries.
            for family, address in ((_FAMILY_WILD, b""), (_FAMILY_LOCAL, socket.gethostname().encode()))
        )
    )


def _created(path: Path) -> IO[bytes]:
    return path.open("wb")


def _tail(path: Path) -> str:
    return " ".join(path.read_text(errors="replace").split("\n")[-_TAIL_LINES:]).strip()


def _address(name: str) -> str:
    path = socket_path(int(name[1:]))
    # Where nobody may create the folder, X servers listen in the abstract namespace only.
    return str(path) if path.exists() else f"\0{path}"


def _counted(field: bytes) -> bytes:
    return struct.pack(">H", len(field)) + field


async def _let_this_user_in(name: str, cookie: bytes) -> None:
    """Let every process of this user connect without the cookie, by the kernel's word for who they are.

    For our own connections: libxcb and python-xlib find a cookie by the environment only, which all threads
    share and C code reads without a lock. The cookie file is this user's, so nobody is let in who could not
    read it.
    """
    user = b"localuser\0#%d" % os.geteuid()
    setup = struct.pack(
        "=BxHHHHxx", ord("l" if sys.byteorder == "little" else "B"), 11, 0, len(_COOKIE_NAME), len(cookie)
    )
    change_hosts = struct.pack("=BBHBxH", 109, 0, 2 + len(_padded(user)) // 4, 5, len(user)) + _padded(user)
    get_input_focus = struct.pack("=BxH", 43, 1)
    try:
        async with await trio.open_unix_socket(_address(name)) as stream:
            await stream.send_all(setup + _padded(_COOKIE_NAME) + _padded(cookie))
            accepted, words = struct.unpack("=B5xH", await _receive(stream, 8))
            await _receive(stream, words * 4)
            await stream.send_all(change_hosts + get_input_focus)
            # 1: the answer to the second; an error (0) would be about the first.
            answer = await _receive(stream, 32)
    except (OSError, trio.BrokenResourceError) as problem:
        raise DisplayError(f"Xvfb of display {name} takes no connection: {problem}") from None
    if accepted != 1 or answer[0] != 1:
        raise DisplayError(f"Xvfb of display {name} does not let its own user in")


def _padded(field: bytes) -> bytes:
    return field + bytes(-len(field) % 4)


async def _receive(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await stream.receive_some(size - len(data))
        if not part:
            raise trio.BrokenResourceError("it ended the connection")
        data += part
    return data
