"""The tile codec: the C decoder, the reference decoder and the server's encoder agree, on good and on bad payloads."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewire.protocol import PANELS, Code, PixelFormat, Rect, RemoteProtocolError
from tilewire.protocol import messages as m
from tilewire.protocol import reference_codec as reference
from tilewire.protocol.wire import Message
from tilewire.server.codec import TileCodec, Variant
from tilewire.simulator import client as c

from tests.clients.pictures import KINDS, kinds, pack_stored, picture, seeds, surface
from tests.clients.strategies import splits
from tests.clients.support import config, connect, pieces

FORMATS = list(PixelFormat)
CLASSES = (16, 32, 48)
WIDTH, HEIGHT = 40, 24
WHOLE = Rect(0, 0, WIDTH, HEIGHT)


def device(pixel_format: PixelFormat = PixelFormat.RGB565, kib: int = 16, **fields: object) -> c.ClientConfig:
    return config(pixel_format=pixel_format, model_kib=kib, max_message=65536, **fields)


class Coder:
    """A server's model, and the reference decoder's beside it."""

    def __init__(self, pixel_format: PixelFormat, kib: int) -> None:
        self.format = pixel_format
        self.codec = TileCodec(kib, pixel_format, 4096)
        self.kib = kib
        self.reference = reference.Model(kib, pixel_format)

    def reset(self) -> None:
        self.codec.reset()
        self.reference = reference.Model(self.kib, self.format)

    def encode(self, values: list[int], rect: Rect, variant: Variant = Variant.LIVE, *, check: bool = True) -> m.Codec:
        """The message for these pixels; the reference decoder must give them back."""
        source = surface(values, rect.width, rect.height, self.format)
        made = self.codec.encode(source, Rect(0, 0, rect.width, rect.height), variant, 1 << 20)
        assert made is not None
        if check:
            assert reference.decode(self.reference, made.payload, rect.width, rect.height) == values
        return dataclasses.replace(made, rect=rect)


def framed(*operations: Message) -> list[Message]:
    return [m.Begin(update=1, input=0), *operations, m.End()]


def shown(client: c.Client, *operations: Message) -> bytes:
    """The framebuffer after one update that holds these operations."""
    server = connect(client)
    client.feed(server.send(*framed(*operations)))
    while client.pending:
        client.draw_done()
    assert client.error is None
    return client.framebuffer


def refusal(client: c.Client, *operations: Message) -> Code | None:
    """What the client says to these operations, at a server that does not know the rules."""
    connect(client)
    client.feed(m.Begin(update=1, input=0).encode() + b"".join(operation.encode() for operation in operations))
    return client.error


def test_agree_on_the_start_of_a_model() -> None:
    """One pixel of each colour first: what is wrong in a table or size shows at once."""
    for pixel_format in FORMATS:
        for kib in CLASSES:
            coder = Coder(pixel_format, kib)
            message = coder.encode([5], Rect(3, 4, 1, 1))
            assert message.epoch == 0x81
            stored = shown(c.Client(device(pixel_format, kib)), message)
            at = (4 * WIDTH + 3) * pixel_format.stored
            assert stored[at : at + pixel_format.stored] == pack_stored([5], pixel_format)


@pytest.mark.parametrize("kib", CLASSES)
@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_pictures(pixel_format: PixelFormat, kib: int, kind: str) -> None:
    """The model goes on from picture to picture, and from one variant to the other."""
    client = c.Client(device(pixel_format, kib))
    coder = Coder(pixel_format, kib)
    server = connect(client)
    for update in range(1, 7):
        values = picture(kind, WIDTH, HEIGHT, pixel_format, update // 2)
        if update == 5:
            coder.reset()
        message = coder.encode(values, WHOLE, Variant(update & 1))
        client.feed(server.send(m.Begin(update=update, input=0), message, m.End()))
        assert client.error is None
        assert client.framebuffer == pack_stored(values, pixel_format)
    assert message.epoch == 2


@st.composite
def devices(draw: st.DrawFn) -> c.ClientConfig:
    pixel_format = draw(st.sampled_from(FORMATS))
    return device(
        pixel_format,
        draw(st.sampled_from(CLASSES)),
        big_endian=pixel_format is PixelFormat.RGB565 and draw(st.booleans()),
        framebuffer=draw(st.booleans()),
        padding=pixel_format.stored * draw(st.integers(0, 3)),
        strip_rows=draw(st.integers(1, 5)),
        hold=draw(st.booleans()),
    )


@st.composite
def tiles(draw: st.DrawFn) -> tuple[str, int, Rect, Variant, bool]:
    x, y = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    rect = Rect(x, y, draw(st.integers(1, WIDTH - x)), draw(st.integers(1, HEIGHT - y)))
    return draw(kinds), draw(seeds), rect, draw(st.sampled_from(Variant)), draw(st.integers(0, 9)) == 0


@settings(max_examples=150, deadline=None)
@given(setup=devices(), drawn=st.lists(tiles(), max_size=5), cuts=splits)
def test_any_split_gives_the_picture(
    setup: c.ClientConfig, drawn: list[tuple[str, int, Rect, Variant, bool]], cuts: list[int]
) -> None:
    client = c.Client(setup)
    coder = Coder(setup.pixel_format, setup.model_kib)
    expected = [0] * (WIDTH * HEIGHT)
    operations = []
    for kind, seed, rect, variant, reset in drawn:
        values = picture(kind, rect.width, rect.height, setup.pixel_format, seed)
        if reset:
            coder.reset()
        operations.append(coder.encode(values, rect, variant))
        for row in range(rect.height):
            at = (rect.y + row) * WIDTH + rect.x
            expected[at : at + rect.width] = values[row * rect.width : (row + 1) * rect.width]
    data = connect(client).send(*framed(*operations))
    for piece in pieces(data, cuts):
        client.feed(piece)
        while client.pending:
            client.draw_done()
    assert client.error is None
    assert client.framebuffer == pack_stored(expected, setup.pixel_format, big_endian=setup.big_endian)


@pytest.mark.parametrize("size", [1, 100, 100000])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_strip_may_be_pending_at_every_row(pixel_format: PixelFormat, size: int) -> None:
    """What is fed is gone by the time that a pending row goes on: the payload was moved."""
    client = c.Client(device(pixel_format, framebuffer=False, strip_rows=1, hold=True, report_draws=True))
    coder = Coder(pixel_format, 16)
    values = picture("mixed", WIDTH, HEIGHT, pixel_format, 7)
    server = connect(client)
    client.events.clear()
    data = server.send(*framed(coder.encode(values, WHOLE), coder.encode(values, WHOLE)))
    for piece in pieces(data, [size] * (len(data) // size + 1)):
        client.feed(bytearray(piece))
        while client.pending:
            client.draw_done()
    assert client.events == [c.Drawn(Rect(0, y, WIDTH, 1)) for y in range(HEIGHT)] * 2 + [c.Presented(1, 0)]
    assert client.framebuffer == pack_stored(values, pixel_format)


@pytest.mark.parametrize("pixel_format", [PixelFormat.RGB565, PixelFormat.XRGB8888])
@pytest.mark.parametrize("variant", Variant)
def test_the_widest_and_the_highest(pixel_format: PixelFormat, variant: Variant) -> None:
    for width, height in ((4096, 3), (2, 4096)):
        setup = device(pixel_format, 48, width=width, height=height)
        values = picture("mixed", width, height, pixel_format, 3)
        message = Coder(pixel_format, 48).encode(values, Rect(0, 0, width, height), variant)
        assert shown(c.Client(dataclasses.replace(setup, max_message=1 << 20)), message) == pack_stored(
            values, pixel_format
        )


def test_other_operations_leave_the_model_alone() -> None:
    client = c.Client(device())
    coder = Coder(PixelFormat.RGB565, 16)
    first = coder.encode(picture("text", WIDTH, HEIGHT, PixelFormat.RGB565, 1), WHOLE)
    values = picture("text", WIDTH, HEIGHT, PixelFormat.RGB565, 2)
    between = [m.Fill(rect=WHOLE, pixel=b"\x12\x34"), m.Copy(rect=Rect(0, 0, 9, 9), source=m.Point(3, 3))]
    assert shown(client, first, *between, coder.encode(values, WHOLE)) == pack_stored(values, PixelFormat.RGB565)


# Bad input.


def judged(coder: Coder, payload: bytes, width: int, height: int) -> list[int] | None:
    """What the reference decoder makes of a first payload; None: it is refused."""
    model = reference.Model(coder.kib, coder.format)
    try:
        return reference.decode(model, payload, width, height)
    except RemoteProtocolError as error:
        if error.code is not Code.BAD_PAYLOAD:
            raise
        return None


def check_first_payload(payload: bytes, rect: Rect, pixel_format: PixelFormat, kib: int) -> bool:
    """The client takes or refuses a first payload as the reference decoder does; whether it was taken."""
    client = c.Client(device(pixel_format, kib, padding=8))
    expected = judged(Coder(pixel_format, kib), payload, rect.width, rect.height)
    code = refusal(client, m.Codec(rect=rect, epoch=0x81, payload=payload), m.End())
    assert code is (Code.BAD_PAYLOAD if expected is None else None)
    picture_ = client.picture
    stored, stride = pixel_format.stored, client.stride
    for y in range(HEIGHT):
        row = bytes(picture_[y * stride : (y + 1) * stride])
        if rect.y <= y < rect.bottom:
            left, right = rect.x * stored, rect.right * stored
            assert not any(row[:left])
            assert not any(row[right:])
            if expected is not None:
                at = (y - rect.y) * rect.width
                assert row[left:right] == pack_stored(expected[at : at + rect.width], pixel_format)
        else:
            assert not any(row)
    return expected is not None


@settings(max_examples=300, deadline=None)
@given(
    payload=st.one_of(st.binary(max_size=40), st.binary(max_size=120).map(lambda data: bytes((len(data) & 1,)) + data)),
    width=st.integers(1, WIDTH - 5),
    height=st.integers(1, HEIGHT - 5),
    pixel_format=st.sampled_from(FORMATS),
    kib=st.sampled_from(CLASSES),
)
def test_any_bytes(payload: bytes, width: int, height: int, pixel_format: PixelFormat, kib: int) -> None:
    check_first_payload(payload, Rect(3, 2, width, height), pixel_format, kib)


@settings(max_examples=150, deadline=None)
@given(
    kind=kinds,
    seed=seeds,
    damage=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=4),
    pixel_format=st.sampled_from(FORMATS),
    variant=st.sampled_from(Variant),
)
def test_damaged_payloads(
    kind: str, seed: int, damage: list[tuple[int, int]], pixel_format: PixelFormat, variant: Variant
) -> None:
    rect = Rect(3, 2, 17, 11)
    coder = Coder(pixel_format, 16)
    payload = bytearray(coder.encode(picture(kind, 17, 11, pixel_format, seed), rect, variant).payload)
    for at, change in damage:
        payload[at % len(payload)] ^= change
    taken = check_first_payload(bytes(payload), rect, pixel_format, 16)
    assert taken or damage


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", Variant)
def test_cut_and_overlong_payloads(kind: str, variant: Variant) -> None:
    rect = Rect(3, 2, 19, 9)
    values = picture(kind, 19, 9, PixelFormat.RGB565, 5)
    payload = Coder(PixelFormat.RGB565, 16).encode(values, rect, variant).payload
    assert check_first_payload(payload, rect, PixelFormat.RGB565, 16)
    assert not check_first_payload(payload + b"\0", rect, PixelFormat.RGB565, 16)
    assert not check_first_payload(payload + bytes(1000), rect, PixelFormat.RGB565, 16)
    assert not check_first_payload(b"", rect, PixelFormat.RGB565, 16)
    for end in range(1, len(payload), max(1, len(payload) // 40)):
        # A cut payload can by chance be the whole payload of another picture, never of this one.
        if check_first_payload(payload[:end], rect, PixelFormat.RGB565, 16):
            assert judged(Coder(PixelFormat.RGB565, 16), payload[:end], 19, 9) != values


@pytest.mark.parametrize("variant", [2, 3, 0x80, 0xFF])
def test_a_variant_that_does_not_exist(variant: int) -> None:
    payload = Coder(PixelFormat.RGB565, 16).encode([1] * 16, Rect(0, 0, 4, 4)).payload
    message = m.Codec(rect=Rect(0, 0, 4, 4), epoch=0x81, payload=bytes((variant,)) + payload[1:])
    assert refusal(c.Client(device()), message) is Code.BAD_PAYLOAD


def test_a_payload_ends_with_its_rectangle_though_strips_are_pending() -> None:
    """The last row is not handed out before the payload's end was looked at."""
    client = c.Client(device(framebuffer=False, strip_rows=1, hold=True))
    values = picture("noise", 8, 5, PixelFormat.RGB565, 1)
    message = Coder(PixelFormat.RGB565, 16).encode(values, Rect(0, 0, 8, 5))
    connect(client)
    long = dataclasses.replace(message, payload=message.payload + b"\0")
    client.feed(m.Begin(update=1, input=0).encode() + long.encode())
    while client.pending:
        client.draw_done()
    assert client.error is Code.BAD_PAYLOAD
    assert client.draws < 5


