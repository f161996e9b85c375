"""Whatever devices leave out, and whenever they hear of it: what is let go is on another device, and its name is here.

Whoever wrote it is gone: a device keeps what it wrote itself in any case.
"""

from __future__ import annotations

import os
import random
import struct
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from cis.model import Dot, Kind, NodeId, VersionVector, node_of
from cis.model.change import BODILESS
from cis.store.author import Write
from cis.store.keeping import Keep, known_partial, let_go, lettable, nameable, set_keep, stated_number
from cis.store.log import LogReader
from cis.store.names import keep_names, take_names
from cis.store.stability import reportable, save_report
from cis.store.store import Store
from cis.store.texts import digest_of, embeddable
from cis.wire.content import Content, Form
from tests.audits import audit
from tests.stores import SPACE, WAIT_S, Author, merge, opened, order_of, put, recall, state_hash, text, write

KEYS = ("k0", "k1", "k2", "k3")
POLICIES = (
    Keep(vectors=False),
    Keep(names=True),
    Keep(prefixes=("k0", "k1")),
    Keep(vectors=False, names=True),
)


@dataclass
class Told:
    """A report on its way to one other device."""

    author: NodeId
    held: VersionVector
    number: bytes
    known: list[tuple[NodeId, bytes]]


@dataclass
class Devices:
    """Some stores, and what each has told the others and they have not heard yet, in order."""

    stores: list[Store]
    writer: Store
    chance: random.Random
    under_way: dict[tuple[int, int], list[Told]] = field(default_factory=dict)
    written: int = 0

    def write(self) -> None:
        """Have the writer, which counts for nothing itself, write a memory and its vector, and bring both somewhere."""
        store, key = self.writer, self.chance.choice(KEYS)
        self.written += 1
        write(store, put(key, str(self.written)))
        recalled = recall(store, key)
        shown = embeddable(recalled) if recalled is not None else None
        if shown is not None:
            content = Content(key, digest_of(shown), form=Form.BYTES, vector=struct.pack("<2f", 1, 2), vector_model="m")
            write(store, Write(SPACE, Kind.VECTOR, content))
        self.bring(store, self.chance.choice(self.stores))

    def keep(self) -> None:
        policy = Keep() if self.chance.random() < 0.3 else self.chance.choice(POLICIES)
        store = self.chance.choice(self.stores)
        store.execute(lambda connection: set_keep(connection, SPACE, policy, os.urandom)).result(WAIT_S)

    def tell(self, author: int | None = None) -> None:
        author = self.chance.randrange(len(self.stores)) if author is None else author
        with self.stores[author].snapshot() as reader:
            connection = reader.connection
            known = known_partial(connection, SPACE)
            node = node_of(self.stores[author].replica)
            told = Told(node, reportable(reader, SPACE), stated_number(connection, SPACE), known)
        for other in range(len(self.stores)):
            if other != author:
                self.under_way.setdefault((author, other), []).append(told)

    def hear(self) -> None:
        waiting = sorted(path for path, told in self.under_way.items() if told)
        if not waiting:
            return
        path = self.chance.choice(waiting)
        told = self.under_way[path].pop(0)
        saving = partial(
            save_report, space=SPACE, node=told.author, vector=told.held, number=told.number, known=told.known
        )
        self.stores[path[1]].execute(saving).result(WAIT_S)

    def let_go(self) -> None:
        store = self.chance.choice(self.stores)
        own = node_of(store.replica)
        with store.snapshot() as reader:
            names = take_names(reader, nameable(reader.connection, SPACE, own))
        if self.chance.random() < 0.8:  # else this round ends before
            store.execute(lambda connection: keep_names(connection, names)).result(WAIT_S)
        with store.snapshot() as reader:
            rids = lettable(reader.connection, SPACE, own)
        store.execute(lambda connection: let_go(connection, SPACE, own, rids)).result(WAIT_S)

    def sync(self) -> None:
        """Bring one device what another holds whole, as a session does."""
        self.bring(*self.chance.sample(self.stores, 2))

    def bring(self, source: Store, target: Store) -> None:
        with source.snapshot() as reader, target.snapshot() as other:
            lacking = list(reader.vector(SPACE).missing_in(other.vector(SPACE)))
            log = LogReader(reader.connection, SPACE)
            for replica, first, last in lacking:
                found = log.segment(replica, first, last)
                if found is not None:
                    merge(target, found, order=order_of(target, found))

    def audit(self) -> None:
        one, other = self.chance.sample(self.stores, 2)
        audit(one, other, check_first=False)

    def lost(self) -> list[Dot]:
        """What is alive somewhere and whose body is nowhere."""
        alive: set[Dot] = set()
        held: set[Dot] = set()
        for store in self.stores:
            with store.snapshot() as reader:
                rids = [rid for (rid,) in reader.connection.execute("SELECT rid FROM live UNION SELECT rid FROM live0")]
                dead = {rid for (rid,) in reader.connection.execute("SELECT rid FROM dead")}
                for one in reader.rows.stored(rid for rid in rids if rid not in dead):
                    alive.add(one.change.dot)
                    held |= {one.change.dot} if one.change.body is not None or one.change.kind in BODILESS else set()
        return sorted(alive - held)

    def nameless(self) -> list[int]:
        """The values somewhere that are shown there and elsewhere by choice, and of which not even the key is known."""
        return [
            len(recalled.parts)
            for store in self.stores
            for key in KEYS
            if (recalled := recall(store, key)) is not None
            for part in recalled.parts
            if part.about is None or part.about.key != key
        ]

    def agree(self) -> None:
        """Everybody keeps everything, has it, and knows that of the others."""
        for store in self.stores:
            store.execute(lambda connection: set_keep(connection, SPACE, Keep(), os.urandom)).result(WAIT_S)
        for source in self.stores:
            for target in self.stores:
                if source is not target:
                    self.bring(source, target)
                    audit(target, source, check_first=False)
        assert len({state_hash(store) for store in self.stores}) == 1
        for author in range(len(self.stores)):
            self.tell(author)
        while any(self.under_way.values()):
            self.hear()


@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_let_go_that_is_not_on_another_device_and_no_value_without_its_name(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    with opened(tmp_path, *(Author(number) for number in (1, 2, 3, 4))) as (*stores, writer):
        devices = Devices(stores, writer, chance)
        deeds = [devices.write, devices.keep, devices.keep, devices.tell, devices.sync, devices.audit]
        deeds += [*[devices.hear] * 4, *[devices.let_go] * 4]
        for _ in range(4):
            devices.write()
            devices.agree()
            for _ in range(25):
                chance.choice(deeds)()
                assert not devices.lost()
                assert not devices.nameless()
        devices.agree()
        assert not devices.lost()
        assert all(text(store, key) is not None for store in stores for key in KEYS if recall(store, key) is not None)
