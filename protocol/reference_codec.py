"""The lossless tile codec's decoder as plainly as it can be said. SPEC.md 8.7 says the same in words.

Every decoder must agree with this one on every payload, good or bad. All numbers are unsigned and below 2^32 but for
those that are called difference, delta, span or way.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from tilewire.protocol.codec_start import START
from tilewire.protocol.constants import PixelFormat
from tilewire.protocol.errors import Code, RemoteProtocolError

MODEL_KIB: Final = (16, 32, 48)

LIVE: Final = 0
REST: Final = 1
"""Variants: the first byte of a payload."""

RUN_MAX: Final = 15
"""The literal run says how photographic the last pixels were."""
PHOTO: Final = 5
"""From this run on, literals are differences; below, plain values."""
DEAF: Final = 8
"""From this run on, no colour is guessed and none is learned."""
RESIDUAL: Final = 44
"""Probabilities of one context of a difference: zero, sign, 8 exponents, then 4 for the bits below each exponent."""
OUTSTANDING: Final = 48
"""A colour stands out from another by so many levels of 8 bits: ink from paper."""
HEADER_BYTES: Final = 64
"""What a device keeps of the model besides its tables; only the number of slots depends on it."""
VALUE_PLACES: Final = 256
"""Near colours that are found by the first channel's value alone."""
USED: Final = 1 << 24
"""Mark of a colour that came again."""
TAIL: Final = 3
"""A decoder has read so many bytes past the end when it is done: the encoder leaves out what it need not say."""


@dataclass(frozen=True, slots=True)
class Family:
    """Probabilities that one kind of decision chooses from."""

    name: str
    begin: int
    size: int
    index: str
    """Which one, from `begin` on."""


def _families() -> dict[str, Family]:
    declared = (
        ("FLAT", 10 * 2 * 4, "8 length + 4 differs + breaks"),
        ("BREAK", 10 * 13, "13 length + exponent"),
        ("BREAK_LOW", 13 * 4, "4 exponent + node"),
        ("GUESS", 4 * 8 * 8 * 4, "4 (8 (8 order + before) + confidence) + (g = w) + 2 (g = n)"),
        ("AROUND", 16 * 4 * 4, "4 (4 alike + min(3, tried)) + min(3, run)"),
        ("WHICH", 3 * 16, "16 side + alike"),
        ("NEAR", 2 * PHOTO, "5 place + run"),
        ("VALUE", 16 * 16, "16 top bits of w + node"),
        ("DIFF_FIRST", 8 * RESIDUAL, "44 activity + node"),
        ("DIFF_OTHER", 4 * 3 * RESIDUAL, "44 (3 other + delta) + node"),
        ("SHORE", 4 * 16, "16 tone + (ne = nee) + 2 (nn = n) + 4 (nne = ne) + 8 (ww = w)"),
        ("LOW", 16 * 16, "16 top bits + node"),
        ("SLOPE", 9 * RESIDUAL, "44 slope + node"),
    )
    begins = accumulate((size for _, size, _ in declared), initial=0)
    return {name: Family(name, begin, size, index) for (name, size, index), begin in zip(declared, begins)}


FAMILIES: Final = _families()
CONTEXTS: Final = sum(family.size for family in FAMILIES.values())

_FLAT = FAMILIES["FLAT"].begin
_BREAK = FAMILIES["BREAK"].begin
_BREAK_LOW = FAMILIES["BREAK_LOW"].begin
_GUESS = FAMILIES["GUESS"].begin
_AROUND = FAMILIES["AROUND"].begin
_WHICH = FAMILIES["WHICH"].begin
_NEAR = FAMILIES["NEAR"].begin
_VALUE = FAMILIES["VALUE"].begin
_DIFF_FIRST = FAMILIES["DIFF_FIRST"].begin
_DIFF_OTHER = FAMILIES["DIFF_OTHER"].begin
_SHORE = FAMILIES["SHORE"].begin
_LOW = FAMILIES["LOW"].begin
_SLOPE = FAMILIES["SLOPE"].begin

_M32 = 0xFFFF_FFFF
_COLOUR = 0xFF_FFFF


