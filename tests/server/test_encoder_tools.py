"""Every tool of an update at work: codec, copies, cache, JPEG, refinement, against the C client as a device."""

from __future__ import annotations

import random

import pytest
from PIL import Image, ImageDraw, ImageFilter

from tilewire.protocol import PANELS, Capability, Connection, Need, Panel, Reason, Rect, Role, Sender
from tilewire.protocol import messages as m
from tilewire.server.encoder import Encoder, Update
from tilewire.server.pixels import PixelState, Screen
from tilewire.server.view import View
from tilewire.simulator.client import Client, ClientConfig

SIZE = (320, 240)


class Bench:
    """A screen, an encoder, a wire and a device."""

    def __init__(self, panel: Panel, **rest: bool) -> None:
        self.screen = Screen(*SIZE)
        self.picture = Image.new("RGB", SIZE, "white")
        self.client = Client(ClientConfig.for_panel(panel, **rest))
        self.server = Connection(Sender.SERVER)
        self.server.receive_data(self.client.output())
        hello = self.server.next_event()
        assert isinstance(hello, m.Hello)
        self._feed(self.server.send(m.Reply(version=1, method=1, nonce=bytes(16))))
        capabilities = hello.capabilities & Capability.COPY
        self._feed(
            self.server.send(
                m.Welcome(
                    session="main",
                    size=m.Size(width=SIZE[0], height=SIZE[1]),
                    role=Role.CONTROL,
                    viewer=1,
                    settings=m.Settings(fps=30, quality=75, adaptive=1),
                    capabilities=capabilities,
                )
            )
        )
        self.encoder = Encoder(hello, capabilities)
        self.view = View(SIZE, (panel.width, panel.height))
        self.updates = 0
        self.forgotten = False
        self.now_s = 100.0

    def _feed(self, data: bytes) -> None:
        self.client.feed(data)
        assert self.client.error is None
        if answer := self.client.output():
            self.server.receive_data(answer)
        while not isinstance(self.server.next_event(), Need):
            pass

    def show(self, picture: Image.Image, damage: Rect | None = None) -> Update:
        """The screen shows a picture now; the update that brings it to the device."""
        self.picture = picture
        red, green, blue = picture.split()
        self.screen.blit(Rect(0, 0, *SIZE), Image.merge("RGBA", (blue, green, red, red)).tobytes())
        shown = self.view.to_panel(damage or Rect(0, 0, *SIZE))
        if self.updates == 0 or self.forgotten:
            shown, self.forgotten = self.encoder.panel, False
        assert shown is not None
        self.encoder.convert(self.screen, self.view, [shown])
        self.now_s += 1.0
        update = self.encoder.build([shown], (0, 0), self.now_s)
        self.carry(update)
        return update

    def carry(self, update: Update) -> None:
        if not update.operations:
            return
        self.updates += 1
        messages = [m.Begin(update=self.updates, input=0), *update.operations, m.End()]
        self._feed(b"".join(self.server.send(message) for message in messages))
        self.check()

    def check(self) -> None:
        """Exact pixels equal the device's."""
        shadow, device = self.encoder.shadow, self.client.framebuffer
        if self.client.config.big_endian:
            swapped = bytearray(len(device))
            swapped[0::2], swapped[1::2] = device[1::2], device[0::2]
            device = bytes(swapped)
        if device == bytes(shadow.pixels):
            return
        stored = shadow.format.stored
        for index, state in enumerate(shadow.states):
            at = index * stored
            if state == PixelState.EXACT and device[at : at + stored] != shadow.pixels[at : at + stored]:
                raise AssertionError(f"pixel {index % shadow.width},{index // shadow.width} is marked exact and is not")

    def rest(self) -> list[Update]:
        """Refine until nothing is lossy."""
        updates = []
        while (due := self.encoder.refinable_s()) < float("inf"):
            self.now_s = max(self.now_s, due)
            update = self.encoder.refine(self.now_s)
            self.carry(update)
            updates.append(update)
            assert len(updates) < 50
        counts = self.encoder.shadow.count(self.encoder.panel)
        assert (counts.lossy, counts.unknown) == (0, 0)
        assert bytes(self.encoder.shadow.pixels) == bytes(self.encoder.now.pixels)
        return updates

    def names(self, update: Update) -> set[str]:
        return {operation.name for operation in update.operations}


