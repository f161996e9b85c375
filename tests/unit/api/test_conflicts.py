"""Conflicts: what is listed of them, how they end, and that nothing is lost which nobody saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from cis.api.embedded import EmbeddedNode
from cis.api.memories.memory_schema import (
    AddToMemory,
    Conflict,
    DeleteMemory,
    ExportMemories,
    GetMemory,
    ImportBatch,
    IncrementMemory,
    ListConflicts,
    Memory,
    MemoryHistory,
    MemoryStats,
    ResolveConflict,
    SetMemory,
)
from cis.crdt import Policy
from cis.errors import CisError, UsageError
from cis.model import Kind
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store.author import Write, Written
from cis.wire.content import Content, Form
from tests.unit.api.clocks import Clock

APART = frozenset()
"""What was seen by who wrote apart from all others."""


def apart(node: EmbeddedNode, kind: Kind, content: Content, space: str = "public") -> None:
    """Write as somebody does who knows of no other value."""
    (outcome,) = node.local.store.write([Write(node.local.cluster.space(space), kind, content, APART)]).result()
    assert isinstance(outcome, Written), outcome


def two_texts(node: EmbeddedNode, key: str = "k", space: str = "public") -> Conflict:
    apart(node, Kind.PUT, Content(key, b"one", category="task", tags=("a",)), space)
    apart(node, Kind.PUT, Content(key, b"two"), space)
    return conflict(node, key, space)


def three_types(node: EmbeddedNode, key: str = "k") -> Conflict:
    apart(node, Kind.COUNT, Content(key, added=5))
    apart(node, Kind.ADD, Content(key, b"x"))
    apart(node, Kind.ADD, Content(key, b"y"))
    apart(node, Kind.PUT, Content(key, b"text"))
    return conflict(node, key)


def conflict(node: EmbeddedNode, key: str = "k", space: str | None = None) -> Conflict:
    (found,) = node.call(ListConflicts(key=key, space=space))
    return found


def get(node: EmbeddedNode, key: str = "k", space: str = "public") -> Memory:
    found = node.call(GetMemory(key=key, space=space))
    assert found is not None
    return found


def test_values_are_numbered_from_the_one_shown_on_and_told_with_author_and_time(node: EmbeddedNode) -> None:
    found = two_texts(node)
    assert [(one.number, one.value, one.shown, one.category) for one in found.values] == [
        (1, "two", True, "note"),
        (2, "one", False, "task"),
    ]
    assert {(one.author, one.author_did[8:22] == one.device) for one in found.values} == {("solo", True)}
    assert len({one.id for one in found.values}) == 2
    assert (found.key, found.space, found.id) == ("k", "public", get(node).id)
    assert get(node).conflicts == 1
    assert node.call(ListConflicts()) == (found,)
    assert node.call(ListConflicts(space="private")) == ()
    assert node.call(MemoryStats()).spaces[0].conflicts == 1


def test_a_counter_and_a_set_are_one_value_each(node: EmbeddedNode) -> None:
    found = three_types(node)
    assert [(one.type, one.value) for one in found.values] == [
        ("register", "text"),
        ("set", ["x", "y"]),
        ("counter", 5),
    ]
    assert get(node).conflicts == 2


@pytest.mark.parametrize("space", ["public", "private"])
@pytest.mark.parametrize("by_id", [True, False])
def test_keeping_one_value_ends_the_conflict_and_keeps_all_of_it(node: EmbeddedNode, space: str, by_id: bool) -> None:
    found = two_texts(node, space=space)
    kept = found.values[1]
    assert node.call(ResolveConflict(key="k", space=space, keep=kept.id[:6] if by_id else "2")).changed
    assert (get(node, "k", space).value, get(node, "k", space).category) == ("one", "task")
    assert (get(node, "k", space).tags, get(node, "k", space).conflicts) == (("a",), 0)
    assert node.call(ListConflicts()) == ()
    with pytest.raises(CisError, match="in no conflict"):
        node.call(ResolveConflict(key="k", space=space, keep="1"))


def test_a_value_made_of_both_replaces_them(node: EmbeddedNode) -> None:
    apart(node, Kind.PUT, Content("k", b'{"a":1}', form=Form.JSON))
    apart(node, Kind.PUT, Content("k", b'{"a":2}', form=Form.JSON, category="task", tags=("t",)))
    node.call(ResolveConflict(key="k", value={"a": 3}, form="json"))
    assert (get(node).value, get(node).category, get(node).tags) == ({"a": 3}, "task", ("t",))
    assert node.call(ListConflicts()) == ()


def test_what_is_kept_lives_as_long_as_it_would_have(node: EmbeddedNode, clock: Clock) -> None:
    apart(node, Kind.PUT, Content("k", b"lasting"))
    apart(node, Kind.PUT, Content("k", b"brief", ttl_ms=10_000))
    expires_ms = get(node).expires_ms
    clock.ms += 4_000
    node.call(ResolveConflict(key="k", keep="1"))
    assert get(node).expires_ms == expires_ms


def test_nothing_is_changed_where_other_values_came_since_they_were_numbered(node: EmbeddedNode) -> None:
    seen = tuple(one.id for one in two_texts(node).values)
    apart(node, Kind.PUT, Content("k", b"late"))
    with pytest.raises(CisError, match="changed since they were numbered"):
        node.call(ResolveConflict(key="k", keep=seen[0], seen=seen))
    assert [one.value for one in conflict(node).values] == ["late", "two", "one"]


def test_a_value_nobody_saw_stays_beside_what_was_decided(node: EmbeddedNode) -> None:
    two_texts(node)
    space = node.local.cluster.space("public")
    with node.readers.snapshot() as reader:
        recalled = reader.recall(space, "k")
        assert recalled is not None
        saw = frozenset(part.change.dot for part in (*recalled.parts, *recalled.siblings))
    apart(node, Kind.PUT, Content("k", b"late"))
    node.local.store.write([Write(space, Kind.PUT, Content("k", b"decided"), saw)]).result()
    assert [one.value for one in conflict(node).values] == ["decided", "late"]


@pytest.mark.parametrize("named", ["0", "3", "x", "", "abc", "ffffffffffff"])
def test_a_value_there_is_none_of_is_refused(node: EmbeddedNode, named: str) -> None:
    two_texts(node)
    with pytest.raises(UsageError, match="1 to 2"):
        node.call(ResolveConflict(key="k", keep=named))
    assert len(conflict(node).values) == 2


def test_one_decision_is_given_not_none_and_not_two(node: EmbeddedNode) -> None:
    two_texts(node)
    for request in (ResolveConflict(key="k"), ResolveConflict(key="k", keep="1", value="v", form="text")):
        with pytest.raises(UsageError, match="one of the two"):
            node.call(request)


def test_a_counter_that_is_kept_goes_on_counting(node: EmbeddedNode) -> None:
    three_types(node)
    node.call(ResolveConflict(key="k", keep="3"))
    assert (get(node).type, get(node).value, get(node).conflicts) == ("counter", 5, 0)
    assert node.call(IncrementMemory(key="k", by=2)).value == 7


def test_a_set_that_is_kept_goes_on_taking_elements(node: EmbeddedNode) -> None:
    three_types(node)
    node.call(ResolveConflict(key="k", keep="2"))
    assert (get(node).type, get(node).value, get(node).conflicts) == ("set", ["x", "y"], 0)
    node.call(AddToMemory(key="k", values=("z",)))
    assert get(node).value == ["x", "y", "z"]


def test_a_text_that_is_kept_replaces_counter_and_set(node: EmbeddedNode) -> None:
    three_types(node)
    node.call(ResolveConflict(key="k", keep="1"))
    assert (get(node).value, get(node).conflicts) == ("text", 0)
    assert node.call(SetMemory(key="k", value="more")).changed


def test_no_type_is_replaced_unasked_while_they_are_in_conflict(node: EmbeddedNode) -> None:
    three_types(node)
    for request in (
        SetMemory(key="k", value="v"),
        IncrementMemory(key="k"),
        AddToMemory(key="k", values=("x",)),
    ):
        with pytest.raises(UsageError, match="cis memory conflicts k"):
            node.call(request)
    assert len(conflict(node).values) == 3
    assert node.call(DeleteMemory(key="k")).changed
    assert node.call(ListConflicts()) == ()


def test_under_lww_there_are_no_conflicts_to_see(node: EmbeddedNode) -> None:
    two_texts(node)
    node.policy = Policy.LWW
    hidden = EmbeddedNode(node.local, Policy.LWW)
    assert hidden.call(ListConflicts()) == ()
    assert hidden.call(ListConflicts(key="k")) == ()
    found = hidden.call(GetMemory(key="k"))
    assert found is not None
    assert (found.value, found.conflicts) == ("two", 0)
    hidden.readers.close()


def test_history_tells_deletions_and_who_ended_a_conflict(node: EmbeddedNode) -> None:
    two_texts(node)
    node.call(ResolveConflict(key="k", keep="2"))
    node.call(SetMemory(key="k", value="later"))
    node.call(DeleteMemory(key="k"))
    told = node.call(MemoryHistory(key="k"))
    assert [(one.kind, one.resolves) for one in told] == [
        ("delete", 0),
        ("put", 0),
        ("put", 2),
        ("put", 0),
        ("put", 0),
    ]
    assert [one.kind for one in node.call(MemoryHistory(key="k", limit=1))] == ["delete"]
    with pytest.raises(UsageError):
        node.call(MemoryHistory(key="k", limit=0))


def test_a_conflict_is_exported_and_comes_back_as_one(node: EmbeddedNode, tmp_path: Path) -> None:
    two_texts(node, "a")
    three_types(node, "b")
    rows = tuple(node.stream(ExportMemories()))
    assert [(row["key"], row.get("beside", False)) for row in rows] == [
        ("a", True),
        ("a", True),
        ("b", True),
        ("b", True),
        ("b", True),
    ]
    with EmbeddedNode(LocalNode.create(Home(tmp_path / "other"), "other")) as other:
        for _ in range(2):
            assert [one.reason for one in other.call(ImportBatch(rows=rows)).problems] in (
                [],
                ["a memory of that key exists already; a counter's totals would count twice"],
            )
            for key in ("a", "b"):
                told = [[(one.type, one.value, one.category) for one in conflict(n, key).values] for n in (node, other)]
                assert told[0] == told[1]


def test_a_value_that_expired_is_no_conflict_any_more(node: EmbeddedNode, clock: Clock) -> None:
    apart(node, Kind.PUT, Content("k", b"brief", ttl_ms=10_000))
    apart(node, Kind.PUT, Content("k", b"lasting"))
    assert (len(node.call(ListConflicts())), node.call(MemoryStats()).spaces[0].conflicts) == (1, 1)
    clock.ms += 10_000
    assert (node.call(ListConflicts()), node.call(MemoryStats()).spaces[0].conflicts) == ((), 0)
    assert get(node).conflicts == 0
