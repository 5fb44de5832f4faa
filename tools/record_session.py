"""Records the sessions that tests/clients/sessions keeps: `python -m tools.record_session [NAME...]`.

A real server shows real programs to the C client; what the server sent and what the device did, in the order in which
the client saw it, goes into tests/clients/sessions/NAME.session, whose format the README.md there describes. Everything
that HELLO says is in the file too, so that any build of the client can be taken through the same session.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from tilewire.protocol import PANELS, Capability, PixelFormat
from tilewire.protocol import messages as m
from tilewire.protocol.constants import ControlAction, CursorMode, Rotation, ViewMode
from tilewire.simulator.client import Client, ClientConfig, Event, Jpeg, Phase
from tilewire.simulator.device import Setup, open_device
from tilewire.simulator.stream import ByteStream, StreamError, connect

from tools.served import ServedError, served

FOLDER: Final = Path(__file__).resolve().parent.parent / "tests/clients/sessions"
CLIENT: Final = FOLDER.parents[2] / "clients/threadx"
KEY: Final = bytes(range(32))
NONCES: Final = (bytes(range(1, 17)), bytes(range(101, 117)))
BOOT_ID: Final = 0x0123456789ABCDEF
PATIENCE_S: Final = 40.0
QUIET_S: Final = 0.6
IDLE_S: Final = 17.0
"""Longer than a server keeps silent: a PING comes."""
SESSION_SIZE: Final = (480, 360)
RETURN, CONTROL = 0xFF0D, 0xFFE3

WORDS: Final = [
    "a",
    "panel",
    "shows",
    "what",
    "the",
    "session",
    "draws",
    "and",
    "the",
    "server",
    "keeps",
    "a",
    "picture",
    "of",
    "the",
    "device",
    "so",
    "that",
    "an",
    "update",
    "is",
    "whatever",
    "takes",
    "the",
    "one",
    "to",
    "the",
    "other",
    "while",
    "a",
    "slow",
    "link",
    "skips",
    "states",
    "and",
    "never",
    "lags",
    "behind",
    "them",
]

PAGE: Final = """<!DOCTYPE html><title>page</title><style>
body { margin: 0; font: 14px "DejaVu Sans"; } header { position: sticky; top: 0; background: #246; color: #fff;
padding: 6px } p, svg, form, button { margin: 6px 8px } a { cursor: pointer }</style>
<header>Session <a href="#end">end</a></header>
<svg width="SIDE" height="HEIGHT"><filter id="n"><feTurbulence type="fractalNoise" baseFrequency="0.03 0.05"
numOctaves="3" seed="7"/><feColorMatrix values="1.6 0 0 0 -0.3 0 1.4 0 0 -0.2 0 0 1.5 0 -0.2 0 0 0 0 1"/></filter>
<rect width="100%" height="100%" filter="url(#n)"/></svg>
<form><input value="type here" autofocus></form>
<p>TEXT</p><p style="background:#fe9">TEXT</p><p>TEXT</p><p id="end">TEXT</p>"""

SIGNS: Final = r"""printf '\a\033]52;c;ZnJvbSB0aGUgc2Vzc2lvbg==\a'
"""


class RecordError(Exception):
    """A plain sentence."""


def say(text: str) -> None:
    """One line of progress."""
    print(f"record: {text}", flush=True)


class Recorder:
    """A device whose every byte and every act is kept."""

    def __init__(self, config: ClientConfig, address: str) -> None:
        self.client = Client(config)
        self._config = config
        self.address = address
        self.records: list[bytes] = []
        self.seen: dict[str, int] = {}
        """Messages by name, of all connections."""
        self.events: list[Event] = []
        self.presented = 0
        self._stream: ByteStream | None = None
        self._scope: trio.CancelScope | None = None
        self._news = trio.Event()
        self._writing = trio.Lock()

    # The file.

    def _keep(self, kind: str, data: bytes = b"") -> None:
        self.records.append(kind.encode() + len(data).to_bytes(4, "little") + data)

    def file(self) -> bytes:
        """The whole recording."""
        config = self._config
        known: dict[str, int | str] = {
            "width": config.width,
            "height": config.height,
            "pixel_format": int(config.pixel_format),
            "strip_rows": 0 if config.framebuffer else config.strip_rows,
            "receive_size": config.max_message,
            "model_kib": config.model_kib,
            "cache_slots": config.cache_slots,
            "cache_slot_bytes": config.cache_slot_bytes,
            "jpeg": int(config.jpeg is not None),
            "cursor": int(config.cursor),
            "cursor_side": config.cursor_side,
            "capabilities": int(config.capabilities),
            "boot_id": f"{config.boot_id:016x}",
            "key": int(config.key is not None),
            "nonce": config.nonce.hex(),
        }
        head = "tilewire session 1\n" + "".join(f"{name} {value}\n" for name, value in known.items())
        return head.encode() + b"records\n" + b"".join(self.records)

    # The stream.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """One connection, until it ends."""
        with trio.CancelScope() as self._scope:
            async with connect(self.address) as stream:
                self._stream = stream
                hello = self.client.output()
                self._keep("h", hello)
                await stream.send(hello)
                task_status.started()
                while self.client.phase is not Phase.CLOSED:
                    try:
                        data = await stream.receive()
                    except StreamError:
                        data = b""
                    if not data:
                        break
                    self._keep("b", data)
                    self.client.feed(data)
                    self._hear()
                    await self._flush()
        self._stream = None

    async def _flush(self) -> None:
        async with self._writing:
            data = self.client.output()
            if data and self._stream is not None:
                try:
                    await self._stream.send(data)
                except StreamError as error:
                    if self.client.phase is not Phase.CLOSED:
                        raise RecordError(str(error)) from error

    def _hear(self) -> None:
        if self.client.error is not None:
            raise RecordError(f"the client refused what came: {self.client.error.text}")
        self.presented = self.client.shown
        self.events += self.client.events
        self.client.events.clear()
        self._news.set()
        self._news = trio.Event()

    async def until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait until it holds. Raises RecordError."""
        with trio.move_on_after(PATIENCE_S):
            while not condition():
                await self._news.wait()
            return
        raise RecordError(f"{what}: not within {PATIENCE_S:g} s; seen {sorted(self.counts())}")

    async def rest(self, quiet_s: float = QUIET_S) -> None:
        """Wait until the picture stands."""
        seen = -1
        with trio.move_on_after(PATIENCE_S):
            while seen != self.presented:
                seen = self.presented
                await trio.sleep(quiet_s)

    async def mark(self, what: str) -> None:
        """Wait until the picture stands, and note what it is: the CRC-32 of its rows."""
        await self.rest()
        picture = self.client.framebuffer
        sides = self.client.width.to_bytes(2, "little") + self.client.height.to_bytes(2, "little")
        self._keep("m", zlib.crc32(picture).to_bytes(4, "little") + sides + what.encode())
        say(f"{what}: {sum(map(len, self.records))} bytes, update {self.presented}")

    def count(self) -> None:
        """Add up this connection's messages."""
        for name, number in self.client.statistics.messages.items():
            self.seen[name] = self.seen.get(name, 0) + number

    def counts(self) -> dict[str, int]:
        """Messages by name, so far."""
        now = dict(self.seen)
        for name, number in self.client.statistics.messages.items():
            now[name] = now.get(name, 0) + number
        return now

    def has(self, kind: type[Event]) -> bool:
        """Whether such an event has come."""
        return any(isinstance(event, kind) for event in self.events)

    # What the device does; each is kept as the numbers of its call, 4 bytes each, and data.

    async def act(self, kind: str, *numbers: int, data: bytes = b"") -> None:
        """Call the client's function for this kind."""
        client = self.client
        calls: dict[str, Callable[[], object]] = {
            "P": lambda: client.pointer(*numbers),
            "W": lambda: client.wheel(*numbers),
            "K": lambda: client.key(numbers[0], bool(numbers[1])),
            "T": lambda: client.text(data),
            "F": lambda: client.touch(fingers(numbers)),
            "S": lambda: client.set(numbers[0], numbers[1], bool(numbers[2])),
            "V": lambda: client.view(numbers[0], numbers[1], bool(numbers[2]), numbers[3], numbers[4]),
            "C": lambda: client.control(*numbers),
            "Z": lambda: client.resize(*numbers),
            "Y": lambda: client.resize_session(*numbers),
            "G": lambda: client.ping(numbers[0]),
            "U": lambda: client.pause(bool(numbers[0])),
            "R": client.refresh,
            "L": lambda: client.clipboard(numbers[0], numbers[1], data),
        }
        self._keep(kind, b"".join((n & 0xFFFFFFFF).to_bytes(4, "little") for n in numbers) + data)
        calls[kind]()
        await self._flush()

    async def click(self, x: int, y: int, button: int = 1) -> None:
        """Move there, press, release."""
        for buttons in (0, button, 0):
            await self.act("P", x, y, buttons)

    async def press(self, *keysyms: int) -> None:
        """Keys down in this order, up in reverse."""
        for keysym in keysyms:
            await self.act("K", keysym, 1)
        for keysym in reversed(keysyms):
            await self.act("K", keysym, 0)

    async def line(self, text: str) -> None:
        """Type a line."""
        await self.act("T", data=text.encode())
        await self.press(RETURN)

    def end(self) -> None:
        """The line breaks."""
        if self._scope is not None:
            self._scope.cancel()

    def succeed(self, nonce: bytes) -> None:
        """The same device on its next connection."""
        self.count()
        self._keep("X", nonce)
        self.client = self.client.successor(nonce=nonce)


