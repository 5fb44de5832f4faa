"""What `tilewire.toml` holds: settings of the server, profiles of programs, and who may open what.

The settings are declared here once. The file's keys, the environment's variables, the flags and the tables in
docs/serve-config.md are all made from these classes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails

from tilewire.protocol.constants import PORT
from tilewire.server.config import outside
from tilewire.server.config.outside import Fault, Surroundings
from tilewire.server.config.values import (
    COMPAT_PORT,
    CONTROL_PORT,
    CompatAddress,
    ControlAddress,
    Count,
    DeviceAddress,
    FilePath,
    FilePaths,
    Line,
    Off,
    Origins,
    ScreenSize,
    Seconds,
    Text,
    Texts,
    Variable,
    Words,
    nearest,
    wrong,
)
from tilewire.server.values import Address, Size

Kind = Literal["command", "chromium", "firefox"]
Level = Literal["debug", "info", "warning", "error"]

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
BROWSER_FIELDS: Final = ("url", "url_rules", "certificates")
CHROMIUM_FIELDS: Final = ("host_resolver_rules",)
PIPE_FLAGS: Final = ("--remote-debugging-", "--user-data-dir")
"""Chromium's doors and home are the session's: a debugging port on loopback would let every page in."""

NEEDS_A_SWITCH: Final = {
    **dict.fromkeys(("file",), "allow_file"),
    **dict.fromkeys(("chrome", "devtools", "view-source"), "allow_internal"),
}
NEVER: Final = frozenset({"javascript", "data", "blob", "filesystem"})
BLANK: Final = "about:blank"


class Model(BaseModel):
    """Frozen, strict (a number is no text), and nothing in it that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def checks(self, around: Surroundings | None) -> Iterable[Iterator[Fault]]:
        """What may be wrong with fields that are right each for itself, and what else where surroundings are given.

        Generators, each alone: one that reads a field of no known value is left out, and the others are not.
        """
        return ()

    @model_validator(mode="after")
    def _whole(self, info: ValidationInfo) -> Self:
        around: Surroundings | None = info.context
        unknown = around.unknown if around is not None else frozenset[str]()
        seen = self.model_copy()
        for name in unknown & seen.__dict__.keys():
            # Reading it raises AttributeError from now on.
            del seen.__dict__[name]
        found = []
        for check in seen.checks(around):
            try:
                found += [InitErrorDetails(type=wrong(text), loc=where, input=None) for where, text in check]
            except AttributeError:
                if not unknown:
                    raise
        if found:
            # pydantic puts the place of this model before these places.
            raise ValidationError.from_exception_data(type(self).__name__, found)
        return self


class UrlRules(Model):
    """Which URLs a browser may be sent to."""

    schemes: Texts = ("http", "https")
    """URL schemes that may be loaded"""
    allow_hosts: Texts = ()
    """patterns of hosts that may be loaded, such as `*.example.org`; none: every host that is not refused"""
    refuse_hosts: Texts = ()
    """patterns of hosts that are refused, whatever `allow_hosts` says"""
    allow_file: bool = False
    """`file:`, the files that the program's user may read"""
    allow_internal: bool = False
    """the browser's own pages (`chrome:`)"""
    allow_link_local: bool = False
    """169.254.0.0/16 and fe80::/10, where clouds keep their machines' credentials"""

    def checks(self, around: Surroundings | None) -> Iterable[Iterator[Fault]]:
        return self._schemes(), self._hosts("allow_hosts"), self._hosts("refuse_hosts")

    def _schemes(self) -> Iterator[Fault]:
        for index, scheme in enumerate(self.schemes):
            where = ("schemes", index)
            if scheme in NEEDS_A_SWITCH:
                yield where, f"{scheme}: is not a matter of schemes: write {NEEDS_A_SWITCH[scheme]} = true"
            elif scheme in NEVER:
                yield where, f"{scheme}: is never loaded: what it shows comes from the URL, not from a place"
            elif not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
                yield where, f"{scheme!r} is not a scheme: it is written as in 'https', without a colon"

    def _hosts(self, field: str) -> Iterator[Fault]:
        for index, pattern in enumerate(getattr(self, field)):
            if not re.fullmatch(r"[a-z0-9._\[\]:?*!-]+", pattern):
                text = f"{pattern!r} is not a pattern of hosts, such as *.example.org: lower case, no scheme or path"
                yield (field, index), text if pattern.isascii() else f"{text}, ASCII (xn--)"
            elif fault := _pattern_fault(pattern):
                yield (field, index), fault

    def allows_host(self, host: str) -> bool:
        """Whether the patterns let `host` through: lower case ASCII, an IPv6 address without brackets."""
        if any(fnmatchcase(host, pattern) for pattern in self.refuse_hosts):
            return False
        return not self.allow_hosts or any(fnmatchcase(host, pattern) for pattern in self.allow_hosts)


