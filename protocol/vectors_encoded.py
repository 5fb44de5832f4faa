"""The golden vectors of the encodings that only an encoder can make: CODEC, DEFLATE, JPEG.

The payloads stand in vector_payloads.py with what the encoder was given, so that the reference decoder is tested here
rather than believed. What is broken on purpose is written out by hand.
"""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import cycle
from typing import Final

from tilewire.protocol import messages as m
from tilewire.protocol import reference_codec, reference_jpeg
from tilewire.protocol.constants import Capability, PixelFormat
from tilewire.protocol.errors import Code
from tilewire.protocol.geometry import Rect
from tilewire.protocol.rules import EPOCHS, RESET
from tilewire.protocol.vector_payload_types import Segment, Series
from tilewire.protocol.vector_payloads import CODEC, CODEC_CORRUPT, DEFLATE, JPEG
from tilewire.protocol.vectors import (
    ABOUT_EXCHANGES,
    BEGIN,
    RED,
    RGB565,
    SERVER,
    Case,
    Exchange,
    Json,
    as_text,
    colour,
    each_refused,
    hello,
    noise,
    palette_payload,
    refusal_of,
    run_tokens,
    unique,
)
from tilewire.protocol.wire import Point

MAX_INLINE_TILE: Final = 256
"""Stored bytes of a tile that are written out."""

JPEG_TOLERANCE: Final = 4
"""Levels of each 8-bit channel (SPEC.md 8.9)."""

_SERIES: Final = {series.name: series for series in CODEC}
_SEGMENTS: Final = {segment.name: segment for segment in JPEG}


def _payloads(series: str) -> list[bytes]:
    return [bytes.fromhex(tile.payload) for tile in _SERIES[series].tiles]


# codec_tiles.json


def _codec_tiles() -> list[Json]:
    made = [_series(series) for series in CODEC]
    first = _SERIES["rgb565-16"]
    again = _series(first._replace(name="reset-again", about="a reset between tiles; what came before is forgotten"))
    del again["tiles"][3:]
    made.append(again | {"tiles": again["tiles"] * 2})
    return made + _bad_series()


def _series(series: Series) -> Json:
    pixel_format = PixelFormat[series.format]
    model = reference_codec.Model(series.model_kib, pixel_format)
    tiles = []
    for number, tile in enumerate(series.tiles):
        payload = bytes.fromhex(tile.payload)
        pixels = reference_codec.decode(model, payload, tile.width, tile.height)
        stored = b"".join(pixel.to_bytes(pixel_format.stored, "little") for pixel in pixels)
        assert hashlib.sha256(stored).hexdigest() == tile.sha256, (series.name, number)
        out: Json = {"reset": number == 0, "width": tile.width, "height": tile.height, "payload": payload.hex()}
        out |= {"stored": stored.hex()} if len(stored) <= MAX_INLINE_TILE else {"sha256": tile.sha256}
        tiles.append(out)
    return {
        "name": series.name,
        "about": series.about,
        "format": series.format,
        "model_kib": series.model_kib,
        "tiles": tiles,
    }