def fingers(numbers: tuple[int, ...]) -> list[m.Finger]:
    """Of three numbers each."""
    threes = [numbers[i : i + 3] for i in range(0, len(numbers), 3)]
    return [m.Finger(finger=n, position=m.Point(x, y)) for n, x, y in threes]


@dataclass(frozen=True, slots=True)
class Scene:
    """A session to record."""

    config: ClientConfig
    play: Callable[[Recorder, trio.Nursery, Path], Awaitable[None]]
    server: tuple[str, ...]
    page: tuple[int, int]
    """Sides of the photograph."""
    has: frozenset[str] = field(default_factory=frozenset)
    """Messages that have to be in it."""


def _xterm(size: tuple[int, int]) -> list[str]:
    columns, rows = (size[0] - 4) // 6, (size[1] - 4) // 13
    return [
        "xterm", "-xrm", "XTerm*allowWindowOps: true", "-xrm", "XTerm*disallowedWindowOps: none", "+sb",
        "-geometry", f"{columns}x{rows}+0+0", "-bg", "white", "-fg", "black", "-e", "sh", "start",
    ]  # fmt: skip


def prepare(folder: Path, scene: Scene, session: tuple[int, int]) -> list[str]:
    """Files that the programs need; the command."""
    text = " ".join(WORDS)
    page = PAGE.replace("SIDE", str(scene.page[0])).replace("HEIGHT", str(scene.page[1])).replace("TEXT", text * 2)
    (folder / "page.html").write_text(page)
    colours = [f"\033[{31 + n % 6}m{n:3}\033[0m " + " ".join(WORDS[n * 3 % 17 : n * 3 % 17 + 9]) for n in range(160)]
    (folder / "list").write_text("\n".join(colours) + "\n")
    (folder / "signs").write_text(SIGNS)
    (folder / "start").write_text("PS1='$ '; export PS1; exec sh -i\n")
    width, height = session
    root = "--no-sandbox" if os.geteuid() == 0 else ""
    (folder / "page").write_text(
        "rm -f stop\n"
        f"chromium {root} --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
        f"--disable-sync --user-data-dir=profile --kiosk --window-size={width + 1},{height + 1} "
        "--window-position=0,0 file://$PWD/page.html >/dev/null 2>&1 & P=$!\n"
        "while [ ! -e stop ]; do sleep 0.1; done; kill $P; wait $P\n"
    )
    return _xterm(session)


