"""The device on ThreadX and NetX Duo, which this project does not have: its own sources compile, without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.firmware.machine import SOURCES

STANDIN = Path(__file__).parent / "standin"
OBJECTS = "firmware/CMakeFiles/device_threadx.dir"


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_threadx_build_compiles(tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "arm-none-eabi-nm", "cmake", "ninja"):
        assert shutil.which(tool), f"{tool} is not installed: make setup brings it"
    run("cmake", "-S", STANDIN, "-B", tmp_path, "-G", "Ninja", "--toolchain", SOURCES / "arm.cmake")
    # By the names that CMake gives them: all of its own, and none of the client's, which have tests of their own.
    targets = run("ninja", "-C", tmp_path, "-t", "targets", "all")
    objects = re.findall(rf"^({OBJECTS}/\S+\.obj):", targets, re.MULTILINE)
    sources = {found.removeprefix(f"{OBJECTS}/").removesuffix(".obj") for found in objects}
    assert sources == {"app/main_threadx.c", "board/threadx_low.S", "net/netx_driver.c"}
    run("ninja", "-C", tmp_path, *objects)
    # What each half of the build calls of the other is there, under the same name.
    names = [line.split()[-2:] for line in run("arm-none-eabi-nm", *(tmp_path / path for path in objects)).splitlines()]
    defined = {pair[1] for pair in names if len(pair) == 2 and pair[0] not in ("U", "t", "b", "d", "r")}
    wanted = {pair[1] for pair in names if len(pair) == 2 and pair[0] == "U"}
    assert {"fw_netx_driver", "fw_netx_use", "fw_netx_wake"} <= defined & wanted
    assert {"main", "fw_irq", "_tx_initialize_low_level", "tx_application_define"} <= defined
