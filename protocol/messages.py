"""Every message and field list of the wire, version 1. SPEC.md says what they mean to each other.

These classes are the declarations: the C header, the MicroPython and JavaScript modules and the tables of SPEC.md are
generated from them.
"""

from __future__ import annotations

from typing import Annotated, Final

from tilewire.protocol import constants as c
from tilewire.protocol.constants import (
    AuthMethod,
    ControlAction,
    CursorMode,
    PixelFormat,
    Resumed,
    Role,
    Rotation,
    ViewMode,
)
from tilewire.protocol.errors import Code, RemoteProtocolError
from tilewire.protocol.geometry import Rect
from tilewire.protocol.wire import (
    FLAG,
    I16,
    POINT,
    RECT,
    REST,
    U8,
    U16,
    U32,
    U64,
    V32,
    Bytes,
    Doc,
    FieldList,
    Message,
    Point,
    Record,
    RecordKind,
    Repeated,
    Sender,
    Tag,
    Text,
    Unsigned,
    Varint,
    message,
    record,
)

SIDE: Final = Unsigned(2, 1, c.MAX_SIDE)
NAME: Final = Text(1, 64)
UPDATE: Final = Varint(1)
INPUT: Final = Varint(1)


# Values of several fields, used inside the field lists.


@record
class Size(Record):
    """Width and height in pixels."""

    width: Annotated[int, SIDE]
    height: Annotated[int, SIDE]

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def _check_pixels(what: str, width: int, height: int) -> None:
    if width * height > c.MAX_PIXELS:
        raise ValueError(f"{what}: {width}x{height} is more than {c.MAX_PIXELS} pixels")


@record
class RectLimit(Record):
    """The widest and the largest rectangle of pixels that a device takes in one operation."""

    width: Annotated[int, Unsigned(2, c.MIN_RECT_WIDTH, c.MAX_SIDE)]
    area: Annotated[int, Unsigned(4, c.MIN_RECT_AREA, c.MAX_SIDE * c.MAX_SIDE)]


@record
class CacheOffer(Record):
    """Cache slots and the bytes of each (as stored pixels)."""

    slots: Annotated[int, Unsigned(2, 0, c.MAX_CACHE_SLOTS)]
    slot_bytes: Annotated[int, U32]


@record
class JpegOffer(Record):
    """Subsamplings and scales that the device decodes."""

    subsamplings: Annotated[int, U8]
    scales: Annotated[int, U8]


@record
class CursorOffer(Record):
    """Cursor mode and the largest side of a shape."""

    mode: Annotated[int, Unsigned(1, 0, max(CursorMode))]
    max_side: Annotated[int, Unsigned(1, 0, c.MAX_CURSOR_SIDE)]


@record
class ResumeRequest(Record):
    """The token of an earlier WELCOME and the last update that was shown whole."""

    token: Annotated[bytes, Bytes(c.TOKEN_SIZE)]
    update: Annotated[int, U32]


@record
class ResumeOffer(Record):
    """A token for one later resume, and for how many seconds it is good."""

    token: Annotated[bytes, Bytes(c.TOKEN_SIZE)]
    lifetime_s: Annotated[int, U16]


@record
class Settings(Record):
    """Rate, quality and whether the server adapts them."""

    fps: Annotated[int, Unsigned(1, 1, 60)]
    quality: Annotated[int, Unsigned(1, 10, 90)]
    adaptive: Annotated[int, FLAG]


@record
class Finger(Record):
    """One finger on the panel."""

    finger: Annotated[int, U8]
    position: Annotated[Point, POINT]


@record
class Explained(Record):
    """Why one operation was encoded as it was."""

    reason: Annotated[int, U8]
    quality: Annotated[int, U8]


# The three field lists of the handshake.


