"""One node by itself: made, started, stopped, and what it says when something is wrong."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import Home


def is_one_line(text: str) -> bool:
    return text.startswith("cis: ") and text.count("\n") == 1 and "Traceback" not in text


def test_a_node_is_made_started_asked_and_stopped(home: Home) -> None:
    home.cis("memory", "set", "editor", "dark mode", "--category", "preference")
    started = home.up()
    assert started["running"]
    assert started["listen"].startswith("127.0.0.1:")
    assert stat.S_IMODE((home.path / "control.sock").stat().st_mode) == 0o600
    assert home.cis("memory", "get", "editor") == "dark mode\n"
    home.cis("memory", "set", "while/up", "1")
    home.cis("down")
    assert not (home.path / "control.sock").exists()
    assert home.json("status")["running"] is False
    assert [one["key"] for one in home.json("memory", "list")["memories"]] == ["editor", "while/up"]


def test_a_socket_left_by_a_killed_node_is_replaced(home: Home) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(home.path / "control.sock"))
    left.close()
    assert home.cis("memory", "list", "--json")
    assert home.up()["running"]


def test_a_long_home_path_has_its_socket_elsewhere(new_home: Callable[[str], Home], tmp_path: Path) -> None:
    home = new_home("/".join(["deep" * 10] * 4))
    home.cis("init")
    assert home.up()["running"]
    home.cis("memory", "set", "k", "v")
    assert home.cis("memory", "get", "k") == "v\n"
    home.cis("down")


def test_a_standalone_node_opens_no_socket_and_serves_memories(new_home: Callable[[str], Home]) -> None:
    home = new_home("alone")
    home.cis("init", "--standalone")
    started = json.loads(home.cis("up", "--detach", "--json"))
    assert (started["networking"], started["listen"]) == (False, None)
    home.cis("memory", "set", "k", "v")
    assert home.cis("memory", "get", "k") == "v\n"
    refused = home.run("invite")
    assert refused.code == 3
    assert is_one_line(refused.err)


def test_without_a_node_every_command_says_how_to_make_one(new_home: Callable[[str], Home]) -> None:
    ended = new_home("none").run("memory", "list")
    assert ended.code == 2
    assert "cis init" in ended.err


def test_a_key_others_can_read_is_refused_with_the_remedy(home: Home) -> None:
    (home.path / "identity.key").chmod(0o644)
    ended = home.run("status")
    assert ended.code == 4
    assert is_one_line(ended.err)
    assert "chmod 600" in ended.err


def test_a_wrong_setting_is_named_with_file_and_line(home: Home) -> None:
    (home.path / "config.toml").write_text("[p2p]\nlisten_prot = 1\n")
    ended = home.run("up", "--detach")
    assert ended.code == 2
    assert "config.toml:2" in ended.err
    assert "p2p.listen_port" in ended.err


def test_a_taken_port_and_a_second_start_are_told(home: Home, new_home: Callable[[str], Home]) -> None:
    listen = home.up()["listen"]
    other = new_home("other")
    other.cis("init")
    taken = other.run("up", "--detach", "--listen", listen)
    assert taken.code == 3
    assert is_one_line(taken.err)
    assert listen.rpartition(":")[2] in taken.err
    twice = home.run("up", "--listen", "127.0.0.1:0")
    assert twice.code != 0
    assert is_one_line(twice.err)


def test_no_daemon_is_told_with_its_own_exit_code(home: Home) -> None:
    ended = home.run("p2p", "peers")
    assert (ended.code, ended.out) == (3, "")
    assert is_one_line(ended.err)
    assert "cis up" in ended.err


def test_a_store_open_elsewhere_is_told(home: Home) -> None:
    import fcntl

    with (home.path / "lock").open("a+b") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        ended = home.run("memory", "list")
    assert ended.code == 1
    assert is_one_line(ended.err)
    assert "another cis process" in ended.err


def test_config_keeps_comments_and_takes_what_loads(home: Home) -> None:
    (home.path / "config.toml").write_text("# mine\n[p2p]\nlisten_port = 7000  # here\n")
    home.cis("config", "set", "p2p.listen_port", "7001")
    home.cis("config", "set", "p2p.sync.interval", "30")
    assert home.cis("config", "get", "p2p.sync.interval") == "30\n"
    text = (home.path / "config.toml").read_text()
    assert "# mine" in text
    assert "7001  # here" in text
    assert home.cis("config", "path").strip() == str(home.path / "config.toml")


def test_what_others_wrote_does_not_reach_the_terminal_as_control_codes(home: Home) -> None:
    home.cis("memory", "set", "evil", given="\x1b[31mred\u202e".encode())
    assert "\x1b" not in home.cis("memory", "list")
    shown = home.cis("memory", "get", "evil", "--json")
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert json.loads(shown)["value"] == "\x1b[31mred\u202e"
    assert home.cis("memory", "get", "evil") == "\x1b[31mred\u202e\n"


def test_counters_sets_json_bytes_and_expiry(home: Home) -> None:
    home.up()
    assert home.cis("memory", "incr", "n", "5") == "5\n"
    assert home.cis("memory", "incr", "n", "-2") == "3\n"
    home.cis("memory", "add", "tools", "ruff", "mypy", "ruff")
    home.cis("memory", "remove", "tools", "mypy")
    assert home.json("memory", "members", "tools") == ["ruff"]
    assert home.run("memory", "remove", "tools", "mypy").code == 1
    assert home.run("memory", "add", "n", "x").code == 2
    home.cis("memory", "set", "j", '{"b":1,"a":[null]}', "--as-json")
    assert home.json("memory", "get", "j")["value"] == {"b": 1, "a": [None]}
    data = bytes(range(256))
    (home.path / "data").write_bytes(data)
    home.cis("memory", "set", "b", "--file", str(home.path / "data"))
    assert home.json("memory", "get", "b")["form"] == "bytes"
    home.cis("memory", "set", "gone", "x", "--ttl", "1ms")
    assert home.run("memory", "get", "gone").code == 1
    assert "gone" not in home.cis("memory", "list")
    assert "gone" not in home.cis("memory", "search", "gone")


def test_what_would_lose_something_is_refused_in_one_line(home: Home) -> None:
    home.cis("memory", "incr", "builds")
    for words in (
        ("set", "number", "--as-json", "1e999"),
        ("set", "tagged", "value", "--tag", ""),
        ("set", "builds", "a word"),
    ):
        refused = home.run("memory", *words)
        assert refused.code == 2
        assert is_one_line(refused.err)
    assert home.cis("memory", "get", "builds") == "1\n"


def test_a_bare_group_of_commands_prints_its_help_as_it_is(home: Home) -> None:
    bare = home.run("memory")
    assert bare.code == 2
    assert "\n  export" in bare.err
