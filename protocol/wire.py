"""How values become bytes: the kinds of fields, and the decorators that declare messages and field lists.

A message is declared once, as a class whose annotations carry the kind of each field; the classes are the data that
the generator writes the C, MicroPython and JavaScript declarations and the tables of SPEC.md from.
Everything is little-endian. Nothing here knows what a message means.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from typing import Any, ClassVar, Final, Protocol, TypeVar, dataclass_transform, get_type_hints

from tilewire.protocol.errors import Code, RemoteProtocolError
from tilewire.protocol.geometry import Rect

COORDINATE_LIMIT: Final = 4096
"""Pixels along one side of a panel: twelve bits, so that a rectangle packs into six bytes."""


def bad_value(what: str) -> RemoteProtocolError:
    """A value outside its range."""
    return RemoteProtocolError(Code.BAD_VALUE, what)


def malformed(what: str) -> RemoteProtocolError:
    """Bytes that do not parse."""
    return RemoteProtocolError(Code.PROTOCOL, what)


class Kind(Protocol):
    """How one field is written. `low` and `high` are its least and greatest number of bytes; None: to the end."""

    @property
    def label(self) -> str: ...
    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int | None: ...
    def encode(self, value: Any) -> bytes: ...
    def decode(self, data: memoryview, offset: int) -> tuple[Any, int]: ...
    def check(self, value: Any) -> None:
        """Raise ValueError where the value cannot be written."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """An integer of a fixed number of bytes, with bounds of its own."""

    size: int
    minimum: int = 0
    maximum: int | None = None
    signed: bool = False

    @property
    def label(self) -> str:
        return f"{'i' if self.signed else 'u'}{8 * self.size}"

    @property
    def low(self) -> int:
        return self.size

    @property
    def high(self) -> int:
        return self.size

    @property
    def top(self) -> int:
        """The greatest value."""
        if self.maximum is not None:
            return self.maximum
        return (1 << (8 * self.size - (1 if self.signed else 0))) - 1

    @property
    def bottom(self) -> int:
        """The least value."""
        return -(1 << (8 * self.size - 1)) if self.signed else self.minimum

    def check(self, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not self.bottom <= value <= self.top:
            raise ValueError(f"{value!r} is not a whole number from {self.bottom} to {self.top}")

    def encode(self, value: Any) -> bytes:
        return int(value).to_bytes(self.size, "little", signed=self.signed)

    def decode(self, data: memoryview, offset: int) -> tuple[int, int]:
        end = offset + self.size
        if end > len(data):
            raise malformed("ends inside a number")
        value = int.from_bytes(data[offset:end], "little", signed=self.signed)
        if not self.bottom <= value <= self.top:
            raise bad_value(f"{value} is not from {self.bottom} to {self.top}")
        return value, end


@dataclass(frozen=True, slots=True)
class Varint:
    """An unsigned integer of 7 bits a byte, least significant first, in as few bytes as it needs (LEB128)."""

    minimum: int = 0
    maximum: int = 0xFFFF_FFFF

    label: ClassVar[str] = "varint"
    low: ClassVar[int] = 1

    @property
    def high(self) -> int:
        return max(1, -(-self.maximum.bit_length() // 7))

    def check(self, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value!r} is not a whole number from {self.minimum} to {self.maximum}")

    def encode(self, value: Any) -> bytes:
        return encode_varint(value)

    def decode(self, data: memoryview, offset: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            if offset >= len(data):
                raise malformed("ends inside a variable-length number")
            byte = data[offset]
            offset += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= 35:
                raise malformed("a variable-length number of more than five bytes")
        if byte == 0 and shift > 7:
            raise malformed("a variable-length number that is longer than it needs to be")
        if not self.minimum <= value <= self.maximum:
            raise bad_value(f"{value} is not from {self.minimum} to {self.maximum}")
        return value, offset


def encode_varint(value: int) -> bytes:
    """`value` (0 or more) as LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@dataclass(frozen=True, slots=True)
