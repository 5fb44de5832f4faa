"""URLs that a browser may be sent to: what is canonical, what is refused, in every spelling."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from tilewire.server.browser import DefaultRules, UrlRefused, check_url
from tilewire.server.browser.resolve import Names
from tilewire.server.browser.urls import MAX_URL, METADATA_NAMES, Address, host_of

WITHIN_S = 30.0
RULES = DefaultRules()
LINK_LOCAL = [IPv4Address("169.254.0.0"), IPv4Address("169.254.169.254"), IPv4Address("169.254.255.255")]


def refusal(text: str, rules: DefaultRules = RULES) -> str:
    with pytest.raises(UrlRefused) as problem:
        check_url(text, rules)
    return str(problem.value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("example.com", "https://example.com/"),
        ("example.com:8080/a?b#c", "https://example.com:8080/a?b#c"),
        ("localhost:3000", "https://localhost:3000/"),
        ("  HTTP://Example.COM:80  ", "http://example.com/"),
        ("https://example.com.", "https://example.com/"),
        ("https://example.com:443", "https://example.com/"),
        ("https://example.com:/x", "https://example.com/x"),
        ("https://bücher.example/ä?ö#ü", "https://xn--bcher-kva.example/%C3%A4?%C3%B6#%C3%BC"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example/"),
        ("https://faß.de", "https://xn--fa-hia.de/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://017700000001", "http://127.0.0.1/"),
        ("http://1.2.3.0x", "http://1.2.3.0/"),
        ("http://[::ABCD:0:0]/", "http://[::abcd:0:0]/"),
        ("http://[::ffff:8.8.8.8]", "http://[::ffff:808:808]/"),
        ("https://a_b.example/x y/%41", "https://a_b.example/x%20y/%41"),
        ("https://x/a/../b/./c/%2E%2e/d?a/../b", "https://x/b/d?a/../b"),
        ("https://x/../..", "https://x/"),
        ("https://x/a//..", "https://x/a/"),
        ("https://example.com/?q=\\", "https://example.com/?q=%5C"),
        ("about:blank", "about:blank"),
    ],
)
def test_canonical(text: str, canonical: str) -> None:
    assert check_url(text, RULES) == canonical
    assert check_url(canonical, RULES) == canonical


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no URL"),
        ("file:///etc/passwd", "file: is not allowed"),
        ("FILE:/etc/passwd", "file: is not allowed"),
        ("chrome://version", "chrome: is not allowed"),
        ("devtools://x", "devtools: is not allowed"),
        ("about:version", "about: is not allowed"),
        ("javascript:alert(1)", "javascript: is never loaded"),
        ("javascript:1", "javascript: is never loaded"),
        ("data:text/html,x", "data: is never loaded"),
        ("view-source:https://example.com", "view-source: is never loaded"),
        ("blob:https://example.com/x", "blob: is never loaded"),
        ("ftp://example.com", "ftp: is not allowed"),
        ("foo:bar", "foo: is not allowed"),
        ("user:secret@example.com", "user: is not allowed"),
        ("https://user:secret@example.com", "user name or password"),
        ("https://example.com@169.254.169.254/", "user name or password"),
        ("https:\\\\example.com", "two slashes"),
        ("https:/example.com", "two slashes"),
        ("https:///example.com", "without a host"),
        ("//example.com", "names no host"),
        ("/etc/passwd", "names no host"),
        ("https://example.com\\@evil.example", "no backslashes"),
        ("https://example.com/a\\b", "no backslashes"),
        ("https://exa\nmple.com", "no line ends"),
        ("https://example.com/\r\nSet-Cookie: a", "no line ends"),
        ("https://example.com/\t", "no line ends"),
        ("java\nscript:alert(1)", "no line ends"),
        ("\x00https://example.com", "no line ends"),
        ("--no-sandbox", "is a flag"),
        (" --load-extension=/tmp/x", "is a flag"),
        ("https://%65xample.com", "is escaped"),
        ("https://exa mple.com", "is not a host"),
        ("https://-x.example", "is not a host"),
        ("https://a..b", "is not a host"),
        ("https://example.com:99999", "is not a port"),
        ("https://example.com:٨٠", "is not a port"),
        ("https://1.2.3.4.5", "is not an IPv4 address"),
        ("https://256.1", "is not an IPv4 address"),
        ("https://a.09", "is not an IPv4 address"),
        ("https://[::1", "is not a host"),
        ("https://[fe80::1%25eth0]/", "is not an IPv6 address"),
        ("https://metadata.google.internal./computeMetadata/", "machines' credentials"),
        ("https://METADATA.google.internal", "machines' credentials"),
        ("https://[fd00:ec2::254]/latest", "machines' credentials"),
        ("http://[fe80::1]/", "link-local"),
        ("http://[FEBF:ffff::]/", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://[::169.254.1.1]/", "link-local"),
        ("http://[64:ff9b::a9fe:a9fe]/", "link-local"),
        ("http://[2002:a9fe:a9fe::1]/", "link-local"),
        ("http://１６９．２５４．１６９．２５４/", "link-local"),
        ("http://169。254。169。254/", "link-local"),
        ("https://x/" + "a" * MAX_URL, "characters at most"),
    ],
)
def test_refused(text: str, why: str) -> None:
    assert why in refusal(text)


def test_the_length_is_bounded() -> None:
    longest = "https://x/" + "a" * (MAX_URL - 10)
    assert check_url(longest, RULES) == longest
    assert "characters at most" in refusal(longest + "a")
    # Escaped it is three times as long.
    assert "characters at most" in refusal("https://x/" + "ä" * (MAX_URL // 3))


def test_rules_say_more_or_less() -> None:
    more = DefaultRules(allow_file=True, allow_internal=True, allow_link_local=True)
    assert check_url("file:///srv/a b.html", more) == "file:///srv/a%20b.html"
    assert check_url("chrome://gpu", more) == "chrome://gpu"
    assert check_url("http://0xa9fea9fe", more) == "http://169.254.169.254/"
    assert "never loaded" in refusal("view-source:file:///etc/passwd", more)
    assert "never loaded" in refusal("javascript:1", DefaultRules(schemes=("http", "https", "javascript")))
    less = DefaultRules(schemes=("https",), allow_hosts=("*.example.com",), refuse_hosts=("x.*",))
    assert check_url("a.example.com", less) == "https://a.example.com/"
    assert "http: is not allowed" in refusal("http://a.example.com", less)
    assert "by the profile's rules" in refusal("example.com", less)
    assert "by the profile's rules" in refusal("x.example.com", less)


@given(st.text() | st.text(alphabet="htps:/.@[]%\\0x19f?#-aé。 \n", max_size=40))
@example("https://[::1]:1:1")
@example("0")
def test_any_text_is_canonical_or_refused(text: str) -> None:
    try:
        url = check_url(text, RULES)
    except UrlRefused as problem:
        url = str(problem)
        refused = True
    else:
        refused = False
    assert url.isprintable()
    if refused:
        return
    assert check_url(url, RULES) == url
    assert url == "about:blank" or re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?/[!-~]*", url)


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A link-local address in a spelling that some browser takes for it."""
    address = draw(st.sampled_from(LINK_LOCAL) | st.builds(IPv4Address, st.integers(0xA9FE0000, 0xA9FEFFFF)))
    if draw(st.booleans()):
        host = draw(ipv4_spellings(address))
    else:
        inside = draw(st.sampled_from(["::ffff:", "::", "64:ff9b::"]))
        low = int(address)
        text = draw(
            st.sampled_from([str(address), f"{low >> 16:x}:{low & 0xFFFF:x}", f"{low >> 16:X}:{low & 0xFFFF:x}"])
        )
        network = IPv6Address(0xFE80 << 112 | draw(st.integers(0, 2**118 - 1)))
        host = f"[{draw(st.sampled_from([inside + text, str(network), network.exploded.upper()]))}]"
    scheme = draw(st.sampled_from(["http://", "https://", "HTTPS://", ""]))
    if host.startswith("[") and not scheme:
        scheme = "http://"
    port = draw(st.sampled_from(["", ":", ":80", ":8080"]))
    return f"{scheme}{host}{port}{draw(st.sampled_from(['', '/', '/latest/meta-data', '?x', '#y']))}"


