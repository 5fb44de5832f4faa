"""The clipboard on a real Xvfb, both ways, with clients that behave and clients that do not."""

from __future__ import annotations

import base64
import os
import random
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from Xlib import X

from tilewire.protocol.constants import MAX_CLIPBOARD
from tilewire.protocol.geometry import Rect
from tilewire.server.display import (
    Button,
    ClipboardFailed,
    ClipboardText,
    Display,
    PointerMove,
)
from tilewire.server.x11 import selections
from tilewire.server.x11.process import start_child
from tilewire.server.xvfb import XvfbServer, start_xvfb

from tests.server.displays import all_news, nothing_is_left, settled, until, would_wait
from tests.server.xclient import Painter, Paster, copier, painter, paster

TEXTS = ["", "plain", "Grüße, 世界 🦊\n\ttab", "NUL \0 in it", "\U0010ffff" * 5]
# More than one request holds.
LONG = "0123456789abcdef" * (MAX_CLIPBOARD // 16)
PART = 20_000

_nothing_is_left = pytest.fixture(autouse=True)(nothing_is_left)


@pytest.fixture
async def xvfb() -> AsyncIterator[XvfbServer]:
    async with start_xvfb(320, 200) as server:
        yield server


@pytest.fixture
async def display(xvfb: XvfbServer) -> AsyncIterator[Display]:
    """One that wants the clipboard, and has nothing to tell yet."""
    async with settled(xvfb.display_name) as opened:
        opened.want_clipboard(True)
        await all_news(opened)
        yield opened


@contextmanager
def impatience(name: str) -> Iterator[None]:
    """A limit of time is short, for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selections, name, 0.1)
        yield


def utf8(text: str) -> dict[str, bytes | None]:
    return {"UTF8_STRING": text.encode()}


async def copied(display: Display) -> str:
    """What a program has copied."""
    return (await until(display.news(), ClipboardText, lambda news: not news.owner)).text


async def failed(display: Display) -> str:
    return (await until(display.news(), ClipboardFailed)).reason


async def is_as_good_as_ever(display: Display) -> None:
    """It shows, takes input, and brings the next text."""
    with painter(display.name) as client:
        client.fill(Rect(1, 2, 3, 4), 0xABCDEF)
        await display.wait_damage()
        await display.capture()
        await display.inject([PointerMove(9, 9)], owner=1, serial=10_000)
        assert display.pointer == (9, 9)
    async with copier(display.name, utf8("as good as ever")) as owner:
        owner.take()
        assert await copied(display) == "as good as ever"
    # And then it rests.
    with trio.fail_after(20):
        while not await would_wait(display.wait_damage):
            await display.capture()
    before = display.wakeups
    await wait_all_tasks_blocked(0.01)
    assert display.wakeups == before
    await all_news(display)


# Out of the session.


@pytest.mark.parametrize("text", TEXTS)
async def test_what_a_program_copies_is_news(display: Display, text: str) -> None:
    async with copier(display.name, utf8(text)) as owner:
        owner.take()
        assert await copied(display) == text
        assert owner.requests == ["UTF8_STRING"]


@pytest.mark.parametrize(
    ("offers", "expected", "asked"),
    [
        ({"text/plain;charset=utf-8": "Grüße".encode()}, "Grüße", 2),
        ({"STRING": "Grüße".encode("latin-1")}, "Grüße", 3),
        ({"UTF8_STRING": b"first", "STRING": b"last"}, "first", 1),
    ],
)
async def test_the_best_that_a_program_offers_is_taken(
    display: Display, offers: dict[str, bytes | None], expected: str, asked: int
) -> None:
    async with copier(display.name, offers) as owner:
        owner.take()
        assert await copied(display) == expected
        assert owner.requests == ["UTF8_STRING", "text/plain;charset=utf-8", "STRING"][:asked]


@pytest.mark.parametrize("part", [None, PART, MAX_CLIPBOARD])
async def test_as_much_as_a_clipboard_holds_and_no_more(display: Display, part: int | None) -> None:
    # In one request python-xlib cannot send so much: only what it can then.
    most = MAX_CLIPBOARD if part == PART else 262_000
    async with copier(display.name, utf8(LONG[:most]), part=part) as owner:
        owner.take()
        assert await copied(display) == LONG[:most]
    if part == PART:
        async with copier(display.name, utf8(LONG + "!"), part=part) as owner:
            owner.take()
            assert await failed(display) == f"it is longer than {MAX_CLIPBOARD} bytes"
        await is_as_good_as_ever(display)


async def test_latin_1_counts_as_what_it_becomes(display: Display) -> None:
    async with copier(display.name, {"STRING": b"\xe9" * (MAX_CLIPBOARD // 2 + 1)}) as owner:
        owner.take()
        assert await failed(display) == f"it is longer than {MAX_CLIPBOARD} bytes"


async def test_nobody_is_asked_while_nobody_wants_it(xvfb: XvfbServer) -> None:
    async with settled(xvfb.display_name) as display, copier(display.name, utf8("secret")) as owner:
        owner.take()
        await display.capture()
        await all_news(display)
        assert owner.requests == []
        # What is there already is the first news.
        display.want_clipboard(True)
        assert await copied(display) == "secret"
        display.want_clipboard(False)
        owner.take()
        assert await all_news(display) == []
        assert owner.requests == ["UTF8_STRING"]


async def test_an_empty_clipboard_is_no_news(display: Display) -> None:
    async with copier(display.name, utf8("gone")) as owner:
        owner.take()
        assert await copied(display) == "gone"
        owner.let_go()
        assert await all_news(display) == []


async def test_another_selection_is_no_news(display: Display) -> None:
    async with copier(display.name, utf8("marked")) as owner:
        owner.take("PRIMARY")
        assert await all_news(display) == []


async def test_two_texts_in_a_row_are_both_told_in_order(display: Display) -> None:
    async with copier(display.name, utf8("one")) as first, copier(display.name, utf8("two")) as second:
        for _ in range(20):
            first.take()
            assert await copied(display) == "one"
            second.take()
            assert await copied(display) == "two"


async def test_a_newer_text_ends_the_wait_for_an_older(display: Display) -> None:
    async with copier(display.name, utf8(LONG), part=PART) as slow, copier(display.name, utf8("newer")) as quick:
        slow.may_go_on = trio.Event()
        slow.take()
        await slow.until(lambda: slow.requests)
        quick.take()
        assert await copied(display) == "newer"
        # What the first does now is nobody's business any more.
        slow.may_go_on.set()
        assert await all_news(display) == []
        await is_as_good_as_ever(display)


@pytest.mark.parametrize("part", [None, PART])
async def test_who_answers_late_is_not_taken_for_who_owns_it_now(display: Display, part: int | None) -> None:
    async with copier(display.name, utf8("older"), part=part) as slow, copier(display.name, utf8("newer")) as quick:
        slow.may_go_on, quick.may_go_on = trio.Event(), trio.Event()
        slow.take()
        await slow.until(lambda: slow.requests)
        quick.take()
        await quick.until(lambda: quick.requests)
        slow.may_go_on.set()
        await wait_all_tasks_blocked()
        await display.inject([], owner=1, serial=1)
        quick.may_go_on.set()
        assert await copied(display) == "newer"


@pytest.mark.parametrize("raw", [b"\xff", b"half \xe4\xb8", "\ud800".encode("utf-8", "surrogatepass"), b"\xc0\x80"])
async def test_what_is_not_utf_8_is_no_text(display: Display, raw: bytes) -> None:
    async with copier(display.name, {"UTF8_STRING": raw}) as owner:
        owner.take()
        assert await failed(display) == "it is not UTF-8"
    await is_as_good_as_ever(display)


async def test_a_picture_is_no_text(display: Display) -> None:
    async with copier(display.name, {"image/png": b"\x89PNG"}) as owner:
        owner.take()
        assert await failed(display) == "its owner offers no text"


async def test_an_owner_that_dies_amid_a_text(display: Display) -> None:
    async with copier(display.name, utf8(LONG), part=PART) as owner:
        owner.pause_after = 3
        owner.take()
        await owner.until(lambda: owner.parts == 3)
    assert await failed(display) == "its owner went away"
    await is_as_good_as_ever(display)


async def test_an_owner_that_never_answers(display: Display) -> None:
    async with copier(display.name, utf8("never said")) as owner:
        owner.silent = True
        with impatience("STALL_S"):
            owner.take()
            assert await failed(display) == "its owner did nothing for 0.1 s"
        await is_as_good_as_ever(display)


async def test_an_owner_that_stops_amid_a_text(display: Display) -> None:
    async with copier(display.name, utf8(LONG), part=PART) as owner:
        owner.may_go_on = trio.Event()
        with impatience("STALL_S"):
            owner.take()
            assert await failed(display) == "its owner did nothing for 0.1 s"
        await is_as_good_as_ever(display)


@pytest.mark.parametrize(
    ("size", "reason"), [(1, "it was not whole after 0.1 s"), (PART, "it is longer than 262144 bytes")]
)
async def test_an_owner_that_comes_to_no_end(display: Display, size: int, reason: str) -> None:
    async with copier(display.name, utf8("x" * size), part=size) as owner:
        owner.endless = True
        with impatience("READING_S") if size == 1 else nullcontext():
            owner.take()
            assert await failed(display) == reason
        await is_as_good_as_ever(display)


async def test_a_server_that_is_grabbed_amid_a_text(display: Display) -> None:
    with painter(display.name) as client:
        async with copier(display.name, utf8(LONG), part=PART) as owner, trio.open_nursery() as nursery:
            owner.take()
            await owner.until(lambda: owner.parts >= 3)
            client.grab_server()
            nursery.start_soon(display.capture)
            nursery.start_soon(_ungrab_soon, client)
            assert await copied(display) == LONG


async def _ungrab_soon(client: Painter) -> None:
    await wait_all_tasks_blocked()
    client.ungrab_server()


# Into the session.


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("selection", ["CLIPBOARD", "PRIMARY"])
async def test_programs_paste_what_was_set(display: Display, text: str, selection: str) -> None:
    await display.set_clipboard(text, owner=7)
    with paster(display.name) as client:
        for target in ("UTF8_STRING", "text/plain;charset=utf-8"):
            assert await client.paste(target, selection) == (target, text.encode())
        assert await client.paste("TEXT", selection) == ("UTF8_STRING", text.encode())
        assert await client.paste("STRING", selection) == ("STRING", text.encode("latin-1", "replace"))
    # It is told as what a viewer has copied.
    assert await all_news(display) == [ClipboardText(text, 7)]


async def test_what_can_be_asked_for(display: Display) -> None:
    await display.set_clipboard("text", owner=7)
    with paster(display.name) as client:
        names = ["TARGETS", "TIMESTAMP", "MULTIPLE", "UTF8_STRING", "text/plain;charset=utf-8", "TEXT", "STRING"]
        answer = await client.paste("TARGETS")
        assert answer is not None
        assert (answer[0], {client.display.get_atom_name(int(atom)) for atom in answer[1]}) == ("ATOM", set(names))
        kind, since = await client.paste("TIMESTAMP") or ("", [])
        assert (kind, len(since)) == ("INTEGER", 1)
        # As of then it is there; before, somebody else had it.
        client.ask("UTF8_STRING", time=int(since[0]))
        assert await client.answer()
        client.ask("UTF8_STRING", time=int(since[0]) - 1)
        assert not await client.answer()
        assert await client.paste("image/png") is None
        assert await client.paste("UTF8_STRING", "SECONDARY") is None


async def test_several_targets_at_once(display: Display) -> None:
    await display.set_clipboard("Grüße", owner=7)
    with paster(display.name) as client:
        atom = client.display.intern_atom
        pairs = [atom("STRING"), atom("A"), atom("image/png"), atom("B"), atom("UTF8_STRING"), atom("C")]
        client.window.change_property(client.into, atom("ATOM_PAIR"), 32, pairs)
        client.ask("MULTIPLE")
        assert await client.answer()
        pairs[3] = 0
        assert client.take() == ("ATOM_PAIR", pairs)
        assert client.take("A") == ("STRING", "Grüße".encode("latin-1"))
        assert client.take("C") == ("UTF8_STRING", "Grüße".encode())


async def test_as_much_as_a_clipboard_holds_goes_in(display: Display) -> None:
    with paster(display.name) as one, paster(display.name) as two:
        await display.set_clipboard(LONG, owner=7)
        # At once, each in parts.
        pasted: list[object] = []

        async def paste(client: Paster) -> None:
            pasted.append(await client.paste("UTF8_STRING"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(paste, one)
            nursery.start_soon(paste, two)
        assert pasted == [("UTF8_STRING", LONG.encode())] * 2
        with pytest.raises(ValueError, match=r"^a clipboard holds 262144 bytes, not 262145$"):
            await display.set_clipboard(LONG + "!", owner=7)
        with pytest.raises(ValueError, match="surrogates not allowed"):
            await display.set_clipboard("\ud800", owner=7)
        assert await one.paste("UTF8_STRING") == ("UTF8_STRING", LONG.encode())


async def test_a_newer_text_is_pasted_and_an_older_no_more(display: Display) -> None:
    with paster(display.name) as client:
        for text in ("one", "two", "three"):
            await display.set_clipboard(text, owner=7)
            assert await client.paste("UTF8_STRING") == ("UTF8_STRING", text.encode())
        assert await all_news(display) == [ClipboardText("three", 7)]
        async with copier(display.name, utf8("a program's")) as owner:
            owner.take()
            assert await copied(display) == "a program's"
            assert await client.paste("UTF8_STRING") == ("UTF8_STRING", b"a program's")
            assert await client.paste("UTF8_STRING", "PRIMARY") == ("UTF8_STRING", b"three")
            await display.set_clipboard("four", owner=7)
            assert await client.paste("UTF8_STRING") == ("UTF8_STRING", b"four")
            assert await all_news(display) == [ClipboardText("four", 7)]


async def test_a_text_that_is_set_ends_the_wait_for_another(display: Display) -> None:
    async with copier(display.name, utf8("never said")) as owner:
        owner.silent = True
        owner.take()
        await owner.until(lambda: owner.requests)
        await display.set_clipboard("ours", owner=7)
        assert await all_news(display) == [ClipboardText("ours", 7)]


async def test_the_last_that_was_told_is_what_is_pasted(display: Display) -> None:
    """A program's text that is being read while a viewer sets one is not told after it."""
    chance = random.Random(1)
    with paster(display.name) as client:
        async with copier(display.name, utf8("a program's"), part=5) as owner:
            for number in range(150):
                owner.take()
                await trio.sleep(chance.random() * 0.004)
                await display.set_clipboard(f"ours {number}", owner=7)
                assert await client.paste("UTF8_STRING") == ("UTF8_STRING", f"ours {number}".encode())
                assert await all_news(display) == [ClipboardText(f"ours {number}", 7)]


async def test_who_dies_while_pasting_leaves_nothing(display: Display) -> None:
    await display.set_clipboard(LONG, owner=7)
    for _ in range(40):
        with paster(display.name) as client:
            client.ask("UTF8_STRING")
            assert await client.answer()
            assert client.take() == ("INCR", [MAX_CLIPBOARD])
            assert await client.part()
    await is_as_good_as_ever(display)


async def test_who_never_takes_what_it_asked_for_is_in_nobodys_way(display: Display) -> None:
    await display.set_clipboard(LONG, owner=7)
    with paster(display.name) as client, paster(display.name) as other:
        for number in range(40):
            client.ask("UTF8_STRING", into=f"PASTED_{number}")
            assert await client.answer()
        assert await other.paste("UTF8_STRING") == ("UTF8_STRING", LONG.encode())
        await is_as_good_as_ever(display)


async def test_who_never_takes_what_it_asked_for_is_forgotten(display: Display) -> None:
    await display.set_clipboard(LONG, owner=7)
    with paster(display.name) as client:
        with impatience("STALL_S"):
            for number in range(10):
                client.ask("UTF8_STRING", into=f"PASTED_{number}")
                assert await client.answer()
        with trio.fail_after(20):
            while client.is_watched:
                await wait_all_tasks_blocked(0.01)
        assert client.take("PASTED_9") == ("INCR", [MAX_CLIPBOARD])
        await is_as_good_as_ever(display)


async def test_windows_that_are_not_theirs_are_not_served(display: Display) -> None:
    await display.set_clipboard(LONG, owner=7)
    with paster(display.name) as client:
        client.window = client.root
        client.ask("UTF8_STRING")
        client.display.sync()
        # Twice: what is served is served after the first.
        await display.inject([], owner=1, serial=1)
        await display.inject([], owner=1, serial=2)
        # Served, the root window would report something else to us than its size, and in the end nothing.
        assert client.root.get_attributes().all_event_masks == X.StructureNotifyMask


async def test_a_thousand_who_paste_at_once(display: Display) -> None:
    await display.set_clipboard(LONG[:200_000], owner=7)
    with paster(display.name) as client:
        for _ in range(300):
            client.ask("UTF8_STRING")
        client.display.sync()
        answers = [await client.answer() for _ in range(300)]
        assert any(answers)
        await is_as_good_as_ever(display)


# Real programs.


async def test_a_terminal_copies(display: Display) -> None:
    text = "Grüße aus dem Terminal"
    copy = f"printf '\\033]52;c;{base64.b64encode(text.encode()).decode()}\\a'; exec sleep 60"
    allow = ["-xrm", "XTerm*allowWindowOps: true", "-xrm", "XTerm*disallowedWindowOps:"]
    async with start_child(["xterm", "-display", display.name, "-u8", *allow, "-e", "sh", "-c", copy]):
        assert await copied(display) == text


async def test_a_terminal_pastes(display: Display, tmp_path: Path) -> None:
    text = "Grüße, 世界" + LONG[:5000]
    fifo = tmp_path / "pasted"
    os.mkfifo(fifo)
    script = f"exec > {shlex.quote(str(fifo))}; stty raw -echo; echo ready; exec cat"
    await display.set_clipboard(text, owner=7)
    async with trio.lowlevel.FdStream(os.open(fifo, os.O_RDWR)) as output:
        xterm = ["xterm", "-display", display.name, "-u8", "-geometry", "20x5+0+0", "-e", "sh", "-c", script]
        async with start_child(xterm, env={**os.environ, "LC_ALL": "C.UTF-8"}):
            assert await received(output, 6) == b"ready\n"
            first = b""
            for serial in range(1, 21):
                # The program may be ready before its window is there.
                await display.inject([PointerMove(20, 20), Button(2, True), Button(2, False)], owner=1, serial=serial)
                with trio.move_on_after(1):
                    first = await output.receive_some(1)
                    break
            assert first + await received(output, len(text.encode()) - 1) == text.encode()


async def received(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    data = b""
    with trio.fail_after(20):
        while len(data) < count:
            data += await stream.receive_some(count - len(data))
    return data
