"""`cis doctor` and what `cis status` says of reach: each check can turn, and says what to type then."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import ifaddr
import msgspec
import pytest

from cis.api.configuration.settings import load
from cis.api.health import machine_checks
from cis.api.health.checkup import HEALTH, examine_health
from cis.api.health.doctor import Scene
from cis.api.health.doctor_schema import Integrity
from cis.api.memories.embedding_schema import Embedding
from cis.api.peers.gossip_schema import PeerSync, SpaceSync, SyncReport
from cis.api.peers.network_schema import NodeStatus
from cis.api.peers.reach_notes import notes_of
from cis.api.peers.reach_schema import ReachStatus
from cis.errors import UsageError
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode

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


def test_a_closed_network_is_told(scene: Scene) -> None:
    scene.home.config.write_text("[p2p]\nenabled = false\n")
    there = replace(scene, settings=load(scene.home.folder))
    assert finding(there, "network")[0] == "warn"


def test_settings_that_do_not_load_are_a_row_that_names_the_line(scene: Scene) -> None:
    scene.home.config.write_text("[p2p]\nlisten_prt = 7677\n")
    rows = {row.check: row for row in examine_health(scene.home.folder, reveal=True)}
    assert (rows["settings"].status, "config.toml:2" in rows["settings"].fix) == ("bad", True)
    assert rows["disk"].status == "ok"


def test_a_full_disk_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for least, word in (("FREE_BYTES_WARN", "warn"), ("FREE_BYTES_MIN", "bad")):
        monkeypatch.setattr(machine_checks, least, 1 << 62)
        assert finding(scene, "disk")[0] == word


SPACE = SpaceSync("public", in_step=True, behind_here=0, behind_there=0)
PHONE = PeerSync(
    name="phone",
    did="",
    connected=True,
    neighbour=True,
    asked=True,
    stated_s=0.0,
    spaces=(SPACE,),
    syncing=False,
    sessions=1,
    last_success_s=1.0,
    last_error="",
    changes_received=0,
    bytes_received=0,
    bytes_sent=0,
)


@pytest.mark.parametrize(
    ("changes", "missing", "status", "told"),
    [
        ({}, 0, "ok", "1 of 1"),
        ({"spaces": (SpaceSync("public", in_step=False, behind_here=3, behind_there=0),)}, 0, "warn", "not in step"),
        ({"asked": False}, 0, "warn", "do not say"),
        ({"asked": False, "connected": False}, 0, "ok", "no member"),
        ({}, 2, "warn", "without their value"),
    ],
)
def test_members_that_hold_something_else_are_told(
    changes: dict[str, Any], missing: int, status: str, told: str, scene: Scene
) -> None:
    report = SyncReport((msgspec.structs.replace(PHONE, **changes),), missing)
    found = finding(replace(scene, sync=report), "in step")
    assert (found[0], told in found[1], bool(found[2])) == (status, True, status != "ok")


@pytest.mark.parametrize(
    ("changes", "status"),
    [({}, "ok"), ({"damaged": 1}, "bad"), ({"wrong": 1}, "bad"), ({"complaints": ("page 7",)}, "bad")],
)
def test_what_a_check_of_the_whole_store_found_is_told(changes: dict[str, Any], status: str, scene: Scene) -> None:
    sound = Integrity(changes=9, damaged=0, wrong=0)
    found = finding(replace(scene, integrity=msgspec.structs.replace(sound, **changes)), "store")
    assert (found[0], bool(found[2])) == (status, status == "bad")


def test_the_whole_store_is_checked_only_where_asked_for(scene: Scene) -> None:
    assert "store" not in {row.check for row in examine_health(scene.home.folder)}
    rows = {row.check: row for row in examine_health(scene.home.folder, deep=True)}
    assert rows["store"].status == "ok"


def test_ways_of_finding_nodes_that_fail_are_told(scene: Scene) -> None:
    assert finding(scene, "mDNS")[0] == "ok"
    node = msgspec.structs.replace(
        STATUS,
        problems={"mdns on eth0": "no multicast"},
        reach=msgspec.structs.replace(SOUND, anchors=2, anchors_up=1),
    )
    there = replace(scene, node=node)
    assert "no multicast" in finding(there, "mDNS")[1]
    assert finding(there, "anchor")[:2] == ("warn", "1 of 2 answer")


def test_what_the_nat_does_is_told_once_it_is_known(scene: Scene) -> None:
    assert "endpoint-independent" in finding(scene, "NAT")[1]
    unknown = msgspec.structs.replace(STATUS, reach=msgspec.structs.replace(SOUND, mapping=None))
    assert dict(HEALTH)["NAT"](replace(scene, node=unknown)) is None


def test_a_taken_port_is_told_where_no_node_of_ours_listens(scene: Scene) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        scene.home.config.write_text(f'[p2p]\nlisten_address = "127.0.0.1"\nlisten_port = {number}\n')
        resting = replace(scene, settings=load(scene.home.folder), node=msgspec.structs.replace(STATUS, running=False))
        found = finding(resting, "port")
        assert dict(HEALTH)["port"](scene) is None
    assert (found[0], str(number) in found[1]) == ("bad", True)
    assert finding(resting, "port")[0] == "ok"


def test_who_holds_the_store_is_named_where_no_node_answers(scene: Scene) -> None:
    assert dict(HEALTH)["store lock"](replace(scene, node=None)) is None
    with (scene.home.folder / "lock").open("r+b") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        found = finding(replace(scene, node=None), "store lock")
    assert found[0] == "bad"
    if sys.platform == "linux":
        assert f"process {os.getpid()} " in found[1]


def test_a_machine_without_a_network_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    lone = ifaddr.Adapter("lo", "lo", [ifaddr.IP("127.0.0.1", 8, "lo")])
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [lone])
    assert finding(scene, "addresses")[0] == "warn"
    wired = ifaddr.Adapter("eth0", "eth0", [ifaddr.IP("192.0.2.7", 24, "eth0")])
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [lone, wired])
    assert finding(scene, "addresses")[:2] == ("ok", "1 addresses, of IPv4")


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
