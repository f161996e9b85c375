"""What a session costs when nothing changed: bytes, frames and flights of one session over a live connection."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from cis.bench.figures import BenchFailed
from cis.node.core import events
from cis.sync import Session

if TYPE_CHECKING:
    from cis.model import NodeId
    from cis.node.driver import Driver

_POLL_S = 0.0005
_SESSION_S = 30.0


async def resync(driver: Driver, peer: NodeId) -> dict[str, Any]:
    """Hold one session; ``round_trips`` is how often it waited for the peer, which is each frame it received."""
    status = driver.core.status[peer]
    link = next(link for link in driver.links.values() if link.node == peer)
    before, bytes_before = status.sessions, link.connection.statistics()
    received = 0
    receive = Session.receive

    def counted(session: Session, *arguments: Any) -> Any:  # noqa: ANN401 - passed on as they are
        nonlocal received
        received += 1
        return receive(session, *arguments)

    Session.receive = counted  # type: ignore[assignment, method-assign] # the benchmark's process alone
    began = time.perf_counter()
    try:
        driver.report(events.SyncAsked(peer))
        async with asyncio.timeout(_SESSION_S):
            while status.sessions == before:  # noqa: ASYNC110 - sessions end without an event, which only we want
                await asyncio.sleep(_POLL_S)
    finally:
        Session.receive = receive  # type: ignore[method-assign] # as above
    if status.last_error:
        raise BenchFailed(f"the session failed: {status.last_error}")
    after = link.connection.statistics()
    return {
        "bytes": after.bytes_in + after.bytes_out - bytes_before.bytes_in - bytes_before.bytes_out,
        "round_trips": received,
        "elapsed_ms": (time.perf_counter() - began) * 1e3,
    }
