"""After the end: whether to come back, when, and with what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.protocol import Capability, Code, CursorMode, PixelFormat, Point, Rect, Resumed
from tilewire.protocol import messages as m
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.wire import Message
from tilewire.simulator import client as c
from tilewire.simulator.client import Retry, should_reconnect

from tests.clients.cursors import arrow, at
from tests.clients.support import ALL, Server, config, reply, welcome

TOKENS = [bytes((number,) * 16) for number in range(1, 9)]


# Whether and when.


@pytest.mark.parametrize("code", [*Code, 23, 0xFFFF])
def test_what_comes_after_each_code(code: int) -> None:
    never = {Code.NORMAL, Code.SESSION_ENDED, Code.REPLACED}
    changed = {Code.VERSION, Code.UNSUPPORTED, Code.AUTH_FAILED, Code.AUTH_REQUIRED, Code.NO_SESSION}
    changed |= {Code.ARGUMENT, Code.MEMORY}  # of our own
    expected = Retry.NEVER if code in never else Retry.CHANGED if code in changed else Retry.LATER
    assert should_reconnect(code) is expected


def test_why_a_connection_ended() -> None:
    def ended(*words: bytes, close: Code | None = None, end: bool = True) -> int:
        client = c.Client(config())
        server = Server()
        client.feed(server.accept(client))
        if close is not None:
            client.close(close)
        for word in words:
            client.feed(word)
        if end:
            client.end()
        return client.reason

    goodbye = m.Goodbye(code=Code.REPLACED).encode()
    assert ended(goodbye) == Code.REPLACED
    assert ended(goodbye, b"more") == Code.REPLACED
    assert ended(m.Goodbye(code=9999).encode()) == 9999
    assert ended(m.Goodbye(code=0).encode(), b"x") == Code.NORMAL
    assert ended(close=Code.NORMAL) == Code.NORMAL
    assert ended(goodbye, close=Code.INTERNAL) == Code.INTERNAL
    assert ended(b"\x5f\x00", goodbye) == Code.PROTOCOL
    assert ended(b"\x5f") == Code.TRUNCATED
    assert ended() == Code.CLOSED
    assert ended(end=False) == Code.CLOSED
    assert should_reconnect(Code.CLOSED) is should_reconnect(Code.TRUNCATED) is Retry.LATER


LONGEST_MS = [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]


@pytest.mark.parametrize("random", [0, 1, 499, 500, 501, 12345, 2**31, 2**32 - 1])
def test_each_wait_is_longer(random: int) -> None:
    backoff = c.Backoff()
    for _ in range(2):
        for longest in LONGEST_MS:
            assert longest // 2 <= backoff.next(random) <= longest
        backoff.reset()


def test_the_random_part_is_half() -> None:
    seen = {c.Backoff().next(random) for random in range(501)}
    assert seen == set(range(500, 1001))


# With what.


def resumable(token: bytes, resumed: Resumed = Resumed.NOT_ASKED, capabilities: int = 0) -> m.Welcome:
    return replace(welcome(capabilities), resume=m.ResumeOffer(token=token, lifetime_s=60), resumed=int(resumed))


def greet(client: c.Client, token: bytes, resumed: Resumed = Resumed.NOT_ASKED) -> Server:
    server = Server()
    server.receive(client.output())
    hello = server.connection.hello
    assert hello is not None
    client.feed(server.send(reply(), resumable(token, resumed, hello.capabilities)))
    assert client.phase is c.Phase.OPEN
    client.events.clear()
    return server


def asked(client: c.Client) -> m.ResumeRequest | None:
    """What HELLO asks for."""
    server = Server()
    server.receive(client.output())
    assert server.connection.hello is not None
    return server.connection.hello.resume


def update(number: int, *operations: Message) -> list[Message]:
    return [m.Begin(update=number, input=0), *operations, m.End()]


def test_the_next_hello_asks_for_what_was_shown() -> None:
    client = c.Client(config())
    server = greet(client, TOKENS[0])
    client.feed(server.send(*update(1), *update(2), m.Begin(update=3, input=0)))
    client.end()
    assert client.error is Code.TRUNCATED
    known = c.Resume(token=TOKENS[0], update=2, width=40, height=24)
    assert client.resume() == known == client.resume()
    assert asked(client.successor()) == m.ResumeRequest(token=TOKENS[0], update=2)


def test_what_is_not_out_was_not_shown() -> None:
    client = c.Client(config(hold=True))
    server = greet(client, TOKENS[0])
    client.feed(server.send(*update(1)))
    assert client.pending
    client.end()
    resume = client.resume()
    assert resume is not None
    assert resume.update == 0


def test_without_a_token_nothing_is_resumed() -> None:
    client = c.Client(config())
    server = Server()
    client.feed(server.accept(client))
    assert client.resume() is None
    assert client.phase is c.Phase.CLOSED
    assert asked(client.successor()) is None
    fresh = c.Client(config())
    assert fresh.resume() is None


@pytest.mark.parametrize("size", [0, 7, 40, 60])
def test_a_token_that_was_perhaps_not_used_up_is_kept(size: int) -> None:
    """The connection ends before WELCOME: the next asks for the same."""
    known = c.Resume(token=TOKENS[3], update=9, width=40, height=24, cache_slots=4, cache_slot_bytes=100)
    client = c.Client(config(resume=known, cache_slots=4, cache_slot_bytes=100))
    server = Server()
    server.receive(client.output())
    client.feed(server.send(reply(), resumable(TOKENS[0], Resumed.RESUMED))[:size])
    client.end()
    assert client.resume() == known
    assert asked(client.successor()) == m.ResumeRequest(token=TOKENS[3], update=9)


@pytest.mark.parametrize("resumed", Resumed)
def test_welcome_replaces_the_token(resumed: Resumed) -> None:
    """Whatever became of the old one; and without a new one there is none."""
    known = c.Resume(token=TOKENS[3], update=9)
    client = c.Client(config(resume=known))
    greet(client, TOKENS[0], resumed)
    resume = client.resume()
    assert resume == c.Resume(token=TOKENS[0], update=0, width=40, height=24)
    without = c.Client(config(resume=known))
    server = Server()
    server.receive(without.output())
    without.feed(server.send(reply(), replace(welcome(0), resumed=int(resumed))))
    assert without.resume() is None


def test_the_panel_is_as_resize_left_it() -> None:
    client = c.Client(config(capabilities=ALL))
    server = greet(client, TOKENS[0])
    fill = m.Fill(rect=Rect(0, 0, 30, 50), pixel=b"\x12\x34")
    client.feed(server.send(m.Resize(width=30, height=50), *update(1, fill)))
    again = client.successor()
    resume = again.config.resume
    assert resume is not None
    assert (resume.width, resume.height) == (30, 50)
    assert again.framebuffer == b"\x12\x34" * 1500
    server = Server()
    server.receive(again.output())
    assert server.connection.hello is not None
    assert server.connection.hello.panel == m.Size(width=30, height=50)


@pytest.mark.parametrize(
    ("changes", "resumed", "kept"),
    [
        ({}, Resumed.RESUMED, True),
        ({}, Resumed.UNKNOWN_TOKEN, False),
        ({}, Resumed.CHANGED, False),
        ({"cache_slots": 5}, Resumed.RESUMED, False),
        ({"cache_slots": 3}, Resumed.RESUMED, False),
        ({"cache_slot_bytes": 101}, Resumed.RESUMED, False),
    ],
    ids=str,
)
def test_slots_are_kept_where_the_cache_is_the_same(changes: dict[str, int], resumed: Resumed, kept: bool) -> None:
    client = c.Client(config(cache_slots=4, cache_slot_bytes=100))
    server = greet(client, TOKENS[0])
    fill, store = m.Fill(rect=Rect(0, 0, 4, 4), pixel=b"\x12\x34"), m.CacheStore(slot=2, rect=Rect(0, 0, 4, 4))
    client.feed(server.send(*update(1, fill, store)))
    client.end()
    again = client.successor(**changes)
    greet(again, TOKENS[1], resumed)
    # Written by hand: the connection in Python begins with empty slots.
    draw = m.CacheDraw(slot=2, position=Point(20, 10))
    again.feed(b"".join(message.encode() for message in update(1, draw)))
    assert again.error is (None if kept else Code.BAD_VALUE)
    assert again.framebuffer[2 * (10 * 40 + 20) :][:8] == (b"\x12\x34" * 4 if kept else bytes(8))


def test_the_model_begins_anew() -> None:
    """The first CODEC of a connection carries the reset bit and epoch 1, also after RESUMED (SPEC.md 4)."""
    client = c.Client(config(model_kib=16))
    greet(client, TOKENS[0])
    coded = m.Codec(rect=Rect(0, 0, 4, 4), epoch=0x82, payload=bytes(6))
    for epoch in (0x82, 0x01, 0x80):
        again = client.successor()
        greet(again, TOKENS[1], Resumed.RESUMED)
        again.feed(m.Begin(update=1, input=0).encode() + replace(coded, epoch=epoch).encode())
        assert again.error is Code.BAD_VALUE
    again = client.successor()
    greet(again, TOKENS[1], Resumed.RESUMED)
    again.feed(m.Begin(update=1, input=0).encode() + replace(coded, epoch=0x81).encode())
    assert again.error is not Code.BAD_VALUE


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    pixel_format=st.sampled_from(PixelFormat),
    ends=st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=5),
)
def test_a_picture_lives_through_many_connections(
    data: st.DataObject, pixel_format: PixelFormat, ends: list[tuple[int, bool, bool]]
) -> None:
    """Each goes on with the framebuffer of the last, cut in the middle of an update, a cursor drawn over it."""
    client = c.Client(
        config(pixel_format=pixel_format, cursor=CursorMode.LOCAL, cursor_side=8, hold=data.draw(st.booleans()))
    )
    screen = Framebuffer(40, 24, pixel_format)
    resumed, last = Resumed.NOT_ASKED, None
    for number, (count, cut, moves) in enumerate(ends):
        if last is not None:
            client = last.successor()
            assert client.screen == screen.stored()  # from the break to the first update
            resumed = Resumed.RESUMED
        server = greet(client, TOKENS[number], resumed)
        assert client.screen == screen.stored()
        messages: list[Message] = [*arrow().parts(), at(20, 10)]
        for each in range(1, count + 1):
            x = data.draw(st.integers(0, 30))
            colour = data.draw(st.integers(0, 255))
            fill = m.Fill(rect=Rect(x, 3, 9, 12), pixel=bytes((colour,) * pixel_format.packed))
            copy = m.Copy(rect=Rect(x // 2, 5, 20, 10), source=Point(18, 8))
            messages += update(each, fill, copy)
        if cut and count:
            messages.pop()
        for message in messages:
            client.feed(server.send(message))
            if moves:
                client.pointer(data.draw(st.integers(0, 39)), 9)
                client.output()
            while client.pending:
                client.draw_done()
            screen.apply(message)
        assert client.error is None
        assert client.framebuffer == screen.stored()
        if moves:
            client.pointer(0, 0)
        resume = client.resume()
        assert resume is not None
        assert resume.update == count - (1 if cut and count else 0)
        last = client


def test_capabilities_are_those_of_the_new_welcome() -> None:
    client = c.Client(config(capabilities=Capability.RESIZE))
    greet(client, TOKENS[0])
    again = client.successor()
    server = Server()
    server.receive(again.output())
    again.feed(server.send(reply(), welcome(0)))
    with pytest.raises(c.ClientError) as caught:
        again.resize(3, 3)
    assert caught.value.code is Code.NOT_OFFERED


# The cursor's shape.


@pytest.mark.parametrize("shapes", [1, 2, 3])
@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.parametrize("resumed", [Resumed.RESUMED, Resumed.CHANGED])
def test_a_drawn_cursor_keeps_its_shape(shapes: int, partly: bool, resumed: Resumed) -> None:
    client = c.Client(config(cursor=CursorMode.LOCAL, cursor_side=9))
    server = greet(client, TOKENS[0])
    fill = m.Fill(rect=Rect(0, 0, 40, 24), pixel=b"\x12\x34")
    client.feed(server.send(*update(1, fill), at(20, 10)))
    for number in range(shapes):
        client.feed(server.send(*arrow(5 + number, 7).parts([2])))
    shown = client.screen
    assert shown != client.framebuffer
    if partly:
        client.feed(server.send(arrow(4, 4).rows(0, 1)))
    client.end()
    # One that is refused before WELCOME takes nothing away.
    refused = client.successor()
    refused.end()
    again = refused.successor()
    server = greet(again, TOKENS[1], resumed)
    assert again.screen == again.framebuffer, "it has no place yet"
    again.feed(server.send(at(20, 10)))
    kept = resumed is Resumed.RESUMED and not partly
    assert (again.screen == shown) == kept
    assert (again.cursor is not None) == kept
    again.feed(server.send(*arrow(3, 3).parts()))
    assert again.cursor == Rect(19, 8, 3, 3)


@pytest.mark.parametrize("partly", [False, True])
def test_an_overlay_is_told_the_shape_again(partly: bool) -> None:
    client = c.Client(config(cursor=CursorMode.LOCAL, cursor_side=9, overlay=True))
    server = greet(client, TOKENS[0])
    client.feed(server.send(*arrow(6, 7).parts([2])))
    shape = client.events[-1]
    if partly:
        client.feed(server.send(arrow(4, 4).rows(0, 1)))
    client.end()
    again = client.successor()
    server = Server()
    server.receive(again.output())
    again.feed(server.send(reply(), resumable(TOKENS[1], Resumed.RESUMED)))
    assert again.events[:-1] == ([] if partly else [shape])
    assert isinstance(again.events[-1], m.Welcome)
