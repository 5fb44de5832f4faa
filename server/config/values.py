"""The kinds of values that a setting can have, each read from the text that stands in the file."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from tilewire.protocol.constants import PORT
from tilewire.server.config.outside import Surroundings
from tilewire.server.values import Address, Size, parse_address, parse_origin, parse_size

T = TypeVar("T")

YEAR_S: Final = 366 * 86400.0
"""A longer time is a typing error: milliseconds, perhaps."""

CONTROL_PORT: Final = PORT + 1
COMPAT_PORT: Final = 5000
"""Jiomosa's."""

MARKS: Final = "TILEWIRE_"
"""Begins the names of the variables that are ours."""
OURS_TO_SET: Final = frozenset({"DISPLAY", "HOME", "XAUTHORITY"})
"""Variables of a program that the session decides."""

WRONG: Final = "tilewire"
"""The type of our own errors among pydantic's; their message is the sentence."""


def wrong(text: str) -> PydanticCustomError:
    """The error of a value, with the sentence for it."""
    # The sentence as a parameter: braces in a template would be parameters of its own.
    return PydanticCustomError(WRONG, "{text}", {"text": text})


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean …?', or nothing where nothing is near."""
    near = get_close_matches(word.lower().replace("-", "_"), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def list_form(words: Iterable[str]) -> str:
    """A command as it stands in the file."""
    return "[" + ", ".join(json.dumps(word, ensure_ascii=False) for word in words) + "]"


@dataclass(frozen=True, slots=True)
class Written:
    """In an annotation: the value is written as a text that `parse` reads, which raises ValueError with a sentence."""

    kind: type[Any]
    parse: Callable[[str], Any]

    def read(self, value: object) -> Any:
        """A value of `kind` is taken as it is."""
        if isinstance(value, self.kind):
            return value
        if not isinstance(value, str):
            raise PydanticKnownError("string_type")
        try:
            return self.parse(value)
        except ValueError as error:
            raise wrong(str(error)) from None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.to_string_ser_schema(when_used="always")
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string"}


def _origin(text: str) -> str:
    try:
        return parse_origin(text)
    except ValueError as error:
        raise wrong(str(error)) from None


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise wrong("a NUL character ends texts for the system: it cannot stand here")
    return text


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise wrong("line ends, tabs and control characters cannot stand here")
    return text


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII):
        raise wrong("no variable can have this name: letters, digits and _")
    if name in OURS_TO_SET or name.startswith(MARKS):
        raise wrong("this variable is the session's own to set")
    return name


def _path(value: object, info: ValidationInfo) -> Path:
    """Relative to the folder of the file in which it stands (the surroundings')."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise PydanticKnownError("string_type")
    if not value or "\0" in value:
        raise wrong(f"{value!r} is not a path")
    if value.startswith("~"):
        raise wrong(f"~ means nothing here, since no shell reads it: write the whole path of {value}")
    folder = info.context.folder if isinstance(info.context, Surroundings) else None
    return Path(folder, value) if folder is not None else Path(value)


def _words(value: object) -> object:
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError:
            words = value.split()
        raise wrong(f"a command is a list of words, since no shell reads it: {list_form(words)}")
    return value


def _program_first(words: tuple[str, ...]) -> tuple[str, ...]:
    if words and not words[0]:
        raise wrong("the first word is the program and cannot be empty")
    return words


def takes_off(field: FieldInfo) -> bool:
    """Whether a field may be switched off by that word."""
    return any(isinstance(each, BeforeValidator) and each.func is _off for each in field.metadata)


def _off(value: object) -> object:
    return None if value == "off" else value


Text: TypeAlias = Annotated[str, AfterValidator(_no_nul)]
Line: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_one_line)]
"""Printable."""
Texts: TypeAlias = Annotated[tuple[Line, ...], Field(strict=False)]
"""Not strict about the tuple alone: TOML has lists."""
Variable: TypeAlias = Annotated[str, AfterValidator(_variable)]
Words: TypeAlias = Annotated[
    tuple[Text, ...], Field(strict=False), BeforeValidator(_words), AfterValidator(_program_first)
]
FilePath: TypeAlias = Annotated[Path, BeforeValidator(_path)]
FilePaths: TypeAlias = Annotated[tuple[FilePath, ...], Field(strict=False)]
DeviceAddress: TypeAlias = Annotated[Address, Written(Address, partial(parse_address, default_port=PORT))]
ControlAddress: TypeAlias = Annotated[Address, Written(Address, partial(parse_address, default_port=CONTROL_PORT))]
CompatAddress: TypeAlias = Annotated[Address, Written(Address, partial(parse_address, default_port=COMPAT_PORT))]
ScreenSize: TypeAlias = Annotated[Size, Written(Size, parse_size)]
Origins: TypeAlias = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], Field(strict=False)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=YEAR_S)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
Off: TypeAlias = Annotated[T | None, BeforeValidator(_off)]
"""TOML has no word for nothing: "off" is it."""
