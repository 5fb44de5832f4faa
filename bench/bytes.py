"""Bytes on the wire: scenes of real programs through tilewire and through what a user would pick instead.

    python -m bench bytes [--quick] [--scene NAME|FILE]... [--systems NAME,NAME...]

Every live system gets the same stage: an X server of its own (Xvfb for tilewire, Xvnc for TigerVNC, both at 96 dots
per inch), the same program, the same input by XTest at the same times, at most 30 updates a second. That the same
motion reached them is checked: the screens before and after it must be equal, to the pixel, in all sessions; that the
viewer got it all: what it shows must become equal to the screen. A pair whose updates differ by more than 5% is run
again, then marked invalid. (In lossy scenes, which no lossless system need keep up with, every system's updates are
held against the recorder's, and those of the lossy pair against each other.)

Rows (bench/out/bytes.json): `bytes` is TCP payload from server to device from the first input to the screen's last
change and 0.1 s more; `bytes_to_exact` until the device shows the resting screen exactly; `updates` those of the
motion that drew something. Our device asks for no cursor; the cursor shapes that TigerVNC sends are not counted.
`server_cpu_s` is the X server and what encodes, without the program; `client_cpu_s` the viewer (ours: receiving and
decoding). A scene's first picture, sent to a viewer that has just connected, is a scene of its own, NAME:still.

`lossless` is measured. Ours: the device's framebuffer equals the picture that the update was made of at every END of
the motion (tilewire-565: that picture in RGB565; the screens at rest are converted a second time, by the benchmark,
and compared). TigerVNC: no rectangle was JPEG, and the viewer showed the screen exactly in the end.

Systems that encode frames get frames that a recorder took in one more session of the same program: whenever the
screen had changed, at most 30 a second (a fixed 30 would charge them for frames that changed nothing). SSIM is
ffmpeg's, over red, green and blue planes, the mean over the source frames. For lossy scenes (photographs, video)
tilewire-lossy and tigervnc-tight-q8 both see a replay of these frames by a program that draws them, so that the source
of every update is known; tilewire-lossy is the lowest quality whose SSIM reaches tigervnc-tight-q8's.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tilewire.protocol import PixelFormat

from bench import chart, peers, replay
from bench.frames import Frames, select, ssim
from bench.ours import Motion, Tilewire, motion
from bench.record import Recorder, recorded
from bench.report import OUT, marked, table, write
from bench.scenes import FOLDER, Scene, SceneError, read_scene
from bench.sessions import Session, System, play
from bench.stage import StageError, prepare
from bench.vnc import TigerVnc, updates_logged

SCENES: Final = ("docs-scroll", "terminal", "window-drag", "menus", "photos-scroll", "gimp-stroke", "video")
QUICK_SCENES: Final = ("docs-scroll", "terminal")
UPDATES_DIFFER: Final = 0.05
QUALITIES: Final = tuple(range(10, 91, 5))

OURS: Final = (
    Tilewire(name="tilewire", pixel_format=PixelFormat.XRGB8888),
    Tilewire(name="tilewire-565", pixel_format=PixelFormat.RGB565),
)
TIGHT_LOSSLESS: Final = TigerVnc(name="tigervnc-tight-lossless", options=("-PreferredEncoding=Tight", "-NoJPEG=1"))
# It refines what has come to rest, but by JPEG of a higher quality: it is never exact.
TIGHT_Q8: Final = TigerVnc(
    name="tigervnc-tight-q8", options=("-PreferredEncoding=Tight", "-QualityLevel=8"), exact=False
)
ZRLE: Final = TigerVnc(name="tigervnc-zrle", options=("-PreferredEncoding=ZRLE", "-NoJPEG=1"))
LIVE: Final[tuple[Tilewire | TigerVnc, ...]] = (*OURS, TIGHT_LOSSLESS, TIGHT_Q8, ZRLE)
QUICK_LIVE: Final = (*OURS, TIGHT_LOSSLESS)

TARGETS: Final = (
    # ours, the peer, at most, in which scenes
    ("tilewire", "tigervnc-tight-lossless", 1 / 20, QUICK_SCENES),
    ("tilewire-565", "tigervnc-tight-lossless", 1 / 25, QUICK_SCENES),
    ("tilewire", "x264-crf23", 0.5, QUICK_SCENES),
    ("tilewire-565", "x264-crf23", 0.4, QUICK_SCENES),
    ("tilewire-lossy", "tigervnc-tight-q8", 1.0, ("photos-scroll", "video")),
    ("tilewire", "webp-lossless", 1.2, tuple(f"{name}:still" for name in ("docs-scroll", "terminal", "menus"))),
)

Row = dict[str, object]
KEYS: Final = (
    *("scene", "system", "lossless", "ssim", "bytes", "bytes_to_exact", "bytes_up", "updates"),
    *("server_cpu_s", "client_cpu_s", "valid", "quality", "note"),
)


def say(text: str) -> None:
    """One line of progress."""
    print(f"bytes: {text}", flush=True)


@dataclass(slots=True)
class Taken:
    """What was measured of one scene."""

    scene: Scene
    folder: Path
    sessions: dict[str, Session] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    """Why a pair is not comparable, by system."""
    runs: int = 0

    @property
    def reference(self) -> str:
        """Whose updates all others must match: ours; where lossless may be slower than the scene, the recorder's."""
        return Recorder.name if self.scene.lossy else "tilewire"


