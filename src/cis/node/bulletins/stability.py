"""Stability: members tell each other what they hold, and collect what all of them have had (RULES of state, 5, 6, 8).

A report is a bulletin of a topic of its own, so its author's, and in its author's order. It states less than the
author's vector where bodies of living changes are missing: those count for nothing in the floor. It also says whether
its author keeps everything, and of whom it has heard that they do not: by that bodies are let go (`cis.store.keeping`).
"""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec

from cis.errors import PeerFault
from cis.model import NodeId, ReplicaId, SpaceId, VersionVector
from cis.node.bulletins.topics import SYSTEM_PREFIX
from cis.node.home.local import LocalNode
from cis.node.streams.syncing import standing
from cis.store.collection import START, collect, raise_floor, truncate
from cis.store.keeping import (
    LET_GO_AT_ONCE,
    NUMBER_LENGTH,
    known_partial,
    let_go,
    lettable,
    nameable,
    stated_number,
)
from cis.store.names import keep_names, take_names
from cis.store.read import Reader
from cis.store.stability import (
    RETIRED_MS,
    count_silence,
    drop_hidden,
    give_up_catching_up,
    reportable,
    save_report,
    stable_floor,
)
from cis.wire.bulletins import PAYLOAD_BYTES_MAX
from cis.wire.decoding import Node, decode_message
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
MEMBERS_MAX = 512
"""Members that do not keep everything, of which a report says that its author has heard."""


Number = Annotated[bytes, msgspec.Meta(min_length=NUMBER_LENGTH, max_length=NUMBER_LENGTH)]


class _Report(msgspec.Struct, array_like=True, frozen=True):
    space: Space
    seqs: Annotated[list[tuple[Replica, Seq]], msgspec.Meta(max_length=REPLICAS_MAX)]
    number: Annotated[bytes, msgspec.Meta(max_length=NUMBER_LENGTH)] = b""
    """of the policy, empty where everything is kept"""
    known: Annotated[list[tuple[Node, Number]], msgspec.Meta(max_length=MEMBERS_MAX)] = []
    """the numbers others stated that do not keep everything"""


_REPORT = msgspec.msgpack.Decoder(_Report)