# Epochs.


SMALL = Rect(0, 0, 4, 4)


def flat(epoch: int, rect: Rect = SMALL) -> m.Codec:
    """All pixels 0, for a model that has just been reset."""
    payload = Coder(PixelFormat.RGB565, 16).encode([0] * rect.area, rect).payload
    return m.Codec(rect=rect, epoch=epoch, payload=payload)


@pytest.mark.parametrize(
    ("epochs", "code"),
    [
        ([0x81], None),
        ([0x81, 0x82, 0x83], None),
        ([0x01], Code.BAD_VALUE),
        ([0x00], Code.BAD_VALUE),
        ([0x80], Code.BAD_VALUE),
        ([0x82], Code.BAD_VALUE),
        ([0x81, 0x81], Code.BAD_VALUE),
        ([0x81, 0x02], Code.BAD_VALUE),
        ([0x81, 0x00], Code.BAD_VALUE),
        ([*range(0x81, 0x100), 0x80, 0x81], None),
        ([*range(0x81, 0x100), 0x80, 0x80], Code.BAD_VALUE),
    ],
    ids=lambda value: str(value)[:30],
)
def test_epochs(epochs: list[int], code: Code | None) -> None:
    assert refusal(c.Client(device()), *(flat(epoch) for epoch in epochs)) is code


