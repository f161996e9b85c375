"""A segment: a run of whole changesets of one replica, in columns, so that numpy and SQL take it in bulk.

A changeset is a header, the replicas it refers to, and per change a fixed record, further references and a
sealed body. Columns of equal width need no framing of their own; `Layout` is the shape read out of them once,
with every length checked before anything is allocated from it. docs/protocol.md has the grammar.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from cis.arrays import np
from cis.errors import Fault, PeerFault
from cis.model.change import CHANGES_PER_CHANGESET_MAX, SEQ_BITS, SEQ_MAX, Kind
from cis.model.ids import NODE_ID_LENGTH, REPLICA_ID_LENGTH, SPACE_ID_LENGTH, NodeId

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

CHANGESET_VERSION = 1
HASH_LENGTH = 32
SIGNATURE_LENGTH = 64
SALT_LENGTH = 16
SEGMENT_CHANGES_MAX = 32_768
BODY_BYTES_MAX = 512 * 1024
BODY_BYTES_MIN = 17
MISSING_BYTES = 4 + HASH_LENGTH
"""What stands for a body that is not sent: the place of its change, and its hash."""
SEGMENT_BYTES_MAX = (1 << 20) - 4096
"""Columns and bodies of a segment, each body counted as no shorter than what stands for it once it is dropped."""

HEADER = struct.Struct(">QIHHH16s32s")
"""first sequence number, epoch, changes, referenced replicas, version, salt, authority (membership head)"""
RECORD = struct.Struct(">Q16sQBBHI")
"""HLC, memory id, first reference, kind, flags, further references, length of the sealed body"""
REFERENCE = struct.Struct(">Q")
"""one bit prefix, 15 bits replica (0 the author's own, else place in the changeset's list), 40 bits number"""

REF_PREFIX = 1 << 63
REF_REPLICA_SHIFT = 48
REF_REPLICA_MAX = (1 << 15) - 1
SEGMENT_TAG = 16
COLLECTED = 255
"""Kind of a record whose change was collected: its first 32 bytes are the leaf that the signature covers."""

_HEADER_COLUMNS = [
    ("first", ">u8"), ("epoch", ">u4"), ("count", ">u2"), ("refs", ">u2"), ("version", ">u2"),
    ("salt", "V16"), ("authority", "V32"),
]  # fmt: skip
_RECORD_COLUMNS = [
    ("hlc", ">u8"), ("memory", "V16"), ("ref", ">u8"), ("kind", "u1"), ("flags", "u1"),
    ("extras", ">u2"), ("length", ">u4"),
]  # fmt: skip
_BEFORE_SPACE, _BEFORE_REPLICA = b"\xc4\x10", b"\xc4\x28"
"""How MessagePack begins 16 and 40 bytes."""
_AUTHOR_AT = 2 + len(_BEFORE_SPACE) + 16 + len(_BEFORE_REPLICA)
"""Behind the array's head, the tag and the space; a replica begins with its node."""


