"""Scenes: the files that come with the benchmark can be read, and what is wrong with others is said."""

from pathlib import Path
from typing import Any

import pytest

from bench.bytes import SCENES
from bench.scenes import FOLDER, SceneError, Verb, parse_scene, read_scene

WHOLE: dict[str, Any] = {"size": [320, 240], "command": ["xterm"], "steps": [{"type": "ls\n", "rate": 10}]}


@pytest.mark.parametrize("name", SCENES)
def test_own_scene_can_be_read(name: str) -> None:
    scene = read_scene(FOLDER / f"{name}.toml")
    assert scene.name == name
    assert scene.about
    assert scene.steps


def test_scene_of_a_stranger(tmp_path: Path) -> None:
    path = tmp_path / "clock.toml"
    path.write_text(
        'size = "320x240"\ncommand = "xclock -update 1"\nsteps = [{ drag = [[1, 2], [30, 40]] }, { wait = 1 }]\n'
    )
    scene = read_scene(path)
    assert (scene.name, scene.size, scene.command) == ("clock", (320, 240), ("xclock", "-update", "1"))
    assert [step.verb for step in scene.steps] == [Verb.DRAG, Verb.WAIT]
    assert scene.steps[0].points == ((1, 2), (30, 40))
    assert scene.before[0].verb is Verb.QUIET


def test_placeholders_are_filled_in() -> None:
    scene = parse_scene(WHOLE | {"command": ["show", "{folder}/clip", "{width}x{height}"]}, "s", Path("/scenes"))
    assert scene.words(scene.command, Path("/f")) == ["show", "/f/clip", "320x240"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": [320]}, "size is not"),
        ({"size": [0, 240]}, "sides from"),
        ({"command": []}, "command is neither"),
        ({"steps": []}, "steps: none"),
        ({"steps": [{"tpye": "ls"}]}, r"steps\[1\] names 0 things"),
        ({"steps": [{"wait": 1, "key": "a"}]}, "names 2 things"),
        ({"steps": [{"wait": -1}]}, "not a number above 0"),
        ({"steps": [{"key": "a", "at": [1, 2]}]}, "key takes no at"),
        ({"steps": [{"drag": [[1, 2]]}]}, "two points"),
        ({"stesp": []}, "unknown: stesp"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SceneError, match=sentence):
        parse_scene(WHOLE | changes, "s", Path())


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"none\.toml cannot be read"):
        read_scene(tmp_path / "none.toml")
