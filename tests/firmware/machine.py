"""A QEMU device for the tests of its firmware: started, spoken to over UART1 and QMP, and ended."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tilewire.simulator.machine import CONFIG_AT, RECORDING_AT, Event, config_text

ROOT: Final = Path(__file__).resolve().parents[2]
FIRMWARE: Final = Path(os.environ.get("TILEWIRE_FIRMWARE", ROOT / "build/firmware/device.elf"))
"""The variable names another build of it, on ThreadX for example, for the tests of sessions."""
SOURCES: Final = ROOT / "simulator/firmware"
QEMU: Final = "qemu-system-arm"
HOST: Final = "10.0.2.2"
"""The loopback of this machine, seen from QEMU's user network."""
WITHIN_S: Final = 60.0
"""Beyond that a test fails instead of hanging."""

EXITS: Final = {
    found[1]: int(found[2])
    for found in re.finditer(r'X\((\w+), (\d+), "', (SOURCES / "board/exits.h").read_text(encoding="utf-8"))
}
"""Exit statuses by their names in board/exits.h."""


class Machine:
    """A running device. Every wait ends after WITHIN_S with what was seen so far."""

    def __init__(
        self,
        folder: Path,
        config: str | None,
        *,
        net: str | None = "lan9118",
        random: bool = True,
        firmware: Path = FIRMWARE,
        recording: Path | None = None,
        words: tuple[str, ...] = (),
    ) -> None:
        assert shutil.which(QEMU), f"{QEMU} is not installed: make setup brings it"
        assert firmware.is_file(), f"{firmware} is not built: make firmware builds it"
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.events: list[Event] = []
        self.lines: list[str] = []
        """Of UART1, as they came."""
        self._news = threading.Condition()
        self._monitor: socket.socket | None = None
        self._answers = b""
        # Paths of sockets are short: QEMU's own folder holds them.
        command = [QEMU, "-M", "vexpress-a9", "-m", "512M", "-display", "none", "-audiodev", "none,id=none"]
        command += ["-monitor", "none", "-semihosting-config", "enable=on,target=native"]
        command += ["-serial", "file:uart0", "-serial", "unix:uart1,server=on,wait=on"]
        command += ["-qmp", "unix:qmp,server=on,wait=off", "-kernel", str(firmware)]
        command += ["-device", "virtio-tablet-device", *(["-device", "virtio-rng-device"] if random else [])]
        if net == "lan9118":
            command += ["-nic", "user,id=n0,model=lan9118"]
        elif net == "virtio":
            command += ["-nic", "none", "-netdev", "user,id=n0", "-device", "virtio-net-device,netdev=n0"]
        else:
            command += ["-nic", "none"]
        if config is not None:
            (folder / "config").write_text(config, encoding="utf-8")
            command += ["-device", f"loader,file=config,addr={CONFIG_AT:#x},force-raw=on"]
        if recording is not None:
            command += ["-device", f"loader,file={recording},addr={RECORDING_AT:#x},force-raw=on"]
        self.began_s = time.monotonic()
        self.process = subprocess.Popen(
            [*command, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._control = self._connect("uart1")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _connect(self, name: str) -> socket.socket:
        until = time.monotonic() + WITHIN_S
        while True:
            stream = socket.socket(socket.AF_UNIX)
            try:
                # Relative, so that it is short whatever the folder is.
                stream.connect(f"/proc/{self.process.pid}/cwd/{name}")
                return stream
            except OSError:
                stream.close()
                assert self.process.poll() is None, f"QEMU did not start: {self.said()}"
                assert time.monotonic() < until, f"QEMU does not open {name}"
                time.sleep(0.005)

    def said(self) -> str:
        """What QEMU itself printed; it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def _read(self) -> None:
        buffer = b""
        while True:
            try:
                data = self._control.recv(65536)
            except OSError:
                data = b""
            *lines, buffer = (buffer + data).split(b"\n")
            with self._news:
                for line in lines:
                    if line:
                        text = line.decode("utf-8")
                        self.lines.append(text)
                        self.events.append(json.loads(text))
                self._news.notify_all()
            if not data:
                return

    @property
    def log(self) -> str:
        """UART0."""
        path = self.folder / "uart0"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def until(self, name: str, test: Callable[[Event], object] = lambda _: True, *, since: int = 0) -> Event:
        """The first event of a name, from the `since`th on, that passes."""

        def found() -> Event | None:
            return next((each for each in self.events[since:] if each["event"] == name and test(each)), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None or not self._reader.is_alive(), WITHIN_S)
            event = found()
        assert event is not None, f"no event {name}; seen: {self.events[-6:]}; log: {self.log[-800:]}"
        return event

    def tell(self, command: str) -> None:
        """A command to the device."""
        self._control.sendall(command.encode() + b"\n")

    def stats(self) -> Event:
        """What it measured until now."""
        since = len(self.events)
        self.tell("stats")
        return self.until("stats", since=since)

    def ask(self, execute: str, **arguments: object) -> Any:
        """QMP."""
        if self._monitor is None:
            self._monitor = self._connect("qmp")
            self._monitor.settimeout(WITHIN_S)
            self._answer(lambda each: "QMP" in each)
            self._monitor.sendall(b'{"execute":"qmp_capabilities"}\n')
            self._answer(lambda each: "return" in each)
        self._monitor.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
        answer = self._answer(lambda each: "return" in each or "error" in each)
        assert "return" in answer, answer
        return answer["return"]

    def _answer(self, test: Callable[[Event], bool]) -> Event:
        assert self._monitor is not None
        while True:
            line, separator, rest = self._answers.partition(b"\n")
            if not separator:
                data = self._monitor.recv(65536)
                assert data, "QMP has ended"
                self._answers += data
                continue
            self._answers = rest
            answer: Event = json.loads(line)
            if test(answer):
                return answer

    def framebuffer(self) -> bytes:
        """What the LCD controller shows, as it is in memory; no instruction is executed meanwhile."""
        panel = self.until("panel")
        size = panel["stride"] * panel["height"]
        self.ask("stop")
        self.ask("pmemsave", val=panel["framebuffer"], size=size, filename="framebuffer")
        self.ask("cont")
        return (self.folder / "framebuffer").read_bytes()

    def screenshot(self, path: Path) -> None:
        """What QEMU's own display shows, as PNG."""
        self.ask("screendump", filename=str(path), format="png")

    def input(self, *events: Event) -> None:
        """Of QMP's input-send-event."""
        self.ask("input-send-event", events=list(events))

    def press(self, *codes: str) -> None:
        """Keys together, by QEMU's names."""
        for down in (True, False):
            for code in codes if down else reversed(codes):
                self.input({"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": code}}})

    def move(self, x: int, y: int) -> None:
        """The tablet's pen, in pixels of the panel."""
        panel = self.until("panel")
        places = (("x", x, panel["width"]), ("y", y, panel["height"]))
        self.input(
            *({"type": "abs", "data": {"axis": axis, "value": -(-at * 32768 // size)}} for axis, at, size in places)
        )

    def button(self, *, down: bool, name: str = "left") -> None:
        """Of the tablet."""
        self.input({"type": "btn", "data": {"down": down, "button": name}})

    def wait(self) -> int:
        """The exit status; it is to end by itself."""
        status = self.process.wait(WITHIN_S)
        self._reader.join(WITHIN_S)
        return status

    def end(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(WITHIN_S)
        self._control.close()
        if self._monitor is not None:
            self._monitor.close()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def machine(folder: Path, config: Mapping[str, object] | str | None, **more: Any) -> Iterator[Machine]:
    """A device until the block ends. A mapping gets a device's usual values."""
    if isinstance(config, Mapping):
        config = config_text({"seed": secrets.token_hex(32), "panel": "threadx-512"} | dict(config))
    device = Machine(folder, config, **more)
    try:
        yield device
    finally:
        device.end()
