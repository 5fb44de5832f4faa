"""What `open_device` leaves where there is no device."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tilewire.simulator.client import ClientError
from tilewire.simulator.device import Setup, open_device
from tilewire.simulator.recording import Recording

from tests.support import LOOPBACK, descriptors


async def test_a_configuration_that_the_client_refuses_leaves_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "session.rec"
    before = descriptors()
    recording = Recording(path, title="none", panel_name="mcu", keep_input=False)
    with pytest.raises(ClientError):
        async with open_device(f"{LOOPBACK}:1", Setup(device_id="x" * 65, recording=recording)):
            pytest.fail("there is no such device")
    assert not recording.is_open
    assert os.listdir(tmp_path) == []
    assert descriptors() == before
