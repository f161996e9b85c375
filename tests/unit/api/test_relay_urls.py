"""STUN and TURN servers as people write them, and what they become for the node."""

from __future__ import annotations

from pathlib import Path

import pytest

from cis.api.configuration.relay_urls import parse_stun, parse_turn
from cis.api.configuration.settings import describe, load
from cis.api.peers.reaching import reach_options
from cis.errors import UsageError
from cis.reach.options import TurnServer
from cis.reach.public_stun import PUBLIC_STUN


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("turn:turn.example.net", ("turn.example.net", 3478, "udp")),
        ("turn:turn.example.net:80", ("turn.example.net", 80, "udp")),
        ("turn:turn.example.net?transport=udp", ("turn.example.net", 3478, "udp")),
        ("TURN:turn.example.net:443?transport=TCP", ("turn.example.net", 443, "tcp")),
        ("turns:turn.example.net", ("turn.example.net", 5349, "tls")),
        ("turns:turn.example.net:443?transport=tcp", ("turn.example.net", 443, "tls")),
        ("turn:[2001:db8::1]:3479", ("2001:db8::1", 3479, "udp")),
        ("turn:[2001:db8::1]", ("2001:db8::1", 3478, "udp")),
    ],
)
def test_a_relay_is_where_its_url_says(url: str, place: tuple[str, int, str]) -> None:
    assert tuple(parse_turn(url)) == place


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("turn.example.net:3478", "turn:HOST:PORT"),
        ("https://turn.example.net", "turn:HOST:PORT"),
        ("turn:", "names no host"),
        ("turn:turn.example.net:0", "1 to 65535"),
        ("turn:turn.example.net?transport=sctp", "?transport=udp or ?transport=tcp"),
        ("turn:turn.example.net?tcp", "?transport=udp or ?transport=tcp"),
        ("turns:turn.example.net?transport=udp", "DTLS"),
        ("turn:user:hush@turn.example.net", "username and credential are keys of their own"),
    ],
)
def test_what_is_no_relay_is_refused_with_what_to_write(url: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_turn(url)
    assert says in str(refused.value)
    assert "hush" not in str(refused.value)


def test_a_stun_server_has_its_own_default_port() -> None:
    assert parse_stun("stun.example.net") == ("stun.example.net", 3478)
    assert parse_stun("stun:stun.example.net:19302") == ("stun.example.net", 19302)
    assert parse_stun("[2001:db8::1]:5000") == ("2001:db8::1", 5000)
    with pytest.raises(UsageError, match="HOST:PORT"):
        parse_stun("stuns:stun.example.net")


def _write(home: Path, text: str) -> Path:
    (home / "config.toml").write_text(text, encoding="utf-8")
    return home


_CONFIGURED = """
[p2p.nat]
enable_upnp = true
[p2p.ice]
stun_servers = ["stun.example.net", "stun.cloudflare.com:3478"]
turn_servers = [
  { url = "turn:a.example.net?transport=tcp", username = "u", credential = "hush" },
  { url = "turns:b.example.net" },
]
"""


def test_the_settings_become_what_the_node_uses(tmp_path: Path) -> None:
    options = reach_options(load(_write(tmp_path, _CONFIGURED)))
    assert options.stun_servers == (("stun.example.net", 3478), ("stun.cloudflare.com", 3478))
    assert options.turn_servers == (
        TurnServer("a.example.net", 3478, "tcp", "u", "hush"),
        TurnServer("b.example.net", 5349, "tls", "", ""),
    )
    assert options.upnp


def test_by_default_nobody_is_asked_anything(tmp_path: Path) -> None:
    options = reach_options(load(tmp_path))
    assert (options.stun_servers, options.turn_servers, options.upnp) == ((), (), False)


def test_public_stun_servers_are_used_where_agreed_to_after_ones_own_and_each_once(tmp_path: Path) -> None:
    agreed = _CONFIGURED.replace("[p2p.ice]", "[p2p.ice]\nuse_public_stun = true")
    servers = reach_options(load(_write(tmp_path, agreed))).stun_servers
    assert servers[:2] == (("stun.example.net", 3478), ("stun.cloudflare.com", 3478))
    assert sorted(servers) == sorted({*servers, *PUBLIC_STUN})


def test_a_credential_is_in_no_text_of_the_settings(tmp_path: Path) -> None:
    home = _write(tmp_path, _CONFIGURED)
    settings = load(home)
    for text in (repr(settings), str(describe(home)), repr(reach_options(settings))):
        assert "hush" not in text


@pytest.mark.parametrize(
    "turn_servers",
    [
        '[{ url = "turn:a:b:c", credential = "hush" }]',
        '[{ url = "turn:hush@a" }]',
        '[{ url = "turn:a", credential = "hush", name = "b" }]',
        '[{ url = "turn:a", username = 5, credential = "hush" }]',
        '[{ url = "turn:a", credential = ["hush"] }]',
        '"hush"',
        '["hush"]',
    ],
)
def test_a_credential_is_in_no_error(tmp_path: Path, turn_servers: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(_write(tmp_path, f"[p2p.ice]\nturn_servers = {turn_servers}\n"))
    assert "hush" not in str(refused.value)
    assert "turn_servers" in str(refused.value)


@pytest.mark.parametrize("text", ['[{"url": "turn:a", "credential": "hush"', "hush", '[{"url": "hush"}]'])
def test_a_credential_in_the_environment_is_in_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("CIS_P2P__ICE__TURN_SERVERS", text)
    with pytest.raises(UsageError) as refused:
        load(tmp_path)
    assert "hush" not in str(refused.value)
