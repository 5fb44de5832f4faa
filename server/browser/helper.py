"""A short command of the system, run as the user that a browser will have."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from tilewire.server.x11.process import start_child

HELPER_S: Final = 20.0


async def run_as(
    user: tuple[int, int] | None,
    words: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> tuple[int, bytes]:
    """Exit status (as `Child.wait` has it) and output. `user`: its id and its group's, heeded where we are root.

    Raises OSError where the command cannot be started, and trio.TooSlowError after HELPER_S.
    """
    prefix: list[str] = []
    if user is not None and os.geteuid() == 0:
        prefix = ["setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups", "--"]
    # A line or two.
    with tempfile.TemporaryFile() as output:
        command = [*prefix, *words]
        with trio.fail_after(HELPER_S):
            async with start_child(
                command, env=environment, cwd=folder, stdout=output, stderr=output, pass_fds=pass_fds
            ) as child:
                status = await child.wait()
        output.seek(0)
        return status, output.read()
