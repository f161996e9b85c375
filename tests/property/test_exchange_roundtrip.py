"""What is exported reads back as it was, whatever it is; what strangers wrote never raises."""

import struct
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cis.api.exchange.detect import FORMATS, read_entries
from cis.api.exchange.entry import Count, Element, Entry, Vector, validate
from cis.api.exchange.jsonl import read_jsonl, write_jsonl
from cis.api.exchange.markdown import read_markdown, write_markdown
from cis.api.exchange.mcp_memory import read_mcp_memory, write_mcp_memory
from cis.api.exchange.source import Problem

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

unicode = st.characters(exclude_categories=["Cs"])
printable = st.characters(exclude_categories=["Cs", "Cc"])
awkward = st.sampled_from(
    [
        "\ufeff",
        "\u2028",
        "\x85",
        "\u202e",
        "\uffff",
        "\U0001f600",
        '"',
        "\\",
        "---",
        "\n",
        "\r\n",
        "#",
        ": ",
        "```\n",
    ]
)


def names(bytes_max: int) -> st.SearchStrategy[str]:
    """Texts of 1 to so many bytes without control characters, long ones among them."""
    texts = st.one_of(st.text(printable, min_size=1), st.text("ab'\"\\é\ufeff\u2028\xa0 :#-", min_size=1, max_size=600))
    return texts.map(lambda text: text.encode()[:bytes_max].decode(errors="ignore")).filter(bool)


parts = st.one_of(
    st.sampled_from(
        [
            "..",
            ".",
            "",
            "CON",
            "nul.txt",
            ".git",
            "a",
            "A",
            "a.md",
            "x.",
            " x",
            "\u00e9",
            "e\u0301",
            "~",
            "%2F",
        ]
    ),
    st.text(printable, max_size=8),
)
keys = st.one_of(
    st.lists(parts, min_size=1, max_size=4).map("/".join).filter(bool),
    names(512),
    st.sampled_from(["../x", "/", "k" * 512, "é" * 256, "a/./b", "a\\..\\b", "C:\\x", "note", "Note", "NOTE/x"]),
).filter(lambda key: len(key.encode()) <= 512)

texts = st.one_of(
    st.text(unicode),
    st.lists(st.one_of(awkward, st.text(unicode, max_size=5))).map("".join),
    st.tuples(st.sampled_from(["---\n", "\ufeff---\n", "---\r\n"]), st.text("ab:[]-\n\r&*!{}'\" ", max_size=30)).map(
        lambda pair: f"{pair[0]}{pair[1]}\n---\nbody"
    ),
    st.sampled_from(
        ["---\ntags: [a]\n---\nx", "---\ncis: memory/1\nkey: b\n---\nx", "---\nttl: 5\ncategory: task\n---\n"]
    ),
)
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
scalars: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    texts.map(lambda value: ("text", value)),
    json_values.map(lambda value: ("json", value)),
    st.binary().map(lambda value: ("bytes", value)),
)
totals = st.integers(0, 2**63 - 1)
values = st.one_of(
    scalars.map(lambda pair: {"form": pair[0], "value": pair[1]}),
    st.builds(Count, totals, totals).map(lambda count: {"type": "counter", "value": count}),
    st.lists(scalars.map(lambda pair: Element(pair[1], pair[0])), max_size=5).map(
        lambda elements: {"type": "set", "value": tuple(elements)}
    ),
)
vectors = st.builds(
    lambda model, numbers: Vector(model, struct.pack(f"<{len(numbers)}f", *numbers)),
    names(128),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=16),
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "category": names(64),
        "tags": st.lists(names(64), max_size=4).map(tuple),
        "ttl_s": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
        "vector": vectors,
        "hlc": totals,
        "updated_ms": totals,
        "author": names(128),
        "beside": st.booleans(),
    },
)
entries = st.builds(lambda key, value, extra: Entry(key, **value, **extra), keys, values, extras)
some_entries = st.lists(entries, max_size=6, unique_by=lambda entry: entry.key)


