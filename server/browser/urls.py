"""Which URLs a browser may be sent to, and the one spelling of each that it is given.

Pure. Browsers read URLs in many ways (the URL Standard: backslashes are slashes, `0xa9fe` is half an address, a
full-width dot is a dot), and a rule about hosts is worth as little as its weakest reading. So what comes out is built
anew from parts that were understood: a scheme, a host in lower case ASCII or an address in its one canonical form, a
port, and the rest with everything outside printable ASCII escaped. What the standard repairs in silence (backslashes,
missing slashes, line ends) is refused; nobody types it by accident where a host begins.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Protocol
from urllib.parse import quote, unquote

import idna

from tilewire.server.browser.errors import UrlRefused

MAX_URL: Final = 8192
"""Characters. Chromium takes 2 MiB; servers begin to refuse at 8 KiB (nginx, Apache)."""
MAX_HOST: Final = 253
"""RFC 1035: 255 octets with the length bytes."""
BLANK: Final = "about:blank"
"""No page at all: always allowed."""
SHOWN: Final = 120
"""So much of a URL stands in a sentence."""

WEB: Final = ("http", "https")
FILES: Final = ("file",)
INTERNAL: Final = ("chrome", "chrome-untrusted", "devtools", "chrome-extension", "about")
"""The browser's own pages."""
NEVER: Final = ("javascript", "data", "blob", "view-source", "filesystem", "vbscript", "feed")
"""Whatever the rules say: what they show comes from the URL or lies behind another one."""

LINK_LOCAL: Final = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))
METADATA_ADDRESSES: Final = (
    IPv4Address("100.100.100.200"),  # Alibaba Cloud
    IPv4Address("192.0.0.192"),  # Oracle Cloud, before it moved to link-local
    IPv6Address("fd00:ec2::254"),  # Amazon
    IPv6Address("fd20:ce::254"),  # Google
)
"""Where clouds keep their machines' credentials, besides link-local addresses."""
METADATA_NAMES: Final = (
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
)

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_PORT_FOLLOWS: Final = re.compile(r"\d+(?:[/?#]|$)")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""C0, DEL, C1, the two line ends of Unicode, and halves of characters."""
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PATH_SAFE: Final = "/%:@!$&'()*+,;=-._~"
_QUERY_SAFE: Final = _PATH_SAFE.replace("'", "") + "?"
_FRAGMENT_SAFE: Final = _PATH_SAFE + "?"

Address = IPv4Address | IPv6Address


class Rules(Protocol):
    """What a profile says about URLs (`tilewire.server.config.UrlRules`)."""

    @property
    def schemes(self) -> Collection[str]: ...
    @property
    def refuse_hosts(self) -> Collection[str]: ...
    @property
    def allow_file(self) -> bool: ...
    @property
    def allow_internal(self) -> bool: ...
    @property
    def allow_link_local(self) -> bool: ...
    def allows_host(self, host: str) -> bool:
        """Whether the patterns let `host` through: lower case ASCII, an IPv6 address without brackets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultRules:
    """What holds where a profile says nothing."""

    schemes: tuple[str, ...] = WEB
    allow_hosts: tuple[str, ...] = ()
    refuse_hosts: tuple[str, ...] = ()
    allow_file: bool = False
    allow_internal: bool = False
    allow_link_local: bool = False

    def allows_host(self, host: str) -> bool:
        """Whether the patterns let `host` through."""
        if any(fnmatchcase(host, pattern) for pattern in self.refuse_hosts):
            return False
        return not self.allow_hosts or any(fnmatchcase(host, pattern) for pattern in self.allow_hosts)


def check_url(text: str, rules: Rules) -> str:
    """The canonical form of a URL that may be loaded; one without a scheme gets https:// in front.

    Printable ASCII, at most MAX_URL characters. Checked again it is the same. Raises UrlRefused.
    """
    scheme, rest = _scheme(_plain(text))
    if scheme == "about" and rest == "blank":
        return BLANK
    _check_scheme(scheme, rules)
    if scheme not in WEB:
        return _fitting(f"{scheme}:{quote(rest, safe=_QUERY_SAFE + '#')}")
    if not rest.startswith("//"):
        raise UrlRefused(f"{_shown(text)} is not a URL: after {scheme}: there are two slashes and a host")
    authority, tail = _split(rest[2:], "/?#")
    host, port = _authority(authority)
    _check_host(host, rules)
    address = _address(host)
    place = f"[{address}]" if isinstance(address, IPv6Address) else host
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        place += f":{port}"
    return _fitting(f"{scheme}://{place}{_tail(tail)}")


