"""What counts bytes: the proxy, the splitter of our messages, the reader of TigerVNC's stream."""

import io
import socket
import struct
import threading
import zlib

import numpy as np
from PIL import Image

from tilewire.protocol import messages as m
from tilewire.protocol.wire import PREFIX

from bench import rfb
from bench.frames import Pixels
from bench.ours import Splitter
from bench.proxy import counting_proxy


def test_proxy_counts_both_ways() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(5)
                peer.sendall(b"x" * 100_000)

        answering = threading.Thread(target=answer)
        answering.start()
        with counting_proxy(address) as proxy:
            with socket.create_connection(("127.0.0.1", proxy.port)) as viewer:
                viewer.sendall(b"hello")
                received = b"".join(iter(lambda: viewer.recv(65536), b""))
            answering.join()
            assert len(received) == proxy.down == 100_000
            assert proxy.up == 5
            assert proxy.stream() == received
            assert proxy.arrived_s(1) <= proxy.arrived_s(100_000)


def test_splitter_finds_messages_in_any_split() -> None:
    greeting = PREFIX.pack(b"TEST", 1, 1, 3) + b"abc"
    messages = [greeting, m.Bell().encode(), m.Begin(update=300, input=0).encode(), m.End().encode()]
    stream = b"".join(messages)
    for size in (1, 2, 5, len(stream)):
        splitter = Splitter()
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [message for part in parts for message in splitter.feed(part)] == messages


def server_stream(*updates: bytes, width: int = 32, height: int = 16) -> bytes:
    """What an RFB server says first, then these updates."""
    pixel_format = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
    name = b"desk"
    head = b"RFB 003.008\n" + b"\x01\x01" + bytes(4) + struct.pack(">HH", width, height) + pixel_format
    return head + struct.pack(">I", len(name)) + name + b"".join(updates)


def update(*rects: bytes) -> bytes:
    return struct.pack(">BxH", 0, len(rects)) + b"".join(rects)


def rect(x: int, y: int, width: int, height: int, encoding: int, body: bytes) -> bytes:
    return struct.pack(">HHHHi", x, y, width, height, encoding) + body


def compact(data: bytes) -> bytes:
    size = len(data)
    return (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + data


def test_tight_is_taken_apart_and_decoded() -> None:
    fill = rect(0, 0, 32, 16, rfb.TIGHT, b"\x80\x0a\x14\x1e")
    mono = rect(0, 0, 8, 2, rfb.TIGHT, b"\x40\x01\x01" + bytes(3) + b"\xff" * 3 + b"\xf0\x0f")
    pixels = bytes(range(48)) * 4
    full = rect(16, 0, 8, 8, rfb.TIGHT, b"\x00" + compact(zlib.compress(pixels)))
    picture = io.BytesIO()
    Image.new("RGB", (16, 8), (200, 100, 50)).save(picture, "JPEG", quality=95)
    photo = rect(0, 8, 16, 8, rfb.TIGHT, b"\x90" + compact(picture.getvalue()))
    cursor = rect(0, 0, 8, 1, rfb.CURSOR, bytes(8 * 4 + 1))
    shown: list[Pixels] = []
    fence = struct.pack(">Bxxx I B", 248, 0, 4) + b"abcd"
    stream = server_stream(update(fill), fence, update(mono, full, cursor), update(photo))
    seen = list(rfb.parse(stream, lambda _, now: shown.append(now.copy())))
    assert [(one.pixels, one.lossy, one.cursor_bytes) for one in seen] == [
        (512, False, 0),
        (80, False, 12 + 33),
        (128, True, 0),
    ]
    assert seen[-1].end == len(stream)
    assert (shown[0] == (10, 20, 30)).all()
    assert shown[1][0, 0].tolist() == [255] * 3
    assert shown[1][0, 4].tolist() == [0] * 3
    assert shown[1][0:8, 16:24].tobytes() == pixels
    assert np.abs(shown[2][8:16, 0:16].astype(int) - (200, 100, 50)).max() < 8


def test_update_that_is_cut_off_is_left_out() -> None:
    stream = server_stream(update(rect(0, 0, 32, 16, rfb.TIGHT, b"\x80\x0a\x14\x1e")))
    assert len(list(rfb.parse(stream))) == 1
    assert list(rfb.parse(stream[:-1])) == []
