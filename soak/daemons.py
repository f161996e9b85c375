"""The nodes: `cis up` as users run it, a process each, on loopback, knowing each other's addresses and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cis
from cis.api.python.asynchronous import AsyncClient
from cis.errors import CisError
from faults.nodes import ROOT, Node

START_S, STOP_S = 300.0, 180.0
"""So long that a machine with other things to do does not end a run of an hour."""
_POLL_S = 0.2
_SETTINGS = """\
[p2p]
listen_address = "127.0.0.1"
listen_port = {port}
[p2p.discovery]
enable_mdns = false
[p2p.peers]
static_peers = [{peers}]
[metrics]
enabled = true
listen = "127.0.0.1:{metrics}"
[memory.embedding]
provider = "off"
"""


def free_tcp_port() -> int:
    """Return a TCP port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Daemon:
    """One node's home, and the process that runs in it; a life is one run of the process."""

    home: Path
    port: int
    stays: bool
    """whether it is never restarted"""
    metrics_port: int = field(default_factory=free_tcp_port)
    life: int = 0
    began: float = 0.0
    """when this life did, by the monotonic clock"""
    up: asyncio.Event = field(default_factory=asyncio.Event)
    _process: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.home.name

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it ended, by itself or not."""
        return self._process is None or self._process.returncode is not None

    @property
    def code(self) -> int | None:
        """What it ended with."""
        return self._process.returncode if self._process is not None else None

    @property
    def log(self) -> Path:
        """What it says, all lives one after the other."""
        return self.home.with_suffix(".log")

    def client(self) -> AsyncClient:
        """Return a client of it, to be entered."""
        return cis.connect(self.home)

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cis", "--home", str(self.home), "up"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
            )
        async with asyncio.timeout(START_S):
            while not await self._answers():
                if self.ended:
                    raise RuntimeError(f"{self.name} did not start: {self.told()}")
                await asyncio.sleep(_POLL_S)
        self.life += 1
        self.began = time.monotonic()
        self.up.set()

    async def _answers(self) -> bool:
        with contextlib.suppress(CisError):
            async with self.client() as node:
                return (await node.status()).pid == self.pid
        return False

    async def end(self, number: signal.Signals) -> None:
        """Send it a signal that ends it, and wait until it has."""
        assert self._process is not None
        self.up.clear()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        async with asyncio.timeout(STOP_S):
            await self._process.wait()

    def told(self) -> str:
        """Return the last of what it logged."""
        return self.log.read_text(errors="replace")[-1500:]


def daemons(nodes: Sequence[Node], staying: int) -> list[Daemon]:
    """Return daemons for the homes of a cluster, the first ones never to be restarted, with their settings written."""
    found = [Daemon(node.home, node.port, number < staying) for number, node in enumerate(nodes)]
    for daemon, node in zip(found, nodes, strict=True):
        peers = ", ".join(f'"{one.did}@127.0.0.1:{one.port}"' for one in nodes if one is not node)
        file = daemon.home / "config.toml"
        file.write_text(_SETTINGS.format(port=daemon.port, peers=peers, metrics=daemon.metrics_port), encoding="utf-8")
        file.chmod(0o600)
    return found
