"""What the API works with, and what it does to callers who ask for what cannot be."""

from __future__ import annotations

from typing import Protocol

from tilewire.server.config import Config
from tilewire.server.events import Events
from tilewire.server.registry import Registry
from tilewire.server.store import Store
from tilewire.server.tickets import Tickets


class Service(Protocol):
    """The server behind the API."""

    @property
    def config(self) -> Config:
        """As it was read."""

    @property
    def store(self) -> Store:
        """Devices, tokens, usage."""

    @property
    def registry(self) -> Registry:
        """The sessions."""

    @property
    def tickets(self) -> Tickets:
        """For viewers."""

    @property
    def device_address(self) -> str:
        """Where devices connect, HOST:PORT."""

    @property
    def events(self) -> Events:
        """What happens."""
