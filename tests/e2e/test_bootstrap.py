"""`cis p2p bootstrap` and `cis p2p peers`, as users see them, with the node up and down."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import Home, pair

Couple = tuple[Home, Home]


def listed(home: Home) -> Any:
    return home.json("p2p", "bootstrap", "list")["peers"]


def test_peers_are_listed_with_path_round_trip_lag_and_who_found_them(couple: Couple) -> None:
    first, second = couple
    (peer,) = first.wait(lambda peers: peers[0]["rtt_ms"] is not None, "p2p", "peers")
    assert (peer["name"], peer["state"], peer["path"]) == ("two", "connected", "lan")
    assert peer["successes"] >= 1
    assert peer["seen_s"] == 0
    assert second.wait(lambda peers: peers[0]["found_by"], "p2p", "peers")[0]["found_by"] in {"invite", "gossip"}
    first.cis("memory", "set", "lag", "1")
    first.wait(lambda peers: (peers[0]["behind_here"], peers[0]["behind_there"]) == (0, 0), "p2p", "peers")
    header, row = first.cis("p2p", "peers").splitlines()
    assert header.split()[:6] == ["name", "did", "state", "path", "rtt", "ok/failed"]
    assert row.split()[0] == "two"
    assert "none" in row
    told = first.cis("p2p", "peers", "--verbose", "--sort", "score", "--all")
    assert peer["did"] in told
    for word in ("score", "so far", "found by", "behind"):
        assert word in told


def test_each_way_to_a_peer_is_told_with_how_it_fared(couple: Couple) -> None:
    _, second = couple
    (peer,) = second.wait(lambda peers: any(way["in_use"] for way in peers[0]["addresses"]), "p2p", "peers")
    used = next(way for way in peer["addresses"] if way["in_use"])
    assert (used["successes"] >= 1, used["path"] in {"lan", ""}, used["last_error"]) == (True, True, "")
    assert 0 < used["score"] <= 1
    assert peer["score"] == pytest.approx(sum(peer["why"].values()), abs=0.001)
    assert peer["next_attempt_s"] is None


def test_one_filter_at_a_time_and_a_sort_that_is_none_is_refused(couple: Couple) -> None:
    first, _ = couple
    assert first.run("p2p", "peers", "--connected", "--discovered").code == 2
    assert first.run("p2p", "peers", "--sort", "beauty").code == 2
    assert [one["name"] for one in first.json("p2p", "peers", "--connected")] == ["two"]
    assert [one["name"] for one in first.json("p2p", "peers", "--discovered")] == ["two"]


def test_the_list_of_a_running_node_is_added_to_and_taken_from(couple: Couple) -> None:
    first, _ = couple
    (entry,) = listed(first)
    assert (entry["name"], entry["state"]) == ("two", "active")
    first.cis("p2p", "bootstrap", "add", "two@127.0.0.1:9", given=b"")
    ways = {way["address"]: way for way in listed(first)[0]["addresses"]}
    assert ways["127.0.0.1:9"]["found_by"] == "user"
    written = json.loads((first.path / "bootstrap.json").read_text())["peers"]
    assert "127.0.0.1:9" in [way["address"] for way in written[0]["addresses"]]
    first.cis("p2p", "bootstrap", "remove", "two")
    assert "127.0.0.1:9" not in (first.path / "bootstrap.json").read_text()
    assert first.json("p2p", "peers")[0]["state"] == "connected", "the connection stays"


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("nobody@127.0.0.1:9", "nobody"),
        ("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK@127.0.0.1:9", "no member"),
        ("two", "no peer"),
        ("two@169.254.169.254:80", "may be dialled"),
        ("one@127.0.0.1:9", "this very node"),
        ("two@127.0.0.1:99999", "port"),
    ],
)
def test_what_is_nobodys_address_is_refused(couple: Couple, entry: str, why: str) -> None:
    ended = couple[0].run("p2p", "bootstrap", "add", entry)
    assert ended.code == 2
    assert why in ended.err


def test_what_one_exports_another_adds_with_both_down_and_both_come_back_by_it(
    new_home: Callable[[str], Home],
) -> None:
    first, second = new_home("one"), new_home("two")
    pair(first, second)
    for home in (first, second):
        home.cis("down")
    export = second.path.parent / "entries.txt"
    second.cis("p2p", "bootstrap", "export", "-o", str(export))
    (entry,) = export.read_text().split()
    assert entry == second.json("p2p", "bootstrap", "export")[0]
    did, _, place = entry.partition("@")
    second.cis("p2p", "bootstrap", "remove", "one")
    assert listed(second) == []
    assert second.run("p2p", "bootstrap", "remove", "one").code == 2
    second.cis("p2p", "bootstrap", "add", "-", given=export.read_bytes())
    assert [(one["did"], one["addresses"][0]["address"]) for one in listed(second)] == [(did, place)]
    first.json("up", "--listen", place, "--detach")
    second.up()
    second.wait(lambda status: status["connected"] == ["one"], "status")


def test_a_bad_entry_is_told_of_in_the_status_and_in_the_list(new_home: Callable[[str], Home]) -> None:
    home = new_home("solo")
    home.cis("init", "--name", "solo")
    (home.path / "bootstrap.json").write_text('{"peers": [{"did": "nonsense", "addresses": ["192.0.2.1:1"]}]}')
    (home.path / "bootstrap.json").chmod(0o600)
    home.up()
    assert "entry 1" in home.status().problems["bootstrap.json"]
    assert "kept aside" in home.cis("p2p", "bootstrap", "list")
    assert home.json("p2p", "bootstrap", "list")["aside"][0]["entry"]["did"] == "nonsense"


def test_the_list_is_printed_now_and_then_and_once_at_the_end(new_home: Callable[[str], Home]) -> None:
    home = new_home("solo")
    home.cis("init", "--name", "solo")
    ended = home.run("up", "--listen", "127.0.0.1:0", "--print-bootstrap", "1s", "--max-runtime", "1500ms")
    assert ended.code == 0
    assert ended.out.count("bootstrap.json, members: 0") == 2
    assert home.run("up", "--print-bootstrap", "0s").code == 2
