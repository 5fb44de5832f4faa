"""The file format of recordings, what is kept of a wire, and how it is played again; all without a file."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import AuthMethod, Capability, Connection, Need, PixelFormat, Point, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.protocol import recording as r
from tilewire.protocol.playback import Check, Play, Player
from tilewire.protocol.recorder import AGAIN_US, KEYFRAME_US, Piece, Recorder, Splitter
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.vectors import KEY, TOKEN, Exchange, hello, tagged, welcome
from tilewire.protocol.wire import MESSAGES, Message, frame

from tests import vectors as v

CLIENT, SERVER = Sender.CLIENT, Sender.SERVER
SECOND = 1_000_000
TICKET = b"a ticket, not to be kept"
ENTRIES = st.lists(
    st.tuples(st.integers(1, 7), st.integers(0, 1 << 40), st.binary(max_size=40)),
    max_size=12,
)


def written(entries: list[tuple[int, int, bytes]], *, closed: bool = True) -> bytes:
    writer = r.Writer()
    data = writer.head()
    now_us = 0
    for kind, wait_us, body in entries:
        now_us += wait_us
        data += writer.entry(kind, now_us, body)
    return data + (writer.end(now_us, r.End(reason="over")) if closed else b"")


def read(data: bytes, cuts: list[int] | None = None) -> tuple[list[r.Entry], r.EndOfRecording]:
    """All entries. Raises RecordingError."""
    reader = r.Reader()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})
    entries: list[r.Entry] = []
    for piece in [data[a:b] for a, b in pairwise(places)] + [b""]:
        reader.receive_data(piece)
        while not isinstance(entry := reader.next_entry(), Need):
            if isinstance(entry, r.EndOfRecording):
                return entries, entry
            entries.append(entry)
    raise AssertionError("the reader waits for more than there is")


# The format.


@given(ENTRIES, st.lists(st.integers(0, 1 << 16), max_size=8))
def test_what_was_written_is_read_whatever_the_pieces(entries: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    data = written(entries)
    seen, ending = read(data, cuts)
    assert [(entry.kind, entry.body) for entry in seen[:-1]] == [(kind, body) for kind, _, body in entries]
    times = [entry.time_us for entry in seen[:-1]]
    assert times == [sum(wait for _, wait, _ in entries[: n + 1]) for n in range(len(entries))]
    assert seen[-1].kind == r.Kind.END
    assert ending == r.EndOfRecording(complete=True)
    # From any entry on it reads the same, and the tail says where END is.
    assert r.end_offset(data[-r.TAIL.size :]) == seen[-1].offset
    for number, entry in enumerate(seen):
        reader = r.Reader(r.Place(entry.offset, entry.time_us))
        reader.receive_data(data[entry.offset :])
        assert [reader.next_entry() for _ in seen[number:]] == seen[number:]


@given(ENTRIES, st.data())
def test_a_file_cut_anywhere_is_read_up_to_the_last_whole_entry(
    entries: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    whole = written(entries)
    all_seen, _ = read(whole)
    cut = data.draw(st.integers(r.HEAD.size, len(whole) - 1))
    seen, ending = read(whole[:cut])
    borders = [entry.offset for entry in all_seen[1:]] + [len(whole) - r.TAIL.size]
    assert seen == all_seen[: sum(border <= cut for border in borders)]
    assert not ending.complete


@given(st.binary(max_size=200))
def test_any_bytes_give_entries_or_a_plain_sentence(data: bytes) -> None:
    for start in (data, written([])[: r.HEAD.size] + data):
        with suppress(r.RecordingError):
            read(start)


@given(ENTRIES.filter(bool), st.data())
def test_a_changed_byte_is_noticed(entries: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    whole = bytearray(written(entries))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        seen, ending = read(bytes(whole))
    except r.RecordingError:
        return
    # A length that grew may reach beyond the end, which looks like a cut.
    assert not ending.complete
    sound, _ = read(written(entries))
    assert [(entry.kind, entry.body) for entry in seen] == [(e.kind, e.body) for e in sound[: len(seen)]]


@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        (b"", r.NotARecording, "the file is empty"),
        (r.SIGNATURE, r.NotARecording, "ends before a recording begins"),
        (b"\x97TWREC\n\n\1\0", r.NotARecording, "no recording"),
        (b"\x89PNG\r\n\x1a\n", r.NotARecording, "no recording"),
        (r.HEAD.pack(r.SIGNATURE, 2), r.NewerFormat, "format 2, this version reads up to 1"),
        (r.HEAD.pack(r.SIGNATURE, 0), r.Damaged, "damaged at byte 8"),
        (r.HEAD.pack(r.SIGNATURE, 1) + b"\3\0\xff\xff\xff\x7f", r.Damaged, "damaged at byte 10"),
        (written([(0x80, 0, b"new")]), r.NewerFormat, "an entry of kind 128"),
        (written([]) + b"more", r.Damaged, "damaged at byte"),
    ],
)
def test_what_cannot_be_read_is_said(data: bytes, error: type[r.RecordingError], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        read(data)


def test_an_entry_is_as_long_as_a_message_may_be_and_no_longer() -> None:
    writer = r.Writer()
    data = writer.head() + writer.entry(r.Kind.SERVER, 0, bytes(r.MAX_BODY))
    assert len(read(data)[0][0].body) == r.MAX_BODY
    with pytest.raises(ValueError, match="longer than"):
        writer.entry(r.Kind.SERVER, 0, bytes(r.MAX_BODY + 1))


@given(st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 1 << 40)), max_size=30))
def test_an_index_is_read_as_it_was_packed(steps: list[tuple[int, int]]) -> None:
    places = [r.Place(sum(a for a, _ in steps[:n]), sum(b for _, b in steps[:n])) for n in range(1, len(steps) + 1)]
    assert r.unpack_index(r.pack_index(places)) == places


def test_an_index_of_too_many_is_thinned() -> None:
    places = [r.Place(n * 100_000, n * 10 * SECOND) for n in range(100_000)]
    packed = r.pack_index(places)
    assert len(packed) <= r.MAX_INDEX
    found = r.unpack_index(packed)
    assert set(found) <= set(places)
    assert len(found) > 5000
    with pytest.raises(r.Damaged):
        r.unpack_index(packed[:-1] + b"\xff")


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_the_checksum_is_of_little_endian_pixels(pixel_format: PixelFormat) -> None:
    values = [0x010203, 0x00FFEE, 0x123456]
    size = pixel_format.stored
    little = b"".join((value & (1 << 8 * size) - 1).to_bytes(size, "little") for value in values)
    big = b"".join((value & (1 << 8 * size) - 1).to_bytes(size, "big") for value in values)
    assert r.checksum(little, pixel_format) == zlib.crc32(little) == r.checksum(big, pixel_format, big_endian=True)


# From a wire to a file.


def replayed(entries: list[r.Entry], start: r.Entry | None = None) -> tuple[Connection, Framebuffer, list[int]]:
    """Play into a new client that checks every message; the checksums that did not agree."""
    player = Player()
    items: list[Play | Check | None] = []
    if start is not None:
        for entry in entries:
            player.take(entry)
            if player.hello is not None:
                break
        items.append(player.begin_at(start))
        entries = entries[entries.index(start) + 1 :]
    items += [player.take(entry) for entry in entries]
    assert player.hello is not None
    assert player.hello.auth_methods == AuthMethod.NONE
    connection = Connection(CLIENT)
    connection.send(player.hello)
    screen = Framebuffer.of(player.hello)
    wrong = []
    for item in items:
        if isinstance(item, Check):
            if r.checksum(screen.stored(), screen.format) != item.checksum:
                wrong.append(item.time_us)
        elif item is not None:
            connection.receive_data(item.data)
            while not isinstance(event := connection.next_event(), Need):
                if isinstance(event, Message):
                    screen.apply(event)
    return connection, screen, wrong


def recorded(
    vector: v.Vector, *, keep_input: bool = False, pieces: v.Pieces = v.whole
) -> tuple[bytes, list[r.Entry], Recorder]:
    """A vector's exchange as a file."""
    recorder = Recorder(keep_input=keep_input)
    recorder.begin("test 1", 12345, title=vector.name)
    recorder.connected(0)
    data = b""
    for number, step in enumerate(vector.steps):
        take = recorder.sent if step.sender is CLIENT else recorder.received
        for piece in pieces(step.data):
            take(piece, number * 1000)
        data += recorder.take()
    recorder.close(len(vector.steps) * 1000, "done")
    data += recorder.take()
    entries, ending = read(data)
    assert ending.complete
    return data, entries, recorder


