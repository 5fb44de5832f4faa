"""The pointer of one X server: its shape, and where it is.

Nothing polls. The place comes along with questions that are asked anyway (a capture, the end of a batch of input), and
one more is asked only after the server has reported that somebody else moved the pointer, or that it has another shape.
XWarpPointer is reported by nobody; its effect is seen with the next question.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from Xlib import error
from Xlib.ext import ge, xinput
from Xlib.protocol import request, rq

if TYPE_CHECKING:
    from tilewire.server.x11.wire import Wire

MAX_CURSOR_SIDE: Final = 512
"""Pixels. Nothing that a program shows on purpose is larger; a device takes 64."""

_SHAPE_NOTIFY: Final = 1
_DISPLAY_CURSOR_MASK: Final = 1
_MASTER_DEVICES: Final = 1
_IMAGE_HEAD = struct.Struct("=xxHxxxxhhHHHHI")
_REPLY_HEAD_BYTES = 32


@dataclass(frozen=True, slots=True)
class CursorShape:
    """What the pointer looks like.

    `pixels` has width * height * 4 bytes, rows from the top: blue, green, red, alpha; the colours are multiplied by
    alpha. (`hot_x`, `hot_y`) is the pixel that points. No two shapes of an X server have the same `serial`.
    """

    width: int
    height: int
    hot_x: int
    hot_y: int
    pixels: bytes
    serial: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pointer is, in pixels of the screen, with all input up to and with batch `serial` done (0: none)."""

    x: int
    y: int
    serial: int


class ShapeNotify(rq.Event):
    """The pointer has another shape (XFIXES protocol, version 1)."""

    _code = None
    _fields = rq.Struct(
        rq.Card8("type"),
        rq.Card8("subtype"),
        rq.Card16("sequence_number"),
        rq.Card32("window"),
        rq.Card32("cursor_serial"),
        rq.Card32("timestamp"),
        rq.Card32("name"),
        rq.Pad(12),
    )


class DeviceNotify(rq.Event):
    """The head of any event of an extension that has its own numbering of events, as XInput2 has."""

    _code = ge.GenericEventCode
    _fields = rq.Struct(
        rq.Card8("type"),
        rq.Card8("extension"),
        rq.Card16("sequence_number"),
        rq.Card32("length"),
        rq.Card16("event_type"),
    )


class GetCursorImage(rq.ReplyRequest):
    """Read the pointer's shape and place."""

    _request = rq.Struct(rq.Card8("opcode"), rq.Opcode(4), rq.RequestLength())
    # As for FetchRegion: python-xlib would make a list of a picture.
    _reply = rq.Struct(rq.ReplyCode(), rq.Pad(1), rq.Card16("sequence_number"), rq.ReplyLength(), rq.Pad(24))
    _data: dict[str, object]

    def _parse_response(self, data: bytes) -> None:
        sequence_number, x, y, width, height, hot_x, hot_y, serial = _IMAGE_HEAD.unpack_from(data)
        size = width * height * 4
        pixels = bytes(data[_REPLY_HEAD_BYTES : _REPLY_HEAD_BYTES + size])
        shape = None
        # A reply that was too long to be kept comes without its pixels.
        if max(width, height) <= MAX_CURSOR_SIDE and len(pixels) == size and width and height:
            shape = CursorShape(width, height, hot_x, hot_y, _little_endian(pixels), serial)
        self._data = {"sequence_number": sequence_number, "x": x, "y": y, "serial": serial, "shape": shape}


def _little_endian(words: bytes) -> bytes:
    if sys.byteorder == "little":
        return words
    swapped = array("I", words)
    swapped.byteswap()
    return swapped.tobytes()


class Question:
    """A question for the pointer's place; its answer comes with that of the next question at the latest."""

    def __init__(self, wire: Wire) -> None:
        self.asked_at = wire.request_serial
        self._answer = request.QueryPointer(display=wire, defer=True, window=wire.root)

    def answer(self) -> tuple[int, int]:
        """Wait for it."""
        self._answer.reply()
        return self._answer.root_x, self._answer.root_y


