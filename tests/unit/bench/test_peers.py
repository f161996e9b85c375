"""The comparison with others: what arrived is checked, what did not is said, and nobody's failure stops the rest."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.peers import installing
from bench.peers.__main__ import main
from bench.peers.catalogue import CONTESTANTS, contestant
from bench.peers.contest import Outcome, Task, compete
from bench.peers.installing import NPM, command_of, installed
from bench.peers.page import page_of
from bench.peers.report import Report, run_all
from bench.peers.transport import CARRIERS, Carried
from cis.bench.figures import BenchFailed
from cis.bench.pair import Child
from cis.errors import Unavailable

Double = Callable[..., list[str]]
TASK = Task(entries=50, updates=3, pause_s=0.0, limit_s=30.0)
DOUBLE = """
import hashlib, json, pathlib, sys, time

fault = sys.argv[1]
print("a library that prints", file=sys.stderr)
for line in sys.stdin:
    asked = json.loads(line)
    answer = {}
    match asked["request"]:
        case "open":
            held, folder = {}, pathlib.Path(asked["folder"])
            answer = {"card": {"file": str(folder / "held")}, "versions": {"double": "1"}}
        case "meet":
            there = pathlib.Path(asked["card"]["file"])
        case "fill":
            held = dict(json.loads(one) for one in open(asked["file"]))
            (folder / "held").write_text(json.dumps(held))
            answer = {"elapsed_s": 1.0, "mark": {}}
        case "pull" if fault == "fails":
            answer = {"error": "OSError: /its/own/words"}
        case "pull":
            held = json.loads(there.read_text())
            if fault == "loses":
                held["agent/000/memory/00000000"] = "something else"
            count = 20 if fault == "dawdles" else len(held)
            answer = {"elapsed_s": 0.5, "entries": count}
        case "digest":
            lines = "".join(f"{key}\\0{held[key]}\\n" for key in sorted(held))
            answer = {"entries": len(held), "sha256": hashlib.sha256(lines.encode()).hexdigest()}
        case "put" if fault == "mute":
            answer = {"error": "OSError: cannot write"}
        case "put":
            began = time.monotonic()
            (folder / "live").write_text(asked["value"])
            answer = {"began_at_s": began, "written_at_s": time.monotonic()}
        case "expect" if fault == "mute":
            break
        case "expect":
            live = there.with_name("live")
            while not live.exists() or live.read_text() != asked["value"]:
                time.sleep(0.001)
            answer = {"seen_at_s": time.monotonic()}
    print(json.dumps(answer), flush=True)
"""

SCRIPT = """
import { serve } from './lines.mjs'
import { EventEmitter } from 'node:events'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'

console.log('a library that prints on being imported')
class Peer {
  arrived = new EventEmitter()
  held = new Map()
  open ({ folder }) { this.file = `${folder}/held`; return { file: this.file } }
  meet (card) { this.there = card.file }
  fill (entries) { for (const [key, value] of entries) this.held.set(key, value); this.keep() }
  keep () {
    writeFileSync(`${this.file}.new`, JSON.stringify([...this.held]))
    renameSync(`${this.file}.new`, this.file)
  }
  async connect () { this.look(); setInterval(() => this.look(), 5) }
  look () {
    this.held = new Map(JSON.parse(readFileSync(this.there, 'utf8')))
    this.arrived.emit('arrived')
  }
  count () { return this.held.size }
  put (key, value) { this.held.set(key, value); this.keep() }
  get (key) { return this.held.get(key) }
  entries () { return [...this.held] }
}
await serve(new Peer(), { peer: '1' })
"""


@pytest.fixture
def double(tmp_path: Path) -> Double:
    """Start a contestant that keeps its entries in a file and reads the other's; with a fault, if one is named."""
    script = tmp_path / "double.py"
    script.write_text(DOUBLE)
    return lambda fault="none": [sys.executable, str(script), fault]


def run(command: list[str], folder: Path, task: Task = TASK) -> Outcome:
    folder.mkdir()
    return compete(lambda: Child("double", command), task, folder)


def report(*sizes: int) -> Report:
    return Report(
        sizes, runs=1, limit_s=30.0, updates=3, pause_s=0.0, command="python -m bench.peers", machine="2 processors"
    )


