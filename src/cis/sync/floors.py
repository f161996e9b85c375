"""When two nodes may simply exchange what each lacks, and when whole states come first (RULES of state, 6).

A node that collected knows of some deletions only by their absence. A peer that has not had everything below the
collector's floor may still hold what was deleted; told nothing, it would bring it back. So it first compares
what it shows with the collector (the audit), ends what the collector ended, and takes over its floor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cis.model import VersionVector


@dataclass(frozen=True, slots=True)
class Standing:
    """What a node holds of a space, and its stable floor, taken over ones included."""

    vector: VersionVector
    floor: VersionVector = field(default_factory=VersionVector)
    owes: bool = False
    """whether it took over a floor, and has not compared again since it had everything below"""
    partial: bool = False
    """whether it does not keep all bodies, and so does not hand on all it has the headers of"""
    unwanted: tuple[int, ...] = ()
    """kinds of changes whose bodies it wants none of"""

    @property
    def witnessed(self) -> VersionVector:
        """The part of the floor this node has had everything below: what it speaks for."""
        return self.floor.meet(self.vector)

    @property
    def reached(self) -> VersionVector:
        """Up to where this node holds nothing that others may have ended: it was had, or compared."""
        return VersionVector(self.vector.seqs).join(self.floor)

    @property
    def catching_up(self) -> bool:
        """Tell whether a floor was taken over from a peer, and what lies below has not come, or was not compared."""
        return self.owes or not self.floor.covered_by(self.vector)


def must_compare(mine: Standing, theirs: Standing) -> bool:
    """Tell whether this node must compare its whole state with that peer before it takes anything from it.

    It compares again once it has everything below the floor it took over: what it had of one peer in full may have been
    ended by what another had collected already.
    """
    if not theirs.witnessed.covered_by(mine.reached):
        return True
    had = mine.owes and mine.floor.covered_by(mine.vector)
    return had and not theirs.owes and mine.floor.covered_by(theirs.witnessed)


def may_take(mine: Standing, theirs: Standing) -> bool:
    """Tell whether nothing the peer holds was ended below this node's floor."""
    return mine.floor.covered_by(theirs.reached)
