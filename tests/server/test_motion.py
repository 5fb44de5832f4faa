"""What moved is found, and what is found is true."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tilewire.protocol import PixelFormat, Point, Rect
from tilewire.server.motion import MAX_MOVES, MoveFinder
from tilewire.server.pixels import PixelState, Screen, Shadow, Surface, changes

WIDTH, HEIGHT = 400, 300
WHOLE = Rect(0, 0, WIDTH, HEIGHT)
FORMATS = pytest.mark.parametrize("pixel_format", PixelFormat)


def page(width: int, height: int, seed: int = 1) -> Image.Image:
    """Lines of words, antialiased, some on a coloured ground."""
    chance = random.Random(seed)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for y in range(0, height, 15):
        if chance.random() < 0.2:
            draw.rectangle((0, y, width, y + 14), fill=chance.choice(["#eee", "#ffd", "#def"]))
        words = " ".join("".join(chance.choices("abcdefghiklmnoprstuvw", k=chance.randint(2, 9))) for _ in range(20))
        draw.text((8, y + 1), words, fill=chance.choice(["black", "#036", "#600"]))
    return image


def surface_of(image: Image.Image, pixel_format: PixelFormat) -> Surface:
    screen = Screen(*image.size)
    screen.blit(screen.rect, image.tobytes("raw", "BGRX"))
    surface = Surface(*image.size, pixel_format)
    surface.convert(screen, screen.rect, Point(0, 0))
    return surface


def shadow_of(surface: Surface) -> Shadow:
    shadow = Shadow(surface.width, surface.height, surface.format)
    shadow.commit(surface, surface.rect)
    return shadow


class Device:
    """What a device has and knows; it does as it is told."""

    def __init__(self, shadow: Shadow) -> None:
        self.width, self.stored = shadow.width, shadow.format.stored
        self.pixels = bytearray(shadow.pixels)
        self.states = bytearray(shadow.states)

    def copy(self, to: Rect, source: Point) -> None:
        for memory, size in ((self.pixels, self.stored), (self.states, 1)):
            rows = []
            for row in range(to.height):
                start = ((source.y + row) * self.width + source.x) * size
                rows.append(memory[start : start + to.width * size])
            for row, part in enumerate(rows):
                start = ((to.y + row) * self.width + to.x) * size
                memory[start : start + to.width * size] = part

    def unknown(self, rect: Rect) -> bool:
        return any(
            PixelState.UNKNOWN in self.states[y * self.width + rect.x : y * self.width + rect.right]
            for y in range(rect.y, rect.bottom)
        )


def carry_out(now: Surface, shadow: Shadow, area: Rect, finder: MoveFinder | None = None) -> list[tuple[Rect, Point]]:
    """Find moves; whatever they are, a device that carries them out has what the shadow says, and it is right."""
    device = Device(shadow)
    moves = (finder or MoveFinder()).find(now, shadow, area)
    assert len(moves) <= MAX_MOVES
    for to, source in moves:
        origin = Rect(source.x, source.y, to.width, to.height)
        assert area.contains(to)
        assert area.contains(origin)
        assert not device.unknown(origin)
        device.copy(to, source)
    assert device.pixels == shadow.pixels
    assert device.states == shadow.states
    return moves


def left_over(now: Surface, shadow: Shadow) -> int:
    return sum(rect.area for rect in changes(now, shadow, now.rect))


def scrolled(by: int) -> tuple[Image.Image, Image.Image]:
    tall = page(WIDTH, HEIGHT + 200)
    return tall.crop((0, 100, WIDTH, HEIGHT + 100)), tall.crop((0, 100 + by, WIDTH, HEIGHT + 100 + by))


def under_a_header_beside_a_scrollbar(by: int) -> tuple[Image.Image, Image.Image]:
    header, bar = page(WIDTH, 40, 7), page(15, HEIGHT, 8)
    before, after = scrolled(by)
    for image in (before, after):
        image.paste(header, (0, 0))
        image.paste(bar, (WIDTH - 15, 0))
    return before, after


def moved_window(by: int) -> tuple[Image.Image, Image.Image]:
    window, images = page(180, 120, 5), []
    for place in ((60, 70), (60 + by, 70 + by // 2)):
        ground = page(WIDTH, HEIGHT, 6)
        ground.paste(window, place)
        images.append(ground)
    return images[0], images[1]


def sideways(by: int) -> tuple[Image.Image, Image.Image]:
    wide = page(WIDTH + 200, HEIGHT, 9)
    return wide.crop((100, 0, WIDTH + 100, HEIGHT)), wide.crop((100 + by, 0, WIDTH + 100 + by, HEIGHT))


Scene = Callable[[int], tuple[Image.Image, Image.Image]]


@FORMATS
@pytest.mark.parametrize("by", [1, -1, 17, -17, 63, -63])
@pytest.mark.parametrize(
    ("scene", "area_left"),
    [
        (scrolled, lambda by: WIDTH * abs(by)),
        (under_a_header_beside_a_scrollbar, lambda by: (WIDTH - 15) * abs(by)),
        (moved_window, lambda by: 180 * 120 - (180 - abs(by)) * (120 - abs(by) // 2)),
        (sideways, lambda by: HEIGHT * abs(by)),
    ],
)
def test_what_moved_is_copied_and_little_is_left(
    pixel_format: PixelFormat, by: int, scene: Scene, area_left: Callable[[int], int]
) -> None:
    before, after = (surface_of(image, pixel_format) for image in scene(by))
    shadow = shadow_of(before)
    changed = left_over(after, shadow)
    moves = carry_out(after, shadow, WHOLE)
    assert moves
    assert left_over(after, shadow) < changed
    # A tenth more than what nobody has seen before: borders that agree by chance on one side only.
    assert left_over(after, shadow) <= area_left(by) * 1.1 + 0.02 * changed


@FORMATS
def test_nothing_is_copied_from_what_is_not_known(pixel_format: PixelFormat) -> None:
    before, after = (surface_of(image, pixel_format) for image in scrolled(20))
    shadow = shadow_of(before)
    shadow.set_unknown(Rect(100, 0, 30, HEIGHT))
    assert carry_out(after, shadow, WHOLE)
    shadow.set_unknown(WHOLE)
    assert carry_out(after, shadow, WHOLE) == []


def test_what_is_lossy_stays_lossy_where_it_goes() -> None:
    before, after = (surface_of(image, PixelFormat.RGB565) for image in scrolled(20))
    shadow = shadow_of(before)
    shadow.commit(before, Rect(0, 100, WIDTH, 50), exact=False)
    carry_out(after, shadow, WHOLE)
    assert shadow.count(Rect(0, 80, WIDTH, 50)).lossy >= WIDTH * 40


@FORMATS
def test_nothing_moved(pixel_format: PixelFormat) -> None:
    same = surface_of(page(WIDTH, HEIGHT), pixel_format)
    other = surface_of(page(WIDTH, HEIGHT, 2), pixel_format)
    assert carry_out(same, shadow_of(same), WHOLE) == []
    carry_out(other, shadow_of(same), WHOLE)


def test_the_area_limits_where_it_looks() -> None:
    before, after = (surface_of(image, PixelFormat.RGB565) for image in scrolled(20))
    area = Rect(50, 60, 200, 150)
    assert carry_out(after, shadow_of(before), area)
    # carry_out has checked that all of them lie inside.
    assert carry_out(after, shadow_of(before), Rect(0, 0, 1, 1)) == []
    assert carry_out(after, shadow_of(before), Rect(WIDTH - 1, 0, 1, HEIGHT)) == []


def test_the_same_finder_serves_again_and_again() -> None:
    finder = MoveFinder()
    for by in (5, -9, 31):
        before, after = (surface_of(image, PixelFormat.RGB565) for image in scrolled(by))
        fresh, used = shadow_of(before), shadow_of(before)
        assert carry_out(after, fresh, WHOLE) == carry_out(after, used, WHOLE, finder)


@st.composite
def areas(draw: st.DrawFn, width: int, height: int) -> Rect:
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Rect(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))


@given(st.data(), st.sampled_from(PixelFormat), st.integers(20, 160), st.integers(8, 90))
def test_after_any_changes_what_is_found_is_true(
    data: st.DataObject, pixel_format: PixelFormat, width: int, height: int
) -> None:
    # Repeated content, so that the same thing stands in many places, and moves that overlap.
    ground = page(width, height, data.draw(st.integers(0, 3)))
    before, after = ground.copy(), ground.copy()
    for image in (before, after):
        for _ in range(data.draw(st.integers(0, 4))):
            rect = data.draw(areas(width, height))
            part = ground.crop((rect.x, rect.y, rect.right, rect.bottom))
            image.paste(part, (data.draw(st.integers(-20, width)), data.draw(st.integers(-20, height))))
    shadow = shadow_of(surface_of(before, pixel_format))
    for _ in range(data.draw(st.integers(0, 3))):
        shadow.set_unknown(data.draw(areas(width, height)))
    now = surface_of(after, pixel_format)
    exact = shadow.count(shadow.rect).exact
    area = data.draw(areas(width, height))
    moves = carry_out(now, shadow, area)
    # A move makes what it writes right, so nothing that was right goes wrong and less is left.
    assert shadow.count(shadow.rect).exact >= exact
    for to, _ in moves[-1:]:
        assert changes(now, shadow, to) == []
