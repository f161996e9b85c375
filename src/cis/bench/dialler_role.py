"""A process that connects to a node as a member, again and again, with nothing but the handshake."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from cis.errors import Fault
from cis.model import parse_did
from cis.net import Certificate, Connection, Endpoint
from cis.node.entry.greeting import greet_as_dialler
from cis.node.entry.joining import join
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.trust import HandshakeKey, Local, parse_ticket


class DiallerRole:
    """``join`` first, then ``handshake`` any number of times."""

    def __init__(self, _: asyncio.TaskGroup) -> None:
        self._local: LocalNode | None = None
        self._endpoint: Endpoint | None = None

    async def close(self) -> None:
        if self._endpoint is not None:
            await self._endpoint.close()
        if self._local is not None:
            self._local.close()

    async def on_join(self, home: str, ticket: str, name: str) -> None:
        self._local = LocalNode.create(Home(Path(home)), name)
        await join(self._local, parse_ticket(ticket), name)
        self._endpoint = await Endpoint.open("127.0.0.1", 0, Certificate.generate(), on_connection=_refuse)

    async def on_handshake(self, node: str, host: str, port: int) -> dict[str, Any]:
        """Connect, authenticate both ways, and hang up."""
        assert self._endpoint is not None
        assert self._local is not None
        local, expected = self._local, parse_did(node)
        began = time.perf_counter()
        connection = await self._endpoint.dial(host, port)
        key = HandshakeKey(local.cluster.keys.discovery_key)
        await greet_as_dialler(connection, _brought(local, connection), key, expected, local.entropy)
        elapsed_s = time.perf_counter() - began
        connection.close(Fault.NONE, "")
        return {"elapsed_s": elapsed_s}


def _brought(local: LocalNode, connection: Connection) -> Local:
    membership = local.cluster.membership
    chain = membership.chain(local.identity.node)
    return Local(
        local.identity, local.cluster.id, connection.certificate_hash, chain, membership.digest(), membership.judge
    )


def _refuse(connection: Connection) -> None:
    connection.close(Fault.REFUSED, "")