class Point:
    """A pixel on the panel."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class PointKind:
    """A pixel: two numbers of twelve bits in three bytes."""

    label: ClassVar[str] = "point"
    low: ClassVar[int] = 3
    high: ClassVar[int] = 3

    def check(self, value: Any) -> None:
        if not isinstance(value, Point):
            raise ValueError(f"{value!r} is not a point")
        if not (0 <= value.x < COORDINATE_LIMIT and 0 <= value.y < COORDINATE_LIMIT):
            raise ValueError(f"{value} lies outside {COORDINATE_LIMIT} pixels")

    def encode(self, value: Any) -> bytes:
        bits: int = value.x | value.y << 12
        return bits.to_bytes(3, "little")

    def decode(self, data: memoryview, offset: int) -> tuple[Point, int]:
        if offset + 3 > len(data):
            raise malformed("ends inside a point")
        bits = int.from_bytes(data[offset : offset + 3], "little")
        return Point(bits & 0xFFF, bits >> 12), offset + 3


@dataclass(frozen=True, slots=True)
class RectKind:
    """A rectangle: left, top, width - 1 and height - 1, twelve bits each, in six bytes. It cannot be empty."""

    label: ClassVar[str] = "rect"
    low: ClassVar[int] = 6
    high: ClassVar[int] = 6

    def check(self, value: Any) -> None:
        if not isinstance(value, Rect):
            raise ValueError(f"{value!r} is not a rectangle")
        if value.x < 0 or value.y < 0 or value.right > COORDINATE_LIMIT or value.bottom > COORDINATE_LIMIT:
            raise ValueError(f"the rectangle {value} lies outside {COORDINATE_LIMIT} pixels")

    def encode(self, value: Any) -> bytes:
        bits: int = value.x | value.y << 12 | (value.width - 1) << 24 | (value.height - 1) << 36
        return bits.to_bytes(6, "little")

    def decode(self, data: memoryview, offset: int) -> tuple[Rect, int]:
        if offset + 6 > len(data):
            raise malformed("ends inside a rectangle")
        bits = int.from_bytes(data[offset : offset + 6], "little")
        rect = Rect(bits & 0xFFF, bits >> 12 & 0xFFF, (bits >> 24 & 0xFFF) + 1, (bits >> 36) + 1)
        if rect.right > COORDINATE_LIMIT or rect.bottom > COORDINATE_LIMIT:
            raise bad_value(f"the rectangle {rect} lies outside {COORDINATE_LIMIT} pixels")
        return rect, offset + 6


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes: exactly `size` of them, or all that are left, at most `maximum`."""

    size: int | None = None
    minimum: int = 0
    maximum: int | None = None

    @property
    def label(self) -> str:
        return "rest" if self.size is None else f"bytes[{self.size}]"

    @property
    def low(self) -> int:
        return self.minimum if self.size is None else self.size

    @property
    def high(self) -> int | None:
        return self.maximum if self.size is None else self.size

    def check(self, value: Any) -> None:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise ValueError(f"{value!r} is not bytes")
        high = self.high
        if len(value) < self.low or (high is not None and len(value) > high):
            raise ValueError(f"{len(value)} bytes where {self.low} to {high} may stand")

    def encode(self, value: Any) -> bytes:
        return bytes(value)

    def decode(self, data: memoryview, offset: int) -> tuple[bytes, int]:
        end = len(data) if self.size is None else offset + self.size
        if end > len(data) or end - offset < self.low:
            raise malformed("ends inside a field of bytes")
        if self.maximum is not None and end - offset > self.maximum:
            raise bad_value(f"{end - offset} bytes where at most {self.maximum} may stand")
        return bytes(data[offset:end]), end


@dataclass(frozen=True, slots=True)
class Text:
    """UTF-8 to the end of the message or field, at most `maximum` bytes."""

    minimum: int = 0
    maximum: int | None = None

    label: ClassVar[str] = "utf8"

    @property
    def low(self) -> int:
        return self.minimum

    @property
    def high(self) -> int | None:
        return self.maximum

    def check(self, value: Any) -> None:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not text")
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise ValueError("the text cannot be written as UTF-8") from error
        if size < self.minimum or (self.maximum is not None and size > self.maximum):
            raise ValueError(f"{size} bytes of UTF-8 where {self.minimum} to {self.maximum} may stand")

    def encode(self, value: Any) -> bytes:
        return str(value).encode()

    def decode(self, data: memoryview, offset: int) -> tuple[str, int]:
        size = len(data) - offset
        if size < self.minimum or (self.maximum is not None and size > self.maximum):
            raise bad_value(f"{size} bytes of text where {self.minimum} to {self.maximum} may stand")
        try:
            return bytes(data[offset:]).decode(), len(data)
        except UnicodeDecodeError as error:
            raise bad_value("a text that is not UTF-8") from error