def page(seed: int, offset: int = 0) -> Image.Image:
    chance = random.Random(seed)
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    lines = [
        ("".join(chance.choices("etaoin shrdlu", k=44)), chance.choice(["#000", "#035", "#800"])) for _ in range(60)
    ]
    for number, (text, colour) in enumerate(lines):
        draw.text((4, number * 14 - offset), text, fill=colour)
    return picture


def photo(seed: int, size: tuple[int, int]) -> Image.Image:
    chance = random.Random(seed)
    small = Image.frombytes("RGB", (24, 18), chance.randbytes(24 * 18 * 3))
    noise = Image.frombytes("RGB", size, random.Random(seed + 1).randbytes(size[0] * size[1] * 3))
    smooth = small.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
    return Image.blend(smooth, noise, 0.03)


def framed(base: Image.Image, patch: Image.Image, at: tuple[int, int]) -> Image.Image:
    made = base.copy()
    made.paste(patch, at)
    return made


@pytest.mark.parametrize("panel", sorted(PANELS))
def test_text_goes_by_codec_where_offered(panel: str) -> None:
    bench = Bench(PANELS[panel], jpeg=False)
    names = bench.names(bench.show(page(1)))
    assert ("CODEC" in names) is bool(PANELS[panel].model_kib)
    bench.show(page(2))
    bench.rest()


def test_scrolling_is_copies_and_a_strip() -> None:
    bench = Bench(PANELS["threadx-512"], jpeg=False)
    bench.show(page(3))
    update = bench.show(page(3, offset=9))
    assert "COPY" in bench.names(update)
    coded = sum(op.rect.area for op in update.operations if isinstance(op, m.Codec))
    assert coded < SIZE[0] * SIZE[1] / 4
    bench.rest()


def test_a_menu_closes_from_the_cache() -> None:
    bench = Bench(PANELS["threadx-512"], jpeg=False)
    closed = page(4)
    opened = framed(closed, page(5).crop((0, 0, 200, 200)), (32, 20))
    bench.show(closed)
    assert "CACHE_STORE" in bench.names(bench.show(opened))
    again = bench.show(closed)
    assert "CACHE_DRAW" in bench.names(again)
    # Open for the second time: its pixels were stored when it closed.
    assert "CACHE_DRAW" in bench.names(bench.show(opened))
    bench.rest()


def test_no_slots_no_cache() -> None:
    bench = Bench(PANELS["threadx-512"], cache=False)
    bench.show(page(4))
    names = bench.names(bench.show(framed(page(4), page(5).crop((0, 0, 200, 200)), (32, 20))))
    assert not {"CACHE_STORE", "CACHE_DRAW"} & names


@pytest.mark.parametrize("panel", ["threadx-512", "iot-256", "thin-1g", "mcu"])
def test_photographs_go_lossy_and_end_exact(panel: str) -> None:
    bench = Bench(PANELS[panel])
    first = bench.show(framed(page(6), photo(7, (192, 128)), (64, 64)))
    assert "JPEG" in bench.names(first)
    assert Reason.PHOTOGRAPH in first.reasons
    assert bench.encoder.shadow.count(bench.encoder.panel).lossy > 10000
    assert bench.encoder.refinable_s() > bench.now_s
    refined = bench.rest()
    assert {reason for update in refined for reason in update.reasons} == {Reason.REFINED}


def test_the_lowest_qualities_halve_the_resolution_and_end_exact() -> None:
    bench = Bench(PANELS["threadx-512"])
    bench.encoder.quality = 10
    update = bench.show(framed(page(6), photo(7, (193, 127)), (61, 63)))
    assert {op.sampling & 0x10 for op in update.operations if isinstance(op, m.Jpeg)} == {0x10}
    bench.rest()


