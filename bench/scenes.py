"""Scenes: a program on an X screen and what a person does with it, read from TOML files.

    about = "one sentence"                       # optional, as are prepare, before and limit_s
    size = [1024, 600]
    command = ["xterm", "-geometry", "170x45"]   # words, or one text that is split as a shell does
    prepare = ["ffmpeg … clip.webm"]             # commands that make files in {folder}, run once
    before = [{ quiet = 1.0 }]                   # carried out before anything is measured
    steps = [                                    # the motion that is measured
        { type = "ls -la\\n", rate = 10 },        # keys a second
        { key = "ctrl+Home", times = 2 },
        { wheel = 60, at = [500, 300], rate = 10 },   # notches, downwards; negative: upwards; a second
        { move = [200, 100] },                   # the pointer, at once
        { press = 1 }, { release = 1 }, { click = 1, at = [30, 10] },
        { drag = [[10, 10], [200, 90]], seconds = 2.0, rate = 60 },   # button held, pointer through these points
        { glide = [[10, 10], [200, 90]], seconds = 2.0 },             # the same without a button
        { wait = 0.5 },
        { quiet = 0.5 },                         # until the screen has not changed for so long
    ]

In words of commands {folder} is a folder of the scene's own, {scenes} the one with the TOML file, {width} and {height}
the screen. A bare `chromium PAGE` is shown full screen with an empty profile.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent / "scenes"
DEFAULT_RATE: Final = 30.0
MAX_RATE: Final = 1000.0
MAX_SECONDS: Final = 120.0
MAX_SIDE: Final = 4096

Point = tuple[int, int]


class SceneError(Exception):
    """A scene's file is not as it should be; one plain sentence."""


class Verb(Enum):
    """What a step does."""

    TYPE = "type"
    KEY = "key"
    WHEEL = "wheel"
    MOVE = "move"
    PRESS = "press"
    RELEASE = "release"
    CLICK = "click"
    DRAG = "drag"
    GLIDE = "glide"
    WAIT = "wait"
    QUIET = "quiet"


