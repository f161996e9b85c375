"""One space of an audit: both vectors, what differs, whose fault it is, and what is to be done about it here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cis.errors import Fault, PeerFault
from cis.model import Dot, MemoryId, ReplicaId, SpaceId, VersionVector
from cis.sync.audit_effects import Drop, Explain, Explained, Inventory, Range, Recheck, dot_of, memory_of
from cis.sync.audit_ranges import Items, Reconciliation, split_items, within
from cis.sync.floors import Standing
from cis.sync.vectors import from_wire, to_wire
from cis.wire.audit import VERDICTS_MAX, Verdicts
from cis.wire.messages import Vector

_DEAD_AT_ONCE = 4096


class SpaceAudit:
    """See the module; `cis.sync.audit` drives it."""

    def __init__(self, space: SpaceId, mine: Inventory) -> None:
        self.space = space
        self.mine = mine
        self.theirs = VersionVector()
        self.items = Items(b"")
        self.reconciliation = Reconciliation(space, self.items)
        self.lost: dict[bytes, None] = {}
        """items that should be alive here"""
        self.told: dict[bytes, Dot] = {}
        """items that should not be, by what the peer says, and what replaces each"""
        self.suspects: dict[MemoryId, None] = {}
        """memories to derive anew"""
        self.wanted: list[Range] = [*mine.damaged, *mine.unheld]
        self._their_floor = VersionVector()
        self._they_owe = False
        self._replaced: list[tuple[bytes, ReplicaId, int]] = []
        self._dead: list[bytes] = []
        self._dropped: dict[Dot, None] = {}

    def stated(self) -> list[Vector]:
        """Return the pages that state this end's vector and floor."""
        return to_wire(self.space, Standing(self.mine.vector, self.mine.floor, self.mine.owes))

    def heard(self, pages: Sequence[Vector]) -> None:
        """Take the peer's vector and floor; what only one end can hold is left out, as it is no divergence."""
        standing = from_wire(pages)
        self.theirs, self._their_floor, self._they_owe = standing.vector, standing.witnessed, standing.owes
        self.items = Items(within(self.mine.items, self.theirs))
        self.reconciliation = Reconciliation(self.space, self.items)

    def to_explain(self) -> Explain | None:
        """Return the question why what this end's vector covers is not alive here, None where there is none."""
        items = tuple(item for item in self.reconciliation.theirs_only if dot_of(item) in self.mine.vector)
        return Explain(self.space, items) if items else None

    def explained(self, found: Iterable[Explained]) -> None:
        """Decide for each item whose fault it is."""
        witnessed = self.mine.floor.meet(self.mine.vector)
        for one in found:
            dot = dot_of(one.item)
            if one.collected and dot.seq <= witnessed.contiguous(dot.replica):
                self._dead.append(one.item)
                continue
            if one.killers:
                claimed = [killer for killer in one.killers if killer in self.theirs]
                self._replaced += [(one.item, *killer) for killer in claimed[:1]]
                continue
            self.lost[one.item] = None
            if one.header:
                self.suspects[memory_of(one.item)] = None
            if not one.header or not one.body:
                self.wanted.append(Range(self.space, *dot, dot.seq))

    def verdicts(self) -> list[Verdicts]:
        """Return what the peer is told, at least one page; all say that more follows."""
        dead = sorted(self._dead)
        pages = max(1, -(-len(self._replaced) // VERDICTS_MAX), -(-len(dead) // _DEAD_AT_ONCE))
        return [
            Verdicts(
                self.space,
                list(self._replaced[VERDICTS_MAX * page : VERDICTS_MAX * (page + 1)]),
                b"".join(dead[_DEAD_AT_ONCE * page : _DEAD_AT_ONCE * (page + 1)]),
                more=True,
            )
            for page in range(pages)
        ]

    def on_verdicts(self, message: Verdicts) -> None:
        """Take what the peer says of this end's items; `PeerFault` where it speaks of what it was not told."""
        for item, replica, seq in message.replaced:
            killer = Dot(ReplicaId(replica), seq)
            if killer not in self.mine.vector:
                raise PeerFault(Fault.MALFORMED, "a verdict that names what is not held here")
            if self._is_ours_alone(item) and item not in self.told:
                self.told[item] = killer
                self.suspects[memory_of(item)] = None
                self.wanted.append(Range(self.space, killer.replica, seq, seq))
        for item in split_items(message.dead):
            dot = dot_of(item)
            if dot.seq > self._their_floor.contiguous(dot.replica):
                raise PeerFault(Fault.MALFORMED, "called dead what the peer cannot have collected")
            if self._is_ours_alone(item):
                self._dropped[dot] = None

    def _is_ours_alone(self, item: bytes) -> bool:
        """Tell whether an item is one the peer was told it lacks; `PeerFault` where that cannot be mistaken."""
        found = self.reconciliation
        if item not in found.mine_only and not found.truncated:
            raise PeerFault(Fault.MALFORMED, "a verdict on what is alive at both ends")
        return item in found.mine_only

    def to_drop(self) -> Drop | None:
        """Return what follows from what the peer has collected."""
        unseen = any(seq > self.mine.vector.contiguous(replica) for replica, seq in self._their_floor.seqs.items())
        if not self._dropped and not unseen and not self.mine.owes:
            return None
        # What they say was replaced by what is stable is mended first, and compared again.
        stable = any(dot.seq <= self._their_floor.contiguous(dot.replica) for dot in self.told.values())
        settled = not self._they_owe and not stable
        return Drop(self.space, tuple(self._dropped), self._their_floor, self.mine.vector, settled)

    def to_recheck(self) -> Recheck:
        """Return the question what is mended now."""
        return Recheck(self.space, tuple(self.lost), tuple(self.told.items()))

    @property
    def unheld(self) -> int:
        """How many bodies of living changes were missing when the audit began."""
        return sum(one.last - one.first + 1 for one in self.mine.unheld)

    def still_damaged(self, failed: Iterable[Range]) -> int:
        """Return how many changes of damaged changesets were among what could not be had."""
        return sum(
            max(0, min(one.last, other.last) - max(one.first, other.first) + 1)
            for one in failed
            for other in self.mine.damaged
            if one[:2] == other[:2]
        )
