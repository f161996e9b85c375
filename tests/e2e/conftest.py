"""The ``cis`` command as users run it: real processes, each node with a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cis.api.control.client import connect, connect_daemon
from cis.api.control.protocol import Request
from cis.api.memories.memory_schema import ListMemories
from cis.api.peers.network_schema import GetStatus, NodeStatus
from cis.api.starting import stop
from cis.errors import CisError

ROOT = Path(__file__).resolve().parents[2]
COMMAND_S = 40
CONDITION_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Home:
    """One node's folder, and the command run in it."""

    path: Path

    def run(self, *words: str, given: bytes = b"", **variables: str) -> Outcome:
        """Run a command, whatever comes of it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CIS_")}
        environment = {
            **kept,
            "PYTHONPATH": str(ROOT / "src"),
            "CIS_HOME": str(self.path),
            "CIS_P2P__DISCOVERY__ENABLE_MDNS": "false",
            **variables,
        }
        ended = subprocess.run(
            [sys.executable, "-m", "cis", *words],
            input=given,
            capture_output=True,
            timeout=COMMAND_S,
            env=environment,
            check=False,
        )
        return Outcome(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    def cis(self, *words: str, given: bytes = b"") -> str:
        """Run a command that must succeed; returns what it printed."""
        ended = self.run(*words, given=given)
        assert ended.code == 0, f"cis {' '.join(words)}: {ended}"
        return ended.out

    def json(self, *words: str) -> Any:
        """Run a command that must succeed, with ``--json``."""
        return json.loads(self.cis(*words, "--json"))

    def up(self) -> dict[str, Any]:
        """Start the node on a free port of loopback."""
        status: dict[str, Any] = self.json("up", "--listen", "127.0.0.1:0", "--detach")
        return status

    def wait(self, holds: Callable[[Any], object], *words: str) -> Any:
        """Repeat a command with ``--json`` until its answer satisfies; returns that answer."""
        deadline = time.monotonic() + CONDITION_S
        while not holds(answer := self.json(*words)):
            assert time.monotonic() < deadline, f"never came: cis {' '.join(words)}: {answer}"
        return answer

    def kill(self) -> None:
        """End the node of this home, if one runs, however it is."""
        with contextlib.suppress(CisError, ProcessLookupError):
            if (running := connect_daemon(self.path)) is not None:
                pid = running.call(GetStatus()).pid
                assert pid is not None
                with contextlib.suppress(CisError):
                    stop(self.path)
                os.kill(pid, signal.SIGKILL)

    def status(self) -> NodeStatus:
        """Return how the node is: asked by its own client, which is much quicker than a command."""
        with connect(self.path) as node:
            return node.call(GetStatus())

    def wait_status(self, holds: Callable[[NodeStatus], object], patience_s: float = CONDITION_S) -> NodeStatus:
        """Ask how the running node is until it satisfies; returns that answer."""
        status: NodeStatus = self.wait_answer(holds, GetStatus(), patience_s)
        return status

    def wait_keys(self, *keys: str) -> None:
        """Wait until the running node lists these public memories and no others."""
        self.wait_answer(lambda page: sorted(one.key for one in page.memories) == sorted(keys), ListMemories())

    def wait_answer(
        self, holds: Callable[[Any], object], request: Request[Any], patience_s: float = CONDITION_S
    ) -> Any:
        """Ask the running node until its answer satisfies; returns that answer."""
        deadline = time.monotonic() + patience_s
        with connect(self.path) as node:
            while not holds(answer := node.call(request)):
                assert time.monotonic() < deadline, f"never came: {answer}"
        return answer


def pair(first: Home, second: Home) -> None:
    """Make two running nodes, named one and two, of one cluster."""
    first.cis("init", "--name", "one")
    second.cis("init", "--name", "two")
    first.up()
    ticket = first.json("invite")["ticket"]
    second.cis("join", ticket, "--yes")
    second.up()
    first.wait(lambda status: status["connected"] == ["two"], "status")


@pytest.fixture
def new_home(tmp_path: Path) -> Iterator[Callable[[str], Home]]:
    made: list[Home] = []

    def make(name: str) -> Home:
        made.append(Home(tmp_path / name))
        return made[-1]

    yield make
    for home in made:
        home.kill()


@pytest.fixture
def home(new_home: Callable[[str], Home]) -> Home:
    """A node that was made, and does not run."""
    found = new_home("solo")
    found.cis("init", "--name", "solo")
    return found


@pytest.fixture(scope="module")
def couple(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    """Two running nodes of one cluster, for all tests of a module."""
    folder = tmp_path_factory.mktemp("couple")
    first, second = Home(folder / "one"), Home(folder / "two")
    try:
        pair(first, second)
        yield first, second
    finally:
        first.kill()
        second.kill()
