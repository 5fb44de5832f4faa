"""python -m bench [NAME [OPTIONS]]: measure, print a table, write bench/out/NAME.json. Without a name: all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from bench import bytes as on_the_wire
from bench import codec, device, jpeg, qemu, serve, small, views

BENCHMARKS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "bytes": (on_the_wire.main, "bytes on the wire, beside what a user would pick instead"),
    "codec": (codec.main, "the tile codec by itself: bytes, speed, instructions"),
    "device": (device.main, "devices that come back, point, and move their window: bytes, round trips, rates"),
    "jpeg": (jpeg.main, "the JPEG decoder by itself: instructions, accuracy"),
    "qemu": (
        qemu.main,
        "the QEMU device: its start, a page that scrolls, a typed character, slow links",
    ),
    "serve": (serve.main, "hosted sessions: to the first picture and back to nothing"),
    "small": (small.main, "small updates: latency, bytes, an idle screen"),
    "views": (views.main, "pictures scaled, turned and converted for a panel: speed"),
}


def main(argv: Sequence[str]) -> int:
    """Run the benchmark that the first argument names, or all."""
    if not argv:
        return max(run([]) for run, _ in BENCHMARKS.values())
    if argv[0] in BENCHMARKS:
        return BENCHMARKS[argv[0]][0](argv[1:])
    print("usage: python -m bench [NAME [OPTIONS]]\n")
    for name, (_, about) in BENCHMARKS.items():
        print(f"  {name:10} {about}")
    return 0 if argv[0] in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
