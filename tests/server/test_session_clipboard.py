"""The clipboard between devices and real X programs: both ways, whole, to all but whom it came from, and bounded."""

from __future__ import annotations

import random
import tracemalloc

import pytest
import trio

from tilewire.protocol import Capability, Code, NoticeCode, Rect
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_CLIPBOARD, ControlAction
from tilewire.server.x11 import selections

from tests.server.xclient import copier, key_reader, painter, paster
from tests.support import EVERYTHING, Device, Served, device, hello, quiet

CLIPBOARD = EVERYTHING | Capability.CLIPBOARD
CONTROL_L, LETTER_V = 0xFFE3, 0x76
TEXTS = ["", "plain", "Grüße, 世界 🦊\n\ttab", "NUL \0 in it", "\U0010ffff" * 5]
LONG = ("0123456789abcde" + "\n") * (MAX_CLIPBOARD // 16)
CUT = "é世🦊" * 999
"""Wherever a chunk ends, it cuts a character sooner or later."""
MOST = 4096
"""Bytes of a message that a server takes."""


pytestmark = pytest.mark.usefixtures("nothing_stays_open")


def greeting(capabilities: int = CLIPBOARD, max_message: int = 65536) -> m.Hello:
    return hello(capabilities=capabilities, max_message=max_message)


def chunks(data: bytes, size: int = 1000) -> list[m.Clipboard]:
    starts = range(0, max(len(data), 1), size)
    return [m.Clipboard(total=len(data), offset=at, data=data[at : at + size]) for at in starts]


async def copy(one: Device, text: str, size: int = 1000) -> None:
    """The device's user copies something."""
    for chunk in chunks(text.encode(), size):
        await one.say(chunk)


def heard(one: Device) -> list[str]:
    """The texts that came whole."""
    found, coming = [], b""
    for chunk in one.all(m.Clipboard):
        if not chunk.offset:
            coming = b""
        assert len(coming) == chunk.offset
        coming += chunk.data
        if len(coming) == chunk.total:
            found.append(coming.decode())
    return found


async def until_heard(one: Device, text: str) -> None:
    await one.until(lambda: heard(one)[-1:] == [text])


async def pasted(server: Served, selection: str = "CLIPBOARD") -> str:
    """What a program pastes."""
    with paster(server.name) as program:
        found = await program.paste("UTF8_STRING", selection)
    assert found is not None
    value = found[1]
    assert isinstance(value, bytes)
    return value.decode()


async def dealt_with(one: Device) -> None:
    """All that the device said has been carried out."""
    number = await one.key(CONTROL_L, pressed=False)
    await one.until(lambda: one.echoed == number)


async def noticed(one: Device, code: NoticeCode) -> None:
    await one.until(lambda: any(notice.code == code for notice in one.all(m.Notice)))


def in_utf8(text: str) -> dict[str, bytes | None]:
    return {"UTF8_STRING": text.encode()}


# Both ways


@pytest.mark.parametrize("text", [*TEXTS, CUT, LONG], ids=["empty", "plain", "signs", "nul", "astral", "cut", "long"])
@pytest.mark.parametrize("max_message", [1024, 65536])
async def test_a_text_out_of_the_session_and_into_it(server: Served, text: str, max_message: int) -> None:
    async with device(server.port, greeting(max_message=max_message)) as one:
        async with copier(server.name, in_utf8(text), part=None if len(text) < 9999 else 50_000) as program:
            program.take()
            await until_heard(one, text)
        sent = one.all(m.Clipboard)
        assert all(len(chunk.encode()) <= max_message + 3 for chunk in sent)
        assert len(sent) >= len(text.encode()) / max_message
        back = text[::-1]
        await copy(one, back, min(max_message, MOST) - 20)
        await dealt_with(one)
        assert await pasted(server) == back
        # What a terminal pastes.
        assert await pasted(server, "PRIMARY") == back
        assert heard(one) == [text]
        assert one.all(m.Notice) == []


async def test_a_character_is_cut_anywhere(server: Served) -> None:
    text = "a世🦊é" * 20
    async with device(server.port, greeting()) as one:
        for size in range(1, 12):
            await copy(one, f"{size} {text}", size)
            await dealt_with(one)
            assert await pasted(server) == f"{size} {text}"


async def test_what_one_device_copies_reaches_the_others_and_not_itself(server: Served) -> None:
    async with (
        device(server.port, greeting()) as one,
        device(server.port, greeting(max_message=1024)) as two,
        device(server.port, greeting()) as three,
        device(server.port) as deaf,
    ):
        for text in ("first", CUT, "", LONG):
            await copy(one, text, MOST - 20)
            for other in (two, three):
                await until_heard(other, text)
            await dealt_with(one)
            assert await pasted(server) == text
        await one.say(m.Control(action=ControlAction.PASS, viewer=two.welcome.viewer))
        await copy(one, "too late")
        await copy(two, "from the second")
        for other in (one, three):
            await until_heard(other, "from the second")
        assert await pasted(server) == "from the second"
        # A program copies what is there already: that is news to all.
        async with copier(server.name, in_utf8("from the second")) as program:
            program.take()
            await two.until(lambda: heard(two)[-1:] == ["from the second"])
        assert heard(one)[0] == "from the second"
        assert heard(two)[:4] == ["first", CUT, "", LONG]
        assert deaf.all(m.Clipboard) == []


async def test_who_only_looks_gets_nothing_and_sends_nothing(server: Served) -> None:
    looks = greeting(CLIPBOARD | Capability.VIEW_ONLY)
    async with device(server.port, greeting()) as one:
        async with device(server.port, looks) as looker:
            assert not looker.welcome.capabilities & Capability.CLIPBOARD
            await copy(one, "secret")
            await dealt_with(one)
            async with copier(server.name, in_utf8("of the session")) as program:
                program.take()
                await until_heard(one, "of the session")
            assert looker.all(m.Clipboard) == []
            for chunk in chunks(b"from nowhere"):
                await looker.say_raw(chunk.encode())
            goodbye = await looker.until_ended()
            assert goodbye is not None
            assert goodbye.code == Code.NOT_OFFERED
        assert heard(one) == ["of the session"]


async def test_without_the_capability_it_is_refused(server: Served) -> None:
    async with device(server.port) as one:
        await one.say_raw(chunks(b"text")[0].encode())
        goodbye = await one.until_ended()
        assert goodbye is not None
        assert goodbye.code == Code.NOT_OFFERED


async def test_who_does_not_hold_control_is_told(server: Served) -> None:
    async with device(server.port, greeting()) as one, device(server.port, greeting()) as two:
        await copy(one, "kept")
        await until_heard(two, "kept")
        await copy(two, "dropped")
        await noticed(two, NoticeCode.CLIPBOARD)
        assert await pasted(server) == "kept"
        assert heard(one) == []
        # It hears as before.
        await copy(one, "next")
        await until_heard(two, "next")


# What is no text


BROKEN = [b"\xff", b"half \xe4\xb8", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"a" * 5000 + b"\x80"]


async def test_what_is_not_utf_8_is_dropped_and_told(server: Served) -> None:
    async with device(server.port, greeting()) as one, device(server.port, greeting()) as two:
        await copy(one, "good")
        await until_heard(two, "good")
        for data in BROKEN:
            for chunk in chunks(data, 700):
                await one.say(chunk)
        await noticed(one, NoticeCode.CLIPBOARD)
        await dealt_with(one)
        assert await pasted(server) == "good"
        await copy(one, "better")
        await until_heard(two, "better")
        assert await pasted(server) == "better"
        assert heard(two) == ["good", "better"]


async def test_one_notice_does_not_hide_another(server: Served) -> None:
    async with device(server.port) as holder, device(server.port, greeting()) as one:
        await one.key(LETTER_V)
        await noticed(one, NoticeCode.VIEW_ONLY)
        await one.say(chunks(b"\xff")[0])
        await noticed(one, NoticeCode.CLIPBOARD)
        # But a thousand of the same are not told one by one.
        for _ in range(1000):
            await one.say(chunks(b"\xff")[0])
        await one.say(m.Ping(stamp=1))
        await one.until(lambda: one.last(m.Pong))
        assert len(one.all(m.Notice)) < 500
        assert not holder.ended


async def test_beginning_again_and_again(server: Served) -> None:
    """Only first chunks: none is a text, and the last one that goes on is."""
    async with device(server.port, greeting()) as one, device(server.port, greeting()) as two:
        await copy(one, "good")
        begins = m.Clipboard(total=MAX_CLIPBOARD, offset=0, data=bytes(1000))
        for _ in range(3000):
            await one.say(begins)
        await dealt_with(one)
        assert await pasted(server) == "good"
        for _ in range(20):
            await one.say(chunks(CUT.encode())[0])
            await one.say(chunks(CUT.encode())[1])
        await copy(one, CUT)
        await until_heard(two, CUT)
        assert heard(two) == ["good", CUT]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([m.Clipboard(total=10, offset=5, data=b"12345")], Code.BAD_STATE),
        ([m.Clipboard(total=10, offset=0, data=b"12345"), m.Clipboard(total=10, offset=6, data=b"1")], Code.BAD_STATE),
        ([m.Clipboard(total=10, offset=0, data=b"12345"), m.Clipboard(total=11, offset=5, data=b"1")], Code.BAD_STATE),
        ([m.Clipboard(total=3, offset=0, data=b"12345")], Code.BAD_VALUE),
        ([m.Clipboard(total=3, offset=0, data=b"")], Code.BAD_VALUE),
    ],
)
async def test_chunks_that_do_not_follow_end_the_connection(
    server: Served, said: list[m.Clipboard], code: Code
) -> None:
    async with device(server.port, greeting()) as witness, device(server.port, greeting()) as one:
        for chunk in said:
            await one.say_raw(chunk.encode())
        goodbye = await one.until_ended()
        assert goodbye is not None
        assert goodbye.code == code
        await copy(witness, "unharmed")
        await dealt_with(witness)
        assert await pasted(server) == "unharmed"


