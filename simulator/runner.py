"""A QEMU device against a server, from its start to its report: what `tilewire-sim run` does."""

from __future__ import annotations

import ipaddress
import socket
import statistics
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.protocol import PANELS
from tilewire.protocol import messages as m
from tilewire.protocol.constants import CursorMode
from tilewire.simulator.command import CURSORS, nearest_rank
from tilewire.simulator.device import PARTS
from tilewire.simulator.exits import Exit
from tilewire.simulator.machine import Event, Machine, Plan, open_machine
from tilewire.simulator.recording import Recording
from tilewire.simulator.runner_exits import RunError, RunExit
from tilewire.simulator.script import Script
from tilewire.simulator.shaper import Counters, Link, Shaped, ShaperError, open_shaped

HOST: Final = "10.0.2.2"
"""127.0.0.1 of this machine, seen from QEMU's user network."""
LOOPBACK: Final = "127.0.0.1"
AFTER_S: Final = 1.0
"""How long to go on after the first picture where nothing says it."""
SILENCE_MS: Final = 5000
"""Who is there and wants nothing says so sooner; the firmware gives up after 10 s."""
BEHIND_MS: Final = 100
"""From here on the device is said to have fallen behind at its end."""
TAP_BYTES: Final = 65536
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: the end is an abort."""
CURSOR_NAMES: Final = {mode: name for name, mode in CURSORS.items()}
WITHOUT: Final = {"codec": ("model", 0), "cache": ("cache", 0), "jpeg": ("jpeg", "no"), "copy": ("copy", "no")}
"""Lines of the configuration for PARTS."""
assert set(WITHOUT) == set(PARTS)
KEY_CODES: Final = (m.Code.AUTH_FAILED, m.Code.AUTH_REQUIRED)
OVER: Final = "the connection is over: "
FORWARDER_NOTE: Final = (
    "the server is not at the link's far end but reached through a forwarder with small buffers there: its kernel's "
    "round-trip time and congestion window are those of loopback, not of the link"
)
TAP_NOTE: Final = (
    "the wire passes through this process: recorded, or because the device cannot reach the address itself"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What `tilewire-sim run` was told."""

    address: str
    """For people."""
    server: tuple[str, int]
    firmware: Path
    qemu: str
    panel: str
    mips: int | None = None
    memory_mib: int = 512
    net: str = "lan9118"
    link: Link | None = None
    script: Script | None = None
    seconds: float | None = None
    """After the first whole picture, or after the script; None: for ever, or AFTER_S where something is asked for."""
    finite: bool = False
    """Whether something is asked for."""
    connect_within_s: float = 30.0
    png: Path | None = None
    pcap: Path | None = None
    window: str | None = None
    recording: Recording | None = None
    key: bytes | None = None
    device_id: str = "tilewire-sim"
    cursor: CursorMode = CursorMode.NONE
    fit: bool = False
    rotate: int = 0
    without: frozenset[str] = frozenset()
    reconnect: bool = False


@dataclass(slots=True)
class Note:
    """What the device had measured at a moment."""

    name: str
    stats: Event


