"""Pixels of a screen through mss: its XCB back-end reads them through shared memory where the server allows
it.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from contextlib import suppress

import mss
from mss.exception import ScreenShotError
from mss.linux.xcbhelpers import LIB, XError, XProtoError

from tilewire.protocol.geometry import Rect
from tilewire.server.x11.errors import DisplayError

# Those that mss can read.
DEPTHS = (24, 32)

logger = logging.getLogger(__name__)


class StaleSize(Exception):
    """The screen is no longer as large as it was when the pixels were asked for."""


class ConnectionBroken(Exception):
    """mss lost its X server."""


class Grabber:
    """An mss connection. Raises DisplayError when it cannot attach. Not for use by two threads at once."""

    def __init__(self, name: str, tap: Callable[[int], None]) -> None:
        try:
            self._mss = mss.MSS(display=name)
        except (ScreenShotError, OSError, AssertionError) as problem:
            raise DisplayError(f"mss cannot attach to display {name}: {_first_line(problem)}") from None
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
        """Read a rectangle: blue, green, red, unused byte; width * 4 bytes a row. One round trip.

        Raises StaleSize where the rectangle is not wholly on the screen or larger than the screen was at
        first, and ConnectionBroken when the X server is gone.
        """
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