async def _everything(device: Recorder, nursery: trio.Nursery, folder: Path) -> None:
    """All that a device with a framebuffer, a codec, a cache, JPEG and a cursor of its own meets."""
    await device.until("a picture", lambda: device.presented)
    await device.mark("an empty terminal")
    await device.act("P", 100, 100, 0)
    await device.until("the pointer", lambda: "CURSOR_SHAPE" in device.counts())
    await device.line("head -12 list")
    await device.mark("typed")
    await device.act("S", 12, 80, 0)
    await device.line("for n in 1 2 3 4 5 6; do cat list; sleep 0.1; done")
    await device.mark("scrolled")
    await device.line("clear; head -40 list; sh signs")
    await device.until("bell and clipboard", lambda: device.has(m.Bell) and device.has(m.Clipboard))
    text = b"from the device, in two pieces"
    await device.act("L", len(text), 0, data=text[:10])
    await device.act("L", len(text), 10, data=text[10:])
    await device.act("G", 4711)
    await device.until("a pong", lambda: device.has(m.Pong))
    await device.mark("signs")
    say("views")
    await device.act("V", ViewMode.FIT, Rotation.R0, 0, 0, 0)
    await device.mark("fit")
    await device.act("V", ViewMode.ONE_TO_ONE, Rotation.R90, 0, 60, 40)
    await device.mark("turned")
    await device.act("V", ViewMode.ONE_TO_ONE, Rotation.R0, 1, 0, 0)
    await device.mark("back")
    say("control")
    await device.act("C", ControlAction.RELEASE, 0)
    await device.until("a role", lambda: device.has(m.ControlState))
    setup = Setup(panel=PANELS["mcu"], device_id="other", capabilities=Capability.INPUT_ECHO)
    before = device.counts().get("CURSOR_POSITION", 0)
    async with open_device(device.address, setup) as other:
        await other.whole_picture()
        for step in range(3):
            other.pointer(60 + 40 * step, 80 + 20 * step)
            await trio.sleep(0.3)
    await device.until("a place", lambda: device.counts().get("CURSOR_POSITION", 0) > before)
    device.events.clear()
    await device.act("C", ControlAction.ASK, 0)
    await device.until("control", lambda: device.has(m.ControlState))
    await device.rest()
    say("a page")
    await device.line("sh page")
    await device.until("a photograph", lambda: "JPEG" in device.counts())
    await device.mark("a page")
    for _ in range(3):
        await device.act("W", 0, 120)
        await trio.sleep(0.4)
    await device.mark("turned the wheel")
    for _ in range(3):
        await device.act("W", 0, -120)
        await trio.sleep(0.2)
    await device.act("S", 20, 15, 0)
    await device.act("P", 60, 18, 0)
    await device.mark("over a link")
    half = device.counts()["JPEG"]
    await device.act("R")
    await device.until("a coarse photograph", lambda: device.counts()["JPEG"] > half)
    await device.mark("repainted")
    await device.click(150, 120, 4)
    await trio.sleep(1.0)
    await device.mark("the right button")
    await device.press(0xFF1B)
    await device.mark("the Escape key")
    await device.act("F", 0, 100, 200)
    await device.act("F", 0, 100, 180)
    await device.act("F")
    await device.act("U", 1)
    await device.act("W", 0, 120)
    await trio.sleep(0.5)
    await device.act("U", 0)
    await device.mark("paused in between")
    (folder / "stop").touch()
    await device.until("the terminal again", lambda: "CACHE_DRAW" in device.counts())
    await device.mark("the terminal again")
    say("sizes")
    await device.act("Z", 240, 320)
    await device.until("a size", lambda: device.has(m.Resize))
    await device.mark("upright")
    await device.act("Z", 320, 240)
    await device.mark("as before")
    await device.act("Y", 400, 300)
    await device.mark("a smaller session")
    await device.act("Y", 1000, 300)
    await device.until("a notice", lambda: device.has(m.Notice))
    say("the line breaks")
    device.end()
    await trio.sleep(0.2)
    device.succeed(NONCES[1])
    await nursery.start(device.run)
    await device.until("a picture", lambda: device.client.phase is Phase.OPEN)
    await device.line("cat list")
    await device.mark("on a second line")
    say("idle")
    await trio.sleep(IDLE_S)
    await device.until("a ping", lambda: "PING" in device.counts())
    await device.line("exit")
    await device.until("goodbye", lambda: device.has(m.Goodbye))


