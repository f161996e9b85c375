"""Gathering what `cis.api.health.why` judges: traces in the store, membership, and what is known of each member.

Without a running node what members reported last counts, as it is kept in the store; with one, those that are
connected are asked now.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from cis.api.health.doctor_schema import Row
from cis.api.health.tracing import Trace, near, trace
from cis.api.health.why import Case, Standing, Way, has_it, in_the_way, judge_here, judge_member
from cis.api.health.why_schema import Device, ExplainMemory, Explanation
from cis.api.membership.standing import removal_of
from cis.api.reading import Readers
from cis.crdt import Policy
from cis.errors import CisError
from cis.model import NodeId, SpaceId, VersionVector
from cis.node.home.local import LocalNode
from cis.node.streams.comparing import own_vectors
from cis.store.stability import reported
from cis.trust import Member
from cis.wire.membership import Role

if TYPE_CHECKING:
    from cis.node.driver import Driver

_WITHDRAWN = "withdrawn"
_DECISIONS_MAX = 1000
_KEY = "KEY"
INDEX_S = 1.0
"""How long the index is waited for, which only helps with a misspelt key."""


class RestingWhy:
    """Explains by the store alone; it blocks. ``running`` is whether that is the store of a running node."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers, *, running: bool = False) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers
        self._running = running

    def explain(self, request: ExplainMemory) -> Explanation:
        """Explain, as there is no network."""
        return self.told(request, {}, networking=False)

    def told(
        self, request: ExplainMemory, standings: Mapping[NodeId, Standing], *, networking: bool = True
    ) -> Explanation:
        """Explain, given how things stand with the members that a running node knows more of."""
        cluster = self._local.cluster
        wanted = cluster.find_former(request.node) if request.node is not None else None
        traces = self._traces(request)
        devices = [self._here(request.key, traces, standings)]
        others = [one for one in cluster.membership.members() if one.node != self._local.identity.node]
        for member in [wanted] if wanted is not None else others:
            if member.node != self._local.identity.node:
                standing = self._informed(member.node, standings.get(member.node, Standing()))
                devices.append(self._there(member, traces, standing, networking=networking))
        return Explanation(key=request.key, devices=tuple(_typed(device, request.key) for device in devices))

    # --- this device -----------------------------------------------------------------------------------------

    def _traces(self, request: ExplainMemory) -> list[Trace]:
        spaces = self._local.cluster.spaces()
        if request.space is not None:
            self._local.cluster.space(request.space)
            spaces = {request.space: spaces[request.space]}
        now_ms = self._local.clock_ms()
        with self._readers.snapshot() as reader:
            found = [trace(reader, keys, name, request.key, self._policy, now_ms) for name, keys in spaces.items()]
        return [one for one in found if one is not None]

    def _here(self, key: str, traces: Sequence[Trace], standings: Mapping[NodeId, Standing]) -> Device:
        rows = [*judge_here(traces, self._local.cluster.name_of, self._local.clock_ms())]
        if not traces:
            rows += self._unknown(key, standings)
        if (removal := removal_of(self._local)) is not None:
            found = f"this node was removed from its cluster by {removal[0]}: what is written elsewhere does not come"
            rows.append(Row(check="cluster", status="bad", found=found, fix="an admin's `cis invite`, then `cis join`"))
        return Device(
            name=self._local.cluster.me.name, here=True, has="yes" if has_it(traces) else "no", rows=tuple(rows)
        )

    def _unknown(self, key: str, standings: Mapping[NodeId, Standing]) -> list[Row]:
        """What may keep a memory away of which no change is known here."""
        cluster = self._local.cluster
        spaces = ", ".join(cluster.spaces())
        found = f"no change of it is known here, in {spaces}"
        rows = [Row(check="memory", status="bad", found=found, fix="cis memory list shows what there is")]
        rows += [
            Row(check="key", status="warn", found=f"there is {other!r}", fix=f"cis doctor --why {shlex.quote(other)}")
            for other in self._near(key)
        ]
        blind = [space for space in cluster.shared() if space not in cluster.keys.spaces]
        if blind:
            found = f"{len(blind)} are kept here that this node cannot read"
            fix = f"on an admin's node: cis acl grant {cluster.me.name} reader --space SPACE"
            rows.append(Row(check="space", status="warn", found=found, fix=fix))
        rows += [
            Row(check="removals", status="warn", found=f"{one.detail} were withdrawn here", fix="cis acl log")
            for one in self._local.decisions(_DECISIONS_MAX)
            if one.what == _WITHDRAWN
        ][-1:]
        missing = sum(self._missing(one.stated) for one in standings.values())
        if missing:
            fix = "cis p2p sync"
            rows.append(Row(check="changes", status="warn", found=f"{missing} that others hold are not here", fix=fix))
        return rows

    def _near(self, key: str) -> list[str]:
        try:
            with self._local.store.index(INDEX_S) as index:
                return near(index, key)
        except CisError:
            return []

    # --- the others ------------------------------------------------------------------------------------------

    def _there(self, member: Member, traces: Sequence[Trace], standing: Standing, *, networking: bool) -> Device:
        cluster, membership = self._local.cluster, self._local.cluster.membership
        if membership.member(member.node) is None:
            found = f"it was removed from the cluster by {cluster.remover_of(member.node)}"
            fix = f"cis acl grant {member.name} writer, or a new cis invite"
            row = Row(check="cluster", status="bad", found=found, fix=fix)
            return Device(name=member.name, here=False, has="unknown", rows=(row,))
        way = Way(member, cluster.verdict(member.node), cluster.acl.mode, standing, self._running, networking)
        if not traces:
            found = "whether it is there cannot be told from here: no change of it is known"
            rows = [Row(check="memory", status="warn", found=found, fix=f"on {member.name}: cis doctor --why KEY")]
            rows += self._ahead(member, standing)
            if not standing.connected and (hindrance := in_the_way(way)) is not None:
                rows.append(hindrance)
            return Device(name=member.name, here=False, has="unknown", rows=tuple(rows))
        lacking = {(node, space) for node, space, _ in membership.lacking()}
        cases = [
            Case(
                trace=one,
                role=Role.ADMIN if member.role is Role.ADMIN else membership.space_role(member.node, one.space),
                lacks_key=(member.node, one.space) in lacking,
                is_private=one.space == cluster.private,
                forked=self._forked(one, standing.stated.get(one.space)),
                now_ms=self._local.clock_ms(),
                way=way,
            )
            for one in traces
        ]
        return judge_member(cases, member.name)

    def _forked(self, found: Trace, stated: VersionVector | None) -> bool:
        """Tell whether a member's copy of the logs that changes are in contradicts the one here."""
        if stated is None:
            return False
        with self._readers.snapshot() as reader:
            for replica in sorted({dot.replica for dot in found.dots}):
                ours = reader.link_at(found.space, replica, stated.contiguous(replica))
                theirs = stated.heads.get(replica)
                if ours is not None and theirs is not None and ours[: len(theirs)] != theirs:
                    return True
        return False

    def _ahead(self, member: Member, standing: Standing) -> list[Row]:
        missing = self._missing(standing.stated)
        if not missing:
            return []
        found = f"{member.name} holds {missing} changes that are not here"
        return [Row(check="changes", status="warn", found=found, fix=f"cis p2p sync --node {member.name}")]

    def _missing(self, stated: Mapping[SpaceId, VersionVector]) -> int:
        own = own_vectors(self._local)
        return sum(vector.count_missing_in(own[space]) for space, vector in sorted(stated.items()) if space in own)

    def _informed(self, node: NodeId, standing: Standing) -> Standing:
        """Where a member stated nothing since this node started, what it reported before counts."""
        if standing.stated:
            return standing
        with self._readers.snapshot() as reader:
            told = {space: reported(reader, space, node) for space in self._local.cluster.shared()}
        return replace(standing, stated={space: vector for space, vector in told.items() if vector is not None})


