"""The curves of `cis bench growth`: what is measured at each size, and how it may grow."""

from __future__ import annotations

from cis.bench.gossip import bench_gossip
from cis.bench.growth import Curve, Measure, Shape
from cis.bench.growth_memories import measure_memories
from cis.bench.growth_replicas import measure_replicas
from cis.bench.growth_values import measure_values
from cis.wire.content import VALUE_BYTES_MAX

OVERLAY = 10
"""Members from which on there is one: fewer all are neighbours."""


def measure_members(nodes: int) -> dict[str, float]:
    """Return what a broadcast costs a cluster of so many, simulated."""
    row = bench_gossip(nodes=nodes, sizes=(nodes,), shares=()).sizes[0]
    bodies = (1 + row.rmr) * (nodes - 1) / nodes
    return {
        "reach_s": row.latency_s,
        "hops": row.ldh_mean,
        "messages": bodies + row.control,
        "bytes": row.bytes_per_node,
        "missed": float(row.missed),
    }


MEMORIES = Curve(
    name="memories",
    axis="memories",
    sizes=(1_000, 10_000, 100_000, 1_000_000),
    least=500,
    most=10_000_000,
    measures=(
        Measure("sync_s", "sync by an empty node (s)", Shape.LINEAR),
        Measure("write_s", "written locally in bulk (s)", Shape.LINEAR),
        Measure("index_s", "until the index holds them (s)", Shape.LINEAR),
        Measure("words_ms", "search by words, p50 (ms)", Shape.LINEAR),
        Measure("recall_ms", "recall by key, p50 (ms)", Shape.FLAT),
        Measure("put_ms", "durable write, p50 (ms)", Shape.FLAT),
        Measure("start_s", "start to ready (s)", Shape.FLAT),
        Measure("rss_mb", "memory at rest (MB)", Shape.FLAT),
        Measure("status_s", "`cis status` beside it (s)", Shape.FLAT),
        Measure("disk_bytes_each", "disk for a memory (bytes)", Shape.FLAT),
        Measure("sync_per_s", "memories synced a second"),
        Measure("indexed_per_s", "memories indexed a second"),
    ),
    measure=measure_memories,
)
MEMBERS = Curve(
    name="members",
    axis="members",
    sizes=(2, 10, 100, 1_000),
    least=2,
    most=10_000,
    measures=(
        Measure("reach_s", "until a broadcast has reached all (s)", Shape.LOGARITHMIC, OVERLAY),
        Measure("hops", "hops to the last, mean", Shape.LOGARITHMIC, OVERLAY),
        Measure("messages", "messages of a member for a broadcast", Shape.FLAT, OVERLAY),
        Measure("bytes", "bytes of a member for a broadcast", Shape.FLAT, OVERLAY),
        Measure("missed", "deliveries missed"),
    ),
    measure=measure_members,
)
VALUES = Curve(
    name="values",
    axis="bytes of a value",
    sizes=(100, 1_024, 10_240, 102_400, VALUE_BYTES_MAX),
    least=1,
    most=VALUE_BYTES_MAX,
    measures=(
        Measure("sync_ms_each", "sync of a memory (ms)", Shape.LINEAR),
        Measure("put_ms", "durable write, p50 (ms)", Shape.LINEAR),
        Measure("disk_bytes_each", "disk for a memory (bytes)", Shape.LINEAR),
        Measure("sync_mb_per_s", "synced (MB/s)"),
        Measure("memories", "memories measured"),
    ),
    measure=measure_values,
)
REPLICAS = Curve(
    name="replicas",
    axis="concurrent writers of a key",
    sizes=(1, 3, 10, 30, 100),
    least=1,
    most=1_000,
    measures=(
        Measure("recall_ms", "recall of a key, p50 (ms)", Shape.LINEAR),
        Measure("merge_ms_each", "merge of a key (ms)", Shape.LINEAR),
        Measure("wire_bytes_each", "on the wire for a key (bytes)", Shape.LINEAR),
        Measure("disk_bytes_each", "disk for a key (bytes)", Shape.LINEAR),
        Measure("resolve_ms", "durable write over all, p50 (ms)", Shape.LINEAR),
    ),
    measure=measure_replicas,
)
CURVES = {curve.name: curve for curve in (MEMORIES, MEMBERS, VALUES, REPLICAS)}
"""By name, in the order they are measured and shown."""
