"""The thread that owns a display's X connections.

python-xlib and mss block, and a program that grabs the X server may hold their requests for as long as it
likes. So both live here; the rest of the server asks by a queue and an eventfd and is answered through trio's
own entry. The thread sleeps in one poll() on the X socket and the eventfd. It never wakes up by itself,
except while a text waits for programs to learn new keys, and when a clipboard was waited for in vain.

It is a daemon thread: `abort` frees it from any wait on a socket that it has shown, but XCB shows none before
the X server has answered it once, and a server stopped in just that moment must not keep the process alive.
"""

from __future__ import annotations

import logging
import math
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVarTuple, Unpack

import trio
from Xlib import X, error
from Xlib.ext.damage import DamageNotify
from Xlib.protocol import event

from tilewire.protocol.geometry import Rect
from tilewire.server.x11.bell import Bell
from tilewire.server.x11.cursors import Cursors, CursorShape, Place
from tilewire.server.x11.errors import DisplayError, DisplayLost, DisplayRefused
from tilewire.server.x11.inputs import Button, Input, Key, PointerMove, Text
from tilewire.server.x11.keyboard import Keyboard, Waits
from tilewire.server.x11.pixels import DEPTHS, ConnectionBroken, Grabber, StaleSize, open_grabber
from tilewire.server.x11.regions import clip, coalesce
from tilewire.server.x11.requests import Box, create_region, fetch_region
from tilewire.server.x11.selections import Selections
from tilewire.server.x11.sizes import Sizes
from tilewire.server.x11.wire import Wire

logger = logging.getLogger(__name__)

Args = TypeVarTuple("Args")

# A screen that changes its size between every two tries is not worth waiting for.
_SIZE_TRIES = 5


@dataclass(frozen=True, slots=True)
class Patch:
    """A rectangle of the screen and its pixels: blue, green, red, unused byte; width * 4 bytes a row."""

    rect: Rect
    pixels: bytearray


@dataclass(frozen=True, slots=True)
class Capture:
    """What the screen shows where it changed.

    `damage` is what X named, on a screen of `size`; `patches` cover it, may have more, and may overlap.
    `newest_input` is the serial of the newest inject that the X server had confirmed before the damage was
    read, None before the first.
    """

    size: tuple[int, int]
    damage: tuple[Rect, ...]
    patches: tuple[Patch, ...]
    newest_input: int | None


class CaptureOrder:
    """Take the damage and read the pixels there; those of the whole screen if so asked."""

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        # Set by trio's thread: nobody waits any more. What it took, or would have taken, is the next one's.
        self.abandoned = False
        self.capture: Capture | None = None


@dataclass(slots=True, eq=False)
class InjectOrder:
    """Carry out a viewer's input."""

    owner: int
    serial: int
    inputs: tuple[Input, ...]
    untyped: int = 0
    """Keys and characters for which the keyboard had no key, once it is done."""


@dataclass(frozen=True, slots=True, eq=False)
class ReleaseOrder:
    """Let go of everything that a viewer holds."""

    owner: int


class ResizeOrder:
    """Give the screen another size."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.refusal: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WantOrder:
    """Whether what programs put on the clipboard is to be told."""

    wanted: bool


@dataclass(frozen=True, slots=True, eq=False)
class OfferOrder:
    """Put a viewer's text in UTF-8 on the clipboard."""

    owner: int
    text: bytes


Order = CaptureOrder | InjectOrder | ReleaseOrder | ResizeOrder | WantOrder | OfferOrder


