"""The figures of the QEMU device: its start, a page that scrolls, a character that is typed.

    python -m bench qemu [--quick] [--json] [--only boot,scroll,type,link]

The server is a process of its own (`tilewire run`) with a real program at 1024x600; the device is the firmware in QEMU,
at the other end of QEMU's user network. Times are read from the device's clock. Rows (bench/out/qemu.json):

- boot: without icount. `picture_ms` is from the firmware's first instruction to the first whole picture, of xterm;
  `host_ms` from the start of QEMU, by the host's clock. Medians.
- scroll: at 250 MIPS. A page of Python's documentation in Chromium, smoothly, by five notches of the wheel a second.
- type: at 125 MIPS. Keys of the keyboard, four a second, into xterm. `shown_ms` is from the moment the client takes the
  key to the end of the update that shows it; `at_most_ms`: if all that the device fell behind fell into these moments.
- link: as scroll and type, both at 250 MIPS, over links between two network namespaces. The server is inside the far
  one, so it is its kernel's TCP that meets the link. `picture_ms` is of xterm. `used_%` of the rate is TCP's payload
  while the page scrolled; `dropped_%` of the frames to the device were lost or found the queue full, its first picture
  included.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.simulator.command import first_of, nearest_rank
from tilewire.simulator.machine import Event, Machine, Plan, find_firmware, find_qemu, open_machine
from tilewire.simulator.runner import HOST, since
from tilewire.simulator.runner_exits import RunError
from tilewire.simulator.shaper import DeviceEnd, Link, Shaped, ShaperError, open_shaped

from bench.report import Row, marked, table, write
from bench.scenes import FOLDER, read_scene
from bench.stage import StageError, program_words
from tools.served import Served, ServedError, served

SIZE: Final = (1024, 600)
PARTS: Final = ("boot", "scroll", "type", "link")
LINKS: Final = (
    Link(kbit_s=10_000, rtt_ms=20),
    Link(kbit_s=2_000, rtt_ms=60),
    Link(kbit_s=1_000, rtt_ms=100),
    Link(kbit_s=1_000, rtt_ms=100, loss_percent=1),
)
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


@dataclass(frozen=True, slots=True)
class Where:
    """How the device reaches the server."""

    host: str
    port: int
    end: DeviceEnd | None = None
    """Of a link; None: QEMU's user network."""


def _near(server: Served) -> Where:
    return Where(HOST, int(server.address.rpartition(":")[2]))


def _far(server: Served, shaped: Shaped) -> Where:
    host, _, port = server.address.rpartition(":")
    return Where(host, int(port), shaped.device)


def _plan(where: Where, mips: int | None) -> Plan:
    config: dict[str, object] = {"panel": "threadx-512", "mips": mips or 0, "reconnect": "no"}
    config["server"] = f"{where.host}:{where.port}"
    if where.end is not None:
        config["ip"] = f"{where.end.address}/{where.end.prefix_bits} {where.host}"
    return Plan(config=config, firmware=find_firmware(), qemu=find_qemu(), mips=mips, link=where.end)


async def _settled(machine: Machine) -> None:
    """The first picture is there, and nothing has changed for QUIET_S."""
    await machine.until("picture", timeout_s=PICTURE_S)
    before, since_s, until_s = b"", trio.current_time(), trio.current_time() + PICTURE_S
    while trio.current_time() < min(since_s + QUIET_S, until_s):
        seen = (await machine.screen(still=False)).rgb
        if seen != before:
            before, since_s = seen, trio.current_time()
        await machine.wait_for(lambda: False, LOOK_S)


async def _boot(where: Where) -> tuple[float, float]:
    async with open_machine(_plan(where, None)) as machine:
        picture = await machine.until("picture", timeout_s=PICTURE_S)
        return picture["ms"], machine.first_s["picture"] * 1000


async def boot(where: Where, times: int) -> Row:
    """Median of some starts."""
    pairs = [await _boot(where) for _ in range(times)]
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


async def scroll(where: Where, notches: int) -> dict[str, Any]:
    """Updates a second of a page that scrolls all the time."""
    async with open_machine(_plan(where, SCROLL_MIPS)) as machine:
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


async def typing(where: Where, characters: int, mips: int = TYPE_MIPS) -> dict[str, Any]:
    """From a key to its character on the screen."""
    async with open_machine(_plan(where, mips)) as machine:
        picture = await machine.until("picture", timeout_s=PICTURE_S)
        await _settled(machine)
        await machine.tap(500, 300)
        await machine.wait_for(lambda: False, QUIET_S)

        async def act() -> None:
            for number in range(characters):
                await machine.type("tilewire "[number % 9])
                await trio.sleep(0.25)

        seen, _ = await _timed(machine, mips, act)
        shown = seen["interval_input_to_picture_ms"]
        return {
            "what": "type",
            "mips": mips,
            "picture_ms": picture["ms"],
            "shown_ms": round(statistics.median(shown), 1) if shown else None,
            "shown_p95_ms": round(nearest_rank(shown, 0.95), 1) if shown else None,
            "shown": len(shown),
            "at_most_ms": round(statistics.median(shown) + seen["behind_ms"] / len(shown), 1) if shown else None,
            "behind_ms": seen["behind_ms"],
        }


