"""`cis bench gossip`, small: its tables, its page and its plots, and what it says where plots cannot be made."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cis.apps.cli.main import app
from cis.bench import gossip
from cis.bench.figures import figures_of, require_figures
from cis.bench.gossip import GossipBench, bench_gossip, write_figures
from cis.errors import UsageError


@pytest.fixture(scope="module")
def bench() -> GossipBench:
    return bench_gossip(nodes=20, sizes=(10, 20), shares=(0.3, 0.5))


def test_each_size_and_each_share_has_a_row(bench: GossipBench) -> None:
    assert [row.nodes for row in bench.sizes] == [10, 20]
    assert [row.survivors for row in bench.failures] == [14, 10]
    assert all(row.reliability == 1.0 and row.passed for row in bench.sizes)
    assert all(row.control > 0 and row.bytes_per_node > 200 for row in bench.sizes)
    assert json.dumps(figures_of(bench))


def test_the_page_and_its_plots_are_written_and_the_same_run_writes_the_same(
    bench: GossipBench, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    files = [write_figures(bench, tmp_path / name) for name in ("one", "two")]
    assert [path.name for path in files[0]] == ["gossip-size.png", "gossip-failures.png", "gossip.md"]
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert len(one.read_bytes()) > 1000
    page = files[0][2].read_text()
    assert "| 20 | 100 % |" in page
    assert all(path.name in page for path in files[0][:2])


def test_where_matplotlib_is_missing_it_says_what_to_install_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'cis-node\[figures\]'"):
        require_figures()
    result = CliRunner().invoke(app, ["bench", "gossip", "--figures", str(tmp_path / "none")])
    assert isinstance(result.exception, UsageError)
    assert not (tmp_path / "none").exists()


def test_the_command_prints_both_tables_as_json(bench: GossipBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "bench_gossip", lambda **_: bench)
    result = CliRunner().invoke(app, ["bench", "gossip", "--json"])
    printed = json.loads(result.stdout)
    assert [row["nodes"] for row in printed["sizes"]] == [10, 20]
    assert [row["killed_share"] for row in printed["failures"]] == [0.3, 0.5]
