"""What a node with so many memories costs: one set of data for each size, used for all of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

from cis.api.embedded import EmbeddedNode
from cis.bench.daemon import Daemon
from cis.bench.figures import BenchFailed, percentile, say
from cis.bench.idle import COMMANDS, LULL_S
from cis.bench.search import WARM, latencies_ms
from cis.bench.search_data import asked
from cis.bench.sync import bench_sync
from cis.bench.workload import Workload, key_of
from cis.bench.writing import write_one_by_one
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode

TIMES = 100
"""Searches, recalls and durable writes at each size."""
SILENT = {"CIS_MEMORY__EMBEDDING__PROVIDER": "off"}
"""A model would embed what is there for as long as is watched."""


def measure_memories(memories: int) -> dict[str, float]:
    """Return what so many memories cost, their values of words as rare as those of a language."""
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        homes = Path(folder) / "homes"
        synced = bench_sync(Workload(memories, language=True), keep=homes)
        if not synced.in_step:
            raise BenchFailed("the two nodes hold different states after a sync: this is a defect, please report it")
        home = homes / "serving"
        costs = {
            "sync_s": synced.elapsed_s,
            "write_s": memories / synced.local_memories_per_s,
            "index_s": memories / synced.indexed_per_s,
            "disk_bytes_each": bytes_in(home) / memories,
            "sync_per_s": synced.memories_per_s,
            "indexed_per_s": synced.indexed_per_s,
        }
        say("  starting a node on them …")
        with Daemon(home, SILENT) as daemon:
            time.sleep(LULL_S)
            rss_mb, _ = daemon.usage()
            costs |= {"start_s": daemon.start_s, "rss_mb": rss_mb, "status_s": daemon.command_s(COMMANDS)}
        say("  searching, recalling, writing …")
        return costs | _used(home, memories)


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _used(home: Path, memories: int) -> dict[str, float]:
    queries = [(text, b"") for text in asked(TIMES)]
    keys = [key_of(number) for number in Random(memories).choices(range(memories), k=TIMES)]
    with EmbeddedNode(LocalNode.open(Home(home)), embedder=lambda _: None) as node:
        latencies_ms(node, queries[:WARM], "words")
        words = latencies_ms(node, queries, "words")
        recalls = recalls_ms(node.local, keys)
        writes = Workload(TIMES, onto=memories, language=True).writes(node.local.cluster.public)
        puts = write_one_by_one(node.local.store, list(writes))
    return {
        "words_ms": percentile(words, 50),
        "recall_ms": percentile(recalls, 50),
        "put_ms": percentile(puts, 50),
    }


def recalls_ms(local: LocalNode, keys: Iterable[str], values: int = 1) -> list[float]:
    """Return the milliseconds of recalling each; `BenchFailed` where one has not so many concurrent values."""
    space, taken_ms = local.cluster.public, []
    for key in keys:
        began = time.perf_counter()
        recalled = local.store.reader.recall(space, key)
        taken_ms.append((time.perf_counter() - began) * 1e3)
        found = 1 + len(recalled.siblings) if recalled is not None else 0
        if found != values:
            raise BenchFailed(f"{key} has {found} values where {values} are expected")
    return taken_ms
