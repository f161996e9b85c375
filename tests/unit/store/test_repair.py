"""Damage done to the rows of a store is found, and mended from a healthy member, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import msgspec
import pytest

from cis.errors import Fault, PeerFault
from cis.model import Dot, Kind, ReplicaId
from cis.store.audit import unheld_bodies
from cis.store.author import Write
from cis.store.repair import mend, repair
from cis.store.store import Store
from cis.trust.signing import part, verify
from cis.wire.content import Content
from cis.wire.segment import Segment
from tests.audits import audit, self_check
from tests.stores import KEYS as SPACE_KEYS
from tests.stores import (
    SPACE,
    START_MS,
    WAIT_S,
    Author,
    live_changes,
    merge,
    open_store,
    opened,
    put,
    recall,
    segments,
    settle,
    state_hash,
    sync,
    text,
    write,
)

KEYS = 40


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two stores with the same history of puts, replacements, deletes, sets and siblings, folded."""
    with open_store(tmp_path / "a", Author(1)) as one, open_store(tmp_path / "b", Author(2)) as two:
        for number in range(KEYS):
            write(one, put(f"k{number}", f"first {number}"))
        sync(one, two)
        write(two, *[put(f"k{number}", f"second {number}") for number in range(0, KEYS, 2)])
        write(one, put("k1", "sibling"), Write(SPACE, Kind.ADD, Content("set", b"a")))
        write(two, put("k1", "of two"), Write(SPACE, Kind.DELETE, Content("k3")))
        sync(one, two)
        sync(two, one)
        for store in (one, two):
            settle(store)
        assert state_hash(one) == state_hash(two)
        yield one, two


def sql(store: Store, statement: str, *bindings: object) -> None:
    def task(connection: apsw.Connection) -> None:
        connection.execute(statement, bindings)
        assert connection.changes(), "the damage met nothing"

    store.execute(task).result(WAIT_S)


def rid_alive(store: Store, key: str) -> int:
    memory = store.keys[SPACE].memory_id(key)
    with store.snapshot() as reader:
        return reader.rows.live(memory)[0].rid


def lose_a_living_row(store: Store) -> None:
    sql(store, "DELETE FROM live WHERE rid = ?", rid_alive(store, "k5"))


def lose_all_living_rows(store: Store) -> None:
    sql(store, "DELETE FROM live")


def lose_a_header(store: Store) -> None:
    sql(store, "DELETE FROM head WHERE rid = ?", rid_alive(store, "k5"))


def lose_the_header_of_what_replaced(store: Store) -> None:
    sql(store, "DELETE FROM head WHERE rid = ?", rid_alive(store, "k4"))


def lose_a_body(store: Store) -> None:
    sql(store, "DELETE FROM body WHERE rid = ?", rid_alive(store, "k5"))


def flip_a_byte_of_a_body(store: Store) -> None:
    flip = "UPDATE body SET sealed = CAST(substr(sealed, 1, 9) || x'ff00' || substr(sealed, 12) AS BLOB) WHERE rid = ?"
    sql(store, flip, rid_alive(store, "k5"))


def flip_a_byte_of_a_header(store: Store) -> None:
    flip = "UPDATE head SET record = CAST(x'00ff' || substr(record, 3) AS BLOB) WHERE rid = ?"
    sql(store, flip, rid_alive(store, "k5"))


def flip_the_memory_of_a_header(store: Store) -> None:
    flipped = "CAST(substr(record, 1, 8) || zeroblob(16) || substr(record, 25) AS BLOB)"
    sql(store, f"UPDATE head SET record = {flipped} WHERE rid = ?", rid_alive(store, "k5"))


def forget_what_a_header_replaces(store: Store) -> None:
    flipped = "CAST(substr(record, 1, 24) || zeroblob(8) || substr(record, 33) AS BLOB)"
    sql(store, f"UPDATE head SET record = {flipped} WHERE rid = ?", rid_alive(store, "k4"))


def cut_a_header_short(store: Store) -> None:
    sql(store, "UPDATE head SET record = CAST(substr(record, 1, 20) AS BLOB) WHERE rid = ?", rid_alive(store, "k5"))


def lose_a_changeset(store: Store) -> None:
    sql(store, "DELETE FROM changeset WHERE rid = ?", rid_alive(store, "k5"))


def lose_a_changeset_and_alter_the_next(store: Store) -> None:
    lost = rid_alive(store, "k0")
    flip = "UPDATE changeset SET header = CAST(substr(header, 1, length(header) - 2) || x'0102' AS BLOB) "
    sql(store, f"{flip} WHERE rid = (SELECT min(rid) FROM changeset WHERE rid > ?)", lost)
    sql(store, "DELETE FROM changeset WHERE rid = ?", lost)


