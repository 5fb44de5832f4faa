"""Limits, flags and enumerations of the wire: declared here once, generated for every other language."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

MAGIC: Final = b"\x97TW\n"
"""First byte: neither an ASCII letter (HTTP) nor 0x16 (TLS). Last: a line feed, which text-mode transfers damage."""

VERSION: Final = 1
PORT: Final = 7800

LABEL_SERVER: Final = b"tilewire 1 server"
LABEL_CLIENT: Final = b"tilewire 1 client"
NONCE_SIZE: Final = 16
KEY_SIZE: Final = 32
PROOF_SIZE: Final = 32
TOKEN_SIZE: Final = 16

MAX_HELLO: Final = 1024
"""Bytes of the field lists of both hellos."""
MIN_MESSAGE: Final = 1024
"""The smallest `max_message` a client may offer."""
MAX_MESSAGE: Final = 1 << 20
"""The largest: three bytes of length, with room."""
MAX_CLIENT_MESSAGE: Final = 4096
"""The longest body that a client sends."""
MAX_TEXT: Final = 1000
"""Bytes of UTF-8 in one TEXT, GOODBYE or NOTICE: each fits the smallest `max_message`, code and all."""
MAX_SIDE: Final = 4096
MAX_PIXELS: Final = 4 << 20
MIN_RECT_WIDTH: Final = 16
MIN_RECT_AREA: Final = 256
MAX_CURSOR_SIDE: Final = 64
MAX_CLIPBOARD: Final = 256 << 10
MAX_FINGERS: Final = 10
MAX_CACHE_SLOTS: Final = 8192
MAX_PALETTE: Final = 128
WHEEL_NOTCH: Final = 120
"""Wheel units of one notch, as in evdev's high-resolution wheel."""

HELLO_TIMEOUT_S: Final = 10
PING_INTERVAL_S: Final = 15
PING_MISSES: Final = 3
RESUME_S: Final = 60
ACK_EVERY_UPDATES: Final = 8
ACK_EVERY_MS: Final = 100
INPUT_ECHO_MS: Final = 50


class PixelFormat(IntEnum):
    """The panel's pixels. `packed` bytes carry one on the wire, `stored` bytes hold one in a framebuffer."""

    packed: int
    stored: int

    def __new__(cls, value: int, packed: int = 0, stored: int = 0) -> PixelFormat:
        member = int.__new__(cls, value)
        member._value_ = value
        member.packed, member.stored = packed, stored
        return member

    RGB565 = 1, 2, 2
    XRGB8888 = 2, 3, 4
    RGB332 = 3, 1, 1
    GREY8 = 4, 1, 1


class AuthMethod(IntFlag):
    """How a device proves itself; a bit each."""

    NONE = 1
    HMAC = 2
    TICKET = 4


class Capability(IntFlag):
    """What a device can do or wants, beyond what every device must. Unknown bits are ignored."""

    COPY = 1 << 0
    "Its framebuffer can be read: COPY may be used, and the cache where slots are offered."
    EXPLAIN = 1 << 1
    "EXPLANATION follows each END."
    VIEW_ONLY = 1 << 2
    "It only wants to look."
    CLIPBOARD = 1 << 3
    "CLIPBOARD both ways."
    BELL = 1 << 4
    "BELL is sent."
    INPUT_ECHO = 1 << 5
    "INPUT_ECHO is sent when an input changed nothing."
    RESIZE = 1 << 6
    "The panel may change its size (a browser window)."
    TOUCH = 1 << 7
    "It has a touch panel."


class Subsampling(IntFlag):
    """Chroma subsamplings of JPEG that a device decodes; a bit each. JPEG.sampling's low nibble is the bit's number."""

    S444 = 1
    S422 = 2
    S420 = 4
    GREY = 8


class Scale(IntFlag):
    """Scales of JPEG that a device decodes; a bit each."""

    ONE = 1
    TWO = 2


class CursorMode(IntEnum):
    """Who draws the pointer's picture."""

    NONE = 0
    IN_PICTURE = 1
    LOCAL = 2


class ViewMode(IntEnum):
    """How a session is shown on a panel of another size."""

    ONE_TO_ONE = 0
    FIT = 1


class Rotation(IntEnum):
    """Quarter turns clockwise from the session to the panel."""

    R0 = 0
    R90 = 1
    R180 = 2
    R270 = 3


class ControlAction(IntEnum):
    """What a viewer wants of the control."""

    RELEASE = 0
    ASK = 1
    PASS = 2


class Role(IntEnum):
    """What a viewer may do."""

    VIEW_ONLY = 0
    WAITING = 1
    CONTROL = 2


class Resumed(IntEnum):
    """What became of the resume that HELLO asked for."""

    NOT_ASKED = 0
    RESUMED = 1
    UNKNOWN_TOKEN = 2
    CHANGED = 3


class Reason(IntEnum):
    """Why an operation of an update was encoded as it was. Explanations carry it; nothing depends on it."""

    NONE = 0
    ONE_COLOUR = 1
    MOVED = 2
    FEW_COLOURS = 3
    MANY_COLOURS = 4
    PHOTOGRAPH = 5
    REFINED = 6
    SEEN_BEFORE = 7
    STORED = 8
    NOT_OFFERED = 9
    TEXT = 10
