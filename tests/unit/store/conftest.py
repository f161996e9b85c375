"""A removed member, one that removes it, and a third: what the tests of withdrawal share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cis.errors import Fault, PeerFault
from cis.model import Kind, ReplicaId, SpaceId, VersionVector, node_of
from cis.store.author import Write
from cis.store.store import Store
from cis.store.withdrawal import Withdrawn
from cis.wire.content import Content
from cis.wire.messages import encode
from cis.wire.segment import Segment
from tests.stores import SPACE, WAIT_S, Author, Clock, open_store, sync, write

HERE, REMOVED, OTHER = 1, 2, 3


@dataclass
class Cut:
    seq: int


@dataclass
class Law:
    """Who is removed, as this node knows it."""

    seqs: dict[ReplicaId, int] | None = None
    refused: frozenset[bytes] = frozenset()
    """heads under which nobody may write any more"""

    def limit(self, _: SpaceId, replica: ReplicaId) -> Cut | None:
        seq = (self.seqs or {}).get(replica)
        return None if seq is None else Cut(seq)

    def judge(self, _: ReplicaId, __: SpaceId, head: bytes, ___: int) -> Fault | None:
        return Fault.CUT if head in self.refused else None


@dataclass
class Scene:
    here: Store
    removed: Store
    other: Store
    law: Law
    clock: Clock

    def cut(self, seq: int) -> Withdrawn:
        """Remove the removed one, its log cut there."""
        self.law.seqs = {self.removed.replica: seq}
        return self.here.withdraw([node_of(self.removed.replica)])

    def tell(self) -> None:
        sync(self.other, self.here)
        sync(self.removed, self.here)

    def newcomer(self, folder: Path, seed: int = 9) -> Store:
        return open_store(folder / f"newcomer{seed}", Author(seed), self.law.judge, limit=self.law.limit)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    law, clock = Law(), Clock()
    with (
        open_store(tmp_path / "here", Author(HERE, clock), law.judge, limit=law.limit) as here,
        open_store(tmp_path / "removed", Author(REMOVED)) as removed,
        open_store(tmp_path / "other", Author(OTHER)) as other,
    ):
        yield Scene(here, removed, other, law, clock)


def change(store: Store, kind: Kind, key: str, value: str = "", added: int = 0) -> None:
    write(store, Write(SPACE, kind, Content(key, value.encode(), added=added)))


def vector(store: Store) -> VersionVector:
    with store.snapshot() as reader:
        return reader.vector(SPACE)


def refusal(store: Store, segment: Segment) -> Fault | None:
    error = store.merge(encode(segment)).exception(WAIT_S)
    assert error is None or isinstance(error, PeerFault)
    return None if error is None else error.fault
