"""The installed ``cis`` on the hosts of the test bed: three homes of one cluster, run wherever a test wants them.

Where a node is, is where its process runs; so one cluster serves every pair: alpha and beta are the pair, and hub is
the member both know. What nodes remember of addresses is forgotten before each run.

::

    trio = Trio.make(internet, folder)
    trio.alpha.start(internet.host("cone", "A"))
    trio.beta.start(internet.host("none", "B"))
    trio.alpha.call(ConnectPeer(target="beta"))
    stop(trio.nodes)
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from cis.api.control.client import connect, connect_daemon
from cis.api.control.protocol import Reply, Request
from cis.api.memories.memory_schema import ListMemories, SetMemory
from cis.api.peers.network_schema import GetStatus, Invite, NodeStatus
from cis.errors import CisError
from tests.net.nat.internet import Host, Internet
from tests.net.nat.namespaces import BedError, Namespace
from tests.net.nat.programs import wait_until

PORT = 7677
_COMMAND_S = 40
_END_S = 10.0
_VALUE_BYTES = 128 << 10
ROOT = Path(__file__).resolve().parents[3]
QUIET = {"CIS_P2P__DISCOVERY__ENABLE_MDNS": "false"}


def cis_command() -> list[str]:
    """Return the command as it is installed beside this Python, else as a module."""
    installed = Path(sys.executable).with_name("cis")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "cis"]


@dataclass
class Node:
    """One home of the cluster; ``host`` is where it runs."""

    name: str
    home: Path
    host: Host | None = None
    _written: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def cis(self, namespace: Namespace, *words: str) -> str:
        """Run a command in a namespace; it must succeed."""
        with namespace.entered():
            ended = subprocess.run(
                [*cis_command(), *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_COMMAND_S,
                env=self._environment({}),
                check=False,
            )
        if ended.returncode != 0:
            raise BedError(f"{self.name}: cis {' '.join(words)}: {ended.stderr.strip()}")
        return ended.stdout

    def launch(self, host: Host, settings: Mapping[str, str] | None = None, *, forget: bool = True) -> None:
        """Begin to start it on a host; with ``forget`` it knows nobody's address. `wait_up` waits for it."""
        assert self._process is None, f"{self.name} is running"
        if forget:
            (self.home / "bootstrap.json").unlink(missing_ok=True)
        self.host = host
        with self.log.open("ab") as log:
            self._process = host.namespace.popen(
                [*cis_command(), "up"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(settings or {}),
            )

    def wait_up(self) -> None:
        """Wait until it answers."""
        wait_until(self._is_up, _COMMAND_S, f"{self.name} to be up")

    def start(self, host: Host, settings: Mapping[str, str] | None = None, *, forget: bool = True) -> None:
        """Start it on a host, and wait until it answers."""
        self.launch(host, settings, forget=forget)
        self.wait_up()

    def signal(self, number: int) -> None:
        """Send its process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def log(self) -> Path:
        """Where what it says goes."""
        return self.home.with_suffix(".log")

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise BedError(f"{self.name} ended by itself:\n{self.log.read_text()[-2000:]}")
        try:
            running = connect_daemon(self.home)
        except CisError:
            return False
        if running is None:
            return False
        running.close()
        return True

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CIS_")}
        return {**kept, "PYTHONPATH": str(ROOT / "src"), **QUIET, **settings, "CIS_HOME": str(self.home)}

    def call(self, request: Request[Reply]) -> Reply:
        """Ask the running node."""
        with connect(self.home) as node:
            return node.call(request)

    def status(self) -> NodeStatus:
        """Return how it is."""
        return self.call(GetStatus())

    def write(self, size: int, prefix: str) -> tuple[str, ...]:
        """Write memories of ``size`` bytes in all that do not compress; returns their keys."""
        rng = Random(f"{self.name} {prefix} {self._written}")
        self._written += 1
        keys = []
        with connect(self.home) as node:
            for number in range(-(-size // _VALUE_BYTES)):
                value = base64.b64encode(rng.randbytes(_VALUE_BYTES)).decode()
                keys.append(f"{prefix}-{self._written}-{number:04}")
                node.call(SetMemory(key=keys[-1], value=value, form="bytes"))
        return tuple(keys)

    def holds(self, keys: tuple[str, ...]) -> bool:
        """Whether it has all of these."""
        stem = keys[0].rpartition("-")[0]
        page = self.call(ListMemories(prefix=f"{stem}-", limit=len(keys)))
        return len(page.memories) == len(keys)


@dataclass(frozen=True)
class Trio:
    """Members of one cluster, who know of each other and of nobody's address; the hub is one where it was asked for."""

    alpha: Node
    beta: Node
    hub: Node

    @classmethod
    def make(cls, internet: Internet, folder: Path, *, hub: bool = False) -> Trio:
        """Found the cluster on a public host. Alpha lets the others in, beta last, so that both know all."""
        trio = cls(*(Node(name, folder / name) for name in ("alpha", "beta", "hub")))
        place = internet.host("none", "Z")
        joining = (trio.hub, trio.beta) if hub else (trio.beta,)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.cis(place.namespace, "init", "--name", node.name), (trio.alpha, *joining)))
        try:
            trio.alpha.start(place)
            for node in joining:
                node.cis(place.namespace, "join", trio.alpha.call(Invite(name=node.name)).ticket, "--yes")
        finally:
            stop(trio.nodes)
        return trio

    @property
    def nodes(self) -> tuple[Node, Node, Node]:
        """All three."""
        return self.alpha, self.beta, self.hub


def stop(nodes: Iterable[Node]) -> None:
    """End nodes, all at once; who takes too long is killed."""
    running = [(node, node._process) for node in nodes if node._process is not None]
    for _, process in running:
        process.terminate()
    deadline = time.monotonic() + _END_S
    for node, process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        node._process = None
        node.host = None


def describe(node: Node) -> Any:
    """Return what a node says of itself, for the text of a failure."""
    try:
        return node.status()
    except CisError as error:
        return error
