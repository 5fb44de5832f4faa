"""tilewire.toml: what it holds, and every sentence about what it should not hold."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tilewire.protocol.constants import MAX_PIXELS, MAX_SIDE
from tilewire.server.config import (
    Access,
    AccessRule,
    Address,
    Config,
    ConfigError,
    Problem,
    Profile,
    Settings,
    Size,
    load_config,
)

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs/tilewire.toml"


def written(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "tilewire.toml"
    path.unlink(missing_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def loaded(folder: Path, text: str) -> Config:
    return load_config(written(folder, text), {"HOME": "/home/somebody"}, {})


def problems(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(written(folder, text), {}, {})
    assert caught.value.problems
    return [str(problem) for problem in caught.value.problems]


def certificate(folder: Path, name: str) -> None:
    (folder / name).write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    config = loaded(tmp_path, "")
    assert config.settings.listen == Address("127.0.0.1", 7800)
    assert config.settings.control == Address("127.0.0.1", 7801)
    assert config.settings.compat is None
    assert (config.settings.max_sessions, config.settings.max_sessions_per_device) == (20, 2)
    assert config.profiles == {}
    assert config.access == ()


def test_the_example(tmp_path: Path) -> None:
    config = loaded(tmp_path, EXAMPLE.read_text())
    assert list(config.profiles) == ["kiosk", "firefox", "gimp", "terminal"]
    kiosk, gimp = config.profiles["kiosk"], config.profiles["gimp"]
    assert (kiosk.kind, kiosk.url, kiosk.size, kiosk.largest_size) == (
        "chromium",
        "https://example.org/",
        Size(1024, 600),
        Size(1920, 1080),
    )
    assert kiosk.url_rules.allows_host("www.example.org")
    assert not kiosk.url_rules.allows_host("example.com")
    assert (gimp.command, gimp.home, gimp.idle_s, gimp.lifetime_s) == (("gimp", "--no-splash"), "kept", None, 28800.0)
    assert config.profiles["terminal"].environment == {"EDITOR": "nano"}
    assert config.access_of("lobby-7") == Access(("kiosk",), "kiosk", True)
    assert config.access_of("wall-display") == Access(("kiosk",), "kiosk", False)
    assert config.access_of("workshop-3") == Access(tuple(config.profiles), "terminal", True)
    assert config.access_of("workshop-33") is None
    assert config.access_of("Lobby-7") is None


def test_what_the_example_has_in_comments_would_be_taken_too(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    for name in ("certificate.pem", "key.pem"):
        certificate(tmp_path, name)
    text = text.replace('listen = "127.0.0.1:7800" ', "")
    for line in ("listen", "tls_cert", "tls_key"):
        assert f"# {line} = " in text
        text = text.replace(f"# {line} = ", f"{line} = ")
    config = loaded(tmp_path, text)
    assert config.settings.listen == Address("0.0.0.0", 7800)
    assert config.settings.tls_cert == tmp_path / "certificate.pem"
    assert config.settings.requires_tls(config.settings.listen)
    assert not config.settings.requires_tls(config.settings.control)


def test_who_may_open_what_where_nothing_is_said(tmp_path: Path) -> None:
    one = '[profiles.a]\ncommand = ["x"]\n'
    assert loaded(tmp_path, one).access_of("any") == Access(("a",), "a", True)
    assert loaded(tmp_path, one + one.replace("a", "b", 1)).access_of("any") == Access(("a", "b"), None, True)


def test_the_first_rule_that_fits_counts(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        '[profiles.a]\ncommand = ["x"]\n[profiles.b]\ncommand = ["x"]\n'
        '[[access]]\ndevices = ["board-[12]", "x"]\nprofiles = ["b"]\n[[access]]\ndevices = ["*"]\nmay_steer = false\n',
    )
    assert config.access_of("board-2") == Access(("b",), "b", True)
    assert config.access_of("board-3") == Access(("a", "b"), None, False)


P = "[profiles.p]\n"
X = P + 'command = ["x"]\n'
S = "[settings]\n"


def sentences() -> list[tuple[str, list[str]]]:
    """Files and their problems."""
    _, *blocks = (ROOT / "tests/server/config_sentences.txt").read_text().split("---\n")
    found = []
    for block in blocks:
        text, *expected = block.rstrip("\n").split("\n-> ")
        assert expected, block
        found.append((text, expected))
    return found


@pytest.mark.parametrize(("text", "expected"), sentences(), ids=str)
def test_sentences(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert problems(tmp_path, text) == [each.replace("{folder}", str(tmp_path)) for each in expected]


def test_sentences_about_what_is_too_long(tmp_path: Path) -> None:
    digits = f"fps = 0x{'f' * 9000}\n"
    assert problems(tmp_path, X + digits) == ["line 3: profiles.p.fps: so large a number is out of bounds: at most 60"]
    user = f"user = '{'x' * 4097}'\n"
    assert problems(tmp_path, X + user) == ["line 3: profiles.p.user: it is longer than 4096 characters"]
    home = f"home = '{'x' * 61}'\n"
    assert problems(tmp_path, X + home) == [f"line 3: profiles.p.home: '{'x' * 60}…' is not one of temporary, kept"]


def test_all_problems_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    """Also those between keys, as long as each that they are between is right."""
    text = """\
