"""The worked example of docs/plugins.md: installed as a package, it is all by which two nodes find each other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Home, Outcome, pair

pytestmark = pytest.mark.timeout(240)
EXAMPLE = ROOT / "examples" / "cis-discovery-folder"
PLUGIN = "p2p.discovery.plugins.folder"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the example in it, built from its source with nothing fetched."""
    target = tmp_path_factory.mktemp("packages")
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target"]
    command = [sys.executable, "-m", "pip", "install", "-q", *options, str(target), str(EXAMPLE)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr
    return target


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    """Two members of one cluster; neither runs."""
    folder = tmp_path_factory.mktemp("members")
    first, second = Home(folder / "one"), Home(folder / "two")
    try:
        pair(first, second)
        for home in (first, second):
            home.cis("down")
        yield first, second
    finally:
        first.kill()
        second.kill()


@pytest.fixture
def strangers(members: tuple[Home, Home]) -> Iterator[tuple[Home, Home]]:
    """Two members that know no address of each other, and have no other way to find one."""
    for home in members:
        for name in ("bootstrap.json", "config.toml"):
            (home.path / name).unlink(missing_ok=True)
        shutil.rmtree(home.path / "plugins", ignore_errors=True)
    yield members
    for home in members:
        home.kill()


def configure(home: Home, folder: Path, interval_s: float = 0.5) -> None:
    (home.path / "config.toml").write_text(f'[{PLUGIN}]\npath = "{folder}"\ninterval_s = {interval_s}\n')


def with_packages(home: Home, packages: Path, *words: str) -> Outcome:
    return home.run(*words, PYTHONPATH=os.pathsep.join([str(ROOT / "src"), str(packages)]))


def start(home: Home, packages: Path) -> None:
    ended = with_packages(home, packages, "up", "--listen", "127.0.0.1:0", "--detach")
    assert ended.code == 0, ended


def rows_of(home: Home, packages: Path) -> dict[str, str]:
    return {row["check"]: row["status"] for row in json.loads(with_packages(home, packages, "doctor", "--json").out)}


def test_two_nodes_find_each_other_by_a_shared_folder_alone(
    strangers: tuple[Home, Home], installed: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "stick"
    shared.mkdir()
    first, second = strangers
    assert first.cis("config", "set", f"{PLUGIN}.path", str(shared)) == f"{PLUGIN}.path = {shared}\n"
    first.cis("config", "set", f"{PLUGIN}.interval_s", "0.5")
    configure(second, shared)
    for home in strangers:
        start(home, installed)
    assert first.wait_status(lambda status: status.connected == ("two",)).problems == {}
    second.wait_status(lambda status: status.connected == ("one",))
    assert "plugin folder" in {peer["found_by"] for home in strangers for peer in home.json("p2p", "peers")}
    first.cis("memory", "set", "found", "by a folder")
    second.wait_keys("found")
    left = sorted(path.name for path in shared.iterdir())
    assert left
    assert all(len(name) == 36 and name.endswith(".cis") for name in left), left
    shown = b"".join(path.read_bytes() for path in shared.iterdir())
    assert b"127.0.0.1" not in shown
    assert rows_of(first, installed)["plugins"] == "ok"


def test_a_folder_that_is_not_there_is_a_problem_and_no_end(
    strangers: tuple[Home, Home], installed: Path, tmp_path: Path
) -> None:
    home = strangers[0]
    stick = tmp_path / "unplugged"
    configure(home, stick)
    start(home, installed)
    home.wait_status(lambda status: status.problems == {f"plugin folder: {stick}": "No such file or directory"})
    stick.mkdir()
    home.wait_status(lambda status: not status.problems and any(stick.iterdir()))


def test_installed_alone_it_does_nothing_and_named_alone_it_is_a_problem(
    strangers: tuple[Home, Home], installed: Path, tmp_path: Path
) -> None:
    first, second = strangers
    start(first, installed)
    assert first.status().problems == {}
    assert not (first.path / "plugins").exists()
    configure(second, tmp_path)
    second.up()
    told = second.wait_status(lambda status: status.problems).problems["plugin folder"]
    assert "cis-discovery-folder" in told
    rows = {row["check"]: row for row in second.json("doctor")}
    assert (rows["plugins"]["status"], "cis-discovery-folder" in rows["plugins"]["found"]) == ("warn", True)
