"""Scripts of the QEMU device before they are played, and the pictures that they compare."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from tilewire.protocol import Rect
from tilewire.simulator.runner_exits import RunError, RunExit
from tilewire.simulator.screen import PictureError, Screen, find_tesseract, from_ppm, read_png, read_text
from tilewire.simulator.script import MAKERS, read_script

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
STEPS = ", ".join(MAKERS)


def noise(width: int, height: int) -> Screen:
    return Screen(width, height, random.Random(width * height).randbytes(3 * width * height))


def refused(folder: Path, text: str) -> str:
    path = folder / "script.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunError) as caught:
        read_script(path)
    assert caught.value.code == RunExit.BAD_SCRIPT
    return str(caught.value).replace(str(folder) + "/", "")


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ("dance = true", f"step 1: 'dance' is none of {STEPS}"),
        ("tap = [1, 2]\nkey = 'a'", f"step 1 (tap): it does one thing: one of {STEPS}"),
        ("within = 3", f"step 1: it does one thing: one of {STEPS}"),
        ("tap = [1, 2]\nwithin = 3", "step 1 (tap): only `wait` has a `within`"),
        ("tap = [1, -2]", "step 1 (tap): `tap` is [X, Y], in pixels of the panel"),
        ("tap = [1, 2.5]", "step 1 (tap): `tap` is [X, Y], in pixels of the panel"),
        ("tap = [true, 2]", "step 1 (tap): `tap` is [X, Y], in pixels of the panel"),
        (
            "swipe = { from = [1, 2] }",
            "step 1 (swipe): `swipe` is { from = [X, Y], to = [X, Y], ms = 300, fingers = 1 }",
        ),
        ("swipe = { from = [1, 2], to = [3, 4], ms = -1 }", "step 1 (swipe): `ms` is a number from 0 to 60000"),
        ("swipe = { from = [1, 2], to = [3, 4], fingers = 3 }", "step 1 (swipe): `fingers` is 1 or 2"),
        ("type = ''", "step 1 (type): `type` is a text"),
        ('type = "\\u001b"', "step 1 (type): `type` holds a control character: only line ends and tabs are keys"),
        ("key = 'Retrun'", "step 1 (key): 'Retrun' is no X keysym (such as Return, Down, Control_L+l)"),
        ("cut = 3", "step 1 (cut): `cut` is true"),
        ("link = {}", "step 1 (link): `link` is a table of some of kbit_s, rtt_ms, loss_percent, queue_kib"),
        ("link = { seed = 1 }", "step 1 (link): `link` is a table of some of kbit_s, rtt_ms, loss_percent, queue_kib"),
        ("link = { loss_percent = 101 }", "step 1 (link): the loss in percent is 101, it must be from 0 to 100"),
        ("wait = 3", "step 1 (wait): `wait` is a table: { picture = ... }"),
        ("wait = { quiet = 'x' }", "step 1 (wait): `quiet` is a number from 0 to 86400"),
        ("wait = { picture = false }", "step 1 (wait): `picture` is true"),
        ("wait = { quiet = 1, log = 'x' }", "step 1 (wait): `wait` is about one of picture, quiet, seconds, log, "),
        ("wait = { pixel = [1, 2], colour = 'red' }", 'step 1 (wait): `colour` is "#RRGGBB"'),
        ("wait = { pixel = [1, 2] }", "step 1 (wait): `colour` is a text"),
        ("wait = { text = 'x', region = [0, 0, 0, 1] }", "step 1 (wait): `region` is empty"),
        ("assert = { image = 'none.png' }", "step 1 (assert): none.png cannot be read: No such file or directory"),
        ("assert = { sound = 'x' }", "step 1 (assert): 'sound' is none of image, pixel, text, region, colour"),
        ("assert = { image = 'script.toml' }", "step 1 (assert): script.toml is no PNG that can be compared: "),
    ],
)
def test_a_step_that_is_wrong(step: str, sentence: str, tmp_path: Path) -> None:
    assert refused(tmp_path, f"[[step]]\n{step}\n").startswith(f"script.toml: {sentence}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "script.toml: a script is a list of 1 to 100000 [[step]]"),
        ("step = 3", "script.toml: a script is a list of 1 to 100000 [[step]]"),
        ("step = [3]", "script.toml: step 1: it is no table"),
        ("[[steps]]\ncut = true", "script.toml: 'steps' means nothing: a script is a list of [[step]]"),
        ("[[step]]\ncut = true\n[[step]]\ncut = false", "script.toml: step 2 (cut): `cut` is true"),
        ("[[step", "the script script.toml is not TOML: "),
    ],
)
def test_a_script_that_is_none(text: str, sentence: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text).startswith(sentence)


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot be read: No such file or directory$"):
        read_script(tmp_path / "none.toml")


def test_what_a_script_needs(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    # A picture that an earlier step makes need not be there; a later one's has to be.
    path.write_text(
        "[[step]]\nscreenshot = 'new.png'\n[[step]]\nassert = { image = 'new.png' }\n[[step]]\ncut = true\n"
        "[[step]]\nlink = { kbit_s = 0 }\n"
    )
    script = read_script(path)
    assert (script.cuts, script.links) == (True, True)
    assert [step.where for step in script.steps][1:] == ["step 2 (assert)", "step 3 (cut)", "step 4 (link)"]
    path.write_text("[[step]]\nassert = { image = 'new.png' }\n[[step]]\nscreenshot = 'new.png'\n")
    with pytest.raises(RunError):
        read_script(path)


# Pictures.


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_png_files_of_others(mode: str, tmp_path: Path) -> None:
    # Gradients and noise: an encoder picks different filters for them.
    screen = noise(40, 30)
    image = Image.frombytes("RGB", (40, 30), screen.rgb)
    image.paste(Image.linear_gradient("L").resize((40, 20)), (0, 0))
    image = image.convert(mode)
    path = tmp_path / "picture.png"
    for optimize in (False, True):
        image.save(path, optimize=optimize)
        assert read_png(path).rgb == image.convert("RGB").tobytes()


def test_png_files_that_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    noise(20, 20).save_png(path)
    whole = path.read_bytes()
    assert read_png(path).rgb == noise(20, 20).rgb
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(PictureError):
            read_png(path)
    for image in (Image.new("1", (8, 8)), Image.new("I;16", (8, 8))):
        image.save(path)
        with pytest.raises(PictureError, match="only 8 bits a channel without interlacing are read"):
            read_png(path)


def test_pictures_are_compared_as_565() -> None:
    screen = noise(16, 16)
    shifted = bytes(value & (0xFC if at % 3 == 1 else 0xF8) for at, value in enumerate(screen.rgb))
    assert screen.differing(Screen(16, 16, shifted)) == 0
    for at, bit in ((0, 8), (1, 4), (2, 8), (767, 8)):
        other = bytearray(shifted)
        other[at] ^= bit
        assert screen.differing(Screen(16, 16, bytes(other))) == 1
    other = bytearray(shifted)
    other[9] ^= 0x80
    other[10] ^= 0x80
    other[300] ^= 0x80
    assert screen.differing(Screen(16, 16, bytes(other))) == 2
    with pytest.raises(PictureError, match=r"^16x16 pixels are not 8x32$"):
        screen.differing(Screen(8, 32, shifted))


def test_parts_of_a_picture() -> None:
    screen = noise(20, 10)
    image = Image.frombytes("RGB", (20, 10), screen.rgb)
    part = screen.crop(Rect(x=3, y=2, width=5, height=4))
    assert part.rgb == image.crop((3, 2, 8, 6)).tobytes()
    assert screen.doubled().rgb == image.resize((40, 20), Image.Resampling.NEAREST).tobytes()
    assert from_ppm(screen.ppm()).rgb == screen.rgb
    assert screen.pixel(19, 9) == image.getpixel((19, 9))
    for rect in (Rect(x=16, y=0, width=5, height=1), Rect(x=0, y=10, width=1, height=1)):
        with pytest.raises(PictureError, match="does not lie in the picture of 20x10"):
            screen.crop(rect)
    with pytest.raises(PictureError, match="lies outside"):
        screen.pixel(20, 0)
    for wrong in (b"", b"P5 1 1 255\n0", screen.ppm()[:-1]):
        with pytest.raises(PictureError, match="QEMU gave"):
            from_ppm(wrong)


async def test_text_is_read() -> None:
    image = Image.new("RGB", (360, 80), "white")
    ImageDraw.Draw(image).text((10, 20), "Library reference 42", fill="black", font=ImageFont.truetype(FONT, 18))
    seen = await read_text(Screen(360, 80, image.tobytes()), find_tesseract())
    assert "Library reference 42" in seen
