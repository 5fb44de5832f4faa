"""From a wire to the entries of a recording: pure. Bytes as they were sent and received go in, a file's bytes come out.

What need not be kept is left out on the way (`Scrubber`): proofs, tickets and tokens always; what was typed, pointed
and pasted unless it is asked for. Keyframes are found in what the server sends, not believed: an update is one if it
draws every pixel from nothing but itself, and if nothing that comes later needs more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAGIC, TOKEN_SIZE, AuthMethod, Resumed
from tilewire.protocol.errors import RemoteProtocolError
from tilewire.protocol.geometry import Rect, subtract
from tilewire.protocol.recording import MAX_BODY, End, Keyframe, Kind, Meta, Picture, Place, Writer, pack_index
from tilewire.protocol.rules import RESET
from tilewire.protocol.wire import MESSAGES, PREFIX, Message, Sender, Varint, encode_varint, frame

KEYFRAME_US: Final = 10_000_000
"""A recording holds a whole repaint at least so often, while its picture changes."""
AGAIN_US: Final = 2_000_000
"""A whole repaint that did not come, or was none, is asked for again; a server may let a second pass between two."""
MAX_HELD: Final = 32 << 20
"""Bytes of an update that may be a keyframe; four times what the largest panel takes raw would be a fault."""
REFRESH: Final = m.Refresh().encode()
HELD_BACK: Final = frozenset(
    {m.Pointer.type, m.Touch.type, m.Wheel.type, m.Key.type, m.TextInput.type, m.Clipboard.type, m.InputEcho.type}
)
"""Left out unless input is kept."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One whole message, or the prefix and field list that a side begins with (`type` None)."""

    type: int | None
    data: bytes

    @property
    def body(self) -> memoryview:
        """What follows type and length; of a greeting, the field list."""
        if self.type is None:
            return memoryview(self.data)[PREFIX.size :]
        at = 1
        while self.data[at] >= 0x80:
            at += 1
        return memoryview(self.data)[at + 1 :]


class Splitter:
    """Cuts one direction of one connection into whole messages, whatever they say."""

    def __init__(self, *, greeted: bool = False) -> None:
        """`greeted`: the prefix was there already."""
        self._buffer = bytearray()
        self._greeted = greeted
        self.broken = False
        """Whether what came is no message: nothing is taken from then on."""

    @property
    def at_border(self) -> bool:
        """Whether a message may begin here."""
        return self._greeted and not self._buffer and not self.broken

    def feed(self, data: bytes) -> list[Piece]:
        """The messages that are whole now."""
        if not self.broken:
            self._buffer += data
        pieces: list[Piece] = []
        at = 0
        while (end := self._end(at)) is not None:
            type_ = self._buffer[at] if self._greeted else None
            pieces.append(Piece(type_, bytes(self._buffer[at:end])))
            self._greeted = True
            at = end
        del self._buffer[:at]
        if self.broken:
            self._buffer.clear()
        return pieces

    def _end(self, at: int) -> int | None:
        buffer = self._buffer
        if not self._greeted:
            head = bytes(buffer[at : at + len(MAGIC)])
            if head != MAGIC[: len(head)]:
                self.broken = True
                return None
            if len(buffer) < at + PREFIX.size:
                return None
            end: int = at + PREFIX.size + PREFIX.unpack_from(buffer, at)[3]
            return end if end <= len(buffer) else None
        length = shift = 0
        for offset in range(at + 1, min(at + 4, len(buffer))):
            byte = buffer[offset]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                end = offset + 1 + length
                self.broken = end - at > MAX_BODY
                return end if end <= len(buffer) and not self.broken else None
        self.broken = shift == 21
        return None


Edit = Callable[[bytes], bytes | None]


def edit_fields(data: bytes | memoryview, edits: dict[int, Edit]) -> bytes:
    """A field list with some fields, by tag, changed or (None) left out; what is unknown stays as it is.

    A list that does not parse is returned as far as it does.
    """
    view = memoryview(data)
    out = bytearray()
    at = 0
    while at < len(view):
        try:
            length, start = Varint(maximum=0xFFFF).decode(view, at + 1)
        except RemoteProtocolError:
            break
        if start + length > len(view):
            break
        value: bytes | None = bytes(view[start : start + length])
        edit = edits.get(view[at] & 0x7F)
        if edit is not None and value is not None:
            value = edit(value)
        if value is not None:
            out.append(view[at])
            out += encode_varint(len(value)) + value
        at = start + length
    return bytes(out)


