"""Names that lead to addresses which are refused themselves."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Final

import trio

from tilewire.server.browser.errors import UrlRefused
from tilewire.server.browser.urls import Address, Rules, check_address

RESOLVE_S: Final = 1.0
"""A lookup that takes longer is not waited for: the browser's own will be as slow, and may fail."""
REMEMBER_S: Final = 30.0
"""Browsers keep a name for a minute."""
MAX_NAMES: Final = 256

Lookup = Callable[[str], Awaitable[list[Address]]]


async def look_up(host: str) -> list[Address]:
    """The system's addresses for a name; none where it has none."""
    try:
        found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ip_address(str(place[0]).partition("%")[0]) for *_, place in found]


class Names:
    """Judges hosts by where they lead."""

    def __init__(self, rules: Rules, host_resolver_rules: str = "", lookup: Lookup = look_up) -> None:
        """`host_resolver_rules`: Chromium's; what they map is not looked up there, so not here."""
        self._rules = rules
        self._lookup = lookup
        words = [rule.split() for rule in host_resolver_rules.split(",")]
        self._mapped = [rule[1].lower() for rule in words if len(rule) == 3 and rule[0].upper() == "MAP"]
        self._excluded = [rule[1].lower() for rule in words if len(rule) == 2 and rule[0].upper() == "EXCLUDE"]
        self._known: dict[str, tuple[float, str | None]] = {}
        self.lookups = 0

    async def check(self, host: str) -> None:
        """Raise UrlRefused where the name leads to a link-local or metadata address. Other failures are no refusal."""
        if self._rules.allow_link_local or _is_address(host) or self._is_mapped(host):
            return
        until_s, why = self._known.get(host, (-1.0, None))
        if until_s < trio.current_time():
            why = await self._judge(host)
            while len(self._known) >= MAX_NAMES:
                del self._known[next(iter(self._known))]
            self._known[host] = (trio.current_time() + REMEMBER_S, why)
        if why is not None:
            raise UrlRefused(why)

    async def _judge(self, host: str) -> str | None:
        self.lookups += 1
        with trio.move_on_after(RESOLVE_S):
            for address in await self._lookup(host):
                try:
                    check_address(host, address, self._rules)
                except UrlRefused as refusal:
                    return str(refusal)
        return None

    def _is_mapped(self, host: str) -> bool:
        def among(patterns: list[str]) -> bool:
            return any(fnmatchcase(host, pattern.partition(":")[0]) for pattern in patterns)

        return among(self._mapped) and not among(self._excluded)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
