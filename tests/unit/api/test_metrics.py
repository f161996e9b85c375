"""Metrics: Prometheus reads their text, they tell no names, and the documentation and the dashboard have them all."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from cis.api.embedded import EmbeddedNode
from cis.api.memories.memory_schema import SetMemory
from cis.api.telemetry.metrics import METRICS, Metric, Scene, metrics_text, rest_of
from cis.api.telemetry.monitoring import Monitoring
from cis.node.driver import Driver, NodeOptions
from tests.net.cluster import cluster, meet, running, until

ROOT = Path(__file__).parents[3]
NAME = re.compile(r"\b(?:cis|process)_[a-z_]+\b")
SAMPLE = re.compile(r'([a-z_]+)(\{[a-z_]+="[^"\\\n]*"(?:,[a-z_]+="[^"\\\n]*")*\})? (-?[0-9.e+-]+)')
NAMES = [metric.name for metric in METRICS]
OFFLINE = {"cis_info", "cis_ready", "cis_uptime_seconds", "cis_members", "cis_memories", "cis_store_bytes"}


def test_the_documentation_has_every_metric_as_it_is_and_no_other() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `((?:cis|process)_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    assert rows == [
        (one.name, one.kind, ", ".join(f"`{label}`" for label in one.labels), one.meaning) for one in METRICS
    ]
    assert set(NAME.findall(page)) <= set(NAMES)


def test_the_dashboard_shows_every_metric_and_no_other_and_no_panel_covers_another() -> None:
    board = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
    shown = {name for panel in board["panels"] for target in panel["targets"] for name in NAME.findall(target["expr"])}
    asked = set(NAME.findall(json.dumps(board["templating"])))
    assert shown | asked == set(NAMES)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    covered = [place for panel in board["panels"] for place in squares(panel["gridPos"])]
    assert len(covered) == len(set(covered))


def squares(at: dict[str, int]) -> list[tuple[int, int]]:
    return [(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])]


def test_labels_in_the_dashboard_are_those_the_metrics_have() -> None:
    board = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
    by_name = {metric.name: metric for metric in METRICS}
    for panel in board["panels"]:
        for target in panel["targets"]:
            known = {"instance", *(label for name in NAME.findall(target["expr"]) for label in by_name[name].labels)}
            grouped = re.findall(r"by \((\w+)\)", target["expr"])
            selected = re.findall(r'[{,](\w+)=~?"', target["expr"])
            told = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            assert {*grouped, *selected, *told} <= known, panel["title"]


def test_names_and_kinds_are_those_prometheus_asks_for() -> None:
    assert len(NAMES) == len(set(NAMES))
    for metric in METRICS:
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name


def read(text: str) -> dict[str, dict[str, float]]:
    """Read the text format: the samples of each metric, by their labels."""
    found: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            found.setdefault(sample[1], {})[sample[2] or ""] = float(sample[3])
    return found


def scene(node: EmbeddedNode, driver: Driver | None = None) -> Scene:
    return Scene(node, driver, rest_of(node), uptime_s=1.5, ready=True, problems=2)


def test_a_node_that_opens_no_socket_tells_what_it_has(node: EmbeddedNode) -> None:
    node.call(SetMemory(key="dear", value="secret"))
    found = read(metrics_text(scene(node)))
    assert found.keys() >= OFFLINE
    assert not {"cis_connections", "cis_traffic_bytes_total"} & found.keys()
    assert (found["cis_memories"][""], found["cis_problems"][""], found["cis_ready"][""]) == (1, 2, 1)


def test_what_labels_hold_cannot_end_them(node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = Metric("cis_odd", "gauge", "odd", lambda _: {('a"b\\c\nd',): 1}, ("word",))
    monkeypatch.setattr("cis.api.telemetry.metrics.METRICS", (odd,))
    assert metrics_text(scene(node)).splitlines()[2:] == ['cis_odd{word="a\\"b\\\\c\\nd"} 1']


async def test_a_node_with_peers_tells_all_metrics_and_no_names_addresses_or_keys(tmp_path: Path) -> None:
    nodes = await cluster(tmp_path, "secretive", "discreet")
    async with running(nodes[0]) as first, running(nodes[1]) as second:
        meet(second, first)
        await until(lambda: first.core.status and all(one.sessions for one in first.core.status.values()))
        with EmbeddedNode(nodes[0]) as node:
            text = metrics_text(scene(node, first))
            found = read(text)
            assert found.keys() >= set(NAMES) - {"cis_turned_away_total", "cis_round_trip_seconds"}
            assert found["cis_connections"]['{path="lan"}'] == 1
            assert found["cis_tasks"][""] == len(asyncio.all_tasks())
            assert (found["cis_members"][""], found["cis_members_up"][""]) == (2, 2)
            assert found["cis_traffic_bytes_total"]['{direction="out",purpose="sync"}'] > 0
            for told in ("secretive", "discreet", "127.0.0.1", str(first.endpoint.address[1]), "did:"):
                assert told not in text
            first.stop()
            second.stop()
    nodes[1].close()


class Started:
    """Whether the node is up, as the test says."""

    def __init__(self) -> None:
        self.ready = False

    def __call__(self) -> bool:
        return self.ready


async def test_readiness_says_what_is_wanting_and_health_that_the_store_answers(
    node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Started()
    monitoring = Monitoring(node, Driver(node.local, NodeOptions()), lambda: 0, started)
    assert (await monitoring.readiness()) == (503, "the node is starting\n", "text/plain; charset=utf-8")
    assert read((await monitoring.metrics()).text)["cis_ready"][""] == 0
    started.ready = True
    assert (await monitoring.readiness()).status == 200
    assert (await monitoring.health()).status == 200
    monkeypatch.setattr(type(node.local.cluster), "removed", True)
    assert "removed" in (await monitoring.readiness()).text


async def test_a_store_that_hangs_is_not_healthy_and_is_asked_once(
    node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, asked = threading.Event(), []

    def hangs(*_: Any) -> int:
        asked.append(1)
        may_end.wait(10)
        return 0

    monkeypatch.setattr("cis.api.telemetry.monitoring.STORE_S", 0.05)
    monkeypatch.setattr(type(node.local), "public_count", hangs)
    monitoring = Monitoring(node, None, lambda: 0, lambda: True)
    try:
        assert [(await monitoring.health()).status for _ in range(3)] == [503, 503, 503]
        assert asked == [1]
    finally:
        may_end.set()
    assert (await monitoring.health()).status == 200


async def test_monitors_that_ask_again_at_once_are_told_the_same(
    node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cis.api.telemetry.monitoring.FRESH_S", 60.0)
    monitoring = Monitoring(node, None, lambda: 0, lambda: True)
    first = await monitoring.metrics()
    node.call(SetMemory(key="k", value="v"))
    assert await monitoring.metrics() == first
