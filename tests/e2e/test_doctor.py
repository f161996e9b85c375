"""``cis doctor`` on real nodes: its checks, why a memory is not on a device, and the archive for support."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from cis.api.control.client import connect
from cis.api.health.why_schema import Device, ExplainMemory
from tests.e2e.conftest import Home


def test_two_running_nodes_are_sound_and_their_clocks_were_compared(couple: tuple[Home, Home]) -> None:
    one, _ = couple
    one.cis("p2p", "ping", "two")
    rows = {row["check"]: row for row in one.json("doctor", "--security")}
    assert [row for row in rows.values() if row["status"] == "bad"] == []
    assert rows["web and metrics"]["found"] == "web and metrics are off: no TCP port"
    assert rows["control socket"]["found"] == "0600 in a folder 0700, yours"
    assert rows["clock"]["found"].endswith("of 1 members")
    assert rows["admins"]["status"] == "warn"


def test_a_live_ticket_is_told_of(couple: tuple[Home, Home]) -> None:
    one, _ = couple
    one.cis("invite")
    rows = {row["check"]: row for row in one.json("doctor", "--security")}
    assert (rows["tickets"]["status"], rows["tickets"]["found"].startswith("1 live")) == ("warn", True)


def told(home: Home, key: str, name: str) -> Device:
    """What the running node says of a memory on one device."""
    with connect(home.path) as node:
        return next(one for one in node.call(ExplainMemory(key=key)).devices if one.name == name)


def test_running_members_in_step_are_found_so_by_doctor(couple: tuple[Home, Home]) -> None:
    one, _ = couple
    found = one.json("doctor")
    rows = {row["check"]: row for row in found}
    assert [row for row in found if row["status"] == "bad"] == []
    assert rows["in step"]["found"] == "1 of 1 other members asked, and in step"


def test_why_a_memory_is_or_is_not_on_another_device_is_told_by_what_that_states(couple: tuple[Home, Home]) -> None:
    one, two = couple
    one.cis("memory", "set", "plan", "x")
    two.wait_keys("plan")
    shown = one.cis("doctor", "--why", "plan", "--node", "two")
    assert ("one (this device): it is there" in shown, "two: it is there" in shown) == (True, True)
    assert [row for row in told(one, "plan", "two").rows if row.status != "ok"] == []
    one.cis("p2p", "disconnect", "two")
    one.cis("memory", "set", "later", "y")
    ended = one.run("doctor", "--why", "later", "--node", "two")
    assert (ended.code, "connection: cis p2p connect two" in ended.out) == (1, True), ended
    assert told(two, "later", "two").has == "no"
    one.cis("p2p", "connect", "two")
    two.wait_keys("later", "plan")
    assert told(one, "later", "two").has == "yes"
    assert one.run("doctor", "--node", "two").code == 2


def test_the_archive_for_support_names_nobody_of_a_running_cluster(couple: tuple[Home, Home], tmp_path: Path) -> None:
    one, _ = couple
    one.cis("doctor", "--bundle", str(tmp_path / "support.tgz"))
    with tarfile.open(tmp_path / "support.tgz") as archive:
        files = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        contents = {name: file.read().decode() for name, file in files.items() if file is not None}
    whole = "".join(contents.values())
    for home in couple:
        status = home.status()
        for secret in (status.did, status.cluster, status.listen, str(home.path), f'"{status.name}"'):
            assert str(secret) not in whole
    (member,) = json.loads(contents["cis-support/sync-status.json"])
    assert member["connected"]
    assert json.loads(contents["cis-support/status.json"])["connected"] == 1


def test_it_tells_no_names_ids_addresses_or_folders_unless_asked(couple: tuple[Home, Home]) -> None:
    one, two = couple
    shown = one.run("doctor", "--security", HOME=str(one.path.parent)).out
    status = one.json("status")
    for told in (str(one.path), status["did"], status["cluster"], status["listen"], two.json("status")["did"]):
        assert told not in shown
    assert "admins" in shown
    assert " one" in one.cis("doctor", "--security", "--reveal")


def test_something_bad_is_exit_code_1_and_says_what_to_type(home: Home) -> None:
    path = home.path / "memory.db"
    path.chmod(0o644)
    ended = home.run("doctor", "--security", "--json")
    path.chmod(0o600)
    assert ended.code == 1
    bad = {row["check"]: row["fix"] for row in json.loads(ended.out) if row["status"] == "bad"}
    assert f"chmod -R go-rwx {home.path}" in bad["file modes"]
    assert bad.keys() == {"file modes", "node"}
    health = home.run("doctor")
    assert (health.code, "cis up --detach" in health.out) == (0, True)
