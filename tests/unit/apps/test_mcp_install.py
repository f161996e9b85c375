"""Registering the MCP server with the programs agents run in: what is there stays, and nothing is half written."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path

import pytest

from cis.apps.cli.main import run
from cis.apps.mcp.clients import CLIENTS, MAC, WINDOWS, places_of
from cis.apps.mcp.registering import Change, carry_out, plan
from cis.errors import CisError, UsageError

ENTRY = {"command": "/opt/cis", "args": ["mcp"]}
JSON = CLIENTS["cursor"]
TOML = CLIENTS["codex"]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "APPDATA", "CIS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def written(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def done(client: str, path: Path) -> str:
    change = plan(CLIENTS[client], path, "cis", ENTRY)
    assert change is not None
    carry_out(change)
    return path.read_bytes().decode()


@pytest.mark.parametrize(
    ("client", "system", "place"),
    [
        ("claude-desktop", "linux", ".config/Claude/claude_desktop_config.json"),
        ("claude-desktop", MAC, "Library/Application Support/Claude/claude_desktop_config.json"),
        ("claude-desktop", WINDOWS, "AppData/Roaming/Claude/claude_desktop_config.json"),
        ("claude-code", "linux", ".claude.json"),
        ("cursor", MAC, ".cursor/mcp.json"),
        ("vscode", "linux", ".config/Code/User/mcp.json"),
        ("vscode", MAC, "Library/Application Support/Code/User/mcp.json"),
        ("windsurf", WINDOWS, ".codeium/windsurf/mcp_config.json"),
        ("zed", MAC, ".config/zed/settings.json"),
        ("zed", WINDOWS, "AppData/Roaming/zed/settings.json"),
        ("codex", "linux", ".codex/config.toml"),
        ("gemini", "linux", ".gemini/settings.json"),
    ],
)
def test_each_program_has_its_list_where_its_documentation_says(client: str, system: str, place: str) -> None:
    home = Path("/home/ana")
    assert CLIENTS[client].path(places_of({}, home, system)) == home / place


def test_the_environment_may_place_the_lists_elsewhere() -> None:
    places = places_of({"XDG_CONFIG_HOME": "/x"}, Path("/home/ana"), "linux")
    assert CLIENTS["zed"].path(places) == Path("/x/zed/settings.json")


@pytest.mark.parametrize("name", CLIENTS)
def test_a_file_that_is_not_there_is_made_for_its_owner_alone(
    name: str, user: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["mcp", "install", name, "--yes"]) == 0
    path = CLIENTS[name].path(places_of(os.environ, user))
    text = path.read_text()
    said = tomllib.loads(text) if CLIENTS[name].format == "toml" else json.loads(text)
    entry = said[CLIENTS[name].section]["cis"]
    assert Path(entry["command"]).is_absolute()
    assert entry["args"][-1] == "mcp"
    assert (entry.get("type") == "stdio") == CLIENTS[name].typed
    assert path.stat().st_mode & 0o777 == 0o600
    assert '"cis"' in capsys.readouterr().out or CLIENTS[name].format == "toml"


def test_what_is_in_a_json_file_stays_in_its_order_and_manner(tmp_path: Path) -> None:
    lines = ["{", '\t"z": 1.5,', '\t"mcpServers": {', '\t\t"other": {', '\t\t\t"command": "é"', "\t\t}", "\t},"]
    old = "\r\n".join([*lines, '\t"a": []', "}"])
    text = done("cursor", written(tmp_path / "mcp.json", old))
    assert list(json.loads(text)) == ["z", "mcpServers", "a"]
    assert json.loads(text) == {**json.loads(old), "mcpServers": {"other": {"command": "é"}, "cis": ENTRY}}
    assert text.startswith('{\r\n\t"z": 1.5,\r\n')
    assert text.count("\n") == text.count("\r\n")
    assert not text.endswith("\n")


def test_what_is_in_a_toml_file_stays_comments_and_all(tmp_path: Path) -> None:
    old = '# mine\nmodel = "x"  # dear\n\n[mcp_servers.other]\ncommand = "y"\n\n[tui]\nsound = false\n'
    text = done("codex", written(tmp_path / "config.toml", old))
    assert all(line in text.splitlines() for line in old.splitlines())
    assert tomllib.loads(text)["mcp_servers"] == {"other": {"command": "y"}, "cis": ENTRY}


def test_what_the_user_set_for_this_server_stays(tmp_path: Path) -> None:
    old = {"mcpServers": {"cis": {"command": "/old", "args": [], "env": {"CIS_HOME": "/h"}, "disabled": True}}}
    text = done("cursor", written(tmp_path / "mcp.json", json.dumps(old)))
    assert json.loads(text)["mcpServers"]["cis"] == {**ENTRY, "env": {"CIS_HOME": "/h"}, "disabled": True}


def test_a_server_that_is_there_already_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "mcp.json", json.dumps({"mcpServers": {"cis": ENTRY}}))
    assert plan(JSON, path, "cis", ENTRY) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, // why\n"b": 2}',
        '{"a": 1,}',
        '{"a": 1, "a": 2}',
        "[]",
        '{"mcpServers": []}',
        '{"mcpServers": {"cis": "x"}}',
        '{"a": NaN}',
        b"\xff\xfe{}",
    ],
)
def test_a_json_file_that_would_lose_something_is_left_alone(text: str | bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "mcp.json", text)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="by hand"):
        plan(JSON, path, "cis", ENTRY)
    assert path.read_bytes() == before


def test_a_file_with_comments_is_refused_and_the_entry_shown(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(user / ".config/zed/settings.json", '// mine\n{"theme": "One"}\n')
    assert run(["mcp", "install", "zed", "--yes"]) == 2
    said = capsys.readouterr().err
    assert "context_servers" in said
    assert "comments" in said
    assert path.read_text() == '// mine\n{"theme": "One"}\n'


def test_a_broken_toml_file_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "config.toml", "[mcp_servers\n")
    with pytest.raises(UsageError, match="by hand"):
        plan(TOML, path, "cis", ENTRY)


def test_the_old_file_is_kept_beside_the_new_and_its_mode_stays(tmp_path: Path) -> None:
    path = written(tmp_path / "mcp.json", '{"a": 1}')
    path.chmod(0o640)
    change = plan(JSON, path, "cis", ENTRY)
    assert change is not None
    kept = carry_out(change)
    assert kept is not None
    assert kept.read_text() == '{"a": 1}'
    assert [one.stat().st_mode & 0o777 for one in (path, kept)] == [0o640, 0o640]
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([path.name, kept.name])


def test_a_link_stays_one_and_its_target_is_written(tmp_path: Path) -> None:
    target = written(tmp_path / "dotfiles/mcp.json", "{}")
    link = tmp_path / "mcp.json"
    link.symlink_to(target)
    assert json.loads(done("cursor", link))["mcpServers"] == {"cis": ENTRY}
    assert link.is_symlink()
    assert json.loads(target.read_text())["mcpServers"] == {"cis": ENTRY}


def test_a_file_changed_after_it_was_shown_is_not_overwritten(tmp_path: Path) -> None:
    path = written(tmp_path / "mcp.json", '{"theirs": 1}')
    with pytest.raises(CisError, match="changed meanwhile"):
        carry_out(Change(path, "{}", '{"ours": 1}'))
    assert path.read_text() == '{"theirs": 1}'


def test_nothing_is_written_without_leave(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mcp", "install", "cursor"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert list(user.iterdir()) == []


def test_where_there_is_no_node_yet_registering_says_how_to_make_one(
    user: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--home", str(tmp_path / "none"), "mcp", "install", "cursor", "--yes"]) == 0
    assert "cis init" in capsys.readouterr().err
    assert (user / ".cursor" / "mcp.json").exists()


def test_printing_changes_nothing(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mcp", "install", "codex", "--print", "--read-only"]) == 0
    said = capsys.readouterr().out
    assert '"mcp", "--read-only"]' in said
    assert str(user / ".codex/config.toml") in said
    assert list(user.iterdir()) == []


def test_flags_and_home_reach_the_entry(user: Path, tmp_path: Path) -> None:
    words = ["mcp", "install", "vscode", "--yes", "--space", "team", "--private", "--allow-delete"]
    assert run(["--home", str(tmp_path / "other"), *words]) == 0
    entry = json.loads((user / ".config/Code/User/mcp.json").read_text())["servers"]["cis"]
    expected = ["--home", str(tmp_path / "other"), "mcp", "--space", "team", "--private", "--allow-delete"]
    assert entry["args"][-len(expected) :] == expected


def test_a_project_gets_its_own_list(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = user / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    assert run(["mcp", "install", "claude-code", "--project", "--yes"]) == 0
    assert json.loads((project / ".mcp.json").read_text())["mcpServers"]["cis"]["type"] == "stdio"
    assert run(["mcp", "install", "windsurf", "--project", "--yes"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["install", "emacs"],
        ["install", "cursor", "--space", "private"],
        ["install", "cursor", "--read-only", "--allow-delete"],
        ["--private", "install", "cursor"],
    ],
)
def test_contradictions_are_refused(words: list[str], user: Path) -> None:
    assert run(["mcp", *words]) == 2
    assert list(user.iterdir()) == []