def lose_a_changeset_and_what_the_next_shows(store: Store) -> None:
    lost = rid_alive(store, "k0")
    next_one = "(SELECT min(rid) FROM changeset WHERE rid > ?)"
    sql(store, f"DELETE FROM live WHERE rid >= {next_one}", lost)
    sql(store, "DELETE FROM changeset WHERE rid = ?", lost)


def lose_a_header_and_what_another_of_its_changeset_shows(store: Store) -> None:
    first = "(SELECT min(rid) FROM changeset WHERE rid > ?)"
    sql(store, f"DELETE FROM live WHERE rid = 1 + {first}", rid_alive(store, "k0"))
    sql(store, f"DELETE FROM head WHERE rid = {first}", rid_alive(store, "k0"))


def flip_a_byte_of_a_link(store: Store) -> None:
    flip = "UPDATE changeset SET link = CAST(x'0102' || substr(link, 3) AS BLOB) WHERE rid = ?"
    sql(store, flip, rid_alive(store, "k5"))


def flip_a_byte_of_the_hashes(store: Store) -> None:
    flip = "UPDATE changeset SET hashes = CAST(x'0102' || substr(hashes, 3) AS BLOB) WHERE rid = ?"
    sql(store, flip, rid_alive(store, "k5"))


def flip_a_byte_of_a_signature(store: Store) -> None:
    flip = "UPDATE changeset SET signature = CAST(x'0102' || substr(signature, 3) AS BLOB) WHERE rid = ?"
    sql(store, flip, rid_alive(store, "k5"))


def cut_a_changeset_header_short(store: Store) -> None:
    sql(
        store, "UPDATE changeset SET header = CAST(substr(header, 1, 30) AS BLOB) WHERE rid = ?", rid_alive(store, "k5")
    )


def resurrect_a_replaced_row(store: Store) -> None:
    first_of_k4 = "SELECT memory, rid FROM collectable WHERE memory = ? ORDER BY rid LIMIT 1"
    sql(store, f"INSERT INTO live {first_of_k4}", store.keys[SPACE].memory_id("k4"))


def call_a_living_row_dead(store: Store) -> None:
    sql(store, "INSERT INTO dead(rid) VALUES(?)", rid_alive(store, "k5"))
    settle(store)


def lose_much(store: Store) -> None:
    for table in ("live", "body", "head", "changeset"):
        sql(store, f"DELETE FROM {table} WHERE rid % 3 = 1")


DERIVED = [lose_a_living_row, lose_all_living_rows, resurrect_a_replaced_row]
"""damage that the store mends by itself"""
FROM_PEERS = [
    lose_a_header,
    lose_the_header_of_what_replaced,
    lose_a_body,
    flip_a_byte_of_a_body,
    flip_a_byte_of_a_header,
    flip_the_memory_of_a_header,
    forget_what_a_header_replaces,
    cut_a_header_short,
    lose_a_changeset,
    lose_a_changeset_and_alter_the_next,
    lose_a_changeset_and_what_the_next_shows,
    lose_a_header_and_what_another_of_its_changeset_shows,
    flip_a_byte_of_a_link,
    flip_a_byte_of_the_hashes,
    flip_a_byte_of_a_signature,
    cut_a_changeset_header_short,
    call_a_living_row_dead,
    lose_much,
]
VISIBLE = [*DERIVED, lose_a_header, lose_the_header_of_what_replaced, call_a_living_row_dead, lose_much]
"""damage that changes which items are alive: other members see it; the rest only the damaged store itself can find"""


def assert_whole(store: Store, healthy: Store) -> None:
    found = self_check(store)
    assert (found.damaged, found.suspects, found.ends) == ((), (), ())
    assert state_hash(store) == state_hash(healthy)
    assert live_changes(store) == live_changes(healthy)
    with store.snapshot() as reader:
        assert unheld_bodies(reader, SPACE) == []
    for number in range(KEYS):
        assert text(store, f"k{number}") == text(healthy, f"k{number}")
    with store.index(WAIT_S) as index, healthy.index(WAIT_S) as other:
        query = "SELECT key, siblings FROM doc ORDER BY key"
        assert index.execute(query).fetchall() == other.execute(query).fetchall()


@pytest.mark.parametrize("damage", [*DERIVED, *FROM_PEERS])
def test_who_begins_an_audit_is_whole_afterwards(stores: tuple[Store, Store], damage: Callable[[Store], None]) -> None:
    one, two = stores
    damage(one)
    mine, theirs = audit(one, two)
    assert_whole(one, two)
    assert mine.here.mended == mine.here.wrong
    assert mine.here.missing == 0
    assert theirs.there == mine.here