@dataclass(frozen=True, slots=True)
class Repeated:
    """Records one after the other to the end of the message, at most `maximum` of them."""

    record: type[Record]
    maximum: int

    low: ClassVar[int] = 0

    @property
    def label(self) -> str:
        return f"{self.record.__name__}[]"

    @property
    def high(self) -> int:
        return self.maximum * sum(spec.kind.high or 0 for spec in self.record.layout)

    def check(self, value: Any) -> None:
        if not isinstance(value, tuple) or len(value) > self.maximum:
            raise ValueError(f"{value!r} is not a tuple of at most {self.maximum}")
        for item in value:
            if not isinstance(item, self.record):
                raise ValueError(f"{item!r} is not a {self.record.__name__}")

    def encode(self, value: Any) -> bytes:
        return b"".join(item.encode_body() for item in value)

    def decode(self, data: memoryview, offset: int) -> tuple[tuple[Record, ...], int]:
        items: list[Record] = []
        while offset < len(data):
            if len(items) == self.maximum:
                raise bad_value(f"more than {self.maximum} entries")
            item, offset = self.record.decode_body(data, offset)
            items.append(item)
        return tuple(items), offset


@dataclass(frozen=True, slots=True)
class RecordKind:
    """A record of several fields as the value of one tagged field."""

    record: type[Record]

    @property
    def label(self) -> str:
        return ", ".join(f"{spec.name} {spec.kind.label}" for spec in self.record.layout)

    @property
    def low(self) -> int:
        return sum(spec.kind.low for spec in self.record.layout)

    @property
    def high(self) -> int:
        return sum(spec.kind.high or 0 for spec in self.record.layout)

    def check(self, value: Any) -> None:
        if not isinstance(value, self.record):
            raise ValueError(f"{value!r} is not a {self.record.__name__}")

    def encode(self, value: Any) -> bytes:
        encoded: bytes = value.encode_body()
        return encoded

    def decode(self, data: memoryview, offset: int) -> tuple[Record, int]:
        return self.record.decode_body(data, offset)


@dataclass(frozen=True, slots=True)
class Doc:
    """What a field means, for the tables of the specification."""

    text: str


@dataclass(frozen=True, slots=True)
class Tag:
    """Marks a field of a field list: its number, and whether a peer that does not know it must refuse."""

    number: int
    critical: bool = False


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One declared field."""

    name: str
    kind: Kind
    doc: str
    tag: Tag | None
    required: bool


class Sender(Enum):
    """Who may send a message."""

    CLIENT = "client"
    SERVER = "server"
    BOTH = "both"

    def allows(self, sender: Sender) -> bool:
        """Whether `sender` (CLIENT or SERVER) may send what is declared with this."""
        return self is Sender.BOTH or self is sender


class Record:
    """Base of everything declared: fields in order, checked when built."""

    __slots__ = ()
    layout: ClassVar[tuple[FieldSpec, ...]] = ()

    def __post_init__(self) -> None:
        for spec in self.layout:
            value = getattr(self, spec.name)
            if value is None and spec.tag is not None and not spec.required:
                continue
            try:
                spec.kind.check(value)
            except ValueError as error:
                raise ValueError(f"{type(self).__name__}.{spec.name}: {error}") from None

    def encode_body(self) -> bytes:
        """The fields as bytes, in order."""
        return b"".join(spec.kind.encode(getattr(self, spec.name)) for spec in self.layout)

    @classmethod
    def decode_body(cls, data: memoryview, offset: int = 0) -> tuple[Any, int]:
        """Parse the fields from `offset`; returns the record and where it ended."""
        values: dict[str, Any] = {}
        for spec in cls.layout:
            try:
                values[spec.name], offset = spec.kind.decode(data, offset)
            except RemoteProtocolError as error:
                raise RemoteProtocolError(error.code, f"{cls.__name__}.{spec.name}: {error}") from None
        return build(cls, values), offset


def build(cls: type[Record], values: dict[str, Any]) -> Any:
    """Make a record of parsed values; what its own checks refuse is the peer's fault."""
    try:
        return cls(**values)
    except ValueError as error:
        raise bad_value(str(error)) from None


class Message(Record):
    """Base of the messages. `type` is the first byte; `drawing`: an operation of an update."""

    __slots__ = ()
    type: ClassVar[int]
    name: ClassVar[str]
    sender: ClassVar[Sender]
    drawing: ClassVar[bool]

    def encode(self) -> bytes:
        """The whole message: type, length, body."""
        return frame(self.type, self.encode_body())

    @classmethod
    def decode(cls, body: memoryview) -> Any:
        """Parse a body. Drawing operations end where their fields do; others may have grown by later versions."""
        message, end = cls.decode_body(body)
        if cls.drawing and end != len(body):
            raise malformed(f"{cls.__name__}: {len(body) - end} bytes too many")
        return message


