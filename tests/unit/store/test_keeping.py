"""A device that leaves bodies to others: what it asks for, what it lets go and when, what it hands on."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from cis.model import Kind, NodeId, VersionVector, node_of
from cis.store.audit import unheld_bodies
from cis.store.author import Write
from cis.store.keeping import (
    HOLDER_SILENT_MS_MAX,
    Keep,
    count_absent,
    held_elsewhere,
    let_go,
    lettable,
    set_keep,
    stated_number,
)
from cis.store.log import LogReader
from cis.store.stability import count_silence, drop_hidden, reportable, save_report
from cis.store.store import Store
from cis.store.texts import digest_of, embeddable
from cis.wire.content import Content, Form
from tests.audits import audit, self_check
from tests.stores import SPACE, WAIT_S, Author, merge, open_store, put, recall, settle, state_hash, sync, text, write
from tests.unit.sync.driver import Side, run

WITHOUT_VECTORS = Keep(vectors=False)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "full", Author(1)) as store:
        yield store


@pytest.fixture
def partial(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "partial", Author(2)) as store:
        yield store


@pytest.fixture
def third(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "third", Author(3)) as store:
        yield store


def keep(store: Store, policy: Keep) -> None:
    store.execute(lambda connection: set_keep(connection, SPACE, policy, os.urandom)).result(WAIT_S)


def embed(store: Store, key: str) -> None:
    """Write the vector of what a memory says."""
    recalled = recall(store, key)
    shown = embeddable(recalled) if recalled is not None else None
    assert shown is not None
    numbers = struct.pack("<2f", 0.5, 1.0)
    content = Content(key, digest_of(shown), form=Form.BYTES, vector=numbers, vector_model="tiny")
    write(store, Write(SPACE, Kind.VECTOR, content))


def has_vector(store: Store, key: str) -> bool:
    """Whether the bodies of the vectors of a memory are here."""
    recalled = recall(store, key)
    assert recalled is not None
    return any(part.content is not None for part in recalled.vectors)


def absent(store: Store) -> int:
    with store.snapshot() as reader:
        return count_absent(reader.connection, SPACE)


def unheld(store: Store) -> int:
    with store.snapshot() as reader:
        return len(unheld_bodies(reader, SPACE))


def node(store: Store) -> NodeId:
    return node_of(store.replica)


def report(teller: Store, *listeners: Store, knows: bool = True) -> None:
    """Tell what a store holds, and of whom it knows that they do not keep everything."""
    with teller.snapshot() as reader:
        held, number = reportable(reader, SPACE), stated_number(reader.connection, SPACE)
    for listener in listeners:
        with listener.snapshot() as reader:
            theirs = stated_number(reader.connection, SPACE)
        known = [(node(listener), theirs)] if knows and theirs else []
        listener.execute(
            lambda connection, known=known: save_report(connection, SPACE, node(teller), held, number, known)
        ).result(WAIT_S)


def let_all_go(store: Store) -> None:
    with store.snapshot() as reader:
        rids = lettable(reader.connection, SPACE, node(store))
    store.execute(lambda connection: let_go(connection, SPACE, node(store), rids)).result(WAIT_S)


def session(one: Store, two: Store) -> tuple[Side, Side]:
    sides = Side(one), Side(two)
    run(*sides)
    for side in sides:
        side.close()
    return sides


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_vectors_are_left_out_by_who_sends_and_nothing_counts_as_missing(full: Store, partial: Store) -> None:
    write(full, put("k", "text"))
    embed(full, "k")
    keep(partial, WITHOUT_VECTORS)
    sides = session(full, partial)
    assert all(side.session.finished for side in sides)
    assert state_hash(full) == state_hash(partial)
    assert (text(partial, "k"), has_vector(partial, "k"), absent(partial), unheld(partial)) == ("text", False, 1, 0)
    assert self_check(partial).damaged == ()
    with partial.snapshot() as reader:
        assert reportable(reader, SPACE) == VersionVector({full.replica: 2})


def test_who_asks_for_everything_gets_it_and_what_is_missing_all_the_same_is_asked_of_others(
    full: Store, third: Store
) -> None:
    write(full, put("k", "text"))
    embed(full, "k")
    with full.snapshot() as reader:
        bare = LogReader(reader.connection, SPACE).segment(full.replica, 2, 2, (Kind.VECTOR,))
    assert bare is not None
    assert bare.missing
    session(full, third)
    assert (has_vector(third, "k"), unheld(third), absent(third)) == (True, 0, 0)


def test_a_body_that_was_left_out_though_this_device_wants_it_is_missing(full: Store, third: Store) -> None:
    write(full, put("k", "text"))
    embed(full, "k")
    with full.snapshot() as reader:
        log = LogReader(reader.connection, SPACE)
        merge(third, *[log.segment(full.replica, one, one, (Kind.VECTOR,)) for one in (1, 2)])
    assert (unheld(third), absent(third)) == (1, 0)


# --- what is let go, and when ----------------------------------------------------------------------------------------


def arrived(full: Store, partial: Store) -> None:
    """Both hold a memory and its vector; the second keeps no vectors from then on."""
    write(full, put("k", "text"))
    embed(full, "k")
    sync(full, partial)
    keep(partial, WITHOUT_VECTORS)


def test_a_body_is_let_go_once_one_that_keeps_everything_and_knows_of_it_has_reported(
    full: Store, partial: Store
) -> None:
    arrived(full, partial)
    let_all_go(partial)
    assert has_vector(partial, "k")
    report(full, partial, knows=False)
    let_all_go(partial)
    assert has_vector(partial, "k"), "who does not know may lean on this device"
    report(full, partial)
    before = state_hash(partial)
    let_all_go(partial)
    assert (has_vector(partial, "k"), absent(partial), unheld(partial)) == (False, 1, 0)
    assert state_hash(partial) == before
    assert self_check(partial).damaged == ()


def test_nothing_is_let_go_that_lies_beyond_what_was_reported(full: Store, partial: Store) -> None:
    arrived(full, partial)
    report(full, partial)
    write(full, put("later", "text"))
    embed(full, "later")
    sync(full, partial)
    let_all_go(partial)
    assert (has_vector(partial, "k"), has_vector(partial, "later")) == (False, True)


def test_what_was_written_here_is_never_let_go(full: Store, partial: Store) -> None:
    keep(partial, WITHOUT_VECTORS)
    write(partial, put("own", "text"))
    embed(partial, "own")
    sync(partial, full)
    report(full, partial)
    let_all_go(partial)
    assert has_vector(partial, "own")


def test_nobody_leans_on_a_member_that_is_partial_itself_or_was_silent_for_long(full: Store, partial: Store) -> None:
    arrived(full, partial)
    keep(full, WITHOUT_VECTORS)
    report(full, partial)
    let_all_go(partial)
    assert has_vector(partial, "k")
    keep(full, Keep())
    report(full, partial)
    for days in range(HOLDER_SILENT_MS_MAX // 86_400_000 + 2):
        now_ms = days * 86_400_000
        partial.execute(lambda connection, at=now_ms: count_silence(connection, SPACE, [node(full)], at)).result(WAIT_S)
    let_all_go(partial)
    assert has_vector(partial, "k")


def test_what_others_had_heard_counts_for_neither_another_policy_nor_another_life_of_the_disk(
    full: Store, partial: Store
) -> None:
    arrived(full, partial)
    report(full, partial)
    partial.renew_incarnation()
    let_all_go(partial)
    assert has_vector(partial, "k")
    report(full, partial)
    keep(partial, Keep())
    keep(partial, WITHOUT_VECTORS)
    let_all_go(partial)
    assert has_vector(partial, "k")
    assert not held_elsewhere(partial.reader.connection, SPACE, node(partial)).seqs


def test_a_vector_that_was_replaced_is_kept_until_that_is_stable_and_its_absence_goes_with_it(
    full: Store, partial: Store, third: Store
) -> None:
    arrived(full, partial)
    report(full, partial)
    let_all_go(partial)
    sync(full, third)
    write(third, put("k", "another text"))
    sync(third, partial)
    settle(partial)
    assert absent(partial) == 0, "it is no part of what is shown"
    kept = "SELECT count(*) FROM absent"
    assert partial.execute(lambda connection: connection.execute(kept).get).result(WAIT_S) == 1
    floor = VersionVector({third.replica: 1})
    partial.execute(lambda connection: drop_hidden(connection, SPACE, floor)).result(WAIT_S)
    assert partial.execute(lambda connection: connection.execute(kept).get).result(WAIT_S) == 0


# --- what is handed on -----------------------------------------------------------------------------------------------


def test_a_partial_device_sends_a_log_up_to_what_it_does_not_hold_and_nothing_behind(
    full: Store, partial: Store, third: Store
) -> None:
    write(full, put("before", "text"), put("k", "text"))
    session(full, partial)
    embed(full, "k")
    write(full, put("after", "text"))
    write(partial, put("own", "text"))
    keep(partial, WITHOUT_VECTORS)
    session(full, partial)
    sides = session(partial, third)
    assert all(side.session.finished for side in sides)
    assert sides[1].session.report.partial == (SPACE,)
    assert (text(third, "before"), text(third, "k"), text(third, "after"), text(third, "own")) == (
        "text",
        "text",
        None,
        "text",
    )
    assert unheld(third) == 0
    session(full, third)
    assert (text(third, "after"), has_vector(third, "k")) == ("text", True)


def test_a_partial_device_never_skips_what_it_does_not_hold_even_where_the_peer_has_part_of_what_follows(
    full: Store, partial: Store, third: Store
) -> None:
    for key in ("a", "b"):
        write(full, put(key, "text"))
    session(full, partial)
    embed(full, "b")
    for key in ("c", "d", "e"):
        write(full, put(key, "text"))
    with full.snapshot() as reader:
        log = LogReader(reader.connection, SPACE, 1)
        first, fifth = (log.segment(full.replica, one, one) for one in (1, 5))
    assert first is not None
    assert fifth is not None
    merge(third, first, fifth)
    keep(partial, WITHOUT_VECTORS)
    session(full, partial)
    session(partial, third)
    with third.snapshot() as reader:
        held = reader.vector(SPACE)
    assert (held.contiguous(full.replica), held.beyond) == (2, {full.replica: ((5, 5),)})


def test_two_devices_without_vectors_hand_everything_on_to_each_other(
    full: Store, partial: Store, third: Store
) -> None:
    write(full, put("k", "text"))
    embed(full, "k")
    write(full, put("after", "text"))
    for store in (partial, third):
        keep(store, WITHOUT_VECTORS)
    session(full, partial)
    session(partial, third)
    assert (text(third, "after"), absent(third), unheld(third)) == ("text", 1, 0)
    assert state_hash(third) == state_hash(full)


def test_in_an_audit_a_partial_device_says_that_it_does_not_have_what_it_left_out(
    full: Store, partial: Store, third: Store
) -> None:
    arrived(full, partial)
    sync(full, third)
    third.execute(lambda connection: connection.execute("DELETE FROM body WHERE rid & 255 = 2").get).result(WAIT_S)
    report(full, partial)
    let_all_go(partial)
    mine, theirs = audit(third, partial, check_first=False)
    assert (mine.here.missing, theirs.here.missing) == (1, 0)
    mine, _ = audit(third, full, check_first=False)
    assert (mine.here.missing, has_vector(third, "k")) == (0, True)


# --- and back --------------------------------------------------------------------------------------------------------


def test_who_keeps_everything_again_lacks_what_it_let_go_until_others_gave_it(full: Store, partial: Store) -> None:
    arrived(full, partial)
    report(full, partial)
    let_all_go(partial)
    audit(partial, full)
    assert not has_vector(partial, "k"), "what is elsewhere by choice is not fetched"
    keep(partial, Keep())
    assert (absent(partial), unheld(partial)) == (0, 1)
    with partial.snapshot() as reader:
        assert reportable(reader, SPACE) == VersionVector({full.replica: 1})
    audit(partial, full)
    assert (has_vector(partial, "k"), unheld(partial)) == (True, 0)
    keep(partial, WITHOUT_VECTORS)
    report(full, partial)
    let_all_go(partial)
    assert not has_vector(partial, "k")


def test_who_thinks_better_of_keeping_everything_lacks_nothing_by_it(full: Store, partial: Store) -> None:
    arrived(full, partial)
    report(full, partial)
    let_all_go(partial)
    keep(partial, Keep())
    keep(partial, WITHOUT_VECTORS)
    assert (absent(partial), unheld(partial)) == (1, 0)


def test_what_may_go_is_judged_again_when_it_goes(full: Store, partial: Store) -> None:
    arrived(full, partial)
    report(full, partial)
    with partial.snapshot() as reader:
        rids = lettable(reader.connection, SPACE, node(partial))
    assert len(rids) == 1
    keep(full, WITHOUT_VECTORS)
    report(full, partial)
    partial.execute(lambda connection: let_go(connection, SPACE, node(partial), rids)).result(WAIT_S)
    assert has_vector(partial, "k")
