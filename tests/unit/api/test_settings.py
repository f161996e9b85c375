"""Settings: every key of the example, the order of sources, and errors that lead to the line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cis.api.configuration.configuring import write_setting
from cis.api.configuration.settings import describe, home_of, load
from cis.api.configuration.settings_file import line_of
from cis.discovery.static import StaticPeer
from cis.errors import UsageError
from cis.trust.acl import Acl, Mode

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = (ROOT / "config.example.toml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CIS_")]:
        monkeypatch.delenv(name)


def _write(home: Path, text: str) -> Path:
    (home / "config.toml").write_text(text, encoding="utf-8")
    return home


def _refusal(home: Path, text: str) -> str:
    with pytest.raises(UsageError) as refused:
        load(_write(home, text))
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    p2p = load(tmp_path).p2p
    assert (p2p.enabled, p2p.listen_port, p2p.sync.interval) == (True, 7677, 60.0)
    assert (p2p.sync.conflict_resolution, p2p.discovery.enable_mdns) == ("crdt", True)
    assert (p2p.listen_address, p2p.ice.use_public_stun, p2p.nat.enable_upnp) == ("::", False, False)


def test_the_example_loads_and_every_key_has_its_value(tmp_path: Path) -> None:
    settings = load(_write(tmp_path, EXAMPLE))
    p2p = settings.p2p
    assert p2p.peers.parsed() == (
        StaticPeer("192.168.1.100", 7677, name="workstation"),
        StaticPeer("server.example.net", 7677, name="server"),
    )
    assert (p2p.sync.batch_size, p2p.discovery.broadcast_interval) == (100, 30.0)
    assert (p2p.connection_pool.max_connections, p2p.connection_pool.idle_timeout) == (50, 300.0)
    assert p2p.ice.turn_servers[0].credential.get_secret_value() == "pass"
    assert p2p.bandwidth.off_peak.start == "02:00"


def test_flag_comes_before_environment_before_file_before_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, key = _write(tmp_path, "[p2p.sync]\ninterval = 10\nbatch_size = 7\n"), "p2p.sync.interval"
    assert load(home).p2p.sync.interval == 10
    monkeypatch.setenv("CIS_P2P__SYNC__INTERVAL", "20")
    assert load(home).p2p.sync.interval == 20
    assert load(home, {key: 30}).p2p.sync.interval == 30
    assert load(home, {key: None}).p2p.sync.interval == 20
    assert load(home, {key: 30}).p2p.sync.batch_size == 7


def test_each_row_says_where_its_value_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = _write(
        tmp_path,
        "[p2p]\nenabled = true\n\n[p2p.ice]\nturn_servers = [{url = 'turn:t', credential = 'pass'}]\n",
    )
    monkeypatch.setenv("CIS_P2P__SYNC__INTERVAL", "20")
    rows = {row.key: row for row in describe(home, {"p2p.listen_port": 0})}
    assert rows["p2p.enabled"].origin == f"{home}/config.toml:2"
    assert rows["p2p.sync.interval"].origin == "environment CIS_P2P__SYNC__INTERVAL"
    assert rows["p2p.listen_port"].origin == "flag p2p.listen_port"
    assert rows["p2p.sync.batch_size"].origin == "default"
    assert (rows["p2p.sync.interval"].value, rows["p2p.sync.interval"].default) == ("20", "60")
    assert all(row.meaning for row in rows.values())
    assert "pass" not in str(rows)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[p2p]\nlisten_prot = 1\n", 2, ["p2p.listen_prot", "did you mean p2p.listen_port?"]),
        ("[p2p]\n\n# x\nenable_mdns = true\n", 4, ["did you mean p2p.discovery.enable_mdns?"]),
        ("[p2p.synk]\ninterval = 1\n", 1, ["p2p.synk", "did you mean p2p.sync?"]),
        ("[p2q]\nenabled = true\n", 1, ["p2q", "did you mean p2p?"]),
        ('[p2p.sync]\ninterval = "60"\n', 2, ["p2p.sync.interval = '60'", "number"]),
        ("[p2p]\nsync.interval = -1\n", 2, ["p2p.sync.interval = -1", "greater than 0"]),
        ("[p2p]\nenabled = 1\n", 2, ["p2p.enabled = 1", "boolean"]),
        ("[p2p]\nlisten_port = 70000\n", 2, ["p2p.listen_port = 70000"]),
        ("p2p = 3\n", 1, ["p2p is a section"]),
        ("[p2p]\nsync = 3\n", 2, ["p2p.sync is a section"]),
        ('[p2p.sync]\nconflict_resolution = "magic"\n', 2, ["magic", "vector_clock"]),
        ('[p2p.peers]\nstatic_peers = [\n  "host:1",\n]\n', 2, ["static_peers[0]", "did:cis:NAME@host:port"]),
        ('[p2p.peers]\nstatic_peers = "did:cis:a@host"\n', 2, ["static_peers", "tuple"]),
        (
            '[[p2p.ice.turn_servers]]\nurl = "turn:a"\n[[p2p.ice.turn_servers]]\nurl = "b"\n',
            4,
            ["turn_servers[1]"],
        ),
        ("[p2p.connection_pool]\nkeepalive_interval = 500\n", 1, ["keepalive_interval must be below"]),
        ('[p2p.bandwidth.off_peak]\nstart = "02:00"\n', 1, ["both start and end"]),
        ("[p2p.bandwidth.off_peak]\nupload_limit = 5\n", 1, ["need its hours"]),
        ('[p2p.bandwidth.off_peak]\nstart = "02:00"\nend = "02:00"\n', 1, ["the same time"]),
        ("[p2p]\nlisten_port = 7\ndiscovery.dht_port = 7\ndiscovery.enable_dht = true\n", 1, ["are both 7"]),
        ("[p2p.limits]\nbuffered_per_peer_mib = 600\n", 1, ["must not be above buffered_mib"]),
        ("[p2p.limits]\nretry_above = 33\n", 1, ["must not be above unauthenticated_connections"]),
        ("[p2p.limits]\ngossip_hops = 17\n", 2, ["less than or equal to 16"]),
        ("[memory.search]\nword_weight = 0\nmeaning_weight = 0\n", 1, ["nothing would be found"]),
        ('[log]\nlevel = "p2p=debgu"\n', 2, ["'debgu' is no level"]),
        ('[log]\nlevel = "p3p=debug"\n', 2, ["'p3p' is no area", "p2p"]),
        ('[metrics]\nlisten = "0.0.0.0:9467"\n', 1, ["allow_remote"]),
        ('[metrics]\nlisten = "9467"\n', 2, ["metrics.listen"]),
        ('[p2p.bandwidth.off_peak]\nstart = "25:00"\nend = "26:00"\n', 2, ["start = '25:00'", "and 1 more"]),
        ('[p2p]\nlisten_address = "1:2"\n', 2, ["p2p.listen_address = '1:2'", "0.0.0.0"]),
        ('[p2p.ice]\nstun_servers = ["a:b"]\n', 2, ["stun_servers[0] = 'a:b'", "1 to 65535"]),
        ('[p2p.acl]\nmode = "closed"\n', 2, ["closed", "quarantine"]),
        ('[p2p.acl]\nblacklist = ["Laptop"]\n', 2, ["blacklist[0]", "is no pattern"]),
        ("[p2p]\nenabled = tru\n", 2, ["not TOML"]),
        ("[p2p\n", 1, ["not TOML"]),
        ("a = " + "[" * 5000, 1, ["nested"]),
        ("[p2p]\nlisten_port = " + "9" * 5000, 1, ["not TOML"]),
        ('x = """\nlisten_port = 1\n"""\n[p2p]\nlisten_port = 1\n', 1, ["unknown setting x"]),
    ],
)
def test_a_mistake_is_named_with_its_file_and_line(tmp_path: Path, text: str, line: int, words: list[str]) -> None:
    message = _refusal(tmp_path, text)
    assert message.startswith(f"{tmp_path}/config.toml:{line}: ")
    for word in words:
        assert word in message


def test_text_inside_a_value_of_several_lines_is_no_key() -> None:
    text = 'note = """\n[p2p]\nlisten_port = 1\n"""\n[p2p]\n"listen_port" = 2\n'
    assert line_of(text, ("p2p", "listen_port")) == 6
    assert line_of(text, ("p2p",)) == 5


def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIS_P2P__SYNC__INTERVAL", "often")
    with pytest.raises(UsageError, match=r"^environment CIS_P2P__SYNC__INTERVAL: p2p\.sync\.interval = 'often'"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["CIS_P2P__SYNC__INTREVAL", "CIS_P2P_SYNC_INTERVAL"])
def test_a_variable_that_reaches_no_setting_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "5")
    with pytest.raises(UsageError, match=rf"^environment {name}: unknown setting.*[iI][nN][tT][eE][rR][vV][aA][lL]\?$"):
        load(tmp_path)


def test_cis_log_is_short_for_the_level_and_is_named_where_it_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIS_LOG", "p2p=debug")
    assert load(_write(tmp_path, '[log]\nlevel = "error"\n')).log.level == "p2p=debug"
    assert next(row.origin for row in describe(tmp_path) if row.key == "log.level") == "environment CIS_LOG"
    monkeypatch.setenv("CIS_LOG__LEVEL", "info")
    with pytest.raises(UsageError, match=r"^environment CIS_LOG__LEVEL: log\.level is set by another variable too"):
        load(tmp_path)
    monkeypatch.delenv("CIS_LOG__LEVEL")
    monkeypatch.setenv("CIS_LOG", "loud")
    with pytest.raises(UsageError, match=r"^environment CIS_LOG: log\.level = 'loud': 'loud' is no level"):
        load(tmp_path)


def test_metrics_are_for_this_machine_unless_that_is_said(tmp_path: Path) -> None:
    for listen in ("127.0.0.1:1", "[::1]:1", "localhost:1"):
        assert load(_write(tmp_path, f"[metrics]\nlisten = '{listen}'\n")).metrics.listen == listen
    everywhere = "[metrics]\nlisten = '0.0.0.0:1'\nallow_remote = true\n"
    assert load(_write(tmp_path, everywhere)).metrics.allow_remote


@pytest.mark.parametrize("value", ["did:cis:a@h:1,did:cis:b@h:2", '["did:cis:a@h:1", "did:cis:b@h:2"]'])
def test_a_list_in_the_environment_is_json_or_words_between_commas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CIS_P2P__PEERS__STATIC_PEERS", value)
    assert [peer.name for peer in load(tmp_path).p2p.peers.parsed()] == ["a", "b"]


@pytest.mark.parametrize("others", [{}, {"CIS_P2P__SYNC__INTERVAL": "5"}, {"cis_p2p__sync__interval__x": "5"}])
def test_a_section_is_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: dict[str, str]) -> None:
    for name, value in {"CIS_P2P__SYNC": "5", **others}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"^environment CIS_P2P__SYNC: p2p\.sync is a section"):
        load(tmp_path)


def test_the_case_of_a_variable_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Cis_p2p__Sync__Interval", "20")
    assert load(tmp_path).p2p.sync.interval == 20


def test_what_belongs_together_may_come_from_two_places(tmp_path: Path) -> None:
    home = _write(tmp_path, "[p2p.connection_pool]\nidle_timeout = 900\n")
    assert load(home, {"p2p.connection_pool.keepalive_interval": 400}).p2p.connection_pool.idle_timeout == 900
    with pytest.raises(UsageError, match=r"flag p2p.connection_pool: .* below idle_timeout"):
        load(home, {"p2p.connection_pool.keepalive_interval": 1000})


def test_the_access_list_of_the_example_is_a_whitelist(tmp_path: Path) -> None:
    acl = load(_write(tmp_path, EXAMPLE)).p2p.acl.parsed()
    assert acl == Acl(Mode.WHITELIST, ("did:cis:work*", "did:cis:server"), ("did:cis:old-laptop",))
    assert load(_write(tmp_path, "")).p2p.acl.parsed() == Acl()


def test_two_modes_at_once_are_refused_wherever_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said_twice = '[p2p.acl]\nwhitelist_only = true\nmode = "whitelist"\n'
    assert load(_write(tmp_path, said_twice)).p2p.acl.parsed().mode is Mode.WHITELIST
    assert "drop one of the two" in _refusal(tmp_path, '[p2p.acl]\nwhitelist_only = true\nmode = "open"\n')
    monkeypatch.setenv("CIS_P2P__ACL__MODE", "solitary")
    assert "drop one of the two" in _refusal(tmp_path, "[p2p.acl]\nwhitelist_only = true\n")
    assert load(_write(tmp_path, '[p2p.acl]\nmode = "open"\n')).p2p.acl.parsed().mode is Mode.SOLITARY


def test_an_unknown_flag_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"flag p2p\.listen: unknown setting"):
        load(tmp_path, {"p2p.listen": 1})


def test_a_credential_never_appears_in_an_error(tmp_path: Path) -> None:
    text = "[p2p.ice]\nturn_servers = [{url = 'turn:x', credential = 5554443}]\n"
    assert "5554443" not in _refusal(tmp_path, text)


def test_a_file_that_is_not_text_or_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"[p2p]\n\xff\n")
    with pytest.raises(UsageError, match=r"config.toml:2: not UTF-8"):
        load(tmp_path)
    (tmp_path / "config.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(UsageError, match="bytes long"):
        load(tmp_path)


def test_home_is_the_flag_then_the_variable_then_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert home_of(None) == Path.home() / ".cis"
    monkeypatch.setenv("CIS_HOME", str(tmp_path / "there"))
    assert home_of(None) == tmp_path / "there"
    assert home_of(tmp_path / "flag") == tmp_path / "flag"
    monkeypatch.chdir(tmp_path)
    assert home_of(Path("here")) == tmp_path / "here"


def test_a_plugin_s_table_is_free_and_belongs_to_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = _write(tmp_path, '[p2p.discovery.plugins.folder]\npath = "/p"\ntries = 3\n[p2p.discovery.plugins.bare]\n')
    assert load(home).p2p.discovery.plugins == {"folder": {"path": "/p", "tries": 3}, "bare": {}}
    monkeypatch.setenv("CIS_P2P__DISCOVERY__PLUGINS__FOLDER__PATH", "/q")
    assert load(home).p2p.discovery.plugins["folder"] == {"path": "/q", "tries": 3}
    monkeypatch.undo()
    assert "[p2p.discovery.plugins.folder]" in _refusal(tmp_path, "[p2p.discovery.plugins]\nfolder = 1\n")
    assert "Über" in _refusal(tmp_path, '[p2p.discovery.plugins."Über"]\n')


def test_what_is_set_for_a_plugin_is_listed_but_for_what_may_be_secret(tmp_path: Path) -> None:
    home = _write(
        tmp_path, '[p2p.discovery.plugins.x]\npath = "/p"\n[p2p.discovery.plugins.x.login]\ntoken = "xyzzy"\n'
    )
    rows = {row.key: row for row in describe(home)}
    assert rows["p2p.discovery.plugins"].value == "x"
    assert (rows["p2p.discovery.plugins.x.path"].value, rows["p2p.discovery.plugins.x.login.token"].value) == (
        "/p",
        "(set)",
    )
    assert rows["p2p.discovery.plugins.x.path"].origin.endswith("config.toml:2")


@pytest.mark.parametrize(("text", "value"), [("/mnt/x", "/mnt/x"), ("12.5", 12.5), ("true", True), ('["a"]', ["a"])])
def test_a_plugin_s_setting_is_written_as_what_it_looks_like(tmp_path: Path, text: str, value: object) -> None:
    write_setting(tmp_path, "p2p.discovery.plugins.x.some", text)
    assert load(tmp_path).p2p.discovery.plugins == {"x": {"some": value}}
    with pytest.raises(UsageError):
        write_setting(tmp_path, "p2p.discovery.plugins.x", text)