SOUND = [vector for vector in v.exchanges() if vector.error is None]


@pytest.mark.parametrize("keep_input", [False, True], ids=["without", "with"])
@pytest.mark.parametrize("vector", SOUND, ids=str)
def test_every_vector_is_recorded_and_played_again(vector: v.Vector, keep_input: bool) -> None:
    if not any(event["type"] == "WELCOME" for step in vector.steps for event in step.events):
        return
    data, entries, _ = recorded(vector, keep_input=keep_input)
    resized = any(event["type"] == "RESIZE" for step in vector.steps for event in step.events)
    if not resized:
        # A device has asked for its new size; the one that is played to has not.
        _, screen, wrong = replayed(entries)
        v.compare(screen, vector.framebuffer)
        assert not wrong
    # Whatever the pieces, messages are kept whole, with the same bytes.
    _, again, _ = recorded(vector, keep_input=keep_input, pieces=v.single_bytes)

    def bodies(kind: r.Kind, found: list[r.Entry]) -> bytes:
        return b"".join(entry.body for entry in found if entry.kind == kind)

    for kind in (r.Kind.CLIENT, r.Kind.SERVER):
        assert bodies(kind, entries) == bodies(kind, again)
    for kind in (r.Kind.CLIENT, r.Kind.SERVER):
        for entry in again:
            if entry.kind == kind:
                splitter = Splitter(greeted=entry.body[:1] != b"\x97")
                assert sum(len(piece.data) for piece in splitter.feed(entry.body)) == len(entry.body)
    # No proof, no token, in either.
    assert TOKEN not in data
    for step in vector.steps:
        for event in step.events:
            if event["type"] == "PROOF":
                assert bytes.fromhex(event["mac"]) not in data


