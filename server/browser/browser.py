"""One Chromium with one page: loads, what the page is, fingers, and the rules about URLs enforced inside.

The page is the kiosk's only one. Whatever opens another window or tab gets its URL loaded in this one instead, and
what opens without a URL (Ctrl+T, a captive-portal check, an advertisement's empty window) is closed: a kiosk shows no
tab strip, so that a second tab could neither be seen for what it is nor be left, and every device sees the one page.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import trio

from tilewire.server.browser.errors import BrowserError, BrowserGone, CallRefused, LoadFailed, UrlRefused
from tilewire.server.browser.pipe import DevTools, Event, Params, open_devtools
from tilewire.server.browser.resolve import Names
from tilewire.server.browser.sentences import said
from tilewire.server.browser.touch import MAX_FINGERS, Fingers, Spot
from tilewire.server.browser.urls import BLANK, WEB, DefaultRules, Rules, check_url, host_of, shortened

LOAD_S: Final = 30.0
"""Until a page has to have committed; browsers give up on silent servers after minutes. Jiomosa's wait, too."""
START_S: Final = 20.0
"""Seen: 0.9 s from the start of the process to the first answer."""
SIZE_S: Final = 1.0
"""A page that computes without end does not tell its size: the last one known is given."""
ERROR_PAGE_S: Final = 1.0
"""From the browser's word that a load failed until its page about it is there; then it is said all the same."""
ABORTED_S: Final = 0.2
"""From the browser's word that a load was given up until it says that the page's process has ended, if that is why."""
TOUCH_S: Final = 1.0
"""So long a touch may wait for a page before the next one is sent all the same."""
STRANGER_S: Final = 2.0
"""So long a new window may stay without a URL: scripts open an empty one and send it somewhere a moment later."""
MAX_REVIVALS: Final = 3
REVIVALS_S: Final = 60.0
"""A page that kills its renderer so often within so long is left as it is, with Chromium's own word for it."""
MAX_TOUCHES: Final = 32
"""States of fingers that wait for a slow page; beyond that the newest replaces the last."""
MAX_TITLE: Final = 1024
MAX_STRANGERS: Final = 16
"""New windows that are waited for at once; a page that opens more has them closed at once."""

_WITHIN: Final = "within the document"
"""In place of a loader's id, which is hexadecimal."""
_ABORTED: Final = "net::ERR_ABORTED"
_ERROR_PAGE: Final = "chrome-error:"
_FRAMES_OWN: Final = ("about", "data", "blob", "chrome-error")
"""Schemes of frames whose content is their page's own."""


@dataclass(frozen=True, slots=True)
class Page:
    """What the browser shows. Sizes are those of the page's viewport in CSS pixels, without scrollbars."""

    title: str
    url: str
    width: int
    height: int


@dataclass(slots=True)
class _Load:
    """A navigation that somebody waits for."""

    url: str
    before: _Commit | None = None
    """What was there when it began."""
    loader: str | None = None
    """None until the browser has named it; "" where any commit will do."""
    verdict: str | None = None
    """Why it will have failed once the error page is there."""
    why: str | None = None
    """Why it failed."""
    crashed: bool = False
    """Whether a renderer went meanwhile."""
    retried: bool = False
    over: trio.Event = field(default_factory=trio.Event)

    def fail(self, why: str) -> None:
        if not self.over.is_set():
            self.why = why
            self.over.set()

    def succeed(self) -> None:
        self.over.set()


@dataclass(frozen=True, slots=True)
class _Commit:
    """The newest document of the top frame."""

    loader: str
    url: str
    unreachable: str | None


