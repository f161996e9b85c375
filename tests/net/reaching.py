"""What the tests of ICE share: a node that gathers and searches, a STUN responder, and a TURN server (coturn)."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aioice import stun

from cis.model import Candidate
from cis.net import Certificate, Connection, Endpoint
from cis.reach.gathering import Gatherer
from cis.reach.hub import IceHub
from cis.reach.options import ReachOptions, TurnServer
from cis.reach.session import IceSession

USER, CREDENTIAL = "ana", "not-to-be-logged"
_NO_SERVERS = ReachOptions()
TURNSERVER = shutil.which("turnserver")


@dataclass
class Searcher:
    """One node as far as reaching goes."""

    endpoint: Endpoint
    hub: IceHub
    gatherer: Gatherer
    accepted: asyncio.Queue[Connection] = field(default_factory=asyncio.Queue)

    def session(self, controlling: bool, relay_hold_s: float = 1.0) -> IceSession:
        return IceSession(self.hub, self.gatherer, controlling=controlling, relay_hold_s=relay_hold_s)


@asynccontextmanager
async def searcher(
    options: ReachOptions = _NO_SERVERS, host: str = "127.0.0.1", *, relay_only: bool = False
) -> AsyncIterator[Searcher]:
    """Open a node; with ``relay_only`` it has no addresses of its own."""
    accepted: asyncio.Queue[Connection] = asyncio.Queue()
    async with await Endpoint.open(host, 0, Certificate.generate(), on_connection=accepted.put_nowait) as endpoint:
        own = "::1" if host == "::1" else "127.0.0.1"
        hosts = () if relay_only else (Candidate(own, endpoint.address[1], "lan"),)
        hub = IceHub(endpoint)
        gatherer = Gatherer(endpoint, hub, options, lambda: hosts, None)
        async with asyncio.TaskGroup() as group:
            gathering = group.create_task(gatherer.run())
            try:
                yield Searcher(endpoint, hub, gatherer, accepted)
            finally:
                gathering.cancel()


def introduce(a: IceSession, b: IceSession) -> None:
    """Carry offer and answer."""
    a.peer(b.ufrag, b.password, b.candidates())
    b.peer(a.ufrag, a.password, a.candidates())
    a.more((), last=True)
    b.more((), last=True)


class Responder(asyncio.DatagramProtocol):
    """A STUN server on loopback that says ``seen``, or the truth."""

    def __init__(self, seen: tuple[str, int] | None = None) -> None:
        self.seen = seen
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.address: tuple[str, int] = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        request = stun.parse_message(data)
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = self.seen or addr[:2]
        self.transport.sendto(bytes(response), addr)


@asynccontextmanager
async def responder(seen: tuple[str, int] | None = None) -> AsyncIterator[Responder]:
    """Answer STUN as long as the context lasts."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: Responder(seen), local_addr=("127.0.0.1", 0))
    try:
        yield protocol
    finally:
        transport.close()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Turn:
    """A running coturn."""

    process: asyncio.subprocess.Process
    port: int
    tls_port: int
    log: Path

    def server(self, transport: str = "udp", host: str = "127.0.0.1", credential: str = CREDENTIAL) -> TurnServer:
        port = self.tls_port if transport == "tls" else self.port
        return TurnServer(host, port, transport, USER, credential)


@asynccontextmanager
async def turn_server(folder: Path, *more: str) -> AsyncIterator[Turn]:
    """Run coturn on loopback, where it may relay to loopback."""
    assert TURNSERVER is not None
    port, tls_port, log = free_port(), free_port(), folder / "turn.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            TURNSERVER, "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}",
            f"--tls-listening-port={tls_port}", "--lt-cred-mech", "--realm=cis", f"--user={USER}:{CREDENTIAL}",
            "--fingerprint", "--verbose", "--no-cli", "--allow-loopback-peers", "--log-file=stdout", "--simple-log",
            f"--pidfile={folder / 'turn.pid'}", f"--db={folder / 'turndb'}", *more,
            stdout=output, stderr=output,
        )  # fmt: skip
        try:
            await _listening(port)
            yield Turn(process, port, tls_port, log)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0)
            else:
                writer.close()
                return
