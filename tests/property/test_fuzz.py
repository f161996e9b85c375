"""A sample of every fuzz target, and that a fuzz target finds what it is there to find."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from cis.api.http_serving import Answer
from fuzz import corpus, hunting
from fuzz.__main__ import main
from fuzz.mutating import Mutator, several
from fuzz.registry import find, targets
from fuzz.target import Shared, Target, script, steps_in
from fuzz.targets import schema

INPUTS_MAX = 100
CPU_S_MAX = 0.3
"""Of each target beside its seeds, whichever comes first: some take milliseconds for an input."""
ALL = targets()


@pytest.fixture(scope="module", autouse=True)
def _left() -> Iterator[None]:
    yield
    Shared.leave_all()


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_a_target_lets_nothing_pass_but_what_is_documented(target: Target) -> None:
    seeds = [*target.seeds(), *corpus.kept(target)]
    for data in seeds:
        target.try_one(data)
    chance = Random(target.name)
    until = time.process_time() + CPU_S_MAX
    for data in several(seeds, Mutator(chance, target.bytes_max), chance, INPUTS_MAX):
        if time.process_time() > until:
            break
        target.try_one(data)


def test_every_target_has_a_name_of_its_own_a_sentence_and_seeds() -> None:
    assert len({target.name for target in ALL}) == len(ALL)
    for target in ALL:
        assert target.run.__doc__
        assert find(target.name) == target


def test_what_the_repository_keeps_is_small_and_of_targets_there_are() -> None:
    kept = [path for path in corpus.KEPT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) < 200_000
    assert {path.parent.name for path in kept} <= {target.name for target in ALL}


def _fragile(data: bytes) -> None:
    """Breaks on one number in one place."""
    for number, inner in steps_in(data):
        if number == 7 and len(inner) > 32:
            raise ZeroDivisionError


FRAGILE = Target("planted.fragile", _fragile, lambda: [script((3, bytes(32)), (4, b""))])


def test_a_planted_defect_is_found_written_down_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hunting, "CRASHES", tmp_path)
    monkeypatch.setattr(hunting, "is_guided", lambda: False)
    found = hunting.hunt(FRAGILE, runs=100_000, seconds=None, seed=1)
    assert found.crash is not None
    with pytest.raises(ZeroDivisionError):
        FRAGILE.try_one(found.crash.read_bytes())
    monkeypatch.setattr("fuzz.__main__.find", lambda _: FRAGILE)
    monkeypatch.setattr("fuzz.__main__.is_guided", lambda: False)
    assert main(["planted.fragile", "--runs", "100000", "--figures", str(tmp_path)]) == 1
    assert "**Found** by planted.fragile" in (tmp_path / "fuzz.md").read_text(encoding="utf-8")
    assert f"python -m fuzz planted.fragile --replay {tmp_path}" in capsys.readouterr().out


def test_of_what_hunts_leave_a_little_of_every_size_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(corpus, "WORK", tmp_path / "work")
    folder = corpus.working(FRAGILE)
    for size in range(1, 200):
        (folder / str(size)).write_bytes(bytes(10 * size))
    for _ in range(2):
        assert corpus.keep(FRAGILE) == len(corpus.kept(FRAGILE)) <= corpus.KEPT_INPUTS_MAX
    sizes = sorted(map(len, corpus.kept(FRAGILE)))
    assert sizes[-1] > 8 * sizes[0]
    assert sum(sizes) <= corpus.KEPT_BYTES_MAX
    assert not set(corpus.kept(FRAGILE)) & set(FRAGILE.seeds())


def test_what_a_boundary_logs_with_a_traceback_counts_as_found(caplog: pytest.LogCaptureFixture) -> None:
    def swallow(_: bytes) -> None:
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            logging.getLogger("cis.planted").exception("a defect")

    with pytest.raises(ZeroDivisionError):
        Target("planted.swallowed", swallow, lambda: [b""]).try_one(b"")
    assert not caplog.records
    logging.getLogger("cis.planted").warning("after it, others hear the log again")
    assert caplog.records


def test_an_answer_that_its_document_does_not_describe_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nonsense(*_: object) -> Answer:
        return Answer(200, "application/json", b'{"nonsense": 1}')

    monkeypatch.setattr(schema, "_ask", nonsense)
    target, chance = find("schema.described"), Random(1)
    inputs = [chance.randbytes(512) for _ in range(20)]
    with pytest.raises(AssertionError, match="nonsense"):
        list(map(target.try_one, inputs))


def test_the_same_chance_makes_the_same_inputs() -> None:
    seeds = list(find("wire.frames").seeds())

    def made() -> list[bytes]:
        chance = Random(5)
        return several(seeds, Mutator(chance, 1000), chance, 200)

    assert made() == made()
    assert len(set(made())) > 150
    assert max(map(len, made())) <= 1000


def test_a_target_there_is_not_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wire.nothing"]) == main(["nothing"]) == 2
    assert "there is no target" in capsys.readouterr().err
