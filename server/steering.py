"""One viewer's input on its way to the display: in order, while it holds control, and let go of afterwards."""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Final, Protocol

import trio

from tilewire.protocol import NoticeCode, Point
from tilewire.protocol import messages as m
from tilewire.protocol.constants import INPUT_ECHO_MS
from tilewire.server.inputs import Hand
from tilewire.server.view import View
from tilewire.server.x11.inputs import Input

if TYPE_CHECKING:
    from tilewire.server.session import Session

MAX_INPUTS: Final = 256
"""Inputs that wait for the X server; beyond, the reader waits and the peer's TCP with it."""

InputMessage = m.Pointer | m.Touch | m.Wheel | m.Key | m.TextInput
INPUT_MESSAGES: Final = (m.Pointer, m.Touch, m.Wheel, m.Key, m.TextInput)
Item = InputMessage | m.ResizeSession | bytes | None
"""bytes: the clipboard's new text. None: look whether control was lost."""
MAX_CLIPBOARDS: Final = 2
"""Texts that wait, of 256 KiB each; beyond, the reader waits."""


class Host(Protocol):
    """Whose input it is."""

    @property
    def view(self) -> View:
        """In force."""

    def follow(self, pointer: Point) -> None:
        """Its own hand moved the session's pointer."""

    def catch_up(self) -> None:
        """Its hand is at rest, perhaps: what it put off can be done."""

    def notice(self, code: NoticeCode, text: str = "") -> None:
        """Tell the device."""

    def tell_view(self) -> None:
        """Say which view is in force."""

    def wake(self) -> None:
        """Something is to be written."""


