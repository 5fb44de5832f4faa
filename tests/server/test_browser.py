"""A real Chromium on a real Xvfb, driven over its pipe; its web is this process, found by --host-resolver-rules.

One browser for the whole module: it takes a second to start. So each test leaves a page behind that the next replaces.
"""

from __future__ import annotations

import fcntl
import functools
import http.server
import json
import os
import queue
import signal
import ssl
import tempfile
import threading
import urllib.parse
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trio.testing
from Xlib import XK, X
from Xlib import display as xdisplay
from Xlib.ext import xtest

from tilewire.server.browser import (
    PIPE_IN,
    PIPE_OUT,
    Browser,
    BrowserError,
    BrowserGone,
    DefaultRules,
    LoadFailed,
    Spot,
    UrlRefused,
    check_url,
    chromium_command,
    firefox_command,
    has_sandbox,
    open_browser,
    trust_certificates,
)
from tilewire.server.browser.urls import host_of
from tilewire.server.xvfb import XvfbServer, start_xvfb

from tests.certificates import Authority
from tests.support import WITHIN_S, tasks

SIZE: Final = (640, 400)
RULES: Final = DefaultRules(refuse_hosts=("refused.test",))
"""Like a profile's; everything under .test and example.com leads to this process."""
TOUCH_PAGE: Final = """<meta name=viewport content="width=device-width"><title>touch</title>
<body style="margin:0;height:3000px;touch-action:pan-x pan-y pinch-zoom"><script>
const log = [];
for (const kind of ["touchstart", "touchmove", "touchend", "touchcancel"])
  addEventListener(kind, e => {
    // The screen's pixels, though the page thinks in units of its scale.
    const spot = t => [t.identifier, Math.round(t.screenX * SCALE), Math.round(t.screenY * SCALE)];
    log.push([kind, [...e.touches].map(spot)]);
    if (e.touches.length) return;
    fetch("/told", {method: "POST", body: JSON.stringify([log, devicePixelRatio, navigator.maxTouchPoints])});
    log.length = 0;
  });
</script>"""
"""Tells what fingers did once none is left."""


@dataclass
class Profile:
    """What `chromium_command` reads of one."""

    command: tuple[str, ...] = ()
    url_rules: DefaultRules = RULES
    host_resolver_rules: str | None = None
    scale: float = 1.0
    locale: str = "C.UTF-8"


# The web.


class Web(http.server.ThreadingHTTPServer):
    """Pages, and what was asked of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Pages)
        self.asked: Counter[str] = Counter()
        self.told: list[Any] = []
        self.urls: list[str] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Browsers end connections when they like."""


class Pages(http.server.BaseHTTPRequestHandler):
    """One page for each test."""

    protocol_version = "HTTP/1.1"
    server: Web

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked[self.headers["Host"] + self.path] += 1
        if self.path == "/told":
            self.server.told.append(json.loads(text))
        self._answer("", 200)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.server.asked[self.headers["Host"] + path] += 1
        match path:
            case "/html":
                self._answer(urllib.parse.unquote(query), 200)
            case "/nothing":
                self._answer("", 204)
            case "/missing":
                self._answer("<title>missing</title>", 404)
            case "/redirect":
                self._answer("", 302, Location=urllib.parse.unquote(query))
            case "/download":
                self._answer("data", 200, **{"Content-Type": "application/octet-stream"})
            case "/slow":
                # Until the browser gives up.
                self.connection.settimeout(WITHIN_S)
                self.rfile.read(1)
                self.close_connection = True
            case "/empty":
                self.close_connection = True
            case "/urls":
                self._answer(json.dumps(self.server.urls), 200)
            case "/title":
                self._answer(f"<title>{urllib.parse.unquote(query)}</title>", 200)
            case _:
                self._answer(f"<title>{path}</title>{path}", 200)

    def _answer(self, text: str, status: int, **headers: str) -> None:
        data = text.encode()
        self.send_response(status)
        usual = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(data))}
        for name, value in (usual | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def web(context: ssl.SSLContext | None = None) -> Iterator[Web]:
    """Serve on a port of loopback's."""
    server = Web()
    if context is not None:
        # Not in the loop that accepts: browsers open connections that they may never use.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


# The browser.


@dataclass
class Kiosk:
    """A browser, its web, and its process. Lives in a thread of its own: trio's fixtures live for one test only."""

    browser: Browser
    web: Web
    secure: Web
    untrusted: Web
    pid: int
    display: str
    rules: DefaultRules
    token: trio.lowlevel.TrioToken

    def url(self, html: str, host: str = "a.test") -> str:
        """Of a page with this content."""
        return f"http://{host}/html?{urllib.parse.quote(html)}"

    async def until(self, condition: Callable[[], Awaitable[object]]) -> None:
        """Return once it holds."""
        with trio.fail_after(WITHIN_S):
            while not await condition():  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.01)

    async def until_url(self, url: str) -> None:
        """Return once the page is there, whoever sent the browser to it."""

        async def there() -> bool:
            return (await self.browser.page()).url == url

        await self.until(there)

    async def told(self) -> Any:
        """What a page posted."""

        async def something() -> object:
            return self.web.told

        await self.until(something)
        return self.web.told.pop(0)

    async def fails(self, url: str, why: str, timeout_s: float = WITHIN_S) -> None:
        """Load what cannot be."""
        with pytest.raises(LoadFailed, match=why):
            await self.browser.load(url, timeout_s)


