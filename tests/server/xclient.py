"""X clients for the tests: one that paints, one that reads keys as programs do, one that copies and one that pastes."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar, cast

import trio
from Xlib import X, error
from Xlib import display as xdisplay
from Xlib.ext import randr, xtest
from Xlib.protocol import display as protocol_display
from Xlib.protocol import event, request, rq
from Xlib.xobject.drawable import Pixmap, Window

from tilewire.protocol.geometry import Rect
from tilewire.server.display import Capture

KEY_LIMIT_S = 20

Report = TypeVar("Report", bound=rq.Event)


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
        self._waiting = trio.CancelScope()

    async def _next(self, kind: type[Report], within_s: float = KEY_LIMIT_S) -> Report:
        """The next report of a kind; others are passed over."""
        while True:
            while self.display.pending_events():
                report = self.display.next_event()
                if isinstance(report, kind):
                    return report
            # One that never comes is a failure, not a test that never ends.
            with trio.fail_after(within_s), trio.CancelScope() as self._waiting:
                await trio.lowlevel.wait_readable(self.display.fileno())

    def _sync(self) -> None:
        """Whatever waits for a report looks again: an answer may have brought one along."""
        self.display.sync()
        self._waiting.cancel()

    def close(self) -> None:
        """Disconnect, if the server has not done so."""
        with suppress(error.ConnectionClosedError):
            self.display.close()


class _QueryFormats(rq.ReplyRequest):
    """RENDER's formats of pictures; python-xlib does not know RENDER."""

    _request = rq.Struct(rq.Card8("opcode"), rq.Opcode(1), rq.RequestLength())
    _reply = rq.Struct(rq.ReplyCode(), rq.Pad(1), rq.Card16("sequence_number"), rq.ReplyLength(), rq.Pad(24))
    _data: dict[str, object]

    def _parse_response(self, data: bytes) -> None:
        number, count = struct.unpack_from("=xxHxxxxI", data)
        # Identifier, direct, 32 bits, then where each channel begins and its mask.
        formats = (struct.unpack_from("=IBBxx8H", data, 32 + 28 * at) for at in range(count))
        wanted = (1, 32, 16, 255, 8, 255, 0, 255, 24, 255)
        self._data = {"sequence_number": number, "argb": next(found[0] for found in formats if found[1:] == wanted)}


class _CreatePicture(rq.Request):
    _request = rq.Struct(
        rq.Card8("opcode"),
        rq.Opcode(4),
        rq.RequestLength(),
        rq.Card32("picture"),
        rq.Card32("drawable"),
        rq.Card32("format"),
        rq.Card32("mask"),
    )


class _FreePicture(rq.Request):
    _request = rq.Struct(rq.Card8("opcode"), rq.Opcode(7), rq.RequestLength(), rq.Card32("picture"))


class _CreateCursor(rq.Request):
    _request = rq.Struct(
        rq.Card8("opcode"),
        rq.Opcode(27),
        rq.RequestLength(),
        rq.Card32("cursor"),
        rq.Card32("source"),
        rq.Card16("hot_x"),
        rq.Card16("hot_y"),
    )


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

    def wear_colours(
        self, size: tuple[int, int], hot: tuple[int, int], pixels: bytes, window: Window | None = None
    ) -> None:
        """Give a window's pointer a shape of blue, green, red and alpha, as toolkits do."""
        opcode = self.display.query_extension("RENDER").major_opcode  # type: ignore[union-attr]
        ours = {"display": self.display.display, "opcode": opcode}
        picture = self.window.create_pixmap(*size, 32)
        pen = picture.create_gc()
        picture.put_image(pen.id, 0, 0, *size, X.ZPixmap, 32, 0, pixels)
        source, cursor = (self.display.display.allocate_resource_id() for _ in range(2))
        _CreatePicture(**ours, picture=source, drawable=picture.id, format=_QueryFormats(**ours).argb, mask=0)
        _CreateCursor(**ours, cursor=cursor, source=source, hot_x=hot[0], hot_y=hot[1])
        (window or self.window).change_attributes(cursor=cursor)
        request.FreeCursor(display=self.display.display, cursor=cursor)
        _FreePicture(**ours, picture=source)
        pen.free()
        picture.free()
        self.display.sync()

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

    async def _next_key(self) -> event.KeyButtonPointer:
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
            report = await self._next_key()
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
            report = await self._next_key()
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


