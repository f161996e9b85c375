"""The command line in one process: errors, exit codes, JSON, and what reaches the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cis.apps.cli.main import run
from cis.apps.cli.printing import ago, complain, say, show_json, show_table, size

Run = Callable[..., int]


@pytest.fixture
def cis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("CIS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CIS_DEBUG", raising=False)
    return lambda *words: run(list(words))


@pytest.fixture
def made(cis: Run, capsys: pytest.CaptureFixture[str]) -> Run:
    assert cis("init", "--name", "solo") == 0
    capsys.readouterr()
    return cis


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["p2p", "peers"], 3, "cis up"),
        (["invite"], 3, "cis up"),
        (["memory", "watch"], 3, "cis up"),
        (["down"], 3, "cis up"),
        (["memory", "get", "absent"], 1, "absent"),
        (["memory", "delete", "absent"], 1, "absent"),
        (["memory", "members", "absent"], 1, "absent"),
        (["memory", "remove", "absent", "x"], 1, "absent"),
        (["memory", "set", "k", "v", "--space", "nowhere"], 2, "nowhere"),
        (["memory", "set", "k", "v", "--ttl", "soon"], 2, "10m"),
        (["memory", "set", "k", "{", "--as-json"], 2, "JSON"),
        (["memory", "set", "k", "v", "--file", "/f"], 2, "--file"),
        (["memory", "set", "k", "v", "--vector", "/nowhere"], 2, "/nowhere"),
        (["memory", "set", "", "v"], 2, "key"),
        (["memory", "list", "--limit", "0"], 2, "1000"),
        (["memory", "search", "..."], 2, "word"),
        (["memory", "import", "/nowhere.csv"], 2, "/nowhere.csv"),
        (["memory", "import", "/", "--on-error", "cry"], 2, "stop"),
        (["memory", "export", "/nowhere.xml"], 2, "--format"),
        (["config", "set", "p2p.sync.intervall", "3"], 2, "p2p.sync.interval?"),
        (["config", "set", "p2p.sync.interval", "-3"], 2, "p2p.sync.interval"),
        (["config", "get", "p2p.nothing"], 2, "p2p.nothing"),
        (["up", "--listen", "a:b:c"], 2, "HOST:PORT"),
        (["join", "cis1nonsense"], 2, "ticket"),
        (["init"], 2, "already"),
        (["nonsense"], 2, "nonsense"),
        (["memory", "set", "--nonsense"], 2, "--nonsense"),
    ],
)
def test_an_error_is_one_line_and_its_exit_code_says_which_kind(
    made: Run, capsys: pytest.CaptureFixture[str], words: list[str], code: int, says: str
) -> None:
    assert made(*words) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("cis: ")
    assert printed.err.count("\n") == 1
    assert says in printed.err


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["memory", "list"],
        ["memory", "get", "x"],
        ["memory", "search", "x"],
        ["memory", "conflicts"],
        ["memory", "history", "x"],
        ["memory", "stats"],
        ["memory", "set", "x", "y"],
        ["memory", "incr", "n"],
        ["memory", "add", "s", "e"],
        ["memory", "delete", "x"],
        ["config", "list"],
        ["config", "get", "p2p.listen_port"],
    ],
)
def test_json_parses_wherever_there_is_something_to_read(
    made: Run, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    made("memory", "set", "x", "x")
    capsys.readouterr()
    assert made(*words, "--json") == 0
    json.loads(capsys.readouterr().out)


def test_a_defect_shows_no_traceback(
    made: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> None:
        raise RuntimeError("boom\n\x1b[31m")

    monkeypatch.setattr("cis.apps.cli.shared.connect", broken)
    assert made("status") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "CIS_DEBUG=1" in err


def test_an_interrupt_ends_with_130(made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cis.apps.cli.shared.connect", interrupted)
    assert made("status") == 130


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x07", "\x9b31m", "a\u202eb", "\u2066", "line\nline", "\r"])
def test_no_control_character_is_printed(capsys: pytest.CaptureFixture[str], evil: str) -> None:
    say(evil)
    complain(evil)
    show_table(["a", "b"], [[evil, evil]])
    show_json({evil: evil})
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).split("\n")
    assert all(character.isprintable() for line in lines for character in line)


def test_json_keeps_the_value_it_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"k": "\x1b\u202e\u2028✓ 👩‍👧"})
    assert json.loads(capsys.readouterr().out) == {"k": "\x1b\u202e\u2028✓ 👩‍👧"}


def test_spans_and_sizes_are_short() -> None:
    assert [ago(one) for one in (None, 5, 600, 7200, 300_000)] == ["never", "5 s", "10 min", "2 h", "3 d"]
    assert [size(one) for one in (5, 1500, 2_000_000)] == ["5 B", "1.5 KB", "2.0 MB"]
