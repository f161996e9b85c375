"""A memory's life on two nodes, as their users see it: conflicts end, what is deleted or expired is found nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT, Home

Couple = tuple[Home, Home]


@contextlib.contextmanager
def parted(couple: Couple) -> Iterator[None]:
    """Keep the two from each other, and bring them together again at the end."""
    first, second = couple
    first.cis("p2p", "disconnect", "two")
    first.wait(lambda status: not status["connected"], "status")
    yield
    first.cis("p2p", "connect", "two")
    first.wait(lambda status: status["connected"], "status")
    second.wait(lambda status: status["connected"], "status")


def in_conflict(couple: Couple, key: str, *, space: str = "public") -> list[dict[str, Any]]:
    """Wait until both list the memory's values, alike, and return them."""
    found = [home.wait(bool, "memory", "conflicts", key, "--space", space)[0]["values"] for home in couple]
    assert found[0] == found[1]
    values: list[dict[str, Any]] = found[0]
    return values


def test_a_conflict_is_shown_alike_on_both_and_resolved_on_one_for_both(couple: Couple) -> None:
    first, second = couple
    with parted(couple):
        first.cis("memory", "set", "plan", "buy milk\ncall Ana\nsleep", "--category", "task")
        second.cis("memory", "set", "plan", "buy bread\ncall Ana\nsleep")
    values = in_conflict(couple, "plan")
    assert [(one["number"], one["author"]) for one in values] == [(1, "two"), (2, "one")]
    for home in couple:
        told = home.cis("memory", "conflicts", "plan")
        assert "-buy bread\n+buy milk\n call Ana\n sleep\n" in told
        assert "category: note in 1, task in 2" in told
        assert all(one["device"] in told and one["id"] in told for one in values)
        assert home.cis("memory", "conflicts", "plan", "--print", "2") == "buy milk\ncall Ana\nsleep\n"
    assert "2 values are one" in second.cis("memory", "resolve", "plan", "--keep", "2")
    for home in couple:
        home.wait(lambda found: found == [], "memory", "conflicts")
        kept = home.json("memory", "get", "plan")
        assert (kept["value"], kept["category"]) == ("buy milk\ncall Ana\nsleep", "task")
        told = home.json("memory", "history", "plan")
        assert [(one["author"], one["resolves"]) for one in told] == [("two", 2), ("two", 0), ("one", 0)]
        assert "resolved 2 values" in home.cis("memory", "history", "plan")


def test_a_conflict_of_types_is_told_and_nothing_replaces_it_unasked(couple: Couple) -> None:
    first, second = couple
    with parted(couple):
        first.cis("memory", "add", "tools", "ruff", "mypy")
        second.cis("memory", "set", "tools", "hammer")
    values = in_conflict(couple, "tools")
    assert [one["type"] for one in values] == ["register", "set"]
    assert "1 is text, 2 is a set" in first.cis("memory", "conflicts", "tools")
    for words in (["set", "tools", "x"], ["add", "tools", "x"], ["incr", "tools"]):
        refused = first.run("memory", *words)
        assert (refused.code, "cis memory conflicts tools" in refused.err) == (2, True)
    first.cis("memory", "resolve", "tools", "--keep", values[1]["id"])
    second.wait(lambda found: found == [], "memory", "conflicts")
    assert second.cis("memory", "members", "tools") == "mypy\nruff\n"
    second.cis("memory", "add", "tools", "uv")
    first.wait(lambda one: one["value"] == ["mypy", "ruff", "uv"], "memory", "get", "tools")


def test_numbers_that_mean_other_values_by_now_change_nothing(couple: Couple) -> None:
    first, second = couple
    for values in (("a", "b"), ("c", "d")):
        with parted(couple):
            first.cis("memory", "set", "moved", values[0])
            second.cis("memory", "set", "moved", values[1])
        shown = first.wait(lambda one: one["conflicts"], "memory", "get", "moved")
        if shown["value"] in ("a", "b"):
            in_conflict(couple, "moved")
    refused = first.run("memory", "resolve", "moved", "--keep", "1")
    assert (refused.code, "changed since they were numbered" in refused.err) == (1, True)
    assert {one["value"] for one in in_conflict(couple, "moved")} == {"c", "d"}
    first.cis("memory", "resolve", "moved", "--keep", "1")
    second.wait(lambda one: not one["conflicts"], "memory", "get", "moved")
    assert "in no conflict" in first.run("memory", "resolve", "moved", "--keep", "1").err


