"""Pixels in C against slow and obvious Python: conversion, changes, statistics, payloads, the shadow."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tilewire.protocol import PixelFormat, Point, Rect
from tilewire.protocol.constants import MAX_PALETTE, MAX_PIXELS, MAX_SIDE
from tilewire.server.pixels import (
    MAX_CHANGES,
    RECT_COST,
    PixelState,
    Screen,
    Shadow,
    StateCounts,
    Surface,
    TileStats,
    changes,
    encode_palette,
    encode_raw,
    measure,
)

Place = tuple[int, int]

FORMATS = st.sampled_from(PixelFormat)
# 64 pixels are compared at a time: sizes on both sides of one and two such words.
WIDTHS = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 127, 128, 129, 150]))
HEIGHTS = st.integers(1, 30)


@st.composite
def rects_inside(draw: st.DrawFn, width: int, height: int) -> Rect:
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Rect(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))


def bits_of(pixel_format: PixelFormat) -> int:
    return 8 * pixel_format.packed


def value_at(surface: Surface, x: int, y: int) -> int:
    stored = surface.format.stored
    start = (y * surface.width + x) * stored
    return int.from_bytes(surface.pixels[start : start + stored], "little")


def state_at(shadow: Shadow, x: int, y: int) -> int:
    return shadow.states[y * shadow.width + x]


def values(surface: Surface, rect: Rect) -> list[list[int]]:
    return [[value_at(surface, x, y) for x in range(rect.x, rect.right)] for y in range(rect.y, rect.bottom)]


def places(rect: Rect) -> set[Place]:
    return set(product(range(rect.x, rect.right), range(rect.y, rect.bottom)))


@st.composite
def drawn(draw: st.DrawFn, most_colours: int = 200) -> Surface:
    """A surface with rectangles of a few colours on it, and perhaps a rectangle of many."""
    surface = Surface(draw(WIDTHS), draw(HEIGHTS), draw(FORMATS))
    top = (1 << bits_of(surface.format)) - 1
    some = draw(st.lists(st.integers(0, top), min_size=1, max_size=6))
    for _ in range(draw(st.integers(0, 12))):
        surface.fill(draw(rects_inside(surface.width, surface.height)), draw(st.sampled_from(some)))
    if draw(st.booleans()):
        colours = draw(st.integers(1, most_colours))
        step = draw(st.integers(1, 9))
        for i, (x, y) in enumerate(sorted(places(draw(rects_inside(surface.width, surface.height))))):
            surface.fill(Rect(x, y, 1, 1), i // step % colours * 40503 & top)
    return surface


# The screen and its conversion


def formula(blue: int, green: int, red: int, pixel_format: PixelFormat) -> int:
    match pixel_format:
        case PixelFormat.RGB565:
            return red // 8 * 2048 + green // 4 * 32 + blue // 8
        case PixelFormat.XRGB8888:
            return red * 65536 + green * 256 + blue
        case PixelFormat.RGB332:
            return red // 32 * 32 + green // 32 * 4 + blue // 64
        case PixelFormat.GREY8:
            return (77 * red + 150 * green + 29 * blue) // 256


@given(st.data(), FORMATS, WIDTHS, HEIGHTS)
def test_convert_is_the_formula_and_touches_nothing_else(
    data: st.DataObject, pixel_format: PixelFormat, width: int, height: int
) -> None:
    screen = Screen(width, height)
    patch = data.draw(rects_inside(width, height))
    seed = data.draw(st.randoms(use_true_random=False))
    screen.blit(patch, seed.randbytes(4 * patch.area))
    surface = Surface(data.draw(WIDTHS), data.draw(HEIGHTS), pixel_format)
    mark = (1 << bits_of(pixel_format)) - 1
    surface.fill(surface.rect, mark)
    size = data.draw(rects_inside(min(width, surface.width), min(height, surface.height)))
    source = size.moved(data.draw(st.integers(-size.x, width - size.right)), 0)
    at = Point(data.draw(st.integers(0, surface.width - size.width)), size.y)
    surface.convert(screen, source, at)
    for x, y in places(surface.rect):
        from_x, from_y = x - at.x + source.x, y - at.y + source.y
        if at.x <= x < at.x + source.width and at.y <= y < at.y + source.height:
            start = 4 * (from_y * width + from_x)
            blue, green, red = screen.pixels[start : start + 3]
            assert value_at(surface, x, y) == formula(blue, green, red, pixel_format)
        else:
            assert value_at(surface, x, y) == mark


@pytest.mark.parametrize("pixel_format", PixelFormat)
def test_convert_every_level_of_every_channel(pixel_format: PixelFormat) -> None:
    screen = Screen(256, 4)
    channels = (
        [bytes([level, 0, 0, 99]) for level in range(256)]
        + [bytes([0, level, 0, 99]) for level in range(256)]
        + [bytes([0, 0, level, 99]) for level in range(256)]
        + [bytes([level, level, level, 99]) for level in range(256)]
    )
    screen.blit(screen.rect, b"".join(channels))
    surface = Surface(256, 4, pixel_format)
    surface.convert(screen, screen.rect, Point(0, 0))
    expected = [formula(blue, green, red, pixel_format) for blue, green, red, _ in channels]
    assert [value for row in values(surface, surface.rect) for value in row] == expected


@given(st.data(), WIDTHS, HEIGHTS)
def test_blit_writes_its_rectangle_alone(data: st.DataObject, width: int, height: int) -> None:
    screen = Screen(width, height)
    before = data.draw(st.randoms(use_true_random=False)).randbytes(4 * width * height)
    screen.blit(screen.rect, before)
    rect = data.draw(rects_inside(width, height))
    patch = bytes(i % 251 for i in range(4 * rect.area))
    screen.blit(rect, bytearray(patch))
    expected = bytearray(before)
    for row in range(rect.height):
        start = 4 * ((rect.y + row) * width + rect.x)
        expected[start : start + 4 * rect.width] = patch[4 * row * rect.width : 4 * (row + 1) * rect.width]
    assert bytes(screen.pixels) == bytes(expected)


@given(st.data(), FORMATS)
def test_fill_writes_its_rectangle_alone(data: st.DataObject, pixel_format: PixelFormat) -> None:
    surface = Surface(70, 9, pixel_format)
    rect = data.draw(rects_inside(70, 9))
    value = data.draw(st.integers(1, (1 << bits_of(pixel_format)) - 1))
    surface.fill(rect, value)
    assert {(x, y) for x, y in places(surface.rect) if value_at(surface, x, y) == value} == places(rect)


# Changes


@st.composite
def changed_pictures(draw: st.DrawFn) -> tuple[Surface, Shadow]:
    now = draw(drawn())
    shadow = Shadow(now.width, now.height, now.format)
    shadow.commit(now, now.rect)
    for _ in range(draw(st.integers(0, 6))):
        rect = draw(rects_inside(now.width, now.height))
        small = Rect(rect.x, rect.y, min(rect.width, 3), min(rect.height, 3))
        kind = draw(st.sampled_from(["pixels", "dot", "unknown", "lossy"]))
        if kind == "pixels":
            now.fill(rect, draw(st.integers(0, 255)))
        elif kind == "dot":
            now.fill(small, draw(st.integers(0, 255)))
        elif kind == "unknown":
            shadow.set_unknown(small)
        else:
            shadow.commit(now, rect, exact=False)
    return now, shadow


def wanted(now: Surface, shadow: Shadow, rect: Rect) -> set[Place]:
    return {
        (x, y)
        for x, y in places(rect)
        if value_at(now, x, y) != value_at(shadow, x, y) or state_at(shadow, x, y) == PixelState.UNKNOWN
    }


def check_rects(found: list[Rect], marked: set[Place], inside: Rect, cost: int, limit: int) -> None:
    """What `changes` promises."""
    assert len(found) <= limit
    assert found == sorted(found, key=lambda rect: (rect.y, rect.x))
    covered: set[Place] = set()
    for rect in found:
        assert inside.contains(rect)
        own = places(rect)
        assert not own & covered
        covered |= own
        changed = own & marked
        assert {min(x for x, _ in changed), max(x for x, _ in changed)} == {rect.x, rect.right - 1}
        assert {min(y for _, y in changed), max(y for _, y in changed)} == {rect.y, rect.bottom - 1}
    assert marked <= covered
    for i, one in enumerate(found):
        for j, other in enumerate(found[:i]):
            both = one.union(other)
            alone = all(both.intersect(third) is None for k, third in enumerate(found) if k not in (i, j))
            if alone:
                assert both.area - one.area - other.area > cost
    if found:
        whole = found[0]
        for rect in found:
            whole = whole.union(rect)
        assert sum(rect.area + cost for rect in found) <= whole.area + cost


@given(st.data(), changed_pictures(), st.sampled_from([0, 1, 10, RECT_COST]), st.sampled_from([1, 2, 5, 256]))
def test_changes_cover_what_changed_and_fit_it(
    data: st.DataObject, pictures: tuple[Surface, Shadow], cost: int, limit: int
) -> None:
    now, shadow = pictures
    rect = data.draw(rects_inside(now.width, now.height))
    found = changes(now, shadow, rect, cost=cost, limit=limit)
    check_rects(found, wanted(now, shadow, rect), rect, cost, limit)


@given(st.data(), changed_pictures(), st.sampled_from([0, 10, RECT_COST]))
def test_lossy_cover_what_is_lossy(data: st.DataObject, pictures: tuple[Surface, Shadow], cost: int) -> None:
    now, shadow = pictures
    rect = data.draw(rects_inside(now.width, now.height))
    lossy = {(x, y) for x, y in places(rect) if state_at(shadow, x, y) == PixelState.LOSSY}
    check_rects(shadow.lossy(rect, cost=cost), lossy, rect, cost, MAX_CHANGES)


@given(changed_pictures())
def test_what_was_committed_is_no_change(pictures: tuple[Surface, Shadow]) -> None:
    now, shadow = pictures
    for rect in changes(now, shadow, now.rect):
        shadow.commit(now, rect)
    assert changes(now, shadow, now.rect) == []
    assert shadow.pixels == now.pixels


def shapes(*marks: Rect, width: int = 300, height: int = 200) -> list[Rect]:
    now = Surface(width, height, PixelFormat.RGB565)
    shadow = Shadow(width, height, PixelFormat.RGB565)
    shadow.commit(now, now.rect)
    for mark in marks:
        now.fill(mark, 1)
    return changes(now, shadow, now.rect)


@pytest.mark.parametrize(
    "marks",
    [
        pytest.param([Rect(17, 23, 1, 1)], id="a pixel"),
        pytest.param([Rect(0, 0, 300, 200)], id="everything"),
        pytest.param([Rect(0, 0, 1, 1), Rect(299, 199, 1, 1)], id="two corners"),
        pytest.param([Rect(0, 0, 300, 20), Rect(0, 20, 50, 180)], id="an L"),
        pytest.param([Rect(10, 5, 100, 150), Rect(113, 5, 20, 150)], id="columns three pixels apart"),
        pytest.param([Rect(10, 5, 280, 12), Rect(10, 20, 200, 12), Rect(10, 40, 250, 12)], id="lines"),
        pytest.param(
            [Rect(20, 10, 200, 1), Rect(20, 11, 1, 148), Rect(219, 11, 1, 148), Rect(20, 159, 200, 1)],
            id="a frame",
        ),
        pytest.param(
            [Rect(0, 0, 10, 200), Rect(200, 0, 10, 200), Rect(10, 50, 190, 3), Rect(10, 150, 190, 3)],
            id="a ladder",
        ),
        pytest.param(
            [Rect(40, 20, 160, 90), Rect(80, 110, 60, 20), Rect(150, 110, 20, 50)],
            id="two steps, the longer of which a first cut divides",
        ),
    ],
)
def test_changes_of_a_shape_are_the_shape(marks: list[Rect]) -> None:
    assert shapes(*marks) == marks


def test_changes_that_are_near_are_sent_together() -> None:
    assert shapes(Rect(10, 10, 8, 9), Rect(20, 10, 8, 9), Rect(29, 12, 8, 9)) == [Rect(10, 10, 27, 11)]


def test_the_limit_keeps_the_rectangles_that_save_most() -> None:
    now, shadow = Surface(400, 10, PixelFormat.GREY8), Shadow(400, 10, PixelFormat.GREY8)
    shadow.commit(now, now.rect)
    for x in (0, 30, 60, 390):
        now.fill(Rect(x, 0, 10, 10), 1)
    assert len(changes(now, shadow, now.rect)) == 4
    assert changes(now, shadow, now.rect, limit=2) == [Rect(0, 0, 70, 10), Rect(390, 0, 10, 10)]
    assert changes(now, shadow, now.rect, limit=1) == [now.rect]


def test_more_changes_than_rectangles() -> None:
    now, shadow = Surface(640, 480, PixelFormat.RGB332), Shadow(640, 480, PixelFormat.RGB332)
    shadow.commit(now, now.rect)
    dots = {(x, y) for x in range(7, 640, 31) for y in range(5, 480, 29)}
    for x, y in dots:
        now.fill(Rect(x, y, 1, 1), 1)
    check_rects(changes(now, shadow, now.rect, cost=1), dots, now.rect, 1, MAX_CHANGES)


# Statistics


def luma(value: int, pixel_format: PixelFormat) -> int:
    if pixel_format is PixelFormat.GREY8:
        return value
    return (77 * (value >> 16) + 150 * (value >> 8 & 255) + 29 * (value & 255)) >> 8


def check_stats(surface: Surface, rect: Rect) -> None:
    """That `measure` counts what a slow count finds."""
    stats = measure(surface, rect)
    rows = values(surface, rect)
    flat = [value for row in rows for value in row]
    colours = list(dict.fromkeys(flat))
    across = [pair for row in rows for pair in pairwise(row)]
    down = [pair for pair_of_rows in pairwise(rows) for pair in zip(*pair_of_rows)]
    assert (stats.width, stats.height, stats.format) == (rect.width, rect.height, surface.format)
    assert stats.colours == min(len(colours), MAX_PALETTE + 1)
    assert stats.palette == (tuple(colours) if len(colours) <= MAX_PALETTE else ())
    assert stats.runs == 1 + sum(a != b for a, b in pairwise(flat))
    assert stats.equal_left == sum(a == b for a, b in across)
    assert stats.equal_up == sum(a == b for a, b in down)
    assert sum(stats.gradients) == stats.pairs == len(across + down)
    assert stats.gradients[0] >= stats.equal_left + stats.equal_up
    assert 0 <= stats.smoothness <= 1
    assert 0 <= stats.flatness <= 1
    assert 0 <= stats.entropy < 12
    if surface.format in (PixelFormat.XRGB8888, PixelFormat.GREY8):
        classes = [0] * 9
        for a, b in across + down:
            classes[abs(luma(a, surface.format) - luma(b, surface.format)).bit_length()] += 1
        assert stats.gradients == tuple(classes)


@given(st.data(), drawn())
def test_measure_counts_what_a_slow_count_finds(data: st.DataObject, surface: Surface) -> None:
    check_stats(surface, data.draw(rects_inside(surface.width, surface.height)))


@pytest.mark.parametrize("pixel_format", PixelFormat)
@pytest.mark.parametrize("width", [1, 2, 62, 63, 64, 65, 66, 126, 127, 128, 129, 130])
def test_measure_ends_with_the_row(pixel_format: PixelFormat, width: int) -> None:
    surface = Surface(140, 5, pixel_format)
    striped(surface, 3, lambda i: i % 4 + 1)
    check_stats(surface, Rect(3, 1, width, 3))


@pytest.mark.parametrize("pixel_format", PixelFormat)
def test_gradients_reach_from_black_to_white(pixel_format: PixelFormat) -> None:
    surface = Surface(300, 20, pixel_format)
    surface.fill(Rect(100, 0, 200, 20), (1 << bits_of(pixel_format)) - 1)
    stats = measure(surface, surface.rect)
    assert (stats.gradients[0], stats.gradients[8]) == (stats.pairs - 20, 20)
    assert stats.smoothness == 0


def test_gradients_of_more_pixels_than_a_byte_counts() -> None:
    surface = Surface(MAX_SIDE, 3, PixelFormat.GREY8)
    half = MAX_SIDE // 2
    surface.blit(surface.rect, b"\0\1" * half + b"\2\1" * half + b"\0\x80" * half)
    gradients = measure(surface, surface.rect).gradients
    assert gradients == (half, 2 * MAX_SIDE - 2, 2 * half, 0, 0, 0, 0, half, MAX_SIDE - 1)


def picture(image: Image.Image, pixel_format: PixelFormat) -> Surface:
    screen = Screen(*image.size)
    screen.blit(screen.rect, image.convert("RGB").tobytes("raw", "BGRX"))
    surface = Surface(*image.size, pixel_format)
    surface.convert(screen, screen.rect, Point(0, 0))
    return surface


def measure_all(surface: Surface) -> TileStats:
    return measure(surface, surface.rect)


@pytest.mark.parametrize("pixel_format", [PixelFormat.RGB565, PixelFormat.XRGB8888, PixelFormat.GREY8])
def test_statistics_tell_photographs_from_text(pixel_format: PixelFormat) -> None:
    text = Image.new("RGB", (200, 80), "white")
    ImageDraw.Draw(text).multiline_text((5, 5), "one screen full\nof plain words\n" * 2, fill=(20, 30, 60))
    clouds = Image.effect_noise((50, 20), 60).resize((200, 80), Image.Resampling.BICUBIC)
    photograph = Image.merge("RGB", (clouds, clouds.rotate(180), clouds))
    seen, written = (measure_all(picture(image, pixel_format)) for image in (photograph, text))
    assert seen.smoothness > 0.7 > 0.4 > written.smoothness
    assert written.flatness > 0.7 > seen.flatness
    assert seen.entropy > 2 * written.entropy


# Payloads


def decode_raw(payload: bytes, pixel_format: PixelFormat) -> list[int]:
    size = pixel_format.packed
    assert len(payload) % size == 0
    return [int.from_bytes(payload[i : i + size], "little") for i in range(0, len(payload), size)]


def decode_palette(payload: bytes, width: int, height: int, pixel_format: PixelFormat) -> list[int]:
    """The normative text, line by line."""
    count = (payload[0] & 127) + 1
    assert 2 <= count <= 128
    end = 1 + count * pixel_format.packed
    palette = decode_raw(payload[1:end], pixel_format)
    body = list(payload[end:])
    pixels: list[int] = []
    if payload[0] < 128:
        bits = next(b for b in (1, 2, 4, 8) if count <= 1 << b)
        row_bytes = (width * bits + 7) // 8
        assert len(body) == row_bytes * height
        for start in range(0, len(body), row_bytes):
            row = "".join(f"{byte:08b}" for byte in body[start : start + row_bytes])
            assert set(row[width * bits :]) <= {"0"}
            pixels += [palette[int(row[i : i + bits], 2)] for i in range(0, width * bits, bits)]
        return pixels
    assert count <= 64
    bits = next(b for b in range(1, 7) if count <= 1 << b)
    all_ones = 2 ** (8 - bits) - 1
    while body:
        token = body.pop(0)
        length = (token >> bits) + 1
        if token >> bits == all_ones:
            more = shift = 0
            while True:
                byte = body.pop(0)
                more |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            assert shift == 7 or byte, "not minimal"
            length = all_ones + 1 + more
        pixels += [palette[token & (1 << bits) - 1]] * length
    assert len(pixels) == width * height
    return pixels


def check_palette(surface: Surface, rect: Rect) -> bytes:
    payload = encode_palette(surface, rect, MAX_PIXELS)
    assert payload is not None
    stats = measure(surface, rect)
    assert decode_palette(payload, rect.width, rect.height, surface.format) == [
        value for row in values(surface, rect) for value in row
    ]
    assert len(payload) == stats.palette_bytes
    assert len(payload) == (stats.run_bytes if payload[0] & 128 else stats.packed_bytes)
    assert encode_palette(surface, rect, len(payload)) == payload
    assert encode_palette(surface, rect, len(payload) - 1) is None
    return payload


@given(st.data(), drawn())
def test_palette_payload_decodes_to_the_pixels(data: st.DataObject, surface: Surface) -> None:
    rect = data.draw(rects_inside(surface.width, surface.height))
    stats = measure(surface, rect)
    if 2 <= stats.colours <= MAX_PALETTE:
        check_palette(surface, rect)
    else:
        assert stats.palette_bytes is None
        assert encode_palette(surface, rect, MAX_PIXELS) is None


@given(st.data(), drawn())
def test_raw_payload_decodes_to_the_pixels(data: st.DataObject, surface: Surface) -> None:
    rect = data.draw(rects_inside(surface.width, surface.height))
    payload = encode_raw(surface, rect)
    assert decode_raw(payload, surface.format) == [value for row in values(surface, rect) for value in row]
    assert len(payload) == measure(surface, rect).raw_bytes


def striped(surface: Surface, colours: int, length: Callable[[int], int]) -> None:
    """Runs of the given lengths, in raster order, through all colours again and again."""
    pixels = bytearray()
    for i in range(surface.rect.area):
        pixels += (i % colours).to_bytes(surface.format.stored, "little") * length(i)
        if len(pixels) >= surface.rect.area * surface.format.stored:
            break
    surface.blit(surface.rect, bytes(pixels[: surface.rect.area * surface.format.stored]))


@pytest.mark.parametrize("pixel_format", PixelFormat)
@pytest.mark.parametrize("colours", [2, 3, 4, 5, 16, 17, 32, 33, 63, 64, 65, 127, 128])
def test_palette_of_every_size_packed(pixel_format: PixelFormat, colours: int) -> None:
    surface = Surface(67, 13, pixel_format)
    striped(surface, colours, lambda i: 1)
    payload = check_palette(surface, surface.rect)
    assert payload[0] == colours - 1


@pytest.mark.parametrize("colours", [2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64])
@pytest.mark.parametrize("more", [-1, 0, 1, 2, 127, 128, 129, 130, 16383, 16384, 16385])
def test_runs_at_the_borders_of_their_length(colours: int, more: int) -> None:
    bits = (colours - 1).bit_length()
    length = 2 ** (8 - bits) - 1 + more
    surface = Surface(731, 97, PixelFormat.GREY8)
    striped(surface, colours, lambda i: 300 if i < colours else length)
    payload = check_palette(surface, surface.rect)
    # Short runs of few colours are shorter packed; the size of both is checked either way.
    assert payload[0] & 128 or length * 2 < 64


def test_palette_has_no_one_colour_and_no_more_than_128() -> None:
    surface = Surface(50, 50, PixelFormat.XRGB8888)
    assert measure(surface, surface.rect).colours == 1
    assert encode_palette(surface, surface.rect, MAX_PIXELS) is None
    striped(surface, 129, lambda i: 1)
    assert measure(surface, surface.rect).colours == 129
    assert measure(surface, surface.rect).palette_bytes is None
    assert encode_palette(surface, surface.rect, MAX_PIXELS) is None


def test_palette_that_does_not_fit_is_none() -> None:
    surface = Surface(50, 50, PixelFormat.RGB565)
    surface.fill(Rect(3, 3, 9, 9), 5)
    assert encode_palette(surface, surface.rect, 0) is None
    assert encode_palette(surface, surface.rect, -1) is None


# The shadow


@st.composite
def shadows(draw: st.DrawFn) -> Shadow:
    now, shadow = draw(changed_pictures())
    numbered = bytes(i * 37 % 256 for i in range(now.rect.area * now.format.packed))
    if now.format is not PixelFormat.XRGB8888:
        now.blit(now.rect, numbered)
        for _ in range(draw(st.integers(0, 3))):
            shadow.commit(now, draw(rects_inside(now.width, now.height)), exact=draw(st.booleans()))
    return shadow


def cells(shadow: Shadow) -> dict[Place, tuple[int, int]]:
    return {(x, y): (value_at(shadow, x, y), state_at(shadow, x, y)) for x, y in places(shadow.rect)}


@given(st.data(), shadows())
def test_copy_moves_values_and_states_at_once(data: st.DataObject, shadow: Shadow) -> None:
    source = data.draw(rects_inside(shadow.width, shadow.height))
    to = source.moved(
        data.draw(st.integers(-source.x, shadow.width - source.right)),
        data.draw(st.integers(-source.y, shadow.height - source.bottom)),
    )
    before = cells(shadow)
    shadow.copy(to, Point(source.x, source.y))
    expected = before | {(x, y): before[x - to.x + source.x, y - to.y + source.y] for x, y in places(to)}
    assert cells(shadow) == expected


@pytest.mark.parametrize("pixel_format", PixelFormat)
@pytest.mark.parametrize(("dx", "dy"), [d for d in product((-3, 0, 3), repeat=2) if d != (0, 0)])
def test_copy_onto_itself_in_every_direction(pixel_format: PixelFormat, dx: int, dy: int) -> None:
    now, shadow = (kind(90, 20, pixel_format) for kind in (Surface, Shadow))
    assert isinstance(shadow, Shadow)
    for x, y in places(now.rect):
        now.fill(Rect(x, y, 1, 1), (x * 7 + y * 31) % 256)
    for i, (x, y) in enumerate(sorted(places(now.rect))):
        if i % 3:
            shadow.commit(now, Rect(x, y, 1, 1), exact=i % 3 == 1)
    before = cells(shadow)
    shadow.copy(Rect(5 + dx, 4 + dy, 80, 12), Point(5, 4))
    for x, y in places(Rect(5 + dx, 4 + dy, 80, 12)):
        assert (value_at(shadow, x, y), state_at(shadow, x, y)) == before[x - dx, y - dy]


@given(st.data(), changed_pictures(), st.booleans())
def test_commit_takes_its_area(data: st.DataObject, pictures: tuple[Surface, Shadow], exact: bool) -> None:
    now, shadow = pictures
    rect = data.draw(rects_inside(now.width, now.height))
    before = cells(shadow)
    shadow.commit(now, rect, exact=exact)
    state = PixelState.EXACT if exact else PixelState.LOSSY
    assert cells(shadow) == before | {(x, y): (value_at(now, x, y), state) for x, y in places(rect)}


@given(st.data(), shadows())
def test_states_are_set_and_counted(data: st.DataObject, shadow: Shadow) -> None:
    before = cells(shadow)
    unknown, filled, counted = (data.draw(rects_inside(shadow.width, shadow.height)) for _ in range(3))
    shadow.set_unknown(unknown)
    shadow.fill(filled, 9)
    expected = before | {place: (before[place][0], PixelState.UNKNOWN) for place in places(unknown)}
    expected |= dict.fromkeys(places(filled), (9, PixelState.EXACT))
    assert cells(shadow) == expected
    states = [expected[place][1] for place in places(counted)]
    assert shadow.count(counted) == StateCounts(*(states.count(state) for state in PixelState))


def test_a_new_shadow_knows_nothing() -> None:
    now, shadow = Surface(100, 30, PixelFormat.RGB565), Shadow(100, 30, PixelFormat.RGB565)
    assert shadow.count(shadow.rect) == StateCounts(3000, 0, 0)
    assert changes(now, shadow, now.rect) == [now.rect]
    assert shadow.lossy(now.rect) == []


# What is refused


OUTSIDE = [
    Rect(0, 0, 11, 1),
    Rect(0, 0, 1, 9),
    Rect(-1, 0, 2, 2),
    Rect(0, -1, 2, 2),
    Rect(10, 0, 1, 1),
    Rect(2**40, 0, 1, 1),
]


@pytest.mark.parametrize("rect", OUTSIDE, ids=str)
def test_rectangles_that_are_not_inside_are_refused(rect: Rect) -> None:
    screen = Screen(10, 8)
    surface, shadow = Surface(10, 8, PixelFormat.RGB565), Shadow(10, 8, PixelFormat.RGB565)
    place, origin = Point(rect.x, rect.y), Point(0, 0)
    large = Screen(20, 20)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("rect", lambda: screen.blit(rect, bytes(min(4 * rect.area, 400)))),
        ("source", lambda: surface.convert(screen, rect, origin)),
        ("destination", lambda: surface.convert(large, Rect(0, 0, rect.width, rect.height), place)),
        ("rect", lambda: surface.fill(rect)),
        ("rect", lambda: changes(surface, shadow, rect)),
        ("rect", lambda: shadow.lossy(rect)),
        ("rect", lambda: measure(surface, rect)),
        ("rect", lambda: encode_palette(surface, rect, 100)),
        ("rect", lambda: encode_raw(surface, rect)),
        ("rect", lambda: shadow.commit(surface, rect)),
        ("rect", lambda: shadow.copy(rect, origin)),
        ("rect", lambda: shadow.set_unknown(rect)),
        ("rect", lambda: shadow.count(rect)),
    ]
    if rect.width <= 10 and rect.height <= 8:
        calls.append(("source", lambda: shadow.copy(Rect(0, 0, rect.width, rect.height), place)))
    for what, call in calls:
        with pytest.raises(ValueError, match=rf"^{what} .* is not inside 10x8 pixels$"):
            call()


@pytest.mark.parametrize("size", [0, 23, 25, 24 * 4])
def test_blit_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"^pixels: {size} bytes, but 2x3\+1\+1 has 24$"):
        Screen(10, 8).blit(Rect(1, 1, 2, 3), bytes(size))


@pytest.mark.parametrize(
    ("width", "height", "what"),
    [
        (0, 5, "width is 0"),
        (5, -1, "height is -1"),
        (MAX_SIDE + 1, 1, "width is 4097"),
        (1, MAX_SIDE + 1, "height is 4097"),
        (MAX_SIDE, MAX_PIXELS // MAX_SIDE + 1, "is more than 4194304 pixels"),
    ],
)
@pytest.mark.parametrize("kind", [Surface, Shadow])
def test_sizes_that_no_panel_has_are_refused(kind: type[Surface], width: int, height: int, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        kind(width, height, PixelFormat.GREY8)


def test_sizes_that_no_screen_has_are_refused() -> None:
    with pytest.raises(ValueError, match="width is 32768"):
        Screen(32768, 1)


@pytest.mark.parametrize("other", [Surface(9, 8, PixelFormat.RGB565), Surface(10, 8, PixelFormat.GREY8)])
def test_surfaces_that_do_not_go_together_are_refused(other: Surface) -> None:
    shadow = Shadow(10, 8, PixelFormat.RGB565)
    for call in (shadow.differences, shadow.commit):
        with pytest.raises(ValueError, match="does not go with"):
            call(other, Rect(0, 0, 1, 1))


@pytest.mark.parametrize("pixel_format", PixelFormat)
def test_what_has_lost_bits_is_not_converted(pixel_format: PixelFormat) -> None:
    source, surface = Surface(3, 3, pixel_format), Surface(3, 3, PixelFormat.RGB565)
    source.fill(source.rect, 0x55)
    if pixel_format is PixelFormat.XRGB8888:
        surface.convert(source, source.rect, Point(0, 0))
        assert value_at(surface, 2, 2) == formula(0x55, 0, 0, PixelFormat.RGB565)
    else:
        with pytest.raises(ValueError, match=f"^{pixel_format.name} pixels are not converted$"):
            surface.convert(source, source.rect, Point(0, 0))


@pytest.mark.parametrize("pixel_format", PixelFormat)
def test_values_that_no_pixel_has_are_refused(pixel_format: PixelFormat) -> None:
    surface = Surface(3, 3, pixel_format)
    for value in (-1, 1 << bits_of(pixel_format)):
        with pytest.raises(ValueError, match=f"is no {pixel_format.name} pixel"):
            surface.fill(surface.rect, value)


@pytest.mark.parametrize(("cost", "limit"), [(-1, 5), (MAX_PIXELS + 1, 5), (5, 0), (5, MAX_CHANGES + 1)])
def test_costs_and_limits_out_of_range_are_refused(cost: int, limit: int) -> None:
    shadow = Shadow(10, 8, PixelFormat.RGB565)
    with pytest.raises(ValueError, match=r"^(cost|limit) is"):
        changes(shadow, shadow, shadow.rect, cost=cost, limit=limit)