def take_live(scene: Scene, systems: Sequence[System], folder: Path) -> Taken:
    """All live systems, and again where a pair does not match."""
    taken = Taken(scene, folder)
    for system in systems:
        _take(taken, system)
    reference = taken.sessions.get(taken.reference)
    if reference is None:
        return taken
    odd = [system for system in systems if _mismatch(taken, system.name)]
    if len(odd) > 1 and abs(reference.updates - _usual(taken)) > UPDATES_DIFFER * _usual(taken):
        say(f"{scene.name}: {taken.reference} again: {_mismatch(taken, odd[0].name)}")
        _take(taken, next(system for system in systems if system.name == taken.reference))
        odd = [system for system in systems if _mismatch(taken, system.name)]
    for system in odd:
        say(f"{scene.name}: {system.name} again: {_mismatch(taken, system.name)}")
        _take(taken, system)
        if why := _mismatch(taken, system.name):
            taken.notes[system.name] = f"{why}, twice"
            say(f"{scene.name}: {system.name} is invalid: {why}")
    return taken


def _usual(taken: Taken) -> float:
    return statistics.median(session.updates for session in taken.sessions.values())


def _mismatch(taken: Taken, name: str) -> str | None:
    """Why a system's session cannot be compared with the one that it is measured against."""
    ours, other = taken.sessions.get(taken.reference), taken.sessions.get(name)
    if ours is None or other is None or ours is other:
        return None
    if taken.scene.lossy and name == TIGHT_Q8.name:
        # Its row comes from the replay.
        return None
    if ours.started_with != other.started_with:
        return "another picture before the motion"
    if ours.ended_with != other.ended_with:
        return "another picture after the motion"
    if abs(other.updates - ours.updates) > UPDATES_DIFFER * ours.updates:
        return f"{other.updates} updates against {ours.updates}"
    return None


def _take(taken: Taken, system: System) -> None:
    """One session; once more if it fails."""
    for attempt in (1, 2):
        taken.runs += 1
        folder = taken.folder / f"{taken.runs}-{system.name}"
        folder.mkdir()
        shutil.copytree(taken.folder / "files", folder, dirs_exist_ok=True)
        started = time.monotonic()
        try:
            session = play(taken.scene, system, folder)
        except StageError as error:
            say(f"{taken.scene.name}: {system.name}: {error}")
            taken.failures[system.name] = str(error)
            if attempt == 2:
                return
            continue
        if isinstance(system, TigerVnc):
            _check_count(taken, session)
        taken.failures.pop(system.name, None)
        old = taken.sessions.get(system.name)
        if old is not None:
            shutil.rmtree(old.folder, ignore_errors=True)
        taken.sessions[system.name] = session
        size = "" if system.name == Recorder.name else f"{session.bytes:,} bytes in "
        rest = "" if not size or session.exact_s is None else f", exact after {session.bytes_to_exact:,}"
        took_s = time.monotonic() - started
        say(f"{taken.scene.name}: {system.name}: {size}{session.updates} updates{rest} ({took_s:.1f} s)")
        return