def driven(test: Callable[[Kiosk], Awaitable[None]]) -> Callable[[Kiosk], None]:
    """A test that runs where the browser is driven."""

    @functools.wraps(test)
    def run(kiosk: Kiosk) -> None:
        async def patiently() -> None:
            before = tasks()
            with trio.fail_after(2 * WITHIN_S):
                await test(kiosk)
                # Judging a document may be under way; nothing else is.
                while tasks() != before:  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(0.01)

        trio.from_thread.run(patiently, trio_token=kiosk.token)

    return run


@contextmanager
def spawned(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[tuple[int, int, int]]:
    """A browser with a pipe at its descriptors 3 and 4: pid, and our two ends. Stands in for the launcher."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    # High numbers: what is to become 3 must not lie at 4.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in (theirs_in, theirs_out)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, nowhere, 1), (os.POSIX_SPAWN_DUP2, nowhere, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, number) for fd, number in zip(high, (PIPE_IN, PIPE_OUT), strict=True)]
    pid = os.posix_spawnp(command[0], list(command), dict(environment), file_actions=actions, setsid=True)
    for fd in (theirs_in, theirs_out, nowhere, *high):
        os.close(fd)
    try:
        yield pid, ours_out, ours_in
    finally:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@asynccontextmanager
async def chromium(
    home: Path, xvfb: XvfbServer, profile: Profile, *prefix: str, size: tuple[int, int] = SIZE
) -> AsyncIterator[tuple[Browser, int]]:
    """A driven Chromium; at the block's end no task is left. `prefix`: who it runs as."""
    command = chromium_command(profile, home=home, size=size, as_root=os.geteuid() == 0 and not prefix)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", "DISPLAY": xvfb.display_name}
    if prefix:
        # The cookie's own file is in a folder of this user's alone.
        cookie = home / "Xauthority"
        cookie.write_bytes(xvfb.xauthority.read_bytes())
        os.chown(cookie, USER, -1)
        environment["XAUTHORITY"] = str(cookie)
    before = tasks()
    with spawned([*prefix, *command], environment) as (pid, writing, reading):
        send, receive = trio.lowlevel.FdStream(writing), trio.lowlevel.FdStream(reading)
        resolver = profile.host_resolver_rules
        async with open_browser(send, receive, rules=profile.url_rules, host_resolver_rules=resolver) as browser:
            yield browser, pid
    assert tasks() == before


def tls(authority: Authority, name: str) -> ssl.SSLContext:
    """A server's, with a certificate for this name."""
    identity = authority.issue(name, names=f"DNS:{name}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def resolver_rules(web: Web, secure: Web, untrusted: Web) -> str:
    """Where the names of these tests lead."""
    ports = {"example.com": secure, "untrusted.test": untrusted, "*": web}
    rules = [f"MAP {name} 127.0.0.1:{server.server_port}" for name, server in ports.items()]
    return ", ".join(["MAP gone.test 127.0.0.1:1", "MAP unknown.test ~NOTFOUND", *rules])


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kiosk]:
    home = tmp_path_factory.mktemp("home")
    authority, stranger = Authority(home), Authority(home, "stranger")
    contexts = [tls(authority, "example.com"), tls(stranger, "untrusted.test")]
    with web() as plain, web(contexts[0]) as secure, web(contexts[1]) as untrusted:
        profile = Profile(host_resolver_rules=resolver_rules(plain, secure, untrusted))
        ready, done = queue.SimpleQueue[Kiosk | BaseException](), threading.Event()

        async def live() -> None:
            await trust_certificates(home, [authority.certificate])
            async with start_xvfb(*SIZE) as xvfb, chromium(home, xvfb, profile) as (browser, pid):
                token = trio.lowlevel.current_trio_token()
                ready.put(Kiosk(browser, plain, secure, untrusted, pid, xvfb.display_name, profile.url_rules, token))
                await trio.to_thread.run_sync(done.wait)

        def stay() -> None:
            try:
                trio.run(live)
            except BaseException as problem:
                ready.put(problem)
                raise

        thread = threading.Thread(target=stay)
        thread.start()
        made = ready.get()
        assert isinstance(made, Kiosk), made
        yield made
        done.set()
        thread.join()


# Loads.


@driven
async def test_a_load_returns_when_the_page_has_committed(kiosk: Kiosk) -> None:
    page = await kiosk.browser.load("example.com/title?Gr%C3%BC%C3%9Fe")
    assert page.url == "https://example.com/title?Gr%C3%BC%C3%9Fe"
    assert kiosk.secure.asked["example.com/title"] == 1
    # At the commit the title may be still to come.
    await kiosk.until(lambda: titled(kiosk, "Grüße"))
    assert (page.width, page.height) == (SIZE[0] + 1, SIZE[1] + 1)
    # Within the document nothing is fetched.
    page = await kiosk.browser.load(f"{page.url}#below")
    assert page.url == "https://example.com/title?Gr%C3%BC%C3%9Fe#below"
    assert kiosk.secure.asked["example.com/title"] == 1
    await kiosk.browser.reload()
    assert kiosk.secure.asked["example.com/title"] == 2
    assert (await kiosk.browser.load("http://a.test/missing")).url == "http://a.test/missing"
    assert (await kiosk.browser.load("http://a.test/redirect?http%3A//b.test/x")).url == "http://b.test/x"
    # Halves of characters that a script puts there are no characters for anybody else.
    await kiosk.browser.load(kiosk.url(r"<script>document.title = 'x\ud800y'</script>"))
    await kiosk.until(lambda: titled(kiosk, "x\ufffdy"))


async def titled(kiosk: Kiosk, title: str) -> bool:
    return (await kiosk.browser.page()).title == title


@driven
async def test_what_cannot_be_loaded_is_said_plainly(kiosk: Kiosk) -> None:
    await kiosk.fails("https://untrusted.test/", r"authority that is not trusted \(ERR_CERT_AUTHORITY_INVALID\)")
    # The visible URL is the one asked for, over an error page; nothing was asked of the server.
    assert (await kiosk.browser.page()).url == "https://untrusted.test/"
    assert kiosk.untrusted.asked == {}
    await kiosk.fails("http://a.test/nothing", "nothing to show")
    await kiosk.fails("http://a.test/download", "is a download")
    await kiosk.fails("http://a.test/empty", "answered with nothing")
    await kiosk.fails("http://gone.test/", "nobody listens")
    await kiosk.fails("http://unknown.test/", "host is not known")
    await kiosk.fails("http://a.test:22/", "refuse this port")
    await kiosk.fails("http://a.test/slow", r"did not answer within 0\.2 s", timeout_s=0.2)
    with pytest.raises(UrlRefused):
        await kiosk.browser.load("file:///etc/passwd")
    assert (await kiosk.browser.load("http://a.test/after")).url == "http://a.test/after"


@driven
async def test_of_two_loads_the_newer_wins(kiosk: Kiosk) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kiosk.fails, "http://a.test/slow", "a newer load took its place")
        # Both before and after the browser has begun with the first.
        await asked(kiosk, "a.test/slow")
        nursery.start_soon(kiosk.fails, "http://b.test/slow", "a newer load took its place")
        await trio.testing.wait_all_tasks_blocked()
        page = await kiosk.browser.load("http://a.test/newer")
    assert page.url == (await kiosk.browser.page()).url == "http://a.test/newer"


