from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import apsw
import pytest

from cis.errors import Fault, PeerFault
from cis.model import Dot, Kind, NodeId, ReplicaId, VersionVector
from cis.store.audit import supply
from cis.store.author import Write
from cis.store.collection import START, Ended, adopt, collect, raise_floor, truncate
from cis.store.database import open_database
from cis.store.log import LogReader
from cis.store.replicas import INCARNATIONS_MAX
from cis.store.stability import RETIRED_MS, ROUND_MS_MAX, count_silence, reportable, save_report, stable_floor
from cis.store.store import MEMORY_LAYOUT, Store
from cis.wire.content import Content
from cis.wire.membership import Cut
from cis.wire.segment import Segment
from tests.stores import (
    SPACE,
    STORE_KEY,
    WAIT_S,
    Author,
    held_changes,
    merge,
    open_store,
    order_of,
    put,
    segments,
    settle,
    state_hash,
    sync,
    text,
    write,
)

OTHER = NodeId(b"o" * 32)


def delete(key: str) -> Write:
    return Write(SPACE, Kind.DELETE, Content(key))


def vector(store: Store) -> VersionVector:
    with store.snapshot() as reader:
        return reader.vector(SPACE)


def floor(store: Store) -> VersionVector:
    with store.snapshot() as reader:
        return reader.floor(SPACE)


def collect_below(store: Store, floor: VersionVector) -> None:
    settle(store)
    store.execute(lambda connection: raise_floor(connection, SPACE, floor)).result(WAIT_S)
    after: bytes | None = START
    while after is not None:
        after = store.execute(partial(collect, after=after)).result(WAIT_S)
    store.execute(truncate).result(WAIT_S)


def base(store: Store) -> int:
    with store.snapshot() as reader:
        return int(reader.connection.execute("SELECT max(base) FROM replica").get)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with open_store(tmp_path / "one", Author(1)) as opened:
        yield opened


@pytest.fixture
def other(tmp_path: Path) -> Store:
    with open_store(tmp_path / "two", Author(2)) as opened:
        yield opened


def test_what_was_replaced_and_tombstones_go_once_everything_lies_below_the_floor(store: Store) -> None:
    for value in "abc":
        write(store, put("kept", value))
    write(store, put("gone", "x"))
    write(store, delete("gone"))
    before = state_hash(store)
    collect_below(store, vector(store))
    assert [change.dot.seq for change in held_changes(store)] == [3]
    assert text(store, "kept") == "c"
    assert state_hash(store) == before


def test_nothing_above_the_floor_goes(store: Store) -> None:
    write(store, put("k", "a"))
    write(store, put("k", "b"))
    write(store, delete("k"))
    collect_below(store, VersionVector({store.replica: 2}))
    assert [change.dot.seq for change in held_changes(store)] == [2, 3], "what replaces 2 is not stable"


def test_a_tombstone_goes_with_what_it_replaced_though_that_is_not_buried_yet(store: Store) -> None:
    write(store, put("gone", "x"))
    write(store, delete("gone"))

    def task(connection: apsw.Connection) -> None:
        connection.execute("INSERT OR IGNORE INTO live0 SELECT substr(record, 9, 16), rid FROM head")
        connection.execute("DELETE FROM collectable WHERE rid = (SELECT min(rid) FROM head)")
        connection.execute("INSERT INTO dead(rid) SELECT min(rid) FROM head")
        raise_floor(connection, SPACE, vector(store))
        collect(connection)

    settle(store)
    store.execute(task).result(WAIT_S)
    assert not held_changes(store)
    assert text(store, "gone") is None


def test_a_set_whose_one_element_comes_and_goes_names_no_more_than_what_is_kept(store: Store) -> None:
    def touch(kind: Kind) -> int:
        write(store, Write(SPACE, kind, Content("tools", b"git")))
        return len(held_changes(store)[-1].replaces)

    for _ in range(5):
        touch(Kind.ADD)
    assert touch(Kind.ADD) == 5
    collect_below(store, vector(store))
    assert touch(Kind.ADD) == 1
    assert len(held_changes(store)) == 2


def test_a_tombstone_stays_while_what_it_names_is_not_stable(store: Store, other: Store) -> None:
    write(store, put("k", "a"))
    sync(store, other)
    write(other, delete("k"))
    sync(other, store)
    collect_below(store, VersionVector({other.replica: 1}))
    assert len(held_changes(store)) == 2


