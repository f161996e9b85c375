"""What members tell each other of what they keep, and what a device then lets go."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cis.crdt import Policy
from cis.model import Kind
from cis.node.bulletins.stability import Stability
from cis.node.home.local import LocalNode
from cis.store.author import Write
from cis.store.keeping import Keep, count_absent, holders, set_keep
from cis.store.texts import digest_of, embeddable
from cis.wire.content import Content, Form
from cis.wire.membership import Role
from tests.unit.node.households import close, household
from tests.unit.node.test_stability import give


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[LocalNode]]:
    made = household(tmp_path, ("phone", Role.WRITER))
    yield made
    close(made)


def embedded(node: LocalNode, key: str) -> None:
    """Write a memory and its vector."""
    space = node.cluster.public
    node.store.write([Write(space, Kind.PUT, Content(key, b"text"))]).result()
    recalled = node.store.reader.recall(space, key, Policy.CRDT)
    text = embeddable(recalled) if recalled is not None else None
    assert text is not None
    content = Content(key, digest_of(text), form=Form.BYTES, vector=struct.pack("<2f", 1, 2), vector_model="tiny")
    node.store.write([Write(space, Kind.VECTOR, content)]).result()


def absent(node: LocalNode) -> int:
    with node.store.snapshot() as reader:
        return count_absent(reader.connection, node.cluster.public)


def hear(listener: Stability, teller: LocalNode, reports: list[bytes]) -> bool:
    stirred = [listener.take(teller.identity.node, report) for report in reports]
    return any(stirred)


def test_a_device_lets_vectors_go_when_it_was_heard_and_told_and_both_hurry(nodes: list[LocalNode]) -> None:
    full, phone = nodes
    embedded(full, "k")
    give(full, phone, full.cluster.public)
    at_full, at_phone = Stability(full), Stability(phone)
    assert not hear(at_phone, full, at_full.round()), "nothing new is kept or known"
    policy = Keep(vectors=False)
    phone.store.execute(lambda connection: set_keep(connection, phone.cluster.public, policy, os.urandom)).result()
    reports = at_phone.round()
    assert absent(phone) == 0, "the other does not know yet"
    assert hear(at_full, phone, reports)
    assert hear(at_phone, full, at_full.round())
    at_phone.round()
    assert absent(phone) == 1
    with phone.store.snapshot() as reader:
        assert list(holders(reader.connection, phone.cluster.public, phone.identity.node)) == [full.identity.node]


def test_a_report_of_an_earlier_version_is_read_and_nothing_is_let_go_by_it(nodes: list[LocalNode]) -> None:
    full, phone = nodes
    embedded(full, "k")
    give(full, phone, full.cluster.public)
    at_phone = Stability(phone)
    policy = Keep(vectors=False)
    phone.store.execute(lambda connection: set_keep(connection, phone.cluster.public, policy, os.urandom)).result()
    earlier = [msgspec.msgpack.encode(msgspec.msgpack.decode(one)[:2]) for one in Stability(full).round()]
    assert earlier
    assert not hear(at_phone, full, earlier)
    at_phone.round()
    assert absent(phone) == 0
