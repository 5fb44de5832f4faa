"""`make prove`: cbmc proves that parts of the C client are sound for all inputs up to a bound.

Each file in tests/clients/proofs is a proof; its first comment says what is proved, up to which bound, and how it is
run:

    bound      what is looked at; everything within it is
    sources    files of clients/threadx/src beside the proof
    replace    functions that another function of the proof stands in for, FUNCTION:OTHER
    unwind     how often loops are followed; that it suffices is proved too, so nothing runs for ever
    unwindset  the same for single loops
    case       a name and flags, where there are several; `long`: one that the tests leave out

Proved everywhere: no access outside of what it belongs to, no overflow of signed numbers or pointers, no shift that C
leaves undefined, no division by zero, and what the proof states with PROVE. After that it is tried whether the end of
the proof can be reached at all, since from assumptions that contradict each other anything follows.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "tests/clients/proofs"
CLIENT: Final = ROOT / "clients/threadx"
CHECKS: Final = (
    "--bounds-check",
    "--pointer-check",
    "--pointer-overflow-check",
    "--signed-overflow-check",
    "--undefined-shift-check",
    "--div-by-zero-check",
    "--unwinding-assertions",
)
REACHED: Final = "reached.assertion.1"


class ProveError(Exception):
    """A plain sentence."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run of cbmc."""

    proof: str
    name: str
    flags: tuple[str, ...]
    long: bool
    bound: str
    sources: tuple[str, ...]
    replace: tuple[str, ...]
    unwind: tuple[str, ...]

    @property
    def title(self) -> str:
        """proof/case."""
        return f"{self.proof}/{self.name}" if self.name else self.proof


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a case."""

    case: Case
    properties: int
    """That were looked at."""
    failed: tuple[str, ...]
    """What does not hold, a line each."""
    seconds: float


def _value(text: str, key: str) -> str:
    """What stands behind a key, also on the lines after it."""
    found = re.search(rf"^ \* {key}:(.*(?:\n \* {{2,}}.*)*)", text, re.MULTILINE)
    return " ".join(found[1].replace("\n *", " ").removesuffix("*/").split()) if found else ""


def cases() -> Iterator[Case]:
    """All of them, in order. Raises ProveError."""
    for path in sorted(FOLDER.glob("*.c")):
        text = path.read_text(encoding="utf-8")
        head = text[: text.index("*/") + 2]
        unwind, bound = _value(head, "unwind"), _value(head, "bound")
        if not unwind or not bound:
            raise ProveError(f"{path.name} does not say how far it goes")
        limits = ["--unwind", unwind]
        if single := _value(head, "unwindset"):
            limits += ["--unwindset", single.replace(" ", ",")]
        named = re.findall(r"^ \* (case|long): (\S+) ?(.*?)(?: \*/)?$", head, re.MULTILINE)
        for kind, name, flags in named or [("case", "", "")]:
            yield Case(
                proof=path.stem,
                name=name,
                flags=tuple(shlex.split(flags)),
                long=kind == "long",
                bound=bound,
                sources=tuple(_value(head, "sources").split()),
                replace=tuple(_value(head, "replace").split()),
                unwind=tuple(limits),
            )


def cbmc() -> Path:
    """The folder of its commands; fetched where it is missing. Raises ProveError."""
    done = subprocess.run([ROOT / "tools/cbmc.sh"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProveError(f"cbmc is missing and could not be fetched: {done.stderr.strip()[-600:]}")
    return Path(done.stdout.split()[-1])


def _run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 10):  # 10: something does not hold
        raise ProveError(f"{Path(words[0]).name} failed: {(done.stdout + done.stderr).strip()[-800:]}")
    return done.stdout


def _model(tools: Path, case: Case, folder: Path, source: Path, *flags: str) -> Path:
    """The program that cbmc looks at."""
    plain, made = folder / "plain.goto", folder / "made.goto"
    includes = [f"-I{CLIENT / 'include'}", f"-I{source}", f"-I{FOLDER}"]
    sources = [FOLDER / f"{case.proof}.c", *(source / name for name in case.sources)]
    _run(tools / "goto-cc", *includes, *case.flags, *flags, *sources, "-o", plain)
    replaced = [word for pair in case.replace for word in ("--replace-calls", pair)]
    if not replaced:
        return plain
    _run(tools / "goto-instrument", *replaced, plain, made)
    return made


def prove(tools: Path, case: Case, source: Path = CLIENT / "src", *, reach: bool = True) -> Verdict:
    """Run a case on these sources. `reach`: whether its end can be reached, too. Raises ProveError."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tilewire-prove-") as made:
        folder = Path(made)
        said = _run(tools / "cbmc", *CHECKS, *case.unwind, _model(tools, case, folder, source))
        found = re.search(r"^\*\* (\d+) of (\d+) failed", said, re.MULTILINE)
        if found is None:
            raise ProveError(f"{case.title}: cbmc gives no verdict: {said.strip()[-400:]}")
        failed = re.findall(r"^\[.*\] (.*): FAILURE$", said, re.MULTILINE)
        if len(failed) != int(found[1]):
            raise ProveError(f"{case.title}: cbmc counts {found[1]} failures and names {len(failed)}")
        if reach and not failed:
            model = _model(tools, case, folder, source, "-DTW_REACHED")
            if "VERIFICATION FAILED" not in _run(tools / "cbmc", *case.unwind, "--property", REACHED, model):
                failed.append("its end is never reached: it proves nothing")
    return Verdict(case, int(found[2]), tuple(failed), time.monotonic() - started)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make prove", description="Prove parts of the C client with cbmc.")
    parser.add_argument("names", metavar="PROOF", nargs="*", help="file in tests/clients/proofs, without .c; all")
    names = parser.parse_args(arguments).names
    try:
        tools = cbmc()
        chosen = [case for case in cases() if not names or case.proof in names]
        if unknown := set(names) - {case.proof for case in chosen}:
            raise ProveError(f"there is no proof {', '.join(sorted(unknown))}")
        failed = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            bound = ""
            for verdict in pool.map(lambda case: prove(tools, case), chosen):
                if verdict.case.bound != bound:
                    bound = verdict.case.bound
                    print(f"{verdict.case.proof}: {bound}")
                word = f"{verdict.properties} properties hold" if not verdict.failed else "does not hold"
                print(f"  {verdict.case.title:<32} {word} ({verdict.seconds:.0f} s)", flush=True)
                for line in verdict.failed:
                    print(f"    {line}")
                failed += bool(verdict.failed)
    except ProveError as error:
        print(f"prove: {error}", file=sys.stderr)
        return 1
    print(f"prove: {len(chosen) - failed} of {len(chosen)} cases hold, each for every input within its bound")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