async def _plain(device: Recorder, nursery: trio.Nursery, folder: Path) -> None:
    """What the least device meets, one with a key and a strip."""
    await device.until("a picture", lambda: device.presented)
    await device.mark("an empty terminal")
    await device.act("P", 60, 60, 0)
    await device.line("head -20 list")
    await device.mark("typed")
    await device.line("sh page")
    await device.until("a photograph", lambda: "RAW" in device.counts())
    await device.mark("a page")
    (folder / "stop").touch()
    await device.mark("the terminal again")
    await device.line("cat list")
    await device.mark("scrolled")
    await device.line("exit")
    await device.until("goodbye", lambda: device.has(m.Goodbye))


DRAWING: Final = ("FILL", "COPY", "CACHE_STORE", "CACHE_DRAW", "CODEC", "JPEG")
SAID: Final = frozenset(
    (
        *("WELCOME", "GOODBYE", "PING", "PONG", "NOTICE", "CLIPBOARD", "SETTING", "RESIZE", "VIEW_STATE"),
        *("CONTROL_STATE", "CURSOR_SHAPE", "CURSOR_POSITION", "BELL", "INPUT_ECHO", "EXPLANATION", "BEGIN", "END"),
    )
)
SCENES: Final = {
    "everything": Scene(
        ClientConfig(
            width=320,
            height=240,
            pixel_format=PixelFormat.RGB565,
            max_message=16384,
            model_kib=48,
            cache_slots=64,
            cache_slot_bytes=2048,
            jpeg=Jpeg.CORE,
            cursor=CursorMode.LOCAL,
            cursor_side=32,
            capabilities=Capability.EXPLAIN
            | Capability.CLIPBOARD
            | Capability.BELL
            | Capability.INPUT_ECHO
            | Capability.RESIZE
            | Capability.TOUCH,
            device_id="recorded",
            boot_id=BOOT_ID,
            nonce=NONCES[0],
        ),
        _everything,
        ("--size", f"{SESSION_SIZE[0]}x{SESSION_SIZE[1]}", "--max-size", "640x480"),
        (200, 120),
        SAID | set(DRAWING),
    ),
    "plain": Scene(
        ClientConfig(
            width=160,
            height=120,
            pixel_format=PixelFormat.XRGB8888,
            framebuffer=False,
            strip_rows=5,
            max_message=1500,
            device_id="recorded",
            boot_id=BOOT_ID,
            nonce=NONCES[0],
            key=KEY,
        ),
        _plain,
        ("--size", "200x150"),
        (90, 50),
        frozenset(("PROOF", "WELCOME", "FILL", "PALETTE", "RAW", "BEGIN", "END", "GOODBYE")),
    ),
}


