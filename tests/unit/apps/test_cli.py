"""The command line in one process: errors, exit codes, JSON, and what reaches the terminal."""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cis.api.peers.network_schema import ConnectPeer
from cis.apps.cli.main import run
from cis.apps.cli.p2p import connect
from cis.apps.cli.printing import ago, complain, say, show_json, show_table, size
from cis.apps.cli.shared import seconds_of
from cis.net import NetLimits
from cis.node.paths.reaching import NEGOTIATION_S
from cis.peers.book import ICE_AFTER_S

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
        (["memory", "set", "k", "v", "--if-version", "0"], 1, "read it again"),
        (["memory", "set", "k", "v", "--if-version", "0", "--new"], 2, "exclude each other"),
        (["memory", "delete", "k", "--if-version", "0"], 1, "read it again"),
        (["memory", "set", "k", "-5"], 2, "put -- before it"),
        (["memory", "set", "k", "v", "--jsn"], 2, "--new); add --help"),
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
        (["statsu"], 2, "'statsu': did you mean 'status'? add --help"),
        (["invite", "--cancel", "0000"], 2, "cis invite --list"),
        (["p2p", "connections"], 3, "cis up"),
        (["p2p", "ping", "x", "-c", "0"], 2, "1 to 100"),
        (["config", "set", "p2p.ice.turn_servers", '[{"url": "turn:u:hush@h"}]'], 2, "turn:HOST:PORT"),
        (["config", "set", "p2p.ice.stun_servers", "a:b:c"], 2, "p2p.ice.stun_servers"),
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
        ["invite", "--list"],
        ["doctor"],
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

    monkeypatch.setattr("cis.api.control.client.connect", broken)
    assert made("status") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "CIS_DEBUG=1" in err


def test_an_interrupt_ends_with_130(made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cis.api.control.client.connect", interrupted)
    assert made("status") == 130


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x07", "\x9b31m", "a\u202eb", "\u2066", "line\nline", "\r", "\U000e0041"])
def test_no_control_character_is_printed(capsys: pytest.CaptureFixture[str], evil: str) -> None:
    say(evil)
    complain(evil)
    show_table(["a", "b"], [[evil, evil]])
    show_json({evil: evil})
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).split("\n")
    assert all(character.isprintable() for line in lines for character in line)


def test_json_keeps_the_value_it_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"k": "\x1b\u202e\u2028\U000e0041✓ 👩‍👧"})
    assert json.loads(capsys.readouterr().out) == {"k": "\x1b\u202e\u2028\U000e0041✓ 👩‍👧"}


def test_spans_and_sizes_are_short() -> None:
    assert [ago(one) for one in (None, 5, 600, 7200, 300_000)] == ["never", "5 s", "10 min", "2 h", "3 d"]
    assert [size(one) for one in (5, 1500, 2_000_000)] == ["5 B", "1.5 KB", "2.0 MB"]


