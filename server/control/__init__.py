"""The control API: HTTP on a port of its own, for operators and their programs. docs/api.md is its manual."""

from tilewire.server.control.app import Control, make_app
from tilewire.server.control.http import Patience, serve_app
from tilewire.server.control.service import Service

__all__ = ["Control", "Patience", "Service", "make_app", "serve_app"]
