"""A connection's own business: caps, ends of streams, kinds of buffers, and misuse that changes nothing."""

import array

import pytest

from tilewire.protocol import Connection, EndOfStream, LocalProtocolError, Need, Rect, RemoteProtocolError, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_CLIENT_MESSAGE, MAX_HELLO, MAX_MESSAGE, MAX_TEXT
from tilewire.protocol.errors import Code
from tilewire.protocol.states import State
from tilewire.protocol.vectors import greeting, hello, tagged, welcome
from tilewire.protocol.wire import PREFIX, encode_varint, frame

from tests import vectors as v
from tests.protocol.support import CLIENT, SERVER, Pair, drain, examples, generous, outcome, pair_at

# A cap on what has not come whole: one below, at, one above.


@pytest.mark.parametrize("limit", [1024, 1025, 65536, MAX_MESSAGE])
def test_client_takes_messages_as_long_as_it_offered(limit: int) -> None:
    for size in (limit - 1, limit):
        pair = Pair(hello(max_message=limit)).open()
        client = pair.ends[CLIENT]
        assert client.receive_limit == pair.ends[SERVER].send_limit == limit
        data = frame(0x7E, bytes(size))
        client.receive_data(data[:-1])
        assert client.next_event() is Need.DATA
        client.receive_data(data[-1:] + m.Bell.type.to_bytes(1, "little"))
        assert client.next_event() is Need.DATA
    client = Pair(hello(max_message=limit)).open().ends[CLIENT]
    # The length alone is enough: nothing is waited for, nothing is kept.
    client.receive_data(b"\x7e" + encode_varint(limit + 1))
    with pytest.raises(RemoteProtocolError) as caught:
        client.next_event()
    assert caught.value.code is Code.TOO_LONG


def test_server_takes_messages_up_to_its_own_limit() -> None:
    server = pair_at(State.OPEN).ends[SERVER]
    for size in (MAX_CLIENT_MESSAGE - 1, MAX_CLIENT_MESSAGE):
        server.receive_data(frame(0x7E, bytes(size)))
        assert server.next_event() is Need.DATA
    server.receive_data(b"\x7e" + encode_varint(MAX_CLIENT_MESSAGE + 1))
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    assert caught.value.code is Code.TOO_LONG


@pytest.mark.parametrize("role", [CLIENT, SERVER], ids=["client", "server"])
def test_lengths_have_three_bytes_at_most(role: Sender) -> None:
    for text, code in (("7e808080", "TOO_LONG"), ("7effffff", "TOO_LONG"), ("7e8000", "PROTOCOL")):
        end = pair_at(State.OPEN).ends[role]
        events, error = outcome(end, [bytes.fromhex(text)])
        assert events == []
        assert error is not None
        assert error.startswith(code)


def test_hellos_have_1024_bytes_at_most() -> None:
    body = hello().encode_body()
    for size in (MAX_HELLO - 1, MAX_HELLO):
        padding = size - len(body) - 3
        server = Connection(SERVER)
        server.receive_data(greeting(body + tagged(0x7E, bytes(padding))))
        assert drain(server) == [hello()]
    server = Connection(SERVER)
    server.receive_data(greeting(bytes(MAX_HELLO + 1))[: PREFIX.size])
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    assert caught.value.code is Code.TOO_LONG


@pytest.mark.parametrize("limit", [1024, 65536])
def test_send_keeps_to_what_the_client_offered(limit: int) -> None:
    def palette(size: int) -> m.Palette:
        return m.Palette(rect=Rect(0, 0, 1, 1), payload=bytes(size - 6))

    pair = Pair(hello(max_message=limit)).open()
    server = pair.ends[SERVER]
    server.send(m.Begin(update=1, input=0))
    for size in (limit - 1, limit):
        assert len(server.send(palette(size))) == size + 1 + len(encode_varint(size))
    with pytest.raises(LocalProtocolError, match="exceeds"):
        server.send(palette(limit + 1))
    server.send(m.End())


