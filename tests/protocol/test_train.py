"""The trainer's arithmetic; its recordings need programs that no test installs."""

from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol.codec_start import START

from tests.house.test_layout import ROOT
from tools.train.fit import EVEN, best, cost, fitted, module

RUNS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=40).map(bytes), min_size=1, max_size=5)


def test_the_module_is_what_the_trainer_writes() -> None:
    assert module(START) == (ROOT / "protocol/codec_start.py").read_text(encoding="utf-8")


@given(RUNS)
def test_a_fitted_start_is_no_worse_than_none(runs: list[bytes]) -> None:
    start = best(runs)
    assert 64 <= start <= 65472
    assert cost(start, runs) <= cost(EVEN, runs) + 1


def test_what_decides_most_stands_out() -> None:
    zeros, ones = bytes(40), b"\1" * 40
    assert best([zeros]) > 0xF000
    assert best([ones]) < 0x1000
    assert best([zeros, ones]) == EVEN
    assert fitted(3, {1: [zeros, zeros]}) == [EVEN, best([zeros, zeros]), EVEN]