@dataclass(slots=True)
class Run:
    """A run, while it lasts and afterwards."""

    plan: RunPlan
    machine_: Machine | None = None
    shaped: Shaped | None = None
    notes: list[Note] = field(default_factory=list)
    counters: Counters | None = None
    failure: RunError | None = None
    tapped: bool = False
    behind_ms: float | None = None
    """How much less time passed for the device than for the host."""
    session: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Of what comes before the report; cancelled, the run ends early and reports."""
    closing: trio.CancelScope = field(default_factory=lambda: trio.CancelScope(shield=True))
    """Of the report; cancelled, it is made of what is known."""

    @property
    def machine(self) -> Machine:
        """Once it stands."""
        assert self.machine_ is not None
        return self.machine_

    async def change_link(self, changes: dict[str, float | None]) -> None:
        """Raises RunError."""
        if self.shaped is None:
            raise RunError("there is no shaped link: --link, --rtt or --loss makes one", RunExit.BAD_SCRIPT)
        try:
            await self.shaped.change(**changes)
        except ShaperError as error:
            raise RunError(str(error), RunExit.NO_LINK) from error

    async def note(self, name: str) -> None:
        """Keep what was measured until now. Raises RunError."""
        self.notes.append(Note(name, await self.machine.stats()))

    async def run(self) -> None:
        """From start to end; `failure` says how it ended. Raises RunError and ShaperError, alone or in groups."""
        plan = self.plan
        async with AsyncExitStack() as stack:
            server = await _reachable(plan.server)
            if plan.recording is not None or server is None:
                self.tapped = True
                tap = await stack.enter_async_context(open_tap(plan.server, plan.recording))
                server = (LOOPBACK, tap)
            if plan.link is not None:
                self.shaped = await stack.enter_async_context(open_shaped(plan.link, server, device=True))
                server = self.shaped.server
            elif server[0] == LOOPBACK:
                server = (HOST, server[1])
            async with open_machine(self._machine_plan(server)) as self.machine_:
                try:
                    with self.session:
                        await self._session()
                except RunError as error:
                    self.failure = self._refined(error)
                with self.closing:
                    await self._close()

    def _machine_plan(self, server: tuple[str, int]) -> Plan:
        plan = self.plan
        panel = PANELS[plan.panel]
        cursor = plan.cursor
        if cursor is CursorMode.LOCAL and (not panel.readable or "copy" in plan.without):
            cursor = CursorMode.IN_PICTURE
        config: dict[str, object] = {
            "server": f"{server[0]}:{server[1]}",
            "panel": plan.panel,
            "device_id": plan.device_id,
            "net": plan.net,
            "cursor": CURSOR_NAMES[cursor],
            "fit": "yes" if plan.fit else "no",
            "rotate": plan.rotate,
            "reconnect": "yes" if plan.reconnect or (plan.script is not None and plan.script.cuts) else "no",
            "mips": plan.mips or 0,
        }
        for part in sorted(plan.without):
            name, value = WITHOUT[part]
            config[name] = value
        if plan.key is not None:
            config["key"] = plan.key.hex()
        device = self.shaped.device if self.shaped is not None else None
        if device is not None:
            config["ip"] = f"{device.address}/{device.prefix_bits} {server[0]}"
        return Plan(
            config=config,
            firmware=plan.firmware,
            qemu=plan.qemu,
            memory_mib=plan.memory_mib,
            net=plan.net,
            link=device,
            mips=plan.mips,
            pcap=plan.pcap,
            window=plan.window,
        )

    async def _session(self) -> None:
        plan, machine = self.plan, self.machine
        if not await machine.wait_for(lambda: machine.find("picture"), plan.connect_within_s):
            how = "" if plan.link is None else f" over a link of {plan.link}"
            raise RunError(
                f"no picture from {plan.address} within {plan.connect_within_s:g} s{how}", RunExit.NO_CONNECTION
            )
        if plan.script is not None:
            await plan.script.play(self)
        seconds = plan.seconds
        if seconds is None and plan.finite:
            seconds = 0.0 if plan.script is not None else AFTER_S
        await machine.wait_for(lambda: False, seconds)

    async def _close(self) -> None:
        """What is left to be had of a machine that still runs."""
        machine = self.machine
        try:
            if machine.exit_status is None:
                await self.note("end")
                boot_s = machine.first_s.get("boot")
                if boot_s is not None:
                    host_ms = (trio.current_time() - machine.began_s - boot_s - machine.stood_still_s) * 1000
                    self.behind_ms = host_ms - self.notes[-1].stats["uptime_us"] / 1000
                if self.plan.png is not None:
                    (await machine.screen()).save_png(self.plan.png)
            if self.shaped is not None:
                self.counters = await self.shaped.counters()
            if machine.exit_status is None:
                await machine.stop()
        except RunError as error:
            # What ended the session is the cause, and what follows from it is not.
            self.failure = self.failure or self._refined(error)
        except ShaperError as error:
            self.failure = self.failure or RunError(str(error), RunExit.NO_LINK)
        except OSError as error:
            text = f"{error.filename} cannot be written: {error.strerror}"
            self.failure = self.failure or RunError(text, RunExit.FAILED)

    def _refined(self, error: RunError) -> RunError:
        """What the firmware ended with, as the user knows it."""
        text = str(error)
        if OVER not in text:
            return error
        before, _, why = text.partition(OVER)
        assert self.machine_ is not None
        lost, goodbye = self.machine_.last("lost"), self.machine_.last("goodbye")
        code = lost["code"] if lost is not None else 0
        address = self.plan.address
        words = f" ({goodbye['text']})" if goodbye is not None and goodbye["text"] else ""
        if code in KEY_CODES:
            has = "this device's key" if self.plan.key is not None else "a device without a key"
            return RunError(f"{before}{address} does not take {has}: {why}{words}", RunExit.WRONG_KEY)
        if error.code == Exit.LOST:
            never = self.machine_.find("welcome") is None
            began = self.machine_.last("connecting")
            if never and lost is not None and began is not None and lost["ms"] - began["ms"] >= SILENCE_MS:
                over = "" if self.plan.link is None else f" over a link of {self.plan.link}"
                took_s = (lost["ms"] - began["ms"]) / 1000
                return RunError(f"{before}no answer from {address} in {took_s:.0f} s{over}", RunExit.NO_CONNECTION)
            what = f"no connection to {address}" if never else f"the server at {address} is gone"
            return RunError(f"{before}{what}: {why}{words}", Exit.LOST)
        if error.code == Exit.GARBAGE:
            return RunError(f"{before}what {address} sent is not tilewire: {why}{words}", Exit.GARBAGE)
        if error.code == Exit.ENDED:
            return RunError(f"{before}{address} ended the session: {why}{words}", Exit.ENDED)
        return RunError(f"{before}{address} refused this device: {why}{words}", error.code)

    # The report.

    def report(self) -> dict[str, object]:
        """What `--json` prints. Times are the device's own where nothing else is said."""
        plan, machine = self.plan, self.machine_
        result: dict[str, object] = {
            "address": plan.address,
            "panel": plan.panel,
            "net": plan.net,
            "memory_mib": plan.memory_mib,
            "mips": plan.mips,
            "exit": {
                "code": self.failure.code if self.failure is not None else 0,
                "text": str(self.failure) if self.failure is not None else None,
            },
        }
        if machine is None:
            return result
        picture = machine.find("picture")
        result["clock"] = {
            "mode": machine.plan.clock,
            "fell_behind": machine.late.least_s > 0 or (self.behind_ms or 0) > BEHIND_MS,
            "behind_ms": None if self.behind_ms is None else round(self.behind_ms, 3),
            "qemu_warnings": machine.late.warnings,
            "qemu_late_s": machine.late.least_s,
        }
        result["boot_to_picture_ms"] = picture["ms"] if picture is not None else None
        result["host_start_to_picture_ms"] = (
            round(machine.first_s["picture"] * 1000, 3) if "picture" in machine.first_s else None
        )
        result["link"] = self._link_report()
        last = self.notes[-1].stats if self.notes else machine.newest_stats
        if last is not None:
            result |= measured(last, picture["ms"] if picture is not None else None)
            result["memory"] = memory(last)
            result["lost"] = last["lost"] | {"frames": last["frames"]["lost"]}
        result["stats"] = self._intervals()
        return result

    def _intervals(self) -> list[dict[str, object]]:
        """What the script's `stats` steps measured, each since the one before."""
        found = []
        before: Event | None = None
        for note in self.notes[:-1] if self.notes and self.notes[-1].name == "end" else self.notes:
            one = {"name": note.name, "ms": note.stats["ms"]} | measured(note.stats, None)
            if before is not None:
                one |= since(before, note.stats, self.plan.mips)
            one["memory"] = memory(note.stats)
            found.append(one)
            before = note.stats
        return found

    def _link_report(self) -> dict[str, object] | None:
        if self.plan.link is None:
            return {"note": TAP_NOTE} if self.tapped else None
        result: dict[str, object] = {"asked": asdict(self.plan.link), "note": FORWARDER_NOTE}
        if self.shaped is not None and self.shaped.link != self.plan.link:
            result["asked_last"] = asdict(self.shaped.link)
        if self.counters is not None:
            result["counted"] = asdict(self.counters)
        return result


