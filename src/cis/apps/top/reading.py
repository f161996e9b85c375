"""What a node says of itself at one moment, and how often it is asked for what costs it something.

Asking is done by a thread of its own, so that a node that does not answer stops neither the screen nor its end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from cis.api.control.client import RemoteNode, connect_running
from cis.api.memories.memory_schema import MemoryStats, Stats
from cis.api.peers.network_schema import GetStatus, ListPeers, NodeStatus, PeerInfo
from cis.api.peers.reach_schema import ConnectionInfo, ListConnections
from cis.api.telemetry.telemetry_schema import GetStatistics, Statistics

COMPARE_EVERY_S = 5.0
"""How often connected members are asked what they hold, which goes over the network."""
COUNT_EVERY_S = 10.0
REST = 4
COUNT_REST = 20
"""For so many times as long as asking, and counting what is stored, took, it is not done again."""


@dataclass(frozen=True)
class Reading:
    """What the node said; ``stored`` and whether members are in step may be older by the seconds above."""

    status: NodeStatus
    peers: tuple[PeerInfo, ...] = ()
    connections: tuple[ConnectionInfo, ...] = ()
    traffic: Statistics | None = None
    stored: Stats | None = None


class Reader:
    """Asks the node of a home; one that was stopped and started is asked like any other."""

    def __init__(self, home: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._clock = clock
        self._compare_at = self._count_at = clock()
        self._stored: Stats | None = None
        self._compared: dict[str | None, tuple[int | None, int | None]] = {}

    def read(self) -> Reading:
        """Ask for all that is shown; `CisError` where the node does not say it."""
        with connect_running(self._home) as node:
            status = node.call(GetStatus())
            if (began := self._clock()) >= self._count_at:
                self._stored = node.call(MemoryStats())
                ended = self._clock()
                self._count_at = ended + max(COUNT_EVERY_S, COUNT_REST * (ended - began))
            if not status.networking:
                return Reading(status, stored=self._stored)
            return Reading(
                status, self._peers(node), node.call(ListConnections()), node.call(GetStatistics()), self._stored
            )

    def _peers(self, node: RemoteNode) -> tuple[PeerInfo, ...]:
        """List the members; what one lacks is what it lacked when asked, as of what it had since it said nothing."""
        compare = self._clock() >= self._compare_at
        found = [one for one in node.call(ListPeers(ask=compare)) if one.did is not None]
        if compare:
            self._compare_at = self._clock() + COMPARE_EVERY_S
            self._compared = {one.did: (one.behind_here, one.behind_there) for one in found if one.state == "connected"}
        lags = ((one, self._compared.get(one.did, (one.behind_here, one.behind_there))) for one in found)
        return tuple(structs.replace(one, behind_here=here, behind_there=there) for one, (here, there) in lags)


class Watcher(threading.Thread):
    """Reads again and again, and tells what came of it: a reading, or the error in its place.

    ``asking_since`` is when it asked for what it waits for, None while it rests.
    """

    def __init__(
        self,
        read: Callable[[], Reading],
        tell: Callable[[Reading | Exception], None],
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="watcher", daemon=True)
        self.asking_since: float | None = None
        self._clock = clock
        self._read = read
        self._tell = tell
        self._interval_s = interval_s
        self._going = threading.Event()
        self._going.set()
        self._ended = threading.Event()

    def run(self) -> None:
        """Go on until `end`."""
        rest_s = 0.0
        while not self._ended.wait(rest_s):
            self._going.wait()
            if self._ended.is_set():
                return
            self.asking_since = began = self._clock()
            said = self._said()
            self.asking_since = None
            if not self._ended.is_set():
                self._tell(said)
            rest_s = max(self._interval_s, REST * (self._clock() - began))

    def pause(self) -> None:
        """Ask no more until `resume`."""
        self._going.clear()

    def resume(self) -> None:
        """Go on asking."""
        self._going.set()

    def end(self) -> None:
        """Ask no more; an answer under way is not waited for."""
        self._ended.set()
        self._going.set()

    def _said(self) -> Reading | Exception:
        try:
            return self._read()
        except Exception as error:  # noqa: BLE001 - the screen tells a node that is away from a defect
            return error