class Cursors:
    """What is known of the pointer. `shape_told` and `place_told` hear of it.

    A place is told with whether it is news: whether the pointer is elsewhere than it was, or than it was sent.
    """

    def __init__(
        self,
        wire: Wire,
        shape_told: Callable[[CursorShape | None], None],
        place_told: Callable[[Place, bool], None],
    ) -> None:
        self._wire = wire
        self._shape_told = shape_told
        self._place_told = place_told
        self._place: Place | None = None
        self._asked_at = wire.request_serial
        self._moved = False
        self._shape_serial: int | None = None
        self._newest_serial: int | None = None
        wire.expect_event("XFIXES", _SHAPE_NOTIFY, ShapeNotify)
        wire.select_cursor_shapes(_DISPLAY_CURSOR_MASK)
        self._device_opcode = self._watch_devices()
        self._look(0)

    def _watch_devices(self) -> int | None:
        wire = self._wire
        if not wire.has("XInputExtension"):
            return None
        opcode = wire.opcode("XInputExtension")
        # 2.1 and later report raw motion also while a program has grabbed the pointer.
        version = xinput.XIQueryVersion(display=wire, opcode=opcode, major_version=2, minor_version=2)
        if (version.major_version, version.minor_version) < (2, 0):
            return None
        masks = [(_MASTER_DEVICES, xinput.RawMotionMask)]
        xinput.XISelectEvents(display=wire, opcode=opcode, window=wire.root, masks=masks)
        wire.event_classes[ge.GenericEventCode] = DeviceNotify
        return opcode

    def heed(self, report: rq.Event) -> None:
        """Take a report of the server, if it is about the pointer."""
        if isinstance(report, ShapeNotify):
            self._newest_serial = report.cursor_serial
        elif isinstance(report, DeviceNotify):
            # Motion reported before the last question was answered is in that answer.
            newer = (report.sequence_number - self._asked_at) % 65536 < 32768
            if newer and report.extension == self._device_opcode and report.event_type == xinput.RawMotion:
                self._moved = True

    def doubt(self) -> None:
        """The pointer may have been moved without a report, as when the screen becomes smaller."""
        self._moved = True

    def ask(self) -> Question:
        """Ask for the place along with the next question: no round trip of its own."""
        return Question(self._wire)

    def learn(self, question: Question, serial: int, sent_to: tuple[int, int] | None = None) -> None:
        """Take the answer: the place after input up to batch `serial`, which sent the pointer to `sent_to`."""
        x, y = question.answer()
        self._asked_at = question.asked_at
        self._put(Place(x, y, serial), sent_to)

    def catch_up(self, serial: int) -> None:
        """Ask for what was reported to have changed: at most one round trip."""
        if self._newest_serial is not None and self._newest_serial != self._shape_serial:
            self._look(serial)
        elif self._moved:
            self.learn(self.ask(), serial)

    @property
    def is_behind(self) -> bool:
        """Whether `catch_up` has something to ask."""
        return self._moved or self._newest_serial not in (None, self._shape_serial)

    def _look(self, serial: int) -> None:
        asked_at = self._wire.request_serial
        try:
            seen = GetCursorImage(display=self._wire, opcode=self._wire.opcode("XFIXES"))
        except error.XError:
            # There is no pointer to be seen yet, or the picture was more than the server's memory.
            self._shape_serial = self._newest_serial
            self._shape_told(None)
            self.learn(self.ask(), serial)
            return
        self._asked_at = asked_at
        if seen.serial != self._shape_serial:
            self._shape_serial = seen.serial
            self._shape_told(seen.shape)
        self._newest_serial = seen.serial
        self._put(Place(seen.x, seen.y, serial), None)

    def _put(self, place: Place, sent_to: tuple[int, int] | None) -> None:
        self._moved = False
        if place == self._place:
            return
        was = None if self._place is None else (self._place.x, self._place.y)
        self._place = place
        here = (place.x, place.y)
        self._place_told(place, here != was or sent_to not in (None, here))