[settings]
tls_cert = "tilewire.toml"
lisen = "127.0.0.1:7800"
insecure = "no"
listen = "0.0.0.0"
compat = "0.0.0.0"
[[access]]
devices = 1
default = "nobody"
[profiles.a]
command = "xterm -e vi"
size = "100x100"
largest = "90x90"
environment = { "A=" = "b", HOME = "/", C = 3 }
fps = 99
[profiles.b]
kind = "chromim"
url = "file:///"
"""
    assert [problem.split(": ")[:2] for problem in problems(tmp_path, text)] == [
        ["line 2", "settings.tls_cert"],
        ["line 3", "settings.lisen"],
        ["line 4", "settings.insecure"],
        # Whether `listen` is right depends on what `insecure` should have been.
        ["line 6", "settings.compat"],
        ["line 8", "access[0].devices"],
        ["line 9", "access[0].default"],
        ["line 11", "profiles.a.command"],
        ["line 13", "profiles.a.largest"],
        ["line 14", 'profiles.a.environment."A="'],
        ["line 14", "profiles.a.environment.HOME"],
        ["line 14", "profiles.a.environment.C"],
        ["line 15", "profiles.a.fps"],
        ["line 17", "profiles.b.kind"],
    ]


def test_the_error_says_it_all_as_a_text(tmp_path: Path) -> None:
    path = written(tmp_path, "[setings]\n[acces]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {}, {})
    assert str(caught.value) == (
        f"{path} has 2 problems:\n"
        "  line 1: setings: there is no such key; did you mean settings?\n"
        "  line 2: acces: there is no such key; did you mean access?"
    )
    path = written(tmp_path, "[setings]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {}, {})
    assert str(caught.value) == f"{path}: line 1: setings: there is no such key; did you mean settings?"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\n", "line 1: after a key comes = and its value (column 2)"),
        ("\na = \n", "line 2: no value: a text stands in quotes, a list in [ ] (column 5)"),
        ("a = x\n", "line 1: no value: a text stands in quotes, a list in [ ] (column 5)"),
        ("\n= 1\n", "line 2: neither a key nor the [head] of a table (column 1)"),
        ("a = 1 b = 2\n", "line 1: something follows the value: a line holds one key (column 7)"),
        ("a = 1\na = 2\n", "line 2: this key has a value already (column 6)"),
        ("[a]\n[b]\n[a]\n", "line 3: the table of this name is in the file already (column 3)"),
        ("a = {b = 1, b = 2}\n", "line 1: this key has a value already (column 18)"),
        ("a = 'b\nc = 1\n", "line 1: a text is not closed by its quote"),
        ('a = "b\nc = 1\n', "line 1: a text is not closed by its quote (column 7)"),
        ("a = 1\nb = '''c\nd = 1\n", "line 2: a text is not closed by its quote"),
        ('a = 1\nb = """c\nd = 1\n', "line 2: a text is not closed by its quote"),
        ("a = 1\n\nb = [\n1,\n2\n", "line 3: a list is not closed by ]"),
        ("a = [1\nb = 2\n", "line 2: a list is not closed by ] (column 1)"),
        ("a = 1\r\nb = 2021-02-30\r\n", "line 2: there is no such date (column 5)"),
        ("a = 1\nb = " + "9" * 5000, "line 2: a whole number has too many digits"),
        ("a = 1\nb = " + "[" * 5000 + "]" * 5000, "line 2: lists or tables are nested too deep"),
        ("a = '\0'", "line 1: found invalid character '\\x00' (column 6)"),
    ],
)  # fmt: skip
def test_what_is_not_toml(tmp_path: Path, text: str, problem: str) -> None:
    """The line, and what is wrong there; for what never ends, the line in which it begins."""
    assert problems(tmp_path, text) == [problem]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a = 1\n# \xff\n", "line 2: it is not UTF-8 text"),
        (b"#" * (256 << 10) + b"#", "it is longer than 256 KiB: this is no configuration"),
    ],
)
def test_what_is_not_text(tmp_path: Path, data: bytes, problem: str) -> None:
    assert problems(tmp_path, data) == [problem]


