"""A process that is a node which finds others as its settings say: the driver and the providers of `cis up`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from cis.api.configuration.acting import options_of
from cis.api.configuration.settings import load
from cis.bench.figures import BenchFailed
from cis.discovery.dht.provider import DhtProvider
from cis.discovery.mdns import Mdns
from cis.discovery.provider import Provider
from cis.model import did_of
from cis.node.core import events
from cis.node.driver import Driver, NodeOptions
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode

ANNOUNCED_S = 60.0
MDNS_FULL = 3
"""Announcements after which a node has said on a network all that it says on its own account."""
_POLL_S = 0.02


class FinderRole:
    """``run`` first; times are seconds of this machine's monotonic clock."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._local: LocalNode | None = None
        self._driver: Driver | None = None
        self._running: asyncio.Task[None] | None = None
        self._options: NodeOptions
        self._met: asyncio.Future[tuple[float, str]] = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        if self._driver is not None and self._running is not None:
            self._driver.stop()
            await self._running
        if self._local is not None:
            self._local.close()

    async def on_run(self, home: str, settings: dict[str, object]) -> dict[str, Any]:
        """Run the node of a home; answers once its socket is open and its providers begin."""
        folder = Path(home)
        self._options = options_of(load(folder, settings), folder)
        self._local = LocalNode.open(Home(folder))
        self._driver = Driver(self._local, self._options)
        self._driver.on_event(self._on_event)
        ready = asyncio.Event()
        self._running = self._group.create_task(self._driver.run(ready.set))
        await ready.wait()
        host, port = self._driver.endpoint.address
        return {"did": did_of(self._local.identity.node), "host": host, "port": port, "at_s": time.monotonic()}

    async def on_announced(self) -> dict[str, Any]:
        """Wait until whoever looks can find this node; returns for how long that took."""
        began = time.monotonic()
        while waiting := [one.name for one in self._options.providers if not self._announced(one)]:
            if time.monotonic() - began > ANNOUNCED_S:
                raise BenchFailed(f"{', '.join(waiting)} did not announce the node within {ANNOUNCED_S:g} s")
            await asyncio.sleep(_POLL_S)
        return {"elapsed_s": time.monotonic() - began}

    async def on_met(self) -> dict[str, Any]:
        """Wait for the first authenticated connection with a member; says when it was, and what had told of it."""
        at_s, source = await self._met
        return {"at_s": at_s, "source": source}

    def _on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Connected) and not self._met.done():
            self._met.set_result((time.monotonic(), event.via.source if event.via is not None else "incoming"))

    def _announced(self, provider: Provider) -> bool:
        if isinstance(provider, DhtProvider):
            return any(one.copies for one in provider.published.values())
        if isinstance(provider, Mdns):
            return provider.statistics().sent >= MDNS_FULL
        return all(anchor.up for anchor in self._options.anchors)
