"""A slow, late, lossy link for real TCP: two network namespaces and a relay between their TAPs.

async with open_shaped(Link(kbit_s=1000, rtt_ms=100, loss_percent=1)) as link:
    await trio.run_process([*link.near.prefix, "ping", "-c", "3", link.far.address])
    print(await link.counters())

`python -m tilewire.simulator.shaper` measures what it makes against what was asked.
"""

from tilewire.simulator.shaper.counters import Counters, LaneCounters, Tally
from tilewire.simulator.shaper.link import MTU, Link, ShaperError
from tilewire.simulator.shaper.shaped import DeviceEnd, Place, Shaped, open_shaped

__all__ = [
    "Link",
    "ShaperError",
    "open_shaped",
    "Shaped",
    "Place",
    "DeviceEnd",
    "Counters",
    "LaneCounters",
    "Tally",
    "MTU",
]
