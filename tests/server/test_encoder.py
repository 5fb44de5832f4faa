"""Every pixel that the shadow marks exact equals the device's framebuffer, after any history; at rest all are exact."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tilewire.protocol import (
    PANELS,
    Capability,
    Connection,
    Message,
    Need,
    Panel,
    PixelFormat,
    Point,
    Reason,
    Rect,
    Role,
    Sender,
)
from tilewire.protocol import messages as m
from tilewire.protocol.reference import Framebuffer
from tilewire.server.encoder import Damage, Encoder, Update
from tilewire.server.pixels import PixelState, Screen, Surface
from tilewire.server.view import View

from tests.support import hello, hello_of

MESSAGE_SIZES = (1024, 1025, 65536)


class Wire:
    """A server's and a client's end, back to back: both refuse what breaks the rules. Behind them, a device."""

    def __init__(self, greeting: m.Hello) -> None:
        self.server, self.client = Connection(Sender.SERVER), Connection(Sender.CLIENT)
        self._hand(self.client, self.server, greeting)
        self._hand(self.server, self.client, m.Reply(version=1, method=1, nonce=bytes(16)))
        self.capabilities = greeting.capabilities & (Capability.COPY | Capability.RESIZE)
        welcome = m.Welcome(
            session="main",
            size=greeting.panel,
            role=Role.CONTROL,
            viewer=1,
            settings=m.Settings(fps=30, quality=75, adaptive=1),
            capabilities=self.capabilities,
        )
        self._hand(self.server, self.client, welcome)
        # Not black: a pixel that was never sent must not be right by accident.
        self.framebuffer = Framebuffer(greeting.panel.width, greeting.panel.height, PixelFormat(greeting.pixel_format))
        self._soil()
        self.updates = 0

    def _soil(self) -> None:
        values = [number * 37 % 251 for number in range(97)]
        count = len(self.framebuffer.pixels)
        self.framebuffer.pixels = (values * (count // len(values) + 1))[:count]

    def _hand(self, sender: Connection, receiver: Connection, event: Message | m.Hello | m.Reply) -> list[Message]:
        receiver.receive_data(sender.send(event))
        events = []
        while not isinstance(found := receiver.next_event(), Need):
            events.append(found)
        assert events == [event]
        return [event for event in events if isinstance(event, Message)]

    def resize(self, width: int, height: int) -> None:
        self._hand(self.client, self.server, m.Resize(width=width, height=height))
        self._hand(self.server, self.client, m.Resize(width=width, height=height))
        self.framebuffer.resize(width, height)
        self._soil()

    def carry(self, update: Update) -> int:
        """Bring an update to the device; returns its bytes from BEGIN to END."""
        assert len(update.operations) == len(update.reasons)
        self.updates += 1
        begin, end = m.Begin(update=self.updates, input=0), m.End()
        size = 0
        for message in (begin, *update.operations, end):
            for event in self._hand(self.server, self.client, message):
                self.framebuffer.apply(event)
            size += len(message.encode())
        return size


def assert_exact(encoder: Encoder, wire: Wire) -> None:
    """What the shadow says of the device is so."""
    shadow = encoder.shadow
    device = wire.framebuffer.stored()
    if device == bytes(shadow.pixels):
        return
    stored = shadow.format.stored
    for index, state in enumerate(shadow.states):
        if state == PixelState.EXACT:
            at = index * stored
            x, y = index % shadow.width, index // shadow.width
            assert device[at : at + stored] == shadow.pixels[at : at + stored], f"pixel {x}, {y}"


# Drawings


def letters(width: int, height: int, seed: int) -> Image.Image:
    chance = random.Random(seed)
    image = Image.new("RGB", (width, height), chance.choice(["white", "#1e1e2e", "#ffd"]))
    draw = ImageDraw.Draw(image)
    for y in range(0, height, 13):
        text = "".join(chance.choices("abcdefg hijklmn opqrst", k=width // 5 + 1))
        draw.text((2, y), text, fill=chance.choice(["#888", "red", "#040"]))
    return image


def noise(width: int, height: int, seed: int, colours: int | None = None) -> Image.Image:
    chance = random.Random(seed)
    if colours is None:
        return Image.frombytes("RGB", (width, height), chance.randbytes(3 * width * height))
    palette = [chance.randbytes(3) for _ in range(colours)]
    return Image.frombytes("RGB", (width, height), b"".join(chance.choice(palette) for _ in range(width * height)))


class Scene:
    """A session's screen, and what was drawn on it since the damage was read."""

    def __init__(self, width: int, height: int) -> None:
        self.screen = Screen(width, height)
        self.damage: list[Rect] = []

    def paint(self, image: Image.Image, x: int, y: int) -> None:
        place = Rect(x, y, image.width, image.height).intersect(self.screen.rect)
        if place is not None:
            part = image.crop((place.x - x, place.y - y, place.right - x, place.bottom - y))
            self.screen.blit(place, part.tobytes("raw", "BGRX"))
            self.damage.append(place)

    def image(self) -> Image.Image:
        size = self.screen.width, self.screen.height
        return Image.frombytes("RGB", size, bytes(self.screen.pixels), "raw", "BGRX")


