"""Settings from the file, the environment and the flags; the tables and texts that are made from one declaration."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.server.config import (
    Address,
    ConfigError,
    Settings,
    add_flags,
    check,
    check_text,
    given_flags,
    load_config,
    settings_table,
)
from tilewire.server.config.models import default_state
from tilewire.server.config.tables import TABLES, fill_page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/serve-config.md"

# Another value than the default for each setting: as TOML, as the text of a variable or flag, and what it becomes.
SAMPLES: dict[str, tuple[str, str, object]] = {
    "listen": ('"[::1]:1"', "[::1]:1", Address("::1", 1)),
    "control": ('":2"', ":2", Address("127.0.0.1", 2)),
    "compat": ('"localhost"', "localhost", Address("localhost", 5000)),
    "state": ('"/s"', "/s", Path("/s")),
    "user": ('"nobody"', "nobody", "nobody"),
    "secret": ('"{pem}"', "{pem}", Path("{pem}")),
    "keys": ('"{pem}"', "{pem}", Path("{pem}")),
    "tls_cert": ('"{pem}"', "{pem}", Path("{pem}")),
    "tls_key": ('"{pem}"', "{pem}", Path("{pem}")),
    "tls_only": ("true", "yes", True),
    "insecure": ("true", "on", True),
    "allow_plaintext": ("true", "1", True),
    "allow_origin": ('["http://a", "http://b"]', "http://a, http://b", ("http://a", "http://b")),
    "allow_host": ('["a", "b"]', "a,b,", ("a", "b")),
    "max_sessions": ("5", "5", 5),
    "max_sessions_per_device": ("3", "3", 3),
    "max_viewers": ("7", "7", 7),
    "max_connections": ("800", "800", 800),
    "max_connections_per_address": ("8", "8", 8),
    "handshakes_per_minute": ("9", "9", 9),
    "calls_per_minute": ("10", "10", 10),
    "bytes_per_second": ("2048", "2048", 2048),
    "log": ('"debug"', "debug", "debug"),
}
NEEDS = {"tls_cert": ("tls_key",), "tls_key": ("tls_cert",), "tls_only": ("tls_cert", "tls_key")}
"""What has to stand beside it."""


def written(folder: Path, settings: Mapping[str, str]) -> Path:
    path = folder / "tilewire.toml"
    path.write_text("[settings]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    path.chmod(0o600)
    return path


def flags_of(*words: str) -> dict[str, str]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return given_flags(parser.parse_args(words))


def problems(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ, flags)
    return [str(problem) for problem in caught.value.problems]


def test_every_setting_has_a_sample() -> None:
    assert SAMPLES.keys() == Settings.model_fields.keys()


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("way", ["file", "environment", "flag"])
def test_each_setting_by_each_way(tmp_path: Path, name: str, way: str) -> None:
    pem = tmp_path / "some.pem"
    pem.write_text("")
    file, environ, words = dict[str, str](), dict[str, str](), list[str]()
    for each in (name, *NEEDS.get(name, ())):
        toml, text, _ = (part.format(pem=pem) if isinstance(part, str) else part for part in SAMPLES[each])
        flag = "--" + each.replace("_", "-")
        if way == "file":
            file[each] = str(toml)
        elif way == "environment":
            environ["TILEWIRE_" + each.upper()] = str(text)
        elif isinstance(SAMPLES[each][2], bool):
            words.append(flag)
        else:
            words += [flag, str(text)]
    settings = load_config(written(tmp_path, file), environ, flags_of(*words)).settings
    expected = SAMPLES[name][2]
    if isinstance(expected, Path):
        expected = Path(str(expected).format(pem=pem))
    assert getattr(settings, name) == expected
    assert getattr(settings, name) != getattr(Settings(), name)


def test_flags_beat_the_environment_and_that_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"max_sessions": "3", "max_viewers": "3", "log": '"error"'})
    environ = {"TILEWIRE_MAX_SESSIONS": "4", "TILEWIRE_MAX_VIEWERS": "4", "TILEWIRE_LOG": ""}
    settings = load_config(path, environ, flags_of("--max-sessions", "5")).settings
    assert (settings.max_sessions, settings.max_viewers, settings.log) == (5, 4, "error")


def test_what_a_file_switched_on_can_be_switched_off(tmp_path: Path) -> None:
    path = written(tmp_path, {"insecure": "true", "compat": '"127.0.0.1"', "bytes_per_second": "2000", "log": '"info"'})
    flags = flags_of("--no-insecure", "--compat", "off")
    settings = load_config(path, {"TILEWIRE_BYTES_PER_SECOND": "off"}, flags).settings
    assert (settings.insecure, settings.allow_plaintext) == (False, False)
    assert (settings.compat, settings.bytes_per_second) == (None, None)


def test_a_flag_of_a_list_several_times(tmp_path: Path) -> None:
    assert flags_of("--allow-host", "a", "--allow-host", "b,c") == {"allow_host": "a,b,c"}
    assert flags_of() == {}
    assert flags_of("--no-tls-only") == {"tls_only": "no"}


def test_without_a_file() -> None:
    config = load_config(None, {"TILEWIRE_LISTEN": ":0"}, {})
    assert config.settings.listen == Address("127.0.0.1", 0)
    assert config.profiles == {}


def test_problems_name_the_variable_or_the_flag(tmp_path: Path) -> None:
    path = written(tmp_path, {"max_sessions": "0", "log": '"info"'})
    environ = {
        "TILEWIRE_MAX_VIEWERS": "many",
        "TILEWIRE_LISTEN": "0.0.0.0",
        "TILEWIRE_TLS_KEY": "/none",
        "TILEWIRE_ALLOW_HOST": "a,B",
        "TILEWIRE_INSECURE": "maybe",
    }
    assert problems(path, environ, {"log": "loud", "bytes_per_second": "1"}) == [
        "line 2: settings.max_sessions: 0 is out of bounds: at least 1",
        "TILEWIRE_INSECURE: true or false belongs here, not 'maybe'",
        "TILEWIRE_MAX_VIEWERS: a whole number belongs here, not 'many'",
        "--bytes-per-second: 1 is out of bounds: at least 1024",
        "--log: 'loud' is not one of debug, info, warning, error",
        "TILEWIRE_TLS_KEY: tls_cert is missing: a private key and its certificate belong together",
        "TILEWIRE_ALLOW_HOST: 'B' is not a host's name in lower case, without scheme and port",
        "TILEWIRE_TLS_KEY: /none cannot be read: no such file or directory",
    ]


def test_misspelt_variables_are_refused_and_others_are_not_ours() -> None:
    environ = {"TILEWIRE_LISTN": "x", "TILEWIRE_PROGRAM": "1", "TILEWIRE_CONFIG": "x", "TILEWIRE": "x", "LISTEN": "x"}
    assert problems(None, environ, {}) == ["TILEWIRE_LISTN: there is no such setting; did you mean TILEWIRE_LISTEN?"]


def test_paths_begin_where_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, here = tmp_path / "etc", tmp_path / "here"
    for each in (folder, here):
        each.mkdir()
        (each / "keys").write_text("")
    monkeypatch.chdir(here)
    path = written(folder, {"keys": '"keys"', "state": '"../state"'})
    settings = load_config(path, {}, {}).settings
    assert (settings.keys, settings.state) == (folder / "keys", folder / "../state")
    assert load_config(Path("../etc/tilewire.toml"), {}, {}).settings.keys == here / "../etc/keys"
    assert load_config(path, {"TILEWIRE_KEYS": "keys"}, {}).settings.keys == here / "keys"
    assert load_config(path, {}, {"keys": "keys"}).settings.keys == here / "keys"
    assert problems(None, {}, {"keys": "~/keys"}) == [
        "--keys: ~ means nothing here, since no shell reads it: write the whole path of ~/keys"
    ]


@pytest.mark.parametrize(
    ("environ", "uid", "state"),
    [
        ({"HOME": "/root", "XDG_STATE_HOME": "/x"}, 0, "/var/lib/tilewire"),
        ({"HOME": "/home/a"}, 1000, "/home/a/.local/state/tilewire"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "/x"}, 1000, "/x/tilewire"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "x"}, 1000, "/home/a/.local/state/tilewire"),
    ],
)
def test_the_state_folder_where_nothing_is_said(environ: dict[str, str], uid: int, state: str) -> None:
    assert default_state(environ, uid) == Path(state)


@given(
    st.dictionaries(
        st.sampled_from([f"TILEWIRE_{name.upper()}" for name in SAMPLES]), st.text(max_size=20), max_size=6
    ),
    st.dictionaries(st.sampled_from(list(SAMPLES)), st.text(max_size=20), max_size=6),
)
def test_any_text_in_variables_and_flags(environ: dict[str, str], flags: dict[str, str]) -> None:
    """Also what the system hands over undecoded, as lone surrogates."""
    try:
        load_config(None, environ, flags)
    except ConfigError as error:
        found = [f"{problem.where}{problem.text}" for problem in error.problems]
    else:
        found = ["good"]
    assert found
    assert all(text and text.isprintable() for text in found)


def test_help_tells_every_flag() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = parser.format_help()
    for name in SAMPLES:
        assert "--" + name.replace("_", "-") in text


# The page.


def test_the_page_is_what_the_declarations_say() -> None:
    assert fill_page(PAGE.read_text()) == PAGE.read_text(), "run .venv/bin/python -m tools.generate"
    assert all(f"<!-- begin {name} -->" in PAGE.read_text() for name in TABLES)


def test_a_page_with_markers_of_nothing() -> None:
    with pytest.raises(KeyError):
        fill_page("<!-- begin nothing -->\n<!-- end nothing -->")
    with pytest.raises(ValueError, match="the table settings does not end"):
        fill_page("<!-- begin settings -->\n<!-- end access -->")


def test_the_table_has_a_row_for_each_setting() -> None:
    rows = settings_table().splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [f"| `{name}`" for name in SAMPLES]
    assert rows[0] == (
        '| `listen` | `TILEWIRE_LISTEN` | `--listen` | HOST:PORT | `"127.0.0.1:7800"` | where devices connect |'
    )
    for name, table in TABLES.items():
        cells = {line.count(" | ") for line in table().splitlines()}
        assert len(cells) == 1, name
        # Nothing is left undescribed.
        assert not any(line.endswith("|  |") for line in table().splitlines()), name


# tilewire check


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.toml"
    path.write_text((ROOT / "docs/tilewire.toml").read_text())
    path.chmod(0o600)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.toml"
    text = '[setings]\n[profiles.kiosk]\nkind = "chromium"\n  fps = 99 # \x9b1m\nurl = "ftp://x"\n'
    path.write_text(text + 'user = ""\n[profiles.kiosk.environment]\nTOKEN = 12345\n')
    path.chmod(0o600)
    return path


GOOD = """\
{path}: good

  devices  127.0.0.1:7800  no TLS
  API      127.0.0.1:7801  no TLS
  state    /srv/tilewire
  profile  kiosk           chromium  https://example.org/, 1024x600 to 1920x1080, 600 s idle
           firefox         firefox   https://example.org/, 1024x600, 300 s idle
           gimp            command   gimp --no-splash, 1280x800, 28800 s at most
           terminal        command   xterm -fa Monospace -fs 11, 1024x600, 300 s idle
  access   lobby-*         steers    kiosk
           wall-display    looks     kiosk
           workshop-?      steers    every profile, else terminal
