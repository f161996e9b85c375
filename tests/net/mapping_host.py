"""A program for the host of a home: holds a mapping by the protocols named, and says on its output what happens.

``python mapping_host.py PORT often|no PROTOCOL…`` checks its mapping often or never, and prints a JSON line for each
change of it and each datagram that comes to its port, ``facts`` on request; its input takes ``again``, ``facts`` and
``stop``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from cis.reach.portmap import Gateway, Mapper, mapper
from cis.reach.portmap.values import PortmapClient

PORT, CHECKS, WANTED = int(sys.argv[1]), sys.argv[2], sys.argv[3:]


def say(event: str, **what: object) -> None:
    print(json.dumps({"event": event, **what}, default=str), flush=True)


def clients(gateway: Gateway | None, port: int) -> Sequence[PortmapClient]:
    return [client for client in mapper.clients_of(gateway, port) if client.name in WANTED]


class Listener(asyncio.DatagramProtocol):
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        say("datagram", text=data.decode())


async def main() -> None:
    mapper.CHECK_S = 0.2 if CHECKS == "often" else 1000.0
    mapper.SILENT_S = 0.2
    mapper.RETRY_S = 0.5
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Listener, local_addr=("0.0.0.0", PORT))
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    held = Mapper(PORT, lambda: say("mapping", mapping=held.mapping and asdict(held.mapping)), clients=clients)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(held.run())
        while (word := (await lines.readline()).decode().strip()) not in {"stop", ""}:
            if word == "again":
                held.again()
            else:
                say("facts", facts=asdict(held.facts()))
        running.cancel()
    say("stopped")


asyncio.run(main())
