"""Which dots a new change names as replaced (RULES of state, 1).

A change names what its author saw alive and all that those name in turn, so that the meaning of a write
survives the later withdrawal of what stood between. References of one replica collapse into a prefix
wherever the author holds that replica's log without a gap: it has then seen every change up to there.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from cis.model import Change, Dot, Kind, Ref, ReplicaId, VersionVector

REFS_MAX = 4096
"""A change names at most this many; only a set whose one element was added again that often loses names."""
VECTOR_REFS_MAX = 64
"""As many a vector names besides the living: else those of a set that is added to for ever would grow with it."""


def refs_for_put(seen: Iterable[Change], held: VersionVector) -> tuple[Ref, ...]:
    """Name everything of the memory that is alive here: for a register's put and for a delete."""
    return _collapsed(seen, held)


def refs_for_count(seen: Iterable[Change], held: VersionVector, own: ReplicaId) -> tuple[Ref, ...]:
    """Name this replica's earlier totals, and deletions, which a counter begun anew supersedes."""
    mine = (
        change
        for change in seen
        if change.kind is Kind.DELETE or (change.kind is Kind.COUNT and change.dot.replica == own)
    )
    return _collapsed(mine, held)


def refs_for_add(same_element: Iterable[Change]) -> tuple[Ref, ...]:
    """Name the earlier additions of the same element, exactly: other elements stay."""
    return _exact(same_element)


def refs_for_vector(vectors: Iterable[Change], same_model: Container[Dot], own: ReplicaId) -> tuple[Ref, ...]:
    """Name, exactly, the vectors of the same model that were seen and those this replica wrote: puts stay.

    One that comes back because its name was left out harms nothing: a vector counts only for the text it was made of.
    """
    seen = [change for change in vectors if change.dot.replica == own or change.dot in same_model]
    living = {_own(change) for change in seen}
    in_turn = sorted({ref for change in seen for ref in change.replaces} - living, key=lambda ref: (-ref.seq, ref))
    return tuple(sorted([*sorted(living)[:REFS_MAX], *in_turn[: max(0, VECTOR_REFS_MAX - len(living))]]))


def refs_for_remove(same_element: Iterable[Change]) -> tuple[Ref, ...]:
    """Name the additions of the element that were seen; a concurrent addition therefore wins. Vectors likewise."""
    return _exact(same_element)


def _exact(seen: Iterable[Change]) -> tuple[Ref, ...]:
    return _newest({ref for change in seen for ref in (_own(change), *change.replaces)})


def _collapsed(seen: Iterable[Change], held: VersionVector) -> tuple[Ref, ...]:
    prefixes: dict[ReplicaId, int] = {}
    loose: set[Ref] = set()
    for change in seen:
        for ref in (_own(change), *change.replaces):
            if ref.prefix or ref.seq <= held.contiguous(ref.replica):
                prefixes[ref.replica] = max(prefixes.get(ref.replica, 0), ref.seq)
            else:
                loose.add(ref)
    named = [Ref(replica, seq, prefix=True) for replica, seq in prefixes.items()]
    if not loose and len(named) <= 1:
        return tuple(named)  # nearly always
    return _newest({*named, *(ref for ref in loose if ref.seq > prefixes.get(ref.replica, 0))})


def _own(change: Change) -> Ref:
    return Ref(change.dot.replica, change.dot.seq, prefix=False)


def _newest(refs: set[Ref]) -> tuple[Ref, ...]:
    kept = sorted(refs, key=lambda ref: (not ref.prefix, -ref.seq, ref.replica))[:REFS_MAX]
    return tuple(sorted(kept))
