"""The stage of a scene: X servers, the program, hands that move it, eyes that see when and what it draws.

Everything that is started here is a process group of its own, dies with this process, and has ended when the block
that started it ends. Nothing here depends on which system is measured: the same hands press the same keys at the
same times on every X server.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mss
from mss.exception import ScreenShotError
from Xlib import XK, X
from Xlib import display as xdisplay
from Xlib.error import ConnectionClosedError, DisplayError
from Xlib.ext import damage, xtest

from tilewire.server.x11.numbers import reserved_number

from bench.scenes import Point, Scene, Step, Verb

START_S: Final = 15.0
END_S: Final = 2.0
QUIET_LIMIT_S: Final = 30.0
POLL_S: Final = 0.05
X_OPTIONS: Final = ("-noreset", "-nolisten", "tcp", "-r", "-dpi", "96")
"""Of every X server. No autorepeat; left alone, Xvfb says 100 dots per inch and Xvnc 96, and letters differ."""
WHEEL_UP, WHEEL_DOWN = 4, 5
DRAG_SETTLE_S: Final = 0.1
"""Between a button and the first motion: programs tell a drag from a click."""


class StageError(Exception):
    """Something that the benchmark needs did not start or did not happen; one plain sentence."""


# Processes.

_libc: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def process(
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command inside the block, in a process group of its own, its output in `log`. Raises StageError."""
    if shutil.which(command[0]) is None:
        raise StageError(f"{command[0]} is not installed: tools/setup.sh bench")
    with log.open("ab") as output:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            pass_fds=pass_fds,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call into libc
        )
    try:
        yield started
    finally:
        end_group(started)


def end_group(started: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started in its group."""
    for number, patience_s in ((signal.SIGTERM, END_S), (signal.SIGKILL, END_S)):
        try:
            os.killpg(started.pid, number)
        except ProcessLookupError:
            break
        try:
            started.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    started.poll()


def cpu_s(pid: int) -> float:
    """User and system time of a process so far; 0 when it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


# X servers.


@dataclass(frozen=True, slots=True)
class XServer:
    """A running X server."""

    name: str
    pid: int


@contextmanager
def x_server(command: Sequence[str], log: Path) -> Iterator[XServer]:
    """Start an X server under a free display number. Raises StageError and DisplayError."""
    reading, writing = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, reading)
        try:
            number = stack.enter_context(reserved_number())
            words = [*command[:1], f":{number}", "-displayfd", str(writing), *command[1:]]
            started = stack.enter_context(process(words, log, pass_fds=(writing,)))
        finally:
            os.close(writing)
        text = b""
        deadline = time.monotonic() + START_S
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(reading, 16) if ready else b""
            if not part:
                raise StageError(f"{command[0]} did not start; {log} ends: {log.read_text(errors='replace')[-400:]}")
            text += part
        yield XServer(f":{int(text)}", started.pid)


@contextmanager
def xvfb(size: tuple[int, int], log: Path) -> Iterator[XServer]:
    """A screen without a monitor, as `tilewire run` starts one."""
    width, height = size
    command = ["Xvfb", "-screen", "0", f"{width}x{height}x24", *X_OPTIONS]
    with x_server(command, log) as server:
        yield server


# Programs.


def program_words(scene: Scene, folder: Path) -> list[str]:
    """The scene's command, with what a bare `chromium` needs to fill the screen."""
    words = scene.words(scene.command, folder)
    if Path(words[0]).name != "chromium" or any(word.startswith("--user-data-dir") for word in words):
        return words
    width, height = scene.size
    profile = tempfile.mkdtemp(prefix="profile-", dir=folder)
    return [
        words[0],
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        *("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}", "--kiosk"),
        # Without a window manager the last column and row stay black.
        *(f"--window-size={width + 1},{height + 1}", "--window-position=0,0"),
        *words[1:],
    ]


