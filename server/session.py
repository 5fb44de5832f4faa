"""A running display and all who look at it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import trio

from tilewire.protocol import Code, Connection, Rect, RemoteProtocolError
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_SIDE
from tilewire.server.display import Capture, Display, DisplayLost
from tilewire.server.encoder import Encoder
from tilewire.server.pixels import Screen
from tilewire.server.transport import Transport
from tilewire.server.view import View
from tilewire.server.viewers import INLINE_PIXELS, Viewer
from tilewire.server.x11.inputs import Input

log = logging.getLogger(__name__)

MAX_VIEWERS: Final = 64
"""Of one session."""


class Session:
    """One display, its picture, its viewers."""

    def __init__(self, name: str, display: Display, fps: int) -> None:
        self.name = name
        _check_size(display)
        self._display = display
        self._fps = fps
        self.size = display.size
        self._screen = Screen(*display.size)
        self._screen_lock = trio.Lock()
        """Held while the picture is written, and while a thread reads it."""
        self._viewers: dict[int, Viewer] = {}
        self._holder: Viewer | None = None
        self._numbers = 0
        self._serial = 0
        self._captured_serial = 0
        self.captures = 0
        """Pictures taken so far."""
        self._look = trio.Event()
        self._ended: RemoteProtocolError | None = None

    # The picture.

    @property
    def stale(self) -> bool:
        """Whether the screen has changed since the last capture."""
        return self._display.is_dirty

    def look(self) -> None:
        """A viewer is ready for news: what changes is worth grabbing."""
        self._look.set()

    async def watch(self) -> None:
        """Keep the picture up to date while somebody looks. Raises DisplayLost when the display is gone."""
        await self._take(await self._display.capture_all())
        while True:
            await self._display.wait_damage()
            if not any(viewer.hungry for viewer in self._viewers.values()):
                self._look = trio.Event()
                await self._look.wait()
                continue
            await self._take(await self._display.capture())

    async def _take(self, capture: Capture) -> None:
        async with self._screen_lock:
            if capture.size != self.size:
                _check_size(self._display)
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

    async def convert(self, encoder: Encoder, view: View, damage: list[Rect]) -> int | None:
        """Bring a viewer's picture up to date; returns the serial of the newest input that it can show.

        None, and nothing is done, where the view is of a screen that has another size by now.
        """
        async with self._screen_lock:
            if view.session != self.size:
                return None
            serial = self._captured_serial
            if sum(rect.area for rect in damage) <= INLINE_PIXELS:
                encoder.convert(self._screen, view, damage)
            else:
                await trio.to_thread.run_sync(encoder.convert, self._screen, view, damage)
        return serial

    # Input.

    async def inject(self, inputs: Sequence[Input], *, owner: int) -> int:
        """Carry out input; returns its serial when the X server has confirmed it."""
        self._serial += 1
        serial = self._serial
        await self._display.inject(inputs, owner=owner, serial=serial)
        return serial

    async def release(self, owner: int) -> None:
        """Let go of whatever a viewer holds down."""
        await self._display.release_all(owner)

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

    def _give(self, viewer: Viewer | None) -> None:
        self._holder = viewer
        for other in self._viewers.values():
            other.control_changed()

    # The viewers.

    async def serve(self, connection: Connection, transport: Transport, hello: m.Hello) -> None:
        """Serve one device that has shaken hands. Raises RemoteProtocolError for the goodbye that is due."""
        if self._ended is not None:
            raise RemoteProtocolError(self._ended.code, str(self._ended))
        if hello.session not in (None, self.name) or hello.profile is not None or hello.url is not None:
            wanted = hello.session or hello.profile or hello.url
            raise RemoteProtocolError(Code.NO_SESSION, f"{wanted} is not to be had here")
        if len(self._viewers) >= MAX_VIEWERS:
            raise RemoteProtocolError(Code.LIMIT, f"{MAX_VIEWERS} viewers look already")
        self._numbers += 1
        viewer = Viewer(self, connection, transport, hello, self._numbers, self._fps)
        self._viewers[viewer.number] = viewer
        if self._holder is None and viewer.may_steer:
            self._holder = viewer
            for other in self._viewers.values():
                if other is not viewer:
                    # The new one learns it from WELCOME.
                    other.control_changed()
        panel = f"{hello.panel} {connection.rules.format.name}"
        log.info("%s: connected, panel %s", viewer.label, panel)
        try:
            await viewer.run()
        finally:
            del self._viewers[viewer.number]
            if self._holder is viewer:
                heir = next((other for other in self._viewers.values() if other.may_steer), None)
                self._give(heir)
            with trio.CancelScope(deadline=trio.current_time() + 1, shield=True):
                try:
                    await self._display.release_all(viewer.number)
                except DisplayLost:
                    pass

    def end(self, code: Code, text: str) -> None:
        """Say goodbye to all viewers, and to any that come now."""
        self._ended = RemoteProtocolError(code, text)
        for viewer in list(self._viewers.values()):
            viewer.leave(code, text)


def _check_size(display: Display) -> None:
    """Raise DisplayLost where coordinates would not fit the wire."""
    width, height = display.size
    if max(width, height) > MAX_SIDE:
        raise DisplayLost(f"the screen of display {display.name} is {width}x{height}; {MAX_SIDE} a side is the most")
