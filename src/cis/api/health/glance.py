"""A running node at a glance: who it is, whom it is connected with, what does not work, and what to type about it."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import msgspec

from cis.api.health.disk import disk_problem
from cis.api.health.remedies import remedy_of
from cis.api.membership.turned_away import banned, turned_away
from cis.api.peers.connections import reach_status
from cis.api.peers.dht import ports_of
from cis.api.peers.network_schema import GetStatus, ListPeers, NodeStatus, PeerGlance
from cis.api.peers.peering import PeerOperations
from cis.discovery.address import join_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from cis.api.embedded import EmbeddedNode
    from cis.node.driver import Driver

RENAMED_TOLD_MAX = 1000


class GlanceOperations:
    """Answers for one run of a node; ``own_problem`` returns what of the daemon's own does not work, by place."""

    def __init__(
        self, node: EmbeddedNode, driver: Driver | None, own_problem: Callable[[], dict[str, str]] = dict
    ) -> None:
        self._node = node
        self._driver = driver
        self._own_problem = own_problem
        self._began = time.monotonic()

    async def status(self, request: GetStatus) -> NodeStatus:
        """Say how the node is."""
        resting = await asyncio.to_thread(self._node.status)
        problems = self.problems()
        here = msgspec.structs.replace(
            resting,
            running=True,
            pid=os.getpid(),
            uptime_s=round(time.monotonic() - self._began, 3),
            problems=problems,
            remedies={place: remedy_of(place) for place in problems},
            renamed=self._node.local.renamed[:RENAMED_TOLD_MAX],
        )
        return await self._online(here, self._driver, ask=request.ask) if self._driver is not None else here

    def problems(self) -> dict[str, str]:
        """Return what does not work, by place."""
        found = self._own_problem() | disk_problem(self._node.local.home.folder)
        if self._driver is not None:
            found |= self._driver.problems
            for provider in self._driver.options.providers:
                found |= provider.failures()
            for transport in self._driver.options.transports:
                found |= transport.failures()
        if self._node.work.problem:
            found["embedding"] = self._node.work.problem
        return found

    async def _online(self, here: NodeStatus, driver: Driver, *, ask: bool) -> NodeStatus:
        """Add what a node that opens a socket has to tell."""
        name_of, ages_s = driver.local.cluster.name_of, driver.problems.ages_s()
        peers = await PeerOperations(driver).peers(ListPeers(which="connected", ask=ask))
        return msgspec.structs.replace(
            here,
            networking=True,
            listen=join_endpoint(*driver.endpoint.address),
            connected=tuple(sorted(map(name_of, driver.core.connected()))),
            quarantined=tuple(sorted(map(name_of, driver.quarantined()))),
            reach=reach_status(driver),
            dht_ports=ports_of(driver),
            problem_ages_s={place: round(age_s, 1) for place, age_s in ages_s.items() if place in here.problems},
            turned_away=turned_away(driver),
            banned=banned(driver),
            peers=tuple(
                PeerGlance(
                    name=one.name,
                    path=one.path,
                    rtt_ms=one.rtt_ms,
                    syncing=one.syncing,
                    in_step_s=one.in_step_s,
                    behind_here=one.behind_here,
                    behind_there=one.behind_there,
                    last_error=one.last_error,
                )
                for one in peers
            ),
        )
