"""What the DHT keeps between runs, how libtorrent is set up, and whom it looks for when."""

from __future__ import annotations

import importlib.util
import itertools
import random
import sys
from pathlib import Path

import pytest

from cis.discovery.dht import options as dht_options
from cis.discovery.dht.options import (
    PUBLIC_BOOTSTRAP,
    DhtOptions,
    libtorrent_settings,
    load_libtorrent,
    places_to_listen,
)
from cis.discovery.dht.provider import DhtProvider
from cis.discovery.dht.seeking import AT_ONCE, BURST, LONGEST_S, PER_S, Seeking
from cis.discovery.dht.session import hosts_to_ask_from
from cis.discovery.dht.table import NODES_MAX, nodes_in, own_ids_in, read_nodes, state_of, write_nodes
from cis.discovery.rendezvous import Shown
from cis.errors import Unavailable
from cis.model import NodeId

NODES = [("192.0.2.1", 6881), ("2001:db8::1", 51413)]


def test_nodes_survive_and_the_id_of_this_node_does_not(tmp_path: Path) -> None:
    own = b"i" * 20 + bytes(4)
    state = {b"dht state": {**state_of(NODES)[b"dht state"], b"node-id": [own]}}
    write_nodes(tmp_path / "nodes", nodes_in(state))
    assert read_nodes(tmp_path / "nodes") == NODES
    assert own_ids_in(state) == [b"i" * 20]
    assert b"iiii" not in (tmp_path / "nodes").read_bytes()
    assert b"node-id" not in state_of(NODES)[b"dht state"]
    assert (tmp_path / "nodes").stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [tmp_path / "nodes"]


def test_a_file_somebody_edited_is_read_as_far_as_it_makes_sense(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_bytes(
        b"192.0.2.1:6881\nnonsense\n\xff\xfe:1\nexample.net:6881\n192.0.2.2\n192.0.2.3:0\n[2001:db8::1]:51413\n192.0.2.1:6881\n"
    )
    assert read_nodes(file) == NODES
    file.write_text("".join(f"10.0.{one >> 8}.{one & 255}:1\n" for one in range(5000)))
    assert len(read_nodes(file)) == NODES_MAX
    assert read_nodes(tmp_path / "none") == []


@pytest.mark.parametrize("state", [{}, {b"dht state": {}}, {b"dht state": {b"nodes": [b"", b"short", b"x" * 7]}}])
def test_a_state_without_nodes_has_none(state: dict[bytes, object]) -> None:
    assert nodes_in(state) == []
    assert own_ids_in(state) == []


def test_a_disk_that_takes_nothing_stops_nothing(tmp_path: Path) -> None:
    write_nodes(tmp_path / "no" / "folder", NODES)


def test_the_public_network_keeps_its_protections_and_a_private_one_never_asks_it() -> None:
    listen = [("127.0.0.1", 0)]
    public, private = (libtorrent_settings(DhtOptions(public=one), listen, 0) for one in (True, False))
    assert all(host in public["dht_bootstrap_nodes"] for host, _ in PUBLIC_BOOTSTRAP)
    assert "dht_restrict_search_ips" not in public
    assert private["dht_bootstrap_nodes"] == ""
    assert private["dht_restrict_search_ips"] is False
    for settings in (public, private):
        assert settings["dht_max_fail_count"] == 2
        assert not any(settings[key] for key in ("enable_dht", "enable_lsd", "enable_upnp", "enable_incoming_utp"))
    assert libtorrent_settings(DhtOptions(read_only=True), listen, 0)["dht_read_only"] is True


def test_a_node_listens_where_the_settings_say_and_a_private_one_on_loopback_only_to_enter_there() -> None:
    assert places_to_listen(DhtOptions(host="127.0.0.1", port=7)) == [("127.0.0.1", 7)]
    assert places_to_listen(DhtOptions(host="::")) == [("0.0.0.0", 0), ("::", 0)]
    assert places_to_listen(DhtOptions(host="0.0.0.0")) == [("0.0.0.0", 0)]
    near = places_to_listen(DhtOptions(host="0.0.0.0", public=False, bootstrap=(("127.0.0.1", 1),)))
    assert ("127.0.0.1", 0) in near
    far = places_to_listen(DhtOptions(host="::", public=False, bootstrap=(("dht.example.net", 1),)))
    assert not {"127.0.0.1", "::1"} & {host for host, _ in far}


def test_what_is_asked_goes_out_by_the_address_the_user_named_or_by_any() -> None:
    several = [("127.0.0.1", 1), ("192.0.2.1", 2), ("::1", 3)]
    assert hosts_to_ask_from("0.0.0.0", several[:2]) == ["0.0.0.0"]
    assert hosts_to_ask_from("::", several) == ["0.0.0.0", "::"]
    assert hosts_to_ask_from("192.0.2.1", several[1:2]) == ["192.0.2.1"]


async def test_without_libtorrent_the_provider_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    with pytest.raises(Unavailable, match=r"pip install 'cis-node\[dht\]'"):
        load_libtorrent()
    with pytest.raises(Unavailable, match=r"cis-node\[dht\]"):
        await DhtProvider(DhtOptions()).run(Shown(7, lambda: 1), lambda _: None)


def test_looking_whether_libtorrent_is_there_does_not_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    assert dht_options.installed()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not dht_options.installed()


# --- whom to look for -------------------------------------------------------------------------------------------------

MEMBERS = [NodeId(one.to_bytes(32, "big")) for one in range(1, 1001)]


def looked_for(
    seeking: Seeking, members: list[NodeId], connected: frozenset[NodeId], until_s: float
) -> dict[NodeId, list[float]]:
    moments: dict[NodeId, list[float]] = {}
    now = 0.0
    while now < until_s:
        for node in seeking.due(members, connected, now):
            moments.setdefault(node, []).append(now)
            seeking.ended(node)
        now += 0.5
    return moments


def test_all_are_looked_for_at_once_then_ever_more_rarely_and_the_connected_never() -> None:
    moments = looked_for(Seeking(random.Random(1)), MEMBERS[:6], frozenset(MEMBERS[5:6]), 7200)
    assert list(moments) == MEMBERS[:5]
    for times in moments.values():
        assert times[0] == 0
        assert times[1] <= 1.5
        waits = [after - before for before, after in itertools.pairwise(times)]
        assert LONGEST_S / 2 <= waits[-1] <= LONGEST_S + 1
        assert len(times) < 35
    assert len({tuple(times) for times in moments.values()}) == 5, "jitter keeps them apart"


def test_a_large_cluster_is_looked_for_at_a_bounded_rate() -> None:
    seeking = Seeking(random.Random(1))
    assert len(seeking.due(MEMBERS, frozenset(), 0.0)) == AT_ONCE
    assert seeking.due(MEMBERS, frozenset(), 0.0) == [], "all places are taken until one has ended"
    moments = looked_for(Seeking(random.Random(1)), MEMBERS, frozenset(), 60)
    assert sum(map(len, moments.values())) <= 60 * PER_S + BURST


def test_who_is_lost_and_everybody_after_the_network_changed_is_looked_for_soon() -> None:
    seeking, one = Seeking(random.Random(1)), MEMBERS[:1]
    looked_for(seeking, one, frozenset(), 3600)
    assert seeking.due(one, frozenset(), 3600.5) == []
    assert seeking.due(one, frozenset(one), 3601) == []
    assert seeking.due(one, frozenset(), 3601.5) == one, "the connection with it is gone"
    seeking.ended(one[0])
    looked_for(seeking, one, frozenset(), 3600)
    seeking.hurry(7300)
    assert seeking.due(one, frozenset(), 7300) == one
