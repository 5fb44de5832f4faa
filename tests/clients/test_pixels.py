"""Pixels: every operation, format and way of drawing gives what the reference decoder gives."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.protocol import Code, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.wire import Message
from tilewire.simulator import client as c

from tests.clients.strategies import splits, updates
from tests.clients.support import Oracle, Server, config, connect, pack, palette, pieces

FORMATS = list(PixelFormat)


def framed(*operations: Message) -> list[Message]:
    return [m.Begin(update=1, input=0), *operations, m.End()]


def shown(client: c.Client, messages: Sequence[Message], cuts: Sequence[int] = ()) -> tuple[bytes, bytes]:
    """The device's framebuffer and the reference decoder's, after the same messages."""
    server = Server()
    data = server.accept(client) + server.send(*messages)
    assert server.connection.hello is not None
    oracle = Oracle(server.connection.hello)
    oracle.feed(data)
    for piece in pieces(data, cuts):
        client.feed(piece)
        while client.pending:
            client.draw_done()
    assert oracle.code is None
    assert client.error is None
    assert client.events == oracle.events
    return client.framebuffer, oracle.framebuffer.stored(big_endian=client.config.big_endian)


@st.composite
def devices(draw: st.DrawFn) -> c.ClientConfig:
    pixel_format = draw(st.sampled_from(FORMATS))
    framebuffer = draw(st.booleans())
    return config(
        pixel_format=pixel_format,
        big_endian=pixel_format is PixelFormat.RGB565 and draw(st.booleans()),
        framebuffer=framebuffer,
        padding=pixel_format.stored * draw(st.integers(0, 3)),
        strip_rows=draw(st.integers(1, 30)),
        hold=draw(st.booleans()),
    )


@settings(max_examples=250, deadline=None)
@given(data=st.data(), device=devices(), cuts=splits)
def test_any_split_gives_the_picture_of_the_reference_decoder(
    data: st.DataObject, device: c.ClientConfig, cuts: list[int]
) -> None:
    messages = data.draw(updates(device.pixel_format, copy=device.framebuffer))
    seen, expected = shown(c.Client(device), messages, cuts)
    assert seen == expected


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("count", [2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 127, 128])
@pytest.mark.parametrize("runs", [False, True])
def test_palette_sizes(pixel_format: PixelFormat, count: int, runs: bool) -> None:
    if runs and count > 64:
        return
    rect = Rect(3, 2, 33, 20)
    colours = [i * 0x010305 & (1 << 8 * pixel_format.packed) - 1 for i in range(count)]
    indices = [(i * i >> 4) % count for i in range(rect.area)]
    message = m.Palette(rect=rect, payload=palette(rect, colours, indices, pixel_format, runs=runs))
    seen, expected = shown(c.Client(config(pixel_format=pixel_format)), framed(message), [1] * 4000)
    assert seen == expected


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 127, 128, 129, 191, 192, 255, 256, 40 * 24 - 1, 40 * 24])
def test_run_lengths(length: int) -> None:
    rect = Rect(0, 0, 40, 24)
    indices = [1] * length + [0] * (rect.area - length)
    for count in (2, 4, 64):
        payload = palette(rect, list(range(5, 5 + count)), indices, PixelFormat.RGB565, runs=True)
        seen, expected = shown(c.Client(config()), framed(m.Palette(rect=rect, payload=payload)))
        assert seen == expected


@pytest.mark.parametrize("dx", [-5, 0, 5])
@pytest.mark.parametrize("dy", [-3, 0, 3])
def test_copies_that_overlap(dx: int, dy: int) -> None:
    whole = Rect(0, 0, 40, 24)
    raw = m.Raw(rect=whole, payload=b"".join(pack(i, PixelFormat.RGB565) for i in range(whole.area)))
    copy = m.Copy(rect=Rect(10, 8, 20, 10), source=Point(10 + dx, 8 + dy))
    seen, expected = shown(c.Client(config(padding=6)), framed(raw, copy))
    assert seen == expected


@pytest.mark.parametrize("dx", [-200, -7, -1, 1, 7, 200])
@pytest.mark.parametrize("pixel_format", [PixelFormat.RGB565, PixelFormat.XRGB8888])
def test_long_rows_that_overlap(pixel_format: PixelFormat, dx: int) -> None:
    """Sideways by way of a buffer: rows of several times its 512 bytes, and a rest."""
    whole = Rect(0, 0, 900, 3)
    raw = m.Raw(rect=whole, payload=b"".join(pack(i * 7 & 0xFFFF, pixel_format) for i in range(whole.area)))
    copies = [m.Copy(rect=Rect(201, 1, width, 2), source=Point(201 + dx, 1)) for width in (499, 128, 1)]
    device = config(width=900, height=3, pixel_format=pixel_format, max_message=16384)
    seen, expected = shown(c.Client(device), framed(raw, *copies))
    assert seen == expected


def test_padding_between_rows_is_left_alone() -> None:
    client = c.Client(config(padding=10))
    shown(client, framed(m.Fill(rect=Rect(0, 0, 40, 24), pixel=b"\xff\xff")))
    row = 40 * 2
    assert all(not any(client.picture[y * client.stride + row : (y + 1) * client.stride]) for y in range(24))


def test_every_dirty_rectangle_is_reported() -> None:
    rects = [Rect(0, 0, 40, 24), Rect(1, 2, 3, 4), Rect(39, 23, 1, 1)]
    client = c.Client(config(report_draws=True))
    server = connect(client)
    client.events.clear()
    client.feed(server.send(*framed(*(m.Fill(rect=rect, pixel=b"\x01\x02") for rect in rects))))
    assert client.events == [*(c.Drawn(rect) for rect in rects), c.Presented(1, 0)]


def test_strips_cover_the_rectangle_in_order() -> None:
    client = c.Client(config(framebuffer=False, strip_rows=1, report_draws=True))
    server = connect(client)
    client.events.clear()
    # The strip holds 40 pixels, so 4 rows of 10.
    client.feed(server.send(*framed(m.Fill(rect=Rect(5, 1, 10, 11), pixel=b"\x01\x02"))))
    assert client.events[:-1] == [c.Drawn(Rect(5, y, 10, h)) for y, h in ((1, 4), (5, 4), (9, 3))]


@pytest.mark.parametrize("framebuffer", [False, True])
def test_nothing_goes_on_while_pixels_are_pending(framebuffer: bool) -> None:
    client = c.Client(config(framebuffer=framebuffer, strip_rows=1, hold=True))
    server = connect(client)
    rect = Rect(0, 0, 40, 6)
    raw = m.Raw(rect=rect, payload=bytes(range(240)) * 2)
    client.feed(server.send(*framed(raw, m.Fill(rect=rect, pixel=b"\x01\x02"))))
    strips = 1 if framebuffer else 6
    for drawn in range(1, 2 * strips + 1):
        assert client.draws == drawn
        assert client.pending
        assert c.Presented(1, 0) not in client.events
        client.draw_done()
    assert client.events[-1] == c.Presented(1, 0)
    assert client.pending
    # Presenting may take its time as well: acknowledged is what is out.
    assert client.output() == b""
    assert client.shown == 0
    client.draw_done()
    assert client.shown == 1
    acks = server.receive(client.output())
    assert [event.update for event in acks if isinstance(event, m.Ack)] == [1]


def corrupted(rect: Rect, payload: bytes) -> Code | None:
    client = c.Client(config())
    server = Server()
    data = server.accept(client)
    data += server.send(m.Begin(update=1, input=0), m.Palette(rect=rect, payload=payload))
    assert server.connection.hello is not None
    oracle = Oracle(server.connection.hello)
    oracle.feed(data)
    client.feed(data)
    assert client.error is oracle.code
    return client.error


RED_AND_BLUE = b"\x01\x02\x03\x04"
THREE = b"\x82" + bytes(6)


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        (b"", "nothing"),
        (b"\x00\x01\x02", "one colour"),
        (b"\x80\x01\x02", "one colour in runs"),
        (b"\x01" + RED_AND_BLUE[:3], "a cut palette"),
        (b"\x01" + RED_AND_BLUE + b"\x00\x00", "rows too few"),
        (b"\x01" + RED_AND_BLUE + b"\x00\x00\x00\x00", "rows too many"),
        (b"\x01" + RED_AND_BLUE + b"\x00\x10\x00", "padding that is not zero"),
        (b"\x02" + bytes(6) + b"\x00\xc0\x00", "an index beyond the palette"),
        (b"\x04" + bytes(10) + b"\x00\x00\x05\x00\x00\x00", "the same with four bits"),
        (b"\x14" + bytes(42) + b"\x15" + bytes(8), "the same with eight bits"),
        (b"\xc0" + bytes(130) + b"\x00" * 9, "runs of 65 colours"),
        (b"\x81" + RED_AND_BLUE, "no run"),
        (b"\x81" + RED_AND_BLUE + b"\x0e", "runs that end early"),
        (b"\x81" + RED_AND_BLUE + b"\x12", "a run beyond the rectangle"),
        (b"\x81" + RED_AND_BLUE + b"\x10\x00", "bytes after the last run"),
        (b"\x81" + RED_AND_BLUE + b"\xfe", "a long run without its length"),
        (b"\x81" + RED_AND_BLUE + b"\xfe\x80", "a long run with half its length"),
        (b"\x81" + RED_AND_BLUE + b"\xfe\x80\x00", "a length longer than it needs to be"),
        (b"\x81" + RED_AND_BLUE + b"\xfe\xff\xff\xff\xff\x0f", "a length of 32 bits"),
        (b"\x81" + RED_AND_BLUE + b"\xfe\xff\xff\xff\xff\x7f", "a length of 35 bits"),
        (THREE + b"\x03" * 9, "an index beyond the palette in runs"),
    ],
)
def test_a_bad_palette_payload_is_refused(payload: bytes, what: str) -> None:
    assert corrupted(Rect(0, 0, 3, 3), payload) is Code.BAD_PAYLOAD, what


def test_the_same_palette_payloads_made_well_are_taken() -> None:
    assert corrupted(Rect(0, 0, 3, 3), b"\x01" + RED_AND_BLUE + b"\xe0\xa0\x40") is None
    assert corrupted(Rect(0, 0, 3, 3), b"\x81" + RED_AND_BLUE + b"\x10") is None


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_raw_and_fill_of_another_length_are_refused(pixel_format: PixelFormat) -> None:
    rect = Rect(0, 0, 3, 2)
    right = rect.area * pixel_format.packed
    for size in (0, right - 1, right + 1):
        client = c.Client(config(pixel_format=pixel_format))
        server = connect(client)
        begin = server.send(m.Begin(update=1, input=0))
        client.feed(begin + m.Raw(rect=rect, payload=bytes(size)).encode())
        assert client.error is Code.BAD_PAYLOAD
    for size in {1, 2, 3} - {pixel_format.packed}:
        client = c.Client(config(pixel_format=pixel_format))
        server = connect(client)
        begin = server.send(m.Begin(update=1, input=0))
        client.feed(begin + m.Fill(rect=rect, pixel=bytes(size)).encode())
        assert client.error is Code.BAD_PAYLOAD
