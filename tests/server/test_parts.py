"""Programs of sessions: what they write."""

from __future__ import annotations

import os

import pytest
import trio

from tilewire.server.hosted.parts import BETWEEN_READS_S, Part
from tilewire.server.x11.process import start_child


async def test_what_writes_without_end_does_not_keep_the_server_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    read, (reader, writer) = os.read, os.pipe()
    reads: list[int] = []

    def counted(fd: int, size: int) -> bytes:
        if fd == reader:
            reads.append(size)
        return read(fd, size)

    monkeypatch.setattr(os, "read", counted)
    async with trio.lowlevel.FdStream(reader) as output:
        try:
            async with start_child(["yes"], stdout=writer) as child:
                part, begin = Part("yes", child, output, None), trio.current_time()
                with trio.move_on_after(BETWEEN_READS_S * 10):
                    await part.listen()
                # However late the machine is, there is a pause after each.
                most = (trio.current_time() - begin) / BETWEEN_READS_S + 1
        finally:
            os.close(writer)
    # One more when there was nothing yet.
    assert 1 <= len(reads) <= most + 1
    assert part.last_words == "y"
