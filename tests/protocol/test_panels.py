"""The five standard panels: each can say hello, and the figures fit each other."""

import pytest

from tilewire.protocol import DEFAULT_PANEL, PANELS, Capability, CursorMode, Panel
from tilewire.protocol import messages as m
from tilewire.protocol.constants import MAX_HELLO
from tilewire.protocol.states import State
from tilewire.protocol.vectors import hello

from tests.protocol.support import CLIENT, SERVER, Pair

EACH = pytest.mark.parametrize("panel", PANELS.values(), ids=lambda panel: panel.name)


def hello_of(panel: Panel) -> m.Hello:
    """What a device with this panel offers."""
    cache = m.CacheOffer(slots=panel.cache_slots, slot_bytes=panel.cache_slot_bytes)
    cursor = m.CursorOffer(mode=CursorMode.LOCAL, max_side=panel.cursor_side)
    return hello(
        device_id=panel.name,
        panel=m.Size(width=panel.width, height=panel.height),
        density=panel.density,
        pixel_format=panel.pixel_format,
        max_message=panel.max_message,
        max_rect=m.RectLimit(width=panel.max_rect_width, area=panel.max_rect_area),
        model_kib=panel.model_kib,
        cache=cache if panel.cache_slots else None,
        cursor=cursor if panel.cursor_side else None,
        capabilities=int(Capability.COPY) if panel.readable else 0,
    )


@EACH
def test_says_a_valid_hello(panel: Panel) -> None:
    offer = hello_of(panel)
    assert len(offer.encode_body()) <= MAX_HELLO
    pair = Pair(offer).open()
    assert pair.ends[CLIENT].state is pair.ends[SERVER].state is State.OPEN
    assert pair.ends[SERVER].hello == offer


@EACH
def test_figures_fit_each_other(panel: Panel) -> None:
    assert panel.max_rect_width <= panel.width or panel.max_rect_width == 16
    # The encoder can always split by rows: one row of the widest rectangle, raw, fits a message.
    assert panel.max_rect_width * panel.pixel_format.packed + 6 <= panel.max_message
    if not panel.readable:
        assert (panel.cache_slots, panel.cache_slot_bytes) == (0, 0)
    assert bool(panel.cache_slots) == bool(panel.cache_slot_bytes)


def test_names() -> None:
    assert set(PANELS) == {"threadx-512", "iot-256", "thin-1g", "legacy-2g", "mcu"}
    assert all(name == panel.name for name, panel in PANELS.items())
    assert DEFAULT_PANEL in PANELS
    assert PANELS["mcu"].big_endian
    assert not PANELS["mcu"].readable
