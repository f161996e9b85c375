"""The writer's picture of spaces and replicas: numbers, ends of logs, links; kept beside the tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.errors import Fault, PeerFault
from cis.model import NodeId, ReplicaId, SpaceId, VersionVector, node_of
from cis.model.change import SEQ_BITS, SEQ_MAX
from cis.store.database import fetch
from cis.trust.signing import GENESIS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

INCARNATIONS_MAX = 1024
"""Replicas of one node in one space: each stands for a restored or cloned disk."""
REPLICA_NUMBER_MAX = (1 << 63 - SEQ_BITS) - 1


def rid_of(number: int, seq: int) -> int:
    """Return the row id of a dot."""
    return number << SEQ_BITS | seq


def split_rid(rid: int) -> tuple[int, int]:
    """Return (replica number, sequence number)."""
    return rid >> SEQ_BITS, rid & SEQ_MAX


@dataclass(slots=True)
class LogEnd:
    """Where one replica's log in one space ends: no gap up to ``seq``; ``beyond`` if dots lie after one.

    Up to ``floor`` it is stable, and changes may have been collected; up to ``base`` nothing of it is kept. ``stable``
    is that part of the floor which no peer told: by the members' own reports all have had it. Up to ``severed`` changes
    had been collected when the log was cut (`cis.store.severing`).
    """

    number: int
    space: int
    replica: ReplicaId
    seq: int
    link: bytes
    beyond: bool
    floor: int = 0
    base: int = 0
    stable: int = 0
    severed: int = 0


class Replicas:
    """Looks up and numbers spaces and replicas; `reload` after a rolled-back transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.reload()

    def reload(self) -> None:
        """Read everything from the tables again."""
        spaces = fetch(self._connection, "SELECT no, id, replicated FROM space")
        self.space_numbers = {SpaceId(space): number for number, space, _ in spaces}
        self.shared = {SpaceId(space) for _, space, replicated in spaces if replicated}
        self._ends: dict[tuple[int, bytes], LogEnd] = {}
        self.by_number: dict[int, LogEnd] = {}
        self._incarnations: Counter[tuple[int, NodeId]] = Counter()
        severed = dict(fetch(self._connection, "SELECT replica, max(high) FROM severed GROUP BY replica"))
        query = "SELECT no, space, id, seq, link, floor, base, stable FROM replica"
        for number, space, replica, seq, link, *bounds in fetch(self._connection, query):
            beyond = self.has_beyond(number, seq)
            bounds.append(severed.get(number, 0))
            self._keep(LogEnd(number, space, ReplicaId(replica), seq, link, beyond, *bounds))

    def add_space(self, space: SpaceId, name: str, *, replicated: bool) -> int:
        """Return the number of the space, adding it if it is new."""
        number = self.space_numbers.get(space)
        if number is None:
            number = len(self.space_numbers) + 1
            row = (number, space, name, replicated)
            self._connection.execute("INSERT INTO space(no, id, name, replicated) VALUES(?,?,?,?)", row)
            self.space_numbers[space] = number
            if replicated:
                self.shared.add(space)
        else:
            self._connection.execute("UPDATE space SET name = ?2 WHERE no = ?1 AND name <> ?2", (number, name))
        return number

    def end(self, space: int, replica: bytes) -> LogEnd:
        """Return the end of a replica's log, at 0 for a new one."""
        found = self._ends.get((space, replica))
        if found is None:
            number = len(self.by_number) + 1
            assert number <= REPLICA_NUMBER_MAX, "more replicas than row ids can name"
            row = (number, space, replica, GENESIS)
            self._connection.execute("INSERT INTO replica(no, space, id, link) VALUES(?,?,?,?)", row)
            found = self._keep(LogEnd(number, space, ReplicaId(replica), 0, GENESIS, beyond=False))
        return found

    def of(self, replica: ReplicaId) -> list[LogEnd]:
        """Return the ends of the replica's logs, in the spaces where it has any."""
        places = ((space, replica) for space in self.space_numbers.values())
        return [self._ends[place] for place in places if place in self._ends]

    def spaces_of(self, replica: ReplicaId) -> list[SpaceId]:
        """Return the shared spaces in which the replica has a log."""
        return [space for space in sorted(self.shared) if (self.space_numbers[space], replica) in self._ends]

    def stable(self, space: SpaceId, replica: ReplicaId) -> int:
        """Return up to where all members have reported to have a log."""
        end = self._ends.get((self.space_numbers.get(space, 0), replica))
        return end.stable if end is not None else 0

    def require_room(self, space: int, replicas: Iterable[ReplicaId]) -> None:
        """Raise `PeerFault` EXCESSIVE where new ones among these would be too many of one node."""
        fresh = Counter(node_of(replica) for replica in set(replicas) if (space, replica) not in self._ends)
        for node, count in fresh.items():
            if self._incarnations[space, node] + count > INCARNATIONS_MAX:
                raise PeerFault(Fault.EXCESSIVE, "too many incarnations of one node: its changes are set aside")

    def contiguous(self, space: int) -> VersionVector:
        """Return the vector of a space without what lies beyond gaps."""
        return VersionVector({end.replica: end.seq for end in self.by_number.values() if end.space == space})

    def save(self, end: LogEnd) -> None:
        """Write the end of a log to its row."""
        row = (end.seq, end.link, end.base, end.number)
        self._connection.execute("UPDATE replica SET seq=?, link=?, base=? WHERE no=?", row)

    def _keep(self, end: LogEnd) -> LogEnd:
        self._ends[end.space, end.replica] = end
        self.by_number[end.number] = end
        self._incarnations[end.space, node_of(end.replica)] += 1
        return end

    def has_beyond(self, number: int, seq: int) -> bool:
        query = "SELECT 1 FROM changeset WHERE rid > ? AND rid < ? LIMIT 1"
        return self._connection.execute(query, (rid_of(number, seq), rid_of(number + 1, 0))).get is not None
