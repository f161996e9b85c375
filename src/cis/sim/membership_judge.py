"""Holds every node to the law: to what follows, by `cis.sim.law`, from the membership entries it has.

Whatever a log took in must be permitted there, and its members, roles, cuts and epochs must be the law's. So two nodes
with the same entries agree, and in the end all current members have the same entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cis.model import NodeId, SpaceId, node_of
from cis.sim.archive import Archive
from cis.sim.law import Law
from cis.sim.ledger import Fact, Ledger
from cis.wire.membership import NO_SPACE, Role

if TYPE_CHECKING:
    from cis.sim.node import SimNode

Found = Callable[[str, str], None]
"""Records a broken rule: its kind, and what was seen."""


class MembershipJudge:
    """Of one run; ``found`` is told of every rule that is broken."""

    def __init__(self, cluster: bytes, public: SpaceId, ledger: Ledger, found: Found) -> None:
        self.archive = Archive(cluster)
        self.public = public
        self._ledger = ledger
        self._found = found
        self._laws: dict[frozenset[bytes], Law] = {}
        self._last: dict[int, tuple[tuple[int, int], Law]] = {}

    def law(self, node: SimNode) -> Law:
        """Return the law by what a node knows, having compared the two where it knows more than before."""
        known = node.cluster.membership.log.known
        moment = (node.lives, len(known))
        last = self._last.get(node.number)
        if last is None or last[0] != moment:
            last = self._last[node.number] = (moment, self._law_of(node))
            self._compare(node, last[1])
        return last[1]

    def _law_of(self, node: SimNode) -> Law:
        permitted = []
        for id_, known in list(node.cluster.membership.log.known.items()):
            complaint = self.archive.take(known.entry.raw)
            if complaint:
                self._found("accepted", f"m{node.number} took in a membership entry {complaint}")
            else:
                permitted.append(id_)
        return self.law_of(frozenset(permitted))

    def law_of(self, known: frozenset[bytes]) -> Law:
        """Return what these entries mean."""
        if known not in self._laws:
            self._laws[known] = Law(self.archive, known, self.public)
        return self._laws[known]

    def _compare(self, node: SimNode, law: Law) -> None:
        membership, public = node.cluster.membership, self.public
        members = {member.node: dict(member.roles) for member in membership.members()}
        if members != law.roles:
            differing = _differing(members, law.roles)
            self._found("divergences", f"m{node.number} reads other members than its entries make: {differing}")
        for space in (NO_SPACE, public):
            if membership.epoch(space) != law.epoch(space):
                what = f"epoch {membership.epoch(space)} where its entries make it {law.epoch(space)}"
                self._found("divergences", f"m{node.number} reads {what}")
        for replica in sorted({dot.replica for dot in self._ledger.facts}):
            limit, cut = membership.limit(public, replica), law.cut(public, replica)
            named = limit is not None and cut is None and limit.seq == 0  # of who may not write now, nothing counts
            if not named and (None if limit is None else limit.seq) != cut:
                self._found(
                    "divergences", f"m{node.number} cuts a log of {_short(node_of(replica))} at {limit}, not {cut}"
                )

    # --- keys ------------------------------------------------------------------------------------------------------

    def written(self, node: SimNode, facts: Sequence[Fact]) -> None:
        """A node wrote: under a key that nobody has whom it knows to be removed."""
        law = self.law(node)
        for epoch in sorted({fact.epoch for fact in facts}):
            knowing = [one for one in law.removed if law.was_told(one, (self.public, epoch))]
            if knowing:
                self._found(
                    "leaked", f"m{node.number} wrote under epoch {epoch}, known to the removed {_short(knowing[0])}"
                )

    def check_keys(self, nodes: Sequence[SimNode], facts: Sequence[Fact]) -> None:
        """In the end every reader can open all that is there, but for what no admin is left to hand out the key of."""
        admins = [node for node in nodes if node.cluster.is_admin]
        given = {epoch for node in admins for epoch in node.cluster.keys.spaces[self.public].epochs}
        used = {fact.epoch for fact in facts} & given
        for node in nodes:
            law = self.law(node)
            keys = node.cluster.keys.spaces.get(self.public)
            if law.roles.get(node.id, {}).get(self.public, Role.BLIND) is Role.BLIND:
                continue
            if keys is None or used - set(keys.epochs):
                self._found("lost", f"m{node.number} lacks keys of epochs in use")
            elif any(
                law.epoch(space) not in {None, current}
                for space, current in ((self.public, keys.current), (NO_SPACE, node.cluster.keys.current))
            ):
                self._found("divergences", f"m{node.number} would write under another epoch than the others")

    # --- in the end ------------------------------------------------------------------------------------------------

    def current(self, nodes: Sequence[SimNode]) -> list[list[SimNode]]:
        """Return the groups of nodes that share the public space: each by what all of its group know together.

        There is one, but where admins removed each other and nobody is left whom both sides talk to.
        """
        groups: list[list[SimNode]] = []
        for node in nodes:
            bound = [group for group in groups if any(self._mutual(node, other) for other in group)]
            groups = [group for group in groups if group not in bound]
            groups.append([node, *(other for group in bound for other in group)])
        law = self._union(nodes)
        found = [self._staying(group) for group in groups if any(node.id in law.roles for node in group)]
        return sorted((group for group in found if group), key=lambda group: (-len(group), group[0].number))

    def _mutual(self, one: SimNode, other: SimNode) -> bool:
        """Tell whether neither takes the other for removed."""
        return other.id not in self.law(one).removed and one.id not in self.law(other).removed

    def _staying(self, nodes: Sequence[SimNode]) -> list[SimNode]:
        while True:
            law = self._union(nodes)
            sharing = (node for node in nodes if self.public in law.roles.get(node.id, {}))
            staying = sorted(sharing, key=lambda node: node.number)
            if len(staying) in {0, len(nodes)}:
                return staying
            nodes = staying

    def _union(self, nodes: Sequence[SimNode]) -> Law:
        return self.law_of(frozenset().union(*(node.cluster.membership.log.known for node in nodes)))

    def check_schism(self, groups: Sequence[Sequence[SimNode]]) -> None:
        """Only a feud may part members for good: a removal that stands on one side and not by all entries together."""
        union = self._union([node for group in groups for node in group])
        standing = {revoke.id for revoke in union.standing}
        for group in groups:
            if all(revoke.id in standing for revoke in self.law(group[0]).standing):
                continue
            return
        members = ", ".join("+".join(f"m{node.number}" for node in group) for group in groups)
        self._found("divergences", f"members that have not removed each other are apart: {members}")

    def in_step(self, nodes: Sequence[SimNode]) -> bool:
        """Tell whether these nodes know the same entries, and no admin among them has yet to renew a key."""
        if len({node.cluster.membership.digest() for node in nodes}) != 1:
            return False
        law = self.law(nodes[0])
        admins = [node for node in nodes if Role.ADMIN in law.roles.get(node.id, {}).values()]
        if not admins:
            return True
        if law.epoch(NO_SPACE) is None or law.epoch(self.public) is None:
            return False
        lacking = [
            epoch
            for _, space, lacked in nodes[0].cluster.membership.lacking()
            for epoch in lacked
            if space == self.public
        ]
        return not any(epoch in node.cluster.keys.spaces[self.public].epochs for node in admins for epoch in lacking)

    def check_links(self, nodes: Sequence[SimNode]) -> None:
        """In the end nobody has to do with who is no member."""
        for node in nodes:
            law = self.law(node)
            for end in node.talk.ends.values():
                other = node.talk.node_at(end)
                if other not in law.roles:
                    self._found("accepted", f"m{node.number} still talks to the removed {_short(other)}")


def _differing(one: dict[NodeId, dict[SpaceId, Role]], other: dict[NodeId, dict[SpaceId, Role]]) -> str:
    nodes = [node for node in sorted({*one, *other}) if one.get(node) != other.get(node)]
    return ", ".join(f"{_short(node)} {_roles(one.get(node))}, not {_roles(other.get(node))}" for node in nodes)


def _roles(roles: dict[SpaceId, Role] | None) -> str:
    return "none" if roles is None else "/".join(role.name.lower() for role in roles.values()) or "without space"


def _short(node: NodeId) -> str:
    return node[:2].hex()