def measured(stats: Event, since_ms: float | None) -> dict[str, Any]:
    """Of the device's statistics; `since_ms`: updates are counted a second from there on."""
    shown = stats["input_to_picture_us"]
    values = [value / 1000 for value in shown["values"]]
    updates = stats["updates"]
    lasted_s = stats["uptime_us"] / 1e6 - (since_ms or 0) / 1000
    result: dict[str, Any] = {
        "updates": updates,
        "bytes": stats["bytes"],
        "pixels": stats["pixels"],
        "instructions_per_pixel": stats["instructions_per_pixel"],
        "decode_us": stats["decode_us"] | {"mean": round(stats["decode_us"]["sum"] / updates, 1) if updates else None},
        "input_to_picture_ms": None
        if not shown["count"]
        else {
            "count": shown["count"],
            "last": shown["last"] / 1000,
            "mean": shown["mean"] / 1000,
            "max": shown["max"] / 1000,
            # Of the newest 64.
            "p50": round(statistics.median(values), 3),
            "p95": round(nearest_rank(values, 0.95), 3),
        },
        "connections": stats["connections"],
        "reconnects": stats["reconnects"],
        "frames": stats["frames"],
    }
    if since_ms is not None and lasted_s > 0:
        result["updates_per_s"] = round(max(updates - 1, 0) / lasted_s, 2)
    return result


