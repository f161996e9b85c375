import json
from pathlib import Path
from typing import Any

import pytest

from cis.api.exchange.csv_rows import read_csv
from cis.api.exchange.detect import detect, read_entries
from cis.api.exchange.entry import Entry
from cis.api.exchange.mcp_memory import Written, read_mcp_memory, write_mcp_memory
from cis.api.exchange.source import Problem
from cis.errors import UsageError

GRAPH = [
    {
        "type": "entity",
        "name": "Ana",
        "entityType": "person",
        "observations": ["likes vim", "likes vim", "é\u202e"],
    },
    {"type": "entity", "name": "a/b%~\n", "entityType": "", "observations": [], "source": {"kept": True}},
    {"type": "entity", "name": "", "entityType": "x", "observations": []},
    {"type": "entity", "name": "n" * 600, "entityType": "t" * 65, "observations": []},
    {"type": "relation", "from": "Ana", "to": "a/b%~\n", "relationType": "works on"},
    {"type": "relation", "from": "Ana/works on", "to": "b", "relationType": "x"},
    {"type": "relation", "from": "Ana", "to": "b", "relationType": "works on/x"},
    {"type": "relation", "from": "n" * 600, "to": "", "relationType": "x"},
]


def graph(tmp_path: Path, rows: list[Any]) -> Path:
    path = tmp_path / "memory.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_the_mcp_servers_graph_survives_the_round_trip(tmp_path: Path) -> None:
    entries = list(read_mcp_memory(graph(tmp_path, GRAPH)))
    assert len({entry.key for entry in entries}) == len(GRAPH)
    out = tmp_path / "out.jsonl"
    assert write_mcp_memory(entries, out) == Written(len(GRAPH), 0)
    assert [json.loads(line) for line in out.read_text().splitlines()] == GRAPH
    assert list(read_mcp_memory(out)) == entries


def test_entities_and_relations_have_keys_people_can_type(tmp_path: Path) -> None:
    entries = list(read_mcp_memory(graph(tmp_path, GRAPH)))
    assert [entry.key for entry in entries[:2]] == ["entity/Ana", "entity/a%2Fb%25%7E%0A"]
    assert entries[4].key == "relation/Ana/works on/a%2Fb%25%7E%0A"
    assert (entries[0].category, entries[0].tags) == ("entity", ("person",))
    assert entries[0].value == {name: field for name, field in GRAPH[0].items() if name != "type"}


@pytest.mark.parametrize(
    "row",
    [
        {"type": "note"},
        {"type": []},
        {"type": "entity", "name": "a", "entityType": "b"},
        {"type": "entity", "name": "a", "entityType": "b", "observations": [1]},
        {"type": "entity", "name": "\ud800", "entityType": "b", "observations": []},
        {"type": "entity", "name": "a", "entityType": "b", "observations": ["o" * 300_000]},
        {"type": "relation", "from": "a", "to": 1, "relationType": "c"},
    ],
)
def test_a_bad_graph_row_is_reported_and_the_rest_read(tmp_path: Path, row: dict[str, Any]) -> None:
    problem, entry = read_mcp_memory(graph(tmp_path, [row, GRAPH[0]]))
    assert isinstance(problem, Problem)
    assert problem.line == 1
    assert isinstance(entry, Entry)


def test_what_is_no_graph_is_left_out_and_counted(tmp_path: Path) -> None:
    entries = [
        Entry("editor", "vim"),
        Entry("entity/a", "text"),
        Entry("entity/b", {"name": "b"}, "json"),
        Entry("entity/c", {"name": "c", "entityType": "x", "observations": []}, "json"),
    ]
    assert write_mcp_memory(entries, tmp_path / "out") == Written(1, 3)


def table(tmp_path: Path, data: bytes, name: str = "rows.csv") -> list[Any]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_csv(path))


