"""Two members that know no address of each other, and what lets them find each other (``bench discovery``)."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cis.bench.figures import BenchFailed
from cis.bench.pair import Child
from cis.bench.two_nodes import found_cluster

MET_S = 60.0
ANCHOR_UP_S = 30.0
NAMES = ("first", "second")
_URL = re.compile(r"the anchor is up at (https?://[^\s,]+)")
QUIET: dict[str, object] = {
    "p2p.listen_address": "127.0.0.1",
    "p2p.listen_port": 0,
    "p2p.discovery.enable_mdns": False,
    "p2p.discovery.enable_dht": False,
    "p2p.discovery.libp2p.enabled": False,
    "p2p.cloud_anchor.enabled": False,
    "p2p.nat.enable_upnp": False,
}
"""Settings under which a node finds nobody by itself."""


@dataclass(frozen=True)
class Bed:
    """A way of finding, ready to be used: what both nodes are set to, and what the second is told of the first."""

    settings: dict[str, object] = field(default_factory=dict)
    of_second: Callable[[dict[str, Any]], dict[str, object]] = lambda _: {}
    before_second: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Meeting:
    """How the second node met the first: moments of this machine's monotonic clock."""

    asked_at: float
    """its process was asked to start"""
    open_at: float
    """its socket was open, and it began to look"""
    met_at: float
    """it had an authenticated connection"""


@dataclass(frozen=True, slots=True)
class Couple:
    """Both nodes, connected, and what they answered when they began to run."""

    first: Child
    second: Child
    answers: tuple[dict[str, Any], dict[str, Any]]
    meeting: Meeting


class Homes:
    """Homes of two members of one cluster; each `fresh` pair of copies knows nothing of where the other is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found_cluster(*(folder / name for name in NAMES))

    @contextlib.contextmanager
    def fresh(self) -> Iterator[tuple[Path, Path]]:
        """Yield both homes, as they are right after the second joined."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            first, second = (Path(folder) / name for name in NAMES)
            for copy in (first, second):
                shutil.copytree(self._folder / copy.name, copy, ignore=shutil.ignore_patterns("*.sock"))
            yield first, second


@contextlib.contextmanager
def met(bed: Bed, homes: Homes) -> Iterator[Couple]:
    """Run the first node until it can be found, then start the second; yields both once they are connected."""
    with homes.fresh() as (one, two), contextlib.ExitStack() as kept:
        first = kept.enter_context(Child("finder"))
        there = first.ask("run", home=str(one), settings=QUIET | bed.settings)
        first.ask("announced")
        settings = QUIET | bed.settings | bed.of_second(there)
        bed.before_second()
        asked_at = time.monotonic()
        second = kept.enter_context(Child("finder"))
        here = second.ask("run", home=str(two), settings=settings)
        found = second.ask("met", MET_S)
        meeting = Meeting(asked_at, here["at_s"], found["at_s"])
        yield Couple(first, second, (there, here), meeting)


@contextlib.contextmanager
def static_bed() -> Iterator[Bed]:
    """The second is told where the first is."""
    yield Bed(of_second=lambda there: {"p2p.peers.static_peers": [f"{there['did']}@{there['host']}:{there['port']}"]})


@contextlib.contextmanager
def mdns_bed() -> Iterator[Bed]:
    """Both speak mDNS by multicast on loopback, under a service of their own."""
    yield Bed({"p2p.discovery.enable_mdns": True, "p2p.discovery.service_name": service_name()})


@contextlib.contextmanager
def anchor_bed() -> Iterator[Bed]:
    """Both register with ``cis anchor serve``, a process of its own."""
    with served_anchor() as url:
        yield Bed({"p2p.cloud_anchor.enabled": True, "p2p.cloud_anchor.endpoint": [url]})


@contextlib.contextmanager
def dht_bed(nodes: int, dead: int = 0, values: int = 0) -> Iterator[tuple[Bed, Child]]:
    """Both use a hash table of so many other nodes, of which so many end before the second starts."""
    with Child("dht") as network:
        entries = network.ask("start", nodes=nodes, values=values)["bootstrap"]
        settings: dict[str, object] = {
            "p2p.discovery.enable_dht": True,
            "p2p.discovery.dht_public_bootstrap": False,
            "p2p.discovery.bootstrap_nodes": entries,
        }
        yield Bed(settings, before_second=lambda: _ask_to_kill(network, dead)), network


def _ask_to_kill(network: Child, dead: int) -> None:
    if dead:
        network.ask("kill", count=dead)


def service_name() -> str:
    """Return a name that no other run on this machine announces."""
    return f"_b{secrets.token_hex(4)}._udp"


@contextlib.contextmanager
def served_anchor() -> Iterator[str]:
    """Run an anchor on loopback; yields its URL."""
    command = [sys.executable, "-m", "cis", "anchor", "serve", "--listen", "127.0.0.1:0", "--stun-port", "0"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:  # noqa: S603 - this package
        lines = process.stderr
        assert lines is not None
        timer = threading.Timer(ANCHOR_UP_S, process.kill)
        timer.start()
        try:
            said = lines.readline().decode(errors="replace")
            found = _URL.search(said)
            if found is None:
                raise BenchFailed(f"cis anchor serve did not start: {said.strip()}")
            timer.cancel()
            yield found[1]
        finally:
            timer.cancel()
            process.terminate()
