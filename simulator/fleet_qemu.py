"""QEMU devices of a fleet, with their users: each is a run of `tilewire-sim run` that hands are laid on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import trio

from tilewire.protocol import Rect
from tilewire.protocol.constants import Role, Rotation, ViewMode
from tilewire.simulator.command import first_of
from tilewire.simulator.fleet_plan import Spec, State, digest, look_of
from tilewire.simulator.fleet_users import Deed, Step, User
from tilewire.simulator.runner import Run, RunPlan
from tilewire.simulator.runner_exits import RunError

LOOK_S: Final = 0.5
"""How often a device is asked what it has measured."""
SWIPE_S: Final = 0.25
START_S: Final = 0.02


class QemuMember:
    """A machine and its user. `holds`: whether a viewer's number is the holder's, as far as anybody was told."""

    def __init__(self, plan: RunPlan, state: State, seed: int, *, alone: bool, holds: Callable[[int], bool]) -> None:
        self._run = Run(plan)
        self.state = state
        self.spec: Spec = state.spec
        self._user = User(seed, self.spec.number)
        self._alone = alone
        self._holds = holds
        self._using = trio.CancelScope()
        self._known = 0
        self._seen = 0
        self._cut = False
        self.finished = trio.Event()

    async def run(self) -> None:
        """Until it is over."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._live, nursery)
                await self._run.run()
                nursery.cancel_scope.cancel()
        except* RunError as group:
            self._run.failure = self._run.failure or _run_error(group)
        except* OSError as group:
            self.state.ended = str(first_of(group))
        self._take_events()
        if self._run.failure is not None:
            self.state.ended = str(self._run.failure)
        if self._run.notes:
            self._take_stats(self._run.notes[-1].stats)
        self.state.up = False
        self.finished.set()

    def stop(self) -> None:
        """The device says goodbye and the machine ends."""
        self._run.session.cancel()

    def abandon(self) -> None:
        """The machine ends, and the device says nothing any more."""
        self._run.session.cancel()
        self._run.closing.cancel()

    async def _live(self, nursery: trio.Nursery) -> None:
        while self._run.machine_ is None:  # noqa: ASYNC110  # the run tells nobody
            await trio.sleep(START_S)
        machine = self._run.machine
        # A machine that ends says why to the run itself.
        try:
            await machine.until("picture")
            nursery.start_soon(self._ask)
            with self._using:
                await self._use()
        except RunError:
            return

    async def _ask(self) -> None:
        try:
            while True:
                await self.look()
                await trio.sleep(LOOK_S)
        except RunError:
            return

    async def look(self) -> None:
        """Bring `state` up to date. Raises RunError."""
        if self._run.machine_ is not None and self._run.machine.exit_status is None:
            self._take_stats(await self._run.machine.stats())
            self._take_events()

    def _take_stats(self, stats: dict[str, Any]) -> None:
        state, shown = self.state, stats["input_to_picture_us"]
        state.updates, state.bytes = stats["updates"], stats["bytes"]["received"]
        # The device keeps the newest 64.
        new = shown["count"] - self._known
        self._known = shown["count"]
        if new:
            state.inputs_ms = [*state.inputs_ms, *(value / 1000 for value in shown["values"][-new:])]
        machine = self._run.machine_
        picture = machine.find("picture") if machine is not None else None
        if picture is not None:
            state.seconds = round((stats["uptime_us"] / 1000 - picture["ms"]) / 1000, 3)

    def _take_events(self) -> None:
        machine, state = self._run.machine_, self.state
        if machine is None:
            return
        events = machine.events
        for event in events[self._seen :]:
            match event["event"]:
                case "welcome":
                    state.connections += 1
                    state.resumed += bool(event["resumed"])
                    state.up, state.viewer, state.lost = True, event["viewer"], None
                case "lost":
                    state.up, state.viewer = False, 0
                    state.lost = event.get("text") or f"code {event['code']}"
                    if not self._cut:
                        state.errors = [*state.errors, state.lost]
                    self._cut = False
                case _:
                    pass
        self._seen = len(events)

    async def cut(self) -> None:
        """The line breaks; with it goes control, if this device had it."""
        machine = self._run.machine_
        if machine is not None and machine.exit_status is None:
            self._take_events()
            if not self.state.up:
                return
            self._cut = True
            try:
                await machine.tell("drop")
            except RunError:
                return

    def rest(self) -> None:
        """The user lets go."""
        self._using.cancel()

    async def picture(self) -> dict[str, Any] | None:
        """What the LCD shows now, to be compared; None: nothing."""
        machine = self._run.machine_
        self._take_events()
        if machine is None or machine.exit_status is not None or not self.state.up:
            return None
        view = machine.last("view")
        if view is None:
            return None
        try:
            screen = await machine.screen(still=False)
        except RunError:
            return None
        window = Rect(view["x"], view["y"], view["width"], view["height"])
        mode = ViewMode.FIT if view["mode"] == "fit" else ViewMode.ONE_TO_ONE
        session = view["session_width"], view["session_height"]
        look = look_of(self.spec.panel, session, window, mode, Rotation(view["rotation"] // 90))
        return {
            "look": look.to_list(),
            "digest": digest(b"".join(screen.planes)),
            "presented": None,
            "at_home": mode is self.spec.home.mode,
        }

    # The user.

    def _is_up(self) -> bool:
        self._take_events()
        return self.state.up

    async def _use(self) -> None:
        machine = self._run.machine
        while True:
            await machine.wait_for(self._is_up)
            welcome = machine.last("welcome")
            hands = self._holds(self.state.viewer)
            if self._alone:
                hands = welcome is not None and welcome["role"] == Role.CONTROL and self.state.steps % 3 != 2
            step = self._user.hand() if hands else self._user.eye()
            await self._do(step)
            self.state.steps += 1
            await trio.sleep(step.pause_s)

    async def _do(self, step: Step) -> None:
        machine, panel = self._run.machine, self.spec.panel
        points = [(int(x * panel.width), int(y * panel.height)) for x, y in step.path]
        middle = panel.width // 2
        match step.deed:
            case Deed.MOVE:
                for point in points:
                    await machine.pen(*point)
            case Deed.CLICK:
                await machine.tap(*points[0])
            case Deed.SCROLL:
                ends = (int(panel.height * 0.3), int(panel.height * 0.7))
                start, end = ends if step.notches < 0 else ends[::-1]
                await machine.swipe((middle, start), (middle, end), SWIPE_S)
            case Deed.TYPE:
                await machine.tap(*points[0])
                await machine.type(step.text)
            case Deed.LEAVE:
                await self.cut()
            case _:
                # The firmware keeps its view, and its panel is on.
                pass


def _run_error(group: BaseExceptionGroup[Any]) -> RunError | None:
    first = first_of(group)
    return first if isinstance(first, RunError) else None
