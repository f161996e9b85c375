"""`cis doctor` and what `cis status` says of reach: each check can turn, and says what to type then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cis.api import checkup
from cis.api.checkup import HEALTH, examine_health
from cis.api.doctor import Scene
from cis.api.embedding_schema import Embedding
from cis.api.network_schema import NodeStatus
from cis.api.reach_notes import notes_of
from cis.api.reach_schema import ReachStatus
from cis.api.settings import load
from cis.errors import UsageError
from cis.node.home import Home
from cis.node.local import LocalNode

SOUND = ReachStatus(
    relayed=(),
    mapping="endpoint-independent",
    stun_servers=2,
    stun_failing=0,
    turn_servers=0,
    turn_failing=0,
    relay=False,
    forwarded=False,
    anchors=0,
    anchors_up=0,
)
STATUS = NodeStatus(
    running=True,
    name="laptop",
    did="",
    cluster="",
    role="admin",
    home="",
    version="1",
    members=("laptop", "phone"),
    memories=0,
    networking=True,
    connected=("phone",),
    reach=SOUND,
)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    home = Home(tmp_path / "home")
    LocalNode.create(home, "laptop").close()
    return Scene(home, None, load(home.folder), STATUS, None, reveal=False)


MODEL = Embedding(model="m", dimensions=3, local=True, waiting=0, problem="", advice="", vectors=())


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({}, "ok", "by words and meaning (m)"),
        ({"waiting": 7}, "ok", "7 memories wait"),
        ({"problem": "no answer"}, "warn", "no answer"),
        ({"model": None, "advice": "pip install it"}, "warn", "by words alone"),
    ],
)
def test_how_memories_are_found_is_told(scene: Scene, changes: dict[str, Any], status: str, told: str) -> None:
    found = finding(replace(scene, embedding=msgspec.structs.replace(MODEL, **changes)), "search")
    assert found[0] == status
    assert told in found[1]
    assert found[2] == changes.get("advice", "cis memory model" if "problem" in changes else "")


def finding(scene: Scene, name: str) -> tuple[str, str, str]:
    found = dict(HEALTH)[name](scene)
    assert found is not None, "a check that is left out"
    return found


def test_a_node_at_rest_is_looked_at_without_an_error(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    LocalNode.create(home, "laptop").close()
    rows = {row.check: row for row in examine_health(home.folder)}
    assert (rows["node"].status, rows["node"].fix) == ("warn", "cis up --detach")
    assert [row for row in rows.values() if (row.status == "ok") == bool(row.fix)] == []


def test_a_home_without_a_node_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cis init"):
        examine_health(tmp_path)


_TURNED = [
    ("node", {"removed_by": "desk", "removed_ms": 5}, "bad", "cis invite"),
    ("node", {"running": False}, "warn", "cis up"),
    ("peers", {"connected": ()}, "warn", "cis p2p connect"),
    ("problems", {"problems": {"192.0.2.1:7677": "no answer"}}, "warn", "cis status"),
    ("paths", {"reach": msgspec.structs.replace(SOUND, relayed=("phone",))}, "warn", "cis p2p connections"),
    ("STUN", {"reach": msgspec.structs.replace(SOUND, stun_servers=0)}, "warn", "use_public_stun"),
    ("STUN", {"reach": msgspec.structs.replace(SOUND, stun_failing=2)}, "warn", "netcheck"),
    ("relay", {"reach": msgspec.structs.replace(SOUND, mapping="address-dependent")}, "warn", "turn_servers"),
    ("relay", {"reach": msgspec.structs.replace(SOUND, turn_servers=1, turn_failing=1)}, "warn", "netcheck"),
]


@pytest.mark.parametrize(("name", "status", "word", "fix"), _TURNED)
def test_what_the_node_says_turns_a_check(
    name: str, status: dict[str, object], word: str, fix: str, scene: Scene
) -> None:
    assert finding(scene, name)[0] == "ok"
    turned = finding(replace(scene, node=msgspec.structs.replace(STATUS, **status)), name)
    assert turned[0] == word
    assert fix in turned[2]


def test_settings_that_do_not_act_and_a_closed_network_are_told(scene: Scene) -> None:
    (scene.home.folder / "config.toml").write_text("[p2p]\nenabled = false\n[p2p.bandwidth]\nupload_limit = 5\n")
    there = replace(scene, settings=load(scene.home.folder))
    assert "p2p.bandwidth.upload_limit" in finding(there, "settings")[1]
    assert finding(there, "network")[0] == "warn"


def test_a_full_disk_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for least, word in (("FREE_BYTES_WARN", "warn"), ("FREE_BYTES_MIN", "bad")):
        monkeypatch.setattr(checkup, least, 1 << 62)
        assert finding(scene, "disk")[0] == word


def test_names_and_places_are_told_only_where_asked_for(scene: Scene) -> None:
    reach = msgspec.structs.replace(SOUND, relayed=("phone",))
    node = msgspec.structs.replace(STATUS, reach=reach, removed_by="phone", problems={"phone@host:1": "phone is off"})
    hidden = [text for name, _ in HEALTH for text in dict(HEALTH)[name](replace(scene, node=node)) or ()]
    assert not [text for text in hidden if "phone" in text]
    shown = [text for name, _ in HEALTH for text in dict(HEALTH)[name](replace(scene, node=node, reveal=True)) or ()]
    assert len([text for text in shown if "phone" in text]) == 3


def test_nothing_is_said_of_reach_where_nothing_limits_it() -> None:
    assert notes_of(SOUND) == ()
    symmetric = msgspec.structs.replace(SOUND, mapping="address-dependent")
    assert notes_of(msgspec.structs.replace(symmetric, forwarded=True)) == ()
    assert notes_of(msgspec.structs.replace(symmetric, turn_servers=1, relay=True)) == ()
