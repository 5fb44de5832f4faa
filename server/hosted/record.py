"""What is written down about a session while it lives, so that a later server can clear away what a killed one left."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from tilewire.server.hosted.leftovers import boot_id
from tilewire.server.x11.process import Stat, stat_of

RECORD: Final = "record.json"


@dataclass(slots=True)
class Record:
    """Of one session. It holds nothing secret, and is the server's alone (0600)."""

    mark: str
    uid: int | None
    """Of the pool; None where the programs' user is also somebody else's."""
    boot: str = field(default_factory=boot_id)
    begun_s: float = field(default_factory=time.time)
    """Seconds since 1970."""
    xvfb: tuple[int, int] | None = None
    """Process id and start, as /proc has it."""
    display: str | None = None
    """As X calls it: ":5"."""
    programs: list[tuple[int, int]] = field(default_factory=list)
    """Likewise."""

    def save(self, folder: Path) -> None:
        """Write it, whole or not at all. Raises OSError."""
        path = folder / f".{RECORD}.new"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        path.replace(folder / RECORD)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """None where there is none, or one that was cut off: when the machine lost its power."""
        try:
            data: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            data["xvfb"] = tuple(data["xvfb"]) if data["xvfb"] is not None else None
            data["programs"] = [(int(pid), int(start)) for pid, start in data["programs"]]
            return cls(**data)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def living(self) -> list[Stat]:
        """Which of the processes it names are still there."""
        if self.boot != boot_id():
            return []
        named = [*self.programs, *([self.xvfb] if self.xvfb is not None else [])]
        found = (stat_of(pid) for pid, _ in named)
        return [stat for stat in found if stat is not None and (stat.pid, stat.start) in named and not stat.is_dead]


def identity(pid: int) -> tuple[int, int] | None:
    """A process's id and start; None where there is none of that id."""
    stat = stat_of(pid)
    return (stat.pid, stat.start) if stat is not None else None
