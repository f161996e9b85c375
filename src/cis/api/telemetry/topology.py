"""Who is connected with whom: members are asked, and what both ends of a connection say is put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from cis.api.peers.peer_facts import age, milliseconds
from cis.api.telemetry.telemetry_schema import GetTopology, Standing, Topology, TopologyMember, TopologyTie
from cis.errors import UsageError
from cis.model import NodeId, did_of
from cis.node.bulletins.presence import Tie
from cis.node.driver import Driver
from cis.trust import Member

TIMEOUT_S_MAX = 60.0
FIRST_WORD_S = 10.0
"""Within that time of its connection a member has told that it is up."""
_Stated = Mapping[NodeId, Sequence[Tie]]


class TopologyOperations:
    """Draws the cluster as its members tell it; on the driver's loop."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._cluster = driver.local.cluster

    async def topology(self, request: GetTopology) -> Topology:
        """Ask, wait for all that are up, and return what they said; of who does not answer, what it said last."""
        if not 0 <= request.timeout_s <= TIMEOUT_S_MAX:
            raise UsageError(f"{request.timeout_s:g} s: 0 to {TIMEOUT_S_MAX:g}")
        await self._ask(request.timeout_s)
        me = self._driver.core.own
        others = sorted(
            (one for one in self._cluster.membership.members() if one.node != me), key=lambda one: (one.name, one.node)
        )
        own = TopologyMember(name=self._cluster.name_of(me), did=did_of(me), standing="self")
        stated: dict[NodeId, Sequence[Tie]] = {me: self._driver.ties()}
        for member in others:
            told = self._driver.presence.of(member.node)
            if told is not None and told.here:
                stated[member.node] = told.ties
        names = {me: own.name} | {one.node: one.name for one in others}
        return Topology((own, *map(self._member, others)), tuple(ties_between(names, stated)))

    async def _ask(self, timeout_s: float) -> None:
        """Wait until every member that is known to be up has answered, or the time is over."""
        since = self._driver.presence.ask()
        others = [one.node for one in self._cluster.membership.members() if one.node != self._driver.core.own]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(since + timeout_s):
                while any(self._awaited(node, since) for node in others):
                    await self._driver.presence.wait_told()

    def _awaited(self, node: NodeId, since: float) -> bool:
        """Tell whether a member that is up is still to answer what was asked then.

        Who has been connected for a while and never told anything cannot: it does not read the public space.
        """
        link, told = self._driver.core.link_to(node), self._driver.presence.of(node)
        if told is None:
            return link is not None and since - link.since < FIRST_WORD_S
        return (told.here or link is not None) and told.heard_at < since

    def _member(self, member: Member) -> TopologyMember:
        told = self._driver.presence.of(member.node)
        connected = self._driver.core.link_to(member.node) is not None
        up = told is not None and told.here
        standing: Standing = "told" if up else "silent" if connected else "away"
        return TopologyMember(
            name=member.name,
            did=did_of(member.node),
            standing=standing,
            told_s=age(told.heard_at, asyncio.get_running_loop().time()) if told is not None and up else None,
            version=told.version if told is not None else None,
        )


def ties_between(names: Mapping[NodeId, str], stated: _Stated) -> Iterable[TopologyTie]:
    """Put together what members state: a tie for each two of them that are connected, in the order of their names.

    What names others than these is left out. Where both ends state one, what the first states of the path counts.
    """
    found: dict[tuple[NodeId, NodeId], list[tuple[NodeId, Tie]]] = {}
    for teller, tie in chain.from_iterable(((node, tie) for tie in ties) for node, ties in stated.items()):
        other = NodeId(tie.node)
        if other in names and other != teller:
            first, second = sorted((teller, other), key=lambda node: (names[node], node))
            found.setdefault((first, second), []).append((teller, tie))
    for (first, second), tellings in sorted(found.items(), key=lambda item: tuple(map(names.__getitem__, item[0]))):
        tie = tellings[0][1]
        yield TopologyTie(
            ends=(names[first], names[second]),
            path=tie.path,
            neighbour=tie.neighbour,
            rtt_ms=milliseconds(tie.rtt_us / 1_000_000 if tie.rtt_us is not None else None),
            told_by=tuple(names[node] for node in (first, second) if any(node == teller for teller, _ in tellings)),
        )
