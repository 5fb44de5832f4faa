"""How the QEMU device ends: the exit status of its firmware, and so of QEMU."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """simulator/firmware/board/exits.h is the same table for C; a test compares them. QEMU itself uses 1."""

    STOPPED = 0
    """Stopped as it was told."""
    NO_CONFIG = 64
    """No configuration was loaded."""
    BAD_CONFIG = 65
    """The configuration is wrong."""
    BAD_PANEL = 66
    """The panel cannot be shown."""
    NO_ETHERNET = 67
    """The Ethernet controller is not there."""
    NO_MEMORY = 68
    """The configuration asks for more memory than there is."""
    NO_RANDOM = 69
    """A key without random numbers proves nothing."""
    TRAP = 70
    """An instruction or an access that is not allowed."""
    STUCK = 71
    """The main loop stood still."""
    INTERNAL = 72
    """An error in the firmware."""
    ENDED = 73
    """The server ended the connection for good."""
    REFUSED = 74
    """The server refused the device, or the device the server."""
    LOST = 75
    """The connection was lost, and the device was told not to come back."""
    BAD_RECORDING = 76
    """The recording could not be played to its end."""
    GARBAGE = 77
    """What the server sent is not tilewire."""
