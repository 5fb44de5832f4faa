"""`python -m tilewire.simulator.shaper`: a link, real TCP over it, and a table of what it did beside what was asked."""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final

import trio

from tilewire.simulator.shaper.counters import LaneCounters
from tilewire.simulator.shaper.link import Link, ShaperError
from tilewire.simulator.shaper.shaped import Shaped, open_shaped

EXIT_NO_LINK: Final = 1
EXIT_INTERRUPTED: Final = 130
CONNECTIONS: Final = 5
CONNECT_S: Final = 60.0
PIECE: Final = 1 << 16
SYN_BYTES: Final = 74
"""A frame of a handshake."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tilewire.simulator.shaper", description=__doc__)
    parser.add_argument("--link", type=float, metavar="KBIT/S", help="the rate of each direction (no bound)")
    parser.add_argument("--rtt", type=float, default=0.0, metavar="MS", help="round-trip time (0)")
    parser.add_argument("--loss", type=float, default=0.0, metavar="PERCENT", help="of frames, each direction (0)")
    parser.add_argument("--queue", type=float, default=32.0, metavar="KIB", help="of each direction (32)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the loss (0)")
    parser.add_argument("--for", type=float, default=5.0, dest="seconds", metavar="SECONDS", help="each direction (5)")
    return parser


async def _socket(link: Shaped, place: str) -> trio.socket.SocketType:
    return trio.socket.from_stdlib_socket(await link.socket_in(place))


async def _connection(
    link: Shaped, listener: trio.socket.SocketType
) -> tuple[trio.socket.SocketType, trio.socket.SocketType, float]:
    """A connection over the link, its near and its far end, and the seconds until it stood."""
    near = await _socket(link, "near")
    began_s = time.perf_counter()
    await near.connect(listener.getsockname())
    took_s = time.perf_counter() - began_s
    far, _ = await listener.accept()
    return near, far, took_s


async def _fill(sender: trio.socket.SocketType, receiver: trio.socket.SocketType, seconds: float) -> int:
    """Send as much as goes; payload bytes that were received."""
    received = 0

    async def send() -> None:
        while True:
            await sender.send(bytes(PIECE))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        with trio.move_on_after(seconds):
            while data := await receiver.recv(PIECE):
                received += len(data)
        nursery.cancel_scope.cancel()
    return received


def _row(what: str, asked: str, seen: str) -> None:
    print(f"{what:<28}{asked:>14}{seen:>22}")


def _show_lane(asked: Link, before: LaneCounters, after: LaneCounters, payload: int, seconds: float) -> None:
    carried = (after.delivered.bytes - before.delivered.bytes) * 8 / seconds / 1000
    rate = "no bound" if asked.kbit_s is None else f"{asked.kbit_s:g}"
    _row("  frames, kbit/s", rate, f"{carried:.1f}")
    _row("  TCP payload, kbit/s", "", f"{payload * 8 / seconds / 1000:.1f}")
    transmitted = after.lost.frames + after.delivered.frames + after.air.frames
    share = 100 * after.lost.frames / max(transmitted, 1)
    _row("  lost, %", f"{asked.loss_percent:g}", f"{share:.2f} ({after.lost.frames} of {transmitted})")
    _row("  most in the queue, KiB", f"<= {asked.queue_kib:g}", f"{after.queue_high_bytes / 1024:.1f}")
    _row("  found no room, frames", "", str(after.queue_full.frames))
    _row("  relay late, mean, us", "", f"{after.late_mean_us:.0f}")
    _row("  relay late, most, us", "", f"{after.late_most_us:.0f}")


async def _check(asked: Link, seconds: float) -> None:
    async with open_shaped(asked) as link:
        listener = await _socket(link, "far")
        await listener.bind((link.far.address, 0))
        listener.listen()
        took_s = []
        with trio.move_on_after(CONNECT_S):
            for _ in range(CONNECTIONS):
                near, far, one_s = await _connection(link, listener)
                took_s.append(one_s)
                near.close()
                far.close()
            near, far, _ = await _connection(link, listener)
        if len(took_s) < CONNECTIONS or near.fileno() < 0:
            raise ShaperError(f"no connection over {asked} in {CONNECT_S:g} s")
        name = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
        print(f"{asked}; TCP's congestion control: {name}\n")
        _row("", "asked", "seen")
        least_ms = asked.rtt_ms + (2 * SYN_BYTES * 8 / asked.kbit_s if asked.kbit_s else 0)
        _row(f"round trip, least of {CONNECTIONS}, ms", f"{least_ms:.2f}", f"{1000 * min(took_s):.2f}")
        with near, far:
            for lane, sender, receiver in (("down", far, near), ("up", near, far)):
                before, began_s = getattr(await link.counters(), lane), time.perf_counter()
                payload = await _fill(sender, receiver, seconds)
                after, lasted_s = getattr(await link.counters(), lane), time.perf_counter() - began_s
                print(f"{lane}, {lasted_s:.1f} s")
                _show_lane(asked, before, after, payload, lasted_s)
                if lane == "down":
                    # What is left of it would be counted to the other direction's time.
                    far.shutdown(socket.SHUT_WR)
                    while await near.recv(PIECE):
                        pass


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = _parser().parse_args(argv)
    exit_code = EXIT_NO_LINK
    try:
        asked = Link(
            kbit_s=arguments.link,
            rtt_ms=arguments.rtt,
            loss_percent=arguments.loss,
            queue_kib=arguments.queue,
            seed=arguments.seed,
        )
        trio.run(_check, asked, arguments.seconds)
        exit_code = 0
    except* ShaperError as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        print(f"shaper: {first}", file=sys.stderr)
    except* KeyboardInterrupt:
        exit_code = EXIT_INTERRUPTED
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
