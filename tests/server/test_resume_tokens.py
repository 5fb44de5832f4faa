"""Whoever presents a token: what it is good for, and what becomes of the connection that it belonged to. SPEC.md,
section 4."""

from __future__ import annotations

import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

import pytest
import trio

from tilewire.protocol import AuthMethod, Capability, Code, Connection, Need, PixelFormat, Point, Rect, Resumed, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.constants import RESUME_S
from tilewire.server import kept, session
from tilewire.server.encoder import Encoder
from tilewire.server.handshake import Credentials
from tilewire.server.kept import Kept, Shelf
from tilewire.server.pointing import Pointing
from tilewire.server.view import View

from tests.server.xclient import Painter, painter
from tests.support import (
    EVERYTHING,
    Device,
    Served,
    TcpStream,
    device,
    heard,
    hello,
    put_pixels,
    quiet,
    served,
    tcp,
)

WIDTH, HEIGHT = 200, 120
KEYS: Final = {"known": bytes(range(32)), "other": bytes(range(1, 33))}
SMALL: Final = (16, 16)

Calm = Callable[[], Awaitable[None]]
"""Returns once another viewer is served as before, and nothing else is left of what there was."""


pytestmark = pytest.mark.usefixtures("nothing_stays_open")


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served((WIDTH, HEIGHT), credentials=Credentials(KEYS)) as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[Painter]:
    with painter(server.name) as made:
        put_pixels(made, Rect(0, 0, WIDTH, HEIGHT), random.Random(1).randbytes(4 * WIDTH * HEIGHT))
        yield made


async def visit(
    server: Served, greeting: m.Hello, *, earlier: Device | None = None, key: bytes | None = None
) -> Device:
    """Be a device until it shows the screen and the server knows that it does; then leave without a word."""
    async with device(server.port, greeting, key=key, earlier=earlier) as one:
        await server.until_exact(one)
        await heard(one)
    return one


def proved(name: str, **more: Any) -> m.Hello:
    return hello(device_id=name, auth_methods=AuthMethod.HMAC, **more)


# Whose it is


@pytest.mark.parametrize("insecure", [True, False], ids=["unproved", "proved"])
async def test_the_token_of_another_device(server: Served, calm: Calm, insecure: bool) -> None:
    greeting = hello(device_id="first") if insecure else proved("known")
    key = None if insecure else KEYS["known"]
    one = await visit(server, greeting, key=key)
    thieves = {"second": None, "other": KEYS["other"]} if insecure else {"other": KEYS["other"], "stranger": None}
    for name, theirs in thieves.items():
        method = AuthMethod.NONE if theirs is None else AuthMethod.HMAC
        # Even with its boot id.
        stolen = one.comes_back(device_id=name, auth_methods=method)
        thief = await visit(server, stolen, key=theirs)
        assert thief.welcome.resumed == Resumed.UNKNOWN_TOKEN
    # It is still good.
    assert (await visit(server, one.comes_back(), earlier=one, key=key)).welcome.resumed == Resumed.RESUMED
    await calm()


async def test_the_token_of_another_device_that_is_there(server: Served, calm: Calm) -> None:
    async with device(server.port, hello(device_id="first")) as one:
        await server.until_exact(one)
        thief = await visit(server, one.comes_back(device_id="second"))
        assert thief.welcome.resumed == Resumed.UNKNOWN_TOKEN
        await heard(one)
        two = await visit(server, one.comes_back(), earlier=one)
        assert two.welcome.resumed == Resumed.RESUMED
        await one.until_ended()
    await calm()


async def test_a_token_is_good_once(server: Served, calm: Calm) -> None:
    one = await visit(server, hello())
    again = one.comes_back()
    assert (await visit(server, again, earlier=one)).welcome.resumed == Resumed.RESUMED
    for _ in range(3):
        assert (await visit(server, replace(again, nonce=bytes(16)))).welcome.resumed == Resumed.UNKNOWN_TOKEN
    await calm()


