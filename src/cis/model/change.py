"""A change: one operation on one memory, named by its dot, naming the dots it replaces.

The one mechanism that carries every type (DESIGN: dotted version vector sets, Preguiça et al. 2012;
ORSWOT, Bieniusa et al. 2012): what is shown of a memory is its changes that no other change replaces.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from cis.model.hlc import Hlc
from cis.model.ids import MemoryId, ReplicaId

CHANGE_FUTURE_LIMIT_MS = 10 * 60 * 1000
"""A change dated further ahead than this is stored and passed on, but held back from taking effect."""

SEQ_BITS = 40
SEQ_MAX = (1 << SEQ_BITS) - 1
CHANGES_PER_CHANGESET_MAX = 1024


class Dot(NamedTuple):
    """The name of one change: the replica that wrote it and its number in that replica's log, from 1."""

    replica: ReplicaId
    seq: int


class Ref(NamedTuple):
    """A replaced dot, or with ``prefix`` every change of the same memory by that replica up to it.

    The prefix form keeps a memory that is overwritten ten thousand times from naming ten thousand dots
    (docs/adr/002-prefix-references.md).
    """

    replica: ReplicaId
    seq: int
    prefix: bool


class Kind(enum.IntEnum):
    """What a change does; visible outside the seal so that nodes that cannot read merge alike."""

    DELETE = 0
    """A put without a body: replaces everything its author saw."""
    PUT = 1
    """A register's value: replaces everything its author saw; concurrent puts stay as siblings."""
    COUNT = 2
    """The totals one replica has added and subtracted; replaces that replica's earlier totals."""
    ADD = 3
    """One element of an observed-remove set."""
    REMOVE = 4
    """Replaces the additions of one element its author saw, or vectors of what is gone; has no body."""
    VECTOR = 5
    """What a model makes of the text shown, computed behind the write; says nothing of the memory's value."""


BODILESS = frozenset({Kind.DELETE, Kind.REMOVE})
VALUELESS = BODILESS | {Kind.VECTOR}
"""A memory of which nothing else is alive is not there."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change as the merge sees it; ``body`` is sealed, and None where it is bodiless or was dropped."""

    dot: Dot
    hlc: Hlc
    memory: MemoryId
    kind: Kind
    replaces: tuple[Ref, ...] = ()
    body: bytes | None = None
