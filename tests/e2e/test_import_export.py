"""Files in and out, through the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import Home


def test_a_folder_of_notes_comes_back_as_it_was(home: Home, new_home: Callable[[str], Home], tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "sub").mkdir(parents=True)
    (notes / "plain.md").write_text("# Title\n\ntext ✓\n")
    (notes / "sub" / "tagged.md").write_text("---\ncategory: skill\ntags: [a, b]\n---\nbody\n")
    assert home.json("memory", "import", str(notes))["written"] == 2
    assert home.json("memory", "import", str(notes))["unchanged"] == 2
    tagged = home.json("memory", "get", "sub/tagged")
    assert (tagged["category"], tagged["tags"]) == ("skill", ["a", "b"])
    assert tagged["value"].endswith("body\n")
    out = tmp_path / "out"
    assert home.json("memory", "export", str(out))["written"] == 2
    other = new_home("other")
    other.cis("init")
    assert other.json("memory", "import", str(out))["written"] == 2
    assert same(home) == same(other)


def test_json_lines_lose_nothing_whatever_the_type(home: Home, new_home: Callable[[str], Home], tmp_path: Path) -> None:
    (tmp_path / "vector").write_bytes(b"\0\0\x80\x3f" * 8)
    home.cis("memory", "set", "text", "héllo\n\x07", "--vector", str(tmp_path / "vector"), "--vector-model", "m")
    home.cis("memory", "set", "json", '{"a": [1.5, null]}', "--as-json")
    home.cis("memory", "set", "bytes", given=b"\xff\0")
    home.cis("memory", "incr", "counter", "7")
    home.cis("memory", "incr", "counter", "-2")
    home.cis("memory", "add", "set", "a", "b")
    home.cis("memory", "add", "set", '{"x":1}', "--as-json")
    out = tmp_path / "all.jsonl"
    assert home.json("memory", "export", str(out))["written"] == 5
    other = new_home("other")
    other.cis("init")
    other.up()
    assert other.json("memory", "import", str(out))["written"] == 5
    assert same(home) == same(other)
    assert [one.json("memory", "get", "text")["vector"] for one in (home, other)] == [
        {"model": "m", "dimensions": 8}
    ] * 2
    again = other.json("memory", "import", str(out))
    assert (again["written"], again["unchanged"], again["left_out"]) == (0, 4, 1)


def test_csv_and_the_mcp_memory_file_are_read_and_bad_rows_named(home: Home, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("key,value,category\na,1,fact\n,2,fact\n")
    taken = home.json("memory", "import", str(table))
    assert (taken["written"], taken["left_out"]) == (1, 1)
    assert "t.csv:3" in taken["problems"][0]
    stopped = home.run("memory", "import", str(table), "--on-error", "stop")
    assert stopped.code == 1
    graph = tmp_path / "memory.json"
    rows = [
        {"type": "entity", "name": "Ana", "entityType": "person", "observations": ["likes dark mode"]},
        {"type": "relation", "from": "Ana", "to": "Bo", "relationType": "knows"},
    ]
    graph.write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert home.json("memory", "import", str(graph))["written"] == 2
    out = tmp_path / "graph.jsonl"
    exported = home.json("memory", "export", str(out), "--format", "mcp-memory")
    assert (exported["written"], exported["left_out"]) == (2, 1)
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows


def same(home: Home) -> list[tuple[object, ...]]:
    """What must survive a round trip."""
    fields = ("key", "type", "form", "value", "category", "tags")
    return [tuple(map(json.dumps, map(one.get, fields))) for one in home.json("memory", "list")["memories"]]