async def test_each_welcome_has_another_token(server: Served) -> None:
    tokens = set()
    one = await visit(server, hello(panel=SMALL))
    for _ in range(10):
        offer = one.welcome.resume
        assert offer is not None
        assert offer.lifetime_s == RESUME_S
        tokens.add(offer.token)
        one = await visit(server, one.comes_back(), earlier=one)
    assert len(tokens) == 10


@pytest.mark.parametrize("standing", [False, True], ids=["kept", "standing"])
async def test_two_that_present_the_same_token_at_once(server: Served, calm: Calm, standing: bool) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(device(server.port, hello()))
        await server.until_exact(one)
        await heard(one)
        if not standing:
            await stack.aclose()
        streams = [await stack.enter_async_context(tcp(server.port)) for _ in range(2)]
        greetings = [one.comes_back() for _ in streams]
        both = [Device(stream, greeting) for stream, greeting in zip(streams, greetings)]
        async with trio.open_nursery() as nursery:
            for each in both:
                await each.greet()
            for each in both:
                nursery.start_soon(each.live)
            for each in both:
                await each.until(lambda each=each: each.connection.welcome)  # type: ignore[misc]
            assert sorted(each.welcome.resumed for each in both) == [Resumed.RESUMED, Resumed.UNKNOWN_TOKEN]
            # The same device, so only one of them stays: the one that was let in last.
            last = max(both, key=lambda each: each.welcome.viewer)
            other = both[1 - both.index(last)]
            gone = await other.until_ended()
            assert gone is not None
            assert gone.code == Code.REPLACED
            await heard(last)
            nursery.cancel_scope.cancel()
    await calm()


async def test_a_token_whose_time_is_over(client: Painter) -> None:
    async with served(SMALL, resume_s=0) as server:
        one = await visit(server, hello(panel=SMALL))
        offer = one.welcome.resume
        assert offer is not None
        assert offer.lifetime_s == 0
        assert (await visit(server, one.comes_back())).welcome.resumed == Resumed.UNKNOWN_TOKEN


# What is the same


@pytest.mark.parametrize("standing", [False, True], ids=["kept", "standing"])
@pytest.mark.parametrize(
    "changes",
    [
        {"boot_id": 1},
        {"pixel_format": PixelFormat.RGB332},
        {"panel": m.Size(width=HEIGHT, height=WIDTH)},
        {"panel": m.Size(width=WIDTH, height=HEIGHT + 1)},
    ],
    ids=str,
)
async def test_another_device_by_the_same_name(
    server: Served, calm: Calm, changes: dict[str, Any], standing: bool
) -> None:
    async with device(server.port, hello(boot_id=77)) as one:
        await server.until_exact(one)
        await heard(one)
        if standing:
            two = await visit(server, one.comes_back(**changes))
            gone = await one.until_ended()
            assert gone is not None
            assert gone.code == Code.REPLACED
    if not standing:
        two = await visit(server, one.comes_back(**changes))
    assert two.welcome.resumed == Resumed.CHANGED
    # It was used up all the same.
    assert (await visit(server, one.comes_back())).welcome.resumed == Resumed.UNKNOWN_TOKEN
    await calm()


@pytest.mark.parametrize("offset", [1, 2, 0xFFFF_0000])
async def test_an_update_from_the_future(server: Served, calm: Calm, offset: int) -> None:
    one = await visit(server, hello())
    offer = one.welcome.resume
    assert offer is not None
    ask = m.ResumeRequest(token=offer.token, update=one.updates + offset)
    assert (await visit(server, one.comes_back(resume=ask))).welcome.resumed == Resumed.CHANGED
    await calm()


