"""A link that stands: its two ends, its relay, and what may be asked of it."""

from __future__ import annotations

import array
import os
import signal
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.simulator.shaper.counters import LANE, Counters
from tilewire.simulator.shaper.forward import Forwarder
from tilewire.simulator.shaper.link import SETTING, Link, ShaperError

FAR_ADDRESS: Final = "192.0.2.1"
NEAR_ADDRESS: Final = "192.0.2.2"
PREFIX_BITS: Final = 24
"""Of a network for documentation (RFC 5737): a namespace reaches nothing else, so two links may have the same."""
INTERFACE: Final = "link0"
UP, DOWN = 0, 1
SET, COUNT, SOCKET = 1, 2, 3
"""`enum relay_order`."""
REQUEST: Final = struct.Struct("=II")
"""`struct relay_request`, before the setting."""
NO_SETTING: Final = bytes(SETTING.size)
ANSWER_BYTES: Final = 2 * LANE.size
MOST_FDS: Final = 3
START_S: Final = 10.0
ANSWER_S: Final = 10.0
END_S: Final = 10.0
DEVICE_BUFFER: Final = 1 << 18
"""Frames that a device has not taken yet, with the kernel's own bytes around them: about 110."""


def program() -> Path:
    """The relay's program. Raises ShaperError."""
    path = Path(str(resources.files("tilewire.simulator.shaper") / "link-shaper"))
    if not path.exists():
        raise ShaperError("the link shaper was not built: it needs Linux; make setup builds it")
    return path


@dataclass(frozen=True, slots=True)
class Place:
    """One end of the link: a network namespace, with nothing in it but loopback and the link."""

    name: str
    """near or far."""
    address: str
    interface: str
    prefix: tuple[str, ...]
    """Goes before a command that is to run in there; valid for children of this process while the link stands.

    Whatever still runs in there when the link ends is killed.
    """
    _shaped: Shaped

    async def tcp_socket(self) -> socket.socket:
        """A new socket that lives in there, whichever process uses it. Raises ShaperError."""
        return await self._shaped.socket_in(self.name)


@dataclass(frozen=True, slots=True)
class DeviceEnd:
    """The near end as a virtual machine's network card: a socket of datagrams, each an Ethernet frame."""

    fd: int
    """For one machine at a time, to be inherited: `pass_fds`."""
    address: str
    """That the machine must have, with `prefix_bits`; it needs no gateway, and is asked and answered by ARP."""
    prefix_bits: int

    def netdev(self, name: str) -> str:
        """For QEMU's -netdev."""
        return f"dgram,id={name},local.type=fd,local.str={self.fd}"


class Shaped:
    """Made by `open_shaped`."""

    def __init__(self, link: Link, control: trio.socket.SocketType, relay: trio.Process) -> None:
        self.link = link
        """As it was asked for last."""
        self.far: Place
        self.near: Place | None = None
        """None where a device takes its place."""
        self.device: DeviceEnd | None = None
        self.forwarder: Forwarder | None = None
        """What stands at the far end, where the server does not."""
        self.relay_pid = relay.pid
        self._control = control
        self._relay = relay
        self._asking = trio.Lock()
        self._answers, self._answered = trio.open_memory_channel[tuple[bytes, list[int]]](0)
        self.failure: str | None = None

    @property
    def server(self) -> tuple[str, int]:
        """Address and port of the forwarder, for whoever is near."""
        assert self.forwarder is not None
        return FAR_ADDRESS, self.forwarder.port

    async def counters(self) -> Counters:
        """Of this moment. Raises ShaperError."""
        data, _ = await self._ask(COUNT)
        return Counters.unpack(data)

    async def change(self, **changes: Any) -> Link:
        """Make it another link, by fields of Link (not its seed). Returns what it was, for `restore`.

        What is on its way keeps what it met. Raises ShaperError.
        """
        if "seed" in changes:
            raise ShaperError("the seed of a link that stands cannot be changed")
        before = self.link
        await self.restore(replace(before, **changes))
        return before

    async def restore(self, link: Link) -> None:
        """Make it what it was. Raises ShaperError."""
        for lane in (UP, DOWN):
            await self._ask(SET, lane, link.setting())
        self.link = link

    async def socket_in(self, place: str) -> socket.socket:
        """A TCP socket in near or far. Raises ShaperError."""
        _, fds = await self._ask(SOCKET, 0 if place == "near" else 1)
        if not fds:
            raise ShaperError(f"no socket can be made at the {place} end")
        return socket.socket(fileno=fds[0])

    async def _ask(self, order: int, which: int = 0, setting: bytes = NO_SETTING) -> tuple[bytes, list[int]]:
        async with self._asking:
            # An order without its answer would leave the answer to the next one.
            with trio.CancelScope(shield=True), trio.move_on_after(ANSWER_S):
                try:
                    await self._control.send(REQUEST.pack(order, which) + setting)
                    return await self._answered.receive()
                except (OSError, trio.EndOfChannel) as error:
                    raise ShaperError("the link has ended") from error
            self._relay.kill()
            raise ShaperError(f"the relay of the link does not answer in {ANSWER_S:g} s")

    async def listen(self) -> None:
        """Pass on what the relay answers, until it ends."""
        with self._answers:
            while True:
                data, fds = await _receive(self._control)
                if not data:
                    break
                await self._answers.send((data, fds))
        code = await self._relay.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self.failure = f"the relay of the link has ended by itself ({how})"


