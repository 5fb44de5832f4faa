"""The golden vectors on the C client: the server's side of every exchange, and every tile.

What the client does not offer (deflate) it has to refuse, in whichever vector it comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest

from tilewire.protocol import AuthMethod, Capability, Code, CursorMode, PixelFormat, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.rules import RESET
from tilewire.protocol.vectors_encoded import JPEG_TOLERANCE
from tilewire.protocol.wire import MESSAGES
from tilewire.simulator import client as c

from tests import vectors as v
from tests.clients.support import connect

NUMBERED = {"POINTER", "TOUCH", "WHEEL", "KEY", "TEXT_INPUT"}
MAX_NUMBER = 200
"""The client numbers its inputs itself, one after the other: larger numbers are not reached here."""
ABSENT = {m.Deflate.type}
"""Never offered: refused with NOT_OFFERED, or for what is wrong in it."""
UNREACHABLE = {
    "everything": "asks for thousands of slots of four gigabytes",
    "not-offered/jpeg-scale": "whoever offers JPEG here offers both scales: doubling is the client's own work",
}


def device_of(vector: v.Vector) -> c.ClientConfig:
    """A device that says this HELLO, as far as the client can."""
    hello = vector.hello
    capabilities = int(hello["capabilities"], 16)
    cache = hello.get("cache", {"slots": 0, "slot_bytes": 0})
    jpeg = hello.get("jpeg", {"subsamplings": 0})
    cursor = hello.get("cursor", {"mode": 0, "max_side": 0})
    return c.ClientConfig(
        **hello["panel"],
        pixel_format=PixelFormat(hello["pixel_format"]),
        readable=bool(capabilities & Capability.COPY),
        max_message=hello["max_message"],
        max_rect_width=hello["max_rect"]["width"],
        max_rect_area=hello["max_rect"]["area"],
        device_id=hello["device_id"],
        boot_id=int(hello["boot_id"], 16),
        nonce=bytes.fromhex(hello["nonce"]),
        key=vector.key if hello["auth_methods"] == AuthMethod.HMAC else None,
        ticket=bytes.fromhex(hello["ticket"]) if "ticket" in hello else None,
        capabilities=capabilities & ~Capability.COPY,
        model_kib=hello["model_kib"],
        cache_slots=cache["slots"],
        cache_slot_bytes=cache["slot_bytes"],
        jpeg=c.Jpeg.CORE if jpeg["subsamplings"] else None,
        jpeg_subsamplings=jpeg["subsamplings"],
        resume=c.Resume(token=bytes.fromhex(hello["resume"]["token"])) if "resume" in hello else None,
        cursor=CursorMode(cursor["mode"]),
        cursor_side=cursor["max_side"],
        overlay=not capabilities & Capability.COPY,
        hold=False,
    )


def act(client: c.Client, event: dict[str, Any]) -> None:
    """What the server's later messages depend on."""
    if event["type"] in NUMBERED:
        while client.key(32, True) < event["input"]:
            client.output()
    elif event["type"] == "GOODBYE":
        client.close(Code(event["code"]))


def split(data: bytes, *, small: bool) -> Sequence[bytes]:
    return [data[at : at + 1] for at in range(len(data))] if small else [data]


def replay(vector: v.Vector, *, small: bool) -> None:
    client = c.Client(device_of(vector))
    reference = v.End(Sender.CLIENT, vector).screen
    for number, step in enumerate(vector.steps):
        if step.sender is Sender.CLIENT:
            if vector.error is not None and (vector.error.step, vector.error.by) == (number, Sender.SERVER):
                return  # a wrong client: nothing to learn about this one
            for event in step.events:
                act(client, event)
            client.output()
            continue
        for part in split(step.data, small=small):
            client.feed(part)
        absent = any(part[0] in ABSENT for part in v.split(step.data))
        if vector.error is not None and vector.error.step == number:
            wrong = {vector.error.code} | ({Code.NOT_OFFERED} if absent else set())
            assert client.error in wrong
            return
        assert client.error is (Code.NOT_OFFERED if absent else None)
        if absent:
            return
        for part in v.split(step.data):
            cls = MESSAGES.get(part[0])
            if cls is not None and cls.drawing:
                reference.apply(cls.decode(v.body_of(part)))
            elif cls is m.Resize:
                reference.apply(m.Resize.decode(v.body_of(part)))
    if vector.framebuffer is not None:
        assert (client.width, client.height) == (reference.width, reference.height)
        v.compare(reference, vector.framebuffer)
        if "jpeg" in vector.needs:
            assert near(client.framebuffer, reference.stored(), reference.format)
        else:
            assert client.framebuffer == reference.stored()


