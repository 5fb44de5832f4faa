"""What is wrong with a configuration: all of it at once, each with its place and a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tilewire.server.config.lines import Place
from tilewire.server.errors import ServerError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    `line`: in the file, from 1 on; None where it is not a matter of one. `where`: the path of the value, such as
    `profiles.kiosk.url`, the variable or flag that gave it, or nothing for the whole file. `text`: what is wrong, and
    what would be right.
    """

    line: int | None
    where: str
    text: str

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line is not None else ""
        return ": ".join(part for part in (line, self.where, self.text) if part)


class ConfigError(ServerError):
    """The configuration cannot be used. `file`: where it stands; `source`: its text, as far as it could be read."""

    def __init__(self, problems: Iterable[Problem], file: Path | None = None, source: str = "") -> None:
        clean = (replace(each, where=printable(each.where), text=printable(each.text)) for each in problems)
        self.problems = sorted(clean, key=lambda problem: (problem.line is None, problem.line or 0))
        self.file = file
        self.source = source
        name = printable(str(file)) if file is not None else "the configuration"
        if len(self.problems) == 1:
            super().__init__(f"{name}: {self.problems[0]}")
        else:
            super().__init__("\n  ".join([f"{name} has {len(self.problems)} problems:", *map(str, self.problems)]))


def printable(text: str) -> str:
    """For a terminal or a log: what would end the line or steer the terminal is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def path_of(place: Place) -> str:
    """As TOML would write it, with indices from 0 on: `profiles.kiosk.command[0]`."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False)
            text += f".{key}" if text else key
    return text
