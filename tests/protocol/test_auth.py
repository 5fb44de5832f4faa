"""The mutual proof: what must be known, and that no byte of the handshake can be changed unnoticed."""

import hashlib
import hmac

import pytest

from tilewire.protocol import Connection, LocalProtocolError, Need, RemoteProtocolError, Sender, auth
from tilewire.protocol import messages as m
from tilewire.protocol.constants import LABEL_CLIENT, LABEL_SERVER, AuthMethod
from tilewire.protocol.errors import Code
from tilewire.protocol.states import State
from tilewire.protocol.vectors import KEY, OTHER_KEY, OTHER_NONCE, greeting, hello, reply, welcome

from tests.protocol.support import CLIENT, SERVER, Pair, drain, pair_at

KEYED = hello(auth_methods=AuthMethod.HMAC)


def test_the_proofs_are_what_the_specification_says() -> None:
    """HMAC-SHA256(key, label || SHA-256(all handshake bytes so far))."""
    client, server = Connection(CLIENT), Connection(SERVER)
    first = client.send(KEYED)
    server.receive_data(first)
    drain(server)
    second = server.send(reply(AuthMethod.HMAC))
    proof = server.make_proof(KEY)
    so_far = hashlib.sha256(first + second)
    assert proof.mac == hmac.digest(KEY, LABEL_SERVER + so_far.digest(), "sha256")
    third = server.send(proof)
    assert third == b"\x02\x20" + proof.mac
    client.receive_data(second + third)
    assert drain(client) == [reply(AuthMethod.HMAC), proof]
    client.check_proof(KEY, proof)
    so_far.update(third)
    mine = client.make_proof(KEY)
    assert mine.mac == hmac.digest(KEY, LABEL_CLIENT + so_far.digest(), "sha256")
    server.receive_data(client.send(mine))
    assert drain(server) == [mine]
    server.check_proof(KEY, mine)
    assert server.state is State.ACCEPTED


@pytest.mark.parametrize("prover", [SERVER, CLIENT], ids=["server", "client"])
@pytest.mark.parametrize("key", [OTHER_KEY, bytes(32), KEY[::-1]], ids=["other", "zeros", "reversed"])
def test_another_key_fails_and_stays_failed(prover: Sender, key: bytes) -> None:
    pair = Pair(KEYED).greet(AuthMethod.HMAC)
    if prover is CLIENT:
        pair.prove(SERVER)
    with pytest.raises(RemoteProtocolError) as caught:
        pair.prove(prover, key)
    assert caught.value.code is Code.AUTH_FAILED
    with pytest.raises(RemoteProtocolError):
        pair.peer(prover).next_event()


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        auth.proof(bytes(size), CLIENT, bytes(32))


def handshake() -> list[tuple[Sender, bytes]]:
    """The bytes of a keyed handshake up to the client's proof."""
    client, server = Connection(CLIENT), Connection(SERVER)
    out = [(CLIENT, client.send(KEYED))]
    server.receive_data(out[-1][1])
    drain(server)
    out.append((SERVER, server.send(reply(AuthMethod.HMAC))))
    client.receive_data(out[-1][1])
    drain(client)
    out.append((SERVER, server.send(server.make_proof(KEY))))
    client.receive_data(out[-1][1])
    drain(client)
    out.append((CLIENT, client.send(client.make_proof(KEY))))
    return out


def survives(number: int, altered: bytes) -> bool:
    """Whether both ends come to WELCOME when a man in the middle alters one message of the handshake."""
    ends = {CLIENT: Connection(CLIENT), SERVER: Connection(SERVER)}
    try:
        for at, sender in enumerate((CLIENT, SERVER, SERVER, CLIENT)):
            end, peer = ends[sender], ends[SERVER if sender is CLIENT else CLIENT]
            if at == 0:
                data = end.send(KEYED)
            elif at == 1:
                data = end.send(reply(AuthMethod.HMAC))
            else:
                data = end.send(end.make_proof(KEY))
            peer.receive_data(altered if at == number else data)
            events = drain(peer)
            if len(events) != 1:
                return False
            if isinstance(events[0], m.Proof):
                peer.check_proof(KEY, events[0])
    except (RemoteProtocolError, LocalProtocolError):
        return False
    return all(end.state is State.ACCEPTED for end in ends.values())


@pytest.mark.parametrize("number", range(4), ids=["hello", "reply", "server-proof", "client-proof"])
def test_any_changed_bit_of_the_handshake_fails(number: int) -> None:
    _, data = handshake()[number]
    assert survives(number, data)
    for at in range(len(data)):
        for bit in range(8):
            altered = bytearray(data)
            altered[at] ^= 1 << bit
            assert not survives(number, bytes(altered)), f"byte {at}, bit {bit}"


