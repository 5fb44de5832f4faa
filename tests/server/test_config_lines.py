"""Lines of keys: the cut into statements against tomllib on growing beginnings of the document."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.server.config.lines import Place, find_lines, statements

AWKWARD = '''\
# a comment with [brackets], "quotes" and \'\'\'

top = 1
[table."x.y"]          # [not.this]
dotted . key = [
  1, # one, two
  [ 2,
    3 ],
  { inline = [ 4,
    5 ] },
  """
] not the end \\"""""",
  '# no comment',
]
text = """
[not.a.table]
key = 1"""
raw = \'\'\'
quoted'''
AWKWARD += "'''''\n"
AWKWARD += """\
empty = ''
[[many]]
a = 1
[[many]]
a = 2
[many.below]
b = { c = 3 }
[[many.deep]]
d = [ ]
[[many.deep]]
[another]
e = 1979-05-27 07:32:00\
"""


def places(document: Any) -> set[Place]:
    """The paths of all values."""
    found: set[Place] = set()
    rest: list[tuple[Place, Any]] = [((), document)]
    while rest:
        place, node = rest.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            found.add((*place, key))
            rest.append(((*place, key), value))
    return found


def by_growing(text: str) -> dict[Place, tuple[int, int]]:
    """The first and last line of the statement in which each path first stands: one line more, until it is there."""
    lines = text.replace("\r\n", "\n").split("\n")
    found: dict[Place, tuple[int, int]] = {}
    begin = 1
    for count in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        for place in places(document):
            found.setdefault(place, (begin, count))
        begin = count + 1
    return found


def quoted(text: str) -> str:
    """A text of TOML, which has JSON's escapes, and wants one for DEL too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def agrees(text: str) -> None:
    """Every path stands within its statement; what is no element of a list, in the statement's first line."""
    found = find_lines(text)
    grown = by_growing(text)
    assert found.keys() == grown.keys()
    for place, (first, last) in grown.items():
        if any(isinstance(part, int) for part in place):
            assert first <= found[place] <= last, place
        else:
            assert found[place] == first, place


def test_an_awkward_document() -> None:
    agrees(AWKWARD)
    found = find_lines(AWKWARD)
    key: Place = ("table", "x.y", "dotted", "key")
    assert found["top",] == 3
    assert found[key] == 5
    assert [found[*key, index] for index in range(5)] == [6, 7, 9, 11, 13]
    assert (found[*key, 1, 0], found[*key, 1, 1]) == (7, 8)
    # Within an inline table elements are not told apart.
    assert found[*key, 3 - 1, "inline", 1] == 9
    assert found["table", "x.y", "raw"] == 18
    assert found["many", 0, "a"] == 22
    assert (found["many", 1], found["many", 1, "a"]) == (23, 24)
    assert found["many", 1, "below", "b", "c"] == 26
    assert (found["many", 1, "deep", 0], found["many", 1, "deep", 1]) == (27, 29)
    assert found["another", "e"] == 31


@pytest.mark.parametrize(
    "text", ["", "\n", "# only", "a=1", "\ta = 1\n", "a = 1\r\nb = [\r\n1,\r\n2]\r\n", '"" = 1', "a.b.c=1"]
)
def test_small_documents(text: str) -> None:
    agrees(text)


def test_keys_nested_deeper_than_python_calls() -> None:
    text = "\n" + ".".join("k" * 1500) + " = 1"
    assert find_lines(text)["k", *"k" * 1499] == 2


KEYS = st.sampled_from(["a", "b", "'q.r'", '"s t"', "a.b", "c.d.a"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.one_of(
    st.integers().map(str),
    st.booleans().map(lambda value: str(value).lower()),
    TEXTS.map(quoted),
    TEXTS.filter(lambda text: text.isprintable() and "'" not in text).map(lambda text: f"'{text}'"),
    st.sampled_from(['"""\na\n#]"""', '"""a""""', "'''\n[x]\n'''", "''''x'''''", '"""\\\n  b"""', '"#"', "1e3", "nan"]),
)
GAPS = st.sampled_from(["", " ", "\n", " # c ]\n", "\n\n  "])


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(values, max_size=3))
    text = "[" + draw(GAPS)
    for index, item in enumerate(items):
        comma = "," if index < len(items) - 1 or draw(st.booleans()) else ""
        text += item + draw(GAPS) + comma + draw(GAPS)
    return text + "]"


@st.composite
def inline_tables(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    names = draw(st.lists(st.sampled_from("xyz"), unique=True, max_size=3))
    return "{" + ", ".join(f"{name} = {draw(values)}" for name in names) + "}"


VALUES = st.recursive(SCALARS, lambda inner: st.one_of(arrays(inner), inline_tables(inner)), max_leaves=6)
LINES = st.one_of(
    st.builds("{} = {}".format, KEYS, VALUES),
    st.builds("[{}] # ]".format, KEYS),
    st.builds("[[{}]]".format, KEYS),
    st.sampled_from(["", "# [x]", "  "]),
)


def valid(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Statement after statement, those left out that contradict what stands there already."""
    text = ""
    for line in draw(st.lists(LINES, max_size=12)):
        longer = f"{text}\n{line}" if text else line
        text = longer if valid(longer) else text
    return text


@given(documents())
def test_any_document(text: str) -> None:
    agrees(text)


@st.composite
def placed(draw: st.DrawFn, depth: int = 3) -> tuple[str, dict[tuple[int, ...], int]]:
    """A list, and how many line ends stand in it before each of its elements."""
    text = "[" + draw(GAPS)
    lines: dict[tuple[int, ...], int] = {}
    for index in range(draw(st.integers(0, 3))):
        before = text.count("\n")
        lines[index,] = before
        if depth and draw(st.booleans()):
            item, inner = draw(placed(depth - 1))
            lines |= {(index, *below): before + line for below, line in inner.items()}
        else:
            item = draw(SCALARS)
        text += item + draw(GAPS) + "," + draw(GAPS)
    return text + "]", lines


@given(placed(), st.integers(0, 2))
def test_elements_of_lists(made: tuple[str, dict[tuple[int, ...], int]], above: int) -> None:
    text, lines = made
    found = find_lines("\n" * above + f"[t]\nkey = {text} # end")
    assert {place[2:]: line for place, line in found.items() if len(place) > 2} == {
        place: line + above + 2 for place, line in lines.items()
    }


@given(st.text(max_size=200))
def test_statements_lose_nothing(text: str) -> None:
    """Of anything at all, valid or not."""
    parts = list(statements(text))
    assert "\n".join(part.text for part in parts) == text
    assert [part.line for part in parts] == sorted(part.line for part in parts)
    for part in parts:
        assert text.split("\n")[part.line - 1].startswith(part.text.split("\n")[0])