async def asked(kiosk: Kiosk, what: str, times: int = 1) -> None:
    async def enough() -> bool:
        return kiosk.web.asked[what] >= times

    await kiosk.until(enough)


@driven
async def test_a_cancelled_load_leaves_a_browser_that_loads(kiosk: Kiosk) -> None:
    with trio.move_on_after(0.05):
        await kiosk.browser.load("http://c.test/slow")
    assert (await kiosk.browser.load("http://c.test/after")).url == "http://c.test/after"


# The rules, inside.


@driven
async def test_no_page_leads_to_a_refused_url(kiosk: Kiosk) -> None:
    documents = kiosk.browser.documents
    await kiosk.fails(
        "http://a.test/redirect?http%3A//169.254.169.254/latest", "169.254.169.254 is refused: it is link"
    )
    await kiosk.fails("http://a.test/redirect?http%3A//refused.test/x", "by the profile's rules")
    # Two hops each, and nothing else was judged.
    assert kiosk.browser.documents == documents + 4
    for script in (
        "location = 'http://refused.test/script'",
        "document.write('<a id=a href=http://refused.test/link>x</a>'); a.click()",
        "document.write('<iframe src=http://refused.test/frame></iframe>')",
        "document.write('<form id=f method=post action=http://refused.test/form></form>'); f.submit()",
        "document.write('<meta http-equiv=refresh content=\"0;http://refused.test/refresh\">')",
    ):
        judged = kiosk.browser.documents
        await kiosk.browser.load(kiosk.url(f"<script>{script}</script>"))

        async def another() -> bool:
            return kiosk.browser.documents == judged + 2  # noqa: B023

        await kiosk.until(another)
    await kiosk.browser.load("http://a.test/after")
    assert [place for place in kiosk.web.asked if place.startswith("refused.test")] == []


