"""What `tilewire.toml` holds: settings of the server, profiles of programs, and who may open what.

The settings are declared here once. The file's keys, the environment's variables, the flags and the tables in
docs/serve-config.md are all made from these classes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from tilewire.protocol.constants import PORT
from tilewire.server.config.values import (
    COMPAT_PORT,
    CONTROL_PORT,
    Address,
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
    Size,
    Text,
    Texts,
    Words,
    wrong,
)

Where = tuple[str | int, ...]
"""A place in the document: ("profiles", "kiosk", "command", 0)."""
Fault = tuple[Where, str]
"""A place below the model that is at fault, and the sentence for it."""

Kind = Literal["command", "chromium", "firefox"]
Level = Literal["debug", "info", "warning", "error"]

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
OURS_TO_SET: Final = frozenset({"DISPLAY", "HOME", "XAUTHORITY"})
"""Variables of a program that the session decides."""
MARKS: Final = "TILEWIRE_"

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

    def faults(self) -> Iterator[Fault]:
        """What is wrong with fields that are right each for itself."""
        return iter(())

    @model_validator(mode="after")
    def _whole(self) -> Self:
        found = [InitErrorDetails(type=wrong(text), loc=where, input=None) for where, text in self.faults()]
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

    def faults(self) -> Iterator[Fault]:
        for index, scheme in enumerate(self.schemes):
            where = ("schemes", index)
            if scheme in NEEDS_A_SWITCH:
                yield where, f"{scheme}: is not a matter of schemes: write {NEEDS_A_SWITCH[scheme]} = true"
            elif scheme in NEVER:
                yield where, f"{scheme}: is never loaded: what it shows comes from the URL, not from a place"
            elif not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
                yield where, f"{scheme!r} is not a scheme: it is written as in 'https', without a colon"
        for field in ("allow_hosts", "refuse_hosts"):
            for index, pattern in enumerate(getattr(self, field)):
                if not re.fullmatch(r"[a-z0-9._\[\]:?*!-]+", pattern):
                    text = (
                        f"{pattern!r} is not a pattern of hosts, such as *.example.org: lower case, no scheme, no path"
                    )
                    yield (field, index), text if pattern.isascii() else f"{text}, ASCII (xn--)"

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
    command: Words = ()
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
    environment: dict[str, Text] = Field(default_factory=dict)
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
    """how often; then the session ends"""
    grace_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """seconds between the request to end and the kill"""

    @property
    def largest_size(self) -> Size:
        """What the X server starts with."""
        return self.largest or self.size

    def faults(self) -> Iterator[Fault]:
        if not NAME.fullmatch(self.name):
            yield (), f"{self.name!r} cannot name a profile: 1 to 64 letters, digits, - or _"
        yield from self._program_faults()
        yield from self._environment_faults()
        if self.largest is not None and not self.size.fits(self.largest):
            yield ("largest",), f"{self.largest} has no room for the size {self.size}"

    def _program_faults(self) -> Iterator[Fault]:
        if self.kind == "command":
            if not self.command:
                yield ("command",), 'the program is missing: a list of words, such as command = ["xterm"]'
            for field in (*BROWSER_FIELDS, *CHROMIUM_FIELDS):
                if field in self.model_fields_set:
                    yield (field,), f'{field} is for browsers: give kind = "chromium", or leave {field} out'
            return
        if self.kind != "chromium":
            for field in CHROMIUM_FIELDS:
                if field in self.model_fields_set:
                    yield (field,), f'{field} is for Chromium: give kind = "chromium", or leave {field} out'
        elif self.host_resolver_rules is not None and (fault := _resolver_fault(self.host_resolver_rules)):
            yield ("host_resolver_rules",), fault
        if self.kind == "chromium":
            for index, word in enumerate(self.command):
                if not word.startswith("-"):
                    yield ("command", index), f"{word!r} is not an argument of Chromium's: those begin with --"
                elif word.startswith(PIPE_FLAGS):
                    yield ("command", index), f"{word.partition('=')[0]} is the session's own to give"
        if self.url is not None and (fault := _url_fault(self.url, self.url_rules)):
            yield ("url",), fault

    def _environment_faults(self) -> Iterator[Fault]:
        for variable in self.environment:
            if not VARIABLE.fullmatch(variable):
                yield ("environment", variable), "no variable can have this name: letters, digits and _"
            elif variable in OURS_TO_SET or variable.startswith(MARKS):
                yield ("environment", variable), "this variable is the session's own to set"


def _resolver_fault(rules: str) -> str | None:
    for rule in rules.split(","):
        words = rule.split()
        if [len(words), *words[:1]] not in ([3, "MAP"], [2, "EXCLUDE"]):
            return f"{rule.strip()!r} is not a rule: MAP NAME PLACE or EXCLUDE NAME, with commas between them"
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

    devices: Annotated[Texts, Field(min_length=1)]
    """patterns of device ids, such as `lobby-*`"""
    profiles: Annotated[Texts, Field(min_length=1)] = ("*",)
    """patterns of profiles that they may open"""
    default: Line | None = None
    """the profile for a device that names none; none: the only one that it may open"""
    may_steer: bool = True
    """whether they may give input, or only look"""

    def opens(self, profile: str) -> bool:
        """Whether this rule lets its devices open `profile`."""
        return any(fnmatchcase(profile, pattern) for pattern in self.profiles)

    def faults(self) -> Iterator[Fault]:
        if self.default is not None and not self.opens(self.default):
            yield ("default",), f"{self.default!r} is not among the profiles of this rule"

    def faults_beside(self, names: Collection[str]) -> Iterator[Fault]:
        """What is wrong with it where these are the profiles."""
        for index, pattern in enumerate(self.profiles):
            # "*" is also right while there is none.
            if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
                yield ("profiles", index), f"there is no profile {pattern!r}"
        if self.default is not None and self.opens(self.default) and self.default not in names:
            yield ("default",), f"there is no profile {self.default!r}"


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
        json_schema_extra={"default": "`/var/lib/tilewire` for root, else `~/.local/state/tilewire`"},
    )
    """the folder of devices, tokens, usage and kept homes"""
    user: Line | None = None
    """the system user that programs run as, where the server is root"""
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
    """speak without TLS beyond loopback, where whoever is on the line reads along; `insecure` implies it where nothing else is said"""
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
    """handshakes that one address may begin"""
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

    def faults(self) -> Iterator[Fault]:
        if self.tls_cert is not None and self.tls_key is None:
            yield ("tls_cert",), "tls_key is missing: a certificate and its private key belong together"
        if self.tls_key is not None and self.tls_cert is None:
            yield ("tls_key",), "tls_cert is missing: a private key and its certificate belong together"
        tls = self.tls_cert is not None or self.tls_key is not None
        if self.tls_only and not tls:
            yield ("tls_only",), "it needs tls_cert and tls_key"
        elif self.tls_only and self.allow_plaintext:
            yield ("tls_only",), "it contradicts allow_plaintext: one of them has to go"
        for field, address in (("listen", self.listen), ("control", self.control)):
            if self.requires_tls(address) and not self.tls_only and not tls:
                reason = f"{address} is beyond loopback, where whoever is on the line reads along"
                yield (field,), f"{reason}: give tls_cert and tls_key, or allow_plaintext = true"
        if self.compat is not None and not self.compat.loopback:
            yield ("compat",), f"{self.compat} is not loopback, such as 127.0.0.1:{COMPAT_PORT}: it asks for no token"
        yield from self._door_faults()
        if self.max_sessions_per_device > self.max_sessions and "max_sessions_per_device" in self.model_fields_set:
            yield ("max_sessions_per_device",), f"more than the {self.max_sessions} sessions that there may be in all"
        if self.max_connections_per_address > self.max_connections and (
            "max_connections_per_address" in self.model_fields_set
        ):
            yield ("max_connections_per_address",), f"more than the {self.max_connections} of all addresses together"
        for index, host in enumerate(self.allow_host):
            if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host):
                yield ("allow_host", index), f"{host!r} is not a host's name in lower case, without scheme and port"

    def _door_faults(self) -> Iterator[Fault]:
        doors = [("listen", self.listen), ("control", self.control)]
        if self.compat is not None:
            doors.append(("compat", self.compat))
        for index, (field, address) in enumerate(doors):
            for other, taken in doors[:index]:
                # 0 is any free port. One of all addresses takes the port on each.
                if address.port == taken.port != 0 and (
                    address.host == taken.host or not {"0.0.0.0", "::"}.isdisjoint((address.host, taken.host))
                ):
                    yield (field,), f"{address} is taken by {other} already"


class Config(Model):
    """All of it."""

    settings: Settings = Field(default_factory=Settings)
    profiles: dict[str, Profile] = Field(default_factory=dict)
    """in the order of the file"""
    access: Annotated[tuple[AccessRule, ...], Field(strict=False)] = ()
    """none: who is let in may open every profile, and steer"""

    def faults(self) -> Iterator[Fault]:
        for index, rule in enumerate(self.access):
            yield from ((("access", index, *where), text) for where, text in rule.faults_beside(self.profiles))

    def access_of(self, device: str) -> Access | None:
        """What the device of this id may, or None where no rule fits it."""
        rules = self.access or (AccessRule(devices=("*",)),)
        rule = next((rule for rule in rules if any(fnmatchcase(device, each) for each in rule.devices)), None)
        if rule is None:
            return None
        profiles = tuple(name for name in self.profiles if rule.opens(name))
        default = rule.default or (profiles[0] if len(profiles) == 1 else None)
        return Access(profiles, default, rule.may_steer)