@st.composite
def ipv4_spellings(draw: st.DrawFn, address: IPv4Address) -> str:
    """One to four parts, each decimal, octal or hexadecimal, digits and dots narrow or wide."""
    packed, parts = address.packed, draw(st.integers(1, 4))
    numbers = [*packed[: parts - 1], int.from_bytes(packed[parts - 1 :], "big")]

    def written(number: int) -> str:
        zeros = "0" * draw(st.integers(0, 3))
        return draw(st.sampled_from([f"{number}", f"0{zeros}{number:o}", f"0x{zeros}{number:x}", f"0X{number:X}"]))

    text = draw(st.sampled_from([".", "。", "．"])).join(map(written, numbers)) + draw(st.sampled_from(["", "."]))
    if draw(st.booleans()):
        text = text.translate({ord("0") + digit: ord("０") + digit for digit in range(10)})
    return text


@given(spellings())
def test_no_spelling_reaches_a_link_local_host(text: str) -> None:
    why = refusal(text)
    assert "link-local" in why
    # The same place is found where it is allowed: it was understood, not misread.
    host = host_of(check_url(text, DefaultRules(allow_link_local=True)))
    assert host is not None


@pytest.mark.parametrize("name", METADATA_NAMES)
def test_metadata_names(name: str) -> None:
    for text in (name, f"{name}.", name.upper(), f"http://{name}:80/x"):
        assert "credentials" in refusal(text)


async def test_names_that_lead_to_link_local_addresses() -> None:
    places: dict[str, list[Address]] = {
        "evil.example": [IPv4Address("192.0.2.1"), IPv4Address("169.254.169.254")],
        "good.example": [IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")],
    }

    async def lookup(host: str) -> list[Address]:
        return places.get(host, [])

    names = Names(RULES, "MAP mapped.example 127.0.0.1:1, MAP *.wild.example:443 ~NOTFOUND", lookup)
    with pytest.raises(UrlRefused, match=r"evil\.example leads to 169\.254\.169\.254"):
        await names.check("evil.example")
    for host in ("good.example", "unknown.example", "mapped.example", "a.wild.example", "10.0.0.1", "::1"):
        await names.check(host)
    assert names.lookups == 3
    # Remembered, for better or worse.
    places["good.example"] = [IPv4Address("169.254.0.1")]
    await names.check("good.example")
    with pytest.raises(UrlRefused):
        await names.check("evil.example")
    assert names.lookups == 3
    await Names(DefaultRules(allow_link_local=True), "", lookup).check("evil.example")


async def test_a_slow_resolver_is_not_waited_for(autojump_clock: object) -> None:

    async def lookup(host: str) -> list[Address]:
        await trio.sleep(WITHIN_S)
        return []

    before_s = trio.current_time()
    await Names(RULES, "", lookup).check("slow.example")
    assert trio.current_time() - before_s == pytest.approx(1.0)
