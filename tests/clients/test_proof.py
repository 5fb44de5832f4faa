"""Mutual proof: a device with a key shows nothing and says nothing before the server has proved itself."""

from __future__ import annotations

import pytest

from tilewire.protocol import AuthMethod, Code, Rect
from tilewire.protocol import messages as m
from tilewire.simulator import client as c

from tests.clients.support import KEY, NONCE, Server, config, messages_in, reply, welcome

OTHER_KEY = bytes(32)


def challenge(server: Server, client: c.Client, key: bytes = KEY) -> bytes:
    """The server's side up to its own proof."""
    server.receive(client.output())
    return server.send(reply(AuthMethod.HMAC)) + server.send(server.connection.make_proof(key))


def assert_refused(client: c.Client, code: Code) -> None:
    assert client.error is code
    assert client.phase is c.Phase.CLOSED
    assert messages_in(client.output()) == [m.Goodbye(code=code, text=code.text)]
    assert client.events == []
    assert not any(client.framebuffer)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_both_prove_themselves(size: int) -> None:
    client = c.Client(config(key=KEY))
    server = Server()
    data = challenge(server, client)
    for at in range(0, len(data), size):
        assert client.output() == b""
        client.feed(data[at : at + size])
    (proof,) = server.receive(client.output())
    assert isinstance(proof, m.Proof)
    server.connection.check_proof(KEY, proof)
    client.feed(server.send(welcome(0)))
    assert client.phase is c.Phase.OPEN


def test_a_server_with_another_key_is_refused() -> None:
    client = c.Client(config(key=KEY))
    server = Server()
    client.feed(challenge(server, client, OTHER_KEY))
    assert_refused(client, Code.AUTH_FAILED)


@pytest.mark.parametrize("bit", range(256))
def test_every_bit_of_the_proof_counts(bit: int) -> None:
    client = c.Client(config(key=KEY))
    server = Server()
    data = bytearray(challenge(server, client))
    data[len(data) - 32 + bit // 8] ^= 1 << bit % 8
    client.feed(data)
    assert_refused(client, Code.AUTH_FAILED)


def test_every_byte_of_the_handshake_counts() -> None:
    """A reply that was changed on the way does not carry the proof."""
    server = Server()
    data = challenge(server, c.Client(config(key=KEY)))
    nonce = data.index(bytes(range(200, 216)))
    client = c.Client(config(key=KEY))
    client.feed(data[:nonce] + b"\x00" + data[nonce + 1 :])
    client.output()
    assert client.error is Code.AUTH_FAILED


def test_a_server_that_asks_for_no_proof_is_refused() -> None:
    client = c.Client(config(key=KEY))
    client.output()
    client.feed(plain_reply() + welcome(0).encode())
    assert_refused(client, Code.AUTH_REQUIRED)


def plain_reply() -> bytes:
    server = Server()
    server.receive(c.Client(config()).output())
    return server.send(reply())


def test_a_server_that_welcomes_without_proof_is_refused() -> None:
    client = c.Client(config(key=KEY))
    server = Server()
    server.receive(client.output())
    fill = m.Fill(rect=Rect(0, 0, 40, 24), pixel=b"\xff\xff")
    client.feed(server.send(reply(AuthMethod.HMAC)) + welcome(0).encode())
    client.feed(m.Begin(update=1, input=0).encode() + fill.encode())
    assert_refused(client, Code.BAD_STATE)


def test_nothing_is_sent_before_the_server_has_proved_itself() -> None:
    client = c.Client(config(key=KEY))
    server = Server()
    server.receive(client.output())
    client.feed(server.send(reply(AuthMethod.HMAC)))
    with pytest.raises(c.ClientError):
        client.key(32, True)
    with pytest.raises(c.ClientError):
        client.ping(1)
    assert client.output() == b""


def test_a_replayed_handshake_is_refused() -> None:
    server = Server()
    recorded = challenge(server, c.Client(config(key=KEY)))
    again = c.Client(config(key=KEY, nonce=NONCE[::-1]))
    again.output()
    again.feed(recorded)
    assert_refused(again, Code.AUTH_FAILED)
    # With the same nonce the recording would do: that is why nonces are used once.
    same = c.Client(config(key=KEY))
    same.output()
    same.feed(recorded)
    assert same.error is None


def test_a_device_without_a_key_is_not_asked_for_a_proof() -> None:
    client = c.Client(config())
    server = Server()
    server.receive(client.output())
    data = plain_reply()
    method = data.index(b"\x82\x01\x01")
    client.feed(data[: method + 2] + b"\x02" + data[method + 3 :])
    assert_refused(client, Code.AUTH_REQUIRED)


def test_the_devices_proof_is_checked_by_the_server() -> None:
    """A proof is good for one key: the server sees that another one was used."""
    client = c.Client(config(key=KEY))
    server = Server()
    client.feed(challenge(server, client))
    (proof,) = server.receive(client.output())
    assert isinstance(proof, m.Proof)
    with pytest.raises(Exception, match="did not prove"):
        server.connection.check_proof(OTHER_KEY, proof)