class Profile(Model):
    """A program to run, and how."""

    name: str
    """from the table's key"""
    kind: Kind = "command"
    """`chromium` in kiosk mode, `firefox`, or any `command`"""
    command: Words = Field(default=(), json_schema_extra={"shown": "needed by kind `command`"})
    """a list of words, no shell reads it: the program and its arguments; for a browser, further arguments"""
    url: Line | None = None
    """browsers: the page to begin with"""
    url_rules: UrlRules = UrlRules()
    """browsers: which URLs may be loaded, a table of its own"""
    host_resolver_rules: Line | None = None
    """chromium: where names lead, such as `MAP example.com 127.0.0.1:8443`"""
    certificates: FilePaths = ()
    """browsers: PEM files of authorities that are trusted besides the system's"""
    window_manager: Words = ()
    """started before the program, such as `["openbox"]`"""
    environment: dict[Variable, Text] = Field(default_factory=dict)
    """variables for the program, a table of its own"""
    user: Line | None = None
    """the system user that it runs as, where the server is root; none: the setting `user`"""
    home: Literal["temporary", "kept"] = "temporary"
    """whether the program's home folder is deleted with the session, or kept for the device's next"""
    size: ScreenSize = Size(1024, 600)
    """of the screen at the start"""
    largest: ScreenSize | None = None
    """as large as a device may make the screen; none: as `size`"""
    density: Annotated[int, Field(ge=24, le=960)] = 96
    """of the screen, in dots per inch"""
    scale: Annotated[float, Field(ge=0.25, le=8)] = 1.0
    """of what browsers draw"""
    locale: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")] = "C.UTF-8"
    """of the program, such as `de_DE.UTF-8`"""
    keyboard: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}(\([A-Za-z0-9_-]{1,32}\))?$")] = "us"
    """layout, and its variant in parentheses, such as `de(nodeadkeys)`"""
    fps: Annotated[int, Field(ge=1, le=60)] = 30
    """updates a second at most"""
    quality: Annotated[int, Field(ge=10, le=90)] = 75
    """of JPEG, for photographs until they rest"""
    adaptive: bool = True
    """whether rate and quality follow the link"""
    idle_s: Off[Seconds] = 300.0
    """the session ends when nobody looked and nobody kept it alive for so many seconds; `"off"`: it stays"""
    lifetime_s: Off[Seconds] = None
    """the session ends after so many seconds, whoever looks; `"off"`: it stays"""
    restart: Literal["never", "crash", "always"] = "never"
    """when the program is started again after it ended"""
    restarts: Annotated[int, Field(ge=1, le=1000)] = 5
    """how often within a minute; then the session ends"""
    grace_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """seconds between the request to end and the kill"""

    @property
    def largest_size(self) -> Size:
        """What the X server starts with."""
        return self.largest or self.size

    def checks(self, around: Surroundings | None) -> Iterable[Iterator[Fault]]:
        yield from (self._name(), self._program(), self._options(), self._arguments(), self._resolver(), self._page())
        yield self._room()
        if around is not None:
            yield from (self._user(), self._authorities())

    def _name(self) -> Iterator[Fault]:
        if not NAME.fullmatch(self.name):
            yield (), f"{self.name!r} cannot name a profile: 1 to 64 letters, digits, - or _"

    def _program(self) -> Iterator[Fault]:
        if self.kind == "command" and not self.command:
            yield ("command",), 'the program is missing: a list of words, such as command = ["xterm"]'

    def _options(self) -> Iterator[Fault]:
        others = {"command": (*BROWSER_FIELDS, *CHROMIUM_FIELDS), "firefox": CHROMIUM_FIELDS, "chromium": ()}
        for field in others[self.kind]:
            if field in self.model_fields_set:
                whose = "browsers" if field in BROWSER_FIELDS else "Chromium"
                yield (field,), f'it is for {whose}: write kind = "chromium", or leave it out'

    def _arguments(self) -> Iterator[Fault]:
        if self.kind != "chromium":
            return
        for index, word in enumerate(self.command):
            if not word.startswith("-"):
                yield ("command", index), f"{word!r} is not an argument of Chromium's: those begin with --"
            elif word.startswith(PIPE_FLAGS):
                yield ("command", index), f"{word.partition('=')[0]} is the session's own to give"

    def _resolver(self) -> Iterator[Fault]:
        for rule in self.host_resolver_rules.split(",") if self.host_resolver_rules is not None else ():
            words = rule.split()
            if [len(words), *words[:1]] not in ([3, "MAP"], [2, "EXCLUDE"]):
                text = f"{rule.strip()!r} is not a rule: MAP NAME PLACE or EXCLUDE NAME, with commas between them"
                yield ("host_resolver_rules",), text

    def _page(self) -> Iterator[Fault]:
        if self.kind != "command" and self.url is not None and (fault := _url_fault(self.url, self.url_rules)):
            yield ("url",), fault

    def _user(self) -> Iterator[Fault]:
        yield from outside.user_faults(self.user)

    def _authorities(self) -> Iterator[Fault]:
        yield from outside.certificate_faults(self.certificates)

    def _room(self) -> Iterator[Fault]:
        if self.largest is not None and not self.size.fits(self.largest):
            yield ("largest",), f"{self.largest} has no room for the size {self.size}"


