"""The entries one node has of the membership log: which it takes in, follows on, and tells others.

An entry is taken in when its issuer was ever made an admin by what it follows; that never changes, so all nodes
take in the same entries in whatever order they arrive (Kleppmann and Howard, "Byzantine Eventual Consistency",
2020). Entries that are void (`cis.trust.standing`) are kept as well, since changes may name them as their
authority. But of those that no entry with effect follows, only so many are kept and told for each removed node:
a removed admin can go on signing, and must not fill everybody's log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Self

from cis.errors import Fault, PeerFault
from cis.model import NodeId
from cis.trust.crowding import FLOOD_MIN, HELD_MAX, Crowd, flood, heads_beside
from cis.trust.entries import Body, SignedEntry, id_of, read_entry
from cis.trust.log import EntryLog, Known, Rank
from cis.trust.rights import Rights
from cis.trust.standing import Standing
from cis.wire.membership import PARENTS_MAX

VOID_KEPT_MAX = 64
"""Void entries told for each removed node, those of least rank, beside those that entries with effect follow."""
VOID_HELD_MAX = 1024
"""How many of them are taken in, as ever lower ones come; beyond, only a node that floods sees logs differ by them."""


@dataclass(frozen=True, slots=True)
class _Weighed:
    """The log of one moment: its latest entries with effect, and the void ones nothing leans on."""

    count: int
    standing: Standing
    heads: tuple[Known, ...]
    void: dict[NodeId, list[Known]]
    """in order of rank"""
    untold: frozenset[bytes]
    crowd: Crowd

    def too_many(self, issuer: NodeId, ancestry: int, rank: Rank) -> bool:
        """Tell whether an entry of this issuer, ancestry and rank is void, and would not be among those told.

        Which those are follows from the entries alone, not from the order they came in: so two nodes that took in
        different ones tell each other the same in the end.
        """
        blamed = self.standing.blame_for(issuer, ancestry)
        void = self.void.get(blamed, ()) if blamed is not None else ()
        return len(void) >= VOID_HELD_MAX or (len(void) >= VOID_KEPT_MAX and rank > void[VOID_KEPT_MAX - 1].rank)


class Chronicle:
    """The log of one cluster as far as this node has it; ``cluster`` is the id of its founding entry.

    Made from nothing (a joiner knows the id from its ticket) or from stored ``entries``, parents first.
    """

    def __init__(self, cluster: bytes, entries: Iterable[bytes] = ()) -> None:
        self.cluster = cluster
        self.log = EntryLog(self._judge_entry, self._spare, self._on_admitted)
        self.rights = Rights()
        self._weighed: _Weighed | None = None
        self._digest: tuple[int, bytes] = (-1, b"")
        self._stored = True
        for raw in entries:
            self.add(raw)
        self._stored = False

    def copy(self) -> Self:
        """Return a log of the same entries, those that wait too, which may grow apart from this one."""
        twin = type(self)(self.cluster)
        twin.rights = self.rights.copy()
        self.log.copy_to(twin.log)
        return twin

    def add(self, raw: bytes) -> list[SignedEntry]:
        """Take an entry in; return what became known by it: itself, and entries that waited for it.

        Returns nothing for an entry known already, parked until its parents are known (bounded, the oldest
        dropped: comparing logs brings them again), void and one too many, or without room (`cis.trust.crowding`).
        Raises `PeerFault`: MALFORMED, TOO_LARGE, BAD_SIGNATURE, BAD_HASH, or UNAUTHORISED when its issuer never had
        a right to state it; no correct node relays such a one.
        """
        if id_of(raw) in self.log.known:
            return []
        entry = read_entry(raw)
        if (entry.id if entry.founding else entry.statement.cluster) != self.cluster:
            raise PeerFault(Fault.UNAUTHORISED, "a membership entry of another cluster")
        return [known.entry for known in self.log.add(entry)]

    def knows(self, head: bytes) -> bool:
        """Tell whether an entry, and so all its ancestry, is here."""
        return head in self.log.known

    def ids(self) -> tuple[bytes, ...]:
        """Return the ids of all entries this node tells others, parents first."""
        untold = self._untold()
        return tuple(name for name in list(self.log.known) if name not in untold)

    def entries_missing_from(self, ids: Iterable[bytes] = ()) -> list[bytes]:
        """Return the raw entries to tell whose ids are not among ``ids``, parents first."""
        held = self._untold().union(ids)
        return [known.entry.raw for known in list(self.log.known.values()) if known.entry.id not in held]

    def digest(self) -> bytes:
        """Return 32 bytes that are equal exactly when two logs tell the same entries."""
        count = len(self.log.known)
        if self._digest[0] != count:
            told = b"".join(sorted(self.ids()))
            self._digest = count, blake2b(told, digest_size=32, person=b"cis membership").digest()
        return self._digest[1]

    def heads(self) -> tuple[Known, ...]:
        """Return the latest entries with effect: those that no other with effect follows."""
        if self.rights.monotone:
            return tuple(self.log.heads.values())
        return self._weigh().heads

    def ranked(self) -> list[Known]:
        """Return all known entries in the order that is the same on all nodes."""
        known = list(self.log.known.values())  # at once: another thread may add meanwhile
        return sorted(known, key=lambda known: known.rank)

    def parents_for(
        self, issuer: NodeId, *, after: Iterable[Known] = (), removing: NodeId | None = None
    ) -> tuple[bytes, ...]:
        """Return the heads a new entry names, the deepest if there are too many; none that follows a flood.

        First one at which its issuer is an admin, then one for each of ``after`` that follows it.
        """
        heads, known = self.heads(), list(self.log.known.values())
        shunned = flood(known, self.rights, issuer, removing) if len(known) > FLOOD_MIN else 0
        beside = heads_beside(known, self.rights, shunned) if shunned else heads
        ranked = sorted(beside, key=lambda head: head.rank, reverse=True)
        able = [*ranked, *sorted(heads, key=lambda head: head.rank, reverse=True)]  # the flood, where it must be
        first = [head for head in able if self.rights.admin_at(issuer, head.ancestry)][:1]
        needed = [next((head for head in able if head.ancestry >> one.place & 1), None) for one in after]
        chosen = {head.entry.id: None for head in chain(first, needed, ranked) if head is not None}
        return tuple(chosen)[:PARENTS_MAX]

    def _judge_entry(self, entry: SignedEntry, ancestry: int) -> None:
        if not entry.founding and not self.rights.ever_admin(entry.issuer, ancestry):
            raise PeerFault(Fault.UNAUTHORISED, "a membership entry whose issuer had no right to state it")

    def has_room(self, issuer: NodeId, body: Body | None, backers: Iterable[NodeId] = ()) -> bool:
        """Tell whether the log has room for an entry of this issuer, which ``backers`` state what follows."""
        rough = Crowd(len(self.log.known), self.rights.issued)
        if rough.admits(self.rights, issuer, body):
            return True
        crowd = rough if self.rights.monotone else self._weigh().crowd
        return crowd.admits(self.rights, issuer, body, backers)

    def _spare(self, entry: SignedEntry, ancestry: int, followers: Iterable[NodeId]) -> bool:
        """Tell whether an entry is left out: it has no room, or no effect and nobody in good standing needs it."""
        if len(self.log.known) >= HELD_MAX:
            return True
        if self._stored or entry.founding:
            return False
        crowded = not self.has_room(entry.issuer, entry.body)
        if not crowded and not self._is_idle(entry, ancestry):
            return False
        backers = [node for node in followers if self.rights.admin_at(node, self.log.everything)]
        return not self.has_room(entry.issuer, entry.body, backers) if crowded else not backers

    def _is_idle(self, entry: SignedEntry, ancestry: int) -> bool:
        """Tell whether an entry is void, and one too many of its kind.

        The log is weighed anew only now and then, or to refuse: so a flood costs little, and at most as many again
        are let in meanwhile.
        """
        if self.rights.monotone:
            return False
        weighed = self._weighed
        if weighed is None or len(self.log.known) - weighed.count >= VOID_KEPT_MAX:
            weighed = self._weigh()
        rank = self.log.rank_of(entry)
        return weighed.too_many(entry.issuer, ancestry, rank) and self._weigh().too_many(entry.issuer, ancestry, rank)

    def _on_admitted(self, known: Known) -> None:
        self.rights.admit(known)

    def _untold(self) -> frozenset[bytes]:
        return frozenset() if self.rights.monotone else self._weigh().untold

    def _weigh(self) -> _Weighed:
        if self._weighed is None or self._weighed.count != len(self.log.known):
            self._weighed = _weigh(list(self.log.known.values()), self.rights)
        return self._weighed


def _weigh(known: list[Known], rights: Rights) -> _Weighed:
    blamed = [(one, rights.blame(one)) for one in known]
    needed, heads = 0, []
    for one, fault in reversed(blamed):
        if fault is None:
            if not needed >> one.place & 1:
                heads.append(one)
            needed |= one.ancestry
    void: dict[NodeId, list[Known]] = {}
    for one, fault in blamed:
        if fault is not None and not needed >> one.place & 1:
            void.setdefault(fault, []).append(one)
    for ranked in void.values():
        ranked.sort(key=lambda one: one.rank)
    untold = frozenset(one.entry.id for ranked in void.values() for one in ranked[VOID_KEPT_MAX:])
    told = Counter(one.entry.issuer for one in known if one.entry.id not in untold)
    crowd = Crowd(len(known) - len(untold), told)
    return _Weighed(len(known), rights.standing, tuple(reversed(heads)), void, untold, crowd)
