"""What is installed: the lock follows pyproject.toml, and every dependency has its reason written down."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    return [Requirement(text) for text in [*texts, *PROJECT["build-system"]["requires"]]]


def locked() -> dict[str, Version]:
    pins = re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", LOCK, re.MULTILINE)
    return {name: Version(version) for name, version in pins}


def debian_packages() -> list[str]:
    lines = (ROOT / "tools/setup-packages.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("|")[0].strip() for line in lines if line and line[0] not in "#["]


def test_lock_satisfies_the_project() -> None:
    pins = locked()
    unsatisfied = [str(wish) for wish in requirements() if pins.get(wish.name, Version("0")) not in wish.specifier]
    assert unsatisfied == [], "run `make lock`"


def test_lock_names_no_address_and_hashes_everything() -> None:
    assert "://" not in LOCK
    entries = re.split(r"^(?=[a-z0-9-]+==)", LOCK, flags=re.MULTILINE)[1:]
    # A package may stand there twice, for two ranges of Python versions.
    assert {re.split("==", entry)[0] for entry in entries} == locked().keys()
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_every_dependency_has_its_reason() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    named = {name for name, reason in rows if reason.strip()}
    wanted = {wish.name for wish in requirements()} | set(debian_packages())
    assert wanted - named == set()
    assert named - wanted == set()