def measure(parts: Sequence[str], quick: bool, folder: Path) -> list[Row]:
    """Raises RunError, ServedError, ShaperError and StageError, also in groups."""
    rows: list[Row] = []
    if "boot" in parts or "type" in parts:
        with served([*_words("127.0.0.1"), *XTERM], folder / "xterm.log") as server:
            if "boot" in parts:
                say("boot")
                rows.append(trio.run(boot, _near(server), 3 if quick else 9))
            if "type" in parts:
                say("type")
                rows.append(trio.run(typing, _near(server), 8 if quick else 40))
    if "scroll" in parts:
        say("scroll")
        with served([*_words("127.0.0.1"), *_page(folder)], folder / "chromium.log") as server:
            trio.run(_first_content, _near(server))
            rows.append(trio.run(scroll, _near(server), 10 if quick else 50))
    if "link" in parts:
        for link in LINKS[-1:] if quick else LINKS:
            say(f"a link of {link}")
            rows.append(trio.run(over, link, folder, quick))
    return rows


def _words(host: str) -> list[str]:
    # --insecure: nobody else is in the far namespace.
    return ["run", "--listen", f"{host}:0", "--insecure", "--size", f"{SIZE[0]}x{SIZE[1]}", "--"]


def _page(folder: Path) -> list[str]:
    page = Path(tempfile.mkdtemp(prefix="page-", dir=folder))
    return program_words(read_scene(FOLDER / "docs-scroll.toml"), page)


async def over(link: Link, folder: Path, quick: bool) -> Row:
    """Both programs at the far end of a link, one after the other. Raises RunError, ServedError and ShaperError."""
    async with open_shaped(link, device=True) as shaped:
        words, prefix = _words(shaped.far.address), shaped.far.prefix
        with served([*words, *XTERM], folder / "far-xterm.log", prefix=prefix) as server:
            typed = await typing(_far(server, shaped), 8 if quick else 40, SCROLL_MIPS)
        with served([*words, *_page(folder)], folder / "far-chromium.log", prefix=prefix) as server:
            where = _far(server, shaped)
            await _first_content(where)
            before = (await shaped.counters()).down
            scrolled = await scroll(where, 10 if quick else 50)
            after = (await shaped.counters()).down
    assert link.kbit_s is not None
    offered = after.offered.frames - before.offered.frames
    dropped = (after.lost + after.queue_full).frames - (before.lost + before.queue_full).frames
    bytes_per_s = scrolled["KiB_per_update"] * 1024 * scrolled["updates_per_s"]
    return {
        "what": "link",
        "kbit_s": link.kbit_s,
        "rtt_ms": link.rtt_ms,
        "loss_%": link.loss_percent,
        "picture_ms": typed["picture_ms"],
        "shown_ms": typed["shown_ms"],
        "shown_p95_ms": typed["shown_p95_ms"],
        "updates_per_s": scrolled["updates_per_s"],
        "KiB_per_update": scrolled["KiB_per_update"],
        "used_%": round(bytes_per_s * 8 / link.kbit_s / 10, 1),
        "dropped_%": round(100 * dropped / max(offered, 1), 2),
        "behind_ms": round(typed["behind_ms"] + scrolled["behind_ms"], 1),
    }


async def _first_content(where: Where) -> None:
    """Chromium has drawn its page: without this, a slow start would be measured."""
    async with open_machine(_plan(where, None)) as machine:
        await _settled(machine)
        with trio.fail_after(PICTURE_S):
            while len(set((await machine.screen()).rgb[::3])) < 20:
                await machine.wait_for(lambda: False, LOOK_S)
        await _settled(machine)
        # Over a link the server would not notice that it is gone, and control would stay with it.
        await machine.tell("stop")
        await machine.exited()


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
    except* (RunError, ServedError, ShaperError, StageError) as group:
        failure = first_of(group)
    if failure is not None:
        say(str(failure))
        return 1
    if arguments.json:
        print(json.dumps(rows))
    else:
        for what in PARTS:
            if alike := [row for row in rows if row["what"] == what]:
                print(table(alike))
        print("\n".join(verdicts(rows)))
    say(f"rows in {write('qemu', rows)}")
    return 0
