"""What tools/generate.py writes: never stale, and each language takes it."""

import functools
import importlib.util
import json
import re
import subprocess
import types
from pathlib import Path

import pytest

from tilewire.protocol import generate
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAGIC
from tilewire.protocol.errors import Code
from tilewire.protocol.panels import PANELS
from tilewire.protocol.wire import MESSAGES

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def tool() -> types.ModuleType:
    """tools/generate.py, by its path."""
    spec = importlib.util.spec_from_file_location("tilewire_generate", ROOT / "tools/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_generated_is_stale() -> None:
    stale = [str(path.relative_to(ROOT)) for path in tool().stale()]
    assert stale == [], "run .venv/bin/python tools/generate.py"


def test_the_vectors_folder_holds_nothing_else() -> None:
    made = {path for path in tool().outputs() if path.parent.name == "vectors"}
    assert {path for path in (ROOT / "protocol/vectors").iterdir() if path.name != "__pycache__"} == made


def test_c_header_compiles(tmp_path: Path) -> None:
    """Alone, twice in one file, with every warning: and the preprocessor sees the numbers that we declare."""
    (tmp_path / "tw_wire.h").write_text(generate.c_header())
    checks = [f"_Static_assert(TW_{name} == {value}u, #{name});" for name, value in generate.constants()]
    source = '#include "tw_wire.h"\n#include "tw_wire.h"\nstatic const unsigned char magic[] = TW_MAGIC;\n'
    source += "static const char labels[] = TW_LABEL_SERVER TW_LABEL_CLIENT;\n"
    source += "#define X(name, value, text) CODE_##name = value,\nenum code { TW_CODES(X) CODE_END };\n#undef X\n"
    source += "#define X(name, value, text) text,\nstatic const char *const texts[] = { TW_CODES(X) 0 };\n"
    source += "int size(void);\nint size(void) { return (int)(sizeof magic + sizeof labels + sizeof texts); }\n"
    for name, value in generate.constants():
        source += f"typedef char check_{name}[(TW_{name}) == {value}{'UL' if value > 0x7FFF_FFFF else 'L'} ? 1 : -1];\n"
    for code in Code:
        source += f"typedef char check_code_{code.name}[CODE_{code.name} == {int(code)} ? 1 : -1];\n"
    assert checks
    file = tmp_path / "check.c"
    file.write_text(source)
    flags = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wno-unused-local-typedefs", "-Werror", "-fsyntax-only"]
    run = subprocess.run(["gcc", *flags, str(file)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_micropython_module_runs() -> None:
    """With `const` as MicroPython has it: all numbers, and nothing but names and numbers."""
    text = generate.micropython_module()
    assert text.count("import") == 1
    body = text.replace("from micropython import const\n", "")
    names: dict[str, object] = {"const": lambda value: value}
    exec(compile(body, "wire.py", "exec"), names)
    assert names["MAGIC"] == MAGIC
    for name, value in generate.constants():
        assert names[name] == value
    texts = names["CODE_TEXTS"]
    assert isinstance(texts, dict)
    assert texts == {int(code): code.text for code in Code if not code.local}


def test_javascript_module_says_what_is_declared() -> None:
    """By its structure: the set-up does not bring a JavaScript engine for the protocol's own tests."""
    text = generate.javascript_module()
    numbers = dict(re.findall(r"^export const (\w+) = (\d+);$", text, re.MULTILINE))
    assert {name: int(value) for name, value in numbers.items()} == dict(generate.constants())
    exported = re.findall(r"^export const (\w+)", text, re.MULTILINE)
    assert len(exported) == len(set(exported))
    rows = re.findall(r"^  \[0x([0-9a-f]{2}), (\{.*\})\],$", text, re.MULTILINE)
    assert [int(type_, 16) for type_, _ in rows] == sorted(MESSAGES)
    for type_, row in rows:
        cls = MESSAGES[int(type_, 16)]
        # The row is JSON but for the bare names of its four keys and of those inside.
        value = json.loads(re.sub(r"(\{ |, )(name|sender|layout|fields|kind):", r'\1"\2":', row))
        assert (value["name"], value["sender"]) == (cls.name, cls.sender.value)
        at = 1 if value["layout"] == "tagged" else 0
        assert [field[at] for field in value["fields"]] == [spec.name for spec in cls.layout]
    for opening, closing in ("()", "[]", "{}"):
        assert text.count(opening) == text.count(closing)


def test_numbers_are_exact_in_every_language() -> None:
    assert all(0 <= value < 1 << 32 for _, value in generate.constants())
    names = [name for name, _ in generate.constants()]
    assert len(names) == len(set(names))


def test_sections_are_filled_between_their_markers() -> None:
    text = "head <!-- begin limits -->\nold\n<!-- end limits --> middle <!-- begin codes --><!-- end codes -->tail"
    filled = generate.fill_sections(text)
    assert filled.startswith("head <!-- begin limits -->\n| limit | value |\n")
    assert filled.endswith("<!-- end codes -->tail")
    assert "old" not in filled
    assert generate.fill_sections(filled) == filled
    assert generate.fill_sections("no markers") == "no markers"
    with pytest.raises(KeyError):
        generate.fill_sections("<!-- begin nothing --><!-- end nothing -->")
    with pytest.raises(ValueError, match="does not end"):
        generate.fill_sections("<!-- begin limits -->")


def test_every_declaration_has_its_table() -> None:
    sections = generate.spec_sections()
    tables = "\n".join(sections[name] for name in ("both", "server", "client", "drawing", "welcome"))
    for cls in MESSAGES.values():
        assert f"| {cls.name} |" in sections["messages"]
        assert cls is m.Welcome or f"#### {cls.name} (" in tables
    for section in sections.values():
        if section.startswith("```"):
            continue
        for table in re.findall(r"(?:^\|.*\n?)+", section, re.MULTILINE):
            lines = table.strip().splitlines()
            assert len({line.count("|") for line in lines}) == 1, table
    assert all(name in sections["panels"] for name in PANELS)