def test_a_log_goes_from_its_beginning_but_for_its_last_signed_run(store: Store) -> None:
    for value in "abcde":
        write(store, put("k", value))
    collect_below(store, vector(store))
    assert base(store) == 4
    write(store, delete("k"))
    collect_below(store, vector(store))
    assert base(store) == 5
    write(store, put("k", "f"))
    assert text(store, "k") == "f"


def test_what_was_dropped_whole_since_it_was_asked_for_is_said_not_to_be_here(store: Store) -> None:
    for number in range(5):
        write(store, put("key", str(number)))
    collect_below(store, vector(store))
    assert base(store) >= 2
    with store.snapshot() as reader:
        frame, until = supply(reader, SPACE, store.replica, 2, 2)
        kept, _ = supply(reader, SPACE, store.replica, base(store) + 1, 5)
    assert (frame, until) == (None, 2)
    assert kept is not None


def test_what_is_left_of_a_log_verifies_and_serves_a_newcomer(store: Store, other: Store) -> None:
    write(store, put("old", "1"), put("kept", "2"))
    write(store, delete("old"))
    write(store, put("new", "3"))
    collect_below(store, vector(store))
    taken = Ended([], floor(store), vector(other), settled=True)
    other.execute(lambda connection: adopt(connection, SPACE, taken)).result(WAIT_S)
    merge(other, *segments(store), in_order=True)
    assert vector(other) == vector(store)
    assert state_hash(other) == state_hash(store)
    assert [text(other, key) for key in ("old", "kept", "new")] == [None, "2", "3"]
    write(store, put("later", "4"))
    sync(store, other)
    assert text(other, "later") == "4"


def test_leaves_without_their_changes_are_not_taken_before_whole_states_are_compared(
    store: Store, other: Store
) -> None:
    write(store, put("old", "1"), put("kept", "2"))
    write(store, put("old", "3"))
    collect_below(store, vector(store))
    (segment,) = segments(store)
    with pytest.raises(PeerFault) as caught:
        merge(other, segment)
    assert caught.value.fault is Fault.BUSY
    assert not held_changes(other)


def test_a_beginning_left_out_counts_as_collected_only_from_a_peer_that_sends_in_order(
    store: Store, other: Store
) -> None:
    for value in "abc":
        write(store, put("k", value))
    collect_below(store, vector(store))
    (segment,) = segments(store)
    assert segment.first == 3
    taken = Ended([], floor(store), vector(other), settled=True)
    other.execute(lambda connection: adopt(connection, SPACE, taken)).result(WAIT_S)
    with pytest.raises(PeerFault) as caught:
        merge(other, segment)
    assert caught.value.fault is Fault.BUSY
    merge(other, segment, in_order=True)
    assert vector(other).contiguous(store.replica) == 3


def runs_of(store: Store, *spans: tuple[int, int]) -> list[Segment]:
    """Segments of a store's own log that hold just these numbers."""
    with store.snapshot() as reader:
        log = LogReader(reader.connection, SPACE)
        found = [log.segment(store.replica, *span) for span in spans]
    return [one for one in found if one is not None]


def take_over(store: Store, floor: VersionVector) -> None:
    """Take over a floor that a peer told."""
    taken = Ended([], floor, vector(store), settled=True)
    store.execute(lambda connection: adopt(connection, SPACE, taken)).result(WAIT_S)


def write_seven(store: Store) -> None:
    """Seven changes nothing replaces, in three signed runs that end with 3, 5 and 7."""
    for keys in ("abc", "de", "fg"):
        write(store, *(put(key, key) for key in keys))


def test_what_a_peer_lacks_itself_is_not_taken_for_collected(store: Store, other: Store, tmp_path: Path) -> None:
    """Two that catch up with the same floor have the same gap below it, and one of them what gossip brought beyond."""
    write_seven(store)
    first, beyond = runs_of(store, (1, 3), (6, 7))
    with open_store(tmp_path / "three", Author(3)) as third:
        for one in (other, third):
            merge(one, first)
            take_over(one, VersionVector({store.replica: 5}))
        merge(third, beyond)
        sync(third, other)
    assert vector(other).contiguous(store.replica) == 3
    sync(store, other)
    assert state_hash(other) == state_hash(store)


