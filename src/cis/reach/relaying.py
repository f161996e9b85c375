"""Which TURN server relays for this node: one allocation on the first that grants it, replaced when it is lost.

UDP comes first; where a firewall lets none through, TCP and TLS take its place. They start 0.4 s later and are kept
only if UDP gives nothing ("happy eyeballs", RFC 8305, with the better kind ahead).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from cis.errors import Unavailable
from cis.reach.facts import ServerFact

if TYPE_CHECKING:
    from cis.reach.names import Names
    from cis.reach.options import TurnServer
    from cis.reach.relay import Relay, Sink

_STREAM_LATER_S = 0.4
_STREAM_S = 4.0
_RETRY_S = 0.5
_RETRY_MAX_S = 60.0
_STEADY_S = 10.0
"""A relay that was held for less is not replaced at once: a server may grant it and drop it over and over."""
_SILENT_S = 3.0
"""A relay not heard for that long is asked whether it is there before somebody is told of it."""

_Outcome = tuple["TurnServer", "Relay | None"]


class Relaying:
    """Holds ``relay`` as long as ``run`` runs; ``on_change`` is called when it came or went."""

    def __init__(
        self, servers: Sequence[TurnServer], names: Names, sink: Sink, udp_s: float, on_change: Callable[[], None]
    ) -> None:
        self._servers = tuple(servers)
        self._names = names
        self._sink = sink
        self._udp_s = udp_s
        self._on_change = on_change
        self._wake = asyncio.Event()
        self._facts = {one: ServerFact(f"{one.host}:{one.port} ({one.transport})", "turn") for one in self._servers}
        self.relay: Relay | None = None
        self.settled = not self._servers
        """Whether every server was tried, or one was found."""

    async def run(self) -> None:
        """Keep a relay where any server grants one; gives it back when cancelled."""
        wait_s = _RETRY_S
        while self._servers:
            self._wake.clear()  # what comes during the race counts: that asked on a network that may be gone
            relay = await self._race()
            self.settled = True
            began = asyncio.get_running_loop().time()
            if relay is not None:
                await self._hold(relay)
            else:
                self._on_change()
            steady = asyncio.get_running_loop().time() - began > _STEADY_S
            wait_s = _RETRY_S if steady else await self._wait(wait_s)

    def again(self) -> None:
        """The network has changed: see whether the relay is still there, or try all servers now."""
        if self.relay is not None:
            self.relay.doubt()
        self._wake.set()

    def freshen(self) -> None:
        """Make sure that the relay is there, where it was not heard lately; without one, try all servers now."""
        if self.relay is None:
            self._wake.set()
        elif self.relay.silent_s > _SILENT_S:
            self.relay.doubt()

    def facts(self) -> list[ServerFact]:
        """What became of asking each server."""
        return list(self._facts.values())

    async def _hold(self, relay: Relay) -> None:
        self.relay = relay
        self._on_change()
        try:
            await relay.serve()
        finally:
            self.relay = None
            await relay.close()
        self._on_change()

    async def _wait(self, wait_s: float) -> float:
        """Wait until it is time to try again; the time to wait after that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
                return _RETRY_S
        return min(2 * wait_s, _RETRY_MAX_S)

    async def _race(self) -> Relay | None:
        """Ask all servers; the best relay, the others given back."""
        outcomes: asyncio.Queue[_Outcome] = asyncio.Queue()
        opened: list[Relay] = []
        kept = None
        try:
            async with asyncio.TaskGroup() as group:
                trying = [group.create_task(self._try(server, outcomes)) for server in self._servers]
                kept = await self._first(outcomes, opened)
                for task in trying:
                    task.cancel()
        except BaseException:
            kept = None
            raise
        finally:
            while not outcomes.empty():
                if relay := outcomes.get_nowait()[1]:
                    opened.append(relay)
            for relay in opened:
                if relay is not kept:
                    await relay.close()
        return kept

    async def _first(self, outcomes: asyncio.Queue[_Outcome], opened: list[Relay]) -> Relay | None:
        datagrams_left = sum(server.transport == "udp" for server in self._servers)
        spare = None
        for _ in self._servers:
            server, relay = await outcomes.get()
            if relay is not None:
                opened.append(relay)
            if server.transport == "udp":
                if relay is not None:
                    return relay
                datagrams_left -= 1
            spare = spare or relay
            if spare is not None and not datagrams_left:
                break
        return spare

    async def _try(self, server: TurnServer, outcomes: asyncio.Queue[_Outcome]) -> None:
        from cis.reach.relay import open_relay  # noqa: PLC0415 - loads aioice, and most nodes have no relay

        datagrams = server.transport == "udp"
        if not datagrams and any(one.transport == "udp" for one in self._servers):
            await asyncio.sleep(_STREAM_LATER_S)
        began = time.monotonic()
        fact, relay = self._facts[server], None
        try:
            async with asyncio.timeout(self._udp_s if datagrams else _STREAM_S):
                relay = await open_relay(server, self._names, self._sink)
            fact = replace(fact, latency_s=time.monotonic() - began, error=None)
        except TimeoutError:
            fact = replace(fact, latency_s=None, error="no answer")
        except Unavailable as error:
            fact = replace(fact, latency_s=None, error=str(error))
        self._facts[server] = fact
        outcomes.put_nowait((server, relay))
