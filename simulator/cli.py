"""The `tilewire-sim` command."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import trio
from Xlib import XK

from tilewire.protocol import DEFAULT_PANEL, PANELS, Capability, Point
from tilewire.protocol import messages as m
from tilewire.protocol.constants import KEY_SIZE, Rotation, ViewMode
from tilewire.simulator import fleet_cli, replay, run_cli
from tilewire.simulator.client import Statistics
from tilewire.simulator.command import CURSORS, first_of, percentiles, say
from tilewire.simulator.device import PARTS, Device, DeviceError, Setup, open_device
from tilewire.simulator.recording import RecordError, Recording
from tilewire.simulator.stream import TLS_SCHEMES, StreamError, Trust

EXIT_FAILED: Final = 1
EXIT_ENDED: Final = 3
"""The server ended the session before we were done."""
STATUS_S: Final = 0.25
MAX_TICKET: Final = 64
"""Bytes, as the protocol has it."""
AFTER_S: Final = 1.0
"""How long to go on after the last action where --for does not say."""
ACTION_S: Final = 1.0
"""How long an action may take to be injected before the next one is made."""


class UsageError(Exception):
    """A plain sentence about the arguments."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do, as the command line has it."""

    kind: str
    value: Any


def _point(text: str) -> tuple[int, int]:
    x, _, y = text.partition(",")
    if not (x.isascii() and x.isdigit() and y.isascii() and y.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y")
    return int(x), int(y)


def _keysyms(text: str) -> list[int]:
    """Names of X keysyms, joined by + where they are held together: Return, Control_L+l."""
    names = text.split("+") if text != "+" else ["plus"]
    keysyms = [XK.string_to_keysym(name) for name in names]
    for name, keysym in zip(names, keysyms, strict=True):
        if not keysym:
            raise argparse.ArgumentTypeError(f"{name!r} is no X keysym (such as Return, Down, Control_L+l)")
    return keysyms


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _parts(text: str) -> frozenset[str]:
    """Some of PARTS, joined by commas."""
    parts = frozenset(text.split(","))
    if unknown := sorted(parts - set(PARTS)):
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    return parts


class _Append(argparse.Action):
    """Collects the actions of several options in the order of the command line."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        namespace.actions = [*namespace.actions, Action(self.metavar_kind, values)]

    @property
    def metavar_kind(self) -> str:
        return self.option_strings[0].lstrip("-")


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="tilewire-sim", description="Devices without a board.")
    top.add_argument("--version", action="version", version=f"tilewire {metadata.version('tilewire')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    view = commands.add_parser("view", help="be a device: the C client inside this process")
    view.set_defaults(actions=[], run=_view)
    view.add_argument(
        "address", metavar="ADDRESS", help="HOST:PORT, tls://HOST:PORT, ws://HOST:PORT/ or wss://HOST:PORT/"
    )
    view.add_argument("--panel", choices=sorted(PANELS), default=DEFAULT_PANEL, help=f"({DEFAULT_PANEL})")
    trust = view.add_mutually_exclusive_group()
    trust.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust instead of the system's, PEM")
    trust.add_argument("--insecure-tls", action="store_true", help="do not check the server's certificate")
    view.add_argument("--device-id", default="tilewire-sim", metavar="NAME")
    view.add_argument("--auth-key-file", type=Path, metavar="FILE", help="the device's key, 64 hex digits")
    view.add_argument("--ticket-file", type=Path, metavar="FILE", help="a ticket of the server's API")
    view.add_argument("--profile", metavar="NAME", help="the profile to ask for")
    view.add_argument("--session", metavar="ID", help="the session to ask for")
    view.add_argument("--url", metavar="URL", help="the page to ask for")
    view.add_argument(
        "--without", type=_parts, default=frozenset(), metavar="PARTS", help=f"do not offer some of {','.join(PARTS)}"
    )
    view.add_argument(
        "--cursor",
        choices=CURSORS,
        default="none",
        help="draw the pointer: here, or the server into the picture (none)",
    )
    view.add_argument("--fit", action="store_true", help="shrink the session to the panel instead of a window of it")
    view.add_argument("--rotate", type=int, choices=(0, 90, 180, 270), default=0, help="degrees clockwise (0)")
    view.add_argument(
        "--reconnect", action="store_true", help="when the line breaks, come back and go on with the same picture"
    )
    view.add_argument("--png", type=Path, metavar="FILE", help="write the framebuffer at the end")
    view.add_argument("--for", type=_seconds, dest="seconds", metavar="SECONDS", help="after the first whole picture")
    view.add_argument("--settle", type=_seconds, default=0.0, metavar="SECONDS", help="quiet time before the actions")
    view.add_argument("--click", type=_point, action=_Append, metavar="X,Y", help="press the left button there")
    view.add_argument("--type", type=_unescaped, action=_Append, metavar="TEXT", help=r"type text; \n is Return")
    view.add_argument("--key", type=_keysyms, action=_Append, metavar="NAME", help="press a key, or keys: Control_L+l")
    view.add_argument("--paste", action=_Append, metavar="TEXT", help="put this into the session's clipboard")
    view.add_argument("--probe", type=_point, metavar="X,Y", help="time from each input to a change of this pixel")
    view.add_argument("--record", type=Path, metavar="FILE", help="keep the wire of the session in a new file")
    view.add_argument(
        "--record-input",
        action="store_true",
        help="keep what is typed, pointed and pasted in it too, and the clipboard",
    )
    view.add_argument("--json", action="store_true", help="print one object as the last line")
    types = {"parts": _parts, "seconds": _seconds, "key": read_key}
    run_cli.add_parser(commands, types)
    fleet_cli.add_parser(commands, types)
    replay.add_parser(commands)
    return top


def read_key(path: Path) -> bytes:
    """A key file of the device's side. Raises UsageError."""
    try:
        digits = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise UsageError(f"the key file {path} cannot be read: {error.strerror}") from error
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(key) != KEY_SIZE:
        raise UsageError(f"{path} does not hold {2 * KEY_SIZE} hex digits")
    return key


def read_ticket(path: Path) -> bytes:
    """A file with a ticket in it. Raises UsageError."""
    try:
        ticket = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"the ticket file {path} cannot be read: {error.strerror}") from error
    if not 1 <= len(ticket) <= MAX_TICKET:
        raise UsageError(f"{path} does not hold a ticket of 1 to {MAX_TICKET} bytes")
    return ticket


