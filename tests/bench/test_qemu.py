"""`python -m bench qemu`: it runs, and its rows say what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import qemu, report


def test_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(report, "OUT", tmp_path)
    assert qemu.main(["--quick", "--json", "--only", "boot,type,link"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == json.loads((tmp_path / "qemu.json").read_text())
    boot, typed, link = rows
    assert (boot["what"], boot["starts"]) == ("boot", 3)
    assert 0 < boot["picture_ms"] < boot["host_ms"]
    assert (typed["what"], typed["mips"]) == ("type", 125)
    # An update may show two characters.
    assert 1 <= typed["shown"] <= 16
    assert 0 < typed["shown_ms"] <= typed["shown_p95_ms"]
    assert (link["kbit_s"], link["rtt_ms"], link["loss_%"]) == (1000, 100, 1)
    # HELLO and its answer took two round trips; by the device's clock, which may fall behind.
    assert link["picture_ms"] > 100
    assert link["updates_per_s"] > 0
    assert 0 < link["used_%"] < 100


def test_a_part_that_is_none() -> None:
    command = [sys.executable, "-m", "bench", "qemu", "--only", "dance"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "'dance' is none of boot, scroll, type, link" in done.stderr
