"""What an audit asks of its node, what it is answered, and what it reports: the language of `cis.sync.audit`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from cis.model import Dot, MemoryId, ReplicaId, SpaceId, VersionVector
from cis.model.ids import MEMORY_ID_LENGTH, REPLICA_ID_LENGTH
from cis.sync.session import Send, SendFrame


class Range(NamedTuple):
    """Numbers of one log that are wanted."""

    space: SpaceId
    replica: ReplicaId
    first: int
    last: int


@dataclass(frozen=True)
class Inventory:
    """What one end holds of a space in its snapshot, and what it knows to be missing or damaged there."""

    vector: VersionVector
    items: bytes
    """sorted items, 64 bytes each (`cis.wire.audit`)"""
    floor: VersionVector = field(default_factory=VersionVector)
    owes: bool = False
    """whether this comparison is owed for a floor that was taken over"""
    damaged: tuple[Range, ...] = ()
    unheld: tuple[Range, ...] = ()
    """living changes whose body is missing"""


class Explained(NamedTuple):
    """Why an item is not alive here: is its header held, its body, and which held changes replace it.

    Of the changes of one replica that do, the first stands for all.
    """

    item: bytes
    header: bool
    body: bool
    killers: tuple[Dot, ...] = ()
    collected: bool = False
    """whether it was had and collected, as the log proves"""


class Explain(msgspec.Struct, frozen=True):
    """Look the items up in the snapshot; answer with `Audit.explained`."""

    space: SpaceId
    items: tuple[bytes, ...]


class Mend(msgspec.Struct, frozen=True):
    """Derive the memories anew from their headers; answer with `Audit.mended`."""

    space: SpaceId
    memories: tuple[MemoryId, ...]


class Drop(msgspec.Struct, frozen=True):
    """Let go what the peer has collected, with all it names, and take over its floor, before anything that follows."""

    space: SpaceId
    dead: tuple[Dot, ...]
    floor: VersionVector
    compared: VersionVector
    """this end's vector when it was compared: what came since was not"""
    settled: bool
    """whether the peer owes no comparison itself"""


class Supply(msgspec.Struct, frozen=True):
    """Read a segment that holds ``first`` from the store as it is now and check it; answer with `Audit.supplied`."""

    wanted: Range


class Repair(msgspec.Struct, frozen=True):
    """Put back what the segment just received has of a range; answer with `Audit.repaired`."""

    wanted: Range


class Recheck(msgspec.Struct, frozen=True):
    """Count in the store as it is now the items still ``lost`` or still alive though ``replaced``, and bodies unheld.

    Answer with `Audit.rechecked`.
    """

    space: SpaceId
    lost: tuple[bytes, ...]
    replaced: tuple[tuple[bytes, Dot], ...]


class Tally(NamedTuple):
    """What one end had wrong, what of it is mended, bodies fetched, and changes or bodies still missing."""

    wrong: int = 0
    mended: int = 0
    fetched: int = 0
    missing: int = 0


@dataclass(slots=True)
class AuditReport:
    """What an audit did."""

    compared: int = 0
    """living items here"""
    differing: int = 0
    """items of changes both claim to hold that are alive on one side alone; what replaced one may be on its way"""
    here: Tally = field(default_factory=Tally)
    there: Tally = field(default_factory=Tally)
    truncated: bool = False
    """more differed than one audit takes"""


class AuditFinished(msgspec.Struct, frozen=True):
    """Both ends want no more."""

    report: AuditReport


AuditEffect = Send | SendFrame | Explain | Mend | Drop | Supply | Repair | Recheck | AuditFinished


def dot_of(item: bytes) -> Dot:
    """Return the change an item names."""
    at = MEMORY_ID_LENGTH + REPLICA_ID_LENGTH
    return Dot(ReplicaId(item[MEMORY_ID_LENGTH:at]), int.from_bytes(item[at:], "big"))


def memory_of(item: bytes) -> MemoryId:
    """Return the memory an item belongs to."""
    return MemoryId(item[:MEMORY_ID_LENGTH])