@driven
async def test_what_is_no_document_is_not_found_where_it_is_link_local(kiosk: Kiosk) -> None:
    hosts = ["169.254.169.254", "0xa9fe0001", "[fe80::1]", "[febf::1]", "[::ffff:169.254.0.1]", "[fd00:ec2::254]"]
    hosts += ["metadata.google.internal", "metadata.google.internal.", "169.254.169.254.any.example", "100.100.100.200"]
    images = "".join(
        f"<img src='http://{host}/image' onload=tell(1) onerror=tell(0)>" for host in [*hosts, "fine.test"]
    )
    script = f"let left={len(hosts) + 1}; const tell = () => --left || fetch('/told', {{method: 'POST', body: '[]'}})"
    documents = kiosk.browser.documents
    await kiosk.browser.load(kiosk.url(f"<script>{script}</script>{images}"))
    await kiosk.told()
    assert [place for place in kiosk.web.asked if place.endswith("/image")] == ["fine.test/image"]
    # They cost nothing on the pipe.
    assert kiosk.browser.documents == documents + 1


@driven
async def test_chromium_reads_urls_as_the_rules_do(kiosk: Kiosk) -> None:
    texts = [text for text in SPELLINGS if not text.startswith("-")]
    kiosk.web.urls = texts
    script = """fetch("/urls").then(answer => answer.json()).then(urls => fetch("/told", {method: "POST", body:
        JSON.stringify(urls.map(text => { try { const url = new URL(text); return [url.hostname, url.href] }
                                          catch { return null } }))}))"""
    await kiosk.browser.load(kiosk.url(f"<script>{script}</script>"))
    everything = DefaultRules(allow_link_local=True)
    canonical: dict[str, str] = {}
    for text, read in zip(texts, await kiosk.told(), strict=True):
        try:
            canonical[text] = check_url(text, everything)
        except UrlRefused:
            continue
        # Where both read a URL, they read the same host. Chromium refuses more: mixed directions, say.
        assert read is None or read[0].rstrip(".").strip("[]") == host_of(canonical[text]), text
    assert len(canonical) > len(texts) / 3
    # What comes out is read as it is written.
    kiosk.web.urls = list(canonical.values())
    await kiosk.browser.load(kiosk.url(f"<script>{script}</script>"))
    told = zip(await kiosk.told(), kiosk.web.urls, strict=True)
    assert [read[1] if read else url for read, url in told] == kiosk.web.urls