"""


def test_check_tells_what_a_good_file_says(good: Path) -> None:
    stream = io.StringIO()
    assert check(good, stream, {"TILEWIRE_STATE": "/srv/tilewire", "TERM": "xterm"}) == 0
    assert stream.getvalue() == GOOD.format(path=good)


BAD = """\
{path}: 4 problems

  line 1  [setings]
          setings: there is no such key; did you mean settings?

  line 4  fps = 99 # \\x9b1m
          profiles.kiosk.fps: 99 is out of bounds: at most 60

  line 5  url = "ftp://x"
          profiles.kiosk.url: ftp: is not among the schemes http, https of url_rules

  line 8
          profiles.kiosk.environment.TOKEN: a text in quotes belongs here
"""


def test_check_shows_each_line_with_its_problems(bad: Path) -> None:
    """Escape sequences in the file reach no terminal, the environment of programs no log."""
    bad.write_text(bad.read_text().replace('user = ""\n', "\n"))
    stream = io.StringIO()
    assert check(bad, stream, {}) == 1
    assert stream.getvalue() == BAD.format(path=bad)


@pytest.mark.parametrize(
    ("environ", "terminal", "colour"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({}, True, False),
        ({"TERM": "xterm"}, False, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    good: Path, bad: Path, environ: dict[str, str], terminal: bool, colour: bool
) -> None:
    for path in (good, bad):
        stream = Terminal() if terminal else io.StringIO()
        check(path, stream, environ)
        assert ("\x1b[" in stream.getvalue()) == colour


def test_check_into_a_pipe_of_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "tilewire.toml"
    path.write_text('[profiles.p]\ncommand = ["é", "→"]\n')
    path.chmod(0o600)
    code = "import sys; from pathlib import Path; from tilewire.server.config import check; "
    code += f"sys.exit(check(Path({str(path)!r}), sys.stdout))"
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1", "TERM": "xterm"}
    run = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=True)
    assert b"\xe9 \\u2192" in run.stdout
    assert b"\x1b" not in run.stdout


def test_problems_without_a_file() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {"TILEWIRE_LISTEN": "x y"}, {})
    assert check_text(caught.value) == (
        "the configuration: 1 problem\n\n  TILEWIRE_LISTEN: 'x y' is not HOST:PORT, such as 127.0.0.1:7800\n"
    )
