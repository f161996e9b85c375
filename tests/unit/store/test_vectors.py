"""Vectors: changes of their own that never conflict, never bring back, and count only for the text they are of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import numpy as np
import pytest

from cis.errors import UsageError
from cis.model import Kind
from cis.store import vectors
from cis.store.author import Write
from cis.store.indexing import LocalVector
from cis.store.store import Store
from cis.store.texts import counting, digest_of, embeddable, vector_of
from cis.store.vectors import VectorIndex
from cis.wire.content import Content, Form
from tests.stores import (
    KEYS,
    PRIVATE_KEYS,
    SPACE,
    STORE_KEY,
    WAIT_S,
    Author,
    open_store,
    opened,
    put,
    recall,
    state_hash,
    sync,
    text,
    write,
)

MODEL = "tiny"
DIMENSIONS = 4


def pointing(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


EAST, NORTH, UP = pointing(1, 0, 0, 0), pointing(0, 1, 0, 0), pointing(0, 0, 1, 0)


def text_digest(store: Store, key: str) -> bytes:
    recalled = recall(store, key)
    assert recalled is not None
    found = embeddable(recalled)
    assert found is not None
    return digest_of(found)


def vector(store: Store, key: str, numbers: bytes = EAST, model: str = MODEL, digest: bytes | None = None) -> Write:
    value = text_digest(store, key) if digest is None else digest
    return Write(SPACE, Kind.VECTOR, Content(key, value, form=Form.BYTES, vector=numbers, vector_model=model))


def take_back(key: str) -> Write:
    return Write(SPACE, Kind.VECTOR, Content(key))


def delete(key: str) -> Write:
    return Write(SPACE, Kind.DELETE, Content(key))


def counts(store: Store, key: str) -> list[str]:
    """The models of which a vector counts for a memory."""
    recalled = recall(store, key)
    assert recalled is not None
    return sorted(counting(recalled, text_digest(store, key)))


def alive(store: Store, key: str) -> list[Kind]:
    with store.snapshot() as reader:
        return sorted(one.change.kind for one in reader.rows.live(KEYS.memory_id(key)))


def nearest(store: Store, query: bytes = EAST, limit: int = 9, model: str = MODEL) -> list[str]:
    """The keys of the nearest memories, best first."""
    with store.index(WAIT_S):
        pass
    found = store.vectors(model).nearest(query, limit)
    with store.index(WAIT_S) as index:
        keys = dict(index.execute("SELECT no, key FROM doc").fetchall())
    return [keys[doc] for doc, _ in found]


def waiting(store: Store, model: str = MODEL) -> list[str]:
    with store.index(WAIT_S):
        pass
    found = [one.key for one in store.unembedded(model, 100)]
    assert store.count_unembedded(model) == len(found)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "s", Author(1)) as store:
        yield store


# --- as changes -------------------------------------------------------------------------------------------


def test_a_vector_makes_no_sibling_and_leaves_value_author_and_time_as_they_were(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1), Author(2)) as (ours, theirs):
        write(ours, put("k", "dark mode"))
        before = recall(ours, "k")
        sync(ours, theirs)
        write(theirs, vector(theirs, "k"))
        sync(theirs, ours)
        after = recall(ours, "k")
        assert before is not None
        assert after is not None
        assert (after.parts, after.siblings, after.shape) == (before.parts, (), before.shape)
        assert counts(ours, "k") == [MODEL]
        assert state_hash(ours) == state_hash(theirs)


def test_a_vector_written_beside_an_edit_is_in_conflict_with_nothing_and_counts_no_more(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1), Author(2)) as (ours, theirs):
        write(ours, put("k", "old"))
        sync(ours, theirs)
        write(theirs, vector(theirs, "k"))
        write(ours, put("k", "new"))
        sync(ours, theirs)
        sync(theirs, ours)
        for store in (ours, theirs):
            recalled = recall(store, "k")
            assert recalled is not None
            assert (recalled.siblings, text(store, "k"), counts(store, "k")) == ((), "new", [])
            assert nearest(store) == []
        assert state_hash(ours) == state_hash(theirs)


def test_a_vector_written_beside_a_delete_brings_nothing_back_and_its_author_takes_it_back(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1), Author(2), Author(3)) as (ours, theirs, third):
        write(ours, put("k", "secret plan"))
        sync(ours, theirs)
        write(theirs, vector(theirs, "k"))
        write(ours, delete("k"))
        for source, target in ((ours, theirs), (theirs, ours), (ours, third), (theirs, third)):
            sync(source, target)
        for store in (ours, theirs, third):
            assert recall(store, "k") is None
            assert alive(store, "k") == [Kind.DELETE, Kind.VECTOR]
            assert nearest(store) == []
            assert store.holdings(SPACE).memories == 0
        assert [key for _, _, key in theirs.dangling_vectors(9)] == ["k"]
        assert third.dangling_vectors(9) == []
        (done,) = write(theirs, take_back("k"))
        assert done.dot is not None
        sync(theirs, ours)
        for store in (ours, theirs):
            assert alive(store, "k") == [Kind.DELETE, Kind.REMOVE]
            nearest(store)
            assert store.dangling_vectors(9) == []
        assert state_hash(ours) == state_hash(theirs)


def test_a_put_or_a_delete_replaces_the_vectors_it_saw(store: Store) -> None:
    write(store, put("a", "one"), put("b", "two"))
    write(store, vector(store, "a"), vector(store, "a", model="other"), vector(store, "b"))
    write(store, put("a", "three"), delete("b"))
    assert (alive(store, "a"), alive(store, "b")) == ([Kind.PUT], [Kind.DELETE])
    assert nearest(store) == []


def test_a_write_that_saw_only_some_values_replaces_the_vectors_with_them(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1), Author(2)) as (ours, theirs):
        write(ours, put("k", "ours"))
        write(theirs, put("k", "theirs"))
        sync(theirs, ours)
        write(ours, vector(ours, "k"))
        recalled = recall(ours, "k")
        assert recalled is not None
        gone = recalled.latest.change.dot
        write(ours, Write(SPACE, Kind.DELETE, Content("k"), saw=frozenset({gone})))
        assert alive(ours, "k") == [Kind.DELETE, Kind.PUT]


@pytest.mark.parametrize("change", ["edited", "deleted", "never", "counter", "bytes"])
def test_a_vector_of_what_is_not_shown_is_not_written(store: Store, change: str) -> None:
    digest = b"d" * 16
    if change in {"edited", "deleted"}:
        write(store, put("k", "old"))
        digest = text_digest(store, "k")
        write(store, put("k", "new") if change == "edited" else delete("k"))
    if change == "counter":
        write(store, Write(SPACE, Kind.COUNT, Content("k", added=3)))
    if change == "bytes":
        write(store, put("k", "raw", form=Form.BYTES))
    assert write(store, vector(store, "k", digest=digest))[0].dot is None


def test_a_vector_that_is_there_is_not_written_again_nor_beside_the_authors_own(store: Store) -> None:
    write(store, put("k", "text"), put("own", "text", vector=NORTH, vector_model=MODEL))
    outcomes = [write(store, vector(store, key))[0].dot is not None for key in ("k", "k", "own")]
    assert outcomes == [True, False, False]


def test_deleting_what_only_has_a_vector_left_is_deleting_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1), Author(2)) as (ours, theirs):
        write(ours, put("k", "text"))
        sync(ours, theirs)
        write(theirs, vector(theirs, "k"))
        write(ours, delete("k"))
        sync(theirs, ours)
        assert write(ours, delete("k"))[0].dot is None
        write(ours, put("k", "again"))
        assert alive(ours, "k") == [Kind.PUT]


def test_vectors_are_taken_back_only_where_nothing_else_is_left(store: Store) -> None:
    write(store, put("k", "text"))
    write(store, vector(store, "k"))
    assert write(store, take_back("k"), take_back("never"))[0].dot is None
    assert counts(store, "k") == [MODEL]


def test_a_vector_replaces_those_of_its_model_and_leaves_other_nodes_other_models(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1), Author(2)) as (ours, theirs):
        items = [Write(SPACE, Kind.ADD, Content("s", value)) for value in (b"x", b"y")]
        write(ours, items[0])
        sync(ours, theirs)
        write(theirs, vector(theirs, "s", model="other"))
        write(ours, vector(ours, "s"))
        sync(theirs, ours)
        write(ours, items[1])
        write(ours, vector(ours, "s", NORTH))
        assert alive(ours, "s") == [Kind.ADD, Kind.ADD, Kind.VECTOR, Kind.VECTOR]
        assert counts(ours, "s") == [MODEL]


def test_a_node_that_changes_models_replaces_its_vectors_of_the_old_one(store: Store) -> None:
    write(store, put("k", "text"))
    write(store, vector(store, "k", model="old"))
    write(store, vector(store, "k", model="new"))
    assert counts(store, "k") == ["new"]


def test_a_set_or_counter_goes_on_where_a_vector_is_left(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1), Author(2)) as (ours, theirs):
        write(ours, put("k", "text"))
        sync(ours, theirs)
        write(theirs, vector(theirs, "k"))
        write(ours, delete("k"))
        sync(theirs, ours)
        write(ours, Write(SPACE, Kind.COUNT, Content("k", added=2)))
        recalled = recall(ours, "k")
        assert recalled is not None
        assert recalled.latest.content is not None
        assert recalled.latest.content.added == 2


@pytest.mark.parametrize(
    "content",
    [
        Content("k", b"d" * 16, form=Form.BYTES, vector=EAST),
        Content("k", b"d" * 15, form=Form.BYTES, vector=EAST, vector_model=MODEL),
        Content("k", b"d" * 16, vector=EAST, vector_model=MODEL),
    ],
)
def test_a_vector_that_does_not_say_of_what_is_refused(store: Store, content: Content) -> None:
    write(store, put("k", "text"))
    (outcome,) = store.write([Write(SPACE, Kind.VECTOR, content)]).result(WAIT_S)
    assert isinstance(outcome, UsageError)


def test_the_vector_shown_is_the_authors_own_else_the_newest_that_counts(store: Store) -> None:
    write(store, put("own", "text", vector=UP, vector_model="mine"), put("k", "text"))
    write(store, vector(store, "own"), vector(store, "k"))
    for key, expected in (("own", "mine"), ("k", MODEL)):
        recalled = recall(store, key)
        assert recalled is not None
        shown = vector_of(recalled)
        assert shown is not None
        assert shown.vector_model == expected


def test_the_text_of_a_set_does_not_depend_on_who_added_what_first(tmp_path: Path) -> None:
    with opened(tmp_path, Author(1), Author(2)) as stores:
        for store, value in zip(stores, (b"x", b"a"), strict=True):
            write(store, Write(SPACE, Kind.ADD, Content("s", value)), put("p", value.decode()))
        sync(stores[0], stores[1])
        sync(stores[1], stores[0])
        assert text_digest(stores[0], "s") == text_digest(stores[1], "s")
        assert text_digest(stores[0], "p") == text_digest(stores[1], "p")


# --- in the index -----------------------------------------------------------------------------------------


def test_what_lacks_a_vector_is_told_newest_first_until_it_has_one(store: Store) -> None:
    write(store, put("a", "one"), Write(SPACE, Kind.COUNT, Content("count", added=1)))
    write(store, put("b", "two"), put("own", "x", vector=UP, vector_model=MODEL))
    assert waiting(store) == ["b", "a"]
    write(store, vector(store, "b"))
    assert waiting(store) == ["a"]
    write(store, put("b", "three"))
    assert waiting(store) == ["b", "a"]
    write(store, delete("b"))
    assert waiting(store) == ["a"]
    assert waiting(store, "other") == ["own", "a"]


def test_of_models_that_are_asked_for_no_more_nothing_is_kept_of_what_lacks_them(store: Store) -> None:
    write(store, put("a", "one"))
    assert (waiting(store, "old"), waiting(store)) == (["a"], ["a"])
    write(store, put("b", "two"))
    assert waiting(store) == ["b", "a"]
    with store.index(WAIT_S) as index:
        query = "SELECT m.name, count(*) FROM wanted w JOIN model m ON m.no = w.model GROUP BY 1"
        assert index.execute(query).fetchall() == [(MODEL, 2)]
    assert waiting(store, "old") == ["b", "a"]


def test_spaces_that_are_not_to_be_embedded_are_left_out(store: Store) -> None:
    private = PRIVATE_KEYS.space
    write(store, put("a", "one"))
    write(store, put("mine", "diary", private))
    waiting(store)
    assert [one.key for one in store.unembedded(MODEL, 9, skip=[private])] == ["a"]
    assert store.count_unembedded(MODEL, skip=[private]) == 1


def test_what_expired_is_not_embedded(tmp_path: Path) -> None:
    author = Author(1)
    with open_store(tmp_path / "s", author) as store:
        write(store, put("short", "text", ttl_ms=1000), put("long", "text"))
        assert sorted(waiting(store)) == ["long", "short"]
        author.clock.ms += 2000
        assert waiting(store) == ["long"]


def test_the_nearest_are_found_through_updates_and_deletes(store: Store) -> None:
    write(store, *[put(key, f"text {key}") for key in "abc"])
    write(store, vector(store, "a", EAST), vector(store, "b", NORTH), vector(store, "c", pointing(2, 1, 0, 0)))
    assert nearest(store) == ["a", "c", "b"]
    write(store, delete("a"), put("b", "other text"))
    assert nearest(store) == ["c"]
    write(store, vector(store, "b", EAST), put("d", "d", vector=UP, vector_model=MODEL))
    assert nearest(store) == ["b", "c", "d"]
    assert nearest(store, limit=1) == ["b"]


def test_models_and_dimensions_stand_side_by_side(store: Store) -> None:
    write(store, put("a", "one", vector=pointing(1, 2), vector_model="other"), put("b", "two"))
    write(store, vector(store, "a"), vector(store, "b", pointing(3)))
    assert nearest(store) == ["a"]
    assert nearest(store, pointing(1, 0), model="other") == ["a"]
    assert nearest(store, pointing(1)) == ["b"]
    assert nearest(store, pointing(1, 0, 0)) == []
    assert store.vectors("other").models()["other"] == (2, 1)


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0, 0), (float("nan"), 1, 0, 0), (float("inf"), 1, 0, 0), (3e38, 3e38, 0, 0)]
)
def test_numbers_without_a_direction_harm_nothing(store: Store, numbers: tuple[float, ...]) -> None:
    write(store, put("hostile", "x", vector=pointing(*numbers), vector_model=MODEL), put("k", "text"))
    write(store, vector(store, "k"))
    assert nearest(store)[0] == "k"
    assert store.vectors(MODEL).nearest(pointing(0, 0, 0, 0), 9) == []
    assert store.vectors(MODEL).nearest(pointing(float("nan"), 0, 0, 0), 9) == []


@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (float("nan"), 1, 0, 0)])
def test_what_was_told_or_given_numbers_without_a_direction_gets_a_vector_all_the_same(
    tmp_path: Path, numbers: tuple[float, ...]
) -> None:
    with opened(tmp_path, Author(1), Author(2)) as (ours, theirs):
        write(ours, put("told", "dark mode"), put("given", "x", vector=pointing(*numbers), vector_model=MODEL))
        sync(ours, theirs)
        write(theirs, vector(theirs, "told", pointing(*numbers)))
        sync(theirs, ours)
        assert sorted(waiting(ours)) == ["given", "told"]
        assert all(one.dot for one in write(ours, vector(ours, "told"), vector(ours, "given", NORTH)))
        assert waiting(ours) == []
        assert nearest(ours) == ["told", "given"]


def test_vectors_of_this_node_alone_are_kept_while_the_text_is_that_one_and_none_was_told(store: Store) -> None:
    write(store, put("a", "one"), put("b", "two"), put("c", "three"))
    write(store, vector(store, "c", NORTH))
    nearest(store)
    lacking = {one.key: one for one in store.unembedded(MODEL, 9)}
    stale = LocalVector(lacking["b"].memory, b"d" * 16, MODEL, EAST)
    told = LocalVector(KEYS.memory_id("c"), text_digest(store, "c"), MODEL, EAST)
    kept = LocalVector(lacking["a"].memory, lacking["a"].digest, MODEL, EAST)
    store.keep_vectors([stale, told, kept]).result(WAIT_S)
    assert nearest(store) == ["a", "c"]
    assert store.vectors(MODEL).nearest(EAST, 2)[1][1] == pytest.approx(0)
    assert waiting(store) == ["b"]
    write(store, vector(store, "a", UP, model="other"))
    assert nearest(store) == ["a", "c"]
    write(store, put("a", "changed"))
    assert nearest(store) == ["c"]


def test_only_what_is_allowed_is_found(store: Store) -> None:
    keys = [f"k{number}" for number in range(40)]
    write(store, *[put(key, key, vector=pointing(1, at, 0, 0), vector_model=MODEL) for at, key in enumerate(keys)])
    with store.index(WAIT_S) as index:
        docs = dict(index.execute("SELECT key, no FROM doc").fetchall())
    for allowed in (["k3", "k1"], [f"k{number}" for number in range(1, 30)]):
        found = store.vectors(MODEL).nearest(EAST, 2, [docs[key] for key in allowed])
        assert [doc for doc, _ in found] == [docs["k1"], docs["k3" if len(allowed) == 2 else "k2"]]
    assert store.vectors(MODEL).nearest(EAST, 2, [10**9, -1]) == []


def test_an_index_made_anew_finds_the_same_but_for_what_this_node_embedded_for_itself(store: Store) -> None:
    write(store, put("a", "one"), put("b", "two"), put("c", "three", vector=UP, vector_model=MODEL))
    write(store, vector(store, "a"))
    nearest(store)
    (lacking,) = store.unembedded(MODEL, 9)
    store.keep_vectors([LocalVector(lacking.memory, lacking.digest, MODEL, NORTH)]).result(WAIT_S)
    assert nearest(store) == ["a", "b", "c"]
    store.reindex()
    assert nearest(store) == ["a", "c"]
    assert waiting(store) == ["b"]


def test_vectors_wait_for_their_keys(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with open_store(folder, Author(1)) as store:
        write(store, put("k", "text"))
        write(store, vector(store, "k"))
    (folder / "index.db").unlink()
    with Store(folder, STORE_KEY, Author(1).setting()) as store:
        assert nearest(store) == []
        store.add_space(KEYS, "public", replicated=True)
        assert nearest(store) == ["k"]


def test_vectors_loaded_once_follow_by_what_changed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, *[put(f"k{number}", "x", vector=EAST, vector_model=MODEL) for number in range(20)])
    assert len(nearest(store, limit=99)) == 20
    monkeypatch.setattr(VectorIndex, "_loaded", None)
    write(store, delete("k3"), put("new", "x", vector=NORTH, vector_model=MODEL))
    assert set(nearest(store, limit=99)) == {"new", *(f"k{number}" for number in range(20) if number != 3)}


def test_vectors_that_could_not_be_brought_up_to_date_are_loaded_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, put("k1", "x", vector=EAST, vector_model=MODEL), put("k2", "x", vector=EAST, vector_model=MODEL))
    assert nearest(store) == ["k1", "k2"]
    write(store, put("k2", "y", vector=NORTH, vector_model=MODEL))
    with store.index(WAIT_S):
        pass
    with monkeypatch.context() as broken:
        broken.setattr(vectors, "_SOME", "SELECT fails")
        with pytest.raises(apsw.SQLError):
            store.vectors(MODEL).nearest(EAST, 9)
    assert nearest(store, NORTH) == ["k2", "k1"]


def test_asking_for_models_there_are_none_of_keeps_no_file_open(store: Store) -> None:
    assert nearest(store) == []
    assert nearest(store, model="another") == []
    assert [one._connection for one in (store.vectors(MODEL), store.vectors("another"))] == [None, None]
    write(store, put("k", "x", vector=EAST, vector_model=MODEL))
    assert nearest(store) == ["k"]


def test_dropped_vectors_are_loaded_again_when_asked_for(store: Store) -> None:
    write(store, put("k", "x", vector=EAST, vector_model=MODEL))
    vectors = store.vectors(MODEL)
    assert vectors.idle_s == float("inf")
    assert nearest(store) == ["k"]
    assert vectors.idle_s < WAIT_S
    vectors.drop()
    assert vectors.idle_s == float("inf")
    write(store, put("k2", "x", vector=EAST, vector_model=MODEL))
    assert nearest(store) == ["k", "k2"]


def test_listeners_hear_of_rounds_and_their_defects_stop_nothing(store: Store) -> None:
    heard: list[int] = []
    store.on_indexed(lambda: heard.append(1 // 0))
    store.on_indexed(lambda: heard.append(1))
    write(store, put("k", "apple"))
    nearest(store)
    assert heard
