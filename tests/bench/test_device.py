"""`python -m bench device`: the relay counts what went through it, updates of a pan are read rightly, and it runs."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tilewire.protocol import Point, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.wire import PREFIX, Message

from bench import device, motions, panning, report
from bench.panning import PANEL, Step, steps, to_and_fro
from bench.relay import open_relay
from bench.report import Row

DELAY_S = 0.05


def stream(*messages: Message) -> bytes:
    """What a server sends: a hello without fields, and these."""
    return PREFIX.pack(b"\x97TW\n", 1, 1, 0) + b"".join(message.encode() for message in messages)


def window(x: int, y: int) -> m.ViewState:
    size = m.Size(width=1024, height=600)
    return m.ViewState(mode=0, rotation=0, follow=0, session=size, window=Rect(x, y, PANEL.width, PANEL.height))


async def test_the_relay_counts_bytes_and_round_trips() -> None:
    """A server that says two things at once, and one more after an answer: two round trips."""

    async def serve(stream: trio.SocketStream) -> None:
        assert await stream.receive_some() == b"hello"
        await stream.send_all(b"one")
        await trio.lowlevel.checkpoint()
        await stream.send_all(b"two")
        if await stream.receive_some() == b"more":
            await stream.send_all(b"three")
            await stream.receive_some()

    async def receive(stream: trio.SocketStream, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await stream.receive_some()
        return data

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        async with open_relay(f"127.0.0.1:{listener.socket.getsockname()[1]}", DELAY_S) as relay:
            async with await trio.open_tcp_stream("127.0.0.1", relay.port) as end:
                await end.send_all(b"hello")
                assert await receive(end, 6) == b"onetwo"
                assert relay.line.round_trips == 1
                await end.send_all(b"more")
                assert await receive(end, 5) == b"three"
                assert relay.line.round_trips == 2
                assert (relay.line.down, relay.line.up) == (11, 9)
                assert relay.line.stream == b"onetwothree"
                relay.cut(hold=True)
                assert await end.receive_some() == b""
            async with await trio.open_tcp_stream("127.0.0.1", relay.port) as again:
                await again.send_all(b"hello")
                await wait_all_tasks_blocked()
                assert len(relay.lines) == 1
                relay.release()
                assert await receive(again, 6) == b"onetwo"
                assert relay.line.round_trips == 1
        nursery.cancel_scope.cancel()


def test_updates_of_a_pan_are_told_apart() -> None:
    raw = m.Raw(rect=Rect(318, 0, 2, 4), payload=bytes(16))
    inner = m.Fill(rect=Rect(100, 0, 4, 4), pixel=bytes(2))
    whole = m.Fill(rect=Rect(0, 0, 320, 240), pixel=bytes(2))
    copy = m.Copy(rect=Rect(0, 0, 318, 240), source=Point(2, 0))
    updates: tuple[tuple[Message, ...], ...] = (
        (window(0, 0), m.Begin(update=1, input=0), whole, m.End()),
        (window(2, 0), m.Begin(update=2, input=0), copy, raw, m.End()),
        (m.Bell(), window(4, 0), m.Begin(update=3, input=0), copy, inner, m.End()),
    )
    sizes = [sum(len(message.encode()) for message in update) for update in updates]
    first, lean, other = steps(stream(*(message for update in updates for message in update), m.Bell()), PANEL)
    assert [step.bytes for step in (first, lean, other)] == sizes
    assert (first.drawn, first.edge, first.lean) == (320 * 240, 320 * 240, False)
    edge_bytes = len(raw.encode())
    assert lean == Step((2, 0), bytes=sizes[1], copied=318 * 240, drawn=8, edge=2 * 240, edge_bytes=edge_bytes)
    assert lean.lean
    assert (other.inner, other.edge_bytes, other.lean) == (1, 0, False)
    summary = panning.summary([lean, other])
    assert summary["lean_%"] == 50
    assert summary["edge_bits"] == 8 * edge_bytes / (2 * 2 * 240)


def test_a_window_turns_round_where_the_session_ends() -> None:
    assert list(to_and_fro(6, 4, 10)) == [4, 8, 4, 0, 4, 8]
    assert list(to_and_fro(3, 0, 10)) == [0, 0, 0]


def test_each_motion_goes_somewhere() -> None:
    places = list(motions.zigzag(500))
    left, right, top, bottom = motions.STRIP
    assert all(left <= x <= right and top <= y < bottom for x, y in places)
    assert all(one != other for one, other in pairwise(places))


def test_what_was_aimed_at_is_named() -> None:
    back: Row = {"program": "docs", "panel": "1024x600", "again_%": 2.5, "welcome_rt": 1.0, "picture_rt_again": 2.0}
    other = {**back, "program": "xterm", "again_%": 1.5}
    lines = device.verdicts({"reconnect": [back, other], "pan": [{"updates_per_s": 59.0}, {"updates_per_s": 29.0}]})
    assert [line.rpartition(": ")[2] for line in lines] == ["MISSED", "met", "met", "MISSED"]
    assert device.verdicts({}) == []


def test_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(report, "OUT", tmp_path)
    assert device.main(["--quick", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == json.loads((tmp_path / "device.json").read_text())
    back = [row for row in rows if row["table"] == "reconnect"]
    assert [row["transport"] for row in back] == ["native", "websocket"]
    assert all(row["picture_rt_again"] == row["welcome_rt"] for row in back)
    assert all(row["again"] < row["first"] / 10 for row in back)
    assert {row["pixel_bytes"] for row in rows if row.get("cursor") == "LOCAL" and "pixel_bytes" in row} == {0}
    pans = [row for row in rows if row["table"] == "pan"]
    assert len(pans) == len(panning.QUICK_WAYS)
    assert all(row["by_copy_%"] > 80 for row in pans)
