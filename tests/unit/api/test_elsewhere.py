"""Values on other devices by choice: fetched where they are read, marked where they are listed, never taken as lost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cis.api.embedded import EmbeddedNode
from cis.api.health.why_schema import ExplainMemory
from cis.api.membership.trust_schema import KeepSpace, Kept, ListSpaces
from cis.api.memories.elsewhere import NO_SOCKET
from cis.api.memories.memory_schema import (
    DeleteMemory,
    ExportMemories,
    GetMemory,
    ListConflicts,
    ListMemories,
    MemoryHistory,
    ResolveConflict,
    SearchMemories,
    SetMemory,
)
from cis.errors import Elsewhere, UsageError
from cis.model import Dot, Kind, NodeId, SpaceId
from cis.node.bulletins.stability import Stability
from cis.node.home.local import LocalNode
from cis.node.streams.lending import Borrowing, lend
from cis.node.streams.syncing import StoreIndex
from cis.store.author import Write
from cis.store.keeping import Keep, set_keep
from cis.wire.content import Content
from cis.wire.membership import Role
from cis.wire.messages import encode
from tests.unit.node.households import close, household
from tests.unit.node.test_stability import give


@dataclass
class Lender:
    """A connection to the other device, over which it lends what it has."""

    local: LocalNode
    giver: LocalNode
    connected: set[NodeId] = field(default_factory=set)
    asked: list[int] = field(default_factory=list)

    def wait_fetched(self, space: SpaceId, dots: Sequence[Dot]) -> dict[Dot, bytes]:
        self.asked.append(len(dots))
        if not self.connected:
            return {}
        borrowing = Borrowing(self.local, space, dots)
        question, begin = borrowing.question, 0
        while some := lend(self.giver, self.local.identity.node, question, begin):
            begin += len(some)
            for one in some:
                borrowing.take(encode(one))
        return borrowing.found


@dataclass
class Pair:
    """A device that keeps everything, and one that keeps names, with a connection between them."""

    desk: LocalNode
    phone: EmbeddedNode
    lender: Lender

    def cut(self) -> None:
        self.lender.connected.clear()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    desk, phone = household(tmp_path, ("phone", Role.WRITER))
    with EmbeddedNode(phone) as node:
        lender = Lender(phone, desk, {desk.identity.node})
        node.fetching.source = lender
        yield Pair(desk, node, lender)
    close([desk])


def written(pair: Pair, *contents: Content, saw: frozenset[Dot] | None = None) -> None:
    space = pair.desk.cluster.public
    pair.desk.store.write([Write(space, Kind.PUT, content, saw) for content in contents]).result()


def left_out(pair: Pair, policy: Keep | None = None) -> None:
    """The phone has heard what the desk wrote, keeps names from now on, and lets the values go."""
    desk, phone = pair.desk, pair.phone.local
    space = desk.cluster.public
    give(desk, phone, space)
    keep = policy or Keep(names=True)
    phone.store.execute(lambda connection: set_keep(connection, space, keep, os.urandom)).result()
    at_desk, at_phone = Stability(desk), Stability(phone)
    for report in at_phone.round():
        at_desk.take(phone.identity.node, report)
    for report in at_desk.round():
        at_phone.take(desk.identity.node, report)
    at_phone.round()


def test_what_is_got_is_fetched_once_and_what_is_listed_is_marked(pair: Pair) -> None:
    written(pair, Content("notes/kettle", b"blue", category="task", tags=("home",)))
    left_out(pair)
    (listed,) = pair.phone.call(ListMemories()).memories
    assert (listed.key, listed.category, listed.tags) == ("notes/kettle", "task", ("home",))
    assert (listed.value, listed.form, listed.elsewhere) == (None, "elsewhere", True)
    (hit,) = pair.phone.call(SearchMemories(query="kettle", mode="words")).hits
    assert (hit.memory.key, hit.memory.elsewhere, hit.snippet) == ("notes/kettle", True, "")
    assert pair.phone.call(SearchMemories(query="blue", mode="words")).hits == ()
    assert pair.lender.asked == []
    got = pair.phone.call(GetMemory(key="notes/kettle"))
    assert got is not None
    assert (got.value, got.form, got.elsewhere, pair.lender.asked) == ("blue", "text", False, [1])
    pair.cut()
    again = pair.phone.call(GetMemory(key="notes/kettle"))
    assert again == got, "it is still in memory"
    (listed,) = pair.phone.call(ListMemories()).memories
    assert listed.elsewhere, "and was not written"


def test_a_value_that_cannot_be_had_is_an_error_that_says_who_has_it_and_what_to_do(pair: Pair) -> None:
    written(pair, Content("k", b"v"))
    left_out(pair)
    pair.cut()
    with pytest.raises(Elsewhere) as raised:
        pair.phone.call(GetMemory(key="k"))
    assert str(raised.value) == (
        "the value of 'k' is on other devices (founder); none of them is connected: `cis p2p connect founder`; "
        "`cis space keep public --all` keeps all values here"
    )
    assert raised.value.exit_code == 6
    pair.phone.fetching.source = None
    with pytest.raises(Elsewhere, match="no node runs here to fetch it: start it with `cis up --detach`"):
        pair.phone.call(GetMemory(key="k"))
    pair.phone.fetching.why_not = NO_SOCKET
    with pytest.raises(Elsewhere, match="opens no socket"):
        pair.phone.call(GetMemory(key="k"))


def test_who_is_connected_and_gives_nothing_is_said(pair: Pair) -> None:
    written(pair, Content("k", b"v"))
    left_out(pair)
    pair.desk.store.execute(lambda connection: connection.execute("DELETE FROM body").get).result()
    with pytest.raises(Elsewhere, match="none of them gave it now: try again"):
        pair.phone.call(GetMemory(key="k"))


def test_writing_over_it_and_deleting_it_take_no_connection(pair: Pair) -> None:
    written(pair, Content("k", b"old"), Content("gone", b"old"))
    left_out(pair)
    pair.cut()
    pair.phone.call(SetMemory(key="k", value="new"))
    assert pair.phone.call(DeleteMemory(key="gone")).changed
    got = pair.phone.call(GetMemory(key="k"))
    assert got is not None
    assert got.value == "new"
    with pair.phone.local.store.snapshot() as reader:
        found = StoreIndex(reader, [pair.desk.cluster.public]).segment(
            pair.desk.cluster.public, pair.phone.local.store.replica, 1, 2
        )
    assert found is not None
    pair.desk.store.merge(found[0]).result()
    with EmbeddedNode(pair.desk) as desk:
        assert [one.value for one in desk.call(ListMemories()).memories] == ["new"]


def test_an_export_has_every_value_or_fails(pair: Pair) -> None:
    count = 70
    written(pair, *(Content(f"k{at:02}", b"%d" % at) for at in range(count)))
    left_out(pair)
    rows = list(pair.phone.stream(ExportMemories()))
    assert [row["value"] for row in rows] == [str(at) for at in range(count)]
    assert pair.lender.asked == [64, 6]
    pair.phone.local.store.fetched.keep(pair.desk.cluster.public, {Dot(pair.desk.store.replica, 1): b"x" * (17 << 20)})
    pair.cut()
    with pytest.raises(Elsewhere, match="the value of 'k00'"):
        list(pair.phone.stream(ExportMemories()))


def test_a_conflict_shows_what_can_be_had_and_keeps_only_what_was(pair: Pair) -> None:
    written(pair, Content("k", b"one", category="task"), saw=frozenset())
    written(pair, Content("k", b"two"), saw=frozenset())
    left_out(pair)
    (conflict,) = pair.phone.call(ListConflicts())
    assert [(one.value, one.form, one.elsewhere) for one in conflict.values] == [(None, "elsewhere", True)] * 2
    (conflict,) = pair.phone.call(ListConflicts(key="k"))
    assert [one.value for one in conflict.values] == ["two", "one"]
    pair.phone.local.store.fetched.keep(pair.desk.cluster.public, {Dot(pair.desk.store.replica, 9): b"x" * (17 << 20)})
    pair.cut()
    (conflict,) = pair.phone.call(ListConflicts(key="k"))
    assert [one.category for one in conflict.values] == ["note", "task"]
    with pytest.raises(Elsewhere):
        pair.phone.call(ResolveConflict(key="k", keep="2"))
    assert len(pair.phone.call(ListConflicts(key="k"))) == 1
    pair.lender.connected.add(pair.desk.identity.node)
    pair.phone.call(ResolveConflict(key="k", keep="2"))
    got = pair.phone.call(GetMemory(key="k"))
    assert got is not None
    assert (got.value, got.category, got.conflicts) == ("one", "task", 0)


def test_history_shows_what_can_be_had(pair: Pair) -> None:
    written(pair, Content("k", b"v"))
    left_out(pair)
    pair.cut()
    (version,) = pair.phone.call(MemoryHistory(key="k"))
    assert (version.value, version.form, version.elsewhere) == (None, "elsewhere", True)
    pair.lender.connected.add(pair.desk.identity.node)
    (version,) = pair.phone.call(MemoryHistory(key="k"))
    assert (version.value, version.form, version.elsewhere) == ("v", "text", False)


def test_why_says_that_it_is_elsewhere_by_choice(pair: Pair) -> None:
    written(pair, Content("k", b"v"))
    left_out(pair)
    here = pair.phone.call(ExplainMemory(key="k")).devices[0]
    assert (here.has, here.rows[0].status) == ("yes", "ok")
    assert "its value is on other devices by choice" in here.rows[0].found
    assert here.rows[0].fix == "cis memory get k fetches it; cis space keep public --all keeps values here"


def test_what_is_kept_is_told_as_it_was_said(pair: Pair) -> None:
    keeps = Kept(prefixes=("work/", "a"), categories=("task",), vectors=False)
    told = pair.phone.call(KeepSpace(space="public", keeps=keeps))
    assert told.keeps == Kept(prefixes=("a", "work/"), categories=("task",), vectors=False)
    assert pair.phone.call(ListSpaces())[0].keeps == told.keeps


def test_of_a_space_that_cannot_be_read_values_are_all_kept(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("blind", Role.BLIND))
    space = nodes[1].cluster.public
    with EmbeddedNode(nodes[1]) as blind:
        with pytest.raises(UsageError, match="cannot be read here"):
            blind.call(KeepSpace(space=space.hex(), keeps=Kept(names=True)))
        assert blind.call(KeepSpace(space=space.hex(), keeps=Kept(vectors=False))).keeps == Kept(vectors=False)
    close(nodes[:1])