class Viewer:
    """The server's side of one device, as `viewers` has it, without time."""

    def __init__(self, scene: Scene, greeting: m.Hello) -> None:
        self.scene = scene
        self.wire = Wire(greeting)
        self.encoder = Encoder(greeting, self.wire.capabilities)
        size = scene.screen.width, scene.screen.height
        self.view = View(size, (greeting.panel.width, greeting.panel.height))
        self.damage = Damage()
        self.damage.add(self.encoder.panel)
        self.pan = (0, 0)

    def hear(self, damage: Iterable[Rect]) -> None:
        for rect in damage:
            shown = self.view.to_panel(rect)
            if shown is not None:
                self.damage.add(shown)

    def look(self, x: int, y: int) -> None:
        view = self.view.panned(Point(x, y))
        self.pan = (
            self.pan[0] + view.origin.x - self.view.origin.x,
            self.pan[1] + view.origin.y - self.view.origin.y,
        )
        self.view = view
        self.damage.add(self.encoder.panel)

    def forget(self) -> None:
        self.encoder.forget()
        self.damage.add(self.encoder.panel)

    def resize(self, width: int, height: int) -> None:
        self.wire.resize(width, height)
        self.encoder.resize(width, height)
        self.view = View(self.view.session, (width, height))
        self.pan = (0, 0)
        self.damage = Damage()
        self.damage.add(self.encoder.panel)

    def another_screen(self, width: int, height: int) -> None:
        """The session's screen has another size."""
        self.scene.screen = Screen(width, height)
        self.scene.damage = []
        self.view = View((width, height), self.view.panel)
        self.pan = (0, 0)
        self.damage.add(self.encoder.panel)

    def update(self) -> tuple[Update, int]:
        self.hear(self.scene.damage)
        self.scene.damage = []
        damage = self.damage.take()
        pan, self.pan = self.pan, (0, 0)
        self.encoder.convert(self.scene.screen, self.view, damage)
        update = self.encoder.build(damage, pan)
        size = self.wire.carry(update)
        assert_exact(self.encoder, self.wire)
        return update, size

    def assert_at_rest(self) -> None:
        """The device shows what the session has, all of it."""
        expected = Surface(*self.view.panel, self.encoder.now.format)
        shown = self.view.to_panel(self.view.window)
        assert shown is not None
        expected.convert(self.scene.screen, self.view.window, Point(shown.x, shown.y))
        assert self.wire.framebuffer.stored() == bytes(expected.pixels)
        counts = self.encoder.shadow.count(self.encoder.panel)
        assert (counts.unknown, counts.lossy) == (0, 0)

    def settle(self) -> None:
        self.update()
        self.assert_at_rest()
        # Nothing is left to send.
        self.damage.add(self.encoder.panel)
        assert self.update()[0].operations == []


# Any history


@st.composite
def places(draw: st.DrawFn, width: int, height: int) -> Rect:
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Rect(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))


