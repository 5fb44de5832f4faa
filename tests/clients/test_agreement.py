"""The C client accepts and refuses what the Python connection does, with the same codes, however it is fed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tilewire.protocol import AuthMethod, Capability, Code, CursorMode, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAGIC
from tilewire.protocol.wire import MESSAGES, Message, Sender, encode_varint, frame
from tilewire.simulator import client as c

from tests.clients.strategies import oddities, splits, talk, updates
from tests.clients.support import ALL, Oracle, Server, config, messages_in, pieces, reply, welcome


def compare(client: c.Client, data: bytes, cuts: Sequence[int] = ()) -> Oracle:
    """Feed both, end the stream, and compare everything that a caller can see."""
    server = Server()
    server.receive(client.output())
    assert server.connection.hello is not None
    oracle = Oracle(server.connection.hello, overlay=client.config.overlay)
    oracle.feed(data)
    oracle.end()
    for piece in pieces(data, cuts):
        client.feed(piece)
        while client.pending:
            client.draw_done()
    client.end()
    assert client.error is (Code.TRUNCATED if oracle.truncated else oracle.code)
    assert client.events == oracle.events
    if oracle.code is None and not oracle.truncated:
        big_endian = client.config.big_endian
        assert client.framebuffer == oracle.framebuffer.stored(big_endian=big_endian)
    goodbye = [event for event in messages_in(client.output()) if isinstance(event, m.Goodbye)]
    # What is wrong is said once, with its code and sentence; a stream that ended needs no words.
    assert [(event.code, event.text) for event in goodbye] == (
        [(oracle.code, oracle.code.text)] if oracle.code is not None else []
    )
    return oracle


def handshake(capabilities: int) -> bytes:
    server = Server()
    server.receive(c.Client(config(capabilities=ALL)).output())
    return server.send(reply(), welcome(capabilities))


@st.composite
def streams(draw: st.DrawFn, pixel_format: PixelFormat, framebuffer: bool) -> bytes:
    """A whole conversation: mostly right, at times with something odd in it, at times damaged."""
    messages: list[Message] = []
    if draw(st.booleans()):
        messages += draw(updates(pixel_format, copy=framebuffer))
        for message in draw(st.lists(talk, max_size=4)):
            messages.insert(draw(st.integers(0, len(messages))), message)
    for message in draw(st.lists(oddities, max_size=3)):
        messages.insert(draw(st.integers(0, len(messages))), message)
    offered = ALL | (Capability.COPY if framebuffer else 0)
    capabilities = draw(st.sampled_from([int(offered), int(offered), 0]))
    data = bytearray(handshake(capabilities) + b"".join(message.encode() for message in messages))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["set", "flip", "insert", "delete", "cut"])):
            case "set" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case "delete":
                del data[at : at + draw(st.integers(1, 4))]
            case "cut":
                del data[at:]
    return bytes(data)


def cursor_of(kind: str, framebuffer: bool) -> dict[str, object]:
    if kind == "none" or (kind == "drawn" and not framebuffer):
        return {}
    return {"cursor": CursorMode.LOCAL, "cursor_side": 12, "overlay": kind == "overlay"}


@settings(max_examples=600, deadline=None)
@given(data=st.data(), cuts=splits)
def test_any_conversation(data: st.DataObject, cuts: list[int]) -> None:
    pixel_format = data.draw(st.sampled_from(list(PixelFormat)))
    framebuffer = data.draw(st.booleans())
    stream = data.draw(streams(pixel_format, framebuffer))
    device = config(
        pixel_format=pixel_format,
        framebuffer=framebuffer,
        capabilities=ALL,
        max_rect_area=data.draw(st.sampled_from([0, 256])),
        max_rect_width=data.draw(st.sampled_from([0, 16])),
        model_kib=data.draw(st.sampled_from([0, 16])),
        cache_slots=data.draw(st.sampled_from([0, 1, 4])) if framebuffer else 0,
        cache_slot_bytes=data.draw(st.sampled_from([1, 100, 4096])),
        hold=data.draw(st.booleans()),
        **cursor_of(data.draw(st.sampled_from(["none", "drawn", "overlay"])), framebuffer),
    )
    compare(c.Client(device), stream, cuts)


@settings(max_examples=300, deadline=None)
@given(type_=st.integers(0, 255), body=st.binary(max_size=64), inside=st.booleans())
@example(type_=0x4C, body=bytes(6) + b"\x01\x14", inside=True)
@example(type_=0x4A, body=bytes(6) + b"\x81\x00\x00\x00\x00\x00", inside=True)
def test_any_body(type_: int, body: bytes, inside: bool) -> None:
    begin = m.Begin(update=1, input=0).encode() if inside else b""
    stream = handshake(int(ALL | Capability.COPY)) + begin + frame(type_, body)
    compare(c.Client(config(capabilities=ALL)), stream)
    everything = config(
        capabilities=ALL, model_kib=16, cache_slots=100, cache_slot_bytes=400, **cursor_of("drawn", framebuffer=True)
    )
    compare(c.Client(everything), stream)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=80), start=st.sampled_from([b"", MAGIC, MAGIC + b"\x01\x01", b"reply", b"welcome"]))
def test_any_bytes(data: bytes, start: bytes) -> None:
    whole = handshake(0)
    prefix = {b"reply": whole[:8], b"welcome": whole[: 8 + whole[6]]}.get(start, start)
    compare(c.Client(config()), prefix + data)


def fields(*given: tuple[int, bytes]) -> bytes:
    return b"".join(bytes((tag,)) + encode_varint(len(value)) + value for tag, value in given)


def hello(body: bytes, low: int = 1, high: int = 1) -> bytes:
    return MAGIC + bytes((low, high)) + len(body).to_bytes(2, "little") + body


VERSION, METHOD, NONCE = (0x81, b"\x01"), (0x82, b"\x01"), (3, bytes(16))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", Code.NOT_TILEWIRE),
        (b"\x15\x03\x01", Code.NOT_TILEWIRE),
        (MAGIC[:3] + b"\r", Code.NOT_TILEWIRE),
        (hello(b"", 0, 1), Code.PROTOCOL),
        (hello(b"", 2, 1), Code.PROTOCOL),
        (MAGIC + b"\x01\x01\x01\x04", Code.TOO_LONG),
        (hello(fields(VERSION, METHOD, NONCE)), None),
        (hello(fields(VERSION, METHOD, NONCE, (4, b"later"))), None),
        (hello(fields((0, b""), VERSION, METHOD, NONCE)), None),
        (hello(fields(VERSION, METHOD, NONCE, (0x84, b"later"))), Code.UNSUPPORTED),
        (hello(fields(METHOD, VERSION, NONCE)), Code.PROTOCOL),
        (hello(fields(VERSION, VERSION, METHOD, NONCE)), Code.PROTOCOL),
        (hello(fields(VERSION, METHOD)), Code.PROTOCOL),
        (hello(fields(VERSION, NONCE)), Code.PROTOCOL),
        (hello(fields(METHOD, NONCE)), Code.PROTOCOL),
        (hello(fields((0x81, b"\x00"), METHOD, NONCE)), Code.BAD_VALUE),
        (hello(fields((0x81, b""), METHOD, NONCE)), Code.PROTOCOL),
        (hello(fields((0x81, b"\x01\x00"), METHOD, NONCE)), Code.PROTOCOL),
        (hello(fields((0x81, b"\x02"), METHOD, NONCE)), Code.VERSION),
        (hello(fields(VERSION, METHOD, NONCE), 2, 3), Code.VERSION),
        (hello(fields(VERSION, (0x82, b"\x03"), NONCE)), Code.BAD_VALUE),
        (hello(fields(VERSION, (0x82, b"\x05"), NONCE)), Code.BAD_VALUE),
        (hello(fields(VERSION, (0x82, b"\x02"), NONCE)), Code.AUTH_REQUIRED),
        (hello(fields(VERSION, (0x82, b"\x04"), NONCE)), Code.AUTH_REQUIRED),
        (hello(fields(VERSION, METHOD, (3, bytes(15)))), Code.PROTOCOL),
        (hello(fields(VERSION, METHOD, (3, bytes(17)))), Code.PROTOCOL),
        (hello(fields(VERSION, METHOD, NONCE) + b"\x04"), Code.PROTOCOL),
        (hello(fields(VERSION, METHOD, NONCE) + b"\x04\x80\x00"), Code.PROTOCOL),
        (hello(fields(VERSION, METHOD, NONCE) + b"\x04\x80\x80\x04"), Code.BAD_VALUE),
        (hello(fields(VERSION, METHOD, NONCE) + b"\x04\x01"), Code.PROTOCOL),
        (hello(b""), None),
        (hello(b"") + m.Goodbye(code=2, text="no").encode(), None),
        (hello(b"") + m.Bell().encode(), Code.BAD_STATE),
        (hello(b"") + welcome(0).encode(), Code.BAD_STATE),
        (hello(b"") + m.Goodbye(code=2).encode() + b"x", Code.BAD_STATE),
    ],
)
def test_the_reply(data: bytes, code: Code | None) -> None:
    assert compare(c.Client(config()), data).code is code
    assert compare(c.Client(config()), data, [1] * len(data)).code is code


def replaced(tag: int, value: bytes | None) -> bytes:
    """WELCOME with another value for one field, or without it."""
    known = {
        1: b"s1",
        2: b"\x00\x04\x58\x02",
        3: b"\x02",
        4: b"\x01\x00\x00\x00",
        5: b"\x1e\x4b\x01",
        6: bytes(8),
    }
    if value is None:
        del known[tag]
    else:
        known[tag] = value
    body = fields(*sorted(known.items(), key=lambda item: item[0] & 0x7F))
    return frame(m.Welcome.type, body)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        *((replaced(tag, None), Code.PROTOCOL) for tag in range(1, 7)),
        (replaced(1, b""), Code.BAD_VALUE),
        (replaced(1, b"s" * 64), None),
        (replaced(1, b"s" * 65), Code.BAD_VALUE),
        (replaced(1, b"\xc3"), Code.BAD_VALUE),
        (replaced(2, b"\x00\x04\x58"), Code.PROTOCOL),
        (replaced(2, b"\x00\x04\x00\x00"), Code.BAD_VALUE),
        (replaced(2, b"\x00\x10\x00\x10"), None),
        (replaced(2, b"\x01\x10\x00\x10"), Code.BAD_VALUE),
        (replaced(2, b"\x00\x04\x58\x02grown"), None),
        (replaced(3, b"\x03"), Code.BAD_VALUE),
        (replaced(4, bytes(4)), Code.BAD_VALUE),
        (replaced(4, b"\x01\x00\x00\x00\x00"), Code.PROTOCOL),
        (replaced(5, b"\x1e\x4b"), Code.PROTOCOL),
        (replaced(5, b"\x00\x4b\x01"), Code.BAD_VALUE),
        (replaced(5, b"\x1e\x09\x01"), Code.BAD_VALUE),
        (replaced(5, b"\x1e\x5b\x01"), Code.BAD_VALUE),
        (replaced(5, b"\x1e\x4b\x02"), Code.BAD_VALUE),
        (replaced(6, b"\x01" + bytes(7)), None),
        (replaced(6, b"\x03" + bytes(7)), Code.BAD_VALUE),
        (replaced(6, bytes(7) + b"\x80"), Code.BAD_VALUE),
        (replaced(6, bytes(7)), Code.PROTOCOL),
        (replaced(7, bytes(18)), None),
        (replaced(7, bytes(17)), Code.PROTOCOL),
        (replaced(8, b"\x00"), None),
        (replaced(8, b"\x01"), Code.BAD_VALUE),
        (replaced(8, b"\x04"), Code.BAD_VALUE),
        (replaced(9, b"later"), None),
        (replaced(0x89, b"later"), Code.UNSUPPORTED),
        (frame(0x70, b"later"), Code.BAD_STATE),
        (m.Begin(update=1, input=0).encode(), Code.BAD_STATE),
        (m.Notice(code=1).encode(), Code.BAD_STATE),
        (m.Proof(mac=bytes(32)).encode(), Code.BAD_STATE),
        (m.Goodbye(code=13, text="x" * 1000).encode(), None),
        (m.Goodbye(code=13, text="x" * 1000).encode() + b"\x00", Code.BAD_STATE),
        (frame(m.Goodbye.type, b"\x0d\x00" + b"x" * 1001), Code.BAD_VALUE),
        (frame(m.Goodbye.type, b"\x0d\x00\xed\xa0\x80"), Code.BAD_VALUE),
        (frame(m.Goodbye.type, b"\x0d"), Code.PROTOCOL),
        (b"\x70\x81\x20", Code.TOO_LONG),
        (b"\x70\x80\x20" + bytes(4096), Code.BAD_STATE),
    ],
)
def test_after_the_reply(data: bytes, code: Code | None) -> None:
    whole = hello(fields(VERSION, METHOD, NONCE)) + data
    assert compare(c.Client(config()), whole).code is code
    assert compare(c.Client(config()), whole, [3] * len(whole)).code is code


BEGIN, END = m.Begin(update=1, input=0), m.End()
RECT = Rect(0, 0, 4, 4)
OUTSIDE = Rect(38, 0, 4, 4)
BELOW = Rect(0, 22, 4, 4)
EXPLANATION = m.Explanation(update=1, encode_us=1, in_flight=2, bytes_per_s=3, round_trip_us=4)


def raw(rect: Rect) -> m.Raw:
    return m.Raw(rect=rect, payload=bytes(2 * rect.area))


def cursor(**given: object) -> m.CursorShape:
    known: dict[str, object] = {"width": 2, "height": 2, "hot_x": 0, "hot_y": 0, "row": 0, "pixels": bytes(16)}
    return m.CursorShape(**(known | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([BEGIN, END], None),
        ([m.Begin(update=2, input=0)], Code.BAD_VALUE),
        ([BEGIN, END, BEGIN], Code.BAD_VALUE),
        ([m.Begin(update=1, input=1)], Code.BAD_VALUE),
        ([BEGIN, BEGIN], Code.BAD_STATE),
        ([END], Code.BAD_STATE),
        ([raw(RECT)], Code.BAD_STATE),
        ([BEGIN, raw(Rect(0, 0, 32, 8))], None),
        ([BEGIN, raw(Rect(0, 0, 33, 1))], Code.NOT_OFFERED),
        ([BEGIN, raw(Rect(0, 0, 32, 9))], Code.NOT_OFFERED),
        ([BEGIN, raw(OUTSIDE)], Code.BAD_VALUE),
        ([BEGIN, raw(BELOW)], Code.BAD_VALUE),
        ([BEGIN, m.Palette(rect=Rect(0, 0, 33, 1), payload=b"")], Code.NOT_OFFERED),
        ([BEGIN, m.Palette(rect=BELOW, payload=b"")], Code.BAD_VALUE),
        ([BEGIN, m.Fill(rect=Rect(0, 0, 40, 24), pixel=b"\x01\x02"), END], None),
        ([BEGIN, m.Fill(rect=OUTSIDE, pixel=b"\x01\x02")], Code.BAD_VALUE),
        ([BEGIN, m.Copy(rect=RECT, source=Point(36, 20)), END], None),
        ([BEGIN, m.Copy(rect=RECT, source=Point(37, 0))], Code.BAD_VALUE),
        ([BEGIN, m.Copy(rect=RECT, source=Point(0, 21))], Code.BAD_VALUE),
        ([BEGIN, m.Copy(rect=OUTSIDE, source=Point(0, 0))], Code.BAD_VALUE),
        ([BEGIN, m.CacheStore(slot=0, rect=RECT)], Code.NOT_OFFERED),
        ([BEGIN, m.CacheDraw(slot=0, position=Point(0, 0))], Code.NOT_OFFERED),
        ([BEGIN, m.Codec(rect=RECT, epoch=129, payload=b"")], Code.NOT_OFFERED),
        ([BEGIN, m.Deflate(rect=RECT, inner=0x48, payload=b"")], Code.NOT_OFFERED),
        ([BEGIN, m.Jpeg(rect=RECT, quality=50, sampling=0, payload=b"")], Code.NOT_OFFERED),
        ([m.Codec(rect=RECT, epoch=129, payload=b"")], Code.BAD_STATE),
        ([m.Resize(width=30, height=20), BEGIN, raw(Rect(26, 16, 4, 4)), END], None),
        ([m.Resize(width=30, height=20), BEGIN, raw(Rect(27, 16, 4, 4))], Code.BAD_VALUE),
        ([BEGIN, m.Resize(width=30, height=20)], Code.BAD_STATE),
        ([BEGIN, END, EXPLANATION], None),
        ([EXPLANATION], Code.BAD_VALUE),
        ([BEGIN, EXPLANATION], Code.BAD_STATE),
        ([m.InputEcho(input=1)], Code.BAD_VALUE),
        ([cursor()], Code.NOT_OFFERED),
        ([m.CursorPosition(position=Point(1, 1))], Code.NOT_OFFERED),
        ([m.Clipboard(total=4, offset=0, data=b"ab"), m.Clipboard(total=4, offset=2, data=b"cd")], None),
        ([m.Clipboard(total=0, offset=0, data=b"")], None),
        ([m.Clipboard(total=4, offset=0, data=b"")], Code.BAD_VALUE),
        ([m.Clipboard(total=4, offset=0, data=b"abcde")], Code.BAD_VALUE),
        ([m.Clipboard(total=4, offset=2, data=b"cd")], Code.BAD_STATE),
        ([m.Clipboard(total=4, offset=0, data=b"ab"), m.Clipboard(total=4, offset=3, data=b"d")], Code.BAD_STATE),
        ([m.Clipboard(total=4, offset=0, data=b"ab"), m.Clipboard(total=5, offset=2, data=b"d")], Code.BAD_STATE),
        ([m.Clipboard(total=4, offset=0, data=b"ab"), m.Clipboard(total=4, offset=2, data=b"cde")], Code.BAD_VALUE),
        ([m.Proof(mac=bytes(32))], Code.BAD_STATE),
        ([welcome(0)], Code.BAD_STATE),
        ([m.Goodbye(code=0), m.Bell()], Code.BAD_STATE),
    ],
    ids=lambda value: "-".join(x.name for x in value) if isinstance(value, list) else getattr(value, "name", "OK"),
)
def test_a_rule(messages: list[Message], code: Code | None) -> None:
    device = config(capabilities=ALL, max_rect_width=32, max_rect_area=256)
    stream = handshake(int(ALL | Capability.COPY)) + b"".join(message.encode() for message in messages)
    assert compare(c.Client(device), stream).code is code
    assert compare(c.Client(device), stream, [1] * len(stream)).code is code


@pytest.mark.parametrize(
    "messages",
    [
        [m.Bell()],
        [m.InputEcho(input=1)],
        [m.Clipboard(total=0, offset=0, data=b"")],
        [m.Resize(width=30, height=20)],
        [BEGIN, END, EXPLANATION],
        [BEGIN, m.Copy(rect=RECT, source=Point(0, 0))],
    ],
    ids=lambda messages: str(messages[-1].name),
)
def test_what_is_not_in_force_is_refused(messages: list[Message]) -> None:
    stream = handshake(0) + b"".join(message.encode() for message in messages)
    for device in (config(capabilities=ALL), config(framebuffer=False)):
        assert compare(c.Client(device), stream).code is Code.NOT_OFFERED


def test_copies_are_not_offered_where_they_cannot_be_done() -> None:
    for device in (config(framebuffer=False), config(readable=False)):
        stream = handshake(int(Capability.COPY))
        assert compare(c.Client(device), stream).code is Code.BAD_VALUE


@pytest.mark.parametrize("message", [cls for cls in MESSAGES.values() if cls.sender is Sender.CLIENT])
def test_what_only_clients_send_is_refused_before_its_body(message: type[Message]) -> None:
    stream = handshake(0) + bytes((message.type, 40))
    assert compare(c.Client(config()), stream).code is Code.BAD_STATE


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"\x70\x80\x20", None),
        (b"\x70\x81\x20", Code.TOO_LONG),
        (b"\x70\xff\xff\x80", Code.TOO_LONG),
        (b"\x70\x80\x00", Code.PROTOCOL),
        (b"\x70\x80\x80\x00", Code.PROTOCOL),
        (b"\x5f\x00", Code.PROTOCOL),
        (b"\x46\x00", Code.PROTOCOL),
        (b"\x5f\x81\x20", Code.TOO_LONG),
    ],
)
def test_headers(head: bytes, code: Code | None) -> None:
    stream = handshake(0) + head + (bytes(4096) if code is None else b"")
    assert compare(c.Client(config()), stream).code is code


@pytest.mark.parametrize("size", [1024, 1025, 65536])
@pytest.mark.parametrize("cuts", [[], [7], [1] * 70000])
def test_the_largest_message(size: int, cuts: list[int]) -> None:
    for length in (size - 1, size, size + 1):
        total = 262144
        head = encode_varint(total) + b"\x00"
        body = head + bytes(length - len(head))
        stream = handshake(int(Capability.CLIPBOARD)) + frame(m.Clipboard.type, body)
        oracle = compare(c.Client(config(max_message=size, capabilities=ALL)), stream, cuts)
        assert oracle.code is (Code.TOO_LONG if length > size else None)
        assert len(oracle.events) == (1 if length > size else 2)


def test_a_stream_cut_after_every_byte() -> None:
    messages = [
        m.Notice(code=1, text="nå"),
        m.ViewState(mode=0, rotation=0, follow=1, session=m.Size(width=9, height=9), window=RECT),
        BEGIN,
        raw(RECT),
        m.Copy(rect=Rect(1, 1, 4, 4), source=Point(0, 0)),
        m.Palette(rect=RECT, payload=b"\x81\x01\x02\x03\x04\x1e"),
        END,
        EXPLANATION,
        m.Bell(),
        m.Goodbye(code=17, text="stopping"),
    ]
    stream = handshake(int(ALL | Capability.COPY)) + frame(0x71, b"later")
    stream += b"".join(message.encode() for message in messages)
    ends = 0
    for end in range(len(stream) + 1):
        client = c.Client(config(capabilities=ALL))
        ends += not compare(client, stream[:end]).truncated
        assert client.phase is c.Phase.CLOSED
    # Between messages, outside the update: nothing, reply, WELCOME, unknown, NOTICE, VIEW_STATE, END and what follows.
    assert ends == 10
    assert compare(c.Client(config(capabilities=ALL)), stream).code is None


def test_auth_none_is_not_taken_for_ticket() -> None:
    client = c.Client(config(ticket=b"ticket"))
    server = Server()
    server.receive(client.output())
    assert server.connection.hello is not None
    assert server.connection.hello.auth_methods == AuthMethod.TICKET
    assert server.connection.hello.ticket == b"ticket"
    client.feed(hello(fields(VERSION, METHOD, NONCE)))
    assert client.error is Code.AUTH_REQUIRED