def test_an_empty_stdin_sets_nothing_and_an_empty_word_does(
    made: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (["memory", "set", "k"], ["memory", "set", "k", "-"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
        assert made(*words) == 2
        assert '""' in capsys.readouterr().err
    assert made("memory", "get", "k") == 1
    assert made("memory", "set", "k", "") == 0
    assert made("memory", "get", "k") == 0


@pytest.mark.parametrize("value", ['{"base64": "aGk="}', '{"base64": 5}', '{"base64": "not base64"}'])
def test_json_that_looks_like_bytes_is_printed_as_the_json_it_is(
    made: Run, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    assert made("memory", "set", "k", value, "--as-json") == 0
    assert made("memory", "get", "k") == 0
    assert capsys.readouterr().out == value + "\n"
    assert made("memory", "add", "s", value, '"text"', "--as-json") == 0
    assert made("memory", "members", "s") == 0
    assert sorted(capsys.readouterr().out.splitlines()) == ["text", value]


def test_bytes_come_out_as_they_went_in(cis: Run, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    assert cis("init") == 0
    (tmp_path / "logo").write_bytes(b"\x89PNG\xff\0")
    assert cis("memory", "set", "k", "--file", str(tmp_path / "logo")) == 0
    capfdbinary.readouterr()
    assert cis("memory", "get", "k") == 0
    assert capfdbinary.readouterr().out == b"\x89PNG\xff\0"


def test_a_list_that_was_cut_short_says_so(made: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [{"key": key, "value": value, "beside": value == "2"} for key in "ab" for value in "12"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert made("memory", "import", str(tmp_path / "rows.jsonl")) == 0
    for command, hint in (("conflicts", "add --limit"), ("list", "add --after a")):
        capsys.readouterr()
        assert made("memory", command, "--limit", "1") == 0
        shown = capsys.readouterr()
        assert hint in shown.err
        assert not any(line.startswith("b ") for line in shown.out.splitlines())
        assert made("memory", command) == 0
        assert "add --" not in capsys.readouterr().err


def test_taking_a_pattern_off_a_list_it_is_not_on_is_said_so(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for verb, word in (("deny", "denied"), ("allow", "allowed")):
        made("acl", verb, "x")
        capsys.readouterr()
        assert made("acl", verb, "x", "--remove") == 0
        assert f"x is off the list of the {word}\n" in capsys.readouterr().out
        assert made("acl", verb, "x", "--remove") == 0
        assert f"x was not on the list of the {word}\n" in capsys.readouterr().out


def test_a_ticket_that_is_none_is_said_so_before_anything_else(
    made: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cis.api.control.client.connect_daemon", lambda _: object())
    assert made("join", "cis1garbage") == 2
    assert "ticket" in capsys.readouterr().err


def test_public_stun_servers_are_used_only_where_somebody_said_yes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def agreed(name: str, *flags: str) -> str:
        home = str(tmp_path / name)
        assert run(["--home", home, "init", "--name", name, *flags]) == 0
        assert run(["--home", home, "config", "get", "p2p.ice.use_public_stun"]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert agreed("silent") == "false"
    assert agreed("yes", "--public-stun") == "true"
    assert agreed("no", "--no-public-stun") == "false"
    assert agreed("alone", "--standalone", "--public-stun") == "true"
    for answer in (True, False):
        asked: list[str] = []
        monkeypatch.setattr(
            "cis.apps.cli.nodes.confirm",
            lambda question, asked=asked, answer=answer: (asked.append(question), answer)[1],
        )
        assert agreed(f"asked-{answer}".lower()) == str(answer).lower()
        question = asked[0]
        assert "stun.cloudflare.com" in question
        assert "see that address and that STUN is used" in question
    asked = []
    assert run(["--home", str(tmp_path / "yes"), "init"]) == 2, "there is a node: nothing is asked"
    assert asked == []


def test_a_home_with_settings_keeps_them_beside_the_consent(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[p2p]\nlisten_port = 7001  # mine\n")
    tmp_path.chmod(0o700)
    assert run(["--home", str(tmp_path), "init", "--name", "solo", "--public-stun"]) == 0
    text = (tmp_path / "config.toml").read_text()
    assert "listen_port = 7001  # mine" in text
    assert "use_public_stun = true" in text


def test_a_credential_is_written_and_never_shown(made: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    server = '[{"url": "turn:turn.example.net", "username": "u", "credential": "hush"}]'
    assert made("config", "set", "p2p.ice.turn_servers", server) == 0
    for words in (["config", "get", "p2p.ice.turn_servers"], ["config", "list"], ["doctor"], ["status"]):
        for end in ([], ["--json"]):
            made(*words, *end)
    printed = capsys.readouterr()
    assert "turn.example.net" in printed.out
    assert "hush" not in printed.out + printed.err
    assert 'credential = "hush"' in (tmp_path / "home" / "config.toml").read_text()
    assert (tmp_path / "home" / "config.toml").stat().st_mode & 0o077 == 0


def test_doctor_looks_at_how_the_node_does_and_with_security_at_keys(
    made: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made("doctor") == 0
    health = capsys.readouterr().out
    assert "cis up --detach" in health
    made("doctor", "--security")
    assert "file modes" in capsys.readouterr().out
    assert "file modes" not in health


def test_connect_waits_for_as_long_as_the_attempts_it_tells_of_may_take() -> None:
    waits_s = seconds_of(str(inspect.signature(connect).parameters["timeout"].default))
    limits = NetLimits()
    assert waits_s == ConnectPeer(target="peer").timeout_s
    assert waits_s > (1 + limits.handshake_retries) * limits.handshake_timeout_s
    assert waits_s > ICE_AFTER_S + NEGOTIATION_S