def test_send_keeps_to_the_servers_limit() -> None:
    client = Pair(generous()).open().ends[CLIENT]

    def chunk(size: int) -> m.Clipboard:
        # Three bytes each of total and offset... of which the offset takes one.
        return m.Clipboard(total=200_000, offset=0, data=bytes(size - 4))

    client.send(chunk(MAX_CLIENT_MESSAGE))
    with pytest.raises(LocalProtocolError, match="exceeds"):
        client.send(chunk(MAX_CLIENT_MESSAGE + 1))


def test_a_hello_over_1024_bytes_is_not_sent() -> None:
    client = Connection(CLIENT)
    with pytest.raises(LocalProtocolError, match="longer"):
        client.send(
            hello(
                url="u" * 700,
                profile="p" * 64,
                session="s" * 64,
                device_id="d" * 64,
                ticket=b"t" * 64,
                auth_methods=4,
                density=1,
                capabilities=1,
                resume=m.ResumeRequest(token=bytes(16), update=0),
            )
        )
    assert client.state is State.START
    client.send(hello())


def test_what_every_device_takes_fits_the_smallest() -> None:
    """GOODBYE, NOTICE, WELCOME at their longest; so that a server need not look at the limit for them."""
    longest = [
        m.Goodbye(code=65535, text="x" * MAX_TEXT),
        m.Notice(code=65535, text="x" * MAX_TEXT),
        welcome(generous(), session="s" * 64, resume=m.ResumeOffer(token=bytes(16), lifetime_s=60)),
    ]
    assert max(len(message.encode_body()) for message in longest) <= 1024


def test_a_long_session_keeps_no_old_bytes() -> None:
    """Far more than one buffer passes through; every event comes."""
    pair = Pair(hello(max_message=65536)).open()
    client = pair.ends[CLIENT]
    many = frame(0x7E, bytes(60_000)) + m.Ping(stamp=7).encode()
    for _ in range(50):
        data = many * 3
        client.receive_data(data[:100_000])
        first = drain(client)
        client.receive_data(data[100_000:])
        assert len(first) + len(drain(client)) == 3


# Kinds of buffers.


@pytest.mark.parametrize(
    "wrap",
    [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(b"x" + data + b"x"))[1:-1]],
    ids=["bytes", "bytearray", "memoryview", "slice"],
)
def test_any_buffer_is_taken(wrap: type[bytes]) -> None:
    pair = Pair()
    pair.ends[SERVER].receive_data(wrap(pair.ends[CLIENT].send(pair.offer)))
    assert drain(pair.ends[SERVER]) == [pair.offer]


def test_a_buffer_may_be_used_again_at_once() -> None:
    """As a server does that reads into one buffer for ever."""
    pair = Pair()
    buffer = bytearray(64)
    data = pair.ends[CLIENT].send(pair.offer)
    for at in range(0, len(data), 64):
        part = data[at : at + 64]
        buffer[: len(part)] = part
        pair.ends[SERVER].receive_data(memoryview(buffer)[: len(part)])
        buffer[:] = b"\xff" * 64
    (offer,) = drain(pair.ends[SERVER])
    assert offer == pair.offer
    pair = pair_at(State.UPDATING)
    raw = m.Raw(rect=Rect(0, 0, 2, 1), payload=b"abcd")
    view = bytearray(raw.encode())
    pair.ends[CLIENT].receive_data(view)
    (event,) = drain(pair.ends[CLIENT])
    view[:] = bytes(len(view))
    assert event == raw


def test_an_empty_buffer_of_any_kind_is_the_end() -> None:
    for empty in (b"", bytearray(), memoryview(b"")):
        server = Connection(SERVER)
        server.receive_data(empty)
        assert server.next_event() == EndOfStream()
        server.receive_data(empty)
        with pytest.raises(LocalProtocolError):
            server.receive_data(b"x")
        assert server.next_event() == EndOfStream()


