"""Every setting acts: what the rooms below are given differs when any one of them is another."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import time
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cis.api.configuration.acting import exchange_of, options_of
from cis.api.configuration.settings import Row, Settings, describe, load
from cis.api.memories.search_options import search_options_of
from cis.api.telemetry.sampling import sample_of
from cis.node.retuning import TUNABLE
from cis.store.log import CHANGESETS_PER_FRAME
from cis.store.placing import BEYOND_MAX

ROOT = Path(__file__).resolve().parents[3]
ALL_ON = """
[p2p.discovery]
enable_dht = true
libp2p.enabled = true
[p2p.cloud_anchor]
enabled = true
endpoint = "https://anchor.example.net"
[p2p.bandwidth.off_peak]
start = "02:00"
end = "06:00"
[memory.embedding]
url = "https://model.example.net/v1"
model = "words"
"""
"""What has to be on, so that what belongs to it is asked for."""
OTHERS: dict[str, Any] = {
    "p2p.listen_address": "127.0.0.1",
    "p2p.external_address": "192.0.2.7:1",
    "p2p.discovery.service_name": "_other._udp",
    "p2p.discovery.bootstrap_nodes": "192.0.2.7:1",
    "p2p.discovery.libp2p.bootstrap": "/ip4/192.0.2.7/tcp/4001/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "p2p.cloud_anchor.endpoint": "https://other.example.net",
    "p2p.cloud_anchor.ca_file": "/ca.pem",
    "p2p.cloud_anchor.token": "token",
    "p2p.peers.static_peers": "did:cis:a@192.0.2.7:1",
    "p2p.ice.stun_servers": "192.0.2.7:1",
    "p2p.ice.turn_servers": '[{"url": "turn:192.0.2.7:1", "username": "u", "credential": "c"}]',
    "p2p.acl.mode": "solitary",
    "p2p.acl.whitelist": "did:cis:a",
    "p2p.acl.blacklist": "did:cis:a",
    "p2p.sync.public_memory.priority": "high",
    "p2p.bandwidth.off_peak.start": "01:00",
    "p2p.bandwidth.off_peak.end": "05:00",
    "p2p.limits.buffered_per_peer_mib": 65,
    "p2p.limits.gossip_hops": 8,
    "p2p.connection_pool.keepalive_interval": 11,
    "memory.embedding.provider": "http",
    "memory.embedding.url": "https://other.example.net/v1",
    "memory.embedding.model": "other",
    "memory.embedding.token": "token",
}
"""Another value, where it is not the opposite or the next number."""
ELSEWHERE = {
    "p2p.enabled": "the daemon makes no driver",
    "p2p.discovery.plugins": "tests/unit/discovery/test_plugins.py",
    "p2p.transports.plugins": "tests/unit/api/test_transporting.py",
    "p2p.sync.conflict_resolution": "tests/unit/api/test_conflicts.py",
    "log.level": "tests/unit/api/test_logs.py",
    "log.format": "tests/unit/api/test_logs.py",
    "metrics.enabled": "the daemon serves none",
    "metrics.listen": "the daemon listens there",
    "metrics.allow_remote": "a check alone",
}
"""Settings that no options carry: the daemon asks for them itself, and where it is told what they do."""
BY_CHANCE = {"_early_s"}
"""Attributes that are drawn anew each time."""
KEYS = [row.key for row in describe(Path("/nowhere")) if row.key not in ELSEWHERE]


def seen(thing: Any, depth: int = 9) -> Any:
    """What an object is made of, as far as it is cis's own: plain values, and the same of what it holds."""
    if thing is None or isinstance(thing, str | bytes | int | float | time | Enum | Path | IPv4Address | IPv6Address):
        return thing
    if isinstance(thing, SecretStr):
        return thing.get_secret_value()
    if isinstance(thing, list | tuple):
        return [seen(part, depth - 1) for part in thing]
    if is_dataclass(thing) and not isinstance(thing, type):
        return {one.name: seen(getattr(thing, one.name), depth - 1) for one in fields(thing)}
    if type(thing).__module__.startswith("cis.") and depth and hasattr(thing, "__dict__"):
        held = {name: seen(value, depth - 1) for name, value in vars(thing).items() if name not in BY_CHANCE}
        return type(thing).__name__, held
    return type(thing).__name__


def given(settings: Settings) -> Any:
    """All that the rooms below are given."""
    parts = options_of(settings, Path("/home")), exchange_of(settings), search_options_of(settings)
    return [*map(seen, parts), seen(settings.p2p.acl.parsed())]


def another(key: str, settings: Settings) -> Any:
    if key in OTHERS:
        return OTHERS[key]
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return not value if isinstance(value, bool) else value + 1


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "config.toml").write_text(ALL_ON, encoding="utf-8")
    return folder


def test_what_the_rooms_below_are_given_follows_from_the_settings_alone(home: Path) -> None:
    assert given(load(home)) == given(load(home))


@pytest.mark.parametrize("key", KEYS)
def test_a_setting_acts(home: Path, key: str) -> None:
    settings = load(home)
    assert given(load(home, {key: another(key, settings)})) != given(settings), f"nothing differs by {key}"


@pytest.mark.parametrize("row", [row for row in describe(Path("/nowhere")) if row.key in KEYS], ids=lambda row: row.key)
def test_a_setting_is_said_to_be_taken_up_by_a_running_node_just_where_it_can_be(home: Path, row: Row) -> None:
    before = load(home)
    after = load(home, {row.key: another(row.key, before)})
    options = [options_of(settings, Path("/home")) for settings in (before, after)]
    differing = {
        one.name
        for one in fields(options[0])
        if seen(getattr(options[0], one.name)) != seen(getattr(options[1], one.name))
    }
    elsewhere = exchange_of(before) != exchange_of(after) or before.p2p.acl != after.p2p.acl
    static = before.p2p.peers != after.p2p.peers
    assert row.live == (elsewhere or static or (bool(differing) and differing <= {*TUNABLE}))


def test_every_key_of_the_example_is_one_of_those_that_act(tmp_path: Path) -> None:
    text = (ROOT / "config.example.toml").read_text(encoding="utf-8")
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    written = {row.key for row in describe(tmp_path) if row.origin != "default"}
    assert len(written) > 30
    assert written <= {*KEYS, *ELSEWHERE}


def test_defaults_are_those_of_the_rooms_that_perform_them(tmp_path: Path) -> None:
    exchange = exchange_of(load(tmp_path))
    assert (exchange.changesets_per_frame, exchange.beyond_max) == (CHANGESETS_PER_FRAME, BEYOND_MAX)
    (tmp_path / "config.toml").write_text(sample_of(), encoding="utf-8")
    assert given(load(tmp_path)) == given(Settings())
