"""The bell, heard through the XKB extension, which python-xlib lacks: the core protocol tells nobody that a bell
rang. (X Keyboard Extension protocol, sections 4 and 16.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from Xlib.protocol import rq

if TYPE_CHECKING:
    from tilewire.server.x11.wire import Wire

_CORE_KEYBOARD: Final = 0x100
_NEW_KEYBOARD, _MAP, _BELL = 1 << 0, 1 << 1, 1 << 8
_ALL_PARTS: Final = 0xFF
_BELL_NOTIFY: Final = 8


class UseExtension(rq.ReplyRequest):
    """Make ourselves known to XKB; it refuses everything else before."""

    _request = rq.Struct(
        rq.Card8("opcode"),
        rq.Opcode(0),
        rq.RequestLength(),
        rq.Card16("wanted_major"),
        rq.Card16("wanted_minor"),
    )
    _reply = rq.Struct(
        rq.ReplyCode(),
        rq.Bool("supported"),
        rq.Card16("sequence_number"),
        rq.ReplyLength(),
        rq.Card16("server_major"),
        rq.Card16("server_minor"),
        rq.Pad(20),
    )


class SelectEvents(rq.Request):
    """Ask for all events of some kinds, and for those about some parts of the keymap."""

    _request = rq.Struct(
        rq.Card8("opcode"),
        rq.Opcode(1),
        rq.RequestLength(),
        rq.Card16("device"),
        rq.Card16("affect_which"),
        rq.Card16("clear"),
        rq.Card16("select_all"),
        rq.Card16("affect_map"),
        rq.Card16("map"),
    )


class XkbNotify(rq.Event):
    """The head of any event of XKB: they share one number."""

    _code = None
    _fields = rq.Struct(rq.Card8("type"), rq.Card8("subtype"), rq.Card16("sequence_number"), rq.Pad(28))


class Bell:
    """Whether the bell rang. A server without XKB has no bell that could be heard."""

    def __init__(self, wire: Wire) -> None:
        self._rang = False
        if not wire.has("XKEYBOARD"):
            return
        opcode = wire.opcode("XKEYBOARD")
        if not UseExtension(display=wire, opcode=opcode, wanted_major=1, wanted_minor=0).supported:
            return
        wire.expect_event("XKEYBOARD", 0, XkbNotify)
        # To a client that knows XKB the server reports a changed keymap the core way only if it asks for XKB's own
        # reports too, and the keyboard lives by them.
        kinds = _BELL | _MAP | _NEW_KEYBOARD
        SelectEvents(
            display=wire,
            opcode=opcode,
            device=_CORE_KEYBOARD,
            affect_which=kinds,
            clear=0,
            select_all=kinds,
            affect_map=_ALL_PARTS,
            map=_ALL_PARTS,
        )

    def heed(self, report: rq.Event) -> None:
        """Take a report of the server, if it is about the bell."""
        if isinstance(report, XkbNotify) and report.subtype == _BELL_NOTIFY:
            self._rang = True

    def take(self) -> bool:
        """Whether it rang since this was last asked."""
        rang, self._rang = self._rang, False
        return rang