def test_wider_items_are_taken_as_their_bytes() -> None:
    server = Connection(SERVER)
    data = hello(device_id="device-1").encode_body()
    whole = greeting(data + (b"" if len(data) % 2 == 0 else b"\x7e\x00"))
    whole += b"" if len(whole) % 2 == 0 else m.Refresh().encode()[:1]
    server.receive_data(memoryview(array.array("H", whole)))
    assert drain(server) == [hello()]


# The end of the stream, in every place.


def borders(data: bytes) -> set[int]:
    """Where a message ends."""
    places, at = {0}, 0
    for part in v.split(data):
        at += len(part)
        places.add(at)
    return places


@pytest.mark.parametrize("name", ["hmac", "everything", "wishes", "explanation", "update-in-parts", "cache"])
@pytest.mark.parametrize("role", [CLIENT, SERVER], ids=["client", "server"])
def test_the_stream_ends_after_every_single_byte(name: str, role: Sender) -> None:
    """Between two messages it is an end, inside one it is an error; for a client also inside an update."""
    vector = next(item for item in v.exchanges() if item.name == name)
    for number, step in enumerate(vector.steps):
        if step.sender is role:
            continue
        ends = borders(step.data)
        for cut in range(len(step.data)):
            end = v.End(role, vector)
            for before in vector.steps[:number]:
                if before.sender is role:
                    end.send(before)
                else:
                    end.receive([before.data], [])
            connection = end.connection
            connection.receive_data(step.data[:cut]) if cut else None
            seen = drain(connection)
            connection.receive_data(b"")
            if cut in ends and not (role is CLIENT and connection.state is State.UPDATING):
                assert connection.next_event() == EndOfStream()
                assert connection.next_event() == EndOfStream()
            else:
                with pytest.raises(RemoteProtocolError) as caught:
                    connection.next_event()
                assert caught.value.code is Code.PROTOCOL
            assert len(seen) <= len(step.events)


def test_a_client_that_leaves_during_an_update_has_broken_nothing() -> None:
    pair = pair_at(State.UPDATING)
    pair.ends[SERVER].receive_data(b"")
    assert pair.ends[SERVER].next_event() == EndOfStream()
    pair.ends[CLIENT].receive_data(b"")
    with pytest.raises(RemoteProtocolError):
        pair.ends[CLIENT].next_event()


# Misuse.


