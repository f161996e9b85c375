"""A process that is a node: the real store, driver and sockets, told what to do by the benchmark."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

from cis.bench.figures import BenchFailed
from cis.bench.live import publish, witness
from cis.bench.settled import SETTLE_S, settle, state
from cis.bench.stopwatch import watch_node
from cis.bench.usage import usage
from cis.bench.workload import Workload
from cis.bench.writing import changesets_of_one, embedding, pages_written, write_all, write_one_by_one
from cis.model import did_of, parse_did
from cis.node.driver import Driver, NodeOptions
from cis.node.entry.joining import join
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.node.process import prepare_process
from cis.peers import Target
from cis.trust import parse_ticket
from cis.wire.membership import Role as MemberRole

POLL_S = 0.002
_TICKET_MS = 600_000
_NEVER_S = 86_400.0
"""Sessions begin when the benchmark says so."""


class NodeRole:
    """Requests: see the ``on_…`` methods; times are seconds of this machine's monotonic clock."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        prepare_process()
        self._group = group
        self._stopwatch = watch_node()
        self._local: LocalNode | None = None
        self._driver: Driver | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def local(self) -> LocalNode:
        assert self._local is not None, "create or open first"
        return self._local

    @property
    def driver(self) -> Driver:
        assert self._driver is not None, "start first"
        return self._driver

    async def close(self) -> None:
        await self.on_stop()
        if self._local is not None:
            self._local.close()
            self._local = None

    # --- life ----------------------------------------------------------------------------------------------------

    async def on_create(self, home: str, name: str) -> None:
        self._local = LocalNode.create(Home(Path(home)), name)

    async def on_open(self, home: str) -> None:
        self._local = LocalNode.open(Home(Path(home)))

    async def on_start(self) -> dict[str, Any]:
        """Run the node on a free port of loopback; answers when it is ready."""
        ready = asyncio.Event()
        self._driver = Driver(self.local, NodeOptions(host="127.0.0.1", port=0, sync_interval_s=_NEVER_S))
        self._running = self._group.create_task(self._driver.run(ready.set))
        await ready.wait()
        host, port = self._driver.endpoint.address
        return {"node": did_of(self.local.identity.node), "host": host, "port": port, "at_s": time.monotonic()}

    async def on_stop(self) -> None:
        if self._driver is not None and self._running is not None:
            self._driver.stop()
            await self._running
            self._driver = None

    async def on_invite(self) -> dict[str, Any]:
        addresses = self.driver.addresses()
        ticket = self.local.cluster.invite(self.local.store, MemberRole.WRITER, None, _TICKET_MS, addresses)
        return {"ticket": ticket.to_text()}

    async def on_join(self, ticket: str, name: str) -> None:
        await join(self.local, parse_ticket(ticket), name)

    # --- writing and pulling -------------------------------------------------------------------------------------

    async def on_write(self, workload: dict[str, Any], part: str, *, single: bool = False) -> dict[str, Any]:
        """Write a part of the workload, ``base`` or ``writes``, through the full local path."""
        load, space = Workload(**workload), self.local.cluster.public
        writes = list(load.base(space) if part == "base" else load.writes(space))
        self._stopwatch.take()
        with changesets_of_one() if single else contextlib.nullcontext():
            elapsed_s = await asyncio.to_thread(write_all, self.local.store, writes, single=single)
        return {"elapsed_s": elapsed_s, "written": len(writes), "stages": self._stopwatch.take()}

    async def on_write_one_by_one(self, workload: dict[str, Any]) -> dict[str, Any]:
        """Write each once the one before it is durable, while the model, if there is one, embeds behind."""
        writes = list(Workload(**workload).writes(self.local.cluster.public))
        with embedding(self.local) as model, pages_written() as pages:
            latencies = await asyncio.to_thread(write_one_by_one, self.local.store, writes)
        return {"latencies_ms": latencies, "model": model, "pages": pages}

    async def on_connect(self, node: str, host: str, port: int, sessions: int = 1) -> dict[str, Any]:
        """Connect and hold a session to its end; the clock runs from the asking to the last acknowledgement."""
        peer = parse_did(node)
        before = usage()
        self._stopwatch.take()
        loop_cpu = time.thread_time()
        began = time.perf_counter()
        await self.driver.connect(Target(peer, host, port, "static"))
        status = self.driver.core.status[peer]
        while status.sessions < sessions:
            if status.last_error:
                raise BenchFailed(f"the session failed: {status.last_error}")
            await asyncio.sleep(POLL_S)
        elapsed_s = time.perf_counter() - began
        after = usage()
        stages = self._stopwatch.take()
        stages["net"] = {"wall_s": 0.0, "cpu_s": time.thread_time() - loop_cpu, "calls": 1}
        return {
            "elapsed_s": elapsed_s,
            "changes": status.changes_received,
            "bytes": status.bytes_received,
            "cpu_s": after["cpu_s"] - before["cpu_s"],
            "stages": stages,
        }

    async def on_mark(self) -> dict[str, Any]:
        """Return processor times and stages since the last mark, and forget the stages; asked for on the loop."""
        counted = {"loop_cpu_s": time.thread_time(), "stages": self._stopwatch.take(), **usage()}
        if self._driver is not None:
            statistics = self._driver.endpoint.statistics()
            counted |= {"bytes_in": statistics.bytes_in, "bytes_out": statistics.bytes_out}
            counted |= {"links": len(self._driver.links)}
        return counted

    async def on_turned_away(self) -> dict[str, Any]:
        """Return what this node turned away or slowed down since it started."""
        from cis.api.membership.turned_away import turned_away

        return {"counts": turned_away(self.driver)}

    async def on_resync(self, node: str) -> dict[str, Any]:
        """Hold one more session over the connection there is."""
        from cis.bench.counted_session import resync

        return await resync(self.driver, parse_did(node))

    # --- live ----------------------------------------------------------------------------------------------------

    async def on_publish(self, updates: int, pause_s: float) -> dict[str, Any]:
        return {"committed_at_s": await publish(self.local, updates, pause_s)}

    async def on_witness(self, updates: int) -> dict[str, Any]:
        return {"seen_at_s": await witness(self.local, self.driver, updates)}

    # --- state ---------------------------------------------------------------------------------------------------

    async def on_settle(self, limit_s: float = SETTLE_S) -> dict[str, Any]:
        """Wait until what runs behind the merge has nothing left to do: index filled, rows folded."""
        began = time.perf_counter()
        await asyncio.to_thread(settle, self.local, limit_s)
        return {"elapsed_s": time.perf_counter() - began}

    async def on_state(self) -> dict[str, Any]:
        """Return the state hash of the public space, and how many memories it holds."""
        return await asyncio.to_thread(state, self.local)
