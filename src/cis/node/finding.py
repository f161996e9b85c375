"""Finding peers: providers are run, sightings and records become targets, and what does not work is kept to be told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cis.discovery.address import Source
from cis.discovery.provider import Provider, Sighting
from cis.errors import Unavailable
from cis.node import events
from cis.node.announcing import NodeAnnouncement
from cis.node.local import LocalNode
from cis.node.records import RecordShelf
from cis.peers import Target

_log = logging.getLogger(__name__)

PROBLEMS_MAX = 64
LOG_AGAIN_S = 3600.0


class Problems(dict[str, str]):
    """What does not work, by place: the last reason of each; said in the log when it is new."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[tuple[str, str], float] = {}

    def note(self, where: str, reason: str) -> None:
        """Keep a reason, and log it when it was not in the last hour; strangers cannot make the log grow faster."""
        now = time.monotonic()
        self._logged = {line: at for line, at in self._logged.items() if now - at < LOG_AGAIN_S}
        if (where, reason) not in self._logged and len(self._logged) < PROBLEMS_MAX:
            self._logged[where, reason] = now
            _log.warning("%s: %s", "a place a peer was said to be at" if ":" in where else where, reason)
            _log.debug("that place is %s", where)
        self.pop(where, None)
        self[where] = reason
        if len(self) > PROBLEMS_MAX:
            del self[next(iter(self))]


class Finder:
    """Turns what providers and records tell into sightings for the core."""

    def __init__(self, local: LocalNode, report: Callable[[events.Event], None], problems: Problems) -> None:
        self.records = RecordShelf(local)
        self._local = local
        self._report = report
        self._problems = problems

    async def provide(self, provider: Provider, port: int) -> None:
        """Run a provider; one that cannot work here is a problem to be told, not an end."""
        announcement = NodeAnnouncement(
            self._local.cluster, self._local.identity.node, lambda: port, self._local.clock_ms
        )
        try:
            await provider.run(announcement, self._on_sighting)
        except Unavailable as error:
            self._problems.note(provider.name, str(error))

    def sight(self, target: Target, age_s: float) -> None:
        """A node may be reachable there; so long ago that was known."""
        self._report(events.Sighted(target, age_s=age_s))

    def on_record(self, raw: bytes, bound: tuple[str, int]) -> bool:
        """Take a record in; True when it told something new. Raises `PeerFault`."""
        recorded = self.records.take(raw, bound)
        if recorded is not None:
            self._report(recorded)
        return recorded is not None

    def _on_sighting(self, sighting: Sighting) -> None:
        node = sighting.node
        if node is None and sighting.name is not None:
            members = self._local.cluster.membership.members()
            node = next((member.node for member in members if member.name == sighting.name), None)
        if node is not None and self._local.cluster.membership.revoked(node):
            return
        target = Target(node, sighting.host, sighting.port, sighting.source.value)
        self._report(events.Sighted(target, pinned=sighting.source is Source.STATIC))


def place_of(target: Target) -> str:
    """Return an address as people write it."""
    return f"{target.host}:{target.port}"
