"""A session's place on this machine: its folders, its user, and the marks by which all that it starts is found."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tilewire.server.hosted.accounts import account_name
from tilewire.server.hosted.folders import hand_over
from tilewire.server.hosted.record import Record, identity
from tilewire.server.program import Traces
from tilewire.server.x11.process import Account

PASSABLE: Final = 0o711
"""Others may pass through a folder, to what is theirs in it, and see no names."""
PRIVATE: Final = stat.S_IRWXU
OWNER: Final = "owner.json"
PROGRAMS_NOTED: Final = 64
"""The last ones, where a program is started again and again."""


@dataclass(slots=True)
class Place:
    """Where one session lives. All folders in it are private to the programs' user."""

    folder: Path
    home: Path
    account: Account | None
    """The programs'; None: the server's own."""
    traces: Traces
    record: Record

    @property
    def temporary(self) -> Path:
        """For TMPDIR."""
        return self.folder / "tmp"

    @property
    def runtime(self) -> Path:
        """For XDG_RUNTIME_DIR."""
        return self.folder / "run"

    @property
    def xauthority(self) -> Path:
        """The copy for the programs' user."""
        return self.runtime / "Xauthority"

    @property
    def ids(self) -> tuple[int, int]:
        """The programs' user and group."""
        if self.account is None:
            return os.geteuid(), os.getegid()
        return self.account.uid, self.account.gid

    @property
    def user_name(self) -> str:
        """What the programs' user is called."""
        return account_name(self.account)

    def put_xauthority(self, source: Path) -> None:
        """Copy the display's cookie to where the programs may read it. Raises OSError."""
        fd = os.open(self.xauthority, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
        with open(fd, "wb") as file:
            file.write(source.read_bytes())
            if self.account is not None:
                os.fchown(fd, self.account.uid, self.account.gid)

    def note_xvfb(self, pid: int) -> None:
        """Write down which process its X server is."""
        self.record.xvfb = identity(pid)
        self.record.save(self.folder)

    def note_display(self, name: str) -> None:
        """Write down which display that has."""
        self.record.display = name
        self.record.save(self.folder)

    def note_program(self, pid: int) -> None:
        """Write down that this process was started for it."""
        found = identity(pid)
        if found is not None:
            self.record.programs = [*self.record.programs[1 - PROGRAMS_NOTED :], found]
            self.record.save(self.folder)


def make_private(folder: Path, account: Account | None) -> None:
    """Make a folder that is the programs' user's alone. Raises OSError."""
    folder.mkdir(mode=PRIVATE)
    if account is not None:
        os.chown(folder, account.uid, account.gid)


@dataclass(frozen=True, slots=True)
class KeptHome:
    """A home folder that stays: of one device with one profile. It has its owner's name written beside it."""

    folder: Path
    profile: str
    device: str | None
    uid: int | None
    """Whose the files are."""

    @property
    def home(self) -> Path:
        """The folder itself."""
        return self.folder / "home"

    def save(self, account: Account | None) -> None:
        """Write down whose it is from now on. Raises OSError."""
        data = {"profile": self.profile, "device": self.device, "uid": account.uid if account is not None else None}
        path = self.folder / f".{OWNER}.new"
        path.write_text(json.dumps(data), encoding="utf-8")
        path.replace(self.folder / OWNER)

    def give(self, account: Account | None) -> None:
        """Make it this user's, who was another's, and let it in. Raises OSError and RecursionError; blocks."""
        if account is not None and account.uid != self.uid:
            hand_over(self.home, () if self.uid is None else (self.uid,), account.uid, account.gid)
            self.save(account)
        self.folder.chmod(PASSABLE)

    def shut(self) -> None:
        """Let nobody in while no session has it: its files stay its last user's, who is another session's next.

        Raises OSError.
        """
        self.folder.chmod(PRIVATE)


def load_kept(folder: Path) -> KeptHome | None:
    """None where it was not finished."""
    try:
        data = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return KeptHome(folder, data["profile"], data["device"], data["uid"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
