"""`tilewire.toml`, the environment and the flags: read, checked, and explained where something is wrong."""

from tilewire.server.config.check import check, check_text
from tilewire.server.config.errors import ConfigError, Problem
from tilewire.server.config.load import load_config
from tilewire.server.config.models import Access, AccessRule, Config, Profile, Settings, UrlRules
from tilewire.server.config.sources import add_flags, given_flags
from tilewire.server.config.tables import settings_table
from tilewire.server.values import Address, Size

__all__ = [
    "load_config",
    "Config",
    "Settings",
    "Profile",
    "UrlRules",
    "AccessRule",
    "Access",
    "Address",
    "Size",
    "ConfigError",
    "Problem",
    "add_flags",
    "given_flags",
    "check",
    "check_text",
    "settings_table",
]
