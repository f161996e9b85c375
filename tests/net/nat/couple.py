"""Two nodes that are connected and stay so while things happen to the network between them; ``pytest -s`` tells."""

from __future__ import annotations

import time
from collections.abc import Callable

from cis.api.peers.network_schema import ConnectPeer, ListPeers
from tests.net.nat.internet import Host, Traffic, grown
from tests.net.nat.namespaces import BedError
from tests.net.nat.nodes import describe
from tests.net.nat.pairs import CONNECT_S, SYNC_S, Trial, Way, counters, way_of
from tests.net.nat.programs import wait_until

_SAMPLE_BYTES = 512 << 10
_UPGRADE_S = 70.0
_ATTEMPTS = 5


class Couple:
    """Alpha and beta, running and connected."""

    def __init__(self, trial: Trial, first: Host, second: Host) -> None:
        self.trial, self.hosts = trial, (first, second)
        self.alpha, self.beta = trial.trio.alpha, trial.trio.beta
        self.flows: Traffic = {}
        trial.start(first, second)
        self.alpha.call(ConnectPeer(target="beta", timeout_s=CONNECT_S))
        self._began = time.monotonic()
        self._say(f"connected: {first.name} and {second.name}")

    def sync(self, size: int, *, amid: Callable[[], object] = lambda: None) -> None:
        """Synchronise, while something happens once a part has arrived."""
        keys = self._begun(size)
        self._say("a part has arrived; now it happens")
        amid()
        wait_until(lambda: self.beta.holds(keys), SYNC_S, "all memories", seen=lambda: describe(self.beta))
        self._say(f"all {len(keys)} memories have arrived")

    def _begun(self, size: int) -> tuple[str, ...]:
        """Write until a sync is under way; a busy machine may write slower than it synchronises."""
        for _ in range(_ATTEMPTS):
            keys = self.alpha.write(size, "roaming")
            wait_until(
                lambda first=keys[:1]: self.beta.holds(first),
                SYNC_S,
                "the first memory",
                seen=lambda: describe(self.beta),
            )
            if not self.beta.holds(keys):
                return keys
        raise BedError("every sync was over before it could be disturbed")

    def way(self) -> Way:
        """Say which way a sync goes now."""
        before = counters(*self.hosts)
        keys = self.alpha.write(_SAMPLE_BYTES, "sample")
        wait_until(lambda: self.beta.holds(keys), SYNC_S, "a sample", seen=lambda: describe(self.beta))
        self.flows = grown(before, counters(*self.hosts))
        way = way_of(self.flows, self.hosts[1], _SAMPLE_BYTES // 2)
        (address, protocol, port), count = max(self.flows.items(), key=lambda item: item[1])
        self._say(f"{way.value}: {count:,} of {sum(self.flows.values()):,} bytes by {protocol} with {address}:{port}")
        return way

    def wait_direct(self) -> None:
        """Wait until they speak directly."""
        wait_until(lambda: self.way() is Way.DIRECT, _UPGRADE_S, "the direct way", poll_s=0.5)

    def connected_s(self) -> float:
        """Return the age of their connection."""
        (peer,) = (one for one in self.alpha.call(ListPeers()) if one.name == "beta")
        assert peer.connected_s is not None
        return peer.connected_s

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:8.2f} s  {what}", flush=True)