@pytest.mark.parametrize("damage", VISIBLE)
def test_who_is_asked_is_whole_afterwards(stores: tuple[Store, Store], damage: Callable[[Store], None]) -> None:
    one, two = stores
    damage(two)
    mine, theirs = audit(one, two)
    assert state_hash(one) == state_hash(two)
    assert mine.there.wrong == theirs.here.wrong > 0
    assert mine.there.mended == mine.there.wrong


@pytest.mark.parametrize("damage", FROM_PEERS)
def test_what_cannot_be_had_is_reported_as_missing(
    stores: tuple[Store, Store], damage: Callable[[Store], None], tmp_path: Path
) -> None:
    one, _ = stores
    damage(one)
    with open_store(tmp_path / "c", Author(3)) as stranger:
        mine, _ = audit(one, stranger)
        assert mine.here.missing > 0


def test_an_altered_body_that_nobody_else_has_is_missing_where_it_is_alive_and_else_let_go(
    stores: tuple[Store, Store],
) -> None:
    one, two = stores
    hidden = "(SELECT min(rid) FROM hidden)"
    for rid in (hidden, str(rid_alive(one, "k5"))):
        sql(one, f"UPDATE body SET sealed = CAST(x'0102' || substr(sealed, 3) AS BLOB) WHERE rid = {rid}")
    for store_rid in (hidden, str(rid_alive(two, "k5"))):
        sql(two, f"DELETE FROM body WHERE rid = {store_rid}")
    mine, _ = audit(one, two)
    assert mine.here.missing == 1
    assert self_check(one).damaged == ()
    with one.snapshot() as reader:
        assert len(unheld_bodies(reader, SPACE)) == 1


