"""A device that keeps names alone, or some values: what is still listed and found, what goes, what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cis.errors import UsageError
from cis.model import Dot, Kind, VersionVector
from cis.store.author import Write
from cis.store.fetched import Fetched, bodies_here, is_proven, lacking, opened
from cis.store.keeping import CHOICES_MAX, Keep, keep_of, nameable
from cis.store.names import Name, keep_names, take_names
from cis.store.read import Part
from cis.store.stability import drop_hidden, reportable
from cis.store.store import Store
from cis.wire.content import Content
from tests.audits import audit, self_check
from tests.stores import SPACE, WAIT_S, Author, open_store, put, recall, settle, state_hash, sync, text, write
from tests.unit.store.test_keeping import absent, embed, has_vector, keep, let_all_go, node, report, session, unheld

NAMES = Keep(names=True)


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


def let_values_go(store: Store) -> None:
    """Name what is to be judged, then let go what is not kept, as a round does."""
    with store.snapshot() as reader:
        names = take_names(reader, nameable(reader.connection, SPACE, node(store)))
    store.execute(lambda connection: keep_names(connection, names)).result(WAIT_S)
    let_all_go(store)


def part(store: Store, key: str) -> Part:
    recalled = recall(store, key)
    assert recalled is not None
    return recalled.latest


def rows(store: Store, table: str) -> int:
    count: int = store.execute(lambda connection: connection.execute(f"SELECT count(*) FROM {table}").get).result(
        WAIT_S
    )
    return count


def doc(store: Store, key: str) -> dict[str, Any]:
    with store.index() as index:
        found = index.execute("SELECT category, tags, bytes, digest FROM doc WHERE key = ?", (key,)).fetchall()
    assert len(found) == 1
    return dict(zip(("category", "tags", "bytes", "digest"), found[0], strict=True))


def found(store: Store, word: str) -> list[str]:
    with store.index() as index:
        query = "SELECT d.key FROM text t JOIN doc d ON d.no = t.rowid WHERE text MATCH ? ORDER BY d.key"
        return [key for (key,) in index.execute(query, (word,))]


def left_out(full: Store, partial: Store, *writes: Write, policy: Keep = NAMES) -> None:
    """Both hold what was written, and the second has let go what its policy does not keep."""
    write(full, *writes)
    sync(full, partial)
    keep(partial, policy)
    report(full, partial)
    let_values_go(partial)


# --- what is left --------------------------------------------------------------------------------------------------


def test_of_a_value_let_go_its_name_is_left_by_which_it_is_listed_and_found(full: Store, partial: Store) -> None:
    left_out(full, partial, put("notes/kitchen", "the blue kettle", category="task", tags=("home",), ttl_ms=1 << 40))
    shown = part(partial, "notes/kitchen")
    assert shown.content is None
    assert shown.name == Name("notes/kitchen", "task", ("home",), 0, 1 << 40, 15)
    recalled = recall(partial, "notes/kitchen")
    assert recalled is not None
    assert (recalled.key, recalled.elsewhere, recalled.expires_ms > 0) == ("notes/kitchen", True, True)
    assert (absent(partial), unheld(partial), state_hash(partial)) == (1, 0, state_hash(full))
    assert self_check(partial).damaged == ()
    assert doc(partial, "notes/kitchen") == {"category": "task", "tags": "home", "bytes": 15, "digest": None}
    assert (found(partial, "kitchen"), found(partial, "home"), found(partial, "kettle")) == (
        ["notes/kitchen"],
        ["notes/kitchen"],
        [],
    )
    with partial.snapshot() as reader:
        assert reportable(reader, SPACE) == VersionVector({full.replica: 1})


def test_the_index_is_made_anew_without_the_value(full: Store, partial: Store) -> None:
    left_out(full, partial, put("notes/kitchen", "the blue kettle", category="task"))
    partial.reindex()
    assert doc(partial, "notes/kitchen")["category"] == "task"
    assert (found(partial, "kitchen"), found(partial, "kettle")) == (["notes/kitchen"], [])


def test_counters_and_sets_stay_whole(full: Store, partial: Store) -> None:
    left_out(
        full,
        partial,
        Write(SPACE, Kind.COUNT, Content("builds", added=3)),
        Write(SPACE, Kind.ADD, Content("tools", b"ruff")),
        put("note", "text"),
    )
    assert absent(partial) == 1
    assert [part(partial, key).content is None for key in ("builds", "tools", "note")] == [False, False, True]


def test_what_was_written_here_stays_and_a_value_nobody_else_reported_too(full: Store, partial: Store) -> None:
    keep(partial, NAMES)
    write(partial, put("own", "mine"))
    sync(partial, full)
    write(full, put("known", "text"))
    sync(full, partial)
    report(full, partial)
    write(full, put("later", "text"))
    sync(full, partial)
    let_values_go(partial)
    assert [text(partial, key) for key in ("own", "known", "later")] == ["mine", None, "text"]


def test_what_cannot_be_opened_here_stays_whole(full: Store, partial: Store, tmp_path: Path) -> None:
    write(full, put("k", "text"))
    sync(full, partial)
    keep(partial, NAMES)
    report(full, partial)
    keys = partial.keys.pop(SPACE)
    let_values_go(partial)
    partial.keys[SPACE] = keys
    assert (absent(partial), text(partial, "k")) == (0, "text")


def test_no_value_goes_without_a_name(full: Store, partial: Store) -> None:
    write(full, put("k", "text"))
    sync(full, partial)
    keep(partial, NAMES)
    report(full, partial)
    let_all_go(partial)
    assert (absent(partial), text(partial, "k")) == (0, "text")


def test_only_values_under_a_prefix_or_of_a_category_are_kept(full: Store, partial: Store) -> None:
    writes = [put("work/a", "1"), put("home/a", "2"), put("home/b", "3", category="task"), put("worker", "4")]
    left_out(full, partial, *writes, policy=Keep(prefixes=("work/",), categories=("task",)))
    assert [text(partial, key) for key in ("work/a", "home/a", "home/b", "worker")] == ["1", None, "3", None]
    with partial.snapshot() as reader:
        assert nameable(reader.connection, SPACE, node(partial)) == [], "each is opened once"


def test_names_go_together_with_vectors(full: Store, partial: Store) -> None:
    write(full, put("k", "text"))
    embed(full, "k")
    sync(full, partial)
    keep(partial, Keep(vectors=False, names=True))
    report(full, partial)
    let_values_go(partial)
    assert (absent(partial), text(partial, "k"), has_vector(partial, "k")) == (2, None, False)


# --- and dies ------------------------------------------------------------------------------------------------------


def test_a_value_that_is_elsewhere_is_written_over_and_deleted_like_any_other(full: Store, partial: Store) -> None:
    left_out(full, partial, put("k", "old"), put("gone", "old"))
    write(partial, put("k", "new"), Write(SPACE, Kind.DELETE, Content("gone")))
    sync(partial, full)
    assert (text(partial, "k"), text(full, "k"), recall(full, "gone")) == ("new", "new", None)
    assert (absent(partial), unheld(partial)) == (0, 0)
    settle(partial)
    floor = VersionVector({partial.replica: 2})
    assert rows(partial, "name") == 2, "what replaced them may still be withdrawn"
    partial.execute(lambda connection: drop_hidden(connection, SPACE, floor)).result(WAIT_S)
    assert (rows(partial, "name"), rows(partial, "absent")) == (0, 0)


def test_a_name_goes_with_what_its_own_author_replaced(full: Store, partial: Store) -> None:
    left_out(full, partial, put("k", "old"))
    write(full, put("k", "new"))
    sync(full, partial)
    settle(partial)
    assert (text(partial, "k"), rows(partial, "name"), rows(partial, "absent")) == ("new", 0, 0)


# --- and back ------------------------------------------------------------------------------------------------------


def test_all_values_come_back_where_everything_is_kept_again(full: Store, partial: Store) -> None:
    left_out(full, partial, put("k", "text"))
    keep(partial, Keep())
    assert (absent(partial), unheld(partial), part(partial, "k").elsewhere) == (0, 1, True)
    audit(partial, full)
    assert (text(partial, "k"), unheld(partial), rows(partial, "name")) == ("text", 0, 0)


def test_a_wider_policy_wants_just_what_it_keeps(full: Store, partial: Store) -> None:
    left_out(full, partial, put("work/a", "1"), put("home/a", "2"))
    keep(partial, Keep(prefixes=("work/",)))
    assert (absent(partial), unheld(partial)) == (1, 1)
    audit(partial, full)
    assert (text(partial, "work/a"), text(partial, "home/a"), unheld(partial)) == ("1", None, 0)
    keep(partial, NAMES)
    report(full, partial)
    let_values_go(partial)
    assert (text(partial, "work/a"), absent(partial)) == (None, 2)


def test_a_device_with_names_hands_on_no_log_beyond_what_it_does_not_hold(
    full: Store, partial: Store, third: Store
) -> None:
    write(full, put("kept", "1", category="task"))
    sync(full, partial)
    left_out(full, partial, put("a", "2"), policy=Keep(categories=("task",)))
    write(full, put("later", "3"))
    session(full, partial)
    session(partial, third)
    assert [text(third, key) for key in ("kept", "a", "later")] == ["1", None, None]
    assert unheld(third) == 0


# --- policies ------------------------------------------------------------------------------------------------------


def test_a_policy_of_an_earlier_version_is_read(partial: Store) -> None:
    earlier = msgspec.msgpack.encode([b"12345678", False])

    def old(connection: Any) -> None:
        connection.execute("INSERT INTO meta VALUES(?, ?)", (f"keep {SPACE.hex()}", earlier))

    partial.execute(old).result(WAIT_S)
    with partial.snapshot() as reader:
        assert keep_of(reader.connection, SPACE) == Keep(b"12345678", vectors=False)


@pytest.mark.parametrize(
    "policy",
    [
        Keep(prefixes=("",)),
        Keep(categories=("",)),
        Keep(prefixes=("x" * 513,)),
        Keep(categories=("x" * 65,)),
        Keep(prefixes=("a\nb",)),
        Keep(prefixes=tuple(map(str, range(CHOICES_MAX + 1)))),
    ],
)
def test_a_policy_beyond_its_bounds_is_refused(partial: Store, policy: Keep) -> None:
    with pytest.raises(UsageError):
        keep(partial, policy)


# --- what is fetched -----------------------------------------------------------------------------------------------


def test_a_value_fetched_is_shown_and_only_the_one_that_was_signed(full: Store, partial: Store) -> None:
    left_out(full, partial, put("k", "text"), put("other", "lie"))
    before = recall(partial, "k")
    assert before is not None
    (dot,) = lacking(before, whole=False)
    other = Dot(full.replica, 2)
    with full.snapshot() as reader:
        given = bodies_here(reader, SPACE, [dot, other, Dot(full.replica, 9)])
    assert sorted(given) == [dot, other]
    with partial.snapshot() as reader:
        assert is_proven(reader, SPACE, dot, given[dot])
        assert is_proven(reader, SPACE, dot, given[other]) is False
        assert is_proven(reader, SPACE, Dot(full.replica, 9), given[other]) is None
        (shown,) = opened(reader, before.parts, given)
        assert shown.content is not None
        assert (shown.content.value, shown.elsewhere) == (b"text", False)
        (refused,) = opened(reader, before.parts, {dot: given[other]})
        assert refused.elsewhere
    assert text(partial, "k") is None, "nothing was written"


def test_what_was_fetched_first_and_not_read_since_makes_room() -> None:
    cache, dots = Fetched(bytes_max=10), [Dot(b"r" * 40, seq) for seq in (1, 2, 3)]
    cache.keep(SPACE, {dots[0]: b"12345", dots[1]: b"12345"})
    assert list(cache.find(SPACE, dots[:1])) == dots[:1]
    cache.keep(SPACE, {dots[2]: b"1234"})
    assert (sorted(cache.find(SPACE, dots)), cache.bytes) == ([dots[0], dots[2]], 9)
    cache.keep(SPACE, {dots[0]: b"x" * 11})
    assert (cache.find(SPACE, dots), cache.bytes) == ({}, 0)
