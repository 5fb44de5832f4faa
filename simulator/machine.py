"""The QEMU device as a process: started, spoken to over UART1 and QMP, and gone when its block ends.

    async with open_machine(Plan(config={"server": "10.0.2.2:7800", "panel": "threadx-512"})) as machine:
        await machine.until("picture")
        await machine.tap(100, 200)
        screen = await machine.screen()

Nothing of it is on a disk and no secret in an argument: configuration, recording and screenshots are files in memory,
the serial lines and QMP are socket pairs, and the kernel kills QEMU when the thread that started it ends, however that
comes about.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio
from Xlib import XK

from tilewire.protocol import PixelFormat
from tilewire.simulator.exits import Exit
from tilewire.simulator.picture import to_rgb
from tilewire.simulator.runner_exits import RunError, RunExit
from tilewire.simulator.screen import Screen, from_ppm
from tilewire.simulator.shaper import DeviceEnd

QEMU: Final = "qemu-system-arm"
OLDEST: Final = (7, 2)
"""The first whose `-netdev dgram` takes a descriptor, and the one that the firmware was tried on."""
FIRMWARE: Final = Path(__file__).resolve().parent.parent / "build/firmware/device.elf"
RAM_AT: Final = 0x60000000
CONFIG_AT: Final = 0x60000000
RECORDING_AT: Final = 0x70000000
MOST_RECORDING: Final = 0x10000000
LEAST_MEMORY_MIB: Final = 256
MOST_MEMORY_MIB: Final = 1024
"""Of the board; the firmware lies in the first 256 MiB."""
SHIFTS: Final = {1000: 0, 500: 1, 250: 2, 125: 3}
"""Million instructions a second; an instruction takes 2^shift ns."""
ANSWER_S: Final = 20.0
END_S: Final = 3.0
ABSOLUTE: Final = 32768
"""Positions of the tablet in each direction."""
TAP_S: Final = 0.05
FINGER_APART: Final = 60
"""Pixels between fingers that move together."""
MOVE_S: Final = 1 / 60
"""As often as a touch screen reports."""
MOST_TEXT_BYTES: Final = 200
PIECE: Final = 65536
PRIVATE: Final = 0o600
"""All that is typed is in the frames."""
LATE: Final = re.compile(r"The guest is now late by ([0-9.]+) to ([0-9.]+) seconds")

Event = dict[str, Any]

_PLAIN: Final = {
    **{character: character for character in "abcdefghijklmnopqrstuvwxyz0123456789"},
    " ": "spc",
    "\n": "ret",
    "\t": "tab",
    "`": "grave_accent",
    "-": "minus",
    "=": "equal",
    "\\": "backslash",
    "[": "bracket_left",
    "]": "bracket_right",
    ";": "semicolon",
    "'": "apostrophe",
    ",": "comma",
    ".": "dot",
    "/": "slash",
}
_SHIFTED: Final = dict(
    zip(
        'ABCDEFGHIJKLMNOPQRSTUVWXYZ!@#$%^&*()~_+|{}:"<>?',
        "abcdefghijklmnopqrstuvwxyz1234567890`-=\\[];',./",
        strict=True,
    )
)
QCODES: Final = {
    "Return": "ret",
    "BackSpace": "backspace",
    "Tab": "tab",
    "Escape": "esc",
    "space": "spc",
    "Menu": "menu",
    "Up": "up",
    "Down": "down",
    "Left": "left",
    "Right": "right",
    "Home": "home",
    "End": "end",
    "Prior": "pgup",
    "Page_Up": "pgup",
    "Next": "pgdn",
    "Page_Down": "pgdn",
    "Insert": "insert",
    "Delete": "delete",
    "Shift_L": "shift",
    "Shift_R": "shift_r",
    "Control_L": "ctrl",
    "Control_R": "ctrl_r",
    "Alt_L": "alt",
    "Alt_R": "alt_r",
    "Super_L": "meta_l",
    "Super_R": "meta_r",
    **{f"F{number}": f"f{number}" for number in range(1, 13)},
    **{character: character for character in "abcdefghijklmnopqrstuvwxyz0123456789"},
}
"""The keys of the PS/2 keyboard, by the names of their keysyms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be started."""

    config: Mapping[str, object]
    """Lines of the firmware's configuration, simulator/firmware/app/config.h."""
    firmware: Path = FIRMWARE
    qemu: str = QEMU
    memory_mib: int = 512
    net: str | None = "lan9118"
    """Or virtio; None: no network."""
    link: DeviceEnd | None = None
    """Its network in place of QEMU's own."""
    mips: int | None = None
    """None: as fast as it goes, by the host's clock."""
    sleep: bool = True
    """Whether the counting clock keeps to the host's; without, it counts instructions alone."""
    pcap: Path | None = None
    window: str | None = None
    """QEMU's own display."""
    recording: bytes | None = None
    keep_memory: bool = False
    """The framebuffer can be read after the end, by `Machine.remains`."""

    @property
    def clock(self) -> str:
        """The mode of the device's clock, in words."""
        if self.mips is None:
            return "host"
        return f"icount shift={SHIFTS[self.mips]},{'sleep=on,align=on' if self.sleep else 'sleep=off'}"


