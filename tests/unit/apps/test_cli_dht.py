"""``cis init`` asks whether the public DHT may be used, ``cis doctor`` says what it lacks; without a word it is off."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cis.api.configuration.settings import load
from cis.api.health import checkup, exposure
from cis.api.health.checkup import HEALTH
from cis.api.health.doctor import CHECKS, Scene
from cis.api.peers.network_schema import NodeStatus
from cis.apps.cli.main import run
from cis.node.home.folder import Home

STATUS = NodeStatus(
    running=True, name="a", did="", cluster="", role="admin", home="", version="1", members=(), memories=0
)


def wanted(home: Path, *flags: str) -> bool:
    assert run(["--home", str(home), "init", "--name", home.name, *flags]) == 0
    return load(home).p2p.discovery.enable_dht


def test_the_public_dht_is_used_only_where_somebody_said_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not wanted(tmp_path / "silent")
    assert wanted(tmp_path / "yes", "--public-dht")
    assert not wanted(tmp_path / "no", "--no-public-dht")
    for answer in (True, False):
        asked: list[str] = []
        monkeypatch.setattr(
            "cis.apps.cli.nodes.confirm",
            lambda question, asked=asked, answer=answer: (asked.append(question), answer)[1],
        )
        assert wanted(tmp_path / f"asked-{answer}".lower(), "--no-public-stun") is answer
        (question,) = asked
        assert "router.bittorrent.com" in question
        assert "see its address" in question
    asked = []
    assert not wanted(tmp_path / "json", "--json")
    assert not wanted(tmp_path / "alone", "--standalone")
    assert asked == [], "nobody is there, or no socket"


def test_the_question_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cis.api.setup import DHT_SETTING, questions

    monkeypatch.setattr("cis.discovery.dht.options.installed", lambda: False)
    assert "pip install 'cis-node[dht]'" in questions(tmp_path)[DHT_SETTING]
    monkeypatch.setattr("cis.discovery.dht.options.installed", lambda: True)
    assert "pip install" not in questions(tmp_path)[DHT_SETTING]


def scene(folder: Path, node: NodeStatus | None, *, on: bool = True) -> Scene:
    (folder / "config.toml").write_text(f"[p2p.discovery]\nenable_dht = {str(on).lower()}\n")
    return Scene(Home(folder), None, load(folder), node, None, reveal=False)


def test_a_doctor_says_what_the_dht_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = dict(HEALTH)["DHT"]
    monkeypatch.setattr(checkup, "installed", lambda: False)
    found = check(scene(tmp_path, STATUS))
    assert found is not None
    assert (found[0], "cis-node[dht]" in found[2]) == ("bad", True)
    monkeypatch.setattr(checkup, "installed", lambda: True)
    assert check(scene(tmp_path, STATUS)) == ("ok", "on", "")
    assert check(scene(tmp_path, None, on=False)) is None, "off is no finding"
    silent = scene(tmp_path, msgspec.structs.replace(STATUS, problems={"dht": "no node of the DHT answers"}))
    assert check(silent) == ("warn", "no node of the DHT answers", "cis p2p dht status; cis p2p netcheck says more")


def test_the_dhts_own_tcp_port_is_no_exposure_and_any_other_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = dict(CHECKS)["web and metrics"]
    node = msgspec.structs.replace(STATUS, pid=1, dht_ports=(6881,))
    there = scene(tmp_path, node)
    for ports, expected in ({(): "ok", (6881,): "ok", (6881, 8080): "bad"}).items():
        monkeypatch.setattr(exposure, "listening_tcp", lambda _, ports=ports: ports)
        found = check(there)
        assert found is not None
        assert found[0] == expected
