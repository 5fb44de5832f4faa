"""The link shaper under the kernel's own TCP. Times are asserted from below only: a busy machine is late."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from PIL import Image

from tilewire.simulator.shaper import Counters, LaneCounters, Link, Place, Shaped, ShaperError, Tally, open_shaped
from tilewire.simulator.shaper.__main__ import main

from tests.support import descriptors
from tools.served import served

WITHIN_S: Final = 30.0
"""More than anything here takes."""
XTERM: Final = ["xterm", "-geometry", "100x30+0+0", "-bg", "white", "-fg", "black"]
LOSS_ALL: Final = 1 << 32
PATTERN: Final = bytes(range(251)) * 900
"""Of a length that no piece divides."""
SLEEPER: Final = [sys.executable, "-c", "import os, time; os.setsid(); os.write(1, b'there'); time.sleep(1000)"]

FLOOD: Final = """
import socket, sys
with socket.socket(type=socket.SOCK_DGRAM) as s:
    for _ in range(99):
        s.sendto(bytes(1000), (sys.argv[1], 9))
"""
LOOK_S: Final = 0.01

Socket = trio.socket.SocketType


def near(link: Shaped) -> Place:
    assert link.near is not None
    return link.near


async def socket_in(place: Place) -> Socket:
    return trio.socket.from_stdlib_socket(await place.tcp_socket())


@asynccontextmanager
async def connection(link: Shaped) -> AsyncIterator[tuple[Socket, Socket]]:
    """Over the link: its near end and its far end."""
    with await socket_in(link.far) as listener, await socket_in(near(link)) as one:
        await listener.bind((link.far.address, 0))
        listener.listen()
        await one.connect(listener.getsockname())
        other, _ = await listener.accept()
        with other:
            yield one, other


async def until(link: Shaped, condition: Callable[[Counters], bool]) -> Counters:
    """The counters once it holds."""
    with trio.fail_after(WITHIN_S):
        while not condition(counters := await link.counters()):  # noqa: ASYNC110 - the relay tells who asks
            await trio.sleep(LOOK_S)
    return counters


async def send_all(sender: Socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[await sender.send(view) :]


async def receive(receiver: Socket, count: int) -> bytes:
    data = b""
    with trio.fail_after(WITHIN_S):
        while len(data) < count:
            part = await receiver.recv(count - len(data))
            assert part, f"the stream ended after {len(data)} bytes"
            data += part
    return data


async def carry(sender: Socket, receiver: Socket, data: bytes) -> None:
    """Send it, and see it come out whole."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_all, sender, data)
        assert await receive(receiver, len(data)) == data


def consistent(lane: LaneCounters) -> bool:
    parts = (lane.delivered, lane.queue_full, lane.lost, lane.refused, lane.overrun, lane.queued, lane.air)
    return lane.offered == sum(parts, Tally(0, 0))


def draws(seed: int, count: int, share: float) -> int:
    """How many of the first frames a seed loses: splitmix64, as its authors have it."""
    mask, lost = (1 << 64) - 1, 0
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        lost += ((z ^ (z >> 31)) >> 32) < round(share * LOSS_ALL)
    return lost


def inhabited() -> set[str]:
    """All network namespaces that a process lives in."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.add(os.readlink(process / "ns/net"))
        except OSError:
            # It has gone, or is another user's.
            continue
    return found


def homes(link: Shaped) -> set[str]:
    """The network namespaces of a link's ends."""
    return {os.readlink(place.prefix[3]) for place in (near(link), link.far)}


# What the link does to real TCP.


@pytest.mark.parametrize("rtt_ms", [20.0, 120.0])
async def test_no_round_trip_is_shorter_than_asked(rtt_ms: float) -> None:
    async with open_shaped(Link(rtt_ms=rtt_ms)) as link:
        for _ in range(3):
            began_s = time.perf_counter()
            async with connection(link) as (one, other):
                assert time.perf_counter() - began_s >= rtt_ms / 1000
                began_s = time.perf_counter()
                await one.send(b"?")
                await other.send(await receive(other, 1))
                await receive(one, 1)
                assert time.perf_counter() - began_s >= rtt_ms / 1000


