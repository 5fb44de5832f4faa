"""What can go wrong with a browser, in sentences."""

from __future__ import annotations

from tilewire.server.errors import ServerError


class BrowserError(ServerError):
    """A browser cannot do what it was asked. The text is one plain sentence."""


class BrowserGone(BrowserError):
    """It has ended, or it no longer answers on its pipe."""


class LoadFailed(BrowserError):
    """A page was not reached; what the screen shows instead is the browser's word for it."""


class UrlRefused(BrowserError):
    """A URL that the rules do not allow, or that could be read in two ways."""


class CallRefused(BrowserError):
    """The browser answered a call with an error of its own: for this package, which turns it into the others."""
