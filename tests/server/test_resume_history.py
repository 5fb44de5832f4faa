"""What a device shows, whatever was lost with its lines: the encoder and the rules without a network."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.protocol import (
    AuthMethod,
    Capability,
    Connection,
    Message,
    Need,
    PixelFormat,
    Point,
    Rect,
    Resumed,
    Role,
    Sender,
)
from tilewire.protocol import messages as m
from tilewire.protocol.reference import Framebuffer
from tilewire.server.encoder import Encoder
from tilewire.server.kept import Kept
from tilewire.server.pixels import PixelState, Screen
from tilewire.server.pointing import Pointing
from tilewire.server.view import View

from tests.support import hello

SESSION: Final = (72, 56)
PANEL: Final = (48, 32)
CAPABILITIES: Final = Capability.COPY
RESTED_S: Final = 10.0


class World:
    """A screen, a server's encoder and a device, and the line between them."""

    def __init__(self, **offer: Any) -> None:
        self.screen = Screen(*SESSION)
        self.view = View(SESSION, PANEL)
        self.built_view = self.view
        self.greeting = hello(panel=PANEL, capabilities=CAPABILITIES, boot_id=1, device_id="d", **offer)
        self.framebuffer = Framebuffer.of(self.greeting)
        self.encoder = Encoder(self.greeting, CAPABILITIES)
        self.now_s = 0.0
        self.sent = 0
        self.server, self.client = self._shake_hands(self.greeting, Resumed.NOT_ASKED)

    def _shake_hands(self, greeting: m.Hello, resumed: Resumed) -> tuple[Connection, Connection]:
        server, client = Connection(Sender.SERVER), Connection(Sender.CLIENT)
        earlier = (self.server, self.client) if resumed is Resumed.RESUMED else None
        self._carry(client, server, client.send(greeting))
        if earlier is not None:
            server.rules.adopt(earlier[0].rules)
            client.rules.adopt(earlier[1].rules)
        reply = server.send(m.Reply(version=1, method=AuthMethod.NONE, nonce=bytes(16)))
        welcome = m.Welcome(
            session="main",
            size=m.Size(width=SESSION[0], height=SESSION[1]),
            role=Role.CONTROL,
            viewer=1,
            settings=m.Settings(fps=30, quality=75, adaptive=1),
            capabilities=CAPABILITIES,
            resumed=resumed,
        )
        self._carry(server, client, reply + server.send(welcome))
        return server, client

    def _carry(self, sender: Connection, receiver: Connection, data: bytes) -> None:
        if data:
            receiver.receive_data(data)
        while not isinstance(event := receiver.next_event(), Need):
            if isinstance(event, Message):
                self.framebuffer.apply(event)

    def update(self, *, refine: bool = False) -> bytes:
        """What the server sends next; its shadow is there already."""
        self.now_s += 1.0
        self.encoder.convert(self.screen, self.view, [self.encoder.panel])
        pan = self.view.shift_from(self.built_view) or (0, 0)
        self.built_view = self.view
        if refine:
            built = self.encoder.refine(self.now_s + RESTED_S)
        else:
            built = self.encoder.build([self.encoder.panel], pan, self.now_s)
        if not built.operations:
            return b""
        self.sent += 1
        messages = [m.Begin(update=self.sent, input=0), *built.operations, m.End()]
        return b"".join(self.server.send(message) for message in messages)

    def deliver(self, data: bytes) -> None:
        self._carry(self.server, self.client, data)

    def acknowledge(self) -> None:
        """The newest whole update, if there is one."""
        ended = self.client.rules.ended
        if ended > self.client.rules.acked:
            self._carry(self.client, self.server, self.client.send(m.Ack(update=ended, decode_us=1)))
            self.encoder.journal.acknowledge(ended)

    def cut(self, **changes: Any) -> Resumed:
        """The line breaks, and the device comes back."""
        request = m.ResumeRequest(token=bytes(16), update=self.client.rules.ended)
        said: dict[str, Any] = {"nonce": os.urandom(16), "resume": request}
        greeting = replace(self.greeting, **(said | changes))
        kept = Kept(
            hello=self.greeting,
            proven=False,
            encoder=self.encoder,
            sent=self.sent,
            rules=self.server.rules,
            view=self.view,
            settings=m.Setting(fps=30, quality=75, adaptive=1),
            pointing=Pointing(None, 1024),
        )
        verdict = kept.verdict(greeting)
        self.greeting = replace(greeting, resume=None)
        earlier = self.encoder
        self.encoder = Encoder(self.greeting, CAPABILITIES)
        self.framebuffer.model = None
        if verdict is Resumed.RESUMED:
            self.encoder.adopt(earlier, request.update)
        else:
            self.framebuffer = Framebuffer.of(self.greeting)
        self.server, self.client = self._shake_hands(greeting, verdict)
        self.sent = 0
        return verdict

    def check(self) -> None:
        """Whatever counts as exact is what the device shows."""
        shadow = self.encoder.shadow
        size, pixels = shadow.format.stored, shadow.pixels.tobytes()
        for at, state in enumerate(shadow.states):
            if state == PixelState.EXACT:
                value = int.from_bytes(pixels[size * at : size * (at + 1)], "little")
                assert self.framebuffer.pixels[at] == value, divmod(at, PANEL[0])

    def settle(self) -> None:
        """Nothing is lost any more and time goes by: the device shows the session's picture to the last bit."""
        self.deliver(self.update())
        for _ in range(9):
            if self.encoder.refinable_s() == float("inf"):
                break
            self.deliver(self.update(refine=True))
        assert self.framebuffer.stored() == bytes(self.encoder.now.pixels)
        self.check()


