"""The local cursor: over the picture, never in it, and gone when the connection is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.protocol import Code, CursorMode, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.wire import Message
from tilewire.simulator import client as c

from tests.clients.cursors import NO_SHAPE, SIDE, SLOT_BYTES, SLOTS, Rig, Shape, arrow, at, blended
from tests.clients.jpegs import jpeg_file, message, photograph
from tests.clients.pictures import pack_stored
from tests.clients.strategies import rects
from tests.clients.support import ALL, Server, config, pack, palette
from tests.clients.test_agreement import compare, handshake
from tests.clients.test_build import run_sanitized

FORMATS = list(PixelFormat)
WHOLE = Rect(0, 0, 40, 24)


def noise(pixel_format: PixelFormat, rect: Rect = WHOLE, seed: int = 1) -> m.Raw:
    data = bytes((seed + at * at * 7 + at * 13 >> 2) & 255 for at in range(rect.area * pixel_format.packed))
    return m.Raw(rect=rect, payload=data)


# Any history.


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    width, height = draw(st.integers(1, SIDE)), draw(st.integers(1, SIDE))
    hot_x, hot_y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    if draw(st.booleans()):
        return arrow(width, height, hot_x, hot_y, draw(st.sampled_from([None, 0, 1, 128, 254, 255])))
    seed = draw(st.binary(min_size=4, max_size=40))  # also what is not premultiplied
    size = 4 * width * height
    return Shape(width, height, hot_x, hot_y, (seed * (size // len(seed) + 1))[:size])


@st.composite
def operations(draw: st.DrawFn, rig: Rig) -> Message:
    pure, pixel_format = rig.pure, rig.pure.format
    rect = draw(rects(pure.width, pure.height))
    colour = st.integers(0, (1 << 8 * pixel_format.packed) - 1)
    kind = draw(st.sampled_from(["fill", "raw", "palette", "copy", "store", "draw", "codec"]))
    if kind == "raw":
        return noise(pixel_format, rect, draw(st.integers(0, 255)))
    if kind == "palette":
        colours = draw(st.lists(colour, min_size=2, max_size=9))
        indices = [(at * 7 >> 3) % len(colours) for at in range(rect.area)]
        payload = palette(rect, colours, indices, pixel_format, runs=draw(st.booleans()))
        return m.Palette(rect=rect, payload=payload)
    if kind == "copy":
        x, y = draw(st.integers(0, pure.width - rect.width)), draw(st.integers(0, pure.height - rect.height))
        return m.Copy(rect=rect, source=Point(x, y))
    if kind == "store" and rect.area * pixel_format.stored <= SLOT_BYTES:
        return m.CacheStore(slot=draw(st.integers(0, SLOTS - 1)), rect=rect)
    fitting = [
        (slot, width, height)
        for slot, (width, height, _) in pure.slots.items()
        if width <= pure.width and height <= pure.height
    ]
    if kind == "draw" and fitting:
        slot, width, height = draw(st.sampled_from(fitting))
        x, y = draw(st.integers(0, pure.width - width)), draw(st.integers(0, pure.height - height))
        return m.CacheDraw(slot=slot, position=Point(x, y))
    if kind == "codec":
        return rig.coded(rect, draw(st.sampled_from(["flat", "text", "noise"])), draw(st.integers(0, 99)))
    return m.Fill(rect=rect, pixel=pack(draw(colour), pixel_format))


@st.composite
def rigs(draw: st.DrawFn) -> Rig:
    pixel_format = draw(st.sampled_from(FORMATS))
    return Rig(
        pixel_format=pixel_format,
        big_endian=pixel_format is PixelFormat.RGB565 and draw(st.booleans()),
        padding=pixel_format.stored * draw(st.integers(0, 2)),
        hold=draw(st.booleans()),
    )


def go_on(data: st.DataObject, rig: Rig) -> None:
    """One thing that may happen now."""
    width, height = rig.pure.width, rig.pure.height
    on_panel = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    anywhere = on_panel | st.tuples(st.integers(0, 4095), st.integers(0, 4095))
    moves = data.draw(st.lists(anywhere, max_size=2))
    kinds = ["pointer", "position", "shape", "none", "talk"]
    kinds += ["operation"] * 6 + ["end"] if rig.inside else ["begin"] * 4 + ["resize"]
    match data.draw(st.sampled_from(kinds)):
        case "pointer":
            rig.pointer(*data.draw(anywhere))
            rig.settle(moves)
        case "position":
            rig.send(at(*data.draw(on_panel)), moves=moves)
        case "shape":
            parts = data.draw(shapes()).parts(data.draw(st.lists(st.integers(1, 5), max_size=3)))
            if data.draw(st.booleans()):
                rig.send(parts[0], moves=moves)  # perhaps never ended
            else:
                rig.send(*parts, moves=moves)
        case "none":
            rig.send(*NO_SHAPE.parts(), moves=moves)
        case "talk":
            rig.send(m.Bell(), moves=moves)
        case "operation":
            rig.send(data.draw(operations(rig)), moves=moves)
        case "end":
            rig.send(m.End(), moves=moves)
        case "begin":
            rig.send(rig.begin(), moves=moves)
        case "resize":
            size = st.integers(1, 50)
            rig.send(m.Resize(width=data.draw(size), height=data.draw(size)), moves=moves)


def finish(rig: Rig, how: str) -> None:
    """The connection ends, perhaps while something is out."""
    client = rig.client
    match how:
        case "close":
            client.close()
        case "end":
            client.end()
        case "goodbye":
            client.feed(m.Goodbye(code=Code.STOPPING).encode())
        case "error":
            client.feed(b"\x5f\x00")
        case "timeout":
            for second in range(0, 75, 15):
                client.tick(1000 * second)
                client.output()


ENDS = ["close", "end", "goodbye", "error", "timeout"]


@settings(max_examples=300, deadline=None)
@given(data=st.data(), rig=rigs(), how=st.sampled_from(ENDS))
def test_any_history(data: st.DataObject, rig: Rig, how: str) -> None:
    rig.send(rig.begin(), noise(rig.pure.format), m.End())
    for _ in range(data.draw(st.integers(0, 25))):
        go_on(data, rig)
    if data.draw(st.booleans()):  # something is on its way when the end comes
        rig.pointer(data.draw(st.integers(0, 9)), 3)
        rig.flush()
    pending, before = rig.client.pending, rig.client.screen
    finish(rig, how)
    assert not pending or rig.client.screen == before  # a transfer may be reading
    # The transfer ends, and whatever is called then leaves the picture without the cursor, also on the panel.
    while rig.client.pending:
        rig.flush()
        rig.client.draw_done()
    rig.flush()
    assert rig.client.phase is c.Phase.CLOSED
    assert rig.client.screen == rig.client.framebuffer == rig.stored()
    if not rig.inside:
        assert rig.panel == rig.client.screen
    assert rig.client.cursor is None


@settings(max_examples=100, deadline=None)
@given(data=st.data(), rig=rigs(), how=st.sampled_from([*ENDS, "none"]))
def test_a_resume_is_made_of_the_framebuffer_alone(data: st.DataObject, rig: Rig, how: str) -> None:
    """Whatever was going on, and whether or not something still is."""
    rig.send(rig.begin(), noise(rig.pure.format), m.End(), *arrow().parts())
    for _ in range(data.draw(st.integers(0, 8))):
        go_on(data, rig)
    rig.pointer(data.draw(st.integers(0, 39)), 3)
    finish(rig, how)
    assert rig.client.resume() is None  # WELCOME gave no token
    assert rig.client.screen == rig.stored()


# When it is drawn, and what the panel hears of it.


def place(rig: Rig) -> Rect | None:
    """Where it is drawn now."""
    return rig.client.cursor


def drawn(rig: Rig) -> list[Rect]:
    """What was handed out since the last look."""
    return [event.rect for event in rig.client.events if isinstance(event, c.Drawn)]


def shown(**fields: object) -> Rig:
    """A device whose cursor is drawn over a picture, its hot spot at (20, 10): 5 x 7 pixels from (19, 8)."""
    rig = Rig(**fields)
    rig.send(rig.begin(), noise(rig.pure.format), m.End(), *arrow().parts(), at(20, 10))
    assert rig.rect == Rect(19, 8, 5, 7)
    return rig


BESIDE = [Rect(0, 0, 19, 24), Rect(24, 0, 16, 24), Rect(0, 0, 40, 8), Rect(0, 15, 40, 9)]
UPON = [Rect(0, 0, 20, 9), Rect(23, 14, 1, 1), Rect(0, 0, 40, 24), Rect(20, 0, 1, 24)]


@pytest.mark.parametrize("rect", [*BESIDE, *UPON])
def test_it_is_taken_off_by_what_touches_it_alone(rect: Rect) -> None:
    rig = shown()
    fill = m.Fill(rect=rect, pixel=b"\x12\x34")
    rig.client.feed(rig.server.send(rig.begin(), fill))
    assert drawn(rig) == [rect]
    assert (rig.client.cursor is None) is (rect in UPON)
    rig.client.feed(rig.server.send(m.End()))
    # Drawn again where it was taken off, and handed out before the update is presented.
    again = [c.Drawn(Rect(19, 8, 5, 7))] if rect in UPON else []
    assert rig.client.events == [c.Drawn(rect), *again, c.Presented(2, 0)]
    for each in (rig.begin(), fill, m.End()):
        rig.note(each)
    rig.flush()
    rig.compare()


@pytest.mark.parametrize("upon", [False, True])
@pytest.mark.parametrize("operation", ["copy-from", "copy-to", "store", "draw"])
def test_copies_and_slots_see_what_is_under_it(operation: str, upon: bool) -> None:
    rig = shown()
    rect = Rect(18, 7, 4, 4) if upon else Rect(1, 1, 4, 4)
    rig.send(rig.begin(), m.CacheStore(slot=1, rect=Rect(30, 2, 4, 4)))
    if operation == "copy-from":
        rig.send(m.Copy(rect=Rect(30, 18, 4, 4), source=Point(rect.x, rect.y)))
    elif operation == "copy-to":
        rig.send(m.Copy(rect=rect, source=Point(30, 18)))
    elif operation == "store":
        rig.send(m.CacheStore(slot=0, rect=rect), m.CacheDraw(slot=0, position=Point(33, 19)))
    else:
        rig.send(m.CacheDraw(slot=1, position=Point(rect.x, rect.y)))
    assert (rig.rect is None) is upon
    rig.send(m.End())
    assert rig.rect is not None


def test_motion_moves_it_at_once_and_hands_out_both_places() -> None:
    rig = shown()
    rig.client.pointer(30, 10)
    assert drawn(rig) == [Rect(19, 8, 5, 7), Rect(29, 8, 5, 7)]
    rig.flush()
    rig.client.pointer(30, 10)  # nowhere else
    assert drawn(rig) == []
    rig.client.pointer(0, 0)  # cut off
    assert drawn(rig) == [Rect(29, 8, 5, 7), Rect(0, 0, 4, 5)]
    rig.flush()
    rig.client.touch([m.Finger(finger=1, position=Point(5, 5))])
    assert drawn(rig) == []


def test_motion_while_something_is_out_is_shown_afterwards() -> None:
    rig = Rig(hold=True)
    rig.send(rig.begin(), noise(rig.pure.format), m.End(), *arrow().parts(), at(20, 10))
    rig.client.feed(rig.server.send(m.Bell(), rig.begin(), m.Fill(rect=WHOLE, pixel=b"\x12\x34")))
    assert rig.client.pending
    before = rig.client.screen
    rig.client.pointer(30, 10)
    rig.client.pointer(31, 10)
    assert rig.client.screen == before
    rig.client.draw_done()
    assert rig.client.cursor == Rect(30, 8, 5, 7)


def test_a_tick_shows_what_was_pending() -> None:
    client = shown(hold=True).client
    client.pointer(30, 10)  # one place is out, the other is still to come
    assert client.pending
    client.pointer(31, 10)
    client.draw_done(decode=False)
    client.tick(0)
    assert client.cursor == Rect(30, 8, 5, 7)


def test_it_is_not_shown_before_it_has_shape_and_place() -> None:
    rig = Rig()
    rig.send(rig.begin(), noise(rig.pure.format), m.End())
    parts = arrow().parts([3, 3])
    rig.send(at(9, 9), *parts[:2], rig.begin(), m.End())
    assert place(rig) is None
    rig.send(parts[2])
    assert place(rig) is not None
    rig.send(*NO_SHAPE.parts())
    assert place(rig) is None
    other = Rig()
    other.send(*arrow().parts(), other.begin(), m.End())
    assert place(other) is None
    other.pointer(3, 4)
    assert place(other) == Rect(2, 2, 5, 7)


def test_an_old_shape_is_shown_until_the_new_one_is_whole() -> None:
    rig = shown()
    first, second = Shape(2, 2, 0, 0, b"\x01\x02\x03\x04" * 4).parts([1])
    before = rig.client.screen
    rig.send(first)
    assert rig.client.screen == before
    rig.pointer(5, 5)
    rig.send(second)
    assert rig.client.cursor == Rect(5, 5, 2, 2)


def test_after_a_resize_it_is_drawn_at_the_next_end() -> None:
    rig = shown()
    rig.send(m.Resize(width=15, height=9))
    assert place(rig) is None
    rig.send(rig.begin(), noise(rig.pure.format, Rect(0, 0, 15, 9)), m.End())
    assert rig.client.cursor == Rect(13, 6, 2, 3)
    assert rig.client.framebuffer == rig.stored()


def test_jpeg_under_it() -> None:
    """Against a client without a cursor: the two decoders of the oracle do not agree to the bit."""
    file = jpeg_file(photograph(21, 12), 75, 2)
    tile = message(Rect(12, 5, 21, 12), 75, 2, file)
    clients = [
        c.Client(config(jpeg=c.Jpeg.CORE, max_message=16384)),
        c.Client(config(jpeg=c.Jpeg.CORE, max_message=16384, cursor=CursorMode.LOCAL, cursor_side=SIDE)),
    ]
    for client in clients:
        client.feed(Server().accept(client))
        client.feed(m.Begin(update=1, input=0).encode() + noise(PixelFormat.RGB565).encode() + m.End().encode())
        if client is clients[1]:
            client.feed(b"".join(part.encode() for part in (*arrow().parts(), at(20, 10))))
        client.feed(m.Begin(update=2, input=0).encode() + tile.encode() + m.End().encode())
    assert clients[0].screen == clients[1].framebuffer != clients[1].screen


# Pixels.


@pytest.mark.parametrize("colour", [0, 255])
def test_every_alpha_over_every_grey(colour: int) -> None:
    """All 65,536 pairs, of black and of the lightest colour that the alpha allows."""
    rig = Rig(width=64, height=64, pixel_format=PixelFormat.GREY8, cursor_side=64)
    for low in range(4):
        backgrounds = bytes(low + 4 * x for _ in range(64) for x in range(64))
        rig.send(rig.begin(), m.Raw(rect=Rect(0, 0, 64, 64), payload=backgrounds), m.End())
        for more in range(4):
            alphas = [more + 4 * y for y in range(64)]
            pixels = b"".join(bytes((min(colour, a),) * 3 + (a,)) * 64 for a in alphas)
            rig.send(*Shape(64, 64, 0, 0, pixels).parts([15, 15, 15]))
            rig.pointer(0, 0)
            assert rig.client.screen == bytes(
                min(255, min(colour, a) + (grey * (255 - a) + 127) // 255)
                for y, a in enumerate(alphas)
                for grey in backgrounds[64 * y : 64 * y + 64]
            )


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("big_endian", [False, True])
def test_what_is_opaque_and_what_is_clear(pixel_format: PixelFormat, big_endian: bool) -> None:
    if big_endian and pixel_format is not PixelFormat.RGB565:
        return
    rig = Rig(pixel_format=pixel_format, big_endian=big_endian)
    rig.send(rig.begin(), noise(pixel_format), m.End(), at(20, 10))
    rig.send(*arrow(SIDE, SIDE, 0, 0, alpha=0).parts())
    assert rig.client.cursor is not None
    assert rig.client.screen == rig.stored()
    shape = arrow(SIDE, SIDE, 0, 0, alpha=255)
    rig.send(*shape.parts())
    values = [blended(0, shape.pixels[at : at + 4], pixel_format) for at in range(0, len(shape.pixels), 4)]
    assert blended(7, shape.pixels[:4], pixel_format) == values[0]
    row = 40 * pixel_format.stored
    seen = b"".join(
        rig.client.screen[y * row :][20 * pixel_format.stored :][: SIDE * pixel_format.stored] for y in range(10, 22)
    )
    assert seen == pack_stored(values, pixel_format, big_endian=big_endian)


# What is refused.


def refused(messages: list[Message], **fields: object) -> Code | None:
    device = config(capabilities=ALL, cursor=CursorMode.LOCAL, **({"cursor_side": 8} | fields))
    stream = handshake(int(ALL)) + b"".join(message.encode() for message in messages)
    code = compare(c.Client(device), stream).code
    assert compare(c.Client(device), stream, [1] * len(stream)).code is code
    return code


def shape(width: int, height: int, row: int = 0, rows: int = 1) -> m.CursorShape:
    return m.CursorShape(width=width, height=height, hot_x=0, hot_y=0, row=row, pixels=bytes(4 * width * rows))


@pytest.mark.parametrize("overlay", [False, True])
@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([shape(8, 8, 0, 8)], None),
        ([shape(9, 1)], Code.NOT_OFFERED),
        ([shape(1, 9)], Code.NOT_OFFERED),
        ([shape(3, 3, 1)], Code.BAD_STATE),
        ([shape(3, 3), shape(3, 3, 2)], Code.BAD_STATE),
        ([shape(3, 3), shape(3, 3)], None),
        ([shape(3, 3), shape(2, 3, 1)], Code.BAD_STATE),
        ([shape(3, 3), shape(3, 4, 1)], Code.BAD_STATE),
        ([shape(3, 3), shape(3, 3, 1, 2), shape(3, 3, 1)], Code.BAD_STATE),
        ([shape(3, 3), *NO_SHAPE.parts(), shape(3, 3, 1)], Code.BAD_STATE),
        ([shape(3, 3), *NO_SHAPE.parts(), *NO_SHAPE.parts()], None),
        ([at(39, 23)], None),
        ([at(40, 0)], Code.BAD_VALUE),
        ([at(0, 24)], Code.BAD_VALUE),
        ([m.Resize(width=50, height=50), at(49, 49)], None),
        ([m.Resize(width=30, height=50), at(30, 0)], Code.BAD_VALUE),
        ([shape(3, 3, 0, 3), at(3, 4), m.Goodbye(code=0)], None),
    ],
    ids=lambda value: "-".join(x.name for x in value) if isinstance(value, list) else getattr(value, "name", "OK"),
)
def test_a_rule(messages: list[Message], code: Code | None, overlay: bool) -> None:
    assert refused(messages, overlay=overlay) is code


# An overlay.


def overlaid(**fields: object) -> Rig:
    return Rig(overlay=True, **fields)


@pytest.mark.parametrize("fields", [{}, {"framebuffer": False}, {"readable": False}], ids=str)
def test_an_overlay_is_told(fields: dict[str, object]) -> None:
    fields |= {} if not fields else {"cache_slots": 0}
    client = overlaid(**fields).client
    whole, parts = arrow().parts()[0], arrow().parts([2, 3])
    client.feed(b"".join(part.encode() for part in parts[:2]))
    assert client.events == []
    client.feed(parts[2].encode())
    client.feed(at(3, 4).encode() + at(3, 4).encode())
    client.pointer(39, 23)
    client.pointer(4000, 4000)
    client.pointer(38, 23)
    place = [m.CursorPosition(position=Point(x, y)) for x, y in ((3, 4), (39, 23), (38, 23))]
    assert client.events == [whole, *place]
    client.events.clear()
    client.close()
    client.close()
    client.end()
    assert client.events == NO_SHAPE.parts()
    assert client.cursor is None


def test_an_overlay_is_told_once_that_there_is_none() -> None:
    client = overlaid().client
    client.feed(b"".join(part.encode() for part in (*arrow().parts(), *NO_SHAPE.parts())))
    client.end()
    assert client.events == [*arrow().parts(), *NO_SHAPE.parts()]


def test_an_overlay_is_moved_while_pixels_are_out() -> None:
    rig = overlaid(hold=True)
    rig.client.feed(rig.server.send(rig.begin(), m.Fill(rect=WHOLE, pixel=b"\x12\x34")))
    assert rig.client.pending
    rig.client.pointer(5, 6)
    assert rig.client.events[-1] == at(5, 6)


# Two at once, and none.


def test_two_cursors_in_one_program() -> None:
    one, other = shown(pixel_format=PixelFormat.XRGB8888), shown()
    one.pointer(3, 3)
    other.send(*arrow(9, 9, 8, 8).parts())
    for rig in (one, other):
        rig.send(rig.begin(), m.Fill(rect=Rect(0, 0, 25, 9), pixel=bytes(rig.pure.format.packed)), m.End())


def test_in_picture_has_no_local_cursor() -> None:
    device = config(capabilities=ALL, cursor=CursorMode.IN_PICTURE)
    for message_ in (shape(1, 1), at(0, 0)):
        assert compare(c.Client(device), handshake(int(ALL)) + message_.encode()).code is Code.NOT_OFFERED
    assert_pointer_draws_nothing(c.Client(device))


def assert_pointer_draws_nothing(client: c.Client) -> None:
    client.feed(Server().accept(client))
    client.pointer(3, 3)
    assert client.draws == 0
    assert client.cursor is None


PROGRAM = """
#include "tilewire/tilewire.h"
#include <stdlib.h>
#include <string.h>

