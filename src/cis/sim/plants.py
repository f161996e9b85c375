"""Planted faults: small breaks of the real code, made from outside, each of which the oracle must find.

A plant is a context manager that replaces something in the product; the simulator runs on as if nothing had
happened. What a plant breaks is said in its docstring, and printed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import msgspec
import numpy as np

from cis.crdt import HybridClock
from cis.errors import PeerFault
from cis.gossip.language import Deliver
from cis.gossip.messages import message_id
from cis.gossip.plumtree import Plumtree
from cis.model import Hlc, Kind, NodeId, ReplicaId, SpaceId, VersionVector
from cis.model.ids import INCARNATION_LENGTH
from cis.node.bulletins.hearing import Hearing, Judged
from cis.node.streams.syncing import StoreIndex
from cis.sim import trust_plants
from cis.store import keeping
from cis.store.admission import Gate, check
from cis.store.database import fetch
from cis.store.engine import Engine
from cis.store.incarnation import current_replica
from cis.store.jobs import Job
from cis.store.log import LogReader
from cis.store.merge import Merger
from cis.store.placing import Placer
from cis.store.read import Reader
from cis.store.replacing import Replacer
from cis.store.replicas import LogEnd
from cis.trust.identity import Entropy
from cis.trust.signing import Verified, hash_body
from cis.wire.gossip import Gossip
from cis.wire.segment import Segment

if TYPE_CHECKING:
    import apsw

    from cis.store.ordering import Turn
    from cis.store.replacing import Flags, Memories

Plant = Callable[[], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def withheld_leaf() -> Iterator[None]:
    """A node leaves changesets out of what it sends in a session."""
    segment = LogReader.segment

    def withholding(
        self: LogReader, replica: ReplicaId, first: int, last: int, unwanted: Collection[int] = ()
    ) -> Segment | None:
        return None if first % 5 == 2 else segment(self, replica, first, last, unwanted)

    with mock.patch.object(LogReader, "segment", withholding):
        yield


@contextlib.contextmanager
def withheld_body() -> Iterator[None]:
    """A node leaves out bodies that are alive, as if they were superseded."""
    segment = LogReader.segment

    def withholding(
        self: LogReader, replica: ReplicaId, first: int, last: int, unwanted: Collection[int] = ()
    ) -> Segment | None:
        found = segment(self, replica, first, last, unwanted)
        if found is None or found.missing or not found.bodies or len(found.records) > 40:
            return found
        place, hashed = np.array([0], dtype=">u4").tobytes(), hash_body(found.bodies)
        return msgspec.structs.replace(found, bodies=b"", missing=place, missing_hashes=hashed)

    with mock.patch.object(LogReader, "segment", withholding):
        yield


@contextlib.contextmanager
def reused_dot() -> Iterator[None]:
    """A restored store takes its stored incarnation plus one, not a random one."""
    current = current_replica

    def counting(connection: apsw.Connection, path: Path, node: NodeId, entropy: Entropy) -> ReplicaId:
        old = connection.execute("SELECT value FROM meta WHERE name = 'incarnation'").get
        after = None if old is None else (int.from_bytes(old, "big") + 1) % (1 << 64)
        if after is None:
            return current(connection, path, node, entropy)
        asked: list[int] = []

        def counted(length: int) -> bytes:
            asked.append(length)
            return after.to_bytes(8, "big") if asked == [INCARNATION_LENGTH] else entropy(length)

        return current(connection, path, node, counted)

    with mock.patch("cis.store.store.current_replica", counting):
        yield


@contextlib.contextmanager
def lost_tombstone() -> Iterator[None]:
    """What a deletion names is forgotten when the deletion comes from a peer."""
    kill = Replacer.kill_named

    def sparing(self: Replacer, verified: Verified, end: LogEnd, memories: Memories, effective: Flags) -> None:
        kill(self, verified, end, memories, effective & (verified.layout.kinds != Kind.DELETE))

    with mock.patch.object(Replacer, "kill_named", sparing):
        yield


@contextlib.contextmanager
def vector_past_gap() -> Iterator[None]:
    """A log's end advances over a gap to whatever arrived last."""
    place = Placer.place

    def hasty(self: Placer, verified: Verified, turn: Turn | None) -> tuple[LogEnd, list[Verified]]:
        end, parts = place(self, verified, turn)
        if parts and verified.last > end.seq + 1:
            end.seq, end.link, end.beyond = verified.last, verified.links[-1], False
        return end, parts

    with mock.patch.object(Placer, "place", hasty):
        yield