async def test_an_update_before_the_last_acknowledged(server: Served, client: Painter, calm: Calm) -> None:
    async with device(server.port, hello()) as one:
        await server.until_exact(one)
        client.fill(Rect(9, 9, 40, 40), 0xABCDEF)
        await server.until_exact(one)
        await heard(one)
    offer = one.welcome.resume
    assert offer is not None
    ask = m.ResumeRequest(token=offer.token, update=one.updates - 1)
    assert (await visit(server, one.comes_back(resume=ask))).welcome.resumed == Resumed.CHANGED
    await calm()


async def test_an_update_that_was_shown_and_not_acknowledged(server: Served, client: Painter, calm: Calm) -> None:
    async with device(server.port, hello(), acks=False) as one:
        await one.until(lambda: one.updates)
        client.fill(Rect(9, 9, 40, 40), 0xABCDEF)
        await one.until(lambda: one.updates > 1)
    async with device(server.port, earlier=one) as two:
        assert two.welcome.resumed == Resumed.RESUMED
        await server.until_exact(two)
    await calm()


async def test_an_update_of_before_the_panel_was_resized(server: Served, client: Painter, calm: Calm) -> None:
    """No device says so: it knew the panel's new size, and that came after the update."""
    greeting = hello(capabilities=EVERYTHING | Capability.RESIZE)
    async with device(server.port, greeting, acks=False) as one:
        await one.until(lambda: one.updates)
        await one.say(m.Resize(width=40, height=20))
        await one.until(lambda: one.last(m.Resize) and one.updates > 1)
    offer = one.welcome.resume
    assert offer is not None
    two = await visit(server, one.comes_back(resume=m.ResumeRequest(token=offer.token, update=0)), earlier=one)
    assert two.welcome.resumed == Resumed.RESUMED
    await calm()


# Before it counts


async def test_a_token_is_not_used_up_by_who_is_not_let_in(server: Served, calm: Calm) -> None:
    one = await visit(server, proved("known"), key=KEYS["known"])
    # A wrong proof.
    async with tcp(server.port) as stream:
        client = Connection(Sender.CLIENT)
        await stream.send(client.send(one.comes_back()))
        while not isinstance(event := client.next_event(), m.Proof):
            if isinstance(event, Need):
                client.receive_data(await stream.receive())
        await stream.send(client.send(m.Proof(mac=bytes(32))))
        while not isinstance(event := client.next_event(), m.Goodbye):
            if isinstance(event, Need):
                client.receive_data(await stream.receive())
        assert event.code == Code.AUTH_FAILED
    # None at all.
    async with tcp(server.port) as stream:
        client = Connection(Sender.CLIENT)
        await stream.send(client.send(one.comes_back()))
        assert await stream.receive()
    # Another session.
    async with device(server.port, one.comes_back(session="none"), key=KEYS["known"], welcome=False) as lost:
        gone = await lost.until_ended()
        assert gone is not None
        assert gone.code == Code.NO_SESSION
    two = await visit(server, one.comes_back(), earlier=one, key=KEYS["known"])
    assert two.welcome.resumed == Resumed.RESUMED
    await calm()