class Listener(Protocol):
    """Who hears from the thread. Called in trio's thread, in the order in which things happened."""

    def opened(self, size: tuple[int, int], largest: tuple[int, int]) -> None:
        """Both connections stand; the screen is as large as that, and may become as large as this."""

    def resized(self, size: tuple[int, int]) -> None:
        """The screen has another size."""

    def dirty(self, captures: int) -> None:
        """The screen changed after that many captures had taken their damage."""

    def answered(self, order: Order, captures: int) -> None:
        """An order is done; so many captures had taken their damage by then."""

    def failed(self, problem: DisplayError) -> None:
        """The display cannot be used any more."""

    def cursor(self, shape: CursorShape | None) -> None:
        """The pointer has another shape."""

    def pointed(self, place: Place, news: bool) -> None:
        """Where the pointer is; whether that is not where it was, or not where input sent it."""

    def rang(self) -> None:
        """The bell rang, perhaps more than once."""

    def clipboard(self, text: str, owner: int) -> None:
        """A viewer, or a program (0), has put a text on the clipboard."""

    def clipboard_failed(self, reason: str) -> None:
        """A program has put something there that cannot be had."""

    def ended(self) -> None:
        """The thread is about to be gone."""


class XThread:
    """A display's X connections and the thread that uses them."""

    def __init__(self, name: str, listener: Listener, token: trio.lowlevel.TrioToken, settle_s: float) -> None:
        self._name = name
        self._listener = listener
        self._token = token
        self._settle_s = settle_s
        # The doorbell rings once for whatever stands in the queue; the lock keeps both in step.
        self._orders: list[Order] = []
        self._orders_lock = threading.Lock()
        self._doorbell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        self._aborted = False
        # Second handles on the connections, for `abort`; the lock keeps it and connecting apart.
        self._taps: list[socket.socket] = []
        self._taps_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"display {name}", daemon=True)
        # Since when (time.monotonic) the thread has been waiting for the X server; None while it is not.
        self.waiting_since: float | None = None
        # How often the thread woke up.
        self.wakeups = 0

        self._wire: Wire
        self._grabber: Grabber
        # What the listener has not been told yet.
        self._untold: list[Callable[[], object]] = []
        self._keyboard: Keyboard
        self._cursors: Cursors
        self._bell: Bell
        self._selections: Selections
        self._sizes: Sizes
        self._size = (0, 0)
        self._resized = False
        self._damage = 0
        self._region = 0
        self._captures = 0
        # The last capture's damage, and that of captures for which nobody waited in the end.
        self._taken: tuple[CaptureOrder, tuple[Rect, ...]] | None = None
        self._owed: list[Rect] = []
        self._newest_input: int | None = None
        # Where the batch under way has sent the pointer last.
        self._sent_to: tuple[int, int] | None = None
        self._buttons: dict[int, set[int]] = {}
        self._typing: deque[InjectOrder | ReleaseOrder] = deque()
        self._running: Waits | None = None
        self._resume_at = 0.0

    # For trio's thread.

    def start(self) -> None:
        """Begin to connect; the listener hears of it."""
        self._thread.start()

    def submit(self, order: Order) -> None:
        """Hand over an order; the listener hears when it is done."""
        with self._orders_lock:
            self._orders.append(order)
            os.eventfd_write(self._doorbell, 1)

    def stop(self) -> None:
        """Let go of everything held, disconnect and end; the listener hears of it."""
        self._stopping = True
        os.eventfd_write(self._doorbell, 1)

    def abort(self) -> None:
        """Cut both connections: the thread leaves whatever it waits for, and ends."""
        with self._taps_lock:
            self._aborted = True
            for tap in self._taps:
                _cut(tap)

    def join(self, timeout_s: float) -> None:
        """Wait until the thread is gone and free what it leaves. Where it is stuck after all it keeps its
        sockets.
        """
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.warning("display %s: its thread is stuck in a call to the X server", self._name)
            return
        for tap in self._taps:
            tap.close()
        os.close(self._doorbell)

    # In the thread: its life.

    def _run(self) -> None:
        try:
            self._live()
        except DisplayError as problem:
            self._tell(self._listener.failed, problem)
        except (error.ConnectionClosedError, ConnectionBroken, OSError) as problem:
            logger.debug("display %s: %r", self._name, problem)
            ended = DisplayLost(f"the X server of display {self._name} ended the connection")
            self._tell(self._listener.failed, ended)
        except Exception as problem:
            # Nothing may leave trio waiting for a thread that is gone.
            logger.debug("display %s", self._name, exc_info=True)
            failed = DisplayLost(f"display {self._name} failed: {type(problem).__name__}: {problem}")
            self._tell(self._listener.failed, failed)
        finally:
            self._tell(self._listener.ended)
            self._deliver()

    def _tell(self, what: Callable[[Unpack[Args]], object], *args: *Args) -> None:
        """Have the listener hear something, in this order, when `_deliver` is called."""
        self._untold.append(partial(what, *args))

    def _deliver(self) -> None:
        # All at once: to wake trio's thread for each costs more than most of what is told.
        untold, self._untold = self._untold, []
        if untold:
            # Once trio has ended nobody is left to hear it.
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(_call_all, untold)

    def _answer(self, order: Order) -> None:
        self._tell(self._listener.answered, order, self._captures)
        self._deliver()

    def _live(self) -> None:
        self.waiting_since = time.monotonic()
        self._wire = Wire(self._name, self._tap)
        try:
            self.waiting_since = time.monotonic()
            # mss would not close its connection when it finds out by itself.
            if self._wire.screen.root_depth not in DEPTHS:
                bits = f"its screen has {self._wire.screen.root_depth} bits a pixel; 24 or 32 are needed"
                raise DisplayError(f"cannot show display {self._name}: {bits}")
            self._grabber = open_grabber(self._name, self._tap, self._wire)
            try:
                self._prepare()
                self._serve()
            finally:
                self._grabber.close()
        finally:
            # Without python-xlib's own close, which would try to send what is left.
            if self._wire.socket_error is None:
                self._wire.close_internal("client")

    def _tap(self, descriptor: int) -> None:
        tap = socket.socket(fileno=os.dup(descriptor))
        with self._taps_lock:
            self._taps.append(tap)
            if self._aborted:
                _cut(tap)

    def _prepare(self) -> None:
        wire = self._wire
        wire.watch_root()
        self._region = create_region(wire)
        self._damage = wire.create_damage()
        self._size = wire.screen_size()
        self._keyboard = Keyboard(wire, time.monotonic, self._settle_s)
        self._bell = Bell(wire)
        self._cursors = Cursors(
            wire,
            lambda shape: self._tell(self._listener.cursor, shape),
            lambda place, news: self._tell(self._listener.pointed, place, news),
        )
        self._selections = Selections(
            wire,
            time.monotonic,
            lambda text: self._tell(self._listener.clipboard, text, 0),
            lambda reason: self._tell(self._listener.clipboard_failed, reason),
        )
        self._sizes = Sizes(wire)
        self.waiting_since = None
        self._tell(self._listener.opened, self._size, self._sizes.largest or self._size)
        self._deliver()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._wire.fileno(), select.POLLIN)
        poll.register(self._doorbell, select.POLLIN)
        while not self._stopping:
            self._wire.push()
            # An answer that was awaited may have brought reports along; those make no socket readable.
            if not self._wire.has_events:
                poll.modify(self._wire.fileno(), select.POLLIN | (select.POLLOUT if self._wire.has_unsent else 0))
                poll.poll(self._timeout_ms())
                self.wakeups += 1
            with self._orders_lock:
                orders, self._orders = self._orders, []
                with suppress(BlockingIOError):
                    os.eventfd_read(self._doorbell)
            self._read_events()
            self._deliver()
            for order in orders:
                if isinstance(order, CaptureOrder):
                    self._capture(order)
                elif isinstance(order, ResizeOrder):
                    self._resize(order)
                elif isinstance(order, WantOrder | OfferOrder):
                    self._do_with_clipboard(order)
                else:
                    self._typing.append(order)
                    self._type_on()
            self._type_on()
            self._catch_up()
        self._let_go()

    def _timeout_ms(self) -> int | None:
        if self._selections.is_behind and not self._wire.has_unsent:
            return 0
        times = [] if self._running is None else [self._resume_at]
        if self._selections.deadline is not None:
            times.append(self._selections.deadline)
        return max(0, math.ceil((min(times) - time.monotonic()) * 1000)) if times else None

    # Reports of the X server.

    def _read_events(self, subtracted: int | None = None) -> None:
        """Take the server's reports.

        `subtracted` is the sequence number of a subtraction whose answer was just read.
        """
        size: tuple[int, int] | None = None
        for report in self._wire.events():
            # Any client may send us a likeness of any report. This one comes from other clients alone.
            if report.send_event and not isinstance(report, event.SelectionNotify):
                continue
            self._cursors.heed(report)
            self._bell.heed(report)
            self._selections.heed(report)
            if isinstance(report, DamageNotify):
                # Damage reported before the subtraction has been taken by it.
                if subtracted is None or (report.sequence_number - subtracted) % 65536 < 32768:
                    self._tell(self._listener.dirty, self._captures)
            elif isinstance(report, event.ConfigureNotify):
                if report.window == self._wire.root:
                    # Of several only the last is still true.
                    size = (report.width, report.height)
            elif isinstance(report, event.MappingNotify):
                # Request 2 is about the pointer's buttons; the others name keycodes, or modifiers by a count
                # of 0.
                if report.request != X.MappingPointer:
                    self._keyboard.mapping_changed(report.first_keycode, report.count)
        if size is not None:
            self._set_size(size)

    def _catch_up(self) -> None:
        """Tell, and where it must be asked ask, what the server's reports were about: once for all of them."""
        if self._bell.take():
            self._tell(self._listener.rang)
        self.waiting_since = time.monotonic()
        if self._cursors.is_behind:
            self._cursors.catch_up(self._newest_input or 0)
        self._selections.catch_up()
        self.waiting_since = None
        self._deliver()

    def _set_size(self, size: tuple[int, int]) -> None:
        if size == self._size:
            return
        self._size = size
        self._resized = True
        self._cursors.doubt()
        self._tell(self._listener.resized, size)
        self._tell(self._listener.dirty, self._captures)

    def _resize(self, order: ResizeOrder) -> None:
        self.waiting_since = time.monotonic()
        try:
            self._sizes.resize(order.width, order.height)
        except DisplayRefused as problem:
            order.refusal = str(problem)
        self.waiting_since = None
        # The server has reported the new size before it answered.
        self._read_events()
        self._answer(order)

    def _do_with_clipboard(self, order: WantOrder | OfferOrder) -> None:
        self.waiting_since = time.monotonic()
        if isinstance(order, WantOrder):
            self._selections.want(order.wanted)
        else:
            self._selections.offer(order.text)
            self._wire.sync()
            # Among its reports is the time at which the clipboard can be taken.
            self._read_events()
            self._tell(self._listener.clipboard, order.text.decode(), order.owner)
        self._wire.sync()
        self.waiting_since = None
        self._answer(order)

    # Pixels.

    def _capture(self, order: CaptureOrder) -> None:
        # An order that comes after an abandoned one sees that it was: it was sent later.
        if self._taken is not None and self._taken[0].abandoned:
            self._owed += self._taken[1]
        self._taken = None
        if not order.abandoned:
            self.waiting_since = time.monotonic()
            # Subtract first, grab then: what is drawn in between is grabbed now and reported again.
            subtracted = self._wire.subtract_damage(self._damage, self._region)
            self._captures += 1
            place = self._cursors.ask()
            boxes = fetch_region(self._wire, self._region)
            self._cursors.learn(place, self._newest_input or 0)
            self._read_events(subtracted)
            whole = order.whole or self._resized
            self._resized = False
            boxes += [(rect.x, rect.y, rect.width, rect.height) for rect in self._owed]
            self._owed = []
            capture = self._grab(boxes, whole=whole)
            self._taken = (order, capture.damage)
            order.capture = capture
            self.waiting_since = None
        self._answer(order)

    def _grab(self, boxes: Sequence[Box], *, whole: bool) -> Capture:
        reason = ""
        for _ in range(_SIZE_TRIES):
            width, height = self._size
            damage = [Rect(0, 0, width, height)] if whole else clip(boxes, width, height)
            patches: list[Patch] = []
            try:
                for rect in coalesce(damage):
                    self.waiting_since = time.monotonic()
                    patches.append(Patch(rect, self._grabber.grab(rect)))
            except StaleSize as problem:
                reason = str(problem)
                logger.debug("display %s: %s", self._name, reason)
                self._regrab()
                whole = True
                continue
            return Capture(self._size, tuple(damage), tuple(patches), self._newest_input)
        raise DisplayLost(f"nobody can read the pixels of display {self._name}: {reason}")

    def _regrab(self) -> None:
        """Attach mss anew: its shared memory is as large as the screen was when it attached."""
        self._grabber.close()
        with self._taps_lock:
            for tap in self._taps[1:]:
                tap.close()
            del self._taps[1:]
        self._grabber = open_grabber(self._name, self._tap, self._wire)
        self._set_size(self._wire.screen_size())

    # Input.

    def _type_on(self) -> None:
        """Go on with input, in the order in which it came, until it has to wait or is done."""
        while self._running is not None or self._typing:
            if self._running is None:
                self._running = self._carry_out(self._typing.popleft())
            elif time.monotonic() < self._resume_at:
                return
            self.waiting_since = time.monotonic()
            wait = next(self._running, None)
            self.waiting_since = None
            if wait is not None:
                self._resume_at = time.monotonic() + wait
                return
            self._running = None

    def _carry_out(self, order: InjectOrder | ReleaseOrder) -> Waits:
        if isinstance(order, ReleaseOrder):
            self._release_all(order.owner)
            self._wire.sync()
        else:
            self._sent_to = None
            untyped = self._keyboard.untyped
            for item in order.inputs:
                yield from self._put_in(order.owner, item)
            order.untyped = self._keyboard.untyped - untyped
            # Its answer also says that the server has carried out everything before it.
            self._cursors.learn(self._cursors.ask(), order.serial, self._sent_to)
            self._newest_input = order.serial
        # What the input changed at once is known before the input counts as done.
        self._read_events()
        self._answer(order)

    def _put_in(self, owner: int, item: Input) -> Waits:
        match item:
            case PointerMove(x, y):
                self._wire.move_pointer(x, y)
                self._sent_to = (x, y)
            case Button(number, pressed):
                self._press_button(owner, number) if pressed else self._release_button(owner, number)
            case Key(keysym, True):
                yield from self._keyboard.press(owner, keysym)
            case Key(keysym, _):
                self._keyboard.release(owner, keysym)
            case Text(text):
                yield from self._keyboard.type_text(text)

    def _press_button(self, owner: int, number: int) -> None:
        holders = self._buttons.setdefault(number, set())
        if owner in holders:
            # The wheel, from a device that sends no releases for it.
            self._wire.feed(number, False, button=True)
        if not holders - {owner}:
            self._wire.feed(number, True, button=True)
        holders.add(owner)

    def _release_button(self, owner: int, number: int) -> None:
        holders = self._buttons.get(number, set())
        if owner in holders:
            holders.remove(owner)
            if not holders:
                self._wire.feed(number, False, button=True)

    def _release_all(self, owner: int) -> None:
        for number in list(self._buttons):
            self._release_button(owner, number)
        self._keyboard.release_all(owner)

    def _let_go(self) -> None:
        """Leave the display as it was found: nothing held, no borrowed keys."""
        self.waiting_since = time.monotonic()
        if self._running is not None:
            self._running.close()
        for owner in {
            *self._keyboard.owners(),
            *(owner for held in self._buttons.values() for owner in held),
        }:
            self._release_all(owner)
        self._keyboard.give_back()
        self._wire.sync()
        self.waiting_since = None


def _call_all(calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        call()


def _cut(tap: socket.socket) -> None:
    # The other side may have ended it already.
    with suppress(OSError):
        tap.shutdown(socket.SHUT_RDWR)
