"""The figures of the QEMU device: its start, a page that scrolls, a character that is typed.

    python -m bench qemu [--quick] [--json] [--only boot,scroll,type]

The server is a process of its own (`tilewire run`) with a real program at 1024x600; the device is the firmware in QEMU,
at the other end of QEMU's user network. Times are read from the device's clock. Rows (bench/out/qemu.json):

- boot: without icount. `picture_ms` is from the firmware's first instruction to the first whole picture, of xterm;
  `host_ms` from the start of QEMU, by the host's clock. Medians.
- scroll: at 250 MIPS. A page of Python's documentation in Chromium, smoothly, by five notches of the wheel a second.
- type: at 125 MIPS. Keys of the keyboard, four a second, into xterm. `shown_ms` is from the moment the client takes the
  key to the end of the update that shows it; `at_most_ms`: if all that the device fell behind fell into these moments.

`behind_ms`: how much less time passed for the device than for the host: where it grows, the host was too slow, and so
is the figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.simulator.command import first_of
from tilewire.simulator.machine import Event, Machine, Plan, find_firmware, find_qemu, open_machine
from tilewire.simulator.runner import HOST, since
from tilewire.simulator.runner_exits import RunError

from bench.report import Row, marked, table, write
from bench.scenes import FOLDER, read_scene
from bench.stage import StageError, program_words
from tools.served import ServedError, served

SIZE: Final = (1024, 600)
PARTS: Final = ("boot", "scroll", "type")
PICTURE_S: Final = 60.0
QUIET_S: Final = 1.0
LOOK_S: Final = 0.1
SCROLL_MIPS: Final = 250
TYPE_MIPS: Final = 125
MOST_BOOT_MS: Final = 1500
LEAST_UPDATES_S: Final = 20
MOST_TYPED_MS: Final = 60
XTERM: Final = ("xterm", "-geometry", "128x37+0+0", "-bg", "white", "-fg", "black", "-e", "stty raw; exec cat")


def say(text: str) -> None:
    """Progress, apart from the table."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _plan(port: int, mips: int | None) -> Plan:
    config = {"server": f"{HOST}:{port}", "panel": "threadx-512", "mips": mips or 0, "reconnect": "no"}
    return Plan(config=config, firmware=find_firmware(), qemu=find_qemu(), mips=mips)


async def _settled(machine: Machine) -> None:
    """The first picture is there, and nothing has changed for QUIET_S."""
    await machine.until("picture", timeout_s=PICTURE_S)
    before, since_s, until_s = b"", trio.current_time(), trio.current_time() + PICTURE_S
    while trio.current_time() < min(since_s + QUIET_S, until_s):
        seen = (await machine.screen(still=False)).rgb
        if seen != before:
            before, since_s = seen, trio.current_time()
        await machine.wait_for(lambda: False, LOOK_S)


async def _boot(port: int) -> tuple[float, float]:
    async with open_machine(_plan(port, None)) as machine:
        picture = await machine.until("picture", timeout_s=PICTURE_S)
        return picture["ms"], machine.first_s["picture"] * 1000


async def boot(port: int, times: int) -> Row:
    """Median of some starts."""
    pairs = [await _boot(port) for _ in range(times)]
    return {
        "what": "boot",
        "mips": None,
        "picture_ms": round(statistics.median(pair[0] for pair in pairs), 1),
        "host_ms": round(statistics.median(pair[1] for pair in pairs), 1),
        "starts": times,
    }


async def _timed(machine: Machine, mips: int, act: Any) -> tuple[dict[str, Any], Event]:
    """What happened while `act` ran, and how far the device fell behind in it."""
    stood_s, began_s = machine.stood_still_s, trio.current_time()
    before = await machine.stats()
    await act()
    after = await machine.stats()
    host_s = trio.current_time() - began_s - (machine.stood_still_s - stood_s)
    seen: dict[str, Any] = since(before, after, mips)
    seen["behind_ms"] = round(host_s * 1000 - (after["uptime_us"] - before["uptime_us"]) / 1000, 1)
    return seen, after


