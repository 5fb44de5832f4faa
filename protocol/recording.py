"""The file in which a session's wire is kept: entries of bytes with times, pure. docs/recordings.md describes it.

`Writer` makes the bytes of a file, `Reader` takes them in any pieces and gives entries. A file is only ever appended
to; cut anywhere, it can be read up to the last whole entry. No clock and no file here: times are passed in, in
microseconds since the recording began.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final, TypeVar

from tilewire.protocol import constants as c
from tilewire.protocol.connection import Need
from tilewire.protocol.constants import PixelFormat
from tilewire.protocol.errors import Code, RemoteProtocolError
from tilewire.protocol.messages import SIDE, Size
from tilewire.protocol.wire import (
    FLAG,
    REST,
    U32,
    U64,
    V32,
    Bytes,
    Doc,
    FieldList,
    Record,
    RecordKind,
    Tag,
    Text,
    Unsigned,
    encode_varint,
    record,
)

SIGNATURE: Final = b"\x97TWREC\r\n"
"""As PNG's: the first byte is no text, and the last two tell of a transfer that changed line ends."""
FORMAT: Final = 1
HEAD: Final = struct.Struct("<8sH")
TAIL: Final = struct.Struct("<Q4s")
"""Where the END entry is, for who wants the index first; and a mark."""
TAIL_MARK: Final = b"\x97END"
CHECK: Final = struct.Struct("<I")
MAX_BODY: Final = c.MAX_MESSAGE + 4
"""The longest message with its type and length: what a damaged length can cost in memory."""
MAX_INDEX: Final = 0xFFFF
"""Bytes of a field in a field list."""
MAX_TIME_US: Final = 1 << 62
CRITICAL: Final = 0x80
"""Kinds from here on must be understood; others that a reader does not know are skipped."""

R = TypeVar("R", bound=Record)


class RecordingError(Exception):
    """The file cannot be read, or not any further: one plain sentence."""


class NotARecording(RecordingError):
    """Another kind of file."""


class NewerFormat(RecordingError):
    """Written by a later version, in a way that this one cannot read."""


class Damaged(RecordingError):
    """Bytes that were not written so."""


class Kind(IntEnum):
    """What an entry holds."""

    META = 1
    "What was recorded; the first entry."
    CONNECTION = 2
    "A connection begins: what follows, in both directions, starts with its prefix."
    SERVER = 3
    "Whole messages of the server, one or more."
    CLIENT = 4
    "Whole messages of the client, one or more."
    KEYFRAME = 5
    "The update that follows needs nothing from before it."
    VOID = 6
    "The last KEYFRAME was none: what came later needed more."
    PICTURE = 7
    "The framebuffer's checksum, after the last update."
    END = 8
    "The recording was closed; the index."


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: when, and its body as it is in the file."""

    kind: int
    time_us: int
    body: bytes
    offset: int = 0
    """Of its first byte in the file."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry lies: its offset in bytes, and its time."""

    offset: int
    time_us: int


@dataclass(frozen=True, slots=True)
class EndOfRecording:
    """Nothing follows. `complete`: it was closed; else it was cut off, and `lost` bytes are no whole entry."""

    complete: bool
    lost: int = 0


@record
class Meta(FieldList):
    """What was recorded, and by whom."""

    protocol: Annotated[int, Unsigned(1, 1), Tag(1, critical=True), Doc("version of the wire protocol")]
    generator: Annotated[str, Text(1, 64), Tag(2), Doc("the program that wrote the file, with its version")]
    started_us: Annotated[int, U64, Tag(3), Doc("wall clock, microseconds since 1970 (UTC)")] = 0
    title: Annotated[str | None, Text(1, 256), Tag(4), Doc("the session, or the server's address")] = None
    panel_name: Annotated[str | None, Text(1, 64), Tag(5), Doc("of a standard panel")] = None
    panel: Annotated[Size, RecordKind(Size), Tag(6), Doc("the framebuffer at first")]
    pixel_format: Annotated[int, Unsigned(1, 1, max(PixelFormat)), Tag(7), Doc("of the framebuffer")]
    input: Annotated[int, FLAG, Tag(8), Doc("1: input and clipboard were kept")] = 0


@record
class Keyframe(Record):
    """What playing has to know that begins at the next update."""

    update: Annotated[int, V32, Doc("number of the update before, on this connection")]
    epoch: Annotated[int, Unsigned(1, 0, 127), Doc("resets of the model before, modulo 128")]
    width: Annotated[int, SIDE, Doc("of the framebuffer")]
    height: Annotated[int, SIDE, Doc("of the framebuffer")]
    messages: Annotated[bytes, REST, Doc("of the server, from its prefix on, that make a new client ready for it")]