def test_what_arrived_is_counted_and_each_update_timed(double: Double, tmp_path: Path) -> None:
    outcome = run(double(), tmp_path / "run")
    assert (outcome.arrived, outcome.complete, outcome.entries_per_s) == (50, True, 100.0)
    assert len(outcome.seen_ms) == len(outcome.written_ms) == 3
    assert outcome.written(50) > 0
    assert 0 < outcome.seen(50) <= outcome.seen(99)
    assert outcome.versions == {"double": "1"}


def test_one_changed_entry_among_many_is_a_failure_and_no_figure(double: Double, tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="the target holds 50 entries, and not those that were written"):
        run(double("loses"), tmp_path / "run")


def test_who_is_too_slow_is_shown_with_how_far_it_came_and_not_asked_for_more(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.peers.report.command_of", lambda _one, _scratch: double("dawdles"))
    made = report(50, 60)
    run_all(made, [contestant("gun")], tmp_path)
    outcome = made.outcomes["gun"][50]
    assert (outcome.arrived, outcome.complete, outcome.seen_ms) == (20, False, [])
    assert made.failures["gun"] == {60: "not tried: 2 s at the rate of 50"}
    assert "20 arrived in 0 s" in page_of(made)


def test_a_contestant_that_fails_leaves_its_reason_and_the_others_go_on(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bench.peers.report.command_of", lambda one, _scratch: double("fails" if one.name == "yjs" else "none")
    )
    made = report(50)
    run_all(made, [contestant("yjs"), contestant("gun")], tmp_path)
    assert "OSError" in made.failures["yjs"][50]
    assert made.outcomes["gun"][50].complete
    page = page_of(made)
    assert made.failures["yjs"][50] in page
    assert page.index("| GUN |") < page.index("| Yjs in memory |")


def test_updates_that_fail_take_nothing_from_what_was_replicated(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.peers.report.command_of", lambda _one, _scratch: double("mute"))
    made = report(50)
    run_all(made, [contestant("gun")], tmp_path)
    assert made.outcomes["gun"][50].entries_per_s == 100.0
    assert "No update of GUN was timed: the GUN process failed: OSError: cannot write" in page_of(made)


def test_who_would_take_far_too_long_is_not_asked_for_more(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.peers.report.command_of", lambda _one, _scratch: double())
    made = report(50, 5000)
    run_all(made, [contestant("gun")], tmp_path)
    assert made.failures["gun"] == {5000: "not tried: 50 s at the rate of 50"}


def test_only_the_fewest_entries_are_updated(double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.peers.report.command_of", lambda _one, _scratch: double())
    made = report(50, 60)
    run_all(made, [contestant("gun")], tmp_path)
    assert [len(outcome.seen_ms) for outcome in made.outcomes["gun"].values()] == [3, 0]


def test_who_cannot_be_installed_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    made = report(50)
    run_all(made, [contestant("syncthing"), contestant("yjs")], tmp_path)
    page = page_of(made)
    assert "Syncthing did not take part: syncthing is not installed: apt-get install syncthing." in page
    assert "Yjs in memory did not take part: Node.js and npm are not installed." in page


def fake_npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setattr(installing, "_INSTALL", (str(npm),))


def test_packages_are_installed_once_and_again_when_a_version_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path, "mkdir node_modules && echo run >> ../runs", monkeypatch)
    scratch = tmp_path / "scratch"
    assert {file.name for file in installed("yjs", scratch).iterdir()} >= {"lines.mjs", "peer.mjs", "package.json"}
    installed("yjs", scratch)
    assert (scratch / "runs").read_text() == "run\n"
    copied = tmp_path / "npm-folder"
    shutil.copytree(NPM, copied)
    (copied / "yjs" / "package.json").write_text("{}")
    monkeypatch.setattr(installing, "NPM", copied)
    installed("yjs", scratch)
    assert (scratch / "runs").read_text() == "run\nrun\n"


def test_a_failed_installation_says_why_without_addresses_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [
        "code ETARGET",
        "notarget No version found for it@^9",
        "request to https://registry.example/it",
        "/root/log",
    ]
    script = "".join(f"echo 'npm error {line}' >&2\n" for line in told) + "exit 1"
    fake_npm(tmp_path, script, monkeypatch)
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            installed("gun", tmp_path / "scratch")
        assert str(caught.value) == "npm could not install it: code ETARGET; notarget No version found for it@^9"


def test_every_package_has_an_exact_version_and_no_lock_file_lies_beside_it() -> None:
    folders = sorted({one.npm for one in CONTESTANTS if one.npm})
    assert folders == sorted(path.name for path in NPM.iterdir() if path.is_dir())
    for folder in folders:
        versions = json.loads((NPM / folder / "package.json").read_text())["dependencies"].values()
        assert [one for one in versions if not re.fullmatch(r"\d+\.\d+\.\d+", one)] == []
    assert [path for path in NPM.rglob("*") if "lock" in path.name or path.name == "node_modules"] == []


def test_every_contestant_starts_from_a_file_that_is_there() -> None:
    for one in CONTESTANTS:
        first = one.start[0]
        assert ((NPM / first) if one.npm else NPM.parent / f"{first}.py").is_file(), one.name


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


@needs_node
def test_a_script_speaks_the_lines_the_harness_expects(tmp_path: Path) -> None:
    shutil.copy(NPM / "lines.mjs", tmp_path)
    (tmp_path / "peer.mjs").write_text(SCRIPT)
    outcome = run(["node", str(tmp_path / "peer.mjs")], tmp_path / "run")
    assert outcome.complete
    assert outcome.versions == {"peer": "1"}
    assert len(outcome.seen_ms) == 3
    assert all(0 < one < 30_000 for one in (*outcome.written_ms, *outcome.seen_ms))


@needs_node
@pytest.mark.parametrize("script", sorted(NPM.rglob("*.mjs")), ids=lambda path: "-".join(path.parts[-2:]))
def test_a_script_of_a_contestant_parses(script: Path) -> None:
    subprocess.run(["node", "--check", str(script)], check=True, timeout=60)


@pytest.mark.parametrize("words", [["nobody"], ["--entries", "many"], ["--entries", "0,10"]])
def test_what_cannot_be_run_is_refused_before_anything_is_installed(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--scratch", str(tmp_path)])
    assert words[-1] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_page_says_of_each_figure_what_it_rests_on() -> None:
    made = report(1000)
    for number, one in enumerate(CONTESTANTS):
        fine = Outcome(1000, 1000, 1.0 + number, 0.1, [1.5] * 3, [0.5] * 3, {"target": 60.0}, {"library": "1.2.3"})
        made.outcomes[one.name] = {1000: fine}
    made.outcomes["yjs"] = {1000: replace(made.outcomes["yjs"][1000], peak_rss_mb={})}
    page = page_of(made)
    for one in CONTESTANTS:
        assert f"| {one.title} | {one.wire} | {one.signed} | {one.kept} | {one.conflicts} |" in page
        assert f"- **{one.title}** (library 1.2.3): {one.how}." in page
    assert "| cis | 1,000 | 1.5 ms | 1.5 ms | 0.5 ms | 60 MB |" in page
    assert all(len(line) < 2000 for line in page.splitlines())


def test_the_page_compares_carriers_with_bare_quic() -> None:
    made = report(10)
    made.carried = {one.name: Carried(50.0, 2.0, 3.0, "9.9") for one in CARRIERS if one.name != "aioquic"}
    made.carried["bare"] = Carried(100.0, 1.0, 2.0, "2.1")
    made.carried_not = {"aioquic": "aioquic is not installed"}
    page = page_of(made)
    assert "| cis.net 9.9 | 50.0 MB/s | 0.50 | 2.0 ms | 3.0 ms | both, and the right to connect |" in page
    assert "aioquic did not take part: aioquic is not installed." in page


def test_plots_are_made_of_whatever_took_part(tmp_path: Path) -> None:
    plots = pytest.importorskip("bench.peers.plots")
    pytest.importorskip("matplotlib")
    made = report(10, 100)
    fine = Outcome(10, 10, 1.0, 0.1, [1.5] * 3, [0.5] * 3)
    made.outcomes = {"cis": {10: fine, 100: fine}, "gun": {10: fine, 100: replace(fine, arrived=3)}}
    made.carried = {"bare": Carried(100.0, 1.0, 2.0, "2.1")}
    plots.plot_peers(made, tmp_path / "peers.png")
    plots.plot_carriers(made, tmp_path / "carriers.png")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_cis_itself_brings_every_entry_over_and_shows_updates(tmp_path: Path) -> None:
    outcome = run(command_of(contestant("cis-single"), tmp_path), tmp_path / "run", Task(60, 2, 0.0, 60.0))
    assert outcome.complete
    assert len(outcome.seen_ms) == 2
    assert all(memory > 10 for memory in outcome.peak_rss_mb.values())