@pytest.mark.parametrize("down", [True, False])
async def test_no_more_is_carried_than_the_rate(down: bool) -> None:
    link_of_1_mbit = Link(kbit_s=1000, rtt_ms=10)
    began_s = time.perf_counter()
    async with open_shaped(link_of_1_mbit) as link, connection(link) as ends:
        receiver, sender = ends if down else reversed(ends)
        began_s = time.perf_counter()
        await carry(sender, receiver, PATTERN)
        took_s = time.perf_counter() - began_s
        counters = await link.counters()
    # TCP's own words come on top.
    assert len(PATTERN) * 8 / took_s < 1_000_000
    lane = counters.down if down else counters.up
    assert lane.delivered.bytes > len(PATTERN)
    assert consistent(counters.up)
    assert consistent(counters.down)


async def test_what_is_lost_is_what_the_seed_says() -> None:
    # Of this seed, one direction loses many more than the other.
    async with open_shaped(Link(loss_percent=5, seed=8)) as link, connection(link) as (one, other):
        await carry(other, one, PATTERN * 2)
        await carry(one, other, PATTERN * 2)
        counters = await link.counters()
    for number, lane in enumerate((counters.up, counters.down)):
        assert consistent(lane)
        transmitted = lane.offered.frames - lane.queue_full.frames - lane.queued.frames
        assert transmitted > 300
        assert lane.lost.frames == draws(2 * 8 + number, transmitted, 0.05)
        assert lane.lost.frames > 0


async def test_no_more_waits_than_the_queue_holds() -> None:
    async with open_shaped(Link(kbit_s=8, queue_kib=4)) as link:
        await trio.run_process([*near(link).prefix, sys.executable, "-c", FLOOD, link.far.address])
        counters = await link.counters()
    lane = counters.up
    assert consistent(lane)
    assert lane.offered == Tally(99, 99 * 1042)
    # A frame takes a second on the link, and three wait.
    assert lane.queue_high_bytes == 3 * 1042 <= 4096
    assert lane.queue_full.frames >= 50


async def test_tcp_fills_the_queue_and_no_more() -> None:
    async with open_shaped(Link(kbit_s=2000, rtt_ms=20, queue_kib=8)) as link, connection(link) as (one, other):
        await carry(other, one, PATTERN)
        counters = await link.counters()
    assert 1514 < counters.down.queue_high_bytes <= 8192


async def test_a_cut_passes_nothing_and_heals() -> None:
    async with open_shaped(Link(kbit_s=1000, rtt_ms=20)) as link, connection(link) as (one, other):
        await carry(one, other, PATTERN[:1000])
        before = await link.change(loss_percent=100)
        assert before.loss_percent == 0
        assert link.link.loss_percent == 100
        cut = await until(link, lambda c: not c.up.air.frames and not c.down.air.frames)
        await one.send(b"up")
        await other.send(b"down")
        # Sent, and sent again.
        now = await until(link, lambda c: c.up.lost.frames >= 2 and c.down.lost.frames >= 2)
        assert now.up.delivered == cut.up.delivered
        assert now.down.delivered == cut.down.delivered
        await link.restore(before)
        assert await receive(other, 2) == b"up"
        assert await receive(one, 4) == b"down"


async def test_a_link_becomes_another_while_it_stands() -> None:
    async with open_shaped(Link(kbit_s=100)) as link, connection(link) as (one, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all, other, PATTERN)
            await receive(one, 100)
            # At 100 kbit/s this would take 18 seconds.
            await link.change(kbit_s=None)
            await receive(one, len(PATTERN) - 100)
        await link.change(rtt_ms=80)
        began_s = time.perf_counter()
        await one.send(b"?")
        await other.send(await receive(other, 1))
        await receive(one, 1)
        assert time.perf_counter() - began_s >= 0.08
        with pytest.raises(ShaperError, match="the loss in percent is 101, it must be from 0 to 100"):
            await link.change(loss_percent=101)
        with pytest.raises(ShaperError, match="the seed of a link that stands cannot be changed"):
            await link.change(seed=1)


