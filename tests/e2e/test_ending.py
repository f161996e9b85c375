"""How a node ends by itself: real processes, real conditions, each with its exit code and its last line."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Home
from tests.e2e.test_pair import environment

pytestmark = pytest.mark.timeout(120)
NewHome = Callable[[str], Home]
UP = ("up", "--listen", "127.0.0.1:0")


def last_line(text: str) -> str:
    return text.rstrip("\n").rpartition("\n")[2]


@pytest.fixture(scope="module")
def couple(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    """A running node with three memories, and a member of its cluster that holds none and does not run."""
    folder = tmp_path_factory.mktemp("couple")
    first, second = Home(folder / "one"), Home(folder / "two")
    first.cis("init", "--name", "one")
    second.cis("init", "--name", "two")
    try:
        first.up()
        second.cis("join", first.json("invite")["ticket"], "--yes")
        for number in range(3):
            first.cis("memory", "set", f"key{number}", "value")
        yield first, second
    finally:
        first.kill()
        second.kill()


def test_in_step_means_that_all_the_other_holds_is_here(couple: tuple[Home, Home]) -> None:
    _, second = couple
    ended = second.run(*UP, "--until", "synced", "--max-runtime", "30s")
    assert (ended.code, ended.err.count("ended: synced holds after")) == (0, 1), ended
    states = [home.json("memory", "stats")["spaces"][0]["state_hash"] for home in couple]
    assert states[0] == states[1]


def test_a_node_ends_well_once_all_that_was_asked_holds(couple: tuple[Home, Home]) -> None:
    _, second = couple
    words = ("--until", "peers>=1", "--until", "synced", "--until", "memories>=3", "--max-runtime", "30s")
    ended = second.run(*UP, *words)
    assert ended.code == 0, ended
    said = r"ended: peers>=1, synced and memories>=3 hold after \d+\.\d s"
    assert re.fullmatch(said, last_line(ended.err)), ended.err


def test_failures_in_a_row_end_a_node(couple: tuple[Home, Home]) -> None:
    first, second = couple
    first.cis("down")
    ended = second.run(*UP, "--max-failures", "1", "--max-runtime", "30s")
    assert ended.code == 1, ended
    assert re.match(r"ended: 1 dial came to nothing, the last of \S+:\d+: ", last_line(ended.err)), ended.err


def test_time_ends_a_node_that_never_came_to_what_was_asked(home: Home) -> None:
    ended = home.run(*UP, "--until", "peers>=1", "--until", "synced", "--max-runtime", "300ms")
    assert ended.code == 5
    said = "ended: 0.3s are over; peers>=1 and synced never held together: 0 connected"
    assert last_line(ended.err) == said
    ended = home.run(*UP, "--until", "synced", "--max-runtime", "300ms")
    assert ended.code == 5
    assert last_line(ended.err) == "ended: 0.3s are over; synced never held: nobody is connected"


def test_time_alone_ends_a_node_well(home: Home) -> None:
    ended = home.run("p2p", "start", "--listen", "127.0.0.1:0", "--max-runtime", "200ms")
    assert (ended.code, last_line(ended.err)) == (0, "ended: 0.2s are over")


def test_a_node_in_the_background_writes_why_it_ended_last_of_all(home: Home) -> None:
    started = home.json(*UP, "--detach", "--until", "memories>=1", "--max-runtime", "60s")
    assert started["running"]
    home.cis("memory", "set", "here", "now")
    home.wait(lambda status: not status["running"], "status")
    log = (home.path / "node.log").read_text()
    assert re.fullmatch(r"ended: memories>=1 holds after \d+\.\d s", last_line(log)), log


def test_one_that_ends_before_it_can_be_asked_hands_on_its_code(home: Home) -> None:
    ended = home.run(*UP, "--detach", "--until", "members>=1")
    assert ended.code == 0, ended
    ended = home.run(*UP, "--detach", "--until", "peers>=1", "--max-runtime", "1ms")
    assert "the node ended at once" not in ended.err
    assert ended.code in {0, 5}, ended  # 0 where it could be asked before


@pytest.mark.parametrize("by", ["signal", "command"])
def test_a_node_that_is_stopped_says_by_what(home: Home, by: str) -> None:
    command = [sys.executable, "-m", "cis", *UP, "--until", "peers>=9"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(home), text=True) as process:
        assert process.stderr is not None
        assert " is up" in process.stderr.readline()
        if by == "signal":
            process.send_signal(signal.SIGTERM)
        else:
            home.cis("down")
        said = last_line(process.stderr.read())
        assert process.wait(20) == 0
    assert said == ("ended: stopped by SIGTERM" if by == "signal" else "ended: stopped by `cis down`")


def test_what_can_never_come_is_refused_at_once(new_home: NewHome, home: Home) -> None:
    alone = new_home("alone")
    alone.cis("init", "--standalone")
    ended = alone.run("up", "--until", "peers>=1")
    assert ended.code == 2
    assert "p2p.enabled" in ended.err
    assert alone.run("up", "--max-runtime", "100ms").code == 0
    for words in (("--until", "peers<1"), ("--max-runtime", "soon"), ("--max-failures", "0")):
        assert home.run(*UP, *words).code == 2
    assert not Path(home.path / "node.log").exists()
