"""The size of one X screen, changed through RandR as xrandr does it: a mode of that size, then the screen around it.

For a screen that is one monitor: that of an Xvfb, which needs a mode made for each size and goes as far as the size
with which it was started, or a virtual machine's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from Xlib import X, error
from Xlib.ext import randr
from Xlib.protocol import request

from tilewire.server.x11.errors import DisplayRefused

if TYPE_CHECKING:
    from tilewire.server.x11.wire import Wire

_RESOURCES_CURRENT: Final = (1, 3)
"""The version of RandR that tells what there is without probing monitors, which takes seconds on real ones."""
_NO_TIMINGS: Final = dict.fromkeys(
    ("id", "dot_clock", "h_sync_start", "h_sync_end", "h_skew", "v_sync_start", "v_sync_end", "flags"), 0
)


class Sizes:
    """What sizes the screen can have. Raises DisplayRefused, and python-xlib's own errors where the server is gone."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._ours: set[int] = set()
        self._able = False
        self.largest: tuple[int, int] | None = None
        """As large as the server lets it be, in pixels; None where it lets nobody change it."""
        if not wire.has("RANDR"):
            return
        version = randr.QueryVersion(display=wire, opcode=self._opcode, major_version=1, minor_version=5)
        if (version.major_version, version.minor_version) < _RESOURCES_CURRENT:
            return
        limits = self._limits()
        self.largest = (limits.max_width, limits.max_height)

    @property
    def _opcode(self) -> int:
        return self._wire.opcode("RANDR")

    def _limits(self) -> randr.GetScreenSizeRange:
        return randr.GetScreenSizeRange(display=self._wire, opcode=self._opcode, window=self._wire.root)

    def _resources(self) -> randr.GetScreenResourcesCurrent:
        return randr.GetScreenResourcesCurrent(display=self._wire, opcode=self._opcode, window=self._wire.root)

    def resize(self, width: int, height: int) -> None:
        """Make the screen so many pixels wide and high. Some ten round trips."""
        if self.largest is None:
            raise DisplayRefused("the X server has no RandR: its screen stays as large as it is")
        limits = self._limits()
        if not (limits.min_width <= width <= limits.max_width and limits.min_height <= height <= limits.max_height):
            bounds = f"{limits.min_width}x{limits.min_height} to {limits.max_width}x{limits.max_height}"
            raise DisplayRefused(f"the screen cannot be {width}x{height}: the X server takes {bounds}")
        former = self._wire.screen_size()
        if former == (width, height):
            return
        pointer = request.QueryPointer(display=self._wire, window=self._wire.root)
        try:
            self._change(width, height)
        except error.XError as problem:
            raise DisplayRefused(f"the X server does not make its screen {width}x{height}: {_name(problem)}") from None
        if (pointer.root_x, pointer.root_y) == (former[0] // 2, former[1] // 2):
            # Where the X server puts it first, and programs find what is typed. It would be at an edge now.
            self._wire.move_pointer(width // 2, height // 2)

    def _change(self, width: int, height: int) -> None:
        resources = self._resources()
        now = resources.config_timestamp
        in_use = []
        for number in resources.crtcs:
            crtc = randr.GetCrtcInfo(display=self._wire, opcode=self._opcode, crtc=number, config_timestamp=now)
            if crtc.mode != X.NONE:
                in_use.append((number, crtc))
        if len(in_use) != 1:
            raise DisplayRefused(f"the screen is made of {len(in_use)} monitors: it stays as large as it is")
        ((number, crtc),) = in_use
        outputs = list(crtc.outputs)
        mode = self._mode(resources, outputs, width, height)
        former = self._wire.screen_size()
        # A monitor must be inside the screen all the time, and is never switched off: programs would move their windows
        # away, or draw nothing.
        around = (max(width, former[0]), max(height, former[1]))
        self._set_screen(former, around)
        try:
            self._set_monitor(number, mode, outputs)
        except (error.XError, DisplayRefused):
            self._set_screen(around, former)
            raise
        self._set_screen(around, (width, height))
        self._tidy(mode, outputs)

    def _mode(self, resources: randr.GetScreenResourcesCurrent, outputs: list[int], width: int, height: int) -> int:
        """A mode of that size that the outputs have: an existing one, or one made for it."""
        wire, opcode = self._wire, self._opcode
        found = next((mode.id for mode in resources.modes if (mode.width, mode.height) == (width, height)), None)
        if found is None:
            name = f"{width}x{height}"
            size = {"width": width, "height": height, "h_total": width, "v_total": height, "name_length": len(name)}
            info = cast("Any", {**_NO_TIMINGS, **size})
            found = randr.CreateMode(display=wire, opcode=opcode, window=wire.root, mode=info, name=name).mode
            self._ours.add(found)
        for output in outputs:
            # Nothing happens where it has it.
            randr.AddOutputMode(display=wire, onerror=error.CatchError(), opcode=opcode, output=output, mode=found)
        return int(found)

    def _set_screen(self, now: tuple[int, int], wanted: tuple[int, int]) -> None:
        if now == wanted:
            return
        screen = self._wire.screen
        width, height = wanted
        problem = error.CatchError()
        # As many pixels an inch as before, or the programs' letters would grow.
        randr.SetScreenSize(
            display=self._wire,
            onerror=problem,
            opcode=self._opcode,
            window=self._wire.root,
            width=width,
            height=height,
            width_in_millimeters=max(1, round(width * screen.width_in_mms / screen.width_in_pixels)),
            height_in_millimeters=max(1, round(height * screen.height_in_mms / screen.height_in_pixels)),
        )
        self._wire.sync()
        refused = problem.get_error()
        if refused is not None:
            raise refused

    def _set_monitor(self, crtc: int, mode: int, outputs: list[int]) -> None:
        status = randr.SetCrtcConfig(
            display=self._wire,
            opcode=self._opcode,
            crtc=crtc,
            timestamp=X.CurrentTime,
            config_timestamp=self._resources().config_timestamp,
            x=0,
            y=0,
            mode=mode,
            rotation=randr.Rotate_0,
            outputs=outputs,
        ).status
        if status != randr.SetConfigSuccess:
            raise DisplayRefused(f"the X server does not set the monitor's mode (RandR status {status})")

    def _tidy(self, used: int, outputs: list[int]) -> None:
        """Remove the modes that we made and that are not in use any more."""
        wire, opcode = self._wire, self._opcode
        for mode in self._ours - {used}:
            for output in outputs:
                randr.DeleteOutputMode(
                    display=wire, onerror=error.CatchError(), opcode=opcode, output=output, mode=mode
                )
            # Somebody else may use it, or have removed it.
            randr.DestroyMode(display=wire, onerror=error.CatchError(), opcode=opcode, mode=mode)
            self._ours.discard(mode)
        wire.sync()


def _name(problem: error.XError) -> str:
    return f"{type(problem).__name__} of request {problem.major_opcode}"
