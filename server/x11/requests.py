"""Requests of the XFIXES extension that python-xlib 0.33 lacks: regions (XFIXES protocol, version 2, section
7).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from Xlib.protocol import rq, structs

if TYPE_CHECKING:
    from tilewire.server.x11.wire import Wire

# (x, y, width, height): x and y may be negative.
Box = tuple[int, int, int, int]

EVERYWHERE: Box = (0, 0, 65535, 65535)
_RECTANGLE = struct.Struct("=hhHH")
_REPLY_HEAD_BYTES = 32


class CreateRegion(rq.Request):
    """Make a region resource of a list of rectangles."""

    _request = rq.Struct(
        rq.Card8("opcode"),
        rq.Opcode(5),
        rq.RequestLength(),
        rq.Card32("region"),
        rq.List("rectangles", structs.Rectangle),
    )


class DestroyRegion(rq.Request):
    """Free a region resource."""

    _request = rq.Struct(rq.Card8("opcode"), rq.Opcode(10), rq.RequestLength(), rq.Card32("region"))


class FetchRegion(rq.ReplyRequest):
    """Read a region's rectangles: sorted by row, then column; none overlap."""

    _request = rq.Struct(rq.Card8("opcode"), rq.Opcode(19), rq.RequestLength(), rq.Card32("region"))
    # python-xlib recognizes a request with an answer by this name; the answer itself is read below.
    _reply = rq.Struct(rq.ReplyCode(), rq.Pad(1), rq.Card16("sequence_number"), rq.ReplyLength(), rq.Pad(24))
    _data: dict[str, object]

    def _parse_response(self, data: bytes) -> None:
        # python-xlib's own list parser costs 5 us a rectangle, and a region may have thousands.
        sequence_number, words = struct.unpack_from("=HI", data, 2)
        boxes: list[Box] = list(_RECTANGLE.iter_unpack(data[_REPLY_HEAD_BYTES:]))
        if words * 4 > len(boxes) * _RECTANGLE.size:
            # A reply that was too long to be kept: more rectangles than would be worth anything.
            boxes = [EVERYWHERE]
        self._data = {"sequence_number": sequence_number, "boxes": boxes}


def create_region(wire: Wire) -> int:
    """Make an empty region; returns its resource id."""
    region = wire.allocate_resource_id()
    CreateRegion(display=wire, opcode=wire.opcode("XFIXES"), region=region, rectangles=[])
    return region


def fetch_region(wire: Wire, region: int) -> list[Box]:
    """Read a region in one round trip: (x, y, width, height) each."""
    boxes: list[Box] = FetchRegion(display=wire, opcode=wire.opcode("XFIXES"), region=region).boxes
    return boxes
