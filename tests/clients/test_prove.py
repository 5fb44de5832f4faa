"""The shorter proofs of `make prove`, and that a proof fails where there is a fault."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tools import prove

SHORT = {case.title: case for case in prove.cases() if not case.long}


@pytest.fixture(scope="module")
def tools() -> Path:
    """Fails with a sentence where cbmc can neither be found nor fetched."""
    return prove.cbmc()


@pytest.fixture(scope="module")
def verdicts(tools: Path) -> dict[str, prove.Verdict]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(lambda case: prove.prove(tools, case, reach=False), SHORT.values())
        return {verdict.case.title: verdict for verdict in made}


@pytest.mark.parametrize("title", SHORT)
def test_proof(verdicts: dict[str, prove.Verdict], title: str) -> None:
    assert verdicts[title].failed == ()
    assert verdicts[title].properties > 100


def test_every_proof_has_a_short_case() -> None:
    assert {case.proof for case in SHORT.values()} == {path.stem for path in prove.FOLDER.glob("*.c")}


@pytest.mark.parametrize(
    ("title", "file", "right", "wrong"),
    [
        ("message/PING", "tw_reader.c", "if (tw_left(reader) < size) {", "if (tw_left(reader) + 1 < size) {"),
        ("framing", "tw_client.c", "if (client->length > client->max_message) {", "if (client->length > 0x1FFFFF) {"),
        ("codec_bit/even", "tw_codec.c", "if (value > most) {", "if (value > most + 1) {"),
    ],
    ids=["reader", "framing", "codec"],
)
def test_a_fault_is_found(tools: Path, tmp_path: Path, title: str, file: str, right: str, wrong: str) -> None:
    source = Path(shutil.copytree(prove.CLIENT / "src", tmp_path / "src"))
    text = (source / file).read_text(encoding="utf-8")
    assert text.count(right) == 1
    (source / file).write_text(text.replace(right, wrong), encoding="utf-8")
    assert prove.prove(tools, SHORT[title], source, reach=False).failed != ()


def test_an_unreachable_end_is_found(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From assumptions that contradict each other anything follows: such a proof does not pass."""
    proofs = Path(shutil.copytree(prove.FOLDER, tmp_path / "proofs"))
    path = proofs / "codec_bit.c"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("ASSUME(is_sound(&codec)", "ASSUME(codec.range == 0 && is_sound(&codec)"))
    monkeypatch.setattr(prove, "FOLDER", proofs)
    (failed,) = prove.prove(tools, SHORT["codec_bit/even"]).failed
    assert failed == "its end is never reached: it proves nothing"
