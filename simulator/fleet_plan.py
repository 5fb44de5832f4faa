"""What a fleet is: which devices, on which panels, and what they share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tilewire.protocol import PANELS, Panel, PixelFormat, Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import CursorMode, Rotation, ViewMode
from tilewire.simulator.screen import FIVE, SIX

MOST_DEVICES: Final = 64
"""As many as one session of a server takes."""
MOST_QEMU: Final = 4
"""Each keeps a core busy while it boots, and may take 512 MiB."""
MOST_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Two devices with the same picture, which reaches them in different ways."""

    panel: str
    pixel_format: PixelFormat | None = None
    """Instead of the panel's own."""
    mode: ViewMode = ViewMode.FIT
    rotation: Rotation = Rotation.R0
    origin: tuple[int, int] = (0, 0)
    cursor: CursorMode = CursorMode.NONE
    """IN_PICTURE is both devices', since it changes the picture; LOCAL is the second's alone."""
    without: frozenset[str] = frozenset()
    """What the second does not offer."""


MODELS: Final = (
    Model(panel="threadx-512", cursor=CursorMode.LOCAL),
    Model(panel="iot-256", without=frozenset({"codec"})),
    Model(panel="mcu", mode=ViewMode.ONE_TO_ONE, origin=(40, 30), without=frozenset({"jpeg"})),
    Model(panel="thin-1g", cursor=CursorMode.IN_PICTURE),
    Model(panel="threadx-512", mode=ViewMode.ONE_TO_ONE, rotation=Rotation.R90, without=frozenset({"copy", "cache"})),
    Model(panel="iot-256", pixel_format=PixelFormat.RGB332, rotation=Rotation.R180, cursor=CursorMode.LOCAL),
    Model(panel="legacy-2g", mode=ViewMode.ONE_TO_ONE, without=frozenset({"cache", "jpeg"})),
    Model(panel="iot-256", pixel_format=PixelFormat.GREY8, rotation=Rotation.R270, without=frozenset({"codec"})),
)
QEMU_MODELS: Final = 2
"""The first so many can be QEMU devices: the LCD controller shows their panels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One device. `number`: from 1."""

    number: int
    model: int
    """Of MODELS."""
    second: bool
    qemu: bool

    @property
    def kind(self) -> str:
        """For people."""
        return "QEMU" if self.qemu else "C client"

    @property
    def panel(self) -> Panel:
        """With the model's pixel format."""
        model = MODELS[self.model]
        panel = PANELS[model.panel]
        if model.pixel_format is None:
            return panel
        return replace(panel, pixel_format=model.pixel_format, big_endian=False)

    @property
    def home(self) -> m.View:
        """What it shows in the end."""
        model = MODELS[self.model]
        return m.View(mode=model.mode, rotation=model.rotation, follow=0, origin=Point(*model.origin))

    @property
    def cursor(self) -> CursorMode:
        """How it shows the pointer."""
        cursor = MODELS[self.model].cursor
        return CursorMode.NONE if cursor is CursorMode.LOCAL and not self.second else cursor

    @property
    def without(self) -> frozenset[str]:
        """What it does not offer."""
        return MODELS[self.model].without if self.second else frozenset()

    @property
    def shows(self) -> str:
        """Panel, format and view, for people."""
        model, panel = MODELS[self.model], self.panel
        words = [panel.name, panel.pixel_format.name + (" BE" if panel.big_endian else "")]
        words.append("fit" if model.mode is ViewMode.FIT else "1:1")
        if model.rotation:
            words.append(f"{90 * model.rotation}°")
        return " ".join(words)


def specs(count: int, qemu: int) -> list[Spec]:
    """`count` devices, the first `qemu` of them QEMU's; two of each model, as far as they reach."""
    qemu = min(qemu, count)
    made = [Spec(number=i + 1, model=i % QEMU_MODELS, second=False, qemu=True) for i in range(qemu)]
    slot = 0
    while len(made) < count:
        pair, second = slot // 2, bool(slot % 2)
        slot += 1
        if second or pair >= min(qemu, QEMU_MODELS):
            made.append(Spec(number=len(made) + 1, model=pair % len(MODELS), second=second, qemu=False))
    return made