@pytest.mark.parametrize("floor", [5, 7])
def test_what_was_refused_in_a_session_is_not_taken_for_collected_when_more_of_that_log_comes(
    store: Store, tmp_path: Path, floor: int
) -> None:
    """A removal is heard of that voids part of a log, and while the session goes on another that voids the removal."""
    write_seven(store)
    first, refused, rest = runs_of(store, (1, 3), (4, 5), (6, 7))
    cuts = [Cut(SPACE, store.replica, 3)]
    with open_store(tmp_path / "two", Author(2), limit=lambda *_: cuts[0] if cuts else None) as other:
        merge(other, first)
        take_over(other, VersionVector({store.replica: floor}))
        order = order_of(other, refused, rest)
        with pytest.raises(PeerFault) as caught:
            merge(other, refused, order=order)
        assert caught.value.fault is Fault.CUT
        cuts.clear()
        merge(other, rest, order=order)
        assert vector(other).contiguous(store.replica) == 3
        sync(store, other)
        assert state_hash(other) == state_hash(store)


@pytest.mark.parametrize("taken", [True, False], ids=["having been taken in it", "having been held before"])
def test_what_was_withdrawn_in_a_session_is_not_taken_for_collected_when_more_of_that_log_comes(
    store: Store, tmp_path: Path, *, taken: bool
) -> None:
    write_seven(store)
    first, second, rest = runs_of(store, (1, 3), (4, 5), (6, 7))
    cuts: list[Cut] = []
    with open_store(tmp_path / "two", Author(2), limit=lambda *_: cuts[0] if cuts else None) as other:
        merge(other, first)
        take_over(other, VersionVector({store.replica: 7}))
        order = order_of(other, second, rest)
        merge(other, *[second] * taken, order=order)
        cuts.append(Cut(SPACE, store.replica, 3 * taken))
        other.withdraw()
        cuts.clear()
        merge(other, rest, order=order)
        assert vector(other).contiguous(store.replica) == 3 * taken
        sync(store, other)
        assert state_hash(other) == state_hash(store)


def test_a_beginning_left_out_leaves_what_was_held_beyond_it_to_be_served_on(store: Store, other: Store) -> None:
    for value in "abcdef":
        write(store, put("k", value))
    with store.snapshot() as reader:
        log = LogReader(reader.connection, SPACE)
        early, middle, late = (log.segment(store.replica, *run) for run in ((1, 1), (3, 6), (4, 6)))
    assert early is not None
    assert middle is not None
    assert late is not None
    for segment in (early, middle):
        merge(other, segment)
    other.execute(lambda connection: raise_floor(connection, SPACE, VersionVector({store.replica: 5}))).result(WAIT_S)
    merge(other, late, in_order=True)
    assert [(one.first, one.previous) for one in segments(other)] == [(4, late.previous)]


def test_what_a_member_collected_ends_here_with_all_it_names(store: Store, other: Store) -> None:
    write(store, put("k", "a"))
    write(store, put("k", "b"))
    sync(store, other)
    settle(other)
    told = Ended([Dot(store.replica, 2)], vector(store), vector(other), settled=True)
    ended = other.execute(lambda connection: adopt(connection, SPACE, told))
    assert ended.result(WAIT_S) == 2
    assert not held_changes(other)
    assert text(other, "k") is None


def test_nothing_is_taken_over_where_more_came_since_it_was_compared(store: Store, other: Store) -> None:
    write(store, put("k", "a"))
    write(store, put("k", "b"))
    told = Ended([], vector(store), vector(other), settled=True)
    sync(store, other)
    other.execute(lambda connection: adopt(connection, SPACE, told)).result(WAIT_S)
    assert not floor(other).seqs
    assert text(other, "k") == "b"


def test_a_floor_of_too_many_incarnations_is_refused_before_anything_is_dropped(store: Store, other: Store) -> None:
    write(store, put("k", "a"))
    sync(store, other)
    floor = VersionVector({ReplicaId(OTHER + at.to_bytes(8, "big")): 1 for at in range(INCARNATIONS_MAX + 1)})
    told = Ended([Dot(store.replica, 1)], floor, vector(other), settled=True)
    with pytest.raises(PeerFault) as caught:
        other.execute(lambda connection: adopt(connection, SPACE, told)).result(WAIT_S)
    assert caught.value.fault is Fault.EXCESSIVE
    assert text(other, "k") == "a"