class Steering:
    """The input of one viewer. What is put in is carried out by `run`, one after the other."""

    def __init__(self, session: Session, host: Host, number: int, density: int | None) -> None:
        self._session = session
        self._host = host
        self._number = number
        self._density = density
        self._hand = Hand(number, density)
        self._send, self._items = trio.open_memory_channel[Item](MAX_INPUTS)
        self._injected: deque[tuple[int, int, float]] = deque(maxlen=MAX_INPUTS)
        """(serial at the display, number of the input, when confirmed) of inputs not echoed yet."""
        self._echoed = 0
        self._serial = 0
        """Of the last that was injected."""
        self._waiting = 0
        """Inputs that were put in and are not carried out."""
        self._steered = False
        """Whether the hand may hold something."""
        self._clipboards = trio.Semaphore(MAX_CLIPBOARDS)

    @property
    def settled(self) -> bool:
        """Whether the session knows where the pointer is after all of this viewer's input."""
        return not self._waiting and self._session.pointer_serial >= self._serial

    @property
    def at_rest(self) -> bool:
        """Whether nothing that it does would miss its place if the view moved."""
        return self.settled and self._hand.settled

    async def put(self, item: Item) -> None:
        """Have this carried out; waits while too much is waiting."""
        if isinstance(item, INPUT_MESSAGES):
            self._waiting += 1
        elif isinstance(item, bytes):
            await self._clipboards.acquire()
        await self._send.send(item)

    def control_lost(self) -> None:
        """Let go of what is held."""
        if self._steered:
            with suppress(trio.WouldBlock):
                # A full channel wakes the task up as well.
                self._send.send_nowait(None)

    async def run(self) -> None:
        """Carry out what is put in, for ever. Raises DisplayLost."""
        while True:
            items = await self._some()
            for kind, run in groupby(items, key=_kind):
                group = list(run)
                if self._session.holder_number != self._number:
                    await self._refuse(group)
                elif kind is m.ResizeSession:
                    await self._resize(group[-1])
                elif isinstance(last := group[-1], bytes):
                    await self._session.set_clipboard(last, self._number)
                else:
                    await self._inject([item for item in group if isinstance(item, INPUT_MESSAGES)])
                self._waiting -= sum(isinstance(item, INPUT_MESSAGES) for item in group)
                for item in group:
                    if isinstance(item, bytes):
                        self._clipboards.release()
            self._host.catch_up()
            self._host.wake()

    async def _some(self) -> list[Item]:
        """What waits, at least one; nothing where the hand has something to do before anything came."""
        items: list[Item] = []
        due = self._hand.deadline_s
        with trio.CancelScope(deadline=math.inf if due is None else due):
            items.append(await self._items.receive())
        # What waits comes before what time does.
        with suppress(trio.WouldBlock):
            while True:
                items.append(self._items.receive_nowait())
        return items or [None]

    async def _refuse(self, group: list[Item]) -> None:
        """This viewer does not hold control, perhaps not any more."""
        if self._steered:
            self._steered = False
            self._hand = Hand(self._number, self._density)
            await self._session.release(self._number)
        if isinstance(group[-1], bytes):
            self._host.notice(NoticeCode.CLIPBOARD, "only who steers sets the session's clipboard")
        elif any(item is not None for item in group):
            self._host.notice(NoticeCode.VIEW_ONLY)
        if isinstance(group[-1], m.ResizeSession):
            self._host.tell_view()

    async def _inject(self, batch: list[InputMessage]) -> None:
        self._steered = True
        if not batch:
            await self._move([])
        for are_fingers, run in groupby(batch, key=lambda message: isinstance(message, m.Touch)):
            group = list(run)
            rest = await self._touch(group) if are_fingers else group
            await self._move(rest)
            if len(rest) < len(group):
                # What the program was told past the display is in what it draws from now on.
                await self._confirm([], group)

    async def _touch(self, group: list[InputMessage]) -> list[InputMessage]:
        """Give fingers to a program that takes them as they are; returns those that have to be made a pointer."""
        view = self._host.view
        for number, message in enumerate(group):
            assert isinstance(message, m.Touch)
            fingers = {each.finger: view.input_point(each.position) for each in message.fingers}
            if not await self._session.touch(fingers, owner=self._number):
                return group[number:]
        return []

    async def _move(self, batch: list[InputMessage]) -> None:
        """By hand, that is with the display's pointer and keyboard."""
        now = trio.current_time()
        inputs, pointer = self._hand.translate(batch, self._host.view, now)
        if pointer is not None:
            self._host.follow(pointer)
        if not inputs and not batch:
            # Time had nothing for the hand to do.
            return
        await self._confirm(inputs, batch)

    async def _confirm(self, inputs: list[Input], batch: list[InputMessage]) -> None:
        """Have it done, and know what it was for."""
        serial, untyped = await self._session.inject(inputs, owner=self._number)
        self._serial = serial
        if untyped:
            self._host.notice(NoticeCode.NOT_TYPED)
        if batch:
            self._injected.append((serial, batch[-1].input, trio.current_time()))

    async def _resize(self, wanted: Item) -> None:
        assert isinstance(wanted, m.ResizeSession)
        refusal = await self._session.resize((wanted.width, wanted.height))
        if refusal is not None:
            self._host.notice(NoticeCode.UNSUPPORTED, refusal)
        if not self._session.is_resizing:
            self._host.tell_view()

    # The echo.

    def newest(self, serial: int) -> int:
        """The newest input that was injected when the display's `serial` was; it counts as echoed."""
        while self._injected and self._injected[0][0] <= serial:
            self._echoed = self._injected.popleft()[1]
        return self._echoed

    def overdue(self, now_s: float) -> tuple[int | None, float]:
        """The newest input that no update has named for too long, None: none is; and when the next one will be."""
        echoed = self._echoed
        while self._injected and self._injected[0][2] + INPUT_ECHO_MS / 1000 <= now_s:
            self._echoed = self._injected.popleft()[1]
        due = self._injected[0][2] + INPUT_ECHO_MS / 1000 if self._injected else math.inf
        return (self._echoed if self._echoed != echoed else None), due


def _kind(item: Item) -> type:
    if item is None or isinstance(item, INPUT_MESSAGES):
        return object
    return type(item)
