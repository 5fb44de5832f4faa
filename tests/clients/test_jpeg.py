"""JPEG as the core decodes it, against the reference decoder and libjpeg-turbo; and what is the same with the hook."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tilewire.protocol import Code, PixelFormat, Rect, RemoteProtocolError
from tilewire.protocol import messages as m
from tilewire.protocol import reference_jpeg as reference
from tilewire.protocol.constants import Subsampling
from tilewire.protocol.vectors_encoded import JPEG_TOLERANCE
from tilewire.simulator import client as c

from tests.clients.jpegs import (
    GREY,
    S420,
    S422,
    S444,
    Writer,
    jpeg_file,
    message,
    noise,
    photograph,
    segment_of,
    send,
)
from tests.clients.pictures import pack_stored, value_of
from tests.clients.strategies import splits
from tests.clients.support import config, connect, pieces
from tests.clients.test_build import run_sanitized

FORMATS = list(PixelFormat)
WIDTH, HEIGHT = 40, 37
WHOLE = Rect(0, 0, WIDTH, HEIGHT)
KINDS = ("photograph", "noise", "flat", "edges")
DECODERS = list(c.Jpeg)

Rgb = tuple[int, int, int]


def device(**fields: object) -> c.ClientConfig:
    return config(**{"jpeg": c.Jpeg.CORE, "max_message": 1 << 17, "width": WIDTH, "height": HEIGHT} | fields)


def picture(kind: str, width: int, height: int) -> Image.Image:
    match kind:
        case "photograph":
            return photograph(width, height)
        case "noise":
            return noise(width, height)
        case "flat":
            return Image.new("RGB", (width, height), (width * 3 % 256, 255, height * 5 % 256))
    made = Image.new("RGB", (width, height))
    colours = ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255), (0, 255, 0))
    for y in range(height):
        for x in range(width):
            made.putpixel((x, y), colours[(x // 3 * 7 + y // 5 * 3) % 5])
    return made


def shown(client: c.Client, rect: Rect) -> list[list[Rgb]]:
    """The pixels of an XRGB8888 panel."""
    rows = []
    for y in range(rect.y, rect.bottom):
        row = bytes(client.picture[y * client.stride + 4 * rect.x : y * client.stride + 4 * rect.right])
        rows.append([(row[at + 2], row[at + 1], row[at]) for at in range(0, len(row), 4)])
        assert not any(row[3::4])
    return rows


def drawn(rect: Rect, quality: int, sampling: int, payload: bytes, **fields: object) -> list[list[Rgb]]:
    """What the core makes of a segment, at 8 bits."""
    client = c.Client(device(pixel_format=PixelFormat.XRGB8888, **fields))
    assert send(client, m.Jpeg(rect=rect, quality=quality, sampling=sampling, payload=payload)) is None
    return shown(client, rect)


def exact(rect: Rect, quality: int, sampling: int, payload: bytes) -> list[list[Rgb]]:
    """What it should be."""
    pixels = reference.decode(payload, quality, sampling, rect.width, rect.height)
    return [pixels[y * rect.width : (y + 1) * rect.width] for y in range(rect.height)]


def apart(one: list[list[Rgb]], other: list[list[Rgb]]) -> int:
    """Levels between them where they differ most."""
    assert [len(row) for row in one] == [len(row) for row in other]
    return max(
        abs(a - b)
        for left, right in zip(one, other, strict=True)
        for first, second in zip(left, right, strict=True)
        for a, b in zip(first, second, strict=True)
    )


# What it looks like.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quality", [1, 10, 30, 50, 75, 90, 100])
@pytest.mark.parametrize("sampling", range(4))
def test_within_the_tolerance_of_the_exact_result(kind: str, quality: int, sampling: int) -> None:
    rect = Rect(1, 1, 35, 21)
    payload = segment_of(jpeg_file(picture(kind, rect.width, rect.height), quality, sampling))
    assert apart(drawn(rect, quality, sampling, payload), exact(rect, quality, sampling, payload)) <= JPEG_TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", range(4))
def test_within_the_tolerance_of_libjpeg_turbo(kind: str, sampling: int) -> None:
    """Larger pictures than the reference decoder has time for; libjpeg-turbo is up to three levels off itself."""
    width, height = 215, 130
    for quality in (5, 40, 75, 90, 98):
        file = jpeg_file(picture(kind, width, height), quality, sampling)
        rgb = simplejpeg.decode_jpeg(file, "RGB", fastdct=False, fastupsample=True)
        expected = [[(int(r), int(g), int(b)) for r, g, b in row] for row in rgb]
        seen = drawn(Rect(0, 0, width, height), quality, sampling, segment_of(file), width=width, height=height)
        assert apart(seen, expected) <= JPEG_TOLERANCE


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, WIDTH),
    height=st.integers(1, HEIGHT),
    quality=st.integers(1, 100),
    sampling=st.integers(0, 3),
    scale=st.integers(0, 1),
    kind=st.sampled_from(KINDS),
)
def test_every_size(width: int, height: int, quality: int, sampling: int, scale: int, kind: str) -> None:
    rect = Rect(WIDTH - width, HEIGHT - height, width, height)
    made = picture(kind, (width + scale) >> scale, (height + scale) >> scale)
    payload = segment_of(jpeg_file(made, quality, sampling))
    sampling |= scale << 4
    assert apart(drawn(rect, quality, sampling, payload), exact(rect, quality, sampling, payload)) <= JPEG_TOLERANCE


@pytest.mark.parametrize("chroma", [False, True])
def test_every_code_of_ac(chroma: bool) -> None:
    """Every run and every size, at the least and the largest number of that size, where a step is 1."""
    symbols = sorted(set(reference.codes("AC of Cb and Cr" if chroma else "AC of Y").values()) - {0, 0xF0})
    writer, blocks = Writer(), 0
    for symbol in symbols:
        zeros, size = symbol >> 4, symbol & 15
        for value in (1 << size - 1, (1 << size) - 1):
            for sign in (1, -1):
                for chosen in (False, True, True) if chroma else (False,):
                    writer.block(0, [(zeros, sign * value), (0, -1)] if chosen is chroma else [], chroma=chosen)
                blocks += 1
    rect, sampling = Rect(0, 0, 8 * 32, blocks // 32 * 8), S444 if chroma else GREY
    assert blocks == 640
    payload = writer.segment()
    seen = drawn(rect, 100, sampling, payload, width=rect.width, height=rect.height)
    assert apart(seen, exact(rect, 100, sampling, payload)) <= JPEG_TOLERANCE


def test_every_code_of_dc() -> None:
    """Differences of every size, up and down again; what is far beyond white and black is white and black."""
    writer = Writer()
    values = [1 << size - 1 for size in range(1, 12)] + [(1 << size) - 1 for size in range(1, 12)]
    for value in values:
        for sign in (1, -1, -1, 1):
            for chroma in (False, True, True):
                writer.block(sign * value, chroma=chroma)
    rect = Rect(0, 0, 8 * len(values), 32)
    payload = writer.segment()
    for quality in (100, 75, 49):
        seen = drawn(rect, quality, S444, payload, width=rect.width, height=rect.height)
        assert apart(seen, exact(rect, quality, S444, payload)) <= JPEG_TOLERANCE


def test_zeros_in_sixteens_up_to_the_last_coefficient() -> None:
    for coefficients in ([(15, 0)] * 3 + [(14, 9)], [(15, 0)] * 2 + [(15, 7), (14, -7)], [(0, 1)] * 63, [(10, 3)] * 5):
        writer = Writer()
        writer.block(3, coefficients)
        payload = writer.segment()
        rect = Rect(0, 0, 8, 8)
        assert apart(drawn(rect, 60, GREY, payload), exact(rect, 60, GREY, payload)) <= JPEG_TOLERANCE


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 1 << 32), few=st.integers(1, 12), quality=st.integers(1, 100), chroma=st.booleans())
def test_few_coefficients_anywhere(seed: int, few: int, quality: int, chroma: bool) -> None:
    """The transform leaves out what it knows to be 0: whatever that is, the result is the same."""
    chance = random.Random(seed)
    writer = Writer()
    for chosen in (False, True, True) if chroma else (False,):
        places = sorted(chance.sample(range(1, 64), few))
        gaps = [b - a - 1 for a, b in zip([0, *places], places, strict=False)]
        coefficients: list[tuple[int, int]] = []
        for gap in gaps:
            coefficients += [(15, 0)] * (gap // 16)
            coefficients.append((gap % 16, chance.choice((-3, -2, -1, 1, 2, 3))))
        writer.block(chance.randint(-20, 20), coefficients, chroma=chosen)
    payload, rect, sampling = writer.segment(), Rect(0, 0, 8, 8), S444 if chroma else GREY
    assert apart(drawn(rect, quality, sampling, payload), exact(rect, quality, sampling, payload)) <= JPEG_TOLERANCE


def test_one_tile_after_the_other() -> None:
    """What a segment leaves behind has no influence on the next: other qualities, samplings, scales."""
    tiles, expected = [], []
    for number in range(12):
        rect = Rect(number * 2, number * 2, 4 + number, 15 - number)
        sampling, quality, scale = number % 4, 1 + number * 9, number >> 2 & 1
        made = photograph((rect.width + scale) >> scale, (rect.height + scale) >> scale)
        tiles.append(message(rect, quality, sampling | scale << 4, jpeg_file(made, quality, sampling)))
        expected.append(drawn(rect, quality, sampling | scale << 4, tiles[-1].payload))
    for order in (range(12), reversed(range(12))):
        client = c.Client(device(pixel_format=PixelFormat.XRGB8888))
        connect(client)
        client.feed(m.Begin(update=1, input=0).encode())
        for number in order:
            client.feed(tiles[number].encode())
            assert client.error is None
            assert shown(client, tiles[number].rect) == expected[number]


# Where it goes.


@st.composite
def devices(draw: st.DrawFn) -> c.ClientConfig:
    pixel_format = draw(st.sampled_from(FORMATS))
    return device(
        pixel_format=pixel_format,
        big_endian=pixel_format is PixelFormat.RGB565 and draw(st.booleans()),
        framebuffer=draw(st.booleans()),
        padding=pixel_format.stored * draw(st.integers(0, 2)),
        strip_rows=draw(st.integers(1, HEIGHT + 1)),
        hold=draw(st.booleans()),
        report_draws=True,
    )


@settings(max_examples=120, deadline=None)
@given(setup=devices(), data=st.data(), sampling=st.integers(0, 3), scale=st.integers(0, 1), cuts=splits)
def test_every_format_place_and_strip(
    setup: c.ClientConfig, data: st.DataObject, sampling: int, scale: int, cuts: list[int]
) -> None:
    """All formats are the same eight bits, truncated; each pixel is handed out once; the rest stays as it was."""
    x, y = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 30))
    rect = Rect(x, y, data.draw(st.integers(1, WIDTH - x)), data.draw(st.integers(1, HEIGHT - y)))
    made = picture(data.draw(st.sampled_from(KINDS)), (rect.width + scale) >> scale, (rect.height + scale) >> scale)
    tile = message(rect, 80, sampling | scale << 4, jpeg_file(made, 80, sampling))
    eight_bits = drawn(rect, 80, sampling | scale << 4, tile.payload)
    client = c.Client(setup)
    stream = connect(client).send(m.Begin(update=1, input=0), tile, m.End())
    for piece in pieces(stream, cuts):
        client.feed(piece)
        while client.pending:
            client.draw_done()
    assert client.error is None
    expected = [0] * (WIDTH * HEIGHT)
    for row, pixels in enumerate(eight_bits, y):
        expected[row * WIDTH + x : row * WIDTH + rect.right] = [value_of(*rgb, setup.pixel_format) for rgb in pixels]
    assert client.framebuffer == pack_stored(expected, setup.pixel_format, big_endian=setup.big_endian)
    times = [0] * (WIDTH * HEIGHT)
    for event in client.events:
        if isinstance(event, c.Drawn):
            for row in range(event.rect.y, event.rect.bottom):
                for column in range(event.rect.x, event.rect.right):
                    times[row * WIDTH + column] += 1
    assert sum(times) == rect.area
    assert max(times) == 1


@pytest.mark.parametrize("sampling", range(4))
@pytest.mark.parametrize("scale", [0, 1])
@pytest.mark.parametrize("width", [1, 7, 15, 16, 17, 33])
def test_strips_smaller_than_an_mcu(sampling: int, scale: int, width: int) -> None:
    """A strip of one row of a narrow panel holds not even a row of an MCU."""
    rect = Rect(0, 0, width, 35)
    made = photograph((rect.width + scale) >> scale, (rect.height + scale) >> scale)
    tile = message(rect, 80, sampling | scale << 4, jpeg_file(made, 80, sampling))
    seen = []
    for fields in ({}, {"framebuffer": False, "strip_rows": 1}, {"framebuffer": False, "strip_rows": 3, "hold": True}):
        client = c.Client(device(width=width, height=35, **fields))
        assert send(client, tile) is None
        seen.append(client.framebuffer)
    assert seen[0] == seen[1] == seen[2]


def test_a_strip_takes_as_many_mcus_as_it_can() -> None:
    """Rows of MCUs, MCUs of a row, lines of one: as few transfers as there can be."""
    tile = message(Rect(0, 0, 320, 40), 75, S420, jpeg_file(photograph(320, 40), 75, S420))
    for rows, first, count in ((48, (320, 40), 1), (32, (320, 32), 2), (16, (320, 16), 3), (8, (160, 16), 5)):
        fields = {"width": 320, "height": 40, "framebuffer": False, "strip_rows": rows, "report_draws": True}
        client = c.Client(device(**fields))
        assert send(client, tile) is None
        rects = [event.rect for event in client.events if isinstance(event, c.Drawn)]
        assert (rects[0].width, rects[0].height) == first
        assert len(rects) == count
    client = c.Client(device(width=20, height=20, framebuffer=False, strip_rows=1, report_draws=True))
    assert send(client, message(Rect(0, 0, 20, 20), 75, S420, jpeg_file(photograph(20, 20), 75, S420))) is None
    rects = [event.rect for event in client.events if isinstance(event, c.Drawn)]
    assert rects[:17] == [*(Rect(0, y, 16, 1) for y in range(16)), Rect(16, 0, 4, 5)]


@pytest.mark.parametrize("offset", range(8))
def test_a_payload_at_any_address(offset: int) -> None:
    tile = message(WHOLE, 75, S420, jpeg_file(photograph(WIDTH, HEIGHT), 75, S420))
    data = bytes(offset) + m.Begin(update=1, input=0).encode() + tile.encode()
    client = c.Client(device())
    connect(client)
    client.feed(memoryview(data)[offset:])
    assert client.error is None
    other = c.Client(device())
    assert send(other, tile) is None
    assert client.framebuffer == other.framebuffer


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_exchange_of_the_specification(decoder: c.Jpeg) -> None:
    """SPEC.md 15.15: one colour, (200, 100, 50)."""
    client = c.Client(device(jpeg=decoder, pixel_format=PixelFormat.XRGB8888, width=16, height=16))
    payload = bytes.fromhex("8E8A28AF9A3EC0")
    assert send(client, m.Jpeg(rect=Rect(0, 0, 16, 16), quality=75, sampling=S420, payload=payload)) is None
    colours = {client.framebuffer[at : at + 4] for at in range(0, 1024, 4)}
    assert len(colours) == 1
    blue, green, red, zero = colours.pop()
    assert max(abs(red - 200), abs(green - 100), abs(blue - 50)) <= 3
    assert zero == 0


# What is refused.


def verdict(payload: bytes, rect: Rect, quality: int, sampling: int) -> Code | None:
    """Of the reference decoder."""
    try:
        reference.decode(payload, quality, sampling, rect.width, rect.height)
    except RemoteProtocolError as error:
        return error.code
    return None


@pytest.mark.parametrize("sampling", range(4))
def test_wherever_a_segment_is_cut(sampling: int) -> None:
    good = segment_of(jpeg_file(photograph(20, 10), 60, sampling))
    rect = Rect(0, 0, 20, 10)
    for length in range(len(good) + 1):
        for rest in (b"", b"\0", b"\x7f", b"\xff", b"\xff\0", b"\xff\xd9", b"\xff\xff\0"):
            payload = good[:length] + rest
            tile = m.Jpeg(rect=rect, quality=60, sampling=sampling, payload=payload)
            assert send(c.Client(device()), tile) is verdict(payload, rect, 60, sampling)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), sampling=st.integers(0, 3), kind=st.sampled_from(KINDS), quality=st.sampled_from((20, 75, 95)))
def test_damages_are_noticed_where_the_reference_notices_them(
    data: st.DataObject, sampling: int, kind: str, quality: int
) -> None:
    rect = Rect(0, 0, 18, 17)
    payload = bytearray(segment_of(jpeg_file(picture(kind, rect.width, rect.height), quality, sampling)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload) - 1))
        if data.draw(st.booleans()):
            payload[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            payload[at:at] = bytes((data.draw(st.sampled_from((0, 0xFF, 0xD9, 0x5A))),))
    tile = m.Jpeg(rect=rect, quality=quality, sampling=sampling, payload=bytes(payload))
    assert send(c.Client(device()), tile) is verdict(bytes(payload), rect, quality, sampling)


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=200), sampling=st.integers(0, 3), scale=st.integers(0, 1))
def test_any_bytes(payload: bytes, sampling: int, scale: int) -> None:
    some = m.Jpeg(rect=Rect(1, 1, 8, 8), quality=50, sampling=sampling | scale << 4, payload=payload)
    for decoder in DECODERS:
        client = c.Client(device(jpeg=decoder, padding=8))
        code = send(client, some)
        assert code in (None, Code.BAD_PAYLOAD)
        assert not any(client.picture[: client.stride])
        if decoder is c.Jpeg.CORE:
            assert code is verdict(payload, some.rect, 50, some.sampling)


def test_the_fill_bits_are_not_looked_at() -> None:
    """They are to be ones, and nothing is lost where they are not: the reference decoder takes any."""
    writer = Writer()
    writer.block(5)
    good = writer.segment()
    assert good[-1] & 3 == 3
    rect = Rect(0, 0, 8, 8)
    for payload in (good, good[:-1] + bytes((good[-1] & ~3,))):
        assert verdict(payload, rect, 50, GREY) is None
        assert send(c.Client(device()), m.Jpeg(rect=rect, quality=50, sampling=GREY, payload=payload)) is None


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("rect", "quality", "sampling", "fields", "code"),
    [
        (WHOLE, 75, S420, {"jpeg": None}, Code.NOT_OFFERED),
        (WHOLE, 75, S420 | 16, {"jpeg": None}, Code.NOT_OFFERED),
        (WHOLE, 75, S420, {"jpeg_subsamplings": Subsampling.S444 | Subsampling.GREY}, Code.NOT_OFFERED),
        (WHOLE, 75, S444 | 16, {"jpeg_subsamplings": Subsampling.S422}, Code.NOT_OFFERED),
        (WHOLE, 75, S422, {"jpeg_subsamplings": Subsampling.S422}, None),
        (WHOLE, 75, S420, {"jpeg_subsamplings": Subsampling.S420}, None),
        (Rect(0, 0, 17, 1), 75, S420, {"max_rect_width": 16}, Code.NOT_OFFERED),
        (Rect(37, 0, 4, 4), 75, S420, {}, Code.BAD_VALUE),
    ],
)
def test_limits(
    decoder: c.Jpeg, rect: Rect, quality: int, sampling: int, fields: dict[str, object], code: Code | None
) -> None:
    file = jpeg_file(photograph(rect.width, rect.height), quality, sampling & 15)
    assert send(c.Client(device(**{"jpeg": decoder} | fields)), message(rect, quality, sampling, file)) is code


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("body", [b"\x00\x02", b"\x65\x02", b"\x4b\x04", b"\x4b\x14", b"\x4b\x1f", b"\x4b\x22"])
def test_reserved_values(decoder: c.Jpeg, body: bytes) -> None:
    client = c.Client(device(jpeg=decoder))
    connect(client)
    client.feed(m.Begin(update=1, input=0).encode() + bytes((m.Jpeg.type, 9)) + bytes(6) + body + b"\x00")
    assert client.error is Code.BAD_VALUE


# Set-up.


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_offered(decoder: c.Jpeg) -> None:
    for fields, offer in (
        ({"jpeg": None}, None),
        ({}, m.JpegOffer(subsamplings=15, scales=3)),
        ({"jpeg_subsamplings": 9}, m.JpegOffer(subsamplings=9, scales=3)),
    ):
        hello = connect(c.Client(device(**{"jpeg": decoder} | fields))).connection.hello
        assert hello is not None
        assert hello.jpeg == offer


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_unknown_subsampling_is_refused(decoder: c.Jpeg) -> None:
    with pytest.raises(c.ClientError) as caught:
        c.Client(device(jpeg=decoder, jpeg_subsamplings=16))
    assert caught.value.code is Code.ARGUMENT


PROGRAM = """
#include "tilewire/tilewire.h"
#include <string.h>
static unsigned char memory[TW_CLIENT_SIZE(0, 0)], receive[1024], stream[TW_JPEG_SIZE(sizeof receive)];
static unsigned char framebuffer[32 * 8 * 4], jpeg_memory[TW_JPEG_MEMORY_SIZE + 8];

