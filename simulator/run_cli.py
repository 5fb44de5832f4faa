"""`tilewire-sim run` and `replay --qemu`: options, the status line, exit statuses."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from tilewire.protocol import DEFAULT_PANEL, PANELS
from tilewire.simulator.command import CONNECT_S, CURSORS, first_of, say
from tilewire.simulator.machine import (
    LEAST_MEMORY_MIB,
    MOST_MEMORY_MIB,
    SHIFTS,
    find_firmware,
    find_qemu,
    find_window,
)
from tilewire.simulator.recording import RecordError, Recording
from tilewire.simulator.runner import Run, RunPlan, state_of
from tilewire.simulator.runner_exits import RunError, RunExit, table
from tilewire.simulator.script import Script, read_script
from tilewire.simulator.shaper import Link, ShaperError
from tilewire.simulator.stream import parse_server

if TYPE_CHECKING:
    from argparse import _SubParsersAction

MAX_DEVICE_ID: Final = 64
"""Bytes, as the protocol has it."""
STATUS_S: Final = 1.0
"""Asking takes the device some milliseconds at 125 MIPS."""
SIZES: Final = {"M": 1, "G": 1024}


def _memory(text: str) -> int:
    """MiB."""
    number, unit = text[:-1], text[-1:].upper()
    size = int(number) * SIZES[unit] if number.isascii() and number.isdigit() and unit in SIZES else 0
    if not LEAST_MEMORY_MIB <= size <= MOST_MEMORY_MIB:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size from {LEAST_MEMORY_MIB}M to {MOST_MEMORY_MIB}M: the board holds no more, and the "
            "firmware needs no less"
        )
    return size


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _device_id(text: str) -> str:
    if not 0 < len(text.encode()) <= MAX_DEVICE_ID or not text.isprintable() or text != text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of 1 to {MAX_DEVICE_ID} bytes")
    return text


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], types: dict[str, Any]) -> None:
    """The `run` command's options. `types`: what cli.py reads words with."""
    run = commands.add_parser(
        "run",
        help="boot the QEMU device and connect it",
        description="Boot the QEMU device and connect it to a server. docs/device.md describes it.",
        epilog=f"exit status:\n{table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.set_defaults(run=run_command, read_key=types["key"])
    run.add_argument("address", metavar="ADDRESS", help="HOST:PORT; loopback is this machine's")
    run.add_argument("--panel", choices=sorted(PANELS), default=DEFAULT_PANEL, help=f"({DEFAULT_PANEL})")
    run.add_argument(
        "--mips", type=int, choices=sorted(SHIFTS), help="million instructions a second (as fast as it goes)"
    )
    run.add_argument("--memory", type=_memory, default=512, metavar="SIZE", help="of the board (512M)")
    run.add_argument("--net", choices=("lan9118", "virtio"), default="lan9118", help="Ethernet controller (lan9118)")
    link = run.add_argument_group("a slow link in between, docs/links.md")
    link.add_argument("--link", type=_number, metavar="KBIT/S", help="rate of each direction (no bound)")
    link.add_argument("--rtt", type=_number, metavar="MS", help="round-trip time (0)")
    link.add_argument("--loss", type=_number, metavar="PERCENT", help="of frames, each direction (0)")
    link.add_argument("--queue", type=_number, metavar="KIB", help="of each direction (32)")
    run.add_argument("--device-id", type=_device_id, default="tilewire-sim", metavar="NAME")
    run.add_argument("--auth-key-file", type=Path, metavar="FILE", help="the device's key, 64 hex digits")
    run.add_argument(
        "--without",
        type=types["parts"],
        default=frozenset(),
        metavar="PARTS",
        help="do not offer codec,cache,jpeg,copy",
    )
    run.add_argument(
        "--cursor", choices=CURSORS, default="none", help="draw the pointer: the device (local), or the server"
    )
    run.add_argument("--fit", action="store_true", help="shrink the session to the panel instead of a window of it")
    run.add_argument("--rotate", type=int, choices=(0, 90, 180, 270), default=0, help="degrees clockwise (0)")
    run.add_argument(
        "--reconnect", action="store_true", help="come back when the line breaks (a script that cuts does)"
    )
    run.add_argument("--script", type=Path, metavar="FILE", help="what a user does, TOML")
    run.add_argument(
        "--for", type=types["seconds"], dest="seconds", metavar="SECONDS", help="after the first whole picture"
    )
    run.add_argument(
        "--connect-within", type=types["seconds"], default=CONNECT_S, metavar="SECONDS", help=f"({CONNECT_S:g})"
    )
    run.add_argument("--png", type=Path, metavar="FILE", help="write what the LCD shows at the end")
    run.add_argument("--pcap", type=Path, metavar="FILE", help="keep the Ethernet frames")
    run.add_argument("--record", type=Path, metavar="FILE", help="keep the wire of the session in a new file")
    run.add_argument("--record-input", action="store_true", help="keep what is typed and pointed in it too")
    run.add_argument("--window", action="store_true", help="open QEMU's own window")
    run.add_argument("--firmware", type=Path, metavar="FILE", help="another build of it (ELF)")
    run.add_argument("--json", action="store_true", help="print one object as the last line")


def _link(arguments: argparse.Namespace) -> Link | None:
    """Raises RunError."""
    given = {
        name: value
        for name, value in (
            ("kbit_s", arguments.link),
            ("rtt_ms", arguments.rtt),
            ("loss_percent", arguments.loss),
            ("queue_kib", arguments.queue),
        )
        if value is not None
    }
    try:
        return Link(**given) if given else None
    except ShaperError as error:
        raise RunError(str(error), 2) from error


def _server(address: str) -> tuple[str, int]:
    """Raises RunError."""
    if "://" in address:
        raise RunError(f"the QEMU device speaks plain TCP, HOST:PORT, and not {address}", 2)
    try:
        return parse_server(address)
    except ValueError as error:
        raise RunError(f"{address!r} is no address: {error}", 2) from error


def _plan(arguments: argparse.Namespace, key: bytes | None) -> RunPlan:
    """Raises RunError; looks at everything that can be looked at before anything starts."""
    server, link = _server(arguments.address), _link(arguments)
    script: Script | None = read_script(arguments.script) if arguments.script is not None else None
    if script is not None and script.links and link is None:
        text = f"{arguments.script}: it changes the link, and there is none: --link, --rtt or --loss makes one"
        raise RunError(text, RunExit.BAD_SCRIPT)
    qemu, firmware = find_qemu(), find_firmware(arguments.firmware)
    window = find_window(qemu) if arguments.window else None
    for path in (arguments.png, arguments.pcap):
        if path is not None and not path.absolute().parent.is_dir():
            raise RunError(f"{path} cannot be written: there is no such folder", RunExit.FAILED)
    recording = None
    if arguments.record is not None:
        try:
            recording = Recording(
                arguments.record, title=arguments.address, panel_name=arguments.panel, keep_input=arguments.record_input
            )
        except RecordError as error:
            raise RunError(str(error), RunExit.FAILED) from error
    elif arguments.record_input:
        raise RunError("--record-input goes with --record FILE", 2)
    return RunPlan(
        address=arguments.address,
        server=server,
        firmware=firmware,
        qemu=qemu,
        panel=arguments.panel,
        mips=arguments.mips,
        memory_mib=arguments.memory,
        net=arguments.net,
        link=link,
        script=script,
        seconds=arguments.seconds,
        finite=bool(script or arguments.png or arguments.json or arguments.record),
        connect_within_s=arguments.connect_within,
        png=arguments.png,
        pcap=arguments.pcap,
        window=window,
        recording=recording,
        key=key,
        device_id=arguments.device_id,
        cursor=CURSORS[arguments.cursor],
        fit=arguments.fit,
        rotate=arguments.rotate,
        without=arguments.without,
        reconnect=arguments.reconnect,
    )


async def run_command(arguments: argparse.Namespace) -> int:
    """`tilewire-sim run`; the exit status."""
    key = arguments.read_key(arguments.auth_key_file) if arguments.auth_key_file else None
    try:
        plan = _plan(arguments, key)
    except RunError as error:
        say(str(error))
        if arguments.json:
            print(json.dumps({"address": arguments.address, "exit": {"code": error.code, "text": str(error)}}))
        return error.code
    run = Run(plan)
    status = Status(run)
    ended_by = await _guarded(run, status)
    status.end()
    code = run.failure.code if run.failure is not None else 0
    if plan.recording is not None:
        plan.recording.close("the device is off")
        if plan.recording.ended is not None:
            say(plan.recording.ended)
            code = code or RunExit.FAILED
    if run.failure is not None:
        say(str(run.failure))
    if ended_by is not None:
        code = RunExit.INTERRUPTED if ended_by == signal.SIGINT else RunExit.TERMINATED
    if arguments.json:
        print(json.dumps(run.report()), flush=True)
    return code


async def _guarded(run: Run, status: Status) -> int | None:
    """Run it; the signal that ended it. The second signal does not wait for the report."""
    heard: int | None = None
    everything = trio.CancelScope()
    try:
        # Heard until all is over: who goes on pressing ctrl-C would break what cleans up.
        async with trio.open_nursery() as ears:

            async def listen(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
                nonlocal heard
                with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
                    task_status.started()
                    async for number in signals:
                        if heard is not None or run.machine_ is None:
                            run.closing.cancel()
                            everything.cancel()
                        heard = heard or number
                        run.session.cancel()

            await ears.start(listen)
            with everything:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(status.show)
                    await run.run()
                    nursery.cancel_scope.cancel()
            ears.cancel_scope.cancel()
    except* RunError as group:
        first = first_of(group)
        run.failure = run.failure or (first if isinstance(first, RunError) else None)
    except* ShaperError as group:
        run.failure = RunError(str(first_of(group)), RunExit.NO_LINK)
    except* OSError as group:
        run.failure = run.failure or RunError(str(first_of(group)), RunExit.FAILED)
    return heard


class Status:
    """What the device does: a live line on a terminal, a line for each change elsewhere."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._live = sys.stderr.isatty()
        self._coloured = self._live and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._last: tuple[float, int] | None = None
        self._shown = ""

    async def show(self) -> None:
        """Until cancelled."""
        while True:
            machine = self._run.machine_
            state = state_of(machine)
            if not self._live:
                if state != self._shown and machine is not None:
                    self._shown = state
                    now = machine.events[-1]["ms"] if machine.events else 0
                    print(f"tilewire-sim: {now / 1000:.3f} s: {state}", file=sys.stderr, flush=True)
                await trio.sleep(0.05)
                continue
            try:
                line = state + await self._numbers()
            except RunError:
                return  # the session says why
            # A line that is broken in two cannot be written over.
            line = line[: os.get_terminal_size(sys.stderr.fileno()).columns - 1]
            if self._coloured:
                line = f"\x1b[{32 if state == 'showing' else 33}m{state}\x1b[0m{line[len(state) :]}"
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
            await trio.sleep(STATUS_S if state == "showing" else 0.1)

    async def _numbers(self) -> str:
        machine = self._run.machine_
        if machine is None or machine.find("connecting") is None or machine.exit_status is not None:
            return ""
        stats = await machine.stats()
        now_s, updates = stats["uptime_us"] / 1e6, stats["updates"]
        rate = ""
        if self._last is not None and now_s > self._last[0]:
            rate = f"  {(updates - self._last[1]) / (now_s - self._last[0]):.1f} updates/s"
        self._last = (now_s, updates)
        return (
            f"  device {now_s:.1f} s  {updates} updates{rate}  {stats['bytes']['received'] / 1024:.1f} KiB"
            f"  decode {stats['decode_us']['sum'] / 1000:.1f} ms"
        )

    def end(self) -> None:
        """The terminal goes on below."""
        if self._live:
            print(file=sys.stderr)
