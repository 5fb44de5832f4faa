"""`tilewire-sim fleet`: options, the status line, the table, the report, exit statuses."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from tilewire.simulator import fleet_chart
from tilewire.simulator.command import CONNECT_S, first_of, percentiles, say
from tilewire.simulator.fleet import Fleet, FleetError, FleetPlan
from tilewire.simulator.fleet_plan import MOST_DEVICES, MOST_QEMU, MOST_SECONDS, specs
from tilewire.simulator.fleet_verify import Verifier, VerifyError
from tilewire.simulator.machine import find_firmware, find_qemu
from tilewire.simulator.runner import RunPlan
from tilewire.simulator.runner_exits import RunError, RunExit
from tilewire.simulator.stream import TLS_SCHEMES, StreamError, Trust, client_context, parse_server

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_GONE: Final = 3
EXIT_DEVICES: Final = 4
EXIT_UNCHECKED: Final = 5
EXITS: Final = {
    0: "all devices came through",
    EXIT_FAILED: "anything that has no status of its own, such as a file that cannot be written",
    EXIT_USAGE: "the command line is wrong, or asks for too many",
    EXIT_GONE: "no server, or one that lets nobody in, or it is gone: nobody had a connection any more",
    EXIT_DEVICES: "devices failed: a sentence for each",
    EXIT_UNCHECKED: "the screen did not rest, so the pictures were not compared",
    RunExit.NO_QEMU: "qemu-system-arm is missing",
    RunExit.OLD_QEMU: "qemu-system-arm is too old",
    RunExit.NO_FIRMWARE: "the firmware, or lwIP's source that it is built of, is missing",
    RunExit.INTERRUPTED: "ctrl-C",
    RunExit.TERMINATED: "SIGTERM or SIGHUP",
}
QEMU: Final = 2
SECONDS: Final = 10.0
SETTLE_S: Final = 20.0
STATUS_S: Final = 0.25
COLUMNS: Final = (
    "device",
    "kind",
    "shows",
    "updates",
    "/s",
    "KiB",
    "p50 ms",
    "p95 ms",
    "turns",
    "reconnects",
    "resumed",
)
TEXT: Final = (0, 1, 2, 11)
"""Columns of text; the others are numbers."""


def _count(most: int, what: str, least: int = 1) -> Any:
    def read(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{value} {what} are too many: {most} at most")
        return value

    return read


def _name(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not 0 < len(text.encode()) <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of 1 to 60 bytes")
    return text


def _chart(text: str) -> Path:
    if not text.endswith(".png"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png, which is what is written")
    return Path(text)


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], types: dict[str, Any]) -> None:
    """The `fleet` command's options. `types`: what cli.py reads words with."""
    fleet = commands.add_parser(
        "fleet",
        help="many devices with scripted users against one server",
        description="Run devices with scripted users against one server. docs/fleet.md describes it.",
        epilog="exit status:\n" + "\n".join(f"  {code:3d}  {text}" for code, text in EXITS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fleet.set_defaults(run=fleet_command, read_key=types["key"])
    fleet.add_argument("count", metavar="N", type=_count(MOST_DEVICES, "devices"), help=f"devices, 1 to {MOST_DEVICES}")
    fleet.add_argument(
        "address", metavar="ADDRESS", help="HOST:PORT, tls://HOST:PORT, ws://HOST:PORT/ or wss://HOST:PORT/"
    )
    fleet.add_argument(
        "--qemu",
        metavar="K",
        type=_count(MOST_QEMU, "QEMU devices", 0),
        help=f"the first so many are QEMU's, 0 to {MOST_QEMU} ({QEMU}; with TLS or WebSocket 0)",
    )
    fleet.add_argument(
        "--for", type=types["seconds"], dest="seconds", default=SECONDS, metavar="SECONDS", help=f"({SECONDS:g})"
    )
    fleet.add_argument("--seed", type=int, default=1, metavar="NUMBER", help="of what the users do (1)")
    fleet.add_argument(
        "--settle",
        type=types["seconds"],
        default=SETTLE_S,
        metavar="SECONDS",
        help=f"until all pictures have to be at rest and right, at the end ({SETTLE_S:g})",
    )
    fleet.add_argument("--verify", metavar="DISPLAY", help="compare all pictures with this X display, such as :7")
    fleet.add_argument("--chart", type=_chart, metavar="FILE.png", help="draw the table")
    fleet.add_argument("--name", type=_name, default="fleet", help="device ids are NAME-01 and so on (fleet)")
    fleet.add_argument("--auth-key-file", type=Path, metavar="FILE", help="all devices' key, 64 hex digits")
    trust = fleet.add_mutually_exclusive_group()
    trust.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust instead of the system's, PEM")
    trust.add_argument("--insecure-tls", action="store_true", help="do not check the server's certificate")
    fleet.add_argument(
        "--connect-within", type=types["seconds"], default=CONNECT_S, metavar="SECONDS", help=f"({CONNECT_S:g})"
    )
    fleet.add_argument("--json", action="store_true", help="print one object as the last line")


def _plan(arguments: argparse.Namespace) -> FleetPlan:
    """Raises RunError; looks at everything that can be looked at before anything starts."""
    address, plain = arguments.address, "://" not in arguments.address
    if not 0 < arguments.seconds <= MOST_SECONDS:
        raise RunError(f"--for {arguments.seconds:g} is not more than 0 and at most {MOST_SECONDS:g} s", EXIT_USAGE)
    if not address.startswith(TLS_SCHEMES) and (arguments.ca or arguments.insecure_tls):
        raise RunError("--ca and --insecure-tls are for tls:// and wss:// addresses", EXIT_USAGE)
    qemu = arguments.qemu if arguments.qemu is not None else QEMU if plain else 0
    if qemu and not plain:
        raise RunError(f"the QEMU device speaks plain TCP, HOST:PORT, and not {address}: --qemu 0", EXIT_USAGE)
    key = arguments.read_key(arguments.auth_key_file) if arguments.auth_key_file else None
    if arguments.chart is not None:
        if not fleet_chart.is_possible():
            raise RunError(
                "--chart needs matplotlib, which is not installed: make setup brings it (pip: tilewire[bench])",
                EXIT_FAILED,
            )
        if not arguments.chart.absolute().parent.is_dir():
            raise RunError(f"{arguments.chart} cannot be written: there is no such folder", EXIT_FAILED)
    if address.startswith(TLS_SCHEMES):
        try:
            client_context(Trust(arguments.ca, check=not arguments.insecure_tls))
        except StreamError as error:
            raise RunError(str(error), EXIT_FAILED) from error
    if arguments.verify is not None:
        try:
            Verifier(arguments.verify).expected([])
        except VerifyError as error:
            raise RunError(str(error), EXIT_FAILED) from error
    devices = specs(arguments.count, qemu)
    machine = None
    if plain:
        try:
            server = parse_server(address)
        except ValueError as error:
            raise RunError(f"{address!r} is no address: {error}", EXIT_USAGE) from error
        if qemu:
            machine = RunPlan(
                address=address,
                server=server,
                firmware=find_firmware(),
                qemu=find_qemu(),
                panel=devices[0].panel.name,
                key=key,
                reconnect=True,
                connect_within_s=arguments.connect_within,
            )
    return FleetPlan(
        address=address,
        specs=devices,
        seconds=arguments.seconds,
        seed=arguments.seed,
        connect_within_s=arguments.connect_within,
        name=arguments.name,
        key=key,
        ca=arguments.ca,
        check_tls=not arguments.insecure_tls,
        settle_s=arguments.settle,
        verify=arguments.verify,
        machine=machine,
    )


async def fleet_command(arguments: argparse.Namespace) -> int:
    """`tilewire-sim fleet`; the exit status."""
    try:
        plan = _plan(arguments)
    except RunError as error:
        say(str(error))
        return error.code
    if arguments.insecure_tls:
        say("the server's certificate is not checked (--insecure-tls): anybody could be there")
    fleet = Fleet(plan)
    failure, heard = await guarded(fleet)
    code = _code(fleet, failure)
    if heard is not None:
        code = RunExit.INTERRUPTED if heard == signal.SIGINT else RunExit.TERMINATED
    if any(state.connections for state in fleet.used.values()):
        print(table(fleet, coloured=_colours(sys.stdout)), flush=True)
    if failure is not None:
        say(failure)
    elif fleet.gone is not None:
        say(fleet.gone)
    if heard is None and failure is None:
        for number, texts in sorted(fleet.problems.items()):
            say(f"device {number} ({fleet.states[number].spec.kind}): {'; '.join(texts)}")
        if fleet.unchecked is not None:
            say(fleet.unchecked)
        if len(plan.specs) > 1 and not sum(state.turns for state in fleet.states.values()) and fleet.gone is None:
            say("control was never the fleet's: somebody else holds it, and the users only looked on")
    if arguments.chart is not None and fleet.used:
        try:
            fleet_chart.draw(rows(fleet), arguments.chart, _subtitle(fleet))
        except OSError as error:
            say(f"{arguments.chart} cannot be written: {error.strerror}")
            code = code or EXIT_FAILED
    if arguments.json:
        print(json.dumps(report(fleet, code, failure)), flush=True)
    return code


def _code(fleet: Fleet, failure: str | None) -> int:
    if failure is not None or fleet.gone is not None:
        return EXIT_GONE if failure is None or not any(s.connections for s in fleet.states.values()) else EXIT_FAILED
    if fleet.problems:
        return EXIT_DEVICES
    return EXIT_UNCHECKED if fleet.unchecked is not None else 0


async def guarded(fleet: Fleet) -> tuple[str | None, int | None]:
    """Run it; why it failed, and the signal that ended it. The second signal does not wait for the table."""
    heard: int | None = None
    failure: str | None = None
    status = Status(fleet)
    everything = trio.CancelScope()
    try:
        # Heard until all is over: who goes on pressing ctrl-C would break what cleans up.
        async with trio.open_nursery() as ears:

            async def listen(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
                nonlocal heard
                with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
                    task_status.started()
                    async for number in signals:
                        if heard is not None:
                            fleet.end_at_once()
                            everything.cancel()
                        heard = heard or number
                        fleet.session.cancel()

            await ears.start(listen)
            with everything:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(status.show)
                    await fleet.run()
                    nursery.cancel_scope.cancel()
            ears.cancel_scope.cancel()
    except* (FleetError, OSError) as group:
        failure = str(first_of(group))
    status.end()
    return failure, heard


def _colours(stream: Any) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Status:
    """What the fleet does: a live line on a terminal, a line for each change elsewhere."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._live = sys.stderr.isatty()
        self._began_s = time.monotonic()
        self._last = (self._began_s, 0)
        self._shown = ""

    async def show(self) -> None:
        """Until cancelled."""
        while True:
            if self._live:
                print(f"\r{self._line()}\x1b[K", end="", file=sys.stderr, flush=True)
            elif self._fleet.phase != self._shown:
                self._shown = self._fleet.phase
                if self._shown != "starting":
                    say(f"{time.monotonic() - self._began_s:.1f} s: {self._shown}")
            await trio.sleep(STATUS_S)

    def _line(self) -> str:
        fleet, now = self._fleet, time.monotonic()
        states = list(fleet.states.values())
        phase = f"\x1b[32m{fleet.phase}\x1b[0m" if _colours(sys.stderr) else fleet.phase
        updates = sum(state.updates for state in states)
        last_s, last = self._last
        rate = (updates - last) / (now - last_s) if now > last_s else 0.0
        self._last = (now, updates)
        holder = fleet.holder
        return (
            f"{now - self._began_s:6.1f} s  {phase}  {sum(state.up for state in states)}/{len(states)} devices"
            f"  {updates} updates  {rate:.0f}/s  {sum(state.bytes for state in states) / 1024:.0f} KiB"
            + (f"  device {holder.spec.number} steers" if holder is not None else "")
        )

    def end(self) -> None:
        """The terminal goes on below."""
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# What it prints.


def rows(fleet: Fleet) -> list[dict[str, Any]]:
    """A row for each device."""
    made = []
    for number, state in fleet.used.items():
        spec = state.spec
        made.append(
            {
                "device": number,
                "kind": spec.kind,
                "panel": spec.panel.name,
                "shows": spec.shows,
                "updates": state.updates,
                "updates_per_s": round(state.updates / state.seconds, 2) if state.seconds else None,
                "bytes": state.bytes,
                "input_to_picture_ms": _percentiles(state.inputs_ms),
                "connections": state.connections,
                "reconnects": max(state.connections - 1, 0),
                "resumed": state.resumed,
                "steps": state.steps,
                "turns": state.turns,
                "picture": fleet.pictures.get(number, "not compared"),
                "errors": fleet.problems.get(number, []),
            }
        )
    return made


def _percentiles(values: Sequence[float]) -> dict[str, float] | None:
    found = percentiles(values)
    return None if found is None else {"count": len(values)} | found


def totals(fleet: Fleet) -> dict[str, Any]:
    """Of all devices."""
    made = rows(fleet)
    every = [value for state in fleet.used.values() for value in state.inputs_ms]
    return {
        "devices": len(made),
        "updates": sum(row["updates"] for row in made),
        "updates_per_s": round(sum(row["updates_per_s"] or 0 for row in made), 2),
        "bytes": sum(row["bytes"] for row in made),
        "input_to_picture_ms": _percentiles(every),
        "turns": sum(row["turns"] for row in made),
        "reconnects": sum(row["reconnects"] for row in made),
        "resumed": sum(row["resumed"] for row in made),
        "failed": len(fleet.problems),
    }


def table(fleet: Fleet, *, coloured: bool) -> str:
    """For people."""
    whole = totals(fleet)
    lines: list[list[str]] = [[*COLUMNS, "picture", "errors"]]
    for row in rows(fleet):
        lines.append([str(row["device"]), row["kind"], row["shows"], *_numbers(row), row["picture"], ""])
        lines[-1][-1] = str(len(row["errors"]) or "-")
    pictures = set(fleet.pictures.values())
    alike = pictures.pop() if len(pictures) == 1 and len(fleet.pictures) == len(fleet.used) else ""
    lines.append(["all", "", "", *_numbers(whole), alike, str(whole["failed"] or "-")])
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    texts = []
    for index, line in enumerate(lines):
        cells = [c.ljust(w) if at in TEXT else c.rjust(w) for at, (c, w) in enumerate(zip(line, widths))]
        text = "  ".join(cells).rstrip()
        if coloured:
            text = _dyed(text, index, len(lines), bad=line[-1] != "-")
        texts.append(text)
        if index in (0, len(lines) - 2):
            texts.append("-" * (sum(widths) + 2 * len(widths) - 2))
    return "\n".join(texts)


def _dyed(text: str, index: int, count: int, *, bad: bool) -> str:
    if index == 0:
        return f"\x1b[1m{text}\x1b[0m"
    if bad:
        return f"\x1b[31m{text}\x1b[0m"
    return f"\x1b[1m{text}\x1b[0m" if index == count - 1 else text


def _numbers(row: dict[str, Any]) -> list[str]:
    rate, times = row["updates_per_s"], row["input_to_picture_ms"]
    return [
        str(row["updates"]),
        "-" if rate is None else f"{rate:.1f}",
        f"{row['bytes'] / 1024:.1f}",
        *(("-", "-") if times is None else (f"{times['p50']:.1f}", f"{times['p95']:.1f}")),
        str(row["turns"]),
        str(row["reconnects"]),
        str(row["resumed"]),
    ]


def _subtitle(fleet: Fleet) -> str:
    plan = fleet.plan
    count = len(plan.specs)
    return (
        f"{count} {'device' if count == 1 else 'devices'}, {sum(spec.qemu for spec in plan.specs)} of them QEMU, "
        f"{fleet.lasted_s:.0f} s on one session, seed {plan.seed}"
    )


def report(fleet: Fleet, code: int, failure: str | None) -> dict[str, Any]:
    """What `--json` prints."""
    plan = fleet.plan
    return {
        "address": plan.address,
        "exit": {"code": int(code), "text": failure or fleet.gone or fleet.unchecked},
        "seed": plan.seed,
        "seconds": round(fleet.lasted_s, 3),
        "workers": fleet.workers,
        "verified": plan.verify,
        "totals": totals(fleet),
        "devices": rows(fleet),
    }