@pytest.mark.parametrize(("quality", "sampling"), [(79, 2), (80, 0), (90, 0)])
def test_high_qualities_keep_all_the_colour(quality: int, sampling: int) -> None:
    bench = Bench(PANELS["threadx-512"])
    bench.encoder.quality = quality
    update = bench.show(framed(page(6), photo(7, (192, 128)), (64, 64)))
    assert {op.sampling for op in update.operations if isinstance(op, m.Jpeg)} == {sampling}
    bench.rest()


def test_a_photograph_that_scrolls_before_it_is_refined() -> None:
    bench = Bench(PANELS["threadx-512"])
    base, picture = page(8), photo(9, (192, 128))
    bench.show(framed(base, picture, (64, 64)))
    bench.show(framed(page(8, offset=16), picture, (64, 48)))
    bench.rest()


def test_a_refresh_resets_model_and_slots() -> None:
    bench = Bench(PANELS["threadx-512"], jpeg=False)
    bench.show(page(10))
    bench.encoder.forget()
    bench.forgotten = True
    update = bench.show(page(10))
    resets = [op.epoch >> 7 for op in update.operations if isinstance(op, m.Codec)]
    assert resets[0] == 1
    assert sum(resets) == 1
    bench.rest()


@pytest.mark.parametrize("panel", sorted(PANELS))
@pytest.mark.parametrize("seed", range(3))
def test_any_history_ends_exact(panel: str, seed: int) -> None:
    chance = random.Random(seed * 100 + len(panel))
    bench = Bench(PANELS[panel])
    picture = page(seed)
    bench.show(picture)
    for step in range(12):
        kind = chance.randrange(5)
        at = (chance.randrange(0, 250), chance.randrange(0, 180))
        if kind == 0:
            picture = page(chance.randrange(3), offset=chance.randrange(40))
        elif kind == 1:
            picture = framed(picture, photo(step, (chance.randrange(20, 200), chance.randrange(20, 150))), at)
        elif kind == 2:
            picture = framed(picture, page(chance.randrange(4)).crop((0, 0, 150, 100)), at)
        elif kind == 3:
            picture = framed(picture, Image.new("RGB", (2, 16), chance.choice(["black", "white"])), at)
        else:
            bench.carry(bench.encoder.refine(bench.now_s))
            continue
        bench.show(picture)
    bench.rest()


def test_pointless_damage_sends_nothing() -> None:
    bench = Bench(PANELS["threadx-512"])
    bench.show(page(11))
    assert not bench.show(page(11), Rect(10, 10, 100, 100)).operations


@pytest.mark.parametrize("panel", ["threadx-512", "thin-1g"])
def test_a_typed_character_and_a_caret_stay_small(panel: str) -> None:
    """Budgets, BEGIN to END: a caret 40 bytes, a typed character 100.

    A wide letter in smooth 24-bit grey that the model has never seen may take a little more, once.
    """
    bench = Bench(PANELS[panel], jpeg=False)
    picture = page(12)
    picture.paste("white", (0, 160, 320, 240))
    bench.show(picture)
    for line, most in enumerate((100 if panel == "threadx-512" else 120, 100)):
        for number, letter in enumerate("the quick brown fox"):
            picture = picture.copy()
            ImageDraw.Draw(picture).text((10 + 9 * number, 170 + 30 * line), letter, fill="#222", font_size=15)
            assert size_of(bench.show(picture)) <= most, letter
    caret = picture.copy()
    caret.paste("black", (200, 208, 202, 226))
    assert size_of(bench.show(caret)) <= 40
    assert size_of(bench.show(picture)) <= 40


def size_of(update: Update) -> int:
    messages = [m.Begin(update=1000, input=1000), *update.operations, m.End()]
    return sum(len(message.encode()) for message in messages)