async def test_a_round_trip_of_seconds_still_finds_its_way() -> None:
    """ARP's questions are given up after three seconds."""
    async with open_shaped(Link(rtt_ms=4000)) as link:
        began_s = time.perf_counter()
        async with connection(link):
            assert time.perf_counter() - began_s >= 4


async def test_two_links_know_nothing_of_each_other() -> None:
    async with open_shaped(Link(rtt_ms=1)) as first, open_shaped(Link(rtt_ms=2)) as second:
        assert near(first).address == near(second).address
        async with connection(first) as (one, other):
            await carry(one, other, PATTERN)
        idle = await second.counters()
        assert idle.up.offered.frames == idle.down.offered.frames == 0
        async with connection(second) as (one, other):
            await carry(one, other, PATTERN)


async def test_a_command_runs_at_either_end_and_reaches_only_the_other() -> None:
    look = "import socket; print([name for _, name in socket.if_nameindex()])"
    async with open_shaped(Link()) as link:
        for place in (near(link), link.far):
            done = await trio.run_process([*place.prefix, sys.executable, "-c", look], capture_stdout=True)
            names = done.stdout.decode().strip()
            assert "'lo'" in names
            assert f"'{place.interface}'" in names
            assert "eth" not in names
        done = await trio.run_process([*near(link).prefix, "no-such-command"], capture_stderr=True, check=False)
        assert done.returncode == 127
        assert b"cannot run no-such-command: No such file or directory" in done.stderr


# A server of ours that is not there.


@asynccontextmanager
async def host_server() -> AsyncIterator[Socket]:
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


async def test_the_forwarder_carries_both_ways_until_each_has_ended() -> None:
    async with host_server() as listener:
        host, port = listener.getsockname()
        async with open_shaped(Link(kbit_s=20_000, rtt_ms=2), (host, port)) as link:
            assert link.server == (link.far.address, port)
            with await socket_in(near(link)) as one:
                await one.connect(link.server)
                other, _ = await listener.accept()
                with other:
                    await carry(other, one, PATTERN)
                    await carry(one, other, PATTERN)
                    one.shutdown(socket.SHUT_WR)
                    assert await other.recv(1) == b""
                    await other.send(b"last words")
                    other.shutdown(socket.SHUT_WR)
                    assert await receive(one, 10) == b"last words"
                    assert await one.recv(1) == b""
            assert link.forwarder is not None
            assert link.forwarder.connections == 1
            assert link.forwarder.up_bytes == len(PATTERN)
            assert link.forwarder.down_bytes == len(PATTERN) + 10


async def test_what_the_link_does_not_take_stays_with_the_server() -> None:
    """A server that measures how fast its bytes go must see the link, not what lies before it."""
    async with host_server() as listener:
        async with open_shaped(Link(kbit_s=100, rtt_ms=20, queue_kib=8), listener.getsockname()) as link:
            with await socket_in(near(link)) as one:
                await one.connect(link.server)
                other, _ = await listener.accept()
                with other:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(send_all, other, PATTERN)
                        await receive(one, 20_000)
                        nursery.cancel_scope.cancel()
                    assert link.forwarder is not None
                    # What the forwarder took lies in its kernel at the far end, on the link or with the device;
                    # of an ordinary socket that is hundreds of KiB.
                    assert link.forwarder.down_bytes - 20_000 < 40_000


@pytest.mark.parametrize("who", ["server", "device"])
async def test_a_broken_connection_is_broken_at_both_ends(who: str) -> None:
    async with host_server() as listener, open_shaped(Link(), listener.getsockname()) as link:
        with await socket_in(near(link)) as one:
            await one.connect(link.server)
            other, _ = await listener.accept()
            with other:
                breaks, hears = (other, one) if who == "server" else (one, other)
                await carry(breaks, hears, b"hello")
                breaks.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                breaks.close()
                with trio.fail_after(WITHIN_S), pytest.raises(ConnectionResetError):
                    await hears.recv(1)


