"""Who may do what, with real processes: roles, spaces, this node's own access list, removal, the recovery key."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import ROOT, Home


@dataclass(frozen=True)
class Trio:
    """Three running nodes: ``one`` founded the cluster, ``two`` may write, ``three`` may only read."""

    one: Home
    two: Home
    three: Home
    recovery_key: str


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    folder = tmp_path_factory.mktemp("trio")
    one, two, three = (Home(folder / name) for name in ("one", "two", "three"))
    try:
        recovery_key = one.json("init", "--name", "one")["recovery_key"]
        one.up()
        for home, name, role in ((two, "two", "writer"), (three, "three", "reader")):
            home.cis("init", "--name", name)
            home.cis("join", one.json("invite", "--role", role)["ticket"], "--yes")
            home.up()
        one.wait(lambda status: status["connected"] == ["three", "two"], "status")
        yield Trio(one, two, three, recovery_key)
    finally:
        for home in (one, two, three):
            home.kill()


def has(key: str) -> Callable[[dict], bool]:
    return lambda page: any(one["key"] == key for one in page["memories"])


def space(home: Home, name: str) -> dict:
    (found,) = (one for one in home.json("space", "list") if one["name"] == name)
    return dict(found)


def blind(home: Home) -> dict:
    (found,) = (one for one in home.json("space", "list") if not one["readable"])
    return dict(found)


def test_a_reader_reads_and_is_told_that_it_may_not_write(trio: Trio) -> None:
    trio.two.cis("memory", "set", "for-all", "1")
    trio.three.wait(has("for-all"), "memory", "list")
    refused = trio.three.run("memory", "set", "mine", "1")
    assert (refused.code, "writer" in refused.err) == (4, True)
    denied = trio.three.run("acl", "grant", "two", "admin")
    assert denied.code == 4


def test_denying_ends_a_living_connection_and_allowing_again_restores_it(trio: Trio) -> None:
    edited = trio.one.json("acl", "deny", "tw?")
    assert [(one["name"], one["after"]) for one in edited["affected"]] == [("two", "refuse")]
    trio.one.wait(lambda status: status["connected"] == ["three"], "status")
    trio.two.wait(lambda status: "one" not in status["connected"], "status")
    (why,) = (one["last_error"] for one in trio.two.json("p2p", "peers") if one["name"] == "one")
    assert "the access list there does not admit this node" in why
    assert "tw?" not in why
    trio.one.cis("acl", "deny", "did:cis:tw?", "--remove")
    trio.one.wait(lambda status: status["connected"] == ["three", "two"], "status")


def test_in_quarantine_nothing_is_exchanged_and_afterwards_everything(trio: Trio) -> None:
    trio.one.cis("acl", "mode", "quarantine")
    trio.one.wait(lambda status: status["quarantined"] and not status["connected"], "status")
    trio.one.cis("memory", "set", "held-back", "1")
    trio.two.cis("memory", "set", "not-let-in", "1")
    trio.three.wait(has("not-let-in"), "memory", "list")
    assert not has("held-back")(trio.three.json("memory", "list"))
    assert not has("not-let-in")(trio.one.json("memory", "list"))
    trio.one.cis("acl", "mode", "open")
    trio.three.wait(has("held-back"), "memory", "list")
    trio.one.wait(has("not-let-in"), "memory", "list")


def test_a_space_is_read_by_its_members_and_counted_by_who_keeps_it_blindly(trio: Trio) -> None:
    trio.one.cis("space", "create", "notes", "--with", "two")
    trio.one.cis("memory", "set", "hush", "a secret of two", "--space", "notes")
    trio.two.wait(lambda page: page["memories"], "memory", "list", "--space", "notes")
    assert trio.two.cis("memory", "get", "hush", "--space", "notes") == "a secret of two\n"
    assert trio.three.run("memory", "get", "hush", "--space", "notes").code == 2
    assert "notes" not in [one["name"] for one in trio.three.json("space", "list")]
    trio.one.cis("space", "share", "notes", "three", "--role", "blind")
    id_ = space(trio.one, "notes")["id"]
    found = trio.three.wait(
        lambda spaces: [one for one in spaces if one["id"] == id_ and one["changes"]], "space", "list"
    )
    (kept,) = (one for one in found if one["id"] == id_)
    assert (kept["role"], kept["readable"], kept["memories"]) == ("blind", False, 1)
    assert kept["name"] != "notes"
    assert kept["bytes"] > 0
    assert trio.three.json("memory", "search", "secret", "--mode", "words")["hits"] == []
    assert trio.three.run("memory", "list", "--space", kept["name"]).code == 4


def test_watching_tells_nothing_of_what_is_kept_blindly(trio: Trio) -> None:
    changes = blind(trio.three)["changes"]
    command = [sys.executable, "-m", "cis", "--home", str(trio.three.path), "memory", "watch", "--json", "--limit", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as watching:
        assert watching.stderr is not None
        assert watching.stderr.readline() == "watching\n"
        trio.one.cis("memory", "set", "hush", "another secret", "--space", "notes")
        trio.three.cis("p2p", "sync")  # what it holds blindly comes by sessions, which are a minute apart
        trio.three.wait(lambda _: blind(trio.three)["changes"] > changes, "space", "list")
        trio.one.cis("memory", "set", "out-loud", "1")
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["key"] == "out-loud"
        assert watching.wait(20) == 0


def test_a_removed_node_is_cut_off_at_once_and_what_it_writes_reaches_nobody(trio: Trio) -> None:
    asked = trio.one.run("acl", "revoke", "two")
    assert (asked.code, "--yes" in asked.err) == (2, True)
    done = trio.one.json("acl", "revoke", "two", "--yes")
    assert (done["name"], done["heard"], done["unheard"]) == ("two", ["three"], [])
    trio.two.wait(lambda status: status["connected"] == [], "status")
    trio.one.cis("memory", "set", "after-two", "not for two")
    trio.three.wait(has("after-two"), "memory", "list")
    trio.two.run("memory", "set", "too-late", "1")
    assert trio.two.run("p2p", "connect", "one").code != 0
    assert not has("after-two")(trio.two.json("memory", "list"))
    for home in (trio.one, trio.three):
        shown = home.json("acl", "show")
        assert [one["name"] for one in shown["members"]] == ["one", "three"]
        assert [one["name"] for one in shown["removed"]] == ["two"]
        assert not has("too-late")(home.json("memory", "list"))
    keys = {one["space"]: one["earlier"] for one in trio.one.json("acl", "show")["keys"]}
    assert keys == {"discovery": 1, "public": 1, "notes": 1}
    assert "revoked" in {one["what"] for one in trio.three.json("acl", "log")}


def test_the_recovery_key_outranks_the_founder_and_makes_another_admin(trio: Trio) -> None:
    key = trio.recovery_key.encode()
    assert trio.three.run("acl", "revoke", "one", "--yes").code == 4
    wrong = trio.three.run("acl", "revoke", "one", "--recovery-key", "--yes", given=key[:-5])
    assert wrong.code == 2
    assert key[:9].decode() not in wrong.err
    assert trio.three.run("acl", "revoke", "one", "--recovery-key", "--yes", given=key).code == 0
    assert trio.three.run("acl", "grant", "three", "admin", "--recovery-key", given=key).code == 0
    trio.one.wait(lambda status: status["connected"] == [], "status")
    (member,) = trio.three.json("acl", "show")["members"]
    assert (member["name"], member["role"]) == ("three", "admin")
    trio.three.cis("memory", "set", "mine-now", "1")


def test_the_logs_tell_no_address_key_or_did(trio: Trio) -> None:
    lines = [
        line
        for home in (trio.one, trio.two, trio.three)
        for line in (home.path / "node.log").read_text(encoding="utf-8").splitlines()
        if ", listening on " not in line
    ]
    assert lines
    assert not re.search(r"127\.0\.0\.1|did:key|cis1[a-z2-7]{16}|[0-9a-f]{32}|hush|secret", "\n".join(lines))
