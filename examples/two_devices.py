"""Two members: who is there, messages, being in step, and ending a conflict.

python examples/two_devices.py workstation
"""

import asyncio
import sys

import cis


async def main(other: str) -> None:
    """Talk with one other member of the cluster."""
    async with cis.connect() as memory:
        peer = await memory.peer(other)
        print("peer:", peer.name, peer.state)

        async with memory.listen("builds") as messages:
            await memory.broadcast("builds", "green")
            message = await anext(messages)
            print("heard:", message.text, "from", message.author)

        result = await memory.sync_with(other, timeout_s=30)
        print("in step with", result.name)

        for conflict in await memory.conflicts():
            newest = max(conflict.values, key=lambda one: one.updated_ms)
            await memory.resolve(conflict, newest)
            print("resolved:", conflict.key, "as", newest.value)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1]))
    except cis.CisError as error:
        sys.exit(f"two_devices: {error}")
