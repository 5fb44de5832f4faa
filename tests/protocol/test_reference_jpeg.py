"""The JPEG reference decoder against libjpeg-turbo, on pictures and on any bytes; its tables against SPEC.md."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import reference_jpeg as jpeg
from tilewire.protocol.errors import Code
from tilewire.protocol.vectors import refusal_of
from tilewire.protocol.vectors_encoded import JPEG_TOLERANCE

from tests.protocol import jpegs
from tests.protocol.support import share

SPEC = (Path(__file__).resolve().parents[2] / "protocol/SPEC.md").read_text(encoding="utf-8")
SECTION = SPEC[SPEC.index("### 8.9 JPEG") : SPEC.index("## 9. ")]
NAMES = ("444", "422", "420", "Gray")


@st.composite
def pictures(draw: st.DrawFn) -> tuple[int, int, bytes]:
    """Width, height, and red, green, blue of each pixel: few colours, or anything."""
    width, height = draw(st.integers(1, 34)), draw(st.integers(1, 34))
    random = draw(st.randoms(use_true_random=False))
    colours = [random.randbytes(3) for _ in range(draw(st.sampled_from((1, 2, 5, 1000))))]
    return width, height, b"".join(random.choice(colours) for _ in range(width * height))


@share(0.6)
@given(pictures(), st.integers(1, 100), st.integers(0, 3), st.booleans())
def test_within_the_tolerance_of_libjpeg(
    picture: tuple[int, int, bytes], quality: int, sampling: int, half: bool
) -> None:
    width, height, rgb = picture
    if sampling == 3:
        view = memoryview(rgb[::3]).cast("B", (height, width, 1))
        file = simplejpeg.encode_jpeg(view, quality, "GRAY", "Gray")
    else:
        view = memoryview(rgb).cast("B", (height, width, 3))
        file = simplejpeg.encode_jpeg(view, quality, "RGB", NAMES[sampling])
    segment = file[file.index(b"\xff\xda") :]
    segment = segment[2 + int.from_bytes(segment[2:4], "big") : -2]
    if half:
        width, height, sampling = 2 * width - 1, 2 * height, sampling | jpeg.SCALE_TWO
    exact = jpeg.decode(segment, quality, sampling, width, height)
    shown = jpegs.decoded(segment, quality, sampling, width, height)
    assert len(exact) == width * height
    # One level of the tolerance is for decoders that are less exact than this one.
    for got, colour in zip(shown, exact, strict=True):
        assert all(abs(a - b) < JPEG_TOLERANCE for a, b in zip(got, colour)), (got, colour)


@share(3)
@given(st.binary(max_size=80), st.integers(1, 100), st.integers(0, 3), st.integers(1, 20), st.integers(1, 20))
def test_any_bytes(segment: bytes, quality: int, sampling: int, width: int, height: int) -> None:
    colours: list[jpeg.Rgb] = []
    refusal = refusal_of(lambda: colours.extend(jpeg.decode(segment, quality, sampling, width, height)))
    assert refusal in (None, Code.BAD_PAYLOAD)
    if refusal is None:
        assert len(colours) == width * height
        assert all(0 <= level <= 255 for colour in colours for level in colour)


def _squares() -> list[list[int]]:
    blocks = re.findall(r"```text\n((?:[ 0-9]+\n){8})```", SECTION)
    return [[int(word) for word in block.split()] for block in blocks]


def test_quantisation_tables_are_those_of_the_text() -> None:
    luma, chroma, places = _squares()
    assert luma == list(jpeg.LUMA_QUANTISATION) == jpeg.quantisation(50, chroma=False)
    assert chroma == list(jpeg.CHROMA_QUANTISATION) == jpeg.quantisation(50, chroma=True)
    assert [jpeg.ZIGZAG.index(place) for place in range(64)] == places


def test_huffman_tables_are_those_of_the_text() -> None:
    for name, table in jpeg.HUFFMAN.items():
        match = re.search(
            rf"^{name}\ncounts((?: +[0-9A-F]{{2}})+)\nvalues((?:(?: +|\n {{8}})[0-9A-F]{{2}}\b)+)",
            SECTION,
            re.MULTILINE,
        )
        assert match is not None, name
        assert bytes.fromhex(match[1] + match[2]) == bytes.fromhex(table)
        codes = jpeg.codes(name)
        assert len(codes) == len(bytes.fromhex(match[2]))
        # No code begins another, and the one of all ones is kept free.
        texts = sorted(f"{code:0{length}b}" for length, code in codes)
        assert not any(after.startswith(before) for before, after in pairwise(texts))
        assert not any(set(text) == {"1"} for text in texts)


@pytest.mark.parametrize("number", range(-2047, 2048, 89))
def test_numbers_of_t81(number: int) -> None:
    """As many bits as the size says; the leading one is the sign turned round."""
    size = abs(number).bit_length()
    bits = number if number > 0 else number + (1 << size) - 1
    # A grey block whose only coefficient is DC, in steps of 1.
    length, code = next(key for key, value in jpeg.codes("DC of Y").items() if value == size)
    end_length, end = next(key for key, value in jpeg.codes("AC of Y").items() if value == 0)
    text = f"{code:0{length}b}" + (f"{bits:0{size}b}" if size else "") + f"{end:0{end_length}b}"
    text += "1" * (-len(text) % 8)
    data = bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8)).replace(b"\xff", b"\xff\0")
    level = max(0, min(255, (number * jpeg.quantisation(100, chroma=False)[0] + 4) // 8 + 128))
    assert jpeg.decode(data, 100, 3, 1, 1) == [(level, level, level)]
