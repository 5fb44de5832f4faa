"""One hosted session: an X server, a window manager where the profile wants one, and a program, until it is over."""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import trio

from tilewire.protocol import Code
from tilewire.server.browser import (
    Browser,
    BrowserError,
    LoadFailed,
    UrlRefused,
    open_browser,
    trust_certificates,
)
from tilewire.server.config.models import Profile
from tilewire.server.display import Display, DisplayError, DisplayLost, DisplayRefused, open_display
from tilewire.server.errors import ServerError
from tilewire.server.hosted.commands import command_of, first_page, set_keyboard
from tilewire.server.hosted.floor import Floor
from tilewire.server.hosted.parts import Part, Pipes, find_program, start_part
from tilewire.server.hosted.place import Place
from tilewire.server.hosted.variables import PATH, variables
from tilewire.server.program import MARK, in_thread
from tilewire.server.run import LAST_WORDS_S, Ending
from tilewire.server.session import Session
from tilewire.server.values import Size
from tilewire.server.x11.process import ending as how_it_ended
from tilewire.server.xvfb import XvfbServer, start_xvfb, wait_managed

log = logging.getLogger(__name__)

State = Literal["starting", "running", "restarting", "ended"]

RESTART_PAUSE_S: Final = 0.5
"""Before a program is started again, beside the time in which its display could turn out to be the cause."""
RESTARTS_WITHIN_S: Final = 60.0
"""What a profile's limit of restarts is counted over."""
MANAGER_RESTARTS: Final = 5
"""Of a window manager, in that time; then the session goes on without."""
MANAGED_S: Final = 1.0
"""How long a window manager may take to begin before the program is started nevertheless. openbox: 60 ms."""
XVFB_GRACE_S: Final = 0.3
"""Seen: 10 ms. It has nothing to save."""
PROGRAM, MANAGER, CERTIFICATES = "program", "manager", "certificates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is wanted of a session."""

    id: str
    profile: Profile
    device: str | None = None
    """For whom; a kept home is this device's."""
    size: Size
    """Of the screen at the start, within the profile's largest."""
    url: str | None = None
    """Where a browser begins, if not with the profile's page."""