static unsigned char memory[TW_CLIENT_SIZE(0, 0)], receive[32768];
static unsigned framebuffer[64 * 64];

static tw_status start(tw_client **client, const tw_callbacks *callbacks, unsigned side, void *room, size_t size) {
    tw_client_config config;
    memset(&config, 0, sizeof config);
    config.device_id = "x";
    config.width = config.height = 64;
    config.pixel_format = TW_PIXEL_XRGB8888;
    config.framebuffer = framebuffer, config.framebuffer_size = sizeof framebuffer;
    config.receive = receive, config.receive_size = sizeof receive;
    config.callbacks = callbacks;
    config.cursor = TW_CURSOR_LOCAL;
    config.cursor_max_side = side;
    config.cursor_memory = room, config.cursor_memory_size = size;
    return tw_client_init(client, &config, memory, sizeof memory);
}

static tw_status feed(tw_client *client, const void *data, size_t length) {
    size_t consumed;
    return tw_client_feed(client, data, length, &consumed);
}

static unsigned seen;

static void on_shape(void *user, unsigned width, unsigned height, unsigned x, unsigned y, const uint8_t *pixels) {
    (void)user;
    for (unsigned i = 0; i < 4 * width * height; i++) {
        seen += pixels[i];
    }
    seen += x + y;
}