def canonical(stored: bytes, panel: Panel) -> bytes:
    """A framebuffer in the form that is compared: RGB565 as three planes, the others as they are stored."""
    if panel.pixel_format is not PixelFormat.RGB565:
        return stored
    high, low = (stored[0::2], stored[1::2]) if panel.big_endian else (stored[1::2], stored[0::2])
    green = int.from_bytes(high.translate(_GREEN_HIGH), "big") | int.from_bytes(low.translate(_GREEN_LOW), "big")
    return high.translate(FIVE) + green.to_bytes(len(high), "big").translate(SIX) + low.translate(_BLUE)


_GREEN_HIGH: Final = bytes((value & 7) << 5 for value in range(256))
_GREEN_LOW: Final = bytes((value & 0xE0) >> 3 for value in range(256))
_BLUE: Final = bytes((value & 0x1F) << 3 for value in range(256))


def digest(picture: bytes) -> str:
    """Of a canonical picture."""
    return hashlib.sha256(picture).hexdigest()


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture depends on, beside the session: equal looks show equal pictures."""

    panel: tuple[int, int]
    pixel_format: str
    session: tuple[int, int]
    window: tuple[int, int, int, int]
    fit: bool
    """As far as it makes a difference: nothing is enlarged."""
    rotation: int
    pointer: bool
    """Whether the pointer is in the picture."""

    def to_list(self) -> list[Any]:
        """For JSON."""
        return [
            list(self.panel),
            self.pixel_format,
            list(self.session),
            list(self.window),
            self.fit,
            self.rotation,
            self.pointer,
        ]

    @classmethod
    def from_list(cls, values: Sequence[Any]) -> Look:
        """What `to_list` made."""
        panel, pixel_format, session, window, fit, rotation, pointer = values
        return cls(tuple(panel), pixel_format, tuple(session), tuple(window), fit, rotation, pointer)


def look_of(
    panel: Panel,
    session: tuple[int, int],
    window: Rect,
    mode: ViewMode,
    rotation: Rotation,
    *,
    pointer: bool = False,
) -> Look:
    """Of a device whose view is in force."""
    size = (panel.width, panel.height)
    canvas = size[::-1] if rotation in (Rotation.R90, Rotation.R270) else size
    small = session[0] <= canvas[0] and session[1] <= canvas[1]
    return Look(
        panel=size,
        pixel_format=panel.pixel_format.name,
        session=session,
        window=(window.x, window.y, window.width, window.height),
        fit=mode is ViewMode.FIT and not small,
        rotation=int(rotation),
        pointer=pointer,
    )


# What workers tell of a device, while it lasts.


@dataclass(slots=True)
class State:
    """Of one device."""

    spec: Spec
    up: bool = False
    """Connected, past WELCOME."""
    viewer: int = 0
    """Its number in the session, of this connection."""
    steers: bool = False
    holder: int | None = None
    """The viewer that holds control, as far as it was told."""
    connections: int = 0
    resumed: int = 0
    updates: int = 0
    bytes: int = 0
    inputs_ms: Sequence[float] = ()
    """From an input to the end of the first update that names it."""
    steps: int = 0
    turns: int = 0
    """How often control came to its user."""
    lost: str | None = None
    ended: str | None = None
    errors: Sequence[str] = ()
    seconds: float = 0.0
    """Since its first connection."""

    def take(self, told: Mapping[str, Any]) -> None:
        """What a worker tells; `new_ms` is added."""
        for name, value in told.items():
            if name == "new_ms":
                self.inputs_ms = [*self.inputs_ms, *value]
            else:
                setattr(self, name, value)
