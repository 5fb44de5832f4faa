"""`tilewire-sim replay`: a recording played into the C client in this process, or made into a test vector."""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from tilewire.protocol import Capability, PixelFormat
from tilewire.protocol import messages as m
from tilewire.protocol.constants import CursorMode
from tilewire.protocol.errors import LocalProtocolError
from tilewire.protocol.playback import Play
from tilewire.protocol.recorder import Splitter, decoded
from tilewire.protocol.recording import RecordingError, checksum
from tilewire.protocol.vectors import CLIENT, SERVER, Exchange, as_text
from tilewire.simulator import runner_replay
from tilewire.simulator.client import Client, ClientConfig, ClientError, Jpeg, status_text
from tilewire.simulator.command import say
from tilewire.simulator.picture import save_png, to_rgb
from tilewire.simulator.recording import RecordingFile

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXIT_FAILED: Final = 1
EXIT_UNREADABLE: Final = 4
"""No recording, a later version's, or damaged; what could be read was played."""
EXIT_CUT: Final = 5
"""The recording was not closed; what there is was played, and is right."""
EXIT_DIFFERS: Final = 6
"""The client refused what it was played, or does not show what the recorded device showed."""
STATUS_S: Final = 0.25
VECTOR_BYTES: Final = 128 << 10
"""Of the server; a vector's events are written out, and the reference decoder is slow."""
MAX_CACHE: Final = 1 << 28
"""Twice what the largest standard panel has: a file is not to ask for more memory than there is."""
UNABLE: Final = "this recording's device takes DEFLATE, which the C client does not"


