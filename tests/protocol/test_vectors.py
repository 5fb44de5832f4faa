"""Every golden vector, on both roles: whole, byte by byte, with trailing bytes, and grown."""

import hashlib
from itertools import product
from typing import Any

import pytest

from tilewire.protocol import PixelFormat, Rect, RemoteProtocolError, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.errors import Code
from tilewire.protocol.reference import Framebuffer
from tilewire.protocol.reference_codec import MODEL_KIB
from tilewire.protocol.reference_jpeg import convert
from tilewire.protocol.rules import RESET
from tilewire.protocol.vectors import plain
from tilewire.protocol.vectors_encoded import JPEG_TOLERANCE
from tilewire.protocol.wire import MESSAGES, Message

from tests import vectors as v
from tests.protocol import jpegs

VECTORS = v.exchanges()
ROLES = pytest.mark.parametrize("role", [Sender.CLIENT, Sender.SERVER], ids=["client", "server"])
EACH = pytest.mark.parametrize("vector", VECTORS, ids=str)


@EACH
@ROLES
def test_whole(vector: v.Vector, role: Sender) -> None:
    v.replay(vector, role)


@EACH
@ROLES
def test_byte_by_byte(vector: v.Vector, role: Sender) -> None:
    v.replay(vector, role, v.single_bytes)


@EACH
@ROLES
def test_with_trailing_bytes(vector: v.Vector, role: Sender) -> None:
    v.replay(vector, role, trailing=True)


@EACH
@ROLES
def test_grown_by_a_later_version(vector: v.Vector, role: Sender) -> None:
    v.replay(v.grow(vector), role)


def test_a_replay_notices_what_is_wrong() -> None:
    """The replayer itself: a changed byte, event or pixel fails."""
    vector = next(item for item in VECTORS if item.name == "fill")
    steps = vector.steps
    update = next(number for number, step in enumerate(steps) if step.events[0]["type"] == "BEGIN")

    def changed(number: int, **changes: Any) -> v.Vector:
        step = steps[number]
        new = v.Step(step.sender, changes.get("data", step.data), changes.get("events", step.events), step.canonical)
        made = (*steps[:number], new, *steps[number + 1 :])
        return v.Vector(vector.name, vector.needs, vector.hello, None, made, vector.error, changes.get("framebuffer"))

    data = bytearray(steps[update].data)
    data[-3] ^= 1
    with pytest.raises(AssertionError):
        v.replay(changed(update, data=bytes(data)), Sender.CLIENT)
    with pytest.raises(AssertionError):
        v.replay(changed(update, events=steps[update].events[:-1]), Sender.CLIENT)
    with pytest.raises(AssertionError):
        v.replay(changed(update), Sender.CLIENT)
    ack = bytearray(steps[update + 1].data)
    ack[-1] ^= 1
    with pytest.raises(AssertionError):
        v.replay(changed(update + 1, data=bytes(ack)), Sender.SERVER)


def test_the_exchanges_say_every_message_and_most_codes() -> None:
    seen = {event["type"] for vector in VECTORS for step in vector.steps for event in step.events}
    assert seen == {cls.name for cls in MESSAGES.values()} | {"HELLO", "REPLY", "REFUSAL"}
    codes = {vector.error.code for vector in VECTORS if vector.error}
    assert codes == {
        Code.PROTOCOL,
        Code.VERSION,
        Code.UNSUPPORTED,
        Code.TOO_LONG,
        Code.BAD_VALUE,
        Code.BAD_STATE,
        Code.BAD_ACK,
        Code.NOT_OFFERED,
        Code.BAD_PAYLOAD,
        Code.AUTH_FAILED,
        Code.AUTH_REQUIRED,
        Code.NOT_TILEWIRE,
    }


def test_longest_messages_are_exactly_so_long() -> None:
    for name, size in (("message-of-1024", 1024), ("message-of-65536", 65536)):
        vector = next(item for item in VECTORS if item.name == name)
        assert vector.hello["max_message"] == size
        bodies = [len(v.body_of(part)) for step in vector.steps[2:] for part in v.split(step.data)]
        assert max(bodies) == size


@pytest.mark.parametrize("item", v.read("messages.json"), ids=lambda item: item["name"])
def test_single_message(item: dict[str, Any]) -> None:
    data = bytes.fromhex(item["bytes"])
    cls: type[Message] = MESSAGES[data[0]]
    assert item["sender"] == cls.sender.value
    assert list(v.split(data)) == [data]
    if "error" in item:
        with pytest.raises(RemoteProtocolError) as caught:
            cls.decode(v.body_of(data))
        assert caught.value.code.name == item["error"]
    else:
        message = cls.decode(v.body_of(data))
        assert plain(message) == item["event"]
        assert message.encode() == data


