"""Signatures over changesets: one Ed25519 signature covers the unbroken chain of changesets before it.

A leaf is H(record, references, H(body)), so that a header verifies without its body. The link of a changeset
is H(previous link, space, replica, header, leaves), so that a fork, a gap or a reused number shows; the
author signs links. Verification is libsodium's alone, over the bytes received: two verifiers that disagree on
edge keys would split a cluster.

A log that is cut short where no signature is keeps its author's proof: what follows up to the next one, as leaves
(`shortened`, `with_tail`). Nobody else can vouch for what an author wrote, an admin who cuts a log as little as others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b

import msgspec
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from cis.arrays import np
from cis.errors import Fault, PeerFault
from cis.model import ReplicaId, SpaceId, node_of
from cis.model.ids import REPLICA_ID_LENGTH
from cis.wire.segment import (
    HASH_LENGTH,
    HEADER,
    RECORD,
    REFERENCE,
    Layout,
    Segment,
    collected_record,
    layout_of,
)

CHANGESET_LABEL = b"cis/1 changeset\0"
GENESIS = bytes(HASH_LENGTH)
"""The link before the first changeset of a log."""

_body_hash = blake2b(digest_size=HASH_LENGTH, person=b"cis/1 body").copy
_leaf_hash = blake2b(digest_size=HASH_LENGTH, person=b"cis/1 leaf").copy
_link_hash = blake2b(digest_size=HASH_LENGTH, person=b"cis/1 link").copy


@dataclass(frozen=True, slots=True)
class Verified:
    """A segment whose hashes, chain and signature hold; authority is judged apart."""

    segment: Segment
    layout: Layout
    slots: bytes
    """32 bytes a change: the hash of its body, or the leaf of a change that was collected"""
    links: tuple[bytes, ...]
    """the link after each changeset"""
    signed: bool = True
    """False for a part that does not end where the signature does; its changesets are stored without one"""
    tail: Segment | None = None
    """of what was cut short: the leaves of what followed, up to the signature"""

    @property
    def space(self) -> SpaceId:
        return SpaceId(self.segment.space)

    @property
    def replica(self) -> ReplicaId:
        return ReplicaId(self.segment.replica)

    @property
    def last(self) -> int:
        """The number of the last change."""
        return self.segment.first + self.layout.changes - 1

    def listed(self) -> list[ReplicaId]:
        """The replicas its changesets refer to."""
        refs = self.segment.refs
        return [ReplicaId(refs[at : at + REPLICA_ID_LENGTH]) for at in range(0, len(refs), REPLICA_ID_LENGTH)]

    def authorities(self) -> list[bytes]:
        """The membership head each changeset names."""
        headers, start = self.segment.headers, HEADER.size - HASH_LENGTH
        return [headers[at + start : at + HEADER.size] for at in range(0, len(headers), HEADER.size)]


def hash_body(body: bytes) -> bytes:
    """Return the hash of a sealed body, or of b"" for a bodiless change."""
    digest = _body_hash()
    digest.update(body)
    return digest.digest()


def hash_leaf(record: bytes, references: bytes, body_hash: bytes) -> bytes:
    """Return the leaf of one change."""
    digest = _leaf_hash()
    digest.update(record + references + body_hash)
    return digest.digest()


def link_after(previous: bytes, place: bytes, header: bytes, refs: bytes, leaves: bytes) -> bytes:
    """Return the link of a changeset; ``place`` is its space and replica."""
    digest = _link_hash()
    digest.update(previous + place + header + refs)
    digest.update(leaves)
    return digest.digest()


def verify(segment: Segment) -> Verified:
    """Check shape, hashes, chain and signature of a segment, or raise `PeerFault`."""
    layout = layout_of(segment)
    hashes = _slots(segment, layout)
    links = _links(segment, layout, _leaves(segment, layout, hashes))
    message = CHANGESET_LABEL + links[-1]
    try:
        crypto_sign_open(segment.signature + message, node_of(ReplicaId(segment.replica)))
    except (BadSignatureError, ValueError):
        raise PeerFault(Fault.BAD_SIGNATURE, "a changeset was altered, or is not by the author it names") from None
    return Verified(segment, layout, b"".join(hashes), tuple(links))


def _slots(segment: Segment, layout: Layout) -> list[bytes]:
    bodies, copy, start = segment.bodies, _body_hash, 0
    hashes: list[bytes] = []
    append = hashes.append
    for end in (layout.offsets + layout.lengths).tolist():
        digest = copy()
        digest.update(bodies[start:end])
        append(digest.digest())
        start = end
    if segment.missing:
        given = segment.missing_hashes
        for at, place in enumerate(np.frombuffer(segment.missing, ">u4").tolist()):
            hashes[place] = given[HASH_LENGTH * at : HASH_LENGTH * (at + 1)]
    for place in np.flatnonzero(layout.collected).tolist():
        start = RECORD.size * place
        hashes[place] = segment.records[start : start + HASH_LENGTH]
    return hashes


def _leaves(segment: Segment, layout: Layout, hashes: list[bytes]) -> list[bytes]:
    records, copy, size = segment.records, _leaf_hash, RECORD.size
    leaves: list[bytes] = []
    append = leaves.append
    at = 0
    if segment.extras:
        extras, start = segment.extras, 0
        for body_hash, count in zip(hashes, layout.extra_counts.tolist(), strict=True):
            end = start + count * REFERENCE.size
            append(hash_leaf(records[at : at + size], extras[start:end], body_hash))
            at, start = at + size, end
    else:
        for body_hash in hashes:
            digest = copy()
            digest.update(records[at : at + size] + body_hash)
            append(digest.digest())
            at += size
    for place in np.flatnonzero(layout.collected).tolist():
        leaves[place] = hashes[place]
    return leaves


def _links(segment: Segment, layout: Layout, leaves: list[bytes]) -> list[bytes]:
    link, place = segment.previous, segment.space + segment.replica
    links: list[bytes] = []
    change = ref = 0
    for at, (count, refs) in enumerate(zip(layout.counts.tolist(), layout.ref_counts.tolist(), strict=True)):
        header = segment.headers[HEADER.size * at : HEADER.size * (at + 1)]
        names = segment.refs[REPLICA_ID_LENGTH * ref : REPLICA_ID_LENGTH * (ref + refs)]
        link = link_after(link, place, header, names, b"".join(leaves[change : change + count]))
        links.append(link)
        change, ref = change + count, ref + refs
    return links


def part(verified: Verified, start: int, end: int) -> Verified:
    """Return the changesets ``start`` to ``end`` (exclusive) of a verified segment."""
    segment, layout = verified.segment, verified.layout
    changes = [0, *np.cumsum(layout.counts).tolist()]
    refs = [0, *np.cumsum(layout.ref_counts).tolist()]
    extras = [0, *np.cumsum(layout.extra_counts).tolist()]
    low, high = changes[start], changes[end]
    bodies = [*layout.offsets.tolist(), len(segment.bodies)]
    places = np.frombuffer(segment.missing, ">u4")
    inside = (places >= low) & (places < high)
    whole = end == len(layout.counts)
    cut = msgspec.structs.replace(
        segment,
        first=segment.first + low,
        previous=verified.links[start - 1] if start else segment.previous,
        headers=segment.headers[HEADER.size * start : HEADER.size * end],
        refs=segment.refs[REPLICA_ID_LENGTH * refs[start] : REPLICA_ID_LENGTH * refs[end]],
        records=segment.records[RECORD.size * low : RECORD.size * high],
        extras=segment.extras[REFERENCE.size * extras[low] : REFERENCE.size * extras[high]],
        missing=(places[inside] - np.uint32(low)).astype(">u4").tobytes(),
        missing_hashes=_rows(segment.missing_hashes, np.flatnonzero(inside).tolist()),
        bodies=segment.bodies[bodies[low] : bodies[high]],
    )
    slots = verified.slots[HASH_LENGTH * low : HASH_LENGTH * high]
    signed, tail = whole and verified.signed, verified.tail if whole else None
    return Verified(cut, layout_of(cut), slots, verified.links[start:end], signed=signed, tail=tail)


def shortened(verified: Verified, count: int) -> Verified:
    """Return the first ``count`` changesets of a segment that ends with its signature, the others as a tail."""
    rest = part(verified, count, len(verified.links))
    return replace(part(verified, 0, count), tail=bare(rest))


def bare(verified: Verified) -> Segment:
    """Return a segment that proves the same links without saying what changed: every change as its leaf alone."""
    slots = [verified.slots[at : at + HASH_LENGTH] for at in range(0, len(verified.slots), HASH_LENGTH)]
    leaves = _leaves(verified.segment, verified.layout, slots)
    records = b"".join(map(collected_record, leaves))
    nothing = {"extras": b"", "missing": b"", "missing_hashes": b"", "bodies": b""}
    return msgspec.structs.replace(verified.segment, records=records, **nothing)


def with_tail(segment: Segment, tail: Segment) -> Segment:
    """Return an unsigned segment with the tail that was kept of it, and so its author's signature."""
    return msgspec.structs.replace(
        segment,
        headers=segment.headers + tail.headers,
        refs=segment.refs + tail.refs,
        records=segment.records + tail.records,
        signature=tail.signature,
    )


def _rows(hashes: bytes, places: list[int]) -> bytes:
    return b"".join(hashes[HASH_LENGTH * place : HASH_LENGTH * (place + 1)] for place in places)
