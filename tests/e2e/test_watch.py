"""How users look at a node: one screen, the topology, traffic, round trips, and pages for monitors."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.e2e.conftest import CONDITION_S, Home

pytestmark = pytest.mark.timeout(180)


def test_status_is_one_screen_of_peers_and_whether_all_are_in_step(couple: tuple[Home, Home]) -> None:
    one, _ = couple
    one.wait(lambda status: status["peers"] and status["peers"][0]["behind_here"] == 0, "status")
    lines = one.cis("status").splitlines()
    assert any(line.startswith("connected two  lan, ") and line.endswith(" ms, in step") for line in lines)
    assert "in step   with the connected member" in lines
    assert len(lines) < 24


def test_topology_is_a_tree_a_graph_and_a_picture(couple: tuple[Home, Home], tmp_path: Path) -> None:
    one, _ = couple
    one.wait(lambda found: len(found["ties"][0]["told_by"]) == 2, "p2p", "topology")
    root, branch = one.cis("p2p", "topology").splitlines()
    assert root == "one (this node)"
    assert branch.startswith("└─ two  lan")
    assert '"one" -- "two"' in one.cis("p2p", "topology", "--dot")
    one.cis("p2p", "topology", "--svg", str(tmp_path / "cluster.svg"))
    assert ET.parse(tmp_path / "cluster.svg").getroot().tag.endswith("svg")
    assert one.run("p2p", "topology", "--dot", "--json").code == 2


def test_stats_and_latency_test_tell_of_each_peer(couple: tuple[Home, Home]) -> None:
    one, two = couple
    report = one.json("p2p", "latency-test", "--count", "5", "--interval", "0s")
    assert [(peer["name"], len(peer["rtt_ms"])) for peer in report["peers"]] == [("two", 5)]
    assert "all: p50 " in one.cis("p2p", "latency-test", "-n", "2", "--interval", "0s")
    told = one.json("p2p", "stats", "--node", "two")
    assert told["purposes"]["ping"]["messages_out"] >= 5
    assert "in all" in two.cis("p2p", "stats")
    assert one.run("p2p", "stats", "--node", "nobody").code == 2
    assert one.run("p2p", "latency-test", "--count", "0").code == 2


def test_pages_are_served_here_and_a_port_that_is_taken_is_told_with_a_remedy(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = f'[metrics]\nenabled = true\nlisten = "127.0.0.1:{port}"\n[log]\nformat = "json"\n'
        (home.path / "config.toml").write_text(settings)
        home.up()
        status = home.wait_status(lambda found: "metrics" in found.problems)
        assert "metrics.listen" in status.remedies["metrics"]
        home.kill()
    home.up()
    assert page(port, "/healthz") == page(port, "/readyz") == (200, "ok\n")
    status_code, text = page(port, "/metrics")
    assert status_code == 200
    assert "cis_ready 1\n" in text
    assert "solo" not in text
    home.kill()
    lines = (home.path / "node.log").read_text().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert all(event.keys() >= {"timestamp", "level", "area", "event"} for event in events)
    told = [(event["level"], event["area"]) for event in events if "metrics are" in event["event"]]
    assert told == [("warning", "api"), ("info", "api")]


def page(port: int, path: str) -> tuple[int, str]:
    """Ask for a page, again while nothing answers there."""
    deadline = time.monotonic() + CONDITION_S
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer,
        ):
            return answer.status, answer.read().decode()
    raise AssertionError(f"nothing answers at {path}")


def test_what_takes_a_network_says_that_this_node_opens_no_socket_and_what_to_type(home: Home) -> None:
    (home.path / "config.toml").write_text("[p2p]\nenabled = false\n")
    assert home.run("up", "--detach").code == 0
    for words in (("topology",), ("peers",), ("listen", "--timeout", "1s")):
        ended = home.run("p2p", *words)
        assert ended.code == 3
        assert "cis config set p2p.enabled true" in ended.err