def test_csv_rows_are_read_as_spreadsheets_write_them(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbfKey,Value,Tags,ttl_s,category\r\na,"x, ""y""\r\nz","t; u,v",60,task\r\n\r\nb,,,,\r\n'
    row = b"key,value,tags,ttl_s,category"
    assert table(tmp_path, data.replace(b'"t; u,v"', b'"t; u,v"')) == [
        Entry("a", 'x, "y"\r\nz', category="task", tags=("t", "u", "v"), ttl_s=60.0),
        Entry("b", ""),
    ]
    assert table(tmp_path, row.replace(b",", b";") + b"\na;x,y;;;\n") == [Entry("a", "x,y")]


def test_other_columns_are_kept_as_json(tmp_path: Path) -> None:
    assert table(tmp_path, b"key,value,Source\na,b,web\n") == [Entry("a", {"value": "b", "Source": "web"}, "json")]
    assert table(tmp_path, b"name,key,age\nAna,a,30\n") == [Entry("a", {"name": "Ana", "age": "30"}, "json")]


def test_bad_csv_rows_are_reported_with_the_line_they_begin_on(tmp_path: Path) -> None:
    data = b'key,value\na,"1\n2\n3"\nb\nc,"x"y\nd,\xff\n"e\n\xff",1\n,f\ng,h\n'
    read = table(tmp_path, data)
    assert [item.key for item in read if isinstance(item, Entry)] == ["a", "g"]
    problems = [(item.line, item.reason.split(":")[0]) for item in read if isinstance(item, Problem)]
    assert problems == [
        (5, "1 columns where the header has 2"),
        (6, "not CSV"),
        (7, "not UTF-8"),
        (8, "not UTF-8"),
        (10, "a key of 0 bytes"),
    ]


def test_large_values_are_read_and_too_large_ones_reported(tmp_path: Path) -> None:
    data = b"key,value\na," + b"x" * 262_144 + b"\nb," + b"x" * 262_145 + b"\nc,d\n"
    first, problem, last = table(tmp_path, data)
    assert (first.key, problem.line, last.key) == ("a", 3, "c")


def test_a_quote_left_open_ends_in_a_report_not_in_memory(tmp_path: Path) -> None:
    read = table(tmp_path, b'key,value\na,"' + b"x\n" * 200_000)
    assert isinstance(read[0], Problem)
    assert read[0].line == 2
    read = table(tmp_path, b"key,value\n" + b'"\n",' * 3_000_000)
    assert [(item.line, item.reason[:11]) for item in read] == [(2, "a row above")]


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", b"key,key\n1,2\n", b"\x00\xff\n", b'key,"value\n'])
def test_a_table_without_a_proper_header_is_one_problem(tmp_path: Path, data: bytes) -> None:
    (problem,) = table(tmp_path, data)
    assert isinstance(problem, Problem)
    assert problem.line == 1


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("notes.md", b"# x", "markdown"),
        ("x.csv", b"whatever", "csv"),
        ("x.jsonl", b'\n{"key":"a","value":1}', "jsonl"),
        ("memory.json", b'{"type":"entity","name":"a","entityType":"b","observations":[]}', "mcp-memory"),
        ("x.ndjson", b'{"key":"a","type":"counter","value":{}}', "jsonl"),
        ("noname", b"key;value\n", "csv"),
    ],
)
def test_the_format_is_told_from_name_and_first_line(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert detect(tmp_path / name) == expected


def test_a_folder_is_markdown(tmp_path: Path) -> None:
    assert detect(tmp_path) == "markdown"


@pytest.mark.parametrize("data", [b"", b"\x00\x01", b"\xff", b"[1]", b"SQLite format 3\0", b"{"])
def test_a_format_that_cannot_be_told_names_the_option(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UsageError, match=r"--format markdown\|jsonl\|mcp-memory\|csv"):
        detect(tmp_path / "x")


def test_what_does_not_exist_says_so_and_a_given_format_wins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        detect(tmp_path / "absent")
    (tmp_path / "x.csv").write_text('{"key":"a","value":"b"}')
    assert list(read_entries(tmp_path / "x.csv", "jsonl")) == [Entry("a", "b")]
