"""Keys and text, on a real Xvfb as programs see them, and the keymap as pure data."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from Xlib import X

from tilewire.server.display import Display, Input, Key, Text, open_display
from tilewire.server.x11.keymap import KeyMap, Stroke, keysyms_of, normal
from tilewire.server.xvfb import XvfbServer, start_xvfb

from tests.server.xclient import KeyReader, key_reader

SHIFT_L, CONTROL_L, CAPS_LOCK, NUM_LOCK, ALT_GR = 0xFFE1, 0xFFE3, 0xFFE5, 0xFF7F, 0xFE03
RETURN, KP_1, KP_END = 0xFF0D, 0xFFB1, 0xFF9C
HAN = "".join(map(chr, range(0x4E00, 0x4E00 + 50)))


class Desk:
    """A display, one who types on it, and a program that reads."""

    def __init__(self, display: Display, reader: KeyReader) -> None:
        self._display = display
        self._serial = 0
        self.reader = reader

    async def type(self, *inputs: Input, owner: int = 1) -> None:
        self._serial += 1
        await self._display.inject(inputs, owner=owner, serial=self._serial)

    async def read(self, text: str) -> str:
        """Type a text while the program reads, as programs do."""
        found: list[str] = []

        async def read() -> None:
            found.append(await self.reader.text(len(text)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await self.type(Text(text))
        return found[0]

    async def release_all(self, owner: int = 1) -> None:
        await self._display.release_all(owner)


@pytest.fixture
async def xvfb() -> AsyncIterator[XvfbServer]:
    async with start_xvfb(320, 200) as server:
        yield server


@asynccontextmanager
async def desk_on(server: XvfbServer) -> AsyncIterator[Desk]:
    with key_reader(server.display_name) as reader:
        async with open_display(server.display_name) as display:
            yield Desk(display, reader)


@pytest.fixture
async def desk(xvfb: XvfbServer) -> AsyncIterator[Desk]:
    async with desk_on(xvfb) as desk:
        yield desk


def tap(keysym: int) -> tuple[Key, Key]:
    return Key(keysym, True), Key(keysym, False)


# Text.


@pytest.mark.parametrize(
    "text",
    [
        "Hello, World! 0123 [{<|>}] \"'`~",
        "one\ntwo\tthree\b",
        "Grüße, Ærø: ¿ñ? ½ ×",
        "Привет, мир; γειά; שלום; ﷽; 漢字; 😀🎉",
        "ЖжÉéßẞ",
        HAN,
        HAN[:10] * 3 + HAN,
    ],
)
async def test_text_arrives_as_it_stands(desk: Desk, text: str) -> None:
    assert await desk.read(text) == text.replace("\n", "\r")
    assert desk.reader.state() == 0


async def test_a_long_text_arrives_whole(desk: Desk) -> None:
    text = "The quick brown Fox jumps over the lazy Dog. " * 40
    assert await desk.read(text) == text


async def test_what_nobody_can_type_is_left_out(desk: Desk) -> None:
    await desk.type(Text("a\x00b\ud800c\x07d\r\ne"))
    assert await desk.reader.text(6) == "abcd\re"


@pytest.mark.parametrize("held", [SHIFT_L, CAPS_LOCK, ALT_GR])
async def test_text_does_not_mind_what_is_held_or_locked(desk: Desk, held: int) -> None:
    await desk.type(Key(held, True))
    if held == CAPS_LOCK:
        await desk.type(Key(held, False))
    before = desk.reader.state()
    assert before
    assert await desk.read("aB1!éЖя") == "aB1!éЖя"
    assert desk.reader.state() == before


async def test_texts_share_the_keys_they_borrow(xvfb: XvfbServer) -> None:
    async with desk_on(xvfb) as desk:
        found = desk.reader.mapping()
        for text in ("éü", "ж", "üж", HAN):
            assert await desk.read(text) == text
        assert desk.reader.mapping() != found
    with key_reader(xvfb.display_name) as reader:
        assert reader.mapping() == found


async def test_captures_and_others_go_on_while_a_text_waits(xvfb: XvfbServer) -> None:
    with key_reader(xvfb.display_name) as reader:
        async with open_display(xvfb.display_name, settle_s=3600) as display:
            async with trio.open_nursery() as nursery:

                async def type_text() -> None:
                    await display.inject([Text("a漢")], owner=1, serial=1)

                nursery.start_soon(type_text)
                for _ in range(5):
                    await display.capture_all()
                assert (await display.capture()).newest_input is None
                nursery.cancel_scope.cancel()
        # Leaving does not wait for it, and leaves nothing behind.
        assert reader.state() == 0
        assert not any(0x01006F22 in row for row in reader.mapping())


async def test_another_keymap_is_noticed(desk: Desk) -> None:
    code = desk.reader.keycode(ord("a"))
    assert await desk.read("a") == "a"
    desk.reader.display.change_keyboard_mapping(code, [[ord("z"), ord("Z")]])
    desk.reader.display.change_keyboard_mapping(desk.reader.keycode(ord("z")), [[ord("a"), ord("A")]])
    desk.reader.display.sync()
    assert await desk.read("azAZ") == "azAZ"


async def test_another_keymap_leaves_borrowed_keys_to_be_borrowed_again(desk: Desk) -> None:
    for text in (HAN[:15], HAN, HAN[:15], HAN):
        assert await desk.read(text) == text
        desk.reader.display.change_keyboard_mapping(desk.reader.keycode(ord("z")), [[ord("z"), ord("Z")]])
        desk.reader.display.sync()


# Keys.


async def test_keys_need_no_help_of_the_viewer(desk: Desk) -> None:
    for keysym, character in (
        *((ord(character), character) for character in "aA1!é"),
        (0x01006F22, "漢"),
        (0x010000E9, "é"),
    ):
        await desk.type(*tap(keysym))
        assert await desk.reader.text(1) == character
    assert desk.reader.state() == 0


async def test_a_viewer_that_holds_shift_itself_is_not_doubled(desk: Desk) -> None:
    await desk.type(Key(SHIFT_L, True), *tap(ord("A")), Key(SHIFT_L, False))
    shift, letter = desk.reader.keycode(SHIFT_L), desk.reader.keycode(ord("a"))
    assert await desk.reader.changes(4) == [("down", shift), ("down", letter), ("up", letter), ("up", shift)]


async def test_shift_is_pressed_around_a_key_that_needs_it(desk: Desk) -> None:
    await desk.type(Key(ord("A"), True))
    shift, letter = desk.reader.keycode(SHIFT_L), desk.reader.keycode(ord("a"))
    assert await desk.reader.changes(3) == [("down", shift), ("down", letter), ("up", shift)]
    await desk.type(Key(ord("A"), False))
    assert await desk.reader.changes(1) == [("up", letter)]


async def test_another_layout_of_the_viewer_s_is_no_matter(desk: Desk) -> None:
    # A French keyboard has 1 with Shift and ! without; this server the other way round.
    await desk.type(Key(SHIFT_L, True), *tap(ord("1")), Key(SHIFT_L, False), *tap(ord("!")))
    assert await desk.reader.text(2) == "1!"
    assert desk.reader.state() == 0


async def test_a_shortcut_keeps_what_is_held(desk: Desk) -> None:
    await desk.type(Key(CONTROL_L, True), Key(SHIFT_L, True), Key(ord("t"), True))
    control, shift, letter = map(desk.reader.keycode, (CONTROL_L, SHIFT_L, ord("t")))
    assert await desk.reader.changes(3) == [("down", control), ("down", shift), ("down", letter)]


async def test_a_key_is_released_though_shift_was_before_it(desk: Desk) -> None:
    await desk.type(Key(SHIFT_L, True), Key(ord("A"), True), Key(SHIFT_L, False), Key(ord("a"), False))
    shift, letter = desk.reader.keycode(SHIFT_L), desk.reader.keycode(ord("a"))
    assert await desk.reader.changes(4) == [("down", shift), ("down", letter), ("up", shift), ("up", letter)]


async def test_a_press_of_a_key_that_is_down_is_a_repeat(desk: Desk) -> None:
    await desk.type(*[Key(ord("a"), True)] * 3, Key(ord("a"), False), Key(ord("a"), False))
    assert await desk.reader.text(3) == "aaa"


async def test_a_repeat_of_shift_changes_nothing(desk: Desk) -> None:
    await desk.type(Key(SHIFT_L, True), Key(SHIFT_L, True), *tap(ord("A")))
    assert await desk.reader.text(1) == "A"
    assert desk.reader.state() == X.ShiftMask


async def test_a_key_that_two_hold_is_down_until_both_let_go(desk: Desk) -> None:
    await desk.type(Key(SHIFT_L, True))
    await desk.type(Key(SHIFT_L, True), owner=2)
    await desk.type(Key(SHIFT_L, False))
    assert desk.reader.state() == X.ShiftMask
    await desk.release_all(2)
    assert desk.reader.state() == 0


async def test_the_release_of_a_key_that_is_not_held_is_nothing(desk: Desk) -> None:
    await desk.type(Key(ord("a"), True), owner=2)
    await desk.type(Key(ord("a"), False), Key(ord("b"), False), *tap(ord("c")))
    a, c = desk.reader.keycode(ord("a")), desk.reader.keycode(ord("c"))
    assert await desk.reader.changes(3) == [("down", a), ("down", c), ("up", c)]


async def test_caps_lock_is_reckoned_with(desk: Desk) -> None:
    await desk.type(*tap(CAPS_LOCK), *tap(ord("a")), *tap(ord("A")))
    assert await desk.reader.text(2) == "aA"


async def test_num_lock_is_reckoned_with(desk: Desk) -> None:
    shift, one, lock = map(desk.reader.keycode, (SHIFT_L, KP_END, NUM_LOCK))
    await desk.type(*tap(KP_1), *tap(NUM_LOCK), *tap(KP_1))
    assert await desk.reader.changes(4) == [("down", shift), ("down", one), ("up", shift), ("up", one)]
    assert await desk.reader.changes(4) == [("down", lock), ("up", lock), ("down", one), ("up", one)]


# A program of the world.


async def test_a_terminal_reads_what_is_typed(xvfb: XvfbServer, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Read and write: opening waits for nobody, and the end of one writer is not the end of all.
    async with trio.lowlevel.FdStream(os.open(pipe, os.O_RDWR | os.O_NONBLOCK)) as output:
        environment = {**os.environ, "DISPLAY": xvfb.display_name, "LC_ALL": "C.UTF-8"}
        # The terminal's echo is off: it would be written where nobody reads it.
        script = f"stty -echo; exec > {pipe}; echo ready; exec cat"
        command = ["xterm", "-u8", "-geometry", "80x24+0+0", "-e", "sh", "-c", script]
        async with trio.open_nursery() as nursery, open_display(xvfb.display_name) as display:
            nursery.start_soon(partial(trio.run_process, command, env=environment, check=False))
            assert await _line(output) == "ready"
            for serial, text in enumerate(("plain", "Grüße, Welt", "漢字 и жизнь", HAN[:30])):
                await display.inject([Text(text + "\n")], owner=1, serial=serial)
                assert await _line(output) == text
            nursery.cancel_scope.cancel()


async def _line(stream: trio.abc.ReceiveStream) -> str:
    data = b""
    while not data.endswith(b"\n"):
        data += await stream.receive_some()
    return data.decode().rstrip("\n")


# The keymap.

FIRST = 8
ROWS = (
    (),
    (SHIFT_L,),
    (CONTROL_L,),
    (ALT_GR,),
    (ord("q"), ord("Q"), ord("q"), ord("Q"), ord("@"), 0x7D9),
    (ord("1"), ord("!")),
    (0xFF7E,),
    (ord("é"), ord("É")),
    (KP_END, KP_1),
)
LEVEL3_MODIFIERS = ((9,), (), (10,), (), (), (), (), (11, 14))


def test_keys_are_found_with_what_must_be_held() -> None:
    keymap = KeyMap(FIRST, ROWS, LEVEL3_MODIFIERS)
    assert keymap.find(ord("q")) == Stroke(12, lock=True)
    assert keymap.find(ord("Q")) == Stroke(12, shift=True, lock=True)
    assert keymap.find(ord("@")) == Stroke(12, level3=True)
    assert keymap.find(0x7D9) == Stroke(12, shift=True, level3=True)
    assert keymap.find(ord("!")) == Stroke(13, shift=True)
    assert keymap.find(KP_1) == Stroke(16, shift=True, num_lock=True)
    assert keymap.find(KP_END) == Stroke(16, num_lock=True)
    assert keymap.find(ord("x")) is None
    assert keymap.spare == (8,)
    # Mode_switch stands beside level 3: it is no way to the second group.
    assert (keymap.level3_key, keymap.mode_key) == (11, None)


def test_the_second_group_has_its_own_keys() -> None:
    rows = ((ord("a"), ord("A"), 0x6C6, 0x6E6), (SHIFT_L,), (0xFF7E,))
    keymap = KeyMap(FIRST, rows, ((9,), (), (), (), (), (), (), ()))
    assert keymap.find(0x6C6) is None
    assert keymap.find(0x6E6, group=1) == Stroke(8, shift=True)
    assert keymap.find(ord("a"), group=1) is None
    assert keymap.find(ord("a"), group=2) is None
    with_mode_switch = KeyMap(FIRST, rows, ((9,), (), (), (), (), (), (), (10,)))
    assert with_mode_switch.find(0x6E6) == Stroke(8, shift=True, mode=True)


def test_characters_have_one_keysym_each() -> None:
    assert keysyms_of("aé€\n\t") == [0x61, 0xE9, 0x010020AC, RETURN, 0xFF09]
    assert normal(0x010000E9) == 0xE9
    assert normal(0x010020AC) == 0x010020AC
    assert normal(RETURN) == RETURN
