"""Start probabilities from decisions, and the module that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import log2
from typing import Final

FIRST: Final = 40
"""Decisions of a context that count, of each recording: after so many the model knows better by itself."""
EVEN: Final = 0x8000
"""For a context that was never met."""
_LOWEST, _HIGHEST = 64, 65472
_COLUMNS: Final = 22

Run = Sequence[int]
"""The first decisions in one context of one recording."""


def cost(start: int, runs: Iterable[Run]) -> float:
    """Bits that these decisions take when each run begins with `start`."""
    total = 0.0
    for run in runs:
        p = start
        for bit in run:
            if bit:
                total -= log2(1 - p / 65536)
                p -= p >> 5
            else:
                total -= log2(p / 65536)
                p += 65535 - p >> 5
    return total


def best(runs: Sequence[Run]) -> int:
    """The cheapest of three guesses: the share of zeros in all, the mean of the runs' shares, and between."""
    if not runs:
        return EVEN
    in_all = (sum(run.count(0) for run in runs) + 0.4) / (sum(map(len, runs)) + 0.8)
    of_runs = sum((run.count(0) + 0.4) / (len(run) + 0.8) for run in runs) / len(runs)
    guesses = {max(_LOWEST, min(_HIGHEST, round(65536 * share))) for share in (in_all, of_runs, (in_all + of_runs) / 2)}
    return min((cost(guess, runs), guess) for guess in guesses)[1]


def fitted(contexts: int, decisions: Mapping[int, Sequence[Run]]) -> list[int]:
    """The start state."""
    return [best(decisions.get(context, ())) for context in range(contexts)]


def module(values: Sequence[int]) -> str:
    """protocol/codec_start.py."""
    words = [f"{value:04X}" for value in values]
    rows = [" ".join(words[at : at + _COLUMNS]) for at in range(0, len(words), _COLUMNS)]
    return (
        '"""The start state of the tile codec\'s model: a probability for each context. Written by '
        "`python -m tools.train`.\n\n"
        "What it was trained on stands in tools/train/material.toml. The C table and section 17 of SPEC.md are made "
        'from it.\n"""\n\nfrom typing import Final\n\n_HEX: Final = """\n'
        + "\n".join(rows)
        + '\n"""\n\nSTART: Final = tuple(int(word, 16) for word in _HEX.split())\n'
        '"""Probability of a 0 in 65536ths, by context; 8000 where the material decided nothing."""\n'
    )
