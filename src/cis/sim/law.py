"""What a set of membership entries means, worked out naively from docs/protocol.md: sets, loops, no shortcuts.

It shares nothing with `cis.trust` but the form of the bytes. Every node of a run is held to it: to the members,
roles, cuts and epochs that follow from the entries it has, and to the changes that these let stand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from cis.model import NodeId, ReplicaId, SpaceId, node_of
from cis.sim.archive import Archive, Epoch, Item
from cis.wire.membership import NO_SPACE, Grant, Revoke, Role, Rotate

Seniority = tuple[int, tuple[int, bytes]]


class Law:
    """Of the entries ``known``; a law is worked out once and never changes."""

    def __init__(self, archive: Archive, known: Iterable[bytes], public: SpaceId) -> None:
        self.items = archive.ranked(known)
        self._by_id = {item.id: item for item in self.items}
        self._public = public
        self.recovery = self.items[0].recovery
        self._crowning: dict[NodeId, list[Item]] = defaultdict(list)
        """by whom they make an admin"""
        for item in self.items:
            if item.crowns is not None:
                self._crowning[item.crowns].append(item)
        self.standing: list[Item] = []
        self._effective = self._effect()
        seniority = self._seniorities()
        revokes = [item for item in self.items if isinstance(item.stated, Revoke)]
        for revoke in sorted(revokes, key=lambda item: (seniority[item.issuer], item.rank)):
            if self._has_effect(revoke, self._effective) and revoke.stated.subject != self.recovery:  # type: ignore[union-attr] # revocations alone
                self.standing.append(revoke)
                self._effective = self._effect()
        self._writing: dict[tuple[NodeId, SpaceId, bytes], bool] = {}
        self.roles = self._roles()
        subjects = {NodeId(item.stated.subject) for item in self.items if isinstance(item.stated, Grant)}
        self.removed = sorted(subjects - set(self.roles))
        """the nodes that were members and are none any more"""
        self._opened, self._knowers = self._epochs()

    # --- what has effect -------------------------------------------------------------------------------------------

    def _seniorities(self) -> dict[NodeId, Seniority]:
        """Distance from the founder, least first; among equals who was an admin first by rank."""
        founder = self.items[0]
        found: dict[NodeId, Seniority] = {founder.issuer: (0, founder.rank)}
        if self.recovery is not None:
            found[self.recovery] = (-1, (0, b""))
        crowning = [item for item in self.items[1:] if item.crowns is not None]
        for _ in crowning:
            for item in crowning:
                above = found.get(item.issuer)
                if above is not None and item.crowns is not None:
                    offered = (above[0] + 1, item.rank)
                    found[item.crowns] = min(offered, found.get(item.crowns, offered))
        return found

    def _effect(self) -> frozenset[bytes]:
        """The entries with effect under the revocations that stand so far."""
        effective: set[bytes] = {self.items[0].id}
        for item in self.items[1:]:
            if self._has_effect(item, effective):
                effective.add(item.id)
        return frozenset(effective)

    def _has_effect(self, item: Item, effective: Iterable[bytes]) -> bool:
        if item.issuer == self.recovery:
            return True
        crowning = self._crowning.get(item.issuer, ())
        crowned = [one for one in crowning if one.id in item.before and one.id in effective]
        removals = [one for one in self.standing if _removes(one, item.issuer)]
        for removal in removals:
            backdated = item.id not in removal.before
            if backdated and not any(removal.id in grant.before for grant in crowned):
                return False
        return any(
            not any(one.id in item.before and one.id not in grant.before for one in removals) for grant in crowned
        )

    # --- who may what ----------------------------------------------------------------------------------------------

    def _roles(self) -> dict[NodeId, dict[SpaceId, Role]]:
        """Each member's strongest role in each space."""
        everything = frozenset(self._by_id)
        subjects = {item.stated.subject for item in self.items if isinstance(item.stated, Grant)}
        members: dict[NodeId, dict[SpaceId, Role]] = {}
        for node in sorted(map(NodeId, subjects)):
            if node == self.recovery or not self._grants(node, None, everything):
                continue
            role = self.role_at(node, self._public, everything)
            members[node] = {} if role is None else {self._public: role}
        return members

    def _grants(self, node: NodeId, space: SpaceId | None, ancestry: Iterable[bytes]) -> list[Grant]:
        """The grants that count for a node at some point; those of an admin count in every space."""
        found = []
        for item in self.items:
            grant = item.stated
            if not isinstance(grant, Grant) or grant.subject != node:
                continue
            if item.id not in ancestry or item.id not in self._effective:
                continue
            scope = None if grant.role is Role.ADMIN else space
            against = [one for one in self.standing if _covers(one, node, scope) and one.id in ancestry]
            if all(one.id in item.before for one in against):
                found.append(grant)
        return found

    def role_at(self, node: NodeId, space: SpaceId, ancestry: Iterable[bytes]) -> Role | None:
        """Return what a node may do in a space at a point."""
        grants = self._grants(node, space, ancestry)
        return min((one.role for one in grants if one.role is Role.ADMIN or space in one.spaces), default=None)

    def may_write(self, node: NodeId, space: SpaceId, head: bytes) -> bool:
        """Tell whether a node may write at a head."""
        item, asked = self._by_id.get(head), (node, space, head)
        if item is not None and asked not in self._writing:
            role = self.role_at(node, space, self.seen_at(head))
            self._writing[asked] = role in {Role.ADMIN, Role.WRITER}
        return item is not None and self._writing[asked]

    def seen_at(self, head: bytes) -> frozenset[bytes]:
        """Return the entries that one follows, itself included."""
        return self._by_id[head].before | {head}

    def covering(self, node: NodeId, space: SpaceId) -> list[Item]:
        """Return the standing revocations that take a space from a node."""
        return [one for one in self.standing if _covers(one, node, space)]

    def cut(self, space: SpaceId, replica: ReplicaId) -> int | None:
        """Return the furthest end that a revocation names for a log."""
        named = [one.cuts.get((space, replica)) for one in self.covering(node_of(replica), space)]
        return max((seq for seq in named if seq is not None), default=None)

    def voids(self, space: SpaceId, replica: ReplicaId, last: int, authority: bytes) -> bool:
        """Tell whether a changeset, up to ``last`` and under that authority, counts for nothing."""
        node, cut = node_of(replica), self.cut(space, replica)
        if cut is not None and last > cut:
            return True
        item = self._by_id.get(authority)
        if item is None or not self.may_write(node, space, authority):
            return True
        return cut is None and not all(one.id in self.seen_at(authority) for one in self.covering(node, space))

    # --- keys ------------------------------------------------------------------------------------------------------

    def _epochs(self) -> tuple[dict[SpaceId, list[int]], dict[Epoch, set[NodeId]]]:
        """The epochs of each space in order, and who was told the key of each by somebody who had it."""
        founder = self.items[0].issuer
        opened: dict[SpaceId, list[int]] = {NO_SPACE: [0], self._public: [0]}
        knowers: dict[Epoch, set[NodeId]] = {(NO_SPACE, 0): {founder}, (self._public, 0): {founder}}
        for item in self.items:
            if isinstance(item.stated, Rotate) and item.id in self._effective:
                epoch = (SpaceId(item.stated.space), item.stated.epoch)
                if epoch not in knowers:
                    opened.setdefault(epoch[0], []).append(epoch[1])
                    knowers[epoch] = {item.issuer, *(node for node, _ in item.tells)}
        for item in self.items:
            if isinstance(item.stated, Grant):
                for node, epoch in item.tells:
                    if item.issuer in knowers.get(epoch, ()) or (epoch in knowers and item.issuer == self.recovery):
                        knowers[epoch].add(node)
        return opened, knowers

    def was_told(self, node: NodeId, epoch: Epoch) -> bool:
        """Tell whether some entry seals the key of an epoch to a node, or is that by which the node drew it."""
        return any(epoch == told and node in {who, item.issuer} for item in self.items for who, told in item.tells)

    def epoch(self, space: SpaceId) -> int | None:
        """Return the latest epoch whose key no removed node was told."""
        for epoch in reversed(self._opened.get(space, [])):
            if all(self._entitled(node, space) for node in self._knowers[space, epoch]):
                return epoch
        return None

    def _entitled(self, node: NodeId, space: SpaceId) -> bool:
        roles = self.roles.get(node)
        if roles is None or space == NO_SPACE:
            return roles is not None or node == self.recovery
        return roles.get(space, Role.BLIND) is not Role.BLIND or not self.covering(node, space)


def _removes(item: Item, node: NodeId) -> bool:
    return isinstance(item.stated, Revoke) and item.stated.subject == node and not item.stated.spaces


def _covers(item: Item, node: NodeId, space: SpaceId | None) -> bool:
    """Tell whether a revocation takes a space (None: the membership itself) from a node."""
    revoke = item.stated
    if not isinstance(revoke, Revoke) or revoke.subject != node:
        return False
    return not revoke.spaces or (space is not None and space in revoke.spaces)
