"""The QEMU device on a link that passes nothing for a while, in two network namespaces, to a real server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.lowlevel

from tilewire.protocol import Code, PixelFormat
from tilewire.protocol.constants import PING_INTERVAL_S, PING_MISSES
from tilewire.simulator.machine import Event, Machine, Plan, find_qemu, open_machine
from tilewire.simulator.picture import to_rgb
from tilewire.simulator.screen import Screen
from tilewire.simulator.shaper import Link, Shaped, open_shaped

from tests.firmware.machine import FIRMWARE, WITHIN_S
from tests.firmware.terminal import Terminal, expected_of, terminal
from tests.support import quiet

NOTICED_MS = (PING_MISSES + 1) * PING_INTERVAL_S * 1000
CONNECT_MS = 10_000
"""TW_LWIP_CONNECT_MS; NetX Duo needs some more to let go of a socket."""
TICKS_MS = 2_000
"""The port looks once a second."""
LOSES_ALL = 100.0


@pytest.fixture(scope="module")
def xterm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with terminal(tmp_path_factory.mktemp("xterm")) as one:
        yield one


@asynccontextmanager
async def device_on_a_link(server: Terminal, **plan: Any) -> AsyncIterator[tuple[Machine, Shaped]]:
    async with open_shaped(Link(), ("127.0.0.1", server.port), device=True) as link:
        end = link.device
        assert end is not None
        host, port = link.server
        config = {"server": f"{host}:{port}", "panel": "threadx-512", "ip": f"{end.address}/{end.prefix_bits} {host}"}
        async with open_machine(Plan(config=config, firmware=FIRMWARE, qemu=find_qemu(), link=end, **plan)) as machine:
            yield machine, link


async def is_exact(machine: Machine, server: Terminal) -> None:
    """Return once the LCD shows the server's screen, as far as 565 goes."""
    width, height = await machine.size()
    with trio.fail_after(WITHIN_S):
        while True:
            expected = await expected_of(machine.events, server)
            shown = await machine.screen()
            if shown.differing(Screen(width, height, to_rgb(expected, PixelFormat.RGB565))) == 0:
                return
            await quiet(0.05)


async def lost_bytes(link: Shaped) -> int:
    """Of the device's frames."""
    return (await link.counters()).up.lost.bytes


def is_up(machine: Machine) -> bool:
    """Whether it has a connection, as far as it told."""
    return next(
        (event["event"] == "welcome" for event in reversed(machine.events) if event["event"] in ("welcome", "lost")),
        False,
    )


async def until(machine: Machine, name: str, since: int) -> Event:
    return await machine.until(name, since=since, timeout_s=WITHIN_S)


async def test_a_link_that_comes_back_soon(xterm: Terminal) -> None:
    """TCP makes up for it: nothing is lost of what is typed meanwhile, and nobody connects again."""
    async with device_on_a_link(xterm) as (machine, link):
        await until(machine, "picture", 0)
        await machine.tell("pointer 100 100 0")
        await is_exact(machine, xterm)
        mark = secrets.token_hex(100)
        await link.change(loss_percent=LOSES_ALL)
        lost = await lost_bytes(link)
        await machine.tell(f"text {mark}")
        with trio.fail_after(WITHIN_S):
            while await lost_bytes(link) < lost + len(mark):
                await quiet(0.01)
        assert not xterm.typed.read_bytes().endswith(mark.encode())
        await link.change(loss_percent=0)
        with trio.fail_after(WITHIN_S):
            while not xterm.typed.read_bytes().endswith(mark.encode()):
                await quiet(0.02)
        await is_exact(machine, xterm)
        stats = await machine.stats()
        assert (stats["connections"], stats["attempts"]) == (1, 1)
        assert machine.find("lost") is None
        await machine.stop()


async def cut_while_up(machine: Machine, link: Shaped) -> tuple[int, int]:
    """Make the link lose everything while the device has a connection; the events until then, the device's time."""
    with trio.fail_after(WITHIN_S):
        while True:
            since = len(machine.events)
            await machine.wait_for(lambda: is_up(machine))
            await link.change(loss_percent=LOSES_ALL)
            while (down := (await link.counters()).down).air.frames + down.queued.frames:
                await quiet(0.001)
            stats = await machine.stats()
            # By a clock that waits for nobody it may have given up a slow server just before.
            if is_up(machine) and machine.find("lost", since) is None:
                return len(machine.events), stats["ms"]
            await link.change(loss_percent=0)


async def test_a_link_that_stays_away(xterm: Terminal) -> None:
    """The device notices by its own pings, says so, and goes on trying; when the link is back, so is the picture.

    Its clock counts instructions and waits for nobody: a minute of silence takes less than a second, and the bounds
    hold on any machine.
    """
    async with device_on_a_link(xterm, mips=1000, sleep=False) as (machine, link):
        await until(machine, "picture", 0)
        since, cut_ms = await cut_while_up(machine, link)
        lost = await until(machine, "lost", since)
        # On ThreadX, TCP itself has given up by then.
        assert lost["code"] in (Code.TIMEOUT, Code.CLOSED)
        assert lost["ms"] - cut_ms <= NOTICED_MS + TICKS_MS
        said = f"device: the connection is over: {lost['text']}; again in "
        assert await machine.wait_for(lambda: any(line.startswith(said) for line in machine.log), WITHIN_S)
        # Each attempt is given up in its time, and said to be.
        for _ in range(3):
            began = await until(machine, "connecting", since)
            since = machine.events.index(began)
            lost = await until(machine, "lost", since)
            assert lost["ms"] - began["ms"] <= 2 * CONNECT_MS
            since = machine.events.index(lost)
        assert machine.find("welcome", since) is None
        await link.change(loss_percent=0)
        await until(machine, "welcome", since)
        await is_exact(machine, xterm)
        await machine.stop()
