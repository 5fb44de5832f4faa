"""Devices without hardware: the C client in this process."""
