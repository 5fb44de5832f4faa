"""What a display has to tell besides its pixels, and a box for it that never overflows."""

from __future__ import annotations

from dataclasses import dataclass

from tilewire.server.x11.cursors import CursorShape


@dataclass(frozen=True, slots=True)
class CursorChanged:
    """The pointer has another shape; None where it has none, or one too large to be meant."""

    shape: CursorShape | None


@dataclass(frozen=True, slots=True)
class PointerMoved:
    """The pointer is at pixel (x, y) of the screen; all input up to and with batch `serial` is in that (0: none)."""

    x: int
    y: int
    serial: int


@dataclass(frozen=True, slots=True)
class ClipboardText:
    """This is on the clipboard now, at most MAX_CLIPBOARD bytes in UTF-8.

    `owner`: the viewer who has put it there; 0: a program of the session.
    """

    text: str
    owner: int = 0


@dataclass(frozen=True, slots=True)
class ClipboardFailed:
    """A program has put something on the clipboard that could not be had; the reason is for a log."""

    reason: str


@dataclass(frozen=True, slots=True)
class BellRang:
    """The bell rang, once or many times."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """The X server has not answered for a while; it may yet."""


News = CursorChanged | PointerMoved | ClipboardText | ClipboardFailed | BellRang | Stalled

_CLIPBOARD = (ClipboardText, ClipboardFailed)


class NewsBox:
    """News that nobody has taken yet: of each kind the newest, the longest unheard kind first.

    A clipboard that failed takes the place of a text that was not taken: what the text was is not there any more.
    """

    def __init__(self) -> None:
        self._kept: dict[object, News] = {}

    def put(self, news: News) -> None:
        """Keep it until it is taken or newer ones come."""
        kind: object = _CLIPBOARD if isinstance(news, _CLIPBOARD) else type(news)
        self._kept[kind] = news

    def take(self) -> News | None:
        """The next; None when there is none."""
        if not self._kept:
            return None
        return self._kept.pop(next(iter(self._kept)))
