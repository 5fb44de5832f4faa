"""Who may reach whom: the layout of the design, asserted on what the sources import and include."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("protocol", "server", "simulator")

FOLDERS = {
    *("bench", "clients", "deploy", "docs", "protocol", "server"),
    *("simulator", "tests", "tools", "typing", ".ci"),
}
FILES = {
    ".clang-format",
    ".clang-tidy",
    ".gitignore",
    "CHANGELOG.md",
    "CMakeLists.txt",
    "LICENSE",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "requirements.lock",
}

# What a package may import of ours. `tests`, `bench` and `tools` may reach all.
REACH = {"protocol": {"protocol"}, "server": {"server", "protocol"}, "simulator": {"simulator", "protocol"}}
OURS_ELSEWHERE = {"bench", "tests", "tools"}

# Doors to the world outside: input and output, clocks, randomness, imports under a computed name.
NOT_IN_PROTOCOL = {
    *("asyncio", "http", "io", "mmap", "os", "pathlib", "select", "selectors", "shutil", "signal", "socket"),
    *("socketserver", "ssl", "subprocess", "sys", "tempfile", "urllib"),
    *("datetime", "sched", "time"),
    *("random", "secrets", "uuid"),
    *("concurrent", "ctypes", "importlib", "multiprocessing", "queue", "runpy", "threading"),
}
NOT_CALLED_IN_PROTOCOL = {"__import__", "breakpoint", "eval", "exec", "input", "open", "print"}

# The core runs where there is no operating system: no <stdlib.h>, so no heap; no <stdio.h>, no <time.h>.
CORE_SYSTEM_HEADERS = {"limits.h", "stdbool.h", "stddef.h", "stdint.h", "string.h"}

THREADX = ROOT / "clients/threadx"
# Where a C folder's own includes may lead, the folder itself first.
C_REACH = {
    "clients/threadx": (THREADX,),
    "clients/micropython": (ROOT / "clients/micropython",),
    "clients/micropython/usermod": (ROOT / "clients/micropython", THREADX),
    "server": (ROOT / "server", THREADX / "src", THREADX / "include"),
    "simulator": (ROOT / "simulator", THREADX),
}
SEARCH = ("server/native", "simulator/client_module", "clients/threadx/include", "clients/threadx/src")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def c_files(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in {".c", ".h", ".cdef"})


def imports(source: str, package: tuple[str, ...]) -> Iterator[str]:
    """Every module that `source`, a module in `package`, imports, by its absolute dotted name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module.split(".") if node.module else ())))
            # `from tilewire import server` names a module only in its second half.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def import_faults(name: str, source: str, package: tuple[str, ...]) -> list[str]:
    """What the module of `name` (a top-level folder) imports or calls and must not."""
    faults = []
    for module in imports(source, package):
        parts = module.split(".")
        first = parts[0]
        if first == "tilewire":
            if len(parts) < 2 or parts[1] not in REACH[name]:
                faults.append(module)
        elif (
            first in OURS_ELSEWHERE
            or first in PACKAGES
            or (name == "protocol" and (first not in sys.stdlib_module_names or first in NOT_IN_PROTOCOL))
        ):
            faults.append(module)
    if name == "protocol":
        faults += [
            f"{node.func.id}()"
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NOT_CALLED_IN_PROTOCOL
        ]
    return faults


def include_faults(path: Path, source: str) -> list[str]:
    """The includes of the C file `path` that leave what its folder may reach."""
    relative = path.relative_to(ROOT).as_posix()
    reach = C_REACH[max((folder for folder in C_REACH if relative.startswith(folder + "/")), key=len)]
    in_core = relative.startswith(("clients/threadx/src/", "clients/threadx/include/"))
    faults = []
    for bracket, name in INCLUDE.findall(source):
        candidates = [ROOT / folder / name for folder in SEARCH]
        if bracket == '"':
            candidates.insert(0, path.parent / name)
        found = next((candidate.resolve() for candidate in candidates if candidate.is_file()), None)
        if found is None:
            # Not ours, so the system's or the firmware's: the core takes only what every C99 compiler brings.
            outside = name not in CORE_SYSTEM_HEADERS if in_core else bracket == '"' and ".." in name
        else:
            outside = found.suffix != ".h" or not any(found.is_relative_to(folder) for folder in reach)
        if outside:
            faults.append(name)
    return faults


def test_the_root_holds_what_the_design_names() -> None:
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line and line[0] != "#"]
    seen = {
        path.name
        for path in ROOT.iterdir()
        if path.name != ".git" and not any(fnmatch(path.name, pattern) for pattern in ignored)
    }
    assert seen <= FOLDERS | FILES, "design.md section 2 names the top level"
    assert FILES - seen == set()
    assert FOLDERS - seen <= {"bench", "deploy"}