_MODIFIERS: Final[dict[Verb, frozenset[str]]] = {
    Verb.TYPE: frozenset({"rate"}),
    Verb.KEY: frozenset({"rate", "times"}),
    Verb.WHEEL: frozenset({"rate", "at"}),
    Verb.MOVE: frozenset(),
    Verb.PRESS: frozenset({"at"}),
    Verb.RELEASE: frozenset({"at"}),
    Verb.CLICK: frozenset({"at", "rate", "times"}),
    Verb.DRAG: frozenset({"seconds", "rate", "button", "keys"}),
    Verb.GLIDE: frozenset({"seconds", "rate"}),
    Verb.WAIT: frozenset(),
    Verb.QUIET: frozenset({"colours"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. Which fields mean something follows from the verb."""

    verb: Verb
    text: str = ""
    """What is typed; the names of keys that go down together, joined by +."""
    amount: int = 0
    """Notches of the wheel; the number of a button."""
    points: tuple[Point, ...] = ()
    seconds: float = 0.0
    rate: float = DEFAULT_RATE
    """Events a second."""
    times: int = 1
    colours: int = 2
    """A screen with fewer is not there yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A program and what is done with it."""

    name: str
    about: str
    size: tuple[int, int]
    command: tuple[str, ...]
    prepare: tuple[tuple[str, ...], ...]
    before: tuple[Step, ...]
    steps: tuple[Step, ...]
    limit_s: float
    """The motion is broken off after so long."""
    lossy: bool
    """Photographs or video: JPEG is compared at equal SSIM as well."""
    scenes: Path
    """Where its file is."""

    def words(self, command: Sequence[str], folder: Path) -> list[str]:
        """A command with its placeholders filled in."""
        width, height = self.size
        known = {"{folder}": folder, "{scenes}": self.scenes, "{width}": width, "{height}": height}
        filled = []
        for word in command:
            for name, value in known.items():
                word = word.replace(name, str(value))
            filled.append(word)
        return filled


def read_scene(path: Path) -> Scene:
    """Read one file. Raises SceneError."""
    try:
        text = path.read_text(encoding="utf-8")
        return parse_scene(tomllib.loads(text), path.stem, path.resolve().parent)
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SceneError(f"{path} is not TOML: {error}") from error
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from error


def parse_scene(table: Mapping[str, Any], name: str, scenes: Path) -> Scene:
    """Check what a scene's file says. Raises SceneError."""
    wanted, optional = {"size", "command", "steps"}, {"about", "prepare", "before", "limit_s", "lossy", "name"}
    if missing := wanted - table.keys():
        raise SceneError(f"{', '.join(sorted(missing))} missing")
    if unknown := table.keys() - wanted - optional:
        raise SceneError(f"unknown: {', '.join(sorted(unknown))}")
    steps = _steps(table["steps"], "steps")
    if not steps:
        raise SceneError("steps: none")
    return Scene(
        name=str(table.get("name", name)),
        about=str(table.get("about", "")),
        size=_size(table["size"]),
        command=_command(table["command"], "command"),
        prepare=tuple(_command(command, "prepare") for command in table.get("prepare", ())),
        before=_steps(table.get("before", [{"quiet": 1.0}]), "before"),
        steps=steps,
        limit_s=_number(table.get("limit_s", 60.0), "limit_s", MAX_SECONDS),
        lossy=bool(table.get("lossy", False)),
        scenes=scenes,
    )


def _size(value: object) -> tuple[int, int]:
    if isinstance(value, str):
        parts = value.lower().split("x")
        value = [int(part) for part in parts] if all(part.isdigit() for part in parts) else None
    if not (isinstance(value, list) and len(value) == 2 and all(_is_int(side) for side in value)):
        raise SceneError("size is not [width, height]")
    width, height = value
    if not (16 <= width <= MAX_SIDE and 16 <= height <= MAX_SIDE):
        raise SceneError(f"size: sides from 16 to {MAX_SIDE}")
    return width, height


def _command(value: object, what: str) -> tuple[str, ...]:
    words = shlex.split(value) if isinstance(value, str) else value
    if not (isinstance(words, list) and words and all(isinstance(word, str) for word in words)):
        raise SceneError(f"{what} is neither a text nor a list of words")
    return tuple(words)


def _steps(value: object, what: str) -> tuple[Step, ...]:
    if not isinstance(value, list):
        raise SceneError(f"{what} is not a list")
    return tuple(_step(table, f"{what}[{number}]") for number, table in enumerate(value, 1))


def _step(table: object, what: str) -> Step:
    if not isinstance(table, dict):
        raise SceneError(f"{what} is not a table")
    verbs = [verb for verb in Verb if verb.value in table]
    if len(verbs) != 1:
        raise SceneError(f"{what} names {len(verbs)} things to do, not one of {', '.join(v.value for v in Verb)}")
    verb = verbs[0]
    if unknown := table.keys() - {verb.value} - _MODIFIERS[verb]:
        raise SceneError(f"{what}: {verb.value} takes no {', '.join(sorted(unknown))}")
    value = table[verb.value]
    fields: dict[str, Any] = {"verb": verb}
    if "rate" in table:
        fields["rate"] = _number(table["rate"], f"{what}: rate", MAX_RATE)
    if "times" in table:
        fields["times"] = _whole(table["times"], f"{what}: times")
    if "colours" in table:
        fields["colours"] = _whole(table["colours"], f"{what}: colours")
    if "at" in table:
        fields["points"] = (_point(table["at"], what),)
    if verb in (Verb.TYPE, Verb.KEY):
        if not isinstance(value, str) or not value:
            raise SceneError(f"{what}: {verb.value} wants a text")
        fields["text"] = value
    elif verb in (Verb.WHEEL, Verb.PRESS, Verb.RELEASE, Verb.CLICK):
        fields["amount"] = _whole(value, f"{what}: {verb.value}")
    elif verb is Verb.MOVE:
        fields["points"] = (_point(value, what),)
    elif verb in (Verb.DRAG, Verb.GLIDE):
        if not isinstance(value, list) or len(value) < 2:
            raise SceneError(f"{what}: {verb.value} wants two points or more")
        fields["points"] = tuple(_point(point, what) for point in value)
        fields["seconds"] = _number(table.get("seconds", 1.0), f"{what}: seconds", MAX_SECONDS)
        fields["amount"] = _whole(table.get("button", 1), f"{what}: button")
        fields["text"] = str(table.get("keys", ""))
    else:
        fields["seconds"] = _number(value, f"{what}: {verb.value}", MAX_SECONDS)
    return Step(**fields)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -10000 <= value <= 10000:
        raise SceneError(f"{what} is not a whole number")
    return value


def _number(value: object, what: str, highest: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= highest:
        raise SceneError(f"{what} is not a number above 0, at most {highest:g}")
    return float(value)


def _point(value: object, what: str) -> Point:
    if not (isinstance(value, list) and len(value) == 2 and all(_is_int(part) for part in value)):
        raise SceneError(f"{what}: {value!r} is not a point [x, y]")
    return value[0], value[1]