@record
class Hello(FieldList):
    """The client's field list, after its prefix."""

    nonce: Annotated[bytes, Bytes(c.NONCE_SIZE), Tag(1), Doc("random, used once")]
    device_id: Annotated[str, NAME, Tag(2), Doc("the name under which the server knows the device")]
    boot_id: Annotated[int, U64, Tag(3), Doc("random, new at each start of the device")]
    auth_methods: Annotated[int, Unsigned(1, 1), Tag(4), Doc("bits")]
    ticket: Annotated[bytes | None, Bytes(minimum=1, maximum=64), Tag(5), Doc("where TICKET is offered")] = None
    profile: Annotated[str | None, NAME, Tag(6), Doc("program to run")] = None
    session: Annotated[str | None, NAME, Tag(7), Doc("running session to join")] = None
    url: Annotated[str | None, Text(1, 700), Tag(8), Doc("what the program is to open")] = None
    panel: Annotated[Size, RecordKind(Size), Tag(9, critical=True), Doc("the framebuffer's size")]
    density: Annotated[int | None, Unsigned(2, 1), Tag(10), Doc("dots per inch")] = None
    pixel_format: Annotated[int, Unsigned(1, 1, max(PixelFormat)), Tag(11, critical=True), Doc("of the framebuffer")]
    max_message: Annotated[
        int, Unsigned(4, c.MIN_MESSAGE, c.MAX_MESSAGE), Tag(12), Doc("bytes of the longest body it takes")
    ]
    max_rect: Annotated[RectLimit, RecordKind(RectLimit), Tag(13), Doc("of RAW, PALETTE, CODEC, DEFLATE, JPEG")]
    model_kib: Annotated[int, Unsigned(1, 0, 48), Tag(14), Doc("memory of the codec's model: 0, 16, 32, 48")] = 0
    cache: Annotated[CacheOffer | None, RecordKind(CacheOffer), Tag(15), Doc("absent: none")] = None
    jpeg: Annotated[JpegOffer | None, RecordKind(JpegOffer), Tag(16), Doc("absent: no JPEG")] = None
    deflate_bits: Annotated[int, Unsigned(1, 0, 15), Tag(17), Doc("window bits, 0: no DEFLATE")] = 0
    cursor: Annotated[CursorOffer | None, RecordKind(CursorOffer), Tag(18), Doc("absent: no cursor")] = None
    capabilities: Annotated[int, U64, Tag(19), Doc("bits")] = 0
    resume: Annotated[ResumeRequest | None, RecordKind(ResumeRequest), Tag(20), Doc("an earlier viewer")] = None

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.panel.width * self.panel.height > c.MAX_PIXELS:
            raise ValueError(f"Hello.panel: {self.panel} is more than {c.MAX_PIXELS} pixels")
        if self.model_kib not in (0, 16, 32, 48):
            raise ValueError(f"Hello.model_kib: {self.model_kib} is none of 0, 16, 32, 48")
        if self.deflate_bits and self.deflate_bits < 8:
            raise ValueError(f"Hello.deflate_bits: {self.deflate_bits} is none of 0, 8 to 15")
        if (self.ticket is not None) != bool(self.auth_methods & AuthMethod.TICKET):
            raise ValueError("Hello.ticket: goes with the method TICKET, and only with it")
        if self.cache is not None and self.cache.slots and not self.capabilities & c.Capability.COPY:
            raise ValueError("Hello.cache: needs a framebuffer that can be read (capability COPY)")


@record
class Reply(FieldList):
    """The server's field list, after its prefix. Empty where the server is about to say GOODBYE."""

    version: Annotated[int, Unsigned(1, 1), Tag(1, critical=True), Doc("chosen from both ranges")]
    method: Annotated[int, Unsigned(1, 1, 4), Tag(2, critical=True), Doc("one bit of those offered")]
    nonce: Annotated[bytes, Bytes(c.NONCE_SIZE), Tag(3), Doc("random, used once")]

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.method not in (1, 2, 4):
            raise ValueError(f"Reply.method: {self.method} is not one method")


# Both ways.


@message(0x01, Sender.BOTH)
class Goodbye(Message):
    """The last message of its sender: why. Frozen for all versions."""

    code: Annotated[int, U16, Doc("see the table of codes")]
    text: Annotated[str, Text(maximum=c.MAX_TEXT), Doc("for a human")] = ""


@message(0x02, Sender.BOTH)
class Proof(Message):
    """Shows that the sender knows the device's key."""

    mac: Annotated[bytes, Bytes(c.PROOF_SIZE), Doc("see Authentication")]


@message(0x03, Sender.BOTH)
class Ping(Message):
    """Asks for a PONG with the same stamp."""

    stamp: Annotated[int, U64, Doc("opaque to the receiver")]


@message(0x04, Sender.BOTH)
class Pong(Message):
    """Answers a PING."""

    stamp: Annotated[int, U64, Doc("of the PING")]


@message(0x05, Sender.SERVER)
class Notice(Message):
    """Something worth telling after which all goes on."""

    code: Annotated[int, U16, Doc("see the table of notices")]
    text: Annotated[str, Text(maximum=c.MAX_TEXT), Doc("for a human")] = ""


