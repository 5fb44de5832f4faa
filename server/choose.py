"""Which encoding a rectangle gets, and why. A pure function of what the rectangle is and what the device offered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tilewire.protocol import Reason
from tilewire.protocol.constants import MAX_PALETTE
from tilewire.server.pixels import TileStats

PHOTO_MIN_PIXELS: Final = 512
"""Fewer are not worth the detour over an inexact picture."""
PHOTO_FLATNESS: Final = 0.35
"""Photographs have fewer equal neighbours than this share; text on any ground has more."""
PHOTO_SMOOTHNESS: Final = 0.5
"""Most steps of a photograph are small; most steps of text are not."""


CODEC_BITS: Final = 2.0
"""What the codec needs for a photograph's pixel, in bits of one luma difference: 1.5 to 3.8 on gnome-backgrounds."""
JPEG_BITS: Final = 0.2
JPEG_BITS_OF_QUALITY: Final = 0.013
"""What JPEG 4:2:0 needs for one: about 0.3 bits at quality 10, 1.0 at 75 and 1.6 at 90 on the same pictures."""
JPEG_GAIN: Final = 1.5
HALF_QUALITY: Final = 20
"""Up to this quality half the resolution shows more than the coarser steps would."""


class Encoding(Enum):
    """The ways to send new pixels."""

    FILL = "fill"
    PALETTE = "palette"
    RAW = "raw"
    CODEC = "codec"
    DEFLATE = "deflate"
    JPEG = "jpeg"
    JPEG_HALF = "jpeg at half the size"


@dataclass(frozen=True, slots=True)
class Choice:
    """An encoding, and the reason that explanations carry."""

    encoding: Encoding
    why: Reason


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a device decodes beyond what all do, and whether lossy pixels are welcome at the moment."""

    codec: bool = False
    deflate: bool = False
    jpeg: bool = False
    jpeg_half: bool = False


PLAIN: Final = Abilities()
"""What every device decodes, and no more."""


def photographic(stats: TileStats) -> bool:
    """Whether JPEG would show less than it saves."""
    return (
        stats.colours > MAX_PALETTE
        and stats.pixels >= PHOTO_MIN_PIXELS
        and stats.flatness < PHOTO_FLATNESS
        and stats.smoothness > PHOTO_SMOOTHNESS
    )


def worth_jpeg(stats: TileStats, quality: int) -> bool:
    """Whether JPEG of this quality is so much shorter than the codec that being inexact for a while pays."""
    lossless_bits = stats.entropy * CODEC_BITS
    return lossless_bits > JPEG_GAIN * (JPEG_BITS + JPEG_BITS_OF_QUALITY * quality)


def choose(stats: TileStats, can: Abilities = PLAIN, quality: int = 75) -> Choice:
    """The encoding of a rectangle with these statistics, where JPEG would have this quality (10 to 90)."""
    if stats.colours == 1:
        return Choice(Encoding.FILL, Reason.ONE_COLOUR)
    if can.jpeg and photographic(stats) and worth_jpeg(stats, quality):
        half = can.jpeg_half and quality <= HALF_QUALITY
        return Choice(Encoding.JPEG_HALF if half else Encoding.JPEG, Reason.PHOTOGRAPH)
    if can.codec:
        return Choice(Encoding.CODEC, Reason.TEXT if stats.colours <= MAX_PALETTE else Reason.MANY_COLOURS)
    few = stats.palette_bytes is not None and stats.palette_bytes < stats.raw_bytes
    why = Reason.FEW_COLOURS if few else Reason.MANY_COLOURS
    if can.deflate:
        return Choice(Encoding.DEFLATE, why)
    return Choice(Encoding.PALETTE if few else Encoding.RAW, why)
