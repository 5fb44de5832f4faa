"""Pictures of the pointer: cut, turned, shrunk, and never brighter than their alpha."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.protocol import Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_CURSOR_SIDE, Rotation
from tilewire.server.cursor import NO_CURSOR, CursorImage, Overlay, prepared

Pixel = tuple[int, int, int, int]
ANY = st.sampled_from(Rotation)


def pixels_of(image: CursorImage) -> dict[tuple[int, int], Pixel]:
    values = [image.pixels[at : at + 4] for at in range(0, len(image.pixels), 4)]
    places = ((x, y) for y in range(image.height) for x in range(image.width))
    return {place: (b, g, r, a) for place, (b, g, r, a) in zip(places, values)}


@st.composite
def images(draw: st.DrawFn, longest: int = 12) -> CursorImage:
    """Any bytes at all in a part; the rest cannot be seen."""
    width, height = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    right, bottom = draw(st.integers(left, width)), draw(st.integers(top, height))
    # Its numbers are no choices of hypothesis: thousands would be too many.
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    pixels = bytearray()
    for y, x in product(range(height), range(width)):
        seen = left <= x < right and top <= y < bottom
        # Without alpha there is nothing, whatever the colours say.
        alpha = chance.choice([0, 255, chance.randrange(256)]) if seen else 0
        pixels += bytes([*(chance.randrange(256) for _ in range(3)), alpha])
    hot = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return CursorImage(width, height, *hot, bytes(pixels))


def clamped(pixel: Pixel) -> Pixel:
    blue, green, red, alpha = pixel
    return min(blue, alpha), min(green, alpha), min(red, alpha), alpha


def visible(image: CursorImage) -> Rect | None:
    """What can be seen, with the hot spot."""
    seen = [place for place, pixel in pixels_of(image).items() if pixel[3]]
    if not seen:
        return None
    xs, ys = ([*(place[axis] for place in seen), hot] for axis, hot in enumerate((image.hot_x, image.hot_y)))
    return Rect(min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1)


def shares(pixel: int, before: int, after: int) -> list[tuple[int, Fraction]]:
    """How much of each pixel of a row one of the shrunk row covers."""
    start, end = Fraction(pixel * before, after), Fraction((pixel + 1) * before, after)
    found = [(at, min(end, Fraction(at + 1)) - max(start, Fraction(at))) for at in range(int(start), int(end) + 1)]
    return [(at, share) for at, share in found if share > 0]


def slowly(image: CursorImage, rotation: Rotation, max_side: int) -> CursorImage:
    """`prepared`, pixel by pixel."""
    part = visible(image)
    if part is None:
        return NO_CURSOR
    before = {place: clamped(pixel) for place, pixel in pixels_of(image).items()}
    longest = max(part.width, part.height)
    width, height = part.width, part.height
    if longest > max_side:
        width, height = (max(1, side * max_side // longest) for side in (part.width, part.height))
    shrunk: dict[tuple[int, int], Pixel] = {}
    for v, u in product(range(height), range(width)):
        sums = [Fraction(0)] * 4
        for y, share_y in shares(v, part.height, height):
            for x, share_x in shares(u, part.width, width):
                pixel = before[part.x + x, part.y + y]
                sums = [total + share_x * share_y * channel for total, channel in zip(sums, pixel)]
        area = Fraction(part.width * part.height, width * height)
        blue, green, red, alpha = (int(total / area + Fraction(1, 2)) for total in sums)
        shrunk[u, v] = blue, green, red, alpha
    hot_u = int((image.hot_x - part.x + Fraction(1, 2)) * width / part.width)
    hot_v = int((image.hot_y - part.y + Fraction(1, 2)) * height / part.height)

    def turn(u: int, v: int) -> tuple[int, int]:
        places = [(u, v), (height - 1 - v, u), (width - 1 - u, height - 1 - v), (v, width - 1 - u)]
        return places[rotation]

    turned = {turn(*place): pixel for place, pixel in shrunk.items()}
    size = (height, width) if rotation in (Rotation.R90, Rotation.R270) else (width, height)
    pixels = b"".join(bytes(turned[x, y]) for y, x in product(range(size[1]), range(size[0])))
    return CursorImage(*size, *turn(hot_u, hot_v), pixels)


@settings(deadline=None)
@given(images(), ANY, st.integers(1, 14))
def test_prepared_is_what_the_loops_make(image: CursorImage, rotation: Rotation, max_side: int) -> None:
    assert prepared(image, rotation, max_side) == slowly(image, rotation, max_side)


@settings(deadline=None, max_examples=50)
@given(images(90), ANY, st.integers(1, 64))
def test_what_is_prepared_can_be_sent(image: CursorImage, rotation: Rotation, max_side: int) -> None:
    made = prepared(image, rotation, max_side)
    assert max(made.width, made.height) <= max_side
    for blue, green, red, alpha in pixels_of(made).values():
        assert max(blue, green, red) <= alpha
    # The message's own rules.
    m.CursorShape(width=made.width, height=made.height, hot_x=made.hot_x, hot_y=made.hot_y, row=0, pixels=made.pixels)


@settings(deadline=None)
@given(images(), ANY)
def test_what_is_small_keeps_every_pixel(image: CursorImage, rotation: Rotation) -> None:
    """Seen from the hot spot, in the turned directions."""
    made = prepared(image, rotation, MAX_CURSOR_SIDE)
    steps = {Rotation.R0: (1, 0), Rotation.R90: (0, 1), Rotation.R180: (-1, 0), Rotation.R270: (0, -1)}
    cos, sin = steps[rotation]
    expected = {}
    for (x, y), pixel in pixels_of(image).items():
        dx, dy = x - image.hot_x, y - image.hot_y
        if pixel[3]:
            expected[dx * cos - dy * sin, dx * sin + dy * cos] = clamped(pixel)
    found = {(x - made.hot_x, y - made.hot_y): pixel for (x, y), pixel in pixels_of(made).items() if pixel[3]}
    assert found == expected


def framed(size: int, frame: int, hot: tuple[int, int]) -> CursorImage:
    """A square that can be seen, with a border that cannot."""
    inside = range(frame, size - frame)
    pixels = b"".join(
        b"\x20\x40\x60\xff" if x in inside and y in inside else b"\x99\x99\x99\0"
        for y, x in product(range(size), range(size))
    )
    return CursorImage(size, size, *hot, pixels)


@pytest.mark.parametrize(
    ("hot", "size", "hot_after"),
    [
        ((16, 16), (24, 24), (12, 12)),
        ((4, 4), (24, 24), (0, 0)),
        ((0, 0), (28, 28), (0, 0)),
        ((31, 10), (28, 24), (27, 6)),
        ((10, 1), (24, 27), (6, 0)),
    ],
)
def test_borders_are_cut_up_to_the_hot_spot(
    hot: tuple[int, int], size: tuple[int, int], hot_after: tuple[int, int]
) -> None:
    made = prepared(framed(32, 4, hot), Rotation.R0, 64)
    assert (made.width, made.height) == size
    assert (made.hot_x, made.hot_y) == hot_after


@pytest.mark.parametrize(
    ("width", "height", "max_side", "size"),
    [
        (64, 64, 64, (64, 64)),
        (65, 64, 64, (64, 63)),
        (256, 256, 32, (32, 32)),
        (256, 100, 64, (64, 25)),
        (3, 256, 32, (1, 32)),
        (256, 1, 1, (1, 1)),
        (1000, 700, 24, (24, 16)),
    ],
)
def test_large_images_keep_their_aspect(width: int, height: int, max_side: int, size: tuple[int, int]) -> None:
    image = CursorImage(width, height, width - 1, height // 2, b"\x10\x80\xff\xff" * (width * height))
    for rotation in Rotation:
        made = prepared(image, rotation, max_side)
        assert (made.width, made.height) == (size if rotation in (Rotation.R0, Rotation.R180) else size[::-1])
        assert made.pixels == b"\x10\x80\xff\xff" * (size[0] * size[1])
        corners = {
            Rotation.R0: (size[0] - 1, size[1] // 2),
            Rotation.R90: (size[1] - 1 - size[1] // 2, size[0] - 1),
            Rotation.R180: (0, size[1] - 1 - size[1] // 2),
            Rotation.R270: (size[1] // 2, 0),
        }
        assert (made.hot_x, made.hot_y) == corners[rotation]


@pytest.mark.parametrize(
    ("image", "max_side"),
    [
        (NO_CURSOR, 64),
        (CursorImage(1, 1, 0, 0, bytes(4)), 64),
        (CursorImage(3, 2, 1, 1, b"\xff\xff\xff\0" * 6), 64),
        (CursorImage(1, 1, 0, 0, b"\xff" * 4), 0),
    ],
)
def test_what_cannot_be_seen_is_no_cursor(image: CursorImage, max_side: int) -> None:
    assert prepared(image, Rotation.R90, max_side) == NO_CURSOR


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ((2, 2, 0, 0, bytes(15)), "15 bytes are no 2x2 pixels"),
        ((2, 2, 2, 0, bytes(16)), "hot spot 2, 0"),
        ((2, 2, 0, -1, bytes(16)), "hot spot 0, -1"),
        ((0, 0, 1, 0, b""), "hot spot 1, 0"),
        ((2, 0, 0, 0, b""), "one side is 0"),
        ((-1, -4, 0, 0, bytes(16)), "a cursor of -1x-4"),
        ((32768, 1, 0, 0, bytes(4 * 32768)), "a cursor of 32768x1"),
    ],
)
def test_images_that_are_none_are_refused(shape: tuple[int, int, int, int, bytes], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        CursorImage(*shape)


def test_an_overlay_covers_its_image() -> None:
    panel = Rect(0, 0, 100, 50)
    image = CursorImage(10, 8, 3, 2, bytes(320))
    for position, rect in (
        (Point(20, 20), Rect(17, 18, 10, 8)),
        (Point(0, 0), Rect(0, 0, 7, 6)),
        (Point(99, 49), Rect(96, 47, 4, 3)),
        (Point(102, 51), Rect(99, 49, 1, 1)),
        (Point(103, 51), None),
        (Point(-7, 0), None),
    ):
        assert Overlay(image, position).rect(panel) == rect
    assert Overlay(image, Point(0, 0)).place == Rect(-3, -2, 10, 8)
    nobody = Overlay(NO_CURSOR, Point(5, 5))
    assert (nobody.place, nobody.rect(panel)) == (None, None)
    assert not NO_CURSOR
    assert image
