"""What a user does at the QEMU device, in a TOML file: a list of steps, checked before anything starts.

    [[step]]
    wait = { text = "Tutorial" }
    within = 20

    [[step]]
    tap = [400, 300]

docs/device.md lists the steps.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import trio
from Xlib import XK

from tilewire.protocol import Rect
from tilewire.simulator.machine import Machine
from tilewire.simulator.runner_exits import RunError, RunExit
from tilewire.simulator.screen import LAYOUTS, PictureError, Screen, find_tesseract, read_png, read_text, words
from tilewire.simulator.shaper import Link, ShaperError

WITHIN_S: Final = 30.0
LOOK_S: Final = 0.1
SWIPE_MS: Final = 300
MOST_SECONDS: Final = 86400.0
MOST_STEPS: Final = 100_000
COLOUR: Final = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
LINK_KEYS: Final = ("kbit_s", "rtt_ms", "loss_percent", "queue_kib")


class Stage(Protocol):
    """Where a script is played."""

    @property
    def machine(self) -> Machine: ...

    async def change_link(self, changes: dict[str, float | None]) -> None:
        """Raises RunError."""

    async def note(self, name: str) -> None:
        """Keep what was measured until now. Raises RunError."""


@dataclass(slots=True)
class Playing:
    """What steps tell each other."""

    stage: Stage
    since: int = 0
    """Events before this one were before the line was cut."""
    log_since: int = 0

    @property
    def machine(self) -> Machine:
        return self.stage.machine


Act = Callable[[Playing], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do."""

    where: str
    """For sentences: `step 3 (tap)`."""
    act: Act


@dataclass(slots=True)
class Script:
    """Made by `read_script`."""

    steps: list[Step] = field(default_factory=list)
    cuts: bool = False
    """Whether the device has to come back."""
    links: bool = False
    """Whether there has to be a shaped link."""
    makes: set[Path] = field(default_factory=set)
    """Pictures that its steps so far write."""

    async def play(self, stage: Stage) -> None:
        """Raises RunError, whose sentence names the step."""
        playing = Playing(stage)
        for step in self.steps:
            try:
                await step.act(playing)
            except RunError as error:
                raise RunError(f"{step.where}: {error}", error.code) from error
            except PictureError as error:
                raise RunError(f"{step.where}: {error}", RunExit.ASSERTION) from error
            except OSError as error:
                raise RunError(f"{step.where}: {error.filename}: {error.strerror}", RunExit.FAILED) from error


class _Wrong(Exception):
    """Of one step; a plain sentence."""


@dataclass(frozen=True, slots=True)
class _Context:
    """Of a step that is read."""

    folder: Path
    within: float
    script: Script


