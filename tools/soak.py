"""`make soak`: the QEMU device for long. Updates and lost lines by the thousand, and every counter back where it was.

python -m tools.soak --updates 20000 --reconnects 500
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from tilewire.simulator.command import first_of
from tilewire.simulator.machine import Event, Machine, Plan, find_firmware, find_qemu, open_machine
from tilewire.simulator.runner import HOST
from tilewire.simulator.runner_exits import RunError

from tools.served import ServedError, served

UPDATES: Final = 20_000
RECONNECTS: Final = 500
WITHIN_S: Final = 60.0
QUIET_S: Final = 0.15
LOOK_S: Final = 0.05
AGAIN_S: Final = 4.0
"""Without an update for so long, what was typed did not arrive."""
MOST_CHANGES: Final = 200
"""Asked for at once."""
STANDS_MS: Final = 50
SAY_S: Final = 30.0
# Answers each line that is typed with as many changes of the screen as it says.
PROGRAM: Final = (
    "stty -echo; while read count; do i=0; while [ $i -lt $count ]; do i=$((i+1)); printf '%s %s\\r' $count $i; "
    "sleep 0.01; done; done"
)
XTERM: Final = ("xterm", "-geometry", "60x12+0+0", "-bg", "white", "-fg", "black", "-e", "sh", "-c", PROGRAM)


class SoakError(Exception):
    """A plain sentence."""


def _kept(stats: Event) -> dict[str, object]:
    """What must be the same at the end."""
    return {
        "pools": {pool["name"]: (pool["used"], pool["err"]) for pool in stats["pools"]},
        "free": stats["memory"]["free"],
        "lost": stats["lost"],
        "frames lost": stats["frames"]["lost"],
        "frames refused": stats["frames"]["refused"],
    }


async def _resting(machine: Machine) -> Event:
    """Its statistics, once nothing comes any more."""
    last = await machine.stats()
    until_s = time.monotonic() + WITHIN_S
    while time.monotonic() < until_s:
        await machine.wait_for(lambda: False, QUIET_S)
        now = await machine.stats()
        same = all(now[key] == last[key] for key in ("updates", "bytes"))
        if same and {pool["name"]: pool["used"] for pool in now["pools"]} == {
            pool["name"]: pool["used"] for pool in last["pools"]
        }:
            return now
        last = now
    raise SoakError(f"the device does not come to rest in {WITHIN_S:g} s")


async def _work(machine: Machine, count: int) -> int:
    """About so many updates. How often it had to be asked for them again: a line that breaks takes keys along."""
    before = (await machine.stats())["updates"]
    until_s, again = time.monotonic() + WITHIN_S, -1
    while time.monotonic() < until_s:
        await machine.tap(20, 20)
        # What was typed before and lost its end is a line of its own.
        await machine.type(f"\n{count}\n" if again >= 0 else f"{count}\n")
        again += 1
        seen, seen_s = before, time.monotonic()
        while time.monotonic() < seen_s + AGAIN_S:
            now = (await machine.stats())["updates"]
            # Changes that come together are one update.
            if now >= before + max(count // 2, 1):
                return again
            if now != seen:
                seen, seen_s = now, time.monotonic()
            await machine.wait_for(lambda: False, LOOK_S)
    raise SoakError(
        f"{count} changes of the screen did not come in {WITHIN_S:g} s; the last event: {machine.events[-1]}"
    )


async def _break_line(machine: Machine) -> None:
    # A connection that stands no longer than the device waited for it makes the next wait longer.
    waited, welcome = machine.last("retry"), machine.last("welcome")
    assert welcome is not None
    while (await machine.stats())["ms"] - welcome["ms"] <= (waited["wait_ms"] if waited is not None else 0) + STANDS_MS:
        await machine.wait_for(lambda: False, LOOK_S)
    since = len(machine.events)
    await machine.tell("drop")
    await machine.until("picture", since=since, timeout_s=WITHIN_S)


async def _soak(port: int, updates: int, reconnects: int) -> int:
    config = {"server": f"{HOST}:{port}", "panel": "iot-256", "device_id": "soak", "cursor": "none"}
    async with open_machine(Plan(config=config, firmware=find_firmware(), qemu=find_qemu())) as machine:
        await machine.until("picture", timeout_s=WITHIN_S)
        # Once round before it counts: DHCP and ARP have settled, and each pool was used.
        await _work(machine, 6)
        await _break_line(machine)
        begun = await _resting(machine)
        done, again, said_s = 0, 0, time.monotonic()
        for number in range(1, reconnects + 2):
            # As many as make up what is wanted so far, then the line breaks, whatever is on it.
            wanted = updates * min(number, reconnects) // max(reconnects, 1)
            while done < wanted:
                again += await _work(machine, min(max(wanted - done, 2), MOST_CHANGES))
                done = (await machine.stats())["updates"] - begun["updates"]
            if number <= reconnects:
                await _break_line(machine)
            if time.monotonic() - said_s > SAY_S:
                said_s = time.monotonic()
                print(f"soak: {done} updates, {number} reconnects, typed again {again} times", flush=True)
        ended = await _resting(machine)
        if _kept(ended) != _kept(begun):
            raise SoakError(f"after {done} updates {_kept(ended)}, and before them {_kept(begun)}")
        came_back = ended["reconnects"] - begun["reconnects"]
        if came_back != reconnects:
            raise SoakError(f"the device came back {came_back} times, and {reconnects} lines were broken")
        await machine.stop()
        return int(ended["updates"] - begun["updates"])


async def soak(folder: Path, updates: int, reconnects: int) -> int:
    """Updates that were made. Raises SoakError, RunError and ServedError, also in groups."""
    words = ["run", "--listen", "127.0.0.1:0", "--size", "800x480", "--fps", "60", "--", *XTERM]
    with served(words, folder / "log") as server:
        return await _soak(int(server.address.rpartition(":")[2]), updates, reconnects)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--updates", type=int, default=UPDATES, metavar="N", help=f"({UPDATES})")
    parser.add_argument("--reconnects", type=int, default=RECONNECTS, metavar="N", help=f"({RECONNECTS})")
    arguments = parser.parse_args(argv)
    failure: BaseException | None = None
    began_s = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="tilewire-soak-") as folder:
            done = trio.run(soak, Path(folder), arguments.updates, arguments.reconnects)
        took_s = time.monotonic() - began_s
        print(f"soak: {done} updates and {arguments.reconnects} reconnects in {took_s:.0f} s, every counter as before")
    except* (SoakError, RunError, ServedError) as group:
        failure = first_of(group)
    if failure is not None:
        print(f"soak: {failure}", file=sys.stderr)
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(main())
