"""`python -m bench qemu`: it runs, and its rows say what was measured."""

from __future__ import annotations

import json
import subprocess
import sys


def test_it_runs() -> None:
    command = [sys.executable, "-m", "bench", "qemu", "--quick", "--json", "--only", "boot,type"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    boot, typed = json.loads(done.stdout)
    assert (boot["what"], boot["starts"]) == ("boot", 3)
    assert 0 < boot["picture_ms"] < boot["host_ms"]
    assert (typed["what"], typed["mips"]) == ("type", 125)
    # An update may show two characters.
    assert 1 <= typed["shown"] <= 16
    assert 0 < typed["shown_ms"] <= typed["shown_p95_ms"]


def test_a_part_that_is_none() -> None:
    command = [sys.executable, "-m", "bench", "qemu", "--only", "dance"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "'dance' is none of boot, scroll, type" in done.stderr