def exactly(items: list[Any]) -> list[str]:
    """Tell apart what compares equal, such as 1, 1.0 and true."""
    return sorted(map(repr, items))


@SETTINGS
@given(some_entries)
def test_json_lines_read_back_as_they_were_written(written: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        write_jsonl(written, path)
        read = list(read_jsonl(path))
        assert read == written
        assert exactly(read) == exactly(written)


@SETTINGS
@given(some_entries)
def test_a_folder_of_notes_reads_back_as_it_was_written(written: list[Entry]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        write_markdown(written, out)
        assert exactly(list(read_markdown(out))) == exactly(written)
        assert [path.name for path in Path(folder).iterdir()] == ["out"]
        paths = [path.relative_to(out).as_posix() for path in out.rglob("*")]
        assert len({unicodedata.normalize("NFC", path.casefold()) for path in paths}) == len(paths)
        assert all(len(path.encode()) <= 200 for path in paths)


@SETTINGS
@given(st.lists(st.tuples(st.text(printable, min_size=1, max_size=20), texts.filter(str)), max_size=6))
def test_notes_that_were_imported_are_exported_and_imported_alike(notes: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inbox, out = Path(folder, "in"), Path(folder, "out")
        inbox.mkdir()
        for number, (_, text) in enumerate(notes):
            inbox.joinpath(f"{number}.md").write_bytes(text.encode())
        read = [item for item in read_markdown(inbox) if isinstance(item, Entry)]
        distinct = list({entry.key: entry for entry in read}.values())
        write_markdown(distinct, out)
        assert exactly(list(read_markdown(out))) == exactly(distinct)


mcp_rows = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("entity"),
            "name": texts,
            "entityType": texts,
            "observations": st.lists(texts, max_size=4),
        },
        optional={"other": json_values},
    ),
    st.fixed_dictionaries({"type": st.just("relation"), "from": texts, "to": texts, "relationType": texts}),
)


@SETTINGS
@given(st.lists(mcp_rows, max_size=5))
def test_a_graph_of_the_mcp_server_reads_back_as_it_was_written(rows: list[dict[str, Any]]) -> None:
    import json

    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "in"), Path(folder, "out")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        read = list(read_mcp_memory(path))
        write_mcp_memory((entry for entry in read if isinstance(entry, Entry)), out)
        assert [json.loads(line) for line in out.read_bytes().splitlines()] == rows


JSON = rb"""
    { } [ ] : , 1 null true "a" "key" "value" "type" "set" "counter" "entity" "name" "entityType" "form"
    "bytes" "json" "vector" "tags" "observations" "added" 1e999 NaN "\ud800"
""".split()
JSON += [b"\n", b"\xff"]
YAML = rb"""cis: memory/1
key: |tags: |- a
|[|]|&a |*a|!!x |>
|"\UFFFFFFFF"|"\ud800"|? |: |type: set
|vector: |{a: b}
|%YAML 9
|...
|--- a
|ttl_s: 1e999
|hlc: 1.5
|value: {added: x}
|
|x|<<: |=
|form: bytes
|form: json
""".split(b"|")
TABLE = [b"key", b"value", b",", b";", b'"', b"\n", b"\r", b"\0", b"\xff", b"a", b"\xef\xbb\xbf"]


def of(pieces: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(pieces)).map(b"".join)


noise = st.one_of(
    st.binary(max_size=300),
    of(JSON),
    of(YAML).map(lambda text: b"---\n" + text + b"\n---\nx"),
    of(TABLE).map(lambda text: b"key,value\n" + text),
)


@settings(SETTINGS, max_examples=600)
@given(noise, st.sampled_from(FORMATS))
def test_no_file_makes_a_reader_raise_or_yield_what_is_not_valid(data: bytes, form: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.md")
        path.write_bytes(data)
        for item in read_entries(path, form):
            if isinstance(item, Problem):
                assert item.reason
                assert 0 <= item.line <= data.count(b"\n") + data.count(b"\r") + 2
            else:
                validate(item)