def test_a_change_that_is_held_back_here_is_not_reported_as_had(store: Store, other: Store) -> None:
    write(store, put("k", "a"))
    store._setting.clock_ms.ms += 3_600_000
    write(store, put("k", "b"))
    sync(store, other)
    with other.snapshot() as reader:
        assert vector(other).contiguous(store.replica) == 2
        assert reportable(reader, SPACE).contiguous(store.replica) == 1


def test_who_took_over_a_floor_compares_once_more_when_all_below_it_came(store: Store, other: Store) -> None:
    def told() -> Ended:
        return Ended([], floor(store), vector(other), settled=True)

    def owes() -> bool:
        with other.snapshot() as reader:
            return reader.owes(SPACE)

    write(store, put("k", "a"))
    write(store, put("k", "b"))
    collect_below(store, vector(store))
    first = told()
    other.execute(lambda connection: adopt(connection, SPACE, first)).result(WAIT_S)
    assert owes()
    sync(store, other)
    assert owes()
    unsettled = replace(told(), settled=False)
    other.execute(lambda connection: adopt(connection, SPACE, unsettled)).result(WAIT_S)
    assert owes(), "that peer has yet to compare itself"
    last = told()
    other.execute(lambda connection: adopt(connection, SPACE, last)).result(WAIT_S)
    assert not owes()


@pytest.mark.parametrize("early", [False, True], ids=["took it over first", "took it over then"])
def test_below_the_floor_a_change_counts_however_far_ahead_it_is_dated(store: Store, other: Store, early: bool) -> None:
    store._setting.clock_ms.ms += 3_600_000
    write(store, put("k", "a"))
    taken = Ended([], vector(store), vector(other), settled=True)
    if early:
        other.execute(lambda connection: adopt(connection, SPACE, taken)).result(WAIT_S)
    sync(store, other)
    assert (text(other, "k") == "a") is early
    now = Ended([], vector(store), vector(other), settled=True)
    other.execute(lambda connection: adopt(connection, SPACE, now)).result(WAIT_S)
    write(other, put("another", "b"))
    assert text(other, "k") == "a"


def test_a_segment_of_what_was_dropped_whole_is_no_fork(store: Store, other: Store) -> None:
    write(store, put("k", "a"))
    (old,) = segments(store)
    for value in "bcd":
        write(store, put("k", value))
    collect_below(store, vector(store))
    assert base(store) == 3
    assert merge(store, old)[0].changes == 0


def test_the_floor_is_what_all_members_reported_that_are_not_silent_for_ninety_days(store: Store) -> None:
    for value in "abc":
        write(store, put("k", value))
    own = store.replica

    def stable(now_ms: int) -> int:
        def task(connection: object) -> int:
            count_silence(connection, SPACE, [OTHER], now_ms)
            return stable_floor(connection, SPACE).contiguous(own)

        reached: int = store.execute(task).result(WAIT_S)
        return reached

    assert stable(0) == 0, "a member that never reported holds nothing"
    store.execute(lambda connection: save_report(connection, SPACE, OTHER, VersionVector({own: 2}))).result(WAIT_S)
    assert stable(1000) == 2
    assert stable(2 * RETIRED_MS) == 2, "one long sleep of ours is no silence of theirs"
    moment = 2 * RETIRED_MS
    for _ in range(RETIRED_MS // ROUND_MS_MAX):
        moment += ROUND_MS_MAX
        last = stable(moment)
    assert last == 3, "retired"
    store.execute(lambda connection: save_report(connection, SPACE, OTHER, VersionVector({own: 1}))).result(WAIT_S)
    assert stable(moment) == 1, "returned"


def test_a_store_of_the_first_format_collects_what_was_replaced_before(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    with open_store(folder, Author(1)) as store:
        for value in "ab":
            write(store, put("k", value))
        write(store, delete("k"))
        settle(store)
    connection = open_database(folder / "memory.db", STORE_KEY, MEMORY_LAYOUT)
    for table in ("collectable", "report", "decision", "hidden", "tail", "severed", "absent", "name"):
        connection.execute(f"DROP TABLE {table}")
    for table, column in (("replica", "base"), ("replica", "stable"), ("dead", "until"), ("pending", "until")):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with open_store(folder, Author(1)) as store:
        collect_below(store, vector(store))
        assert not held_changes(store)