SPELLINGS: Final = [
    *("https://example.com", "HTTPS://EXAMPLE.com:443/a/../b", "http://a_b.test/x y?q=\\&ä#é", "http://x.test:8080"),
    *("http://bücher.example/", "http://faß.de/", "http://BÜCHER。example/", "http://xn--bcher-kva.example"),
    *(
        "http://0x7f.1",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://１２７.1",
        "http://127.1./",
        "http://1.2.3.0x",
    ),
    *("http://0xA9.0376.43518", "http://169。254．1｡1", "http://[::ffff:169.254.1.1]/", "http://[FE80::1]:80/"),
    *("http://[::127.0.0.1]", "http://[1:0:0:0:0:0:0:1]", "http://1.2.3.4.5", "http://a.0x", "http://a.09"),
    *(
        "http://x.test/%41%zz?%41%zz#%41%zz",
        "http://x.test?a'b\"c<d>e`f{g}",
        "http://x.test/a|b^c[d]e",
        "http://x.test/;=,+$@!*()",
    ),
    *(
        "http://user:pw@x.test",
        "http:\\\\x.test",
        "http:x.test",
        "http:///x.test",
        "http://x.test\\@y.test",
        "http://%65.test",
    ),
    *(
        "http://a..b",
        "http://-a.test",
        "http://a-.test",
        "http://a b",
        "http://a\u00adb.test/",
        "http://☃.net/",
        "http://i❤.ws",
    ),
    *(
        "http://ⅷ.test",
        "http://٣.test",
        "http://xn--a.test",
        "http://a.test:0",
        "http://a.test:00080/",
        "http://a.test:65536",
    ),
]
"""URLs that readers disagree about."""


# Other windows.


@driven
async def test_new_windows_become_the_page(kiosk: Kiosk) -> None:
    # A finger on a link that asks for a window; a script's window gets its URL later.
    link = "<a href=http://b.test/window target=_blank style='position:fixed;inset:0'>x</a>"
    later = CLICK % "w = window.open(''); setTimeout(() => w.location = 'http://c.test/later', 50)"
    at_once = CLICK % "window.open('http://d.test/popup', 'x', 'width=50,height=50')"
    for html, url in ((link, "http://b.test/window"), (later, "http://c.test/later"), (at_once, "http://d.test/popup")):
        await kiosk.browser.load(kiosk.url(html))
        await tap(kiosk)
        await kiosk.until_url(url)
    # The page in front is this one: it is visible, and none is behind it.
    assert await visibility(kiosk) == "visible"


CLICK: Final = '<body style=height:99vh onclick="%s">'


async def tap(kiosk: Kiosk) -> None:
    """One finger."""
    await kiosk.browser.touch({1: Spot(100, 100)})
    await kiosk.browser.touch({})


async def visibility(kiosk: Kiosk) -> object:
    tell = "fetch('/told', {method: 'POST', body: JSON.stringify(document.visibilityState)})"
    await kiosk.browser.load(kiosk.url(f"<script>{tell}</script>"))
    return await kiosk.told()


@driven
async def test_windows_without_a_url_and_refused_ones_are_closed(kiosk: Kiosk) -> None:
    watch = """<title>here</title><script>onvisibilitychange = document.onvisibilitychange =
        () => fetch('/told', {method: 'POST', body: JSON.stringify(document.visibilityState)});</script>
        <body style=height:99vh onclick="%s">"""
    for script in ("window.open('')", "window.open('http://refused.test/popup')"):
        url = kiosk.url(watch % script)
        await kiosk.browser.load(url)
        await tap(kiosk)
        # Behind the window, and in front again.
        while await kiosk.told() != "visible":
            pass
        assert (await kiosk.browser.page()).url == url
    assert kiosk.web.asked["refused.test/popup"] == 0


@driven
async def test_a_key_opens_no_tab(kiosk: Kiosk) -> None:
    watch = """<script>document.onvisibilitychange =
        () => fetch('/told', {method: 'POST', body: JSON.stringify(document.visibilityState)})</script>"""
    await kiosk.browser.load(kiosk.url(watch))
    await trio.to_thread.run_sync(press, kiosk.display, "Control_L", "t")
    while await kiosk.told() != "visible":
        pass


def press(display: str, *names: str) -> None:
    """These keys together, by XTEST."""
    with closing(xdisplay.Display(display)) as connection:
        codes = [connection.keysym_to_keycode(XK.string_to_keysym(name)) for name in names]
        for code in codes:
            xtest.fake_input(connection, X.KeyPress, code)
        for code in reversed(codes):
            xtest.fake_input(connection, X.KeyRelease, code)
        connection.sync()


