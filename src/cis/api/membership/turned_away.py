"""What a running node turned away, slowed down or dropped because of a limit, by the limit's name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from cis.node.driver import Driver


def turned_away(driver: Driver) -> dict[str, int]:
    """Return counters since the start, those that are 0 left out; docs/security.md says what each counts."""
    return {name: count for name, count in sorted(_counters(driver)) if count}


def _counters(driver: Driver) -> Iterator[tuple[str, int]]:
    net = driver.endpoint.statistics()
    yield from ((f"datagrams_dropped.{why}", count) for why, count in net.dropped.items())
    yield from ((f"newcomers_refused.{why}", count) for why, count in net.refused.items())
    yield from ((f"connections_cut.{why}", count) for why, count in net.cut.items())
    yield "retries_sent", net.retries_sent
    yield "handshakes_timed_out", net.handshakes_timed_out
    yield "peers_paused", net.paused
    yield from driver.tally.items()
    yield "bans", driver.core.dialling.bans
    yield "dials_postponed", driver.core.dialling.postponed
    gossip = driver.core.overlay.statistics()
    yield "gossip_ids_crowded_out", gossip.crowded_out
    yield "gossip_come_too_far", gossip.too_far


def banned(driver: Driver) -> dict[str, float]:
    """Return the nodes shut out for breaking the protocol, by name, and for how many more seconds."""
    now, name_of = asyncio.get_running_loop().time(), driver.local.cluster.name_of
    until = driver.core.dialling.banned
    return {name_of(node): round(at - now, 1) for node, at in until.items() if at > now}
