"""The node records held: this node's own, made when asked for, and the newest of each other member."""

from __future__ import annotations

import ipaddress

from cis.discovery.address import Source, dialable
from cis.model import Candidate, NodeId, NodeRecord
from cis.node.core.events import Recorded
from cis.node.home.local import LocalNode
from cis.peers import Target
from cis.peers.peer import BY_GOSSIP
from cis.trust.beacons import ITEM_RECORD_MAX
from cis.trust.records import read_record, sign_record
from cis.wire.messages import RECORDS_MAX

OWN_REFRESH_MS = 3600 * 1000
SHORT_CANDIDATES_MAX = 8
"""Addresses in a record that is kept in a hash table."""


class RecordShelf:
    """Keeps one record of each member; what is not a member's is not kept."""

    def __init__(self, local: LocalNode) -> None:
        self._local = local
        self._held: dict[NodeId, tuple[NodeRecord, bytes]] = {}
        self._own: tuple[tuple[Candidate, ...], int, bytes] = ((), 0, b"")
        self._short: tuple[bytes, bytes] = (b"", b"")

    def to_send(self, candidates: tuple[Candidate, ...]) -> list[bytes]:
        """Return this node's record and the live ones of others."""
        now_ms = self._local.clock_ms()
        own = self.own(candidates)
        member = self._local.cluster.membership.member
        others = [
            raw for record, raw in self._held.values() if record.expires_ms > now_ms and member(record.node) is not None
        ]
        return [own, *others[: RECORDS_MAX - 1]]

    def own(self, candidates: tuple[Candidate, ...]) -> bytes:
        """Return this node's record, the same until its addresses change or it ages."""
        now_ms = self._local.clock_ms()
        stated, made_ms, own = self._own
        if stated != candidates or now_ms > made_ms + OWN_REFRESH_MS:
            own = sign_record(self._local.identity, candidates, now_ms)
            self._own = (candidates, now_ms, own)
        return own

    def short(self, candidates: tuple[Candidate, ...]) -> bytes:
        """Return this node's record with its best addresses, as many as an item of a hash table has room for."""
        whole = self.own(candidates)
        if self._short[0] != whole:
            made_ms, best = self._own[1], candidates[:SHORT_CANDIDATES_MAX]
            while len(short := sign_record(self._local.identity, best, made_ms)) > ITEM_RECORD_MAX:
                best = best[:-1]
            self._short = whole, short
        return self._short[1]

    def held(self, node: NodeId) -> tuple[int, bytes] | None:
        """Return the number of the record held of a member, and the record; None where there is none."""
        held = self._held.get(node)
        return (held[0].number, held[1]) if held is not None else None

    def candidates_of(self, node: NodeId) -> tuple[Candidate, ...]:
        """Return where the record held of a member says it is reached."""
        held = self._held.get(node)
        return held[0].candidates if held is not None else ()

    def take(self, raw: bytes, bound: tuple[str, int]) -> Recorded | None:
        """Keep a record if it is newer than the one held, and return what it tells, None where that is nothing new.

        Raises `PeerFault`.
        """
        if any(raw == kept for _, kept in self._held.values()):
            return None
        record = read_record(raw)
        if record.node == self._local.identity.node or self._local.cluster.membership.member(record.node) is None:
            return None
        held = self._held.get(record.node)
        if record.expires_ms <= self._local.clock_ms() or (held is not None and held[0].number >= record.number):
            return None
        self._held[record.node] = (record, raw)
        return Recorded(record.node, raw, targets_in(record, bound))


def targets_in(record: NodeRecord, bound: tuple[str, int]) -> tuple[Target, ...]:
    """Return the addresses in a verified record that a node bound to an address may dial.

    Private addresses count as the member's own word, whoever passed the record on, as it is signed.
    Loopback ones count only for a node that itself listens on loopback.
    """
    loopback = ipaddress.ip_address(bound[0]).is_loopback
    return tuple(
        Target(record.node, one.host, one.port, Source.MEMBER.value, BY_GOSSIP)
        for one in record.candidates
        if dialable(one.host, Source.MEMBER, allow_loopback=loopback)
    )
