"""One connected device or browser: its input in, its updates out."""

from __future__ import annotations

import logging
import math
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import trio

from tilewire.protocol import (
    AuthMethod,
    Capability,
    Code,
    Connection,
    EndOfStream,
    NoticeCode,
    Point,
    Rect,
    RemoteProtocolError,
    Resumed,
    Role,
)
from tilewire.protocol import messages as m
from tilewire.protocol.constants import (
    PING_INTERVAL_S,
    PING_MISSES,
    TOKEN_SIZE,
    ControlAction,
    Rotation,
    ViewMode,
)
from tilewire.protocol.geometry import bounding
from tilewire.protocol.wire import Message
from tilewire.server.clipboard import Incoming, Outgoing
from tilewire.server.cursor import Overlay
from tilewire.server.display import DisplayLost
from tilewire.server.encoder import MOVE_MIN_AREA, Damage, Encoder, Touched, Update
from tilewire.server.handshake import Guest, read_event
from tilewire.server.kept import Kept
from tilewire.server.metered import Metered
from tilewire.server.pacing import Pacing
from tilewire.server.pointing import Pointing
from tilewire.server.steering import INPUT_MESSAGES, Steering
from tilewire.server.transport import FAREWELL_S, Gone, Transport, printable
from tilewire.server.view import View

if TYPE_CHECKING:
    from tilewire.server.session import Session

log = logging.getLogger(__name__)

IN_FORCE: Final = (
    Capability.COPY
    | Capability.EXPLAIN
    | Capability.VIEW_ONLY
    | Capability.INPUT_ECHO
    | Capability.RESIZE
    | Capability.TOUCH
    | Capability.CLIPBOARD
    | Capability.BELL
)
"""The capabilities that this server puts to use."""
STALLED_S: Final = 30.0
"""A device that acknowledges nothing, or takes no bytes, for so long is let go."""
INLINE_PIXELS: Final = 4096
"""Updates up to this many damaged pixels are made at once: handing them to a thread would take longer."""
INLINE_AREA: Final = 4 * INLINE_PIXELS
"""As long as no more than so many lie between them."""
MAX_ANSWERS: Final = 64
"""Messages that wait to be written; beyond, the reader waits, or who asks without reading would fill the memory."""
NOTICE_INTERVAL_S: Final = 1.0
CONTROL_INTERVAL_S: Final = 0.05
BELL_INTERVAL_S: Final = 0.1
"""A program may ring a thousand times a second; nobody hears more than this."""
RESIZE_INTERVAL_S: Final = 0.1
"""A new framebuffer is dear, and a window's edge that is dragged asks for many: the last of them counts."""
RESUMABLE: Final = frozenset({Code.TIMEOUT, Code.TOO_SLOW, Code.FLOOD, Code.REPLACED})
"""A connection that ends with another code broke the protocol: what its device shows is anybody's guess."""
SLICE_BYTES: Final = 16384
"""Written at once: each slice that a device takes is a sign of life, however thin its link."""