def _trust(arguments: argparse.Namespace) -> Trust:
    """Raises UsageError."""
    if not arguments.address.startswith(TLS_SCHEMES) and (arguments.ca or arguments.insecure_tls):
        raise UsageError("--ca and --insecure-tls are for tls:// and wss:// addresses")
    if arguments.insecure_tls:
        say("the server's certificate is not checked (--insecure-tls): anybody could be there")
    return Trust(arguments.ca, check=not arguments.insecure_tls)


def report(device: Device) -> dict[str, object]:
    """What `--json` prints."""
    counters = device.statistics
    return {
        "updates": counters.updates,
        "bytes": counters.bytes,
        "bytes_by_type": counters.bytes_by_type,
        "decode_us": counters.decode_us,
        "dropped": {"inputs": counters.inputs_refused, "updates": counters.updates_dropped},
        "input_to_update_ms": _times(counters),
        "input_echo_ms": percentiles(device.watch.echo_ms),
        "input_to_picture_ms": percentiles(device.watch.picture_ms),
        "missed": device.watch.missed,
    }


def _times(counters: Statistics) -> dict[str, float] | None:
    """From an input to the end of the first update that names it, as the C client counts it."""
    if not counters.inputs_shown:
        return None
    return {
        "count": counters.inputs_shown,
        "last": round(counters.input_to_picture_us / 1000, 3),
        "mean": round(counters.input_to_picture_sum_us / counters.inputs_shown / 1000, 3),
    }


def _acts(device: Device, action: Action, *, apart: bool) -> list[tuple[str, Any]]:
    if action.kind == "type" and apart:
        return [("type", character) for character in action.value]
    return [(action.kind, action.value)]


async def _act(device: Device, action: Action, probe: tuple[int, int] | None) -> None:
    if action.kind == "paste":
        await device.paste(action.value)
        return
    for kind, value in _acts(device, action, apart=probe is not None):

        def act(kind: str = kind, value: Any = value) -> None:
            if kind == "click":
                device.click(*value)
            elif kind == "type":
                device.type(value)
            else:
                device.key(value)

        if probe is None:
            echoes = len(device.watch.echo_ms)
            act()
            await device.wait_for(lambda seen=echoes: len(device.watch.echo_ms) > seen, ACTION_S)  # type: ignore[misc]
        else:
            await device.probe(*probe, act)


