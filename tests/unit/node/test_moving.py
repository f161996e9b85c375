"""Memories taken along into another cluster: none is lost, whatever was there, and wherever the move was cut short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cis.crdt import Policy
from cis.model import Kind, SpaceId
from cis.node.home import moving
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.node.home.renamed import Renamed
from cis.store import author
from cis.store.author import Write
from cis.store.store import Store
from cis.wire.content import KEY_BYTES_MAX, Content
from cis.wire.membership import Role
from tests.unit.node.households import admitted


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[LocalNode]:
    with LocalNode.create(Home(tmp_path / "issuer"), "issuer") as local:
        yield local


@pytest.fixture
def joiner(tmp_path: Path) -> Iterator[LocalNode]:
    with LocalNode.create(Home(tmp_path / "joiner"), "joiner") as local:
        yield local


def write(local: LocalNode, space: SpaceId, *contents: Content, kind: Kind = Kind.PUT) -> None:
    for outcome in local.store.write([Write(space, kind, content) for content in contents]).result():
        assert not isinstance(outcome, Exception), outcome


def put(local: LocalNode, space: SpaceId, key: str, value: str) -> None:
    write(local, space, Content(key, value.encode()))


def held(local: LocalNode, space: SpaceId) -> dict[str, list[str]]:
    """All memories of a space: what each shows."""
    with local.store.snapshot() as reader:
        found = [reader.recall_by_id(memory, space, Policy.CRDT) for memory in reader.memories(space)]
    return {
        one.key: sorted(part.content.value.decode() or str(part.content.added) for part in one.parts if part.content)
        for one in found
        if one is not None
    }


def test_a_memory_whose_key_is_taken_goes_beside_the_one_that_has_it(issuer: LocalNode, joiner: LocalNode) -> None:
    notes, plans = joiner.create_space("notes"), joiner.create_space("plans")
    put(joiner, joiner.cluster.private, "editor", "of private")
    put(joiner, notes, "editor", "of notes")
    put(joiner, plans, "editor", "of plans")
    put(joiner, plans, "notes/editor", "of plans, named so")
    put(joiner, joiner.cluster.public, "editor", "of public")
    admitted(issuer, joiner, Role.READER)
    private = held(joiner, joiner.cluster.private)
    assert sorted(value for (value,) in private.values()) == [
        "of notes",
        "of plans",
        "of plans, named so",
        "of private",
        "of public",
    ]
    assert private["editor"] == ["of private"]
    assert private["plans/editor"] == ["of plans"]
    assert private["public/editor"] == ["of public"]
    assert {(one.space, one.key) for one in joiner.renamed} >= {("plans", "editor"), ("public", "editor")}
    assert all(private[one.now] for one in joiner.renamed)


def test_what_the_target_holds_already_is_neither_doubled_nor_renamed(issuer: LocalNode, joiner: LocalNode) -> None:
    notes = joiner.create_space("notes")
    for space in (joiner.cluster.private, notes):
        put(joiner, space, "editor", "dark")
        write(joiner, space, Content("colours", b"red"), Content("colours", b"blue"), kind=Kind.ADD)
    admitted(issuer, joiner, Role.WRITER)
    assert held(joiner, joiner.cluster.private) == {"editor": ["dark"], "colours": ["blue", "red"]}
    assert joiner.renamed == ()


def test_sets_and_counters_of_one_key_stay_apart(issuer: LocalNode, joiner: LocalNode) -> None:
    notes = joiner.create_space("notes")
    write(joiner, joiner.cluster.private, Content("a", b"mine"), kind=Kind.ADD)
    write(joiner, notes, Content("a", b"red"), Content("a", b"blue"), kind=Kind.ADD)
    write(joiner, notes, Content("b", added=3), Content("b", added=4), kind=Kind.COUNT)
    admitted(issuer, joiner, Role.WRITER)
    assert held(joiner, joiner.cluster.private) == {"a": ["mine"], "notes/a": ["blue", "red"], "b": ["7"]}
    assert joiner.renamed == (Renamed("notes", "a", "notes/a"),)


def test_what_a_concurrent_write_left_beside_a_memory_comes_too(
    issuer: LocalNode, joiner: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = joiner.create_space("notes")
    put(joiner, notes, "editor", "dark")
    with monkeypatch.context() as patch:
        patch.setattr(author, "refs_for_put", lambda *_: ())  # as one writes who has not seen what is there
        put(joiner, notes, "editor", "light")
    admitted(issuer, joiner, Role.WRITER)
    assert held(joiner, joiner.cluster.private) == {"editor": ["light"], "notes/editor": ["dark"]}


def test_a_key_of_the_greatest_length_is_cut_and_nothing_is_lost(issuer: LocalNode, joiner: LocalNode) -> None:
    notes = joiner.create_space("notes")
    keys = ["é" * (KEY_BYTES_MAX // 2 - 1) + end for end in ("xy", "zz")]
    for key in keys:
        put(joiner, joiner.cluster.private, key, "mine")
        put(joiner, notes, key, f"of notes {key[-2:]}")
    admitted(issuer, joiner, Role.WRITER)
    values = [value for (value,) in held(joiner, joiner.cluster.private).values()]
    assert sorted(values) == ["mine", "mine", "of notes xy", "of notes zz"]


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("survives", range(6))
@pytest.mark.parametrize("commit", [False, True], ids=["before the write", "after the write"])
def test_a_move_cut_short_anywhere_goes_on_where_it_was(
    issuer: LocalNode, tmp_path: Path, survives: int, commit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "MEMORIES_AT_ONCE", 2)
    home = Home(tmp_path / "joiner")
    with LocalNode.create(home, "joiner") as joiner:
        notes = joiner.create_space("notes")
        for number in range(4):
            put(joiner, joiner.cluster.private, f"key{number}", f"private {number}")
            put(joiner, notes, f"key{number}", f"notes {number}")
            put(joiner, joiner.cluster.public, f"key{number}", f"public {number}")
        write(joiner, notes, Content("hits", added=3), kind=Kind.COUNT)
        write(joiner, notes, Content("set", b"red"), Content("set", b"blue"), kind=Kind.ADD)
        with monkeypatch.context() as patch:
            crash_at(patch, survives, commit=commit)
            with pytest.raises(Crash):
                admitted(issuer, joiner, Role.READER)
    with LocalNode.open(home) as again:
        private = held(again, again.cluster.private)
        assert private.pop("hits") == ["3"]
        assert private.pop("set") == ["blue", "red"]
        expected = [f"{where} {number}" for where in ("notes", "private", "public") for number in range(4)]
        assert sorted(value for (value,) in private.values()) == expected
        assert all(private[f"key{number}"] == [f"private {number}"] for number in range(4))
        assert all(private[f"notes/key{number}"] == [f"notes {number}"] for number in range(4))
    with LocalNode.open(home) as once_more:
        assert once_more.renamed == ()


def crash_at(patch: pytest.MonkeyPatch, survives: int, *, commit: bool) -> None:
    """End the move at a batch's writes: before they are committed, with the first of them, or with all of them."""
    done = [0]
    honest = Store.write

    def failing(store: Store, writes: list[Write]) -> object:
        done[0] += 1
        if done[0] <= survives // 2:
            return honest(store, writes)
        if commit:
            honest(store, writes if survives % 2 else writes[:1]).result()
        raise Crash

    patch.setattr(Store, "write", failing)
