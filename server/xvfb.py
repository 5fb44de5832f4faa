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
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import trio

from tilewire.server.program import in_thread
from tilewire.server.x11.errors import DisplayError
from tilewire.server.x11.numbers import clear_display, reserved_number, socket_path
from tilewire.server.x11.process import GRACE_S, Child, ending, start_child

# Seen: 35 ms.
_START_LIMIT_S = 10.0
_TAIL_LINES = 3
# Somebody may take a number between our look and Xvfb's start, but not again and again.
_NUMBERS_TRIED = 10
_CANNOT_LISTEN = "Cannot establish any listening sockets"

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
async def start_xvfb(
    width: int,
    height: int,
    *,
    density: int | None = None,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    born: Callable[[int], None] | None = None,
    grace_s: float = GRACE_S,
    log: logging.Logger | None = None,
) -> AsyncIterator[XvfbServer]:
    """Run an Xvfb with one 24-bit screen inside the block; RandR can make it smaller, and so large again.

    No TCP, no autorepeat (devices send their own), no reset when the last client leaves; access for this
    user, and for whoever has the cookie. `density`: dots per inch, which programs learn; None: X's own 96, and programs
    are not told. `env`: its variables; None: ours. `folder`: where its own is made, with cookie and messages. `born` is
    told its process id as soon as there is one. `grace_s`: before it is killed. Raises DisplayError when it is missing
    or does not start.
    """
    if shutil.which("Xvfb") is None:
        raise DisplayError("Xvfb is not installed (Debian: apt install xvfb)")
    start = _Start(width, height, density, env, folder, born, grace_s, log or logging.getLogger(__name__))
    tried: set[int] = set()
    async with AsyncExitStack() as life:
        while True:
            try:
                server = await life.enter_async_context(_running(start, tried))
            except _NumberTaken as problem:
                tried.add(problem.number)
                if len(tried) == _NUMBERS_TRIED:
                    raise
                start.log.info("display :%d: somebody took it before Xvfb did; another is tried", problem.number)
            else:
                break
        yield server


