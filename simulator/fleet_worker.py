"""Some devices of a fleet, with their users, in a process of their own: `python -m tilewire.simulator.fleet_worker`.

Lines of JSON on standard input say what to do, lines on standard output tell what happened. It ends with its input, so
that nothing is left where whoever started it has died.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.protocol import Capability, Point, Resumed
from tilewire.protocol import messages as m
from tilewire.protocol.constants import ControlAction, CursorMode, Role, Rotation, ViewMode
from tilewire.simulator.client import ClientError, Event, Presented
from tilewire.simulator.command import first_of
from tilewire.simulator.device import Device, DeviceError, Setup, open_device
from tilewire.simulator.fleet_plan import Spec, canonical, digest, look_of
from tilewire.simulator.fleet_users import NOTCH, Deed, Step, User
from tilewire.simulator.stream import StreamError, Trust

TELL_S: Final = 0.25
MOVE_S: Final = 0.03
KEY_S: Final = 0.04
"""Between two characters: 300 a minute."""
OFF_S: Final = 0.4
SWIPE_STEPS: Final = 6
PIECE: Final = 65536
CUT: Final = "the line was cut"


class Member:
    """A device and its user."""

    def __init__(self, spec: Spec, job: dict[str, Any], tell: trio.Event) -> None:
        self.spec = spec
        self._job = job
        self._user = User(job["seed"], spec.number)
        self._alone = job["alone"]
        self._device: Device | None = None
        self._using = trio.CancelScope()
        self._over = trio.CancelScope()
        self._at = (0, 0)
        self._new_ms: list[float] = []
        self._shown, self._input = 0, 0
        self._steps = 0
        self._errors: list[str] = []
        self._lost: str | None = None
        self._ended: str | None = None
        self._began_s: float | None = None
        self.changed = tell

    async def run(self) -> None:
        """Until it is over."""
        job = self._job
        setup = Setup(
            panel=self.spec.panel,
            device_id=f"{job['name']}-{self.spec.number:02d}",
            key=bytes.fromhex(job["key"]) if job["key"] else None,
            capabilities=Capability.INPUT_ECHO | (0 if self.spec.panel.cursor_side else Capability.TOUCH),
            without=self.spec.without,
            cursor=self.spec.cursor,
            view=self.spec.home,
            reconnect=True,
        )
        trust = Trust(Path(job["ca"]) if job["ca"] else None, check=job["check"])
        try:
            with self._over:
                async with open_device(job["address"], setup, trust) as self._device, trio.open_nursery() as nursery:
                    self._device.on_event = self._hear
                    nursery.start_soon(self._watch)
                    with self._using:
                        await self._use()
                    await trio.sleep_forever()
        except* StreamError as group:
            self._ended = self._ended or str(first_of(group))
        except* DeviceError as group:
            self._ended = self._ended or str(first_of(group))
        self.changed.set()

    # What it tells.

    def _hear(self, event: Event) -> None:
        if isinstance(event, Presented) and event.input and event.input != self._input:
            self._input = event.input
            counters = self._need.statistics
            if counters.inputs_shown > self._shown:
                self._shown = counters.inputs_shown
                self._new_ms.append(counters.input_to_picture_us / 1000)
        elif isinstance(event, m.Welcome | m.ControlState):
            if isinstance(event, m.Welcome):
                self._input = 0
                self._began_s = self._began_s or time.monotonic()
            self.changed.set()

    async def _watch(self) -> None:
        """Keep why the line broke, each time it did and nobody had cut it."""

        def look() -> bool:
            lost = self._need.lost
            if lost != self._lost:
                self._lost = lost
                if lost is not None and lost != CUT:
                    self._errors.append(lost)
                self.changed.set()
            return False

        await self._need.wait_for(look, float("inf"))

    @property
    def _need(self) -> Device:
        assert self._device is not None
        return self._device

    def state(self) -> dict[str, Any]:
        """What State.take reads."""
        device = self._device
        told: dict[str, Any] = {"errors": self._errors, "ended": self._ended, "steps": self._steps}
        if device is None:
            return told
        counters = device.statistics
        up = not device.is_down
        steers = up and device.role is Role.CONTROL
        welcome, said = device.welcome, device.control_state
        viewer = welcome.viewer if up and welcome is not None else 0
        new, self._new_ms = self._new_ms, []
        return told | {
            "up": up,
            "viewer": viewer,
            "steers": steers,
            "holder": viewer if steers else said.holder if up and said is not None else None,
            "connections": device.connections,
            "resumed": device.resumed.count(Resumed.RESUMED),
            "updates": counters.updates,
            "bytes": device.received,
            "new_ms": [round(value, 3) for value in new],
            "lost": device.lost,
            "seconds": round(time.monotonic() - self._began_s, 3) if self._began_s else 0.0,
        }

    def picture(self) -> dict[str, Any] | None:
        """What it shows now, to be compared; None: it is not there."""
        device = self._device
        if device is None or device.is_down or device.view is None or not device.presented or self._ended:
            return None
        view = device.view
        session = view.session.width, view.session.height
        mode, rotation = ViewMode(view.mode), Rotation(view.rotation)
        look = look_of(
            device.panel, session, view.window, mode, rotation, pointer=self.spec.cursor is CursorMode.IN_PICTURE
        )
        at_home = (view.mode, view.rotation, view.follow) == (self.spec.home.mode, self.spec.home.rotation, 0)
        return {
            "look": look.to_list(),
            "digest": digest(canonical(device.memory(), device.panel)),
            "presented": device.presented,
            "at_home": at_home,
        }

    # What it is told.

    def rest(self) -> None:
        """The user lets go, and the device shows what it is to show in the end."""
        self._using.cancel()
        device = self._device
        if device is None or self._ended is not None:
            return
        try:
            device.pause(False)
            device.look(self.spec.home)
            if device.role is Role.CONTROL:
                if self.spec.panel.cursor_side:
                    device.pointer(*self._at)
                else:
                    device.touch()
        except ClientError as error:
            self._errors.append(f"it could not come to rest: {error}")

    def control(self, action: ControlAction, viewer: int) -> None:
        """Ask for control, or pass it on."""
        if self._device is not None:
            with suppress(ClientError):  # the send buffer is full; the C client counts it
                self._device.control(action, viewer)

    def refresh(self) -> None:
        """Ask for a whole repaint."""
        if self._device is not None:
            with suppress(ClientError):  # the send buffer is full; the C client counts it
                self._device.refresh()

    def stop(self) -> None:
        """Say goodbye."""
        self._over.cancel()

    # The user.

    async def _use(self) -> None:
        device = self._need
        while True:
            await device.wait_for(lambda: not device.is_down and device.presented > 0, float("inf"))
            hands = device.role is Role.CONTROL
            if self._alone and self._steps % 3 == 2:
                hands = False
            step = self._user.hand() if hands else self._user.eye()
            with suppress(ClientError):  # the send buffer is full; the C client counts it
                await self._do(step)
            self._steps += 1
            await trio.sleep(step.pause_s)

    async def _do(self, step: Step) -> None:
        device, panel, home = self._need, self.spec.panel, self.spec.home
        points = [(int(x * panel.width), int(y * panel.height)) for x, y in step.path]
        match step.deed:
            case Deed.MOVE:
                for self._at in points:
                    device.pointer(*self._at)
                    await trio.sleep(MOVE_S)
            case Deed.CLICK:
                await self._click(points[0])
            case Deed.SCROLL if panel.cursor_side:
                for _ in range(abs(step.notches)):
                    device.wheel(0, NOTCH if step.notches > 0 else -NOTCH)
                    await trio.sleep(MOVE_S)
            case Deed.SCROLL:
                await self._swipe(step.notches)
            case Deed.TYPE:
                await self._click(points[0])
                for character in step.text:
                    device.type(character)
                    await trio.sleep(KEY_S)
            case Deed.PAN:
                assert device.view is not None
                size = device.view.session
                (x, y), *_ = step.path
                origin = Point(int((x - 0.1) * size.width), int((y - 0.1) * size.height))
                device.look(m.View(mode=ViewMode.ONE_TO_ONE, rotation=home.rotation, follow=0, origin=origin))
            case Deed.FIT:
                device.look(m.View(mode=ViewMode.FIT, rotation=home.rotation, follow=0, origin=Point(0, 0)))
            case Deed.OFF:
                device.pause(True)
                await trio.sleep(OFF_S)
                device.pause(False)
            case Deed.LEAVE:
                device.cut()
            case Deed.REST:
                pass

    async def _click(self, point: tuple[int, int]) -> None:
        """Or a tap, on a touch panel."""
        if self.spec.panel.cursor_side:
            self._at = point
            self._need.click(*point)
        else:
            self._need.touch(point)
            await trio.sleep(MOVE_S)
            self._need.touch()

    async def _swipe(self, notches: int) -> None:
        """One finger, up or down the middle."""
        width, height = self.spec.panel.width, self.spec.panel.height
        for at in range(SWIPE_STEPS):
            share = 0.3 + 0.4 * at / (SWIPE_STEPS - 1)
            self._need.touch((width // 2, int(height * (share if notches < 0 else 1 - share))))
            await trio.sleep(MOVE_S)
        self._need.touch()


class Worker:
    """The process."""

    def __init__(self, out: trio.lowlevel.FdStream) -> None:
        self._out = out
        self._members: dict[int, Member] = {}
        self._changed = trio.Event()
        self._saying = trio.Lock()

    async def say(self, kind: str, **more: Any) -> None:
        """A line."""
        async with self._saying:
            await self._out.send_all(json.dumps({"say": kind} | more).encode() + b"\n")

    async def states(self) -> None:
        """Tell of all devices."""
        await self.say("states", devices={number: member.state() for number, member in self._members.items()})

    async def do(self, order: dict[str, Any], nursery: trio.Nursery) -> bool:
        """One line; False: it was the last."""
        members = self._members
        match order["do"]:
            case "start":
                for fields in order["devices"]:
                    member = Member(Spec(**fields), order, self._changed)
                    members[member.spec.number] = member
                    nursery.start_soon(member.run)
            case "control":
                members[order["device"]].control(ControlAction(order["action"]), order["viewer"])
            case "rest":
                await self.states()
                for member in members.values():
                    member.rest()
                await self.say("resting")
            case "refresh":
                for member in members.values():
                    member.refresh()
            case "pictures":
                await self.say("pictures", devices={number: one.picture() for number, one in members.items()})
            case "stop":
                await self.states()
                for member in members.values():
                    member.stop()
                return False
        return True

    async def tell(self) -> None:
        """Now and then, and when something happened."""
        while True:
            with trio.move_on_after(TELL_S):
                await self._changed.wait()
            self._changed = trio.Event()
            for member in self._members.values():
                member.changed = self._changed
            await self.states()


async def main() -> None:
    """Until told to stop, or until nobody is there any more."""
    buffer = b""
    async with trio.lowlevel.FdStream(os.dup(0)) as given, trio.lowlevel.FdStream(os.dup(1)) as out:
        worker = Worker(out)
        async with trio.open_nursery() as telling, trio.open_nursery() as nursery:
            telling.start_soon(worker.tell)
            while data := bytes(await given.receive_some(PIECE)):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    if not await worker.do(json.loads(line), nursery):
                        telling.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
            telling.cancel_scope.cancel()


if __name__ == "__main__":
    try:
        trio.run(main)
    except* (trio.BrokenResourceError, BrokenPipeError):
        sys.exit(1)
