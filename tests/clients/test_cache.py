"""The tile cache: what was stored comes back, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.protocol import Capability, Code, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.wire import Message
from tilewire.simulator import client as c

from tests.clients.strategies import cached, splits
from tests.clients.support import config, connect
from tests.clients.test_agreement import compare, handshake
from tests.clients.test_build import run_sanitized
from tests.clients.test_pixels import framed, shown

SMALL = Rect(2, 3, 7, 5)


def device(slots: int = 4, slot_bytes: int = 256, **fields: object) -> c.ClientConfig:
    return config(cache_slots=slots, cache_slot_bytes=slot_bytes, **fields)


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    pixel_format=st.sampled_from(PixelFormat),
    padding=st.integers(0, 2),
    slot_bytes=st.sampled_from([4, 77, 3840]),
    hold=st.booleans(),
    cuts=splits,
)
def test_what_was_stored_comes_back(
    data: st.DataObject, pixel_format: PixelFormat, padding: int, slot_bytes: int, hold: bool, cuts: list[int]
) -> None:
    operations = data.draw(cached(pixel_format, 3, slot_bytes))
    setup = device(3, slot_bytes, pixel_format=pixel_format, padding=padding * pixel_format.stored, hold=hold)
    seen, expected = shown(c.Client(setup), framed(*operations), cuts)
    assert seen == expected


def test_a_drawn_slot_is_reported_like_any_rectangle() -> None:
    client = c.Client(device(report_draws=True))
    server = connect(client)
    client.events.clear()
    draw = m.CacheDraw(slot=1, position=Point(33, 19))
    client.feed(server.send(*framed(m.CacheStore(slot=1, rect=SMALL), draw)))
    assert client.events == [c.Drawn(Rect(33, 19, 7, 5)), c.Presented(1, 0)]


def store(slot: int = 0, rect: Rect = SMALL) -> m.CacheStore:
    return m.CacheStore(slot=slot, rect=rect)


def draw(slot: int = 0, x: int = 0, y: int = 0) -> m.CacheDraw:
    return m.CacheDraw(slot=slot, position=Point(x, y))


BEGIN, END = m.Begin(update=1, input=0), m.End()


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([BEGIN, store(), draw(), END], None),
        ([BEGIN, store(3), END, m.Begin(update=2, input=0), draw(3, 33, 19), END], None),
        ([BEGIN, draw()], Code.BAD_VALUE),
        ([BEGIN, store(1), draw(2)], Code.BAD_VALUE),
        ([BEGIN, store(4)], Code.NOT_OFFERED),
        ([BEGIN, draw(4)], Code.NOT_OFFERED),
        ([BEGIN, store(8191)], Code.NOT_OFFERED),
        ([BEGIN, store(0, Rect(0, 0, 16, 8))], None),
        ([BEGIN, store(0, Rect(0, 0, 43, 3))], Code.BAD_VALUE),
        ([BEGIN, store(0, Rect(0, 0, 17, 8))], Code.NOT_OFFERED),
        ([BEGIN, store(0, Rect(39, 23, 2, 1))], Code.BAD_VALUE),
        ([BEGIN, store(), draw(0, 34, 0)], Code.BAD_VALUE),
        ([BEGIN, store(), draw(0, 0, 20)], Code.BAD_VALUE),
        ([store()], Code.BAD_STATE),
        ([draw()], Code.BAD_STATE),
        ([BEGIN, store(), END, m.Resize(width=9, height=9), m.Begin(update=2, input=0), draw(0, 2, 4)], None),
        ([BEGIN, store(), END, m.Resize(width=9, height=9), m.Begin(update=2, input=0), draw(0, 3, 4)], Code.BAD_VALUE),
        ([m.Resize(width=4, height=4), BEGIN, store()], Code.BAD_VALUE),
    ],
    ids=lambda value: "-".join(x.name for x in value) if isinstance(value, list) else getattr(value, "name", "OK"),
)
def test_a_rule(messages: list[Message], code: Code | None) -> None:
    setup = device(capabilities=Capability.RESIZE)
    stream = handshake(int(Capability.COPY | Capability.RESIZE)) + b"".join(x.encode() for x in messages)
    assert compare(c.Client(setup), stream).code is code
    assert compare(c.Client(setup), stream, [1] * len(stream)).code is code


def test_without_copies_in_force_there_is_no_cache() -> None:
    for message in (store(), draw()):
        assert compare(c.Client(device()), handshake(0) + BEGIN.encode() + message.encode()).code is Code.NOT_OFFERED


@pytest.mark.parametrize(("slots", "slot_bytes"), [(1, 0), (16, 1), (8192, 16)])
def test_the_cache_is_offered(slots: int, slot_bytes: int) -> None:
    hello = connect(c.Client(device(slots, slot_bytes))).connection.hello
    assert hello is not None
    assert hello.cache == m.CacheOffer(slots=slots, slot_bytes=slot_bytes)


@pytest.mark.parametrize(
    "setup", [device(8193), device(framebuffer=False), device(readable=False)], ids=["slots", "strips", "unreadable"]
)
def test_a_cache_that_cannot_be_is_refused(setup: c.ClientConfig) -> None:
    with pytest.raises(c.ClientError) as caught:
        c.Client(setup)
    assert caught.value.code is Code.ARGUMENT


PROGRAM = """
#include "tilewire/tilewire.h"
#include <string.h>
#define SLOTS 3
#define SLOT_BYTES 32
static unsigned char memory[TW_CLIENT_SIZE(0, 0)], receive[1024], cache[TW_CACHE_SIZE(SLOTS, SLOT_BYTES) + 1];
static unsigned short framebuffer[32 * 8];

