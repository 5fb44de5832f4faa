"""From the entries of a recording to one plain stream of a server, which a new client takes: pure.

A recording may hold several connections, and playing may begin at a keyframe. The stream is that of one connection:
later handshakes are left out, updates and resets of the model are numbered through, an update that broke off is ended
(what it touched is sent again, SPEC.md section 4). What answers to a client's input is left out, since the client that
is played to gives none: BEGIN names no input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAGIC
from tilewire.protocol.errors import RemoteProtocolError
from tilewire.protocol.recorder import NEW_CLIENT, Piece, Splitter, decoded, edit_fields
from tilewire.protocol.recording import Damaged, Entry, Keyframe, Kind, Meta, Picture, parse_body
from tilewire.protocol.rules import RESET
from tilewire.protocol.wire import frame

DROPPED: Final = frozenset({m.Goodbye.type, m.InputEcho.type, m.Proof.type})
"""GOODBYE: the recording goes on after it, or is over anyhow; a client would take its cursor away."""
RENUMBERED: Final = frozenset({m.Begin.type, m.Explanation.type, m.Codec.type})


@dataclass(frozen=True, slots=True)
class Play:
    """Bytes of the server (some), at a time of the recording."""

    time_us: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Check:
    """The framebuffer has this checksum now (`recording.checksum`)."""

    time_us: int
    checksum: int


class Player:
    """Entries in, in order; what is to be played out.

    META and everything up to the first HELLO have to be given first, also where playing begins at a keyframe.
    """

    def __init__(self) -> None:
        self.meta: Meta | None = None
        self.hello: m.Hello | None = None
        """Of the device that was recorded, with the panel that it has where playing begins."""
        self._welcomed = False
        self._updating = False
        self._update = 0
        """The last one that was begun, in the stream; and the resets in it."""
        self._resets = 0
        self._more_updates = 0
        """What is added to the numbers of the connection that is played."""
        self._more_resets = 0
        self._clipboard = False
        """Whether a text's first chunk came: what began before is left out."""

    def begin_at(self, entry: Entry) -> Play:
        """Begin at this KEYFRAME entry; what comes next are the entries after it. Raises Damaged and NewerFormat."""
        keyframe = parse_body(Keyframe, entry)
        if self.hello is None:
            raise Damaged("the recording is damaged: there is a keyframe before the device's HELLO")
        try:
            self.hello = replace(self.hello, panel=m.Size(width=keyframe.width, height=keyframe.height))
        except ValueError as error:
            raise Damaged(f"the recording is damaged at byte {entry.offset}: {error}") from None
        self._more_updates, self._more_resets = -keyframe.update, -keyframe.epoch
        out = b"".join(
            self._stream(piece) for piece in Splitter().feed(keyframe.messages) if piece.type not in RENUMBERED
        )
        return Play(entry.time_us, out)

    def take(self, entry: Entry) -> Play | Check | None:
        """What one entry means. Raises Damaged and NewerFormat."""
        match entry.kind:
            case Kind.META:
                self.meta = parse_body(Meta, entry)
            case Kind.CONNECTION:
                return self._connection(entry)
            case Kind.CLIENT if self.hello is None:
                self._greet(entry)
            case Kind.SERVER:
                try:
                    out = b"".join(self._stream(piece) for piece in pieces_of(entry))
                except ValueError as error:
                    # Numbers that no connection gets to.
                    raise Damaged(f"the recording is damaged at byte {entry.offset}: {error}") from None
                return Play(entry.time_us, out) if out else None
            case Kind.PICTURE if not self._updating:
                return Check(entry.time_us, parse_body(Picture, entry).checksum)
            case _:
                pass
        return None

    def _greet(self, entry: Entry) -> None:
        hello = next(iter(pieces_of(entry)), None)
        if hello is None or hello.type is not None:
            return
        try:
            self.hello = m.Hello.decode_body(hello.body)[0]
        except RemoteProtocolError as error:
            raise Damaged(f"the recording's device says what no device does: {error}") from None

    def _connection(self, entry: Entry) -> Play | None:
        self._more_updates, self._more_resets = self._update, self._resets
        if not self._updating:
            return None
        self._updating = False
        return Play(entry.time_us, m.End().encode())

    def _stream(self, piece: Piece) -> bytes:
        """One message, as it stands in the stream."""
        if piece.type is None:
            return b"" if self._welcomed else piece.data
        if piece.type == m.Welcome.type:
            if self._welcomed:
                return b""
            self._welcomed = True
            return frame(m.Welcome.type, edit_fields(piece.body, NEW_CLIENT))
        if piece.type in DROPPED:
            return b""
        if piece.type == m.Clipboard.type:
            chunk = decoded(piece)
            self._clipboard |= isinstance(chunk, m.Clipboard) and chunk.offset == 0
            return piece.data if self._clipboard else b""
        if piece.type == m.End.type:
            self._updating = False
        if piece.type in RENUMBERED:
            return self._renumbered(piece)
        return piece.data

    def _renumbered(self, piece: Piece) -> bytes:
        message = decoded(piece)
        if isinstance(message, m.Begin):
            self._updating = True
            self._update = max(message.update + self._more_updates, 1)
            return m.Begin(update=self._update, input=0).encode()
        if isinstance(message, m.Explanation):
            return replace(message, update=self._update).encode()
        if isinstance(message, m.Codec):
            self._resets += message.epoch >> 7
            epoch = (message.epoch + self._more_resets) % 128
            return replace(message, epoch=message.epoch & RESET | epoch).encode()
        return piece.data


def pieces_of(entry: Entry) -> list[Piece]:
    """The messages of a SERVER or CLIENT entry. Raises Damaged where they are not whole."""
    data = entry.body
    # No type of a message has the prefix's first byte today.
    splitter = Splitter(greeted=not data.startswith(MAGIC))
    pieces = splitter.feed(data)
    if splitter.broken or sum(len(piece.data) for piece in pieces) != len(data):
        raise Damaged(f"the recording is damaged at byte {entry.offset}: there are messages that are not whole")
    return pieces
