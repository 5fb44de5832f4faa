"""`make fuzz`: libFuzzer on the C client's targets, and damage to recorded sessions, for longer than tests can take.

What the targets learn is kept in build/fuzz/corpus and where they start next time. An input that fails is a file in
build/fuzz/found: it belongs into tests/clients/regressions, with its cure.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.clients import seeds
from tests.clients.recorded import ALL, BROKEN

ROOT: Final = Path(__file__).resolve().parent.parent
CLIENT: Final = ROOT / "clients/threadx"
FOLDER: Final = ROOT / "build/fuzz"
TARGETS: Final[dict[str, Callable[[], list[bytes]]]] = {
    "feed": seeds.feed_inputs,
    "codec": seeds.codec_inputs,
    "jpeg": seeds.jpeg_inputs,
}
DAMAGE: Final = "damage"
SECONDS: Final = 60
EVERY: Final = 512
"""Bytes from one damage to the next in one run over a session; the next run begins a byte later."""
SANITIZERS: Final = "address,undefined"


class FuzzError(Exception):
    """A plain sentence."""


def say(target: str, text: str) -> None:
    """One line of progress."""
    print(f"fuzz: {target:<7} {text}", flush=True)


def build(name: str, source: Path, *flags: str) -> Path:
    """A target under ASan and UBSan. Raises FuzzError."""
    made = FOLDER / name
    words: list[str | Path] = ["clang", "-std=c99", "-g", "-O2", *flags, "-fno-sanitize-recover=all"]
    words += [f"-I{CLIENT / 'include'}", f"-I{CLIENT / 'src'}", *sorted((CLIENT / "src").glob("*.c")), source]
    try:
        done = subprocess.run([*words, "-o", made], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise FuzzError("clang is missing: make setup installs it") from None
    if done.returncode != 0:
        raise FuzzError(f"{source.name} does not compile: {done.stderr.strip()[-600:]}")
    return made


def libfuzzer(name: str, seconds: int) -> list[Path]:
    """Run a target; the inputs that it failed on. Raises FuzzError."""
    target = build(name, ROOT / f"tests/clients/fuzz_{name}.c", "-DTW_FUZZER", f"-fsanitize=fuzzer,{SANITIZERS}")
    corpus, start, found = FOLDER / "corpus" / name, FOLDER / "seeds" / name, FOLDER / "found" / name
    for folder in (corpus, start, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(TARGETS[name]()):
        (start / f"{number:03}").write_bytes(data)
    before = set(found.iterdir())
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", f"-artifact_prefix={found}/"]
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    with subprocess.Popen(
        [target, *options, "-print_final_stats=1", corpus, start],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=FOLDER,
    ) as process:
        assert process.stderr is not None
        last: list[str] = []
        said = time.monotonic()
        for line in process.stderr:
            last = [*last[-60:], line]
            progress = re.match(r"#(\d+)\s+\S+\s+cov: (\d+).*corp: (\d+)", line)
            if progress and time.monotonic() > said + 10:
                said = time.monotonic()
                say(name, f"{progress[1]} inputs, {progress[2]} places reached, {progress[3]} kept")
    new = sorted(set(found.iterdir()) - before)
    runs = re.search(r"number_of_executed_units: (\d+)", "".join(last))
    if process.returncode != 0:
        if not new:
            raise FuzzError(f"{name} failed: {''.join(last[-12:]).strip()}")
        print("".join(last[-40:]), file=sys.stderr)
    say(name, f"{runs[1] if runs else '?'} inputs in {seconds} s, {len(new)} failed")
    return new


def damage(seconds: int) -> list[str]:
    """Every bit of every byte of the sessions, as far as time goes; the calls that failed. Raises FuzzError."""
    target = build(DAMAGE, BROKEN, f"-fsanitize={SANITIZERS}")
    end = time.monotonic() + seconds
    failed: list[str] = []
    tried = 0
    for first in range(EVERY):
        for session in ALL:
            words = ["damage", str(session.path), str(EVERY), str(first), "0"]
            done = subprocess.run([target, *words], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                failed.append(f"{target.relative_to(ROOT)} {' '.join(words)}")
                print(done.stderr[-3000:], file=sys.stderr)
                continue
            tried += int(done.stdout.split()[2])
        if time.monotonic() > end:
            say(DAMAGE, f"{tried} damages, in {first + 1} of each {EVERY} bytes, {len(failed)} runs failed")
            return failed
        if first % 16 == 15:
            say(DAMAGE, f"{tried} damages, in {first + 1} of each {EVERY} bytes")
    say(DAMAGE, f"{tried} damages, all that there are")
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzz the C client.")
    parser.add_argument("seconds", metavar="SECONDS", nargs="?", type=int, default=SECONDS, help="for each target")
    parser.add_argument("--target", action="append", choices=[*TARGETS, DAMAGE], help="only this; may be repeated")
    given = parser.parse_args(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)

    def one(name: str) -> list[str]:
        if name == DAMAGE:
            return damage(given.seconds)
        return [str(path.relative_to(ROOT)) for path in libfuzzer(name, given.seconds)]

    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = [line for lines in pool.map(one, given.target or [*TARGETS, DAMAGE]) for line in lines]
    except FuzzError as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return 1
    for line in found:
        print(f"fuzz: failed: {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
