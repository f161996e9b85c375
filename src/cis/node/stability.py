"""Stability: members tell each other what they hold, and collect what all of them have had (RULES of state, 5, 6, 8).

A report is a bulletin of a topic of its own, so its author's, and in its author's order. It states less than the
author's vector where bodies of living changes are missing: those count for nothing in the floor.
"""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec

from cis.model import NodeId, ReplicaId, SpaceId, VersionVector
from cis.node.local import LocalNode
from cis.node.syncing import standing
from cis.node.topics import SYSTEM_PREFIX
from cis.store.collection import START, collect, truncate
from cis.store.read import Reader
from cis.store.stability import RETIRED_MS, advance, count_silence, give_up_catching_up, reportable, save_report
from cis.wire.bulletins import PAYLOAD_BYTES_MAX
from cis.wire.messages import REPLICAS_MAX, Replica, Seq, Space

if TYPE_CHECKING:
    import apsw

_log = logging.getLogger(__name__)

STABILITY = SYSTEM_PREFIX + "stability"
ROUND_S = 600.0
"""Between two reports, and two collections; jittered."""
REPEATED_AFTER_ROUNDS = 36
"""A report that says nothing new is told again after so many rounds, for those who were away."""
CATCH_UP_ROUNDS_MAX = 6
"""Rounds a node may be catching up with history collected elsewhere before it takes that for lost."""


class _Report(msgspec.Struct, array_like=True, frozen=True):
    space: Space
    seqs: Annotated[list[tuple[Replica, Seq]], msgspec.Meta(max_length=REPLICAS_MAX)]


_decode = msgspec.msgpack.Decoder(_Report).decode


class Stability:
    """One round after the other, each on whatever thread calls `round`; one at a time."""

    def __init__(self, local: LocalNode, retired_ms: int = RETIRED_MS, *, collects: bool = True) -> None:
        self._local = local
        self._collects = collects
        self._retired_ms = retired_ms
        self._reported = b""
        self._rounds_silent = 0
        self._unfinished = True
        """whether what was replaced may have been buried since the last collection"""
        self._catching_up: Counter[SpaceId] = Counter()

    def take(self, author: NodeId, payload: bytes) -> None:
        """Keep a member's report; what does not decode, or speaks of no space here, says nothing."""
        try:
            report = _decode(payload)
        except msgspec.MsgspecError:
            return
        space = SpaceId(report.space)
        if space == self._local.cluster.public:
            vector = VersionVector({ReplicaId(replica): seq for replica, seq in report.seqs})
            self._local.store.execute(lambda connection: save_report(connection, space, author, vector))

    def round(self) -> bytes | None:
        """Collect what is stable by now; return this node's report where it is new, or others may have missed it."""
        cluster, own = self._local.cluster, self._local.identity.node
        others = [member.node for member in cluster.membership.members() if member.node != own]
        public = self._advance(cluster.public, others)
        private = self._advance(cluster.private, [])
        fresh = public or private
        if fresh or self._unfinished:
            self._collect()
        self._unfinished = fresh
        with self._local.store.snapshot() as reader:
            report = _report(reader, cluster.public)
        self._rounds_silent += 1
        told_already = report == self._reported and self._rounds_silent < REPEATED_AFTER_ROUNDS
        if told_already or len(report) > PAYLOAD_BYTES_MAX:
            return None
        self._reported, self._rounds_silent = report, 0
        return report

    def _advance(self, space: SpaceId, others: list[NodeId]) -> bool:
        """Raise the floor of a space; True where there may be something to collect."""
        now_ms = self._local.clock_ms()

        def task(connection: apsw.Connection) -> bool:
            count_silence(connection, space, others, now_ms)
            reader = Reader(connection, {})
            catching_up = standing(reader, space).catching_up
            self._catching_up[space] = self._catching_up[space] + 1 if catching_up else 0
            if self._catching_up[space] > CATCH_UP_ROUNDS_MAX:
                _log.warning("part of what was collected elsewhere never came: going on without it")
                give_up_catching_up(connection, space)
            return self._collects and not catching_up and advance(connection, space, self._retired_ms)

        done: bool = self._local.store.execute(task).result()
        return done

    def _collect(self) -> None:
        """Collect in steps, between which others may write."""
        after: bytes | None = START
        while after is not None:
            after = self._local.store.execute(partial(collect, after=after)).result()
        self._local.store.execute(truncate).result()


def _report(reader: Reader, space: SpaceId) -> bytes:
    return msgspec.msgpack.encode(_Report(space, list(reportable(reader, space).seqs.items())))
