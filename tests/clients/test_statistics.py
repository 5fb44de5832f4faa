"""What a client counts: what was dropped, and how long it took from an input to the picture."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tilewire.protocol import Code, Rect
from tilewire.protocol import messages as m
from tilewire.simulator import client as c
from tilewire.simulator.device import Setup, open_device

from tests.clients.support import ALL, Server, config, connect, reply, welcome
from tests.clients.test_build import C99, INCLUDES, SOURCES, compiler, run
from tools.served import served

TIMED_INPUTS = 8
"""TW_TIMED_INPUTS"""


def opened() -> tuple[c.Client, Server]:
    client = c.Client(config(capabilities=ALL))
    return client, connect(client)


def update(number: int, newest: int) -> list[m.Message]:
    return [m.Begin(update=number, input=newest), m.Fill(rect=Rect(0, 0, 2, 2), pixel=b"\x12\x34"), m.End()]


def shown(client: c.Client) -> int:
    return client.statistics.inputs_shown


def press(client: c.Client, server: Server, count: int = 1) -> None:
    for _ in range(count):
        client.key(0x61, True)
    server.receive(client.output())


def test_each_input_that_a_full_buffer_refuses_is_counted() -> None:
    client, server = opened()
    assert client.statistics.inputs_refused == 0
    taken = 0
    while client.statistics.inputs_refused == 0:
        with suppress(c.ClientError):
            taken = client.key(0x61, True)
    assert client.statistics.inputs_refused == 1
    for act in (partial(client.text, "x" * 900), partial(client.touch, []), partial(client.pointer, 1, 1)):
        with pytest.raises(c.ClientError):
            act()
    assert client.statistics.inputs_refused == 4
    # Neither a wish nor a wrong argument is a refused input.
    for wish in (client.refresh, partial(client.pointer, 4000, 5000), partial(client.text, "")):
        with pytest.raises(c.ClientError):
            wish()
    assert client.statistics.inputs_refused == 4
    assert len(server.receive(client.output())) == taken
    client.key(0x61, True)
    assert client.statistics.inputs_refused == 4


@pytest.mark.parametrize("end", ["stream", "goodbye", "close", "error"])
@pytest.mark.parametrize("inside", [False, True])
def test_an_update_that_never_ended_is_dropped(end: str, inside: bool) -> None:
    client, server = opened()
    client.feed(server.send(*update(1, 0), *update(2, 0)[: 2 if inside else 0]))
    assert client.statistics.updates_dropped == 0  # it may end yet
    if end == "stream":
        client.end()
    elif end == "goodbye":
        client.feed(m.Goodbye(code=Code.STOPPING, text="").encode())
    elif end == "close":
        client.close(Code.NORMAL)
    else:
        client.feed(b"\x40\x00")
    seen = client.statistics
    assert (seen.updates, seen.updates_dropped) == (1, int(inside))


def test_only_the_first_update_that_names_an_input_times_it() -> None:
    client, server = opened()
    press(client, server)
    client.feed(server.send(*update(1, 0)))
    assert shown(client) == 0
    client.feed(server.send(*update(2, 1)[:2]))
    assert shown(client) == 0
    client.feed(server.send(m.End()))
    assert shown(client) == 1
    client.feed(server.send(*update(3, 1), *update(4, 1)))
    assert shown(client) == 1
    press(client, server, 2)  # the older gives way
    client.feed(server.send(*update(5, 3)))
    assert shown(client) == 2
    seen = client.statistics
    assert 0 < seen.input_to_picture_us < seen.input_to_picture_sum_us


def test_an_input_that_changed_nothing_is_not_timed_by_a_later_update() -> None:
    client, server = opened()
    press(client, server, 3)
    client.feed(server.send(m.InputEcho(input=2), *update(1, 2)))
    assert shown(client) == 0
    client.feed(server.send(*update(2, 3)))
    assert shown(client) == 1


def test_an_echo_of_an_older_input_times_none_again() -> None:
    client, server = opened()
    press(client, server, 3)
    client.feed(server.send(*update(1, 3)))
    assert shown(client) == 1
    client.feed(server.send(m.InputEcho(input=1), *update(2, 3)))
    assert shown(client) == 1


@pytest.mark.parametrize("behind", [TIMED_INPUTS - 1, TIMED_INPUTS])
def test_as_many_inputs_are_remembered_as_promised(behind: int) -> None:
    client, server = opened()
    press(client, server, 1 + behind)
    client.feed(server.send(*update(1, 1)))
    assert shown(client) == int(behind < TIMED_INPUTS)


def test_a_reconnected_client_adds_up() -> None:
    one = c.Statistics(5, 2, 7, {}, {}, 1, 1, 2, 30, 90)
    other = c.Statistics(1, 1, 1, {}, {}, 2, 0, 0, 0, 0)
    for whole in (one + other, other + one):
        assert (whole.inputs_refused, whole.updates_dropped, whole.inputs_shown) == (3, 1, 2)
        assert (whole.input_to_picture_us, whole.input_to_picture_sum_us) == (30, 90)


PROGRAM = """
#include "tilewire/tilewire.h"
#include <string.h>
static unsigned char memory[TW_CLIENT_SIZE(0, 0)], receive[1024], framebuffer[40 * 24 * 2];
static uint32_t now;

