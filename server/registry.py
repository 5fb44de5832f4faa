"""All sessions of a server: made, found, kept alive, ended, and what each has used."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Literal
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import trio

from tilewire.protocol import Code, Connection, Point, RemoteProtocolError
from tilewire.protocol import messages as m
from tilewire.server.browser import BrowserGone, Page, Spot, UrlRefused, check_url
from tilewire.server.browser.urls import carried_addresses
from tilewire.server.config import Access, Config, Profile, Size
from tilewire.server.errors import ServerError
from tilewire.server.events import Events
from tilewire.server.handshake import Guest
from tilewire.server.hosted.floor import Floor
from tilewire.server.hosted.hosted import Hosted, Spec, open_hosted
from tilewire.server.limits import Allowance, Meter, Rate
from tilewire.server.memory import give_back
from tilewire.server.metered import Metered
from tilewire.server.store import Store, StoreError
from tilewire.server.tickets import Tickets
from tilewire.server.transport import Transport
from tilewire.server.x11.errors import DisplayError

log = logging.getLogger(__name__)

SESSION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
GOODBYES_S: Final = 1.0
"""How long viewers may take to hear that a session is over; of the 3 s that its end may take."""
BROWSER_S: Final = 20.0
"""How long a browser may take until it can be told what to load. Seen: 1 to 2 s."""
STORE_S: Final = 5.0
"""How long the store may take for last words."""
TICK_S: Final = 1.0
"""How often limits of time are looked at."""
USAGE_S: Final = 30.0
"""How often usage is written down: a crash loses so much of it."""

WEB_PORTS: Final = {"http": 80, "https": 443}

KeyOf = Callable[[str], Awaitable[bytes | None]]
OpenHosted = Callable[[Spec, Floor], AbstractAsyncContextManager[Hosted]]


class Reason(Enum):
    """Why something is refused."""

    INVALID = "what was asked for makes no sense"
    NOT_FOUND = "there is no such session or profile"
    EXISTS = "there is such a session already"
    NOT_ALLOWED = "who asked may not have it"
    LIMIT = "a limit of the server is reached"
    FAILED = "it was tried and did not work"


class Refused(Exception):
    """A session cannot be had, or not done with what was asked. The text is one plain sentence."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


CODES: Final = {
    Reason.INVALID: Code.NO_SESSION,
    Reason.NOT_FOUND: Code.NO_SESSION,
    Reason.EXISTS: Code.NO_SESSION,
    Reason.NOT_ALLOWED: Code.NO_SESSION,
    Reason.LIMIT: Code.LIMIT,
    Reason.FAILED: Code.SESSION_FAILED,
}
"""What a device hears. What it may not have is not there for it: it learns nothing about others."""


@dataclass(eq=False, slots=True)
class Entry:
    """One session and what the server keeps about it."""

    spec: Spec
    created_s: float
    active_s: float
    """When somebody looked last, or kept it alive. Both by the wall's clock, to be shown."""
    began_s: float
    looked_s: float
    """The same by trio's, which is never set."""
    hosted: Hosted | None = None
    """None: it is starting, or has ended."""
    failure: Refused | None = None
    ready: trio.Event = field(default_factory=trio.Event)
    """It has started, or `failure` says why not."""
    gone: trio.Event = field(default_factory=trio.Event)
    """Nothing of it is left."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    closing: tuple[Code, str] | None = None
    """What its viewers hear, once its end is decided."""
    wish: trio.Event = field(default_factory=trio.Event)
    """It is to end."""
    meter: Meter = field(default_factory=lambda: Meter(None))
    """Of all its viewers that have left."""
    meters: dict[Meter, float] = field(default_factory=dict)
    """Of those that are there, and since when."""
    viewer_s: float = 0.0
    """Of those that have left."""
    usage: int | None = None
    writing: trio.Lock = field(default_factory=trio.Lock)
    """Held by who writes it down: nothing is counted twice."""
    written: tuple[float, float, int, int] = (0.0, 0.0, 0, 0)
    """Seconds, viewers' seconds and bytes down and up that the store has."""

    @property
    def id(self) -> str:
        """The session's name."""
        return self.spec.id

    @property
    def profile(self) -> Profile:
        """What runs in it."""
        return self.spec.profile

    @property
    def device(self) -> str | None:
        """Whose it is; None: the operators'."""
        return self.spec.device

    @property
    def state(self) -> Literal["starting", "running", "restarting", "ending"]:
        """In a word."""
        if self.closing is not None:
            return "ending"
        if self.hosted is None:
            return "starting"
        return "restarting" if self.hosted.state == "restarting" else "running"

    def used(self, now_s: float) -> tuple[float, float, int, int]:
        """Seconds, viewers' seconds, bytes down and up, until now."""
        viewer_s = self.viewer_s + sum(now_s - since_s for since_s in self.meters.values())
        meters = (self.meter, *self.meters)
        return now_s - self.began_s, viewer_s, sum(each.down for each in meters), sum(each.up for each in meters)


