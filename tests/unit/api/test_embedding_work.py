"""Embedding behind the writes: it publishes a node's own, keeps others', holds up nobody, and outlives its model."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cis.api.memories import embedding_work
from cis.api.memories.embedding_due import Due
from cis.api.memories.embedding_schema import Reindex
from cis.api.memories.embedding_work import EmbeddingWork
from cis.api.memories.indexing import IndexOperations
from cis.embedding.choosing import EmbeddingOptions
from cis.errors import Unavailable
from cis.model import Kind, NodeId
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store.author import Write, Written
from cis.store.keeping import Keep, set_keep
from cis.wire.content import Content
from tests.unit.api.embedders import Senses

WAIT_S = 20.0


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalNode]:
    with LocalNode.create(Home(tmp_path / "home"), "solo") as local:
        yield local


@pytest.fixture
def model() -> Senses:
    return Senses()


@pytest.fixture
def start(local: LocalNode) -> Iterator[Callable[..., EmbeddingWork]]:
    started: list[EmbeddingWork] = []

    def start(model: Senses, due: Due | None = None, **options: Any) -> EmbeddingWork:
        work = EmbeddingWork(local, EmbeddingOptions(**options), embedder=lambda _: model)
        if due is not None:
            work._due = due
        started.append(work)
        work.start()
        return work

    yield start
    for work in started:
        work.close()


def put(local: LocalNode, key: str, value: str, space: str = "public") -> None:
    (outcome,) = local.store.write([Write(local.cluster.space(space), Kind.PUT, Content(key, value.encode()))]).result()
    assert isinstance(outcome, Written)


def wait(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "never came"
        threading.Event().wait(0.002)


def waiting(local: LocalNode, work: EmbeddingWork) -> int:
    """How many memories wait, whatever was written before counted."""
    with local.store.index():
        pass
    return work.waiting()


def vectors_of(local: LocalNode, key: str, space: str = "public") -> int:
    """How many vectors are published of a memory."""
    with local.store.snapshot() as reader:
        recalled = reader.recall(local.cluster.space(space), key)
    return len(recalled.vectors) if recalled is not None else 0


def indexed(local: LocalNode) -> int:
    """How many memories have a vector in the index."""
    with local.store.index() as index:
        return int(index.execute("SELECT count(*) FROM vec").get)


def test_what_this_node_wrote_gets_a_vector_that_others_will_have_too(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses
) -> None:
    put(local, "before", "dark")
    work = start(model)
    put(local, "after", "release")
    wait(lambda: vectors_of(local, "before") and vectors_of(local, "after"))
    wait(lambda: waiting(local, work) == 0)
    with local.store.snapshot() as reader:
        recalled = reader.recall(local.cluster.public, "after")
    assert recalled is not None
    content = recalled.vectors[0].content
    assert content is not None
    assert content.vector_model == "senses"
    assert np.allclose(np.frombuffer(content.vector, "<f4"), model.embed(["after\nrelease"])[0], atol=1e-6)


def test_several_go_out_in_one_changeset_and_none_twice(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses
) -> None:
    writes = [Write(local.cluster.public, Kind.PUT, Content(f"k/{number}", b"dark")) for number in range(20)]
    local.store.write(writes).result()
    commits: list[int] = []
    local.store.on_commit(lambda commit: commits.append(len(commit.written)))
    work = start(model)
    wait(lambda: waiting(local, work) == 0)
    assert commits == [1]
    assert len(model.texts) == 20


def test_others_memories_get_a_vector_here_alone_once_somebody_searches(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses
) -> None:
    put(local, "theirs", "dark")
    work = start(model, Due(NodeId(b"x" * 32)))
    wait(lambda: waiting(local, work) == 1)
    assert work.catch_up(WAIT_S) == 0
    assert indexed(local) == 1
    assert vectors_of(local, "theirs") == 0


def test_others_memories_get_a_vector_after_a_while(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses
) -> None:
    put(local, "theirs", "dark")
    work = start(model, Due(NodeId(b"x" * 32), grace_s=0.2))
    wait(lambda: waiting(local, work) == 0)
    assert vectors_of(local, "theirs") == 0


def test_no_write_waits_for_the_model(local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses) -> None:
    model.gate.clear()
    start(model)
    put(local, "first", "dark")
    assert model.begun.wait(WAIT_S)
    for number in range(20):
        put(local, f"k/{number}", "dark")
    assert model.texts == []
    model.gate.set()


def test_a_text_that_changed_while_it_was_embedded_gets_no_vector_of_the_old_one(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses
) -> None:
    model.gate.clear()
    work = start(model)
    put(local, "k", "dark")
    assert model.begun.wait(WAIT_S)
    put(local, "k", "noodles")
    model.gate.set()
    wait(lambda: vectors_of(local, "k") and waiting(local, work) == 0)
    assert vectors_of(local, "k") == 1
    assert model.texts == ["k\ndark", "k\nnoodles"]


def test_closing_does_not_wait_for_the_model(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses
) -> None:
    model.gate.clear()
    work = start(model)
    put(local, "k", "dark")
    assert model.begun.wait(WAIT_S)
    began = time.monotonic()
    work.close()
    assert time.monotonic() - began < 5 * embedding_work.CLOSE_S
    model.gate.set()
    work._thread.join(WAIT_S)
    assert not work._thread.is_alive()
    assert vectors_of(local, "k") == 0


def test_a_failing_model_is_tried_again_ever_later_and_told_until_it_works(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_work, "BACKOFF_S", 0.01)
    model.broken = True
    work = start(model)
    put(local, "k", "dark")
    wait(lambda: work._failures >= 4)
    assert work.problem == work.state().problem == "the model is out of order"
    model.broken = False
    wait(lambda: vectors_of(local, "k"))
    wait(lambda: work.problem == "")


def test_a_defect_of_the_model_does_not_end_the_work(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_work, "BACKOFF_S", 0.01)
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda texts: 1 / 0)
    work = start(model)
    put(local, "k", "dark")
    wait(lambda: "defect" in work.problem)
    monkeypatch.setattr(model, "embed", embed)
    wait(lambda: vectors_of(local, "k"))


def test_a_text_the_model_refuses_holds_up_no_other_and_no_search(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses, caplog: pytest.LogCaptureFixture
) -> None:
    model.refuses = "poison"
    work = start(model)
    put(local, "older", "dark")
    put(local, "newer", "poison")
    wait(lambda: vectors_of(local, "older"))
    wait(lambda: "refuses 1 text" in caplog.text)
    wait(lambda: waiting(local, work) == 0)
    assert (vectors_of(local, "newer"), indexed(local), work.problem) == (0, 1, "")
    assert deque(IndexOperations(local, work).reindex(Reindex(vectors=True)), maxlen=1)[0].done
    with pytest.raises(Unavailable, match="refuses this query"):
        work.embed_query("poison")
    assert work.problem == ""
    put(local, "newer", "release")
    wait(lambda: vectors_of(local, "newer"))
    assert "poison" not in caplog.text


@pytest.mark.parametrize("private", [False, True])
def test_a_server_is_given_what_is_private_only_where_a_setting_says_so(
    local: LocalNode, start: Callable[..., EmbeddingWork], private: bool
) -> None:
    model = Senses(local=False)
    put(local, "secret", "dark", "private")
    put(local, "open", "dark")
    work = start(model, private=private)
    wait(lambda: waiting(local, work) == 0)
    wait(lambda: vectors_of(local, "open"))
    assert ("secret\ndark" in model.texts) == private
    assert vectors_of(local, "secret", "private") == private


def test_a_local_model_is_given_what_is_private(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses
) -> None:
    put(local, "secret", "dark", "private")
    start(model)
    wait(lambda: vectors_of(local, "secret", "private"))


def test_what_is_not_used_gives_its_memory_back(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses
) -> None:
    work = start(model, unload_after_s=0.1)
    put(local, "k", "dark")
    wait(lambda: waiting(local, work) == 0)
    assert local.store.vectors("senses").nearest(work.embed_query("dark"), 5)
    assert model.unloaded.wait(WAIT_S)
    wait(lambda: local.store.vectors("senses").idle_s == float("inf"))
    assert work.embed_query("dark") is not None


def test_a_query_goes_before_what_waits(local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses) -> None:
    writes = [Write(local.cluster.public, Kind.PUT, Content(f"k/{number}", b"dark")) for number in range(200)]
    local.store.write(writes).result()
    work = start(model)
    wait(lambda: model.texts)
    work.embed_query("now")
    assert "now" in model.texts[: 200 + 1]
    wait(lambda: waiting(local, work) == 0)


def test_a_vector_left_over_by_a_deletion_elsewhere_is_taken_back(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[Write]] = []
    write = local.store.write

    def spy(writes: Any) -> Any:
        told.append(list(writes))
        return write(writes)

    place = (local.cluster.public, b"m" * 16, "gone")
    left = [[place], []]
    monkeypatch.setattr(local.store, "dangling_vectors", lambda limit: left.pop(0) if left else [])
    monkeypatch.setattr(local.store, "write", spy)
    start(model)
    wait(lambda: told)
    assert [(one.kind, one.content) for one in told[0]] == [(Kind.VECTOR, Content("gone"))]


def test_what_is_kept_without_vectors_is_not_embedded_nor_waited_for(
    local: LocalNode, start: Callable[..., EmbeddingWork], model: Senses
) -> None:
    policy = Keep(vectors=False)
    local.store.execute(lambda connection: set_keep(connection, local.cluster.public, policy, os.urandom)).result()
    put(local, "light", "dark")
    put(local, "secret", "dark", "private")
    work = start(model)
    wait(lambda: vectors_of(local, "secret", "private"))
    assert waiting(local, work) == 0
    assert model.texts == ["secret\ndark"]