@pytest.mark.parametrize("vector", [vector for vector in v.exchanges() if vector.error is not None], ids=str)
def test_a_connection_that_breaks_is_kept_too(vector: v.Vector) -> None:
    """Whatever a peer sends, the file is whole and can be read; the client it is played to may refuse."""
    for pieces in (v.whole, v.single_bytes):
        _, entries, _ = recorded(vector, pieces=pieces)
        assert entries[-1].kind == r.Kind.END


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=8), st.booleans())
def test_any_bytes_are_recorded_without_an_error(pieces: list[tuple[bool, bytes]], keep_input: bool) -> None:
    recorder = Recorder(keep_input=keep_input)
    recorder.connected(0)
    first = Exchange("any", "", hello()).open()
    for step in first.steps:
        take = recorder.sent if step["from"] == "client" else recorder.received
        take(bytes.fromhex(step["bytes"]), 0)
    for from_server, data in pieces:
        (recorder.received if from_server else recorder.sent)(data, SECOND)
    recorder.close(2 * SECOND)
    entries, ending = read(recorder.take())
    assert ending.complete
    player = Player()
    for entry in entries:
        player.take(entry)


BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            m.Begin(update=0xFFFF_FFFF, input=0).encode(),
            m.Begin(update=1, input=9).encode(),
            m.Explanation(update=7, encode_us=0, in_flight=0, bytes_per_s=0, round_trip_us=0).encode(),
            m.Codec(rect=Rect(0, 0, 1, 1), epoch=0xFF, payload=b"").encode(),
        ]
    ),
    st.sampled_from([cls.type for cls in MESSAGES.values()]).flatmap(
        lambda type_: st.binary(max_size=24).map(lambda body: frame(type_, body))
    ),
    st.builds(
        lambda update, messages: r.Keyframe(update=update, epoch=5, width=4096, height=4096, messages=messages),
        st.integers(0, 1 << 31),
        st.binary(max_size=20),
    ).map(r.Keyframe.encode_body),
)


@given(st.lists(st.tuples(st.integers(1, 7), BODIES), max_size=10))
def test_any_sound_entries_are_played_or_said_to_be_damaged(given_entries: list[tuple[int, bytes]]) -> None:
    x = Exchange("any", "", hello()).open()
    hello_bytes, *others = [(step["from"], bytes.fromhex(step["bytes"])) for step in x.steps]
    start = [(r.Kind.CONNECTION, b""), (r.Kind.CLIENT, hello_bytes[1])]
    start += [(r.Kind.SERVER, data) for _, data in others]
    data = written([(kind, 1, body) for kind, body in [*start, *given_entries]])
    player = Player()
    with suppress(r.RecordingError):
        for entry in read(data)[0]:
            player.take(entry)
            if entry.kind == r.Kind.KEYFRAME:
                player.begin_at(entry)