int main(void) {
    static const unsigned char greeting[] = {
        0x97, 'T', 'W', '\\n', 1, 1, 24, 0, 0x81, 1, 1, 0x82, 1, 1, 3, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        13, 14, 15, 0x10, 33, 1, 1, 's', 2, 4, 0, 4, 88, 2, 3, 1, 2, 4, 4, 1, 0, 0, 0, 5, 3, 30, 75, 1, 6, 8, 1, 0, 0,
        0, 0, 0, 0, 0};
    static unsigned char shape[4 + 5 + 4 * 64 * 64] = {0x13, 0x85, 0x80, 0x01, 64, 64, 0, 0, 0};
    tw_callbacks overlay;
    tw_client *client;
    memset(shape + 9, 0x80, sizeof shape - 9);
    memset(&overlay, 0, sizeof overlay);
    overlay.cursor_shape = on_shape;
    for (unsigned side = 1; side <= 64; side += 63) {
        for (int kind = 0; kind < 2; kind++) {
            const tw_callbacks *callbacks = kind ? &overlay : NULL;
            const size_t size = TW_CURSOR_SIZE(side, kind ? 0 : 4);
            unsigned char *room = malloc(size + 1); /* exactly, and not aligned */
            unsigned x, y, width, height;
            if (size != side * side * (kind ? 4 : 12)) return 1;
            if (start(&client, callbacks, side, room + 1, size - 1) != TW_CODE_MEMORY) return 2;
            if (start(&client, callbacks, side, NULL, size) != TW_CODE_ARGUMENT) return 3;
            if (start(&client, callbacks, side, room + 1, size) != TW_OK) return 4;
            if (feed(client, greeting, sizeof greeting) != TW_OK) return 5;
            if (feed(client, shape, sizeof shape) != (side == 64 ? TW_OK : TW_CODE_NOT_OFFERED)) return 6;
            if (side == 64 && tw_client_pointer(client, 0, 0, 0, NULL) != TW_OK) return 7;
            if ((tw_client_under(client, &x, &y, &width, &height) != NULL) != (side == 64 && !kind)) return 8;
            if (side == 64 && !kind && (width != 64 || height != 64 || framebuffer[4095] != 0x808080)) return 9;
            tw_client_close(client, TW_CODE_NORMAL);
            if (framebuffer[4095] != 0) return 10;
            free(room);
        }
    }
    return seen != 4 * 64 * 64 * 0x80;
}
"""


def test_memory_of_a_cursor(tmp_path: Path) -> None:
    run_sanitized(tmp_path, PROGRAM)


WITHOUT = """
#include "tilewire/tilewire.h"
#include <string.h>
static unsigned char memory[TW_CLIENT_SIZE(0, 0)], receive[1024], framebuffer[16], room[1000];
int main(void) {
    tw_client *client;
    tw_client_config config;
    memset(&config, 0, sizeof config);
    config.device_id = "x", config.width = config.height = 4, config.pixel_format = TW_PIXEL_GREY8;
    config.framebuffer = framebuffer, config.framebuffer_size = sizeof framebuffer;
    config.receive = receive, config.receive_size = sizeof receive;
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_OK) return 1;
    config.cursor = TW_CURSOR_LOCAL;
    config.cursor_max_side = 8, config.cursor_memory = room, config.cursor_memory_size = sizeof room;
    return tw_client_init(&client, &config, memory, sizeof memory) != TW_CODE_UNSUPPORTED;
}
"""


def test_left_out_it_is_refused(tmp_path: Path) -> None:
    run_sanitized(tmp_path, WITHOUT, "-DTW_WITH_CURSOR=0")


RESIZED = """
#include "tilewire/tilewire.h"
#include <stdlib.h>
#include <string.h>
static unsigned char memory[TW_CLIENT_SIZE(0, 0)], receive[1024], room[TW_CURSOR_SIZE(8, 1)], *small, large[32 * 32];
static tw_client *client;
static unsigned told;
/* The pointer is where it was, and has to be told of; the new framebuffer comes after. */
static void on_resize(void *user, unsigned width, unsigned height) {
    (void)user;
    if (tw_client_pointer(client, width - 1, height - 1, 0, NULL) != TW_OK) exit(1);
    tw_client_surface(client, large, sizeof large, 0);
    told++;
}
int main(void) {
    static const unsigned char greeting[] = {
        0x97, 'T', 'W', '\\n', 1, 1, 24, 0, 0x81, 1, 1, 0x82, 1, 1, 3, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        13, 14, 15, 0x10, 33, 1, 1, 's', 2, 4, 0, 4, 88, 2, 3, 1, 2, 4, 4, 1, 0, 0, 0, 5, 3, 30, 75, 1, 6, 8,
        TW_CAPABILITY_RESIZE | TW_CAPABILITY_COPY, 0, 0, 0, 0, 0, 0, 0,
        0x13, 9, 1, 1, 0, 0, 0, 255, 255, 255, 255, 8, 4, 32, 0, 32, 0};
    tw_callbacks callbacks;
    tw_client_config config;
    size_t consumed;
    small = calloc(4, 4);
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.resize = on_resize;
    memset(&config, 0, sizeof config);
    config.device_id = "x", config.width = config.height = 4, config.pixel_format = TW_PIXEL_GREY8;
    config.framebuffer = small, config.framebuffer_size = 16;
    config.receive = receive, config.receive_size = sizeof receive;
    config.capabilities = TW_CAPABILITY_RESIZE, config.callbacks = &callbacks;
    config.cursor = TW_CURSOR_LOCAL, config.cursor_max_side = 8;
    config.cursor_memory = room, config.cursor_memory_size = sizeof room;
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_OK) return 2;
    if (tw_client_feed(client, greeting, sizeof greeting, &consumed) != TW_OK || told != 1) return 3;
    free(small);
    return tw_client_pending(client) || large[32 * 32 - 1] != 255;
}
"""


def test_a_pointer_told_by_resize_waits_for_the_new_framebuffer(tmp_path: Path) -> None:
    run_sanitized(tmp_path, RESIZED)
