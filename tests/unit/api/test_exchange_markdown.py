import os
import stat
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from cis.api.exchange.entry import SET_ELEMENTS_MAX, Count, Element, Entry, Vector
from cis.api.exchange.front_matter import FRONT_MATTER_BYTES_MAX
from cis.api.exchange.markdown import read_markdown, write_markdown
from cis.api.exchange.source import Problem, open_found
from cis.errors import UsageError


def note(tmp_path: Path, data: bytes, name: str = "note.md") -> Entry | Problem:
    path = tmp_path / name
    path.write_bytes(data)
    (read,) = read_markdown(path)
    return read


def test_a_folder_is_read_below_in_order_without_hidden_files_and_links(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.markdown", "a/y.MD", ".git/x.md", "a/.x.md", "c.txt", "README"):
        path = tmp_path / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "notes/link.md").symlink_to(tmp_path / "notes/b.md")
    (tmp_path / "notes/linked").symlink_to(tmp_path / "notes/a")
    os.mkfifo(tmp_path / "notes/pipe.md")
    read = list(read_markdown(tmp_path / "notes"))
    assert [entry.key for entry in read if isinstance(entry, Entry)] == ["a/y", "a/z", "b"]
    (problem,) = (item for item in read if isinstance(item, Problem))
    assert problem.file.endswith("pipe.md")


def test_a_link_put_in_place_of_a_listed_note_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "note.md").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(OSError, match="symbolic links"):
        open_found(tmp_path / "note.md")


def test_front_matter_gives_category_tags_key_and_ttl_and_stays_in_the_text(tmp_path: Path) -> None:
    text = (
        "---\ntitle: Editors\nkey: prefs/editor\ncategory: preference\n"
        "tags: [vim, 2024, yes]\nttl: 7d\naliases:\n  - x\n---\nVim.\n"
    )
    assert note(tmp_path, text.encode()) == Entry(
        "prefs/editor", text, category="preference", tags=("vim", "2024", "yes"), ttl_s=604_800.0
    )


@pytest.mark.parametrize(
    ("front", "fields"),
    [
        ("tags: a, b ,,c", {"tags": ("a", "b", "c")}),
        ("tags:\n- a\n- b c", {"tags": ("a", "b c")}),
        ("tags:\ncategory:\nttl:\nkey:", {}),
        ("category: [task]", {"category": "task"}),
        ("ttl: 90", {"ttl_s": 90.0}),
        ("ttl: 1.5h", {"ttl_s": 5400.0}),
        ("type: article\nvalue: 3\nform: bytes", {}),
    ],
)
def test_front_matter_is_read_as_people_write_it(tmp_path: Path, front: str, fields: dict[str, Any]) -> None:
    text = f"---\n{front}\n---\n"
    assert note(tmp_path, text.encode()) == Entry("note", text, **fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "no front matter",
        "---\nnot closed",
        "---\n---\nempty",
        "---\njust a line\n---\n",
        "----\na: b\n---\n",
    ],
)
def test_text_without_front_matter_is_a_note_as_it_is(tmp_path: Path, text: str) -> None:
    assert note(tmp_path, text.encode()) == Entry("note", text)


def test_line_ends_stay_and_a_byte_order_mark_goes(tmp_path: Path) -> None:
    text = "---\r\ntags: a\r\n---\r\none\r\ntwo\rthree\n"
    assert note(tmp_path, b"\xef\xbb\xbf" + text.encode()) == Entry("note", text, tags=("a",))