def _pattern_fault(pattern: str) -> str | None:
    """Why a pattern can never fit."""
    # This is how fnmatch writes brackets with nothing in them.
    if "(?!)" in translate(pattern):
        return f"{pattern!r} fits nothing: a range in brackets runs upwards, as in [a-z]"
    return None


def _url_fault(text: str, rules: UrlRules) -> str | None:
    """Why a profile's own rules refuse its page. What browsers make of strange URLs is the loader's to judge."""
    if text == BLANK:
        return None
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        return f"{text!r} is not a URL, such as https://example.org/"
    if " " in text or not (parts.scheme and (parts.netloc or parts.path)):
        return f"{text!r} is not a URL, such as https://example.org/"
    if (switch := NEEDS_A_SWITCH.get(parts.scheme)) is not None:
        return None if getattr(rules, switch) else f"{parts.scheme}: needs {switch} = true in url_rules"
    if parts.scheme not in rules.schemes:
        return f"{parts.scheme}: is not among the schemes {', '.join(rules.schemes) or '(none)'} of url_rules"
    if not host:
        return f"{text!r} names no host"
    if not rules.allows_host(host):
        return f"the host {host} is refused by this profile's own url_rules"
    try:
        link_local = ip_address(host).is_link_local
    except ValueError:
        link_local = False
    if link_local and not rules.allow_link_local:
        return f"{host} is a link-local address, which needs allow_link_local = true in url_rules"
    return None


class AccessRule(Model):
    """Which devices may open which profiles. The first rule that fits a device counts."""

    devices: Texts = Field(default=(), json_schema_extra={"shown": "needed"})
    """patterns of device ids, such as `lobby-*`"""
    profiles: Texts = ("*",)
    """patterns of profiles that they may open"""
    default: Line | None = None
    """the profile for a device that names none; none: the only one that it may open"""
    may_steer: bool = True
    """whether they may give input, or only look"""

    def opens(self, profile: str) -> bool:
        """Whether this rule lets its devices open `profile`."""
        return any(fnmatchcase(profile, pattern) for pattern in self.profiles)

    def checks(self, around: Surroundings | None) -> Iterable[Iterator[Fault]]:
        yield from (self._some(), self._default())
        if around is not None:
            yield from self.checks_beside(around.profiles)

    def checks_beside(self, names: Collection[str]) -> Iterable[Iterator[Fault]]:
        """What may be wrong with it where these are the profiles."""
        return self._patterns(names), self._default_among(names)

    def _some(self) -> Iterator[Fault]:
        if not self.devices:
            yield ("devices",), "a pattern of device ids is missing, such as 'lobby-*'; '*' is every device"
        if not self.profiles:
            yield ("profiles",), "a pattern of profiles is missing; '*' is every profile"
        for index, pattern in enumerate(self.devices):
            if fault := _pattern_fault(pattern):
                yield ("devices", index), fault

    def _default(self) -> Iterator[Fault]:
        if self.default is not None and not self.opens(self.default):
            yield ("default",), f"{self.default!r} is not among the profiles of this rule"

    def _patterns(self, names: Collection[str]) -> Iterator[Fault]:
        for index, pattern in enumerate(self.profiles):
            # "*" is also right while there is none.
            if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
                yield ("profiles", index), f"there is no profile {pattern!r}{nearest(pattern, names)}"

    def _default_among(self, names: Collection[str]) -> Iterator[Fault]:
        if self.default is not None and self.opens(self.default) and self.default not in (*names, *self.profiles):
            yield ("default",), f"there is no profile {self.default!r}{nearest(self.default, names)}"


