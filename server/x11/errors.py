"""What can go wrong with a display, in sentences for the operator."""

from __future__ import annotations


class DisplayError(Exception):
    """A display cannot be used. The text is one plain sentence for the operator."""


class DisplayLost(DisplayError):
    """A display that was open is gone: its X server died, ended the connection, or stopped answering."""