class Segment(msgspec.Struct, array_like=True, tag=SEGMENT_TAG, gc=False, frozen=True):
    """Columns of a run of changesets; one signature, the last's, covers the unbroken chain before it."""

    space: bytes
    replica: bytes
    first: int
    previous: bytes
    """Link of the changeset before the first, zeros at the beginning of a log."""
    headers: bytes
    refs: bytes
    records: bytes
    extras: bytes
    missing: bytes
    """Places (big-endian u32) of changes whose body is not sent, because it was superseded or not taken."""
    missing_hashes: bytes
    bodies: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of a segment: per changeset and per change, as native integers."""

    changes: int
    counts: Integers
    """changes of each changeset"""
    ref_counts: Integers
    """replicas each changeset refers to"""
    changeset_of: Integers
    """changeset of each change"""
    hlcs: Integers
    kinds: Integers
    first_refs: npt.NDArray[np.uint64]
    extra_counts: Integers
    lengths: Integers
    """bytes of each body that is present, 0 where it is not"""
    offsets: Integers
    collected: npt.NDArray[np.bool_]
    """which changes are there as their leaf alone; of these no other column says anything"""


def layout_of(segment: Segment) -> Layout:
    """Read the shape of a segment, or raise `PeerFault` saying what is wrong with it."""
    _require(1 <= segment.first <= SEQ_MAX, "sequence number out of range")
    headers, records = _columns(segment)
    counts = headers["count"].astype(np.int64)
    changes = len(records)
    _require(int(counts.sum()) == changes and bool((counts > 0).all()), "changesets and records differ in number")
    _require(int(counts.max()) <= CHANGES_PER_CHANGESET_MAX, "a changeset holds too many changes")
    starts = segment.first + np.cumsum(counts) - counts
    _require(bool((headers["first"] == starts.astype(np.uint64)).all()), "sequence numbers do not follow")
    _require(segment.first + changes - 1 <= SEQ_MAX, "sequence number out of range")
    if not bool((headers["version"] == CHANGESET_VERSION).all()):
        raise PeerFault(Fault.VERSION, "changeset of a version this node does not know: update cis")
    lengths = _lengths(segment, records)
    collected = records["kind"] == COLLECTED
    layout = Layout(
        changes=changes,
        counts=counts,
        ref_counts=headers["refs"].astype(np.int64),
        changeset_of=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        hlcs=np.where(collected, 0, records["hlc"]).astype(np.int64),
        kinds=records["kind"].astype(np.int64),
        first_refs=np.where(collected, 0, records["ref"]).astype(np.uint64),
        extra_counts=records["extras"].astype(np.int64),
        lengths=lengths,
        offsets=np.cumsum(lengths) - lengths,
        collected=collected,
    )
    _check_references(segment, layout)
    return layout


def author_of(frame: bytes) -> NodeId | None:
    """Return who a segment's frame says wrote it, undecoded and unverified; None where it is not written as we do."""
    start = _AUTHOR_AT - len(_BEFORE_REPLICA)
    if frame[2 : 2 + len(_BEFORE_SPACE)] != _BEFORE_SPACE or frame[start:_AUTHOR_AT] != _BEFORE_REPLICA:
        return None
    author = frame[_AUTHOR_AT : _AUTHOR_AT + NODE_ID_LENGTH]
    return NodeId(author) if len(author) == NODE_ID_LENGTH else None


def carried(lengths: Integers) -> Integers:
    """Return the bytes each change costs beside its record, whether its body is sent or stood for by place and hash."""
    return np.where(lengths > 0, np.maximum(lengths, MISSING_BYTES), 0)


def reference_columns(segment: Segment, layout: Layout) -> tuple[Integers, npt.NDArray[np.uint64]]:
    """Return (change, packed reference) of every reference in the segment, first and further ones."""
    named = np.flatnonzero(layout.first_refs)
    changes = named.astype(np.int64)
    packed = layout.first_refs[named]
    if segment.extras:
        owners = np.repeat(np.arange(layout.changes, dtype=np.int64), layout.extra_counts)
        changes = np.concatenate([changes, owners])
        packed = np.concatenate([packed, np.frombuffer(segment.extras, ">u8").astype(np.uint64)])
    return changes, packed


def unpack_reference(packed: int) -> tuple[int, int, bool]:
    """Split a reference into (replica's place, number, prefix)."""
    return packed >> REF_REPLICA_SHIFT & REF_REPLICA_MAX, packed & SEQ_MAX, bool(packed & REF_PREFIX)


def pack_reference(place: int, seq: int, *, prefix: bool) -> int:
    """Join a replica's place, a number and the prefix bit."""
    return (REF_PREFIX if prefix else 0) | place << REF_REPLICA_SHIFT | seq


def record_references(record: bytes) -> Iterator[int]:
    """Yield the packed references of a record with its further references behind it."""
    first = RECORD.unpack_from(record)[2]
    if first:
        yield first
    for at in range(RECORD.size, len(record), REFERENCE.size):
        yield REFERENCE.unpack_from(record, at)[0]


@cache
def _dtypes() -> tuple[np.dtype[Any], np.dtype[Any]]:
    header, record = np.dtype(_HEADER_COLUMNS), np.dtype(_RECORD_COLUMNS)
    assert (header.itemsize, record.itemsize) == (HEADER.size, RECORD.size)
    return header, record


