"""One direction of a shaped link, in a time of the test's own: every figure is exact."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cffi
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT: Final = Path(__file__).resolve().parents[2]
NATIVE: Final = ROOT / "simulator/shaper/native"
MS: Final = 1_000_000
FRAME: Final = 1518
HELD: Final = 64 << 20
CHECK_EVERY: Final = 16
"""Frames; some tests offer a hundred thousand."""
ALL: Final = 1 << 32
TALLIES: Final = ("delivered", "queue_full", "lost", "refused", "overrun", "queued", "air")

ffi = cffi.FFI()
ffi.cdef("\n".join(line for line in (NATIVE / "lane.h").read_text().splitlines() if not line.startswith("#")))


@dataclass
class Lane:
    """`struct lane`, and what came out of it."""

    c: Any
    lib: Any
    now: int = 0

    def set(self, kbit_s: int = 0, delay_ms: float = 0, loss: int = 0, queue: int = HELD) -> None:
        setting = ffi.new("struct lane_setting *", (kbit_s * 1000, round(delay_ms * MS), loss, queue))
        self.lib.lane_set(self.c, self.now, setting)

    def offer(self, size: int, mark: int = 0) -> None:
        """A frame that begins with `mark`."""
        self.lib.lane_offer(self.c, self.now, mark.to_bytes(4, "little") + bytes(size - 4), size)
        if mark % CHECK_EVERY == 0:
            self.check()

    def arrived(self, *, taken: bool = True) -> list[tuple[int, int]]:
        """What has arrived by now: (when, mark)."""
        found = []
        while (frame := self.lib.lane_arrived(self.c, self.now)) != ffi.NULL:
            assert frame.at_ns <= self.now
            found.append((frame.at_ns, int.from_bytes(bytes(ffi.buffer(frame.data, 4)), "little")))
            self.lib.lane_done(self.c, self.now, frame, taken)
        self.check()
        return found

    def until_empty(self) -> list[tuple[int, int]]:
        """All that is under way, by an owner that is always in time."""
        found = []
        while (wake := self.lib.lane_wake_ns(self.c)) != (1 << 63) - 1:
            self.now = max(self.now, wake)
            found += self.arrived()
        return found

    @property
    def counters(self) -> Any:
        return self.c.counters

    def frames(self, name: str) -> int:
        return int(getattr(self.counters, name).frames)

    def check(self) -> None:
        """What is true at every moment."""
        for unit in ("frames", "bytes"):
            parts = [getattr(getattr(self.counters, name), unit) for name in TALLIES]
            assert getattr(self.counters.offered, unit) == sum(parts)
        assert self.counters.queue_high_bytes >= self.counters.queued.bytes
        assert self.counters.queued.bytes + self.counters.air.bytes <= HELD


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("lane") / "lane.so"
    checked = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    command = ["cc", "-std=c11", "-O1", "-shared", "-fPIC", *checked, "-o", str(path), str(NATIVE / "lane.c")]
    subprocess.run(command, check=True)
    return ffi.dlopen(str(path))


def made(library: Any, seed: int = 0) -> Lane:
    lane = ffi.new("struct lane *")
    library.lane_init(lane, seed)
    return Lane(ffi.gc(lane, library.lane_free), library)


@pytest.fixture
def lane(library: Any) -> Iterator[Lane]:
    one = made(library)
    yield one
    one.check()


def test_a_frame_on_an_idle_link_takes_its_transmission_and_the_delay(lane: Lane) -> None:
    lane.set(kbit_s=1000, delay_ms=50)
    lane.now = 7 * MS
    lane.offer(1250)
    assert lane.until_empty() == [(67 * MS, 0)]
    assert lane.counters.queue_high_bytes == 0


def test_without_a_rate_only_the_delay_is_left(lane: Lane) -> None:
    lane.set(delay_ms=50)
    for mark in range(3):
        lane.offer(FRAME, mark)
    assert lane.until_empty() == [(50 * MS, 0), (50 * MS, 1), (50 * MS, 2)]


def test_frames_that_come_together_leave_at_the_rate(lane: Lane) -> None:
    lane.set(kbit_s=8)
    for mark in range(5):
        lane.offer(1000, mark)
    assert lane.until_empty() == [(1000 * MS * (mark + 1), mark) for mark in range(5)]


def test_an_owner_that_comes_late_does_not_change_the_rate(lane: Lane) -> None:
    lane.set(kbit_s=8)
    lane.offer(1000, 0)
    lane.offer(1000, 1)
    lane.now = 10_000 * MS
    lane.offer(1000, 2)
    assert lane.arrived() == [(1000 * MS, 0), (2000 * MS, 1)]
    assert (lane.counters.late_frames, lane.counters.late_most_ns) == (2, 9000 * MS)
    assert lane.counters.late_total_ns == 17_000 * MS
    assert lane.until_empty() == [(11_000 * MS, 2)]
    assert lane.counters.late_frames == 2


@pytest.mark.parametrize("queue", [2048, 32768])
@pytest.mark.parametrize("size", [60, 1514])
def test_the_queue_takes_what_fits_and_no_more(lane: Lane, queue: int, size: int) -> None:
    lane.set(kbit_s=8, queue=queue)
    for mark in range(1000):
        lane.offer(size, mark)
    fit = queue // size
    # One is being transmitted: it waits no more.
    assert lane.frames("queued") == fit
    assert lane.frames("air") == 1
    assert lane.frames("queue_full") == 1000 - fit - 1
    assert lane.counters.queue_high_bytes == fit * size
    assert [mark for _, mark in lane.until_empty()] == list(range(fit + 1))


def test_a_shorter_queue_lets_what_waits_go_on_waiting(lane: Lane) -> None:
    lane.set(kbit_s=8, queue=32768)
    for mark in range(10):
        lane.offer(1000, mark)
    lane.set(kbit_s=8, queue=2048)
    lane.offer(1000, 10)
    assert [mark for _, mark in lane.until_empty()] == list(range(10))
    lane.offer(1000, 11)
    assert [mark for _, mark in lane.until_empty()] == [11]


def test_another_rate_begins_with_what_is_not_yet_transmitted(lane: Lane) -> None:
    lane.set(kbit_s=8)
    lane.offer(1000, 0)
    lane.offer(1000, 1)
    lane.now = 500 * MS
    lane.set(kbit_s=80)
    assert lane.until_empty() == [(1000 * MS, 0), (1100 * MS, 1)]


def test_a_shorter_delay_overtakes_nobody(lane: Lane) -> None:
    lane.set(delay_ms=100)
    lane.offer(1000, 0)
    lane.now = 10 * MS
    lane.set(delay_ms=20)
    lane.offer(1000, 1)
    lane.now = 95 * MS
    lane.offer(1000, 2)
    assert lane.until_empty() == [(100 * MS, 0), (100 * MS, 1), (115 * MS, 2)]


def lost(library: Any, seed: int, loss: int, count: int) -> list[int]:
    """Which of `count` frames are lost."""
    lane = made(library, seed)
    lane.set(loss=loss)
    for mark in range(count):
        lane.offer(60, mark)
    return sorted(set(range(count)) - {mark for _, mark in lane.until_empty()})


def test_the_share_that_is_lost_is_the_one_that_was_asked_for(library: Any) -> None:
    assert lost(library, 1, 0, 10_000) == []
    assert len(lost(library, 1, ALL, 10_000)) == 10_000
    # Five standard deviations.
    assert abs(len(lost(library, 1, ALL // 100, 100_000)) - 1000) < 160
    assert abs(len(lost(library, 1, ALL // 2, 100_000)) - 50_000) < 800


def test_a_seed_loses_the_same_frames_and_another_others(library: Any) -> None:
    assert lost(library, 5, ALL // 10, 1000) == lost(library, 5, ALL // 10, 1000)
    assert lost(library, 5, ALL // 10, 1000) != lost(library, 6, ALL // 10, 1000)
    # A higher share loses those and more.
    assert set(lost(library, 5, ALL // 10, 1000)) < set(lost(library, 5, ALL // 5, 1000))


def test_a_lost_frame_takes_its_time_on_the_link(lane: Lane) -> None:
    lane.set(kbit_s=8, loss=ALL)
    lane.offer(1000, 0)
    lane.set(kbit_s=8, loss=0)
    lane.offer(1000, 1)
    assert lane.frames("lost") == 1
    assert lane.until_empty() == [(2000 * MS, 1)]


def test_no_more_is_held_than_the_bound(lane: Lane) -> None:
    lane.set(delay_ms=5000)
    fit = HELD // FRAME
    for mark in range(fit + 10):
        lane.offer(FRAME, mark)
    assert (lane.frames("air"), lane.frames("overrun")) == (fit, 10)
    assert len(lane.until_empty()) == fit


def test_what_the_other_end_does_not_take_is_counted(lane: Lane) -> None:
    lane.offer(100)
    assert len(lane.arrived(taken=False)) == 1
    assert (lane.frames("refused"), lane.frames("delivered")) == (1, 0)


STEPS: Final = st.lists(
    st.tuples(st.integers(0, 40 * MS), st.integers(14, FRAME), st.booleans()), min_size=1, max_size=80
)


@given(
    steps=STEPS,
    kbit_s=st.sampled_from([0, 8, 100, 1000, 40_000]),
    delay_ms=st.sampled_from([0.0, 0.5, 50.0]),
    loss=st.sampled_from([0, ALL // 20, ALL // 2]),
    queue=st.sampled_from([2048, 8192, 32768]),
)
def test_when_it_is_looked_at_changes_nothing(
    library: Any, steps: list[tuple[int, int, bool]], kbit_s: int, delay_ms: float, loss: int, queue: int
) -> None:
    """What arrives, when, and what is dropped do not depend on how punctual the owner is."""
    results = []
    for punctual in (True, False):
        lane = made(library, 3)
        lane.set(kbit_s, delay_ms, loss, queue)
        arrived = []
        for mark, (gap, size, look) in enumerate(steps):
            due = lane.now + gap
            while punctual and (wake := lane.lib.lane_wake_ns(lane.c)) <= due:
                lane.now = max(lane.now, wake)
                arrived += lane.arrived()
            lane.now = due
            if look:
                arrived += lane.arrived()
            lane.offer(size, mark)
            assert lane.counters.queued.bytes <= queue
        arrived += lane.until_empty()
        assert arrived == sorted(arrived), "in the order in which they came"
        results.append((arrived, [lane.frames(name) for name in TALLIES], lane.counters.queue_high_bytes))
    assert results[0] == results[1]