def near(seen: bytes, expected: bytes, pixel_format: PixelFormat) -> bool:
    """Whether no channel is further away than the tolerance of JPEG allows."""
    shifts = {
        PixelFormat.RGB565: ((11, 31, 3), (5, 63, 2), (0, 31, 3)),
        PixelFormat.XRGB8888: ((16, 255, 0), (8, 255, 0), (0, 255, 0)),
        PixelFormat.RGB332: ((5, 7, 5), (2, 7, 5), (0, 3, 6)),
        PixelFormat.GREY8: ((0, 255, 0),),
    }[pixel_format]
    size = pixel_format.stored
    for at in range(0, len(expected), size):
        one = int.from_bytes(seen[at : at + size], "little")
        other = int.from_bytes(expected[at : at + size], "little")
        for shift, mask, lost in shifts:
            if abs((one >> shift & mask) - (other >> shift & mask)) > -(-JPEG_TOLERANCE >> lost):
                return False
    return len(seen) == len(expected)


def reachable(vector: v.Vector) -> bool:
    """Whether this client can come where the vector is played."""
    numbers = [event.get("input", 0) for step in vector.steps for event in step.events if event["type"] in NUMBERED]
    # A mutual proof is made over the HELLO, so it has to be the vector's to the byte.
    same = not vector.key or c.Client(device_of(vector)).output() == vector.steps[0].data
    return max(numbers, default=0) <= MAX_NUMBER and same


EXCHANGES = [vector for vector in v.exchanges() if vector.name not in UNREACHABLE and reachable(vector)]


def test_most_vectors_are_reachable() -> None:
    left_out = {vector.name for vector in v.exchanges()} - {vector.name for vector in EXCHANGES}
    assert len(left_out) < 12, sorted(left_out)


@pytest.mark.parametrize("small", [False, True], ids=["whole", "bytes"])
@pytest.mark.parametrize("vector", EXCHANGES, ids=str)
def test_exchange(vector: v.Vector, small: bool) -> None:
    replay(vector, small=small)


def drawn(item: dict[str, Any], operations: Sequence[m.Message], width: int, height: int, **fields: Any) -> c.Client:
    """A client of at least this size after these operations, sent by somebody who does not know the rules."""
    client = c.Client(
        c.ClientConfig(
            width=width,
            height=height,
            pixel_format=PixelFormat[item.get("format", "XRGB8888")],
            max_message=1 << 20,
            **fields,
        )
    )
    connect(client)
    data = b"".join(operation.encode() for operation in operations)
    client.feed(m.Begin(update=1, input=0).encode() + data)
    return client


@pytest.mark.parametrize("item", v.read("tiles.json"), ids=lambda item: item["name"])
def test_tile(item: dict[str, Any]) -> None:
    cls = {"RAW": m.Raw, "PALETTE": m.Palette}[item["encoding"]]
    rect = Rect(2, 1, item["width"], item["height"])
    message = cls(rect=rect, payload=bytes.fromhex(item["payload"]))
    client = drawn(item, [message], rect.right + 1, rect.bottom + 1)
    assert (client.error and client.error.name) == item.get("error")
    if client.error is None:
        size, row = client.config.pixel_format.stored, client.stride
        seen = b"".join(
            bytes(client.picture[y * row + rect.x * size : y * row + rect.right * size])
            for y in range(rect.y, rect.bottom)
        )
        expected = item.get("stored") or item["sha256"]
        assert expected in (seen.hex(), hashlib.sha256(seen).hexdigest())


@pytest.mark.parametrize("item", v.read("codec_tiles.json"), ids=lambda item: item["name"])
def test_codec_tiles(item: dict[str, Any]) -> None:
    """All tiles of one model, each on a panel of its size: the last is looked at, after all before it."""
    epoch = 0
    operations = []
    for tile in item["tiles"]:
        epoch += tile["reset"]
        rect = Rect(0, 0, tile["width"], tile["height"])
        epoch_byte = epoch | (RESET if tile["reset"] else 0)
        operations.append(m.Codec(rect=rect, epoch=epoch_byte, payload=bytes.fromhex(tile["payload"])))
        width = max(operation.rect.width for operation in operations)
        height = max(operation.rect.height for operation in operations)
        client = drawn(item, operations, width, height, model_kib=item["model_kib"])
        assert (client.error and client.error.name) == tile.get("error")
        if client.error is None:
            size = client.config.pixel_format.stored * rect.width
            seen = b"".join(bytes(client.picture[y * client.stride :][:size]) for y in range(rect.height))
            expected = tile.get("stored") or tile["sha256"]
            assert expected in (seen.hex(), hashlib.sha256(seen).hexdigest())


@pytest.mark.parametrize("item", v.read("jpeg_tiles.json"), ids=lambda item: item["name"])
def test_jpeg_tile(item: dict[str, Any]) -> None:
    width, height = item["width"], item["height"]
    message = m.Jpeg(
        rect=Rect(0, 0, width, height),
        quality=item["quality"],
        sampling=item["sampling"],
        payload=bytes.fromhex(item["payload"]),
    )
    client = drawn(item, [message], width, height, jpeg=c.Jpeg.CORE)
    assert (client.error and client.error.name) == item.get("error")
    if "rgb" in item:
        rgb = bytes.fromhex(item["rgb"])
        expected = b"".join(rgb[at : at + 3][::-1] + b"\0" for at in range(0, len(rgb), 3))
        assert near(client.framebuffer, expected, PixelFormat.XRGB8888)