# Dialogs, crashes.


@driven
async def test_dialogs_do_not_stop_a_load(kiosk: Kiosk) -> None:
    async def open_() -> bool:
        return not kiosk.browser.takes_touch

    for script in ("alert(1)", "confirm(1)", "prompt(1)"):
        await kiosk.browser.load(kiosk.url(f"<script>setTimeout(() => {script})</script>"))
        await kiosk.until(open_)
        # It is there for whoever looks, and the page can still be told.
        assert (await kiosk.browser.page()).url.startswith("http://a.test/html")
        assert (await kiosk.browser.load("http://a.test/after")).url == "http://a.test/after"
        assert kiosk.browser.takes_touch
    leave = "<body style=height:99vh onclick=\"fetch('/told', {method: 'POST', body: '[]'})\"><script>"
    await kiosk.browser.load(kiosk.url(leave + "onbeforeunload = e => { e.preventDefault(); return 'x' }</script>"))
    # Without a finger before, browsers do not ask.
    await tap(kiosk)
    await kiosk.told()
    assert (await kiosk.browser.load("http://a.test/left")).url == "http://a.test/left"


def renderers(pid: int) -> list[int]:
    """Processes of the browser that draw pages."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
            command = (folder / "cmdline").read_bytes()
        except (OSError, IndexError, ValueError):
            continue
        if session == pid and b"--type=renderer" in command:
            found.append(int(folder.name))
    return found


@driven
async def test_a_crashed_page_is_loaded_again_and_a_load_says_so(kiosk: Kiosk) -> None:
    await kiosk.browser.load("http://crash.test/page")
    for renderer in renderers(kiosk.pid):
        os.kill(renderer, signal.SIGKILL)
    await asked(kiosk, "crash.test/page", 2)
    await kiosk.until(lambda: titled(kiosk, "/page"))
    # A load of another page fails or not, by who is faster; what the old page's end does later hurts no other load.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kiosk.fails, "http://crash.test/slow", "crashed|another navigation|newer load")
        await asked(kiosk, "crash.test/slow")
        for renderer in renderers(kiosk.pid):
            os.kill(renderer, signal.SIGKILL)
        assert (await kiosk.browser.load("http://crash.test/after")).url == "http://crash.test/after"
    await kiosk.until(lambda: titled(kiosk, "/after"))


# Fingers.


@driven
async def test_fingers_arrive_as_they_are(kiosk: Kiosk) -> None:
    page = kiosk.url(TOUCH_PAGE.replace("SCALE", "1"))
    await kiosk.browser.load(page)
    # States of the same fingers may be merged, so none of these is.
    for state in ({1: (100, 100)}, {1: (110, 100), 5: (300, 300)}, {5: (300, 300)}, {}):
        await kiosk.browser.touch({finger: Spot(*at) for finger, at in state.items()})
    log, ratio, points = await kiosk.told()
    assert log == [
        ["touchstart", [[1, 100, 100]]],
        ["touchstart", [[1, 110, 100], [5, 300, 300]]],
        ["touchend", [[5, 300, 300]]],
        ["touchend", []],
    ]
    assert (ratio, points) == (1, 16)
    # Who leaves takes the fingers along, without a click.
    await kiosk.browser.touch({1: Spot(10, 10)})
    await kiosk.browser.release()
    log, *_ = await kiosk.told()
    assert log == [["touchstart", [[1, 10, 10]]], ["touchcancel", []]]


@driven
async def test_two_fingers_pinch_and_the_next_page_still_feels_one(kiosk: Kiosk) -> None:
    await kiosk.browser.load(kiosk.url(TOUCH_PAGE.replace("SCALE", "1")))
    states = [{1: Spot(250 - apart, 200), 2: Spot(350 + apart, 200)} for apart in range(0, 110, 10)]
    for state in states:
        await kiosk.browser.touch(state)
        # One by one: what waits is merged.
        await trio.sleep(0.03)
    await kiosk.browser.touch({})
    log, *_ = await kiosk.told()
    places = [tuple(at[1] for at in fingers) for _, fingers in log if len(fingers) == 2]
    # On the screen they are where they were put, though the page grew under them.
    assert places[-1] == (150, 450)
    assert set(places) <= {(250 - apart, 350 + apart) for apart in range(0, 110, 10)}
    for host in ("a.test", "b.test", "c.test"):
        await kiosk.browser.load(kiosk.url(TOUCH_PAGE.replace("SCALE", "1"), host))
        await tap(kiosk)
        log, *_ = await kiosk.told()
        assert log == [["touchstart", [[1, 100, 100]]], ["touchend", []]]


@driven
async def test_a_slow_page_gets_fewer_moves_and_every_end(kiosk: Kiosk) -> None:
    busy = "<script>addEventListener('touchstart', () => { for (const now = Date.now(); Date.now() < now + 300;); })"
    await kiosk.browser.load(kiosk.url(f"{TOUCH_PAGE.replace('SCALE', '1')}{busy}</script>"))
    for step in range(200):
        await kiosk.browser.touch({1: Spot(10 + step, 20)})
    await kiosk.browser.touch({})
    log, *_ = await kiosk.told()
    assert [kind for kind, _ in log if kind != "touchmove"] == ["touchstart", "touchend"]
    assert log[-2][1] == [[1, 209, 20]]
    assert len(log) < 20


# Other ways to run it.


async def test_as_a_user_with_a_sandbox_at_twice_the_scale(tmp_path_factory: pytest.TempPathFactory) -> None:
    # The folders that pytest makes are its own user's, up to the top.
    user = USER if os.geteuid() == 0 else os.geteuid()
    who = user, user
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="tilewire-test-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        os.chown(home, user, -1)
        authority = Authority(tmp_path_factory.mktemp("authority"))
        await trust_certificates(home, [authority.certificate], user=who)
        assert {path.stat().st_uid for path in (home / ".pki/nssdb").iterdir()} == {user}
        assert await has_sandbox(*who), "this kernel lets nobody make namespaces"
        with web() as plain, web(tls(authority, "example.com")) as secure:
            profile = Profile(host_resolver_rules=resolver_rules(plain, secure, plain), scale=2, locale="de_DE.UTF-8")
            async with (
                start_xvfb(*WIDE) as xvfb,
                chromium(home, xvfb, profile, *as_user, size=WIDE) as (browser, pid),
            ):
                await browser.load("https://example.com/")
                html = TOUCH_PAGE.replace("SCALE", "2")
                page = await browser.load(f"http://a.test/html?{urllib.parse.quote(html)}")
                # Of a page that scrolls, without the bar. Half the screen's, and the column that nobody sees.
                assert (page.width, page.height) == (WIDE[0] // 2 + 1 - 15, WIDE[1] // 2 + 1)
                await browser.touch({1: Spot(120, 80)})
                await browser.touch({})
                with trio.fail_after(WITHIN_S):
                    while not plain.told:  # noqa: ASYNC110 - nobody tells
                        await trio.sleep(0.01)
                log, ratio, _ = plain.told[0]
                assert (log[0], ratio) == (["touchstart", [[1, 120, 80]]], 2)
                assert sandboxed(pid)
                # Its end is noticed by whoever waits for whatever.
                async with trio.open_nursery() as nursery:
                    for what in (partial(browser.load, "http://a.test/slow"), browser.wait_gone):
                        nursery.start_soon(ends, what)
                    await trio.testing.wait_all_tasks_blocked(0.1)
                    os.killpg(pid, signal.SIGKILL)
                assert browser.gone
                for call in (browser.page, browser.reload, browser.release, partial(browser.load, "a.test")):
                    with pytest.raises(BrowserGone):
                        await call()


WIDE: Final = (1040, 400)
"""Chromium's window has 500 units at least, at this scale 1000 pixels."""
USER: Final = 54321
"""Nobody's: no program runs as it."""