class Registry:
    """The sessions. `run` is their life; everything else may be called while it runs."""

    def __init__(
        self,
        config: Config,
        store: Store,
        floor: Floor,
        tickets: Tickets,
        events: Events,
        *,
        own_ports: Callable[[], frozenset[int]] = frozenset,
        wall: Callable[[], float] = time.time,
        open_session: OpenHosted = open_hosted,
        key_of: KeyOf | None = None,
    ) -> None:
        """`own_ports` of this machine, which no browser is sent to. `key_of` devices: who came in by one that is not
        good any more has to leave."""
        self._config = config
        self._store = store
        self._floor = floor
        self._tickets = tickets
        self._events = events
        self._own_ports = own_ports
        self._wall = wall
        self._open = open_session
        self._entries: dict[str, Entry] = {}
        self._key_of = key_of or store.key_of
        self._proven: dict[Metered, tuple[str, bytes]] = {}
        """By which key devices came in."""
        self._allowances = WeakValueDictionary[tuple[str, str], Allowance]()
        """As long as one of its connections is there."""
        self._arrivals = Rate(config.settings.handshakes_per_minute)
        """Of one device."""
        self._seated = 0
        """Viewers, and those on their way in."""
        self._nursery: trio.Nursery | None = None
        self._stopping: str | None = None

    # What there is.

    def all(self) -> list[Entry]:
        """Sessions in the order in which they were made, starting ones too."""
        return list(self._entries.values())

    def find(self, session_id: str) -> Entry | None:
        """One that starts, runs or ends."""
        return self._entries.get(session_id)

    def get(self, session_id: str) -> Entry | None:
        """One that runs."""
        entry = self._entries.get(session_id)
        return entry if entry is not None and entry.hosted is not None and entry.closing is None else None

    def expect(self, session_id: str) -> tuple[Entry, Hosted]:
        """One that runs. Raises Refused."""
        entry = self.get(session_id)
        if entry is None or entry.hosted is None:
            raise _no_such(session_id)
        return entry, entry.hosted

    # Life.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Let sessions live until this is cancelled; then nothing of them is left."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._watch)
            task_status.started()

    async def stop(self, text: str) -> None:
        """End all sessions, and make no more."""
        self._stopping = text
        async with trio.open_nursery() as nursery:
            for entry in self.all():
                nursery.start_soon(self._close, entry, Code.STOPPING, text)

    async def create(
        self,
        *,
        session_id: str | None = None,
        profile: str | None = None,
        device: str | None = None,
        url: str | None = None,
        size: Size | None = None,
    ) -> Entry:
        """Start a session; returns when its program runs. Raises Refused."""
        spec = self._spec(session_id, profile, device, url, size)
        wall_s, now_s = self._wall(), trio.current_time()
        entry = Entry(spec, wall_s, wall_s, now_s, now_s)
        self._entries[spec.id] = entry
        assert self._nursery is not None
        try:
            await self._nursery.start(self._live, entry)
        except Refused as refusal:
            entry.failure = refusal
            raise
        finally:
            if entry.failure is None and entry.hosted is None:
                entry.failure = Refused(Reason.FAILED, "its start was given up")
            entry.ready.set()
        return entry

    async def close(self, session_id: str, text: str = "closed by the operator") -> None:
        """End a session, a starting one too; returns when nothing of it is left. Raises Refused."""
        entry = self.find(session_id)
        if entry is None:
            raise _no_such(session_id)
        await self._close(entry, Code.SESSION_ENDED, text)

    async def load(self, session_id: str, url: str) -> Page:
        """Send a session's browser to `url`; returns the page. Raises Refused."""
        entry, hosted = self.expect(session_id)
        if hosted.browser is None:
            raise Refused(Reason.INVALID, f"session {session_id!r} shows no browser that could load a page")
        checked = self._checked(url, entry.profile)
        try:
            page = await hosted.browser.load(checked)
        except ServerError as error:
            raise Refused(Reason.FAILED, str(error)) from error
        self.keep_alive(session_id)
        self._events.tell("loaded", session_id, url=page.url)
        return page

    def keep_alive(self, session_id: str) -> Entry:
        """As if somebody had looked. Raises Refused."""
        entry, _ = self.expect(session_id)
        self._looked(entry)
        return entry

    def _looked(self, entry: Entry) -> None:
        entry.active_s, entry.looked_s = self._wall(), trio.current_time()

    # Devices.

    async def serve(self, connection: Connection, transport: Transport, hello: m.Hello, guest: Guest) -> None:
        """Serve a device that has shaken hands. Raises RemoteProtocolError for the goodbye that is due."""
        with ExitStack() as stack:
            await self._serve(connection, transport, hello, guest, stack)

    async def _serve(
        self, connection: Connection, transport: Transport, hello: m.Hello, guest: Guest, stack: ExitStack
    ) -> None:
        try:
            # Before anything is waited for: many may be on their way in.
            stack.enter_context(self._seat())
            entry, may_steer = await self._for_device(hello, guest)
        except StoreError as error:
            log.error("%s: what a device may do cannot be read: %s", transport.peer, error)
            raise RemoteProtocolError(Code.INTERNAL, "the server cannot look up devices at the moment") from error
        except Refused as refusal:
            raise RemoteProtocolError(CODES[refusal.reason], str(refusal)) from refusal
        hosted = entry.hosted
        assert hosted is not None
        guest = replace(guest, may_steer=guest.may_steer and may_steer)
        # A ticket's holder may call itself anything.
        spender = ("ticket of", guest.session) if guest.session is not None else ("device", hello.device_id)
        allowance = self._allowance(spender)
        with self._visit(entry, transport, hello.device_id, guest.key, allowance) as line:
            await hosted.session.serve(connection, line, hello, guest)

    @contextmanager
    def _seat(self) -> Iterator[None]:
        """One of those that there are for viewers. Raises Refused."""
        if self._seated >= self._config.settings.max_viewers:
            raise Refused(Reason.LIMIT, f"{self._seated} viewers look already")
        self._seated += 1
        try:
            yield
        finally:
            self._seated -= 1

    def _allowance(self, spender: tuple[str, str]) -> Allowance | None:
        """What all connections of one spender share."""
        bytes_per_s = self._config.settings.bytes_per_second
        if bytes_per_s is None:
            return None
        found = self._allowances.get(spender)
        if found is None:
            found = self._allowances[spender] = Allowance(bytes_per_s, trio.current_time())
        return found

    @contextmanager
    def _visit(
        self, entry: Entry, transport: Transport, device: str, key: bytes | None, allowance: Allowance | None
    ) -> Iterator[Metered]:
        began_s = trio.current_time()
        meter = Meter(allowance)
        line = Metered(transport, meter)
        entry.meters[meter] = began_s
        if key is not None:
            self._proven[line] = (device, key)
        self._looked(entry)
        self._events.tell("joined", entry.id, device=device)
        try:
            yield line
        finally:
            self._proven.pop(line, None)
            del entry.meters[meter]
            entry.meter.down += meter.down
            entry.meter.up += meter.up
            entry.viewer_s += trio.current_time() - began_s
            self._looked(entry)
            self._events.tell("left", entry.id, device=device)

    async def _for_device(self, hello: m.Hello, guest: Guest) -> tuple[Entry, bool]:
        """The session that a device is let into, made where it is due; and whether it may steer. Raises Refused."""
        if guest.session is None and not self._arrivals.take(hello.device_id, trio.current_time()):
            raise Refused(Reason.LIMIT, "this device connects too often: try again in a minute")
        if guest.session is not None:
            if hello.session not in (None, guest.session) or hello.profile is not None or hello.url is not None:
                raise Refused(Reason.NOT_ALLOWED, "the ticket is for another session")
            return self.expect(guest.session)[0], True
        device = hello.device_id
        access = await self._access(device)
        if hello.session is not None:
            return await self._named(hello, access), access.may_steer
        own = self._own(device, hello.profile, access)
        if own is None and hello.profile is None and hello.url is None and access.default is None:
            own = self._shared(access)
        profile = None
        if own is None:
            profile = self._profile_for(hello, access)
            await self._until_ended(device, profile)
            # Another connection of it may have been quicker.
            own = self._own(device, profile, access)
        if own is None:
            own = await self.create(profile=profile, device=device, url=hello.url)
        else:
            await _settled(own)
            if hello.url is not None:
                await self.load(own.id, hello.url)
        return own, access.may_steer

    async def _until_ended(self, device: str, profile: str) -> None:
        """Its home may be needed again."""
        for entry in self.all():
            if entry.closing is not None and (entry.device, entry.profile.name) == (device, profile):
                await entry.gone.wait()

    async def _access(self, device: str) -> Access:
        """Raises Refused for a device that may nothing."""
        access = self._config.access_of(device)
        row = await self._store.device(device)
        if row is not None:
            with _told("when a device was seen"):
                await self._store.seen_device(device)
            if row.profiles:
                known = tuple(name for name in row.profiles if name in self._config.profiles)
                default = row.default or (known[0] if len(known) == 1 else None)
                access = Access(known, default, access.may_steer if access is not None else True)
            elif access is not None and row.default in access.profiles:
                access = replace(access, default=row.default)
        if access is None:
            raise Refused(Reason.NOT_ALLOWED, "this device may open nothing here")
        return access

    async def _named(self, hello: m.Hello, access: Access) -> Entry:
        entry = self._entries.get(hello.session or "")
        visible = entry is not None and (
            entry.device == hello.device_id or (entry.device is None and entry.profile.name in access.profiles)
        )
        if entry is None or not visible or entry.closing is not None:
            raise Refused(Reason.NOT_FOUND, f"there is no session {hello.session!r}")
        if hello.profile not in (None, entry.profile.name):
            raise Refused(Reason.NOT_FOUND, f"session {hello.session!r} does not show {hello.profile!r}")
        await _settled(entry)
        if hello.url is not None:
            if entry.device != hello.device_id:
                raise Refused(Reason.NOT_ALLOWED, "the page of a session that others share is the operator's to choose")
            await self.load(entry.id, hello.url)
        return entry

    def _own(self, device: str, profile: str | None, access: Access) -> Entry | None:
        """The newest session that this device opened, of a profile that it still may have."""
        for entry in reversed(self.all()):
            if entry.device == device and entry.closing is None and entry.failure is None:
                if profile in (None, entry.profile.name) and entry.profile.name in access.profiles:
                    return entry
        return None

    def _shared(self, access: Access) -> Entry | None:
        """The only session of an operator that may be seen."""
        found = [
            entry
            for entry in self.all()
            if entry.device is None and entry.closing is None and entry.profile.name in access.profiles
        ]
        return found[0] if len(found) == 1 else None

    def _profile_for(self, hello: m.Hello, access: Access) -> str:
        if hello.profile is not None:
            if hello.profile not in access.profiles:
                raise Refused(Reason.NOT_ALLOWED, f"there is no profile {hello.profile!r}")
            return hello.profile
        if access.default is None:
            named = ", ".join(access.profiles) or "none"
            raise Refused(Reason.NOT_FOUND, f"say which profile it is to be; this device may open: {named}")
        return access.default

    # Making one.

    def _spec(
        self, session_id: str | None, profile: str | None, device: str | None, url: str | None, size: Size | None
    ) -> Spec:
        """Raises Refused."""
        settings = self._config.settings
        if self._stopping is not None:
            raise Refused(Reason.LIMIT, f"the server is stopping: {self._stopping}")
        if session_id is None:
            session_id = f"session_{secrets.token_hex(6)}"
        elif not SESSION_ID.fullmatch(session_id):
            raise Refused(Reason.INVALID, "a session's id has 1 to 64 letters, digits, - or _")
        if session_id in self._entries:
            raise Refused(Reason.EXISTS, f"there is a session {session_id!r} already")
        if profile is None and len(self._config.profiles) == 1:
            profile = next(iter(self._config.profiles))
        if profile is None:
            raise Refused(Reason.INVALID, f"say which profile: {', '.join(self._config.profiles) or 'there is none'}")
        found = self._config.profiles.get(profile)
        if found is None:
            raise Refused(Reason.NOT_FOUND, f"there is no profile {profile!r}")
        if size is not None and not size.fits(found.largest_size):
            raise Refused(Reason.INVALID, f"{size} is larger than this profile's {found.largest_size}")
        if url is not None:
            if found.kind == "command":
                raise Refused(Reason.INVALID, f"profile {profile!r} is no browser: it opens no page")
            url = self._checked(url, found)
        if len(self._entries) >= settings.max_sessions:
            raise Refused(Reason.LIMIT, f"{settings.max_sessions} sessions run already")
        if device is not None:
            own = sum(entry.device == device for entry in self.all())
            if own >= settings.max_sessions_per_device:
                raise Refused(Reason.LIMIT, f"{own} sessions of this device run already")
        return Spec(id=session_id, profile=found, device=device, size=size or found.size, url=url or found.url)

    def _checked(self, url: str, profile: Profile) -> str:
        try:
            checked = check_url(url, profile.url_rules)
        except UrlRefused as refusal:
            raise Refused(Reason.INVALID, str(refusal)) from refusal
        if is_ours(checked, self._own_ports()):
            raise Refused(Reason.INVALID, f"{checked} is this server itself")
        return checked

    async def _live(self, entry: Entry, *, task_status: trio.TaskStatus[None]) -> None:
        """One session from its start to its end."""
        failure: str | None = None
        reason = "the server was stopped"
        try:
            with entry.scope:
                async with self._open(entry.spec, self._floor) as hosted:
                    with _told("usage"):
                        entry.usage = await self._store.begin_usage(entry.id, entry.profile.name, entry.device)
                    log.info("session %s: %s on display %s", entry.id, entry.profile.name, hosted.display_name)

                    hosted.session.touch_screen = _BrowserTouch(hosted)

                    def started() -> None:
                        # What is counted begins here too.
                        entry.hosted, entry.began_s = hosted, trio.current_time()
                        self._events.tell("created", entry.id, profile=entry.profile.name, device=entry.device)
                        task_status.started()

                    code, reason = await _until_over(entry, hosted, started)
                    if entry.hosted is None:
                        failure = reason
                    entry.closing = entry.closing or (code, reason)
                    hosted.session.end(code, reason)
                    with trio.move_on_after(GOODBYES_S):
                        await hosted.session.until_left()
        except* (DisplayError, ServerError, OSError) as group:
            failure = reason = _sentence(group)
        except* Exception:
            # Of one session: it is not to take the others along.
            failure = reason = "an error of this server"
            log.exception("session %s: an error of this server", entry.id)
        finally:
            if entry.hosted is not None:
                # Nobody is let in any more, and who is in has heard nothing yet where it broke.
                code = Code.STOPPING if failure is None else Code.SESSION_FAILED
                entry.closing = entry.closing or (code, reason)
                if not entry.hosted.session.ended:
                    entry.hosted.session.end(code, reason)
            await self._forget(entry, reason)
        if failure is not None:
            log.warning("session %s: %s", entry.id, failure)
        if entry.hosted is None:
            if entry.closing is not None:
                raise Refused(Reason.LIMIT, entry.closing[1])
            raise Refused(Reason.FAILED, failure or "its start was given up")

    async def _close(self, entry: Entry, code: Code, text: str) -> None:
        entry.closing = entry.closing or (code, text)
        entry.wish.set()
        if entry.hosted is None:
            entry.scope.cancel()
        await entry.gone.wait()

    async def _forget(self, entry: Entry, reason: str) -> None:
        self._tickets.revoke(entry.id)
        try:
            if entry.usage is not None:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + STORE_S):
                    await self._write_usage(entry)
                    async with entry.writing:
                        # Whoever waits to write finds nothing to write to.
                        usage, entry.usage = entry.usage, None
                        with _told("the end of a session's usage"):
                            await self._store.end_usage(usage, reason)
            if entry.hosted is not None:
                log.info("session %s is over: %s", entry.id, reason)
                self._events.tell("closed", entry.id, reason=reason)
        finally:
            del self._entries[entry.id]
            entry.gone.set()
        if self._nursery is not None:
            self._nursery.start_soon(_give_back)

    async def _write_usage(self, entry: Entry) -> None:
        async with entry.writing:
            if entry.usage is None or entry.hosted is None:
                return
            now = entry.used(trio.current_time())
            seconds, viewer_s, down, up = (new - old for new, old in zip(now, entry.written, strict=True))
            with _told("usage"):
                await self._store.add_usage(entry.usage, seconds, int(down), int(up), viewer_seconds=viewer_s)
                entry.written = now

    async def _watch(self) -> None:
        """End sessions that nobody needs, and write down what is used."""
        written_s = trio.current_time()
        while True:
            await trio.sleep(TICK_S)
            now = trio.current_time()
            for entry in self.all():
                if entry.meters:
                    self._looked(entry)
                if entry.hosted is not None and entry.closing is None and (why := _outlived(entry, now)):
                    entry.closing = (Code.SESSION_ENDED, why)
                    entry.wish.set()
            with _told("who has a key"):
                await self._expel()
            if now >= written_s + USAGE_S:
                written_s = now
                for entry in self.all():
                    await self._write_usage(entry)

    async def _expel(self) -> None:
        """Devices that were disabled, removed or given another key leave. Raises StoreError."""
        for line, (device, key) in list(self._proven.items()):
            now = await self._key_of(device)
            if not now or not hmac.compare_digest(now, key):
                line.end(RemoteProtocolError(Code.AUTH_FAILED, "the device's key is not good any more"))