class Browser:
    """A running Chromium; made by `open_browser`. All methods raise BrowserGone once it has ended."""

    def __init__(self, rules: Rules, names: Names, log: logging.Logger) -> None:
        self._rules = rules
        self._names = names
        self._log = log
        self._devtools: DevTools
        self._nursery: trio.Nursery
        self._target = ""
        """The page's, and its top frame's."""
        self._session: str | None = None
        self._found = trio.Event()
        self._load: _Load | None = None
        self._commit: _Commit | None = None
        self._url = BLANK
        self._within = 0
        """Navigations within the document."""
        self._refused: dict[str, str] = {}
        """Why the newest document of the top frame was refused, by URL; one entry at most."""
        self._dialog: str | None = None
        self._strangers: set[str] = set()
        self._size = (0, 0)
        self._crashed_s: list[float] = []
        self._fingers = Fingers()
        self._wanted: list[Mapping[int, Spot] | None] = []
        """None: a cancellation."""
        self._touched = trio.Event()
        self._touch_ready = False
        self._css_per_px = 1.0
        self.documents = 0
        """That were judged by the rules."""

    # What it can do.

    async def load(self, url: str, timeout_s: float = LOAD_S) -> Page:
        """Go to a URL and return once the page has committed: its server has answered and its content begins.

        A load that is under way fails: the newest wins. Raises UrlRefused, LoadFailed and BrowserGone.
        """
        url = check_url(url, self._rules)

        async def navigate(load: _Load) -> None:
            await self._navigate(load)

        return await self._loading(_Load(url), navigate, timeout_s)

    async def reload(self, timeout_s: float = LOAD_S) -> Page:
        """Load the page again. Raises LoadFailed and BrowserGone."""

        async def again(load: _Load) -> None:
            load.loader = ""
            try:
                await self._call("Page.reload")
            except CallRefused as problem:
                load.fail(f"the page cannot be loaded again: {problem}")

        return await self._loading(_Load(self._url), again, timeout_s)

    async def page(self) -> Page:
        """What it shows now. Raises BrowserGone."""
        title = ""
        with suppress(CallRefused, KeyError, IndexError, TypeError):
            history = await self._call("Page.getNavigationHistory")
            entry = history["entries"][history["currentIndex"]]
            # It follows a commit a moment later.
            if entry["url"] == self._url:
                title = str(entry["title"])
        # Nor does one that shows a dialog.
        with trio.move_on_after(SIZE_S if self._dialog is None else 0):
            await self._measure()
        return Page(_whole(title)[:MAX_TITLE], _whole(self._url), *self._size)

    async def touch(self, fingers: Mapping[int, Spot]) -> None:
        """These fingers are down now, at these pixels of the browser's window, which fills the screen.

        Returns at once; what a slow page cannot keep up with is merged, never reordered. Raises BrowserGone.
        """
        self._touch(dict(fingers))
        await trio.lowlevel.checkpoint()

    async def release(self) -> None:
        """Whose fingers are down has left: they are taken away without a click. Raises BrowserGone."""
        self._touch(None)
        await trio.lowlevel.checkpoint()

    @property
    def takes_touch(self) -> bool:
        """Whether fingers reach what is in front. A dialog (alert, confirm) is no part of the page: it takes a
        pointer."""
        return self._dialog is None

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._devtools.gone

    async def wait_gone(self) -> str:
        """Return, once it has ended, the sentence for it."""
        return await self._devtools.wait_gone()

    # Loads.

    async def _loading(self, load: _Load, begin: Callable[[_Load], Awaitable[None]], timeout_s: float) -> Page:
        if self.gone:
            raise BrowserGone(await self.wait_gone())
        if self._load is not None:
            self._load.fail("a newer load took its place")
        self._load = load
        load.before = self._commit
        self._refused.clear()
        try:
            with trio.move_on_after(timeout_s) as patience:
                await self._begun(load, begin)
        finally:
            if self._load is load:
                self._load = None
        if patience.cancelled_caught:
            if self._load is None:
                with trio.move_on_after(SIZE_S), suppress(CallRefused):
                    await self._call("Page.stopLoading")
            raise LoadFailed(f"{shortened(load.url)} did not answer within {timeout_s:g} s")
        if load.why is not None:
            if self.gone:
                raise BrowserGone(load.why)
            if load.crashed and self._load is None:
                await self._quietly("Page.reload", {}, self._session)
            raise LoadFailed(f"{shortened(load.url)} was not loaded: {load.why}")
        return await self.page()

    async def _begun(self, load: _Load, begin: Callable[[_Load], Awaitable[None]]) -> None:
        async def ask() -> None:
            try:
                await begin(load)
            except BrowserGone as problem:
                load.fail(str(problem))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            if self._dialog is not None:
                nursery.start_soon(self._answer_dialog, self._dialog)
            await load.over.wait()
            nursery.cancel_scope.cancel()

    async def _navigate(self, load: _Load) -> None:
        within = self._within
        try:
            answer = await self._call("Page.navigate", {"url": load.url})
        except CallRefused as problem:
            load.fail(str(problem))
            return
        if answer.get("isDownload"):
            load.fail("it is a download, which is not shown")
        elif "loaderId" not in answer:
            # Within the document: nothing is fetched.
            load.loader = _WITHIN
            if self._within != within:
                load.succeed()
        else:
            error = answer.get("errorText")
            if error:
                load.verdict = self._refused.get(self._target) or said(str(error))
            load.loader = str(answer["loaderId"])
            if self._commit is not None and self._commit.loader == load.loader:
                self._judge_commit(load, self._commit)
            if load.crashed and error in (None, _ABORTED):
                # It may have been the old page, or the process that this one was to live in.
                with trio.move_on_after(ABORTED_S):
                    await load.over.wait()
                if load.loader == answer["loaderId"]:
                    self._again(load)
            elif error:
                # Where there was nothing to show (204) nothing commits, but a renderer's end is told a moment later.
                with trio.move_on_after(ABORTED_S if error == _ABORTED else ERROR_PAGE_S):
                    await load.over.wait()
                if load.loader == answer["loaderId"]:
                    load.fail(load.verdict or "")

    def _judge_commit(self, load: _Load, commit: _Commit) -> None:
        if load.loader is None:
            return
        if load.loader and commit.loader != load.loader:
            load.fail(load.verdict or "another navigation took its place")
        elif commit.unreachable is not None:
            load.fail(load.verdict or self._refused.get(self._target) or "the browser shows an error page instead")
        else:
            load.succeed()

    # What happens. Handlers are called by the pipe's reader: they start tasks and wait for nothing.

    def hear(self, event: Event) -> None:
        """Something happened in the browser."""
        handler = _HANDLERS.get(event.method)
        if handler is None or event.session not in (None, self._session):
            return
        try:
            handler(self, event.params)
        except (KeyError, TypeError, AttributeError) as problem:
            # Another release's event: what it would have told is lost, the session is not.
            self._log.warning("%s of this Chromium was not understood: %r", event.method, problem)

    def _paused(self, params: Params) -> None:
        request = params["request"]
        paused = str(params["requestId"]), str(params["frameId"]), str(request["url"]), str(request["method"])
        self._nursery.start_soon(self._judge, *paused)

    async def _judge(self, request: str, frame: str, url: str, method: str) -> None:
        """Let a document's request go on, or not. Every document of every frame and window comes here, each hop
        of a redirect again."""
        self.documents += 1
        if frame in self._strangers:
            await self._quietly("Fetch.failRequest", {"requestId": request, "errorReason": "Aborted"})
            await self._take_over(frame, url, method)
            return
        try:
            self._check_document(url, top=frame == self._target)
            if (host := host_of(url)) is not None:
                await self._names.check(host)
        except UrlRefused as refusal:
            self._log.info("a page was refused: %s", refusal)
            if frame == self._target:
                self._refused = {self._target: str(refusal)}
            await self._quietly("Fetch.failRequest", {"requestId": request, "errorReason": "BlockedByClient"})
        else:
            await self._quietly("Fetch.continueRequest", {"requestId": request})

    def _check_document(self, url: str, *, top: bool) -> None:
        """Raise UrlRefused where the rules do. What a frame holds is its page's own, wherever `allow_hosts` ends."""
        scheme = url.partition(":")[0].lower()
        if not top and scheme in _FRAMES_OWN:
            return
        rules = self._rules if top else _FrameRules(self._rules)
        check_url(url, rules)

    def _navigated(self, params: Params) -> None:
        frame = params["frame"]
        if frame.get("parentId") is not None:
            return
        commit = self._commit = _Commit(str(frame["loaderId"]), str(frame["url"]), frame.get("unreachableUrl"))
        # What stands where a browser shows it: an error page has no URL of its own.
        self._url = str(commit.unreachable or commit.url + frame.get("urlFragment", ""))
        self._dialog = None
        if self._load is not None:
            self._judge_commit(self._load, commit)
        self._look_at(commit.url)

    def _navigated_within(self, params: Params) -> None:
        if params["frameId"] != self._target:
            return
        self._within += 1
        self._url = str(params["url"])
        if self._load is not None and self._load.loader == _WITHIN:
            self._load.succeed()

    def _look_at(self, url: str) -> None:
        """The browser's own pages are not fetched, so they are seen only when they are there."""
        if url.startswith((*(f"{scheme}:" for scheme in WEB), _ERROR_PAGE, BLANK, "blob:http")) or not url:
            return
        try:
            check_url(url, self._rules)
        except UrlRefused as refusal:
            self._log.info("a page was left: %s", refusal)
            self._nursery.start_soon(self._quietly, "Page.navigate", {"url": BLANK}, self._session)

    def _dialog_opened(self, params: Params) -> None:
        self._dialog = str(params.get("type"))
        if self._load is not None and self._commit is self._load.before:
            # Somebody waits for another page: the old one is not asked.
            self._nursery.start_soon(self._answer_dialog, self._dialog)

    def _dialog_closed(self, _: Params) -> None:
        self._dialog = None

    async def _answer_dialog(self, kind: str) -> None:
        """Dismiss it; a page that asks whether it may be left may."""
        await self._quietly("Page.handleJavaScriptDialog", {"accept": kind == "beforeunload"}, self._session)

    def _crashed(self, _: Params) -> None:
        self._fingers.cancel()
        if self._load is not None:
            # Without an answer as yet it is the old page's end, which may be no loss.
            self._load.crashed = True
            if self._load.loader is not None:
                self._again(self._load)
            return
        now_s = trio.current_time()
        self._crashed_s = [at for at in self._crashed_s if now_s - at < REVIVALS_S] + [now_s]
        if len(self._crashed_s) <= MAX_REVIVALS:
            self._log.warning("the page crashed and is loaded again")
            self._nursery.start_soon(self._quietly, "Page.reload", {}, self._session)
        else:
            self._log.warning("the page crashed %d times within %g s and is left", len(self._crashed_s), REVIVALS_S)

    def _again(self, load: _Load) -> None:
        """Its renderer went before the page was there: it may have been an old one that was to be used again."""
        if load.over.is_set():
            return
        if load.retried:
            load.fail("the page crashed")
            return
        load.retried, load.crashed, load.loader, load.verdict = True, False, None, None

        async def navigate() -> None:
            # Whoever waits learns from the pipe's end.
            with suppress(BrowserGone):
                await self._navigate(load)

        self._nursery.start_soon(navigate)

    # Other windows.

    def _target_created(self, params: Params) -> None:
        info = params["targetInfo"]
        target, url = str(info["targetId"]), str(info.get("url", ""))
        if info.get("type") != "page" or target == self._target:
            return
        if not self._target:
            self._target = target
            self._found.set()
        elif info.get("openerId") is None or len(self._strangers) >= MAX_STRANGERS:
            self._nursery.start_soon(self._close, target)
        elif url.partition(":")[0] in WEB:
            self._nursery.start_soon(self._take_over, target, url, "GET")
        else:
            self._strangers.add(target)
            self._nursery.start_soon(self._wait_for, target)

    def _target_changed(self, params: Params) -> None:
        """Also a page that no document led to: chrome: by a key."""
        info = params["targetInfo"]
        if info.get("targetId") == self._target:
            self._look_at(str(info.get("url", "")))

    def _target_destroyed(self, params: Params) -> None:
        target = str(params["targetId"])
        self._strangers.discard(target)
        if target == self._target:
            # Without a window Chromium ends. Where another window was left, this one's end is the session's all the
            # same: whoever supervises it starts anew.
            self._nursery.start_soon(self._quietly, "Browser.close", {})

    async def _wait_for(self, target: str) -> None:
        """A new window that has no URL yet."""
        await trio.sleep(STRANGER_S)
        if target in self._strangers:
            self._strangers.discard(target)
            await self._close(target)

    async def _take_over(self, target: str, url: str, method: str) -> None:
        """Close a new window and show its URL here. What a form posts into one cannot be carried over."""
        self._strangers.discard(target)
        await self._close(target)
        if self._load is not None or method != "GET":
            return
        try:
            url = check_url(url, self._rules)
        except UrlRefused as refusal:
            self._log.info("a new window was refused: %s", refusal)
            return
        await self._quietly("Page.navigate", {"url": url}, self._session)

    async def _close(self, target: str) -> None:
        await self._quietly("Target.closeTarget", {"targetId": target})

    # Fingers.

    def _touch(self, state: Mapping[int, Spot] | None) -> None:
        if self.gone:
            raise BrowserGone("the browser has ended")
        same = (
            self._wanted
            and state is not None
            and self._wanted[-1] is not None
            and self._wanted[-1].keys() == state.keys()
        )
        if same or len(self._wanted) >= MAX_TOUCHES:
            self._wanted[-1] = state
        else:
            self._wanted.append(state)
        self._touched.set()

    async def dispatch_touches(self) -> None:
        """Send what `touch` wants, one event after the other's answer."""
        while True:
            await self._touched.wait()
            self._touched = trio.Event()
            while self._wanted:
                state = self._wanted.pop(0)
                try:
                    await self._dispatch(state)
                except CallRefused as problem:
                    # A page without a renderer, say.
                    self._log.debug("fingers were lost: %s", problem)
                except BrowserGone:
                    return

    async def _dispatch(self, state: Mapping[int, Spot] | None) -> None:
        if not self._touch_ready:
            self._touch_ready = True
            touchscreen = {"enabled": True, "maxTouchPoints": MAX_FINGERS}
            await self._call("Emulation.setTouchEmulationEnabled", touchscreen)
        if state and (not self._fingers.down or len(state) > 1):
            # The browser multiplies by the scale that the page has then; two fingers may be changing it.
            with trio.move_on_after(TOUCH_S):
                await self._measure()
        event = self._fingers.cancel() if state is None else self._fingers.step(state, self._css_per_px)
        if event is None:
            return
        with trio.move_on_after(TOUCH_S):
            await self._call("Input.dispatchTouchEvent", event.params())

    async def _measure(self) -> None:
        """Size and scale of the page. A page without a renderer has none."""
        with suppress(CallRefused, KeyError, TypeError, ValueError, ArithmeticError):
            metrics = await self._call("Page.getLayoutMetrics")
            layout, visual = metrics["cssLayoutViewport"], metrics["cssVisualViewport"]
            self._size = int(layout["clientWidth"]), int(layout["clientHeight"])
            self._css_per_px = float(visual["clientWidth"]) / float(metrics["layoutViewport"]["clientWidth"])

    # Calls.

    async def _call(self, method: str, params: Params | None = None) -> Params:
        return await self._devtools.call(method, params, session=self._session)

    async def _quietly(self, method: str, params: Params, session: str | None = None) -> None:
        """A call about something that may be over by now."""
        with suppress(BrowserError):
            await self._devtools.call(method, params, session=session)

    async def begin(self, devtools: DevTools, nursery: trio.Nursery) -> None:
        """Find the page, and let nothing be loaded that is not judged. Raises BrowserGone and CallRefused."""
        self._devtools, self._nursery = devtools, nursery
        documents = [{"urlPattern": "*", "resourceType": "Document", "requestStage": "Request"}]
        await devtools.call("Fetch.enable", {"patterns": documents})
        await devtools.call("Browser.setDownloadBehavior", {"behavior": "deny"})
        pages = [{"type": "page", "exclude": False}, {"exclude": True}]
        await devtools.call("Target.setDiscoverTargets", {"discover": True, "filter": pages})
        nursery.start_soon(self._watch)
        await self._found.wait()
        attached = await devtools.call("Target.attachToTarget", {"targetId": self._target, "flatten": True})
        self._session = str(attached["sessionId"])
        await self._call("Page.enable")
        await self._call("Inspector.enable")
        await self._measure()

    async def _watch(self) -> None:
        """Nobody waits for what an ended browser would do."""
        why = await self.wait_gone()
        self._found.set()
        if self._load is not None:
            self._load.fail(why)


