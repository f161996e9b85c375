"""A memory's past, as far as its changes are still known: which of them ended a conflict, and of how many values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cis.model import Change, Dot, Kind, ReplicaId
from cis.model.change import BODILESS


def of_people(changes: Sequence[Change]) -> set[Dot]:
    """Return the changes that wrote or ended a value; vectors, and what takes back vectors alone, are none."""
    kinds = {change.dot: change.kind for change in changes}
    found = set[Dot]()
    for change in changes:
        named = change.replaces if change.kind is Kind.REMOVE else ()
        ended = {kinds.get(Dot(ref.replica, ref.seq)) for ref in named}
        if change.kind is not Kind.VECTOR and not (Kind.VECTOR in ended and Kind.ADD not in ended):
            found.add(change.dot)
    return found


def resolutions(changes: Iterable[Change]) -> dict[Dot, int]:
    """Return the changes that replaced values written apart, each with how many values those were.

    What a change replaced of its own account is what it names and no other change it names does.
    """
    ordered = sorted(changes, key=lambda change: (change.hlc, change.dot), reverse=True)
    named = {change.dot: _named(change, ordered) for change in ordered}
    found: dict[Dot, int] = {}
    for change in ordered:
        if change.kind in {Kind.PUT, Kind.DELETE}:
            kinds: list[Kind] = []
            indirectly = set[Dot]()
            for other in named[change.dot].values():  # the newest first: what it names, an older one need not be asked
                if other.dot not in indirectly:
                    indirectly.update(named[other.dot])
                    kinds += [other.kind] if other.kind not in BODILESS else []
            puts = kinds.count(Kind.PUT)
            values = puts + len({kind for kind in kinds if kind is not Kind.PUT})
            if values > 1:
                found[change.dot] = values
    return found


def _named(change: Change, ordered: Sequence[Change]) -> dict[Dot, Change]:
    prefixes: dict[ReplicaId, int] = {}
    exact = set[Dot]()
    for ref in change.replaces:
        if ref.prefix:
            prefixes[ref.replica] = max(ref.seq, prefixes.get(ref.replica, 0))
        else:
            exact.add(Dot(ref.replica, ref.seq))
    return {
        other.dot: other
        for other in ordered
        if other.dot != change.dot and (other.dot in exact or other.dot.seq <= prefixes.get(other.dot.replica, 0))
    }