def host_of(url: str) -> str | None:
    """The host of a canonical URL, an IPv6 address without brackets; None where it has none."""
    scheme, rest = _scheme(url)
    if scheme not in WEB:
        return None
    authority, _ = _split(rest[2:], "/?#")
    return _authority(authority)[0]


def shortened(text: str) -> str:
    """For a sentence."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def check_address(host: str, address: Address, rules: Rules) -> None:
    """Raise UrlRefused where a name leads to an address that would be refused itself."""
    if not rules.allow_link_local and (why := _why_internal(address)) is not None:
        raise UrlRefused(f"the host {host} leads to {address}, {why}")


def refused_by_resolver() -> tuple[str, ...]:
    """Patterns of hosts, as Chromium's resolver sees them, that are refused where link-local ones are.

    A name that begins with `169.254.` is refused as well: such names lead to the address that they begin with.
    """
    return (
        "169.254.*",
        *(f"fe{digit}*:*" for digit in "89ab"),
        "::ffff:a9fe:*",
        *map(str, METADATA_ADDRESSES),
        *METADATA_NAMES,
        *(f"{name}." for name in METADATA_NAMES),
    )


# The parts.


def _plain(text: str) -> str:
    """`text` without spaces around it; refused where it could be more than one URL."""
    text = text.strip(" ")
    if not text:
        raise UrlRefused("there is no URL")
    if _UNPRINTABLE.search(text):
        raise UrlRefused("a URL has no line ends and no control characters")
    if text.startswith("-"):
        raise UrlRefused(f"{_shown(text)} is a flag, not a URL")
    return _fitting(text)


def _fitting(text: str) -> str:
    if len(text) > MAX_URL:
        raise UrlRefused(f"a URL has {MAX_URL} characters at most")
    return text


def _scheme(text: str) -> tuple[str, str]:
    """Scheme in lower case, and what follows the colon; https for `host`, `host:port` and `//host`."""
    if found := _SCHEME.fullmatch(text):
        scheme, rest = found[1].lower(), found[2]
        known = scheme in (*WEB, *FILES, *INTERNAL, *NEVER)
        if known or not _PORT_FOLLOWS.match(rest):
            return scheme, rest
    if text.startswith(("/", "\\", "?", "#")):
        raise UrlRefused(f"{_shown(text)} names no host")
    return "https", f"//{text}"


def _check_scheme(scheme: str, rules: Rules) -> None:
    if scheme in NEVER:
        raise UrlRefused(f"{scheme}: is never loaded")
    if scheme in FILES:
        allowed = rules.allow_file
    elif scheme in INTERNAL:
        allowed = rules.allow_internal
    else:
        allowed = scheme in rules.schemes
    if not allowed:
        raise UrlRefused(f"{scheme[:SHOWN]}: is not allowed here")


def _split(text: str, ends: str) -> tuple[str, str]:
    at = min((found for end in ends if (found := text.find(end)) >= 0), default=len(text))
    return text[:at], text[at:]


def _authority(text: str) -> tuple[str, int | None]:
    """Host and port. Raises UrlRefused."""
    if "\\" in text:
        raise UrlRefused("a URL has slashes, no backslashes")
    if "@" in text:
        raise UrlRefused("a URL with a user name or password is refused: what looks like its host may be neither")
    if text.startswith("["):
        literal, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UrlRefused(f"{_shown(text)} is not a host")
        host, digits = _ipv6(literal), rest[1:]
    else:
        name, _, digits = text.partition(":")
        host = _name(name)
    if not digits:
        return host, None
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 5 or int(digits) > 65535:
        raise UrlRefused(f"{_shown(digits)} is not a port")
    return host, int(digits)


def _ipv6(literal: str) -> str:
    try:
        # With a zone (%eth0) Python takes it, browsers do not.
        if "%" in literal:
            raise ValueError
        return str(IPv6Address(literal))
    except ValueError:
        raise UrlRefused(f"[{_shown(literal)}] is not an IPv6 address") from None


def _name(name: str) -> str:
    """A host as browsers see it: UTS 46, not transitional, lower case; addresses dotted. Raises UrlRefused."""
    if not name:
        raise UrlRefused("a URL without a host")
    if "%" in name:
        raise UrlRefused(f"the host {_shown(name)} is escaped")
    try:
        # Browsers map before they look for digits: full-width ones are digits.
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False).removesuffix(".")
    except idna.IDNAError:
        raise UrlRefused(f"{_shown(name)} is not a host") from None
    host = ".".join(
        label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in mapped.split(".")
    )
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # The standard: a name that ends in a number is an address, or nothing.
        return str(_ipv4(labels, name))
    if len(host) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused(f"{_shown(name)} is not a host")
    return host


def _ipv4(labels: list[str], name: str) -> IPv4Address:
    """One to four numbers, decimal, octal or hexadecimal, the last of which fills what is left (inet_aton)."""
    try:
        numbers = [_number(label) for label in labels]
        *leading, last = numbers
        if len(numbers) > 4 or any(number > 255 for number in leading) or last >= 256 ** (5 - len(numbers)):
            raise ValueError
    except ValueError:
        raise UrlRefused(f"{_shown(name)} is not an IPv4 address") from None
    return IPv4Address(sum(number << (24 - 8 * index) for index, number in enumerate(leading)) + last)


def _number(label: str) -> int:
    if not _NUMBER.fullmatch(label):
        raise ValueError
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if label.startswith("0") else 10)


def _tail(text: str) -> str:
    """Path, query and fragment."""
    path, rest = _split(text, "?#")
    if "\\" in path:
        raise UrlRefused("a URL has slashes, no backslashes")
    query, fragment = _split(rest, "#")
    escaped = quote(_straight(path), safe=_PATH_SAFE) + quote(query, safe=_QUERY_SAFE)
    return escaped + (f"#{quote(fragment[1:], safe=_FRAGMENT_SAFE)}" if fragment else "")


def _straight(path: str) -> str:
    """A path without `.` and `..`, also where these are escaped. At the end they name a folder."""
    kept: list[str] = []
    dots = ""
    for part in path.split("/")[1:]:
        dots = part.lower().replace("%2e", ".")
        if dots == "..":
            del kept[-1:]
        elif dots != ".":
            kept.append(part)
    return "/" + "/".join([*kept, ""] if dots in (".", "..") else kept)


# What is refused.


def _check_host(host: str, rules: Rules) -> None:
    address = _address(host)
    if not rules.allow_link_local:
        if host in METADATA_NAMES:
            raise UrlRefused(f"the host {host} is refused: it is where clouds keep their machines' credentials")
        if address is not None and (why := _why_internal(address)) is not None:
            raise UrlRefused(f"the host {address} is refused: {why}")
    if not rules.allows_host(host):
        raise UrlRefused(f"the host {host} is refused by the profile's rules")


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _why_internal(address: Address) -> str | None:
    """A clause for a link-local or metadata address, also where another one carries it; else None."""
    for inner in carried_addresses(address):
        if any(inner in network for network in LINK_LOCAL):
            return f"it is link-local ({inner})" if inner != address else "it is link-local"
        if inner in METADATA_ADDRESSES:
            return "it is where clouds keep their machines' credentials"
    return None


def carried_addresses(address: Address) -> Iterator[Address]:
    """The address, and IPv4 addresses inside an IPv6 one: gateways and the system's own stack unpack them."""
    yield address
    if isinstance(address, IPv4Address):
        return
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None or int(address) >> 32 == 0:
        yield low  # ::ffff:a.b.c.d, and ::a.b.c.d of old
    if address in IPv6Network("64:ff9b::/96") or address in IPv6Network("64:ff9b:1::/48"):
        yield low  # NAT64
    if address.sixtofour is not None:
        yield address.sixtofour


def _shown(text: str) -> str:
    """For a sentence: nothing that a terminal or a log would act on."""
    return ascii(shortened(unquote(text) if text.isascii() else text))
