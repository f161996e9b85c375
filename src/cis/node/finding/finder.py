"""Finding peers: providers are run, sightings and records become targets, and what does not work is kept to be told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from cis.discovery.address import Source, join_endpoint
from cis.discovery.provider import Provider, Roaming, Sighting
from cis.errors import Unavailable
from cis.model import Candidate, NodeId
from cis.node.core import events
from cis.node.finding.announcing import NodeAnnouncement
from cis.node.finding.records import RecordShelf
from cis.node.home.local import LocalNode
from cis.peers import Target
from cis.peers.peer import ICE

_log = logging.getLogger(__name__)

PROBLEMS_MAX = 64
LOG_AGAIN_S = 3600.0
KEPT_S = 86_400.0


class Problems(dict[str, str]):
    """What does not work, by place: the last reason of each; said in the log when it is new.

    What is a day old, or what the connection with a peer has settled, is no problem any more.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[tuple[str, str], float] = {}
        self._noted: dict[str, tuple[float, NodeId | None]] = {}

    def note(self, where: str, reason: str, node: NodeId | None = None) -> None:
        """Keep a reason, and log it when it was not in the last hour; strangers cannot make the log grow faster.

        ``node`` is who was expected there.
        """
        now = time.monotonic()
        self._logged = {line: at for line, at in self._logged.items() if now - at < LOG_AGAIN_S}
        if (where, reason) not in self._logged and len(self._logged) < PROBLEMS_MAX:
            self._logged[where, reason] = now
            _log.warning("%s: %s", "a place a peer was said to be at" if ":" in where else where, reason)
            _log.debug("that place is %s", where)
        self.pop(where, None)
        self[where] = reason
        self._noted[where] = (now, node)
        if len(self) > PROBLEMS_MAX:
            del self[next(iter(self))]
        self._noted = {place: noted for place, noted in self._noted.items() if place in self}

    def settle(self, node: NodeId, where: str | None = None) -> None:
        """Forget what was wrong with a node, and at a place: there is a connection with it now."""
        for place, (_, expected) in self._noted.items():
            if expected == node or place == where:
                self.pop(place, None)

    def ages_s(self) -> dict[str, float]:
        """Return how long ago each was noted last; those of more than a day ago are forgotten first."""
        now = time.monotonic()
        for place, (at, _) in self._noted.items():
            if now - at > KEPT_S:
                self.pop(place, None)
        return {place: now - at for place, (at, _) in self._noted.items() if place in self}


class Finder:
    """Turns what providers and records tell into sightings for the core."""

    def __init__(
        self,
        local: LocalNode,
        report: Callable[[events.Event], None],
        problems: Problems,
        candidates: Callable[[], tuple[Candidate, ...]],
    ) -> None:
        self._candidates = candidates
        self.records = RecordShelf(local)
        self._local = local
        self._report = report
        self._problems = problems
        self._running: list[Provider] = []
        self.connected: Callable[[], frozenset[NodeId]] = frozenset

    async def provide(self, provider: Provider, port: int) -> None:
        """Run a provider; one that cannot work here is a problem to be told, not an end."""
        announcement = NodeAnnouncement(
            self._local.cluster,
            lambda: port,
            lambda: self.records.own(self._candidates()),
            self._local.clock_ms,
            lambda: self.records.short(self._candidates()),
            lambda: self.connected(),  # noqa: PLW0108 - it is set later
        )
        self._running.append(provider)
        try:
            await provider.run(announcement, partial(self._on_sighting, provider.name))
        except Unavailable as error:
            self._problems.note(provider.name, str(error))
        finally:
            self._running.remove(provider)

    def network_changed(self) -> None:
        """Tell the providers that want to know: the network under the node is another."""
        for provider in self._running:
            if isinstance(provider, Roaming):
                provider.network_changed()

    def on_record(self, raw: bytes, bound: tuple[str, int]) -> bool:
        """Take a record in; True when it told something new. Raises `PeerFault`."""
        recorded = self.records.take(raw, bound)
        if recorded is not None:
            self._report(recorded)
        return recorded is not None

    def _on_sighting(self, found_by: str, sighting: Sighting) -> None:
        node = sighting.node
        if node is None and sighting.name is not None:
            members = self._local.cluster.membership.members()
            node = next((member.node for member in members if member.name == sighting.name), None)
        if node is not None and self._local.cluster.membership.revoked(node):
            return
        target = Target(node, sighting.host, sighting.port, sighting.source.value, found_by)
        self._report(events.Sighted(target, pinned=sighting.source is Source.STATIC))


def place_of(target: Target) -> str:
    """Return an address as people write it, or the way that is none."""
    return "ICE" if target.source == ICE else join_endpoint(target.host, target.port)
