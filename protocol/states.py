"""The states of a connection and every way from one to the next. SPEC.md's diagram is drawn from this table."""

from __future__ import annotations

from enum import Enum
from typing import Final

from tilewire.protocol.wire import Sender

CLIENT, SERVER = Sender.CLIENT, Sender.SERVER


class State(Enum):
    """Where a connection stands, as seen by both ends."""

    START = "nothing was sent"
    GREETED = "the client's hello was sent"
    REFUSED = "the server answered without a field list; only GOODBYE may follow"
    CHALLENGED = "the server asked for mutual proof; its own comes first"
    SERVER_PROVED = "the server has proved itself; the client's proof comes next"
    ACCEPTED = "the client has proved itself or need not; WELCOME comes next"
    OPEN = "the handshake is over"
    UPDATING = "between BEGIN and END"


class Step(Enum):
    """What makes a transition."""

    HELLO = "HELLO"
    REFUSAL = "empty reply"
    REPLY = "reply without proof"
    REPLY_HMAC = "reply with HMAC"
    PROOF = "PROOF"
    WELCOME = "WELCOME"
    BEGIN = "BEGIN"
    END = "END"
    DRAWING = "drawing operation"
    RESIZE = "RESIZE"
    EXPLANATION = "EXPLANATION"
    OTHER = "any other message"
    GOODBYE = "GOODBYE"


TRANSITIONS: Final[dict[tuple[State, Sender, Step], State]] = {
    (State.START, CLIENT, Step.HELLO): State.GREETED,
    (State.GREETED, SERVER, Step.REFUSAL): State.REFUSED,
    (State.GREETED, SERVER, Step.REPLY): State.ACCEPTED,
    (State.GREETED, SERVER, Step.REPLY_HMAC): State.CHALLENGED,
    (State.CHALLENGED, SERVER, Step.PROOF): State.SERVER_PROVED,
    (State.SERVER_PROVED, CLIENT, Step.PROOF): State.ACCEPTED,
    (State.ACCEPTED, SERVER, Step.WELCOME): State.OPEN,
    (State.OPEN, SERVER, Step.BEGIN): State.UPDATING,
    (State.UPDATING, SERVER, Step.DRAWING): State.UPDATING,
    (State.UPDATING, SERVER, Step.END): State.OPEN,
    (State.OPEN, SERVER, Step.RESIZE): State.OPEN,
    (State.OPEN, SERVER, Step.EXPLANATION): State.OPEN,
    (State.OPEN, SERVER, Step.OTHER): State.OPEN,
    (State.OPEN, CLIENT, Step.OTHER): State.OPEN,
    (State.OPEN, CLIENT, Step.RESIZE): State.OPEN,
    (State.UPDATING, SERVER, Step.OTHER): State.UPDATING,
    (State.UPDATING, CLIENT, Step.OTHER): State.UPDATING,
    (State.UPDATING, CLIENT, Step.RESIZE): State.UPDATING,
    # Whoever has been greeted may say goodbye at any time; what its own side sends afterwards is an error.
    **{
        (state, sender, Step.GOODBYE): state
        for state in State
        if state is not State.START
        for sender in (CLIENT, SERVER)
        if (state, sender) != (State.GREETED, SERVER)
    },
}
"""(state, who sends, what) to the next state. What is not here is an error of its sender."""