def _check_count(taken: Taken, session: Session) -> None:
    """Xvnc's own count of its updates beside ours."""
    logged, counted = updates_logged(session.folder), sum(arrival.drawing for arrival in session.arrivals)
    if logged != counted:
        say(f"{taken.scene.name}: {session.system}: Xvnc's log has {logged} updates, its stream {counted} with pixels")


def live_row(taken: Taken, system: Tilewire | TigerVnc, motions: Mapping[str, Motion]) -> Row:
    """The row of one live system."""
    session = taken.sessions[system.name]
    if isinstance(system, Tilewire):
        lossless = motions[system.name].lossless
        note = "lossless against the source converted to RGB565" if system.pixel_format is PixelFormat.RGB565 else ""
    else:
        lossless = not any(arrival.lossy for arrival in session.arrivals) and session.exact_s is not None
        note = ""
    return _row(
        taken.scene.name,
        system.name,
        lossless=lossless,
        ssim=1.0 if lossless else None,
        bytes=session.bytes,
        bytes_to_exact=session.bytes_to_exact,
        bytes_up=session.up,
        updates=session.updates,
        server_cpu_s=session.server_cpu_s,
        client_cpu_s=session.client_cpu_s,
        valid=system.name not in taken.notes,
        note=taken.notes.get(system.name, note),
    )


def _row(scene: str, system: str, **values: object) -> Row:
    row: Row = dict.fromkeys(KEYS)
    row.update({"scene": scene, "system": system, "valid": True, "note": ""})
    row.update(values)
    return row


def encoded_row(scene: str, encoded: peers.Encoded, why: str | None) -> Row:
    """The row of a system that encodes frames. `why`: they are not comparable with tilewire's updates."""
    return _row(
        scene,
        encoded.system,
        lossless=encoded.lossless,
        ssim=encoded.ssim,
        bytes=encoded.bytes,
        updates=encoded.updates,
        server_cpu_s=encoded.cpu_s,
        valid=why is None,
        note=why or "",
    )


def still_rows(
    taken: Taken, systems: Sequence[Tilewire | TigerVnc], frames: Frames, encoded: Sequence[peers.Encoded]
) -> list[Row]:
    """What a first picture costs."""
    scene = f"{taken.scene.name}:still"
    rows = []
    for system in systems:
        session = taken.sessions.get(system.name)
        if session is None or session.still_bytes is None:
            continue
        exact = session.still_exact
        rows.append(
            _row(
                scene,
                system.name,
                lossless=exact and not any(a.lossy for a in session.arrivals if a.when_s <= session.begun_s),
                ssim=1.0 if exact else None,
                bytes=session.still_bytes,
                bytes_to_exact=session.still_bytes if exact else None,
            )
        )
    pixels = frames.rgb(0)
    for name, data in (("png", peers.png(pixels)), ("webp-lossless", peers.webp_lossless(pixels, taken.folder))):
        exact = bool((peers.pixels_of(data) == pixels).all())
        rows.append(_row(scene, name, lossless=exact, ssim=1.0 if exact else None, bytes=len(data)))
    return rows + [_row(scene, one.system, lossless=False, bytes=one.still_bytes) for one in encoded]


def take_scene(scene: Scene, systems: Sequence[Tilewire | TigerVnc], folder: Path, *, quick: bool) -> list[Row]:
    """All rows of one scene. Raises StageError."""
    files = folder / "files"
    files.mkdir(parents=True)
    prepare(scene, files)
    taken = take_live(scene, [*systems, Recorder()], folder)
    ours = taken.sessions.get("tilewire")
    if ours is None:
        raise StageError(f"{scene.name}: tilewire itself failed: {taken.failures.get('tilewire')}")
    motions = {
        system.name: motion(taken.sessions[system.name], scene.size, system.pixel_format)
        for system in systems
        if isinstance(system, Tilewire) and system.name in taken.sessions
    }
    rows = [live_row(taken, system, motions) for system in systems if system.name in taken.sessions]
    own = taken.sessions.pop(Recorder.name, None)
    if own is None:
        raise StageError(f"{scene.name}: the recorder failed: {taken.failures.get(Recorder.name)}")
    recording, numbers = recorded(own, scene.size)
    frames = select(recording, numbers, folder / "source.raw")
    recording.path.unlink()
    work = folder / "encoded"
    work.mkdir()
    encoded = peers.encode_all(frames, work, lambda text: say(f"{scene.name}: {text}"))
    shutil.rmtree(work)
    why = taken.notes.get(Recorder.name)
    rows += [encoded_row(scene.name, one, why) for one in encoded]
    if not quick:
        rows = take_lossy(scene, frames, folder, rows, sweep=scene.lossy)
    return rows + still_rows(taken, systems, frames, encoded)


