"""A device whose line broke comes back: what it is sent, what it shows, what it may do. SPEC.md, section 4."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from tilewire.protocol import AuthMethod, Capability, Code, Message, Point, Rect, Resumed, Role
from tilewire.protocol import messages as m
from tilewire.protocol.constants import ControlAction, CursorMode, Rotation, ViewMode
from tilewire.server import cache
from tilewire.server.handshake import Credentials

from tests.relay import Relay, relay
from tests.server.test_session import LETTER_A, draw_anything, roles
from tests.server.xclient import Painter, copier, key_reader, painter, paster
from tests.support import (
    EVERYTHING,
    Device,
    Served,
    device,
    heard,
    hello,
    put_pixels,
    quiet,
    served,
)

WIDTH, HEIGHT = 200, 120
PAGE: Final = (400, 240)
PAGE_BYTES: Final = 40_000
"""Less than a whole repaint of a page of letters."""
SHARE: Final = 0.02
"""What coming back to a picture that has not changed may cost of that."""
KEY: Final = bytes(range(32))
RED_ARROW: Final = ["#" * (24 - row // 2) for row in range(24)]


pytestmark = pytest.mark.usefixtures("nothing_stays_open")


@pytest.fixture
async def line(server: Served) -> AsyncIterator[Relay]:
    async with relay(server.port) as made:
        yield made


Calm = Callable[[], Awaitable[None]]
"""Returns once another viewer is served as before, and nothing else is left of what there was."""


def drawn(one: Device) -> list[Message]:
    """All drawing operations that have come."""
    return [event for event in one.events if isinstance(event, Message) and event.drawing]


def letters(chance: random.Random, rect: Rect) -> bytes:
    """A page of text's likes: lines of dark marks with soft edges on white."""
    inks = [bytes([grey, grey, grey, 0]) for grey in (0, 36, 73, 109, 146, 182, 219)]
    white = bytes([255, 255, 255, 0])
    out = bytearray()
    for y in range(rect.height):
        for _ in range(rect.width):
            out += chance.choice(inks) if y % 14 < 11 and chance.random() < 0.55 else white
    return bytes(out)


# Nothing has changed


