"""The protocol without any I/O: bytes in, events out, messages in, bytes out.

One `Connection` stands for one end of one byte stream. `receive_data` only buffers; `next_event` parses one event, or
says that it needs more. `send` checks a message against the state and all that was agreed, and returns the bytes to
write. No clock, no randomness, no socket: nonces and keys are passed in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tilewire.protocol import auth
from tilewire.protocol import messages as m
from tilewire.protocol.constants import (
    MAGIC,
    MAX_CLIENT_MESSAGE,
    MAX_HELLO,
    MAX_TEXT,
    MIN_MESSAGE,
    VERSION,
    AuthMethod,
)
from tilewire.protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from tilewire.protocol.rules import Rules
from tilewire.protocol.states import TRANSITIONS, State, Step
from tilewire.protocol.wire import MESSAGES, PREFIX, Message, Sender, frame


class Need(Enum):
    """What `next_event` says where it has no event."""

    DATA = "more bytes are needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The server's empty reply: its versions; a GOODBYE follows."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The peer closed its side between two messages."""


Event = Message | m.Hello | m.Reply | Refusal | EndOfStream

_STEPS: Final[dict[type, Step]] = {
    m.Hello: Step.HELLO,
    Refusal: Step.REFUSAL,
    m.Proof: Step.PROOF,
    m.Welcome: Step.WELCOME,
    m.Begin: Step.BEGIN,
    m.End: Step.END,
    m.Resize: Step.RESIZE,
    m.Explanation: Step.EXPLANATION,
    m.Goodbye: Step.GOODBYE,
}


def _step(event: Event) -> Step:
    if isinstance(event, m.Reply):
        return Step.REPLY_HMAC if event.method == AuthMethod.HMAC else Step.REPLY
    if isinstance(event, Message) and event.drawing:
        return Step.DRAWING
    return _STEPS.get(type(event), Step.OTHER)


