"""How spaces are exchanged, as the settings say: what goes into a frame, and what becomes of the public space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cis.model import Kind, SpaceId
from cis.node.home.local import LocalNode
from cis.node.membership.exchange import Exchange, Turn
from cis.node.streams.syncing import StoreIndex
from cis.store.author import Write
from cis.store.log import LogReader
from cis.wire.content import Content
from cis.wire.membership import Role
from cis.wire.messages import encode
from tests.unit.node.households import close, household, tell


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[LocalNode, LocalNode]]:
    founder, other = nodes = household(tmp_path, ("other", Role.WRITER))
    yield founder, other
    close(nodes)


def write(node: LocalNode, count: int) -> None:
    """Write changes, each in a changeset of its own with a signature of its own."""
    for number in range(count):
        node.store.write([Write(node.cluster.public, Kind.PUT, Content(f"k{number}", b"v"))]).result()


def lengths(node: LocalNode, changesets_per_frame: int) -> list[int]:
    """How many changes each frame holds that brings what a node wrote."""
    public, replica, found, first = node.cluster.public, node.store.replica, list[int](), 1
    with node.store.snapshot() as reader:
        index = StoreIndex(reader, [public], changesets_per_frame)
        while (segment := index.segment(public, replica, first, 100)) is not None:
            found.append(segment[1] - first + 1)
            first = segment[1] + 1
    return found


def test_a_frame_ends_after_as_many_changesets_as_are_set(pair: tuple[LocalNode, LocalNode]) -> None:
    write(pair[0], 10)
    assert lengths(pair[0], 1000) == [10]
    assert lengths(pair[0], 4) == [4, 4, 2]
    assert lengths(pair[0], 1) == [1] * 10


@pytest.mark.parametrize("turn", [Turn.FIRST, Turn.ANY, Turn.LAST])
def test_the_public_space_has_the_turn_that_is_set(pair: tuple[LocalNode, LocalNode], turn: Turn) -> None:
    founder, other = pair
    public, spaces = founder.cluster.public, list[SpaceId]()
    while not spaces or not min(spaces) < public < max(spaces):
        spaces.append(founder.create_space(f"s{len(spaces)}", [other.identity.node]))
    tell(founder, other)
    founder.cluster.exchange = Exchange(public_turn=turn)
    shared = founder.cluster.shared_with(other.identity.node)
    wanted = {
        Turn.FIRST: [public, *sorted(spaces)],
        Turn.ANY: sorted([public, *spaces]),
        Turn.LAST: [*sorted(spaces), public],
    }
    assert shared == wanted[turn]


def test_a_public_space_that_is_off_is_exchanged_with_nobody(pair: tuple[LocalNode, LocalNode]) -> None:
    founder, other = pair
    assert founder.cluster.shared_with(other.identity.node) == [founder.cluster.public]
    founder.cluster.exchange = Exchange(public=False)
    assert founder.cluster.shared_with(other.identity.node) == []
    assert founder.cluster.shared() == [founder.cluster.public]


def test_changes_further_ahead_than_is_set_are_left_to_a_session(pair: tuple[LocalNode, LocalNode]) -> None:
    founder, other = pair
    write(founder, 200)
    with founder.store.snapshot() as reader:
        segment = LogReader(reader.connection, founder.cluster.public, 1).segment(founder.store.replica, 150, 150)
    assert segment is not None
    other.cluster.exchange = replace(other.cluster.exchange, beyond_max=100)
    assert other.store.merge(encode(segment)).result().changes == 0
    other.cluster.exchange = replace(other.cluster.exchange, beyond_max=150)
    assert other.store.merge(encode(segment)).result().changes == 1
