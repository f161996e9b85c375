"""A store once nothing runs behind its merges any more, and what it then holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cis.bench.figures import BenchFailed

if TYPE_CHECKING:
    from cis.node.home.local import LocalNode

SETTLE_S = 300.0
_SETTLED_PER_S = 2000
"""An index that fills more slowly than this is too slow to wait for."""
_POLL_S = 0.02
_UNFOLDED = "SELECT EXISTS(SELECT 1 FROM live0) OR EXISTS(SELECT 1 FROM dead)"


def settle_limit_s(memories: int) -> float:
    """Return how long to wait for so many memories."""
    return SETTLE_S + memories / _SETTLED_PER_S


def settle(local: LocalNode, limit_s: float = SETTLE_S) -> None:
    """Wait until the index has caught up and all rows are folded; raises where that takes longer than the limit."""
    deadline = time.monotonic() + limit_s
    with local.store.index(limit_s):
        pass
    reader = local.store.open_reader()
    try:
        while reader.connection.execute(_UNFOLDED).get:
            if time.monotonic() > deadline:
                raise BenchFailed(f"the store had not folded its rows after {limit_s:g} s")
            time.sleep(_POLL_S)
    finally:
        reader.connection.close()


def state(local: LocalNode) -> dict[str, Any]:
    """Return the state hash of the public space, and how many memories it holds."""
    public = local.cluster.public
    with local.store.snapshot() as reader:
        return {"hash": reader.state_hash(public).hex(), "memories": len(reader.memories(public))}
