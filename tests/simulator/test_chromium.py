"""The whole way: Chromium draws on Xvfb, the C client shows it, a click of the device follows a link."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tilewire.simulator.device import Setup, open_device

from tools import demo
from tools.served import served

FIRST = """<!DOCTYPE html><html><body style="margin:0;background:#ffffff;font:20px serif">
<a href="second.html" style="display:block;position:absolute;left:100px;top:80px;width:300px;height:90px;
background:#0000ff;color:#ffffff">follow me</a></body></html>"""
SECOND = """<!DOCTYPE html><html><body style="margin:0;background:#ff0000"></body></html>"""
LINK = (250, 150)
WHITE, BLUE, RED = 0xFFFF, 0x001F, 0xF800


async def test_click_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "first.html").write_text(FIRST)
    (tmp_path / "second.html").write_text(SECOND)
    page = (tmp_path / "first.html").as_uri()
    words = ["run", "--listen", "127.0.0.1:0", "--size", "1024x600", "--"]
    with served([*words, *demo.chromium(page, str(tmp_path / "profile"))], tmp_path / "log") as server:
        async with open_device(server.address, Setup()) as device:

            def pixel(x: int, y: int) -> int:
                return memoryview(device.memory()).cast("H")[y * 1024 + x]

            assert await device.wait_for(lambda: pixel(*LINK) == BLUE, 60)
            assert pixel(900, 500) == WHITE
            # Chromium drops input that comes before a new page has settled: a user clicks again, and so do we.
            for _ in range(20):
                device.click(*LINK)
                if await device.wait_for(lambda: pixel(*LINK) == RED, 3):
                    break
            assert pixel(*LINK) == RED
            # All of the page came, to the last row and column, as the picture file has it too.
            assert await device.wait_for(lambda: {pixel(x, y) for x in (0, 1023) for y in (0, 599)} == {RED}, 60)
            device.save_png(tmp_path / "device.png")
    with Image.open(tmp_path / "device.png") as picture:
        assert picture.size == (1024, 600)
        assert picture.getpixel((1023, 599)) == (255, 0, 0)
