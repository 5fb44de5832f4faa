"""Loads the golden vectors, and replays them on a `Connection`: the model of what every other implementation does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilewire.protocol import Connection, LocalProtocolError, Need, PixelFormat, RemoteProtocolError, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.errors import Code
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.states import State
from tilewire.protocol.vectors import plain
from tilewire.protocol.wire import MESSAGES, PREFIX, FieldList, Message, Repeated, encode_varint, frame

FOLDER = Path(__file__).resolve().parent.parent / "protocol/vectors"
EXCHANGES = (
    *("handshake.json", "session.json", "updates.json", "refusals.json", "cache.json"),
    *("codec.json", "deflate.json", "jpeg.json"),
)

Pieces = Callable[[bytes], Iterable[bytes]]
"""How the bytes of one step are cut before they are delivered."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one side says."""

    sender: Sender
    data: bytes
    events: list[dict[str, Any]]
    canonical: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """The step that is refused, by whom, with what."""

    step: int
    by: Sender
    code: Code


@dataclass(frozen=True, slots=True)
class Vector:
    """One exchange of the files."""

    name: str
    needs: frozenset[str]
    hello: dict[str, Any]
    key: bytes | None
    steps: tuple[Step, ...]
    error: Failure | None
    framebuffer: dict[str, Any] | None

    def __str__(self) -> str:
        return self.name


def read(name: str) -> list[dict[str, Any]]:
    """The vectors of one file, as they stand there."""
    vectors: list[dict[str, Any]] = json.loads((FOLDER / name).read_text(encoding="utf-8"))["vectors"]
    return vectors


def exchanges(*names: str) -> list[Vector]:
    """The exchanges of these files, or of all."""
    return [of_json(item) for name in names or EXCHANGES for item in read(name)]


def of_json(item: dict[str, Any]) -> Vector:
    """An exchange as it stands in a file."""
    error = item.get("error")
    return Vector(
        name=item["name"],
        needs=frozenset(item["needs"]),
        hello=item["hello"],
        key=bytes.fromhex(item["key"]) if "key" in item else None,
        steps=tuple(
            Step(
                Sender(step["from"]),
                bytes.fromhex(step["bytes"]),
                step["events"],
                step.get("canonical", True),
            )
            for step in item["exchange"]
        ),
        error=error and Failure(error["step"], Sender(error["by"]), Code[error["code"]]),
        framebuffer=item.get("framebuffer"),
    )


def whole(data: bytes) -> list[bytes]:
    """All at once."""
    return [data]


def single_bytes(data: bytes) -> list[bytes]:
    """Byte by byte."""
    return [data[i : i + 1] for i in range(len(data))]


def split(data: bytes) -> Iterator[bytes]:
    """The hello or the messages in `data`, whole, one by one; what is not whole comes last."""
    at = 0
    if data[:4] == b"\x97TW\n":
        at = PREFIX.size + PREFIX.unpack_from(data)[3]
        yield data[:at]
    while at < len(data):
        length, offset, shift = 0, at + 1, 0
        while offset < len(data):
            byte = data[offset]
            length |= (byte & 0x7F) << shift
            offset, shift = offset + 1, shift + 7
            if byte < 0x80:
                break
        yield data[at : offset + length]
        at = offset + length


def body_of(message: bytes) -> memoryview:
    """The body of a whole message."""
    at = 1
    while message[at] >= 0x80:
        at += 1
    return memoryview(message)[at + 1 :]


def grown(message: bytes) -> bytes:
    """The same message as a later version might write it, with more at its end, where that is allowed."""
    cls = MESSAGES.get(message[0])
    if cls is None or cls.drawing or cls is m.Proof:
        return message
    body = bytes(body_of(message))
    if issubclass(cls, FieldList):
        return frame(cls.type, body + b"\x7f\x02\x00\x00")
    if cls.layout and (cls.layout[-1].kind.high is None or cls.layout[-1].kind.label == "utf8"):
        return message
    if cls.layout and isinstance(cls.layout[-1].kind, Repeated):
        return message
    return frame(cls.type, body + b"\xff" * 100)


