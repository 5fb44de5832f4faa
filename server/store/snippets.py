"""A device's name and key as source text, to be copied into its firmware."""

from __future__ import annotations

from typing import Final

_PER_LINE: Final = 8
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._- ")


def c_snippet(name: str, key: bytes) -> str:
    """A C99 file for clients/threadx: a function that puts both into a configuration."""
    digits = [f"0x{byte:02x}," for byte in key]
    rows = "\n".join("    " + " ".join(digits[at : at + _PER_LINE]) for at in range(0, len(digits), _PER_LINE))
    # Three octal digits end an escape; hexadecimal ones would take in what follows.
    literal = "".join(chr(byte) if chr(byte) in _PLAIN else f"\\{byte:03o}" for byte in name.encode())
    return f"""\
/* tilewire_credentials.c: who this device is. The key is a secret: it goes into no repository. */
#include "tilewire/tilewire.h"

static const uint8_t key[TW_KEY_SIZE] = {{
{rows}
}};

/* Last, before the client is made: with ThreadX, tilewire_credentials(&config.client). */
void tilewire_credentials(tw_client_config *config);

void tilewire_credentials(tw_client_config *config) {{
    config->device_id = "{literal}";
    config->key = key;
}}
"""


def micropython_snippet(name: str, key: bytes) -> str:
    """A module of two constants; bytes literals need nothing imported on any port."""
    digits = [f"\\x{byte:02x}" for byte in key]
    rows = "\n".join(f'    b"{"".join(digits[at : at + _PER_LINE])}"' for at in range(0, len(digits), _PER_LINE))
    return f"""\
# tilewire_credentials.py: who this device is. The key is a secret: it goes into no repository.
DEVICE_ID = {name!a}
KEY = (
{rows}
)
"""