@contextlib.contextmanager
def early_acknowledgement() -> Iterator[None]:
    """A write is acknowledged before its transaction is committed, which the next one does."""
    commit, writing = Engine._commit_group, [False]  # noqa: SLF001 - a plant breaks what it finds

    @contextlib.contextmanager
    def lazy(connection: apsw.Connection) -> Iterator[None]:
        if connection.in_transaction:
            connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        if not writing[0]:
            connection.execute("COMMIT")

    def hasty(self: Engine, jobs: list[Job]) -> None:
        writing[0] = any(job.writes for job in jobs)
        commit(self, jobs)
        writing[0] = False

    with mock.patch("cis.store.engine.transaction", lazy), mock.patch.object(Engine, "_commit_group", hasty):
        yield


@contextlib.contextmanager
def nothing_awaited() -> Iterator[None]:
    """That a change replaces what has not arrived yet is forgotten."""
    with mock.patch.object(Replacer, "_await_unheld", return_value=None):
        yield


@contextlib.contextmanager
def awaited_forgotten() -> Iterator[None]:
    """What was replaced before it arrived is forgotten by a restart."""
    reload = Replacer.reload

    def forgetful(self: Replacer) -> None:
        reload(self)
        self._awaited.clear()

    with mock.patch.object(Replacer, "reload", forgetful):
        yield


@contextlib.contextmanager
def unauthorised_accepted() -> Iterator[None]:
    """Nobody's right to write is asked."""

    def trusting(frame: bytes, shared: Collection[SpaceId], _: Gate) -> Verified | PeerFault:
        return check(frame, shared, Gate(lambda *_: None, lambda *_: None, lambda *_: 0))

    with mock.patch("cis.store.engine.check", trusting):
        yield


@contextlib.contextmanager
def unsigned_accepted() -> Iterator[None]:
    """Signatures of changesets are not looked at."""
    with mock.patch("cis.trust.signing.crypto_sign_open", return_value=b""):
        yield


@contextlib.contextmanager
def private_offered() -> Iterator[None]:
    """Sessions offer the private space as well."""

    def offering(reader: Reader, _: Sequence[SpaceId]) -> StoreIndex:
        rows = fetch(reader.connection, "SELECT id FROM space ORDER BY no")
        return StoreIndex(reader, [space for (space,) in rows])

    with mock.patch("cis.sim.sessions.StoreIndex", offering):
        yield


@contextlib.contextmanager
def clock_dragged() -> Iterator[None]:
    """A stamp from the far future drags the local clock along."""

    def observe(self: HybridClock, stamp: Hlc, _: int) -> bool:
        self.last = max(self.last, stamp)
        return True

    def tick(self: HybridClock, now_ms: int) -> Hlc:
        self.last = Hlc(max(self.last + 1, now_ms << 16))
        return self.last

    with mock.patch.multiple(HybridClock, observe=observe, tick=tick):
        yield


@contextlib.contextmanager
def held_forgotten() -> Iterator[None]:
    """A change held back for its date never takes effect."""
    with mock.patch.object(Merger, "promote", return_value=(0, Hlc(0))):
        yield


@contextlib.contextmanager
def fork_accepted() -> Iterator[None]:
    """A changeset is taken in whatever it follows."""
    place = Placer.place

    def careless(self: Placer, verified: Verified, turn: Turn | None) -> tuple[LogEnd, list[Verified]]:
        space = self._replicas.space_numbers.get(verified.space)
        if space is not None:
            end = self._replicas.end(space, verified.replica)
            if verified.segment.first == end.seq + 1:
                end.link = verified.segment.previous
        return place(self, verified, turn)

    with mock.patch.object(Placer, "place", careless):
        yield


@contextlib.contextmanager
def order_broken() -> Iterator[None]:
    """Messages of a topic are read as they come."""
    with mock.patch.object(Hearing, "accept", lambda _, __, message, ___: [message]):
        yield


@contextlib.contextmanager
def read_twice() -> Iterator[None]:
    """A message that comes twice is read twice."""
    on_gossip = Plumtree._on_gossip  # noqa: SLF001 - a plant breaks what it finds

    def forgetful(self: Plumtree, node: NodeId, message: Gossip, now: float) -> None:
        id_ = message_id(message.body)
        known = self.messages.find(id_) is not None
        on_gossip(self, node, message, now)
        if known:
            self._effects.append(Deliver(id_, message.body, node, message.hops))

    always = mock.patch.object(Hearing, "judge", return_value=Judged(fresh=True, recent=True))
    at_once = mock.patch.object(Hearing, "accept", lambda _, __, message, ___: [message])
    with mock.patch.object(Plumtree, "_on_gossip", forgetful), always, at_once:
        yield


