import stat
from pathlib import Path

import pytest

from cis.api.exchange.entry import SET_ELEMENTS_MAX, Count, Element, Entry, Vector
from cis.api.exchange.jsonl import read_jsonl, write_jsonl
from cis.api.exchange.source import LINE_BYTES_MAX, Problem
from cis.errors import UsageError


def lines(tmp_path: Path, data: bytes) -> list[Entry | Problem]:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    return list(read_jsonl(path))


def test_a_row_of_key_and_value_is_enough(tmp_path: Path) -> None:
    read = lines(tmp_path, b'\xef\xbb\xbf{"key":"a","value":"b"}\r\n\n {"key":"c","value":{"d":[1]}}')
    assert read == [Entry("a", "b"), Entry("c", {"d": [1]}, "json")]


def test_fields_that_are_not_ours_are_kept_in_the_value(tmp_path: Path) -> None:
    assert lines(tmp_path, b'{"key":"a","value":"b","source":"web","year":2024}') == [
        Entry("a", {"value": "b", "source": "web", "year": 2024}, "json")
    ]
    assert lines(tmp_path, b'{"key":"a","source":"web"}') == [Entry("a", {"source": "web"}, "json")]


def test_null_is_a_value_and_otherwise_an_absent_field(tmp_path: Path) -> None:
    assert lines(tmp_path, b'{"key":"a","value":null,"tags":null}') == [Entry("a", None, "json")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"key":"a"}', "no value"),
        (b'{"value":"a"}', "no key"),
        (b'{"key":1,"value":"a"}', "key is no text"),
        (b'{"key":"a","value":"b","value":"c"}', "occurs twice"),
        (b'{"key":"a","value":NaN}', "no NaN"),
        (b'{"key":"a","value":1e999}', "infinity"),
        (b'{"key":"a","value":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"key":"a","value":"\\ud800"}', "half a character"),
        (b'{"key":"a","value":"\xff"}', "not UTF-8"),
        (b'{"key":"a","value":' + b"[" * 100_000, "nested deeper"),
        (b'{"key":"a","value":"*","form":"bytes"}', "not base64"),
        (b'{"key":"a","value":1,"form":"text"}', "is a string"),
        (b'{"key":"a","value":1,"form":[]}', "none of text, json, bytes"),
        (b'{"key":"a","value":1,"type":"list"}', "none of register"),
        (b'{"key":"a","value":1,"type":"counter"}', "a counter is written"),
        (b'{"key":"a","value":{"added":1.5},"type":"counter"}', "no whole number"),
        (b'{"key":"a","value":{"added":1},"type":"counter","unit":"m"}', "no field 'unit'"),
        (b'{"key":"a","value":["a"],"type":"set"}', "written [form, value]"),
        (b'{"key":"a","value":"b","tags":"c"}', "list of texts"),
        (b'{"key":"a","value":"b","ttl_s":"7d"}', "no number"),
        (b'{"key":"a","value":"b","ttl_s":1' + b"0" * 400 + b"}", "too large"),
        (b'{"key":"a","value":"b","vector":[1]}', "a vector is written"),
        (b'{"key":"a","value":"' + b"b" * LINE_BYTES_MAX + b'"}', "above"),
    ],
)
def test_a_bad_row_is_reported_with_file_and_line_and_the_rest_is_read(tmp_path: Path, row: bytes, reason: str) -> None:
    good = b'{"key":"good","value":"row"}\n'
    before, problem, after = lines(tmp_path, good + row + b"\n" + good)
    assert before == after == Entry("good", "row")
    assert isinstance(problem, Problem)
    assert reason in problem.reason
    assert (problem.file, problem.line) == (str(tmp_path / "rows.jsonl"), 2)
    assert str(problem).startswith(f"{tmp_path / 'rows.jsonl'}:2: ")


def test_what_is_written_is_one_printable_line_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    entries = [
        Entry(
            "a",
            "b\n\x1b[31m\u202e\x9b\u2028\ufeff",
            tags=("x",),
            ttl_s=1.5,
            hlc=1,
            updated_ms=2,
            author="ana",
        ),
        Entry("b", b"\0\xff", "bytes", vector=Vector("m", b"\0\0\x80?")),
        Entry("c", Count(3, 1), type="counter"),
        Entry("d", (Element("x"), Element(b"x", "bytes"), Element({"x": 1}, "json")), type="set"),
    ]
    assert write_jsonl(entries, path) == 4
    assert all(line.isprintable() for line in path.read_text().split("\n"))
    assert list(read_jsonl(path)) == entries
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_large_set_is_written_as_several_rows_of_its_key(tmp_path: Path) -> None:
    value = tuple(Element(str(number)) for number in range(SET_ELEMENTS_MAX + 1))
    path = tmp_path / "out.jsonl"
    assert write_jsonl([Entry("k", value, type="set")], path) == 1
    read = list(read_jsonl(path))
    assert len(read) == 2
    assert tuple(element for entry in read for element in entry.value) == value


def test_nothing_is_overwritten_unasked_and_nothing_half_written_appears(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_jsonl([], path)
    with pytest.raises(UsageError, match="the memory '' cannot be written: a key of 0 bytes"):
        write_jsonl([Entry("a", "b"), Entry("", "c")], path, overwrite=True)
    assert path.read_text() == "mine"
    assert [found.name for found in tmp_path.iterdir()] == ["out.jsonl"]
    write_jsonl([Entry("a", "b")], path, overwrite=True)
    assert list(read_jsonl(path)) == [Entry("a", "b")]


def test_overwriting_a_link_replaces_it_and_leaves_its_target_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    path = tmp_path / "out.jsonl"
    path.symlink_to(target)
    write_jsonl([Entry("a", "b")], path, overwrite=True)
    assert target.read_text() == "mine"
    assert not path.is_symlink()


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        list(read_jsonl(tmp_path / name))