def test_two_stores_that_lost_what_they_wrote_give_it_back_to_each_other(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    with open_store(tmp_path / "c", Author(3)) as witness:
        sync(stores[0], witness)
        for store in stores:
            for table in ("live", "body", "head", "changeset"):
                own = f"DELETE FROM {table} WHERE rid >> 40 IN (SELECT no FROM replica WHERE id = ?)"
                sql(store, own, store.replica)
        audit(*stores)
        audit(*stores[::-1])  # each checks but its own logs when it begins
        for store in stores:
            assert_whole(store, witness)


def test_a_store_supplies_nothing_that_is_not_whole(stores: tuple[Store, Store]) -> None:
    one, two = stores
    forget_what_a_header_replaces(two)
    lose_the_header_of_what_replaced(one)
    mine, _ = audit(one, two)
    assert (mine.here.wrong, mine.here.mended) == (1, 0)
    assert mine.here.missing > 0
    assert recall(one, "k4") is None, "a memory whose header is lost is not there, and reading it harms nothing"


def test_whole_stores_find_nothing_and_exchange_little(stores: tuple[Store, Store]) -> None:
    mine, theirs = audit(*stores)
    assert mine == theirs
    assert (mine.differing, mine.here, mine.there) == (0, (0, 0, 0, 0), (0, 0, 0, 0))
    assert mine.compared == len([one for one in range(KEYS) if one != 3]) + 2


def test_changes_on_their_way_are_no_divergence(stores: tuple[Store, Store]) -> None:
    one, two = stores
    write(one, put("k7", "newer"), put("new", "only here"), Write(SPACE, Kind.DELETE, Content("k9")))
    mine, _ = audit(one, two)
    assert mine.differing > 0
    assert mine.here == mine.there == (0, 0, 0, 0)
    sync(one, two)
    assert state_hash(one) == state_hash(two)


def withheld(segment: Segment) -> Segment:
    """The same segment as a relay passes it on that keeps all bodies to itself."""
    slots, records = verify(segment).slots, segment.records
    places = [at for at in range(len(records) // 40) if any(records[40 * at + 36 : 40 * (at + 1)])]
    return msgspec.structs.replace(
        segment,
        missing=b"".join(at.to_bytes(4, "big") for at in places),
        missing_hashes=b"".join(slots[32 * at : 32 * (at + 1)] for at in places),
        bodies=b"",
    )


def test_withheld_bodies_are_fetched_from_another_member(stores: tuple[Store, Store], tmp_path: Path) -> None:
    one, _ = stores
    with open_store(tmp_path / "c", Author(3)) as newcomer:
        merge(newcomer, *[withheld(segment) for segment in segments(one)])
        with newcomer.snapshot() as reader:
            lacking = unheld_bodies(reader, SPACE)
        assert lacking
        assert recall(newcomer, "k5") is not None
        assert text(newcomer, "k5") is None
        mine, _ = audit(newcomer, one)
        assert mine.here.fetched == len(lacking)
        assert_whole(newcomer, one)


def forked_store(tmp_path: Path, stores: tuple[Store, Store]) -> Store:
    """A store of the first author's clone: the same numbers, other changes."""
    clone = open_store(tmp_path / "clone", Author(1))
    clone.replica = stores[0].replica
    for number in range(KEYS):
        write(clone, put(f"k{number}", f"forged {number}"))
    return clone


def test_a_branch_of_a_forked_log_never_takes_the_place_of_lost_rows(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    _, two = stores
    with forked_store(tmp_path, stores) as clone:
        branch = verify(segments(clone)[0])
        before = state_hash(two)
        lose_a_header(two)
        lost = state_hash(two)
        assert lost != before
        whole = [branch]
        single = [part(branch, at, at + 1) for at in (4, 5, 6)]
        for verified in (*whole, *single):
            with pytest.raises(PeerFault) as caught:
                two.execute(lambda connection, one=verified: repair(connection, one, START_MS)).result(WAIT_S)
            assert caught.value.fault is Fault.FORKED
        assert state_hash(two) == lost


def test_a_branch_that_begins_like_the_log_is_refused_where_the_log_is_intact(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    one, two = stores
    own = verify(next(segment for segment in segments(one) if segment.replica == one.replica))
    with open_store(tmp_path / "clone", Author(1)) as clone:
        half = part(own, 0, KEYS // 2)
        signature = one.reader.connection.execute(
            "SELECT c.signature FROM changeset c JOIN replica r ON r.no = c.rid >> 40 WHERE r.id = ? AND c.link = ?",
            (one.replica, half.links[-1]),
        ).get
        merge(clone, msgspec.structs.replace(half.segment, signature=signature))
        clone.replica = one.replica
        write(clone, *[put(f"k{number}", f"forged {number}") for number in range(KEYS)])
        branch = verify(next(segment for segment in segments(clone) if segment.replica == one.replica))
        before = state_hash(two)
        with pytest.raises(PeerFault) as caught:
            two.execute(lambda connection: repair(connection, branch, START_MS)).result(WAIT_S)
        assert caught.value.fault is Fault.FORKED
        assert state_hash(two) == before


def test_a_repair_gives_a_store_nothing_it_does_not_claim(stores: tuple[Store, Store], tmp_path: Path) -> None:
    one, two = stores
    before = state_hash(two)
    write(one, put("new", "only here"))
    newest = verify(next(segment for segment in segments(one) if segment.replica == one.replica))
    two.execute(lambda connection: repair(connection, newest, START_MS)).result(WAIT_S)
    assert state_hash(two) == before
    with open_store(tmp_path / "c", Author(3)) as stranger:
        stranger.execute(lambda connection: repair(connection, newest, START_MS)).result(WAIT_S)
        with stranger.snapshot() as reader:
            assert reader.vector(SPACE).contiguous(ReplicaId(newest.segment.replica)) == 0


def test_what_once_took_effect_is_not_held_again_when_the_clock_is_set_back(tmp_path: Path) -> None:
    author = Author(1)
    with open_store(tmp_path / "a", author) as store:
        author.clock.ms = START_MS + 3_600_000
        write(store, put("k", "first"))
        write(store, put("k", "second"))
        settle(store)
        author.clock.ms = START_MS
        found = self_check(store)
        assert (found.damaged, found.suspects) == ((), ())
        memory = store.keys[SPACE].memory_id("k")
        before = live_changes(store)
        store.execute(lambda connection: mend(connection, SPACE, [memory], START_MS)).result(WAIT_S)
        assert live_changes(store) == before
        assert text(store, "k") == "second"
        with store.snapshot() as reader:
            assert reader.rows.held() == []


def test_what_a_change_held_back_names_is_not_ended_before_its_time(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1), Author(2), Author(3)) as (first, ahead, late):
        write(first, put("k", "now"))
        sync(first, ahead)
        ahead._setting.clock_ms.ms += 3_600_000
        write(ahead, put("k", "later"))
        merge(late, *[segment for segment in segments(ahead) if segment.replica == ahead.replica])
        memory = SPACE_KEYS.memory_id("k")
        late.execute(lambda connection: mend(connection, SPACE, [memory], START_MS)).result(WAIT_S)
        sync(first, late)
        assert live_changes(late) == {Dot(first.replica, 1)}