async def _receive(control: trio.socket.SocketType) -> tuple[bytes, list[int]]:
    """One message with its descriptors; empty: the other end is closed."""
    try:
        data, aside, _, _ = await control.recvmsg(ANSWER_BYTES, socket.CMSG_SPACE(MOST_FDS * array.array("i").itemsize))
    except ConnectionResetError:
        return b"", []
    fds = array.array("i")
    for level, kind, content in aside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


async def _begin(
    stack: ExitStack, seed: int, device: socket.socket | None
) -> tuple[trio.socket.SocketType, trio.Process, list[int]]:
    """Start the relay. Returns the control socket, the process and its namespaces. Raises ShaperError."""
    path = program()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control = stack.enter_context(trio.socket.from_stdlib_socket(ours))
    command = [str(path), "relay", str(theirs.fileno()), str(seed)]
    passed = [theirs.fileno()]
    if device is not None:
        command.append(str(device.fileno()))
        passed.append(device.fileno())
    with theirs:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=passed,
            cwd="/",
            start_new_session=True,  # ctrl-C is for us to hear: the relay ends when we do
        )
    data = b""
    try:
        with trio.move_on_after(START_S) as waited:
            data, fds = await _receive(control)
            for fd in fds:
                stack.callback(os.close, fd)
            if data == b"+":
                return control, process, fds
    finally:
        if data != b"+":
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    if data:
        raise ShaperError(data[1:].decode())
    if waited.cancelled_caught:
        raise ShaperError(f"the relay of the link does not start in {START_S:g} s")
    raise ShaperError(f"the relay of the link did not start (exit code {process.returncode})")


async def _end(control: trio.socket.SocketType, relay: trio.Process, places: Sequence[int]) -> None:
    """Returns when the relay and all that lived at the ends are gone."""
    control.close()
    with trio.move_on_after(END_S):
        await relay.wait()
    if relay.returncode is None:
        relay.kill()
        await relay.wait()
    if relay.returncode != 0:
        # It was to sweep behind itself.
        await trio.run_process([str(program()), "sweep", *_paths(places)], check=False)


def _paths(fds: Sequence[int]) -> list[str]:
    """Names of our descriptors that our children can open."""
    return [f"/proc/{os.getpid()}/fd/{fd}" for fd in fds]


@asynccontextmanager
async def open_shaped(
    link: Link, server: tuple[str, int] | None = None, *, device: bool = False
) -> AsyncIterator[Shaped]:
    """A link that stands inside the block, and nothing of it afterwards, however this process ends.

    `server`: whoever is near reaches this host and port of ours at `Shaped.server`, by a forwarder at the far end;
    None: what is to be reached is started at the far end. `device`: the near end is a virtual machine.
    Raises ShaperError: no link can be made here, or it broke.
    """
    with ExitStack() as stack:
        end = None
        relay_end = None
        if device:
            relay_end, device_end = (
                stack.enter_context(one) for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            )
            relay_end.setblocking(False)
            relay_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DEVICE_BUFFER)
            end = DeviceEnd(device_end.fileno(), NEAR_ADDRESS, PREFIX_BITS)
        control, relay, namespaces = await _begin(stack, link.seed, relay_end)
        places = namespaces[-1:] if device else namespaces[-2:]
        try:
            shaped = Shaped(link, control, relay)
            user = _paths(namespaces[:1])[0] if len(namespaces) > len(places) else "-"
            ends = [
                Place(name, address, INTERFACE, (str(program()), "enter", user, path), shaped)
                for name, address, path in zip(
                    ("far", "near"), (FAR_ADDRESS, NEAR_ADDRESS), _paths(places), strict=False
                )
            ]
            shaped.far = ends[0]
            shaped.near = None if device else ends[1]
            shaped.device = end
            async with trio.open_nursery() as nursery:

                async def watch() -> None:
                    await shaped.listen()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(watch)
                await shaped.restore(link)
                if server is not None:
                    shaped.forwarder = await nursery.start(partial(Forwarder.run, shaped.far, server, link))
                yield shaped
                nursery.cancel_scope.cancel()
            if shaped.failure is not None:
                raise ShaperError(shaped.failure)
        finally:
            with trio.CancelScope(shield=True):
                await _end(control, relay, places)
