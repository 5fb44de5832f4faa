"""lwIP's source, from Debian's source package into build/lwip: `python -m tools.lwip`. The QEMU device's firmware is
made of it, and the tests of the lwIP port run on it.

Packages hold only a build with an operating system underneath, and devices have none. apt works with lists and a cache
of its own below build/, so the machine's configuration stays as it is. Where there is no apt, LWIP_TARBALL names the
file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
LWIP: Final = ROOT / "build/lwip"
"""Here are `src` and `version.txt` once it is unpacked."""
VERSIONS: Final = {
    "0a8276d09fc4e97bbba2f953d74af2388fc2195ea156be9d7589e297a68fde24": "2.1.3",  # Debian 12
    "83729c274c499d3348e9fbbe043a3113f3fa8953e7efddc7c21c7fcbb1f2b7b1": "2.2.1",  # Debian 13
}
"""SHA-256 of Debian's lwip_VERSION+dfsg1.orig.tar.xz."""
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring"
WITHIN_S: Final = 120
NEEDED: Final = "src/"
"""Of the archive; the rest is documentation and tests of its own."""


class LwipError(Exception):
    """A sentence that says why it is not there."""


def run(words: list[str], folder: Path) -> str:
    """A command's output. Raises LwipError."""
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LwipError(f"{words[0]}: {error}") from error
    if done.returncode != 0:
        raise LwipError(f"{words[0]} failed: {(done.stderr.strip() or 'without a word').splitlines()[-1]}")
    return done.stdout


def code_name() -> str:
    """Of this Debian release: "bookworm". Raises LwipError."""
    release = Path("/etc/os-release")
    found = re.search(r"^VERSION_CODENAME=(\w+)$", release.read_text() if release.exists() else "", re.MULTILINE)
    if found is None:
        raise LwipError("this is no Debian release; LWIP_TARBALL can name lwip_2.1.3+dfsg1.orig.tar.xz")
    return found[1]


def sources(name: str) -> list[str]:
    """Lines for apt: source packages from where this machine has its packages of release `name`. Raises LwipError."""
    template = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    rows = {tuple(row.split()) for row in run(["apt-get", "indextargets", "--format", template], ROOT).splitlines()}
    keys = next((f"[signed-by={path}] " for end in ("gpg", "pgp") if Path(path := f"{KEYRING}.{end}").exists()), "")
    lines = [f"deb-src {keys}{row[2]} {name} main" for row in sorted(rows) if row[:2] == (name, "main")]
    if not lines:
        raise LwipError(f"apt knows no place for Debian's {name} main; LWIP_TARBALL can name the file")
    return lines


def download(folder: Path) -> Path:
    """Debian's tarball, below `folder`. Raises LwipError."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "sources.list").write_text("\n".join(sources(code_name())) + "\n")
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
    }
    apt = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    run([*apt, "update"], folder)
    run([*apt, "--download-only", "--tar-only", "source", "lwip"], folder)
    found = list(folder.glob("lwip_*.orig.tar.*"))
    if len(found) != 1:
        raise LwipError("apt-get source lwip brought no tarball")
    return found[0]


def unpack(tarball: Path, folder: Path) -> str:
    """The source in a tarball that is known, below `folder`; its version. Raises LwipError."""
    try:
        digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    except OSError as error:
        raise LwipError(str(error)) from error
    if digest not in VERSIONS:
        raise LwipError(f"{tarball.name} is none of lwIP {' or '.join(VERSIONS.values())} in Debian: SHA-256 {digest}")
    with tarfile.open(tarball) as archive:
        for member in archive:
            name = member.name.partition("/")[2]
            if member.isfile() and name.startswith(NEEDED):
                content = archive.extractfile(member)
                assert content is not None
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content.read())
    return VERSIONS[digest]


def name_version(folder: Path) -> None:
    """What lwIP's own CMake file does: init.h with the version in it."""
    numbers = dict(
        re.findall(r'^set\((LWIP_VERSION_\w+)\s+"(\w+)"\)', (folder / "src/Filelists.cmake").read_text(), re.MULTILINE)
    )
    template = folder / "src/include/lwip/init.h.cmake.in"
    text = re.sub(r"\$\{(\w+)\}", lambda found: numbers[found[1]], template.read_text())
    template.with_name("init.h").write_text(text)


def main() -> int:
    if (LWIP / "version.txt").exists():
        return 0
    shutil.rmtree(LWIP, ignore_errors=True)
    work = LWIP / "work"
    work.mkdir(parents=True)
    given = os.environ.get("LWIP_TARBALL")
    try:
        version = unpack(Path(given) if given else download(work), LWIP)
    except LwipError as error:
        print(f"lwIP: {error}", file=sys.stderr)
        return 1
    name_version(LWIP)
    shutil.rmtree(work)
    (LWIP / "version.txt").write_text(version + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