def draw_something(data: st.DataObject, scene: Scene) -> None:
    width, height = scene.screen.width, scene.screen.height
    place = data.draw(places(width, height))
    seed = data.draw(st.integers(0, 5))
    match data.draw(st.sampled_from(["fill", "letters", "few", "many", "scroll", "window"])):
        case "fill":
            scene.paint(Image.new("RGB", (place.width, place.height), (seed * 40, 90, 255 - seed)), place.x, place.y)
        case "letters":
            scene.paint(letters(place.width, place.height, seed), place.x, place.y)
        case "few":
            scene.paint(noise(place.width, place.height, seed, 2 + seed * 20), place.x, place.y)
        case "many":
            scene.paint(noise(min(place.width, 40), min(place.height, 40), seed), place.x, place.y)
        case _:
            # Scrolled by what may be further than the rectangle is large; or moved anywhere.
            part = scene.image().crop((place.x, place.y, place.right, place.bottom))
            x, y = data.draw(st.integers(-width, width)), data.draw(st.integers(-height, height))
            scene.paint(part, x, y)


SIDES = st.one_of(st.integers(30, 150), st.integers(1, 150))
"""Of sessions: rarely very small. Of panels: mostly smaller, so that there is something to pan."""
PANEL_SIDES = st.one_of(st.integers(16, 90), st.integers(1, 150))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_after_any_history_what_is_exact_is_right_and_at_rest_all_is(data: st.DataObject) -> None:
    scene = Scene(data.draw(SIDES), data.draw(SIDES))
    panel = data.draw(PANEL_SIDES), data.draw(PANEL_SIDES)
    capabilities = data.draw(st.sampled_from([0, Capability.COPY, Capability.RESIZE | Capability.COPY]))
    greeting = hello(
        panel=panel,
        pixel_format=data.draw(st.sampled_from(PixelFormat)),
        max_message=data.draw(st.sampled_from(MESSAGE_SIZES)),
        max_rect=data.draw(st.sampled_from([(16, 256), (17, 300), (64, 1024), (4096, 1 << 22)])),
        capabilities=capabilities,
    )
    viewer = Viewer(scene, greeting)
    steps = ["draw", "draw", "draw", "over", "screen", "pan", "pan", "forget", "skip", "update", "update", "update"]
    if capabilities & Capability.RESIZE:
        steps.append("resize")
    scene.paint(letters(scene.screen.width, scene.screen.height, 0), 0, 0)
    for step in data.draw(st.lists(st.sampled_from(steps), min_size=6, max_size=20)):
        match step:
            case "draw":
                draw_something(data, scene)
            case "over":
                # Reported, and nothing changed.
                scene.damage.append(data.draw(places(scene.screen.width, scene.screen.height)))
            case "pan":
                here = viewer.view.origin
                viewer.look(here.x + data.draw(st.integers(-40, 40)), here.y + data.draw(st.integers(-40, 40)))
            case "forget":
                viewer.forget()
            case "screen":
                viewer.another_screen(data.draw(SIDES), data.draw(SIDES))
            case "skip":
                # Too slow for an update: only the damage is noted.
                viewer.hear(scene.damage)
                scene.damage = []
            case "resize":
                viewer.resize(data.draw(PANEL_SIDES), data.draw(PANEL_SIDES))
            case _:
                update, _ = viewer.update()
                if not capabilities & Capability.COPY:
                    assert not any(isinstance(operation, m.Copy) for operation in update.operations)
    viewer.settle()


@pytest.mark.parametrize("max_message", MESSAGE_SIZES)
@pytest.mark.parametrize("name", PANELS)
def test_every_panel_with_every_largest_message(name: str, max_message: int) -> None:
    panel = PANELS[name]
    greeting = dataclasses.replace(hello_of(panel), max_message=max_message)
    scene = Scene(900, 500)
    viewer = Viewer(scene, greeting)
    scene.paint(letters(600, 400, 1), 20, 30)
    scene.paint(noise(90, 70, 2), 200, 100)
    scene.paint(noise(150, 70, 3, 40), 40, 10)
    update, _ = viewer.update()
    assert max(len(operation.encode_body()) for operation in update.operations) <= max_message
    scene.paint(scene.image().crop((100, 60, 500, 400)), 100, 43)
    update, _ = viewer.update()
    if panel.readable:
        assert Reason.MOVED in update.reasons
    viewer.assert_at_rest()