@dataclass(frozen=True, slots=True)
class _BrowserTouch:
    """Fingers on the browser that a session has at the moment; without one there is only the pointer."""

    hosted: Hosted

    @property
    def takes_touch(self) -> bool:
        return self.hosted.browser is not None and self.hosted.browser.takes_touch

    async def touch(self, fingers: Mapping[int, Point]) -> None:
        with suppress(BrowserGone):
            if self.hosted.browser is not None:
                await self.hosted.browser.touch({number: Spot(at.x, at.y) for number, at in fingers.items()})

    async def release(self) -> None:
        with suppress(BrowserGone):
            if self.hosted.browser is not None:
                await self.hosted.browser.release()


async def _give_back() -> None:
    with suppress(RuntimeError):
        await trio.to_thread.run_sync(give_back)


async def _until_over(entry: Entry, hosted: Hosted, started: Callable[[], None]) -> tuple[Code, str]:
    """Until its program or its display has ended, or somebody closes it. `started`: told when it can be used."""
    heard: list[tuple[Code, str]] = []
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            ending = await hosted.run()
            heard.append((ending.code, ending.text))
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        if entry.profile.kind == "chromium":
            # Who made it wants to load a page, or to see one.
            with trio.move_on_after(BROWSER_S) as waited:
                try:
                    await hosted.wait_browser()
                except ServerError:
                    if hosted.state != "ended":
                        raise
                    # How it ended is about to be heard, and says more.
                    await trio.sleep_forever()
            if waited.cancelled_caught:
                raise ServerError(f"the browser did not start within {BROWSER_S:g} s")
        started()
        await entry.wish.wait()
        nursery.cancel_scope.cancel()
    if entry.closing is not None:
        heard.insert(0, entry.closing)
    return heard[0]