@dataclass(slots=True)
class Late:
    """What QEMU said about a machine that did not keep its pace."""

    warnings: int = 0
    """The first comes with the first microsecond."""
    least_s: float = 0.0
    """So late it was at least, in whole seconds."""


def find_qemu(name: str = QEMU) -> str:
    """The program's path. Raises RunError."""
    path = shutil.which(name)
    if path is None:
        raise RunError(f"{name} is not installed: make setup brings it (Debian: qemu-system-arm)", RunExit.NO_QEMU)
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=ANSWER_S).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{path} cannot be run: {error}", RunExit.NO_QEMU) from error
    found = re.search(r"version (\d+)\.(\d+)", said)
    if found is None:
        raise RunError(f"{path} does not say which version it is", RunExit.OLD_QEMU)
    version = (int(found[1]), int(found[2]))
    if version < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise RunError(f"{path} is version {found[1]}.{found[2]}, and {wanted} or newer is needed", RunExit.OLD_QEMU)
    return path


def find_firmware(path: Path | None = None) -> Path:
    """Raises RunError."""
    path = path or Path(os.environ.get("TILEWIRE_FIRMWARE", FIRMWARE))
    if path.is_file():
        return path.resolve()
    if path == FIRMWARE and not (FIRMWARE.parent.parent / "lwip/version.txt").exists():
        why = ", and lwIP's source, which it is built of, is not there either: make setup fetches and builds both"
    else:
        why = ": make firmware builds it"
    raise RunError(f"the firmware {path} is missing{why}", RunExit.NO_FIRMWARE)