def test_secrets_are_left_out_and_input_unless_it_is_asked_for() -> None:
    capabilities = Capability.COPY | Capability.CLIPBOARD | Capability.INPUT_ECHO
    offer = hello(
        auth_methods=AuthMethod.HMAC,
        capabilities=capabilities,
        url="https://example.org/?token=1",
        profile="browser",
        resume=m.ResumeRequest(token=TOKEN, update=3),
    )
    x = Exchange("secrets", "", offer, KEY)
    x.open(resume=m.ResumeOffer(token=TOKEN[::-1], lifetime_s=60), resumed=2)
    x.client(m.TextInput(input=1, text="my password"), m.Key(input=2, keysym=0x70, pressed=1))
    x.client(m.Pointer(input=3, position=Point(3, 4), buttons=0), m.Wheel(input=4, dx=0, dy=120))
    x.client(m.Clipboard(total=6, offset=0, data=b"pasted"), m.View(mode=0, rotation=0, follow=1, origin=Point(0, 0)))
    x.server(m.Clipboard(total=6, offset=0, data=b"copied"), m.InputEcho(input=3))
    x.update(m.Fill(rect=Rect(0, 0, 16, 8), pixel=b"\1\2"), input_=4)
    vector = v.Vector(
        "secrets",
        frozenset(),
        {},
        KEY,
        tuple(v.Step(Sender(step["from"]), bytes.fromhex(step["bytes"]), step["events"], True) for step in x.steps),
        None,
        None,
    )
    data, entries, _ = recorded(vector)
    always = [TOKEN, TOKEN[::-1], *(bytes.fromhex(e["mac"]) for s in x.steps for e in s["events"] if "mac" in e)]
    assert len(always) == 4
    by_default = [b"my password", b"pasted", b"copied", b"example.org"]
    for secret in always + by_default:
        assert secret not in data
    kept = [piece.type for entry in entries if entry.kind == r.Kind.CLIENT for piece in pieces_of(entry.body)]
    assert kept == [None, m.View.type, m.Ack.type]
    _, screen, _ = replayed(entries)
    assert set(screen.pixels) == {0x0201}

    data, entries, _ = recorded(vector, keep_input=True)
    for secret in always:
        assert secret not in data
    for said in by_default:
        assert said in data
    replayed(entries)


def pieces_of(body: bytes) -> list[Piece]:
    return Splitter(greeted=body[:1] != b"\x97").feed(body)


def test_a_ticket_is_left_out() -> None:
    offer = hello(auth_methods=AuthMethod.TICKET, ticket=TICKET)
    x = Exchange("ticket", "", offer).greet(AuthMethod.TICKET).server(welcome(offer))
    recorder = Recorder()
    recorder.connected(0)
    for step in x.steps:
        (recorder.sent if step["from"] == "client" else recorder.received)(bytes.fromhex(step["bytes"]), 0)
    recorder.close(0)
    data = recorder.take()
    assert TICKET not in data
    replayed(read(data)[0])


def test_what_a_later_version_says_in_the_handshake_stays() -> None:
    """Fields that this version does not know are kept as they are; unknown messages only with the input."""
    offer = hello()
    body = offer.encode_body() + tagged(100, b"later")
    recorder, keeping = Recorder(), Recorder(keep_input=True)
    for one in (recorder, keeping):
        one.connected(0)
        one.sent(b"\x97TW\n\1\1" + len(body).to_bytes(2, "little") + body + frame(0x3F, b"news of tomorrow"), 0)
        one.close(0)
    without, with_it = recorder.take(), keeping.take()
    assert b"later" in without
    assert b"later" in with_it
    assert b"news of tomorrow" not in without
    assert b"news of tomorrow" in with_it


# Keyframes.

ALL = Rect(0, 0, 16, 8)
LEFT, RIGHT = Rect(0, 0, 8, 8), Rect(8, 0, 8, 8)
CODEC = frame(0, b"")