def take_lossy(scene: Scene, frames: Frames, folder: Path, rows: list[Row], *, sweep: bool) -> list[Row]:
    """Replays: SSIM of TigerVNC at quality 8, and ours at the lowest quality that reaches it."""
    shown = replay.scene_of(scene, frames)
    taken = Taken(shown, folder / "replay")
    (taken.folder / "files").mkdir(parents=True)
    _take(taken, TIGHT_Q8)
    q8 = taken.sessions.get(TIGHT_Q8.name)
    if q8 is None:
        return rows
    wanted, states = replay.tight_ssim(q8, frames, folder)
    say(f"{scene.name}: {TIGHT_Q8.name}: SSIM {wanted:.4f} on a replay of the same frames")
    for row in rows:
        if row["system"] == TIGHT_Q8.name:
            row["ssim"] = wanted
            if sweep:
                row.update(_replayed(taken, TIGHT_Q8.name))
                row.update(updates=states, valid=True)
    if not sweep:
        return rows
    best = _lowest_quality(taken, wanted, states)
    return rows if best is None else [*rows, best]


def _lowest_quality(taken: Taken, wanted: float, states: int) -> Row | None:
    """The session at the lowest quality whose SSIM is high enough; where none is, lossless if that keeps up."""
    best: Row | None = None
    nearest: Row | None = None
    low, high = 0, len(QUALITIES) - 1
    while low <= high:
        at = (low + high) // 2
        found = _lossy_session(taken, QUALITIES[at])
        if found is None:
            return None
        if _number(found, "ssim") >= wanted:
            best, high = found, at - 1
        else:
            nearest, low = found, at + 1
        if found["lossless"]:
            break
    if best is None:
        best = _lossy_session(taken, None)
    if best is not None and abs(_number(best, "updates") - states) > UPDATES_DIFFER * states:
        best.update(valid=False, note=f"{best['updates']} updates against {states}")
        if nearest is not None and best["quality"] is None:
            best = nearest
            best.update(valid=False, note=f"the highest quality, but not the SSIM of {wanted:.4f}")
    return best


def _number(row: Mapping[str, object], key: str) -> float:
    value = row[key]
    return float(value) if isinstance(value, int | float) else 0.0


def _lossy_session(taken: Taken, quality: int | None) -> Row | None:
    """Ours with JPEG at one quality, or without, on a replay."""
    system = Tilewire(
        name="tilewire-lossy",
        pixel_format=PixelFormat.XRGB8888,
        jpeg=quality is not None,
        quality=quality,
        keep=True,
    )
    _take(taken, system)
    session = taken.sessions.get(system.name)
    if session is None:
        return None
    seen = motion(session, taken.scene.size, system.pixel_format)
    chosen = [seen.before, *seen.news]
    sources = select(seen.sources, chosen, taken.folder / "lossy-sources.raw")
    device = Frames(session.folder / "shown.raw", taken.scene.size, system.pixel_format)
    shown = select(device, chosen, taken.folder / "lossy-shown.raw")
    width, height = taken.scene.size
    words = ["-f", "rawvideo", "-pix_fmt", "bgr0", "-video_size", f"{width}x{height}", "-i", str(shown.path)]
    value = 1.0 if seen.lossless else ssim(sources, words)
    for path in (sources.path, shown.path, device.path, seen.sources.path):
        path.unlink()
    how = "without JPEG" if quality is None else f"at quality {quality}"
    say(f"{taken.scene.name}: {system.name} {how}: {session.bytes:,} bytes, SSIM {value:.4f}")
    row = _row(taken.scene.name, system.name, lossless=seen.lossless, ssim=value, quality=quality)
    row.update(_replayed(taken, system.name))
    if seen.lossless:
        row["note"] = f"{row['note']}; no JPEG " + ("reaches that SSIM" if quality is None else "was sent")
    return row