async def test_a_server_that_is_not_there_resets_the_connection_and_is_told_of() -> None:
    async with host_server() as listener:
        address = listener.getsockname()
    async with open_shaped(Link(), address) as link:
        with await socket_in(near(link)) as one:
            await one.connect(link.server)
            with trio.fail_after(WITHIN_S), pytest.raises(ConnectionResetError):
                await one.recv(1)
        assert link.forwarder is not None
        assert link.forwarder.refusal == "Connection refused"


async def view(prefix: tuple[str, ...], address: str, picture: Path, *words: str) -> dict[str, Any]:
    """`tilewire-sim view` as a user calls it; its report."""
    words = (*words, "--settle", "1", "--for", "1.5", "--png", str(picture), "--json")
    done = await trio.run_process(
        [*prefix, sys.executable, "-m", "tilewire.simulator.cli", "view", address, *words],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


async def test_a_session_shows_the_exact_picture_over_a_slow_lossy_link(tmp_path: Path) -> None:
    words = [*XTERM, "-e", "sh", "-c", "seq -s ' ' 2000; printf '\\033[?25l'; sleep 1000"]
    with served(["run", "--listen", "127.0.0.1:0", "--size", "640x420", "--", *words], tmp_path / "log") as server:
        host, _, port = server.address.rpartition(":")
        # This seed loses the fifth frame of the server, and others.
        asked = Link(kbit_s=1000, rtt_ms=100, loss_percent=1, seed=21)
        async with open_shaped(asked, (host, int(port))) as link:
            address = "{}:{}".format(*link.server)
            report = await view(near(link).prefix, address, tmp_path / "link.png", "--type", "typed far away")
            counters = await link.counters()
        await view((), server.address, tmp_path / "loopback.png")
    assert counters.down.lost.frames >= 1
    assert counters.down.delivered.bytes > report["bytes"] > 1000
    with Image.open(tmp_path / "loopback.png") as expected, Image.open(tmp_path / "link.png") as shown:
        assert len(expected.convert("RGB").getcolors(1 << 20) or []) > 1
        if shown.tobytes() != expected.tobytes():
            pytest.fail(f"{tmp_path}/link.png is not {tmp_path}/loopback.png")


# A virtual machine at the near end.


async def test_qemu_is_a_device_on_the_link() -> None:
    """Its guest is its own user network, whose host, a port of ours, has the device's address."""
    async with host_server() as listener, open_shaped(Link(kbit_s=4000, rtt_ms=60), device=True) as link:
        end = link.device
        assert end is not None
        assert link.near is None
        user = f"user,id=u,net=192.0.2.0/24,host={end.address},dhcpstart=192.0.2.15,dns=192.0.2.3"
        hub = ["-netdev", "hubport,hubid=0,netdev=a,id=h0", "-netdev", "hubport,hubid=0,netdev=u,id=h1"]
        none = ["-M", "none", "-display", "none", "-serial", "none", "-monitor", "none"]
        command = ["qemu-system-arm", *none, "-netdev", end.netdev("a"), "-netdev", user, *hub]
        async with trio.open_nursery() as nursery:
            run = partial(trio.run_process, pass_fds=[end.fd], check=False, capture_stderr=True)
            machine = await nursery.start(run, command)
            with trio.fail_after(WITHIN_S):
                while True:
                    with await socket_in(link.far) as one:
                        began_s = time.perf_counter()
                        try:
                            await one.connect((end.address, listener.getsockname()[1]))
                        except OSError:
                            # It is not up yet.
                            continue
                        assert time.perf_counter() - began_s >= 0.06
                        other, _ = await listener.accept()
                        with other:
                            await carry(one, other, PATTERN)
                            await carry(other, one, PATTERN)
                    break
            machine.terminate()
        counters = await link.counters()
    assert consistent(counters.up)
    assert consistent(counters.down)
    assert min(counters.up.delivered.bytes, counters.down.delivered.bytes) > len(PATTERN)


# Nothing is left.


@asynccontextmanager
async def sleeper(place: Place) -> AsyncIterator[int]:
    """A process at that end that has left our session; its number."""
    process = await trio.lowlevel.open_process([*place.prefix, *SLEEPER], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.receive_some(16) == b"there"
    await process.stdout.aclose()
    yield process.pid
    with trio.fail_after(WITHIN_S):
        assert await process.wait() == -signal.SIGKILL


async def test_when_the_block_ends_everything_is_gone() -> None:
    before = descriptors(), socket.if_nameindex()
    async with _two_sleepers() as link:
        gone = homes(link)
        assert gone < inhabited()
        assert len(gone) == 2
        assert socket.if_nameindex() == before[1]
    assert not gone & inhabited()
    assert descriptors() <= before[0]
    assert socket.if_nameindex() == before[1]
    with pytest.raises(ProcessLookupError):
        os.kill(link.relay_pid, 0)


@asynccontextmanager
async def _two_sleepers() -> AsyncIterator[Shaped]:
    async with trio.open_nursery() as nursery, open_shaped(Link()) as link:

        async def sleep_in(place: Place, task_status: trio.TaskStatus[None]) -> None:
            async with sleeper(place):
                task_status.started()

        await nursery.start(sleep_in, near(link))
        await nursery.start(sleep_in, link.far)
        yield link


async def kill_the_relay(sleeping: list[trio.Process], gone: set[str]) -> None:
    async with open_shaped(Link()) as link:
        gone |= homes(link)
        process = await trio.lowlevel.open_process([*near(link).prefix, *SLEEPER], stdout=subprocess.PIPE)
        sleeping.append(process)
        assert process.stdout is not None
        async with process.stdout:
            assert await process.stdout.receive_some(16) == b"there"
        os.kill(link.relay_pid, signal.SIGKILL)
        with trio.fail_after(WITHIN_S):
            await trio.sleep_forever()


async def test_a_killed_relay_is_one_sentence_and_nothing_is_left() -> None:
    before = descriptors()
    sleeping: list[trio.Process] = []
    gone: set[str] = set()
    with pytest.raises(ShaperError, match=r"^the relay of the link has ended by itself \(killed by SIGKILL\)$"):
        await kill_the_relay(sleeping, gone)
    with trio.fail_after(WITHIN_S):
        assert await sleeping[0].wait() == -signal.SIGKILL
    assert len(gone) == 2
    assert not gone & inhabited()
    assert descriptors() <= before


OWNER: Final = """
import os, subprocess, sys, trio
from tilewire.simulator.shaper import Link, open_shaped

async def own():
    async with open_shaped(Link(kbit_s=1000)) as link:
        for place in (link.near, link.far):
            there = await trio.lowlevel.open_process([*place.prefix, *sys.argv[1:]], stdout=subprocess.PIPE)
            assert await there.stdout.receive_some(16) == b"there"
            print(there.pid, os.readlink(f"/proc/{there.pid}/ns/net"), flush=True)
        print(link.relay_pid, os.readlink(f"/proc/{link.relay_pid}/ns/net"), flush=True)
        await trio.sleep_forever()

trio.run(own)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_its_owner_is_killed_nothing_is_left(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, *SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        lines = [owner.stdout.readline().split() for _ in range(3)]
        owner.send_signal(number)
    gone = {line[1] for line in lines}
    assert len(gone) == 2
    deadline = time.monotonic() + WITHIN_S
    while (left := gone & inhabited()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


# Where it cannot be.


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kbit_s": 7.99}, "the rate in kbit/s is 7.99, it must be from 8 to 1e+06"),
        ({"kbit_s": 0}, "the rate in kbit/s is 0, it must be from 8 to 1e+06"),
        ({"kbit_s": float("nan")}, "the rate in kbit/s is nan, it must be from 8 to 1e+06"),
        ({"kbit_s": 1_000_001}, "the rate in kbit/s is 1e+06, it must be from 8 to 1e+06"),
        ({"rtt_ms": -1}, "the round-trip time in ms is -1, it must be from 0 to 10000"),
        ({"rtt_ms": 10_001}, "the round-trip time in ms is 10001, it must be from 0 to 10000"),
        ({"rtt_ms": float("inf")}, "the round-trip time in ms is inf, it must be from 0 to 10000"),
        ({"loss_percent": -0.1}, "the loss in percent is -0.1, it must be from 0 to 100"),
        ({"loss_percent": 100.1}, "the loss in percent is 100.1, it must be from 0 to 100"),
        ({"queue_kib": 1.9}, "the queue in KiB is 1.9, it must be from 2 to 32768"),
        ({"queue_kib": 32_769}, "the queue in KiB is 32769, it must be from 2 to 32768"),
        ({"seed": -1}, "the seed is -1, it must be from 0 to 9223372036854775807"),
    ],
)
def test_what_no_link_can_be_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ShaperError) as caught:
        Link(**fields)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "fields",
    [
        {"kbit_s": 8, "rtt_ms": 0, "loss_percent": 0, "queue_kib": 2},
        {"kbit_s": 1_000_000, "rtt_ms": 10_000, "loss_percent": 100, "queue_kib": 32_768, "seed": (1 << 63) - 1},
    ],
)
async def test_a_link_at_the_bounds_stands(fields: dict[str, Any]) -> None:
    async with open_shaped(Link(**fields)) as link:
        assert (await link.counters()).up.offered.frames == 0


def check_itself(*before: str) -> subprocess.CompletedProcess[str]:
    """`python -m tilewire.simulator.shaper`, after other words."""
    words = [sys.executable, "-m", "tilewire.simulator.shaper", "--link", "2000", "--rtt", "4", "--for", "0.3"]
    return subprocess.run([*before, *words], capture_output=True, text=True, timeout=60, check=False)


def test_it_shows_what_it_does_beside_what_was_asked() -> None:
    done = check_itself()
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[-2] for row in rows if row[:2] == ["frames,", "kbit/s"]] == ["2000", "2000"]
    (trip,) = (row for row in rows if row[:2] == ["round", "trip,"])
    assert float(trip[-1]) >= float(trip[-2]) >= 4


def test_where_no_namespace_can_be_made_it_says_so() -> None:
    # In a user namespace of our own, which allows no network namespace.
    forbid = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    done = check_itself("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "shaper: network namespaces cannot be made: No space left on device\n"


def test_arguments_that_no_link_can_be_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--link", "1"]) == 1
    assert capsys.readouterr().err == "shaper: the rate in kbit/s is 1, it must be from 8 to 1e+06\n"


def as_ordinary_user(mode: int) -> list[str]:
    """Words before a command: with no right but to read this tree, and a /dev/net/tun of that mode.

    Where the tests are not root's, all of them are run like that, on the machine's own /dev/net/tun.
    """
    here = "mount -t tmpfs none /mnt && mknod -m $0 /mnt/tun c 10 200 && mount --bind /mnt/tun /dev/net/tun"
    rights = (
        "--inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search"
    )
    drop = f'exec setpriv --reuid=65534 --regid=65534 --clear-groups {rights} "$@"'
    return ["unshare", "--mount", "sh", "-c", f"{here} && {drop}", f"{mode:o}"]


def test_an_ordinary_user_has_links_too() -> None:
    done = check_itself(*([] if os.getuid() else as_ordinary_user(0o666)))
    assert done.returncode == 0, done.stderr
    assert "TCP payload" in done.stdout


def test_a_tap_that_may_not_be_made_is_one_sentence() -> None:
    if os.getuid():
        # Only root can take it away; then this is what the other tests say.
        assert os.access("/dev/net/tun", os.R_OK | os.W_OK)
        return
    done = check_itself(*as_ordinary_user(0o600))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "shaper: a TAP cannot be made: /dev/net/tun cannot be opened: Permission denied\n"


def test_root_without_its_rights_is_told_which() -> None:
    if os.getuid():
        assert os.access("/proc/self/ns/user", os.R_OK)
        return
    done = check_itself("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    assert (done.returncode, done.stdout) == (1, "")
    assert "that takes root with CAP_SYS_ADMIN, or a user who may make user namespaces: Operation" in done.stderr
