"""A write replaces what its author saw, and nothing that stood beside it unseen; on every node alike."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from cis.model import Dot, Kind
from cis.store.author import Write
from cis.store.store import Store
from cis.wire.content import Content
from tests.stores import SPACE, Author, live_changes, opened, recall, state_hash, sync, write


def unseen(value: bytes, kind: Kind = Kind.PUT, saw: Iterable[Dot] = ()) -> Write:
    return Write(SPACE, kind, Content("k", value), frozenset(saw))


def values(store: Store) -> list[bytes]:
    recalled = recall(store, "k")
    found = [] if recalled is None else [*recalled.parts, *recalled.siblings]
    return sorted(part.content.value for part in found if part.content is not None)


@pytest.mark.parametrize("replaced", [0, 1, 2])
@pytest.mark.parametrize("kind", [Kind.PUT, Kind.DELETE])
def test_only_what_was_seen_is_replaced_though_all_is_of_one_log(tmp_path: Path, kind: Kind, replaced: int) -> None:
    with opened(tmp_path, Author(1), Author(2)) as (store, other):
        dots = [one.dot for one in write(store, *(unseen(b"%d" % number) for number in range(3)))]
        assert len(live_changes(store)) == 3
        dot = dots[replaced]
        assert dot is not None
        write(store, unseen(b"new", kind, [dot]))
        left = [b"%d" % number for number in range(3) if number != replaced]
        assert values(store) == (left if kind is Kind.DELETE else [*left, b"new"])
        sync(store, other)
        assert values(other) == values(store)
        assert state_hash(other) == state_hash(store)


def test_who_comes_later_and_sees_all_replaces_all(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1), Author(2)) as (store, other):
        write(store, unseen(b"a"), unseen(b"b"), unseen(b"x", Kind.ADD))
        sync(store, other)
        write(other, Write(SPACE, Kind.PUT, Content("k", b"all")))
        sync(other, store)
        assert values(store) == values(other) == [b"all"]


def test_there_is_nothing_to_delete_of_what_is_replaced_already(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1)) as (store,):
        (first,) = write(store, unseen(b"a"))
        assert first.dot is not None
        write(store, Write(SPACE, Kind.PUT, Content("k", b"b")))
        (nothing,) = write(store, unseen(b"", Kind.DELETE, [first.dot]))
        assert nothing.dot is None
        assert values(store) == [b"b"]