def _tag(kind: type[m.Hello | m.Reply | m.Welcome], name: str) -> int:
    return next(spec.tag.number for spec in kind.layout if spec.name == name and spec.tag is not None)


def _without_token(value: bytes) -> bytes:
    return bytes(TOKEN_SIZE) + value[TOKEN_SIZE:]


def _no_proof(_: bytes) -> bytes:
    return bytes((AuthMethod.NONE,))


def _left_out(_: bytes) -> None:
    return None


HELLO_EDITS: Final[dict[int, Edit]] = {
    _tag(m.Hello, "auth_methods"): _no_proof,
    _tag(m.Hello, "ticket"): _left_out,
    _tag(m.Hello, "resume"): _without_token,
}
URL_EDIT: Final[dict[int, Edit]] = {_tag(m.Hello, "url"): _left_out}
REPLY_EDITS: Final[dict[int, Edit]] = {_tag(m.Reply, "method"): _no_proof}
WELCOME_EDITS: Final[dict[int, Edit]] = {_tag(m.Welcome, "resume"): _without_token}
NEW_CLIENT: Final[dict[int, Edit]] = {_tag(m.Welcome, "resumed"): _left_out}
"""What WELCOME says to a client that asked for no resume."""


def _greeting(data: bytes, edits: dict[int, Edit]) -> bytes:
    magic, low, high, _ = PREFIX.unpack_from(data)
    body = edit_fields(memoryview(data)[PREFIX.size :], edits)
    return PREFIX.pack(magic, low, high, len(body)) + body


def decoded(piece: Piece) -> Message | None:
    """The message; None for a greeting, and for what is none of this version's."""
    cls = MESSAGES.get(piece.type) if piece.type is not None else None
    if cls is None:
        return None
    try:
        message: Message = cls.decode(piece.body)
    except RemoteProtocolError:
        return None
    return message


class Scrubber:
    """Takes out of messages what a recording does not keep."""

    def __init__(self, *, keep_input: bool) -> None:
        self._keep = keep_input

    def scrub(self, piece: Piece, sender: Sender) -> Piece | None:
        """The message as it is kept; None: it is not."""
        if piece.type is None:
            edits = REPLY_EDITS if sender is Sender.SERVER else HELLO_EDITS | ({} if self._keep else URL_EDIT)
            return Piece(None, _greeting(piece.data, edits))
        if piece.type == m.Proof.type:
            return None
        if piece.type == m.Welcome.type:
            return Piece(piece.type, frame(piece.type, edit_fields(piece.body, WELCOME_EDITS)))
        if self._keep:
            return piece
        cls = MESSAGES.get(piece.type)
        if piece.type in HELD_BACK or cls is None:
            # What a later version says may be input too.
            return None
        if cls is m.Begin:
            begin = decoded(piece)
            if isinstance(begin, m.Begin):
                return Piece(piece.type, m.Begin(update=begin.update, input=0).encode())
        return piece


class _Coverage:
    """Whether an update draws every pixel of a panel from nothing but itself."""

    def __init__(self, panel: Rect) -> None:
        self._bare = [panel]
        """Not written yet; no two overlap."""
        self.alone = True
        self.has_reset = False
        self.slots: dict[int, Rect] = {}

    @property
    def whole(self) -> bool:
        """Whether it is so, as far as the update has come."""
        return self.alone and not self._bare

    def add(self, operation: Message | None) -> None:
        """One drawing operation; None: one that nobody understands."""
        match operation:
            case m.Copy(rect=rect, source=at):
                self._read(Rect(at.x, at.y, rect.width, rect.height))
                self._write(rect)
            case m.CacheStore(slot=slot, rect=rect):
                self._read(rect)
                self.slots[slot] = rect
            case m.CacheDraw(slot=slot, position=at):
                stored = self.slots.get(slot)
                if stored is None:
                    self.alone = False
                else:
                    self._write(Rect(at.x, at.y, stored.width, stored.height))
            case m.Codec(rect=rect, epoch=epoch):
                self.has_reset |= bool(epoch & RESET)
                self.alone &= self.has_reset
                self._write(rect)
            case m.Fill(rect=rect) | m.Raw(rect=rect) | m.Palette(rect=rect) | m.Deflate(rect=rect) | m.Jpeg(rect=rect):
                self._write(rect)
            case _:
                self.alone = False

    def _read(self, rect: Rect) -> None:
        self.alone = self.alone and not any(bare.intersect(rect) for bare in self._bare)

    def _write(self, rect: Rect) -> None:
        if self.alone:
            self._bare = [part for bare in self._bare for part in subtract(bare, rect)]


