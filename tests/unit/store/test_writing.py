"""Writing: what each kind does, what is refused, and that the one thread answers everybody."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import apsw
import pytest

from cis.crdt import Policy, Shape
from cis.errors import StoreError, UsageError
from cis.model import Kind, SpaceId
from cis.store import engine, rows
from cis.store.author import Write
from cis.store.compaction import SLICE
from cis.store.engine import Commit
from cis.store.read import Reader
from cis.store.rows import Stored
from cis.store.store import Store
from cis.wire.content import Content
from tests.stores import (
    PRIVATE_KEYS,
    SPACE,
    WAIT_S,
    Author,
    merge,
    open_store,
    put,
    recall,
    segments,
    settle,
    state_hash,
    sync,
    text,
    write,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s", Author(1)) as store:
        yield store


def wish(kind: Kind, key: str, value: bytes = b"", **more: int) -> Write:
    return Write(SPACE, kind, Content(key, value, **more))


def outcome(store: Store, one: Write) -> object:
    return store.write([one]).result(WAIT_S)[0]


def elements(store: Store, key: str) -> set[bytes]:
    recalled = recall(store, key)
    return {part.content.value for part in recalled.parts if part.content} if recalled else set()


def test_a_put_replaces_and_a_delete_removes(store: Store) -> None:
    write(store, put("k", "1"), put("k", "2"))
    assert text(store, "k") == "2"
    write(store, wish(Kind.DELETE, "k"))
    assert recall(store, "k") is None


def test_deleting_or_removing_what_is_not_there_writes_nothing(store: Store) -> None:
    write(store, put("k", "1"), wish(Kind.DELETE, "k"), wish(Kind.ADD, "s", b"x"), wish(Kind.REMOVE, "s", b"x"))
    written = write(store, wish(Kind.DELETE, "k"), wish(Kind.DELETE, "never"), wish(Kind.REMOVE, "s", b"x"))
    assert [one.dot for one in written] == [None, None, None]


def test_a_counter_adds_and_subtracts_and_begins_anew_after_a_delete(store: Store) -> None:
    write(store, wish(Kind.COUNT, "c", added=5), wish(Kind.COUNT, "c", subtracted=2))
    recalled = recall(store, "c")
    assert recalled is not None
    assert recalled.shape is Shape.COUNTER
    (part,) = recalled.parts
    assert part.content is not None
    assert (part.content.added, part.content.subtracted) == (5, 2)
    write(store, wish(Kind.DELETE, "c"), wish(Kind.COUNT, "c", added=1))
    recalled = recall(store, "c")
    assert recalled is not None
    assert [part.content.added for part in recalled.parts if part.content] == [1]


def test_a_counter_does_not_leave_its_range(store: Store) -> None:
    write(store, wish(Kind.COUNT, "c", added=(1 << 62) - 1))
    assert "range" in str(outcome(store, wish(Kind.COUNT, "c", added=1)))
    assert isinstance(outcome(store, wish(Kind.COUNT, "c", added=-1)), UsageError)


def test_a_set_adds_and_removes_elements(store: Store) -> None:
    write(store, *[wish(Kind.ADD, "s", b"%d" % number) for number in range(4)], wish(Kind.REMOVE, "s", b"2"))
    assert elements(store, "s") == {b"0", b"1", b"3"}
    write(store, wish(Kind.DELETE, "s"), wish(Kind.ADD, "s", b"9"))
    assert elements(store, "s") == {b"9"}


def test_elements_written_together_share_a_changeset_and_the_set_is_opened_once_for_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some, opened, opening = [b"%d" % number for number in range(50)], Counter[str](), Reader.open

    def counted(self: Reader, stored: Stored) -> Content:
        opened[threading.current_thread().name] += 1
        return opening(self, stored)

    monkeypatch.setattr(Reader, "open", counted)
    write(store, *(wish(Kind.ADD, "s", value) for value in some))
    write(store, wish(Kind.ADD, "s", b"more"), *(wish(Kind.REMOVE, "s", value) for value in some[:20]))
    assert opened.total() - opened["cis-index"] == len(some)
    with store.snapshot() as reader:
        assert reader.connection.execute("SELECT count(*) FROM changeset").get == 2
    assert elements(store, "s") == {b"more", *some[20:]}
    with open_store(tmp_path / "other", Author(2)) as other:
        sync(store, other)
        assert state_hash(other) == state_hash(store)


def test_what_is_written_to_one_element_twice_at_once_is_written_in_order(store: Store) -> None:
    added, removed, again = (wish(kind, "s", b"x") for kind in (Kind.ADD, Kind.REMOVE, Kind.ADD))
    write(store, wish(Kind.ADD, "s", b"y"), added, removed, again, removed)
    assert elements(store, "s") == {b"y"}
    write(store, wish(Kind.DELETE, "s"), added, wish(Kind.ADD, "s", b"z"))
    assert elements(store, "s") == {b"x", b"z"}


def test_an_addition_concurrent_with_a_removal_wins(store: Store, tmp_path: Path) -> None:
    with open_store(tmp_path / "t", Author(2)) as other:
        write(store, wish(Kind.ADD, "s", b"x"))
        sync(store, other)
        write(store, wish(Kind.REMOVE, "s", b"x"))
        write(other, wish(Kind.ADD, "s", b"x"))
        sync(store, other)
        sync(other, store)
        assert elements(store, "s") == elements(other, "s") == {b"x"}


def test_concurrent_puts_show_one_winner_and_keep_the_loser(store: Store, tmp_path: Path) -> None:
    with open_store(tmp_path / "t", Author(2)) as other:
        write(store, put("k", "one"))
        write(other, put("k", "two"))
        sync(store, other)
        sync(other, store)
        assert text(store, "k") == text(other, "k")
        for each in (store, other):
            recalled = recall(each, "k")
            assert recalled is not None
            assert len(recalled.siblings) == 1
            shown = recall(each, "k", Policy.LWW)
            assert shown is not None
            assert shown.siblings == ()
        write(store, put("k", "settled"))
        sync(store, other)
        recalled = recall(other, "k")
        assert recalled is not None
        assert (text(other, "k"), recalled.siblings) == ("settled", ())


@pytest.mark.parametrize("kind", [Kind.COUNT, Kind.ADD, Kind.REMOVE])
def test_a_write_of_another_type_is_refused_and_says_what_to_do(store: Store, kind: Kind) -> None:
    write(store, put("k", "1"))
    assert "delete it first, or choose another key" in str(outcome(store, wish(kind, "k", b"x", added=1)))
    assert text(store, "k") == "1"


def test_types_written_concurrently_are_a_conflict_that_is_kept(store: Store, tmp_path: Path) -> None:
    with open_store(tmp_path / "t", Author(2)) as other:
        write(store, put("k", "1"))
        write(other, wish(Kind.ADD, "k", b"x"))
        sync(store, other)
        sync(other, store)
        assert state_hash(store) == state_hash(other)
        recalled = recall(store, "k")
        assert recalled is not None
        assert len(recalled.parts) == len(recalled.siblings) == 1


@pytest.mark.parametrize(
    "content",
    [
        Content(""),
        Content("k" * 513),
        Content("k\n"),
        Content("\ud800"),
        Content("k", b"x" * (256 * 1024 + 1)),
        Content("k", category="c" * 65),
        Content("k", category="\ud800"),
        Content("k", tags=("t",) * 33),
        Content("k", vector=b"123"),
        Content("k", vector=b"1234" * 4097),
        Content("k", ttl_ms=-1),
        Content("k", form=3),
    ],
    ids=str,
)
def test_a_content_beyond_a_limit_is_refused_and_the_rest_is_written(store: Store, content: Content) -> None:
    first, second = store.write([Write(SPACE, Kind.PUT, content), put("good", "1")]).result(WAIT_S)
    assert isinstance(first, UsageError)
    assert not isinstance(second, UsageError)
    assert text(store, "good") == "1"


def test_the_largest_content_is_written_and_travels(store: Store, tmp_path: Path) -> None:
    largest = Content("k" * 512, b"v" * 256 * 1024, category="c" * 64, tags=("t" * 64,) * 32, vector=b"1234" * 4096)
    write(store, *[Write(SPACE, Kind.PUT, largest), *[put(f"k{number}", "x" * 60_000) for number in range(20)]])
    with open_store(tmp_path / "t", Author(2)) as other:
        assert sync(store, other) == 21
        assert state_hash(other) == state_hash(store)


def test_an_unknown_space_is_refused(store: Store) -> None:
    assert "no such space" in str(outcome(store, put("k", "v", SpaceId(b"?" * 16))))


def test_writes_to_several_spaces_keep_their_order_and_stay_apart(store: Store) -> None:
    private = PRIVATE_KEYS.space
    written = write(store, put("k", "public"), put("k", "private", private), put("k", "public again"))
    assert [one.dot is not None and one.dot.seq for one in written] == [1, 1, 2]
    assert text(store, "k") == "public again"
    assert store.reader.recall(private, "k") is not None
    assert all(segment.space == SPACE for segment in segments(store))


def test_one_memory_written_again_and_again_costs_as_little_each_time(store: Store) -> None:
    written = write(store, *[wish(Kind.COUNT, "c", added=1) for _ in range(2000)])
    assert len(written) == 2000
    settle(store)
    with store.snapshot() as reader:
        assert max(len(record) for (record,) in reader.connection.execute("SELECT record FROM head")) == 40
        assert reader.connection.execute("SELECT count(*) FROM body").get == 1


# --- the thread --------------------------------------------------------------------------------------------


def test_every_job_is_answered_when_the_store_closes_under_many_writers(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", Author(1))
    futures = []
    begun = threading.Barrier(5)

    def submit(name: int) -> None:
        begun.wait()
        futures.extend(store.write([put(f"{name}/{number}")]) for number in range(200))

    threads = [threading.Thread(target=submit, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    store.close()
    for thread in threads:
        thread.join()
    assert not wait(futures, WAIT_S).not_done
    acknowledged = sum(future.exception() is None for future in futures)
    with open_store(tmp_path / "s", Author(1)) as again:
        assert len(again.reader.memories(SPACE)) == acknowledged


def test_a_closed_store_refuses_at_once(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", Author(1))
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.write([put("k")]).result(WAIT_S)


def test_a_cancelled_job_is_not_carried_out_and_harms_no_other(store: Store) -> None:
    hold = threading.Event()
    blocking = store.execute(lambda _: hold.wait(WAIT_S))
    while not blocking.running():
        pass
    cancelled, kept = store.write([put("cancelled")]), store.write([put("kept")])
    assert cancelled.cancel()
    hold.set()
    kept.result(WAIT_S)
    assert recall(store, "cancelled") is None


def test_a_task_that_fails_on_a_defect_costs_no_other_job_its_answer(store: Store) -> None:
    hold = threading.Event()
    blocking = store.execute(lambda _: hold.wait(WAIT_S))
    while not blocking.running():
        pass

    def broken(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO meta VALUES('half', x'00')")
        connection.execute("SELECT nonsense")

    futures = [store.write([put("before", "1")]), store.execute(broken), store.write([put("after", "2")])]
    hold.set()
    wait(futures, WAIT_S)
    with pytest.raises(StoreError, match="internal error"):
        futures[1].result()
    assert (text(store, "before"), text(store, "after")) == ("1", "2")
    assert store.reader.connection.execute("SELECT count(*) FROM meta WHERE name='half'").get == 0


def test_a_task_that_the_disk_fails_leaves_nothing_half_done(store: Store) -> None:
    def failing(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO meta VALUES('half', x'00')")
        raise StoreError("the disk failed")

    hold = threading.Event()
    store.execute(lambda _: hold.wait(WAIT_S))
    futures = [store.execute(failing), store.write([put("beside", "1")])]
    hold.set()
    with pytest.raises(StoreError, match="the disk failed"):
        futures[0].result(WAIT_S)
    futures[1].result(WAIT_S)
    assert text(store, "beside") == "1"
    assert store.reader.connection.execute("SELECT count(*) FROM meta WHERE name='half'").get == 0


def test_a_task_may_refuse_in_our_words(store: Store) -> None:
    def refuse(_: apsw.Connection) -> None:
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        store.execute(refuse).result(WAIT_S)


def test_a_full_disk_refuses_what_it_cannot_hold_and_goes_on_once_there_is_room(store: Store) -> None:
    write(store, put("before", "1"))
    pages = store.execute(lambda connection: connection.pragma("page_count")).result(WAIT_S)
    store.execute(lambda connection: connection.pragma("max_page_count", pages)).result(WAIT_S)
    with pytest.raises(StoreError, match="is full: free some space"):
        store.write([put(f"big/{number}", "x" * 50_000) for number in range(9)]).result(WAIT_S)
    store.execute(lambda connection: connection.pragma("max_page_count", 1 << 30)).result(WAIT_S)
    (written,) = write(store, put("after", "2"))
    assert written.dot is not None
    assert written.dot.seq == 2
    assert (text(store, "before"), text(store, "after")) == ("1", "2")
    assert store.check() == []


def test_a_listener_that_fails_stops_nothing(store: Store) -> None:
    heard: list[Commit] = []

    def broken(_: Commit) -> None:
        raise RuntimeError("defect")

    store.on_commit(broken)
    store.on_commit(heard.append)
    write(store, put("k", "1"))
    write(store, put("k", "2"))
    assert [len(commit.written) for commit in heard] == [1, 1]


def test_listeners_hear_of_merges_and_not_of_what_was_held_already(store: Store, tmp_path: Path) -> None:
    heard: list[Commit] = []
    with open_store(tmp_path / "t", Author(2)) as other:
        write(other, put("k", "1"))
        found = segments(other)
    store.on_commit(heard.append)
    merge(store, *found)
    merge(store, *found)
    assert [[applied.changes for applied in commit.merged] for commit in heard] == [[1]]


def test_folding_ends_even_where_one_memory_fills_more_than_a_slice(store: Store) -> None:
    write(store, *[wish(Kind.ADD, "s", b"%d" % number) for number in range(30)])
    rows = [(b"M" * 16, (9 << 40) + number) for number in range(SLICE * 2 + 10)]
    store.execute(lambda connection: connection.executemany("INSERT INTO live0 VALUES(?,?)", rows)).result(WAIT_S)
    settle(store)
    with store.snapshot() as reader:
        assert reader.connection.execute("SELECT count(*) FROM live0").get == 0
        assert reader.connection.execute("SELECT count(*) FROM live").get == len(rows) + 30


def test_what_goes_while_it_is_read_is_read_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, put("k", "v"))
    fetch = rows.fetch

    def remove(connection: apsw.Connection) -> None:
        connection.execute("DELETE FROM changeset")

    def removing(connection: apsw.Connection, statement: str, *rest: Any) -> Any:
        if statement == rows._CHANGESETS:
            store.execute(remove).result(WAIT_S)
        return fetch(connection, statement, *rest)

    monkeypatch.setattr(rows, "fetch", removing)
    recalled = store.reader.recall(SPACE, "k")
    assert recalled is not None
    assert recalled.latest.content == Content("k", b"v")


def test_a_writer_that_never_rests_folds_between_two_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "FOLD_AT_ROWS", 0)
    monkeypatch.setattr(engine.Engine, "rest", lambda *_: None)
    with open_store(tmp_path / "s", Author(1)) as store:
        write(store, put("a", "1"))
        write(store, put("b", "2"))
        unfolded = store.execute(lambda connection: connection.execute("SELECT count(*) FROM live0").get)
        assert unfolded.result(WAIT_S) == 0
