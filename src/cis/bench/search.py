"""``cis bench search``: searches by words, by meaning and both, the embedding of the query aside; and their quality."""

from __future__ import annotations

import base64
import os
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cis.api.embedded import EmbeddedNode
from cis.api.memories.memory_schema import Found, Mode, SearchMemories
from cis.bench.figures import BenchFailed, percentile, ratio, say
from cis.bench.search_data import MODEL, SearchData
from cis.bench.settled import settle
from cis.bench.writing import write_all
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode

HITS = 10
WARM = 5
"""Searches before it counts: the first reads all vectors."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Milliseconds of a search; of both halves, then of either, then with filters that a fifth of all pass.

    ``first_ms`` is the first, which reads the vectors into memory. ``recall_at_5`` is of the labelled queries: how much
    of what should be found is among the first five; empty where there is no model.
    """

    memories: int
    dimensions: int
    queries: int
    p50_ms: float
    p99_ms: float
    words_p50_ms: float
    words_p99_ms: float
    meaning_p50_ms: float
    meaning_p99_ms: float
    filtered_p50_ms: float
    filtered_p99_ms: float
    first_ms: float
    scan_p50_ms: float
    """of the comparison with all vectors alone"""
    bare_p50_ms: float
    """to read the bytes of these vectors once, each core its share"""
    ratio_bare_read: float
    labelled_queries: int
    recall_at_5: dict[str, float]


def bench_search(memories: int, queries: int = 200, *, quality: bool = True) -> SearchResult:
    """Measure on a home of its own; without ``quality`` the labelled queries are left out."""
    from cis.bench.search_quality import measure_quality

    data = SearchData(memories)
    with (
        tempfile.TemporaryDirectory(prefix="cis-bench-") as folder,
        EmbeddedNode(LocalNode.create(Home(Path(folder) / "home"), "searcher"), embedder=lambda _: None) as node,
    ):
        say(f"writing {memories:,} memories of {data.dimensions} numbers")
        write_all(node.local.store, list(data.writes(node.local.cluster.public)))
        settle(node.local)
        asked = list(data.queries(queries))
        first_ms = latencies_ms(node, asked[:1], "hybrid")[0]
        latencies_ms(node, asked[:WARM], "hybrid")
        both = latencies_ms(node, asked, "hybrid")
        words = latencies_ms(node, asked, "words")
        meaning = latencies_ms(node, asked, "meaning")
        filtered = latencies_ms(node, asked, "hybrid", category="task", spaces=("public",))
        scans, reads = _scans_ms(node, data, asked)
    labelled = None
    if quality:
        say("asking the labelled queries")
        labelled = measure_quality()
    scan_ms, read_ms = percentile(scans, 50), percentile(reads, 50)
    return SearchResult(
        memories=memories,
        dimensions=data.dimensions,
        queries=queries,
        p50_ms=percentile(both, 50),
        p99_ms=percentile(both, 99),
        words_p50_ms=percentile(words, 50),
        words_p99_ms=percentile(words, 99),
        meaning_p50_ms=percentile(meaning, 50),
        meaning_p99_ms=percentile(meaning, 99),
        filtered_p50_ms=percentile(filtered, 50),
        filtered_p99_ms=percentile(filtered, 99),
        first_ms=first_ms,
        scan_p50_ms=scan_ms,
        bare_p50_ms=read_ms,
        ratio_bare_read=ratio(scan_ms, read_ms),
        labelled_queries=labelled.queries if labelled is not None else 0,
        recall_at_5=labelled.recall_at_5 if labelled is not None else {},
    )


def _scans_ms(
    node: EmbeddedNode, data: SearchData, queries: Sequence[tuple[str, bytes]]
) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each comparison with all vectors, and of reading as many bytes, taken in turn."""
    vectors, rows = node.local.store.vectors(MODEL), data.vectors
    shares = np.array_split(rows.reshape(-1).view(np.int64), os.cpu_count() or 1)
    scans, reads = [], []
    with ThreadPoolExecutor(len(shares)) as cores:
        for _, query in queries:
            began = time.perf_counter()
            found = vectors.nearest(query, HITS)
            scanned = time.perf_counter()
            deque(cores.map(np.max, shares), maxlen=0)
            reads.append((time.perf_counter() - scanned) * 1e3)
            scans.append((scanned - began) * 1e3)
            if len(found) != min(HITS, data.memories):
                raise BenchFailed(f"{len(found)} vectors were found among {data.memories:,}")
    return scans, reads


def latencies_ms(node: EmbeddedNode, queries: Sequence[tuple[str, bytes]], mode: Mode, **filters: Any) -> list[float]:  # noqa: ANN401 - fields of a request
    """Return the milliseconds of each search; `BenchFailed` where one without filters finds nothing."""
    found_ms = []
    for text, vector in queries:
        meant: dict[str, Any] = (
            {} if mode == "words" else {"vector": base64.b64encode(vector).decode(), "vector_model": MODEL}
        )
        request = SearchMemories(query=text, mode=mode, limit=HITS, **meant, **filters)
        began = time.perf_counter()
        found: Found = node.call(request)
        found_ms.append((time.perf_counter() - began) * 1e3)
        if not (found.hits or filters) or len(found.by) != (2 if mode == "hybrid" else 1):
            raise BenchFailed(f"a search by {mode} found {len(found.hits)} memories by {', '.join(found.by)}")
    return found_ms
