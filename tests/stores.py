"""Real stores with real keys in temporary folders, and the carrying of segments between them."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from cis.crdt import Policy
from cis.errors import Fault
from cis.model import Change, Dot, Kind, NodeId, ReplicaId, SpaceId, VersionVector
from cis.store.admission import Judge, Limit, Limited
from cis.store.author import Write, Written
from cis.store.log import LogReader
from cis.store.merge import Applied
from cis.store.ordering import Order
from cis.store.read import Recalled
from cis.store.store import Setting, Store
from cis.store.texts import digest_of, embeddable
from cis.trust.sealing import SpaceKeys
from cis.wire.content import Content, Form
from cis.wire.messages import encode
from cis.wire.segment import Segment

KEYS = SpaceKeys(SpaceId(b"S" * 16), b"m" * 32, {1: b"e" * 32}, 1)
SPACE = KEYS.space
PRIVATE_KEYS = SpaceKeys(SpaceId(b"P" * 16), b"p" * 32, {1: b"q" * 32}, 1)
STORE_KEY = b"k" * 32
START_MS = 1_700_000_000_000
WAIT_S = 20


def judge_all(replica: ReplicaId, space: SpaceId, authority: bytes, first: int) -> Fault | None:
    return None


def no_limit(space: SpaceId, replica: ReplicaId) -> Limited | None:
    return None


@dataclass
class Clock:
    """A clock that moves only when told to."""

    ms: int = START_MS

    def __call__(self) -> int:
        return self.ms


@dataclass
class Author:
    """A node's key, its clock and its entropy."""

    seed: int
    clock: Clock = field(default_factory=Clock)
    entropy: Callable[[int], bytes] = os.urandom

    def __post_init__(self) -> None:
        public, self.secret = crypto_sign_seed_keypair(self.seed.to_bytes(32, "big"))
        self.node = NodeId(public)

    def sign(self, message: bytes) -> bytes:
        return crypto_sign(message, self.secret)[:64]

    def setting(self, judge: Judge = judge_all, limit: Limit = no_limit) -> Setting:
        return Setting(self.node, self.sign, lambda _: bytes(32), judge, limit, self.clock, self.entropy)


def open_store(
    folder: Path,
    author: Author,
    judge: Judge = judge_all,
    key: bytes = STORE_KEY,
    limit: Limit = no_limit,
) -> Store:
    folder.mkdir(exist_ok=True, parents=True)
    store = Store(folder, key, author.setting(judge, limit))
    store.add_space(KEYS, "public", replicated=True)
    store.add_space(PRIVATE_KEYS, "private", replicated=False)
    return store


def put(key: str, value: str = "", space: SpaceId = SPACE, **more: Any) -> Write:
    return Write(space, Kind.PUT, Content(key, value.encode(), **more))


def write(store: Store, *writes: Write) -> list[Written]:
    outcomes = store.write(writes).result(WAIT_S)
    for outcome in outcomes:
        assert isinstance(outcome, Written), outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Written)]


def recall(store: Store, key: str, policy: Policy = Policy.CRDT) -> Recalled | None:
    return store.reader.recall(SPACE, key, policy)


def text(store: Store, key: str) -> str | None:
    recalled = recall(store, key)
    return None if recalled is None or recalled.latest.content is None else recalled.latest.content.value.decode()


def vector_wish(store: Store, key: str, chance: random.Random) -> Write:
    """A vector of the text shown now, one of a text that is not, or the taking back of what is left."""
    recalled = recall(store, key)
    shown = embeddable(recalled) if recalled is not None else None
    digest = digest_of(shown if shown is not None and chance.random() < 0.9 else "another text")
    numbers = chance.choice([b"", *[struct.pack("<2f", chance.random(), 1.0)] * 5])
    model = chance.choice(["tiny", "small"])
    return Write(SPACE, Kind.VECTOR, Content(key, digest, form=Form.BYTES, vector=numbers, vector_model=model))


def segments(store: Store, space: SpaceId = SPACE) -> list[Segment]:
    """Every changeset run the store holds, as it would serve it to a peer that holds nothing."""
    with store.snapshot() as reader:
        return [
            segment
            for replica, first, last in reader.vector(space).missing_in(type(reader.vector(space))())
            for segment in runs(LogReader(reader.connection, space), replica, first, last)
        ]


def runs(log: LogReader, replica: ReplicaId, first: int, last: int) -> Iterator[Segment]:
    while first <= last:
        segment = log.segment(replica, first, last)
        assert segment is not None
        yield segment
        first = segment.first + len(segment.records) // 40


def order_of(store: Store, *given: Segment) -> Order:
    """The order of a session with a peer that holds all up to the end of these segments without a gap."""
    with store.snapshot() as reader:
        held = {SPACE: reader.vector(SPACE)}
    ends = [(ReplicaId(one.replica), one.first + len(one.records) // 40 - 1) for one in given]
    return Order(held, {SPACE: VersionVector(dict(sorted(ends)))})


def merge(store: Store, *given: Segment, in_order: bool = False, order: Order | None = None) -> list[Applied]:
    order = order_of(store, *given) if in_order else order
    futures = [store.merge(encode(segment), order) for segment in given]
    return [future.result(WAIT_S) for future in futures]


def sync(source: Store, target: Store) -> int:
    """Bring the target everything it lacks of the source; returns how many changes it took in."""
    with source.snapshot() as reader:
        with target.snapshot() as other:
            held, theirs = other.vector(SPACE), reader.vector(SPACE)
            lacking = list(theirs.missing_in(held))
        log = LogReader(reader.connection, SPACE)
        found = list(itertools.chain.from_iterable(runs(log, *span) for span in lacking))
    return sum(applied.changes for applied in merge(target, *found, order=Order({SPACE: held}, {SPACE: theirs})))


def state_hash(store: Store) -> bytes:
    with store.snapshot() as reader:
        return reader.state_hash(SPACE)


def held_changes(store: Store) -> list[Change]:
    """Every change of the space whose header is held, in effect or not."""
    with store.snapshot() as reader:
        rids = [rid for (rid,) in reader.connection.execute("SELECT rid FROM head").fetchall()]
        return [one.change for one in reader.rows.stored(rids) if reader.space(one.space) == SPACE]


def live_changes(store: Store) -> set[Dot]:
    """The dots of what is in effect, as the store's own tables say."""
    with store.snapshot() as reader:
        found: set[Dot] = set()
        for memory in reader.memories(SPACE):
            found |= {one.change.dot for one in reader.rows.live(memory)}
        return found


def settle(store: Store) -> None:
    """Compact completely, as the writer does when nothing waits."""
    from cis.store.compaction import compact

    while store.execute(compact).result(WAIT_S):
        pass


@contextlib.contextmanager
def opened(folder: Path, *authors: Author) -> Iterator[list[Store]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(open_store(folder / f"{author.seed}", author)) for author in authors]
