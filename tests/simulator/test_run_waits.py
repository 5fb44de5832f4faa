"""What the tests wait with gives up, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulator import lines
from tools import served

SILENT = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_process_that_says_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "WITHIN_S", 0.2)
    with subprocess.Popen(SILENT, stderr=subprocess.PIPE, text=True) as process:
        with pytest.raises(AssertionError, match=r"killed after 0\.2 s: \[\]"):
            lines.until_line(process, "showing\n")
    assert process.returncode == -signal.SIGKILL


def test_a_server_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "STOP_S", 0.2)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    words = ["run", "--listen", "127.0.0.1:0", "--", "xterm"]
    with pytest.raises(served.ServedError, match=r"the server did not stop in 0\.2 s and was killed; see "):
        with served.served(words, tmp_path / "log") as server:
            os.kill(server.pid, signal.SIGSTOP)
    assert not Path(f"/proc/{server.pid}").exists()