def test_without_a_reset_the_model_goes_on() -> None:
    coder = Coder(PixelFormat.RGB565, 16)
    messages = [coder.encode(picture("text", WIDTH, HEIGHT, PixelFormat.RGB565, 1), WHOLE) for _ in range(3)]
    assert [message.epoch for message in messages] == [0x81, 1, 1]
    assert len(messages[1].payload) < len(messages[0].payload)
    # A reset that the encoder did not make is noticed, at the latest by the bytes that are left or missing.
    other = dataclasses.replace(messages[1], epoch=0x82)
    assert refusal(c.Client(device()), messages[0], other) is Code.BAD_PAYLOAD


@pytest.mark.parametrize(
    ("message", "fields", "code"),
    [
        (flat(0x81), {"kib": 0}, Code.NOT_OFFERED),
        (flat(0x01), {"kib": 0}, Code.NOT_OFFERED),
        (flat(0x81, Rect(0, 0, 17, 1)), {"max_rect_width": 16}, Code.NOT_OFFERED),
        (flat(0x81, Rect(0, 0, 33, 8)), {"max_rect_area": 256}, Code.NOT_OFFERED),
        (flat(0x81, Rect(0, 0, 32, 8)), {"max_rect_area": 256}, None),
        (flat(0x81, Rect(37, 0, 4, 4)), {}, Code.BAD_VALUE),
        (flat(0x81, Rect(0, 21, 4, 4)), {}, Code.BAD_VALUE),
        (flat(0x01, Rect(0, 21, 4, 4)), {}, Code.BAD_VALUE),
    ],
)
def test_limits(message: m.Codec, fields: dict[str, int], code: Code | None) -> None:
    assert refusal(c.Client(device(**fields)), message) is code  # type: ignore[arg-type]


