"""A removed member's changes beyond its cut are gone, what they had replaced is back, and nothing else has changed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest

from cis.errors import Fault
from cis.model import Kind, ReplicaId, VersionVector, node_of
from cis.store.collection import START, collect, raise_floor, truncate
from cis.store.engine import Commit
from cis.store.log import LogReader
from cis.store.stability import give_up_unbacked
from cis.store.store import Store
from cis.store.withdrawal import Withdrawn
from cis.trust.signing import verify
from tests.audits import self_check
from tests.stores import (
    SPACE,
    START_MS,
    WAIT_S,
    Author,
    Clock,
    held_changes,
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
from tests.unit.store.conftest import Scene, change, refusal, vector

HOUR_MS = 3_600_000


def keys_found(store: Store, words: str) -> set[str]:
    with store.index(WAIT_S) as index:
        query = "SELECT d.key FROM text t JOIN doc d ON d.no = t.rowid WHERE text MATCH ?"
        return {key for (key,) in index.execute(query, (words,)).fetchall()}


def bodies(store: Store) -> int:
    with store.snapshot() as reader:
        count: int = reader.connection.execute("SELECT count(*) FROM body").get
    return count


@pytest.mark.parametrize("folded", [False, True])
def test_what_a_removed_member_had_overwritten_is_back_with_its_body(scene: Scene, folded: bool) -> None:
    write(scene.other, put("plan", "ours"))
    sync(scene.other, scene.removed)
    write(scene.removed, put("plan", "theirs"), put("more", "junk"))
    scene.tell()
    if folded:
        settle(scene.here)
    assert text(scene.here, "plan") == "theirs"
    assert scene.cut(0) == Withdrawn(2, 2, (scene.removed.replica,))
    assert (text(scene.here, "plan"), text(scene.here, "more")) == ("ours", None)


def test_the_index_finds_what_is_back_and_not_what_is_gone(scene: Scene) -> None:
    write(scene.other, put("plan", "peaceful"))
    sync(scene.other, scene.removed)
    write(scene.removed, put("plan", "hostile"), put("more", "hostile"))
    scene.tell()
    assert keys_found(scene.here, "hostile") == {"plan", "more"}
    scene.cut(0)
    assert keys_found(scene.here, "hostile") == set()
    assert keys_found(scene.here, "peaceful") == {"plan"}


def test_what_a_removed_member_deleted_is_back(scene: Scene) -> None:
    write(scene.other, put("plan", "ours"))
    sync(scene.other, scene.removed)
    change(scene.removed, Kind.DELETE, "plan")
    scene.tell()
    settle(scene.here)
    assert text(scene.here, "plan") is None
    scene.cut(0)
    assert text(scene.here, "plan") == "ours"


def test_counts_and_elements_beyond_the_cut_are_taken_back(scene: Scene) -> None:
    for store, count, element in ((scene.other, 1, "a"), (scene.removed, 10, "b")):
        change(store, Kind.COUNT, "count", added=count)
        change(store, Kind.ADD, "set", element)
    change(scene.removed, Kind.COUNT, "count", added=100)
    sync(scene.other, scene.removed)
    change(scene.removed, Kind.REMOVE, "set", "a")
    scene.tell()
    settle(scene.here)
    scene.cut(2)
    counted, elements = recall(scene.here, "count"), recall(scene.here, "set")
    assert counted is not None
    assert elements is not None
    assert {part.content.value for part in elements.parts if part.content} == {b"a", b"b"}
    totals = {part.change.dot.replica: part.content for part in counted.parts}
    assert (total := totals[scene.other.replica]) is not None
    assert total.added == 1
    assert totals[scene.removed.replica] is None, "its own older count was dropped, and is asked of others"


def test_a_change_dated_ahead_beyond_the_cut_never_takes_effect(scene: Scene, tmp_path: Path) -> None:
    write(scene.other, put("plan", "ours"))
    with open_store(tmp_path / "fast", Author(4, Clock(START_MS + HOUR_MS))) as fast:
        sync(scene.other, fast)
        write(fast, put("plan", "theirs"))
        sync(fast, scene.here)
        scene.law.seqs = {fast.replica: 0}
        scene.here.withdraw()
        scene.clock.ms += 2 * HOUR_MS
        write(scene.here, put("unrelated"))
        assert text(scene.here, "plan") == "ours"


def test_what_cut_changes_named_before_it_came_is_not_replaced_when_it_comes(scene: Scene) -> None:
    write(scene.other, put("plan", "ours"))
    sync(scene.other, scene.removed)
    write(scene.removed, put("plan", "theirs"))
    merge(scene.here, *[one for one in segments(scene.removed) if one.replica == scene.removed.replica])
    scene.cut(0)
    sync(scene.other, scene.here)
    assert text(scene.here, "plan") == "ours"


def test_what_replaced_a_cut_change_replaces_it_again_when_the_cut_is_raised(scene: Scene) -> None:
    write(scene.removed, put("plan", "theirs"))
    sync(scene.removed, scene.other)
    write(scene.other, put("plan", "ours"))
    scene.tell()
    before = state_hash(scene.here)
    scene.cut(0)
    assert text(scene.here, "plan") == "ours"
    scene.law.seqs = None
    sync(scene.removed, scene.here)
    assert state_hash(scene.here) == before


def test_several_cuts_of_one_log_join_to_the_highest_whichever_came_first(scene: Scene) -> None:
    for number in range(4):
        write(scene.removed, put(f"k{number}", "v"))
    scene.tell()
    scene.cut(1)
    assert vector(scene.here).contiguous(scene.removed.replica) == 1
    scene.law.seqs = {scene.removed.replica: 3}
    sync(scene.removed, scene.here)
    assert vector(scene.here).contiguous(scene.removed.replica) == 3
    assert [text(scene.here, f"k{number}") for number in range(4)] == ["v", "v", "v", None]


def test_of_a_segment_that_straddles_the_cut_the_part_before_is_taken(scene: Scene) -> None:
    for number in range(3):
        write(scene.removed, put(f"k{number}", "v"))
    scene.law.seqs = {scene.removed.replica: 2}
    (segment,) = segments(scene.removed)
    assert [one.changes for one in merge(scene.here, segment)] == [2]
    assert refusal(scene.here, segment) is None, "what is held already is no fault"
    with scene.removed.snapshot() as reader:
        beyond = LogReader(reader.connection, SPACE).segment(scene.removed.replica, 3, 3)
    assert beyond is not None
    assert refusal(scene.here, beyond) is Fault.CUT


def test_a_changeset_that_the_cut_divides_is_gone_whole(scene: Scene) -> None:
    write(scene.removed, put("a", "v"))
    write(scene.removed, put("b", "v"), put("c", "v"))
    scene.tell()
    scene.cut(2)
    assert [text(scene.here, key) for key in "abc"] == ["v", None, None]


def test_what_was_written_under_an_authority_that_is_gone_goes_from_there_on(scene: Scene) -> None:
    write(scene.removed, put("a", "v"))
    scene.tell()
    scene.law.refused = frozenset({bytes(32)})
    assert scene.here.withdraw([node_of(scene.removed.replica)]).changes == 1
    (segment,) = segments(scene.removed)
    assert refusal(scene.here, segment) is Fault.CUT


def test_a_log_cut_where_nobody_signed_is_served_with_its_authors_proof(scene: Scene, tmp_path: Path) -> None:
    for number in range(6):
        write(scene.removed, put(f"k{number}", "v" * 40))
    scene.tell()
    scene.cut(4)
    (served,) = segments(scene.here)
    assert len(verify(served).links) == 6
    assert served.bodies.count(b"") - 1 < 6 * 80, "of what was cut there is nothing but leaves"
    with scene.newcomer(tmp_path) as newcomer, scene.newcomer(tmp_path, 10) as third:
        merge(newcomer, served, in_order=True)
        merge(third, *segments(newcomer), in_order=True)
        assert state_hash(third) == state_hash(newcomer) == state_hash(scene.here)
        assert self_check(third).damaged == ()
    scene.cut(2)
    with scene.newcomer(tmp_path, 11) as later:
        merge(later, *segments(scene.here), in_order=True)
        assert vector(later).contiguous(scene.removed.replica) == 2


def test_nobody_but_its_author_can_vouch_for_a_log_that_was_cut(scene: Scene) -> None:
    for number in range(4):
        write(scene.removed, put(f"k{number}", "v"))
    scene.tell()
    scene.cut(2)
    (served,) = segments(scene.here)
    scene.here.execute(lambda connection: connection.execute("DELETE FROM tail")).result(WAIT_S)
    assert unserved(scene.here, scene.removed.replica), "an end no signature covers is not served"
    forged = msgspec.structs.replace(served, signature=bytes(64))
    assert refusal(scene.other, forged) is Fault.BAD_SIGNATURE


def unserved(store: Store, replica: ReplicaId) -> bool:
    with store.snapshot() as reader:
        return LogReader(reader.connection, SPACE).segment(replica, 1, 2) is None


def test_what_lies_below_the_stable_floor_is_not_cut_off(scene: Scene, tmp_path: Path) -> None:
    for number in range(4):
        write(scene.removed, put(f"k{number}", "v"))
    scene.tell()
    floor = VersionVector({scene.removed.replica: 3})
    scene.here.execute(lambda connection: raise_floor(connection, SPACE, floor)).result(WAIT_S)
    scene.cut(1)
    assert vector(scene.here).contiguous(scene.removed.replica) == 3
    with scene.newcomer(tmp_path) as newcomer:
        assert [one.changes for one in merge(newcomer, *segments(scene.here), in_order=True)] == [1]
        newcomer.execute(lambda connection: raise_floor(connection, SPACE, floor)).result(WAIT_S)
        merge(newcomer, *segments(scene.here), in_order=True)
        assert vector(newcomer) == vector(scene.here)


def test_a_floor_that_a_peer_merely_states_lifts_no_cut(scene: Scene) -> None:
    for number in range(4):
        write(scene.removed, put(f"k{number}", "v"))
    scene.tell()
    floor = VersionVector({scene.removed.replica: 3})
    scene.here.execute(lambda connection: raise_floor(connection, SPACE, floor, told=True)).result(WAIT_S)
    scene.cut(1)
    assert vector(scene.here).contiguous(scene.removed.replica) == 1


def test_a_floor_that_a_peer_could_not_back_is_given_up(scene: Scene) -> None:
    write(scene.removed, put("k", "v"))
    scene.tell()
    stated = VersionVector({scene.removed.replica: 5})
    scene.here.execute(lambda connection: raise_floor(connection, SPACE, stated, told=True)).result(WAIT_S)
    for peer, given_up in ((VersionVector({scene.removed.replica: 4}), False), (stated, True)):
        task = partial(give_up_unbacked, space=SPACE, stated=peer)
        assert scene.here.execute(task).result(WAIT_S) is given_up
    with scene.here.snapshot() as reader:
        assert reader.floor(SPACE).contiguous(scene.removed.replica) == 1


def test_a_log_can_be_cut_after_part_of_it_was_collected(scene: Scene) -> None:
    for value in "abcd":
        write(scene.removed, put("k", value))
    write(scene.other, put("other", "v"))
    scene.tell()
    settle(scene.here)
    floor = VersionVector({scene.removed.replica: 2})
    scene.here.execute(lambda connection: raise_floor(connection, SPACE, floor)).result(WAIT_S)
    scene.here.execute(partial(collect, after=START)).result(WAIT_S)
    scene.here.execute(truncate).result(WAIT_S)
    scene.cut(0)
    assert vector(scene.here).contiguous(scene.removed.replica) == 2
    assert text(scene.here, "other") == "v"
    assert self_check(scene.here).damaged == ()


def test_a_node_whose_own_log_was_cut_goes_on_under_a_new_incarnation(scene: Scene) -> None:
    write(scene.here, put("mine", "before"))
    own = scene.here.replica
    write(scene.here, put("mine", "beyond"), put("more", "beyond"))
    scene.law.seqs = {own: 1}
    assert scene.here.withdraw().changes == 2
    assert scene.here.replica != own
    assert text(scene.here, "more") is None, "it was removed, so it is not written again"
    write(scene.here, put("mine", "again"))
    assert [one.dot.replica for one in held_changes(scene.here)].count(scene.here.replica) == 1
    assert text(scene.here, "mine") == "again"


def test_a_node_never_appends_to_a_log_that_is_cut_though_nothing_of_it_went(scene: Scene) -> None:
    write(scene.here, put("mine", "before"))
    own = scene.here.replica
    scene.law.seqs = {own: 1}
    write(scene.here, put("mine", "again"))
    assert scene.here.replica != own
    assert vector(scene.here).seqs == {own: 1, scene.here.replica: 1}


def test_only_shared_spaces_and_the_nodes_named_are_looked_at(scene: Scene) -> None:
    write(scene.removed, put("a", "v"))
    write(scene.other, put("b", "v"))
    scene.tell()
    scene.law.seqs = {scene.removed.replica: 0, scene.other.replica: 0}
    assert scene.here.withdraw([node_of(scene.other.replica)]).replicas == (scene.other.replica,)
    assert scene.here.withdraw().replicas == (scene.removed.replica,)
    assert scene.here.withdraw() == Withdrawn(0, 0, ())


def test_listeners_are_told_that_changes_were_withdrawn(scene: Scene) -> None:
    write(scene.removed, put("a", "v"))
    scene.tell()
    told: list[Commit] = []
    scene.here.on_commit(told.append)
    scene.cut(0)
    assert [one.withdrawn for one in told] == [1]


# --- hidden bodies -------------------------------------------------------------------------------------------------


def test_a_body_its_own_node_replaced_goes_at_once_and_one_another_replaced_stays(scene: Scene) -> None:
    write(scene.other, put("own", "a"), put("foreign", "a"))
    write(scene.other, put("own", "b"))
    sync(scene.other, scene.removed)
    write(scene.removed, put("foreign", "b"))
    scene.tell()
    settle(scene.here)
    assert bodies(scene.here) == 3


def test_a_hidden_body_goes_once_what_replaced_it_is_stable(scene: Scene) -> None:
    from cis.store.stability import drop_hidden

    write(scene.other, put("k", "a"))
    sync(scene.other, scene.removed)
    write(scene.removed, put("k", "b"))
    scene.tell()
    settle(scene.here)
    for floor, left in (({scene.other.replica: 1}, 2), ({scene.removed.replica: 1}, 1)):
        step = partial(drop_hidden, space=SPACE, floor=VersionVector(floor))
        assert not scene.here.execute(step).result(WAIT_S)
        assert bodies(scene.here) == left


# --- spaces without keys -------------------------------------------------------------------------------------------


def test_a_space_without_keys_is_merged_served_and_counted_but_not_read(scene: Scene, tmp_path: Path) -> None:
    write(scene.other, put("plan", "a"), put("plan/2", "b"))
    write(scene.other, put("plan", "c"))
    (tmp_path / "blind").mkdir()
    with Store(tmp_path / "blind", b"k" * 32, Author(8).setting()) as blind:
        blind.share(SPACE, "a space")
        sync(scene.other, blind)
        held = blind.holdings(SPACE)
        assert (held.memories, held.changes) == (2, 3)
        assert held.bytes > 0
        assert state_hash(blind) == state_hash(scene.other)
        with blind.index(WAIT_S) as index:
            assert index.execute("SELECT count(*) FROM doc").get == 0
        sync(blind, scene.here)
        assert text(scene.here, "plan") == "c"
        outcome = blind.write([put("mine", "no")]).result(WAIT_S)[0]
        assert "no such space" in str(outcome)


def test_a_space_can_be_read_once_its_keys_come(scene: Scene, tmp_path: Path) -> None:
    from tests.stores import KEYS

    write(scene.other, put("plan", "words"))
    (tmp_path / "blind").mkdir()
    with Store(tmp_path / "blind", b"k" * 32, Author(8).setting()) as blind:
        blind.share(SPACE, "a space")
        sync(scene.other, blind)
        assert keys_found(blind, "words") == set()
        blind.add_space(KEYS, "public", replicated=True)
        assert keys_found(blind, "words") == {"plan"}
        assert text(blind, "plan") == "words"