BILLION_LAUGHS = b"---\na: &a [x]\nb: [*a, *a]\n---\n"


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b"\xff\xfe", 1, "not UTF-8"),
        (b"---\na: b\nc: \xff\n---\n", 3, "not UTF-8"),
        (b"x" * 262_145, 1, "above 262144"),
        (b"---\ntitle: Foo: bar\n---\n", 2, "not YAML"),
        (b"---\na: 1\nb: [\n---\n", 4, "not YAML"),
        (BILLION_LAUGHS, 2, "an alias or anchor"),
        (b"---\na: !!python/object/apply:os.system [ls]\n---\n", 2, "has a tag"),
        (b"---\na: " + b"[" * 5000 + b"\n---\n", 2, "nested deeper"),
        (b'---\na: "\\UFFFFFFFF"\n---\n', 2, "not YAML"),
        (b"---\na: \x07\n---\n", 2, "not YAML"),
        (b"---\na: " + b"x" * FRONT_MATTER_BYTES_MAX + b"\n---\n", 1, "front matter above"),
        (b"---\nkey: {a: b}\n---\n", 1, "key is not one text"),
        (b"---\ntags: {a: b}\n---\n", 1, "tags are not"),
        (b"---\ntags: [[a]]\n---\n", 1, "tags are not"),
        (b"---\nttl: soon\n---\n", 1, "no duration"),
        (b"---\ncis: memory/2\n---\n", 2, "newer cis"),
        (b"---\ncis: memory/1\ntitle: x\n---\n", 1, "no field 'title'"),
        (b"---\ncis: memory/1\nhlc: x\n---\n", 1, "not JSON"),
        (b"---\ncis: memory/1\nform: json\n---\n```json\n{\n```\n", 1, "not JSON"),
    ],
)
def test_a_bad_note_is_reported_with_its_line(tmp_path: Path, data: bytes, line: int, reason: str) -> None:
    problem = note(tmp_path, data)
    assert isinstance(problem, Problem)
    assert reason in problem.reason
    assert (problem.file, problem.line) == (str(tmp_path / "note.md"), line)


def test_a_file_name_that_is_no_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.md")).write_text("x")
    (problem,) = read_markdown(tmp_path)
    assert isinstance(problem, Problem)
    problem.file.encode()


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.md"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    (problem,) = read_markdown(path)
    assert "above 262144" in problem.reason


def test_an_imported_folder_is_exported_byte_for_byte(tmp_path: Path) -> None:
    notes = {
        "README.md": "# Read me\n",
        "a/b/c d.md": "---\ntitle: C\ntags: [x]\n---\r\nbody",
        "Übung.md": "",
    }
    for name, text in notes.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(text.encode())
    out = tmp_path / "out"
    assert write_markdown(read_markdown(tmp_path / "in"), out) == 3
    written = {path.relative_to(out).as_posix(): path.read_bytes().decode() for path in out.rglob("*.md")}
    assert written == notes


def test_what_markdown_cannot_hold_goes_into_front_matter(tmp_path: Path) -> None:
    entries = [
        Entry("a", "text", category="task", tags=("x, y", " z "), ttl_s=0.5, hlc=1, updated_ms=2, author="ana"),
        Entry("b", b"\0" * 200_000, "bytes", vector=Vector("m\u2028\xa0", b"\0\0\x80?" * 4096)),
        Entry("c", Count(3, 1), type="counter"),
        Entry("d", (Element("x\n```\n"), Element(b"x", "bytes"), Element([1.0], "json")), type="set"),
        Entry("e", {"a": ["```", None]}, "json"),
        Entry("f", "---\ncis: memory/1\nkey: other\n---\nx"),
        Entry("g", "\ufeffmark"),
        Entry("h", "---\ntags: [x]\n---\n"),
    ]
    write_markdown(entries, tmp_path / "out")
    assert list(read_markdown(tmp_path / "out")) == entries


def test_the_largest_front_matter_an_entry_can_need_reads_back(tmp_path: Path) -> None:
    wide = "\u2028"
    entry = Entry(
        wide * 170,
        "x",
        category=wide * 21,
        tags=(wide * 21,) * 32,
        vector=Vector(wide * 42, b"\0\0\x80?" * 4096),
        author=wide * 42,
        hlc=2**63 - 1,
        updated_ms=2**63 - 1,
        ttl_s=1.2345678901234567e300,
    )
    write_markdown([entry], tmp_path)
    assert list(read_markdown(tmp_path)) == [entry]


