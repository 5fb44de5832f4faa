"""The codec's reference decoder: bounds, any bytes, and the numbers that stand in the C header too.

That it decodes what the server encodes is tests/server/test_codec.py's; the vectors are test_vectors.py's.
"""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewire.protocol import PixelFormat
from tilewire.protocol import reference_codec as codec
from tilewire.protocol.codec_start import START
from tilewire.protocol.errors import Code
from tilewire.protocol.vectors import refusal_of

from tests.protocol.support import share

ROOT = Path(__file__).resolve().parents[2]
MODELS = st.sampled_from(codec.MODEL_KIB)
FORMATS = st.sampled_from(list(PixelFormat))


def refused(model: codec.Model, payload: bytes, width: int, height: int) -> bool:
    """Decode; anything but pixels or BAD_PAYLOAD fails."""
    pixels: list[int] = []
    refusal = refusal_of(lambda: pixels.extend(codec.decode(model, payload, width, height)))
    if refusal is not None:
        assert refusal is Code.BAD_PAYLOAD
        return True
    assert len(pixels) == width * height
    top = sum((1 << bits) - 1 << shift for bits, shift in zip(model.layout.bits, model.layout.shift))
    assert all(0 <= pixel <= top for pixel in pixels)
    return False


@share(3)
@given(MODELS, FORMATS, st.lists(st.binary(max_size=60), max_size=3), st.integers(1, 40), st.integers(1, 9))
def test_any_payload(kib: int, pixel_format: PixelFormat, payloads: list[bytes], width: int, height: int) -> None:
    model = codec.Model(kib, pixel_format)
    for payload in payloads:
        if refused(model, bytes((payload[0] & 1,)) + payload[1:] if payload else b"", width, height):
            break
    _within_bounds(model)


@given(FORMATS, st.booleans(), st.randoms(use_true_random=False), st.integers(1, 30))
def test_the_length_counts(pixel_format: PixelFormat, rest: bool, random: object, width: int) -> None:
    """Of all lengths of a payload at most one is whole for a picture; all later ones are too long."""
    payload = bytes((rest,)) + random.randbytes(200)  # type: ignore[attr-defined]
    whole = [
        length
        for length in range(len(payload) + 1)
        if not refused(codec.Model(16, pixel_format), payload[:length], width, 2)
    ]
    # A cut payload reads 0 where there was something else: it may be another picture's, but none with the same bytes.
    pictures = [codec.decode(codec.Model(16, pixel_format), payload[:length], width, 2) for length in whole]
    assert len({tuple(picture) for picture in pictures}) == len(pictures)


def _within_bounds(model: codec.Model) -> None:
    assert all(31 <= p <= 65504 for p in model.probabilities)
    assert all(index < len(model.colours) for index in model.near)
    assert all(slot >> 6 < len(model.colours) and slot < 1 << 16 for slot in model.slots)
    assert -8 <= model.trust <= 7
    assert 0 <= model.victim <= 3


@pytest.mark.parametrize("probability", [31, 64, 32768, 65504])
def test_a_decision_takes_at_most_twelve_bits(probability: int) -> None:
    """SPEC.md 8.7.10: less than two bytes each, even against all odds."""
    for bit in (0, 1):
        decoder = codec.RangeDecoder(bytes(400))
        for _ in range(100):
            # What is asked for is made to come: code is all that the payload has a say in.
            decoder.code = 0 if bit == 0 else decoder.range - 1
            assert decoder.bit(probability) == bit
        assert decoder.taken <= 5 + 100 * 12 // 8


def test_probabilities_adapt_within_their_bounds() -> None:
    low = high = 32768
    for _ in range(2000):
        low -= low >> 5
        high += 65535 - high >> 5
    assert (low, high) == (31, 65504)
    assert all(31 <= p <= 65504 for p in START)


def test_sizes() -> None:
    assert len(START) == codec.CONTEXTS == 3452
    for kib in codec.MODEL_KIB:
        sizes = codec.Sizes(kib)
        model = codec.Model(kib, PixelFormat.RGB565)
        tables = 2 * len(model.probabilities) + 4 * len(model.colours) + 2 * len(model.near) + 2 * len(model.slots)
        assert tables + codec.HEADER_BYTES == 1024 * kib
        # An index and its slot's check and confidence share 16 bits.
        assert sizes.colours <= 1 << 10
    for kib in (0, 8, 64):
        with pytest.raises(ValueError, match="a model of"):
            codec.Model(kib, PixelFormat.RGB565)


def test_the_c_header_has_the_same_numbers(tmp_path: Path) -> None:
    """Contexts and constants of tw_codec_model.h, which is written by hand, as the compiler sees them."""
    numbers = {f"TW_P_{family.name}": family.begin for family in codec.FAMILIES.values()} | {
        "TW_P_COUNT": codec.CONTEXTS,
        "TW_CODEC_LIVE": codec.LIVE,
        "TW_CODEC_REST": codec.REST,
        "TW_CODEC_RUN_MAX": codec.RUN_MAX,
        "TW_CODEC_PHOTO": codec.PHOTO,
        "TW_CODEC_DEAF": codec.DEAF,
        "TW_CODEC_RESIDUAL": codec.RESIDUAL,
        "TW_CODEC_USED": codec.USED,
        "TW_CODEC_HEADER": codec.HEADER_BYTES,
    }
    source = '#include "tw_codec_model.h"\n'
    source += "".join(
        f"typedef char check_{name}[(int){name} == {value} ? 1 : -1];\n" for name, value in numbers.items()
    )
    (tmp_path / "check.c").write_text(source)
    folders = [f"-I{ROOT / 'clients/threadx' / part}" for part in ("src", "include")]
    flags = ["-std=c99", "-Wall", "-Wno-unused", "-Werror", "-fsyntax-only"]
    run = subprocess.run(
        ["gcc", *flags, *folders, str(tmp_path / "check.c")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