class Stability:
    """One round after the other, each on whatever thread calls `round`; one at a time."""

    def __init__(self, local: LocalNode, retired_ms: int = RETIRED_MS, *, collects: bool = True) -> None:
        self._local = local
        self.collects = collects
        """whether history is dropped at all; it may change"""
        self._retired_ms = retired_ms
        self._reported: dict[SpaceId, tuple[bytes, int]] = {}
        """what was reported last, and for how many rounds it has not been said again"""
        self._unfinished = True
        """whether what was replaced may have been buried since the last collection"""
        self._catching_up: Counter[SpaceId] = Counter()
        self._policies: dict[tuple[SpaceId, NodeId], tuple[bytes, bytes]] = {}
        """by member, the number it stated last, and the one it had heard from here"""

    def take(self, author: NodeId, payload: bytes) -> bool:
        """Keep a member's report; what does not decode, or speaks of no space here, says nothing.

        True where a round is due soon: what it keeps is other than before, or it has heard what is kept here.
        """
        try:
            report = decode_message(_REPORT, payload, what="a report", bytes_max=PAYLOAD_BYTES_MAX)
        except PeerFault:
            return False
        space = SpaceId(report.space)
        if space not in self._local.cluster.shared_with(author):
            return False
        vector = VersionVector({ReplicaId(replica): seq for replica, seq in report.seqs})
        known = [(NodeId(node), number) for node, number in report.known]
        self._local.store.execute(
            lambda connection: save_report(connection, space, author, vector, report.number, known)
        )
        heard = (report.number, dict(known).get(self._local.identity.node, b""))
        before = self._policies.get((space, author), (b"", b""))
        self._policies[space, author] = heard
        return heard != before

    def round(self) -> list[bytes]:
        """Collect what is stable by now; return this node's reports that are new, or that others may have missed."""
        cluster = self._local.cluster
        spaces = cluster.shared_with(self._local.identity.node)
        fresh = [self._advance(space) for space in (cluster.private, *spaces)]
        if any(fresh) or self._unfinished:
            self._collect()
        self._unfinished = any(fresh)
        for space in spaces:
            self.let_go(space)
        with self._local.store.snapshot() as reader:
            reports = {space: _report(reader, space) for space in spaces}
        return [report for space, report in reports.items() if self._is_news(space, report)]

    def _is_news(self, space: SpaceId, report: bytes) -> bool:
        reported, silent = self._reported.get(space, (b"", 0))
        told_already = report == reported and silent + 1 < REPEATED_AFTER_ROUNDS
        news = not told_already and len(report) <= PAYLOAD_BYTES_MAX
        self._reported[space] = (report, 0) if news else (reported, silent + 1)
        return news

    def _advance(self, space: SpaceId) -> bool:
        """Raise the floor of a space; True where there may be something to collect."""
        now_ms = self._local.clock_ms()

        def task(connection: apsw.Connection) -> tuple[VersionVector, bool]:
            count_silence(connection, space, self._others(space), now_ms)
            reader = Reader(connection, {})
            catching_up = standing(reader, space).catching_up
            self._catching_up[space] = self._catching_up[space] + 1 if catching_up else 0
            if self._catching_up[space] > CATCH_UP_ROUNDS_MAX:
                _log.warning("part of what was collected elsewhere never came: going on without it")
                give_up_catching_up(connection, space)
            floor = VersionVector() if catching_up else stable_floor(connection, space, self._retired_ms)
            return floor, self.collects and raise_floor(connection, space, floor)

        with self._local.cluster.changing:  # so that members who come meanwhile are waited for
            floor, fresh = self._local.store.execute(task).result()
        while self._local.store.execute(partial(drop_hidden, space=space, floor=floor)).result():
            pass  # in steps, whether history is collected or not: no removal calls these bodies back
        return bool(fresh)

    def let_go(self, space: SpaceId) -> None:
        """Let bodies go that this device does not keep, as far as others surely hold them; in steps.

        Values are first opened, each once, and named: it is by their names that they are judged, and listed afterwards.
        """
        own, store = self._local.identity.node, self._local.store
        with store.snapshot() as reader:
            rids = nameable(reader.connection, space, own)
        for at in range(0, len(rids), LET_GO_AT_ONCE):
            with store.snapshot() as reader:
                names = take_names(reader, rids[at : at + LET_GO_AT_ONCE])
            store.execute(partial(keep_names, names=names)).result()
        with store.snapshot() as reader:
            rids = lettable(reader.connection, space, own)
        for at in range(0, len(rids), LET_GO_AT_ONCE):
            some = rids[at : at + LET_GO_AT_ONCE]
            store.execute(partial(let_go, space=space, own=own, rids=some)).result()

    def _others(self, space: SpaceId) -> list[NodeId]:
        """Whose reports are waited for: the members', but for who keeps a space blind and cannot report.

        A removed admin that may have removed its remover first is waited for like a member that is away.
        """
        cluster, own = self._local.cluster, self._local.identity.node
        if space == cluster.private:
            return []
        log = cluster.membership
        waited = (*(member.node for member in log.readers(space)), *log.contesting())
        return [node for node in waited if node != own]

    def _collect(self) -> None:
        """Collect in steps, between which others may write."""
        after: bytes | None = START
        while after is not None:
            after = self._local.store.execute(partial(collect, after=after)).result()
        self._local.store.execute(truncate).result()


def _report(reader: Reader, space: SpaceId) -> bytes:
    connection = reader.connection
    known = known_partial(connection, space)[:MEMBERS_MAX]
    seqs: list[tuple[bytes, int]] = list(reportable(reader, space).seqs.items())
    return msgspec.msgpack.encode(_Report(space, seqs, stated_number(connection, space), known))


def space_of(report: bytes) -> SpaceId:
    """Return the space that a report made here is about, whose readers alone are told of it."""
    return SpaceId(_REPORT.decode(report).space)