class Hosted:
    """A session's life; made by `open_hosted`. `run` supervises it, and has to be called for anything to be shown."""

    def __init__(self, spec: Spec, place: Place, xvfb: XvfbServer, environment: dict[str, str]) -> None:
        self.spec = spec
        self.session: Session
        self.started_s = trio.current_time()
        """By trio's clock."""
        self.state: State = "starting"
        self.restarts = 0
        """How often its program was started again."""
        self.command: list[str] = []
        """The program and its arguments."""
        self.browser: Browser | None = None
        """What drives its Chromium; None for other programs, and while it is not running."""
        self._browser_changed = trio.Event()
        self._place = place
        self._xvfb = xvfb
        self._environment = environment
        self._parts: dict[str, Part] = {}
        self._starts = 0
        self._ending: Ending | None = None
        self._decided = trio.Event()
        self._lost = trio.Event()
        """The display is."""

    @property
    def display_name(self) -> str:
        """As X calls it: ":5"."""
        return self._xvfb.display_name

    @property
    def program_pid(self) -> int | None:
        """None while it is not running."""
        part = self._parts.get(PROGRAM)
        return part.child.pid if part is not None else None

    @property
    def manager_pid(self) -> int | None:
        """The window manager's; None where there is none."""
        part = self._parts.get(MANAGER)
        return part.child.pid if part is not None else None

    @property
    def xvfb_pid(self) -> int:
        """The X server's."""
        return self._xvfb.process.pid

    @property
    def uid(self) -> int | None:
        """The programs' user; None: the server's own."""
        return self._place.account.uid if self._place.account is not None else None

    @property
    def home(self) -> Path:
        """The programs' home folder."""
        return self._place.home

    async def wait_browser(self) -> Browser:
        """What drives its Chromium, once that answers. Raises ServerError where there is none, or not any more."""
        if self.spec.profile.kind != "chromium":
            raise ServerError(f"the profile {self.spec.profile.name} has no browser that can be told")
        while self.browser is None:
            if self.state == "ended":
                raise ServerError("the session has ended")
            await self._browser_changed.wait()
        return self.browser

    def _is_browsed(self, browser: Browser | None) -> None:
        self.browser = browser
        self._browser_changed.set()
        self._browser_changed = trio.Event()

    async def run(self) -> Ending:
        """Supervise it until it is over: its program ended and is not to be started again, or its display is gone.

        Viewers are told. Cancel it to stop; what is left running ends with the block of `open_hosted`.
        """
        if self._decided.is_set():
            raise RuntimeError("a session runs once")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            nursery.start_soon(self._wait_xvfb)
            nursery.start_soon(self._keep_program)
            if MANAGER in self._parts:
                nursery.start_soon(self._keep_manager)
            await self._decided.wait()
            nursery.cancel_scope.cancel()
        assert self._ending is not None
        self.state = "ended"
        self._is_browsed(None)
        self.session.end(self._ending.code, self._ending.text)
        return self._ending

    def _decide(self, code: Code, text: str, exit_code: int = 1) -> None:
        if self._ending is None:
            self._ending = Ending(code, text, exit_code)
            self._decided.set()

    # What it ends by.

    async def _watch(self) -> None:
        try:
            await self.session.watch()
        except DisplayLost as lost:
            self._lose(str(lost))

    async def _wait_xvfb(self) -> None:
        self._lose(await self._xvfb.wait_died())

    def _lose(self, text: str) -> None:
        self._lost.set()
        self._decide(Code.SESSION_FAILED, text)

    # The program.

    async def _keep_program(self) -> None:
        profile = self.spec.profile
        ends: deque[float] = deque()
        while True:
            part = self._parts[PROGRAM]
            status = await self._accompany(part)
            # Programs that lose their display end too.
            with trio.move_on_after(LAST_WORDS_S):
                await self._lost.wait()
                return
            text = f"{_name(self.command)} {how_it_ended(status) if status else 'ended'}"
            self._say(f"{text}; its last words: {part.last_words}" if part.last_words else text)
            if profile.restart == "never" or (profile.restart == "crash" and status == 0):
                self._decide(Code.SESSION_ENDED, text, 1 if status else 0)
                return
            if not may_restart(ends, profile.restarts):
                times = f"{len(ends)} times within {RESTARTS_WITHIN_S:g} s" if profile.restarts > 1 else "again"
                self._decide(Code.SESSION_FAILED, f"{text}, {times}")
                return
            self.state = "restarting"
            await self._end_part(PROGRAM, with_strays=True)
            await trio.sleep(RESTART_PAUSE_S)
            try:
                await self.start_program()
            except ServerError as error:
                self._decide(Code.SESSION_FAILED, str(error))
                return
            self.restarts += 1

    async def start_program(self) -> None:
        """For `open_hosted`. Raises ServerError."""
        await self._start(PROGRAM, self.command, pipes=self.spec.profile.kind == "chromium")
        self.state = "running"

    async def _accompany(self, part: Part) -> int:
        """Its exit status, once it has ended; meanwhile it is driven, where it can be."""
        async with trio.open_nursery() as nursery:
            if part.pipes is not None:
                nursery.start_soon(self._browse, part, part.pipes)
            status = await part.wait()
            nursery.cancel_scope.cancel()
        return status

    async def _browse(self, part: Part, pipes: Pipes) -> None:
        profile = self.spec.profile
        try:
            async with open_browser(
                pipes.send,
                pipes.receive,
                rules=profile.url_rules,
                host_resolver_rules=profile.host_resolver_rules,
            ) as browser:
                self._is_browsed(browser)
                try:
                    await self._load_first(browser)
                    await browser.wait_gone()
                finally:
                    self._is_browsed(None)
        except* BrowserError as group:
            self._say(str(_first(group)))
        # One that cannot be driven shows a blank page for ever: its end is the policy's.
        with suppress(ProcessLookupError):
            part.child.signal(signal.SIGKILL)

    async def _load_first(self, browser: Browser) -> None:
        url = first_page(self.spec)
        if url is not None:
            try:
                await browser.load(url)
            except (LoadFailed, UrlRefused) as error:
                # It shows its own page about that.
                self._say(str(error))

    # The window manager.

    async def start_manager(self) -> None:
        """For `open_hosted`: start it, and give it time to take over. Raises ServerError and DisplayError."""
        await self._start(MANAGER, self.spec.profile.window_manager)
        with trio.move_on_after(MANAGED_S) as patience:
            await wait_managed(self.display_name)
        if patience.cancelled_caught:
            self._say(f"{_name(self.spec.profile.window_manager)} does not manage windows after {MANAGED_S:g} s")

    async def _keep_manager(self) -> None:
        ends: deque[float] = deque()
        name = _name(self.spec.profile.window_manager)
        while True:
            part = self._parts[MANAGER]
            status = await part.wait()
            with trio.move_on_after(LAST_WORDS_S):
                await self._lost.wait()
                return
            self._say(f"the window manager {name} {how_it_ended(status)}; its last words: {part.last_words}")
            await self._end_part(MANAGER)
            if not may_restart(ends, MANAGER_RESTARTS):
                self._say(f"the window manager {name} is not started again")
                return
            try:
                await self._start(MANAGER, self.spec.profile.window_manager)
            except ServerError as error:
                self._say(str(error))
                return

    # Both.

    async def _start(self, kind: str, command: tuple[str, ...] | list[str], *, pipes: bool = False) -> Part:
        self._starts += 1
        part = await start_part(f"{kind}-{self._starts}", command, self._environment, self._place, pipes=pipes)
        self._parts[kind] = part
        return part

    async def _end_part(self, kind: str, *, with_strays: bool = False) -> None:
        """`with_strays`: its successor is to meet nothing of it. What a window manager started outlives it."""
        part = self._parts.pop(kind)
        with trio.CancelScope(shield=True):
            await part.end(0)
            if with_strays:
                await self._place.traces.end_part(part.name)

    async def ask_to_end(self) -> None:
        """For `open_hosted`: the graceful part of the end begins."""
        self.state = "ended"
        self._is_browsed(None)
        if self.uid is None:
            # Whose shared memory is whose can only be told by who made it.
            with trio.CancelScope(shield=True):
                await in_thread(self._place.traces.look)
        for part in self._parts.values():
            part.ask_to_end(self.spec.profile.grace_s)

    async def end_programs(self) -> None:
        """For `open_hosted`: return when nothing that it has started is left."""
        with trio.CancelScope(shield=True):
            for part in self._parts.values():
                await part.end(self.spec.profile.grace_s)
            self._parts.clear()
            await self._place.traces.end()

    def _say(self, text: str) -> None:
        log.info("session %s: %s", self.spec.id, text)


