"""Operations on memories, as every command and agent meets them."""

from __future__ import annotations

import base64
import math
import struct
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, get_ident
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cis.api.embedded import EmbeddedNode
from cis.api.exchange.entry import Entry
from cis.api.files import export_file, read_entries
from cis.api.memories.memory_schema import (
    AddToMemory,
    DeleteMemory,
    ExportMemories,
    GetMemory,
    ImportBatch,
    IncrementMemory,
    ListConflicts,
    ListMemories,
    Memory,
    MemoryHistory,
    MemoryStats,
    Page,
    RemoveFromMemory,
    SearchMemories,
    SetMemory,
)
from cis.api.peers.network_schema import GetStatus, ListPeers
from cis.errors import Changed, Unavailable, UsageError
from cis.model import Kind
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store.author import Write
from cis.wire.content import Content, Form
from tests.unit.api.clocks import Clock


def get(node: EmbeddedNode, key: str, space: str = "public") -> Memory:
    found = node.call(GetMemory(key=key, space=space))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        ("dark mode", "text", "dark mode"),
        ("", "text", ""),
        ({"b": 1, "a": [None, 1.5]}, "json", {"b": 1, "a": [None, 1.5]}),
        (base64.b64encode(b"\xff\0").decode(), "bytes", {"base64": base64.b64encode(b"\xff\0").decode()}),
    ],
)
def test_a_value_comes_back_in_its_form(node: EmbeddedNode, value: object, form: str, shown: object) -> None:
    assert node.call(SetMemory(key="k", value=value, form=form, category="task", tags=("a",))).changed
    found = get(node, "k")
    assert (found.value, found.form, found.category, found.tags) == (shown, form, "task", ("a",))
    assert (found.author, found.space, found.type) == ("solo", "public", "register")


@pytest.mark.parametrize(("value", "form"), [(5, "text"), ("no base64!", "bytes"), ("\ud800", "text"), (None, "bytes")])
def test_a_value_that_is_not_of_its_form_is_refused(node: EmbeddedNode, value: object, form: str) -> None:
    with pytest.raises(UsageError):
        node.call(SetMemory(key="k", value=value, form=form))


def test_private_and_public_are_apart(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="k", value="mine", space="private"))
    assert node.call(GetMemory(key="k")) is None
    assert get(node, "k", "private").value == "mine"
    assert node.call(GetStatus()).memories == 0
    assert [one.space for one in node.call(ListMemories()).memories] == ["private"]
    assert node.call(ListMemories(space="public")).memories == ()
    assert list(node.stream(ExportMemories())) == []


def test_a_vector_is_kept_and_told(node: EmbeddedNode) -> None:
    data = base64.b64encode(b"\0\0\x80\x3f" * 3).decode()
    node.call(SetMemory(key="k", value="v", vector=data, vector_model="m"))
    vector = get(node, "k").vector
    assert vector is not None
    assert (vector.model, vector.dimensions) == ("m", 3)


def test_deleting_tells_whether_there_was_something(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="k", value="v"))
    assert node.call(DeleteMemory(key="k")).changed
    assert not node.call(DeleteMemory(key="k")).changed
    assert node.call(GetMemory(key="k")) is None


def test_a_counter_counts_both_ways_and_keeps_its_category(node: EmbeddedNode) -> None:
    assert node.call(IncrementMemory(key="n", by=5, category="task")).value == 5
    assert node.call(IncrementMemory(key="n", by=-7)).value == -2
    assert (get(node, "n").type, get(node, "n").value, get(node, "n").category) == ("counter", -2, "task")


def test_a_set_holds_each_element_once(node: EmbeddedNode) -> None:
    node.call(AddToMemory(key="s", values=("b", "a", "b"), category="skill"))
    node.call(AddToMemory(key="s", values=({"y": 1, "x": 2},), form="json"))
    node.call(AddToMemory(key="s", values=({"x": 2, "y": 1},), form="json"))
    assert sorted(map(str, get(node, "s").value)) == ["a", "b", "{'x': 2, 'y': 1}"]
    assert node.call(RemoveFromMemory(key="s", values=("a", "b"))).changed
    assert not node.call(RemoveFromMemory(key="s", values=("a",))).changed
    assert get(node, "s").value == [{"x": 2, "y": 1}]
    assert get(node, "s").category == "skill"