class ReplayFailed(Exception):
    """A plain sentence, with the exit code."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def config_of(hello: m.Hello) -> ClientConfig:
    """A C client that says what a recorded device said, but for a proof and what it wants to resume.

    Raises ReplayFailed.
    """
    if hello.deflate_bits:
        raise ReplayFailed(UNABLE, EXIT_FAILED)
    readable = bool(hello.capabilities & Capability.COPY)
    cursor = hello.cursor or m.CursorOffer(mode=0, max_side=0)
    cache = hello.cache or m.CacheOffer(slots=0, slot_bytes=0)
    if cache.slots * cache.slot_bytes > MAX_CACHE:
        raise ReplayFailed(f"this recording's device has a cache of more than {MAX_CACHE >> 20} MiB", EXIT_FAILED)
    jpeg = hello.jpeg or m.JpegOffer(subsamplings=0, scales=0)
    return ClientConfig(
        width=hello.panel.width,
        height=hello.panel.height,
        pixel_format=PixelFormat(hello.pixel_format),
        readable=readable,
        max_message=hello.max_message,
        max_rect_width=hello.max_rect.width,
        max_rect_area=hello.max_rect.area,
        device_id=hello.device_id,
        boot_id=hello.boot_id,
        nonce=hello.nonce,
        profile=hello.profile,
        session=hello.session,
        url=hello.url,
        density=hello.density or 0,
        cursor=CursorMode(cursor.mode),
        cursor_side=cursor.max_side,
        overlay=not readable,
        capabilities=hello.capabilities & ~Capability.COPY,
        model_kib=hello.model_kib,
        cache_slots=cache.slots,
        cache_slot_bytes=cache.slot_bytes,
        jpeg=Jpeg.CORE if jpeg.subsamplings else None,
        jpeg_subsamplings=jpeg.subsamplings,
    )


class Replay:
    """One playing of a recording into a C client. Raises RecordingError, OSError and ReplayFailed."""

    def __init__(self, path: Path, *, start_us: int = 0, chunk: int | None = None) -> None:
        self.file = RecordingFile(path)
        self._items = self.file.play(start_us)
        self._chunk = chunk
        try:
            self.client = Client(config_of(self.file.hello))
        except ClientError as error:
            raise ReplayFailed(f"the C client cannot be this recording's device: {error}", EXIT_FAILED) from error
        self.client.output()
        self.checked = self.wrong = 0
        self.began_us: int | None = None
        self.at_us = 0
        self.complete = True

    async def run(self, speed: float | None, until_us: int | None = None) -> None:
        """Play: at `speed` times its own (None: as fast as it goes), up to a time of the recording."""
        started_s = trio.current_time()
        for item in self._items:
            if until_us is not None and item.time_us > until_us:
                break
            if self.began_us is None:
                self.began_us = item.time_us
            if speed is None:
                await trio.lowlevel.checkpoint()
            else:
                await trio.sleep_until(started_s + (item.time_us - self.began_us) / 1e6 / speed)
            self.at_us = item.time_us
            if isinstance(item, Play):
                self._feed(item.data)
            else:
                self._check(item.checksum)
        self.complete = self.file.ending is None or self.file.ending.complete

    def _feed(self, data: bytes) -> None:
        step = self._chunk or max(len(data), 1)
        for at in range(0, len(data), step):
            self.client.feed(data[at : at + step])
        self.client.output()
        self.client.events.clear()
        if self.client.error is not None:
            text = status_text(self.client.error)
            raise ReplayFailed(
                f"the client refused what it was played at {self.at_us / 1e6:.3f} s: {text}", EXIT_DIFFERS
            )

    def _check(self, expected: int) -> None:
        self.checked += 1
        self.wrong += checksum(self.client.framebuffer, self.client.config.pixel_format) != expected

    def report(self) -> dict[str, object]:
        """What `--json` prints."""
        counters = self.client.statistics
        return {
            "updates": counters.updates,
            "bytes": counters.bytes,
            "bytes_by_type": counters.bytes_by_type,
            "decode_us": counters.decode_us,
            "from_s": round((self.began_us or 0) / 1e6, 6),
            "to_s": round(self.at_us / 1e6, 6),
            "keyframes": len(self.file.keyframes),
            "checked": self.checked,
            "wrong": self.wrong,
            "complete": self.complete,
        }

    @property
    def shown(self) -> int:
        """The CRC-32 of the pixels that the panel shows, its cursor among them."""
        return zlib.crc32(self.client.screen)

    def save_png(self, path: Path) -> None:
        """Write the picture, with its cursor. Raises OSError."""
        rgb = to_rgb(self.client.screen, self.client.config.pixel_format)
        save_png(path, rgb, (self.client.width, self.client.height))


def vector_of(file: RecordingFile, name: str, start_us: int = 0, until_us: int | None = None) -> dict[str, Any]:
    """An exchange in the format of protocol/vectors: the updates from a keyframe on, VECTOR_BYTES of them at most.

    Raises RecordingError and ReplayFailed. The picture at its end is the reference decoder's.
    """
    items = file.play(start_us)
    offer = replace(file.hello, resume=None)
    exchange = Exchange(name, f"recorded: {file.meta.title or 'a session'}", offer)
    exchange.say(CLIENT, offer)
    splitter = Splitter()
    waiting: list[Any] = []
    size = updates = 0
    try:
        for item in items:
            if until_us is not None and item.time_us > until_us:
                break
            for piece in splitter.feed(item.data) if isinstance(item, Play) else ():
                waiting.append(m.Reply.decode_body(piece.body)[0] if piece.type is None else decoded(piece))
                size += len(piece.data)
                if size > VECTOR_BYTES and updates:
                    return exchange.vector()
                if piece.type in (None, m.Welcome.type, m.End.type):
                    _exchange(exchange, [event for event in waiting if event is not None])
                    updates += piece.type == m.End.type
                    waiting.clear()
    except LocalProtocolError as error:
        raise ReplayFailed(f"no vector can be made of this: {error}", EXIT_DIFFERS) from error
    if not updates:
        raise ReplayFailed("no vector can be made of this: there is no whole update in it", EXIT_FAILED)
    return exchange.vector()


def _exchange(exchange: Exchange, events: Iterable[Any]) -> None:
    data = b"".join(exchange.ends[SERVER].send(event) for event in events)
    exchange.deliver(SERVER, data, canonical=True)
    if exchange.error is not None:
        raise ReplayFailed(f"no vector can be made of this: it is refused with {exchange.error['code']}", EXIT_DIFFERS)


# The command.


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes from 1 on")
    return int(text)


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """The `replay` command's options."""
    replay = commands.add_parser("replay", help="play a recording into the C client")
    replay.set_defaults(run=run)
    replay.add_argument(
        "file", type=Path, metavar="FILE", help="what --record of `tilewire run`, `view` or `run` has written"
    )
    pace = replay.add_mutually_exclusive_group()
    pace.add_argument("--speed", type=_positive, default=1.0, metavar="X", help="so many times its own speed (1)")
    pace.add_argument("--full-speed", action="store_true", help="as fast as it goes")
    replay.add_argument(
        "--from", type=_positive, dest="start", metavar="SECONDS", help="begin at the last keyframe before this"
    )
    replay.add_argument("--to", type=_positive, dest="stop", metavar="SECONDS", help="end here")
    replay.add_argument("--chunk", type=_count, metavar="N", help="give the client so many bytes at a time")
    replay.add_argument("--png", type=Path, metavar="FILE", help="write the picture at the end")
    replay.add_argument("--vector", type=Path, metavar="FILE", help="play nothing, write a test vector (JSON)")
    replay.add_argument("--json", action="store_true", help="print one object as the last line")
    machine = replay.add_argument_group("in the QEMU device, as fast as it goes, instructions counted")
    machine.add_argument("--qemu", action="store_true", help="play it there")
    machine.add_argument("--mips", type=int, choices=(125, 250, 500, 1000), help="million instructions a second (250)")
    machine.add_argument("--firmware", type=Path, metavar="FILE", help="another build of it (ELF)")


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