static uint32_t now_us(void *user) {
    (void)user;
    return now;
}

static int feed(tw_client *client, const unsigned char *bytes, size_t length) {
    size_t consumed;
    return tw_client_feed(client, bytes, length, &consumed) != TW_OK || consumed != length;
}

static int type(tw_client *client, uint32_t at) {
    uint32_t input;
    now = at;
    return tw_client_key(client, 97, 1, &input) != TW_OK;
}

int main(void) {
    static const unsigned char greeting[] = {GREETING}, first[] = {FIRST}, second[] = {SECOND}, third[] = {THIRD};
    tw_client_config config;
    tw_statistics seen;
    tw_client *client;
    memset(&config, 0, sizeof config);
    config.device_id = "x";
    config.width = 40, config.height = 24;
    config.pixel_format = TW_PIXEL_RGB565;
    config.framebuffer = framebuffer, config.framebuffer_size = sizeof framebuffer;
    config.receive = receive, config.receive_size = sizeof receive;
    config.now_us = now_us;
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_OK) return 1;
    if (feed(client, greeting, sizeof greeting)) return 2;
    /* The clock wraps between an input and its picture. */
    if (type(client, 0xFFFFFF00) || type(client, 0xFFFFFF80)) return 3;
    now = 0x100;
    if (feed(client, first, sizeof first - 1)) return 4;
    now = 0x180;
    if (feed(client, first + sizeof first - 1, 1)) return 5;
    tw_client_statistics(client, &seen);
    if (seen.inputs_shown != 1 || seen.input_to_picture_us != 0x280 || seen.input_to_picture_sum_us != 0x280) return 6;
    now = 0x200;
    if (feed(client, second, sizeof second)) return 7;
    tw_client_statistics(client, &seen);
    if (seen.inputs_shown != 2 || seen.input_to_picture_us != 0x280 || seen.input_to_picture_sum_us != 0x500) return 8;
    /* The sum does not wrap with it. */
    if (type(client, 0)) return 9;
    now = 0xFFFFFFFF;
    if (feed(client, third, sizeof third)) return 10;
    tw_client_statistics(client, &seen);
    if (seen.input_to_picture_us != 0xFFFFFFFF || seen.input_to_picture_sum_us != 0x1000004FF) return 11;
    return 0;
}
"""


def test_times_are_by_the_callers_clock(tmp_path: Path) -> None:
    server = Server()
    server.receive(c.Client(config()).output())
    parts = {
        "GREETING": server.send(reply(), welcome(0)),
        "FIRST": b"".join(x.encode() for x in update(1, 1)),
        "SECOND": b"".join(x.encode() for x in update(2, 2)),
        "THIRD": b"".join(x.encode() for x in update(3, 3)),
    }
    text = PROGRAM
    for name, data in parts.items():
        text = text.replace(f"{{{name}}}", "{" + ",".join(map(str, data)) + "}")
    source = tmp_path / "clock.c"
    source.write_text(text)
    run(compiler("gcc"), "-O1", *C99, *INCLUDES, source, *SOURCES, "-o", tmp_path / "clock")
    run(tmp_path / "clock")


async def test_a_typed_key_in_a_real_session(tmp_path: Path) -> None:
    xterm = ["xterm", "-geometry", "60x20+0+0", "-e", "cat"]
    with served(["run", "--listen", "127.0.0.1:0", "--size", "640x420", "--", *xterm], tmp_path / "log") as server:
        async with open_device(server.address, Setup()) as device:
            await device.whole_picture()
            device.pointer(200, 200)
            await device.settled(0.3, 20)
            before = device.statistics
            device.type("a")
            assert await device.wait_for(lambda: device.statistics.inputs_shown > before.inputs_shown, 20)
            seen = device.statistics
    assert seen.input_to_picture_sum_us == before.input_to_picture_sum_us + seen.input_to_picture_us
    # A key goes down and up: the press shows, alone or together with the release.
    assert seen.inputs_shown - before.inputs_shown <= 2
    assert 0 < seen.input_to_picture_us < 20_000_000
    assert (seen.inputs_refused, seen.updates_dropped) == (0, 0)
