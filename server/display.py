"""A display: one X screen, seen and driven from trio.

    async with open_display(":5") as display:
        while True:
            await display.wait_damage()
            capture = await display.capture()

Its X connections live in a thread of their own (`tilewire.server.x11.thread`), so a stopped or grabbed X
server stalls its own display alone. Every way in which it can go ends in DisplayLost with one plain sentence.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from tilewire.protocol.constants import MAX_CLIPBOARD
from tilewire.server.x11.cursors import CursorShape, Place
from tilewire.server.x11.errors import DisplayError, DisplayLost, DisplayRefused
from tilewire.server.x11.inputs import Button, Input, Key, PointerMove, Text
from tilewire.server.x11.keyboard import SETTLE_S
from tilewire.server.x11.news import (
    BellRang,
    ClipboardFailed,
    ClipboardText,
    CursorChanged,
    News,
    NewsBox,
    PointerMoved,
    Stalled,
)
from tilewire.server.x11.thread import (
    Capture,
    CaptureOrder,
    InjectOrder,
    OfferOrder,
    Order,
    Patch,
    ReleaseOrder,
    ResizeOrder,
    WantOrder,
    XThread,
)

__all__ = [
    "BellRang",
    "Button",
    "Capture",
    "ClipboardFailed",
    "ClipboardText",
    "CursorChanged",
    "CursorShape",
    "Display",
    "DisplayError",
    "DisplayLost",
    "DisplayRefused",
    "Input",
    "Key",
    "News",
    "NewsFeed",
    "Patch",
    "PointerMove",
    "PointerMoved",
    "Stalled",
    "Text",
    "open_display",
]

STALL_LIMIT_S = 10.0
STALL_NOTICE_S = 2.0
# What a server that answers needs to let go of keys and disconnect is a millisecond.
_FAREWELL_S = 1.0


class _Ledger:
    """What trio's side knows of the display's thread; it hears from it as a `thread.Listener`."""

    def __init__(self) -> None:
        self.size = (0, 0)
        self.largest = (0, 0)
        self.lost: DisplayError | None = None
        self.opening = trio.Event()
        self.end = trio.Event()
        self.waiting: dict[Order, trio.Event] = {}
        # A capture was cancelled, and may have taken damage with it.
        self.owing = False
        # Set, and replaced, when the screen turned dirty or the display was lost.
        self.change = trio.Event()
        # The newest dirty notice and the newest capture, both as counts of captures: the screen is dirty
        # while the notice is not older.
        self._noticed = -1
        self._covered = 0
        self.shape: CursorShape | None = None
        self.place = Place(0, 0, 0)
        self._news = NewsBox()
        self._stalled_since = 0.0
        # Set, and replaced, when there is news or the display was lost.
        self._novelty = trio.Event()

    @property
    def is_dirty(self) -> bool:
        """Whether the screen differs from what the last capture gave."""
        return self.owing or self._noticed >= self._covered

    def check(self) -> None:
        """Raise what the display was lost by."""
        if self.lost is not None:
            # A new one each time: a shared one would collect the tracebacks of all who are told.
            raise type(self.lost)(*self.lost.args)

    def opened(self, size: tuple[int, int], largest: tuple[int, int]) -> None:
        self.size = size
        self.largest = largest
        self.opening.set()

    def resized(self, size: tuple[int, int]) -> None:
        self.size = size

    def dirty(self, captures: int) -> None:
        self._noticed = captures
        self._wake()

    def answered(self, order: Order, captures: int) -> None:
        self._covered = captures
        done = self.waiting.get(order)
        if done is not None:
            done.set()

    def cursor(self, shape: CursorShape | None) -> None:
        self.shape = shape
        self._report(CursorChanged(shape))

    def pointed(self, place: Place, news: bool) -> None:
        self.place = place
        if news:
            self._report(PointerMoved(place.x, place.y, place.serial))

    def rang(self) -> None:
        self._report(BellRang())

    def clipboard(self, text: str, owner: int) -> None:
        self._report(ClipboardText(text, owner))

    def clipboard_failed(self, reason: str) -> None:
        self._report(ClipboardFailed(reason))

    def stalled(self, since: float) -> None:
        """The X server has not answered since then."""
        if since != self._stalled_since:
            self._stalled_since = since
            self._report(Stalled())

    async def next_news(self) -> News:
        """The next piece of news. Raises what the display was lost by, and then no more news."""
        self.check()
        while (news := self._news.take()) is None:
            await self._novelty.wait()
            self.check()
        return news

    def _report(self, news: News) -> None:
        self._news.put(news)
        self._herald()

    def _herald(self) -> None:
        self._novelty.set()
        self._novelty = trio.Event()

    def failed(self, problem: DisplayError) -> None:
        if self.lost is None:
            was_open = self.opening.is_set()
            self.lost = DisplayLost(str(problem)) if was_open else problem
        for done in (self.opening, *self.waiting.values()):
            done.set()
        self._wake()
        self._herald()

    def ended(self) -> None:
        self.end.set()

    def _wake(self) -> None:
        if self.is_dirty or self.lost is not None:
            self.change.set()
            self.change = trio.Event()


class NewsFeed:
    """A display's news as they come: `async for news in display.news()`. Raises DisplayLost; it never ends otherwise.

    Of each kind only the newest is kept for a reader that is slow, so it costs no memory.
    """

    def __init__(self, ledger: _Ledger) -> None:
        self._ledger = ledger

    def __aiter__(self) -> NewsFeed:
        return self

    async def __anext__(self) -> News:
        await trio.lowlevel.checkpoint()
        return await self._ledger.next_news()


class Display:
    """An open X screen; made by `open_display`.

    One task may wait for damage and capture, and one may read the news; any may inject.
    """

    def __init__(self, name: str, thread: XThread, ledger: _Ledger, stall_limit_s: float) -> None:
        self._name = name
        self._thread = thread
        self._ledger = ledger
        self._stall_limit_s = stall_limit_s

    @property
    def name(self) -> str:
        """As X calls it: ":5"."""
        return self._name

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as last reported."""
        return self._ledger.size

    @property
    def max_size(self) -> tuple[int, int]:
        """The most pixels of width and of height for `resize`; the size at first where it can do nothing."""
        return self._ledger.largest

    @property
    def is_dirty(self) -> bool:
        """Whether the screen differs from what the last capture gave."""
        return self._ledger.is_dirty

    @property
    def wakeups(self) -> int:
        """How often the display's thread has woken up: an idle screen leaves it as it is."""
        return self._thread.wakeups

    @property
    def cursor(self) -> CursorShape | None:
        """What the pointer looks like; None where it has no shape, or one too large to be meant."""
        return self._ledger.shape

    @property
    def pointer(self) -> tuple[int, int]:
        """The pointer's x and y in pixels of the screen, as last learnt.

        That is with each capture, with the end of each inject, and when the X server reports that a device or another
        program moved it. (XWarpPointer is not reported.)
        """
        return self._ledger.place.x, self._ledger.place.y

    @property
    def pointer_serial(self) -> int:
        """The newest inject whose input is in `pointer`; 0 before the first."""
        return self._ledger.place.serial

    def news(self) -> NewsFeed:
        """What happens besides damage, for one reader. At first the pointer's shape and place are news."""
        return NewsFeed(self._ledger)

    async def wait_damage(self) -> None:
        """Return when the screen differs from the last capture, at once if it does already. Grabs nothing.

        Raises DisplayLost.
        """
        await trio.lowlevel.checkpoint()
        self._ledger.check()
        while not self._ledger.is_dirty:
            await self._ledger.change.wait()
            self._ledger.check()

    async def capture(self) -> Capture:
        """Take the damage and read the pixels there. Without damage a capture is empty.

        A cancelled capture loses nothing: the next one has its damage. Raises DisplayLost.
        """
        return await self._capture(whole=False)

    async def capture_all(self) -> Capture:
        """Take the damage and read the whole screen. Raises DisplayLost."""
        return await self._capture(whole=True)

    async def inject(self, inputs: Sequence[Input], *, owner: int, serial: int) -> int:
        """Carry out a viewer's input; returns when the X server has confirmed it, how many keys and characters there
        were that the keyboard has no key for.

        Batches are carried out in the order of the calls, and each `serial` is larger than the last. Text
        with characters that the keymap lacks takes 0.1 s or more, during which captures go on and other input
        queues up. Once begun, a batch is carried out even if the call is cancelled. Raises DisplayLost.
        """
        order = InjectOrder(owner, serial, tuple(inputs))
        await self._ask(order)
        return order.untyped

    async def release_all(self, owner: int) -> None:
        """Let go of every key and button that a viewer holds, after the input it has sent. Raises
        DisplayLost.
        """
        await self._ask(ReleaseOrder(owner))

    async def resize(self, width: int, height: int) -> None:
        """Give the screen another size in pixels; when this returns `size` is that, and the next capture is whole.

        Raises DisplayRefused, and nothing has changed, where the X server cannot do it; DisplayLost.
        """
        order = ResizeOrder(width, height)
        await self._ask(order)
        if order.refusal is not None:
            raise DisplayRefused(order.refusal)

    async def set_clipboard(self, text: str, *, owner: int) -> None:
        """Put a viewer's text on the session's clipboard, and in what its terminals paste (PRIMARY).

        It is news as a program's text is: which of several was the last, the order of the news says.

        Raises ValueError where it is more than MAX_CLIPBOARD bytes in UTF-8 or has half of a surrogate pair;
        DisplayLost.
        """
        data = text.encode()
        if len(data) > MAX_CLIPBOARD:
            raise ValueError(f"a clipboard holds {MAX_CLIPBOARD} bytes, not {len(data)}")
        await self._ask(OfferOrder(owner, data))

    def want_clipboard(self, wanted: bool) -> None:
        """Whether what programs put on the clipboard is to be news; at first it is not, and nobody is asked for it.

        What is there already becomes news when it is first wanted.
        """
        self._ledger.check()
        self._thread.submit(WantOrder(wanted))

    async def _capture(self, *, whole: bool) -> Capture:
        order = CaptureOrder(whole=whole)
        self._ledger.owing = False
        try:
            await self._ask(order)
        except BaseException:
            # It may not have begun, be under way or be done: the thread gives its damage to the next.
            order.abandoned = True
            self._ledger.owing = True
            raise
        # The thread keeps the order until the next one, but nobody needs its pixels twice.
        capture, order.capture = order.capture, None
        if capture is None:
            self._ledger.check()
            raise AssertionError("a capture was answered without pixels")
        return capture

    async def _ask(self, order: Order) -> None:
        self._ledger.check()
        done = self._ledger.waiting[order] = trio.Event()
        try:
            self._thread.submit(order)
            await self.patiently(done)
        finally:
            del self._ledger.waiting[order]
        self._ledger.check()

    async def patiently(self, done: trio.Event) -> None:
        """Wait for the thread, but not for an X server that does not answer: then the display is lost."""
        patience_s = min(STALL_NOTICE_S, self._stall_limit_s)
        while True:
            with trio.move_on_after(patience_s):
                await done.wait()
            if done.is_set():
                return
            patience_s = min(STALL_NOTICE_S, self._stall_limit_s)
            since = self._thread.waiting_since
            if since is None:
                continue
            silent_s = time.monotonic() - since
            if silent_s >= patience_s:
                self._ledger.stalled(since)
                patience_s = self._stall_limit_s
            patience_s -= silent_s
            if patience_s <= 0:
                silence = f"did not answer for {self._stall_limit_s:g} s"
                self._ledger.failed(DisplayLost(f"the X server of display {self._name} {silence}"))
                self._thread.abort()
                return


