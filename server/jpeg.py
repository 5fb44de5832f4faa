"""JPEG without its headers: what is left is worth sending for small rectangles too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import simplejpeg

from tilewire.protocol import Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import Scale, Subsampling
from tilewire.server.pixels import Surface, encode_raw

_SOS: Final = 0xDA
_MARKER: Final = 0xFF
_HEAD_BYTES: Final = 8
"""Rectangle, quality, sampling."""
_SAMPLINGS: Final = (
    # Fewest bytes first: the eye sees colour at half the resolution.
    (Subsampling.S420, "420", 2, 16),
    (Subsampling.S422, "422", 1, 8),
    (Subsampling.S444, "444", 0, 8),
)


@dataclass(frozen=True, slots=True)
class JpegEncoder:
    """Encodes for one device's offer of subsamplings."""

    subsampling: str
    sampling: int
    mcu_rows: int
    """Pixel rows of one MCU: where a rectangle may be split."""

    @classmethod
    def for_offer(cls, offer: m.JpegOffer | None) -> JpegEncoder | None:
        """The encoder for what a device offered, or None."""
        if offer is None or not offer.scales & Scale.ONE:
            return None
        for bit, name, number, rows in _SAMPLINGS:
            if offer.subsamplings & bit:
                return cls(name, number, rows)
        return None

    def encode(self, true: Surface, rect: Rect, quality: int, room: int) -> m.Jpeg | None:
        """`rect` of an XRGB8888 surface in a body of at most `room` bytes, or None."""
        pixels = memoryview(encode_raw(true, rect)).cast("B", (rect.height, rect.width, 3))
        whole = simplejpeg.encode_jpeg(pixels, quality, "BGR", self.subsampling, fastdct=False)
        payload = entropy_coded(whole)
        if len(payload) > room - _HEAD_BYTES:
            return None
        return m.Jpeg(rect=rect, quality=quality, sampling=self.sampling, payload=payload)


def entropy_coded(jpeg: bytes) -> bytes:
    """What lies between the header of the scan and EOI. Raises ValueError for what is no baseline JPEG of ours."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == _MARKER:
        marker = jpeg[at + 1]
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if marker == _SOS:
            return jpeg[at:-2]
    raise ValueError("a JPEG without a scan")