@pytest.mark.parametrize("item", v.read("tiles.json"), ids=lambda item: item["name"])
def test_tile(item: dict[str, Any]) -> None:
    pixel_format = PixelFormat[item["format"]]
    width, height = item["width"], item["height"]
    # Not in the corner, so that a wrong stride shows, over a background that must stay.
    screen = Framebuffer(width + 3, height + 2, pixel_format)
    screen.pixels = [number % 251 for number in range(len(screen.pixels))]
    before = list(screen.pixels)
    rect = Rect(2, 1, width, height)
    cls = {"RAW": m.Raw, "PALETTE": m.Palette}[item["encoding"]]
    message = cls(rect=rect, payload=bytes.fromhex(item["payload"]))
    if "error" in item:
        with pytest.raises(RemoteProtocolError) as caught:
            screen.apply(message)
        assert caught.value.code.name == item["error"]
        assert screen.pixels == before
        return
    screen.apply(message)
    size = pixel_format.stored
    stored = b"".join(pixel.to_bytes(size, "little") for pixel in screen.read(rect))
    if "stored" in item:
        assert stored.hex() == item["stored"]
    else:
        assert hashlib.sha256(stored).hexdigest() == item["sha256"]
    for y in range(screen.height):
        for x in range(screen.width):
            if not rect.contains(Rect(x, y, 1, 1)):
                assert screen.pixels[y * screen.width + x] == before[y * screen.width + x]


@pytest.mark.parametrize("item", v.read("codec_tiles.json"), ids=lambda item: item["name"])
def test_codec_tiles(item: dict[str, Any]) -> None:
    pixel_format = PixelFormat[item["format"]]
    epoch = 0
    screen = Framebuffer(1, 1, pixel_format, item["model_kib"])
    assert item["tiles"][0]["reset"]
    for tile in item["tiles"]:
        epoch += tile["reset"]
        screen.resize(tile["width"], tile["height"])
        rect = Rect(0, 0, tile["width"], tile["height"])
        reset = RESET if tile["reset"] else 0
        message = m.Codec(rect=rect, epoch=epoch | reset, payload=bytes.fromhex(tile["payload"]))
        if "error" in tile:
            with pytest.raises(RemoteProtocolError) as caught:
                screen.apply(message)
            assert caught.value.code.name == tile["error"]
            assert tile is item["tiles"][-1]
            return
        screen.apply(message)
        if "stored" in tile:
            assert screen.stored().hex() == tile["stored"]
        else:
            assert hashlib.sha256(screen.stored()).hexdigest() == tile["sha256"]


def test_codec_tiles_are_of_every_kind() -> None:
    good = [item for item in v.read("codec_tiles.json") if "error" not in item["tiles"][-1]]
    assert {(item["format"], item["model_kib"]) for item in good} == set(
        product((pixel_format.name for pixel_format in PixelFormat), MODEL_KIB)
    )
    for item in good:
        variants = {tile["payload"][:2] for tile in item["tiles"]}
        assert variants <= {"00", "01"}
        assert variants == {"00", "01"} or item["name"] == "ones"


@pytest.mark.parametrize("item", v.read("jpeg_tiles.json"), ids=lambda item: item["name"])
def test_jpeg_tile(item: dict[str, Any]) -> None:
    """The reference is exact; what libjpeg-turbo makes of it lies within the tolerance, in every format."""
    width, height = item["width"], item["height"]
    fields = {name: item[name] for name in ("quality", "sampling")}
    segment = bytes.fromhex(item["payload"])
    message = m.Jpeg(rect=Rect(0, 0, width, height), payload=segment, **fields)
    if "error" in item:
        with pytest.raises(RemoteProtocolError) as caught:
            Framebuffer(width, height, PixelFormat.XRGB8888).apply(message)
        assert caught.value.code.name == item["error"]
        return
    levels = bytes.fromhex(item["rgb"])
    exact = [(levels[at], levels[at + 1], levels[at + 2]) for at in range(0, len(levels), 3)]
    for pixel_format in PixelFormat:
        screen = Framebuffer(width, height, pixel_format)
        screen.apply(message)
        assert screen.pixels == [convert(colour, pixel_format) for colour in exact]
    shown = jpegs.decoded(segment, item["quality"], item["sampling"], width, height)
    for got, colour in zip(shown, exact, strict=True):
        assert all(abs(a - b) <= JPEG_TOLERANCE - 1 for a, b in zip(got, colour)), (got, colour)
