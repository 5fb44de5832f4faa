"""What a viewer sees of a session, and where its input lands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import PANELS, Panel, Point, Rect
from tilewire.server.view import View

SIDES = st.integers(1, 300)
SIZES = st.tuples(SIDES, SIDES)
PLACES = st.integers(-400, 700)


@st.composite
def views(draw: st.DrawFn) -> View:
    view = View(draw(SIZES), draw(SIZES), follow=draw(st.booleans()))
    return view.panned(Point(draw(PLACES), draw(PLACES)))


@st.composite
def rects(draw: st.DrawFn) -> Rect:
    return Rect(draw(PLACES), draw(PLACES), draw(SIDES), draw(SIDES))


@pytest.mark.parametrize(
    ("session", "panel", "origin", "window", "offset"),
    [
        ((1024, 600), (1024, 600), (0, 0), Rect(0, 0, 1024, 600), Point(0, 0)),
        ((1024, 600), (800, 480), (0, 0), Rect(0, 0, 800, 480), Point(0, 0)),
        ((1024, 600), (800, 480), (9999, 9999), Rect(224, 120, 800, 480), Point(0, 0)),
        ((1024, 600), (800, 480), (-1, 7), Rect(0, 7, 800, 480), Point(0, 0)),
        ((800, 480), (1024, 600), (5, 5), Rect(0, 0, 800, 480), Point(112, 60)),
        ((801, 481), (1024, 600), (0, 0), Rect(0, 0, 801, 481), Point(111, 59)),
        ((320, 1000), (480, 480), (0, 100), Rect(0, 100, 320, 480), Point(80, 0)),
    ],
)
def test_window_and_place(
    session: tuple[int, int], panel: tuple[int, int], origin: tuple[int, int], window: Rect, offset: Point
) -> None:
    view = View(session, panel).panned(Point(*origin))
    assert (view.window, view.offset) == (window, offset)
    assert view.to_panel(window) == Rect(offset.x, offset.y, window.width, window.height)


@given(views())
def test_the_window_lies_inside_the_session_and_on_the_panel(view: View) -> None:
    assert Rect(0, 0, *view.session).contains(view.window)
    shown = view.to_panel(Rect(0, 0, *view.session))
    assert shown is not None
    assert Rect(0, 0, *view.panel).contains(shown)
    left, right = shown.x, view.panel[0] - shown.right
    top, bottom = shown.y, view.panel[1] - shown.bottom
    # In the middle, to the pixel.
    assert right - left in (0, 1)
    assert bottom - top in (0, 1)


@given(views(), rects())
def test_there_and_back(view: View, rect: Rect) -> None:
    shown = view.to_panel(rect)
    visible = rect.intersect(view.window)
    assert (shown is None) == (visible is None)
    if shown is not None:
        assert view.to_session(shown) == visible
    source = view.to_session(rect)
    if source is None:
        # All of it is black.
        black = view.to_panel(view.window)
        assert black is not None
        assert black.intersect(rect) is None
    else:
        back = view.to_panel(source)
        assert back is not None
        assert rect.contains(back)


@given(views(), st.integers(0, 4095), st.integers(0, 4095))
def test_input_lands_where_the_finger_is(view: View, x: int, y: int) -> None:
    point = view.input_point(Point(x, y))
    assert view.window.contains(Rect(point.x, point.y, 1, 1))
    under = view.to_session(Rect(x, y, 1, 1))
    if under is not None:
        assert point == Point(under.x, under.y)


@given(views(), st.data())
def test_the_window_follows_the_pointer_and_no_further(view: View, data: st.DataObject) -> None:
    x = data.draw(st.integers(0, view.session[0] - 1))
    y = data.draw(st.integers(0, view.session[1] - 1))
    after = view.following(Point(x, y))
    if not view.follow:
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


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_every_corner_of_a_session_can_be_reached_from_every_panel(panel: Panel) -> None:
    session = (1024, 600)
    for corner in (Point(0, 0), Point(1023, 0), Point(0, 599), Point(1023, 599)):
        view = View(session, (panel.width, panel.height)).following(corner)
        shown = view.to_panel(Rect(corner.x, corner.y, 1, 1))
        assert shown is not None
        assert view.input_point(Point(shown.x, shown.y)) == corner
