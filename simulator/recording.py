"""Recordings on disk: `Recording` keeps the wire of a session, `RecordingFile` plays one. docs/recordings.md.

A runner that carries a device's bytes records them so:

    recording = Recording(path, title=address, panel_name="mcu")
    recording.connected()                 # with each connection
    recording.sent(data)                  # what the device says, recording.received(data): what it hears
    data += recording.inject()            # where nobody can ask the device for REFRESH: put it into the line
    recording.close("the device is off")

and plays one to any device that takes the plain stream of a server:

    for time_us, data in RecordingFile(path).stream():
        ...
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from tilewire.protocol import messages as m
from tilewire.protocol.connection import Need
from tilewire.protocol.constants import PixelFormat
from tilewire.protocol.playback import Check, Play, Player
from tilewire.protocol.recorder import REFRESH, Recorder
from tilewire.protocol.recording import (
    TAIL,
    Damaged,
    End,
    EndOfRecording,
    Entry,
    Kind,
    Place,
    Reader,
    RecordingError,
    checksum,
    end_offset,
    parse_body,
    unpack_index,
)

READ_BYTES: Final = 1 << 16
MODE: Final = 0o600
"""What a screen showed is its owner's business."""


class RecordError(Exception):
    """A recording cannot be begun; one plain sentence."""


def generator() -> str:
    """What files of this version say of who wrote them."""
    return f"tilewire {metadata.version('tilewire')}"


class Recording:
    """Keeps the wire of one session in a new file. Raises RecordError where that cannot be begun.

    Later errors (a full disk) end the recording at the border of an entry; `ended` says why, and nothing is raised.
    """

    def __init__(
        self, path: Path, *, title: str | None = None, panel_name: str | None = None, keep_input: bool = False
    ) -> None:
        self.path = path
        self.ended: str | None = None
        self._recorder = Recorder(keep_input=keep_input)
        self._recorder.begin(generator(), time.time_ns() // 1000, title=title, panel_name=panel_name)
        self._started_ns = time.monotonic_ns()
        self._written = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags, MODE)
        except FileExistsError:
            raise RecordError(f"{path} is there already, and a recording does not overwrite") from None
        except OSError as error:
            raise RecordError(f"{path} cannot be written: {error.strerror}") from error

    @property
    def is_open(self) -> bool:
        """Whether what comes is kept."""
        return self.ended is None and self._file >= 0

    def _now_us(self) -> int:
        return (time.monotonic_ns() - self._started_ns) // 1000

    def connected(self) -> None:
        """A connection begins."""
        self._recorder.connected(self._now_us())

    def sent(self, data: bytes) -> None:
        """Bytes of the device, as they go out."""
        if self.is_open:
            self._recorder.sent(data, self._now_us())
            self._write()

    def received(self, data: bytes) -> None:
        """Bytes of the server, as they come."""
        if self.is_open:
            self._recorder.received(data, self._now_us())
            self._write()

    @property
    def wants_picture(self) -> bool:
        """Whether `picture` is to be called, once the device has taken what it was given so far."""
        return self.is_open and self._recorder.wants_picture

    @property
    def may_check(self) -> bool:
        """Whether a whole update came last, so that `picture` may be called."""
        return self.is_open and self._recorder.between_updates

    def picture(self, stored: bytes, pixel_format: PixelFormat, *, big_endian: bool = False) -> None:
        """The device's framebuffer as it stores it, without gaps and cursor: its checksum is kept."""
        self._recorder.picture(checksum(stored, pixel_format, big_endian=big_endian), self._now_us())
        self._write()

    def ask_refresh(self) -> bool:
        """Whether the device is to send REFRESH now: a keyframe is due. Not again for a while, whatever it does."""
        now_us = self._now_us()
        if not self.is_open or not self._recorder.wants_keyframe(now_us):
            return False
        self._recorder.asked(now_us)
        return True

    def inject(self) -> bytes:
        """A REFRESH for whoever carries the device's bytes to put behind those that were `sent`, where it is due."""
        if not self._recorder.may_inject or not self.ask_refresh():
            return b""
        self.sent(REFRESH)
        return REFRESH

    def close(self, reason: str | None = None) -> None:
        """Write what is left and the index. A file in which nothing stands is taken away."""
        if self.is_open and not self._recorder.begun:
            self.path.unlink(missing_ok=True)
        elif self.is_open:
            self._recorder.close(self._now_us(), reason)
            self._write()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self) -> None:
        data = self._recorder.take()
        at = 0
        try:
            while at < len(data):
                at += os.write(self._file, data[at:])
        except OSError as error:
            self.ended = f"the recording {self.path} ends here: {error.strerror}"
            self._cut()
            return
        self._written += len(data)

    def _cut(self) -> None:
        """Nothing more fits: end at the last border, with the index if that fits."""
        try:
            os.ftruncate(self._file, self._written)
            os.lseek(self._file, self._written, os.SEEK_SET)
            self._recorder.close(self._now_us(), self.ended, cut_at=self._written)
            end = self._recorder.take()
            if os.write(self._file, end) != len(end):
                os.ftruncate(self._file, self._written)
        except OSError:
            # What is there can be read as it is.
            return


