"""The record of decisions: in order, repeats counted, bounded, and never waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import count
from typing import Any

import apsw
import pytest

from cis.model import NodeId
from cis.store import decisions
from cis.store.decisions import Decision, Decisions, read_decisions
from cis.store.schema import MEMORY_MIGRATIONS

ANA = NodeId(b"a" * 32)


class Desk:
    """Runs tasks when the test says so."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        for script in MEMORY_MIGRATIONS:
            self.connection.execute(script)
        self.tasks: list[tuple[Callable[[apsw.Connection], Any], Future[Any]]] = []
        clock = count(1)
        self.decisions = Decisions(self.execute, lambda: next(clock))

    def execute(self, task: Callable[[apsw.Connection], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self.tasks.append((task, future))
        return future

    def work(self) -> None:
        while self.tasks:
            task, future = self.tasks.pop(0)
            future.set_result(task(self.connection))

    def read(self, limit: int = 100) -> list[Decision]:
        self.work()
        return read_decisions(self.connection, limit)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.connection.close()


def test_what_was_decided_is_read_back_with_the_newest_last(desk: Desk) -> None:
    desk.decisions.record("granted", ANA, "writer")
    desk.decisions.record("refused", None, "a stranger")
    assert desk.read() == [Decision(1, "granted", ANA, "writer", 1), Decision(2, "refused", None, "a stranger", 1)]
    assert [one.what for one in desk.read(1)] == ["refused"]


def test_a_decision_that_repeats_the_one_before_is_counted(desk: Desk) -> None:
    for _ in range(3):
        desk.decisions.record("refused", None, "a stranger")
    desk.work()
    desk.decisions.record("refused", None, "a stranger")
    desk.decisions.record("refused", ANA, "a stranger")
    assert [(one.at_ms, one.node, one.count) for one in desk.read()] == [(4, None, 4), (5, ANA, 1)]


def test_decisions_that_wait_for_the_disk_are_written_together_and_bounded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.decisions = Decisions(desk.execute, lambda: 0)
    for number in range(decisions.WAITING_MAX + 5):
        desk.decisions.record("refused", None, str(number))
    assert len(desk.tasks) == 1
    assert desk.read(2000)[0].detail == "5"


def test_strangers_cannot_push_out_what_was_decided_about_members(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "KEPT_MAX", 10)
    monkeypatch.setattr(decisions, "TRIMMED_AT", 12)
    desk.decisions.record("revoked", ANA, "by the founder")
    for number in range(50):
        desk.decisions.record("refused", None, str(number))
        desk.work()
    kept = desk.read()
    assert len(kept) <= 12
    assert kept[0].what == "revoked"
    assert kept[-1].detail == "49"


def test_a_detail_of_any_length_is_cut(desk: Desk) -> None:
    desk.decisions.record("refused", None, "x" * 10_000)
    assert len(desk.read()[0].detail) == decisions.DETAIL_CHARACTERS_MAX
