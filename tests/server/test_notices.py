"""What a viewer is told of, after which all goes on."""

from __future__ import annotations

import signal

import pytest

from tilewire.protocol import NoticeCode
from tilewire.protocol import messages as m
from tilewire.server import display as displays

from tests.support import Device, device, served


def told(one: Device, code: NoticeCode) -> bool:
    return any(notice.code == code for notice in one.all(m.Notice))


async def test_keys_that_the_keyboard_cannot_hold() -> None:
    async with served() as server, device(server.port) as one:
        await one.until(lambda: one.updates)
        await one.text("typed: \u263a")
        # Each borrows a spare keycode and keeps it.
        for number in range(60):
            await one.key(0x0100_3041 + number)
        await one.until(lambda: told(one, NoticeCode.NOT_TYPED))
        await one.until(lambda: one.echoed == one.inputs)
        assert not told(one, NoticeCode.STALLED)
        await server.until_exact(one)


async def test_an_x_server_that_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(displays, "STALL_NOTICE_S", 0.1)
    async with served() as server, device(server.port) as one, device(server.port) as other:
        await one.until(lambda: one.updates)
        await other.until(lambda: other.updates)
        server.xvfb.process.signal(signal.SIGSTOP)
        try:
            number = await one.point(7, 7)
            await one.until(lambda: told(one, NoticeCode.STALLED))
            await other.until(lambda: told(other, NoticeCode.STALLED))
        finally:
            server.xvfb.process.signal(signal.SIGCONT)
        await one.until(lambda: one.echoed == number)
        await server.until_exact(one, other)