def test_a_changed_hello_that_parses_still_fails() -> None:
    """A name, a nonce or an offer changed on the way; a field added; a later version claimed."""
    other = hello(auth_methods=AuthMethod.HMAC, device_id="device-2")
    weaker = hello(auth_methods=AuthMethod.HMAC | AuthMethod.NONE)
    body = KEYED.encode_body()
    for altered in (
        greeting(other.encode_body()),
        greeting(weaker.encode_body()),
        greeting(hello(auth_methods=AuthMethod.HMAC, nonce=OTHER_NONCE).encode_body()),
        greeting(body + b"\x7e\x00"),
        greeting(body, 1, 2),
    ):
        server = Connection(SERVER)
        server.receive_data(altered)
        assert len(drain(server)) == 1, "or the test shows nothing"
        assert not survives(0, altered)


def test_a_replayed_client_fails() -> None:
    recorded = [data for sender, data in handshake() if sender is CLIENT]
    server = Connection(SERVER)
    server.receive_data(recorded[0])
    drain(server)
    server.send(reply(AuthMethod.HMAC, OTHER_NONCE))
    server.send(server.make_proof(KEY))
    server.receive_data(recorded[1])
    (proof,) = drain(server)
    assert isinstance(proof, m.Proof)
    with pytest.raises(RemoteProtocolError) as caught:
        server.check_proof(KEY, proof)
    assert caught.value.code is Code.AUTH_FAILED


def test_a_replayed_server_fails() -> None:
    recorded = [data for sender, data in handshake() if sender is SERVER]
    client = Connection(CLIENT)
    client.send(hello(auth_methods=AuthMethod.HMAC, nonce=OTHER_NONCE))
    client.receive_data(b"".join(recorded))
    _, proof = drain(client)
    assert isinstance(proof, m.Proof)
    with pytest.raises(RemoteProtocolError) as caught:
        client.check_proof(KEY, proof)
    assert caught.value.code is Code.AUTH_FAILED


def test_a_reflected_proof_fails() -> None:
    """The server's own proof, sent back to it."""
    pair = Pair(KEYED).greet(AuthMethod.HMAC)
    proof = pair.ends[SERVER].make_proof(KEY)
    pair.say(SERVER, proof)
    pair.say(CLIENT, proof)
    with pytest.raises(RemoteProtocolError):
        pair.ends[SERVER].check_proof(KEY, proof)


@pytest.mark.parametrize("method", [AuthMethod.NONE, AuthMethod.TICKET])
def test_a_keyed_client_goes_nowhere_without_the_servers_proof(method: AuthMethod) -> None:
    client = Connection(CLIENT)
    client.send(KEYED)
    client.receive_data(greeting(reply(method).encode_body()) + welcome(KEYED).encode())
    with pytest.raises(RemoteProtocolError) as caught:
        drain(client)
    assert caught.value.code is Code.AUTH_REQUIRED
    for message in (m.Wheel(input=1, dx=0, dy=0), m.Ping(stamp=0), m.Refresh()):
        with pytest.raises(LocalProtocolError):
            client.send(message)


def test_nothing_is_shown_or_sent_between_the_proofs() -> None:
    for state in (State.CHALLENGED, State.SERVER_PROVED):
        for sender, message in ((SERVER, m.Begin(update=1, input=0)), (CLIENT, m.Wheel(input=1, dx=0, dy=0))):
            pair = pair_at(state)
            with pytest.raises(LocalProtocolError):
                pair.ends[sender].send(message)
            pair.peer(sender).receive_data(message.encode())
            with pytest.raises(RemoteProtocolError):
                drain(pair.peer(sender))


def test_a_server_cannot_choose_what_was_not_offered() -> None:
    for answer in (
        reply(AuthMethod.HMAC),
        reply(AuthMethod.TICKET),
        m.Reply(version=2, method=AuthMethod.NONE, nonce=bytes(16)),
    ):
        pair = Pair(hello())
        pair.say(CLIENT, pair.offer)
        with pytest.raises(LocalProtocolError):
            pair.ends[SERVER].send(answer)
        assert pair.ends[SERVER].state is State.GREETED
        pair.say(SERVER, reply())


def test_a_proof_out_of_turn_is_our_own_mistake() -> None:
    client = Connection(CLIENT)
    for end in (client, Connection(SERVER), pair_at(State.OPEN).ends[CLIENT]):
        with pytest.raises(LocalProtocolError):
            end.make_proof(KEY)
    with pytest.raises(RemoteProtocolError):
        client.check_proof(KEY, m.Proof(mac=bytes(32)))


def test_comparing_macs() -> None:
    assert auth.same(b"abc", b"abc")
    assert not auth.same(b"abc", b"abd")
    assert not auth.same(b"abc", b"abcd")


def test_the_ticket_needs_no_proof() -> None:
    pair = Pair(hello(auth_methods=AuthMethod.TICKET, ticket=b"ticket")).greet(AuthMethod.TICKET)
    assert pair.ends[CLIENT].state is State.ACCEPTED
    assert pair.ends[SERVER].next_event() is Need.DATA