class Copier(_Client):
    """Owns the clipboard, well or badly.

    `offers`: for each target its bytes, or None for one that it refuses. `part`: bytes a part, for INCR; None: whole.
    """

    def __init__(self, name: str, offers: Mapping[str, bytes | None], *, part: int | None = None) -> None:
        super().__init__(name)
        self._offers = offers
        self._part = part
        self.silent = False
        """It answers nothing."""
        self.endless = False
        """It has part after part, always the first."""
        self.may_go_on = trio.Event()
        self.may_go_on.set()
        self.requests: list[str] = []
        """The targets that it was asked for."""
        self.parts = 0
        """How many it has given."""
        self.pause_after: int | None = None
        """Parts, after which it waits for `may_go_on`."""
        self.changed = trio.Event()
        """Set, and replaced, when it has given a part or was asked for something."""

    def take(self, selection: str = "CLIPBOARD") -> None:
        """Own a selection."""
        self.window.set_selection_owner(self.display.intern_atom(selection), X.CurrentTime)
        self._sync()

    def let_go(self) -> None:
        """Own it no longer."""
        clipboard = self.display.intern_atom("CLIPBOARD")
        request.SetSelectionOwner(display=self.display.display, window=X.NONE, selection=clipboard, time=X.CurrentTime)
        self._sync()

    async def serve(self) -> None:
        """Do what it does as the owner."""
        while True:
            asked = await self._next(event.SelectionRequest, math.inf)
            self.requests.append(self.display.get_atom_name(asked.target))
            self._tell()
            if not self.silent:
                await self._answer(asked, self._offers.get(self.requests[-1]))

    async def _answer(self, asked: event.SelectionRequest, data: bytes | None) -> None:
        await self.may_go_on.wait()
        window, part = asked.requestor, self._part
        incr = self.display.intern_atom("INCR")
        if data is not None and part is not None:
            window.change_attributes(event_mask=X.PropertyChangeMask)
            window.change_property(asked.property, incr, 32, [0])
        elif data is not None:
            window.change_property(asked.property, asked.target, 8, data)
        into = asked.property if data is not None else X.NONE
        told = event.SelectionNotify(
            time=asked.time, requestor=window, selection=asked.selection, target=asked.target, property=into
        )
        window.send_event(told)
        self.display.flush()
        if data is None or part is None:
            return
        at = 0
        while True:
            await self._gone(window.id, asked.property)
            await self.may_go_on.wait()
            now = data[at : at + part]
            window.change_property(asked.property, asked.target, 8, now)
            self.display.flush()
            self.parts += 1
            if self.parts == self.pause_after:
                self.may_go_on = trio.Event()
            self._tell()
            at += 0 if self.endless else part
            if not now:
                return

    async def _gone(self, window: int, name: int) -> None:
        while True:
            report = await self._next(event.PropertyNotify, math.inf)
            if (report.window.id, report.atom, report.state) == (window, name, X.PropertyDelete):
                return

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once it holds; looked at whenever it was asked for something or gave something."""
        with trio.fail_after(KEY_LIMIT_S):
            while not condition():
                await self.changed.wait()


@asynccontextmanager
async def copier(name: str, offers: Mapping[str, bytes | None], *, part: int | None = None) -> AsyncIterator[Copier]:
    """A copier on a display, at work."""
    client = Copier(name, offers, part=part)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.serve)
            yield client
            nursery.cancel_scope.cancel()
    finally:
        client.close()


class Paster(_Client):
    """Asks for selections, as programs do that paste."""

    def __init__(self, name: str) -> None:
        super().__init__(name, X.PropertyChangeMask)
        self.into = self.display.intern_atom("PASTED")

    def ask(self, target: str, selection: str = "CLIPBOARD", into: str = "PASTED", time: int = X.CurrentTime) -> None:
        """Ask for a selection."""
        wanted, kind, name = (self.display.intern_atom(name) for name in (selection, target, into))
        request.ConvertSelection(
            display=self.display.display,
            requestor=self.window.id,
            selection=wanted,
            target=kind,
            property=name,
            time=time,
        )
        self.display.flush()

    async def answer(self) -> bool:
        """Whether what it asked for is there."""
        return bool((await self._next(event.SelectionNotify)).property)

    def take(self, into: str = "PASTED") -> tuple[str, bytes | list[int]]:
        """Read a property and remove it: its type and value."""
        name = self.display.intern_atom(into)
        found = self.window.get_full_property(name, X.AnyPropertyType)
        assert found is not None
        self.window.delete_property(name)
        self.display.flush()
        kind = self.display.get_atom_name(found.property_type)
        return kind, bytes(found.value) if found.format == 8 else list(found.value)

    @property
    def is_watched(self) -> bool:
        """Whether anybody else asks for events of its window."""
        attributes = self.window.get_attributes()
        return bool(attributes.all_event_masks != attributes.your_event_mask)

    async def part(self, into: str = "PASTED") -> bytes:
        """The next of what comes in parts."""
        name = self.display.intern_atom(into)
        while True:
            report = await self._next(event.PropertyNotify)
            if (report.atom, report.state) == (name, X.PropertyNewValue):
                value = self.take(into)[1]
                assert isinstance(value, bytes)
                return value

    async def paste(self, target: str, selection: str = "CLIPBOARD") -> tuple[str, bytes | list[int]] | None:
        """Ask for a selection and take it, in parts if need be; None where it cannot be had."""
        self.ask(target, selection)
        if not await self.answer():
            return None
        self.display.sync()
        while self.display.pending_events():
            self.display.next_event()
        kind, value = self.take()
        if kind != "INCR":
            return kind, value
        whole = b""
        while part := await self.part():
            whole += part
        return target, whole


@contextmanager
def paster(name: str) -> Iterator[Paster]:
    """A paster on a display."""
    client = Paster(name)
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
