"""Planted faults of trust, as in `cis.sim.plants`: of what removals mean, who may decide, who is given keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from cis.model import MemoryId, NodeId, ReplicaId, SpaceId, VersionVector
from cis.node.core.core import Core
from cis.store.collection import raise_floor
from cis.store.replacing import Replacer
from cis.trust.epochs import Epochs
from cis.trust.judging import Judging
from cis.trust.rights import Rights
from cis.trust.standing import Standing

if TYPE_CHECKING:
    import apsw
    import numpy.typing as npt

    from cis.store.replacing import Flags, Memories
    from cis.trust.log import Known
    from cis.wire.membership import Cut


_BURY = (
    "DELETE FROM live WHERE memory = ? AND rid NOT IN (SELECT rid FROM head)",
    "DELETE FROM live0 WHERE memory = ? AND rid NOT IN (SELECT rid FROM head)",
    "DELETE FROM held WHERE memory = ? AND rid NOT IN (SELECT rid FROM head)",
)


@contextlib.contextmanager
def cuts_joined_by_min() -> Iterator[None]:
    """Of several cuts of one log, the lowest counts."""

    def lowest(self: Rights, space: SpaceId, replica: ReplicaId) -> Cut | None:
        revokes = [] if self.monotone else self.covering(NodeId(replica[:32]), space)
        named = [cut for one in revokes for cut in one.entry.cuts if (cut.space, cut.replica) == (space, replica)]
        return min(named, key=lambda cut: cut.seq, default=None)

    with mock.patch.object(Rights, "limit", lowest):
        yield


@contextlib.contextmanager
def nothing_revived() -> Iterator[None]:
    """What is cut off goes, and what it had replaced does not return."""

    def burying(connection: apsw.Connection, _: SpaceId, memories: Iterable[MemoryId], __: int) -> None:
        rows = [(memory,) for memory in memories]
        for statement in _BURY:
            connection.executemany(statement, rows)

    with mock.patch("cis.store.withdrawal.mend", burying):
        yield


@contextlib.contextmanager
def judged_by_arrival() -> Iterator[None]:
    """Of removals that exclude each other, that stands which came first."""

    def of(
        cls: type[Standing],
        founding: Known,
        recovery: NodeId | None,
        admins: Mapping[NodeId, Sequence[Known]],
        revokes: Iterable[Known],
    ) -> Standing:
        standing = cls(founding, recovery, admins)
        for revoke in sorted(revokes, key=lambda one: one.place):
            if standing.blame(revoke) is None:
                standing._take(revoke)
        return standing

    with mock.patch.object(Standing, "of", classmethod(of)):
        yield


@contextlib.contextmanager
def removed_admin_obeyed() -> Iterator[None]:
    """What a removed admin states without having heard of it has effect."""
    with mock.patch.object(Standing, "_cut", return_value=False):
        yield


@contextlib.contextmanager
def unnamed_log_kept() -> Iterator[None]:
    """A removed node's log that its removal does not name is not cut."""
    unnamed = mock.patch.object(Judging, "limit", lambda self, space, replica: self.rights.limit(space, replica))
    with unnamed, mock.patch.object(Judging, "refuses", return_value=False):
        yield


@contextlib.contextmanager
def hidden_body_dropped() -> Iterator[None]:
    """Bodies of replaced changes go at once, whoever replaced them."""
    kill = Replacer._kill  # noqa: SLF001 - a plant breaks what it finds

    def dropping(
        self: Replacer, memories: Memories, highs: npt.NDArray[np.int64], prefix: Flags, untils: npt.NDArray[np.int64]
    ) -> None:
        kill(self, memories, highs, prefix, np.zeros_like(untils))

    with mock.patch.object(Replacer, "_kill", dropping):
        yield


@contextlib.contextmanager
def removed_not_parted_with() -> Iterator[None]:
    """Connections with a removed node go on."""
    with mock.patch.object(Core, "_on_removed", return_value=[]):
        yield


@contextlib.contextmanager
def known_key_used() -> Iterator[None]:
    """A key that a removed node knows goes on being used."""
    with mock.patch.object(Epochs, "_safe", return_value=True):
        yield


@contextlib.contextmanager
def cut_lifted_by_claim() -> Iterator[None]:
    """Nothing is cut off below a floor that a peer merely states."""

    def believing(connection: apsw.Connection, space: SpaceId, floor: VersionVector, *, told: bool = False) -> bool:
        del told
        return raise_floor(connection, space, floor)

    with mock.patch("cis.store.collection.raise_floor", believing):
        yield