def _replayed(taken: Taken, name: str) -> Row:
    session = taken.sessions[name]
    return {
        "bytes": session.bytes,
        "bytes_to_exact": session.bytes_to_exact,
        "bytes_up": session.up,
        "updates": session.updates,
        "server_cpu_s": session.server_cpu_s,
        "client_cpu_s": session.client_cpu_s,
        "note": "on a replay of tilewire's source frames",
    }


def ratios(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The targets' ratios that these rows have, a line each."""
    known = {(row["scene"], row["system"]): row for row in rows}
    lines = []
    everywhere = list(dict.fromkeys(str(row["scene"]) for row in rows))
    for ours, peer, target, scenes in TARGETS:
        for scene in everywhere:
            one, other = known.get((scene, ours)), known.get((scene, peer))
            if one is None or other is None or not other["bytes"]:
                continue
            ratio = _number(one, "bytes") / _number(other, "bytes")
            comparable = bool(one["valid"] and other["valid"])
            verdict = "met" if ratio <= target else f"{ratio / target:.2f} times the target"
            text = marked(verdict, ratio <= target) if comparable else "INVALID pair"
            aim = f"target {target:.4g}: {text}" if scene in scenes or not comparable else "no target for this scene"
            lines.append(f"{scene:20} {ours} / {peer}: {ratio:.4f}, {aim}")
    return lines


def _shown(row: Mapping[str, object]) -> Row:
    """A row as the table has it."""
    value = row["ssim"]
    shown = {key: row[key] for key in KEYS if key not in ("quality", "note")}
    return shown | {"ssim": f"{value:.4f}" if isinstance(value, float) else "-"}


def finish(rows: Sequence[Row], subtitle: str) -> None:
    """Write everything that is known so far."""
    write("bytes", rows)
    shown = [_shown(row) for row in rows]
    notes = [f"- {row['scene']}, {row['system']}: {row['note']}" for row in rows if row["note"]]
    text = "\n\n".join((f"# Bytes on the wire\n\n{subtitle}", table(shown), "\n".join(notes)))
    (OUT / "bytes.md").write_text(text.rstrip() + "\n")
    chart.draw(rows, OUT / "bytes.png", subtitle)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench bytes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{' and '.join(QUICK_SCENES)} only, the main peers only")
    parser.add_argument("--scene", action="append", metavar="NAME|FILE", help="this scene; may be repeated")
    parser.add_argument("--systems", metavar="NAME,NAME", help="only these live systems besides tilewire")
    return parser.parse_args(argv)


def _scenes(arguments: argparse.Namespace) -> list[Scene]:
    names = arguments.scene or (QUICK_SCENES if arguments.quick else SCENES)
    return [read_scene(Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml") for name in names]


def _stop(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str]) -> int:
    """Entry point."""
    arguments = _arguments(argv)
    systems: Sequence[Tilewire | TigerVnc] = QUICK_LIVE if arguments.quick else LIVE
    if arguments.systems:
        wanted = {"tilewire", *arguments.systems.split(",")}
        systems = [system for system in LIVE if system.name in wanted]
    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    rows: list[Row] = []
    failed = 0
    OUT.mkdir(exist_ok=True)
    try:
        scenes = _scenes(arguments)
        for scene in scenes:
            say(f"{scene.name}: {scene.about}")
            with tempfile.TemporaryDirectory(prefix="tilewire-bytes-", ignore_cleanup_errors=True) as folder:
                try:
                    rows += take_scene(scene, systems, Path(folder), quick=arguments.quick)
                except StageError as error:
                    say(f"{scene.name} failed: {error}")
                    failed += 1
            if rows:
                finish(rows, _subtitle(rows))
    except SceneError as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("stopped")
        return 130
    if rows:
        print()
        print(table([_shown(row) for row in rows]))
        print()
        for line in ratios(rows):
            print(line)
        say(f"{OUT / 'bytes.json'}, bytes.md and bytes.png beside it; {time.monotonic() - started:.0f} s in all")
    return 1 if failed else 0


def _subtitle(rows: Sequence[Row]) -> str:
    scenes = len({str(row["scene"]).partition(":")[0] for row in rows})
    what = f"TCP payload of {scenes} scene{'s' if scenes > 1 else ''} at up to 30 updates a second"
    return f"{what}, the same motion for every system; ×: against tilewire"
