"""Why a connection ends, and the two families of exceptions.

The numbers travel in GOODBYE and are frozen for all versions of the protocol: a number is never given a new meaning.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Why a connection ended. `text` is the sentence that goes with it where nothing more exact is known."""

    text: str
    local: bool

    def __new__(cls, value: int, text: str = "", local: bool = False) -> Code:
        member = int.__new__(cls, value)
        member._value_ = value
        member.text = text
        member.local = local
        return member

    NORMAL = 0, "closed by the peer's wish"
    PROTOCOL = 1, "a message could not be parsed"
    VERSION = 2, "no common version of the protocol"
    UNSUPPORTED = 3, "something required is not supported"
    TOO_LONG = 4, "a message is longer than agreed"
    BAD_VALUE = 5, "a value lies outside its range"
    BAD_STATE = 6, "a message came where it may not"
    BAD_ACK = 7, "an update was acknowledged that was not sent"
    NOT_OFFERED = 8, "an operation was used that the device did not offer"
    BAD_PAYLOAD = 9, "the pixels of an operation could not be decoded"
    AUTH_FAILED = 10, "the device or its key was not accepted"
    AUTH_REQUIRED = 11, "authentication is required and no common method was offered"
    TIMEOUT = 12, "the peer was silent for too long"
    NO_SESSION = 13, "the session or profile asked for is not there"
    LIMIT = 14, "a limit of the server is reached"
    SESSION_ENDED = 15, "the session's program ended"
    SESSION_FAILED = 16, "the session's display failed"
    STOPPING = 17, "the server is stopping"
    TOO_SLOW = 18, "the peer did not read for too long"
    FLOOD = 19, "the peer sent more than it may"
    REPLACED = 20, "the same device connected again"
    INTERNAL = 21, "an internal error"
    NOT_TILEWIRE = 22, "the peer does not speak tilewire"

    # Never on the wire: what the C client's own functions return.
    CLOSED = 0x100, "the connection is closed", True
    ARGUMENT = 0x101, "an argument is not valid", True
    MEMORY = 0x102, "the memory given is too small", True
    FULL = 0x103, "the send buffer is full; try again after sending", True
    TRUNCATED = 0x104, "the stream ended inside a message", True


class NoticeCode(IntEnum):
    """What a NOTICE tells; nothing ends because of it."""

    text: str

    def __new__(cls, value: int, text: str = "") -> NoticeCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member

    VIEW_ONLY = 1, "input was dropped: this viewer may only look"
    NOT_TYPED = 2, "a character could not be typed"
    CLIPBOARD = 3, "the clipboard was not taken over"
    UNSUPPORTED = 4, "a request was not carried out: not supported here"
    RESUME = 5, "the earlier state could not be resumed"
    STALLED = 6, "the session's display does not answer at the moment"


class ProtocolError(Exception):
    """Base of the two families."""


class LocalProtocolError(ProtocolError):
    """This side misused the library: nothing was sent, the connection is as it was."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol. `code` and the text belong into the GOODBYE."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
