"""Two nodes whose networks let no UDP out, and no relay anywhere: an anchor carries them, and only over TCP."""

from __future__ import annotations

import dataclasses

import pytest

from cis.api.peers.network_schema import ConnectPeer
from cis.api.peers.reach_schema import ListConnections
from tests.net.nat.internet import grown
from tests.net.nat.nodes import Node, describe, stop
from tests.net.nat.pairs import CONNECT_S, SYNC_S, Trial, counters
from tests.net.nat.programs import wait_until
from tests.net.nat.signalling import ANCHOR_HOST, ANCHOR_PORT

pytestmark = pytest.mark.timeout(240)

PAYLOAD_BYTES = 2 << 20


def kinds(node: Node) -> list[str]:
    return [one.kind for one in node.call(ListConnections())]


@pytest.mark.parametrize("pair", [("blockedA", "blockedB"), ("symA", "blockedB")], ids=" ".join)
def test_where_udp_leads_nowhere_and_there_is_no_relay_the_anchor_carries_the_packets(
    trial: Trial, pair: tuple[str, str]
) -> None:
    bare = dataclasses.replace(trial, settings={})
    one, other = (trial.internet.host_named(name) for name in pair)
    alpha, beta = trial.trio.alpha, trial.trio.beta
    try:
        bare.start(one, other)
        alpha.call(ConnectPeer(target="beta", timeout_s=2 * CONNECT_S))
        assert kinds(alpha) == kinds(beta) == ["tunnel"]
        before = counters(one, other)
        keys = alpha.write(PAYLOAD_BYTES, "tunnelled")
        wait_until(lambda: beta.holds(keys), SYNC_S, "the memories", seen=lambda: describe(beta))
        flows = grown(before, counters(one, other))
        carried = flows.get((ANCHOR_HOST, "tcp", ANCHOR_PORT), 0)
        assert carried > PAYLOAD_BYTES
        assert carried > 0.9 * sum(flows.values()), flows
    finally:
        stop((alpha, beta))