@record
class Picture(Record):
    """The framebuffer after an update: its stored pixels, row by row, little-endian, without a cursor."""

    checksum: Annotated[int, U32, Doc("CRC-32")]
    update: Annotated[int, V32, Doc("the last update, on this connection")]


@record
class End(FieldList):
    """How the recording ended, and where its keyframes are."""

    reason: Annotated[str | None, Text(1, 1000), Tag(1), Doc("why")] = None
    updates: Annotated[int | None, U64, Tag(2), Doc("whole ones; absent where the last could not be written")] = None
    server_bytes: Annotated[int | None, U64, Tag(3), Doc("in SERVER entries")] = None
    client_bytes: Annotated[int | None, U64, Tag(4), Doc("in CLIENT entries")] = None
    duration_us: Annotated[int, U64, Tag(5), Doc("when this was written")] = 0
    keyframes: Annotated[
        bytes, Bytes(maximum=MAX_INDEX), Tag(6), Doc("varints: offset and time of each, less those of the one before")
    ] = b""


def pack_index(places: Iterable[Place]) -> bytes:
    """Places as END keeps them; every second is left out, as often as it takes to make them fit."""
    kept = list(places)
    while True:
        out = bytearray()
        offset = time_us = 0
        for place in kept:
            out += encode_varint(place.offset - offset) + encode_varint(place.time_us - time_us)
            offset, time_us = place.offset, place.time_us
        if len(out) <= MAX_INDEX:
            return bytes(out)
        kept = kept[::2]


def unpack_index(data: bytes) -> list[Place]:
    """Raises Damaged."""
    places: list[Place] = []
    at = offset = time_us = 0
    while at < len(data):
        step, at = _number(data, at)
        wait, at = _number(data, at)
        if step < 0 or wait < 0:
            raise Damaged("the recording's index is damaged")
        offset, time_us = offset + step, time_us + wait
        places.append(Place(offset, time_us))
    return places


def _number(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """A varint of at most 63 bits and where it ends; -1 where the data ends before it, -2 where it is none."""
    value = shift = 0
    while True:
        if at >= len(data):
            return -1, at
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value if value < MAX_TIME_US and not (byte == 0 and shift > 7) else -2), at
        if shift >= 63:
            return -2, at


class Writer:
    """Makes a file's bytes, one entry after the other."""

    def __init__(self) -> None:
        self.offset = 0
        """Bytes made so far."""
        self._time_us = 0

    def head(self) -> bytes:
        """What a file starts with."""
        return self._made(HEAD.pack(SIGNATURE, FORMAT))

    def entry(self, kind: int, time_us: int, body: bytes) -> bytes:
        """One entry. Times that go back count as the last one. Raises ValueError for a body that is too long."""
        if len(body) > MAX_BODY:
            raise ValueError(f"an entry of {len(body)} bytes is longer than {MAX_BODY}")
        wait = max(time_us - self._time_us, 0)
        self._time_us += wait
        data = bytes((kind,)) + encode_varint(wait) + encode_varint(len(body)) + body
        return self._made(data + CHECK.pack(zlib.crc32(data)))

    def end(self, time_us: int, end: End) -> bytes:
        """The last entry, and what leads to it from the file's end."""
        at = self.offset
        return self.entry(Kind.END, time_us, end.encode_body()) + self._made(TAIL.pack(at, TAIL_MARK))

    def went_back(self, offset: int) -> None:
        """The file was cut at the border of an entry."""
        self.offset = offset

    def _made(self, data: bytes) -> bytes:
        self.offset += len(data)
        return data