def test_misuse_changes_nothing() -> None:
    """After every refused message the pair goes on as one that was never asked."""
    offer = generous(max_message=1024)
    bad: list[tuple[Sender, m.Message]] = [
        (SERVER, m.End()),
        (SERVER, m.Begin(update=2, input=0)),
        (SERVER, m.Begin(update=1, input=1)),
        (SERVER, m.Fill(rect=Rect(0, 0, 1, 1), pixel=b"ab")),
        (SERVER, m.Clipboard(total=9, offset=3, data=b"abc")),
        (SERVER, m.CursorShape(width=2, height=2, hot_x=0, hot_y=0, row=1, pixels=bytes(8))),
        (SERVER, m.InputEcho(input=1)),
        (SERVER, m.Ack(update=1, decode_us=0)),
        (CLIENT, m.Ack(update=1, decode_us=0)),
        (CLIENT, m.Begin(update=1, input=0)),
        (CLIENT, m.Proof(mac=bytes(32))),
        (CLIENT, m.Clipboard(total=1, offset=0, data=b"too long")),
    ]
    in_update: list[m.Message] = [
        m.Begin(update=2, input=0),
        m.Fill(rect=Rect(16, 0, 1, 1), pixel=b"ab"),
        m.Fill(rect=Rect(0, 0, 1, 1), pixel=b"a"),
        m.Raw(rect=Rect(0, 0, 1, 1), payload=b"a"),
        m.Palette(rect=Rect(0, 0, 1, 1), payload=bytes(1019)),
        m.Copy(rect=Rect(0, 0, 9, 1), source=m.Point(8, 0)),
        m.CacheStore(slot=4, rect=Rect(0, 0, 1, 1)),
        m.CacheStore(slot=0, rect=Rect(0, 0, 16, 8)),
        m.CacheDraw(slot=0, position=m.Point(0, 0)),
        m.Codec(rect=Rect(0, 0, 1, 1), epoch=0x82, payload=b""),
        m.Codec(rect=Rect(0, 0, 1, 1), epoch=0x80, payload=b""),
        m.Codec(rect=Rect(0, 0, 1, 1), epoch=0, payload=b""),
        m.Resize(width=1, height=1),
    ]
    good: list[tuple[Sender, m.Message]] = [
        (SERVER, m.Begin(update=1, input=0)),
        (SERVER, m.Codec(rect=Rect(0, 0, 1, 1), epoch=0x81, payload=b"")),
        (SERVER, m.CacheStore(slot=0, rect=Rect(0, 0, 2, 2))),
        (SERVER, m.CacheDraw(slot=0, position=m.Point(3, 3))),
        (SERVER, m.End()),
        (CLIENT, m.Ack(update=1, decode_us=0)),
        (CLIENT, m.Wheel(input=1, dx=0, dy=0)),
        (SERVER, m.InputEcho(input=1)),
    ]
    asked, untouched = Pair(offer).open(), Pair(offer).open()

    def refuse(listed: list[tuple[Sender, m.Message]]) -> None:
        for sender, message in listed:
            state = asked.ends[sender].state
            with pytest.raises(LocalProtocolError):
                asked.ends[sender].send(message)
            assert asked.ends[sender].state is state

    refuse(bad)
    for number, (sender, message) in enumerate(good):
        assert asked.say(sender, message) == untouched.say(sender, message) == [message]
        if number == 0:
            refuse([(SERVER, item) for item in in_update])
        if number == 4:
            refuse([item for item in bad if not isinstance(item[1], m.Ack | m.Begin)])


def test_epochs_go_round() -> None:
    """The number of resets modulo 128; a refused message between does not count."""
    pair = Pair(generous()).open()
    pair.say(SERVER, m.Begin(update=1, input=0))
    for resets in range(1, 300):
        with pytest.raises(LocalProtocolError):
            pair.ends[SERVER].send(m.Codec(rect=Rect(0, 0, 1, 1), epoch=0x80 | (resets + 1) % 128, payload=b""))
        for flag in (0x80, 0, 0):
            message = m.Codec(rect=Rect(0, 0, 1, 1), epoch=flag | resets % 128, payload=b"")
            assert pair.say(SERVER, message) == [message]


def test_nothing_is_agreed_before_hello() -> None:
    with pytest.raises(LocalProtocolError):
        assert Connection(CLIENT).rules is not None
    with pytest.raises(ValueError, match="one role"):
        Connection(Sender.BOTH)
    for role in (CLIENT, SERVER):
        for message in examples(generous()).values():
            with pytest.raises(LocalProtocolError):
                Connection(role).send(message)


def test_a_broken_connection_stays_broken() -> None:
    server = Connection(SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\n")
    for _ in range(3):
        with pytest.raises(RemoteProtocolError):
            server.next_event()
        server.receive_data(greeting(hello().encode_body()))


@pytest.mark.parametrize("first", range(256))
def test_the_first_byte_tells(first: int) -> None:
    server = Connection(SERVER)
    server.receive_data(bytes((first,)))
    if first == 0x97:
        assert server.next_event() is Need.DATA
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            server.next_event()
        assert caught.value.code is Code.NOT_TILEWIRE


def test_the_server_does_not_speak_first() -> None:
    client = Connection(CLIENT)
    assert client.next_event() is Need.DATA
    client.receive_data(b"\x97")
    with pytest.raises(RemoteProtocolError) as caught:
        client.next_event()
    assert caught.value.code is Code.BAD_STATE