@dataclass(frozen=True, slots=True)
class Access:
    """What one device may. `profiles` in the order of the file."""

    profiles: tuple[str, ...]
    default: str | None
    may_steer: bool


def default_state(environ: Mapping[str, str], uid: int) -> Path:
    """Where the server keeps what must survive it."""
    if uid == 0:
        return Path("/var/lib/tilewire")
    folder = environ.get("XDG_STATE_HOME", "")
    # The XDG base directory specification: a relative path is ignored.
    base = Path(folder) if Path(folder).is_absolute() else Path(environ.get("HOME", "/"), ".local/state")
    return base / "tilewire"


class Settings(Model):
    """The server's own. Each is a key in the table `[settings]`, a variable in the environment and a flag."""

    listen: DeviceAddress = Address("127.0.0.1", PORT)
    """where devices connect"""
    control: ControlAddress = Address("127.0.0.1", CONTROL_PORT)
    """where the API answers"""
    compat: Off[CompatAddress] = None
    """where the API answers programs made for Jiomosa, without tokens: loopback only, its port there is 5000"""
    state: FilePath = Field(
        default_factory=lambda: default_state(os.environ, os.geteuid()),
        json_schema_extra={"shown": "`/var/lib/tilewire` for root, else `~/.local/state/tilewire`"},
    )
    """the folder of devices, tokens, usage and kept homes"""
    user: Line | None = None
    """the system user that programs run as, where the server is root"""
    secret: FilePath | None = None
    """a file of 32 bytes under which devices' keys are encrypted in the state folder"""
    keys: FilePath | None = None
    """a file of device ids and keys, besides the devices of the state folder"""
    tls_cert: FilePath | None = None
    """speak TLS on both ports: certificate and chain, PEM"""
    tls_key: FilePath | None = None
    """the certificate's private key, PEM"""
    tls_only: bool = False
    """refuse whoever does not speak TLS, on loopback too"""
    insecure: bool = False
    """let devices without a key in, beyond loopback too"""
    allow_plaintext: bool = False
    """speak without TLS beyond loopback, where whoever is on the line reads along; `insecure` implies it"""
    allow_origin: Origins = ()
    """web origins whose pages may connect"""
    allow_host: Texts = ()
    """names of this server in Host headers, besides localhost and addresses"""
    max_sessions: Count = 20
    """sessions at once"""
    max_sessions_per_device: Count = 2
    """sessions at once that one device opened"""
    max_viewers: Count = 100
    """viewers at once, in all sessions"""
    max_connections: Count = 1024
    """connections that wait in the handshake at once"""
    max_connections_per_address: Count = 256
    """of those, from one address"""
    handshakes_per_minute: Count = 120
    """handshakes that one address may begin, and one device complete"""
    calls_per_minute: Count = 600
    """API calls that one address may make"""
    bytes_per_second: Off[Annotated[int, Field(ge=1024, le=1 << 40)]] = None
    """bytes a second that the server sends to one device"""
    log: Level = "info"
    """the least that is logged"""

    @model_validator(mode="before")
    @classmethod
    def _insecure_implies(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("insecure") is True:
            return {"allow_plaintext": data.get("tls_only") is not True, **data}
        return data

    def requires_tls(self, address: Address) -> bool:
        """Whether who does not speak TLS there is refused."""
        return self.tls_only or not (address.loopback or self.allow_plaintext)

    def checks(self, around: Surroundings | None) -> Iterable[Iterator[Fault]]:
        yield from (self._pair(), self._only(), self._contradiction(), self._beyond("listen"), self._beyond("control"))
        yield from (self._loopback(), self._taken("control", "listen"), self._taken("compat", "listen"))
        yield from (self._taken("compat", "control"), self._names())
        yield self._within("max_sessions_per_device", "max_sessions")
        yield self._within("max_connections_per_address", "max_connections")
        if around is not None:
            yield from (self._user(), self._file("tls_cert"), self._file("tls_key"))
            yield from (self._file("keys"), self._file("secret"))

    def _user(self) -> Iterator[Fault]:
        yield from outside.user_faults(self.user)

    def _file(self, field: str) -> Iterator[Fault]:
        yield from outside.file_faults(field, getattr(self, field))

    def _pair(self) -> Iterator[Fault]:
        if self.tls_cert is not None and self.tls_key is None:
            yield ("tls_cert",), "tls_key is missing: a certificate and its private key belong together"
        if self.tls_key is not None and self.tls_cert is None:
            yield ("tls_key",), "tls_cert is missing: a private key and its certificate belong together"

    def _only(self) -> Iterator[Fault]:
        if self.tls_only and self.tls_cert is self.tls_key is None:
            yield ("tls_only",), "it needs tls_cert and tls_key"

    def _contradiction(self) -> Iterator[Fault]:
        if self.tls_only and self.allow_plaintext:
            yield ("tls_only",), "it contradicts allow_plaintext: one of them has to go"

    def _beyond(self, field: str) -> Iterator[Fault]:
        address: Address = getattr(self, field)
        # It implies allow_plaintext: where it is not known, neither is that.
        _ = self.insecure
        if self.requires_tls(address) and not self.tls_only and self.tls_cert is self.tls_key is None:
            reason = f"{address} is beyond loopback, where whoever is on the line reads along"
            yield (field,), f"{reason}: give tls_cert and tls_key, or allow_plaintext = true"

    def _loopback(self) -> Iterator[Fault]:
        if self.compat is not None and not self.compat.loopback:
            yield ("compat",), f"{self.compat} is not loopback, such as 127.0.0.1:{COMPAT_PORT}: it asks for no token"

    def _taken(self, field: str, other: str) -> Iterator[Fault]:
        one: Address | None = getattr(self, field)
        two: Address | None = getattr(self, other)
        # 0 is any free port. One of all addresses takes the port on each.
        if one is not None and two is not None and one.port == two.port != 0:
            if one.host == two.host or not {"0.0.0.0", "::"}.isdisjoint((one.host, two.host)):
                yield (field,), f"{one} is taken by {other} already"

    def _within(self, field: str, other: str) -> Iterator[Fault]:
        # A default that is too large means nothing.
        if field in self.model_fields_set and getattr(self, field) > getattr(self, other):
            yield (field,), f"{getattr(self, field)} is more than {other}, which is {getattr(self, other)}"

    def _names(self) -> Iterator[Fault]:
        for index, host in enumerate(self.allow_host):
            if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host):
                yield ("allow_host", index), f"{host!r} is not a host's name in lower case, without scheme and port"


class Config(Model):
    """All of it."""

    settings: Settings = Field(default_factory=Settings)
    profiles: dict[str, Profile] = Field(default_factory=dict)
    """in the order of the file"""
    access: Annotated[tuple[AccessRule, ...], Field(strict=False)] = ()
    """none: who is let in may open every profile, and steer"""

    def checks(self, around: Surroundings | None) -> Iterable[Iterator[Fault]]:
        for index, rule in enumerate(self.access):
            for check in rule.checks_beside(self.profiles):
                yield ((("access", index, *where), text) for where, text in check)

    def access_of(self, device: str) -> Access | None:
        """What the device of this id may, or None where no rule fits it."""
        rules = self.access or (AccessRule(devices=("*",)),)
        rule = next((rule for rule in rules if any(fnmatchcase(device, each) for each in rule.devices)), None)
        if rule is None:
            return None
        profiles = tuple(name for name in self.profiles if rule.opens(name))
        default = rule.default or (profiles[0] if len(profiles) == 1 else None)
        return Access(profiles, default, rule.may_steer)