# With the rest


async def test_a_text_is_there_before_the_key_that_pastes_it(server: Served) -> None:
    with key_reader(server.name) as reader, paster(server.name) as program:
        program.window.unmap()
        reader.window.set_input_focus(0, 0)
        reader.display.sync()
        keys = [reader.keycode(CONTROL_L), reader.keycode(LETTER_V)]
        async with device(server.port, greeting()) as one:
            for number in range(25):
                text = f"{number} " + "é" * (5000 * (number % 5))
                await copy(one, text, MOST - 20)
                for keysym in (CONTROL_L, LETTER_V):
                    await one.key(keysym)
                for keysym in (LETTER_V, CONTROL_L):
                    await one.key(keysym, pressed=False)
                assert await reader.changes(2) == [("down", key) for key in keys]
                # As fast as a program can be.
                found = await program.paste("UTF8_STRING")
                assert found is not None
                assert found[1] == text.encode()
                assert await reader.changes(2) == [("up", key) for key in reversed(keys)]


async def test_pixels_go_on_while_a_long_text_comes_and_goes(server: Served) -> None:
    with painter(server.name) as client:
        async with device(server.port, greeting(max_message=1024)) as one:
            await server.until_exact(one)
            async with copier(server.name, in_utf8(LONG), part=60_000) as program:
                program.take()
                await one.until(lambda: one.last(m.Clipboard))
                for number in range(1, 8):
                    client.fill(Rect(number, 3, 50, 60), 0x112233 * number)
                    await server.until_exact(one)
                await until_heard(one, LONG)
            # Half of one into the session.
            data = LONG[::-1].encode()
            for number, chunk in enumerate(chunks(data, 990)):
                await one.say(chunk)
                if number % 40 == 20:
                    client.fill(Rect(number % 90, 3, 50, 60), 0x010203 * number)
                    await server.until_exact(one)
            await dealt_with(one)
            assert await pasted(server) == data.decode()


