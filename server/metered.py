"""A transport whose bytes are counted, held back where a device has had its share, and ended when it may not go on."""

from __future__ import annotations

import trio

from tilewire.protocol import RemoteProtocolError
from tilewire.server.limits import Meter
from tilewire.server.transport import Transport


class Metered:
    """Around another transport: a device beyond its share sees a slow link, and pacing does the rest."""

    def __init__(self, inner: Transport, meter: Meter) -> None:
        self._inner = inner
        self.meter = meter
        self._send_at_s = self._receive_at_s = 0.0
        self.peer = inner.peer
        self._ended: RemoteProtocolError | None = None
        self._reading = trio.CancelScope()

    def end(self, error: RemoteProtocolError) -> None:
        """Let whoever reads from it hear this, as if the device had done it."""
        self._ended = error
        self._reading.cancel()

    @property
    def clean(self) -> bool:
        return self._inner.clean

    async def receive(self) -> bytes:
        if self._ended is None:
            with trio.CancelScope() as self._reading:
                await trio.sleep_until(self._receive_at_s)
                data = await self._inner.receive()
                now = trio.current_time()
                self._receive_at_s = now + self.meter.received(len(data), now)
                return data
        assert self._ended is not None
        raise self._ended

    async def send(self, data: bytes) -> None:
        await trio.sleep_until(self._send_at_s)
        await self._inner.send(data)
        now = trio.current_time()
        self._send_at_s = now + self.meter.sent(len(data), now)

    async def finish(self) -> None:
        await self._inner.finish()
