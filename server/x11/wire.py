"""One python-xlib connection, below python-xlib's own `Display` face.

That face keeps extension opcodes and event classes per class, so two X servers with other numbers would mix
them up; it asks some twenty questions at start; and it gives no hold on its socket while it connects. This
one does none of it: what it needs is asked here, and its socket is shown to the caller before the first byte
is exchanged.

Not for use by two threads at once.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from Xlib import X, error
from Xlib.display import _BaseDisplay
from Xlib.ext import damage, xfixes, xtest
from Xlib.protocol import event, request, rq
from Xlib.support import connect

from tilewire.server.x11.errors import DisplayError

logger = logging.getLogger(__name__)

_FEEDS = {
    (False, True): X.KeyPress,
    (False, False): X.KeyRelease,
    (True, True): X.ButtonPress,
    (True, False): X.ButtonRelease,
}


_NEEDED = ("XFIXES", "XTEST", "DAMAGE")
_USED = ("XInputExtension", "XKEYBOARD", "RANDR")


class Wire(_BaseDisplay):
    """A connection to an X server: DisplayError where there is none, python-xlib's own errors afterwards."""

    # Without parsing: a reply that is longer than any that is of use, and a reply's head.
    MAX_REPLY_BYTES: Final = 4 << 20
    _REPLY_HEAD_BYTES: Final = 32
    _DROP_BYTES: Final = 1 << 16

    def __init__(self, name: str, tap: Callable[[int], None]) -> None:
        self._tap = tap
        self._seen_errors: set[tuple[str, int]] = set()
        # Instances of their own: python-xlib shares these among all connections of a process.
        self.extension_major_opcodes = {}
        self.error_classes = dict(error.xerror_class)
        self.event_classes = dict(event.event_class)
        _find_server(name)
        try:
            super().__init__(name)
            self.set_error_handler(self._note_error)
            self.screen: Any = self.info.roots[self.default_screen]
            self.root: int = self.screen.root
            self._first_events: dict[str, int] = {}
            for name_needed in _NEEDED:
                if not self._find_extension(name_needed):
                    raise DisplayError(f"the X server of display {self.display_name} lacks the {name_needed} extension")
            for name_used in _USED:
                self._find_extension(name_used)
            self.expect_event("DAMAGE", damage.DamageNotifyCode, damage.DamageNotify)
            # Both extensions refuse everything else until they were asked for their version.
            xfixes.QueryVersion(display=self, opcode=self.opcode("XFIXES"), major_version=4, minor_version=0)
            damage.QueryVersion(display=self, opcode=self.opcode("DAMAGE"), major_version=1, minor_version=1)
        except BaseException as problem:
            self._socket.close()
            if isinstance(problem, error.DisplayConnectionError):
                raise DisplayError(f"cannot open display {name}: {_reason(problem)}") from None
            raise

    # python-xlib stores its socket in this attribute right after connecting, before the first byte.
    @property
    def socket(self) -> socket.socket:
        """The connection's socket."""
        return self._socket

    @socket.setter
    def socket(self, value: socket.socket) -> None:
        self._socket = value
        self._tap(value.fileno())

    def get_resource_class(self, class_name: str, default: object = None) -> Any:
        """None: resources are plain ids."""
        return default

    def opcode(self, extension: str) -> int:
        """The number by which this server knows an extension."""
        return self.get_extension_major(extension)

    def has(self, extension: str) -> bool:
        """Whether this server has an extension that not all have."""
        return extension in self._first_events

    def expect_event(self, extension: str, number: int, kind: type[rq.Event]) -> None:
        """Read an extension's event of that number as `kind`.

        (python-xlib's table by subtype would fail at a subtype that it lacks, and any client may send us one.)
        """
        self.event_classes[self._first_events[extension] + number] = kind

    def _find_extension(self, name: str) -> bool:
        answer = request.QueryExtension(display=self, name=name)
        if answer.present:
            self.set_extension_major(name, answer.major_opcode)
            self._first_events[name] = answer.first_event
        return bool(answer.present)

    def _note_error(self, problem: error.XError, _request: rq.Request | None) -> int:
        kind = (type(problem).__name__, problem.major_opcode)
        if kind not in self._seen_errors:
            self._seen_errors.add(kind)
            logger.warning("display %s: the X server refused request %d: %s", self.display_name, kind[1], kind[0])
        return 1

    def parse_response(self, request: int) -> bool:
        """Parse what was received; of a reply that is too long only the head, the rest is not kept.

        A program can make its pointer 32767 pixels wide, and python-xlib would put that picture together in pieces.
        """
        answered = super().parse_response(request)
        if self.recv_packet_len > self.MAX_REPLY_BYTES:
            self._drop(self.recv_packet_len - len(self.data_recv))
            self.data_recv = bytes(self.data_recv[: self._REPLY_HEAD_BYTES])
            self.recv_packet_len = self._REPLY_HEAD_BYTES
            answered = super().parse_response(request) or answered
        return answered

    def _drop(self, missing: int) -> None:
        buffer = bytearray(self._DROP_BYTES)
        while missing:
            count = self._socket.recv_into(buffer, min(missing, len(buffer)))
            if not count:
                self.close_internal("server")
                self.check_for_error()
            missing -= count

    # Questions: one round trip each.

    def sync(self) -> None:
        """Return when the server has carried out everything sent so far."""
        request.GetInputFocus(display=self)

    def screen_size(self) -> tuple[int, int]:
        """The root window's width and height in pixels."""
        answer = request.GetGeometry(display=self, drawable=self.root)
        return answer.width, answer.height

    def modifier_state(self) -> int:
        """The core modifier mask in force, keyboard group in bits 13 and 14."""
        mask: int = request.QueryPointer(display=self, window=self.root).mask
        return mask

    def keyboard_mapping(self) -> tuple[int, list[Sequence[int]]]:
        """The lowest keycode, and the keysyms of each keycode from there on."""
        low, high = self.info.min_keycode, self.info.max_keycode
        answer = request.GetKeyboardMapping(display=self, first_keycode=low, count=high - low + 1)
        return low, list(answer.keysyms)

    def modifier_mapping(self) -> list[Sequence[int]]:
        """The keycodes of each of the eight modifiers, zeros as padding."""
        return list(request.GetModifierMapping(display=self).keycodes)

    # Orders: queued until the next question or `flush`.

    def watch_root(self) -> None:
        """Report changes of the root window's size."""
        request.ChangeWindowAttributes(display=self, window=self.root, event_mask=X.StructureNotifyMask)

    def select_cursor_shapes(self, mask: int) -> None:
        """Report changes of the pointer's shape."""
        xfixes.SelectCursorInput(display=self, opcode=self.opcode("XFIXES"), window=self.root, mask=mask)

    def create_damage(self) -> int:
        """Report once whenever the screen turns dirty; returns the damage's resource id."""
        created = self.allocate_resource_id()
        damage.DamageCreate(
            display=self,
            opcode=self.opcode("DAMAGE"),
            damage=created,
            drawable=self.root,
            level=damage.DamageReportNonEmpty,
        )
        return created

    def subtract_damage(self, damaged: int, parts: int) -> int:
        """Move all damage into the region `parts`; returns the request's sequence number, modulo 65536."""
        serial = self.request_serial
        damage.DamageSubtract(display=self, opcode=self.opcode("DAMAGE"), damage=damaged, repair=X.NONE, parts=parts)
        return serial

    def change_keyboard_mapping(self, first: int, keysyms: Sequence[Sequence[int]]) -> None:
        """Give keycodes from `first` on new keysyms."""
        request.ChangeKeyboardMapping(display=self, first_keycode=first, keysyms=keysyms)

    def feed(self, number: int, pressed: bool, *, button: bool = False) -> None:
        """Press or release a keycode or a button through XTEST."""
        self._fake(_FEEDS[button, pressed], number, 0, 0)

    def move_pointer(self, x: int, y: int) -> None:
        """Move the pointer through XTEST."""
        self._fake(X.MotionNotify, 0, x, y)

    def _fake(self, kind: int, detail: int, x: int, y: int) -> None:
        xtest.FakeInput(
            display=self,
            opcode=self.opcode("XTEST"),
            event_type=kind,
            detail=detail,
            time=X.CurrentTime,
            root=X.NONE,
            x=x,
            y=y,
        )

    def push(self) -> None:
        """Send what is queued, as far as the server takes it now."""
        if self.request_queue or self.data_send:
            self.flush()

    @property
    def has_unsent(self) -> bool:
        """Whether the server has not taken all that was sent."""
        return bool(self.data_send)

    def events(self) -> Iterator[rq.Event]:
        """What the server has reported, without waiting for more."""
        for _ in range(self.pending_events()):
            yield self.next_event()

    @property
    def has_events(self) -> bool:
        """Whether reports were read from the socket but not yet taken."""
        return bool(self.event_queue)


def _find_server(name: str) -> None:
    """Raise DisplayError where no X server listens. (python-xlib would leave an open socket behind.)"""
    try:
        _, protocol, host, number, _ = connect.get_display(name)
    except error.DisplayNameError:
        raise DisplayError(f"{name!r} is not the name of an X display; one looks like :5") from None
    try:
        if host in ("", "unix") or protocol == "unix":
            path = f"/tmp/.X11-unix/X{number}"
            with socket.socket(socket.AF_UNIX) as trial:
                trial.connect(path if os.path.exists(path) else f"\0{path}")
        else:
            socket.create_connection((host, 6000 + number)).close()
    except OSError:
        raise DisplayError(f"cannot open display {name}: no X server answers there") from None


def _reason(refusal: error.DisplayConnectionError) -> str:
    # The server's own words come as bytes.
    text = refusal.msg.decode("utf-8", "replace") if isinstance(refusal.msg, bytes) else str(refusal.msg)
    text = text.strip().rstrip(".")
    return text[:1].lower() + text[1:] or "it refused the connection"