def home(folder: Path) -> dict[str, str]:
    """The environment of a program: an empty home."""
    return {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config"), "LC_ALL": "C.UTF-8"}


def prepare(scene: Scene, folder: Path) -> None:
    """Make the files that the scene's program shows. Raises StageError."""
    for command in scene.prepare:
        words = scene.words(command, folder)
        if shutil.which(words[0]) is None:
            raise StageError(f"{words[0]} is not installed: tools/setup.sh bench")
        try:
            made = subprocess.run(
                words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False
            )
        except subprocess.TimeoutExpired:
            raise StageError(f"{scene.name}: {' '.join(words)[:80]} took more than 120 s") from None
        if made.returncode:
            said = made.stderr.decode(errors="replace").strip()[-300:]
            raise StageError(f"{scene.name}: {' '.join(words)[:80]} failed: {said}")


class XDisplay(xdisplay.Display):
    """python-xlib for several X servers in one process, with the two extensions that are needed.

    It keeps the extensions' numbers in its class, where the last X server's replace all others', and it trips over
    those of Xvnc.
    """

    def list_extensions(self) -> list[str]:
        # The first that the constructor asks for.
        connection = self.display
        connection.extension_major_opcodes = {}
        connection.event_classes = connection.event_classes.copy()
        connection.error_classes = connection.error_classes.copy()
        return [name for name in super().list_extensions() if name in ("XTEST", "DAMAGE")]


# Eyes.


def _grabber(name: str) -> mss.MSS:
    """Xvnc lists its depth twice, which trips mss's XCB code; the Xlib code takes it."""
    try:
        return mss.MSS(display=name)
    except ScreenShotError:
        return mss.MSS(display=name, backend="xlib")


class Eyes:
    """What an X screen shows, or a part of it."""

    def __init__(self, name: str, size: tuple[int, int], at: Point = (0, 0)) -> None:
        width, height = size
        self._area = {"left": at[0], "top": at[1], "width": width, "height": height}
        self._mss = _grabber(name)

    def grab(self) -> bytes:
        """All pixels: blue, green, red and an unused byte each."""
        return bytes(self._mss.grab(self._area).bgra)

    def picture(self) -> bytes:
        """All pixels with the unused byte cleared: comparable."""
        return comparable(self.grab())

    def close(self) -> None:
        """Look away."""
        self._mss.close()


class Watch(Eyes):
    """Eyes that also notice when the screen changes."""

    def __init__(self, name: str, size: tuple[int, int]) -> None:
        super().__init__(name, size)
        self._stop = threading.Event()
        self.changes = 0
        self.changed_s = time.monotonic()
        """When the X server reported a change last, by the monotonic clock."""
        self._display = XDisplay(name)
        self._watcher = threading.Thread(target=self._watch, name="eyes", daemon=True)
        self._display.damage_query_version()
        # Every drawing is reported: nothing has to be subtracted.
        self._display.screen().root.damage_create(damage.DamageReportRawRectangles)
        self._display.flush()
        self._watcher.start()

    def _watch(self) -> None:
        try:
            while not self._stop.is_set():
                if not self._display.pending_events():
                    select.select([self._display.fileno()], [], [], POLL_S)
                    continue
                while self._display.pending_events():
                    self._display.next_event()
                    self.changed_s = time.monotonic()
                    self.changes += 1
        except (ConnectionClosedError, OSError, ValueError):
            pass

    def quiet(self, quiet_s: float, colours: int, limit_s: float = QUIET_LIMIT_S) -> bool:
        """Wait until the screen has not changed for so long and shows something."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            rest_s = self.changed_s + quiet_s - time.monotonic()
            if rest_s > 0:
                time.sleep(min(rest_s, POLL_S))
            elif colours <= 1 or self._shows(colours):
                return True
            else:
                time.sleep(POLL_S * 2)
        return False

    def _shows(self, colours: int) -> bool:
        return len(set(memoryview(self.picture()).cast("I"))) >= colours

    def close(self) -> None:
        """Look away."""
        self._stop.set()
        self._watcher.join(1.0)
        super().close()
        try:
            self._display.close()
        except (ConnectionClosedError, OSError):
            pass


def comparable(pixels: bytes) -> bytes:
    """XRGB8888 pixels with their unused bytes cleared."""
    cleared = bytearray(pixels)
    cleared[3::4] = bytes(len(pixels) // 4)
    return bytes(cleared)


def digest(pixels: bytes | memoryview) -> str:
    """A short name for a picture."""
    return hashlib.sha1(pixels, usedforsecurity=False).hexdigest()


# Hands.

_NAMES: Final = {"ctrl": "Control_L", "shift": "Shift_L", "alt": "Alt_L", "super": "Super_L", "enter": "Return"}
_CHARACTERS: Final = {"\n": "Return", "\t": "Tab", "\b": "BackSpace", "\x1b": "Escape", " ": "space"}


class Hands:
    """Input by XTest, at times that are kept whatever the screen does."""

    def __init__(self, name: str) -> None:
        self._display = XDisplay(name)
        self._due_s = time.monotonic()

    def _fake(self, kind: int, detail: int = 0, x: int = 0, y: int = 0) -> None:
        xtest.fake_input(self._display, kind, detail, x=x, y=y)

    def _flush(self) -> None:
        self._display.flush()

    def _pace(self, rate: float) -> None:
        """Wait for the next beat; a beat that was missed is not made up for in a burst."""
        now = time.monotonic()
        self._due_s = max(self._due_s + 1 / rate, now - 1 / rate)
        if self._due_s > now:
            time.sleep(self._due_s - now)

    def rest(self, seconds: float) -> None:
        """Do nothing for so long."""
        self._due_s = max(self._due_s, time.monotonic()) + seconds
        time.sleep(max(0.0, self._due_s - time.monotonic()))

    def do(self, step: Step, eyes: Watch, deadline_s: float) -> None:
        """Carry out one step. Raises StageError."""
        self._due_s = max(self._due_s, time.monotonic() - 0.01)
        if step.points and step.verb not in (Verb.DRAG, Verb.GLIDE):
            self._move(step.points[0])
        match step.verb:
            case Verb.TYPE:
                for character in step.text:
                    self._within(deadline_s)
                    self._stroke([self._character(character)], step.rate)
            case Verb.KEY:
                for _ in range(step.times):
                    self._within(deadline_s)
                    self._stroke([self._named(name) for name in step.text.split("+")], step.rate)
            case Verb.WHEEL:
                for _ in range(abs(step.amount)):
                    self._within(deadline_s)
                    self._click(WHEEL_DOWN if step.amount > 0 else WHEEL_UP, step.rate)
            case Verb.CLICK:
                for _ in range(step.times):
                    self._click(step.amount, step.rate)
            case Verb.PRESS | Verb.RELEASE:
                self._fake(X.ButtonPress if step.verb is Verb.PRESS else X.ButtonRelease, step.amount)
            case Verb.DRAG:
                keys = [self._named(name) for name in step.text.split("+") if name]
                self._drag(step, [keycode for keycode, _ in keys], deadline_s)
            case Verb.GLIDE:
                self._along(step, deadline_s)
            case Verb.WAIT:
                self.rest(step.seconds)
            case Verb.QUIET:
                self._flush()
                eyes.quiet(step.seconds, step.colours, min(QUIET_LIMIT_S, deadline_s - time.monotonic()))
            case _:
                pass
        self._flush()

    @staticmethod
    def _within(deadline_s: float) -> None:
        if time.monotonic() > deadline_s:
            raise StageError("the scene takes longer than its limit_s")

    def _move(self, point: Point) -> None:
        self._fake(X.MotionNotify, 0, *point)

    def _click(self, button: int, rate: float) -> None:
        self._fake(X.ButtonPress, button)
        self._fake(X.ButtonRelease, button)
        self._flush()
        self._pace(rate)

    def _stroke(self, keys: Sequence[tuple[int, bool]], rate: float) -> None:
        shift = self._named("shift")[0]
        codes = [*([shift] if any(shifted for _, shifted in keys) else []), *(code for code, _ in keys)]
        for code in codes:
            self._fake(X.KeyPress, code)
        for code in reversed(codes):
            self._fake(X.KeyRelease, code)
        self._flush()
        self._pace(rate)

    def _drag(self, step: Step, keycodes: Sequence[int], deadline_s: float) -> None:
        self._move(step.points[0])
        self._flush()
        self.rest(DRAG_SETTLE_S)
        for code in keycodes:
            self._fake(X.KeyPress, code)
        self._fake(X.ButtonPress, step.amount)
        self._flush()
        self.rest(DRAG_SETTLE_S)
        self._along(step, deadline_s)
        self._fake(X.ButtonRelease, step.amount)
        for code in reversed(keycodes):
            self._fake(X.KeyRelease, code)

    def _along(self, step: Step, deadline_s: float) -> None:
        """The pointer through the points, the same time for each stretch."""
        beats = max(1, round(step.seconds * step.rate))
        stretches = len(step.points) - 1
        for beat in range(1, beats + 1):
            self._within(deadline_s)
            along = beat / beats * stretches
            number = min(int(along), stretches - 1)
            (x0, y0), (x1, y1) = step.points[number], step.points[number + 1]
            share = along - number
            self._move((round(x0 + (x1 - x0) * share), round(y0 + (y1 - y0) * share)))
            self._flush()
            self._pace(step.rate)

    def _named(self, name: str) -> tuple[int, bool]:
        name = _NAMES.get(name.lower(), name)
        return self._keycode(XK.string_to_keysym(name), name)

    def _character(self, character: str) -> tuple[int, bool]:
        name = _CHARACTERS.get(character)
        keysym = XK.string_to_keysym(name) if name else ord(character)
        return self._keycode(keysym, character)

    def _keycode(self, keysym: int, name: str) -> tuple[int, bool]:
        found = sorted(self._display.keysym_to_keycodes(keysym), key=lambda pair: pair[1])
        if not keysym or not found or found[0][1] > 1:
            raise StageError(f"the keyboard has no {name!r}")
        return found[0][0], found[0][1] == 1

    def close(self) -> None:
        """Let go."""
        try:
            self._display.close()
        except (ConnectionClosedError, OSError):
            pass


def window_at(name: str, size: tuple[int, int]) -> Point | None:
    """Where the window stands that is at least so large, on a screen without a window manager."""
    try:
        display = XDisplay(name)
    except DisplayError as error:
        raise StageError(f"display {name} cannot be opened: {error}") from error
    try:
        for window in display.screen().root.query_tree().children:
            found = window.get_geometry()
            mapped = window.get_attributes().map_state == X.IsViewable
            if mapped and found.width >= size[0] and found.height >= size[1]:
                return found.x + found.border_width, found.y + found.border_width
    finally:
        display.close()
    return None


@contextmanager
def actors(server: XServer, size: tuple[int, int]) -> Iterator[tuple[Hands, Watch]]:
    """Hands and eyes on an X server. Raises StageError."""
    try:
        hands, eyes = Hands(server.name), Watch(server.name, size)
    except DisplayError as error:
        raise StageError(f"display {server.name} cannot be opened: {error}") from error
    try:
        yield hands, eyes
    finally:
        eyes.close()
        hands.close()
