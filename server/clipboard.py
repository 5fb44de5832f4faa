"""Clipboard text on the wire: put together from chunks, and cut into them. Pure; SPEC.md section 10.2."""

from __future__ import annotations

from typing import Final

from tilewire.protocol import messages as m

CHUNK_BYTES: Final = 4096
"""What one chunk holds at most: pixels that wait behind one wait for as long as a small update takes."""
HEAD_BYTES: Final = 6
"""The longest `total` and `offset`."""


class Incoming:
    """A text that a peer sends. That its chunks follow each other, and how long it may be, was checked before."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def take(self, chunk: m.Clipboard) -> bytes | None:
        """The whole text once its last chunk is here. A chunk with offset 0 begins anew."""
        if chunk.offset == 0:
            self._bytes.clear()
        self._bytes += chunk.data
        if len(self._bytes) < chunk.total:
            return None
        whole = bytes(self._bytes)
        self._bytes.clear()
        return whole


class Outgoing:
    """The text that a peer is to get: the newest one, whatever was under way before."""

    def __init__(self, max_message: int) -> None:
        self._room = min(CHUNK_BYTES, max_message - HEAD_BYTES)
        self._text: bytes | None = None
        self._at = 0

    def __bool__(self) -> bool:
        return self._text is not None

    def offer(self, text: bytes) -> None:
        """Send this; what is left of another text is dropped."""
        self._text, self._at = text, 0

    def next_chunk(self) -> m.Clipboard:
        """The chunk that is due; only while there is a text."""
        assert self._text is not None
        data = self._text[self._at : self._at + self._room]
        chunk = m.Clipboard(total=len(self._text), offset=self._at, data=data)
        self._at += len(data)
        if self._at == len(self._text):
            self._text = None
        return chunk
