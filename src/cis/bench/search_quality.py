"""How well memories are found: labelled queries over short memories, by words, by meaning and by both.

Memories and queries are in ``data/``, one JSON object a line. A query names all memories that answer it and is of a
kind: a paraphrase (other words), exact (names, numbers, paths, codes), mixed, short, another form of a word, or about
one of several memories that are alike but for a name. Recall at 5 is the share of a query's memories among the first
five found, averaged over the queries. They are written into a store of its own and searched as `cis memory search`
does; docs/search.md says how they were made.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from cis.api.embedded import EmbeddedNode
from cis.api.memories.embedding_schema import Reindex
from cis.api.memories.memory_schema import Mode, SearchMemories, SetMemory
from cis.bench.figures import BenchFailed
from cis.embedding.choosing import EmbeddingOptions, embedder_of
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode

Kind = Literal["paraphrase", "exact", "mixed", "short", "form", "alike"]
MODES: tuple[Mode, ...] = ("words", "meaning", "hybrid")
HITS = 5
_Line = TypeVar("_Line")
_DATA = Path(__file__).with_name("data")


class LabelledMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A memory of the set."""

    key: str
    category: str
    value: str


class LabelledQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query, and the keys of all memories that answer it."""

    query: str
    kind: Kind
    relevant: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """Recall at 5 by mode, over all queries and over those of each kind."""

    memories: int
    queries: int
    recall_at_5: dict[str, float]
    by_kind: dict[str, dict[str, float]]


def labelled_memories() -> list[LabelledMemory]:
    """Return the memories of the set."""
    return _lines("search_memories", LabelledMemory)


def labelled_queries() -> list[LabelledQuery]:
    """Return the queries of the set."""
    return _lines("search_queries", LabelledQuery)


def measure_quality() -> Quality | None:
    """Return how well this version finds, None where there is no local model to search by meaning with."""
    if embedder_of(EmbeddingOptions()) is None:
        return None
    memories, queries = labelled_memories(), labelled_queries()
    with (
        tempfile.TemporaryDirectory(prefix="cis-bench-") as folder,
        EmbeddedNode(LocalNode.create(Home(Path(folder) / "home"), "quality")) as node,
    ):
        for memory in memories:
            node.call(SetMemory(key=memory.key, value=memory.value, category=memory.category))
        deque(node.stream(Reindex(vectors=True)), maxlen=0)
        recalls = {mode: [_recall(node, query, mode) for query in queries] for mode in MODES}
    kinds = sorted({query.kind for query in queries})
    return Quality(
        memories=len(memories),
        queries=len(queries),
        recall_at_5={mode: _mean(recalls[mode]) for mode in MODES},
        by_kind={
            kind: {
                mode: _mean(
                    [recall for recall, query in zip(recalls[mode], queries, strict=True) if query.kind == kind]
                )
                for mode in MODES
            }
            for kind in kinds
        },
    )


def _recall(node: EmbeddedNode, query: LabelledQuery, mode: Mode) -> float:
    found = node.call(SearchMemories(query=query.query, mode=mode, limit=HITS))
    if found.waiting or len(found.by) != (2 if mode == "hybrid" else 1):
        raise BenchFailed(f"{query.query!r} was looked for by {' and '.join(found.by)} alone: {found.note}")
    keys = {hit.memory.key for hit in found.hits}
    return len(keys.intersection(query.relevant)) / len(query.relevant)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)


def _lines(name: str, kind: type[_Line]) -> list[_Line]:
    return msgspec.json.Decoder(kind).decode_lines((_DATA / f"{name}.jsonl").read_bytes())
