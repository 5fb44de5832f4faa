"""Addresses, sizes and origins as people write them, in files and on command lines."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from tilewire.protocol.constants import MAX_PIXELS, MAX_SIDE, MIN_RECT_WIDTH

MIN_SIDE: Final = MIN_RECT_WIDTH
"""The narrowest rectangle that a device may be limited to; a smaller screen is a typing error."""

ORIGIN_PORTS: Final = {"http": 80, "https": 443}
"""Browsers leave these out of an origin."""


class Address(NamedTuple):
    """Where to listen. An IPv6 host stands here without its brackets."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect there."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Size(NamedTuple):
    """Of a screen, in pixels."""

    width: int
    height: int

    def fits(self, other: Size) -> bool:
        """Whether a screen of `other` has room for this one."""
        return self.width <= other.width and self.height <= other.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def parse_address(text: str, default_port: int) -> Address:
    """HOST:PORT, HOST, :PORT or [IPv6]:PORT. Raises ValueError with a sentence."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:{default_port}")
        try:
            IPv6Address(host)
        except ValueError:
            raise ValueError(f"{host!r} is not an IPv6 address, which brackets are for") from None
        port = rest[1:]
    elif text.count(":") == 1:
        host, port = text.split(":")
    elif ":" in text:
        raise ValueError(f"{text!r} is not HOST:PORT; an IPv6 address stands in brackets, such as [::1]:{default_port}")
    if not re.fullmatch(r"[\w.%:-]{0,253}", host, re.ASCII):
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:{default_port}")
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"{port!r} is not a port: 0 to 65535")
    return Address(host or "127.0.0.1", int(port) if port else default_port)


def parse_size(text: str) -> Size:
    """WIDTHxHEIGHT within what a panel may be. Raises ValueError with a sentence."""
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text.lower(), re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is not WIDTHxHEIGHT, such as 1024x600")
    size = Size(int(match[1]), int(match[2]))
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size) or size.width * size.height > MAX_PIXELS:
        raise ValueError(f"{text} is out of bounds: {MIN_SIDE} to {MAX_SIDE} pixels a side, {MAX_PIXELS} in all")
    return size


def parse_origin(text: str) -> str:
    """As browsers write it: lower case, without the scheme's own port or a path. Raises ValueError with a sentence."""
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:
        raise ValueError(f"{text!r} is not an origin, such as https://example.org") from None
    if text == "null" or (parts.scheme not in {"", *ORIGIN_PORTS} and parts.netloc):
        # Other schemes, such as an extension's, have no such rules, and some pages have the origin null.
        return text
    spare = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ORIGIN_PORTS or not parts.hostname or spare:
        raise ValueError(f"{text!r} is not an origin, such as https://example.org")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, ORIGIN_PORTS[parts.scheme]) else "")
