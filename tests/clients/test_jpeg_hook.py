"""JPEG through the hook: the core puts the file together again, libjpeg-turbo decodes it, the core draws it."""

from __future__ import annotations

from pathlib import Path

import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tilewire.protocol import Code, PixelFormat, Rect
from tilewire.protocol import messages as m
from tilewire.simulator import client as c

from tests.clients.jpegs import S444, jpeg_file, message, photograph, segment_of, send
from tests.clients.pictures import pack_stored, value_of
from tests.clients.strategies import splits
from tests.clients.support import config, connect, pieces
from tests.clients.test_build import run_sanitized

FORMATS = list(PixelFormat)
WIDTH, HEIGHT = 40, 24
WHOLE = Rect(0, 0, WIDTH, HEIGHT)


def device(**fields: object) -> c.ClientConfig:
    return config(jpeg=c.Jpeg.HOOK, max_message=16384, **fields)


def decoded(file: bytes, pixel_format: PixelFormat) -> list[list[int]]:
    """The file's own pixels, with its own headers, as values."""
    rgb = simplejpeg.decode_jpeg(file, "RGB", fastupsample=True)
    return [[value_of(int(red), int(green), int(blue), pixel_format) for red, green, blue in row] for row in rgb]


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 51, 75, 90, 99, 100])
@pytest.mark.parametrize("sampling", range(4))
def test_the_headers_are_those_that_were_left_out(quality: int, sampling: int) -> None:
    """The same decoder makes the same of libjpeg's file and of ours: tables, sizes and sampling are right."""
    file = jpeg_file(photograph(WIDTH, HEIGHT), quality, sampling)
    client = c.Client(device(pixel_format=PixelFormat.XRGB8888))
    assert send(client, message(WHOLE, quality, sampling, file)) is None
    expected = [value for row in decoded(file, PixelFormat.XRGB8888) for value in row]
    assert client.framebuffer == pack_stored(expected, PixelFormat.XRGB8888)


def test_a_picture_looks_like_what_it_was() -> None:
    picture = photograph(WIDTH, HEIGHT)
    client = c.Client(device(pixel_format=PixelFormat.XRGB8888))
    assert send(client, message(WHOLE, 100, S444, jpeg_file(picture, 100, S444))) is None
    seen = Image.frombytes("RGB", picture.size, client.framebuffer, "raw", "BGRX").tobytes()
    apart = [abs(one - other) for one, other in zip(seen, picture.tobytes())]
    assert max(apart) <= 4
    assert sum(apart) / len(apart) < 1


@st.composite
def devices(draw: st.DrawFn) -> c.ClientConfig:
    pixel_format = draw(st.sampled_from(FORMATS))
    return device(
        pixel_format=pixel_format,
        big_endian=pixel_format is PixelFormat.RGB565 and draw(st.booleans()),
        framebuffer=draw(st.booleans()),
        padding=pixel_format.stored * draw(st.integers(0, 2)),
        strip_rows=draw(st.integers(1, 5)),
        hold=draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None)
@given(setup=devices(), data=st.data(), sampling=st.integers(0, 3), scale=st.integers(0, 1), cuts=splits)
def test_every_format_size_and_scale(
    setup: c.ClientConfig, data: st.DataObject, sampling: int, scale: int, cuts: list[int]
) -> None:
    x, y = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 12))
    rect = Rect(x, y, data.draw(st.integers(1, WIDTH - x)), data.draw(st.integers(1, HEIGHT - y)))
    file = jpeg_file(photograph((rect.width + scale) >> scale, (rect.height + scale) >> scale), 80, sampling)
    client = c.Client(setup)
    stream = connect(client).send(m.Begin(update=1, input=0), message(rect, 80, sampling | scale << 4, file), m.End())
    for piece in pieces(stream, cuts):
        client.feed(piece)
        while client.pending:
            client.draw_done()
    assert client.error is None
    picture = decoded(file, setup.pixel_format)
    expected = [
        picture[(row - y) >> scale][(column - x) >> scale] if x <= column < rect.right and y <= row < rect.bottom else 0
        for row in range(HEIGHT)
        for column in range(WIDTH)
    ]
    assert client.framebuffer == pack_stored(expected, setup.pixel_format, big_endian=setup.big_endian)


# What is refused.


