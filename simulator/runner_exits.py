"""How `tilewire-sim run` and `replay --qemu` end: an exit status for each cause. docs/device.md has the table."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from tilewire.simulator.exits import Exit


class RunExit(IntEnum):
    """The runner's own; 64 to 79 are the firmware's (exits.py), 2 is a wrong command line."""

    DONE = 0
    FAILED = 1
    WRONG_KEY = 78
    NO_CONNECTION = 79
    NO_QEMU = 80
    OLD_QEMU = 81
    NO_FIRMWARE = 82
    NO_LINK = 83
    BAD_SCRIPT = 84
    ASSERTION = 85
    WAITED = 86
    QEMU = 87
    NO_OCR = 88
    NO_DISPLAY = 89
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: Final[dict[int, str]] = {
    RunExit.DONE: "done",
    RunExit.FAILED: "anything that has no status of its own, such as a file that cannot be written",
    2: "the command line is wrong",
    Exit.BAD_PANEL: "wrong panel: the LCD controller cannot show it",
    Exit.NO_MEMORY: "the device has too little memory for what it is told to be",
    Exit.TRAP: "the firmware trapped: an instruction or an access that is not allowed",
    Exit.STUCK: "the firmware's main loop stood still; its watchdog said so",
    Exit.INTERNAL: "an error in the firmware or its configuration (also 64, 65, 67, 69)",
    Exit.ENDED: "the server ended the session",
    Exit.REFUSED: "the server refused the device",
    Exit.LOST: "the server is gone: nobody listens, or the connection was lost (without --reconnect)",
    Exit.BAD_RECORDING: "the recording could not be played to its end",
    Exit.GARBAGE: "garbage: what the server sent is not tilewire",
    RunExit.WRONG_KEY: "wrong key, or none where the server wants one",
    RunExit.NO_CONNECTION: "no answer, or no picture within --connect-within seconds: a link that loses everything",
    RunExit.NO_QEMU: "qemu-system-arm is missing",
    RunExit.OLD_QEMU: "qemu-system-arm is too old",
    RunExit.NO_FIRMWARE: "the firmware, or lwIP's source that it is built of, is missing",
    RunExit.NO_LINK: "no link can be shaped here: no namespaces are to be had",
    RunExit.BAD_SCRIPT: "the script is wrong",
    RunExit.ASSERTION: "an assertion of the script failed",
    RunExit.WAITED: "a step of the script waited in vain",
    RunExit.QEMU: "QEMU did not start, or ended by itself",
    RunExit.NO_OCR: "a step reads text, and tesseract is missing",
    RunExit.NO_DISPLAY: "--window: there is no display, or QEMU was built without one",
    RunExit.INTERRUPTED: "ctrl-C",
    RunExit.TERMINATED: "SIGTERM or SIGHUP",
}


class RunError(Exception):
    """The runner ends: one plain sentence, with the exit status."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = int(code)


def table() -> str:
    """For --help."""
    return "\n".join(f"  {code:3d}  {meaning}" for code, meaning in sorted(MEANINGS.items()))