@message(0x06, Sender.BOTH)
class Clipboard(Message):
    """A chunk of clipboard text, UTF-8 over all chunks together."""

    total: Annotated[int, Varint(maximum=c.MAX_CLIPBOARD), Doc("bytes of all chunks")]
    offset: Annotated[int, Varint(maximum=c.MAX_CLIPBOARD), Doc("0, then where the last chunk ended")]
    data: Annotated[bytes, REST, Doc("the chunk")]


@message(0x07, Sender.BOTH)
class Setting(Message):
    """Client: wanted. Server: in force from now on."""

    fps: Annotated[int, Unsigned(1, 1, 60), Doc("updates a second at most")]
    quality: Annotated[int, Unsigned(1, 10, 90), Doc("of JPEG")]
    adaptive: Annotated[int, FLAG, Doc("1: the server may go lower by itself")]


@message(0x08, Sender.BOTH)
class Resize(Message):
    """Client: the panel wants this size. Server: from here on the framebuffer has it, all of it unknown."""

    width: Annotated[int, SIDE]
    height: Annotated[int, SIDE]

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        _check_pixels("Resize", self.width, self.height)


# From the server, outside updates.


@message(0x10, Sender.SERVER)
class Welcome(Message, FieldList):
    """Ends the handshake."""

    session: Annotated[str, NAME, Tag(1), Doc("the session's id")]
    size: Annotated[Size, RecordKind(Size), Tag(2), Doc("the session's screen")]
    role: Annotated[int, Unsigned(1, 0, max(Role)), Tag(3), Doc("what this viewer may do")]
    viewer: Annotated[int, Unsigned(4, 1), Tag(4), Doc("this viewer's number in the session")]
    settings: Annotated[Settings, RecordKind(Settings), Tag(5), Doc("in force")]
    capabilities: Annotated[int, U64, Tag(6), Doc("those of HELLO that are in force")]
    resume: Annotated[ResumeOffer | None, RecordKind(ResumeOffer), Tag(7), Doc("absent: no resume")] = None
    resumed: Annotated[int, Unsigned(1, 0, max(Resumed)), Tag(8), Doc("what became of HELLO's resume")] = 0


@message(0x11, Sender.SERVER)
class ViewState(Message):
    """The view in force: which rectangle of the session this viewer sees, and how."""

    mode: Annotated[int, Unsigned(1, 0, max(ViewMode)), Doc("1:1 or fit")]
    rotation: Annotated[int, Unsigned(1, 0, max(Rotation)), Doc("quarter turns clockwise")]
    follow: Annotated[int, FLAG, Doc("1: the window follows the pointer")]
    session: Annotated[Size, RecordKind(Size), Doc("the session's screen")]
    window: Annotated[Rect, RECT, Doc("of the session, shown")]


@message(0x12, Sender.SERVER)
class ControlState(Message):
    """Who may steer."""

    role: Annotated[int, Unsigned(1, 0, max(Role)), Doc("of this viewer")]
    holder: Annotated[int, V32, Doc("number of the viewer that holds control, 0: none")]


@message(0x13, Sender.SERVER)
class CursorShape(Message):
    """Rows of the pointer's picture; shown when the last row has come."""

    width: Annotated[int, Unsigned(1, 0, c.MAX_CURSOR_SIDE), Doc("0: no cursor")]
    height: Annotated[int, Unsigned(1, 0, c.MAX_CURSOR_SIDE), Doc("0: no cursor")]
    hot_x: Annotated[int, Unsigned(1, 0, c.MAX_CURSOR_SIDE - 1), Doc("hot spot")]
    hot_y: Annotated[int, Unsigned(1, 0, c.MAX_CURSOR_SIDE - 1), Doc("hot spot")]
    row: Annotated[int, Unsigned(1, 0, c.MAX_CURSOR_SIDE - 1), Doc("first row here; parts come in order")]
    pixels: Annotated[bytes, REST, Doc("whole rows of blue, green, red, alpha; premultiplied")]

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        stride = 4 * self.width
        if (self.width == 0) != (self.height == 0):
            raise ValueError("CursorShape: one side is 0 and the other is not")
        if self.width and (self.hot_x >= self.width or self.hot_y >= self.height):
            raise ValueError("CursorShape: the hot spot lies outside")
        if not stride and (self.pixels or self.row or self.hot_x or self.hot_y):
            raise ValueError("CursorShape: no cursor has neither pixels nor place")
        if stride and (not self.pixels or len(self.pixels) % stride):
            raise ValueError("CursorShape: not a whole number of rows")
        if stride and self.row + len(self.pixels) // stride > self.height:
            raise ValueError("CursorShape: more rows than the shape has")


