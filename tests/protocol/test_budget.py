"""Small things stay small: bytes from BEGIN to END, and back, with numbers as large as they grow in days."""

import pytest

from tilewire.protocol import PixelFormat, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.wire import Message

from tests.protocol.support import CLIENT, SERVER, Pair, generous
from tests.protocol.test_reference import encode_packed, encode_runs

# 60 updates and 100 inputs a second for a month.
UPDATE, INPUT = 60 * 86400 * 30, 100 * 86400 * 30
GLYPH = """
..........
..####....
.##..##...
.....##...
..#####...
.##..##...
.##..##...
..###.##..
..........
"""


def size(*operations: Message) -> int:
    """Bytes on the wire of an update."""
    listed = [m.Begin(update=UPDATE, input=INPUT), *operations, m.End()]
    return sum(len(message.encode()) for message in listed)


@pytest.mark.parametrize("pixel_format", PixelFormat, ids=lambda item: item.name)
def test_a_blinking_caret_takes_40_bytes(pixel_format: PixelFormat) -> None:
    caret = Rect(1279, 700, 2, 18)
    assert size(m.Fill(rect=caret, pixel=bytes(pixel_format.packed))) <= 40
    assert size(m.Fill(rect=caret, pixel=bytes(3)), m.Fill(rect=caret, pixel=bytes(3))) <= 40
    # Or as a palette, for an underline below a caret.
    pixels = [0] * 30 + [1] * 6
    assert size(m.Palette(rect=caret, payload=encode_packed(pixel_format, 2, pixels))) <= 50
    assert size(m.Palette(rect=caret, payload=encode_runs(pixel_format, pixels, 99))) <= 40


@pytest.mark.parametrize("pixel_format", PixelFormat, ids=lambda item: item.name)
def test_a_typed_character_takes_150_bytes(pixel_format: PixelFormat) -> None:
    """The glyph, and the caret that was and that is."""
    rows = GLYPH.split()
    pixels = [int(sign == "#") for row in rows for sign in row]
    glyph = Rect(100, 200, len(rows[0]), len(rows))
    payload = min(encode_packed(pixel_format, glyph.width, pixels), encode_runs(pixel_format, pixels, 99), key=len)
    carets = [m.Fill(rect=Rect(x, 200, 2, 18), pixel=bytes(pixel_format.packed)) for x in (100, 110)]
    assert size(*carets, m.Palette(rect=glyph, payload=payload)) <= 150


def test_an_acknowledgement_takes_12_bytes() -> None:
    assert len(m.Ack(update=0xFFFF_FFFF, decode_us=0xFFFF_FFFF).encode()) <= 12
    assert len(m.Ack(update=100, decode_us=100).encode()) == 4


def test_a_whole_blink_as_it_goes_over_the_wire() -> None:
    pair = Pair(generous()).open()
    server, client = pair.ends[SERVER], pair.ends[CLIENT]
    there = server.send(m.Begin(update=1, input=0))
    there += server.send(m.Fill(rect=Rect(3, 2, 1, 5), pixel=b"\0\0")) + server.send(m.End())
    client.receive_data(there)
    for _ in range(3):
        client.next_event()
    assert len(there) == 4 + 10 + 2
    assert len(client.send(m.Ack(update=1, decode_us=0))) == 4
