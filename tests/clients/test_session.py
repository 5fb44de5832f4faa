"""A session from the device's side: HELLO, events, input, acknowledgements, time, the end."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.protocol import (
    PANELS,
    AuthMethod,
    Capability,
    Code,
    CursorMode,
    LocalProtocolError,
    PixelFormat,
    Point,
    Rect,
)
from tilewire.protocol import messages as m
from tilewire.protocol.wire import Message
from tilewire.simulator import client as c

from tests.clients.support import ALL, KEY, NONCE, Server, config, connect, messages_in, reply, welcome
from tests.clients.test_build import run_sanitized

SECOND = 1000


def open_client(**fields: object) -> tuple[c.Client, Server]:
    client = c.Client(config(capabilities=ALL, **fields))
    server = connect(client)
    client.events.clear()
    return client, server


def error_of(client: c.Client) -> Code | None:
    return client.error


# HELLO.


def hello_of(device: c.ClientConfig) -> m.Hello:
    server = Server()
    (hello,) = server.receive(c.Client(device).output())
    assert isinstance(hello, m.Hello)
    return hello


def test_hello_says_what_the_device_is() -> None:
    assert hello_of(
        config(
            capabilities=ALL,
            boot_id=2**64 - 2,
            device_id="gerät",
            profile="browser",
            session="s7",
            url="http://x/",
            density=96,
            cursor=CursorMode.IN_PICTURE,
            resume=c.Resume(token=bytes(range(16)), update=7),
            max_rect_width=20,
            max_rect_area=300,
        )
    ) == m.Hello(
        nonce=NONCE,
        device_id="gerät",
        boot_id=2**64 - 2,
        auth_methods=AuthMethod.NONE,
        profile="browser",
        session="s7",
        url="http://x/",
        panel=m.Size(width=40, height=24),
        density=96,
        pixel_format=PixelFormat.RGB565,
        max_message=4096,
        max_rect=m.RectLimit(width=20, area=300),
        cursor=m.CursorOffer(mode=CursorMode.IN_PICTURE, max_side=0),
        capabilities=ALL | Capability.COPY,
        resume=m.ResumeRequest(token=bytes(range(16)), update=7),
    )


@pytest.mark.parametrize("panel", PANELS.values(), ids=list(PANELS))
def test_hello_of_the_standard_panels(panel: object) -> None:
    assert isinstance(panel, type(PANELS["mcu"]))
    hello = hello_of(c.ClientConfig.for_panel(panel))
    assert (hello.panel.width, hello.panel.height) == (panel.width, panel.height)
    assert bool(hello.capabilities & Capability.COPY) is panel.readable
    assert hello.model_kib == panel.model_kib
    assert (hello.cache is not None) is panel.readable
    assert hello.jpeg is not None
    # No cursor unless it is asked for; deflate is for interpreters.
    assert (hello.cursor, hello.deflate_bits) == (None, 0)


@pytest.mark.parametrize("panel", PANELS.values(), ids=list(PANELS))
@pytest.mark.parametrize("overlay", [False, True])
def test_the_cursor_of_the_standard_panels(panel: object, overlay: bool) -> None:
    assert isinstance(panel, type(PANELS["mcu"]))
    hello = hello_of(c.ClientConfig.for_panel(panel, cursor=CursorMode.LOCAL, overlay=overlay))
    if panel.cursor_side == 0:
        assert hello.cursor is None
    elif panel.readable or overlay:
        assert hello.cursor == m.CursorOffer(mode=CursorMode.LOCAL, max_side=panel.cursor_side)
    else:
        assert hello.cursor == m.CursorOffer(mode=CursorMode.IN_PICTURE, max_side=0)


def test_limits_are_at_least_what_the_wire_knows() -> None:
    hello = hello_of(config(width=8, height=8))
    assert hello.max_rect == m.RectLimit(width=16, area=256)


def test_a_device_with_a_key_offers_nothing_but_the_proof() -> None:
    assert hello_of(config(key=KEY)).auth_methods == AuthMethod.HMAC


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"width": 0}, Code.ARGUMENT),
        ({"width": 4097, "height": 1}, Code.ARGUMENT),
        ({"width": 4096, "height": 1025}, Code.ARGUMENT),
        ({"device_id": ""}, Code.ARGUMENT),
        ({"device_id": "x" * 65}, Code.ARGUMENT),
        ({"profile": ""}, Code.ARGUMENT),
        ({"url": "x" * 701}, Code.ARGUMENT),
        ({"ticket": b"", "key": None}, Code.ARGUMENT),
        ({"ticket": bytes(65)}, Code.ARGUMENT),
        ({"ticket": bytes(64), "key": KEY}, Code.ARGUMENT),
        ({"density": 65536}, Code.ARGUMENT),
        ({"max_message": 1023}, Code.MEMORY),
        ({"max_message": (1 << 20) + 1}, Code.ARGUMENT),
        ({"max_rect_width": 15}, Code.ARGUMENT),
        ({"max_rect_width": 4097}, Code.ARGUMENT),
        ({"max_rect_area": 255}, Code.ARGUMENT),
        ({"max_rect_area": (1 << 24) + 1}, Code.ARGUMENT),
        ({"big_endian": True, "pixel_format": PixelFormat.XRGB8888}, Code.ARGUMENT),
        ({"framebuffer": False, "strip_rows": 0}, Code.MEMORY),
        ({"padding": 1}, Code.ARGUMENT),
        ({"capabilities": Capability.COPY}, Code.ARGUMENT),
        ({"capabilities": 1 << 8}, Code.ARGUMENT),
        ({"cursor": 3}, Code.ARGUMENT),
        ({"cursor": CursorMode.LOCAL, "cursor_side": 0}, Code.ARGUMENT),
        ({"cursor": CursorMode.LOCAL, "cursor_side": 65}, Code.ARGUMENT),
        ({"cursor": CursorMode.LOCAL, "cursor_side": 32, "framebuffer": False}, Code.ARGUMENT),
        ({"cursor": CursorMode.LOCAL, "cursor_side": 32, "readable": False}, Code.ARGUMENT),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_configuration_that_cannot_be(fields: dict[str, object], code: Code) -> None:
    with pytest.raises(c.ClientError) as caught:
        c.Client(config(**fields))
    assert caught.value.code is code


def test_the_largest_hello_that_fits() -> None:
    device = config(device_id="d" * 64, profile="p" * 64, session="s" * 64, ticket=bytes(64), url="u" * 600)
    fits = 600 + 8 + 1024 - len(c.Client(device).output())
    assert hello_of(replace(device, url="u" * fits)).url == "u" * fits
    assert len(c.Client(replace(device, url="u" * fits)).output()) == 8 + 1024
    with pytest.raises(c.ClientError) as caught:
        c.Client(replace(device, url="u" * (fits + 1)))
    assert caught.value.code is Code.ARGUMENT


# Events.


def test_welcome_names_the_session() -> None:
    client = c.Client(config(resume=c.Resume(token=bytes(16), update=3)))
    server = Server()
    server.receive(client.output())
    answer = replace(
        welcome(0), resume=m.ResumeOffer(token=bytes(range(16)), lifetime_s=60), resumed=1, session="å" * 32
    )
    phases = [client.phase]
    client.feed(server.send(reply(), answer))
    phases.append(client.phase)
    assert phases == [c.Phase.CONNECTING, c.Phase.OPEN]
    assert client.events == [answer]


MESSAGES: list[Message] = [
    m.Notice(code=0xFFFF, text="läuft"),
    m.Notice(code=1),
    m.Setting(fps=60, quality=10, adaptive=0),
    m.ViewState(mode=1, rotation=3, follow=1, session=m.Size(width=1, height=4096), window=Rect(4095, 0, 1, 4096)),
    m.ControlState(role=1, holder=0xFFFFFFFF),
    m.Bell(),
    m.Pong(stamp=2**64 - 1),
    m.Clipboard(total=2, offset=0, data=b"\xc3"),
    m.Clipboard(total=2, offset=1, data=b"\xa5"),
    m.Resize(width=7, height=9),
    m.Goodbye(code=0xFFFF, text="y" * 1000),
]


@pytest.mark.parametrize("size", [1, 2, 7, 10000])
def test_every_event_arrives_as_it_was_sent(size: int) -> None:
    client, server = open_client()
    data = server.send(*MESSAGES)
    for at in range(0, len(data), size):
        client.feed(data[at : at + size])
    assert client.events == MESSAGES
    assert client.error is None
    assert client.phase is c.Phase.CLOSED


def test_an_explanation_arrives_after_its_update() -> None:
    client, server = open_client()
    explanation = m.Explanation(
        update=1,
        encode_us=2**32 - 1,
        in_flight=1,
        bytes_per_s=2,
        round_trip_us=3,
        operations=(m.Explained(reason=1, quality=2), m.Explained(reason=3, quality=4)),
    )
    client.feed(server.send(m.Begin(update=1, input=0), m.End(), explanation))
    assert client.events == [c.Presented(1, 0), explanation]


@pytest.mark.parametrize("framebuffer", [False, True])
def test_the_panel_changes_its_size(framebuffer: bool) -> None:
    client, server = open_client(framebuffer=framebuffer)
    client.resize(100, 50)
    assert server.receive(client.output()) == [m.Resize(width=100, height=50)]
    client.feed(server.send(m.Resize(width=100, height=50), m.Begin(update=1, input=0)))
    client.feed(server.send(m.Fill(rect=Rect(0, 0, 100, 50), pixel=b"\x12\x34"), m.End()))
    assert client.error is None
    assert client.framebuffer == b"\x12\x34" * 5000


@pytest.mark.parametrize("framebuffer", [False, True])
@pytest.mark.parametrize(
    ("width", "height", "fits"),
    [(40, 24, True), (39, 1, True), (41, 24, False), (4096, 1, False), (1, 4096, None)],
)
def test_a_size_that_the_panel_cannot_hold_is_refused(
    framebuffer: bool, width: int, height: int, fits: bool | None
) -> None:
    client, server = open_client(framebuffer=framebuffer, fixed=True, strip_rows=1)
    client.feed(server.send(m.Resize(width=width, height=height)))
    if fits is None:
        fits = not framebuffer
    assert client.error is (None if fits else Code.BAD_VALUE)
    goodbye = [] if fits else [m.Goodbye(code=Code.BAD_VALUE, text=Code.BAD_VALUE.text)]
    assert server.receive(client.output()) == goodbye


# Input.


def test_input_is_numbered_and_echoed() -> None:
    client, server = open_client()
    sent = [
        client.pointer(39, 23, 5),
        client.wheel(-120, 32767),
        client.key(0x1FFFFFFF, True),
        client.key(1, False),
        client.text("grüß 漢 🙂"),
        client.touch([m.Finger(finger=0, position=Point(1, 2)), m.Finger(finger=255, position=Point(39, 23))]),
        client.touch([]),
    ]
    assert sent == list(range(1, 8))
    assert server.receive(client.output()) == [
        m.Pointer(input=1, position=Point(39, 23), buttons=5),
        m.Wheel(input=2, dx=-120, dy=32767),
        m.Key(input=3, keysym=0x1FFFFFFF, pressed=1),
        m.Key(input=4, keysym=1, pressed=0),
        m.TextInput(input=5, text="grüß 漢 🙂"),
        m.Touch(
            input=6,
            fingers=(m.Finger(finger=0, position=Point(1, 2)), m.Finger(finger=255, position=Point(39, 23))),
        ),
        m.Touch(input=7),
    ]
    client.feed(server.send(m.InputEcho(input=7), m.Begin(update=1, input=6), m.End()))
    assert client.events == [m.InputEcho(input=7), c.Presented(1, 6)]


def test_wishes() -> None:
    client, server = open_client()
    client.set(1, 90, True)
    client.view(1, 3, True, 4095, 0)
    client.control(2, 0xFFFFFFFF)
    client.ping(2**64 - 1)
    client.pause(True)
    client.pause(False)
    client.refresh()
    client.resize_session(4096, 1024)
    client.clipboard(3, 0, b"ab")
    client.clipboard(3, 2, b"c")
    client.clipboard(0, 0, b"")
    assert server.receive(client.output()) == [
        m.Setting(fps=1, quality=90, adaptive=1),
        m.View(mode=1, rotation=3, follow=1, origin=Point(4095, 0)),
        m.Control(action=2, viewer=0xFFFFFFFF),
        m.Ping(stamp=2**64 - 1),
        m.Pause(paused=1),
        m.Pause(paused=0),
        m.Refresh(),
        m.ResizeSession(width=4096, height=1024),
        m.Clipboard(total=3, offset=0, data=b"ab"),
        m.Clipboard(total=3, offset=2, data=b"c"),
        m.Clipboard(total=0, offset=0, data=b""),
    ]


def finger(n: int) -> m.Finger:
    return m.Finger(finger=n, position=Point(0, 0))


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("pointer", (40, 0)),
        ("pointer", (0, 24)),
        ("pointer", (0, 0, 256)),
        ("wheel", (32768, 0)),
        ("wheel", (0, -32769)),
        ("key", (0, True)),
        ("key", (0x20000000, True)),
        ("text", ("",)),
        ("text", ("x" * 1001,)),
        ("text", ("\ud800",)),
        ("touch", ([finger(1), finger(2), finger(1)],)),
        ("touch", ([finger(n) for n in range(11)],)),
        ("touch", ([m.Finger(finger=1, position=Point(40, 0))],)),
        ("set", (0, 75, True)),
        ("set", (61, 75, True)),
        ("set", (30, 9, True)),
        ("set", (30, 91, True)),
        ("view", (2, 0, True, 0, 0)),
        ("view", (0, 4, True, 0, 0)),
        ("view", (0, 0, True, 4096, 0)),
        ("control", (3, 0)),
        ("resize", (0, 1)),
        ("resize", (1, 4097)),
        ("resize_session", (1, 0)),
        ("resize_session", (4097, 1)),
        ("resize_session", (4096, 1025)),
        ("clipboard", (3, 1, b"a")),
        ("clipboard", (3, 0, b"")),
        ("clipboard", (3, 0, b"abcd")),
        ("clipboard", (262145, 0, b"a")),
    ],
    ids=lambda value: str(value)[:40],
)
def test_input_that_cannot_be_sent_is_refused_here(call: str, arguments: tuple[object, ...]) -> None:
    client = c.Client(config(capabilities=Capability.CLIPBOARD))
    server = connect(client)
    with pytest.raises(c.ClientError) as caught:
        getattr(client, call)(*arguments)
    assert caught.value.code is Code.ARGUMENT
    assert client.output() == b""
    assert client.pointer(0, 0) == 1
    server.receive(client.output())


def test_no_input_before_welcome() -> None:
    client = c.Client(config(capabilities=ALL))
    server = Server()
    stream = server.accept(client)
    for byte in stream:
        with pytest.raises(c.ClientError) as caught:
            client.pointer(0, 0)
        assert caught.value.code is Code.BAD_STATE
        client.feed(bytes((byte,)))
    assert client.pointer(0, 0) == 1
    assert server.receive(client.output()) == [m.Pointer(input=1, position=Point(0, 0), buttons=0)]


def test_what_is_not_in_force_is_not_sent() -> None:
    client = c.Client(config(capabilities=ALL))
    connect(client, capabilities=0)
    for name, arguments in (
        ("resize", (3, 3)),
        ("clipboard", (0, 0, b"")),
        ("touch", ([finger(1)],)),
        ("touch", ([],)),
    ):
        with pytest.raises(c.ClientError) as caught:
            getattr(client, name)(*arguments)
        assert caught.value.code is Code.NOT_OFFERED


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=12))
def test_text_is_utf8_or_refused(data: bytes) -> None:
    client, server = open_client()
    try:
        expected = [m.TextInput(input=1, text=data.decode())] if data else []
    except UnicodeDecodeError:
        expected = []
    if expected:
        client.text(data)
    else:
        with pytest.raises(c.ClientError) as caught:
            client.text(data)
        assert caught.value.code is Code.ARGUMENT
    assert server.receive(client.output()) == expected


def fill_up(client: c.Client) -> None:
    """Send until nothing more fits."""
    with contextlib.suppress(c.ClientError):
        for _ in range(1000):
            client.key(32, True)
    with pytest.raises(c.ClientError) as caught:
        client.key(32, True)
    assert caught.value.code is Code.FULL


def test_a_full_send_buffer_is_said_and_not_fatal() -> None:
    client, server = open_client()
    client.text("x" * 1000)
    with pytest.raises(c.ClientError) as caught:
        client.text("y" * 1000)
    assert caught.value.code is Code.FULL
    fill_up(client)
    # An acknowledgement still fits, a PONG waits, and nothing is torn.
    client.feed(server.send(m.Ping(stamp=1), m.Ping(stamp=2), m.Begin(update=1, input=0), m.End()))
    first = server.receive(client.output())
    assert isinstance(first[-1], m.Ack)
    assert server.receive(client.output()) == [m.Pong(stamp=2)]
    client.text("y" * 1000)
    assert server.receive(client.output())[-1].text == "y" * 1000  # type: ignore[union-attr]


def test_goodbye_fits_into_a_full_send_buffer() -> None:
    client, server = open_client()
    client.text("x" * 1000)
    fill_up(client)
    client.feed(server.send(m.Begin(update=1, input=0), m.End()) + b"\x5f\x00")
    said = server.receive(client.output())
    assert isinstance(said[-2], m.Ack)
    assert said[-1] == m.Goodbye(code=Code.PROTOCOL, text=Code.PROTOCOL.text)


# Acknowledgements and pings.


def test_every_update_is_acknowledged() -> None:
    client, server = open_client()
    for update in range(1, 200):
        client.feed(server.send(m.Begin(update=update, input=0), m.End()))
        output = client.output()
        assert len(output) <= 12
        (ack,) = server.receive(output)
        assert isinstance(ack, m.Ack)
        assert ack.update == update


def test_many_updates_at_once_are_acknowledged_in_order() -> None:
    client, server = open_client()
    client.feed(server.send(*(message for n in range(1, 101) for message in server_update(n))))
    acks = [event.update for event in server.receive(client.output()) if isinstance(event, m.Ack)]
    assert acks == list(range(1, 101))
    assert client.shown == 100


def server_update(number: int) -> list[Message]:
    return [m.Begin(update=number, input=0), m.End()]


def test_a_ping_is_answered_and_a_pong_reported() -> None:
    client, server = open_client()
    client.ping(77)
    client.feed(server.send(m.Ping(stamp=5), m.Pong(stamp=77)))
    assert server.receive(client.output()) == [m.Ping(stamp=77), m.Pong(stamp=5)]
    assert client.events == [m.Pong(stamp=77)]


def test_an_idle_server_is_pinged_and_a_dead_one_noticed() -> None:
    client, server = open_client()
    start = 2**32 - 20 * SECOND  # the clock wraps on the way
    client.tick(start)
    client.tick(start + 15 * SECOND - 1)
    assert client.output() == b""
    for miss in range(1, 4):
        client.tick(start + 15 * miss * SECOND)
        assert [type(event) for event in server.receive(client.output())] == [m.Ping]
    client.tick(start + 60 * SECOND - 1)
    assert error_of(client) is None
    client.tick(start + 60 * SECOND)
    assert error_of(client) is Code.TIMEOUT
    assert server.receive(client.output()) == [m.Goodbye(code=Code.TIMEOUT, text=Code.TIMEOUT.text)]


def test_whatever_the_server_says_shows_that_it_lives() -> None:
    client, server = open_client()
    for second in range(0, 600, 14):
        client.tick(second * SECOND)
        client.feed(server.send(m.Bell()))
    assert client.output() == b""
    for second in range(600, 900, 10):
        client.tick(second * SECOND)
        pings = [e for e in server.receive(client.output()) if isinstance(e, m.Ping)]
        client.feed(server.send(*(m.Pong(stamp=ping.stamp) for ping in pings)))
    assert client.error is None


@pytest.mark.parametrize("size", [0, 1, 20])
def test_a_handshake_that_does_not_end(size: int) -> None:
    client = c.Client(config())
    server = Server()
    data = server.accept(client)
    client.tick(5)
    client.feed(data[:size])
    client.tick(5 + 10 * SECOND - 1)
    assert error_of(client) is None
    client.tick(5 + 10 * SECOND)
    assert error_of(client) is Code.TIMEOUT
    assert messages_in(client.output()) == [m.Goodbye(code=Code.TIMEOUT, text=Code.TIMEOUT.text)]


# The end.


def test_closing_says_goodbye_once_and_takes_nothing_more() -> None:
    client, server = open_client()
    client.close()
    client.close(Code.INTERNAL)
    assert server.receive(client.output()) == [m.Goodbye(code=0, text=Code.NORMAL.text)]
    client.feed(server.send(m.Bell()) + b"\x5f\x00")
    client.end()
    assert client.events == []
    assert client.error is None
    assert client.phase is c.Phase.CLOSED
    with pytest.raises(c.ClientError) as caught:
        client.resize_session(3, 3)
    assert caught.value.code is Code.CLOSED
    with pytest.raises(c.ClientError) as caught:
        client.pointer(0, 0)
    assert caught.value.code is Code.CLOSED


def test_the_first_error_is_kept() -> None:
    client, server = open_client()
    client.feed(b"\x5f\x00")
    client.feed(server.send(m.Bell()))
    client.tick(0)
    client.end()
    assert client.error is Code.PROTOCOL
    assert len(server.receive(client.output())) == 1
    assert client.events == []


def test_a_goodbye_of_the_server_is_no_error() -> None:
    client, server = open_client()
    client.feed(server.send(m.Goodbye(code=Code.SESSION_ENDED, text="over")))
    client.end()
    assert client.events == [m.Goodbye(code=Code.SESSION_ENDED, text="over")]
    assert client.error is None
    assert client.output() == b""


def test_an_exception_in_a_callback_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = open_client()

    def broken(**_: object) -> None:
        raise RuntimeError("the callback failed")

    monkeypatch.setattr(m, "Bell", broken)
    with pytest.raises(RuntimeError, match="the callback failed"):
        client.feed(b"\x15\x00")
    monkeypatch.undo()
    client.feed(server.send(m.Bell()))
    assert client.events == [m.Bell()]


# The rest.


def test_two_clients_in_one_program() -> None:
    one, first = open_client(pixel_format=PixelFormat.XRGB8888)
    other, second = open_client(framebuffer=False)
    data = [
        first.send(*server_update(1)[:1], m.Fill(rect=Rect(0, 0, 40, 24), pixel=b"\x01\x02\x03"), m.End()),
        second.send(*server_update(1)[:1], m.Fill(rect=Rect(0, 0, 40, 24), pixel=b"\x04\x05"), m.End()),
    ]
    for a, b in zip(*data):
        one.feed(bytes((a,)))
        other.feed(bytes((b,)))
    one.feed(data[0][len(data[1]) :])
    assert one.framebuffer == b"\x01\x02\x03\x00" * 960
    assert other.framebuffer == b"\x04\x05" * 960
    assert one.events == other.events == [c.Presented(1, 0)]


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(1, 50), max_size=40))
def test_statistics_count_every_byte_once(cuts: list[int]) -> None:
    client = c.Client(config(capabilities=ALL))
    server = Server()
    greeting = server.accept(client)
    size = len(server.send(m.Bell(), m.Bell(), *server_update(1)))
    stream = greeting + m.Bell().encode() * 2 + b"".join(x.encode() for x in server_update(1)) + b"\x70\x02ab"
    at = 0
    for cut in cuts:
        client.feed(stream[at : at + cut])
        at += cut
    client.feed(stream[at:])
    seen = client.statistics
    assert seen.bytes == len(stream) == sum(seen.bytes_by_type.values())
    assert seen.updates == 1
    assert seen.messages == {"OTHER": 2, "WELCOME": 1, "BELL": 2, "BEGIN": 1, "END": 1}
    assert size == sum(seen.bytes_by_type[name] for name in ("BELL", "BEGIN", "END"))


def test_the_clients_memory_is_small() -> None:
    client = c.Client(config(capabilities=ALL))
    assert client.memory_size <= 8 << 10


@pytest.mark.parametrize("code", [*Code, 0x105, 23])
def test_sentences_are_those_of_the_protocol(code: int) -> None:
    known = code in list(Code)
    assert c.status_text(code) == (Code(code).text if known else "")


def test_the_sender_of_a_test_is_honest() -> None:
    """A server that keeps the rules cannot send what the client would refuse."""
    server = Server()
    server.accept(c.Client(config()), 0)
    with pytest.raises(LocalProtocolError):
        server.send(m.Bell())


CLOSED_WHILE_DRAWING = """
#include "tilewire/tilewire.h"
#include <string.h>
static unsigned char memory[TW_CLIENT_SIZE(0, 0)], receive[1024], strip[4];
static tw_client *client;
static unsigned drawn;
static tw_drawn on_draw(void *user, unsigned x, unsigned y, unsigned width, unsigned height, const void *pixels) {
    (void)user, (void)x, (void)y, (void)width, (void)height, (void)pixels;
    if (++drawn == 3) tw_client_close(client, TW_CODE_NORMAL);
    return TW_DRAW_DONE;
}
int main(void) {
    static const unsigned char greeting[] = {
        0x97, 'T', 'W', '\\n', 1, 1, 24, 0, 0x81, 1, 1, 0x82, 1, 1, 3, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        13, 14, 15, 0x10, 33, 1, 1, 's', 2, 4, 0, 4, 88, 2, 3, 1, 2, 4, 4, 1, 0, 0, 0, 5, 3, 30, 75, 1, 6, 8, 0, 0, 0,
        0, 0, 0, 0, 0, TW_MSG_BEGIN, 2, 1, 0, TW_MSG_FILL, 7, 0, 0, 0, 3, 0x70, 0, 9};
    tw_callbacks callbacks;
    tw_client_config config;
    size_t consumed;
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.draw = on_draw;
    memset(&config, 0, sizeof config);
    config.device_id = "x", config.width = 4, config.height = 8, config.pixel_format = TW_PIXEL_GREY8;
    config.strip = strip, config.strip_size = sizeof strip;
    config.receive = receive, config.receive_size = sizeof receive, config.callbacks = &callbacks;
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_OK) return 1;
    if (tw_client_feed(client, greeting, sizeof greeting, &consumed) != TW_CODE_CLOSED) return 2;
    return drawn != 3;
}
"""


def test_nothing_is_drawn_after_a_callback_closed(tmp_path: Path) -> None:
    run_sanitized(tmp_path, CLOSED_WHILE_DRAWING)
