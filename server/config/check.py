"""`tilewire check FILE`: what a configuration says, or all that is wrong with it, for a reader at a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TextIO

from tilewire.server.config.errors import ConfigError, printable
from tilewire.server.config.load import load_config
from tilewire.server.config.models import AccessRule, Config, Profile, Settings

SHOWN: Final = 100
"""Characters of a line of the file."""

_BOLD, _DIM, _RED, _GREEN, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"


def check(path: Path, stream: TextIO, environ: Mapping[str, str] | None = None) -> int:
    """Judge `path` as the server in this environment would, and tell `stream`. Returns the exit code, 0 or 1."""
    environ = os.environ if environ is None else environ
    # https://no-color.org: any value but an empty one.
    colour = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
    result: Config | ConfigError
    try:
        result = load_config(path, environ, {})
    except ConfigError as error:
        result = error
    text = check_text(result, colour=colour)
    if isinstance(result, Config):
        good = f"{_GREEN}good{_PLAIN}" if colour else "good"
        text = f"{printable(str(path))}: {good}\n\n{text}"
    # A name in the file may hold more than the terminal's encoding.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return 0 if isinstance(result, Config) else 1


def check_text(result: Config | ConfigError, *, colour: bool = False) -> str:
    """What a configuration says in short, or each problem below the line that it stands in."""
    bold, dim, red, plain = (_BOLD, _DIM, _RED, _PLAIN) if colour else ("", "", "", "")
    lines: list[str] = []
    if isinstance(result, Config):
        rows = list(_rows(result))
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        last = ""
        for row in rows:
            head = row[0] if row[0] != last else ""
            last = row[0]
            cells = [f"{bold}{head:<{widths[0]}}{plain}", f"{row[1]:<{widths[1]}}", f"{row[2]:<{widths[2]}}", row[3]]
            lines.append(("  " + "  ".join(cells)).rstrip())
        return "\n".join(lines) + "\n"
    count = len(result.problems)
    name = printable(str(result.file)) if result.file is not None else "the configuration"
    lines.append(f"{name}: {red}{count} problem{'s' if count > 1 else ''}{plain}")
    source = result.source.split("\n")
    width = len(f"line {len(source)}")
    shown: int | None = None
    for problem in result.problems:
        if problem.line is None or problem.line != shown:
            lines.append("")
        if problem.line is not None and problem.line != shown:
            shown = problem.line
            text = printable(source[shown - 1].strip()) if shown <= len(source) else ""
            # A program's environment may hold secrets, and this may be the log of a machine that checks.
            text = "" if "environment" in problem.where or "environment" in text else text[:SHOWN]
            lines.append(f"  {bold}{f'line {shown}':<{width}}{plain}  {dim}{text}{plain}".rstrip())
        where = f"{bold}{problem.where}{plain}: " if problem.where else ""
        indent = " " * (width + 4) if problem.line is not None else "  "
        lines.append(f"{indent}{where}{problem.text}")
    return "\n".join(lines) + "\n"


def _rows(config: Config) -> Iterator[tuple[str, str, str, str]]:
    """Head, name, kind and the rest."""
    settings = config.settings
    yield "devices", str(settings.listen), _plain_or_tls(settings, beyond=not settings.listen.loopback), ""
    yield "API", str(settings.control), _plain_or_tls(settings, beyond=not settings.control.loopback), ""
    if settings.compat is not None:
        yield "compatible", str(settings.compat), "no tokens", ""
    yield "state", printable(str(settings.state)), "", ""
    for name, profile in config.profiles.items():
        yield "profile", name, profile.kind, ", ".join(_profile(profile))
    for rule in config.access:
        yield "access", printable(" ".join(rule.devices)), "steers" if rule.may_steer else "looks", _opens(rule)
    if not config.access:
        yield "access", "*", "steers", "every profile"


def _plain_or_tls(settings: Settings, *, beyond: bool) -> str:
    if settings.tls_cert is None:
        return "no TLS"
    return "TLS only" if settings.tls_only or (beyond and not settings.allow_plaintext) else "TLS"


def _profile(profile: Profile) -> Iterator[str]:
    what = profile.url if profile.kind != "command" else " ".join(profile.command)
    if what:
        yield printable(what)
    yield f"{profile.size}" + (f" to {profile.largest}" if profile.largest else "")
    if profile.user:
        yield f"as {printable(profile.user)}"
    if profile.idle_s is not None:
        yield f"{profile.idle_s:g} s idle"
    if profile.lifetime_s is not None:
        yield f"{profile.lifetime_s:g} s at most"


def _opens(rule: AccessRule) -> str:
    names = "every profile" if rule.profiles == ("*",) else " ".join(rule.profiles)
    return printable(names + (f", else {rule.default}" if rule.default else ""))
