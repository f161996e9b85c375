"""`kill -9` at random moments, of either side, while both write and synchronise: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from pathlib import Path

import pytest

from cis.model import did_of
from cis.node.driver import Driver, NodeOptions
from cis.node.home import Home
from cis.node.joining import join
from cis.node.local import LocalNode
from cis.wire.membership import Role

CHILD = Path(__file__).with_name("crash_child.py")
KILLS = int(os.environ.get("CIS_KILLS", "50"))
LIFE_MAX_S = 0.6
CONVERGENCE_S = 60.0


class Node:
    """A crash child that can be killed and started again; collects what it acknowledged."""

    def __init__(self, home: Path, word: str, did: str) -> None:
        self.home, self.word, self.did = home, word, did
        self.port = free_port()
        self.acknowledged: set[str] = set()
        self.states: list[str] = []
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def start(self, peer: Node, group: asyncio.TaskGroup) -> None:
        arguments = [str(self.home), str(self.port), peer.did, str(peer.port), self.word]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(CHILD),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        ready = asyncio.Event()
        self._reading = group.create_task(self._read(ready))
        async with asyncio.timeout(30):
            await ready.wait()

    async def _read(self, ready: asyncio.Event) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            word, _, rest = line.decode().strip().partition(" ")
            if word == "ready":
                ready.set()
            elif word == "ack" and line.endswith(b"\n"):
                self.acknowledged.add(rest)
            elif word == "state":
                self.states.append(rest)

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        await self._process.wait()
        await self._reading

    async def ask(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        await self._process.stdin.drain()

    async def state(self) -> str:
        known = len(self.states)
        await self.ask("state")
        async with asyncio.timeout(30):
            while len(self.states) == known:
                await asyncio.sleep(0)
        return self.states[-1]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def joined_homes(folder: Path) -> tuple[Node, Node]:
    """Two homes of one cluster, their nodes not running."""
    first, second = (LocalNode.create(Home(folder / name), name) for name in ("first", "second"))
    driver, ready = Driver(first, NodeOptions(host="127.0.0.1", port=0)), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(driver.run(ready.set))
        await ready.wait()
        ticket = first.cluster.invite(first.store, Role.WRITER, None, 60_000, driver.addresses())
        await join(second, ticket, "second")
        driver.stop()
    nodes = [Node(local.home.folder, local.home.folder.name, did_of(local.identity.node)) for local in (first, second)]
    first.close()
    second.close()
    return nodes[0], nodes[1]


@pytest.mark.timeout(300)
async def test_acknowledged_writes_survive_kills_of_either_side_and_both_converge(tmp_path: Path) -> None:
    rng = random.Random(KILLS)
    nodes = await joined_homes(tmp_path)
    async with asyncio.TaskGroup() as group:
        for node, peer in zip(nodes, reversed(nodes), strict=True):
            await node.start(peer, group)
        for _ in range(KILLS):
            victim = rng.randrange(2)
            await asyncio.sleep(rng.uniform(0, LIFE_MAX_S))  # the random moment itself, not a wait for anything
            await nodes[victim].kill()
            await nodes[victim].start(nodes[1 - victim], group)
        for node in nodes:
            await node.ask("quiet")
        async with asyncio.timeout(CONVERGENCE_S):
            while await nodes[0].state() != await nodes[1].state():
                await asyncio.sleep(0)
        for node in nodes:
            await node.kill(signal.SIGTERM)
    everything = nodes[0].acknowledged | nodes[1].acknowledged
    assert len(everything) > KILLS
    for node in nodes:
        with LocalNode.open(Home(node.home)) as local:
            assert local.store.check() == []
            missing = [key for key in everything if local.store.reader.recall(local.cluster.public, key) is None]
            assert missing == []
            shared = local.store.reader.recall(local.cluster.public, "shared")
            assert shared is not None