def test_a_memory_of_another_type_is_not_mixed_up(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="k", value="v"))
    with pytest.raises(UsageError, match="is a register, not a counter"):
        node.call(IncrementMemory(key="k"))
    with pytest.raises(UsageError, match="is a register, not a set"):
        node.call(AddToMemory(key="k", values=("x",)))


def test_an_expired_memory_is_hidden_everywhere_and_begins_anew(node: EmbeddedNode, clock: Clock) -> None:
    node.call(SetMemory(key="k", value="findme", ttl_s=10))
    node.call(IncrementMemory(key="n", by=5))
    assert get(node, "k").expires_ms == clock.ms + 10_000
    clock.ms += 10_001
    assert node.call(GetMemory(key="k")) is None
    assert [one.key for one in node.call(ListMemories()).memories] == ["n"]
    assert node.call(SearchMemories(query="findme", mode="words")).hits == ()
    assert [row["key"] for row in node.stream(ExportMemories())] == ["n"]
    assert node.call(MemoryStats()).spaces[0].memories == 1
    assert node.call(IncrementMemory(key="k", by=2)).value == 2
    assert get(node, "k").expires_ms is None


def test_lists_are_filtered_and_paged_in_order_of_key(node: EmbeddedNode) -> None:
    for key in ("b/1", "a/2", "a/1", "c"):
        node.call(SetMemory(key=key, value=key, category=key[0], tags=(f"tag-{key[0]}", "all")))
    node.call(SetMemory(key="a/1", value="twin", space="private"))

    def keys(request: ListMemories) -> list[str]:
        return [one.key for one in node.call(request).memories]

    assert keys(ListMemories()) == ["a/1", "a/1", "a/2", "b/1", "c"]
    assert keys(ListMemories(prefix="a/", space="public")) == ["a/1", "a/2"]
    assert keys(ListMemories(category="b")) == ["b/1"]
    assert keys(ListMemories(tag="tag-c")) == ["c"]
    assert keys(ListMemories(tag="tag")) == []
    assert keys(ListMemories(prefix="%")) == []
    seen: list[str] = []
    after: str | None = None
    while True:
        page = node.call(ListMemories(limit=2, after=after))
        seen += [one.key for one in page.memories]
        if (after := page.next) is None:
            break
    assert seen == ["a/1", "a/1", "a/2", "b/1", "c"]
    assert keys(ListMemories(after="a/1")) == ["a/2", "b/1", "c"]


@pytest.mark.parametrize("order", ["key", "newest"])
def test_a_page_reads_no_more_of_the_index_than_it_shows(node: EmbeddedNode, order: Literal["key", "newest"]) -> None:
    keys = [f"{letter}/{number:02}" for letter in "abc" for number in range(40)]
    for key in keys:
        node.call(SetMemory(key=key, value="v"))
    steps = Counter[str]()

    def page(**fields: Any) -> tuple[Page, int]:
        steps.clear()
        return node.call(ListMemories(order=order, **fields)), steps.total()

    own = threading.get_ident()  # the one that embeds asks the same connection
    with node.local.store.index() as index:
        index.set_progress_handler(lambda: bool(threading.get_ident() == own and steps.update("x")), 1)
    everything = page(limit=200)[1]
    prefix = "b/" if order == "key" else ""
    first, took = page(prefix=prefix, limit=20)
    second, took_again = page(prefix=prefix, limit=20, after=first.next)
    shown = [one.key for one in (*first.memories, *second.memories)]
    assert shown == (keys[40:80] if order == "key" else keys[:-41:-1])
    assert 3 * max(took, took_again) < everything
    assert order == "newest" or 3 * page(prefix="a/39", limit=20)[1] < everything


def test_a_prefix_is_any_text_a_key_begins_with(node: EmbeddedNode) -> None:
    for key in ("a", "a\U0010ffff", "a\U0010ffff\U0010ffffz", "b", "ä"):
        node.call(SetMemory(key=key, value="v"))
    assert [one.key for one in node.call(ListMemories(prefix="a")).memories] == [
        "a",
        "a\U0010ffff",
        "a\U0010ffff\U0010ffffz",
    ]
    assert [one.key for one in node.call(ListMemories(prefix="a\U0010ffff", limit=1)).memories] == ["a\U0010ffff"]
    assert node.call(ListMemories(prefix="a", after="b")).memories == ()


