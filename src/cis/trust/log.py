"""The graph of membership entries: what is known, what waits for its parents, what two logs differ in.

It keeps the order and leaves rights to its caller (`cis.trust.membership`): an entry is taken in when its
parents are known and the caller's judgement of it, by its ancestry, lets it pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from cis.errors import PeerFault
from cis.model import NodeId
from cis.trust.entries import SignedEntry

PARKED_MAX = 1024
PARKED_BYTES_MAX = 8 << 20


Rank = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Known:
    """An entry in its place. ``ancestry`` has a bit for each entry it follows and its own, ``place``.

    Places are local to a node. ``depth`` is the longest way to the founding entry, the same everywhere.
    """

    entry: SignedEntry
    place: int
    depth: int
    ancestry: int

    @property
    def rank(self) -> Rank:
        """What orders entries alike on all nodes, an entry after all it follows."""
        return (self.depth, self.entry.id)


class EntryLog:
    """Known entries, parents first.

    ``judge(entry, ancestry)`` raises `PeerFault` for an entry without the right; ``spare(entry, ancestry,
    followers)`` tells whether it is better left out, ``followers`` being who issued what waits for it;
    ``admitted(known)`` hears of each one taken in, before any that follows it is judged.
    """

    def __init__(
        self,
        judge: Callable[[SignedEntry, int], None],
        spare: Callable[[SignedEntry, int, Iterable[NodeId]], bool],
        admitted: Callable[[Known], None],
    ) -> None:
        self._judge = judge
        self._spare = spare
        self._admitted = admitted
        self.known: dict[bytes, Known] = {}
        self.heads: dict[bytes, Known] = {}
        self._parked: dict[bytes, tuple[SignedEntry, bytes]] = {}
        self._waiting: dict[bytes, dict[bytes, None]] = {}
        self._parked_bytes = 0

    def copy_to(self, twin: EntryLog) -> None:
        """Give another log, empty until now, all this one has, parked entries too; nothing is judged again."""
        twin.known, twin.heads = dict(self.known), dict(self.heads)
        twin._parked = dict(self._parked)
        twin._waiting = {name: dict(parked) for name, parked in self._waiting.items()}
        twin._parked_bytes = self._parked_bytes

    @property
    def everything(self) -> int:
        """The ancestry that holds all known entries."""
        return (1 << len(self.known)) - 1

    def add(self, entry: SignedEntry) -> list[Known]:
        """Take a verified entry and those that waited for it; nothing when it is here, itself waits, or is spared."""
        if entry.id in self.known or entry.id in self._parked:
            return []
        if self._missing_parent(entry) is not None:
            self._park(entry)
            return []
        first = self._admit(entry)
        admitted = [first] if first is not None else []
        for follower in admitted:
            admitted.extend(self._unpark(follower.entry.id))
        return admitted

    def _missing_parent(self, entry: SignedEntry) -> bytes | None:
        return next((parent for parent in entry.statement.parents if parent not in self.known), None)

    def rank_of(self, entry: SignedEntry) -> Rank:
        """Return the rank that an entry has or would have, whose parents are known."""
        return (max((self.known[parent].depth + 1 for parent in entry.statement.parents), default=0), entry.id)

    def _admit(self, entry: SignedEntry) -> Known | None:
        parents = [self.known[parent] for parent in entry.statement.parents]
        ancestry = 0
        for parent in parents:
            ancestry |= parent.ancestry
        self._judge(entry, ancestry)
        if self._spare(entry, ancestry, self._followers(entry.id)):
            return None
        place, (depth, _) = len(self.known), self.rank_of(entry)
        known = Known(entry, place, depth, ancestry | 1 << place)
        self.known[entry.id] = self.heads[entry.id] = known
        for parent in parents:
            self.heads.pop(parent.entry.id, None)
        self._admitted(known)
        return known

    def _followers(self, awaited: bytes) -> Iterator[NodeId]:
        """Yield the issuers of parked entries that wait for an entry, or for one that does."""
        following: dict[bytes, list[SignedEntry]] = {}
        for entry, _ in self._parked.values():
            for parent in entry.statement.parents:
                following.setdefault(parent, []).append(entry)
        queue = [awaited]
        for name in queue:
            for entry in following.pop(name, ()):
                queue.append(entry.id)
                yield entry.issuer

    def _park(self, entry: SignedEntry) -> None:
        waits_for = self._missing_parent(entry)
        assert waits_for is not None
        self._parked[entry.id] = (entry, waits_for)
        self._waiting.setdefault(waits_for, {})[entry.id] = None
        self._parked_bytes += len(entry.raw)
        while len(self._parked) > PARKED_MAX or self._parked_bytes > PARKED_BYTES_MAX:
            self._release(next(iter(self._parked)))

    def _release(self, parked: bytes) -> SignedEntry:
        entry, waits_for = self._parked.pop(parked)
        self._parked_bytes -= len(entry.raw)
        del self._waiting[waits_for][parked]
        if not self._waiting[waits_for]:
            del self._waiting[waits_for]
        return entry

    def _unpark(self, arrived: bytes) -> list[Known]:
        """Admit what waited for an entry; what its ancestry does not authorise is dropped, blaming no one."""
        admitted = []
        for parked in list(self._waiting.get(arrived, ())):
            entry = self._release(parked)
            if self._missing_parent(entry) is not None:
                self._park(entry)
                continue
            with suppress(PeerFault):
                known = self._admit(entry)
                if known is not None:
                    admitted.append(known)
        return admitted