def frame(type_: int, body: bytes) -> bytes:
    """A message of any type, whole."""
    return bytes((type_,)) + encode_varint(len(body)) + body


class FieldList(Record):
    """Base of HELLO, the reply and WELCOME: fields with a number each, in ascending order, absent where not needed."""

    __slots__ = ()

    def encode_body(self) -> bytes:
        out = bytearray()
        for spec in self.layout:
            value = getattr(self, spec.name)
            if value is None or spec.tag is None:
                continue
            encoded = spec.kind.encode(value)
            out.append(spec.tag.number | (0x80 if spec.tag.critical else 0))
            out += encode_varint(len(encoded)) + encoded
        return bytes(out)

    @classmethod
    def decode_body(cls, data: memoryview, offset: int = 0) -> tuple[Any, int]:
        known = {spec.tag.number: spec for spec in cls.layout if spec.tag is not None}
        values: dict[str, Any] = {}
        last = -1
        where = cls.__name__.upper()
        while offset < len(data):
            head = data[offset]
            number, critical = head & 0x7F, head >= 0x80
            if number <= last:
                raise malformed(f"{where}: field {number} after field {last}; they must ascend")
            last = number
            length, offset = Varint(maximum=0xFFFF).decode(data, offset + 1)
            end = offset + length
            if end > len(data):
                raise malformed(f"{where}: field {number} is longer than what is left")
            spec = known.get(number)
            if spec is None:
                if critical:
                    raise RemoteProtocolError(Code.UNSUPPORTED, f"{where}: the critical field {number} is not known")
            else:
                values[spec.name] = cls._decode_field(spec, data[offset:end])
            offset = end
        for spec in cls.layout:
            if spec.required and spec.name not in values:
                raise malformed(f"{where}: the field {spec.name} is missing")
        return build(cls, values), offset

    @classmethod
    def _decode_field(cls, spec: FieldSpec, data: memoryview) -> Any:
        try:
            value, end = spec.kind.decode(data, 0)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(error.code, f"{cls.__name__.upper()}.{spec.name}: {error}") from None
        if end != len(data) and not isinstance(spec.kind, RecordKind):
            raise malformed(f"{cls.__name__.upper()}.{spec.name}: {len(data) - end} bytes too many")
        return value


MESSAGES: Final[dict[int, type[Message]]] = {}
"""Every declared message by its type."""

R = TypeVar("R", bound=Record)


def _layout(cls: type[Record]) -> tuple[FieldSpec, ...]:
    hints = get_type_hints(cls, include_extras=True)
    specs: list[FieldSpec] = []
    for item in fields(cls):  # type: ignore[arg-type]  # decorated as a dataclass just before
        metadata = getattr(hints[item.name], "__metadata__", ())
        kind = next(entry for entry in metadata if not isinstance(entry, Doc | Tag))
        doc = next((entry.text for entry in metadata if isinstance(entry, Doc)), "")
        tag = next((entry for entry in metadata if isinstance(entry, Tag)), None)
        specs.append(FieldSpec(item.name, kind, doc, tag, required=item.default is MISSING))
    return tuple(specs)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[R]) -> type[R]:
    """Declare a record or a field list."""
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    made.layout = _layout(made)
    return made


@dataclass_transform(frozen_default=True, kw_only_default=True)
def message(type_: int, sender: Sender, *, drawing: bool = False) -> Callable[[type[R]], type[R]]:
    """Declare a message: its type byte, who sends it, and whether it is an operation of an update."""

    def declare(cls: type[R]) -> type[R]:
        made = record(cls)
        assert issubclass(made, Message)
        assert type_ not in MESSAGES
        made.type, made.sender, made.drawing = type_, sender, drawing
        made.name = "".join(f"_{c}" if c.isupper() else c.upper() for c in made.__name__).lstrip("_").upper()
        MESSAGES[type_] = made
        return made

    return declare


# The plain kinds, under the names that the specification uses.
U8, U16, U32, U64 = Unsigned(1), Unsigned(2), Unsigned(4), Unsigned(8)
I16 = Unsigned(2, signed=True)
FLAG = Unsigned(1, maximum=1)
V32 = Varint()
POINT, RECT = PointKind(), RectKind()
REST = Bytes()

PREFIX: Final = struct.Struct("<4sBBH")
"""Magic, lowest and highest version, length of the field list that follows. Frozen for all versions."""
