"""Hypothesis: any split, any bytes, any message, any order."""

from itertools import pairwise

import pytest
from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import Connection, LocalProtocolError, RemoteProtocolError, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAGIC, MAX_HELLO, Capability
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.states import State
from tilewire.protocol.vectors import hello, welcome
from tilewire.protocol.wire import MESSAGES, FieldList, Message, Record, frame

from tests import vectors as v
from tests.protocol.strategies import all_messages, near_messages, records
from tests.protocol.support import CLIENT, SERVER, Pair, drain, generous, outcome, pair_at, share

STATES = [state for state in State if state is not State.REFUSED]
RECORDS: list[type[Record]] = [*MESSAGES.values(), m.Hello, m.Reply]


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
@given(data=st.data())
@share(0.5)
def test_encode_then_decode_is_identity(cls: type[Record], data: st.DataObject) -> None:
    made = data.draw(records(cls))
    body = made.encode_body()
    decoded, end = cls.decode_body(memoryview(b"\xa5" + body)[1:])
    assert decoded == made
    assert end == len(body)
    assert decoded.encode_body() == body
    if isinstance(made, Message):
        assert type(made).decode(memoryview(body)) == made
        assert list(v.split(made.encode())) == [made.encode()]


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
@given(body=st.binary(max_size=60))
@share(0.5)
def test_any_body_is_a_message_or_refused(cls: type[Record], body: bytes) -> None:
    """And what was taken has one form: written again, it is the beginning of the same bytes."""
    try:
        made, end = cls.decode_body(memoryview(body))
    except RemoteProtocolError:
        return
    if not issubclass(cls, FieldList):
        assert made.encode_body() == body[:end]


def _stream(vector: v.Vector, sender: Sender) -> bytes:
    return b"".join(step.data for step in vector.steps if step.sender is sender)


VALID = [vector for vector in v.exchanges() if vector.error is None and vector.key is None]
SHORT = [vector for vector in VALID if sum(len(step.data) for step in vector.steps) < 4000]


def _end(role: Sender, state: State = State.START) -> Connection:
    """A connection that may receive in this state."""
    if role is CLIENT and state is State.START:
        state = State.GREETED
    return pair_at(state).ends[role]


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


