"""The clipboard of one X server, both ways (ICCCM, section 2; XFIXES protocol, version 1).

Out of the session: when another client takes CLIPBOARD, its text is asked for; but only while somebody wants it. Into
the session: CLIPBOARD and PRIMARY (which is what a terminal pastes) are ours, and whoever asks is served. Long texts go
in parts (INCR), each way.

Whatever another client does late, wrongly or not at all ends by a limit of time and of bytes, and nobody waits for it:
its answers come as reports of the server. Only what is asked of the server itself is waited for.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from Xlib import X, Xatom, error
from Xlib.ext import xfixes
from Xlib.protocol import event, request, rq

from tilewire.protocol.constants import MAX_CLIPBOARD

if TYPE_CHECKING:
    from tilewire.server.x11.wire import Wire

logger = logging.getLogger(__name__)

STALL_S: Final = 3.0
"""As long as a client may take for its next step. (ICCCM names no time; Xt waits 5 s.)"""
READING_S: Final = 10.0
"""As long as a text may take in all: a client may make a step again and again and come to no end."""

_PART_BYTES: Final = 64 << 10
# Of transfers to clients: as many as a careful one has at once, several times over.
_MAX_SENDINGS: Final = 16
_MAX_REQUESTS: Final = 64
_MAX_PAIRS: Final = 16
# Queued at once for an X server that may not read: a request of the longest text, and one more.
_BUDGET_BYTES: Final = 512 << 10
_REQUEST_HEAD_BYTES: Final = 24
# A client that is late writes where nobody looks any more: each reading has another window than those before.
_WINDOWS: Final = 8

_SELECTION_NOTIFY: Final = 0
_TAKEN, _WINDOW_GONE, _CLIENT_GONE = 0, 1, 2
_ALL_CHANGES: Final = 1 << _TAKEN | 1 << _WINDOW_GONE | 1 << _CLIENT_GONE

_ATOMS: Final = (
    "CLIPBOARD",
    "INCR",
    "MULTIPLE",
    "TARGETS",
    "TEXT",
    "TIMESTAMP",
    "UTF8_STRING",
    "text/plain;charset=utf-8",
    "ATOM_PAIR",
    "_TILEWIRE_TEXT",
    "_TILEWIRE_TIME",
)


class OwnerNotify(rq.Event):
    """A selection has another owner, or none."""

    _code = None
    _fields = rq.Struct(
        rq.Card8("type"),
        rq.Card8("subtype"),
        rq.Card16("sequence_number"),
        rq.Card32("window"),
        rq.Card32("owner"),
        rq.Card32("selection"),
        rq.Card32("timestamp"),
        rq.Card32("selection_timestamp"),
        rq.Pad(8),
    )


class _Failed(Exception):
    """A text cannot be had, for this reason."""


@dataclass(slots=True)
class _Reading:
    """A text on its way out of the session."""

    window: int
    time: int
    targets: list[int]
    """Those not tried yet; the first is the one asked for."""
    stall_at: float
    end_at: float
    parts: bytearray | None = None
    """What has come of a text in parts; None: it comes whole, as far as is known."""
    kind: int = 0
    """The type of the parts."""
    answer: int | None = None
    """The property that the owner has answered with; 0: it refused."""
    part_there: bool = False


@dataclass(slots=True)
class _Sending:
    """A text on its way to a client, in parts."""

    kind: int
    data: bytes
    stall_at: float
    sent: int = 0
    ready: bool = False
    """The client has taken the last part."""


class Selections:
    """The selections of a display. `text_told` and `failure_told` hear what others put on the clipboard."""

    def __init__(
        self,
        wire: Wire,
        now: Callable[[], float],
        text_told: Callable[[str], None],
        failure_told: Callable[[str], None],
    ) -> None:
        self._wire = wire
        self._now = now
        self._text_told = text_told
        self._failure_told = failure_told
        asked = [request.InternAtom(display=wire, defer=True, name=name, only_if_exists=False) for name in _ATOMS]
        self._windows = [self._create_window() for _ in range(_WINDOWS)]
        self._owner = self._create_window()
        for answer in asked:
            answer.reply()
        self._atoms = {name: int(answer.atom) for name, answer in zip(_ATOMS, asked)}
        wire.expect_event("XFIXES", _SELECTION_NOTIFY, OwnerNotify)

        self._wanted = False
        # When another client took the clipboard, until that has been acted on.
        self._taken_at: int | None = None
        self._reading: _Reading | None = None
        # What we offer, by selection: the text, and the server's time since when.
        self._offered: dict[int, tuple[bytes, int]] = {}
        self._next_offer: bytes | None = None
        self._requests: deque[event.SelectionRequest] = deque()
        self._sendings: dict[tuple[int, int], _Sending] = {}

    def _create_window(self) -> int:
        window = self._wire.allocate_resource_id()
        request.CreateWindow(
            display=self._wire,
            depth=0,
            wid=window,
            parent=self._wire.root,
            x=-1,
            y=-1,
            width=1,
            height=1,
            border_width=0,
            window_class=X.InputOnly,
            visual=X.CopyFromParent,
            attrs={"override_redirect": True, "event_mask": X.PropertyChangeMask},
        )
        return window

    # For who drives it.

    def want(self, wanted: bool) -> None:
        """Whether texts of others are wanted. What is on the clipboard already comes first: one round trip."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        clipboard = self._atoms["CLIPBOARD"]
        xfixes.SelectSelectionInput(
            display=self._wire,
            opcode=self._wire.opcode("XFIXES"),
            window=self._owner,
            selection=clipboard,
            mask=_ALL_CHANGES if wanted else 0,
        )
        self._reading = self._taken_at = None
        if wanted:
            owner = request.GetSelectionOwner(display=self._wire, selection=clipboard).owner
            if owner not in (X.NONE, self._owner):
                self._taken_at = X.CurrentTime

    def offer(self, text: bytes) -> None:
        """Take both selections for a text in UTF-8.

        They are taken when the server's next reports have been heeded: only from them is its time known.
        """
        self._next_offer = text
        self._change(self._owner, self._atoms["_TILEWIRE_TIME"], Xatom.STRING, 8, b"", mode=X.PropModeAppend)

    def heed(self, report: rq.Event) -> None:
        """Take a report of the server, if it is about selections. Asks the server nothing."""
        if isinstance(report, OwnerNotify):
            self._owner_changed(report)
        elif isinstance(report, event.SelectionNotify):
            self._answered(report)
        elif isinstance(report, event.PropertyNotify):
            self._property_changed(report)
        elif isinstance(report, event.SelectionRequest):
            if len(self._requests) < _MAX_REQUESTS:
                self._requests.append(report)
            else:
                self._reply(report, X.NONE)
        elif isinstance(report, event.SelectionClear):
            _, since = self._offered.get(report.atom, (b"", 0))
            if not _is_before(report.time, since):
                self._offered.pop(report.atom, None)
        elif isinstance(report, event.DestroyNotify):
            for key in [key for key in self._sendings if key[0] == report.window]:
                del self._sendings[key]

    @property
    def deadline(self) -> float | None:
        """When `catch_up` is due though nothing was reported."""
        times = [sending.stall_at for sending in self._sendings.values()]
        if self._reading is not None:
            times.append(min(self._reading.stall_at, self._reading.end_at))
        return min(times, default=None)

    @property
    def is_behind(self) -> bool:
        """Whether `catch_up` has something to do now."""
        reading = self._reading
        return (
            self._taken_at is not None
            or bool(self._requests)
            or (reading is not None and (reading.answer is not None or reading.part_there))
            or any(sending.ready for sending in self._sendings.values())
        )

    def catch_up(self) -> None:
        """Do what reports and the time have made due."""
        if self._taken_at is not None:
            self._begin(self._taken_at)
            self._taken_at = None
        try:
            self._read_on()
        except _Failed as problem:
            self._fail(str(problem))
        self._send_on()
        budget = _BUDGET_BYTES
        while self._requests and budget > 0 and not self._wire.has_unsent:
            budget -= self._serve(self._requests.popleft())
        self._expire()

    def _expire(self) -> None:
        now = self._now()
        reading = self._reading
        if reading is not None and now >= reading.end_at:
            self._fail(f"it was not whole after {READING_S:g} s")
        elif reading is not None and now >= reading.stall_at:
            self._fail(f"its owner did nothing for {STALL_S:g} s")
        for key, sending in list(self._sendings.items()):
            if now >= sending.stall_at:
                logger.debug("a client that pastes did nothing for %g s", STALL_S)
                self._drop(key)

    # Out of the session.

    def _owner_changed(self, report: OwnerNotify) -> None:
        if not self._wanted or report.selection != self._atoms["CLIPBOARD"]:
            return
        ours = report.owner == self._owner
        if report.subtype == _TAKEN and report.owner != X.NONE and not ours:
            self._reading = None
            self._taken_at = report.timestamp
            return
        self._taken_at = None
        if ours:
            self._reading = None
        elif self._reading is not None:
            self._fail("its owner went away")

    def _begin(self, time: int) -> None:
        self._windows.append(self._windows.pop(0))
        atoms = self._atoms
        targets = [atoms["UTF8_STRING"], atoms["text/plain;charset=utf-8"], Xatom.STRING]
        now = self._now()
        self._reading = _Reading(self._windows[-1], time, targets, now + STALL_S, now + READING_S)
        self._convert(self._reading)

    def _convert(self, reading: _Reading) -> None:
        request.DeleteProperty(display=self._wire, window=reading.window, property=self._atoms["_TILEWIRE_TEXT"])
        request.ConvertSelection(
            display=self._wire,
            requestor=reading.window,
            selection=self._atoms["CLIPBOARD"],
            target=reading.targets[0],
            property=self._atoms["_TILEWIRE_TEXT"],
            time=reading.time,
        )
        reading.stall_at = self._now() + STALL_S

    def _answered(self, report: event.SelectionNotify) -> None:
        reading = self._reading
        if (
            reading is not None
            and reading.parts is None
            and (report.requestor, report.selection, report.target)
            == (reading.window, self._atoms["CLIPBOARD"], reading.targets[0])
        ):
            reading.answer = report.property

    def _read_on(self) -> None:
        """Take what the owner has put down; at most two round trips. Raises _Failed."""
        reading = self._reading
        if reading is not None and reading.answer is not None:
            answer, reading.answer = reading.answer, None
            if answer == X.NONE:
                del reading.targets[0]
                if not reading.targets:
                    raise _Failed("its owner offers no text")
                self._convert(reading)
                return
            self._read_whole(reading)
        if reading is not None and reading.part_there:
            reading.part_there = False
            self._read_part(reading)

    def _read_whole(self, reading: _Reading) -> None:
        kind, value = self._take(reading.window, MAX_CLIPBOARD)
        if kind == self._atoms["INCR"]:
            # It says how long the text is at least.
            if not isinstance(value, bytes) and value and value[0] > MAX_CLIPBOARD:
                raise _Failed(f"it is longer than {MAX_CLIPBOARD} bytes")
            reading.parts = bytearray()
            reading.stall_at = self._now() + STALL_S
            return
        self._finish(kind, value)

    def _read_part(self, reading: _Reading) -> None:
        parts = reading.parts
        assert parts is not None
        kind, value = self._take(reading.window, MAX_CLIPBOARD - len(parts))
        if kind == X.NONE:
            # Two reports about one part.
            return
        if not len(value):
            self._finish(reading.kind or kind, bytes(parts))
            return
        if not isinstance(value, bytes):
            raise _Failed("it is no text")
        reading.kind = kind
        parts += value
        reading.stall_at = self._now() + STALL_S

    def _take(self, window: int, most: int) -> tuple[int, bytes | list[int]]:
        """Read the property and remove it: its type, and its value of `most` bytes at most. Raises _Failed."""
        try:
            answer = request.GetProperty(
                display=self._wire,
                delete=True,
                window=window,
                property=self._atoms["_TILEWIRE_TEXT"],
                type=X.AnyPropertyType,
                long_offset=0,
                # In words, and one more: a byte too many is then among what comes, or left over.
                long_length=most // 4 + 1,
            )
        except error.XError:
            raise _Failed("a program has destroyed the window that it was put into") from None
        form, value = answer.value or (0, b"")
        if answer.bytes_after or (form == 8 and len(value) > most):
            raise _Failed(f"it is longer than {MAX_CLIPBOARD} bytes")
        return answer.property_type, value if form in (0, 8) else list(value)

    def _finish(self, kind: int, value: bytes | list[int]) -> None:
        if not isinstance(value, bytes):
            raise _Failed("it is no text")
        try:
            text = value.decode("latin-1" if kind == Xatom.STRING else "utf-8")
        except UnicodeDecodeError:
            raise _Failed("it is not UTF-8") from None
        if kind == Xatom.STRING and len(text.encode()) > MAX_CLIPBOARD:
            raise _Failed(f"it is longer than {MAX_CLIPBOARD} bytes")
        self._reading = None
        self._text_told(text)

    def _fail(self, reason: str) -> None:
        logger.debug("display %s: the clipboard cannot be had: %s", self._wire.display_name, reason)
        self._reading = None
        self._failure_told(reason)

    # Into the session.

    def _own(self, text: bytes, time: int) -> None:
        # What another client took before this time is no longer on the clipboard, come its text whole or not.
        self._reading = self._taken_at = None
        for selection in (self._atoms["CLIPBOARD"], Xatom.PRIMARY):
            self._offered[selection] = (text, time)
            request.SetSelectionOwner(display=self._wire, window=self._owner, selection=selection, time=time)

    def _property_changed(self, report: event.PropertyNotify) -> None:
        reading = self._reading
        if report.window == self._owner:
            if report.atom == self._atoms["_TILEWIRE_TIME"] and self._next_offer is not None:
                self._own(self._next_offer, report.time)
                self._next_offer = None
        elif report.state == X.PropertyDelete:
            sending = self._sendings.get((report.window, report.atom))
            if sending is not None:
                sending.ready = True
        elif (
            reading is not None
            and reading.parts is not None
            and (report.window, report.atom) == (reading.window, self._atoms["_TILEWIRE_TEXT"])
        ):
            reading.part_there = True

    def _serve(self, asked: event.SelectionRequest) -> int:
        """Do what a client asks for; returns how many bytes that queued, about."""
        wire = self._wire
        # Where we have windows ourselves, listening for the client would change what we listen for.
        is_ours = asked.requestor & ~wire.info.resource_id_mask == wire.info.resource_id_base
        offered = self._offered.get(asked.selection)
        if is_ours or asked.requestor == wire.root or offered is None:
            self._reply(asked, X.NONE)
            return 0
        text, since = offered
        if asked.time != X.CurrentTime and _is_before(asked.time, since):
            self._reply(asked, X.NONE)
            return 0
        # Obsolete clients name no property.
        target, into = asked.target, asked.property or asked.target
        if target == self._atoms["MULTIPLE"]:
            size = self._put_several(asked.requestor, asked.property, text, since)
        else:
            size = self._put(asked.requestor, target, into, text, since)
        self._reply(asked, into if size is not None else X.NONE)
        return size or 0

    def _put_several(self, requestor: int, pairs_in: int, text: bytes, since: int) -> int | None:
        """Serve pairs of targets and properties; those that cannot be had are named by no property."""
        try:
            answer = request.GetProperty(
                display=self._wire,
                delete=False,
                window=requestor,
                property=pairs_in,
                type=X.AnyPropertyType,
                long_offset=0,
                long_length=2 * _MAX_PAIRS,
            )
        except error.XError:
            return None
        form, value = answer.value or (0, [])
        if form != 32 or answer.bytes_after:
            return None
        total, pairs = 0, list(value)
        for at in range(0, len(pairs) - 1, 2):
            size = self._put(requestor, pairs[at], pairs[at + 1], text, since)
            if size is None:
                pairs[at + 1] = X.NONE
            total += size or 0
        self._change(requestor, pairs_in, self._atoms["ATOM_PAIR"], 32, pairs)
        return total

    def _put(self, requestor: int, target: int, into: int, text: bytes, since: int) -> int | None:
        """Put what is offered into a client's property; returns its bytes, None where there is no such target."""
        atoms = self._atoms
        utf8 = {atoms["UTF8_STRING"], atoms["text/plain;charset=utf-8"], atoms["TEXT"]}
        if target == atoms["TARGETS"]:
            targets = [atoms["TARGETS"], atoms["TIMESTAMP"], atoms["MULTIPLE"], *sorted(utf8), Xatom.STRING]
            self._change(requestor, into, Xatom.ATOM, 32, targets)
        elif target == atoms["TIMESTAMP"]:
            self._change(requestor, into, Xatom.INTEGER, 32, [since])
        elif target in utf8:
            kind = atoms["UTF8_STRING"] if target == atoms["TEXT"] else target
            return self._put_text(requestor, into, kind, text)
        elif target == Xatom.STRING:
            return self._put_text(requestor, into, target, text.decode().encode("latin-1", "replace"))
        else:
            return None
        return 0

    def _put_text(self, requestor: int, into: int, kind: int, data: bytes) -> int:
        key = (requestor, into)
        if len(data) <= self._wire.info.max_request_length * 4 - _REQUEST_HEAD_BYTES:
            if key in self._sendings:
                self._drop(key)
            self._change(requestor, into, kind, 8, data)
            return len(data)
        if len(self._sendings) >= _MAX_SENDINGS:
            self._drop(min(self._sendings, key=lambda known: self._sendings[known].stall_at))
        self._listen(requestor, X.PropertyChangeMask | X.StructureNotifyMask)
        self._sendings[key] = _Sending(kind, data, self._now() + STALL_S)
        self._change(requestor, into, self._atoms["INCR"], 32, [len(data)])
        return 0

    def _send_on(self) -> None:
        """Give the next part to each client that has taken the last."""
        for key, sending in list(self._sendings.items()):
            if not sending.ready:
                continue
            part = sending.data[sending.sent : sending.sent + _PART_BYTES]
            self._change(*key, sending.kind, 8, part)
            sending.sent += len(part)
            sending.ready = False
            sending.stall_at = self._now() + STALL_S
            if not part:
                self._drop(key)

    def _drop(self, key: tuple[int, int]) -> None:
        del self._sendings[key]
        if not any(window == key[0] for window, _ in self._sendings):
            self._listen(key[0], 0)

    # What another client's window may be gone for.

    def _listen(self, window: int, mask: int) -> None:
        request.ChangeWindowAttributes(
            display=self._wire, onerror=error.CatchError(), window=window, attrs={"event_mask": mask}
        )

    def _change(
        self, window: int, into: int, kind: int, form: int, value: bytes | list[int], *, mode: int = X.PropModeReplace
    ) -> None:
        request.ChangeProperty(
            display=self._wire,
            onerror=error.CatchError(),
            mode=mode,
            window=window,
            property=into,
            type=kind,
            data=(form, value),
        )

    def _reply(self, asked: event.SelectionRequest, into: int) -> None:
        told = event.SelectionNotify(
            time=asked.time,
            requestor=asked.requestor,
            selection=asked.selection,
            target=asked.target,
            property=into,
        )
        request.SendEvent(
            display=self._wire,
            onerror=error.CatchError(),
            propagate=False,
            destination=asked.requestor,
            event_mask=0,
            event=told,
        )


def _is_before(time: int, other: int) -> bool:
    """Of times of the server: milliseconds that start anew after 49 days."""
    return 0 < (other - time) & 0xFFFFFFFF < 1 << 31
