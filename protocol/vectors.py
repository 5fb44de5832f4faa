"""The golden vectors: whole exchanges, single messages and tiles, with every byte and what it must become.

Pure functions: tools/generate.py writes what `vector_files` returns into the folder `vectors`. Every implementation
replays the files without this package, so they say all that a replay needs; tests/vectors.py is the model of one.
What an exchange must end with (a refusal and its code) is stated here by hand, never taken from the code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from tilewire.protocol import auth
from tilewire.protocol import constants as c
from tilewire.protocol import messages as m
from tilewire.protocol.connection import Connection, Event, Need, Refusal
from tilewire.protocol.constants import (
    AuthMethod,
    Capability,
    CursorMode,
    PixelFormat,
    Resumed,
    Role,
    Subsampling,
)
from tilewire.protocol.errors import Code, NoticeCode, RemoteProtocolError
from tilewire.protocol.geometry import Rect
from tilewire.protocol.reference import Framebuffer, index_bits
from tilewire.protocol.wire import (
    MESSAGES,
    PREFIX,
    FieldList,
    Message,
    Point,
    Record,
    Sender,
    Unsigned,
    encode_varint,
    frame,
)

Json = dict[str, Any]
CLIENT, SERVER = Sender.CLIENT, Sender.SERVER

KEY: Final = bytes(range(0x40, 0x60))
OTHER_KEY: Final = bytes(range(0x60, 0x80))
NONCE: Final = bytes(range(0x10, 0x20))
SERVER_NONCE: Final = bytes(range(0xA0, 0xB0))
OTHER_NONCE: Final = bytes(range(0xB0, 0xC0))
TOKEN: Final = bytes(range(0xC0, 0xD0))

MAX_INLINE: Final = 4096
"""Stored bytes of a framebuffer that are written out; larger ones as their SHA-256."""

MAX_BYTES: Final = 512
"""Bytes of a field of an event that are written out."""


# The readable form of events.


def plain(event: Event | Record) -> Json:
    """`event` as JSON: integers as they are (of 64 bits as hex text), bytes as hex, [x, y], [x, y, width, height].

    Fields that are absent are left out; many bytes stand as their SHA-256.
    """
    if isinstance(event, Refusal):
        return {"type": "REFUSAL", "low": event.low, "high": event.high}
    assert isinstance(event, Record)
    out: Json = {}
    if isinstance(event, Message):
        out["type"] = event.name
    elif isinstance(event, FieldList):
        out["type"] = type(event).__name__.upper()
    for spec in event.layout:
        value = getattr(event, spec.name)
        if value is not None:
            out[spec.name] = _plain_value(spec.kind, value)
    return out


def _plain_value(kind: object, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= MAX_BYTES else f"sha256:{hashlib.sha256(value).hexdigest()}"
    if isinstance(value, Point):
        return [value.x, value.y]
    if isinstance(value, Rect):
        return [value.x, value.y, value.width, value.height]
    if isinstance(value, Record):
        return plain(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(kind, Unsigned) and kind.size == 8:
        return f"{value:#018x}"
    return value if isinstance(value, str) else int(value)


# Whole exchanges.


def hello(**changes: Any) -> m.Hello:
    """A device that offers as little as it may, and what else is asked for."""
    fields: dict[str, Any] = {
        "nonce": NONCE,
        "device_id": "device-1",
        "boot_id": 0xFEDC_BA98_7654_3210,
        "auth_methods": AuthMethod.NONE,
        "panel": m.Size(width=16, height=8),
        "pixel_format": PixelFormat.RGB565,
        "max_message": c.MIN_MESSAGE,
        "max_rect": m.RectLimit(width=c.MIN_RECT_WIDTH, area=c.MIN_RECT_AREA),
    }
    return m.Hello(**(fields | changes))


def reply(method: AuthMethod = AuthMethod.NONE, nonce: bytes = SERVER_NONCE) -> m.Reply:
    """The server's field list."""
    return m.Reply(version=c.VERSION, method=method, nonce=nonce)


def welcome(offer: m.Hello, **changes: Any) -> m.Welcome:
    """A session as large as the panel, with all in force that was offered."""
    fields: dict[str, Any] = {
        "session": "s1",
        "size": offer.panel,
        "role": Role.CONTROL,
        "viewer": 1,
        "settings": m.Settings(fps=30, quality=75, adaptive=1),
        "capabilities": offer.capabilities & sum(Capability),
    }
    return m.Welcome(**(fields | changes))


def greeting(body: bytes, low: int = c.VERSION, high: int = c.VERSION) -> bytes:
    """A hello of either side, whole."""
    return PREFIX.pack(c.MAGIC, low, high, len(body)) + body


def tagged(number: int, data: bytes, *, critical: bool = False) -> bytes:
    """One field of a field list."""
    return bytes((number | (0x80 if critical else 0),)) + encode_varint(len(data)) + data


class Exchange:
    """One vector in the making: two connections that talk, and every byte of it.

    A client's own answers (ACK after END, with a decode time of 0; PONG after PING) follow by themselves.
    """

    def __init__(self, name: str, about: str, offer: m.Hello, key: bytes | None = None) -> None:
        self.name, self.about, self.offer, self.key = name, about, offer, key
        self.ends = {CLIENT: Connection(CLIENT), SERVER: Connection(SERVER)}
        self.screen = Framebuffer.of(offer)
        self.steps: list[Json] = []
        self.error: Json | None = None

    def say(self, sender: Sender, *events: Message | m.Hello | m.Reply, written: bytes | None = None) -> Exchange:
        """One side says something; `written`: other bytes than a sender of this version would write for it."""
        data = b"".join(self.ends[sender].send(event) for event in events)
        self.deliver(sender, data if written is None else written, canonical=written is None)
        assert self.error is None, self.name
        return self

    def client(self, *events: Message) -> Exchange:
        """The client says something."""
        return self.say(CLIENT, *events)

    def server(self, *events: Message) -> Exchange:
        """The server says something."""
        return self.say(SERVER, *events)

    def update(self, *operations: Message, input_: int = 0) -> Exchange:
        """One whole update."""
        number = self.ends[SERVER].rules.begun + 1
        return self.server(m.Begin(update=number, input=input_), *operations, m.End())

    def greet(self, method: AuthMethod = AuthMethod.NONE, nonce: bytes = SERVER_NONCE) -> Exchange:
        """Both hellos."""
        return self.say(CLIENT, self.offer).say(SERVER, reply(method, nonce))

    def open(self, **changes: Any) -> Exchange:
        """The whole handshake."""
        if self.key is None:
            self.greet()
        else:
            self.greet(AuthMethod.HMAC)
            self.say(SERVER, self.ends[SERVER].make_proof(self.key))
            self.say(CLIENT, self.ends[CLIENT].make_proof(self.key))
        return self.server(welcome(self.offer, **changes))

    def refused(self, sender: Sender, data: bytes | Message, code: Code) -> Exchange:
        """`sender` breaks the protocol: its peer must end the connection with `code`."""
        raw = data.encode() if isinstance(data, Message) else data
        self.deliver(sender, raw, canonical=False)
        seen = self.error and self.error["code"]
        assert seen == code.name, f"{self.name}: {seen} where {code.name} is due"
        return self

    def deliver(self, sender: Sender, data: bytes, *, canonical: bool) -> None:
        """Bytes of one side reach the other: a step of the exchange, and the client's answers."""
        receiver = SERVER if sender is CLIENT else CLIENT
        end = self.ends[receiver]
        events: list[Event] = []
        step: Json = {"from": sender.value, "bytes": data.hex()}
        if not canonical:
            step["canonical"] = False
        self.steps.append(step)
        end.receive_data(data)
        try:
            while not isinstance(event := end.next_event(), Need):
                if isinstance(event, m.Proof):
                    assert self.key is not None
                    end.check_proof(self.key, event)
                if isinstance(event, Message) and receiver is CLIENT:
                    self.screen.apply(event)
                events.append(event)
        except RemoteProtocolError as error:
            self.error = {"step": len(self.steps) - 1, "by": receiver.value, "code": error.code.name}
        step["events"] = [plain(event) for event in events]
        if receiver is CLIENT and self.error is None:
            self._answer(events)

    def _answer(self, events: list[Event]) -> None:
        answers: list[Message] = []
        for event in events:
            if isinstance(event, m.End):
                answers.append(m.Ack(update=self.ends[CLIENT].rules.ended, decode_us=0))
            elif isinstance(event, m.Ping):
                answers.append(m.Pong(stamp=event.stamp))
        if answers:
            self.say(CLIENT, *answers)

    def needs(self) -> list[str]:
        """What this device offers beyond what every device must."""
        offer = self.offer
        named = [bit.name.lower() for bit in Capability if offer.capabilities & bit and bit.name]
        optional = ("ticket", "profile", "session", "url", "cache", "jpeg", "cursor", "resume")
        named += [name for name in optional if getattr(offer, name) is not None]
        named += ["model"] if offer.model_kib else []
        named += ["deflate"] if offer.deflate_bits else []
        return named

    def vector(self) -> Json:
        """All of it as JSON."""
        about = plain(self.offer)
        del about["type"]
        out: Json = {"name": self.name, "about": self.about, "needs": self.needs(), "hello": about}
        if self.key is not None:
            out["key"] = self.key.hex()
        out["exchange"] = self.steps
        if self.error is not None:
            out["error"] = self.error
        if any(self.screen.pixels):
            out["framebuffer"] = _picture(self.screen)
        return out


def _picture(screen: Framebuffer) -> Json:
    stored = screen.stored()
    out: Json = {"width": screen.width, "height": screen.height, "format": screen.format.name}
    if len(stored) <= MAX_INLINE:
        out["stored"] = stored.hex()
    else:
        out["sha256"] = hashlib.sha256(stored).hexdigest()
    return out


# Payloads, written out by hand so that nothing of the server is needed.