def _outlived(entry: Entry, now_s: float) -> str | None:
    """Why a session's time is over, if it is."""
    profile = entry.profile
    if profile.lifetime_s is not None and now_s - entry.began_s >= profile.lifetime_s:
        return f"its time of {profile.lifetime_s:g} s is over"
    if profile.idle_s is not None and not entry.meters and now_s - entry.looked_s >= profile.idle_s:
        return f"nobody looked for {profile.idle_s:g} s"
    return None


@contextmanager
def _told(what: str) -> Iterator[None]:
    """The session goes on where the store cannot take something: the operator reads of it."""
    try:
        yield
    except (StoreError, RuntimeError) as error:
        # RuntimeError: there is no thread left to be had.
        log.error("%s cannot be kept: %s", what, error)
    except Exception:
        log.exception("%s cannot be kept: an error of this server", what)


_OUR_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
"""As Debian and others have them in /etc/hosts."""


def _no_such(session_id: str) -> Refused:
    return Refused(Reason.NOT_FOUND, f"there is no session {session_id!r}")


def is_ours(url: str, ports: frozenset[int]) -> bool:
    """Whether a canonical URL leads to one of our own ports on this machine. What a name leads to is not known here."""
    parts = urlsplit(url)
    if (parts.port or WEB_PORTS.get(parts.scheme)) not in ports or parts.hostname is None:
        return False
    host = parts.hostname
    try:
        addresses = list(carried_addresses(ip_address(host)))
    except ValueError:
        return host in _OUR_NAMES or host.endswith(".localhost") or host == socket.gethostname().lower()
    return any(address.is_loopback or address.is_unspecified or _is_local(address) for address in addresses)


def _is_local(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is one of this machine's."""
    with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


async def _settled(entry: Entry) -> None:
    """A session that is starting has started. Raises Refused where it cannot."""
    await entry.ready.wait()
    if entry.failure is not None:
        raise entry.failure


def _sentence(group: BaseExceptionGroup[BaseException]) -> str:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)
