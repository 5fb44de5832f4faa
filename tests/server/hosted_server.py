"""A server process with hosted sessions, for tests that kill it: says in one line of JSON what it has, then waits.

python -m tests.server.hosted_server '{"folder": ..., "profiles": [{...}, ...], "first_uid": 0}'
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

from tilewire.server.config.models import Profile
from tilewire.server.hosted.accounts import Pool
from tilewire.server.hosted.floor import open_floor
from tilewire.server.hosted.hosted import Spec, open_hosted
from tilewire.server.values import Size

SIZE = Size(320, 200)
POOL_UIDS = 50


async def main(order: dict[str, Any]) -> None:
    pool = Pool(order["first_uid"], POOL_UIDS) if os.geteuid() == 0 else None
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(trio.open_signal_receiver(signal.SIGTERM))
        floor = await stack.enter_async_context(open_floor(Path(order["folder"]), pool=pool))
        sessions = []
        hosts = []
        for number, fields in enumerate(order["profiles"]):
            profile = Profile(**{"name": "tried", "size": SIZE, "grace_s": 1.0, **fields})
            spec = Spec(id=f"session-{number}", profile=profile, size=profile.size)
            hosts.append(hosted := await stack.enter_async_context(open_hosted(spec, floor)))
            sessions.append(
                {
                    "program": hosted.program_pid,
                    "manager": hosted.manager_pid,
                    "xvfb": hosted.xvfb_pid,
                    "display": hosted.display_name,
                    "home": str(hosted.home),
                    "uid": hosted.uid,
                }
            )
        nursery = await stack.enter_async_context(trio.open_nursery())
        for hosted in hosts:
            nursery.start_soon(hosted.run)
        print(json.dumps({"sessions": sessions, "cleared": floor.cleared}), flush=True)
        async for _ in signals:
            nursery.cancel_scope.cancel()
            break


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    trio.run(main, json.loads(sys.argv[1]))
