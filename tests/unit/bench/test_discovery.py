"""`cis bench discovery`, small: real nodes meet by each way, packets are counted, and its page and plot are written."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cis.apps.cli.main import app
from cis.bench import discovery, discovery_idle
from cis.bench.discovery import DiscoveryResult, bench_discovery, write_discovery
from cis.bench.discovery_idle import Packets, ports_of, why_not_counted
from cis.bench.discovery_page import HEAD, page_of, rows_of
from cis.bench.figures import figures_of
from cis.errors import UsageError

MADE = DiscoveryResult(
    runs=3,
    nodes=20,
    dead=5,
    large=0,
    mdns_s=0.5,
    dht_s=0.35,
    dht_dead_s=0.65,
    static_s=0.1,
    process_s={"static": 0.8, "mdns": 1.2, "dht": 1.0, "dht_dead": 1.4},
    worst_s={"static": 0.2, "mdns": 0.7, "dht": 0.4, "dht_dead": 0.9},
    join_s={"dht": 0.1, "dht_dead": 0.6},
    lookup_p50_ms={"dht": 3.0, "dht_dead": 4.0},
    lookup_p99_ms={"dht": 9.0, "dht_dead": 20.0},
    lookups_missed={"dht": 0, "dht_dead": 1},
    idle_s=60.0,
    idle_bytes_per_s={"static": 0.0, "mdns": 10.4, "dht": 270.0, "connection": 55.0},
    skipped={"anchor": "not asked for"},
)


@pytest.mark.timeout(240)
def test_two_members_meet_where_one_was_told_and_where_both_use_an_anchor() -> None:
    result = bench_discovery(runs=1, providers=("static", "anchor"), idle_s=0)
    for name, met_s in (("static", result.static_s), ("anchor", result.anchor_s)):
        assert met_s is not None
        assert 0 < met_s == result.worst_s[name] < result.process_s[name] < 60
    assert (result.mdns_s, result.dht_s, result.skipped, result.idle_bytes_per_s) == (None, None, {}, {})


@pytest.mark.timeout(240)
def test_two_members_meet_by_a_hash_table_of_which_a_quarter_died() -> None:
    pytest.importorskip("libtorrent")
    result = bench_discovery(runs=1, nodes=12, large=0, providers=("dht",), idle_s=0)
    assert (result.dead, result.dht_large_s) == (3, None)
    assert result.dht_s is not None
    assert result.dht_dead_s is not None
    assert result.join_s.keys() == result.lookup_p99_ms.keys() == {"dht", "dht_dead"}
    assert result.lookups_missed == {"dht": 0, "dht_dead": 0}
    assert all(0 < result.lookup_p50_ms[name] <= result.lookup_p99_ms[name] for name in result.join_s)


def test_the_names_of_its_figures_are_those_that_were_promised() -> None:
    figures = figures_of(MADE)
    assert {"mdns_s", "dht_s", "dht_dead_s", "anchor_s", "static_s", "dht_large_s"} <= figures.keys()
    assert figures["anchor_s"] is None
    assert json.loads(json.dumps(figures)) == figures | {"skipped": {"anchor": "not asked for"}}


def test_each_way_that_was_measured_has_a_row_with_its_limit() -> None:
    rows = rows_of(MADE)
    assert all(len(row) == len(HEAD) for row in rows)
    assert [row[0] for row in rows] == ["static", "dht, 20 nodes", "mdns", "dht, 5 of 20 dead"]
    assert rows[2] == ("mdns", "0.50 s", "0.70 s", "2 s", "1.20 s", "10 B/s")


def test_the_page_and_its_plot_are_written_and_the_same_figures_write_the_same(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = [write_discovery(MADE, tmp_path / name) for name in ("one", "two")]
    assert [path.name for path in files[0]] == ["discovery.png", "discovery.md"]
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes()
    page = files[0][1].read_text()
    assert "| dht, 5 of 20 dead | 0.60 s | 4.0 ms | 20.0 ms | 1 |" in page
    assert "Not measured, anchor: not asked for." in page
    assert "discovery.png" in page


def test_what_cannot_be_measured_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "installed", lambda: False)
    monkeypatch.setattr(discovery, "Homes", lambda _: None)
    monkeypatch.setattr(discovery, "why_not_counted", lambda: "nobody may read packets")
    result = bench_discovery(providers=("dht",))
    assert result.skipped.keys() == {"dht", "idle_bytes_per_s"}
    assert "cis-node[dht]" in result.skipped["dht"]
    assert "Not measured, dht: libtorrent" in page_of(result)
    with pytest.raises(UsageError, match="no provider smoke"):
        bench_discovery(providers=("smoke",))


def test_without_the_right_to_read_packets_it_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(discovery_idle.socket, "AF_PACKET", 17, raising=False)
    monkeypatch.setattr(discovery_idle, "Packets", refuse)
    assert "CAP_NET_RAW" in (why_not_counted() or "")
    monkeypatch.delattr(discovery_idle.socket, "AF_PACKET")
    assert why_not_counted() == "packets are counted on Linux alone"


@pytest.mark.skipif(why_not_counted() is not None, reason=why_not_counted() or "")
def test_packets_are_counted_once_at_the_ports_they_touch_and_mdns_by_its_service() -> None:
    mine, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with mine, other, Packets([b"\x05_ours"]) as packets:
        for one in (mine, other):
            one.bind(("127.0.0.1", 0))
        port = mine.getsockname()[1]
        mine.sendto(bytes(100), other.getsockname())
        mine.sendto(b"a question for \x05_ours", ("127.0.0.1", 5353))
        mine.sendto(b"a question for _theirs", ("127.0.0.1", 5353))
        deadline = time.monotonic() + 10
        while packets.of({port}) < 128 or not packets.by_service:
            assert time.monotonic() < deadline, (packets.by_ports, packets.by_service)
        assert packets.of({port}) == 128  # 20 of IP, 8 of UDP
        assert packets.by_service == {b"\x05_ours": 28 + 21}
        if sys.platform == "linux":
            assert port in ports_of(os.getpid())


def test_the_command_prints_a_table_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def bench(**options: object) -> DiscoveryResult:
        asked.update(options)
        return MADE

    monkeypatch.setattr(discovery, "bench_discovery", bench)
    result = CliRunner().invoke(app, ["bench", "discovery", "--providers", "mdns, dht", "--idle", "0", "--json"])
    assert json.loads(result.stdout)["dht_dead_s"] == 0.65
    assert (asked["providers"], asked["idle_s"]) == (["mdns", "dht"], 0.0)
    said = CliRunner().invoke(app, ["bench", "discovery"]).stdout
    assert "dht, 5 of 20 dead" in said
    assert "not measured, anchor: not asked for" in said
