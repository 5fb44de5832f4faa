"""Authorities that a browser trusts besides the system's: the NSS database in its user's home."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from tilewire.server.browser.errors import BrowserError
from tilewire.server.browser.helper import run_as
from tilewire.server.x11.process import ending

NSS_FOLDER: Final = ".pki/nssdb"
"""Chromium's on Linux."""
MAX_FILE: Final = 1024 * 1024

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


async def trust_certificates(
    home: Path,
    certificates: Sequence[Path],
    *,
    user: tuple[int, int] | None = None,
    alone: bool = False,
    marks: Mapping[str, str] | None = None,
) -> None:
    """Make the browser that has this home trust every certificate in these PEM files as an authority.

    `user`: user and group id that the home belongs to, where this process is root: the command runs as them, since
    a program that has had the home before may have put a link there, or a library that certutil loads. `alone`: nothing
    else runs as that user. `marks`: variables by which whatever that library starts is found. Raises BrowserError.
    """
    if not certificates:
        return
    if shutil.which("certutil") is None:
        raise BrowserError(
            "certutil is not installed, so no certificate can be added (Debian: apt install libnss3-tools)"
        )
    blocks = [(path, block) for path in certificates for block in await trio.to_thread.run_sync(_blocks, path)]
    database = f"sql:{home / NSS_FOLDER}"
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C.UTF-8", **(marks or {})}
    run = partial(_run, user=user, alone=alone, environment=environment, folder=home)
    await run(["mkdir", "-p", "-m", "700", str(home / NSS_FOLDER)])
    for number, (path, block) in enumerate(blocks):
        # It makes the database where there is none. (-N on one that is there asks for its password, without end.)
        words = ["certutil", "-A", "-a", "-d", database, "-n", f"tilewire {number} {path.stem}", "-t", "C,,"]
        words += ["-f", os.devnull]
        # In memory: the file may be one that only the server may read, and the home is not the server's to write to.
        with open(os.memfd_create("certificate"), "wb+", buffering=0) as copy:  # noqa: ASYNC230 - no disk
            copy.write(block)
            await run([*words, "-i", f"/proc/self/fd/{copy.fileno()}"], pass_fds=[copy.fileno()])


def _blocks(path: Path) -> list[bytes]:
    """The certificates of a PEM file. Raises BrowserError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE)
    except OSError as problem:
        raise BrowserError(f"the certificate {path} cannot be read: {problem.strerror or problem}") from None
    if not (found := _CERTIFICATE.findall(text)):
        raise BrowserError(f"{path} has no certificate (-----BEGIN CERTIFICATE-----)")
    return found


async def _run(
    words: list[str],
    *,
    user: tuple[int, int] | None,
    alone: bool,
    environment: Mapping[str, str],
    folder: Path,
    pass_fds: Sequence[int] = (),
) -> None:
    try:
        status, output = await run_as(
            user, words, alone=alone, environment=environment, folder=folder, pass_fds=pass_fds
        )
    except OSError as problem:
        raise BrowserError(f"{words[0]} cannot be started: {problem.strerror or problem}") from None
    except trio.TooSlowError:
        raise BrowserError(f"{words[0]} takes too long") from None
    if status:
        said = " ".join(output.decode(errors="replace").split())
        raise BrowserError(f"{words[0]} {ending(status)}: {said[-200:]}")