@dataclass
class Wire:
    """A device's wire in the making, and its recorder."""

    recorder: Recorder
    connection: Connection
    offer: m.Hello
    data: bytes = b""
    now_us: int = 0
    updates: int = 0

    def say(self, *messages: Message, after_us: int = 1000) -> None:
        self.now_us += after_us
        for message in messages:
            self.recorder.received(message.encode(), self.now_us)
        self.data += self.recorder.take()

    def update(self, *operations: Message, after_us: int = 1000) -> None:
        self.updates += 1
        self.say(m.Begin(update=self.updates, input=0), *operations, m.End(), after_us=after_us)

    def ask(self) -> None:
        self.now_us += 1000
        self.recorder.sent(m.Refresh().encode(), self.now_us)

    def connect(self, **changes: object) -> None:
        self.recorder.connected(self.now_us)
        self.updates = 0
        x = Exchange("wire", "", self.offer).greet()
        for step in x.steps:
            take = self.recorder.sent if step["from"] == "client" else self.recorder.received
            take(bytes.fromhex(step["bytes"]), self.now_us)
        self.say(welcome(self.offer, **changes))

    def entries(self) -> list[r.Entry]:
        self.recorder.close(self.now_us)
        self.data += self.recorder.take()
        return read(self.data)[0]


def wire() -> Wire:
    offer = hello(
        capabilities=Capability.COPY, model_kib=16, cache=m.CacheOffer(slots=8, slot_bytes=1024), auth_methods=1
    )
    made = Wire(Recorder(), Connection(CLIENT), offer)
    made.connect()
    return made


def fill(rect: Rect, value: int) -> m.Fill:
    return m.Fill(rect=rect, pixel=bytes((value, value)))


def keyframes(entries: list[r.Entry]) -> list[r.Entry]:
    """Those that hold, by the entries, which is what the index says too."""
    found: list[r.Entry] = []
    for entry in entries:
        if entry.kind == r.Kind.KEYFRAME:
            found.append(entry)
        elif entry.kind == r.Kind.VOID:
            found.pop()
    end = r.parse_body(r.End, entries[-1])
    assert r.unpack_index(end.keyframes) == [r.Place(entry.offset, entry.time_us) for entry in found]
    return found


def test_the_first_update_is_a_keyframe_and_what_follows_refresh() -> None:
    one = wire()
    one.say(m.ViewState(mode=0, rotation=0, follow=1, session=m.Size(width=16, height=8), window=ALL))
    one.update(fill(ALL, 1))
    one.update(fill(LEFT, 2))
    one.update(fill(ALL, 3))  # covers all, but nobody has asked: what follows may count on slots and model
    one.ask()
    one.update(fill(LEFT, 4))  # was on its way
    one.update(fill(LEFT, 5), m.Copy(rect=RIGHT, source=Point(0, 0)))
    one.update(m.CacheStore(slot=1, rect=LEFT), fill(LEFT, 6))
    one.update(m.CacheDraw(slot=1, position=Point(8, 0)))
    entries = one.entries()
    found = keyframes(entries)
    assert [r.parse_body(r.Keyframe, entry).update for entry in found] == [0, 4]
    connection, screen, _ = replayed(entries)
    assert connection.rules.ended == 7
    for start in found:
        later, same, _ = replayed(entries, start)
        assert same.pixels == screen.pixels
        assert later.welcome is not None
    assert connection.rules.ended == 7


@pytest.mark.parametrize(
    "operations",
    [
        [fill(LEFT, 5)],
        [m.Copy(rect=RIGHT, source=Point(0, 0)), fill(LEFT, 5)],
        [fill(LEFT, 5), m.CacheStore(slot=2, rect=RIGHT), fill(RIGHT, 1)],
        [fill(LEFT, 5), m.CacheDraw(slot=1, position=Point(8, 0))],
        [m.Codec(rect=ALL, epoch=1, payload=b"")],
    ],
    ids=["part", "copy", "store", "draw", "codec"],
)
def test_an_update_that_needs_more_than_itself_is_no_keyframe(operations: list[Message]) -> None:
    one = wire()
    one.update(fill(ALL, 1), m.CacheStore(slot=1, rect=LEFT))
    one.ask()
    one.update(*operations)
    found = keyframes(one.entries())
    assert [r.parse_body(r.Keyframe, entry).update for entry in found] <= [0]


@pytest.mark.parametrize(
    "operation",
    [m.CacheDraw(slot=1, position=Point(0, 0)), m.Codec(rect=LEFT, epoch=1, payload=b"")],
    ids=["draw", "codec"],
)
@pytest.mark.parametrize("asked", [False, True])
def test_a_keyframe_that_was_none_is_taken_back(operation: Message, asked: bool) -> None:
    one = wire()
    one.update(m.Codec(rect=ALL, epoch=0x81, payload=b""), m.CacheStore(slot=1, rect=LEFT))
    one.ask()
    one.update(fill(ALL, 2))
    if asked:
        one.ask()
    one.update(operation)
    one.now_us += AGAIN_US
    assert one.recorder.wants_keyframe(one.now_us)
    entries = one.entries()
    assert [entry.kind for entry in entries].count(r.Kind.VOID) == 1
    assert [r.parse_body(r.Keyframe, entry).update for entry in keyframes(entries)] == [0]


