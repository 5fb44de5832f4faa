"""State that survives the server: devices and their keys, tokens, usage. docs/serve-store.md tells how it is kept."""

from tilewire.server.store.errors import AlreadyThere, NotAllowed, NotThere, StoreError
from tilewire.server.store.export import usage_csv, usage_json, usage_record
from tilewire.server.store.rows import DeviceRow, Role, Token, UsageRow
from tilewire.server.store.snippets import c_snippet, micropython_snippet
from tilewire.server.store.store import Store, open_store

__all__ = [
    "open_store",
    "Store",
    "DeviceRow",
    "Role",
    "Token",
    "UsageRow",
    "usage_csv",
    "usage_json",
    "usage_record",
    "c_snippet",
    "micropython_snippet",
    "StoreError",
    "NotThere",
    "AlreadyThere",
    "NotAllowed",
]
