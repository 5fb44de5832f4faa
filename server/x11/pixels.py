"""Pixels of a screen: through mss, whose XCB back-end reads them through shared memory where the server allows it, or
through python-xlib where mss cannot attach.

It cannot to a TigerVNC server, which lists a depth twice, each with a part of the visuals: mss looks at the first
alone. mss' older back-end can, but is no way out: below it is Xlib, which ends the process when its X server dies.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import mss
from mss.exception import ScreenShotError
from mss.linux.xcbhelpers import LIB, XError, XProtoError
from Xlib import X, error
from Xlib.protocol import rq

from tilewire.protocol.geometry import Rect
from tilewire.server.x11.errors import DisplayError

if TYPE_CHECKING:
    from tilewire.server.x11.wire import Wire

# Those that can be read.
DEPTHS = (24, 32)
# Of one question through python-xlib: it puts a reply together from pieces of some 100 KB, at a cost that grows by the
# square.
_BAND_BYTES: Final = 1 << 20
_REPLY_HEAD_BYTES: Final = 32
_MASKS: Final = (0xFF0000, 0x00FF00, 0x0000FF)

logger = logging.getLogger(__name__)


class StaleSize(Exception):
    """The screen is no longer as large as it was when the pixels were asked for."""


class ConnectionBroken(Exception):
    """mss lost its X server."""


class Grabber(Protocol):
    """Reads pixels."""

    def grab(self, rect: Rect) -> bytearray:
        """Read a rectangle: blue, green, red, unused byte; width * 4 bytes a row.

        Raises StaleSize where the rectangle is not wholly on the screen or larger than the screen was at
        first, and ConnectionBroken, or python-xlib's own error, when the X server is gone.
        """

    def close(self) -> None:
        """Let go of what it holds."""


def open_grabber(name: str, tap: Callable[[int], None], wire: Wire) -> Grabber:
    """The faster way to a display's pixels that works. Raises DisplayError when none does."""
    try:
        return MssGrabber(name, tap)
    except MssUnable as problem:
        logger.warning("%s; its pixels are read without shared memory", problem)
        return WireGrabber(wire)


class MssUnable(Exception):
    """mss does not know what to make of an X server, or misses a library."""


class MssGrabber:
    """An mss connection: one round trip a rectangle. Raises MssUnable or DisplayError when it cannot attach.

    Not for use by two threads at once.
    """

    def __init__(self, name: str, tap: Callable[[int], None]) -> None:
        try:
            self._mss = mss.MSS(display=name)
        except (ScreenShotError, OSError, AssertionError) as problem:
            raise MssUnable(f"mss cannot attach to display {name}: {_first_line(problem)}") from None
        descriptor = _descriptor(self._mss)
        if descriptor is not None:
            tap(descriptor)
        try:
            # Whether shared memory works is known only after a grab.
            self.grab(Rect(0, 0, 1, 1))
        except (StaleSize, ConnectionBroken) as problem:
            self.close()
            raise DisplayError(f"mss cannot attach to display {name}: {_first_line(problem)}") from None
        except BaseException:
            self.close()
            raise
        logger.debug("display %s: %s", name, " ".join(self._mss.performance_status))

    def grab(self, rect: Rect) -> bytearray:
        """See Grabber."""
        box = {"left": rect.x, "top": rect.y, "width": rect.width, "height": rect.height}
        try:
            return self._mss.grab(box).raw
        except XProtoError as problem:
            raise StaleSize(_first_line(problem)) from None
        except XError as problem:
            raise ConnectionBroken(_first_line(problem)) from None
        except ScreenShotError as problem:
            raise StaleSize(_first_line(problem)) from None
        except (AssertionError, ValueError) as problem:
            # mss asserts that every request has an answer; XCB gives none when its connection is gone (and
            # under python -O the null pointer behind it is a ValueError).
            raise ConnectionBroken("the X server ended the connection") from problem

    def close(self) -> None:
        """Disconnect."""
        # mss reports here once more that the connection was broken already.
        with suppress(ScreenShotError):
            self._mss.close()


class GetImage(rq.ReplyRequest):
    """Read pixels of a drawable, all planes."""

    _request = rq.Struct(
        rq.Opcode(73),
        rq.Card8("format"),
        rq.RequestLength(),
        rq.Card32("drawable"),
        rq.Int16("x"),
        rq.Int16("y"),
        rq.Card16("width"),
        rq.Card16("height"),
        rq.Card32("plane_mask"),
    )
    # As for FetchRegion.
    _reply = rq.Struct(rq.ReplyCode(), rq.Card8("depth"), rq.Card16("sequence_number"), rq.ReplyLength(), rq.Pad(24))
    _data: dict[str, object]

    def _parse_response(self, data: bytes) -> None:
        self._data = {"sequence_number": int.from_bytes(data[2:4], sys.byteorder), "pixels": data[_REPLY_HEAD_BYTES:]}


class WireGrabber:
    """Reads pixels by a display's own connection. Raises DisplayError where they are of another kind than mss takes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        screen, info = wire.screen, wire.info
        bits = {form.depth: (form.bits_per_pixel, form.scanline_pad) for form in info.pixmap_formats}
        visuals = [visual for depth in screen.allowed_depths for visual in depth.visuals]
        masks = [
            (visual.red_mask, visual.green_mask, visual.blue_mask)
            for visual in visuals
            if visual.visual_id == screen.root_visual
        ]
        if (info.image_byte_order, bits.get(screen.root_depth), masks) != (X.LSBFirst, (32, 32), [_MASKS]):
            raise DisplayError(f"cannot show display {wire.display_name}: its pixels are not blue, green, red, unused")

    def grab(self, rect: Rect) -> bytearray:
        """See Grabber. A round trip a megabyte."""
        rows = max(1, _BAND_BYTES // (rect.width * 4))
        pixels = bytearray()
        for top in range(rect.y, rect.bottom, rows):
            height = min(rows, rect.bottom - top)
            try:
                pixels += GetImage(
                    display=self._wire,
                    format=X.ZPixmap,
                    drawable=self._wire.root,
                    x=rect.x,
                    y=top,
                    width=rect.width,
                    height=height,
                    plane_mask=0xFFFFFFFF,
                ).pixels
            except error.BadMatch:
                raise StaleSize(f"{rect} is not wholly on the screen") from None
        return pixels

    def close(self) -> None:
        """Nothing: the connection is the display's."""


def _descriptor(grabber: mss.MSS) -> int | None:
    """The socket of mss's X connection, so that another thread can end a wait inside XCB.

    mss has no public way to it. Where a later mss keeps it elsewhere, a thread that hangs in XCB stays until
    its X server answers or dies; it is a daemon thread and delays nothing.
    """
    connection = getattr(getattr(grabber, "_impl", None), "conn", None)
    if connection is None:
        return None
    descriptor: int = LIB.xcb.xcb_get_file_descriptor(ctypes.byref(connection))
    return descriptor


def _first_line(problem: BaseException) -> str:
    text = str(problem).strip()
    return text.splitlines()[0].rstrip(".") if text else type(problem).__name__