async def _status(device: Device, started_s: float) -> None:
    """A live line on a terminal."""
    last_bytes, last_s = 0, time.monotonic()
    while True:
        await trio.sleep(STATUS_S)
        counters, now = device.statistics, time.monotonic()
        rate = (counters.bytes - last_bytes) / (now - last_s) / 1024
        last_bytes, last_s = counters.bytes, now
        line = (
            f"{now - started_s:6.1f} s  {counters.updates} updates  {counters.bytes / 1024:.1f} KiB"
            f"  {rate:.1f} KiB/s  decode {counters.decode_us / 1000:.1f} ms"
        )
        if counters.inputs_shown:
            line += f"  input {counters.input_to_picture_us / 1000:.1f} ms"
        print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)


def _recording(arguments: argparse.Namespace) -> Recording | None:
    """Raises UsageError."""
    if arguments.record is None:
        if arguments.record_input:
            raise UsageError("--record-input goes with --record FILE")
        return None
    try:
        return Recording(
            arguments.record, title=arguments.address, panel_name=arguments.panel, keep_input=arguments.record_input
        )
    except RecordError as error:
        raise UsageError(str(error)) from error


async def _view(arguments: argparse.Namespace) -> int:
    panel = PANELS[arguments.panel]
    for x, y in [a.value for a in arguments.actions if a.kind == "click"] + [arguments.probe or (0, 0)]:
        if x >= panel.width or y >= panel.height:
            raise UsageError(f"{x},{y} lies outside the panel of {panel.width}x{panel.height}")
    key = read_key(arguments.auth_key_file) if arguments.auth_key_file else None
    view = None
    if arguments.fit or arguments.rotate:
        mode, rotation = ViewMode(int(arguments.fit)), Rotation(arguments.rotate // 90)
        view = m.View(mode=mode, rotation=rotation, follow=1, origin=Point(0, 0))
    trust = _trust(arguments)
    setup = Setup(
        panel=panel,
        device_id=arguments.device_id,
        key=key,
        ticket=read_ticket(arguments.ticket_file) if arguments.ticket_file else None,
        profile=arguments.profile,
        session=arguments.session,
        url=arguments.url,
        without=arguments.without,
        capabilities=Capability.INPUT_ECHO | Capability.CLIPBOARD,
        cursor=CURSORS[arguments.cursor],
        view=view,
        reconnect=arguments.reconnect,
        recording=_recording(arguments),
    )
    exit_code = 0
    async with open_device(arguments.address, setup, trust) as device, trio.open_nursery() as nursery:
        if sys.stderr.isatty():
            nursery.start_soon(_status, device, time.monotonic())
        try:
            await device.whole_picture()
            await _session(device, arguments)
        except DeviceError as error:
            say(str(error))
            exit_code = EXIT_ENDED
        nursery.cancel_scope.cancel()
        if sys.stderr.isatty():
            print(file=sys.stderr)
        if arguments.png is not None and device.presented:
            # While the connection stands: its end takes the cursor off.
            try:
                device.save_png(arguments.png)
            except OSError as error:
                say(f"{arguments.png} cannot be written: {error.strerror}")
                exit_code = EXIT_FAILED
    if setup.recording is not None and setup.recording.ended is not None:
        say(setup.recording.ended)
        exit_code = EXIT_FAILED
    if arguments.json:
        print(json.dumps(report(device)))
    return exit_code


async def _session(device: Device, arguments: argparse.Namespace) -> None:
    deadline = trio.current_time() + arguments.seconds if arguments.seconds is not None else None
    if arguments.settle:
        await device.settled(arguments.settle, arguments.settle + 30)
    for action in arguments.actions:
        await _act(device, action, arguments.probe)
    if deadline is None and (arguments.actions or arguments.png or arguments.json):
        deadline = trio.current_time() + AFTER_S
    left = deadline - trio.current_time() if deadline is not None else 1e9
    await device.wait_for(lambda: False, max(left, 0.0))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = parser().parse_args(argv)
    exit_code = EXIT_FAILED
    try:
        exit_code = trio.run(arguments.run, arguments)
    except* (StreamError, UsageError) as group:
        say(str(first_of(group)))
    except* KeyboardInterrupt:
        exit_code = 130
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
