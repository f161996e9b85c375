"""Operations of a running node on its peers; all on the driver's loop."""

from __future__ import annotations

import asyncio
import time

import msgspec

from cis.api.health.auditing import audit_with
from cis.api.peers.network_schema import (
    Connected,
    ConnectPeer,
    Disconnected,
    DisconnectPeer,
    Pinged,
    PingPeer,
    PingReply,
    SyncNow,
    SyncResult,
)
from cis.api.peers.reach_schema import AttemptInfo, ExplainPeer
from cis.discovery.address import Source, join_endpoint, split_endpoint
from cis.discovery.static import StaticPeer
from cis.errors import TimedOut, Unavailable, UsageError
from cis.model import NodeId, did_of
from cis.node.core import events
from cis.node.core.table import SyncStatus
from cis.node.driver import Driver
from cis.node.streams.links import PeerLink
from cis.peers import Target
from cis.peers.peer import BY_USER

PINGS_MAX = 100


class NetworkOperations:
    """What a user does with peers."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._core = driver.core
        self._cluster = driver.local.cluster

    async def connect(self, request: ConnectPeer) -> Connected:
        """Connect now, to a member wherever it is known to be, or to whoever answers at an address."""
        text = request.target.strip()
        target, node = self._target(text)
        if node is not None and self._core.link_to(node) is not None:
            self._driver.report(events.MeetingAsked(node))
            return Connected(self._cluster.name_of(node), did_of(node), already=True)
        try:
            async with asyncio.timeout(request.timeout_s):
                node = await self._dial(target, node)
        except TimeoutError:
            raise TimedOut(
                f"{text} did not answer within {request.timeout_s:g} s: is it up, and does UDP reach it?"
            ) from None
        return Connected(self._cluster.name_of(node), did_of(node), already=False)

    async def _dial(self, target: Target | None, node: NodeId | None) -> NodeId:
        if node is not None:
            self._driver.report(events.MeetingAsked(node))
            if target is None:
                await self._meet(node)
                return node
        assert target is not None, "an unknown node is dialled at an address"
        return await self._driver.connect(target)

    async def _meet(self, node: NodeId) -> None:
        """Wait for a connection, or for the end of the round of dials; `Unavailable` then."""
        now = asyncio.get_running_loop().time
        while self._core.link_to(node) is None:
            peer = self._core.book.get(node)
            if peer is None or (not peer.under_way and peer.due_at > now()):
                why = (peer.last_error if peer is not None else "") or "no way to it is known"
                raise Unavailable(f"could not reach {self._cluster.name_of(node)}: {why}")
            await self._driver.wait_changed()

    async def attempts(self, request: ExplainPeer) -> tuple[AttemptInfo, ...]:
        """Say what became of the last attempts at a member, the oldest first."""
        now, node = asyncio.get_running_loop().time(), self._cluster.find(request.target).node
        ended = {one: one.at + one.took_s if one.outcome else now for one in self._driver.explain(node)}
        found = (one for one, at in ended.items() if now - at <= request.within_s)
        return tuple(
            AttemptInfo(one.where, one.outcome or "under way", round(now - one.at, 3), round(one.took_s, 3))
            for one in found
        )

    async def disconnect(self, request: DisconnectPeer) -> Disconnected:
        """Close the connection with a peer, and keep it closed until `connect` or the next start."""
        member = self._cluster.find(request.target)
        if member.node == self._cluster.me.node:
            raise UsageError(f"{member.name} is this very node: `cis down` stops it")
        self._driver.report(events.PartingAsked(member.node))
        while self._core.link_to(member.node) is not None:
            await self._driver.wait_changed()
        return Disconnected(member.name)

    async def ping(self, request: PingPeer) -> Pinged:
        """Measure round trips, one after the other."""
        if not 0 < request.count <= PINGS_MAX:
            raise UsageError(f"{request.count} pings: 1 to {PINGS_MAX}")
        link = self._link(request.target)
        name = self._cluster.name_of(link.node)
        replies, skew_ms = [], 0
        try:
            async with asyncio.timeout(request.timeout_s * request.count):
                for _ in range(request.count):
                    seconds, clock_ms = await link.ping()
                    kind, address = self._path(link.node)
                    replies.append(PingReply(round(seconds * 1000, 3), kind, address))
                    skew_ms = clock_ms - self._driver.local.clock_ms()
        except TimeoutError:
            raise TimedOut(f"{name} did not answer a ping within {request.timeout_s:g} s") from None
        self._driver.skews_ms[link.node] = skew_ms
        return Pinged(name, tuple(one.rtt_ms for one in replies), skew_ms, tuple(replies))

    def _path(self, node: NodeId) -> tuple[str, str]:
        """Return what the connection with a node runs on just now, and the address at its other end."""
        found = next((one for one in self._driver.paths() if one.node == node), None)
        return (found.kind, join_endpoint(*found.address)) if found is not None else ("", "")

    async def sync(self, request: SyncNow) -> tuple[SyncResult, ...]:
        """Hold a session with one peer or all, and wait for their ends."""
        links = [self._link(request.target)] if request.target else list(self._driver.links.values())
        if not links:
            raise Unavailable("no peer is connected: `cis p2p peers` shows who is known, `cis p2p connect` dials")
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(self._sync_with(link.node, request.timeout_s)) for link in links]
        results = [task.result() for task in asking]
        if request.full:  # one after the other: each begins with a check of this node's own store
            return tuple(
                [await self._audited(one, link, request.timeout_s) for one, link in zip(results, links, strict=True)]
            )
        return tuple(results)

    async def _audited(self, result: SyncResult, link: PeerLink, timeout_s: float) -> SyncResult:
        if result.error:
            return result
        began = time.perf_counter()
        audit, error = await audit_with(link, timeout_s)
        took_s = round(result.took_s + time.perf_counter() - began, 4)
        return msgspec.structs.replace(result, audit=audit, error=error, took_s=took_s)

    async def _sync_with(self, node: NodeId, timeout_s: float) -> SyncResult:
        began = time.perf_counter()
        link = self._core.link_to(node)
        status = self._core.status.get(node, SyncStatus())
        before = (status.changes_received, status.bytes_received, status.bytes_sent)
        wanted = status.sessions + (2 if link is not None and link.syncing else 1)
        failures, error = status.failures, ""
        self._driver.report(events.SyncAsked(node))
        try:
            async with asyncio.timeout(timeout_s):
                while status.sessions < wanted:
                    if status.failures > failures or self._core.link_to(node) is None:
                        error = status.last_error or "the connection was lost"
                        break
                    await self._driver.wait_changed()
        except TimeoutError:
            error = f"not done within {timeout_s:g} s; it goes on in the background"
        after = (status.changes_received, status.bytes_received, status.bytes_sent)
        received, bytes_in, bytes_out = (now - then for now, then in zip(after, before, strict=True))
        return SyncResult(
            name=self._cluster.name_of(node),
            changes_received=received,
            bytes_received=bytes_in,
            bytes_sent=bytes_out,
            took_s=round(time.perf_counter() - began, 4),
            error=error,
        )

    # --- who is who ----------------------------------------------------------------------------------------------

    def _link(self, text: str) -> PeerLink:
        """Return the link with a connected member."""
        member = self._cluster.find(text)
        link = self._core.link_to(member.node)
        if link is None or link.id not in self._driver.links:
            raise Unavailable(f"{member.name} is not connected: `cis p2p connect {member.name}` dials it now")
        return self._driver.links[link.id]

    def _target(self, text: str) -> tuple[Target | None, NodeId | None]:
        """Read a target: the address to dial, if one is given, and the node expected, if one is named."""
        if "@" in text:
            peer = StaticPeer.parse(text if text.startswith("did:") else f"did:cis:{text}")
            node = peer.node or self._cluster.find(peer.name or "").node
            return Target(node, peer.host, peer.port, Source.STATIC.value, BY_USER), node
        if not text.startswith("did:") and (":" in text or "." in text):
            host, port = split_endpoint(text)
            return Target(None, host, port, Source.STATIC.value, BY_USER), None
        member = self._cluster.find(text)
        if member.node == self._driver.local.identity.node:
            raise UsageError(f"{member.name} is this very node")
        if not self._core.book.heard(member.node):
            raise Unavailable(
                f"no address of {member.name} is known, and no connected member or anchor to find it by: "
                f"give one, as {member.name}@HOST:PORT"
            )
        return None, member.node
