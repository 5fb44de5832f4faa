"""What can go wrong with a display, in sentences for the operator."""

from __future__ import annotations


class DisplayError(Exception):
    """A display cannot be used. The text is one plain sentence for the operator."""


class DisplayRefused(Exception):
    """A display that is open and stays so does not do what it was asked. The text is one plain sentence."""


class DisplayLost(DisplayError):
    """A display that was open is gone: its X server died, ended the connection, or stopped answering."""