def is_brief(damage: list[Rect], pan: tuple[int, int]) -> bool:
    """Whether the update is made sooner than a thread could be woken for it."""
    pixels = sum(rect.area for rect in damage)
    area = bounding(damage)
    if area is None or pan != (0, 0):
        return area is None
    # What moved is searched for in the whole area between the changes.
    return pixels < MOVE_MIN_AREA or (pixels <= INLINE_PIXELS and area.area <= INLINE_AREA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How things stand with one viewer."""

    number: int
    device: str
    peer: str
    proven: bool
    """Whether the device has shown its key."""
    since_s: float
    """How long ago it was welcomed."""
    role: Role
    may_steer: bool
    panel: tuple[int, int]
    pixel_format: str
    fps: int
    quality: int
    adaptive: bool
    paused: bool
    updates: int
    """Sent."""
    bytes_down: int | None
    """To the device, since it was welcomed; what TLS and WebSocket add is not counted. None: nobody counts."""
    bytes_up: int | None
    in_flight_bytes: int
    """Sent and not acknowledged."""
    round_trip_s: float | None
    """The shortest from an update to its acknowledgement."""
    bytes_per_s: float | None
    """By the last acknowledgement."""


class Viewer:
    """The life of one viewer between WELCOME and goodbye."""

    def __init__(
        self,
        session: Session,
        connection: Connection,
        transport: Transport,
        number: int,
        setting: m.Setting,
        kept: Kept | None,
        resumed: Resumed,
        guest: Guest | None = None,
    ) -> None:
        """`setting`: at first; its rate is also the most. `kept`: what this viewer goes on from, where `resumed` is
        RESUMED. `guest`: what it may, and how long.
        """
        hello = connection.hello
        assert hello is not None
        self._session = session
        self._connection = connection
        self._transport = transport
        self._hello = hello
        self.number = number
        self.label = f"viewer {number} ({printable(hello.device_id)}, {transport.peer})"
        self.surrendered = False
        """Whether the device goes on elsewhere from what this viewer had."""
        self.may_steer = not hello.capabilities & Capability.VIEW_ONLY and (guest is None or guest.may_steer)
        self._until_s = guest.until_s if guest is not None else math.inf
        self._capabilities = hello.capabilities & IN_FORCE
        if not self.may_steer:
            self._capabilities &= ~Capability.CLIPBOARD
        self._may_ever_steer = self.may_steer
        self._welcomed_s = trio.current_time()
        self._max_fps = setting.fps
        self.token = secrets.token_bytes(TOKEN_SIZE)
        """With it the device may go on where this connection ended."""
        self._resumed = resumed
        self._encoder = Encoder(hello, self._capabilities)
        self._encoder.quality = setting.quality
        self._encoding = trio.Lock()
        """Held by whoever uses the encoder."""
        self._view = View(session.size, (hello.panel.width, hello.panel.height))
        self._settings = setting
        self._pointing = Pointing(hello.cursor, hello.max_message)
        if kept is not None and hello.resume is not None:
            self._encoder.adopt(kept.encoder, hello.resume.update)
            self._encoder.quality = kept.settings.quality
            self._pointing.adopt(kept.pointing, hello.resume.update)
            self._view = replace(kept.view, session=session.size)
            self._settings = replace(kept.settings, fps=min(kept.settings.fps, setting.fps))
            connection.rules.adopt(kept.rules)
        self._followed = session.pointer
        """Where the window has followed the pointer to."""
        self._built_view = self._view
        """The view that the shadow was last brought up to date with."""
        self._overlay: Overlay | None = None
        """The pointer in the picture, as it was converted last."""
        self._damage = Damage()
        self._pacing = Pacing(self._settings.fps)
        self._steering = Steering(session, self, number, hello.density)
        self._outbox: deque[Message] = deque()
        self._flushed = trio.Event()
        self._forget = False
        """Whether the device has asked for a whole repaint. The encoder is the writer's: it carries that out."""
        self._owes_update = True
        """The first update tells the device that its picture is the session's, also where nothing has changed."""
        self._new_size: tuple[int, int] | None = None
        """What the device wants its framebuffer to be; carried out by the writer too."""
        self._resized_s = -math.inf
        self._wake = trio.Event()
        self._paused = False
        self._update = 0
        self._settled = True
        """Whether the shadow is what the device has, or will have by what was sent."""
        self._captures = session.captures
        """The session's count of captures when we last looked."""
        self._clipboard_in = Incoming()
        self._clipboard_out = Outgoing(hello.max_message)
        self._rang_s = self._controlled_s = -math.inf
        self._heard_s = self._pinged_s = trio.current_time()
        self._pings = 0
        self._taken_s = -math.inf
        """When the device had taken the last update whole."""
        self._noticed_s: dict[NoticeCode, float] = {}
        self._farewell: RemoteProtocolError | None = None
        self._gone = False
        self._resigned = False
        """Whether the device has said that it does not come back."""
        self._stop = trio.CancelScope()

    @property
    def hungry(self) -> bool:
        """Whether an update could go out now: only then is the screen worth grabbing."""
        return not self._paused and trio.current_time() >= self._pacing.ready_s()

    @property
    def view(self) -> View:
        """What this viewer sees."""
        return self._view

    @property
    def leaves(self) -> bool:
        """Whether its end is decided."""
        return self._farewell is not None

    @property
    def resumable(self) -> bool:
        """Whether another connection may go on from here."""
        return not self._resigned and (self._farewell is None or self._farewell.code in RESUMABLE)

    @property
    def takes_clipboard(self) -> bool:
        """Whether the session's clipboard is sent to this viewer."""
        return self.may_steer and bool(self._capabilities & Capability.CLIPBOARD)

    def is_same_device(self, connection: Connection) -> bool:
        """Whether the device of another connection is this one's: what proved nothing has to know our boot id too."""
        hello = connection.hello
        if hello is None or hello.device_id != self._hello.device_id:
            return False
        return (_proven(connection) and _proven(self._connection)) or hello.boot_id == self._hello.boot_id

    def is_meant(self, hello: m.Hello) -> bool:
        """Whether this is the connection that a device wants to go on from."""
        if hello.resume is None or hello.device_id != self._hello.device_id:
            return False
        return hello.resume.token == self.token and self.resumable

    # What the session tells.

    def damaged(self, rect: Rect) -> None:
        """A rectangle of the session has new pixels."""
        shown = self._view.to_panel(rect)
        if shown is not None:
            self._damage.add(shown)
            self.wake()

    def session_resized(self, size: tuple[int, int]) -> None:
        """The session's screen has another size."""
        self._look(replace(self._view, session=size))
        self.tell_view()

    def catch_up(self) -> None:
        """Follow the session's pointer, if it moved while the hand was at work."""
        if self._followed != self._session.pointer and self._steering.at_rest:
            self.follow(self._session.pointer)

    def pointer_changed(self) -> None:
        """The session's pointer has another place or shape."""
        self.catch_up()
        if self._overlay_now() != self._overlay:
            self._damage_overlay()
        self.wake()

    def clipboard_changed(self, text: bytes) -> None:
        """Somebody else has put this into the session's clipboard; UTF-8."""
        if self.takes_clipboard:
            self._clipboard_out.offer(text)
            self.wake()

    def rang(self) -> None:
        """The session's bell rang."""
        now = trio.current_time()
        if self._capabilities & Capability.BELL and now >= self._rang_s + BELL_INTERVAL_S:
            self._rang_s = now
            self._say_newest(m.Bell())

    def wake(self) -> None:
        """Something is to be written."""
        self._wake.set()

    def leave(self, code: Code, text: str) -> None:
        """End this viewer with a goodbye. What is being written may go out before it, or it could not be read."""
        if self._farewell is None:
            self._farewell = RemoteProtocolError(code, text)
            self._stop.deadline = trio.current_time() + FAREWELL_S
            self.wake()

    def control_changed(self) -> None:
        """Tell who holds the control, and let go of what was held with it."""
        self._say_newest(m.ControlState(role=self._role, holder=self._session.holder_number))
        if self._role is not Role.CONTROL:
            self._steering.control_lost()

    def allow_steering(self, allowed: bool) -> bool:
        """Whether it may steer from now on, as far as it ever may. Returns False where it never may."""
        if allowed and not self._may_ever_steer:
            return False
        self.may_steer = allowed
        if not allowed:
            self._session.release_control(self)
        self.control_changed()
        return True

    def configure(self, setting: m.Setting) -> None:
        """Settings of the operator's: as if the device had asked for them, and no rate above them from now on."""
        self._max_fps = setting.fps
        self._set(setting)
        self.wake()

    def status(self) -> Status:
        """How things stand."""
        pacing, panel = self._pacing, self._encoder.panel
        meter = self._transport.meter if isinstance(self._transport, Metered) else None
        return Status(
            number=self.number,
            device=self._hello.device_id,
            peer=self._transport.peer,
            proven=_proven(self._connection),
            since_s=trio.current_time() - self._welcomed_s,
            role=self._role,
            may_steer=self.may_steer,
            panel=(panel.width, panel.height),
            pixel_format=self._connection.rules.format.name,
            fps=self._settings.fps,
            quality=self._settings.quality,
            adaptive=bool(self._settings.adaptive),
            paused=self._paused,
            updates=self._update,
            bytes_down=meter.down if meter is not None else None,
            bytes_up=meter.up if meter is not None else None,
            in_flight_bytes=pacing.in_flight_bytes,
            round_trip_s=pacing.round_trip_s,
            bytes_per_s=pacing.bytes_per_s,
        )

    def exact_picture(self) -> bytes | None:
        """What the device shows once it has all that was sent, as stored pixels; None where that is not exact now."""
        shadow, panel = self._encoder.shadow, self._encoder.panel
        if not self._settled or shadow.count(panel).exact != panel.area:
            return None
        return bytes(shadow.pixels)

    async def surrender(self) -> None:
        """End this viewer since its device is back on another connection; afterwards `kept` may be used by that."""
        self.surrendered = True
        self.token = secrets.token_bytes(TOKEN_SIZE)
        self.leave(Code.REPLACED, "the same device connected again")
        async with self._encoding:
            pass

    def kept(self) -> Kept:
        """What a device that comes back goes on from. Nobody else may use the encoder by now."""
        self._carry_out_refresh()
        return Kept(
            hello=self._hello,
            proven=_proven(self._connection),
            encoder=self._encoder,
            sent=self._update,
            rules=self._connection.rules,
            view=self._view,
            settings=self._settings,
            pointing=self._pointing,
        )

    @property
    def _role(self) -> Role:
        if not self.may_steer:
            return Role.VIEW_ONLY
        return Role.CONTROL if self._session.holder_number == self.number else Role.WAITING

    # The life.

    async def run(self) -> None:
        """Serve the device until it leaves. Raises RemoteProtocolError (what to say goodbye with) and Gone."""
        self._welcome()
        self._damage.add(self._encoder.panel)
        with self._stop:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until, self._read)
                nursery.start_soon(self._until, self._steering.run)
                if self._until_s < math.inf:
                    nursery.start_soon(self._expire)
                await self._until(self._write)
                nursery.cancel_scope.cancel()
        if self._farewell is not None:
            raise self._farewell

    async def _expire(self) -> None:
        await trio.sleep_until(self._until_s)
        self.leave(Code.AUTH_FAILED, "the ticket has expired")

    async def _until(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run one of the three tasks; its end, whichever way, ends the others: the writer's at once."""
        try:
            await task()
        except RemoteProtocolError as error:
            self.leave(error.code, str(error))
        except DisplayLost as lost:
            self.leave(Code.SESSION_FAILED, str(lost))
        except Gone as gone:
            if self._farewell is None and not self._gone:
                # Reading and writing may find out at the same time.
                self._gone = True
                log.info("%s: %s", self.label, gone)
            self._stop.cancel()

    def _say(self, message: Message) -> None:
        self._outbox.append(message)
        self.wake()

    def _say_newest(self, message: Message) -> None:
        """Say how things stand now; what was to be said of it before is of no use any more."""
        for index, waiting in enumerate(self._outbox):
            if type(waiting) is type(message):
                del self._outbox[index]
                break
        self._say(message)

    def _welcome(self) -> None:
        self._say(
            m.Welcome(
                session=self._session.name,
                size=m.Size(width=self._session.size[0], height=self._session.size[1]),
                role=self._role,
                viewer=self.number,
                settings=m.Settings(
                    fps=self._settings.fps, quality=self._settings.quality, adaptive=self._settings.adaptive
                ),
                capabilities=self._capabilities,
                resume=m.ResumeOffer(token=self.token, lifetime_s=int(self._session.resume_s)),
                resumed=self._resumed,
            )
        )
        self.tell_view()

    def tell_view(self) -> None:
        """Say which view is in force."""
        self._say_newest(
            m.ViewState(
                mode=self._view.mode,
                rotation=self._view.rotation,
                follow=int(self._view.follow),
                session=m.Size(width=self._view.session[0], height=self._view.session[1]),
                window=self._view.window,
            )
        )

    # Reading.

    async def _read(self) -> None:
        while True:
            event = await read_event(self._connection, self._transport)
            self._heard_s = trio.current_time()
            self._pings = 0
            if isinstance(event, EndOfStream):
                raise Gone("left without a goodbye")
            if isinstance(event, m.Goodbye):
                self._resigned = event.code == Code.NORMAL
                raise Gone(f"said goodbye: {printable(event.text) or event.code}")
            if isinstance(event, INPUT_MESSAGES):
                if isinstance(event, m.Pointer):
                    self._pointing.moved(event.position)
                await self._steering.put(event)
            elif isinstance(event, m.ResizeSession):
                await self._steering.put(event)
            elif isinstance(event, m.Clipboard):
                await self._take_clipboard(event)
            elif isinstance(event, m.Control):
                # Others are told of each change: who changes it often has to wait.
                await trio.sleep_until(self._controlled_s + CONTROL_INTERVAL_S)
                self._controlled_s = trio.current_time()
                self._control(event)
            else:
                self._handle(event)
                # Many may have come at once: others are to have their turn in between.
                await trio.lowlevel.checkpoint()
            while len(self._outbox) > MAX_ANSWERS:
                self._flushed = trio.Event()
                await self._flushed.wait()

    def _handle(self, event: object) -> None:
        match event:
            case m.Ack():
                self._pacing.acknowledged(event.update, trio.current_time())
                self._encoder.journal.acknowledge(event.update)
                self.wake()
            case m.Ping():
                self._say(m.Pong(stamp=event.stamp))
            case m.Pong():
                if self._pointing.answered(event.stamp):
                    self.wake()
            case m.Setting():
                self._set(event)
            case m.View():
                self._look_at(event)
            case m.Pause():
                self._paused = bool(event.paused)
                self.wake()
            case m.Refresh():
                self._forget = True
                self._damage.add(self._encoder.panel)
                self.wake()
            case m.Resize():
                self._new_size = event.width, event.height
                self.wake()
            case _:
                pass

    def _set(self, wanted: m.Setting) -> None:
        self._settings = m.Setting(fps=min(wanted.fps, self._max_fps), quality=wanted.quality, adaptive=wanted.adaptive)
        self._pacing.fps = self._settings.fps
        self._encoder.quality = self._settings.quality
        self._say(self._settings)

    def _look_at(self, wanted: m.View) -> None:
        self._look(
            replace(
                self._view,
                origin=wanted.origin,
                follow=bool(wanted.follow),
                mode=ViewMode(wanted.mode),
                rotation=Rotation(wanted.rotation),
            )
        )
        self.tell_view()

    def follow(self, pointer: Point) -> None:
        """Keep the session's pointer in sight, where the device wants that."""
        self._followed = pointer
        view = self._view.following(pointer)
        if view != self._view:
            self._look(view)
            self.tell_view()

    def _look(self, view: View) -> None:
        """Show this from now on."""
        if view != self._view:
            self._view = view
            self._damage.add(self._encoder.panel)
            self.wake()

    def _overlay_now(self) -> Overlay | None:
        return self._pointing.overlay(self._view, self._session.pointer, self._session.shape)

    def _damage_overlay(self) -> None:
        """The pointer in the picture is to be drawn anew, and taken off where it was."""
        for overlay in (self._overlay, self._overlay_now()):
            shown = overlay.rect(self._encoder.panel) if overlay is not None else None
            if shown is not None:
                self._damage.add(shown)

    async def _take_clipboard(self, chunk: m.Clipboard) -> None:
        whole = self._clipboard_in.take(chunk)
        if whole is None:
            return
        try:
            whole.decode()
        except UnicodeDecodeError:
            self.notice(NoticeCode.CLIPBOARD, "the clipboard's text is not UTF-8")
        else:
            await self._steering.put(whole)

    def _control(self, wanted: m.Control) -> None:
        if not self.may_steer:
            self.notice(NoticeCode.VIEW_ONLY)
        elif wanted.action == ControlAction.ASK:
            self._session.take_control(self)
        elif wanted.action == ControlAction.PASS:
            self._session.pass_control(self, wanted.viewer)
        else:
            self._session.release_control(self)
        self.control_changed()

    def _resize(self, size: tuple[int, int]) -> None:
        self._new_size = None
        self._encoder.resize(*size)
        self._damage = Damage()
        self._damage.add(self._encoder.panel)
        self._view = self._built_view = replace(self._view, panel=size)
        self._say(m.Resize(width=size[0], height=size[1]))
        self.tell_view()

    def notice(self, code: NoticeCode, text: str = "") -> None:
        """Tell the device of something after which all goes on; the same not too often."""
        now = trio.current_time()
        if now >= self._noticed_s.get(code, -math.inf) + NOTICE_INTERVAL_S:
            self._noticed_s[code] = now
            self._say(m.Notice(code=code, text=text or code.text))

    # Writing.

    async def _write(self) -> None:
        while self._farewell is None:
            self._wake = trio.Event()
            now = trio.current_time()
            resize_due = math.inf
            if self._new_size is not None:
                resize_due = self._resized_s + RESIZE_INTERVAL_S
                if resize_due <= now:
                    self._resized_s, resize_due = now, math.inf
                    self._resize(self._new_size)
            await self._send(self._sayings())
            now = trio.current_time()
            due = math.inf if self._paused else self._pacing.ready_s()
            if now >= due:
                # The newest state wins: what waits is not sent while newer pixels can be had, once for each update.
                due_one = self._damage or self._owes_update
                if due_one and not (self._session.stale and self._captures == self._session.captures):
                    await self._send_update()
                    continue
                self._session.look()
                due = math.inf
                if not self._damage and self._pacing.in_flight_bytes == 0:
                    due = self._encoder.refinable_s()
                    if due <= now:
                        await self._refine()
                        continue
            with trio.CancelScope(deadline=min(due, resize_due, self._pointing.due_s, self._next_chore(now))):
                await self._wake.wait()

    def _sayings(self) -> bytes:
        """All that is to be said now, to be written before anything else is."""
        connection = self._connection
        data = bytearray()
        while self._outbox:
            data += connection.send(self._outbox.popleft())
        self._flushed.set()
        if self._clipboard_out:
            # One chunk, then pixels again.
            data += connection.send(self._clipboard_out.next_chunk())
            self.wake()
        for news in self._pointing.news(
            self._view,
            self._session.pointer,
            self._session.shape,
            self._update,
            trio.current_time(),
            settled=self._steering.settled,
            steers=self._role is Role.CONTROL,
        ):
            data += connection.send(news)
        return bytes(data)

    async def _send(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            with trio.move_on_after(STALLED_S) as scope:
                await self._transport.send(data[start : start + SLICE_BYTES])
            if scope.cancelled_caught:
                raise Gone("took no bytes for too long")

    def _next_chore(self, now: float) -> float:
        """Do what time asks for; when to look again."""
        due = max(self._pacing.oldest_s(), self._taken_s) + STALLED_S
        if self._pacing.oldest_s() == math.inf:
            due = math.inf
        elif due <= now:
            raise RemoteProtocolError(Code.TOO_SLOW, f"no acknowledgement for {STALLED_S:g} s")
        ping = max(self._heard_s, self._pinged_s) + PING_INTERVAL_S
        if ping <= now:
            if self._pings == PING_MISSES:
                raise RemoteProtocolError(Code.TIMEOUT, f"silent for {PING_MISSES + 1} intervals")
            self._pings += 1
            self._pinged_s = now
            ping = now + PING_INTERVAL_S
            self._say(m.Ping(stamp=int(now * 1e6)))
        if self._capabilities & Capability.INPUT_ECHO:
            echo, echo_due = self._steering.overdue(now)
            if echo is not None:
                self._say(m.InputEcho(input=echo))
            due = min(due, echo_due)
        return min(due, ping)

    async def _send_update(self) -> None:
        started = trio.current_time()
        self._captures = self._session.captures
        damage = self._damage.take()
        # The view that this update shows is announced right before it, and nothing comes between.
        view, announced, encoder = self._view, self._sayings(), self._encoder
        pan = view.shift_from(self._built_view) or (0, 0)
        overlay = self._overlay = self._overlay_now()
        async with self._encoding:
            if self._farewell is not None:
                return
            self._settled = False
            serial = await self._session.convert(encoder, view, damage, overlay)
            if serial is None:
                # Meanwhile the session has another size, and all is damaged anew.
                self._settled = True
                await self._send(announced)
                return
            self._built_view = view
            self._carry_out_refresh()
            if is_brief(damage, pan):
                update = encoder.build(damage, pan, started)
            else:
                update = await trio.to_thread.run_sync(encoder.build, damage, pan, started)
        await self._send_operations(update, serial, started, announced)

    def _carry_out_refresh(self) -> None:
        if self._forget:
            self._forget = False
            self._encoder.forget()

    async def _refine(self) -> None:
        """Make lossy pixels that rest exact, some at a time."""
        started = trio.current_time()
        async with self._encoding:
            if self._farewell is not None:
                return
            self._settled = False
            update = await trio.to_thread.run_sync(self._encoder.refine, started)
        await self._send_operations(update, 0, started)

    async def _send_operations(self, update: Update, serial: int, started: float, announced: bytes = b"") -> None:
        if self._farewell is not None or not (update.operations or self._owes_update):
            self._settled = not update.operations
            await self._send(announced)
            return
        if not update.operations:
            self._encoder.journal.note(Touched((), ()))
        self._owes_update = False
        self._pacing.started(started)
        encoded_us = int((trio.current_time() - started) * 1e6)
        data = self._encode(update, self._steering.newest(serial), encoded_us)
        self._pacing.sent(self._update, len(data), trio.current_time())
        await self._send(announced + data)
        self._settled = True
        self._taken_s = trio.current_time()

    def _encode(self, update: Update, newest_input: int, encode_us: int) -> bytes:
        self._update += 1
        connection = self._connection
        data = bytearray(connection.send(m.Begin(update=self._update, input=newest_input)))
        for operation in update.operations:
            data += connection.send(operation)
        data += connection.send(m.End())
        if self._capabilities & Capability.EXPLAIN:
            data += connection.send(self._explain(update, encode_us))
        return bytes(data)

    def _explain(self, update: Update, encode_us: int) -> m.Explanation:
        pacing = self._pacing
        room = (self._hello.max_message - 32) // 2
        return m.Explanation(
            update=self._update,
            encode_us=encode_us,
            in_flight=pacing.in_flight_bytes,
            bytes_per_s=min(int(pacing.bytes_per_s or 0), 0xFFFF_FFFF),
            round_trip_us=int((pacing.round_trip_s or 0) * 1e6),
            operations=tuple(
                m.Explained(reason=why, quality=operation.quality if isinstance(operation, m.Jpeg) else 0)
                for operation, why in zip(update.operations[:room], update.reasons)
            ),
        )


def _proven(connection: Connection) -> bool:
    """Whether the device has shown that it has its key."""
    return connection.reply is not None and connection.reply.method == AuthMethod.HMAC