def noise(seed: int, rect: Rect) -> bytes:
    state = seed * 2654435761 + 1
    out = bytearray()
    for _ in range(rect.area):
        state = (state * 1103515245 + 12345) & 0x7FFF_FFFF
        out += (state >> 7 & 0xFFFFFF).to_bytes(4, "little")
    return bytes(out)


def stripes(seed: int, rect: Rect) -> bytes:
    """Text's likes: few colours, runs."""
    colours = [0x00FFFFFF, 0x00202020, (seed * 977 & 0xFF) << 8 | 0x00A01040]
    pixels = (
        colours[(x * 7 + y * (seed % 5 + 3) + seed) // 9 % 3] for y in range(rect.height) for x in range(rect.width)
    )
    return b"".join(pixel.to_bytes(4, "little") for pixel in pixels)


OFFERS: Final[list[dict[str, Any]]] = [
    {"model_kib": 16},
    {"model_kib": 16, "cache": m.CacheOffer(slots=4, slot_bytes=512), "max_message": 1024},
    {"jpeg": m.JpegOffer(subsamplings=7, scales=3), "cache": m.CacheOffer(slots=2, slot_bytes=512)},
    {"deflate_bits": 10, "pixel_format": PixelFormat.GREY8, "cache": m.CacheOffer(slots=3, slot_bytes=256)},
    {"model_kib": 16, "pixel_format": PixelFormat.XRGB8888},
]


@pytest.mark.parametrize("offer", OFFERS, ids="-".join)
def test_a_line_cut_at_every_byte(offer: dict[str, Any]) -> None:
    """Each cut is a history of its own: two updates, of which the second is cut short, then all that follows."""
    whole: int | None = None
    at = 0
    while whole is None or at <= whole:
        world = World(**offer)
        world.screen.blit(Rect(0, 0, *SESSION), stripes(1, Rect(0, 0, *SESSION)))
        world.deliver(world.update())
        world.acknowledge()
        world.screen.blit(Rect(10, 8, 12, 9), stripes(2, Rect(0, 0, 12, 9)))
        world.deliver(world.update())
        world.view = world.view.panned(Point(3, 2))
        world.screen.blit(Rect(30, 20, 20, 16), noise(3, Rect(0, 0, 20, 16)))
        data = world.update()
        whole = len(data)
        world.deliver(data[:at])
        assert world.cut() is Resumed.RESUMED
        world.check()
        world.screen.blit(Rect(5, 5, 6, 6), stripes(4, Rect(0, 0, 6, 6)))
        world.settle()
        at += 1 if at < 40 or at > whole - 40 else 1 + whole // 200


rects = st.builds(
    lambda x, y, w, h: Rect(x, y, min(w, SESSION[0] - x), min(h, SESSION[1] - y)),
    st.integers(0, SESSION[0] - 1),
    st.integers(0, SESSION[1] - 1),
    st.integers(1, SESSION[0]),
    st.integers(1, SESSION[1]),
)
steps = st.one_of(
    st.tuples(st.just("paint"), rects, st.integers(0, 99), st.booleans()),
    st.tuples(st.just("fill"), rects, st.integers(0, 0xFFFFFF), st.none()),
    st.tuples(st.just("pan"), st.integers(-9, 30), st.integers(-9, 30), st.none()),
    st.tuples(st.just("update"), st.booleans(), st.none(), st.none()),
    st.tuples(st.just("ack"), st.none(), st.none(), st.none()),
    st.tuples(st.just("cut"), st.floats(0, 1), st.none(), st.none()),
)


@settings(max_examples=120, deadline=None)
@given(offer=st.sampled_from(OFFERS), history=st.lists(steps, max_size=14))
def test_any_history(offer: dict[str, Any], history: list[tuple[str, Any, Any, Any]]) -> None:
    world = World(**offer)
    for kind, first, second, third in history:
        match kind:
            case "paint":
                draw = noise if third else stripes
                world.screen.blit(first, draw(second, first))
            case "fill":
                world.screen.blit(first, second.to_bytes(4, "little") * first.area)
            case "pan":
                world.view = world.view.panned(Point(first, second))
            case "update":
                world.deliver(world.update(refine=first))
                world.check()
            case "ack":
                world.acknowledge()
            case "cut":
                data = world.update()
                world.deliver(data[: int(first * len(data))])
                assert world.cut() is Resumed.RESUMED
                world.check()
    world.settle()


def test_what_is_no_resume() -> None:
    other = m.Size(width=PANEL[1], height=PANEL[0])

    def world() -> World:
        made = World(model_kib=16)
        made.screen.blit(Rect(0, 0, *SESSION), stripes(1, Rect(0, 0, *SESSION)))
        for _ in range(3):
            made.screen.blit(Rect(0, 0, 9, 9), noise(made.sent, Rect(0, 0, 9, 9)))
            made.deliver(made.update())
        return made

    def asks(update: int) -> dict[str, Any]:
        return {"resume": m.ResumeRequest(token=bytes(16), update=update)}

    for changes in ({"boot_id": 2}, {"pixel_format": PixelFormat.GREY8}, {"panel": other}, asks(4), asks(0xFFFF_FFFF)):
        assert world().cut(**changes) is Resumed.CHANGED, changes
    for update in range(4):
        made = world()
        assert made.cut(**asks(update)) is Resumed.RESUMED
        made.settle()
    made = world()
    made.acknowledge()
    assert made.cut(**asks(2)) is Resumed.CHANGED


def test_an_update_that_was_never_sent_counts_as_lost() -> None:
    world = World(model_kib=16)
    world.screen.blit(Rect(0, 0, *SESSION), stripes(1, Rect(0, 0, *SESSION)))
    world.deliver(world.update())
    world.screen.blit(Rect(3, 3, 30, 20), noise(2, Rect(0, 0, 30, 20)))
    world.encoder.convert(world.screen, world.view, [world.encoder.panel])
    assert world.encoder.build([world.encoder.panel]).operations
    assert world.cut() is Resumed.RESUMED
    world.settle()


def test_a_slot_that_may_hold_something_else_is_not_drawn() -> None:
    """Slots filled before the END that came through are drawn; later ones are filled anew."""
    offer = m.CacheOffer(slots=16, slot_bytes=512)
    world = World(model_kib=16, cache=offer)
    screen = Rect(0, 0, *SESSION)
    first, second = noise(1, screen), noise(2, screen)
    stored: list[int] = []
    for pixels in (first, second):
        world.screen.blit(screen, pixels)
        data = world.update()
        world.deliver(data)
        stored.append(len(world.client.rules.slots))
    assert stored == [0, 6], "six tiles of 16 pixels were put away before they were painted over"
    world.screen.blit(screen, first)
    drawn = len(world.update())
    # That update is lost with the line, and so are the slots that it filled with `second`.
    assert world.cut() is Resumed.RESUMED
    again = world.update()
    assert len(again) <= drawn
    world.deliver(again)
    world.check()
    assert world.framebuffer.stored() == bytes(world.encoder.now.pixels)
    assert world.cut(cache=replace(offer, slots=15)) is Resumed.RESUMED
    world.screen.blit(screen, second)
    world.settle()
    assert not set(world.client.rules.slots) - set(range(15))


def test_a_slot_that_a_lost_update_filled_is_not_drawn() -> None:
    offer = m.CacheOffer(slots=16, slot_bytes=512)
    world = World(model_kib=16, cache=offer)
    screen = Rect(0, 0, *SESSION)
    first, second, third = (noise(seed, screen) for seed in (1, 2, 3))
    for pixels in (first, second):
        world.screen.blit(screen, pixels)
        world.deliver(world.update())
    assert len(world.client.rules.slots) == 6, "`first` was put away"
    world.screen.blit(screen, third)
    assert world.update(), "`second` is put away, and nobody hears of it"
    assert world.cut() is Resumed.RESUMED
    for pixels, drawn in ((second, False), (first, True), (third, False)):
        world.screen.blit(screen, pixels)
        data = world.update()
        assert (len(data) < 200) == drawn
        world.deliver(data)
        world.check()
    world.settle()
