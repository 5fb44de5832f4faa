"""The command lines of browsers as kiosks."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import trio

from tilewire.server.browser.helper import run_as
from tilewire.server.browser.urls import Rules, refused_by_resolver

PIPE_IN, PIPE_OUT = 3, 4
"""The browser's descriptors for --remote-debugging-pipe: what it reads and what it writes."""

_QUIET: Final = (
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-domain-reliability",
    "--disable-client-side-phishing-detection",
    "--metrics-recording-only",
    "--password-store=basic",
)
"""Nothing on the wire or the screen that nobody asked for."""
_KIOSK: Final = (
    "--kiosk",
    "--noerrdialogs",
    "--disable-infobars",
    "--disable-session-crashed-bubble",
    "--autoplay-policy=no-user-gesture-required",
    # Touch events exist for pages, though Xvfb has no touch device.
    "--touch-events=enabled",
    # A page that is kept in it goes on receiving the fingers that came after a gesture of two (Chromium 156).
    "--disable-back-forward-cache",
)


class BrowserProfile(Protocol):
    """What a profile says about its browser (`tilewire.server.config.Profile`)."""

    @property
    def command(self) -> Sequence[str]: ...
    @property
    def url_rules(self) -> Rules: ...
    @property
    def host_resolver_rules(self) -> str | None: ...
    @property
    def scale(self) -> float: ...
    @property
    def locale(self) -> str: ...


def chromium_command(
    profile: BrowserProfile, *, home: Path, size: tuple[int, int], as_root: bool, sandboxed: bool = True
) -> list[str]:
    """Chromium as a kiosk of `size` pixels that is driven on its descriptors 3 and 4 and begins with a blank page.

    The profile's URL is loaded by `Browser.load`, so that nothing is ever shown that was not judged. `as_root`: the
    program's user is root, for whom Chromium has no sandbox; `sandboxed`: whether `has_sandbox` said so of its user.
    """
    width, height = size
    # Without a window manager the last column and row stay black; the size is in units of the scale.
    window = f"{math.ceil(width / profile.scale) + 1},{math.ceil(height / profile.scale) + 1}"
    language = _language(profile.locale)
    return [
        "chromium",
        *(["--no-sandbox"] if as_root or not sandboxed else []),
        "--remote-debugging-pipe",
        "--disable-gpu",
        *_QUIET,
        *_KIOSK,
        f"--user-data-dir={home / 'chromium'}",
        f"--disk-cache-size={64 * 1024 * 1024}",
        f"--window-size={window}",
        "--window-position=0,0",
        *([f"--force-device-scale-factor={profile.scale:g}"] if profile.scale != 1 else []),
        *([f"--lang={language}", f"--accept-lang={language}"] if language else []),
        *_resolver_flags(profile),
        *profile.command,
        "about:blank",
    ]


def firefox_command(profile: BrowserProfile, *, url: str, home: Path, size: tuple[int, int]) -> list[str]:
    """Firefox as a kiosk on `url`, which `check_url` has passed. Nothing judges where it goes from there."""
    width, height = size
    return [
        (shutil.which("firefox-esr") and "firefox-esr") or "firefox",
        "--no-remote",
        "--profile",
        str(home / "firefox"),
        f"--width={width}",
        f"--height={height}",
        *profile.command,
        "--kiosk",
        url,
    ]


async def has_sandbox(user: int, group: int) -> bool:
    """Whether the kernel lets this user make the namespaces that Chromium's sandbox is built of.

    Asked by making some: distributions and containers forbid them in several ways. A process of root may ask for
    others.
    """
    try:
        status, _ = await run_as((user, group), ["unshare", "--user", "--pid", "--net", "--fork", "true"])
    except (OSError, trio.TooSlowError):
        return False
    return status == 0


def _language(locale: str) -> str | None:
    """`de-DE` for `de_DE.UTF-8`; None for C and POSIX."""
    name = locale.partition(".")[0].partition("@")[0]
    return None if name in ("", "C", "POSIX") else name.replace("_", "-")


def _resolver_flags(profile: BrowserProfile) -> list[str]:
    """First, since the first that fits counts, that no link-local host is found, for images and scripts as for
    documents; then the profile's rules."""
    refused = () if profile.url_rules.allow_link_local else refused_by_resolver()
    rules = [f"MAP {pattern} ~NOTFOUND" for pattern in refused]
    if profile.host_resolver_rules:
        rules.append(profile.host_resolver_rules)
    return [f"--host-resolver-rules={', '.join(rules)}"] if rules else []
