"""The blocking half of the Python API is made from the other, and from nothing else."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import cis
from tools import unasync


def test_the_blocking_clients_are_what_the_tool_makes() -> None:
    assert unasync.main(["--check"]) == 0


def test_what_was_edited_by_hand_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = tmp_path / "synchronous.py"
    edited.write_text(unasync.TARGET.read_text(encoding="utf-8") + "# by hand\n", encoding="utf-8")
    monkeypatch.setattr(unasync, "TARGET", edited)
    assert unasync.main(["--check"]) == 1
    assert unasync.main([]) == 0
    assert unasync.main(["--check"]) == 0


@pytest.mark.parametrize(("one", "other"), [(cis.AsyncSpace, cis.Space), (cis.AsyncClient, cis.Client)])
def test_both_halves_have_the_same_methods_with_the_same_parameters(one: type, other: type) -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(method).parameters) for name, method in found if name[0] != "_"}

    ours, theirs = methods(one), methods(other)
    if "aclose" in ours:
        ours["close"] = ours.pop("aclose")
    assert ours == theirs