def test_both_values_are_exported_and_imported_as_a_conflict_again(couple: Couple, tmp_path: Path, home: Home) -> None:
    first, second = couple
    with parted(couple):
        first.cis("memory", "set", "both/ways", "left")
        second.cis("memory", "set", "both/ways", "right")
    values = in_conflict(couple, "both/ways")
    for form, name in (("jsonl", "out.jsonl"), ("markdown", "out")):
        out = tmp_path / name
        first.cis("memory", "export", str(out), "--format", form, "--prefix", "both/")
        assert home.json("memory", "import", str(out))["left_out"] == 0
        found = home.json("memory", "conflicts", "both/ways")[0]["values"]
        assert sorted(one["value"] for one in found) == sorted(one["value"] for one in values)
        if form == "jsonl":
            assert [one["value"] for one in found] == [one["value"] for one in values]
            assert home.json("memory", "import", str(out))["unchanged"] == 2
        home.cis("memory", "delete", "both/ways")
    merged = tmp_path / "merged"
    merged.write_text("left and right\n")
    first.cis("memory", "resolve", "both/ways", "--merge", str(merged))
    second.wait(lambda one: one["value"] == "left and right\n", "memory", "get", "both/ways")


def test_what_is_deleted_on_one_is_found_by_no_index_of_either(couple: Couple, tmp_path: Path) -> None:
    first, second = couple
    vector = tmp_path / "vector"
    vector.write_bytes(struct.pack("<4f", 1, 0, 0, 0))
    own = ("--vector", str(vector), "--vector-model", "mine")
    first.cis("memory", "set", "gone", "zyxomma in the reeds", "--tag", "wader", *own)
    searches = [
        ("memory", "search", "zyxomma", "--mode", "words"),
        ("memory", "search", "wader", "--mode", "words"),
        ("memory", "search", "zyxomma in the reeds"),
        ("memory", "search", "", "--mode", "meaning", *own),
    ]

    def finds(found: Any) -> bool:
        return any(hit["memory"]["key"] == "gone" for hit in found["hits"])

    for home in couple:
        for words in searches:
            home.wait(finds, *words)
    second.cis("memory", "delete", "gone")
    first.wait(lambda page: all(one["key"] != "gone" for one in page["memories"]), "memory", "list")
    for number, home in enumerate(couple):
        assert home.run("memory", "get", "gone").code == 1
        assert not any(finds(home.json(*words)) for words in searches)
        assert home.json("memory", "list", "--prefix", "gone")["memories"] == []
        out = tmp_path / f"out{number}.jsonl"
        home.cis("memory", "export", str(out))
        assert "zyxomma" not in out.read_text()
        home.cis("memory", "compact")
        assert not any(finds(home.json(*words)) for words in searches)
        assert home.json("memory", "history", "gone")[0]["kind"] == "delete"


def test_what_expires_is_gone_on_both_at_its_time_and_its_watchers_are_told(couple: Couple, tmp_path: Path) -> None:
    first, second = couple
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [
        sys.executable,
        "-m",
        "cis",
        "--home",
        str(second.path),
        "memory",
        "watch",
        "--json",
        "--prefix",
        "brief",
    ]
    with subprocess.Popen(
        [*command, "--limit", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as watching:
        assert watching.stderr is not None
        assert watching.stderr.readline() == "watching\n"
        first.cis("memory", "set", "brief", "mayfly", "--ttl", "4s")
        out, _ = watching.communicate(timeout=30)
    told = [json.loads(line) for line in out.splitlines()]
    assert [(one["event"], one["kind"], one["author"]) for one in told] == [
        ("set", "put", "one"),
        ("expire", None, "one"),
    ]
    for home in couple:
        assert home.run("memory", "get", "brief").code == 1
        assert home.json("memory", "list", "--prefix", "brief")["memories"] == []
        assert home.json("memory", "search", "mayfly", "--mode", "words")["hits"] == []


@pytest.mark.parametrize("running", [True, False])
def test_compacting_gives_the_disk_back_with_a_daemon_and_without(home: Home, tmp_path: Path, *, running: bool) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = (json.dumps({"key": f"k{number}", "value": f"{number} " * 2000}) for number in range(300))
    rows.write_text("\n".join(lines))
    home.cis("memory", "import", str(rows))
    rows.write_text("\n".join(json.dumps({"key": f"k{number}", "value": "small"}) for number in range(300)))
    home.cis("memory", "import", str(rows))
    if running:
        home.up()
    done = home.json("memory", "compact")
    assert sum(done["after"].values()) < sum(done["before"].values()) / 2
    assert home.cis("memory", "get", "k7") == "small\n"
    home.cis("memory", "set", "after", "1")
    assert home.json("memory", "stats")["spaces"][0]["memories"] == 301


def test_stats_tell_whose_memories_there_are(home: Home) -> None:
    home.cis("memory", "set", "a", "1", "--category", "task")
    home.cis("memory", "incr", "b")
    public = home.json("memory", "stats")["spaces"][0]
    assert (public["categories"], public["types"]) == ({"note": 1, "task": 1}, {"counter": 1, "register": 1})
    assert public["authors"]["solo"]["memories"] == 2
    assert "by solo: 2" in home.cis("memory", "stats")
