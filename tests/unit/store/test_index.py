"""index.db: found what is there, forgotten what is gone, rebuilt whenever it is not the index of this store."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from cis.errors import StoreError, TimedOut
from cis.model import Kind
from cis.store import index
from cis.store.author import Write
from cis.store.compaction import trim_journal
from cis.store.store import Store
from cis.wire.content import Content
from tests.stores import (
    KEYS,
    SPACE,
    STORE_KEY,
    WAIT_S,
    Author,
    merge,
    open_store,
    put,
    segments,
    settle,
    write,
)


def found(store: Store, words: str) -> list[str]:
    with store.index(WAIT_S) as index:
        query = "SELECT d.key FROM text t JOIN doc d ON d.no = t.rowid WHERE text MATCH ? ORDER BY d.key"
        return [key for (key,) in index.execute(query, (words,)).fetchall()]


def indexed(store: Store) -> list[str]:
    with store.index(WAIT_S) as index:
        return [key for (key,) in index.execute("SELECT key FROM doc ORDER BY key").fetchall()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s", Author(1)) as store:
        yield store


def test_words_of_key_value_and_tags_are_found_without_regard_to_case_and_accents(store: Store) -> None:
    write(store, put("editor/theme", "Café noir", tags=("ide", "Ünïcode")))
    for words in ("theme", "cafe", "noir", "unicode", "ide", "caf*"):
        assert found(store, words) == ["editor/theme"], words


def test_what_was_deleted_or_overwritten_is_not_found(store: Store) -> None:
    write(store, put("a", "apple"), put("b", "banana"))
    assert found(store, "apple") == ["a"]
    write(store, Write(SPACE, Kind.DELETE, Content("a")), put("b", "cherry"))
    assert (found(store, "apple"), found(store, "banana"), found(store, "cherry")) == ([], [], ["b"])
    assert indexed(store) == ["b"]


def test_what_was_merged_from_a_peer_is_found(store: Store, tmp_path: Path) -> None:
    with open_store(tmp_path / "t", Author(2)) as other:
        write(other, put("theirs", "durian"))
        merge(store, *segments(other))
    assert found(store, "durian") == ["theirs"]


@pytest.mark.parametrize("damage", ["gone", "garbage", "foreign", "empty", "truncated"])
def test_an_index_that_cannot_be_used_is_rebuilt(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "s"
    with open_store(folder, Author(1)) as store:
        write(store, *[put(f"k{number}", "apple") for number in range(30)])
        assert len(indexed(store)) == 30
        settle(store)
        store.execute(lambda connection: trim_journal(connection, 1 << 40)).result()
    path = folder / "index.db"
    match damage:
        case "gone":
            path.unlink()
        case "garbage":
            path.write_bytes(b"garbage" * 4096)
        case "foreign":
            with open_store(tmp_path / "other", Author(2)) as other:
                write(other, put("not-ours", "apple"))
                indexed(other)
            shutil.copy(tmp_path / "other" / "index.db", path)
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(path.read_bytes()[:16384])
    with open_store(folder, Author(1)) as store:
        write(store, put("later", "apple"))
        assert len(found(store, "apple")) == 31


def test_an_index_older_than_the_trimmed_journal_is_rebuilt(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with open_store(folder, Author(1)) as store:
        write(store, put("first", "apple"))
        indexed(store)
    shutil.copy(folder / "index.db", tmp_path / "old.db")
    with open_store(folder, Author(1)) as store:
        write(store, put("second", "apple"))
        write(store, Write(SPACE, Kind.DELETE, Content("first")))
        indexed(store)
        store.execute(lambda connection: trim_journal(connection, 1 << 40)).result()
    shutil.copy(tmp_path / "old.db", folder / "index.db")
    with open_store(folder, Author(1)) as store:
        assert found(store, "apple") == ["second"]


def test_memories_wait_for_their_keys_and_are_found_once_those_come(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with open_store(folder, Author(1)) as store:
        write(store, put("k", "apple"))
    (folder / "index.db").unlink()
    with Store(folder, STORE_KEY, Author(1).setting()) as store:
        assert indexed(store) == []
        store.add_space(KEYS, "public", replicated=True)
        assert found(store, "apple") == ["k"]


def test_an_index_that_does_not_catch_up_says_so(store: Store) -> None:
    write(store, put("k", "v"))
    with pytest.raises(TimedOut, match="still catching up"):
        store._indexer.wait_reached(1 << 40, 0.01)


def test_whoever_waits_for_the_index_of_a_store_being_closed_is_told(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", Author(1))
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store._indexer.wait_reached(1 << 40, WAIT_S)


def test_the_journal_does_not_grow_for_ever(store: Store) -> None:
    for number in range(5):
        write(store, put(f"k{number}"))
    indexed(store)
    store.execute(lambda connection: trim_journal(connection, store._indexer.done)).result()
    with store.snapshot() as reader:
        assert reader.connection.execute("SELECT count(*) FROM journal").get == 0
    write(store, put("more", "apple"))
    assert found(store, "apple") == ["more"]


def test_a_value_that_is_no_text_is_not_searched_and_harms_nothing(store: Store) -> None:
    write(store, Write(SPACE, Kind.PUT, Content("raw", b"\xff\xfe apple", form=2)), put("t", "apple"))
    assert found(store, "apple") == ["t"]
    assert indexed(store) == ["raw", "t"]


def test_an_index_that_could_not_be_made_anew_is_made_as_soon_as_it_can_be(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, put("a", "word"))
    assert found(store, "word") == ["a"]

    def full(path: Path, *_: object) -> None:
        path.unlink(missing_ok=True)
        path.touch()
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(index, "make_index", full)
        with pytest.raises(StoreError, match="full"):
            store.reindex()
        with pytest.raises(TimedOut, match="made anew"), store.index(0.1):
            pass
        with pytest.raises(TimedOut, match="made anew"):
            store.vectors("model").models()
    write(store, put("b", "word"))
    assert found(store, "word") == ["a", "b"]


def test_a_change_of_which_a_row_is_lost_stops_the_index_of_no_other(store: Store) -> None:
    def lose(connection: apsw.Connection) -> None:
        connection.execute("DELETE FROM head")

    write(store, put("a", "word"))
    store.execute(lose).result(WAIT_S)
    store.reindex()
    write(store, put("b", "word"))
    assert found(store, "word") == ["b"]


def test_damage_met_in_the_index_is_told_with_what_mends_it(store: Store) -> None:
    write(store, put("a", "word"))
    found(store, "word")
    with pytest.raises(StoreError, match="cis memory reindex"), store.index(WAIT_S):
        raise apsw.CorruptError("database disk image is malformed")
    assert found(store, "word") == ["a"]


def damage_half_of_the_index(folder: Path) -> None:
    """Overwrite the second half of a closed index: what is read when it is opened stands before that."""
    file = folder / "index.db"
    size = file.stat().st_size // 2
    with file.open("r+b") as opened:
        opened.seek(size)
        opened.write(bytes(size))


def test_an_index_found_damaged_at_work_is_made_anew_unasked_and_not_over_and_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path, Author(1)) as store:
        write(store, *(put(f"key/{number}", f"apple pear{number} " * 50) for number in range(400)))
        indexed(store)
    damage_half_of_the_index(tmp_path)
    with open_store(tmp_path, Author(1)) as store:
        assert store._indexer.remade == 0, "it opens"
        write(store, put("more", "apple"))
        assert len(indexed(store)) == 401
        assert "more" in found(store, "apple")
        assert store._indexer.remade == 1

        def damaged(*_: object) -> None:
            raise apsw.CorruptError("again")

        monkeypatch.setattr(store._indexer._indexing, "replace", damaged)
        write(store, put("last", "pear"))
        with pytest.raises(TimedOut):
            store._indexer.wait_reached(1 << 40, 0.5)
        assert store._indexer.remade == 1, "so soon after the last time nothing is made anew unasked"
        store.reindex()
        assert len(indexed(store)) == 402


class Interrupted(threading.Event):
    """An event at whose clearing something else happens just before."""

    def __init__(self, before: Callable[[], None]) -> None:
        super().__init__()
        self._before = before

    def clear(self) -> None:
        self._before()
        super().clear()


def test_an_indexer_that_is_closed_as_it_looks_for_work_ends(store: Store) -> None:
    indexer, woken = store._indexer, store._indexer._wake

    def close() -> None:
        indexer._closing = True
        indexer._wake.set()

    indexer._wake = Interrupted(close)
    for event in (woken, indexer._wake):  # whichever it waits for
        event.set()
    indexer._thread.join(WAIT_S)
    assert not indexer._thread.is_alive()
