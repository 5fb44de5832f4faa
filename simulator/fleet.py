"""Many devices with their users against one server: started, steered in turns, brought to rest, compared, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import trio

from tilewire.protocol.constants import ControlAction
from tilewire.simulator.fleet_plan import Look, Spec, State, digest
from tilewire.simulator.fleet_qemu import QemuMember
from tilewire.simulator.fleet_verify import Verifier, VerifyError
from tilewire.simulator.runner import RunPlan

MOST_WORKERS: Final = 4
DEVICES_PER_WORKER: Final = 4
"""Less is not worth a process."""
LEAST_TURN_S: Final = 0.8
MOST_TURN_S: Final = 3.0
"""How long one user steers; as a rule everybody does twice."""
CONDUCT_S: Final = 0.1
AGAIN_S: Final = 0.5
"""How long an order about control may take to show."""
GONE_S: Final = 4.0
"""So long nobody has a connection: the server is gone."""
LOOK_S: Final = 0.4
ANSWER_S: Final = 10.0
CLOSE_S: Final = 2.5
SAID_BYTES: Final = 4000
PIECE: Final = 65536


class FleetError(Exception):
    """The fleet cannot go on: one plain sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What `tilewire-sim fleet` was told."""

    address: str
    specs: Sequence[Spec]
    seconds: float
    """From when all devices are connected."""
    seed: int = 1
    connect_within_s: float = 30.0
    name: str = "fleet"
    """Devices are NAME-01 and so on."""
    key: bytes | None = None
    ca: Path | None = None
    check_tls: bool = True
    settle_s: float = 20.0
    """Until all show the same: a device that had just left may need 8 s to come back, then a JPEG is refined."""
    verify: str | None = None
    """An X display that the pictures are compared with."""
    machine: RunPlan | None = None
    """What QEMU devices have in common; None where there are none."""


class _WorkerProcess:
    """A process of fleet_worker.py."""

    def __init__(self, process: subprocess.Popen[bytes], specs: Sequence[Spec]) -> None:
        self.process = process
        self.specs = specs
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.orders = trio.lowlevel.FdStream(os.dup(process.stdin.fileno()))
        self.told = trio.lowlevel.FdStream(os.dup(process.stdout.fileno()))
        self.said = trio.lowlevel.FdStream(os.dup(process.stderr.fileno()))
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        self.words = b""
        self.over = False
        """It has ended by itself."""
        self._ordering = trio.Lock()

    async def order(self, do: str, **more: Any) -> None:
        """A line; one that has died does not hear it."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._ordering:
                await self.orders.send_all(json.dumps({"do": do} | more).encode() + b"\n")