def test_a_keyframe_is_wanted_every_ten_seconds_while_the_picture_changes() -> None:
    one = wire()
    recorder = one.recorder
    assert not recorder.wants_keyframe(KEYFRAME_US)
    one.update(fill(ALL, 1))
    due = [recorder.wants_picture]
    recorder.picture(1, one.now_us)
    due.append(recorder.wants_picture)
    assert due == [True, False]
    begun_us = one.now_us
    assert not recorder.wants_keyframe(begun_us + 10 * KEYFRAME_US)
    one.update(fill(LEFT, 2))
    assert not recorder.wants_keyframe(begun_us + KEYFRAME_US - 1)
    assert recorder.wants_keyframe(begun_us + KEYFRAME_US)
    one.now_us = begun_us + KEYFRAME_US
    one.ask()
    assert not recorder.wants_keyframe(one.now_us + AGAIN_US - 1)
    assert recorder.wants_keyframe(one.now_us + AGAIN_US)
    one.say(m.Begin(update=3, input=0), fill(ALL, 3))
    assert not recorder.wants_keyframe(one.now_us + AGAIN_US)
    one.say(m.End())
    assert not recorder.wants_keyframe(one.now_us + 10 * KEYFRAME_US)
    one.say(m.Begin(update=4, input=0))
    with pytest.raises(ValueError, match="whole update"):
        recorder.picture(1, one.now_us)


def test_from_a_keyframe_a_client_knows_the_view_and_the_cursor() -> None:
    offer = hello(cursor=m.CursorOffer(mode=2, max_side=8))
    one = Wire(Recorder(), Connection(CLIENT), offer)
    one.connect()
    state = m.ViewState(mode=0, rotation=0, follow=1, session=m.Size(width=99, height=8), window=ALL)
    shape = m.CursorShape(width=1, height=2, hot_x=0, hot_y=1, row=0, pixels=bytes(8))
    half = m.CursorShape(width=1, height=2, hot_x=0, hot_y=0, row=0, pixels=bytes(4))
    rest = m.CursorShape(width=1, height=2, hot_x=0, hot_y=0, row=1, pixels=bytes(4))
    one.say(state, shape, m.CursorPosition(position=Point(5, 6)))
    one.update(fill(ALL, 1))
    one.say(half)
    one.ask()
    one.update(fill(ALL, 2))
    one.say(rest)
    entries = one.entries()
    start = keyframes(entries)[-1]
    body = r.parse_body(r.Keyframe, start)
    for message in (state, shape, half, m.CursorPosition(position=Point(5, 6))):
        assert message.encode() in body.messages
    replayed(entries, start)


def test_several_connections_are_played_as_one() -> None:
    one = wire()
    one.update(fill(ALL, 1))
    one.say(m.Begin(update=2, input=0), fill(LEFT, 9))  # the line breaks here
    one.connect(resumed=1)
    one.update(fill(LEFT, 2))
    one.ask()
    one.update(fill(ALL, 3), m.CacheStore(slot=1, rect=LEFT))
    one.say(m.Goodbye(code=0, text=""))
    one.connect(resumed=1)
    one.update(m.CacheDraw(slot=1, position=Point(8, 0)), fill(LEFT, 4))
    entries = one.entries()
    connection, screen, _ = replayed(entries)
    assert connection.rules.ended == 5
    assert screen.pixels == ([0x0404] * 8 + [0x0303] * 8) * 8
    found = keyframes(entries)
    assert len(found) == 2
    assert replayed(entries, found[1])[1].pixels == screen.pixels


def test_a_file_that_was_cut_ends_with_what_is_in_it() -> None:
    one = wire()
    one.update(fill(ALL, 1))
    border = len(one.data)
    one.ask()
    one.update(fill(ALL, 2))
    one.recorder.close(one.now_us, "the disk is full", cut_at=border)
    whole = one.data[:border] + one.recorder.take()
    entries, ending = read(whole)
    assert ending.complete
    end = r.parse_body(r.End, entries[-1])
    assert (end.reason, end.updates) == ("the disk is full", None)
    assert len(keyframes(entries)) == 1