class _NumberTaken(DisplayError):
    """Xvfb cannot listen on this number."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number


@dataclass(frozen=True, slots=True)
class _Start:
    """What `start_xvfb` was asked for."""

    width: int
    height: int
    density: int | None
    env: Mapping[str, str] | None
    folder: Path | None
    born: Callable[[int], None] | None
    grace_s: float
    log: logging.Logger


@asynccontextmanager
async def _running(start: _Start, tried: Collection[int]) -> AsyncIterator[XvfbServer]:
    """An Xvfb inside the block, with none of the numbers `tried`. Raises DisplayError."""
    with tempfile.TemporaryDirectory(prefix="tilewire-xvfb-", dir=start.folder) as own:
        xauthority, messages = Path(own, "Xauthority"), Path(own, "stderr")
        cookie = secrets.token_bytes(_COOKIE_BYTES)
        _write_authority(xauthority, cookie)
        number_end, xvfb_end = os.pipe()
        async with trio.lowlevel.FdStream(number_end) as numbers:
            with ExitStack() as reservation, ExitStack() as parents_copies:
                parents_copies.callback(os.close, xvfb_end)
                stderr = parents_copies.enter_context(_created(messages))
                # Others can make the search long.
                search = partial(reservation.enter_context, reserved_number(tried))
                number = await trio.to_thread.run_sync(search)
                # -r: no autorepeat.
                command = [
                    *("Xvfb", f":{number}", "-displayfd", str(xvfb_end)),
                    *("-screen", "0", f"{start.width}x{start.height}x24"),
                    *("-noreset", "-nolisten", "tcp", "-r", "-auth", str(xauthority)),
                ]
                if start.density is not None:
                    command += ["-dpi", str(start.density)]
                child = start_child(command, env=start.env, stderr=stderr, pass_fds=(xvfb_end,), grace_s=start.grace_s)
                async with child as process:
                    name: str | None = None
                    try:
                        if start.born is not None:
                            start.born(process.pid)
                        parents_copies.close()
                        try:
                            with trio.fail_after(_START_LIMIT_S):
                                name = await _display_name(number, numbers, process, messages)
                                await _prepare(name, cookie, start.density)
                        except trio.TooSlowError:
                            raise DisplayError(f"Xvfb did not start within {_START_LIMIT_S:g} s") from None
                        start.log.debug(
                            "Xvfb of display %s: %dx%d, process %d", name, start.width, start.height, process.pid
                        )
                        yield XvfbServer(name, xauthority, process)
                    finally:
                        await process.end(start.grace_s)
                        # Unless it was killed it has done that itself.
                        if name is not None and socket_path(name).exists():
                            with trio.CancelScope(shield=True):
                                await in_thread(partial(clear_display, name))


async def _display_name(number: int, numbers: trio.abc.ReceiveStream, process: Child, messages: Path) -> str:
    """Read the number that Xvfb writes once it accepts connections. Raises DisplayError."""
    text = b""
    async for part in numbers:
        text += part
        if text.endswith(b"\n"):
            return f":{int(text)}"
    status = await process.wait()
    said = _read(messages)
    tail = " ".join(said.split("\n")[-_TAIL_LINES:]).strip()
    sentence = f"Xvfb did not start: it {ending(status)}" + (f": {tail}" if tail else "")
    if _CANNOT_LISTEN in said:
        raise _NumberTaken(sentence, number)
    raise DisplayError(sentence)


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


def _read(path: Path) -> str:
    return path.read_text(errors="replace")


def _address(name: str) -> str:
    path = socket_path(name)
    # Where nobody may create the folder, X servers listen in the abstract namespace only.
    return str(path) if path.exists() else f"\0{path}"


def _counted(field: bytes) -> bytes:
    return struct.pack(">H", len(field)) + field


# As the X11 protocol's specification has them: major opcodes, predefined atoms, modes.
_CHANGE_PROPERTY, _CHANGE_HOSTS, _GET_INPUT_FOCUS, _GET_ATTRIBUTES = 18, 109, 43, 3
_RESOURCE_MANAGER, _STRING = 23, 31
_SUBSTRUCTURE_REDIRECT = 1 << 20
_ERROR, _REPLY = 0, 1
_SETUP_HEAD, _SETUP_FIXED, _FORMAT_BYTES = 8, 32, 8
_MANAGED_POLL_S = 0.01


@asynccontextmanager
async def _connection(name: str, cookie: bytes = b"") -> AsyncIterator[tuple[trio.SocketStream, int]]:
    """A bare connection, and the root window. Raises OSError and trio.BrokenResourceError."""
    protocol = _COOKIE_NAME if cookie else b""
    order = ord("l" if sys.byteorder == "little" else "B")
    setup = struct.pack("=BxHHHHxx", order, 11, 0, len(protocol), len(cookie))
    async with await trio.open_unix_socket(_address(name)) as stream:
        await stream.send_all(setup + _padded(protocol) + _padded(cookie))
        accepted, words = struct.unpack("=B5xH", await _receive(stream, _SETUP_HEAD))
        answer = await _receive(stream, words * 4)
        if accepted != 1:
            raise trio.BrokenResourceError("it does not let its own user in")
        vendor_bytes, formats = struct.unpack_from("=16xH3xB", answer)
        (root,) = struct.unpack_from(
            "=I", answer, _SETUP_FIXED + vendor_bytes + -vendor_bytes % 4 + formats * _FORMAT_BYTES
        )
        yield stream, root


async def _prepare(name: str, cookie: bytes, density: int | None) -> None:
    """Let every process of this user connect without the cookie, by the kernel's word for who they are.

    For our own connections: libxcb and python-xlib find a cookie by the environment only, which all threads
    share and C code reads without a lock. The cookie file is this user's, so nobody is let in who could not
    read it.

    And tell programs the density: toolkits look for Xft.dpi, not for the screen's millimetres.
    """
    user = b"localuser\0#%d" % os.geteuid()
    requests = struct.pack("=BBHBxH", _CHANGE_HOSTS, 0, 2 + len(_padded(user)) // 4, 5, len(user)) + _padded(user)
    try:
        async with _connection(name, cookie) as (stream, root):
            if density is not None:
                text = b"Xft.dpi:\t%d\n" % density
                head = struct.pack(
                    "=BBHIIIB3xI",
                    *(_CHANGE_PROPERTY, 0, 6 + len(_padded(text)) // 4, root),
                    *(_RESOURCE_MANAGER, _STRING, 8, len(text)),
                )
                requests += head + _padded(text)
            await stream.send_all(requests + struct.pack("=BxH", _GET_INPUT_FOCUS, 1))
            # The answer to the last; an error would be about one before.
            answer = await _receive(stream, 32)
    except (OSError, trio.BrokenResourceError) as problem:
        raise DisplayError(f"Xvfb of display {name} takes no connection: {problem}") from None
    if answer[0] != _REPLY:
        raise DisplayError(f"Xvfb of display {name} does not let its own user in")


async def wait_managed(name: str) -> None:
    """Return once a window manager has asked for the root window's redirection, which is what makes it one.

    Nothing tells of that, so it is asked a hundred times a second. Raises DisplayError.
    """
    try:
        async with _connection(name) as (stream, root):
            while True:
                await stream.send_all(struct.pack("=BxHI", _GET_ATTRIBUTES, 2, root))
                answer = await _receive(stream, 44)
                (all_masks,) = struct.unpack_from("=I", answer, 32)
                if all_masks & _SUBSTRUCTURE_REDIRECT:
                    return
                await trio.sleep(_MANAGED_POLL_S)
    except (OSError, trio.BrokenResourceError) as problem:
        raise DisplayError(f"Xvfb of display {name} takes no connection: {problem}") from None


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
