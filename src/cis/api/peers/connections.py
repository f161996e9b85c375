"""The connections of a running node, and how it can reach others, as users are told of both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from cis.api.peers.reach_schema import CandidateInfo, ConnectionInfo, ListConnections, PathKind, ReachStatus
from cis.discovery.address import join_endpoint
from cis.model import did_of

if TYPE_CHECKING:
    from cis.node.driver import Driver
    from cis.node.paths.facts import CandidateFacts, PathFacts

LOSS_PACKETS_MIN = 100
"""Of fewer packets sent no share is told."""


class ConnectionOperations:
    """Answers about connections; on the driver's loop."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def connections(self, _: ListConnections) -> tuple[ConnectionInfo, ...]:
        """List the connections there are, by the peers' names."""
        found = [self._info(one) for one in self._driver.paths()]
        return tuple(sorted(found, key=lambda one: (one.name, one.did)))

    def _info(self, one: PathFacts) -> ConnectionInfo:
        now, sent = asyncio.get_running_loop().time(), one.packets_sent
        enough = sent is not None and sent >= LOSS_PACKETS_MIN
        return ConnectionInfo(
            name=self._driver.local.cluster.name_of(one.node),
            did=did_of(one.node),
            kind=cast("PathKind", one.kind),
            local=one.local,
            remote=one.remote,
            address=one.by_way_of or join_endpoint(*one.address),
            dialled=one.dialled,
            since_s=round(now - one.since, 3),
            rtt_ms=round(one.rtt_s * 1000, 3) if one.rtt_s is not None else None,
            packets_sent=sent,
            packets_lost=one.packets_lost,
            loss=round(one.packets_lost / sent, 5) if sent is not None and enough else None,
            suspect=one.suspect,
            why_not_better=one.why_not_better,
            own=_shown(one.own),
            theirs=_shown(one.theirs),
        )


def reach_status(driver: Driver) -> ReachStatus:
    """Say how the node can reach others, as far as it knows by now."""
    options, facts = driver.options.reach, driver.outreach.gatherer.facts()
    anchors = driver.options.anchors
    name_of = driver.local.cluster.name_of
    return ReachStatus(
        relayed=tuple(sorted(name_of(one.node) for one in driver.paths() if one.relayed)),
        mapping=facts.mapping,
        stun_servers=len(options.stun_servers),
        stun_failing=sum(one.kind == "stun" and bool(one.error) for one in facts.servers),
        turn_servers=len(options.turn_servers),
        turn_failing=sum(one.kind == "turn" and bool(one.error) for one in facts.servers),
        relay=facts.relay is not None,
        forwarded=bool(facts.mapped),
        anchors=len(anchors),
        anchors_up=sum(one.up for one in anchors),
    )


def _shown(candidates: Iterable[CandidateFacts]) -> tuple[CandidateInfo, ...]:
    return tuple(CandidateInfo(one.kind, join_endpoint(one.host, one.port)) for one in candidates)
