"""Counting what is stored: by space, category, type and author, whose changes are held, what the files weigh."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cis.api.memories.memory_schema import MemoryStats, ReplicaStats, SpaceStats, Stats, Tally
from cis.api.memories.recalling import current
from cis.api.memories.values import TYPES
from cis.crdt import Shape
from cis.model import MemoryId, ReplicaId, did_of, node_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cis.api.reading import Readers
    from cis.crdt import Policy
    from cis.model import SpaceId
    from cis.node.home.local import LocalNode
    from cis.store.read import Reader

_COUNTS = """
    SELECT d.category, d.shape, d.author, count(*), total(d.bytes) FROM doc d
    WHERE d.space = ? AND (d.expires_ms = 0 OR d.expires_ms > ?) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
_MARKED = "SELECT memory FROM doc WHERE siblings > 0 AND space = ?"
_FREE = "SELECT f.freelist_count * p.page_size FROM pragma_freelist_count f, pragma_page_size p"


class CountingOperations:
    """Counts."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers

    def stats(self, _: MemoryStats) -> Stats:
        """Count what is stored."""
        spaces = tuple(self._stats_of(name) for name in self._local.cluster.spaces())
        with self._readers.snapshot() as reader, self._local.store.index() as index:
            free = {"index.db": index.execute(_FREE).get, "memory.db": reader.connection.execute(_FREE).get}
        return Stats(spaces, files_of(self._local), free)

    def _stats_of(self, name: str) -> SpaceStats:
        space = self._local.cluster.space(name)
        with self._readers.snapshot() as reader:
            state, replicas = reader.state_hash(space).hex(), tuple(self._replicas(reader, name))
            number = reader.space_number(space)
        with self._local.store.index() as index:
            rows: list[Any] = index.execute(_COUNTS, (number, self._local.clock_ms())).fetchall()
            marked: list[Any] = index.execute(_MARKED, (number,)).fetchall()
        categories, types, authors = Counter[str](), Counter[str](), Counter[str]()
        sizes = Counter[str]()
        for category, shape, replica, count, size in rows:
            author = self._local.cluster.name_of(node_of(ReplicaId(replica)))
            categories[category] += count
            types[TYPES[Shape(shape)]] += count
            authors[author] += count
            sizes[author] += int(size)
        return SpaceStats(
            name=name,
            memories=categories.total(),
            bytes=sizes.total(),
            conflicts=self._conflicts(space, marked),
            categories=dict(categories),
            types=dict(types),
            authors={author: Tally(count, sizes[author]) for author, count in sorted(authors.items())},
            state_hash=state,
            replicas=replicas,
        )

    def _conflicts(self, space: SpaceId, marked: Sequence[tuple[bytes]]) -> int:
        """Return how many of these show more than one value now: one may have expired."""
        now_ms = self._local.clock_ms()
        with self._readers.snapshot() as reader:
            found = (reader.recall_by_id(MemoryId(memory), space) for (memory,) in marked)
            shown = (current(recalled, self._policy, now_ms) for recalled in found)
            return sum(one is not None and bool(one.siblings) for one in shown)

    def _replicas(self, reader: Reader, name: str) -> Iterable[ReplicaStats]:
        cluster = self._local.cluster
        vector = reader.vector(cluster.space(name))
        for replica in sorted({*vector.seqs, *vector.beyond}):
            node = node_of(replica)
            beyond = sum(last - first + 1 for first, last in vector.beyond.get(replica, ()))
            held = vector.contiguous(replica)
            yield ReplicaStats(cluster.name_of(node), did_of(node), replica[32:].hex(), held, beyond)


def files_of(local: LocalNode) -> dict[str, int]:
    """Return the sizes of the store's files in bytes."""
    found = sorted(local.home.folder.glob("*.db*"))
    return {path.name: path.stat().st_size for path in found if path.is_file()}
