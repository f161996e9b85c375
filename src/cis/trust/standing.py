"""Which revocations stand, and which entries have effect: a function of the set of entries, however they came.

Admins that remove each other apart must not both succeed, nor may the order of arrival decide. So revocations
are taken in order of their issuers' seniority, and one stands unless those before it took away its issuer's
right, as state resolution v2 of Matrix takes events by power. Seniority is the least number of grants between
the founder and an admin; among equals who was an admin first by rank; the recovery key comes before all.
docs/adr/010-membership.md has the alternatives and what speaks against them.

A standing revocation R of X *cuts* every entry by X that was made apart from it, neither following the other, so
that X cannot backdate; what stands already stays. An entry is *void* when it is cut, or when none of the grants
that made its issuer an admin, among what it follows, has effect and was not withdrawn there: a revocation in the
same ancestry withdraws every grant that does not follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from cis.model import NodeId
from cis.trust.log import Known

Seniority = tuple[int, tuple[int, bytes]]
"""Distance from the founder, then the rank of the grant that gives it: the lesser is the senior."""

RECOVERY_SENIORITY: Seniority = (-1, (0, b""))


def follows(later: Known, earlier: Known) -> bool:
    """Tell whether an entry has another among its ancestry."""
    return later.place != earlier.place and bool(later.ancestry >> earlier.place & 1)


def seniorities(
    founding: Known, recovery: NodeId | None, admins: Mapping[NodeId, Sequence[Known]]
) -> dict[NodeId, Seniority]:
    """Return how near each admin there ever was is to the founder; ``admins`` are the grants that made them."""
    issued: dict[NodeId, list[Known]] = {}
    for grants in admins.values():
        for grant in grants:
            issued.setdefault(grant.entry.issuer, []).append(grant)
    founder = founding.entry.issuer
    found: dict[NodeId, Seniority] = {founder: (0, founding.rank)}
    level, distance = [founder], 0
    if recovery is not None:
        found[recovery] = RECOVERY_SENIORITY
        level += _next_level([recovery], issued, found, distance)
    while level:
        distance += 1
        level = _next_level(level, issued, found, distance)
    return found


def _next_level(
    level: Iterable[NodeId], issued: Mapping[NodeId, Sequence[Known]], found: dict[NodeId, Seniority], distance: int
) -> list[NodeId]:
    """Enter those that nodes of one level made admins and that are not nearer already."""
    made: dict[NodeId, tuple[int, bytes]] = {}
    for issuer in level:
        for grant in issued.get(issuer, ()):
            assert grant.entry.grant is not None
            subject = grant.entry.grant.subject
            if subject not in found:
                made[subject] = min(grant.rank, made.get(subject, grant.rank))
    for subject, rank in made.items():
        found[subject] = (distance, rank)
    return list(made)


class Standing:
    """The standing revocations of a log, and what they void; grows while it is built, and only then."""

    def __init__(self, founding: Known, recovery: NodeId | None, admins: Mapping[NodeId, Sequence[Known]]) -> None:
        self._recovery = recovery
        self._founding = founding
        self._admins = admins
        self._issued: dict[NodeId, list[Known]] = {}
        for grants in admins.values():
            for grant in grants:
                self._issued.setdefault(grant.entry.issuer, []).append(grant)
        self._removals: dict[NodeId, list[Known]] = {}
        self._revokes: dict[NodeId, list[Known]] = {}
        self._void_admins: dict[int, NodeId] = {}
        self._stands: set[int] = set()
        self.ids: tuple[bytes, ...] = ()
        """of the standing revocations, in the order in which they were taken"""

    @classmethod
    def of(
        cls,
        founding: Known,
        recovery: NodeId | None,
        admins: Mapping[NodeId, Sequence[Known]],
        revokes: Iterable[Known],
    ) -> Standing:
        """Take all revocations of a log in their order."""
        standing = cls(founding, recovery, admins)
        seniority = seniorities(founding, recovery, admins)
        for revoke in sorted(revokes, key=lambda one: (seniority[one.entry.issuer], one.rank)):
            if standing.blame(revoke) is None:
                standing._take(revoke)
        return standing

    def revokes(self, node: NodeId) -> Sequence[Known]:
        """Return all standing revocations of a node, whether of its membership or of some of its spaces."""
        return self._revokes.get(node, ())

    def removals(self, node: NodeId) -> Sequence[Known]:
        """Return the standing revocations of a node's membership."""
        return self._removals.get(node, ())

    def blame(self, known: Known) -> NodeId | None:
        """Return None for an entry that has effect, else the removed node because of which it has none."""
        if known is self._founding or known.place in self._stands:
            return None
        return self.blame_for(known.entry.issuer, known.ancestry & ~(1 << known.place), known.place)

    def blame_for(self, issuer: NodeId, ancestry: int, place: int | None = None) -> NodeId | None:
        """Answer `blame` for an entry that has this ancestry, itself left out; ``place`` is None if it is new."""
        if issuer == self._recovery:
            return None
        if self._cut(issuer, ancestry, place):
            return issuer
        blamed: tuple[tuple[int, bytes], NodeId] | None = None
        for grant in self._admins.get(issuer, ()):
            if not ancestry >> grant.place & 1:
                continue
            at_fault = self._void_admins.get(grant.place)
            if at_fault is None:
                if not self._withdrawn(grant, issuer, ancestry):
                    return None
                at_fault = issuer
            if blamed is None or grant.rank < blamed[0]:
                blamed = grant.rank, at_fault
        return blamed[1] if blamed is not None else issuer

    def _take(self, revoke: Known) -> None:
        body = revoke.entry.revoke
        assert body is not None
        subject = body.subject
        self.ids += (revoke.entry.id,)
        self._stands.add(revoke.place)
        self._revokes.setdefault(subject, []).append(revoke)
        if body.spaces:
            return
        self._removals.setdefault(subject, []).append(revoke)
        # Effect only shrinks while revocations are taken, and what an entry leans on has a lesser place: so each
        # issuer's grants are looked at once, in order of place.
        waiting = [(grant.place, grant.entry.id, grant) for grant in self._issued.get(subject, ())]
        heapify(waiting)
        entered = {subject}
        while waiting:
            place, _, grant = heappop(waiting)
            blamed = None if place in self._void_admins else self.blame(grant)
            if blamed is None:
                continue
            self._void_admins[place] = blamed
            assert grant.entry.grant is not None
            made = grant.entry.grant.subject
            if made not in entered:
                entered.add(made)
                for next_ in self._issued.get(made, ()):
                    heappush(waiting, (next_.place, next_.entry.id, next_))

    def _cut(self, issuer: NodeId, ancestry: int, place: int | None) -> bool:
        return any(
            not ancestry >> removal.place & 1 and (place is None or not removal.ancestry >> place & 1)
            for removal in self._removals.get(issuer, ())
        )

    def _withdrawn(self, grant: Known, node: NodeId, ancestry: int) -> bool:
        return any(
            ancestry >> removal.place & 1 and not follows(grant, removal) for removal in self._removals.get(node, ())
        )
