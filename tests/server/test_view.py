"""What a viewer sees of a session, and where its input lands: against SPEC.md section 6, read literally."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import PANELS, Panel, Point, Rect
from tilewire.protocol.constants import Rotation, ViewMode
from tilewire.server.view import View, fitted, turned, turned_back

FIT, ONE = ViewMode.FIT, ViewMode.ONE_TO_ONE
R0, R90, R180, R270 = Rotation
SIDES = st.one_of(st.integers(1, 40), st.integers(1, 300))
SIZES = st.tuples(SIDES, SIDES)
PLACES = st.integers(-400, 700)
LARGE = st.one_of(SIDES, st.integers(1, 4096))


@st.composite
def views(draw: st.DrawFn, sides: st.SearchStrategy[int] = SIDES) -> View:
    sizes = st.tuples(sides, sides)
    return View(
        draw(sizes),
        draw(sizes),
        Point(draw(PLACES), draw(PLACES)),
        draw(st.booleans()),
        draw(st.sampled_from(ViewMode)),
        draw(st.sampled_from(Rotation)),
    )


@st.composite
def rects(draw: st.DrawFn) -> Rect:
    return Rect(draw(PLACES), draw(PLACES), draw(SIDES), draw(SIDES))


def places(rect: Rect) -> list[Point]:
    return [Point(x, y) for y, x in product(range(rect.y, rect.bottom), range(rect.x, rect.right))]


def one(point: Point) -> Rect:
    return Rect(point.x, point.y, 1, 1)


# The specification's words.


def canvas_of(view: View, point: Point) -> tuple[int, int]:
    """By search: (u, v) whose place on the panel is `point`."""
    (pw, ph), (x, y) = view.panel, (point.x, point.y)
    found = {R0: (x, y), R90: (y, pw - 1 - x), R180: (pw - 1 - x, ph - 1 - y), R270: (ph - 1 - y, x)}
    u, v = found[view.rotation]
    there = {R0: (u, v), R90: (pw - 1 - v, u), R180: (pw - 1 - u, ph - 1 - v), R270: (v, ph - 1 - u)}
    assert there[view.rotation] == (x, y)
    return u, v


def sizes_of(view: View) -> tuple[int, int, int, int]:
    """cw, ch, fw, fh; 1:1 has ww, wh for the last two."""
    (sw, sh), (cw, ch) = view.session, view.panel
    if view.rotation in (R90, R270):
        cw, ch = ch, cw
    if view.mode is ONE:
        return cw, ch, min(sw, cw), min(sh, ch)
    if sw <= cw and sh <= ch:
        return cw, ch, sw, sh
    if sw * ch >= sh * cw:
        return cw, ch, cw, max(1, sh * cw // sw)
    return cw, ch, max(1, sw * ch // sh), ch


def covered(view: View, point: Point) -> Rect | None:
    """The pixels of the session that a pixel of the panel is made of."""
    cw, ch, fw, fh = sizes_of(view)
    u, v = canvas_of(view, point)
    u, v = u - (cw - fw) // 2, v - (ch - fh) // 2
    if not (0 <= u < fw and 0 <= v < fh):
        return None
    window = view.window
    across, down = Fraction(window.width, fw), Fraction(window.height, fh)
    left, right = int(u * across), -int(-(u + 1) * across // 1)
    top, bottom = int(v * down), -int(-(v + 1) * down // 1)
    return Rect(window.x + left, window.y + top, right - left, bottom - top)


# Windows and pictures


@pytest.mark.parametrize(
    ("session", "panel", "origin", "window", "picture"),
    [
        ((1024, 600), (1024, 600), (0, 0), Rect(0, 0, 1024, 600), Rect(0, 0, 1024, 600)),
        ((1024, 600), (800, 480), (0, 0), Rect(0, 0, 800, 480), Rect(0, 0, 800, 480)),
        ((1024, 600), (800, 480), (9999, 9999), Rect(224, 120, 800, 480), Rect(0, 0, 800, 480)),
        ((1024, 600), (800, 480), (-1, 7), Rect(0, 7, 800, 480), Rect(0, 0, 800, 480)),
        ((800, 480), (1024, 600), (5, 5), Rect(0, 0, 800, 480), Rect(112, 60, 800, 480)),
        ((801, 481), (1024, 600), (0, 0), Rect(0, 0, 801, 481), Rect(111, 59, 801, 481)),
        ((320, 1000), (480, 480), (0, 100), Rect(0, 100, 320, 480), Rect(80, 0, 320, 480)),
    ],
)
def test_a_window_one_to_one(
    session: tuple[int, int], panel: tuple[int, int], origin: tuple[int, int], window: Rect, picture: Rect
) -> None:
    view = View(session, panel).panned(Point(*origin))
    assert (view.window, view.picture) == (window, picture)
    assert view == View(session, panel, Point(*origin))
    assert view.to_panel(window) == picture


@pytest.mark.parametrize(
    ("session", "panel", "rotation", "canvas", "picture"),
    [
        ((1024, 600), (320, 240), R0, (320, 240), Rect(0, 26, 320, 187)),
        ((1024, 600), (320, 240), R90, (240, 320), Rect(90, 0, 140, 240)),
        ((1024, 600), (320, 240), R180, (320, 240), Rect(0, 27, 320, 187)),
        ((1024, 600), (320, 240), R270, (240, 320), Rect(90, 0, 140, 240)),
        ((1366, 768), (1024, 600), R0, (1024, 600), Rect(0, 12, 1024, 575)),
        ((600, 1024), (320, 240), R0, (320, 240), Rect(90, 0, 140, 240)),
        ((100, 51), (320, 240), R0, (320, 240), Rect(110, 94, 100, 51)),
        ((100, 51), (320, 240), R90, (240, 320), Rect(135, 70, 51, 100)),
        ((4096, 1), (320, 240), R0, (320, 240), Rect(0, 119, 320, 1)),
        ((1, 4096), (320, 240), R270, (240, 320), Rect(0, 120, 320, 1)),
        ((4096, 4096), (1, 1), R180, (1, 1), Rect(0, 0, 1, 1)),
    ],
)
def test_a_picture_that_fits(
    session: tuple[int, int], panel: tuple[int, int], rotation: Rotation, canvas: tuple[int, int], picture: Rect
) -> None:
    view = View(session, panel, mode=FIT, rotation=rotation)
    whole = Rect(0, 0, *session)
    assert (view.window, view.canvas, view.picture) == (whole, canvas, picture)
    assert view.to_panel(whole) == picture


@given(views())
def test_window_and_picture_are_the_specification_s(view: View) -> None:
    cw, ch, fw, fh = sizes_of(view)
    assert view.canvas == (cw, ch)
    assert view.placed == Rect((cw - fw) // 2, (ch - fh) // 2, fw, fh)
    assert Rect(0, 0, *view.session).contains(view.window)
    assert Rect(0, 0, *view.panel).contains(view.picture)
    assert (view.window.width, view.window.height) == (view.session if view.mode is FIT else (fw, fh))
    turned_size = (fw, fh) if view.rotation in (R0, R180) else (fh, fw)
    assert (view.picture.width, view.picture.height) == turned_size
    assert view.to_panel(view.window) == view.picture


@given(views(), st.booleans())
def test_a_view_that_is_changed_shows_nothing_outside(view: View, follow: bool) -> None:
    for mode, rotation in product(ViewMode, Rotation):
        changed = replace(view, mode=mode, rotation=rotation, follow=follow)
        assert Rect(0, 0, *view.session).contains(changed.window)
        if mode is FIT:
            # What was looked at is not forgotten meanwhile.
            assert changed.origin == view.origin
            assert changed.panned(Point(1, 1)) is changed


@pytest.mark.parametrize("sizes", [((0, 5), (5, 5)), ((5, 5), (5, -1))])
def test_nothing_is_no_view(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="one is empty"):
        View(*sizes)


@given(st.tuples(LARGE, LARGE), st.tuples(LARGE, LARGE))
def test_fitted_is_never_larger_and_keeps_its_aspect(size: tuple[int, int], into: tuple[int, int]) -> None:
    made = fitted(size, into)
    for side, was, room in zip(made, size, into):
        assert 1 <= side <= min(was, room)
    width, height = made
    if size != made:
        # One side has all the room; of the other less than a pixel is lost.
        assert (width == into[0] and height == max(1, size[1] * width // size[0])) or (
            height == into[1] and width == max(1, size[0] * height // size[1])
        )


# There and back


@given(st.tuples(SIDES, SIDES), st.sampled_from(Rotation), PLACES, PLACES)
def test_turned_back_is_where_it_was(panel: tuple[int, int], rotation: Rotation, x: int, y: int) -> None:
    point = Point(x, y)
    assert turned_back(turned(point, panel, rotation), panel, rotation) == point


def test_a_quarter_turn_clockwise_brings_left_top_to_right_top() -> None:
    panel = (320, 240)
    corners = {rotation: turned(Point(0, 0), panel, rotation) for rotation in Rotation}
    assert corners == {R0: Point(0, 0), R90: Point(319, 0), R180: Point(319, 239), R270: Point(0, 239)}


@given(views(st.integers(1, 12)), st.data())
def test_to_panel_has_what_depends_on_the_rectangle_and_no_more(view: View, data: st.DataObject) -> None:
    x, y = (data.draw(st.integers(-2, side)) for side in view.session)
    rect = Rect(x, y, data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6)))
    depend = []
    for point in places(Rect(0, 0, *view.panel)):
        source = covered(view, point)
        if source is not None and source.intersect(rect) is not None:
            depend.append(point)
    if not depend:
        assert view.to_panel(rect) is None
        return
    xs, ys = [point.x for point in depend], [point.y for point in depend]
    found = view.to_panel(rect)
    assert found == Rect(min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1)
    assert found.area == len(depend)


@given(views(), rects())
def test_to_panel_lies_in_the_picture(view: View, rect: Rect) -> None:
    shown = view.to_panel(rect)
    assert (shown is None) == (rect.intersect(view.window) is None)
    assert shown is None or view.picture.contains(shown)


@given(views(LARGE), st.integers(0, 4095), st.integers(0, 4095))
def test_input_lands_where_the_specification_says(view: View, x: int, y: int) -> None:
    inside = Point(min(x, view.panel[0] - 1), min(y, view.panel[1] - 1))
    cw, ch, fw, fh = sizes_of(view)
    (sw, sh), window = view.session, view.window
    u, v = canvas_of(view, inside)
    u, v = u - (cw - fw) // 2, v - (ch - fh) // 2
    if view.mode is ONE:
        to_x, to_y = window.x + u, window.y + v
    else:
        to_x, to_y = (2 * u + 1) * sw // (2 * fw), (2 * v + 1) * sh // (2 * fh)
    expected = Point(min(max(to_x, window.x), window.right - 1), min(max(to_y, window.y), window.bottom - 1))
    assert view.input_point(inside) == expected
    # Beyond the panel: as if at its edge.
    assert view.input_point(Point(x, y)) == expected


@given(views(LARGE), st.data())
def test_a_finger_is_shown_where_it_is(view: View, data: st.DataObject) -> None:
    picture = view.picture
    corners = [Point(picture.x, picture.y), Point(picture.right - 1, picture.bottom - 1)]
    x = data.draw(st.integers(picture.x, picture.right - 1))
    y = data.draw(st.integers(picture.y, picture.bottom - 1))
    for point in (Point(x, y), *corners):
        assert view.panel_point(view.input_point(point)) == point


@given(views(st.integers(1, 50)))
def test_every_pixel_of_a_picture_there_and_back(view: View) -> None:
    for point in places(view.picture):
        assert view.panel_point(view.input_point(point)) == point


@given(views(), PLACES, PLACES)
def test_a_place_in_the_session_is_shown_in_the_pixel_that_has_it(view: View, x: int, y: int) -> None:
    shown = view.panel_point(Point(x, y))
    assert (shown is None) == (not view.window.contains(Rect(x, y, 1, 1)))
    if shown is not None:
        footprint = view.to_panel(Rect(x, y, 1, 1))
        assert footprint is not None
        assert footprint.contains(one(shown))
        if view.mode is ONE:
            assert footprint == one(shown)
            assert view.input_point(shown) == Point(x, y)


# Moved windows


@given(views(), st.data())
def test_the_window_follows_the_pointer_and_no_further(view: View, data: st.DataObject) -> None:
    x = data.draw(st.integers(0, view.session[0] - 1))
    y = data.draw(st.integers(0, view.session[1] - 1))
    after = view.following(Point(x, y))
    if not view.follow or view.mode is FIT:
        assert after == view
        return
    assert after.window.contains(Rect(x, y, 1, 1))
    # There it stays.
    assert after.following(Point(x, y)) == after
    window = view.window
    margin_x, margin_y = window.width // 8, window.height // 8
    if window.x + margin_x <= x < window.right - margin_x and window.y + margin_y <= y < window.bottom - margin_y:
        assert after == view


def test_a_pointer_at_the_border_takes_the_window_along() -> None:
    view = View((1024, 600), (320, 240))
    assert view.following(Point(279, 209)).origin == Point(0, 0)
    assert view.following(Point(280, 210)).origin == Point(1, 1)
    assert view.following(Point(1023, 599)).origin == Point(704, 360)
    assert View((1024, 600), (320, 240), Point(100, 100)).following(Point(100, 200)).origin == Point(60, 100)
    sideways = View((1024, 600), (320, 240), rotation=R90)
    assert sideways.window == Rect(0, 0, 240, 320)
    assert sideways.following(Point(210, 280)).origin == Point(1, 1)


@pytest.mark.parametrize("rotation", Rotation)
@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_every_corner_of_a_session_can_be_reached_from_every_panel(panel: Panel, rotation: Rotation) -> None:
    session = (1024, 600)
    for corner in (Point(0, 0), Point(1023, 0), Point(0, 599), Point(1023, 599)):
        view = View(session, (panel.width, panel.height), rotation=rotation).following(corner)
        shown = view.panel_point(corner)
        assert shown is not None
        assert view.input_point(shown) == corner


@pytest.mark.parametrize(("rotation", "shift"), [(R0, (30, 7)), (R90, (-7, 30)), (R180, (-30, -7)), (R270, (7, -30))])
def test_a_window_that_moves_shifts_the_panel(rotation: Rotation, shift: tuple[int, int]) -> None:
    before = View((1024, 600), (320, 240), Point(100, 50), rotation=rotation)
    after = before.panned(Point(130, 57))
    assert after.shift_from(before) == shift
    assert before.shift_from(after) == (-shift[0], -shift[1])
    assert before.shift_from(before) == (0, 0)


@given(views(), PLACES, PLACES)
def test_what_was_shown_is_shown_again_by_the_shift(before: View, x: int, y: int) -> None:
    after = before.panned(Point(x, y))
    shift = after.shift_from(before)
    assert shift is not None
    if before.mode is FIT:
        assert shift == (0, 0)
    picture = after.picture
    assert picture == before.picture
    kept = picture.intersect(picture.moved(-shift[0], -shift[1]))
    if kept is not None:
        for point in (Point(kept.x, kept.y), Point(kept.right - 1, kept.bottom - 1)):
            old = Point(point.x + shift[0], point.y + shift[1])
            assert before.input_point(old) == after.input_point(point)


def test_views_that_differ_in_more_are_not_compared() -> None:
    view = View((1024, 600), (320, 240), Point(100, 50))
    others = [
        replace(view, session=(1024, 601)),
        replace(view, panel=(240, 320)),
        replace(view, mode=FIT),
        replace(view, rotation=R180),
    ]
    assert [view.shift_from(other) for other in others] == [None] * 4
    assert [other.shift_from(view) for other in others] == [None] * 4
    assert view.shift_from(replace(view, follow=False)) == (0, 0)
    fit = replace(view, mode=FIT)
    assert fit.shift_from(replace(fit, origin=Point(0, 0))) == (0, 0)