def _typed(device: Device, key: str) -> Device:
    """Put the memory's key where commands to type name one."""
    named = tuple(msgspec.structs.replace(row, fix=row.fix.replace(_KEY, shlex.quote(key))) for row in device.rows)
    return msgspec.structs.replace(device, rows=named)


class RunningWhy:
    """Explains on the loop of a running node, having asked the connected members what they hold."""

    def __init__(self, driver: Driver, resting: RestingWhy) -> None:
        self._driver = driver
        self._resting = resting

    async def explain(self, request: ExplainMemory) -> Explanation:
        """Explain; whoever is connected has a few seconds to answer."""
        from cis.api.peers.sync_status import ask  # noqa: PLC0415 - loads the driver, which a command without a node does not

        driver = self._driver
        own = await asyncio.to_thread(own_vectors, driver.local)
        links = {link.node: link for link in driver.links.values() if link.id in driver.core.links}
        async with asyncio.TaskGroup() as group:
            asking = {node: group.create_task(ask(link, own)) for node, link in links.items()}
        answers = {node: task.result() for node, task in asking.items()}
        members = [one.node for one in driver.local.cluster.membership.members()]
        standings = {node: self._standing(node, answers.get(node)) for node in members if node != driver.core.own}
        return await asyncio.to_thread(self._resting.told, request, standings)

    def _standing(self, node: NodeId, answer: str | None) -> Standing:
        """Describe a member; ``answer`` is why it did not say what it holds, None where it was not asked."""
        core, now = self._driver.core, asyncio.get_running_loop().time()
        status, peer, link = core.status.get(node), core.book.get(node), core.link_to(node)
        told = self._driver.presence.of(node)
        refused = peer.last_error if peer is not None and link is None else ""
        return Standing(
            connected=link is not None,
            asked=answer == "",
            stated=status.stated if status is not None else {},
            stated_s=now - status.stated_at if status is not None and status.stated_at is not None else None,
            banned_s=max(0.0, core.dialling.banned.get(node, now) - now),
            parted=node in core.dialling.parted,
            syncing=link.syncing if link is not None else False,
            problem=answer or (status.last_error if status is not None else "") or refused,
            known=peer is not None and bool(peer.addresses),
            skew_ms=self._driver.skews_ms.get(node, told.skew_ms if told is not None else 0),
        )