class Reader:
    """Takes a file's bytes in any pieces and gives its entries.

    `at`: the bytes begin at this entry, not with the file. Raises what says why a file cannot be read, and then always.
    """

    def __init__(self, at: Place | None = None) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._base = at.offset if at is not None else 0
        """Offset in the file of the buffer's first byte."""
        self._time_us = 0
        self._first_us = at.time_us if at is not None else None
        self._headed = at is not None
        self._eof = False
        self._ended = False
        self._end_offset = 0
        self._failed: RecordingError | None = None

    @property
    def offset(self) -> int:
        """Where the next entry begins."""
        return self._base + self._at

    def receive_data(self, data: bytes) -> None:
        """Take the file's next bytes; empty: there are no more."""
        if data:
            self._buffer += data
        else:
            self._eof = True

    def next_entry(self) -> Entry | EndOfRecording | Need:
        """One entry, or that more bytes are needed. Raises RecordingError."""
        if self._failed is not None:
            raise self._failed
        try:
            return self._next()
        except RecordingError as error:
            self._failed = error
            raise

    def _next(self) -> Entry | EndOfRecording | Need:
        if not self._headed and not self._take_head():
            return Need.DATA
        if self._ended:
            return self._take_tail()
        entry = self._parse()
        if entry is not None:
            if entry.kind == Kind.END:
                self._ended = True
                self._end_offset = entry.offset
            return entry
        if not self._eof:
            return Need.DATA
        return EndOfRecording(complete=False, lost=len(self._buffer) - self._at)

    def _take_head(self) -> bool:
        head = bytes(self._buffer[: HEAD.size])
        sample = head[: len(SIGNATURE)]
        if sample != SIGNATURE[: len(sample)]:
            raise NotARecording("this is no recording of tilewire")
        if len(head) < HEAD.size:
            if self._eof:
                raise NotARecording("the file is empty" if not head else "the file ends before a recording begins")
            return False
        _, version = HEAD.unpack(head)
        if version > FORMAT:
            raise NewerFormat(f"the recording has format {version}, this version reads up to {FORMAT}")
        if version == 0:
            raise Damaged("the recording is damaged at byte 8")
        self._at = HEAD.size
        self._headed = True
        return True

    def _damaged(self, at: int) -> Damaged:
        return Damaged(f"the recording is damaged at byte {self._base + at}")

    def _parse(self) -> Entry | None:
        buffer, start = self._buffer, self._at
        if len(buffer) <= start:
            return None
        kind = buffer[start]
        wait, at = _number(buffer, start + 1)
        if wait == -1:
            return None
        length, at = _number(buffer, at) if wait >= 0 else (-2, at)
        if length == -1:
            return None
        if length < 0 or length > MAX_BODY:
            raise self._damaged(start)
        end = at + length
        if len(buffer) < end + CHECK.size:
            return None
        whole = memoryview(buffer)[start : end + CHECK.size]
        sound = zlib.crc32(whole[: end - start]) == CHECK.unpack_from(whole, end - start)[0]
        body = bytes(whole[at - start : end - start])
        whole.release()
        if not sound:
            raise self._damaged(start)
        if kind >= CRITICAL:
            raise NewerFormat(f"the recording has an entry of kind {kind}, which this version does not know")
        if self._first_us is not None:
            self._time_us, self._first_us = self._first_us, None
        else:
            self._time_us += wait
        if self._time_us >= MAX_TIME_US:
            raise self._damaged(start)
        entry = Entry(kind, self._time_us, body, self._base + start)
        self._consume(end + CHECK.size)
        return entry

    def _consume(self, end: int) -> None:
        self._at = end
        if end > 1 << 16 or end == len(self._buffer):
            del self._buffer[:end]
            self._base += end
            self._at = 0

    def _take_tail(self) -> EndOfRecording | Need:
        left = len(self._buffer) - self._at
        if left > TAIL.size:
            raise self._damaged(self._at + TAIL.size)
        if not self._eof:
            return Need.DATA
        if left == TAIL.size and end_offset(bytes(self._buffer[self._at :])) != self._end_offset:
            raise self._damaged(self._at)
        return EndOfRecording(complete=left == TAIL.size, lost=left % TAIL.size)


def end_offset(tail: bytes) -> int | None:
    """Where END is, by the last TAIL.size bytes of a file; None where they do not say."""
    if len(tail) != TAIL.size:
        return None
    offset, mark = TAIL.unpack(tail)
    return int(offset) if mark == TAIL_MARK else None


def parse_body(kind: type[R], entry: Entry) -> R:
    """An entry's body as what it is. Raises Damaged, and NewerFormat for a field that must be known and is not."""
    try:
        made: R = kind.decode_body(memoryview(entry.body))[0]
    except RemoteProtocolError as error:
        if error.code is Code.UNSUPPORTED:
            raise NewerFormat(f"the recording is a later version's: {error}") from None
        raise Damaged(f"the recording is damaged at byte {entry.offset}: {error}") from None
    return made


def checksum(stored: bytes, pixel_format: PixelFormat, *, big_endian: bool = False) -> int:
    """Of a framebuffer's stored pixels (without gaps), as PICTURE has it."""
    if big_endian and pixel_format.stored > 1:
        swapped = bytearray(stored)
        for part in range(pixel_format.stored):
            swapped[part :: pixel_format.stored] = stored[pixel_format.stored - 1 - part :: pixel_format.stored]
        stored = bytes(swapped)
    return zlib.crc32(stored)


__all__ = [
    "CRITICAL", "FORMAT", "HEAD", "MAX_BODY", "MAX_INDEX", "SIGNATURE", "TAIL", "Damaged", "End", "EndOfRecording",
    "Entry", "Keyframe", "Kind", "Meta", "NewerFormat", "NotARecording", "Picture", "Place", "Reader", "RecordingError",
    "Writer", "checksum", "end_offset", "pack_index", "parse_body", "unpack_index",
]  # fmt: skip