class End:
    """The end under test: a connection, and for the client its framebuffer."""

    def __init__(self, role: Sender, vector: Vector) -> None:
        offer = vector.hello
        self.connection = Connection(role)
        self.key = vector.key
        self.screen = Framebuffer(
            offer["panel"]["width"],
            offer["panel"]["height"],
            PixelFormat(offer["pixel_format"]),
            offer.get("model_kib", 0),
            offer.get("deflate_bits", 0),
        )

    def receive(self, pieces: Iterable[bytes], events: list[dict[str, Any]]) -> None:
        """Take bytes; what they mean is appended to `events`, as far as it goes."""
        for piece in pieces:
            self.connection.receive_data(piece)
            while not isinstance(event := self.connection.next_event(), Need):
                if isinstance(event, m.Proof):
                    assert self.key is not None
                    self.connection.check_proof(self.key, event)
                if isinstance(event, Message) and self.connection.role is Sender.CLIENT:
                    self.screen.apply(event)
                events.append(plain(event))

    def send(self, step: Step) -> None:
        """Say what the vector says, and compare every byte."""
        sent = b"".join(self._send(part) for part in split(step.data))
        if step.canonical:
            assert sent == step.data

    def _send(self, part: bytes) -> bytes:
        connection = self.connection
        if part[:4] == b"\x97TW\n":
            body = memoryview(part)[PREFIX.size :]
            if connection.role is Sender.CLIENT:
                return connection.send(m.Hello.decode_body(body)[0])
            return connection.send(m.Reply.decode_body(body)[0]) if body else b""
        cls = MESSAGES.get(part[0])
        if cls is None:
            return b""
        message = cls.decode(body_of(part))
        if isinstance(message, m.Proof):
            assert self.key is not None
            message = connection.make_proof(self.key)
        elif isinstance(message, m.Goodbye) and connection.state is State.GREETED:
            if connection.role is Sender.SERVER:
                # With the empty reply before it.
                return connection.goodbye(next(c for c in Code if c == message.code), message.text)
        return connection.send(message)

    def refuses_to_send(self, step: Step) -> None:
        """The peer refuses this step at its end: what of it can be said at all, `send` refuses too."""
        if self.connection.state in (State.START, State.GREETED):
            return
        parts = list(split(step.data))
        for part in parts[:-1]:
            self._send(part)
        cls = MESSAGES.get(parts[-1][0])
        if cls in (None, m.Proof):
            return
        assert cls is not None
        try:
            message = cls.decode(body_of(parts[-1]))
        except (RemoteProtocolError, IndexError):
            return
        if len(body_of(parts[-1])) != len(message.encode_body()):
            return
        try:
            self.connection.send(message)
        except LocalProtocolError:
            return
        # Only a payload's inside is not for `send` to know.
        assert isinstance(message, m.Palette | m.Codec | m.Deflate | m.Jpeg), message


def replay(vector: Vector, role: Sender, pieces: Pieces = whole, *, trailing: bool = False) -> None:
    """Play one side of `vector` against the other.

    `trailing`: with each step the next message of the same sender (or a PING) has already begun to arrive.
    """
    end = End(role, vector)
    early = 0
    for number, step in enumerate(vector.steps):
        failing = vector.error is not None and vector.error.step == number
        if step.sender is role:
            if failing:
                end.refuses_to_send(step)
            else:
                end.send(step)
            continue
        data, early = step.data[early:], 0
        if trailing and not failing:
            tail = _tail(vector, number)
            early = len(tail) if any(later.sender is step.sender for later in vector.steps[number + 1 :]) else 0
            data += tail
        events: list[dict[str, Any]] = []
        refusal: Code | None = None
        try:
            end.receive(pieces(data), events)
        except RemoteProtocolError as error:
            refusal = error.code
        due = vector.error.code if failing and vector.error else None
        assert refusal is due, f"step {number}: {refusal!r} where {due!r} is due"
        assert events == step.events
    if role is Sender.CLIENT:
        compare(end.screen, vector.framebuffer)


def _tail(vector: Vector, number: int) -> bytes:
    """All but the last byte of what the sender of step `number` says next."""
    step = vector.steps[number]
    if any(event["type"] == "GOODBYE" for event in step.events):
        return b""
    for later in range(number + 1, len(vector.steps)):
        if vector.steps[later].sender is step.sender:
            if vector.error is not None and vector.error.step == later:
                return b""
            return next(split(vector.steps[later].data))[:-1]
    return b"\x03" + encode_varint(8) + b"half"


def compare(screen: Framebuffer, expected: dict[str, Any] | None) -> None:
    """Assert that the picture is the one of the vector (None: nothing was drawn)."""
    if expected is None:
        assert not any(screen.pixels)
        return
    assert (screen.width, screen.height) == (expected["width"], expected["height"])
    assert screen.format.name == expected["format"]
    stored = screen.stored()
    if "stored" in expected:
        assert stored.hex() == expected["stored"]
    else:
        assert hashlib.sha256(stored).hexdigest() == expected["sha256"]


def grow(vector: Vector) -> Vector:
    """The same exchange with every message longer that may be."""

    def longer(step: Step) -> Step:
        parts = [
            more if len(more := grown(part)) <= 900 and part[:4] != b"\x97TW\n" else part for part in split(step.data)
        ]
        return Step(step.sender, b"".join(parts), step.events, canonical=False)

    steps = tuple(
        step if (vector.error is not None and vector.error.step == number) or step.events == [] else longer(step)
        for number, step in enumerate(vector.steps)
    )
    return Vector(vector.name, vector.needs, vector.hello, vector.key, steps, vector.error, vector.framebuffer)
