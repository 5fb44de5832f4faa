"""JPEG without its headers: what is left is worth sending for small rectangles too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import simplejpeg

from tilewire.protocol import Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import Scale, Subsampling
from tilewire.server.pixels import Surface, encode_raw, halve

_SOS: Final = 0xDA
_MARKER: Final = 0xFF
SCALE_TWO: Final = 0x10
_HEAD_BYTES: Final = 8
"""Rectangle, quality, sampling."""
FINE_QUALITY: Final = 80
"""From this quality on colour at half the resolution is the larger error."""


class _Sampling(NamedTuple):
    bit: Subsampling
    name: str
    number: int
    mcu_rows: int


_SAMPLINGS: Final = (
    _Sampling(Subsampling.S420, "420", 2, 16),
    _Sampling(Subsampling.S422, "422", 1, 8),
    _Sampling(Subsampling.S444, "444", 0, 8),
)
"""Fewest bytes first."""


@dataclass(frozen=True, slots=True)
class JpegEncoder:
    """Encodes for one device's offer of subsamplings."""

    samplings: tuple[_Sampling, ...]
    """Those offered, fewest bytes first."""
    halves: bool
    """Scale 2 is offered too."""

    @classmethod
    def for_offer(cls, offer: m.JpegOffer | None) -> JpegEncoder | None:
        """The encoder for what a device offered, or None."""
        if offer is None or not offer.scales & Scale.ONE:
            return None
        samplings = tuple(sampling for sampling in _SAMPLINGS if offer.subsamplings & sampling.bit)
        return cls(samplings, bool(offer.scales & Scale.TWO)) if samplings else None

    @property
    def mcu_rows(self) -> int:
        """Pixel rows of the tallest MCU: where a rectangle may be split."""
        return max(sampling.mcu_rows for sampling in self.samplings)

    def encode(self, true: Surface, rect: Rect, quality: int, room: int, *, half: bool = False) -> m.Jpeg | None:
        """`rect` of an XRGB8888 surface, at half its size if so asked, in a body of at most `room` bytes, or None."""
        shape = (-(-rect.height // 2), -(-rect.width // 2), 3) if half else (rect.height, rect.width, 3)
        pixels = memoryview(halve(true, rect) if half else encode_raw(true, rect)).cast("B", shape)
        sampling = self.samplings[-1 if quality >= FINE_QUALITY else 0]
        whole = simplejpeg.encode_jpeg(pixels, quality, "BGR", sampling.name, fastdct=False)
        payload = entropy_coded(whole)
        if len(payload) > room - _HEAD_BYTES:
            return None
        return m.Jpeg(
            rect=rect, quality=quality, sampling=sampling.number | (SCALE_TWO if half else 0), payload=payload
        )


def entropy_coded(jpeg: bytes) -> bytes:
    """What lies between the header of the scan and EOI. Raises ValueError for what is no baseline JPEG of ours."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == _MARKER:
        marker = jpeg[at + 1]
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if marker == _SOS:
            return jpeg[at:-2]
    raise ValueError("a JPEG without a scan")