class Connection:
    """One end (`role`: Sender.CLIENT or Sender.SERVER) of one connection."""

    def __init__(self, role: Sender) -> None:
        if role is Sender.BOTH:
            raise ValueError("a connection has one role")
        self.role = role
        self.peer = Sender.SERVER if role is Sender.CLIENT else Sender.CLIENT
        self.state = State.START
        self.hello: m.Hello | None = None
        self.reply: m.Reply | None = None
        self.welcome: m.Welcome | None = None
        self._rules: Rules | None = None
        self._buffer = bytearray()
        self._at = 0
        self._eof = False
        self._failed: RemoteProtocolError | None = None
        self._said_goodbye = {Sender.CLIENT: False, Sender.SERVER: False}
        self._greeted = False
        """Whether this end has sent its prefix."""
        self._transcript = hashlib.sha256()
        self._digest_for: dict[Sender, bytes] = {}

    @property
    def rules(self) -> Rules:
        """What the messages so far amount to. Only after HELLO."""
        if self._rules is None:
            raise LocalProtocolError("nothing is agreed before HELLO")
        return self._rules

    @property
    def closed(self) -> bool:
        """Whether one side has said goodbye."""
        return any(self._said_goodbye.values())

    # Receiving.

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes as they come; empty: the peer closed its side."""
        if self._eof and data:
            raise LocalProtocolError("bytes after the end of the stream")
        if data:
            self._buffer += data
        else:
            self._eof = True

    def next_event(self) -> Event | Need:
        """Parse one event. Raises RemoteProtocolError once the peer broke the protocol, and then always."""
        if self._failed is not None:
            raise RemoteProtocolError(self._failed.code, str(self._failed))
        try:
            while True:
                if self._said_goodbye[self.peer]:
                    return self._after_goodbye()
                event = self._parse()
                if event is None:
                    return self._starved()
                if event is not Need.DATA:
                    return event
        except RemoteProtocolError as error:
            self._failed = error
            raise

    def _after_goodbye(self) -> Event | Need:
        if len(self._buffer) > self._at:
            raise RemoteProtocolError(Code.BAD_STATE, "bytes after GOODBYE")
        return EndOfStream() if self._eof else Need.DATA

    def _starved(self) -> Event | Need:
        if not self._eof:
            return Need.DATA
        if len(self._buffer) > self._at:
            raise RemoteProtocolError(Code.PROTOCOL, "the stream ended inside a message")
        if self.state is State.UPDATING and self.peer is Sender.SERVER:
            raise RemoteProtocolError(Code.PROTOCOL, "the stream ended inside an update")
        return EndOfStream()

    def _parse(self) -> Event | Need | None:
        """One event; None: more bytes are needed; Need.DATA: something was skipped, look again."""
        waiting = State.START if self.role is Sender.SERVER else State.GREETED
        if self.state is waiting:
            return self._parse_hello()
        if self.state is State.START:
            if len(self._buffer) > self._at:
                raise RemoteProtocolError(Code.BAD_STATE, "the server spoke first")
            return None
        return self._parse_message()

    def _consume(self, end: int) -> None:
        self._at = end
        if self._at == len(self._buffer):
            self._buffer.clear()
            self._at = 0
        elif self._at > 1 << 16:
            del self._buffer[: self._at]
            self._at = 0

    def _parse_hello(self) -> Event | None:
        head = bytes(self._buffer[: len(MAGIC)])
        if head != MAGIC[: len(head)]:
            raise RemoteProtocolError(Code.NOT_TILEWIRE, "the peer does not speak tilewire")
        if len(self._buffer) < PREFIX.size:
            return None
        _, low, high, length = PREFIX.unpack_from(self._buffer)
        if low > high or low == 0:
            raise RemoteProtocolError(Code.PROTOCOL, f"a range of versions from {low} to {high}")
        if length > MAX_HELLO:
            raise RemoteProtocolError(Code.TOO_LONG, f"a hello of {length} bytes")
        if self.role is Sender.SERVER and not low <= VERSION <= high:
            raise RemoteProtocolError(Code.VERSION, f"this server speaks version {VERSION}, the client {low} to {high}")
        end = PREFIX.size + length
        if len(self._buffer) < end:
            return None
        whole = bytes(self._buffer[:end])
        body = memoryview(whole)[PREFIX.size :]
        event: m.Hello | m.Reply | Refusal
        if self.role is Sender.SERVER:
            event = m.Hello.decode_body(body)[0]
        elif length == 0:
            event = Refusal(low=low, high=high)
        else:
            reply: m.Reply = m.Reply.decode_body(body)[0]
            self._check_reply(reply, low, high)
            event = reply
        self._consume(end)
        self._advance(event, self.peer)
        self._note_hello(event, whole)
        return event

    def _check_reply(self, reply: m.Reply, low: int, high: int) -> None:
        assert self.hello is not None
        if reply.version != VERSION or not low <= reply.version <= high:
            raise RemoteProtocolError(Code.VERSION, f"the server chose version {reply.version}")
        if not reply.method & self.hello.auth_methods:
            raise RemoteProtocolError(
                Code.AUTH_REQUIRED,
                f"the server chose the method {reply.method}, which was not offered",
            )

    def _note_hello(self, event: m.Hello | m.Reply | Refusal, whole: bytes) -> None:
        self._transcript.update(whole)
        if isinstance(event, m.Hello):
            self.hello = event
            self._rules = Rules(event)
        elif isinstance(event, m.Reply):
            self.reply = event
            self._digest_for[Sender.SERVER] = self._transcript.digest()

    def _parse_message(self) -> Event | Need | None:
        buffer, at = self._buffer, self._at
        if len(buffer) < at + 2:
            return None
        type_ = buffer[at]
        length = shift = 0
        offset = at + 1
        while True:
            if offset == len(buffer):
                return None
            byte = buffer[offset]
            offset += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift == 21:
                raise RemoteProtocolError(Code.TOO_LONG, "a length of more than three bytes")
        if byte == 0 and shift:
            raise RemoteProtocolError(Code.PROTOCOL, "a length that is longer than it needs to be")
        limit = self.receive_limit
        if length > limit:
            raise RemoteProtocolError(Code.TOO_LONG, f"a message of {length} bytes, where {limit} are agreed")
        cls = MESSAGES.get(type_)
        if cls is None and m.unknown_is_error(type_):
            raise RemoteProtocolError(Code.PROTOCOL, f"an unknown drawing operation {type_:#04x}")
        if cls is not None and not cls.sender.allows(self.peer):
            raise RemoteProtocolError(Code.BAD_STATE, f"{cls.name} does not come from the {self.peer.value}")
        if len(buffer) < offset + length:
            return None
        whole = bytes(memoryview(buffer)[at : offset + length])
        self._consume(offset + length)
        if cls is None:
            if self.state not in (State.OPEN, State.UPDATING):
                raise RemoteProtocolError(Code.BAD_STATE, f"an unknown message {type_:#04x} in the handshake")
            return Need.DATA
        event: Message = cls.decode(memoryview(whole)[offset - at :])
        self._advance(event, self.peer)
        self._note_message(event, self.peer, whole)
        return event

    @property
    def receive_limit(self) -> int:
        """The longest body that this end takes at the moment, in bytes."""
        if self.role is Sender.SERVER:
            return MAX_CLIENT_MESSAGE
        assert self.hello is not None
        return self.hello.max_message

    # Both directions.

    def _advance(self, event: Event, sender: Sender) -> None:
        step = _step(event)
        following = TRANSITIONS.get((self.state, sender, step))
        if following is None:
            name = event.name if isinstance(event, Message) else step.value
            raise RemoteProtocolError(
                Code.BAD_STATE, f"{name} from the {sender.value} does not fit here: {self.state.value}"
            )
        if self._rules is not None and isinstance(event, Message):
            self._rules.check(event, from_client=sender is Sender.CLIENT)
        self.state = following

    def _note_message(self, event: Message, sender: Sender, whole: bytes) -> None:
        if isinstance(event, m.Goodbye):
            self._said_goodbye[sender] = True
        elif isinstance(event, m.Proof):
            if sender is Sender.SERVER:
                self._transcript.update(whole)
                self._digest_for[Sender.CLIENT] = self._transcript.digest()
        elif isinstance(event, m.Welcome):
            self.welcome = event

    # Sending.

    def send(self, event: Message | m.Hello | m.Reply) -> bytes:
        """The bytes to write. Raises LocalProtocolError, and changes nothing, where the event may not be sent now."""
        if self._said_goodbye[self.role]:
            raise LocalProtocolError("nothing follows GOODBYE")
        if isinstance(event, m.Hello | m.Reply):
            expected = m.Hello if self.role is Sender.CLIENT else m.Reply
            if not isinstance(event, expected):
                raise LocalProtocolError(f"{type(event).__name__} is not for the {self.role.value} to send")
            body = event.encode_body()
            if len(body) > MAX_HELLO:
                raise LocalProtocolError(f"a hello of {len(body)} bytes is longer than {MAX_HELLO}")
            whole = PREFIX.pack(MAGIC, VERSION, VERSION, len(body)) + body
        else:
            if not event.sender.allows(self.role):
                raise LocalProtocolError(f"{event.name} is not for the {self.role.value} to send")
            body = event.encode_body()
            if len(body) > self.send_limit:
                raise LocalProtocolError(f"{event.name} of {len(body)} bytes exceeds the agreed {self.send_limit}")
            whole = frame(event.type, body)
        try:
            if isinstance(event, m.Reply) and self.hello is not None:
                self._check_reply(event, VERSION, VERSION)
            self._advance(event, self.role)
        except RemoteProtocolError as error:
            raise LocalProtocolError(str(error)) from None
        if isinstance(event, m.Hello | m.Reply):
            self._greeted = True
            self._note_hello(event, whole)
        else:
            self._note_message(event, self.role, whole)
        return whole

    @property
    def send_limit(self) -> int:
        """The longest body that may be sent, in bytes."""
        if self.role is Sender.CLIENT:
            return MAX_CLIENT_MESSAGE
        return self.hello.max_message if self.hello is not None else MIN_MESSAGE

    def goodbye(self, code: Code, text: str = "") -> bytes:
        """The last bytes of this end, whatever the state: empty where the peer could not read them."""
        if code.local:
            raise ValueError(f"{code.name} never goes on the wire")
        if self._said_goodbye[self.role]:
            return b""
        self._said_goodbye[self.role] = True
        if self.role is Sender.CLIENT and not self._greeted:
            return b""
        message = m.Goodbye(code=code, text=_clipped(text or code.text))
        prefix = b"" if self._greeted else PREFIX.pack(MAGIC, VERSION, VERSION, 0)
        return prefix + message.encode()

    # The proofs.

    def make_proof(self, key: bytes) -> m.Proof:
        """This end's PROOF, to be sent next."""
        digest = self._digest_for.get(self.role)
        if digest is None:
            raise LocalProtocolError("it is not this end's turn to prove itself")
        return m.Proof(mac=auth.proof(key, self.role, digest))

    def check_proof(self, key: bytes, proof: m.Proof) -> None:
        """Raise RemoteProtocolError where the peer's PROOF, just received, was not made with `key`."""
        digest = self._digest_for.get(self.peer)
        if digest is None or not auth.same(proof.mac, auth.proof(key, self.peer, digest)):
            self._failed = RemoteProtocolError(
                Code.AUTH_FAILED, f"the {self.peer.value} did not prove that it has the key"
            )
            raise self._failed


def _clipped(text: str) -> str:
    """At most MAX_TEXT bytes of UTF-8, without half a character at the end."""
    encoded = text.encode(errors="replace")
    return encoded[:MAX_TEXT].decode(errors="ignore")
