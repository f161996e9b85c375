"""Four nodes in a line, A–B–C–D: what A writes and says reaches D, which is never connected to A."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Home

pytestmark = pytest.mark.timeout(240)

NAMES = ("a", "b", "c", "d")
BESIDE = {"a": "b", "b": "ac", "c": "bd", "d": "c"}
APART = {"a": "cd", "b": "d", "c": "a", "d": "ab"}


@dataclass(frozen=True)
class Line:
    """The four homes by name."""

    homes: dict[str, Home]

    def __getitem__(self, name: str) -> Home:
        return self.homes[name]

    def met_apart(self) -> list[tuple[str, str]]:
        """Return who ever had a connection with a node that is not beside it in the line."""
        return [
            (name, peer["name"])
            for name, home in self.homes.items()
            for peer in home.json("p2p", "peers")
            if peer["name"] in APART[name] and (peer["state"] == "connected" or peer["successes"] or peer["sessions"])
        ]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The line, standing: who is no neighbour was parted before any node knew an address of it."""
    folder = tmp_path_factory.mktemp("line")
    homes = {name: Home(folder / name) for name in NAMES}
    try:
        _found(homes)
        _stand(homes)
        yield Line(homes)
    finally:
        for home in homes.values():
            home.kill()


def _stand(homes: dict[str, Home]) -> None:
    listen = homes["b"].up()["listen"]
    homes["a"].up()
    homes["a"].cis("p2p", "connect", f"b@{listen}")
    homes["a"].wait(lambda status: len(status["members"]) == len(NAMES), "status")
    for one, other in (("a", "c"), ("a", "d"), ("b", "d")):
        homes[one].cis("p2p", "disconnect", other)
    for name, before in (("c", "b"), ("d", "c")):
        up = homes[name].up()["listen"]
        for other in APART[name]:
            homes[name].cis("p2p", "disconnect", other)
        homes[name].cis("p2p", "connect", f"{before}@{listen}")
        listen = up
    for name, others in BESIDE.items():
        homes[name].wait(
            lambda peers, others=others: {peer["name"] for peer in peers if peer["neighbour"]} == set(others),
            "p2p",
            "peers",
        )


def _found(homes: dict[str, Home]) -> None:
    """Make one cluster of the homes; none runs afterwards, and none remembers where another is."""
    for name, home in homes.items():
        home.cis("init", "--name", name)
    homes["b"].up()
    for name in ("a", "c", "d"):
        homes[name].cis("join", homes["b"].json("invite", "--name", name)["ticket"], "--yes")
    homes["b"].cis("down")
    for home in homes.values():
        (home.path / "bootstrap.json").unlink(missing_ok=True)


def listening(home: Home, *words: str) -> subprocess.Popen[str]:
    """Begin to listen; returns once what is told is heard."""
    command = [sys.executable, "-m", "cis", "--home", str(home.path), "p2p", "listen", "--json", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    found = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment, text=True
    )
    assert found.stderr is not None
    assert found.stderr.readline() == "listening\n"
    return found


def is_there(key: str) -> Callable[[dict], bool]:
    return lambda page: any(one["key"] == key for one in page["memories"])


def test_a_change_reaches_the_other_end(line: Line) -> None:
    line["a"].cis("memory", "set", "from-a", "passed on twice")
    line["d"].wait(is_there("from-a"), "memory", "list")
    line["d"].cis("memory", "set", "from-d", "and back")
    line["a"].wait(is_there("from-d"), "memory", "list")
    assert line.met_apart() == []


def test_a_change_too_large_for_gossip_reaches_the_other_end(line: Line, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(200_000))
    line["a"].cis("memory", "set", "large", "--file", str(file))
    line["d"].wait(is_there("large"), "memory", "list")


def test_broadcasts_reach_the_other_end_each_once_and_in_order(line: Line) -> None:
    with listening(line["d"], "--topic", "builds", "--count", "5") as hearing:
        line["a"].cis("p2p", "broadcast", "not for this topic")
        for number in range(4):
            sent = line["a"].json("p2p", "broadcast", f"message {number}", "--topic", "builds")
            assert sent["neighbours"] == 1
        line["a"].cis("p2p", "broadcast", "-", "--topic", "builds", given=b"\xff\x00")
        out, err = hearing.communicate(timeout=30)
    heard = [json.loads(row) for row in out.splitlines()]
    assert [one["text"] for one in heard] == [*(f"message {number}" for number in range(4)), None]
    assert heard[-1]["base64"] == "/wA="
    assert {(one["author"], one["topic"], one["missed"]) for one in heard} == {("a", "builds", 0)}
    assert (err, hearing.returncode) == ("", 0)
    assert line.met_apart() == []


def test_who_is_up_is_known_at_the_other_end_though_not_connected(line: Line) -> None:
    for one, other in (("d", "a"), ("a", "d")):
        line[one].wait(
            lambda peers, other=other: any((peer["name"], peer["state"]) == (other, "up") for peer in peers),
            "p2p",
            "peers",
        )


def test_a_new_member_is_known_at_the_other_end(line: Line, tmp_path: Path) -> None:
    newcomer = Home(tmp_path / "e")
    newcomer.cis("init", "--name", "e")
    newcomer.cis("join", line["b"].json("invite")["ticket"], "--yes")
    line["d"].wait(lambda status: "e" in status["members"], "status")


def test_sync_status_tells_how_far_each_is_behind(line: Line) -> None:
    line["a"].cis("memory", "set", "last", "1")
    line["d"].wait(is_there("last"), "memory", "list")
    found = line["d"].wait(
        lambda report: all(space["in_step"] for peer in report["members"] if peer["asked"] for space in peer["spaces"]),
        "p2p",
        "sync-status",
    )["members"]
    assert [(peer["name"], [space["space"] for space in peer["spaces"]]) for peer in found if peer["asked"]] == [
        ("c", ["public"])
    ]
    assert all(not peer["spaces"] for peer in found if peer["name"] in {"a", "b"})


def test_topics_of_the_system_and_messages_too_large_are_refused(line: Line) -> None:
    refused = line["a"].run("p2p", "broadcast", "x", "--topic", "cis/changes")
    assert (refused.code, "the system's own" in refused.err) == (2, True)
    assert line["a"].run("p2p", "listen", "--topic", "cis/presence").code == 2
    large = line["a"].run("p2p", "broadcast", "-", given=b"x" * 50_000)
    assert (large.code, "at most 49,152" in large.err) == (2, True)
