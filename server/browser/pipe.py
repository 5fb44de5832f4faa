"""Chromium's DevTools protocol on its pipe: JSON messages ended by NUL, calls with numbers, answers, events, sessions.

A pipe and never a port: a port on loopback is open to every program and, by DNS rebinding, to every page.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from tilewire.server.browser.errors import BrowserGone, CallRefused

MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes of one message from the browser. A page's URL may have 2 MiB and stand in an event several times."""
MAX_PENDING: Final = 64
"""Messages to the browser that wait for the pipe; beyond that callers wait. They are some hundred bytes each."""
RECEIVE_BYTES: Final = 65536
"""A Linux pipe's capacity."""

Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened. `session` is None for the browser itself."""

    method: str
    params: Params
    session: str | None


class Splitter:
    """Messages from bytes, however these were cut. One that is too long is left out, and counted."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._dropping = False
        self.dropped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now, without their NUL."""
        whole: list[bytes] = []
        *ended, rest = data.split(b"\0")
        for part in ended:
            self._add(part)
            if not self._dropping:
                whole.append(b"".join(self._parts))
            self._parts, self._size, self._dropping = [], 0, False
        self._add(rest)
        return whole

    def _add(self, part: bytes) -> None:
        if self._dropping or not part:
            return
        self._size += len(part)
        if self._size > self._limit:
            self._dropping = True
            self._parts = []
            self.dropped += 1
        else:
            self._parts.append(part)


@dataclass(slots=True)
class _Answer:
    arrived: trio.Event = field(default_factory=trio.Event)
    message: Params | None = None
    """None where the browser went before."""


class DevTools:
    """The calls of one browser. Made by `open_devtools`; every method may be cancelled, and leaves nothing behind."""

    def __init__(self, on_event: Callable[[Event], None], log: logging.Logger) -> None:
        self._on_event = on_event
        self._log = log
        self._numbers = 0
        self._waiting: dict[int, _Answer] = {}
        self._gone = trio.Event()
        self._why = ""
        self._outbox: trio.MemorySendChannel[bytes]
        self._outbox, self._to_send = trio.open_memory_channel[bytes](MAX_PENDING)

    @property
    def gone(self) -> bool:
        """Whether the browser has ended."""
        return self._gone.is_set()

    async def wait_gone(self) -> str:
        """Return, once the browser has ended or its pipe broke, the sentence for it."""
        await self._gone.wait()
        return self._why

    async def call(self, method: str, params: Params | None = None, *, session: str | None = None) -> Params:
        """Call a method and return its result. Raises BrowserGone, and CallRefused with the browser's own words.

        Cancelled, it may have been done all the same.
        """
        self._check()
        self._numbers += 1
        number = self._numbers
        message: Params = {"id": number, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = session
        answer = self._waiting[number] = _Answer()
        try:
            try:
                await self._outbox.send(json.dumps(message).encode() + b"\0")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._check()
                raise
            await answer.arrived.wait()
        finally:
            del self._waiting[number]
        if answer.message is None:
            raise BrowserGone(self._why)
        if "error" in answer.message:
            raise CallRefused(f"{method}: {_words(answer.message['error'])}")
        result = answer.message.get("result")
        return result if isinstance(result, dict) else {}

    def _check(self) -> None:
        if self._gone.is_set():
            raise BrowserGone(self._why)

    # The two ends of the pipe: one task each, since half a message would be the end of all.

    async def write(self, stream: trio.abc.SendStream) -> None:
        """Send what callers say, whole message after whole message."""
        try:
            async for message in self._to_send:
                await stream.send_all(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as problem:
            self.end(f"the browser takes no more calls: {problem}")

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        """Hear answers and events until the browser ends."""
        splitter = Splitter()
        why = "the browser has ended"
        try:
            while data := await stream.receive_some(RECEIVE_BYTES):
                before = splitter.dropped
                for message in splitter.feed(bytes(data)):
                    self._hear(message)
                if splitter.dropped != before:
                    self._log.warning("a message of more than %d bytes from the browser was left out", MAX_MESSAGE)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as problem:
            why = f"the browser's pipe broke: {problem}"
        self.end(why)

    def end(self, why: str) -> None:
        """It is over: whoever waits for an answer gets BrowserGone."""
        if self._gone.is_set():
            return
        self._why = why
        self._gone.set()
        self._to_send.close()
        for answer in self._waiting.values():
            answer.arrived.set()

    def _hear(self, data: bytes) -> None:
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            message = None
        match message:
            case {"id": int(number)} if number is not True:
                # Whoever was cancelled asks no more.
                if (answer := self._waiting.get(number)) is not None:
                    answer.message = message
                    answer.arrived.set()
            case {"method": str(method), "params": dict(params)}:
                session = message.get("sessionId")
                self._on_event(Event(method, params, session if isinstance(session, str) else None))
            case _:
                self._log.warning("the browser said something that is no DevTools message (%d bytes)", len(data))


def _words(error: object) -> str:
    match error:
        case {"message": str(text)}:
            return text
        case _:
            return "an error without words"


@asynccontextmanager
async def open_devtools(
    send: trio.abc.SendStream,
    receive: trio.abc.ReceiveStream,
    on_event: Callable[[Event], None],
    *,
    log: logging.Logger | None = None,
) -> AsyncIterator[DevTools]:
    """Talk on the two ends of a pipe inside the block, and close them with it. `on_event` may not block or raise.

    The browser's end is no error here: `wait_gone` returns, and calls raise BrowserGone.
    """
    devtools = DevTools(on_event, log or logging.getLogger(__name__))
    async with send, receive, trio.open_nursery() as nursery:
        nursery.start_soon(devtools.write, send)
        nursery.start_soon(devtools.read, receive)
        try:
            yield devtools
        finally:
            devtools.end("the browser's pipe is closed")
            nursery.cancel_scope.cancel()
