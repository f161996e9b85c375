"""How far members are in step: connected ones are asked now, of others the last word counts."""

from __future__ import annotations

import asyncio

from cis.api.peers.gossip_schema import GetSyncStatus, PeerSync, SpaceSync, SyncReport
from cis.errors import CisError
from cis.model import NodeId, VersionVector, did_of
from cis.node.core.table import SyncStatus
from cis.node.driver import Driver
from cis.node.recovery import bodies_missing
from cis.node.streams.comparing import Vectors, own_vectors
from cis.node.streams.links import PeerLink
from cis.trust import Member


class SyncStatusOperations:
    """Compares vectors; exchanges nothing."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def status(self, _: GetSyncStatus) -> SyncReport:
        """Return how things stand with every other member, connected ones first."""
        driver, core = self._driver, self._driver.core
        own = await asyncio.to_thread(own_vectors, driver.local)
        links = {link.node: link for link in driver.links.values() if link.id in core.links}
        async with asyncio.TaskGroup() as group:
            asking = {node: group.create_task(ask(link, own)) for node, link in links.items()}
        answers = {node: task.result() for node, task in asking.items()}
        members = [one for one in driver.local.cluster.membership.members() if one.node != core.own]
        found = [self._peer(member, own, answers.get(member.node)) for member in members]
        ordered = tuple(sorted(found, key=lambda one: (not one.connected, one.name)))
        return SyncReport(ordered, await asyncio.to_thread(bodies_missing, driver.local))

    def _peer(self, member: Member, own: Vectors, problem: str | None) -> PeerSync:
        """Describe a member; ``problem`` is why it did not answer, empty where it did, None where it was not asked."""
        core, node = self._driver.core, member.node
        now = asyncio.get_running_loop().time()
        link, status = core.link_to(node), core.status.get(node, SyncStatus())
        return PeerSync(
            name=member.name,
            did=did_of(node),
            connected=link is not None,
            neighbour=node in core.overlay.neighbours,
            asked=problem == "",
            stated_s=_since(status.stated_at, now),
            spaces=tuple(
                _compared(self._driver.local.cluster.space_name(space), own[space], status.stated[space])
                for space in sorted(own)
                if space in status.stated
            ),
            syncing=link.syncing if link is not None else False,
            sessions=status.sessions,
            last_success_s=_since(status.in_step_at, now),
            last_error=problem or status.last_error or self._why_not_connected(node),
            changes_received=status.changes_received,
            bytes_received=status.bytes_received,
            bytes_sent=status.bytes_sent,
        )

    def _why_not_connected(self, node: NodeId) -> str:
        peer = self._driver.core.book.get(node)
        return peer.last_error if peer is not None and self._driver.core.link_to(node) is None else ""


async def ask(link: PeerLink, own: Vectors) -> str:
    """Let a peer state what it holds; returns why it did not, empty where it did."""
    try:
        await link.compare(own)
    except TimeoutError:
        return "it did not say in time what it holds"
    except CisError as error:
        return link.blame(error)
    return ""


def _compared(name: str, mine: VersionVector, theirs: VersionVector) -> SpaceSync:
    here, there = theirs.count_missing_in(mine), mine.count_missing_in(theirs)
    return SpaceSync(name, not here and not there, here, there)


def _since(moment: float | None, now: float) -> float | None:
    return round(now - moment, 3) if moment is not None else None
