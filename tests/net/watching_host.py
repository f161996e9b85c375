"""A program that says what the network watch tells: ``ready``, then a line for each change."""

from __future__ import annotations

import asyncio
import sys

from cis.reach.watch import NetworkWatch


async def main() -> None:
    watch = NetworkWatch(netlink=sys.argv[1] == "netlink", poll_s=0.1)
    async with asyncio.TaskGroup() as group:
        group.create_task(watch.run(lambda change: print(change, flush=True)))
        for _ in range(3):  # it starts, and so do its tasks
            await asyncio.sleep(0)
        print("ready", flush=True)


if len(sys.argv) > 2:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
