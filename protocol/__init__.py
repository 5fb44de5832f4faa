"""What both ends of tilewire agree on: messages, states, rules, and a reference decoder.

Bytes in, events out: nothing here opens a socket, reads a clock or draws a random number. SPEC.md, beside this file,
is the normative text; the classes of `messages` are the declarations that everything else is generated from.
"""

from tilewire.protocol.connection import Connection, EndOfStream, Event, Need, Refusal
from tilewire.protocol.constants import (
    PORT,
    VERSION,
    AuthMethod,
    Capability,
    CursorMode,
    PixelFormat,
    Reason,
    Resumed,
    Role,
)
from tilewire.protocol.errors import (
    Code,
    LocalProtocolError,
    NoticeCode,
    ProtocolError,
    RemoteProtocolError,
)
from tilewire.protocol.geometry import Rect
from tilewire.protocol.panels import DEFAULT_PANEL, PANELS, Panel
from tilewire.protocol.wire import Message, Point, Sender

__all__ = [
    "AuthMethod",
    "Capability",
    "Code",
    "Connection",
    "CursorMode",
    "DEFAULT_PANEL",
    "EndOfStream",
    "Event",
    "LocalProtocolError",
    "Message",
    "Need",
    "NoticeCode",
    "PANELS",
    "PORT",
    "Panel",
    "PixelFormat",
    "Point",
    "ProtocolError",
    "Reason",
    "Rect",
    "Refusal",
    "RemoteProtocolError",
    "Resumed",
    "Role",
    "Sender",
    "VERSION",
]
