"""The tables of docs/serve-config.md, made from the declarations."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from tilewire.server.config.models import AccessRule, Model, Profile, Settings, UrlRules
from tilewire.server.config.sentences import keys_of
from tilewire.server.config.sources import flag_of, kind_of, value_word, variable_of
from tilewire.server.config.values import list_form, takes_off


def settings_table() -> str:
    """Every setting: its key, variable and flag, what may stand there, what stands there if nothing is said."""
    rows = [
        [_code(name), _code(variable_of(name)), _code(flag_of(name)), *_described(Settings, name)]
        for name in keys_of(Settings)
    ]
    return _markdown(["key", "variable", "flag", "value", "default", "meaning"], rows)


def keys_table(model: type[Model]) -> str:
    """The keys of a table that only the file has."""
    rows = [[_code(name), *_described(model, name)] for name in keys_of(model)]
    return _markdown(["key", "value", "default", "meaning"], rows)


def fill_page(text: str) -> str:
    """`text` with everything between `<!-- begin NAME -->` and `<!-- end NAME -->` made anew.

    Raises KeyError for a marker that names no table, ValueError for one that does not end.
    """
    out: list[str] = []
    rest = text
    while True:
        head, marker, tail = rest.partition("<!-- begin ")
        out.append(head)
        if not marker:
            return "".join(out)
        name, _, tail = tail.partition(" -->")
        _, end, rest = tail.partition(f"<!-- end {name} -->")
        if not end:
            raise ValueError(f"the table {name} does not end")
        out.append(f"<!-- begin {name} -->\n{TABLES[name]()}\n{end}")


TABLES: Final[dict[str, Callable[[], str]]] = {
    "settings": settings_table,
    "profile": lambda: keys_table(Profile),
    "url_rules": lambda: keys_table(UrlRules),
    "access": lambda: keys_table(AccessRule),
}


def _described(model: type[Model], name: str) -> list[str]:
    field = model.model_fields[name]
    return [_value(model, name, field), _default(field), field.description or ""]


def _value(model: type[Model], name: str, field: FieldInfo) -> str:
    kind = kind_of(field.annotation)
    if get_origin(kind) is Literal:
        return ", ".join(_code(each) for each in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Model | dict):
        return "table"
    words = {"LIST": "list", "TEXT": "text", "PATH": "path", "yes|no": "true, false"}
    word = value_word(field)
    word = _bounds(model, name) if kind in (int, float) else words.get(word, word)
    return word + (', `"off"`' if takes_off(field) else "")


def _bounds(model: type[Model], name: str) -> str:
    schema = model.model_json_schema()["properties"][name]
    # Where it may be switched off, the number is one of two.
    schema = schema.get("anyOf", [schema])[0]
    if "exclusiveMinimum" in schema:
        return f"above {schema['exclusiveMinimum']:g}, to {schema['maximum']:.15g}"
    return f"{schema['minimum']:g} to {schema['maximum']:.15g}"


def _default(field: FieldInfo) -> str:
    if isinstance(field.json_schema_extra, dict) and "shown" in field.json_schema_extra:
        return str(field.json_schema_extra["shown"])
    value = field.get_default(call_default_factory=True)
    if value is None:
        return _code('"off"') if takes_off(field) else ""
    if isinstance(value, Model | dict):
        return ""
    if isinstance(value, bool | int | float | str):
        return _code(json.dumps(value))
    return _code(list_form(value) if type(value) is tuple else json.dumps(str(value)))


def _code(text: str) -> str:
    return f"`{text}`"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines).rstrip("\n")
