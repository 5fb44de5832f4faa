"""`tilewire.toml`, the environment and the flags: read, checked, and explained where something is wrong."""

from tilewire.server.config.models import Access, AccessRule, Config, Profile, Settings, UrlRules
from tilewire.server.config.values import Address, Size

__all__ = [
    "Access",
    "AccessRule",
    "Address",
    "Config",
    "Profile",
    "Settings",
    "Size",
    "UrlRules",
]