@contextlib.contextmanager
def collected_early() -> Iterator[None]:
    """History counts as stable as soon as this node has it, whatever the others report."""

    def hasty(connection: apsw.Connection, space: SpaceId, *_: int) -> VersionVector:
        return VersionVector(Reader(connection, {}).vector(space).seqs)

    with mock.patch("cis.node.bulletins.stability.stable_floor", hasty):
        yield


@contextlib.contextmanager
def states_not_compared() -> Iterator[None]:
    """What was collected elsewhere is not compared with what is held here."""
    with mock.patch("cis.sync.session.must_compare", return_value=False):
        yield


@contextlib.contextmanager
def let_go_unheld() -> Iterator[None]:
    """A device lets go whatever it does not keep as soon as it has it, its own included."""

    def hasty(connection: apsw.Connection, space: SpaceId, _: NodeId) -> VersionVector:
        return VersionVector(Reader(connection, {}).vector(space).seqs)

    everything = mock.patch("cis.store.keeping.held_elsewhere", hasty)
    with everything, mock.patch("cis.store.keeping.node_of", return_value=None):
        yield


@contextlib.contextmanager
def let_go_nameless() -> Iterator[None]:
    """A device that lets a value go does not keep its name."""
    part_with = keeping._part_with  # noqa: SLF001 - a plant breaks what it finds

    def forgetful(connection: apsw.Connection, space: SpaceId, rows: Sequence[tuple[int, bytes]]) -> None:
        part_with(connection, space, rows)
        connection.executemany("DELETE FROM name WHERE rid = ?", [(rid,) for rid, _ in rows])

    with mock.patch("cis.store.keeping._part_with", forgetful):
        yield


@dataclass(frozen=True)
class Planted:
    """A plant, where it is looked for, and the first seed known to find it."""

    plant: Plant
    scenario: str
    seed: int = 1
    nodes: int = 4

    @property
    def breaks(self) -> str:
        """What it breaks, in words."""
        return (self.plant.__doc__ or "").strip()


PLANTS: dict[str, Planted] = {
    "withheld-leaf": Planted(withheld_leaf, "chaos"),
    "withheld-body": Planted(withheld_body, "chaos"),
    "reused-dot": Planted(reused_dot, "restore"),
    "lost-tombstone": Planted(lost_tombstone, "chaos"),
    "vector-past-gap": Planted(vector_past_gap, "chaos"),
    "early-acknowledgement": Planted(early_acknowledgement, "chaos"),
    "nothing-awaited": Planted(nothing_awaited, "chaos"),
    "awaited-forgotten": Planted(awaited_forgotten, "crash", seed=16),
    "unauthorised-accepted": Planted(unauthorised_accepted, "byzantine"),
    "unsigned-accepted": Planted(unsigned_accepted, "byzantine"),
    "fork-accepted": Planted(fork_accepted, "byzantine"),
    "private-offered": Planted(private_offered, "chaos"),
    "clock-dragged": Planted(clock_dragged, "clocks"),
    "held-forgotten": Planted(held_forgotten, "clocks"),
    "collected-early": Planted(collected_early, "collect"),
    "states-not-compared": Planted(states_not_compared, "collect", seed=110),
    "let-go-unheld": Planted(let_go_unheld, "partial", seed=7, nodes=5),
    "let-go-nameless": Planted(let_go_nameless, "partial", nodes=5),
    "order-broken": Planted(order_broken, "chaos"),
    "read-twice": Planted(read_twice, "chaos"),
    "cuts-joined-by-min": Planted(trust_plants.cuts_joined_by_min, "byzantine", seed=2, nodes=5),
    "nothing-revived": Planted(trust_plants.nothing_revived, "byzantine", nodes=5),
    "judged-by-arrival": Planted(trust_plants.judged_by_arrival, "byzantine", nodes=5),
    "removed-admin-obeyed": Planted(trust_plants.removed_admin_obeyed, "byzantine", nodes=5),
    "unnamed-log-kept": Planted(trust_plants.unnamed_log_kept, "byzantine", nodes=5),
    "hidden-body-dropped": Planted(trust_plants.hidden_body_dropped, "byzantine", seed=42, nodes=5),
    "removed-not-parted-with": Planted(trust_plants.removed_not_parted_with, "byzantine", seed=2, nodes=5),
    "known-key-used": Planted(trust_plants.known_key_used, "byzantine", nodes=5),
    "cut-lifted-by-claim": Planted(trust_plants.cut_lifted_by_claim, "byzantine", seed=12, nodes=5),
}
