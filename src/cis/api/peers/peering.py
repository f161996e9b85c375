"""Who the peers are and how things stand with each: what the book, the connections and presence know, in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from cis.api.peers.network_schema import ListPeers, PeerInfo
from cis.api.peers.peer_facts import addresses, age, milliseconds, score_parts
from cis.api.peers.sync_status import ask
from cis.discovery.address import join_endpoint
from cis.model import NodeId, SpaceId, VersionVector, did_of
from cis.node.core.table import Link, SyncStatus
from cis.node.driver import Driver
from cis.node.paths.facts import PathFacts
from cis.node.streams.comparing import Vectors, own_vectors
from cis.node.streams.links import PeerLink
from cis.peers import Peer
from cis.peers.score import best_way, score_of

ASK_S = 1.0
"""How long peers have to say what they hold when they are listed."""


class PeerOperations:
    """Lists peers of a running node; on its loop."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._core = driver.core
        self._cluster = driver.local.cluster

    async def peers(self, request: ListPeers) -> tuple[PeerInfo, ...]:
        """List peers: the connected, those known from discovery, and members never met."""
        own = await asyncio.to_thread(own_vectors, self._driver.local)
        if request.ask:
            await self._ask([link for link in self._driver.links.values() if link.id in self._core.links], own)
        paths = {facts.node: facts for facts in self._driver.paths()}
        found = sorted(self._peers(own, paths), key=lambda one: (one.state != "connected", one.name))
        if request.which == "connected":
            return tuple(one for one in found if one.state == "connected")
        if request.which == "discovered":
            return tuple(one for one in found if one.address is not None)
        return tuple(found)

    async def _ask(self, links: Sequence[PeerLink], own: Vectors) -> None:
        """Let the connected ones say what they hold; who takes long is passed over."""
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(ask(link, own)) for link in links]
            if asking:
                _, late = await asyncio.wait(asking, timeout=ASK_S)
                for task in late:
                    task.cancel()

    def _peers(self, own: Vectors, paths: Mapping[NodeId, PathFacts]) -> Iterator[PeerInfo]:
        me = self._core.own
        seen: set[NodeId] = set()
        for peer in self._core.book:
            if peer.node != me:
                if peer.node is not None:
                    seen.add(peer.node)
                yield self._info(peer, peer.node, own, paths)
        for member in self._cluster.membership.members():
            if member.node not in seen and member.node != me:
                yield self._info(Peer(member.node), member.node, own, paths)

    def _info(self, peer: Peer, node: NodeId | None, own: Vectors, paths: Mapping[NodeId, PathFacts]) -> PeerInfo:
        now = asyncio.get_running_loop().time()
        link = self._core.link_to(node) if node is not None else None
        facts = paths.get(node) if node is not None and link is not None else None
        status = self._core.status.get(node, SyncStatus()) if node is not None else SyncStatus()
        address, source = self._address(peer, link, now)
        told = self._driver.presence.of(node) if node is not None else None
        up = told is not None and told.here
        skew_ms = self._driver.skews_ms.get(node) if node is not None else None
        here, there = _lag(own, status.stated) if status.stated_at is not None else (None, None)
        waiting = link is None and (peer.under_way or self._core.book.waits(peer))
        return PeerInfo(
            name=self._cluster.name_of(node) if node is not None else "",
            did=did_of(node) if node is not None else None,
            state="connected" if link is not None else "up" if up else peer.state.value,
            neighbour=node in self._core.overlay.neighbours,
            address=address,
            source=source,
            connected_s=round(now - link.since, 3) if link is not None else None,
            rtt_ms=milliseconds(facts.rtt_s if facts is not None else peer.rtt_s),
            skew_ms=skew_ms if skew_ms is not None or told is None else told.skew_ms,
            version=told.version if told is not None else None,
            told_s=age(told.heard_at, now) if told is not None and told.here else None,
            sessions=status.sessions,
            in_step_s=age(status.in_step_at, now),
            syncing=link.syncing if link is not None else False,
            changes_received=status.changes_received,
            bytes_received=status.bytes_received,
            bytes_sent=status.bytes_sent,
            last_error=status.last_error or peer.last_error,
            successes=peer.successes,
            failures=peer.failures,
            path=facts.kind if facts is not None else peer.kind,
            seen_s=0.0 if link is not None else age(peer.seen_at, now),
            found_by=peer.found_by,
            score=round(score_of(peer, now).total, 4),
            why=score_parts(peer, now),
            failed_in_row=peer.streak,
            next_attempt_s=round(max(0.0, peer.due_at - now), 3) if waiting else None,
            behind_here=here,
            behind_there=there,
            addresses=addresses(peer, now),
        )

    def _address(self, peer: Peer, link: Link | None, now: float) -> tuple[str | None, str | None]:
        """Where it is, or would be looked for first, and who says so."""
        if link is not None and link.id in self._driver.links:
            place = join_endpoint(*self._driver.links[link.id].connection.peer_address)
            return place, "dialled" if link.via is not None else "incoming"
        best = best_way(peer, now)
        return (join_endpoint(best.host, best.port), best.source) if best is not None else (None, None)


def _lag(own: Vectors, stated: Mapping[SpaceId, VersionVector]) -> tuple[int, int]:
    """Count the changes that a peer holds and this node does not, and the reverse."""
    both = [(own[space], stated[space]) for space in sorted(own) if space in stated]
    here = sum(theirs.count_missing_in(mine) for mine, theirs in both)
    return here, sum(mine.count_missing_in(theirs) for mine, theirs in both)
