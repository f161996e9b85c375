"""How long round trips take: with every connected peer, all measured at the same time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from cis.api.telemetry.telemetry_schema import LatencyReport, MeasureLatency, PeerLatency
from cis.errors import CisError, Unavailable, UsageError
from cis.model import did_of
from cis.node.driver import Driver
from cis.node.streams.links import PeerLink

COUNT_MAX = 100
"""Pings of one test; the other side slows down who asks for many more."""
INTERVAL_S_MAX = 10.0


class LatencyOperations:
    """Measures round trips; on the driver's loop."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def measure(self, request: MeasureLatency) -> LatencyReport:
        """Ping all peers side by side; one that does not answer takes nothing from the others."""
        if not 0 < request.count <= COUNT_MAX:
            raise UsageError(f"{request.count} round trips: 1 to {COUNT_MAX}")
        if not 0 <= request.interval_s <= INTERVAL_S_MAX:
            raise UsageError(f"{request.interval_s:g} s between round trips: 0 to {INTERVAL_S_MAX:g}")
        links = [link for link in self._driver.links.values() if self._driver.core.link_to(link.node) is not None]
        used = {link.node: link for link in links}
        if not used:
            raise Unavailable("no peer is connected: `cis p2p peers` shows who is known, `cis p2p connect` dials")
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(self._with(link, request)) for link in used.values()]
        peers = sorted((task.result() for task in asking), key=lambda one: (one.name, one.did))
        return LatencyReport(
            peers=tuple(peers), **percentiles(sorted(rtt_ms for one in peers for rtt_ms in one.rtt_ms))
        )

    async def _with(self, link: PeerLink, request: MeasureLatency) -> PeerLatency:
        rtts: list[float] = []
        error = ""
        try:
            for number in range(request.count):
                if number:
                    await asyncio.sleep(request.interval_s)
                async with asyncio.timeout(request.timeout_s):
                    seconds, _ = await link.ping()
                rtts.append(round(seconds * 1000, 3))
        except TimeoutError:
            error = f"no answer within {request.timeout_s:g} s"
        except CisError as failed:
            error = str(failed)
        rtts.sort()
        path = next((one.kind for one in self._driver.paths() if one.node == link.node), "")
        return PeerLatency(
            name=self._driver.local.cluster.name_of(link.node),
            did=did_of(link.node),
            path=path,
            rtt_ms=tuple(rtts),
            error=error,
            **percentiles(rtts),
        )


def percentiles(ordered: Sequence[float]) -> dict[str, float | None]:
    """Return p50, p90 and p99 of sorted figures by the nearest rank."""
    return {f"p{share}_ms": _at(ordered, share) for share in (50, 90, 99)}


def _at(ordered: Sequence[float], share: int) -> float | None:
    return ordered[math.ceil(len(ordered) * share / 100) - 1] if ordered else None
