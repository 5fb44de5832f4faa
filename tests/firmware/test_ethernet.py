"""The Ethernet drivers of the QEMU device: what they must not take, and what they must not lose."""

from __future__ import annotations

import random
import socket
import struct
from pathlib import Path

import pytest
import trio

from tilewire.protocol import Rect
from tilewire.simulator.machine import Plan, find_qemu, open_machine
from tilewire.simulator.shaper import DeviceEnd

from tests.firmware.machine import FIRMWARE, HOST, WITHIN_S
from tests.server.xclient import painter
from tests.support import put_pixels, served

LONGEST_FRAME = 1514
BROADCAST = b"\xff" * 6 + bytes.fromhex("0200000000010806")
"""The Ethernet header of a question by ARP."""
WHO_HAS = (
    BROADCAST
    + bytes.fromhex("0001080006040001020000000001")
    + socket.inet_aton("192.0.2.1")
    + bytes(6)
    + socket.inet_aton("192.0.2.2")
).ljust(60, b"\0")
ARP_REPLY = slice(20, 22)
ARP_SENDER = slice(28, 32)


NETS = ("lan9118", "virtio")
SIZE = (1024, 600)


@pytest.mark.parametrize("net", NETS)
async def test_frames_that_are_too_long_are_counted_and_nothing_else_is_lost(net: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    end = DeviceEnd(theirs.fileno(), "192.0.2.2", 24)
    config = {"server": "192.0.2.1:1", "panel": "mcu", "net": net, "ip": f"{end.address}/{end.prefix_bits} 192.0.2.1"}
    with trio.socket.from_stdlib_socket(ours) as line, theirs:
        async with open_machine(Plan(config=config, firmware=FIRMWARE, qemu=find_qemu(), net=net, link=end)) as machine:
            await machine.until("connecting", timeout_s=WITHIN_S)
            for _ in range(3):
                await line.send(BROADCAST.ljust(LONGEST_FRAME + 2, b"\xff"))
            await line.send(WHO_HAS)
            with trio.fail_after(WITHIN_S):
                # Among its own questions who has the server's address.
                while (answer := await line.recv(2048))[ARP_REPLY] != b"\0\2":
                    pass
            assert answer[ARP_SENDER] == socket.inet_aton(end.address)
            frames = (await machine.stats())["frames"]
            assert (frames["received"], frames["lost"], frames["refused"]) == (1, 3, 0)
            await machine.stop()


def segments(pcap: bytes, port: int) -> list[tuple[int, int]]:
    """Of TCP from that port, with data: where in the stream each begins, and how long it is."""
    found: list[tuple[int, int]] = []
    first, at = None, 24
    while at + 16 <= len(pcap):
        (kept,) = struct.unpack_from("<I", pcap, at + 8)
        frame, at = pcap[at + 16 : at + 16 + kept], at + 16 + kept
        if frame[12:14] != b"\x08\0" or frame[23] != socket.IPPROTO_TCP:
            continue
        tcp = 14 + 4 * (frame[14] & 15)
        source, _, number = struct.unpack_from(">HHI", frame, tcp)
        length = struct.unpack_from(">H", frame, 16)[0] + 14 - tcp - 4 * (frame[tcp + 12] >> 4)
        if source == port and length:
            first = number if first is None else first
            found.append(((number - first) % (1 << 32), length))
    return found


@pytest.mark.parametrize("net", NETS)
async def test_no_frame_is_sent_twice_to_a_device_that_is_sent_much(net: str, tmp_path: Path) -> None:
    # QEMU drops what overflows in the LAN9118 without counting it. TCP notices: it sends it again.
    frames = tmp_path / "pcap"
    async with served(SIZE) as server:
        with painter(server.name) as client:
            noise = random.Random(7).randbytes(4 * SIZE[0] * SIZE[1])
            put_pixels(client, Rect(0, 0, *SIZE), noise)
            config = {"server": f"{HOST}:{server.port}", "panel": "threadx-512", "net": net, "jpeg": "no"}
            async with open_machine(
                Plan(config=config, firmware=FIRMWARE, qemu=find_qemu(), net=net, pcap=frames)
            ) as machine:
                await machine.until("picture", timeout_s=WITHIN_S)
                stats = await machine.stats()
                await machine.stop()
    assert stats["bytes"]["received"] > SIZE[0] * SIZE[1]
    assert stats["frames"]["lost"] == stats["frames"]["refused"] == 0
    assert {pool["name"] for pool in stats["pools"] if pool["err"]} == set()
    end = 0
    for begin, length in segments(frames.read_bytes(), server.port):
        assert begin == end, f"{end - begin} bytes were sent again after {end}"
        end += length
    assert end >= stats["bytes"]["received"]