def _bad_payloads() -> list[tuple[str, str, int, int, bytes]]:
    """(name, about, width, height, payload) of what a new model of 16 KiB for RGB565 refuses."""
    tile = _SERIES["rgb565-16"].tiles[0]
    good = bytes.fromhex(tile.payload)
    (first, *_) = _payloads("ones")
    text = [
        ("empty", "no variant", b""),
        ("variant-2", "a variant that there is not", b"\x02" + good[1:]),
        ("variant-255", "a variant that there is not", b"\xff" + good[1:]),
        ("variant-alone", "nothing after the variant", good[:1]),
        ("cut-by-one", "the last byte is missing", good[:-1]),
        ("cut-in-half", "the second half is missing", good[: len(good) // 2]),
        ("one-more", "a byte too many", good + b"\0"),
        ("many-more", "many bytes too many", good + bytes(100)),
    ]
    made = [(name, about, tile.width, tile.height, payload) for name, about, payload in text]
    made += [
        ("break-beyond", "a break beyond its flat stretch", 40, 8, bytes.fromhex(CODEC_CORRUPT)),
        ("one-pixel-and-more", "one pixel, and a byte too many", 1, 1, first + b"\xff"),
        ("one-pixel-cut", "one pixel, and a byte too few", 1, 1, first[:-1]),
        ("largest-of-nothing", "4,096 columns out of one byte", 4096, 1024, b"\1"),
    ]
    return made


def _bad_series() -> list[Json]:
    made = []
    for name, about, width, height, payload in _bad_payloads():
        new = reference_codec.Model(16, RGB565)
        seen = refusal_of(partial(reference_codec.decode, new, payload, width, height))
        assert seen is Code.BAD_PAYLOAD, name
        tile = {"reset": True, "width": width, "height": height, "payload": payload.hex(), "error": seen.name}
        made.append({"name": f"bad/{name}", "about": about, "format": RGB565.name, "model_kib": 16, "tiles": [tile]})
    return made


# codec.json

_PANEL: Final = m.Size(width=66, height=50)


def _device(pixel_format: PixelFormat = RGB565, **more: object) -> m.Hello:
    return hello(
        panel=_PANEL,
        pixel_format=pixel_format,
        max_message=16384,
        max_rect=m.RectLimit(width=_PANEL.width, area=_PANEL.width * _PANEL.height),
        **more,
    )


def _fill(pixel_format: PixelFormat, rect: Rect, number: int) -> m.Fill:
    return m.Fill(rect=rect, pixel=colour(pixel_format, number))


def _codecs() -> list[Exchange]:
    made = [_screen(_SERIES[name]) for name in ("rgb565-16", "xrgb8888-48", "rgb332-32", "grey8-16")]
    made += [_epochs(), _refreshed(), _resized()]
    offer = _device(model_kib=16)
    good, *_ = _payloads("ones")
    pixel = Rect(1, 1, 1, 1)
    first = m.Codec(rect=pixel, epoch=RESET | 1, payload=good)
    cases: list[Case] = [
        (name, SERVER, [BEGIN], m.Codec(rect=Rect(0, 0, width, height), epoch=RESET | 1, payload=payload), due)
        for name, _, width, height, payload in _bad_payloads()
        if width <= _PANEL.width and (due := Code.BAD_PAYLOAD)
    ]
    for name, before, epoch in (
        ("first-without-reset", [BEGIN], 0),
        ("first-without-reset-1", [BEGIN], 1),
        ("first-reset-0", [BEGIN], RESET),
        ("first-reset-2", [BEGIN], RESET | 2),
        ("epoch-behind", [BEGIN, first], 0),
        ("epoch-ahead", [BEGIN, first], 2),
        ("reset-again-1", [BEGIN, first], RESET | 1),
        ("reset-ahead", [BEGIN, first], RESET | 3),
    ):
        bad = m.Codec(rect=pixel, epoch=epoch, payload=good)
        cases.append((name, SERVER, [*before], bad, Code.BAD_VALUE))
    off = m.Codec(rect=Rect(66, 0, 1, 1), epoch=RESET | 1, payload=good)
    cases.append(("off-the-panel", SERVER, [BEGIN], off, Code.BAD_VALUE))
    return made + each_refused("codec", "a model of 16 KiB", offer, cases)


def _screen(series: Series) -> Exchange:
    """All tiles of a series on a panel, with other operations between that must not touch the model."""
    pixel_format = PixelFormat[series.format]
    low = pixel_format.name.lower()
    offer = _device(
        pixel_format,
        model_kib=series.model_kib,
        cache=m.CacheOffer(slots=4, slot_bytes=4096),
        capabilities=Capability.COPY,
    )
    x = Exchange(f"codec-{low}", "the model lives on from update to update, whatever else is drawn", offer).open()
    size = pixel_format.packed
    others = cycle(
        (
            _fill(pixel_format, Rect(3, 40, 60, 9), 1),
            m.Copy(rect=Rect(10, 10, 50, 20), source=Point(9, 7)),
            m.CacheStore(slot=1, rect=Rect(5, 5, 30, 20)),
            m.Raw(rect=Rect(50, 2, 4, 3), payload=noise(pixel_format, 12, size)),
            m.CacheDraw(slot=1, position=Point(33, 27)),
        )
    )
    for number, (tile, payload) in enumerate(zip(series.tiles, _payloads(series.name))):
        place = Point(7 * number % (67 - tile.width), 5 * number % (51 - tile.height))
        rect = Rect(place.x, place.y, tile.width, tile.height)
        x.update(m.Codec(rect=rect, epoch=1 if number else RESET | 1, payload=payload), next(others))
    return x


def _epochs() -> Exchange:
    x = Exchange("codec-epochs", "130 resets: the epoch wraps at 128", _device(model_kib=16)).open()
    one, two, three = _payloads("ones")
    number = 0
    for _ in range(5):
        operations: list[m.Message] = []
        for _ in range(26):
            number += 1
            epoch = number % EPOCHS
            x_at, y_at = number % 66, 3 * (number // 66)
            operations.append(m.Codec(rect=Rect(x_at, y_at, 1, 1), epoch=RESET | epoch, payload=one))
            if epoch in (0, 1, 127):
                operations.append(m.Codec(rect=Rect(x_at, y_at + 1, 1, 1), epoch=epoch, payload=two))
                operations.append(m.Codec(rect=Rect(x_at, y_at + 2, 1, 1), epoch=epoch, payload=three))
        x.update(*operations)
    return x


def _refreshed() -> Exchange:
    x = Exchange("codec-after-refresh", "REFRESH, and the next CODEC resets", _device(model_kib=16)).open()
    tiles = [(tile.width, tile.height) for tile in _SERIES["rgb565-16"].tiles]
    first, second, third, *_ = _payloads("rgb565-16")
    x.update(
        m.Codec(rect=Rect(0, 0, *tiles[0]), epoch=RESET | 1, payload=first),
        m.Codec(rect=Rect(60, 40, *tiles[1]), epoch=1, payload=second),
    )
    x.client(m.Refresh())
    return x.update(
        _fill(RGB565, Rect(0, 0, 66, 50), 2),
        m.Codec(rect=Rect(20, 10, *tiles[0]), epoch=RESET | 2, payload=first),
        m.Codec(rect=Rect(0, 49, *tiles[1]), epoch=2, payload=second),
        m.Codec(rect=Rect(10, 20, *tiles[2]), epoch=2, payload=third),
    )


def _resized() -> Exchange:
    offer = _device(model_kib=16, capabilities=Capability.RESIZE)
    x = Exchange("codec-over-resize", "RESIZE does not touch the model", offer).open()
    tiles = [(tile.width, tile.height) for tile in _SERIES["rgb565-16"].tiles]
    first, second, third, *_ = _payloads("rgb565-16")
    x.update(m.Codec(rect=Rect(0, 0, *tiles[0]), epoch=RESET | 1, payload=first))
    x.server(m.Resize(width=60, height=30))
    return x.update(
        m.Codec(rect=Rect(59, 29, *tiles[1]), epoch=1, payload=second),
        m.Codec(rect=Rect(5, 4, *tiles[2]), epoch=1, payload=third),
    )


# deflate.json


def lsb_first(bits: str) -> bytes:
    """Bits as deflate packs them."""
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def _stored_block(data: bytes, *, final: bool) -> bytes:
    size = len(data)
    return bytes((int(final),)) + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + data


def _deflates() -> list[Exchange]:
    streams = {name: bytes.fromhex(text) for name, text in DEFLATE.items()}
    tiles: list[tuple[str, int, int, int]] = [
        ("raw-dynamic", 0x48, 40, 24),
        ("raw-fixed", 0x48, 40, 24),
        ("raw-stored", 0x48, 40, 24),
        ("raw-far", 0x48, 24, 20),
        ("palette-packed", 0x49, 16, 48),
        ("palette-runs", 0x49, 17, 49),
    ]
    x = Exchange("deflate", "every kind of block, RAW and PALETTE inside", _device(deflate_bits=15)).open()
    for number, (name, inner, width, height) in enumerate(tiles):
        rect = Rect(4 * number, number % 2, width, height)
        x.update(m.Deflate(rect=rect, inner=inner, payload=streams[name]))
    y = Exchange("deflate-window-512", "distances of at most 512", _device(deflate_bits=9)).open()
    for number, (name, width, height) in enumerate((("raw-window-512", 40, 24), ("raw-far-window-512", 24, 20))):
        y.update(m.Deflate(rect=Rect(20 * number, 20 * number, width, height), inner=0x48, payload=streams[name]))
    # Window bits 8 to 15 are every window that there is; in 8 no distance exceeds 256.
    z = Exchange("deflate-in-parts", "blocks of no bytes, and stored ones", _device(deflate_bits=9)).open()
    raw = noise(RGB565, 12, 4)
    parts = _stored_block(raw[:5], final=False) + _stored_block(b"", final=False) + _stored_block(raw[5:], final=True)
    z.update(m.Deflate(rect=Rect(1, 1, 4, 3), inner=0x48, payload=parts))
    return [x, y, z, *_bad_deflates(streams, raw)]


def _bad_deflates(streams: dict[str, bytes], raw: bytes) -> list[Exchange]:
    whole = _stored_block(raw, final=True)
    two = [RED, bytes(2)]
    short_runs = palette_payload(two, run_tokens(2, [(0, 11)]), runs=True)
    cases: list[Case] = []
    for name, inner, payload in (
        ("empty", 0x48, b""),
        ("cut", 0x48, whole[:-1]),
        ("no-final-block", 0x48, _stored_block(raw, final=False)),
        ("byte-after", 0x48, whole + b"\0"),
        ("stream-after", 0x48, whole + whole),
        ("zlib-header", 0x48, b"\x78\x9c" + whole),
        ("one-pixel-less", 0x48, _stored_block(raw[:-2], final=True)),
        ("one-byte-more", 0x48, _stored_block(raw + b"\0", final=True)),
        ("bomb", 0x48, streams["bomb"]),
        ("bomb-for-palette", 0x49, streams["bomb"]),
        ("length-not-inverse", 0x48, b"\x01\x18\x00\x00\x00" + raw),
        ("reserved-block", 0x48, b"\x07"),
        # Final, fixed codes; a match of 3 at distance 1 before there is a byte; end of block.
        ("distance-before-the-first-byte", 0x48, lsb_first("1100000001000000000000")),
        ("palette-inside-empty", 0x49, _stored_block(b"", final=True)),
        ("palette-inside-too-short", 0x49, _stored_block(short_runs, final=True)),
    ):
        bad = m.Deflate(rect=Rect(1, 1, 4, 3), inner=inner, payload=payload)
        cases.append((name, SERVER, [BEGIN], bad, Code.BAD_PAYLOAD))
    about = "a stream for 4x3 pixels"
    made = each_refused("deflate", about, _device(deflate_bits=15), cases)
    far = m.Deflate(rect=Rect(0, 0, 24, 20), inner=0x48, payload=streams["raw-far"])
    about = "a distance of 880 where 512 were offered"
    return made + each_refused(
        "deflate", about, _device(deflate_bits=9), [("too-far", SERVER, [BEGIN], far, Code.BAD_PAYLOAD)]
    )


# jpeg_tiles.json, jpeg.json


def msb_first(bits: str) -> bytes:
    """Bits as JPEG packs them: the last byte filled with ones, zero bytes stuffed in."""
    bits += "1" * (-len(bits) % 8)
    data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    return data.replace(b"\xff", b"\xff\0")


def _bad_segments() -> list[tuple[str, str, Segment]]:
    good = _SEGMENTS["photograph-444"]
    whole = bytes.fromhex(good.payload)
    middle = len(whole) // 2

    def changed(payload: bytes) -> Segment:
        return good._replace(payload=payload.hex())

    def one_block(payload: bytes) -> Segment:
        return Segment("", 8, 8, 75, 3, payload.hex())

    zeros_of_16 = "11111111001"
    return [
        ("empty", "no segment", changed(b"")),
        ("cut", "the last four bytes are missing", changed(whole[:-4])),
        ("cut-in-half", "the second half is missing", changed(whole[:middle])),
        ("byte-after", "a byte too many", changed(whole + b"\0")),
        ("end-marker", "with EOI", changed(whole + b"\xff\xd9")),
        ("restart-marker", "with RST0 inside", changed(whole[:middle] + b"\xff\xd0" + whole[middle:])),
        ("ends-after-ff", "0xFF at its end", changed(whole + b"\xff")),
        ("no-such-code", "16 ones are no code", one_block(msb_first("1" * 24))),
        ("run-beyond-63", "four times 16 zeros", one_block(msb_first("00" + 4 * zeros_of_16))),
    ]


def _jpeg_tiles() -> list[Json]:
    made = []
    for segment in JPEG:
        payload = bytes.fromhex(segment.payload)
        colours = reference_jpeg.decode(payload, segment.quality, segment.sampling, segment.width, segment.height)
        made.append(_segment(segment.name, segment) | {"rgb": bytes(v for colour in colours for v in colour).hex()})
    for name, _, segment in _bad_segments():
        made.append(_segment(f"bad/{name}", segment) | {"error": Code.BAD_PAYLOAD.name})
    return made


def _segment(name: str, segment: Segment) -> Json:
    return {
        "name": name,
        "width": segment.width,
        "height": segment.height,
        "quality": segment.quality,
        "sampling": segment.sampling,
        "payload": bytes.fromhex(segment.payload).hex(),
    }


def _jpeg_message(segment: Segment, x: int, y: int) -> m.Jpeg:
    return m.Jpeg(
        rect=Rect(x, y, segment.width, segment.height),
        quality=segment.quality,
        sampling=segment.sampling,
        payload=bytes.fromhex(segment.payload),
    )


def _jpegs() -> list[Exchange]:
    made = []
    for pixel_format in (RGB565, PixelFormat.GREY8):
        low = pixel_format.name.lower()
        offer = _device(pixel_format, jpeg=m.JpegOffer(subsamplings=15, scales=3))
        x = Exchange(f"jpeg-{low}", "lossy pixels, then the same places exactly", offer).open()
        x.update(_fill(pixel_format, Rect(0, 0, 66, 50), 3))
        for number, name in enumerate(("photograph-444", "half-422", "text-420", "half-grey", "one-pixel-420")):
            segment = _SEGMENTS[name]
            x.update(_jpeg_message(segment, 2 + 5 * number, 3 + 4 * number))
        for number, name in enumerate(("photograph-444", "half-422", "text-420", "half-grey", "one-pixel-420")):
            segment = _SEGMENTS[name]
            rect = Rect(2 + 5 * number, 3 + 4 * number, segment.width, segment.height)
            x.update(m.Raw(rect=rect, payload=noise(pixel_format, rect.area, number + 1)))
        made.append(x)
    # In a payload all is bad; what the message itself says is in refusals.json and messages.json.
    cases: list[Case] = [
        (name, SERVER, [BEGIN], _jpeg_message(segment, 1, 1), Code.BAD_PAYLOAD) for name, _, segment in _bad_segments()
    ]
    offer = _device(jpeg=m.JpegOffer(subsamplings=15, scales=3))
    return made + each_refused("jpeg", "a segment that is refused", offer, cases)


# The files.

ABOUT_CODEC_TILES: Final = (
    "Payloads of CODEC for a model of `model_kib` KiB in `format`, one after the other in the same model; `reset`: it "
    "is reset first. For each `width` x `height` and its pixels, `stored` (little-endian, rows from the top; XRGB8888: "
    "blue, green, red, 0) or their SHA-256, or the `error` code; after an error the model is of no more use."
)
ABOUT_JPEG_TILES: Final = (
    "Payloads of JPEG with the message's other fields, and the exact result as `rgb` (red, green, blue of each pixel "
    f"at 8 bits, rows from the top), or the `error` code. A decoder may differ by {JPEG_TOLERANCE} levels in each "
    "channel before it converts to the panel's format: each channel of what it shows lies between the converted value "
    f"of the result less {JPEG_TOLERANCE} and that of the result plus {JPEG_TOLERANCE}, limited to 0 to 255."
)


def encoded_vector_files() -> dict[str, str]:
    """Every vector file of these encodings by its name."""
    made = {
        name: as_text(ABOUT_EXCHANGES, unique([exchange.vector() for exchange in build()]))
        for name, build in (("codec.json", _codecs), ("deflate.json", _deflates), ("jpeg.json", _jpegs))
    }
    made["codec_tiles.json"] = as_text(ABOUT_CODEC_TILES, unique(_codec_tiles()))
    made["jpeg_tiles.json"] = as_text(ABOUT_JPEG_TILES, unique(_jpeg_tiles()))
    return made
