"""What sessions may leave behind, counted before and after.

python -m tests.server.floor_counts 500 [--program chromium]

So many sessions one after the other, how long each took, and what is left of them.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import statistics
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from tilewire.server.config.models import Profile
from tilewire.server.display import open_display
from tilewire.server.hosted.floor import Floor
from tilewire.server.hosted.hosted import Hosted, open_hosted
from tilewire.server.hosted.leftovers import SHARED_FOLDERS, segments
from tilewire.server.program import mark_of, uids_of
from tilewire.server.values import Size
from tilewire.server.x11.numbers import SOCKETS
from tilewire.server.x11.process import stat_of

from tests.server.hosting import floored, new_ground, profile, spec

XTERM: Final = ("xterm", "-bg", "white", "-fg", "black")
WORKERS: Final = 4
"""Threads that trio keeps for ten idle seconds: more or fewer of them are no leak."""
SETTLED: Final = 5
"""Sessions after which a server has all the memory that it keeps."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is at one time. All but the memory must be the same afterwards."""

    processes: frozenset[str]
    """Our children, and what carries the mark or the user of a session that was looked at."""
    descriptors: Counter[str]
    """Ours, by what they lead to."""
    display_files: frozenset[str]
    """Locks that name a session's X server or us, who made it for one, and its socket."""
    segments: frozenset[int]
    """Shared memory that a session's processes or ours have made."""
    files: frozenset[str]
    """In the floor's folders, and those of the sessions' users in shared ones."""
    threads: int

    def left(self, after: Counts) -> list[str]:
        """What there is more, in words; nothing is how it should be."""
        found = [f"process {each}" for each in after.processes - self.processes]
        found += [f"{count} x descriptor {name}" for name, count in (after.descriptors - self.descriptors).items()]
        found += [f"{after.threads - self.threads} threads"] if after.threads > self.threads + WORKERS else []
        found += [f"{name}" for name in after.display_files - self.display_files]
        found += [f"shared memory segment {each}" for each in after.segments - self.segments]
        return found + [f"file {name}" for name in sorted(after.files - self.files)]


@dataclass(slots=True)
class Watch:
    """Knows whose things are to be counted: those of the sessions that it was shown."""

    floor: Floor
    marks: set[str] = field(default_factory=set)
    uids: set[int] = field(default_factory=set)
    pids: set[int] = field(default_factory=set)
    sockets: set[tuple[Path, int, int]] = field(default_factory=set)
    """Of their displays, and which: another X server may have the number later."""
    servers: set[int] = field(default_factory=set)
    """Process ids of their X servers."""

    def show(self, hosted: Hosted) -> None:
        """Count what belongs to this session from now on."""
        mark = mark_of(hosted.program_pid) if hosted.program_pid is not None else None
        if mark is not None:
            self.marks.add(mark.partition(".")[0])
        if hosted.uid is not None:
            self.uids.add(hosted.uid)
        self.pids |= {pid for pid in (hosted.program_pid, hosted.manager_pid) if pid is not None}
        self.servers.add(hosted.xvfb_pid)
        self.sockets.add(socket_of(hosted.display_name))

    def counts(self) -> Counts:
        """As it is now."""
        return Counts(
            frozenset(self._processes()),
            Counter(_descriptors()),
            frozenset(self._display_files()),
            frozenset(
                each.id
                for each in segments()
                if each.creator in {*self.pids, os.getpid()} or not self.uids.isdisjoint(each.uids)
            ),
            frozenset(self._files()),
            len(os.listdir("/proc/self/task")),
        )

    def _processes(self) -> list[str]:
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or (stat := stat_of(int(name))) is None:
                continue
            mark = (mark_of(stat.pid) or "").partition(".")[0]
            ours = stat.parent == os.getpid() or mark in self.marks
            # Another server may have the user by now: its processes carry another mark, and what ended is its to reap.
            unmarked = not mark and stat.state != "Z"
            if ours or (unmarked and not self.uids.isdisjoint(uids_of(stat.pid))):
                with suppress(OSError):
                    found.append(f"{stat.pid} {Path(f'/proc/{stat.pid}/comm').read_text().strip()} {stat.state}")
        return found

    def _display_files(self) -> list[str]:
        found = []
        for lock in Path("/tmp").glob(".X*-lock"):
            with suppress(OSError, ValueError):
                if int(lock.read_text()) in {*self.servers, os.getpid()}:
                    found.append(str(lock))
        for known in self.sockets:
            with suppress(OSError):
                if socket_of(f":{known[0].name[1:]}") == known:
                    found.append(str(known[0]))
        return found

    def _files(self) -> list[str]:
        found = [str(path) for path in self.floor.folder.rglob("*")]
        for folder in SHARED_FOLDERS:
            with suppress(OSError):
                for path in folder.iterdir():
                    with suppress(OSError):
                        if path.lstat().st_uid in self.uids:
                            found.append(str(path))
        return found