def read_script(path: Path) -> Script:
    """Pictures that it names lie beside it. Raises RunError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"the script {path} cannot be read: {error.strerror}", RunExit.BAD_SCRIPT) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"the script {path} is not TOML: {error}", RunExit.BAD_SCRIPT) from error
    if unknown := sorted(document.keys() - {"step"}):
        raise RunError(f"{path}: {unknown[0]!r} means nothing: a script is a list of [[step]]", RunExit.BAD_SCRIPT)
    steps = document.get("step", [])
    if not isinstance(steps, list) or not 0 < len(steps) <= MOST_STEPS:
        raise RunError(f"{path}: a script is a list of 1 to {MOST_STEPS} [[step]]", RunExit.BAD_SCRIPT)
    script = Script()
    for number, table in enumerate(steps, 1):
        kind = ""
        try:
            kind, act = _step(table, path.parent, script)
        except _Wrong as error:
            name = next((key for key in table if key in MAKERS), "") if isinstance(table, dict) else ""
            where = f"step {number}" + (f" ({name})" if name else "")
            raise RunError(f"{path}: {where}: {error}", RunExit.BAD_SCRIPT) from error
        script.steps.append(Step(f"step {number} ({kind})", act))
    return script


def _step(table: Any, folder: Path, script: Script) -> tuple[str, Act]:
    if not isinstance(table, dict):
        raise _Wrong("it is no table")
    rest = dict(table)
    within = _number(rest.pop("within", WITHIN_S), "within", MOST_SECONDS)
    if len(rest) != 1:
        raise _Wrong(f"it does one thing: one of {', '.join(MAKERS)}")
    ((kind, value),) = rest.items()
    if kind not in MAKERS:
        raise _Wrong(f"{kind!r} is none of {', '.join(MAKERS)}")
    if "within" in table and kind != "wait":
        raise _Wrong("only `wait` has a `within`")
    script.cuts |= kind == "cut"
    script.links |= kind == "link"
    return kind, MAKERS[kind](value, _Context(folder, within, script))


# Values.


def _number(value: Any, name: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _Wrong(f"`{name}` is a number from 0 to {most:g}")
    return float(value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong(f"`{name}` is a text")
    return value


def _whole(value: Any, name: str, count: int, form: str) -> list[int]:
    if (
        not isinstance(value, list)
        or len(value) != count
        or not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 4096 for one in value)
    ):
        raise _Wrong(f"`{name}` is {form}, in pixels of the panel")
    return value


def _point(value: Any, name: str) -> tuple[int, int]:
    x, y = _whole(value, name, 2, "[X, Y]")
    return x, y


def _region(table: dict[str, Any]) -> Rect | None:
    if "region" not in table:
        return None
    x, y, width, height = _whole(table["region"], "region", 4, "[X, Y, WIDTH, HEIGHT]")
    if not width or not height:
        raise _Wrong("`region` is empty")
    return Rect(x=x, y=y, width=width, height=height)


def _table(value: Any, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """One of `required`, with some of `optional`."""
    if not isinstance(value, dict):
        raise _Wrong(f"`{name}` is a table: {{ {required[0]} = ... }}")
    if unknown := sorted(value.keys() - {*required, *optional}):
        raise _Wrong(f"{unknown[0]!r} is none of {', '.join((*required, *optional))}")
    if len(value.keys() & set(required)) != 1:
        raise _Wrong(f"`{name}` is about one of {', '.join(required)}")
    return value


def _keys(value: Any) -> list[str]:
    text = _text(value, "key")
    names = text.split("+") if text != "+" else ["plus"]
    for name in names:
        if not XK.string_to_keysym(name):
            raise _Wrong(f"{name!r} is no X keysym (such as Return, Down, Control_L+l)")
    return names


async def _inside(machine: Machine, *points: tuple[int, int]) -> None:
    width, height = await machine.size()
    for x, y in points:
        if x >= width or y >= height:
            raise RunError(f"{x},{y} lies outside the panel of {width}x{height}", RunExit.BAD_SCRIPT)


# What can be asked of the screen, for `wait` and `assert`. A check gives a sentence where it is not so.

Check = Callable[[Screen], Awaitable[str | None]]


def _image_check(table: dict[str, Any], context: _Context) -> tuple[Check, Callable[[Screen], Path | None]]:
    path, region = context.folder / _text(table["image"], "image"), _region(table)
    # What the script itself makes is not there yet.
    right: Screen | None = None
    if path not in context.script.makes:
        try:
            right = read_png(path)
        except PictureError as error:
            raise _Wrong(str(error)) from error

    def pair(screen: Screen) -> tuple[Screen, Screen]:
        wanted = right if right is not None else read_png(path)
        if region is None:
            return screen, wanted
        seen = screen.crop(region)
        whole = (wanted.width, wanted.height) == (screen.width, screen.height)
        return seen, wanted.crop(region) if whole else wanted

    async def check(screen: Screen) -> str | None:
        seen, wanted = pair(screen)
        count = seen.differing(wanted)
        return f"{count} of {seen.width * seen.height} pixels are not those of {path}" if count else None

    def keep(screen: Screen) -> Path | None:
        beside = path.with_suffix(".seen.png")
        pair(screen)[0].save_png(beside)
        return beside

    return check, keep


def _pixel_check(table: dict[str, Any]) -> Check:
    x, y = _point(table["pixel"], "pixel")
    found = COLOUR.fullmatch(_text(table.get("colour"), "colour"))
    if found is None:
        raise _Wrong('`colour` is "#RRGGBB"')
    wanted = Screen(1, 1, bytes(int(part, 16) for part in found.groups()))

    async def check(screen: Screen) -> str | None:
        seen = screen.pixel(x, y)
        if Screen(1, 1, bytes(seen)).differing(wanted):
            return f"the pixel at {x},{y} is #{bytes(seen).hex()}, not {found[0]}"
        return None

    return check


def _text_check(table: dict[str, Any]) -> Check:
    text, region = words(_text(table["text"], "text")), _region(table)
    program = find_tesseract()

    async def check(screen: Screen) -> str | None:
        part = screen if region is None else screen.crop(region)
        seen = []
        for layout in LAYOUTS:
            seen.append(await read_text(part, program, layout))
            if text in seen[-1]:
                return None
        return f"{text!r} is not to be read; what is: {max(seen, key=len)[:200]!r}"

    return check


# The steps.


def _wait(value: Any, context: _Context) -> Act:
    within = context.within
    of = ("picture", "quiet", "seconds", "log", "text", "image", "pixel")
    table = _table(value, "wait", of, ("region", "colour"))
    if "picture" in table:
        if table["picture"] is not True:
            raise _Wrong("`picture` is true")
        return _wait_picture(within)
    if "quiet" in table:
        return _wait_quiet(_number(table["quiet"], "quiet", MOST_SECONDS), within)
    if "seconds" in table:
        seconds = _number(table["seconds"], "seconds", MOST_SECONDS)

        async def pause(playing: Playing) -> None:
            await playing.machine.wait_for(lambda: False, seconds)

        return pause
    if "log" in table:
        return _wait_log(_text(table["log"], "log"), within)
    if "text" in table:
        return _wait_check(_text_check(table), within)
    if "pixel" in table:
        return _wait_check(_pixel_check(table), within)
    return _wait_check(_image_check(table, context)[0], within)


def _wait_picture(within: float) -> Act:
    async def act(playing: Playing) -> None:
        if not await playing.machine.wait_for(lambda: playing.machine.find("picture", playing.since), within):
            raise RunError(f"no whole picture in {within:g} s", RunExit.WAITED)

    return act


def _wait_quiet(quiet: float, within: float) -> Act:
    async def act(playing: Playing) -> None:
        machine = playing.machine
        until = trio.current_time() + within
        before, same_since = b"", trio.current_time()
        while True:
            seen = (await machine.screen(still=False)).rgb
            if seen != before:
                before, same_since = seen, trio.current_time()
            if trio.current_time() - same_since >= quiet and machine.find("picture", playing.since):
                return
            if trio.current_time() > until:
                raise RunError(f"the screen was not quiet for {quiet:g} s in {within:g} s", RunExit.WAITED)
            await machine.wait_for(lambda: False, LOOK_S)

    return act


def _wait_log(text: str, within: float) -> Act:
    async def act(playing: Playing) -> None:
        machine = playing.machine

        def found() -> bool:
            for number, line in enumerate(machine.log[playing.log_since :], playing.log_since + 1):
                if text in line:
                    playing.log_since = number
                    return True
            return False

        if not await machine.wait_for(found, within):
            raise RunError(f"no line of the log holds {text!r} in {within:g} s", RunExit.WAITED)

    return act


def _wait_check(check: Check, within: float) -> Act:
    async def act(playing: Playing) -> None:
        machine = playing.machine
        until = trio.current_time() + within
        while True:
            problem = await check(await machine.screen())
            if problem is None:
                return
            if trio.current_time() > until:
                raise RunError(f"{problem}, after {within:g} s", RunExit.WAITED)
            await machine.wait_for(lambda: False, LOOK_S)

    return act


def _assert(value: Any, context: _Context) -> Act:
    table = _table(value, "assert", ("image", "pixel", "text"), ("region", "colour"))
    keep: Callable[[Screen], Path | None] | None = None
    if "image" in table:
        check, keep = _image_check(table, context)
    else:
        check = _pixel_check(table) if "pixel" in table else _text_check(table)

    async def act(playing: Playing) -> None:
        screen = await playing.machine.screen()
        problem = await check(screen)
        if problem is not None:
            beside = f"; what is there is in {keep(screen)}" if keep is not None else ""
            raise RunError(problem + beside, RunExit.ASSERTION)

    return act


def _tap(value: Any, _context: _Context) -> Act:
    point = _point(value, "tap")

    async def act(playing: Playing) -> None:
        await _inside(playing.machine, point)
        await playing.machine.tap(*point)

    return act


def _swipe(value: Any, _context: _Context) -> Act:
    if not isinstance(value, dict) or value.keys() - {"ms", "fingers"} != {"from", "to"}:
        raise _Wrong("`swipe` is { from = [X, Y], to = [X, Y], ms = 300, fingers = 1 }")
    start, end = _point(value["from"], "from"), _point(value["to"], "to")
    seconds = _number(value.get("ms", SWIPE_MS), "ms", 60_000) / 1000
    fingers = value.get("fingers", 1)
    if fingers not in (1, 2) or isinstance(fingers, bool):
        raise _Wrong("`fingers` is 1 or 2")

    async def act(playing: Playing) -> None:
        await _inside(playing.machine, start, end)
        await playing.machine.swipe(start, end, seconds, fingers)

    return act


def _type(value: Any, _context: _Context) -> Act:
    text = _text(value, "type")
    if any(ord(character) < 32 and character not in "\n\t" for character in text):
        raise _Wrong("`type` holds a control character: only line ends and tabs are keys")
    return lambda playing: playing.machine.type(text)


def _key(value: Any, _context: _Context) -> Act:
    names = _keys(value)
    return lambda playing: playing.machine.keys(names)


def _screenshot(value: Any, context: _Context) -> Act:
    path = context.folder / _text(value, "screenshot")
    context.script.makes.add(path)

    async def act(playing: Playing) -> None:
        (await playing.machine.screen()).save_png(path)

    return act


def _cut(value: Any, _context: _Context) -> Act:
    if value is not True:
        raise _Wrong("`cut` is true")

    async def act(playing: Playing) -> None:
        playing.since = len(playing.machine.events)
        await playing.machine.tell("drop")

    return act


def _link(value: Any, _context: _Context) -> Act:
    if not isinstance(value, dict) or not value or (value.keys() - set(LINK_KEYS)):
        raise _Wrong(f"`link` is a table of some of {', '.join(LINK_KEYS)}")
    changes: dict[str, float | None] = {name: _number(one, name, 1e9) for name, one in value.items()}
    if changes.get("kbit_s") == 0:
        changes["kbit_s"] = None  # no bound
    try:
        Link(**changes)  # type: ignore[arg-type]
    except ShaperError as error:
        raise _Wrong(str(error)) from error
    return lambda playing: playing.stage.change_link(changes)


def _stats(value: Any, _context: _Context) -> Act:
    name = _text(value, "stats")
    return lambda playing: playing.stage.note(name)


MAKERS: Final[dict[str, Callable[[Any, _Context], Act]]] = {
    "wait": _wait,
    "tap": _tap,
    "swipe": _swipe,
    "type": _type,
    "key": _key,
    "screenshot": _screenshot,
    "assert": _assert,
    "cut": _cut,
    "link": _link,
    "stats": _stats,
}
