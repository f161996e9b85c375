"""What each node may do at an entry of the membership log: read from the grants in that entry's ancestry.

While nothing was revoked, rights only grow and every grant counts. Else a grant counts if it has effect
(`cis.trust.standing`) and no standing revocation that it does not follow takes it back. An ancestry is a set of
places in the log, as bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from cis.errors import UsageError
from cis.model import NodeId, ReplicaId, SpaceId, node_of
from cis.trust.log import Known
from cis.trust.standing import Seniority, Standing, follows, seniorities
from cis.wire.membership import RECOVERY_LENGTH, Cut, Grant, Role


def check_scope(role: Role, spaces: Collection[SpaceId] | None) -> None:
    """Raise `UsageError` where an admin is to be made for some spaces: it is one in all."""
    if role is Role.ADMIN and spaces:
        raise UsageError("an admin is one in every space: leave --space away")


class Rights:
    """The grants and revocations of every node. ``changed`` counts how often earlier answers became void."""

    def __init__(self) -> None:
        self.founding: Known | None = None
        self.recovery: NodeId | None = None
        self.changed = 0
        self.issued: Counter[NodeId] = Counter()
        """how many entries each has stated, with effect or without"""
        self._grants: dict[NodeId, list[tuple[Known, Grant]]] = {}
        self._admins: dict[NodeId, tuple[Known, ...]] = {}
        self._revokes: list[Known] = []
        self._standing: Standing | None = None
        self._stood: tuple[bytes, ...] = ()
        self._seniorities: dict[NodeId, Seniority] | None = None
        self._limits: dict[tuple[SpaceId, ReplicaId], Cut | None] = {}

    def admit(self, known: Known) -> None:
        """Take an entry into account."""
        entry = known.entry
        self.issued[entry.issuer] += 1
        if entry.founding:
            self.founding = known
            self.recovery = NodeId(entry.attachment) if len(entry.attachment) == RECOVERY_LENGTH else None
        if entry.grant is not None:
            self._grants.setdefault(entry.grant.subject, []).append((known, entry.grant))
            if entry.grant.role is Role.ADMIN:
                self._admins[entry.grant.subject] = (*self._admins.get(entry.grant.subject, ()), known)
                self._standing = self._seniorities = None
        elif entry.revoke is not None and entry.revoke.subject != self.recovery:
            self._revokes.append(known)
            self._standing = None

    def copy(self) -> Rights:
        """Return the same, to go its own way from here."""
        twin = Rights()
        twin.founding, twin.recovery, twin.changed = self.founding, self.recovery, self.changed
        twin.issued = self.issued.copy()
        twin._grants = {node: list(grants) for node, grants in self._grants.items()}
        twin._admins = dict(self._admins)
        twin._revokes = list(self._revokes)
        twin._standing, twin._stood = self._standing, self._stood
        return twin

    @property
    def monotone(self) -> bool:
        """Tell whether nothing was ever revoked, so that every entry has effect."""
        return not self._revokes

    @property
    def standing(self) -> Standing:
        """What stands of the revocations known so far."""
        if self._standing is None:
            assert self.founding is not None
            standing = Standing.of(self.founding, self.recovery, dict(self._admins), self._revokes)
            if standing.ids != self._stood:
                self._stood = standing.ids
                self.changed += 1
                self._limits = {}
            self._standing = standing
        return self._standing

    def seniority(self, node: NodeId) -> Seniority:
        """Return where an admin there ever was stands: the distance to the founder first, -1 for the recovery key."""
        if self._seniorities is None:
            assert self.founding is not None
            self._seniorities = seniorities(self.founding, self.recovery, self._admins)
        return self._seniorities[node]

    def made_by(self, node: NodeId, sparing: NodeId) -> dict[NodeId, None]:
        """Return an admin and those it made, and they made; neither ``sparing`` nor the founder or recovery key."""
        assert self.founding is not None
        issued: dict[NodeId, list[NodeId]] = {}
        for subject, grants in self._admins.items():
            for known in grants:
                issued.setdefault(known.entry.issuer, []).append(subject)
        spared = (sparing, self.founding.entry.issuer, self.recovery)
        made, queue = {node: None}, [node]
        for issuer in queue:
            for subject in issued.get(issuer, ()):
                if subject not in made and subject not in spared:
                    made[subject] = None
                    queue.append(subject)
        return made

    def granted(self, node: NodeId) -> Sequence[tuple[Known, Grant]]:
        """Return all grants of the node, in the order they became known."""
        return self._grants.get(node, ())

    def nodes(self) -> list[NodeId]:
        """Return everyone ever granted membership."""
        return list(self._grants)

    def ever_admin(self, node: NodeId, ancestry: int) -> bool:
        """Tell whether the node was made an admin there, whatever was revoked: then what it states is kept."""
        if node == self.recovery:
            return ancestry != 0
        return any(ancestry >> known.place & 1 for known in self._admins.get(node, ()))

    def blame(self, known: Known) -> NodeId | None:
        """Return None for an entry that has effect, else the removed node because of which it has none."""
        return None if self.monotone else self.standing.blame(known)

    def at(self, node: NodeId, ancestry: int) -> Iterator[tuple[Known, Grant]]:
        """Yield the grants by which the node is a member there."""
        for known, grant in self.granted(node):
            if ancestry >> known.place & 1 and (
                self.monotone or (self.blame(known) is None and not self._taken(known, node, None, ancestry))
            ):
                yield known, grant

    def admin_at(self, node: NodeId, ancestry: int) -> bool:
        """Tell whether the node is an admin there."""
        if node == self.recovery:
            return True
        return any(grant.role is Role.ADMIN for _, grant in self.at(node, ancestry))

    def role_at(self, node: NodeId, space: SpaceId, ancestry: int) -> Role | None:
        """Return the strongest role the node has in the space there, None where it shares it not."""
        roles = [
            grant.role
            for known, grant in self.at(node, ancestry)
            if grant.role is Role.ADMIN or (space in grant.spaces and not self._taken(known, node, space, ancestry))
        ]
        return min(roles, default=None)

    def writes_at(self, node: NodeId, space: SpaceId, ancestry: int) -> bool:
        """Tell whether the node may write to the space there."""
        return self.role_at(node, space, ancestry) in (Role.ADMIN, Role.WRITER)

    def ever_writes(self, node: NodeId, space: SpaceId, ancestry: int) -> bool:
        """Tell whether some grant there gives the right to write, whatever was revoked, or has no effect."""
        return any(
            ancestry >> known.place & 1
            and (grant.role is Role.ADMIN or (grant.role is Role.WRITER and space in grant.spaces))
            for known, grant in self.granted(node)
        )

    def covering(self, node: NodeId, space: SpaceId | None) -> list[Known]:
        """Return the standing revocations that take the space (None: the membership) from the node."""
        if self.monotone:
            return []
        if space is None:
            return list(self.standing.removals(node))
        return [known for known in self.standing.revokes(node) if _covers(known, space)]

    def limit(self, space: SpaceId, replica: ReplicaId) -> Cut | None:
        """Return the furthest end that a standing revocation sets to the log, None where none names it."""
        if self.monotone:
            return None
        revokes = self.covering(node_of(replica), space)
        if not revokes:
            return None
        asked = (space, replica)
        if asked not in self._limits:
            named = [
                (-cut.seq, known.rank, cut)
                for known in revokes
                for cut in known.entry.cuts
                if cut.space == space and cut.replica == replica
            ]
            self._limits[asked] = min(named, key=lambda one: one[:2])[2] if named else None
        return self._limits[asked]

    def _taken(self, grant: Known, node: NodeId, space: SpaceId | None, ancestry: int) -> bool:
        return any(ancestry >> revoke.place & 1 and not follows(grant, revoke) for revoke in self.covering(node, space))


def _covers(known: Known, space: SpaceId) -> bool:
    revoke = known.entry.revoke
    assert revoke is not None
    return not revoke.spaces or space in revoke.spaces
