"""clients/threadx/README.md: its programs, its figures of memory and its session in hex, taken out of it and made anew.

`python -m tests.clients.readme` writes the figures and the session into it; the programs are people's.
"""

from __future__ import annotations

import re
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from tilewire.protocol import Connection, EndOfStream, Need, Point, Rect, Sender
from tilewire.protocol import messages as m
from tilewire.protocol.wire import MESSAGES, PREFIX, Message, Tag
from tilewire.simulator import client as c

from tests import vectors
from tests.clients.support import reply, welcome
from tests.clients.test_build import INCLUDES, THREADX, compiler, run

README = THREADX / "README.md"
PORT = THREADX / "ports/threadx"
STANDIN = Path(__file__).parent / "standin"
SESSION = ("<!-- session: begin -->", "<!-- session: end -->")
ROW = re.compile(r"^\|[^|]*: `([^`]+)` \| ([\d,]+) \|$")
TOGETHER = re.compile(r"^\| \*\*together\*\* \| ([\d,]+) \|$")
PREFIX_MAGIC = b"\x97TW\n"
INLINE = re.compile(r"`(TW_[A-Z_]+_SIZE\([^`]*\))` = ([\d,]+) bytes")


def programs(text: str) -> dict[str, str]:
    """Every block of C, by the file's name in its first line. Raises ValueError where one has none."""
    found: dict[str, str] = {}
    for block in re.findall(r"^```c\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        name = re.match(r"/\* (\w+\.c)[:.\s]", block)
        if name is None or name[1] in found:
            raise ValueError(f"a block of C without a name of its own: {block[:60]!r}")
        found[name[1]] = block
    return found


# Figures


def expressions(text: str) -> list[str]:
    """What stands in the tables of memory and in sentences about it."""
    rows = [found[1] for line in text.splitlines() if (found := ROW.match(line))]
    return rows + [found[1] for found in INLINE.finditer(text)]


def evaluate(asked: Iterable[str]) -> dict[str, int]:
    """C expressions of the client's and the ThreadX port's headers, on a machine whose ULONG has 32 bits."""
    asked = list(dict.fromkeys(asked))
    lines = "".join(f'    printf("%llu\\n", (unsigned long long)({one}));\n' for one in asked)
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "print.c", Path(folder) / "print"
        source.write_text(f'#include <stdio.h>\n#include "tw_threadx.h"\nint main(void) {{\n{lines}    return 0;\n}}\n')
        run(compiler("gcc"), *INCLUDES, f"-I{PORT}", f"-I{STANDIN}", source, "-o", made)
        return dict(zip(asked, map(int, run(made).split()), strict=True))


def with_figures(text: str) -> str:
    """The text with every figure as it is now."""
    values = evaluate(expressions(text))
    lines, total = [], 0
    for line in text.splitlines():
        if found := ROW.match(line):
            value = values[found[1]]
            total += value
            line = f"{line[: found.start(2)]}{value:,}{line[found.end(2) :]}"
        elif found := TOGETHER.match(line):
            line = f"| **together** | {total:,} |"
            total = 0
        lines.append(line)
    return INLINE.sub(lambda f: f"`{f[1]}` = {values[f[1]]:,} bytes", "\n".join(lines) + "\n")


# The session in hex


CONFIG = c.ClientConfig(
    width=320,
    height=240,
    device_id="panel-7",
    boot_id=0x0102030405060708,
    nonce=bytes(range(16, 32)),
    max_message=16384,
    model_kib=16,
)


@dataclass(frozen=True, slots=True)
class Part:
    """What one side says, whole messages; `sender` is C or S."""

    sender: str
    data: bytes


DECODE_US = 2500
"""In place of what an acknowledgement measured."""


def without_time(data: bytes) -> bytes:
    """Messages of the client, the same each time."""
    parts = []
    for part in vectors.split(data):
        known = MESSAGES.get(part[0]) if part[:4] != PREFIX_MAGIC else None
        message = known.decode(vectors.body_of(part)) if known is m.Ack else None
        parts.append(replace(message, decode_us=DECODE_US).encode() if isinstance(message, m.Ack) else part)
    return b"".join(parts)


def play() -> list[Part]:
    """A session of the C client with the reference implementation's server."""
    client, server = c.Client(CONFIG), Connection(role=Sender.SERVER)
    said: list[Part] = []

    def hear() -> None:
        data = client.output()
        server.receive_data(data)
        while not isinstance(server.next_event(), Need | EndOfStream | m.Goodbye):
            pass
        said.append(Part("C", without_time(data)))

    def tell(*events: Message | m.Reply) -> None:
        data = b"".join(server.send(event) for event in events)
        said.append(Part("S", data))
        client.feed(data)

    hear()
    assert server.hello is not None
    tell(
        reply(),
        replace(welcome(server.hello.capabilities), size=m.Size(width=320, height=240)),
    )
    tell(
        m.Begin(update=1, input=0),
        m.Fill(rect=Rect(0, 0, 320, 240), pixel=b"\xff\xff"),
        m.Fill(rect=Rect(10, 20, 100, 12), pixel=b"\x39\x33"),
        m.End(),
    )
    hear()
    client.key(0xFF0D, True)
    hear()
    tell(
        m.Begin(update=2, input=1),
        m.Copy(rect=Rect(10, 36, 100, 12), source=Point(10, 20)),
        m.End(),
    )
    hear()
    client.close()
    hear()
    return said


def picture_of(parts: Iterable[Part]) -> tuple[bytes, list[Part]]:
    """What the panel shows in the end, and what the client said, where the server says this."""
    client = c.Client(CONFIG)
    said = [Part("C", client.output())]
    for number, part in enumerate(one for one in parts if one.sender == "S"):
        client.feed(part.data)
        if answer := client.output():
            said.append(Part("C", without_time(answer)))
        if number == 1:  # after the first update
            client.key(0xFF0D, True)
            said.append(Part("C", client.output()))
    client.close()
    said.append(Part("C", client.output()))
    return client.framebuffer, said


def _names(cls: type) -> dict[int, str]:
    """Of a message's tagged fields, by tag."""
    hints = get_type_hints(cls, include_extras=True)
    return {
        meta.number: one.name
        for one in fields(cls)
        for meta in getattr(hints[one.name], "__metadata__", ())
        if isinstance(meta, Tag)
    }


def _tagged(cls: type, body: bytes) -> Iterator[tuple[bytes, str]]:
    at, names = 0, _names(cls)
    while at < len(body):
        end = at + 2 + body[at + 1]
        assert body[at + 1] < 0x80
        yield body[at:end], names[body[at] & 0x7F]
        at = end


def _lines(part: Part) -> Iterator[tuple[bytes, str]]:
    """(bytes, what they are) of a part, in order."""
    for data in vectors.split(part.data):
        if data[: len(PREFIX_MAGIC)] == PREFIX_MAGIC:
            cls = m.Hello if part.sender == "C" else m.Reply
            yield (
                data[: PREFIX.size],
                f"{cls.__name__.upper()}: magic, versions 1 to 1, {len(data) - PREFIX.size} bytes",
            )
            yield from _tagged(cls, data[PREFIX.size :])
            continue
        body = vectors.body_of(data)
        kind: Any = MESSAGES[data[0]]
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).upper()
        if kind is m.Welcome:
            yield data[: len(data) - len(body)], f"{name}, {len(body)} bytes"
            yield from _tagged(kind, bytes(body))
        else:
            told = ", ".join(f"{f.name} {_plain(getattr(kind.decode(body), f.name))}" for f in fields(kind))
            yield data, f"{name} {told}".strip()


