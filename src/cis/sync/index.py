"""What a session reads and what carries out its effects: a snapshot of a store, and the membership log."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from cis.model import ReplicaId, SpaceId
from cis.sync.floors import Standing


class Membership(Protocol):
    """The part of the membership log a session needs."""

    def digest(self) -> bytes:
        """Return a hash of all entry ids: equal digests mean equal logs."""

    def ids(self) -> Sequence[bytes]:
        """Return the ids of all entries held."""

    def entries_missing_from(self, ids: Sequence[bytes]) -> Sequence[bytes]:
        """Return the entries not among ``ids``, parents first."""


class Index(Protocol):
    """One snapshot of a store: what its vectors promise, its segments deliver (RULES of state, 4)."""

    def standings(self) -> Mapping[SpaceId, Standing]:
        """Return what is held of every space the peer may see, and up to where that is stable."""

    def segment(
        self, space: SpaceId, replica: ReplicaId, first: int, last: int, unwanted: Collection[int] = ()
    ) -> tuple[bytes, int] | None:
        """Return (frame, last number in it) of a segment that holds ``first``, None where there is none.

        Bodies of changes of the kinds ``unwanted`` are left out.
        """
