"""Chromium driven over its DevTools pipe, browsers' command lines, the rules about URLs, and true touch."""

from tilewire.server.browser.browser import Browser, Page, open_browser
from tilewire.server.browser.certificates import trust_certificates
from tilewire.server.browser.command import PIPE_IN, PIPE_OUT, chromium_command, firefox_command, has_sandbox
from tilewire.server.browser.errors import BrowserError, BrowserGone, LoadFailed, UrlRefused
from tilewire.server.browser.touch import Spot
from tilewire.server.browser.urls import DefaultRules, Rules, check_url

__all__ = [
    "Browser",
    "Page",
    "open_browser",
    "chromium_command",
    "firefox_command",
    "has_sandbox",
    "PIPE_IN",
    "PIPE_OUT",
    "trust_certificates",
    "check_url",
    "DefaultRules",
    "Rules",
    "Spot",
    "BrowserError",
    "BrowserGone",
    "LoadFailed",
    "UrlRefused",
]