async def test_a_token_is_not_used_up_where_there_is_no_room(
    server: Served, calm: Calm, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await visit(server, hello())
    # The witness is one of them.
    monkeypatch.setattr(session, "MAX_VIEWERS", 2)
    async with device(server.port, hello(device_id="large")) as large:
        await large.until(lambda: large.updates)
        async with device(server.port, one.comes_back(), welcome=False) as refused:
            gone = await refused.until_ended()
            assert gone is not None
            assert gone.code == Code.LIMIT
    await calm()
    assert (await visit(server, one.comes_back(), earlier=one)).welcome.resumed == Resumed.RESUMED
    await calm()


async def test_who_comes_back_takes_its_own_place(server: Served, calm: Calm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_VIEWERS", 2)
    async with device(server.port, hello()) as one:
        await server.until_exact(one)
        async with device(server.port, earlier=one) as two:
            assert two.welcome.resumed == Resumed.RESUMED
            async with device(server.port, two.comes_back(resume=None)) as three:
                await server.until_exact(three)
                await two.until_ended()
    await calm()


# The connection that still stands


@pytest.mark.parametrize("with_token", [True, False])
@pytest.mark.parametrize("by_web", [False, True], ids=["native", "web"])
async def test_the_old_connection_is_told_that_it_was_replaced(
    server: Served, client: Painter, calm: Calm, with_token: bool, by_web: bool
) -> None:
    async with device(server.port, hello(), by_web=by_web) as one:
        await server.until_exact(one)
        await heard(one)
        fields = {} if with_token else {"resume": None}
        greeting = one.comes_back(**fields)
        async with device(server.port, greeting, by_web=by_web, earlier=one if with_token else None) as two:
            gone = await one.until_ended()
            assert gone is not None
            assert gone.code == Code.REPLACED
            assert two.welcome.resumed == (Resumed.RESUMED if with_token else Resumed.NOT_ASKED)
            client.fill(Rect(9, 9, 40, 40), 0xABCDEF)
            await server.until_exact(two)
            await heard(two)
        if not with_token:
            # The token of the one that was replaced is good.
            assert (await visit(server, one.comes_back(), earlier=one)).welcome.resumed == Resumed.RESUMED
    await calm()


async def test_who_is_the_same_device_without_a_token(server: Served, calm: Calm) -> None:
    """Where nothing was proved the boot id tells; a stranger that only knows the name ends nobody."""
    async with device(server.port, hello(device_id="d", boot_id=5)) as one, AsyncExitStack() as stack:
        await server.until_exact(one)
        stranger = await stack.enter_async_context(device(server.port, hello(device_id="d", boot_id=6)))
        await server.until_exact(stranger)
        await heard(one)
        same = await stack.enter_async_context(device(server.port, hello(device_id="d", boot_id=5)))
        gone = await one.until_ended()
        assert gone is not None
        assert gone.code == Code.REPLACED
        await heard(stranger)
        await server.until_exact(same)
    async with device(server.port, proved("known", boot_id=5), key=KEYS["known"]) as one:
        await server.until_exact(one)
        other = await visit(server, proved("other", boot_id=5), key=KEYS["other"])
        assert other.welcome.resumed == Resumed.NOT_ASKED
        await heard(one)
        # Proved, and started anew.
        await visit(server, proved("known", boot_id=6), key=KEYS["known"])
        gone = await one.until_ended()
        assert gone is not None
        assert gone.code == Code.REPLACED
    await calm()


async def test_what_the_old_connection_says_afterwards_changes_nothing(
    server: Served, client: Painter, calm: Calm
) -> None:
    """Until its goodbye has come it may acknowledge, point, ask for views and refreshes."""
    async with device(server.port, hello(panel=(90, 70)), acks=False) as one:
        await one.until(lambda: one.updates)
        client.fill(Rect(0, 0, 30, 30), 0x111111)
        await one.until(lambda: one.updates > 1)
        async with device(server.port, earlier=one) as two:
            late = [
                m.Ack(update=one.updates, decode_us=1),
                m.View(mode=1, rotation=2, follow=0, origin=Point(0, 0)),
                m.Pointer(input=1, position=Point(3, 3), buttons=1),
                m.Setting(fps=1, quality=10, adaptive=0),
                m.Refresh(),
                m.Pause(paused=1),
            ]
            for message in late:
                with trio.move_on_after(1):
                    try:
                        await one.say_raw(message.encode())
                    except trio.BrokenResourceError:
                        break
            await one.until_ended()
            for colour in range(5):
                client.fill(Rect(colour, 0, 60, 30), 0x222222 * colour)
                await server.until_exact(two)
            assert two.last(m.ViewState).mode == 0
            assert not two.all(m.Setting)
    await calm()


async def test_a_device_that_reads_nothing_on_its_old_connection(client: Painter) -> None:
    """Its socket is full, and what the server was about to send is lost."""
    size = (640, 400)
    chance = random.Random(2)
    whole = Rect(0, 0, *size)
    async with served(size) as server:
        with painter(server.name) as noisy:
            greeting = hello(panel=size, pixel_format=PixelFormat.XRGB8888)
            async with device(server.port, greeting) as one:
                assert isinstance(one.stream, TcpStream)
                await server.until_exact(one)
                one.hold()
                put_pixels(noisy, whole, chance.randbytes(4 * whole.area))
                await quiet(0.2)
                async with device(server.port, earlier=one) as two:
                    assert two.welcome.resumed == Resumed.RESUMED
                    await server.until_exact(two)
                    noisy.fill(Rect(9, 9, 90, 90), 0x778899)
                    await server.until_exact(two)


async def test_nothing_is_kept_of_who_broke_the_protocol(server: Served, calm: Calm) -> None:
    async with device(server.port, hello(), acks=False) as one:
        await one.until(lambda: one.updates)
        await one.say_raw(m.Ack(update=one.updates + 7, decode_us=1).encode())
        gone = await one.until_ended()
        assert gone is not None
        assert gone.code == Code.BAD_ACK
    assert (await visit(server, one.comes_back())).welcome.resumed == Resumed.UNKNOWN_TOKEN
    await calm()


# Many


async def test_hundreds_of_devices_that_come_and_go(server: Served, calm: Calm) -> None:
    left: list[Device] = []
    for number in range(200):
        async with device(server.port, hello(device_id=f"d{number}", panel=SMALL)) as one:
            await one.until(lambda: one.updates)
        left.append(one)
    await calm()
    newest, oldest = left[-kept.MAX_KEPT :], left[: -kept.MAX_KEPT]
    for group, verdict in ((oldest[-5:], Resumed.UNKNOWN_TOKEN), (newest[10:15], Resumed.RESUMED)):
        for one in group:
            async with device(server.port, one.comes_back(), earlier=one) as two:
                assert two.welcome.resumed == verdict
                await server.until_exact(two)
    await calm()


async def test_large_panels_are_kept_as_long_as_there_is_memory(
    server: Served, calm: Calm, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeting = hello(panel=(300, 200))
    one_bytes = Encoder(greeting, 0).memory_bytes
    assert one_bytes > 300 * 200 * 4
    monkeypatch.setattr(kept, "MAX_KEPT_BYTES", 3 * one_bytes)
    left = []
    for number in range(5):
        async with device(server.port, replace(greeting, device_id=f"d{number}")) as one:
            await one.until(lambda: one.updates)
        left.append(one)
        await quiet(0.01)
    # The newest first: each is put back where it was taken from.
    for one, verdict in zip(reversed(left), [Resumed.RESUMED] * 3 + [Resumed.UNKNOWN_TOKEN] * 2):
        async with device(server.port, one.comes_back(), earlier=one) as two:
            assert two.welcome.resumed == verdict
            await server.until_exact(two)
        await quiet(0.01)
    await calm()


@pytest.mark.parametrize("by_web", [False, True], ids=["native", "web"])
async def test_all_come_back_at_once(server: Served, client: Painter, calm: Calm, by_web: bool) -> None:
    """A net that went away for a moment: the server still believes in all of the old connections."""
    chance = random.Random(3)
    count = 40
    devices: list[Device | None] = [None] * count

    async def live(number: int, *, task_status: trio.TaskStatus[None]) -> None:
        earlier = devices[number]
        greeting = hello(device_id=f"d{number}", panel=SMALL) if earlier is None else None
        async with device(server.port, greeting, earlier=earlier, by_web=by_web) as now:
            assert now.welcome.resumed == (Resumed.NOT_ASKED if earlier is None else Resumed.RESUMED)
            devices[number] = now
            task_status.started()
            await now.until_ended()

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            client.fill(Rect(0, 0, 20, 20), chance.randrange(1 << 24))
            async with trio.open_nursery() as arrivals:
                for number in range(count):
                    arrivals.start_soon(nursery.start, live, number)
            await server.until_exact(*[one for one in devices if one is not None])
        nursery.cancel_scope.cancel()
    await calm()


# The end


def how_many_kept() -> int:
    gc.collect()
    return sum(isinstance(thing, Kept) for thing in gc.get_objects())


async def test_nothing_is_kept_of_a_session_that_has_ended(server: Served) -> None:
    before = how_many_kept()
    one = await visit(server, hello())
    await quiet(0.05)
    assert how_many_kept() == before + 1
    async with device(server.port, hello(device_id="other one")) as other:
        await other.until(lambda: other.updates)
        server.session.end(Code.SESSION_ENDED, "gimp ended")
        await other.until_ended()
    await quiet(0.05)
    assert how_many_kept() == before
    async with device(server.port, one.comes_back(), welcome=False) as two:
        assert await two.until_ended() == m.Goodbye(code=Code.SESSION_ENDED, text="gimp ended")


# The shelf


def on_a_shelf(device_id: str, size: tuple[int, int] = SMALL) -> Kept:
    greeting = hello(device_id=device_id, panel=size)
    connection = Connection(Sender.SERVER)
    connection.receive_data(Connection(Sender.CLIENT).send(greeting))
    assert connection.next_event() == greeting
    return Kept(
        hello=greeting,
        proven=False,
        encoder=Encoder(greeting, 0),
        sent=0,
        rules=connection.rules,
        view=View(SMALL, size),
        settings=m.Setting(fps=30, quality=75, adaptive=1),
        pointing=Pointing(None, 1024),
    )


def test_a_shelf_forgets_the_oldest() -> None:
    shelf = Shelf(10)
    for number in range(3):
        shelf.put(bytes([number]), on_a_shelf("d"), float(number))
    assert shelf.expire(9.9) == 10.0
    assert len(shelf) == 3
    assert shelf.expire(10.0) == 11.0
    assert len(shelf) == 2
    assert shelf.take(b"\0", "d", 10.0) is None
    assert shelf.take(b"\1", "e", 10.0) is None
    assert shelf.take(b"\1", "d", 10.9) is not None
    assert shelf.take(b"\1", "d", 10.9) is None
    assert shelf.take(b"\2", "d", 12.0) is None
    assert len(shelf) == 0
    assert shelf.expire(12.0) == float("inf")


def test_a_shelf_has_a_bound_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(10)
    for number in range(3 * kept.MAX_KEPT):
        shelf.put(number.to_bytes(2, "little"), on_a_shelf("d"), 0.0)
    assert len(shelf) == kept.MAX_KEPT
    large = on_a_shelf("d", (100, 100))
    size = large.encoder.memory_bytes
    monkeypatch.setattr(kept, "MAX_KEPT_BYTES", 2 * size)
    for number in range(3):
        shelf.put(b"large%d" % number, on_a_shelf("d", (100, 100)), 0.0)
    assert len(shelf) == 2
    # What is taken makes room.
    assert shelf.take(b"large1", "d", 0.0) is not None
    shelf.put(b"large3", on_a_shelf("d", (100, 100)), 0.0)
    assert len(shelf) == 2
    # One that exceeds the bound alone is not kept, and nothing is with it.
    shelf.put(b"huge", on_a_shelf("d", (300, 100)), 0.0)
    assert len(shelf) == 0
    shelf.put(b"small", on_a_shelf("d"), 0.0)
    assert len(shelf) == 1
    shelf.clear()
    assert len(shelf) == 0


def test_strangers_make_room_first() -> None:
    shelf = Shelf()
    known = replace(on_a_shelf("known"), proven=True)
    shelf.put(b"known", known, 0.0)
    for number in range(2 * kept.MAX_KEPT):
        shelf.put(bytes([number]), on_a_shelf("stranger"), 1.0)
    assert len(shelf) == kept.MAX_KEPT
    assert shelf.take(b"known", "known", 2.0) is known