@st.composite
def mutated(draw: st.DrawFn, sender: Sender) -> bytes:
    """The bytes of a valid exchange with a few bytes changed, inserted or dropped."""
    data = bytearray(_stream(draw(st.sampled_from(SHORT)), sender))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.sampled_from(("set", "flip", "insert", "drop", "double")))
        if not data or what == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif what == "set":
            data[at] = draw(st.integers(0, 255))
        elif what == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "drop":
            del data[at : at + draw(st.integers(1, 8))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


@pytest.mark.parametrize("role", [CLIENT, SERVER], ids=["client", "server"])
@given(data=st.data(), cuts=st.lists(st.integers(0, 5000), max_size=30))
@share(1.5)
def test_any_split_gives_the_same_events_and_the_same_error(role: Sender, data: st.DataObject, cuts: list[int]) -> None:
    """For streams that are right and for streams that are not."""
    stream = data.draw(mutated(SERVER if role is CLIENT else CLIENT))
    events, error = outcome(_end(role), [stream])
    assert outcome(_end(role), _cut(stream, cuts)) == (events, error)
    note("refused" if error else "taken")


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("role", [CLIENT, SERVER], ids=["client", "server"])
@given(data=st.binary(max_size=200), eof=st.booleans())
def test_any_bytes_are_events_or_a_remote_error(role: Sender, state: State, data: bytes, eof: bool) -> None:
    """In every state; afterwards the connection says so again instead of anything else."""
    end = _end(role, state)
    _, error = outcome(end, [data, b""] if eof and data else [data or b"\x00"])
    if error is not None:
        with pytest.raises(RemoteProtocolError):
            end.next_event()


@pytest.mark.parametrize("role", [CLIENT, SERVER], ids=["client", "server"])
@given(data=st.lists(st.binary(max_size=20), max_size=8))
def test_any_message_bodies_are_events_or_a_remote_error(role: Sender, data: list[bytes]) -> None:
    """Framed rightly, so that more of it comes to the parsers; the reference decoder sees what they let pass."""
    end = _end(role, State.UPDATING)
    screen = Framebuffer(16, 8, end.rules.format)
    screen.slots[0] = (1, 1, [0])
    stream = b"".join(frame(part[0], part[1:]) for part in data if part)
    if not stream:
        return
    events, _ = outcome(end, [stream])
    for happened in events:
        if isinstance(happened, Message) and role is CLIENT:
            try:
                screen.apply(happened)
            except RemoteProtocolError:
                break
            except KeyError:
                assert isinstance(happened, m.CacheDraw)


@given(st.binary(max_size=80), st.integers(0, 3), st.integers(0, 3), st.integers(0, MAX_HELLO + 1))
def test_any_hello_is_an_event_or_a_remote_error(data: bytes, low: int, high: int, length: int) -> None:
    whole = MAGIC + bytes((low, high)) + length.to_bytes(2, "little") + data
    for role in (CLIENT, SERVER):
        outcome(_end(role), [whole, b""])
        outcome(_end(role), [MAGIC + b"\x01\x01" + len(data).to_bytes(2, "little") + data, b""])


@given(st.data())
@share(1.5)
def test_send_refuses_exactly_what_the_receiver_refuses(data: st.DataObject) -> None:
    """Any order of messages about the borders: the sender's rules and the receiver's are the same.

    Whatever is refused changes nothing: a pair that never saw it takes the rest in the same bytes.
    """
    offer = _some_offer(data)
    in_force = data.draw(st.sampled_from((offer.capabilities, offer.capabilities & 0x55)))
    pair = Pair(offer).open(capabilities=in_force)
    taken: list[tuple[Sender, Message, bytes]] = []

    def twin() -> Pair:
        other = Pair(offer).open(capabilities=in_force)
        for sender, message, sent in taken:
            assert other.ends[sender].send(message) == sent
            other.peer(sender).receive_data(sent)
            assert drain(other.peer(sender)) == [message]
        return other

    refused = 0
    for _ in range(data.draw(st.integers(1, 14))):
        sender = data.draw(st.sampled_from((SERVER, SERVER, CLIENT)))
        message = data.draw(near_messages(sender))
        try:
            sent = pair.ends[sender].send(message)
        except LocalProtocolError:
            refused += 1
            other = twin().peer(sender)
            other.receive_data(message.encode())
            with pytest.raises(RemoteProtocolError):
                drain(other)
        else:
            assert sent == message.encode()
            pair.peer(sender).receive_data(sent)
            assert drain(pair.peer(sender)) == [message]
            taken.append((sender, message, sent))
    twin()
    note(f"{'some' if refused else 'none'} refused")


def _some_offer(data: st.DataObject) -> m.Hello:
    changes: dict[str, object] = {"max_message": 1024}
    changes["capabilities"] = data.draw(st.sampled_from((sum(Capability), int(Capability.COPY), 0x29)))
    for name in ("jpeg", "cursor", "cache"):
        if data.draw(st.booleans()):
            changes[name] = None
    for name in ("model_kib", "deflate_bits"):
        if data.draw(st.booleans()):
            changes[name] = 0
    return generous(**changes)


@given(st.lists(all_messages(), max_size=6))
def test_messages_of_the_wrong_role_are_refused_by_both(messages: list[Message]) -> None:
    for message in messages:
        if message.sender is Sender.BOTH:
            continue
        wrong = CLIENT if message.sender is SERVER else SERVER
        pair = pair_at(State.UPDATING)
        with pytest.raises(LocalProtocolError):
            pair.ends[wrong].send(message)
        pair.peer(wrong).receive_data(message.encode())
        with pytest.raises(RemoteProtocolError):
            drain(pair.peer(wrong))


@given(records(m.Hello))
def test_any_hello_that_fits_opens_a_session(offer: m.Hello) -> None:
    if len(offer.encode_body()) > MAX_HELLO:
        with pytest.raises(LocalProtocolError):
            Connection(CLIENT).send(offer)
        return
    pair = Pair(offer)
    assert pair.say(CLIENT, offer) == [offer]
    method = offer.auth_methods & -offer.auth_methods
    answer = m.Reply(version=1, method=method, nonce=bytes(16))
    assert pair.say(SERVER, answer) == [answer]
    if method == 2:
        pair.prove(SERVER)
        pair.prove(CLIENT)
    greeted = welcome(offer)
    assert pair.say(SERVER, greeted) == [greeted]
    assert pair.ends[CLIENT].state is pair.ends[SERVER].state is State.OPEN


def test_hello_helper_offers_as_little_as_it_may() -> None:
    assert hello().capabilities == 0
    assert hello().cache is None