@pytest.mark.parametrize("name", PACKAGES)
def test_package_is_typed_and_linked_for_the_type_checker(name: str) -> None:
    assert (ROOT / name / "__init__.py").is_file()
    assert (ROOT / name / "py.typed").is_file()
    link = ROOT / "typing/tilewire" / name
    assert link.is_symlink()
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("name", PACKAGES)
def test_package_reaches_only_what_it_may(name: str) -> None:
    faults = {}
    for path in python_files(name):
        package = ("tilewire", *path.relative_to(ROOT).parent.parts)
        if found := import_faults(name, path.read_text(encoding="utf-8"), package):
            faults[path.relative_to(ROOT).as_posix()] = found
    assert faults == {}


def test_importing_protocol_loads_nothing_that_reaches_outside() -> None:
    code = "import sys, tilewire.protocol; print(*sorted(name for name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "tilewire.protocol" in loaded
    assert not loaded & {"trio", "socket", "ssl", "asyncio", "random", "secrets", "Xlib", "mss", "cffi"}
    assert not {name for name in loaded if name.startswith(("tilewire.server", "tilewire.simulator"))}


def test_micropython_client_stands_alone() -> None:
    folder = ROOT / "clients/micropython"
    faults = {}
    for path in python_files("clients/micropython"):
        package = path.relative_to(folder).parent.parts
        found = [
            module
            for module in imports(path.read_text(encoding="utf-8"), package)
            if module.split(".")[0] in OURS_ELSEWHERE | set(PACKAGES)
            or (module.startswith("tilewire.") and module.split(".")[1] in PACKAGES)
        ]
        if found:
            faults[path.relative_to(ROOT).as_posix()] = found
    assert faults == {}


@pytest.mark.parametrize("folder", ["clients/threadx", "clients/micropython", "server", "simulator"])
def test_c_code_includes_only_what_it_may(folder: str) -> None:
    faults = {}
    for path in c_files(folder):
        if found := include_faults(path, path.read_text(encoding="utf-8")):
            faults[path.relative_to(ROOT).as_posix()] = found
    assert faults == {}


# The checks themselves: each rule catches what it is there for.


@pytest.mark.parametrize(
    ("name", "source", "faults"),
    [
        ("protocol", "import struct\nfrom tilewire.protocol import wire\nfrom . import wire", []),
        ("protocol", "import trio", ["trio"]),
        ("protocol", "def f():\n    import socket", ["socket"]),
        ("protocol", "from time import monotonic", ["time.monotonic"]),
        ("protocol", "import os.path", ["os.path"]),
        ("protocol", "from secrets import token_bytes", ["secrets.token_bytes"]),
        ("protocol", "from ..server import app", ["tilewire.server.app"]),
        ("protocol", "from .. import server", ["tilewire.server"]),
        ("protocol", "from tilewire import simulator", ["tilewire.simulator"]),
        ("protocol", "open('f')", ["open()"]),
        ("server", "import trio, time\nimport tilewire.protocol", []),
        ("server", "import tilewire.simulator.cli", ["tilewire.simulator.cli"]),
        ("server", "import protocol", ["protocol"]),
        ("server", "from tests.support import x", ["tests.support.x"]),
        ("simulator", "from tilewire.protocol import panels", []),
        ("simulator", "from tilewire.server import cli", ["tilewire.server.cli"]),
    ],
)
def test_import_rule(name: str, source: str, faults: list[str]) -> None:
    assert import_faults(name, source, ("tilewire", name)) == faults


@pytest.mark.parametrize(
    ("path", "include", "fault"),
    [
        ("clients/threadx/src/x.c", "<string.h>", False),
        ("clients/threadx/src/x.c", "<stdlib.h>", True),
        ("clients/threadx/src/x.c", '"../../../server/native/native.h"', True),
        ("clients/threadx/include/tilewire/x.h", '"tx_api.h"', True),
        ("clients/threadx/ports/posix/x.c", "<sys/socket.h>", False),
        ("server/native/x.c", '"native.h"', False),
        ("server/native/x.c", '"../../simulator/x.h"', True),
        ("simulator/client_module/x.c", '"../../server/native/native.h"', True),
        ("clients/micropython/usermod/x.c", '"py/runtime.h"', False),
    ],
)
def test_include_rule(path: str, include: str, fault: bool) -> None:
    assert bool(include_faults(ROOT / path, f"#include {include}\n")) is fault
