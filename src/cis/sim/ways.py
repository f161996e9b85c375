"""The ways between nodes: who can hear whom, dialling, and the connections there are."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from cis.errors import PeerFault
from cis.node.core import events
from cis.node.entry.appeals import PAUSE_S
from cis.peers import Target
from cis.sim.conversing import number_at
from cis.sim.network import LinkProfile, Network
from cis.sim.scenarios import Chaos, LinkTerms
from cis.sim.wires import Wire

if TYPE_CHECKING:
    from cis.node.membership.cluster import Cluster
    from cis.sim.node import SimNode

DIAL_TIMEOUT_S = 5.0


class Ways:
    """Over one network; ``inspect`` sees every frame that leaves a node, with the node's number."""

    def __init__(
        self,
        network: Network,
        nodes: Sequence[SimNode],
        counts: Counter[str],
        inspect: Callable[[int, bytes], None],
    ) -> None:
        self._network = network
        self._nodes = nodes
        self._counts = counts
        self._inspect = inspect
        self._wires: list[Wire] = []
        self._made = 0
        self._deaf_until: dict[tuple[int, int], float] = {}

    @property
    def wires(self) -> list[Wire]:
        """The connections there are."""
        self._wires = [wire for wire in self._wires if not wire.broken]
        return self._wires

    def notice_partitions(self) -> None:
        """Connections across a partition that still stands break."""
        for wire in self.wires:
            one, other = (end.party.number for end in wire.ends)
            if not self._reach(one, other):
                wire.break_off()

    def dial(self, node: SimNode, target: Target) -> None:
        """Connect two nodes after a round trip, if both are there and can hear each other."""
        other = self._nodes[number_at(target.host)]
        profile, rng = self._network.profile, self._network.kernel.rng
        self._counts["dials"] += 1
        round_trip_s = 2 * (profile.latency_s + rng.uniform(0, profile.jitter_s))
        node.later(round_trip_s, lambda: self._connect(node, other, target))

    def _hear(self, judge: SimNode, removed: SimNode) -> None:
        """Let a removed admin show its entries, once in a while, as `cis.node.entry.appeals` does."""
        now, place = self._network.kernel.now, (judge.number, removed.number)
        if removed.id in judge.cluster.former_admins() and now >= self._deaf_until.get(place, 0.0):
            self._deaf_until[place] = now + PAUSE_S
            self._counts["appeals"] += 1
            with contextlib.suppress(PeerFault):
                judge.upkeep.learn(removed.cluster.membership.entries_missing_from(judge.cluster.membership.ids()))

    def _reach(self, one: int, other: int) -> bool:
        return self._network.reaches(one, other) and self._network.reaches(other, one)

    def _connect(self, node: SimNode, other: SimNode, target: Target) -> None:
        if not other.up or not self._reach(node.number, other.number):
            node.later(DIAL_TIMEOUT_S, lambda: node.report(events.DialFailed(target, "no answer")))
            return
        if not knows_key(node.cluster, other.cluster):
            node.report(events.DialFailed(target, "refused"))
            return
        for judge, judged in ((other, node), (node, other)):
            chain = judged.cluster.membership.chain(judged.id)
            if judge.cluster.membership.judge(judged.id, chain) is not None:
                self._counts["turned_away"] += 1
                if judge is other:
                    self._hear(other, node)
                node.report(events.DialFailed(target, "not a member there"))
                return
        self._made += 1
        ends = ((node.talk, node.talk.fresh_number()), (other.talk, other.talk.fresh_number()))
        wire = Wire(self._made, self._network, ends, self._inspect)
        self._wires.append(wire)
        self._counts["connections"] += 1
        other.talk.adopt(wire.ends[1], None)
        node.talk.adopt(wire.ends[0], target)


def knows_key(dialler: Cluster, listener: Cluster) -> bool:
    """Tell whether a dialler can prove that it knows the cluster: by the discovery key, or by the key the two share."""
    answered = {key.secret for key in listener.handshake_keys()}
    member = dialler.membership.member(listener.identity.node)
    shared = dialler.pairwise_key(member) if member is not None else None
    return dialler.keys.discovery_key in answered or shared in answered


def drawn_profile(terms: LinkTerms, rng: Random) -> LinkProfile:
    """Draw what the links of a run do, within what a scenario says."""
    return LinkProfile(
        terms.latency_s * rng.choice((0.1, 1, 1, 5)),
        terms.jitter_s,
        rng.uniform(0, terms.loss),
        rng.uniform(0, terms.duplication),
        rng.uniform(0, terms.reordering),
        terms.bandwidth_bytes_per_s * rng.choice((0.01, 1, 1)),
    )


def drawn_acquaintances(scenario: Chaos, count: int, rng: Random) -> list[list[int]]:
    """Draw whom each node knows of in the beginning; whatever is drawn is connected."""
    everyone = range(count)
    known: list[set[int]] = [set() for _ in everyone]
    for one in everyone:
        if one + 1 < count:
            known[one].add(one + 1)
        if scenario.topology == "mesh":
            known[one] |= set(everyone)
        elif scenario.topology == "random":
            known[one] |= set(rng.sample(everyone, min(count, scenario.degree // 2 + 1)))
    return [sorted(others - {one}) for one, others in enumerate(known)]
