"""The commands about trust: what they print, what they ask, how they end; on a store without a network."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from cis.api.membership.trust_schema import PlanRevocation, RevocationPlan
from cis.apps.cli.main import run
from cis.apps.cli.printing import draw_qr

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
        (["acl", "allow", "Work"], 2, "is no pattern"),
        (["acl", "deny", ""], 2, "is no pattern"),
        (["acl", "mode", "closed"], 2, "quarantine"),
        (["acl", "grant", "nobody", "writer"], 2, "nobody"),
        (["acl", "grant", "solo", "king"], 2, "blind"),
        (["acl", "grant", "solo", "writer"], 2, "this very node"),
        (["acl", "revoke", "nobody"], 2, "nobody"),
        (["acl", "revoke", "solo", "--yes"], 2, "this very node"),
        (["acl", "rotate", "--space", "nowhere"], 2, "nowhere"),
        (["acl", "log", "--limit", "0"], 2, "10000"),
        (["space", "create", "public"], 2, "already"),
        (["space", "create", "x", "--with", "nobody"], 2, "nobody"),
        (["space", "share", "public", "nobody"], 2, "nobody"),
        (["space", "share", "public", "solo", "--role", "admin"], 2, "cis acl grant"),
        (["invite", "--role", "king"], 2, "blind"),
        (["invite", "--role", "reader"], 3, "cis up"),
        (["memory", "set", "k", "v", "--space", "nowhere"], 2, "nowhere"),
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
        ["acl", "show"],
        ["acl", "log"],
        ["acl", "allow", "work*"],
        ["acl", "deny", "old", "--remove"],
        ["acl", "mode", "whitelist"],
        ["acl", "rotate"],
        ["space", "create", "notes"],
        ["space", "list"],
    ],
)
def test_json_parses_wherever_there_is_something_to_read(
    made: Run, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert made(*words, "--json") == 0
    json.loads(capsys.readouterr().out)


def test_the_recovery_key_is_shown_once_and_kept_nowhere(
    cis: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cis("init", "--name", "solo") == 0
    found = re.search(r"^  ((?:[a-z2-7]{4}-){14}[a-z2-7]{2})$", capsys.readouterr().out, re.MULTILINE)
    assert found is not None
    for words in (["status"], ["acl", "show"], ["acl", "log"]):
        assert cis(*words) == 0
    assert found[1][:9] not in capsys.readouterr().out
    for path in (tmp_path / "home").rglob("*"):
        assert found[1].encode() not in path.read_bytes() if path.is_file() else True


def test_lists_and_mode_are_shown_as_they_were_chosen(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    made("acl", "allow", "work*")
    made("acl", "deny", "old-*")
    made("acl", "mode", "whitelist")
    capsys.readouterr()
    assert made("acl", "show") == 0
    shown = capsys.readouterr().out
    assert "mode     whitelist\nallowed  work*\ndenied   old-*\n" in shown
    assert "this node" in shown
    assert made("acl", "log") == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()[1:4]] == ["mode", "denied", "allowed"]


def test_what_was_done_already_is_said_so(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    made("acl", "deny", "old-*")
    capsys.readouterr()
    assert made("acl", "deny", "did:cis:old-*") == 0
    assert "already" in capsys.readouterr().out


def test_a_named_space_holds_memories_of_its_own(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert made("space", "create", "notes") == 0
    assert made("memory", "set", "k", "hush", "--space", "notes") == 0
    assert made("memory", "get", "k") == 1
    capsys.readouterr()
    assert made("memory", "get", "k", "--space", "notes") == 0
    assert capsys.readouterr().out == "hush\n"
    assert made("space", "list", "--json") == 0
    notes = {one["name"]: one for one in json.loads(capsys.readouterr().out)}["notes"]
    assert (notes["role"], notes["memories"], notes["readable"]) == ("admin", 1, True)


def test_a_ticket_is_drawn_in_half_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    draw_qr("CIS1" + "A2" * 110)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20
    assert {"▄", "█"} <= set("".join(lines))


@pytest.mark.parametrize(("is_terminal", "code", "says"), [(False, 2, "--yes"), (True, 1, "nothing was changed")])
def test_removing_asks_first_and_without_a_terminal_says_how_to_agree(
    made: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    is_terminal: bool,
    code: int,
    says: str,
) -> None:
    plan = RevocationPlan(
        name="phone", did="did:key:z6Mk", role="writer", whole=True, spaces=("public",), new_keys=("discovery",)
    )
    asked = []

    def call(request: object) -> RevocationPlan:
        asked.append(type(request))
        return plan

    monkeypatch.setattr("cis.apps.cli.acl.node_of", lambda _: nullcontext(SimpleNamespace(call=call)))
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: is_terminal)
    assert made("acl", "revoke", "phone") == code
    said = capsys.readouterr().err
    assert "phone (writer, did:key:z6Mk) is removed from the cluster" in said
    assert "New keys: discovery." in said
    assert says in said
    assert asked == [PlanRevocation]
