"""X clients for the tests: one that paints, one that reads keys as programs do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import trio
from Xlib import X, error
from Xlib import display as xdisplay
from Xlib.ext import randr, xtest
from Xlib.protocol import display as protocol_display
from Xlib.protocol import event
from Xlib.xobject.drawable import Pixmap, Window

from tilewire.protocol.geometry import Rect
from tilewire.server.display import Capture

KEY_LIMIT_S = 20


class _Client:
    """A client with one window over the whole screen."""

    def __init__(self, name: str, event_mask: int = 0) -> None:
        # python-xlib shares these among all connections, as if every server numbered its extensions alike.
        protocol_display.Display.event_classes = dict(event.event_class)
        protocol_display.Display.error_classes = dict(error.xerror_class)
        self.display = xdisplay.Display(name)
        # Its RandR takes the place of three core errors, and could not be raised.
        self.display.display.error_classes = dict(error.xerror_class)
        screen = self.display.screen()
        self.root: Window = screen.root
        self.window: Window = screen.root.create_window(
            0,
            0,
            screen.width_in_pixels,
            screen.height_in_pixels,
            0,
            screen.root_depth,
            background_pixel=0,
            override_redirect=True,
            event_mask=event_mask,
        )
        self.window.map()
        self.display.sync()

    def close(self) -> None:
        """Disconnect, if the server has not done so."""
        with suppress(error.ConnectionClosedError):
            self.display.close()


class Painter(_Client):
    """Fills rectangles, and grabs the server."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._pen = self.window.create_gc()

    def fill(self, rect: Rect, colour: int, *, wait: bool = True) -> None:
        """Fill a rectangle; returns when the server has done it, or only has been told."""
        self._pen.change(foreground=colour)
        self.window.fill_rectangle(self._pen.id, rect.x, rect.y, rect.width, rect.height)
        self.display.sync() if wait else self.display.flush()

    def shrink_screen(self, width: int, height: int) -> None:
        """Give the screen another size, as xrandr does."""
        resources = randr.get_screen_resources(self.root)
        crtc, output = resources.crtcs[0], resources.outputs[0]
        name = f"{width}x{height}"
        size = {"width": width, "height": height, "h_total": width, "v_total": height, "name_length": len(name)}
        rest = ("id", "dot_clock", "h_sync_start", "h_sync_end", "h_skew", "v_sync_start", "v_sync_end", "flags")
        mode = randr.create_mode(self.root, cast("Any", {**size, **dict.fromkeys(rest, 0)}), name).mode
        randr.add_output_mode(self.display, output, mode)
        now = resources.config_timestamp
        randr.set_crtc_config(self.display, crtc, now, 0, 0, 0, randr.Rotate_0, [])
        randr.set_screen_size(self.root, width, height, width, height)
        randr.set_crtc_config(self.display, crtc, now, 0, 0, mode, randr.Rotate_0, [output])
        self.display.sync()

    def wear(self, rows: Sequence[str], hot: tuple[int, int] = (0, 0)) -> None:
        """Give the window's pointer a shape: "#" is red, "+" is white, anything else is nothing."""
        size = (len(rows[0]), len(rows))
        picture = self._bitmap(size, [[sign == "#" for sign in row] for row in rows])
        mask = self._bitmap(size, [[sign in "#+" for sign in row] for row in rows])
        self._wear(picture, mask, hot)

    def wear_square(self, side: int) -> None:
        """Give the window's pointer the shape of a red square."""
        square = self.window.create_pixmap(side, side, 1)
        pen = square.create_gc(foreground=1)
        square.fill_rectangle(pen.id, 0, 0, side, side)
        pen.free()
        self._wear(square, square, (0, 0))

    def _wear(self, picture: Pixmap, mask: Pixmap, hot: tuple[int, int]) -> None:
        cursor = picture.create_cursor(cast("Any", mask), (0xFFFF, 0, 0), (0xFFFF, 0xFFFF, 0xFFFF), *hot)
        self.window.change_attributes(cursor=cursor)
        for made in (cursor, picture, mask):
            made.free()
        self.display.sync()

    def _bitmap(self, size: tuple[int, int], rows: Sequence[Sequence[bool]]) -> Pixmap:
        made = self.window.create_pixmap(*size, 1)
        for colour in (0, 1):
            pen = made.create_gc(foreground=colour)
            points = [(x, y) for y, row in enumerate(rows) for x, sign in enumerate(row) if sign == bool(colour)]
            made.poly_point(pen.id, X.CoordModeOrigin, points)
            pen.free()
        return made

    def move_pointer(self, x: int, y: int) -> None:
        """As a mouse does."""
        xtest.fake_input(self.display, X.MotionNotify, x=x, y=y)
        self.display.sync()

    def warp_pointer(self, x: int, y: int) -> None:
        """As a program does."""
        self.root.warp_pointer(x, y)
        self.display.sync()

    def grab_pointer(self) -> None:
        """Take all that the pointer does for itself."""
        assert self.window.grab_pointer(False, 0, X.GrabModeAsync, X.GrabModeAsync, 0, 0, 0) == X.GrabSuccess

    def forge(self, event_type: int, body: bytes, window: Window, mask: int = 0) -> None:
        """Send the likeness of an event to whoever has asked for events of a window."""
        forged = event.AnyEvent(display=self.display.display, binarydata=bytes([event_type]) + body)
        # The server refuses numbers that no extension has.
        window.send_event(forged, mask, onerror=error.CatchError())

    def ring(self) -> None:
        """Ring the bell."""
        self.display.bell()
        self.display.sync()

    def let_nobody_in(self) -> None:
        """Without a cookie."""
        for host in self.display.list_hosts().hosts:
            self.display.change_hosts(X.HostDelete, host.family, bytes(host.name))
        self.display.sync()

    def grab_server(self) -> None:
        """Let no other client's requests through."""
        self.display.grab_server()
        self.display.sync()

    def ungrab_server(self) -> None:
        """Let them through again."""
        self.display.ungrab_server()
        self.display.sync()


