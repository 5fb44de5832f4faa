"""Devices of every kind against the reference decoder: each pixel format, with and without codec, deflate and JPEG."""

from __future__ import annotations

import random

import pytest
from PIL import Image, ImageDraw

from tilewire.protocol import Capability, PixelFormat, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.rules import Rules
from tilewire.server.encoder import Encoder, Update
from tilewire.server.pixels import PixelState, Screen
from tilewire.server.view import View

from tests.support import hello

SIZE = (96, 64)


def picture(seed: int) -> Image.Image:
    """Text on a ground, with a patch that is smooth and noisy as a photograph is."""
    chance = random.Random(seed)
    made = Image.new("RGB", SIZE, chance.choice(["white", "#222", "#fed"]))
    draw = ImageDraw.Draw(made)
    for y in range(0, SIZE[1], 12):
        draw.text((2, y), "".join(chance.choices("abc def ghi", k=14)), fill=chance.choice(["#444", "#c00", "#07c"]))
    smooth = Image.frombytes("RGB", (4, 4), chance.randbytes(48)).resize((64, 32), Image.Resampling.BICUBIC)
    noise = Image.frombytes("RGB", (64, 32), chance.randbytes(64 * 32 * 3))
    made.paste(Image.blend(smooth, noise, 0.05), (chance.randrange(30), chance.randrange(30)))
    return made


def check(encoder: Encoder, rules: Rules, device: Framebuffer, update: Update) -> set[str]:
    """The rules allow it, the device has it; the names of what was used."""
    for operation in update.operations:
        rules.check(operation, from_client=False)
        device.apply(operation)
    values, shadow = device.stored(), encoder.shadow
    stored = shadow.format.stored
    for index, state in enumerate(shadow.states):
        if state == PixelState.EXACT:
            at = index * stored
            assert values[at : at + stored] == shadow.pixels[at : at + stored], index
    return {operation.name for operation in update.operations}


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
@pytest.mark.parametrize("deflate_bits", [0, 8, 9, 15])
@pytest.mark.parametrize("model_kib", [0, 16])
@pytest.mark.parametrize("jpeg", [None, 1, 2, 4, 8])
def test_every_kind_of_device_ends_exact(
    pixel_format: PixelFormat, deflate_bits: int, model_kib: int, jpeg: int | None
) -> None:
    greeting = hello(
        panel=SIZE,
        pixel_format=pixel_format,
        max_message=4096,
        max_rect=(96, 2048),
        capabilities=Capability.COPY,
        deflate_bits=deflate_bits,
        model_kib=model_kib,
        jpeg=m.JpegOffer(subsamplings=jpeg, scales=1) if jpeg else None,
        cache=m.CacheOffer(slots=2, slot_bytes=1024),
    )
    encoder, rules, device = Encoder(greeting, Capability.COPY), Rules(greeting), Framebuffer.of(greeting)
    rules.capabilities = Capability.COPY
    screen, view = Screen(*SIZE), View(SIZE, SIZE)
    used: set[str] = set()
    for step in range(3):
        red, green, blue = picture(step).split()
        screen.blit(Rect(0, 0, *SIZE), Image.merge("RGBA", (blue, green, red, red)).tobytes())
        encoder.convert(screen, view, [encoder.panel])
        used |= check(encoder, rules, device, encoder.build([encoder.panel], (0, 0), 10.0 * step))
    now_s = 100.0
    while encoder.refinable_s() <= now_s:
        used |= check(encoder, rules, device, encoder.refine(now_s))
    assert device.stored() == bytes(encoder.now.pixels)
    assert ("CODEC" in used) is bool(model_kib)
    assert ("DEFLATE" in used) is bool(deflate_bits and not model_kib)
    # Grey JPEG alone is of no use to colours.
    assert "JPEG" not in used or jpeg in (1, 2, 4)
