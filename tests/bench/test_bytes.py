"""What the benchmark makes of its measurements: pairs that do not match, ratios, SSIM, tiles."""

from pathlib import Path

import numpy as np
import pytest

from bench import bytes as on_the_wire
from bench.bytes import LIVE, OURS, TIGHT_LOSSLESS, Taken, ratios
from bench.frames import Pixels, changed_box, parse_ssim, to_rgb565
from bench.peers import changed_tiles, websocket
from bench.scenes import FOLDER, Scene, read_scene
from bench.sessions import Arrival, Session, System


def session(name: str, updates: int, *, ended_with: str = "end") -> Session:
    """One that took so many updates of 100 bytes after a first picture of 1000."""
    arrivals = [Arrival(0.5, 1000), *(Arrival(1 + 0.03 * i, 1000 + 100 * i) for i in range(1, updates + 1))]
    return Session(
        system=name,
        arrivals=[*arrivals, Arrival(60.0, 1_000_000)],
        begun_s=1.0,
        ended_s=1 + 0.03 * updates,
        exact_s=60.0,
        started_with="start",
        ended_with=ended_with,
        folder=Path("/nonexistent"),
    )


def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcomes: dict[str, list[Session]]) -> Taken:
    """`take_live` with sessions that are made up."""

    def played(_scene: Scene, system: System, _folder: Path) -> Session:
        return outcomes[system.name].pop(0)

    monkeypatch.setattr(on_the_wire, "play", played)
    monkeypatch.setattr(on_the_wire, "updates_logged", lambda _folder: None)
    (tmp_path / "files").mkdir()
    systems = [system for system in LIVE if system.name in outcomes]
    return on_the_wire.take_live(read_scene(FOLDER / "terminal.toml"), systems, tmp_path)


def test_bytes_end_with_the_motion() -> None:
    taken = session("tilewire", 100)
    assert taken.updates == 100
    assert taken.bytes == 10_000
    assert taken.still_bytes == 1000
    assert taken.bytes_to_exact == 999_000


@pytest.mark.parametrize(("updates", "again"), [(105, False), (106, True), (94, True)])
def test_pair_that_differs_by_more_than_five_percent_is_run_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, updates: int, again: bool
) -> None:
    name = TIGHT_LOSSLESS.name
    runs = [session(name, updates), session(name, 101)]
    taken = play(monkeypatch, tmp_path, {"tilewire": [session("tilewire", 100)], name: runs})
    assert taken.sessions[name].updates == (101 if again else updates)
    assert taken.notes == {}


def test_pair_that_differs_twice_is_invalid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = TIGHT_LOSSLESS.name
    runs = [session(name, 80), session(name, 120)]
    taken = play(monkeypatch, tmp_path, {"tilewire": [session("tilewire", 100)], name: runs})
    assert taken.notes == {name: "120 updates against 100, twice"}


def test_another_picture_in_the_end_is_no_pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = OURS[1].name
    runs = [session(name, 100, ended_with="other"), session(name, 100, ended_with="other")]
    taken = play(monkeypatch, tmp_path, {"tilewire": [session("tilewire", 100)], name: runs})
    assert taken.notes == {name: "another picture after the motion, twice"}


def test_ratio_of_an_invalid_pair_is_no_verdict() -> None:
    rows = [
        {"scene": "terminal", "system": "tilewire", "bytes": 5, "valid": True},
        {"scene": "terminal", "system": "tigervnc-tight-lossless", "bytes": 100, "valid": False},
        {"scene": "terminal", "system": "x264-crf23", "bytes": 8, "valid": True},
    ]
    vnc, x264 = ratios(rows)
    assert "0.0500" in vnc
    assert "INVALID" in vnc
    assert "0.6250, target 0.5: 1.25 times the target" in x264


def test_ssim_is_the_one_over_all_planes() -> None:
    said = "[Parsed_ssim_0 @ 0x5] SSIM G:0.998124 (27.2) B:0.99 (21.1) R:0.99 (22.4) All:0.993211 (21.683194)\n"
    assert parse_ssim(said) == 0.993211
    assert parse_ssim("Conversion failed!") is None


def test_conversion_to_rgb565_truncates() -> None:
    assert to_rgb565(bytes((0xFF, 0x07, 0x08, 0xAA))) == (1 << 11 | 1 << 5 | 31).to_bytes(2, "little")


def test_tiles_are_joined() -> None:
    before: Pixels = np.zeros((96, 160, 3), np.uint8)
    after = before.copy()
    after[33, 33:70] = 1
    assert changed_box(before, after) == (33, 33, 70, 34)
    assert changed_tiles(before, after) == [(32, 32, 64, 32)]
    assert len(changed_tiles(before, before + 1)) == 4
    assert changed_tiles(before, before) == []
    assert [websocket(size) for size in (125, 126, 65535, 65536)] == [127, 130, 65539, 65546]