class _FrameRules:
    """The rules for a frame inside a page: which hosts a kiosk is for is said of pages."""

    def __init__(self, rules: Rules) -> None:
        self.schemes = rules.schemes
        self.allow_file = rules.allow_file
        self.allow_internal = rules.allow_internal
        self.allow_link_local = rules.allow_link_local
        self.refuse_hosts = rules.refuse_hosts

    def allows_host(self, host: str) -> bool:
        """Whether it is not refused by name."""
        return not any(fnmatchcase(host, pattern) for pattern in self.refuse_hosts)


_HANDLERS: Final[dict[str, Callable[[Browser, Any], None]]] = {
    "Fetch.requestPaused": Browser._paused,  # noqa: SLF001 - the class's own table
    "Inspector.targetCrashed": Browser._crashed,  # noqa: SLF001
    "Page.frameNavigated": Browser._navigated,  # noqa: SLF001
    "Page.navigatedWithinDocument": Browser._navigated_within,  # noqa: SLF001
    "Page.javascriptDialogClosed": Browser._dialog_closed,  # noqa: SLF001
    "Page.javascriptDialogOpening": Browser._dialog_opened,  # noqa: SLF001
    "Target.targetCreated": Browser._target_created,  # noqa: SLF001
    "Target.targetDestroyed": Browser._target_destroyed,  # noqa: SLF001
    "Target.targetInfoChanged": Browser._target_changed,  # noqa: SLF001
}