def _bad(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.BAD_PAYLOAD, text)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the channels of a format lie in a pixel; the others are predicted from the first."""

    bits: tuple[int, ...]
    shift: tuple[int, ...]
    tone_mask: int
    """The top bits that all channels have, at 8 bits."""

    def channel(self, pixel: int, number: int) -> int:
        """One channel's value."""
        return pixel >> self.shift[number] & (1 << self.bits[number]) - 1

    def level(self, difference: int) -> int:
        """The size of a difference in the first channel, in levels of 8 bits."""
        return abs(difference) << 8 - self.bits[0]

    def hue(self, pixel: int) -> int:
        """0 to 8: whether red and blue are below, equal to or above green."""
        green, *others = (pixel >> shift << 8 - bits & self.tone_mask for shift, bits in zip(self.shift, self.bits))
        red, blue = ((tone > green) - (tone < green) + 1 for tone in others)
        return 3 * red + blue


LAYOUTS: Final = {
    PixelFormat.RGB565: Layout((6, 5, 5), (5, 11, 0), 0xF8),
    PixelFormat.XRGB8888: Layout((8, 8, 8), (8, 16, 0), 0xFF),
    PixelFormat.RGB332: Layout((3, 3, 2), (2, 5, 0), 0xC0),
    PixelFormat.GREY8: Layout((8,), (0,), 0xFF),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Entries of each table of a model of `kib` KiB."""

    kib: int

    @property
    def colour_bits(self) -> int:
        """There are 2 to this many colours."""
        return 9 if self.kib == 16 else 10

    @property
    def colours(self) -> int:
        return 1 << self.colour_bits

    @property
    def near(self) -> int:
        return self.colours + VALUE_PLACES

    @property
    def slots(self) -> int:
        """Whatever 16 bits each leave room for."""
        others = HEADER_BYTES + 2 * CONTEXTS + 4 * self.colours + 2 * self.near
        return (1024 * self.kib - others) // 2


@dataclass(frozen=True, slots=True)
class Guess:
    """What one slot says of the pixel to come."""

    slot: int
    check: int
    confidence: int
    """0: the slot belongs to another neighbourhood."""
    index: int


class Model:
    """All that lives from one rectangle to the next. A new one is what a reset makes."""

    def __init__(self, kib: int, pixel_format: PixelFormat) -> None:
        if kib not in MODEL_KIB:
            raise ValueError(f"a model of {kib} KiB; there are {MODEL_KIB}")
        sizes = Sizes(kib)
        self.layout = LAYOUTS[pixel_format]
        self.colour_bits = sizes.colour_bits
        self.probabilities = list(START)
        self.greys = 256 if pixel_format is PixelFormat.XRGB8888 else 0
        self.colours = [index * 0x01_0101 if index < self.greys else 0 for index in range(sizes.colours)]
        self.sets = (sizes.colours - self.greys) // 4
        self.near = [0] * sizes.near
        self.slots = [0] * sizes.slots
        self.background = 0
        """The first pixel of the last rectangle."""
        self.last_flat = 0
        """The paper: colour of the last flat stretch."""
        self.last_literal = 0
        self.ink = 0
        """The last literal that stood out from the paper."""
        self.trust = 0
        """-8 to 7: at 0 and above, red and blue are expected on the line from paper to ink."""
        self.victim = 0

    def adapt(self, context: int, bit: int) -> None:
        """A probability learns what came."""
        p = self.probabilities
        p[context] += -(p[context] >> 5) if bit else 65535 - p[context] >> 5

    # Colours.

    def colour(self, index: int) -> int:
        """The colour of an index."""
        return self.colours[index] & _COLOUR

    def index(self, pixel: int) -> int:
        """The index of a colour, which is taken in if it is new."""
        if self.greys and pixel == (pixel & 255) * 0x01_0101:
            return pixel & 255
        first = self.greys + 4 * (((pixel * 0x9E37_79B1 & _M32) >> 16) * self.sets >> 16)
        places = range(first, first + 4)
        for place in places:
            if self.colour(place) == pixel:
                self.colours[place] |= USED
                return place
        unused = [place for place in places if not self.colours[place] & USED]
        if not unused:
            for place in places:
                self.colours[place] &= _COLOUR
            self.victim = (self.victim + 1) % 4
            unused = [first + self.victim]
        self.colours[unused[0]] = pixel
        return unused[0]

    def stands_out(self, pixel: int) -> bool:
        """Whether `pixel` is ink on the last flat colour."""
        difference = self.layout.channel(pixel, 0) - self.layout.channel(self.last_flat, 0)
        return self.layout.level(difference) >= OUTSTANDING

    def blend(self, number: int, value: int) -> int:
        """A channel of the colour on the line from paper to ink whose first channel is `value`."""
        channel = self.layout.channel
        paper, ink = self.last_flat, self.ink
        span = channel(ink, 0) - channel(paper, 0)
        way = (value - channel(paper, 0)) * (channel(ink, number) - channel(paper, number))
        if span < 0:
            span, way = -span, -way
        # Rounded, halves away from 0.
        rounded = (2 * abs(way) + span) // (2 * span)
        result = channel(paper, number) + (-rounded if way < 0 else rounded)
        return _limited(result, self.layout.bits[number])

    def near_places(self, value: int) -> tuple[int, int]:
        """Where colours with this value of the first channel were kept: by paper and hue too, and by it alone."""
        scene = self.last_flat + 0x1_0001 * self.layout.hue(self.last_literal) & _M32
        key = (value * 0x9E37_79B1 & _M32 ^ scene) * 0x85EB_CA6B & _M32
        return key >> 32 - self.colour_bits, (1 << self.colour_bits) + value

    # Guesses.

    def look(self, total: int) -> Guess:
        """What the slot for a sum over the neighbourhood says."""
        hashed = (total ^ total >> 15) * 0x2C1B_3C6D & _M32
        slot = (hashed >> 16) * len(self.slots) >> 16
        check = hashed >> 13 & 7
        content = self.slots[slot]
        confidence = content & 7 if content >> 3 & 7 == check else 0
        return Guess(slot, check, confidence, content >> 6)

    def learn(self, guesses: list[Guess], index: int) -> None:
        """Every slot that was looked at learns which colour came.

        The large neighbourhood (order 0) is spared where the small one (order 1) knew: its slot is worth more to
        others.
        """
        spared = len(guesses) > 1 and not guesses[0].confidence
        if not (spared and guesses[1].confidence >= 2 and guesses[1].index == index):
            self._learn(guesses[0], index)
        for guess in guesses[1:]:
            self._learn(guess, index)

    def _learn(self, guess: Guess, index: int) -> None:
        # Two guesses may share a slot: what stands there now counts, not what was read.
        content = self.slots[guess.slot]
        confidence = content & 7
        if guess.confidence and guess.index == index:
            if confidence < 7:
                self.slots[guess.slot] = content + 1
        elif guess.confidence and confidence > 3:
            self.slots[guess.slot] = content - confidence + confidence // 2
        elif not guess.confidence and confidence > 1:
            self.slots[guess.slot] = content - 1
        else:
            self.slots[guess.slot] = index << 6 | guess.check << 3 | 1


class RangeDecoder:
    """Decisions out of bytes. What lies past the end of the payload is 0."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.taken = 1
        """Bytes read, the variant and those past the end included."""
        self.range = _M32
        self.code = 0
        for _ in range(4):
            self.code = self.code << 8 | self._byte()

    def _byte(self) -> int:
        byte = self.payload[self.taken] if self.taken < len(self.payload) else 0
        self.taken += 1
        return byte

    def _renew(self) -> None:
        while self.range < 1 << 24:
            self.range <<= 8
            self.code = self.code << 8 & _M32 | self._byte()

    def bit(self, probability: int) -> int:
        """One decision; `probability` of a 0 in 65536ths."""
        bound = (self.range >> 16) * probability
        if self.code < bound:
            self.range = bound
            result = 0
        else:
            self.code -= bound
            self.range -= bound
            result = 1
        self._renew()
        return result

    def even(self, count: int) -> int:
        """`count` bits, each as likely 0 as 1."""
        self.range >>= count
        value = min(self.code // self.range, (1 << count) - 1)
        self.code -= value * self.range
        self._renew()
        return value


@dataclass(frozen=True, slots=True)
class Near:
    """The pixels around the one to come: left of it, above it, and two above it."""

    w: int
    ww: int
    www: int
    n: int
    nw: int
    nww: int
    ne: int
    nee: int
    nn: int
    nne: int

    def total(self, order: int) -> int:
        """The sum whose hash finds the slot: 0 a large neighbourhood, 1 a small one, 2 to the left, 3 above."""
        if order == 2:
            total = self.w * 0xD816_3841 + self.ww * 0xCB1A_B31F + self.www * 0xA0B4_28DB + 0x2545_F491
        elif order == 3:
            total = self.n * 0x9FB2_1C65 + self.ne * 0xE654_6B65 + self.nee * 0xBF58_476D + 0x94D0_49BB
        else:
            total = self.w * 0x9E37_79B1 + self.n * 0x85EB_CA6B + self.nw * 0xC2B2_AE35 + self.ne * 0x27D4_EB2F
            if order == 0:
                total += self.ww * 0x1656_67B1 + self.nn * 0xD3A2_646D + self.nee * 0xFD70_46C5
                total += self.nww * 0xB55A_4F09 + self.nne * 0x8DA6_B343 + 0x51ED_270B
        return total & _M32


def _limited(value: int, bits: int) -> int:
    return max(0, min((1 << bits) - 1, value))


def _median(w: int, n: int, nw: int) -> int:
    """The smaller or larger neighbour at an edge, the plane through three elsewhere."""
    if nw >= max(w, n):
        return min(w, n)
    if nw <= min(w, n):
        return max(w, n)
    return w + n - nw


def _toward_zero(difference: int, shift: int) -> int:
    return -(-difference >> shift) if difference < 0 else difference >> shift


def _side(difference: int, step: int) -> int:
    return 0 if difference < -step else 2 if difference > step else 1


class _Tile:
    """One rectangle under way."""

    def __init__(self, model: Model, payload: bytes) -> None:
        self.model = model
        self.layout = model.layout
        self.rest = payload[0] == REST
        self.decoder = RangeDecoder(payload)
        self.run = 0

    # Decisions.

    def _bit(self, context: int, second: int | None = None) -> int:
        """One decision, and what its probability learns; with a second context, by the mean of both."""
        p = self.model.probabilities
        if second is None:
            bit = self.decoder.bit(p[context])
        else:
            bit = self.decoder.bit(p[context] + p[second] >> 1)
            self.model.adapt(second, bit)
        self.model.adapt(context, bit)
        return bit

    def _tree(self, context: int, count: int) -> int:
        """`count` bits, each in the context of those above it."""
        node = 1
        for _ in range(count):
            node = 2 * node + self._bit(context + node)
        return node - (1 << count)

    def _low(self, context: int, second: int | None, count: int) -> int:
        """A number of `count` bits below its leading 1: the first two have contexts, the others share one."""
        value = 1
        for number in range(count):
            node = 0 if number == 0 else value - 1 if number == 1 else 3
            value = 2 * value + self._bit(context + node, None if second is None else second + node)
        return value

    def _difference(self, context: int, second: int | None, bits: int) -> int:
        def bit(node: int) -> int:
            return self._bit(context + node, None if second is None else second + node)

        if bit(0):
            return 0
        negative = bit(1)
        exponent = 0
        while exponent < bits - 1 and not bit(2 + exponent):
            exponent += 1
        node = 10 + 4 * exponent
        size = self._low(context + node, None if second is None else second + node, exponent)
        return -size if negative else size

    # Pixels.

    def flat(self, stretch: int, *, differs: bool, breaks: int) -> int:
        """How many pixels of a stretch are flat indeed."""
        log = stretch.bit_length() - 1
        length = min(9, log)
        if self._bit(_FLAT + 8 * length + 4 * differs + breaks):
            return stretch
        exponent = 0
        while exponent < log and not self._bit(_BREAK + 13 * length + exponent):
            exponent += 1
        flat = self._low(_BREAK_LOW + 4 * exponent, None, exponent) - 1
        if flat >= stretch:
            raise _bad(f"CODEC: a break after {flat} of {stretch} flat pixels")
        return flat

    def pixel(self, near: Near, *, excluded: bool) -> int:
        """One pixel that lies in no flat stretch. `excluded`: it has another colour than its left neighbour."""
        model = self.model
        orders = 0 if self.run >= DEAF else 4 if self.rest else 3
        if orders and not excluded and near.w == near.n == near.nw:
            if self._bit(_SHORE + self._shore(near)):
                return near.w
            excluded = True
        tried = [near.w] if excluded else []
        guesses: list[Guess] = []
        before = 0
        for order in range(orders):
            guess = model.look(near.total(order))
            guesses.append(guess)
            colour = model.colour(guess.index)
            if guess.confidence and colour not in tried:
                sides = (colour == near.w) + 2 * (colour == near.n)
                if self._bit(_GUESS + 4 * (8 * (8 * order + before) + guess.confidence) + sides):
                    self.run = max(0, self.run - 1)
                    model.colours[guess.index] |= USED
                    model.learn(guesses, guess.index)
                    return colour
                tried.append(colour)
            before = guess.confidence
        pixel = self._around(near, tried)
        if pixel is None:
            pixel = self._literal(near)
        if guesses:
            model.learn(guesses, model.index(pixel))
        return pixel

    def _shore(self, near: Near) -> int:
        tone = near.ne >> self.layout.shift[0] + self.layout.bits[0] - 2 & 3
        alike = (near.ne == near.nee) + 2 * (near.nn == near.n) + 4 * (near.nne == near.ne) + 8 * (near.ww == near.w)
        return 16 * tone + alike

    def _around(self, near: Near, tried: list[int]) -> int | None:
        """A neighbour's colour, or None."""
        w, n, ne, nw = near.w, near.n, near.ne, near.nw
        alike = (w == n) + 2 * (n == ne) + 4 * (n == nw) + 8 * (w == nw)
        left: dict[int, int] = {}
        for side, colour in enumerate((w, n, ne, nw)):
            if colour not in tried:
                left.setdefault(colour, side)
        if not left or not self._bit(_AROUND + 4 * (4 * alike + min(3, len(tried))) + min(3, self.run)):
            return None
        *asked, last = left
        self.run = max(0, self.run - 1)
        for colour in asked:
            if self._bit(_WHICH + 16 * left[colour] + alike):
                return colour
        return last

    def _literal(self, near: Near) -> int:
        """A pixel that nothing foresaw."""
        layout, bits = self.layout, self.layout.bits[0]
        w, n, nw, ne = (layout.channel(pixel, 0) for pixel in (near.w, near.n, near.nw, near.ne))
        predicted = _median(w, n, nw)
        if self.run < PHOTO:
            top = min(4, bits)
            value = self._tree(_VALUE + 16 * (w >> bits - top), top)
            low = bits - top
            value = value << low | (self._tree(_LOW + 16 * value, low) if self.rest else self.decoder.even(low))
        else:
            restless = abs(w - nw) + abs(nw - n) + abs(n - ne)
            activity = sum(layout.level(restless) >= limit for limit in (1, 3, 8, 20, 50, 110, 220))
            step = (6 >> 8 - bits) + 1
            slope = 3 * _side(n - nw, step) + _side(w - nw, step)
            second = _SLOPE + RESIDUAL * slope if self.rest else None
            difference = self._difference(_DIFF_FIRST + RESIDUAL * activity, second, bits)
            value = predicted + difference & (1 << bits) - 1
        delta = value - predicted
        pixel = value if len(layout.bits) == 1 else self._colour(near, value, delta)
        self.run = self.run // 2 if layout.level(delta) >= 24 else min(RUN_MAX, self.run + 1)
        return pixel

    def _colour(self, near: Near, value: int, delta: int) -> int:
        """The colour whose first channel is `value`, which is `delta` above what was predicted."""
        model, layout = self.model, self.layout
        first, second = model.near_places(value)
        one, two = model.colour(model.near[first]), model.colour(model.near[second])
        text = self.run < PHOTO
        if text and layout.channel(one, 0) == value and self._bit(_NEAR + self.run):
            pixel = one
        elif text and layout.channel(two, 0) == value and two != one and self._bit(_NEAR + PHOTO + self.run):
            pixel = two
        else:
            pixel = self._other_channels(near, value, delta)
        model.near[first] = model.near[second] = model.index(pixel)
        model.last_literal = pixel
        if model.stands_out(pixel):
            model.ink = pixel
        return pixel

    def _other_channels(self, near: Near, value: int, delta: int) -> int:
        model, layout = self.model, self.layout
        pixel = value << layout.shift[0]
        blends = model.stands_out(model.ink)
        blending = blends and model.trust >= 0
        better = 0
        other = 0
        for number in (1, 2):
            bits = layout.bits[number]
            plain = _median(*(layout.channel(colour, number) for colour in (near.w, near.n, near.nw)))
            follow = _limited(plain + _toward_zero(delta, layout.bits[0] - bits), bits)
            blend = model.blend(number, value) if blends else 0
            by_delta = 0 if delta == 0 else 1 if abs(delta) < 8 else 2
            by_other = 3 if number == 1 else 0 if other == 0 else 1 if abs(other) < 4 else 2
            other = self._difference(_DIFF_OTHER + RESIDUAL * (3 * by_other + by_delta), None, bits)
            came = (blend if blending else follow) + other & (1 << bits) - 1
            pixel |= came << layout.shift[number]
            better += abs(follow - came) - abs(blend - came)
        if blends and better > 0:
            model.trust = min(7, model.trust + 1)
        elif blends and better < 0:
            model.trust = max(-8, model.trust - 1)
        return pixel


_LEFT: Final = 3
_RIGHT: Final = 2
"""Pixels beside a row that contexts reach."""


def decode(model: Model, payload: bytes, width: int, height: int) -> list[int]:
    """The pixels of a rectangle, row by row.

    Raises RemoteProtocolError (BAD_PAYLOAD); the model is then of no more use.
    """
    if not payload:
        raise _bad("CODEC: an empty payload")
    if payload[0] not in (LIVE, REST):
        raise _bad(f"CODEC: variant {payload[0]}")
    tile = _Tile(model, payload)
    beside = _LEFT + width + _RIGHT
    # Rows with what stands outside of them: pixel x is at _LEFT + x.
    above = above2 = [model.background] * beside
    pixels: list[int] = []
    for y in range(height):
        row = above[_LEFT : _LEFT + 1] * _LEFT
        breaks = 0
        while (at := len(row)) < _LEFT + width:
            first = at == _LEFT and y == 0
            excluded = False
            if row[-1] == above[at] == above[at + 1] == above[at - 1] and not first:
                colour = row[-1]
                stretch = 1
                while at + stretch < _LEFT + width and above[at + stretch + 1] == colour:
                    stretch += 1
                differs = above2[at] != colour or above2[at + stretch // 2] != colour
                flat = tile.flat(stretch, differs=differs, breaks=breaks)
                model.last_flat = colour
                row += [colour] * flat
                if flat == stretch:
                    continue
                breaks = min(2, breaks + 1)
                excluded = True
                at += flat
            near = Near(
                w=row[-1],
                ww=row[-2],
                www=row[-3],
                n=above[at],
                nw=above[at - 1],
                nww=above[at - 2],
                ne=above[at + 1],
                nee=above[at + 2],
                nn=above2[at],
                nne=above2[at + 1],
            )
            row.append(tile.pixel(near, excluded=excluded))
            if first:
                model.background = row[-1]
                above = above2 = [model.background] * beside
                row = [model.background] * (_LEFT + 1)
        pixels += row[_LEFT:]
        if tile.decoder.taken > len(payload) + TAIL:
            raise _bad("CODEC: the payload ends before the pixels do")
        left, right = row[_LEFT], row[-1]
        above2, above = above, [left] * _LEFT + row[_LEFT:] + [right] * _RIGHT
    if tile.decoder.taken != len(payload) + TAIL:
        raise _bad("CODEC: bytes after the last pixel")
    return pixels