def since(before: Event, after: Event, mips: int | None) -> dict[str, object]:
    """What happened between two statistics of one device."""
    lasted_s = (after["uptime_us"] - before["uptime_us"]) / 1e6
    updates, pixels = after["updates"] - before["updates"], after["pixels"] - before["pixels"]
    decode_us = after["decode_us"]["sum"] - before["decode_us"]["sum"]
    inputs = after["input_to_picture_us"]["count"] - before["input_to_picture_us"]["count"]
    newest = after["input_to_picture_us"]["values"][-inputs:] if inputs else []
    return {
        "interval_s": round(lasted_s, 3),
        "interval_updates": updates,
        "updates_per_s": round(updates / lasted_s, 2) if lasted_s > 0 else None,
        "interval_bytes": after["bytes"]["received"] - before["bytes"]["received"],
        "interval_instructions_per_pixel": round(decode_us * mips / pixels, 2) if mips and pixels else None,
        "interval_decode_us_mean": round(decode_us / updates, 1) if updates else None,
        "interval_input_to_picture_ms": [value / 1000 for value in newest],
    }


def memory(stats: Event) -> dict[str, object]:
    """High-water marks: bytes of stacks and buffers, and how many of each pool were ever in use at once."""
    return {
        "stacks": {stack["name"]: {"used": stack["used"], "size": stack["size"]} for stack in stats["stacks"]},
        "pools": {
            pool["name"]: {"now": pool["used"], "most": pool["max"], "size": pool["avail"], "refused": pool["err"]}
            for pool in stats.get("pools", ())
        },
        "buffers": stats["memory"],
    }


# The way to the server.


async def _reachable(server: tuple[str, int]) -> tuple[str, int] | None:
    """Where a machine of IPv4 finds it; None: only this process does. Raises RunError.

    A name of both loopbacks, as localhost is, may mean a server on [::1] alone.
    """
    host, port = server
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise RunError(f"the name {host!r} leads nowhere: {error.strerror}", RunExit.NO_CONNECTION) from error
    if any(family is socket.AF_INET6 and address[0] == "::1" for family, _, _, _, address in found):
        return None
    for family, _, _, _, address in found:
        if family is socket.AF_INET:
            at = ipaddress.ip_address(address[0])
            return None if at.is_loopback and str(at) != LOOPBACK else (str(at), port)
    return None


@asynccontextmanager
async def open_tap(server: tuple[str, int], recording: Recording | None) -> AsyncIterator[int]:
    """A port of 127.0.0.1 that leads to the server inside the block; what passes is recorded."""
    tap = _Tap(server, recording)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, tap.carry, listeners)
        yield port
        nursery.cancel_scope.cancel()


class _Tap:
    def __init__(self, server: tuple[str, int], recording: Recording | None) -> None:
        self._server = server
        self._recording = recording
        self._current: trio.CancelScope | None = None

    async def carry(self, device: trio.SocketStream) -> None:
        """One connection; the device has one at a time, and a newer one ends an older one."""
        if self._current is not None:
            self._current.cancel()
        device.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with trio.CancelScope() as self._current:
            try:
                server = await trio.open_tcp_stream(*self._server)
            except OSError:
                _reset(device)
                await trio.aclose_forcefully(device)
                return
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._recording is not None:
                self._recording.connected()
            async with device, server, trio.open_nursery() as nursery:
                nursery.start_soon(self._up, device, server, nursery.cancel_scope)
                nursery.start_soon(self._down, device, server, nursery.cancel_scope)

    async def _up(self, device: trio.SocketStream, server: trio.SocketStream, line: trio.CancelScope) -> None:
        try:
            while data := bytes(await device.receive_some(TAP_BYTES)):
                if self._recording is not None:
                    self._recording.sent(data)
                    data += self._recording.inject()
                await server.send_all(data)
            await server.send_eof()
        except trio.BrokenResourceError:
            self._break(device, server, line)

    async def _down(self, device: trio.SocketStream, server: trio.SocketStream, line: trio.CancelScope) -> None:
        try:
            while data := bytes(await server.receive_some(TAP_BYTES)):
                if self._recording is not None:
                    self._recording.received(data)
                await device.send_all(data)
            await device.send_eof()
        except trio.BrokenResourceError:
            self._break(device, server, line)

    def _break(self, device: trio.SocketStream, server: trio.SocketStream, line: trio.CancelScope) -> None:
        for end in (device, server):
            _reset(end)
        line.cancel()


def _reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def state_of(machine: Machine | None) -> str:
    """In a word, for people."""
    if machine is None:
        return "starting"
    states: Mapping[str, str] = {
        "boot": "booting",
        "address": "on the network",
        "connecting": "connecting",
        "welcome": "connected",
        "picture": "showing",
        "retry": "waiting to reconnect",
        "stopped": "stopped",
    }
    return next((states[event["event"]] for event in reversed(machine.events) if event["event"] in states), "booting")
