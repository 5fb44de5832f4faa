"""A recorded session, played into the device without a network: what decoding costs, in instructions."""

from __future__ import annotations

import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tilewire.simulator.exits import Exit
from tilewire.simulator.machine import Event

from tests.firmware.machine import WITHIN_S, machine
from tests.firmware.terminal import config, is_exact, terminal, typed_is

MIPS: Final = 250
COUNTED: Final = ("-icount", "shift=2,sleep=off")
"""An instruction is 4 ns of the device's clock, and nothing waits for the host's."""

GRAIN: Final = 16
"""Instructions: the clock has 2.5 in a tick, and an update that comes in some pieces is begun and ended at each."""


class Recorder:
    """Between one device and its server; keeps what the server says."""

    def __init__(self, server_port: int, listener: socket.socket) -> None:
        self.said = bytearray()
        self.port: int = listener.getsockname()[1]
        self._listener = listener
        self._server_port = server_port
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def _carry(self) -> None:
        device, _ = self._listener.accept()
        with device, socket.create_connection(("127.0.0.1", self._server_port)) as server:
            other = threading.Thread(target=self._pass, args=(device, server), daemon=True)
            other.start()
            while data := server.recv(65536):
                self.said += data
                device.sendall(data)
            device.shutdown(socket.SHUT_WR)
            other.join(WITHIN_S)

    @staticmethod
    def _pass(device: socket.socket, server: socket.socket) -> None:
        while data := device.recv(65536):
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)

    def end(self) -> bytes:
        """What the server said; both ends have gone."""
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        return bytes(self.said)


@contextmanager
def recorder(server_port: int) -> Iterator[Recorder]:
    """A recorder for the next connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Recorder(server_port, listener)


def replay(folder: Path, recording: Path, panel: str) -> tuple[int, list[Event]]:
    """Exit status and events of a device that plays it."""
    lines = {"replay": recording.stat().st_size, "mips": MIPS, "panel": panel}
    with machine(folder, lines, recording=recording, net=None, words=COUNTED) as device:
        status = device.wait()
        return status, device.events


@pytest.mark.parametrize("panel", ["threadx-512", "mcu"])
def test_a_recorded_session_costs_the_same_each_time(panel: str, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    with terminal(tmp_path / "server") as server, recorder(server.port) as line:
        with machine(tmp_path / "live", config(line.port, panel=panel)) as device:
            device.until("picture")
            device.tell("pointer 100 100 0")
            device.tell("text what was typed")
            typed_is(server, b"what was typed")
            is_exact(device, server)
            # Nothing of the session comes after this.
            device.tell("stop")
            assert device.wait() == Exit.STOPPED
            shown = (tmp_path / "live/framebuffer").read_bytes()
        recording.write_bytes(line.end())
    runs = [replay(tmp_path / f"replay{number}", recording, panel) for number in range(2)]
    assert [status for status, _ in runs] == [Exit.STOPPED] * 2
    totals = [next(event for event in events if event["event"] == "replay") for _, events in runs]
    parts = [[event | {"ms": 0} for event in events if event["event"] == "update"] for _, events in runs]
    assert totals[0]["crc32"] == zlib.crc32(shown)
    assert totals[0]["bytes"] == recording.stat().st_size
    costs = [[part.pop("instructions") for part in each] for each in parts]
    assert [abs(one - other) <= GRAIN for one, other in zip(*costs)] == [True] * len(costs[0])
    assert [part | {"decode_us": 0} for part in parts[0]] == [part | {"decode_us": 0} for part in parts[1]]
    assert len(parts[0]) == totals[0]["updates"] >= 2
    assert sum(part["pixels"] for part in parts[0]) == totals[0]["pixels"]
    assert 0 < sum(costs[0]) <= totals[0]["instructions"]
    assert totals[0]["decode_us"] == pytest.approx(totals[0]["instructions"] / MIPS, abs=len(parts[0]))


def test_a_recording_that_is_none(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    recording.write_bytes(b"HTTP/1.1 200 OK\r\n\r\n")
    status, events = replay(tmp_path / "device", recording, "threadx-512")
    assert status == Exit.BAD_RECORDING
    assert events[-1]["text"].startswith("the recording stops at byte ")
