"""Compacting on request: what has expired goes, what was replaced is folded, and the disk gets back what is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cis.api.memories.counting import files_of
from cis.api.memories.memory_schema import Compacted, CompactStore

if TYPE_CHECKING:
    from cis.api.memories.expiring import Expiring
    from cis.node.home.local import LocalNode


class CompactOperations:
    """Compacts."""

    def __init__(self, local: LocalNode, expiring: Expiring) -> None:
        self._local = local
        self._expiring = expiring

    def compact(self, _: CompactStore) -> Compacted:
        """Compact both files; takes time in proportion to what they hold."""
        before = files_of(self._local)
        expired = self._expiring.round()
        self._local.store.compact()
        return Compacted(before=before, after=files_of(self._local), expired=expired)
