"""What a configuration says about the machine that it is read on: files and users that have to be there."""

from __future__ import annotations

import pwd
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tilewire.server.config.lines import Place

Fault = tuple[Place, str]
"""A place below the model that is at fault, and the sentence for it."""

MAX_PEM_BYTES: Final = 4 << 20
"""Of a file of authorities: more than a system's whole collection."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a part that is read from a file: pydantic's context.

    `folder`: of the file. `profiles`: the names of all. `unknown`: fields that are wrong and left out, so that whatever
    depends on them cannot be judged.
    """

    folder: Path | None = None
    profiles: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()


def user_faults(name: str | None) -> Iterator[Fault]:
    """A user that the system does not know, or that no program is started as. Blocks."""
    if name is None:
        return
    try:
        if pwd.getpwnam(name).pw_uid == 0:
            yield ("user",), f"programs are never started as root, which {name!r} is"
    except (KeyError, ValueError):
        yield ("user",), f"there is no user {name!r} on this machine"


def file_faults(field: str, path: Path | None) -> Iterator[Fault]:
    """A file that cannot be read. Blocks."""
    if path is not None and (fault := _file_fault(path)):
        yield (field,), fault


def certificate_faults(paths: Sequence[Path]) -> Iterator[Fault]:
    """Files that hold no certificate. Blocks."""
    for index, path in enumerate(paths):
        if fault := _file_fault(path, b"-----BEGIN CERTIFICATE-----"):
            yield ("certificates", index), fault


def _file_fault(path: Path, holds: bytes = b"") -> str | None:
    try:
        if not path.is_file():
            path.stat()
            return f"{path} is not a file"
        with path.open("rb") as file:
            return None if holds in file.read(MAX_PEM_BYTES) else f"{path} holds no certificate in PEM"
    except OSError as error:
        return f"{path} cannot be read: {(error.strerror or str(error)).lower()}"
