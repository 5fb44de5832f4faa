"""What can go wrong with the state, in sentences for the operator."""

from __future__ import annotations

from tilewire.server.errors import ServerError


class StoreError(ServerError):
    """The state cannot be read or written, or holds something else. The text is one plain sentence."""


class NotThere(StoreError):
    """There is no device, token or running session of this name."""


class AlreadyThere(StoreError):
    """There is a device of this name."""


class NotAllowed(StoreError):
    """A name, note or time that may not be kept."""