def _whole(text: str) -> str:
    """A page's text without halves of characters, which no encoding takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@asynccontextmanager
async def open_browser(
    send: trio.abc.SendStream,
    receive: trio.abc.ReceiveStream,
    *,
    rules: Rules | None = None,
    host_resolver_rules: str | None = None,
    log: logging.Logger | None = None,
) -> AsyncIterator[Browser]:
    """Drive the Chromium whose descriptors 3 and 4 are the other ends of these two, inside the block.

    `chromium_command` gives it the flags that this needs. It shows a blank page until `load`. Its end is no error of
    the block: `wait_gone` returns, and calls raise BrowserGone. Raises BrowserGone where it does not start.
    """
    log = log or logging.getLogger(__name__)
    rules = rules if rules is not None else DefaultRules()
    browser = Browser(rules, Names(rules, host_resolver_rules or ""), log)
    problem: str | None = None
    async with open_devtools(send, receive, browser.hear, log=log) as devtools, trio.open_nursery() as nursery:
        try:
            with trio.fail_after(START_S):
                await browser.begin(devtools, nursery)
        except trio.TooSlowError:
            problem = f"Chromium did not answer within {START_S:g} s of its start"
        except CallRefused as refusal:
            problem = f"this Chromium cannot be driven: {refusal}"
        except BrowserGone as end:
            problem = f"Chromium did not start: {end}"
        else:
            nursery.start_soon(browser.dispatch_touches)
            try:
                yield browser
            finally:
                nursery.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    if problem is not None:
        # Out here it is in no group.
        raise BrowserGone(problem)
