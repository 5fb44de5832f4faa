"""Inputs that the fuzz targets start from: real payloads, the golden vectors, and whole updates of every kind."""

from __future__ import annotations

from collections.abc import Iterable

from tilewire.protocol import PixelFormat, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.server.codec import TileCodec, Variant

from tests import vectors
from tests.clients.cursors import arrow, at
from tests.clients.jpegs import jpeg_file, message, noise, photograph, segment_of
from tests.clients.pictures import KINDS, picture, surface

SET_UPS = (0, 16, 32, 128, 144, 160, 1, 2, 64)
"""Framebuffer, strips, greeted already, pending, together; XRGB8888; RGB332; with a key."""
GREETED = 32
BREAKS = 128
"""Of the second byte."""
FORMATS = list(PixelFormat)


def payloads(pixel_format: PixelFormat, kib: int, rect: Rect, number: int) -> list[m.Codec]:
    """Four pictures through one model."""
    codec = TileCodec(kib, pixel_format, rect.width)
    made = []
    for update in range(4):
        values = picture(KINDS[(number + update) % len(KINDS)], rect.width, rect.height, pixel_format, number)
        source = surface(values, rect.width, rect.height, pixel_format)
        coded = codec.encode(source, rect, Variant(update // 2), 1 << 20)
        assert coded is not None
        made.append(coded)
    return made


def updates() -> Iterable[bytes]:
    """What fuzz_feed.c is to find in an open session: the codec, the cache, JPEG, and a cursor over it all."""
    for number, pixel_format in enumerate(FORMATS):
        rect = Rect(0, 0, 20 + number, 12)
        for set_up in (GREETED, GREETED | 8, GREETED | 16, GREETED | 16 | 128):
            coded = payloads(pixel_format, 48 if set_up & 8 else 16, rect, number)
            operations: list[m.Message] = [m.Begin(update=1, input=0), *coded]
            if not set_up & 16:
                operations += [
                    m.CacheStore(slot=4, rect=Rect(1, 2, 9, 8)),
                    m.CacheDraw(slot=4, position=m.Point(28, 13)),
                    m.CacheStore(slot=0, rect=Rect(0, 0, 1, 1)),
                ]
            for sampling in (number, number | 16):
                file = jpeg_file(photograph(*((11, 6) if sampling & 16 else (21, 12))), 50, number)
                operations.append(message(Rect(2, 3, 21, 12), 50, sampling, file))
            shapes = [*arrow().parts([3]), at(28, 13), m.Bell()], [m.Bell(), *arrow(12, 12).parts([5])]
            moved = [*shapes[0], *operations, *shapes[1], m.End(), at(0, 0), *arrow(12, 1, 11, 0).parts(), m.Bell()]
            text = [m.Clipboard(total=7, offset=0, data=b"text"), m.Clipboard(total=7, offset=4, data=b"ure")]
            for messages in ([*operations, m.End(), *text], moved):
                data = b"".join(x.encode() for x in messages)
                yield bytes((set_up | number, 7)) + data
                # The line breaks half-way, and the same comes again on the next one.
                yield bytes((set_up | number, BREAKS | 7)) + 2 * data


def greeted(vector: vectors.Vector, number: int) -> bytes:
    data = b"".join(step.data for step in vector.steps if step.sender is Sender.SERVER)
    return bytes((SET_UPS[number % len(SET_UPS)], number % 40)) + data


def feed_inputs() -> list[bytes]:
    """Of fuzz_feed.c."""
    exchanges = [greeted(vector, number) for number, vector in enumerate(vectors.exchanges())]
    return [*(data for data in exchanges if 2 < len(data) <= 3002), *updates()]


def codec_inputs() -> list[bytes]:
    """Of fuzz_codec.c: every format and class."""
    inputs = []
    for set_up in range(12):
        pixel_format, kib = FORMATS[set_up // 3], 16 * (1 + set_up % 3)
        for number in range(len(KINDS)):
            rect = Rect(0, 0, 5 + 7 * number, 14 - 2 * number)
            data = bytes((set_up, rect.width - 1, rect.height - 1))
            for coded in payloads(pixel_format, kib, rect, number):
                data += len(coded.payload).to_bytes(2, "little") + coded.payload
            inputs.append(data)
    return inputs


def jpeg_inputs() -> list[bytes]:
    """Of fuzz_jpeg.c: every format, sampling and scale, in framebuffers and strips of all sizes."""
    inputs = []
    for number in range(64):
        sampling, doubled, strip = number % 4, number >> 2 & 1, number % 8
        width, height = 1 + number * 7 % 67, 1 + number * 11 % 67
        picture = (photograph if number % 3 else noise)((width + doubled) >> doubled, (height + doubled) >> doubled)
        head = bytes((number >> 2, sampling | doubled << 4 | strip << 5, width - 1, height - 1, 5 * (number % 20)))
        inputs.append(head + segment_of(jpeg_file(picture, 5 * (number % 20) + 1, sampling)))
    return inputs