async def run(arguments: argparse.Namespace) -> int:
    """`tilewire-sim replay`; the exit code."""
    path: Path = arguments.file
    if arguments.qemu:
        if arguments.vector is not None or arguments.chunk is not None or arguments.speed != 1.0:
            say("--vector, --chunk and --speed do not go with --qemu: it counts instructions, as fast as it goes")
            return 2
    elif arguments.mips or arguments.firmware:
        say("--mips and --firmware go with --qemu")
        return 2
    try:
        return await _run(path, arguments)
    except RecordingError as error:
        say(f"{path}: {error}")
        return EXIT_UNREADABLE
    except ReplayFailed as error:
        say(f"{path}: {error}")
        return error.exit_code
    except OSError as error:
        say(f"{error.filename or path}: {error.strerror}")
        return EXIT_FAILED


async def _run(path: Path, arguments: argparse.Namespace) -> int:
    start_us, until_us = _us(arguments.start) or 0, _us(arguments.stop)
    if arguments.vector is not None:
        name: str = arguments.vector.stem
        vector = vector_of(RecordingFile(path), name, start_us, until_us)
        arguments.vector.write_text(as_text("Made of a recording by tilewire-sim replay --vector.", [vector]))
        return 0
    replay = Replay(path, start_us=start_us, chunk=arguments.chunk)
    broken: RecordingError | None = None
    async with trio.open_nursery() as nursery:
        if sys.stderr.isatty():
            nursery.start_soon(_status, replay, time.monotonic())
        try:
            await replay.run(None if arguments.full_speed or arguments.qemu else arguments.speed, until_us)
        except RecordingError as error:
            broken = error
            replay.complete = False
        nursery.cancel_scope.cancel()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if arguments.qemu:
        # Played here first, so that there is something to compare with; what is damaged does not go to the device.
        status = await runner_replay.run(arguments, replay.shown) if broken is None else 0
        if status:
            return status
    else:
        if arguments.png is not None:
            replay.save_png(arguments.png)
        if arguments.json:
            print(json.dumps(replay.report()))
    if broken is not None:
        say(f"{path}: {broken}; what stands before it was played, up to {replay.at_us / 1e6:.3f} s")
        return EXIT_UNREADABLE
    if replay.wrong:
        say(f"{path}: {replay.wrong} of {replay.checked} pictures are not what the recorded device showed")
        return EXIT_DIFFERS
    if not replay.complete:
        say(f"{path}: the recording was cut off; all of it that is whole was played, up to {replay.at_us / 1e6:.3f} s")
        return EXIT_CUT
    return 0


async def _status(replay: Replay, started_s: float) -> None:
    """A live line on a terminal."""
    total = replay.file.end.duration_us / 1e6 if replay.file.end is not None else None
    while True:
        counters = replay.client.statistics
        of = f" of {total:.1f}" if total is not None else ""
        line = (
            f"{time.monotonic() - started_s:6.1f} s  at {replay.at_us / 1e6:.1f}{of} s  {counters.updates} updates"
            f"  {counters.bytes / 1024:.1f} KiB  decode {counters.decode_us / 1000:.1f} ms"
        )
        print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)
        await trio.sleep(STATUS_S)