async def test_a_paused_device_gets_its_text(server: Served) -> None:
    async with device(server.port, greeting()) as one:
        await one.say(m.Pause(paused=1))
        async with copier(server.name, in_utf8(CUT)) as program:
            program.take()
            await until_heard(one, CUT)


async def test_the_newest_text_wins(server: Served) -> None:
    """A device that reads slowly gets whole texts, and the last one in the end."""
    async with device(server.port, greeting(max_message=1024)) as one, device(server.port, greeting()) as slow:
        slow.hold()
        texts = [f"{number} " + LONG[: 5000 * number] for number in range(1, 40)]
        for text in texts:
            await copy(one, text, 990)
        await dealt_with(one)
        slow.read_on()
        await until_heard(slow, texts[-1])
        assert set(heard(slow)) <= set(texts)


# Programs and devices that harm


async def test_an_owner_that_never_answers_stops_nobody(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selections, "STALL_S", 0.2)
    with painter(server.name) as client:
        async with device(server.port, greeting()) as one, device(server.port, greeting()) as two:
            async with copier(server.name, in_utf8("never")) as program:
                program.silent = True
                program.take()
                await program.until(lambda: program.requests)
                client.fill(Rect(1, 2, 50, 60), 0x445566)
                await server.until_exact(one, two)
                await dealt_with(one)
                await copy(one, "over it")
                await until_heard(two, "over it")
                assert await pasted(server) == "over it"
            async with copier(server.name, in_utf8("again")) as program:
                program.take()
                await until_heard(one, "again")
                await until_heard(two, "again")
            assert heard(one) == ["again"]
            assert one.all(m.Notice) == two.all(m.Notice) == []


