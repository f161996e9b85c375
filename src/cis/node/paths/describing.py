"""How the connections of a node run, put together for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cis.model import Candidate, NodeId
from cis.net.paths import unmapped
from cis.node.bulletins.presence import Tie
from cis.node.core.core import Core
from cis.node.core.events import LinkId
from cis.node.core.table import Link
from cis.node.paths.facts import CandidateFacts, PathFacts, kind_of
from cis.node.paths.outreach import Outreach
from cis.node.streams.links import PeerLink
from cis.peers.places import is_local

_KINDS = {"mapped": "mapped", "relayed": "relay"}
"""Kinds of candidates by the path a record says they are for."""


class Describing:
    """Asks the parts that know; ``record_of`` gives the candidates in the record held of a member."""

    def __init__(
        self,
        core: Core,
        outreach: Outreach,
        links: Mapping[LinkId, PeerLink],
        record_of: Callable[[NodeId], tuple[Candidate, ...]],
    ) -> None:
        self._core = core
        self._outreach = outreach
        self._links = links
        self._record_of = record_of

    def paths(self) -> list[PathFacts]:
        """Return how each connection in use runs."""
        used = [self._core.link_to(node) for node in self._core.table.nodes()]
        return [self._facts(link) for link in used if link is not None and link.id in self._links]

    def ties(self) -> list[Tie]:
        """Return the connections as other members are told of them, gossip's neighbours first."""
        neighbours = self._core.overlay.neighbours
        found = [Tie(one.node, one.kind, one.node in neighbours, _microseconds(one.rtt_s)) for one in self.paths()]
        return sorted(found, key=lambda tie: (not tie.neighbour, tie.node))

    def _facts(self, link: Link) -> PathFacts:
        connection, mending = self._links[link.id].connection, self._outreach.mending
        path, counted = connection.path, connection.statistics()
        stated, own = self._record_of(link.node), self._outreach.gatherer.candidates()
        theirs = self._outreach.reaching.theirs.of(link.node)
        host, port = unmapped(path.address)
        return PathFacts(
            link.node,
            kind_of(path, mapped=self._mapped(link, (host, port), stated)),
            path.local,
            path.remote,
            (host, port),
            link.dialled,
            mending.since(link.id) or link.since,
            connection.rtt_s,
            counted.datagrams_out,
            counted.packets_lost,
            connection.suspect,
            mending.why_not_better(link.id),
            tuple(CandidateFacts(one.kind, one.host, one.port) for one in own),
            tuple(CandidateFacts(one.kind, one.host, one.port) for one in theirs)
            or tuple(CandidateFacts(_KINDS.get(one.path, "host"), one.host, one.port) for one in stated),
            by_way_of=self._outreach.tunnelling.place_of(path.carrier) or "",
        )

    def _mapped(self, link: Link, address: tuple[str, int], stated: Sequence[Candidate]) -> bool:
        """Tell whether a connection came about by an address that a router forwards: the peer's, or this node's."""
        if link.dialled:
            return any(one.path == "mapped" and (one.host, one.port) == address for one in stated)
        own = {one.path for one in self._outreach.candidates()}
        return "mapped" in own and "direct" not in own and not is_local(address[0])


def _microseconds(seconds: float | None) -> int | None:
    return round(seconds * 1_000_000) if seconds is not None else None