@message(0x14, Sender.SERVER)
class CursorPosition(Message):
    """The pointer moved, by another hand than this viewer's."""

    position: Annotated[Point, POINT, Doc("of the hot spot on the panel")]


@message(0x15, Sender.SERVER)
class Bell(Message):
    """The session rang."""


@message(0x16, Sender.SERVER)
class InputEcho(Message):
    """An input was injected and changed nothing that this viewer sees."""

    input: Annotated[int, INPUT, Doc("the newest")]


@message(0x17, Sender.SERVER)
class Explanation(Message):
    """Why the update before was encoded as it was, and how pacing stands."""

    update: Annotated[int, UPDATE]
    encode_us: Annotated[int, V32]
    in_flight: Annotated[int, V32, Doc("bytes not acknowledged")]
    bytes_per_s: Annotated[int, V32, Doc("delivery rate")]
    round_trip_us: Annotated[int, V32]
    operations: Annotated[
        tuple[Explained, ...], Repeated(Explained, 65536), Doc("one for each operation, in order")
    ] = ()


# From the client.


@message(0x20, Sender.CLIENT)
class Ack(Message):
    """All updates up to this one are shown."""

    update: Annotated[int, UPDATE]
    decode_us: Annotated[int, V32, Doc("spent decoding since the last ACK")]


@message(0x21, Sender.CLIENT)
class Pointer(Message):
    """Where the pointer is, and which buttons are down."""

    input: Annotated[int, INPUT, Doc("greater than the last input's")]
    position: Annotated[Point, POINT, Doc("on the panel")]
    buttons: Annotated[int, U8, Doc("bit 0 left, 1 middle, 2 right, 3 back, 4 forward")]


@message(0x22, Sender.CLIENT)
class Touch(Message):
    """All fingers that are on the panel now; none: all were lifted."""

    input: Annotated[int, INPUT]
    fingers: Annotated[tuple[Finger, ...], Repeated(Finger, c.MAX_FINGERS), Doc("ids differ")] = ()

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if len({finger.finger for finger in self.fingers}) != len(self.fingers):
            raise ValueError("Touch.fingers: the same finger twice")


@message(0x23, Sender.CLIENT)
class Wheel(Message):
    """The wheel turned at the pointer's place."""

    input: Annotated[int, INPUT]
    dx: Annotated[int, I16, Doc("120 a notch, positive to the right")]
    dy: Annotated[int, I16, Doc("120 a notch, positive down")]


@message(0x24, Sender.CLIENT)
class Key(Message):
    """A key went down or up."""

    input: Annotated[int, INPUT]
    keysym: Annotated[int, Unsigned(4, 1, 0x1FFF_FFFF), Doc("X11 keysym")]
    pressed: Annotated[int, FLAG]


@message(0x25, Sender.CLIENT)
class TextInput(Message):
    """Text to be typed."""

    input: Annotated[int, INPUT]
    text: Annotated[str, Text(1, c.MAX_TEXT)]


@message(0x26, Sender.CLIENT)
class View(Message):
    """The view that this viewer wants; answered by VIEW_STATE."""

    mode: Annotated[int, Unsigned(1, 0, max(ViewMode)), Doc("1:1 or fit")]
    rotation: Annotated[int, Unsigned(1, 0, max(Rotation)), Doc("quarter turns clockwise")]
    follow: Annotated[int, FLAG, Doc("1: the window follows the pointer")]
    origin: Annotated[Point, POINT, Doc("of the window in the session")]


@message(0x27, Sender.CLIENT)
class Control(Message):
    """Asks for control, releases it, or passes it on; answered by CONTROL_STATE."""

    action: Annotated[int, Unsigned(1, 0, max(ControlAction))]
    viewer: Annotated[int, V32, Doc("to whom, where it is passed; else 0")] = 0


@message(0x28, Sender.CLIENT)
class Pause(Message):
    """The panel is off (or on again): no update begins while it is."""

    paused: Annotated[int, FLAG]


@message(0x29, Sender.CLIENT)
class Refresh(Message):
    """Asks for a whole repaint: all pixels and cache slots unknown, the model reset."""


@message(0x2A, Sender.CLIENT)
class ResizeSession(Message):
    """The session's screen is to have this size; answered by VIEW_STATE with the size that it has."""

    width: Annotated[int, SIDE]
    height: Annotated[int, SIDE]

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        _check_pixels("ResizeSession", self.width, self.height)


# Updates.


@message(0x40, Sender.SERVER)
class Begin(Message):
    """An update begins."""

    update: Annotated[int, UPDATE, Doc("one more than the last")]
    input: Annotated[int, V32, Doc("the newest input injected before, 0: none")]


