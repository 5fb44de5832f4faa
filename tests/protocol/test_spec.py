"""SPEC.md's worked exchanges are true: every byte in them parses, and is what we would write."""

import re
from pathlib import Path

import pytest

from tilewire.protocol import Connection, Need, RemoteProtocolError, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.vectors import greeting, reply
from tilewire.protocol.wire import MESSAGES, PREFIX, Message

from tests import vectors as v
from tests.protocol.support import CLIENT, SERVER

SPEC = (Path(__file__).resolve().parents[2] / "protocol/SPEC.md").read_text(encoding="utf-8")
LINE = re.compile(r"^([CS])  ((?:[0-9A-F]{2} ?)+)(?: *;.*)?$")


def _blocks() -> list[tuple[str, list[tuple[Sender, bytes]]]]:
    """(name, what each side says in turn) of every block of bytes with a sender."""
    found: list[tuple[str, list[tuple[Sender, bytes]]]] = []
    for section in re.split(r"^### ", SPEC, flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0].split()[0]
        for number, block in enumerate(re.findall(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL)):
            says: list[tuple[Sender, bytes]] = []
            for line in block.splitlines():
                match = LINE.match(line)
                if match is None:
                    continue
                sender, data = (CLIENT if match[1] == "C" else SERVER), bytes.fromhex(match[2])
                if says and says[-1][0] is sender:
                    says[-1] = sender, says[-1][1] + data
                else:
                    says.append((sender, data))
            if says:
                found.append((f"{title}-{number}", says))
    return found


BLOCKS = _blocks()
CONNECTIONS = [block for block in BLOCKS if block[1][0][1][:4] == b"\x97TW\n"]


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 10
    assert len(CONNECTIONS) >= 3


def _lacking(says: list[tuple[Sender, bytes]]) -> bool:
    """Whether the client speaks no version of ours."""
    return says[0][1][:5] == b"\x97TW\n\x02"


@pytest.mark.parametrize(("name", "says"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_every_message_is_what_we_would_write(name: str, says: list[tuple[Sender, bytes]]) -> None:
    for sender, data in says[1:] if _lacking(says) else says:
        parts = list(v.split(data))
        assert b"".join(parts) == data
        for part in parts:
            if part[:4] == b"\x97TW\n":
                body = part[PREFIX.size :]
                cls = m.Hello if sender is CLIENT else m.Reply
                assert not body or cls.decode_body(memoryview(body))[0].encode_body() == body
                continue
            message: Message = MESSAGES[part[0]].decode(v.body_of(part))
            assert message.sender.allows(sender)
            assert message.encode() == part


@pytest.mark.parametrize(("name", "says"), CONNECTIONS, ids=[name for name, _ in CONNECTIONS])
def test_whole_connections_are_taken_by_both_ends(name: str, says: list[tuple[Sender, bytes]]) -> None:
    ends = {CLIENT: Connection(CLIENT), SERVER: Connection(SERVER)}
    if _lacking(says):
        ends[SERVER].receive_data(says[0][1])
        with pytest.raises(RemoteProtocolError) as caught:
            ends[SERVER].next_event()
        assert ends[SERVER].goodbye(caught.value.code, str(caught.value)) == says[1][1]
        return
    if says[1][1][:4] != b"\x97TW\n":
        # Where the example leaves the reply out.
        says = [says[0], (SERVER, greeting(reply().encode_body())), *says[1:]]
    for sender, data in says:
        end, peer = ends[sender], ends[SERVER if sender is CLIENT else CLIENT]
        for part in v.split(data):
            peer.receive_data(part)
            event = peer.next_event()
            assert isinstance(event, Message | m.Hello | m.Reply), event
            assert end.send(event) == part
            assert peer.next_event() is Need.DATA
