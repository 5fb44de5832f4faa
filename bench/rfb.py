"""What a VNC server sent, taken apart: where each update ends, what its bytes were for, and its picture.

Knows what TigerVNC's viewer asks for: RFB 3.8 with 32 bits a pixel, Tight, ZRLE, CopyRect, Hextile is refused; cursor
shapes, desktop size and name, fences, continuous updates. Pictures are decoded for Tight, CopyRect and Raw, which is
what a lossy stream consists of. Written after the RFB protocol's public description.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from bench.frames import Pixels

RAW, COPY_RECT, TIGHT, ZRLE = 0, 1, 7, 16
LAST_RECT, CURSOR, DESKTOP_SIZE, X_CURSOR = -224, -239, -223, -240
DESKTOP_NAME, EXTENDED_DESKTOP_SIZE, CURSOR_WITH_ALPHA, LED_STATE = -307, -308, -314, -261
QEMU_KEY_EVENT = -258
VMWARE_CURSOR, VMWARE_CURSOR_POSITION, VMWARE_LED_STATE = 0x574D5664, 0x574D5666, 0x574D5668
_CURSORS: Final = {CURSOR, X_CURSOR, CURSOR_WITH_ALPHA, VMWARE_CURSOR, VMWARE_CURSOR_POSITION}
_NO_PIXELS: Final = _CURSORS | {
    *(LAST_RECT, DESKTOP_SIZE, DESKTOP_NAME, EXTENDED_DESKTOP_SIZE, LED_STATE, VMWARE_LED_STATE, QEMU_KEY_EVENT)
}
_TIGHT_MIN: Final = 12
"""Tight leaves data shorter than this uncompressed."""


class RfbError(Exception):
    """The stream is not what TigerVNC sends."""


@dataclass(frozen=True, slots=True)
class FramebufferUpdate:
    """One update of the server's."""

    end: int
    """Offset in the stream of the byte after it."""
    cursor_bytes: int
    """For cursor shapes and positions."""
    pixels: int
    """Pixels that it covers."""
    lossy: bool
    """Some of it was JPEG."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> memoryview:
        if self.at + count > len(self.data):
            raise EOFError
        self.at += count
        return memoryview(self.data)[self.at - count : self.at]

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def compact(self) -> int:
        value = 0
        for shift in (0, 7, 14):
            byte = self.u8()
            value |= (byte if shift == 14 else byte & 127) << shift
            if byte < 128:
                break
        return value


def parse(data: bytes, shown: Callable[[FramebufferUpdate, Pixels], None] | None = None) -> Iterator[FramebufferUpdate]:
    """The updates in a server's stream, from its first byte on; an update cut off at the end is left out.

    With `shown` the pictures are decoded as well and passed on after each update (not a copy). Raises RfbError.
    """
    reader = _Reader(data)
    try:
        width, height = _start(reader)
        session = _Session(reader, width, height, decode=shown is not None)
        while reader.at < len(data):
            update = session.message()
            if update is not None:
                if shown is not None:
                    shown(update, session.picture)
                yield update
    except EOFError:
        return


def _start(reader: _Reader) -> tuple[int, int]:
    if bytes(reader.take(12)) != b"RFB 003.008\n":
        raise RfbError("not RFB 3.8")
    reader.take(reader.u8())
    if reader.u32() != 0:
        raise RfbError("the server refused the viewer")
    width, height = reader.u16(), reader.u16()
    bits, _, big_endian, true_colour = reader.take(16)[:4]
    if bits != 32 or big_endian or not true_colour:
        raise RfbError("not 32 bits a pixel, little-endian")
    reader.take(reader.u32())
    return width, height


class _Session:
    def __init__(self, reader: _Reader, width: int, height: int, *, decode: bool) -> None:
        self._reader = reader
        self._decode = decode
        self.picture: Pixels = np.zeros((height, width, 3), np.uint8)
        self._inflate = [zlib.decompressobj() for _ in range(4)]
        self._lossy = False

    def message(self) -> FramebufferUpdate | None:
        """The next message; None where it is no update."""
        reader = self._reader
        kind = reader.u8()
        if kind == 0:
            return self._update()
        if kind == 1:
            reader.take(3)
            reader.take(6 * reader.u16())
        elif kind == 3:
            reader.take(3)
            reader.take(abs(struct.unpack(">i", reader.take(4))[0]))
        elif kind == 248:
            reader.take(3)
            reader.u32()
            reader.take(reader.u8())
        elif kind not in (2, 150):
            raise RfbError(f"message {kind} at {reader.at - 1}")
        return None

    def _update(self) -> FramebufferUpdate:
        reader = self._reader
        reader.take(1)
        count = reader.u16()
        cursor_bytes = pixels = 0
        self._lossy = False
        for number in range(count):
            started = reader.at
            x, y, width, height = (reader.u16() for _ in range(4))
            encoding = struct.unpack(">i", reader.take(4))[0]
            if encoding == LAST_RECT:
                break
            if encoding in _NO_PIXELS:
                self._pseudo(encoding, width, height)
                if encoding in _CURSORS:
                    cursor_bytes += reader.at - started
            else:
                pixels += width * height
                self._rect(encoding, x, y, width, height)
            if count == number + 1 and encoding in _CURSORS and pixels == 0:
                # An update of nothing but a cursor would not have been sent without it.
                cursor_bytes += 4
        return FramebufferUpdate(reader.at, cursor_bytes, pixels, self._lossy)

    def _pseudo(self, encoding: int, width: int, height: int) -> None:
        reader = self._reader
        mask = (width + 7) // 8 * height
        if encoding == CURSOR:
            reader.take(width * height * 4 + mask)
        elif encoding == X_CURSOR:
            reader.take(6 + 2 * mask if width * height else 0)
        elif encoding == CURSOR_WITH_ALPHA:
            if reader.u32() != RAW:
                raise RfbError("a cursor that is not raw")
            reader.take(width * height * 4)
        elif encoding == VMWARE_CURSOR:
            kind = reader.u8()
            reader.take(1)
            reader.take(width * height * (8 if kind == 0 else 4))
        elif encoding == DESKTOP_NAME:
            reader.take(reader.u32())
        elif encoding == EXTENDED_DESKTOP_SIZE:
            screens = reader.u8()
            reader.take(3 + 16 * screens)
        elif encoding == LED_STATE:
            reader.take(1)
        elif encoding == VMWARE_LED_STATE:
            reader.take(4)

    def _rect(self, encoding: int, x: int, y: int, width: int, height: int) -> None:
        reader = self._reader
        if encoding == COPY_RECT:
            from_x, from_y = reader.u16(), reader.u16()
            if self._decode:
                self._put(x, y, self.picture[from_y : from_y + height, from_x : from_x + width].copy())
        elif encoding == ZRLE:
            reader.take(reader.u32())
            if self._decode:
                raise RfbError("pictures of ZRLE are not decoded here")
        elif encoding == TIGHT:
            self._tight(x, y, width, height)
        elif encoding == RAW:
            stored = np.frombuffer(reader.take(width * height * 4), np.uint8).reshape(height, width, 4)
            self._put(x, y, stored[:, :, 2::-1])
        else:
            raise RfbError(f"encoding {encoding} at {reader.at}")

    def _put(self, x: int, y: int, pixels: Pixels) -> None:
        height, width = pixels.shape[:2]
        self.picture[y : y + height, x : x + width] = pixels

    def _tight(self, x: int, y: int, width: int, height: int) -> None:
        reader = self._reader
        control = reader.u8()
        for stream in range(4):
            if control >> stream & 1:
                self._inflate[stream] = zlib.decompressobj()
        kind = control >> 4
        if kind == 8:
            self.picture[y : y + height, x : x + width] = np.frombuffer(reader.take(3), np.uint8)
        elif kind == 9:
            self._lossy = True
            data = reader.take(reader.compact())
            if self._decode:
                self._put(x, y, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        elif kind < 8:
            self._basic(kind & 3, bool(kind & 4), x, y, width, height)
        else:
            raise RfbError(f"Tight control {control:#x} at {reader.at - 1}")

    def _basic(self, stream: int, has_filter: bool, x: int, y: int, width: int, height: int) -> None:
        reader = self._reader
        kind = reader.u8() if has_filter else 0
        if kind == 0:
            pixels = np.frombuffer(self._data(stream, width * height * 3), np.uint8)
            if len(pixels):
                self._put(x, y, pixels.reshape(height, width, 3))
        elif kind == 1:
            colours = reader.u8() + 1
            palette = np.frombuffer(reader.take(3 * colours), np.uint8).reshape(colours, 3)
            row = (width + 7) // 8 if colours == 2 else width
            indices = np.frombuffer(self._data(stream, row * height), np.uint8)
            if len(indices):
                indices = indices.reshape(height, row)
                if colours == 2:
                    indices = np.unpackbits(indices, axis=1)[:, :width]
                self._put(x, y, palette[indices])
        else:
            raise RfbError(f"Tight filter {kind}")

    def _data(self, stream: int, size: int) -> bytes:
        """What comes through one of the four streams; empty where nothing is decoded."""
        reader = self._reader
        if size < _TIGHT_MIN:
            return bytes(reader.take(size))
        data = reader.take(reader.compact())
        return self._inflate[stream].decompress(data) if self._decode else b""
