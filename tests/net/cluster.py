"""Nodes of one cluster inside the test's own process, with real stores and real QUIC on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cis.model import Kind
from cis.node.core.events import Sighted
from cis.node.driver import Driver, NodeOptions
from cis.node.entry.joining import join
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.peers import Target
from cis.store.author import Write
from cis.wire.content import Content
from cis.wire.membership import Role

PATIENCE_S = 20.0


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds, looking again after every turn of the loop."""
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0)


async def put(local: LocalNode, key: str, value: bytes, *, private: bool = False) -> None:
    space = local.cluster.private if private else local.cluster.public
    await asyncio.wrap_future(local.store.write([Write(space, Kind.PUT, Content(key, value))]))


async def delete(local: LocalNode, key: str) -> None:
    await asyncio.wrap_future(local.store.write([Write(local.cluster.public, Kind.DELETE, Content(key))]))


def value(local: LocalNode, key: str) -> bytes | None:
    recalled = local.store.reader.recall(local.cluster.public, key)
    content = recalled.latest.content if recalled is not None else None
    return content.value if content is not None else None


def state(local: LocalNode) -> bytes:
    with local.store.snapshot() as snapshot:
        return snapshot.state_hash(local.cluster.public)


@asynccontextmanager
async def running(local: LocalNode, **options: object) -> AsyncIterator[Driver]:
    """Run a node on a free port of loopback."""
    settings: dict[str, object] = {"host": "127.0.0.1", "port": 0, "sync_interval_s": 60.0, **options}
    driver, ready = Driver(local, NodeOptions(**settings)), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(driver.run(ready.set))
        await ready.wait()
        try:
            yield driver
        finally:
            driver.stop()


def meet(driver: Driver, other: Driver) -> None:
    """Tell a node where another is."""
    host, port = other.endpoint.address
    driver.report(Sighted(Target(other.local.identity.node, host, port, "static")))


async def cluster(folder: Path, *names: str) -> list[LocalNode]:
    """Make nodes of one cluster, each joined by a ticket of the first; none is running afterwards."""
    nodes = [LocalNode.create(Home(folder / name), name) for name in names]
    async with running(nodes[0]) as driver:
        for node in nodes[1:]:
            ticket = nodes[0].cluster.invite(nodes[0].store, Role.WRITER, None, 60_000, driver.addresses())
            await join(node, ticket, node.home.folder.name)
    return nodes
