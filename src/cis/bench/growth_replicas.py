"""What keys cost that so many replicas wrote at once, none having seen the others' values: all stay beside each other.

The replicas are incarnations of one node, which the merge tells apart as it does those of different nodes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from cis.bench.figures import BenchFailed, percentile
from cis.bench.growth_memories import bytes_in, recalls_ms
from cis.bench.two_nodes import CONNECT_S, found_cluster, run_both
from cis.bench.workload import key_of
from cis.bench.writing import write_all, write_one_by_one
from cis.model import Dot, Kind
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store.author import Write
from cis.wire.content import Content

KEYS = 500
VALUE_BYTES = 200
_RECEIVING = ("decode", "verify", "merge")


def measure_replicas(replicas: int) -> dict[str, float]:
    """Return what a key with so many concurrent writers costs, over `KEYS` of them."""
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        serving, pulling = Path(folder) / "serving", Path(folder) / "pulling"
        found_cluster(serving, pulling)
        write_rivals(serving, replicas)
        empty_bytes = bytes_in(pulling)
        with run_both(serving, pulling) as nodes:
            pull = nodes.connect()
            nodes.pulling.ask("settle", CONNECT_S)
        if pull["changes"] != KEYS * replicas:
            raise BenchFailed(f"{pull['changes']:,} changes were pulled where {KEYS * replicas:,} were expected")
        disk_bytes = bytes_in(pulling) - empty_bytes
        merge_s = sum(pull["stages"][stage]["wall_s"] for stage in _RECEIVING)
        recall_ms, resolve_ms = _used(pulling, replicas)
    return {
        "recall_ms": recall_ms,
        "merge_ms_each": merge_s * 1e3 / KEYS,
        "wire_bytes_each": pull["bytes"] / KEYS,
        "disk_bytes_each": disk_bytes / KEYS,
        "resolve_ms": resolve_ms,
    }


def write_rivals(home: Path, replicas: int) -> None:
    """Write all keys once under each of so many incarnations, none of which has seen what the others wrote."""
    with LocalNode.open(Home(home)) as local:
        for number in range(replicas):
            if number:
                local.store.renew_incarnation()
            value = (b"%08d " % number) * (VALUE_BYTES // 9 + 1)
            write_all(local.store, [_put(local, key, value[:VALUE_BYTES], saw=frozenset()) for key in range(KEYS)])


def _used(home: Path, replicas: int) -> tuple[float, float]:
    """Return the p50 of recalling a key, and of replacing all its values by one, in milliseconds."""
    keys = [key_of(number) for number in range(KEYS)]
    with LocalNode.open(Home(home)) as local:
        recalls = recalls_ms(local, keys, replicas)
        puts = write_one_by_one(local.store, [_put(local, key, b"agreed") for key in range(KEYS)])
        recalls_ms(local, keys)
    return percentile(recalls, 50), percentile(puts, 50)


def _put(local: LocalNode, number: int, value: bytes, saw: frozenset[Dot] | None = None) -> Write:
    return Write(local.cluster.public, Kind.PUT, Content(key_of(number), value), saw)
