"""The recorded sessions that tests/clients/sessions holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from tilewire.protocol.wire import MESSAGES

FOLDER: Final = Path(__file__).with_name("sessions")
REPLAY: Final = Path(__file__).with_name("replay.c")
BROKEN: Final = Path(__file__).with_name("broken.c")
FIRST: Final = b"tilewire session 1\n"
LAST: Final = b"records\n"
INPUTS: Final = "PWKTF"
"""Kinds of records that the client numbers."""


@dataclass(frozen=True, slots=True)
class Record:
    """What happened next; sessions/README.md lists the kinds."""

    kind: str
    data: bytes


@dataclass(frozen=True)
class Recorded:
    """One session."""

    name: str

    @property
    def path(self) -> Path:
        """The file."""
        return FOLDER / f"{self.name}.session"

    @property
    def expected(self) -> str:
        """What every build of the client prints that takes part in it."""
        return (FOLDER / f"{self.name}.expected").read_text(encoding="utf-8")

    @cached_property
    def _parts(self) -> tuple[bytes, bytes]:
        data = self.path.read_bytes()
        assert data.startswith(FIRST)
        head, _, rest = data.partition(LAST)
        return head.removeprefix(FIRST), rest

    @cached_property
    def fields(self) -> dict[str, str]:
        """What the device is."""
        lines = self._parts[0].decode().splitlines()
        return dict(line.split(" ") for line in lines)

    @property
    def records(self) -> Iterator[Record]:
        """In order."""
        rest = self._parts[1]
        at = 0
        while at < len(rest):
            length = int.from_bytes(rest[at + 1 : at + 5], "little")
            yield Record(chr(rest[at]), rest[at + 5 : at + 5 + length])
            at += 5 + length
        assert at == len(rest)

    @property
    def streams(self) -> list[bytes]:
        """What the server sent on each connection."""
        made: list[bytes] = []
        for record in self.records:
            if record.kind == "h":
                made.append(b"")
            elif record.kind == "b":
                made[-1] += record.data
        return made


EVERYTHING: Final = Recorded("everything")
PLAIN: Final = Recorded("plain")
ALL: Final = (EVERYTHING, PLAIN)


def names_in(expected: str) -> set[str]:
    """Messages by name of which there is one, by what the client counted."""
    types = {int(line[5:7], 16) for line in expected.splitlines() if line.startswith("type ")}
    return {MESSAGES[type_].name for type_ in types if type_}


def without_statistics(expected: str) -> str:
    """What a client prints that counts nothing."""
    left_out = ("bytes ", "updates ", "type ")
    return "".join(f"{line}\n" for line in expected.splitlines() if not line.startswith(left_out))


def without_reports(printed: str) -> str:
    """What is the same for a client that is told less beside the picture."""
    return "".join(f"{line}\n" for line in printed.splitlines() if not line.startswith(("reports ", "type ")))


def paths(sessions: Iterable[Recorded]) -> list[Path]:
    """Their files."""
    return [session.path for session in sessions]
