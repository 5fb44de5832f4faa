"""Reading the configuration: the file, over it the environment, over that the flags."""

from __future__ import annotations

import os
import pwd
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from tilewire.server.config.errors import ConfigError, Problem, path_of
from tilewire.server.config.lines import Place, find_lines
from tilewire.server.config.models import AccessRule, Config, Model, Profile, Settings, default_state
from tilewire.server.config.outside import Surroundings
from tilewire.server.config.sentences import SECTIONS, broken_toml, sentence, shown, unknown_key
from tilewire.server.config.sources import given_settings, misspelt

M = TypeVar("M", bound=Model)

MAX_BYTES: Final = 256 << 10
"""Of the file: thousands of profiles."""


def load_config(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> Config:
    """Read `path` (None: no file), the variables and the flags (names of settings and their texts).

    Raises ConfigError with all that is wrong. Blocks on the disk and on the system's list of users.
    """
    source = _read(path) if path is not None else ""
    findings = _Findings(path, source)
    document = findings.parse()
    for key in document.keys() - SECTIONS.keys():
        findings.add((key,), unknown_key(key, tuple(SECTIONS)))
    settings = findings.settings(document, environ, flags)
    profiles, names = findings.profiles(document)
    access = findings.access(document, names)
    if settings is None or findings.problems:
        raise ConfigError(findings.problems, path, source)
    return Config(settings=settings, profiles=profiles, access=access)


def _read(path: Path) -> str:
    """The text of a file that only its owner, who is this user or root, may write."""

    def refuse(text: str) -> ConfigError:
        return ConfigError([Problem(None, "", text)], path)

    try:
        # A FIFO would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise refuse("it is not a file")
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise refuse(f"others may write it, and it says what this server runs: chmod go-w {path}")
            if status.st_uid not in (0, os.geteuid()):
                raise refuse(f"it belongs to another user, and it says what this server runs: chown it to {_me()}")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise refuse(f"it cannot be read: {reason.lower()}") from error
    if len(data) > MAX_BYTES:
        raise refuse(f"it is longer than {MAX_BYTES >> 10} KiB: this is no configuration")
    try:
        # Some editors begin with a byte order mark.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise ConfigError([Problem(line, "", "it is not UTF-8 text")], path, data.decode(errors="replace")) from error


def _me() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


class _Findings:
    """The parts of a document that are right, and the problems of those that are not."""

    def __init__(self, path: Path | None, source: str) -> None:
        self.problems: dict[Problem, None] = {}
        """In order, each once."""
        self._path = path
        self._source = source
        self._folder = path.absolute().parent if path is not None else None
        self._lines: dict[Place, int] | None = None
        self._origins: dict[str, str] = {}
        """The variable or flag that gave a setting."""

    def add(self, place: Place, text: str) -> None:
        """A value at `place` is wrong, or the one nearest above it that stands in the file."""
        if place[0] == "settings" and len(place) > 1 and place[1] in self._origins:
            self.problems[Problem(None, self._origins[str(place[1])], text)] = None
            return
        if self._lines is None:
            self._lines = find_lines(self._source)
        above = (place[:length] for length in range(len(place), 0, -1))
        line = next((self._lines[each] for each in above if each in self._lines), None)
        self.problems[Problem(line, path_of(place), text)] = None

    def parse(self) -> dict[str, Any]:
        """Raises ConfigError for what is not TOML: nothing behind the break means what it says."""
        try:
            return tomllib.loads(self._source)
        except (ValueError, RecursionError) as error:
            line, text = broken_toml(error, self._source)
            raise ConfigError([Problem(line, "", text)], self._path, self._source) from error

    def take(self, model: type[M], table: Mapping[str, Any], place: Place, names: Iterable[str] = ()) -> M | None:
        """A model made from a table, or None."""
        around = Surroundings(self._folder, tuple(names))
        try:
            return model.model_validate(table, context=around)
        except ValidationError as invalid:
            wrong = self._add_invalid(invalid, model, place)
        # Once more without these: what does not depend on them may be wrong as well.
        rest = {key: value for key, value in table.items() if key not in wrong}
        try:
            if wrong:
                model.model_validate(rest, context=replace(around, unknown=frozenset(wrong)))
        except ValidationError as invalid:
            self._add_invalid(invalid, model, place)
        return None

    def _add_invalid(self, invalid: ValidationError, model: type[Model], place: Place) -> set[str]:
        """Returns the keys at fault."""
        errors = invalid.errors(include_url=False)
        for error in errors:
            where = error["loc"]
            # pydantic says so where not the value but its key is wrong.
            if len(where) > 2 and where[-1] == "[key]":
                where = where[:-1]
            self.add((*place, *where), sentence(error, model))
        return {str(error["loc"][0]) for error in errors if error["loc"]}

    def settings(
        self, document: Mapping[str, Any], environ: Mapping[str, str], flags: Mapping[str, str]
    ) -> Settings | None:
        """What the file, the environment and the flags say together."""
        table = document.get("settings", {})
        if not isinstance(table, dict):
            self.add(("settings",), f"a table {SECTIONS['settings']} belongs here, not {shown(table)}")
            return None
        values = {"state": default_state(environ, os.geteuid()), **table}
        for name, origin, value in given_settings(environ, flags):
            values[name], self._origins[name] = value, origin
        for variable, meant in misspelt(environ):
            self.problems[Problem(None, variable, f"there is no such setting; did you mean {meant}?")] = None
        return self.take(Settings, values, ("settings",))

    def profiles(self, document: Mapping[str, Any]) -> tuple[dict[str, Profile], list[str]]:
        """Those that are right, and the names of all."""
        tables = document.get("profiles", {})
        if not isinstance(tables, dict):
            self.add(("profiles",), f"tables {SECTIONS['profiles']} belong here, not {shown(tables)}")
            return {}, []
        found = {}
        for name, table in tables.items():
            place = ("profiles", name)
            if not isinstance(table, dict):
                self.add(place, f"a table {SECTIONS['profiles']} belongs here, not {shown(table)}")
                continue
            if "name" in table:
                self.add((*place, "name"), "there is no such key: the name stands in the table's head")
            if (profile := self.take(Profile, {**table, "name": name}, place)) is not None:
                found[name] = profile
        return found, list(tables)

    def access(self, document: Mapping[str, Any], names: list[str]) -> tuple[AccessRule, ...]:
        """Those that are right, judged by the names of all profiles."""
        tables = document.get("access", [])
        if not isinstance(tables, list):
            self.add(("access",), f"{SECTIONS['access']} belongs here, in two brackets, once for each rule")
            return ()
        found = []
        for index, table in enumerate(tables):
            place = ("access", index)
            if not isinstance(table, dict):
                self.add(place, f"a table {SECTIONS['access']} belongs here, not {shown(table)}")
            elif (rule := self.take(AccessRule, table, place, names)) is not None:
                found.append(rule)
        return tuple(found)
