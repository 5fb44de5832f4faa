"""`tilewire-sim replay FILE --qemu`: a recording played into the QEMU device, which counts what each update costs.

No network and no host clock take part: the device's clock counts instructions alone, and two runs cost the same.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tilewire.protocol import Capability, PixelFormat
from tilewire.protocol import messages as m
from tilewire.protocol.constants import CursorMode
from tilewire.protocol.playback import Play
from tilewire.protocol.recorder import Piece, Splitter, decoded
from tilewire.protocol.recording import RecordingError
from tilewire.simulator.command import first_of, nearest_rank, say
from tilewire.simulator.exits import Exit
from tilewire.simulator.machine import MOST_RECORDING, Event, Plan, find_firmware, find_qemu, open_machine
from tilewire.simulator.recording import RecordingFile
from tilewire.simulator.runner import CURSOR_NAMES
from tilewire.simulator.runner_exits import RunError, RunExit

MIPS: Final = 250
UNREADABLE, DIFFERS = 4, 6
"""As `replay` without --qemu has them."""
NOT_ASKED: Final = frozenset({m.Clipboard.type, m.Explanation.type})
"""What the firmware does not offer to take; neither draws."""
AGREED: Final = Capability.COPY | Capability.BELL | Capability.INPUT_ECHO
FORMATS: Final = {PixelFormat.RGB565: "rgb565", PixelFormat.XRGB8888: "xrgb8888"}
ENDS_S: Final = 600.0


def config_of(hello: m.Hello) -> dict[str, object]:
    """The firmware's configuration for a device like a recorded one. Raises RunError."""
    if hello.pixel_format not in FORMATS:
        raise RunError("the LCD controller shows RGB565 and XRGB8888, and this recording is neither", Exit.BAD_PANEL)
    readable = bool(hello.capabilities & Capability.COPY)
    cursor = CursorMode(hello.cursor.mode) if hello.cursor else CursorMode.NONE
    width, height = hello.panel.width, hello.panel.height
    config: dict[str, object] = {
        "panel": f"{width}x{height}",
        "format": FORMATS[PixelFormat(hello.pixel_format)],
        "receive": hello.max_message,
        "max_rect": f"{hello.max_rect.width} {hello.max_rect.area}",
        "model": hello.model_kib,
        "cursor": CURSOR_NAMES[cursor],
        "jpeg": "yes" if hello.jpeg is not None and hello.jpeg.subsamplings else "no",
        "copy": "yes" if readable else "no",
        "watchdog": 0,  # a message at 125 MIPS is long for a clock that counts instructions alone
    }
    if not readable:
        config["strip"] = min(max(hello.max_rect.area // width, 1), height)
    if hello.cursor is not None and cursor is CursorMode.LOCAL:
        config["cursor_side"] = hello.cursor.max_side
    if hello.cache is not None and hello.cache.slots:
        config["cache"] = f"{hello.cache.slots} {hello.cache.slot_bytes}"
    return config


def stream_of(file: RecordingFile, start_us: int, until_us: int | None) -> bytes:
    """The server's stream in one piece, without what the firmware does not take. Raises RecordingError, RunError."""
    splitter = Splitter()
    stream = bytearray()
    for item in file.play(start_us):
        if until_us is not None and item.time_us > until_us:
            break
        if isinstance(item, Play):
            for piece in splitter.feed(item.data):
                if piece.type == m.Welcome.type:
                    stream += _welcomed(piece)
                elif piece.type not in NOT_ASKED:
                    stream += piece.data
        if len(stream) > MOST_RECORDING:
            raise RunError(f"the recording has more than {MOST_RECORDING >> 20} MiB: --from and --to", RunExit.FAILED)
    return bytes(stream)


def _welcomed(piece: Piece) -> bytes:
    """WELCOME agrees to nothing that the firmware does not offer."""
    welcome = decoded(piece)
    if not isinstance(welcome, m.Welcome):
        return piece.data
    return replace(welcome, capabilities=welcome.capabilities & AGREED).encode()


async def play(
    path: Path, *, mips: int, firmware: Path | None, start_us: int = 0, until_us: int | None = None, png: Path | None
) -> dict[str, object]:
    """Play it; the report. Raises RunError, RecordingError and OSError, RunError also in groups."""
    qemu, elf = find_qemu(), find_firmware(firmware)
    file = RecordingFile(path)
    stream = stream_of(file, start_us, until_us)
    config = config_of(file.hello) | {"replay": len(stream), "mips": mips}
    plan = Plan(
        config=config,
        firmware=elf,
        qemu=qemu,
        net=None,
        mips=mips,
        sleep=False,
        recording=stream,
        keep_memory=png is not None,
    )
    async with open_machine(plan) as machine:
        ended = await machine.wait_for(lambda: machine.find("replay"), ENDS_S)
        total = machine.find("replay")
        if not ended or total is None:
            raise RunError(f"the recording was not played in {ENDS_S:g} s", RunExit.WAITED)
        await machine.exited()
        if machine.exit_status != Exit.STOPPED:
            raise machine.failure()
        if png is not None:
            machine.remains().save_png(png)
        parts = [event for event in machine.events if event["event"] == "update"]
    return _report(plan, total, parts)


def _report(plan: Plan, total: Event, parts: list[Event]) -> dict[str, object]:
    costs = [part["decode_us"] for part in parts]

    def part(share: float) -> int | None:
        return int(nearest_rank(costs, share)) if costs else None

    return {
        "clock": {"mode": plan.clock},
        "mips": plan.mips,
        "updates": total["updates"],
        "bytes": total["bytes"],
        "pixels": total["pixels"],
        "instructions": total["instructions"],
        "instructions_per_pixel": round(total["instructions"] / total["pixels"], 3) if total["pixels"] else None,
        "decode_us": {"sum": total["decode_us"], "p50": part(0.5), "p95": part(0.95), "max": part(1.0)},
        "crc32": total["crc32"],
    }


async def run(arguments: argparse.Namespace, expected: int) -> int:
    """`tilewire-sim replay --qemu`; the exit status. `expected`: the CRC-32 of the panel's pixels at the end."""
    path: Path = arguments.file
    failure: tuple[str, int] | None = None
    try:
        made: dict[str, Any] = await play(
            path,
            mips=arguments.mips or MIPS,
            firmware=arguments.firmware,
            start_us=round((arguments.start or 0) * 1e6),
            until_us=None if arguments.stop is None else round(arguments.stop * 1e6),
            png=arguments.png,
        )
    except* RunError as group:
        error = first_of(group)
        assert isinstance(error, RunError)
        failure = (str(error), error.code)
    except* RecordingError as group:
        failure = (f"{path}: {first_of(group)}", UNREADABLE)
    except* OSError as group:
        broken = first_of(group)
        assert isinstance(broken, OSError)
        failure = (f"{broken.filename or path}: {broken.strerror}", RunExit.FAILED)
    if failure is not None:
        say(failure[0])
        return failure[1]
    if arguments.json:
        print(json.dumps(made))
    else:
        cost = made["decode_us"]
        print(
            f"{made['updates']} updates, {made['bytes']} bytes, {made['instructions_per_pixel']} instructions a pixel; "
            f"at {made['mips']} MIPS an update takes {cost['p50']} us (95%: {cost['p95']}, most: {cost['max']})"
        )
    if made["crc32"] != expected:
        say(f"{path}: the LCD does not show what the C client shows here")
        return DIFFERS
    return 0