def test_search_finds_all_words_first_and_any_word_else(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="editor", value="dark mode, always", category="preference"))
    node.call(SetMemory(key="lamp", value="a dark corner", tags=("light",)))

    def keys(query: str, **filters: str) -> list[str]:
        found = node.call(SearchMemories(query=query, mode="words", **filters))
        return [hit.memory.key for hit in found.hits]

    assert keys("corner dark") == ["lamp", "editor"]
    assert keys("dark mode") == ["editor", "lamp"]
    assert set(keys("dark theme")) == {"editor", "lamp"}
    assert keys("ligh") == ["lamp"]
    assert keys("dark", category="preference") == ["editor"]
    assert "dark mode" in node.call(SearchMemories(query="mode", mode="words")).hits[0].snippet


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(query=st.text(max_size=40) | st.sampled_from(['"', "a OR", "NEAR(", "key:x", "a* b^", "-a", "{a b}", "x AND"]))
def test_no_query_is_a_syntax_error(node: EmbeddedNode, query: str) -> None:
    if any(character.isalnum() for character in query):
        try:
            node.call(SearchMemories(query=query, mode="words"))
        except UsageError:
            return
    else:
        with pytest.raises(UsageError):
            node.call(SearchMemories(query=query, mode="words"))


def test_history_lists_what_is_known_newest_first(node: EmbeddedNode) -> None:
    for value in ("first", "second"):
        node.call(SetMemory(key="k", value=value))
    node.call(DeleteMemory(key="k"))
    versions = node.call(MemoryHistory(key="k"))
    assert versions[0].kind == "delete"
    assert all(one.author == "solo" for one in versions)
    assert node.call(ListConflicts()) == ()


def test_stats_count_by_space_and_category(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="a", value="1", category="task"))
    node.call(SetMemory(key="b", value="2"))
    public = node.call(MemoryStats()).spaces[0]
    assert (public.name, public.memories, public.categories) == ("public", 2, {"note": 1, "task": 1})
    assert [(one.author, one.held) for one in public.replicas] == [("solo", 2)]
    before = public.state_hash
    node.call(SetMemory(key="b", value="3"))
    assert node.call(MemoryStats()).spaces[0].state_hash != before


def test_a_batch_adds_to_sets_leaves_counters_and_skips_what_is_there(node: EmbeddedNode) -> None:
    rows: tuple[dict[str, object], ...] = (
        {"key": "r", "value": "v", "category": "task"},
        {"key": "c", "type": "counter", "value": {"added": 3, "subtracted": 1}},
        {"key": "s", "type": "set", "value": [["text", "a"]]},
        {"key": "", "value": "no key"},
        {"key": "big", "value": "x" * (256 * 1024 + 1)},
    )
    first = node.call(ImportBatch(rows=rows))
    assert (first.written, first.unchanged, [one.row for one in first.problems]) == (3, 0, [3, 4])
    node.call(AddToMemory(key="s", values=("b",)))
    second = node.call(ImportBatch(rows=rows))
    assert (second.written, second.unchanged, [one.row for one in second.problems]) == (0, 2, [1, 3, 4])
    assert (get(node, "c").value, get(node, "s").value) == (2, ["a", "b"])
    with pytest.raises(UsageError, match="2048"):
        node.call(ImportBatch(rows=({"key": "k", "value": "v"},) * 2049))


