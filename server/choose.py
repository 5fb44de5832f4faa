"""Which encoding a rectangle gets, and why. A pure function of what the rectangle is and what the device offered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tilewire.protocol import Reason
from tilewire.server.pixels import TileStats


class Encoding(Enum):
    """The ways to send new pixels."""

    FILL = "fill"
    PALETTE = "palette"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class Choice:
    """An encoding, and the reason that explanations carry."""

    encoding: Encoding
    why: Reason


def choose(stats: TileStats) -> Choice:
    """The encoding of a rectangle with these statistics."""
    if stats.colours == 1:
        return Choice(Encoding.FILL, Reason.ONE_COLOUR)
    if stats.palette_bytes is not None and stats.palette_bytes < stats.raw_bytes:
        return Choice(Encoding.PALETTE, Reason.FEW_COLOURS)
    return Choice(Encoding.RAW, Reason.MANY_COLOURS)
