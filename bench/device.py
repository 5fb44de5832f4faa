"""The figures of devices: coming back, the pointer, a window that moves over the session.

    python -m bench device [--quick] [--json] [--only reconnect,motion,pan]

The server is a process of its own (`tilewire run`) with a real program at 1024x600; devices are the C client in this
process, on loopback. Bytes are TCP payload from the server; round trips are counted by a relay that is late by 100 ms
in each direction (bench/relay.py says how).

Tables (bench/out/device.json has the rows of all):

- reconnect: `first` is all that a device gets until nothing comes any more, `again` what it gets when its line broke
  and nothing has changed meanwhile; `of_it_handshake` the server's hello, PROOF and WELCOME. `welcome_rt` and
  `picture_rt` are round trips until WELCOME and until the first END with the right picture, without that of TCP and
  with that of WebSocket. The panel of 320x240 asks for a place of its own in the session after its first WELCOME.
- scrolled: the page was scrolled while the device was away; `whole` is what a new device gets then.
- motion: 60 motions a second over a window that does not answer. `pixel_bytes` are those of drawing operations;
  `drawn_ms` is the time from a motion to the cursor on the device, on an idle link: for a local cursor that of the
  call, with Python's share; `echo_ms` until a BEGIN or INPUT_ECHO names the motion (INPUT_ECHO waits 50 ms for one).
- pan: VIEW 60 times a second from a panel of 320x240 in RGB565 with a model of 16 KiB, `step` pixels each. `picture_ms`
  is the time from VIEW to the END that shows the place; `by_copy_%` is of the pixels drawn; `lean_%` of the updates
  were a COPY and strips at the edges, nothing else; `edge_bits` are per pixel that came into sight. `decode_us` and
  `server_cpu_ms` (the server's process, without X and the program) are per update.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.protocol.constants import KEY_SIZE
from tilewire.simulator.device import Device, DeviceError, Setup, open_device
from tilewire.simulator.stream import StreamError

from bench import motions, panning, reconnect
from bench.report import Row, marked, table, write
from bench.scenes import FOLDER, read_scene
from bench.stage import StageError, program_words
from tools.served import Served, ServedError, served

SIZE: Final = (1024, 600)
PARTS: Final = ("reconnect", "motion", "pan")
DELAY_S: Final = 0.1
"""Of the relay, in each direction: longer than either end takes for anything here."""
START_S: Final = 30.0
QUIET_S: Final = 1.0
LISTING: Final = "cd /usr/share/doc/python3-doc/html && ls -la library | tail -n 36; exec sleep 1000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    parts: tuple[str, ...]
    quick: bool

    @property
    def programs(self) -> tuple[str, ...]:
        """By name."""
        return ("xterm",) if self.quick else ("docs", "xterm")

    @property
    def motions(self) -> int:
        """Of the pointer, for each mode."""
        return 60 if self.quick else 500

    @property
    def pan_s(self) -> float:
        """For each way."""
        return 0.5 if self.quick else 4.0


def say(text: str) -> None:
    """One line of progress; standard output is for the tables."""
    print(f"device: {text}", file=sys.stderr, flush=True)


def program(name: str, folder: Path) -> list[str]:
    """The command of one of the two programs."""
    if name == "docs":
        return program_words(read_scene(FOLDER / "docs-scroll.toml"), folder)
    return ["xterm", "-fa", "DejaVu Sans Mono", "-fs", "10", "-geometry", "128x37+0+0", "-e", "sh", "-c", LISTING]


@contextmanager
def hosted(name: str, key: bytes, folder: Path) -> Iterator[Served]:
    """The server with the program. It knows one device's key and lets others in without. Raises ServedError."""
    keys = folder / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"{reconnect.KEYED} {key.hex()}\n")
    options = ["--listen", "127.0.0.1:0", "--size", f"{SIZE[0]}x{SIZE[1]}", "--fps", "60"]
    words = ["run", *options, "--keys", str(keys), "--insecure", "--", *program(name, folder)]
    with served(words, folder / f"{name}.log") as server:
        yield server


def colours(device: Device) -> int:
    """Different colours in the picture."""
    return len(set(memoryview(device.memory()).cast("H")))


async def ready(device: Device) -> None:
    """Wait until the program has drawn what it shows. Raises StageError."""
    await device.whole_picture()
    if not await device.wait_for(lambda: colours(device) >= 50, START_S):
        raise StageError("the program shows nothing")
    # Out of the way of links, so that nothing answers to the pointer.
    device.pointer(*reconnect.SCROLL_AT)
    await device.settled(QUIET_S, START_S)


