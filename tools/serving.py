"""`tilewire serve` as a process of its own, for tests and benchmarks."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

WITHIN_S: Final = 30.0
PROFILES: Final = """
[profiles.term]
command = ["xterm", "-geometry", "60x20+0+0", "-bg", "white", "-fg", "black", "-e", "sh", "-c", "read line"]
size = "400x300"

[profiles.other]
command = ["xterm", "-geometry", "60x20+0+0", "-bg", "black"]
size = "400x300"
"""


class ServingError(Exception):
    """The server did not start, or something did not come about in time; the end of its log."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of the API."""

    status: int
    body: Any


@dataclass(slots=True)
class Serving:
    """A running server."""

    process: subprocess.Popen[bytes]
    folder: Path
    devices: str
    api: str

    @property
    def log(self) -> str:
        """All that it said."""
        return (self.folder / "log").read_text()

    @property
    def state(self) -> Path:
        """Its folder."""
        return self.folder / "state"

    @property
    def token(self) -> str:
        """The operator's."""
        return (self.state / "operator-token").read_text().strip()

    def call(self, method: str, path: str, body: object = None, token: str | None = "") -> Answer:
        """One call; `token`: another than the operator's, None for none."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token or self.token}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://{self.api}{path}", data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=WITHIN_S) as answer:
                return Answer(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.loads(error.read()))

    def sessions(self) -> list[dict[str, Any]]:
        """Those that are there."""
        found: list[dict[str, Any]] = self.call("GET", "/api/sessions").body["sessions"]
        return found

    def until(self, test: Callable[[], object]) -> None:
        """Return once it holds."""
        deadline = time.monotonic() + WITHIN_S
        while not test():
            if time.monotonic() > deadline:
                raise ServingError(f"waited for {WITHIN_S:g} s; the log ends: {self.log[-2000:]}")
            time.sleep(0.02)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)


def tilewire(*words: object) -> subprocess.CompletedProcess[str]:
    """Another `tilewire` command, to its end."""
    line = [sys.executable, "-m", "tilewire.server.cli", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=WITHIN_S, check=False)


@contextmanager
def serving(folder: Path, config: str = PROFILES, *words: object) -> Iterator[Serving]:
    """A server whose state is in `folder`, which other users can pass through; ended at the end.

    Raises ServingError.
    """
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    (folder / "tilewire.toml").write_text(config)
    line = [sys.executable, "-m", "tilewire.server.cli", "serve", "--config", folder / "tilewire.toml"]
    line += ["--state", folder / "state", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    line += ["--calls-per-minute", 100_000, "--handshakes-per-minute", 100_000, *words]
    with (folder / "log").open("ab") as log:
        begun = log.tell()
        with subprocess.Popen([str(word) for word in line], stdout=log, stderr=log) as process:
            made = Serving(process, folder, "", "")
            try:
                ready = re.compile(r"devices connect to (\S+)\n.*the API answers at (\S+)\n.*operators use", re.DOTALL)
                made.until(lambda: ready.search(made.log[begun:]) or process.poll() is not None)
                found = ready.search(made.log[begun:])
                if found is None:
                    raise ServingError(f"the server did not start: {made.log[-2000:]}")
                made.devices, made.api = found[1], found[2]
                yield made
            finally:
                if process.poll() is None:
                    process.terminate()
                try:
                    process.wait(WITHIN_S)
                except subprocess.TimeoutExpired:
                    process.kill()
