"""What a panel shows of a screen, pixel for pixel, against a rendering that is slow or by others.

Small pictures are rendered by two loops over exact fractions. Those of the standard panels are made by Pillow, which
turns, and by long integers, which sum whole rows at once; both are held against the loops first.
"""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageMath

from tilewire.protocol import PANELS, Panel, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import Rotation, ViewMode
from tilewire.server.cursor import CursorImage, Overlay
from tilewire.server.encoder import Encoder
from tilewire.server.pixels import Screen, Surface
from tilewire.server.view import View, turned

from tests.clients.test_build import ROOT, compiler, run
from tests.support import hello

FIT, ONE = ViewMode.FIT, ViewMode.ONE_TO_ONE
CLOCKWISE = {
    # Pillow turns the other way round.
    Rotation.R90: Image.Transpose.ROTATE_270,
    Rotation.R180: Image.Transpose.ROTATE_180,
    Rotation.R270: Image.Transpose.ROTATE_90,
}

JPEG = m.JpegOffer(subsamplings=1, scales=1)

Size = tuple[int, int]


# Loops: one pixel after the other, by the specification's words.


def shares(pixel: int, window: int, picture: int) -> dict[int, Fraction]:
    """How much of each pixel of the window a pixel of the picture covers, in one direction."""
    start, end = Fraction(pixel * window, picture), Fraction((pixel + 1) * window, picture)
    found = {at: min(end, Fraction(at + 1)) - max(start, Fraction(at)) for at in range(int(start), int(end) + 1)}
    return {at: share for at, share in found.items() if share > 0}


def averaged(image: Image.Image, view: View, u: int, v: int) -> tuple[int, ...]:
    """The red, green and blue of a pixel of the picture: the mean of what it covers, rounded, a half upwards."""
    window, placed = view.window, view.placed
    sums = [Fraction(0)] * 3
    across, down = shares(u, window.width, placed.width), shares(v, window.height, placed.height)
    for (x, across_share), (y, down_share) in product(across.items(), down.items()):
        colour = image.getpixel((window.x + x, window.y + y))
        assert isinstance(colour, tuple)
        sums = [total + across_share * down_share * channel for total, channel in zip(sums, colour)]
    area = sum(across.values()) * sum(down.values())
    return tuple(int(total / area + Fraction(1, 2)) for total in sums)


def by_loops(image: Image.Image, view: View) -> Image.Image:
    panel, placed = Image.new("RGB", view.panel), view.placed
    for v, u in product(range(placed.height), range(placed.width)):
        at = turned(Point(placed.x + u, placed.y + v), view.panel, view.rotation)
        panel.putpixel((at.x, at.y), averaged(image, view, u, v))
    return panel


