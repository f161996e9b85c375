"""Results of benchmarks as they might be, for tests of what is made of them."""

from __future__ import annotations

from cis.bench.sync import SyncResult
from cis.bench.write import WriteResult

SYNC = SyncResult(
    memories=300, value_bytes=200, vector_dim=0, onto=0, single=False, runs=1, memories_per_s=90_000.0, mb_per_s=27.0,
    elapsed_s=1.0, segment_bytes=90_000, local_memories_per_s=100_000.0, indexed_per_s=30_000.0, ratio_local_bulk=0.9,
    bare_mb_per_s=90.0, ratio_bare_quic=0.3, peak_rss_mb={}, shares={}, cpu_shares={}, local_shares={}, state_hash={},
    in_step=True,
)  # fmt: skip
WRITE = WriteResult(300, 10, 1.0, 3.0, 90_000.0, None, 8, 0.5, 2.0)