@pytest.mark.parametrize("sampling", range(4))
def test_segments_that_are_none(sampling: int) -> None:
    good = segment_of(jpeg_file(photograph(WIDTH, HEIGHT), 75, sampling))
    middle = len(good) // 2
    for payload in (
        b"",
        good[:1],
        good[:middle],
        good[:-9],
        good + b"\xff",
        good + b"\xff\xd9",
        good[:middle] + b"\xff\xd0" + good[middle:],
        good[:middle] + b"\xff\xd9" + good[middle:],
        good[:middle] + b"\xff\xff\x00" + good[middle:],
        good[:middle] + b"\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00" + good[middle:],
    ):
        refused = m.Jpeg(rect=WHOLE, quality=75, sampling=sampling, payload=payload)
        assert send(c.Client(device()), refused) is Code.BAD_PAYLOAD


def test_a_decoder_that_fails_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the decoder failed")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", broken)
    client = c.Client(device())
    connect(client)
    file = jpeg_file(photograph(8, 8), 75, S444)
    with pytest.raises(RuntimeError, match="the decoder failed"):
        client.feed(m.Begin(update=1, input=0).encode() + message(Rect(0, 0, 8, 8), 75, S444, file).encode())
    assert client.error is Code.INTERNAL


PROGRAM = """
#include "tilewire/tilewire.h"
#include <string.h>
static unsigned char memory[TW_CLIENT_SIZE(0, 0)], receive[1024], stream[TW_JPEG_SIZE(sizeof receive)];
static unsigned char framebuffer[32 * 8 * 4];
/* Blue, green, red and something, with a gap between the rows, as a hardware decoder may write it. */
static const unsigned char pixels[2][12] = {{1, 2, 3, 9, 4, 5, 6, 9}, {7, 8, 9, 9, 10, 11, 12, 9}};

static tw_status decode(void *user, const tw_jpeg *jpeg, tw_picture *picture) {
    *(unsigned *)user += jpeg->width == 2 && jpeg->height == 2 && jpeg->sampling == TW_SUBSAMPLING_S422
                         && jpeg->quality == 30 && jpeg->data == stream && picture->stride == 6 && picture->step == 3;
    picture->pixels = pixels[0];
    picture->stride = sizeof pixels[0];
    picture->step = 4;
    picture->red = 2;
    picture->blue = 0;
    return TW_OK;
}

int main(void) {
    static const unsigned char bytes[] = {
        0x97, 'T', 'W', '\\n', 1, 1, 24, 0, 0x81, 1, 1, 0x82, 1, 1, 3, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        13, 14, 15, 0x10, 33, 1, 1, 's', 2, 4, 0, 4, 88, 2, 3, 1, 2, 4, 4, 1, 0, 0, 0, 5, 3, 30, 75, 1, 6, 8, 0, 0, 0,
        0, 0, 0, 0, 0, 0x40, 2, 1, 0, 0x4C, 9, 0, 0, 0, 2, 32, 0, 30, 0x11, 0x55};
    static const unsigned char expected[2][12] = {
        {1, 2, 3, 0, 1, 2, 3, 0, 4, 5, 6, 0}, {7, 8, 9, 0, 7, 8, 9, 0, 10, 11, 12, 0}};
    tw_client_config config;
    tw_client *client;
    unsigned called = 0;
    size_t consumed;
    memset(&config, 0, sizeof config);
    config.device_id = "x";
    config.width = 32, config.height = 8;
    config.pixel_format = TW_PIXEL_XRGB8888;
    config.framebuffer = framebuffer, config.framebuffer_size = sizeof framebuffer;
    config.receive = receive, config.receive_size = sizeof receive;
    config.user = &called;
    config.jpeg = decode, config.jpeg_stream = stream, config.jpeg_stream_size = sizeof stream - 1;
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_CODE_MEMORY) return 1;
    config.jpeg_stream_size++;
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_OK) return 2;
    if (tw_client_feed(client, bytes, sizeof bytes, &consumed) != TW_OK || called != 1) return 3;
    /* Three columns and rows, of a picture of two. */
    for (unsigned row = 0; row < 3; row++) {
        if (memcmp(framebuffer + row * 128, expected[row / 2], 12) != 0 || framebuffer[row * 128 + 12] != 0) return 4;
    }
    return 0;
}
"""


def test_a_decoder_may_write_its_pixels_as_it_likes(tmp_path: Path) -> None:
    run_sanitized(tmp_path, PROGRAM)
