"""``cis doctor --security`` on real nodes."""

from __future__ import annotations

import json

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