@asynccontextmanager
async def open_hosted(spec: Spec, floor: Floor) -> AsyncIterator[Hosted]:
    """Start a session and have it inside the block; when that ends, whatever way, nothing of it is left.

    Its end takes the profile's grace_s at most for what does not end on request, and a moment. Raises ServerError.
    """
    async with AsyncExitStack() as stack:
        try:
            hosted = await _begin(stack, spec, floor)
        except DisplayError as error:
            raise ServerError(str(error)) from error
        except OSError as error:
            raise ServerError(f"a session cannot be started: {error}") from error
        yield hosted


async def _begin(stack: AsyncExitStack, spec: Spec, floor: Floor) -> Hosted:
    """Raises ServerError, DisplayError and OSError."""
    profile = spec.profile
    place = await stack.enter_async_context(floor.place(spec))
    environment = variables(
        profile.environment,
        home=place.home,
        temporary=place.temporary,
        runtime=place.runtime,
        xauthority=place.xauthority,
        user=place.user_name,
        locale=profile.locale,
    )
    command = await command_of(spec, place)
    for each in (command, profile.window_manager):
        if each:
            find_program(each, environment)
    if profile.kind != "command":
        await trust_certificates(
            place.home,
            profile.certificates,
            user=place.ids,
            alone=place.record.uid is not None,
            marks={MARK: place.traces.part(CERTIFICATES)},
        )
    xvfb = await stack.enter_async_context(
        start_xvfb(
            *profile.largest_size,
            density=profile.density,
            env={"PATH": PATH},
            folder=place.folder,
            born=place.note_xvfb,
            grace_s=XVFB_GRACE_S,
        )
    )
    place.note_display(xvfb.display_name)
    place.put_xauthority(xvfb.xauthority)
    await set_keyboard(xvfb.display_name, profile.keyboard)
    hosted = Hosted(spec, place, xvfb, {**environment, "DISPLAY": xvfb.display_name})
    hosted.command = command
    stack.push_async_callback(hosted.end_programs)
    display = await stack.enter_async_context(open_display(xvfb.display_name))
    # The display closes while the programs have their time.
    stack.push_async_callback(hosted.ask_to_end)
    await _fit(display, spec.size)
    hosted.session = Session(spec.id, display, profile.fps, quality=profile.quality, adaptive=profile.adaptive)
    if profile.window_manager:
        await hosted.start_manager()
    await hosted.start_program()
    return hosted


def _first(group: BaseExceptionGroup[BrowserError]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


async def _fit(display: Display, size: Size) -> None:
    if display.size != size:
        try:
            await display.resize(*size)
        except DisplayRefused as refusal:
            raise ServerError(str(refusal)) from None


def may_restart(ends: deque[float], limit: int) -> bool:
    """Count one more end, among those of the last minute."""
    now = trio.current_time()
    ends.append(now)
    while ends[0] < now - RESTARTS_WITHIN_S:
        ends.popleft()
    return len(ends) <= limit


def _name(command: tuple[str, ...] | list[str]) -> str:
    return Path(command[0]).name