def packed_indices(width: int, count: int, indices: Iterable[int]) -> bytes:
    """Indices into `count` colours, packed row by row, the first pixel in the highest bits."""
    bits = index_bits(count)
    values = list(indices)
    out = bytearray()
    for start in range(0, len(values), width):
        row = 0
        for value in values[start : start + width]:
            row = row << bits | value
        stride = -(-width * bits // 8)
        out += (row << (8 * stride - width * bits)).to_bytes(stride, "big")
    return bytes(out)


def run_tokens(count: int, runs: Iterable[tuple[int, int]]) -> bytes:
    """(index, pixels) pairs as run tokens for a palette of `count` colours."""
    bits = (count - 1).bit_length()
    longest = (1 << (8 - bits)) - 1
    out = bytearray()
    for index, pixels in runs:
        length = pixels - 1
        out.append(index | min(length, longest) << bits)
        if length >= longest:
            out += encode_varint(length - longest)
    return bytes(out)


def palette_payload(colours: Iterable[bytes], body: bytes, *, runs: bool) -> bytes:
    """The head byte, the colours, then indices or runs."""
    listed = list(colours)
    return bytes((len(listed) - 1 | (0x80 if runs else 0),)) + b"".join(listed) + body


def colour(pixel_format: PixelFormat, number: int) -> bytes:
    """A packed pixel: the `number`-th of a row that hits all bits and differs for each number."""
    size = pixel_format.packed
    return (number * 0x9E37_79B1 + 0x1234_57 & (1 << 8 * size) - 1).to_bytes(size, "little")


def noise(pixel_format: PixelFormat, pixels: int, seed: int = 1) -> bytes:
    """Packed pixels without any order, by xorshift."""
    out = bytearray()
    state = seed
    for _ in range(pixels):
        state ^= state << 13 & 0xFFFF_FFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFF_FFFF
        out += (state & (1 << 8 * pixel_format.packed) - 1).to_bytes(pixel_format.packed, "little")
    return bytes(out)


RGB565 = PixelFormat.RGB565
ALL: Final = Rect(0, 0, 16, 8)
RED: Final = bytes.fromhex("00f8")
BLUE: Final = bytes.fromhex("1f00")
"""Packed RGB565 pixels."""


def _fill(x: int, y: int, width: int, height: int, pixel: bytes = RED) -> m.Fill:
    return m.Fill(rect=Rect(x, y, width, height), pixel=pixel)


def _raw_message(type_: int, body: str | bytes) -> bytes:
    return frame(type_, bytes.fromhex(body) if isinstance(body, str) else body)


# handshake.json


def _handshakes() -> list[Exchange]:
    keyed = hello(auth_methods=AuthMethod.HMAC)
    made = [
        Exchange("none", "no authentication", hello()).open(),
        Exchange("hmac", "mutual proof", keyed, KEY).open(),
        Exchange(
            "hmac-offered-with-none",
            "a device with a key that would also go without; the server asks for the proof",
            hello(auth_methods=AuthMethod.NONE | AuthMethod.HMAC),
            KEY,
        ).open(),
    ]
    offer = hello(auth_methods=AuthMethod.TICKET, ticket=bytes(range(32)))
    made.append(
        Exchange("ticket", "a browser with a ticket; no proof follows", offer)
        .greet(AuthMethod.TICKET)
        .server(welcome(offer))
    )
    offer = hello(
        auth_methods=AuthMethod.NONE | AuthMethod.HMAC | AuthMethod.TICKET,
        ticket=b"t" * 64,
        device_id="ü" * 32,
        boot_id=0,
        profile="p" * 64,
        session="s",
        url="https://example.org/" + "x" * 300,
        panel=m.Size(width=1, height=1),
        density=65535,
        pixel_format=PixelFormat.XRGB8888,
        max_message=c.MAX_MESSAGE,
        max_rect=m.RectLimit(width=c.MAX_SIDE, area=c.MAX_SIDE * c.MAX_SIDE),
        model_kib=48,
        cache=m.CacheOffer(slots=c.MAX_CACHE_SLOTS, slot_bytes=0xFFFF_FFFF),
        jpeg=m.JpegOffer(subsamplings=15, scales=3),
        deflate_bits=15,
        cursor=m.CursorOffer(mode=CursorMode.LOCAL, max_side=c.MAX_CURSOR_SIDE),
        capabilities=(1 << 64) - 1,
        resume=m.ResumeRequest(token=TOKEN, update=0xFFFF_FFFF),
    )
    made.append(
        Exchange("everything", "every field of HELLO and WELCOME at its greatest", offer, KEY).open(
            session="s" * 64,
            size=m.Size(width=c.MAX_SIDE, height=c.MAX_SIDE),
            viewer=0xFFFF_FFFF,
            settings=m.Settings(fps=60, quality=90, adaptive=1),
            capabilities=(1 << 64) - 1,
            resume=m.ResumeOffer(token=TOKEN, lifetime_s=65535),
            resumed=Resumed.CHANGED,
        )
    )
    made += _grown_handshakes() + _farewells() + _refused_hellos() + _refused_replies() + _refused_proofs()
    return made


def _grown_handshakes() -> list[Exchange]:
    offer = hello()
    later = tagged(0x7E, b"of a later version")
    x = Exchange("unknown-field", "fields of later versions, not critical, in all three lists", offer)
    x.say(CLIENT, offer, written=greeting(offer.encode_body() + later))
    x.say(SERVER, reply(), written=greeting(reply().encode_body() + later))
    x.say(SERVER, welcome(offer), written=frame(m.Welcome.type, welcome(offer).encode_body() + later))
    x.update(_fill(0, 0, 1, 1))
    y = Exchange("field-zero", "an unknown field with the number 0 and no content comes first", offer)
    y.say(CLIENT, offer, written=greeting(tagged(0, b"") + offer.encode_body()))
    y.say(SERVER, reply())
    # The panel's field is a record: it may grow as HELLO may.
    size = m.Size(width=16, height=8).encode_body()
    grown = offer.encode_body().replace(tagged(9, size, critical=True), tagged(9, size + b"\x01\x02", critical=True))
    z = Exchange("grown-record", "the record in a field is longer than this version knows it", offer)
    z.say(CLIENT, offer, written=greeting(grown)).say(SERVER, reply()).server(welcome(offer))
    body = offer.encode_body()
    w = Exchange("versions-1-to-9", "a client that speaks later versions too", offer)
    w.say(CLIENT, offer, written=greeting(body, 1, 9)).say(SERVER, reply()).server(welcome(offer))
    v = Exchange("server-versions-1-to-255", "a server that speaks later versions too and chose 1", offer)
    v.say(CLIENT, offer).say(SERVER, reply(), written=greeting(reply().encode_body(), 1, 255))
    v.server(welcome(offer))
    padded = tagged(0x7F, bytes(c.MAX_HELLO - len(body) - 3))
    u = Exchange("hello-of-1024", "the longest hello there may be", offer)
    u.say(CLIENT, offer, written=greeting(body + padded)).say(SERVER, reply()).server(welcome(offer))
    return [x, y, z, w, v, u]


def _farewells() -> list[Exchange]:
    """Connections that end in the handshake without anybody's fault."""
    offer = hello()
    made = []
    for name, code, low, high in (
        ("server-has-other-versions", Code.VERSION, 2, 7),
        ("server-refuses", Code.LIMIT, 1, 1),
    ):
        x = Exchange(name, "an empty reply, then GOODBYE", offer).say(CLIENT, offer)
        data = greeting(b"", low, high) + m.Goodbye(code=code, text=code.text).encode()
        x.deliver(SERVER, data, canonical=low == c.VERSION)
        made.append(x)
    x = Exchange("goodbye-instead-of-proof", "the server changes its mind", hello(auth_methods=AuthMethod.HMAC), KEY)
    made.append(x.greet(AuthMethod.HMAC).server(m.Goodbye(code=Code.AUTH_FAILED, text="unknown device")))
    x = Exchange("goodbye-from-the-client", "the client leaves before the server answered", offer)
    made.append(x.say(CLIENT, offer).client(m.Goodbye(code=Code.NORMAL, text="")))
    return made


def _refused_hellos() -> list[Exchange]:
    offer = hello()
    body = offer.encode_body()
    required = [spec for spec in m.Hello.layout if spec.required and spec.tag]

    def field(name: str, data: bytes) -> bytes:
        """HELLO with one field written otherwise (or more)."""
        out = bytearray()
        done = False
        for spec in m.Hello.layout:
            assert spec.tag is not None
            value = getattr(offer, spec.name)
            written = data if spec.name == name else None if value is None else spec.kind.encode(value)
            done |= spec.name == name
            if written is not None:
                out += tagged(spec.tag.number, written, critical=spec.tag.critical)
        assert done
        return greeting(bytes(out))

    def number(name: str, value: int, size: int) -> bytes:
        return field(name, value.to_bytes(size, "little"))

    def pair(name: str, *parts: tuple[int, int]) -> bytes:
        return field(name, b"".join(value.to_bytes(size, "little") for value, size in parts))

    cases: list[tuple[str, bytes, Code]] = [
        ("http", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", Code.NOT_TILEWIRE),
        ("tls", bytes.fromhex("1603010200010001fc0303"), Code.NOT_TILEWIRE),
        ("one-wrong-byte", b"X", Code.NOT_TILEWIRE),
        ("magic-with-changed-line-end", b"\x97TW\r\n" + greeting(body)[4:], Code.NOT_TILEWIRE),
        ("version-too-new", greeting(body, 2, 3), Code.VERSION),
        ("version-too-new-not-whole", greeting(bytes(c.MAX_HELLO), 255, 255)[: PREFIX.size], Code.VERSION),
        ("version-0", greeting(body, 0, 1), Code.PROTOCOL),
        ("versions-reversed", greeting(body, 2, 1), Code.PROTOCOL),
        ("hello-of-1025", greeting(body + bytes(c.MAX_HELLO + 1 - len(body)))[: PREFIX.size], Code.TOO_LONG),
        ("hello-empty", greeting(b""), Code.PROTOCOL),
        ("critical-unknown", greeting(body + tagged(0x7E, b"", critical=True)), Code.UNSUPPORTED),
        ("fields-descend", greeting(body + tagged(2, b"late")), Code.PROTOCOL),
        ("field-twice", greeting(tagged(1, NONCE) + body), Code.PROTOCOL),
        ("field-longer-than-the-list", greeting(body + b"\x7e\x05abcd"), Code.PROTOCOL),
        ("field-without-length", greeting(body + b"\x7e"), Code.PROTOCOL),
        ("field-length-cut", greeting(body + b"\x7e\x80"), Code.PROTOCOL),
        ("field-length-not-shortest", greeting(body + b"\x7e\x81\x00z"), Code.PROTOCOL),
        ("nonce-short", field("nonce", bytes(15)), Code.PROTOCOL),
        ("nonce-long", field("nonce", bytes(17)), Code.PROTOCOL),
        ("device-id-empty", field("device_id", b""), Code.BAD_VALUE),
        ("device-id-of-65", field("device_id", b"d" * 65), Code.BAD_VALUE),
        ("device-id-not-utf8", field("device_id", b"\xff"), Code.BAD_VALUE),
        ("device-id-half-a-character", field("device_id", b"\xc3"), Code.BAD_VALUE),
        ("device-id-surrogate", field("device_id", b"\xed\xa0\x80"), Code.BAD_VALUE),
        ("boot-id-short", field("boot_id", bytes(7)), Code.PROTOCOL),
        ("no-method", number("auth_methods", 0, 1), Code.BAD_VALUE),
        ("ticket-not-announced", field("ticket", b"t"), Code.BAD_VALUE),
        ("ticket-missing", number("auth_methods", AuthMethod.TICKET, 1), Code.BAD_VALUE),
        ("ticket-empty", field("ticket", b""), Code.PROTOCOL),
        ("ticket-of-65", field("ticket", bytes(65)), Code.BAD_VALUE),
        ("url-of-701", field("url", b"u" * 701), Code.BAD_VALUE),
        ("panel-0-wide", pair("panel", (0, 2), (8, 2)), Code.BAD_VALUE),
        ("panel-4097-wide", pair("panel", (4097, 2), (8, 2)), Code.BAD_VALUE),
        ("panel-too-many-pixels", pair("panel", (4096, 2), (1025, 2)), Code.BAD_VALUE),
        ("panel-cut", field("panel", bytes((16, 0, 8))), Code.PROTOCOL),
        ("density-0", number("density", 0, 2), Code.BAD_VALUE),
        ("pixel-format-0", number("pixel_format", 0, 1), Code.BAD_VALUE),
        ("pixel-format-5", number("pixel_format", 5, 1), Code.BAD_VALUE),
        ("max-message-1023", number("max_message", 1023, 4), Code.BAD_VALUE),
        ("max-message-over-1-mib", number("max_message", c.MAX_MESSAGE + 1, 4), Code.BAD_VALUE),
        ("max-rect-15-wide", pair("max_rect", (15, 2), (256, 4)), Code.BAD_VALUE),
        ("max-rect-255-pixels", pair("max_rect", (16, 2), (255, 4)), Code.BAD_VALUE),
        ("model-1", number("model_kib", 1, 1), Code.BAD_VALUE),
        ("model-64", number("model_kib", 64, 1), Code.BAD_VALUE),
        ("cache-without-copy", pair("cache", (1, 2), (512, 4)), Code.BAD_VALUE),
        ("cache-8193-slots", pair("cache", (8193, 2), (512, 4)), Code.BAD_VALUE),
        ("deflate-7", number("deflate_bits", 7, 1), Code.BAD_VALUE),
        ("deflate-16", number("deflate_bits", 16, 1), Code.BAD_VALUE),
        ("cursor-mode-3", pair("cursor", (3, 1), (32, 1)), Code.BAD_VALUE),
        ("cursor-side-65", pair("cursor", (2, 1), (65, 1)), Code.BAD_VALUE),
        ("resume-token-cut", field("resume", TOKEN), Code.PROTOCOL),
    ]
    for spec in required:
        parts = [
            tagged(other.tag.number, other.kind.encode(value), critical=other.tag.critical)
            for other in m.Hello.layout
            if other.tag and other is not spec and (value := getattr(offer, other.name)) is not None
        ]
        name = spec.name.replace("_", "-")
        cases.append((f"without-{name}", greeting(b"".join(parts)), Code.PROTOCOL))
    return [
        Exchange(f"hello/{name}", "a hello that the server must refuse", offer).refused(CLIENT, data, code)
        for name, data, code in cases
    ]


def _refused_replies() -> list[Exchange]:
    body = reply().encode_body()
    ticket = m.Reply(version=1, method=AuthMethod.TICKET, nonce=SERVER_NONCE).encode_body()
    second = m.Reply(version=2, method=AuthMethod.NONE, nonce=SERVER_NONCE).encode_body()
    cases: list[tuple[str, bytes, Code]] = [
        ("http", b"HTTP/1.1 400 Bad Request\r\n\r\n", Code.NOT_TILEWIRE),
        ("version-not-offered", greeting(second, 1, 2), Code.VERSION),
        ("version-outside-its-own-range", greeting(body, 2, 3), Code.VERSION),
        ("versions-reversed", greeting(body, 3, 2), Code.PROTOCOL),
        ("version-0", greeting(body, 0, 3), Code.PROTOCOL),
        ("method-not-offered", greeting(ticket), Code.AUTH_REQUIRED),
        ("method-0", greeting(body.replace(tagged(2, b"\x01", critical=True), b"\x82\x01\x00")), Code.BAD_VALUE),
        ("two-methods", greeting(body.replace(tagged(2, b"\x01", critical=True), b"\x82\x01\x03")), Code.BAD_VALUE),
        ("critical-unknown", greeting(body + tagged(0x7E, b"", critical=True)), Code.UNSUPPORTED),
        ("without-nonce", greeting(body[:6]), Code.PROTOCOL),
        ("too-long", greeting(bytes(c.MAX_HELLO + 1))[: PREFIX.size], Code.TOO_LONG),
    ]
    made = []
    for name, data, code in cases:
        x = Exchange(f"reply/{name}", "a reply that the client must refuse", hello())
        made.append(x.say(CLIENT, x.offer).refused(SERVER, data, code))
    x = Exchange(
        "reply/no-proof-from-the-server",
        "a device with a key never goes without the server's proof",
        hello(auth_methods=AuthMethod.HMAC),
        KEY,
    )
    made.append(x.say(CLIENT, x.offer).refused(SERVER, greeting(body), Code.AUTH_REQUIRED))
    x = Exchange("welcome-before-proof", "the server skips its proof", x.offer, KEY)
    made.append(x.greet(AuthMethod.HMAC).refused(SERVER, welcome(x.offer), Code.BAD_STATE))
    x = Exchange("input-before-welcome", "the client is too early", hello())
    made.append(x.greet().refused(CLIENT, m.Wheel(input=1, dx=0, dy=120), Code.BAD_STATE))
    x = Exchange("unknown-message-in-the-handshake", "unknown messages are skipped only after WELCOME", hello())
    made.append(x.greet().refused(SERVER, _raw_message(0x7E, ""), Code.BAD_STATE))
    for name, changes, code in (
        ("capabilities-not-offered", {"capabilities": int(Capability.BELL)}, Code.BAD_VALUE),
        ("resumed-not-asked", {"resumed": Resumed.RESUMED}, Code.BAD_VALUE),
    ):
        x = Exchange(f"welcome/{name}", "a WELCOME that the client must refuse", hello())
        made.append(x.greet().refused(SERVER, welcome(x.offer, **changes), code))
    x = Exchange("welcome/critical-unknown", "a WELCOME that the client must refuse", hello())
    data = welcome(x.offer).encode_body() + tagged(0x7E, b"", critical=True)
    made.append(x.greet().refused(SERVER, frame(m.Welcome.type, data), Code.UNSUPPORTED))
    return made


def _refused_proofs() -> list[Exchange]:
    offer = hello(auth_methods=AuthMethod.HMAC)

    def digest(*parts: bytes) -> bytes:
        return hashlib.sha256(b"".join(parts)).digest()

    mine = greeting(offer.encode_body())
    theirs = greeting(reply(AuthMethod.HMAC).encode_body())
    right = m.Proof(mac=auth.proof(KEY, SERVER, digest(mine, theirs)))
    made = []
    for name, about, wrong in (
        ("wrong-key", "the server has another key", auth.proof(OTHER_KEY, SERVER, digest(mine, theirs))),
        ("wrong-label", "the server proves itself as a client", auth.proof(KEY, CLIENT, digest(mine, theirs))),
        ("last-bit", "one bit of the server's proof is wrong", right.mac[:-1] + bytes((right.mac[-1] ^ 1,))),
    ):
        x = Exchange(f"server-proof/{name}", about, offer, KEY).greet(AuthMethod.HMAC)
        made.append(x.refused(SERVER, m.Proof(mac=wrong), Code.AUTH_FAILED))
    fresh = hello(auth_methods=AuthMethod.HMAC, nonce=OTHER_NONCE)
    x = Exchange("server-proof/replayed", "a recorded server; the client's nonce is new", fresh, KEY)
    made.append(x.greet(AuthMethod.HMAC).refused(SERVER, right, Code.AUTH_FAILED))
    after = digest(mine, theirs, right.encode())
    for name, about, wrong in (
        ("wrong-key", "the client has another key", auth.proof(OTHER_KEY, CLIENT, after)),
        ("echoed", "the client sends the server's own proof back", right.mac),
        (
            "without-the-servers",
            "the transcript lacks the server's proof",
            auth.proof(KEY, CLIENT, digest(mine, theirs)),
        ),
    ):
        x = Exchange(f"client-proof/{name}", about, offer, KEY).greet(AuthMethod.HMAC).server(right)
        made.append(x.refused(CLIENT, m.Proof(mac=wrong), Code.AUTH_FAILED))
    old = m.Proof(mac=auth.proof(KEY, CLIENT, after))
    x = Exchange("client-proof/replayed", "a recorded client; the server's nonce is new", offer, KEY)
    x.greet(AuthMethod.HMAC, OTHER_NONCE).server(x.ends[SERVER].make_proof(KEY))
    made.append(x.refused(CLIENT, old, Code.AUTH_FAILED))
    x = Exchange("client-proof/first", "the client's proof before the server's", offer, KEY)
    made.append(x.greet(AuthMethod.HMAC).refused(CLIENT, old, Code.BAD_STATE))
    return made


# session.json: everything that is not pixels.


def _sessions() -> list[Exchange]:
    return [
        _keeping_alive(),
        _inputs(),
        *_texts(),
        _wishes(),
        _cursors(),
        _clipboards(),
        _resized(),
        *_explained(),
        *_later_versions(),
        *_partings(),
    ]


def _keeping_alive() -> Exchange:
    x = Exchange("ping", "both ways, with awkward stamps", hello()).open()
    x.client(m.Ping(stamp=(1 << 64) - 1)).server(m.Pong(stamp=(1 << 64) - 1))
    return x.server(m.Ping(stamp=0)).server(m.Ping(stamp=1 << 63), m.Ping(stamp=0x0102_0304_0506_0708))


def _inputs() -> Exchange:
    corner = Point(15, 7)
    offer = hello(capabilities=Capability.TOUCH)
    x = Exchange("input", "every kind of input, numbers at the borders of varints", offer).open()
    x.client(m.Pointer(input=1, position=Point(0, 0), buttons=0))
    x.client(m.Pointer(input=127, position=corner, buttons=255))
    x.client(m.Wheel(input=128, dx=-32768, dy=32767), m.Wheel(input=129, dx=0, dy=-120))
    x.client(m.Key(input=16383, keysym=1, pressed=1), m.Key(input=16384, keysym=0x1FFF_FFFF, pressed=0))
    x.client(m.Touch(input=2097151))
    x.client(m.Touch(input=2097152, fingers=(m.Finger(finger=255, position=corner),)))
    fingers = tuple(m.Finger(finger=i, position=Point(i, i % 8)) for i in range(c.MAX_FINGERS))
    x.client(m.Touch(input=268435455, fingers=fingers))
    x.client(m.TextInput(input=268435456, text="ä€😀"))
    x.update(_fill(0, 0, 1, 1), input_=268435456)
    return x.client(m.Key(input=0xFFFF_FFFF, keysym=0xFF0D, pressed=1))


def _texts() -> list[Exchange]:
    x = Exchange("texts", "texts and messages about the length border between one byte and two", hello()).open()
    # Input takes one byte here, so the body has 127, 128 and at last 1,001 bytes.
    x.client(m.TextInput(input=1, text="a" * 126), m.TextInput(input=2, text="b" * 127))
    x.client(m.TextInput(input=3, text="€" * 333 + "z"))
    x.server(m.Notice(code=NoticeCode.NOT_TYPED, text=""))
    x.server(m.Notice(code=65535, text="of a later version"))
    x.server(m.Notice(code=NoticeCode.STALLED, text="n" * 125), m.Notice(code=NoticeCode.STALLED, text="n" * 126))
    x.server(m.Notice(code=NoticeCode.STALLED, text="€" * 333 + "z"))
    return [x]


def _wishes() -> Exchange:
    """Settings, view, control, pause, refresh, and their answers."""
    size = m.Size(width=4096, height=4096)
    x = Exchange("wishes", "settings, view, control, pause, refresh, each answered", hello()).open(size=size)
    x.client(m.Setting(fps=1, quality=10, adaptive=0)).server(m.Setting(fps=1, quality=10, adaptive=0))
    x.client(m.Setting(fps=60, quality=90, adaptive=1)).server(m.Setting(fps=30, quality=90, adaptive=1))
    x.client(m.View(mode=1, rotation=3, follow=0, origin=Point(4095, 4095)))
    x.server(m.ViewState(mode=1, rotation=3, follow=0, session=size, window=Rect(0, 0, 4096, 4096)))
    x.client(m.View(mode=0, rotation=0, follow=1, origin=Point(0, 0)))
    x.server(m.ViewState(mode=0, rotation=0, follow=1, session=size, window=Rect(4080, 4088, 16, 8)))
    x.client(m.ResizeSession(width=4096, height=1024), m.ResizeSession(width=1, height=4096))
    x.server(m.ViewState(mode=0, rotation=0, follow=1, session=m.Size(width=1, height=4096), window=Rect(0, 0, 1, 8)))
    x.client(m.Control(action=c.ControlAction.RELEASE))
    x.server(m.ControlState(role=Role.WAITING, holder=0))
    x.client(m.Control(action=c.ControlAction.ASK)).server(m.ControlState(role=Role.CONTROL, holder=1))
    x.client(m.Control(action=c.ControlAction.PASS, viewer=0xFFFF_FFFF))
    x.server(m.ControlState(role=Role.VIEW_ONLY, holder=0xFFFF_FFFF))
    return x.client(m.Pause(paused=1)).client(m.Pause(paused=0), m.Refresh()).update(_fill(0, 0, 16, 8))


def _cursors() -> Exchange:
    offer = hello(cursor=m.CursorOffer(mode=CursorMode.LOCAL, max_side=32))
    x = Exchange("cursor", "shapes whole and in parts, none, positions", offer).open()

    def shape(width: int, height: int, row: int, rows: int) -> m.CursorShape:
        pixels = noise(PixelFormat.XRGB8888, width * rows, 77)
        # Premultiplied: with an alpha of 255 every colour is allowed.
        data = b"".join(pixels[at : at + 3] + b"\xff" for at in range(0, len(pixels), 3))
        return m.CursorShape(width=width, height=height, hot_x=width - 1, hot_y=height - 1, row=row, pixels=data)

    x.server(shape(1, 1, 0, 1), m.CursorPosition(position=Point(15, 7)))
    x.server(shape(5, 3, 0, 1), shape(5, 3, 1, 2))
    # Six rows of 32 pixels fill 768 bytes; the last part has two.
    x.server(*(shape(32, 32, row, min(6, 32 - row)) for row in range(0, 32, 6)))
    # A new shape before the last is whole: it takes its place.
    x.server(shape(5, 3, 0, 1), shape(2, 2, 0, 2))
    return x.server(m.CursorShape(width=0, height=0, hot_x=0, hot_y=0, row=0, pixels=b""))


def _clipboards() -> Exchange:
    offer = hello(capabilities=Capability.CLIPBOARD | Capability.BELL | Capability.INPUT_ECHO)
    x = Exchange("clipboard", "chunks both ways at once, a new text before the old is whole, none; the bell", offer)
    x.open().server(m.Clipboard(total=5, offset=0, data=b"ab"))
    x.client(m.Clipboard(total=300, offset=0, data=b"x" * 127))
    x.server(m.Clipboard(total=5, offset=2, data=b"\xe2\x82\xac"))
    x.client(m.Clipboard(total=300, offset=127, data=b"y" * 173))
    x.client(m.Clipboard(total=0, offset=0, data=b""))
    # All but one byte, then that one.
    x.client(m.Clipboard(total=3, offset=0, data=b"ab")).client(m.Clipboard(total=3, offset=2, data=b"c"))
    x.server(m.Clipboard(total=9, offset=0, data=b"lost"), m.Clipboard(total=1, offset=0, data=b"n"), m.Bell())
    x.client(m.Clipboard(total=c.MAX_CLIPBOARD, offset=0, data=b"z"))
    x.client(m.Pointer(input=200, position=Point(3, 3), buttons=1))
    return x.server(m.InputEcho(input=200))


def _resized() -> Exchange:
    offer = hello(capabilities=Capability.RESIZE)
    x = Exchange("resize", "a window that changes its size; input from before may lie outside", offer).open()
    x.update(_fill(0, 0, 16, 8)).client(m.Resize(width=20, height=4)).server(m.Resize(width=20, height=4))
    x.client(m.Pointer(input=1, position=Point(4095, 4095), buttons=0))
    return x.update(_fill(19, 3, 1, 1, BLUE), _fill(0, 0, 2, 1))


def _explained() -> list[Exchange]:
    x = Exchange("explanation", "after END, for the debug viewer", hello(capabilities=Capability.EXPLAIN)).open()
    x.update(_fill(0, 0, 16, 8), _fill(1, 1, 2, 2, BLUE))
    entries = (m.Explained(reason=c.Reason.ONE_COLOUR, quality=0), m.Explained(reason=255, quality=255))
    x.server(
        m.Explanation(
            update=1, encode_us=0, in_flight=0xFFFF_FFFF, bytes_per_s=125000, round_trip_us=127, operations=entries
        )
    )
    x.update()
    x.server(m.Explanation(update=2, encode_us=128, in_flight=0, bytes_per_s=0, round_trip_us=0))
    return [x]


def _later_versions() -> list[Exchange]:
    """What a later version may add without harm."""
    x = Exchange("unknown-messages", "skipped, outside an update and in it, also those reserved", hello()).open()
    x.say(SERVER, written=_raw_message(0x18, "00112233") + _raw_message(0x19, ""))
    begin, end = m.Begin(update=1, input=0), m.End()
    pixels = _fill(2, 2, 3, 3)
    written = begin.encode() + _raw_message(0x7E, b"u" * 200) + pixels.encode() + _raw_message(0xFF, "") + end.encode()
    x.say(SERVER, begin, pixels, end, written=written)
    x.say(CLIENT, written=_raw_message(0x60, "01") + _raw_message(0x3F, b"c" * 128) + _raw_message(0x00, ""))
    x.client(m.Wheel(input=1, dx=0, dy=120))
    offer = hello(capabilities=Capability.INPUT_ECHO | Capability.BELL)
    y = Exchange("grown-messages", "messages with more at their end than this version knows", offer).open()

    def grown(*messages: Message) -> bytes:
        return b"".join(frame(item.type, item.encode_body() + b"\x05later") for item in messages)

    for sender, events in (
        (CLIENT, (m.Pointer(input=5, position=Point(1, 1), buttons=1), m.Key(input=6, keysym=97, pressed=1))),
        (SERVER, (m.InputEcho(input=6), m.Bell(), m.Setting(fps=10, quality=50, adaptive=0))),
        (SERVER, (m.Begin(update=1, input=6), m.End())),
        (SERVER, (m.ControlState(role=Role.CONTROL, holder=1), m.Pong(stamp=1))),
        (CLIENT, (m.Pause(paused=0), m.Refresh(), m.Wheel(input=7, dx=1, dy=1))),
    ):
        y.say(sender, *events, written=grown(*events))
    return [x, y]


def _partings() -> list[Exchange]:
    made = []
    for sender in (CLIENT, SERVER):
        x = Exchange(f"goodbye-{sender.value}", "with an empty text, in an update", hello()).open()
        if sender is SERVER:
            x.server(m.Begin(update=1, input=0), _fill(0, 0, 4, 4))
        made.append(x.say(sender, m.Goodbye(code=Code.NORMAL)))
    x = Exchange("goodbye-long", "a code of a later version and the longest text", hello()).open()
    made.append(x.server(m.Goodbye(code=65535, text="€" * 333 + "z")))
    x = Exchange("goodbye-both", "each side may say it", hello()).open()
    made.append(x.server(m.Goodbye(code=Code.STOPPING, text="s")).client(m.Goodbye(code=Code.NORMAL)))
    return made


# updates.json


def _palette(rect: Rect, colours: int, body: bytes, *, runs: bool, fmt: PixelFormat = RGB565) -> m.Palette:
    listed = [colour(fmt, i) for i in range(colours)]
    return m.Palette(rect=rect, payload=palette_payload(listed, body, runs=runs))


def _updates() -> list[Exchange]:
    made = [
        Exchange("empty", "an update without operations", hello()).open().update().update(),
        Exchange("fill", "one pixel in each corner over one colour", hello())
        .open()
        .update(_fill(0, 0, 16, 8, BLUE), *(_fill(x, y, 1, 1) for x in (0, 15) for y in (0, 7))),
    ]
    for fmt in PixelFormat:
        x = Exchange(
            f"format-{fmt.name.lower()}",
            "fill, raw, palette and runs in this pixel format",
            hello(pixel_format=fmt),
        ).open()
        x.update(_fill(0, 0, 16, 8, colour(fmt, 3)), m.Raw(rect=Rect(1, 1, 5, 3), payload=noise(fmt, 15)))
        indices = packed_indices(7, 3, (i % 3 for i in range(21)))
        x.update(_palette(Rect(8, 0, 7, 3), 3, indices, runs=False, fmt=fmt))
        tokens = run_tokens(3, [(0, 4), (2, 11), (1, 1), (0, 5)])
        made.append(x.update(_palette(Rect(3, 4, 7, 3), 3, tokens, runs=True, fmt=fmt)))
    made += _copies()
    x = Exchange("many-updates", "numbers of updates over the border of one byte", hello()).open()
    for i in range(130):
        x.update(_fill(i % 16, i // 16 % 8, 1, 1, colour(RGB565, i)))
    made.append(x)
    x = Exchange("update-in-parts", "an update comes in several pieces, other messages between", hello()).open()
    x.server(m.Begin(update=1, input=0), _fill(0, 0, 8, 8)).client(m.Pointer(input=1, position=Point(1, 1), buttons=0))
    x.server(m.Notice(code=NoticeCode.STALLED, text="hm"), m.Ping(stamp=5)).server(_fill(4, 0, 8, 8, BLUE), m.End())
    made.append(x.update(input_=1))
    return [*made, *_large()]


def _copies() -> list[Exchange]:
    """A copy reads what was there before it, however the two overlap."""
    offer = hello(panel=m.Size(width=20, height=12), capabilities=Capability.COPY)
    made = []
    where = {
        "right": (5, 3, 4, 3),
        "left": (4, 3, 5, 3),
        "down": (4, 4, 4, 3),
        "up": (4, 3, 4, 4),
        "right-down": (6, 5, 4, 3),
        "left-down": (3, 5, 4, 3),
        "right-up": (6, 2, 4, 3),
        "left-up": (3, 2, 4, 3),
        "onto-itself": (4, 3, 4, 3),
        "apart": (10, 6, 0, 0),
    }
    picture = [
        m.Raw(rect=Rect(0, 0, 16, 12), payload=noise(RGB565, 192, 5)),
        m.Raw(rect=Rect(16, 0, 4, 12), payload=noise(RGB565, 48, 6)),
    ]
    for name, (x, y, source_x, source_y) in where.items():
        e = Exchange(f"copy-{name}", "ten columns, six rows; the two may overlap", offer).open().update(*picture)
        made.append(e.update(m.Copy(rect=Rect(x, y, 10, 6), source=Point(source_x, source_y))))
    e = Exchange("copy-scroll", "several copies in one update, each on the result so far", offer).open()
    e.update(*picture)
    e.update(
        m.Copy(rect=Rect(0, 0, 20, 11), source=Point(0, 1)),
        m.Copy(rect=Rect(0, 0, 19, 12), source=Point(1, 0)),
        _fill(19, 11, 1, 1),
        m.Copy(rect=Rect(0, 0, 1, 1), source=Point(19, 11)),
        m.Copy(rect=Rect(18, 10, 1, 1), source=Point(0, 0)),
    )
    made.append(e)
    return made


def _large() -> list[Exchange]:
    """Messages exactly as long as may be, the largest coordinates, the largest rectangles."""
    # 6 + 1 + 2 * 2 + 1013 = 1,024: rows of 8 pixels in one byte, 1,013 rows.
    offer = hello(panel=m.Size(width=8, height=1013), max_rect=m.RectLimit(width=16, area=8 * 1013))
    x = Exchange("message-of-1024", "the longest message of the smallest device", offer).open()
    body = noise(PixelFormat.GREY8, 1013, 9)
    x.update(_palette(Rect(0, 0, 8, 1013), 2, body, runs=False))
    # 6 + 1 + 127 * 2 + 373 * 175 = 65,536.
    offer = hello(
        panel=m.Size(width=373, height=175), max_message=65536, max_rect=m.RectLimit(width=373, area=373 * 175)
    )
    y = Exchange("message-of-65536", "exactly", offer).open()
    body = bytes(i % 127 for i in range(373 * 175))
    y.update(_palette(Rect(0, 0, 373, 175), 127, body, runs=False))
    offer = hello(
        panel=m.Size(width=4096, height=16),
        pixel_format=PixelFormat.RGB332,
        max_rect=m.RectLimit(width=4096, area=65536),
    )
    z = Exchange("panel-of-4096x16", "the greatest coordinates; a run of 65,535", offer).open()
    tokens = run_tokens(2, [(1, 65535), (0, 1)])
    z.update(_palette(Rect(0, 0, 4096, 16), 2, tokens, runs=True, fmt=PixelFormat.RGB332))
    z.update(_fill(4095, 15, 1, 1, b"\x07"), _fill(0, 15, 4096, 1, b"\x70"), _fill(4095, 0, 1, 16, b"\x17"))
    offer = hello(panel=m.Size(width=16, height=4096), pixel_format=PixelFormat.GREY8)
    w = Exchange("panel-of-16x4096", "the greatest coordinates, upright", offer).open()
    w.update(_fill(0, 0, 16, 4096, b"\x55"), _fill(15, 4095, 1, 1, b"\x07"))
    w.update(m.Raw(rect=Rect(0, 4095, 16, 1), payload=bytes(range(16))))
    return [x, y, z, w]


# refusals.json: each rule broken once, after a handshake.


def _refusals() -> list[Exchange]:
    return [*_wrong_states(), *_broken_framing(), *_wrong_updates(), *_not_offered(), *_wrong_numbers()]


Case = tuple[str, Sender, list[Message], Message | bytes, Code]
"""Name, who breaks the rule, messages of that sender before, the one that breaks it, the code due."""


def each_refused(folder: str, about: str, offer: m.Hello, broken: Iterable[Case]) -> list[Exchange]:
    """An exchange for each case."""
    made = []
    for name, sender, before, bad, code in broken:
        x = Exchange(f"{folder}/{name}", about, offer).open()
        if before:
            x.say(sender, *before)
        made.append(x.refused(sender, bad, code))
    return made


BEGIN: Final = m.Begin(update=1, input=0)


def _wrong_states() -> list[Exchange]:
    offer = hello(capabilities=Capability.RESIZE | Capability.EXPLAIN)
    told = m.Explanation(update=1, encode_us=0, in_flight=0, bytes_per_s=0, round_trip_us=0)
    goodbye = m.Goodbye(code=Code.NORMAL)
    cases: list[Case] = [
        ("begin-in-update", SERVER, [BEGIN], m.Begin(update=2, input=0), Code.BAD_STATE),
        ("end-without-begin", SERVER, [], m.End(), Code.BAD_STATE),
        ("end-twice", SERVER, [BEGIN, m.End()], m.End(), Code.BAD_STATE),
        ("drawing-without-begin", SERVER, [], _fill(0, 0, 1, 1), Code.BAD_STATE),
        ("resize-in-update", SERVER, [BEGIN], m.Resize(width=8, height=8), Code.BAD_STATE),
        ("explanation-in-update", SERVER, [BEGIN], told, Code.BAD_STATE),
        ("welcome-twice", SERVER, [], welcome(offer), Code.BAD_STATE),
        ("proof-late-server", SERVER, [], m.Proof(mac=bytes(32)), Code.BAD_STATE),
        ("proof-late-client", CLIENT, [], m.Proof(mac=bytes(32)), Code.BAD_STATE),
        ("begin-from-client", CLIENT, [], BEGIN, Code.BAD_STATE),
        ("fill-from-client", CLIENT, [], _fill(0, 0, 1, 1), Code.BAD_STATE),
        ("notice-from-client", CLIENT, [], m.Notice(code=1), Code.BAD_STATE),
        ("pointer-from-server", SERVER, [], m.Pointer(input=1, position=Point(0, 0), buttons=0), Code.BAD_STATE),
        ("ack-from-server", SERVER, [], m.Ack(update=1, decode_us=0), Code.BAD_STATE),
        ("after-goodbye-server", SERVER, [goodbye], m.Ping(stamp=0), Code.BAD_STATE),
        ("after-goodbye-client", CLIENT, [goodbye], b"\x00", Code.BAD_STATE),
        ("goodbye-twice", SERVER, [goodbye], goodbye, Code.BAD_STATE),
    ]
    return each_refused("state", "a message where it may not come", offer, cases)


def _broken_framing() -> list[Exchange]:
    made = each_refused(
        "framing",
        "a message that is refused whatever it says",
        hello(),
        [
            ("one-above-1024", SERVER, [], b"\x06\x81\x08", Code.TOO_LONG),
            ("unknown-one-above-1024", SERVER, [], b"\x7e\x81\x08", Code.TOO_LONG),
            ("client-one-above-4096", CLIENT, [], b"\x25\x81\x20", Code.TOO_LONG),
            ("length-of-four-bytes", SERVER, [], b"\x03\x80\x80\x80", Code.TOO_LONG),
            ("length-not-shortest", SERVER, [], b"\x15\x80\x00", Code.PROTOCOL),
            ("length-not-shortest-of-three", SERVER, [], b"\x15\x81\x80\x00", Code.PROTOCOL),
            ("unknown-drawing", SERVER, [BEGIN], _raw_message(0x46, ""), Code.PROTOCOL),
            ("unknown-drawing-last", SERVER, [BEGIN], b"\x5f\x7f", Code.PROTOCOL),
            ("unknown-drawing-from-client", CLIENT, [], b"\x5e\x00", Code.PROTOCOL),
            ("ping-short", SERVER, [], _raw_message(0x03, bytes(7)), Code.PROTOCOL),
            ("begin-cut", SERVER, [], _raw_message(0x40, "01"), Code.PROTOCOL),
            ("begin-empty", SERVER, [], _raw_message(0x40, ""), Code.PROTOCOL),
            ("fill-short", SERVER, [BEGIN], _raw_message(0x42, bytes(6)), Code.PROTOCOL),
            ("fill-rect-cut", SERVER, [BEGIN], _raw_message(0x42, bytes(5)), Code.PROTOCOL),
            ("fill-long", SERVER, [BEGIN], _raw_message(0x42, bytes(10)), Code.BAD_VALUE),
            ("copy-long", SERVER, [BEGIN], _raw_message(0x43, bytes(10)), Code.PROTOCOL),
            ("varint-of-six-bytes", CLIENT, [], _raw_message(0x23, "80808080800100000000"), Code.PROTOCOL),
            ("varint-over-32-bits", CLIENT, [], _raw_message(0x23, "808080801000000000"), Code.BAD_VALUE),
            ("varint-not-shortest", CLIENT, [], _raw_message(0x23, "810000000000"), Code.PROTOCOL),
        ],
    )
    offer = hello(max_message=65536)
    made += each_refused(
        "framing",
        "one above what was offered",
        offer,
        [("one-above-65536", SERVER, [], b"\x06\x81\x80\x04", Code.TOO_LONG)],
    )
    return made


def _wrong_updates() -> list[Exchange]:
    wide = hello(
        panel=m.Size(width=40, height=20),
        max_rect=m.RectLimit(width=16, area=256),
        capabilities=Capability.COPY | Capability.EXPLAIN,
    )

    def bad(message: Message, code: Code = Code.BAD_VALUE) -> tuple[Sender, list[Message], Message, Code]:
        return SERVER, [BEGIN], message, code

    def raw(x: int, y: int, width: int, height: int, extra: int = 0) -> m.Raw:
        return m.Raw(rect=Rect(x, y, width, height), payload=bytes(2 * width * height + extra))

    runs = run_tokens(2, [(0, 17)])
    many = palette_payload([RED, BLUE], run_tokens(2, [(0, 17 * 16)]), runs=True)
    cases: list[Case] = [
        ("begin-2-first", SERVER, [], m.Begin(update=2, input=0), Code.BAD_VALUE),
        ("begin-0", SERVER, [], _raw_message(0x40, "0000"), Code.BAD_VALUE),
        ("begin-again", SERVER, [BEGIN, m.End()], BEGIN, Code.BAD_VALUE),
        ("begin-skips", SERVER, [BEGIN, m.End()], m.Begin(update=3, input=0), Code.BAD_VALUE),
        ("begin-unknown-input", SERVER, [], m.Begin(update=1, input=1), Code.BAD_VALUE),
        ("fill-right", *bad(_fill(40, 0, 1, 1))),
        ("fill-below", *bad(_fill(0, 20, 1, 1))),
        ("fill-one-too-wide", *bad(_fill(1, 0, 40, 1))),
        ("fill-one-too-high", *bad(_fill(0, 1, 1, 20))),
        ("fill-far", *bad(_fill(4095, 4095, 1, 1))),
        ("fill-beyond-4096", SERVER, [BEGIN], _raw_message(0x42, "ff0f00010000" + "00f8"), Code.BAD_VALUE),
        ("fill-one-byte", *bad(_fill(0, 0, 1, 1, b"\x01"), Code.BAD_PAYLOAD)),
        ("fill-three-bytes", *bad(_fill(0, 0, 1, 1, b"\x01\x02\x03"), Code.BAD_PAYLOAD)),
        ("raw-outside", *bad(raw(25, 0, 16, 1))),
        ("raw-one-byte-short", *bad(raw(0, 0, 3, 3, -1), Code.BAD_PAYLOAD)),
        ("raw-one-byte-long", *bad(raw(0, 0, 3, 3, 1), Code.BAD_PAYLOAD)),
        ("raw-empty", *bad(m.Raw(rect=Rect(0, 0, 1, 1), payload=b""), Code.BAD_PAYLOAD)),
        ("raw-17-wide", *bad(raw(0, 0, 17, 1), Code.NOT_OFFERED)),
        ("raw-257-pixels", *bad(raw(0, 0, 15, 18), Code.NOT_OFFERED)),
        ("palette-outside", *bad(_palette(Rect(30, 0, 11, 1), 2, b"\0\0", runs=False))),
        ("palette-17-wide", *bad(_palette(Rect(0, 0, 17, 1), 2, runs, runs=True), Code.NOT_OFFERED)),
        ("palette-272-pixels", *bad(m.Palette(rect=Rect(0, 0, 16, 17), payload=many), Code.NOT_OFFERED)),
        ("copy-destination-outside", *bad(m.Copy(rect=Rect(31, 0, 10, 6), source=Point(0, 0)))),
        ("copy-source-outside", *bad(m.Copy(rect=Rect(0, 0, 10, 6), source=Point(31, 0)))),
        ("copy-source-below", *bad(m.Copy(rect=Rect(0, 0, 10, 6), source=Point(0, 15)))),
    ]
    made = each_refused("update", "coordinates, sizes and numbers of an update", wide, cases)
    payloads = _bad_palettes()
    made += each_refused(
        "payload",
        "a palette that cannot be decoded",
        hello(),
        [
            (name, SERVER, [BEGIN], m.Palette(rect=Rect(0, 0, width, height), payload=payload), Code.BAD_PAYLOAD)
            for name, width, height, payload in payloads
        ],
    )
    return made


def _bad_palettes() -> list[tuple[str, int, int, bytes]]:
    """(name, width, height, payload) of RGB565 palettes that are wrong in one way each."""
    two, three = [RED, BLUE], [RED, BLUE, b"\xff\xff"]

    def packed(colours: list[bytes], body: bytes) -> bytes:
        return palette_payload(colours, body, runs=False)

    def runs(colours: list[bytes], body: bytes) -> bytes:
        return palette_payload(colours, body, runs=True)

    many = [colour(RGB565, i) for i in range(65)]
    return [
        ("empty", 1, 1, b""),
        ("one-colour", 1, 1, packed([RED], b"\0")),
        ("one-colour-in-runs", 1, 1, runs([RED], b"\0")),
        ("head-alone", 1, 1, b"\x01"),
        ("colours-cut", 1, 1, packed(two, b"")[:-1]),
        ("no-indices", 1, 1, packed(two, b"")),
        ("indices-short", 9, 2, packed(two, bytes(3))),
        ("indices-long", 9, 2, packed(two, bytes(5))),
        ("padding-not-zero", 9, 2, packed(two, b"\0\x01\0\0")),
        ("padding-not-zero-in-the-last-row", 3, 2, packed(three, b"\0\x02")),
        ("index-3-of-3", 4, 1, packed(three, b"\x03")),
        ("index-5-of-5-in-four-bits", 2, 1, packed(many[:5], b"\x05")),
        ("index-17-of-17-in-eight-bits", 1, 1, packed(many[:17], b"\x11")),
        ("65-colours-in-runs", 1, 1, runs(many, b"\0")),
        ("no-runs", 1, 1, runs(two, b"")),
        ("runs-short", 4, 2, runs(two, run_tokens(2, [(0, 7)]))),
        ("run-beyond", 4, 2, runs(two, run_tokens(2, [(0, 9)]))),
        ("long-run-beyond", 16, 8, runs(two, run_tokens(2, [(0, 129)]))),
        ("bytes-after-runs", 4, 2, runs(two, run_tokens(2, [(0, 8)]) + b"\0")),
        ("run-index-3-of-3", 4, 1, runs(three, run_tokens(3, [(3, 4)]))),
        ("run-length-missing", 16, 8, runs(two, b"\xfe")),
        ("run-length-cut", 16, 8, runs(two, b"\xfe\x80")),
        ("run-length-not-shortest", 16, 8, runs(two, b"\xfe\x80\x00")),
        ("run-length-of-six-bytes", 16, 8, runs(two, b"\xfe\x80\x80\x80\x80\x80\x01")),
        ("run-length-over-32-bits", 16, 8, runs(two, b"\xfe\xff\xff\xff\xff\x1f")),
        ("run-length-of-32-bits", 16, 8, runs(two, b"\xfe\xff\xff\xff\xff\x0f")),
    ]


def _not_offered() -> list[Exchange]:
    """Operations and messages that this device did not offer."""
    rect = Rect(0, 0, 4, 4)
    jpeg = m.Jpeg(rect=rect, quality=75, sampling=0, payload=b"\0")
    shape = m.CursorShape(width=1, height=1, hot_x=0, hot_y=0, row=0, pixels=bytes(4))
    told = m.Explanation(update=1, encode_us=0, in_flight=0, bytes_per_s=0, round_trip_us=0)
    store, draw = m.CacheStore(slot=0, rect=rect), m.CacheDraw(slot=0, position=Point(0, 0))
    due = Code.NOT_OFFERED
    made = each_refused(
        "not-offered",
        "this device offers as little as it may",
        hello(),
        [
            ("copy", SERVER, [BEGIN], m.Copy(rect=rect, source=Point(1, 1)), due),
            ("cache-store", SERVER, [BEGIN], store, due),
            ("cache-draw", SERVER, [BEGIN], draw, due),
            ("codec", SERVER, [BEGIN], m.Codec(rect=rect, epoch=0x81, payload=b"\0"), due),
            ("deflate", SERVER, [BEGIN], m.Deflate(rect=rect, inner=m.Raw.type, payload=b"\0"), due),
            ("jpeg", SERVER, [BEGIN], jpeg, due),
            ("cursor-shape", SERVER, [], shape, due),
            ("cursor-position", SERVER, [], m.CursorPosition(position=Point(0, 0)), due),
            ("explanation", SERVER, [BEGIN, m.End()], told, due),
            ("input-echo", SERVER, [], m.InputEcho(input=1), due),
            ("bell", SERVER, [], m.Bell(), due),
            ("resize-server", SERVER, [], m.Resize(width=8, height=8), due),
            ("resize-client", CLIENT, [], m.Resize(width=8, height=8), due),
            ("clipboard-server", SERVER, [], m.Clipboard(total=1, offset=0, data=b"c"), due),
            ("clipboard-client", CLIENT, [], m.Clipboard(total=1, offset=0, data=b"c"), due),
        ],
    )
    offer = hello(
        model_kib=16,
        deflate_bits=15,
        jpeg=m.JpegOffer(subsamplings=Subsampling.S444, scales=c.Scale.ONE),
        cursor=m.CursorOffer(mode=CursorMode.IN_PICTURE, max_side=0),
    )
    wide = Rect(0, 0, 17, 1)
    due = Code.NOT_OFFERED
    made += each_refused(
        "not-offered",
        "more than was offered",
        m.Hello(**{s.name: getattr(offer, s.name) for s in m.Hello.layout} | {"panel": m.Size(width=40, height=8)}),
        [
            ("jpeg-subsampling", SERVER, [BEGIN], m.Jpeg(rect=rect, quality=1, sampling=2, payload=b"\0"), due),
            ("jpeg-scale", SERVER, [BEGIN], m.Jpeg(rect=rect, quality=1, sampling=0x10, payload=b"\0"), due),
            ("jpeg-17-wide", SERVER, [BEGIN], m.Jpeg(rect=wide, quality=1, sampling=0, payload=b"\0"), due),
            ("deflate-17-wide", SERVER, [BEGIN], m.Deflate(rect=wide, inner=0x48, payload=b"\0"), due),
            ("codec-17-wide", SERVER, [BEGIN], m.Codec(rect=wide, epoch=0x81, payload=b"\0"), due),
            ("codec-without-reset", SERVER, [BEGIN], m.Codec(rect=rect, epoch=0, payload=b"\0"), Code.BAD_VALUE),
            ("codec-wrong-epoch", SERVER, [BEGIN], m.Codec(rect=rect, epoch=0x80, payload=b"\0"), Code.BAD_VALUE),
            ("cursor-not-local", SERVER, [], shape, due),
            ("position-not-local", SERVER, [], m.CursorPosition(position=Point(0, 0)), due),
        ],
    )
    for name, sender, bits, message in (
        ("bell", SERVER, Capability.BELL, m.Bell()),
        ("clipboard", CLIENT, Capability.CLIPBOARD, m.Clipboard(total=1, offset=0, data=b"c")),
        ("touch", CLIENT, Capability.TOUCH, m.Touch(input=1)),
    ):
        x = Exchange(f"not-in-force/{name}", "offered, but WELCOME left it out", hello(capabilities=bits))
        made.append(x.open(capabilities=0).refused(sender, message, due))
    return made


def _wrong_numbers() -> list[Exchange]:
    """Acknowledgements, inputs, chunks and parts that do not follow."""
    offer = hello(
        capabilities=Capability.CLIPBOARD | Capability.INPUT_ECHO | Capability.EXPLAIN | Capability.TOUCH,
        cursor=m.CursorOffer(mode=CursorMode.LOCAL, max_side=32),
    )
    first = m.Wheel(input=9, dx=0, dy=0)
    finger = m.Finger(finger=0, position=Point(0, 8))
    told = m.Explanation(update=1, encode_us=0, in_flight=0, bytes_per_s=0, round_trip_us=0)

    def shape(width: int, height: int, row: int, rows: int) -> m.CursorShape:
        return m.CursorShape(width=width, height=height, hot_x=0, hot_y=0, row=row, pixels=bytes(4 * width * rows))

    def chunk(total: int, offset: int, data: bytes) -> m.Clipboard:
        return m.Clipboard(total=total, offset=offset, data=data)

    bad, state = Code.BAD_VALUE, Code.BAD_STATE
    cases: list[Case] = [
        ("ack-of-nothing", CLIENT, [], m.Ack(update=1, decode_us=0), Code.BAD_ACK),
        ("ack-0", CLIENT, [], _raw_message(0x20, "0000"), bad),
        ("pointer-outside", CLIENT, [], m.Pointer(input=1, position=Point(16, 0), buttons=0), bad),
        ("touch-outside", CLIENT, [], m.Touch(input=1, fingers=(finger,)), bad),
        ("input-0", CLIENT, [], _raw_message(0x23, "0000000000"), bad),
        ("pointer-again", CLIENT, [first], m.Pointer(input=9, position=Point(0, 0), buttons=0), bad),
        ("touch-older", CLIENT, [first], m.Touch(input=8), bad),
        ("wheel-again", CLIENT, [first], first, bad),
        ("key-older", CLIENT, [first], m.Key(input=1, keysym=97, pressed=1), bad),
        ("text-again", CLIENT, [first], m.TextInput(input=9, text="t"), bad),
        ("echo-of-the-future", SERVER, [], m.InputEcho(input=1), bad),
        ("explanation-too-early", SERVER, [], told, bad),
        ("position-outside", SERVER, [], m.CursorPosition(position=Point(0, 8)), bad),
        ("shape-too-large", SERVER, [], shape(33, 1, 0, 1), Code.NOT_OFFERED),
        ("shape-from-the-middle", SERVER, [], shape(4, 4, 1, 1), state),
        ("shape-part-missing", SERVER, [shape(4, 4, 0, 1)], shape(4, 4, 2, 1), state),
        ("shape-part-of-another", SERVER, [shape(4, 4, 0, 1)], shape(4, 5, 1, 1), state),
        ("shape-part-after-the-last", SERVER, [shape(4, 4, 0, 4)], shape(4, 4, 3, 1), state),
        ("chunk-from-the-middle", CLIENT, [], chunk(9, 1, b"c"), state),
        ("chunk-missing", CLIENT, [chunk(9, 0, b"ab")], chunk(9, 3, b"c"), state),
        ("chunk-of-another-total", SERVER, [chunk(9, 0, b"ab")], chunk(8, 2, b"c"), state),
        ("chunk-after-the-last", SERVER, [chunk(2, 0, b"ab")], chunk(2, 2, b""), state),
        ("chunk-beyond-the-total", CLIENT, [], chunk(2, 0, b"abc"), bad),
        ("chunk-empty", CLIENT, [], chunk(2, 0, b""), bad),
        ("clipboard-too-long", CLIENT, [], _raw_message(0x06, "81801000" + "00"), bad),
    ]
    made = each_refused("number", "what does not follow what was before", offer, cases)
    for name, update, count, open_ in (
        ("ack-of-the-next", 2, 1, False),
        ("ack-of-one-not-ended", 1, 0, True),
        ("ack-backwards", 1, 2, False),
    ):
        x = Exchange(f"number/{name}", "an acknowledgement of what was not sent, or backwards", offer).open()
        for _ in range(count):
            x.update()
        if open_:
            x.server(m.Begin(update=1, input=0), _fill(0, 0, 1, 1))
        made.append(x.refused(CLIENT, m.Ack(update=update, decode_us=0), Code.BAD_ACK))
    x = Exchange("number/explanation-of-another-update", "not of the update before", offer).open().update().update()
    made.append(x.refused(SERVER, told, Code.BAD_VALUE))
    return made


# cache.json: only for clients that have a cache.


def _caches() -> list[Exchange]:
    rect = Rect(2, 1, 5, 3)
    picture = m.Raw(rect=ALL, payload=noise(RGB565, 128, 3))
    offer = hello(cache=m.CacheOffer(slots=200, slot_bytes=64), capabilities=Capability.COPY)
    x = Exchange("cache", "slots are filled, drawn, filled again, drawn with their own size", offer).open()
    x.update(picture, m.CacheStore(slot=0, rect=rect), m.CacheStore(slot=199, rect=Rect(0, 7, 16, 1)))
    x.update(_fill(0, 0, 16, 8))
    x.update(m.CacheDraw(slot=0, position=Point(11, 5)), m.CacheDraw(slot=199, position=Point(0, 0)))
    x.update(
        m.CacheDraw(slot=0, position=Point(3, 2)),
        m.CacheStore(slot=0, rect=Rect(0, 0, 8, 4)),
        _fill(0, 0, 16, 8, BLUE),
        m.CacheDraw(slot=0, position=Point(8, 4)),
        m.CacheDraw(slot=0, position=Point(0, 0)),
    )
    made = [x]
    store = m.CacheStore(slot=0, rect=rect)
    cases: list[Case] = [
        ("store-beyond-slots", SERVER, [BEGIN], m.CacheStore(slot=200, rect=rect), Code.NOT_OFFERED),
        ("draw-beyond-slots", SERVER, [BEGIN], m.CacheDraw(slot=200, position=Point(0, 0)), Code.NOT_OFFERED),
        ("store-33-pixels", SERVER, [BEGIN], m.CacheStore(slot=0, rect=Rect(0, 0, 11, 3)), Code.NOT_OFFERED),
        ("store-outside", SERVER, [BEGIN], m.CacheStore(slot=0, rect=Rect(12, 0, 5, 3)), Code.BAD_VALUE),
        ("draw-never-filled", SERVER, [BEGIN], m.CacheDraw(slot=1, position=Point(0, 0)), Code.BAD_VALUE),
        ("draw-outside", SERVER, [BEGIN, store], m.CacheDraw(slot=0, position=Point(12, 0)), Code.BAD_VALUE),
        ("draw-below", SERVER, [BEGIN, store], m.CacheDraw(slot=0, position=Point(0, 6)), Code.BAD_VALUE),
        ("slot-8192", SERVER, [BEGIN], _raw_message(0x45, "8040000000"), Code.BAD_VALUE),
    ]
    made += each_refused("cache", "a cache of 200 slots of 64 bytes", offer, cases)
    x = Exchange("cache/copy-not-in-force", "no cache where WELCOME leaves out COPY", offer).open(capabilities=0)
    made.append(x.server(BEGIN).refused(SERVER, store, Code.NOT_OFFERED))
    return made


def refusal_of(action: Callable[[], object]) -> Code | None:
    """The code with which `action` refuses what it was given."""
    try:
        action()
    except RemoteProtocolError as error:
        return error.code
    return None


# messages.json: one message each, for whoever parses or logs them.


def _messages() -> list[Json]:
    top = Rect(0, 0, 4096, 4096)
    last = Rect(4095, 4095, 1, 1)
    ten = tuple(m.Finger(finger=25 * i, position=Point(4095 - i, i)) for i in range(10))
    explained = tuple(m.Explained(reason=i % 11, quality=i) for i in range(60))
    listed: list[Message] = [
        m.Goodbye(code=0),
        m.Goodbye(code=65535, text="ends with a sign of four bytes: 😀"),
        m.Proof(mac=bytes(range(32))),
        m.Ping(stamp=0),
        m.Pong(stamp=(1 << 64) - 1),
        m.Notice(code=1, text="n" * 125),
        m.Notice(code=1, text="n" * 126),
        m.Clipboard(total=0, offset=0, data=b""),
        m.Clipboard(total=c.MAX_CLIPBOARD, offset=c.MAX_CLIPBOARD - 1, data=b"\xff"),
        m.Setting(fps=1, quality=10, adaptive=0),
        m.Setting(fps=60, quality=90, adaptive=1),
        m.Resize(width=1, height=4096),
        m.Resize(width=4096, height=1024),
        welcome(hello()),
        welcome(hello(), resume=m.ResumeOffer(token=TOKEN, lifetime_s=60), resumed=Resumed.UNKNOWN_TOKEN),
        m.ViewState(mode=1, rotation=3, follow=1, session=m.Size(width=4096, height=1), window=last),
        m.ControlState(role=Role.WAITING, holder=0xFFFF_FFFF),
        m.CursorShape(width=0, height=0, hot_x=0, hot_y=0, row=0, pixels=b""),
        m.CursorShape(width=64, height=64, hot_x=63, hot_y=63, row=63, pixels=bytes(range(256))),
        m.CursorPosition(position=Point(4095, 0)),
        m.CursorPosition(position=Point(0, 4095)),
        m.Bell(),
        m.InputEcho(input=127),
        m.InputEcho(input=128),
        m.Explanation(update=1, encode_us=16383, in_flight=16384, bytes_per_s=2097151, round_trip_us=2097152),
        m.Explanation(
            update=0xFFFF_FFFF, encode_us=0, in_flight=0, bytes_per_s=0, round_trip_us=0, operations=explained
        ),
        m.Ack(update=1, decode_us=0),
        m.Ack(update=0xFFFF_FFFF, decode_us=0xFFFF_FFFF),
        m.Pointer(input=1, position=Point(0xABC, 0x123), buttons=0x1F),
        m.Touch(input=1),
        m.Touch(input=300, fingers=ten),
        m.Wheel(input=1, dx=-1, dy=1),
        m.Wheel(input=1, dx=-32768, dy=32767),
        m.Key(input=1, keysym=0x0100_20AC, pressed=1),
        m.TextInput(input=1, text="\0"),
        m.TextInput(input=1, text="t" * c.MAX_TEXT),
        m.View(mode=0, rotation=1, follow=1, origin=Point(1, 2)),
        m.Control(action=c.ControlAction.PASS, viewer=2),
        m.Pause(paused=1),
        m.Refresh(),
        m.ResizeSession(width=1024, height=600),
        m.Begin(update=0xFFFF_FFFF, input=0xFFFF_FFFF),
        m.End(),
        m.Fill(rect=top, pixel=b"\x01"),
        m.Fill(rect=Rect(0xABC, 0x123, 0x45, 0x678), pixel=b"\x01\x02\x03"),
        m.Copy(rect=last, source=Point(4095, 4095)),
        m.CacheStore(slot=8191, rect=top),
        m.CacheDraw(slot=127, position=Point(1, 1)),
        m.Raw(rect=last, payload=b""),
        m.Palette(rect=top, payload=b"\x81"),
        m.Codec(rect=Rect(1, 2, 3, 4), epoch=0xFF, payload=b"\0"),
        m.Deflate(rect=Rect(1, 2, 3, 4), inner=0x49, payload=b"\x03\x00"),
        m.Jpeg(rect=Rect(8, 8, 16, 16), quality=100, sampling=0x12, payload=b"\xd9"),
    ]
    assert {item.type for item in listed} == set(MESSAGES), "every message has an example"
    made: list[Json] = []
    for number, item in enumerate(listed):
        sender = "server" if item.sender is SERVER else item.sender.value
        made.append(
            {"name": f"{item.name}-{number}", "sender": sender, "bytes": item.encode().hex(), "event": plain(item)}
        )
    for name, type_, body, code in _bad_messages():
        data = bytes.fromhex(body)
        seen = refusal_of(partial(MESSAGES[type_].decode, memoryview(data)))
        assert seen is code, f"{name}: {seen} where {code.name} is due"
        made.append(
            {
                "name": f"bad/{name}",
                "sender": MESSAGES[type_].sender.value,
                "bytes": frame(type_, data).hex(),
                "error": code.name,
            }
        )
    return made


def _bad_messages() -> list[tuple[str, int, str, Code]]:
    """Messages that are refused wherever they come: (name, type, body, code)."""
    bad, malformed = Code.BAD_VALUE, Code.PROTOCOL
    finger = "01" + "000000"
    return [
        ("goodbye-empty", 0x01, "", malformed),
        ("goodbye-not-utf8", 0x01, "0000ff", bad),
        ("goodbye-overlong-utf8", 0x01, "0000c080", bad),
        ("goodbye-1001", 0x01, "0000" + "61" * 1001, bad),
        ("proof-31", 0x02, "00" * 31, malformed),
        ("ping-7", 0x03, "00" * 7, malformed),
        ("notice-half-a-character", 0x05, "0100e282", bad),
        ("clipboard-total", 0x06, "81801000", bad),
        ("clipboard-offset", 0x06, "0081801000", bad),
        ("setting-fps-0", 0x07, "000a00", bad),
        ("setting-fps-61", 0x07, "3d0a00", bad),
        ("setting-quality-9", 0x07, "010900", bad),
        ("setting-quality-91", 0x07, "015b00", bad),
        ("setting-adaptive-2", 0x07, "010a02", bad),
        ("resize-0", 0x08, "00000100", bad),
        ("resize-4097", 0x08, "01100100", bad),
        ("resize-pixels", 0x08, "00100104", bad),
        ("resize-cut", 0x08, "010001", malformed),
        ("welcome-empty", 0x10, "", malformed),
        ("welcome-role-3", 0x10, "01017302041000080003010304040100000005031e4b010608" + "00" * 8, bad),
        ("welcome-viewer-0", 0x10, "01017302041000080003010204040000000005031e4b010608" + "00" * 8, bad),
        ("view-state-mode-2", 0x11, "0200001000080000000f7000000000", bad),
        ("view-state-follow-2", 0x11, "0000021000080000000f7000000000", bad),
        ("view-state-session-0", 0x11, "0000000000080000000f7000000000", bad),
        ("control-state-role-3", 0x12, "0300", bad),
        ("shape-65", 0x13, "4101000000" + "00" * 260, bad),
        ("shape-one-side-0", 0x13, "0100000000", bad),
        ("shape-hot-spot", 0x13, "0101010000" + "00" * 4, bad),
        ("shape-hot-spot-64", 0x13, "4040400000" + "00" * 256, bad),
        ("shape-none-with-pixels", 0x13, "000000000000", bad),
        ("shape-none-with-row", 0x13, "0000000001", bad),
        ("shape-no-pixels", 0x13, "0101000000", bad),
        ("shape-part-of-a-row", 0x13, "0201000000" + "00" * 4, bad),
        ("shape-too-many-rows", 0x13, "0101000000" + "00" * 8, bad),
        ("input-echo-0", 0x16, "00", bad),
        ("explanation-odd", 0x17, "010000000001", malformed),
        ("explanation-0", 0x17, "0000000000", bad),
        ("ack-0", 0x20, "0000", bad),
        ("pointer-cut", 0x21, "01000000", malformed),
        ("pointer-point-cut", 0x21, "010000", malformed),
        ("touch-cut", 0x22, "01" + finger + "02", malformed),
        ("touch-same-finger", 0x22, "01" + finger + finger, bad),
        ("touch-11", 0x22, "01" + "".join(f"{i:02x}000000" for i in range(11)), bad),
        ("wheel-cut", 0x23, "01000000", malformed),
        ("key-0", 0x24, "010000000001", bad),
        ("key-30-bits", 0x24, "010000002001", bad),
        ("key-pressed-2", 0x24, "016100000002", bad),
        ("text-empty", 0x25, "01", bad),
        ("text-1001", 0x25, "01" + "61" * 1001, bad),
        ("text-surrogates", 0x25, "01eda080edb080", bad),
        ("view-rotation-4", 0x26, "000400000000", bad),
        ("control-3", 0x27, "0300", bad),
        ("pause-2", 0x28, "02", bad),
        ("begin-0", 0x40, "0000", bad),
        ("begin-33-bits", 0x40, "ffffffff1f00", bad),
        ("fill-wraps-right", 0x42, "ff0f00010000" + "00", bad),
        ("fill-wraps-below", 0x42, "00f0ff001000" + "00", bad),
        ("fill-four-bytes", 0x42, "000000000000" + "00000000", bad),
        ("fill-no-pixel", 0x42, "000000000000", malformed),
        ("copy-long", 0x43, "000000000000" + "00000000", malformed),
        ("copy-short", 0x43, "000000000000" + "0000", malformed),
        ("store-8192", 0x44, "8040000000000000", bad),
        ("store-long", 0x44, "0000000000000000", malformed),
        ("draw-8192", 0x45, "8040000000", bad),
        ("raw-without-rect", 0x48, "0000000000", malformed),
        ("codec-without-epoch", 0x4A, "000000000000", malformed),
        ("deflate-inner-jpeg", 0x4B, "000000000000" + "4c", bad),
        ("deflate-inner-copy", 0x4B, "000000000000" + "43", bad),
        ("jpeg-quality-0", 0x4C, "000000000000" + "0000", bad),
        ("jpeg-quality-101", 0x4C, "000000000000" + "6500", bad),
        ("jpeg-sampling-4", 0x4C, "000000000000" + "3204", bad),
        ("jpeg-sampling-14", 0x4C, "000000000000" + "3214", bad),
    ]


# tiles.json


def _tile(
    name: str, encoding: str, fmt: PixelFormat, width: int, height: int, payload: bytes, code: Code | None = None
) -> Json:
    """One payload and the pixels it stands for, or the code with which it is refused."""
    out: Json = {
        "name": name,
        "encoding": encoding,
        "format": fmt.name,
        "width": width,
        "height": height,
        "payload": payload.hex(),
    }
    screen = Framebuffer(width, height, fmt)
    message = {"RAW": m.Raw, "PALETTE": m.Palette}[encoding]
    tile = message(rect=Rect(0, 0, width, height), payload=payload)
    seen = refusal_of(lambda: screen.apply(tile))
    assert seen is code, f"{name}: {seen} where {code} is due"
    if code is not None:
        return out | {"error": code.name}
    stored = screen.stored()
    if len(stored) <= MAX_INLINE:
        return out | {"stored": stored.hex()}
    return out | {"sha256": hashlib.sha256(stored).hexdigest()}


def _tiles() -> list[Json]:
    made = []
    for fmt in PixelFormat:
        low = fmt.name.lower()
        made.append(_tile(f"raw-{low}", "RAW", fmt, 5, 3, noise(fmt, 15)))
        made.append(_tile(f"raw-one-pixel-{low}", "RAW", fmt, 1, 1, b"\xff\x7f\x01"[: fmt.packed]))
        for count in (2, 3, 4, 5, 16, 17, 128):
            colours = [colour(fmt, i) for i in range(count)]
            for width in (1, 7, 8, 9):
                height = 4 if count < 17 else 15
                # Every index comes, and the last pixel has the last one.
                indices = [(i * 7 + i // 5) % count for i in range(width * height - 1)] + [count - 1]
                body = packed_indices(width, count, indices)
                name = f"palette-{low}-{count}-colours-{width}-wide"
                made.append(_tile(name, "PALETTE", fmt, width, height, palette_payload(colours, body, runs=False)))
    made += _run_tiles()
    for name, width, height, payload in _bad_palettes():
        made.append(_tile(f"bad/{name}", "PALETTE", RGB565, width, height, payload, Code.BAD_PAYLOAD))
    return made


def _run_tiles() -> list[Json]:
    made = []
    for bits in range(1, 7):
        for count in sorted({(1 << bits - 1) + 1, 1 << bits}):
            colours = [colour(RGB565, i) for i in range(count)]
            longest = (1 << (8 - bits)) - 1
            # One short of the token's longest run, exactly it, one more; then every colour once.
            lengths = [1, longest, longest + 1, longest + 2, longest + 127, longest + 128, longest + 129]
            pairs = [(i % count, length) for i, length in enumerate(lengths)]
            pairs += [(i, 1) for i in range(count)]
            rest = -sum(length for _, length in pairs) % 13
            pairs += [(count - 1, rest)] if rest else []
            height = sum(length for _, length in pairs) // 13
            body = run_tokens(count, pairs)
            name = f"runs-{bits}-bits-{count}-colours"
            made.append(_tile(name, "PALETTE", RGB565, 13, height, palette_payload(colours, body, runs=True)))
    two = [RED, BLUE]
    for name, width, height, pairs in (
        ("one-pixel", 1, 1, [(1, 1)]),
        ("one-run", 16, 8, [(1, 128)]),
        ("run-of-129-in-two-tokens", 3, 43, [(0, 128), (0, 1)]),
        ("run-over-row-ends", 4, 4, [(0, 3), (1, 6), (0, 7)]),
        ("run-of-16384", 128, 129, [(1, 128 + 16383), (0, 1)]),
        ("run-of-16385", 128, 129, [(1, 128 + 16384)]),
    ):
        payload = palette_payload(two, run_tokens(2, pairs), runs=True)
        made.append(_tile(f"runs-{name}", "PALETTE", RGB565, width, height, payload))
    return made


# The files.

ABOUT_EXCHANGES: Final = (
    "Each vector is one connection. `hello` is what the client is configured with; absent fields are not sent, "
    "numbers of 64 bits are hex text, points are [x, y], rectangles [x, y, width, height]. `exchange` lists the bytes "
    "of each side in order with the events that its peer must see (fields of many bytes as their SHA-256). A client's "
    "HELLO, PROOF, PONG and ACK (one after each END, decode time 0) follow from what came before; its other messages "
    "are asked for by its user. `canonical: false`: bytes as another version, or nobody, would write them; a receiver "
    "is tested with them, a sender is not. `error`: in this step, after the events listed, `by` must end the "
    "connection with `code`. `framebuffer`: at the end, as stored little-endian, rows from the top (XRGB8888: blue, "
    "green, red, 0), all zero at first; absent: it still is. `needs`: what is offered beyond what every client must; "
    "one that cannot offer it tests the refusal."
)
ABOUT_MESSAGES: Final = (
    "Single messages, whole: `bytes` (type, length, body) and `event`, or the code with which a receiver that would "
    "take such a message refuses it for what it says. Nothing here depends on a connection's state."
)
ABOUT_TILES: Final = (
    "Payloads of tile encodings: `payload` of a rectangle of `width` x `height` at 0,0 in `format` and the `stored` "
    "pixels (little-endian, rows from the top; XRGB8888: blue, green, red, 0), their SHA-256 where they are long, or "
    "the `error` code."
)


LISTS: Final = {"exchange", "tiles"}
"""What in a vector stands on several lines."""


def as_text(about: str, vectors: list[Json]) -> str:
    """JSON with a line for each step or short vector, so that a change shows where it is."""
    parts = [f'{{"version": {c.VERSION}, "about": {json.dumps(about)}, "vectors": [']
    for number, vector in enumerate(vectors):
        comma = "," if number + 1 < len(vectors) else ""
        if not vector.keys() & LISTS:
            parts.append(f"{json.dumps(vector)}{comma}")
            continue
        fields = [
            f'  "{name}": [\n' + ",\n".join(f"    {json.dumps(step)}" for step in value) + "\n  ]"
            if name in LISTS
            else f'  "{name}": {json.dumps(value)}'
            for name, value in vector.items()
        ]
        parts.append("{\n" + ",\n".join(fields) + f"\n}}{comma}")
    parts.append("]}\n")
    return "\n".join(parts)


def unique(vectors: list[Json]) -> list[Json]:
    """The same; their names must differ."""
    names = [vector["name"] for vector in vectors]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return vectors


_EXCHANGES: Final[dict[str, Callable[[], list[Exchange]]]] = {
    "handshake.json": _handshakes,
    "session.json": _sessions,
    "updates.json": _updates,
    "refusals.json": _refusals,
    "cache.json": _caches,
}


def vector_files() -> dict[str, str]:
    """Every vector file by its name, but for those of vectors_encoded.py."""
    made = {
        name: as_text(ABOUT_EXCHANGES, unique([exchange.vector() for exchange in build()]))
        for name, build in _EXCHANGES.items()
    }
    made["messages.json"] = as_text(ABOUT_MESSAGES, unique(_messages()))
    made["tiles.json"] = as_text(ABOUT_TILES, unique(_tiles()))
    return made