async def test_a_program_that_copies_all_the_time(server: Served) -> None:
    with painter(server.name) as client:
        async with device(server.port, greeting(max_message=1024)) as one:
            for number in range(60):
                async with copier(server.name, in_utf8(f"{number} " + CUT), part=8000) as program:
                    program.take()
                    if number % 3 == 0:
                        await program.until(lambda: program.requests)
                    if number == 59:
                        await until_heard(one, "59 " + CUT)
            client.fill(Rect(1, 2, 50, 60), 0x445566)
            await server.until_exact(one)


async def test_a_flood_of_texts_does_not_fill_the_memory(server: Served) -> None:
    """While the X server takes nothing, a device that sends text after text has to wait."""
    # As str, each character of such a text takes four bytes.
    text = "🦊" + "x" * (MAX_CLIPBOARD - 4)
    data = b"".join(chunk.encode() for chunk in chunks(text.encode(), MOST - 20))
    with painter(server.name) as client:
        async with device(server.port, greeting()) as one, device(server.port, greeting()) as two:
            await dealt_with(one)
            async with trio.open_nursery() as nursery:

                async def flood() -> None:
                    for _ in range(60):
                        await one.say_raw(data)

                tracemalloc.start()
                try:
                    client.grab_server()
                    nursery.start_soon(flood)
                    await quiet(0.2)
                    taken, _ = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                    client.ungrab_server()
                print(f"{taken >> 10} KiB taken by a flood of texts")
                assert taken < 8 << 20
                # And afterwards all goes on.
            await copy(one, "the last")
            await until_heard(two, "the last")
            assert await pasted(server) == "the last"


async def test_texts_from_both_sides_at_once(server: Served) -> None:
    """Whoever was last, all agree in the end with what programs paste."""
    chance = random.Random(7)
    async with device(server.port, greeting()) as one, device(server.port, greeting(max_message=1024)) as two:
        for number in range(10):
            async with copier(server.name, in_utf8(f"program {number}"), part=5) as program:
                if chance.random() < 0.5:
                    program.take()
                    await copy(one, f"device {number}")
                    await dealt_with(one)
                else:
                    await copy(one, f"device {number}")
                    await dealt_with(one)
                    program.take()
                    await until_heard(one, f"program {number}")
                await until_heard(two, await pasted(server))