def socket_of(display: str) -> tuple[Path, int, int]:
    """A display's socket, with what tells it from a later one. Raises OSError where there is none."""
    path = SOCKETS / f"X{display[1:]}"
    found = path.stat()
    return path, found.st_ino, found.st_mtime_ns


def _descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            link = os.readlink(f"/proc/self/fd/{name}")
            # Sockets and pipes have numbers; the list's own descriptor has this folder.
            if not link.startswith(f"/proc/{os.getpid()}/"):
                found.append(link.partition(":[")[0])
    return found


def _objects() -> Counter[str]:
    """Of our own classes, which something refers to."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("tilewire.server"))


def _rss_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


@dataclass(slots=True)
class Report:
    """Of many sessions one after the other."""

    left: list[str]
    rss_kib: list[int] = field(default_factory=list)
    """After each."""
    picture_s: list[float] = field(default_factory=list)
    """From the call that creates a session to a picture of its program."""
    gone_s: list[float] = field(default_factory=list)
    """From the end of a session's block to the last process gone."""


async def first_picture(name: str) -> None:
    """Return once a display shows anything but black."""
    async with open_display(name) as display:
        while True:
            await display.wait_damage()
            if any(any(patch.pixels) for patch in (await display.capture_all()).patches):
                return


async def cycles(floor: Floor, count: int, wanted: Profile) -> Report:
    """So many sessions of this profile, one after the other, each until its picture is there."""
    watch = Watch(floor)
    report = Report([])
    before, objects = watch.counts(), Counter[str]()
    for number in range(count):
        begun = time.perf_counter()
        async with open_hosted(spec(wanted, f"cycle-{number}"), floor) as hosted:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hosted.run)
                await first_picture(hosted.display_name)
                report.picture_s.append(time.perf_counter() - begun)
                watch.show(hosted)
                nursery.cancel_scope.cancel()
            ended = time.perf_counter()
        report.gone_s.append(time.perf_counter() - ended)
        report.rss_kib.append(_rss_kib())
        if number == 0:
            # A server opens some files only when the first session comes, and keeps them.
            report.left += [each for each in before.left(watch.counts()) if "descriptor" not in each]
            before = watch.counts()
            objects = _objects()
    report.left += before.left(watch.counts())
    # The last thing that a display told may stay where it was read.
    more = {name: each for name, each in (_objects() - objects).items() if each >= count // 2}
    report.left += [f"{each} x object {name}" for name, each in more.items()]
    return report


async def main(count: int, program: str) -> int:
    size = Size(1024, 600)
    wanted = profile(*XTERM, size=size)
    if program == "chromium":
        wanted = Profile(name="web", kind="chromium", url="about:blank", size=size)
    with new_ground() as folder:
        async with floored(folder) as floor:
            report = await cycles(floor, count, wanted)
    for name, values in (("create to first picture", report.picture_s), ("stop to last process gone", report.gone_s)):
        worst = max(values)
        middle = statistics.median(values)
        print(f"{name}: median {middle:.2f} s, worst {worst:.2f} s, {len(values)} sessions of {program}")
    rss = report.rss_kib
    print(f"memory: {rss[0]} KiB after one, {rss[min(SETTLED, count) - 1]} after {SETTLED}, {rss[-1]} after {count}")
    print(*(report.left or ["nothing is left"]), sep="\n")
    return 1 if report.left else 0


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("count", type=int)
    arguments.add_argument("--program", choices=("xterm", "chromium"), default="xterm")
    given = arguments.parse_args()
    sys.exit(trio.run(main, given.count, given.program))