def test_no_memory_whoever_wrote_it_stops_an_export_or_a_list(node: EmbeddedNode, tmp_path: Path) -> None:
    awkward = (
        Content("no category", b"v", category=""),
        Content("strange words\x85", b"v", category="a\nb", tags=("\t", "a\x1bc")),
        Content("no direction", b"v", vector=struct.pack("<2f", math.nan, 1), vector_model=""),
        Content("grows", b"[" + b"9e99," * 50_000 + b"1]", form=Form.JSON),
        Content("no text", b"\xff"),
        Content("half a character", b'{"\\ud800": ["\\udfff"]}', form=Form.JSON),
        Content("deep", b"[" * 900 + b"]" * 900, form=Form.JSON),
        Content("long", b"9" * 30, form=Form.JSON),
    )
    space = node.local.cluster.public
    node.local.store.write([Write(space, Kind.PUT, one) for one in awkward]).result()
    export_file(node, tmp_path / "all.jsonl")
    export_file(node, tmp_path / "notes")
    for path in (tmp_path / "all.jsonl", tmp_path / "notes"):
        rows = {one.key: one for one in read_entries(path, None) if isinstance(one, Entry)}
        assert set(rows) == {one.key for one in awkward}
        assert (rows["no category"].category, rows["no category"].value) == ("note", "v")
        assert (rows["strange words\x85"].category, rows["strange words\x85"].tags) == ("ab", ("ac",))
        for one in awkward:
            if one.form == Form.JSON:
                assert (rows[one.key].form, rows[one.key].value) == ("bytes", one.value)
    shown = msgspec.json.encode(node.call(ListMemories()))
    assert len(msgspec.json.decode(shown, type=Page).memories) == len(awkward)


def test_a_counter_that_comes_twice_in_a_batch_counts_once(node: EmbeddedNode) -> None:
    row = {"key": "c", "type": "counter", "value": {"added": 3, "subtracted": 1}}
    result = node.call(ImportBatch(rows=(row, row)))
    assert (result.written, [problem.row for problem in result.problems]) == (1, [1])
    assert get(node, "c").value == 2


def test_what_is_exported_is_what_is_taken_in(node: EmbeddedNode, tmp_path: Path) -> None:
    node.call(SetMemory(key="r", value={"a": 1}, form="json", tags=("t",), ttl_s=60))
    node.call(IncrementMemory(key="c", by=-4))
    node.call(AddToMemory(key="s", values=("x", "y")))
    rows = tuple(node.stream(ExportMemories()))
    assert [row["key"] for row in rows] == ["c", "r", "s"]
    home = Home(tmp_path / "other")
    with EmbeddedNode(LocalNode.create(home, "other")) as other:
        assert other.call(ImportBatch(rows=rows)).written == 3
        assert get(other, "c").value == -4
        assert get(other, "s").value == ["x", "y"]
        assert get(other, "r").expires_ms is not None


def test_what_needs_the_network_says_how_to_start_it(node: EmbeddedNode) -> None:
    with pytest.raises(Unavailable, match="cis up"):
        node.call(ListPeers())


def test_a_write_for_one_version_replaces_only_that(node: EmbeddedNode) -> None:
    with pytest.raises(Changed, match="read it again"):
        node.call(SetMemory(key="k", value="one", version="0123456789ab"))
    node.call(SetMemory(key="k", value="one", version=""))
    with pytest.raises(Changed):
        node.call(SetMemory(key="k", value="two", version=""))
    first = get(node, "k").version
    node.call(SetMemory(key="k", value="two", version=first))
    for request in (SetMemory(key="k", value="three", version=first), DeleteMemory(key="k", version=first)):
        with pytest.raises(Changed):
            node.call(request)
    assert get(node, "k").value == "two"
    assert node.call(DeleteMemory(key="k", version=get(node, "k").version)).changed
    assert node.call(SetMemory(key="k", value="again", version="")).changed


def test_of_many_that_write_for_one_version_at_once_one_succeeds(node: EmbeddedNode) -> None:
    writers, rounds = 8, 5
    node.call(SetMemory(key="k", value="0"))

    def attempt(version: str, at_once: Barrier) -> bool:
        at_once.wait()
        try:
            return node.call(SetMemory(key="k", value=str(get_ident()), version=version)).changed
        except Changed:
            return False

    with ThreadPoolExecutor(writers) as pool:
        for _ in range(rounds):
            arguments = ([get(node, "k").version] * writers, [Barrier(writers)] * writers)
            assert Counter(pool.map(attempt, *arguments)) == {True: 1, False: writers - 1}


def test_a_time_that_passed_is_a_change_too(node: EmbeddedNode, clock: Clock) -> None:
    node.call(SetMemory(key="k", value="brief", ttl_s=10))
    version = get(node, "k").version
    clock.ms += 11_000
    with pytest.raises(Changed):
        node.call(SetMemory(key="k", value="late", version=version))
    assert node.call(SetMemory(key="k", value="new", version="")).changed
