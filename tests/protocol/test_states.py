"""The table of states is all there is: what stands in it is taken, everything else is refused by both ends."""

import pytest

from tilewire.protocol import EndOfStream, LocalProtocolError, Need, Refusal, RemoteProtocolError, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_TEXT, AuthMethod
from tilewire.protocol.errors import Code
from tilewire.protocol.states import TRANSITIONS, State, Step
from tilewire.protocol.vectors import greeting, reply
from tilewire.protocol.wire import MESSAGES, Message

from tests.protocol.support import CLIENT, SERVER, Pair, drain, examples, generous, pair_at, refusal

EXAMPLES = examples(generous())
STEPS: dict[type[Message], Step] = {
    m.Goodbye: Step.GOODBYE,
    m.Proof: Step.PROOF,
    m.Welcome: Step.WELCOME,
    m.Begin: Step.BEGIN,
    m.End: Step.END,
    m.Resize: Step.RESIZE,
    m.Explanation: Step.EXPLANATION,
}
# A server that refused does not come to REFUSED itself: it only waits for the end of the stream.
PLACES = [(state, sender) for state in State for sender in (CLIENT, SERVER)]
EACH_PLACE = pytest.mark.parametrize(
    ("state", "sender"), PLACES, ids=[f"{state.name}-{sender.value}" for state, sender in PLACES]
)


def step_of(cls: type[Message]) -> Step:
    """The row of the table that a message belongs to."""
    return Step.DRAWING if cls.drawing else STEPS.get(cls, Step.OTHER)


def following(state: State, sender: Sender, cls: type[Message]) -> State | None:
    """The next state, None: it may not come."""
    return TRANSITIONS.get((state, sender, step_of(cls))) if cls.sender.allows(sender) else None


def test_every_message_has_an_example() -> None:
    assert set(EXAMPLES) == set(MESSAGES.values())


@EACH_PLACE
def test_send_follows_the_table(state: State, sender: Sender) -> None:
    if (state, sender) == (State.REFUSED, SERVER):
        state = State.GREETED
    for cls, message in EXAMPLES.items():
        end = pair_at(state).ends[sender]
        after = following(state, sender, cls)
        if after is None:
            with pytest.raises(LocalProtocolError):
                end.send(message)
            assert end.state is state
        else:
            assert end.send(message) == message.encode()
            assert end.state is after


@EACH_PLACE
def test_the_receiver_follows_the_table(state: State, sender: Sender) -> None:
    if (state, sender) == (State.REFUSED, CLIENT):
        state = State.GREETED
    for cls, message in EXAMPLES.items():
        end = pair_at(state).peer(sender)
        after = following(state, sender, cls)
        end.receive_data(message.encode())
        if after is None:
            with pytest.raises(RemoteProtocolError):
                drain(end)
            assert end.state is state
        else:
            assert drain(end) == [message]
            assert end.state is after


@EACH_PLACE
def test_hellos_come_once(state: State, sender: Sender) -> None:
    if (state, sender) == (State.REFUSED, SERVER):
        return
    for event, step in (
        (generous(), Step.HELLO),
        (reply(), Step.REPLY),
        (reply(AuthMethod.HMAC), Step.REPLY_HMAC),
    ):
        end = pair_at(state).ends[sender]
        after = TRANSITIONS.get((state, sender, step))
        if after is None:
            with pytest.raises(LocalProtocolError):
                end.send(event)
            assert end.state is state
        else:
            end.send(event)
            assert end.state is after


def test_the_table_is_complete() -> None:
    """Each state is reached, each but REFUSED is left, GOODBYE goes nowhere, and no row is for both."""
    assert set(TRANSITIONS.values()) | {State.START} == set(State)
    for (state, sender, step), after in TRANSITIONS.items():
        assert sender in (CLIENT, SERVER)
        if step is Step.GOODBYE:
            assert after is state
    moves = {state for (state, _, _), after in TRANSITIONS.items() if after is not state}
    assert moves == set(State) - {State.REFUSED}


# Goodbye in every state.