static tw_status decode(void *user, const tw_jpeg *jpeg, tw_picture *picture) {
    (void)user, (void)jpeg, (void)picture;
    return TW_CODE_INTERNAL;
}

int main(void) {
    /* A handshake, BEGIN, and one grey pixel. */
    static const unsigned char bytes[] = {
        0x97, 'T', 'W', '\\n', 1, 1, 24, 0, 0x81, 1, 1, 0x82, 1, 1, 3, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        13, 14, 15, 0x10, 33, 1, 1, 's', 2, 4, 0, 4, 88, 2, 3, 1, 2, 4, 4, 1, 0, 0, 0, 5, 3, 30, 75, 1, 6, 8, 0, 0, 0,
        0, 0, 0, 0, 0, 0x40, 2, 1, 0, 0x4C, 9, 0, 0, 0, 0, 0, 0, 50, 3, 0x2B};
    tw_client_config config;
    tw_client *client;
    size_t consumed;
    memset(&config, 0, sizeof config);
    config.device_id = "x";
    config.width = 32, config.height = 8;
    config.pixel_format = TW_PIXEL_XRGB8888;
    config.framebuffer = framebuffer, config.framebuffer_size = sizeof framebuffer;
    config.receive = receive, config.receive_size = sizeof receive;
    config.jpeg_memory = jpeg_memory, config.jpeg_memory_size = TW_JPEG_MEMORY_SIZE - 1;
#if TW_WITH_JPEG
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_CODE_MEMORY || client != NULL) return 1;
#endif
    config.jpeg_memory_size++;
    for (unsigned at = 0; at < 8; at++) {
        config.jpeg_memory = jpeg_memory + at;
        memset(jpeg_memory, 0x4B, sizeof jpeg_memory); /* 75 among others: nothing in it is believed */
        memset(framebuffer, 0, sizeof framebuffer);
#if TW_WITH_JPEG
        if (tw_client_init(&client, &config, memory, sizeof memory) != TW_OK) return 2;
        if (tw_client_feed(client, bytes, sizeof bytes, &consumed) != TW_OK) return 3;
        if (framebuffer[0] != 128 || framebuffer[1] != 128 || framebuffer[2] != 128 || framebuffer[3] != 0) return 4;
        for (unsigned i = 0; i < 8; i++) {
            if (jpeg_memory[i < at ? i : TW_JPEG_MEMORY_SIZE + i] != 0x4B) return 5;
        }
#else
        if (tw_client_init(&client, &config, memory, sizeof memory) != TW_CODE_UNSUPPORTED) return 6;
        (void)bytes, (void)consumed;
#endif
    }
    /* Where both are given, the function is asked. */
    config.jpeg = decode, config.jpeg_stream = stream, config.jpeg_stream_size = sizeof stream;
#if TW_WITH_JPEG_HOOK
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_OK) return 7;
    if (tw_client_feed(client, bytes, sizeof bytes, &consumed) != TW_CODE_INTERNAL) return 8;
#else
    if (tw_client_init(&client, &config, memory, sizeof memory) != TW_CODE_UNSUPPORTED) return 9;
    (void)decode, (void)stream;
#endif
    return 0;
}
"""


@pytest.mark.parametrize("switches", [[], ["-DTW_WITH_JPEG=0"], ["-DTW_WITH_JPEG_HOOK=0"]], ids=str)
def test_the_memory_that_is_given(tmp_path: Path, switches: list[str]) -> None:
    run_sanitized(tmp_path, PROGRAM, *switches)
