"""The QEMU device by itself: what it shows, what it refuses, and how it reports what went wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from tilewire.protocol import PANELS
from tilewire.simulator.exits import Exit
from tilewire.simulator.machine import config_text

from tests.firmware.machine import EXITS, HOST, SOURCES, Machine, machine

NOBODY = f"{HOST}:1"
"""Where no server listens."""
LARGEST = 1024
"""Pixels each way that the LCD controller shows."""
FAST = ("-icount", "shift=0,sleep=off")
"""1000 MIPS, and time counts instructions alone."""


def run(folder: Path, config: str | Mapping[str, object] | None, *commands: str) -> tuple[Machine, int]:
    """A device that ends by itself, or by these commands."""
    with machine(folder, config) as device:
        if commands:
            device.until("address")
        for command in commands:
            device.tell(command)
        return device, device.wait()


def last_line(device: Machine) -> str:
    return device.log.splitlines()[-1].removeprefix("device: ")


def test_exit_statuses_are_the_same_in_both_languages() -> None:
    assert {status.name: status.value for status in Exit} == EXITS


def test_standard_panels_are_the_same_in_both_languages() -> None:
    rows = re.findall(r'X\(("[^)]*)\)', (SOURCES / "app/panels.h").read_text())
    assert [re.split(r",\s*", row) for row in rows] == [
        [
            f'"{panel.name}"',
            *(str(panel.width), str(panel.height), panel.pixel_format.name),
            *(str(int(panel.big_endian)), str(int(panel.readable)), str(panel.max_message)),
            *(str(panel.max_rect_width), str(panel.max_rect_area), str(panel.model_kib)),
            *(str(panel.cache_slots), str(panel.cache_slot_bytes), str(panel.cursor_side), str(panel.density)),
        ]
        for panel in PANELS.values()
    ]


def test_it_boots_reports_and_stops(tmp_path: Path) -> None:
    # By the clock that counts instructions: these bounds hold on any machine.
    with machine(tmp_path, {"server": NOBODY}, words=FAST) as device:
        assert device.until("boot")["ms"] <= 1
        assert device.until("panel")["ms"] <= 20
        address = device.until("address")
        assert address["address"] == "10.0.2.15"
        device.until("retry")
        stats = device.stats()
        assert (stats["updates"], stats["connections"], stats["memory"]["heap"]) == (0, 0, 0)
        assert stats["attempts"] >= 1
        assert [stack["name"] for stack in stats["stacks"]] == ["main", "traps"]
        assert all(0 <= stack["used"] < stack["size"] for stack in stats["stacks"])
        assert stats["stacks"][0]["used"] > 0
        assert {pool["name"] for pool in stats["pools"]} >= {"TCP_PCB", "TCP_SEG", "PBUF_POOL"}
        assert all(pool["err"] == 0 for pool in stats["pools"])
        assert stats["memory"]["free"] > 200 << 20
        device.tell("stop")
        assert device.wait() == Exit.STOPPED
        assert device.events[-1] | {"ms": 0} == {"event": "stopped", "ms": 0, "code": 0, "text": "stopped"}


@pytest.mark.parametrize("name", sorted(PANELS))
def test_every_panel_is_shown_or_refused_plainly(name: str, tmp_path: Path) -> None:
    panel = PANELS[name]
    config = {"server": NOBODY, "panel": name}
    if panel.width > LARGEST:
        device, status = run(tmp_path, config)
        assert status == Exit.BAD_PANEL
        size = f"{panel.width}x{panel.height}"
        why = "this LCD controller shows at most 1024x1024 pixels"
        assert last_line(device) == f"the panel {name} of {size} cannot be shown: {why}"
        return
    with machine(tmp_path, config) as device:
        shown = device.until("panel")
        assert (shown["width"], shown["height"]) == (panel.width, panel.height)
        assert (shown["strip"] == 0) is panel.readable
        device.until("address")
        device.screenshot(tmp_path / "screen.png")
        with Image.open(tmp_path / "screen.png") as image:
            assert image.size == (panel.width, panel.height)
            assert image.convert("RGB").getextrema() == ((0, 0), (0, 0), (0, 0))


@pytest.mark.parametrize("size", ["1000x600", "1040x600", "1024x1025", "8x8"])
def test_sizes_that_the_controller_cannot_show(size: str, tmp_path: Path) -> None:
    device, status = run(tmp_path, {"server": NOBODY, "panel": size})
    assert status == Exit.BAD_PANEL
    assert last_line(device).startswith(f"the panel {size} of {size} cannot be shown: this LCD controller shows ")


def test_any_size_of_the_controller_in_either_format(tmp_path: Path) -> None:
    for name in ("rgb565", "xrgb8888"):
        config = {"server": NOBODY, "panel": "1024x1024", "format": name}
        with machine(tmp_path / name, config) as device:
            size = 2 if name == "rgb565" else 4
            assert device.until("panel")["stride"] == 1024 * size
            assert len(device.framebuffer()) == 1024 * 1024 * size


# What cannot go on.


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("null", r"data abort at 0x6001[0-9a-f]{4}: write to 0x00000000 \(not mapped\)"),
        ("undef", r"undefined instruction at 0x6001[0-9a-f]{4}"),
    ],
)
def test_a_trap_is_reported(how: str, line: str, tmp_path: Path) -> None:
    device, status = run(tmp_path, {"server": NOBODY}, f"crash {how}")
    assert status == Exit.TRAP
    assert re.fullmatch(line, last_line(device))
    assert "r0 0000" in device.log
    stopped = device.events[-1]
    assert (stopped["event"], stopped["code"]) == ("stopped", Exit.TRAP)
    # The address is the instruction's own, so that addr2line finds its line.
    place = re.search(r"at 0x([0-9a-f]{8})", last_line(device))
    registers = re.search(r"pc ([0-9a-f]{8})", device.log)
    assert place is not None
    assert registers is not None
    assert place[1] == registers[1]


def test_a_main_loop_that_stands_still_is_reported(tmp_path: Path) -> None:
    device, status = run(tmp_path, {"server": NOBODY, "watchdog": 1}, "freeze")
    assert status == Exit.STUCK
    assert re.fullmatch(r"the main loop has stood still for 1000 ms at 0x6001[0-9a-f]{4}", last_line(device))


# Configuration.

GOOD = {"server": NOBODY, "panel": "mcu"}


@pytest.mark.parametrize(
    ("text", "status", "sentence"),
    [
        (None, Exit.NO_CONFIG, "no configuration begins with `tilewire-device 1` in RAM"),
        ("tilewire-device 2\nend\n", Exit.NO_CONFIG, "no configuration begins with `tilewire-device 1` in RAM"),
        ("tilewire-device 1\n", Exit.BAD_CONFIG, "the configuration does not end with `end`"),
        ("tilewire-device 1\nend\n", Exit.BAD_CONFIG, "the configuration says no `panel`"),
        (config_text({"panel": "mcu"}), Exit.BAD_CONFIG, "the configuration says no `server`"),
        (
            config_text(GOOD | {"colour": "red"}),
            Exit.BAD_CONFIG,
            "the configuration has a line `colour`, which means nothing here",
        ),
        (
            config_text(GOOD | {"cursor": "local"}),
            Exit.BAD_CONFIG,
            "a panel that cannot be read shows no local cursor: `cursor` is none or picture",
        ),
        (config_text(GOOD | {"strip": 241}), Exit.BAD_CONFIG, "the strip has more rows than the panel"),
        ("tilewire-device 1\nred\nend\n", Exit.BAD_CONFIG, "the configuration has a line that is not `key = value`"),
    ],
)
def test_a_configuration_that_is_none(text: str | None, status: Exit, sentence: str, tmp_path: Path) -> None:
    device, seen = run(tmp_path, text)
    assert (seen, last_line(device)) == (status, sentence)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server", "10.0.2.2"),
        ("server", ":7800"),
        ("server", "10.0.2.2:0"),
        ("server", "10.0.2.2:65536"),
        ("panel", "retina"),
        ("format", "grey8"),
        ("device_id", "x" * 65),
        ("net", "wifi"),
        ("ip", "10.0.2.15"),
        ("ip", "10.0.2.256/24 10.0.2.2"),
        ("ip", "10.0.2.15/31 10.0.2.2"),
        ("cursor", "hand"),
        ("model", "17"),
        ("cache", "8193 8192"),
        ("jpeg", "1"),
        ("receive", "1023"),
        ("rotate", "45"),
        ("watchdog", "-1"),
    ],
)
def test_a_value_that_cannot_be(key: str, value: str, tmp_path: Path) -> None:
    device, status = run(tmp_path, config_text(GOOD | {key: value}))
    assert (status, last_line(device)) == (Exit.BAD_CONFIG, f"the configuration's `{key}` cannot be `{value}`")


@pytest.mark.parametrize("key", ["key", "seed"])
def test_a_secret_is_never_said(key: str, tmp_path: Path) -> None:
    secret = "0123456789abcdef" * 4
    for text in (
        config_text(GOOD | {key: secret + "0"}),
        config_text(GOOD | {key: secret, "colour": "red"}),
        config_text(GOOD).replace("end\n", f"{key} {secret}\nend\n"),
    ):
        device, status = run(tmp_path, text)
        assert status == Exit.BAD_CONFIG
        assert secret[:8] not in device.log
        assert secret[:8] not in str(device.lines)


def test_a_key_without_random_numbers(tmp_path: Path) -> None:
    with machine(tmp_path, config_text(GOOD | {"key": "00" * 32}), random=False) as device:
        assert device.wait() == Exit.NO_RANDOM
        why = "a key needs random numbers: an entropy device, or `seed` in the configuration"
        assert last_line(device) == why
    with machine(tmp_path, config_text(GOOD | {"key": "00" * 32, "seed": "11" * 32}), random=False) as device:
        device.until("address")


def test_what_the_machine_lacks(tmp_path: Path) -> None:
    for net, there in (("virtio", "lan9118"), ("lan9118", "virtio")):
        with machine(tmp_path, GOOD | {"net": net}, net=there) as device:
            if net == "lan9118":
                # The board always has one, but nothing is connected to it.
                device.until("panel")
                continue
            assert device.wait() == Exit.NO_ETHERNET
            assert last_line(device) == f"this machine has no Ethernet controller {net}"


def test_more_memory_than_there_is(tmp_path: Path) -> None:
    device, status = run(tmp_path, {"server": NOBODY, "cache": "8192 1000000"})
    assert status == Exit.NO_MEMORY
    assert re.fullmatch(r"the configuration asks for \d+ bytes more than the \d+ that are free", last_line(device))


def test_an_address_of_its_own(tmp_path: Path) -> None:
    config = {"server": NOBODY, "ip": "10.0.2.77/24 10.0.2.2 10.0.2.3"}
    with machine(tmp_path, config) as device:
        assert device.until("address")["address"] == "10.0.2.77"
        device.until("retry")


def test_a_command_that_means_nothing(tmp_path: Path) -> None:
    with machine(tmp_path, {"server": NOBODY}) as device:
        device.until("address")
        for number, command in enumerate(
            (
                "dance",
                "key x down",
                "key 0x20",
                "pointer 1024 0 0",
                "touch 0 0 0 sideways",
                "text",
                "text " + "x" * 2000,
            )
        ):
            device.tell(command)
            device.until("error", since=number)
        wrong = [event for event in device.events if event["event"] == "error"]
        assert {event["text"] for event in wrong} == {"a command that means nothing"}
        device.tell("stop")
        assert device.wait() == Exit.STOPPED


def test_a_cable_that_is_pulled(tmp_path: Path) -> None:
    for net in ("lan9118", "virtio"):
        with machine(tmp_path / net, {"server": NOBODY, "net": net}, net=net) as device:
            device.until("address")
            since = len(device.events)
            device.ask("set_link", name="n0", up=False)
            device.until("link", lambda event: not event["up"], since=since)
            device.ask("set_link", name="n0", up=True)
            device.until("link", lambda event: event["up"], since=since)