def with_cursor(panel: Image.Image, overlay: Overlay | None) -> Image.Image:
    if overlay is None:
        return panel
    panel, image = panel.copy(), overlay.image
    for y, x in product(range(image.height), range(image.width)):
        at = (overlay.position.x - image.hot_x + x, overlay.position.y - image.hot_y + y)
        if 0 <= at[0] < panel.width and 0 <= at[1] < panel.height:
            blue, green, red, alpha = image.pixels[4 * (y * image.width + x) :][:4]
            under = panel.getpixel(at)
            assert isinstance(under, tuple)
            mixed = (c + (b * (255 - alpha) + 127) // 255 for c, b in zip((red, green, blue), under))
            panel.putpixel(at, tuple(min(channel, 255) for channel in mixed))
    return panel


# Pillow and long integers: the same for whole panels.


def summed(rows: list[bytes], count: int) -> list[bytes]:
    """`count` rows of 32-bit sums from rows of such: each of those it covers as often as it covers count-ths of it."""
    numbers = [int.from_bytes(row, "little") for row in rows]
    made = []
    for pixel in range(count):
        total = 0
        for at, share in shares(pixel, len(rows), count).items():
            total += numbers[at] * int(share * count)
        made.append(total.to_bytes(len(rows[0]), "little"))
    return made


def scaled(image: Image.Image, size: Size) -> Image.Image:
    area = image.width * image.height
    assert 255 * area + area // 2 < 1 << 31
    channels = []
    for channel in image.split():
        wide = channel.convert("I")
        for height in (size[1], size[0]):
            stride = 4 * wide.width
            data = wide.tobytes()
            rows = summed([data[at : at + stride] for at in range(0, len(data), stride)], height)
            # Rows become columns, and the next time back.
            wide = Image.frombytes("I", (wide.width, height), b"".join(rows)).transpose(Image.Transpose.TRANSPOSE)
        mean = ImageMath.lambda_eval(lambda v: (v["sum"] + area // 2) / area, sum=wide)
        channels.append(mean.convert("L"))
    return Image.merge("RGB", channels)


@cache
def canvas(session: Size, window: Rect, placed: Rect, size: Size) -> Image.Image:
    part = drawing(session).crop((window.x, window.y, window.right, window.bottom))
    if part.size != (placed.width, placed.height):
        part = scaled(part, (placed.width, placed.height))
    made = Image.new("RGB", size)
    made.paste(part, (placed.x, placed.y))
    return made


def by_pillow(view: View) -> Image.Image:
    """What a panel with this view shows of the drawing."""
    made = canvas(view.session, view.window, view.placed, view.canvas)
    return made.transpose(CLOCKWISE[view.rotation]) if view.rotation in CLOCKWISE else made


def stored(image: Image.Image, pixel_format: PixelFormat) -> bytes:
    """A surface's memory."""
    red, green, blue = image.split()
    match pixel_format:
        case PixelFormat.RGB565:
            high = ImageChops.add(red.point(lambda v: v & 0xF8), green.point(lambda v: v >> 5))
            low = ImageChops.add(green.point(lambda v: v << 3 & 0xE0), blue.point(lambda v: v >> 3))
            return Image.merge("LA", (low, high)).tobytes()
        case PixelFormat.XRGB8888:
            return Image.merge("RGBA", (blue, green, red, Image.new("L", image.size))).tobytes()
        case PixelFormat.RGB332:
            upper = ImageChops.add(red.point(lambda v: v & 0xE0), green.point(lambda v: v >> 3 & 0x1C))
            return ImageChops.add(upper, blue.point(lambda v: v >> 6)).tobytes()
        case PixelFormat.GREY8:
            channels = {name: channel.convert("I") for name, channel in zip("rgb", (red, green, blue))}
            luma = ImageMath.lambda_eval(lambda v: (77 * v["r"] + 150 * v["g"] + 29 * v["b"]) / 256, **channels)
            return bytes(luma.convert("L").tobytes())


# Drawings


@cache
def drawing(size: Size) -> Image.Image:
    """Text and lines on a gradient, a photograph's softness, and noise."""
    width, height = size
    chance = random.Random(width * 5000 + height)
    across = Image.linear_gradient("L").rotate(90).resize(size)
    clouds = Image.effect_noise((max(width // 9, 1), max(height // 9, 1)), 90).resize(size, Image.Resampling.BICUBIC)
    image = Image.merge("RGB", (across, clouds, Image.linear_gradient("L").resize(size)))
    pen = ImageDraw.Draw(image)
    for y in range(0, height, 40):
        pen.text((5, y), "The quick brown fox jumps over the lazy dog. " * 4, fill=chance.choice(["white", "#025"]))
        pen.line((0, y + 13, width, y + 31), fill="#f80")
    noise = Image.frombytes(
        "RGB", (width // 2 + 1, height // 3 + 1), chance.randbytes(3 * (width // 2 + 1) * (height // 3 + 1))
    )
    image.paste(noise, (width // 3, height // 2))
    return image


def screen_of(image: Image.Image) -> Screen:
    """With fourth bytes that nothing may depend on."""
    screen = Screen(*image.size)
    red, green, blue = image.split()
    screen.blit(screen.rect, Image.merge("RGBA", (blue, green, red, ImageChops.invert(blue))).tobytes())
    return screen


@cache
def screen(size: Size) -> Screen:
    return screen_of(drawing(size))


def noise(size: Size, seed: int) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


@cache
def arrow(width: int, height: int, hot: Size = (0, 0)) -> CursorImage:
    """Something of every alpha."""
    chance = random.Random(width)
    pixels = bytearray()
    for _ in range(width * height):
        alpha = chance.choice([0, 255, chance.randrange(256)])
        pixels += bytes([*(chance.randint(0, alpha) for _ in range(3)), alpha])
    return CursorImage(width, height, *hot, bytes(pixels))


# Failures that can be looked at


def picture_of(memory: bytes, size: Size, pixel_format: PixelFormat) -> Image.Image:
    width = pixel_format.stored
    values = [int.from_bytes(memory[at : at + width], "little") for at in range(0, len(memory), width)]
    match pixel_format:
        case PixelFormat.RGB565:
            colours = [(v >> 8 & 0xF8, v >> 3 & 0xFC, v << 3 & 0xF8) for v in values]
        case PixelFormat.XRGB8888:
            colours = [(v >> 16 & 255, v >> 8 & 255, v & 255) for v in values]
        case PixelFormat.RGB332:
            colours = [(v & 0xE0, v << 3 & 0xE0, v << 6 & 0xC0) for v in values]
        case PixelFormat.GREY8:
            colours = [(v, v, v) for v in values]
    image = Image.new("RGB", size)
    image.putdata(colours)
    return image


def compare(surface: Surface, expected: bytes, folder: Path, name: str) -> None:
    """Fails with the names of two pictures."""
    found = bytes(surface.pixels)
    if found == expected:
        return
    size = surface.width, surface.height
    files = folder / f"{name}-wrong.png", folder / f"{name}-right.png"
    for file, memory in zip(files, (found, expected)):
        picture_of(memory, size, surface.format).save(file)
    first = next(at for at, (a, b) in enumerate(zip(found, expected)) if a != b) // surface.format.stored
    pytest.fail(f"pixel {first % size[0]}, {first // size[0]} is the first that differs: {files[0]} {files[1]}")


@pytest.mark.parametrize("pixel_format", PixelFormat)
def test_a_failure_leaves_both_pictures(tmp_path: Path, pixel_format: PixelFormat) -> None:
    view = View((40, 30), (40, 30))
    surface = Surface(40, 30, pixel_format)
    surface.render(screen((40, 30)), view, surface.rect)
    expected = stored(by_pillow(view), pixel_format)
    compare(surface, expected, tmp_path, "same")
    surface.fill(Rect(3, 2, 1, 1), ~surface.pixels[(2 * 40 + 3) * pixel_format.stored] & 255)
    with pytest.raises(pytest.fail.Exception, match=r"^pixel 3, 2 .*one-wrong.png .*one-right.png$"):
        compare(surface, expected, tmp_path, "one")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one-right.png", "one-wrong.png"]


# Standard panels


def sessions(panel: Panel) -> dict[str, Size]:
    """Smaller and larger by numbers that share little with the panel's."""
    width, height = panel.width, panel.height
    return {
        "smaller": (width * 5 // 7, height * 3 // 4 + 1),
        "equal": (width, height),
        "larger": (width * 11 // 8 + 1, height * 5 // 4 + 3),
    }


def overlay(view: View, number: int) -> Overlay:
    """In the picture; over its edge and perhaps the panel's; larger than what is made at a time."""
    picture, (width, height) = view.picture, view.panel
    middle = Point(picture.x + picture.width // 2, picture.y + picture.height // 2)
    return [
        Overlay(arrow(32, 32, (3, 4)), middle),
        Overlay(arrow(24, 40, (12, 39)), Point(picture.x, picture.bottom - 1)),
        Overlay(arrow(70, 66), Point(width - 68, height - 40)),
    ][number % 3]


def put(memory: bytes, width: int, place: Rect, pixels: bytes, size: int) -> bytes:
    """`pixels` at their place in a picture's memory; `size`: bytes of one."""
    made = bytearray(memory)
    stride = size * place.width
    for row in range(place.height):
        at = size * ((place.y + row) * width + place.x)
        made[at : at + stride] = pixels[row * stride : (row + 1) * stride]
    return bytes(made)


@pytest.mark.parametrize("which", ["smaller", "equal", "larger"])
@pytest.mark.parametrize("mode", ViewMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_what_a_standard_panel_shows(panel: Panel, mode: ViewMode, which: str, tmp_path: Path) -> None:
    session = sessions(panel)[which]
    whole = screen(session)
    for rotation in Rotation:
        view = View(session, (panel.width, panel.height), Point(97, 31), mode=mode, rotation=rotation)
        bare = by_pillow(view)
        for pixel_format in PixelFormat:
            name = f"{rotation.name}-{pixel_format.name}"
            surface = Surface(*view.panel, pixel_format)
            surface.render(whole, view, surface.rect)
            expected = stored(bare, pixel_format)
            compare(surface, expected, tmp_path, name)
            cursor = overlay(view, rotation + pixel_format)
            place = cursor.rect(surface.rect)
            assert place is not None
            surface.blend(whole, view, cursor, surface.rect)
            covered = with_cursor(bare, cursor).crop((place.x, place.y, place.right, place.bottom))
            expected = put(expected, panel.width, place, stored(covered, pixel_format), pixel_format.stored)
            compare(surface, expected, tmp_path, f"{name}-cursor")


# Any view


@st.composite
def views(draw: st.DrawFn, sides: st.SearchStrategy[int]) -> View:
    sizes = st.tuples(sides, sides)
    origin = Point(draw(st.integers(0, 60)), draw(st.integers(0, 60)))
    return View(
        draw(sizes), draw(sizes), origin, True, draw(st.sampled_from(ViewMode)), draw(st.sampled_from(Rotation))
    )


@st.composite
def rects_inside(draw: st.DrawFn, rect: Rect) -> Rect:
    x, y = draw(st.integers(rect.x, rect.right - 1)), draw(st.integers(rect.y, rect.bottom - 1))
    return Rect(x, y, draw(st.integers(1, rect.right - x)), draw(st.integers(1, rect.bottom - y)))


@st.composite
def cursors(draw: st.DrawFn, panel: Size) -> Overlay:
    width, height = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    hot = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    position = Point(draw(st.integers(-5, panel[0] + 5)), draw(st.integers(-5, panel[1] + 5)))
    return Overlay(arrow(width, height, hot), position)


def painted(view: View, pixel_format: PixelFormat, shown: Screen) -> Surface:
    surface = Surface(*view.panel, pixel_format)
    surface.render(shown, view, surface.rect)
    return surface


@settings(deadline=None)
@given(views(st.integers(1, 14)), st.sampled_from(PixelFormat), st.integers(0, 9), st.data())
def test_any_view_is_what_the_loops_make(view: View, pixel_format: PixelFormat, seed: int, data: st.DataObject) -> None:
    image = noise(view.session, seed)
    right = by_loops(image, view)
    surface = painted(view, pixel_format, screen_of(image))
    assert bytes(surface.pixels) == stored(right, pixel_format)
    cursor = data.draw(cursors(view.panel))
    surface.blend(screen_of(image), view, cursor, surface.rect)
    assert bytes(surface.pixels) == stored(with_cursor(right, cursor), pixel_format)


@settings(deadline=None)
@given(views(st.integers(1, 14)), st.integers(0, 9))
def test_pillow_and_long_integers_make_what_the_loops_make(view: View, seed: int) -> None:
    image = noise(view.session, seed)
    window, placed = view.window, view.placed
    part = image.crop((window.x, window.y, window.right, window.bottom))
    made = Image.new("RGB", view.canvas)
    made.paste(scaled(part, (placed.width, placed.height)), (placed.x, placed.y))
    if view.rotation in CLOCKWISE:
        made = made.transpose(CLOCKWISE[view.rotation])
    assert made.tobytes() == by_loops(image, view).tobytes()


MARK = 0xA5


@settings(deadline=None, max_examples=60)
@given(views(st.one_of(st.integers(1, 40), st.integers(1, 300))), st.sampled_from(PixelFormat), st.data())
@example(View((700, 500), (300, 300), mode=FIT, rotation=Rotation.R90), PixelFormat.RGB565, None)
def test_a_part_is_that_part_of_the_whole(view: View, pixel_format: PixelFormat, data: st.DataObject | None) -> None:
    image = noise(view.session, 1)
    whole = painted(view, pixel_format, screen_of(image))
    rect = data.draw(rects_inside(whole.rect)) if data is not None else Rect(13, 77, 211, 130)
    part = Surface(*view.panel, pixel_format)
    part.fill(part.rect, MARK)
    marked = bytes(part.pixels)
    part.render(screen_of(image), view, rect)
    inside = picture_part(whole, rect)
    assert bytes(part.pixels) == put(marked, whole.width, rect, inside, pixel_format.stored)
    # The same with a cursor: it changes what is both inside and under it.
    cursor = Overlay(arrow(9, 80, (8, 3)), Point(view.panel[0] // 2, view.panel[1] // 3))
    whole.blend(screen_of(image), view, cursor, whole.rect)
    part.blend(screen_of(image), view, cursor, rect)
    inside = picture_part(whole, rect)
    assert bytes(part.pixels) == put(marked, whole.width, rect, inside, pixel_format.stored)


def picture_part(surface: Surface, rect: Rect) -> bytes:
    size = surface.format.stored
    rows = (size * (y * surface.width + rect.x) for y in range(rect.y, rect.bottom))
    return b"".join(bytes(surface.pixels[at : at + size * rect.width]) for at in rows)


@pytest.mark.parametrize("rotation", Rotation)
@pytest.mark.parametrize(
    ("session", "panel"),
    [
        ((1, 1), (1, 1)),
        ((1, 1), (9, 4)),
        ((9, 4), (1, 1)),
        ((4096, 3), (5, 5)),
        ((4096, 3), (4096, 2)),
        ((3, 4096), (4096, 2)),
        ((4096, 5), (300, 7)),
        ((2, 1000), (50, 60)),
        ((1000, 2), (60, 50)),
        ((1021, 31), (3, 3)),
        ((509, 2), (1, 1)),
        ((508, 2), (1, 1)),
        ((507, 3), (2, 2)),
        ((32767, 1), (17, 17)),
        ((257, 65), (256, 64)),
    ],
)
def test_sizes_at_the_borders(session: Size, panel: Size, rotation: Rotation, tmp_path: Path) -> None:
    image = noise(session, 3)
    shown = screen_of(image)
    for mode in ViewMode:
        view = View(session, panel, mode=mode, rotation=rotation)
        window, placed = view.window, view.placed
        made = Image.new("RGB", view.canvas)
        part = image.crop((window.x, window.y, window.right, window.bottom))
        made.paste(scaled(part, (placed.width, placed.height)), (placed.x, placed.y))
        right = made.transpose(CLOCKWISE[rotation]) if rotation in CLOCKWISE else made
        for pixel_format in PixelFormat:
            surface = painted(view, pixel_format, shown)
            compare(surface, stored(right, pixel_format), tmp_path, f"{mode.name}-{pixel_format.name}")


@pytest.mark.parametrize("rotation", [Rotation.R0, Rotation.R270])
@pytest.mark.parametrize("down", [False, True], ids=["across", "down"])
def test_sums_beyond_32_bits(rotation: Rotation, *, down: bool) -> None:
    """8.4 million pixels of which no two sizes share a factor: stripes, so that one direction is enough."""
    session, panel = (4093, 2053), (61, 43)
    chance = random.Random(4)
    length = session[1] if down else session[0]
    stripe = bytes(chance.choice([0, 255, chance.randrange(256)]) for _ in range(length))
    image = Image.frombytes("L", (1, length) if down else (length, 1), stripe).resize(session).convert("RGB")
    view = View(session, panel, mode=FIT, rotation=rotation)
    side = view.placed.height if down else view.placed.width
    expected = []
    for pixel in range(side):
        mean = sum(share * stripe[at] for at, share in shares(pixel, length, side).items()) / Fraction(length, side)
        expected.append(int(mean + Fraction(1, 2)))
    surface = painted(view, PixelFormat.GREY8, screen_of(image))
    for v, u in product(range(view.placed.height), range(view.placed.width)):
        at = turned(Point(view.placed.x + u, view.placed.y + v), panel, rotation)
        assert surface.pixels[at.y * panel[0] + at.x] == expected[v if down else u]


# The encoder's picture


@settings(deadline=None, max_examples=60)
@given(views(st.integers(1, 70)), st.sampled_from(PixelFormat), st.booleans(), st.data())
def test_an_encoder_draws_the_cursor_into_the_damage_and_nowhere_else(
    view: View, pixel_format: PixelFormat, photographs: bool, data: st.DataObject
) -> None:
    image = noise(view.session, 5)
    shown = screen_of(image)
    encoder = Encoder(hello(panel=view.panel, pixel_format=pixel_format, jpeg=JPEG if photographs else None), 0)
    encoder.convert(shown, view, [encoder.panel])
    before = bytes(encoder.now.pixels)
    assert before == bytes(painted(view, pixel_format, shown).pixels)
    cursor = data.draw(cursors(view.panel))
    damage = [data.draw(rects_inside(encoder.panel)) for _ in range(data.draw(st.integers(0, 3)))]
    encoder.convert(shown, view, damage, cursor)
    right = painted(view, pixel_format, shown)
    right.blend(shown, view, cursor, right.rect)
    expected = before
    for rect in damage:
        expected = put(expected, view.panel[0], rect, picture_part(right, rect), pixel_format.stored)
    assert bytes(encoder.now.pixels) == expected
    # Where it was it leaves nothing.
    encoder.convert(shown, view, [encoder.panel])
    assert bytes(encoder.now.pixels) == before


# What is refused


def test_views_of_other_sizes_are_refused() -> None:
    view, surface = View((20, 10), (8, 6)), Surface(8, 6, PixelFormat.RGB565)
    cursor = Overlay(arrow(3, 3), Point(1, 1))
    for other in (View((20, 11), (8, 6)), View((19, 10), (8, 6))):
        with pytest.raises(ValueError, match=r"^a view of a session of .* does not go with 20x10 XRGB8888 pixels$"):
            surface.render(Screen(20, 10), other, surface.rect)
    for other in (View((20, 10), (6, 8)), View((20, 10), (8, 7))):
        with pytest.raises(ValueError, match=r"^a view of a panel of .* does not go with 8x6 RGB565 pixels$"):
            surface.blend(Screen(20, 10), other, cursor, surface.rect)
    for rect in (Rect(0, 0, 9, 1), Rect(-1, 0, 2, 2), Rect(0, 6, 1, 1), Rect(2**40, 0, 1, 1)):
        with pytest.raises(ValueError, match=r"^rect .* is not inside 8x6 pixels$"):
            surface.render(Screen(20, 10), view, rect)
        with pytest.raises(ValueError, match=r"^clip .* is not inside 8x6 pixels$"):
            surface.blend(Screen(20, 10), view, cursor, rect)
    assert not any(surface.pixels)


def test_a_cursor_that_is_elsewhere_changes_nothing() -> None:
    view, surface = View((20, 10), (8, 6)), Surface(8, 6, PixelFormat.RGB565)
    surface.fill(surface.rect, 77)
    before = bytes(surface.pixels)
    nobody = CursorImage(0, 0, 0, 0, b"")
    for cursor in (
        Overlay(nobody, Point(1, 1)),
        Overlay(arrow(3, 3), Point(8, 0)),
        Overlay(arrow(3, 3, (2, 2)), Point(-1, 0)),
        Overlay(arrow(3, 3), Point(-(2**33), 2**34)),
    ):
        surface.blend(Screen(20, 10), view, cursor, surface.rect)
    assert bytes(surface.pixels) == before


PROGRAM = r"""
#include <stdlib.h>
#include <string.h>
#include <tilewire/tw_wire.h>
#include "native.h"

static uint32_t state = 1;

static int32_t chance(int32_t from, int32_t to) {
    state = state * UINT32_C(1664525) + UINT32_C(1013904223);
    return from + (int32_t)((state >> 8) % (uint32_t)(to - from + 1));
}

/* Mostly near what is right, now and then anything. */
static int32_t number(int32_t side) {
    switch (chance(0, 30)) {
    case 0: return INT32_MAX - chance(0, 9);
    case 1: return INT32_MIN + chance(0, 9);
    case 2: return chance(-5000, 5000);
    case 3: return -1;
    default: return chance(0, side);
    }
}

static tw_ns_rect some(int32_t width, int32_t height) {
    tw_ns_rect rect = {number(width / 2), number(height / 2), number(width / 2), number(height / 2)};
    return rect;
}

static tw_ns_surface surface(int32_t format, int32_t width, int32_t height) {
    const int32_t stored = format == TW_PIXEL_RGB565 ? 2 : format == TW_PIXEL_XRGB8888 ? 4 : 1;
    const size_t size = (size_t)width * (size_t)height * (size_t)stored;
    tw_ns_surface made = {malloc(size), NULL, width, height, format, stored};
    memset(made.pixels, 0x5A, size);
    return made;
}

int main(void) {
    for (int i = 0; i < 6000; i++) {
        const int32_t longest = chance(0, 40) == 0 ? 3000 : 90;
        const tw_ns_surface screen = surface(TW_PIXEL_XRGB8888, chance(1, longest), chance(1, 90));
        const tw_ns_surface panel = surface(chance(1, 4), chance(1, 90), chance(1, 90));
        tw_ns_view view = {some(screen.width, screen.height), some(panel.width, panel.height), number(3)};
        if (chance(0, 2) != 0) {
            /* All of the screen, as large as it can be. */
            const int32_t width = view.rotation & 1 ? panel.height : panel.width;
            const int32_t height = view.rotation & 1 ? panel.width : panel.height;
            view.window = (tw_ns_rect){0, 0, screen.width, screen.height};
            view.picture = (tw_ns_rect){0, 0, width < screen.width ? width : screen.width,
                height < screen.height ? height : screen.height};
        }
        tw_ns_render(&screen, view, &panel, (tw_ns_rect){0, 0, panel.width, panel.height});
        tw_ns_render(&screen, view, &panel, some(panel.width, panel.height));
        tw_ns_convert(&panel, some(90, 90), &screen, number(90), number(90));
        tw_ns_convert(&screen, some(90, 90), &panel, number(90), number(90));

        const int32_t width = chance(1, 80), height = chance(1, 40);
        tw_ns_surface image = surface(TW_PIXEL_XRGB8888, width, height);
        tw_ns_rect seen;
        tw_ns_cursor_clamp(image.pixels, width, height, &seen);
        tw_ns_rect place = {number(90), number(90), width, height};
        tw_ns_blend(&screen, view, &panel, some(panel.width, panel.height), image.pixels, place);
        place.width = -width;
        tw_ns_blend(&screen, view, &panel, some(panel.width, panel.height), image.pixels, place);
        tw_ns_surface small = surface(TW_PIXEL_XRGB8888, chance(1, 80), chance(1, 40));
        const tw_ns_rect part = chance(0, 1) ? some(width, height) : (tw_ns_rect){0, 0, width, height};
        tw_ns_cursor_shrink(image.pixels, width, height, part, number(3), small.pixels, small.width, small.height);
        free(screen.pixels);
        free(panel.pixels);
        free(image.pixels);
        free(small.pixels);
    }
    return 0;
}
"""


def test_no_argument_leads_outside(tmp_path: Path) -> None:
    native, core = ROOT / "server/native", ROOT / "clients/threadx/include"
    source = tmp_path / "stress.c"
    source.write_text(PROGRAM)
    run(
        compiler("clang"), "-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
        f"-I{native}", f"-I{core}", source, native / "render.c", native / "convert.c", "-o", tmp_path / "stress",
    )  # fmt: skip
    run(tmp_path / "stress")