HOSTILE = [
    "../x", "o\u0308", "/etc/passwd", "a/../../x", "a/./b", "a//b", "/", ".", "..", ".hidden", "a/.b/c",
    "CON", "con.txt", "a/NUL/b", "COM¹", "x.", "x ", " x", "a:b", "a\\b", "a*", "~x", "%2e%2e", "k" * 512,
    "é" * 256, "\u202egnp.exe", "\u200b",
]  # fmt: skip
COLLIDING = [
    "Note", "note", "NOTE", "dir/x", "Dir/y", "DIR/x", "dir/x.md/y", "dir/x.md",
    "straße", "STRASSE", "\u00e9", "e\u0301",
]  # fmt: skip


def test_keys_never_become_names_that_leave_the_folder_or_that_a_file_system_changes(tmp_path: Path) -> None:
    entries = [Entry(key, f"value of {key}") for key in HOSTILE + COLLIDING]
    out = tmp_path / "deep" / "out"
    assert write_markdown(entries, out) == len(entries)
    assert [path for path in tmp_path.rglob("*") if out not in path.parents and path not in (out, out.parent)] == []
    folded = set()
    for path in out.rglob("*"):
        name = path.name
        assert len(name.encode()) <= 255
        assert name.isprintable()
        assert unicodedata.is_normalized("NFC", name)
        assert name[0] not in ". "
        assert name[-1] not in ". "
        assert not set(name) & set('<>:"\\|?*')
        folded.add(str(path.relative_to(out)).casefold())
    assert len(folded) == len(list(out.rglob("*")))
    read = sorted(read_markdown(out), key=lambda entry: entry.key)
    assert read == sorted(entries, key=lambda entry: entry.key)


def test_a_large_set_is_written_as_several_notes_of_its_key(tmp_path: Path) -> None:
    value = tuple(Element(str(number)) for number in range(SET_ELEMENTS_MAX * 3))
    write_markdown([Entry("k", value, type="set")], tmp_path)
    read = list(read_markdown(tmp_path))
    assert [entry.key for entry in read] == ["k"] * 3
    assert {element for entry in read for element in entry.value} == set(value)


def test_an_export_goes_into_an_empty_folder_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("mine")
    (tmp_path / "a.md").write_text("old")
    with pytest.raises(UsageError, match="not empty"):
        write_markdown([Entry("a", "b")], tmp_path)
    write_markdown([Entry("a", "b")], tmp_path, overwrite=True)
    assert list(read_markdown(tmp_path)) == [Entry("a", "b"), Entry("mine", "mine")]
    with pytest.raises(UsageError, match="cannot write"):
        write_markdown([], tmp_path / "a.md")


def test_an_export_follows_no_link_and_is_its_owners_only(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "target").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.md").symlink_to(outside / "target")
    (out / "dir").symlink_to(outside)
    write_markdown([Entry("a", "b"), Entry("sub/a", "b")], out, overwrite=True)
    assert (outside / "target").read_text() == "mine"
    assert stat.S_IMODE((out / "a.md").lstat().st_mode) == 0o600
    assert stat.S_IMODE((out / "sub").lstat().st_mode) == 0o700
    with pytest.raises(UsageError, match="symbolic link"):
        write_markdown([Entry("dir/a", "b")], out, overwrite=True)
    assert [path.name for path in outside.iterdir()] == ["target"]


def test_an_exported_note_may_be_edited_by_hand(tmp_path: Path) -> None:
    text = "---\r\ncis: memory/1\r\nkey: a b\r\ntags:\r\n  - x\r\nform: json\r\n---\r\n"
    text += "\r\n```json\r\n[1]\r\n```\r\n\r\n"
    assert note(tmp_path, text.encode()) == Entry("a b", [1], "json", tags=("x",))
    assert note(tmp_path, b"---\ncis: memory/1\ntype: set\n---\n[]\n") == Entry("note", (), type="set")
    assert note(tmp_path, b"---\ncis: memory/1\nform: bytes\n---\n```base64\nAA\nAA\n```") == Entry(
        "note", b"\0\0\0", "bytes"
    )