def _plain(value: object) -> str:
    match value:
        case bytes():
            return value.hex(" ").upper()
        case Rect(x, y, width, height):
            return f"{width}x{height}+{x}+{y}"
        case Point(x, y):
            return f"+{x}+{y}"
        case int():
            return f"0x{value:X}" if value > 0xFFF else str(value)
        case _:
            return str(value)


def block(parts: Iterable[Part]) -> str:
    """The parts as the README has them."""
    lines: list[str] = []
    for part in parts:
        for data, what in _lines(part):
            rows = textwrap.wrap(data.hex(" ").upper(), 47)
            lines += [f"{part.sender}  {rows[0]:<47}  ; {what}", *(f"{part.sender}  {row}" for row in rows[1:])]
        lines.append("")
    return "```text\n" + "\n".join(line.rstrip() for line in lines).rstrip() + "\n```"


def session(text: str) -> tuple[str, str, str]:
    """The text before the session, the session, the text after it."""
    before, rest = text.split(SESSION[0])
    inside, after = rest.split(SESSION[1])
    return before, inside.strip(), after


def parse(text: str) -> list[Part]:
    """The parts of a session as the README has it, one for each paragraph."""
    found: list[Part] = []
    for paragraph in text.removeprefix("```text\n").removesuffix("\n```").split("\n\n"):
        lines = [re.fullmatch(r"([CS])  ((?:[0-9A-F]{2} ?)+)(?: *;.*)?", line) for line in paragraph.splitlines()]
        senders = {line[1] for line in lines if line}
        assert None not in lines, paragraph
        assert len(senders) == 1, paragraph
        found.append(Part(senders.pop(), b"".join(bytes.fromhex(line[2]) for line in lines if line)))
    return found


def main() -> None:
    """Write what is made."""
    text = with_figures(README.read_text(encoding="utf-8"))
    before, _, after = session(text)
    README.write_text(f"{before}{SESSION[0]}\n\n{block(play())}\n\n{SESSION[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
