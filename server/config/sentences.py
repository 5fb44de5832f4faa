"""What pydantic and tomllib find wrong, in sentences for whoever wrote the file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from datetime import date, datetime, time
from typing import Final, get_args

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tilewire.server.config.lines import Place, statements
from tilewire.server.config.models import AccessRule, Model, Profile, Settings, UrlRules
from tilewire.server.config.sources import kind_of
from tilewire.server.config.values import WRONG, nearest, takes_off

SHOWN: Final = 60
"""Characters of a value that a sentence repeats."""

SECTIONS: Final = {"settings": "[settings]", "profiles": "[profiles.NAME]", "access": "[[access]]"}
HOMES: Final[dict[str, type[Model]]] = {
    "[settings]": Settings,
    "[profiles.NAME]": Profile,
    "[profiles.NAME.url_rules]": UrlRules,
    "[[access]]": AccessRule,
}
"""Where which keys belong."""

_BELONGS: Final = {
    "string_type": "a text in quotes",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
_BOUNDS: Final = {
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
}
_TOML: Final = (
    (r"Expected '=' after a key.*", "after a key comes = and its value"),
    (r"Cannot overwrite a value|Duplicate inline table key .*", "this key has a value already"),
    (r"Cannot declare \(?(.*?),?\)? twice", "the table of this name is in the file already"),
    (r"Unclosed array", "a list is not closed by ]"),
    (r"Unclosed inline table", "a table is not closed by }"),
    (r"Unterminated string|Expected \"?'+\"?|Illegal character '\\n'", "a text is not closed by its quote"),
    (r"Expected newline or end of document after a statement", "something follows the value: a line holds one key"),
    (r"Invalid initial character for a key part|Invalid statement", "neither a key nor the [head] of a table"),
    (r"Invalid value", "no value: a text stands in quotes, a list in [ ]"),
    (r"Invalid date or datetime", "there is no such date"),
)


def keys_of(model: type[Model]) -> list[str]:
    """The keys that a table of this kind may have."""
    return [name for name in model.model_fields if (model, name) != (Profile, "name")]


def shown(value: object) -> str:
    """A value as a sentence repeats it: a text, its beginning; what holds others, only its kind."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= SHOWN else value[:SHOWN] + "…")
        case int() if abs(value) >= 10**18:
            return "so large a number"
        case int() | float():
            return f"{value}"
        case dict():
            return "a table"
        case list() | tuple():
            return "a list"
        case datetime() | date() | time():
            return "a date or a time"
        case _:
            return "this"


def unknown_key(key: str, known: Collection[str]) -> str:
    """The sentence for a key that its table does not know."""
    sentence = "there is no such key" + nearest(key, known)
    if sentence.endswith("?"):
        return sentence
    homes = [home for home, model in HOMES.items() if key in keys_of(model)]
    return f"it belongs into {homes[0]}" if homes else f"{sentence}; there are {', '.join(known)}"


def _at(model: type[Model], place: Place) -> tuple[type[Model], FieldInfo | None]:
    """The model that holds the value at `place`, and the field that it belongs to."""
    found: FieldInfo | None = None
    for part in place:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            break
        found = field
        kind = kind_of(field.annotation)
        if not (isinstance(kind, type) and issubclass(kind, Model)):
            break
        model = kind
    return model, found


def sentence(error: ErrorDetails, model: type[Model]) -> str:
    """What is wrong and what would be right, for an error of `model`'s validation."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    place = error["loc"]
    holder, field = _at(model, place)
    description = (field.description or "").replace("`", "'") if field is not None else ""
    if kind == WRONG:
        return error["msg"]
    if kind == "extra_forbidden":
        return unknown_key(str(place[-1]), keys_of(holder))
    if kind == "missing":
        return f"it is missing: {description}"
    if kind in _BELONGS:
        off = ' or "off"' if field is not None and takes_off(field) else ""
        belongs = f"{_BELONGS[kind]}{off} belongs here"
        # What stands in a program's environment may be a secret.
        return belongs if place[0] == "environment" else f"{belongs}, not {shown(value)}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{shown(value)} is out of bounds: {words} {context[key]:g}"
    if kind == "literal_error" and field is not None:
        known = get_args(kind_of(field.annotation))
        return f"{shown(value)} is not one of {', '.join(known)}" + nearest(
            value if isinstance(value, str) else "", known
        )
    if kind == "string_pattern_mismatch":
        return f"{shown(value)} cannot stand here: {description}"
    if kind in ("too_short", "string_too_short"):
        return "it is empty: " + (description or "a text belongs here")
    if kind == "string_too_long":
        return f"it is longer than {context['max_length']} characters"
    return error["msg"]


def broken_toml(error: Exception, text: str) -> tuple[int, str]:
    """The line, and what is wrong there, of a document that is not TOML."""
    if isinstance(error, RecursionError):
        return _unreadable(text), "lists or tables are nested too deep"
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
    if match is None:
        # The only error of tomllib's that is not its own: Python converts no more than some thousands.
        return _unreadable(text), "a whole number has too many digits"
    what = next((plain for pattern, plain in _TOML if re.fullmatch(pattern, match[1], re.DOTALL)), None)
    if what is None:
        what = match[1][:1].lower() + match[1][1:]
    if match[2] is None:
        return _unreadable(text), what
    return int(match[2]), f"{what} (column {match[3]})"


def _unreadable(text: str) -> int:
    """The line of the first statement that tomllib does not read for itself: where what never ends begins."""
    line = 1
    for statement in statements(text.replace("\r\n", "\n")):
        line = statement.line
        try:
            tomllib.loads(statement.text)
        except (ValueError, RecursionError):
            break
    return line
