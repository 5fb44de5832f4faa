"""Folders that programs had to themselves: removed and handed over, whatever they have put there."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS: Final = 3
"""Something that is about to be killed may still write."""


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it, or a file. Raises OSError, for example where something is mounted in it.

    As deep as it may be: each folder in it is moved to the top before its turn comes, so no path is long and nothing
    recurs. No link is followed. Blocks.
    """
    if not stat.S_ISDIR(path.lstat().st_mode):
        path.unlink()
        return
    for attempt in range(_ATTEMPTS):
        try:
            _make_ours(path)
            top = os.open(path, _OPEN_FOLDER)
            try:
                _empty(top)
            finally:
                os.close(top)
            path.rmdir()
        except OSError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _empty(top: int) -> None:
    moved = 0
    while folders := _unlink_files(top):
        for name in folders:
            _make_ours(name, top)
            folder = os.open(name, _OPEN_FOLDER, dir_fd=top)
            try:
                for inner in _unlink_files(folder):
                    _make_ours(inner, folder)
                    # A name of its own among those that are there.
                    target = f"{moved:x}.removed"
                    while os.access(target, os.F_OK, dir_fd=top, follow_symlinks=False):
                        moved += 1
                        target = f"{moved:x}.removed"
                    os.rename(inner, target, src_dir_fd=folder, dst_dir_fd=top)
                    moved += 1
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)


def _unlink_files(folder: int) -> list[str]:
    """Remove all but the folders in it, whose names are returned."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders


def _make_ours(name: str | Path, parent: int | None = None) -> None:
    """A folder that its owner may not enter is one that we may: root may any, and has nothing to change."""
    if os.geteuid() == 0:
        return
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
    try:
        # O_PATH needs no rights, and such a descriptor knows no fchmod.
        os.chmod(f"/proc/self/fd/{fd}", stat.S_IRWXU)
    finally:
        os.close(fd)


def hand_over(path: Path, before: Collection[int], uid: int, gid: int) -> None:
    """Give what is these users' in a folder, and the folder itself, to another. For root, while none runs anything.

    What is anybody else's is left alone: a hard link may lead to it. Raises OSError; RecursionError where it is some
    hundred folders deep. Blocks.
    """
    former = {*before, path.lstat().st_uid} - {0}
    # First, so that after an interruption it tells to whom the rest was being given.
    os.chown(path, uid, gid, follow_symlinks=False)
    for _, folders, files, fd in os.fwalk(path, follow_symlinks=False):
        for name in (*folders, *files):
            if os.stat(name, dir_fd=fd, follow_symlinks=False).st_uid in former:
                os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
