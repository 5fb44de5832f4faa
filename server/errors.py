"""What can go wrong with a server, in sentences for the operator."""

from __future__ import annotations


class ServerError(Exception):
    """The server cannot do what it was asked. The text is one plain sentence."""
