"""A short command of the system, run as the user that a browser will have."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from tilewire.server.x11.process import Account, Terms, start_child

HELPER_S: Final = 20.0
PROCESSES: Final = 64
"""Of a user that runs nothing else: a helper has one or two."""
OUTPUT_BYTES: Final = 64 * 1024
FILE_BYTES: Final = 64 * 1024 * 1024
"""Of any file that it writes, its output among them: a database of certificates has 100 KB."""
UMASK: Final = 0o077


async def run_as(
    user: tuple[int, int] | None,
    words: Sequence[str],
    *,
    alone: bool = False,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> tuple[int, bytes]:
    """Exit status (as `Child.wait` has it) and output. `user`: its id and its group's, heeded where we are root.

    `alone`: nothing else runs as that user. What the command loads may be what a session's program has put into its
    home, so it runs under a program's terms: no new privileges, no core files, a limit of processes where the user is
    alone (the kernel counts all of a user).

    Raises OSError where the command cannot be started, and trio.TooSlowError after HELPER_S.
    """
    limits = [(resource.RLIMIT_CORE, 0, 0), (resource.RLIMIT_FSIZE, FILE_BYTES, FILE_BYTES)]
    if alone:
        limits.append((resource.RLIMIT_NPROC, PROCESSES, PROCESSES))
    terms = Terms(
        account=Account(*user) if user is not None and os.geteuid() == 0 else None,
        no_new_privileges=True,
        limits=limits,
        umask=UMASK,
    )
    # A line or two.
    with tempfile.TemporaryFile() as output:
        with trio.fail_after(HELPER_S):
            async with start_child(
                words, env=environment, cwd=folder, stdout=output, stderr=output, pass_fds=pass_fds, terms=terms
            ) as child:
                status = await child.wait()
        output.seek(0)
        return status, output.read(OUTPUT_BYTES)