class RecordingFile:
    """A recording to be played. Raises RecordingError, and OSError where the file cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        player = Player()
        self._head: list[Entry] = []
        for entry in self._entries(None):
            if isinstance(entry, EndOfRecording):
                raise Damaged("the recording ends before a device says HELLO")
            player.take(entry)
            self._head.append(entry)
            if player.hello is not None:
                break
        assert player.hello is not None
        if player.meta is None:
            raise Damaged("the recording does not say what it is one of")
        self.meta = player.meta
        self.hello: m.Hello = player.hello
        self.end: End | None = None
        """Where the recording was closed and says so at its end."""
        self._keyframes: list[Place] | None = None
        self._find_end()
        self.ending: EndOfRecording | None = None
        """How the file ended, once it was played to its end."""

    @property
    def keyframes(self) -> list[Place]:
        """Where playing can begin; in order."""
        if self._keyframes is None:
            self._keyframes = self._scan()
        return self._keyframes

    def play(self, start_us: int = 0) -> Iterator[Play | Check]:
        """What is to be played, from the last keyframe that is no later than `start_us`. Raises RecordingError.

        `hello` is the device that it is for, from here on.
        """
        place = None
        if start_us > 0:
            place = next((place for place in reversed(self.keyframes) if place.time_us <= start_us), None)
        player = Player()
        if place is None:
            self.hello = self._feed_head(player)
            return self._rest(player, None)
        self._feed_head(player)
        entries = self._entries(place)
        keyframe = next(entries)
        if not isinstance(keyframe, Entry) or keyframe.kind != Kind.KEYFRAME:
            raise Damaged("the recording's index is damaged: there is no keyframe where it says")
        ready = player.begin_at(keyframe)
        assert player.hello is not None
        self.hello = player.hello
        return self._rest(player, entries, ready)

    def stream(self, start_us: int = 0) -> Iterator[tuple[int, bytes]]:
        """The server's plain stream, with the microseconds after which each piece comes. Raises RecordingError."""
        began_us: int | None = None
        for item in self.play(start_us):
            if isinstance(item, Play):
                began_us = item.time_us if began_us is None else began_us
                yield item.time_us - began_us, item.data

    def _feed_head(self, player: Player) -> m.Hello:
        for entry in self._head:
            player.take(entry)
        assert player.hello is not None
        return player.hello

    def _rest(
        self, player: Player, entries: Iterator[Entry | EndOfRecording] | None, ready: Play | None = None
    ) -> Iterator[Play | Check]:
        if ready is not None:
            yield ready
        skip = 0
        if entries is None:
            entries, skip = self._entries(None), len(self._head)
        for entry in entries:
            if isinstance(entry, EndOfRecording):
                self.ending = entry
                break
            if skip:
                skip -= 1
                continue
            item = player.take(entry)
            if item is not None:
                yield item

    def _entries(self, at: Place | None) -> Iterator[Entry | EndOfRecording]:
        reader = Reader(at)
        with self.path.open("rb") as file:
            if at is not None:
                file.seek(at.offset)
            while True:
                entry = reader.next_entry()
                if isinstance(entry, Need):
                    reader.receive_data(file.read(READ_BYTES))
                    continue
                yield entry
                if isinstance(entry, EndOfRecording):
                    return

    def _find_end(self) -> None:
        """The index, where the file was closed; a file that was not has to be read through."""
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - TAIL.size, 0))
            offset = end_offset(file.read(TAIL.size))
        if offset is None or offset >= size:
            return
        try:
            entry = next(self._entries(Place(offset, 0)))
            if isinstance(entry, Entry) and entry.kind == Kind.END:
                self.end = parse_body(End, entry)
                self._keyframes = unpack_index(self.end.keyframes)
        except RecordingError:
            # The entries themselves may be sound.
            self.end = None

    def _scan(self) -> list[Place]:
        """Keyframes by the entries themselves, as far as they can be read."""
        places: list[Place] = []
        last: Place | None = None
        try:
            for entry in self._entries(None):
                if isinstance(entry, Entry) and entry.kind == Kind.KEYFRAME:
                    last = Place(entry.offset, entry.time_us)
                    places.append(last)
                elif isinstance(entry, Entry) and entry.kind == Kind.VOID and last is not None:
                    places.remove(last)
                    last = None
        except RecordingError:
            return places
        return places