static tw_status start(tw_client **client, unsigned slots, size_t size) {
    tw_client_config config;
    const tw_resume resume = {.valid = 1, .cache_slots = slots, .cache_slot_bytes = SLOT_BYTES};
    memset(&config, 0, sizeof config);
    config.device_id = "x";
    config.width = 32, config.height = 8;
    config.pixel_format = TW_PIXEL_RGB565;
    config.framebuffer = framebuffer, config.framebuffer_size = sizeof framebuffer;
    config.receive = receive, config.receive_size = sizeof receive;
    config.cache = cache + 1, config.cache_size = size; /* any alignment will do */
    config.cache_slots = SLOTS, config.cache_slot_bytes = SLOT_BYTES;
    config.resume = slots != 0 ? &resume : NULL;
    return tw_client_init(client, &config, memory, sizeof memory);
}

static tw_status feed(tw_client *client, const void *data, size_t length) {
    size_t consumed;
    return tw_client_feed(client, data, length, &consumed);
}

static tw_status greet(tw_client *client, unsigned char resumed) {
    unsigned char greeting[] = {
        0x97, 'T', 'W', '\\n', 1, 1, 24, 0, 0x81, 1, 1, 0x82, 1, 1, 3, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        13, 14, 15, 0x10, 36, 1, 1, 's', 2, 4, 0, 4, 88, 2, 3, 1, 2, 4, 4, 1, 0, 0, 0, 5, 3, 30, 75, 1, 6, 8, 1, 0, 0,
        0, 0, 0, 0, 0, 8, 1, resumed, 0x40, 2, 1, 0};
    return feed(client, greeting, sizeof greeting);
}

static const unsigned char draw[] = {0x45, 4, 1, 0, 0, 0};

int main(void) {
    static const unsigned char store[] = {0x42, 8, 0, 0, 0, 3, 0, 0, 0x34, 0x12, 0x44, 7, 1, 0, 0, 0, 3, 0, 0};
    tw_client *client;
    size_t all = TW_CACHE_SIZE(SLOTS, SLOT_BYTES);
    if (start(&client, 0, all - 1) != TW_CODE_MEMORY || start(&client, 0, 11) != TW_CODE_MEMORY) return 1;
    if (start(&client, 0, all) != TW_OK || greet(client, 0) != TW_OK) return 2;
    if (feed(client, store, sizeof store) != TW_OK) return 9;
    /* Resumed: the slot is as it was left. */
    memset(framebuffer, 0, sizeof framebuffer);
    if (start(&client, SLOTS, all) != TW_OK || greet(client, TW_RESUMED_RESUMED) != TW_OK) return 3;
    if (feed(client, draw, sizeof draw) != TW_OK || framebuffer[3] != 0x1234 || framebuffer[4] != 0) return 4;
    /* A cache of another size before: its slots were others. */
    if (start(&client, SLOTS + 1, all) != TW_OK || greet(client, TW_RESUMED_RESUMED) != TW_OK) return 10;
    if (feed(client, draw, sizeof draw) != TW_CODE_BAD_VALUE) return 11;
    /* Not resumed: all are empty. */
    if (start(&client, 0, all) != TW_OK || greet(client, 0) != TW_OK) return 12;
    if (feed(client, store, sizeof store) != TW_OK) return 13;
    if (start(&client, SLOTS, all) != TW_OK || greet(client, TW_RESUMED_UNKNOWN_TOKEN) != TW_OK) return 5;
    if (feed(client, draw, sizeof draw) != TW_CODE_BAD_VALUE) return 6;
    /* Resumed on memory that somebody else wrote: nothing beyond a slot is read. */
    for (unsigned filler = 1; filler < 256; filler++) {
        memset(cache + 1, (int)filler, all);
        if (start(&client, SLOTS, all) != TW_OK || greet(client, TW_RESUMED_RESUMED) != TW_OK) return 7;
        if (feed(client, draw, sizeof draw) != TW_CODE_BAD_VALUE) return 8;
    }
    return 0;
}
"""


def test_slots_outlive_a_connection_that_is_resumed(tmp_path: Path) -> None:
    run_sanitized(tmp_path, PROGRAM)
