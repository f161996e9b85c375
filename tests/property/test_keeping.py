"""Whatever devices leave out, and whenever they hear of it: no vector is let go that is not on another device.

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
from cis.store.keeping import Keep, known_partial, let_go, lettable, set_keep, stated_number
from cis.store.log import LogReader
from cis.store.stability import reportable, save_report
from cis.store.store import Store
from cis.store.texts import digest_of, embeddable
from cis.wire.content import Content, Form
from tests.audits import audit
from tests.stores import SPACE, WAIT_S, Author, merge, opened, order_of, put, recall, state_hash, write


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
        store, key = self.writer, f"k{self.chance.randrange(4)}"
        self.written += 1
        write(store, put(key, str(self.written)))
        recalled = recall(store, key)
        text = embeddable(recalled) if recalled is not None else None
        if text is not None:
            content = Content(key, digest_of(text), form=Form.BYTES, vector=struct.pack("<2f", 1, 2), vector_model="m")
            write(store, Write(SPACE, Kind.VECTOR, content))
        self.bring(store, self.chance.choice(self.stores))

    def keep(self) -> None:
        policy = Keep(vectors=self.chance.random() < 0.3)
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

    def vectors_lost(self) -> list[Dot]:
        """The vectors alive somewhere whose body is nowhere."""
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
def test_no_vector_is_let_go_that_is_not_on_another_device(tmp_path: Path, seed: int) -> None:
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
                assert not devices.vectors_lost()
        devices.agree()
        assert not devices.vectors_lost()
