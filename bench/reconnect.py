"""A line that breaks: what the device gets when it is back, beside what a device gets that was never there.

A relay stands between, which counts bytes as TCP carries them and round trips as bench/relay.py says. The truth is
what a device shows that has looked at the same session all the time: a round trip counts for the picture when the
device shows exactly that at an END.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from tilewire.protocol import PANELS, Rect, Resumed
from tilewire.protocol import messages as m
from tilewire.protocol.constants import WHEEL_NOTCH, CursorMode
from tilewire.simulator.client import Event, Presented
from tilewire.simulator.device import Device, Setup, open_device

from bench import panning
from bench.relay import Relay, open_relay
from bench.report import Row
from bench.stage import StageError

PANEL: Final = PANELS["threadx-512"]
HANDSHAKE: Final = ("OTHER", "PROOF", "WELCOME")
"""OTHER: the server's hello."""
QUIET_S: Final = 0.6
LIMIT_S: Final = 20.0
HURRY: Final = 0.02
"""Of the wait before a device comes back: how long that is says nothing about the server."""
PAGE_DOWN: Final = 0xFF56
"""Keysym."""
SCROLL_AT: Final = (990, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How a device connects."""

    transport: str = "native"
    proof: bool = False
    cursor: CursorMode = CursorMode.NONE
    small: bool = False
    """A panel of 320x240 that asks for a place of its own in the session."""

    def setup(self, key: bytes) -> Setup:
        """The device, which is known by `key` where it proves itself."""
        setup = Setup(panel=PANEL, device_id="stranger", cursor=self.cursor, reconnect=True, hurry=HURRY)
        if self.proof:
            setup = replace(setup, device_id=KEYED, key=key)
        if self.small:
            setup = replace(setup, panel=panning.PANEL, view=panning.view(300, 200))
        return setup

    def address(self, port: int) -> str:
        """Of a relay."""
        return f"ws://127.0.0.1:{port}/" if self.transport == "websocket" else f"127.0.0.1:{port}"


KEYED: Final = "keyed"
"""The device id whose key the server knows."""
CASES: Final = (
    *(
        Case(transport=transport, proof=proof, cursor=cursor)
        for transport, proof, cursor in product(
            ("native", "websocket"), (False, True), (CursorMode.NONE, CursorMode.LOCAL)
        )
    ),
    Case(small=True),
)
QUICK_CASES: Final = (Case(), Case(transport="websocket", proof=True, cursor=CursorMode.LOCAL))


@dataclass(slots=True)
class Seen:
    """One connection, from its beginning until nothing came any more."""

    welcome: float | None = None
    """Round trips until WELCOME; `picture`: until the first END with the right picture."""
    picture: float | None = None
    bytes: int = 0
    """From the server, all."""
    handshake: int = 0
    """Of them before WELCOME and with it, without what WebSocket adds."""


class Observer:
    """Looks at a device whenever something comes."""

    def __init__(self, device: Device, relay: Relay, truth: Callable[[], bytes]) -> None:
        self._device, self._relay, self._truth = device, relay, truth
        self._seen = Seen()
        self._before = self._handshake_bytes()
        device.on_event = self._look

    def _look(self, event: Event) -> None:
        if isinstance(event, m.Welcome):
            self._seen.welcome = self._relay.line.round_trips
        elif isinstance(event, Presented) and self._seen.picture is None and self._device.memory() == self._truth():
            self._seen.picture = self._relay.line.round_trips

    def _handshake_bytes(self) -> int:
        sizes = self._device.statistics.bytes_by_type
        return sum(sizes.get(name, 0) for name in HANDSHAKE)

    async def whole(self) -> Seen:
        """Wait for the connection's picture and for quiet; the next connection is another one's. Raises StageError."""
        if not await self._device.wait_for(lambda: self._seen.picture is not None, LIMIT_S):
            raise StageError("a device does not show the session's picture")
        await self._device.settled(QUIET_S, LIMIT_S)
        seen, self._seen = self._seen, Seen()
        seen.bytes = self._relay.line.down
        total = self._handshake_bytes()
        seen.handshake, self._before = total - self._before, total
        return seen


async def measure(
    program: str, address: str, reference: Device, key: bytes, delay_s: float, *, quick: bool
) -> list[Row]:
    """A row for each case. `reference` shows the session at rest. Raises StageError."""
    rows: list[Row] = []
    for case in QUICK_CASES if quick else CASES:
        async with open_relay(address, delay_s) as relay:
            async with open_device(case.address(relay.port), case.setup(key)) as device:
                observer = Observer(device, relay, lambda case=case: _truth(reference, case))  # type: ignore[misc]
                first = await observer.whole()
                relay.cut()
                await _back(device)
                again = await observer.whole()
        rows.append(
            {
                "program": program,
                "transport": case.transport,
                "proof": "HMAC" if case.proof else "-",
                "cursor": case.cursor.name,
                "panel": "320x240" if case.small else "1024x600",
                "first": first.bytes,
                "again": again.bytes,
                "again_%": 100 * again.bytes / first.bytes,
                "of_it_handshake": again.handshake,
                "welcome_rt": again.welcome,
                "picture_rt_first": first.picture,
                "picture_rt_again": again.picture,
            }
        )
    return rows


def _truth(reference: Device, case: Case) -> bytes:
    if not case.small:
        return reference.memory()
    window = Rect(300, 200, panning.PANEL.width, panning.PANEL.height)
    return panning.crop(reference.memory(), PANEL.width, window, 2)


async def _back(device: Device) -> None:
    """Wait for the second connection. Raises StageError."""
    if not await device.wait_for(lambda: device.connections == 2, LIMIT_S):
        raise StageError("a device did not come back")
    if device.resumed[-1] is not Resumed.RESUMED:
        raise StageError(f"a device was not resumed: {device.resumed[-1].name}")


async def scrolled(program: str, address: str, reference: Device, delay_s: float) -> list[Row]:
    """What a device gets that was away while the page was scrolled. Raises StageError."""
    rows: list[Row] = []
    case = Case()
    reference.pointer(*SCROLL_AT)
    acts: dict[str, Callable[[], None]] = {
        "a notch down": lambda: reference.wheel(0, WHEEL_NOTCH),
        "a page down": lambda: reference.key([PAGE_DOWN]),
    }
    for what, act in acts.items():
        async with open_relay(address, delay_s) as relay:
            async with open_device(case.address(relay.port), case.setup(b"")) as device:
                observer = Observer(device, relay, reference.memory)
                await observer.whole()
                relay.cut(hold=True)
                before = reference.memory()
                act()
                await reference.settled(QUIET_S, LIMIT_S)
                if reference.memory() == before:
                    raise StageError("the page did not scroll")
                relay.release()
                await _back(device)
                again = await observer.whole()
        async with open_relay(address) as relay:
            async with open_device(case.address(relay.port), case.setup(b"")) as device:
                whole = await Observer(device, relay, reference.memory).whole()
        rows.append(
            {
                "program": program,
                "meanwhile": what,
                "again": again.bytes,
                "whole": whole.bytes,
                "again_%": 100 * again.bytes / whole.bytes,
                "picture_rt": again.picture,
            }
        )
    return rows