@pytest.mark.parametrize("by_web", [False, True], ids=["native", "web"])
@pytest.mark.parametrize("kind", ["plain", "cursor", "proved", "codec"])
async def test_coming_back_to_the_same_picture_costs_next_to_nothing(kind: str, by_web: bool) -> None:
    offers: dict[str, Any] = {
        "plain": {},
        "cursor": {"cursor": m.CursorOffer(mode=CursorMode.LOCAL, max_side=32)},
        "proved": {"device_id": "known", "auth_methods": AuthMethod.HMAC},
        "codec": {"model_kib": 16},
    }
    key = KEY if kind == "proved" else None
    async with served(PAGE, credentials=Credentials({"known": KEY})) as server, relay(server.port) as line:
        with painter(server.name) as client:
            client.wear(RED_ARROW)
            client.move_pointer(50, 60)
            put_pixels(client, Rect(0, 0, *PAGE), letters(random.Random(1), Rect(0, 0, *PAGE)))
            greeting = hello(panel=PAGE, **offers[kind])
            async with device(line.port, greeting, by_web=by_web, key=key) as one:
                await server.until_exact(one)
                if kind == "cursor":
                    await one.until(lambda: one.last(m.CursorPosition))
                await heard(one)
                whole = line.passed
                shown = one.stored()
            assert whole > (PAGE_BYTES if kind != "codec" else PAGE_BYTES // 2)
            async with device(line.port, by_web=by_web, key=key, earlier=one) as two:
                await two.until(lambda: two.updates)
                if kind == "cursor":
                    await two.until(lambda: two.last(m.CursorPosition) == one.last(m.CursorPosition))
                await heard(two)
                await quiet(0.1)
                print(f"resume {kind} {by_web=}: {line.passed} / {whole} bytes")
                assert two.welcome.resumed == Resumed.RESUMED
                assert (drawn(two), two.all(m.CursorShape), two.updates) == ([], [], 1)
                assert two.stored() == shown
                assert line.passed <= SHARE * whole
                # And all goes on.
                client.fill(Rect(9, 9, 50, 50), 0x00FF00)
                await server.until_exact(two)


async def test_a_shape_that_is_not_known_to_be_there_is_sent_again(server: Served, client: Painter) -> None:
    """No update has ended since it was sent; or the device takes other shapes now."""
    offer = m.CursorOffer(mode=CursorMode.LOCAL, max_side=32)
    client.wear(RED_ARROW)
    client.move_pointer(50, 60)
    async with device(server.port, hello(cursor=offer)) as one:
        await one.until(lambda: one.last(m.CursorShape) and one.updates)
        await server.until_exact(one)
        await heard(one)
        client.wear(RED_ARROW[:10])
        await one.until(lambda: one.last(m.CursorShape).height == 10)
    async with device(server.port, earlier=one) as two:
        await two.until(lambda: two.last(m.CursorShape))
        assert two.last(m.CursorShape).height == 10
        await two.until(lambda: two.updates)
        await heard(two)
    smaller = two.comes_back(cursor=m.CursorOffer(mode=CursorMode.LOCAL, max_side=8))
    async with device(server.port, smaller, earlier=two) as three:
        await three.until(lambda: three.last(m.CursorShape))
        assert max(three.last(m.CursorShape).width, three.last(m.CursorShape).height) <= 8
        assert three.welcome.resumed == Resumed.RESUMED


# Much has changed


@pytest.mark.parametrize("by_web", [False, True], ids=["native", "web"])
async def test_what_was_drawn_scrolled_and_panned_meanwhile(
    server: Served, client: Painter, calm: Calm, by_web: bool
) -> None:
    chance = random.Random(2)
    one: Device | None = None
    panel = (110, 70)
    for round_ in range(6):
        greeting = hello(panel=panel, model_kib=16) if one is None else None
        async with device(server.port, greeting, by_web=by_web, earlier=one) as now:
            assert now.welcome.resumed == (Resumed.RESUMED if one is not None else Resumed.NOT_ASKED)
            await server.until_exact(now)
            draw_anything(client, chance)
            # The answer may be on its way when the line is cut.
            await now.say(m.View(mode=0, rotation=0, follow=round_ % 2, origin=Point(15 * round_, 9 * round_)))
        one = now
        for _ in range(4):
            draw_anything(client, chance)
        pen = client.window.create_gc()
        client.window.copy_area(pen.id, client.window.id, 0, 20, WIDTH, HEIGHT - 20, 0, 0)
        pen.free()
        client.move_pointer(chance.randrange(WIDTH), chance.randrange(HEIGHT))
    await calm()


@pytest.mark.parametrize(
    ("by_web", "reset"), [(False, False), (False, True), (True, True)], ids=["native", "native-reset", "web-reset"]
)
async def test_a_line_cut_after_any_byte(
    server: Served, client: Painter, line: Relay, calm: Calm, by_web: bool, reset: bool
) -> None:
    chance = random.Random(3)
    offer = m.CacheOffer(slots=8, slot_bytes=2048)
    line.reset = reset

    def change() -> None:
        # A WebSocket's message comes whole or not at all, and a long update is several.
        for width, height in [(150, 70)] if by_web else [(30, 12), (30, 12)]:
            rect = Rect(chance.randrange(WIDTH - width), chance.randrange(HEIGHT - height), width, height)
            put_pixels(client, rect, chance.randbytes(4 * rect.area))
        pen = client.window.create_gc()
        client.window.copy_area(pen.id, client.window.id, 0, 0, WIDTH, HEIGHT, 0, -8)
        pen.free()
        client.fill(Rect(0, HEIGHT - 8, WIDTH, 8), chance.randrange(1 << 24))

    async with device(line.port, hello(model_kib=16, cache=offer), by_web=by_web, may_be_cut=True) as one:
        await server.until_exact(one)
        before = line.passed
        change()
        await server.until_exact(one)
        whole = line.passed - before
    assert whole > 300
    cuts = torn = 0
    at = 1
    while at <= whole:
        async with device(line.port, earlier=one, by_web=by_web, may_be_cut=True) as two:
            assert two.welcome.resumed == Resumed.RESUMED, at
            await server.until_exact(two)
            line.cut_after(at)
            while not two.ended:
                change()
                updates = two.updates
                await two.until(lambda: two.ended or two.updates > updates)  # noqa: B023
            torn += two.connection.rules.begun > two.updates
        line.cut_after(None)
        one = two
        cuts += 1
        at += 1 if at < 12 else 1 + whole // 25
    assert torn > cuts // (12 if by_web else 3)
    async with device(server.port, earlier=one) as last:
        assert last.welcome.resumed == Resumed.RESUMED
        await server.until_exact(last)
    await calm()


@pytest.mark.parametrize("seed", range(3))
async def test_cut_after_cut_wherever_it_is(
    server: Served, client: Painter, line: Relay, calm: Calm, seed: int
) -> None:
    """Also in the handshake, and before anything of the last cut was made good."""
    chance = random.Random(seed)
    by_web = seed == 1
    offer = m.CacheOffer(slots=4, slot_bytes=2048)
    async with device(line.port, hello(model_kib=16, cache=offer), by_web=by_web) as one:
        await server.until_exact(one)
    resumed: list[int] = []
    for _ in range(25):
        line.reset = chance.random() < 0.5
        line.cut_after(int(10 ** chance.uniform(1.5, 4)) + (250 if by_web else 0))
        try:
            async with device(line.port, earlier=one, by_web=by_web, may_be_cut=True, welcome=False) as two:
                while not two.ended:
                    draw_anything(client, chance)
                    client.fill(Rect(7, 7, 3, 3), chance.randrange(1 << 24))
                    updates = two.updates
                    await two.until(lambda: two.ended or two.updates > updates)  # noqa: B023
        except* OSError:
            # Of the device's own words to a line that is cut already.
            pass
        line.cut_after(None)
        if two.connection.welcome is not None:
            resumed.append(two.welcome.resumed)
            one = two
    async with device(server.port, earlier=one) as last:
        await server.until_exact(last)
        resumed.append(last.welcome.resumed)
    assert set(resumed) <= {Resumed.RESUMED, Resumed.UNKNOWN_TOKEN}
    # A token is lost with a WELCOME that does not arrive.
    assert resumed.count(Resumed.RESUMED) > len(resumed) // 2, resumed
    await calm()


# What is kept besides pixels


@pytest.mark.parametrize("by_web", [False, True], ids=["native", "web"])
async def test_view_rotation_and_settings_are_kept(server: Served, client: Painter, calm: Calm, by_web: bool) -> None:
    chance = random.Random(4)
    one: Device | None = None
    for mode, rotation, follow in ((0, 0, 0), (1, 1, 1), (0, 3, 1), (1, 2, 0), (0, 1, 0)):
        greeting = hello(panel=(90, 70)) if one is None else None
        async with device(server.port, greeting, by_web=by_web, earlier=one) as now:
            if one is not None:
                await now.until(lambda: now.last(m.ViewState))
                assert now.welcome.resumed == Resumed.RESUMED
                assert now.all(m.ViewState)[0] == one.last(m.ViewState)
                assert now.welcome.settings == m.Settings(fps=20, quality=33, adaptive=0)
                await server.until_exact(now)
                assert not drawn(now)
            wanted = m.View(mode=mode, rotation=rotation, follow=follow, origin=Point(40, 30))
            await now.say(wanted)
            await now.say(m.Setting(fps=20, quality=33, adaptive=0))
            await heard(now)
            state = now.last(m.ViewState)
            assert (state.mode, state.rotation, state.follow) == (mode, rotation, follow)
            draw_anything(client, chance)
            await server.until_exact(now)
            await heard(now)
        one = now
    await calm()


async def test_a_device_that_is_new_to_the_server_has_no_old_view(server: Served) -> None:
    async with device(server.port, hello(panel=(90, 70))) as one:
        await one.say(m.View(mode=ViewMode.FIT, rotation=Rotation.R90, follow=0, origin=Point(0, 0)))
        await heard(one)
    async with device(server.port, one.comes_back(boot_id=7)) as two:
        await two.until(lambda: two.last(m.ViewState))
        assert two.welcome.resumed == Resumed.CHANGED
        assert two.last(m.ViewState).mode == ViewMode.ONE_TO_ONE


async def test_slots_are_drawn_again_after_the_break(
    server: Served, client: Painter, calm: Calm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "STILL_S", 0.0)
    offer = m.CacheOffer(slots=100, slot_bytes=512)
    whole = Rect(0, 0, WIDTH, HEIGHT)
    first, second = (random.Random(seed).randbytes(4 * whole.area) for seed in (5, 6))
    put_pixels(client, whole, first)
    async with device(server.port, hello(cache=offer)) as one:
        await server.until_exact(one)
        put_pixels(client, whole, second)
        await server.until_exact(one)
        await heard(one)
        assert one.all(m.CacheStore)
        assert not one.all(m.CacheDraw)
    put_pixels(client, whole, first)
    async with device(server.port, earlier=one) as two:
        await server.until_exact(two)
        assert two.welcome.resumed == Resumed.RESUMED
        assert len(two.all(m.CacheDraw)) > 8
        put_pixels(client, whole, second)
        await server.until_exact(two)
        await heard(two)
    # Slots of another number are other slots.
    put_pixels(client, whole, first)
    async with device(server.port, two.comes_back(cache=replace(offer, slots=99)), earlier=two) as three:
        await server.until_exact(three)
        assert three.welcome.resumed == Resumed.RESUMED
        assert not three.all(m.CacheDraw)
    await calm()


@pytest.mark.parametrize(
    "changes",
    [
        {"max_message": 1024},
        {"model_kib": 48, "max_rect": m.RectLimit(width=16, area=256)},
        {"model_kib": 0, "deflate_bits": 12},
        {"jpeg": None, "capabilities": 0, "cache": None},
        {"jpeg": m.JpegOffer(subsamplings=1, scales=1), "cache": m.CacheOffer(slots=3, slot_bytes=512)},
    ],
    ids=str,
)
async def test_a_device_that_offers_something_else_now(
    server: Served, client: Painter, calm: Calm, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "STILL_S", 0.0)
    chance = random.Random(7)
    jpeg, offer = m.JpegOffer(subsamplings=7, scales=3), m.CacheOffer(slots=16, slot_bytes=512)
    before = hello(model_kib=16, jpeg=jpeg, cache=offer, deflate_bits=9, panel=(WIDTH, HEIGHT))
    photograph = bytes(
        (x * y // 7 + x + chance.randrange(9)) & 0xFF for y in range(HEIGHT) for x in range(WIDTH) for _ in range(4)
    )
    async with device(server.port, before) as one:
        draw_anything(client, chance)
        await server.until_exact(one)
        put_pixels(client, Rect(0, 0, WIDTH, HEIGHT), photograph)
        # Lossy pixels are on the device now, and are refined on another connection.
        await one.until(lambda: one.last(m.Jpeg))
        await heard(one)
    same = {name: getattr(before, name) for name in changes}
    for fields in (changes, same, changes):
        async with device(server.port, one.comes_back(**fields), earlier=one) as two:
            assert two.welcome.resumed == Resumed.RESUMED
            for _ in range(2):
                draw_anything(client, chance)
                await server.until_exact(two)
            await heard(two)
        one = two
    await calm()


# Sizes


async def test_a_panel_that_was_resized_before_the_cut(server: Served, client: Painter, calm: Calm) -> None:
    greeting = hello(panel=(90, 70), capabilities=EVERYTHING | Capability.RESIZE)
    async with device(server.port, greeting) as one:
        await server.until_exact(one)
        await one.say(m.Resize(width=64, height=80))
        await one.until(lambda: one.last(m.Resize))
        client.fill(Rect(5, 5, 60, 60), 0x345678)
        await server.until_exact(one)
        await heard(one)
    async with device(server.port, earlier=one) as two:
        assert (two.framebuffer.width, two.framebuffer.height) == (64, 80)
        assert two.welcome.resumed == Resumed.RESUMED
        await server.until_exact(two)
        assert not drawn(two)
    # The size that it had before is another panel.
    other = two.comes_back(panel=m.Size(width=90, height=70))
    async with device(server.port, other) as three:
        assert three.welcome.resumed == Resumed.CHANGED
        await server.until_exact(three)
    await calm()


@pytest.mark.parametrize("told", [0, 1, 4, 5, 20, 60], ids=str)
async def test_a_line_cut_while_the_panel_is_resized(
    server: Served, client: Painter, line: Relay, calm: Calm, told: int
) -> None:
    """The device may have got none of it, half, or RESIZE without the pixels."""
    put_pixels(client, Rect(0, 0, WIDTH, HEIGHT), random.Random(8).randbytes(4 * WIDTH * HEIGHT))
    greeting = hello(panel=(90, 70), capabilities=EVERYTHING | Capability.RESIZE)
    async with device(line.port, greeting, may_be_cut=True) as one:
        await server.until_exact(one)
        await heard(one)
        # Its answer comes first, then RESIZE and whatever shows on it.
        line.cut_after(told or None)
        await one.say(m.Resize(width=100, height=60))
        if not told:
            line.cut()
        await one.until_ended()
    line.cut_after(None)
    resized = (one.framebuffer.width, one.framebuffer.height) == (100, 60)
    earlier = one
    async with device(line.port, one.comes_back(), earlier=earlier) as two:
        if two.welcome.resumed != Resumed.RESUMED:
            assert not resized
        await server.until_exact(two)
    await calm()


async def test_a_screen_that_got_another_size_meanwhile(server: Served, client: Painter, calm: Calm) -> None:
    chance = random.Random(9)
    one: Device | None = None
    for size in ((160, 100), (64, 48), (199, 119)):
        greeting = hello(panel=(97, 61)) if one is None else None
        async with device(server.port, greeting, earlier=one) as now:
            draw_anything(client, chance)
            await server.until_exact(now)
            await now.say(m.View(mode=0, rotation=1, follow=0, origin=Point(90, 50)))
            await heard(now)
            await server.until_exact(now)
        one = now
        client.shrink_screen(*size)
        draw_anything(client, chance)
    async with device(server.port, earlier=one) as last:
        assert last.welcome.resumed == Resumed.RESUMED
        await last.until(lambda: last.last(m.ViewState).session == m.Size(width=199, height=119))
        await server.until_exact(last)
    await calm()


# What is under way at the cut


async def test_a_refresh_that_the_line_cut_short_is_carried_out(server: Served, client: Painter, calm: Calm) -> None:
    put_pixels(client, Rect(0, 0, WIDTH, HEIGHT), random.Random(10).randbytes(4 * WIDTH * HEIGHT))
    async with device(server.port, hello()) as one:
        await server.until_exact(one)
        # Nothing is painted before the cut: an update that was being made is out before the answer.
        await one.say(m.Pause(paused=1))
        await heard(one)
        await one.say(m.Refresh())
        await heard(one)
        one.framebuffer.pixels = [0x5A5A] * len(one.framebuffer.pixels)
    async with device(server.port, earlier=one) as two:
        await server.until_exact(two)
    await calm()


async def test_a_pause_ends_with_the_connection(server: Served, client: Painter, calm: Calm) -> None:
    async with device(server.port, hello()) as one:
        await server.until_exact(one)
        await one.say(m.Pause(paused=1))
        await heard(one)
        client.fill(Rect(5, 5, 60, 60), 0x345678)
    async with device(server.port, earlier=one) as two:
        await server.until_exact(two)
        assert two.welcome.resumed == Resumed.RESUMED
    await calm()


@pytest.mark.parametrize("noticed", [True, False], ids=["cut", "taken-over"])
async def test_keys_and_buttons_that_were_held_are_released(
    server: Served, line: Relay, calm: Calm, noticed: bool
) -> None:
    with key_reader(server.name) as reader:
        key = reader.keycode(LETTER_A)
        async with device(line.port, may_be_cut=True) as one:
            await one.until(lambda: one.updates)
            await one.key(LETTER_A)
            await one.point(30, 40, 1)
            assert await reader.changes(2) == [("down", key), ("down", 1)]
            if noticed:
                line.cut()
                assert set(await reader.changes(2)) == {("up", key), ("up", 1)}
            async with device(line.port, earlier=one) as two:
                assert two.welcome.resumed == Resumed.RESUMED
                assert two.welcome.role == Role.CONTROL
                if not noticed:
                    assert set(await reader.changes(2)) == {("up", key), ("up", 1)}
                assert reader.state() == 0
                # Its hands are empty, and its numbers begin anew.
                assert await two.point(30, 40, 1) == 1
                assert await reader.changes(1) == [("down", 1)]
                await one.until_ended()
            assert await reader.changes(1) == [("up", 1)]
    await calm()


async def test_a_text_cut_in_half_does_not_come_through(server: Served, line: Relay) -> None:
    greeting = hello(capabilities=EVERYTHING | Capability.CLIPBOARD)
    with paster(server.name) as reader:
        async with device(line.port, greeting, may_be_cut=True) as one:
            await one.until(lambda: one.updates)
            await one.say(m.Clipboard(total=5, offset=0, data=b"early"))
            await one.say(m.Clipboard(total=10, offset=0, data=b"first"))
            await heard(one)
            line.cut()
            await one.until_ended()
        async with device(line.port, earlier=one) as two:
            await two.until(lambda: two.updates)
            assert two.welcome.resumed == Resumed.RESUMED
            assert await reader.paste("UTF8_STRING") == ("UTF8_STRING", b"early")
            await two.say(m.Clipboard(total=5, offset=0, data=b"whole"))
            await heard(two)
            await two.until(lambda: two.updates)
            while await reader.paste("UTF8_STRING") != ("UTF8_STRING", b"whole"):
                await heard(two)
        async with device(line.port, earlier=two, welcome=False) as three:
            await three.until(lambda: three.updates)
            await three.say_raw(m.Clipboard(total=10, offset=5, data=b"other").encode())
            gone = await three.until_ended()
            assert gone is not None
            assert gone.code == Code.BAD_STATE


async def test_a_text_of_the_session_comes_whole_after_the_break(server: Served, line: Relay) -> None:
    greeting = hello(capabilities=EVERYTHING | Capability.CLIPBOARD)
    text = random.Random(11).randbytes(40_000).hex().encode()
    async with copier(server.name, {"UTF8_STRING": text}) as owner:
        async with device(line.port, greeting, may_be_cut=True) as one:
            await one.until(lambda: one.updates)
            await heard(one)
            line.cut_after(20_000)
            owner.take()
            await one.until_ended()
            assert one.all(m.Clipboard)
        line.cut_after(None)
        async with device(line.port, earlier=one) as two:
            await two.until(lambda: two.all(m.Clipboard) and two.last(m.Clipboard).total == len(text))
            await two.until(lambda: sum(len(chunk.data) for chunk in two.all(m.Clipboard)) == len(text))
            assert b"".join(chunk.data for chunk in two.all(m.Clipboard)) == text


# Control


async def test_control_goes_to_who_waits_while_the_holder_is_away(server: Served, line: Relay) -> None:
    async with device(line.port, may_be_cut=True) as one, device(server.port) as other:
        assert (one.welcome.role, other.welcome.role) == (Role.CONTROL, Role.WAITING)
        await one.until(lambda: one.updates)
        line.cut()
        await one.until_ended()
        await other.until(lambda: roles(other) == (Role.CONTROL, other.welcome.viewer))
        async with device(server.port, earlier=one) as two:
            assert two.welcome.resumed == Resumed.RESUMED
            assert two.welcome.role == Role.WAITING
            await other.say(m.Control(action=ControlAction.PASS, viewer=two.welcome.viewer))
            await two.until(lambda: roles(two)[0] == Role.CONTROL)


async def test_control_stays_with_a_holder_that_is_back_before_it_was_missed(server: Served) -> None:
    async with device(server.port) as one, device(server.port) as other:
        await one.until(lambda: one.updates)
        await heard(one)
        async with device(server.port, earlier=one) as two:
            assert two.welcome.role == Role.CONTROL
            await other.until(lambda: roles(other) == (Role.WAITING, two.welcome.viewer))
            gone = await one.until_ended()
            assert gone is not None
            assert gone.code == Code.REPLACED
            await heard(other)
            assert roles(other) == (Role.WAITING, two.welcome.viewer)
            await server.until_exact(two, other)