async def scroll(port: int, notches: int) -> Row:
    """Updates a second of a page that scrolls all the time."""
    async with open_machine(_plan(port, SCROLL_MIPS)) as machine:
        await _settled(machine)
        # Near the right edge no link comes under the pointer.
        await machine.pen(990, 300)

        async def act() -> None:
            for _ in range(notches):
                await machine.wheel(1)
                await trio.sleep(0.2)

        seen, _ = await _timed(machine, SCROLL_MIPS, act)
        return {
            "what": "scroll",
            "mips": SCROLL_MIPS,
            "updates_per_s": seen["updates_per_s"],
            "KiB_per_update": round(seen["interval_bytes"] / 1024 / max(seen["interval_updates"], 1), 2),
            "decode_ms": round((seen["interval_decode_us_mean"] or 0) / 1000, 2),
            "instructions_per_pixel": seen["interval_instructions_per_pixel"],
            "behind_ms": seen["behind_ms"],
        }


async def typing(port: int, characters: int) -> Row:
    """From a key to its character on the screen."""
    async with open_machine(_plan(port, TYPE_MIPS)) as machine:
        await _settled(machine)
        await machine.tap(500, 300)
        await machine.wait_for(lambda: False, QUIET_S)

        async def act() -> None:
            for number in range(characters):
                await machine.type("tilewire "[number % 9])
                await trio.sleep(0.25)

        seen, _ = await _timed(machine, TYPE_MIPS, act)
        shown = sorted(seen["interval_input_to_picture_ms"])
        return {
            "what": "type",
            "mips": TYPE_MIPS,
            "shown_ms": round(statistics.median(shown), 1) if shown else None,
            "shown_p95_ms": round(shown[min(int(0.95 * len(shown)), len(shown) - 1)], 1) if shown else None,
            "shown": len(shown),
            "at_most_ms": round(statistics.median(shown) + seen["behind_ms"] / len(shown), 1) if shown else None,
            "behind_ms": seen["behind_ms"],
        }


def measure(parts: Sequence[str], quick: bool, folder: Path) -> list[Row]:
    """Raises RunError, ServedError and StageError, also in groups."""
    rows: list[Row] = []
    words = ["run", "--listen", "127.0.0.1:0", "--size", f"{SIZE[0]}x{SIZE[1]}", "--"]
    if "boot" in parts or "type" in parts:
        with served([*words, *XTERM], folder / "xterm.log") as server:
            port = int(server.address.rpartition(":")[2])
            if "boot" in parts:
                say("boot")
                rows.append(trio.run(boot, port, 3 if quick else 9))
            if "type" in parts:
                say("type")
                rows.append(trio.run(typing, port, 8 if quick else 40))
    if "scroll" in parts:
        say("scroll")
        page = folder / "page"
        page.mkdir()
        command = program_words(read_scene(FOLDER / "docs-scroll.toml"), page)
        with served([*words, *command], folder / "chromium.log") as server:
            port = int(server.address.rpartition(":")[2])
            trio.run(_first_content, port)
            rows.append(trio.run(scroll, port, 10 if quick else 50))
    return rows


async def _first_content(port: int) -> None:
    """Chromium has drawn its page: without this, a slow start would be measured."""
    async with open_machine(_plan(port, None)) as machine:
        await _settled(machine)
        with trio.fail_after(PICTURE_S):
            while len(set((await machine.screen()).rgb[::3])) < 20:
                await machine.wait_for(lambda: False, LOOK_S)
        await _settled(machine)


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Beside what is aimed at."""
    found = {str(row["what"]): row for row in rows}
    said = []
    for name, column, sign, bound in (
        ("boot", "host_ms", "<=", MOST_BOOT_MS),
        ("scroll", "updates_per_s", ">=", LEAST_UPDATES_S),
        ("type", "at_most_ms", "<=", MOST_TYPED_MS),
    ):
        if name in found:
            value = found[name][column]
            good = isinstance(value, int | float) and (value <= bound if sign == "<=" else value >= bound)
            said.append(marked(f"{name}: {column} {value}, aimed at {sign} {bound}", good))
    return said


def main(argv: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench qemu", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, for a look")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help=f"some of {','.join(PARTS)}")
    arguments = parser.parse_args(argv)
    parts = arguments.only.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    failure: BaseException | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="tilewire-bench-", ignore_cleanup_errors=True) as folder:
            rows = measure(parts, arguments.quick, Path(folder))
    except* (RunError, ServedError, StageError) as group:
        failure = first_of(group)
    if failure is not None:
        say(str(failure))
        return 1
    if arguments.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(table([row]))
        print("\n".join(verdicts(rows)))
    say(f"rows in {write('qemu', rows)}")
    return 0