@pytest.mark.parametrize("state", [state for state in State if state not in (State.START, State.REFUSED)])
@pytest.mark.parametrize("role", [CLIENT, SERVER], ids=["client", "server"])
def test_goodbye_can_be_read_in_every_state(role: Sender, state: State) -> None:
    pair = pair_at(state)
    end, peer = pair.ends[role], pair.peer(role)
    data = end.goodbye(Code.STOPPING, "so long")
    assert end.closed
    peer.receive_data(data)
    peer.receive_data(b"")
    events = drain(peer)
    if role is SERVER and state is State.GREETED:
        assert events.pop(0) == Refusal(low=1, high=1)
    assert events == [m.Goodbye(code=Code.STOPPING, text="so long"), EndOfStream()]
    assert peer.closed
    # Once is enough, and nothing comes after.
    assert end.goodbye(Code.STOPPING) == b""
    for message in EXAMPLES.values():
        with pytest.raises(LocalProtocolError):
            end.send(message)
    # The other side may still answer it.
    answer = peer.goodbye(Code.NORMAL)
    if role is SERVER or state is not State.GREETED:
        end.receive_data(answer)
        assert drain(end)[-1] == m.Goodbye(code=Code.NORMAL, text=Code.NORMAL.text)


def test_goodbye_before_any_hello() -> None:
    """A client that sent nothing has nobody to tell; a server tells whoever came, after an empty reply."""
    pair = Pair()
    assert pair.ends[CLIENT].goodbye(Code.NORMAL) == b""
    client = pair_at(State.GREETED).ends[CLIENT]
    server = pair.ends[SERVER]
    server.receive_data(greeting(b"", 2, 9))
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    client.receive_data(server.goodbye(caught.value.code, str(caught.value)))
    events = drain(client)
    assert events[0] == Refusal(low=1, high=1)
    assert client.state is State.REFUSED
    assert isinstance(events[1], m.Goodbye)
    assert events[1].code == Code.VERSION


def test_a_refused_client_may_say_goodbye() -> None:
    client = pair_at(State.REFUSED).ends[CLIENT]
    assert client.goodbye(Code.NORMAL) == m.Goodbye(code=0, text=Code.NORMAL.text).encode()


def test_goodbye_after_a_remote_error() -> None:
    """The end that noticed still says why."""
    pair = pair_at(State.OPEN)
    pair.ends[SERVER].receive_data(EXAMPLES[m.End].encode())
    with pytest.raises(RemoteProtocolError) as caught:
        pair.ends[SERVER].next_event()
    pair.ends[CLIENT].receive_data(pair.ends[SERVER].goodbye(caught.value.code, str(caught.value)))
    (event,) = drain(pair.ends[CLIENT])
    assert event == m.Goodbye(code=Code.BAD_STATE, text=str(caught.value))


@pytest.mark.parametrize("state", [State.GREETED, State.CHALLENGED, State.OPEN, State.UPDATING])
@pytest.mark.parametrize(
    ("text", "clipped"),
    [
        ("", Code.LIMIT.text),
        ("x" * MAX_TEXT, "x" * MAX_TEXT),
        ("x" * (MAX_TEXT + 1), "x" * MAX_TEXT),
        ("€" * 400, "€" * (MAX_TEXT // 3)),
        ("x" + "😀" * 400, "x" + "😀" * ((MAX_TEXT - 1) // 4)),
        ("lone \ud800", "lone ?"),
    ],
    ids=["empty", "longest", "one-above", "three-bytes", "four-bytes", "surrogate"],
)
def test_goodbye_texts_are_clipped_between_characters(state: State, text: str, clipped: str) -> None:
    """And the smallest device takes the longest, whatever the state."""
    assert len(m.Goodbye(code=0, text="x" * MAX_TEXT).encode_body()) <= 1024
    for role in (CLIENT, SERVER):
        pair = pair_at(state)
        pair.peer(role).receive_data(pair.ends[role].goodbye(Code.LIMIT, text))
        assert drain(pair.peer(role))[-1] == m.Goodbye(code=Code.LIMIT, text=clipped)


def test_bytes_after_goodbye_are_an_error_and_none_are_the_end() -> None:
    pair = pair_at(State.OPEN)
    server = pair.ends[SERVER]
    server.receive_data(pair.ends[CLIENT].goodbye(Code.NORMAL))
    assert isinstance(server.next_event(), m.Goodbye)
    assert server.next_event() is Need.DATA
    server.receive_data(b"\x03")
    with pytest.raises(RemoteProtocolError):
        server.next_event()


def test_refusal_leaves_the_client_nothing_to_do() -> None:
    client = pair_at(State.GREETED).ends[CLIENT]
    client.receive_data(refusal())
    client.receive_data(b"")
    assert drain(client) == [Refusal(low=1, high=1), EndOfStream()]