def _columns(segment: Segment) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    _require(len(segment.space) == SPACE_ID_LENGTH and len(segment.replica) == REPLICA_ID_LENGTH, "bad ids")
    _require(len(segment.previous) == HASH_LENGTH, "bad previous link")
    _require(len(segment.signature) == SIGNATURE_LENGTH, "bad signature length")
    _require(0 < len(segment.records) <= SEGMENT_CHANGES_MAX * RECORD.size, "bad number of records")
    _require(len(segment.headers) > 0, "no changeset")
    columns = (
        (segment.records, RECORD.size),
        (segment.headers, HEADER.size),
        (segment.refs, REPLICA_ID_LENGTH),
        (segment.extras, REFERENCE.size),
    )
    _require(not any(len(column) % width for column, width in columns), "a column is cut short")
    header, record = _dtypes()
    return np.frombuffer(segment.headers, header), np.frombuffer(segment.records, record)


def _lengths(segment: Segment, records: npt.NDArray[Any]) -> Integers:
    lengths = records["length"].astype(np.int64)
    columns = len(segment.headers) + len(segment.refs) + len(segment.records) + len(segment.extras)
    _require(columns + int(carried(lengths).sum()) <= SEGMENT_BYTES_MAX, "more than can be passed on in one frame")
    kinds = records["kind"]
    collected = kinds == COLLECTED
    _require(bool(((kinds <= max(Kind)) | collected).all()) and not records["flags"].any(), "unknown kind of change")
    _require(not records["extras"][collected].any(), "a collected change has references")
    bodiless = (kinds == Kind.DELETE) | (kinds == Kind.REMOVE) | collected
    _require(bool(((lengths == 0) == bodiless).all()), "a body where none belongs, or none where one does")
    _require(int(lengths.max()) <= BODY_BYTES_MAX, "a body is too large")
    _require(not bool(((lengths > 0) & (lengths < BODY_BYTES_MIN)).any()), "a body is shorter than its seal")
    _require(int(records["hlc"].max(initial=0, where=~collected)) < 1 << 63, "a time stamp is out of range")
    if segment.missing:
        _require(len(segment.missing) % 4 == 0, "a column is cut short")
        places = np.frombuffer(segment.missing, ">u4").astype(np.int64)
        _require(bool((np.diff(places) > 0).all()) and int(places[-1]) < len(lengths), "bad places of bodies")
        _require(bool((lengths[places] > 0).all()), "a bodiless change is marked as missing its body")
        lengths[places] = 0
    _require(len(segment.missing_hashes) * 4 == len(segment.missing) * HASH_LENGTH, "hashes of bodies are missing")
    _require(int(lengths.sum()) == len(segment.bodies), "bodies and their lengths differ")
    return lengths


def _check_references(segment: Segment, layout: Layout) -> None:
    _require(
        int(layout.ref_counts.sum()) * REPLICA_ID_LENGTH == len(segment.refs),
        "replicas and their count differ",
    )
    _require(int(layout.extra_counts.sum()) * REFERENCE.size == len(segment.extras), "references and count differ")
    changes, packed = reference_columns(segment, layout)
    whole = np.bincount(layout.changeset_of, layout.collected, len(layout.counts)) == 0
    listed = int(layout.ref_counts[whole].sum())
    if not len(packed):
        _require(not listed, "a replica is listed that none refers to")
        return
    places = packed >> np.uint64(REF_REPLICA_SHIFT) & np.uint64(REF_REPLICA_MAX)
    known = layout.ref_counts[layout.changeset_of[changes]].astype(np.uint64)
    _require(bool((places <= known).all()), "a reference to a replica that is not listed")
    others = places > 0
    others &= whole[layout.changeset_of[changes]]
    used = layout.changeset_of[changes[others]].astype(np.uint64) << np.uint64(15) | places[others]
    _require(len(np.unique(used)) == listed, "a replica is listed that none refers to")
    numbers = packed & np.uint64((1 << REF_REPLICA_SHIFT) - 1)
    _require(bool(((numbers >= 1) & (numbers <= SEQ_MAX)).all()), "a reference to no number")


def collected_record(leaf: bytes) -> bytes:
    """Return the record that stands for a collected change."""
    return leaf + bytes((COLLECTED,)) + bytes(RECORD.size - HASH_LENGTH - 1)


def _require(holds: bool, complaint: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise PeerFault(Fault.MALFORMED, f"segment: {complaint}")


assert SEQ_BITS < REF_REPLICA_SHIFT
