"""Two nodes of one cluster, as their users see them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from tests.e2e.conftest import ROOT, Home, pair

Couple = tuple[Home, Home]


def is_there(key: str) -> Callable[[dict], bool]:
    return lambda page: any(one["key"] == key for one in page["memories"])


def test_what_one_writes_the_other_finds(couple: Couple) -> None:
    first, second = couple
    first.cis("memory", "set", "editor", "dark mode", "--category", "preference", "--tag", "ui")
    second.cis("memory", "set", "shell", "fish")
    second.wait(is_there("editor"), "memory", "list")
    first.wait(is_there("shell"), "memory", "list")
    found = second.wait(lambda found: found["hits"], "memory", "search", "dark mo")["hits"]
    assert found[0]["memory"]["key"] == "editor"
    assert found[0]["memory"]["author"] == "one"
    assert found[0]["memory"]["tags"] == ["ui"]


def test_private_stays_where_it_is(couple: Couple) -> None:
    first, second = couple
    first.cis("memory", "set", "diary", "xyzzy-secret", "--space", "private")
    first.cis("memory", "set", "after-diary", "1")
    second.wait(is_there("after-diary"), "memory", "list")
    first.cis("p2p", "sync")
    assert second.run("memory", "get", "diary", "--space", "private").code == 1
    assert second.json("memory", "search", "xyzzy", "--mode", "words")["hits"] == []
    assert first.cis("memory", "get", "diary", "-s", "private") == "xyzzy-secret\n"


def test_edits_made_apart_merge_and_the_loser_is_listed(couple: Couple) -> None:
    first, second = couple
    first.cis("memory", "set", "theme", "first")
    first.cis("memory", "incr", "hits", "1")
    second.wait(is_there("hits"), "memory", "list")
    first.cis("p2p", "disconnect", "two")
    assert first.json("p2p", "peers")[0]["state"] != "connected"
    first.cis("memory", "set", "theme", "ours")
    second.cis("memory", "set", "theme", "theirs")
    first.cis("memory", "incr", "hits", "10")
    second.cis("memory", "incr", "hits", "100")
    first.cis("p2p", "connect", "two")
    first.wait(lambda one: one["value"] == 111, "memory", "get", "hits")
    second.wait(lambda one: one["value"] == 111, "memory", "get", "hits")
    shown = [home.wait(bool, "memory", "conflicts") for home in couple]
    assert shown[0] == shown[1]
    assert {one["value"] for one in shown[0][0]["values"]} == {"ours", "theirs"}
    states = [home.json("memory", "stats")["spaces"][0]["state_hash"] for home in couple]
    assert states[0] == states[1]


def test_peers_are_listed_pinged_and_synchronised(couple: Couple) -> None:
    first, second = couple
    first.wait(lambda peers: peers[0]["state"] == "connected", "p2p", "peers")
    assert len(first.json("p2p", "ping", "two", "--count", "3")["rtt_ms"]) == 3
    synced = first.json("p2p", "sync", "--node", "two")
    assert [(one["name"], one["error"]) for one in synced] == [("two", "")]
    status = second.json("p2p", "sync-status")
    assert status["members"][0]["sessions"] >= 1
    assert status["bodies_missing"] == 0
    assert first.run("p2p", "ping", "nobody").code == 2
    again = first.json("p2p", "connect", "two")
    assert again["already"]


def test_watching_shows_what_the_other_writes(couple: Couple) -> None:
    first, second = couple
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "cis", "--home", str(second.path), "memory", "watch", "--json", "--limit", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as watching:
        assert watching.stderr is not None
        assert watching.stderr.readline() == "watching\n"
        assert watching.stdout is not None
        first.cis("memory", "set", "seen", "live")
        assert '"key":"seen"' in watching.stdout.readline().replace(": ", ":")
        first.cis("memory", "delete", "seen")
        assert '"delete"' in watching.stdout.readline()
        assert watching.wait(20) == 0


def test_a_ticket_works_once_and_not_while_the_node_runs(couple: Couple, new_home: Callable[[str], Home]) -> None:
    first, second = couple
    ticket = first.json("invite", "--name", "three")["ticket"]
    assert "cis down" in second.run("join", ticket).err
    third, fourth = new_home("three"), new_home("four")
    third.cis("init")
    third.cis("memory", "set", "brought", "along")
    assert "--yes" in third.run("join", ticket).err
    assert third.json("join", ticket, "--yes")["name"] == "three"
    fourth.cis("init")
    refused = fourth.run("join", ticket, "--yes")
    assert refused.code != 0
    assert "this ticket was used" in refused.err
    third.up()
    first.wait(is_there("brought"), "memory", "list")


def test_a_killed_node_returns_and_catches_up(new_home: Callable[[str], Home]) -> None:
    first, second = new_home("one"), new_home("two")
    pair(first, second)
    os.kill(second.json("status")["pid"], signal.SIGKILL)
    first.cis("memory", "set", "meanwhile", "1")
    second.cis("memory", "set", "offline", "2")
    second.up()
    second.wait(is_there("meanwhile"), "memory", "list")
    first.wait(is_there("offline"), "memory", "list")