@dataclass(slots=True)
class _Held:
    """Entries that wait until an update has turned out to be a keyframe, or not."""

    keyframe: Keyframe
    time_us: int
    coverage: _Coverage
    entries: list[tuple[Kind, int, bytes]]
    size: int = 0
    needs_more: bool = False
    """Whether it needs what was there before the last keyframe."""


class Recorder:
    """One session's wire, as a file. `take` gives the bytes to append: whole entries each time."""

    def __init__(self, *, keep_input: bool = False) -> None:
        self._keep_input = keep_input
        self._scrubber = Scrubber(keep_input=keep_input)
        self._writer = Writer()
        self._out = bytearray()
        self._title: str | None = None
        self._generator = ""
        self._panel_name: str | None = None
        self._started_us = 0
        self.begun = False
        """Whether there is anything to keep."""
        self._batch: tuple[Kind, int, bytearray] | None = None
        self._held: _Held | None = None
        self._places: list[Place] = []
        self._client, self._server = Splitter(), Splitter()
        self._hello: m.Hello | None = None
        self.updates = self._server_bytes = self._client_bytes = 0
        # Of the connection:
        self._updating = False
        self._update = 0
        self._resets = 0
        self._size = (0, 0)
        self._ready: dict[str, bytes] = {}
        """What a new client would have to be told, by what it is about."""
        # Of the last keyframe:
        self._holds = False
        self._has_reset = False
        self._slots: set[int] = set()
        self._keyframe_us = 0
        self._since = 0
        """Updates since then."""
        self._wanted = False
        """Whether a whole repaint is on its way: an update may be one."""
        self._asked_us = -AGAIN_US
        self._unchecked = False

    # What it is about.

    def begin(
        self, generator: str, started_us: int, *, title: str | None = None, panel_name: str | None = None
    ) -> None:
        """Say what is recorded, before anything else; the rest is taken from HELLO and WELCOME."""
        self._generator, self._started_us = generator, started_us
        self._title, self._panel_name = title, panel_name

    def take(self) -> bytes:
        """The bytes that are to be appended to the file now."""
        self._flush()
        out = bytes(self._out)
        self._out.clear()
        return out

    @property
    def size(self) -> int:
        """Bytes of the file, with what is not taken yet or held."""
        batch = len(self._batch[2]) if self._batch is not None else 0
        return self._writer.offset + batch + (self._held.size if self._held is not None else 0)

    # The wire.

    def connected(self, now_us: int) -> None:
        """A connection begins."""
        self._release(now_us)
        self._client, self._server = Splitter(), Splitter()
        self._updating = False
        self._update = self._resets = 0
        self._ready = {}
        if self.begun:
            self._put(Kind.CONNECTION, now_us, b"")

    def sent(self, data: bytes, now_us: int) -> None:
        """Bytes of the client, as they go out."""
        for piece in self._client.feed(data):
            kept = self._scrubber.scrub(piece, Sender.CLIENT)
            if kept is None:
                continue
            if kept.type is None:
                self._greeted(kept, now_us)
            elif kept.type == m.Refresh.type:
                self._wanted, self._asked_us = True, now_us
            self._client_bytes += len(kept.data)
            self._put(Kind.CLIENT, now_us, kept.data)

    def received(self, data: bytes, now_us: int) -> None:
        """Bytes of the server, as they come."""
        for piece in self._server.feed(data):
            kept = self._scrubber.scrub(piece, Sender.SERVER)
            if kept is not None:
                self._follow(kept, now_us)

    def _greeted(self, hello: Piece, now_us: int) -> None:
        try:
            self._hello = m.Hello.decode_body(hello.body)[0]
        except RemoteProtocolError:
            self._hello = None
        panel = self._hello.panel if self._hello is not None else m.Size(width=1, height=1)
        self._size = panel.width, panel.height
        if not self.begun:
            self.begun = True
            self._out += self._writer.head()
            meta = Meta(
                protocol=PREFIX.unpack_from(hello.data)[2],
                generator=self._generator or "unknown",
                started_us=self._started_us,
                title=self._title,
                panel_name=self._panel_name,
                panel=panel,
                pixel_format=self._hello.pixel_format if self._hello is not None else 1,
                input=int(self._keep_input),
            )
            self._put(Kind.META, now_us, meta.encode_body())
            self._put(Kind.CONNECTION, now_us, b"")

    def _follow(self, piece: Piece, now_us: int) -> None:
        """One message of the server that is kept."""
        type_, data = piece.type, piece.data
        self._server_bytes += len(data)
        if type_ == m.Begin.type:
            self._begin_update(piece, now_us)
        elif self._held is not None and type_ in m.DRAWING_TYPES:
            self._held.coverage.add(decoded(piece))
        if type_ == m.Codec.type:
            self._codec(piece, now_us)
        elif type_ in (m.CacheStore.type, m.CacheDraw.type):
            self._cache(piece, now_us)
        elif type_ not in m.DRAWING_TYPES:
            self._note(piece, now_us)
        self._put(Kind.SERVER, now_us, data)
        if type_ == m.End.type:
            self._end_update(now_us)

    def _note(self, piece: Piece, now_us: int) -> None:
        """Remember what a client must know that begins later."""
        if piece.type is None:
            self._ready["reply"] = piece.data
            return
        if piece.type == m.Welcome.type:
            body = edit_fields(piece.body, NEW_CLIENT)
            self._ready["welcome"] = frame(m.Welcome.type, body)
            welcome = decoded(piece)
            if not (isinstance(welcome, m.Welcome) and welcome.resumed == Resumed.RESUMED):
                # A framebuffer of which nothing is known: its first update is whole.
                self._wanted, self._asked_us = True, now_us
            return
        if piece.type in (m.ViewState.type, m.ControlState.type, m.Setting.type, m.CursorPosition.type):
            self._ready[str(piece.type)] = piece.data
        elif piece.type == m.CursorShape.type:
            shape = decoded(piece)
            if isinstance(shape, m.CursorShape):
                if shape.row == 0 and self._ready.get("parts"):
                    # What is incomplete keeps the shape before it in force.
                    self._ready.pop("parts")
                parts = self._ready.pop("parts", b"") + piece.data
                rows = len(shape.pixels) // (4 * shape.width) if shape.width else 0
                name = "shape" if shape.row + rows == shape.height else "parts"
                self._ready[name] = parts
        elif piece.type == m.Resize.type:
            size = decoded(piece)
            if isinstance(size, m.Resize):
                self._size = size.width, size.height

    def _messages(self) -> bytes:
        order = ["reply", "welcome", *map(str, (m.Setting.type, m.ControlState.type, m.ViewState.type))]
        order += ["shape", "parts", str(m.CursorPosition.type)]
        return b"".join(self._ready.get(name, b"") for name in order)

    # Updates.

    @property
    def between_updates(self) -> bool:
        """Whether a whole update came last: the framebuffer shows what it left."""
        return not self._updating and self._update > 0

    @property
    def wants_picture(self) -> bool:
        """Whether the framebuffer's checksum is due: after each keyframe, as soon as it can be had."""
        return self._unchecked and self.between_updates

    def wants_keyframe(self, now_us: int) -> bool:
        """Whether the client is to send REFRESH (which is told by `sent`)."""
        if self._server.broken or not self.between_updates or now_us < self._asked_us + AGAIN_US:
            return False
        if not self._holds:
            return True
        return self._since > 0 and now_us >= self._keyframe_us + KEYFRAME_US

    def asked(self, now_us: int) -> None:
        """The client was told to; it is not told again for a while."""
        self._asked_us = now_us

    @property
    def may_inject(self) -> bool:
        """Whether a message may be put into what the client sends, here: between two of its own."""
        return self._client.at_border and "welcome" in self._ready

    def _begin_update(self, piece: Piece, now_us: int) -> None:
        self._release(now_us)
        begin = decoded(piece)
        if isinstance(begin, m.Begin):
            self._update = begin.update
        self._updating = True
        if self._wanted:
            width, height = self._size
            keyframe = Keyframe(
                update=max(self._update - 1, 0),
                epoch=self._resets % 128,
                width=width,
                height=height,
                messages=self._messages(),
            )
            self._flush()
            self._held = _Held(keyframe, now_us, _Coverage(Rect(0, 0, width, height)), [])

    def _end_update(self, now_us: int) -> None:
        self._updating = False
        self.updates += 1
        self._since += 1
        held = self._held
        if held is None:
            return
        if held.coverage.whole:
            self._held = None
            self._flush()
            self._places.append(Place(self._writer.offset, held.time_us))
            self._write(Kind.KEYFRAME, held.time_us, held.keyframe.encode_body())
            self._wanted, self._holds, self._unchecked = False, True, True
            self._keyframe_us, self._since = held.time_us, 0
            self._has_reset, self._slots = held.coverage.has_reset, set(held.coverage.slots)
            for kind, time_us, data in held.entries:
                self._put(kind, time_us, data)
        else:
            self._release(now_us)

    def _release(self, now_us: int) -> None:
        """What was held is no keyframe."""
        held, self._held = self._held, None
        if held is None:
            return
        for kind, time_us, data in held.entries:
            self._put(kind, time_us, data)
        if held.needs_more:
            self._void(now_us)

    def _codec(self, piece: Piece, now_us: int) -> None:
        body = piece.body
        if len(body) > 6 and body[6] & RESET:
            self._resets += 1
            self._has_reset = True
        elif not self._has_reset:
            self._need_more(now_us)

    def _cache(self, piece: Piece, now_us: int) -> None:
        try:
            slot, _ = Varint().decode(piece.body, 0)
        except RemoteProtocolError:
            return
        if piece.type == m.CacheStore.type:
            self._slots.add(slot)
        elif slot not in self._slots:
            self._need_more(now_us)

    def _need_more(self, now_us: int) -> None:
        """The server counts on something that was there before the last keyframe."""
        if self._held is not None:
            self._held.needs_more = True
        else:
            self._void(now_us)

    def _void(self, now_us: int) -> None:
        """What the last keyframe promised does not hold."""
        if self._holds:
            self._holds = False
            self._places.pop()
            self._put(Kind.VOID, now_us, b"")

    def picture(self, checksum: int, now_us: int) -> None:
        """The framebuffer's checksum (`recording.checksum`); only `between_updates`."""
        if not self.between_updates:
            raise ValueError("a checksum belongs to a whole update")
        self._unchecked = False
        self._put(Kind.PICTURE, now_us, Picture(checksum=checksum, update=self._update).encode_body())

    def close(self, now_us: int, reason: str | None = None, *, cut_at: int | None = None) -> None:
        """The last entry. `cut_at`: the file was cut at this border, and what was taken later is not in it."""
        self._release(now_us)
        if cut_at is not None:
            self._batch = None
            self._out.clear()
            self._writer.went_back(cut_at)
        elif not self.begun:
            self.begun = True
            self._out += self._writer.head()
        self._flush()
        whole = cut_at is None
        end = End(
            reason=reason.encode()[:1000].decode(errors="ignore") if reason else None,
            updates=self.updates if whole else None,
            server_bytes=self._server_bytes if whole else None,
            client_bytes=self._client_bytes if whole else None,
            duration_us=max(now_us, 0),
            keyframes=pack_index(place for place in self._places if place.offset < self._writer.offset),
        )
        self._out += self._writer.end(now_us, end)

    # Entries.

    def _put(self, kind: Kind, time_us: int, data: bytes) -> None:
        """One entry; messages of one side that come together are one."""
        if not self.begun:
            return
        if self._held is not None:
            self._held.entries.append((kind, time_us, data))
            self._held.size += len(data)
            if self._held.size > MAX_HELD:
                self._release(time_us)
            return
        if kind not in (Kind.CLIENT, Kind.SERVER):
            self._flush()
            self._write(kind, time_us, data)
            return
        batch = self._batch
        if batch is not None and batch[:2] == (kind, time_us) and len(batch[2]) + len(data) <= MAX_BODY:
            batch[2].extend(data)
            return
        self._flush()
        self._batch = kind, time_us, bytearray(data)

    def _flush(self) -> None:
        if self._batch is not None:
            kind, time_us, data = self._batch
            self._batch = None
            self._write(kind, time_us, bytes(data))

    def _write(self, kind: Kind, time_us: int, data: bytes) -> None:
        self._out += self._writer.entry(kind, time_us, data)