async def measure(effort: Effort, folder: Path) -> dict[str, list[Row]]:
    """The rows of each table. Raises StageError, in groups."""
    tables: dict[str, list[Row]] = {}
    for name in effort.programs:
        key = secrets.token_bytes(KEY_SIZE)
        with hosted(name, key, folder) as server:
            reference = Setup(panel=reconnect.PANEL, device_id="reference")
            async with open_device(server.address, reference) as device:
                await ready(device)
                picture = device.memory()
                if "reconnect" in effort.parts:
                    say(f"{name}: devices come back")
                    rows = await reconnect.measure(name, server.address, device, key, DELAY_S, quick=effort.quick)
                    tables.setdefault("reconnect", []).extend(rows)
            # The pointer and the window are measured without anybody else who looks.
            if "motion" in effort.parts:
                say(f"{name}: {effort.motions} motions for each cursor")
                tables.setdefault("motion", []).extend(await motions.measure(name, server.address, effort.motions))
            if "pan" in effort.parts:
                say(f"{name}: the window moves")
                rows = await panning.measure(name, server, picture, SIZE, effort.pan_s, quick=effort.quick)
                tables.setdefault("pan", []).extend(rows)
            if "reconnect" in effort.parts and name == "docs":
                say(f"{name}: scrolled while a device is away")
                async with open_device(server.address, reference) as device:
                    await ready(device)
                    tables["scrolled"] = await reconnect.scrolled(name, server.address, device, DELAY_S)
    return tables


def verdicts(tables: dict[str, list[Row]]) -> list[str]:
    """What was aimed at, and what it came to, a line each."""
    lines: list[str] = []

    def judge(what: str, rows: Sequence[Row], values: Sequence[float], aim: float, *, most: bool) -> None:
        if not rows:
            return
        worst = max(values) if most else min(values)
        good = worst <= aim if most else worst >= aim
        bound = "at most" if most else "at least"
        lines.append(f"{what}: {worst:.3g}, {bound} {aim:g}: {marked('met' if good else 'MISSED', good)}")

    def number(row: Row, key: str) -> float:
        return float(str(row[key]))

    for name in dict.fromkeys(str(row["program"]) for row in tables.get("reconnect", [])):
        rows = [row for row in tables["reconnect"] if row["program"] == name]
        what = f"{name}: back, nothing changed, % of a first picture"
        judge(what, rows, [number(row, "again_%") for row in rows], 2, most=True)
    rows = tables.get("reconnect", [])
    more = [number(row, "picture_rt_again") - number(row, "welcome_rt") for row in rows]
    judge("back, round trips to the picture beyond those to WELCOME", rows, more, 1, most=True)
    rows = [row for row in tables.get("motion", []) if row["cursor"] == "LOCAL"]
    judge("local cursor, bytes of drawing", rows, [number(row, "pixel_bytes") for row in rows], 0, most=True)
    rows = tables.get("pan", [])
    judge("panning, updates a second", rows, [number(row, "updates_per_s") for row in rows], 30, most=False)
    return lines


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(PARTS)}")
    return parts


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench device", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="xterm only, and less of everything")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON, not as tables")
    parser.add_argument("--only", type=_parts, default=PARTS, metavar="PART,PART", help=f"of {', '.join(PARTS)}")
    return parser.parse_args(argv)


def _stop(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str]) -> int:
    """Entry point."""
    arguments = _arguments(argv)
    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    tables: dict[str, list[Row]] = {}
    failures: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="tilewire-device-", ignore_cleanup_errors=True) as folder:
            effort = Effort(parts=arguments.only, quick=arguments.quick)
            tables = trio.run(measure, effort, Path(folder))
    except* (StageError, ServedError, DeviceError, StreamError) as group:
        failures = _sentences(group)
    except* KeyboardInterrupt:
        failures = ["stopped"]
    for failure in failures:
        say(failure)
    if failures:
        return 1
    rows: list[Row] = [{"table": name, **row} for name, of_it in tables.items() for row in of_it]
    path = write("device", rows)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        for name, of_it in tables.items():
            print(f"{name}\n\n{table(of_it)}\n")
        print("\n".join(verdicts(tables)))
    say(f"{path}; {time.monotonic() - started:.0f} s in all")
    return 0


def _sentences(group: BaseExceptionGroup[BaseException]) -> list[str]:
    found: list[str] = []
    for error in group.exceptions:
        found += _sentences(error) if isinstance(error, BaseExceptionGroup) else [str(error)]
    return found
