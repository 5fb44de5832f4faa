"""The environment of a session's programs: these variables and the profile's, nothing of the server's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
"""As Debian gives it to a user who logs in."""
SHELLS: Final = ("/bin/bash", "/bin/sh")
"""For terminals. A system user's own is often none."""


def variables(
    profile: Mapping[str, str],
    *,
    home: Path,
    temporary: Path,
    runtime: Path,
    xauthority: Path,
    user: str,
    locale: str,
) -> dict[str, str]:
    """What a session's programs find in their environment, besides DISPLAY and their mark; the session's own places are
    not the profile's to change.
    """
    shell = next((shell for shell in SHELLS if Path(shell).exists()), SHELLS[-1])
    return {
        "PATH": PATH,
        "LANG": locale,
        "SHELL": shell,
        "USER": user,
        "LOGNAME": user,
        "XDG_SESSION_TYPE": "x11",
        **profile,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "XDG_RUNTIME_DIR": str(runtime),
        "XAUTHORITY": str(xauthority),
    }