@asynccontextmanager
async def open_display(
    name: str, *, stall_limit_s: float = STALL_LIMIT_S, settle_s: float = SETTLE_S
) -> AsyncIterator[Display]:
    """Open an X display by its name (":5").

    `stall_limit_s`: how long a question to the X server may stay without an answer before the display counts
    as lost. `settle_s`: how long programs get to learn a key that was bound for a character the keymap lacks.

    The caller's XAUTHORITY and ~/.Xauthority apply, as for any X program; servers started by `start_xvfb` let
    this user in without. Raises DisplayError when the display cannot be opened, DisplayLost when it does not
    answer.
    """
    ledger = _Ledger()
    thread = XThread(name, ledger, trio.lowlevel.current_trio_token(), settle_s)
    display = Display(name, thread, ledger, stall_limit_s)
    thread.start()
    try:
        await display.patiently(ledger.opening)
        ledger.check()
        yield display
    finally:
        if ledger.lost is None:
            ledger.failed(DisplayLost(f"display {name} was closed"))
            thread.stop()
        with trio.CancelScope(shield=True):
            for _ in range(2):
                with trio.move_on_after(_FAREWELL_S):
                    await ledger.end.wait()
                if ledger.end.is_set():
                    break
                thread.abort()
        # Its last act is to say that it ends.
        thread.join(_FAREWELL_S if ledger.end.is_set() else 0.0)
