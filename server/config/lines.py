"""In which line of a TOML document each key and each element of a list stands.

tomllib tells values, not places. So the text is cut into its statements by the few tokens that can hide a line end,
and tomllib reads each statement for itself: a statement of TOML means the same alone as in its document.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

_TOKEN: Final = re.compile(
    r"""
      \"{3} (?: \\. | [^\\] )*? \"{3,5}     # texts of several lines: up to two quotes may precede the closing three
    | '{3} .*? '{3,5}
    | " (?: \\. | [^"\\\n] )* "
    | ' [^'\n]* '
    | \# [^\n]*
    | \n
    | [\[\]{},]
    | [^\S\n]+
    | [^\s\[\]{},"'\#]+
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_UNKNOWN: Final = -1
"""In place of an index: inside an inline table, where elements are not told apart."""


Place = tuple[str | int, ...]
"""The keys and indices that lead to a value: ("profiles", "kiosk", "command", 0)."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A key with its value, the head of a table, or an empty line or comment.

    `elements`: the lines of the elements of the list that is the value, by their indices in it.
    """

    line: int
    text: str
    elements: dict[tuple[int, ...], int] = field(default_factory=dict)


def statements(text: str) -> Iterator[Statement]:
    """Cut a document with Unix line ends. Of a broken one, the parts are as good as can be guessed."""
    start = line = 1
    begin = 0
    indices: list[int] = []
    fresh = False
    elements: dict[tuple[int, ...], int] = {}
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n" and not indices:
            yield Statement(start, text[begin : match.start()], elements)
            start, begin, elements = line + 1, match.end(), {}
        elif token == ",":
            if indices and indices[-1] != _UNKNOWN:
                indices[-1] += 1
            fresh = True
        elif token in ("]", "}"):
            del indices[-1:]
            fresh = False
        elif not token.isspace() and token[0] != "#":
            if fresh and indices and _UNKNOWN not in indices:
                elements.setdefault(tuple(indices), line)
            fresh = token == "["
            if token in ("[", "{"):
                indices.append(0 if fresh else _UNKNOWN)
        line += token.count("\n")
    yield Statement(start, text[begin:], elements)


def find_lines(text: str) -> dict[Place, int]:
    """The line of each key, table and element of a valid document, by its path: where it first stands."""
    lines: dict[Place, int] = {}
    tables: Counter[Place] = Counter()
    """How many tables each list of tables has so far."""
    table: Place = ()
    for statement in statements(text.replace("\r\n", "\n")):
        try:
            fragment = tomllib.loads(statement.text)
        except RecursionError:
            # Nested as deep as just worked, from fewer calls above: what stands there has the line of what is above it.
            continue
        if not statement.text.lstrip(" \t").startswith("["):
            for path, line in _paths(table, fragment, statement).items():
                lines.setdefault(path, line)
            continue
        table = ()
        node: Any = fragment
        while node:
            if isinstance(node, list):
                tables[table] += 1
                lines.setdefault((*table, tables[table] - 1), statement.line)
                break
            ((key, node),) = node.items()
            # On the way to a table, a list of tables stands for its last one.
            table = (*_last(table, tables), key)
            lines.setdefault(table, statement.line)
        table = _last(table, tables)
    return lines


def _last(table: Place, tables: Counter[Place]) -> Place:
    return (*table, tables[table] - 1) if table in tables else table


def _paths(table: Place, fragment: dict[str, Any], statement: Statement) -> dict[Place, int]:
    """All that a key and its value hold."""
    found: dict[Place, int] = {}
    # A loop, since dotted keys may be nested deeper than Python calls.
    rest: list[tuple[Place, Any, tuple[int, ...] | None, int]] = [(table, fragment, (), statement.line)]
    while rest:
        path, node, indices, line = rest.pop()
        if isinstance(node, dict):
            inner = () if indices == () else None
            items: list[tuple[str | int, Any, tuple[int, ...] | None, int]] = [
                (key, value, inner, line) for key, value in node.items()
            ]
        else:
            items = []
            for index, value in enumerate(node):
                here = (*indices, index) if indices is not None else None
                items.append((index, value, here, statement.elements.get(here, line) if here else line))
        for key, value, here, at in items:
            found[*path, key] = at
            if isinstance(value, dict | list):
                rest.append(((*path, key), value, here, at))
    return found
