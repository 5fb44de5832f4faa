"""The five standard panels: what the simulator can be, and what benchmarks and tests speak of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tilewire.protocol.constants import PixelFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A device's screen and what the device can spend on it. Sizes in pixels, memory in bytes unless named."""

    name: str
    width: int
    height: int
    pixel_format: PixelFormat
    big_endian: bool = False
    """Multi-byte pixels are stored most significant byte first (many SPI panels)."""
    readable: bool = True
    """The framebuffer can be read: copies and the cache are possible."""
    max_message: int
    max_rect_width: int
    max_rect_area: int
    model_kib: int
    cache_slots: int
    cache_slot_bytes: int
    cursor_side: int
    """Largest local cursor; 0: a touch panel without a pointer."""
    density: int
    """Dots per inch."""
    about: str


PANELS: Final[dict[str, Panel]] = {
    panel.name: panel
    for panel in (
        Panel(
            name="threadx-512",
            width=1024,
            height=600,
            pixel_format=PixelFormat.RGB565,
            max_message=65536,
            max_rect_width=1024,
            max_rect_area=1024 * 600,
            model_kib=48,
            cache_slots=1024,
            cache_slot_bytes=8192,
            cursor_side=32,
            density=170,
            about="ThreadX board with 512 MB, 7 inch RGB panel",
        ),
        Panel(
            name="iot-256",
            width=800,
            height=480,
            pixel_format=PixelFormat.RGB565,
            max_message=16384,
            max_rect_width=800,
            max_rect_area=800 * 64,
            model_kib=32,
            cache_slots=256,
            cache_slot_bytes=8192,
            cursor_side=32,
            density=133,
            about="IoT board with 256 MB, 7 inch panel",
        ),
        Panel(
            name="thin-1g",
            width=1280,
            height=720,
            pixel_format=PixelFormat.XRGB8888,
            max_message=65536,
            max_rect_width=1280,
            max_rect_area=1280 * 720,
            model_kib=48,
            cache_slots=4096,
            cache_slot_bytes=16384,
            cursor_side=64,
            density=96,
            about="thin client with 1 GB",
        ),
        Panel(
            name="legacy-2g",
            width=1366,
            height=768,
            pixel_format=PixelFormat.XRGB8888,
            max_message=65536,
            max_rect_width=1366,
            max_rect_area=1366 * 768,
            model_kib=48,
            cache_slots=8192,
            cache_slot_bytes=16384,
            cursor_side=64,
            density=96,
            about="old notebook with 2 GB",
        ),
        Panel(
            name="mcu",
            width=320,
            height=240,
            pixel_format=PixelFormat.RGB565,
            big_endian=True,
            readable=False,
            max_message=1024,
            max_rect_width=320,
            max_rect_area=320 * 16,
            model_kib=0,
            cache_slots=0,
            cache_slot_bytes=0,
            cursor_side=0,
            density=167,
            about="microcontroller with a 2.4 inch SPI panel that cannot be read back",
        ),
    )
}

DEFAULT_PANEL: Final = "threadx-512"
