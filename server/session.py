"""A running display and all who look at it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import trio

from tilewire.protocol import Code, Connection, NoticeCode, Point, Rect, RemoteProtocolError, Resumed
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_SIDE, RESUME_S
from tilewire.server.cursor import NO_CURSOR, CursorImage, Overlay
from tilewire.server.display import (
    BellRang,
    Capture,
    ClipboardText,
    CursorChanged,
    CursorShape,
    Display,
    DisplayLost,
    DisplayRefused,
    PointerMoved,
    Stalled,
)
from tilewire.server.encoder import Encoder
from tilewire.server.handshake import Guest
from tilewire.server.kept import Kept, Shelf
from tilewire.server.pixels import Screen
from tilewire.server.transport import Transport
from tilewire.server.view import View
from tilewire.server.viewers import INLINE_PIXELS, Viewer
from tilewire.server.x11.inputs import Input

log = logging.getLogger(__name__)

MAX_VIEWERS: Final = 64
"""Of one session."""
RECORDER: Final = 0xFFFF_FFFF
"""The viewer number of what records a session: no device is counted so far."""


class TouchScreen(Protocol):
    """A program that takes fingers as they are."""

    @property
    def takes_touch(self) -> bool:
        """Whether it does now."""

    async def touch(self, fingers: Mapping[int, Point]) -> None:
        """These are down, at these places of the screen."""

    async def release(self) -> None:
        """Who had them down has left."""


class Session:
    """One display, its picture, its viewers."""

    def __init__(
        self,
        name: str,
        display: Display,
        fps: int,
        *,
        quality: int = 75,
        adaptive: bool = True,
        resume_s: float = RESUME_S,
    ) -> None:
        """`fps` at most, `quality` (of JPEG) and `adaptive`: what viewers begin with. `resume_s`: for how long a device
        that lost its connection can go on where it was.
        """
        self.name = name
        _check_size(display.name, display.size)
        self._display = display
        self.setting = m.Setting(fps=fps, quality=quality, adaptive=int(adaptive))
        """What viewers begin with, and the most updates a second that they may have."""
        self.size = display.size
        self._screen = Screen(*display.size)
        self._screen_lock = trio.Lock()
        """Held while the picture is written, and while a thread reads it."""
        self._capture_lock = trio.Lock()
        """Held while the display is captured: one may at a time."""
        self._viewers: dict[int, Viewer] = {}
        self._emptied = trio.Event()
        self.touch_screen: TouchScreen | None = None
        self._touching: int | None = None
        """The viewer whose fingers are down on it."""
        self._holder: Viewer | None = None
        self._numbers = 0
        self._serial = 0
        self._captured_serial = 0
        self.captures = 0
        """Pictures taken so far."""
        self._look = trio.Event()
        self._ended: RemoteProtocolError | None = None
        self.pointer = Point(*display.pointer)
        self._pointer_serial = display.pointer_serial
        self.shape = _image(display.cursor)
        self._shelf = Shelf(resume_s)
        self._shelved = trio.Event()
        self._admitting = trio.Lock()
        """One device at a time is let in: two that are the same have to see each other."""

    @property
    def resume_s(self) -> float:
        """How long a token is good after the connection has ended."""
        return self._shelf.lifetime_s

    # The picture.

    @property
    def stale(self) -> bool:
        """Whether the screen has changed since the last capture."""
        return self._display.is_dirty

    @property
    def is_resizing(self) -> bool:
        """Whether the screen has another size than its last capture: viewers are told with the next."""
        return self._display.size != self.size

    def look(self) -> None:
        """A viewer is ready for news: what changes is worth grabbing."""
        self._look.set()

    async def watch(self) -> None:
        """Keep the picture up to date while somebody looks. Raises DisplayLost when the display is gone."""
        lost: list[DisplayLost] = []
        async with trio.open_nursery() as nursery:

            async def run(task: Callable[[], Awaitable[None]]) -> None:
                try:
                    await task()
                except DisplayLost as error:
                    lost.append(error)
                    nursery.cancel_scope.cancel()

            for task in (self._capture, self._hear, self._tidy):
                nursery.start_soon(run, task)
        raise lost[0]

    async def picture(self) -> tuple[tuple[int, int], bytes]:
        """What the screen shows now: its size, and blue, green, red, unused byte per pixel. Raises DisplayLost."""
        async with self._capture_lock:
            if self.captures == 0 or self.stale or self.is_resizing:
                await self._take(await (self._display.capture() if self.captures else self._display.capture_all()))
            return self.size, bytes(self._screen.pixels)

    async def _capture(self) -> None:
        async with self._capture_lock:
            await self._take(await self._display.capture_all())
        while True:
            await self._display.wait_damage()
            if not (self.is_resizing or any(viewer.hungry for viewer in self._viewers.values())):
                self._look = trio.Event()
                await self._look.wait()
                continue
            async with self._capture_lock:
                await self._take(await self._display.capture())

    async def _hear(self) -> None:
        """Pass on what the display tells besides pixels."""
        async for news in self._display.news():
            viewers = list(self._viewers.values())
            match news:
                case CursorChanged(shape):
                    self.shape = _image(shape)
                    for viewer in viewers:
                        viewer.pointer_changed()
                case PointerMoved(x, y, serial):
                    self.pointer, self._pointer_serial = Point(x, y), serial
                    for viewer in viewers:
                        viewer.pointer_changed()
                case ClipboardText(text, owner):
                    for viewer in viewers:
                        if viewer.number != owner:
                            viewer.clipboard_changed(text.encode())
                case BellRang():
                    for viewer in viewers:
                        viewer.rang()
                case Stalled():
                    for viewer in viewers:
                        viewer.notice(NoticeCode.STALLED)

    async def _tidy(self) -> None:
        """Forget viewers that did not come back in time."""
        while True:
            self._shelved = trio.Event()
            with trio.CancelScope(deadline=self._shelf.expire(trio.current_time())):
                await self._shelved.wait()

    async def _take(self, capture: Capture) -> None:
        async with self._screen_lock:
            if capture.size != self.size:
                _check_size(self._display.name, capture.size)
                self.size = capture.size
                self._screen = Screen(*capture.size)
                for viewer in self._viewers.values():
                    viewer.session_resized(capture.size)
            for patch in capture.patches:
                self._screen.blit(patch.rect, patch.pixels)
        self._captured_serial = max(self._captured_serial, capture.newest_input or 0)
        self.captures += 1
        for viewer in self._viewers.values():
            for patch in capture.patches:
                viewer.damaged(patch.rect)
            viewer.wake()

    async def convert(
        self, encoder: Encoder, view: View, damage: list[Rect], overlay: Overlay | None = None
    ) -> int | None:
        """Bring a viewer's picture up to date; returns the serial of the newest input that it can show.

        `overlay`: the pointer, where it belongs into the picture.

        None, and nothing is done, where the view is of a screen that has another size by now.
        """
        async with self._screen_lock:
            if view.session != self.size:
                return None
            serial = self._captured_serial
            if overlay is not None and not self.stale:
                # The pointer is all that moved, and the picture has it where that input put it.
                serial = max(serial, self.pointer_serial)
            # Where the picture is shrunk, what it covers is what takes the time.
            covers = view.window.area / view.picture.area
            if sum(rect.area for rect in damage) * covers <= INLINE_PIXELS:
                encoder.convert(self._screen, view, damage, overlay)
            else:
                await trio.to_thread.run_sync(encoder.convert, self._screen, view, damage, overlay)
        return serial

    # Input.

    async def inject(self, inputs: Sequence[Input], *, owner: int) -> tuple[int, int]:
        """Carry out input. When the X server has confirmed it: its serial, and how much of it no key can type."""
        self._serial += 1
        serial = self._serial
        untyped = await self._display.inject(inputs, owner=owner, serial=serial)
        return serial, untyped

    async def touch(self, fingers: Mapping[int, Point], *, owner: int) -> bool:
        """These fingers are down, at these places of the screen; False where the program takes a pointer only."""
        screen = self.touch_screen
        if screen is None or not (screen.takes_touch or self._touching == owner):
            return False
        self._touching = owner if fingers else None
        await screen.touch(fingers)
        return True

    async def set_clipboard(self, text: bytes, owner: int) -> None:
        """A viewer has put this into its clipboard (UTF-8): it is the session's from now on, and all others' too."""
        await self._display.set_clipboard(text.decode(), owner=owner)

    async def resize(self, size: tuple[int, int]) -> str | None:
        """Give the screen another size; returns why that is not possible, None where it was done."""
        try:
            await self._display.resize(*size)
        except DisplayRefused as refusal:
            return str(refusal)
        # Also where nobody is ready for pixels, the new size is to be told.
        self.look()
        return None

    async def release(self, owner: int) -> None:
        """Let go of whatever a viewer holds down."""
        if self._touching == owner and self.touch_screen is not None:
            self._touching = None
            await self.touch_screen.release()
        await self._display.release_all(owner)

    @property
    def pointer_serial(self) -> int:
        """The newest input that `pointer` accounts for."""
        if self._display.pointer == (self.pointer.x, self.pointer.y):
            # Input that did not move it is no news.
            return self._display.pointer_serial
        return self._pointer_serial

    # Who steers.

    @property
    def holder_number(self) -> int:
        """The number of the viewer that holds control; 0: none."""
        return self._holder.number if self._holder is not None else 0

    def take_control(self, viewer: Viewer) -> None:
        """Give control to `viewer` if nobody has it."""
        if self._holder is None and viewer.may_steer:
            self._give(viewer)

    def release_control(self, viewer: Viewer) -> None:
        """`viewer` does not want control any more; nobody has it then."""
        if self._holder is viewer:
            self._give(None)

    def pass_control(self, viewer: Viewer, number: int) -> None:
        """`viewer` hands control to another, where that one may steer."""
        other = self._viewers.get(number)
        if self._holder is viewer and other is not None and other.may_steer:
            self._give(other)

    def hand_control(self, viewer: Viewer) -> None:
        """Give control to `viewer`, whoever had it: the operator's word."""
        if self._holder is not viewer:
            self._give(viewer)

    def _give(self, viewer: Viewer | None) -> None:
        self._holder = viewer
        for other in self._viewers.values():
            other.control_changed()

    # The viewers.

    async def serve(
        self, connection: Connection, transport: Transport, hello: m.Hello, guest: Guest | None = None
    ) -> None:
        """Serve one device that has shaken hands. Raises RemoteProtocolError for the goodbye that is due."""
        async with self._admitting:
            self._check_room(connection, hello)
            kept, resumed = await self._find(connection, hello)
            if self._ended is not None:
                raise RemoteProtocolError(self._ended.code, str(self._ended))
            self._numbers += 1
            viewer = Viewer(self, connection, transport, self._numbers, self.setting, kept, resumed, guest)
            self._viewers[viewer.number] = viewer
        self._count_clipboards()
        if viewer.may_steer and (self._holder is None or self._holder.leaves):
            self._holder = viewer
            for other in self._viewers.values():
                if other is not viewer:
                    # The new one learns it from WELCOME.
                    other.control_changed()
        panel = f"{hello.panel} {connection.rules.format.name}"
        log.info("%s: %s, panel %s", viewer.label, "is back" if kept is not None else "connected", panel)
        resumable = False
        try:
            await viewer.run()
            resumable = viewer.resumable
        except RemoteProtocolError:
            resumable = viewer.resumable
            raise
        finally:
            self._forget(viewer)
            if resumable and not viewer.surrendered and self._ended is None:
                self._shelf.put(viewer.token, viewer.kept(), trio.current_time())
                self._shelved.set()
            self._count_clipboards()
            if self._holder is viewer:
                heir = next((other for other in self._viewers.values() if other.may_steer), None)
                self._give(heir)
            with trio.CancelScope(deadline=trio.current_time() + 1, shield=True):
                with suppress(DisplayLost):
                    await self.release(viewer.number)

    async def record(
        self, connection: Connection, transport: Transport, hello: m.Hello, joined: Callable[[Viewer], None]
    ) -> None:
        """Serve what records this session (one): it only looks, takes no device's room, and cannot come back.

        Raises RemoteProtocolError for the goodbye that is due. `joined` is told which viewer it is.
        """
        if self._ended is not None:
            raise RemoteProtocolError(self._ended.code, str(self._ended))
        viewer = Viewer(self, connection, transport, RECORDER, self.setting, None, Resumed.NOT_ASKED)
        assert not viewer.may_steer
        self._viewers[viewer.number] = viewer
        joined(viewer)
        try:
            await viewer.run()
        finally:
            self._forget(viewer)

    def _forget(self, viewer: Viewer) -> None:
        del self._viewers[viewer.number]
        if not self._viewers:
            self._emptied.set()
            self._emptied = trio.Event()

    @property
    def viewers(self) -> list[Viewer]:
        """Who looks now, in the order in which they came; what records the session is not counted."""
        return [viewer for viewer in self._viewers.values() if viewer.number != RECORDER]

    def configure(self, setting: m.Setting) -> None:
        """The operator's settings, for all viewers that are there and all that come."""
        self.setting = setting
        for viewer in self.viewers:
            viewer.configure(setting)

    async def until_left(self) -> None:
        """Return when nobody looks."""
        while self._viewers:
            await self._emptied.wait()

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended is not None

    def _check_room(self, connection: Connection, hello: m.Hello) -> None:
        """Raise RemoteProtocolError where there is none; before a token is used up. Who is replaced makes room."""
        staying = sum(
            not (viewer.leaves or viewer.is_same_device(connection) or viewer.is_meant(hello))
            for viewer in self._viewers.values()
            if viewer.number != RECORDER
        )
        # Those that leave take a moment, and memory.
        if staying >= MAX_VIEWERS or len(self._viewers) >= 2 * MAX_VIEWERS:
            raise RemoteProtocolError(Code.LIMIT, f"{MAX_VIEWERS} viewers look already")

    async def _find(self, connection: Connection, hello: m.Hello) -> tuple[Kept | None, Resumed]:
        """What a device goes on from; and its earlier connection, if we still believe in it, is ended."""
        token = hello.resume.token if hello.resume is not None else None
        kept: Kept | None = None
        for viewer in list(self._viewers.values()):
            if viewer.is_meant(hello):
                await viewer.surrender()
                kept = viewer.kept()
            elif viewer.is_same_device(connection):
                viewer.leave(Code.REPLACED, "the same device connected again")
        if token is None:
            return None, Resumed.NOT_ASKED
        if kept is None:
            kept = self._shelf.take(token, hello.device_id, trio.current_time())
        if kept is None:
            return None, Resumed.UNKNOWN_TOKEN
        verdict = kept.verdict(hello)
        return (kept if verdict is Resumed.RESUMED else None), verdict

    def _count_clipboards(self) -> None:
        """The session's clipboard is read only while somebody takes it."""
        with suppress(DisplayLost):
            self._display.want_clipboard(any(viewer.takes_clipboard for viewer in self._viewers.values()))

    def end(self, code: Code, text: str) -> None:
        """Say goodbye to all viewers, and to any that come now."""
        self._ended = RemoteProtocolError(code, text)
        self._shelf.clear()
        for viewer in list(self._viewers.values()):
            viewer.leave(code, text)


def _image(shape: CursorShape | None) -> CursorImage:
    if shape is None or not shape.width or not shape.height:
        return NO_CURSOR
    # X takes any hot spot; that of xterm's hidden pointer lies a row below it.
    hot_x, hot_y = min(max(shape.hot_x, 0), shape.width - 1), min(max(shape.hot_y, 0), shape.height - 1)
    return CursorImage(shape.width, shape.height, hot_x, hot_y, shape.pixels)


def _check_size(name: str, size: tuple[int, int]) -> None:
    """Raise DisplayLost where coordinates would not fit the wire."""
    width, height = size
    if max(width, height) > MAX_SIDE:
        raise DisplayLost(f"the screen of display {name} is {width}x{height}; {MAX_SIDE} a side is the most")