async def _play(scene: Scene, address: str, folder: Path) -> Recorder:
    device = Recorder(scene.config, address)
    async with trio.open_nursery() as nursery:
        await nursery.start(device.run)
        await scene.play(device, nursery, folder)
    return device


def expected(path: Path) -> str:
    """What this machine's build of the client prints when it is taken through the session. Raises RecordError."""
    with tempfile.TemporaryDirectory() as made:
        program = Path(made) / "replay"
        sources = [*sorted((CLIENT / "src").glob("*.c")), FOLDER.parent / "replay.c"]
        for words in (["gcc", "-O1", f"-I{CLIENT / 'include'}", *sources, "-o", program], [program, "8", path]):
            done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RecordError(f"{path.name} cannot be replayed: {done.stderr.strip()[-400:]}")
    return done.stdout


def record(name: str, scene: Scene) -> None:
    """Play a scene, write its file. Raises RecordError, ServedError, StreamError."""
    size = scene.server[scene.server.index("--size") + 1]
    width, _, height = size.partition("x")
    with tempfile.TemporaryDirectory(prefix="tilewire-record-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        keys = folder / "keys"
        keys.write_text(f"recorded {KEY.hex()}\n")
        keys.chmod(0o600)
        words = ["run", "--listen", "127.0.0.1:0", *scene.server]
        if scene.config.key is not None:
            words += ["--keys", str(keys)]
        command = prepare(folder, scene, (int(width), int(height)))
        inside = ["sh", "-c", 'cd "$0" && HOME=$PWD && export HOME && exec "$@"', str(folder), *command]
        with served([*words, "--", *inside], folder / "log") as server:
            device = trio.run(_play, scene, server.address, folder)
    missing = scene.has - device.counts().keys()
    if missing:
        raise RecordError(f"{name} has no {', '.join(sorted(missing))}")
    data = device.file()
    path = FOLDER / f"{name}.session"
    path.write_bytes(data)
    path.with_suffix(".expected").write_text(expected(path), encoding="utf-8")
    say(f"{name}: {len(data)} bytes; {', '.join(f'{kind} {n}' for kind, n in sorted(device.counts().items()))}")


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.record_session", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", default=[*SCENES], help=f"of {', '.join(SCENES)}")
    names = parser.parse_args().names
    unknown = [name for name in names if name not in SCENES]
    if unknown:
        parser.error(f"there is no {unknown[0]}")
    failure: BaseException | None = None
    for name in names:
        try:
            record(name, SCENES[name])
        except* (RecordError, ServedError, StreamError) as group:
            failure = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        if failure is not None:
            say(f"{name}: {failure}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
