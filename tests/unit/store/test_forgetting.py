"""What was deleted or overwritten leaves both files: no page of them holds its words any more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cis.model import Kind
from cis.store import index as indexer
from cis.store.author import Write
from cis.store.database import open_reader
from cis.store.store import Store
from cis.wire.content import Content
from tests.stores import SPACE, STORE_KEY, WAIT_S, Author, open_store, put, write

WORDS = (b"zyzzyva", b"quixotry", b"sphinxlike", b"embolden")
"""Of a key, a value, a tag and an older value."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s", Author(1)) as store:
        yield store


def pages(path: Path) -> bytes:
    """The file as it is under its encryption, pages that are free too."""
    connection = open_reader(path, STORE_KEY)
    try:
        return connection.serialize("main")
    finally:
        connection.close()


def left(store: Store) -> list[bytes]:
    """The words found on any page of either file."""
    found = b"".join(pages(path) for path in (store.path, store.path.with_name("index.db"))).lower()
    return [word for word in WORDS if word in found]


def caught_up(store: Store) -> None:
    with store.index(WAIT_S):
        pass


def remember_and_delete(store: Store) -> None:
    others = [put(f"other/{number}", f"some words {number} about nothing", tags=("tag",)) for number in range(300)]
    write(store, *others)
    write(store, put("zyzzyva/key", "embolden the plan"))
    caught_up(store)
    write(store, put("zyzzyva/key", "quixotry of the plan", tags=("sphinxlike",)))
    caught_up(store)
    assert left(store)
    write(store, Write(SPACE, Kind.DELETE, Content("zyzzyva/key")))
    caught_up(store)


def test_after_a_compaction_no_page_holds_a_word_of_what_was_deleted(store: Store) -> None:
    remember_and_delete(store)
    store.compact()
    assert left(store) == []


def still_to_forget(store: Store) -> int:
    """How many deletions the index has yet to take the words of; counted down after those are gone."""
    with store.index(WAIT_S) as index:
        count: int = index.execute("SELECT forgotten FROM progress").get
        return count


def test_words_of_what_was_deleted_go_by_themselves_when_nothing_else_is_to_be_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "FORGET_AFTER_S", 0.05)
    remember_and_delete(store)
    deadline = time.monotonic() + WAIT_S
    while (left(store) or still_to_forget(store)) and time.monotonic() < deadline:
        caught_up(store)
    assert left(store) == []
    assert not still_to_forget(store)
    with store.index(WAIT_S) as index:
        assert len(index.execute("SELECT rowid FROM text WHERE text MATCH 'words'").fetchall()) == 300


def test_what_is_to_be_forgotten_is_remembered_over_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path / "s", Author(1)) as store:
        remember_and_delete(store)
        assert left(store)
    monkeypatch.setattr(indexer, "FORGET_AFTER_S", 0.0)
    with open_store(tmp_path / "s", Author(1)) as store:
        deadline = time.monotonic() + WAIT_S
        while left(store) and time.monotonic() < deadline:
            caught_up(store)
        assert left(store) == []