def find_window(qemu: str) -> str:
    """The display of this QEMU that opens a window here. Raises RunError."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise RunError("there is no display for a window: DISPLAY and WAYLAND_DISPLAY are not set", RunExit.NO_DISPLAY)
    said = subprocess.run([qemu, "-display", "help"], capture_output=True, text=True, check=False).stdout.split()
    for name in ("gtk", "sdl"):
        if name in said:
            return name
    raise RunError(f"{qemu} has no window of its own (Debian: qemu-system-gui)", RunExit.NO_DISPLAY)


def config_text(lines: Mapping[str, object]) -> str:
    """The configuration as the firmware reads it."""
    return "\n".join(["tilewire-device 1", *(f"{key} = {value}" for key, value in lines.items()), "end", ""])


class Machine:
    """Made by `open_machine`. Its clock began with it; `ms` in its events is that clock."""

    def __init__(self, plan: Plan, qmp: trio.SocketStream, control: trio.SocketStream, fds: Mapping[str, int]) -> None:
        self.plan = plan
        self.events: list[Event] = []
        """What the device told, in order; without its statistics."""
        self.newest_stats: Event | None = None
        self.log: list[str] = []
        """Lines of UART0."""
        self.said: list[str] = []
        """Lines of QEMU itself."""
        self.late = Late()
        self.began_s = trio.current_time()
        self.first_s: dict[str, float] = {}
        """When the first event of each name came, on the host's clock since the start."""
        self.stood_still_s = 0.0
        """How long it was stopped for screenshots; its clock stood too."""
        self.exit_status: int | None = None
        """Of QEMU: the firmware's, or 1, or minus a signal."""
        self._qmp = qmp
        self._control = control
        self._screen_fd = fds["screen"]
        self._ram_fd = fds.get("ram")
        self._screening = trio.Lock()
        self._telling = trio.Lock()
        self._news = trio.Event()
        self._answers: dict[int, Event] = {}
        self._asked = 0
        self._by_control = False
        self._stats_seen = 0

    # What comes.

    def tell_news(self) -> None:
        """Wake whoever waits."""
        self._news.set()
        self._news = trio.Event()

    def take_control(self, line: str) -> None:
        """A line of UART1."""
        try:
            event = json.loads(line)
        except ValueError:
            self.said.append(f"UART1: {line[:200]}")
            return
        self.first_s.setdefault(event["event"], trio.current_time() - self.began_s)
        if event["event"] == "stats":
            # Asked for every second by a status line: only the newest is kept.
            self.newest_stats, self._stats_seen = event, self._stats_seen + 1
        else:
            self.events.append(event)

    def take_log(self, line: str) -> None:
        """A line of UART0."""
        self.log.append(line)

    def take_said(self, line: str) -> None:
        """A line of QEMU."""
        found = LATE.search(line)
        if found is None:
            self.said.append(line)
        else:
            self.late.warnings += 1
            self.late.least_s = max(self.late.least_s, float(found[1]))

    def take_answer(self, line: str) -> None:
        """A line of QMP."""
        answer = json.loads(line)
        if "id" in answer:
            self._answers[answer["id"]] = answer

    # What is asked.

    async def wait_for(self, test: Callable[[], object], timeout_s: float | None = None) -> bool:
        """Until it is so; False: not in that time. Raises RunError where the machine ends before."""
        with trio.move_on_after(timeout_s if timeout_s is not None else float("inf")):
            while not test():
                if self.exit_status is not None:
                    raise self.failure()
                await self._news.wait()
            return True
        return False

    def find(self, name: str, since: int = 0) -> Event | None:
        """The first event of a name, from the `since`th on."""
        return next((event for event in self.events[since:] if event["event"] == name), None)

    def last(self, name: str) -> Event | None:
        """The newest event of a name."""
        return next((event for event in reversed(self.events) if event["event"] == name), None)

    async def until(self, name: str, *, since: int = 0, timeout_s: float | None = None) -> Event:
        """The first event of a name. Raises RunError."""
        if not await self.wait_for(lambda: self.find(name, since), timeout_s):
            raise RunError(f"the device did not tell {name!r} in {timeout_s:g} s", RunExit.WAITED)
        event = self.find(name, since)
        assert event is not None
        return event

    def failure(self) -> RunError:
        """Why the machine has ended, by what it said."""
        stopped = self.last("stopped")
        if stopped is not None:
            return RunError(stopped["text"], stopped["code"])
        if self.exit_status is not None and self.exit_status in {status.value for status in Exit if status}:
            text = self.log[-1].removeprefix("device: ") if self.log else Exit(self.exit_status).name
            return RunError(text, self.exit_status)
        status = self.exit_status or 0
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        words = "; ".join(self.said[-3:])
        return RunError(f"QEMU has ended by itself ({how})" + (f": {words}" if words else ""), RunExit.QEMU)

    async def tell(self, command: str) -> None:
        """A command to the firmware, simulator/firmware/app/control.h. Raises RunError."""
        try:
            async with self._telling:
                await self._control.send_all(command.encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._ended()

    async def stats(self) -> Event:
        """What it measured until now. Raises RunError."""
        seen = self._stats_seen
        await self.tell("stats")
        if not await self.wait_for(lambda: self._stats_seen > seen, ANSWER_S):
            raise RunError(f"the device did not tell 'stats' in {ANSWER_S:g} s", RunExit.WAITED)
        assert self.newest_stats is not None
        return self.newest_stats

    async def ask(self, execute: str, **arguments: object) -> Any:
        """QMP. Raises RunError."""
        self._asked += 1
        number = self._asked
        request = {"execute": execute, "arguments": arguments, "id": number}
        try:
            await self._qmp.send_all(json.dumps(request).encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._ended()
        if not await self.wait_for(lambda: number in self._answers, ANSWER_S):
            raise RunError(f"QEMU does not answer {execute} in {ANSWER_S:g} s", RunExit.QEMU)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RunError(f"QEMU refuses {execute}: {answer['error'].get('desc')}", RunExit.QEMU)
        return answer["return"]

    async def _ended(self) -> None:
        """Raises RunError: a line to it is closed."""
        await self.wait_for(lambda: False, END_S)
        raise RunError("QEMU does not listen any more", RunExit.QEMU)

    async def screen(self, *, still: bool = True) -> Screen:
        """What the LCD shows. `still`: the device stands still meanwhile, so that nothing is torn. Raises RunError."""
        async with self._screening:
            if not still:
                return await self._dump()
            stopped_s = trio.current_time()
            try:
                await self.ask("stop")
                return await self._dump()
            finally:
                with trio.move_on_after(END_S, shield=True):
                    if self.exit_status is None:
                        await self.ask("cont")
                self.stood_still_s += trio.current_time() - stopped_s

    async def _dump(self) -> Screen:
        await self.ask("screendump", filename=f"/proc/self/fd/{self._screen_fd}")
        return from_ppm(os.pread(self._screen_fd, os.fstat(self._screen_fd).st_size, 0))

    def remains(self) -> Screen:
        """What the LCD showed at the end, from the memory that is left. For `keep_memory`."""
        panel = self.last("panel")
        assert panel is not None
        assert self._ram_fd is not None
        size = panel["stride"] * panel["height"]
        stored = os.pread(self._ram_fd, size, panel["framebuffer"] - RAM_AT)
        form = PixelFormat.RGB565 if panel["format"] == "rgb565" else PixelFormat.XRGB8888
        return Screen(panel["width"], panel["height"], to_rgb(stored, form))

    # Hands. As hardware has them: the tablet, the keyboard; what has no key goes over the control channel.

    async def size(self) -> tuple[int, int]:
        """Of the panel. Raises RunError."""
        panel = await self.until("panel", timeout_s=ANSWER_S)
        return panel["width"], panel["height"]

    async def pen(self, x: int, y: int, *, down: bool | None = None) -> None:
        """Move there, and there go down or up (None: as it was). Raises RunError."""
        width, height = await self.size()
        events: list[Event] = [
            {"type": "abs", "data": {"axis": axis, "value": -(-at * ABSOLUTE // side)}}
            for axis, at, side in (("x", x, width), ("y", y, height))
        ]
        if down is not None:
            events.append({"type": "btn", "data": {"down": down, "button": "left"}})
        await self.ask("input-send-event", events=events)

    async def tap(self, x: int, y: int) -> None:
        """Raises RunError."""
        await self.pen(x, y, down=True)
        await trio.sleep(TAP_S)
        await self.pen(x, y, down=False)

    async def swipe(self, start: tuple[int, int], end: tuple[int, int], seconds: float, fingers: int = 1) -> None:
        """In a straight line, evenly. The tablet has one finger: two go by the control channel. Raises RunError."""
        await self._fingers(start, fingers, "down")
        began_s = trio.current_time()
        while (share := (trio.current_time() - began_s) / max(seconds, MOVE_S)) < 1:
            await trio.sleep(MOVE_S)
            share = min(share, 1.0)
            at = [round(one + (other - one) * share) for one, other in zip(start, end, strict=True)]
            await self._fingers((at[0], at[1]), fingers, "move")
        await self._fingers(end, fingers, "move")
        await self._fingers(end, fingers, "up")

    async def _fingers(self, at: tuple[int, int], count: int, how: str) -> None:
        if count == 1:
            await self.pen(*at, down={"down": True, "up": False}.get(how))
            return
        await self._switch(by_control=True)
        width, _ = await self.size()
        for finger in range(count):
            # Side by side, all of them on the panel.
            x = min(max(at[0] + FINGER_APART * (2 * finger - count + 1) // 2, 0), width - 1)
            await self.tell(f"touch {finger} {x} {at[1]} {how}")

    async def wheel(self, notches: int) -> None:
        """Down, or up where it is below 0, at the place of the pen. Raises RunError."""
        button = "wheel-down" if notches > 0 else "wheel-up"
        for _ in range(abs(notches)):
            for down in (True, False):
                event = {"type": "btn", "data": {"down": down, "button": button}}
                await self.ask("input-send-event", events=[event])

    async def keys(self, names: Sequence[str]) -> None:
        """Keys together, by the names of their keysyms. Raises RunError."""
        for down in (True, False):
            for name in names if down else reversed(names):
                code = QCODES.get(name)
                await self._switch(by_control=code is None)
                if code is not None:
                    await self._key(code, down=down)
                else:
                    await self.tell(f"key {XK.string_to_keysym(name):#x} {'down' if down else 'up'}")
        await self._read()

    async def _key(self, code: str, *, down: bool) -> None:
        event = {"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": code}}}
        await self.ask("input-send-event", events=[event])

    async def type(self, text: str) -> None:
        """Each character that the keyboard has by its key. Raises RunError."""
        without = ""
        for character in text:
            if character not in _PLAIN and character not in _SHIFTED:
                without += character
                continue
            await self._say(without)
            without = ""
            await self._switch(by_control=False)
            if shifted := character in _SHIFTED:
                await self._key("shift", down=True)
            code = _PLAIN[_SHIFTED.get(character, character)]
            await self._key(code, down=True)
            await self._key(code, down=False)
            if shifted:
                await self._key("shift", down=False)
            # The keyboard itself holds no more than 16 bytes.
            await self._read()
        await self._say(without)

    async def _say(self, text: str) -> None:
        """Over the control channel."""
        if not text:
            return
        await self._switch(by_control=True)
        pieces = [""]
        for character in text:
            if len((pieces[-1] + character).encode()) > MOST_TEXT_BYTES:
                pieces.append("")
            pieces[-1] += character
        for piece in pieces:
            await self.tell(f"text {piece}")
            # The firmware keeps no more than 8 KiB that it has not read yet.
            await self._read()

    async def _switch(self, *, by_control: bool) -> None:
        """Two lines are two queues: what went down the other one has to be read before."""
        if by_control is not self._by_control:
            await self._read()
            self._by_control = by_control

    async def _read(self) -> None:
        """Until the firmware has read what it was given: it answers a question that came after."""
        since = len(self.events)
        await self.tell("under")
        await self.until("under", since=since, timeout_s=ANSWER_S)

    async def exited(self) -> None:
        """Until QEMU has ended."""
        while self.exit_status is None:
            await self._news.wait()

    async def stop(self) -> None:
        """The device says goodbye and stops by itself, where it can. Raises RunError where it ends otherwise."""
        await self.tell("stop")
        with trio.move_on_after(END_S):
            await self.exited()


def _command(plan: Plan, fds: Mapping[str, int]) -> list[str]:
    """Raises RunError."""

    def file(name: str) -> str:
        return f"/proc/self/fd/{fds[name]}"

    setpriv = shutil.which("setpriv")
    if setpriv is None:
        # Without it, QEMU could outlive us.
        raise RunError("setpriv is not installed: it starts QEMU (Debian: util-linux)", RunExit.QEMU)
    command = [setpriv, "--pdeathsig", "KILL", plan.qemu, "-M", "vexpress-a9", "-m", f"{plan.memory_mib}M"]
    command += ["-nodefaults", "-display", plan.window or "none", "-audiodev", "none,id=none"]
    command += ["-global", "pl041.audiodev=none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(plan.firmware)]
    for name in ("log", "control", "qmp"):
        command += ["-chardev", f"socket,id={name},fd={fds[name]}"]
    command += ["-serial", "chardev:log", "-serial", "chardev:control", "-mon", "chardev=qmp,mode=control"]
    command += ["-device", "virtio-tablet-device", "-device", "virtio-rng-device"]
    command += ["-device", f"loader,file={file('config')},addr={CONFIG_AT:#x},force-raw=on"]
    if plan.keep_memory:
        ram = f"memory-backend-file,id=ram,size={plan.memory_mib}M,share=on,mem-path={file('ram')}"
        command += ["-object", ram, "-machine", "memory-backend=ram"]
    if plan.recording is not None:
        command += ["-device", f"loader,file={file('recording')},addr={RECORDING_AT:#x},force-raw=on"]
    if plan.net is None:
        command += ["-net", "none"]
    else:
        command += ["-netdev", plan.link.netdev("n0") if plan.link is not None else "user,id=n0"]
        card = ["-net", "nic,model=lan9118,netdev=n0"]
        command += card if plan.net == "lan9118" else ["-device", "virtio-net-device,netdev=n0"]
    if plan.pcap is not None:
        command += ["-object", f"filter-dump,id=pcap,netdev=n0,file={file('pcap')}"]
    if plan.mips is not None:
        command += ["-icount", plan.clock.removeprefix("icount ")]
    return command


async def _lines(stream: trio.SocketStream, take: Callable[[str], None], news: Callable[[], None]) -> None:
    """Give `take` each line, until the end."""
    buffer = b""
    while True:
        try:
            data = await stream.receive_some(PIECE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            if line.strip():
                take(line.decode("utf-8", "replace").rstrip("\r"))
        news()
        if not data:
            return


def _memory_file(stack: ExitStack, name: str, content: bytes) -> int:
    fd = os.memfd_create(name)
    stack.callback(os.close, fd)
    at = 0
    while at < len(content):
        at += os.pwrite(fd, content[at:], at)
    return fd


def _private_file(stack: ExitStack, path: Path) -> int:
    """A file that is empty and its owner's alone, in place of an older one. Raises RunError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE)
        stack.callback(os.close, fd)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.fchmod(fd, PRIVATE)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}", RunExit.FAILED) from error
    return fd


@asynccontextmanager
async def open_machine(plan: Plan) -> AsyncIterator[Machine]:
    """A device that runs inside the block, and nothing of it afterwards. Raises RunError.

    QEMU lives no longer than the thread that this is called in.
    """
    with ExitStack() as stack:
        ours: dict[str, trio.SocketStream] = {}
        theirs: dict[str, socket.socket] = {}
        for name in ("log", "control", "qmp", "said"):
            one, other = socket.socketpair()
            theirs[name] = stack.enter_context(other)
            ours[name] = trio.SocketStream(stack.enter_context(trio.socket.from_stdlib_socket(one)))
        fds = {name: end.fileno() for name, end in theirs.items()}
        fds["config"] = _memory_file(stack, "config", config_text(plan.config).encode())
        fds["screen"] = _memory_file(stack, "screen", b"")
        if plan.recording is not None:
            fds["recording"] = _memory_file(stack, "recording", plan.recording)
        if plan.keep_memory:
            fds["ram"] = _memory_file(stack, "ram", b"")
        if plan.pcap is not None:
            fds["pcap"] = _private_file(stack, plan.pcap)
        passed = [fd for name, fd in fds.items() if name != "said"]
        if plan.link is not None:
            passed.append(plan.link.fd)
        machine = Machine(plan, ours["qmp"], ours["control"], fds)
        try:
            # Not in a thread of trio's: QEMU would end with that thread.
            process = subprocess.Popen(  # noqa: ASYNC220
                _command(plan, fds),
                stdin=subprocess.DEVNULL,
                stdout=fds["said"],
                stderr=fds["said"],
                pass_fds=passed,
                start_new_session=True,  # ctrl-C is for us to hear
            )
        except OSError as error:
            raise RunError(f"QEMU cannot be started: {error.strerror}: {error.filename}", RunExit.QEMU) from error
        for end in theirs.values():
            end.close()
        # Before anybody may wait for the process: later its number may be another's.
        pidfd = os.pidfd_open(process.pid)
        stack.callback(os.close, pidfd)
        try:
            async with trio.open_nursery() as nursery:
                # Shielded: who is cancelled still asks QEMU to end.
                listening = trio.CancelScope(shield=True)
                nursery.start_soon(_listen, machine, process, pidfd, ours, listening)
                try:
                    await machine.ask("qmp_capabilities")
                    yield machine
                finally:
                    try:
                        with trio.CancelScope(shield=True):
                            await _quit(machine, process)
                    finally:
                        listening.cancel()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


async def _listen(
    machine: Machine,
    process: subprocess.Popen[bytes],
    pidfd: int,
    lines: Mapping[str, trio.SocketStream],
    scope: trio.CancelScope,
) -> None:
    """Hand on what QEMU and the firmware say, and in the end that QEMU has ended."""
    takers = {
        "log": machine.take_log,
        "control": machine.take_control,
        "qmp": machine.take_answer,
        "said": machine.take_said,
    }
    with scope:
        async with trio.open_nursery() as readers:
            for name, take in takers.items():
                readers.start_soon(_lines, lines[name], take, machine.tell_news)
            await trio.lowlevel.wait_readable(pidfd)
            # What it said last is read before anybody hears that it has ended.
            readers.cancel_scope.deadline = trio.current_time() + END_S
        machine.exit_status = process.wait()
        machine.tell_news()


async def _quit(machine: Machine, process: subprocess.Popen[bytes]) -> None:
    """QEMU prints what is left when it ends by itself."""
    if process.poll() is not None:
        return
    with trio.move_on_after(END_S):
        try:
            await machine.ask("quit")
        except RunError:
            return
        await machine.exited()
