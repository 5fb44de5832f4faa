"""`tilewire run` and `tilewire attach`: one display, served until it or its program ends."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from tilewire.protocol import Code, Connection, RemoteProtocolError
from tilewire.protocol import messages as m
from tilewire.server.display import Display, DisplayLost, open_display
from tilewire.server.door import Serve, door_addresses, keep_door, open_door
from tilewire.server.handshake import Credentials, Guest
from tilewire.server.program import find_command, start_program
from tilewire.server.record import RecordOptions, open_recording
from tilewire.server.session import Session
from tilewire.server.tls import Security
from tilewire.server.transport import Transport, WebRules
from tilewire.server.x11.process import Child
from tilewire.server.x11.process import ending as how_it_ended
from tilewire.server.xvfb import XvfbServer, start_xvfb

log = logging.getLogger(__name__)

GOODBYES_S: Final = 1.5
"""How long viewers may take to hear that the session is over."""
STOPPING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LAST_WORDS_S: Final = 0.5
"""How long the cause of an end may take to show after its first sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What both commands share."""

    host: str
    port: int
    fps: int
    credentials: Credentials
    rules: WebRules
    security: Security = field(default_factory=Security)
    record: RecordOptions | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """Why it is over, for the viewers and for the operator, and the exit code."""

    code: Code
    text: str
    exit_code: int


async def run(command: Sequence[str], size: tuple[int, int], largest: tuple[int, int], options: Options) -> Ending:
    """Start Xvfb and `command` on it, serve them, end with them. Raises ServerError and DisplayError.

    `size` of the screen, which viewers may change within `largest`.
    """
    find_command(command)
    async with AsyncExitStack() as stack:
        # First, so that a signal during the start leaves nothing behind either.
        signals = stack.enter_context(trio.open_signal_receiver(*STOPPING_SIGNALS))
        listeners = await open_door(options.host, options.port)
        for listener in listeners:
            stack.push_async_callback(listener.aclose)
        xvfb = await stack.enter_async_context(start_xvfb(*largest))
        display = await stack.enter_async_context(open_display(xvfb.display_name))
        if size != largest:
            await display.resize(*size)
        environment = {"DISPLAY": xvfb.display_name, "XAUTHORITY": str(xvfb.xauthority)}
        program = await stack.enter_async_context(start_program(command, environment))
        name = Path(command[0]).name
        return await _serve(display, options, listeners, signals, name, xvfb, program)


async def attach(name: str, options: Options) -> Ending:
    """Serve a display that runs already, until it ends. Raises ServerError and DisplayError."""
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(trio.open_signal_receiver(*STOPPING_SIGNALS))
        listeners = await open_door(options.host, options.port)
        for listener in listeners:
            stack.push_async_callback(listener.aclose)
        display = await stack.enter_async_context(open_display(name))
        return await _serve(display, options, listeners, signals, name)


async def _serve(
    display: Display,
    options: Options,
    listeners: list[trio.SocketListener],
    signals: AsyncIterator[int],
    name: str,
    xvfb: XvfbServer | None = None,
    program: Child | None = None,
) -> Ending:
    session = Session("main", display, options.fps)
    endings = _Endings()
    with open_recording(options.record, name) if options.record is not None else nullcontext() as recording:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, session, endings)
            nursery.start_soon(_heed_signals, signals, endings)
            if xvfb is not None:
                nursery.start_soon(_wait_xvfb, xvfb, endings)
            if program is not None:
                nursery.start_soon(_wait_program, name, program, endings)
            async with trio.open_nursery() as guests:
                accepting = trio.CancelScope()
                nursery.start_soon(_accept, accepting, listeners, options, session, guests)
                if recording is not None:
                    guests.start_soon(recording.run, session)
                width, height = session.size
                if options.security.context is not None:
                    log.info("devices %s TLS", "must speak" if options.security.required else "may speak")
                where = ", ".join(door_addresses(listeners))
                log.info("%s on display %s, %dx%d; devices connect to %s", name, display.name, width, height, where)
                ending = await endings.decide()
                accepting.cancel()
                session.end(ending.code, ending.text)
                guests.cancel_scope.deadline = trio.current_time() + GOODBYES_S
            nursery.cancel_scope.cancel()
    return ending


async def _accept(
    scope: trio.CancelScope,
    listeners: list[trio.SocketListener],
    options: Options,
    session: Session,
    guests: trio.Nursery,
) -> None:
    with scope:
        await keep_door(listeners, options.credentials, options.rules, only(session), guests, options.security)


def only(session: Session) -> Serve:
    """Whoever asks for something else than the one session that is there is told so."""

    async def serve(connection: Connection, transport: Transport, hello: m.Hello, guest: Guest) -> None:
        if hello.session not in (None, session.name) or hello.profile is not None or hello.url is not None:
            wanted = hello.session or hello.profile or hello.url
            raise RemoteProtocolError(Code.NO_SESSION, f"{wanted} is not to be had here")
        await session.serve(connection, transport, hello, guest)

    return serve


class _Endings:
    """What has ended. A program that loses its display ends as well: the display is the cause then."""

    def __init__(self) -> None:
        self._heard: list[Ending] = []
        self._some = trio.Event()
        self._display = trio.Event()

    def hear(self, ending: Ending) -> None:
        self._heard.append(ending)
        self._some.set()
        if ending.code is Code.SESSION_FAILED:
            self._display.set()

    async def decide(self) -> Ending:
        await self._some.wait()
        if self._heard[0].code is Code.SESSION_ENDED:
            with trio.move_on_after(LAST_WORDS_S):
                await self._display.wait()
        return next((e for e in self._heard if e.code is Code.SESSION_FAILED), self._heard[0])


async def _watch(session: Session, endings: _Endings) -> None:
    try:
        await session.watch()
    except DisplayLost as lost:
        endings.hear(Ending(Code.SESSION_FAILED, str(lost), 1))


async def _wait_xvfb(xvfb: XvfbServer, endings: _Endings) -> None:
    endings.hear(Ending(Code.SESSION_FAILED, await xvfb.wait_died(), 1))


async def _wait_program(name: str, program: Child, endings: _Endings) -> None:
    status = await program.wait()
    text = f"{name} {how_it_ended(status)}" if status else f"{name} ended"
    endings.hear(Ending(Code.SESSION_ENDED, text, 1 if status else 0))


async def _heed_signals(signals: AsyncIterator[int], endings: _Endings) -> None:
    async for number in signals:
        text = f"stopped by {signal.Signals(number).name}"
        endings.hear(Ending(Code.STOPPING, text, 0 if number == signal.SIGTERM else 128 + number))
