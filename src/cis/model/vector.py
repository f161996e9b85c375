"""Version vectors with dots out of order (Almeida et al., dotted version vectors, 2014).

A vector says: of each replica I hold every dot up to ``seqs[replica]``, and beyond that these ranges.
Immutable; equal vectors of members of a space mean equal state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cis.model.change import Dot
    from cis.model.ids import ReplicaId


@dataclass(frozen=True)
class VersionVector:
    """Highest contiguous number per replica, and closed ranges of numbers held beyond a gap."""

    seqs: Mapping[ReplicaId, int] = field(default_factory=dict)
    beyond: Mapping[ReplicaId, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    heads: Mapping[ReplicaId, bytes] = field(default_factory=dict, compare=False)
    """Where known, the first 8 bytes of the link each log's contiguous part ends with: two that differ are a fork."""

    def __contains__(self, dot: Dot) -> bool:
        """Tell whether the dot is held, in order or beyond a gap."""
        if dot.seq <= self.seqs.get(dot.replica, 0):
            return True
        return any(first <= dot.seq <= last for first, last in self.beyond.get(dot.replica, ()))

    def contiguous(self, replica: ReplicaId) -> int:
        """Return the number up to which every dot of the replica is held, 0 for an unknown one."""
        return self.seqs.get(replica, 0)

    @classmethod
    def gathered(cls, seqs: Mapping[ReplicaId, int], ranges: Iterable[tuple[ReplicaId, int, int]]) -> VersionVector:
        """Return the vector that holds those contiguous parts and those closed ranges, in whatever order."""
        by_replica: dict[ReplicaId, list[tuple[int, int]]] = {}
        for replica, first, last in ranges:
            by_replica.setdefault(replica, []).append((first, last))
        reached = {replica: seq for replica, seq in seqs.items() if seq}
        beyond = {}
        for replica, held in by_replica.items():
            seq, rest = _absorb(seqs.get(replica, 0), sorted(held))
            if seq:
                reached[replica] = seq
            if rest:
                beyond[replica] = rest
        return cls(reached, beyond)

    def join(self, other: VersionVector) -> VersionVector:
        """Return the least vector that holds what either holds."""
        replicas = sorted({*self.seqs, *other.seqs})
        seqs = {replica: max(self.contiguous(replica), other.contiguous(replica)) for replica in replicas}
        return VersionVector.gathered(seqs, [*self._ranges(), *other._ranges()])

    def meet(self, other: VersionVector) -> VersionVector:
        """Return the contiguous part both hold: the stable floor of the two."""
        both = {replica: min(seq, other.contiguous(replica)) for replica, seq in self.seqs.items()}
        return VersionVector({replica: seq for replica, seq in both.items() if seq})

    def covered_by(self, other: VersionVector) -> bool:
        """Tell whether the other's contiguous part reaches as far as this one's everywhere."""
        return all(seq <= other.contiguous(replica) for replica, seq in self.seqs.items())

    def missing_in(self, other: VersionVector) -> Iterator[tuple[ReplicaId, int, int]]:
        """Yield (replica, first, last) ranges of dots this vector holds and ``other`` lacks, in order."""
        ahead = {replica for replica, seq in self.seqs.items() if seq > other.seqs.get(replica, 0)}
        for replica in sorted(ahead | self.beyond.keys()):
            held = [(1, self.contiguous(replica)), *self.beyond.get(replica, ())]
            theirs = [(1, other.contiguous(replica)), *other.beyond.get(replica, ())]
            for first, last in held:
                yield from ((replica, low, high) for low, high in _subtract(first, last, theirs))

    def count_missing_in(self, other: VersionVector) -> int:
        """Return how many dots this vector holds that ``other`` lacks."""
        return sum(last - first + 1 for _, first, last in self.missing_in(other))

    def _ranges(self) -> Iterator[tuple[ReplicaId, int, int]]:
        for replica, ranges in self.beyond.items():
            yield from ((replica, first, last) for first, last in ranges)


def _absorb(reached: int, ranges: list[tuple[int, int]]) -> tuple[int, tuple[tuple[int, int], ...]]:
    rest: list[tuple[int, int]] = []
    for first, last in ranges:
        if first <= reached + 1:
            reached = max(reached, last)
        elif rest and first <= rest[-1][1] + 1:
            rest[-1] = (rest[-1][0], max(rest[-1][1], last))
        else:
            rest.append((first, last))
    return reached, tuple(rest)


def _subtract(first: int, last: int, held: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for low, high in held:
        if first > last:
            return
        if high < first or low > last:
            continue
        if low > first:
            yield first, low - 1
        first = high + 1
    if first <= last:
        yield first, last