async def ends(what: Callable[[], Awaitable[object]]) -> None:
    """It returns a sentence or raises one."""
    sentence: object = None
    with trio.fail_after(WITHIN_S):
        try:
            sentence = await what()
        except BrowserGone as problem:
            sentence = str(problem)
    assert sentence == "the browser has ended"


def sandboxed(pid: int) -> bool:
    """Whether the renderers of a browser live in a user namespace of their own."""
    ours = os.readlink("/proc/self/ns/user")
    return all(os.readlink(f"/proc/{renderer}/ns/user") != ours for renderer in renderers(pid))


async def test_what_is_no_browser_is_said(nothing_stays_open: None) -> None:
    with spawned(["true"], {"PATH": os.environ["PATH"]}) as (_, writing, reading):
        with pytest.raises(BrowserGone, match="Chromium did not start: the browser"):
            async with open_browser(trio.lowlevel.FdStream(writing), trio.lowlevel.FdStream(reading)):
                raise AssertionError


ODD: Final = """
import json, os, sys
said = b""
while data := os.read(3, 65536):
    *calls, said = (said + data).split(b"\\0")
    for call in map(json.loads, calls):
        answer = {"id": call["id"], "result": {}}
        messages = [json.dumps(answer)]
        if call["method"] == "Target.setDiscoverTargets":
            page = {"targetId": "T", "type": "page", "url": "about:blank"}
            messages.append(json.dumps({"method": "Target.targetCreated", "params": {"targetInfo": page}}))
        if call["method"] == "Target.attachToTarget":
            messages = [json.dumps({**answer, "result": {"sessionId": "S"}})]
        if call["method"] == "Page.getLayoutMetrics":
            side = '{"clientWidth": SIDE, "clientHeight": SIDE}'.replace("SIDE", sys.argv[1])
            names = "cssLayoutViewport", "cssVisualViewport", "layoutViewport"
            result = ", ".join(f'"{name}": {side}' for name in names)
            messages = [f'{{"id": {call["id"]}, "result": {{{result}}}}}']
        for message in messages:
            os.write(4, message.encode() + b"\\0")
"""
"""Answers like a browser whose page has sides of any number."""


