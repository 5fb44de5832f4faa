"""Two ends that talk, brought to any state of the table, and a valid example of every message."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

from tilewire.protocol import Connection, EndOfStream, Event, Need, Point, Rect, RemoteProtocolError, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.constants import AuthMethod, Capability, CursorMode
from tilewire.protocol.states import State
from tilewire.protocol.vectors import KEY, hello, reply, welcome
from tilewire.protocol.wire import Message

CLIENT, SERVER = Sender.CLIENT, Sender.SERVER
RECT = Rect(1, 2, 3, 4)


def share(part: float) -> settings:
    """More or fewer examples than the profile says, for tests that are cheap or dear."""
    return settings(max_examples=int(settings().max_examples * part))


def drain(connection: Connection) -> list[Event]:
    """All events that the bytes so far amount to."""
    events: list[Event] = []
    while not isinstance(event := connection.next_event(), Need):
        events.append(event)
        if isinstance(event, EndOfStream):
            break
    return events


def outcome(connection: Connection, pieces: list[bytes]) -> tuple[list[Event], str | None]:
    """The events that these bytes become, and the error that ends them."""
    events: list[Event] = []
    try:
        for piece in pieces:
            connection.receive_data(piece)
            while not isinstance(event := connection.next_event(), Need | EndOfStream):
                events.append(event)
    except RemoteProtocolError as error:
        return events, f"{error.code.name} {error}"
    return events, None


def generous(**changes: Any) -> m.Hello:
    """A device that offers everything."""
    fields: dict[str, Any] = {
        "auth_methods": AuthMethod.NONE | AuthMethod.HMAC,
        "max_message": 65536,
        "model_kib": 16,
        "cache": m.CacheOffer(slots=4, slot_bytes=64),
        "jpeg": m.JpegOffer(subsamplings=15, scales=3),
        "deflate_bits": 15,
        "cursor": m.CursorOffer(mode=CursorMode.LOCAL, max_side=5),
        "capabilities": sum(Capability),
    }
    return hello(**(fields | changes))


class Pair:
    """A client and a server; what one sends, the other has at once."""

    def __init__(self, offer: m.Hello | None = None) -> None:
        self.offer = offer or generous()
        self.ends = {CLIENT: Connection(CLIENT), SERVER: Connection(SERVER)}

    def peer(self, sender: Sender) -> Connection:
        """The end that hears `sender`."""
        return self.ends[SERVER if sender is CLIENT else CLIENT]

    def say(self, sender: Sender, *events: Message | m.Hello | m.Reply) -> list[Event]:
        """Send and receive."""
        self.peer(sender).receive_data(b"".join(self.ends[sender].send(event) for event in events))
        return drain(self.peer(sender))

    def greet(self, method: AuthMethod = AuthMethod.NONE) -> Pair:
        """Both hellos."""
        self.say(CLIENT, self.offer)
        self.say(SERVER, reply(method))
        return self

    def prove(self, sender: Sender, key: bytes = KEY) -> None:
        """One side's proof, checked by the other."""
        (event,) = self.say(sender, self.ends[sender].make_proof(key))
        assert isinstance(event, m.Proof)
        self.peer(sender).check_proof(KEY, event)

    def open(self, **changes: Any) -> Pair:
        """The handshake without proofs."""
        self.greet()
        self.say(SERVER, welcome(self.offer, **changes))
        return self


def pair_at(state: State) -> Pair:
    """Both ends in `state` (REFUSED: the client; a server that refused is only waiting for the end)."""
    pair = Pair()
    if state is State.START:
        return pair
    if state in (State.GREETED, State.REFUSED):
        pair.say(CLIENT, pair.offer)
        if state is State.REFUSED:
            pair.ends[CLIENT].receive_data(refusal())
            drain(pair.ends[CLIENT])
        return pair
    if state in (State.CHALLENGED, State.SERVER_PROVED):
        pair.greet(AuthMethod.HMAC)
        if state is State.SERVER_PROVED:
            pair.prove(SERVER)
        return pair
    if state is State.ACCEPTED:
        return pair.greet()
    pair.open()
    pair.say(CLIENT, m.Wheel(input=1, dx=0, dy=0))
    pair.say(SERVER, m.Begin(update=1, input=0), m.CacheStore(slot=0, rect=RECT), m.End())
    if state is State.UPDATING:
        pair.say(SERVER, m.Begin(update=2, input=0))
    for end in pair.ends.values():
        assert end.state is state
    return pair


def refusal() -> bytes:
    """An empty reply."""
    return b"\x97TW\n\x01\x01\x00\x00"


def examples(offer: m.Hello) -> dict[type[Message], Message]:
    """One message of each class, each right in a pair of `pair_at` where its state allows it."""
    listed: list[Message] = [
        m.Goodbye(code=0),
        m.Proof(mac=bytes(32)),
        m.Ping(stamp=1),
        m.Pong(stamp=1),
        m.Notice(code=1),
        m.Clipboard(total=1, offset=0, data=b"c"),
        m.Setting(fps=1, quality=10, adaptive=0),
        m.Resize(width=16, height=8),
        welcome(offer),
        m.ViewState(mode=0, rotation=0, follow=0, session=offer.panel, window=RECT),
        m.ControlState(role=0, holder=0),
        m.CursorShape(width=1, height=1, hot_x=0, hot_y=0, row=0, pixels=bytes(4)),
        m.CursorPosition(position=Point(1, 1)),
        m.Bell(),
        m.InputEcho(input=1),
        m.Explanation(update=1, encode_us=0, in_flight=0, bytes_per_s=0, round_trip_us=0),
        m.Ack(update=1, decode_us=0),
        m.Pointer(input=2, position=Point(1, 1), buttons=0),
        m.Touch(input=2),
        m.Wheel(input=2, dx=0, dy=0),
        m.Key(input=2, keysym=1, pressed=1),
        m.TextInput(input=2, text="t"),
        m.View(mode=0, rotation=0, follow=0, origin=Point(0, 0)),
        m.Control(action=0),
        m.Pause(paused=1),
        m.Refresh(),
        m.ResizeSession(width=16, height=8),
        m.Begin(update=2, input=0),
        m.End(),
        m.Fill(rect=RECT, pixel=b"ab"),
        m.Copy(rect=RECT, source=Point(0, 0)),
        m.CacheStore(slot=1, rect=RECT),
        m.CacheDraw(slot=0, position=Point(0, 0)),
        m.Raw(rect=RECT, payload=bytes(24)),
        m.Palette(rect=RECT, payload=b""),
        m.Codec(rect=RECT, epoch=0x81, payload=b""),
        m.Deflate(rect=RECT, inner=0x48, payload=b""),
        m.Jpeg(rect=RECT, quality=75, sampling=0, payload=b""),
    ]
    return {type(item): item for item in listed}