# Set-up.


@pytest.mark.parametrize("kib", [0, *CLASSES])
def test_the_model_is_offered(kib: int) -> None:
    client = c.Client(device(kib=kib))
    hello = connect(client).connection.hello
    assert hello is not None
    assert hello.model_kib == kib


@pytest.mark.parametrize("kib", [1, 15, 17, 64, 256 + 16])
def test_other_sizes_of_a_model_are_refused(kib: int) -> None:
    with pytest.raises(c.ClientError) as caught:
        c.Client(device(kib=kib))
    assert caught.value.code is Code.ARGUMENT


@pytest.mark.parametrize("panel", sorted(PANELS))
def test_panels_offer_what_they_have(panel: str) -> None:
    known = PANELS[panel]
    hello = connect(c.Client(c.ClientConfig.for_panel(known))).connection.hello
    assert hello is not None
    assert hello.model_kib == known.model_kib
    assert (hello.cache is not None) == known.readable
    if hello.cache is not None:
        assert (hello.cache.slots, hello.cache.slot_bytes) == (known.cache_slots, known.cache_slot_bytes)
    assert hello.jpeg == m.JpegOffer(subsamplings=15, scales=3)
    bare = c.Client(c.ClientConfig.for_panel(known, codec=False, cache=False, jpeg=False, copy=False))
    hello = connect(bare).connection.hello
    assert hello is not None
    assert (hello.model_kib, hello.cache, hello.jpeg, hello.capabilities) == (0, None, None, 0)


def test_the_memory_of_a_client_with_a_model() -> None:
    client = c.Client(c.ClientConfig.for_panel(PANELS["threadx-512"]))
    assert client.memory_size <= 64 << 10
