"""Recorded sessions that break: after every single byte, and by bytes that came wrong (broken.c).

`make fuzz` damages every byte of them in every bit; here are samples of that, and of the cuts under sanitizers.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.recorded import ALL, BROKEN, Recorded
from tests.clients.test_build import run
from tests.clients.test_variants import C99, SANITIZED, Variant, build

QUICK = Variant("gcc, C99, -O2", "gcc", (*C99, "-O2"))
CHECKED = Variant("clang, C99, -O1, ASan and UBSan", "clang", (*C99, "-O1", *SANITIZED))
SEED = 20


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    return build(tmp_path_factory.mktemp("quick"), QUICK, program=BROKEN)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    return build(tmp_path_factory.mktemp("checked"), CHECKED, program=BROKEN)


def figures(printed: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", printed)]


@pytest.mark.parametrize("session", ALL, ids=lambda session: session.name)
def test_a_cut_after_every_byte(quick: list[str | Path], session: Recorded) -> None:
    """The client says truly whether it was inside something, and a fresh session in its memory looks right."""
    size, cuts, inside, pictures = figures(run(*quick, "cut", session.path, 1, 0, 4))
    assert cuts == size == sum(map(len, session.streams))
    assert 0 < inside < cuts
    assert pictures >= cuts // 4


@pytest.mark.parametrize("session", ALL, ids=lambda session: session.name)
def test_cuts_under_sanitizers(checked: list[str | Path], session: Recorded) -> None:
    _, cuts, _, pictures = figures(run(*checked, "cut", session.path, 89, 11, 1))
    assert cuts == pictures > 100


@pytest.mark.parametrize("session", ALL, ids=lambda session: session.name)
def test_damaged_bytes(checked: list[str | Path], session: Recorded) -> None:
    """No byte outside its memory, the first error kept and told to the server, and a new start in the same memory."""
    size, damages, refused = figures(run(*checked, "damage", session.path, 67, 5, 2, SEED))
    assert damages >= size // 67 * 2
    assert damages // 4 < refused < damages
