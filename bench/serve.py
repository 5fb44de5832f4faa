"""The figures of hosted sessions: from nothing to the first picture on a device, and back to nothing.

    python -m bench serve [--quick] [--json] [--cycles N]

`tilewire serve` runs as a process of its own; a device with a key (the C client in this process) connects and
gets a session of its own, which is then closed by the API. Rows (bench/out/serve.json), medians and 95% of so many:

- `picture_ms`: from the device's connecting to its first picture with text on it: the program has drawn.
- `close_ms`: from the call that closes the session to its answer: then the last process is gone.
- `left`: descriptors, processes and folders that the server has more of than after the first five sessions;
  `grown_KiB`: its memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.protocol import DEFAULT_PANEL, PANELS
from tilewire.simulator.command import first_of
from tilewire.simulator.device import DeviceError, Setup, open_device
from tilewire.simulator.stream import StreamError

from bench.report import Row, marked, percentile, table, write
from tests.server.hosting import new_ground
from tools.serving import Serving, ServingError, serving, tilewire

SETTLED: Final = 5
"""Sessions after which the server has all the memory that it keeps."""
PICTURE_S: Final = 30.0
VALUES: Final = 4
"""Of bytes, at least, on a panel that shows text: red on yellow beside black has four."""
MOST_MS: Final = {"xterm": 700.0, "chromium": 3000.0}
MOST_CLOSE_MS: Final = 3000.0
CONFIG: Final = """
[profiles.xterm]
command = ["xterm", "-geometry", "60x20+0+0", "-bg", "yellow", "-fg", "red", "-e", "sh", "-c", "echo ready; read line"]

[profiles.chromium]
kind = "chromium"
url = "http://example.com:PORT/"
host_resolver_rules = "MAP example.com 127.0.0.1"
"""
PAGE: Final = b"<!doctype html><title>A page</title><h1>A page</h1><p>with some text on it, and nothing else.</p>"


def say(text: str) -> None:
    """Progress, apart from the table."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def left(server: Serving) -> dict[str, int]:
    """What the server has now."""
    pid = server.process.pid
    status = Path(f"/proc/{pid}/status").read_text()
    return {
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "processes": len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()),
        "folders": len(list((server.state / "sessions").iterdir())),
        "KiB": int(status.partition("VmRSS:")[2].split()[0]),
    }


async def one(server: Serving, profile: str, key: bytes) -> tuple[float, float]:
    """Milliseconds to a picture, and to the end. Raises DeviceError and StreamError, also in groups."""
    setup = Setup(panel=PANELS[DEFAULT_PANEL], device_id="bench", key=key, profile=profile)
    began_s = time.perf_counter()
    async with open_device(server.devices, setup) as device:
        with trio.fail_after(PICTURE_S):
            await device.whole_picture()
            while len(set(device.memory())) < VALUES:
                seen = device.presented
                await device.wait_for(lambda: device.presented > seen, PICTURE_S)  # noqa: B023 - it is waited for here
        picture_ms = (time.perf_counter() - began_s) * 1000
    session = server.sessions()[0]["session_id"]
    began_s = time.perf_counter()
    answer = server.call("POST", f"/api/session/{session}/close")
    assert answer.status == 200, answer
    return picture_ms, (time.perf_counter() - began_s) * 1000


@contextmanager
def page_server(page: bytes = PAGE) -> Iterator[int]:
    """A page over HTTP on loopback; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def measure(profile: str, times: int, folder: Path, port: int) -> dict[str, Any]:
    """One row."""
    with serving(folder, CONFIG.replace("PORT", str(port))) as server:
        made = tilewire("device", "add", "bench", "--state", server.state, "--json")
        key = bytes.fromhex(json.loads(made.stdout)["key"])
        pairs = []
        before: dict[str, int] = {}
        for number in range(SETTLED + times):
            if number == SETTLED:
                before = left(server)
            pairs.append(trio.run(one, server, profile, key))
            if number % 25 == 24:
                say(f"{profile}: {number + 1} sessions, {left(server)['KiB']} KiB")
        after = left(server)
    pictures, closes = ([pair[i] for pair in pairs[SETTLED:]] for i in (0, 1))
    return {
        "profile": profile,
        "sessions": times,
        "picture_ms": round(percentile(pictures, 50)),
        "picture_p95_ms": round(percentile(pictures, 95)),
        "close_ms": round(percentile(closes, 50)),
        "close_most_ms": round(max(closes)),
        "left": sum(after[name] - before[name] for name in ("descriptors", "processes", "folders")),
        "grown_KiB": after["KiB"] - before["KiB"],
    }


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Beside what is aimed at."""
    said = []
    for row in rows:
        name = str(row["profile"])
        for column, bound in (("picture_ms", MOST_MS[name]), ("close_most_ms", MOST_CLOSE_MS), ("left", 0)):
            value = row[column]
            good = isinstance(value, int) and value <= bound
            said.append(marked(f"{name}: {column} {value}, aimed at <= {bound:g}", good))
    return said


def main(argv: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench serve", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, for a look")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--cycles", type=int, metavar="N", help="so many sessions of xterm, and none of Chromium")
    arguments = parser.parse_args(argv)
    failure: BaseException | None = None
    rows: list[Row] = []
    few = 3 if arguments.quick else 20
    wanted = {"xterm": arguments.cycles} if arguments.cycles else {"xterm": few, "chromium": few}
    try:
        with new_ground() as folder, page_server() as port:
            for profile, times in wanted.items():
                say(profile)
                rows.append(measure(profile, times, folder / profile, port))
    except* (DeviceError, StreamError, ServingError) as group:
        failure = first_of(group)
    if failure is not None:
        say(str(failure))
        return 1
    if arguments.json:
        print(json.dumps(rows))
    else:
        print(table(rows))
        print("\n".join(verdicts(rows)))
    say(f"rows in {write('serve', rows)}")
    return 0
