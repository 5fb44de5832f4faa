"""What the codec decides on recordings: encoded as the server does it, decoded by the reference, which tells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tilewire.protocol import PixelFormat, Point, Rect
from tilewire.protocol.reference_codec import Model, decode
from tilewire.server.codec import TileCodec, Variant
from tilewire.server.motion import MoveFinder
from tilewire.server.pixels import Screen, Shadow, Surface, changes

from tools.train.fit import FIRST

SIZE: Final = (1024, 600)
MODEL_KIB: Final = 48
ROOM: Final = 1 << 24
PASSES: Final = (
    (PixelFormat.XRGB8888, Variant.LIVE),
    (PixelFormat.XRGB8888, Variant.REST),
    (PixelFormat.RGB565, Variant.LIVE),
)
"""What every recording is encoded as; the start state is one for all."""


class TellingModel(Model):
    """Keeps the first decisions of each context."""

    def __init__(self, kib: int, pixel_format: PixelFormat) -> None:
        super().__init__(kib, pixel_format)
        self.decisions: defaultdict[int, bytearray] = defaultdict(bytearray)

    def adapt(self, context: int, bit: int) -> None:
        super().adapt(context, bit)
        if len(self.decisions[context]) < FIRST:
            self.decisions[context].append(bit)


def frames(recording: Path) -> Iterator[bytes]:
    """Raw XRGB8888 pixels of each picture."""
    with recording.open("rb") as file:
        while frame := file.read(4 * SIZE[0] * SIZE[1]):
            yield frame


def parts(recording: Path, pixel_format: PixelFormat) -> Iterator[tuple[Surface, Rect]]:
    """Rectangles as an update has them: the first picture whole, then what copies leave over."""
    screen, now, shadow = Screen(*SIZE), Surface(*SIZE, pixel_format), Shadow(*SIZE, pixel_format)
    finder = MoveFinder()
    for number, frame in enumerate(frames(recording)):
        screen.blit(screen.rect, frame)
        now.convert(screen, screen.rect, Point(0, 0))
        if number:
            finder.find(now, shadow, now.rect)
        for rect in changes(now, shadow, now.rect) if number else [now.rect]:
            yield now, rect
            shadow.commit(now, rect)


def traced(recording: Path, pixel_format: PixelFormat, variant: Variant) -> dict[int, bytes]:
    """The first decisions of each context."""
    codec, model = TileCodec(MODEL_KIB, pixel_format, SIZE[0]), TellingModel(MODEL_KIB, pixel_format)
    for surface, rect in parts(recording, pixel_format):
        message = codec.encode(surface, rect, variant, ROOM)
        assert message is not None
        decode(model, message.payload, rect.width, rect.height)
    return {context: bytes(bits) for context, bits in model.decisions.items()}