@contextmanager
def painter(name: str) -> Iterator[Painter]:
    """A painter on a display."""
    client = Painter(name)
    try:
        yield client
    finally:
        client.close()


class KeyReader(_Client):
    """Has the keyboard, and looks keys up when it hears of them."""

    def __init__(self, name: str) -> None:
        super().__init__(name, X.KeyPressMask | X.KeyReleaseMask | X.ButtonPressMask | X.ButtonReleaseMask)
        self.window.set_input_focus(X.RevertToParent, X.CurrentTime)
        self.display.sync()

    async def _next(self) -> event.KeyButtonPointer:
        while True:
            while self.display.pending_events():
                report = self.display.next_event()
                if isinstance(report, event.MappingNotify):
                    self.display.refresh_keyboard_mapping(report)
                elif isinstance(report, event.KeyButtonPointer):
                    return report
            # A key that never comes is a failure, not a test that never ends.
            with trio.fail_after(KEY_LIMIT_S):
                await trio.lowlevel.wait_readable(self.display.fileno())

    async def text(self, count: int) -> str:
        """The next `count` characters typed, as programs see them: Shift, AltGr and Caps Lock considered."""
        found = ""
        while len(found) < count:
            report = await self._next()
            if report.type == X.KeyPress:
                found += self._character(report)
        return found

    def _character(self, report: event.KeyButtonPointer) -> str:
        column = 4 if report.state & X.Mod5Mask else 0
        plain, shifted = (_typed(self.display.keycode_to_keysym(report.detail, column + i)) for i in (0, 1))
        pair = plain != shifted and plain.upper() == shifted
        locked = bool(report.state & X.LockMask)
        shift = bool(report.state & X.ShiftMask) != (pair and locked)
        character = (shifted if shift else plain) or plain
        return character.upper() if locked and not pair else character

    async def changes(self, count: int) -> list[tuple[str, int]]:
        """The next keys and buttons, modifiers too: "down" or "up", and the keycode or button."""
        found: list[tuple[str, int]] = []
        while len(found) < count:
            report = await self._next()
            pressed = report.type in (X.KeyPress, X.ButtonPress)
            found.append(("down" if pressed else "up", report.detail))
        return found

    def keycode(self, keysym: int) -> int:
        """The key that has a keysym."""
        return self.display.keysym_to_keycode(keysym)

    def map_key(self, keycode: int, keysym: int) -> None:
        """Give a key another keysym, as xmodmap does."""
        self.display.change_keyboard_mapping(keycode, [[keysym] * 4])
        self.display.sync()

    def mapping(self) -> list[tuple[int, ...]]:
        """The server's whole keymap."""
        low, high = self.display.display.info.min_keycode, self.display.display.info.max_keycode
        return [tuple(row) for row in self.display.get_keyboard_mapping(low, high - low + 1)]

    def state(self) -> int:
        """Modifiers and buttons in force."""
        return int(self.window.query_pointer().mask)


@contextmanager
def key_reader(name: str) -> Iterator[KeyReader]:
    """A key reader on a display."""
    client = KeyReader(name)
    try:
        yield client
    finally:
        client.close()


def _typed(keysym: int) -> str:
    """The character of a keysym; for Return and its like the control character, for others nothing."""
    if keysym >= 0x01000000:
        return chr(keysym - 0x01000000)
    if 0xFF08 <= keysym <= 0xFF1B:
        return chr(keysym & 0x7F)
    return chr(keysym) if 0x20 <= keysym < 0x100 else ""


class Picture:
    """A screen put together from captures."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.width, self.height = size
        self._rows = [bytearray(self.width * 4) for _ in range(self.height)]

    def put(self, capture: Capture) -> None:
        """Show what a capture brought."""
        for patch in capture.patches:
            rect, stride = patch.rect, patch.rect.width * 4
            assert len(patch.pixels) == stride * rect.height
            for row in range(rect.height):
                part = patch.pixels[row * stride : (row + 1) * stride]
                self._rows[rect.y + row][rect.x * 4 : rect.right * 4] = part

    def colours(self, rect: Rect) -> set[int]:
        """The colours inside a rectangle: 0xRRGGBB."""
        found: set[int] = set()
        for row in self._rows[rect.y : rect.bottom]:
            part = row[rect.x * 4 : rect.right * 4]
            found.update(b | g << 8 | r << 16 for b, g, r in zip(part[0::4], part[1::4], part[2::4]))
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Picture) and self._rows == other._rows

    __hash__ = None  # type: ignore[assignment]


def picture_of(capture: Capture) -> Picture:
    """A capture of the whole screen as a picture."""
    picture = Picture(capture.size)
    picture.put(capture)
    return picture