def _start_worker(specs: Sequence[Spec]) -> _WorkerProcess:
    return _WorkerProcess(
        subprocess.Popen(
            [sys.executable, "-m", "tilewire.simulator.fleet_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # ctrl-C is for us to hear
        ),
        specs,
    )


@dataclass(slots=True)
class Fleet:
    """A fleet, while it lasts and afterwards."""

    plan: FleetPlan
    states: dict[int, State] = field(default_factory=dict)
    used: dict[int, State] = field(default_factory=dict)
    """As they were when the users came to rest: what is reported."""
    phase: str = "starting"
    pictures: dict[int, str] = field(default_factory=dict)
    """What became of each device's picture: exact, or what is wrong."""
    problems: dict[int, list[str]] = field(default_factory=dict)
    """A sentence for each failure of a device."""
    unchecked: str | None = None
    """Why the pictures were not compared."""
    gone: str | None = None
    """The server is, in a sentence."""
    lasted_s: float = 0.0
    workers: int = 0
    session: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Of all but the end; cancelled, the fleet stops at once and reports what was."""
    closing: trio.CancelScope = field(default_factory=lambda: trio.CancelScope(shield=True))
    """Of the end, in which every device says goodbye."""
    _workers: list[_WorkerProcess] = field(default_factory=list)
    _machines: list[QemuMember] = field(default_factory=list)
    _answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _verifier: Verifier | None = None
    _last: dict[int, dict[str, Any]] = field(default_factory=dict)
    _news: trio.Event = field(default_factory=trio.Event)

    @property
    def holder(self) -> State | None:
        """Who steers, as far as anybody was told."""
        for state in self.states.values():
            if state.up and state.steers:
                return state
        numbers = {state.holder for state in self.states.values() if state.up and state.holder}
        return next((state for state in self.states.values() if state.up and state.viewer in numbers), None)

    def _holds(self, viewer: int) -> bool:
        holder = self.holder
        return holder is not None and holder.viewer == viewer

    # From start to end.

    async def run(self) -> None:
        """Raises FleetError where nothing came about."""
        plan = self.plan
        self.states = {spec.number: State(spec) for spec in plan.specs}
        clients = [spec for spec in plan.specs if not spec.qemu]
        cores = len(os.sched_getaffinity(0))
        self.workers = min(MOST_WORKERS, max(cores, 1), -(-len(clients) // DEVICES_PER_WORKER))
        async with trio.open_nursery() as nursery:
            try:
                for index in range(self.workers):
                    worker = _start_worker(clients[index :: self.workers])
                    self._workers.append(worker)
                    nursery.start_soon(self._read, worker)
                    nursery.start_soon(self._listen, worker)
                with self.session:
                    await self._start(nursery)
                    await self._live()
                self._freeze()
                with self.closing, trio.move_on_after(CLOSE_S):
                    await self._stop()
            finally:
                self.end_at_once()
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await self._clean()
        self._judge()

    async def _start(self, nursery: trio.Nursery) -> None:
        plan = self.plan
        self.phase = "connecting"
        job = {
            "address": plan.address,
            "name": plan.name,
            "key": plan.key.hex() if plan.key is not None else None,
            "ca": str(plan.ca) if plan.ca is not None else None,
            "check": plan.check_tls,
            "seed": plan.seed,
            "alone": len(plan.specs) == 1,
        }
        for spec in plan.specs:
            if spec.qemu:
                assert plan.machine is not None
                machine = replace(
                    plan.machine, panel=spec.panel.name, device_id=f"{plan.name}-{spec.number:02d}", fit=True
                )
                alone = len(plan.specs) == 1
                member = QemuMember(machine, self.states[spec.number], plan.seed, alone=alone, holds=self._holds)
                self._machines.append(member)
                nursery.start_soon(self._run_machine, member)
        for worker in self._workers:
            await worker.order("start", devices=[asdict(spec) for spec in worker.specs], **job)

    async def _run_machine(self, member: QemuMember) -> None:
        await member.run()
        self._tell()

    async def _live(self) -> None:
        states = self.states.values()

        def all_there() -> bool:
            return all(state.connections or state.ended for state in states)

        await self._until(all_there, self.plan.connect_within_s)
        if not any(state.connections for state in states):
            why = next((state.ended for state in states if state.ended), None)
            raise FleetError(why or f"no device reached {self.plan.address} in {self.plan.connect_within_s:g} s")
        self.phase = "using"
        async with trio.open_nursery() as nursery:
            began_s = time.monotonic()
            nursery.start_soon(self._conduct)
            gone = await self._gone_within(self.plan.seconds)
            self.lasted_s = time.monotonic() - began_s
            nursery.cancel_scope.cancel()
        if gone:
            return
        self.phase = "coming to rest"
        for member in self._machines:
            member.rest()
        await self._ask_all("rest", "resting")
        self._freeze()
        await self._compare()

    async def _gone_within(self, seconds: float) -> bool:
        """Whether nobody has had a connection for a while, before the time is over."""
        until = since = time.monotonic()
        until += seconds
        while (now := time.monotonic()) < until:
            if any(state.up for state in self.states.values()):
                since = now
            elif now - since > GONE_S or all(state.ended for state in self.states.values()):
                why = next((s.ended or s.lost for s in self.states.values() if s.ended or s.lost), "no answer")
                self.gone = f"the server at {self.plan.address} is gone: {why}"
                return True
            await self._wait(CONDUCT_S)
        return False

    async def _conduct(self) -> None:
        """Control goes round."""
        if len(self.plan.specs) < 2:
            return
        each_s = min(max(self.plan.seconds / (2 * len(self.plan.specs)), LEAST_TURN_S), MOST_TURN_S)
        numbers = [spec.number for spec in self.plan.specs]
        turn, turn_s, ordered_s, counted = 0, time.monotonic(), 0.0, False
        while True:
            now = time.monotonic()
            wanted = self.states[numbers[turn % len(numbers)]]
            if now - turn_s > each_s or (not wanted.up and now - turn_s > CONDUCT_S):
                ahead = (turn + step for step in range(1, len(numbers) + 1))
                turn = next((at for at in ahead if self.states[numbers[at % len(numbers)]].up), turn + 1)
                turn_s, ordered_s, counted = now, 0.0, False
                wanted = self.states[numbers[turn % len(numbers)]]
            holder = self.holder
            if holder is wanted and holder is not None:
                if not counted:
                    # The turn begins when control is there.
                    counted, turn_s = True, now
                    wanted.turns += 1
            elif now - ordered_s > AGAIN_S and wanted.up:
                ordered_s = now
                await self._hand_over(holder, wanted)
            await self._wait(CONDUCT_S)

    async def _hand_over(self, holder: State | None, wanted: State) -> None:
        if holder is None:
            # Granted where nobody holds it. The firmware does not ask.
            asks = next((s for s in (wanted, *self.states.values()) if s.up and not s.spec.qemu), None)
            if asks is not None:
                await self._control(asks, ControlAction.ASK)
        elif holder.spec.qemu:
            # It cannot pass it on: its turn ends with its connection, and somebody else inherits it.
            await next(one for one in self._machines if one.spec is holder.spec).cut()
        else:
            await self._control(holder, ControlAction.PASS, wanted.viewer)

    async def _control(self, state: State, action: ControlAction, viewer: int = 0) -> None:
        number = state.spec.number
        worker = next(worker for worker in self._workers if state.spec in worker.specs)
        await worker.order("control", device=number, action=int(action), viewer=viewer)

    # The pictures.

    async def _compare(self) -> None:
        """At rest all that look alike show the same, which a whole repaint does not change."""
        self.phase = "comparing"
        before = await self._same(None)
        if before is None:
            return
        shown = {number: one["presented"] for number, one in before.items()}
        for worker in self._workers:
            await worker.order("refresh")
        if await self._same(shown) is not None:
            after = {number: one["digest"] for number, one in self._last.items()}
            for number, one in before.items():
                if after.get(number) != one["digest"]:
                    self._fail(number, "its picture was not exact: a whole repaint made another of it")

    async def _same(self, shown: Mapping[int, int | None] | None) -> dict[int, dict[str, Any]] | None:
        """All pictures, once they are at rest and right; None where they do not come to that, with the reasons kept.

        `shown`: how many updates each had shown; all have to show more.
        """
        last: dict[int, str] = {}
        until = time.monotonic() + self.plan.settle_s
        while True:
            seen = await self._pictures()
            digests = {number: one["digest"] for number, one in seen.items()}
            missing = [n for n, state in self.states.items() if not state.ended and n not in seen]
            late = [n for n, one in seen.items() if not one["at_home"] or (shown and _not_yet(shown.get(n), one))]
            wrong_s = time.monotonic()
            wrong = await self._wrong(seen)
            # What a panel must show takes us up to a second a picture, and the devices none.
            until += time.monotonic() - wrong_s
            at_rest = digests == last
            if at_rest and not missing and not late and not wrong:
                self._last = seen
                self._pass(seen)
                return seen
            if time.monotonic() > until:
                break
            last = digests
            await self._wait(LOOK_S, news=False)
        if not at_rest and not missing and not late:
            self.unchecked = f"the pictures were not compared: the screen did not rest within {self.plan.settle_s:g} s"
            return None
        if at_rest:
            self._pass({number: one for number, one in seen.items() if number not in wrong and number not in late})
        for number in missing:
            state = self.states[number]
            self._fail(number, f"it did not come back in {self.plan.settle_s:g} s: {state.lost or 'no picture'}")
        for number in late:
            self._fail(number, f"it did not show what it asked for in {self.plan.settle_s:g} s")
        for number, text in wrong.items():
            self._fail(number, text)
        return None

    async def _pictures(self) -> dict[int, dict[str, Any]]:
        answers = await self._ask_all("pictures", "pictures")
        seen = {int(number): one for answer in answers for number, one in answer["devices"].items() if one}
        for member in self._machines:
            one = await member.picture()
            if one is not None:
                seen[member.spec.number] = one
        return dict(sorted(seen.items()))

    async def _wrong(self, seen: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
        """Devices whose picture is not that of the others that look alike, or not the screen's."""
        wrong: dict[int, str] = {}
        alike: dict[Look, list[int]] = {}
        for number, one in seen.items():
            alike.setdefault(Look.from_list(one["look"]), []).append(number)
        right: dict[Look, bytes | None] = {}
        if self.plan.verify is not None:
            self._verifier = self._verifier or Verifier(self.plan.verify)
            looks = [look for look in alike if not look.pointer]
            try:
                pictures = await trio.to_thread.run_sync(self._verifier.expected, looks)
            except VerifyError as error:
                raise FleetError(str(error)) from error
            right = dict(zip(looks, pictures, strict=True))
        for look, numbers in alike.items():
            count = Counter(seen[number]["digest"] for number in numbers)
            picture = right.get(look)
            truth = digest(picture) if picture is not None else count.most_common(1)[0][0]
            if look in right and picture is None:
                text = f"its session is {look.session[0]}x{look.session[1]}, and display {self.plan.verify} is not"
                wrong |= dict.fromkeys(numbers, text)
                continue
            friend = next((number for number in numbers if seen[number]["digest"] == truth), 0)
            for number in numbers:
                if seen[number]["digest"] != truth:
                    whose = f"display {self.plan.verify}" if look in right else f"device {friend}"
                    wrong[number] = f"its picture is not that of {whose}"
        return wrong

    def _pass(self, seen: Mapping[int, Mapping[str, Any]]) -> None:
        """These pictures are right."""
        for number, one in seen.items():
            verified = self.plan.verify is not None and not Look.from_list(one["look"]).pointer
            self.pictures[number] = "exact" if verified else "equal"

    def _fail(self, number: int, text: str) -> None:
        self.problems.setdefault(number, []).append(text)
        self.pictures[number] = "wrong"

    # The workers.

    async def _read(self, worker: _WorkerProcess) -> None:
        buffer = b""
        while data := bytes(await worker.told.receive_some(PIECE)):
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                told = json.loads(line)
                if told["say"] == "states":
                    for number, state in told["devices"].items():
                        self.states[int(number)].take(state)
                else:
                    self._answers.setdefault(told["say"], []).append(told)
            self._tell()
        if self.phase != "stopping":
            words = worker.words.decode("utf-8", "replace").strip().splitlines()
            why = f"a process of the fleet has ended by itself{': ' + words[-1] if words else ''}"
            for spec in worker.specs:
                state = self.states[spec.number]
                state.ended, state.up = state.ended or why, False
            worker.over = True
            self._tell()

    async def _listen(self, worker: _WorkerProcess) -> None:
        while data := bytes(await worker.said.receive_some(PIECE)):
            worker.words = (worker.words + data)[-SAID_BYTES:]

    async def _ask_all(self, do: str, answer: str) -> list[dict[str, Any]]:
        """An order to all workers, and what they answer."""
        self._answers[answer] = []
        for worker in self._workers:
            await worker.order(do)

        def answered() -> bool:
            return len(self._answers[answer]) >= sum(not worker.over for worker in self._workers)

        if not await self._until(answered, ANSWER_S):
            raise FleetError(f"a process of the fleet does not answer in {ANSWER_S:g} s")
        return self._answers[answer]

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def _wait(self, seconds: float, *, news: bool = True) -> None:
        with trio.move_on_after(seconds):
            if news:
                await self._news.wait()
            else:
                await trio.sleep_forever()

    async def _until(self, test: Any, timeout_s: float) -> bool:
        with trio.move_on_after(timeout_s):
            while not test():
                await self._wait(CONDUCT_S)
            return True
        return False

    # The end.

    def end_at_once(self) -> None:
        """Who has not said goodbye by now does not."""
        self.session.cancel()
        self.closing.cancel()
        for member in self._machines:
            member.abandon()

    def _freeze(self) -> None:
        """What is reported is what was used, and not the comparison."""
        if not self.used:
            self.used = {number: replace(state) for number, state in self.states.items()}

    async def _stop(self) -> None:
        self.phase = "stopping"
        for member in self._machines:
            member.stop()
        for worker in self._workers:
            await worker.order("stop")
            await worker.orders.aclose()
        for worker in self._workers:
            await _exited(worker.process)
        for member in self._machines:
            await member.finished.wait()

    async def _clean(self) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
            for stream in (worker.orders, worker.told, worker.said):
                await stream.aclose()

    def _judge(self) -> None:
        """What went wrong with each device, once each."""
        for number, state in self.states.items():
            texts = list(dict.fromkeys([*state.errors, *([state.ended] if state.ended else [])]))
            if not state.connections and not texts:
                texts = ["it was never connected"]
            if texts:
                self.problems.setdefault(number, [])[:0] = texts


async def _exited(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        pidfd = os.pidfd_open(process.pid)
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)


def _not_yet(shown: int | None, one: Mapping[str, Any]) -> bool:
    return shown is not None and one["presented"] is not None and one["presented"] <= shown
