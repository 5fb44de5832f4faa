"""The lossless tile codec's encoder: a model that lives across updates, as the device's does."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from tilewire.protocol import PixelFormat, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.rules import EPOCHS, RESET
from tilewire.server._native import ffi, lib
from tilewire.server.pixels import Surface

HEADER_BYTES: Final = 7
"""Rectangle and epoch: what of a message's body is no payload."""


class Variant(IntEnum):
    """How much work a pixel is worth."""

    LIVE = 0
    REST = 1


class TileCodec:
    """One device's model. Belongs to one worker at a time.

    What is encoded changes the model, so whatever is encoded must reach the device, in order: `keep` before an update,
    `roll_back` where it was not handed to the transport.
    """

    def __init__(self, kib: int, pixel_format: PixelFormat, max_width: int) -> None:
        codec = lib.tw_ns_codec_new(kib, pixel_format, max_width)
        if codec == ffi.NULL:
            raise MemoryError(f"no memory for a model of {kib} KiB")
        self._codec = ffi.gc(codec, lib.tw_ns_codec_free)
        self._epoch = 0
        self._fresh = True
        """The next operation tells the device to reset its model."""
        self._kept = (0, True)
        self._payload = ffi.new("uint8_t[]", 0)

    def reset(self) -> None:
        """Start with a new model; the next operation says so."""
        lib.tw_ns_codec_reset(self._codec)
        self._fresh = True

    def keep(self) -> None:
        """Remember the model as it is."""
        lib.tw_ns_codec_keep(self._codec)
        self._kept = (self._epoch, self._fresh)

    def roll_back(self) -> None:
        """Go back to what was remembered: nothing since then reaches the device."""
        lib.tw_ns_codec_roll_back(self._codec)
        self._epoch, self._fresh = self._kept

    def encode(self, surface: Surface, rect: Rect, variant: Variant, room: int) -> m.Codec | None:
        """`rect` as one operation whose body has at most `room` bytes; None, and no change, where it has more."""
        capacity = room - HEADER_BYTES
        if len(self._payload) < capacity:
            self._payload = ffi.new("uint8_t[]", capacity)
        size = lib.tw_ns_codec_encode(
            self._codec,
            surface.handle,
            (rect.x, rect.y, rect.width, rect.height),
            variant,
            self._payload,
            capacity,
        )
        if size == 0:
            return None
        epoch = self._epoch
        if self._fresh:
            self._epoch = (self._epoch + 1) % EPOCHS
            self._fresh = False
            epoch = self._epoch | RESET
        return m.Codec(rect=rect, epoch=epoch, payload=bytes(ffi.buffer(self._payload, size)))