@pytest.mark.parametrize("max_rect", [(16, 256), (16, 1 << 24), (4096, 256), (33, 700)])
@pytest.mark.parametrize("pixel_format", PixelFormat)
def test_the_smallest_rectangles(max_rect: tuple[int, int], pixel_format: PixelFormat) -> None:
    scene = Scene(140, 70)
    greeting = hello(panel=(140, 70), pixel_format=pixel_format, max_message=1024, max_rect=max_rect)
    viewer = Viewer(scene, greeting)
    scene.paint(noise(140, 70, 1), 0, 0)
    viewer.settle()
    scene.paint(noise(140, 70, 1, 20), 0, 0)
    viewer.settle()


@given(st.lists(st.lists(st.sampled_from(["red", "blue", "noise"]), min_size=4, max_size=4), min_size=5, max_size=5))
def test_pieces_of_one_colour_are_joined_and_only_those(colours: list[list[str]]) -> None:
    viewer = Viewer(scene := Scene(250, 157), hello(panel=(250, 157)))
    for row, names in enumerate(colours):
        for column, name in enumerate(names):
            piece = noise(64, 32, 1, 3) if name == "noise" else Image.new("RGB", (64, 32), name)
            scene.paint(piece, 64 * column, 32 * row)
    viewer.settle()


# Small things stay small


def grown(text: str, place: tuple[int, int], panel: Panel) -> int:
    """Bytes of the update by which a caret or a character appears on a line."""
    # A corner of it; coordinates take the same bytes everywhere.
    greeting = dataclasses.replace(hello_of(panel), panel=m.Size(width=200, height=120))
    scene = Scene(200, 120)
    viewer = Viewer(scene, greeting)
    scene.paint(Image.new("RGB", (200, 120), "white"), 0, 0)
    viewer.update()
    # Numbers of a session that has run for a while.
    viewer.wire.updates = viewer.wire.server.rules.begun = viewer.wire.client.rules.begun = 20_000
    if text == "|":
        scene.paint(Image.new("RGB", (2, 16), "black"), *place)
    elif text == "xterm":
        # A bitmap font: two colours.
        glyph = Image.frombytes("1", (8, 13), bytes.fromhex("000018247e4242e7a599ff1800")).resize((10, 16))
        scene.paint(glyph.convert("RGB"), *place)
    else:
        # Antialiased: sixteen greys.
        chance = random.Random(ord(text))
        levels = [bytes([17 * level] * 3) for level in range(16)]
        rows = b"".join(chance.choice(levels) if 1 < i % 10 < 9 else b"\xff" * 3 for i in range(160))
        scene.paint(Image.frombytes("RGB", (10, 16), rows), *place)
    _, size = viewer.update()
    viewer.assert_at_rest()
    return size


@pytest.mark.parametrize("place", [(0, 0), (63, 31), (130, 100)])
@pytest.mark.parametrize("name", PANELS)
def test_a_caret_takes_forty_bytes_at_most(name: str, place: tuple[int, int]) -> None:
    assert grown("|", place, PANELS[name]) <= 40


@pytest.mark.parametrize("place", [(0, 0), (60, 25), (130, 100)])
@pytest.mark.parametrize("text", ["a", "W", "xterm"])
@pytest.mark.parametrize("name", PANELS)
def test_a_typed_character_takes_150_bytes_at_most(name: str, text: str, place: tuple[int, int]) -> None:
    assert grown(text, place, PANELS[name]) <= 150


# Damage


MANY = [Rect(19 * number % 195, 31 * number % 190, 1 + number % 5, 1 + number % 9) for number in range(150)]


@example(MANY)
@example([*MANY, Rect(3, 3, 150, 150), *MANY])
@given(st.lists(places(200, 200), max_size=120))
def test_damage_is_never_lost_and_does_not_overlap(rects: list[Rect]) -> None:
    damage = Damage()
    for rect in rects:
        damage.add(rect)
    assert bool(damage) == bool(rects)
    taken = damage.take()
    assert not damage
    covered: set[tuple[int, int]] = set()
    for rect in taken:
        pixels = {(x, y) for y in range(rect.y, rect.bottom) for x in range(rect.x, rect.right)}
        assert covered.isdisjoint(pixels)
        covered |= pixels
    for rect in rects:
        assert {(rect.x, rect.y), (rect.right - 1, rect.bottom - 1)} <= covered
        assert all((rect.x + rect.width // 2, y) in covered for y in range(rect.y, rect.bottom))
