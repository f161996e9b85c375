"""Deleting what has expired, which is hidden everywhere at once, so that no node keeps its body for ever.

A node deletes what it wrote itself, once no member's clock can still take it for living, and later by chance, so that
a cluster's nodes do not all write at the same moment. What another wrote beside an expired value stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from cis.api.memories.recalling import values_of
from cis.errors import CisError
from cis.model import CHANGE_FUTURE_LIMIT_MS, Kind, MemoryId, NodeId, node_of
from cis.store.author import Write, Written
from cis.wire.content import Content

if TYPE_CHECKING:
    from cis.api.reading import Readers
    from cis.node.home.local import LocalNode
    from cis.store.read import Reader

_log = logging.getLogger(__name__)

GRACE_MS = CHANGE_FUTURE_LIMIT_MS
"""How much later than here a member's clock may see the time pass."""
ROUND_S = 600.0
"""Between two rounds; the first comes after up to so long, each after half of it and up to as much again."""
AT_ONCE = 1024
_DUE = """
    SELECT d.memory, d.space, d.no FROM doc d WHERE d.no > ?1 AND (d.expires_ms BETWEEN 1 AND ?2 OR d.siblings > 0)
    ORDER BY d.no LIMIT ?3"""


class Expiring:
    """Rounds of deleting; one at a time."""

    def __init__(self, local: LocalNode, readers: Readers) -> None:
        self._local = local
        self._readers = readers

    async def run(self, random: Random) -> None:
        """Delete in rounds until cancelled; what fails is tried again the next time."""
        await asyncio.sleep(random.uniform(0, ROUND_S))
        while True:
            try:
                await asyncio.to_thread(self.round)
            except CisError as error:
                _log.warning("expired memories could not be deleted, which is tried again: %s", error)
            except Exception:  # noqa: BLE001 - no memory, whoever wrote it, ends the node by expiring
                _log.exception("a defect kept expired memories from being deleted, which is tried again")
            await asyncio.sleep(random.uniform(ROUND_S / 2, ROUND_S * 3 / 2))

    def round(self, grace_ms: int = GRACE_MS) -> int:
        """Delete what this node wrote that expired that long ago; return of how many memories."""
        due_ms = self._local.clock_ms() - grace_ms
        deleted, after = 0, 0
        while rows := self._due(after, due_ms):
            after = rows[-1][2]
            with self._readers.snapshot() as reader:
                writes = [
                    write
                    for memory, space, _ in rows
                    if (write := self._write(reader, MemoryId(memory), space, due_ms)) is not None
                ]
            deleted += self._delete(writes)
        return deleted

    def _due(self, after: int, due_ms: int) -> list[Any]:
        with self._local.store.index() as index:
            rows: list[Any] = index.execute(_DUE, (after, due_ms, AT_ONCE)).fetchall()
        return rows

    def _write(self, reader: Reader, memory: MemoryId, number: int, due_ms: int) -> Write | None:
        space = reader.space(number)
        recalled = reader.recall_by_id(memory, space)
        if recalled is None:
            return None
        own: NodeId = self._local.identity.node
        gone = [
            part.change.dot
            for value in values_of(recalled)
            if value.expired(due_ms) and node_of(value.latest.change.dot.replica) == own
            for part in value.parts
        ]
        return Write(space, Kind.DELETE, Content(recalled.key), frozenset(gone)) if gone else None

    def _delete(self, writes: Sequence[Write]) -> int:
        outcomes = self._local.store.write(writes).result() if writes else []
        refused = next((outcome for outcome in outcomes if isinstance(outcome, CisError)), None)
        if refused is not None:
            _log.warning("an expired memory could not be deleted: %s", refused)
        return sum(isinstance(outcome, Written) and outcome.dot is not None for outcome in outcomes)
