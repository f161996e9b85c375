"""What passed between this node and its peers since it started, by peer and by what it was for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from cis.api.membership.turned_away import turned_away
from cis.api.telemetry.telemetry_schema import BandwidthInForce, FlowInfo, GetStatistics, PeerFlows, PoolUse, Statistics
from cis.model import NodeId, did_of
from cis.net.traffic import Flow
from cis.node.core.table import SyncStatus
from cis.node.driver import Driver


class StatisticsOperations:
    """Answers about traffic; on the driver's loop."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._began = asyncio.get_running_loop().time()

    async def statistics(self, _: GetStatistics) -> Statistics:
        """Return all counters; peers by their names, and last what is nobody's."""
        driver, counted = self._driver, self._driver.endpoint.statistics()
        flows: dict[NodeId | None, dict[str, Flow]] = {}
        for (node, purpose), flow in driver.endpoint.traffic.flows().items():
            flows.setdefault(node, {})[purpose] = flow
        for node in driver.core.connected():
            flows.setdefault(node, {})
        peers = sorted((self._peer(node, own) for node, own in flows.items() if node or own), key=_by_name)
        gossip = driver.core.overlay.statistics()
        return Statistics(
            since_s=round(asyncio.get_running_loop().time() - self._began, 3),
            peers=tuple(peers),
            total=_told(driver.endpoint.traffic.total()),
            datagram_bytes_in=counted.bytes_in,
            datagram_bytes_out=counted.bytes_out,
            gossip_bodies=gossip.payloads,
            gossip_duplicates=gossip.duplicates,
            pool=PoolUse(
                connected=len(driver.core.links),
                connections_max=driver.core.pool.limits.links_max,
                reused=driver.endpoint.traffic.total().streams,
                **asdict(driver.core.pool.counts()),
            ),
            bandwidth=BandwidthInForce(**asdict(driver.endpoint.line.shares)),
            turned_away=turned_away(driver),
        )

    def _peer(self, node: NodeId | None, flows: Mapping[str, Flow]) -> PeerFlows:
        status = self._driver.core.status.get(node, SyncStatus()) if node is not None else SyncStatus()
        total = Flow()
        for flow in flows.values():
            total.add(flow)
        return PeerFlows(
            name=self._driver.local.cluster.name_of(node) if node is not None else "",
            did=did_of(node) if node is not None else None,
            connected=node is not None and self._driver.core.link_to(node) is not None,
            purposes={purpose: _told(flow) for purpose, flow in sorted(flows.items())},
            total=_told(total),
            sessions=status.sessions,
            changes_received=status.changes_received,
        )


def _told(flow: Flow) -> FlowInfo:
    return FlowInfo(
        bytes_in=flow.bytes_in,
        bytes_out=flow.bytes_out,
        messages_in=flow.messages_in,
        messages_out=flow.messages_out,
        held_in_s=round(flow.held_in_s, 3),
        held_out_s=round(flow.held_out_s, 3),
    )


def _by_name(one: PeerFlows) -> tuple[bool, str, str]:
    return one.did is None, one.name, one.did or ""