@message(0x41, Sender.SERVER)
class End(Message):
    """The update is whole: it may be shown, and shall be acknowledged."""


@message(0x42, Sender.SERVER, drawing=True)
class Fill(Message):
    """One colour."""

    rect: Annotated[Rect, RECT]
    pixel: Annotated[bytes, Bytes(minimum=1, maximum=3), Doc("one packed pixel")]


@message(0x43, Sender.SERVER, drawing=True)
class Copy(Message):
    """Pixels of the framebuffer as it is now, from another place; the two may overlap."""

    rect: Annotated[Rect, RECT, Doc("destination")]
    source: Annotated[Point, POINT, Doc("left top of the source")]


@message(0x44, Sender.SERVER, drawing=True)
class CacheStore(Message):
    """Pixels of the framebuffer into a slot, for later."""

    slot: Annotated[int, Varint(maximum=c.MAX_CACHE_SLOTS - 1)]
    rect: Annotated[Rect, RECT]


@message(0x45, Sender.SERVER, drawing=True)
class CacheDraw(Message):
    """The pixels of a slot, with the size they were stored with."""

    slot: Annotated[int, Varint(maximum=c.MAX_CACHE_SLOTS - 1)]
    position: Annotated[Point, POINT, Doc("left top of the destination")]


@message(0x48, Sender.SERVER, drawing=True)
class Raw(Message):
    """Packed pixels, row by row."""

    rect: Annotated[Rect, RECT]
    payload: Annotated[bytes, REST]


@message(0x49, Sender.SERVER, drawing=True)
class Palette(Message):
    """Few colours: a palette, then indices, packed or in runs."""

    rect: Annotated[Rect, RECT]
    payload: Annotated[bytes, REST]


@message(0x4A, Sender.SERVER, drawing=True)
class Codec(Message):
    """The lossless tile codec."""

    rect: Annotated[Rect, RECT]
    epoch: Annotated[int, U8, Doc("bit 7: reset the model first; bits 0-6: number of resets so far, modulo 128")]
    payload: Annotated[bytes, REST]


@message(0x4B, Sender.SERVER, drawing=True)
class Deflate(Message):
    """A PALETTE or RAW payload in one raw deflate stream."""

    rect: Annotated[Rect, RECT]
    inner: Annotated[int, Unsigned(1, 0x48, 0x49), Doc("message type whose payload was deflated")]
    payload: Annotated[bytes, REST]


@message(0x4C, Sender.SERVER, drawing=True)
class Jpeg(Message):
    """The entropy-coded segment of a baseline JPEG; its tables follow from the quality."""

    rect: Annotated[Rect, RECT]
    quality: Annotated[int, Unsigned(1, 1, 100)]
    sampling: Annotated[int, Unsigned(1, 0, 0x13), Doc("low nibble: 0 4:4:4, 1 4:2:2, 2 4:2:0, 3 grey; bit 4: scale 2")]
    payload: Annotated[bytes, REST]

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.sampling & 0x0F > 3:
            raise ValueError(f"Jpeg.sampling: {self.sampling:#04x} has reserved bits")


RESERVED: Final = {0x18: "SOUND (one way, server to client)", 0x19: "REDIRECT (to another server)"}
"""Types kept for later; today they are skipped like any unknown message outside the drawing range."""

DRAWING_TYPES: Final = range(0x42, 0x60)
"""An unknown type in this range is an error: skipping it would leave a wrong picture."""


def unknown_is_error(type_: int) -> bool:
    """Whether a message of this unknown type breaks the connection."""
    return type_ in DRAWING_TYPES


__all__ = [
    "DRAWING_TYPES", "RESERVED", "Ack", "Begin", "Bell", "CacheDraw", "CacheOffer", "CacheStore", "Clipboard",
    "Code", "Codec", "Control", "ControlState", "Copy", "CursorOffer", "CursorPosition", "CursorShape", "Deflate",
    "End", "Explained", "Explanation", "Fill", "Finger", "Goodbye", "Hello", "InputEcho", "Jpeg", "JpegOffer", "Key",
    "Message", "Notice", "Palette", "Pause", "Ping", "Point", "Pointer", "Pong", "Proof", "Raw", "RectLimit",
    "Refresh", "RemoteProtocolError", "Reply", "Resize", "ResizeSession", "ResumeOffer", "ResumeRequest", "Setting",
    "Settings", "Size", "TextInput", "Touch", "View", "ViewState", "Welcome", "Wheel", "unknown_is_error",
]  # fmt: skip