def test_the_largest_file_and_a_byte_order_mark(tmp_path: Path) -> None:
    loaded(tmp_path, "#" * (256 << 10))
    assert loaded(tmp_path, "\ufeff[settings]\nmax_sessions = 7\n").settings.max_sessions == 7


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, "", mode)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {}, {})
    assert str(caught.value) == f"{path}: others may write it, and it says what this server runs: chmod go-w {path}"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
def test_a_file_that_others_may_read(tmp_path: Path, mode: int) -> None:
    load_config(written(tmp_path, "", mode), {}, {})


def test_a_file_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who that is comes from the kernel: a file of this test's user, read as if by another."""
    path = written(tmp_path, "")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(
        ConfigError, match="it belongs to another user, and it says what this server runs: chown it to "
    ):
        load_config(path, {}, {})


def test_what_is_no_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path, text in (
        (tmp_path / "none", "it cannot be read: no such file or directory"),
        (tmp_path, "it is not a file"),
        (fifo, "it is not a file"),
        (Path("a\0b"), "it cannot be read: embedded null byte"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(path, {}, {})
        assert [str(problem) for problem in caught.value.problems] == [text]


def test_models_made_in_code_are_checked_as_well() -> None:
    for wrong in (
        lambda: Profile(name="a"),
        lambda: Profile(name="a/b", command=("x",)),
        lambda: Profile(name="a", command=("x",), size=Size(100, 100), largest=Size(99, 100)),
        lambda: Settings(listen=Address("::", 1)),
        AccessRule,
        lambda: Config(access=(AccessRule(devices=("*",), profiles=("a",)),)),
    ):
        with pytest.raises(ValidationError):
            wrong()
    assert Settings(insecure=True, listen=Address("::", 1)).allow_plaintext
    assert Config(profiles={"a": Profile(name="a", command=("x",))}).profiles["a"].largest_size == Size(1024, 600)


@pytest.mark.parametrize(
    ("line", "listen", "control"),
    [
        ("", False, False),
        ("tls_only = true", True, True),
        ("listen = '0.0.0.0'", True, False),
        ("listen = '0.0.0.0'\nallow_plaintext = true", False, False),
        ("listen = '0.0.0.0'\ninsecure = true", False, False),
        ("listen = '0.0.0.0'\ninsecure = true\nallow_plaintext = false", True, False),
        ("listen = '0.0.0.0'\ninsecure = true\ntls_only = true", True, True),
        ("listen = 'localhost'\ncontrol = '[::1]:1'", False, False),
    ],
)
def test_where_tls_is_required(tmp_path: Path, line: str, listen: bool, control: bool) -> None:
    tls = "tls_cert = 'tilewire.toml'\ntls_key = 'tilewire.toml'\n"
    found = loaded(tmp_path, f"[settings]\n{tls}{line}\n").settings
    assert (found.requires_tls(found.listen), found.requires_tls(found.control)) == (listen, control)


def test_sizes_at_the_protocols_limits(tmp_path: Path) -> None:
    for width, height in ((16, 16), (MAX_SIDE, MAX_PIXELS // MAX_SIDE)):
        profile = loaded(tmp_path, X + f"size = '{width}X{height}'\n").profiles["p"]
        assert profile.size == (width, height)
    for width, height in ((15, 16), (MAX_SIDE + 1, 16), (MAX_SIDE, MAX_PIXELS // MAX_SIDE + 1)):
        assert "out of bounds" in problems(tmp_path, X + f"size = '{width}x{height}'\n")[0]


def test_origins_are_kept_as_browsers_write_them(tmp_path: Path) -> None:
    text = (
        S
        + "allow_origin = ['HTTPS://Example.org:443/', 'http://[::1]:80', 'http://a:81', 'null', 'chrome-extension://Ab']"
    )
    expected = ("https://example.org", "http://[::1]", "http://a:81", "null", "chrome-extension://Ab")
    assert loaded(tmp_path, text).settings.allow_origin == expected


# Whatever stands in the file: a configuration, or ConfigError.


def toml(value: Any) -> str:
    """A value as TOML, tables inline."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return "{" + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + "}"


KEYS = [*Settings.model_fields, *Profile.model_fields, *AccessRule.model_fields, "schemes", "allow_hosts", "allow_file"]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        ["off", "chromium", "firefox", "p", "*", "p*", "~", "", "[", "[::1]:1", "http://[", "http://a", "//a"]
    ),
    st.sampled_from(
        ["0.0.0.0:0", "65536", "1x1", "16x16", "99999999999x1", "MAP a b", "é", "\0", "a\0b", "\u2028", "1:2:3"]
    ),
)
SCALARS = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.integers(0, 100),
    st.floats(),
)
NAMES = st.one_of(st.sampled_from(KEYS), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=8,
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=8)
SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "settings": TABLES | VALUES,
        "profiles": st.dictionaries(st.just("p") | TEXTS, TABLES | VALUES, max_size=3) | VALUES,
        "access": st.lists(TABLES | VALUES, max_size=3) | VALUES,
        "other": VALUES,
    },
)


def judged(path: Path) -> None:
    """Raises anything but ConfigError."""
    source, found = "", list[Problem]()
    try:
        load_config(path, {}, {})
    except ConfigError as error:
        source, found = error.source, error.problems
        # An error without a problem would be a refusal without a reason.
        found = found or [Problem(None, "", "")]
    count = len(source.split("\n"))
    for problem in found:
        assert problem.text
        assert problem.line is None or 1 <= problem.line <= count
        assert f"{problem.where}{problem.text}".isprintable()


AGAIN = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
"""The folder holds one file, written anew for each example."""


@AGAIN
@given(SECTIONS)
def test_any_document_of_toml(tmp_path: Path, document: dict[str, Any]) -> None:
    text = "\n".join(f"{key} = {toml(value)}" for key, value in document.items())
    tomllib.loads(text)
    judged(written(tmp_path, text))


@AGAIN
@given(st.data())
def test_any_value_at_any_key_of_a_good_file(tmp_path: Path, data: st.DataObject) -> None:
    document = tomllib.loads(EXAMPLE.read_text())
    table = data.draw(st.sampled_from([document["settings"], *document["profiles"].values(), *document["access"]]))
    for _ in range(data.draw(st.integers(1, 3))):
        table[data.draw(st.sampled_from([*table, *KEYS]))] = data.draw(VALUES)
    judged(written(tmp_path, "\n".join(f"{key} = {toml(value)}" for key, value in document.items())))


@AGAIN
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"\xef\xbb\xbf\xef\xbb\xbf")
@example(b"\n\x80")
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    judged(written(tmp_path, data))


def test_lists_nested_as_deep_as_can_be_read(tmp_path: Path) -> None:
    """Reading them a second time, for their lines, may be one call too many."""

    def readable(depth: int) -> bool:
        try:
            tomllib.loads(f"a = {'[' * depth}{']' * depth}")
        except RecursionError:
            return False
        return True

    deepest = max(depth for depth in range(10, 2000, 10) if readable(depth))
    for depth in range(deepest - 40, deepest + 20):
        judged(written(tmp_path, f"[settings]\na = {'[' * depth}{']' * depth}\n"))


def test_keys_nested_deeper_than_python_calls(tmp_path: Path) -> None:
    key = ".".join("k" * 1500)
    assert problems(tmp_path, f"[settings]\n{key} = 1\n") == [
        f"line 2: settings.k: there is no such key; there are {', '.join(Settings.model_fields)}"
    ]


@AGAIN
@given(st.data())
def test_a_good_file_damaged_anywhere(tmp_path: Path, data: st.DataObject) -> None:
    text = EXAMPLE.read_text()
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(begin + 20, len(text))))
        text = text[:begin] + data.draw(st.text("[]{}=.,\"'#\\\n\r\t ax1", max_size=4)) + text[end:]
    judged(written(tmp_path, text))
