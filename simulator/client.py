"""The C client in this process: one simulated device, without a socket and without a clock of its own.

Bytes from the server go into `Client.feed`, bytes for it come out of `Client.output`; pixels are in
`Client.framebuffer`, and what happened is appended to `Client.events`. When a connection has ended,
`Client.successor` is the same device on the next one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

import simplejpeg

from tilewire.protocol import messages as m
from tilewire.protocol.constants import CursorMode, PixelFormat
from tilewire.protocol.errors import Code
from tilewire.protocol.geometry import Rect
from tilewire.protocol.panels import Panel
from tilewire.protocol.wire import MESSAGES, Message, Point
from tilewire.simulator._client import ffi, lib


class ClientError(Exception):
    """A function of the C client did not do what it was asked; nothing was sent, the connection is as it was."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.text)
        self.code = code


class Phase(Enum):
    """Where a connection stands."""

    CONNECTING = lib.TW_CONNECTING
    OPEN = lib.TW_OPEN
    CLOSED = lib.TW_CLOSED


class Retry(Enum):
    """What to do after the end of a connection (SPEC.md 11.2)."""

    LATER = lib.TW_RETRY_LATER
    """Connect again after `Backoff.next`."""
    CHANGED = lib.TW_RETRY_CHANGED
    """Show the text; the same again would fail again."""
    NEVER = lib.TW_RETRY_NEVER


def should_reconnect(code: int) -> Retry:
    """What to do after an end with this code, which is `Client.reason`."""
    return Retry(lib.tw_should_reconnect(code))


class Backoff:
    """How long to wait before connecting again: 1 s, then twice as long up to 60 s, half of it random."""

    def __init__(self) -> None:
        self._backoff = ffi.new("tw_backoff *")

    def next(self, random: int) -> int:
        """Milliseconds to wait now; `random`: 32 bits."""
        return int(lib.tw_backoff_next(self._backoff, random))

    def reset(self) -> None:
        """A connection stood for a while."""
        lib.tw_backoff_reset(self._backoff)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """What a later connection needs to go on where an earlier one ended. Sizes of its panel and cache."""

    token: bytes
    update: int = 0
    """The last one that was shown whole."""
    width: int = 0
    height: int = 0
    cache_slots: int = 0
    cache_slot_bytes: int = 0
    cursor: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    """The local cursor: its largest side; width, height and hot spot of what is in its memory."""


