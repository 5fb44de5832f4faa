"""The settings in the environment and on the command line, as the file would hold them."""

from __future__ import annotations

import argparse
import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tilewire.server.config.models import Settings
from tilewire.server.config.values import MARKS
from tilewire.server.values import Address, Size

WORDS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_DEST: Final = "setting_"
"""Before the names of arguments, so that they meet no other command's."""


def variable_of(name: str) -> str:
    """The environment's variable for a setting."""
    return MARKS + name.upper()


def flag_of(name: str) -> str:
    """The flag for a setting."""
    return "--" + name.replace("_", "-")


def kind_of(annotation: Any) -> Any:
    """The class, or Literal[...], behind `Annotated` and `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            (annotation,) = (each for each in get_args(annotation) if each is not type(None))
        else:
            return annotation if origin in (None, Literal) else origin


def value_word(field: FieldInfo) -> str:
    """What belongs there, in a word."""
    kind = kind_of(field.annotation)
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    names = {Address: "HOST:PORT", Size: "WxH", Path: "PATH", tuple: "LIST", dict: "TABLE", int: "N", float: "N"}
    return names.get(kind, "yes|no" if kind is bool else "TEXT")


def from_text(field: FieldInfo, text: str) -> object:
    """The value that the file would hold. What is not one stays a text, and is refused as such."""
    kind = kind_of(field.annotation)
    if kind is bool:
        return WORDS.get(text.lower(), text)
    if kind in (int, float):
        try:
            return kind(text) if text.isascii() else text
        except ValueError:
            return text
    if kind is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is Path and text and not text.startswith("~") and "\0" not in text:
        # Not relative to the file's folder, as paths in it are.
        return Path(text).absolute()
    return text


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting. Their values stay texts; `load_config` judges them."""
    group = parser.add_argument_group("settings", "each also as a variable TILEWIRE_NAME and as a key in [settings]")
    for name, field in Settings.model_fields.items():
        kind = kind_of(field.annotation)
        more: dict[str, Any]
        if kind is bool:
            more = {"action": argparse.BooleanOptionalAction}
        else:
            more = {"action": "append" if kind is tuple else "store", "metavar": value_word(field)}
        text = (field.description or "").replace("`", "").replace("%", "%%")
        group.add_argument(flag_of(name), dest=_DEST + name, default=None, help=text, **more)


def given_flags(arguments: argparse.Namespace) -> dict[str, str]:
    """The settings that flags gave, by name."""
    given = {}
    for name in Settings.model_fields:
        value = getattr(arguments, _DEST + name)
        if isinstance(value, bool):
            given[name] = "yes" if value else "no"
        elif value is not None:
            given[name] = ",".join(value) if isinstance(value, list) else value
    return given


def given_settings(environ: Mapping[str, str], flags: Mapping[str, str]) -> Iterator[tuple[str, str, object]]:
    """Name, origin and value of each setting that is not the file's. Flags beat the environment.

    An empty variable counts as none. Raises KeyError for a flag that is no setting.
    """
    values = {variable_of(name): (name, environ.get(variable_of(name), "")) for name in Settings.model_fields}
    given = {name: (origin, text) for origin, (name, text) in values.items() if text}
    given |= {name: (flag_of(name), text) for name, text in flags.items()}
    for name, (origin, text) in given.items():
        yield name, origin, from_text(Settings.model_fields[name], text)


def misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables that are none of ours but nearly, each with the one that was meant."""
    known = [name.upper() for name in Settings.model_fields]
    for variable in environ:
        name = variable.removeprefix(MARKS)
        if name != variable and name not in known:
            for near in get_close_matches(name, known, n=1, cutoff=0.75):
                yield variable, MARKS + near
