"""A process that floods a node: as a member that tells too much, or as strangers that ask too much."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from pathlib import Path
from typing import Any

from cis.errors import CisError
from cis.model import parse_did
from cis.net import Certificate, Endpoint
from cis.node.entry.greeting import reach
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.peers import Target
from cis.trust.bulletins import Told, seal_bulletin
from cis.wire.gossip import Gossip
from cis.wire.messages import Open, encode

_STEP_S = 0.01
_SEALED_MAX = 2000
_RUN = b"flooding"
_SLOW_S = 0.2


class HostileRole:
    """Requests: see the ``on_…`` methods. It runs at the least priority, as on another machine it would be."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._attacks: list[asyncio.Task[None]] = []
        self._sent = 0
        os.nice(19)

    async def close(self) -> None:
        await self.on_stop()

    async def on_member(self, home: str, node: str, host: str, port: int) -> None:
        """Flood with broadcasts as the member whose home that is, as fast as they are taken."""
        local = LocalNode.open(Home(Path(home)))
        target = Target(parse_did(node), host, port, "static")
        self._attacks.append(self._group.create_task(self._tell(local, target)))

    async def on_strangers(self, host: str, port: int, datagrams_per_s: int, connections: int) -> None:
        """Flood with broken datagrams from one address, and with connections that come to nothing."""
        self._attacks.append(self._group.create_task(self._bombard(host, port, datagrams_per_s)))
        for _ in range(connections):
            self._attacks.append(self._group.create_task(self._knock(host, port)))

    async def on_stop(self) -> dict[str, Any]:
        """End the attacks; returns how much was sent."""
        for attack in self._attacks:
            attack.cancel()
        await asyncio.gather(*self._attacks, return_exceptions=True)
        self._attacks.clear()
        return {"sent": self._sent}

    async def _tell(self, local: LocalNode, target: Target) -> None:
        keys = local.cluster.keys.spaces[local.cluster.public]
        async with await _endpoint("127.0.0.1") as endpoint:
            _, connection = await reach(endpoint, local, target)
            stream = await connection.open_stream()
            await stream.write_frame(encode(Open("gossip")))
            try:
                while True:
                    self._sent += 1
                    told = Told(_RUN, self._sent, local.clock_ms(), "noise", bytes(200))
                    body = seal_bulletin(local.identity, keys, told, local.entropy)
                    await stream.write_frame(encode(Gossip(1, bytes(8), body)))
                    if self._sent % 20 == 0:
                        await asyncio.sleep(0)
            finally:
                local.close()

    async def _bombard(self, host: str, port: int, per_s: int) -> None:
        rng = random.Random(1)
        datagrams = [rng.randbytes(rng.choice([40, 200, 1200])) for _ in range(_SEALED_MAX)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foe:
            foe.setblocking(False)  # noqa: FBT003 - socket takes it so
            foe.bind(("127.0.0.9", 0))
            foe.connect((host, port))
            while True:
                for _ in range(max(1, round(per_s * _STEP_S))):
                    with contextlib.suppress(OSError):
                        foe.send(rng.choice(datagrams))
                        self._sent += 1
                await asyncio.sleep(_STEP_S)

    async def _knock(self, host: str, port: int) -> None:
        async with await _endpoint("127.0.0.9") as endpoint:
            while True:
                with contextlib.suppress(CisError, TimeoutError):
                    async with asyncio.timeout(_SLOW_S):
                        connection = await endpoint.dial(host, port)
                        self._sent += 1
                        stream = await connection.open_stream()
                        await stream.write(os.urandom(300))
                        await connection.wait_closed()


async def _endpoint(host: str) -> Endpoint:
    return await Endpoint.open(host, 0, Certificate.generate(), on_connection=lambda _: None)