@dataclass(frozen=True, slots=True)
class Presented:
    """An update is whole. `input` is the newest input whose effect it may show, 0: none."""

    update: int
    input: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A rectangle has new pixels (where `ClientConfig.report_draws` asks for it)."""

    rect: Rect


Event = Message | Presented | Drawn


class Jpeg(Enum):
    """Who decodes JPEG for a device."""

    CORE = "core"
    """The C client itself."""
    HOOK = "hook"
    """libjpeg-turbo, which the C client hands whole files to."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was received so far, and what became of input."""

    bytes: int
    updates: int
    decode_us: int
    """Microseconds spent in the decoder."""
    messages: dict[str, int]
    """Whole messages by name; OTHER: the server's hello, and what this version does not know."""
    bytes_by_type: dict[str, int]
    """Their bytes, with type and length."""
    inputs_refused: int = 0
    """Inputs that the full send buffer did not take."""
    updates_dropped: int = 0
    """Updates that a connection's end cut short."""
    inputs_shown: int = 0
    """Inputs that an update was the first to name, and so timed: from sending to END."""
    input_to_picture_us: int = 0
    """Microseconds that the last one of them took."""
    input_to_picture_sum_us: int = 0
    """And all of them."""

    def __add__(self, other: Statistics) -> Statistics:
        """Of both connections; the last input is this one's if it has any."""

        def both(one: dict[str, int], two: dict[str, int]) -> dict[str, int]:
            return {name: one.get(name, 0) + two.get(name, 0) for name in one | two}

        return Statistics(
            bytes=self.bytes + other.bytes,
            updates=self.updates + other.updates,
            decode_us=self.decode_us + other.decode_us,
            messages=both(self.messages, other.messages),
            bytes_by_type=both(self.bytes_by_type, other.bytes_by_type),
            inputs_refused=self.inputs_refused + other.inputs_refused,
            updates_dropped=self.updates_dropped + other.updates_dropped,
            inputs_shown=self.inputs_shown + other.inputs_shown,
            input_to_picture_us=(self if self.inputs_shown else other).input_to_picture_us,
            input_to_picture_sum_us=self.input_to_picture_sum_us + other.input_to_picture_sum_us,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """A device: its panel, its limits and what it says in HELLO. Sizes in pixels or bytes."""

    width: int
    height: int
    pixel_format: PixelFormat = PixelFormat.RGB565
    big_endian: bool = False
    framebuffer: bool = True
    """False: pixels leave the client in strips, as for a panel with a memory of its own."""
    readable: bool = True
    """False: no copies are offered although there is a framebuffer."""
    padding: int = 0
    """Bytes between two rows of the framebuffer."""
    strip_rows: int = 16
    """Rows of the panel that the strip holds."""
    fixed: bool = False
    """The panel's memory cannot grow: a RESIZE that does not fit is refused."""
    max_message: int = 65536
    max_rect_width: int = 0
    """0: as wide as the panel."""
    max_rect_area: int = 0
    """0: as large as the panel."""
    device_id: str = "simulator"
    boot_id: int = 1
    nonce: bytes = field(default_factory=lambda: os.urandom(16))
    key: bytes | None = None
    ticket: bytes | None = None
    profile: str | None = None
    session: str | None = None
    url: str | None = None
    density: int = 0
    cursor: CursorMode = CursorMode.NONE
    cursor_side: int = 0
    """Largest side of a local cursor's shape, 1 to 64."""
    overlay: bool = False
    """A local cursor is reported as events (CursorShape, whole, and CursorPosition), not drawn."""
    capabilities: int = 0
    """Bits of Capability wanted beyond COPY, which follows from the framebuffer."""
    model_kib: int = 0
    """The tile codec's model: 0 (no tile codec), 16, 32 or 48 KiB."""
    cache_slots: int = 0
    """Slots of the tile cache; 0: none."""
    cache_slot_bytes: int = 0
    jpeg: Jpeg | None = None
    """Who decodes JPEG; None: it is not offered."""
    jpeg_subsamplings: int = 0
    """Bits of Subsampling; 0: all."""
    resume: Resume | None = None
    report_draws: bool = False
    hold: bool = False
    """Everything drawn and presented stays pending until `Client.draw_done`."""

    @classmethod
    def for_panel(
        cls,
        panel: Panel,
        *,
        codec: bool = True,
        cache: bool = True,
        jpeg: bool = True,
        copy: bool = True,
        **rest: Any,
    ) -> ClientConfig:
        """The configuration of a standard panel, less what is False here; `rest` are further fields.

        Without `copy` there is no cache either: both need a framebuffer that can be read. So does a local cursor, which
        has the panel's side; elsewhere the server draws it, and a touch panel has none at all.
        """
        cached = cache and copy and panel.readable
        cursor = rest.pop("cursor", CursorMode.NONE)
        if not panel.cursor_side:
            cursor = CursorMode.NONE
        elif cursor == CursorMode.LOCAL and not (copy and panel.readable) and not rest.get("overlay"):
            cursor = CursorMode.IN_PICTURE
        return replace(
            cls(
                width=panel.width,
                height=panel.height,
                pixel_format=panel.pixel_format,
                big_endian=panel.big_endian,
                framebuffer=panel.readable,
                readable=copy,
                max_message=panel.max_message,
                max_rect_width=panel.max_rect_width,
                max_rect_area=panel.max_rect_area,
                density=panel.density,
                model_kib=panel.model_kib if codec else 0,
                cache_slots=panel.cache_slots if cached else 0,
                cache_slot_bytes=panel.cache_slot_bytes if cached else 0,
                jpeg=Jpeg.CORE if jpeg else None,
                cursor=cursor,
                cursor_side=panel.cursor_side if cursor == CursorMode.LOCAL else 0,
            ),
            **rest,
        )


class _Sink:
    """What the callbacks reach. Apart from Client, so that a client is no part of a reference cycle."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.events: list[Event] = []
        self.failures: list[BaseException] = []
        self.resize: Callable[[int, int], None] | None = None
        self.picture: Any = None
        """What the JPEG decoder made last; the client reads it until it makes another."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Memory of a device that outlives a connection."""

    picture: Any
    stride: int
    height: int
    cache: Any
    shapes: Any
    """Of the local cursor."""


class Client:
    """One connection of one device. Raises ClientError where the configuration is refused.

    `kept`: what an earlier connection of the same device left, used where it fits.
    """

    def __init__(self, config: ClientConfig, kept: Kept | None = None) -> None:
        self.config = config
        self._kept = kept
        self.width, self.height = config.width, config.height
        self._device = ffi.new("tilewire_device *")
        self._sink = _Sink(self._device)
        self._handle = ffi.new_handle(self._sink)
        self._device.handle = self._handle
        self._device.stored = config.pixel_format.stored
        self._device.hold = config.hold
        if config.report_draws:
            self._device.on_draw = lib.on_draw
        self._callbacks = _callbacks(config)
        self._rest = b""
        self._consumed = ffi.new("size_t *")
        self._length = ffi.new("size_t *")
        self._input = ffi.new("uint32_t *")
        self._receive = ffi.new("uint8_t[]", config.max_message)
        self._cache: Any = None
        self._shapes: Any = None
        self._client = self._make()
        self._kept = None

    # Set-up.

    def _make(self) -> Any:
        config = self.config
        kept: list[Any] = []

        def text(value: str | None) -> Any:
            if value is None:
                return ffi.NULL
            kept.append(ffi.new("char[]", value.encode()))
            return kept[-1]

        def data(value: bytes | None) -> Any:
            if value is None:
                return ffi.NULL
            kept.append(ffi.new("uint8_t[]", value))
            return kept[-1]

        c = ffi.new("tw_client_config *")
        c.device_id, c.boot_id, c.nonce = text(config.device_id), config.boot_id, config.nonce
        c.key, c.ticket, c.ticket_size = data(config.key), data(config.ticket), len(config.ticket or b"")
        c.profile, c.session, c.url = text(config.profile), text(config.session), text(config.url)
        c.width, c.height, c.density = config.width, config.height, config.density
        c.pixel_format, c.big_endian, c.unreadable = config.pixel_format, config.big_endian, not config.readable
        self._make_surface()
        if config.framebuffer:
            c.framebuffer, c.framebuffer_size, c.stride = self._surface, len(self._surface), self._stride
        else:
            c.strip, c.strip_size = self._surface, len(self._surface)
        c.receive, c.receive_size = self._receive, len(self._receive)
        c.max_rect_width, c.max_rect_area = config.max_rect_width, config.max_rect_area
        c.cursor, c.capabilities = config.cursor, config.capabilities
        if config.cursor == CursorMode.LOCAL:
            stored = 0 if config.overlay else config.pixel_format.stored
            size = lib.tilewire_cursor_size(config.cursor_side, stored)
            shapes = self._kept and self._kept.shapes
            self._shapes = shapes if shapes and len(shapes) == size else ffi.new("uint8_t[]", size)
            c.cursor_max_side = config.cursor_side
            c.cursor_memory, c.cursor_memory_size = self._shapes, len(self._shapes)
        c.model_kib = config.model_kib
        if config.cache_slots:
            size = lib.tilewire_cache_size(config.cache_slots, config.cache_slot_bytes)
            cache = self._kept and self._kept.cache
            self._cache = cache if cache and len(cache) == size else ffi.new("uint8_t[]", size)
            c.cache, c.cache_size = self._cache, len(self._cache)
            c.cache_slots, c.cache_slot_bytes = config.cache_slots, config.cache_slot_bytes
        c.jpeg_subsamplings = config.jpeg_subsamplings
        if config.jpeg is Jpeg.CORE:
            self._jpeg_memory = ffi.new("uint8_t[]", lib.tilewire_jpeg_memory_size())
            c.jpeg_memory, c.jpeg_memory_size = self._jpeg_memory, len(self._jpeg_memory)
        elif config.jpeg is Jpeg.HOOK:
            self._stream = ffi.new("uint8_t[]", lib.tilewire_jpeg_size(config.max_message))
            c.jpeg, c.jpeg_stream, c.jpeg_stream_size = lib.on_jpeg, self._stream, len(self._stream)
        if config.resume is not None:
            r = config.resume
            words = (1, r.token, r.update, r.width, r.height, r.cache_slots, r.cache_slot_bytes, *r.cursor)
            kept.append(ffi.new("tw_resume *", words))
            c.resume = kept[-1]
        c.callbacks, c.user, c.now_us = self._callbacks, self._device, lib.tilewire_device_now_us
        size = lib.tw_client_size(c)
        self._memory = ffi.new("uint8_t[]", size)
        client = ffi.new("tw_client **")
        _check(lib.tw_client_init(client, c, self._memory, size))
        return client[0]

    def _make_surface(self) -> None:
        """The framebuffer, or the strip and the picture that a panel without framebuffer shows."""
        row = self.width * self.config.pixel_format.stored
        if self.config.framebuffer:
            self._stride = row + self.config.padding
            self._picture = self._surface = self._kept_picture() or ffi.new("uint8_t[]", self._stride * self.height)
        else:
            self._surface = ffi.new("uint8_t[]", row * self.config.strip_rows)
            self._make_picture()

    def _make_picture(self) -> None:
        """What a panel without framebuffer shows."""
        self._stride = self.width * self.config.pixel_format.stored
        self._picture = self._kept_picture() or ffi.new("uint8_t[]", self._stride * self.height)
        self._device.picture, self._device.stride = self._picture, self._stride

    def _kept_picture(self) -> Any:
        """The picture of the earlier connection, where it has the same rows."""
        kept = self._kept
        same = kept is not None and (kept.stride, kept.height) == (self._stride, self.height)
        return kept.picture if kept is not None and same else None

    def _resize(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        if self.config.fixed:
            if not self.config.framebuffer:
                self._make_picture()
            return
        self._make_surface()
        lib.tw_client_surface(self._client, self._surface, len(self._surface), self._stride)

    # The connection.

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the server. What the client cannot take yet (something is pending) is kept for it.

        Look at `phase` and `error` afterwards. An exception that a callback raised is raised here.
        """
        if self._rest:
            data = self._rest + bytes(data)
        self._sink.resize = self._resize
        with ffi.from_buffer(data) as view:
            status = lib.tw_client_feed(self._client, view, len(view), self._consumed)
        self._sink.resize = None
        self._rest = b"" if status else bytes(data[self._consumed[0] :])
        if self._sink.failures:
            raise self._sink.failures.pop(0)

    def output(self) -> bytes:
        """The bytes that wait for the server; they count as sent."""
        data = lib.tw_client_output(self._client, self._length)
        out = bytes(ffi.buffer(data, self._length[0]))
        lib.tw_client_sent(self._client, self._length[0])
        return out

    @property
    def pending(self) -> bool:
        """Whether decoding waits for `draw_done`."""
        return bool(lib.tw_client_pending(self._client))

    def draw_done(self, *, decode: bool = True) -> None:
        """What was held is out: decoding goes on; without `decode`, with the next `feed`, as from an interrupt."""
        lib.tw_client_draw_done(self._client)
        if decode:
            self.feed(b"")

    def tick(self, now_ms: int) -> None:
        """Let the client ping and time out."""
        lib.tw_client_tick(self._client, now_ms & 0xFFFF_FFFF)

    def end(self) -> None:
        """The stream has ended; `error` is TRUNCATED where it did inside a message or an update."""
        lib.tw_client_end(self._client)

    def close(self, code: Code = Code.NORMAL) -> None:
        """Say goodbye."""
        lib.tw_client_close(self._client, code)

    @property
    def phase(self) -> Phase:
        """Where the connection stands."""
        return Phase(lib.tw_client_phase(self._client))

    @property
    def error(self) -> Code | None:
        """The first error; None: there is none, as after a goodbye of either side."""
        status = lib.tw_client_error(self._client)
        return Code(status) if status else None

    @property
    def reason(self) -> int:
        """Why the connection is over: a Code, or a later version's."""
        return int(lib.tw_client_reason(self._client))

    def resume(self) -> Resume | None:
        """What the next connection can resume; this one is over then. None: nothing."""
        made = ffi.new("tw_resume *")
        lib.tw_client_resume(self._client, made)
        if not made.valid:
            return None
        return Resume(
            token=_bytes(made.token, 16),
            update=made.update,
            width=made.width,
            height=made.height,
            cache_slots=made.cache_slots,
            cache_slot_bytes=made.cache_slot_bytes,
            cursor=(
                made.cursor_side,
                made.cursor_width,
                made.cursor_height,
                made.cursor_hot_x,
                made.cursor_hot_y,
            ),
        )

    def successor(self, **changes: Any) -> Client:
        """The same device on its next connection: with its framebuffer, its cache and what it can resume."""
        again: dict[str, Any] = {"width": self.width, "height": self.height, "nonce": os.urandom(16)}
        again["resume"] = self.resume()
        return Client(replace(self.config, **(again | changes)), self.kept)

    @property
    def kept(self) -> Kept:
        """What the next connection of this device may go on with."""
        return Kept(self._picture, self._stride, self.height, self._cache, self._shapes)

    @property
    def shown(self) -> int:
        """The last update that was shown whole, 0: none."""
        return int(lib.tw_client_shown(self._client))

    # What came.

    @property
    def events(self) -> list[Event]:
        """What happened, in order: messages of the server, Presented for END, Drawn. The caller may empty it."""
        return self._sink.events

    @property
    def picture(self) -> memoryview:
        """The panel's memory: rows of stored pixels, `stride` bytes apart, with the cursor. Not a copy."""
        return memoryview(ffi.buffer(self._picture))

    @property
    def stride(self) -> int:
        """Bytes from row to row of `picture`."""
        return self._stride

    @property
    def screen(self) -> bytes:
        """The stored pixels without padding, as the panel shows them: with the cursor."""
        return self._without_padding(self.picture)

    @property
    def framebuffer(self) -> bytes:
        """The stored pixels without padding, and without the cursor that is drawn over them."""
        where = ffi.new("unsigned[4]")
        under = lib.tw_client_under(self._client, where, where + 1, where + 2, where + 3)
        if not under:
            return self.screen
        x, y, width, height = where
        stored = self.config.pixel_format.stored
        picture, saved = bytearray(self.picture), _bytes(under, width * height * stored)
        for row in range(height):
            at = (y + row) * self._stride + x * stored
            picture[at : at + width * stored] = saved[row * width * stored : (row + 1) * width * stored]
        return self._without_padding(picture)

    @property
    def cursor(self) -> Rect | None:
        """Where the cursor is drawn over the framebuffer now; None: nowhere."""
        where = ffi.new("unsigned[4]")
        under = lib.tw_client_under(self._client, where, where + 1, where + 2, where + 3)
        return Rect(*where) if under else None

    def _without_padding(self, picture: memoryview | bytearray) -> bytes:
        row = self.width * self.config.pixel_format.stored
        if self._stride == row:
            return bytes(picture[: row * self.height])
        return b"".join(picture[y * self._stride : y * self._stride + row] for y in range(self.height))

    @property
    def memory_size(self) -> int:
        """Bytes of the client's own block."""
        return len(self._memory)

    @property
    def draws(self) -> int:
        """Rectangles and strips handed to the panel so far."""
        return int(self._device.draws)

    @property
    def statistics(self) -> Statistics:
        """Counted by the C client, of this connection."""
        whole = ffi.new("tw_statistics *")
        lib.tw_client_statistics(self._client, whole)
        messages: dict[str, int] = {}
        by_type: dict[str, int] = {}
        count, size = ffi.new("uint32_t *"), ffi.new("uint64_t *")
        for type_, name in _COUNTED.items():
            lib.tw_client_count(self._client, type_, count, size)
            if count[0]:
                messages[name], by_type[name] = count[0], size[0]
        return Statistics(
            bytes=whole.bytes,
            updates=whole.updates,
            decode_us=whole.decode_us,
            messages=messages,
            bytes_by_type=by_type,
            inputs_refused=whole.inputs_refused,
            updates_dropped=whole.updates_dropped,
            inputs_shown=whole.inputs_shown,
            input_to_picture_us=whole.input_to_picture_us,
            input_to_picture_sum_us=whole.input_to_picture_sum_us,
        )

    # Input, each with the number by which the server names it; and wishes.

    def pointer(self, x: int, y: int, buttons: int = 0) -> int:
        """Where the pointer is and which buttons are down (bit 0 left, 1 middle, 2 right)."""
        return self._numbered(lib.tw_client_pointer(self._client, x, y, buttons, self._input))

    def wheel(self, dx: int, dy: int) -> int:
        """The wheel turned; 120 a notch."""
        return self._numbered(lib.tw_client_wheel(self._client, dx, dy, self._input))

    def key(self, keysym: int, pressed: bool) -> int:
        """A key went down or up."""
        return self._numbered(lib.tw_client_key(self._client, keysym, pressed, self._input))

    def text(self, text: str | bytes) -> int:
        """Text to be typed, at most 1000 bytes of UTF-8; bytes are taken for that."""
        data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
        return self._numbered(lib.tw_client_text(self._client, data, len(data), self._input))

    def touch(self, fingers: Sequence[m.Finger]) -> int:
        """All fingers that are on the panel now."""
        given = ffi.new("tw_finger[]", [(f.finger, f.position.x, f.position.y) for f in fingers])
        return self._numbered(lib.tw_client_touch(self._client, given, len(fingers), self._input))

    def _numbered(self, status: int) -> int:
        _check(status)
        return int(self._input[0])

    def set(self, fps: int, quality: int, adaptive: bool) -> None:
        """Ask for a rate and a quality."""
        wanted = ffi.new("tw_setting *", (fps, quality, adaptive))
        _check(lib.tw_client_setting(self._client, wanted))

    def view(self, mode: int, rotation: int, follow: bool, x: int, y: int) -> None:
        """Ask for a view."""
        _check(lib.tw_client_view(self._client, mode, rotation, follow, x, y))

    def control(self, action: int, viewer: int = 0) -> None:
        """Ask for control, release it, pass it on."""
        _check(lib.tw_client_control(self._client, action, viewer))

    def resize(self, width: int, height: int) -> None:
        """Ask for another size of the panel."""
        _check(lib.tw_client_resize(self._client, width, height))

    def resize_session(self, width: int, height: int) -> None:
        """Ask for another size of the session's screen."""
        _check(lib.tw_client_resize_session(self._client, width, height))

    def ping(self, stamp: int) -> None:
        """Ask for a PONG."""
        _check(lib.tw_client_ping(self._client, stamp))

    def pause(self, paused: bool) -> None:
        """The panel is off, or on again."""
        _check(lib.tw_client_pause(self._client, paused))

    def refresh(self) -> None:
        """Ask for a whole repaint."""
        _check(lib.tw_client_refresh(self._client))

    def clipboard(self, total: int, offset: int, data: bytes) -> None:
        """Send a chunk of clipboard text."""
        _check(lib.tw_client_clipboard(self._client, total, offset, data, len(data)))


_COUNTED: Final = {0: "OTHER", **{type_: cls.name for type_, cls in sorted(MESSAGES.items())}}


def status_text(code: int) -> str:
    """The C client's sentence for a code."""
    text: bytes = ffi.string(lib.tw_status_text(code))
    return text.decode()


def _check(status: int) -> None:
    if status:
        raise ClientError(Code(status))


def _callbacks(config: ClientConfig) -> Any:
    names = "welcome present goodbye notice setting view_state control_state resize bell input_echo clipboard pong"
    callbacks = ffi.new("tw_callbacks *")
    callbacks.draw = lib.tilewire_device_draw
    overlay = ("cursor_shape", "cursor_position") if config.overlay else ()
    for name in (*names.split(), "explanation", *overlay):
        setattr(callbacks, name, getattr(lib, f"on_{name}"))
    return callbacks


def _sink(user: Any) -> _Sink:
    sink: _Sink = ffi.from_handle(ffi.cast("tilewire_device *", user).handle)
    return sink


def _keep_failure(kind: Any, error: BaseException, traceback: Any) -> None:
    """cffi's `onerror`: the exception is kept, and raised by the function that called into C."""
    user = traceback.tb_frame.f_locals["user"]
    _sink(user).failures.append(error.with_traceback(traceback))


def _callback(function: Callable[..., Any]) -> Callable[..., Any]:
    extern: Callable[..., Any] = ffi.def_extern(onerror=_keep_failure)(function)
    return extern


def _decoder(function: Callable[..., Any]) -> Callable[..., Any]:
    """A callback without whose result the client cannot go on: an exception ends the connection."""
    extern: Callable[..., Any] = ffi.def_extern(onerror=_keep_failure, error=int(Code.INTERNAL))(function)
    return extern


def _bytes(data: Any, length: int) -> bytes:
    return bytes(ffi.buffer(data, length)) if length else b""


@_callback
def on_welcome(user: Any, w: Any) -> None:
    resume = None
    if w.token:
        resume = m.ResumeOffer(token=_bytes(w.token, 16), lifetime_s=w.token_lifetime_s)
    _sink(user).events.append(
        m.Welcome(
            session=_bytes(w.session, w.session_length).decode(),
            size=m.Size(width=w.width, height=w.height),
            role=w.role,
            viewer=w.viewer,
            settings=m.Settings(fps=w.setting.fps, quality=w.setting.quality, adaptive=w.setting.adaptive),
            capabilities=w.capabilities,
            resume=resume,
            resumed=w.resumed,
        )
    )


@_callback
def on_draw(user: Any, x: int, y: int, width: int, height: int) -> None:
    _sink(user).events.append(Drawn(Rect(x, y, width, height)))


@_callback
def on_present(user: Any, update: int, input: int) -> int:
    sink = _sink(user)
    sink.events.append(Presented(update, input))
    held: int = lib.TW_DRAW_PENDING if sink.device.hold else lib.TW_DRAW_DONE
    return held


@_callback
def on_goodbye(user: Any, code: int, text: Any, length: int) -> None:
    _sink(user).events.append(m.Goodbye(code=code, text=_bytes(text, length).decode()))


@_callback
def on_notice(user: Any, code: int, text: Any, length: int) -> None:
    _sink(user).events.append(m.Notice(code=code, text=_bytes(text, length).decode()))


@_callback
def on_setting(user: Any, s: Any) -> None:
    _sink(user).events.append(m.Setting(fps=s.fps, quality=s.quality, adaptive=s.adaptive))


@_callback
def on_view_state(user: Any, v: Any) -> None:
    _sink(user).events.append(
        m.ViewState(
            mode=v.mode,
            rotation=v.rotation,
            follow=v.follow,
            session=m.Size(width=v.session_width, height=v.session_height),
            window=Rect(v.x, v.y, v.width, v.height),
        )
    )


@_callback
def on_control_state(user: Any, role: int, holder: int) -> None:
    _sink(user).events.append(m.ControlState(role=role, holder=holder))


@_callback
def on_resize(user: Any, width: int, height: int) -> None:
    sink = _sink(user)
    if sink.resize is not None:
        sink.resize(width, height)
    sink.events.append(m.Resize(width=width, height=height))


@_callback
def on_bell(user: Any) -> None:
    _sink(user).events.append(m.Bell())


@_callback
def on_input_echo(user: Any, input: int) -> None:
    _sink(user).events.append(m.InputEcho(input=input))


@_callback
def on_clipboard(user: Any, total: int, offset: int, data: Any, length: int) -> None:
    _sink(user).events.append(m.Clipboard(total=total, offset=offset, data=_bytes(data, length)))


@_callback
def on_pong(user: Any, stamp: int) -> None:
    _sink(user).events.append(m.Pong(stamp=stamp))


@_callback
def on_explanation(user: Any, e: Any) -> None:
    raw = _bytes(e.operations, 2 * e.count)
    _sink(user).events.append(
        m.Explanation(
            update=e.update,
            encode_us=e.encode_us,
            in_flight=e.in_flight,
            bytes_per_s=e.bytes_per_s,
            round_trip_us=e.round_trip_us,
            operations=tuple(m.Explained(reason=raw[i], quality=raw[i + 1]) for i in range(0, len(raw), 2)),
        )
    )


@_callback
def on_cursor_shape(user: Any, width: int, height: int, hot_x: int, hot_y: int, pixels: Any) -> None:
    data = _bytes(pixels, 4 * width * height)
    _sink(user).events.append(m.CursorShape(width=width, height=height, hot_x=hot_x, hot_y=hot_y, row=0, pixels=data))


@_callback
def on_cursor_position(user: Any, x: int, y: int) -> None:
    _sink(user).events.append(m.CursorPosition(position=Point(x, y)))


@_decoder
def on_jpeg(user: Any, jpeg: Any, picture: Any) -> int:
    try:
        # A chroma sample stands for all pixels that it covers (SPEC.md 8.9): no smoothing.
        rgb = simplejpeg.decode_jpeg(_bytes(jpeg.data, jpeg.length), "RGB", fastupsample=True)
    except ValueError:
        return int(Code.BAD_PAYLOAD)
    sink = _sink(user)
    sink.picture = ffi.from_buffer("uint8_t[]", rgb)
    picture.pixels = sink.picture
    return 0