@pytest.mark.parametrize("side", ["1e999", "-1e999", "NaN", "0", '"x"', "null"])
async def test_a_measure_that_is_no_number_of_pixels_is_none(side: str, nothing_stays_open: None) -> None:
    command = ["python3", "-c", ODD, side]
    with spawned(command, {"PATH": os.environ["PATH"]}) as (_, writing, reading):
        with trio.fail_after(WITHIN_S):
            async with open_browser(trio.lowlevel.FdStream(writing), trio.lowlevel.FdStream(reading)) as browser:
                page = await browser.page()
                assert (page.width, page.height) == (0, 0)
                await browser.touch({0: Spot(1, 1)})
                assert not browser.gone


def test_the_command_lines() -> None:
    profile = Profile(command=("--mute-audio",), scale=1.5, locale="de_AT.UTF-8@euro")
    command = chromium_command(profile, home=Path("/h"), size=(1024, 601), as_root=False)
    assert command[0] == "chromium"
    assert command[-2:] == ["--mute-audio", "about:blank"]
    for flag in ("--remote-debugging-pipe", "--kiosk", "--user-data-dir=/h/chromium", "--window-size=684,402"):
        assert flag in command
    assert "--lang=de-AT" in command
    assert not [word for word in command if "remote-debugging-port" in word or word == "--no-sandbox"]
    assert "--no-sandbox" in chromium_command(profile, home=Path("/h"), size=(9, 9), as_root=True)
    assert "--no-sandbox" in chromium_command(profile, home=Path("/h"), size=(9, 9), as_root=False, sandboxed=False)
    (rules,) = [word for word in command if word.startswith("--host-resolver-rules=MAP 169.254.* ~NOTFOUND, ")]
    assert "MAP metadata.google.internal ~NOTFOUND" in rules
    profile = Profile(url_rules=DefaultRules(allow_link_local=True))
    command = chromium_command(profile, home=Path("/h"), size=(9, 9), as_root=False)
    assert not [word for word in command if word.startswith(("--host-resolver-rules", "--lang"))]
    assert firefox_command(profile, url="https://x/", home=Path("/h"), size=(9, 9))[-2:] == ["--kiosk", "https://x/"]


async def test_a_certificate_that_is_none_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    for path, why in ((wrong, "has no certificate"), (tmp_path / "missing.pem", "cannot be read: No such file")):
        with pytest.raises(BrowserError, match=why):
            await trust_certificates(tmp_path, [path])
    wrong.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(BrowserError, match="certutil ended with exit code 255"):
        await trust_certificates(tmp_path, [wrong])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BrowserError, match="certutil is not installed"):
        await trust_certificates(tmp_path, [wrong])
    await trust_certificates(tmp_path, [])
